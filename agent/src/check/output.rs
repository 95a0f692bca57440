//! What a check executable said: a state, a text, and numbers.
//!
//! Output is `TEXT | PERFDATA`, then lines of longer text, in which a second `|`
//! begins more perfdata, to the end (Nagios plugin guidelines, "Plugin Output").

use super::Check;
use crate::plugin::exec::{Ending, Ran};
use rookery_plugins::perfdata::{Perf, clean_text, parse_loosely};
use rookery_plugins::{Draw, FieldSpec, FieldType, ServiceSpec, State, Value, names};
use std::collections::HashSet;

/// The longest text that goes with a state, characters.
const TEXT_CHARS_MAX: usize = 300;
/// The most numbers of one check.
const NUMBERS_MAX: usize = 500;

/// One run's output.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Said {
    state: State,
    text: String,
    numbers: Vec<Perf>,
    /// Of its perfdata what was not understood, as it stands there.
    pub wrong: Vec<String>,
}

impl Said {
    /// Of a run. One that did not end by itself, or with another code than 0 to
    /// 3, is UNKNOWN, as Nagios has it.
    pub fn of(ran: &Ran) -> Said {
        let state = match ran.ending {
            Ending::Exit(0) => State::Ok,
            Ending::Exit(1) => State::Warning,
            Ending::Exit(2) => State::Critical,
            _ => State::Unknown,
        };
        let output = String::from_utf8_lossy(&ran.stdout);
        let (text, perfdata) = split(&output);
        let (mut numbers, mut wrong) = parse_loosely(&perfdata);
        if numbers.len() > NUMBERS_MAX {
            wrong.push(format!("all behind the first {NUMBERS_MAX}"));
        }
        numbers.truncate(NUMBERS_MAX);
        let mut text = clean_text(&text);
        if !matches!(ran.ending, Ending::Exit(0..=3)) {
            text = format!("{} {text}", ran.why().replace('\n', " "));
        } else if text.is_empty() {
            text = String::from_utf8_lossy(&ran.stderr).lines().next().unwrap_or("").to_owned();
        }
        if let Some((at, _)) = text.char_indices().nth(TEXT_CHARS_MAX) {
            text.truncate(at);
        }
        Said { state, text: text.trim().to_owned(), numbers, wrong }
    }

    /// Whether all is well.
    pub fn is_ok(&self) -> bool {
        self.state == State::Ok
    }

    /// What the text begins with.
    pub fn word(&self) -> &'static str {
        self.state.word()
    }

    /// The service that it makes of its check.
    pub fn spec(&self, check: &Check) -> ServiceSpec {
        let unit = self.numbers.first().map_or("", |n| &n.unit);
        let same = self.numbers.iter().all(|n| n.unit == unit);
        let vlabel = match (unit, same) {
            ("c", true) => "per ${graph_period}".to_owned(),
            ("" | "c", _) | (_, false) => "value".to_owned(),
            (unit, true) => unit.to_owned(),
        };
        let mut fields = vec![state_field(!self.numbers.is_empty())];
        let mut taken: HashSet<String> = ["state".to_owned(), "root".to_owned()].into();
        for number in &self.numbers {
            let name = names::clean_field(&number.label);
            let mut unique = name.clone();
            let mut n = 2;
            while !taken.insert(unique.clone()) {
                unique = format!("{name}_{n}");
                n += 1;
            }
            fields.push(field(&unique, number, same));
        }
        let program = check.command.all().first().cloned().unwrap_or_default();
        ServiceSpec {
            said: self.sentence(),
            source: format!("check:{}", check.name),
            ..ServiceSpec::new(&check.name, &check.name, &check.category)
                .vlabel(&vlabel)
                .args("--base 1000")
                .info(&format!("What the check executable {program} says."))
                .fields(fields)
        }
    }

    /// State and text: most say their state themselves somewhere; it comes first.
    fn sentence(&self) -> String {
        match self.text.starts_with(self.word()) {
            true => self.text.clone(),
            false => format!("{}: {}", self.word(), self.text),
        }
    }

    /// The values, in the order of the fields.
    pub fn cells(&self) -> impl Iterator<Item = Value> {
        let state = match self.state {
            State::Ok => Value::Int(0),
            State::Warning => Value::Int(1),
            State::Critical => Value::Int(2),
            State::Unknown => Value::Unknown,
        };
        std::iter::once(state).chain(self.numbers.iter().map(|n| n.value))
    }
}

