//! A node that is called otherwise from now on: its states, incidents, silences and the
//! rules that name it in full follow.

use super::{Machine, records};
use crate::output::Output;
use crate::rules::Rules;

impl Machine {
    /// Calls the node `from` `to`: all that is known of it stays, under the new name, and
    /// so do its open incidents and its downtimes. `rules` are the ones that hold from
    /// now on ([`Rules::rename`]); the node's services are to be made known again
    /// ([`Machine::know`]), since other rules may hold for them. Nothing happens where no
    /// node is called `from`.
    pub fn rename_node(&mut self, from: &str, to: &str, rules: Rules, out: &mut Vec<Output>) {
        self.rules = rules;
        for downtime in &mut self.downtimes {
            if downtime.node.as_deref() == Some(from) {
                downtime.node = Some(to.to_owned());
                out.push(downtime.kept());
            }
        }
        // What is left under the new name of a node that was there before it.
        if self.by_name.contains_key(from) {
            self.forget_node(to, out);
        }
        let Some(idx) = self.by_name.remove(from) else { return };
        let services: Vec<u32> = self.nodes[idx as usize].services.values().copied().collect();
        out.push(records::gone(format!("host/{from}")));
        for service in &services {
            let name = &self.services[*service as usize].name;
            out.push(records::gone(format!("service/{from}/{name}")));
            self.move_memories(*service, out);
        }
        self.move_kept(from, to, out);
        self.by_name.insert(to.to_owned(), idx);
        to.clone_into(&mut self.nodes[idx as usize].name);
        let group = self.nodes[idx as usize].group.clone();
        self.settle_node(idx, &group);
        let led: Vec<String> =
            self.threads.iter().filter(|(_, t)| t.node == from).map(|(id, _)| id.clone()).collect();
        for id in led {
            if let Some(thread) = self.threads.get_mut(&id) {
                to.clone_into(&mut thread.node);
            }
            out.push(self.thread_record(&id));
        }
        out.push(Output::StateChanged(self.host_record(idx as usize)));
        out.extend(services.iter().map(|s| Output::StateChanged(self.service_record(*s))));
    }
}
