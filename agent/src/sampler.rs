//! Reading the probes: all that are due together become one row.
//!
//! Two threads of their own, so that neither plugins nor shipping disturb a
//! tick, and a dear probe (one with a shortest step) never delays the cheap
//! ones. Probes of the same step share one layout. Beside its values each
//! probe adds two fields: how long it took, and whether it succeeded.

use crate::clock::{now_ms, now_us};
use crate::event::{Event, Outlet, RowOut};
use crate::report::{
    AGENT, DURATION, SUCCESS, counters_spec, push_counters, report_fields, report_specs,
};
use crate::schedule::Grid;
use crate::ship::Stats;
use rookery_plugins::names::clean_field;
use rookery_plugins::{
    Cells, FieldKey, Host, Layout, Probe, ProbeError, Read, ServiceSpec, TimeMs,
};
use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A probe whose thing was not here is asked again after this, ms.
pub const ASK_AGAIN_MS: i64 = 60_000;
/// The second reading after a start comes this early, so that rates show soon;
/// not for steps above [`EARLY_STEP_MS_MAX`], which are long for a reason. ms.
const EARLY_MS: i64 = 10_000;
const EARLY_STEP_MS_MAX: u64 = 60_000;

/// The newest row of a group, and what it means; for who asks by Munin's
/// protocol.
#[derive(Clone, Debug, Default)]
pub struct LiveGroup {
    /// Its services.
    pub specs: Vec<ServiceSpec>,
    /// Its newest row.
    pub row: Option<RowOut>,
}

/// All groups of all samplers, by source.
#[derive(Debug, Default)]
pub struct Live {
    groups: Mutex<BTreeMap<String, LiveGroup>>,
}

