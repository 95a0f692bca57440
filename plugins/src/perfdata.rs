//! Performance data and output text as the Nagios plugin guidelines want them.
//!
//! `'label'=value[UOM];[warn];[crit];[min];[max]`, separated by blanks. Numbers
//! are plain decimals: no exponent, no comma, no locale. Trailing `;` are left
//! out. An integer keeps all its digits.

use crate::{Range, Value};
use std::fmt;

/// Characters that Nagios cuts out of a plugin's text before a notification
/// sees it (`illegal_macro_output_chars`). Text may hold them, but must not
/// depend on them.
pub const ILLEGAL_MACRO_CHARS: &str = "`~$&|'\"<>";

/// The most bytes of a plugin's output that Nagios reads.
pub const OUTPUT_BYTES_MAX: usize = 8192;

/// The units that the guidelines know.
pub const UNITS: [&str; 10] = ["s", "us", "ms", "%", "B", "KB", "MB", "TB", "GB", "c"];

/// The longest unit of an executable that is kept, bytes.
const UNIT_BYTES_MAX: usize = 20;

/// One number with its limits.
#[derive(Clone, Debug, PartialEq)]
pub struct Perf {
    /// What it is; any text without control characters and `=`.
    pub label: String,
    /// The number; unknown is written as `U`, and so is what is not finite.
    pub value: Value,
    /// One of [`UNITS`], or empty.
    pub unit: String,
    /// The warning range.
    pub warning: Option<Range>,
    /// The critical range.
    pub critical: Option<Range>,
    /// The least that it can be.
    pub min: Option<f64>,
    /// The most that it can be.
    pub max: Option<f64>,
}

impl Perf {
    /// A number without a unit and limits.
    pub fn new(label: &str, value: impl Into<Value>) -> Perf {
        Perf {
            label: label.to_owned(),
            value: value.into(),
            unit: String::new(),
            warning: None,
            critical: None,
            min: None,
            max: None,
        }
    }

    /// The same with a unit.
    #[must_use]
    pub fn unit(mut self, unit: &str) -> Perf {
        self.unit = unit.to_owned();
        self
    }

    /// The same with these limits.
    #[must_use]
    pub fn limits(mut self, warning: Option<Range>, critical: Option<Range>) -> Perf {
        (self.warning, self.critical) = (warning, critical);
        self
    }

    /// The same with these bounds.
    #[must_use]
    pub fn bounds(mut self, min: Option<f64>, max: Option<f64>) -> Perf {
        (self.min, self.max) = (min, max);
        self
    }
}

impl fmt::Display for Perf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let range = |r: &Option<Range>| r.map(|r| r.to_string()).unwrap_or_default();
        let bound = |b: &Option<f64>| {
            b.filter(|b| b.is_finite()).map(|b| b.to_string()).unwrap_or_default()
        };
        let value = plain(self.value);
        let unit = if value == "U" { "" } else { &self.unit };
        let text = format!(
            "{}={value}{unit};{};{};{};{}",
            quoted(&self.label),
            range(&self.warning),
            range(&self.critical),
            bound(&self.min),
            bound(&self.max),
        );
        f.write_str(text.trim_end_matches(';'))
    }
}

/// The items as one line, ready to stand behind the `|`.
pub fn to_line(items: &[Perf]) -> String {
    items.iter().map(Perf::to_string).collect::<Vec<_>>().join(" ")
}

/// A number as perfdata wants it.
pub fn plain(value: Value) -> String {
    match value {
        Value::Int(v) => v.to_string(),
        Value::Uint(v) => v.to_string(),
        Value::Float(v) if v.is_finite() => (v + 0.0).to_string(),
        Value::Float(_) | Value::Unknown => "U".to_owned(),
    }
}

/// Always in quotes, doubled inside. `=`, control characters and `|` (which
/// some readers split at wherever it stands) become `_`.
fn quoted(label: &str) -> String {
    let clean: String =
        label.chars().map(|c| if c.is_control() || "=|".contains(c) { '_' } else { c }).collect();
    let clean = if clean.trim().is_empty() { "_".to_owned() } else { clean };
    format!("'{}'", clean.replace('\'', "''"))
}

/// Text for the first line of a plugin's output: one line, without the `|`
/// that would begin perfdata and without control characters. (Those of
/// [`ILLEGAL_MACRO_CHARS`] besides `|` stay: they are legal on a page.)
pub fn clean_text(text: &str) -> String {
    let one_line: String = text
        .chars()
        .map(|c| match c {
            '|' => '/',
            c if c.is_control() => ' ',
            c => c,
        })
        .collect();
    one_line.trim().to_owned()
}

