//! Rollups: what a field's samples say by steps of time.
//!
//! Blocks that overlap nothing are read by their summaries; a column is decoded
//! only where one of its summaries speaks of several buckets, of an edge of the
//! span, or of something a summary cannot tell (a reset, a gap, values out of
//! range). Counts, least and greatest are to the bit what the exact samples
//! give. Of counters the sum of rates and the newest rate inside of a summary
//! are by its mean rate; the newest of the whole span, if the newest block has
//! any, is exact.

use crate::chunk::{
    Block, ChunkError, ColumnBuf, DIGEST_MS, Digest, ReadAt, RunTimes, SUMMARY_ROWS, Summary,
};
use crate::history::{Bucket, FieldRollup};
use crate::series::{Drawn, Heartbeat, Run};
use rookery_plugins::{FieldSpec, FieldType, Kind, TimeMs, Value};
use std::ops::Range;

/// Between the shortest and the longest step of a summary's samples there may
/// be so much difference for its mean rate to stand for the rates.
const UNEVEN: f64 = 1.05;

/// A thread for so many samples, some 1.5 ms: fewer cost more to share out, since each
/// opens the blocks by itself.
const TASK_SAMPLES: i64 = 200_000;

/// Not every service says how often it is read: every 10 s, as an agent does if it
/// is not told otherwise.
const USUAL_STEP_MS: i64 = 10_000;

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

    /// In how many tasks so many fields are best read: one where their samples are
    /// few, or digests tell, which costs less than to wake another thread.
    pub fn n_tasks(&self, n_fields: usize) -> usize {
        let (from, to) = self.reads();
        let n_samples = to.saturating_sub(from) / USUAL_STEP_MS * n_fields as i64;
        if self.step_ms >= DIGEST_MS {
            return 1;
        }
        let n = usize::try_from(n_samples / TASK_SAMPLES).unwrap_or(usize::MAX);
        n.min(rayon::current_num_threads()).min(n_fields).max(1)
    }

    /// The times whose samples are read.
    pub fn reads(&self) -> (TimeMs, TimeMs) {
        (self.from_ms.saturating_sub(self.before_ms), self.to_ms)
    }

    fn bucket(&self, time_ms: TimeMs) -> usize {
        ((time_ms - self.from_ms) / self.step_ms) as usize
    }

    fn place(&self, times: RunTimes) -> Placed {
        let is_inside = times.first_ms >= self.from_ms && times.last_ms < self.to_ms;
        let bucket = is_inside.then(|| self.bucket(times.first_ms));
        let bucket = bucket.filter(|b| *b == self.bucket(times.last_ms));
        Placed { times, bucket }
    }
}

/// A run of rows that have a summary.
pub struct Placed {
    times: RunTimes,
    /// The one that all of it is in.
    bucket: Option<usize>,
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

    /// As [`Self::sample`] for some rows of a block.
    fn samples(
        &mut self,
        clock: &Clock,
        times: &[TimeMs],
        cells: &ColumnBuf,
        rows: Range<usize>,
        drawn: &mut Vec<f64>,
    ) {
        if cells.is_constant && self.constant(clock, times, cells, &rows) {
            return;
        }
        let lead = clock.lead.clamp(rows.start, rows.end);
        drawn.clear();
        for part in [rows.start..lead, lead..rows.end] {
            let run = Run {
                times_ms: &times[part.clone()],
                seconds: clock.seconds.get(part.clone()).unwrap_or_default(),
                longest_ms: clock.longest_ms,
                kinds: &cells.kinds[part.clone()],
                bits: &cells.bits[part],
            };
            self.drawn.next_all(&run, drawn);
            if run.times_ms.first().is_some_and(|t| *t < self.grid.from_ms) {
                self.drawn.forget_increase();
            }
        }
        for (bucket, part) in clock.buckets_of(&rows) {
            let part = part.start - rows.start..part.end - rows.start;
            self.out.buckets[bucket].push_all(&drawn[part]);
        }
    }

