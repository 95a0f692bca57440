//! Reading all of `catalog.sqlite` into memory: at the start, and again when what is in
//! memory may not be in the database.

use super::Catalog;
use super::index::{LayoutIndex, NodeEntry, NodeState, ServiceEntry, write};
use super::lifecycle;
use crate::packed_text;
use rookery_plugins::{Layout, LayoutId, ServiceSpec, TimeMs};
use rusqlite::Connection;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// What was read of nodes, by number: name and what may change of it.
type Found = HashMap<i64, (String, NodeState)>;

impl Catalog {
    /// Readers keep the nodes that they hold: those are brought up to what was read.
    pub(super) fn load(&mut self) -> rusqlite::Result<()> {
        let mut by_id = nodes(&self.conn)?;
        let specs = self.load_specs()?;
        self.load_layouts()?;
        services(&self.conn, &specs, &mut by_id)?;
        self.load_layouts_of(&mut by_id)?;
        lives(&self.conn, &mut by_id)?;
        for (id, formers) in super::former::load(&self.conn)? {
            if let Some((_, state)) = by_id.get_mut(&id) {
                state.formers = formers;
            }
        }
        let first_ms = first_announced(&self.conn)?;
        let last_ms = last_seen(&self.conn)?;
        let former = lifecycle::former_names(&self.conn)?;
        let retired: HashMap<i64, TimeMs> = lifecycle::retired(&self.conn)?.into_iter().collect();
        let mut nodes = write(&self.nodes);
        let known: HashMap<i64, Arc<NodeEntry>> =
            std::mem::take(&mut nodes.by_name).into_values().map(|n| (n.id, n)).collect();
        for (id, (name, mut state)) in by_id {
            let entry = match known.get(&id) {
                Some(known) => {
                    let mut old = write(&known.state);
                    state.lives = std::mem::take(&mut old.lives);
                    *old = state;
                    match known.name == name {
                        true => known.clone(),
                        false => Arc::new(known.renamed(&name)),
                    }
                }
                None => {
                    let entry = NodeEntry::new(id, &name, state);
                    if let Some(first_ms) = first_ms.get(&id) {
                        entry.first_seen_ms.store(*first_ms, Ordering::Relaxed);
                    }
                    if let Some(last_ms) = last_ms.get(&id) {
                        entry.last_seen_ms.store(*last_ms, Ordering::Relaxed);
                    }
                    Arc::new(entry)
                }
            };
            let retired_ms = retired.get(&id).copied().unwrap_or(TimeMs::MAX);
            entry.retired_ms.store(retired_ms, Ordering::Relaxed);
            nodes.by_name.insert(name, entry);
        }
        let by_id: HashMap<i64, Arc<NodeEntry>> = nodes.iter().map(|n| (n.id, n.clone())).collect();
        let former = former.into_iter();
        nodes.former =
            former.filter_map(|(name, id)| Some((name, by_id.get(&id)?.clone()))).collect();
        Ok(())
    }

    fn load_specs(&mut self) -> rusqlite::Result<HashMap<i64, Arc<ServiceSpec>>> {
        let mut by_id = HashMap::new();
        for_each(&self.conn, "SELECT id, json FROM spec", |r| {
            let id: i64 = r.get(0)?;
            let Some(json) = packed_text::unpack(r.get_ref(1)?) else { return Ok(()) };
            if let Ok(spec) = serde_json::from_str::<ServiceSpec>(&json) {
                let spec = Arc::new(spec);
                by_id.insert(id, spec.clone());
                self.specs.insert(json, (id, spec));
            }
            Ok(())
        })?;
        Ok(by_id)
    }

    fn load_layouts(&mut self) -> rusqlite::Result<()> {
        for_each(&self.conn, "SELECT id, json FROM layout", |r| {
            let Some(json) = packed_text::unpack(r.get_ref(1)?) else { return Ok(()) };
            if let Ok(layout) = serde_json::from_str::<Layout>(&json) {
                self.layouts.insert(layout.id(), Arc::new(LayoutIndex::new(layout)));
            }
            Ok(())
        })
    }

