//! Rollups: what a field's samples say by steps of time.
//!
//! Blocks that overlap nothing are read by their summaries; a column is decoded
//! only where one of its summaries speaks of several buckets, of an edge of the
//! span, or of something a summary cannot tell (a reset, a gap, values out of
//! range). Counts, least and greatest are to the bit what the exact samples
//! give. Of counters the sum of rates and the newest rate inside of a summary
//! are by its mean rate; the newest of the whole span, if the newest block has
//! any, is exact.

use crate::chunk::{Block, ChunkError, ColumnBuf, Digest, ReadAt, RunTimes, SUMMARY_ROWS, Summary};
use crate::history::FieldRollup;
use crate::series::{Drawn, Heartbeat};
use rookery_plugins::{FieldSpec, FieldType, Kind, TimeMs, Value};
use std::ops::Range;

/// Between the shortest and the longest step of a summary's samples there may
/// be so much difference for its mean rate to stand for the rates.
const UNEVEN: f64 = 1.05;

/// The steps of time.
#[derive(Clone, Copy, Debug)]
pub struct Grid {
    /// Start of the first bucket.
    pub from_ms: TimeMs,
    /// End of the span.
    pub to_ms: TimeMs,
    /// Width of a bucket, ms.
    pub step_ms: i64,
    /// What lies so long before the span is read too: it makes the first rate.
    pub before_ms: i64,
}

impl Grid {
    /// How many buckets there are.
    pub fn len(&self) -> usize {
        let span = self.to_ms.saturating_sub(self.from_ms);
        (span.saturating_add(self.step_ms - 1) / self.step_ms.max(1)).max(0) as usize
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The times whose samples are read.
    pub fn reads(&self) -> (TimeMs, TimeMs) {
        (self.from_ms.saturating_sub(self.before_ms), self.to_ms)
    }

    fn bucket(&self, time_ms: TimeMs) -> usize {
        ((time_ms - self.from_ms) / self.step_ms) as usize
    }
}

/// One field's rollup in the making; fed in order of time.
pub struct Roll<'a> {
    field: &'a FieldSpec,
    heartbeat: Heartbeat,
    grid: Grid,
    drawn: Drawn<'a>,
    out: FieldRollup,
    /// The bucket of the sample before, and its times.
    bucket: usize,
    bucket_ms: Range<TimeMs>,
}

