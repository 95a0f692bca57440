//! Digests: what the columns of a long block say by half days, so that a graph
//! over years need not read every summary.
//!
//! Derived from the block, and kept beside it. A digest has the columns of one
//! part of the block; its summaries are coded as the block's own, of longer runs.

use super::bytes::{Cursor, Flaw, put_signed, put_varint};
use super::column::{Coded, Kinds};
use super::error::{ChunkError, Section};
use super::summary::{Summary, runs};
use super::summary_code::{self, Clock, step_of};
use super::{COLS_MAX, ROWS_MAX};
use rookery_plugins::TimeMs;
use std::ops::Range;

/// A digest's runs begin and end with it, UTC.
pub const DIGEST_MS: TimeMs = 12 * 3_600_000;
/// A block has digests when it has so many summaries a run of theirs.
const WORTH: usize = 4;
/// Bytes of the checksum, which come first.
const CRC_BYTES: usize = 4;

/// The times of the rows of a summary.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RunTimes {
    /// Time of the first row, UTC, ms.
    pub first_ms: TimeMs,
    /// Time of the last row, UTC, ms.
    pub last_ms: TimeMs,
    /// The shortest time from a row to the next, ms; one row: `i64::MAX` or so.
    pub shortest_ms: i64,
    /// The longest time from a row to the next, ms; one row: 0.
    pub longest_ms: i64,
}

impl RunTimes {
    /// Of ascending times, at least one.
    pub fn of(times: &[TimeMs]) -> RunTimes {
        // 24 days: within it, differences of 32 bits do, which take half the time.
        let is_short = times[times.len() - 1] - times[0] <= i64::from(i32::MAX);
        let pairs = times.iter().zip(&times[1..]);
        let (shortest_ms, longest_ms) = if is_short {
            let (least, most) = pairs.fold((i32::MAX, 0), |(least, most), (a, b)| {
                let dt = (*b as i32).wrapping_sub(*a as i32);
                (least.min(dt), most.max(dt))
            });
            (i64::from(least), i64::from(most))
        } else {
            pairs.fold((i64::MAX, 0), |(least, most), (a, b)| (least.min(b - a), most.max(b - a)))
        };
        RunTimes { first_ms: times[0], last_ms: times[times.len() - 1], shortest_ms, longest_ms }
    }
}

/// The rows of each half day; none where digests are not worth their bytes.
pub fn digest_runs(times_ms: &[TimeMs]) -> Vec<Range<usize>> {
    let (Some(first), Some(last)) = (times_ms.first(), times_ms.last()) else { return vec![] };
    let half_day = |t: TimeMs| t.div_euclid(DIGEST_MS);
    let n_halves = (half_day(*last) - half_day(*first)).unsigned_abs() as usize + 1;
    if n_halves.saturating_mul(WORTH) > runs(times_ms.len()).count() {
        return vec![];
    }
    let mut found = Vec::with_capacity(n_halves);
    let mut from = 0;
    while from < times_ms.len() {
        let this = half_day(times_ms[from]);
        let len = times_ms[from..].partition_point(|t| half_day(*t) == this);
        found.push(from..from + len);
        from += len;
    }
    found
}

/// A digest as it is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DigestPart {
    /// Its columns.
    pub cols: Range<usize>,
    /// Its bytes.
    pub bytes: Vec<u8>,
}

/// Writes the digests of a block.
#[derive(Default)]
pub(super) struct DigestCoder {
    runs: Vec<Range<usize>>,
    /// What all digests of the block begin with.
    head: Vec<u8>,
    body: Vec<u8>,
    next_col: usize,
    pub parts: Vec<DigestPart>,
}

impl DigestCoder {
    /// For a block of rows at these times, from this column on.
    pub fn start(&mut self, times_ms: &[TimeMs], first_col: usize) {
        self.runs = digest_runs(times_ms);
        self.next_col = first_col;
        self.parts.clear();
        self.body.clear();
        self.head.clear();
        if self.runs.is_empty() {
            return;
        }
        put_signed(&mut self.head, step_of(times_ms) as i64);
        put_varint(&mut self.head, self.runs.len() as u64);
        for rows in &self.runs {
            let times = RunTimes::of(&times_ms[rows.clone()]);
            put_varint(&mut self.head, rows.len() as u64);
            put_signed(&mut self.head, times.first_ms);
            put_varint(&mut self.head, times.last_ms.wrapping_sub(times.first_ms) as u64);
            if rows.len() > 1 {
                put_varint(&mut self.head, times.shortest_ms as u64);
                put_varint(&mut self.head, times.longest_ms as u64);
            }
        }
    }

