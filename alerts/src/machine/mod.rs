//! The alert machine: thresholds and states, without I/O and without a clock.
//!
//! Everything runs on the samples' own time, in order per field. A sample that
//! is not newer than the newest seen of its field is history only. Samples of
//! a replayed spool (older than [`Settings::stale_after_steps`]) move the
//! states, but nobody is told of what is over: telling looks at the state as
//! it stands at the first sample of the present. That is why it is enough to
//! compare the hard state with the one people were told of, and why a restart
//! in between tells nothing twice.
//!
//! The hot path is [`Machine::observe`]: a [`Plan`] names the few columns of a
//! row that have limits by index, so that a row without any costs a few
//! comparisons, and no row that stays as it was allocates or hashes.

mod arrivals;
mod derived;
mod evaluate;
mod flap;
mod formula;
mod fresh;
mod gather;
mod hosts;
mod hush;
mod lasting;
mod learn;
mod naming;
mod news;
mod notice;
mod parents;
mod plan;
mod pool;
mod records;
mod settings;
mod tally;
mod threads;
mod views;
mod why;
mod words;

#[cfg(test)]
mod scenario;
#[cfg(test)]
mod silences;
#[cfg(test)]
mod tests;

use crate::expression::Expression;
use crate::memory::Memory;
use crate::output::{Incident, Status};
use crate::period::{Period, Times};
use crate::quorum::Quorum;
use crate::rules::Rules;
use derived::{Cdef, Reading};
use flap::Flap;
use learn::Learning;
use rookery_plugins::{FieldType, HostState, LayoutId, Range, State, TimeMs, Value};
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

pub use hush::{Acknowledgement, COMMENT_BYTES_MAX, DOWNTIMES_MAX, Downtime};
pub use lasting::Lasting;
pub use learn::{Lesson, Seen, Want};
pub use plan::Plan;
pub use settings::Settings;
pub use views::{FieldView, HostView, Problem, ServiceView};
pub use why::WHY_TOLD;

/// A time before every sample.
const NEVER: TimeMs = TimeMs::MIN;

/// All states, and the rules that make them.
#[derive(Debug)]
pub struct Machine {
    rules: Rules,
    settings: Settings,
    nodes: Vec<Node>,
    services: Vec<Service>,
    fields: Vec<Field>,
    by_name: HashMap<String, u32>,
    /// When watching began, or began anew after a pause: nobody is silent
    /// for longer than that.
    started_ms: Option<TimeMs>,
    last_tick_ms: TimeMs,
    downtimes: Vec<Downtime>,
    /// When those are that come again, by id.
    repeats: HashMap<String, Times>,
    /// Groups with a quorum that people were told of.
    pools: BTreeMap<(String, Option<String>), pool::Pool>,
    /// Fields of which something must come, looked at now and then.
    expected: BTreeSet<u32>,
    /// Fields that are computed of others by functions that remember something.
    formulas: BTreeSet<u32>,
    /// Memories of formulas that were kept, until their fields are known.
    kept: HashMap<String, Kept>,
    /// Somebody tells what [`Machine::wants`] asks of the past.
    has_history: bool,
    /// Computed fields that want to be told of it.
    wanting: BTreeSet<u32>,
    /// How many wants there were.
    tickets: u64,
    /// The open incidents, by id.
    threads: BTreeMap<String, Thread>,
    /// The service whose freshness was looked at last.
    fresh_at: usize,
    /// Services that are well, of which that is told when it is sure.
    calming: BTreeSet<u32>,
    /// Services whose change is kept back by something that silences it.
    changed: BTreeSet<u32>,
    /// Who is acknowledged, or was.
    acknowledged: BTreeSet<Member>,
    /// Services that lost a field that was bad.
    resettled: BTreeSet<u32>,
    /// What was restored was looked at again, see [`Machine::look_again`].
    is_awake: bool,
    /// Hard problems of which nobody was told yet, and since when they wait, on the
    /// collector's clock.
    waiting: BTreeMap<Member, TimeMs>,
    /// Those of them that were silenced, so that no message has named them.
    silenced: BTreeSet<Member>,
}

/// A node or a service, by index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Member {
    Node(u32),
    Service(u32),
}

/// An incident that people were told of.
#[derive(Clone, Debug)]
struct Thread {
    incident: Incident,
    /// What it began with: all its notices bear this name.
    node: String,
    service: Option<String>,
    /// The worst that was told.
    told: Status,
    /// When it was told first, on the collector's clock, ms.
    opened_ms: TimeMs,
    /// How many members the latest telling spoke of.
    n_told: usize,
    /// How many it has had.
    n_all: usize,
    members: BTreeSet<Member>,
}

