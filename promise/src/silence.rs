//! Who is silenced: periods, downtimes, acknowledgements, groups with a quorum, and what
//! depends on something else.

use crate::schedule::{Down, STEP_S, Schedule, Span, What};
use crate::truth::{Is, Level, NodeSim, Thing};

/// Whether nobody is to be notified of something.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Quiet {
    /// They are.
    No,
    /// That depends.
    Unsure,
    /// Nobody is.
    Yes,
}

/// About the edges of what is by the clock, ms.
const EDGE_MS: i64 = 6000;
/// An acknowledgement's end is noticed within this, ms.
const ACK_END_MS: i64 = 30_000;

/// A downtime, with what is known of it.
#[derive(Clone, Debug)]
struct Planned {
    id: usize,
    node: usize,
    service: Option<usize>,
    down: Down,
    /// When it was added, on the collector's clock, ms, and in seconds of the schedule.
    added_ms: i64,
    /// A flexible one has begun at the earliest, and for certain, ms.
    maybe_ms: Option<i64>,
    surely_ms: Option<i64>,
    /// Something that it is of was well since it was added.
    is_armed: bool,
}

/// Somebody is on it.
#[derive(Clone, Debug)]
struct Ack {
    level: Option<Option<Level>>,
    sticky: bool,
    until_ms: Option<i64>,
    /// Only one of its incident may be.
    is_sure: bool,
}

/// All that silences.
pub(crate) struct Silence<'s> {
    schedule: &'s Schedule,
    things: Vec<Thing>,
    planned: Vec<Planned>,
    acks: Vec<Option<Ack>>,
    /// Acknowledgements of these have just ended by a change to the worse.
    pub renewed: Vec<usize>,
    /// … or in any way, perhaps.
    pub released: Vec<usize>,
}

/// Whether a time by both clocks, and a little before and after, is within something.
pub(crate) fn within((now_ms, sample_ms): (i64, i64), is_in: impl Fn(i64) -> bool) -> Quiet {
    let times =
        [now_ms - EDGE_MS, now_ms, now_ms + EDGE_MS, sample_ms - EDGE_MS, sample_ms].map(is_in);
    match (times.iter().all(|t| *t), times.iter().any(|t| *t)) {
        (true, _) => Quiet::Yes,
        (_, true) => Quiet::Unsure,
        _ => Quiet::No,
    }
}

/// Whether a period is closed.
pub(crate) fn closed(span: Option<Span>, clocks: (i64, i64)) -> Quiet {
    span.map_or(Quiet::No, |span| within(clocks, |ms| !span.contains(ms)))
}

