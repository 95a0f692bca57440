//! gearmand, by `status` and `version` of its administrative protocol
//! (http://gearman.org/protocol/, "Administrative Protocol").
//!
//! A line of `status` is FUNCTION, jobs in all, jobs running, workers, with tabs
//! between; a single dot ends it. One connection is kept.

use crate::support::{Daemon, Link, Names, Odd, Place, Sheet, StableName, number, probe, settings};
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::borrow::Cow;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "gearman",
    about: "jobs queued and running, and workers, per function (status, port 4730)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let place =
            Place::new("gearman", table, own.address.as_deref(), &["127.0.0.1:4730"], 4730)?;
        let (names, odd) = (Names::default(), Odd::default());
        Ok(probe(Gearman { place, link: None, version: String::new(), names, odd }))
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
    names: Names,
    odd: Odd,
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
        self.odd.begin();
        let functions = parse(&text, &mut self.odd)
            .ok_or_else(|| link.failed("its status is not that of a gearmand"))?;
        let raws: Vec<String> = functions.iter().map(|f| format!("f_{}", f.name)).collect();
        let fields = self.names.fields("", raws.iter().map(String::as_str));
        let named: Vec<(StableName, Function<'_>)> = fields.into_iter().zip(functions).collect();
        write(&named, &self.version, sheet);
        self.odd.write("gearman", CATEGORY, sheet);
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
    name: Cow<'a, str>,
    total: u64,
    running: u64,
    workers: u64,
}

impl Function<'_> {
    /// Jobs that no worker has taken.
    fn waiting(&self) -> u64 {
        self.total.saturating_sub(self.running)
    }
}

/// All functions by name; `None`: no line is one. Names may hold tabs, and even
/// line breaks: such a one is put together again, and counted as odd.
fn parse<'a>(text: &'a str, odd: &mut Odd) -> Option<Vec<Function<'a>>> {
    let lines = text.strip_suffix(".\n")?.lines();
    let before = odd.count();
    let mut functions: Vec<Function<'a>> = Vec::new();
    // A line without any column: the beginning of the next one's name.
    let mut begun: Option<&str> = None;
    for line in lines {
        let begin = begun.take();
        match function(line) {
            Some(mut function) => {
                if let Some(begin) = begin {
                    function.name = format!("{begin}\n{}", function.name).into();
                }
                functions.push(function);
            }
            None => {
                odd.left_out(line);
                begun = Some(line).filter(|line| !line.contains('\t'));
            }
        }
    }
    if functions.is_empty() && odd.count() > before {
        return None;
    }
    functions.sort_by(|a, b| a.name.cmp(&b.name));
    Some(functions)
}

fn function(line: &str) -> Option<Function<'_>> {
    // The name comes first and may hold anything.
    let mut words = line.rsplitn(4, '\t');
    let mut next = || words.next().and_then(|word| number(word.trim().as_bytes()));
    let (workers, running, total) = (next()?, next()?, next()?);
    Some(Function { name: words.next()?.into(), total, running, workers })
}

