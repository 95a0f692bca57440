//! The sealer: one thread that turns frozen head blocks into sealed ones.
//!
//! A block leaves the head only when it stands in its period's database on
//! disk; until then readers find it in the head, and a crash finds it in the
//! journal.

use crate::catalog::NodeEntry;
use crate::chunk::{Encoder, Rows};
use crate::db;
use crate::head::HeadBlock;
use crate::pack;
use crate::period::{NewBlock, Period, PeriodId, insert_block};
use crate::retain::{self, Keep, Removed};
use crate::store::{Shared, StoreError, now_ms};
use crate::writer::{Reply, RetainReply};
use rookery_plugins::{LayoutId, TimeMs};
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

/// Blocks that may wait for the sealer; then the writer waits for it.
pub const BACKLOG_MAX: usize = 8;
/// zstd's level for blocks as they are frozen: cheap, for re-packing comes.
const LEVEL: i32 = 1;
/// After a failure (a full disk) the sealer tries again in this time, …
const RETRY: Duration = Duration::from_millis(250);
/// … then in twice that, and so on up to this.
const RETRY_MAX: Duration = Duration::from_secs(5);

/// A month's file is put aside when it was found damaged so many times, …
const DAMAGED_TRIES: u32 = 3;
/// … with this pause between.
const DAMAGED_RETRY: Duration = Duration::from_millis(100);

/// How often the sealer looks whether there is enough to be packed.
const PACK_LOOK: Duration = Duration::from_secs(60);
/// A month that has been over for so long is packed whole, ms.
const PERIOD_SETTLED_MS: TimeMs = 2 * 86_400_000;

/// Something for the sealer to do.
pub enum SealJob {
    /// The oldest frozen block of this layout of this node.
    Block(Arc<NodeEntry>, LayoutId),
    /// Answer when all before is done.
    Barrier(mpsc::Sender<()>),
    /// Pack everything, however short, and answer then.
    Pack(oneshot::Sender<Reply>),
    /// Remove what these rules do not keep.
    Retain {
        /// The first that speaks of a service holds.
        rules: Vec<Keep>,
        /// The age of samples is counted from here.
        now_ms: TimeMs,
        /// Who is told.
        reply: oneshot::Sender<RetainReply>,
    },
}

/// Runs until the writer is gone.
pub fn run(shared: &Shared, jobs: &mpsc::Receiver<SealJob>) {
    let mut sealer = Sealer {
        encoder: Encoder::new(),
        data: Vec::new(),
        writers: Writers::default(),
        sealed: BTreeSet::new(),
        packing: Packing::new(shared),
    };
    let pulses = &shared.pulses;
    loop {
        pulses.beat(&pulses.sealer);
        let first = match jobs.recv_timeout(sealer.packing.wait()) {
            Ok(first) => first,
            Err(mpsc::RecvTimeoutError::Timeout) => {
                sealer.pack_some(shared);
                continue;
            }
            Err(mpsc::RecvTimeoutError::Disconnected) => return pulses.rest(&pulses.sealer),
        };
        let mut blocks = Vec::new();
        let mut barriers = Vec::new();
        let more = std::iter::from_fn(|| jobs.try_recv().ok()).take(BACKLOG_MAX);
        for job in std::iter::once(first).chain(more) {
            match job {
                SealJob::Block(node, layout) => blocks.push((node, layout)),
                SealJob::Barrier(done) => barriers.push(done),
                SealJob::Pack(reply) => sealer.packing.ask(shared, reply),
                SealJob::Retain { rules, now_ms, reply } => {
                    // Whoever asked may have given up.
                    let _ = reply.send(sealer.retain(shared, &rules, now_ms));
                }
            }
        }
        let mut pause = RETRY;
        while let Err(e) = sealer.seal(shared, &blocks) {
            shared.stats.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!("sealing failed, will be tried again: {e}");
            shared.note_sealing(Some(e.to_string()));
            sealer.writers.clear();
            pulses.beat(&pulses.sealer);
            if shared.stopping.load(Ordering::SeqCst) {
                return pulses.rest(&pulses.sealer);
            }
            std::thread::sleep(pause);
            pause = (pause * 2).min(RETRY_MAX);
        }
        shared.note_sealing(None);
        for done in barriers {
            // Whoever asked may have given up.
            let _ = done.send(());
        }
    }
}

