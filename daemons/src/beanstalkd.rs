//! beanstalkd, by `stats`, `list-tubes` and `stats-tube` of its protocol
//! (doc/protocol.txt of its source). One connection is kept.
//!
//! A reply is `OK LENGTH`, then so many bytes of YAML: `name: value` lines, or
//! `- item` lines.

use crate::support::{
    Daemon, Link, Names, Odd, Place, Sheet, StableName, Stats, number, probe, settings,
};
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "beanstalkd",
    about: "jobs ready, reserved, delayed, buried, in all and per tube (stats, port 11300)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let usual = ["127.0.0.1:11300"];
        let place = Place::new("beanstalkd", table, own.address.as_deref(), &usual, 11300)?;
        let (names, odd) = (Names::default(), Odd::default());
        Ok(probe(Beanstalkd { place, link: None, names, odd }))
    },
};

const CATEGORY: &str = "beanstalkd";
/// The most tubes that are told apart; the rest is left out, and told.
const TUBES_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
}

struct Beanstalkd {
    place: Place,
    link: Option<Link>,
    names: Names,
    odd: Odd,
}

impl Daemon for Beanstalkd {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let mut link = Link::again(&mut self.link, &self.place)?;
        self.odd.begin();
        let all = block(&mut link, b"stats\r\n")?;
        let all = all.map_err(|line| match line.as_str() {
            "NOT_FOUND" => link.failed("it has no stats: is it a beanstalkd?"),
            line => link.failed(format!("it answers {line:?}: is it a beanstalkd?")),
        })?;
        let all = parse(&all);
        if all.count("current-jobs-ready").is_none() {
            return Err(link.failed("its stats have no current-jobs-ready: is it a beanstalkd?"));
        }
        let list = block(&mut link, b"list-tubes\r\n")?.unwrap_or_default();
        let mut names: Vec<&str> = list.lines().filter_map(|l| l.strip_prefix("- ")).collect();
        names.sort_unstable();
        let left_out = names.len().saturating_sub(TUBES_MAX);
        names.truncate(TUBES_MAX);
        let mut tubes = Vec::with_capacity(names.len());
        for name in names {
            match block(&mut link, format!("stats-tube {name}\r\n").as_bytes())? {
                Ok(text) => tubes.push((name, text)),
                // A tube may go away between the two questions.
                Err(line) if line == "NOT_FOUND" => {}
                Err(line) => self.odd.left_out(&format!("{name}: {line}")),
            }
        }
        write(&all, left_out, sheet);
        let raws: Vec<String> = tubes.iter().map(|(name, _)| format!("tube_{name}")).collect();
        write_tubes(&tubes, &self.names.fields("", raws.iter().map(String::as_str)), sheet);
        self.odd.write("beanstalkd", CATEGORY, sheet);
        self.link = Some(link);
        Ok(())
    }
}

/// The text of an `OK` reply, or the line of a refusal (`NOT_FOUND`).
fn block(link: &mut Link, question: &[u8]) -> Result<Result<String, String>, ProbeError> {
    link.send(question)?;
    let reply = link.read_until(|text| end(text).unwrap_or(Some(text.len())))?;
    let text = String::from_utf8_lossy(&reply);
    let line: String = text.lines().next().unwrap_or("").chars().take(80).collect();
    match end(&reply) {
        Ok(Some(_)) if reply.starts_with(b"OK ") => Ok(Ok(text.into_owned())),
        Ok(Some(_)) => Ok(Err(line)),
        _ => Err(link.failed(format!("it answers {line:?}: is it a beanstalkd?"))),
    }
}

/// Refusals, after which it goes on.
const REFUSALS: [&[u8]; 5] =
    [b"NOT_FOUND", b"BAD_FORMAT", b"UNKNOWN_COMMAND", b"INTERNAL_ERROR", b"OUT_OF_MEMORY"];

/// Where a reply ends; `Ok(None)`: not yet; `Err`: it is none.
fn end(text: &[u8]) -> Result<Option<usize>, ()> {
    let Some(line) = text.windows(2).position(|w| w == b"\r\n") else { return Ok(None) };
    let head = &text[..line];
    if REFUSALS.contains(&head) {
        return Ok(Some(line + 2));
    }
    let length = head.strip_prefix(b"OK ").and_then(number).ok_or(())?;
    let end = usize::try_from(length).ok().and_then(|n| n.checked_add(line + 4)).ok_or(())?;
    Ok((text.len() >= end).then_some(end))
}

