//! What the catalog knows, in memory: what readers look things up in, without the
//! disk and while it is written.

use super::frames::{FrameId, Lives, Order};
use crate::head::NodeHead;
use rookery_plugins::{FieldKey, FieldSpec, Layout, LayoutId, ServiceSpec, TimeMs};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};

/// A layout and where each field stands in it.
#[derive(Debug)]
pub struct LayoutIndex {
    /// The layout.
    pub layout: Layout,
    columns: HashMap<FieldKey, u32>,
}

impl LayoutIndex {
    /// Of this layout.
    pub(crate) fn new(layout: Layout) -> LayoutIndex {
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
    pub head: Arc<Mutex<NodeHead>>,
    /// Grows with every row.
    pub version: Arc<AtomicU64>,
    /// Time of its newest sample; `i64::MIN` before the first.
    pub last_seen_ms: Arc<AtomicI64>,
    /// Time of its oldest sample, as far as is known; `i64::MAX` before the
    /// first.
    pub first_seen_ms: Arc<AtomicI64>,
    /// Since when it is retired: what it sent up to then brings it not back; `i64::MAX`:
    /// it is expected.
    pub(super) retired_ms: Arc<AtomicI64>,
    /// What may change of it.
    pub(super) state: Arc<RwLock<NodeState>>,
}

#[derive(Debug, Default)]
pub(super) struct NodeState {
    pub(super) group: String,
    pub(super) services: BTreeMap<String, ServiceEntry>,
    /// What each service has been, oldest first, and since when; the last is
    /// what it is now.
    pub(super) versions: HashMap<String, Vec<(TimeMs, Arc<ServiceSpec>)>>,
    layouts: Vec<Arc<LayoutIndex>>,
    /// Where each layout stands in `layouts`.
    layout_at: HashMap<LayoutId, usize>,
    /// Where the samples of a field that come as JSON are kept, see [`crate::json_rows`]:
    /// in a layout that was made for that, or in the field's own.
    homes: HashMap<FieldKey, Arc<LayoutIndex>>,
    /// Layouts that came since the start: no sealed block is of them before their first
    /// row has come.
    fresh: HashSet<LayoutId>,
    /// Which frames were taken.
    pub(super) lives: Lives,
    /// Old names that are claimed.
    pub(super) formers: super::former::Formers,
}

impl NodeState {
    /// Notes that no sealed block is of this layout.
    pub(super) fn note_fresh(&mut self, id: LayoutId) {
        self.fresh.insert(id);
    }

    /// Of a new node in this group.
    pub(super) fn in_group(group: &str) -> NodeState {
        NodeState { group: group.to_owned(), ..NodeState::default() }
    }

    /// Adds a layout, if it is new; `is_home`: what comes as JSON is kept in it. Whether
    /// anything changed.
    pub(super) fn add_layout(&mut self, index: &Arc<LayoutIndex>, is_home: bool) -> bool {
        let id = index.layout.id();
        let is_new = !self.layout_at.contains_key(&id);
        if is_new {
            self.layout_at.insert(id, self.layouts.len());
            self.layouts.push(index.clone());
        }
        let is_own = index.layout.len() == 1;
        if !is_home && !is_own {
            return is_new;
        }
        let mut changed = is_new;
        for key in index.layout.fields() {
            let known = self.homes.get(key);
            // One that was made for it comes before the field's own.
            if known.is_none_or(|k| is_home && k.layout.id() != id) {
                self.homes.insert(key.clone(), index.clone());
                changed = true;
            }
        }
        changed
    }
}

pub(super) fn read<T>(lock: &RwLock<T>) -> std::sync::RwLockReadGuard<'_, T> {
    lock.read().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn write<T>(lock: &RwLock<T>) -> std::sync::RwLockWriteGuard<'_, T> {
    lock.write().unwrap_or_else(PoisonError::into_inner)
}

