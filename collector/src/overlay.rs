//! A history laid over another: what it says of the nodes that it covers, and all others
//! as they are below, as cheaply as they are read there.

use crate::history::{History, NodeInfo, ReadError, Rollup, Samples, ServiceInfo};
use rookery_plugins::{FieldSpec, ServiceSpec, TimeMs};
use std::sync::Arc;

/// What differs from the history below. Who implements it is a [`History`].
pub trait Overlay: Send + Sync {
    /// The history below.
    fn below(&self) -> &dyn History;

    /// Whether any service of a node differs.
    fn covers(&self, node: &str) -> bool;

    /// [`History::nodes`].
    fn covered_nodes(&self) -> Vec<NodeInfo>;

    /// [`History::node`] of one that is covered.
    fn covered_node(&self, name: &str) -> Option<NodeInfo> {
        self.covered_nodes().into_iter().find(|n| n.name == name)
    }

    /// [`History::services`] of a node that is covered.
    fn covered_services(&self, node: &str) -> Result<Vec<ServiceInfo>, ReadError>;

    /// [`History::fields`] of a node that is covered.
    fn covered_fields(&self, node: &str, service: &str) -> Result<Vec<FieldSpec>, ReadError>;

    /// [`History::samples`] of a node that is covered.
    fn covered_samples(
        &self,
        node: &str,
        service: &str,
        field: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Samples, ReadError>;

    /// [`History::rollup`] of any node: a service may differ by what it says of itself.
    fn covered_rollup(
        &self,
        node: &str,
        service: &str,
        fields: &[&str],
        from_ms: TimeMs,
        to_ms: TimeMs,
        step_ms: i64,
    ) -> Result<Rollup, ReadError>;

    /// [`History::version`] of a node that is covered.
    fn covered_version(&self, node: &str) -> u64 {
        self.below().version(node)
    }

    /// [`History::averages`].
    fn covered_averages(&self, node: &str, service: &str) -> Vec<(String, i64)> {
        self.below().averages(node, service)
    }
}

impl<T: Overlay> History for T {
    fn nodes(&self) -> Vec<NodeInfo> {
        self.covered_nodes()
    }

    fn node(&self, name: &str) -> Option<NodeInfo> {
        match self.covers(name) {
            true => self.covered_node(name),
            false => self.below().node(name),
        }
    }

    fn services(&self, node: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        match self.covers(node) {
            true => self.covered_services(node),
            false => self.below().services(node),
        }
    }

    fn specs(&self, node: &str) -> Result<Vec<(Arc<ServiceSpec>, bool)>, ReadError> {
        match self.covers(node) {
            true => {
                let all = self.covered_services(node)?;
                Ok(all.into_iter().map(|s| (s.spec, s.active)).collect())
            }
            false => self.below().specs(node),
        }
    }

    fn spec(&self, node: &str, service: &str) -> Option<Arc<ServiceSpec>> {
        match self.covers(node) {
            true => {
                let all = self.covered_services(node).unwrap_or_default();
                all.into_iter().map(|s| s.spec).find(|s| s.name == service)
            }
            false => self.below().spec(node, service),
        }
    }

    fn service(&self, node: &str, service: &str) -> Result<Option<ServiceInfo>, ReadError> {
        match self.covers(node) {
            true => Ok(self.covered_services(node)?.into_iter().find(|s| s.spec.name == service)),
            false => self.below().service(node, service),
        }
    }

    fn fields(&self, node: &str, service: &str) -> Result<Vec<FieldSpec>, ReadError> {
        match self.covers(node) {
            true => self.covered_fields(node, service),
            false => self.below().fields(node, service),
        }
    }

    fn samples(
        &self,
        node: &str,
        service: &str,
        field: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Samples, ReadError> {
        match self.covers(node) {
            true => self.covered_samples(node, service, field, from_ms, to_ms),
            false => self.below().samples(node, service, field, from_ms, to_ms),
        }
    }

    fn rollup(
        &self,
        node: &str,
        service: &str,
        fields: &[&str],
        from_ms: TimeMs,
        to_ms: TimeMs,
        step_ms: i64,
    ) -> Result<Rollup, ReadError> {
        self.covered_rollup(node, service, fields, from_ms, to_ms, step_ms)
    }

    fn averages(&self, node: &str, service: &str) -> Vec<(String, i64)> {
        self.covered_averages(node, service)
    }

    fn rollups(
        &self,
        node: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
        step_ms: i64,
    ) -> Result<Vec<Rollup>, ReadError> {
        if !self.covers(node) {
            return self.below().rollups(node, from_ms, to_ms, step_ms);
        }
        let rollup = |(spec, _): (Arc<ServiceSpec>, bool)| {
            self.rollup(node, &spec.name, &[], from_ms, to_ms, step_ms)
        };
        self.specs(node)?.into_iter().map(rollup).collect()
    }

    fn version(&self, node: &str) -> u64 {
        match self.covers(node) {
            true => self.covered_version(node),
            false => self.below().version(node),
        }
    }
}
