//! The history as a whole: opening, what its threads share, closing.

use crate::apply::apply;
use crate::catalog::{Catalog, FrameId, NodeEntry, NodesView, Said};
use crate::chunk::ChunkError;
use crate::disk;
use crate::journal::{self, Journal};
use crate::offline;
use crate::period::{PeriodId, Periods};
use crate::pulse::{Pulses, Vital};
use crate::quarantine::Quarantine;
use crate::reading::Stop;
use crate::refusals::{Refusals, Why};
use crate::seal;
use crate::stored::StoredRows;
use crate::vanished::Watched;
use crate::writer::{self, Observer, Queue};
use rookery_plugins::wire::Frame;
use rookery_plugins::{LayoutId, TimeMs};
use rustix::fs::{FlockOperation, flock};
use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;
use std::time::{SystemTime, UNIX_EPOCH};
use thiserror::Error;

/// What went wrong in the history; every text names the file.
#[derive(Debug, Error)]
pub enum StoreError {
    /// SQLite could not.
    #[error("{}: {source}{}", path.display(), remedy_of_db(source))]
    Db {
        /// The database.
        path: PathBuf,
        /// Its own words.
        source: rusqlite::Error,
    },
    /// The file system could not.
    #[error("{}: {source}{}", path.display(), remedy_of_io(source))]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// Its own words.
        source: std::io::Error,
    },
    /// A sealed block is damaged.
    #[error("{}: block {id}: {source}", path.display())]
    Chunk {
        /// The period's database.
        path: PathBuf,
        /// The block's row id.
        id: i64,
        /// What is damaged.
        source: ChunkError,
    },
    /// The sender's fault.
    #[error("{0}")]
    Refused(String),
    /// The sender must say first what these layouts are.
    #[error("unknown layouts")]
    UnknownLayouts(Vec<LayoutId>),
    /// Somebody else has given one of the fields a home meanwhile: plan the request's
    /// rows again, see [`crate::json_rows`].
    #[error("too many requests bring the same new fields at a time; try again")]
    Replan,
    /// Another process has this history open.
    #[error("{} is in use by another rookery: stop it, or name another folder", .0.display())]
    InUse(PathBuf),
    /// A read was ended before it was done.
    #[error("{0}")]
    Stopped(#[from] Stop),
    /// Anything else.
    #[error("{0}")]
    Other(String),
}

impl StoreError {
    /// An error of SQLite in this file.
    pub fn db(path: &Path, source: rusqlite::Error) -> StoreError {
        StoreError::Db { path: path.to_owned(), source }
    }

    /// An error of the file system.
    pub fn io(path: &Path, source: std::io::Error) -> StoreError {
        StoreError::Io { path: path.to_owned(), source }
    }

    /// Whether something on disk is damaged or gone, so that trying again is of
    /// no use and what is whole should be served without it.
    pub fn is_damage(&self) -> bool {
        use rusqlite::ErrorCode::{CannotOpen, DatabaseCorrupt, NotADatabase};
        match self {
            StoreError::Chunk { .. } => true,
            StoreError::Db { source, .. } => {
                let code = source.sqlite_error_code();
                code.is_some_and(|c| matches!(c, CannotOpen | DatabaseCorrupt | NotADatabase))
                    || source.to_string().starts_with("no such table")
            }
            _ => false,
        }
    }

    /// Whether it concerns a piece of the history only, without which the rest is
    /// to be served: that is damaged, or the disk fails to read it.
    pub fn is_of_a_piece(&self) -> bool {
        use rusqlite::ffi::{
            SQLITE_IOERR_CORRUPTFS, SQLITE_IOERR_DATA, SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ,
        };
        const UNREAD: [i32; 4] =
            [SQLITE_IOERR_READ, SQLITE_IOERR_SHORT_READ, SQLITE_IOERR_CORRUPTFS, SQLITE_IOERR_DATA];
        let source = match self {
            StoreError::Db { source, .. } => source.sqlite_error(),
            _ => None,
        };
        self.is_damage() || source.is_some_and(|e| UNREAD.contains(&e.extended_code))
    }