/// A node, by index: plans hold indices, so nothing is ever moved.
#[derive(Debug)]
struct Node {
    name: String,
    group: String,
    services: BTreeMap<String, u32>,
    slots: Vec<Slot>,
    state: HostState,
    since_ms: TimeMs,
    /// When something last arrived, on the collector's clock.
    last_seen_ms: TimeMs,
    /// The fastest step of before a restart, until plans say better; ms.
    step_ms: u64,
    /// The open incident's id: people were told that it is DOWN.
    incident: Option<String>,
    acknowledged: Option<Acknowledgement>,
    quorum: Option<Quorum>,
    contacts: Vec<String>,
    lasting: Lasting,
    labels: BTreeMap<String, String>,
    /// When people are told; `None`: always.
    period: Option<Arc<Period>>,
    /// By which of the rules' dependencies it depends.
    depends: Vec<u32>,
    /// When it was last UP again, on the collector's clock.
    recovered_ms: TimeMs,
    /// When a row of the past came last, on the collector's clock.
    replayed_ms: TimeMs,
    /// A rule wants nobody to be told that it is DOWN.
    silenced: bool,
    skewed: bool,
    /// The record in the store is not this.
    dirty: bool,
    gone: bool,
}

/// One layout of a node: how often it is expected.
#[derive(Debug)]
struct Slot {
    layout: LayoutId,
    /// 0 when not known: it is then not expected.
    step_ms: i64,
    last_now_ms: TimeMs,
    last_time_ms: TimeMs,
    /// Rows in a row that were old but came at the pace of their times.
    steady: u32,
    /// Overdue while others of the node report: not expected any more.
    retired: bool,
}

#[derive(Debug)]
struct Service {
    node: u32,
    name: String,
    title: String,
    /// What a check executable says of itself; empty: it is no such service.
    said: String,
    fields: Vec<u32>,
    attempts_max: u32,
    quorum: Option<Quorum>,
    contacts: Vec<String>,
    lasting: Lasting,
    flap: Flap,
    /// The latest state that was OK or hard.
    seen: Option<State>,
    labels: BTreeMap<String, String>,
    state: State,
    hard: bool,
    attempt: u32,
    since_ms: TimeMs,
    problem_ms: TimeMs,
    hard_state: State,
    last_ms: TimeMs,
    notified: Option<State>,
    /// Its acknowledgement ended by a change that all are still to be notified of.
    is_owed: bool,
    /// The latest word of it was that it flaps.
    flap_told: bool,
    /// Only old samples have shown its state: it wakes nobody.
    is_stale: bool,
    /// Which of its fields are bad and how, as a sum that changes with that.
    bad_fields: u64,
    /// The open incident's id: there is one while `notified` says something.
    incident: Option<String>,
    acknowledged: Option<Acknowledgement>,
    /// How often it is expected, ms; 0 when not known.
    step_ms: i64,
    /// All its fields with limits came too long ago.
    is_late: bool,
    /// When people are told; `None`: always.
    period: Option<Arc<Period>>,
    /// By which of the rules' dependencies it depends.
    depends: Vec<u32>,
    /// When a hard problem of it was last over, on the collector's clock.
    recovered_ms: TimeMs,
    gone: bool,
}

#[derive(Debug)]
struct Field {
    service: u32,
    name: String,
    label: String,
    /// What the plugin says more of it.
    extinfo: String,
    kind: FieldType,
    min: Option<f64>,
    max: Option<f64>,
    cdef: Option<Cdef>,
    warning: Option<Range>,
    critical: Option<Range>,
    unknown_limit: u32,
    hysteresis: f64,
    /// Has limits and is not silenced.
    active: bool,
    state: State,
    last_ms: TimeMs,
    /// When its newest value came, on the collector's clock, …
    arrived_ms: TimeMs,
    /// … and how long after the one before, of late at the most, ms; 0: not known.
    gap_ms: i64,
    /// … which is too long ago.
    is_late: bool,
    /// The latest reading, for a rate.
    before: Option<(TimeMs, Value)>,
    /// The same as level or rate, before the cdef.
    reading: Reading,
    /// For when it was made of its siblings last.
    derived_ms: TimeMs,
    /// As judged: per second, after the cdef.
    value: Option<f64>,
    unknowns: u32,
    /// It is CRITICAL when nothing came of it for so long, ms, …
    absent_ms: Option<i64>,
    /// … which it is.
    is_absent: bool,
    /// What it is computed from, where a rule says so.
    formula: Option<Box<Formula>>,
}

/// What a field is that a rule computes of others.
#[derive(Debug)]
struct Formula {
    expression: Arc<Expression>,
    /// The fields that it names, in its order.
    of: Vec<u32>,
    memory: Vec<Memory>,
    /// When its memory was last written down.
    kept_ms: TimeMs,
    /// The first and the last time of which that knows.
    seen: Option<(TimeMs, TimeMs)>,
    /// It is still to be told of the past.
    learning: Option<Learning>,
}

/// A memory as it was written down.
#[derive(Clone, Debug)]
struct Kept {
    /// The expression's text.
    of: String,
    memory: Vec<Memory>,
    seen: Option<(TimeMs, TimeMs)>,
}

