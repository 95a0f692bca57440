//! Apache's httpd, by the page of its module `mod_status` for programs
//! (httpd.apache.org/docs/2.4/mod/mod_status.html, "Machine Readable Status").

use crate::support::http::Page;
use crate::support::{Address, Daemon, Ratio, Sheet, number, probe, settings};
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "apache",
    about: "workers by state, requests, traffic (http://127.0.0.1/server-status?auto)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let usual = [
            "http://127.0.0.1/server-status?auto",
            "http://localhost/server-status?auto",
            "http://127.0.0.1:8080/server-status?auto",
        ];
        let page = Page::new("apache", table, own.url.as_deref(), &usual)?;
        Ok(probe(Apache { page, duration: Ratio::default() }))
    },
};

const CATEGORY: &str = "apache";
const REMEDY: &str = "run a2enmod status and reload Apache; its configuration needs \"<Location \
                      /server-status> SetHandler server-status; Require local </Location>\" (a \
                      line for each), and a `url` in [probe.apache] ends in ?auto";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: Option<String>,
}

struct Apache {
    page: Page,
    duration: Ratio,
}

impl Daemon for Apache {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let (status, address) = self.page.find(REMEDY, Status::parse)?;
        let duration = self.duration.next(status.count("Total Duration"), status.accesses());
        // Each access is counted as 100.
        write(&status, &port(&address), duration.map(|d| d / 100.0), sheet);
        Ok(())
    }
}

/// Munin's plugins carry the port in their fields' names.
fn port(address: &Address) -> String {
    let text = address.to_string();
    text.rsplit_once(':').map_or("80", |(_, port)| port).to_owned()
}

/// What the page says.
struct Status {
    lines: BTreeMap<String, String>,
    /// `None`: its line is odd.
    busy: Option<u64>,
    idle: Option<u64>,
    /// A letter for each place of a worker.
    scoreboard: String,
}

impl Status {
    /// `None`: it is another page, or not whole.
    fn parse(text: &str) -> Option<Status> {
        let split = text.lines().filter_map(|line| line.split_once(':'));
        let mut lines: BTreeMap<String, String> =
            split.map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect();
        let count = |name: &str| number(lines.get(name)?.as_bytes());
        // lighttpd's page has BusyServers.
        if !lines.contains_key("BusyWorkers") || !lines.contains_key("IdleWorkers") {
            return None;
        }
        let (busy, idle) = (count("BusyWorkers"), count("IdleWorkers"));
        let scoreboard = lines.remove("Scoreboard")?;
        text.ends_with('\n').then_some(Status { lines, busy, idle, scoreboard })
    }

    fn count(&self, name: &str) -> Option<u64> {
        number(self.lines.get(name)?.as_bytes())
    }

    fn accesses(&self) -> Option<u64> {
        self.count("Total Accesses")
    }

    /// Places in such a state.
    fn places(&self, letter: char) -> u64 {
        self.scoreboard.chars().filter(|c| *c == letter).count() as u64
    }
}

/// The scoreboard's letters, as fields.
const STATES: [(char, &str, &str, &str); 10] = [
    ('W', "sending", "sending", "Working on a request, or sending the answer"),
    ('R', "reading", "reading", "Reading a request: many mean slow clients, or an attack"),
    ('K', "keepalive", "keepalive", "Kept for a client's next request"),
    ('C', "closing", "closing", "Closing the connection"),
    ('D', "dns", "name look-up", "Looking up a client's name"),
    ('L', "logging", "logging", "Writing to the log"),
    ('G', "graceful", "finishing", "Finishing, to end afterwards"),
    ('I', "cleanup", "cleaning up", "Idle, and about to end"),
    ('S', "starting", "starting", "Starting up"),
    ('_', "waiting", "idle", "Waiting for a request"),
];

