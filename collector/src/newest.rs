//! What a node and its services are now, from memory alone.

use crate::catalog::{LayoutIndex, NodeEntry, ServiceEntry};
use crate::head::{HeadBlock, NodeHead};
use crate::history::{NodeInfo, Now, ServiceInfo};
use crate::series::{Drawn, Heartbeat};
use rookery_plugins::{FieldKey, FieldSpec, ServiceSpec, TimeMs, Value, rhythm};
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
    let mut quickest: Option<i64> = None;
    let now = spec.fields.iter().map(|f| {
        let key = FieldKey::new(&spec.name, &f.name);
        let (now, step) = newest(head, layouts, &key, f, spec);
        quickest = step.map(|step| quickest.map_or(step, |q| q.min(step))).or(quickest);
        now
    });
    let now = now.collect();
    // What is declared is who asks; the values may be slower.
    let step_ms = match spec.step_ms {
        0 => rhythm(head, layouts, spec).unwrap_or(0),
        declared => rhythm::paced(declared, quickest),
    };
    ServiceInfo { now, active: entry.active, spec: spec.clone(), step_ms }
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

/// So many samples tell the newest value, and how far apart they are.
const NEWEST: usize = 4;

/// A field's newest drawn value and the step of its samples, from memory alone.
fn newest(
    head: &NodeHead,
    layouts: &[Arc<LayoutIndex>],
    key: &FieldKey,
    field: &FieldSpec,
    spec: &ServiceSpec,
) -> (Now, Option<i64>) {
    let (mut best, mut step) = (Now::default(), None);
    for index in layouts {
        let Some(col) = index.column(key) else { continue };
        let Some(layout) = head.layout(index.layout.id()) else { continue };
        let mut samples = newest_of(&layout.open, col, NEWEST);
        if let Some(tail) = layout.tail.as_deref().filter(|_| samples.len() < NEWEST) {
            samples.extend(newest_of(tail, col, NEWEST - samples.len()));
        }
        // What was sealed may be newer than what came late.
        samples.sort_by_key(|(time_ms, _)| *time_ms);
        let mut drawn = Drawn::new(field, Heartbeat::of(spec));
        for (time_ms, value) in &samples {
            let value = drawn.next(*time_ms, *value);
            if best.time_ms.is_none_or(|t| t <= *time_ms) {
                best = Now { time_ms: Some(*time_ms), value };
                step = rhythm::step_ms(samples.iter().map(|(t, _)| *t));
            }
        }
    }
    (best, step)
}

/// The newest samples of a column, the newest first: rows of its layout may be without it.
fn newest_of(block: &HeadBlock, col: usize, most: usize) -> Vec<(TimeMs, Value)> {
    let n = block.n_rows();
    let sample = |row: usize| Some((block.times_ms[row], block.value(row, col)?));
    // An absent cell is none; an unknown one is a sample.
    if block.sorted {
        return (0..n).rev().filter_map(sample).take(most).collect();
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by_key(|i| std::cmp::Reverse(block.times_ms[*i]));
    order.into_iter().filter_map(sample).take(most).collect()
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
