//! Compares what contacts were handed with what they had to be.

use crate::delivery::{Delivery, Kind};
use crate::play::Played;
use crate::schedule::{Contact, Mode, Schedule, Taste, What};
use crate::silence::{Quiet, closed};
use crate::truth::{Is, Level, Thing, Truth};
use std::collections::{BTreeMap, HashMap};
use std::fmt::{self, Display, Formatter};

/// What is due is there within this and the group window, s: ticks, what waits for a
/// contact's period (looked at each 30 s), whose node may be at fault.
const PATIENCE_S: i64 = 60;
/// A channel that failed is tried again after this at the latest, s.
const PAUSE_S_MAX: i64 = 310;
/// The end of a problem is sure so many group windows after its beginning.
const CALM_WINDOWS: i64 = 10;
/// A group is well when it was below its quorum for so long, s.
const POOL_CALM_S: i64 = 300;
/// Nineteen states in a row end the flapping, and some.
const FLAP_S: i64 = 230;

/// How the promise was broken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Which part of it.
    pub rule: &'static str,
    /// When, s.
    pub at: i64,
    /// For which contact.
    pub contact: usize,
    /// Of what.
    pub thing: String,
}

impl Display for Fault {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        let Fault { rule, at, contact, thing } = self;
        write!(f, "12:{:02}:{:02} c{}: {thing}: {rule}", at / 60, at % 60, contact + 1)
    }
}

/// An incident that a contact knows of.
#[derive(Clone, Debug)]
struct Open {
    named: Vec<Thing>,
    /// The worst, and the newest, that it was told; the newest of each thing.
    worst: Level,
    newest: Level,
    told: BTreeMap<Thing, Level>,
    /// When it was told last, and when that was decided, s and ms.
    last: i64,
    decided_ms: i64,
    /// That may have waited for the channel or the contact's period.
    was_late: bool,
    was_catch_up: bool,
    has_flapped: bool,
    /// Since when all of it are well and that could be notified.
    ended: Option<i64>,
}

/// One contact's view.
struct View<'a> {
    schedule: &'a Schedule,
    truth: &'a Truth,
    played: &'a Played,
    index: usize,
    contact: &'a Contact,
    open: BTreeMap<String, Open>,
    /// Of each incident: the newest number, and whether its end was notified.
    numbers: HashMap<String, (u64, bool)>,
    seen: HashMap<String, i64>,
    /// By thing: since when it is to be notified and is not.
    owed: Vec<Option<i64>>,
    mode: Mode,
    /// Since when the channel works, and how long it had failed before.
    works: (i64, i64),
    /// Something may have been refused for good.
    has_lost: bool,
    /// For how long it can be reached, and its period is open.
    reached: i64,
}

/// How much was judged.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tally {
    /// Problems that were notified as they had to be.
    pub problems: usize,
    /// Ends.
    pub ends: usize,
    /// Messages in all.
    pub messages: usize,
}

/// The first way in which the promise was broken; else how much was judged.
pub fn judge(schedule: &Schedule, played: &Played, truth: &Truth) -> Result<Tally, Fault> {
    let mut tally = Tally { messages: played.deliveries.len(), ..Tally::default() };
    let mut first: Option<Fault> = None;
    for (index, contact) in schedule.contacts.iter().enumerate() {
        let mut view = View::new(schedule, played, truth, index, contact);
        if let Err(fault) = view.watch(&mut tally)
            && first.as_ref().is_none_or(|f| fault.at < f.at)
        {
            first = Some(fault);
        }
    }
    first.map_or(Ok(tally), Err)
}

