//! The virtual table, as SQLite's C interface wants it.
//!
//! Every callback catches panics, and tells errors as SQLite's own.

use crate::host::Host;
use rookery_collector::Store;
use rookery_collector::history::History;
use rookery_collector::read::Reader;
use rookery_collector::sql::scan::{self, Constraint, Op, Scan};
use rusqlite::ffi::{self, sqlite3, sqlite3_index_info, sqlite3_vtab, sqlite3_vtab_cursor};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

/// The folder of a table without an argument.
const DATA: &str = "/var/lib/rookery";
/// A query sees what had arrived at most so long before it began.
const FRESH: Duration = Duration::from_secs(1);

/// The table; SQLite's part must be first.
#[repr(C)]
struct Table {
    base: sqlite3_vtab,
    dir: PathBuf,
    history: Arc<dyn History>,
    looked: Instant,
}

/// A query's way through it; SQLite's part must be first.
#[repr(C)]
struct Cursor {
    base: sqlite3_vtab_cursor,
    scan: Scan,
}

static MODULE: Module = Module(ffi::sqlite3_module {
    xCreate: Some(connect),
    xConnect: Some(connect),
    xBestIndex: Some(best_index),
    xDisconnect: Some(disconnect),
    xDestroy: Some(disconnect),
    xOpen: Some(open),
    xClose: Some(close),
    xFilter: Some(filter),
    xNext: Some(next),
    xEof: Some(eof),
    xColumn: Some(column),
    xRowid: Some(rowid),
    // SAFETY: a number and optional functions: none.
    ..unsafe { std::mem::zeroed() }
});

struct Module(ffi::sqlite3_module);

// SAFETY: it is never written to.
unsafe impl Sync for Module {}

/// Adds the module `rookery` to a connection.
///
/// # Safety
/// `db` is open, and `host`'s.
pub unsafe fn register(host: Host, db: *mut sqlite3) -> Result<(), String> {
    // SAFETY: as the caller says.
    match unsafe { host.create_module(db, c"rookery", &MODULE.0) } {
        ffi::SQLITE_OK => Ok(()),
        code => Err(format!("the module cannot be added: SQLite says {code}")),
    }
}

fn look(dir: &Path) -> Result<Arc<dyn History>, String> {
    if !dir.join("catalog.sqlite").is_file() {
        return Err(format!(
            "{}: no history here: name the collector's data folder",
            dir.display()
        ));
    }
    let shared = Store::look(dir).map_err(|e| e.to_string())?;
    Ok(Arc::new(Reader::new(shared)))
}

/// `'a'` and `"a"` without the quotes.
fn unquoted(text: &str) -> String {
    let text = text.trim();
    for quote in ['\'', '"'] {
        let inner = text.strip_prefix(quote).and_then(|t| t.strip_suffix(quote));
        if let Some(inner) = inner {
            return inner.replace(&format!("{quote}{quote}"), &quote.to_string());
        }
    }
    text.to_owned()
}

/// Runs a callback; an error's text goes to `tell`.
fn guard(work: impl FnOnce(Host) -> Result<(), String>, tell: impl FnOnce(Host, &str)) -> c_int {
    let Ok(host) = Host::get() else { return ffi::SQLITE_ERROR };
    let done = catch_unwind(AssertUnwindSafe(|| work(host)));
    match done.unwrap_or_else(|_| Err("BUG: the extension panicked".to_owned())) {
        Ok(()) => ffi::SQLITE_OK,
        Err(text) => {
            tell(host, &text);
            ffi::SQLITE_ERROR
        }
    }
}

/// The same of a table's; the text becomes its error.
///
/// # Safety
/// `vtab` is a [`Table`]'s.
unsafe fn guard_table(
    vtab: *mut sqlite3_vtab,
    work: impl FnOnce(Host) -> Result<(), String>,
) -> c_int {
    guard(work, |host, text| {
        // SAFETY: the text before, if any, is ours to free.
        unsafe {
            host.free((*vtab).zErrMsg.cast());
            (*vtab).zErrMsg = host.text(text);
        }
    })
}

unsafe extern "C" fn connect(
    db: *mut sqlite3,
    _: *mut c_void,
    argc: c_int,
    argv: *const *const c_char,
    out: *mut *mut sqlite3_vtab,
    error: *mut *mut c_char,
) -> c_int {
    let work = |host: Host| {
        let n = usize::try_from(argc).unwrap_or(0);
        // SAFETY: SQLite's own texts: module, database, table, then arguments.
        let words: Vec<String> = (3..n)
            .map(|i| unsafe { CStr::from_ptr(*argv.add(i)) }.to_string_lossy().into_owned())
            .collect();
        let dir = match words.as_slice() {
            [] => PathBuf::from(DATA),
            [dir] => PathBuf::from(unquoted(dir)),
            more => {
                return Err(format!(
                    "{} arguments: write USING rookery('/var/lib/rookery')",
                    more.len()
                ));
            }
        };
        let history = look(&dir)?;
        // SAFETY: the connection that connects us.
        if unsafe { host.declare(db, scan::SCHEMA) } != ffi::SQLITE_OK {
            return Err("the table cannot be declared".to_owned());
        }
        let base = sqlite3_vtab::default();
        let table = Box::new(Table { base, dir, history, looked: Instant::now() });
        // SAFETY: SQLite keeps it until `disconnect`.
        unsafe { *out = Box::into_raw(table).cast() };
        Ok(())
    };
    // SAFETY: SQLite frees the text.
    guard(work, |host, text| unsafe { *error = host.text(text) })
}

