//! What pages say of times, ages and counts.

use crate::app::App;
use crate::times::span;
use rookery_plugins::{HostState, ServiceSpec, State};

/// A node that has said nothing for this long is marked, ms.
pub const STALE_MS: i64 = 120_000;

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
    /// Those that tell most, for small graphs: CPU, memory, disk, network.
    pub shown: Vec<String>,
}

/// What tells most of a host at a glance: of each line the first that it has.
/// A `*` at the end stands for anything.
const TELLING: [&[&str]; 4] = [
    &["cpu", "load", "processes"],
    &["memory", "swap"],
    &["diskstats_utilization", "diskstats_iops", "df"],
    &["if_eth*", "if_en*", "if_err_*", "if_*", "netstat"],
];

/// Looks at all services of a node.
pub fn health(app: &App, node: &str) -> Health {
    let (host, _) = app.states.host_state(node);
    let services = app.history.services(node).unwrap_or_default();
    let mut worst = State::Ok;
    let mut n_bad = 0;
    for s in &services {
        let state = app.states.service_state(node, &s.spec.name).state;
        n_bad += usize::from(state != State::Ok);
        worst = worst.worst(state);
    }
    if host == HostState::Down {
        worst = State::Critical;
    }
    let names: Vec<&str> =
        services.iter().filter(|s| !s.spec.hidden).map(|s| s.spec.name.as_str()).collect();
    Health { host, worst, n_bad, n_services: services.len(), shown: telling(&names) }
}

fn telling(names: &[&str]) -> Vec<String> {
    let fits = |pattern: &str, name: &str| match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => name == pattern,
    };
    let first = |patterns: &&[&str]| {
        patterns.iter().find_map(|p| names.iter().find(|n| fits(p, n)).map(|n| (*n).to_owned()))
    };
    let mut shown: Vec<String> = TELLING.iter().filter_map(first).collect();
    if shown.is_empty() {
        // Not a host as we know it: whatever it has.
        shown.extend(names.iter().take(TELLING.len()).map(|n| (*n).to_owned()));
    }
    shown
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_tells_most_is_shown() {
        let names = ["cpu", "df", "diskstats_utilization", "if_err_eth0", "if_eth0", "memory"];
        assert_eq!(telling(&names), ["cpu", "memory", "diskstats_utilization", "if_eth0"]);
        assert_eq!(telling(&["queue", "hits"]), ["queue", "hits"]);
        assert!(telling(&[]).is_empty());
    }
}
