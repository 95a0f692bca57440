//! A service's unit in short: `1.50 GB`, `350 ms`, `12.0 k/s`, from the words that
//! its plugin wrote at the axis.

use super::units::{UNKNOWN, plain, scale, si};
use rookery_plugins::ServiceSpec;

/// How a service's numbers are written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Unit {
    base: u32,
    unscaled: bool,
    /// What stands behind the prefix; empty: unknown.
    word: &'static str,
    /// What makes a value one of `word`: milliseconds are thousandths of seconds.
    pub(crate) factor: f64,
    /// Whether large and small ones have prefixes: there are no millibytes.
    prefixes: (bool, bool),
    /// `graph_printf`: so many digits behind the point.
    decimals: Option<u8>,
}

/// `%6.2lf%s`: the digits behind the point.
fn decimals(spec: &ServiceSpec) -> Option<u8> {
    let (_, format) = spec.extra.get("graph_printf")?.split_once('%')?;
    let end = format.find(|c: char| c.is_ascii_alphabetic())?;
    let digits = format[..end].split_once('.').map_or("", |(_, digits)| digits);
    match format[end..].trim_start_matches('l').as_bytes().first()? {
        b'd' | b'i' => Some(0),
        b'f' | b'g' | b'e' if digits.is_empty() => None,
        b'f' | b'g' | b'e' => digits.parse().ok().filter(|d| *d <= 9),
        _ => None,
    }
}

type Word = (&'static [&'static str], &'static str, f64, (bool, bool));

/// Words at the axis, what is meant, its factor, and whether large and small ones
/// have prefixes.
const WORDS: [Word; 11] = [
    (&["bytes", "byte"], "B", 1.0, (true, false)),
    (&["bits", "bit"], "b", 1.0, (true, false)),
    (&["seconds", "s"], "s", 1.0, (false, true)),
    (&["milliseconds", "ms"], "s", 1e-3, (false, true)),
    (&["microseconds", "µs"], "s", 1e-6, (false, true)),
    (&["volts", "v"], "V", 1.0, (true, true)),
    (&["amperes", "a"], "A", 1.0, (true, true)),
    (&["watts", "w"], "W", 1.0, (true, true)),
    (&["hertz", "hz"], "Hz", 1.0, (true, true)),
    (&["days"], "d", 1.0, (false, false)),
    (&["degrees celsius", "degrees celcius", "°c"], "°C", 1.0, (false, false)),
];

impl Unit {
    /// What the text at its axis tells.
    pub fn of(spec: &ServiceSpec) -> Unit {
        let both = (true, true);
        let (base, unscaled, decimals) = (spec.base(), spec.unscaled, decimals(spec));
        let unit = Unit { base, unscaled, word: "", factor: 1.0, prefixes: both, decimals };
        let (what, is_rate) = words(&spec.vlabel);
        if what.starts_with('%') || what == "percent" {
            return Unit { word: "%", prefixes: (false, false), ..unit };
        }
        // Of other spans than a second (per minute) nothing short is known.
        let is_second = matches!(spec.period.as_str(), "" | "second");
        let known = WORDS.iter().find(|(words, ..)| words.contains(&what.as_str()));
        match (known, is_rate, is_second) {
            // Thousandths that must not be scaled stay what they are.
            (Some((_, _, factor, _)), false, _) if unscaled && *factor != 1.0 => unit,
            (Some((_, word, factor, prefixes)), false, _) => {
                Unit { word, factor: *factor, prefixes: *prefixes, ..unit }
            }
            (Some((_, "B", ..)), true, true) => {
                Unit { word: "B/s", prefixes: (true, false), ..unit }
            }
            (Some((_, "b", ..)), true, true) => {
                Unit { word: "b/s", prefixes: (true, false), ..unit }
            }
            (None, true, true) => Unit { word: "/s", prefixes: (true, false), ..unit },
            _ => unit,
        }
    }

    /// With as many digits as a number needs, whatever `graph_printf` says.
    pub(crate) fn without_printf(self) -> Unit {
        Unit { decimals: None, ..self }
    }

    /// Whether numbers themselves tell what they are.
    pub(crate) fn is_told(&self) -> bool {
        !self.word.is_empty()
    }

    /// Whether it is a share of something: percent.
    pub fn is_share(&self) -> bool {
        self.word == "%"
    }

    /// Whether the values of several nodes make a sum: bytes and rates do, shares,
    /// temperatures and times do not.
    pub fn adds_up(&self) -> bool {
        matches!(self.word, "B" | "b" | "B/s" | "b/s" | "/s" | "W" | "A")
    }

    /// 1000, or 1024.
    pub(crate) fn base(&self) -> u32 {
        self.base
    }

    /// The unit of what has come together over time: of bytes per second, bytes.
    pub fn total(self) -> Unit {
        let word = match self.word {
            "B/s" => "B",
            "b/s" => "b",
            "/s" => "",
            word => word,
        };
        Unit { word, ..self }
    }

    /// A number with three significant digits, prefix and unit; not a number: `–`.
    pub fn text(&self, value: f64) -> String {
        if value.is_nan() {
            return UNKNOWN.to_owned();
        }
        if let Some(digits) = self.decimals.filter(|_| value.is_finite()) {
            let (prefix, unit) = self.prefix_of(value);
            let text = format!("{:.*}", usize::from(digits), value / unit);
            let text = text.replacen('-', "−", 1);
            let space = if prefix.is_empty() { "" } else { " " };
            return self.with_word(format!("{text}{space}{prefix}"));
        }
        self.with_word(match self.prefix_of(value) {
            ("", _) => plain(value * self.factor),
            _ => si(value * self.factor, self.base),
        })
    }