    /// The next column.
    pub fn column(
        &mut self,
        clock: &Clock<'_>,
        (kinds, bits): (Kinds<'_>, &[u64]),
        coded: &Coded,
        whole: &[i64],
    ) {
        let runs = self.runs.iter().cloned();
        summary_code::write(clock, runs, (kinds, bits), coded, whole, &mut self.body);
    }

    /// The columns since the last part are one.
    pub fn finish_part(&mut self, n_cols: usize) {
        let cols = self.next_col..self.next_col + n_cols;
        self.next_col = cols.end;
        if self.runs.is_empty() {
            return;
        }
        let mut bytes = vec![0; CRC_BYTES];
        put_varint(&mut bytes, cols.start as u64);
        put_varint(&mut bytes, cols.len() as u64);
        bytes.extend_from_slice(&self.head);
        bytes.append(&mut self.body);
        let crc = crc32fast::hash(&bytes[CRC_BYTES..]);
        bytes[..CRC_BYTES].copy_from_slice(&crc.to_le_bytes());
        self.parts.push(DigestPart { cols, bytes });
    }
}

/// A digest, read; it can be read anew from another's bytes, without new memory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Digest {
    /// Its columns.
    pub cols: Range<usize>,
    /// The times of its runs.
    pub times: Vec<RunTimes>,
    rows: Vec<Range<usize>>,
    step_ms: u64,
    body: Vec<u8>,
    /// The column that was not read yet, and where its summaries begin.
    next: (usize, usize),
    /// Of the column that was asked for last.
    summaries: Vec<Summary>,
}

impl Digest {
    /// Checks and reads all but the summaries.
    pub fn open(bytes: &[u8]) -> Result<Digest, ChunkError> {
        let mut digest = Digest::default();
        digest.read(bytes)?;
        Ok(digest)
    }

    /// As [`Self::open`], in place of what it was; after an error it holds nothing.
    pub fn read(&mut self, bytes: &[u8]) -> Result<(), ChunkError> {
        let unknown = || Section::Summaries(0..0);
        self.cols = 0..0;
        let (crc, rest) = bytes
            .split_first_chunk::<CRC_BYTES>()
            .ok_or_else(|| ChunkError::Truncated(unknown()))?;
        if crc32fast::hash(rest) != u32::from_le_bytes(*crc) {
            return Err(ChunkError::Checksum(unknown()));
        }
        self.parse(rest).map_err(|why| ChunkError::Malformed(unknown(), why))
    }

    fn parse(&mut self, bytes: &[u8]) -> Result<(), Flaw> {
        let mut cursor = Cursor::new(bytes);
        let first = cursor.size(COLS_MAX)?;
        let cols = first..first + cursor.size(COLS_MAX)?;
        self.step_ms = cursor.signed()? as u64;
        let n_runs = cursor.size(ROWS_MAX)?;
        self.rows.clear();
        self.times.clear();
        let mut from = 0;
        for _ in 0..n_runs {
            let n = cursor.size(ROWS_MAX)?;
            if n == 0 {
                return Err("a run without rows");
            }
            self.rows.push(from..from + n);
            from += n;
            let first_ms = cursor.signed()?;
            let last_ms = first_ms.wrapping_add(cursor.varint()? as i64);
            let (mut shortest_ms, mut longest_ms) = (i64::from(i32::MAX), 0);
            if n > 1 {
                (shortest_ms, longest_ms) = (cursor.varint()? as i64, cursor.varint()? as i64);
            }
            self.times.push(RunTimes { first_ms, last_ms, shortest_ms, longest_ms });
        }
        self.body.clear();
        self.body.extend_from_slice(&bytes[cursor.position()..]);
        self.next = (cols.start, 0);
        self.cols = cols;
        Ok(())
    }

    /// A column's summaries, one a run. Quick for columns asked for in order.
    pub fn summaries(&mut self, col: usize) -> Result<&[Summary], ChunkError> {
        if !self.cols.contains(&col) {
            return Err(ChunkError::NoColumn { col, cols: self.cols.clone() });
        }
        if self.next.0 > col {
            self.next = (self.cols.start, 0);
        }
        let mut cursor = Cursor::new(&self.body[self.next.1..]);
        let mut read = |out| {
            let runs = self.rows.iter().cloned();
            summary_code::read(&mut cursor, runs, self.step_ms, out)
        };
        self.summaries.clear();
        let before = (self.next.0..col).try_for_each(|_| read(None));
        let malformed = |why| ChunkError::Malformed(Section::Summaries(self.cols.clone()), why);
        before.and_then(|()| read(Some(&mut self.summaries))).map_err(malformed)?;
        self.next = (col + 1, self.next.1 + cursor.position());
        Ok(&self.summaries)
    }

    /// Decodes all summaries.
    pub fn verify(&mut self) -> Result<(), ChunkError> {
        self.cols.clone().try_for_each(|col| self.summaries(col).map(drop))
    }
}
