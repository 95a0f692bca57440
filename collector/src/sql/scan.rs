//! What the table `samples` is, whichever SQLite asks: its columns, which of a
//! query's constraints are looked up, and the walk over the rows.

use crate::history::{History, Samples};
use rookery_plugins::{Kind, TimeMs, Value};
use std::borrow::Cow;
use std::ffi::CStr;
use std::sync::Arc;

/// The table as it is declared to SQLite. With its types SQLite compares as with any
/// table: a text of digits with `time` as a number, the number 17 with a name as `'17'`.
pub const SCHEMA: &CStr = c"CREATE TABLE x(node TEXT, service TEXT, field TEXT, time INTEGER, \
    value NUMERIC, kind TEXT, bits INTEGER)";

const COL_NODE: i32 = 0;
const COL_FIELD: i32 = 2;
const COL_TIME: i32 = 3;

/// How a column is compared, of those ways that are looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op {
    /// `=`
    Eq,
    /// `>`
    Gt,
    /// `<=`
    Le,
    /// `<`
    Lt,
    /// `>=`
    Ge,
}

/// The constraints that are looked up, in the order of their arguments.
const LOOKED_UP: [(i32, Op); 8] = [
    (COL_NODE, Op::Eq),
    (1, Op::Eq),
    (COL_FIELD, Op::Eq),
    (COL_TIME, Op::Eq),
    (COL_TIME, Op::Ge),
    (COL_TIME, Op::Gt),
    (COL_TIME, Op::Le),
    (COL_TIME, Op::Lt),
];
/// Those of them that name one field.
const ONE_FIELD: i32 = 0b111;
/// Beside them in a plan's number: SQLite counts on rows in order of time.
const BY_TIME: i32 = 1 << LOOKED_UP.len();

/// A constraint of a query.
#[derive(Clone, Copy, Debug)]
pub struct Constraint {
    /// The column.
    pub column: i32,
    /// How it is compared; `None`: in a way that is not looked up.
    pub op: Option<Op>,
    /// Whether its value is known.
    pub is_usable: bool,
    /// Whether texts are compared byte by byte.
    pub is_binary: bool,
}

/// How a query is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Plan {
    /// Which constraints are looked up, a bit for each of them; and one for
    /// `is_by_time`.
    pub number: i32,
    /// The place of each constraint's value among the arguments, from 1; 0: none.
    pub argument: Vec<i32>,
    /// In SQLite's measure.
    pub cost: f64,
    /// Whether the rows come in order of time.
    pub is_by_time: bool,
}

/// Plans a query with these constraints, ordered by `(column, descending)`.
pub fn plan(constraints: &[Constraint], order_by: &[(i32, bool)]) -> Plan {
    let mut found = [None; LOOKED_UP.len()];
    for (i, c) in constraints.iter().enumerate() {
        let at = LOOKED_UP.iter().position(|l| Some(l.1) == c.op && l.0 == c.column);
        // A name is compared byte by byte; other collations are SQLite's.
        if let Some(at) = at.filter(|_| c.is_usable && (c.is_binary || c.column == COL_TIME)) {
            found[at] = Some(i);
        }
    }
    let mut plan = Plan { cost: 1e12, argument: vec![0; constraints.len()], ..Plan::default() };
    let mut n_args = 0;
    for (at, i) in found.iter().enumerate() {
        let Some(i) = *i else { continue };
        n_args += 1;
        plan.number |= 1 << at;
        plan.cost /= if at < 3 { 1e3 } else { 10.0 };
        plan.argument[i] = n_args;
    }
    plan.is_by_time = order_by == [(COL_TIME, false)] && plan.number & ONE_FIELD == ONE_FIELD;
    if plan.is_by_time {
        plan.number |= BY_TIME;
    }
    plan
}

/// The value of a constraint.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Arg<'a> {
    /// An INTEGER.
    Int(i64),
    /// A REAL.
    Real(f64),
    /// A TEXT.
    Text(&'a [u8]),
    /// NULL or a BLOB.
    Other,
}

/// A cell of the table.
#[derive(Clone, Debug, PartialEq)]
pub enum Cell<'a> {
    /// NULL.
    Null,
    /// An INTEGER.
    Int(i64),
    /// A REAL.
    Real(f64),
    /// A TEXT.
    Text(Cow<'a, str>),
}

/// A walk: one field after the other, each in order of time.
pub struct Scan {
    history: Arc<dyn History>,
    /// Node, service and field of all that is read.
    keys: Vec<[String; 3]>,
    span: (TimeMs, TimeMs),
    key: usize,
    samples: Samples,
    row: usize,
    rowid: i64,
}

impl Scan {
    /// Over nothing yet.
    pub fn new(history: Arc<dyn History>) -> Scan {
        let samples = Samples::default();
        Scan { history, keys: Vec::new(), span: (0, 0), key: 0, samples, row: 0, rowid: 0 }
    }

    /// Reads from this history from now on.
    pub fn set_history(&mut self, history: Arc<dyn History>) {
        self.history = history;
    }

