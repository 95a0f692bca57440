//! What pages say of times, ages and counts.

use crate::app::App;
use crate::times::span;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rookery_plugins::{HostState, ServiceSpec, State};

/// A node that has said nothing for this long is marked, ms.
pub const STALE_MS: i64 = 120_000;

/// `2026-11-20 14:03`, local.
pub fn local(ms: i64) -> String {
    let Ok(time) = Timestamp::from_millisecond(ms) else { return "?".to_owned() };
    time.to_zoned(TimeZone::system()).strftime("%Y-%m-%d %H:%M").to_string()
}

/// `5 min ago`.
pub fn ago(ms: i64, now_ms: i64) -> String {
    let age = now_ms.saturating_sub(ms);
    if age < 1000 { "just now".to_owned() } else { format!("{} ago", span(age)) }
}

/// `1 node`, `2 nodes`.
pub fn count(n: usize, what: &str) -> String {
    format!("{n} {what}{}", if n == 1 { "" } else { "s" })
}

/// How a node is, with its services.
pub struct Health {
    /// UP or DOWN.
    pub host: HostState,
    /// The worst of its services; CRITICAL when it is down.
    pub worst: State,
    /// Services that are not OK.
    pub n_bad: usize,
    /// All services.
    pub n_services: usize,
    /// Some that are there, best known first, for a small graph.
    pub shown: Option<String>,
}

/// What tells most of a host at a glance, best first.
const TELLING: [&str; 6] =
    ["cpu", "load", "memory", "diskstats_utilization", "mysql_queries", "df"];

/// Looks at all services of a node.
pub fn health(app: &App, node: &str) -> Health {
    let (host, _) = app.states.host_state(node);
    let services = app.history.services(node).unwrap_or_default();
    let mut health =
        Health { host, worst: State::Ok, n_bad: 0, n_services: services.len(), shown: None };
    for s in &services {
        let state = app.states.service_state(node, &s.spec.name).state;
        health.n_bad += usize::from(state != State::Ok);
        health.worst = health.worst.worst(state);
    }
    let has = |name: &str| services.iter().any(|s| s.spec.name == name);
    let telling = TELLING.iter().find(|t| has(t)).map(|t| (*t).to_owned());
    health.shown = telling.or_else(|| services.first().map(|s| s.spec.name.clone()));
    if host == HostState::Down {
        health.worst = State::Critical;
    }
    health
}

/// The span that small graphs show, as a picture's `from` takes it: what there
/// is of a young node, a day of others.
pub fn small_span(app: &App, node: &str, now_ms: i64) -> &'static str {
    let info = app.history.nodes().into_iter().find(|n| n.name == node);
    span_of_age(info.and_then(|i| i.first_seen_ms).map(|first| now_ms - first))
}

/// The same for a node that has been known for so long, ms.
pub fn span_of_age(age_ms: Option<i64>) -> &'static str {
    const HOUR_MS: i64 = 3_600_000;
    match age_ms {
        Some(age) if age < HOUR_MS / 4 => "-15m",
        Some(age) if age < 2 * HOUR_MS => "-1h",
        Some(age) if age < 12 * HOUR_MS => "-6h",
        _ => "-1d",
    }
}

/// A number of a service as people read it: scaled unless the service says no.
pub fn number(v: f64, spec: &ServiceSpec) -> String {
    if spec.unscaled { crate::graph::plain(v) } else { crate::graph::si(v, spec.base()) }
}
