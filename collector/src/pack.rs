//! Packing: short sealed blocks become long ones, which are smaller and quicker
//! to read over long spans.
//!
//! Runs on the sealer's thread when it has nothing else to do. Blocks that
//! overlap in time are packed together or not at all, so that it stays true
//! that of two blocks with one time the older one (by row id) holds. Packed
//! blocks begin with the day (UTC), so that their summaries seldom speak of two
//! hours, and graphs by whole hours or days need no decoding.

use crate::catalog::LayoutIndex;
use crate::chunk::{ColumnBuf, Encoder, Rows};
use crate::head::HeadBlock;
use crate::period::{BlockRow, NewBlock, Period, insert_block, insert_digests};
use crate::store::StoreError;
use rookery_plugins::{Kind, LayoutId, TimeMs};
use rusqlite::{Connection, params};
use std::collections::HashMap;
use std::ops::Range;
use std::sync::Arc;

/// Rows of a packed block: a day of 10 s.
pub const PACKED_ROWS: usize = 8640;
/// A block of nodes with many fields is shorter: so many bytes of cells.
const PACKED_BYTES: usize = 24 << 20;
/// So many more rows, as a share, are taken at once, to find the day's end.
const MORE: usize = 8;
const HOUR_MS: TimeMs = 3_600_000;
const DAY_MS: TimeMs = 24 * HOUR_MS;
/// zstd's level for packed blocks.
const LEVEL: i32 = 6;

/// How many rows a packed block of so many columns has.
pub fn rows_of(n_cols: usize) -> usize {
    (PACKED_BYTES / 8 / n_cols.max(1)).clamp(1, PACKED_ROWS)
}

/// The layouts of nodes with at least two blocks that were not packed yet, and
/// how many rows these have.
pub fn loose(conn: &Connection) -> rusqlite::Result<Vec<(i64, LayoutId, usize)>> {
    let sql = "SELECT node, layout, sum(n_rows) FROM block WHERE level = 0 \
               GROUP BY node, layout HAVING count(*) > 1";
    conn.prepare_cached(sql)?
        .query_map([], |r| {
            let (layout, n): (i64, i64) = (r.get(1)?, r.get(2)?);
            Ok((r.get(0)?, LayoutId(layout as u64), n as usize))
        })?
        .collect()
}

/// Blocks that overlap, and what they have together.
#[derive(Clone, Debug, PartialEq)]
struct Cluster {
    blocks: Range<usize>,
    n_rows: usize,
    t_to: TimeMs,
}

fn clusters(rows: &[BlockRow]) -> Vec<Cluster> {
    let mut all: Vec<Cluster> = Vec::new();
    for (i, row) in rows.iter().enumerate() {
        match all.last_mut() {
            Some(last) if row.t_from <= last.t_to => {
                last.blocks.end = i + 1;
                last.n_rows += row.n_rows;
                last.t_to = last.t_to.max(row.t_to);
            }
            _ => all.push(Cluster { blocks: i..i + 1, n_rows: row.n_rows, t_to: row.t_to }),
        }
    }
    all
}

/// Which neighbouring blocks become one. `all`: also such that are not yet as
/// long as a packed block should be.
fn runs(rows: &[BlockRow], wanted: usize, all: bool) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut run = 0..0;
    let mut n_rows = 0;
    let mut close = |run: &Range<usize>, is_whole: bool| {
        if run.len() > 1 && (is_whole || all) {
            found.push(run.clone());
        }
    };
    let limit = wanted + wanted / MORE;
    let clusters = clusters(rows);
    for (i, c) in clusters.iter().enumerate() {
        let next = clusters.get(i + 1).map(|next| rows[next.blocks.start].t_from);
        let ends_a_day = next.is_some_and(|t| t.div_euclid(DAY_MS) > c.t_to.div_euclid(DAY_MS));
        let is_long = c.n_rows >= wanted || c.n_rows * 2 > wanted && ends_a_day;
        // Packed already; or too much to be held in memory: stays.
        let stays = c.blocks.len() == 1 && is_long || c.n_rows > 2 * wanted;
        if stays || n_rows + c.n_rows > limit {
            close(&run, true);
            (run, n_rows) = (c.blocks.end..c.blocks.end, 0);
        }
        if stays {
            continue;
        }
        run = if run.is_empty() { c.blocks.clone() } else { run.start..c.blocks.end };
        n_rows += c.n_rows;
    }
    close(&run, n_rows >= wanted);
    found
}