    /// Whether the file itself can never be written again, so that another one
    /// must take its place. A disk that is full or fails is no reason: what the
    /// file holds is whole.
    pub fn is_beyond_repair(&self) -> bool {
        use rusqlite::ErrorCode::CannotOpen;
        match self {
            // Also what is short for a moment: room for a WAL, file handles.
            StoreError::Db { path, source } if source.sqlite_error_code() == Some(CannotOpen) => {
                std::fs::metadata(path).is_ok_and(|m| !m.is_file())
            }
            e => e.is_damage(),
        }
    }

    /// A damaged block.
    pub fn chunk(path: &Path, id: i64, source: ChunkError) -> StoreError {
        StoreError::Chunk { path: path.to_owned(), id, source }
    }
}

const ROOM: &str = "; make room on its file system, it goes on by itself";
const SICK: &str = "; the disk fails (the kernel's log says more): have it replaced, and let \
                    \"rookery verify\" look at the history";
const DAMAGED: &str = "; it is damaged, or the disk fails to read it: \"rookery verify\" says more";
const RIGHTS: &str = "; the collector must be allowed to write there";

/// What can be done about an error of SQLite.
fn remedy_of_db(e: &rusqlite::Error) -> &'static str {
    use rusqlite::ErrorCode::{
        CannotOpen, DatabaseCorrupt, DiskFull, NotADatabase, PermissionDenied, ReadOnly,
        SystemIoFailure,
    };
    match e.sqlite_error_code() {
        Some(DiskFull) => ROOM,
        Some(SystemIoFailure) => SICK,
        Some(DatabaseCorrupt | NotADatabase) => DAMAGED,
        Some(CannotOpen | PermissionDenied | ReadOnly) => RIGHTS,
        _ => "",
    }
}

fn remedy_of_io(e: &std::io::Error) -> &'static str {
    use std::io::ErrorKind;
    match e.kind() {
        ErrorKind::StorageFull => ROOM,
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => RIGHTS,
        _ if e.raw_os_error() == Some(rustix::io::Errno::IO.raw_os_error()) => SICK,
        _ => "",
    }
}

/// What can be set of a history.
#[derive(Clone, Debug)]
pub struct StoreSettings {
    /// Its folder.
    pub dir: PathBuf,
    /// A head's block is sealed after this long, however few its rows, ms.
    pub seal_after_ms: TimeMs,
}

impl StoreSettings {
    /// The defaults for a history in `dir`.
    pub fn new(dir: &Path) -> StoreSettings {
        StoreSettings { dir: dir.to_owned(), seal_after_ms: 3_600_000 }
    }
}

/// What the collector counts of itself, since its start.
#[derive(Debug, Default)]
pub struct Stats {
    /// Frames acknowledged.
    pub frames: AtomicU64,
    /// Rows taken.
    pub rows: AtomicU64,
    /// Samples taken (cells of those rows).
    pub samples: AtomicU64,
    /// Frames that had been taken before.
    pub doubled_frames: AtomicU64,
    /// Rows that had been taken before.
    pub doubled_rows: AtomicU64,
    /// Cells that came with another value than the one stored for that time.
    pub conflicts: AtomicU64,
    /// Commits of the journal.
    pub commits: AtomicU64,
    /// Blocks sealed.
    pub blocks_sealed: AtomicU64,
    /// Bytes of sealed blocks.
    pub bytes_sealed: AtomicU64,
    /// Sealed blocks that were packed into longer ones.
    pub blocks_packed: AtomicU64,
    /// Frames refused.
    pub refused: AtomicU64,
    /// Rows left out because their time cannot be right.
    pub bad_times: AtomicU64,
    /// Commits or sealings that failed.
    pub failures: AtomicU64,
    /// Damaged files and blocks that were come across.
    pub damages: AtomicU64,
}

impl Stats {
    /// Counts something that was found damaged or gone.
    pub fn note_damage(&self) {
        self.damages.fetch_add(1, Ordering::Relaxed);
    }
}

/// What all threads see.
pub struct Shared {
    /// Its settings.
    pub settings: StoreSettings,
    /// The nodes.
    pub nodes: NodesView,
    /// The sealed blocks.
    pub periods: Periods,
    /// The frames that wait for the writer.
    pub queue: Queue,
    /// Counters.
    pub stats: Stats,
    /// Whether the threads work.
    pub pulses: Pulses,
    /// What was left out of what nodes sent.
    pub refusals: Refusals,
    /// Why sealing fails at the moment.
    sealing_failure: Mutex<Option<String>>,
    /// Damage that was told already.
    told: Mutex<HashSet<String>>,
    /// Months whose files must still be there when the journal is trimmed.
    pub(crate) watched: Watched,
    /// Set when it is time to end.
    pub stopping: AtomicBool,
}

