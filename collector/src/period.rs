//! Periods: sealed blocks, one SQLite database a calendar month (UTC).
//!
//! `periods/YYYY-MM.sqlite`. Table `block`: one row for all columns (or, after
//! re-packing, some) of one layout of one node over a span of time; `data` is a
//! block as `docs/history-format.md` describes it. Table `digest`: what long
//! blocks say by half days; it goes with its block. A month that is over is not
//! written again except by re-packing and by late samples.

use crate::chunk::{Block, ChunkError, Digest, DigestPart, ReadAt};
use crate::db;
use crate::disk;
use crate::pool::Pool;
use crate::store::StoreError;
use rookery_plugins::{LayoutId, TimeMs};
use rusqlite::blob::Blob;
use rusqlite::{CachedStatement, Connection, params};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS block(
  id INTEGER PRIMARY KEY,
  node INTEGER NOT NULL, layout INTEGER NOT NULL, level INTEGER NOT NULL,
  col_from INTEGER NOT NULL, col_to INTEGER NOT NULL,
  t_from INTEGER NOT NULL, t_to INTEGER NOT NULL,
  n_rows INTEGER NOT NULL, position INTEGER NOT NULL, data BLOB NOT NULL);
CREATE INDEX IF NOT EXISTS block_at
  ON block(node, layout, t_from, t_to, col_from, col_to, level, n_rows, position);
CREATE INDEX IF NOT EXISTS block_position ON block(position);
CREATE INDEX IF NOT EXISTS block_loose ON block(node, layout, n_rows) WHERE level = 0;
CREATE TABLE IF NOT EXISTS digest(
  block INTEGER NOT NULL, col_from INTEGER NOT NULL, col_to INTEGER NOT NULL,
  data BLOB NOT NULL, PRIMARY KEY(block, col_from)) WITHOUT ROWID;
CREATE TRIGGER IF NOT EXISTS block_deleted AFTER DELETE ON block
  BEGIN DELETE FROM digest WHERE block = old.id; END;
CREATE TRIGGER IF NOT EXISTS block_changed AFTER UPDATE OF data ON block
  BEGIN DELETE FROM digest WHERE block = old.id; END;
";
const PAGE_BYTES: u32 = 4096;
/// The pages of a month of little.
const SMALL_PAGE_BYTES: i64 = 512;
/// A month that is over and takes no more has small pages, …
const SMALL_MONTH_BYTES: i64 = 256 << 10;
/// … and one that has grown to this has large ones again.
const LARGE_MONTH_BYTES: i64 = 1 << 20;

/// A month, `year * 12 + month0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PeriodId(pub i32);

impl PeriodId {
    /// The month of a time; before year 1 and after 9999, that year's.
    pub fn of(time_ms: TimeMs) -> PeriodId {
        let time_ms = time_ms.clamp(-62_135_596_800_000, 253_402_300_799_999);
        let (year, month) = civil_month(time_ms.div_euclid(86_400_000));
        PeriodId(year * 12 + month as i32 - 1)
    }

    /// `YYYY-MM`.
    pub fn name(self) -> String {
        format!("{:04}-{:02}", self.0.div_euclid(12), self.0.rem_euclid(12) + 1)
    }

    /// Time of its end, ms: the next month's beginning.
    pub fn end_ms(self) -> TimeMs {
        let next = self.0 + 1;
        first_day(next.div_euclid(12), next.rem_euclid(12) as u32 + 1) * 86_400_000
    }

    fn parse(name: &str) -> Option<PeriodId> {
        let (year, month) = name.split_once('-')?;
        let (year, month): (i32, i32) = (year.parse().ok()?, month.parse().ok()?);
        (1..=12).contains(&month).then_some(PeriodId(year * 12 + month - 1))
    }
}

/// Device and inode of what has this name.
fn file_at(path: &Path) -> Option<(u64, u64)> {
    std::fs::metadata(path).ok().map(|m| (m.dev(), m.ino()))
}

