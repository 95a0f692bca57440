//! Retention: what need not be kept any longer goes, by node, service and age.
//!
//! Without rules everything is kept for ever. Sealed blocks go whole when the
//! newest of their rows is too old, so that a sample is kept at least as long
//! as was said; where only some services of a block may go, it is written anew
//! without them. A month of which nothing is left is deleted.

use crate::catalog::{LayoutIndex, NodeEntry};
use crate::chunk::Encoder;
use crate::head::HeadBlock;
use crate::pack;
use crate::period::{BlockRow, Period};
use crate::store::StoreError;
use rookery_alerts::glob;
use rookery_plugins::{Kind, TimeMs};
use rusqlite::{Connection, params};
use std::sync::Arc;

/// How long something is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keep {
    /// Pattern of node names (`*` and `?`).
    pub node: String,
    /// Pattern of service names.
    pub service: String,
    /// So long, ms; `None`: for ever.
    pub for_ms: Option<TimeMs>,
}

/// What [`retain`] did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Removed {
    /// Blocks that went whole.
    pub blocks: u64,
    /// Blocks that were written anew without some services.
    pub thinned: u64,
    /// Months that were deleted.
    pub months: u64,
}

/// Before which time samples of a service may go, by the first rule that
/// speaks of it; `TimeMs::MIN`: none.
fn cutoff(rules: &[Keep], node: &str, service: &str, now_ms: TimeMs) -> TimeMs {
    let rule =
        rules.iter().find(|r| glob::matches(&r.node, node) && glob::matches(&r.service, service));
    rule.and_then(|r| r.for_ms).map_or(TimeMs::MIN, |ms| now_ms.saturating_sub(ms))
}

/// Applies the rules to one layout of one node in one period.
pub fn retain(
    period: &Period,
    conn: &Connection,
    encoder: &mut Encoder,
    (node, index): (&NodeEntry, &Arc<LayoutIndex>),
    rules: &[Keep],
    now_ms: TimeMs,
) -> Result<Removed, StoreError> {
    let fields = index.layout.fields().iter();
    let cutoffs: Vec<TimeMs> =
        fields.map(|f| cutoff(rules, &node.name, &f.service, now_ms)).collect();
    let newest = cutoffs.iter().copied().max().unwrap_or(TimeMs::MIN);
    let mut removed = Removed::default();
    if newest == TimeMs::MIN {
        return Ok(removed);
    }
    let err = |e| StoreError::db(period.path(), e);
    for row in period.all_blocks(conn, node.id, index.layout.id())? {
        let gone = |col: usize| row.t_to < cutoffs[col];
        let cols = row.col_from as usize..row.col_to as usize;
        let n_gone = cols.clone().filter(|c| gone(*c)).count();
        if n_gone == 0 {
            continue;
        }
        if n_gone == cols.len() {
            conn.execute("DELETE FROM block WHERE id = ?1", params![row.id]).map_err(err)?;
            removed.blocks += 1;
            continue;
        }
        let expired: Vec<usize> = cols.filter(|c| gone(*c)).collect();
        if !holds_any(period, conn, &row, &expired)? {
            // Thinned before.
            continue;
        }
        let mut whole = pack::decode(period, conn, index, &[row])?;
        drop_columns(&mut whole, &expired);
        pack::rewrite(period, conn, encoder, row.id, &whole)?;
        removed.thinned += 1;
    }
    Ok(removed)
}

/// Whether any of these columns has a sample, by its summaries.
fn holds_any(
    period: &Period,
    conn: &Connection,
    row: &BlockRow,
    cols: &[usize],
) -> Result<bool, StoreError> {
    let mut block = period.open_block(conn, row.id)?;
    for col in cols {
        let summaries = block.summaries(*col);
        let summaries = summaries.map_err(|e| StoreError::chunk(period.path(), row.id, e))?;
        if summaries.iter().any(|s| s.count + s.unknown > 0) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn drop_columns(block: &mut HeadBlock, cols: &[usize]) {
    for set in &mut block.kind_sets {
        let mut kinds = set.to_vec();
        cols.iter().for_each(|c| kinds[*c] = Kind::Absent as u8);
        *set = kinds.into();
    }
    let n = block.n_cols();
    for row in block.bits.chunks_exact_mut(n) {
        cols.iter().for_each(|c| row[*c] = 0);
    }
}

/// Whether a period has no block any more.
pub fn is_empty(conn: &Connection) -> rusqlite::Result<bool> {
    conn.query_row("SELECT NOT EXISTS (SELECT 1 FROM block)", [], |r| r.get(0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_rule_that_speaks_of_a_service_holds() {
        let keep = |node: &str, service: &str, for_ms| Keep {
            node: node.to_owned(),
            service: service.to_owned(),
            for_ms,
        };
        let rules =
            [keep("web;*", "cpu", None), keep("web;*", "*", Some(10)), keep("*", "*", Some(50))];
        assert_eq!(cutoff(&rules, "web;a", "cpu", 100), TimeMs::MIN);
        assert_eq!(cutoff(&rules, "web;a", "df", 100), 90);
        assert_eq!(cutoff(&rules, "db;a", "df", 100), 50);
        assert_eq!(cutoff(&rules[..2], "db;a", "df", 100), TimeMs::MIN);
    }
}
