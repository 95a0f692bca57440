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
    ServiceInfo { now: now.collect(), active: entry.active, spec: spec.clone() }
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
