//! From stored values to drawn ones: levels as they are, counters per second.
//!
//! Counters are stored as they were read. A rate belongs to the later of its
//! two samples; what a reset, a wrap or a gap means is decided here, and only
//! here, so that graph, table, API and alert give the same number.
//!
//! Two samples have a gap between them, and no rate, where they are further apart than
//! both what the service's step makes likely ([`Heartbeat`]) and what is usual in the
//! samples themselves ([`Apart`]): a poller, a push or a spool may declare a step that
//! is not the source's, or none.

use rookery_plugins::{FieldSpec, FieldType, Kind, ServiceSpec, TimeMs, Value};

/// Two samples further apart than this, ms, have a gap between them: no rate, unless
/// the samples before were as far apart ([`Apart`]).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Heartbeat(pub i64);

/// What lies before a span and may be needed for its first rate, ms, where the service
/// says how often it is read, and where not.
const LEAD_MS: (i64, i64) = (15 * 60_000, 3 * 3_600_000);

impl Heartbeat {
    /// Two and a half steps of the service and at least 30 s; ten minutes
    /// where the step is not known.
    pub fn of(spec: &ServiceSpec) -> Heartbeat {
        match spec.step_ms {
            0 => Heartbeat(600_000),
            step => Heartbeat((step.saturating_mul(5) / 2).clamp(30_000, 1 << 40) as i64),
        }
    }

    /// How long before a span samples are read so that its first rates are told, ms.
    pub fn lead_ms(spec: &ServiceSpec) -> i64 {
        let least = if spec.step_ms == 0 { LEAD_MS.1 } else { LEAD_MS.0 };
        Heartbeat::of(spec).0.max(least)
    }
}

/// How far apart the last samples were, ms: what is usual. Two are looked at, and the
/// less holds, so that one outage makes none of what follows it usual.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Apart([i64; 2]);

impl Apart {
    /// Whether a sample so far from the one before has a gap before it.
    fn is_gap(self, apart_ms: i64, Heartbeat(heartbeat): Heartbeat) -> bool {
        let usual = self.0[0].min(self.0[1]);
        let slow = if usual > heartbeat { usual.saturating_mul(5) / 2 } else { heartbeat };
        apart_ms > slow
    }

    fn push(&mut self, apart_ms: i64) {
        self.0 = [self.0[1], apart_ms];
    }
}

/// Samples of a field, in order of time.
#[derive(Clone, Copy)]
pub struct Run<'a> {
    /// Strictly ascending, UTC, ms.
    pub times_ms: &'a [TimeMs],
    /// Seconds from the sample before to each; that of the first is not asked for.
    pub seconds: &'a [f64],
    /// At least the longest of these, ms.
    pub longest_ms: i64,
    /// Kind of each.
    pub kinds: &'a [u8],
    /// Bits of each.
    pub bits: &'a [u64],
}

impl Run<'_> {
    fn value(&self, i: usize) -> Option<Value> {
        Value::from_bits(Kind::from_u8(self.kinds[i])?, self.bits[i])
    }

    /// [`growth`] from the sample before, where it is simply told.
    fn growth(&self, i: usize) -> Option<f64> {
        if self.kinds[i] == INT && self.kinds[i - 1] == INT {
            let grown = (self.bits[i] as i64).checked_sub(self.bits[i - 1] as i64)?;
            return Some(grown as f64);
        }
        let is_simple = |kind: u8| kind == INT || kind == FLOAT;
        if !is_simple(self.kinds[i]) || !is_simple(self.kinds[i - 1]) {
            return None;
        }
        let level = |i: usize| level(self.kinds[i], self.bits[i]);
        Some(level(i) - level(i - 1)).filter(|grown| !grown.is_nan())
    }
}

const INT: u8 = Kind::Int as u8;
const UINT: u8 = Kind::Uint as u8;
const FLOAT: u8 = Kind::Float as u8;

/// A cell as a double; NaN where it is unknown or absent.
fn level(kind: u8, bits: u64) -> f64 {
    match kind {
        INT => bits as i64 as f64,
        UINT => bits as f64,
        FLOAT => f64::from_bits(bits),
        _ => f64::NAN,
    }
}

