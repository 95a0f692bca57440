//! How everything stands, to Nagios and Icinga as passive results: each hard state
//! at once, and all of it anew every `refresh`, so that it stays fresh there.
//!
//! What is sent is always how a thing stands at that moment, never a change of the
//! past: so late data and a target that was down can put nothing in its place that
//! is over. A service whose samples are too old (a node that is silent, a spool that
//! is replayed) is UNKNOWN, as `check_rookery` has it.

use super::Alerts;
use super::lane::{Lane, lock, send};
use super::trouble::Health;
use crate::history::{History, ServiceInfo, ServiceState, States};
use crate::store::now_ms;
use rookery_alerts::check::{FieldReading, Reading, Wish, judge};
use rookery_alerts::message::span;
use rookery_alerts::passive::{CheckResult, FRESH_REFRESHES, HEARTBEAT, Names, PassiveConfig};
use rookery_alerts::rpn::Rpn;
use rookery_alerts::{HostView, Output, ServiceView, TransitionKind};
use rookery_plugins::perfdata::{Perf, clean_text};
use rookery_plugins::{FieldSpec, State, TimeMs, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::sync::Notify;
use tokio::task::JoinSet;

/// What changes within this time is sent together.
const GATHER: Duration = Duration::from_millis(200);
/// What has changed and was not looked at yet; at most one entry a service.
#[derive(Default)]
pub struct Changes {
    changed: Mutex<BTreeMap<String, BTreeSet<Option<String>>>>,
    ring: Notify,
}

impl Changes {
    /// Notes hard states. Those of a replayed spool are over: not news.
    pub(super) fn note(&self, outputs: &[Output]) {
        let mut any = false;
        for output in outputs {
            let Output::Transition(t) = output else { continue };
            if t.kind == TransitionKind::State && t.hard && !t.stale {
                any = true;
                lock(&self.changed).entry(t.node.clone()).or_default().insert(t.service.clone());
            }
        }
        if any {
            self.ring.notify_one();
        }
    }

    fn take(&self) -> BTreeMap<String, BTreeSet<Option<String>>> {
        std::mem::take(&mut *lock(&self.changed))
    }
}

/// Who sends.
pub struct Reporter {
    alerts: Alerts,
    history: Arc<dyn History>,
    changes: Arc<Changes>,
    lanes: Vec<Arc<Lane>>,
    health: Arc<Health>,
    /// Until then old data is no news: agents find a collector that was away again.
    grace: Instant,
}

/// How a node and its services stand, by their own names.
struct Standing {
    node: String,
    names: Names,
    all: Vec<OneStands>,
}

struct OneStands {
    service: Option<String>,
    code: u8,
    text: String,
    perf: Vec<String>,
    has_limits: bool,
}

impl Reporter {
    /// For these targets; the error names the one that is wrong.
    pub fn new(
        configs: &[PassiveConfig],
        alerts: Alerts,
        history: Arc<dyn History>,
        changes: Arc<Changes>,
        health: Arc<Health>,
    ) -> Result<Reporter, String> {
        let lanes: Result<Vec<_>, _> = configs.iter().map(|c| Lane::new(c).map(Arc::new)).collect();
        let grace = alerts.live().machine.settings().start_grace_ms;
        let grace = Instant::now() + Duration::from_millis(grace);
        Ok(Reporter { alerts, history, changes, lanes: lanes?, health, grace })
    }

    /// Sends until it is dropped.
    pub async fn run(self: Arc<Self>) {
        if self.lanes.is_empty() {
            return;
        }
        let mut senders = JoinSet::new();
        for lane in &self.lanes {
            senders.spawn(send(lane.clone(), self.health.clone()));
        }
        let mut next: Vec<Instant> = vec![Instant::now(); self.lanes.len()];
        loop {
            let now = Instant::now();
            let due: Vec<usize> = (0..next.len()).filter(|i| next[*i] <= now).collect();
            if !due.is_empty() {
                for i in &due {
                    next[*i] = now + self.lanes[*i].refresh;
                }
                // What has changed is in it.
                drop(self.changes.take());
                self.clone().spread(None, due).await;
            }
            let wake = next.iter().min().copied().unwrap_or(now);
            tokio::select! {
                () = tokio::time::sleep_until(wake.into()) => {}
                () = self.changes.ring.notified() => {
                    tokio::time::sleep(GATHER).await;
                    let changed = self.changes.take();
                    let all = (0..self.lanes.len()).collect();
                    self.clone().spread(Some(changed), all).await;
                }
            }
        }
    }

    /// Puts how things stand into the queues of these lanes.
    async fn spread(
        self: Arc<Self>,
        which: Option<BTreeMap<String, BTreeSet<Option<String>>>>,
        lanes: Vec<usize>,
    ) {
        let work = move || {
            let now = now_ms();
            let nodes: Vec<String> = self.history.nodes().into_iter().map(|n| n.name).collect();
            let standing: Vec<Standing> = nodes
                .iter()
                .filter(|n| which.as_ref().is_none_or(|w| w.contains_key(*n)))
                .filter_map(|n| self.standing(n, which.as_ref().and_then(|w| w.get(n)), now))
                .collect();
            for i in lanes {
                let lane = &self.lanes[i];
                lane.fill(&nodes, &standing, which.is_none(), now);
                lane.ring.notify_one();
            }
        };
        if let Err(e) = tokio::task::spawn_blocking(work).await {
            tracing::error!("BUG: passive results broke off: {e}");
        }
    }

    /// How a node and its services stand; of `only` these.
    fn standing(
        &self,
        node: &str,
        only: Option<&BTreeSet<Option<String>>>,
        now: TimeMs,
    ) -> Option<Standing> {
        let services = self.history.services(node).ok()?;
        let names = Names::new(services.iter().map(|s| s.spec.name.as_str()), "");
        let host = self.alerts.live().machine.host_state(node);
        // A node's own change is one of all its services.
        let only = only.filter(|o| !o.contains(&None));
        let mut all: Vec<OneStands> = services
            .iter()
            .filter(|s| s.active)
            .filter(|s| only.is_none_or(|o| o.contains(&Some(s.spec.name.clone()))))
            .filter_map(|s| self.service(node, s, now))
            .collect();
        if only.is_none() {
            all.extend(host.map(|view| host_stands(&view, now)));
        }
        Some(Standing { node: node.to_owned(), names, all })
    }

    fn service(&self, node: &str, info: &ServiceInfo, now: TimeMs) -> Option<OneStands> {
        let name = &info.spec.name;
        let (view, limits) = {
            let live = self.alerts.live();
            let view = live.machine.service_state(node, name);
            let fields = info.spec.fields.iter();
            let limits: Vec<_> = fields
                .map(|f| live.machine.field_state(node, name, &f.name))
                .map(|v| v.map_or((None, None), |v| (v.warning, v.critical)))
                .collect();
            (view, limits)
        };
        let fields = info.spec.fields.iter().zip(&info.now).zip(limits);
        let reading = Reading {
            service: name.clone(),
            step_ms: info.step_ms,
            fields: fields
                .map(|((f, latest), (warning, critical))| {
                    let (value, bounds) = after_cdef(f, latest.value);
                    FieldReading {
                        formerly: f.old_names().map(str::to_owned).collect(),
                        field: f.name.clone(),
                        value: value.map_or(Value::Unknown, Value::Float),
                        time_ms: latest.time_ms,
                        warning,
                        critical,
                        min: bounds.0,
                        max: bounds.1,
                    }
                })
                .collect(),
        };
        let has_limits = view.is_some();
        let (age, limit) = (info.age_ms(now), info.age_max_ms());
        if age.is_none_or(|age| limit.is_some_and(|limit| age > limit))
            && Instant::now() < self.grace
        {
            return None;
        }
        let stands = info.stands(self.alerts.service_state(node, name), now);
        let (state, text) = service_text(&reading, view.as_ref(), &stands, now);
        let perf = reading.fields.iter().map(|f| {
            let item = Perf::new(&f.field, f.value).limits(f.warning, f.critical);
            item.bounds(f.min, f.max).to_string()
        });
        Some(OneStands {
            service: Some(name.clone()),
            code: CheckResult::service_code(state),
            text,
            perf: perf.collect(),
            has_limits,
        })
    }
}

/// A value as it is judged; `min` and `max` are those of before.
fn after_cdef(f: &FieldSpec, value: Option<f64>) -> (Option<f64>, (Option<f64>, Option<f64>)) {
    let cdef = f.cdef.as_deref().and_then(|text| Rpn::compile(text, &f.name).ok());
    match cdef {
        Some(cdef) => (cdef.eval(value), (None, None)),
        None => (value, (f.min, f.max)),
    }
}

/// A service's state as it is sent, the hard one, and what is said of it.
fn service_text(
    reading: &Reading,
    view: Option<&ServiceView>,
    stands: &ServiceState,
    now: TimeMs,
) -> (State, String) {
    let judged = judge(reading, &Wish::default(), now);
    let line = judged.text.split(" | ").next().unwrap_or_default().to_owned();
    let title = reading.service.to_uppercase();
    let state = stands.hard_state;
    let say = |why: &str| (state, clean_text(&format!("{title} {state} - {why}")));
    match view {
        // Its node is DOWN, its data is too old: not what the machine has of it.
        _ if state == State::Unknown
            && stands.state == State::Unknown
            && !stands.text.is_empty() =>
        {
            say(&stands.text)
        }
        Some(view) if !stands.hard => {
            let so_far = format!("{} of {}", view.attempt, view.max_check_attempts);
            say(&format!("{} ({}, attempt {so_far})", view.text, view.state))
        }
        Some(view) if view.is_own_text || judged.state != state => say(&view.text),
        // Nobody has set a limit: whatever it is, it is fine.
        None if judged.state != state => say("no limits are set"),
        _ => (state, line),
    }
}

fn host_stands(view: &HostView, now: TimeMs) -> OneStands {
    let seen = view.last_seen_ms.map_or_else(
        || "never heard".to_owned(),
        |t| format!("last heard {} ago", span(now.saturating_sub(t))),
    );
    OneStands {
        service: None,
        code: CheckResult::host_code(view.state),
        text: format!("node is {}, {seen}", view.state),
        perf: Vec::new(),
        has_limits: true,
    }
}

impl Lane {
    /// Takes in how things stand; with all of it goes a word of the collector itself.
    fn fill(&self, nodes: &[String], standing: &[Standing], is_all: bool, now: TimeMs) {
        let hosts = Names::new(nodes.iter().map(String::as_str), &self.host);
        let fresh_s = (self.refresh.as_secs().max(1)) * FRESH_REFRESHES;
        let mut queue = lock(&self.queue);
        let mut n_results = 0u64;
        for node in standing {
            let host = hosts.of(&node.node);
            for one in node.all.iter().filter(|o| o.has_limits || !self.limits_only) {
                n_results += 1;
                queue.push(CheckResult {
                    host: host.clone(),
                    service: one.service.as_deref().map(|s| node.names.of(s)),
                    code: one.code,
                    text: one.text.clone(),
                    perf: one.perf.clone(),
                    time_ms: now,
                    fresh_s,
                });
            }
        }
        if is_all {
            let text = format!("OK - {n_results} results of {} nodes", nodes.len());
            let own = |service: Option<&str>, text: &str, perf| CheckResult {
                host: self.host.clone(),
                service: service.map(str::to_owned),
                code: 0,
                text: text.to_owned(),
                perf,
                time_ms: now,
                fresh_s,
            };
            let perf = vec![Perf::new("results", n_results).to_string()];
            queue.push(own(None, "the collector sends results", Vec::new()));
            queue.push(own(Some(HEARTBEAT), &text, perf));
        }
        let n_dropped = queue.take_dropped();
        if n_dropped > 0 {
            tracing::error!("{}: too much waits, {n_dropped} results dropped", self.target.name());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_plugins::HostState;

    fn reading(value: f64, time_ms: TimeMs) -> Reading {
        Reading {
            service: "cpu".to_owned(),
            step_ms: 10_000,
            fields: vec![FieldReading {
                formerly: vec![],
                field: "user".to_owned(),
                value: Value::Float(value),
                time_ms: Some(time_ms),
                warning: None,
                critical: "~:90".parse().ok(),
                min: None,
                max: None,
            }],
        }
    }

    fn view(state: State, hard: bool, attempt: u32) -> ServiceView {
        ServiceView {
            state,
            hard,
            hard_state: if hard { state } else { State::Ok },
            since_ms: None,
            last_ms: None,
            attempt,
            max_check_attempts: 3,
            notified: false,
            incident: None,
            acknowledged: None,
            downtime: None,
            text: "user is 95 (outside ~:90)".to_owned(),
            is_own_text: false,
        }
    }

    #[test]
    fn values_are_sent_as_they_are_judged() {
        let f = FieldSpec::gauge("bytes", "").cdef("bytes,8,*");
        assert_eq!(after_cdef(&f, Some(5.0)), (Some(40.0), (None, None)));
        let f = FieldSpec { cdef: None, min: Some(0.0), ..f };
        assert_eq!(after_cdef(&f, Some(5.0)), (Some(5.0), (Some(0.0), None)));
    }

    #[test]
    fn what_is_sent_is_the_hard_state() {
        let now = 1_000_000;
        let info = |time_ms| ServiceInfo {
            spec: Arc::new(rookery_plugins::ServiceSpec::new("cpu", "CPU", "system")),
            active: true,
            now: vec![crate::history::Now { time_ms: Some(time_ms), value: Some(95.0) }],
            step_ms: 10_000,
        };
        let text = |value, view: Option<&ServiceView>, time| {
            let state = view.cloned().map_or_else(ServiceState::default, super::super::state_of);
            service_text(&reading(value, time), view, &info(time).stands(state, now), now)
        };
        let hard = view(State::Critical, true, 3);
        let soft = view(State::Critical, false, 2);
        let (state, line) = text(95.0, Some(&hard), now);
        assert_eq!(state, State::Critical);
        assert_eq!(line, "CPU CRITICAL - user is 95 (outside ~:90)");
        // Also right after a restart: the machine remembers what was hard.
        let (state, line) = text(95.0, Some(&soft), now);
        assert_eq!(state, State::Ok);
        assert_eq!(line, "CPU OK - user is 95 (outside ~:90) (CRITICAL, attempt 2 of 3)");
        // Data of a replayed spool says nothing of now.
        let (state, line) = text(95.0, Some(&hard), now - 61_000);
        assert_eq!(state, State::Unknown);
        assert_eq!(line, "CPU UNKNOWN - data is 61 s old (limit 60 s)");
        let (state, line) = text(5.0, None, now);
        assert_eq!((state, line.as_str()), (State::Ok, "CPU OK - user 5"));
        // Of a node that does not report nothing is known.
        let state = super::super::state_of(hard.clone());
        let down = super::super::behind(state, HostState::Down, Some(1));
        let (state, line) = service_text(&reading(5.0, now), Some(&hard), &down, now);
        assert_eq!(state, State::Unknown);
        assert_eq!(line, "CPU UNKNOWN - its node is DOWN: nothing arrives from it");
    }
}
