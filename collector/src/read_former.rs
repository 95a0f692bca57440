//! Histories that go on under another name: what was kept under the old one, up to the
//! moment when the new one was claimed, is read before what is kept under the new one
//! (see `catalog/former.rs`).

use crate::catalog::NodeEntry;
use crate::history::{Bucket, FieldRollup, ReadError};
use crate::read_rollup;
use crate::rollup::{Grid, Roll};
use crate::series::Heartbeat;
use crate::store::Shared;
use rookery_plugins::{FieldKey, FieldSpec, TimeMs};
use std::collections::BTreeMap;

/// What is rolled up: fields, where their samples are, and how long each is fresh.
pub(crate) struct Wanted<'a> {
    pub(crate) keys: &'a [FieldKey],
    pub(crate) fields: &'a [&'a FieldSpec],
    pub(crate) heartbeats: &'a [Heartbeat],
}

/// Puts what was kept under old names into these rollups of `wanted`.
pub(crate) fn add(
    shared: &Shared,
    node: &NodeEntry,
    wanted: &Wanted<'_>,
    grid: Grid,
    out: &mut [FieldRollup],
) -> Result<(), ReadError> {
    let mut by_end: BTreeMap<TimeMs, Vec<(usize, FieldKey)>> = BTreeMap::new();
    for (i, key) in wanted.keys.iter().enumerate() {
        for (old, until_ms) in node.formers(key) {
            let to_ms = until_ms.min(grid.to_ms);
            if to_ms > grid.from_ms {
                by_end.entry(to_ms).or_default().push((i, old));
            }
        }
    }
    // The newest first: each goes before what is there.
    for (to_ms, olds) in by_end.into_iter().rev() {
        let grid = Grid { to_ms, ..grid };
        let fields: Vec<&FieldSpec> = olds.iter().map(|(i, _)| wanted.fields[*i]).collect();
        let roll =
            |(i, _): &(usize, FieldKey)| Roll::new(wanted.fields[*i], wanted.heartbeats[*i], grid);
        let rolls = olds.iter().map(roll).collect();
        let (at, keys): (Vec<usize>, Vec<FieldKey>) = olds.into_iter().unzip();
        let rolled = read_rollup::roll(shared, node, &keys, &fields, rolls, grid)?;
        for (i, old) in at.into_iter().zip(rolled) {
            put_before(&mut out[i], &old);
        }
    }
    Ok(())
}

fn put_before(new: &mut FieldRollup, old: &FieldRollup) {
    for (bucket, old) in new.buckets.iter_mut().zip(&old.buckets) {
        *bucket = Bucket::joined(&[*old, *bucket]);
    }
    new.total = Bucket::joined(&[old.total, new.total]);
    new.increase = match (old.increase, new.increase) {
        (Some(old), Some(new)) => Some(old + new),
        (old, new) => new.or(old),
    };
}
