//! The writer: one thread that journals, keeps the head and answers.
//!
//! Whatever has arrived while a commit was on its way goes into the next one:
//! the more connections wait, the cheaper each becomes. Only after the commit
//! are rows applied to the head, shown to the [`Observer`] and acknowledged.

mod changes;

use crate::apply::apply;
use crate::catalog::{Catalog, FrameId, LayoutIndex, NodeEntry, Order, Said};
use crate::doubled::without_doubled;
use crate::journal::{Journal, Position};
use crate::quarantine::Quarantine;
use crate::retain::{Keep, Removed};
use crate::seal::SealJob;
use crate::store::{Shared, StoreError, now_ms};
use crate::stored::StoredRows;
use crate::vanished;
use bytes::Bytes;
use rookery_plugins::wire::{Frame, Row, WireError};
use rookery_plugins::{LayoutId, TimeMs};
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};
use tokio::sync::oneshot;

pub use changes::NodeChange;

/// What the sender of a frame is told that is in quarantine.
const SET_ASIDE: &str = "the collector ended twice on this batch: it is set aside in its folder \
                         quarantine, see /problems";

/// Frames that may wait for the writer; more are refused as busy.
pub const QUEUE_FRAMES_MAX: usize = 8192;
/// Bytes that go into one commit, unless one frame alone is larger.
const COMMIT_BYTES_MAX: usize = 8 << 20;
/// How often the observer is told the time, and the journal is looked at.
const TICK: Duration = Duration::from_secs(1);
/// How often a sealer that is behind is looked at.
const SEALER_LOOK: Duration = Duration::from_millis(1);

/// Sees every row right after it is on disk, on the writer's thread.
pub trait Observer: Send {
    /// A new row.
    fn row(&mut self, node: &Arc<NodeEntry>, index: &Arc<LayoutIndex>, row: &Row<'_>, now: TimeMs);
    /// A node's services or layouts have changed.
    fn described(&mut self, node: &Arc<NodeEntry>);
    /// A commit's rows are all seen, or a second has passed.
    fn settle(&mut self, now_ms: TimeMs);
    /// A node is called otherwise from now on.
    fn renamed(&mut self, from: &str, node: &Arc<NodeEntry>);
    /// A node, called so, is not expected any more.
    fn retired(&mut self, node: &str);
}

/// An observer that looks away.
pub struct NoObserver;

impl Observer for NoObserver {
    fn row(&mut self, _: &Arc<NodeEntry>, _: &Arc<LayoutIndex>, _: &Row<'_>, _: TimeMs) {}
    fn described(&mut self, _: &Arc<NodeEntry>) {}
    fn renamed(&mut self, _: &str, _: &Arc<NodeEntry>) {}
    fn retired(&mut self, _: &str) {}
    fn settle(&mut self, _: TimeMs) {}
}

/// What the sender of a frame is told.
pub type Reply = Result<(), StoreError>;

/// What whoever asked for retention is told.
pub type RetainReply = Result<Removed, StoreError>;

/// A frame that waits for its commit.
struct Waiting {
    bytes: Bytes,
    /// Its layouts are homes of what comes as JSON, see [`crate::json_rows`].
    are_homes: bool,
    reply: oneshot::Sender<Reply>,
}

/// A frame that was parsed, or not, and where it came from.
type Parsed<'b> = (Result<Frame<'b>, WireError>, &'b Waiting);

enum Job {
    Frame(Waiting),
    SealAll { reply: oneshot::Sender<Reply> },
    Retain { rules: Vec<Keep>, now_ms: TimeMs, reply: oneshot::Sender<RetainReply> },
    Change { what: NodeChange, reply: oneshot::Sender<Reply> },
}

/// The frames that wait.
#[derive(Default)]
pub struct Queue {
    jobs: Mutex<Vec<Job>>,
    arrived: Condvar,
    /// Somebody wants the writer to look up, whether it waits already or not.
    woken: AtomicBool,
}

impl Queue {
    /// Hands a checked frame to the writer; the answer comes when it is on
    /// disk. `None`: too many wait already.
    pub fn send(&self, bytes: Bytes) -> Option<oneshot::Receiver<Reply>> {
        let (reply, answer) = oneshot::channel();
        self.push(Job::Frame(Waiting { bytes, are_homes: false, reply })).then_some(answer)
    }