/// Packs what there is of one layout of one node; how many blocks went.
pub fn pack(
    period: &Period,
    conn: &Connection,
    encoder: &mut Encoder,
    node: i64,
    index: &Arc<LayoutIndex>,
    all: bool,
) -> Result<usize, StoreError> {
    let wanted = rows_of(index.layout.len());
    let mut n_gone = 0;
    let mut from_ms = TimeMs::MIN;
    loop {
        let mut rows = period.all_blocks(conn, node, index.layout.id())?;
        rows.retain(|b| b.t_from >= from_ms);
        let Some(run) = runs(&rows, wanted, all).into_iter().next() else { return Ok(n_gone) };
        let mut old = rows[run].to_vec();
        // The older one's values hold.
        old.sort_by_key(|b| b.id);
        let whole = decode(period, conn, index, &old)?;
        let pieces = pieces(&whole.times_ms, wanted);
        // What is left over is packed with what follows it.
        from_ms = pieces.last().map_or(TimeMs::MAX, |last| whole.times_ms[last.start]);
        let is_same = pieces.len() == old.len() && old.iter().all(|b| b.level == 1);
        if !is_same {
            replace(period, conn, encoder, node, &old, &whole, &pieces)?;
            n_gone += old.len();
        } else if pieces.len() < 2 {
            return Ok(n_gone);
        }
    }
}

/// Puts these rows in the place of the old blocks, in one commit.
fn replace(
    period: &Period,
    conn: &Connection,
    encoder: &mut Encoder,
    node: i64,
    old: &[BlockRow],
    whole: &HeadBlock,
    pieces: &[Range<usize>],
) -> Result<(), StoreError> {
    let err = |e| StoreError::db(period.path(), e);
    let n = whole.n_cols();
    let mut data = Vec::new();
    let tx = conn.unchecked_transaction().map_err(err)?;
    for rows in pieces {
        let times = &whole.times_ms[rows.clone()];
        let input = Rows {
            times_ms: times,
            n_cols: n,
            kind_sets: &whole.kind_sets,
            row_kind: &whole.row_kind[rows.clone()],
            bits: &whole.bits[rows.start * n..rows.end * n],
        };
        data.clear();
        encoder.encode(&input, 0..n, LEVEL, &mut data);
        let new = NewBlock {
            node,
            layout: whole.index.layout.id(),
            level: 1,
            cols: 0..n,
            span: (times[0], times[times.len() - 1]),
            n_rows: times.len(),
            position: whole.last_position,
            data: &data,
            digests: encoder.digests(),
        };
        insert_block(&tx, &new).map_err(err)?;
    }
    for block in old {
        tx.prepare_cached("DELETE FROM block WHERE id = ?1")
            .and_then(|mut s| s.execute(params![block.id]))
            .map_err(err)?;
    }
    tx.commit().map_err(err)
}

/// Writes a block anew with these rows, which are its own, under its own id:
/// which of two blocks is older stays as it is.
pub(crate) fn rewrite(
    period: &Period,
    conn: &Connection,
    encoder: &mut Encoder,
    id: i64,
    whole: &HeadBlock,
) -> Result<(), StoreError> {
    let n = whole.n_cols();
    let input = Rows {
        times_ms: &whole.times_ms,
        n_cols: n,
        kind_sets: &whole.kind_sets,
        row_kind: &whole.row_kind,
        bits: &whole.bits,
    };
    let mut data = Vec::new();
    encoder.encode(&input, 0..n, LEVEL, &mut data);
    let write = || -> rusqlite::Result<()> {
        let tx = conn.unchecked_transaction()?;
        let sql = "UPDATE block SET data = ?2, col_from = 0, col_to = ?3 WHERE id = ?1";
        tx.execute(sql, params![id, data, n as i64])?;
        insert_digests(&tx, id, encoder.digests())?;
        tx.commit()
    };
    write().map_err(|e| StoreError::db(period.path(), e))
}

/// Cuts ascending times into blocks: where the last day ends that fits, else
/// the last hour, else where a block is full.
fn pieces(times: &[TimeMs], wanted: usize) -> Vec<Range<usize>> {
    let mut found = Vec::new();
    let mut start = 0;
    while start < times.len() {
        let room = times.len().min(start + wanted);
        let last = times[room.min(times.len() - 1)];
        let begin_of = |unit: TimeMs| {
            let begin = last.div_euclid(unit) * unit;
            Some(start + times[start..room].partition_point(|t| *t < begin)).filter(|e| *e > start)
        };
        let is_end = room == times.len();
        let end = begin_of(DAY_MS).or_else(|| if is_end { None } else { begin_of(HOUR_MS) });
        let end = end.unwrap_or(room);
        found.push(start..end);
        start = end;
    }
    found
}

