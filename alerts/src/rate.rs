//! A counter's change per second, for thresholds and checks.

use rookery_plugins::{FieldType, TimeMs, Value};

/// The per-second rate of a COUNTER, DERIVE or ABSOLUTE between two readings;
/// a GAUGE's value as it is. `None` is unknown. Integers are subtracted
/// exactly, so that a counter beyond 2^53 still has a rate.
///
/// A COUNTER that falls has wrapped at 2^32 or at 2^64, as rrdtool has it: a
/// reset looks like a burst, which `max` is there to hide.
pub fn per_second(kind: FieldType, before: (TimeMs, Value), now: (TimeMs, Value)) -> Option<f64> {
    if kind == FieldType::Gauge {
        return now.1.as_f64();
    }
    let dt_s = (now.0.checked_sub(before.0)?) as f64 / 1000.0;
    if dt_s <= 0.0 {
        return None;
    }
    if kind == FieldType::Absolute {
        return Some(now.1.as_f64()? / dt_s);
    }
    let change = match (integer(before.1), integer(now.1)) {
        (Some(a), Some(b)) if b < a && kind == FieldType::Counter => wrapped(a, b)? as f64,
        (Some(a), Some(b)) => (b - a) as f64,
        _ => {
            let change = now.1.as_f64()? - before.1.as_f64()?;
            // Only integers can wrap.
            if change < 0.0 && kind == FieldType::Counter {
                return None;
            }
            change
        }
    };
    let rate = change / dt_s;
    rate.is_finite().then_some(rate)
}

fn integer(value: Value) -> Option<i128> {
    match value {
        Value::Int(v) => Some(i128::from(v)),
        Value::Uint(v) => Some(i128::from(v)),
        Value::Float(_) | Value::Unknown => None,
    }
}

/// How far a wrapped counter has come.
fn wrapped(before: i128, now: i128) -> Option<i128> {
    let at = if before < 1 << 32 { 1i128 << 32 } else { 1i128 << 64 };
    (now >= 0).then_some(now + at - before)
}

/// Unknown where outside of the field's `min` and `max`.
pub fn bounded(value: Option<f64>, min: Option<f64>, max: Option<f64>) -> Option<f64> {
    value.filter(|v| min.is_none_or(|m| *v >= m) && max.is_none_or(|m| *v <= m))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_type_has_its_rate() {
        let rate = |kind, a: Value, b: Value| per_second(kind, (1000, a), (3000, b));
        let big = 9_007_199_254_740_993i64;
        let (int, derive) = (Value::Int, FieldType::Derive);
        assert_eq!(rate(derive, int(big), int(big + 3)), Some(1.5));
        assert_eq!(rate(derive, int(5), int(1)), Some(-2.0));
        assert_eq!(rate(derive, Value::from(u64::MAX - 1), Value::from(u64::MAX)), Some(0.5));
        assert_eq!(rate(derive, Value::Float(0.5), int(1)), Some(0.25));
        assert_eq!(rate(FieldType::Counter, int((1 << 32) - 2), int(2)), Some(2.0));
        assert_eq!(rate(FieldType::Counter, Value::from(u64::MAX), int(1)), Some(1.0));
        assert_eq!(rate(FieldType::Counter, Value::Float(2.5), Value::Float(1.5)), None);
        assert_eq!(rate(FieldType::Absolute, int(9), int(10)), Some(5.0));
        assert_eq!(rate(FieldType::Gauge, int(9), int(10)), Some(10.0));
        assert_eq!(rate(derive, Value::Unknown, int(1)), None);
        assert_eq!(rate(derive, int(1), Value::Unknown), None);
        assert_eq!(per_second(derive, (5, int(1)), (5, int(2))), None);
        assert_eq!(per_second(derive, (i64::MIN, int(1)), (i64::MAX, int(2))), None);
    }

    #[test]
    fn bounds_make_unknown() {
        assert_eq!(bounded(Some(-1.0), Some(0.0), None), None);
        assert_eq!(bounded(Some(5.0), Some(0.0), Some(4.0)), None);
        assert_eq!(bounded(Some(4.0), Some(0.0), Some(4.0)), Some(4.0));
    }
}