    /// As [`Queue::send`], a frame that was made of JSON. It is answered
    /// [`StoreError::Replan`] when one of its fields has a home that it does not know.
    pub fn send_json(&self, bytes: Bytes) -> Option<oneshot::Receiver<Reply>> {
        let (reply, answer) = oneshot::channel();
        self.push(Job::Frame(Waiting { bytes, are_homes: true, reply })).then_some(answer)
    }

    /// Asks for the whole head to be sealed and for the journal to be emptied.
    pub fn seal_all(&self) -> Option<oneshot::Receiver<Reply>> {
        let (reply, answer) = oneshot::channel();
        self.push(Job::SealAll { reply }).then_some(answer)
    }

    /// Asks for what the rules do not keep to be removed from sealed blocks.
    pub fn retain(
        &self,
        rules: Vec<Keep>,
        now_ms: TimeMs,
    ) -> Option<oneshot::Receiver<RetainReply>> {
        let (reply, answer) = oneshot::channel();
        self.push(Job::Retain { rules, now_ms, reply }).then_some(answer)
    }

    /// Asks for a node to be renamed, retired or removed; the answer comes when that is
    /// on disk.
    pub fn change(&self, what: NodeChange) -> Option<oneshot::Receiver<Reply>> {
        let (reply, answer) = oneshot::channel();
        self.push(Job::Change { what, reply }).then_some(answer)
    }

    fn push(&self, job: Job) -> bool {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.len() >= QUEUE_FRAMES_MAX {
            return false;
        }
        jobs.push(job);
        let was_empty = jobs.len() == 1;
        drop(jobs);
        if was_empty {
            self.arrived.notify_one();
        }
        true
    }

    /// Makes the writer look up.
    pub fn wake(&self) {
        // Under the lock: not between the writer's look and its wait.
        let jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        self.woken.store(true, Ordering::SeqCst);
        drop(jobs);
        self.arrived.notify_one();
    }

    /// Swaps what waits into `into`, after at most `wait`.
    fn take(&self, into: &mut Vec<Job>, wait: Duration) {
        let mut jobs = self.jobs.lock().unwrap_or_else(PoisonError::into_inner);
        if jobs.is_empty() && !self.woken.swap(false, Ordering::SeqCst) {
            (jobs, _) =
                self.arrived.wait_timeout(jobs, wait).unwrap_or_else(PoisonError::into_inner);
        }
        std::mem::swap(&mut *jobs, into);
    }
}

/// A frame that goes into the next commit, and its bytes.
type Accepted<'b> = (Arc<NodeEntry>, Frame<'b>, Position, &'b Bytes, FrameId);

/// The writer's own state.
pub struct Writer {
    shared: Arc<Shared>,
    catalog: Catalog,
    journal: Journal,
    quarantine: Quarantine,
    sealer: mpsc::SyncSender<SealJob>,
    /// What the sealer has no room for.
    for_sealer: VecDeque<SealJob>,
    observer: Box<dyn Observer>,
    /// The last commit failed.
    is_failing: bool,
    /// The journal could not be trimmed since the last tick.
    is_untrimmed: bool,
}

impl Writer {
    /// All that the thread needs.
    pub fn new(
        shared: Arc<Shared>,
        (catalog, journal, quarantine): (Catalog, Journal, Quarantine),
        sealer: mpsc::SyncSender<SealJob>,
        observer: Box<dyn Observer>,
    ) -> Writer {
        let for_sealer = VecDeque::new();
        Writer {
            shared,
            catalog,
            journal,
            quarantine,
            sealer,
            for_sealer,
            observer,
            is_failing: false,
            is_untrimmed: false,
        }
    }

