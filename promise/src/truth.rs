//! How all stands at each second, worked out from the schedule alone.
//!
//! What the documents do not say, or what depends on which second something is looked
//! at, is [`Is::Unsure`]: the promise says nothing of it then.

use crate::play::{Clocks, Played, Values, sends_at};
use crate::schedule::{GRACE_S, STEP_S, Schedule, Service, Value, What};
use crate::silence::{Quiet, Silence};
use std::fmt::{self, Display, Formatter};

/// How bad a problem is, the worst last.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Level {
    /// UNKNOWN.
    Unknown,
    /// WARNING.
    Warning,
    /// CRITICAL.
    Critical,
    /// A node is DOWN.
    Down,
}

/// What can have a problem.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Thing {
    /// A node, by index.
    Node(usize),
    /// A node's service, by index.
    Service(usize, usize),
    /// The group with a quorum: of `s1`, or of its nodes themselves.
    Pool(bool),
}

/// How something stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Is {
    /// It has no problem; of a pool: fewer than its quorum have one.
    Well,
    /// It has a hard problem.
    Bad(Level),
    /// It may have one.
    Unsure,
}

/// A value is late by this much before that is certain, s.
const LATE_S: i64 = 15;
/// A node is DOWN after so long, s.
const DOWN_S: i64 = 30;
/// So many unknown samples in a row are UNKNOWN.
const UNKNOWNS: u32 = 3;

/// All of it.
#[derive(Debug)]
pub struct Truth {
    /// What there is.
    pub things: Vec<Thing>,
    /// How each stands, by second.
    pub is: Vec<Vec<Is>>,
    /// Whether each is silenced for everybody, by second.
    pub quiet: Vec<Vec<Quiet>>,
    /// Whether each is over, as far as a message of its end is concerned, by second.
    pub over: Vec<Vec<bool>>,
    /// When an acknowledgement of each ended because it became worse, s.
    pub renewed: Vec<Vec<i64>>,
    /// When one may have ended in any way, while the problem lasts, s.
    pub released: Vec<Vec<i64>>,
    /// Something has just happened after which a second look may be needed.
    pub disturbed: Vec<bool>,
    /// The collector's clock and that of the samples, ms, by second.
    pub clocks: Vec<(i64, i64)>,
}

impl Display for Thing {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Thing::Node(n) => write!(f, "n{}", n + 1),
            Thing::Service(n, s) => write!(f, "n{}/s{}", n + 1, s + 1),
            Thing::Pool(true) => write!(f, "group g/s1"),
            Thing::Pool(false) => write!(f, "group g"),
        }
    }
}

/// What has happened to the collector and its clock.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Disturbance {
    /// The last start or step, s.
    pub at: i64,
    /// How far clocks were set back, and forward, in all, s.
    pub back: i64,
    pub forward: i64,
}

/// One field.
#[derive(Clone, Debug)]
struct Field {
    level: Option<Level>,
    is_sure: bool,
    unknowns: u32,
    came: i64,
    /// How far clocks were set when it last came.
    set: (i64, i64),
    /// That nothing came proves its level.
    is_late: bool,
}

/// One service.
#[derive(Clone, Debug)]
pub(crate) struct ServiceSim {
    fields: Vec<Field>,
    streak: u32,
    /// The latest evaluation, soft or hard; `None`: not sure.
    pub raw: Option<Option<Level>>,
    is: Is,
}

/// One node.
#[derive(Clone, Debug)]
pub(crate) struct NodeSim {
    services: Vec<ServiceSim>,
    /// When its last row came, s.
    came: i64,
    /// When it was last UP again, s.
    pub up: i64,
    pub is: Is,
}

impl NodeSim {
    pub fn raw(&self, service: usize) -> Option<Option<Level>> {
        self.services[service].raw.filter(|_| self.is == Is::Well)
    }
}

