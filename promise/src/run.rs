//! Plays many schedules, on all cores, and prints the smallest that fails.

use crate::generate::{Scope, generate};
use crate::judge::{Fault, Tally, judge};
use crate::play::Played;
use crate::schedule::Schedule;
use crate::shrink::shrink;
use crate::truth::Truth;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// A survey shows so many of each kind.
const SHOWN_MAX: usize = 5;

/// Which schedules are played.
#[derive(Clone, Copy, Debug)]
pub struct Plan {
    /// The first seed.
    pub seed: u64,
    /// How many.
    pub schedules: u64,
    /// What may be in them.
    pub scope: Scope,
    /// Goes on when the promise is broken, to say in how many ways.
    pub is_survey: bool,
}

impl Plan {
    /// So many, unless `ROOKERY_PROMISE_SEED` and `ROOKERY_PROMISE_SCHEDULES` say
    /// otherwise.
    pub fn of(schedules: u64, scope: Scope) -> Plan {
        let number = |name: &str, or: u64| match std::env::var(name) {
            Ok(text) => text.parse().unwrap_or_else(|_| panic!("{name}={text:?}: a number")),
            Err(_) => or,
        };
        Plan {
            seed: number("ROOKERY_PROMISE_SEED", 1),
            schedules: number("ROOKERY_PROMISE_SCHEDULES", schedules),
            scope,
            is_survey: std::env::var_os("ROOKERY_PROMISE_SURVEY").is_some(),
        }
    }
}

/// Plays one and judges it.
pub fn check(schedule: &Schedule, play: &impl Fn(&Schedule) -> Played) -> Result<Tally, Fault> {
    let played = play(schedule);
    judge(schedule, &played, &Truth::of(schedule, &played))
}

/// Plays them all. The error is the smallest schedule that breaks the promise in the
/// same way as the first that did, as text, with what was handed over; of a survey one
/// for each way.
pub fn run(plan: Plan, play: impl Fn(&Schedule) -> Played + Sync) -> Result<Tally, String> {
    let (next, stop) = (AtomicU64::new(0), AtomicBool::new(false));
    let all: Mutex<(Tally, Vec<(u64, Fault)>)> = Mutex::default();
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let i = next.fetch_add(1, Ordering::Relaxed);
                    if i >= plan.schedules || stop.load(Ordering::Relaxed) {
                        return;
                    }
                    let seed = plan.seed.wrapping_add(i);
                    let found = check(&generate(seed, plan.scope), &play);
                    let mut all = all.lock().unwrap_or_else(PoisonError::into_inner);
                    match found {
                        Ok(tally) => all.0.add(tally),
                        Err(fault) => {
                            stop.store(!plan.is_survey, Ordering::Relaxed);
                            all.1.push((seed, fault));
                        }
                    }
                }
            });
        }
    });
    let (tally, mut failed) = all.into_inner().unwrap_or_else(PoisonError::into_inner);
    failed.sort_by_key(|(seed, _)| *seed);
    if failed.is_empty() {
        return Ok(tally);
    }
    let n = failed.len();
    let mut rules: Vec<&str> = failed.iter().map(|(_, f)| f.rule).collect();
    rules.sort_unstable();
    rules.dedup();
    let mut text = format!("{n} of {} schedules break the promise\n", plan.schedules);
    for rule in rules {
        let of_rule: Vec<&(u64, Fault)> = failed.iter().filter(|(_, f)| f.rule == rule).collect();
        text += &format!("{rule}: {}\n", of_rule.len());
        let shown = if plan.is_survey { SHOWN_MAX } else { 1 };
        for (seed, fault) in of_rule.iter().take(shown) {
            text += &report(plan, *seed, fault, &play);
        }
    }
    Err(text)
}

fn report(plan: Plan, seed: u64, fault: &Fault, play: &impl Fn(&Schedule) -> Played) -> String {
    let same = |s: &Schedule| check(s, play).err().is_some_and(|f| f.rule == fault.rule);
    let small = shrink(generate(seed, plan.scope), same);
    let played = play(&small);
    let now = check(&small, play).err();
    let mut text = format!(
        "after {} schedules: seed {seed} breaks the promise: {fault}\nas small as possible:\n\
         {small}",
        seed.wrapping_sub(plan.seed) + 1
    );
    for d in &played.deliveries {
        text += &format!(
            "  -> 12:{:02}:{:02} c{} {:?} {} {:?} of {}.{}{}\n",
            d.at / 60,
            d.at % 60,
            d.contact + 1,
            d.kind,
            d.subject,
            d.level,
            d.incident,
            d.sequence,
            if d.repeated { " (a repeat)" } else { "" }
        );
    }
    text += &now.map_or_else(String::new, |f| format!("  => {f}\n"));
    text
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.problems += other.problems;
        self.ends += other.ends;
        self.messages += other.messages;
    }
}
