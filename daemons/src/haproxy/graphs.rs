//! HAProxy's graphs: one for each question with a field for each backend (or
//! frontend), and nested in it one for each backend with its servers.

use super::CATEGORY;
use super::columns::{
    BIN, BOUT, Column, DREQ, ECON, EREQ, ERESP, QCUR, QMAX, REQ_TOT, RESPONSES, RETRIES, RTIME,
    SCUR, SMAX, STOT,
};
use super::csv::{Proxy, Row, Server, Table};
use crate::support::{Sheet, StableName, number};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

/// The most fields of a graph: more are no picture any longer.
const FIELDS_MAX: usize = 200;
/// The most servers that have graphs of their own, over all backends.
const SERVERS_MAX: usize = 2_000;

/// The process itself, from `show info`.
pub fn write_process(info: &str, sheet: &mut Sheet<'_>) {
    let text = |name: &str| {
        info.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    };
    let of = |name: &str| text(name).and_then(|text| number(text.as_bytes()));
    let version = text("Version").unwrap_or("of unknown version");
    let product = text("Name").unwrap_or("HAProxy");
    sheet.note(product);
    sheet.note(version);
    let limit = of("Maxconn").unwrap_or(0);
    sheet.note(&limit.to_string());
    sheet
        .service("haproxy_connections", |n| {
            ServiceSpec::new(n, "HAProxy connections", CATEGORY)
                .vlabel("connections")
                .args("-l 0")
                .unscaled()
                .info(&format!(
                    "{product} {version}. Open connections of the whole process. At the limit \
                     (maxconn in \"global\") new clients are not taken in."
                ))
        })
        .optional("CurrConns", of("CurrConns"), |n| {
            let field = FieldSpec::gauge(n, "open").draw(Draw::Area).info("Connections now");
            match limit {
                0 => field,
                limit => field
                    .info(&format!("Connections now, of at most {limit}"))
                    .limits(&percent(limit, 80), &percent(limit, 98)),
            }
        })
        .field("Maxconn", of("Maxconn"), |n| {
            // Drawn, it would press all else to the ground.
            FieldSpec::gauge(n, "limit").hidden().info("Connections that it takes (maxconn)")
        });
    sheet
        .service("haproxy_load", |n| {
            ServiceSpec::new(n, "HAProxy idle time", CATEGORY)
                .vlabel("% of the time")
                .args("-l 0 -u 100")
                .unscaled()
                .info(
                    "How much of the time HAProxy had nothing to do. Near 0 it is short of \
                     processor time, and all that it serves gets slow.",
                )
        })
        .optional("Idle_pct", of("Idle_pct"), |n| {
            FieldSpec::gauge(n, "idle")
                .draw(Draw::Area)
                .limits("20:", "5:")
                .info("Idle time of the last second, in percent")
        });
    sheet
        .service("haproxy_uptime", |n| {
            ServiceSpec::new(n, "HAProxy uptime", CATEGORY)
                .vlabel("days")
                .args("-l 0")
                .unscaled()
                .info("Time since this process was started. A reload starts a new one.")
        })
        .field("uptime", of("Uptime_sec").map(|s| s as f64 / 86_400.0), |n| {
            FieldSpec::gauge(n, "uptime").draw(Draw::Area).info("Days since its start")
        });
}

/// A share of a limit, as a limit of its own: small ones (`maxconn 5`) too.
fn percent(limit: u64, share: u64) -> String {
    (limit.saturating_mul(share) / 100).to_string()
}

/// All proxies.
pub fn write(table: &Table<'_>, sheet: &mut Sheet<'_>) {
    let fronts: Vec<&Proxy<'_>> = table.proxies.iter().filter(|p| p.front.is_some()).collect();
    // A backend without servers is a statistics page, or refuses or redirects.
    let backs: Vec<&Proxy<'_>> =
        table.proxies.iter().filter(|p| p.back.is_some() && !p.servers.is_empty()).collect();
    write_backends(table, &backs, sheet);
    write_frontends(table, &fronts, sheet);
    let mut left = SERVERS_MAX;
    for proxy in backs.iter().take(FIELDS_MAX) {
        let Some(rest) = left.checked_sub(proxy.servers.len().min(FIELDS_MAX)) else { break };
        left = rest;
        write_backend(table, proxy, sheet);
    }
}