/// The rows of these blocks, in order of time.
pub(crate) fn decode(
    period: &Period,
    conn: &Connection,
    index: &Arc<LayoutIndex>,
    old: &[BlockRow],
) -> Result<HeadBlock, StoreError> {
    let n = index.layout.len();
    let n_rows = old.iter().map(|b| b.n_rows).sum();
    let mut all = HeadBlock::new(index.clone(), n_rows);
    all.bits.reserve_exact(n_rows * n);
    let mut sets = HashMap::new();
    let (mut buf, mut kinds) = (ColumnBuf::default(), Vec::new());
    for row in old {
        let mut block = period.open_block(conn, row.id)?;
        let err = |e| StoreError::chunk(period.path(), row.id, e);
        let times = block.times().map_err(err)?;
        all.sorted &= all.times_ms.last().is_none_or(|last| *last < times[0]);
        all.times_ms.extend_from_slice(times);
        let (start, here) = (all.bits.len(), block.n_rows());
        all.bits.resize(start + here * n, 0);
        kinds.clear();
        kinds.resize(here * n, Kind::Absent as u8);
        for col in block.cols() {
            block.column(col, &mut buf).map_err(err)?;
            let to = all.bits[start + col..].iter_mut().step_by(n);
            to.zip(&buf.bits).for_each(|(to, bits)| *to = *bits);
            let to = kinds[col..].iter_mut().step_by(n);
            to.zip(&buf.kinds).for_each(|(to, kind)| *to = *kind);
        }
        intern(&mut all, &mut sets, &kinds);
        all.last_position = all.last_position.max(row.position);
    }
    Ok(if all.sorted { all } else { all.sorted_copy() })
}

/// Appends the rows' kinds, each different set once.
fn intern(all: &mut HeadBlock, sets: &mut HashMap<Arc<[u8]>, u32>, kinds: &[u8]) {
    for row in kinds.chunks_exact(all.n_cols()) {
        // Fast path: as in the row before.
        if let Some(last) = all.row_kind.last()
            && *all.kind_sets[*last as usize] == *row
        {
            all.row_kind.push(*last);
            continue;
        }
        let at = sets.get(row).copied().unwrap_or_else(|| {
            let set: Arc<[u8]> = row.into();
            all.kind_sets.push(set.clone());
            let at = all.kind_sets.len() as u32 - 1;
            sets.insert(set, at);
            at
        });
        all.row_kind.push(at);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn row(id: i64, t_from: TimeMs, t_to: TimeMs, n_rows: usize) -> BlockRow {
        BlockRow { id, level: 0, col_from: 0, col_to: 1, t_from, t_to, n_rows, position: 0 }
    }

    fn pairs(rows: &[BlockRow], wanted: usize, all: bool) -> Vec<(usize, usize)> {
        runs(rows, wanted, all).into_iter().map(|r| (r.start, r.end)).collect()
    }

    #[test]
    fn neighbours_are_packed_when_they_fill_a_block() {
        // 12 hours each.
        let rows: Vec<_> =
            (0..7).map(|i| row(i, i * DAY_MS / 2, (i + 1) * DAY_MS / 2 - 1, 10)).collect();
        assert_eq!(pairs(&rows, 30, false), [(0, 3), (3, 6)]);
        assert_eq!(pairs(&rows, 30, true), [(0, 3), (3, 6)]);
        assert_eq!(pairs(&rows, 40, false), [(0, 4)]);
        assert_eq!(pairs(&rows, 40, true), [(0, 4), (4, 7)]);
    }

    #[test]
    fn blocks_end_with_the_day_or_the_hour() {
        let times = |step: i64, n: i64| (0..n).map(|i| DAY_MS / 2 + i * step).collect::<Vec<_>>();
        let ends = |times: &[TimeMs], wanted| {
            pieces(times, wanted).iter().map(|r| r.end).collect::<Vec<_>>()
        };
        assert_eq!(ends(&times(10_000, 10_000), 8640), [4320, 10_000]);
        assert_eq!(ends(&times(60_000, 4000), 8640), [3600, 4000]);
        assert_eq!(ends(&times(1000, 9000), 8640), [7200, 9000]);
        assert_eq!(ends(&times(10, 9000), 4000), [4000, 8000, 9000]);
    }

    #[test]
    fn what_overlaps_stays_together_and_long_ones_stay() {
        let rows =
            [row(1, 0, 99, 90), row(2, 100, 109, 10), row(9, 105, 205, 5), row(3, 200, 209, 9)];
        assert_eq!(pairs(&rows, 100, true), [(1, 4)]);
        assert_eq!(pairs(&rows, 100, false), []);
        // A late block in a long one: packed with it.
        let rows = [row(1, 0, 99, 90), row(2, 50, 51, 2), row(3, 100, 199, 90)];
        assert_eq!(pairs(&rows, 100, false), [(0, 2)]);
    }
}
