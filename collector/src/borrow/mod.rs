//! Graphs of other graphs' fields, as `munin.conf` has them: loans in `graph_order`
//! (`name=host:service.field`), `field.sum` and `field.stack`, also on hosts that are
//! there for nothing else.
//!
//! They have no samples of their own. [`Borrow`] reads them from where they are: a loan
//! is the other's samples to the bit, a sum is worked out on reading. As in Munin, a sum
//! takes an unknown part for zero.

mod lend;
mod words;

use crate::history::{History, NodeInfo, Now, ReadError, Rollup, Samples, ServiceInfo};
use crate::overlay::Overlay;
use rookery_plugins::{FieldSpec, TimeMs, names};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub use words::{Borrowed, Loan, PARTS_MAX, Source};

/// The history with services that borrow their fields.
pub struct Borrow {
    inner: Arc<dyn History>,
    services: BTreeMap<String, BTreeMap<String, Borrowed>>,
}

impl Borrow {
    /// Over this history.
    pub fn new(inner: Arc<dyn History>, borrowed: Vec<Borrowed>) -> Borrow {
        let mut services: BTreeMap<String, BTreeMap<String, Borrowed>> = BTreeMap::new();
        for one in borrowed {
            services.entry(one.node.clone()).or_default().insert(one.spec.name.clone(), one);
        }
        Borrow { inner, services }
    }

    fn borrowed(&self, node: &str, service: &str) -> Option<&Borrowed> {
        self.services.get(node)?.get(service)
    }
}

/// The nodes that these services may borrow from.
fn lenders(services: &BTreeMap<String, Borrowed>) -> BTreeSet<&String> {
    let loans = services.values().flat_map(|b| &b.loans);
    loans.flat_map(|l| &l.sources).flat_map(|s| &s.nodes).collect()
}

impl Overlay for Borrow {
    fn below(&self) -> &dyn History {
        self.inner.as_ref()
    }

    fn covers(&self, node: &str) -> bool {
        self.services.contains_key(node)
    }

    fn covered_nodes(&self) -> Vec<NodeInfo> {
        let mut nodes = self.inner.nodes();
        let n_real = nodes.len();
        for (name, services) in &self.services {
            let real: BTreeSet<String> = match nodes.iter().any(|n| n.name == *name) {
                true => self
                    .inner
                    .services(name)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|s| s.spec.name.clone())
                    .collect(),
                false => BTreeSet::new(),
            };
            let more = services.keys().filter(|s| !real.contains(*s)).count();
            if let Some(node) = nodes.iter_mut().find(|n| n.name == *name) {
                node.n_services += more;
                continue;
            }
            let lenders = lenders(services);
            let lenders = || nodes[..n_real].iter().filter(|n| lenders.contains(&n.name));
            let info = NodeInfo {
                name: name.clone(),
                group: names::split_node(name).0.to_owned(),
                last_seen_ms: lenders().filter_map(|n| n.last_seen_ms).max(),
                first_seen_ms: lenders().filter_map(|n| n.first_seen_ms).min(),
                n_services: more,
                retired: false,
            };
            nodes.push(info);
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    fn covered_services(&self, node: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        let Some(own) = self.services.get(node) else { return self.inner.services(node) };
        let mut services = match self.inner.services(node) {
            Err(ReadError::NotFound(_)) => vec![],
            other => other?,
        };
        for borrowed in own.values() {
            if !services.iter().any(|s| s.spec.name == borrowed.spec.name) {
                let now = vec![Now::default(); borrowed.spec.fields.len()];
                let spec = Arc::new(borrowed.spec.clone());
                let step_ms = spec.step_ms;
                services.push(ServiceInfo { spec, active: true, now, step_ms });
            }
        }
        services.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(services)
    }

    fn covered_fields(&self, node: &str, service: &str) -> Result<Vec<FieldSpec>, ReadError> {
        let Some(borrowed) = self.borrowed(node, service) else {
            return self.inner.fields(node, service);
        };
        let mut fields = match self.inner.fields(node, service) {
            Err(ReadError::NotFound(_)) => vec![],
            other => other?,
        };
        for field in &borrowed.spec.fields {
            if !fields.iter().any(|f| f.name == field.name) {
                fields.push(field.clone());
            }
        }
        Ok(fields)
    }

    fn covered_samples(
        &self,
        node: &str,
        service: &str,
        field: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Samples, ReadError> {
        let borrowed = self.borrowed(node, service);
        let loan = borrowed.and_then(|b| b.loans.iter().find(|l| l.name == field));
        let Some(loan) = loan else {
            return self.inner.samples(node, service, field, from_ms, to_ms);
        };
        if loan.is_sum {
            return self.summed(loan, (from_ms, to_ms));
        }
        for source in &loan.sources {
            for of in &source.nodes {
                match self.inner.samples(of, &source.service, &source.field, from_ms, to_ms) {
                    Err(ReadError::NotFound(_)) => {}
                    other => return other,
                }
            }
        }
        Ok(Samples::default())
    }

    fn covered_rollup(
        &self,
        node: &str,
        service: &str,
        fields: &[&str],
        from_ms: TimeMs,
        to_ms: TimeMs,
        step_ms: i64,
    ) -> Result<Rollup, ReadError> {
        let borrowed = self.borrowed(node, service);
        let is_lent =
            |name: &&&str| borrowed.is_some_and(|b| b.loans.iter().any(|l| l.name == **name));
        let own: Vec<&str> = fields.iter().filter(|f| !is_lent(f)).copied().collect();
        let read = self.inner.rollup(node, service, &own, from_ms, to_ms, step_ms);
        let mut rollup = match (read, borrowed) {
            (Ok(mut rollup), Some(borrowed)) => {
                if own.is_empty() && !fields.is_empty() {
                    rollup.fields.clear();
                }
                if !borrowed.spec.order.is_empty() {
                    Arc::make_mut(&mut rollup.spec).order.clone_from(&borrowed.spec.order);
                }
                rollup
            }
            (Err(ReadError::NotFound(_)), Some(borrowed)) if step_ms > 0 && from_ms < to_ms => {
                let spec = Arc::new(borrowed.spec.clone());
                Rollup { from_ms, step_ms, spec, fields: vec![], averages: vec![] }
            }
            (read, _) => read?,
        };
        let own = match borrowed {
            Some(_) => None,
            None => Borrowed::own(node, &rollup.spec),
        };
        if let Some(own) = &own {
            // A stack's parts take the place of the field that names them.
            let is_gone = |name: &str| own.spec.field(name).is_none();
            rollup.fields.retain(|f| !is_gone(&f.spec.name) || fields.contains(&&*f.spec.name));
            rollup.spec = Arc::new(own.spec.clone());
        }
        let borrowed = borrowed.or(own.as_ref());
        let loans = borrowed.map(|b| b.loans.clone()).unwrap_or_default();
        for loan in loans {
            if fields.is_empty() || fields.contains(&loan.name.as_str()) {
                self.lend(&loan, borrowed, (from_ms, to_ms), &mut rollup)?;
            }
        }
        rollup.averages.sort_by_key(|a| (a.from_ms, a.step_ms));
        rollup.averages.dedup();
        Ok(rollup)
    }

    fn covered_version(&self, node: &str) -> u64 {
        let lenders = self.services.get(node).map(lenders).unwrap_or_default();
        let own = self.inner.version(node);
        lenders.iter().fold(own, |sum, n| sum.wrapping_add(self.inner.version(n)))
    }
}
