//! A node's name and whether it is still expected: renaming, retiring, removing.
//!
//! A node keeps its number whatever it is called, so that its history stays one. The
//! names that it had stay reserved for it (`former_name`): frames, addresses and rules
//! that still use one mean the same node. A retired node (`retired`) is on no list and
//! has no state; its history stays readable by its name, and it is back as soon as it
//! sends something newer. A removed node gives its name free; what is left of it is a
//! tombstone under a name that no node can have, until retention has taken its blocks.

use super::Catalog;
use super::index::{NodeEntry, read, write};
use crate::store::StoreError;
use rookery_plugins::{TimeMs, names};
use rusqlite::{Connection, OptionalExtension, params};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Tables of their own, so that an older collector still reads the catalog.
pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS former_name(name TEXT PRIMARY KEY, node INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS retired(node INTEGER PRIMARY KEY, at_ms INTEGER NOT NULL);
";

/// What tombstones are called: no node's name holds a slash.
const REMOVED: &str = "removed/";

/// Whether this is the name of what is left of a removed node.
pub fn is_tombstone(name: &str) -> bool {
    name.starts_with(REMOVED)
}

/// A pattern that matches the tombstone of this node number only.
pub fn tombstone_pattern(id: i64) -> String {
    format!("{REMOVED}{id}/*")
}

impl Catalog {
    /// Renames a node, its former name stays reserved for it. On disk when it returns.
    /// Refused where there is no node `from`, or `to` is no name or taken by another.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<Arc<NodeEntry>, StoreError> {
        let node = self.known(from)?;
        if !names::is_valid(to) {
            return Err(StoreError::Refused(format!(
                "{to:?} is no name for a node: empty, too long, or with a control character or /"
            )));
        }
        if let Some(other) = self.view().get(to)
            && other.id != node.id
        {
            return Err(StoreError::Refused(match other.name == to {
                true => format!(
                    "there is a node {to:?} already; two histories are not merged: retire one of \
                     them (rookery node retire {from:?})"
                ),
                false => format!(
                    "{to:?} is a former name of {:?}: free it first (rookery node remove {to:?})",
                    other.name
                ),
            }));
        }
        if node.name == to {
            return Err(StoreError::Refused(format!("this node is called {to:?} already")));
        }
        self.transact(|conn| {
            conn.execute("UPDATE node SET name = ?1 WHERE id = ?2", params![to, node.id])?;
            conn.execute("DELETE FROM former_name WHERE name = ?1", [to])?;
            let sql = "INSERT OR REPLACE INTO former_name VALUES (?1, ?2)";
            conn.execute(sql, params![node.name, node.id]).map(drop)
        })?;
        let renamed = Arc::new(node.renamed(to));
        let mut nodes = write(&self.nodes);
        nodes.by_name.remove(&node.name);
        nodes.former.remove(to);
        nodes.former.insert(node.name.clone(), node.clone());
        for of in nodes.former.values_mut().filter(|of| of.id == node.id) {
            *of = renamed.clone();
        }
        nodes.by_name.insert(to.to_owned(), renamed.clone());
        Ok(renamed)
    }

    /// Takes a node off all lists; it is back when it sends something newer than `at_ms`.
    /// On disk when it returns.
    pub fn retire(&mut self, name: &str, at_ms: TimeMs) -> Result<Arc<NodeEntry>, StoreError> {
        let node = self.known(name)?;
        self.transact(|conn| {
            let sql = "INSERT OR REPLACE INTO retired VALUES (?1, ?2)";
            conn.execute(sql, params![node.id, at_ms]).map(drop)
        })?;
        node.retired_ms.store(at_ms, Ordering::Relaxed);
        Ok(node)
    }

    /// A retired node is expected again. On disk with [`Catalog::commit`].
    pub(crate) fn bring_back(&mut self, node: &NodeEntry) -> Result<(), StoreError> {
        self.begin()?;
        self.conn
            .execute("DELETE FROM retired WHERE node = ?1", [node.id])
            .map_err(|e| StoreError::db(&self.path, e))?;
        node.retired_ms.store(TimeMs::MAX, Ordering::Relaxed);
        Ok(())
    }

    /// Gives a node's name, and those that it had, free; a former name alone is given
    /// free where `name` is one. What is left of the node itself is returned, under its
    /// new name. On disk when it returns.
    pub fn remove(
        &mut self,
        name: &str,
        at_ms: TimeMs,
    ) -> Result<Option<Arc<NodeEntry>>, StoreError> {
        let node = self.known(name)?;
        if node.name != name {
            self.transact(|conn| {
                conn.execute("DELETE FROM former_name WHERE name = ?1", [name]).map(drop)
            })?;
            write(&self.nodes).former.remove(name);
            return Ok(None);
        }
        let tombstone = format!("{REMOVED}{}/{name}", node.id);
        self.transact(|conn| {
            conn.execute("UPDATE node SET name = ?1 WHERE id = ?2", params![tombstone, node.id])?;
            conn.execute("DELETE FROM former_name WHERE node = ?1", [node.id])?;
            conn.execute("DELETE FROM former WHERE node = ?1", [node.id])?;
            let sql = "INSERT OR REPLACE INTO retired VALUES (?1, ?2)";
            conn.execute(sql, params![node.id, at_ms]).map(drop)
        })?;
        node.retired_ms.store(at_ms, Ordering::Relaxed);
        let left = Arc::new(node.renamed(&tombstone));
        let mut nodes = write(&self.nodes);
        nodes.by_name.remove(name);
        nodes.former.retain(|_, of| of.id != node.id);
        nodes.by_name.insert(tombstone, left.clone());
        Ok(Some(left))
    }

    /// Takes a service off a node's lists until it is announced again. On disk when it
    /// returns.
    pub fn retire_service(
        &mut self,
        node: &str,
        service: &str,
        at_ms: TimeMs,
    ) -> Result<Arc<NodeEntry>, StoreError> {
        let node = self.known(node)?;
        let Some(entry) = node.service(service) else {
            let text = format!("node {:?} has no service {service:?}", node.name);
            return Err(StoreError::Refused(text));
        };
        self.set_service(&node, &entry.spec, false, at_ms)?;
        self.commit()?;
        Ok(node)
    }

    fn known(&self, name: &str) -> Result<Arc<NodeEntry>, StoreError> {
        let found = self.view().get(name).filter(|n| !is_tombstone(&n.name));
        found.ok_or_else(|| {
            let all = self.view().all();
            let names: Vec<&str> = all.iter().map(|n| n.name.as_str()).collect();
            let near = rookery_plugins::config::nearest(name, &names);
            let near = near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
            StoreError::Refused(format!("there is no node {name:?}{near}"))
        })
    }

    fn transact(
        &mut self,
        what: impl FnOnce(&Connection) -> rusqlite::Result<()>,
    ) -> Result<(), StoreError> {
        // What frames said before it, first: this is a transaction of its own.
        self.commit()?;
        self.begin()?;
        if let Err(e) = what(&self.conn) {
            self.stale = true;
            let failed = StoreError::db(&self.path, e);
            // Nothing of it counts; the first error is the one to tell.
            let _ = self.commit();
            return Err(failed);
        }
        self.commit()
    }
}

