//! Perlbal, by `uptime`, `proc`, `queues`, `states`, `nodes`, `backends` and
//! `fd` of its management service (Perlbal::Manual::Management). One connection
//! is kept.

use crate::support::{Daemon, Link, Names, Odd, Place, Sheet, StableName, number, probe, settings};
use rookery_plugins::probes::support::decimal;
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::collections::BTreeMap;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "perlbal",
    about: "queues, requests, states, backends (management service, port 16000 or 60000)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let usual = ["127.0.0.1:16000", "127.0.0.1:60000"];
        let place = Place::new("perlbal", table, own.address.as_deref(), &usual, 16000)?;
        let (seen, names, odd) = (BTreeMap::new(), Names::default(), Odd::default());
        Ok(probe(Perlbal { place, link: None, seen, names, odd }))
    },
};

const CATEGORY: &str = "perlbal";
/// The most fields of a graph: more are no picture any longer.
const FIELDS_MAX: usize = 200;
const REMEDY: &str = "is it Perlbal's management service? Its configuration needs \"CREATE SERVICE \
                      mgmt\", \"SET role = management\", \"SET listen = 127.0.0.1:16000\", \
                      \"ENABLE mgmt\" (a line for each)";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
}

struct Perlbal {
    place: Place,
    link: Option<Link>,
    /// States that a connection was in once. Perlbal leaves out those that none
    /// is in now, which is 0 and no reason to draw another graph.
    seen: BTreeMap<String, u64>,
    names: Names,
    odd: Odd,
}

impl Daemon for Perlbal {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let (mut link, uptime) = self.reach()?;
        let mut said = Said { uptime, ..Said::default() };
        let needed = |link: &Link, reply: Option<String>, what: &str| {
            reply.ok_or_else(|| link.failed(format!("it refuses {what:?}; {REMEDY}")))
        };
        for (command, to) in [
            ("proc", &mut said.proc),
            ("queues", &mut said.queues),
            ("states", &mut said.states),
            ("nodes", &mut said.nodes),
        ] {
            let reply = say(&mut link, command)?;
            *to = needed(&link, reply, command)?;
        }
        // Not with every Perlbal: fd needs a module of Perl's.
        said.backends = say(&mut link, "backends")?;
        said.fd = say(&mut link, "fd")?;
        self.odd.begin();
        said.odd_lines().for_each(|line| self.odd.left_out(line));
        said.write(&mut self.seen, &mut self.names, sheet);
        self.odd.write("perlbal", CATEGORY, sheet);
        self.link = Some(link);
        Ok(())
    }
}

impl Perlbal {
    /// The connection of last time, or one to the first place where a Perlbal
    /// answers; its uptime.
    fn reach(&mut self) -> Result<(Link, String), ProbeError> {
        let mut why = None;
        for address in &self.place.addresses {
            let place = Place { addresses: vec![address.clone()], ..self.place.clone() };
            let said = Link::again(&mut self.link, &place).and_then(|mut link| {
                match say(&mut link, "uptime") {
                    Ok(Some(text)) if value(&text, "uptime").is_some() => Ok((link, text)),
                    Ok(_) => Err(link.failed(REMEDY)),
                    Err(e) => Err(e),
                }
            });
            match said {
                Ok(found) => return Ok(found),
                // Whoever else has this port is no business of ours.
                Err(e) if !self.place.given => {
                    why = why.or(Some(ProbeError::NotHere(match e {
                        ProbeError::NotHere(text) | ProbeError::Failed(text) => text,
                    })));
                }
                Err(e) => why = why.or(Some(e)),
            }
        }
        Err(why.unwrap_or_else(|| ProbeError::NotHere("perlbal: no address".to_owned())))
    }
}

/// What it answers, without the dot at the end; `None`: an error.
fn say(link: &mut Link, command: &str) -> Result<Option<String>, ProbeError> {
    link.send(format!("{command}\r\n").as_bytes())?;
    let reply = String::from_utf8_lossy(&link.read_until(end)?).into_owned();
    Ok(reply.strip_suffix(".\r\n").map(str::to_owned))
}