impl Machine {
    /// A machine that knows no node yet.
    pub fn new(rules: Rules, settings: Settings) -> Machine {
        Machine {
            rules,
            settings,
            nodes: Vec::new(),
            services: Vec::new(),
            fields: Vec::new(),
            by_name: HashMap::new(),
            started_ms: None,
            last_tick_ms: NEVER,
            downtimes: Vec::new(),
            repeats: HashMap::new(),
            pools: BTreeMap::new(),
            expected: BTreeSet::new(),
            formulas: BTreeSet::new(),
            kept: HashMap::new(),
            has_history: false,
            wanting: BTreeSet::new(),
            tickets: 0,
            threads: BTreeMap::new(),
            fresh_at: 0,
            calming: BTreeSet::new(),
            changed: BTreeSet::new(),
            acknowledged: BTreeSet::new(),
            resettled: BTreeSet::new(),
            is_awake: true,
            waiting: BTreeMap::new(),
            silenced: BTreeSet::new(),
        }
    }

    /// The settings it was made with.
    pub fn settings(&self) -> &Settings {
        &self.settings
    }

    fn node_idx(&mut self, name: &str) -> u32 {
        if let Some(idx) = self.by_name.get(name) {
            return *idx;
        }
        let idx = self.nodes.len() as u32;
        self.nodes.push(Node {
            name: name.to_owned(),
            group: String::new(),
            services: BTreeMap::new(),
            slots: Vec::new(),
            state: HostState::Up,
            since_ms: NEVER,
            last_seen_ms: NEVER,
            step_ms: 0,
            incident: None,
            acknowledged: None,
            quorum: None,
            contacts: Vec::new(),
            lasting: Lasting::default(),
            labels: BTreeMap::new(),
            period: None,
            depends: Vec::new(),
            recovered_ms: NEVER,
            replayed_ms: NEVER,
            silenced: false,
            skewed: false,
            dirty: true,
            gone: false,
        });
        self.by_name.insert(name.to_owned(), idx);
        idx
    }

    /// Notes a node's group and what the rules say of the node itself.
    fn settle_node(&mut self, idx: u32, group: &str) {
        let node = &mut self.nodes[idx as usize];
        group.clone_into(&mut node.group);
        let terms = self.rules.node_terms(&node.name, group);
        node.silenced = !terms.enabled;
        node.quorum = terms.quorum;
        node.lasting = terms.lasting;
        (node.contacts, node.labels) = (terms.contacts, terms.labels);
        node.period = terms.period;
        node.depends = self.rules.dependencies_of(&node.name, group, None);
    }

    fn service_idx(&mut self, node: u32, name: &str) -> u32 {
        if let Some(idx) = self.nodes[node as usize].services.get(name) {
            return *idx;
        }
        let idx = self.services.len() as u32;
        self.services.push(Service {
            node,
            name: name.to_owned(),
            title: String::new(),
            said: String::new(),
            fields: Vec::new(),
            attempts_max: self.settings.max_check_attempts,
            quorum: None,
            contacts: Vec::new(),
            lasting: Lasting::default(),
            flap: Flap::default(),
            seen: None,
            labels: BTreeMap::new(),
            state: State::Ok,
            hard: true,
            attempt: 1,
            since_ms: NEVER,
            problem_ms: NEVER,
            hard_state: State::Ok,
            last_ms: NEVER,
            notified: None,
            is_owed: false,
            flap_told: false,
            is_stale: false,
            bad_fields: 0,
            incident: None,
            acknowledged: None,
            step_ms: 0,
            is_late: false,
            period: None,
            depends: Vec::new(),
            recovered_ms: NEVER,
            gone: false,
        });
        self.nodes[node as usize].services.insert(name.to_owned(), idx);
        idx
    }

    fn field_idx(&mut self, service: u32, name: &str) -> u32 {
        let of = &self.services[service as usize].fields;
        if let Some(idx) = of.iter().find(|f| self.fields[**f as usize].name == name) {
            return *idx;
        }
        let idx = self.fields.len() as u32;
        self.fields.push(Field {
            service,
            name: name.to_owned(),
            label: String::new(),
            extinfo: String::new(),
            kind: FieldType::Gauge,
            min: None,
            max: None,
            cdef: None,
            warning: None,
            critical: None,
            unknown_limit: self.settings.unknown_limit,
            hysteresis: 0.0,
            active: true,
            state: State::Ok,
            last_ms: NEVER,
            arrived_ms: NEVER,
            gap_ms: 0,
            is_late: false,
            before: None,
            reading: Reading::Nothing,
            derived_ms: NEVER,
            value: None,
            unknowns: 0,
            absent_ms: None,
            is_absent: false,
            formula: None,
        });
        self.services[service as usize].fields.push(idx);
        idx
    }
}

/// An incident's id: when it began and where. Deterministic, so that a second
/// run over the same samples names it the same. 64 bits keep apart ten thousand
/// services that turn bad in the same millisecond.
fn incident_id(node: &str, service: &str, since_ms: TimeMs) -> String {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    for b in node.bytes().chain([0]).chain(service.bytes()) {
        hash = (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    format!("{since_ms:x}-{hash:016x}")
}