    /// Runs until the store is stopping and the queue is empty.
    pub fn run(mut self) {
        for node in self.shared.nodes.all() {
            self.observer.described(&node);
            self.seal_frozen(&node);
        }
        let mut jobs = Vec::new();
        let mut ticked = Instant::now();
        loop {
            self.shared.pulses.beat(&self.shared.pulses.writer);
            self.shared.queue.take(&mut jobs, TICK.saturating_sub(ticked.elapsed()));
            if jobs.is_empty() && self.shared.stopping.load(Ordering::SeqCst) {
                break;
            }
            self.serve(&mut jobs);
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
            }
        }
        let pulses = &self.shared.pulses;
        pulses.rest(&pulses.writer);
        pulses.rest(&pulses.alerting);
        if let Err(e) = self.catalog.save_frames() {
            tracing::error!("{e}");
        }
    }

    /// Has the observer write down what came of the rows.
    fn settle(&mut self, now: TimeMs) {
        self.observer.settle(now);
        self.shared.pulses.beat(&self.shared.pulses.alerting);
    }

    fn tick(&mut self) {
        self.hand_over();
        let now = now_ms();
        let before = now - self.shared.settings.seal_after_ms;
        for node in self.shared.nodes.all() {
            let frozen = node.head().freeze_older(before);
            for layout in frozen {
                self.seal_later(SealJob::Block(node.clone(), layout));
            }
        }
        self.settle(now);
        self.is_untrimmed = false;
        if let Err(e) = self.restore_vanished() {
            tracing::error!("{e}");
        }
        self.trim_if_full();
    }

    /// Takes out of the journal again what was sealed into a month's file that somebody
    /// has removed or replaced since; whether there is one.
    fn restore_vanished(&mut self) -> Result<bool, StoreError> {
        let Some(froze) = vanished::restore(&self.shared, &mut self.journal)? else {
            return Ok(false);
        };
        for (node, layout) in froze {
            self.seal_later(SealJob::Block(node, layout));
        }
        Ok(true)
    }

    /// Tried again at the next tick only, should it fail.
    fn trim_if_full(&mut self) {
        if self.is_untrimmed || !self.journal.is_full() {
            return;
        }
        if let Err(e) = self.trim_journal() {
            self.is_untrimmed = true;
            self.shared.stats.failures.fetch_add(1, Ordering::Relaxed);
            tracing::error!("the journal cannot be trimmed: {e}");
        }
    }

    /// Begins a new segment and deletes those of which nothing is needed.
    fn trim_journal(&mut self) -> Result<(), StoreError> {
        if !self.journal.is_empty() {
            self.journal.rotate()?;
        }
        self.catalog.save_frames()?;
        let mark = self.shared.watched.mark();
        let mut keep_from = self.journal.next_position();
        for node in self.shared.nodes.all() {
            for head in node.head().layouts() {
                let open = (head.open.n_rows() > 0).then_some(head.open.first_position);
                let frozen = head.frozen.first().map(|b| b.first_position);
                keep_from = open.into_iter().chain(frozen).fold(keep_from, Position::min);
            }
        }
        // Looked at after what is sealed was counted, before it is dropped.
        if self.restore_vanished()? {
            return Ok(());
        }
        self.journal.delete_before(keep_from)?;
        self.shared.watched.note_trimmed(mark);
        self.catalog.checkpoint()
    }