/// Year and month of a day number since 1970-01-01 (proleptic Gregorian; the
/// days of 400 years repeat, and years that begin in March end with the leap
/// day).
fn civil_month(day: i64) -> (i32, u32) {
    let z = day + 719_468;
    let era = z.div_euclid(146_097);
    let doe = z.rem_euclid(146_097);
    let yoe = (doe - doe / 1460 + doe / 36_524 - doe / 146_096) / 365;
    let doy = doe - (365 * yoe + yoe / 4 - yoe / 100);
    let mp = (5 * doy + 2) / 153;
    let month = if mp < 10 { mp + 3 } else { mp - 9 };
    let year = yoe + era * 400 + i64::from(month <= 2);
    (year as i32, month as u32)
}

/// The day number of a month's first day: [`civil_month`] the other way.
fn first_day(year: i32, month: u32) -> i64 {
    let year = i64::from(year) - i64::from(month <= 2);
    let era = year.div_euclid(400);
    let yoe = year.rem_euclid(400);
    let doy = (153 * ((i64::from(month) + 9) % 12) + 2) / 5;
    era * 146_097 + yoe * 365 + yoe / 4 - yoe / 100 + doy - 719_468
}

/// A block's row without its data.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BlockRow {
    /// Row id in its period.
    pub id: i64,
    /// 0: as it was frozen; 1: packed into a longer run.
    pub level: i64,
    /// First column.
    pub col_from: i64,
    /// Past the last column.
    pub col_to: i64,
    /// Time of the first row.
    pub t_from: TimeMs,
    /// Time of the last row.
    pub t_to: TimeMs,
    /// How many rows.
    pub n_rows: usize,
    /// The journal position of its newest row.
    pub position: u64,
}

impl BlockRow {
    /// Whether it holds this column.
    pub fn holds(&self, col: usize) -> bool {
        (self.col_from..self.col_to).contains(&(col as i64))
    }
}

const COLUMNS_OF_ROW: &str = "id, level, col_from, col_to, t_from, t_to, n_rows, position";

fn block_row(r: &rusqlite::Row<'_>) -> rusqlite::Result<BlockRow> {
    Ok(BlockRow {
        id: r.get(0)?,
        level: r.get(1)?,
        col_from: r.get(2)?,
        col_to: r.get(3)?,
        t_from: r.get(4)?,
        t_to: r.get(5)?,
        n_rows: r.get::<_, i64>(6)? as usize,
        position: r.get::<_, i64>(7)? as u64,
    })
}

/// A block to be inserted.
pub struct NewBlock<'a> {
    /// The node's number.
    pub node: i64,
    /// Its layout.
    pub layout: LayoutId,
    /// 0: as it was frozen; 1: re-packed.
    pub level: i64,
    /// Its columns.
    pub cols: Range<usize>,
    /// Time of the first and the last row.
    pub span: (TimeMs, TimeMs),
    /// How many rows.
    pub n_rows: usize,
    /// The journal position of its newest row.
    pub position: u64,
    /// The encoded block.
    pub data: &'a [u8],
    /// Its digests.
    pub digests: &'a [DigestPart],
}

/// One month's file.
pub struct Period {
    path: PathBuf,
    pool: Arc<Pool>,
    /// Its number in the pool.
    number: u64,
    /// Device and inode of the file as it was opened first.
    file: OnceLock<(u64, u64)>,
}

impl Drop for Period {
    fn drop(&mut self) {
        self.pool.let_go(self.number);
    }
}

impl Period {
    fn new(path: PathBuf, pool: &Arc<Pool>) -> Period {
        Period { path, pool: pool.clone(), number: pool.number(), file: OnceLock::new() }
    }

    /// Tells this file from another one that has, or had, its name.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// Its file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Opens it to be written; for the sealer.
    pub fn writer(&self) -> Result<Connection, StoreError> {
        let conn = db::open_shrinking(&self.path, PAGE_BYTES)?;
        conn.execute_batch(SCHEMA).map_err(|e| StoreError::db(&self.path, e))?;
        self.note_file();
        Ok(conn)
    }

    fn note_file(&self) {
        if self.file.get().is_none()
            && let Some(file) = file_at(&self.path)
        {
            self.file.get_or_init(|| file);
        }
    }

