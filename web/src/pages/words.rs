//! What pages say of times, ages and counts.

use crate::app::App;
use crate::times::span;
use rookery_plugins::ServiceSpec;

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

/// What tells most of a host at a glance: of each line the first that it has.
/// A `*` at the end stands for anything.
const TELLING: [&[&str]; 4] = [
    &["cpu", "load", "processes"],
    &["memory", "swap"],
    &["diskstats_utilization", "diskstats_iops", "df"],
    &["if_eth*", "if_en*", "if_err_*", "if_*", "netstat"],
];

/// Of these services those that tell most, in small graphs: CPU, memory, disk,
/// network; of what is no host whatever it has first.
pub fn telling(names: &[&str]) -> Vec<String> {
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
    let info = app.history.node(node);
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

/// A number of a service as people read it, with its unit where that is short.
pub fn number(v: f64, spec: &ServiceSpec) -> String {
    crate::graph::Unit::of(spec).text(v)
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