fn write_backends(table: &Table<'_>, backs: &[&Proxy<'_>], sheet: &mut Sheet<'_>) {
    let all = of_backs(backs);
    let list = shown(backs, 1);
    let mut service = sheet.service("haproxy_queue", |n| {
        ServiceSpec::new(n, "HAProxy queue", CATEGORY)
            .vlabel("requests")
            .args("-l 0")
            .unscaled()
            .info(&cut(
                "Requests that wait because every server of the backend serves as many as it \
                 may (maxconn): those that any server may take, and those bound to one server. \
                 A line above zero for long means too few servers, or slow ones.",
                backs.len(),
                1,
            ))
    });
    for proxy in list {
        let waiting = waiting(table, proxy);
        service.optional(&format!("{}_qcur", proxy.field.name), waiting, |n| {
            let spec = FieldSpec::gauge(n, &proxy.name).draw(Draw::AreaStack).limits("0", "");
            formerly(spec.info("Requests that wait now"), proxy.field.old.as_deref(), "qcur")
        });
    }
    write_active(table, backs, sheet);
    columns(table, sheet, "haproxy_sessions", &all, &[SCUR], |n| {
        ServiceSpec::new(n, "HAProxy sessions", CATEGORY)
            .vlabel("sessions")
            .args("-l 0")
            .unscaled()
            .info("Requests or connections that each backend serves or keeps waiting now.")
    });
    columns(table, sheet, "haproxy_rates", &all, &[STOT], |n| {
        ServiceSpec::new(n, "HAProxy session rate", CATEGORY)
            .vlabel("sessions per ${graph_period}")
            .args("-l 0 --base 1000")
            .info("Requests (or connections, in TCP mode) that were given to each backend.")
    });
    columns(table, sheet, "haproxy_errors", &all, &[ECON, ERESP], |n| {
        ServiceSpec::new(n, "HAProxy backend errors", CATEGORY)
            .vlabel("errors per ${graph_period}")
            .args("-l 0 --base 1000")
            .info(
                "Requests that failed because a server could not be connected to, or broke off \
                 its response. Clients mostly see 503 and 502.",
            )
    });
    columns(table, sheet, "haproxy_times", &all, &[RTIME], |n| {
        ServiceSpec::new(n, "HAProxy response time", CATEGORY)
            .vlabel("milliseconds")
            .args("-l 0")
            .unscaled()
            .info(
                "How long servers take until they begin to answer: the mean of the last 1024 \
                 requests, so an idle backend keeps its last value.",
            )
    });
}

/// How many servers can take requests.
fn write_active(table: &Table<'_>, backs: &[&Proxy<'_>], sheet: &mut Sheet<'_>) {
    sheet.note(&backs.len().to_string());
    let mut service = sheet.service("haproxy_servers", |n| {
        ServiceSpec::new(n, "HAProxy active servers", CATEGORY)
            .vlabel("servers")
            .args("-l 0")
            .unscaled()
            .info(&cut(
                "Servers of each backend that are up. None: its clients get errors (503), \
                 unless a backup stands in. Below this, a graph for each backend tells which \
                 servers are up (for 2000 servers at most).",
                backs.len(),
                2,
            ))
    });
    for proxy in shown(backs, 2) {
        let of = |column: &str| proxy.back.as_ref().and_then(|row| table.number(row, column));
        // A backup that is down still counts as one that is meant to stand in.
        let backed = proxy.servers.iter().any(|s| table.number(&s.row, "bck") == Some(1));
        // One that has nothing but backups lives on them as it should.
        let backups_alone = proxy.servers.iter().all(|s| table.number(&s.row, "bck") == Some(1));
        let act = of("act");
        let old = proxy.field.old.as_deref();
        service.optional(&format!("{}_act", proxy.field.name), act, |n| {
            let limits = match (backups_alone, backed) {
                (true, _) => ("", ""),
                (false, true) => ("1:", ""),
                (false, false) => ("", "1:"),
            };
            let spec = FieldSpec::gauge(n, &proxy.name).limits(limits.0, limits.1);
            formerly(spec.info("Servers that are up, backups left out"), old, "act")
        });
        if backed {
            let usable = act.zip(of("bck")).map(|(act, bck)| act.saturating_add(bck));
            service.optional(&format!("{}_usable", proxy.field.name), usable, |n| {
                let spec = FieldSpec::gauge(n, &format!("{} with backups", proxy.name));
                let spec = spec.limits("", "1:").info("Servers that are up, backups among them");
                formerly(spec, old, "usable")
            });
        }
    }
}