/// Former names of nodes, as they are kept; none in a catalog of before there were any.
pub(super) fn former_names(conn: &Connection) -> rusqlite::Result<Vec<(String, i64)>> {
    pairs(conn, "former_name", "SELECT name, node FROM former_name")
}

/// Retired nodes and since when, as they are kept.
pub(super) fn retired(conn: &Connection) -> rusqlite::Result<Vec<(i64, TimeMs)>> {
    pairs(conn, "retired", "SELECT node, at_ms FROM retired")
}

fn pairs<A, B>(conn: &Connection, table: &str, sql: &str) -> rusqlite::Result<Vec<(A, B)>>
where
    A: rusqlite::types::FromSql,
    B: rusqlite::types::FromSql,
{
    let is_there = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?1";
    if conn.query_row(is_there, [table], |_| Ok(())).optional()?.is_none() {
        return Ok(Vec::new());
    }
    let mut stmt = conn.prepare(sql)?;
    stmt.query_map([], |r| Ok((r.get(0)?, r.get(1)?)))?.collect()
}

/// All nodes' former names and what each is called now: `(former, name)`.
pub fn renames(nodes: &super::NodesView) -> Vec<(String, String)> {
    let nodes = read(&nodes.0);
    nodes.former.iter().map(|(former, node)| (former.clone(), node.name.clone())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(catalog: &Catalog) -> Vec<(String, i64)> {
        catalog.view().all().iter().map(|n| (n.name.clone(), n.id)).collect()
    }

    #[test]
    fn a_renamed_node_keeps_its_number_and_answers_to_both_names() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut catalog = Catalog::open(dir.path()).expect("opens");
        let id = catalog.node("old").expect("made").id;
        let other = catalog.node("other").expect("made").id;
        catalog.commit().expect("commits");
        for bad in ["", "a/b", "other", "old"] {
            assert!(catalog.rename("old", bad).is_err(), "{bad:?}");
        }
        catalog.rename("old", "new").expect("renamed");
        catalog.rename("new", "newer").expect("renamed again, by a name that it had meanwhile");
        for catalog in [&mut catalog, &mut Catalog::open(dir.path()).expect("opens again")] {
            assert_eq!(names(catalog), [("newer".to_owned(), id), ("other".to_owned(), other)]);
            for name in ["old", "new", "newer"] {
                assert_eq!(catalog.node(name).expect("known").id, id, "{name}");
            }
            assert!(catalog.rename("other", "old").is_err(), "a former name is taken");
            assert_eq!(renames(&catalog.view()).len(), 2);
        }
        // Back to a name that it had.
        catalog.rename("old", "old").expect("renamed");
        assert_eq!(catalog.view().get("newer").map(|n| n.name.clone()), Some("old".to_owned()));
    }

    #[test]
    fn what_was_removed_gives_its_names_free_and_never_its_number() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut catalog = Catalog::open(dir.path()).expect("opens");
        let id = catalog.node("a").expect("made").id;
        catalog.rename("a", "b").expect("renamed");
        assert!(catalog.remove("a", 5).expect("a former name").is_none());
        let other = catalog.node("a").expect("a new one").id;
        assert_ne!(other, id);
        let left = catalog.remove("b", 5).expect("removed").expect("was a node");
        assert!(rookery_alerts::glob::matches(&tombstone_pattern(id), &left.name));
        assert!(catalog.rename(&left.name, "c").is_err(), "a tombstone is no node");
        let again = catalog.node("b").expect("another").id;
        assert!(again != id && again != other);
        catalog.commit().expect("commits");
        let catalog = Catalog::open(dir.path()).expect("opens again");
        let of = |name: &str| catalog.view().get(name).map(|n| n.id);
        assert_eq!((of("a"), of("b")), (Some(other), Some(again)));
        assert!(catalog.view().all().iter().any(|n| n.id == id && n.is_retired()));
    }

    #[test]
    fn a_retired_node_is_back_when_it_is_brought_back() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut catalog = Catalog::open(dir.path()).expect("opens");
        let node = catalog.node("a").expect("made");
        catalog.retire("a", 7).expect("retired");
        assert!(catalog.retire("b", 7).is_err());
        assert!(node.is_retired());
        let mut catalog = Catalog::open(dir.path()).expect("opens again");
        let node = catalog.view().get("a").expect("there");
        assert!(node.is_retired());
        catalog.bring_back(&node).expect("brought back");
        catalog.commit().expect("commits");
        let catalog = Catalog::open(dir.path()).expect("opens again");
        assert!(!catalog.view().get("a").expect("there").is_retired());
    }

    #[test]
    fn a_catalog_of_before_has_no_such_tables() {
        let conn = Connection::open_in_memory().expect("opens");
        assert!(former_names(&conn).expect("reads").is_empty());
        assert!(retired(&conn).expect("reads").is_empty());
    }
}
