//! From a service's values and limits to one line and an exit code.

use super::{Answer, title};
use crate::message::{number, span};
use rookery_plugins::perfdata::{Perf, clean_text, to_line};
use rookery_plugins::{Range, State, TimeMs, Value};

/// Without `-a`, data older than three steps and than this is too old, ms.
pub const AGE_MS_MIN: i64 = 60_000;
/// How many fields a line names before it only counts.
const NAMED_MAX: usize = 10;

/// What to judge, and how.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The service; empty: the node.
    pub service: String,
    /// Only these fields; empty: all.
    pub fields: Vec<String>,
    /// Instead of the service's own limits.
    pub warning: Option<Range>,
    /// Instead of the service's own limits.
    pub critical: Option<Range>,
    /// Data older than this is too old, s.
    pub age_s: Option<f64>,
    /// A line per field.
    pub verbose: bool,
    /// As check_munin: of `df` only real devices.
    pub as_munin: bool,
}

impl Wish {
    /// Whether it brings limits of its own.
    pub fn has_limits(&self) -> bool {
        self.warning.is_some() || self.critical.is_some()
    }
}

/// A field as it was read.
#[derive(Clone, Debug, PartialEq)]
pub struct FieldReading {
    /// Its name.
    pub field: String,
    /// What it was called before.
    pub formerly: Vec<String>,
    /// The value as drawn (per second for counters).
    pub value: Value,
    /// When it was read, ms; `None`: just now.
    pub time_ms: Option<TimeMs>,
    /// Its own limits.
    pub warning: Option<Range>,
    /// Its own limits.
    pub critical: Option<Range>,
    /// The least that it can be.
    pub min: Option<f64>,
    /// The most that it can be.
    pub max: Option<f64>,
}

/// A service as it was read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Reading {
    /// Its name.
    pub service: String,
    /// How often it is sampled, ms; 0 when not known.
    pub step_ms: u64,
    /// Its fields.
    pub fields: Vec<FieldReading>,
}

impl Reading {
    /// From what age on its data says nothing of now, ms. Where nobody knows when the next is
    /// to come that is never.
    fn age_max_ms(&self) -> i64 {
        match i64::try_from(self.step_ms) {
            Ok(0) => i64::MAX,
            step_ms => step_ms.unwrap_or(i64::MAX).saturating_mul(3).max(AGE_MS_MIN),
        }
    }
}

/// How a collector has it: it knows what is not hard yet, what rules work out of several
/// fields, and which nodes are DOWN.
pub struct Known {
    /// The hard state.
    pub state: State,
    /// Why, in its words; may be empty.
    pub text: String,
}

/// The answer in a collector's own judgement, with the values as they were read.
pub fn as_known(reading: &Reading, known: &Known, wish: &Wish, now_ms: TimeMs) -> Answer {
    let judged = judge(reading, wish, now_ms);
    let asks_age = wish.age_s.is_some() && judged.state == State::Unknown;
    if judged.state == known.state || asks_age {
        return judged;
    }
    let why = match (known.text.as_str(), known.state) {
        ("", State::Ok) => "within its limits",
        ("", _) => "as the collector has it",
        (text, _) => text,
    };
    let line = clean_text(&format!("{} {} - {why}", title(&reading.service), known.state));
    let rest = judged.text.split_once(" | ").map_or("", |(_, rest)| rest);
    Answer { state: known.state, text: format!("{line} | {rest}") }
}

/// A field with what was found.
struct Found<'a> {
    field: &'a FieldReading,
    warning: Option<Range>,
    critical: Option<Range>,
    state: State,
    /// Its age, if it is too old, ms.
    stale_ms: Option<i64>,
}