impl<'s> Silence<'s> {
    pub fn new(schedule: &'s Schedule, things: Vec<Thing>) -> Silence<'s> {
        let acks = vec![None; things.len()];
        Silence {
            schedule,
            things,
            planned: Vec::new(),
            acks,
            renewed: Vec::new(),
            released: Vec::new(),
        }
    }

    /// Notes what was asked for, and taken.
    pub fn apply(&mut self, what: &What, now_ms: i64, nodes: &[NodeSim]) {
        match *what {
            What::Downtime(id, node, service, down) => self.planned.push(Planned {
                id,
                node,
                service,
                down,
                added_ms: now_ms,
                maybe_ms: None,
                surely_ms: None,
                is_armed: false,
            }),
            What::Cancel(id) => self.planned.retain(|p| p.id != id),
            What::Ack(of, sticky, for_s) => {
                let level = match of {
                    Thing::Service(n, s) => nodes[n].raw(s),
                    _ => Some(Some(Level::Down)),
                };
                let until_ms = for_s.map(|s| now_ms + s * 1000);
                self.each_with(of, |ack, is_it| match ack {
                    // Which of the two holds is not sure, nor when that ends.
                    Some(other) if !is_it => (other.is_sure, other.until_ms) = (false, None),
                    _ => *ack = Some(Ack { level, sticky, until_ms, is_sure: is_it }),
                });
            }
            // Of those that were acknowledged with it that is not sure.
            What::Unack(of) => {
                let i = self.things.iter().position(|thing| *thing == of);
                self.each_with(of, |ack, is_it| match ack {
                    Some(_) if is_it => *ack = None,
                    Some(other) => other.is_sure = false,
                    None => {}
                });
                self.released.extend(i);
            }
            _ => {}
        }
    }

    /// Those that may be of one incident with this.
    fn each_with(&mut self, of: Thing, mut what: impl FnMut(&mut Option<Ack>, bool)) {
        for (i, thing) in self.things.iter().enumerate() {
            if self.schedule.is_related(of, *thing) {
                what(&mut self.acks[i], *thing == of);
            }
        }
    }

    /// What is silenced at this second, and how the pools stand.
    pub fn look(
        &mut self,
        t: i64,
        clocks: (i64, i64),
        nodes: &[NodeSim],
        all: &[Is],
    ) -> (Vec<Quiet>, Vec<(usize, Is, bool)>) {
        self.end_acks(clocks, nodes, all);
        // One that was over does not come again when the clock is set back.
        self.planned.retain(|p| !p.is_over(clocks.0));
        let schedule = self.schedule;
        let mut quiet = Vec::new();
        let mut counts = [Count::default(), Count::default()];
        for (i, thing) in self.things.iter().enumerate() {
            let (node, is_service) = match *thing {
                Thing::Node(n) => (n, false),
                Thing::Service(n, _) => (n, true),
                Thing::Pool(_) => {
                    quiet.push(Quiet::No);
                    continue;
                }
            };
            let spec = &schedule.nodes[node];
            let off = if spec.is_off && !is_service { Quiet::Yes } else { Quiet::No };
            let planned = self.downtime(*thing, clocks).max(closed(spec.period, clocks)).max(off);
            let held = held(schedule, node, is_service, t, nodes);
            counts[usize::from(is_service)].add(all[i], planned, held);
            let ack = self.acks[i].as_ref().map_or(Quiet::No, |a| a.now(clocks));
            let one_of_many = if schedule.quorum.is_some() { Quiet::Yes } else { Quiet::No };
            quiet.push(planned.max(held).max(ack).max(one_of_many));
        }
        self.begin_flexible(clocks.0, &quiet, all);
        let pools = self.things.iter().enumerate().filter_map(|(i, thing)| match thing {
            Thing::Pool(of_service) => {
                let count = counts[usize::from(*of_service)];
                let quorum = schedule.quorum.unwrap_or(1);
                Some((i, count.is(quorum), count.silenced_too < quorum))
            }
            _ => None,
        });
        (quiet, pools.collect())
    }

    fn end_acks(&mut self, clocks: (i64, i64), nodes: &[NodeSim], all: &[Is]) {
        let earliest = clocks.0.min(clocks.1);
        for (i, thing) in self.things.iter().enumerate() {
            let Some(ack) = &mut self.acks[i] else { continue };
            let raw = match *thing {
                Thing::Service(n, s) => nodes[n].raw(s),
                _ if all[i] == Is::Well => Some(None),
                _ => Some(Some(Level::Down)),
            };
            if raw != Some(None)
                && (ack.now(clocks) != Quiet::Yes || raw != Some(ack.level.flatten()))
            {
                self.released.push(i);
            }
            let is_over = ack.until_ms.is_some_and(|until| earliest > until + ACK_END_MS);
            match (raw, ack.level) {
                (Some(None), _) => self.acks[i] = None,
                // What it is, or was, is not known: it may have ended by that.
                (None, _) | (_, None) => ack.is_sure = false,
                (Some(now), Some(then)) if now != then && !ack.sticky => {
                    if ack.is_sure && now > then {
                        self.renewed.push(i);
                    }
                    self.acks[i] = None;
                }
                (Some(_), Some(_)) if is_over => self.acks[i] = None,
                (Some(now), Some(_)) => ack.level = Some(now),
            }
        }
    }

    fn downtime(&self, thing: Thing, clocks: (i64, i64)) -> Quiet {
        let of = self.planned.iter().filter(|p| p.is_of(thing));
        of.map(|p| p.now(clocks)).max().unwrap_or(Quiet::No)
    }

    /// Flexible downtimes begin with a problem.
    fn begin_flexible(&mut self, now_ms: i64, quiet: &[Quiet], all: &[Is]) {
        for p in &mut self.planned {
            let Down::Flexible(window_s, _) = p.down else { continue };
            if now_ms < p.added_ms || now_ms >= p.added_ms + window_s * 1000 {
                continue;
            }
            let mine = self.things.iter().enumerate().filter(|(_, thing)| p.is_of(**thing));
            let mine: Vec<usize> = mine.map(|(i, _)| i).collect();
            if mine.iter().any(|i| all[*i] != Is::Well) {
                p.maybe_ms = p.maybe_ms.or(Some(now_ms));
            } else if p.maybe_ms.is_none() {
                p.is_armed = true;
            }
            let is_new = |i: &usize| matches!(all[*i], Is::Bad(_)) && quiet[*i] == Quiet::No;
            if p.is_armed && mine.iter().any(is_new) {
                p.surely_ms = p.surely_ms.or(Some(now_ms));
            }
        }
    }
}

/// Whether it may be something else's fault, or its parent may just be well again.
fn held(schedule: &Schedule, node: usize, is_service: bool, t: i64, nodes: &[NodeSim]) -> Quiet {
    let hold = schedule.window_s.max(2 * STEP_S) + STEP_S;
    let mut quiet = Quiet::No;
    if is_service && t - nodes[node].up < hold {
        quiet = Quiet::Unsure;
    }
    if let Some(parent) = schedule.nodes[node].behind.filter(|_| !is_service) {
        let parent = &nodes[parent];
        quiet = match parent.is {
            Is::Bad(_) => Quiet::Yes,
            Is::Well if t - parent.up >= hold => quiet,
            _ => Quiet::Unsure,
        };
    }
    quiet
}

impl Planned {
    fn is_of(&self, thing: Thing) -> bool {
        match thing {
            Thing::Node(n) => n == self.node && self.service.is_none(),
            Thing::Service(n, s) => n == self.node && self.service.is_none_or(|mine| mine == s),
            Thing::Pool(_) => false,
        }
    }

