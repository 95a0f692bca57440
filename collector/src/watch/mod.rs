//! Watching: every row, right after it is on disk, goes to the alert machine;
//! what the machine says is written down before anyone is told.
//!
//! In: rows from the writer. Out: records, transitions and an outbox of notices
//! in `state.sqlite` ([`ledger`], [`outbox`]), which [`deliver`] empties; once a day
//! the [`digest`] of what was not urgent; and passive results ([`passive`]). What rules
//! want to know of the past is read by [`learn`].

pub mod aggregates;
pub mod always;
pub mod clock;
pub mod deliver;
pub mod digest;
mod holding;
pub mod hush;
mod identity;
pub mod intake;
mod lane;
pub mod learn;
pub mod ledger;
pub mod outbox;
pub mod passive;
pub mod recall;
mod rows;
pub mod trouble;
pub mod why;

#[cfg(test)]
mod fake;
#[cfg(test)]
mod promise;
#[cfg(test)]
mod storms;

pub use identity::Identities;

use crate::catalog::{LayoutIndex, NodeEntry, ServiceEntry};
use crate::history::{Problem, ServiceState, States, Trouble};
use crate::quarantine::{self, Judging};
use crate::store::{StoreError, now_ms};
use crate::writer::Observer;
use ledger::Ledger;
use rookery_alerts::{Downtime, Machine, Notifier, Output, Plan, Rules, ServiceView, Settings};
use rookery_plugins::wire::Row;
use rookery_plugins::{HostState, LayoutId, ServiceSpec, State, TimeMs};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::{Notify, oneshot};
use trouble::Health;

/// How often the machine looks for silent nodes, ms.
const TICK_MS: TimeMs = 1000;

/// The alert machine, shared with those who ask it, or tell it something.
#[derive(Clone)]
pub struct Alerts(Arc<Mutex<Live>>);

/// The machine, and what it said: in one order, whoever made it speak.
struct Live {
    machine: Machine,
    /// Those that the machine has.
    rules: Rules,
    /// Not written down yet.
    out: Vec<Output>,
    /// Who waits until it is.
    waiting: Vec<oneshot::Sender<Result<(), String>>>,
    /// Which ways of telling work.
    health: Arc<Health>,
}

impl Alerts {
    fn live(&self) -> MutexGuard<'_, Live> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which ways of telling work: for those who use them.
    pub fn health(&self) -> Arc<Health> {
        self.live().health.clone()
    }

    /// Makes the nodes' services known before their first rows.
    pub fn know(&self, nodes: &[Arc<NodeEntry>]) {
        for node in nodes.iter().filter(|n| !n.is_retired()) {
            let services = node.services();
            // Averages of long ago are not judged.
            let is_judged =
                |s: &&ServiceEntry| s.active && crate::past::period_s(&s.spec).is_none();
            let active = services.iter().filter(is_judged).map(|s| &*s.spec);
            self.live().machine.know(&node.name, &node.group(), active);
        }
    }

    /// A node is called otherwise: its states, and the rules that name it, follow.
    pub fn rename(&self, from: &str, to: &str) {
        let mut live = self.live();
        let Live { machine, rules, out, .. } = &mut *live;
        let n = rules.rename(from, to);
        if n > 0 {
            tracing::warn!(
                n,
                "rules or dependencies name the node {from:?}, which is called {to:?} now: they \
                 follow; write the new name into them"
            );
        }
        machine.rename_node(from, to, rules.clone(), out);
    }

    /// Forgets what is known of nodes that are retired, as after a crash in between.
    pub fn forget_retired(&self, nodes: &[Arc<NodeEntry>]) {
        let mut live = self.live();
        let Live { machine, out, .. } = &mut *live;
        nodes.iter().filter(|n| n.is_retired()).for_each(|n| machine.forget_node(&n.name, out));
    }

