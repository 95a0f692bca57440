//! Incidents: what people are told of as one, from the first problem to the end of
//! the last.
//!
//! An incident has members, services and nodes with a problem that people know of,
//! and the name of the one that it began with, which all its messages bear. It is
//! over, and one recovery is told, when its last member is well. What shares a cause
//! with it and comes within `join_window_ms` joins it: silently, unless it is worse
//! than all that was told, or at least doubles the number of those that were.

use super::lasting::{Due, Lasting};
use super::notice::Saying;
use super::{Machine, Member, Thread, incident_id};
use crate::output::{Incident, NoticeKind, Output, RecordState, StateRecord, Status};
use rookery_plugins::{State, TimeMs};
use std::cmp::Reverse;
use std::collections::{BTreeSet, HashSet};

/// So many more than were told of, at least, make an update when they double it.
const DOUBLED_BY_MIN: usize = 3;

impl Machine {
    /// Tells of problems as one: as a new incident, or within one that is open.
    pub(super) fn tell_together(
        &mut self,
        cluster: &[Member],
        now_ms: TimeMs,
        out: &mut Vec<Output>,
    ) {
        let mut cluster = cluster.to_vec();
        cluster.sort_by_cached_key(|m| self.order(*m));
        let Some(lead) = cluster.first().copied() else { return };
        let joined = self.thread_for(&cluster, now_ms);
        let is_new = joined.is_none();
        let id = joined.unwrap_or_else(|| self.open_thread(lead, now_ms));
        // What was silenced joins nothing silently: no message has named it yet.
        let woken: Vec<Member> =
            cluster.iter().copied().filter(|m| self.silenced.remove(m)).collect();
        for member in &cluster {
            self.waiting.remove(member);
            self.join(&id, *member, out);
            if let Member::Node(i) = member {
                self.take_services(*i, &id, out);
            }
        }
        let since = cluster.iter().map(|m| self.problem_ms(*m)).min().unwrap_or(now_ms);
        let worst = self.status(lead);
        let Some(thread) = self.threads.get_mut(&id) else { return };
        if is_new {
            thread.incident.since_ms = since;
        }
        let n = thread.members.len();
        let doubled = n >= thread.n_told.saturating_mul(2) && n >= thread.n_told + DOUBLED_BY_MIN;
        if is_new || doubled || worst.rank() > thread.told.rank() {
            self.speak(&id, Saying::new(lead, NoticeKind::Problem, now_ms), out);
        } else if let Some(woken) = woken.first() {
            self.speak(&id, Saying::new(*woken, NoticeKind::Problem, now_ms), out);
        } else {
            self.speak_to_untold(&id, lead, now_ms, out);
        }
    }

    /// Notes that a problem that people know of is another now, which those are notified
    /// of who did not know of it.
    pub(super) fn catch_up(&mut self, member: Member, now_ms: TimeMs, out: &mut Vec<Output>) {
        let Some(id) = self.incident_of(member) else { return };
        self.join(&id, member, out);
        self.speak_to_untold(&id, member, now_ms, out);
    }

    /// An update for those only who were not notified of the incident yet. It is about
    /// the worst of it: the newest word must be enough for who missed all before.
    fn speak_to_untold(&mut self, id: &str, news: Member, now_ms: TimeMs, out: &mut Vec<Output>) {
        let Some(thread) = self.threads.get(id) else { return };
        if thread.is_rootless() {
            // All are notified soon of what is left.
            return out.push(self.thread_record(id));
        }
        let open = thread.members.iter().copied().filter(|m| self.is_open(*m, now_ms));
        let worst = open.min_by_key(|m| self.order(*m)).unwrap_or(news);
        let saying = Saying::new(worst, NoticeKind::Problem, now_ms);
        self.speak(id, Saying { is_catch_up: true, ..saying }, out);
    }

