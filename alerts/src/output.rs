//! What the machine says: to the history, to the log, to people.

use crate::machine::{Acknowledgement, Downtime};
use crate::memory::Memory;
use rookery_plugins::{HostState, State, TimeMs};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fmt;

/// One thing the machine has to say. They come in the order in which they are
/// to be acted on: keep the records, then note the transition, then tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "output", rename_all = "snake_case")]
pub enum Output {
    /// Something changed: for the history and the log.
    Transition(Transition),
    /// People are to be told.
    Notice(Notice),
    /// To be kept (replacing the record of the same key) in one transaction
    /// with the others of the call, before anyone is told.
    StateChanged(StateRecord),
}

/// A service's or a node's state, as one word.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Status {
    /// OK, WARNING, CRITICAL, UNKNOWN.
    Service(State),
    /// UP, DOWN, UNREACHABLE.
    Host(HostState),
}

impl Status {
    /// How bad it is among all, for sorting: 0 is well.
    pub fn rank(self) -> u8 {
        match self {
            Status::Host(HostState::Up) => 0,
            Status::Host(_) => u8::MAX,
            Status::Service(state) => state.severity(),
        }
    }
}

impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Service(state) => state.fmt(f),
            Status::Host(state) => state.fmt(f),
        }
    }
}

/// What sort of change a [`Transition`] is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum TransitionKind {
    /// From one state to another, or from soft to hard.
    State,
    /// The node's clock is off: samples from the future (they are not judged)
    /// or steadily from the past (they are).
    ClockSkew,
    /// The node's clock is right again.
    ClockOk,
}

/// A change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Transition {
    /// What sort of change it is.
    pub kind: TransitionKind,
    /// The node.
    pub node: String,
    /// The service; `None` when it is about the node itself.
    pub service: Option<String>,
    /// The state before; the same as `to` for a change of the clock.
    pub from: Status,
    /// The state now.
    pub to: Status,
    /// Whether `to` is hard: seen `max_check_attempts` times.
    pub hard: bool,
    /// The attempt, from 1.
    pub attempt: u32,
    /// When, on the samples' own time, ms.
    pub time_ms: TimeMs,
    /// Whether the samples were old (a replayed spool): nobody is told.
    pub stale: bool,
    /// Why, in one line.
    pub text: String,
}

/// What a notice is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum NoticeKind {
    /// Something is wrong, or differently wrong.
    Problem,
    /// It is right again.
    Recovery,
    /// Somebody is on it.
    Acknowledgement,
    /// It changes so often that its changes are told no more, until it is steady.
    Flapping,
}

impl NoticeKind {
    /// Nagios' `NOTIFICATIONTYPE`.
    pub fn word(self) -> &'static str {
        match self {
            NoticeKind::Problem => "PROBLEM",
            NoticeKind::Recovery => "RECOVERY",
            NoticeKind::Acknowledgement => "ACKNOWLEDGEMENT",
            NoticeKind::Flapping => "FLAPPINGSTART",
        }
    }
}

/// A field's value in a notice, and the limit that it has crossed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FieldValue {
    /// The field's name.
    pub field: String,
    /// Its label.
    pub label: String,
    /// The value judged (per second for a counter); `None` is unknown.
    pub value: Option<f64>,
    /// The field's own state.
    pub state: State,
    /// The range that it has left (or entered, with `@`), in Nagios' grammar.
    pub limit: Option<String>,
    /// The warning range that holds, in Nagios' grammar.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// The critical one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub critical: Option<String>,
    /// What the plugin says more of it (Munin's `extinfo`).
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub extinfo: String,
}

/// Another problem of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Part {
    /// The node.
    pub node: String,
    /// The service; `None` when it is the node itself.
    pub service: Option<String>,
    /// Its state.
    pub state: Status,
    /// What is wrong with it, in one line.
    pub text: String,
}

/// What people are told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Notice {
    /// `incident.sequence`: the same for the same notice however often it is
    /// tried, so that sending twice can be noticed.
    pub id: String,
    /// The incident: all notices from the first problem to its recovery.
    pub incident: String,
    /// Counts the incident's notices from 0.
    pub sequence: u32,
    /// Problem or recovery.
    pub kind: NoticeKind,
    /// The node; or the group.
    pub node: String,
    /// Whether `node` names a group with a quorum.
    #[serde(default)]
    pub of_group: bool,
    /// The service; `None` when it is about the node itself.
    pub service: Option<String>,
    /// The service's title.
    #[serde(default)]
    pub title: String,
    /// The state now.
    pub state: Status,
    /// Since when there is, or was, a problem, ms.
    pub since_ms: TimeMs,
    /// When this was decided, on the samples' time, ms.
    pub time_ms: TimeMs,
    /// The fields with limits, worst first.
    pub values: Vec<FieldValue>,
    /// What is wrong, in one line.
    pub text: String,
    /// The incident's other problems, worst first; the first so many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub with: Vec<Part>,
    /// How many there are.
    #[serde(default)]
    pub n_with: usize,
    /// What stands behind it and is told of by this alone: a node's services, and
    /// what depends on it; `NODE` or `NODE/SERVICE`, the first so many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub behind: Vec<String>,
    /// How many there are.
    #[serde(default)]
    pub n_behind: usize,
    /// The contacts by name; empty means all.
    #[serde(default)]
    pub contacts: Vec<String>,
    /// What the rules say of it.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
    /// It may have been told before: the collector ended between telling and
    /// noting it.
    #[serde(default)]
    pub repeated: bool,
    /// Whom it could not be told, and why: it is told in their stead.
    #[serde(default)]
    pub instead_of: Option<String>,
    /// It is only for those who were not notified of this incident's problem yet, see
    /// [`Notice::is_known_to`].
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub is_catch_up: bool,
}

