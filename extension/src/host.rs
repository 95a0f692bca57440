//! The host's SQLite: the few of its functions that a virtual table needs.
//!
//! They come as a table of pointers, `struct sqlite3_api_routines` of
//! `sqlite3ext.h`, to which SQLite only ever appends.

use rusqlite::ffi::{self, sqlite3, sqlite3_context, sqlite3_value};
use std::ffi::{CStr, c_char, c_int, c_void};
use std::sync::OnceLock;

/// SQLite 3.22.0, of 2018: the first with all that is asked for.
const VERSION_MIN: c_int = 3_022_000;
/// Slots up to the last that is used.
const N_SLOTS: usize = 225;

/// The table.
#[repr(C)]
pub struct Routines([Option<unsafe extern "C" fn()>; N_SLOTS]);

type Destructor = unsafe extern "C" fn(*mut c_void);

/// The functions.
#[derive(Clone, Copy)]
pub struct Host {
    create_module_v2: unsafe extern "C" fn(
        *mut sqlite3,
        *const c_char,
        *const ffi::sqlite3_module,
        *mut c_void,
        Option<Destructor>,
    ) -> c_int,
    declare_vtab: unsafe extern "C" fn(*mut sqlite3, *const c_char) -> c_int,
    free: unsafe extern "C" fn(*mut c_void),
    malloc: unsafe extern "C" fn(c_int) -> *mut c_void,
    result_double: unsafe extern "C" fn(*mut sqlite3_context, f64),
    result_int64: unsafe extern "C" fn(*mut sqlite3_context, i64),
    result_null: unsafe extern "C" fn(*mut sqlite3_context),
    result_text:
        unsafe extern "C" fn(*mut sqlite3_context, *const c_char, c_int, Option<Destructor>),
    value_bytes: unsafe extern "C" fn(*mut sqlite3_value) -> c_int,
    value_double: unsafe extern "C" fn(*mut sqlite3_value) -> f64,
    value_int64: unsafe extern "C" fn(*mut sqlite3_value) -> i64,
    value_text: unsafe extern "C" fn(*mut sqlite3_value) -> *const u8,
    value_type: unsafe extern "C" fn(*mut sqlite3_value) -> c_int,
    vtab_collation: unsafe extern "C" fn(*mut ffi::sqlite3_index_info, c_int) -> *const c_char,
}

static HOST: OnceLock<Host> = OnceLock::new();

impl Host {
    /// From the table that SQLite hands to an extension. The error says why not.
    ///
    /// # Safety
    /// `api` is such a table, and stays.
    #[expect(clippy::missing_transmute_annotations, reason = "the fields' types say it")]
    pub unsafe fn new(api: *const Routines) -> Result<Host, String> {
        // The slots are counted from 0 in the order of `sqlite3ext.h`.
        macro_rules! slot {
            ($n:literal) => {{
                // SAFETY: it is within the table of every SQLite of this age, and
                // the function there has this type.
                let f = unsafe { (&raw const (*api).0[$n]).read() };
                let f = f.ok_or("this SQLite was built without virtual tables")?;
                unsafe { std::mem::transmute::<unsafe extern "C" fn(), _>(f) }
            }};
        }
        if api.is_null() {
            return Err("SQLite handed over no functions".to_owned());
        }
        let libversion_number: unsafe extern "C" fn() -> c_int = slot!(67);
        // SAFETY: it takes and changes nothing.
        let version = unsafe { libversion_number() };
        if version < VERSION_MIN {
            return Err(format!("SQLite {version} is too old: 3.22.0 is needed"));
        }
        let host = Host {
            create_module_v2: slot!(119),
            declare_vtab: slot!(50),
            free: slot!(58),
            malloc: slot!(68),
            result_double: slot!(79),
            result_int64: slot!(83),
            result_null: slot!(84),
            result_text: slot!(85),
            value_bytes: slot!(103),
            value_double: slot!(105),
            value_int64: slot!(107),
            value_text: slot!(109),
            value_type: slot!(113),
            vtab_collation: slot!(224),
        };
        Ok(*HOST.get_or_init(|| host))
    }