/// Judges a service's values.
pub fn judge(reading: &Reading, wish: &Wish, now_ms: TimeMs) -> Answer {
    let name = &reading.service;
    let fields = match select(reading, wish) {
        Ok(fields) => fields,
        Err(why) => return Answer::unknown(name, &why),
    };
    let limit_ms = wish.age_s.map_or(reading.age_max_ms(), |s| (s * 1000.0) as i64);
    let mut found: Vec<Found> =
        fields.into_iter().map(|f| judge_field(f, wish, limit_ms, now_ms)).collect();
    let perf: Vec<Perf> = found
        .iter()
        .map(|f| {
            let value = if f.stale_ms.is_some() { Value::Unknown } else { f.field.value };
            Perf::new(&f.field.field, value)
                .limits(f.warning, f.critical)
                .bounds(f.field.min, f.field.max)
        })
        .collect();
    found.sort_by_key(|f| std::cmp::Reverse(f.state.severity()));
    let nothing_known =
        found.iter().all(|f| f.stale_ms.is_some() || f.field.value.as_f64().is_none());
    let worst = found.first().map_or(State::Unknown, |f| f.state);
    let state = if nothing_known { State::Unknown } else { worst };
    let why = reason(&found, state, nothing_known, limit_ms);
    let mut text = clean_text(&format!("{} {state} - {why}", title(name)));
    text.push_str(" | ");
    text.push_str(&to_line(&perf));
    if wish.verbose {
        for f in &found {
            text.push('\n');
            text.push_str(&clean_text(&verbose_line(f, now_ms)));
        }
    }
    Answer { state, text }
}

/// The fields to judge.
fn select<'a>(reading: &'a Reading, wish: &Wish) -> Result<Vec<&'a FieldReading>, String> {
    let all = &reading.fields;
    if all.is_empty() {
        return Err("the service has no fields".to_owned());
    }
    let mut wanted_now = Vec::new();
    for wanted in &wish.fields {
        let own = all.iter().find(|f| f.field == *wanted);
        let found = own.or_else(|| all.iter().find(|f| f.formerly.contains(wanted)));
        if let Some(field) = found {
            wanted_now.push(&field.field);
        } else {
            let names: Vec<&str> = all.iter().map(|f| f.field.as_str()).collect();
            return Err(format!("no field {wanted:?}; there are {}", names.join(", ")));
        }
    }
    let by_name = |f: &&FieldReading| wish.fields.is_empty() || wanted_now.contains(&&f.field);
    let chosen: Vec<_> = all.iter().filter(by_name).collect();
    if wish.as_munin && wish.fields.is_empty() && wish.service.starts_with("df") {
        // check_munin looks at devices only, and not at these.
        let device = |f: &&FieldReading| {
            f.field.contains("dev") && !f.field.contains("udev") && !f.field.contains("shm")
        };
        let devices: Vec<_> = chosen.iter().copied().filter(device).collect();
        if !devices.is_empty() {
            return Ok(devices);
        }
    }
    Ok(chosen)
}

fn judge_field<'a>(
    field: &'a FieldReading,
    wish: &Wish,
    limit_ms: i64,
    now_ms: TimeMs,
) -> Found<'a> {
    let (warning, critical) = match wish.has_limits() {
        true => (wish.warning, wish.critical),
        false => (field.warning, field.critical),
    };
    let age_ms = field.time_ms.map_or(0, |t| now_ms.saturating_sub(t));
    let stale_ms = (age_ms > limit_ms).then_some(age_ms);
    let asked = warning.is_some() || critical.is_some() || !wish.fields.is_empty();
    let state = match field.value.as_f64().filter(|_| stale_ms.is_none()) {
        // What nobody set a limit for may be unknown.
        None if asked => State::Unknown,
        None => State::Ok,
        Some(v) if critical.is_some_and(|r| r.alerts(v)) => State::Critical,
        Some(v) if warning.is_some_and(|r| r.alerts(v)) => State::Warning,
        Some(_) => State::Ok,
    };
    Found { field, warning, critical, state, stale_ms }
}

fn reason(found: &[Found], state: State, nothing_known: bool, limit_ms: i64) -> String {
    let ages: Option<Vec<i64>> = found.iter().map(|f| f.stale_ms).collect();
    if let Some(youngest) = ages.and_then(|a| a.into_iter().min()) {
        return format!("data is {} old (limit {})", span(youngest), span(limit_ms));
    }
    if nothing_known {
        return "all values are unknown".to_owned();
    }
    let told: Vec<String> = found
        .iter()
        .filter(|f| state == State::Ok || f.state != State::Ok)
        .map(|f| phrase(f, state))
        .collect();
    let mut text = told.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    if told.len() > NAMED_MAX {
        text.push_str(&format!(" and {} more", told.len() - NAMED_MAX));
    }
    text
}

