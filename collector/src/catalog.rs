//! The catalog: which nodes, services, fields and layouts there are, now and
//! before.
//!
//! `catalog.sqlite`. Specs and layouts are kept once, by their content, however
//! many nodes share them; a service's row says from when on which spec holds,
//! so that a renamed label or a changed type is known as it was at the time.

use crate::db;
use crate::head::NodeHead;
use crate::packed_text;
use crate::store::StoreError;
use rookery_plugins::wire::Announce;
use rookery_plugins::{FieldKey, FieldSpec, Layout, LayoutId, ServiceSpec, TimeMs, names};
use rusqlite::{Connection, params};
use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

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
CREATE TABLE IF NOT EXISTS agent(
  node INTEGER NOT NULL, boot INTEGER NOT NULL, sequence INTEGER NOT NULL,
  PRIMARY KEY(node, boot)) WITHOUT ROWID;
";

/// A layout and where each field stands in it.
#[derive(Debug)]
pub struct LayoutIndex {
    /// The layout.
    pub layout: Layout,
    columns: HashMap<FieldKey, u32>,
}

impl LayoutIndex {
    fn new(layout: Layout) -> LayoutIndex {
        let fields = layout.fields().iter().enumerate();
        let columns = fields.map(|(i, f)| (f.clone(), i as u32)).collect();
        LayoutIndex { layout, columns }
    }

    /// The column of a field, if it is in this layout.
    pub fn column(&self, key: &FieldKey) -> Option<usize> {
        self.columns.get(key).map(|c| *c as usize)
    }
}

/// A service as it is now.
#[derive(Clone, Debug)]
pub struct ServiceEntry {
    /// What it is.
    pub spec: Arc<ServiceSpec>,
    /// Whether it is still expected to report.
    pub active: bool,
}

/// What the catalog knows of one node.
#[derive(Debug)]
pub struct NodeEntry {
    /// Its number in all databases.
    pub id: i64,
    /// Its name.
    pub name: String,
    /// What arrived since the last sealing.
    pub head: Mutex<NodeHead>,
    /// Grows with every row.
    pub version: AtomicU64,
    /// Time of its newest sample; `i64::MIN` before the first.
    pub last_seen_ms: AtomicI64,
    /// Time of its oldest sample, as far as is known; `i64::MAX` before the
    /// first.
    pub first_seen_ms: AtomicI64,
    /// What may change of it.
    state: RwLock<NodeState>,
}

#[derive(Debug, Default)]
struct NodeState {
    group: String,
    services: BTreeMap<String, ServiceEntry>,
    /// What each service has been, oldest first, and since when; the last is
    /// what it is now.
    versions: HashMap<String, Vec<(TimeMs, Arc<ServiceSpec>)>>,
    layouts: Vec<Arc<LayoutIndex>>,
    /// Highest sequence of each boot.
    sequences: HashMap<u64, u64>,
}

fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl NodeEntry {
    fn new(id: i64, name: &str, state: NodeState) -> NodeEntry {
        NodeEntry {
            id,
            name: name.to_owned(),
            head: Mutex::default(),
            version: AtomicU64::new(0),
            last_seen_ms: AtomicI64::new(i64::MIN),
            first_seen_ms: AtomicI64::new(i64::MAX),
            state: RwLock::new(state),
        }
    }

    /// Its head, locked.
    pub fn head(&self) -> MutexGuard<'_, NodeHead> {
        self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its group; empty: none.
    pub fn group(&self) -> String {
        read(&self.state).group.clone()
    }

    /// A layout that this node has used.
    pub fn layout(&self, id: LayoutId) -> Option<Arc<LayoutIndex>> {
        read(&self.state).layouts.iter().find(|l| l.layout.id() == id).cloned()
    }

    /// Every layout that this node has used.
    pub fn layouts(&self) -> Vec<Arc<LayoutIndex>> {
        read(&self.state).layouts.clone()
    }

    /// A service as it is now.
    pub fn service(&self, name: &str) -> Option<ServiceEntry> {
        read(&self.state).services.get(name).cloned()
    }

    /// A service as it was at this time; before its first announcement, as it
    /// was then.
    pub fn service_at(&self, name: &str, at_ms: TimeMs) -> Option<Arc<ServiceSpec>> {
        let state = read(&self.state);
        let versions = state.versions.get(name)?;
        let n = versions.partition_point(|(from_ms, _)| *from_ms <= at_ms);
        versions.get(n.max(1) - 1).map(|(_, spec)| spec.clone())
    }

    /// Every field that a service has or had, as it last was: those it has now
    /// first.
    pub fn fields_ever(&self, name: &str) -> Vec<FieldSpec> {
        let state = read(&self.state);
        let Some(versions) = state.versions.get(name) else { return Vec::new() };
        let mut fields: Vec<FieldSpec> = Vec::new();
        for (_, spec) in versions.iter().rev() {
            for field in &spec.fields {
                if !fields.iter().any(|f| f.name == field.name) {
                    fields.push(field.clone());
                }
            }
        }
        fields
    }

    /// All services, by name.
    pub fn services(&self) -> Vec<ServiceEntry> {
        read(&self.state).services.values().cloned().collect()
    }

    /// How many services it has.
    pub fn n_services(&self) -> usize {
        read(&self.state).services.len()
    }

    /// Whether this frame has been taken already; else notes that it now is.
    pub fn note_sequence(&self, boot: u64, sequence: u64) -> bool {
        let mut state = write(&self.state);
        let last = state.sequences.entry(boot).or_insert(0);
        let is_old = sequence <= *last;
        *last = sequence.max(*last);
        is_old
    }

    /// Forgets that frames from `sequence` on were taken: their commit failed.
    pub fn forget_sequence(&self, boot: u64, sequence: u64) {
        let mut state = write(&self.state);
        if let Some(last) = state.sequences.get_mut(&boot) {
            *last = (*last).min(sequence.saturating_sub(1));
        }
    }
}

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

/// All nodes, by name and by number.
#[derive(Default)]
pub struct Nodes {
    by_name: BTreeMap<String, Arc<NodeEntry>>,
}

impl Nodes {
    /// The node of this name.
    pub fn get(&self, name: &str) -> Option<&Arc<NodeEntry>> {
        self.by_name.get(name)
    }

    /// All nodes, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<NodeEntry>> {
        self.by_name.values()
    }
}

/// A shared view of the nodes for readers.
#[derive(Clone)]
pub struct NodesView(Arc<RwLock<Nodes>>);

impl NodesView {
    /// The node of this name.
    pub fn get(&self, name: &str) -> Option<Arc<NodeEntry>> {
        read(&self.0).get(name).cloned()
    }

    /// All nodes, by name.
    pub fn all(&self) -> Vec<Arc<NodeEntry>> {
        read(&self.0).iter().cloned().collect()
    }
}