    /// Tells the machine something. The answer comes when what came of it is on
    /// disk, within about a second; an error at once where it was refused.
    pub fn tell(
        &self,
        what: impl FnOnce(&mut Machine, &mut Vec<Output>) -> Result<(), String>,
    ) -> Result<oneshot::Receiver<Result<(), String>>, String> {
        let mut live = self.live();
        let Live { machine, out, waiting, .. } = &mut *live;
        what(machine, out)?;
        let (done, answer) = oneshot::channel();
        waiting.push(done);
        Ok(answer)
    }
}

/// Opens `state.sqlite` in `dir` and wakes the machine as it was.
pub fn open(
    dir: &Path,
    rules: Rules,
    settings: Settings,
    notifier: Arc<Notifier>,
) -> Result<(Alerts, Watcher), StoreError> {
    let ledger = Ledger::open(dir)?;
    let mut machine = Machine::new(rules.clone(), settings);
    machine.learn_from_history();
    machine.restore(&ledger.records()?);
    let health = Arc::new(Health::default());
    // Targets of passive results are not known here: what fails of them says so again.
    let aside = quarantine::told(dir);
    ledger.read_troubles(&health, |what| {
        notifier.knows(what) || aside.iter().any(|(name, _)| name == what)
    })?;
    let live = Live { machine, rules, out: Vec::new(), waiting: Vec::new(), health };
    let alerts = Alerts(Arc::new(Mutex::new(live)));
    let watcher = Watcher {
        alerts: alerts.clone(),
        plans: HashMap::new(),
        ledger,
        notifier,
        changes: None,
        due: Arc::new(Notify::new()),
        wanted: Arc::new(Notify::new()),
        unsaved: Vec::new(),
        is_failing: false,
        ticked_ms: 0,
        steps: None,
        kinds: Vec::new(),
        bits: Vec::new(),
        judging: Judging::open(dir),
    };
    Ok((alerts, watcher))
}

/// The writer's observer.
pub struct Watcher {
    alerts: Alerts,
    plans: HashMap<(i64, LayoutId), Plan>,
    ledger: Ledger,
    notifier: Arc<Notifier>,
    /// For those who are told of every hard state.
    changes: Option<Arc<passive::Changes>>,
    due: Arc<Notify>,
    wanted: Arc<Notify>,
    /// What could not be written down yet.
    unsaved: Vec<Output>,
    /// The last try to write it down failed.
    is_failing: bool,
    ticked_ms: TimeMs,
    /// Finds out that the wall clock was set; `None`: time is somebody else's.
    steps: Option<clock::Steps>,
    kinds: Vec<u8>,
    bits: Vec<u64>,
    /// Which rows are judged.
    judging: Judging,
}

impl Watcher {
    /// Rings when there is something in the outbox.
    pub fn due(&self) -> Arc<Notify> {
        self.due.clone()
    }

    /// From now on times are of this machine's wall clock, which may be set.
    pub fn watch_clock(&mut self, now_ms: TimeMs) {
        self.steps = Some(clock::Steps::new(now_ms));
    }

    /// Rings when the machine wants to be told of the past.
    pub fn wanted(&self) -> Arc<Notify> {
        self.wanted.clone()
    }

    /// From now on hard states are noted there, once they are written down.
    pub fn note_changes(&mut self, changes: Arc<passive::Changes>) {
        self.changes = Some(changes);
    }