/// Months whose files stay open to be written.
const WRITERS_MAX: usize = 8;

/// The connections of the months that were written to last, the last at the end, each
/// with the number of its file.
#[derive(Default)]
struct Writers(Vec<(PeriodId, u64, Connection)>);

impl Writers {
    /// The connection to this file. One to another file that had its name is closed.
    fn take(&mut self, id: PeriodId, period: &Period) -> Option<Connection> {
        let at = self.0.iter().position(|(i, ..)| *i == id)?;
        let (_, number, conn) = self.0.remove(at);
        (number == period.number()).then_some(conn)
    }

    fn put(&mut self, id: PeriodId, period: &Period, conn: Connection) {
        self.0.push((id, period.number(), conn));
        if self.0.len() > WRITERS_MAX {
            self.0.remove(0);
        }
    }

    /// Closes what is open of this month, but not if it is of this file.
    fn close(&mut self, id: PeriodId, but: Option<u64>) {
        self.0.retain(|(i, number, _)| *i != id || Some(*number) == but);
    }

    fn clear(&mut self) {
        self.0.clear();
    }
}

struct Sealer {
    encoder: Encoder,
    data: Vec<u8>,
    writers: Writers,
    /// The months that have their part of the blocks at hand, while another's
    /// fails.
    sealed: BTreeSet<PeriodId>,
    packing: Packing,
}

/// What is to be packed.
struct Packing {
    /// Months that were written to since they were looked at.
    touched: BTreeSet<PeriodId>,
    /// Months that were written to and may hold freed pages.
    untidy: BTreeSet<PeriodId>,
    looked: Instant,
    /// What was found; `None`: the month is done, give its freed pages back.
    found: VecDeque<(PeriodId, Option<(i64, LayoutId)>)>,
    /// Pack also what is short.
    all: bool,
    replies: Vec<oneshot::Sender<Reply>>,
    /// What could not be packed; not tried again before the next start.
    failed: HashSet<(PeriodId, i64, LayoutId)>,
}

impl Packing {
    fn new(shared: &Shared) -> Packing {
        Packing {
            touched: shared.periods.newest_first().into_iter().map(|p| p.0).collect(),
            untidy: BTreeSet::new(),
            looked: Instant::now(),
            found: VecDeque::new(),
            all: false,
            replies: Vec::new(),
            failed: HashSet::new(),
        }
    }

    /// How long the sealer may sleep.
    fn wait(&self) -> Duration {
        if self.found.is_empty() && self.replies.is_empty() {
            return PACK_LOOK.saturating_sub(self.looked.elapsed());
        }
        Duration::ZERO
    }

    fn ask(&mut self, shared: &Shared, reply: oneshot::Sender<Reply>) {
        self.all = true;
        self.found.clear();
        self.touched.extend(shared.periods.newest_first().into_iter().map(|p| p.0));
        self.replies.push(reply);
    }

    /// Nothing is left to be packed.
    fn done(&mut self) {
        self.all = false;
        for reply in self.replies.drain(..) {
            // Whoever asked may have given up.
            let _ = reply.send(Ok(()));
        }
    }
}

