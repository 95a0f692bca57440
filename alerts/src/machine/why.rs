//! Why people are told of something now, or are not: in one sentence.

use super::{Machine, Node, Service};
use crate::message;
use rookery_plugins::{HostState, State, TimeMs};

impl Machine {
    /// Why people know of a service's state, or do not; of a node's own without
    /// `service`. `None`: there is no such node.
    pub fn why(&self, node: &str, service: Option<&str>, now_ms: TimeMs) -> Option<String> {
        let i = *self.by_name.get(node)? as usize;
        let node = &self.nodes[i];
        Some(match service {
            None => self.why_node(i, now_ms),
            Some(name) => match node.services.get(name) {
                None => "nothing of it has a limit, so nothing is judged: see warning and \
                         critical of its fields, and alerts.d"
                    .to_owned(),
                Some(_) if node.state != HostState::Up => {
                    format!("the node is {}: its services are not told", node.state)
                }
                Some(idx) => self.why_service(&self.services[*idx as usize], i, now_ms),
            },
        })
    }

    fn why_service(&self, s: &Service, node: usize, now_ms: TimeMs) -> String {
        if s.flap.active {
            return format!(
                "it flaps ({:.0} % of its latest states are changes): it is told again when it \
                 is steady",
                s.flap.percent()
            );
        }
        if s.state == State::Ok {
            return "it is OK: there is nothing to tell".to_owned();
        }
        if !s.hard {
            return format!(
                "it is {} for {} of {} evaluations in a row (soft): it is told when it is hard",
                s.state, s.attempt, s.attempts_max
            );
        }
        if let Some(quorum) = s.quorum {
            let group = &self.nodes[node].group;
            return format!(
                "single nodes of the group {group:?} are not told of: {quorum} of them must have it"
            );
        }
        if let Some(ack) = &s.acknowledged {
            return format!("{} is on it: {}", ack.author, message::line(&ack.comment));
        }
        if let Some(d) = self.downtime(node, Some(&s.name), now_ms) {
            let (to, why) = (message::time(d.to_ms), message::line(&d.comment));
            return format!("it is planned until {to} ({}: {why})", d.author);
        }
        match (&s.incident, s.notified) {
            (Some(incident), Some(told)) => {
                let again = match s.lasting.renotify_ms {
                    Some(ms) => {
                        let left = incident.told_ms.saturating_add(ms).saturating_sub(now_ms);
                        format!("it is told again in {}", message::span(left))
                    }
                    None => "it is not told again until it is over (no renotify)".to_owned(),
                };
                let further = if incident.escalated { ", and escalated" } else { "" };
                format!("people were told that it is {told}{further}; {again}")
            }
            _ => "it became so while old samples were replayed, of which nobody is told; the \
                  next sample of now will"
                .to_owned(),
        }
    }

    fn why_node(&self, i: usize, now_ms: TimeMs) -> String {
        let node: &Node = &self.nodes[i];
        if node.state == HostState::Up {
            return "it is UP: there is nothing to tell".to_owned();
        }
        if node.silenced {
            return "a rule has enabled = false for the whole node: nobody is told".to_owned();
        }
        if let Some(ack) = &node.acknowledged {
            return format!("{} is on it: {}", ack.author, message::line(&ack.comment));
        }
        if let Some(d) = self.downtime(i, None, now_ms) {
            let (to, why) = (message::time(d.to_ms), message::line(&d.comment));
            return format!("it is planned until {to} ({}: {why})", d.author);
        }
        if let Some(quorum) = node.quorum {
            return format!(
                "single nodes of the group {:?} are not told of: {quorum} of them must be DOWN",
                node.group
            );
        }
        match &node.incident {
            Some(_) => format!("people were told that it is {}", node.state),
            None => "it was not told when it went DOWN".to_owned(),
        }
    }
}
