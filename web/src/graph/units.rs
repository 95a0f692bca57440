//! Numbers as people read them, and round steps for the value axis.

use super::scale::Ends;
use super::unit::Unit;

/// Prefixes above one, by powers of the base.
const ABOVE: [&str; 8] = ["k", "M", "G", "T", "P", "E", "Z", "Y"];
/// Prefixes below one, by powers of 1000.
const BELOW: [&str; 5] = ["m", "µ", "n", "p", "f"];
/// What stands where there is no number.
pub(crate) const UNKNOWN: &str = "–";
/// A step may be this much finer than asked for, if it is rounder so.
const FINER: f64 = 0.85;
/// Relative room for rounding when a value is compared with a power.
const EPSILON: f64 = 1e-9;

/// A number with three significant digits and a prefix: `1.50 G`, `350 m`,
/// `12.0 k`. With base 1024 the powers are 1024's, and small numbers stand
/// plain (`0.35`), since no bytes are thousandths. Not a number: `–`.
pub fn si(value: f64, base: u32) -> String {
    let (scaled, prefix) = scale(value, base);
    let text = digits(scaled, 3);
    if prefix.is_empty() { text } else { format!("{text} {prefix}") }
}

/// A number without prefix, with three significant digits or all before the
/// point: `0.35`, `12.5`, `1234567`.
pub fn plain(value: f64) -> String {
    digits(value, 3)
}

pub(crate) fn scale(value: f64, base: u32) -> (f64, &'static str) {
    if !value.is_finite() || value == 0.0 {
        return (value, "");
    }
    let mut scaled = value;
    let step = f64::from(base.max(2));
    // What would be printed as 1000 takes the next prefix: 999.6 is 1.00 k.
    if scaled.abs() >= 0.9995 {
        let mut prefix = "";
        for next in ABOVE {
            if scaled.abs() < step * 0.9995 {
                break;
            }
            scaled /= step;
            prefix = next;
        }
        return (scaled, prefix);
    }
    if base != 1000 {
        return (scaled, "");
    }
    let mut prefix = "";
    for next in BELOW {
        if scaled.abs() >= 0.9995 {
            break;
        }
        scaled *= 1000.0;
        prefix = next;
    }
    (scaled, prefix)
}

/// `n` significant digits, at least all before the point; very large and very
/// small ones with an exponent, so that no column bursts.
fn digits(value: f64, n: usize) -> String {
    if value.is_nan() {
        return UNKNOWN.to_owned();
    }
    if value.is_infinite() {
        return if value > 0.0 { "∞" } else { "−∞" }.to_owned();
    }
    let size = value.abs();
    let text = if size == 0.0 {
        "0".to_owned()
    } else if !(1e-4..1e9).contains(&size) {
        format!("{value:.*e}", n - 1)
    } else {
        // What rounds up to the next power of ten has a digit more.
        let before = (size * 1.0005).log10().floor() as i32 + 1;
        let after = (n as i32 - before.max(1)).max(0) + (1 - before).max(0);
        format!("{value:.*}", usize::try_from(after).unwrap_or(0))
    };
    match text.strip_prefix('-') {
        Some(rest) => format!("−{rest}"),
        None => text,
    }
}

/// The marks of a value axis.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Marks {
    /// Where they stand, ascending.
    pub at: Vec<f64>,
    /// What divides a value before it is written.
    unit: f64,
    prefix: &'static str,
    decimals: usize,
    exponent: bool,
    /// Each has its own prefix.
    own: bool,
    of: Unit,
}

impl Marks {
    /// About `n` round marks of an axis.
    pub(crate) fn of(ends: Ends, n: usize, of: Unit) -> Marks {
        match ends.log {
            true => Marks::powers(ends, n, of),
            false => Marks::new(ends.low, ends.high, n, of),
        }
    }

    /// Powers of ten; where there are few of them with their halves and fifths.
    fn powers(Ends { low, high, .. }: Ends, n: usize, of: Unit) -> Marks {
        let power = |e: i32| 10f64.powi(e);
        let (from, to) = (low.log10().floor() as i32, high.log10().ceil() as i32);
        let n_powers = usize::try_from(to - from).unwrap_or(0).max(1);
        let each: &[f64] = if n_powers * 3 <= n { &[1.0, 2.0, 5.0] } else { &[1.0] };
        let at = (from..=to).step_by(n_powers.div_ceil(n.max(2)));
        let at = at.flat_map(|e| each.iter().map(move |m| m * power(e)));
        let at = at.filter(|v| *v >= low * (1.0 - EPSILON) && *v <= high).collect();
        Marks { at, own: true, unit: 1.0, prefix: "", decimals: 0, exponent: false, of }
    }

    /// About `n` round marks in `low..=high` (`low < high`, both finite).
    pub(crate) fn new(low: f64, high: f64, n: usize, of: Unit) -> Marks {
        // Finer steps are tried where there would be less than two marks.
        let (mut step, mut at) = (0.0, Vec::new());
        for n in [n, n + 1, n * 2 + 1, n * 4] {
            step = nice_step((high / 2.0 - low / 2.0) / n.max(1) as f64 * 2.0, of.base());
            at = multiples(step, low, high, 4 * n + 8);
            if at.len() > 1 {
                break;
            }
        }
        let largest = low.abs().max(high.abs());
        let (prefix, unit) = of.prefix_of(largest);
        let shown = step / unit;
        let exponent = !(1e-6..1e9).contains(&(largest / unit)) && largest > 0.0;
        let decimals = (0..7)
            .find(|d| {
                let x = shown * 10f64.powi(*d);
                (x - x.round()).abs() < 1e-6 * x.max(1.0)
            })
            .unwrap_or(2);
        Marks { at, unit, prefix, decimals: decimals as usize, exponent, own: false, of }
    }

