//! Shipping: batches in order, one in flight, each kept until it is durable.
//!
//! A batch is POSTed from memory. As soon as one attempt fails it goes to the
//! [`spool`](crate::spool), and so does every later one while the collector is
//! away, tried again with a back-off of at most [`BACKOFF_MAX`]. Then the spool
//! is replayed in order; what is read meanwhile waits in memory for at most
//! [`SPILL_AFTER`] and then goes to the spool's end. A batch whose answer was
//! lost is sent again with the same boot and sequence, which the collector
//! recognises.
//!
//! An answer counts only when it is the collector's, and to this batch: see [`ack`].
//!
//! What a kill -9 can cost: what was neither acknowledged nor spooled, that is
//! the rows of the last [`LINGER`]; of the last [`SPILL_AFTER`] during a replay;
//! of the last [`REQUEST_TIMEOUT`] while a collector has accepted a connection
//! and does not answer.

mod ack;
mod http;

use crate::catalog::{Catalog, Snapshot, announce_changes};
use crate::clock::now_ms;
use crate::event::{Event, RowOut};
use crate::outbox::{Batch, Explain};
use crate::spool::Spool;
use ack::Proof;
use http::{Answer, Client};
use rookery_plugins::wire::FrameWriter;
use rookery_plugins::{LayoutId, ServiceSpec};
use std::collections::hash_map::RandomState;
use std::collections::{BTreeMap, HashSet, VecDeque};
use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, sleep_until, timeout};

pub use ack::ACK;
pub use http::{ClientError, install_crypto};

/// Rows that come within this go in one batch.
pub const LINGER: Duration = Duration::from_millis(25);
/// The longest wait for an answer.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(5);
/// The longest wait between two attempts.
pub const BACKOFF_MAX: Duration = Duration::from_secs(5);
/// The wait after the collector refused the token.
pub const BACKOFF_REFUSED: Duration = Duration::from_secs(10);
/// During a replay, batches younger than this stay in memory: so that waiting
/// for the disk does not take longer than shipping.
pub const SPILL_AFTER: Duration = Duration::from_secs(1);
/// How long a stopping agent waits for the last answer.
pub const STOP_TIMEOUT: Duration = Duration::from_secs(2);
/// A batch is closed at about this size, bytes of cells.
pub const BATCH_BYTES: usize = 1 << 20;
/// The most batches kept in memory when the spool cannot be written; then the
/// oldest are dropped, counted and logged.
pub const BACKLOG_BATCHES_MAX: usize = 256;

const BACKOFF_MIN: Duration = Duration::from_millis(250);
const EVENTS_AT_ONCE: usize = 256;
/// So many answers "unknown layout" to one fully explained frame are enough.
const EXPLAIN_TRIES_MAX: u32 = 3;

/// Counters that the agent reports of itself; all since its start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Batches that the collector has acknowledged.
    pub batches_sent: AtomicU64,
    /// Batches that were refused or dropped.
    pub batches_dropped: AtomicU64,
    /// Attempts that failed.
    pub attempts_failed: AtomicU64,
    /// Bytes in the spool now.
    pub spool_bytes: AtomicU64,
    /// Bytes dropped from the spool because it was full.
    pub spool_bytes_dropped: AtomicU64,
    /// Ticks that were skipped because the host slept or was too busy.
    pub ticks_missed: AtomicU64,
    /// Events dropped on their way to the shipper.
    pub events_dropped: AtomicU64,
}

/// Half of the wait to all of it, by chance: a thousand agents that lost the collector at one
/// moment do not all come back at another.
fn spread(wait: Duration) -> Duration {
    // Each state has keys of its own, from the system's randomness.
    let chance = RandomState::new().hash_one(0u8) as u32;
    wait / 2 + wait.mul_f64(f64::from(chance) / f64::from(u32::MAX) / 2.0)
}

/// Whose batches these are, and where they go.
#[derive(Clone, Debug)]
pub struct Target {
    /// The node's name.
    pub node: String,
    /// Its group; empty: by its name.
    pub group: String,
    /// The collector's URL.
    pub collector: String,
    /// The token; empty: none.
    pub token: String,
    /// Reads it again when it has been refused: it may have been changed, or
    /// the collector been started for the first time.
    pub read_token: ReadToken,
}

/// Where a [`Target`]'s token comes from.
#[derive(Clone)]
pub struct ReadToken(pub Arc<dyn Fn() -> Result<String, String> + Send + Sync>);

impl std::fmt::Debug for ReadToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ReadToken")
    }
}