    /// Begins anew, as a [`Plan`] of this number with these arguments says.
    pub fn start(&mut self, number: i32, args: &[Arg<'_>]) -> Result<(), String> {
        let mut wanted = [None, None, None];
        self.span = (TimeMs::MIN, TimeMs::MAX);
        (self.key, self.row, self.rowid) = (0, 0, 0);
        self.samples = Samples::default();
        self.keys.clear();
        let asked = LOOKED_UP.iter().enumerate().filter(|(at, _)| number & (1 << at) != 0);
        for ((at, (_, op)), arg) in asked.zip(args) {
            if at >= wanted.len() {
                narrow(&mut self.span, *op, *arg);
                continue;
            }
            wanted[at] = match Name::of(*arg) {
                None => return Ok(()),
                name => name,
            };
        }
        if self.span.0 < self.span.1 {
            self.keys = keys(&*self.history, &wanted)?;
        }
        if number & BY_TIME != 0
            && let [a, b, ..] = self.keys.as_slice()
        {
            // Two names that are one number, as `17` and `017`.
            return Err(format!(
                "{} and {} are equal as numbers, so their rows have no order: compare with a text, \
                 as CAST(… AS TEXT)",
                a.join("/"),
                b.join("/")
            ));
        }
        self.settle()
    }

    /// Goes to the next row.
    pub fn advance(&mut self) -> Result<(), String> {
        self.row += 1;
        self.rowid += 1;
        self.settle()
    }

    /// Goes on to the next field that has samples, if this one has no more.
    fn settle(&mut self) -> Result<(), String> {
        while self.row >= self.samples.len() && self.key < self.keys.len() {
            let [node, service, field] = &self.keys[self.key];
            let (from, to) = self.span;
            let read = self.history.samples(node, service, field, from, to);
            self.samples = read.map_err(|e| e.to_string())?;
            self.row = 0;
            self.key += 1;
        }
        Ok(())
    }

    /// Whether there is no row any more.
    pub fn is_over(&self) -> bool {
        self.row >= self.samples.len()
    }

    /// A cell of the row.
    pub fn cell(&self, col: i32) -> Cell<'_> {
        if self.is_over() {
            return Cell::Null;
        }
        let (kind, bits) = (self.samples.kinds[self.row], self.samples.bits[self.row]);
        let value = Kind::from_u8(kind).and_then(|k| Value::from_bits(k, bits));
        match col {
            COL_NODE..=COL_FIELD => {
                Cell::Text(self.keys[self.key - 1][col as usize].as_str().into())
            }
            COL_TIME => Cell::Int(self.samples.times_ms[self.row]),
            4 => match value {
                Some(Value::Int(v)) => Cell::Int(v),
                Some(Value::Float(v)) => Cell::Real(v),
                Some(Value::Uint(v)) => match i64::try_from(v) {
                    Ok(v) => Cell::Int(v),
                    Err(_) => Cell::Text(v.to_string().into()),
                },
                Some(Value::Unknown) | None => Cell::Null,
            },
            5 => Cell::Text(Cow::Borrowed(match value {
                Some(Value::Int(_)) => "int",
                Some(Value::Uint(_)) => "uint",
                Some(Value::Float(_)) => "float",
                Some(Value::Unknown) | None => "unknown",
            })),
            _ => Cell::Int(bits as i64),
        }
    }

    /// The row's number.
    pub fn rowid(&self) -> i64 {
        self.rowid
    }
}

/// What a name is looked up by. SQLite compares again, so that more may be found than
/// is wanted, and never less.
#[derive(Clone, Debug, PartialEq)]
enum Name {
    /// This text.
    Text(String),
    /// Texts that are this number: the argument comes as it was written, and is compared
    /// as a text if it is a literal, as a number if it is a column of numbers.
    Number(f64),
}

impl Name {
    /// `None`: no name is NULL or a BLOB.
    fn of(arg: Arg<'_>) -> Option<Name> {
        match arg {
            Arg::Text(text) => Some(Name::Text(String::from_utf8_lossy(text).into_owned())),
            Arg::Int(v) => Some(Name::Number(v as f64)),
            Arg::Real(v) => Some(Name::Number(v)),
            Arg::Other => None,
        }
    }

    fn is(&self, name: &str) -> bool {
        match self {
            Name::Text(text) => text == name,
            Name::Number(v) => name.trim().parse::<f64>().is_ok_and(|n| n == *v),
        }
    }
}

/// The fields of a history whose node, service and field are as `wanted`.
fn keys(history: &dyn History, wanted: &[Option<Name>; 3]) -> Result<Vec<[String; 3]>, String> {
    let is = |i: usize, name: &str| wanted[i].as_ref().is_none_or(|w| w.is(name));
    let mut found = Vec::new();
    for node in history.nodes() {
        if !is(0, &node.name) {
            continue;
        }
        let services = history.services(&node.name).map_err(|e| e.to_string())?;
        for service in services.iter().filter(|s| is(1, &s.spec.name)) {
            let name = &service.spec.name;
            let fields = history.fields(&node.name, name).map_err(|e| e.to_string())?;
            for field in fields.iter().filter(|f| is(2, &f.name)) {
                found.push([node.name.clone(), name.clone(), field.name.clone()]);
            }
        }
    }
    Ok(found)
}

/// Narrows `[from, to)` by a bound.
fn narrow(span: &mut (TimeMs, TimeMs), op: Op, bound: Arg<'_>) {
    let (least, most) = match bound {
        Arg::Int(v) => (v, v),
        // A cast to i64 stays within its range.
        Arg::Real(v) => (v.floor() as i64, v.ceil() as i64),
        Arg::Text(text) => match whole(text) {
            Some(v) => (v, v),
            // Another text: SQLite knows whether it is a number.
            None => return,
        },
        // NULL and BLOBs: SQLite knows.
        Arg::Other => return,
    };
    if matches!(op, Op::Eq | Op::Ge | Op::Gt) {
        span.0 = span.0.max(least);
    }
    if matches!(op, Op::Eq | Op::Le | Op::Lt) {
        span.1 = span.1.min(most.saturating_add(1));
    }
}

/// A text that is a whole number to SQLite, too: `'1796000000000'` of a script.
fn whole(text: &[u8]) -> Option<i64> {
    std::str::from_utf8(text).ok()?.trim_ascii().parse().ok()
}
