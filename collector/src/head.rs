//! The head: what arrived since the last sealing, in memory, row by row.
//!
//! A node's head has one open block for each layout. Rows are appended as they
//! came (a copy of the wire's cells); a full block is frozen and handed to the
//! sealer, and stays readable until it stands in a period's database.

use crate::catalog::LayoutIndex;
use crate::journal::Position;
use rookery_plugins::wire::Row;
use rookery_plugins::{Kind, LayoutId, TimeMs, Value};
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// A block with this many rows is frozen.
pub const BLOCK_ROWS_MAX: usize = 240;
/// The same, while more than [`MANY_COLS`] columns have rows here: the memory of
/// all heads together stays bounded.
pub const BLOCK_ROWS_MANY: usize = 120;
/// So many active fields are many.
pub const MANY_COLS: usize = 400_000;
/// A block with this many bytes is frozen, however few its rows.
pub const BLOCK_BYTES_MAX: usize = 32 << 20;

/// The columns of all heads of this process.
static ACTIVE_COLS: AtomicUsize = AtomicUsize::new(0);

/// How many rows a block takes before it is frozen.
fn rows_max() -> usize {
    if ACTIVE_COLS.load(Ordering::Relaxed) > MANY_COLS { BLOCK_ROWS_MANY } else { BLOCK_ROWS_MAX }
}

/// Rows of one layout, in arrival order.
#[derive(Debug)]
pub struct HeadBlock {
    /// Whose cells these are.
    pub index: Arc<LayoutIndex>,
    /// Time of each row.
    pub times_ms: Vec<TimeMs>,
    /// Which of `kind_sets` goes with each row.
    pub row_kind: Vec<u32>,
    /// The kinds of a row's cells; nearly always one for all rows.
    pub kind_sets: Vec<Arc<[u8]>>,
    /// Cells, row by row.
    pub bits: Vec<u64>,
    /// Whether the times ascend strictly.
    pub sorted: bool,
    /// Where its oldest row stands in the journal.
    pub first_position: Position,
    /// Where its newest row stands in the journal.
    pub last_position: Position,
    /// How many rows it takes before it is frozen. Differs from block to
    /// block, so that a fleet's blocks do not all fill at once.
    pub rows_wanted: usize,
    /// Wall clock when its first row came, ms.
    pub born_ms: TimeMs,
    /// The wire form of the newest row's kinds, to spare the work of comparing.
    last_runs: Vec<u8>,
}

impl HeadBlock {
    /// Without rows; frozen when it has so many.
    pub fn new(index: Arc<LayoutIndex>, rows_wanted: usize) -> HeadBlock {
        HeadBlock {
            index,
            times_ms: Vec::with_capacity(rows_wanted),
            row_kind: Vec::with_capacity(rows_wanted),
            kind_sets: Vec::new(),
            bits: Vec::new(),
            sorted: true,
            first_position: 0,
            last_position: 0,
            rows_wanted,
            born_ms: 0,
            last_runs: Vec::new(),
        }
    }

    /// Cells in a row.
    pub fn n_cols(&self) -> usize {
        self.index.layout.len()
    }

    /// How many rows it holds.
    pub fn n_rows(&self) -> usize {
        self.times_ms.len()
    }

    /// Whether it is time to freeze it.
    pub fn is_full(&self) -> bool {
        self.n_rows() >= self.rows_wanted || self.bits.len() * 8 >= BLOCK_BYTES_MAX
    }

    /// The value of one cell; `None`: absent.
    pub fn value(&self, row: usize, col: usize) -> Option<Value> {
        let kinds = &self.kind_sets[self.row_kind[row] as usize];
        Value::from_bits(Kind::from_u8(kinds[col])?, self.bits[row * self.n_cols() + col])
    }

    fn position_of(&self, time_ms: TimeMs) -> Option<usize> {
        if self.sorted {
            return self.times_ms.binary_search(&time_ms).ok();
        }
        self.times_ms.iter().position(|t| *t == time_ms)
    }

