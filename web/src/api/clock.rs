//! Steps of time on the clock: hours that begin on the hour, and days, weeks and months of
//! a zone.

use crate::error::WebError;
use jiff::civil::Weekday;
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rookery_collector::history::{Bucket, FieldRollup, Rollup};
use rookery_plugins::config::parse_span_ms;

const DAY_MS: i64 = 86_400_000;
/// Most steps of a span.
const STEPS_MAX: usize = 100_000;

/// A step of time.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Step {
    /// So many ms: by the clock of the zone, from midnight on.
    Fixed(i64),
    /// So many days, from midnight to midnight: 23 to 25 hours each.
    Days(i64),
    /// A week from Monday on.
    Week,
    /// A calendar month.
    Month,
    /// A calendar year.
    Year,
}

impl Step {
    /// `5m`, `1h`, `300` (seconds, as Prometheus' API has it), `1d`, `7d`, `1w`, `1M`,
    /// `1y`.
    pub fn parse(text: &str) -> Result<Step, WebError> {
        let bad = |e: String| WebError::bad(format!("step: {e}"));
        match text.trim() {
            "1w" | "week" => return Ok(Step::Week),
            "1M" | "1mon" | "month" => return Ok(Step::Month),
            "1y" | "year" => return Ok(Step::Year),
            _ => {}
        }
        let ms = match text.parse::<f64>() {
            Ok(s) if s > 0.0 => (s * 1000.0) as u64,
            _ => parse_span_ms(text)
                .map_err(|e| bad(format!("{e}; days, weeks, months, years: 1d, 1w, 1M, 1y")))?,
        };
        let ms = i64::try_from(ms).ok().filter(|ms| *ms > 0);
        let ms = ms.ok_or_else(|| bad(format!("{text:?} is no step")))?;
        Ok(if ms % DAY_MS == 0 { Step::Days(ms / DAY_MS) } else { Step::Fixed(ms) })
    }

    /// Its usual length, ms.
    pub fn ms(self) -> i64 {
        match self {
            Step::Fixed(ms) => ms,
            Step::Days(n) => n * DAY_MS,
            Step::Week => 7 * DAY_MS,
            Step::Month => 30 * DAY_MS,
            Step::Year => 365 * DAY_MS,
        }
    }

    /// Where the steps that touch `[from, to)` begin, ascending, and where the last one
    /// ends. The first may begin before `from`.
    pub fn edges(self, from_ms: i64, to_ms: i64, zone: &TimeZone) -> Result<Vec<i64>, WebError> {
        let too_many = || {
            WebError::bad(format!(
                "step: more than {STEPS_MAX} steps in this span: choose longer ones"
            ))
        };
        if (to_ms.saturating_sub(from_ms) / self.ms().max(1)) as usize > STEPS_MAX {
            return Err(too_many());
        }
        let beyond = || WebError::bad("from and to: no calendar has these times");
        let mut edges = vec![self.floor(from_ms, zone).ok_or_else(beyond)?];
        while let Some(last) = edges.last().copied().filter(|last| *last < to_ms) {
            let next = self.next(last, zone).filter(|next| *next > last).ok_or_else(beyond)?;
            edges.push(next);
            if edges.len() > STEPS_MAX + 2 {
                return Err(too_many());
            }
        }
        Ok(edges)
    }

    /// Where the step begins that a time is in.
    fn floor(self, time_ms: i64, zone: &TimeZone) -> Option<i64> {
        let time = Timestamp::from_millisecond(time_ms).ok()?;
        let day = time.to_zoned(zone.clone()).start_of_day().ok()?;
        let start = match self {
            Step::Fixed(ms) if DAY_MS % ms == 0 => {
                return Some(time_ms - shown_ms(time, zone) % ms);
            }
            Step::Fixed(ms) => return Some(time_ms.div_euclid(ms) * ms),
            Step::Days(n) => {
                let number = day.timestamp().as_millisecond() + offset_ms(day.timestamp(), zone);
                day.checked_sub(number.div_euclid(DAY_MS).rem_euclid(n).days()).ok()?
            }
            Step::Week => {
                day.checked_sub(i64::from(day.weekday().since(Weekday::Monday)).days()).ok()?
            }
            Step::Month => day.first_of_month().ok()?,
            Step::Year => day.first_of_year().ok()?,
        };
        Some(start.start_of_day().ok()?.timestamp().as_millisecond())
    }