    fn load_layouts_of(&self, nodes: &mut Found) -> rusqlite::Result<()> {
        let sql = match has_table(&self.conn, "home")? {
            true => {
                "SELECT n.node, n.layout, h.node IS NOT NULL FROM node_layout n \
                 LEFT JOIN home h ON h.node = n.node AND h.layout = n.layout"
            }
            false => "SELECT node, layout, 0 FROM node_layout",
        };
        for_each(&self.conn, sql, |r| {
            let (node, layout): (i64, i64) = (r.get(0)?, r.get(1)?);
            let layout = self.layouts.get(&LayoutId(layout as u64));
            if let (Some((_, state)), Some(layout)) = (nodes.get_mut(&node), layout) {
                state.add_layout(layout, r.get(2)?);
            }
            Ok(())
        })
    }
}

fn nodes(conn: &Connection) -> rusqlite::Result<Found> {
    let mut found = Found::new();
    for_each(conn, "SELECT id, name, grp FROM node", |r| {
        let group: String = r.get(2)?;
        found.insert(r.get(0)?, (r.get(1)?, NodeState::in_group(&group)));
        Ok(())
    })?;
    Ok(found)
}

fn services(
    conn: &Connection,
    specs: &HashMap<i64, Arc<ServiceSpec>>,
    nodes: &mut Found,
) -> rusqlite::Result<()> {
    let in_order =
        "SELECT node, name, spec, active, from_ms FROM service ORDER BY node, name, from_ms";
    for_each(conn, in_order, |r| {
        let (node, name, spec): (i64, String, i64) = (r.get(0)?, r.get(1)?, r.get(2)?);
        if let (Some((_, state)), Some(spec)) = (nodes.get_mut(&node), specs.get(&spec)) {
            let entry = ServiceEntry { spec: spec.clone(), active: r.get(3)? };
            let versions = state.versions.entry(name.clone()).or_default();
            versions.push((r.get(4)?, spec.clone()));
            state.services.insert(name, entry);
        }
        Ok(())
    })
}

fn lives(conn: &Connection, nodes: &mut Found) -> rusqlite::Result<()> {
    let sql = match has_table(conn, "taken")? {
        true => {
            "SELECT a.node, a.boot, a.sequence, t.frames FROM agent a \
             LEFT JOIN taken t ON t.node = a.node AND t.boot = a.boot ORDER BY a.node, a.boot"
        }
        false => "SELECT node, boot, sequence, NULL FROM agent ORDER BY node, boot",
    };
    for_each(conn, sql, |r| {
        if let Some((_, state)) = nodes.get_mut(&r.get(0)?) {
            let (boot, sequence): (i64, i64) = (r.get(1)?, r.get(2)?);
            let frames: Option<Vec<u8>> = r.get(3)?;
            state.lives.restore(boot as u64, sequence as u64, &frames.unwrap_or_default());
        }
        Ok(())
    })
}

/// When each node's first service was announced.
fn first_announced(conn: &Connection) -> rusqlite::Result<HashMap<i64, TimeMs>> {
    let mut first_ms = HashMap::new();
    for_each(conn, "SELECT node, min(from_ms) FROM service GROUP BY node", |r| {
        first_ms.insert(r.get(0)?, r.get(1)?);
        Ok(())
    })?;
    Ok(first_ms)
}

/// When each node was heard last, as far as that was written down.
fn last_seen(conn: &Connection) -> rusqlite::Result<HashMap<i64, TimeMs>> {
    let mut last_ms = HashMap::new();
    if has_table(conn, "seen")? {
        for_each(conn, "SELECT node, last_ms FROM seen", |r| {
            last_ms.insert(r.get(0)?, r.get(1)?);
            Ok(())
        })?;
    }
    Ok(last_ms)
}

/// A catalog that is only looked at may be older than some tables are.
fn has_table(conn: &Connection, name: &str) -> rusqlite::Result<bool> {
    conn.query_row("SELECT EXISTS (SELECT 1 FROM sqlite_schema WHERE name = ?1)", [name], |r| {
        r.get(0)
    })
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