/// Where a reply ends: with a line of a dot, or with the line of an error.
fn end(text: &[u8]) -> Option<usize> {
    if text.starts_with(b"ERROR") {
        return text.iter().position(|b| *b == b'\n').map(|at| at + 1);
    }
    if text.starts_with(b".\r\n") {
        return Some(3);
    }
    text.windows(5).position(|w| w == b"\r\n.\r\n").map(|at| at + 5)
}

/// The number behind a word.
fn value(text: &str, name: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()?.trim_end_matches(':') == name).then(|| number(words.next()?.as_bytes()))?
    })
}

/// All that it said.
#[derive(Default)]
struct Said {
    uptime: String,
    proc: String,
    queues: String,
    states: String,
    nodes: String,
    backends: Option<String>,
    fd: Option<String>,
}

/// A service's queues.
#[derive(Default)]
struct Queue {
    counts: BTreeMap<String, u64>,
    age: Option<u64>,
}

/// Of a node behind it.
#[derive(Default)]
struct Node {
    counts: BTreeMap<String, u64>,
    /// Of its last 500 responses, by hundreds of the status.
    codes: [u64; 10],
}

/// Service, queue, figure and number of a line such as `web-normal.count 8`.
fn queue(line: &str) -> Option<(&str, &str, &str, u64)> {
    let (name, count) = line.split_once(' ')?;
    let (name, what) = name.rsplit_once('.')?;
    let (service, queue) = name.rsplit_once('-')?;
    Some((service, queue, what, number(count.trim().as_bytes())?))
}

/// Lines such as `web-normal.count 8`, in the order of the names: Perlbal's own
/// is another one each time.
fn queues(text: &str) -> BTreeMap<&str, Queue> {
    let mut all: BTreeMap<&str, Queue> = BTreeMap::new();
    for (service, queue, what, count) in text.lines().filter_map(queue) {
        let of = all.entry(service).or_default();
        match what {
            "count" => drop(of.counts.insert(queue.to_owned(), count)),
            "age" => of.age = of.age.max(Some(count)),
            _ => {}
        }
    }
    all
}

/// Lines such as `10.0.0.1:80 attempts 844`.
fn nodes(text: &str) -> BTreeMap<&str, Node> {
    let mut all: BTreeMap<&str, Node> = BTreeMap::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words.as_slice() {
            [node, "responsecodes", code, count] => {
                let hundred = number(code.as_bytes()).map_or(0, |code| code / 100);
                let codes = &mut all.entry(node).or_default().codes;
                let at = usize::try_from(hundred).ok().and_then(|at| codes.get_mut(at));
                if let (Some(sum), Some(n)) = (at, number(count.as_bytes())) {
                    *sum = sum.saturating_add(n);
                }
            }
            [node, what, count] => {
                if let Some(count) = number(count.as_bytes()) {
                    all.entry(node).or_default().counts.insert(what.to_owned(), count);
                }
            }
            _ => {}
        }
    }
    all
}

/// The explanation of a graph that may be cut short.
fn cut(info: &str, of: usize) -> String {
    match of {
        of if of > FIELDS_MAX => format!("{info} Only the first {FIELDS_MAX} of {of} are shown."),
        _ => info.to_owned(),
    }
}

impl Said {
    /// Lines of the queues and the nodes that are left out.
    fn odd_lines(&self) -> impl Iterator<Item = &str> {
        let is_node = |line: &&str| match *line.split_whitespace().collect::<Vec<_>>() {
            [_, "responsecodes", code, count] => {
                number(code.as_bytes()).and(number(count.as_bytes())).is_some()
            }
            [_, _, count] => number(count.as_bytes()).is_some(),
            _ => false,
        };
        let queues = self.queues.lines().filter(|l| !l.trim().is_empty() && queue(l).is_none());
        queues.chain(self.nodes.lines().filter(move |l| !l.trim().is_empty() && !is_node(l)))
    }