/// Reads a line of perfdata. The error names the item that is wrong.
pub fn parse(line: &str) -> Result<Vec<Perf>, String> {
    let mut items = Vec::new();
    let mut rest = line.trim();
    while !rest.is_empty() {
        let (label, after) = take_label(rest)?;
        let end = after.find(char::is_whitespace).unwrap_or(after.len());
        let (body, tail) = after.split_at(end);
        items.push(parse_body(label, body)?);
        rest = tail.trim_start();
    }
    Ok(items)
}

/// The same of what executables print, of which not all are careful; and what of it was
/// not understood, as it stands there. Numbers may have exponents, and any unit. An
/// item whose number is none is unknown; what has no label is left out; a limit that is
/// none is left out alone.
pub fn parse_loosely(line: &str) -> (Vec<Perf>, Vec<String>) {
    let (mut items, mut wrong) = (Vec::new(), Vec::new());
    let mut rest = line.trim();
    while !rest.is_empty() {
        let word_end = |text: &str| text.find(char::is_whitespace).unwrap_or(text.len());
        rest = match take_label(rest) {
            Ok((label, after)) => {
                let (body, tail) = after.split_at(word_end(after));
                items.push(parse_body_loosely(label, body, &mut wrong));
                tail.trim_start()
            }
            // What has no label ends at the next blank.
            Err(_) => {
                let (word, tail) = rest.split_at(word_end(rest));
                wrong.push(word.to_owned());
                tail.trim_start()
            }
        };
    }
    (items, wrong)
}

fn parse_body_loosely(label: String, body: &str, wrong: &mut Vec<String>) -> Perf {
    // Some put commas between their items.
    let body = body.strip_suffix(',').unwrap_or(body);
    if let Ok(item) = parse_body(label.clone(), body) {
        return item;
    }
    let mut parts = body.split(';');
    let number = number_and_unit(parts.next().unwrap_or_default());
    let mut is_wrong = number.is_none();
    let (value, unit) = number.unwrap_or((Value::Unknown, ""));
    let mut part = || parts.next().filter(|p| !p.is_empty());
    let mut range = |text: Option<&str>| {
        let range = text.map(str::parse::<Range>);
        is_wrong |= matches!(range, Some(Err(_)));
        range.and_then(Result::ok)
    };
    let (warning, critical) = (range(part()), range(part()));
    let mut bound = |text: Option<&str>| {
        let value = text.map(Value::parse);
        is_wrong |= matches!(value, Some(None));
        value.flatten().and_then(Value::as_f64)
    };
    let (min, max) = (bound(part()), bound(part()));
    if is_wrong {
        wrong.push(format!("{label}={body}"));
    }
    Perf { label, value, unit: unit.to_owned(), warning, critical, min, max }
}

/// A number, maybe with an exponent, and the unit behind it: `5.86E-6`, `45.5C`, `12MiB`.
/// `None`: it is none (`17,060`, `n/a`, `0x10`).
fn number_and_unit(text: &str) -> Option<(Value, &str)> {
    if let Some(value) = Value::parse(text) {
        return Some((value, ""));
    }
    let signless = |at: usize| at + usize::from(text[at..].starts_with(['+', '-']));
    let digits = |at: usize, more: &str| {
        let end = text[at..].find(|c: char| !(c.is_ascii_digit() || more.contains(c)));
        end.map_or(text.len(), |end| at + end)
    };
    let mut end = digits(signless(0), ".");
    if text[end..].starts_with(['e', 'E']) {
        let exponent = digits(signless(end + 1), "");
        if exponent > signless(end + 1) {
            end = exponent;
        }
    }
    let (number, unit) = text.split_at(end);
    let is_unit = unit
        .chars()
        .next()
        .is_some_and(|c| c.is_alphabetic() || matches!(c, '%' | '\u{b0}' | '\u{b5}' | '/' | '$'));
    let is_hex = number.ends_with('0') && unit.starts_with(['x', 'X']);
    let value = Value::parse(number)?;
    (is_unit && !is_hex && unit.len() <= UNIT_BYTES_MAX).then_some((value, unit))
}

