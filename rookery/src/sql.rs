//! `rookery sql`: a question to the exact history, also while its collector
//! writes.

use clap::{Args as ClapArgs, ValueEnum};
use rookery_collector::{Store, read::Reader, sql};
use rusqlite::types::ValueRef;
use rusqlite::{Connection, Row};
use std::io::{self, IsTerminal, Write};
use std::path::PathBuf;
use std::sync::Arc;

#[derive(ClapArgs)]
#[command(
    after_help = "The table: samples(node, service, field, time, value, kind, bits). time is ms \
since 1970 UTC;\nvalue an INTEGER or REAL as it was sent, NULL where unknown, TEXT above 2^63-1.\n\
Bounds on node, service, field and time are looked up, so give them.\n\nExamples:\n  \
rookery sql \"SELECT max(value) FROM samples WHERE node='web1' AND service='load'\"\n  \
rookery sql --format json \"SELECT time, value FROM samples WHERE node='web1' AND service='cpu'\n      \
AND field='iowait' AND time > (unixepoch() - 3600) * 1000\""
)]
pub struct Args {
    /// The history's folder
    #[arg(long, value_name = "DIR", default_value = "./rookery-data")]
    data: PathBuf,
    /// How to write rows [default: columns on a terminal, else csv]
    #[arg(long, value_enum)]
    format: Option<Format>,
    /// The question
    #[arg(value_name = "SELECT")]
    question: String,
}

#[derive(Clone, Copy, PartialEq, ValueEnum)]
enum Format {
    /// Separated by tabs, with a headline
    Columns,
    /// RFC 4180, with a headline
    Csv,
    /// One JSON object a line
    Json,
}

enum Failure {
    Sql(rusqlite::Error),
    Io(io::Error),
}

impl From<rusqlite::Error> for Failure {
    fn from(e: rusqlite::Error) -> Failure {
        Failure::Sql(e)
    }
}

impl From<io::Error> for Failure {
    fn from(e: io::Error) -> Failure {
        Failure::Io(e)
    }
}

pub fn run(args: &Args) -> Result<(), String> {
    let shared = Store::look(&args.data).map_err(|e| e.to_string())?;
    let conn = sql::connect(Arc::new(Reader::new(shared))).map_err(|e| e.to_string())?;
    let default = if io::stdout().is_terminal() { Format::Columns } else { Format::Csv };
    let format = args.format.unwrap_or(default);
    let mut out = io::BufWriter::new(io::stdout().lock());
    let done = answer(&conn, &args.question, format, &mut out);
    match done.and_then(|()| out.flush().map_err(Failure::Io)) {
        Ok(()) => Ok(()),
        // `rookery sql … | head` is no error.
        Err(Failure::Io(e)) if e.kind() == io::ErrorKind::BrokenPipe => Ok(()),
        Err(Failure::Io(e)) => Err(format!("standard output: {e}")),
        Err(Failure::Sql(e)) => Err(e.to_string()),
    }
}

fn answer(
    conn: &Connection,
    question: &str,
    format: Format,
    out: &mut impl Write,
) -> Result<(), Failure> {
    conn.pragma_update(None, "query_only", true)?;
    let mut statement = conn.prepare(question)?;
    let names: Vec<String> = statement.column_names().map(str::to_owned).collect();
    if format != Format::Json {
        let cells: Vec<String> = names.iter().map(|n| cell(n, format)).collect();
        writeln!(out, "{}", cells.join(separator(format)))?;
    }
    let mut rows = statement.query([])?;
    while let Some(row) = rows.next()? {
        write_row(row, &names, format, out)?;
    }
    Ok(())
}

fn write_row(
    row: &Row<'_>,
    names: &[String],
    format: Format,
    out: &mut impl Write,
) -> Result<(), Failure> {
    if format == Format::Json {
        // By hand: a JSON map would sort the columns.
        for (i, name) in names.iter().enumerate() {
            let before = if i == 0 { '{' } else { ',' };
            let name = serde_json::Value::from(name.as_str());
            write!(out, "{before}{name}:{}", json(row.get_ref(i)?))?;
        }
        writeln!(out, "}}")?;
        return Ok(());
    }
    let mut cells = Vec::with_capacity(names.len());
    for i in 0..names.len() {
        cells.push(cell(&text(row.get_ref(i)?), format));
    }
    writeln!(out, "{}", cells.join(separator(format)))?;
    Ok(())
}

fn separator(format: Format) -> &'static str {
    if format == Format::Csv { "," } else { "\t" }
}

/// Floats in the shortest form that round-trips; NULL is nothing.
fn text(value: ValueRef<'_>) -> String {
    match value {
        ValueRef::Null => String::new(),
        ValueRef::Integer(v) => v.to_string(),
        ValueRef::Real(v) => format!("{v:?}"),
        ValueRef::Text(v) | ValueRef::Blob(v) => String::from_utf8_lossy(v).into_owned(),
    }
}

fn json(value: ValueRef<'_>) -> serde_json::Value {
    match value {
        ValueRef::Null => serde_json::Value::Null,
        ValueRef::Integer(v) => v.into(),
        // JSON has no infinity: a string, as the API has it.
        ValueRef::Real(v) if !v.is_finite() => v.to_string().into(),
        ValueRef::Real(v) => v.into(),
        ValueRef::Text(v) | ValueRef::Blob(v) => String::from_utf8_lossy(v).into(),
    }
}

/// Names come from plugins: no control character reaches a terminal.
fn cell(text: &str, format: Format) -> String {
    match format {
        Format::Csv if text.contains([',', '"', '\n', '\r']) => {
            format!("\"{}\"", text.replace('"', "\"\""))
        }
        Format::Columns => text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect(),
        _ => text.to_owned(),
    }
}
