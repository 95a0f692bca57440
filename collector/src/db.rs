//! How Rookery opens SQLite databases.

use crate::disk;
use crate::store::StoreError;
use rusqlite::config::DbConfig;
use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// The pages of databases that hold little and change a little at a time: a new
/// file of ten tables takes 10 kB, and a change so much less of the WAL.
pub const SMALL_PAGE_BYTES: u32 = 1024;
/// How long a connection waits for another one's lock.
const BUSY_WAIT: Duration = Duration::from_secs(30);

/// Opens a database to be written, made if it is not there: WAL, every commit
/// on disk before it returns.
pub fn open_durable(path: &Path, page_bytes: u32) -> Result<Connection, StoreError> {
    open(path, page_bytes, |_| Ok(()))
}

/// As [`open_durable`]; a new database can give freed pages back
/// (`PRAGMA incremental_vacuum`).
pub fn open_shrinking(path: &Path, page_bytes: u32) -> Result<Connection, StoreError> {
    open(path, page_bytes, |conn| {
        // Takes effect before the first page is written; later it would only
        // write the file anew.
        if conn.query_row("PRAGMA page_count", [], |r| r.get::<_, i64>(0))? == 0 {
            conn.pragma_update(None, "auto_vacuum", "INCREMENTAL")?;
        }
        Ok(())
    })
}

fn open(
    path: &Path,
    page_bytes: u32,
    prepare: impl FnOnce(&Connection) -> rusqlite::Result<()>,
) -> Result<Connection, StoreError> {
    disk::believe_only_the_disk(&disk::with_suffix(path, "-wal"))?;
    let open = || -> rusqlite::Result<Connection> {
        let conn = Connection::open(path)?;
        conn.busy_timeout(BUSY_WAIT)?;
        plan_once(&conn)?;
        conn.pragma_update(None, "page_size", page_bytes)?;
        prepare(&conn)?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        Ok(conn)
    };
    let conn = open().map_err(|e| StoreError::db(path, e))?;
    // The database and its WAL are there now. SQLite syncs their folder, too,
    // but does not say when that fails.
    disk::sync_parent(path)?;
    Ok(conn)
}

/// Makes a database with these tables, if it is not there. Under its name it is
/// whole from the first moment: readers could neither mend one that a crash has
/// left half-made nor do without its tables.
pub fn make_whole(
    path: &Path,
    schema: &str,
    open: impl FnOnce(&Path) -> Result<Connection, StoreError>,
) -> Result<(), StoreError> {
    const PARTS: [&str; 4] = ["", "-wal", "-shm", "-journal"];
    let remove_all = |path: &Path, suffixes: &[&str]| {
        suffixes.iter().try_for_each(|s| disk::remove(&disk::with_suffix(path, s)))
    };
    if path.exists() {
        return Ok(());
    }
    let unfinished = path.with_extension("new");
    remove_all(&unfinished, &PARTS)?;
    let conn = open(&unfinished)?;
    conn.execute_batch(schema)
        .and_then(|()| checkpoint(&conn))
        .map_err(|e| StoreError::db(&unfinished, e))?;
    drop(conn);
    remove_all(&unfinished, &PARTS[1..])?;
    // What a database that was deleted has left would be taken for this one's.
    remove_all(path, &PARTS[1..])?;
    disk::sync_parent(path)?;
    std::fs::rename(&unfinished, path).map_err(|e| StoreError::io(path, e))?;
    disk::sync_parent(path)
}

/// Opens a database to be read, while another connection may write. Its pages are
/// read, not mapped: of a sector that the disk cannot read a read returns an error,
/// where the mapping of it ends the process by SIGBUS.
pub fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    roll_back(path);
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_WAIT)?;
    plan_once(&conn)?;
    Ok(conn)
}

/// Undoes what a power cut left half done in [`set_page_bytes`], which is the only one that
/// writes a rollback journal: a reader alone may not, and could read nothing. Not while
/// the one that writes it is alive: SQLite sees its lock.
fn roll_back(path: &Path) {
    if !disk::with_suffix(path, "-journal").exists() {
        return;
    }
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let done = Connection::open_with_flags(path, flags).and_then(|conn| {
        conn.busy_timeout(BUSY_WAIT)?;
        conn.query_row("SELECT count(*) FROM sqlite_master", [], |_| Ok(()))
    });
    if let Err(e) = done {
        // The reader says what it cannot read.
        tracing::debug!("{}: its rollback journal stays: {e}", path.display());
    }
}

/// A statement's plan holds for all of its arguments: otherwise SQLite, built with
/// histograms as it is here, compiles it again whenever a range's end is another one,
/// which cost more than to run it.
fn plan_once(conn: &Connection) -> rusqlite::Result<()> {
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true).map(drop)
}

/// Moves what stands in the WAL into the database itself, and empties it,
/// unless a reader is in the way.
pub fn checkpoint(conn: &Connection) -> rusqlite::Result<()> {
    conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(()))
}

/// Writes a whole database again with pages of this size, if nobody else has it open.
pub fn set_page_bytes(conn: &Connection, page_bytes: i64) -> rusqlite::Result<()> {
    let mode = |name: &str| {
        conn.query_row(&format!("PRAGMA journal_mode = {name}"), [], |r| r.get::<_, String>(0))
    };
    conn.flush_prepared_statement_cache();
    conn.busy_timeout(Duration::ZERO)?;
    // Out of WAL mode goes who is alone.
    let alone = mode("DELETE").is_ok_and(|mode| mode == "delete");
    conn.busy_timeout(BUSY_WAIT)?;
    if !alone {
        return Ok(());
    }
    conn.pragma_update(None, "page_size", page_bytes)?;
    let done = conn.execute_batch("VACUUM");
    mode("WAL")?;
    done
}

/// Gives all freed pages back to the file system; for databases of
/// [`open_shrinking`].
pub fn shrink(conn: &Connection) -> rusqlite::Result<()> {
    let mut stmt = conn.prepare("PRAGMA incremental_vacuum")?;
    // Each step frees one page.
    let mut rows = stmt.query([])?;
    while rows.next()?.is_some() {}
    drop(rows);
    checkpoint(conn)
}