    fn serve(&mut self, jobs: &mut Vec<Job>) {
        let mut frames = Vec::with_capacity(jobs.len());
        let mut bytes_waiting = 0;
        for job in jobs.drain(..) {
            match job {
                Job::Frame(frame) => {
                    bytes_waiting += frame.bytes.len();
                    frames.push(frame);
                    if bytes_waiting >= COMMIT_BYTES_MAX {
                        self.commit(std::mem::take(&mut frames));
                        bytes_waiting = 0;
                    }
                }
                Job::Retain { rules, now_ms, reply } => {
                    self.seal_later(SealJob::Retain { rules, now_ms, reply });
                }
                Job::Change { what, reply } => {
                    self.commit(std::mem::take(&mut frames));
                    bytes_waiting = 0;
                    let done = self.change(&what);
                    // The sender may be gone: it is done all the same.
                    drop(reply.send(done));
                }
                Job::SealAll { reply } => {
                    self.commit(std::mem::take(&mut frames));
                    bytes_waiting = 0;
                    match self.seal_all() {
                        // Answered when it is packed too; ingest goes on.
                        Ok(()) => self.seal_later(SealJob::Pack(reply)),
                        // The sender may be gone: nothing to do about that.
                        Err(e) => drop(reply.send(Err(e))),
                    }
                }
            }
        }
        self.commit(frames);
    }

    /// One durable commit of these frames, then their application.
    fn commit(&mut self, frames: Vec<Waiting>) {
        if frames.is_empty() {
            return;
        }
        if let Err(e) = self.is_ready() {
            let text = self.note_failure(&e);
            for frame in frames {
                // The sender may have hung up.
                let _ = frame.reply.send(Err(StoreError::Other(text.clone())));
            }
            return;
        }
        let mut accepted = Vec::with_capacity(frames.len());
        let mut refusals = Vec::with_capacity(frames.len());
        let mut stored = StoredRows::default();
        let parsed: Vec<Parsed<'_>> =
            frames.iter().map(|frame| (Frame::parse(&frame.bytes), frame)).collect();
        let less = self.without_doubled(&parsed, &mut stored);
        for (parsed, less) in parsed.into_iter().zip(&less) {
            match self.accept(parsed, less.as_ref()) {
                Ok(taken) => {
                    accepted.extend(taken);
                    refusals.push(None);
                }
                Err(e) => refusals.push(Some(e)),
            }
        }
        // Waiting for the disk is nobody's fault.
        self.quarantine.rest();
        // What frames describe first: their rows need it.
        let committed = match self.catalog.commit() {
            Ok(()) => self.journal.commit(),
            Err(e) => {
                self.journal.discard();
                Err(e)
            }
        };
        let failure = committed.err().map(|e| self.note_failure(&e));
        if failure.is_some() {
            for (node, _, _, _, id) in &accepted {
                node.forget_frame(*id);
            }
        } else {
            if std::mem::take(&mut self.is_failing) {
                self.shared.pulses.note_writing(None);
                tracing::info!("the history is written again");
            }
            self.apply_all(&accepted, &mut stored);
        }
        drop(accepted);
        for (Waiting { reply, .. }, refusal) in frames.into_iter().zip(refusals) {
            let answer = match (&failure, refusal) {
                (_, Some(e)) => Err(e),
                (Some(text), None) => Err(StoreError::Other(text.clone())),
                (None, None) => Ok(()),
            };
            // The sender may have hung up; its frame is kept all the same.
            let _ = reply.send(answer);
        }
    }

    /// Counts a failed commit, tells it at the beginning of a row of them, and
    /// gives its text. SQLite writes all of it anew the next time, so that
    /// nothing rests on what an fsync has failed to bring to disk.
    fn note_failure(&mut self, e: &StoreError) -> String {
        self.shared.stats.failures.fetch_add(1, Ordering::Relaxed);
        let text = e.to_string();
        self.shared.pulses.note_writing(Some(text.clone()));
        if !std::mem::replace(&mut self.is_failing, true) {
            tracing::error!("FATAL: nothing is acknowledged, agents keep what they have: {text}");
        }
        text
    }