    fn save(&mut self, now_ms: TimeMs) {
        let waiting = {
            let mut live = self.alerts.live();
            self.unsaved.append(&mut live.out);
            std::mem::take(&mut live.waiting)
        };
        if self.unsaved.is_empty() {
            return;
        }
        let channels = |notice: &_| {
            let all = self.notifier.channels_for(notice).into_iter();
            let judged = |c: String| {
                let verdict = self.notifier.verdict(&c, notice, now_ms);
                (c, verdict)
            };
            all.map(judged).collect()
        };
        match self.ledger.save(&self.unsaved, channels, now_ms) {
            Ok(n_notices) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("alert states are written down again");
                }
                self.log();
                if let Some(changes) = &self.changes {
                    changes.note(&self.unsaved);
                }
                self.unsaved.clear();
                if n_notices > 0 {
                    self.due.notify_one();
                }
                // Who does not wait any more need not know.
                waiting.into_iter().for_each(|w| drop(w.send(Ok(()))));
            }
            Err(e) => {
                // Kept, and tried again with the next: nobody is told before.
                let text = format!("alert states cannot be written down, nobody is told: {e}");
                if !self.is_failing {
                    self.is_failing = true;
                    tracing::error!("{text}");
                }
                waiting.into_iter().for_each(|w| drop(w.send(Err(text.clone()))));
            }
        }
    }

    fn log(&self) {
        for output in &self.unsaved {
            if let Output::Transition(t) = output {
                let service = t.service.as_deref().unwrap_or("-");
                let kind = if t.hard { "hard" } else { "soft" };
                tracing::info!(node = t.node, service, kind, "{} -> {}: {}", t.from, t.to, t.text);
            }
        }
    }
}

impl Observer for Watcher {
    fn row(&mut self, node: &Arc<NodeEntry>, index: &Arc<LayoutIndex>, row: &Row<'_>, now: TimeMs) {
        let mut live = self.alerts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Live { machine, out, .. } = &mut *live;
        let is_judged = self.judging.is_judged(&node.name, row.layout.0);
        let _judged = self.judging.begin(&node.name, row.layout.0);
        let make = || plan(machine, node, index, is_judged);
        let plan = self.plans.entry((node.id, row.layout)).or_insert_with(make);
        if !plan.is_empty() {
            row.expand_kinds(&mut self.kinds);
            self.bits.clear();
            row.append_bits(&mut self.bits);
        } else {
            self.kinds.clear();
            self.bits.clear();
        }
        machine.observe(plan, row.time_ms, &self.kinds, &self.bits, now, out);
    }

    fn described(&mut self, node: &Arc<NodeEntry>) {
        self.plans.retain(|(id, _), _| *id != node.id);
        let gone: Vec<String> = node
            .services()
            .into_iter()
            .filter(|s| !s.active)
            .map(|s| s.spec.name.clone())
            .collect();
        let mut live = self.alerts.live();
        let Live { machine, out, .. } = &mut *live;
        for service in gone {
            machine.forget_service(&node.name, &service, out);
        }
    }

    fn renamed(&mut self, from: &str, node: &Arc<NodeEntry>) {
        self.plans.retain(|(id, _), _| *id != node.id);
        // What waits still bears the former name.
        self.save(now_ms());
        if let Err(e) = self.ledger.rename(from, &node.name) {
            tracing::error!("what was of {from:?} stays under that name: {e}");
        }
        self.alerts.rename(from, &node.name);
        self.alerts.know(std::slice::from_ref(node));
    }

    fn retired(&mut self, node: &str) {
        let mut live = self.alerts.live();
        let Live { machine, out, .. } = &mut *live;
        machine.forget_node(node, out);
    }

    fn settle(&mut self, now_ms: TimeMs) {
        if let Some(step_ms) = self.steps.as_mut().and_then(|s| s.since_last(now_ms)) {
            tracing::warn!("the clock was set by {} s: silence is counted on", step_ms / 1000);
            self.ticked_ms = self.ticked_ms.saturating_add(step_ms);
            self.alerts.live().machine.step_clock(step_ms);
        }
        // A clock that was set back must not stop the ticking.
        if (now_ms - self.ticked_ms).abs() >= TICK_MS {
            self.ticked_ms = now_ms;
            let mut live = self.alerts.live();
            let Live { machine, out, .. } = &mut *live;
            machine.tick(now_ms, out);
        }
        if self.alerts.live().machine.is_wanting() {
            self.wanted.notify_one();
        }
        self.save(now_ms);
    }
}

