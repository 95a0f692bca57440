//! The daily digest: what is not urgent, once a day, as one mail.
//!
//! ```toml
//! [digest]
//! at = "08:00"                 # "never": none
//! zone = "Europe/Berlin"       # the system's own when left out
//! to = ["mail"]                # contacts and groups; when left out all of [mail] to
//! ```
//!
//! It has what was told to nobody (one web server of fifty, below the quorum of its
//! group) for those in `to`, and for each contact what it wants in its digest, or
//! what was not urgent outside of its period. When there is nothing, nothing is sent.

use crate::message::{line, span};
use crate::output::Status;
use jiff::civil::{Date, Time};
use jiff::tz::TimeZone;
use jiff::{Timestamp, ToSpan};
use rookery_plugins::{HostState, State, TimeMs};
use serde::{Deserialize, Serialize};
use std::fmt::Write;

/// The most nodes that a line names.
pub const NAMED_MAX: usize = 10;
/// The most lines of each part.
pub const LINES_MAX: usize = 200;
/// When it is sent unless `at` says otherwise.
const AT: &str = "08:00";

/// `[digest]` of `collector.toml`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DigestConfig {
    /// The time of the day, `HH:MM`, or `never`.
    pub at: String,
    /// The time zone's name; empty: the system's own.
    pub zone: String,
    /// Contacts and groups; empty: `[mail] to`.
    pub to: Vec<String>,
}

/// When digests are due.
#[derive(Clone, Debug)]
pub struct Schedule {
    at: Option<Time>,
    zone: TimeZone,
    zone_name: String,
}

impl Schedule {
    /// Checks the times; the error names the key and the remedy.
    pub fn new(config: &DigestConfig) -> Result<Schedule, String> {
        let text = if config.at.is_empty() { AT } else { &config.at };
        let at =
            match text {
                "never" => None,
                text => Some(text.parse::<Time>().ok().filter(|_| text.len() == 5).ok_or_else(
                    || format!("[digest] at = {text:?}: write \"08:00\", or \"never\""),
                )?),
            };
        let zone = match config.zone.as_str() {
            "" => TimeZone::system(),
            name => TimeZone::get(name).map_err(|_| {
                format!(
                    "[digest] zone = {name:?} is not known: write one as in /usr/share/zoneinfo"
                )
            })?,
        };
        let zone_name = zone.iana_name().unwrap_or("local time").to_owned();
        Ok(Schedule { at, zone, zone_name })
    }

    /// The latest day whose digest is due at a time: `2026-11-21`. `None`: never.
    pub fn day(&self, now_ms: TimeMs) -> Option<Date> {
        let now = Timestamp::from_millisecond(now_ms).ok()?.to_zoned(self.zone.clone());
        let due = now.date().to_datetime(self.at?).to_zoned(self.zone.clone()).ok()?;
        if now >= due { Some(now.date()) } else { now.date().checked_sub(1.day()).ok() }
    }

    /// A time as its readers see it on their clocks.
    fn time(&self, ms: TimeMs) -> String {
        match Timestamp::from_millisecond(ms) {
            Ok(t) => t.to_zoned(self.zone.clone()).strftime("%a %m-%d %H:%M").to_string(),
            Err(_) => format!("{ms} ms"),
        }
    }
}

/// What a digest says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Digest {
    /// Its day, `2026-11-21`.
    pub day: String,
    /// Since the one before, ms.
    pub from_ms: TimeMs,
    /// When it was written, ms.
    pub to_ms: TimeMs,
    /// The time zone's name.
    pub zone: String,
    /// What is wrong now.
    pub wrong: Vec<Entry>,
    /// What was, and is over.
    pub over: Vec<Entry>,
    /// How many lines there would be more.
    pub n_more: usize,
    /// It may have been sent before.
    #[serde(default)]
    pub repeated: bool,
}

/// A line of it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// How bad it is, or was at the worst.
    pub state: Status,
    /// The group; empty: none.
    pub group: String,
    /// The service; `None`: the nodes themselves.
    pub service: Option<String>,
    /// Which nodes, the first so many.
    pub nodes: Vec<String>,
    /// How many.
    pub n_nodes: usize,
    /// Of so many; 0: it is of one node alone.
    pub n_all: usize,
    /// Since when, on the readers' clocks.
    pub since: String,
    /// How long it has lasted, ms.
    pub lasted_ms: i64,
    /// What is wrong, of the first node.
    pub text: String,
    /// Why it was not told at once.
    pub why: String,
}

impl Entry {
    /// `apache on 1 of 50 in web: web7`, `db1/apache`, or `db1`.
    pub fn place(&self) -> String {
        let named = self.nodes.join(", ");
        let more = match self.n_nodes.saturating_sub(self.nodes.len()) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        line(&match (self.n_all, &self.service) {
            (0, None) => format!("{named}{more}"),
            (0, Some(service)) => format!("{named}{more}/{service}"),
            (all, None) => format!("{} of {all} in {}: {named}{more}", self.n_nodes, self.group),
            (all, Some(service)) => {
                format!("{service} on {} of {all} in {}: {named}{more}", self.n_nodes, self.group)
            }
        })
    }

