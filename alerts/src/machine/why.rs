//! Why people are told of something now, or are not: in one sentence.

use super::gather::Gate;
use super::{Downtime, Machine, Member, Node, Service, Thread};
use crate::message;
use rookery_plugins::{HostState, State, TimeMs};

/// How an answer begins that people have been notified: whether they got it, who sends
/// it knows.
pub const WHY_TOLD: &str = "people were told that ";

impl Machine {
    /// The open incident of a service, or of a node itself: what was sent of it says
    /// whether anybody was notified.
    pub fn open_incident(&self, node: &str, service: Option<&str>) -> Option<&str> {
        let node = &self.nodes[*self.by_name.get(node)? as usize];
        match service {
            None => node.incident.as_deref(),
            Some(name) => self.services[*node.services.get(name)? as usize].incident.as_deref(),
        }
    }

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
                    format!("the node is {}: its services are told of with it", node.state)
                }
                Some(idx) => self.why_service(*idx, i, now_ms),
            },
        })
    }

    /// Who is of an open incident, node and service, each with why people know of it;
    /// `None`: none that is open is called so.
    pub fn why_incident(
        &self,
        id: &str,
        now_ms: TimeMs,
    ) -> Option<Vec<(String, Option<String>, String)>> {
        let Some(thread) = self.threads.get(id) else {
            // One of a group has no members of its own.
            return self.pools.values().any(|p| p.incident.id == id).then(Vec::new);
        };
        let mut members: Vec<Member> = thread.members.iter().copied().collect();
        members.sort_by_cached_key(|m| self.order(*m));
        let of = |m: Member| {
            let (node, service) = self.names(m);
            let why = self.why(node, service, now_ms).unwrap_or_default();
            (node.to_owned(), service.map(str::to_owned), why)
        };
        Some(members.into_iter().map(of).collect())
    }

    fn why_service(&self, idx: u32, node: usize, now_ms: TimeMs) -> String {
        let s: &Service = &self.services[idx as usize];
        if s.flap.active {
            return format!(
                "it flaps ({:.0} % of its latest states are changes): it is told again when it \
                 is steady",
                s.flap.percent()
            );
        }
        if s.state == State::Ok && s.notified.is_some() {
            let left = s.calm_ms(&self.settings).saturating_sub(now_ms).max(0);
            return format!(
                "it is OK after a short problem: that it is over is told in {}, if it stays so",
                message::span(left)
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
            return planned(d);
        }
        if let Some(text) = self.why_held(Member::Service(idx), now_ms) {
            return text;
        }
        let thread = s.incident.as_ref().and_then(|id| self.threads.get(id));
        match (thread, s.notified) {
            (Some(thread), Some(told)) => {
                let again = match s.lasting.renotify_ms {
                    Some(ms) => {
                        let told_ms = thread.incident.told_ms;
                        let left = told_ms.saturating_add(ms).saturating_sub(now_ms);
                        format!("it is told again in {}", message::span(left))
                    }
                    None => "it is not told again until it is over (no renotify)".to_owned(),
                };
                let further = if thread.incident.escalated { ", and escalated" } else { "" };
                let with = self.why_with(thread, Member::Service(idx));
                format!("{WHY_TOLD}it is {told}{with}{further}; {again}")
            }
            _ if s.is_stale => "it became so while old samples were replayed, of which nobody is \
                                told; the next sample of now will"
                .to_owned(),
            _ => "it is looked at again within a second (after a start, when start_grace_ms is \
                  over)"
                .to_owned(),
        }
    }

    /// Of which larger incident it is.
    fn why_with(&self, thread: &Thread, member: Member) -> String {
        let lead = match &thread.service {
            Some(service) => format!("{}/{service}", thread.node),
            None => thread.node.clone(),
        };
        match thread.members.len() {
            0 | 1 if lead == self.place(member) => String::new(),
            n => format!(", as one of {n} problems of the incident of {lead}"),
        }
    }

    /// What keeps it from being told, if that is not over.
    fn why_held(&self, member: Member, now_ms: TimeMs) -> Option<String> {
        let period = match member {
            Member::Node(i) => &self.nodes[i as usize].period,
            Member::Service(idx) => &self.services[idx as usize].period,
        };
        if let Some(period) = period.as_ref().filter(|p| !p.contains(now_ms)) {
            return Some(format!("it is told of in the period {:?} only", period.name()));
        }
        match self.gate(member, now_ms) {
            Gate::Behind(root) => Some(format!(
                "it depends on {}, which is in a hard problem: it is told of with that",
                self.place(root)
            )),
            Gate::Wait if self.waiting.contains_key(&member) => Some(
                "its node, or what it depends on, is looked at first: it may be to blame, or \
                 may just be well again"
                    .to_owned(),
            ),
            Gate::Ready => {
                let since = self.waiting.get(&member)?;
                let window = i64::try_from(self.settings.group_window_ms).unwrap_or(i64::MAX);
                let left = since.saturating_add(window).saturating_sub(now_ms);
                Some(format!(
                    "it is told in {}, with what shares its cause by then (group_window_ms)",
                    message::span(left)
                ))
            }
            Gate::Wait | Gate::Quiet => None,
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
            return planned(d);
        }
        if let Some(quorum) = node.quorum {
            return format!(
                "single nodes of the group {:?} are not told of: {quorum} of them must be DOWN",
                node.group
            );
        }
        let member = Member::Node(i as u32);
        if let Some(text) = self.why_held(member, now_ms) {
            return text;
        }
        match node.incident.as_ref().and_then(|id| self.threads.get(id)) {
            Some(thread) => {
                let with = self.why_with(thread, member);
                format!("{WHY_TOLD}it is {}{with}", node.state)
            }
            None => "it was not told when it went DOWN".to_owned(),
        }
    }
}

fn planned(d: &Downtime) -> String {
    let why = message::line(&d.comment);
    match d.until_ms() {
        Some(to) => format!("it is planned until {} ({}: {why})", message::time(to), d.author),
        None => format!("it is planned at these times: {} ({}: {why})", d.when(), d.author),
    }
}