    fn is_over(&self, now_ms: i64) -> bool {
        match self.down {
            Down::Fixed(_, to) => now_ms > self.added_ms + to * 1000 + 2 * EDGE_MS,
            Down::Flexible(window, _) => {
                self.maybe_ms.is_none() && now_ms > self.added_ms + window * 1000
            }
            Down::Repeating(_) => false,
        }
    }

    fn now(&self, clocks: (i64, i64)) -> Quiet {
        match self.down {
            Down::Fixed(from, to) => {
                let span = self.added_ms + from * 1000..self.added_ms + to * 1000;
                within(clocks, |ms| span.contains(&ms))
            }
            Down::Repeating(span) => within(clocks, |ms| ms >= self.added_ms && span.contains(ms)),
            Down::Flexible(_, s) => {
                let Some(maybe) = self.maybe_ms else { return Quiet::No };
                let latest = self.surely_ms.map_or(i64::MAX, |ms| ms + s * 1000 + 2 * EDGE_MS);
                match self.surely_ms {
                    _ if clocks.0 > latest => Quiet::No,
                    Some(surely)
                        if within(clocks, |ms| (surely..maybe + s * 1000).contains(&ms))
                            == Quiet::Yes =>
                    {
                        Quiet::Yes
                    }
                    _ => Quiet::Unsure,
                }
            }
        }
    }
}

impl Ack {
    fn now(&self, (now_ms, sample_ms): (i64, i64)) -> Quiet {
        let latest = now_ms.max(sample_ms);
        let is_near_end = self.until_ms.is_some_and(|until| latest > until - ACK_END_MS);
        if self.is_sure && !is_near_end { Quiet::Yes } else { Quiet::Unsure }
    }
}

/// How many of a pool have a problem.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    surely: usize,
    perhaps: usize,
    /// With those that are silenced: they do not make a problem of the group, but do not
    /// end it either.
    silenced_too: usize,
    worst: Option<Level>,
}

impl Count {
    fn add(&mut self, is: Is, planned: Quiet, held: Quiet) {
        self.silenced_too += usize::from(is != Is::Well);
        match (is, planned) {
            (Is::Well, _) | (_, Quiet::Yes) => {}
            (Is::Bad(level), Quiet::No) if held == Quiet::No => {
                (self.surely, self.perhaps) = (self.surely + 1, self.perhaps + 1);
                self.worst = self.worst.max(Some(level));
            }
            _ => self.perhaps += 1,
        }
    }

    fn is(&self, quorum: usize) -> Is {
        match self.worst {
            _ if self.perhaps < quorum => Is::Well,
            Some(level) if self.surely >= quorum => Is::Bad(level),
            _ => Is::Unsure,
        }
    }
}

impl Schedule {
    /// Whether two may become one incident.
    pub(crate) fn is_related(&self, a: Thing, b: Thing) -> bool {
        let node = |thing| match thing {
            Thing::Node(n) | Thing::Service(n, _) => Some(n),
            Thing::Pool(_) => None,
        };
        match (node(a), node(b)) {
            (Some(a), Some(b)) => {
                let is_behind = self.nodes[a].behind == Some(b) || self.nodes[b].behind == Some(a);
                a == b || self.is_one_group || is_behind
            }
            _ => a == b,
        }
    }
}