fn write(status: &Status, port: &str, duration: Option<f64>, sheet: &mut Sheet<'_>) {
    let version =
        status.lines.get("ServerVersion").map_or("Apache of unknown version", |text| text);
    sheet.note(version);
    let free = status.places('.');
    let places = status.busy.zip(status.idle);
    let places = places.map(|(busy, idle)| busy.saturating_add(idle).saturating_add(free));
    sheet
        .service("apache_processes", |n| {
            ServiceSpec::new(n, "Apache workers", CATEGORY)
                .vlabel("workers")
                .args("-l 0")
                .unscaled()
                .info(&format!(
                    "{version}. What workers do: when none is idle and no place is free, new \
                     clients have to wait. One of the busy ones answers the agent."
                ))
        })
        .field(&format!("busy{port}"), status.busy, |n| {
            FieldSpec::gauge(n, "busy").draw(Draw::Area).info("Workers that serve a client")
        })
        .field(&format!("idle{port}"), status.idle, |n| {
            FieldSpec::gauge(n, "idle").draw(Draw::Stack).info("Workers that wait for one")
        })
        .field(&format!("free{port}"), Some(free), |n| {
            FieldSpec::gauge(n, "free places")
                .draw(Draw::Stack)
                .info("Workers that may be started still")
        });
    let share = status.busy.zip(places.filter(|places| *places > 0));
    let share = share.map(|(busy, places)| 100.0 * busy as f64 / places as f64);
    sheet
        .service("apache_usage", |n| {
            ServiceSpec::new(n, "Apache usage", CATEGORY)
                .vlabel("% of workers")
                .args("-l 0 -u 100")
                .unscaled()
                .info(
                    "How many of all workers that there may be (ServerLimit x ThreadsPerChild) \
                     are busy. At 100 new clients have to wait.",
                )
        })
        .optional("busy", share, |n| {
            FieldSpec::gauge(n, "busy")
                .draw(Draw::Area)
                .limits("80", "95")
                .info("Busy workers, in percent of all places")
        });
    let mut service = sheet.service("apache_scoreboard", |n| {
        ServiceSpec::new(n, "Apache workers by state", CATEGORY)
            .vlabel("workers")
            .args("-l 0")
            .unscaled()
            .info("What each worker does just now; places without a worker are left out.")
    });
    for (letter, name, label, info) in STATES {
        service.field(name, Some(status.places(letter)), |n| {
            FieldSpec::gauge(n, label).draw(Draw::AreaStack).info(info)
        });
    }
    write_totals(status, port, duration, sheet);
}