impl Live {
    /// Runs `f` over the groups.
    pub fn with<T>(&self, f: impl FnOnce(&mut BTreeMap<String, LiveGroup>) -> T) -> T {
        f(&mut self.groups.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether a probe offers this service.
    pub fn has_service(&self, name: &str) -> bool {
        self.with(|g| g.values().any(|g| g.specs.iter().any(|s| s.name == name)))
    }
}

/// A probe with its settings.
pub struct Slot {
    /// The probe's name, `cpu`, or a further daemon's, `mysql.db2`.
    pub name: String,
    /// The probe.
    pub probe: Box<dyn Probe>,
    /// `[probe.NAME] step`, ms.
    pub own_step_ms: Option<u64>,
    /// It is to be here: what it cannot say from the start is a failure, too, not
    /// only logged.
    pub is_wanted: bool,
    state: SlotState,
    specs: Vec<ServiceSpec>,
    n_fields: usize,
    error: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum SlotState {
    /// To be asked what it offers, at this time.
    Ask(TimeMs),
    /// Known to be here.
    Here,
    /// Here, but it fails to say what it offers; asked again at this time.
    Broken(TimeMs),
}

impl Slot {
    /// A probe that has not been asked yet.
    pub fn new(name: &str, probe: Box<dyn Probe>, own_step_ms: Option<u64>) -> Slot {
        let state = SlotState::Ask(TimeMs::MIN);
        let name = name.to_owned();
        let (specs, error, is_wanted) = (vec![], None, true);
        Slot { name, probe, own_step_ms, is_wanted, state, specs, n_fields: 0, error }
    }

    /// Asks whether it is here; what it offers is then known.
    pub fn is_found(&mut self, host: &Host) -> bool {
        self.discover(host, now_ms());
        self.is_member()
    }

    fn step_ms(&self, default_ms: u64) -> u64 {
        let wanted = self.own_step_ms.unwrap_or(default_ms);
        let least = self.probe.step_min().map_or(0, |d| d.as_millis() as u64);
        wanted.max(least)
    }

    fn discover(&mut self, host: &Host, now: TimeMs) {
        match self.probe.discover(host) {
            Ok(specs) => {
                self.n_fields = specs.iter().map(|s| s.fields.len()).sum();
                self.specs = specs;
                self.state = SlotState::Here;
            }
            Err(ProbeError::NotHere(why)) => {
                if self.state == SlotState::Here {
                    tracing::info!(probe = %self.name, %why, "gone");
                }
                (self.specs, self.n_fields) = (vec![], 0);
                self.state = SlotState::Ask(now + ASK_AGAIN_MS);
            }
            Err(ProbeError::Failed(why)) => {
                self.failed(why);
                (self.specs, self.n_fields) = (vec![], 0);
                let again = now + ASK_AGAIN_MS;
                self.state = match (self.is_wanted, self.state) {
                    (false, SlotState::Ask(_)) => SlotState::Ask(again),
                    _ => SlotState::Broken(again),
                };
            }
        }
    }

    /// Logs a failure once, until it is another one or has passed.
    fn failed(&mut self, why: String) {
        if self.error.as_ref() != Some(&why) {
            tracing::warn!(probe = %self.name, %why, "the probe failed");
            self.error = Some(why);
        }
    }

    fn is_member(&self) -> bool {
        !matches!(self.state, SlotState::Ask(_))
    }

    /// Pushes its values, absent ones where it fails; whether it succeeded and
    /// whether its services changed.
    fn read(&mut self, host: &Host, cells: &mut Cells, now: TimeMs) -> (bool, bool) {
        let start = cells.len();
        let mut changed = false;
        let mut result = self.probe.read(host, cells);
        if matches!(result, Ok(Read::Changed)) {
            cells.truncate(start);
            changed = true;
            self.discover(host, now);
            if self.state != SlotState::Here {
                return (false, true);
            }
            result = self.probe.read(host, cells);
        }
        let why = match result {
            Ok(Read::Done) if cells.len() - start == self.n_fields => {
                if self.error.take().is_some() {
                    tracing::info!(probe = %self.name, "the probe works again");
                }
                return (true, changed);
            }
            Ok(Read::Done) => "BUG: it gave another number of values than fields".to_owned(),
            Ok(Read::Changed) => "its services change at every reading".to_owned(),
            Err(ProbeError::NotHere(why)) => {
                self.state = SlotState::Broken(now + ASK_AGAIN_MS);
                why
            }
            Err(ProbeError::Failed(why)) => why,
        };
        self.failed(why);
        cells.truncate(start);
        for _ in 0..self.n_fields {
            cells.push_absent();
        }
        (false, changed)
    }
}

/// Probes of one step.
struct Group {
    step_ms: u64,
    grid: Grid,
    due_ms: TimeMs,
    n_reads: u64,
    members: Vec<usize>,
    layout: Option<Arc<Layout>>,
    /// The layout of what probes report of themselves, if that goes elsewhere.
    reports: Option<Arc<Layout>>,
}

/// What the samplers of an agent share.
#[derive(Clone)]
pub struct Common {
    /// The host that is read.
    pub host: Host,
    /// The node's name; it places the grid.
    pub node: String,
    /// The step of probes that have none of their own, ms.
    pub step_ms: u64,
    /// Where events go.
    pub outlet: Outlet,
    /// The newest rows.
    pub live: Arc<Live>,
    /// The agent's counters.
    pub stats: Arc<Stats>,
}

/// One thread's probes.
pub struct Sampler {
    common: Common,
    label: String,
    /// The virtual node that its services belong to; `None`: the agent's own.
    node: Option<Arc<str>>,
    slots: Vec<Slot>,
    groups: Vec<Group>,
    /// This one reports the agent's own counters.
    reports: bool,
    outcomes: Vec<(f64, bool)>,
}

impl Sampler {
    /// A sampler named `label`; `reports`: it adds the agent's own counters.
    pub fn new(common: Common, label: &str, slots: Vec<Slot>, reports: bool) -> Sampler {
        let label = label.to_owned();
        Sampler { common, label, node: None, slots, groups: vec![], reports, outcomes: vec![] }
    }

    /// The same; its services belong to this virtual node, but for how long its
    /// probes took and whether they succeeded, which stays with the agent's own.
    #[must_use]
    pub fn of_node(mut self, node: Option<String>) -> Sampler {
        self.node = node.map(Into::into);
        self
    }

    /// Reads at each time of the grid until `stop` speaks or hangs up.
    /// `ready` is told after the first reading.
    pub fn run(mut self, stop: &mpsc::Receiver<()>, ready: tokio::sync::oneshot::Sender<()>) {
        self.ask(now_ms());
        self.regroup(now_ms());
        let mut ready = Some(ready).filter(|_| !self.groups.is_empty());
        loop {
            let due_ms = self.due_ms();
            let wait_us = due_ms.saturating_mul(1000).saturating_sub(now_us());
            if wait_us > 0 {
                let wait = Duration::from_micros(wait_us as u64);
                match stop.recv_timeout(wait) {
                    Err(mpsc::RecvTimeoutError::Timeout) => {}
                    _ => return,
                }
                // The wall clock may have been set back meanwhile.
                if now_us() < due_ms * 1000 {
                    self.clock_check(due_ms);
                    continue;
                }
            } else if !matches!(stop.try_recv(), Err(mpsc::TryRecvError::Empty)) {
                return;
            }
            self.tick();
            if let Some(ready) = ready.take() {
                let _ = ready.send(());
            }
        }
    }

    /// If the clock went back so far that the next tick is further away than a
    /// step, the grid is entered anew.
    fn clock_check(&mut self, due_ms: TimeMs) {
        let now = now_ms();
        for group in &mut self.groups {
            if group.due_ms >= due_ms && group.due_ms - now > group.step_ms as i64 {
                group.due_ms = group.grid.next(now);
            }
        }
    }

    fn due_ms(&self) -> TimeMs {
        let groups = self.groups.iter().map(|g| g.due_ms);
        let asks = self.slots.iter().filter_map(|s| match s.state {
            SlotState::Ask(at) | SlotState::Broken(at) => Some(at),
            SlotState::Here => None,
        });
        groups.chain(asks).min().unwrap_or_else(|| now_ms() + ASK_AGAIN_MS)
    }

    /// Asks the probes that are to be asked; whether any service came or went.
    fn ask(&mut self, now: TimeMs) -> bool {
        let mut changed = false;
        for slot in &mut self.slots {
            let at = match slot.state {
                SlotState::Ask(at) | SlotState::Broken(at) => at,
                SlotState::Here => continue,
            };
            if at <= now {
                let before = (slot.is_member(), slot.specs.clone());
                slot.discover(&self.common.host, now);
                changed |= before.0 != slot.is_member() || before.1 != slot.specs;
            }
        }
        changed
    }

    /// Sorts the probes into groups by step.
    fn regroup(&mut self, now: TimeMs) {
        let mut by_step: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
        if self.reports {
            by_step.insert(self.common.step_ms, vec![]);
        }
        for (i, slot) in self.slots.iter().enumerate().filter(|(_, s)| s.is_member()) {
            by_step.entry(slot.step_ms(self.common.step_ms)).or_default().push(i);
        }
        let mut old = std::mem::take(&mut self.groups);
        let first = old.is_empty();
        for (step_ms, members) in by_step {
            let group = match old.iter().position(|g| g.step_ms == step_ms) {
                Some(i) => Group { members, layout: None, ..old.swap_remove(i) },
                None => {
                    let grid = Grid::new(step_ms, &self.common.node);
                    let due_ms = if first { now } else { grid.next(now) };
                    Group {
                        step_ms,
                        grid,
                        due_ms,
                        n_reads: 0,
                        members,
                        layout: None,
                        reports: None,
                    }
                }
            };
            self.groups.push(group);
        }
        for group in old {
            let source = source(&self.label, group.step_ms);
            self.common.live.with(|g| g.remove(&source));
            self.send(Event::Services { source, specs: vec![] });
        }
    }

    fn send(&self, event: Event) {
        if !self.common.outlet.send(event) {
            self.common.stats.events_dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn tick(&mut self) {
        let now = now_ms();
        if self.ask(now) {
            self.regroup(now);
        }
        for i in 0..self.groups.len() {
            if self.groups[i].due_ms <= now {
                self.read_group(i);
            }
        }
        let moved = self.groups.iter().any(|g| {
            g.members
                .iter()
                .map(|i| &self.slots[*i])
                .any(|s| !s.is_member() || s.step_ms(self.common.step_ms) != g.step_ms)
        });
        if moved {
            self.regroup(now_ms());
        }
    }

    fn read_group(&mut self, i: usize) {
        let time_ms = now_ms();
        let group = &mut self.groups[i];
        let missed = group.grid.missed(group.due_ms, time_ms);
        if group.n_reads > 0 && missed > 0 {
            self.common.stats.ticks_missed.fetch_add(missed, Ordering::Relaxed);
        }
        group.due_ms = group.grid.next(time_ms);
        let early = group.step_ms as i64 > EARLY_MS && group.step_ms <= EARLY_STEP_MS_MAX;
        if group.n_reads == 0 && early {
            group.due_ms = group.due_ms.min(time_ms + EARLY_MS);
        }
        group.n_reads += 1;
        let mut cells = Cells::new();
        self.outcomes.clear();
        let mut changed = group.layout.is_none();
        for &member in &group.members {
            let slot = &mut self.slots[member];
            let start = Instant::now();
            let (ok, new) = match slot.state {
                SlotState::Here => slot.read(&self.common.host, &mut cells, time_ms),
                _ => {
                    for _ in 0..slot.n_fields {
                        cells.push_absent();
                    }
                    (false, false)
                }
            };
            changed |= new;
            // Whole microseconds: the finer digits are noise.
            let seconds = start.elapsed().as_micros() as f64 / 1e6;
            self.outcomes.push((seconds, ok));
        }
        let mut report = self.node.is_some().then(Cells::new);
        for (seconds, ok) in &self.outcomes {
            let to = report.as_mut().unwrap_or(&mut cells);
            to.push(*seconds);
            to.push(i64::from(*ok));
        }
        let own = self.reports && self.groups[i].step_ms == self.common.step_ms;
        if own {
            push_counters(&self.common.stats, &mut cells);
        }
        if changed {
            self.describe(i, own);
        }
        if let Some((layout, cells)) = self.groups[i].reports.clone().zip(report) {
            let row = RowOut { node: None, layout, time_ms, cells: Arc::new(cells) };
            self.send(Event::Row(row));
        }
        self.emit(i, time_ms, cells);
    }

    /// Makes the group's layout and announces its services.
    fn describe(&mut self, i: usize, own: bool) {
        let group = &mut self.groups[i];
        let mut specs: Vec<ServiceSpec> = Vec::new();
        let mut fields = Vec::new();
        for slot in group.members.iter().map(|m| &self.slots[*m]) {
            for spec in &slot.specs {
                fields.extend(spec.fields.iter().map(|f| FieldKey::new(&spec.name, &f.name)));
                let mut spec = spec.clone();
                spec.step_ms = group.step_ms;
                spec.source = format!("probe:{}", slot.name);
                spec.host_name = self.node.as_deref().map(str::to_owned);
                specs.push(spec);
            }
        }
        let (mut durations, mut successes) = report_specs();
        let n_own = fields.len();
        for slot in group.members.iter().map(|m| &self.slots[*m]) {
            let name = clean_field(&format!("probe_{}", slot.name));
            fields.push(FieldKey::new(DURATION, &name));
            fields.push(FieldKey::new(SUCCESS, &name));
            let (duration, success) = report_fields(&name, &slot.name);
            durations.fields.push(duration);
            successes.fields.push(success);
        }
        for spec in [&mut durations, &mut successes] {
            spec.step_ms = self.common.step_ms;
        }
        if !group.members.is_empty() {
            specs.extend([durations, successes]);
        }
        if own {
            let mut spec = counters_spec();
            spec.step_ms = group.step_ms;
            fields.extend(spec.fields.iter().map(|f| FieldKey::new(AGENT, &f.name)));
            specs.push(spec);
        }
        group.reports = self.node.is_some().then(|| Arc::new(Layout::new(fields.split_off(n_own))));
        group.layout = Some(Arc::new(Layout::new(fields)));
        let source = source(&self.label, group.step_ms);
        self.common.live.with(|g| {
            g.insert(source.clone(), LiveGroup { specs: specs.clone(), row: None });
        });
        self.send(Event::Services { source, specs });
    }

    fn emit(&mut self, i: usize, time_ms: TimeMs, cells: Cells) {
        let group = &self.groups[i];
        let Some(layout) = group.layout.clone().filter(|l| !l.is_empty()) else { return };
        debug_assert_eq!(layout.len(), cells.len());
        let node = self.node.clone();
        let row = RowOut { node, layout, time_ms, cells: Arc::new(cells) };
        self.common.live.with(|g| {
            if let Some(live) = g.get_mut(&source(&self.label, group.step_ms)) {
                live.row = Some(row.clone());
            }
        });
        self.send(Event::Row(row));
    }
}

fn source(label: &str, step_ms: u64) -> String {
    format!("probes:{label}:{step_ms}")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Here, and lets nobody in.
    struct Closed;

    impl Probe for Closed {
        fn discover(&mut self, _: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
            Err(ProbeError::Failed("no password".to_owned()))
        }

        fn read(&mut self, _: &Host, _: &mut Cells) -> Result<Read, ProbeError> {
            Ok(Read::Done)
        }
    }

    #[test]
    fn only_what_is_wanted_is_missed() {
        for wanted in [true, false] {
            let mut slot = Slot::new("closed", Box::new(Closed), None);
            slot.is_wanted = wanted;
            slot.discover(&Host::default(), 5);
            assert_eq!(slot.is_member(), wanted, "reported as failing");
            let again = 5 + ASK_AGAIN_MS;
            let want = if wanted { SlotState::Broken(again) } else { SlotState::Ask(again) };
            assert_eq!(slot.state, want);
            assert_eq!(slot.error.as_deref(), Some("no password"), "it is logged either way");
        }
    }
}
