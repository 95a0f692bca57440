//! The catalog: which nodes, services, fields and layouts there are, now and
//! before.
//!
//! `catalog.sqlite`. Specs and layouts are kept once, by their content, however
//! many nodes share them; a service's row says from when on which spec holds,
//! so that a renamed label or a changed type is known as it was at the time.
//!
//! At the start all of it is read (`load`) into memory, where readers look it up
//! (`index`); what frames say that is new is written (`take`), and here stand the
//! transactions in which that is done.

mod former;
mod frames;
mod index;
mod lifecycle;
mod load;
mod months;
mod take;

use crate::db;
use crate::store::StoreError;
use index::{NodeState, read, write};
use rookery_plugins::{LayoutId, ServiceSpec, TimeMs, names};
use rusqlite::{Connection, ToSql};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::sync::{Arc, RwLock};

pub use frames::{FrameId, Order};
pub use index::{LayoutIndex, NodeEntry, Nodes, NodesView, ServiceEntry};
pub use lifecycle::{is_tombstone, renames, tombstone_pattern};
pub use take::Said;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS node(
  id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE, grp TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS spec(id INTEGER PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS service(
  node INTEGER NOT NULL, name TEXT NOT NULL, from_ms INTEGER NOT NULL,
  spec INTEGER NOT NULL, active INTEGER NOT NULL,
  PRIMARY KEY(node, name, from_ms)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS layout(id INTEGER PRIMARY KEY, json TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS node_layout(
  node INTEGER NOT NULL, layout INTEGER NOT NULL, PRIMARY KEY(node, layout)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS home(
  node INTEGER NOT NULL, layout INTEGER NOT NULL, PRIMARY KEY(node, layout)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS taken(
  node INTEGER NOT NULL, boot INTEGER NOT NULL, frames BLOB NOT NULL,
  PRIMARY KEY(node, boot)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS seen(node INTEGER PRIMARY KEY, last_ms INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS month(
  id INTEGER PRIMARY KEY, bytes INTEGER NOT NULL, changed_ns INTEGER NOT NULL,
  position INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS agent(
  node INTEGER NOT NULL, boot INTEGER NOT NULL, sequence INTEGER NOT NULL,
  PRIMARY KEY(node, boot)) WITHOUT ROWID;
";

/// The catalog. Reading it takes no disk.
pub struct Catalog {
    path: PathBuf,
    conn: Connection,
    nodes: Arc<RwLock<Nodes>>,
    layouts: HashMap<LayoutId, Arc<LayoutIndex>>,
    specs: HashMap<String, (i64, Arc<ServiceSpec>)>,
    /// A transaction was begun. When the database says that there is none,
    /// SQLite has rolled it back by itself, as it does when the disk fails.
    begun: bool,
    /// What is in memory may not be in the database.
    stale: bool,
}

impl Catalog {
    /// Opens `catalog.sqlite` in `dir` and reads all of it.
    pub fn open(dir: &Path) -> Result<Catalog, StoreError> {
        let path = dir.join("catalog.sqlite");
        let err = |e| StoreError::db(&path, e);
        db::make_whole(&path, SCHEMA, |path| db::open_durable(path, db::SMALL_PAGE_BYTES))?;
        let conn = db::open_durable(&path, db::SMALL_PAGE_BYTES)?;
        conn.execute_batch(SCHEMA).map_err(err)?;
        conn.execute_batch(lifecycle::SCHEMA).map_err(err)?;
        conn.execute_batch(former::SCHEMA).map_err(err)?;
        Catalog::of(path, conn)
    }

    /// As it is now, read-only: for a look at a history that another process
    /// may be writing.
    pub fn look(dir: &Path) -> Result<Catalog, StoreError> {
        let path = dir.join("catalog.sqlite");
        let conn = db::open_reader(&path).map_err(|e| StoreError::db(&path, e))?;
        Catalog::of(path, conn)
    }

    fn of(path: PathBuf, conn: Connection) -> Result<Catalog, StoreError> {
        let err = |e| StoreError::db(&path, e);
        let mut catalog = Catalog {
            path: path.clone(),
            conn,
            nodes: Arc::default(),
            layouts: HashMap::new(),
            specs: HashMap::new(),
            begun: false,
            stale: false,
        };
        catalog.load().map_err(err)?;
        Ok(catalog)
    }

    /// A view for readers.
    pub fn view(&self) -> NodesView {
        NodesView(self.nodes.clone())
    }

    /// The node of this name, made if it is new; on disk with [`Self::commit`].
    pub fn node(&mut self, name: &str) -> Result<Arc<NodeEntry>, StoreError> {
        if let Some(node) = read(&self.nodes).get(name) {
            return Ok(node.clone());
        }
        let (group, _) = names::split_node(name);
        self.begin()?;
        self.conn
            .execute("INSERT INTO node(name, grp) VALUES (?1, ?2)", [name, group])
            .map_err(|e| StoreError::db(&self.path, e))?;
        let state = NodeState::in_group(group);
        let node = Arc::new(NodeEntry::new(self.conn.last_insert_rowid(), name, state));
        write(&self.nodes).by_name.insert(name.to_owned(), node.clone());
        Ok(node)
    }

    fn begin(&mut self) -> Result<(), StoreError> {
        if self.begun {
            return if self.conn.is_autocommit() { Err(self.rolled_back()) } else { Ok(()) };
        }
        self.conn.execute_batch("BEGIN IMMEDIATE").map_err(|e| StoreError::db(&self.path, e))?;
        self.begun = true;
        Ok(())
    }

    fn rolled_back(&self) -> StoreError {
        let path = self.path.display();
        StoreError::Other(format!("{path}: could not be written: send all of it again"))
    }

    /// Puts on disk all that was taken since the last time. After an error
    /// nothing of it counts: what was taken must not be kept either.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        // Fast path: frames with nothing but rows.
        if !self.begun && !self.stale {
            return Ok(());
        }
        let is_lost = self.stale || self.conn.is_autocommit();
        let done = if is_lost {
            Err(self.rolled_back())
        } else {
            self.conn.execute_batch("COMMIT").map_err(|e| StoreError::db(&self.path, e))
        };
        self.begun = false;
        if done.is_err() {
            self.stale = true;
            // There may be nothing to roll back any more.
            let _ = self.conn.execute_batch("ROLLBACK");
        }
        done
    }

    /// Reads everything anew if what is known may not be in the database;
    /// before frames are checked against it.
    pub fn refresh(&mut self) -> Result<(), StoreError> {
        if self.stale {
            self.layouts.clear();
            self.specs.clear();
            self.load().map_err(|e| StoreError::db(&self.path, e))?;
            self.stale = false;
        }
        Ok(())
    }

    /// Moves the WAL into the database.
    pub fn checkpoint(&self) -> Result<(), StoreError> {
        db::checkpoint(&self.conn).map_err(|e| StoreError::db(&self.path, e))
    }

    /// Writes down which frames were taken last and when each node was heard last, so
    /// that the journal that they stand in may go.
    pub fn save_frames(&mut self) -> Result<(), StoreError> {
        let err = |e| StoreError::db(&self.path, e);
        let tx = self.conn.transaction().map_err(err)?;
        let run = |sql: &str, args: &[&dyn ToSql]| {
            tx.prepare_cached(sql).and_then(|mut s| s.execute(args)).map_err(err)
        };
        for node in read(&self.nodes).iter() {
            // Of lives that are not remembered any more, too.
            run("DELETE FROM agent WHERE node = ?1", &[&node.id])?;
            run("DELETE FROM taken WHERE node = ?1", &[&node.id])?;
            for (boot, highest, frames) in read(&node.state).lives.stored() {
                let (boot, highest) = (boot as i64, highest as i64);
                run("INSERT INTO agent VALUES (?1, ?2, ?3)", &[&node.id, &boot, &highest])?;
                run("INSERT INTO taken VALUES (?1, ?2, ?3)", &[&node.id, &boot, &frames])?;
            }
            let seen = node.last_seen_ms.load(Ordering::Relaxed);
            if seen != TimeMs::MIN {
                run("INSERT OR REPLACE INTO seen VALUES (?1, ?2)", &[&node.id, &seen])?;
            }
        }
        tx.commit().map_err(err)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_sqlite_rolled_back_by_itself_does_not_count() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut catalog = Catalog::open(dir.path()).expect("opens");
        catalog.node("lost").expect("taken");
        // As it does when a page cannot be read or written.
        catalog.conn.execute_batch("ROLLBACK").expect("rolls back");
        assert!(catalog.node("next").is_err(), "not as if nothing had been before");
        assert!(catalog.commit().is_err(), "what stood before it is lost");
        catalog.refresh().expect("reads");
        assert!(catalog.view().get("lost").is_none());
        let id = catalog.node("kept").expect("taken").id;
        catalog.commit().expect("commits");
        drop(catalog);
        let catalog = Catalog::open(dir.path()).expect("opens");
        let nodes: Vec<_> = catalog.view().all().iter().map(|n| (n.name.clone(), n.id)).collect();
        assert_eq!(nodes, [("kept".to_owned(), id)]);
    }
}
