//! Makes schedules from seeds.

use crate::random::Random;
use crate::schedule::{
    Contact, Down, Event, Mode, Node, Schedule, Service, Span, Taste, Value, What,
};
use crate::truth::Thing;

/// What may be in a schedule. What an engine is known not to do yet is switched off
/// here, by name, and stands in `docs/testing.md`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope {
    /// Contacts have periods and digests, channels fail, and the collector is killed
    /// between hand-over and note: for worlds with an outbox.
    pub has_outbox: bool,
    /// One field of a service falls silent while others go on.
    pub has_lost_fields: bool,
    /// The collector is started again, or its clock set, where values do not come.
    pub has_late_restarts: bool,
    /// Its clock is set, forward or back.
    pub has_steps: bool,
    /// It is suspended, and the world with it.
    pub has_suspends: bool,
    /// Contacts that want no recoveries have periods.
    pub has_endless_periods: bool,
}

impl Scope {
    /// Everything; with what needs an outbox, or without.
    pub fn all(has_outbox: bool) -> Scope {
        Scope {
            has_outbox,
            has_lost_fields: true,
            has_late_restarts: true,
            has_steps: true,
            has_suspends: true,
            has_endless_periods: true,
        }
    }

    /// Takes out what is not in it.
    fn limit(self, schedule: &mut Schedule) {
        let Schedule { nodes, events, .. } = schedule;
        events.retain(|e| match e.what {
            What::Value(n, s, _, Value::Absent) => {
                self.has_lost_fields || nodes[n].services[s].fields == 1
            }
            _ => true,
        });
        let is_late = |e: &Event| matches!(e.what, What::Value(.., Value::Absent));
        let can_be_late = events.iter().any(is_late);
        let has_absence = nodes.iter().flat_map(|n| &n.services).any(|s| s.absent_s.is_some());
        events.retain(|e| match e.what {
            What::Step(_) if has_absence && !self.has_late_restarts => false,
            What::Step(_) if !self.has_steps => false,
            What::Suspend(_) if !self.has_suspends => false,
            What::Restart | What::KillAfter(_) | What::Step(_) | What::Suspend(_) => {
                self.has_late_restarts || !can_be_late
            }
            _ => true,
        });
    }
}

/// The first minute of the day of a schedule.
const NOON_MIN: i64 = 720;

/// The schedule of a seed: the same for the same.
pub fn generate(seed: u64, scope: Scope) -> Schedule {
    let mut random = Random::new(seed);
    let random = &mut random;
    let seconds = 60 * random.between(12, 24);
    let is_pool = random.chance(20);
    let is_one_group = is_pool || random.chance(25);
    let n_nodes = match (is_pool, is_one_group) {
        (true, _) => random.between(3, 4),
        (false, true) => random.between(2, 3),
        (false, false) => random.between(1, 2),
    } as usize;
    let n_contacts = random.between(1, 3) as usize;
    let contacts: Vec<Contact> = (0..n_contacts).map(|_| contact(random, scope)).collect();
    let mut nodes: Vec<Node> =
        (0..n_nodes).map(|_| node(random, is_pool, is_one_group, n_contacts)).collect();
    if !is_pool && n_nodes > 1 && random.chance(15) {
        nodes[1].behind = Some(0);
    }
    if is_pool && random.chance(20) {
        nodes[0].is_off = true;
    }
    let mut schedule = Schedule {
        seed,
        seconds,
        window_s: random.pick(&[0, 10, 30]),
        fresh_s: random.pick(&[0, 60, 60]),
        is_one_group,
        quorum: is_pool.then(|| random.between(2, 3) as usize),
        nodes,
        contacts,
        events: Vec::new(),
    };
    let n_stories = random.between(1, 4);
    for _ in 0..n_stories {
        story(random, &mut schedule, scope);
    }
    schedule.events.retain(|e| e.at < schedule.seconds);
    schedule.events.sort_by_key(|e| e.at);
    scope.limit(&mut schedule);
    keep_judged(&mut schedule.events);
    schedule
}

/// Samples that are ahead of the collector's clock by more than five minutes are not
/// judged (`future_ms`): it is not set back so far.
fn keep_judged(events: &mut Vec<Event>) {
    let mut offset = 0;
    events.retain(|e| match e.what {
        What::Step(s) if offset + s < -290 => false,
        What::Step(s) => {
            offset += s;
            true
        }
        _ => true,
    });
}

fn contact(random: &mut Random, scope: Scope) -> Contact {
    let tastes = [Taste::All, Taste::All, Taste::Critical, Taste::NoWarning, Taste::Down];
    let mut contact = Contact {
        taste: random.pick(&tastes),
        period: None,
        has_mail: scope.has_outbox && random.chance(10),
    };
    if random.chance(8) {
        contact.taste = Taste::NoRecovery;
    }
    if contact.has_mail && random.chance(50) {
        contact.taste = Taste::Digest;
    }
    if scope.has_outbox && random.chance(20) {
        contact.period = Some(span(random));
    }
    if contact.taste == Taste::NoRecovery && !scope.has_endless_periods {
        contact.period = None;
    }
    contact
}

