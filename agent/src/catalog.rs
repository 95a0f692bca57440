//! Which services the node has, by who samples them; and what to announce.
//!
//! A source (a group of probes, one plugin) replaces its own list as a whole.
//! Services of the same name from several sources are one service with the
//! fields of all: so every probe adds its line to `rookery_duration`.

use rookery_plugins::ServiceSpec;
use rookery_plugins::wire::Announce;
use std::collections::BTreeMap;
use std::sync::Arc;

/// An unchanging picture of all services, shared by the batches of its time.
pub type Snapshot = Arc<BTreeMap<String, Arc<ServiceSpec>>>;

/// The services of a node.
#[derive(Debug, Default)]
pub struct Catalog {
    sources: BTreeMap<String, Vec<ServiceSpec>>,
    merged: Snapshot,
}

impl Catalog {
    /// All services now.
    pub fn snapshot(&self) -> Snapshot {
        Arc::clone(&self.merged)
    }

    /// Replaces a source's services; whether anything changed.
    pub fn set(&mut self, source: &str, specs: Vec<ServiceSpec>) -> bool {
        if self.sources.get(source).map_or(&[][..], Vec::as_slice) == specs.as_slice() {
            return false;
        }
        if specs.is_empty() {
            self.sources.remove(source);
        } else {
            self.sources.insert(source.to_owned(), specs);
        }
        let mut merged: BTreeMap<String, ServiceSpec> = BTreeMap::new();
        for spec in self.sources.values().flatten() {
            match merged.get_mut(&spec.name) {
                None => {
                    merged.insert(spec.name.clone(), spec.clone());
                }
                Some(known) => {
                    for field in &spec.fields {
                        if known.field(&field.name).is_none() {
                            known.fields.push(field.clone());
                        }
                    }
                }
            }
        }
        let merged = merged.into_iter().map(|(name, spec)| {
            let same = self.merged.get(&name).filter(|old| ***old == spec).cloned();
            (name, same.unwrap_or_else(|| Arc::new(spec)))
        });
        self.merged = Arc::new(merged.collect());
        true
    }
}

/// Everything, for a collector that knows nothing.
pub fn announce_all(now: &Snapshot, group: &str) -> Announce {
    let services = now.values().map(|s| (**s).clone()).collect();
    Announce { group: group.to_owned(), services, gone: vec![] }
}

/// What changed between two pictures; `None`: nothing.
pub fn announce_changes(before: &Snapshot, now: &Snapshot, group: &str) -> Option<Announce> {
    if Arc::ptr_eq(before, now) {
        return None;
    }
    let services: Vec<ServiceSpec> = now
        .iter()
        .filter(|(name, spec)| before.get(*name).is_none_or(|old| old != *spec))
        .map(|(_, spec)| (**spec).clone())
        .collect();
    let gone: Vec<String> = before.keys().filter(|n| !now.contains_key(*n)).cloned().collect();
    if services.is_empty() && gone.is_empty() {
        return None;
    }
    Some(Announce { group: group.to_owned(), services, gone })
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_plugins::FieldSpec;

    fn spec(name: &str, fields: &[&str]) -> ServiceSpec {
        let fields = fields.iter().map(|f| FieldSpec::gauge(f, f)).collect();
        ServiceSpec::new(name, name, "other").fields(fields)
    }

    #[test]
    fn only_changes_are_announced() {
        let mut c = Catalog::default();
        let none = c.snapshot();
        assert!(c.set("a", vec![spec("cpu", &["user"]), spec("own", &["probe_a"])]));
        assert!(c.set("b", vec![spec("own", &["probe_b"])]));
        let first = c.snapshot();
        assert_eq!(first["own"].fields.len(), 2, "fields of several sources join");
        assert_eq!(announce_changes(&none, &first, "").expect("new").services.len(), 2);

        assert!(!c.set("b", vec![spec("own", &["probe_b"])]), "the same again is no change");
        assert_eq!(announce_changes(&first, &c.snapshot(), ""), None);

        assert!(c.set("a", vec![spec("own", &["probe_a"])]));
        let change = announce_changes(&first, &c.snapshot(), "g").expect("changed");
        assert_eq!((change.services.len(), change.gone), (0, vec!["cpu".to_owned()]));

        assert!(c.set("b", vec![]));
        let change = announce_changes(&first, &c.snapshot(), "g").expect("changed");
        assert_eq!(change.services[0].fields.len(), 1);
        assert_eq!(announce_all(&c.snapshot(), "g").services.len(), 1);
    }
}