    fn push(&mut self, row: &Row<'_>, position: Position, now_ms: TimeMs) {
        if self.times_ms.is_empty() {
            self.first_position = position;
            self.born_ms = now_ms;
            // All of one size, however soon it will be full: memory that a block
            // leaves fits the next. What is not written to is not resident.
            self.bits.reserve_exact(rows_max().max(self.rows_wanted) * self.n_cols());
        }
        self.last_position = position;
        self.sorted &= self.times_ms.last().is_none_or(|last| *last < row.time_ms);
        self.times_ms.push(row.time_ms);
        let kind = self.intern(row);
        self.row_kind.push(kind);
        row.append_bits(&mut self.bits);
    }

    /// The index of the row's kinds in `kind_sets`.
    fn intern(&mut self, row: &Row<'_>) -> u32 {
        // Fast path: the same as in the row before.
        if let Some(last) = self.row_kind.last()
            && self.last_runs == row.kind_runs()
        {
            return *last;
        }
        self.last_runs.clear();
        self.last_runs.extend_from_slice(row.kind_runs());
        let mut kinds = Vec::with_capacity(row.n);
        row.expand_kinds(&mut kinds);
        let known = self.kind_sets.iter().position(|k| **k == *kinds);
        let at = known.unwrap_or_else(|| {
            self.kind_sets.push(kinds.into());
            self.kind_sets.len() - 1
        });
        at as u32
    }

    /// A copy with the rows in order of time; of rows of one time the first
    /// stays, and later ones fill what is absent in it.
    pub fn sorted_copy(&self) -> HeadBlock {
        let mut order: Vec<usize> = (0..self.n_rows()).collect();
        order.sort_by_key(|i| self.times_ms[*i]);
        let n = self.n_cols();
        let mut copy = HeadBlock::new(self.index.clone(), order.len());
        copy.kind_sets.clone_from(&self.kind_sets);
        copy.first_position = self.first_position;
        copy.last_position = self.last_position;
        for i in order {
            if copy.times_ms.last() == Some(&self.times_ms[i]) {
                copy.fill_last(self, i);
                continue;
            }
            copy.times_ms.push(self.times_ms[i]);
            copy.row_kind.push(self.row_kind[i]);
            copy.bits.extend_from_slice(&self.bits[i * n..(i + 1) * n]);
        }
        copy
    }

    /// Fills the absent cells of the last row from row `i` of `other`.
    fn fill_last(&mut self, other: &HeadBlock, i: usize) {
        let (n, last) = (self.n_cols(), self.n_rows() - 1);
        let mut kinds = self.kind_sets[self.row_kind[last] as usize].to_vec();
        let more = &other.kind_sets[other.row_kind[i] as usize];
        for col in 0..n {
            if kinds[col] == Kind::Absent as u8 {
                kinds[col] = more[col];
                self.bits[last * n + col] = other.bits[i * n + col];
            }
        }
        self.kind_sets.push(kinds.into());
        self.row_kind[last] = (self.kind_sets.len() - 1) as u32;
    }
}

/// What became of a row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Appended {
    /// It is in the head now; else it was there already.
    pub is_new: bool,
    /// So many cells had another value at this time already, which stays.
    pub n_conflicts: u64,
    /// The block is full and was frozen.
    pub froze: bool,
}

/// A row that stands in a block already, to be compared with a doubled one.
pub struct Stored {
    /// Kind of each cell.
    pub kinds: Vec<u8>,
    /// Bits of each cell.
    pub bits: Vec<u64>,
}

/// The rows of one layout of one node.
#[derive(Debug)]
pub struct LayoutHead {
    /// Takes rows.
    pub open: HeadBlock,
    /// Waiting for the sealer, oldest first.
    pub frozen: Vec<Arc<HeadBlock>>,
    /// The newest rows of the block that was frozen last, at most two, so that
    /// "now" and its rate have an answer right after.
    pub tail: Option<Arc<HeadBlock>>,
    /// Newest time that stands in a sealed block.
    pub sealed_to_ms: Option<TimeMs>,
    /// Newest time of all.
    pub newest_ms: TimeMs,
    n_frozen: u64,
}