fn node(random: &mut Random, is_pool: bool, is_one_group: bool, n_contacts: usize) -> Node {
    let n = if is_pool || !is_one_group && random.chance(70) { 1 } else { 2 };
    let services = (0..n).map(|_| Service {
        fields: if random.chance(25) { 2 } else { 1 },
        attempts: random.pick(&[1, 1, 2, 3]),
        absent_s: random.chance(20).then_some(60),
        renotify_s: random.chance(10).then(|| 60 * random.between(1, 3)),
        contact: (!is_pool && random.chance(15)).then(|| random.below(n_contacts)),
    });
    let services = services.collect();
    let period = random.chance(20).then(|| span(random));
    Node { services, behind: None, period, is_off: false }
}

/// Open from somewhere in the schedule's first minutes, or until there.
fn span(random: &mut Random) -> Span {
    let edge = NOON_MIN + random.between(2, 15);
    match random.below(3) {
        0 => Span { from: edge, to: 1440 },
        1 => Span { from: 0, to: edge },
        _ => Span { from: edge, to: edge + random.between(1, 8) },
    }
}

/// Something goes wrong, and somebody does something about it, or something else
/// happens at the same time.
fn story(random: &mut Random, schedule: &mut Schedule, scope: Scope) {
    let at = random.between(40, schedule.seconds * 6 / 10);
    let node = random.below(schedule.nodes.len());
    let service = random.below(schedule.nodes[node].services.len());
    let end = problem(random, schedule, node, service, at);
    if schedule.quorum.is_some() {
        // The others have it, too.
        for other in 0..schedule.nodes.len() {
            if other != node && random.chance(70) {
                let at = at + random.between(0, 40);
                problem(random, schedule, other, 0, at);
            }
        }
    }
    for _ in 0..random.between(0, 3) {
        // Near its beginning, its end, or anywhere.
        let near = match (random.below(3), end) {
            (0, Some(end)) => end + random.between(-30, 30),
            (1, _) => random.between(20, schedule.seconds * 8 / 10),
            _ => at + random.between(-60, 120),
        };
        besides(random, schedule, (node, service), near.max(15), scope);
    }
}

fn lasts(random: &mut Random) -> i64 {
    match random.below(3) {
        0 => random.between(5, 60),
        1 => random.between(60, 300),
        _ => random.between(300, 900),
    }
}

/// When it ends, if it does.
fn problem(
    random: &mut Random,
    schedule: &mut Schedule,
    node: usize,
    service: usize,
    at: i64,
) -> Option<i64> {
    let mut push = |at, what| schedule.events.push(Event { at, what });
    let end = random.chance(60).then(|| at + lasts(random));
    if random.chance(15) {
        push(at, What::Silent(node, true));
        end.iter().for_each(|end| push(*end, What::Silent(node, false)));
        return end;
    }
    let fields = schedule.nodes[node].services[service].fields;
    let field = random.below(fields);
    let bad = [Value::Warning, Value::Critical, Value::Critical, Value::Unknown, Value::Absent];
    let first = random.pick(&bad);
    // Either one of its fields falls silent, or all of them.
    let all = first == Value::Absent && random.chance(60);
    let fields = if all { 0..fields } else { field..field + 1 };
    let mut set = |at, value| {
        for k in fields.clone() {
            schedule.events.push(Event { at, what: What::Value(node, service, k, value) });
        }
    };
    set(at, first);
    if random.chance(40) {
        let change = at + random.between(10, 200);
        if end.is_none_or(|end| change < end) {
            set(change, random.pick(&bad));
        }
    }
    end.iter().for_each(|end| set(*end, Value::Ok));
    end
}

/// Something else near it.
fn besides(
    random: &mut Random,
    schedule: &mut Schedule,
    (node, service): (usize, usize),
    at: i64,
    scope: Scope,
) {
    let target = match random.chance(80) {
        true => Thing::Service(node, service),
        false => Thing::Node(node),
    };
    let id = schedule.events.len();
    let contact = random.below(schedule.contacts.len());
    let n_kinds = if scope.has_outbox { 11 } else { 6 };
    let what = match random.below(n_kinds) {
        0 => What::Restart,
        1 | 2 => {
            let service = random.chance(70).then_some(service);
            let down = match random.below(3) {
                0 => Down::Fixed(random.between(0, 30), random.between(40, 400)),
                1 => Down::Repeating(span(random)),
                _ => Down::Flexible(random.between(60, 300), random.between(30, 300)),
            };
            if random.chance(20) {
                let what = What::Cancel(id);
                schedule.events.push(Event { at: at + random.between(10, 200), what });
            }
            What::Downtime(id, node, service, down)
        }
        3 => {
            if random.chance(25) {
                let what = What::Unack(target);
                schedule.events.push(Event { at: at + random.between(20, 200), what });
            }
            let for_s = random.chance(30).then(|| random.between(30, 300));
            What::Ack(target, random.chance(30), for_s)
        }
        4 => {
            let s = random.pick(&[-200, -60, -20, 20, 100, 1800]);
            if random.chance(50) {
                let at = at + random.between(20, 300);
                schedule.events.push(Event { at, what: What::Step(-s) });
            }
            What::Step(s)
        }
        5 => What::Suspend(random.pick(&[40, 300, 7200])),
        6 => What::KillAfter(contact),
        _ => {
            let mode = random.pick(&[Mode::Fails, Mode::Fails, Mode::Hangs, Mode::Refuses]);
            let at = at + random.between(2, 150);
            schedule.events.push(Event { at, what: What::Channel(contact, Mode::Works) });
            What::Channel(contact, mode)
        }
    };
    schedule.events.push(Event { at, what });
}
