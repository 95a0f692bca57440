//! gearmand, by `status` and `version` of its administrative protocol
//! (http://gearman.org/protocol/, "Administrative Protocol").
//!
//! A line of `status` is FUNCTION, jobs in all, jobs running, workers, with tabs
//! between; a single dot ends it. One connection is kept.

use crate::support::{Daemon, Link, Place, Sheet, number, probe, settings, unique};
use rookery_plugins::names::clean_field;
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::collections::HashSet;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "gearman",
    about: "jobs queued and running, and workers, per function (status, port 4730)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let place =
            Place::new("gearman", table, own.address.as_deref(), &["127.0.0.1:4730"], 4730)?;
        Ok(probe(Gearman { place, link: None, version: String::new() }))
    },
};

const CATEGORY: &str = "gearman";
/// The most functions that are told apart; the rest is left out, and told.
const FUNCTIONS_MAX: usize = 500;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
}

struct Gearman {
    place: Place,
    link: Option<Link>,
    version: String,
}

impl Daemon for Gearman {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let mut link = match Link::still(&mut self.link, &self.place) {
            Some(link) => link,
            None => self.greet(Link::open(&self.place)?)?,
        };
        link.send(b"status\n")?;
        let reply = link.read_until(end)?;
        let text = String::from_utf8_lossy(&reply);
        let functions =
            parse(&text).ok_or_else(|| link.failed("its status is not that of a gearmand"))?;
        write(&functions, &self.version, sheet);
        self.link = Some(link);
        Ok(())
    }
}

impl Gearman {
    /// Asks a new connection for its version: `OK 1.1.20`; old ones say the
    /// number alone.
    fn greet(&mut self, mut link: Link) -> Result<Link, ProbeError> {
        let version = link.ask(b"version\n", b"\n", &["ERR"])?;
        let version = version.trim().trim_start_matches("OK ");
        if !version.starts_with(|c: char| c.is_ascii_digit()) || version.len() > 40 {
            return Err(link.failed("it does not tell a version: is it a gearmand?"));
        }
        self.version = version.to_owned();
        Ok(link)
    }
}

/// A line that is a dot, which may be the first one, or an error's.
fn end(text: &[u8]) -> Option<usize> {
    let dot = text == b".\n" || text.ends_with(b"\n.\n");
    let error = text.starts_with(b"ERR") && text.ends_with(b"\n");
    (dot || error).then_some(text.len())
}

#[derive(Debug, PartialEq)]
struct Function<'a> {
    name: &'a str,
    field: String,
    total: u64,
    running: u64,
    workers: u64,
}

/// All functions by name; `None`: some line is none.
fn parse(text: &str) -> Option<Vec<Function<'_>>> {
    let lines = text.strip_suffix(".\n")?.lines();
    let mut functions = Vec::new();
    for line in lines {
        // The name comes first and may hold anything but a tab.
        let mut words = line.rsplitn(4, '\t');
        let mut next = || words.next().and_then(|word| number(word.trim().as_bytes()));
        let (workers, running, total) = (next()?, next()?, next()?);
        let name = words.next()?;
        functions.push(Function { name, field: String::new(), total, running, workers });
    }
    functions.sort_by_key(|f| f.name);
    let mut taken = HashSet::new();
    for f in &mut functions {
        f.field = unique(clean_field(&format!("f_{}", f.name)), &mut taken);
    }
    Some(functions)
}

