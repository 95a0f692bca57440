//! What an incident's messages say: what is wrong, what else is, and what stands
//! behind it.

use super::{Machine, Member};
use crate::output::Status;
use rookery_plugins::{HostState, TimeMs};

/// The most that a line names; all stand in the message's lists.
const NAMED_MAX: usize = 5;

/// `a, b, c and 12 more`.
pub(super) fn named(names: &[String]) -> String {
    let shown = names[..names.len().min(NAMED_MAX)].join(", ");
    match names.len().saturating_sub(NAMED_MAX) {
        0 => shown,
        n => format!("{shown} and {n} more"),
    }
}

impl Machine {
    /// What is wrong with one member, by itself.
    pub(super) fn own_text(&self, member: Member, now_ms: TimeMs) -> String {
        match member {
            Member::Node(i) => {
                let since = self.nodes[i as usize].since_ms;
                format!("no data for {} s", now_ms.saturating_sub(since) / 1000)
            }
            Member::Service(idx) => self.service_text(idx),
        }
    }

    /// `; the same of 12 more nodes: web2, …`.
    pub(super) fn rest_text(&self, subject: Member, rest: &[Member]) -> String {
        // A node's own services stand behind it.
        let is_own = |m: &Member| match (subject, m) {
            (Member::Node(i), Member::Service(idx)) => self.services[*idx as usize].node == i,
            _ => false,
        };
        let rest: Vec<Member> = rest.iter().copied().filter(|m| !is_own(m)).collect();
        if rest.is_empty() {
            return String::new();
        }
        let n = rest.len();
        let node_name = |m: &Member| self.node_of(*m).name.clone();
        let state = |m: &Member| match self.status(*m) {
            Status::Host(_) => String::new(),
            Status::Service(s) => format!(" {s}"),
        };
        let service = |m: Member| match m {
            Member::Node(_) => None,
            Member::Service(idx) => Some(self.services[idx as usize].name.as_str()),
        };
        if rest.iter().all(|m| service(*m) == service(subject)) {
            let nodes: Vec<String> = rest.iter().map(node_name).collect();
            let of = if n == 1 { "one more node" } else { "more nodes" };
            let n = if n == 1 { String::new() } else { format!("{n} ") };
            let doubt = match subject {
                Member::Node(_) if self.is_half_down() => {
                    "; more than half of all nodes: is it the collector that is cut off?"
                }
                _ => "",
            };
            return format!("; the same of {n}{of}: {}{doubt}", named(&nodes));
        }
        let mine = node_name(&subject);
        if rest.iter().all(|m| node_name(m) == mine && service(*m).is_some()) {
            let names: Vec<String> = rest
                .iter()
                .map(|m| format!("{}{}", service(*m).unwrap_or_default(), state(m)))
                .collect();
            let what =
                if n == 1 { "one more service".to_owned() } else { format!("{n} more services") };
            return format!("; {what} of it: {}", named(&names));
        }
        let names: Vec<String> =
            rest.iter().map(|m| format!("{}{}", self.place(*m), state(m))).collect();
        let what =
            if n == 1 { "one more problem".to_owned() } else { format!("{n} more problems") };
        format!("; {what}: {}", named(&names))
    }

    fn is_half_down(&self) -> bool {
        let here = self.nodes.iter().filter(|n| !n.gone && n.since_ms != super::NEVER);
        let (n_all, n_down) = here
            .fold((0, 0), |(all, down), n| (all + 1, down + usize::from(n.state != HostState::Up)));
        n_down * 2 > n_all
    }

    /// What is held back because of these: `db1/mysql`, a node's services first.
    pub(super) fn behind(&self, subject: Member, rest: &[Member], now_ms: TimeMs) -> Vec<String> {
        let is_ours = |m: Member| m == subject || rest.contains(&m);
        let mut names = Vec::new();
        for m in [subject].iter().chain(rest) {
            let Member::Node(i) = m else { continue };
            let node = &self.nodes[*i as usize];
            let mut services: Vec<(&String, &u32)> = node.services.iter().collect();
            services.sort_by_key(|(name, idx)| {
                let state = self.services[**idx as usize].state;
                (std::cmp::Reverse(state.severity()), name.as_str())
            });
            names.extend(services.iter().map(|(name, _)| format!("{}/{name}", node.name)));
        }
        let mut dependants = Vec::new();
        for m in self.waiting.keys() {
            let is_its_own = is_ours(Member::Node(self.node_idx_of(*m)));
            if !is_its_own
                && self.is_untold(*m)
                && !self.is_quiet(*m, now_ms)
                && self.root_of(*m).is_some_and(is_ours)
            {
                dependants.push(self.place(*m));
            }
        }
        dependants.sort();
        names.extend(dependants);
        names
    }

    /// `; 41 services behind it: …; 30 dependants behind it: …`.
    pub(super) fn behind_text(&self, subject: Member, rest: &[Member], all: &[String]) -> String {
        let nodes: Vec<&str> = [subject]
            .iter()
            .chain(rest)
            .filter(|m| matches!(m, Member::Node(_)))
            .map(|m| self.node_of(*m).name.as_str())
            .collect();
        let is_own =
            |place: &&String| place.split_once('/').is_some_and(|(node, _)| nodes.contains(&node));
        let (own, dependants): (Vec<&String>, Vec<&String>) = all.iter().partition(is_own);
        let it = if nodes.len() > 1 { "them" } else { "it" };
        let mut text = String::new();
        let mut add = |n: usize, what: &str, names: Vec<String>| {
            if n > 0 {
                let s = if n == 1 { "" } else { "s" };
                text.push_str(&format!("; {n} {what}{s} behind {it}: {}", named(&names)));
            }
        };
        // Of one node its own services need no more than their names.
        let short = |p: &&String| match (nodes.len(), p.split_once('/')) {
            (1, Some((_, service))) => service.to_owned(),
            _ => (*p).clone(),
        };
        add(own.len(), "service", own.iter().map(short).collect());
        add(dependants.len(), "dependant", dependants.into_iter().cloned().collect());
        text
    }

    fn node_idx_of(&self, member: Member) -> u32 {
        match member {
            Member::Node(i) => i,
            Member::Service(idx) => self.services[idx as usize].node,
        }
    }

    fn node_of(&self, member: Member) -> &super::Node {
        &self.nodes[self.node_idx_of(member) as usize]
    }
}
