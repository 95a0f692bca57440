//! Reading rollups: which blocks, in which order, by how many threads.
//!
//! Fields whose blocks are the same are read together. What overlaps nothing is
//! taken block by block, by its summaries where they do ([`crate::rollup`]); what
//! overlaps is merged first, the oldest block's sample holding. Where samples must
//! be decoded, and are many, a service's fields are shared out to some threads.

use crate::catalog::{LayoutIndex, NodeEntry};
use crate::chunk::{ColumnBuf, DIGEST_MS};
use crate::history::{FieldRollup, ReadError};
use crate::period::{BlockRow, Digests, Period};
use crate::read::{Gather, read_block, read_head};
use crate::reading;
use crate::rollup::{self, Grid, Placed, Roll};
use crate::store::{Shared, StoreError};
use rayon::prelude::*;
use rookery_plugins::{FieldKey, FieldSpec, FieldType, TimeMs};
use rusqlite::Connection;
use std::sync::Arc;

/// Reads these fields of a node, by their keys, into their rollups.
pub(crate) fn roll(
    shared: &Shared,
    node: &NodeEntry,
    keys: &[FieldKey],
    fields: &[&FieldSpec],
    rolls: Vec<Roll<'_>>,
    grid: Grid,
) -> Result<Vec<FieldRollup>, ReadError> {
    let mut rest: Vec<Option<Roll<'_>>> = rolls.into_iter().map(Some).collect();
    let groups = together(node, keys);
    let n_tasks = grid.n_tasks(fields.len());
    let tasks: Vec<Together> = groups.into_iter().flat_map(|g| g.split(n_tasks)).collect();
    let mut work: Vec<(&Together, Vec<Roll<'_>>)> = tasks
        .iter()
        .map(|task| (task, task.fields.iter().filter_map(|i| rest[*i].take()).collect()))
        .collect();
    // The threads that help work for the same request.
    let read = reading::current();
    let run = |(group, rolls): &mut (&Together, Vec<Roll<'_>>)| {
        let fields: Vec<&FieldSpec> = group.fields.iter().map(|i| fields[*i]).collect();
        let mut part = RollPart { node, fields: &fields, group, grid, newest_ms: None };
        let rolled = reading::within(read.as_ref(), || part.roll(shared, rolls));
        rolled.map_err(ReadError::from)
    };
    if n_tasks > 1 {
        work.par_iter_mut().try_for_each(run)?;
    } else {
        work.iter_mut().try_for_each(run)?;
    }
    let mut done: Vec<Option<FieldRollup>> = fields.iter().map(|_| None).collect();
    for (group, rolls) in work {
        for (i, roll) in group.fields.iter().zip(rolls) {
            done[*i] = Some(roll.finish());
        }
    }
    Ok(done.into_iter().flatten().collect())
}

/// Fields that stand in the same layouts, so that their blocks are the same.
struct Together {
    /// Which of the fields asked for.
    fields: Vec<usize>,
    /// The layouts, and the column of each field in it.
    layouts: Vec<(Arc<LayoutIndex>, Vec<Option<usize>>)>,
}

impl Together {
    /// The same fields in so many parts, neighbours together: they share pieces of
    /// blocks.
    fn split(self, n: usize) -> Vec<Together> {
        let each = self.fields.len().div_ceil(n.max(1)).max(1);
        if each == self.fields.len() {
            return vec![self];
        }
        let starts = (0..self.fields.len()).step_by(each);
        let part = |from: usize| {
            let of = from..self.fields.len().min(from + each);
            let layouts =
                self.layouts.iter().map(|(l, cols)| (l.clone(), cols[of.clone()].to_vec()));
            Together { fields: self.fields[of.clone()].to_vec(), layouts: layouts.collect() }
        };
        starts.map(part).collect()
    }
}

fn together(node: &NodeEntry, keys: &[FieldKey]) -> Vec<Together> {
    let layouts = node.layouts();
    let mut groups: Vec<(Vec<bool>, Vec<usize>)> = Vec::new();
    for (i, key) in keys.iter().enumerate() {
        let holds: Vec<bool> = layouts.iter().map(|l| l.column(key).is_some()).collect();
        match groups.iter_mut().find(|g| g.0 == holds) {
            Some(group) => group.1.push(i),
            None => groups.push((holds, vec![i])),
        }
    }
    let with_columns = |(holds, fields): (Vec<bool>, Vec<usize>)| {
        let held = layouts.iter().zip(holds).filter(|l| l.1);
        let layouts = held
            .map(|(l, _)| (l.clone(), fields.iter().map(|i| l.column(&keys[*i])).collect()))
            .collect();
        Together { fields, layouts }
    };
    groups.into_iter().map(with_columns).collect()
}

/// Rolls up fields that stand in the same blocks.
struct RollPart<'a> {
    node: &'a NodeEntry,
    fields: &'a [&'a FieldSpec],
    group: &'a Together,
    grid: Grid,
    /// End of the block with the newest samples, if it is a sealed one.
    newest_ms: Option<TimeMs>,
}

