//! Plays a schedule on a world, second by second.

use crate::delivery::Delivery;
use crate::schedule::{Event, Mode, START_MS, STEP_S, Schedule, Value, What};

/// Node `i` sends its rows so many seconds after the full step, times `i`.
pub const PHASE_S: i64 = 3;

/// What is asked of the collector by people: acknowledgements and downtimes.
pub type Asked = What;

/// Who must keep the promise.
pub trait World {
    /// A node's row: its services' fields.
    fn row(&mut self, node: usize, cells: &[Vec<Value>], time_ms: i64, now_ms: i64);

    /// A second is over. Whether the collector was killed in it, and started again.
    fn tick(&mut self, now_ms: i64) -> bool;

    /// The collector is killed and started again.
    fn restart(&mut self, now_ms: i64);

    /// [`What::Ack`], [`What::Unack`], [`What::Downtime`] or [`What::Cancel`]; whether it
    /// was taken.
    fn ask(&mut self, what: &Asked, now_ms: i64) -> bool;

    /// A contact's channel behaves so from now on.
    fn channel(&mut self, contact: usize, mode: Mode);

    /// The collector is to be killed after the next hand-over to this contact, before it
    /// is noted.
    fn kill_after(&mut self, contact: usize);

    /// What contacts were handed since the last call: who, and the notice as JSON.
    fn take(&mut self) -> Vec<(usize, serde_json::Value)>;
}

/// What came of it.
#[derive(Debug, Default)]
pub struct Played {
    /// What contacts were handed, in order.
    pub deliveries: Vec<Delivery>,
    /// Of each event that asked for something: whether that was taken.
    pub taken: Vec<bool>,
    /// When the collector was killed after a hand-over, s.
    pub kills: Vec<i64>,
}

/// How a node sends.
pub(crate) fn sends_at(node: usize, t: i64) -> bool {
    t % STEP_S == (node as i64 * PHASE_S) % STEP_S
}

/// The clocks, ms off.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Clocks {
    /// The collector's own.
    pub collector: i64,
    /// Those of all others.
    pub others: i64,
}

impl Clocks {
    pub fn apply(&mut self, what: &What) {
        match what {
            What::Step(s) => self.collector += s * 1000,
            What::Suspend(s) => {
                self.collector += s * 1000;
                self.others += s * 1000;
            }
            _ => {}
        }
    }

    pub fn now_ms(&self, t: i64) -> i64 {
        START_MS + t * 1000 + self.collector
    }

    pub fn sample_ms(&self, t: i64) -> i64 {
        START_MS + t * 1000 + self.others
    }
}

/// What the nodes say.
#[derive(Clone, Debug)]
pub(crate) struct Values {
    pub of: Vec<Vec<Vec<Value>>>,
    pub silent: Vec<bool>,
}

impl Values {
    pub fn new(schedule: &Schedule) -> Values {
        let of = |s: &crate::schedule::Service| vec![Value::Ok; s.fields];
        let nodes = schedule.nodes.iter();
        Values {
            of: nodes.map(|n| n.services.iter().map(of).collect()).collect(),
            silent: vec![false; schedule.nodes.len()],
        }
    }

    pub fn apply(&mut self, what: &What) {
        match *what {
            What::Value(n, s, k, value) => self.of[n][s][k] = value,
            What::Silent(n, is) => self.silent[n] = is,
            _ => {}
        }
    }
}

/// Plays it.
pub fn play(schedule: &Schedule, world: &mut impl World) -> Played {
    let mut played = Played { taken: vec![false; schedule.events.len()], ..Played::default() };
    let (mut clocks, mut values) = (Clocks::default(), Values::new(schedule));
    let mut next = 0;
    for t in 1..=schedule.seconds {
        while let Some(Event { what, .. }) = schedule.events.get(next).filter(|e| e.at <= t) {
            clocks.apply(what);
            values.apply(what);
            let now_ms = clocks.now_ms(t);
            match what {
                What::Restart => world.restart(now_ms),
                What::KillAfter(contact) => world.kill_after(*contact),
                What::Channel(contact, mode) => world.channel(*contact, *mode),
                What::Ack(..) | What::Unack(_) | What::Downtime(..) | What::Cancel(_) => {
                    played.taken[next] = world.ask(what, now_ms);
                }
                _ => {}
            }
            next += 1;
        }
        let now_ms = clocks.now_ms(t);
        for node in 0..schedule.nodes.len() {
            if sends_at(node, t) && !values.silent[node] {
                world.row(node, &values.of[node], clocks.sample_ms(t), now_ms);
            }
        }
        if world.tick(now_ms) {
            played.kills.push(t);
        }
        let handed = world.take();
        let read = |(contact, json): &(usize, serde_json::Value)| Delivery::read(t, *contact, json);
        played.deliveries.extend(handed.iter().filter_map(read));
    }
    played
}
