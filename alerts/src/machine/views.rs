//! What pages and the API ask.

use super::{Acknowledgement, Downtime, Field, Machine, Member, NEVER, incident_id};
use crate::message::{number, span};
use crate::output::{Notice, NoticeKind, Status};
use rookery_plugins::{HostState, Range, State, TimeMs};

/// A service as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct ServiceView {
    /// The state of the latest evaluation.
    pub state: State,
    /// Whether it is hard.
    pub hard: bool,
    /// The latest hard state: while `state` is soft, what it was before.
    pub hard_state: State,
    /// Since when `state`, ms; `None` before the first evaluation.
    pub since_ms: Option<TimeMs>,
    /// The time of the latest evaluation, ms.
    pub last_ms: Option<TimeMs>,
    /// The attempt, from 1…
    pub attempt: u32,
    /// …of so many until hard.
    pub max_check_attempts: u32,
    /// Whether people were told of the problem.
    pub notified: bool,
    /// The open incident's id.
    pub incident: Option<String>,
    /// Who is on it.
    pub acknowledged: Option<Acknowledgement>,
    /// The downtime that it is in.
    pub downtime: Option<Downtime>,
    /// Why, in one line.
    pub text: String,
    /// Whether the text is a check executable's own.
    pub is_own_text: bool,
}

/// A node as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct HostView {
    /// UP or DOWN.
    pub state: HostState,
    /// Since when, ms; `None` before its first row.
    pub since_ms: Option<TimeMs>,
    /// When something last arrived since the start, ms.
    pub last_seen_ms: Option<TimeMs>,
    /// Whether its clock is off.
    pub clock_skewed: bool,
    /// The open incident's id.
    pub incident: Option<String>,
    /// Who is on it.
    pub acknowledged: Option<Acknowledgement>,
    /// The downtime that it is in.
    pub downtime: Option<Downtime>,
}

/// A field with limits as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldView {
    /// Its own state, without attempts.
    pub state: State,
    /// The value judged (per second, after the cdef); `None` is unknown.
    pub value: Option<f64>,
    /// When it was read, ms.
    pub time_ms: Option<TimeMs>,
    /// The warning range in force.
    pub warning: Option<Range>,
    /// The critical range in force.
    pub critical: Option<Range>,
}

/// Something that is not OK.
#[derive(Clone, Debug, PartialEq)]
pub struct Problem {
    /// The node.
    pub node: String,
    /// Its group.
    pub group: String,
    /// The service and how it stands; `None`: the node itself is DOWN.
    pub service: Option<(String, ServiceView)>,
    /// The node's state: its services are not judged while DOWN.
    pub host: HostView,
}

fn known(time_ms: TimeMs) -> Option<TimeMs> {
    (time_ms != NEVER).then_some(time_ms)
}

impl Machine {
    /// How a service stands; `None` when it has no limits.
    pub fn service_state(&self, node: &str, service: &str) -> Option<ServiceView> {
        let node = &self.nodes[*self.by_name.get(node)? as usize];
        Some(self.service_view(*node.services.get(service)?))
    }

    fn service_view(&self, idx: u32) -> ServiceView {
        let s = &self.services[idx as usize];
        let now_ms = self.last_tick_ms;
        ServiceView {
            state: s.state,
            hard: s.hard,
            hard_state: s.hard_state,
            since_ms: known(s.since_ms),
            last_ms: known(s.last_ms),
            attempt: s.attempt,
            max_check_attempts: s.attempts_max,
            notified: s.notified.is_some(),
            incident: s.incident.clone(),
            acknowledged: s.acknowledged.clone(),
            downtime: self.downtime(s.node as usize, Some(&s.name), now_ms).cloned(),
            text: self.service_text(idx),
            is_own_text: !s.said.is_empty(),
        }
    }

    /// How a node stands; `None` when it was never heard of.
    pub fn host_state(&self, node: &str) -> Option<HostView> {
        Some(self.host_view(*self.by_name.get(node)? as usize))
    }

    fn host_view(&self, i: usize) -> HostView {
        let node = &self.nodes[i];
        HostView {
            state: node.state,
            since_ms: known(node.since_ms),
            last_seen_ms: known(node.last_seen_ms),
            clock_skewed: node.skewed,
            incident: node.incident.clone(),
            acknowledged: node.acknowledged.clone(),
            downtime: self.downtime(i, None, self.last_tick_ms).cloned(),
        }
    }

    /// How many of a node's services with limits are OK, WARNING, CRITICAL and
    /// UNKNOWN, by exit code.
    pub fn service_counts(&self, node: &str) -> [usize; 4] {
        let mut counts = [0; 4];
        if let Some(idx) = self.by_name.get(node) {
            for s in self.nodes[*idx as usize].services.values() {
                counts[self.services[*s as usize].state as usize] += 1;
            }
        }
        counts
    }

    /// How a field stands; `None` when it has no limits.
    pub fn field_state(&self, node: &str, service: &str, field: &str) -> Option<FieldView> {
        let node = &self.nodes[*self.by_name.get(node)? as usize];
        let service = &self.services[*node.services.get(service)? as usize];
        let fields = service.fields.iter().map(|f| &self.fields[*f as usize]);
        let f = fields.into_iter().find(|f| f.active && f.name == field)?;
        Some(FieldView {
            state: f.state,
            value: f.value,
            time_ms: known(f.last_ms),
            warning: f.warning,
            critical: f.critical,
        })
    }

