//! The whole way of an alarm against the model of what alarms promise (`promise/`): the
//! alert machine, the real `state.sqlite`, outbox and dispatcher, on a simulated clock
//! and with channels that fail, hang, refuse, and are killed between hand-over and note.
//!
//! `tests/long` plays 5,000 schedules.

#[path = "../../../alerts/tests/promise/fleet.rs"]
mod fleet;

use super::deliver::{self, Postman};
use super::{Alerts, Live, Observer, Watcher, open};
use crate::history::{History, NodeInfo, ReadError, Rollup, Samples, ServiceInfo};
use fleet::Fleet;
use rookery_alerts::channels::{ChannelError, StandIn, Taken};
use rookery_alerts::digest::Digest;
use rookery_alerts::{MailConfig, Notice, Notifier, Setup};
use rookery_plugins::{FieldSpec, TimeMs};
use rookery_promise::{Mode, Plan, Played, START_MS, Schedule, Scope, Value, What, World};
use std::pin::Pin;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::watch;

/// How many schedules are played if nothing else is said.
const SCHEDULES: u64 = 200;
/// A channel that hangs fails after this.
const HANGS: Duration = Duration::from_secs(25);

/// The channels of all contacts.
#[derive(Debug)]
struct Hands(Mutex<HandsState>);

#[derive(Debug)]
struct HandsState {
    modes: Vec<Mode>,
    /// The process is to be killed when this contact has been handed something, …
    kill_after: Option<usize>,
    /// … which it has.
    is_killed: bool,
    handed: Vec<(usize, serde_json::Value)>,
}

impl Hands {
    fn lock(&self) -> MutexGuard<'_, HandsState> {
        self.0.lock().expect("no thread panics with it")
    }
}

impl StandIn for Hands {
    fn take(&self, channel: &str, notices: &[&Notice]) -> Taken {
        let mut hands = self.lock();
        let contact = fleet::contact_of(channel);
        let error = |permanent| {
            let (channel, message) = (channel.to_owned(), "it fails".to_owned());
            Err(ChannelError { channel, permanent, message })
        };
        if hands.is_killed {
            return Box::pin(std::future::pending());
        }
        let outcome = match hands.modes[contact] {
            Mode::Works => Ok(()),
            Mode::Fails => error(false),
            Mode::Refuses => error(true),
            Mode::Hangs => {
                let error = error(false);
                return Box::pin(async move {
                    tokio::time::sleep(HANGS).await;
                    error
                });
            }
        };
        if outcome.is_ok() {
            let json = notices.iter().map(|n| serde_json::to_value(n).expect("JSON"));
            hands.handed.extend(json.map(|json| (contact, json)));
            hands.is_killed = hands.kill_after == Some(contact);
        }
        match hands.is_killed {
            true => Box::pin(std::future::pending()),
            false => Box::pin(std::future::ready(outcome)),
        }
    }

    fn take_digest(&self, _: &str, _: &Digest) -> Taken {
        Box::pin(std::future::ready(Ok(())))
    }
}

/// A history of nothing.
struct Nothing;

impl History for Nothing {
    fn nodes(&self) -> Vec<NodeInfo> {
        Vec::new()
    }

    fn services(&self, _: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        Ok(Vec::new())
    }

    fn fields(&self, _: &str, _: &str) -> Result<Vec<FieldSpec>, ReadError> {
        Ok(Vec::new())
    }

    fn samples(
        &self,
        _: &str,
        _: &str,
        _: &str,
        _: TimeMs,
        _: TimeMs,
    ) -> Result<Samples, ReadError> {
        Ok(Samples::default())
    }

    fn rollup(
        &self,
        _: &str,
        _: &str,
        _: &[&str],
        _: TimeMs,
        _: TimeMs,
        _: i64,
    ) -> Result<Rollup, ReadError> {
        Err(ReadError::Storage("nothing".to_owned()))
    }

    fn version(&self, _: &str) -> u64 {
        0
    }
}

/// A collector that runs.
struct Running {
    alerts: Alerts,
    watcher: Watcher,
    runtime: Runtime,
    dispatcher: Pin<Box<dyn Future<Output = ()>>>,
    /// While it is there the dispatcher runs.
    _stop: watch::Sender<bool>,
}

struct Whole<'s> {
    fleet: Fleet<'s>,
    dir: tempfile::TempDir,
    clock: Arc<AtomicI64>,
    hands: Arc<Hands>,
    running: Option<Running>,
}

/// In memory, where there is such a place: what a kill of the process leaves is the same.
fn folder() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm").or_else(|_| tempfile::tempdir()).expect("a folder")
}

