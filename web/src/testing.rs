//! A catalog in memory, for tests.

use rookery_collector::history::{History, NodeInfo, ReadError, Rollup, Samples, ServiceInfo};
use rookery_collector::rollup::{Grid, Roll};
use rookery_collector::series::Heartbeat;
use rookery_plugins::{FieldSpec, ServiceSpec, Value};
use std::sync::Arc;

/// A field's samples, oldest first: service, field, and what there is.
type Kept = (String, String, Vec<(i64, Value)>);

/// Nodes with their services; samples are those of every node.
#[derive(Default)]
pub(crate) struct Memory(Vec<(NodeInfo, Vec<Arc<ServiceSpec>>)>, Vec<(String, String)>, Vec<Kept>);

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

    /// Samples of a field, oldest first, after its node.
    pub(crate) fn keep(&mut self, service: &str, field: &str, samples: Vec<(i64, Value)>) {
        for (info, _) in &mut self.0 {
            let ends = (samples.first().map(|s| s.0), samples.last().map(|s| s.0));
            info.first_seen_ms = info.first_seen_ms.into_iter().chain(ends.0).min();
            info.last_seen_ms = info.last_seen_ms.into_iter().chain(ends.1).max();
        }
        self.2.push((service.to_owned(), field.to_owned(), samples));
    }

    fn kept(&self, service: &str, field: &str) -> Option<&[(i64, Value)]> {
        let is_it = |k: &&Kept| k.0 == service && k.1 == field;
        self.2.iter().find(is_it).map(|k| k.2.as_slice())
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

    fn samples(
        &self,
        _: &str,
        service: &str,
        field: &str,
        from_ms: i64,
        to_ms: i64,
    ) -> Result<Samples, ReadError> {
        let Some(kept) = self.kept(service, field) else { return none() };
        let mut out = Samples::default();
        for (time, value) in kept.iter().filter(|(t, _)| (from_ms..to_ms).contains(t)) {
            out.times_ms.push(*time);
            out.kinds.push(value.kind() as u8);
            out.bits.push(value.bits());
        }
        Ok(out)
    }

    fn rollup(
        &self,
        node: &str,
        service: &str,
        fields: &[&str],
        from_ms: i64,
        to_ms: i64,
        step_ms: i64,
    ) -> Result<Rollup, ReadError> {
        let Some(spec) = self.spec(node, service) else { return none() };
        let grid = Grid { from_ms, to_ms, step_ms, before_ms: Heartbeat::lead_ms(&spec) };
        let asked = spec.fields.iter().filter(|f| fields.is_empty() || fields.contains(&&*f.name));
        let fields = asked.map(|f| {
            let mut roll = Roll::new(f, Heartbeat::of(&spec), grid);
            let kept = self.kept(service, &f.name).unwrap_or_default().iter();
            let (first, end) = grid.reads();
            kept.filter(|(t, _)| (first..end).contains(t)).for_each(|(t, v)| roll.sample(*t, *v));
            roll.finish()
        });
        let fields = fields.collect();
        Ok(Rollup { from_ms, step_ms, spec: spec.clone(), fields, averages: vec![] })
    }

    fn version(&self, _: &str) -> u64 {
        0
    }
}