/// A node's head.
#[derive(Debug, Default)]
pub struct NodeHead {
    layouts: HashMap<LayoutId, LayoutHead>,
}

impl NodeHead {
    /// The layouts that have rows here.
    pub fn layouts(&self) -> impl Iterator<Item = &LayoutHead> {
        self.layouts.values()
    }

    /// One layout's part.
    pub fn layout(&self, id: LayoutId) -> Option<&LayoutHead> {
        self.layouts.get(&id)
    }

    /// One layout's part, to change it.
    pub fn layout_mut(&mut self, id: LayoutId) -> Option<&mut LayoutHead> {
        self.layouts.get_mut(&id)
    }

    /// One layout's part, made if it is new; `sealed_to` is asked then for the
    /// newest time that stands in sealed blocks.
    pub fn layout_or_new(
        &mut self,
        index: &Arc<LayoutIndex>,
        phase: u64,
        sealed_to: impl FnOnce() -> Option<TimeMs>,
    ) -> &mut LayoutHead {
        self.layouts
            .entry(index.layout.id())
            .or_insert_with(|| LayoutHead::new(index.clone(), phase, sealed_to()))
    }

    /// Freezes the open blocks whose first row came before `before_ms`; their
    /// layouts.
    pub fn freeze_older(&mut self, before_ms: TimeMs) -> Vec<LayoutId> {
        let old = |h: &LayoutHead| h.open.n_rows() > 0 && h.open.born_ms < before_ms;
        self.layouts
            .iter_mut()
            .filter(|(_, h)| old(h))
            .map(|(id, h)| {
                h.freeze();
                *id
            })
            .collect()
    }
}

impl LayoutHead {
    fn new(index: Arc<LayoutIndex>, phase: u64, sealed_to_ms: Option<TimeMs>) -> LayoutHead {
        // The first block of each node is shorter, each by another length.
        ACTIVE_COLS.fetch_add(index.layout.len(), Ordering::Relaxed);
        let half = rows_max() / 2;
        let rows_wanted = half + (phase % half as u64) as usize;
        LayoutHead {
            open: HeadBlock::new(index, rows_wanted),
            frozen: Vec::new(),
            tail: None,
            sealed_to_ms,
            newest_ms: sealed_to_ms.unwrap_or(TimeMs::MIN),
            n_frozen: 0,
        }
    }

    /// Takes a row. `stored` finds a row of this time in sealed blocks.
    pub fn append(
        &mut self,
        row: &Row<'_>,
        position: Position,
        now_ms: TimeMs,
        stored: impl FnOnce(TimeMs) -> Option<Stored>,
    ) -> Appended {
        // Fast path: newer than everything.
        if row.time_ms > self.newest_ms {
            self.newest_ms = row.time_ms;
            self.open.push(row, position, now_ms);
        } else {
            let mut n_conflicts = 0;
            if let Some(old) = self.find(row.time_ms, stored) {
                let fills;
                (n_conflicts, fills) = compare(&old, row);
                if !fills {
                    return Appended { n_conflicts, ..Appended::default() };
                }
            }
            self.open.push(row, position, now_ms);
            return Appended { is_new: true, n_conflicts, froze: self.freeze_if_full() };
        }
        Appended { is_new: true, n_conflicts: 0, froze: self.freeze_if_full() }
    }

    /// Whether this row says nothing new; then, how many of its cells say something else
    /// than what stands there, which stays. `stored` as in [`Self::append`].
    pub fn known(
        &self,
        row: &Row<'_>,
        stored: impl FnOnce(TimeMs) -> Option<Stored>,
    ) -> Option<u64> {
        let old = self.find(row.time_ms, stored)?;
        let (n_conflicts, fills) = compare(&old, row);
        (!fills).then_some(n_conflicts)
    }