unsafe extern "C" fn disconnect(vtab: *mut sqlite3_vtab) -> c_int {
    // SAFETY: made by `connect`, and not used any more.
    let table = unsafe { Box::from_raw(vtab.cast::<Table>()) };
    guard(
        |_| {
            drop(table);
            Ok(())
        },
        |_, _| {},
    )
}

unsafe extern "C" fn best_index(vtab: *mut sqlite3_vtab, info: *mut sqlite3_index_info) -> c_int {
    let work = |host: Host| {
        // SAFETY: SQLite's own arrays, of these lengths.
        unsafe {
            let len = |n: c_int| usize::try_from(n).unwrap_or(0);
            let n = len((*info).nConstraint);
            let constraint = |i: usize| {
                let c = &*(*info).aConstraint.add(i);
                Constraint {
                    column: c.iColumn,
                    op: op(c.op),
                    is_usable: c.usable != 0,
                    is_binary: host.is_binary(info, i as c_int),
                }
            };
            let constraints: Vec<Constraint> = (0..n).map(constraint).collect();
            let order = |i: usize| {
                let o = &*(*info).aOrderBy.add(i);
                (o.iColumn, o.desc != 0)
            };
            let order: Vec<(c_int, bool)> = (0..len((*info).nOrderBy)).map(order).collect();
            let plan = scan::plan(&constraints, &order);
            for (i, argument) in plan.argument.iter().enumerate() {
                // SQLite looks again: bounds may be no whole numbers.
                (*(*info).aConstraintUsage.add(i)).argvIndex = *argument;
            }
            (*info).idxNum = plan.number;
            (*info).estimatedCost = plan.cost;
            (*info).estimatedRows = (plan.cost as i64).max(1);
            (*info).orderByConsumed = c_int::from(plan.is_by_time);
        }
        Ok(())
    };
    // SAFETY: a table of ours.
    unsafe { guard_table(vtab, work) }
}

fn op(op: u8) -> Option<Op> {
    match c_int::from(op) {
        ffi::SQLITE_INDEX_CONSTRAINT_EQ => Some(Op::Eq),
        ffi::SQLITE_INDEX_CONSTRAINT_GT => Some(Op::Gt),
        ffi::SQLITE_INDEX_CONSTRAINT_LE => Some(Op::Le),
        ffi::SQLITE_INDEX_CONSTRAINT_LT => Some(Op::Lt),
        ffi::SQLITE_INDEX_CONSTRAINT_GE => Some(Op::Ge),
        _ => None,
    }
}

unsafe extern "C" fn open(vtab: *mut sqlite3_vtab, out: *mut *mut sqlite3_vtab_cursor) -> c_int {
    let work = |_: Host| {
        // SAFETY: a table of ours; SQLite keeps the cursor until `close`.
        unsafe {
            let scan = Scan::new((*vtab.cast::<Table>()).history.clone());
            let cursor = Box::new(Cursor { base: sqlite3_vtab_cursor::default(), scan });
            *out = Box::into_raw(cursor).cast();
        }
        Ok(())
    };
    // SAFETY: a table of ours.
    unsafe { guard_table(vtab, work) }
}

unsafe extern "C" fn close(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: made by `open`, and not used any more.
    let cursor = unsafe { Box::from_raw(cursor.cast::<Cursor>()) };
    guard(
        |_| {
            drop(cursor);
            Ok(())
        },
        |_, _| {},
    )
}

unsafe extern "C" fn filter(
    cursor: *mut sqlite3_vtab_cursor,
    number: c_int,
    _: *const c_char,
    argc: c_int,
    argv: *mut *mut ffi::sqlite3_value,
) -> c_int {
    // SAFETY: a cursor of ours, and its table; nobody else uses them meanwhile.
    let (vtab, scan) = unsafe { ((*cursor).pVtab, &mut (*cursor.cast::<Cursor>()).scan) };
    let work = |host: Host| {
        // SAFETY: as above; the values stay for the call.
        let (table, args) = unsafe {
            let n = usize::try_from(argc).unwrap_or(0);
            let args: Vec<_> = (0..n).map(|i| host.value(*argv.add(i))).collect();
            (&mut *vtab.cast::<Table>(), args)
        };
        if table.looked.elapsed() > FRESH {
            (table.history, table.looked) = (look(&table.dir)?, Instant::now());
        }
        scan.set_history(table.history.clone());
        scan.start(number, &args)
    };
    // SAFETY: a table of ours.
    unsafe { guard_table(vtab, work) }
}

unsafe extern "C" fn next(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of ours, and its table.
    unsafe {
        let scan = &mut (*cursor.cast::<Cursor>()).scan;
        guard_table((*cursor).pVtab, |_| scan.advance())
    }
}

unsafe extern "C" fn eof(cursor: *mut sqlite3_vtab_cursor) -> c_int {
    // SAFETY: a cursor of ours.
    c_int::from(unsafe { (*cursor.cast::<Cursor>()).scan.is_over() })
}

unsafe extern "C" fn column(
    cursor: *mut sqlite3_vtab_cursor,
    ctx: *mut ffi::sqlite3_context,
    col: c_int,
) -> c_int {
    // SAFETY: a cursor of ours, its table, and the context of this call.
    unsafe {
        let scan = &(*cursor.cast::<Cursor>()).scan;
        guard_table((*cursor).pVtab, |host| {
            host.answer(ctx, scan.cell(col));
            Ok(())
        })
    }
}

unsafe extern "C" fn rowid(cursor: *mut sqlite3_vtab_cursor, out: *mut i64) -> c_int {
    // SAFETY: a cursor of ours.
    unsafe { *out = (*cursor.cast::<Cursor>()).scan.rowid() };
    ffi::SQLITE_OK
}
