//! What pages say of times, ages and counts.

use crate::app::App;
use crate::times::span;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rookery_plugins::{HostState, State};

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