impl Notice {
    /// Whether it is no news to somebody who was notified of a problem of the same
    /// incident in this state. That something was UNKNOWN was no warning of what is
    /// known of it now.
    pub fn is_known_to(&self, told: Status) -> bool {
        let unknown = Status::Service(State::Unknown);
        self.is_catch_up && (told != unknown || self.state == unknown)
    }
}

/// What must be kept for a restart.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StateRecord {
    /// `host/NODE`, `service/NODE/SERVICE`, `downtime/ID`, `pool/GROUP/SERVICE`,
    /// `incident/ID` or `memory/NODE/SERVICE/FIELD`.
    pub key: String,
    /// What it is, to be given back to [`crate::Machine::restore`].
    pub state: RecordState,
}

/// An incident that people were told of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Incident {
    /// Its id.
    pub id: String,
    /// The next notice's number.
    pub sequence: u32,
    /// When it began, ms.
    pub since_ms: TimeMs,
    /// When its problem was told last, ms.
    #[serde(default)]
    pub told_ms: TimeMs,
    /// Whether those who stand behind were told.
    #[serde(default)]
    pub escalated: bool,
}

impl Incident {
    /// One of which nobody was told yet.
    pub fn new(id: String, since_ms: TimeMs) -> Incident {
        Incident { id, sequence: 0, since_ms, told_ms: since_ms, escalated: false }
    }
}

/// The record of a node or a service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum RecordState {
    /// A node.
    Host {
        /// The node's name.
        node: String,
        /// Its group.
        #[serde(default)]
        group: String,
        /// UP or DOWN.
        state: HostState,
        /// Since when, ms.
        since_ms: TimeMs,
        /// Its fastest step, ms; 0 when not known.
        step_ms: u64,
        /// The incident that is open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incident: Option<Incident>,
        /// Who is on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acknowledged: Option<Acknowledgement>,
    },
    /// A service.
    Service {
        /// The node's name.
        node: String,
        /// The service's name.
        service: String,
        /// The state of the latest evaluation.
        state: State,
        /// Whether it is hard.
        hard: bool,
        /// The attempt, from 1.
        attempt: u32,
        /// Since when `state`, ms.
        since_ms: TimeMs,
        /// Since when not OK, ms.
        problem_ms: TimeMs,
        /// The latest hard state.
        hard_state: State,
        /// The state that people were told of, if it was a problem.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        notified: Option<State>,
        /// The incident that is open.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        incident: Option<Incident>,
        /// Who is on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acknowledged: Option<Acknowledgement>,
        /// All are still to be notified of its change.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_owed: bool,
        /// Whether the latest word of it was that it flaps; `None`: as `flapping` says.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        flap_told: Option<bool>,
        /// Only old samples have shown its state.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        is_stale: bool,
        /// The time of the latest evaluation, ms.
        last_ms: TimeMs,
        /// Which of its latest states were changes, and whether it flaps.
        #[serde(default)]
        flap_bits: u32,
        /// Whether it flaps.
        #[serde(default)]
        flapping: bool,
        /// The fields that are not OK.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        fields: Vec<FieldValue>,
    },
    /// A downtime.
    Downtime {
        /// It.
        downtime: Downtime,
    },
    /// A group whose quorum was reached, and told.
    Pool {
        /// The group.
        group: String,
        /// The service; `None`: its nodes are DOWN.
        service: Option<String>,
        /// The incident that is open.
        incident: Incident,
        /// The worst state that was notified; `None`: CRITICAL, it was not kept.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        told: Option<State>,
        /// Whom it was for; empty: all.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        contacts: Option<Vec<String>>,
        /// Who is on it.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        acknowledged: Option<Acknowledgement>,
    },
    /// An incident that is open. Who is of it stands in their own records.
    Incident {
        /// It.
        incident: Incident,
        /// The node that it began with.
        node: String,
        /// The service; `None`: the node itself.
        service: Option<String>,
        /// The worst state that was told.
        told: Status,
        /// When it was told first, on the collector's clock, ms.
        opened_ms: TimeMs,
        /// How many problems the latest telling spoke of.
        n_told: usize,
        /// How many it has had.
        n_all: usize,
    },
    /// What a forecast has seen.
    Memory {
        /// The node.
        node: String,
        /// The service.
        service: String,
        /// The name that the rule gives it.
        field: String,
        /// It.
        memory: Vec<Memory>,
        /// The text of the expression that it is of.
        #[serde(default)]
        of: String,
        /// Of which time it knows, from and to, UTC, ms.
        #[serde(default)]
        seen: Option<(TimeMs, TimeMs)>,
    },
    /// Forgotten: the record can be deleted.
    Gone,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::sample;

    #[test]
    fn what_is_said_survives_json() {
        let up = Status::Host(HostState::Down);
        let transition = Transition {
            kind: TransitionKind::ClockSkew,
            node: "n".to_owned(),
            service: None,
            from: up,
            to: up,
            hard: true,
            attempt: 1,
            time_ms: -1,
            stale: false,
            text: "x".to_owned(),
        };
        for output in [
            Output::Notice(sample(NoticeKind::Problem, 0)),
            Output::Transition(transition),
            Output::StateChanged(StateRecord { key: "k".to_owned(), state: RecordState::Gone }),
        ] {
            let json = serde_json::to_string(&output).expect("writes");
            assert_eq!(serde_json::from_str::<Output>(&json).expect(&json), output);
        }
    }
}