fn write(functions: &[(StableName, Function<'_>)], version: &str, sheet: &mut Sheet<'_>) {
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
    let total = |of: fn(&Function<'_>) -> u64| {
        functions.iter().map(|(_, f)| of(f)).fold(0, u64::saturating_add)
    };
    sheet
        .service("gearman_jobs", |n| {
            let info = format!("gearmand {version}. Jobs and workers, all functions together.");
            about(n, "Gearman jobs", "jobs, workers", &info)
        })
        .field("running", Some(total(|f| f.running)), |n| {
            FieldSpec::gauge(n, "running").draw(Draw::Area).info("Jobs that a worker has taken")
        })
        .field("waiting", Some(total(|f| f.waiting())), |n| {
            FieldSpec::gauge(n, "waiting").draw(Draw::Stack).info("Jobs that no worker has taken")
        })
        .field("workers", Some(total(|f| f.workers)), |n| {
            FieldSpec::gauge(n, "workers").info("Workers, once for each function that they can do")
        });
    let mut service = sheet.service("gearman_queue", |n| {
        about(n, "Gearman queues", "jobs waiting", "Jobs of each function that wait for a worker.")
    });
    let label = |f: &Function<'_>| f.name.replace(char::is_control, " ");
    for (name, f) in functions {
        service.field(&name.name, Some(f.waiting()), |n| {
            let spec = FieldSpec::gauge(n, &label(f)).draw(Draw::AreaStack);
            name.announce(spec.info("Jobs that no worker has taken"))
        });
    }
    let mut service = sheet.service("gearman_running", |n| {
        about(n, "Gearman running jobs", "jobs", "Jobs of each function that are being done.")
    });
    for (name, f) in functions {
        service.field(&name.name, Some(f.running), |n| {
            let spec = FieldSpec::gauge(n, &label(f)).draw(Draw::AreaStack);
            name.announce(spec.info("Jobs that a worker has taken"))
        });
    }
    let mut service = sheet.service("gearman_workers", |n| {
        about(n, "Gearman workers", "workers", "Workers that can do each function.")
    });
    for (name, f) in functions {
        service.field(&name.name, Some(f.workers), |n| {
            name.announce(FieldSpec::gauge(n, &label(f)).info("Connected workers that can do it"))
        });
    }
    let mut service = sheet.service("gearman_orphaned", |n| {
        let info = "Jobs that nobody can do: they wait, and there is no worker for them.";
        about(n, "Gearman jobs without workers", "jobs", info)
    });
    for (name, f) in functions {
        let orphaned = if f.workers == 0 { f.total } else { 0 };
        service.field(&name.name, Some(orphaned), |n| {
            let info = "Jobs in the queue while no worker knows the function";
            name.announce(FieldSpec::gauge(n, &label(f)).limits("", "0").info(info))
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
        // No number by order: which of them it is stays right when another one goes.
        let of = |status: &str| {
            let (specs, values) = said(status.to_owned(), "0.9\n").expect("reads");
            let queue = specs.into_iter().find(|s| s.name == "gearman_queue").expect("a service");
            let named = queue.fields.into_iter().map(|f| (f.label, f.name));
            (named.collect::<Vec<_>>(), values)
        };
        let (three, _) = of("a.b\t1\t0\t0\na-b\t5\t2\t3\na b\t7\t7\t1\n.\n");
        let (two, values) = of("a-b\t5\t2\t3\na b\t7\t7\t1\n.\n");
        assert!(two.iter().all(|named| three.contains(named)), "{two:?} {three:?}");
        let (_, field) = two.iter().find(|(label, _)| label == "a-b").expect("a field");
        assert_eq!(values[&format!("gearman_queue.{field}")], Value::Int(3));
    }

    #[test]
    fn an_odd_line_costs_no_other_and_huge_numbers_do_not_overflow() {
        let text = "mail\t10\t0\t0\ntwo\nlines\t4\t1\t1\nshort\t1\t0\nresize\t9\t2\t-1\n\
                    big\t18446744073709551615\t0\t1\nbig2\t18446744073709551615\t0\t1\nend\t1\t0\t1\n.\n";
        let (specs, values) = said(text.to_owned(), "OK 1\n").expect("reads");
        for (name, want) in [
            ("gearman_queue.f_mail", 10),
            ("gearman_queue.f_two_lines", 3),
            ("gearman_queue.f_end", 1),
            ("gearman_odd.odd", 3),
        ] {
            assert_eq!(values.get(name), Some(&Value::Int(want)), "{name}: {values:?}");
        }
        assert!(!values.keys().any(|k| k.contains("short") || k.contains("resize")));
        let queue = specs.iter().find(|s| s.name == "gearman_queue").expect("a service");
        assert_eq!(queue.field("f_two_lines").expect("a field").label, "two lines");
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
            let mut odd = Odd::default();
            let _ = parse(&text, &mut odd);
            let line = format!("{name}\t{n}\t{n}\t0\n.\n");
            let functions = parse(&line, &mut odd);
            prop_assert!(functions.is_some_and(|f| f[0].total == n && f[0].name == name));
        }
    }
}
