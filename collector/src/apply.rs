//! Putting one row that is on disk into its node's head.

use crate::catalog::{LayoutIndex, NodeEntry};
use crate::head::{Appended, LayoutHead, NodeHead};
use crate::journal::Position;
use crate::store::Shared;
use crate::stored::{StoredRows, sealed_to};
use rookery_plugins::TimeMs;
use rookery_plugins::wire::Row;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Puts one row into its node's head; doubled ones are looked up in `stored`.
pub fn apply(
    (shared, stored): (&Shared, &mut StoredRows),
    node: &Arc<NodeEntry>,
    index: &Arc<LayoutIndex>,
    row: &Row<'_>,
    position: Position,
    now_ms: TimeMs,
) -> Appended {
    let mut head = node.head();
    let head = layout_head(shared, node, &mut head, index);
    let done = head.append(row, position, now_ms, |t| stored.find(shared, node, index, t));
    node.last_seen_ms.fetch_max(row.time_ms, Ordering::Relaxed);
    node.first_seen_ms.fetch_min(row.time_ms, Ordering::Relaxed);
    node.version.fetch_add(1, Ordering::Relaxed);
    note_conflicts(shared, node, row, done.n_conflicts);
    if !done.is_new {
        shared.stats.doubled_rows.fetch_add(1, Ordering::Relaxed);
    }
    done
}

/// The head of a layout, made if it is new.
pub fn layout_head<'h>(
    shared: &Shared,
    node: &NodeEntry,
    head: &'h mut NodeHead,
    index: &Arc<LayoutIndex>,
) -> &'h mut LayoutHead {
    let id = index.layout.id();
    let phase = (node.id as u64).wrapping_mul(0x9e37_79b9) >> 7 ^ id.0;
    head.layout_or_new(index, phase, || match node.take_fresh(id) {
        true => None,
        false => sealed_to(shared, node.id, id),
    })
}

/// Counts cells that came again with other values.
pub fn note_conflicts(shared: &Shared, node: &NodeEntry, row: &Row<'_>, n: u64) {
    if n > 0 {
        shared.stats.conflicts.fetch_add(n, Ordering::Relaxed);
        tracing::warn!(
            node = node.name,
            time_ms = row.time_ms,
            n,
            "samples came again with other values; the first ones stay"
        );
    }
}