/// A start reads the newest months, so many, whatever the catalog knows of them.
const MONTHS_READ: usize = 2;
/// So many different damages are told in the log; then no more.
const TOLD_MAX: usize = 1000;

impl Shared {
    fn new(settings: StoreSettings, catalog: &Catalog) -> Result<Shared, StoreError> {
        Ok(Shared {
            nodes: catalog.view(),
            periods: Periods::open(&settings.dir.join("periods"))?,
            queue: Queue::default(),
            stats: Stats::default(),
            pulses: Pulses::default(),
            refusals: Refusals::default(),
            sealing_failure: Mutex::default(),
            told: Mutex::default(),
            watched: Watched::default(),
            stopping: AtomicBool::new(false),
            settings,
        })
    }

    /// When each node was heard last, where the journal no longer says it: from the
    /// newest sealed blocks. Of older ones the catalog knows it.
    fn note_sealed(&self) -> Result<(), StoreError> {
        let nodes = self.nodes.all();
        let is_known = |n: &Arc<NodeEntry>| n.last_seen_ms.load(Ordering::Relaxed) != TimeMs::MIN;
        for (i, (_, period)) in self.periods.newest_first().into_iter().enumerate() {
            if i >= MONTHS_READ && nodes.iter().all(is_known) {
                break;
            }
            let read = period.with_reader(|conn| {
                let sql = "SELECT node, max(t_to) FROM block GROUP BY node";
                let err = |e| StoreError::db(period.path(), e);
                let mut statement = conn.prepare(sql).map_err(err)?;
                let rows = statement.query_map([], |r| Ok((r.get(0)?, r.get(1)?))).map_err(err)?;
                rows.collect::<Result<HashMap<i64, TimeMs>, _>>().map_err(err)
            });
            let newest = self.pass_damage(read)?;
            for node in &nodes {
                if let Some(time_ms) = newest.get(&node.id) {
                    node.last_seen_ms.fetch_max(*time_ms, Ordering::Relaxed);
                }
            }
        }
        Ok(())
    }