fn write_frontends(table: &Table<'_>, fronts: &[&Proxy<'_>], sheet: &mut Sheet<'_>) {
    let all: Vec<Item<'_>> = fronts
        .iter()
        .filter_map(|p| Some(Item::new(&p.field, &p.name, p.front.as_ref()?)))
        .collect();
    columns(table, sheet, "haproxy_frontends", &all, &[SCUR], |n| {
        ServiceSpec::new(n, "HAProxy frontend sessions", CATEGORY)
            .vlabel("sessions")
            .args("-l 0")
            .unscaled()
            .info("Sessions of clients, by the frontend that took them in.")
    });
    for front in shown(&all, 1) {
        write_frontend(table, front, sheet);
    }
    columns(table, sheet, "haproxy_requests", &all, &[REQ_TOT], |n| {
        ServiceSpec::new(n, "HAProxy requests", CATEGORY)
            .vlabel("requests per ${graph_period}")
            .args("-l 0 --base 1000")
            .info("HTTP requests of clients, by frontend.")
    });
    columns(table, sheet, "haproxy_frontend_errors", &all, &[EREQ, DREQ], |n| {
        ServiceSpec::new(n, "HAProxy frontend errors", CATEGORY)
            .vlabel("requests per ${graph_period}")
            .args("-l 0 --base 1000")
            .info("Requests that went no further: broken ones, and those that a rule denies.")
    });
    columns(table, sheet, "haproxy_bandwidth", &all, &[BIN, BOUT], |n| {
        ServiceSpec::new(n, "HAProxy traffic", CATEGORY)
            .vlabel("bytes in (-) / out (+) per ${graph_period}")
            .args("--base 1024")
            .info("What goes to and from clients, by frontend.")
    });
    let mut service = sheet.service("haproxy_responses", |n| {
        ServiceSpec::new(n, "HAProxy responses", CATEGORY)
            .vlabel("responses per ${graph_period}")
            .args("-l 0 --base 1000")
            .info("HTTP responses of all frontends, by status.")
    });
    for (name, label, info) in RESPONSES {
        if !table.has(name) {
            continue;
        }
        let numbers = all.iter().filter_map(|item| table.number(item.row, name));
        let sum = numbers.reduce(u64::saturating_add);
        service.field(name, sum, |n| FieldSpec::derive(n, label).draw(Draw::AreaStack).info(info));
    }
}

/// How near a frontend is to its limit.
fn write_frontend(table: &Table<'_>, front: &Item<'_>, sheet: &mut Sheet<'_>) {
    let of = |column: &str| table.number(front.row, column);
    let limit = of("slim").filter(|limit| *limit > 0);
    // The limits of the first field follow it.
    sheet.note(&limit.unwrap_or(0).to_string());
    sheet
        .service(&format!("haproxy_frontends.{}", front.field), |n| {
            let title = format!("HAProxy frontend sessions: {}", front.label);
            nested(ServiceSpec::new(n, &title, CATEGORY), front.old)
                .vlabel("sessions")
                .args("-l 0")
                .unscaled()
                .info(
                    "Sessions of clients. At the limit (maxconn of the frontend) new clients \
                     have to wait until another one leaves.",
                )
        })
        .field("scur", of("scur"), |n| {
            let field = FieldSpec::gauge(n, "sessions").draw(Draw::Area).info("Sessions now");
            match limit {
                None => field,
                Some(n) => field
                    .info(&format!("Sessions now, of at most {n}"))
                    .limits(&percent(n, 80), &percent(n, 98)),
            }
        })
        .field("smax", of("smax"), |n| {
            FieldSpec::gauge(n, "most").info("The most at once since HAProxy's start")
        })
        .field("slim", limit, |n| {
            FieldSpec::gauge(n, "limit").hidden().info("Sessions that it takes")
        });
}

