//! What the alert machine wants to know of the past, read from the history.
//!
//! Rules with `past`, `forecast` and `change` speak of weeks and days that the machine
//! has not seen. It asks for them ([`Want`]) when a service's first sample has come; here
//! the answer is read from rollups, a piece at a time, beside ingest: the machine is held
//! only while it takes a piece in.

use super::Alerts;
use crate::history::{Averages, Bucket, History, ReadError, Rollup};
use crate::store::now_ms;
use rookery_alerts::{Lesson, Seen, Want};
use rookery_plugins::TimeMs;
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::Notify;

/// The most steps that are read, and told, at a time.
const STEPS_AT_ONCE: i64 = 5000;
/// So many wants between two looks at whether the collector stops.
const WANTS_AT_ONCE: usize = 4;
/// How often it is told how far it has come, in wants.
const SAID_EVERY: usize = 10_000;

/// Reads what is wanted and tells it, in order; how many steps that were. `tell` says
/// whether it is wanted still. An error has been told as [`Lesson::Lost`].
pub fn teach(
    history: &dyn History,
    want: Want,
    tell: &mut dyn FnMut(&Want, Lesson) -> bool,
) -> Result<usize, ReadError> {
    let told = is_known_from_the_start(history, &want).and_then(|is_known| {
        let want = if is_known { want.clone().after_what_is_known() } else { want.clone() };
        let mut n = 0;
        for (from, to, step) in pieces(&want) {
            let steps = read(history, &want, (from, to), step)?;
            n += steps.len();
            if !steps.is_empty() && !tell(&want, Lesson::Steps(steps)) {
                return Ok(n);
            }
        }
        tell(&want, Lesson::Over);
        Ok(n)
    });
    if told.is_err() {
        tell(&want, Lesson::Lost);
    }
    told
}

/// Whether the history holds nothing of before what the machine knows.
fn is_known_from_the_start(history: &dyn History, want: &Want) -> Result<bool, ReadError> {
    let Some((since_ms, _)) = want.known else { return Ok(false) };
    if since_ms <= want.from_ms {
        return Ok(true);
    }
    let span = (want.from_ms, since_ms.min(want.to_ms));
    Ok(span.0 >= span.1 || read(history, want, span, span.1 - span.0)?.is_empty())
}

/// The pieces of a want: from, to, and the step, ms. All but the first begin at a step of
/// the clock.
fn pieces(want: &Want) -> Vec<(TimeMs, TimeMs, i64)> {
    let step = want.step_ms.max(1);
    let mut pieces = Vec::new();
    let mut at = want.from_ms;
    while at < want.to_ms {
        let next = at.div_euclid(step).saturating_add(1).saturating_mul(step);
        let is_even = at.rem_euclid(step) == 0;
        let end = if is_even { at.saturating_add(step * STEPS_AT_ONCE) } else { next };
        let end = end.min(want.to_ms);
        pieces.push((at, end, if is_even { step } else { end - at }));
        at = end;
    }
    pieces
}

/// The steps of a span in which something is known.
fn read(
    history: &dyn History,
    want: &Want,
    (from, to): (TimeMs, TimeMs),
    step: i64,
) -> Result<Vec<Seen>, ReadError> {
    let fields: Vec<&str> = want.fields.iter().map(String::as_str).collect();
    let rollup = match history.rollup(&want.node, &want.service, &fields, from, to, step) {
        // Its first sample is only just on its way.
        Err(ReadError::NotFound(_)) => return Ok(vec![]),
        other => other?,
    };
    let of = |name: &String| rollup.fields.iter().find(|f| f.spec.name == *name);
    let all: Vec<_> = want.fields.iter().map(of).collect();
    let n = all.iter().flatten().map(|f| f.buckets.len()).max().unwrap_or(0);
    let mut steps = Vec::new();
    for i in 0..n {
        let at = from + step * i as i64;
        if is_coarse(&rollup, at, want.coarsest_ms) {
            continue;
        }
        let buckets = all.iter().map(|f| f.and_then(|f| f.buckets.get(i)));
        let known = |b: &Option<&Bucket>| b.filter(|b| b.count > 0).copied();
        let buckets: Vec<_> = buckets.map(|b| known(&b)).collect();
        let Some(n) = buckets.iter().flatten().map(|b| b.count).max() else { continue };
        let value = |b: &Bucket| match want.first {
            true => Some(b.first),
            false => b.mean(),
        };
        let values = buckets.iter().map(|b| b.as_ref().and_then(value)).collect();
        steps.push(Seen { from_ms: at, to_ms: to.min(at + step), n, values });
    }
    Ok(steps)
}

/// Whether what is known of that time are averages of too long a time.
fn is_coarse(rollup: &Rollup, at: TimeMs, coarsest_ms: i64) -> bool {
    let is_here = |a: &&Averages| (a.from_ms..a.to_ms).contains(&at);
    rollup.averages.iter().filter(is_here).any(|a| a.step_ms > coarsest_ms)
}

impl Alerts {
    fn learn(&self, want: &Want, lesson: Lesson) -> bool {
        let mut live = self.live();
        let super::Live { machine, out, .. } = &mut *live;
        machine.learn(want, lesson, now_ms(), out)
    }
}

/// Answers what the machine wants, whenever `wanted` rings, until it is dropped.
pub async fn run(alerts: Alerts, history: Arc<dyn History>, wanted: Arc<Notify>) {
    loop {
        wanted.notified().await;
        let began = Instant::now();
        let (mut n_wants, mut n_steps, mut said) = (0, 0, 0);
        loop {
            let wants = alerts.live().machine.wants(WANTS_AT_ONCE);
            if wants.is_empty() {
                break;
            }
            n_wants += wants.len();
            let (alerts, history) = (alerts.clone(), history.clone());
            let work = tokio::task::spawn_blocking(move || answer(&alerts, &*history, wants));
            match work.await {
                Ok(n) => n_steps += n,
                Err(e) => tracing::error!("BUG: reading the past of rules broke off: {e}"),
            }
            if n_wants - said >= SAID_EVERY {
                said = n_wants;
                tracing::info!("{n_wants} computed values have learned of the past, more wait");
            }
        }
        if n_wants > 0 {
            let s = began.elapsed().as_secs_f64();
            tracing::info!(
                "{n_wants} computed values of rules have learned of the past: {n_steps} steps \
                 in {s:.1} s"
            );
        }
    }
}

fn answer(alerts: &Alerts, history: &dyn History, wants: Vec<Want>) -> usize {
    let mut n_steps = 0;
    for want in wants {
        let place = format!("{} {}: {:?}", want.node, want.service, want.name);
        match teach(history, want, &mut |want, lesson| alerts.learn(want, lesson)) {
            Ok(n) => n_steps += n,
            Err(e) => {
                tracing::warn!("{place} does without the past, it begins with what comes now: {e}")
            }
        }
    }
    n_steps
}
