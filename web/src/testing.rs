//! A catalog in memory, for tests.

use rookery_collector::history::{History, NodeInfo, ReadError, Rollup, Samples, ServiceInfo};
use rookery_plugins::{FieldSpec, ServiceSpec};
use std::sync::Arc;

/// Nodes with their services; it has no samples.
#[derive(Default)]
pub(crate) struct Memory(Vec<(NodeInfo, Vec<Arc<ServiceSpec>>)>, Vec<(String, String)>);

impl Memory {
    /// One more node.
    pub(crate) fn add(&mut self, name: &str, group: &str, services: Vec<ServiceSpec>) {
        let info = NodeInfo {
            name: name.to_owned(),
            group: group.to_owned(),
            last_seen_ms: None,
            first_seen_ms: None,
            n_services: services.len(),
            retired: false,
        };
        self.0.push((info, services.into_iter().map(Arc::new).collect()));
    }

    /// A node is asked for by a name that it had.
    pub(crate) fn former(&mut self, former: &str, name: &str) {
        self.1.push((former.to_owned(), name.to_owned()));
    }
}

fn none<T>() -> Result<T, ReadError> {
    Err(ReadError::NotFound("no such thing".to_owned()))
}

impl History for Memory {
    fn nodes(&self) -> Vec<NodeInfo> {
        self.0.iter().map(|(info, _)| info.clone()).collect()
    }

    fn node(&self, name: &str) -> Option<NodeInfo> {
        let former = self.1.iter().find(|(former, _)| former == name);
        let name = former.map_or(name, |(_, name)| name);
        self.nodes().into_iter().find(|n| n.name == name)
    }

    fn services(&self, node: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        let Some((_, all)) = self.0.iter().find(|(info, _)| info.name == node) else {
            return none();
        };
        let info = |spec: &Arc<ServiceSpec>| {
            let now = vec![Default::default(); spec.fields.len()];
            ServiceInfo { spec: spec.clone(), active: true, now, step_ms: 0 }
        };
        Ok(all.iter().map(info).collect())
    }

    fn fields(&self, _: &str, _: &str) -> Result<Vec<FieldSpec>, ReadError> {
        none()
    }

    fn samples(&self, _: &str, _: &str, _: &str, _: i64, _: i64) -> Result<Samples, ReadError> {
        none()
    }

    fn rollup(
        &self,
        _: &str,
        _: &str,
        _: &[&str],
        _: i64,
        _: i64,
        _: i64,
    ) -> Result<Rollup, ReadError> {
        none()
    }

    fn version(&self, _: &str) -> u64 {
        0
    }
}