    /// How bad it is, for sorting: worst first, then what lasts longest.
    fn rank(&self) -> (u8, i64) {
        let severity = match self.state {
            Status::Host(HostState::Up) | Status::Service(State::Ok) => 0,
            Status::Host(_) => 4,
            Status::Service(state) => state.severity(),
        };
        (severity, self.lasted_ms)
    }
}

/// A problem of one node, to be put into a digest.
#[derive(Clone, Debug)]
pub struct Fact {
    /// The node.
    pub node: String,
    /// Its group.
    pub group: String,
    /// The service; `None`: the node itself.
    pub service: Option<String>,
    /// How bad it is, or was.
    pub state: Status,
    /// Since when, ms.
    pub since_ms: TimeMs,
    /// When it was over; `None`: it is not.
    pub until_ms: Option<TimeMs>,
    /// What is wrong.
    pub text: String,
    /// Why it was not told at once.
    pub why: String,
    /// How many nodes of the group have that service.
    pub n_all: usize,
}

impl Digest {
    /// From facts; `None` when there are none.
    pub fn new(
        schedule: &Schedule,
        day: Date,
        span_ms: (TimeMs, TimeMs),
        facts: &[Fact],
    ) -> Option<Digest> {
        let (wrong, over): (Vec<&Fact>, Vec<&Fact>) =
            facts.iter().partition(|f| f.until_ms.is_none());
        let (wrong, more) = entries(schedule, &wrong, span_ms.1);
        let (over, more_over) = entries(schedule, &over, span_ms.1);
        if wrong.is_empty() && over.is_empty() {
            return None;
        }
        Some(Digest {
            day: day.to_string(),
            from_ms: span_ms.0,
            to_ms: span_ms.1,
            zone: schedule.zone_name.clone(),
            wrong,
            over,
            n_more: more + more_over,
            repeated: false,
        })
    }

    /// `digest-2026-11-21`: one a day.
    pub fn id(&self) -> String {
        format!("digest-{}", self.day)
    }

    /// The subject of its mail.
    pub fn subject(&self) -> String {
        let count = |n: usize, what: &str| match n {
            0 => String::new(),
            n => format!("{n} {what}"),
        };
        let parts = [count(self.wrong.len(), "wrong"), count(self.over.len(), "over")];
        let parts: Vec<String> = parts.into_iter().filter(|p| !p.is_empty()).collect();
        format!("Digest {}: {}", self.day, parts.join(", "))
    }

    /// The mail's text.
    pub fn text(&self, base_url: &str) -> String {
        let mut out = String::new();
        // Writing to a String cannot fail.
        let _ = self.write_text(&mut out, base_url);
        out
    }

    fn write_text(&self, out: &mut String, base_url: &str) -> std::fmt::Result {
        writeln!(out, "What was not urgent. Times are of {}.", self.zone)?;
        for (head, entries) in [("Wrong now", &self.wrong), ("Over", &self.over)] {
            if entries.is_empty() {
                continue;
            }
            writeln!(out, "\n{head}:")?;
            for e in entries {
                let lasted = span(e.lasted_ms);
                writeln!(out, "\n  {} {}", e.state, e.place())?;
                if !e.text.is_empty() {
                    writeln!(out, "    {}", line(&e.text))?;
                }
                writeln!(out, "    since {}, {lasted}; {}", e.since, line(&e.why))?;
            }
        }
        if self.n_more > 0 {
            writeln!(out, "\nand {} more", self.n_more)?;
        }
        if !base_url.is_empty() {
            writeln!(out, "\nLook at:  {}/problems", base_url.trim_end_matches('/'))?;
        }
        if self.repeated {
            writeln!(out, "Repeated: Rookery ended while it sent this; you may have it already")?;
        }
        Ok(())
    }
}

