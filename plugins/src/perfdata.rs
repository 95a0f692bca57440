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

/// The same, but items that are wrong are left out; how many. For the output of
/// executables, of which not all are careful.
pub fn parse_loosely(line: &str) -> (Vec<Perf>, usize) {
    let (mut items, mut n_wrong) = (Vec::new(), 0);
    let mut rest = line.trim();
    while !rest.is_empty() {
        let taken = take_label(rest).map(|(label, after)| {
            let end = after.find(char::is_whitespace).unwrap_or(after.len());
            (parse_body(label, &after[..end]), &after[end..])
        });
        let (item, after) = match taken {
            Ok((item, after)) => (item.ok(), after),
            // What has no label ends at the next blank.
            Err(_) => (None, rest.find(char::is_whitespace).map_or("", |at| &rest[at..])),
        };
        n_wrong += usize::from(item.is_none());
        items.extend(item);
        rest = after.trim_start();
    }
    (items, n_wrong)
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
        let (items, n_wrong) = parse_loosely("a=1 b=5parsecs noise 'c d'=2s;1:;;; e=1,5 f=3");
        let labels: Vec<&str> = items.iter().map(|p| p.label.as_str()).collect();
        assert_eq!((labels, n_wrong), (vec!["a", "c d", "f"], 3));
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
            let (items, n_wrong) = parse_loosely(&line);
            if let Ok(strict) = strict {
                prop_assert_eq!((strict, 0), (items, n_wrong));
            }
        }
    }
}
