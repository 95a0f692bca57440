//! `rookery verify`: is every byte of the history as it was written?
//!
//! Reads everything, also beside a running collector: each database's pages,
//! each sealed block's checksums and coding, each frame of the journal. What is
//! damaged is named by node, field and time, as far as these can still be told.

use crate::chunk::{Block, ChunkError, Digest};
use crate::db;
use crate::journal;
use crate::offline::{Names, databases};
use crate::period::has_digests;
use crate::store::StoreError;
use rookery_plugins::wire::Frame;
use rookery_plugins::{FieldKey, LayoutId, TimeMs};
use rusqlite::Connection;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// Samples that cannot be read, or only without their summaries.
#[derive(Clone, Debug, PartialEq)]
pub struct Damaged {
    /// The period's file.
    pub path: PathBuf,
    /// The block's row in it.
    pub block: i64,
    /// The node.
    pub node: String,
    /// The fields.
    pub fields: Vec<FieldKey>,
    /// Time of the first sample concerned, UTC, ms.
    pub from_ms: TimeMs,
    /// Time of the last one.
    pub to_ms: TimeMs,
    /// What is wrong.
    pub error: ChunkError,
}

/// A file with damage that cannot be told by field and time.
#[derive(Clone, Debug, PartialEq)]
pub struct DamagedFile {
    /// The file.
    pub path: PathBuf,
    /// What is wrong, and what it means.
    pub error: String,
}

/// What [`verify`] found.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Databases that were read.
    pub n_files: usize,
    /// Sealed blocks that were read.
    pub n_blocks: usize,
    /// Cells in them.
    pub n_cells: u64,
    /// Frames in the journal.
    pub n_frames: usize,
    /// Damaged blocks.
    pub blocks: Vec<Damaged>,
    /// Other damage.
    pub files: Vec<DamagedFile>,
}

impl Report {
    /// Whether nothing is damaged.
    pub fn is_whole(&self) -> bool {
        self.blocks.is_empty() && self.files.is_empty()
    }

    fn file(&mut self, path: &Path, error: impl ToString) {
        self.files.push(DamagedFile { path: path.to_owned(), error: error.to_string() });
    }
}

/// Reads the whole history in `data`. An error: there is none, or the folder
/// cannot be read; damage is in the report.
pub fn verify(data: &Path) -> Result<Report, StoreError> {
    if !data.join("catalog.sqlite").exists() && !data.join("periods").exists() {
        let text = format!("{}: no history here: name the collector's data folder", data.display());
        return Err(StoreError::Other(text));
    }
    let mut report = Report::default();
    for name in ["catalog.sqlite", "state.sqlite"] {
        let path = data.join(name);
        if path.exists() || name == "catalog.sqlite" {
            check_pages(&path, &mut report);
        }
    }
    // Without names damage is told by numbers.
    let names = Names::read(data).unwrap_or_default();
    for path in databases(&data.join("periods"))? {
        if let Some(conn) = check_pages(&path, &mut report)
            && let Err(e) = check_blocks(&path, &conn, &names, &mut report)
        {
            report.file(&path, format!("{e}: its blocks cannot all be listed"));
        }
    }
    check_journal(&data.join("journal"), &mut report)?;
    Ok(report)
}

/// Opens a database and checks its pages; `None`: it cannot be opened.
fn check_pages(path: &Path, report: &mut Report) -> Option<Connection> {
    report.n_files += 1;
    let check = || -> rusqlite::Result<(Connection, Vec<String>)> {
        let conn = db::open_reader(path)?;
        let found = conn
            .prepare("PRAGMA quick_check(10)")?
            .query_map([], |r| r.get::<_, String>(0))?
            .collect::<rusqlite::Result<Vec<_>>>()?;
        Ok((conn, found))
    };
    match check() {
        Ok((conn, found)) => {
            for text in found.into_iter().filter(|t| t != "ok") {
                report.file(path, text);
            }
            Some(conn)
        }
        Err(e) => {
            report.file(path, e);
            // Some of it may still be read.
            db::open_reader(path).ok()
        }
    }
}