    /// All that is not OK: nodes that are DOWN and services, soft ones too, in
    /// the order in which they were first heard of.
    pub fn problems(&self) -> impl Iterator<Item = Problem> + '_ {
        let problem = |i: usize, service| Problem {
            node: self.nodes[i].name.clone(),
            group: self.nodes[i].group.clone(),
            service,
            host: self.host_view(i),
        };
        (0..self.nodes.len()).filter(|i| !self.nodes[*i].gone).flat_map(move |i| {
            let down = self.nodes[i].state != HostState::Up;
            let host = down.then(|| problem(i, None));
            let services = self.nodes[i].services.iter();
            let bad = services.filter(|(_, s)| self.services[**s as usize].state != State::Ok);
            host.into_iter()
                .chain(bad.map(move |(n, s)| problem(i, Some((n.clone(), self.service_view(*s))))))
        })
    }

    /// How all services with limits stand, each as a notice of its own that is of no
    /// incident: for those who are told again and again. Not those of nodes that are DOWN,
    /// nor those that are bad for a moment only, planned, or on which somebody is.
    pub fn standing(&self, now_ms: TimeMs) -> Vec<Notice> {
        let nodes = self.nodes.iter().filter(|n| !n.gone && n.state == HostState::Up);
        let services = nodes.flat_map(|n| n.services.values().copied());
        let is_settled = |idx: &u32| {
            let s = &self.services[*idx as usize];
            let is_known = !s.gone && (s.state == State::Ok || s.hard) && s.last_ms != NEVER;
            is_known && !self.is_quiet(Member::Service(*idx), now_ms)
        };
        services.filter(is_settled).map(|idx| self.stands(idx, now_ms)).collect()
    }

    fn stands(&self, idx: u32, now_ms: TimeMs) -> Notice {
        let s = &self.services[idx as usize];
        let node = &self.nodes[s.node as usize].name;
        let incident = incident_id(node, &s.name, now_ms);
        let kind = match s.state {
            State::Ok => NoticeKind::Recovery,
            _ => NoticeKind::Problem,
        };
        Notice {
            id: format!("{incident}.0"),
            incident,
            sequence: 0,
            kind,
            node: node.clone(),
            of_group: false,
            service: Some(s.name.clone()),
            title: s.title.clone(),
            state: Status::Service(s.state),
            since_ms: known(s.since_ms).unwrap_or(now_ms),
            time_ms: now_ms,
            values: self.field_values(idx),
            text: self.service_text(idx),
            with: Vec::new(),
            n_with: 0,
            behind: Vec::new(),
            n_behind: 0,
            contacts: s.contacts.clone(),
            labels: s.labels.clone(),
            repeated: false,
            instead_of: None,
            is_catch_up: false,
        }
    }

    /// Why a service is in its state: `connections is 900 (outside ~:800)`.
    pub(super) fn service_text(&self, idx: u32) -> String {
        let s = &self.services[idx as usize];
        if s.flap.active {
            let percent = s.flap.percent();
            return format!(
                "flapping: {percent:.0} % of its latest states are changes; {}",
                self.state_text(idx)
            );
        }
        self.state_text(idx)
    }

    fn state_text(&self, idx: u32) -> String {
        let s = &self.services[idx as usize];
        if s.is_late && s.state == State::Unknown && !s.fields.is_empty() {
            return format!("nothing came for more than {}", span(self.late_after(s.step_ms)));
        }
        if !s.said.is_empty() {
            return s.said.clone();
        }
        let fields = s.fields.iter().map(|f| &self.fields[*f as usize]).filter(|f| f.active);
        let mut bad: Vec<&Field> = fields.filter(|f| f.state != State::Ok).collect();
        bad.sort_by_key(|f| std::cmp::Reverse(f.state.severity()));
        let late_ms = self.late_after(s.step_ms);
        let parts: Vec<String> = bad.into_iter().map(|f| f.text(late_ms)).collect();
        if parts.is_empty() { "within its limits".to_owned() } else { parts.join(", ") }
    }
}

impl Field {
    /// The limit that makes its state.
    pub(super) fn crossed(&self) -> Option<Range> {
        match self.state {
            State::Critical if self.is_absent => None,
            State::Critical => self.critical,
            State::Warning => self.warning,
            State::Ok | State::Unknown => None,
        }
    }

    /// `late_ms`: how old it may be.
    fn text(&self, late_ms: i64) -> String {
        if let Some(why) = self.is_broken().filter(|_| self.state == State::Unknown) {
            return format!("{}: {why}", self.name);
        }
        if self.is_late {
            return format!("{}: nothing came for more than {}", self.name, span(late_ms));
        }
        if let Some(ms) = self.absent_ms.filter(|_| self.is_absent) {
            return format!("{}: nothing came for more than {}", self.name, span(ms));
        }
        let value = match (self.state, self.value) {
            (State::Unknown, _) | (_, None) => "unknown".to_owned(),
            (_, Some(v)) => number(v),
        };
        match self.crossed() {
            Some(range) => format!("{} is {value} ({})", self.name, range.why()),
            None => format!("{} is {value}", self.name),
        }
    }
}