impl Sealer {
    /// Packs one layout of one node, or looks for what there is to pack.
    fn pack_some(&mut self, shared: &Shared) {
        let Some((id, what)) = self.packing.found.pop_front() else {
            self.packing.looked = Instant::now();
            let all = self.packing.all;
            for id in std::mem::take(&mut self.packing.touched) {
                let settled = id.end_ms() + PERIOD_SETTLED_MS < now_ms();
                if let Err(e) = self.look(shared, id, all || settled) {
                    tracing::error!("{e}");
                }
            }
            if self.packing.found.is_empty() {
                self.packing.done();
            }
            return;
        };
        let done = match what {
            Some((node, layout)) => self.pack_one(shared, id, node, layout),
            None => self.tidy(shared, id),
        };
        if let Err(e) = done {
            shared.stats.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!("packing failed, the blocks stay as they are: {e}");
            self.writers.close(id, None);
            if let Some((node, layout)) = what {
                self.packing.failed.insert((id, node, layout));
            }
        }
    }

    fn look(&mut self, shared: &Shared, id: PeriodId, all: bool) -> Result<(), StoreError> {
        let Some(period) = shared.periods.get(id) else { return Ok(()) };
        let loose =
            period.with_reader(|c| pack::loose(c).map_err(|e| StoreError::db(period.path(), e)))?;
        let layouts: HashMap<(i64, LayoutId), usize> = shared
            .nodes
            .all()
            .iter()
            .flat_map(|n| n.layouts().into_iter().map(|l| ((n.id, l.layout.id()), l.layout.len())))
            .collect();
        let worth = |(node, layout, n_rows): &(i64, LayoutId, usize)| {
            let n_cols = layouts.get(&(*node, *layout));
            n_cols.is_some_and(|n| all || *n_rows >= pack::rows_of(*n))
                && !self.packing.failed.contains(&(id, *node, *layout))
        };
        let found: Vec<_> = loose.into_iter().filter(worth).collect();
        self.packing.found.extend(found.iter().map(|f| (id, Some((f.0, f.1)))));
        if all {
            // A month that nobody has written to stays as it is, to the byte.
            if !found.is_empty() || self.packing.untidy.remove(&id) {
                self.packing.found.push_back((id, None));
            }
        } else if !found.is_empty() {
            // There may be more by then.
            self.packing.touched.insert(id);
        }
        Ok(())
    }

    fn pack_one(
        &mut self,
        shared: &Shared,
        id: PeriodId,
        node: i64,
        layout: LayoutId,
    ) -> Result<(), StoreError> {
        let Some(period) = shared.periods.get(id) else { return Ok(()) };
        let node_entry = shared.nodes.all().into_iter().find(|n| n.id == node);
        let Some(index) = node_entry.and_then(|n| n.layout(layout)) else { return Ok(()) };
        let conn = self.writer(&period, id)?;
        let all = self.packing.all || id.end_ms() + PERIOD_SETTLED_MS < now_ms();
        let n_gone = pack::pack(&period, &conn, &mut self.encoder, node, &index, all)?;
        self.writers.put(id, &period, conn);
        shared.stats.blocks_packed.fetch_add(n_gone as u64, Ordering::Relaxed);
        Ok(())
    }

    fn retain(
        &mut self,
        shared: &Shared,
        rules: &[Keep],
        now_ms: TimeMs,
    ) -> Result<Removed, StoreError> {
        let mut removed = Removed::default();
        for (id, period) in shared.periods.newest_first() {
            let done = self.retain_in(shared, id, &period, rules, now_ms);
            let here = shared.pass_damage(done)?;
            removed.blocks += here.blocks;
            removed.thinned += here.thinned;
            removed.months += here.months;
        }
        Ok(removed)
    }

    fn retain_in(
        &mut self,
        shared: &Shared,
        id: PeriodId,
        period: &Period,
        rules: &[Keep],
        now_ms: TimeMs,
    ) -> Result<Removed, StoreError> {
        let conn = self.writer(period, id)?;
        let mut removed = Removed::default();
        for node in shared.nodes.all() {
            for index in node.layouts() {
                let of = (&*node, &index);
                let here = retain::retain(period, &conn, &mut self.encoder, of, rules, now_ms)?;
                removed.blocks += here.blocks;
                removed.thinned += here.thinned;
            }
        }
        let err = |e| StoreError::db(period.path(), e);
        if removed.blocks > 0 && id.end_ms() < now_ms && retain::is_empty(&conn).map_err(err)? {
            drop(conn);
            shared.periods.delete(id)?;
            removed.months += 1;
        } else if removed != Removed::default() {
            db::shrink(&conn).map_err(err)?;
        }
        Ok(removed)
    }