    /// Tells of one thing at once, in its incident or in a new one of its own.
    pub(super) fn tell_alone(
        &mut self,
        member: Member,
        kind: NoticeKind,
        now_ms: TimeMs,
        text: Option<String>,
        out: &mut Vec<Output>,
    ) {
        self.waiting.remove(&member);
        let id = self.incident_of(member).unwrap_or_else(|| {
            let id = self.open_thread(member, now_ms);
            if let Some(thread) = self.threads.get_mut(&id) {
                thread.incident.since_ms = thread.incident.since_ms.min(now_ms);
            }
            id
        });
        if kind != NoticeKind::Acknowledgement {
            self.join(&id, member, out);
        }
        self.speak(&id, Saying { text, ..Saying::new(member, kind, now_ms) }, out);
    }

    /// Roots before leaves, the worst first, then the oldest.
    pub(super) fn order(&self, member: Member) -> (Reverse<u8>, TimeMs, String) {
        (Reverse(self.status(member).rank()), self.problem_ms(member), self.place(member))
    }

    pub(super) fn status(&self, member: Member) -> Status {
        match member {
            Member::Node(i) => Status::Host(self.nodes[i as usize].state),
            Member::Service(idx) => Status::Service(self.services[idx as usize].state),
        }
    }

    fn problem_ms(&self, member: Member) -> TimeMs {
        match member {
            Member::Node(i) => self.nodes[i as usize].since_ms,
            Member::Service(idx) => self.services[idx as usize].problem_ms,
        }
    }

    /// `db1`, or `db1/mysql`.
    pub(super) fn place(&self, member: Member) -> String {
        let (node, service) = self.names(member);
        service.map_or_else(|| node.to_owned(), |s| format!("{node}/{s}"))
    }