    /// Why sealed blocks cannot be written at the moment; `None`: they can.
    pub fn sealing_failure(&self) -> Option<String> {
        self.sealing_failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Notes that `n` rows or samples of a node were left out for their time, of which
    /// `example` is one.
    pub fn note_bad_times(&self, node: &str, n: u64, example: &str) {
        self.stats.bad_times.fetch_add(n, Ordering::Relaxed);
        self.refusals.note(node, Why::Times, n, example, now_ms());
    }

    /// Notes how the last sealing went.
    pub fn note_sealing(&self, failure: Option<String>) {
        *self.sealing_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    /// Lets damage pass, so that the rest is served: named in the log once.
    /// Any other error comes back.
    pub fn pass_damage<T: Default>(&self, result: Result<T, StoreError>) -> Result<T, StoreError> {
        match result {
            Err(e) if e.is_of_a_piece() => {
                let text = e.to_string();
                let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
                if told.len() < TOLD_MAX && !told.contains(&text) {
                    tracing::error!(
                        "{text}: what it held is left out; \"rookery verify\" names all of it"
                    );
                    told.insert(text);
                    self.stats.damages.fetch_add(1, Ordering::Relaxed);
                }
                Ok(T::default())
            }
            other => other,
        }
    }
}

/// An open history.
pub struct Store {
    shared: Arc<Shared>,
    threads: Mutex<Vec<JoinHandle<()>>>,
    // Held for as long as the history is open.
    _lock: File,
}

impl Store {
    /// Opens the history in `settings.dir` (made if it is not there), replays
    /// the journal into the head and starts its threads. `observer` sees every
    /// row that comes from now on, right after it is on disk.
    pub fn open(settings: StoreSettings, observer: Box<dyn Observer>) -> Result<Store, StoreError> {
        let lock = Store::lock(&settings.dir)?;
        Store::open_locked(settings, lock, observer)
    }

    /// Takes the lock of a history's folder (made if it is not there).
    pub fn lock(dir: &Path) -> Result<File, StoreError> {
        disk::make_dir(dir)?;
        take_lock(dir)
    }

    /// As [`Store::open`], with the lock taken before.
    pub fn open_locked(
        settings: StoreSettings,
        lock: File,
        observer: Box<dyn Observer>,
    ) -> Result<Store, StoreError> {
        let dir = settings.dir.clone();
        disk::make_dir(&dir.join("periods"))?;
        let mut catalog = Catalog::open(&dir)?;
        let shared = Arc::new(Shared::new(settings, &catalog)?);
        shared.periods.recover();
        let (to_sealer, for_sealer) = mpsc::sync_channel(seal::BACKLOG_MAX);
        let mut replay = Replay::new(&shared);
        // Positions of new frames must be above all that was ever sealed, also
        // where the journal was lost or is an older copy.
        let sealed_to = catalog.sealed_position(&shared.periods.newest_first(), |period| {
            shared.pass_damage(period.sealed_position())
        })?;
        let mut quarantine = Quarantine::open(&dir);
        let journal = Journal::open(&dir.join("journal"), sealed_to, |position, bytes| {
            match quarantine.begin(bytes) {
                true => replay.frame(&mut catalog, position, bytes),
                false => Ok(()),
            }
        })?;
        quarantine.rest();
        let (n_frames, n_bad) = (replay.n_frames, replay.n_bad);
        catalog.commit()?;
        tracing::info!(n_frames, n_bad, "journal replayed");
        shared.note_sealed()?;
        let writer = writer::Writer::new(
            shared.clone(),
            (catalog, journal, quarantine),
            to_sealer,
            observer,
        );
        let threads = vec![
            spawn("rookery-writer", move || writer.run())?,
            spawn("rookery-sealer", {
                let shared = shared.clone();
                move || seal::run(&shared, &for_sealer)
            })?,
        ];
        Ok(Store { shared, threads: Mutex::new(threads), _lock: lock })
    }

    /// Looks at the history in `dir` as it is now, read-only, also while a
    /// collector writes it: for [`crate::read::Reader`]. What arrives later is
    /// not seen.
    pub fn look(dir: &Path) -> Result<Arc<Shared>, StoreError> {
        // The journal first: what leaves it meanwhile is found sealed.
        let mut frames: Vec<(u64, Vec<u8>)> = Vec::new();
        for path in offline::databases(&dir.join("journal"))? {
            let segment = path.file_stem().and_then(|n| n.to_str()?.parse::<u64>().ok());
            let Some(segment) = segment else { continue };
            let read = journal::read_segment(&path, |n, bytes| {
                frames.push((segment << 32 | n, bytes.to_vec()));
            });
            if let Err(e) = read
                && path.exists()
            {
                return Err(e);
            }
        }
        let mut catalog = Catalog::look(dir)?;
        let shared = Arc::new(Shared::new(StoreSettings::new(dir), &catalog)?);
        let mut replay = Replay::new(&shared);
        for (position, bytes) in frames {
            replay.frame(&mut catalog, position, &bytes)?;
        }
        shared.note_sealed()?;
        Ok(shared)
    }

    /// What the threads share: for ingest and for readers.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Ends the threads; what was acknowledged is on disk already.
    pub fn close(&self) {
        self.shared.stopping.store(true, Ordering::SeqCst);
        self.shared.queue.wake();
        let threads =
            std::mem::take(&mut *self.threads.lock().unwrap_or_else(PoisonError::into_inner));
        for thread in threads {
            if thread.join().is_err() {
                tracing::error!("BUG: a thread of the history had panicked");
            }
        }
        self.shared.periods.let_go();
    }
}

impl Drop for Store {
    fn drop(&mut self) {
        self.close();
    }
}

/// A thread whose panic ends the process.
fn spawn(
    name: &'static str,
    f: impl FnOnce() + Send + 'static,
) -> Result<JoinHandle<()>, StoreError> {
    let vital = move || {
        let _vital = Vital(name);
        f();
    };
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(vital)
        .map_err(|e| StoreError::Other(format!("cannot start thread {name}: {e}")))
}

fn take_lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = File::options()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path)
        .map_err(|e| StoreError::io(&path, e))?;
    match flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(StoreError::InUse(dir.to_owned())),
        Err(e) => Err(StoreError::io(&path, e.into())),
    }
}

