//! What services and fields were called before, as those who send them say (`oldname`).
//!
//! Asked for by an old name, whoever has it now answers. And a history goes on: what was
//! kept under the old name is read before what is kept under the new one. Whose it is
//! must not change later, while old names by order of appearance do change hands (`dm-1`
//! after a boot): so a name claims old ones when it appears, never later, and who claims
//! one first has its history for good, up to that moment. Claims are kept in the table
//! `former`.

use super::Catalog;
use super::index::{NodeEntry, ServiceEntry, read, write};
use crate::store::StoreError;
use rookery_plugins::{FieldKey, FieldSpec, ServiceSpec, TimeMs};
use rusqlite::{Connection, params};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

pub(super) const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS former(
  node INTEGER NOT NULL, service TEXT NOT NULL, field TEXT NOT NULL,
  now_service TEXT NOT NULL, now_field TEXT NOT NULL, until_ms INTEGER NOT NULL,
  PRIMARY KEY(node, service, field)) WITHOUT ROWID;
";

/// The most old names of a node; further ones are not kept, which is logged once.
const FORMERS_MAX: usize = 20_000;

/// How many names one after the other are followed back.
const CHAIN_MAX: usize = 4;

/// The old names of a node that are claimed, and by whom.
#[derive(Debug, Default)]
pub(super) struct Formers {
    claimed: HashSet<FieldKey>,
    /// By the new name: the old ones, and until when.
    of: HashMap<FieldKey, Vec<(FieldKey, TimeMs)>>,
}

impl Formers {
    fn add(&mut self, old: FieldKey, now: FieldKey, until_ms: TimeMs) {
        if self.claimed.insert(old.clone()) {
            self.of.entry(now).or_default().push((old, until_ms));
        }
    }
}

/// What a description claims: old names, and whose they are.
fn claims(spec: &ServiceSpec) -> Vec<(FieldKey, FieldKey)> {
    let mut all = Vec::new();
    let services: Vec<&str> = spec.old_names().collect();
    let has_any = |f: &&FieldSpec| !services.is_empty() || f.old_names().next().is_some();
    for field in spec.fields.iter().filter(has_any) {
        let now = FieldKey::new(&spec.name, &field.name);
        let names: Vec<&str> = field.old_names().chain([field.name.as_str()]).collect();
        for service in services.iter().copied().chain([spec.name.as_str()]) {
            for name in &names {
                // What a field is called now is no other's old name.
                let is_own = service == spec.name && spec.field(name).is_some();
                if !is_own {
                    all.push((FieldKey::new(service, name), now.clone()));
                }
            }
        }
    }
    all
}

impl Catalog {
    /// Keeps the old names that a new description claims from this time on.
    pub(super) fn note_formers(
        &mut self,
        node: &Arc<NodeEntry>,
        spec: &ServiceSpec,
        until_ms: TimeMs,
    ) -> Result<(), StoreError> {
        for (old, now) in claims(spec) {
            let mut state = write(&node.state);
            let mut before = state.versions.get(&now.service).into_iter().flatten();
            let is_new = !before.any(|(_, spec)| spec.field(&now.field).is_some());
            if !is_new || state.formers.claimed.contains(&old) {
                continue;
            }
            if state.formers.claimed.len() >= FORMERS_MAX {
                let name = &node.name;
                tracing::warn!(%name, "more than {FORMERS_MAX} old names: further ones are not kept");
                return Ok(());
            }
            self.conn
                .prepare_cached("INSERT OR IGNORE INTO former VALUES (?1, ?2, ?3, ?4, ?5, ?6)")
                .and_then(|mut s| {
                    let (id, to) = (node.id, until_ms);
                    s.execute(params![id, old.service, old.field, now.service, now.field, to])
                })
                .map_err(|e| StoreError::db(&self.path, e))?;
            state.formers.add(old, now, until_ms);
        }
        Ok(())
    }
}

/// All claims, by the number of their node.
pub(super) fn load(conn: &Connection) -> rusqlite::Result<HashMap<i64, Formers>> {
    let mut all: HashMap<i64, Formers> = HashMap::new();
    let sql = "SELECT node, service, field, now_service, now_field, until_ms FROM former";
    // A catalog that is only looked at may be older than the table.
    let is_there = "SELECT count(*) FROM sqlite_master WHERE name = 'former'";
    if conn.query_row(is_there, [], |r| r.get::<_, i64>(0))? == 0 {
        return Ok(all);
    }
    let mut stmt = conn.prepare(sql)?;
    let mut rows = stmt.query([])?;
    while let Some(r) = rows.next()? {
        let name = |at: usize| r.get::<_, String>(at);
        let old = FieldKey { service: name(1)?, field: name(2)? };
        let now = FieldKey { service: name(3)?, field: name(4)? };
        all.entry(r.get(0)?).or_default().add(old, now, r.get(5)?);
    }
    Ok(all)
}

