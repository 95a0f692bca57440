//! Months' files that somebody has removed or replaced while the collector runs.
//!
//! What was sealed into such a file since the journal was trimmed stands in the journal
//! still: before it is trimmed again, it is journalled once more, as if it had just come, and
//! sealed into the file that is there then.

use crate::apply::apply;
use crate::catalog::NodeEntry;
use crate::doubled::without_doubled;
use crate::journal::{Journal, Position};
use crate::period::PeriodId;
use crate::store::{Shared, StoreError, now_ms};
use crate::stored::StoredRows;
use bytes::Bytes;
use rookery_plugins::LayoutId;
use rookery_plugins::wire::{Frame, keep_rows};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A layout whose open block was filled.
pub type Filled = (Arc<NodeEntry>, LayoutId);

/// Which months' files must still be there when the journal is trimmed.
#[derive(Default)]
pub struct Watched(Mutex<Months>);

#[derive(Default)]
struct Months {
    /// When each was written to last, by a count.
    written: BTreeMap<PeriodId, u64>,
    n_written: u64,
    vanished: BTreeSet<PeriodId>,
}

impl Watched {
    fn months(&self) -> MutexGuard<'_, Months> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// This month's file is about to be written to.
    pub fn note_written(&self, id: PeriodId) {
        let mut months = self.months();
        months.n_written += 1;
        let n = months.n_written;
        months.written.insert(id, n);
    }

    /// This month's file was found removed or replaced.
    pub fn note_vanished(&self, id: PeriodId) {
        self.months().vanished.insert(id);
    }

    /// What was written by now, for [`Self::note_trimmed`].
    pub fn mark(&self) -> u64 {
        self.months().n_written
    }

    /// The journal was trimmed of what was written up to `mark`.
    pub fn note_trimmed(&self, mark: u64) {
        self.months().written.retain(|_, n| *n > mark);
    }

    /// The months that have vanished since they were written to, each once.
    fn take_vanished(&self, shared: &Shared) -> BTreeSet<PeriodId> {
        let written: Vec<PeriodId> = self.months().written.keys().copied().collect();
        for id in written {
            // One that retention has deleted is not known any more.
            if shared.periods.get(id).is_some_and(|period| !period.is_there()) {
                shared.periods.forget(id);
                self.note_vanished(id);
            }
        }
        std::mem::take(&mut self.months().vanished)
    }
}

/// Takes what has vanished out of the journal again, if anything has; the layouts whose
/// blocks were filled by it. `None`: nothing has vanished.
pub fn restore(shared: &Shared, journal: &mut Journal) -> Result<Option<Vec<Filled>>, StoreError> {
    let vanished = shared.watched.take_vanished(shared);
    if vanished.is_empty() {
        return Ok(None);
    }
    let done = restore_months(shared, journal, &vanished);
    if done.is_err() {
        vanished.iter().for_each(|id| shared.watched.note_vanished(*id));
    }
    let (n_rows, froze) = done?;
    let names: Vec<String> = vanished.iter().map(|id| id.name()).collect();
    shared.stats.note_damage();
    tracing::error!(
        n_rows,
        "FATAL: the files of {} were removed or replaced while the collector runs: put them back \
         while it is stopped, if there is a copy; the rows of them that the journal still had \
         are kept",
        names.join(", ")
    );
    Ok(Some(froze))
}

fn restore_months(
    shared: &Shared,
    journal: &mut Journal,
    vanished: &BTreeSet<PeriodId>,
) -> Result<(u64, Vec<Filled>), StoreError> {
    let mut stored = StoredRows::default();
    let mut again: Vec<Bytes> = Vec::new();
    journal.read_all(|_, bytes| {
        again.extend(lost_rows(shared, bytes, vanished, &mut stored));
    })?;
    let positions: Vec<Position> = again.iter().map(|bytes| journal.push(bytes)).collect();
    journal.commit()?;
    let (now, mut n_rows, mut froze) = (now_ms(), 0, Vec::new());
    for (bytes, position) in again.iter().zip(positions) {
        let Ok(frame) = Frame::parse(bytes) else { continue };
        let Some(node) = shared.nodes.get(frame.node) else { continue };
        for row in &frame.rows {
            let Some(index) = node.layout(row.layout) else { continue };
            let done = apply((shared, &mut stored), &node, &index, row, position, now);
            n_rows += u64::from(done.is_new);
            if done.froze {
                froze.push((node.clone(), row.layout));
            }
        }
    }
    Ok((n_rows, froze))
}

/// The frame with only the rows of these months that stand nowhere else.
fn lost_rows(
    shared: &Shared,
    bytes: &[u8],
    vanished: &BTreeSet<PeriodId>,
    stored: &mut StoredRows,
) -> Option<Bytes> {
    let kept = keep_rows(bytes, |row| vanished.contains(&PeriodId::of(row.time_ms))).ok()?;
    let bytes = kept.map_or_else(|| Bytes::copy_from_slice(bytes), Bytes::from);
    let frame = Frame::parse(&bytes).ok().filter(|frame| !frame.rows.is_empty())?;
    let node = shared.nodes.get(frame.node)?;
    let Some(less) = without_doubled(shared, &node, &frame, &bytes, stored) else {
        drop(frame);
        return Some(bytes);
    };
    let is_any = Frame::parse(&less).is_ok_and(|frame| !frame.rows.is_empty());
    is_any.then_some(less)
}