    /// Whether the file under its name is still the one that was opened: what is written
    /// to one that was removed is lost when it is closed.
    pub fn is_there(&self) -> bool {
        let file = file_at(&self.path);
        file.is_some() && self.file.get().is_none_or(|was| Some(*was) == file)
    }

    /// Makes the pages of a month that is over as small as is good for what it holds: the
    /// tables of a month of few samples take seven times as much as the samples, else.
    /// Left for another time while somebody reads the file.
    pub fn fit_pages(&self, conn: &Connection) -> Result<(), StoreError> {
        let fit = || -> rusqlite::Result<()> {
            let pragma = |name: &str| conn.query_row(name, [], |r| r.get::<_, i64>(0));
            let page = pragma("PRAGMA page_size")?;
            let bytes = page * pragma("PRAGMA page_count")?;
            let wanted = match bytes {
                ..=SMALL_MONTH_BYTES => SMALL_PAGE_BYTES,
                LARGE_MONTH_BYTES.. => i64::from(PAGE_BYTES),
                _ => page,
            };
            if page == wanted {
                return Ok(());
            }
            self.pool.let_go(self.number);
            db::set_page_bytes(conn, wanted)
        };
        fit().map_err(|e| StoreError::db(&self.path, e))
    }

    /// Runs `f` with a connection of the pool, inside of one transaction: a
    /// block that is listed stays readable, whatever is packed meanwhile.
    pub fn with_reader<T>(
        &self,
        f: impl FnOnce(&Connection) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let conn = match self.pool.take(self.number) {
            Some(conn) => conn,
            None => {
                let conn =
                    db::open_reader(&self.path).map_err(|e| StoreError::db(&self.path, e))?;
                self.note_file();
                conn
            }
        };
        let begun = conn.unchecked_transaction().map_err(|e| StoreError::db(&self.path, e))?;
        let result = f(&conn)?;
        begun.finish().map_err(|e| StoreError::db(&self.path, e))?;
        self.pool.put(self.number, conn);
        Ok(result)
    }

    /// Closes what is open of it; the last to close removes the empty WAL and its
    /// index, which a reader may not.
    fn let_go(&self) {
        self.pool.let_go(self.number);
        if disk::with_suffix(&self.path, "-shm").exists()
            && let Ok(conn) = db::open_durable(&self.path, PAGE_BYTES)
        {
            // SQLite opens the WAL with the first question.
            let _ = conn.query_row("PRAGMA schema_version", [], |_| Ok(()));
        }
    }

    /// The newest journal position of any block; 0 without blocks.
    pub fn sealed_position(&self) -> Result<u64, StoreError> {
        self.with_reader(|conn| {
            let sql = "SELECT ifnull(max(position), 0) FROM block";
            let found = conn.query_row(sql, [], |r| r.get::<_, i64>(0));
            found.map(|p| p as u64).map_err(|e| StoreError::db(&self.path, e))
        })
    }