/// The shipper: owns the catalog, the sequence and the spool.
#[derive(Debug)]
pub struct Shipper {
    target: Target,
    client: Client,
    spool: Spool,
    stats: Arc<Stats>,
    boot: u64,
    sequence: u64,
    /// The services of the agent's own node (`None`) and of virtual ones.
    streams: BTreeMap<Option<Arc<str>>, Stream>,
    /// Layouts that stood in acknowledged frames of this life.
    known: HashSet<LayoutId>,
    backlog: VecDeque<Batch>,
    /// When the oldest of them came.
    backlog_since: Option<Instant>,
    frame: FrameWriter,
    /// Whether it sends checksums.
    acks: ack::Known,
    /// The head was answered "unknown layouts" so many times.
    explain_tries: u32,
    away: Option<Away>,
    spool_failed: bool,
}

/// What is known of one node's services.
#[derive(Debug, Default)]
struct Stream {
    catalog: Catalog,
    /// The services as the last batch announced them.
    announced: Snapshot,
}

/// The collector does not take batches at the moment.
#[derive(Clone, Copy, Debug)]
struct Away {
    retry_at: Instant,
    backoff: Duration,
    refused: bool,
}

impl Shipper {
    /// Ready to run. Its life is named by now, or by later than any life that
    /// wrote the spool.
    pub fn new(target: Target, spool: Spool, stats: Arc<Stats>) -> Result<Shipper, ClientError> {
        let client = Client::new(&target.collector, &target.token)?;
        let now = u64::try_from(now_ms()).unwrap_or(0);
        let boot = now.max(spool.boot_max() + 1);
        let acks = ack::Known::read(spool.dir());
        Ok(Shipper {
            target,
            client,
            spool,
            stats,
            boot,
            sequence: 0,
            streams: BTreeMap::from([(None, Stream::default())]),
            known: HashSet::new(),
            backlog: VecDeque::new(),
            backlog_since: None,
            frame: FrameWriter::default(),
            acks,
            explain_tries: 0,
            away: None,
            spool_failed: false,
        })
    }

    /// Ships until `shutdown`, then puts what is left into the spool.
    pub async fn run(mut self, mut rx: mpsc::Receiver<Event>, mut shutdown: watch::Receiver<bool>) {
        let mut events = Vec::with_capacity(EVENTS_AT_ONCE);
        while !*shutdown.borrow() {
            let ready = self.nothing_to_send() || self.away.is_some();
            let retry_at = self.away.as_ref().filter(|_| !self.nothing_to_send());
            let retry_at = retry_at.map(|a| a.retry_at);
            if ready {
                tokio::select! {
                    n = rx.recv_many(&mut events, EVENTS_AT_ONCE) => {
                        if n == 0 {
                            break;
                        }
                        sleep(LINGER).await;
                    }
                    () = wait_until(retry_at) => {}
                    _ = shutdown.changed() => break,
                }
            }
            while events.len() < EVENTS_AT_ONCE {
                let Ok(event) = rx.try_recv() else { break };
                events.push(event);
            }
            self.absorb(events.drain(..));
            let old = self.backlog_since.is_some_and(|t| t.elapsed() >= SPILL_AFTER);
            if self.away.is_some() || (old && !self.spool.is_empty()) {
                self.spill();
            }
            let due = self.away.as_ref().is_none_or(|a| a.retry_at <= Instant::now());
            if due && !self.nothing_to_send() {
                self.attempt(&mut shutdown).await;
            }
            self.report();
        }
        self.stop(&mut rx).await;
    }

    fn nothing_to_send(&self) -> bool {
        self.spool.is_empty() && self.backlog.is_empty()
    }

    /// Turns events into batches.
    fn absorb(&mut self, events: impl Iterator<Item = Event>) {
        let mut rows: BTreeMap<Option<Arc<str>>, Vec<RowOut>> = BTreeMap::new();
        let mut bytes = 0;
        for event in events {
            match event {
                Event::Services { source, specs } => self.set_services(&source, specs),
                Event::Row(row) => {
                    bytes += row.cells.len() * 8;
                    rows.entry(row.node.clone()).or_default().push(row);
                    if bytes >= BATCH_BYTES {
                        self.close_batches(std::mem::take(&mut rows));
                        bytes = 0;
                    }
                }
            }
        }
        self.close_batches(rows);
    }