impl Catalog {
    /// Opens `catalog.sqlite` in `dir` and reads all of it.
    pub fn open(dir: &Path) -> Result<Catalog, StoreError> {
        let path = dir.join("catalog.sqlite");
        let err = |e| StoreError::db(&path, e);
        db::make_whole(&path, SCHEMA, |path| db::open_durable(path, db::SMALL_PAGE_BYTES))?;
        let conn = db::open_durable(&path, db::SMALL_PAGE_BYTES)?;
        conn.execute_batch(SCHEMA).map_err(err)?;
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

    fn load(&mut self) -> rusqlite::Result<()> {
        let mut by_id: HashMap<i64, (String, NodeState)> = HashMap::new();
        for_each(&self.conn, "SELECT id, name, grp FROM node", |r| {
            let state = NodeState { group: r.get(2)?, ..NodeState::default() };
            by_id.insert(r.get(0)?, (r.get(1)?, state));
            Ok(())
        })?;
        let mut spec_by_id = HashMap::new();
        for_each(&self.conn, "SELECT id, json FROM spec", |r| {
            let id: i64 = r.get(0)?;
            let Some(json) = packed_text::unpack(r.get_ref(1)?) else { return Ok(()) };
            if let Ok(spec) = serde_json::from_str::<ServiceSpec>(&json) {
                let spec = Arc::new(spec);
                spec_by_id.insert(id, spec.clone());
                self.specs.insert(json, (id, spec));
            }
            Ok(())
        })?;
        for_each(&self.conn, "SELECT id, json FROM layout", |r| {
            let Some(json) = packed_text::unpack(r.get_ref(1)?) else { return Ok(()) };
            if let Ok(layout) = serde_json::from_str::<Layout>(&json) {
                self.layouts.insert(layout.id(), Arc::new(LayoutIndex::new(layout)));
            }
            Ok(())
        })?;
        let in_order =
            "SELECT node, name, spec, active, from_ms FROM service ORDER BY node, name, from_ms";
        for_each(&self.conn, in_order, |r| {
            let (node, name, spec): (i64, String, i64) = (r.get(0)?, r.get(1)?, r.get(2)?);
            if let (Some((_, state)), Some(spec)) = (by_id.get_mut(&node), spec_by_id.get(&spec)) {
                let entry = ServiceEntry { spec: spec.clone(), active: r.get(3)? };
                let versions = state.versions.entry(name.clone()).or_default();
                versions.push((r.get(4)?, spec.clone()));
                state.services.insert(name, entry);
            }
            Ok(())
        })?;
        for_each(&self.conn, "SELECT node, layout FROM node_layout", |r| {
            let (node, layout): (i64, i64) = (r.get(0)?, r.get(1)?);
            let layout = self.layouts.get(&LayoutId(layout as u64));
            if let (Some((_, state)), Some(layout)) = (by_id.get_mut(&node), layout) {
                state.layouts.push(layout.clone());
            }
            Ok(())
        })?;
        for_each(&self.conn, "SELECT node, boot, sequence FROM agent", |r| {
            if let Some((_, state)) = by_id.get_mut(&r.get(0)?) {
                let (boot, sequence): (i64, i64) = (r.get(1)?, r.get(2)?);
                state.sequences.insert(boot as u64, sequence as u64);
            }
            Ok(())
        })?;
        let mut first: HashMap<i64, TimeMs> = HashMap::new();
        for_each(&self.conn, "SELECT node, min(from_ms) FROM service GROUP BY node", |r| {
            first.insert(r.get(0)?, r.get(1)?);
            Ok(())
        })?;
        let mut nodes = write(&self.nodes);
        nodes.by_name.retain(|_, n| by_id.contains_key(&n.id));
        for (id, (name, mut state)) in by_id {
            if let Some(known) = nodes.get(&name) {
                let mut old = write(&known.state);
                state.sequences = std::mem::take(&mut old.sequences);
                *old = state;
                continue;
            }
            let entry = NodeEntry::new(id, &name, state);
            if let Some(first) = first.get(&id) {
                entry.first_seen_ms.store(*first, Ordering::Relaxed);
            }
            nodes.by_name.insert(name, Arc::new(entry));
        }
        Ok(())
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
        let state = NodeState { group: group.to_owned(), ..NodeState::default() };
        let node = Arc::new(NodeEntry::new(self.conn.last_insert_rowid(), name, state));
        write(&self.nodes).by_name.insert(name.to_owned(), node.clone());
        Ok(node)
    }

    /// Takes in what a frame says beside its rows: all or nothing. Returns
    /// whether anything changed. On disk with [`Self::commit`], which comes
    /// before the journal's: a description without samples does no harm.
    pub fn take(
        &mut self,
        node: &Arc<NodeEntry>,
        announce: Option<&Announce>,
        layouts: &[Layout],
        from_ms: TimeMs,
    ) -> Result<bool, StoreError> {
        let path = self.path.clone();
        let err = |e| StoreError::db(&path, e);
        self.begin()?;
        self.conn.execute_batch("SAVEPOINT one").map_err(err)?;
        let done = self.take_inside(node, announce, layouts, from_ms);
        if done.is_err() {
            // The first error is the one to tell. Memory is ahead of the
            // database now: what stands there holds.
            self.stale = true;
            let _ = self.conn.execute_batch("ROLLBACK TO one");
            self.refresh()?;
        }
        if let Err(e) = self.conn.execute_batch("RELEASE one") {
            self.stale = true;
            return done.and(Err(err(e)));
        }
        done
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

    fn take_inside(
        &mut self,
        node: &Arc<NodeEntry>,
        announce: Option<&Announce>,
        layouts: &[Layout],
        from_ms: TimeMs,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        if let Some(announce) = announce {
            changed |= self.set_group(node, &announce.group)?;
            for spec in &announce.services {
                changed |= self.set_service(node, spec, true, from_ms)?;
            }
            for name in &announce.gone {
                if let Some(entry) = node.service(name) {
                    changed |= self.set_service(node, &entry.spec, false, from_ms)?;
                }
            }
        }
        for layout in layouts {
            changed |= self.add_layout(node, layout, from_ms)?;
        }
        Ok(changed)
    }

    fn set_group(&mut self, node: &Arc<NodeEntry>, group: &str) -> Result<bool, StoreError> {
        if group.is_empty() || node.group() == group {
            return Ok(false);
        }
        self.conn
            .execute("UPDATE node SET grp = ?1 WHERE id = ?2", params![group, node.id])
            .map_err(|e| StoreError::db(&self.path, e))?;
        write(&node.state).group = group.to_owned();
        Ok(true)
    }

    fn set_service(
        &mut self,
        node: &Arc<NodeEntry>,
        spec: &ServiceSpec,
        active: bool,
        from_ms: TimeMs,
    ) -> Result<bool, StoreError> {
        if let Some(old) = node.service(&spec.name)
            && *old.spec == *spec
            && old.active == active
        {
            return Ok(false);
        }
        let (spec_id, spec) = self.spec(spec)?;
        // What was said last holds, even if its first sample is old.
        let last_ms = read(&node.state).versions.get(&spec.name).and_then(|v| Some(v.last()?.0));
        let from_ms = last_ms.map_or(from_ms, |last| from_ms.max(last + 1));
        self.conn
            .prepare_cached("INSERT OR REPLACE INTO service VALUES (?1, ?2, ?3, ?4, ?5)")
            .and_then(|mut s| s.execute(params![node.id, spec.name, from_ms, spec_id, active]))
            .map_err(|e| StoreError::db(&self.path, e))?;
        let entry = ServiceEntry { spec: spec.clone(), active };
        let mut state = write(&node.state);
        state.services.insert(spec.name.clone(), entry);
        state.versions.entry(spec.name.clone()).or_default().push((from_ms, spec));
        Ok(true)
    }

    /// The one row of this content.
    fn spec(&mut self, spec: &ServiceSpec) -> Result<(i64, Arc<ServiceSpec>), StoreError> {
        let json = serde_json::to_string(spec)
            .map_err(|e| StoreError::Other(format!("service {:?}: {e}", spec.name)))?;
        if let Some((id, spec)) = self.specs.get(&json) {
            return Ok((*id, spec.clone()));
        }
        let err = |e| StoreError::db(&self.path, e);
        // All of the table is in `specs`: this one is new.
        self.conn
            .execute("INSERT INTO spec(json) VALUES (?1)", [packed_text::pack(&json)])
            .map_err(err)?;
        let id = self.conn.last_insert_rowid();
        let spec = Arc::new(spec.clone());
        self.specs.insert(json, (id, spec.clone()));
        Ok((id, spec))
    }

    fn add_layout(
        &mut self,
        node: &Arc<NodeEntry>,
        layout: &Layout,
        from_ms: TimeMs,
    ) -> Result<bool, StoreError> {
        let known = self.layouts.get(&layout.id()).cloned();
        let index = match known {
            Some(index) if index.layout == *layout => index,
            Some(_) => {
                return Err(StoreError::Refused(format!(
                    "layout {:016x} of node {:?} collides with another one",
                    layout.id().0,
                    node.name
                )));
            }
            None => self.insert_layout(layout)?,
        };
        let mut changed = false;
        if node.layout(layout.id()).is_none() {
            self.conn
                .execute(
                    "INSERT OR IGNORE INTO node_layout VALUES (?1, ?2)",
                    params![node.id, layout.id().0 as i64],
                )
                .map_err(|e| StoreError::db(&self.path, e))?;
            write(&node.state).layouts.push(index);
            changed = true;
        }
        changed |= self.describe_unannounced(node, layout, from_ms)?;
        Ok(changed)
    }

    fn insert_layout(&mut self, layout: &Layout) -> Result<Arc<LayoutIndex>, StoreError> {
        let json =
            serde_json::to_string(layout).map_err(|e| StoreError::Other(format!("layout: {e}")))?;
        self.conn
            .execute(
                "INSERT OR IGNORE INTO layout VALUES (?1, ?2)",
                params![layout.id().0 as i64, packed_text::pack(&json)],
            )
            .map_err(|e| StoreError::db(&self.path, e))?;
        let index = Arc::new(LayoutIndex::new(layout.clone()));
        self.layouts.insert(layout.id(), index.clone());
        Ok(index)
    }

    /// A field that nobody described (plain JSON from `curl`) gets a GAUGE of
    /// its own name, so that it is found and drawn.
    fn describe_unannounced(
        &mut self,
        node: &Arc<NodeEntry>,
        layout: &Layout,
        from_ms: TimeMs,
    ) -> Result<bool, StoreError> {
        let mut grown: BTreeMap<&str, ServiceSpec> = BTreeMap::new();
        for key in layout.fields() {
            let known = match grown.get(key.service.as_str()) {
                Some(spec) => spec.field(&key.field).is_some(),
                None => {
                    node.service(&key.service).is_some_and(|s| s.spec.field(&key.field).is_some())
                }
            };
            if !known {
                let spec = grown.entry(&key.service).or_insert_with(|| {
                    node.service(&key.service).map_or_else(
                        || ServiceSpec::new(&key.service, &key.service, "other"),
                        |s| (*s.spec).clone(),
                    )
                });
                spec.fields.push(FieldSpec::gauge(&key.field, &key.field));
            }
        }
        for spec in grown.values() {
            self.set_service(node, spec, true, from_ms)?;
        }
        Ok(!grown.is_empty())
    }

    /// Writes down the sequences of all agents, so that the journal that they
    /// stand in may go.
    pub fn save_sequences(&mut self) -> Result<(), StoreError> {
        let err = |e| StoreError::db(&self.path, e);
        let tx = self.conn.transaction().map_err(err)?;
        for node in read(&self.nodes).iter() {
            for (boot, sequence) in &read(&node.state).sequences {
                tx.prepare_cached("INSERT OR REPLACE INTO agent VALUES (?1, ?2, ?3)")
                    .and_then(|mut s| s.execute(params![node.id, *boot as i64, *sequence as i64]))
                    .map_err(err)?;
            }
        }
        tx.commit().map_err(err)
    }
}

fn for_each(
    conn: &Connection,
    sql: &str,
    mut row: impl FnMut(&rusqlite::Row<'_>) -> rusqlite::Result<()>,
) -> rusqlite::Result<()> {
    let mut stmt = conn.prepare(sql)?;
    let mut rows = stmt.query([])?;
    while let Some(r) = rows.next()? {
        row(r)?;
    }
    Ok(())
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