    /// The blocks of a layout of a node that hold column `col` and touch
    /// `[from, to)`, in the order in which they were sealed: where two speak of
    /// one time, the first holds.
    pub fn blocks(
        &self,
        conn: &Connection,
        node: i64,
        layout: LayoutId,
        col: usize,
        span: (TimeMs, TimeMs),
    ) -> Result<Vec<BlockRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS_OF_ROW} FROM block \
             WHERE node = ?1 AND layout = ?2 AND t_from < ?3 AND t_to >= ?4 \
             AND col_from <= ?5 AND col_to > ?5 ORDER BY id"
        );
        let run = || -> rusqlite::Result<Vec<BlockRow>> {
            let mut stmt = conn.prepare_cached(&sql)?;
            let args = params![node, layout.0 as i64, span.1, span.0, col as i64];
            stmt.query_map(args, block_row)?.collect()
        };
        run().map_err(|e| StoreError::db(&self.path, e))
    }

    /// All blocks of a layout of a node, by the time of their first row.
    pub fn all_blocks(
        &self,
        conn: &Connection,
        node: i64,
        layout: LayoutId,
    ) -> Result<Vec<BlockRow>, StoreError> {
        self.blocks_between(conn, node, layout, (TimeMs::MIN, TimeMs::MAX))
    }

    /// The blocks of a layout of a node that touch `[from, to)`, by the time of their
    /// first row, then in the order in which they were sealed.
    pub fn blocks_between(
        &self,
        conn: &Connection,
        node: i64,
        layout: LayoutId,
        span: (TimeMs, TimeMs),
    ) -> Result<Vec<BlockRow>, StoreError> {
        let sql = format!(
            "SELECT {COLUMNS_OF_ROW} FROM block \
             WHERE node = ?1 AND layout = ?2 AND t_from < ?3 AND t_to >= ?4"
        );
        let run = || -> rusqlite::Result<Vec<BlockRow>> {
            let mut stmt = conn.prepare_cached(&sql)?;
            let args = params![node, layout.0 as i64, span.1, span.0];
            let rows: rusqlite::Result<Vec<BlockRow>> = stmt.query_map(args, block_row)?.collect();
            let mut rows = rows?;
            // As the index has them, nearly; SQLite would take a B-tree for it.
            rows.sort_by_key(|b| (b.t_from, b.id));
            Ok(rows)
        };
        run().map_err(|e| StoreError::db(&self.path, e))
    }

    /// Reads digests of its blocks, one after the other.
    pub fn digests<'c>(&'c self, conn: &'c Connection) -> Result<Digests<'c>, StoreError> {
        let sql = "SELECT data FROM digest WHERE block = ?1 AND col_from < ?3 AND col_to > ?2";
        let err = |e| StoreError::db(&self.path, e);
        let stmt = match conn.prepare_cached(sql) {
            Ok(stmt) => Some(stmt),
            Err(_) if !has_digests(conn).map_err(err)? => None,
            Err(e) => return Err(err(e)),
        };
        Ok(Digests { period: self, stmt, digest: Digest::default() })
    }

    /// Opens a block's data where it lies.
    pub fn open_block<'c>(
        &self,
        conn: &'c Connection,
        id: i64,
    ) -> Result<Block<BlobReader<'c>>, StoreError> {
        let blob = conn
            .blob_open("main", "block", "data", id, true)
            .map_err(|e| StoreError::db(&self.path, e))?;
        Block::open(BlobReader(RefCell::new(blob)))
            .map_err(|e| StoreError::chunk(&self.path, id, e))
    }
}

/// Reads a block out of SQLite piece by piece.
pub struct BlobReader<'c>(RefCell<Blob<'c>>);

impl ReadAt for BlobReader<'_> {
    fn len(&self) -> usize {
        self.0.borrow().len()
    }

    fn read_at(&self, offset: usize, buf: &mut [u8]) -> Result<(), ChunkError> {
        self.0.borrow_mut().read_at_exact(buf, offset).map_err(|e| ChunkError::Io(e.to_string()))
    }
}

/// The digests of a month's blocks; none where its file is older than digests are.
pub struct Digests<'c> {
    period: &'c Period,
    stmt: Option<CachedStatement<'c>>,
    digest: Digest,
}

impl Digests<'_> {
    /// Shows `f` the digests of a block that speak of any of these columns.
    pub fn each(
        &mut self,
        id: i64,
        cols: &Range<usize>,
        mut f: impl FnMut(&mut Digest),
    ) -> Result<(), StoreError> {
        let Some(stmt) = &mut self.stmt else { return Ok(()) };
        let err = |e| StoreError::db(&self.period.path, e);
        let args = params![id, cols.start as i64, cols.end as i64];
        let mut rows = stmt.query(args).map_err(err)?;
        while let Some(row) = rows.next().map_err(err)? {
            let bytes = row.get_ref(0).and_then(|v| Ok(v.as_blob()?)).map_err(err)?;
            let read = self.digest.read(bytes);
            read.map_err(|e| StoreError::chunk(&self.period.path, id, e))?;
            f(&mut self.digest);
        }
        Ok(())
    }
}

/// Whether the file is not older than digests are.
pub fn has_digests(conn: &Connection) -> rusqlite::Result<bool> {
    let sql = "SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = 'digest')";
    conn.query_row(sql, [], |r| r.get(0))
}