/// The graphs of one backend.
fn write_backend(table: &Table<'_>, proxy: &Proxy<'_>, sheet: &mut Sheet<'_>) {
    let Some(back) = &proxy.back else { return };
    let (be, name) = (&proxy.field.name, &proxy.name);
    let own = Item { field: "backend", old: None, label: name, row: back };
    let servers: Vec<Item<'_>> = proxy.servers.iter().map(Item::server).collect();
    let with_own: Vec<Item<'_>> = [own].into_iter().chain(servers.iter().copied()).collect();
    let spec = |n: &str, title: &str, vlabel: &str| {
        let spec = ServiceSpec::new(n, &format!("HAProxy {title}: {name}"), CATEGORY);
        nested(spec, proxy.field.old.as_deref()).vlabel(vlabel).args("-l 0").unscaled()
    };
    let mut service = sheet.service(&format!("haproxy_servers.{be}"), |n| {
        spec(n, "servers", "1 up, 0.5 set aside, 0 down").info(&cut(
            "Which servers take requests: 1 up (or not checked), 0.5 set aside by its \
             administrator (maintenance, drained) or by itself, or a place of a server-template \
             that no address has taken while others have; 0 down (or its name is not resolved).",
            servers.len(),
            1,
        ))
    });
    for server in shown(&servers, 1) {
        let up = match state(table.text(server.row, "status")) {
            Some(0.0) if is_free_place(table, server, &servers) => Some(0.5),
            up => up,
        };
        // A word of another version is left out, not unknown.
        service.optional(&format!("{}_up", server.field), up, |n| {
            let spec = FieldSpec::gauge(n, server.label).limits("0.5:", "").info("1 up, 0 down");
            formerly(spec, server.old, "up")
        });
    }
    columns(table, sheet, &format!("haproxy_queue.{be}"), &with_own, &[QCUR, QMAX], |n| {
        spec(n, "queue", "requests").info(
            "Requests that wait. The line of the backend: for any server. Those of the \
             servers: for just this one, as a cookie or a hash demands it. The longest is that \
             since HAProxy's start.",
        )
    });
    columns(table, sheet, &format!("haproxy_sessions.{be}"), &servers, &[SCUR, SMAX], |n| {
        spec(n, "sessions", "sessions").info(
            "Requests or connections that each server serves, and the most since HAProxy's start.",
        )
    });
    columns(table, sheet, &format!("haproxy_rates.{be}"), &servers, &[STOT], |n| {
        spec(n, "session rate", "sessions per ${graph_period}")
            .info("Requests or connections that each server was given.")
    });
    columns(table, sheet, &format!("haproxy_times.{be}"), &servers, &[RTIME], |n| {
        spec(n, "response time", "milliseconds").info(
            "How long each server takes until it begins to answer: the mean of its last 1024 \
             requests.",
        )
    });
    if table.has("qtime") {
        let mut service = sheet.service(&format!("haproxy_phases.{be}"), |n| {
            spec(n, "time by phase", "milliseconds").info(
                "Where a request spends its time: in the queue, connecting, waiting for the \
                 answer to begin. Means of the last 1024 requests.",
            )
        });
        for (column, label, draw) in [
            ("qtime", "queue", Draw::Area),
            ("ctime", "connect", Draw::Stack),
            ("rtime", "response", Draw::Stack),
            ("ttime", "whole session", Draw::Line1),
        ] {
            service.field(column, table.number(back, column), |n| {
                FieldSpec::gauge(n, label).draw(draw).info("Mean, in milliseconds")
            });
        }
    }
    columns(table, sheet, &format!("haproxy_errors.{be}"), &servers, &[ECON, ERESP], |n| {
        spec(n, "server errors", "errors per ${graph_period}")
            .info("Failed connections to each server, and responses that it broke off.")
    });
    let mut service = sheet.service(&format!("haproxy_retries.{be}"), |n| {
        spec(n, "retries and aborts", "per ${graph_period}")
            .info("What did not go as planned in this backend, though most clients get an answer.")
    });
    for (column, label, info) in RETRIES.iter().filter(|r| table.has(r.0)) {
        service
            .field(column, table.number(back, column), |n| FieldSpec::derive(n, label).info(info));
    }
    let mut service = sheet.service(&format!("haproxy_responses.{be}"), |n| {
        spec(n, "responses", "responses per ${graph_period}")
            .info("HTTP responses of this backend, by status.")
    });
    for (column, label, info) in RESPONSES.iter().filter(|r| table.has(r.0)) {
        service.field(column, table.number(back, column), |n| {
            FieldSpec::derive(n, label).draw(Draw::AreaStack).info(info)
        });
    }
}

/// A row that is drawn.
#[derive(Clone, Copy)]
struct Item<'a> {
    field: &'a str,
    /// What the field was called by order of appearance, if otherwise.
    old: Option<&'a str>,
    label: &'a str,
    row: &'a Row<'a>,
}