    /// Where the step after the one that begins at `start_ms` begins.
    fn next(self, start_ms: i64, zone: &TimeZone) -> Option<i64> {
        let start = Timestamp::from_millisecond(start_ms).ok()?.to_zoned(zone.clone());
        let next = match self {
            Step::Fixed(ms) => {
                // Where the clock is put back, it shows the same again.
                let next = self.floor(start_ms.checked_add(ms)?, zone)?;
                return Some(if next > start_ms { next } else { start_ms + ms });
            }
            Step::Days(n) => start.checked_add(n.days()).ok()?,
            Step::Week => start.checked_add(7.days()).ok()?,
            Step::Month => start.checked_add(1.month()).ok()?,
            Step::Year => start.checked_add(1.year()).ok()?,
        };
        Some(next.start_of_day().ok()?.timestamp().as_millisecond())
    }
}

/// How far a zone's clock is before UTC, ms.
fn offset_ms(time: Timestamp, zone: &TimeZone) -> i64 {
    i64::from(zone.to_offset(time).seconds()) * 1000
}

/// What the clock shows, ms since midnight.
fn shown_ms(time: Timestamp, zone: &TimeZone) -> i64 {
    (time.as_millisecond() + offset_ms(time, zone)).rem_euclid(DAY_MS)
}

/// A rollup on the clock.
pub(super) struct OnClock {
    /// With one bucket for each step.
    pub rollup: Rollup,
    /// Where each step begins; the first of them on the clock, though it holds nothing
    /// from before the span.
    pub starts_ms: Vec<i64>,
}

/// Rolls up `[from, to)` by steps on the clock; `read` gives the rollup of a span by equal
/// steps, which must begin and end as the span does.
pub(super) fn roll(
    step: Step,
    (from_ms, to_ms): (i64, i64),
    zone: &TimeZone,
    read: impl Fn(i64, i64, i64) -> Result<Rollup, WebError>,
) -> Result<OnClock, WebError> {
    let edges = step.edges(from_ms, to_ms, zone)?;
    let starts_ms: Vec<i64> = edges[..edges.len().saturating_sub(1).max(1)].to_vec();
    let first_end = edges.get(1).copied().unwrap_or(to_ms).min(to_ms);
    // The first step may have begun before the span.
    let mut all = read(from_ms, first_end, (first_end - from_ms).max(1))?;
    if first_end < to_ms {
        let lengths = edges[1..].windows(2).map(|w| w[1] - w[0]);
        let unit = lengths.fold(0, gcd).max(1);
        let rest = read(first_end, to_ms, unit)?;
        append(&mut all, rest, &edges[1..], to_ms);
    }
    (all.from_ms, all.step_ms) = (edges[0], step.ms());
    Ok(OnClock { rollup: all, starts_ms })
}

/// Appends a rollup by equal parts of these steps, joined to whole ones.
fn append(all: &mut Rollup, rest: Rollup, edges: &[i64], to_ms: i64) {
    let (start, unit) = (rest.from_ms, rest.step_ms.max(1));
    let part =
        |edge: i64| (edge.min(to_ms) - start).max(0).unsigned_abs().div_ceil(unit.unsigned_abs());
    let part = |edge: i64| usize::try_from(part(edge)).unwrap_or(0);
    for field in rest.fields {
        let joined = edges.windows(2).map(|w| {
            let end = part(w[1]).min(field.buckets.len());
            Bucket::joined(&field.buckets[part(w[0]).min(end)..end])
        });
        let joined: Vec<Bucket> = joined.collect();
        match all.fields.iter_mut().find(|f| f.spec.name == field.spec.name) {
            Some(first) => extend(first, joined, &field),
            None => {
                let mut first = FieldRollup { buckets: vec![Bucket::default()], ..field.clone() };
                (first.total, first.increase) = (Bucket::default(), None);
                extend(&mut first, joined, &field);
                all.fields.push(first);
            }
        }
    }
    // As it was at the end of the span.
    all.spec = rest.spec;
    for span in rest.averages {
        match all.averages.last_mut() {
            // Only cut where the first step ends.
            Some(last) if last.to_ms == span.from_ms && last.step_ms == span.step_ms => {
                last.to_ms = span.to_ms;
            }
            _ => all.averages.push(span),
        }
    }
}

fn extend(first: &mut FieldRollup, joined: Vec<Bucket>, rest: &FieldRollup) {
    first.buckets.extend(joined);
    first.total = Bucket::joined(&[first.total, rest.total]);
    first.increase = match (first.increase, rest.increase) {
        (Some(a), Some(b)) => Some(a + b),
        (a, b) => a.or(b),
    };
    first.spec = rest.spec.clone();
}