fn phrase(f: &Found, state: State) -> String {
    let name = &f.field.field;
    let value = match (f.stale_ms, f.field.value.as_f64()) {
        (Some(age), _) => format!("unknown for {}", span(age)),
        (None, None) => "unknown".to_owned(),
        (None, Some(v)) => number(v),
    };
    let range = match f.state {
        State::Critical => f.critical,
        State::Warning => f.warning,
        State::Ok | State::Unknown => None,
    };
    match range {
        Some(range) => format!("{name} is {value} ({})", range.why()),
        None if state == State::Ok => format!("{name} {value}"),
        None => format!("{name} is {value}"),
    }
}

fn verbose_line(f: &Found, now_ms: TimeMs) -> String {
    let range = |r: Option<Range>| r.map_or_else(|| "none".to_owned(), |r| r.to_string());
    let age = match f.field.time_ms {
        Some(t) => format!("{} old", span(now_ms.saturating_sub(t))),
        None => "read now".to_owned(),
    };
    format!(
        "{} {}: {} (warning {}, critical {}, {age})",
        f.field.field,
        f.state,
        f.field.value,
        range(f.warning),
        range(f.critical)
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(name: &str, value: impl Into<Value>, warning: &str) -> FieldReading {
        FieldReading {
            field: name.to_owned(),
            formerly: Vec::new(),
            value: value.into(),
            time_ms: Some(1_000_000),
            warning: warning.parse().ok(),
            critical: None,
            min: Some(0.0),
            max: None,
        }
    }

    fn cpu() -> Reading {
        let fields = vec![
            field("user", 93.1, "~:80"),
            field("system", 5i64, ""),
            field("idle", Value::Unknown, ""),
        ];
        Reading { service: "cpu".to_owned(), step_ms: 10_000, fields }
    }

    fn wish(fields: &[&str], w: &str, c: &str) -> Wish {
        Wish {
            service: "cpu".to_owned(),
            fields: fields.iter().map(|f| (*f).to_owned()).collect(),
            warning: w.parse().ok(),
            critical: c.parse().ok(),
            ..Wish::default()
        }
    }

    #[test]
    fn a_field_is_judged_by_its_old_name_unless_another_has_it_now() {
        let mut reading = Reading { service: "df".to_owned(), ..Reading::default() };
        reading.fields =
            vec![field("_mnt", 95i64, ""), field("a", 1i64, ""), field("b", 99i64, "")];
        reading.fields[0].formerly = vec!["shm_2".to_owned()];
        reading.fields[2].formerly = vec!["a".to_owned()];
        let state = |name: &str| {
            let critical = "~:90".parse().ok();
            let wish = Wish { fields: vec![name.to_owned()], critical, ..Wish::default() };
            let answer = judge(&reading, &wish, 0);
            (answer.state, answer.text)
        };
        assert_eq!(state("shm_2").0, State::Critical);
        assert!(state("shm_2").1.contains("_mnt"), "{}", state("shm_2").1);
        assert_eq!(state("a").0, State::Ok);
        assert_eq!(state("c").0, State::Unknown);
    }

    #[test]
    fn lines_are_as_the_guidelines_want_them() {
        let now = 1_010_000;
        let line = |w: &Wish| judge(&cpu(), w, now).text;
        assert_eq!(
            line(&wish(&[], "", "")),
            "CPU WARNING - user is 93.10 (outside ~:80) | \
             'user'=93.1;~:80;;0 'system'=5;;;0 'idle'=U;;;0"
        );
        assert_eq!(line(&wish(&["system"], "", "")), "CPU OK - system 5 | 'system'=5;;;0");
        assert_eq!(
            line(&wish(&["system"], "@1:10", "4:5")),
            "CPU WARNING - system is 5 (inside 1:10) | 'system'=5;@1:10;4:5;0"
        );
        assert!(line(&wish(&["idle"], "", "")).starts_with("CPU UNKNOWN - all values"));
        assert!(line(&wish(&["x"], "", "")).contains("no field \"x\"; there are user, system"));
        let both = judge(&cpu(), &wish(&["user", "idle"], "", "90"), now);
        assert_eq!(both.state, State::Critical);
        assert!(both.text.contains("user is 93.10 (outside 90), idle is unknown"), "{}", both.text);
    }

    #[test]
    fn old_data_is_unknown_with_its_age() {
        let answer = judge(&cpu(), &wish(&[], "", ""), 1_000_000 + 61_000);
        assert_eq!(answer.state, State::Unknown);
        assert!(answer.text.starts_with("CPU UNKNOWN - data is 61 s old (limit 60 s) | "));
        assert!(answer.text.contains("'user'=U;"));
        let patient = Wish { age_s: Some(600.0), ..wish(&[], "", "") };
        assert_eq!(judge(&cpu(), &patient, 1_000_000 + 61_000).state, State::Warning);
        let slow = Reading { step_ms: 300_000, ..cpu() };
        assert_eq!(judge(&slow, &wish(&[], "", ""), 1_000_000 + 800_000).state, State::Warning);
    }

    /// Whatever a collector says of a service is what the check says.
    #[test]
    fn in_every_state_the_check_says_what_the_collector_says() {
        let all = [State::Ok, State::Warning, State::Critical, State::Unknown];
        let now = 1_000_000;
        for state in all {
            for (value, age) in [
                (Value::Float(5.0), 0),
                (Value::Float(93.1), 0),
                (Value::Float(f64::INFINITY), 0),
                (Value::Unknown, 0),
                (Value::Float(5.0), 3_600_000),
            ] {
                for text in ["", "hit_ratio is 0.2 (outside 0.5:)"] {
                    let mut reading = cpu();
                    reading.fields[0].value = value;
                    let known = Known { state, text: text.to_owned() };
                    let answer = as_known(&reading, &known, &wish(&[], "", ""), now + age);
                    assert_eq!(answer.state, state, "{value:?} {age} {text}");
                    let head = format!("CPU {state} - ");
                    assert!(answer.text.starts_with(&head), "{}", answer.text);
                    assert!(answer.text.contains(" | 'user'="), "{}", answer.text);
                }
            }
        }
        // Infinity is outside of a limit, as for the collector.
        let mut reading = cpu();
        reading.fields[0].value = Value::Float(f64::INFINITY);
        let answer = judge(&reading, &wish(&["user"], "", "~:90"), now);
        assert_eq!(answer.state, State::Critical, "{}", answer.text);
        // A wish for an age of its own holds.
        let old = Wish { age_s: Some(5.0), ..wish(&[], "", "") };
        let known = Known { state: State::Ok, text: String::new() };
        assert_eq!(as_known(&cpu(), &known, &old, now + 6_000).state, State::Unknown);
        // Nobody knows when the next is to come.
        let slow = Reading { step_ms: 0, ..cpu() };
        assert_eq!(judge(&slow, &wish(&[], "", ""), now + 3_600_000).state, State::Warning);
    }

    #[test]
    fn as_munin_the_worst_device_wins_and_equal_is_fine() {
        let fields = vec![
            field("_dev_sda1", 88i64, ""),
            field("_dev_sdb1", 94.5, ""),
            field("_dev_shm", 99i64, ""),
            field("tmpfs", 99i64, ""),
        ];
        let df = Reading { service: "df".to_owned(), step_ms: 0, fields };
        let mut w = wish(&[], "~:88", "~:95");
        (w.service, w.as_munin) = ("df".to_owned(), true);
        let answer = judge(&df, &w, 1_000_000);
        assert_eq!(answer.state, State::Warning);
        assert!(
            answer
                .text
                .starts_with("DF WARNING - _dev_sdb1 is 94.50 (outside ~:88) | '_dev_sda1'=88;")
        );
    }
}
