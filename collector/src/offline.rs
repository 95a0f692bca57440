//! A history that is looked at from outside: read-only, beside a running
//! collector or without one.

use crate::db;
use crate::packed_text;
use crate::store::StoreError;
use rookery_plugins::{FieldKey, Layout, LayoutId};
use rusqlite::Connection;
use std::collections::HashMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

/// What the numbers in period files stand for.
#[derive(Debug, Default)]
pub struct Names {
    /// Nodes by number.
    pub nodes: HashMap<i64, String>,
    /// Layouts by id.
    pub layouts: HashMap<LayoutId, Layout>,
}

impl Names {
    /// Reads a history's catalog.
    pub fn read(data: &Path) -> Result<Names, StoreError> {
        let path = data.join("catalog.sqlite");
        let read = || -> rusqlite::Result<Names> {
            let conn = db::open_reader(&path)?;
            Names::of(&conn)
        };
        read().map_err(|e| StoreError::db(&path, e))
    }

    fn of(conn: &Connection) -> rusqlite::Result<Names> {
        let mut names = Names::default();
        let mut stmt = conn.prepare("SELECT id, name FROM node")?;
        let mut rows = stmt.query([])?;
        while let Some(row) = rows.next()? {
            names.nodes.insert(row.get(0)?, row.get(1)?);
        }
        let mut stmt = conn.prepare("SELECT json FROM layout")?;
        let mut rows = stmt.query([])?;
        while let Some(row) = rows.next()? {
            // One that cannot be read has numbers for names.
            let json = packed_text::unpack(row.get_ref(0)?);
            if let Some(Ok(layout)) = json.map(|j| serde_json::from_str::<Layout>(&j)) {
                names.layouts.insert(layout.id(), layout);
            }
        }
        Ok(names)
    }

    /// A node's name; `node 7` where the catalog does not know it.
    pub fn node(&self, id: i64) -> String {
        self.nodes.get(&id).cloned().unwrap_or_else(|| format!("node {id}"))
    }

    /// The fields of these columns.
    pub fn fields(&self, layout: LayoutId, cols: Range<usize>) -> Vec<FieldKey> {
        let known = self.layouts.get(&layout).and_then(|l| l.fields().get(cols.clone()));
        known.map(<[FieldKey]>::to_vec).unwrap_or_else(|| {
            let service = format!("layout {:016x}", layout.0);
            cols.map(|c| FieldKey::new(&service, &format!("column {c}"))).collect()
        })
    }
}

/// The SQLite databases of a folder, by name; none if it is not there.
pub fn databases(dir: &Path) -> Result<Vec<PathBuf>, StoreError> {
    let mut found = Vec::new();
    let entries = match std::fs::read_dir(dir) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(found),
        other => other.map_err(|e| StoreError::io(dir, e))?,
    };
    for entry in entries {
        let path = entry.map_err(|e| StoreError::io(dir, e))?.path();
        if path.extension().is_some_and(|e| e == "sqlite") {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}