    /// Gives freed pages back to the file system.
    fn tidy(&mut self, shared: &Shared, id: PeriodId) -> Result<(), StoreError> {
        let Some(period) = shared.periods.get(id) else { return Ok(()) };
        let conn = self.writer(&period, id)?;
        db::shrink(&conn).map_err(|e| StoreError::db(period.path(), e))?;
        if id.end_ms() + PERIOD_SETTLED_MS < now_ms() {
            period.fit_pages(&conn)?;
        }
        // A month that is over needs no connection.
        if id.end_ms() > now_ms() {
            self.writers.put(id, &period, conn);
        }
        Ok(())
    }

    fn writer(&mut self, period: &Period, id: PeriodId) -> Result<Connection, StoreError> {
        match self.writers.take(id, period) {
            Some(conn) => Ok(conn),
            None => period.writer(),
        }
    }
}

/// A frozen block and the pieces of it that go into each month.
struct Work {
    node: Arc<NodeEntry>,
    frozen: Arc<HeadBlock>,
    sorted: Option<HeadBlock>,
}

impl Work {
    fn block(&self) -> &HeadBlock {
        self.sorted.as_ref().unwrap_or(&self.frozen)
    }
}

impl Sealer {
    /// Seals these blocks, one commit for each month that they touch.
    fn seal(
        &mut self,
        shared: &Shared,
        blocks: &[(Arc<NodeEntry>, LayoutId)],
    ) -> Result<(), StoreError> {
        let work = gather(blocks);
        let mut by_period: BTreeMap<PeriodId, Vec<(usize, Range<usize>)>> = BTreeMap::new();
        for (i, w) in work.iter().enumerate() {
            for (period, rows) in by_month(&w.block().times_ms) {
                by_period.entry(period).or_default().push((i, rows));
            }
        }
        for (id, pieces) in &by_period {
            if !self.sealed.contains(id) {
                self.seal_or_begin_anew(shared, *id, &work, pieces)?;
                self.sealed.insert(*id);
            }
        }
        self.sealed.clear();
        for w in &work {
            let mut head = w.node.head();
            let Some(layout) = head.layout_mut(w.frozen.index.layout.id()) else { continue };
            layout.frozen.retain(|b| !Arc::ptr_eq(b, &w.frozen));
            let newest = w.frozen.times_ms.iter().max().copied();
            layout.sealed_to_ms = layout.sealed_to_ms.max(newest);
        }
        Ok(())
    }

    /// Seals into a month; if its file is damaged, into a new one.
    fn seal_or_begin_anew(
        &mut self,
        shared: &Shared,
        id: PeriodId,
        work: &[Work],
        pieces: &[(usize, Range<usize>)],
    ) -> Result<(), StoreError> {
        for _ in 1..DAMAGED_TRIES {
            match self.seal_period(shared, id, work, pieces) {
                // SQLite says so, too, when a page could not be read just now.
                Err(e) if e.is_beyond_repair() => self.writers.close(id, None),
                other => return other,
            };
            std::thread::sleep(DAMAGED_RETRY);
        }
        match self.seal_period(shared, id, work, pieces) {
            Err(e) if e.is_beyond_repair() => {
                self.writers.close(id, None);
                let aside = shared.periods.set_aside(id)?;
                tracing::error!(
                    "FATAL: {e}: the file cannot be written, is {} now, and the month is begun \
                     anew",
                    aside.display()
                );
                self.seal_period(shared, id, work, pieces)
            }
            other => other,
        }
    }