    /// Rows that all have one value; `false`: they must be looked at one by one.
    fn constant(
        &mut self,
        clock: &Clock,
        times: &[TimeMs],
        cells: &ColumnBuf,
        rows: &Range<usize>,
    ) -> bool {
        let value = rows
            .clone()
            .next()
            .and_then(|i| Value::from_bits(Kind::from_u8(cells.kinds[i])?, cells.bits[i]));
        let Some((value, v)) = value.and_then(|value| Some((value, value.as_f64()?))) else {
            return false;
        };
        if self.field.kind == FieldType::Gauge {
            if !v.is_nan() && self.in_range(v, v) {
                for (bucket, part) in clock.buckets_of(rows) {
                    self.out.buckets[bucket].push_same(v, part.len());
                }
            }
            return true;
        }
        let is_plain = matches!(self.field.kind, FieldType::Counter | FieldType::Derive);
        let is_still = is_plain && v.is_finite() && self.in_range(0.0, 0.0);
        if !is_still || clock.longest_ms > self.heartbeat.0 {
            return false;
        }
        // The rate over from what came before; then it stands still.
        self.sample(times[rows.start], value);
        let rest = rows.start + 1..rows.end;
        for (bucket, part) in clock.buckets_of(&rest) {
            self.out.buckets[bucket].push_same(0.0, part.len());
        }
        self.drawn.leap(times[rows.end - 1], value, 0.0);
        true
    }

    /// What came of it.
    pub fn finish(mut self) -> FieldRollup {
        self.out.total = Bucket::joined(&self.out.buckets);
        self.out.increase = self.drawn.increase();
        self.out
    }

    fn in_range(&self, least: f64, greatest: f64) -> bool {
        self.field.min.is_none_or(|min| least >= min)
            && self.field.max.is_none_or(|max| greatest <= max)
    }

    /// Takes the samples of `s` as a whole; `false`: they must be decoded.
    fn summary(&mut self, s: &Summary, run: &Placed) -> bool {
        let is_enough = self.is_enough(s, run);
        if is_enough {
            self.take(s, run);
        }
        is_enough
    }

