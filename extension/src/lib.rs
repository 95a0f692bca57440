//! The exact history as a table of any SQLite: a loadable extension for the
//! plain `sqlite3` program, Python's `sqlite3`, and others.
//!
//! ```sql
//! .load /usr/lib/rookery/samples
//! CREATE VIRTUAL TABLE temp.samples USING rookery('/var/lib/rookery');
//! SELECT * FROM samples WHERE node = 'db1' AND service = 'cpu' AND field = 'iowait';
//! ```
//!
//! In: a history's folder, also one that a collector writes to; queries. Out: rows,
//! as `rookery sql` gives them (`rookery_collector::sql`). It never writes.
//!
//! There are two SQLites in the process then. This one's own, compiled in, reads the
//! history; the host's is reached through the table of functions that it hands over
//! ([`host`]), and never by name: nothing of ours is visible to it but the entry point.

mod host;
mod table;

use host::Host;
use rusqlite::ffi;
use std::ffi::{c_char, c_int};
use std::panic::catch_unwind;

/// SQLite calls it when the extension is loaded, whatever its file is called.
///
/// # Safety
/// `db`, `error` and `api` are as SQLite's manual says of an entry point.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn sqlite3_extension_init(
    db: *mut ffi::sqlite3,
    error: *mut *mut c_char,
    api: *const host::Routines,
) -> c_int {
    let done = catch_unwind(|| {
        // SAFETY: SQLite's own table, which lives as long as the process.
        let host = unsafe { Host::new(api) }?;
        // SAFETY: the connection that loads us.
        unsafe { table::register(host, db) }
    });
    match done.unwrap_or_else(|_| Err("BUG: the extension panicked".to_owned())) {
        // Its threads' buffers must outlive the connection.
        Ok(()) => ffi::SQLITE_OK_LOAD_PERMANENTLY,
        Err(text) => {
            if let Ok(host) = Host::get()
                && !error.is_null()
            {
                // SAFETY: SQLite frees it.
                unsafe { *error = host.text(&text) };
            }
            ffi::SQLITE_ERROR
        }
    }
}