    /// The frames without the rows that were taken before, of those that have some.
    fn without_doubled(
        &self,
        frames: &[Parsed<'_>],
        stored: &mut StoredRows,
    ) -> Vec<Option<Bytes>> {
        let of = |(parsed, waiting): &Parsed<'_>| {
            let frame = parsed.as_ref().ok()?;
            let node = self.shared.nodes.get(frame.node)?;
            if frame.sequence > 0 && node.has_frame(FrameId::of(frame, &waiting.bytes)) {
                return None;
            }
            without_doubled(&self.shared, &node, frame, &waiting.bytes, stored)
        };
        frames.iter().map(of).collect()
    }

    /// Checks a frame against the catalog and puts it into the journal's next commit;
    /// `None` for a frame that was taken before. `less`: it without the rows that were.
    fn accept<'b>(
        &mut self,
        (parsed, waiting): Parsed<'b>,
        less: Option<&'b Bytes>,
    ) -> Result<Option<Accepted<'b>>, StoreError> {
        // As it stands in the journal, where the next start meets it.
        let bytes = less.unwrap_or(&waiting.bytes);
        if !self.quarantine.begin(bytes) {
            return Err(StoreError::Refused(SET_ASIDE.to_owned()));
        }
        let refused = |e: WireError| StoreError::Refused(e.to_string());
        let mut frame = parsed.map_err(refused)?;
        let node = self.catalog.node(frame.node)?;
        let id = FrameId::of(&frame, &waiting.bytes);
        if frame.sequence > 0 && node.has_frame(id) {
            self.shared.stats.doubled_frames.fetch_add(1, Ordering::Relaxed);
            return Ok(None);
        }
        if let Some(less) = less {
            frame = Frame::parse(less).map_err(refused)?;
        }
        if frame.announce.is_some() || !frame.layouts.is_empty() {
            let from_ms = frame.rows.first().map_or_else(now_ms, |r| r.time_ms);
            if waiting.are_homes && !node.may_be_homes(&frame.layouts) {
                return Err(StoreError::Replan);
            }
            let announce = frame.announce.as_ref();
            let said = Said::now(announce, &frame.layouts, waiting.are_homes);
            if self.catalog.take(&node, said, from_ms)? {
                self.observer.described(&node);
            }
        }
        check_layouts(&node, &frame)?;
        if frame.sequence > 0 {
            tell_order(&node, id, node.note_frame(id));
        }
        if less.is_some() && frame.rows.is_empty() {
            return Ok(None);
        }
        if node.is_retired() && frame.rows.iter().any(|r| node.is_news(r.time_ms)) {
            self.bring_back(&node)?;
        }
        let position = self.journal.push(bytes);
        Ok(Some((node, frame, position, bytes, id)))
    }

    fn apply_all(&mut self, accepted: &[Accepted<'_>], stored: &mut StoredRows) {
        let now = now_ms();
        let (mut n_rows, mut n_samples) = (0, 0);
        for (node, frame, position, bytes, _) in accepted {
            self.quarantine.begin(bytes);
            for row in &frame.rows {
                let Some(index) = node.layout(row.layout) else { continue };
                let from = (&*self.shared, &mut *stored);
                let done = apply(from, node, &index, row, *position, now);
                n_rows += 1;
                n_samples += row.n as u64;
                if done.froze {
                    self.seal_later(SealJob::Block(node.clone(), row.layout));
                }
                // What a retired node sent before is history only.
                if done.is_new && !node.is_retired() {
                    self.observer.row(node, &index, row, now);
                }
            }
        }
        self.quarantine.rest();
        self.settle(now);
        let stats = &self.shared.stats;
        stats.frames.fetch_add(accepted.len() as u64, Ordering::Relaxed);
        stats.rows.fetch_add(n_rows, Ordering::Relaxed);
        stats.samples.fetch_add(n_samples, Ordering::Relaxed);
        stats.commits.fetch_add(1, Ordering::Relaxed);
        self.trim_if_full();
    }

    fn seal_later(&mut self, job: SealJob) {
        self.for_sealer.push_back(job);
        self.hand_over();
    }

    /// Gives the sealer what waits for it. Waits while it is behind, so that
    /// memory stays bounded; not while its disk fails: then nothing more is
    /// taken in, and senders are told why.
    fn hand_over(&mut self) {
        while let Some(job) = self.for_sealer.pop_front() {
            match self.sealer.try_send(job) {
                Ok(()) => {}
                Err(mpsc::TrySendError::Full(job)) => {
                    self.for_sealer.push_front(job);
                    if self.shared.sealing_failure().is_some() {
                        return;
                    }
                    self.shared.pulses.beat(&self.shared.pulses.writer);
                    std::thread::sleep(SEALER_LOOK);
                }
                Err(mpsc::TrySendError::Disconnected(_)) => {
                    tracing::error!("BUG: the sealer is gone");
                }
            }
        }
    }

    /// Why nothing can be taken in now.
    fn is_ready(&mut self) -> Result<(), StoreError> {
        self.catalog.refresh()?;
        self.hand_over();
        match self.shared.sealing_failure() {
            Some(text) if !self.for_sealer.is_empty() => Err(StoreError::Other(text)),
            _ => Ok(()),
        }
    }

    /// Hands over what a replay left frozen.
    fn seal_frozen(&mut self, node: &Arc<NodeEntry>) {
        let waiting: Vec<(LayoutId, usize)> = {
            let head = node.head();
            head.layouts().map(|l| (l.open.index.layout.id(), l.frozen.len())).collect()
        };
        for (layout, n) in waiting {
            for _ in 0..n {
                self.seal_later(SealJob::Block(node.clone(), layout));
            }
        }
    }

    fn seal_all(&mut self) -> Result<(), StoreError> {
        self.restore_vanished()?;
        for node in self.shared.nodes.all() {
            let frozen = node.head().freeze_older(TimeMs::MAX);
            for layout in frozen {
                self.seal_later(SealJob::Block(node.clone(), layout));
            }
        }
        let (done, wait) = mpsc::channel();
        self.seal_later(SealJob::Barrier(done));
        loop {
            match wait.recv_timeout(SEALER_LOOK) {
                Ok(()) => return self.trim_journal(),
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    self.shared.pulses.beat(&self.shared.pulses.writer);
                    self.hand_over();
                    if let Some(text) = self.shared.sealing_failure() {
                        return Err(StoreError::Other(text));
                    }
                }
                Err(mpsc::RecvTimeoutError::Disconnected) => {
                    return Err(StoreError::Other("the sealer is gone".to_owned()));
                }
            }
        }
    }
}