impl Truth {
    /// Of a schedule, of which it is known what was taken and when it was killed.
    pub fn of(schedule: &Schedule, played: &Played) -> Truth {
        let things = things(schedule);
        let mut truth = Truth {
            is: vec![Vec::new(); things.len()],
            quiet: vec![Vec::new(); things.len()],
            over: vec![Vec::new(); things.len()],
            renewed: vec![Vec::new(); things.len()],
            released: vec![Vec::new(); things.len()],
            disturbed: Vec::new(),
            clocks: Vec::new(),
            things,
        };
        let mut nodes: Vec<NodeSim> = schedule.nodes.iter().map(NodeSim::new).collect();
        let mut silence = Silence::new(schedule, truth.things.clone());
        let (mut clocks, mut values) = (Clocks::default(), Values::new(schedule));
        let mut disturbance = Disturbance { at: -1000, ..Disturbance::default() };
        let mut next = 0;
        for t in 0..=schedule.seconds {
            let mut is_disturbed = played.kills.contains(&t);
            while let Some(event) = schedule.events.get(next).filter(|e| e.at <= t) {
                clocks.apply(&event.what);
                values.apply(&event.what);
                is_disturbed |= disturbance.apply(&event.what);
                if played.taken[next] {
                    silence.apply(&event.what, clocks.now_ms(t), &nodes);
                }
                next += 1;
            }
            if is_disturbed {
                disturbance.at = t;
                nodes.iter_mut().for_each(NodeSim::disturb);
            }
            let apart = (clocks.collector - clocks.others) / 1000;
            for (i, node) in nodes.iter_mut().enumerate() {
                let row = sends_at(i, t) && t > 0 && !values.silent[i];
                let row = row.then_some(values.of[i].as_slice());
                node.pass(schedule, i, t, row, disturbance, apart);
            }
            truth.disturbed.push(is_disturbed);
            truth.clocks.push((clocks.now_ms(t), clocks.sample_ms(t)));
            let of = |thing: &Thing| match *thing {
                Thing::Node(n) => nodes[n].is,
                Thing::Service(n, s) => nodes[n].service(s, t),
                Thing::Pool(_) => Is::Unsure,
            };
            let mut all: Vec<Is> = truth.things.iter().map(of).collect();
            let both = (clocks.now_ms(t), clocks.sample_ms(t));
            let (quiet, pools) = silence.look(t, both, &nodes, &all);
            let mut over: Vec<bool> = all.iter().map(|is| *is == Is::Well).collect();
            for (i, pool, is_over) in pools {
                (all[i], over[i]) = (pool, is_over);
            }
            for (i, (is, quiet)) in all.into_iter().zip(quiet).enumerate() {
                truth.is[i].push(is);
                truth.quiet[i].push(quiet);
                truth.over[i].push(over[i]);
            }
            silence.renewed.drain(..).for_each(|i| truth.renewed[i].push(t));
            silence.released.drain(..).for_each(|i| truth.released[i].push(t));
        }
        truth
    }
}

fn things(schedule: &Schedule) -> Vec<Thing> {
    let mut things = Vec::new();
    for (n, node) in schedule.nodes.iter().enumerate() {
        things.push(Thing::Node(n));
        // A node's rule with `enabled = false` is its services', too: they are not judged.
        let n_services = if node.is_off { 0 } else { node.services.len() };
        things.extend((0..n_services).map(|s| Thing::Service(n, s)));
    }
    if schedule.quorum.is_some() {
        things.extend([Thing::Pool(true), Thing::Pool(false)]);
    }
    things
}

impl Disturbance {
    fn apply(&mut self, what: &What) -> bool {
        match what {
            What::Restart => {}
            What::Step(s) if *s < 0 => self.back -= s,
            What::Step(s) | What::Suspend(s) => self.forward += s,
            _ => return false,
        }
        true
    }
}

impl NodeSim {
    fn new(node: &crate::schedule::Node) -> NodeSim {
        let services = node.services.iter().map(ServiceSim::new).collect();
        NodeSim { services, came: 0, up: -1000, is: Is::Unsure }
    }

    /// The collector was started again, or its clock was set.
    fn disturb(&mut self) {
        for service in &mut self.services {
            if !matches!(service.is, Is::Bad(_)) {
                service.streak = 0;
            }
            for f in service.fields.iter_mut().filter(|f| f.level != Some(Level::Unknown)) {
                f.unknowns = 0;
            }
        }
    }

    /// A second passes; `row`: with what it sends.
    fn pass(
        &mut self,
        schedule: &Schedule,
        i: usize,
        t: i64,
        row: Option<&[Vec<Value>]>,
        disturbance: Disturbance,
        apart: i64,
    ) {
        if row.is_some() {
            if self.is != Is::Well && t > STEP_S {
                self.up = t;
            }
            (self.came, self.is) = (t, Is::Well);
        } else if t - self.came >= STEP_S {
            let since = self.came.max(disturbance.at);
            let is_down = t - since > DOWN_S.max(GRACE_S) + 10;
            self.is = match self.is {
                Is::Bad(level) => Is::Bad(level),
                _ if is_down => Is::Bad(Level::Down),
                _ => Is::Unsure,
            };
        }
        let up = self.up;
        for (j, service) in self.services.iter_mut().enumerate() {
            let spec = &schedule.nodes[i].services[j];
            if let Some(row) = row {
                service.take(spec, t, &row[j], disturbance);
            }
            if self.is == Is::Well {
                service.wait(spec, schedule.fresh_s, t, up, disturbance, apart);
            }
        }
    }