fn check_blocks(
    path: &Path,
    conn: &Connection,
    names: &Names,
    report: &mut Report,
) -> rusqlite::Result<()> {
    // One state of the file, whatever is sealed and packed meanwhile.
    let _snapshot = conn.unchecked_transaction()?;
    // The ids first, from an index: a broken page costs its blocks only.
    let ids = conn
        .prepare("SELECT id FROM block INDEXED BY block_at ORDER BY node, layout, t_from")?
        .query_map([], |r| r.get::<_, i64>(0))?
        .collect::<rusqlite::Result<Vec<_>>>()?;
    let sql = "SELECT node, layout, col_from, col_to, t_from, t_to, n_rows, data FROM block \
               WHERE id = ?1";
    let mut stmt = conn.prepare(sql)?;
    let has_digests = has_digests(conn)?;
    for id in ids {
        let read = stmt.query_row([id], |r| {
            let layout: i64 = r.get(1)?;
            let cols = r.get::<_, i64>(2)? as usize..r.get::<_, i64>(3)? as usize;
            let about = About {
                node: r.get(0)?,
                layout: LayoutId(layout as u64),
                cols,
                span: (r.get(4)?, r.get(5)?),
                n_rows: r.get(6)?,
            };
            Ok((about, r.get::<_, Vec<u8>>(7)?))
        });
        match read {
            Ok((about, data)) => {
                report.n_blocks += 1;
                report.n_cells += about.n_rows.unsigned_abs() * about.cols.len() as u64;
                let mut found = about.check(&data);
                if has_digests {
                    let io = |e: rusqlite::Error| ChunkError::Io(e.to_string());
                    let digests = check_digests(conn, id);
                    found.extend(digests.unwrap_or_else(|e| vec![(about.cols.clone(), io(e))]));
                }
                let damaged = found.into_iter().map(|(cols, error)| Damaged {
                    path: path.to_owned(),
                    block: id,
                    node: names.node(about.node),
                    fields: names.fields(about.layout, cols),
                    from_ms: about.span.0,
                    to_ms: about.span.1,
                    error,
                });
                report.blocks.extend(damaged);
            }
            Err(e) => {
                let about = lost(conn, id).unwrap_or_default();
                report.blocks.push(Damaged {
                    path: path.to_owned(),
                    block: id,
                    node: names.node(about.node),
                    fields: names.fields(about.layout, about.cols),
                    from_ms: about.span.0,
                    to_ms: about.span.1,
                    error: ChunkError::Io(e.to_string()),
                });
            }
        }
    }
    Ok(())
}

/// What is damaged in a block's digests.
fn check_digests(conn: &Connection, id: i64) -> rusqlite::Result<Vec<(Range<usize>, ChunkError)>> {
    let sql = "SELECT col_from, col_to, data FROM digest WHERE block = ?1";
    let mut stmt = conn.prepare_cached(sql)?;
    let mut rows = stmt.query([id])?;
    let mut found = Vec::new();
    while let Some(row) = rows.next()? {
        let cols = row.get::<_, i64>(0)? as usize..row.get::<_, i64>(1)? as usize;
        let read = Digest::open(row.get_ref(2)?.as_blob()?).and_then(|mut d| d.verify());
        found.extend(read.err().map(|e| (cols, e)));
    }
    Ok(found)
}

/// What a block's row says of it.
struct About {
    node: i64,
    layout: LayoutId,
    cols: Range<usize>,
    span: (TimeMs, TimeMs),
    n_rows: i64,
}

impl Default for About {
    fn default() -> About {
        About { node: 0, layout: LayoutId(0), cols: 0..0, span: (0, 0), n_rows: 0 }
    }
}

impl About {
    fn check(&self, data: &[u8]) -> Vec<(Range<usize>, ChunkError)> {
        match Block::open(data) {
            Ok(mut block) => block.verify().into_iter().map(|d| (d.cols, d.error)).collect(),
            Err(e) => vec![(self.cols.clone(), e)],
        }
    }
}

/// What the index still says of a block whose row cannot be read.
fn lost(conn: &Connection, id: i64) -> rusqlite::Result<About> {
    let sql = "SELECT node, layout, col_from, col_to, t_from, t_to FROM block \
               INDEXED BY block_at WHERE +id = ?1 AND node IS NOT NULL";
    conn.query_row(sql, [id], |r| {
        let layout: i64 = r.get(1)?;
        Ok(About {
            node: r.get(0)?,
            layout: LayoutId(layout as u64),
            cols: r.get::<_, i64>(2)? as usize..r.get::<_, i64>(3)? as usize,
            span: (r.get(4)?, r.get(5)?),
            n_rows: 0,
        })
    })
}

fn check_journal(dir: &Path, report: &mut Report) -> Result<(), StoreError> {
    for path in databases(dir)? {
        report.n_files += 1;
        let read = journal::read_segment(&path, |n, bytes| {
            report.n_frames += 1;
            if let Err(e) = Frame::parse(bytes) {
                report.files.push(DamagedFile {
                    path: path.clone(),
                    error: format!("frame {n}: {e}: its samples are lost"),
                });
            }
        });
        // Sealed and deleted while it was to be read: nothing is lost.
        if let Err(e) = read
            && path.exists()
        {
            report.file(&path, e);
        }
    }
    Ok(())
}