/// The exit code as a gauge whose limits give the same state back. Drawn only
/// where there is nothing else.
fn state_field(has_numbers: bool) -> FieldSpec {
    FieldSpec {
        hidden: has_numbers,
        unknown_limit: Some(1),
        ..FieldSpec::gauge("state", "state")
            .draw(Draw::Area)
            .limits("~:0", "~:1")
            .info("0 OK, 1 WARNING, 2 CRITICAL; unknown where the check could not tell")
    }
}

/// A number's field. Its own limits are not judged: the exit code is what the
/// executable made of them.
fn field(name: &str, number: &Perf, same_unit: bool) -> FieldSpec {
    let label = match (number.unit.as_str(), same_unit) {
        ("" | "c", _) | (_, true) => number.label.clone(),
        (unit, false) => format!("{} ({unit})", number.label),
    };
    let limits = |range: Option<rookery_plugins::Range>| range.map(|r| r.to_string());
    let mut info = String::new();
    for (word, range) in
        [("warning", limits(number.warning)), ("critical", limits(number.critical))]
    {
        if let Some(range) = range {
            let comma = if info.is_empty() { "Its own limits: " } else { ", " };
            info = format!("{info}{comma}{word} {range}");
        }
    }
    FieldSpec {
        kind: if number.unit == "c" { FieldType::Derive } else { FieldType::Gauge },
        min: (number.unit == "c").then_some(0.0),
        ..FieldSpec::gauge(name, &label).info(&info)
    }
}

/// The first line's text, and all perfdata.
fn split(output: &str) -> (String, String) {
    let (first, rest) = output.split_once('\n').unwrap_or((output, ""));
    let (text, mut perfdata) = match first.split_once('|') {
        Some((text, perfdata)) => (text, perfdata.to_owned()),
        None => (first, String::new()),
    };
    if let Some((_, more)) = rest.split_once('|') {
        perfdata.push(' ');
        perfdata.push_str(&more.replace('\n', " "));
    }
    (text.to_owned(), perfdata)
}

#[cfg(test)]
mod tests {
    use super::super::Words;
    use super::*;
    use std::time::Duration;

    fn ran(stdout: &str, ending: Ending) -> Ran {
        let (stdout, stderr) = (stdout.as_bytes().to_vec(), b"oops".to_vec());
        Ran { stdout, stderr, ending, took: Duration::ZERO }
    }

    fn check() -> Check {
        Check {
            name: "x".to_owned(),
            command: Words::List(vec!["/x".to_owned()]),
            step: None,
            timeout: None,
            user: None,
            node: None,
            category: "checks".to_owned(),
        }
    }

    #[test]
    fn state_text_and_all_numbers_are_found() {
        let said = Said::of(&ran(
            "DISK CRITICAL - free space: / 2 MB|/=20MB;10;15;0;22 state=1\nlong text\nmore | 'a b'=5c\n\
             root=7\n",
            Ending::Exit(2),
        ));
        let spec = said.spec(&check());
        assert_eq!(spec.said, "CRITICAL: DISK CRITICAL - free space: / 2 MB");
        let names: Vec<(&str, &str)> =
            spec.fields.iter().map(|f| (f.name.as_str(), f.label.as_str())).collect();
        let want = [
            ("state", "state"),
            ("_", "/ (MB)"),
            ("state_2", "state"),
            ("a_b", "a b"),
            ("root_2", "root"),
        ];
        assert_eq!(names, want);
        assert_eq!(spec.fields[3].kind, FieldType::Derive);
        assert_eq!(spec.fields[1].info, "Its own limits: warning 10, critical 15");
        assert_eq!(spec.fields[1].warning, None);
        let cells: Vec<Value> = said.cells().collect();
        let want: Vec<Value> = [2, 20, 1, 5, 7].into_iter().map(Value::Int).collect();
        assert_eq!(cells, want);
    }

    #[test]
    fn what_cannot_tell_is_unknown_and_says_why() {
        for (ending, want) in [
            (Ending::TimedOut, "UNKNOWN: killed at its time limit; stderr: oops x"),
            (Ending::Exit(3), "UNKNOWN: x"),
            (Ending::Exit(77), "UNKNOWN: exit code 77; stderr: oops x"),
        ] {
            let said = Said::of(&ran("x", ending));
            assert_eq!(said.spec(&check()).said, want);
            assert_eq!(said.cells().next(), Some(Value::Unknown));
        }
        assert_eq!(Said::of(&ran("", Ending::Exit(0))).spec(&check()).said, "OK: oops");
    }
}
