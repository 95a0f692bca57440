//! Rows that stand in sealed blocks already, looked up to tell what comes again.
//!
//! A block that was looked into stays decoded for a while: what comes again comes in
//! runs, and a start reads all of it once more.

use crate::catalog::{LayoutIndex, NodeEntry};
use crate::head::{HeadBlock, Stored};
use crate::pack;
use crate::period::{BlockRow, Period, PeriodId};
use crate::store::{Shared, StoreError};
use rookery_plugins::{Kind, LayoutId, TimeMs};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// Decoded blocks that are kept, at most …
const BLOCKS_MAX: usize = 8;
/// … and so many bytes of cells of them, but for the last.
const BYTES_MAX: usize = 64 << 20;

/// A layout of a node in a month.
type Place = (PeriodId, i64, LayoutId);

/// What was looked up in sealed blocks. Keep it for one commit or one replay only: what
/// is sealed meanwhile is not seen.
#[derive(Default)]
pub struct StoredRows {
    lists: HashMap<Place, Arc<[BlockRow]>>,
    /// The one used last at the end.
    blocks: VecDeque<(Place, BlockRow, Arc<HeadBlock>)>,
}

impl StoredRows {
    /// The row of this time in sealed blocks: of each cell the oldest block's that has it.
    pub fn find(
        &mut self,
        shared: &Shared,
        node: &NodeEntry,
        index: &Arc<LayoutIndex>,
        time_ms: TimeMs,
    ) -> Option<Stored> {
        let id = PeriodId::of(time_ms);
        let period = shared.periods.get(id)?;
        let mut found = self.find_in(&period, id, node.id, index, time_ms);
        if found.is_err() {
            // Packed since it was listed, perhaps.
            *self = StoredRows::default();
            found = self.find_in(&period, id, node.id, index, time_ms);
        }
        shared.pass_damage(found).unwrap_or_else(|e| {
            tracing::error!("{e}");
            None
        })
    }

    fn find_in(
        &mut self,
        period: &Period,
        id: PeriodId,
        node: i64,
        index: &Arc<LayoutIndex>,
        time_ms: TimeMs,
    ) -> Result<Option<Stored>, StoreError> {
        let place = (id, node, index.layout.id());
        let list = match self.lists.get(&place) {
            Some(list) => list.clone(),
            None => {
                let mut list = period.with_reader(|conn| period.all_blocks(conn, node, place.2))?;
                list.sort_by_key(|b| b.id);
                let list: Arc<[BlockRow]> = list.into();
                self.lists.insert(place, list.clone());
                list
            }
        };
        let mut found: Option<Stored> = None;
        for row in list.iter().filter(|b| b.t_from <= time_ms && time_ms <= b.t_to) {
            let block = self.block(period, place, index, row)?;
            let Ok(at) = block.times_ms.binary_search(&time_ms) else { continue };
            let n = block.n_cols();
            let kinds = &block.kind_sets[block.row_kind[at] as usize];
            let bits = &block.bits[at * n..(at + 1) * n];
            let stored = found.get_or_insert_with(|| Stored {
                kinds: vec![Kind::Absent as u8; n],
                bits: vec![0; n],
            });
            for col in (0..n).filter(|c| row.holds(*c)) {
                if stored.kinds[col] == Kind::Absent as u8 {
                    (stored.kinds[col], stored.bits[col]) = (kinds[col], bits[col]);
                }
            }
        }
        Ok(found)
    }

    fn block(
        &mut self,
        period: &Period,
        place: Place,
        index: &Arc<LayoutIndex>,
        row: &BlockRow,
    ) -> Result<Arc<HeadBlock>, StoreError> {
        let known = self.blocks.iter().rposition(|(p, r, _)| *p == place && r == row);
        let entry = match known.and_then(|at| self.blocks.remove(at)) {
            Some(entry) => entry,
            None => {
                let decoded =
                    period.with_reader(|conn| pack::decode(period, conn, index, &[*row]))?;
                (place, *row, Arc::new(decoded))
            }
        };
        let block = entry.2.clone();
        self.blocks.push_back(entry);
        let bytes = |b: &VecDeque<(Place, BlockRow, Arc<HeadBlock>)>| {
            b.iter().map(|(_, _, block)| block.bits.len() * 8).sum::<usize>()
        };
        while self.blocks.len() > BLOCKS_MAX
            || self.blocks.len() > 1 && bytes(&self.blocks) > BYTES_MAX
        {
            self.blocks.pop_front();
        }
        Ok(block)
    }
}

/// Newest time of this layout in any sealed block.
pub fn sealed_to(shared: &Shared, node: i64, layout: LayoutId) -> Option<TimeMs> {
    let sql = "SELECT max(t_to) FROM block WHERE node = ?1 AND layout = ?2";
    for (_, period) in shared.periods.newest_first() {
        let found = period.with_reader(|conn| {
            conn.query_row(sql, [node, layout.0 as i64], |r| r.get::<_, Option<i64>>(0))
                .map_err(|e| StoreError::db(period.path(), e))
        });
        match shared.pass_damage(found) {
            Ok(Some(t)) => return Some(t),
            Ok(None) => {}
            // Cannot tell: every row is looked up.
            Err(e) => {
                tracing::error!("{e}");
                return Some(TimeMs::MAX);
            }
        }
    }
    None
}