/// The wall clock, ms.
pub fn now_ms() -> TimeMs {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as TimeMs)
}

/// Puts the journal's frames back into the heads.
struct Replay<'a> {
    shared: &'a Shared,
    stored: StoredRows,
    sealed: HashMap<(i64, LayoutId, PeriodId), u64>,
    n_frames: u64,
    n_bad: u64,
}

impl<'a> Replay<'a> {
    fn new(shared: &'a Shared) -> Replay<'a> {
        Replay {
            shared,
            stored: StoredRows::default(),
            sealed: HashMap::new(),
            n_frames: 0,
            n_bad: 0,
        }
    }

    fn frame(
        &mut self,
        catalog: &mut Catalog,
        position: u64,
        bytes: &[u8],
    ) -> Result<(), StoreError> {
        let frame = match Frame::parse(bytes) {
            Ok(frame) => frame,
            Err(e) => {
                tracing::error!(position, "FATAL: a frame in the journal is damaged: {e}");
                self.n_bad += 1;
                return Ok(());
            }
        };
        self.n_frames += 1;
        let node = catalog.node(frame.node)?;
        // Of a frame that was saved already, or sent again after its commit had failed
        // half-way, the rows below tell what is doubled.
        let id = FrameId::of(&frame, bytes);
        if frame.sequence > 0 && !node.has_frame(id) {
            node.note_frame(id);
        }
        if frame.layouts.iter().any(|l| node.layout(l.id()).is_none()) {
            let from_ms = frame.rows.first().map_or(0, |r| r.time_ms);
            catalog.take(&node, Said::before(&frame.layouts), from_ms)?;
        }
        for row in &frame.rows {
            // Also of rows that are sealed: no month need be opened for it.
            node.last_seen_ms.fetch_max(row.time_ms, Ordering::Relaxed);
            let Some(index) = node.layout(row.layout) else {
                self.n_bad += 1;
                continue;
            };
            let period = PeriodId::of(row.time_ms);
            // A block may end in the middle of a frame: of that frame the rows
            // themselves tell which are sealed.
            if position < self.sealed_position(node.id, row.layout, period)? {
                continue;
            }
            let from = (self.shared, &mut self.stored);
            apply(from, &node, &index, row, position, now_ms());
        }
        Ok(())
    }

    /// Up to which position a layout's rows of a month stand in sealed blocks.
    fn sealed_position(
        &mut self,
        node: i64,
        layout: LayoutId,
        id: PeriodId,
    ) -> Result<u64, StoreError> {
        if let Some(position) = self.sealed.get(&(node, layout, id)) {
            return Ok(*position);
        }
        let mut position = 0;
        for (_, period) in self.shared.periods.newest_first().into_iter().filter(|p| p.0 == id) {
            let sql = "SELECT ifnull(max(position), 0) FROM block WHERE node = ?1 AND layout = ?2";
            let found = period.with_reader(|conn| {
                conn.query_row(sql, [node, layout.0 as i64], |r| r.get::<_, i64>(0))
                    .map_err(|e| StoreError::db(period.path(), e))
            });
            position = self.shared.pass_damage(found)? as u64;
        }
        self.sealed.insert((node, layout, id), position);
        Ok(position)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_can_never_be_written_again_is_put_aside() {
        let dir = tempfile::tempdir().expect("tmp");
        let file = dir.path().join("2026-11.sqlite");
        std::fs::write(&file, b"").expect("writes");
        let error = |code, path: &Path| {
            let source = rusqlite::Error::SqliteFailure(rusqlite::ffi::Error::new(code), None);
            StoreError::db(path, source)
        };
        use rusqlite::ffi::{SQLITE_CANTOPEN, SQLITE_CORRUPT, SQLITE_FULL, SQLITE_IOERR};
        // No room for its WAL, or no file handle left: passes.
        assert!(!error(SQLITE_CANTOPEN, &file).is_beyond_repair());
        assert!(!error(SQLITE_FULL, &file).is_beyond_repair());
        assert!(!error(SQLITE_IOERR, &file).is_beyond_repair());
        assert!(error(SQLITE_CORRUPT, &file).is_beyond_repair());
        assert!(error(SQLITE_CANTOPEN, dir.path()).is_beyond_repair(), "a folder is there");
        assert!(error(SQLITE_FULL, &file).to_string().contains("make room"));
    }
}
