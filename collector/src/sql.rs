//! The history as an SQL table, for `rookery sql`.
//!
//! `samples(node, service, field, time, value, kind, bits)`, read-only. `time`
//! is ms since 1970 UTC. `value` is an INTEGER or a REAL as it was sent, NULL
//! where unknown (or no number), and a TEXT of digits above 2^63 - 1, which SQLite's
//! integers cannot hold. `kind` is `unknown`, `int`, `uint` or `float`; `bits`
//! are the value's 64 bits as an INTEGER, so that every one can be told apart.
//!
//! Equality of node, service and field and bounds of time are looked up; what
//! else is asked, SQLite filters.

use crate::history::{History, Samples};
use rookery_plugins::{Kind, TimeMs, Value};
use rusqlite::types::{Null, ValueRef};
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConfig, VTabConnection,
    VTabCursor, sqlite3_vtab, sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error};
use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::sync::Arc;

const SCHEMA: &CStr = c"CREATE TABLE x(node, service, field, time, value, kind, bits)";
const COL_NODE: c_int = 0;
const COL_FIELD: c_int = 2;
const COL_TIME: c_int = 3;

/// The constraints that are looked up, in the order of their arguments: column
/// and operator.
const LOOKED_UP: [(c_int, IndexConstraintOp); 8] = [
    (COL_NODE, IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ),
    (1, IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ),
    (COL_FIELD, IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ),
    (COL_TIME, IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ),
    (COL_TIME, IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GE),
    (COL_TIME, IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GT),
    (COL_TIME, IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LE),
    (COL_TIME, IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LT),
];
/// Those of them that name one field.
const ONE_FIELD: c_int = 0b111;

/// What is read.
pub type Source = Arc<dyn History>;

/// A database in memory with the table `samples` of this history.
pub fn connect(history: Source) -> rusqlite::Result<Connection> {
    let conn = Connection::open_in_memory()?;
    register(&conn, history)?;
    Ok(conn)
}

/// Adds the table `samples` of this history to a connection.
pub fn register(conn: &Connection, history: Source) -> rusqlite::Result<()> {
    const MODULE: Module<SamplesTable> = Module::eponymous_only_module();
    conn.create_module(c"samples", &MODULE, Some(history))
}

/// The table.
#[repr(C)]
struct SamplesTable {
    /// SQLite's own part; must be first.
    base: sqlite3_vtab,
    history: Source,
}

// SAFETY: `repr(C)`, and `base` comes first, as the trait demands.
unsafe impl<'vtab> VTab<'vtab> for SamplesTable {
    type Aux = Source;
    type Cursor = SamplesCursor;

    fn connect(
        db: &mut VTabConnection,
        aux: Option<&Source>,
        _: &[u8],
        _: &[u8],
        _: &[u8],
        _: &[&[u8]],
    ) -> rusqlite::Result<(Cow<'static, CStr>, SamplesTable)> {
        let history = aux.ok_or_else(|| Error::ModuleError("no history".to_owned()))?.clone();
        db.config(VTabConfig::DirectOnly)?;
        Ok((Cow::Borrowed(SCHEMA), SamplesTable { base: sqlite3_vtab::default(), history }))
    }