fn parse(text: &str) -> Stats<'_> {
    Stats::parse(text, |line| line.split_once(": "))
}

/// The states of a job: the key, what it is called, and what it means.
const STATES: [(&str, &str, &str); 5] = [
    ("current-jobs-ready", "ready", "Jobs that wait for a worker"),
    ("current-jobs-reserved", "reserved", "Jobs that a worker has taken"),
    ("current-jobs-delayed", "delayed", "Jobs whose time has not come"),
    ("current-jobs-buried", "buried", "Jobs set aside after a failure, until someone kicks them"),
    ("current-jobs-urgent", "urgent", "Of the ready ones, those with a priority below 1024"),
];

fn fill(service: &mut crate::support::Service<'_, '_>, stats: &Stats<'_>) {
    for (key, name, info) in STATES {
        // Urgent ones are ready ones, too.
        let draw = if name == "urgent" { Draw::Line1 } else { Draw::AreaStack };
        service.field(name, stats.count(key), |n| FieldSpec::gauge(n, n).draw(draw).info(info));
    }
}

fn write(all: &Stats<'_>, left_out: usize, sheet: &mut Sheet<'_>) {
    let version = all.text("version").unwrap_or("of unknown version").trim_matches('"');
    let cut = match left_out {
        0 => String::new(),
        n => format!(" {n} more tubes are left out."),
    };
    sheet.note(version);
    sheet.note(&cut);
    let mut service = sheet.service("beanstalkd_jobs", |n| {
        ServiceSpec::new(n, "Beanstalkd jobs", CATEGORY)
            .vlabel("jobs")
            .args("-l 0 --base 1000")
            .info(&format!("beanstalkd {version}. Jobs of all tubes, by state.{cut}"))
    });
    fill(&mut service, all);
    sheet
        .service("beanstalkd_rate", |n| {
            ServiceSpec::new(n, "Beanstalkd requests", CATEGORY)
                .vlabel("per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Jobs that come and go. More puts than deletes over long: workers lag.")
        })
        .field("cmd_put", all.count("cmd-put"), |n| {
            FieldSpec::derive(n, "put").info("Jobs that producers put in")
        })
        .field("cmd_reserve", all.sum("cmd-reserve", "cmd-reserve-with-timeout"), |n| {
            FieldSpec::derive(n, "reserve").info("Times that workers asked for a job")
        })
        .field("cmd_delete", all.count("cmd-delete"), |n| {
            FieldSpec::derive(n, "delete").info("Jobs that were done, or dropped")
        })
        .field("cmd_bury", all.count("cmd-bury"), |n| {
            FieldSpec::derive(n, "bury").info("Jobs that workers set aside")
        })
        .field("timeouts", all.count("job-timeouts"), |n| {
            let info = "Jobs taken back from a worker that did not end them in time";
            FieldSpec::derive(n, "timed out").info(info)
        });
    sheet
        .service("beanstalkd_connections", |n| {
            ServiceSpec::new(n, "Beanstalkd connections", CATEGORY)
                .vlabel("connections")
                .args("-l 0")
                .unscaled()
                .info("Who is connected. Without waiting workers new jobs are not begun at once.")
        })
        .field("connections", all.count("current-connections"), |n| {
            FieldSpec::gauge(n, "all").draw(Draw::Area).info("Open connections, ours among them")
        })
        .field("producers", all.count("current-producers"), |n| {
            FieldSpec::gauge(n, "producers").info("Those that have put a job")
        })
        .field("workers", all.count("current-workers"), |n| {
            FieldSpec::gauge(n, "workers").info("Those that have reserved a job")
        })
        .field("waiting", all.count("current-waiting"), |n| {
            FieldSpec::gauge(n, "waiting").info("Workers that wait for a job")
        });
}

