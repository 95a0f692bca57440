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
    form: Form,
    /// Each has its own prefix.
    own: bool,
    of: Unit,
}

/// Digits behind the point that an axis has without a look for a shorter form.
const DECIMALS_FEW: usize = 3;
/// Letters of a mark that nobody minds.
const USUAL_MAX: usize = 9;
/// Most digits behind the point: as many as a float tells apart.
const DECIMALS_MAX: usize = 17;
/// Longest number before one with an exponent is shorter to read.
const PLAIN_MAX: usize = 14;

/// How the numbers of one axis are written, so that no two of them are one text.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Form {
    /// What divides a value before it is written.
    unit: f64,
    prefix: &'static str,
    decimals: usize,
    exponent: bool,
}

impl Form {
    /// The forms that tell multiples of a step apart, up to a size: with the prefix of the
    /// size, with smaller ones, without any, and with an exponent.
    fn all(step: f64, largest: f64, of: Unit) -> Vec<Form> {
        let mut out: Vec<Form> = Vec::new();
        let mut add = |(prefix, unit): (&'static str, f64)| {
            if out.iter().all(|f| f.unit != unit) {
                out.push(Form { unit, prefix, decimals: decimals(step / unit), exponent: false });
            }
        };
        let mut size = largest;
        for _ in 0..=ABOVE.len() + BELOW.len() {
            add(of.prefix_of(size));
            if size < step {
                break;
            }
            size /= f64::from(of.base());
        }
        let plain = 1.0 / of.factor;
        add(("", plain));
        let (size, step) = (largest / plain, step / plain);
        let digits = size.log10().floor() - step.log10().floor();
        // A step of 2.5 has a digit more, one of a power of 1024 many: some of them do.
        for more in [1, 3] {
            let decimals = (digits.max(1.0) as usize + more).min(DECIMALS_MAX);
            out.push(Form { unit: plain, prefix: "", decimals, exponent: true });
        }
        out
    }

    /// What the form costs its reader: marks that are not true most, then digits by the
    /// dozen, then letters. The prefix of the whole axis stays where it needs few digits.
    fn cost(&self, at: &[f64], step: f64) -> (bool, bool, usize) {
        let texts: Vec<String> = at.iter().map(|v| self.text(*v)).collect();
        let is_true = texts.iter().zip(at).all(|(text, v)| {
            let said = text.replace('−', "-").parse::<f64>().unwrap_or(f64::NAN) * self.unit;
            // Beside the step what a float itself cannot hold.
            (said - v).abs() <= step * 0.01 + v.abs() * 4.0 * f64::EPSILON
        });
        let is_told_apart = is_true && texts.windows(2).all(|w| w[0] != w[1]);
        let longest = texts.iter().map(|t| t.chars().count()).max().unwrap_or(0);
        let letters = longest + 2 * self.prefix.len().min(1);
        let is_usual = !self.exponent && self.decimals <= DECIMALS_FEW && letters <= USUAL_MAX;
        let is_long = self.exponent || longest > PLAIN_MAX;
        (!is_told_apart, is_long, if is_usual { 0 } else { letters })
    }

    fn text(&self, value: f64) -> String {
        let shown = value / self.unit;
        let text = match self.exponent {
            true => format!("{shown:.*e}", self.decimals),
            false => format!("{shown:.*}", self.decimals),
        };
        match text.strip_prefix('-') {
            Some(rest) => format!("−{rest}"),
            None => text,
        }
    }
}

