//! A history for tests, of a few services.

use crate::history::{History, NodeInfo, Now, ReadError, Rollup, Samples, ServiceInfo};
use rookery_plugins::{FieldSpec, ServiceSpec, TimeMs};
use std::collections::BTreeMap;
use std::sync::Arc;

/// One node, `n`, of no group.
#[derive(Default)]
pub struct Fake {
    /// Its services, and the time of the newest sample of all their fields in memory.
    pub services: Vec<(ServiceSpec, Option<TimeMs>)>,
    /// Times of samples on the disk, by service and field.
    pub stored: BTreeMap<(String, String), Vec<TimeMs>>,
    /// When the node was seen last.
    pub seen_ms: Option<TimeMs>,
}

impl History for Fake {
    fn nodes(&self) -> Vec<NodeInfo> {
        vec![NodeInfo {
            name: "n".to_owned(),
            group: String::new(),
            last_seen_ms: self.seen_ms,
            first_seen_ms: None,
            n_services: self.services.len(),
            retired: false,
        }]
    }

    fn services(&self, _: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        let info = |(spec, time_ms): &(ServiceSpec, Option<TimeMs>)| ServiceInfo {
            now: vec![Now { time_ms: *time_ms, value: None }; spec.fields.len()],
            active: true,
            step_ms: spec.step_ms,
            spec: Arc::new(spec.clone()),
        };
        Ok(self.services.iter().map(info).collect())
    }

    fn fields(&self, _: &str, _: &str) -> Result<Vec<FieldSpec>, ReadError> {
        Ok(vec![])
    }

    fn samples(
        &self,
        _: &str,
        service: &str,
        field: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Samples, ReadError> {
        let times = self.stored.get(&(service.to_owned(), field.to_owned()));
        let times = times.into_iter().flatten().copied();
        let times_ms = times.filter(|t| (from_ms..to_ms).contains(t)).collect();
        Ok(Samples { times_ms, ..Samples::default() })
    }

    fn rollup(
        &self,
        _: &str,
        _: &str,
        _: &[&str],
        _: TimeMs,
        _: TimeMs,
        _: i64,
    ) -> Result<Rollup, ReadError> {
        Err(ReadError::NotFound("no rollup here".to_owned()))
    }

    fn version(&self, _: &str) -> u64 {
        0
    }
}