fn gcd(a: i64, b: i64) -> i64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::times::{parse_in, rfc3339};

    fn zone(name: &str) -> TimeZone {
        TimeZone::get(name).expect("a zone")
    }

    fn edges(step: &str, from: &str, to: &str, of: &str) -> Vec<String> {
        let zone = zone(of);
        let read = |text: &str| parse_in(text, 0, &zone).expect("a time");
        let step = Step::parse(step).expect("a step");
        let edges = step.edges(read(from), read(to), &zone).expect("edges");
        edges.into_iter().map(|e| rfc3339(e).replace(":00.000Z", "Z")).collect()
    }

    #[test]
    fn steps_begin_on_the_clock() {
        let of = |step, from, to, zone| edges(step, from, to, zone).join(" ");
        assert_eq!(
            of("1h", "2026-07-01 10:20", "2026-07-01 12:05", "UTC"),
            "2026-07-01T10:00Z 2026-07-01T11:00Z 2026-07-01T12:00Z 2026-07-01T13:00Z"
        );
        assert_eq!(
            of("1h", "2026-07-01 10:20", "2026-07-01 11:00", "Asia/Kolkata"),
            "2026-07-01T04:30Z 2026-07-01T05:30Z"
        );
        assert_eq!(
            of("6h", "2026-07-01 07:00", "2026-07-01 12:00", "Europe/Berlin"),
            "2026-07-01T04:00Z 2026-07-01T10:00Z"
        );
        assert_eq!(
            of("1d", "2026-10-24 12:00", "2026-10-26 12:00", "Europe/Berlin"),
            "2026-10-23T22:00Z 2026-10-24T22:00Z 2026-10-25T23:00Z 2026-10-26T23:00Z",
            "a day of 25 hours"
        );
        assert_eq!(
            of("1M", "2026-01-15", "2026-03-02", "Europe/Berlin"),
            "2025-12-31T23:00Z 2026-01-31T23:00Z 2026-02-28T23:00Z 2026-03-31T22:00Z"
        );
        assert_eq!(
            of("1w", "2026-07-01", "2026-07-03", "UTC"),
            "2026-06-29T00:00Z 2026-07-06T00:00Z"
        );
        assert_eq!(
            of("1y", "2026-07-01", "2026-07-03", "UTC"),
            "2026-01-01T00:00Z 2027-01-01T00:00Z"
        );
        assert_eq!(
            of("7m", "1970-01-01 00:08", "1970-01-01 00:09", "UTC"),
            "1970-01-01T00:07Z 1970-01-01T00:14Z"
        );
        for bad in ["0", "-1h", "x", "1Q", "NaN"] {
            assert!(Step::parse(bad).is_err(), "{bad}");
        }
        assert!(Step::Fixed(1).edges(0, 1 << 40, &TimeZone::UTC).is_err(), "too many");
    }

    proptest::proptest! {
        /// Whatever is asked, each value of the span is in exactly one step, and the steps
        /// begin where the clock says.
        #[test]
        fn each_value_is_counted_once(
            from in 1_700_000_000_000_i64..1_800_000_000_000,
            minutes in 1_i64..60_000,
            step in proptest::sample::select(vec!["1h", "2h", "15m", "7m", "1d", "2d", "1w", "1M", "1y"]),
            of in proptest::sample::select(vec!["UTC", "Europe/Berlin", "Asia/Kolkata", "America/St_Johns"]),
        ) {
            use proptest::prelude::*;
            let (zone, to) = (zone(of), from + minutes * 60_000);
            let step = Step::parse(step).expect("a step");
            // A value each 7 minutes, its number as value.
            let read = |from: i64, to: i64, step: i64| {
                let n = (to - from + step - 1) / step;
                let mut buckets = vec![Bucket::default(); n as usize];
                let mut t = from.div_euclid(420_000) * 420_000;
                while t < to {
                    if t >= from {
                        buckets[((t - from) / step) as usize].push(t as f64);
                    }
                    t += 420_000;
                }
                let spec = rookery_plugins::FieldSpec::gauge("f", "");
                let fields = vec![FieldRollup::of(spec, buckets)];
                let spec = std::sync::Arc::default();
                Ok(Rollup { from_ms: from, step_ms: step, spec, fields, averages: vec![] })
            };
            let got = roll(step, (from, to), &zone, read).expect("rolls");
            let buckets = &got.rollup.fields[0].buckets;
            prop_assert_eq!(buckets.len(), got.starts_ms.len());
            for (i, b) in buckets.iter().enumerate().filter(|(_, b)| b.count > 0) {
                let start = got.starts_ms[i];
                let end = got.starts_ms.get(i + 1).copied().unwrap_or(to);
                prop_assert!(b.min as i64 >= start.max(from) && (b.max as i64) < end.min(to));
            }
            let all: u64 = buckets.iter().map(|b| b.count).sum();
            let exact = (to - 1).div_euclid(420_000) - (from - 1).div_euclid(420_000);
            prop_assert_eq!(all as i64, exact);
            prop_assert!(got.starts_ms[0] <= from);
        }
    }
}