impl<'a> Item<'a> {
    fn new(field: &'a StableName, label: &'a str, row: &'a Row<'a>) -> Item<'a> {
        Item { field: &field.name, old: field.old.as_deref(), label, row }
    }

    fn server(server: &'a Server<'a>) -> Item<'a> {
        Item::new(&server.field, &server.row[1], &server.row)
    }
}

/// A field `NAME_END` that was called `OLD_END`.
fn formerly(spec: FieldSpec, old: Option<&str>, end: &str) -> FieldSpec {
    spec.formerly(old.map(|old| format!("{old}_{end}")).as_deref())
}

/// A service `ROOT.NAME` that was called `ROOT.OLD`.
fn nested(spec: ServiceSpec, old: Option<&str>) -> ServiceSpec {
    let root = spec.name.split('.').next().unwrap_or_default();
    let old = old.map(|old| format!("{root}.{old}"));
    spec.formerly(old.as_deref())
}

fn of_backs<'a>(backs: &'a [&Proxy<'a>]) -> Vec<Item<'a>> {
    let item = |p: &'a &Proxy<'a>| Some(Item::new(&p.field, &p.name, p.back.as_ref()?));
    backs.iter().filter_map(item).collect()
}

/// All of it that has a place in a graph with so many fields of each.
fn shown<T>(list: &[T], each: usize) -> &[T] {
    &list[..list.len().min(FIELDS_MAX / each)]
}

/// The explanation of such a graph, which says what is left out.
fn cut(info: &str, of: usize, each: usize) -> String {
    match of.min(FIELDS_MAX / each) {
        n if n < of => format!("{info} Only the first {n} of {of} are shown."),
        _ => info.to_owned(),
    }
}

/// A graph with these columns of these rows; those that this version does not
/// have are left out.
fn columns(
    table: &Table<'_>,
    sheet: &mut Sheet<'_>,
    name: &str,
    list: &[Item<'_>],
    columns: &[Column],
    describe: impl FnOnce(&str) -> ServiceSpec,
) {
    let each = columns.len().max(1);
    let mut service = sheet.service(name, |n| {
        let spec = describe(n);
        let info = cut(&spec.info, list.len(), each);
        spec.info(&info)
    });
    for item in shown(list, each) {
        for column in columns.iter().filter(|c| table.has(c.name)) {
            let value = table.number(item.row, column.name);
            service.field(&format!("{}_{}", item.field, column.name), value, |n| {
                let label = match column.label {
                    "" => item.label.to_owned(),
                    label => format!("{}: {label}", item.label),
                };
                formerly((column.describe)(n, &label), item.old, column.name)
            });
        }
    }
}

/// All that wait in a backend, for any server or for one.
fn waiting(table: &Table<'_>, proxy: &Proxy<'_>) -> Option<u64> {
    let rows = proxy.servers.iter().map(|s| &s.row);
    let servers = rows.filter_map(|row| table.number(row, "qcur"));
    let own = table.number(proxy.back.as_ref()?, "qcur")?;
    Some(servers.fold(own, u64::saturating_add))
}

/// 1 up, 0.5 set aside, 0 down; `None` for a word of another version.
fn state(status: &str) -> Option<f64> {
    Some(match status {
        "no check" => 1.0,
        UNRESOLVED => 0.0,
        s if s.starts_with("UP") => 1.0,
        s if s.starts_with("DOWN") => 0.0,
        s if s.starts_with("MAINT") || s.starts_with("DRAIN") || s.starts_with("NOLB") => 0.5,
        _ => return None,
    })
}

/// The status of a server whose name has no address.
const UNRESOLVED: &str = "MAINT (resolution)";

/// Whether it is one of the places of a `server-template` (`web1` to `web9`)
/// that wait for an address while another one of them has one: then there are
/// fewer servers than places, which is how such a template is meant.
fn is_free_place(table: &Table<'_>, server: &Item<'_>, all: &[Item<'_>]) -> bool {
    let stem = |name: &str| {
        let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
        (stem.len() < name.len()).then(|| stem.to_owned())
    };
    let is_up = |item: &&Item<'_>| state(table.text(item.row, "status")) == Some(1.0);
    table.text(server.row, "status") == UNRESOLVED
        && stem(server.label).is_some_and(|own| {
            all.iter().filter(is_up).any(|other| stem(other.label).as_deref() == Some(&*own))
        })
}
