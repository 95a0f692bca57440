//! What a node and its services are now, from memory alone.

use crate::catalog::{LayoutIndex, NodeEntry, ServiceEntry};
use crate::head::{HeadBlock, NodeHead};
use crate::history::{NodeInfo, Now, ServiceInfo};
use crate::series::{Drawn, Heartbeat};
use rookery_plugins::{FieldKey, FieldSpec, ServiceSpec, TimeMs};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// A node as readers see it.
pub(crate) fn node_info(node: &NodeEntry) -> NodeInfo {
    let seen = node.last_seen_ms.load(Ordering::Relaxed);
    let first = node.first_seen_ms.load(Ordering::Relaxed);
    NodeInfo {
        name: node.name.clone(),
        group: node.group(),
        last_seen_ms: (seen != TimeMs::MIN).then_some(seen),
        first_seen_ms: (first != TimeMs::MAX).then_some(first),
        n_services: node.n_services(),
        retired: node.is_retired(),
    }
}

/// A service with its newest values.
pub(crate) fn service_info(
    head: &NodeHead,
    layouts: &[Arc<LayoutIndex>],
    entry: &ServiceEntry,
) -> ServiceInfo {
    let spec = &entry.spec;
    let now = spec.fields.iter().map(|f| {
        let key = FieldKey::new(&spec.name, &f.name);
        newest(head, layouts, &key, f, spec)
    });
    let step_ms = match spec.step_ms {
        0 => rhythm(head, layouts, spec).unwrap_or(0),
        declared => declared,
    };
    ServiceInfo { now: now.collect(), active: entry.active, spec: spec.clone(), step_ms }
}

/// So many of the newest times tell a rhythm …
const TIMES: usize = 13;
/// … if there are so many pauses between them.
const PAUSES_MIN: usize = 3;

/// How often a service comes for which nobody says it: the longest pause of late. Of four
/// pauses or more one may be longer, an outage.
fn rhythm(head: &NodeHead, layouts: &[Arc<LayoutIndex>], spec: &ServiceSpec) -> Option<u64> {
    let keys: Vec<FieldKey> =
        spec.fields.iter().map(|f| FieldKey::new(&spec.name, &f.name)).collect();
    let mut times: Vec<TimeMs> = Vec::new();
    for index in layouts {
        let Some(layout) = head.layout(index.layout.id()) else { continue };
        let cols: Vec<usize> = keys.iter().filter_map(|k| index.column(k)).collect();
        for block in layout.tail.as_deref().into_iter().chain([&layout.open]) {
            let mut rows: Vec<usize> = (0..block.n_rows()).collect();
            rows.sort_by_key(|row| std::cmp::Reverse(block.times_ms[*row]));
            let has_any = |row: &usize| cols.iter().any(|col| block.value(*row, *col).is_some());
            let rows = rows.into_iter().filter(has_any).take(TIMES);
            times.extend(rows.map(|row| block.times_ms[row]));
        }
    }
    pace(times)
}

fn pace(mut times: Vec<TimeMs>) -> Option<u64> {
    times.sort_unstable();
    times.dedup();
    let times = times.split_off(times.len().saturating_sub(TIMES));
    let mut pauses: Vec<i64> = times.windows(2).map(|w| w[1].saturating_sub(w[0])).collect();
    pauses.sort_unstable();
    if pauses.len() > PAUSES_MIN {
        pauses.pop();
    }
    let longest = pauses.last().filter(|_| pauses.len() >= PAUSES_MIN)?;
    u64::try_from(*longest).ok()
}

/// A field's newest drawn value, from memory alone.
fn newest(
    head: &NodeHead,
    layouts: &[Arc<LayoutIndex>],
    key: &FieldKey,
    field: &FieldSpec,
    spec: &ServiceSpec,
) -> Now {
    let mut best = Now::default();
    for index in layouts {
        let Some(col) = index.column(key) else { continue };
        let Some(layout) = head.layout(index.layout.id()) else { continue };
        let mut drawn = Drawn::new(field, Heartbeat::of(spec));
        let tail = layout.tail.as_deref().filter(|_| layout.open.n_rows() < 2);
        let blocks = tail.into_iter().chain([&layout.open]);
        for block in blocks {
            for row in newest_two(block) {
                let Some(value) = block.value(row, col) else { continue };
                let time_ms = block.times_ms[row];
                let value = drawn.next(time_ms, value);
                if best.time_ms.is_none_or(|t| t <= time_ms) {
                    best = Now { time_ms: Some(time_ms), value };
                }
            }
        }
    }
    best
}

/// The rows with the two newest times, older first.
fn newest_two(block: &HeadBlock) -> Vec<usize> {
    let n = block.n_rows();
    if block.sorted {
        return (n.saturating_sub(2)..n).collect();
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|i| block.times_ms[*i]);
    order.split_off(n.saturating_sub(2))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::ServiceState;
    use rookery_plugins::State;

    #[test]
    fn who_declares_no_step_has_one_by_its_rhythm() {
        let every = |n: i64, step: i64| (0..n).map(|i| i * step).collect::<Vec<TimeMs>>();
        assert_eq!(pace(every(13, 300_000)), Some(300_000));
        assert_eq!(pace(every(4, 300_000)), Some(300_000));
        // Too little to know.
        assert_eq!((pace(every(3, 300_000)), pace(vec![])), (None, None));
        // One outage is none of its pauses; bursts with long pauses between are.
        let outage = [0, 10, 20, 30, 5000, 5010, 5020].to_vec();
        assert_eq!(pace(outage), Some(10));
        let bursts = [0, 1, 2, 1000, 1001, 1002, 2000, 2001, 2002].to_vec();
        assert_eq!(pace(bursts), Some(998));
    }

    #[test]
    fn old_data_is_unknown_for_all_who_ask() {
        let info = |step_ms, time_ms: Option<TimeMs>| ServiceInfo {
            spec: Arc::new(ServiceSpec::new("s", "s", "other")),
            active: true,
            now: vec![Now { time_ms, value: Some(1.0) }],
            step_ms,
        };
        let ok = ServiceState::default();
        let at = |info: &ServiceInfo, now| info.stands(ok.clone(), now).hard_state;
        // A script that comes every five minutes.
        let slow = info(300_000, Some(1_000));
        assert_eq!(at(&slow, 901_000), State::Ok);
        assert_eq!(at(&slow, 902_000), State::Unknown);
        let text = slow.stands(ok.clone(), 902_000).text;
        assert_eq!(text, "data is 15 min old (limit 15 min)");
        let quick = info(1_000, Some(1_000));
        assert_eq!((at(&quick, 61_000), at(&quick, 62_000)), (State::Ok, State::Unknown));
        // Nobody knows when the next is to come, or whether there is one.
        assert_eq!(at(&info(0, Some(1_000)), 1 << 40), State::Ok);
        assert_eq!(at(&info(0, None), 1 << 40), State::Ok);
        // Announced, and nothing has come yet; not so where the machine remembers some.
        assert_eq!(at(&info(1_000, None), 1 << 40), State::Unknown);
        let before = ServiceState { since_ms: 5, ..ServiceState::default() };
        assert_eq!(info(1_000, None).stands(before, 1 << 40).state, State::Ok);
        // One that is gone, and averages of long ago.
        assert_eq!(at(&ServiceInfo { active: false, ..quick }, 1 << 40), State::Ok);
    }
}
