//! What is known of a run of samples without decoding it.

use super::SUMMARY_ROWS;
use super::column::Kinds;
use rookery_plugins::{Kind, TimeMs, Value};
use std::ops::Range;

/// What one column says in [`SUMMARY_ROWS`] rows. `NaN` counts as unknown.
#[derive(Clone, Debug, PartialEq)]
pub struct Summary {
    /// The rows of the block that it speaks of.
    pub rows: Range<usize>,
    /// How many values are known.
    pub count: usize,
    /// How many were read, but unknown.
    pub unknown: usize,
    /// Row and value of the oldest known one.
    pub first: Option<(usize, Value)>,
    /// Row and value of the newest known one.
    pub last: Option<(usize, Value)>,
    /// The least, the first of equal ones; infinity when none is known.
    pub min: f64,
    /// The greatest, the first of equal ones; minus infinity when none is known.
    pub max: f64,
    /// The sum: rounded once for integers and decimals that were coded as
    /// whole numbers, else after each addition.
    pub sum: f64,
    /// The least and the greatest [`rate`] between neighbouring samples, where
    /// there are two, none is unknown and none is less than the one before it.
    pub rates: Option<(f64, f64)>,
}

/// By how much a value grows per second from time `t0` to `t1`, ms; integers
/// are subtracted exactly. `None`: unknown, not a number, or no time between.
pub fn rate(t0: TimeMs, v0: Value, t1: TimeMs, v1: Value) -> Option<f64> {
    if t1 <= t0 {
        return None;
    }
    per_second(t1.wrapping_sub(t0) as u64, v0, v1)
}

/// [`rate`] over this time.
pub(super) fn per_second(dt_ms: u64, v0: Value, v1: Value) -> Option<f64> {
    let per_second = growth(v0, v1)? / (dt_ms as f64 / 1000.0);
    (!per_second.is_nan()).then_some(per_second)
}

fn growth(v0: Value, v1: Value) -> Option<f64> {
    if let (Some(a), Some(b)) = (integer(v0), integer(v1)) {
        return Some((b - a) as f64);
    }
    Some(v1.as_f64()? - v0.as_f64()?)
}

fn integer(v: Value) -> Option<i128> {
    match v {
        Value::Int(v) => Some(i128::from(v)),
        Value::Uint(v) => Some(i128::from(v)),
        Value::Float(_) | Value::Unknown => None,
    }
}

/// The summary of some rows, from their samples. Stored summaries equal it,
/// but for the last bits of a sum of doubles.
pub fn summarise(times_ms: &[TimeMs], kinds: &[u8], bits: &[u64], rows: Range<usize>) -> Summary {
    Run::of(times_ms, Kinds::Each(kinds), bits, rows).summary
}

/// Two neighbouring samples.
#[derive(Clone, Copy)]
pub(super) struct Pair {
    /// Time between, ms.
    pub dt_ms: u64,
    /// The earlier one.
    pub v0: Value,
    /// The later one.
    pub v1: Value,
}

/// A summary and the samples that it came from.
pub(super) struct Run {
    /// The summary.
    pub summary: Summary,
    /// Whose double is the least.
    pub min: Value,
    /// Whose double is the greatest.
    pub max: Value,
    /// Of the least and the greatest rate.
    pub pairs: Option<[Pair; 2]>,
    /// Whether all known values are the same, to the bit.
    pub is_constant: bool,
    /// Whether no known value is less than the one before it.
    pub is_monotone: bool,
}

impl Run {
    /// Of these rows.
    pub fn of(times_ms: &[TimeMs], kinds: Kinds<'_>, bits: &[u64], rows: Range<usize>) -> Run {
        let mut run = Run::empty(rows.clone());
        let mut all_integers = true;
        let mut total = 0i128;
        let mut rates = Some((f64::INFINITY, f64::NEG_INFINITY));
        for i in rows {
            let kind = Kind::from_u8(kinds.get(i)).unwrap_or(Kind::Absent);
            let Some(value) = Value::from_bits(kind, bits[i]) else { continue };
            let Some(double) = value.as_f64() else {
                run.summary.unknown += 1;
                continue;
            };
            let s = &mut run.summary;
            match integer(value) {
                Some(v) => total += v,
                None => all_integers = false,
            }
            s.sum += double;
            if s.count == 0 || double < s.min {
                (s.min, run.min) = (double, value);
            }
            if s.count == 0 || double > s.max {
                (s.max, run.max) = (double, value);
            }
            if let Some((j, v0)) = s.last {
                run.is_constant &= v0 == value;
                let dt_ms = times_ms[i].wrapping_sub(times_ms[j]) as u64;
                let pair = Pair { dt_ms, v0, v1: value };
                run.is_monotone &= growth(v0, value).is_some_and(|g| g >= 0.0);
                rates = rates.zip(per_second(dt_ms, v0, value)).map(|((lo, hi), rate)| {
                    let [least, most] = run.pairs.get_or_insert([pair, pair]);
                    if rate < lo {
                        *least = pair;
                    }
                    if rate > hi {
                        *most = pair;
                    }
                    (lo.min(rate), hi.max(rate))
                });
            }
            s.count += 1;
            s.first = s.first.or(Some((i, value)));
            s.last = Some((i, value));
        }
        if all_integers {
            run.summary.sum = total as f64;
        }
        let whole = run.is_monotone && run.summary.unknown == 0;
        run.pairs = run.pairs.filter(|_| whole && rates.is_some());
        run.summary.rates = run.pairs.and(rates);
        run
    }

    /// Of rows in which nothing is known.
    pub fn empty(rows: Range<usize>) -> Run {
        let summary = Summary {
            rows,
            count: 0,
            unknown: 0,
            first: None,
            last: None,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
            rates: None,
        };
        let (min, max) = (Value::Unknown, Value::Unknown);
        Run { summary, min, max, pairs: None, is_constant: true, is_monotone: true }
    }
}

/// The runs of a block of `n` rows.
pub(super) fn runs(n: usize) -> impl Iterator<Item = Range<usize>> {
    (0..n).step_by(SUMMARY_ROWS).map(move |from| from..(from + SUMMARY_ROWS).min(n))
}