impl NodeEntry {
    pub(super) fn new(id: i64, name: &str, state: NodeState) -> NodeEntry {
        NodeEntry {
            id,
            name: name.to_owned(),
            head: Arc::default(),
            version: Arc::default(),
            last_seen_ms: Arc::new(AtomicI64::new(i64::MIN)),
            first_seen_ms: Arc::new(AtomicI64::new(i64::MAX)),
            retired_ms: Arc::new(AtomicI64::new(i64::MAX)),
            state: Arc::new(RwLock::new(state)),
        }
    }

    /// The same node under another name: all that changes of it is shared, so that who
    /// still holds it under the old one sees and writes the same.
    pub(super) fn renamed(&self, name: &str) -> NodeEntry {
        NodeEntry {
            id: self.id,
            name: name.to_owned(),
            head: self.head.clone(),
            version: self.version.clone(),
            last_seen_ms: self.last_seen_ms.clone(),
            first_seen_ms: self.first_seen_ms.clone(),
            retired_ms: self.retired_ms.clone(),
            state: self.state.clone(),
        }
    }

    /// Whether it is retired, or removed: on no list, without a state.
    pub fn is_retired(&self) -> bool {
        self.retired_ms.load(Ordering::Relaxed) != i64::MAX
    }

    /// Whether a sample of this time shows that it is not retired after all.
    pub fn is_news(&self, time_ms: TimeMs) -> bool {
        time_ms > self.retired_ms.load(Ordering::Relaxed)
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
        let state = read(&self.state);
        state.layout_at.get(&id).map(|at| state.layouts[*at].clone())
    }

    /// Whether no sealed block can be of this layout, which it says once.
    pub(crate) fn take_fresh(&self, id: LayoutId) -> bool {
        write(&self.state).fresh.remove(&id)
    }

    /// Where the samples of these fields that come as JSON are kept; `None`: nowhere yet.
    pub(crate) fn homes(&self, keys: &[FieldKey]) -> Vec<Option<Arc<LayoutIndex>>> {
        let state = read(&self.state);
        keys.iter().map(|key| state.homes.get(key).cloned()).collect()
    }

    /// Whether each of these layouts may be the home of all of its fields: none of them
    /// has another one.
    pub(crate) fn may_be_homes(&self, layouts: &[Layout]) -> bool {
        let state = read(&self.state);
        let is_free = |layout: &Layout| {
            let homes = layout.fields().iter().filter_map(|key| state.homes.get(key));
            homes.into_iter().all(|home| home.layout.id() == layout.id())
        };
        layouts.iter().all(is_free)
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

    /// Whether this very frame was taken already.
    pub fn has_frame(&self, id: FrameId) -> bool {
        read(&self.state).lives.has(id)
    }

    /// Notes that this frame is taken.
    pub fn note_frame(&self, id: FrameId) -> Order {
        write(&self.state).lives.note(id)
    }

    /// Forgets that this frame was taken: its commit failed.
    pub fn forget_frame(&self, id: FrameId) {
        write(&self.state).lives.forget(id);
    }
}

/// All nodes, by name and by number.
#[derive(Default)]
pub struct Nodes {
    pub(super) by_name: BTreeMap<String, Arc<NodeEntry>>,
    /// The nodes by names that they had.
    pub(super) former: BTreeMap<String, Arc<NodeEntry>>,
}

impl Nodes {
    /// The node that has this name, or had it.
    pub fn get(&self, name: &str) -> Option<&Arc<NodeEntry>> {
        self.by_name.get(name).or_else(|| self.former.get(name))
    }

    /// All nodes, by name.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<NodeEntry>> {
        self.by_name.values()
    }
}

/// A shared view of the nodes for readers.
#[derive(Clone)]
pub struct NodesView(pub(super) Arc<RwLock<Nodes>>);

impl NodesView {
    /// The node that has this name, or had it.
    pub fn get(&self, name: &str) -> Option<Arc<NodeEntry>> {
        read(&self.0).get(name).cloned()
    }

    /// All nodes, by name.
    pub fn all(&self) -> Vec<Arc<NodeEntry>> {
        read(&self.0).iter().cloned().collect()
    }
}
