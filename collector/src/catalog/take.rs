//! Taking in what a frame says beside its rows: only what is new is written.

use super::Catalog;
use super::index::{LayoutIndex, NodeEntry, ServiceEntry, read, write};
use crate::packed_text;
use crate::store::StoreError;
use rookery_plugins::wire::Announce;
use rookery_plugins::{FieldSpec, Layout, ServiceSpec, TimeMs};
use rusqlite::params;
use std::collections::{BTreeMap, HashSet};
use std::sync::Arc;

/// What a frame says beside its rows.
#[derive(Clone, Copy, Default)]
pub struct Said<'a> {
    /// New and changed services.
    pub announce: Option<&'a Announce>,
    /// Layouts defined here.
    pub layouts: &'a [Layout],
    /// The layouts are homes of what comes as JSON, see [`crate::json_rows`].
    pub are_homes: bool,
    /// Layouts that the catalog does not know have no sealed blocks: it is not older
    /// than the frame.
    are_current: bool,
}

impl<'a> Said<'a> {
    /// By a frame out of the journal, which the catalog may be older than.
    pub fn before(layouts: &'a [Layout]) -> Said<'a> {
        Said { layouts, ..Said::default() }
    }

    /// By a frame that has just come.
    pub fn now(announce: Option<&'a Announce>, layouts: &'a [Layout], are_homes: bool) -> Said<'a> {
        Said { announce, layouts, are_homes, are_current: true }
    }
}

impl Catalog {
    /// Takes in what a frame says beside its rows, all or nothing, as said at `from_ms`.
    /// Returns whether anything changed. On disk with [`Self::commit`], which comes
    /// before the journal's: a description without samples does no harm.
    pub fn take(
        &mut self,
        node: &Arc<NodeEntry>,
        said: Said<'_>,
        from_ms: TimeMs,
    ) -> Result<bool, StoreError> {
        let path = self.path.clone();
        let err = |e| StoreError::db(&path, e);
        self.begin()?;
        self.conn.execute_batch("SAVEPOINT one").map_err(err)?;
        let done = self.take_inside(node, said, from_ms);
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

    fn take_inside(
        &mut self,
        node: &Arc<NodeEntry>,
        said: Said<'_>,
        from_ms: TimeMs,
    ) -> Result<bool, StoreError> {
        let mut changed = false;
        if let Some(announce) = said.announce {
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
        for layout in said.layouts {
            changed |= self.add_layout(node, layout, said)?;
        }
        changed |= self.describe_unannounced(node, said.layouts, from_ms)?;
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

    pub(super) fn set_service(
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
        self.note_formers(node, &spec, from_ms)?;
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
            .prepare_cached("INSERT INTO spec(json) VALUES (?1)")
            .and_then(|mut s| s.execute([packed_text::pack(&json)]))
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
        said: Said<'_>,
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
        let is_home = said.are_homes;
        let is_new = node.layout(layout.id()).is_none();
        {
            let mut state = write(&node.state);
            if !state.add_layout(&index, is_home) {
                return Ok(false);
            }
            if is_new && said.are_current {
                state.note_fresh(layout.id());
            }
        }
        let insert = |sql| {
            let args = params![node.id, layout.id().0 as i64];
            let done = self.conn.prepare_cached(sql).and_then(|mut s| s.execute(args));
            done.map_err(|e| StoreError::db(&self.path, e))
        };
        insert("INSERT OR IGNORE INTO node_layout VALUES (?1, ?2)")?;
        // A field's own layout is its home without being named.
        if is_home && layout.len() > 1 {
            insert("INSERT OR IGNORE INTO home VALUES (?1, ?2)")?;
        }
        Ok(true)
    }

    fn insert_layout(&mut self, layout: &Layout) -> Result<Arc<LayoutIndex>, StoreError> {
        let json =
            serde_json::to_string(layout).map_err(|e| StoreError::Other(format!("layout: {e}")))?;
        self.conn
            .prepare_cached("INSERT OR IGNORE INTO layout VALUES (?1, ?2)")
            .and_then(|mut s| s.execute(params![layout.id().0 as i64, packed_text::pack(&json)]))
            .map_err(|e| StoreError::db(&self.path, e))?;
        let index = Arc::new(LayoutIndex::new(layout.clone()));
        self.layouts.insert(layout.id(), index.clone());
        Ok(index)
    }

    /// A field that nobody described (plain JSON from `curl`) gets a GAUGE of its own
    /// name, so that it is found and drawn: one new version of each service, however
    /// many fields are new.
    fn describe_unannounced(
        &mut self,
        node: &Arc<NodeEntry>,
        layouts: &[Layout],
        from_ms: TimeMs,
    ) -> Result<bool, StoreError> {
        let mut named: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for key in layouts.iter().flat_map(Layout::fields) {
            named.entry(&key.service).or_default().push(&key.field);
        }
        let mut changed = false;
        for (service, fields) in named {
            let old = node.service(service);
            let mut known: HashSet<&str> = HashSet::new();
            if let Some(old) = &old {
                known.extend(old.spec.fields.iter().map(|f| f.name.as_str()));
            }
            let new: Vec<&str> = fields.into_iter().filter(|f| known.insert(f)).collect();
            if new.is_empty() {
                continue;
            }
            let mut spec = old
                .as_ref()
                .map_or_else(|| ServiceSpec::new(service, service, "other"), |s| (*s.spec).clone());
            spec.fields.extend(new.into_iter().map(|name| FieldSpec::gauge(name, name)));
            changed |= self.set_service(node, &spec, true, from_ms)?;
        }
        Ok(changed)
    }
}