    fn write(&self, seen: &mut BTreeMap<String, u64>, names: &mut Names, sheet: &mut Sheet<'_>) {
        self.write_queues(names, sheet);
        self.write_process(sheet);
        self.write_states(seen, names, sheet);
        self.write_nodes(names, sheet);
    }

    fn write_queues(&self, names: &mut Names, sheet: &mut Sheet<'_>) {
        let all = queues(&self.queues);
        let fields = names.fields("queues", all.keys().copied());
        let list = || fields.iter().zip(&all).take(FIELDS_MAX);
        let mut service = sheet.service("perlbal_queue", |n| {
            ServiceSpec::new(n, "Perlbal queue", CATEGORY)
                .vlabel("requests")
                .args("-l 0")
                .unscaled()
                .info(&cut(
                    "Requests that wait for a backend, for each service, of all priorities. A \
                     line above zero for long means too few backends, or slow ones.",
                    all.len(),
                ))
        });
        for (field, (name, queue)) in list() {
            let sum = queue.counts.values().copied().reduce(u64::saturating_add);
            service.optional(&field.name, sum, |n| {
                let spec = FieldSpec::gauge(n, name).draw(Draw::AreaStack).limits("0", "");
                field.announce(spec.info("Requests that wait now"))
            });
        }
        let mut service = sheet.service("perlbal_queue_age", |n| {
            ServiceSpec::new(n, "Perlbal waiting time", CATEGORY)
                .vlabel("seconds")
                .args("-l 0")
                .unscaled()
                .info(&cut(
                    "For how long the request that came first has waited for a backend, for \
                     each service.",
                    all.len(),
                ))
        });
        for (field, (name, queue)) in list() {
            service.optional(&field.name, queue.age, |n| {
                let spec = FieldSpec::gauge(n, name).limits("5", "30");
                field.announce(spec.info("Seconds, in whole ones"))
            });
        }
        for (field, (name, queue)) in list() {
            let mut service = sheet.service(&format!("perlbal_queue.{}", field.name), |n| {
                let old = field.old.as_deref().map(|old| format!("perlbal_queue.{old}"));
                ServiceSpec::new(n, &format!("Perlbal queue: {name}"), CATEGORY)
                    .vlabel("requests")
                    .args("-l 0")
                    .unscaled()
                    .info("Requests that wait for a backend, by priority.")
                    .formerly(old.as_deref())
            });
            for kind in ["highpri", "normal", "lowpri"] {
                service.field(kind, queue.counts.get(kind).copied(), |n| {
                    FieldSpec::gauge(n, n).draw(Draw::AreaStack).info("Requests that wait now")
                });
            }
        }
    }

