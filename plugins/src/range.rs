//! Limits: Nagios' range grammar, read strictly, and Munin's looser one.
//!
//! `[@][start:][end]`: both ends belong to the range, a missing start is 0, `~`
//! is minus infinity, a missing end infinity. A value *outside* alerts; with
//! `@` one *inside* does.
//!
//! The C plugins take garbage in silence (`abc` is 0..0, `>10` too, `5KB` is
//! 5), so that a slip becomes a check that always or never alerts. Here it is
//! refused, with the text that is wrong.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// A Nagios range. Its text form is the shortest that means the same.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Range {
    start: f64,
    end: f64,
    inside: bool,
}

impl Range {
    /// Alerts outside of `start..=end`; `None` where either is NaN or
    /// `start` is greater than `end`. Infinite ends are open ends.
    pub fn outside(start: f64, end: f64) -> Option<Range> {
        // Adding zero turns -0 into 0, so that equal ranges print equally.
        (start <= end).then_some(Range { start: start + 0.0, end: end + 0.0, inside: false })
    }

    /// The same ends; alerts inside instead of outside.
    #[must_use]
    pub fn inverted(mut self) -> Range {
        self.inside = !self.inside;
        self
    }

    /// The lower end; minus infinity where there is none.
    pub fn start(&self) -> f64 {
        self.start
    }

    /// The upper end; infinity where there is none.
    pub fn end(&self) -> f64 {
        self.end
    }

    /// Whether a value inside alerts (`@`) instead of one outside.
    pub fn is_inside(&self) -> bool {
        self.inside
    }

    /// Whether this value is to be alerted on. NaN is no value: never.
    pub fn alerts(&self, value: f64) -> bool {
        if value.is_nan() {
            return false;
        }
        (value >= self.start && value <= self.end) == self.inside
    }

    /// `outside ~:80` or `inside 10:20`: why a value alerts, for a message.
    pub fn why(&self) -> String {
        match self.inside {
            true => format!("inside {}", self.inverted()),
            false => format!("outside {self}"),
        }
    }

    /// Reads Munin's `field.warning` and `field.critical`: `10` is an upper
    /// bound only, `:b` has no lower one, `a:` no upper one. (Nagios' `10`
    /// alerts below 0 as well.) A text that begins with `@` or `~` is no
    /// Munin limit but cannot be meant as anything else than Nagios' range.
    /// Munin reads what it does not understand as `0:0` and alerts on it for
    /// ever; here that is an error with the offending text.
    pub fn from_munin(text: &str) -> Result<Range, String> {
        let text = text.trim();
        if text.starts_with(['@', '~']) {
            return text.parse();
        }
        let (start, end) = text.split_once(':').unwrap_or(("", text));
        let (start, end) = (start.trim(), end.trim());
        if start.is_empty() && end.is_empty() {
            return Err(format!("limit {text:?} names no bound: write 10, :10, 5: or 5:10"));
        }
        let bound = |part: &str, open: f64| match part {
            "" => Ok(open),
            part => number(part).ok_or_else(|| bad_number("limit", text, part)),
        };
        let (start, end) = (bound(start, f64::NEG_INFINITY)?, bound(end, f64::INFINITY)?);
        Range::outside(start, end).ok_or_else(|| reversed("limit", text))
    }
}

/// A finite decimal: sign, digits, a point, an exponent. Nothing else: not
/// `inf`, `nan`, `0x10`, `5KB`, `10%`.
fn number(text: &str) -> Option<f64> {
    let digits = text.bytes().any(|b| b.is_ascii_digit());
    let known = text.bytes().all(|b| b.is_ascii_digit() || b"+-.eE".contains(&b));
    if !digits || !known {
        return None;
    }
    text.parse::<f64>().ok().filter(|v| v.is_finite())
}

fn bad_number(what: &str, whole: &str, part: &str) -> String {
    match part == whole {
        true => format!("{what} {whole:?} is not a number"),
        false => format!("{what} {whole:?}: {part:?} is not a number"),
    }
}

fn reversed(what: &str, whole: &str) -> String {
    format!("{what} {whole:?}: its start is greater than its end")
}

impl FromStr for Range {
    type Err = String;

