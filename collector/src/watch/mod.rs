//! Watching: every row, right after it is on disk, goes to the alert machine;
//! what the machine says is written down before anyone is told.
//!
//! In: rows from the writer. Out: records, transitions and an outbox of notices
//! in `state.sqlite` ([`ledger`]), which [`deliver`] empties.

pub mod deliver;
pub mod ledger;

use crate::catalog::{LayoutIndex, NodeEntry};
use crate::history::{Problem, ServiceState, States};
use crate::store::StoreError;
use crate::writer::Observer;
use ledger::Ledger;
use rookery_alerts::{Machine, Notifier, Output, Plan, Rules, ServiceView, Settings};
use rookery_plugins::wire::Row;
use rookery_plugins::{HostState, LayoutId, ServiceSpec, State, TimeMs};
use std::collections::HashMap;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use tokio::sync::Notify;

/// How often the machine looks for silent nodes, ms.
const TICK_MS: TimeMs = 1000;

/// The alert machine, shared with those who ask it.
#[derive(Clone)]
pub struct Alerts(Arc<Mutex<Machine>>);

impl Alerts {
    fn machine(&self) -> MutexGuard<'_, Machine> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
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
    let mut machine = Machine::new(rules, settings);
    machine.restore(&ledger.records()?);
    let alerts = Alerts(Arc::new(Mutex::new(machine)));
    let watcher = Watcher {
        alerts: alerts.clone(),
        plans: HashMap::new(),
        ledger,
        notifier,
        due: Arc::new(Notify::new()),
        out: Vec::new(),
        unsaved: Vec::new(),
        is_failing: false,
        ticked_ms: 0,
        kinds: Vec::new(),
        bits: Vec::new(),
    };
    Ok((alerts, watcher))
}

/// The writer's observer.
pub struct Watcher {
    alerts: Alerts,
    plans: HashMap<(i64, LayoutId), Plan>,
    ledger: Ledger,
    notifier: Arc<Notifier>,
    due: Arc<Notify>,
    out: Vec<Output>,
    /// What could not be written down yet.
    unsaved: Vec<Output>,
    /// The last try to write it down failed.
    is_failing: bool,
    ticked_ms: TimeMs,
    kinds: Vec<u8>,
    bits: Vec<u64>,
}

impl Watcher {
    /// Rings when there is something in the outbox.
    pub fn due(&self) -> Arc<Notify> {
        self.due.clone()
    }

    fn save(&mut self, now_ms: TimeMs) {
        self.unsaved.append(&mut self.out);
        if self.unsaved.is_empty() {
            return;
        }
        let channels = |notice: &_| self.notifier.channels_for(notice);
        match self.ledger.save(&self.unsaved, channels, now_ms) {
            Ok(n_notices) => {
                if std::mem::take(&mut self.is_failing) {
                    tracing::info!("alert states are written down again");
                }
                self.log();
                self.unsaved.clear();
                if n_notices > 0 {
                    self.due.notify_one();
                }
            }
            // Kept, and tried again with the next: nobody is told before.
            Err(e) if !self.is_failing => {
                self.is_failing = true;
                tracing::error!("alert states cannot be written down, nobody is told: {e}");
            }
            Err(_) => {}
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
        let mut machine = self.alerts.0.lock().unwrap_or_else(PoisonError::into_inner);
        let plan = self
            .plans
            .entry((node.id, row.layout))
            .or_insert_with(|| plan(&mut machine, node, index));
        if !plan.is_empty() {
            row.expand_kinds(&mut self.kinds);
            self.bits.clear();
            row.append_bits(&mut self.bits);
        } else {
            self.kinds.clear();
            self.bits.clear();
        }
        machine.observe(plan, row.time_ms, &self.kinds, &self.bits, now, &mut self.out);
    }

    fn described(&mut self, node: &Arc<NodeEntry>) {
        self.plans.retain(|(id, _), _| *id != node.id);
        let gone: Vec<String> = node
            .services()
            .into_iter()
            .filter(|s| !s.active)
            .map(|s| s.spec.name.clone())
            .collect();
        let mut machine = self.alerts.0.lock().unwrap_or_else(PoisonError::into_inner);
        for service in gone {
            machine.forget_service(&node.name, &service, &mut self.out);
        }
    }

    fn settle(&mut self, now_ms: TimeMs) {
        // A clock that was set back must not stop the ticking.
        if (now_ms - self.ticked_ms).abs() >= TICK_MS {
            self.ticked_ms = now_ms;
            self.alerts.machine().tick(now_ms, &mut self.out);
        }
        self.save(now_ms);
    }
}

fn plan(machine: &mut Machine, node: &NodeEntry, index: &LayoutIndex) -> Plan {
    let specs: HashMap<String, Arc<ServiceSpec>> =
        node.services().into_iter().map(|s| (s.spec.name.clone(), s.spec)).collect();
    let find = |name: &str| specs.get(name).map(Arc::as_ref);
    let plan = machine.plan(&node.name, &node.group(), &find, &index.layout);
    for note in plan.notes() {
        tracing::warn!(node = node.name, "{note}");
    }
    plan
}

impl States for Alerts {
    fn host_state(&self, node: &str) -> (HostState, TimeMs) {
        let view = self.machine().host_state(node);
        view.map_or((HostState::Up, 0), |v| (v.state, v.since_ms.unwrap_or(0)))
    }

    fn service_state(&self, node: &str, service: &str) -> ServiceState {
        self.machine().service_state(node, service).map_or_else(ServiceState::default, state_of)
    }

    fn field_state(&self, node: &str, service: &str, field: &str) -> State {
        self.machine().field_state(node, service, field).map_or(State::Ok, |v| v.state)
    }

    fn field_limits(
        &self,
        node: &str,
        service: &str,
        field: &str,
    ) -> (Option<String>, Option<String>) {
        let view = self.machine().field_state(node, service, field);
        view.map_or((None, None), |v| {
            (v.warning.map(|r| r.to_string()), v.critical.map(|r| r.to_string()))
        })
    }

    fn problems(&self) -> Vec<Problem> {
        let machine = self.machine();
        let mut all: Vec<Problem> = machine
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
                        since_ms: p.host.since_ms.unwrap_or(0),
                        text: "nothing arrives from it".to_owned(),
                    },
                },
            })
            .collect();
        all.sort_by_key(|p| {
            let host = u8::from(p.service.is_none());
            std::cmp::Reverse((host, p.state.state.severity(), p.state.since_ms))
        });
        all
    }
}

fn state_of(view: ServiceView) -> ServiceState {
    let is_ok = view.state == State::Ok;
    ServiceState {
        state: view.state,
        hard: view.hard,
        since_ms: view.since_ms.unwrap_or(0),
        text: if is_ok { String::new() } else { view.text },
    }
}
