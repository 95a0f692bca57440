//! Rows that were taken before are not journalled again: they would cost a look-up at
//! each start until the journal is trimmed.

use crate::apply::{layout_head, note_conflicts};
use crate::catalog::{LayoutIndex, NodeEntry};
use crate::head::NodeHead;
use crate::store::Shared;
use crate::stored::StoredRows;
use bytes::Bytes;
use rookery_plugins::wire::{Frame, Row, keep_rows};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The frame without the rows that say nothing new, of which conflicts are counted;
/// `None`: all of its rows may be new.
pub fn without_doubled(
    shared: &Shared,
    node: &NodeEntry,
    frame: &Frame<'_>,
    bytes: &Bytes,
    stored: &mut StoredRows,
) -> Option<Bytes> {
    let mut doubled = Vec::new();
    {
        let mut head = node.head();
        for (i, row) in frame.rows.iter().enumerate() {
            let Some(index) = node.layout(row.layout) else { continue };
            if index.layout.len() == row.n
                && is_doubled(shared, node, &mut head, &index, row, stored)
            {
                doubled.push(i);
            }
        }
    }
    if doubled.is_empty() {
        return None;
    }
    shared.stats.doubled_rows.fetch_add(doubled.len() as u64, Ordering::Relaxed);
    let (mut i, mut next) = (0, doubled.iter().peekable());
    let kept = keep_rows(bytes, |_| {
        let is_gone = next.next_if(|n| **n == i).is_some();
        i += 1;
        !is_gone
    });
    // It was parsed before.
    kept.ok().flatten().map(Bytes::from)
}

fn is_doubled(
    shared: &Shared,
    node: &NodeEntry,
    head: &mut NodeHead,
    index: &Arc<LayoutIndex>,
    row: &Row<'_>,
    stored: &mut StoredRows,
) -> bool {
    let head = layout_head(shared, node, head, index);
    // Fast path: newer than everything.
    if row.time_ms > head.newest_ms {
        return false;
    }
    let known = head.known(row, |time_ms| stored.find(shared, node, index, time_ms));
    let Some(n_conflicts) = known else { return false };
    note_conflicts(shared, node, row, n_conflicts);
    true
}
