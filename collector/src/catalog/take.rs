//! Taking in what a frame says beside its rows: only what is new is written.

use super::Catalog;
use super::index::{LayoutIndex, NodeEntry, ServiceEntry, read, write};
use crate::packed_text;
use crate::store::StoreError;
use rookery_plugins::wire::Announce;
use rookery_plugins::{FieldSpec, Layout, ServiceSpec, TimeMs};
use rusqlite::params;
use std::collections::BTreeMap;
use std::sync::Arc;

impl Catalog {
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
}