    /// How a service stands: while its node does not report nobody knows.
    fn service(&self, s: usize, t: i64) -> Is {
        let is_known = self.is == Is::Well && t - self.came < STEP_S;
        if is_known { self.services[s].is } else { Is::Unsure }
    }
}

impl ServiceSim {
    fn new(spec: &Service) -> ServiceSim {
        let field =
            Field { level: None, is_sure: true, unknowns: 0, came: 0, set: (0, 0), is_late: false };
        ServiceSim { fields: vec![field; spec.fields], streak: 0, raw: Some(None), is: Is::Well }
    }

    /// Judges a row.
    fn take(&mut self, spec: &Service, t: i64, row: &[Value], disturbance: Disturbance) {
        let mut is_judged = false;
        for (f, value) in self.fields.iter_mut().zip(row) {
            let level = match value {
                Value::Absent => continue,
                Value::Ok => None,
                Value::Warning => Some(Level::Warning),
                Value::Critical => Some(Level::Critical),
                Value::Unknown => {
                    f.unknowns += 1;
                    Some(Level::Unknown)
                }
            };
            (f.came, f.set) = (t, (disturbance.back, disturbance.forward));
            f.is_late = false;
            if level == Some(Level::Unknown) && f.unknowns < UNKNOWNS {
                f.is_sure = false;
                continue;
            }
            if level != Some(Level::Unknown) {
                f.unknowns = 0;
            }
            (f.level, f.is_sure) = (level, true);
            is_judged = true;
        }
        if is_judged {
            self.evaluate(spec, true);
        } else if self.fields.iter().any(|f| !f.is_sure) {
            (self.raw, self.is) = (None, Is::Unsure);
        }
    }

    /// Looks at what has not come for too long.
    fn wait(
        &mut self,
        spec: &Service,
        fresh_s: i64,
        t: i64,
        up: i64,
        disturbance: Disturbance,
        apart: i64,
    ) {
        // Where the collector's clock is ahead, something may be found late as much sooner.
        let (is_aligned, ahead) = (apart.abs() < 20, apart.max(0));
        let (limit, level, more) = match spec.absent_s {
            Some(s) => (s, Level::Critical, 0),
            None if fresh_s > 0 => {
                let turns = STEP_S * i64::from(spec.attempts);
                (fresh_s.max(3 * STEP_S), Level::Unknown, turns)
            }
            None => return,
        };
        let mut is_changed = false;
        for f in self.fields.iter_mut().filter(|f| !f.is_late) {
            let since = f.came.max(up);
            let (back, forward) = (disturbance.back - f.set.0, disturbance.forward - f.set.1);
            let is_fresh = t - f.came < 2 * STEP_S;
            if is_fresh || t - since + forward + ahead < limit {
                continue;
            }
            let is_sure = is_aligned
                && t - since > limit + LATE_S + more + back
                && t - disturbance.at > GRACE_S + LATE_S + more;
            if is_sure {
                (f.level, f.is_late) = (Some(level), true);
            }
            is_changed |= f.is_sure != is_sure || is_sure;
            f.is_sure = is_sure;
        }
        if is_changed {
            self.evaluate(spec, false);
        }
    }

    fn evaluate(&mut self, spec: &Service, is_row: bool) {
        if self.fields.iter().any(|f| !f.is_sure) {
            (self.raw, self.is) = (None, Is::Unsure);
            return;
        }
        let worst = self.fields.iter().filter_map(|f| f.level).max();
        self.raw = Some(worst);
        let Some(level) = worst else {
            (self.streak, self.is) = (0, Is::Well);
            return;
        };
        self.streak += u32::from(is_row);
        let is_proved = self.fields.iter().any(|f| f.is_late && f.level == worst);
        if is_proved {
            self.streak = self.streak.max(spec.attempts);
        }
        self.is = if self.streak >= spec.attempts { Is::Bad(level) } else { Is::Unsure };
    }
}
