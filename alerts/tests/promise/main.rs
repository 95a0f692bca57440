//! The alert machine against the model of what alarms promise (`promise/`): schedules
//! of fleets, contacts, silences, restarts and clock steps on a simulated clock.
//!
//! Contacts are handed notices at once here; the outbox has a test of its own in the
//! collector. `tests/long` plays 100,000.

mod fleet;

use fleet::Fleet;
use rookery_alerts::{
    Machine, Notice, NoticeKind, Notifier, Output, RecordState, Rules, Settings, Setup,
    StateRecord, Verdict,
};
use rookery_promise as promise;
use rookery_promise::{Mode, Played, Schedule, Scope, Value, What, World};
use std::collections::{BTreeMap, HashSet};

/// How many schedules are played if nothing else is said.
const SCHEDULES: u64 = 5000;

/// What stands in for outbox and channels.
struct Desk {
    notifier: Notifier,
    /// Which incidents each contact was notified of.
    open: HashSet<(usize, String)>,
    handed: Vec<(usize, serde_json::Value)>,
}

/// The machine, and what is kept of it.
struct Alone<'s> {
    fleet: Fleet<'s>,
    machine: Machine,
    records: BTreeMap<String, StateRecord>,
    out: Vec<Output>,
    desk: Desk,
}

impl Alone<'_> {
    fn new(schedule: &Schedule) -> Alone<'_> {
        let (contacts, periods) = (fleet::contacts(schedule), fleet::rules(schedule));
        let periods = periods.periods().clone();
        let setup = Setup { contacts, periods, ..Setup::default() };
        let notifier = Notifier::of(setup, "http://c").expect("contacts");
        let mut world = Alone {
            fleet: Fleet::new(schedule),
            machine: Machine::new(Rules::default(), Settings::default()),
            records: BTreeMap::new(),
            out: Vec::new(),
            desk: Desk { notifier, open: HashSet::new(), handed: Vec::new() },
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let schedule = self.fleet.schedule;
        self.machine = Machine::new(fleet::rules(schedule), fleet::settings(schedule));
        // Records are read back as they are written.
        let kept = serde_json::to_string(&self.records.values().collect::<Vec<_>>());
        let kept: Vec<StateRecord> =
            serde_json::from_str(&kept.expect("JSON")).expect("reads back");
        self.machine.restore(&kept);
        self.fleet.introduce(&mut self.machine);
    }

    fn settle(&mut self, now_ms: i64) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::StateChanged(r) if r.state == RecordState::Gone => {
                    self.records.remove(&r.key);
                }
                Output::StateChanged(r) => drop(self.records.insert(r.key.clone(), r)),
                Output::Notice(notice) => self.desk.hand(&notice, now_ms),
                Output::Transition(_) => {}
            }
        }
    }
}

impl Desk {
    fn hand(&mut self, notice: &Notice, now_ms: i64) {
        let json = serde_json::to_value(notice).expect("JSON");
        for channel in self.notifier.channels_for(notice) {
            if self.notifier.verdict(&channel, notice, now_ms) != Verdict::Now {
                continue;
            }
            let contact = fleet::contact_of(&channel);
            let key = (contact, notice.incident.clone());
            let is_catch_up = json["is_catch_up"] == true;
            let is_taken = match notice.kind {
                NoticeKind::Recovery => self.open.remove(&key),
                NoticeKind::Acknowledgement => self.open.contains(&key),
                _ => self.open.insert(key) || !is_catch_up,
            };
            if is_taken {
                self.handed.push((contact, json.clone()));
            }
        }
    }
}

impl World for Alone<'_> {
    fn row(&mut self, node: usize, cells: &[Vec<Value>], time_ms: i64, now_ms: i64) {
        self.fleet.row(&mut self.machine, node, cells, (time_ms, now_ms), &mut self.out);
    }

    fn tick(&mut self, now_ms: i64) -> bool {
        self.machine.tick(now_ms, &mut self.out);
        self.settle(now_ms);
        false
    }

    fn restart(&mut self, _: i64) {
        self.out.clear();
        self.start();
    }

    fn ask(&mut self, what: &What, now_ms: i64) -> bool {
        let asked = fleet::ask(&mut self.machine, what, now_ms, &mut self.out);
        self.settle(now_ms);
        asked.is_ok()
    }

    fn channel(&mut self, _: usize, _: Mode) {}

    fn kill_after(&mut self, _: usize) {}

    fn take(&mut self) -> Vec<(usize, serde_json::Value)> {
        std::mem::take(&mut self.desk.handed)
    }
}

fn play(schedule: &Schedule) -> Played {
    promise::play(schedule, &mut Alone::new(schedule))
}

#[test]
fn each_problem_is_notified_once_in_order_and_so_is_its_end() {
    let scope = Scope {
        has_late_restarts: false,
        has_steps: false,
        has_suspends: false,
        has_endless_periods: false,
        ..Scope::all(false)
    };
    let plan = promise::Plan::of(SCHEDULES, scope);
    let tally = promise::run(plan, play).unwrap_or_else(|fault| panic!("{fault}"));
    // It has seen something.
    let least = plan.schedules as usize / 4;
    assert!(tally.problems > least && tally.ends > least / 4, "{tally:?}");
}