    /// What stands at a mark: its size, with the axis' common prefix.
    pub(crate) fn label(&self, value: f64, absolute: bool) -> String {
        let value = if absolute { value.abs() } else { value };
        if value == 0.0 {
            return "0".to_owned();
        }
        if self.own {
            return self.of.text(value);
        }
        let shown = value / self.unit;
        let text = match self.exponent {
            true => format!("{shown:.1e}"),
            false => format!("{shown:.*}", self.decimals),
        };
        let text = match text.strip_prefix('-') {
            Some(rest) => format!("−{rest}"),
            None => text,
        };
        let space = if self.prefix.is_empty() { "" } else { " " };
        self.of.with_word(format!("{text}{space}{}", self.prefix))
    }
}

/// The whole multiples of a step in `low..=high`, at most `most`, so that zero is
/// exactly zero.
fn multiples(step: f64, low: f64, high: f64, most: usize) -> Vec<f64> {
    let first = (low / step - EPSILON).ceil();
    let at = (0..most).map(|i| (first + i as f64) * step + 0.0);
    at.take_while(|v| v.is_finite() && *v <= high + step * EPSILON).collect()
}

/// The next round step: 1, 2, 2.5 or 5 times a power of ten; with base 1024,
/// from 1 Ki upwards, powers of two of the prefix.
fn nice_step(raw: f64, base: u32) -> f64 {
    if !raw.is_finite() || raw <= 0.0 {
        return if raw > 0.0 { f64::MAX / 4.0 } else { f64::MIN_POSITIVE };
    }
    if base == 1024 && raw >= 1024.0 {
        let power = 1024f64.powi((raw.ln() / 1024f64.ln()).floor() as i32);
        let rest = raw / power;
        let steps = [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0];
        return power * steps.into_iter().find(|s| *s >= rest * FINER).unwrap_or(1024.0);
    }
    let power = 10f64.powi(raw.log10().floor() as i32);
    let rest = raw / power;
    let steps = [1.0, 2.0, 2.5, 5.0, 10.0];
    let step = power * steps.into_iter().find(|s| *s >= rest * FINER).unwrap_or(10.0);
    if step.is_finite() && step > 0.0 { step } else { raw }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(base: u32) -> Unit {
        let spec = rookery_plugins::ServiceSpec::new("s", "S", "other");
        Unit::of(&spec.args(&format!("--base {base}")))
    }

    #[test]
    fn numbers_are_short_and_scaled() {
        let cases = [
            (0.0, 1000, "0"),
            (-0.0, 1000, "0"),
            (1.0, 1000, "1.00"),
            (12.345, 1000, "12.3"),
            (999.4, 1000, "999"),
            (999.7, 1000, "1.00 k"),
            (12_000.0, 1000, "12.0 k"),
            (1.5e9, 1000, "1.50 G"),
            (0.35, 1000, "350 m"),
            (0.35, 1024, "0.350"),
            (2e-7, 1000, "200 n"),
            (1536.0, 1024, "1.50 k"),
            (1_073_741_824.0, 1024, "1.00 G"),
            (1023.0, 1024, "1023"),
            (-5_500.0, 1000, "−5.50 k"),
            (f64::NAN, 1000, "–"),
            (f64::INFINITY, 1000, "∞"),
            (f64::NEG_INFINITY, 1024, "−∞"),
            (1e30, 1000, "1000000 Y"),
            (1e308, 1000, "1.00e284 Y"),
        ];
        for (value, base, text) in cases {
            assert_eq!(si(value, base), text, "{value}");
        }
        assert_eq!(plain(1_234_567.0), "1234567");
        assert_eq!(plain(0.0123), "0.0123");
    }

    #[test]
    fn marks_are_round() {
        let of = |low, high, base| {
            let m = Marks::new(low, high, 5, unit(base));
            m.at.iter().map(|v| m.label(*v, false)).collect::<Vec<_>>().join(" ")
        };
        assert_eq!(of(0.0, 100.0, 1000), "0 20 40 60 80 100");
        assert_eq!(of(-100.0, 100.0, 1000), "−100 −50 0 50 100");
        assert_eq!(of(0.0, 1.2e6, 1000), "0 0.25 M 0.50 M 0.75 M 1.00 M");
        assert_eq!(of(0.0, 4.0 * 1024.0 * 1024.0 * 1024.0, 1024), "0 1 G 2 G 3 G 4 G");
        assert_eq!(of(99.0, 101.0, 1000), "99.0 99.5 100.0 100.5 101.0");
        assert_eq!(of(-3.2, 4.3, 1000), "−2 0 2 4");
        assert_eq!(of(0.0, 0.004, 1000), "0 1 m 2 m 3 m 4 m");
    }

    #[test]
    fn odd_axes_have_marks_and_end() {
        for (low, high) in [
            (0.0, f64::MAX),
            (-f64::MAX, f64::MAX),
            (0.0, f64::MIN_POSITIVE),
            (1e15, 1e15 + 1.0),
            (-1e-300, 1e300),
        ] {
            for base in [1000, 1024] {
                let m = Marks::new(low, high, 5, unit(base));
                assert!(m.at.len() <= 28, "{low} {high}: {}", m.at.len());
                assert!(m.at.iter().all(|v| v.is_finite()), "{low} {high}");
                for v in &m.at {
                    assert!(m.label(*v, true).chars().count() <= 14, "{}", m.label(*v, true));
                }
            }
        }
    }
}