    fn best_index(&self, info: &mut IndexInfo) -> rusqlite::Result<bool> {
        let mut found = [None; LOOKED_UP.len()];
        for (i, c) in info.constraints().enumerate() {
            let at = LOOKED_UP.iter().position(|l| *l == (c.column(), c.operator()));
            if let Some(at) = at.filter(|_| c.is_usable()) {
                // A name is compared byte by byte; other collations are SQLite's.
                if c.column() == COL_TIME || info.collation(i) == Ok("BINARY") {
                    found[at] = Some(i);
                }
            }
        }
        let (mut plan, mut n_args, mut cost) = (0, 0, 1e12);
        for (at, i) in found.iter().enumerate() {
            let Some(i) = *i else { continue };
            n_args += 1;
            plan |= 1 << at;
            cost /= if at < 3 { 1e3 } else { 10.0 };
            // SQLite looks again: bounds may be no whole numbers.
            info.constraint_usage(i).set_argv_index(n_args);
        }
        info.set_estimated_cost(cost);
        info.set_estimated_rows((cost as i64).max(1));
        let by_time = {
            let mut order = info.order_bys();
            let first = order.next().map(|o| (o.column(), o.is_order_by_desc()));
            first == Some((COL_TIME, false)) && order.next().is_none()
        };
        if by_time && plan & ONE_FIELD == ONE_FIELD {
            info.set_order_by_consumed(true);
        }
        info.set_idx_num(plan);
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<SamplesCursor> {
        Ok(SamplesCursor {
            base: sqlite3_vtab_cursor::default(),
            history: self.history.clone(),
            keys: Vec::new(),
            span: (0, 0),
            key: 0,
            samples: Samples::default(),
            row: 0,
            rowid: 0,
        })
    }
}

/// A scan: one field after the other, each in order of time.
#[repr(C)]
struct SamplesCursor {
    /// SQLite's own part; must be first.
    base: sqlite3_vtab_cursor,
    history: Source,
    /// Node, service and field of all that is read.
    keys: Vec<[String; 3]>,
    span: (TimeMs, TimeMs),
    key: usize,
    samples: Samples,
    row: usize,
    rowid: i64,
}

impl SamplesCursor {
    /// Goes on to the next field that has samples, if this one has no more.
    fn settle(&mut self) -> rusqlite::Result<()> {
        while self.row >= self.samples.len() && self.key < self.keys.len() {
            let [node, service, field] = &self.keys[self.key];
            self.samples = self
                .history
                .samples(node, service, field, self.span.0, self.span.1)
                .map_err(|e| Error::ModuleError(e.to_string()))?;
            self.row = 0;
            self.key += 1;
        }
        Ok(())
    }
}

/// The fields of a history whose node, service and field are as `wanted`.
fn keys(history: &dyn History, wanted: &[Option<String>; 3]) -> rusqlite::Result<Vec<[String; 3]>> {
    let is = |i: usize, name: &str| wanted[i].as_deref().is_none_or(|w| w == name);
    let mut found = Vec::new();
    for node in history.nodes() {
        if !is(0, &node.name) {
            continue;
        }
        let failed = |e: crate::history::ReadError| Error::ModuleError(e.to_string());
        let services = history.services(&node.name).map_err(failed)?;
        for service in services.iter().filter(|s| is(1, &s.spec.name)) {
            let name = &service.spec.name;
            let fields = history.fields(&node.name, name).map_err(failed)?;
            for field in fields.iter().filter(|f| is(2, &f.name)) {
                found.push([node.name.clone(), name.clone(), field.name.clone()]);
            }
        }
    }
    Ok(found)
}

/// Narrows `[from, to)` by a bound.
fn narrow(span: &mut (TimeMs, TimeMs), op: &IndexConstraintOp, bound: ValueRef<'_>) {
    use IndexConstraintOp as Op;
    let (least, most) = match bound {
        ValueRef::Integer(v) => (v, v),
        // A cast to i64 stays within its range.
        ValueRef::Real(v) => (v.floor() as i64, v.ceil() as i64),
        // NULL matches nothing and texts are above all numbers: SQLite knows.
        _ => return,
    };
    if matches!(
        op,
        Op::SQLITE_INDEX_CONSTRAINT_EQ
            | Op::SQLITE_INDEX_CONSTRAINT_GE
            | Op::SQLITE_INDEX_CONSTRAINT_GT
    ) {
        span.0 = span.0.max(least);
    }
    if matches!(
        op,
        Op::SQLITE_INDEX_CONSTRAINT_EQ
            | Op::SQLITE_INDEX_CONSTRAINT_LE
            | Op::SQLITE_INDEX_CONSTRAINT_LT
    ) {
        span.1 = span.1.min(most.saturating_add(1));
    }
}

// SAFETY: `repr(C)`, and `base` comes first, as the trait demands.
unsafe impl VTabCursor for SamplesCursor {
    fn filter(&mut self, plan: c_int, _: Option<&str>, args: &Filters<'_>) -> rusqlite::Result<()> {
        let mut wanted = [None, None, None];
        self.span = (TimeMs::MIN, TimeMs::MAX);
        (self.key, self.row, self.rowid) = (0, 0, 0);
        self.samples = Samples::default();
        self.keys.clear();
        let asked = LOOKED_UP.iter().enumerate().filter(|(at, _)| plan & (1 << at) != 0);
        for ((at, (_, op)), value) in asked.zip(args.iter()) {
            if at >= wanted.len() {
                narrow(&mut self.span, op, value);
                continue;
            }
            let ValueRef::Text(text) = value else {
                // No name is a number or NULL.
                return Ok(());
            };
            wanted[at] = Some(String::from_utf8_lossy(text).into_owned());
        }
        if self.span.0 < self.span.1 {
            self.keys = keys(&*self.history, &wanted)?;
        }
        self.settle()
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.row += 1;
        self.rowid += 1;
        self.settle()
    }

    fn eof(&self) -> bool {
        self.row >= self.samples.len()
    }

    fn column(&self, ctx: &mut Context, col: c_int) -> rusqlite::Result<()> {
        let (kind, bits) = (self.samples.kinds[self.row], self.samples.bits[self.row]);
        let value = Kind::from_u8(kind).and_then(|k| Value::from_bits(k, bits));
        match col {
            COL_NODE..=COL_FIELD => ctx.set_result(self.keys[self.key - 1][col as usize].as_str()),
            COL_TIME => ctx.set_result(self.samples.times_ms[self.row]),
            4 => match value {
                Some(Value::Int(v)) => ctx.set_result(v),
                Some(Value::Float(v)) => ctx.set_result(v),
                Some(Value::Uint(v)) => match i64::try_from(v) {
                    Ok(v) => ctx.set_result(v),
                    Err(_) => ctx.set_result(v.to_string()),
                },
                Some(Value::Unknown) | None => ctx.set_result(Null),
            },
            5 => ctx.set_result(match value {
                Some(Value::Int(_)) => "int",
                Some(Value::Uint(_)) => "uint",
                Some(Value::Float(_)) => "float",
                Some(Value::Unknown) | None => "unknown",
            }),
            _ => ctx.set_result(bits as i64),
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(self.rowid)
    }
}