fn write_tubes(tubes: &[(&str, String)], names: &[StableName], sheet: &mut Sheet<'_>) {
    for ((tube, text), named) in tubes.iter().zip(names) {
        let mut service = sheet.service(&format!("beanstalkd_jobs.{}", named.name), |n| {
            let old = named.old.as_deref().map(|old| format!("beanstalkd_jobs.{old}"));
            ServiceSpec::new(n, &format!("Beanstalkd jobs of {tube}"), CATEGORY)
                .vlabel("jobs")
                .args("-l 0 --base 1000")
                .info("Jobs of this tube, by state.")
                .formerly(old.as_deref())
        });
        fill(&mut service, &parse(text));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{Said, ask, make, reply, serve};
    use proptest::prelude::*;
    use rookery_plugins::Value;
    use std::io::{Read, Write};

    fn said(answer: impl Fn(&str) -> String + Send + 'static) -> Result<Said, ProbeError> {
        let at = serve(move |mut s| {
            let mut question = [0; 300];
            while let Ok(n @ 1..) = s.read(&mut question) {
                let text = answer(&String::from_utf8_lossy(&question[..n]));
                if s.write_all(text.as_bytes()).is_err() || text.is_empty() {
                    return;
                }
            }
        });
        ask(make("beanstalkd", &format!("address = {at:?}")).as_mut())
    }

    fn ok(text: &str) -> String {
        format!("OK {}\r\n{text}\r\n", text.len())
    }

    #[test]
    fn a_recorded_one_is_read() {
        let (specs, values) = said(|q| match q {
            "stats\r\n" => reply("beanstalkd/1.stats.txt"),
            "list-tubes\r\n" => reply("beanstalkd/1.list-tubes.txt"),
            "stats-tube mail\r\n" => reply("beanstalkd/1.stats-tube_mail.txt"),
            _ => "NOT_FOUND\r\n".to_owned(),
        })
        .expect("answers");
        assert!(specs[0].info.starts_with("beanstalkd 1.12. "));
        for (name, want) in [
            ("beanstalkd_jobs.ready", 30),
            ("beanstalkd_jobs.tube_mail.buried", 10),
            ("beanstalkd_rate.cmd_reserve", 30),
            ("beanstalkd_rate.cmd_delete", 20),
        ] {
            assert_eq!(values.get(name), Some(&Value::Int(want)), "{name}: {values:?}");
        }
        assert!(!values.contains_key("beanstalkd_jobs.tube_default.ready"), "gone meanwhile");
    }

    #[test]
    fn tubes_keep_their_names_and_an_odd_one_costs_no_other() {
        let ready = |n: u32| ok(&format!("---\ncurrent-jobs-ready: {n}\n"));
        let of = |list: &'static str| {
            let answer = move |q: &str| match q {
                "stats\r\n" => ready(9),
                "list-tubes\r\n" => ok(list),
                "stats-tube a-b\r\n" => ready(1),
                "stats-tube a.b\r\n" => ready(2),
                "stats-tube mail\r\n" => ready(3),
                _ => "BAD_FORMAT\r\n".to_owned(),
            };
            said(answer).expect("answers")
        };
        let (specs, values) = of("---\n- a.b\n- odd one\n- mail\n- a-b\n");
        assert_eq!(values["beanstalkd_jobs.tube_mail.ready"], Value::Int(3));
        assert_eq!(values["beanstalkd_odd.odd"], Value::Int(1));
        let of_title = |specs: &[rookery_plugins::ServiceSpec], tube: &str| {
            let title = format!("Beanstalkd jobs of {tube}");
            specs.iter().find(|s| s.title == title).expect("a service").clone()
        };
        let (dash, dot) = (of_title(&specs, "a-b"), of_title(&specs, "a.b"));
        assert_eq!(values[&format!("{}.ready", dash.name)], Value::Int(1));
        assert_eq!(values[&format!("{}.ready", dot.name)], Value::Int(2));
        assert_eq!(dot.old_names().collect::<Vec<_>>(), ["beanstalkd_jobs.tube_a_b_2"]);
        // In another order, each is what it was.
        let (specs, _) = of("---\n- a-b\n- a.b\n");
        assert_eq!(
            (of_title(&specs, "a-b").name, of_title(&specs, "a.b").name),
            (dash.name, dot.name)
        );
    }

    #[test]
    fn foreign_and_cut_ones_give_errors() {
        for (text, want) in [
            ("ERROR\r\n".to_owned(), "it answers \"ERROR\""),
            ("UNKNOWN_COMMAND\r\n".to_owned(), "it answers \"UNKNOWN_COMMAND\""),
            (ok("---\nversion: 1\n"), "no current-jobs-ready"),
            ("NOT_FOUND\r\n".to_owned(), "it has no stats"),
            (String::new(), "hung up after 0 bytes"),
        ] {
            let error = said(move |_| text.clone()).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    proptest! {
        #[test]
        fn replies_never_panic(text: Vec<u8>, n: u64) {
            let _ = end(&text);
            let whole = [format!("OK {n}\r\n").as_bytes(), &text].concat();
            if let Ok(Some(end)) = end(&whole) {
                prop_assert!(end <= whole.len());
            }
        }
    }
}