/// The label, unquoted, and what follows its `=`.
fn take_label(text: &str) -> Result<(String, &str), String> {
    let bad = || format!("perfdata {text:?}: no label=value");
    let Some(mut rest) = text.strip_prefix('\'') else {
        let (label, after) = text.split_once('=').ok_or_else(bad)?;
        let good = !label.is_empty() && !label.contains(|c: char| c == '\'' || c.is_whitespace());
        return if good { Ok((label.to_owned(), after)) } else { Err(bad()) };
    };
    let mut label = String::new();
    loop {
        let at = rest.find('\'').ok_or_else(|| format!("perfdata {text:?}: open quote"))?;
        label.push_str(&rest[..at]);
        rest = &rest[at + 1..];
        match rest.strip_prefix('\'') {
            Some(after) => {
                label.push('\'');
                rest = after;
            }
            None => break,
        }
    }
    let after = rest.strip_prefix('=').ok_or_else(bad)?;
    if label.is_empty() || label.contains('=') { Err(bad()) } else { Ok((label, after)) }
}

fn parse_body(label: String, body: &str) -> Result<Perf, String> {
    let parts: Vec<&str> = body.split(';').collect();
    let bad = |why: &str| format!("perfdata {label}={body}: {why}");
    if parts.len() > 5 {
        return Err(bad("more than value;warn;crit;min;max"));
    }
    let part = |i: usize| parts.get(i).copied().filter(|p| !p.is_empty());
    let range = |i| part(i).map(str::parse::<Range>).transpose().map_err(|e| bad(&e));
    let bound = |i| match part(i) {
        None => Ok(None),
        Some(text) => match number(text) {
            Some(v) => Ok(v.as_f64()),
            None => Err(bad(&format!("{text:?} is not a number"))),
        },
    };
    let text = parts[0];
    let digits = text.find(|c: char| !(c.is_ascii_digit() || "+-.".contains(c)));
    let (value, unit) = match text {
        "U" => (Value::Unknown, ""),
        _ => {
            let (value, unit) = text.split_at(digits.unwrap_or(text.len()));
            (number(value).ok_or_else(|| bad(&format!("{text:?} is not a number")))?, unit)
        }
    };
    if !unit.is_empty() && !UNITS.contains(&unit) {
        return Err(bad(&format!("unknown unit {unit:?}")));
    }
    let (warning, critical) = (range(1)?, range(2)?);
    let (min, max) = (bound(3)?, bound(4)?);
    let unit = unit.to_owned();
    Ok(Perf { label, value, unit, warning, critical, min, max })
}