    fn freeze_if_full(&mut self) -> bool {
        let full = self.open.is_full();
        if full {
            self.freeze();
        }
        full
    }

    /// Slow path: the row of this time, wherever it stands.
    fn find(
        &self,
        time_ms: TimeMs,
        stored: impl FnOnce(TimeMs) -> Option<Stored>,
    ) -> Option<Stored> {
        let blocks = self.frozen.iter().map(Arc::as_ref).chain([&self.open]);
        for block in blocks {
            if let Some(row) = block.position_of(time_ms) {
                let n = block.n_cols();
                return Some(Stored {
                    kinds: block.kind_sets[block.row_kind[row] as usize].to_vec(),
                    bits: block.bits[row * n..(row + 1) * n].to_vec(),
                });
            }
        }
        self.sealed_to_ms.filter(|to| time_ms <= *to).and_then(|_| stored(time_ms))
    }

    /// Hands the open block to the sealer and begins another.
    pub fn freeze(&mut self) {
        self.n_frozen += 1;
        let next = HeadBlock::new(self.open.index.clone(), rows_max());
        let full = Arc::new(std::mem::replace(&mut self.open, next));
        self.tail = Some(Arc::new(newest_rows(&full)));
        self.frozen.push(full);
    }
}

impl Drop for LayoutHead {
    fn drop(&mut self) {
        ACTIVE_COLS.fetch_sub(self.open.n_cols(), Ordering::Relaxed);
    }
}

/// So many newest values of each column stay in memory when a block is sealed: they tell
/// the newest rate, and how far apart values are.
const TAIL_VALUES: usize = 4;
/// The most rows, and the most cells, that are kept for that where a column is absent in
/// many rows.
const TAIL_MAX: (usize, usize) = (128, 8192);

/// The newest rows of a block, so many that each column has its newest values.
fn newest_rows(block: &HeadBlock) -> HeadBlock {
    let sorted = if block.sorted { None } else { Some(block.sorted_copy()) };
    let block = sorted.as_ref().unwrap_or(block);
    let n = block.n_cols();
    let most = TAIL_MAX.0.min(TAIL_MAX.1 / n.max(1)).max(TAIL_VALUES);
    let mut missing = vec![TAIL_VALUES; n];
    let mut from = block.n_rows();
    while from > block.n_rows().saturating_sub(most) && missing.iter().any(|m| *m > 0) {
        from -= 1;
        let kinds = &block.kind_sets[block.row_kind[from] as usize];
        for (missing, kind) in missing.iter_mut().zip(kinds.iter()) {
            *missing -= usize::from(*kind != Kind::Absent as u8 && *missing > 0);
        }
    }
    let mut copy = HeadBlock::new(block.index.clone(), block.n_rows() - from);
    copy.times_ms.extend_from_slice(&block.times_ms[from..]);
    copy.row_kind.extend_from_slice(&block.row_kind[from..]);
    copy.kind_sets.clone_from(&block.kind_sets);
    copy.bits.extend_from_slice(&block.bits[from * n..]);
    copy
}

/// How many cells of `row` say something else than `old`, and whether `row` has
/// cells that are absent there.
fn compare(old: &Stored, row: &Row<'_>) -> (u64, bool) {
    let (mut kinds, mut bits) = (Vec::new(), Vec::new());
    row.expand_kinds(&mut kinds);
    row.append_bits(&mut bits);
    let absent = Kind::Absent as u8;
    let (mut n_conflicts, mut fills) = (0, false);
    for i in 0..kinds.len() {
        if kinds[i] == absent {
            continue;
        }
        fills |= old.kinds[i] == absent;
        let differs = (kinds[i], bits[i]) != (old.kinds[i], old.bits[i]);
        n_conflicts += u64::from(differs && old.kinds[i] != absent);
    }
    (n_conflicts, fills)
}