fn write_totals(status: &Status, port: &str, duration: Option<f64>, sheet: &mut Sheet<'_>) {
    // Only with ExtendedStatus On, as it is since 2.3.6.
    if let Some(accesses) = status.accesses() {
        sheet
            .service("apache_accesses", |n| {
                ServiceSpec::new(n, "Apache requests", CATEGORY)
                    .vlabel("requests per ${graph_period}")
                    .args("-l 0 --base 1000")
                    .info(
                        "Requests that were answered. Reading this number is one itself: it \
                         stands for one request at each reading.",
                    )
            })
            .field(&format!("accesses{port}"), Some(accesses), |n| {
                FieldSpec::derive(n, "requests").draw(Draw::Area).info("Requests of clients")
            });
        let bytes = status.count("Total kBytes").map(|kib| kib.saturating_mul(1024));
        sheet
            .service("apache_volume", |n| {
                ServiceSpec::new(n, "Apache traffic", CATEGORY)
                    .vlabel("bytes per ${graph_period}")
                    .args("-l 0 --base 1024")
                    .info("What was sent to clients, counted in units of 1 KiB.")
            })
            .field(&format!("volume{port}"), bytes, |n| {
                FieldSpec::derive(n, "sent").draw(Draw::Area).info("Bytes that went to clients")
            });
    }
    if status.lines.contains_key("Total Duration") {
        sheet
            .service("apache_duration", |n| {
                ServiceSpec::new(n, "Apache response time", CATEGORY)
                    .vlabel("milliseconds")
                    .args("-l 0")
                    .unscaled()
                    .info(
                        "How long requests took on average between two readings. The agent's \
                         own one is among them.",
                    )
            })
            .field("duration", duration, |n| {
                FieldSpec::gauge(n, "mean").info("Milliseconds for each request")
            });
    }
    if status.lines.contains_key("ConnsTotal") {
        sheet
            .service("apache_connections", |n| {
                ServiceSpec::new(n, "Apache connections", CATEGORY)
                    .vlabel("connections")
                    .args("-l 0")
                    .unscaled()
                    .info("Open connections; those below need no worker (MPM event).")
            })
            .field("ConnsTotal", status.count("ConnsTotal"), |n| {
                FieldSpec::gauge(n, "open").info("Connections now")
            })
            .field("ConnsAsyncWriting", status.count("ConnsAsyncWriting"), |n| {
                FieldSpec::gauge(n, "writing")
                    .draw(Draw::Area)
                    .info("The answer is ready, the client reads it")
            })
            .field("ConnsAsyncKeepAlive", status.count("ConnsAsyncKeepAlive"), |n| {
                FieldSpec::gauge(n, "keepalive")
                    .draw(Draw::Stack)
                    .info("Kept for a client's next request")
            })
            .field("ConnsAsyncClosing", status.count("ConnsAsyncClosing"), |n| {
                FieldSpec::gauge(n, "closing").draw(Draw::Stack).info("Being closed")
            });
    }
    let uptime = status.count("Uptime").or(status.count("ServerUptimeSeconds"));
    sheet
        .service("apache_uptime", |n| {
            ServiceSpec::new(n, "Apache uptime", CATEGORY)
                .vlabel("days")
                .args("-l 0")
                .unscaled()
                .info("Time since Apache was started, or told to restart.")
        })
        .field("uptime", uptime.map(|s| s as f64 / 86_400.0), |n| {
            FieldSpec::gauge(n, "uptime").draw(Draw::Area).info("Days since its start")
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{Said, ask, make, reply, serve};
    use proptest::prelude::*;
    use rookery_plugins::Value;
    use std::io::{Read, Write};

    fn answered(head: &'static str, body: String) -> Result<(Said, String), ProbeError> {
        let at = serve(move |mut s| {
            let _ = s.read(&mut [0; 512]);
            let _ = write!(s, "HTTP/1.1 {head}\r\n\r\n{body}");
        });
        let mut probe = make("apache", &format!("url = \"http://{at}/server-status?auto\""));
        let (_, port) = at.rsplit_once(':').expect("a port");
        Ok((ask(probe.as_mut())?, port.to_owned()))
    }

    #[test]
    fn a_recorded_one_is_read() {
        let text = reply("apache/1.server-status_auto.txt");
        let ((specs, values), port) = answered("200 OK", text).expect("answers");
        for (name, want) in [
            (format!("apache_processes.busy{port}"), 1),
            (format!("apache_processes.idle{port}"), 24),
            (format!("apache_processes.free{port}"), 375),
            (format!("apache_accesses.accesses{port}"), 2000),
            (format!("apache_volume.volume{port}"), 601 * 1024),
            ("apache_scoreboard.sending".to_owned(), 1),
            ("apache_scoreboard.waiting".to_owned(), 24),
            ("apache_connections.ConnsTotal".to_owned(), 0),
        ] {
            assert_eq!(values[&name], Value::Int(want), "{name}");
        }
        assert_eq!(values["apache_usage.busy"], Value::Float(0.25));
        assert_eq!(values["apache_uptime.uptime"], Value::Float(161.0 / 86_400.0));
        assert!(specs[0].info.starts_with("Apache/2.4.71 (Debian). "), "{}", specs[0].info);
    }

    #[test]
    fn the_mean_time_is_that_of_the_interval() {
        let (one, two) = ["apache/1.server-status_auto.txt", "apache/2.server-status_auto.txt"]
            .map(|path| Status::parse(&reply(path)).expect("Apache's"))
            .into();
        let mut ratio = Ratio::default();
        let mut next = |s: &Status| ratio.next(s.count("Total Duration"), s.accesses());
        assert_eq!(next(&one), None);
        let grown = |name: &str| two.count(name).zip(one.count(name)).map(|(b, a)| (b - a) as f64);
        let mean = grown("Total Duration").zip(grown("Total Accesses")).map(|(d, n)| d / n);
        assert_eq!(next(&two).map(|d| d / 100.0), mean);
    }

    #[test]
    fn one_that_keeps_no_totals_has_less() {
        let text = "BusyWorkers: 2\nIdleWorkers: 3\nScoreboard: WK___..\n".to_owned();
        let ((specs, values), _) = answered("200 OK", text).expect("answers");
        assert_eq!(values["apache_scoreboard.keepalive"], Value::Int(1));
        assert!(specs.iter().all(|s| s.name != "apache_accesses"));
        assert_eq!(values["apache_uptime.uptime"], Value::Unknown);
        // An odd line costs what it would have told.
        let text =
            "web1\nTLSSessionCacheStatus\nBusyWorkers: many\nIdleWorkers: 3\nScoreboard: WK_\n";
        let ((specs, values), _) = answered("200 OK", text.to_owned()).expect("answers");
        assert_eq!(values["apache_scoreboard.sending"], Value::Int(1));
        assert!(specs.iter().all(|s| s.name != "apache_usage"));
    }

    #[test]
    fn others_and_refusals_are_told() {
        let good = reply("apache/1.server-status_auto.txt");
        let lighttpd = "Total Accesses: 3\nTotal kBytes: 1\nUptime: 5\nBusyServers: 1\n\
                        IdleServers: 127\nScoreboard: h___\n";
        for (head, body, want) in [
            ("403 Forbidden", "", "HTTP 403; run a2enmod status"),
            ("404 Not Found", "", "HTTP 404; run a2enmod status"),
            ("200 OK", "<html>It works!</html>\n", "is not its status page"),
            ("200 OK", lighttpd, "is not its status page"),
            ("200 OK", &good[..good.len() - 20], "or not all of it"),
            ("200 OK", &good[..300], "or not all of it"),
        ] {
            let error = answered(head, body.to_owned()).map(|_| ()).expect_err(want).to_string();
            assert!(error.starts_with("apache at 127.0.0.1:") && error.contains(want), "{error}");
        }
    }

    proptest! {
        #[test]
        fn pages_never_panic(text: String) {
            let _ = Status::parse(&text);
            let _ = Status::parse(&format!("BusyWorkers: 1\nIdleWorkers: 2\n{text}\n"));
        }
    }
}