/// A plain decimal or `U`.
fn number(text: &str) -> Option<Value> {
    let plain = text == "U" || text.bytes().all(|b| b.is_ascii_digit() || b"+-.".contains(&b));
    plain.then(|| Value::parse(text)).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn range(text: &str) -> Option<Range> {
        Some(text.parse().expect("a range"))
    }

    #[test]
    fn the_builder_writes_what_the_guidelines_say() {
        let p = Perf::new("user", 93.1).limits(range("~:80"), None).bounds(Some(0.0), None);
        assert_eq!(p.to_string(), "'user'=93.1;~:80;;0");
        assert_eq!(
            Perf::new("it's", 9_007_199_254_740_993i64).to_string(),
            "'it''s'=9007199254740993"
        );
        assert_eq!(Perf::new("a=b|c", Value::Unknown).unit("%").to_string(), "'a_b_c'=U");
        assert_eq!(Perf::new("x", 1e21).unit("B").to_string(), "'x'=1000000000000000000000B");
        assert_eq!(Perf::new("x", f64::INFINITY).to_string(), "'x'=U");
        assert_eq!(to_line(&[Perf::new("a", 1i64), Perf::new("b", 0.5)]), "'a'=1 'b'=0.5");
    }

    #[test]
    fn real_plugins_are_read() {
        let line = "load1=1.410;0.000;100.000;0; '/ x'=20266876928B;243497277849;;0;270552530944 \
                    pl=0%;20;50;0; procs=107;@1:500;100000;0; u=U";
        let items = parse(line).expect("reads");
        assert_eq!(items.len(), 5);
        assert_eq!(items[1].label, "/ x");
        assert_eq!(items[1].value, Value::Int(20_266_876_928));
        assert_eq!((items[1].unit.as_str(), items[1].max), ("B", Some(270_552_530_944.0)));
        assert_eq!(items[3].warning, range("@1:500"));
        assert_eq!(items[4].value, Value::Unknown);
    }

    #[test]
    fn garbage_is_named() {
        for line in ["x", "'x=1", "=1", "a=1,5", "a=5parsecs", "a=1;b", "a=1;;;;;6", "a=1e3"] {
            let e = parse(line).expect_err(line);
            assert!(e.contains("perfdata"), "{e}");
        }
    }

    #[test]
    fn what_is_wrong_costs_only_itself() {
        let (items, wrong) =
            parse_loosely("a=1 b=17,060ms noise 'c d'=2s;1:;;; e=n/a f=3;>5;7 g= h=0x10");
        let labels: Vec<(&str, Value)> =
            items.iter().map(|p| (p.label.as_str(), p.value)).collect();
        let want = [
            ("a", Value::Int(1)),
            // It is known of, and unknown: it does not vanish.
            ("b", Value::Unknown),
            ("c d", Value::Int(2)),
            ("e", Value::Unknown),
            ("f", Value::Int(3)),
            ("g", Value::Unknown),
            ("h", Value::Unknown),
        ];
        assert_eq!(labels, want);
        assert_eq!((items[4].warning, items[4].critical), (None, range("7")));
        assert_eq!(wrong, ["b=17,060ms", "noise", "e=n/a", "f=3;>5;7", "g=", "h=0x10"]);
    }

    #[test]
    fn exponents_and_any_unit_are_read() {
        let (items, wrong) = parse_loosely(
            "offset=-7.22636468709e-05s;60;120;; 'OneMinuteRate'=5.86E-6 \
             jitter=4.1E-1;5.4E-1;1E0;0;100 temp=45.5C;70;80 traffic=1838511.47b/s;;;0; \
             'mem used'=12MiB;;;0;64 rpm=1200rpm a=1, b=2e, c=3\u{b0}C d=+4 e=.5% f=inf g=1;2;3;4;5;6",
        );
        let all: Vec<(&str, Option<f64>, &str)> =
            items.iter().map(|p| (p.label.as_str(), p.value.as_f64(), p.unit.as_str())).collect();
        let want = [
            ("offset", Some(-7.226_364_687_09e-5), "s"),
            ("OneMinuteRate", Some(5.86e-6), ""),
            ("jitter", Some(0.41), ""),
            ("temp", Some(45.5), "C"),
            ("traffic", Some(1_838_511.47), "b/s"),
            ("mem used", Some(12.0), "MiB"),
            ("rpm", Some(1200.0), "rpm"),
            ("a", Some(1.0), ""),
            ("b", Some(2.0), "e"),
            ("c", Some(3.0), "\u{b0}C"),
            ("d", Some(4.0), ""),
            ("e", Some(0.5), "%"),
            ("f", Some(f64::INFINITY), ""),
            ("g", Some(1.0), ""),
        ];
        assert_eq!(all, want);
        assert_eq!((items[2].warning, items[2].critical), (range("0.54"), range("1")));
        assert_eq!((items[5].min, items[5].max), (Some(0.0), Some(64.0)));
        assert!(wrong.is_empty(), "{wrong:?}");
    }

    #[test]
    fn text_stays_on_its_line() {
        assert_eq!(clean_text(" a|b\nc\u{1b}[31m "), "a/b c [31m");
    }

    proptest! {
        #[test]
        fn written_items_are_read_back(
            label in "[a-zA-Z_/' äß.%-]{1,20}",
            int: i64,
            float in prop::num::f64::NORMAL,
            use_int: bool,
            unit in prop::sample::select(&UNITS[..]),
            max in proptest::option::of(prop::num::f64::NORMAL),
        ) {
            prop_assume!(!label.trim().is_empty());
            // A whole float is written without a point, and read as an integer.
            let value = if use_int { Value::Int(int) } else { Value::Float(float) };
            let item = Perf::new(&label, value).unit(unit).bounds(None, max)
                .limits(range("~:10"), range("@5:"));
            let back = parse(&item.to_string()).expect("reads");
            prop_assert_eq!(back[0].value.as_f64(), value.as_f64());
            prop_assert_eq!(Perf { value, ..back[0].clone() }, item);
        }

        #[test]
        fn no_line_panics(line in "[a-z'=;:.0-9 @~-]{0,40}|.{0,40}") {
            let strict = parse(&line);
            let (items, wrong) = parse_loosely(&line);
            if let Ok(strict) = strict {
                prop_assert_eq!((strict, Vec::<String>::new()), (items, wrong));
            }
        }
    }
}