/// Puts a block's digests beside it; inside of the transaction that wrote it.
pub fn insert_digests(conn: &Connection, id: i64, parts: &[DigestPart]) -> rusqlite::Result<()> {
    let sql = "INSERT INTO digest(block, col_from, col_to, data) VALUES (?1, ?2, ?3, ?4)";
    let mut stmt = conn.prepare_cached(sql)?;
    for part in parts {
        let cols = (part.cols.start as i64, part.cols.end as i64);
        stmt.execute(params![id, cols.0, cols.1, part.bytes])?;
    }
    Ok(())
}

/// Inserts a block; inside of the sealer's transaction.
pub fn insert_block(conn: &Connection, block: &NewBlock<'_>) -> rusqlite::Result<()> {
    conn.prepare_cached(
        "INSERT INTO block(node, layout, level, col_from, col_to, t_from, t_to, n_rows, \
         position, data) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
    )?
    .execute(params![
        block.node,
        block.layout.0 as i64,
        block.level,
        block.cols.start as i64,
        block.cols.end as i64,
        block.span.0,
        block.span.1,
        block.n_rows as i64,
        block.position as i64,
        block.data
    ])?;
    insert_digests(conn, conn.last_insert_rowid(), block.digests)
}

/// All periods of a history.
pub struct Periods {
    dir: PathBuf,
    pool: Arc<Pool>,
    open: RwLock<BTreeMap<PeriodId, Arc<Period>>>,
}

impl Periods {
    /// Looks at the folder; opens nothing.
    pub fn open(dir: &Path) -> Result<Periods, StoreError> {
        let mut open = BTreeMap::new();
        let pool = Arc::new(Pool::default());
        if !dir.exists() {
            std::fs::create_dir_all(dir).map_err(|e| StoreError::io(dir, e))?;
        }
        for entry in std::fs::read_dir(dir).map_err(|e| StoreError::io(dir, e))? {
            let path = entry.map_err(|e| StoreError::io(dir, e))?.path();
            let name = path.file_name().and_then(|n| n.to_str());
            let id = name.and_then(|n| n.strip_suffix(".sqlite")).and_then(PeriodId::parse);
            if let Some(id) = id {
                open.insert(id, Arc::new(Period::new(path, &pool)));
            }
        }
        Ok(Periods { dir: dir.to_owned(), pool, open: RwLock::new(open) })
    }