    fn write_process(&self, sheet: &mut Sheet<'_>) {
        sheet
            .service("perlbal_requests", |n| {
                ServiceSpec::new(n, "Perlbal requests", CATEGORY)
                    .vlabel("requests per ${graph_period}")
                    .args("-l 0 --base 1000")
                    .info("Requests of clients, of all services.")
            })
            .field("reqs", value(&self.proc, "reqs"), |n| {
                FieldSpec::derive(n, "requests").draw(Draw::Area).info("Requests of clients")
            });
        let seconds = |name: &str| {
            let line = self.proc.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(": "))?;
            decimal(line.split(' ').next()?.as_bytes())
        };
        if let (Some(user), Some(system)) = (seconds("utime"), seconds("stime")) {
            sheet
                .service("perlbal_cpu", |n| {
                    ServiceSpec::new(n, "Perlbal processor time", CATEGORY)
                        .vlabel("% of one processor")
                        .args("-l 0")
                        .unscaled()
                        .info(
                            "Perlbal runs on one processor: near 100 it is the bottleneck, and \
                             another Perlbal beside it is needed.",
                        )
                })
                .field("utime", Some(user * 100.0), |n| {
                    FieldSpec::derive(n, "user").draw(Draw::Area).info("In Perlbal itself")
                })
                .field("stime", Some(system * 100.0), |n| {
                    FieldSpec::derive(n, "system").draw(Draw::Stack).info("In the kernel, for it")
                });
        }
        let days = value(&self.uptime, "uptime").map(|s| s as f64 / 86_400.0);
        sheet
            .service("perlbal_uptime", |n| {
                ServiceSpec::new(n, "Perlbal uptime", CATEGORY)
                    .vlabel("days")
                    .args("-l 0")
                    .unscaled()
                    .info("Time since Perlbal was started.")
            })
            .field("uptime", days, |n| {
                FieldSpec::gauge(n, "uptime").draw(Draw::Area).info("Days since its start")
            });
        let Some((cur, max)) =
            self.fd.as_ref().and_then(|fd| Some((value(fd, "cur")?, value(fd, "max")?)))
        else {
            return;
        };
        sheet.note(&max.to_string());
        sheet
            .service("perlbal_fd", |n| {
                ServiceSpec::new(n, "Perlbal file descriptors", CATEGORY)
                    .vlabel("descriptors")
                    .args("-l 0")
                    .unscaled()
                    .info("Each connection takes one. At the limit no more can be taken in.")
            })
            .field("cur", Some(cur), |n| {
                let percent = |p: u64| (max.saturating_mul(p) / 100).to_string();
                let spec = FieldSpec::gauge(n, "in use").draw(Draw::Area);
                match max {
                    0 => spec.info("Descriptors now; there is no limit"),
                    _ => spec
                        .limits(&percent(80), &percent(95))
                        .info(&format!("Descriptors now, of at most {max}")),
                }
            })
            .field("max", Some(max), |n| {
                // Drawn, it would press all else to the ground.
                FieldSpec::gauge(n, "limit")
                    .hidden()
                    .info("As many as there may be (max_connections)")
            });
    }

    /// Lines such as `Perlbal::BackendHTTP bored 2`.
    fn write_states(
        &self,
        seen: &mut BTreeMap<String, u64>,
        names: &mut Names,
        sheet: &mut Sheet<'_>,
    ) {
        seen.values_mut().for_each(|count| *count = 0);
        for line in self.states.lines() {
            let Some((name, count)) = line.rsplit_once(' ') else { continue };
            let name = name.trim_start_matches("Perlbal::");
            let Some(count) = number(count.as_bytes()).filter(|_| name.contains(' ')) else {
                continue;
            };
            if let Some(last) = seen.get_mut(name) {
                *last = count;
            } else if seen.len() < FIELDS_MAX {
                seen.insert(name.to_owned(), count);
            }
        }
        for (class, title, service_name, info) in [
            (
                "BackendHTTP",
                "Perlbal backend connections",
                "perlbal_backend_states",
                "Connections to backends: \"bored\" ones wait for a request, \"connecting\" and \
                 \"verifying_backend\" ones are not ready yet.",
            ),
            (
                "",
                "Perlbal client connections",
                "perlbal_client_states",
                "Connections of clients, by what each does: \"wait_backend\" ones wait in the \
                 queue, \"persist_wait\" ones are kept for a next request.",
            ),
        ] {
            let of_class = |name: &&String| {
                name.starts_with("BackendHTTP ") != class.is_empty()
                    && !name.starts_with("ClientManage")
            };
            let list: Vec<(&String, &u64)> =
                seen.iter().filter(|(name, _)| of_class(name)).collect();
            let label = |name: &'_ String| name.trim_start_matches("BackendHTTP ").to_owned();
            let labels: Vec<String> = list.iter().map(|(name, _)| label(name)).collect();
            let fields = names.fields(service_name, labels.iter().map(String::as_str));
            let mut service = sheet.service(service_name, |n| {
                ServiceSpec::new(n, title, CATEGORY)
                    .vlabel("connections")
                    .args("-l 0")
                    .unscaled()
                    .info(info)
            });
            for ((field, label), (_, count)) in fields.iter().zip(&labels).zip(&list) {
                service.field(&field.name, Some(**count), |n| {
                    let spec = FieldSpec::gauge(n, label).draw(Draw::AreaStack);
                    field.announce(spec.info("Connections now"))
                });
            }
        }
    }

    fn write_nodes(&self, names: &mut Names, sheet: &mut Sheet<'_>) {
        let all = nodes(&self.nodes);
        // Field names begin with no digit: 10.0.0.1 is _10_0_0_1.
        let raws: Vec<String> = all.keys().map(|name| format!("_{name}")).collect();
        let fields: Vec<StableName> = names.fields("nodes", raws.iter().map(String::as_str));
        let list = || fields.iter().zip(&all).take(FIELDS_MAX);
        let mut service = sheet.service("perlbal_nodes", |n| {
            ServiceSpec::new(n, "Perlbal requests by backend", CATEGORY)
                .vlabel("requests per ${graph_period}")
                .args("-l 0 --base 1000")
                .info(&cut("Requests that each backend was given.", all.len()))
        });
        for (field, (name, node)) in list() {
            service.field(&field.name, node.counts.get("requests").copied(), |n| {
                let spec = FieldSpec::derive(n, name).draw(Draw::AreaStack);
                field.announce(spec.info("Requests to it"))
            });
        }
        if let Some(text) = &self.backends {
            let mut service = sheet.service("perlbal_backends", |n| {
                ServiceSpec::new(n, "Perlbal connections by backend", CATEGORY)
                    .vlabel("connections")
                    .args("-l 0")
                    .unscaled()
                    .info(&cut("Open connections to each backend.", all.len()))
            });
            for (field, (name, _)) in list() {
                // Those without any are left out.
                service.field(&field.name, Some(value(text, name).unwrap_or(0)), |n| {
                    let spec = FieldSpec::gauge(n, name).draw(Draw::AreaStack);
                    field.announce(spec.info("Connections now"))
                });
            }
        }
        let mut service = sheet.service("perlbal_errors", |n| {
            ServiceSpec::new(n, "Perlbal errors by backend", CATEGORY)
                .vlabel("of the last 500 responses")
                .args("-l 0")
                .unscaled()
                .info(&cut(
                    "How many of each backend's last 500 responses were failures (status 5xx).",
                    all.len(),
                ))
        });
        for (field, (name, node)) in list() {
            service.field(&field.name, Some(node.codes[5]), |n| {
                let info = "Responses of status 5xx among the last 500";
                field.announce(FieldSpec::gauge(n, name).info(info))
            });
        }
        for (field, (name, node)) in list() {
            let of = |what: &str| node.counts.get(what).copied();
            sheet
                .service(&format!("perlbal_nodes.{}", field.name), |n| {
                    let old = field.old.as_deref().map(|old| format!("perlbal_nodes.{old}"));
                    ServiceSpec::new(n, &format!("Perlbal backend {name}"), CATEGORY)
                        .vlabel("per ${graph_period}")
                        .args("-l 0 --base 1000")
                        .info(
                            "Attempts to connect that did not become connections mean that the \
                             backend is down, or has no room.",
                        )
                        .formerly(old.as_deref())
                })
                .field("requests", of("requests"), |n| {
                    FieldSpec::derive(n, "requests").draw(Draw::Area).info("Requests to it")
                })
                .field("attempts", of("attempts"), |n| {
                    FieldSpec::derive(n, "attempts").info("Connections that were tried")
                })
                .field("connects", of("connects"), |n| {
                    FieldSpec::derive(n, "connections").info("Connections that came about")
                });
        }
    }
}

#[cfg(test)]
mod tests;