/// Says what a frame's number tells of its sender.
fn tell_order(node: &NodeEntry, id: FrameId, order: Order) {
    let (how, last) = match order {
        Order::Next => return,
        Order::Jump(last) => ("far above", last),
        Order::Back(last) => ("not above", last),
    };
    tracing::warn!(
        node = node.name,
        boot = id.boot,
        sequence = id.sequence,
        last,
        "a frame's number is {how} the one before: two senders of one name (a copied machine, a \
         restored snapshot), or a forged frame; all samples are kept, and of doubled ones the \
         first"
    );
}

/// The layouts of the frame's rows are known, and their rows are as long.
fn check_layouts(node: &NodeEntry, frame: &Frame<'_>) -> Result<(), StoreError> {
    let mut unknown = HashSet::new();
    for row in &frame.rows {
        match node.layout(row.layout) {
            None => {
                unknown.insert(row.layout);
            }
            Some(index) if index.layout.len() != row.n => {
                return Err(StoreError::Refused(format!(
                    "node {:?}: a row of {} cells for layout {:016x}, which has {} fields",
                    frame.node,
                    row.n,
                    row.layout.0,
                    index.layout.len()
                )));
            }
            Some(_) => {}
        }
    }
    if unknown.is_empty() {
        return Ok(());
    }
    Err(StoreError::UnknownLayouts(unknown.into_iter().collect()))
}