    fn from_str(text: &str) -> Result<Range, String> {
        let (inside, body) = match text.strip_prefix('@') {
            Some(body) => (true, body),
            None => (false, text),
        };
        let (start, end) = match body.split_once(':') {
            Some((start, end)) => (start, end),
            None => ("", body),
        };
        if start.is_empty() && end.is_empty() {
            return Err(format!("range {text:?} names no bound: write 10, 10:, ~:10 or 5:10"));
        }
        let start = match start {
            "" => 0.0,
            "~" => f64::NEG_INFINITY,
            part => number(part).ok_or_else(|| bad_number("range", text, part))?,
        };
        let end = match end {
            "" => f64::INFINITY,
            part => number(part).ok_or_else(|| bad_number("range", text, part))?,
        };
        let range = Range::outside(start, end).ok_or_else(|| reversed("range", text))?;
        Ok(Range { inside, ..range })
    }
}

/// Plain decimals without an exponent, as perfdata wants them.
impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.inside {
            f.write_str("@")?;
        }
        if self.start == f64::NEG_INFINITY {
            f.write_str("~:")?;
        } else if self.start != 0.0 || self.end == f64::INFINITY {
            write!(f, "{}:", self.start)?;
        }
        if self.end != f64::INFINITY {
            write!(f, "{}", self.end)?;
        }
        Ok(())
    }
}

impl Serialize for Range {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Range {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Range, D::Error> {
        let text = String::deserialize(deserializer)?;
        text.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_truth_table_holds() {
        let table = include_str!("../testdata/ranges.csv");
        let mut n = 0;
        for line in table.lines().skip(1) {
            let cells: Vec<&str> = line.split(',').collect();
            let value: f64 = cells[1].parse().expect("a number");
            let found = match cells[0].parse::<Range>() {
                Err(e) => {
                    assert!(e.contains(cells[0]), "{e} names {}", cells[0]);
                    "invalid"
                }
                Ok(range) if range.alerts(value) => "yes",
                Ok(_) => "no",
            };
            assert_eq!(found, cells[2], "{line}");
            n += 1;
        }
        assert_eq!(n, 87);
    }

    #[test]
    fn garbage_is_refused_with_its_text() {
        for text in [
            "", ":", "@", "@:", "~", "@~", "abc", ">10", "10%", "10:20:30", "10,5", "10:inf",
            "0x10", "5KB", "10:~", "~10", " 10", "10 ", "--5", "1e", "e5", ".", "1e999", "@@10",
        ] {
            let e = text.parse::<Range>().expect_err(text);
            assert!(e.contains(&format!("{text:?}")), "{e}");
        }
    }

    #[test]
    fn munin_limits_are_translated() {
        let cases = [
            ("10", "~:10"),
            (":10", "~:10"),
            ("5:", "5:"),
            ("0:", "0:"),
            ("5:10", "5:10"),
            ("-5", "~:-5"),
            (" 1.5 : 2.5 ", "1.5:2.5"),
            ("0:10", "10"),
            ("~:10", "~:10"),
            ("@5:10", "@5:10"),
            ("1e3", "~:1000"),
        ];
        for (munin, nagios) in cases {
            assert_eq!(Range::from_munin(munin).expect(munin).to_string(), nagios, "{munin}");
        }
        for text in ["", ":", "abc", "10%", "1:2:3", "20:10", "inf"] {
            assert!(Range::from_munin(text).expect_err(text).contains(text), "{text}");
        }
    }

    #[test]
    fn json_is_the_text() {
        let range: Range = serde_json::from_str("\"~:80\"").expect("reads");
        assert_eq!(serde_json::to_string(&range).expect("writes"), "\"~:80\"");
        assert_eq!(range.why(), "outside ~:80");
        assert_eq!("@5:8".parse::<Range>().expect("reads").why(), "inside 5:8");
    }

    proptest! {
        #[test]
        fn display_round_trips(
            a in prop::num::f64::NORMAL | prop::num::f64::ZERO,
            b in prop::num::f64::NORMAL,
            open in 0u8..3,
            inside: bool,
        ) {
            let start = if open == 1 { f64::NEG_INFINITY } else { a.min(b) };
            let end = if open == 2 { f64::INFINITY } else { a.max(b) };
            let range = Range { inside, ..Range::outside(start, end).expect("in order") };
            let text = range.to_string();
            prop_assert!(!text.contains(['e', 'E', '+']));
            prop_assert_eq!(text.parse::<Range>(), Ok(range));
        }

        #[test]
        fn no_text_panics(text in "[@~:0-9.eE+-]{0,12}|.{0,12}") {
            if let Ok(range) = text.parse::<Range>() {
                prop_assert_eq!(range.to_string().parse::<Range>(), Ok(range));
            }
            let _ = Range::from_munin(&text);
        }
    }
}