    /// Whether the summary tells all that is asked of its samples.
    fn is_enough(&self, s: &Summary, run: &Placed) -> bool {
        let (Some((_, first)), Some((_, last))) = (s.first, s.last) else { return true };
        if run.bucket.is_none() {
            return false;
        }
        let run = &run.times;
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
    fn take(&mut self, s: &Summary, Placed { times: run, bucket }: &Placed) {
        let (Some((_, first)), Some((_, last))) = (s.first, s.last) else {
            // Nothing is known in it; what was read ends a counter's run.
            if s.unknown > 0 {
                self.drawn.next(run.last_ms, Value::Unknown);
            }
            return;
        };
        let Some(bucket) = *bucket else { return };
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
/// the block. `runs`: memory to be used again.
pub fn digest(
    digest: &mut Digest,
    cols: &mut [Option<usize>],
    rolls: &mut [Roll<'_>],
    is_newest: bool,
    runs: &mut Vec<Placed>,
) {
    let Some(grid) = rolls.first().map(|r| r.grid) else { return };
    runs.clear();
    runs.extend(digest.times.iter().map(|times| grid.place(*times)));
    for (col, roll) in cols.iter_mut().zip(rolls) {
        let Some(c) = col.filter(|c| digest.cols.contains(c)) else { continue };
        // A counter's summary does not tell its newest rate.
        if is_newest && roll.field.kind != FieldType::Gauge {
            continue;
        }
        let Ok(summaries) = digest.summaries(c) else { continue };
        let each = || summaries.iter().zip(&*runs);
        if each().all(|(s, run)| roll.is_enough(s, run)) {
            each().for_each(|(s, run)| roll.take(s, run));
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
    let times = block.times()?;
    let clock = Clock::new(times, &grid, rolls.iter().any(|r| r.field.kind != FieldType::Gauge));
    // Where buckets are shorter than runs, no run is in one bucket.
    let span = times[times.len() - 1] - times[0];
    let exactly = span / times.len().div_ceil(SUMMARY_ROWS) as i64 > grid.step_ms;
    let place = |times| grid.place(RunTimes::of(times));
    let runs: Vec<Placed> =
        if exactly { vec![] } else { times.chunks(SUMMARY_ROWS).map(place).collect() };
    let mut damage = Ok(());
    let mut drawn = Vec::new();
    for (col, roll) in cols.iter().zip(rolls) {
        let Some(col) = *col else { continue };
        // A counter's summary does not tell its newest rate.
        let exactly = exactly || is_newest && roll.field.kind != FieldType::Gauge;
        let read = if exactly {
            block.column(col, buf).and_then(|()| {
                roll.samples(&clock, block.times()?, buf, clock.rows.clone(), &mut drawn);
                Ok(())
            })
        } else {
            column(block, col, roll, &runs, &clock, (buf, &mut drawn))
        };
        // The others may be whole.
        damage = damage.and(read);
    }
    damage
}

/// What all columns of a block share.
struct Clock {
    /// The rows that are read.
    rows: Range<usize>,
    /// Those of them before the first bucket end here.
    lead: usize,
    /// Seconds from the row before to each; empty where there are levels only.
    seconds: Vec<f64>,
    /// The longest of these, ms; 0 where there are levels only.
    longest_ms: i64,
    /// The rows from `lead` on by bucket.
    buckets: Vec<(usize, Range<usize>)>,
}

impl Clock {
    fn new(times: &[TimeMs], grid: &Grid, has_rates: bool) -> Clock {
        let (from, to) = grid.reads();
        let rows = times.partition_point(|t| *t < from)..times.partition_point(|t| *t < to);
        let lead = times.partition_point(|t| *t < grid.from_ms).clamp(rows.start, rows.end);
        let (mut seconds, mut longest_ms) = (Vec::new(), 0);
        if has_rates {
            seconds.reserve_exact(times.len());
            seconds.push(0.0);
            for w in times.windows(2) {
                seconds.push((w[1] - w[0]) as f64 / 1000.0);
                longest_ms = longest_ms.max(w[1] - w[0]);
            }
        }
        let mut buckets = Vec::new();
        let mut at = lead;
        while at < rows.end {
            let bucket = grid.bucket(times[at]);
            let start = grid.from_ms + bucket as i64 * grid.step_ms;
            let end = start.saturating_add(grid.step_ms);
            let n = times[at..rows.end].partition_point(|t| *t < end);
            buckets.push((bucket, at..at + n));
            at += n;
        }
        Clock { rows, lead, seconds, longest_ms, buckets }
    }

    /// Those of these rows that are not before the first bucket, by bucket.
    fn buckets_of(&self, rows: &Range<usize>) -> impl Iterator<Item = (usize, Range<usize>)> {
        let rows = rows.start.max(self.lead)..rows.end;
        let first = self.buckets.partition_point(|(_, b)| b.end <= rows.start);
        let buckets = self.buckets[first..].iter();
        buckets.take_while(move |(_, here)| here.start < rows.end).map(move |(bucket, here)| {
            (*bucket, here.start.max(rows.start)..here.end.min(rows.end))
        })
    }
}

/// Feeds a field from its column's summaries, and from its samples where those
/// do not do.
fn column<R: ReadAt>(
    block: &mut Block<R>,
    col: usize,
    roll: &mut Roll<'_>,
    runs: &[Placed],
    clock: &Clock,
    (buf, drawn): (&mut ColumnBuf, &mut Vec<f64>),
) -> Result<(), ChunkError> {
    let reads = roll.grid.reads();
    let summaries = match block.summaries(col) {
        Ok(summaries) => summaries,
        // Damaged ones: the samples tell the same.
        Err(_) => {
            block.column(col, buf)?;
            roll.samples(clock, block.times()?, buf, clock.rows.clone(), drawn);
            return Ok(());
        }
    };
    let mut decoded = false;
    for (s, run) in summaries.iter().zip(runs) {
        let is_outside = run.times.last_ms < reads.0 || run.times.first_ms >= reads.1;
        if is_outside || roll.summary(s, run) {
            continue;
        }
        if !decoded {
            block.column(col, buf)?;
            decoded = true;
        }
        let here = s.rows.start.max(clock.rows.start)..s.rows.end.min(clock.rows.end);
        roll.samples(clock, block.times()?, buf, here, drawn);
    }
    Ok(())
}