impl RollPart<'_> {
    fn newest(
        &self,
        shared: &Shared,
        periods: &[Arc<Period>],
    ) -> Result<Option<TimeMs>, StoreError> {
        let span = self.grid.reads();
        for period in periods.iter().rev() {
            let newest = period.with_reader(|conn| {
                let mut newest = None;
                for (index, _) in &self.group.layouts {
                    let id = index.layout.id();
                    let rows = period.blocks_between(conn, self.node.id, id, span)?;
                    newest = newest.max(rows.iter().map(|b| b.t_to).max());
                }
                Ok(newest)
            });
            let newest = shared.pass_damage(newest)?;
            if newest.is_some() {
                return Ok(newest);
            }
        }
        Ok(None)
    }

    fn gather(&self) -> Vec<Gather> {
        self.fields.iter().map(|f| Gather::new(f)).collect()
    }

    fn roll(&mut self, shared: &Shared, rolls: &mut [Roll<'_>]) -> Result<(), StoreError> {
        // The head first, see the module's text.
        let mut head = self.gather();
        for (index, cols) in &self.group.layouts {
            read_head(self.node, index.layout.id(), cols, self.grid.reads(), &mut head);
        }
        let head_from = head.iter().filter_map(Gather::first_ms).min().unwrap_or(TimeMs::MAX);
        // What the head overlaps waits to be merged with it.
        let mut late = self.gather();
        let (from, to) = self.grid.reads();
        let periods = shared.periods.between(from, to);
        // The newest value of the span is told exactly; of levels every summary does so.
        if head_from == TimeMs::MAX && self.fields.iter().any(|f| f.kind != FieldType::Gauge) {
            self.newest_ms = self.newest(shared, &periods)?;
        }
        for period in periods {
            let read = period.with_reader(|conn| {
                let sealed = Sealed { shared, period: &period, conn };
                self.roll_period(&sealed, head_from, rolls, &mut late)
            });
            shared.pass_damage(read)?;
        }
        for ((roll, mut late), head) in rolls.iter_mut().zip(late).zip(head) {
            late.append(head);
            late.finish().iter().for_each(|(t, v)| roll.sample(t, v));
        }
        Ok(())
    }

    fn roll_period(
        &self,
        sealed: &Sealed<'_>,
        head_from: TimeMs,
        rolls: &mut [Roll<'_>],
        late: &mut [Gather],
    ) -> Result<(), StoreError> {
        let Sealed { shared, period, conn } = *sealed;
        let span = self.grid.reads();
        let mut blocks: Vec<(BlockRow, usize)> = Vec::new();
        for (i, (index, _)) in self.group.layouts.iter().enumerate() {
            let rows = period.blocks_between(conn, self.node.id, index.layout.id(), span)?;
            blocks.extend(rows.into_iter().map(|b| (b, i)));
        }
        blocks.sort_by_key(|(b, _)| (b.t_from, b.id));
        let mut digests = None;
        if self.grid.step_ms >= DIGEST_MS {
            // Without them the blocks tell.
            digests = match period.digests(conn) {
                Err(e) if e.is_of_a_piece() => None,
                other => Some((other?, Vec::new())),
            };
        }
        let mut buf = ColumnBuf::default();
        for cluster in overlapping(&blocks) {
            reading::check()?;
            let t_to = cluster.iter().map(|(b, _)| b.t_to).max();
            let is_late = t_to >= Some(head_from);
            if let [(row, layout)] = cluster
                && !is_late
            {
                let cols = &self.group.layouts[*layout].1;
                let held = |c: &Option<usize>| c.filter(|c| row.holds(*c));
                let cols = cols.iter().map(held).collect();
                let from = (sealed, &mut digests);
                shared.pass_damage(self.roll_block(from, row, cols, rolls, &mut buf))?;
                continue;
            }
            let mut merged = self.gather();
            let to = if is_late { &mut *late } else { &mut merged };
            let mut in_order = cluster.to_vec();
            in_order.sort_by_key(|(b, _)| b.id);
            for (row, layout) in &in_order {
                let cols = &self.group.layouts[*layout].1;
                shared.pass_damage(read_block(period, conn, row, cols, span, to, &mut buf))?;
            }
            for (roll, merged) in rolls.iter_mut().zip(merged) {
                merged.finish().iter().for_each(|(t, v)| roll.sample(t, v));
            }
        }
        Ok(())
    }
}

impl RollPart<'_> {
    /// A block that overlaps no other one.
    fn roll_block(
        &self,
        (sealed, digests): (&Sealed<'_>, &mut Option<(Digests<'_>, Vec<Placed>)>),
        row: &BlockRow,
        mut cols: Vec<Option<usize>>,
        rolls: &mut [Roll<'_>],
        buf: &mut ColumnBuf,
    ) -> Result<(), StoreError> {
        let Sealed { period, conn, .. } = *sealed;
        let is_newest = self.newest_ms == Some(row.t_to);
        let held = || cols.iter().flatten();
        let err = |e| StoreError::chunk(period.path(), row.id, e);
        if let (Some(first), Some(last)) = (held().min(), held().max())
            && let Some((digests, runs)) = digests
        {
            let told = digests.each(row.id, &(*first..*last + 1), |digest| {
                rollup::digest(digest, &mut cols, rolls, is_newest, runs);
            });
            // What they do not tell, damaged ones too, the block tells.
            if let Err(e) = told
                && !e.is_of_a_piece()
            {
                return Err(e);
            }
        }
        if cols.iter().all(Option::is_none) {
            return Ok(());
        }
        let mut block = period.open_block(conn, row.id)?;
        rollup::block(&mut block, &cols, rolls, is_newest, buf).map_err(err)
    }
}

/// One period's blocks.
struct Sealed<'a> {
    shared: &'a Shared,
    period: &'a Period,
    conn: &'a Connection,
}

/// Splits blocks, by their first time, where no one is across.
fn overlapping(blocks: &[(BlockRow, usize)]) -> Vec<&[(BlockRow, usize)]> {
    let mut parts = Vec::new();
    let (mut start, mut t_to) = (0, TimeMs::MIN);
    for (i, (row, _)) in blocks.iter().enumerate() {
        if i > start && row.t_from > t_to {
            parts.push(&blocks[start..i]);
            start = i;
        }
        t_to = t_to.max(row.t_to);
    }
    if start < blocks.len() {
        parts.push(&blocks[start..]);
    }
    parts
}
