//! When each thing last came, from the history, for the alert machine after a start:
//! silence is counted across restarts, and nothing need be written down for it.

use super::Alerts;
use crate::history::{History, ReadError};
use crate::past::period_s;
use rookery_plugins::TimeMs;

/// How far back what is not in memory is looked for, ms: an hour, then further, up to
/// five weeks. What is older than that is not known.
const SPANS_MS: [TimeMs; 5] = [3_600_000, 21_600_000, 86_400_000, 604_800_000, 3_024_000_000];

/// So many of a field's latest values show its rhythm.
const RHYTHM: usize = 8;

/// Tells the machine. Times of memory first; then, from the disk, each field with limits
/// of which there is none there, or which lags behind its node and must show its rhythm.
pub fn recall(alerts: &Alerts, history: &dyn History, now_ms: TimeMs) {
    for node in history.nodes() {
        let services = match history.services(&node.name) {
            Ok(services) => services,
            Err(e) => {
                tracing::warn!("{}: when it last reported is not known: {e}", node.name);
                continue;
            }
        };
        let mut live = alerts.live();
        if let Some(time_ms) = node.last_seen_ms {
            live.machine.seen_node(&node.name, time_ms.min(now_ms));
        }
        for info in services.iter().filter(|s| s.active && period_s(&s.spec).is_none()) {
            for (field, now) in info.spec.fields.iter().zip(&info.now) {
                let Some(time_ms) = now.time_ms else { continue };
                let (service, field) = (&info.spec.name, &field.name);
                live.machine.seen(&node.name, service, field, (time_ms.min(now_ms), 0));
            }
        }
    }
    let unseen = alerts.live().machine.unseen();
    for (node, service, field) in unseen {
        match latest(history, (&node, &service, &field), now_ms) {
            Ok(Some(seen)) => alerts.live().machine.seen(&node, &service, &field, seen),
            Ok(None) | Err(ReadError::NotFound(_)) => {}
            Err(e) => {
                tracing::warn!("{node} {service}.{field}: when it last came is not known: {e}");
            }
        }
    }
}

/// The time of a field's newest sample, and the longest between its latest ones, ms.
fn latest(
    history: &dyn History,
    (node, service, field): (&str, &str, &str),
    now_ms: TimeMs,
) -> Result<Option<(TimeMs, i64)>, ReadError> {
    let mut to = now_ms.saturating_add(1);
    // Newest first.
    let mut times: Vec<TimeMs> = Vec::new();
    for span in SPANS_MS {
        let from = now_ms.saturating_sub(span);
        let samples = history.samples(node, service, field, from, to)?;
        times.extend(samples.times_ms.iter().rev().take(RHYTHM));
        if times.len() > 2 {
            break;
        }
        to = from;
    }
    let gap = times.windows(2).map(|pair| pair[0] - pair[1]).max().unwrap_or(0);
    Ok(times.first().map(|time_ms| (*time_ms, gap)))
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::super::open;
    use super::*;
    use rookery_alerts::{Notifier, Rules, Settings};
    use rookery_plugins::{FieldSpec, ServiceSpec, State};
    use std::sync::Arc;

    const NOW_MS: TimeMs = 1_795_176_000_000;
    const HOUR_MS: TimeMs = 3_600_000;

    #[test]
    fn silence_is_counted_from_what_the_history_has() {
        let dir = tempfile::tempdir().expect("tmp");
        let rule = "[[rule]]\nservice = \"backup*\"\nabsent_for = \"26h\"\n".to_owned();
        let rules = Rules::load(&[("r.toml".to_owned(), rule)]).expect("rules");
        let notifier = Arc::new(Notifier::new(None, vec![], "").expect("right"));
        let settings = Settings { start_grace_ms: 1000, ..Settings::default() };
        let (alerts, _watcher) = open(dir.path(), rules, settings, notifier).expect("opens");
        let spec = |name: &str, step_ms: u64| ServiceSpec {
            step_ms,
            ..ServiceSpec::new(name, name, "t").fields(vec![FieldSpec::gauge("ok", "")])
        };
        let ages_h = [("backup_fresh", 25), ("backup_late", 27), ("backup_old", 24 * 30)];
        let mut history = Fake { seen_ms: Some(NOW_MS - 1000), ..Fake::default() };
        for (name, age) in ages_h {
            history.services.push((spec(name, 0), None));
            let key = (name.to_owned(), "ok".to_owned());
            history.stored.insert(key, vec![NOW_MS - 40 * 24 * HOUR_MS, NOW_MS - age * HOUR_MS]);
        }
        history.services.push((spec("backup_now", 0), Some(NOW_MS - 5000)));
        let specs: Vec<ServiceSpec> = history.services.iter().map(|s| s.0.clone()).collect();
        alerts.live().machine.know("n", "", specs.iter());
        recall(&alerts, &history, NOW_MS);
        let found = latest(&history, ("n", "backup_late", "ok"), NOW_MS).expect("reads");
        assert_eq!(found, Some((NOW_MS - 27 * HOUR_MS, 0)));
        history.stored.insert(("x".to_owned(), "y".to_owned()), vec![NOW_MS - 9000, NOW_MS - 2000]);
        let found = latest(&history, ("n", "x", "y"), NOW_MS).expect("reads");
        assert_eq!(found, Some((NOW_MS - 2000, 7000)));
        let mut out = Vec::new();
        for s in 0..20 {
            alerts.live().machine.tick(NOW_MS + s * 1000, &mut out);
        }
        let state = |name: &str| {
            alerts.live().machine.service_state("n", name).map_or(State::Ok, |v| v.state)
        };
        let found = ["backup_fresh", "backup_now", "backup_late", "backup_old"].map(state);
        assert_eq!(found, [State::Ok, State::Ok, State::Critical, State::Critical]);
    }
}