impl<'a> View<'a> {
    fn new(
        schedule: &'a Schedule,
        played: &'a Played,
        truth: &'a Truth,
        index: usize,
        contact: &'a Contact,
    ) -> View<'a> {
        View {
            schedule,
            truth,
            played,
            index,
            contact,
            open: BTreeMap::new(),
            numbers: HashMap::new(),
            seen: HashMap::new(),
            owed: vec![None; truth.things.len()],
            mode: Mode::Works,
            works: (-1000, 0),
            has_lost: false,
            reached: 0,
        }
    }

    fn watch(&mut self, tally: &mut Tally) -> Result<(), Fault> {
        let (schedule, played, index) = (self.schedule, self.played, self.index);
        let mine = played.deliveries.iter().filter(|d| d.contact == index);
        let mut mine = mine.peekable();
        let mut events = schedule.events.iter().peekable();
        for t in 0..=schedule.seconds {
            while let Some(event) = events.next_if(|e| e.at <= t) {
                self.channel(t, &event.what);
            }
            self.reach(t);
            while let Some(delivery) = mine.next_if(|d| d.at <= t) {
                self.receive(t, delivery, tally)?;
            }
            self.problems(t, tally)?;
            self.ends(t)?;
        }
        Ok(())
    }

    fn fault(&self, rule: &'static str, at: i64, thing: impl Display) -> Fault {
        Fault { rule, at, contact: self.index, thing: thing.to_string() }
    }

    fn channel(&mut self, t: i64, what: &What) {
        let What::Channel(contact, mode) = *what else { return };
        if contact != self.index || mode == self.mode {
            return;
        }
        match (self.mode, mode) {
            (_, Mode::Works) => self.works.1 = t - self.works.0,
            // From now on `works` says since when it does not.
            (Mode::Works, _) => self.works.0 = t,
            _ => {}
        }
        if mode == Mode::Works {
            self.works.0 = t;
        }
        self.has_lost |= mode == Mode::Refuses;
        self.mode = mode;
    }

    /// Whether what is due is handed over, as far as the contact is concerned.
    fn reach(&mut self, t: i64) {
        let (since, failed) = self.works;
        let pause = if failed > 0 { (2 * failed).min(PAUSE_S_MAX) + 60 } else { 0 };
        let is_there = self.mode == Mode::Works && t - since >= pause;
        let is_open = closed(self.contact.period, self.truth.clocks[t as usize]) == Quiet::No;
        self.reached = if is_there && is_open { self.reached + 1 } else { 0 };
    }

    fn index_of(&self, thing: Thing) -> Option<usize> {
        self.truth.things.iter().position(|x| *x == thing)
    }

    fn patience(&self) -> i64 {
        self.schedule.window_s + PATIENCE_S
    }

    /// Whether something was so at each of the latest seconds in which what is handed
    /// over now was decided; `false` if that may have been earlier.
    fn was_all(&self, t: i64, i: usize, is: impl Fn(Is, Quiet) -> bool) -> bool {
        let lag = self.patience();
        if self.reached < lag || t < lag {
            return false;
        }
        (t - lag..=t).map(|s| s as usize).all(|s| is(self.truth.is[i][s], self.truth.quiet[i][s]))
    }

    fn receive(&mut self, t: i64, d: &Delivery, tally: &mut Tally) -> Result<(), Fault> {
        if let Some(before) = self.seen.insert(d.id.clone(), t) {
            let restarts = self.schedule.events.iter().filter(|e| matches!(e.what, What::Restart));
            let mut ends = restarts.map(|e| e.at).chain(self.played.kills.iter().copied());
            let is_repeat = d.repeated && ends.any(|at| (before..=t).contains(&at));
            let fault = self.fault("the same message twice", t, d.subject);
            return if is_repeat { Ok(()) } else { Err(fault) };
        }
        let (number, is_over) = self.numbers.get(&d.incident).copied().unwrap_or((0, false));
        if self.numbers.contains_key(&d.incident) && d.sequence <= number {
            return Err(self.fault("out of order", t, d.subject));
        }
        if is_over && d.kind == Kind::Problem {
            return Err(self.fault("a problem after its end", t, d.subject));
        }
        self.numbers.insert(d.incident.clone(), (d.sequence, d.kind == Kind::Recovery));
        match d.kind {
            Kind::Problem | Kind::Flapping => {
                if !d.is_instead && !d.repeated {
                    self.is_right(t, d)?;
                    self.is_news(t, d)?;
                }
                self.learn(t, d);
            }
            Kind::Recovery => {
                let Some(open) = self.open.remove(&d.incident) else {
                    let fault = self.fault("the end of what was not notified", t, d.subject);
                    return if self.has_lost { Ok(()) } else { Err(fault) };
                };
                let lasts = |thing: &Thing| {
                    let i = self.index_of(*thing);
                    i.is_some_and(|i| self.was_all(t, i, |is, _| matches!(is, Is::Bad(_))))
                };
                if open.named.iter().all(lasts) {
                    return Err(self.fault("an end of what lasts", t, d.subject));
                }
                tally.ends += 1;
            }
            // When a contact's period opens that may be the newest word, and is enough.
            Kind::Acknowledgement if self.contact.period.is_some() => {
                if !self.open.contains_key(&d.incident) {
                    self.learn(t, d);
                }
            }
            Kind::Acknowledgement => {}
        }
        Ok(())
    }

    /// Whether what it says is so, and is not silenced.
    fn is_right(&self, t: i64, d: &Delivery) -> Result<(), Fault> {
        let Some(i) = self.index_of(d.subject) else { return Ok(()) };
        if self.was_all(t, i, |_, quiet| quiet == Quiet::Yes) {
            return Err(self.fault("notified though it is silenced", t, d.subject));
        }
        if d.kind == Kind::Flapping {
            return Ok(());
        }
        if self.was_all(t, i, |is, _| is == Is::Well) {
            return Err(self.fault("notified though it is well", t, d.subject));
        }
        if self.was_all(t, i, |is, _| matches!(is, Is::Bad(level) if level > d.level)) {
            return Err(self.fault("notified as less than it is", t, d.subject));
        }
        Ok(())
    }

    /// Whether there is a reason to say it (again).
    fn is_news(&self, t: i64, d: &Delivery) -> Result<(), Fault> {
        if let Some(open) = self.open.get(&d.incident) {
            let again = self.truth.things.iter().filter_map(|thing| match *thing {
                Thing::Service(n, s) => {
                    let is_named = d.named.contains(thing) || d.named.contains(&Thing::Pool(true));
                    self.schedule.nodes[n].services[s].renotify_s.filter(|_| is_named)
                }
                _ => None,
            });
            // What was handed over late comes nearer to the next.
            let gap = match open.was_late {
                true => (d.decided_ms - open.decided_ms) / 1000,
                false => t - open.last,
            };
            // Reminders go on as they were for those who knew before.
            let is_due = again.min().is_some_and(|s| gap >= s - 15 || open.was_catch_up);
            let is_stepped = self.truth.disturbed[open.last as usize..=t as usize].contains(&true);
            let has_more = d.named.iter().any(|thing| !open.named.contains(thing));
            let is_news = d.level > open.worst
                || open.told.get(&d.subject) == Some(&Level::Unknown) && d.level != Level::Unknown
                || open.newest == Level::Down && d.level != Level::Down
                || open.has_flapped
                || d.kind == Kind::Flapping
                || self.index_of(d.subject).is_some_and(|i| self.is_restless(i, t))
                || has_more
                || self.was_released(d, open.last, t)
                || is_due
                || again_possible(self.schedule) && is_stepped;
            if !is_news {
                return Err(self.fault("notified again without a reason", t, d.subject));
            }
        }
        let Some(i) = self.index_of(d.subject) else { return Ok(()) };
        let others = self.open.iter().filter(|(id, _)| **id != d.incident);
        for (_, other) in others.filter(|(_, open)| open.named.contains(&d.subject)) {
            let mut since = other.last as usize..=t as usize;
            if since.all(|s| matches!(self.truth.is[i][s], Is::Bad(_))) && !other.has_flapped {
                return Err(self.fault("notified as two incidents", t, d.subject));
            }
        }
        Ok(())
    }

    /// Whether an acknowledgement may have ended since: what it is now is said then.
    fn was_released(&self, d: &Delivery, since: i64, t: i64) -> bool {
        let of = d.named.iter().filter_map(|thing| self.index_of(*thing));
        of.flat_map(|i| &self.truth.released[i]).any(|at| (since..=t).contains(at))
    }

    fn learn(&mut self, t: i64, d: &Delivery) {
        let was_late = self.reached < self.patience();
        let open = self.open.entry(d.incident.clone()).or_insert_with(|| Open {
            named: Vec::new(),
            worst: d.level,
            newest: d.level,
            told: BTreeMap::new(),
            last: t,
            decided_ms: d.decided_ms,
            was_late: false,
            was_catch_up: false,
            has_flapped: false,
            ended: None,
        });
        open.named.extend(d.named.iter().copied());
        open.named.sort();
        open.named.dedup();
        (open.newest, open.last) = (d.level, t);
        (open.decided_ms, open.was_late) = (d.decided_ms, was_late);
        open.was_catch_up = d.is_catch_up;
        open.told.insert(d.subject, d.level);
        open.worst = if d.level == Level::Down { d.level } else { open.worst.max(d.level) };
        open.has_flapped |= d.kind == Kind::Flapping;
    }

    /// Whether the contact knows of a problem, by itself or as of an incident that it may
    /// have joined.
    fn knows(&self, i: usize, level: Level, t: i64) -> bool {
        let thing = self.truth.things[i];
        let renewed = self.truth.renewed[i].iter().rfind(|at| **at <= t);
        let renewed = renewed.copied().unwrap_or(i64::MIN);
        self.open.values().any(|open| {
            let is_it = open.named.contains(&thing) && open.last >= renewed;
            let may_join = self.schedule.window_s > 0 && open.worst >= level;
            let is_near = |other: &Thing| self.schedule.is_related(*other, thing);
            let is_joined = open.named.iter().any(|other| *other != thing && is_near(other));
            is_it || may_join && is_joined
        })
    }

    /// Finds problems that last and were not notified.
    fn problems(&mut self, t: i64, tally: &mut Tally) -> Result<(), Fault> {
        let s = t as usize;
        for i in 0..self.truth.things.len() {
            let thing = self.truth.things[i];
            let is_due = match (self.truth.is[i][s], self.truth.quiet[i][s]) {
                (Is::Bad(level), Quiet::No) if self.is_for(thing, level) => {
                    let is_owed = !self.truth.disturbed[s]
                        && self.reached > 0
                        && !self.has_lost
                        && !self.is_restless(i, t)
                        && (level != Level::Unknown || self.is_only_unknown(i, t));
                    is_owed && !self.knows(i, level, t)
                }
                _ => false,
            };
            if !is_due {
                tally.problems += usize::from(self.owed[i].take().is_some());
                continue;
            }
            let since = *self.owed[i].get_or_insert(t);
            if t - since > self.patience() {
                return Err(self.fault("lasts and is not notified", t, thing));
            }
        }
        Ok(())
    }

    /// Whether the contact is to be notified of it at once.
    fn is_for(&self, thing: Thing, level: Level) -> bool {
        if let Thing::Service(n, s) = thing
            && self.schedule.nodes[n].services[s].contact.is_some_and(|c| c != self.index)
        {
            return false;
        }
        let is_urgent = level >= Level::Critical;
        match self.contact.taste {
            // What is not urgent goes to the digest when it comes outside the period.
            _ if !is_urgent && self.contact.has_mail && self.contact.period.is_some() => false,
            Taste::All | Taste::NoRecovery => true,
            Taste::Critical | Taste::Digest => is_urgent,
            Taste::NoWarning => level != Level::Warning,
            Taste::Down => level == Level::Down,
        }
    }

    /// Whether it has changed so often of late that it may flap. Only evaluations count:
    /// not the time in which nobody knew how it stands.
    fn is_restless(&self, i: usize, t: i64) -> bool {
        let known = self.truth.is[i][..=t as usize].iter().rev().filter(|is| **is != Is::Unsure);
        let mut known = known.take(4 * FLAP_S as usize);
        let mut changes = 0;
        let Some(mut newer) = known.next() else { return false };
        for older in known {
            changes += usize::from(older != newer);
            newer = older;
        }
        changes >= 3
    }

    /// Whether it was nothing else since it was last well: what gets better is not said.
    fn is_only_unknown(&self, i: usize, t: i64) -> bool {
        let before = self.truth.is[i][..=t as usize].iter().rev();
        let mut since_well = before.take_while(|is| **is != Is::Well);
        since_well.all(|is| matches!(is, Is::Bad(Level::Unknown) | Is::Unsure))
    }

    /// Finds incidents that are over, which was not notified.
    fn ends(&mut self, t: i64) -> Result<(), Fault> {
        let s = t as usize;
        let can_be = self.reached > 0 && !self.truth.disturbed[s];
        let mut over = Vec::new();
        for (id, open) in &self.open {
            let is_near = |thing: &Thing| {
                open.named.iter().any(|named| self.schedule.is_related(*named, *thing))
            };
            let mut things =
                self.truth.things.iter().enumerate().filter(|(_, thing)| is_near(thing));
            let is_over = things.all(|(i, _)| self.truth.over[i][s]);
            // Flapping ends by evaluations, of which there may be none.
            let flaps = open.has_flapped
                || open
                    .named
                    .iter()
                    .any(|thing| self.index_of(*thing).is_some_and(|i| self.is_restless(i, t)));
            over.push((id.clone(), is_over && can_be && !flaps));
        }
        // What is counted by a clock that was set back takes so much longer.
        let steps = self.schedule.events.iter().filter_map(|e| match e.what {
            What::Step(s) if e.at <= t => Some((-s).max(0)),
            _ => None,
        });
        let set_back: i64 = steps.sum();
        for (id, is_over) in over {
            let patience = self.patience();
            let Some(open) = self.open.get_mut(&id) else { continue };
            open.ended = is_over.then(|| open.ended.unwrap_or(t));
            let Some(since) = open.ended else { continue };
            let calm = match open.named.iter().any(|thing| matches!(thing, Thing::Pool(_))) {
                true => POOL_CALM_S,
                false => CALM_WINDOWS * self.schedule.window_s + FLAP_S,
            };
            if t - since <= calm + patience + set_back {
                continue;
            }
            let lead = open.named[0];
            self.open.remove(&id);
            if self.contact.taste != Taste::NoRecovery && !self.has_lost {
                return Err(self.fault("its end is not notified", t, lead));
            }
        }
        Ok(())
    }
}

fn again_possible(schedule: &Schedule) -> bool {
    schedule.nodes.iter().flat_map(|n| &n.services).any(|s| s.renotify_s.is_some())
}