/// Turns a field's samples, oldest first, into drawn values.
pub struct Drawn<'a> {
    field: &'a FieldSpec,
    heartbeat: Heartbeat,
    before: Option<(TimeMs, Value)>,
    /// Zero after samples that were within the heartbeat.
    apart: Apart,
    grown: f64,
}

impl<'a> Drawn<'a> {
    /// For this field.
    pub fn new(field: &'a FieldSpec, heartbeat: Heartbeat) -> Drawn<'a> {
        Drawn { field, heartbeat, before: None, apart: Apart::default(), grown: 0.0 }
    }

    /// The drawn value that the next sample makes; `None`: unknown.
    pub fn next(&mut self, time_ms: TimeMs, value: Value) -> Option<f64> {
        let before = self.before.replace((time_ms, value));
        let drawn = match self.field.kind {
            FieldType::Gauge => value.as_f64()?,
            kind => {
                let (t0, v0) = before?;
                let is_gap = self.apart.is_gap(time_ms - t0, self.heartbeat);
                self.apart.push(time_ms - t0);
                let grown = growth(kind, v0, value)?;
                let seconds = (time_ms - t0) as f64 / 1000.0;
                // Over a gap a counter has grown all the same.
                if self.field.min.is_none_or(|min| grown / seconds >= min) {
                    self.grown += grown;
                }
                if is_gap || seconds <= 0.0 {
                    return None;
                }
                Some(grown / seconds).filter(|rate| !rate.is_nan())?
            }
        };
        let in_range = self.field.min.is_none_or(|min| drawn >= min)
            && self.field.max.is_none_or(|max| drawn <= max);
        in_range.then_some(drawn)
    }

    /// As [`Self::next`] for each of these samples; what is unknown is NaN.
    pub fn next_all(&mut self, s: &Run<'_>, out: &mut Vec<f64>) {
        if self.field.kind == FieldType::Gauge {
            self.levels(s, out);
            return;
        }
        let (min, max) = self.range();
        let may_fall = self.field.kind == FieldType::Derive;
        let is_plain = may_fall || self.field.kind == FieldType::Counter;
        let start = out.len();
        if is_plain && s.longest_ms <= self.heartbeat.0 && self.rising(s, may_fall, out) {
            return;
        }
        out.truncate(start);
        for i in 0..s.times_ms.len() {
            // Fast path: soon after one before, and no fall.
            if is_plain
                && i > 0
                && let Some(grown) = s.growth(i)
                && (grown >= 0.0 || may_fall)
                && s.times_ms[i] - s.times_ms[i - 1] <= self.heartbeat.0
            {
                let rate = grown / s.seconds[i];
                self.apart = Apart::default();
                if rate >= min {
                    self.grown += grown;
                }
                out.push(if rate >= min && rate <= max { rate } else { f64::NAN });
                continue;
            }
            if i > 0
                && let Some(before) = s.value(i - 1)
            {
                self.before = Some((s.times_ms[i - 1], before));
            }
            // An absent one is as if it were not there.
            let drawn = s.value(i).and_then(|v| self.next(s.times_ms[i], v));
            out.push(drawn.unwrap_or(f64::NAN));
        }
        if let Some(last) = s.times_ms.len().checked_sub(1)
            && let Some(value) = s.value(last)
        {
            self.before = Some((s.times_ms[last], value));
        }
    }

    /// As [`Self::next_all`] for a counter all of whose samples are integers, or
    /// all doubles, without gaps and falls; `false`: this is none.
    fn rising(&mut self, s: &Run<'_>, may_fall: bool, out: &mut Vec<f64>) -> bool {
        let Some((first, rest)) = s.kinds.split_first() else { return true };
        if !matches!(*first, INT | FLOAT) || rest.iter().any(|k| k != first) {
            return false;
        }
        let before = (self.before, self.grown, self.apart);
        let drawn = s.value(0).and_then(|v| self.next(s.times_ms[0], v));
        out.push(drawn.unwrap_or(f64::NAN));
        let is_plain = if *first == INT {
            // Too far apart to be subtracted: as a fall.
            self.rates(s, out, |a, b| match (b as i64).overflowing_sub(a as i64) {
                (grown, false) if grown >= 0 || may_fall => grown as f64,
                _ => f64::NAN,
            })
        } else {
            let level = f64::from_bits;
            self.rates(s, out, |a, b| match level(b) - level(a) {
                grown if grown >= 0.0 || may_fall => grown,
                _ => f64::NAN,
            })
        };
        if !is_plain {
            (self.before, self.grown, self.apart) = before;
            return false;
        }
        let last = s.times_ms.len() - 1;
        if last > 0 {
            self.apart = Apart::default();
        }
        if let Some(value) = s.value(last) {
            self.before = Some((s.times_ms[last], value));
        }
        true
    }

    /// The rates of all but the first; `false`: somewhere there is no growth.
    fn rates(&mut self, s: &Run<'_>, out: &mut Vec<f64>, growth: impl Fn(u64, u64) -> f64) -> bool {
        let (min, max) = self.range();
        let (mut grown_all, mut is_plain) = (self.grown, true);
        let pairs = s.bits.windows(2).zip(&s.seconds[1..]);
        out.extend(pairs.map(|(pair, seconds)| {
            let grown = growth(pair[0], pair[1]);
            is_plain &= !grown.is_nan();
            let rate = grown / seconds;
            let is_enough = rate >= min;
            grown_all += if is_enough { grown } else { 0.0 };
            if is_enough && rate <= max { rate } else { f64::NAN }
        }));
        self.grown = grown_all;
        is_plain
    }

    fn levels(&self, s: &Run<'_>, out: &mut Vec<f64>) {
        let (min, max) = self.range();
        // No comparison holds for NaN.
        let in_range = |v: f64| if v >= min && v <= max { v } else { f64::NAN };
        let cells = s.kinds.iter().zip(s.bits);
        out.extend(cells.map(|(kind, bits)| in_range(level(*kind, *bits))));
    }

    fn range(&self) -> (f64, f64) {
        let (min, max) = (self.field.min, self.field.max);
        (min.unwrap_or(f64::NEG_INFINITY), max.unwrap_or(f64::INFINITY))
    }

    /// Leaps over samples that rise all the way to this one, by `grown` since
    /// the one before them.
    pub fn leap(&mut self, time_ms: TimeMs, value: Value, grown: f64) {
        // They are within the heartbeat, if they are two at least.
        if self.before.is_some_and(|(before, _)| before < time_ms) {
            self.apart = Apart::default();
        }
        self.before = Some((time_ms, value));
        self.grown += grown;
    }

    /// Begins the increase anew: what came so far was before the span.
    pub fn forget_increase(&mut self) {
        self.grown = 0.0;
    }

    /// By how much a counter has grown; `None` for a level.
    pub fn increase(&self) -> Option<f64> {
        (self.field.kind != FieldType::Gauge).then_some(self.grown)
    }
}

/// By how much a counter grew between two readings; `None`: cannot be told.
///
/// Integers are subtracted exactly. A COUNTER that fell has wrapped if it was
/// in the upper half of 32 or of 64 bits, else it was reset (RRDtool's rule
/// takes every fall for a wrap, and draws a restart as a burst).
pub fn growth(kind: FieldType, v0: Value, v1: Value) -> Option<f64> {
    if kind == FieldType::Absolute {
        return v1.as_f64();
    }
    // Fast path: a counter that rose, as all do nearly always.
    if let (Value::Int(old), Value::Int(new)) = (v0, v1)
        && let Some(grown) = new.checked_sub(old)
        && (grown >= 0 || kind != FieldType::Counter)
    {
        return Some(grown as f64);
    }
    let integer = |v: Value| match v {
        Value::Int(v) => Some(i128::from(v)),
        Value::Uint(v) => Some(i128::from(v)),
        Value::Float(_) | Value::Unknown => None,
    };
    let (Some(old), Some(new)) = (integer(v0), integer(v1)) else {
        let grown = v1.as_f64()? - v0.as_f64()?;
        return (kind != FieldType::Counter || grown >= 0.0).then_some(grown);
    };
    let grown = new - old;
    if kind != FieldType::Counter || grown >= 0 {
        return Some(grown as f64);
    }
    [32, 64].into_iter().find(|bits| (1i128 << (bits - 1)..1 << bits).contains(&old)).map(|bits| {
        // In the upper half of a counter of so many bits: it went round.
        (grown + (1i128 << bits)) as f64
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_above_2_53_differ_exactly() {
        let v = |v: i64| Value::Int((1 << 60) + v);
        assert_eq!(growth(FieldType::Derive, v(1), v(4)), Some(3.0));
        let top = Value::Uint(u64::MAX);
        assert_eq!(growth(FieldType::Counter, top, Value::Int(4)), Some(5.0));
    }

    #[test]
    fn falls_are_wraps_or_resets() {
        let int = Value::Int;
        let near_32 = int(u32::MAX as i64 - 1);
        assert_eq!(growth(FieldType::Counter, near_32, int(3)), Some(5.0));
        assert_eq!(growth(FieldType::Counter, int(1000), int(3)), None);
        assert_eq!(growth(FieldType::Derive, int(1000), int(3)), Some(-997.0));
        assert_eq!(growth(FieldType::Absolute, int(1000), int(3)), Some(3.0));
    }

    #[test]
    fn rates_need_two_samples_and_no_gap() {
        let field = FieldSpec::derive("x", "x");
        let mut d = Drawn::new(&field, Heartbeat(30_000));
        assert_eq!(d.next(0, Value::Int(10)), None);
        assert_eq!(d.next(10_000, Value::Int(30)), Some(2.0));
        assert_eq!(d.next(20_000, Value::Unknown), None);
        assert_eq!(d.next(30_000, Value::Int(40)), None);
        assert_eq!(d.next(90_000, Value::Int(50)), None, "a gap");
        assert_eq!(d.next(91_000, Value::Int(0)), None, "a reset, by min 0");
        assert_eq!(d.increase(), Some(30.0));
    }

    #[test]
    fn what_is_usual_in_the_samples_is_no_gap() {
        let field = FieldSpec::derive("x", "x");
        let rates = |times: &[i64]| {
            let mut d = Drawn::new(&field, Heartbeat(30_000));
            let all = times.iter().map(|t| d.next(t * 1000, Value::Int(t * 10)).is_some());
            all.map(|told| if told { 'r' } else { '-' }).collect::<String>()
        };
        let minutes = |of: &[i64]| of.iter().map(|m| m * 60).collect::<Vec<_>>();
        assert_eq!(rates(&minutes(&[0, 5, 10, 15, 20])), "---rr", "after two as far apart");
        assert_eq!(rates(&minutes(&[0, 5, 10, 15, 25, 40])), "---rr-", "one that is lost");
        assert_eq!(rates(&[0, 10, 20, 7220, 7290, 7300]), "-rr--r", "an outage is none");
        assert_eq!(rates(&[0, 10, 20, 55, 90, 125]), "-rr--r", "a step that changes");
    }

    /// The many at once give what one after the other gives.
    #[test]
    fn runs_and_single_samples_are_one() {
        let field = FieldSpec::derive("x", "x");
        let mut times = vec![0i64];
        for i in 1..200i64 {
            let apart = [10, 10, 60, 300, 300, 300, 300, 20, 10, 4000][(i * i % 10) as usize];
            times.push(times[i as usize - 1] + apart * 1000);
        }
        let bits: Vec<u64> = (0..200u64).map(|i| i * 7).collect();
        let seconds: Vec<f64> = (0..200)
            .map(|i| if i == 0 { 0.0 } else { (times[i] - times[i - 1]) as f64 / 1e3 })
            .collect();
        for size in [1, 2, 3, 7, 50, 200] {
            let mut one = Drawn::new(&field, Heartbeat(30_000));
            let mut many = Drawn::new(&field, Heartbeat(30_000));
            let mut out = Vec::new();
            for from in (0..200).step_by(size) {
                let to = (from + size).min(200);
                let run = Run {
                    times_ms: &times[from..to],
                    seconds: &seconds[from..to],
                    longest_ms: times[from..to].windows(2).map(|w| w[1] - w[0]).max().unwrap_or(0),
                    kinds: &vec![INT; to - from],
                    bits: &bits[from..to],
                };
                many.next_all(&run, &mut out);
            }
            for (i, got) in out.iter().enumerate() {
                let want = one.next(times[i], Value::Int(bits[i] as i64)).unwrap_or(f64::NAN);
                assert!(*got == want || got.is_nan() && want.is_nan(), "{size} {i}: {got} {want}");
            }
            assert_eq!(one.increase(), many.increase());
        }
    }
}
