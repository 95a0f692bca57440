//! Makes a schedule that fails as small as possible.

use crate::schedule::{Event, STEP_S, Schedule, What};
use crate::truth::Thing;

/// The smallest that still fails, as far as taking away one thing at a time finds it.
pub fn shrink(schedule: Schedule, fails: impl Fn(&Schedule) -> bool) -> Schedule {
    let mut best = schedule;
    loop {
        let smaller = candidates(&best).into_iter().find(&fails);
        match smaller {
            Some(smaller) => best = smaller,
            None => return best,
        }
    }
}

/// All that are one step smaller.
fn candidates(of: &Schedule) -> Vec<Schedule> {
    let mut all = Vec::new();
    for i in 0..of.events.len() {
        all.push(with(of, |s| {
            s.events.remove(i);
        }));
    }
    for c in (0..of.contacts.len()).filter(|_| of.contacts.len() > 1) {
        all.push(without_contact(of, c));
    }
    if of.nodes.len() > 1 && of.quorum.is_none() {
        all.extend((0..of.nodes.len()).map(|n| without_node(of, n)));
    }
    for n in 0..of.nodes.len() {
        all.push(with(of, |s| (s.nodes[n].behind, s.nodes[n].is_off) = (None, false)));
        all.push(with(of, |s| s.nodes[n].period = None));
        for j in 0..of.nodes[n].services.len() {
            let service = |s: &mut Schedule, what: &dyn Fn(&mut crate::schedule::Service)| {
                what(&mut s.nodes[n].services[j]);
            };
            all.push(with(of, |s| service(s, &|x| (x.absent_s, x.renotify_s) = (None, None))));
            all.push(with(of, |s| service(s, &|x| x.contact = None)));
            all.push(with(of, |s| service(s, &|x| x.attempts = 1)));
        }
    }
    for c in 0..of.contacts.len() {
        all.push(with(of, |s| s.contacts[c].period = None));
        all.push(with(of, |s| s.contacts[c].taste = crate::schedule::Taste::All));
    }
    all.push(with(of, |s| s.fresh_s = 0));
    all.push(with(of, |s| s.window_s = 0));
    for i in 0..of.events.len() {
        let at = of.events[i].at;
        let round = at / (6 * STEP_S) * 6 * STEP_S;
        for at in [round, at / STEP_S * STEP_S].into_iter().filter(|x| *x != at && *x > 0) {
            all.push(with(of, |s| {
                s.events[i].at = at;
                s.events.sort_by_key(|e| e.at);
            }));
        }
    }
    all.into_iter().filter(|s| !is_same(s, of)).collect()
}

fn is_same(a: &Schedule, b: &Schedule) -> bool {
    a.to_string() == b.to_string()
}

fn with(of: &Schedule, change: impl FnOnce(&mut Schedule)) -> Schedule {
    let mut changed = of.clone();
    change(&mut changed);
    changed
}

fn without_contact(of: &Schedule, c: usize) -> Schedule {
    let lower = |x: &mut usize| *x -= usize::from(*x > c);
    with(of, |s| {
        s.contacts.remove(c);
        s.events.retain(|e| !matches!(e.what, What::Channel(x, _) | What::KillAfter(x) if x == c));
        for Event { what, .. } in &mut s.events {
            if let What::Channel(x, _) | What::KillAfter(x) = what {
                lower(x);
            }
        }
        for service in s.nodes.iter_mut().flat_map(|n| &mut n.services) {
            service.contact = service.contact.filter(|x| *x != c);
            service.contact.iter_mut().for_each(lower);
        }
    })
}

fn node_of(what: &mut What) -> Option<&mut usize> {
    match what {
        What::Value(n, ..) | What::Silent(n, _) | What::Downtime(_, n, ..) => Some(n),
        What::Ack(thing, ..) | What::Unack(thing) => match thing {
            Thing::Node(n) | Thing::Service(n, _) => Some(n),
            Thing::Pool(_) => None,
        },
        _ => None,
    }
}

fn without_node(of: &Schedule, n: usize) -> Schedule {
    with(of, |s| {
        s.nodes.remove(n);
        for node in &mut s.nodes {
            node.behind = node.behind.filter(|b| *b != n);
            node.behind.iter_mut().for_each(|b| *b -= usize::from(*b > n));
        }
        s.events.retain_mut(|e| node_of(&mut e.what).is_none_or(|x| *x != n));
        for event in &mut s.events {
            if let Some(x) = node_of(&mut event.what) {
                *x -= usize::from(*x > n);
            }
        }
    })
}
