//! Another thing behind the same name is an event: a disk that was `sdb` and is `sda`
//! since the last boot, by what the disk says of itself ([`ServiceSpec::identity`]).

use crate::catalog::{LayoutIndex, NodeEntry};
use crate::events::{Events, NewEvent};
use crate::store::now_ms;
use crate::writer::Observer;
use rookery_plugins::wire::Row;
use rookery_plugins::{ServiceSpec, TimeMs};
use std::collections::HashMap;
use std::sync::Arc;

/// An observer that marks such changes, and hands all on.
pub struct Identities {
    inner: Box<dyn Observer>,
    events: Arc<Events>,
    /// Of each node, what stood behind each service.
    known: HashMap<i64, HashMap<String, String>>,
}

impl Identities {
    /// Before this one; events go there.
    pub fn new(inner: Box<dyn Observer>, events: Arc<Events>) -> Identities {
        Identities { inner, events, known: HashMap::new() }
    }

    /// What is to be said of a node's services as they are now.
    fn changes(&mut self, node: i64, specs: &[Arc<ServiceSpec>]) -> Vec<String> {
        let known = self.known.entry(node).or_default();
        let mut said = Vec::new();
        let before = known.clone();
        for spec in specs {
            let Some(identity) = spec.identity() else { continue };
            let short = |service: &str| service.rsplit('.').next().unwrap_or(service).to_owned();
            match known.insert(spec.name.clone(), identity.to_owned()) {
                Some(old) if old != identity => {
                    let was = before.iter().find(|(_, id)| *id == identity).map(|(s, _)| short(s));
                    let was = was.map_or_else(String::new, |was| format!(", which was {was}"));
                    let name = short(&spec.name);
                    said.push(format!("{name} is another one: {identity}{was} (before: {old})"));
                }
                _ => {}
            }
        }
        said
    }
}

impl Observer for Identities {
    fn row(&mut self, node: &Arc<NodeEntry>, index: &Arc<LayoutIndex>, row: &Row<'_>, now: TimeMs) {
        self.inner.row(node, index, row, now);
    }

    fn described(&mut self, node: &Arc<NodeEntry>) {
        let specs: Vec<_> =
            node.services().into_iter().filter(|s| s.active).map(|s| s.spec).collect();
        for text in self.changes(node.id, &specs) {
            let now = now_ms();
            let event = NewEvent { text, node: Some(node.name.clone()), group: None };
            let kept = event.check(now, now).map(|event| self.events.add(event, now, now));
            match kept {
                Ok(Ok(_)) => {}
                Ok(Err(e)) => tracing::warn!(node = node.name, "an event is not kept: {e}"),
                Err(e) => tracing::warn!(node = node.name, "an event is not kept: {e}"),
            }
        }
        self.inner.described(node);
    }

    fn renamed(&mut self, from: &str, node: &Arc<NodeEntry>) {
        self.inner.renamed(from, node);
    }

    fn retired(&mut self, node: &str) {
        self.inner.retired(node);
    }

    fn settle(&mut self, now_ms: TimeMs) {
        self.inner.settle(now_ms);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::writer::NoObserver;

    #[test]
    fn disks_that_change_places_are_told_of() {
        let dir = tempfile::tempdir().expect("tmp");
        let events = Arc::new(Events::open(dir.path()).expect("opens"));
        let mut identities = Identities::new(Box::new(NoObserver), events);
        let disk = |name: &str, id: &str| {
            let spec = ServiceSpec::new(&format!("diskstats_latency.{name}"), name, "disk");
            Arc::new(spec.identified(id))
        };
        assert!(identities.changes(1, &[disk("sda", "naa.1"), disk("sdb", "naa.2")]).is_empty());
        assert!(identities.changes(1, &[disk("sda", "naa.1")]).is_empty());
        assert!(identities.changes(2, &[disk("sda", "naa.9")]).is_empty(), "another node's");
        let said = identities.changes(1, &[disk("sda", "naa.2"), disk("sdb", "naa.3")]);
        assert_eq!(
            said,
            [
                "sda is another one: naa.2, which was sdb (before: naa.1)",
                "sdb is another one: naa.3 (before: naa.2)"
            ]
        );
    }
}