    fn seal_period(
        &mut self,
        shared: &Shared,
        id: PeriodId,
        work: &[Work],
        pieces: &[(usize, Range<usize>)],
    ) -> Result<(), StoreError> {
        let known = shared.periods.get(id);
        let is_there = known.as_ref().is_none_or(|period| period.is_there());
        let file = known.filter(|_| is_there).map(|period| period.number());
        // Before another file gets this name: who closes it later removes that one's WAL.
        self.writers.close(id, file);
        if !is_there {
            shared.periods.forget(id);
            shared.watched.note_vanished(id);
        }
        let period = shared.periods.get_or_new(id)?;
        let err = |e| StoreError::db(period.path(), e);
        let conn = self.writer(&period, id)?;
        shared.watched.note_written(id);
        self.packing.touched.insert(id);
        self.packing.untidy.insert(id);
        let tx = conn.unchecked_transaction().map_err(err)?;
        let mut n_bytes = 0;
        for (i, rows) in pieces {
            let (node, block) = (&work[*i].node, work[*i].block());
            let n = block.n_cols();
            let times = &block.times_ms[rows.clone()];
            let input = Rows {
                times_ms: times,
                n_cols: n,
                kind_sets: &block.kind_sets,
                row_kind: &block.row_kind[rows.clone()],
                bits: &block.bits[rows.start * n..rows.end * n],
            };
            self.data.clear();
            self.encoder.encode(&input, 0..n, LEVEL, &mut self.data);
            let new = NewBlock {
                node: node.id,
                layout: block.index.layout.id(),
                level: 0,
                cols: 0..n,
                span: (times[0], times[times.len() - 1]),
                n_rows: times.len(),
                position: block.last_position,
                data: &self.data,
                digests: self.encoder.digests(),
            };
            insert_block(&tx, &new).map_err(err)?;
            n_bytes += self.data.len();
        }
        tx.commit().map_err(err)?;
        self.writers.put(id, &period, conn);
        shared.stats.blocks_sealed.fetch_add(pieces.len() as u64, Ordering::Relaxed);
        shared.stats.bytes_sealed.fetch_add(n_bytes as u64, Ordering::Relaxed);
        Ok(())
    }
}

/// The frozen blocks that the jobs name: the n-th job of a layout its n-th.
fn gather(blocks: &[(Arc<NodeEntry>, LayoutId)]) -> Vec<Work> {
    let mut taken: HashMap<(i64, LayoutId), usize> = HashMap::new();
    let mut work = Vec::with_capacity(blocks.len());
    for (node, layout) in blocks {
        let n = taken.entry((node.id, *layout)).or_insert(0);
        let frozen = node.head().layout(*layout).and_then(|l| l.frozen.get(*n).cloned());
        *n += 1;
        if let Some(frozen) = frozen.filter(|b| b.n_rows() > 0) {
            let sorted = (!frozen.sorted).then(|| frozen.sorted_copy());
            work.push(Work { node: node.clone(), frozen, sorted });
        }
    }
    work
}

/// Splits ascending times where the month changes.
fn by_month(times: &[i64]) -> Vec<(PeriodId, Range<usize>)> {
    let mut parts = Vec::new();
    let mut start = 0;
    while start < times.len() {
        let id = PeriodId::of(times[start]);
        // Fast path: all in one month.
        let last_is_in = PeriodId::of(times[times.len() - 1]) == id;
        let end = if last_is_in {
            times.len()
        } else {
            start + times[start..].partition_point(|t| PeriodId::of(*t) == id)
        };
        parts.push((id, start..end));
        start = end;
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_split_where_months_do() {
        let last_of_november = 1_796_083_199_999;
        let times = [last_of_november - 1, last_of_november, last_of_november + 1];
        let parts = by_month(&times);
        assert_eq!(parts.iter().map(|p| p.1.clone()).collect::<Vec<_>>(), [0..2, 2..3]);
    }
}