    /// Each service goes to the node that it belongs to, and leaves the others.
    fn set_services(&mut self, source: &str, specs: Vec<ServiceSpec>) {
        let mut by_node: BTreeMap<Option<Arc<str>>, Vec<ServiceSpec>> = BTreeMap::new();
        for spec in specs {
            let node = spec.host_name.as_deref().map(Arc::from);
            by_node.entry(node).or_default().push(spec);
        }
        for (node, stream) in &mut self.streams {
            stream.catalog.set(source, by_node.remove(node).unwrap_or_default());
        }
        for (node, specs) in by_node {
            self.streams.entry(node).or_default().catalog.set(source, specs);
        }
    }

    fn close_batches(&mut self, mut rows: BTreeMap<Option<Arc<str>>, Vec<RowOut>>) {
        for node in self.streams.keys().cloned().collect::<Vec<_>>() {
            let rows = rows.remove(&node).unwrap_or_default();
            self.close_batch(node, rows);
        }
    }

    fn close_batch(&mut self, node: Option<Arc<str>>, rows: Vec<RowOut>) {
        let Some(stream) = self.streams.get_mut(&node) else { return };
        let services = stream.catalog.snapshot();
        let group = if node.is_some() { "" } else { &self.target.group };
        let changes = announce_changes(&stream.announced, &services, group);
        if rows.is_empty() && changes.is_none() {
            return;
        }
        self.sequence += 1;
        stream.announced = Arc::clone(&services);
        self.backlog_since.get_or_insert_with(Instant::now);
        self.backlog.push_back(Batch {
            node,
            boot: self.boot,
            sequence: self.sequence,
            services,
            changes,
            rows,
        });
    }

    /// Moves the batches in memory to the spool.
    fn spill(&mut self) {
        let Target { node, group, .. } = &self.target;
        let before = self.spool.n_safe();
        let mut result = Ok(());
        for batch in &self.backlog {
            result = self.spool.append(batch, node, group, &mut self.frame);
            if result.is_err() {
                break;
            }
        }
        // Also when there was room for some of them only.
        result = result.and(self.spool.sync());
        let kept = (self.spool.n_safe() - before) as usize;
        if kept > 0 {
            self.backlog.drain(..kept);
            self.explain_tries = 0;
        }
        match result {
            Ok(()) => self.spool_failed = false,
            Err(error) if !self.spool_failed => {
                tracing::error!(
                    spool = %self.spool.dir().display(), %error,
                    "the spool cannot be written, batches stay in memory: make room, repair the \
                     disk, or set `spool` to another folder"
                );
                self.spool_failed = true;
            }
            Err(_) => {}
        }
        if self.backlog.is_empty() {
            self.backlog_since = None;
        }
        while self.backlog.len() > BACKLOG_BATCHES_MAX {
            self.backlog.pop_front();
            let n = self.stats.batches_dropped.fetch_add(1, Ordering::Relaxed);
            if n.is_power_of_two() || n == 0 {
                tracing::error!(
                    limit = BACKLOG_BATCHES_MAX,
                    "no collector and no spool: the oldest batches are dropped"
                );
            }
        }
    }

    /// The bytes of the oldest batch, and how long it is in the spool.
    fn head(&mut self) -> Option<(Vec<u8>, Option<usize>)> {
        match self.spool.peek() {
            Ok(Some(bytes)) => {
                let len = bytes.len();
                if self.explain_tries == 0 {
                    return Some((bytes, Some(len)));
                }
                let full = self.spool.explain(&bytes, &mut self.frame).unwrap_or(bytes);
                return Some((full, Some(len)));
            }
            Ok(None) => {}
            Err(error) => {
                // Not to be overtaken by what is in memory: it is retried.
                tracing::error!(%error, "the spool cannot be read");
                return None;
            }
        }
        let batch = self.backlog.front()?;
        let explain = match self.explain_tries {
            0 => Explain::Known(&self.known),
            _ => Explain::All,
        };
        let Target { node, group, .. } = &self.target;
        Some((batch.encode(node, group, explain, &mut self.frame).to_vec(), None))
    }

    async fn attempt(&mut self, shutdown: &mut watch::Receiver<bool>) {
        let Some((bytes, in_spool)) = self.head() else {
            self.back_off("the spool cannot be read", false);
            return;
        };
        let mut post = std::pin::pin!(self.client.post(bytes));
        let answer = tokio::select! {
            answer = &mut post => answer,
            _ = shutdown.changed() => match timeout(STOP_TIMEOUT, &mut post).await {
                Ok(answer) => answer,
                Err(_) => return,
            },
        };
        self.take(answer, in_spool);
    }

