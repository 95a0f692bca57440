//! `/report/NAME`: all daemons of a kind in one table, an instance a row, with
//! their mean and all of them together; `/report/NAME.csv`: the same for scripts.

use super::layout::{node_path, page, service_path};
use super::visitor::{View, Visitor};
use super::words::{STALE_MS, ago, count};
use super::{Html, Page, PageError, make};
use crate::app::App;
use crate::error::WebError;
use crate::graph::{plain, si};
use axum::extract::{Path, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use rookery_collector::history::ServiceInfo;
use std::collections::BTreeMap;
use std::fmt::Write;

/// A report: of which daemons, and what of them.
struct Report {
    name: &'static str,
    title: &'static str,
    about: &'static str,
    /// The service whose `info` begins with the daemon's version.
    first: &'static str,
    columns: &'static [Column],
    /// The columns by which the total's share is worked out: its own, part, rest.
    share: Option<(usize, usize, usize)>,
}

/// A field as a column.
struct Column {
    name: &'static str,
    service: &'static str,
    field: &'static str,
    /// 1000 or 1024: scaled by it; 0: as it is.
    base: u32,
    /// Whether several make sense together.
    sums: bool,
}

const fn column(
    name: &'static str,
    service: &'static str,
    field: &'static str,
    base: u32,
) -> Column {
    Column { name, service, field, base, sums: base > 0 }
}

const REPORTS: [Report; 2] = [
    Report {
        name: "memcached",
        title: "memcached",
        about: "Each memcached as it was at its last reading; rates are per second.",
        first: "memcached_hits",
        columns: &[
            column("hit ratio, %", "memcached_hits", "hit_ratio", 0),
            column("hits", "memcached_rates", "memcache_cache_hits", 1000),
            column("misses", "memcached_rates", "memcache_cache_misses", 1000),
            column("gets", "memcached_rates", "memcache_cmd_get", 1000),
            column("sets", "memcached_rates", "memcache_cmd_set", 1000),
            column("evictions", "memcached_evictions", "evictions", 1000),
            column("connections", "memcached_connections", "curr_connections", 1000),
            column("items", "memcached_counters", "memcache_curr_items", 1000),
            column("bytes", "memcached_memory", "bytes", 1024),
            column("capacity", "memcached_memory", "limit_maxbytes", 1024),
        ],
        share: Some((0, 1, 2)),
    },
    Report {
        name: "redis",
        title: "Redis",
        about: "Each Redis as it was at its last reading; rates are per second.",
        first: "redis_per_sec",
        columns: &[
            column("hit ratio, %", "redis_key_ratio", "hitratio", 0),
            column("hits", "redis_keys_per_sec", "hits", 1000),
            column("misses", "redis_keys_per_sec", "misses", 1000),
            column("commands", "redis_per_sec", "requests", 1000),
            column("evictions", "redis_keys_per_sec", "evicted_keys", 1000),
            column("clients", "redis_connected_clients", "connected_clients", 1000),
            column("bytes", "redis_used_memory", "used_memory", 1024),
            column("capacity", "redis_used_memory", "maxmemory", 1024),
        ],
        share: Some((0, 1, 2)),
    },
];

/// An instance: where it is, what it is, how it was.
struct Row {
    node: String,
    /// What stands behind the services' names; empty: the node's own.
    instance: String,
    version: String,
    values: Vec<Option<f64>>,
    seen_ms: Option<i64>,
}

/// The address of the report on a category's daemons, if there is one.
pub fn of_category(category: &str) -> Option<String> {
    REPORTS.iter().find(|r| r.name == category).map(|r| format!("/report/{}", r.name))
}

/// `GET /report/NAME` and `/report/NAME.csv`.
pub async fn report(
    State(app): State<App>,
    Path(name): Path<String>,
    visitor: Visitor,
) -> Result<Response, PageError> {
    let (name, is_csv) = match name.strip_suffix(".csv") {
        Some(name) => (name.to_owned(), true),
        None => (name, false),
    };
    let Some(report) = REPORTS.iter().find(|r| r.name == name) else {
        let known: Vec<&str> = REPORTS.iter().map(|r| r.name).collect();
        let text = format!("no report {name:?}; there are: {}", known.join(", "));
        return Err(PageError(WebError::not_found(text)));
    };
    if is_csv {
        let text = app.blocking(move |app| Ok(csv(report, &rows(app, report)))).await;
        let kind = [(header::CONTENT_TYPE, "text/csv; charset=utf-8")];
        return Ok((kind, text.map_err(PageError)?).into_response());
    }
    let page: Page = make(&app, visitor, move |view| Ok(table(view, report))).await;
    page.map(IntoResponse::into_response)
}

/// `GET /reports`: which there are.
pub async fn list(State(app): State<App>, visitor: Visitor) -> Page {
    make(&app, visitor, |view| {
        let known: Vec<(&Report, usize)> =
            REPORTS.iter().map(|r| (r, rows(view.app, r).len())).collect();
        let content = html! {
            h1 { "Reports" }
            p.soft { "All daemons of a kind in one table, an instance a row, as they are now; each "
                "is a CSV file, too." }
            @if known.iter().all(|(_, n)| *n == 0) {
                p { "No agent has found such a daemon yet. An agent finds memcached and Redis on "
                    "its own host by itself; " code { "rookery-agent list --available" }
                    " there tells what it sees, and why not." }
            }
            ul.hits { @for (report, n) in &known { li {
                a href={ "/report/" (report.name) } {
                    (report.title) " " span.soft { (count(*n, "instance")) ". " (report.about) }
                }
            } } }
        };
        Ok(page(view, "Reports", &[("Fleet", "/".to_owned())], content))
    })
    .await
}

/// All instances, the lowest share of hits first.
fn rows(app: &App, report: &Report) -> Vec<Row> {
    let mut rows = Vec::new();
    for node in app.history.nodes() {
        let has_any = |specs: Vec<(std::sync::Arc<rookery_plugins::ServiceSpec>, bool)>| {
            specs.iter().any(|(s, _)| s.name.starts_with(report.first))
        };
        if !app.history.specs(&node.name).is_ok_and(has_any) {
            continue;
        }
        let services = app.history.services(&node.name).unwrap_or_default();
        let by_name: BTreeMap<&str, &ServiceInfo> =
            services.iter().map(|s| (s.spec.name.as_str(), s)).collect();
        for s in &services {
            let instance = match s.spec.name.strip_prefix(report.first) {
                Some("") => String::new(),
                Some(rest) if rest.starts_with('.') => rest.to_owned(),
                _ => continue,
            };
            let mut seen_ms = None;
            let value = |c: &Column| {
                let info = by_name.get(format!("{}{instance}", c.service).as_str())?;
                let at = info.spec.fields.iter().position(|f| f.name == c.field)?;
                let now = info.now.get(at)?;
                seen_ms = seen_ms.max(now.time_ms);
                now.value
            };
            let values = report.columns.iter().map(value).collect();
            // "memcached 1.6.18. How many …"
            let version = s.spec.info.split(". ").next().unwrap_or("").to_owned();
            rows.push(Row { node: node.name.clone(), instance, version, values, seen_ms });
        }
    }
    rows.sort_by(|a, b| {
        let key = |r: &Row| r.values[0].unwrap_or(f64::INFINITY);
        key(a).total_cmp(&key(b)).then_with(|| a.node.cmp(&b.node))
    });
    rows
}

/// What all rows are together, and in the mean.
fn totals(report: &Report, rows: &[Row]) -> [Vec<Option<f64>>; 2] {
    let known = |i: usize| rows.iter().filter_map(move |r| r.values[i]);
    let sum = |i: usize| known(i).reduce(|a, b| a + b);
    let mut all: Vec<Option<f64>> = Vec::new();
    for (i, c) in report.columns.iter().enumerate() {
        all.push(if c.sums { sum(i) } else { None });
    }
    if let Some((own, part, rest)) = report.share {
        let (part, rest) = (sum(part).unwrap_or(0.0), sum(rest).unwrap_or(0.0));
        all[own] = (part + rest > 0.0).then(|| 100.0 * part / (part + rest));
    }
    let mean = |i| sum(i).map(|s| s / known(i).count() as f64);
    [all, (0..report.columns.len()).map(mean).collect()]
}

fn shown(c: &Column, value: Option<f64>) -> String {
    match (value, c.base) {
        (None, _) => "–".to_owned(),
        // Counts are whole.
        (Some(v), _) if v.fract() == 0.0 && v.abs() < 10_000.0 => format!("{v:.0}"),
        (Some(v), 0) => plain(v),
        (Some(v), base) => si(v, base),
    }
}

fn table(view: &View, report: &Report) -> Html {
    let rows = rows(view.app, report);
    let [all, mean] = totals(report, &rows);
    let numbers = |values: &[Option<f64>]| -> Markup {
        html! { @for (c, v) in report.columns.iter().zip(values) { td.n { (shown(c, *v)) } } }
    };
    let content = html! {
        h1 { (report.title) ": " (count(rows.len(), "instance")) }
        p.soft { (report.about) " The lowest share of hits comes first. "
            a href={ "/report/" (report.name) ".csv" } { "CSV" }
            @if !rows.is_empty() {
                " · " a href={ "/category/" (report.name) } { "all graphs" }
            } }
        @if rows.is_empty() {
            p { "No agent has found one yet: " code { "rookery-agent list --available" }
                " on a host says why." }
        } @else {
            table {
                thead { tr {
                    th { "node" } th { "version" }
                    @for c in report.columns { th.n { (c.name) } }
                } }
                tbody {
                    @for row in &rows { tr {
                        td {
                            a href=(node_path(&row.node)) { (row.node) }
                            @if !row.instance.is_empty() {
                                " " a href=(service_path(&row.node,
                                    &format!("{}{}", report.first, row.instance))) {
                                    (row.instance.trim_start_matches('.'))
                                }
                            }
                        }
                        td { (row.version)
                            @match row.seen_ms {
                                Some(t) if view.now_ms - t < STALE_MS => {}
                                Some(t) => span.soft { "heard " (ago(t, view.now_ms)) },
                                None => span.soft { "not heard since the collector's start" },
                            }
                        }
                        (numbers(&row.values))
                    } }
                }
                tfoot {
                    tr { th { "all together" } td {} (numbers(&all)) }
                    tr { th { "mean" } td {} (numbers(&mean)) }
                }
            }
        }
    };
    let crumbs = [("Fleet", "/".to_owned()), ("Reports", "/reports".to_owned())];
    page(view, &format!("{} report", report.title), &crumbs, content)
}

fn csv(report: &Report, rows: &[Row]) -> String {
    // Names may hold commas and quotes (RFC 4180), and none may begin a formula.
    let quoted = |text: &str| format!("\"{}\"", text.replace('"', "\"\""));
    let mut out = "node,instance,version".to_owned();
    for c in report.columns {
        let _ = write!(out, ",{}.{}", c.service, c.field);
    }
    for row in rows {
        let instance = row.instance.trim_start_matches('.');
        let _ =
            write!(out, "\r\n{},{},{}", quoted(&row.node), quoted(instance), quoted(&row.version));
        for value in &row.values {
            let _ = write!(out, ",{}", value.map(|v| v.to_string()).unwrap_or_default());
        }
    }
    out + "\r\n"
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(values: [Option<f64>; 10]) -> Row {
        let (node, version) = ("a,\"b".to_owned(), "memcached 1".to_owned());
        Row { node, instance: ".x".to_owned(), version, values: values.to_vec(), seen_ms: None }
    }

    #[test]
    fn the_share_of_all_is_not_the_mean_of_shares() {
        let mut one = [Some(0.0); 10];
        (one[0], one[1], one[2]) = (Some(90.0), Some(90.0), Some(10.0));
        let mut two = one;
        (two[0], two[1], two[2]) = (Some(50.0), Some(5.0), Some(5.0));
        let mut silent = one;
        silent[0] = None;
        silent[1] = None;
        silent[2] = None;
        let [all, mean] = totals(&REPORTS[0], &[row(one), row(two), row(silent)]);
        assert_eq!((all[0], mean[0]), (Some(100.0 * 95.0 / 110.0), Some(70.0)));
        assert_eq!((all[1], mean[1]), (Some(95.0), Some(47.5)));
        let [all, mean] = totals(&REPORTS[0], &[]);
        assert!(all.iter().chain(&mean).all(Option::is_none));
    }

    #[test]
    fn numbers_in_csv_are_exact_and_names_cannot_break_out() {
        let mut values = [None; 10];
        values[9] = Some(9_007_199_254_740_993.0);
        let text = csv(&REPORTS[0], &[row(values)]);
        let line = text.lines().nth(1).expect("a row");
        assert!(line.starts_with("\"a,\"\"b\",\"x\",\"memcached 1\",,"), "{line}");
        assert!(line.ends_with(",9007199254740992"), "{line}");
    }
}