    /// That which was met before.
    pub fn get() -> Result<Host, String> {
        HOST.get().copied().ok_or_else(|| "BUG: not loaded".to_owned())
    }

    /// Adds a module to a connection.
    ///
    /// # Safety
    /// `db` is open, `module` stays.
    pub unsafe fn create_module(
        &self,
        db: *mut sqlite3,
        name: &CStr,
        module: &'static ffi::sqlite3_module,
    ) -> c_int {
        // SAFETY: as the caller says.
        unsafe { (self.create_module_v2)(db, name.as_ptr(), module, std::ptr::null_mut(), None) }
    }

    /// Tells the columns of a table that is being connected.
    ///
    /// # Safety
    /// `db` is the connection that connects it.
    pub unsafe fn declare(&self, db: *mut sqlite3, schema: &CStr) -> c_int {
        // SAFETY: as the caller says.
        unsafe { (self.declare_vtab)(db, schema.as_ptr()) }
    }

    /// A text that SQLite frees; null where there is no memory.
    pub fn text(&self, text: &str) -> *mut c_char {
        let bytes = text.as_bytes();
        let Ok(len) = c_int::try_from(bytes.len() + 1) else { return std::ptr::null_mut() };
        // SAFETY: a plain allocation, filled with as much as it has room for.
        unsafe {
            let at = (self.malloc)(len).cast::<u8>();
            if !at.is_null() {
                at.copy_from_nonoverlapping(bytes.as_ptr(), bytes.len());
                at.add(bytes.len()).write(0);
            }
            at.cast()
        }
    }

    /// Frees what SQLite allocated.
    ///
    /// # Safety
    /// `at` is null or of this host's memory, and nobody's any more.
    pub unsafe fn free(&self, at: *mut c_void) {
        // SAFETY: as the caller says.
        unsafe { (self.free)(at) };
    }

    /// Whether a constraint compares texts byte by byte.
    ///
    /// # Safety
    /// `info` is being planned and has such a constraint.
    pub unsafe fn is_binary(&self, info: *mut ffi::sqlite3_index_info, i: c_int) -> bool {
        // SAFETY: as the caller says; the name is SQLite's own.
        unsafe {
            let name = (self.vtab_collation)(info, i);
            !name.is_null() && CStr::from_ptr(name) == c"BINARY"
        }
    }

    /// A value of a query.
    ///
    /// # Safety
    /// `value` is valid, and as long as what is returned.
    pub unsafe fn value<'a>(&self, value: *mut sqlite3_value) -> Val<'a> {
        // SAFETY: as the caller says; the text comes first, its length after it.
        unsafe {
            match (self.value_type)(value) {
                ffi::SQLITE_INTEGER => Val::Int((self.value_int64)(value)),
                ffi::SQLITE_FLOAT => Val::Real((self.value_double)(value)),
                ffi::SQLITE_TEXT => {
                    let text = (self.value_text)(value);
                    let len = usize::try_from((self.value_bytes)(value)).unwrap_or(0);
                    match text.is_null() {
                        true => Val::Other,
                        false => Val::Text(std::slice::from_raw_parts(text, len)),
                    }
                }
                _ => Val::Other,
            }
        }
    }

    /// Answers a column.
    ///
    /// # Safety
    /// `ctx` is that of the column that is asked for.
    pub unsafe fn answer(&self, ctx: *mut sqlite3_context, cell: Cell<'_>) {
        // SAFETY: as the caller says; SQLite copies the text.
        unsafe {
            match cell {
                Cell::Null => (self.result_null)(ctx),
                Cell::Int(v) => (self.result_int64)(ctx, v),
                Cell::Real(v) => (self.result_double)(ctx, v),
                Cell::Text(v) => {
                    let len = c_int::try_from(v.len()).unwrap_or(c_int::MAX);
                    (self.result_text)(ctx, v.as_ptr().cast(), len, ffi::SQLITE_TRANSIENT());
                }
            }
        }
    }
}

pub use rookery_collector::sql::scan::{Arg as Val, Cell};