fn plan(machine: &mut Machine, node: &NodeEntry, index: &LayoutIndex, is_judged: bool) -> Plan {
    let specs: HashMap<String, Arc<ServiceSpec>> =
        node.services().into_iter().map(|s| (s.spec.name.clone(), s.spec)).collect();
    // Averages of long ago are not judged.
    let find = |name: &str| {
        let spec = specs.get(name).map(Arc::as_ref).filter(|_| is_judged);
        spec.filter(|s| crate::past::period_s(s).is_none())
    };
    let plan = machine.plan(&node.name, &node.group(), &find, &index.layout);
    for note in plan.notes() {
        tracing::warn!(node = node.name, "{note}");
    }
    plan
}

impl States for Alerts {
    fn host_state(&self, node: &str) -> (HostState, TimeMs) {
        let view = self.live().machine.host_state(node);
        view.map_or((HostState::Up, 0), |v| (v.state, v.since_ms.unwrap_or(0)))
    }

    fn service_state(&self, node: &str, service: &str) -> ServiceState {
        let live = self.live();
        let state = live.machine.service_state(node, service);
        let state = state.map_or_else(ServiceState::default, state_of);
        match live.machine.host_state(node) {
            Some(host) if host.state != HostState::Up => behind(state, host.state, host.since_ms),
            _ => state,
        }
    }

    fn field_state(&self, node: &str, service: &str, field: &str) -> State {
        self.live().machine.field_state(node, service, field).map_or(State::Ok, |v| v.state)
    }

    fn field_limits(
        &self,
        node: &str,
        service: &str,
        field: &str,
    ) -> (Option<String>, Option<String>) {
        let view = self.live().machine.field_state(node, service, field);
        view.map_or((None, None), |v| {
            (v.warning.map(|r| r.to_string()), v.critical.map(|r| r.to_string()))
        })
    }

    fn depends_on(&self, node: &str, group: &str, service: Option<&str>) -> Vec<Vec<String>> {
        let live = self.live();
        let of = live.rules.dependencies_of(node, group, service);
        let all = of.into_iter().filter_map(|i| live.rules.dependency(i));
        all.map(|d| d.on.0.iter().map(ToString::to_string).collect()).collect()
    }

    fn downtimes(&self) -> Vec<Downtime> {
        self.live().machine.downtimes().to_vec()
    }

    fn troubles(&self) -> Vec<Trouble> {
        self.health().troubles()
    }

    fn problems(&self) -> Vec<Problem> {
        let live = self.live();
        let mut all: Vec<Problem> = live
            .machine
            .problems()
            .map(|p| match p.service {
                Some((service, view)) => Problem {
                    node: p.node,
                    service: Some(service),
                    host_state: p.host.state,
                    incident: view.incident.clone(),
                    state: state_of(view),
                },
                None => Problem {
                    node: p.node,
                    service: None,
                    host_state: p.host.state,
                    incident: p.host.incident,
                    state: ServiceState {
                        state: State::Critical,
                        hard: true,
                        hard_state: State::Critical,
                        since_ms: p.host.since_ms.unwrap_or(0),
                        text: "nothing arrives from it".to_owned(),
                        acknowledged: p.host.acknowledged,
                        downtime: p.host.downtime,
                    },
                },
            })
            .collect();
        all.sort_by_key(|p| {
            let host = u8::from(p.service.is_none());
            std::cmp::Reverse((
                !p.state.is_handled(),
                host,
                p.state.state.severity(),
                p.state.since_ms,
            ))
        });
        all
    }
}

/// A service of a node that does not report: whatever it was, nobody knows.
fn behind(before: ServiceState, host: HostState, since_ms: Option<TimeMs>) -> ServiceState {
    ServiceState {
        state: State::Unknown,
        hard: true,
        hard_state: State::Unknown,
        since_ms: since_ms.unwrap_or(before.since_ms),
        text: format!("its node is {host}: nothing arrives from it"),
        ..before
    }
}

fn state_of(view: ServiceView) -> ServiceState {
    let is_ok = view.state == State::Ok;
    ServiceState {
        state: view.state,
        hard: view.hard,
        hard_state: view.hard_state,
        since_ms: view.since_ms.unwrap_or(0),
        text: if is_ok && !view.is_own_text { String::new() } else { view.text },
        acknowledged: view.acknowledged,
        downtime: view.downtime,
    }
}