    fn take(&mut self, (answer, proof): (Answer, Proof), in_spool: Option<usize>) {
        let counts = matches!(answer, Answer::Durable | Answer::UnknownLayouts | Answer::Bad(_));
        if counts && let Err(why) = self.acks.believes(proof, &self.target.collector) {
            return self.back_off(&why, false);
        }
        match answer {
            Answer::Durable => {
                if self.away.take().is_some() {
                    let collector = &self.target.collector;
                    tracing::info!(%collector, "the collector answers again");
                }
                self.stats.batches_sent.fetch_add(1, Ordering::Relaxed);
                self.pop(in_spool, true);
            }
            Answer::UnknownLayouts if self.explain_tries < EXPLAIN_TRIES_MAX => {
                self.explain_tries += 1;
            }
            Answer::UnknownLayouts => self.drop_head("409 to a frame that explains all", in_spool),
            Answer::Bad(why) => self.drop_head(&why, in_spool),
            Answer::Refused => self.back_off("", true),
            Answer::Away(why) => self.back_off(&why, false),
        }
    }

    fn drop_head(&mut self, why: &str, in_spool: Option<usize>) {
        tracing::error!(
            collector = %self.target.collector, %why,
            "the collector refuses a batch: it is dropped"
        );
        self.stats.batches_dropped.fetch_add(1, Ordering::Relaxed);
        self.pop(in_spool, false);
        // What it announced is told again.
        for stream in self.streams.values_mut() {
            stream.announced = Snapshot::default();
        }
        self.known.clear();
    }

    fn pop(&mut self, in_spool: Option<usize>, durable: bool) {
        self.explain_tries = 0;
        match in_spool {
            Some(len) => self.spool.ack(len),
            None => {
                let batch = self.backlog.pop_front();
                self.backlog_since = (!self.backlog.is_empty()).then(Instant::now);
                if durable && let Some(batch) = batch {
                    self.known.extend(batch.layouts().iter().map(|l| l.id()));
                }
            }
        }
    }

    fn back_off(&mut self, why: &str, refused: bool) {
        self.stats.attempts_failed.fetch_add(1, Ordering::Relaxed);
        self.explain_tries = 0;
        let before = self.away.as_ref();
        let collector = &self.target.collector;
        if refused && !before.is_some_and(|a| a.refused) {
            tracing::error!(
                %collector,
                "the collector refuses this agent's token (401): set `token` in agent.toml to the \
                 collector's; samples wait in the spool"
            );
        } else if !refused && before.is_none_or(|a| a.refused) {
            tracing::warn!(%collector, %why, "the collector is away; samples go to the spool");
        }
        let before = before.copied();
        let backoff = match before {
            _ if refused && self.renew_token() => BACKOFF_MIN,
            _ if refused => BACKOFF_REFUSED,
            Some(a) if !a.refused => (a.backoff * 2).min(BACKOFF_MAX),
            _ => BACKOFF_MIN,
        };
        let retry_at = Instant::now() + spread(backoff);
        self.away = Some(Away { retry_at, backoff, refused });
        self.spill();
    }

    /// Whether there is another token now.
    fn renew_token(&mut self) -> bool {
        match (self.target.read_token.0)() {
            Ok(token) if token != self.target.token => {
                match Client::new(&self.target.collector, &token) {
                    Ok(client) => {
                        (self.client, self.target.token) = (client, token);
                        return true;
                    }
                    Err(e) => tracing::error!("the new token cannot be used: {e}"),
                }
            }
            Ok(_) => {}
            Err(e) => tracing::error!("{e}"),
        }
        false
    }

    fn report(&self) {
        self.stats.spool_bytes.store(self.spool.bytes(), Ordering::Relaxed);
        self.stats.spool_bytes_dropped.store(self.spool.bytes_dropped(), Ordering::Relaxed);
    }

    /// Sends what is left if that is quick, and spools the rest.
    async fn stop(mut self, rx: &mut mpsc::Receiver<Event>) {
        let mut events = Vec::new();
        while let Ok(event) = rx.try_recv() {
            events.push(event);
        }
        self.absorb(events.into_iter());
        let deadline = Instant::now() + STOP_TIMEOUT;
        while self.away.is_none() && Instant::now() < deadline {
            let Some((bytes, in_spool)) = self.head() else { break };
            let Ok(answer) = tokio::time::timeout_at(deadline, self.client.post(bytes)).await
            else {
                break;
            };
            self.take(answer, in_spool);
        }
        self.spill();
        if !self.backlog.is_empty() {
            tracing::error!(batches = self.backlog.len(), "lost: neither collector nor spool");
        }
    }
}

async fn wait_until(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