/// Lines for facts: those of the same group, service and state together.
fn entries(schedule: &Schedule, facts: &[&Fact], now_ms: TimeMs) -> (Vec<Entry>, usize) {
    let mut all: Vec<(Entry, &Fact)> = Vec::new();
    for fact in facts {
        let is_pool = fact.n_all > 1;
        let lasted_ms = fact.until_ms.unwrap_or(now_ms).saturating_sub(fact.since_ms);
        let same = all.iter_mut().find(|(_, f)| {
            is_pool
                && (&f.group, &f.service, f.state, &f.why)
                    == (&fact.group, &fact.service, fact.state, &fact.why)
        });
        if let Some((entry, first)) = same {
            entry.n_nodes += usize::from(!entry.nodes.contains(&fact.node));
            if entry.nodes.len() < NAMED_MAX && !entry.nodes.contains(&fact.node) {
                entry.nodes.push(fact.node.clone());
            }
            if fact.since_ms < first.since_ms {
                entry.since = schedule.time(fact.since_ms);
                entry.lasted_ms = entry.lasted_ms.max(lasted_ms);
            }
            continue;
        }
        let entry = Entry {
            state: fact.state,
            group: fact.group.clone(),
            service: fact.service.clone(),
            nodes: vec![fact.node.clone()],
            n_nodes: 1,
            n_all: if is_pool { fact.n_all } else { 0 },
            since: schedule.time(fact.since_ms),
            lasted_ms,
            text: fact.text.clone(),
            why: fact.why.clone(),
        };
        all.push((entry, fact));
    }
    let mut all: Vec<Entry> = all.into_iter().map(|(entry, _)| entry).collect();
    all.sort_by_key(|e| std::cmp::Reverse(e.rank()));
    let more = all.len().saturating_sub(LINES_MAX);
    all.truncate(LINES_MAX);
    (all, more)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    pub(crate) fn schedule(at: &str) -> Schedule {
        let config = DigestConfig {
            at: at.to_owned(),
            zone: "Europe/Berlin".to_owned(),
            ..DigestConfig::default()
        };
        Schedule::new(&config).expect("right")
    }

    fn ms(text: &str) -> TimeMs {
        text.parse::<Timestamp>().expect("a time").as_millisecond()
    }

    fn fact(node: &str, until: Option<&str>) -> Fact {
        Fact {
            node: node.to_owned(),
            group: "web".to_owned(),
            service: Some("apache".to_owned()),
            state: Status::Service(State::Warning),
            since_ms: ms("2026-11-20T12:00:00Z"),
            until_ms: until.map(ms),
            text: "accesses is 3 (outside 10:)".to_owned(),
            why: "below the quorum of its group".to_owned(),
            n_all: 50,
        }
    }

    pub(crate) fn sample() -> Digest {
        let now = ms("2026-11-21T07:00:00Z");
        let facts = [
            fact("web7", None),
            fact("web\n9", Some("2026-11-20T13:00:00Z")),
            Fact {
                n_all: 1,
                state: Status::Host(HostState::Down),
                service: None,
                ..fact("db1", None)
            },
        ];
        let day = "2026-11-21".parse().expect("a day");
        Digest::new(&schedule("08:00"), day, (now - 86_400_000, now), &facts).expect("facts")
    }

    #[test]
    fn it_is_due_once_a_day_on_the_clock_of_its_zone() {
        let day = |at: &str, now: &str| schedule(at).day(ms(now)).map(|d| d.to_string());
        let some = |t: &str| Some(t.to_owned());
        assert_eq!(day("08:00", "2026-11-21T06:59:59Z"), some("2026-11-20"));
        assert_eq!(day("08:00", "2026-11-21T07:00:00Z"), some("2026-11-21"));
        assert_eq!(day("08:00", "2026-11-21T23:30:00Z"), some("2026-11-21"), "Berlin's next day");
        // An hour that a spring skips: the clock goes from 02:00 to 03:00.
        assert_eq!(day("02:30", "2026-03-29T00:59:00Z"), some("2026-03-28"));
        assert_eq!(day("02:30", "2026-03-29T01:30:00Z"), some("2026-03-29"));
        assert_eq!(day("never", "2026-11-21T07:00:00Z"), None);
        for (at, zone) in [("8", ""), ("25:00", ""), ("08:00", "Mars/Olympus"), ("08:00:30", "")] {
            let config = DigestConfig { at: at.to_owned(), zone: zone.to_owned(), to: vec![] };
            assert!(Schedule::new(&config).is_err_and(|e| e.starts_with("[digest] ")), "{at}");
        }
    }

    #[test]
    fn one_of_fifty_is_a_line() {
        let want = "What was not urgent. Times are of Europe/Berlin.\n\
            \n\
            Wrong now:\n\
            \n\
            \x20 DOWN db1\n\
            \x20   accesses is 3 (outside 10:)\n\
            \x20   since Fri 11-20 13:00, 19 h 0 min; below the quorum of its group\n\
            \n\
            \x20 WARNING apache on 1 of 50 in web: web7\n\
            \x20   accesses is 3 (outside 10:)\n\
            \x20   since Fri 11-20 13:00, 19 h 0 min; below the quorum of its group\n\
            \n\
            Over:\n\
            \n\
            \x20 WARNING apache on 1 of 50 in web: web 9\n\
            \x20   accesses is 3 (outside 10:)\n\
            \x20   since Fri 11-20 13:00, 60 min; below the quorum of its group\n\
            \n\
            Look at:  http://c/problems\n";
        assert_eq!(sample().text("http://c/"), want);
        assert_eq!(sample().subject(), "Digest 2026-11-21: 2 wrong, 1 over");
        let day = "2026-11-21".parse().expect("a day");
        assert_eq!(Digest::new(&schedule("08:00"), day, (0, 1), &[]), None);
    }

    #[test]
    fn the_same_of_a_group_is_one_line() {
        let facts: Vec<Fact> = (0..30).map(|i| fact(&format!("web{i}"), None)).collect();
        let day = "2026-11-21".parse().expect("a day");
        let now = ms("2026-11-21T07:00:00Z");
        let digest = Digest::new(&schedule("08:00"), day, (0, now), &facts).expect("facts");
        assert_eq!(digest.wrong.len(), 1);
        let place = digest.wrong[0].place();
        assert!(place.starts_with("apache on 30 of 50 in web: web0, web1, "), "{place}");
        assert!(place.ends_with("web9 and 20 more"), "{place}");
    }
}