impl NodeEntry {
    /// The service of this name; of one that is gone or never was, the one that says it
    /// was called so once.
    pub fn service_called(&self, name: &str) -> Option<ServiceEntry> {
        let state = read(&self.state);
        let own = state.services.get(name);
        if own.is_some_and(|s| s.active) {
            return own.cloned();
        }
        let is_heir = |s: &&ServiceEntry| s.active && s.spec.old_names().any(|old| old == name);
        state.services.values().find(is_heir).or(own).cloned()
    }

    /// Under what else the samples of a field were kept, and until when, as far back as
    /// it is known.
    pub fn formers(&self, key: &FieldKey) -> Vec<(FieldKey, TimeMs)> {
        let state = read(&self.state);
        let of = &state.formers.of;
        if of.is_empty() {
            return Vec::new();
        }
        let mut all: Vec<(FieldKey, TimeMs)> = Vec::new();
        let mut next = vec![(key.clone(), TimeMs::MAX)];
        for _ in 0..CHAIN_MAX {
            let found = next.iter().flat_map(|(key, until)| {
                let old = of.get(key).into_iter().flatten();
                old.map(|(old, to)| (old.clone(), (*to).min(*until))).collect::<Vec<_>>()
            });
            next =
                found.filter(|(old, _)| old != key && !all.iter().any(|a| a.0 == *old)).collect();
            all.extend(next.iter().cloned());
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::Said;
    use rookery_plugins::wire::Announce;

    fn spec(name: &str, old: &[&str], fields: &[(&str, &[&str])]) -> ServiceSpec {
        let field = |(name, old): &(&str, &[&str])| {
            FieldSpec::gauge(name, name).formerly(old.iter().copied())
        };
        ServiceSpec::new(name, name, "disk")
            .fields(fields.iter().map(field).collect())
            .formerly(old.iter().copied())
    }

    fn take(catalog: &mut Catalog, services: Vec<ServiceSpec>, gone: &[&str], from_ms: TimeMs) {
        let node = catalog.node("n").expect("a node");
        let gone = gone.iter().map(|g| (*g).to_owned()).collect();
        let announce = Announce { services, gone, ..Announce::default() };
        catalog.take(&node, Said::now(Some(&announce), &[], false), from_ms).expect("taken");
    }

    #[test]
    fn who_claims_a_name_first_has_its_history_and_who_has_it_now_answers() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut catalog = Catalog::open(dir.path()).expect("opens");
        take(&mut catalog, vec![spec("io.dm_1", &[], &[("wait", &[])])], &[], 5);
        let mysql = spec("io.mysql", &["io.dm_1"], &[("wait", &[])]);
        take(&mut catalog, vec![mysql.clone()], &["io.dm_1"], 100);
        // After a boot the number is another volume's.
        let root = spec("io.root", &["io.dm_1"], &[("wait", &[])]);
        take(&mut catalog, vec![spec("io.mysql", &["io.dm_0"], &[("wait", &[])]), root], &[], 200);
        catalog.commit().expect("commits");
        for _ in 0..2 {
            let node = catalog.view().get("n").expect("the node");
            let old = FieldKey::new("io.dm_1", "wait");
            let of = |service: &str| node.formers(&FieldKey::new(service, "wait"));
            assert_eq!(of("io.mysql"), [(old, 100)]);
            assert!(of("io.root").is_empty(), "claimed already");
            let called = node.service_called("io.dm_1").expect("somebody");
            assert_eq!(called.spec.name, "io.root");
            assert_eq!(node.service_called("io.mysql").expect("itself").spec.name, "io.mysql");
            assert!(node.service_called("io.dm_7").is_none());
            // It is read back as it was.
            drop(catalog);
            catalog = Catalog::open(dir.path()).expect("opens");
        }
    }

    #[test]
    fn names_are_followed_back_and_what_is_a_name_now_is_no_old_one() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut catalog = Catalog::open(dir.path()).expect("opens");
        take(&mut catalog, vec![spec("df", &[], &[("b", &["a"])])], &[], 10);
        take(&mut catalog, vec![spec("df", &[], &[("c", &["b"]), ("d", &["c"])])], &[], 20);
        let node = catalog.view().get("n").expect("the node");
        let of = |field: &str| node.formers(&FieldKey::new("df", field));
        assert_eq!(of("c"), [(FieldKey::new("df", "b"), 20), (FieldKey::new("df", "a"), 10)]);
        assert!(of("d").is_empty());
        let df = node.service("df").expect("known").spec;
        assert_eq!(df.field_once("b").expect("c").name, "c");
        assert_eq!(df.field_once("c").expect("itself").name, "c");
        // Two that say so of each other end all the same.
        take(&mut catalog, vec![spec("x", &["y"], &[("f", &[])])], &[], 30);
        take(&mut catalog, vec![spec("y", &["x"], &[("f", &[])])], &[], 40);
        assert!(node.formers(&FieldKey::new("x", "f")).len() <= 2);
    }
}
