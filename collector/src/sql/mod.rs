//! The history as an SQL table, for `rookery sql`.
//!
//! `samples(node TEXT, service TEXT, field TEXT, time INTEGER, value NUMERIC,
//! kind TEXT, bits INTEGER)`, read-only. `time` is ms since 1970 UTC.
//! `value` is an INTEGER or a REAL as it was sent, NULL where unknown (or no number), and
//! a TEXT of digits above 2^63 - 1, which SQLite's integers cannot hold. `kind` is
//! `unknown`, `int`, `uint` or `float`; `bits`
//! are the value's 64 bits as an INTEGER, so that every one can be told apart.
//!
//! Equality of node, service and field and bounds of time are looked up; what
//! else is asked, SQLite filters.

pub mod scan;

use crate::history::History;
use rusqlite::types::{Null, ValueRef};
use rusqlite::vtab::{
    Context, Filters, IndexConstraintOp, IndexInfo, Module, VTab, VTabConfig, VTabConnection,
    VTabCursor, sqlite3_vtab, sqlite3_vtab_cursor,
};
use rusqlite::{Connection, Error};
use scan::{Arg, Cell, Constraint, Op, SCHEMA, Scan};
use std::borrow::Cow;
use std::ffi::{CStr, c_int};
use std::sync::Arc;

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
        let constraint = |(i, c): (usize, rusqlite::vtab::IndexConstraint<'_>)| Constraint {
            column: c.column(),
            op: op(c.operator()),
            is_usable: c.is_usable(),
            is_binary: info.collation(i) == Ok("BINARY"),
        };
        let constraints: Vec<Constraint> = info.constraints().enumerate().map(constraint).collect();
        let order: Vec<(c_int, bool)> =
            info.order_bys().map(|o| (o.column(), o.is_order_by_desc())).collect();
        let plan = scan::plan(&constraints, &order);
        for (i, argument) in plan.argument.iter().enumerate().filter(|(_, a)| **a > 0) {
            // SQLite looks again: bounds may be no whole numbers.
            info.constraint_usage(i).set_argv_index(*argument);
        }
        info.set_estimated_cost(plan.cost);
        info.set_estimated_rows((plan.cost as i64).max(1));
        if plan.is_by_time {
            info.set_order_by_consumed(true);
        }
        info.set_idx_num(plan.number);
        Ok(true)
    }

    fn open(&'vtab mut self) -> rusqlite::Result<SamplesCursor> {
        let scan = Scan::new(self.history.clone());
        Ok(SamplesCursor { base: sqlite3_vtab_cursor::default(), scan })
    }
}

fn op(op: IndexConstraintOp) -> Option<Op> {
    match op {
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_EQ => Some(Op::Eq),
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GT => Some(Op::Gt),
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LE => Some(Op::Le),
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_LT => Some(Op::Lt),
        IndexConstraintOp::SQLITE_INDEX_CONSTRAINT_GE => Some(Op::Ge),
        _ => None,
    }
}

#[repr(C)]
struct SamplesCursor {
    /// SQLite's own part; must be first.
    base: sqlite3_vtab_cursor,
    scan: Scan,
}

// SAFETY: `repr(C)`, and `base` comes first, as the trait demands.
unsafe impl VTabCursor for SamplesCursor {
    fn filter(&mut self, plan: c_int, _: Option<&str>, args: &Filters<'_>) -> rusqlite::Result<()> {
        let args: Vec<Arg<'_>> = args
            .iter()
            .map(|value| match value {
                ValueRef::Integer(v) => Arg::Int(v),
                ValueRef::Real(v) => Arg::Real(v),
                ValueRef::Text(v) => Arg::Text(v),
                ValueRef::Null | ValueRef::Blob(_) => Arg::Other,
            })
            .collect();
        self.scan.start(plan, &args).map_err(Error::ModuleError)
    }

    fn next(&mut self) -> rusqlite::Result<()> {
        self.scan.advance().map_err(Error::ModuleError)
    }

    fn eof(&self) -> bool {
        self.scan.is_over()
    }

    fn column(&self, ctx: &mut Context, col: c_int) -> rusqlite::Result<()> {
        match self.scan.cell(col) {
            Cell::Null => ctx.set_result(Null),
            Cell::Int(v) => ctx.set_result(v),
            Cell::Real(v) => ctx.set_result(v),
            Cell::Text(v) => ctx.set_result(&*v),
        }
    }

    fn rowid(&self) -> rusqlite::Result<i64> {
        Ok(self.scan.rowid())
    }
}