/// The fewest digits behind the point that show a step exactly, at most
/// [`DECIMALS_MAX`].
fn decimals(step: f64) -> usize {
    let is_whole = |d: &usize| {
        let x = step * 10f64.powi(*d as i32);
        x.round() >= 1.0 && (x - x.round()).abs() < 1e-6 * x
    };
    (0..DECIMALS_MAX).find(is_whole).unwrap_or(DECIMALS_MAX)
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
        // `graph_printf` is for values: at 0 digits behind the point powers would be alike.
        Marks { at, own: true, form: Form::default(), of: of.without_printf() }
    }

    /// About `n` round marks in `low..=high` (`low < high`, both finite).
    pub(crate) fn new(low: f64, high: f64, n: usize, of: Unit) -> Marks {
        // Finer steps are tried where there would be less than two marks.
        let (mut step, mut at) = (0.0, Vec::new());
        for n in [n, n + 1, n * 2 + 1, n * 4] {
            step = nice_step((high / 2.0 - low / 2.0) / n.max(1) as f64 * 2.0, of.base());
            at = multiples(step, low, high, 4 * n + 8);
            // Steps below the floats' own are none.
            at.dedup();
            if at.len() > 1 {
                break;
            }
        }
        let shortest = Form::all(step, low.abs().max(high.abs()), of)
            .into_iter()
            .min_by_key(|form| form.cost(&at, step))
            .unwrap_or_default();
        Marks { at, form: shortest, own: false, of }
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
        let text = self.form.text(value);
        let space = if self.form.prefix.is_empty() { "" } else { " " };
        self.of.with_word(format!("{text}{space}{}", self.form.prefix))
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
    use proptest::prelude::*;

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
    fn marks_of_narrow_axes_differ() {
        let of = |low: f64, high: f64, base| {
            let m = Marks::new(low, high, 4, unit(base));
            m.at.iter().map(|v| m.label(*v, false)).collect::<Vec<_>>().join(" ")
        };
        let near = 1_234_567_890.0;
        assert_eq!(of(near, near + 12.0, 1000), "1234567890 1234567895 1234567900");
        assert_eq!(
            of(1e6 - 1e-3, 1e6 + 1e-3, 1000),
            "999999.9990 999999.9995 1000000.0000 1000000.0005 1000000.0010"
        );
        let gib = 1024f64.powi(3);
        assert_eq!(
            of(gib, gib + 8.0 * 1024.0 * 1024.0, 1024),
            "1024 M 1026 M 1028 M 1030 M 1032 M"
        );
    }

    /// What a label says, of the test's units: digits and a prefix.
    fn said(label: &str, base: u32) -> f64 {
        let label = label.replace('−', "-");
        let (digits, prefix) = label.split_once(' ').unwrap_or((&label, ""));
        let digits: f64 = digits.parse().unwrap_or_else(|_| panic!("{label:?}"));
        let power = |all: &[&str]| all.iter().position(|p| *p == prefix).map(|i| i as i32 + 1);
        match (power(&ABOVE), power(&BELOW)) {
            (Some(i), _) => digits * f64::from(base).powi(i),
            (_, Some(i)) => digits * 1000f64.powi(-i),
            _ => digits,
        }
    }

    proptest! {
        /// Whatever the axis, no two of its marks are one text, and each tells its value.
        #[test]
        fn marks_differ_and_are_true(
            size in -12f64..17.0,
            sign in prop_oneof![Just(1.0), Just(-1.0)],
            narrow in -14f64..1.0,
            n in 2usize..12,
            base in prop_oneof![Just(1000u32), Just(1024)],
            unscaled in any::<bool>(),
        ) {
            let low = sign * 10f64.powf(size);
            let high = low + low.abs() * 10f64.powf(narrow);
            let mut spec = rookery_plugins::ServiceSpec::new("s", "S", "other")
                .args(&format!("--base {base}"));
            spec.unscaled = unscaled;
            let marks = Marks::new(low, high, n, Unit::of(&spec));
            let labels: Vec<String> = marks.at.iter().map(|v| marks.label(*v, false)).collect();
            let step = marks.at.windows(2).map(|w| w[1] - w[0]).fold(high - low, f64::min);
            for (i, label) in labels.iter().enumerate() {
                prop_assert!(!labels[..i].contains(label), "{labels:?}");
                let off = (said(label, base) - marks.at[i]).abs();
                prop_assert!(off <= step * 0.01 + low.abs() * 1e-15, "{label}: {}", marks.at[i]);
            }
        }
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
                    assert!(m.label(*v, true).chars().count() <= 24, "{}", m.label(*v, true));
                }
            }
        }
    }
}