fn write(functions: &[Function<'_>], version: &str, sheet: &mut Sheet<'_>) {
    let left_out = functions.len().saturating_sub(FUNCTIONS_MAX);
    let functions = &functions[..functions.len() - left_out];
    let cut = match left_out {
        0 => String::new(),
        n => format!(" {n} more functions are left out."),
    };
    sheet.note(version);
    sheet.note(&cut);
    let about = |name: &str, title: &str, vlabel: &str, info: &str| {
        ServiceSpec::new(name, title, CATEGORY)
            .vlabel(vlabel)
            .args("-l 0")
            .unscaled()
            .info(&format!("{info}{cut}"))
    };
    let total = |of: fn(&Function<'_>) -> u64| functions.iter().map(of).sum::<u64>();
    sheet
        .service("gearman_jobs", |n| {
            let info = format!("gearmand {version}. Jobs and workers, all functions together.");
            about(n, "Gearman jobs", "jobs, workers", &info)
        })
        .field("running", Some(total(|f| f.running)), |n| {
            FieldSpec::gauge(n, "running").draw(Draw::Area).info("Jobs that a worker has taken")
        })
        .field("waiting", Some(total(|f| f.total.saturating_sub(f.running))), |n| {
            FieldSpec::gauge(n, "waiting").draw(Draw::Stack).info("Jobs that no worker has taken")
        })
        .field("workers", Some(total(|f| f.workers)), |n| {
            FieldSpec::gauge(n, "workers").info("Workers, once for each function that they can do")
        });
    let mut service = sheet.service("gearman_queue", |n| {
        about(n, "Gearman queues", "jobs waiting", "Jobs of each function that wait for a worker.")
    });
    for f in functions {
        service.field(&f.field, Some(f.total.saturating_sub(f.running)), |n| {
            FieldSpec::gauge(n, f.name).draw(Draw::AreaStack).info("Jobs that no worker has taken")
        });
    }
    let mut service = sheet.service("gearman_running", |n| {
        about(n, "Gearman running jobs", "jobs", "Jobs of each function that are being done.")
    });
    for f in functions {
        service.field(&f.field, Some(f.running), |n| {
            FieldSpec::gauge(n, f.name).draw(Draw::AreaStack).info("Jobs that a worker has taken")
        });
    }
    let mut service = sheet.service("gearman_workers", |n| {
        about(n, "Gearman workers", "workers", "Workers that can do each function.")
    });
    for f in functions {
        service.field(&f.field, Some(f.workers), |n| {
            FieldSpec::gauge(n, f.name).info("Connected workers that can do it")
        });
    }
    let mut service = sheet.service("gearman_orphaned", |n| {
        let info = "Jobs that nobody can do: they wait, and there is no worker for them.";
        about(n, "Gearman jobs without workers", "jobs", info)
    });
    for f in functions {
        let orphaned = if f.workers == 0 { f.total } else { 0 };
        service.field(&f.field, Some(orphaned), |n| {
            let info = "Jobs in the queue while no worker knows the function";
            FieldSpec::gauge(n, f.name).limits("", "0").info(info)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{ask, make, reply, serve};
    use proptest::prelude::*;
    use rookery_plugins::Value;
    use std::io::{Read, Write};

    fn said(
        status: String,
        version: &'static str,
    ) -> Result<crate::support::testing::Said, ProbeError> {
        let at = serve(move |mut s| {
            let mut question = [0; 64];
            while let Ok(n @ 1..) = s.read(&mut question) {
                let asked_version = question[..n].starts_with(b"version");
                let text = if asked_version { version } else { &status };
                if s.write_all(text.as_bytes()).is_err() || !text.ends_with('\n') {
                    return;
                }
            }
        });
        ask(make("gearman", &format!("address = {at:?}")).as_mut())
    }

    #[test]
    fn a_recorded_one_is_read() {
        let (specs, values) =
            said(reply("gearmand/2.status.txt"), "OK 1.1.20+ds\n").expect("reads");
        assert!(specs[0].info.starts_with("gearmand 1.1.20+ds. "));
        for (name, want) in [
            ("gearman_jobs.waiting", 26),
            ("gearman_queue.f_mail", 10),
            ("gearman_queue.f_resize", 16),
            ("gearman_orphaned.f_mail", 10),
            ("gearman_workers.f_mail", 0),
        ] {
            assert_eq!(values.get(name), Some(&Value::Int(want)), "{name}");
        }
    }

    #[test]
    fn an_idle_one_has_totals_and_odd_names_stay_apart() {
        let (_, values) = said(".\n".to_owned(), "0.9\n").expect("reads");
        assert_eq!(values["gearman_jobs.waiting"], Value::Int(0));
        assert!(values.keys().all(|k| k.starts_with("gearman_jobs.")));
        let text = "a.b\t1\t0\t0\na-b\t5\t2\t3\na b\t\t7\t7\t1\n.\n".to_owned();
        let (_, values) = said(text, "0.9\n").expect("reads");
        let queue: Vec<_> = values.iter().filter(|(k, _)| k.contains("_queue.")).collect();
        assert_eq!(queue.len(), 3, "{queue:?}");
    }

    #[test]
    fn foreign_and_cut_ones_give_errors() {
        for (status, version, want) in [
            ("x\n.\n", "OK 1\n", "not that of a gearmand"),
            ("mail\t1\t-1\t0\n.\n", "OK 1\n", "not that of a gearmand"),
            ("ERR unknown_command\n", "OK 1\n", "not that of a gearmand"),
            ("mail\t1", "OK 1\n", "hung up after"),
            ("", "-ERR unknown command\r\n", "is it a gearmand?"),
            ("", "ERR no\n", "it answers \"ERR no\""),
        ] {
            let error = said(status.to_owned(), version).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    proptest! {
        #[test]
        fn status_never_panics(text: String, name in "[^\t\n\r]{0,9}", n: u64) {
            let _ = parse(&text);
            let line = format!("{name}\t{n}\t{n}\t0\n.\n");
            let functions = parse(&line);
            prop_assert!(functions.is_some_and(|f| f[0].total == n && f[0].name == name));
        }
    }
}