    /// The prefix that a value has, and what divides it then.
    pub(crate) fn prefix_of(&self, value: f64) -> (&'static str, f64) {
        let value = value * self.factor;
        let (above, below) = self.prefixes;
        let has_any = if value.abs() < 0.9995 { below } else { above };
        if self.unscaled || !has_any {
            return ("", 1.0 / self.factor);
        }
        let (scaled, prefix) = scale(value, self.base);
        let is_one = prefix.is_empty() || scaled == 0.0;
        (prefix, if is_one { 1.0 } else { value / scaled } / self.factor)
    }

    /// The unit behind a number, which may end in a prefix.
    pub(crate) fn with_word(&self, number: String) -> String {
        let ends_in_prefix = number.ends_with(char::is_alphabetic);
        match self.word {
            "" => number,
            // `12.0 k/s`, and without a prefix `12.0/s`.
            word if ends_in_prefix || word.starts_with('/') => number + word,
            word => number + " " + word,
        }
    }
}

/// What is measured, and whether per time: `Bytes/${graph_period} read (-) / write
/// (+)` are bytes, per time.
fn words(vlabel: &str) -> (String, bool) {
    let label = vlabel.replace("${graph_period}", "second").to_lowercase();
    let mut is_rate = false;
    let mut out: Vec<&str> = Vec::new();
    let mut rest = label.replace('/', " / ");
    for (from, to) in [("per second", "/s"), ("/ second", "/s")] {
        is_rate |= rest.contains(from);
        rest = rest.replace(from, to);
    }
    for word in rest.split_whitespace() {
        match word {
            "in" | "out" | "read" | "write" | "/" | "/s" | "(-)" | "(+)" => {}
            word => out.push(word),
        }
    }
    (out.join(" "), is_rate)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn unit(vlabel: &str, args: &str) -> Unit {
        Unit::of(&ServiceSpec::new("s", "S", "other").vlabel(vlabel).args(args))
    }

    #[test]
    fn numbers_have_units_that_people_read() {
        for (vlabel, args, value, text) in [
            ("bytes", "--base 1024", 1.5 * 1024.0 * 1024.0 * 1024.0, "1.50 GB"),
            ("Bytes", "", 0.35, "0.350 B"),
            ("seconds", "", 0.35, "350 ms"),
            ("seconds", "", 5000.0, "5000 s"),
            ("milliseconds", "", 350.0, "350 ms"),
            ("ms", "", 1500.0, "1.50 s"),
            ("requests per ${graph_period}", "", 12_000.0, "12.0 k/s"),
            ("requests per ${graph_period}", "", 12.0, "12.0/s"),
            ("per ${graph_period}", "", 0.5, "0.500/s"),
            ("bytes in (-) / out (+) per ${graph_period}", "", 2.5e6, "2.50 MB/s"),
            ("bits in (-) / out (+) per ${graph_period}", "", 2.5e6, "2.50 Mb/s"),
            ("Bytes/${graph_period} read (-) / write (+)", "", 2000.0, "2.00 kB/s"),
            ("IOs/${graph_period} read (-) / write (+)", "", 2000.0, "2.00 k/s"),
            ("%", "", 0.25, "0.250 %"),
            ("% of one processor", "", 99.0, "99.0 %"),
            ("volts", "", 0.012, "12.0 mV"),
            ("degrees Celsius", "", 41.5, "41.5 °C"),
            ("load", "", 0.35, "350 m"),
            ("connections", "", 3500.0, "3.50 k"),
            ("ms per ${graph_period}", "", 3500.0, "3.50 k"),
            ("", "", f64::NAN, "–"),
        ] {
            assert_eq!(unit(vlabel, args).text(value), text, "{vlabel} {value}");
        }
    }

    #[test]
    fn graph_printf_says_how_many_digits() {
        let with = |format: &str, unscaled: bool, value: f64| {
            let mut spec = ServiceSpec::new("s", "s", "s");
            spec.unscaled = unscaled;
            spec.extra.insert("graph_printf".to_owned(), format.to_owned());
            Unit::of(&spec).text(value)
        };
        assert_eq!(with("%6.0lf", true, 1234.56), "1235");
        assert_eq!(with("%7.4lf", true, 1234.56), "1234.5600");
        assert_eq!(with("%5.1lf%s", false, -1234.56), "−1.2 k");
        assert_eq!(with("%d", false, 7.9), "8");
        for other in ["%lf", "lots", "%", "%s", "%6.99lf"] {
            assert_eq!(with(other, false, 1234.56), "1.23 k", "{other}");
        }
    }

    #[test]
    fn totals_are_no_rates_and_minutes_are_told_nothing_of() {
        assert_eq!(unit("bytes per ${graph_period}", "").total().text(2e9), "2.00 GB");
        assert_eq!(unit("requests per ${graph_period}", "").total().text(1200.0), "1.20 k");
        let mut spec = ServiceSpec::new("s", "S", "other").vlabel("calls per ${graph_period}");
        spec.period = "minute".into();
        assert_eq!(Unit::of(&spec).text(1200.0), "1.20 k");
        let mut spec = ServiceSpec::new("s", "S", "other").vlabel("ms");
        spec.unscaled = true;
        assert_eq!(Unit::of(&spec).text(1200.0), "1200");
    }
}