impl<'a> Roll<'a> {
    /// Empty.
    pub fn new(field: &'a FieldSpec, heartbeat: Heartbeat, grid: Grid) -> Roll<'a> {
        let out = FieldRollup {
            spec: field.clone(),
            buckets: vec![Default::default(); grid.len()],
            total: Default::default(),
            increase: None,
        };
        let drawn = Drawn::new(field, heartbeat);
        Roll { field, heartbeat, grid, drawn, out, bucket: 0, bucket_ms: 0..0 }
    }

    /// The next sample.
    pub fn sample(&mut self, time_ms: TimeMs, value: Value) {
        let drawn = self.drawn.next(time_ms, value);
        if time_ms < self.grid.from_ms {
            self.drawn.forget_increase();
            return;
        }
        if let Some(drawn) = drawn {
            // Fast path: in the same bucket; a division is dear.
            if !self.bucket_ms.contains(&time_ms) {
                self.bucket = self.grid.bucket(time_ms);
                let start = self.grid.from_ms + self.bucket as i64 * self.grid.step_ms;
                self.bucket_ms = start..start.saturating_add(self.grid.step_ms);
            }
            self.out.buckets[self.bucket].push(drawn);
        }
    }

    /// What came of it.
    pub fn finish(mut self) -> FieldRollup {
        for b in &self.out.buckets {
            self.out.total.merge(b.count, (b.min, b.max), b.sum, (b.first, b.last));
        }
        self.out.increase = self.drawn.increase();
        self.out
    }

    fn in_range(&self, least: f64, greatest: f64) -> bool {
        self.field.min.is_none_or(|min| least >= min)
            && self.field.max.is_none_or(|max| greatest <= max)
    }

    /// Takes the samples of `s` as a whole; `false`: they must be decoded.
    fn summary(&mut self, s: &Summary, run: &RunTimes) -> bool {
        let is_enough = self.is_enough(s, run);
        if is_enough {
            self.take(s, run);
        }
        is_enough
    }

    /// Whether the summary tells all that is asked of its samples.
    fn is_enough(&self, s: &Summary, run: &RunTimes) -> bool {
        let (Some((_, first)), Some((_, last))) = (s.first, s.last) else { return true };
        let grid = &self.grid;
        let is_inside = run.first_ms >= grid.from_ms && run.last_ms < grid.to_ms;
        if !is_inside || grid.bucket(run.first_ms) != grid.bucket(run.last_ms) {
            return false;
        }
        if self.field.kind == FieldType::Gauge {
            let is_number = first.as_f64().is_some() && last.as_f64().is_some();
            return is_number && self.in_range(s.min, s.max);
        }
        let Some((lo, hi)) = s.rates else { return false };
        let is_even = run.longest_ms as f64 <= run.shortest_ms as f64 * UNEVEN;
        s.count == s.rows.len()
            && run.longest_ms <= self.heartbeat.0
            && (is_even || lo == hi)
            && matches!(self.field.kind, FieldType::Counter | FieldType::Derive)
            && self.in_range(lo, hi)
            && crate::series::growth(self.field.kind, first, last).is_some()
    }

    /// Takes a summary that [`Self::is_enough`].
    fn take(&mut self, s: &Summary, run: &RunTimes) {
        let (Some((_, first)), Some((_, last))) = (s.first, s.last) else {
            // Nothing is known in it; what was read ends a counter's run.
            if s.unknown > 0 {
                self.drawn.next(run.last_ms, Value::Unknown);
            }
            return;
        };
        let bucket = self.grid.bucket(run.first_ms);
        if self.field.kind == FieldType::Gauge {
            let ends = (first.as_f64().unwrap_or(f64::NAN), last.as_f64().unwrap_or(f64::NAN));
            self.out.buckets[bucket].merge(s.count as u64, (s.min, s.max), s.sum, ends);
            return;
        }
        let grown = crate::series::growth(self.field.kind, first, last).unwrap_or(f64::NAN);
        // The rate over from what came before.
        self.sample(run.first_ms, first);
        let mean = grown / ((run.last_ms - run.first_ms) as f64 / 1000.0);
        let n = s.count as u64 - 1;
        let rates = s.rates.unwrap_or((mean, mean));
        self.out.buckets[bucket].merge(n, rates, mean * n as f64, (mean, mean));
        self.drawn.leap(run.last_ms, last, grown);
    }
}

/// Feeds the fields whose columns stand in this digest of a block that overlaps
/// no other one. A column that it does for is taken from `cols`; the others need
/// the block.
pub fn digest(
    digest: &mut Digest,
    cols: &mut [Option<usize>],
    rolls: &mut [Roll<'_>],
    is_newest: bool,
) {
    for (col, roll) in cols.iter_mut().zip(rolls) {
        let Some(c) = col.filter(|c| digest.cols.contains(c)) else { continue };
        // A counter's summary does not tell its newest rate.
        if is_newest && roll.field.kind != FieldType::Gauge {
            continue;
        }
        let Ok(summaries) = digest.summaries(c) else { continue };
        let runs = || summaries.iter().zip(&digest.times);
        if runs().all(|(s, run)| roll.is_enough(s, run)) {
            runs().for_each(|(s, run)| roll.take(s, run));
            *col = None;
        }
    }
}

/// Feeds the fields from a block that overlaps no other one. `rolls` are those
/// of the columns `cols`; `is_newest`: the newest value must be exact.
pub fn block<R: ReadAt>(
    block: &mut Block<R>,
    cols: &[Option<usize>],
    rolls: &mut [Roll<'_>],
    is_newest: bool,
    buf: &mut ColumnBuf,
) -> Result<(), ChunkError> {
    let Some(grid) = rolls.first().map(|r| r.grid) else { return Ok(()) };
    let reads = grid.reads();
    let times = block.times()?;
    let lo = times.partition_point(|t| *t < reads.0);
    let hi = times.partition_point(|t| *t < reads.1);
    // Where buckets are shorter than runs, no run is in one bucket.
    let span = times[times.len() - 1] - times[0];
    let exactly = span / times.len().div_ceil(SUMMARY_ROWS) as i64 > grid.step_ms;
    let runs: Vec<RunTimes> =
        if exactly { vec![] } else { times.chunks(SUMMARY_ROWS).map(RunTimes::of).collect() };
    let mut damage = Ok(());
    for (col, roll) in cols.iter().zip(rolls) {
        let Some(col) = *col else { continue };
        // A counter's summary does not tell its newest rate.
        let exactly = exactly || is_newest && roll.field.kind != FieldType::Gauge;
        let read = if exactly {
            block.column(col, buf).and_then(|()| {
                feed(roll, block.times()?, buf, lo..hi);
                Ok(())
            })
        } else {
            column(block, col, roll, &runs, lo..hi, buf)
        };
        // The others may be whole.
        damage = damage.and(read);
    }
    damage
}

/// Feeds a field from its column's summaries, and from its samples where those
/// do not do.
fn column<R: ReadAt>(
    block: &mut Block<R>,
    col: usize,
    roll: &mut Roll<'_>,
    runs: &[RunTimes],
    rows: Range<usize>,
    buf: &mut ColumnBuf,
) -> Result<(), ChunkError> {
    let reads = roll.grid.reads();
    let summaries = match block.summaries(col) {
        Ok(summaries) => summaries,
        // Damaged ones: the samples tell the same.
        Err(_) => {
            block.column(col, buf)?;
            feed(roll, block.times()?, buf, rows);
            return Ok(());
        }
    };
    let mut decoded = false;
    for (s, run) in summaries.iter().zip(runs) {
        if run.last_ms < reads.0 || run.first_ms >= reads.1 || roll.summary(s, run) {
            continue;
        }
        if !decoded {
            block.column(col, buf)?;
            decoded = true;
        }
        let here = s.rows.start.max(rows.start)..s.rows.end.min(rows.end);
        feed(roll, block.times()?, buf, here);
    }
    Ok(())
}

fn feed(roll: &mut Roll<'_>, times: &[TimeMs], buf: &ColumnBuf, rows: Range<usize>) {
    for i in rows {
        let value = Kind::from_u8(buf.kinds[i]).and_then(|k| Value::from_bits(k, buf.bits[i]));
        if let Some(value) = value {
            roll.sample(times[i], value);
        }
    }
}