    /// The period of this month, made if it is new.
    pub fn get_or_new(&self, id: PeriodId) -> Result<Arc<Period>, StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(period) = open.get(&id) {
            return Ok(period.clone());
        }
        let path = self.dir.join(format!("{}.sqlite", id.name()));
        let period = Arc::new(Period::new(path, &self.pool));
        // Readers must find the table.
        db::make_whole(&period.path, SCHEMA, |path| db::open_shrinking(path, PAGE_BYTES))?;
        open.insert(id, period.clone());
        Ok(period)
    }

    /// Deletes a month. Whoever reads it at the moment still can.
    pub fn delete(&self, id: PeriodId) -> Result<(), StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        let Some(period) = open.remove(&id) else { return Ok(()) };
        for suffix in ["", "-wal", "-shm"] {
            disk::remove(&disk::with_suffix(&period.path, suffix))?;
        }
        Ok(())
    }

    /// Forgets a month whose file was removed or replaced by somebody else; it is begun
    /// again, or the file that has its name is taken, when there is something to write.
    pub fn forget(&self, id: PeriodId) {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(period) = open.remove(&id)
            && period.path.exists()
        {
            open.insert(id, Arc::new(Period::new(period.path.clone(), &self.pool)));
        }
    }

    /// Ends what a crash has left half-done of a change of pages ([`Period::fit_pages`]):
    /// who only reads could not.
    pub fn recover(&self) {
        for (_, period) in self.newest_first() {
            if disk::with_suffix(&period.path, "-journal").exists()
                && let Err(e) = period.writer()
            {
                tracing::error!("{e}");
            }
        }
    }

    /// Puts a damaged month's file aside, so that the month can be written
    /// again; its new name.
    pub fn set_aside(&self, id: PeriodId) -> Result<PathBuf, StoreError> {
        let mut open = self.open.write().unwrap_or_else(PoisonError::into_inner);
        open.remove(&id);
        let path = self.dir.join(format!("{}.sqlite", id.name()));
        let name = |n: u32| self.dir.join(format!("{}.damaged-{n}.sqlite", id.name()));
        let aside = (1..).map(name).find(|p| !p.exists()).unwrap_or_else(|| name(0));
        for suffix in ["-wal", "-shm", ""] {
            let with = |p: &Path| disk::with_suffix(p, suffix);
            match std::fs::rename(with(&path), with(&aside)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(StoreError::io(&path, e));
                }
                _ => {}
            }
        }
        Ok(aside)
    }

    /// The period of this month, if it is there.
    pub fn get(&self, id: PeriodId) -> Option<Arc<Period>> {
        self.open.read().unwrap_or_else(PoisonError::into_inner).get(&id).cloned()
    }

    /// The periods that can hold samples of `[from, to)`, oldest first.
    pub fn between(&self, from: TimeMs, to: TimeMs) -> Vec<Arc<Period>> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        if from >= to {
            return vec![];
        }
        let range = PeriodId::of(from)..=PeriodId::of(to - 1);
        open.range(range).map(|(_, p)| p.clone()).collect()
    }

    /// Closes all that is open; whoever reads opens it again.
    pub fn let_go(&self) {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.values().for_each(|period| period.let_go());
    }

    /// How many connections for reading are kept open.
    pub fn n_open(&self) -> usize {
        self.pool.n_idle()
    }

    /// All periods, newest first.
    pub fn newest_first(&self) -> Vec<(PeriodId, Arc<Period>)> {
        let open = self.open.read().unwrap_or_else(PoisonError::into_inner);
        open.iter().rev().map(|(id, p)| (*id, p.clone())).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn months_of_times() {
        let cases = [
            (0, "1970-01"),
            (-1, "1969-12"),
            (951_782_400_000, "2000-02"),
            (951_868_800_000, "2000-03"),
            (1_795_996_799_999, "2026-11"),
            (1_796_083_200_000, "2026-12"),
        ];
        for (time, name) in cases {
            assert_eq!(PeriodId::of(time).name(), name, "{time}");
        }
        assert_eq!(PeriodId::parse("2026-11"), Some(PeriodId::of(1_795_996_799_999)));
        assert_eq!(PeriodId::parse("2026-13"), None);
        assert_eq!(PeriodId::of(1_795_996_799_999).end_ms(), 1_796_083_200_000);
        for id in (0..24_000).map(PeriodId).filter(|id| id.0 >= 12) {
            assert_eq!(PeriodId::of(id.end_ms()).0, id.0 + 1);
            assert_eq!(PeriodId::of(id.end_ms() - 1), id);
        }
    }

    #[test]
    fn a_month_is_made_whole_whatever_a_crash_has_left() {
        let dir = tempfile::tempdir().expect("tmp");
        let path = |name: &str| dir.path().join(name);
        std::fs::write(path("2026-11.new"), b"half of a file").expect("writes");
        std::fs::write(path("2026-11.new-journal"), b"to be rolled back").expect("writes");
        // The WAL of a month of that name which was deleted.
        let other = db::open_durable(&path("other"), PAGE_BYTES).expect("opens");
        other.execute_batch("CREATE TABLE old(x)").expect("writes");
        std::fs::copy(path("other-wal"), path("2026-11.sqlite-wal")).expect("copies");
        drop(other);
        let periods = Periods::open(dir.path()).expect("opens");
        assert!(periods.newest_first().is_empty(), "what is not whole is no month");
        let id = PeriodId::of(1_795_996_799_999);
        let tables = |period: &Period| {
            period.with_reader(|conn| {
                let sql = "SELECT group_concat(name) FROM sqlite_schema WHERE type = 'table'";
                let names = conn.query_row(sql, [], |r| r.get::<_, String>(0));
                names.map_err(|e| StoreError::db(period.path(), e))
            })
        };
        assert_eq!(tables(&periods.get_or_new(id).expect("made")).expect("reads"), "block,digest");
        assert!(!path("2026-11.new").exists());
        let again = Periods::open(dir.path()).expect("opens");
        assert_eq!(again.newest_first().len(), 1);
    }
}
