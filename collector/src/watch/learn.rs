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
                 in {s:.2} s"
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::{FieldRollup, NodeInfo, Samples, ServiceInfo};
    use rookery_alerts::{Machine, Rules, Settings};
    use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec};

    const HOUR_MS: i64 = 3_600_000;
    /// 2026-11-20 12:20:00 UTC.
    const NOW_MS: TimeMs = 1_795_177_200_000;

    /// A history that begins then, of one value; averages of six hours before it.
    struct Fake {
        from_ms: TimeMs,
        breaks: bool,
    }

    impl History for Fake {
        fn nodes(&self) -> Vec<NodeInfo> {
            vec![]
        }
        fn services(&self, _: &str) -> Result<Vec<ServiceInfo>, ReadError> {
            Ok(vec![])
        }
        fn fields(&self, _: &str, _: &str) -> Result<Vec<FieldSpec>, ReadError> {
            Ok(vec![])
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
            fields: &[&str],
            from_ms: TimeMs,
            to_ms: TimeMs,
            step_ms: i64,
        ) -> Result<Rollup, ReadError> {
            if self.breaks {
                return Err(ReadError::Storage("a bad sector".to_owned()));
            }
            let n = (to_ms - from_ms + step_ms - 1) / step_ms;
            let bucket = |_: i64| {
                let mut bucket = Bucket::default();
                bucket.push_same(5.0, 7);
                bucket
            };
            let roll = |name: &&str| FieldRollup {
                spec: FieldSpec::gauge(name, name),
                buckets: (0..n).map(bucket).collect(),
                total: Bucket::default(),
                increase: None,
            };
            let coarse = Averages { from_ms: 0, to_ms: self.from_ms, step_ms: 6 * HOUR_MS };
            let spec = Arc::new(ServiceSpec::new("s", "S", "t"));
            let fields = fields.iter().map(roll).collect();
            Ok(Rollup { from_ms, step_ms, spec, fields, averages: vec![coarse] })
        }
        fn version(&self, _: &str) -> u64 {
            0
        }
    }

    fn want() -> Want {
        let rule = "[[rule]]\nservice=\"s\"\nvalue=\"past(x)\"\nas=\"v\"\nwarning=\"-3:3\"\n";
        let rules = Rules::load(&[("r.toml".to_owned(), rule.to_owned())]).expect("rules");
        let mut machine = Machine::new(rules, Settings::default());
        machine.learn_from_history();
        let spec = ServiceSpec::new("s", "S", "t").fields(vec![FieldSpec::gauge("x", "")]);
        let layout = Layout::new(vec![FieldKey::new("s", "x")]);
        let plan = machine.plan("n", "", &|_| Some(&spec), &layout);
        let mut cells = Cells::new();
        cells.push(5i64);
        machine.observe(&plan, NOW_MS, cells.kinds(), cells.bits(), NOW_MS, &mut vec![]);
        machine.wants(1).pop().expect("one")
    }

    #[test]
    fn it_is_told_by_hours_of_the_clock_and_not_of_averages_that_are_too_coarse() {
        let first = NOW_MS - 30 * 24 * HOUR_MS - 20 * 60_000;
        let (mut steps, mut is_over) = (Vec::new(), false);
        let history = Fake { from_ms: first, breaks: false };
        let n = teach(&history, want(), &mut |_, lesson| {
            match lesson {
                Lesson::Steps(more) => steps.extend(more),
                Lesson::Over => is_over = true,
                Lesson::Lost => panic!("lost"),
            }
            true
        });
        assert_eq!((n.expect("reads"), is_over), (steps.len(), true));
        assert_eq!((steps.len(), steps[0].from_ms), (30 * 24 + 1, first));
        assert!(steps.iter().all(|s| s.from_ms % HOUR_MS == 0 && s.n == 7));
        assert!(steps.windows(2).all(|w| w[0].to_ms == w[1].from_ms));
        assert_eq!(steps.last().map(|s| s.to_ms), Some(NOW_MS), "the hour that is, so far");
    }

    #[test]
    fn who_is_not_wanted_any_more_stops_and_what_cannot_be_read_is_said() {
        let history = Fake { from_ms: 0, breaks: false };
        let mut n_told = 0;
        let mut tell = |_: &Want, _| {
            n_told += 1;
            false
        };
        teach(&history, want(), &mut tell).expect("reads");
        assert_eq!(n_told, 1);
        let mut said = Vec::new();
        let broken = Fake { from_ms: 0, breaks: true };
        let told = teach(&broken, want(), &mut |_, lesson| {
            said.push(lesson);
            true
        });
        assert!(told.is_err_and(|e| e.to_string().contains("a bad sector")));
        assert_eq!(said, [Lesson::Lost]);
    }
}