impl Whole<'_> {
    fn new(schedule: &Schedule) -> Whole<'_> {
        let hands = HandsState {
            modes: vec![Mode::Works; schedule.contacts.len()],
            kill_after: None,
            is_killed: false,
            handed: Vec::new(),
        };
        let mut world = Whole {
            fleet: Fleet::new(schedule),
            dir: folder(),
            clock: Arc::new(AtomicI64::new(START_MS)),
            hands: Arc::new(Hands(Mutex::new(hands))),
            running: None,
        };
        world.start();
        world
    }

    fn start(&mut self) {
        let schedule = self.fleet.schedule;
        let rules = fleet::rules(schedule);
        let smtp = "smtp = \"127.0.0.1:1\"\nfrom = \"a@example.com\"\nstarttls = false\n";
        let mail: MailConfig = toml::from_str(smtp).expect("[mail]");
        let setup = Setup {
            mail: Some(mail),
            contacts: fleet::contacts(schedule),
            periods: rules.periods().clone(),
            ..Setup::default()
        };
        let notifier = Notifier::of(setup, "http://c").expect("contacts");
        let notifier = Arc::new(notifier.with_stand_in(self.hands.clone()));
        let opened = open(self.dir.path(), rules, fleet::settings(schedule), Arc::clone(&notifier));
        let (alerts, watcher) = opened.expect("opens");
        self.fleet.introduce(&mut alerts.live().machine);
        let clock = Arc::clone(&self.clock);
        let postman = Postman {
            notifier,
            due: watcher.due(),
            illustrate: Arc::new(|_| None),
            alerts: alerts.clone(),
            history: Arc::new(Nothing),
            health: alerts.health(),
            clock: Arc::new(move || clock.load(Ordering::Relaxed)),
            beat: Arc::new(|| ()),
        };
        let (stop, stopped) = watch::channel(false);
        let dir = self.dir.path().to_owned();
        let dispatcher = Box::pin(async move { deliver::run(&dir, postman, stopped).await });
        let runtime = Builder::new_current_thread().enable_time().start_paused(true).build();
        self.running = Some(Running {
            alerts,
            watcher,
            runtime: runtime.expect("a runtime"),
            dispatcher,
            _stop: stop,
        });
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("it runs")
    }
}

impl World for Whole<'_> {
    fn row(&mut self, node: usize, cells: &[Vec<Value>], time_ms: i64, now_ms: i64) {
        let running = self.running.as_ref().expect("it runs");
        let mut live = running.alerts.live();
        let Live { machine, out, .. } = &mut *live;
        self.fleet.row(machine, node, cells, (time_ms, now_ms), out);
    }

    fn tick(&mut self, now_ms: i64) -> bool {
        self.clock.store(now_ms, Ordering::Relaxed);
        let Running { watcher, runtime, dispatcher, .. } = self.running();
        watcher.settle(now_ms);
        runtime.block_on(async {
            tokio::select! {
                () = dispatcher => panic!("the dispatcher has ended"),
                () = tokio::time::sleep(Duration::from_secs(1)) => {}
            }
        });
        let is_killed = self.hands.lock().is_killed;
        if is_killed {
            self.restart(now_ms);
        }
        is_killed
    }

    fn restart(&mut self, now_ms: i64) {
        self.clock.store(now_ms, Ordering::Relaxed);
        self.running = None;
        let mut hands = self.hands.lock();
        if std::mem::take(&mut hands.is_killed) {
            hands.kill_after = None;
        }
        drop(hands);
        self.start();
    }

    fn ask(&mut self, what: &What, now_ms: i64) -> bool {
        let alerts = &self.running().alerts;
        alerts.tell(|machine, out| fleet::ask(machine, what, now_ms, out)).is_ok()
    }

    fn channel(&mut self, contact: usize, mode: Mode) {
        self.hands.lock().modes[contact] = mode;
    }

    fn kill_after(&mut self, contact: usize) {
        self.hands.lock().kill_after = Some(contact);
    }

    fn take(&mut self) -> Vec<(usize, serde_json::Value)> {
        std::mem::take(&mut self.hands.lock().handed)
    }
}

fn play(schedule: &Schedule) -> Played {
    rookery_promise::play(schedule, &mut Whole::new(schedule))
}

#[test]
fn each_problem_is_handed_over_once_in_order_and_so_is_its_end() {
    let scope = Scope {
        has_late_restarts: false,
        has_steps: false,
        has_suspends: false,
        has_endless_periods: false,
        ..Scope::all(true)
    };
    let plan = Plan::of(SCHEDULES, scope);
    let tally = rookery_promise::run(plan, play).unwrap_or_else(|fault| panic!("{fault}"));
    // It has seen something.
    let least = plan.schedules as usize / 4;
    assert!(tally.problems > least && tally.ends > least / 4, "{tally:?}");
}