    pub(super) fn names(&self, member: Member) -> (&str, Option<&str>) {
        match member {
            Member::Node(i) => (&self.nodes[i as usize].name, None),
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                (&self.nodes[s.node as usize].name, Some(&s.name))
            }
        }
    }

    fn incident_of(&self, member: Member) -> Option<String> {
        match member {
            Member::Node(i) => self.nodes[i as usize].incident.clone(),
            Member::Service(idx) => self.services[idx as usize].incident.clone(),
        }
    }

    fn open_thread(&mut self, lead: Member, now_ms: TimeMs) -> String {
        let (node, service) = self.names(lead);
        // A clock that was set back brings the same time again: the samples' own has
        // gone on, and two incidents must not share a name.
        let place = format!("{}\0{}", service.unwrap_or(""), self.problem_ms(lead));
        let id = incident_id(node, &place, now_ms);
        let thread = Thread {
            incident: Incident::new(id.clone(), self.problem_ms(lead)),
            node: node.to_owned(),
            service: service.map(str::to_owned),
            told: Status::Service(State::Ok),
            opened_ms: now_ms,
            n_told: 0,
            n_all: 0,
            members: BTreeSet::new(),
        };
        self.threads.insert(id.clone(), thread);
        id
    }

    /// The open incident whose cause a cluster shares.
    fn thread_for(&self, cluster: &[Member], now_ms: TimeMs) -> Option<String> {
        if self.settings.group_window_ms == 0 || self.threads.is_empty() {
            return None;
        }
        let window = i64::try_from(self.settings.join_window_ms).unwrap_or(i64::MAX);
        let keys: HashSet<_> = cluster.iter().flat_map(|m| self.keys(*m)).collect();
        let nodes: BTreeSet<u32> = cluster
            .iter()
            .filter_map(|m| if let Member::Node(i) = m { Some(*i) } else { None })
            .collect();
        // What is well, and told as such soon, is no cause of anything new.
        let shares = |m: &Member| {
            self.status(*m).rank() > 0 && self.keys(*m).into_iter().any(|k| keys.contains(&k))
        };
        // A node that is DOWN takes its services' incident, not one that others share.
        let fits = |m: &Member| match m {
            Member::Node(_) => true,
            Member::Service(idx) => nodes.contains(&self.services[*idx as usize].node),
        };
        let open = self.threads.values().filter(|t| {
            (0..window).contains(&now_ms.saturating_sub(t.opened_ms))
                && t.members.iter().any(shares)
                && (nodes.is_empty() || t.members.iter().all(fits))
        });
        open.max_by_key(|t| t.opened_ms).map(|t| t.incident.id.clone())
    }

    /// Makes it a member, and notes that people are told of it.
    fn join(&mut self, id: &str, member: Member, out: &mut Vec<Output>) {
        let was = self.incident_of(member);
        match member {
            Member::Node(i) => self.nodes[i as usize].incident = Some(id.to_owned()),
            Member::Service(idx) => {
                let s = &mut self.services[idx as usize];
                s.notified = Some(if s.flap.active {
                    // Whatever it is when it is steady again is then told.
                    s.notified.unwrap_or(State::Unknown)
                } else {
                    s.state
                });
                (s.is_owed, s.flap_told) = (false, s.flap.active);
                s.incident = Some(id.to_owned());
            }
        }
        if was.as_deref() != Some(id) {
            if let Some(other) = was.and_then(|was| self.threads.get_mut(&was)) {
                other.members.remove(&member);
            }
            if let Some(thread) = self.threads.get_mut(id) {
                thread.members.insert(member);
                thread.n_all += 1;
            }
        }
        out.push(self.member_record(member));
    }

    /// Moves a node's services out of incidents that other nodes share: what is
    /// wrong with them now is that their node does not report.
    fn take_services(&mut self, node: u32, id: &str, out: &mut Vec<Output>) {
        let services = self.nodes[node as usize].services.values();
        let mine = |m: &Member| {
            matches!(m, Member::Service(s)
            if self.services[*s as usize].node == node)
        };
        let shared: Vec<u32> = services
            .copied()
            .filter(|idx| {
                let of = self.services[*idx as usize].incident.as_deref();
                let thread = of.filter(|of| *of != id).and_then(|of| self.threads.get(of));
                thread.is_some_and(|t| !t.members.iter().all(mine))
            })
            .collect();
        for idx in shared {
            let s = &self.services[idx as usize];
            let known = (s.notified, s.is_owed, s.flap_told);
            self.join(id, Member::Service(idx), out);
            let s = &mut self.services[idx as usize];
            (s.notified, s.is_owed, s.flap_told) = known;
        }
    }

    /// It is well: the incident is over if it was the last.
    pub(super) fn leave(
        &mut self,
        member: Member,
        time_ms: TimeMs,
        text: String,
        out: &mut Vec<Output>,
    ) {
        let id = match member {
            Member::Node(i) => self.nodes[i as usize].incident.take(),
            Member::Service(idx) => {
                let s = &mut self.services[idx as usize];
                (s.notified, s.is_owed, s.flap_told) = (None, false, false);
                s.incident.take()
            }
        };
        out.push(self.member_record(member));
        let Some(id) = id else { return };
        let Some(thread) = self.threads.get_mut(&id) else { return };
        thread.members.remove(&member);
        if !thread.members.is_empty() {
            return;
        }
        let text = match thread.n_all {
            0 | 1 => text,
            n => format!("all {n} problems of it are over, the last: {}", self.place(member)),
        };
        let saying = Saying::new(member, NoticeKind::Recovery, time_ms);
        self.speak(&id, Saying { text: Some(text), ..saying }, out);
        self.close_thread(&id, out);
    }

    fn close_thread(&mut self, id: &str, out: &mut Vec<Output>) {
        self.threads.remove(id);
        let key = format!("incident/{id}");
        out.push(Output::StateChanged(StateRecord { key, state: RecordState::Gone }));
    }

    /// Takes what is not watched any more out of its incident. If it was the last, that
    /// is said: who was notified of a problem must not wait for its end forever.
    pub(super) fn drop_member(&mut self, member: Member, out: &mut Vec<Output>) {
        self.waiting.remove(&member);
        self.silenced.remove(&member);
        let Some(id) = self.incident_of(member) else { return };
        let Some(thread) = self.threads.get_mut(&id) else { return };
        thread.members.remove(&member);
        if thread.members.is_empty() {
            let time_ms = self.last_tick_ms.max(thread.incident.told_ms);
            let text = Some(format!("{} is not watched any more", self.place(member)));
            let saying = Saying::new(member, NoticeKind::Recovery, time_ms);
            self.speak(&id, Saying { text, ..saying }, out);
            self.close_thread(&id, out);
        }
    }

    /// All members that are told of with one of them; itself, where it is of none.
    pub(super) fn together_with(&self, member: Member) -> Vec<Member> {
        let id = self.incident_of(member);
        let thread = id.and_then(|id| self.threads.get(&id));
        thread.map_or_else(|| vec![member], |t| t.members.iter().copied().collect())
    }

    /// Tells again of what lasts, and of what is left when a root is well.
    pub(super) fn remind(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        let mut due: Vec<(String, Member, Option<Due>)> = Vec::new();
        for (id, thread) in &self.threads {
            let is_open = |m: &Member| self.is_open(*m, now_ms);
            let is_rootless = thread.is_rootless();
            if is_rootless && thread.members.iter().any(|m| self.is_recovering(*m, now_ms)) {
                continue;
            }
            let lasting = |m: &Member| match m {
                Member::Node(i) => &self.nodes[*i as usize].lasting,
                Member::Service(idx) => &self.services[*idx as usize].lasting,
            };
            let lasts = |m: &Member| *lasting(m) != Lasting::default();
            if !is_rootless && !thread.members.iter().any(lasts) {
                continue;
            }
            let mut open: Vec<Member> = thread.members.iter().copied().filter(is_open).collect();
            open.sort_by_cached_key(|m| self.order(*m));
            let Some(worst) = open.first().copied() else { continue };
            if is_rootless {
                due.push((id.clone(), worst, None));
                continue;
            }
            let mut all = Lasting::default();
            open.iter().for_each(|m| all.merge(lasting(m)));
            if let Some(what) = all.due(&thread.incident, now_ms) {
                due.push((id.clone(), worst, Some(what)));
            }
        }
        for (id, member, what) in due {
            let saying = Saying::new(member, NoticeKind::Problem, now_ms);
            self.speak(&id, Saying { due: what, ..saying }, out);
        }
    }

    /// Whether a member's problem is still one that somebody should look at.
    fn is_open(&self, member: Member, now_ms: TimeMs) -> bool {
        let is_bad = match member {
            Member::Node(_) => true,
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                s.state != State::Ok && s.hard && !s.flap.active
            }
        };
        is_bad && !self.is_quiet(member, now_ms) && self.root_of(member).is_none()
    }

    pub(super) fn lead_of(&self, thread: &Thread) -> Option<Member> {
        let i = *self.by_name.get(&thread.node)?;
        match &thread.service {
            None => Some(Member::Node(i)),
            Some(name) => {
                self.nodes[i as usize].services.get(name).map(|idx| Member::Service(*idx))
            }
        }
    }

    pub(super) fn thread_record(&self, id: &str) -> Output {
        let key = format!("incident/{id}");
        let state = match self.threads.get(id) {
            None => RecordState::Gone,
            Some(t) => RecordState::Incident {
                incident: t.incident.clone(),
                node: t.node.clone(),
                service: t.service.clone(),
                told: t.told,
                opened_ms: t.opened_ms,
                n_told: t.n_told,
                n_all: t.n_all,
            },
        };
        Output::StateChanged(StateRecord { key, state })
    }

    fn member_record(&self, member: Member) -> Output {
        Output::StateChanged(match member {
            Member::Node(i) => self.host_record(i as usize),
            Member::Service(idx) => self.service_record(idx),
        })
    }
}

impl Thread {
    /// Whether the node that it was about is well again, and something of it is not.
    pub(super) fn is_rootless(&self) -> bool {
        let has_root = self.members.iter().any(|m| matches!(m, Member::Node(_)));
        matches!(self.told, Status::Host(_)) && !has_root
    }
}
