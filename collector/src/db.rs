//! How Rookery opens SQLite databases.

use rusqlite::{Connection, OpenFlags};
use std::path::Path;
use std::time::Duration;

/// How long a connection waits for another one's lock.
const BUSY_WAIT: Duration = Duration::from_secs(30);

/// Opens a database to be written, made if it is not there: WAL, every commit
/// on disk before it returns.
pub fn open_durable(path: &Path, page_bytes: u32) -> rusqlite::Result<Connection> {
    let conn = Connection::open(path)?;
    conn.busy_timeout(BUSY_WAIT)?;
    conn.pragma_update(None, "page_size", page_bytes)?;
    conn.pragma_update(None, "journal_mode", "WAL")?;
    conn.pragma_update(None, "synchronous", "FULL")?;
    Ok(conn)
}

/// Opens a database to be read, while another connection may write.
pub fn open_reader(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags)?;
    conn.busy_timeout(BUSY_WAIT)?;
    // Blocks are read at offsets: mapping spares a copy and a call a page.
    conn.pragma_update(None, "mmap_size", 1i64 << 36)?;
    Ok(conn)
}
