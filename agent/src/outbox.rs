//! Batches: what is shipped at once, numbered, ready to be encoded.

use crate::catalog::{Snapshot, announce_all};
use crate::event::RowOut;
use rookery_plugins::wire::{Announce, Frame, FrameWriter, WireError};
use rookery_plugins::{Cells, Kind, Layout, LayoutId, Value};
use std::collections::{HashMap, HashSet};
use std::sync::Arc;

/// Rows of one batch, with what a collector needs to understand them.
#[derive(Debug)]
pub struct Batch {
    /// The virtual node that it belongs to; `None`: the agent's own.
    pub node: Option<Arc<str>>,
    /// The life of the sequence, ms.
    pub boot: u64,
    /// Counts the batches of that life from 1.
    pub sequence: u64,
    /// The services at that time.
    pub services: Snapshot,
    /// What changed since the batch before.
    pub changes: Option<Announce>,
    /// The rows, in order.
    pub rows: Vec<RowOut>,
}

/// How much a frame explains beside its rows.
#[derive(Clone, Copy, Debug)]
pub enum Explain<'a> {
    /// Changes only, and layouts that are not in this set.
    Known(&'a HashSet<LayoutId>),
    /// All services and all layouts of its rows.
    All,
}

impl Batch {
    /// The layouts of its rows, each once.
    pub fn layouts(&self) -> Vec<&Arc<Layout>> {
        let mut seen = HashSet::new();
        self.rows.iter().map(|r| &r.layout).filter(|l| seen.insert(l.id())).collect()
    }

    /// The node whose batch it is, for an agent whose own node is `node`.
    pub fn node_name<'a>(&'a self, node: &'a str) -> &'a str {
        self.node.as_deref().unwrap_or(node)
    }

    /// The frame's bytes, in `writer`; `node` and `group` are the agent's own. A
    /// virtual node's group is that of its name.
    pub fn encode<'w>(
        &self,
        node: &str,
        group: &str,
        explain: Explain<'_>,
        writer: &'w mut FrameWriter,
    ) -> &'w [u8] {
        writer.start(self.node_name(node), self.boot, self.sequence);
        let group = if self.node.is_some() { "" } else { group };
        match (explain, &self.changes) {
            (Explain::All, _) => writer.announce(&announce_all(&self.services, group)),
            (Explain::Known(_), Some(changes)) => writer.announce(changes),
            (Explain::Known(_), None) => {}
        }
        for layout in self.layouts() {
            match explain {
                Explain::Known(known) if known.contains(&layout.id()) => {}
                _ => writer.layout(layout),
            }
        }
        for row in &self.rows {
            writer.row(row.layout.id(), row.time_ms, &row.cells);
        }
        writer.finish()
    }
}

/// What a reader of a spool's segment has learnt from the frames before.
#[derive(Debug, Default)]
pub struct Learnt {
    nodes: HashMap<String, Announced>,
    layouts: HashMap<LayoutId, Layout>,
}

/// What a node has said of its services.
#[derive(Debug, Default)]
struct Announced {
    services: HashMap<String, rookery_plugins::ServiceSpec>,
    group: String,
}

impl Learnt {
    /// Takes in what a frame explains.
    pub fn learn(&mut self, frame: &Frame<'_>) {
        if let Some(announce) = &frame.announce {
            let known = self.nodes.entry(frame.node.to_owned()).or_default();
            known.group.clone_from(&announce.group);
            for spec in &announce.services {
                known.services.insert(spec.name.clone(), spec.clone());
            }
            for name in &announce.gone {
                known.services.remove(name);
            }
        }
        for layout in &frame.layouts {
            self.layouts.insert(layout.id(), layout.clone());
        }
    }

    /// The same frame, explaining everything: same node, boot, sequence and
    /// rows. For a collector that answered that it lacks layouts.
    pub fn explain(&self, bytes: &[u8], writer: &mut FrameWriter) -> Result<Vec<u8>, WireError> {
        let frame = Frame::parse(bytes)?;
        writer.start(frame.node, frame.boot, frame.sequence);
        let none = Announced::default();
        let known = self.nodes.get(frame.node).unwrap_or(&none);
        let mut services: Vec<_> = known.services.values().cloned().collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let gone = frame.announce.map(|a| a.gone).unwrap_or_default();
        writer.announce(&Announce { group: known.group.clone(), services, gone });
        let mut seen = HashSet::new();
        for row in &frame.rows {
            if let Some(layout) = self.layouts.get(&row.layout).filter(|l| seen.insert(l.id())) {
                writer.layout(layout);
            }
        }
        let (mut kinds, mut bits, mut cells) = (Vec::new(), Vec::new(), Cells::new());
        for row in &frame.rows {
            row.expand_kinds(&mut kinds);
            bits.clear();
            row.append_bits(&mut bits);
            cells.clear();
            for (kind, bits) in kinds.iter().zip(&bits) {
                let kind = Kind::from_u8(*kind).unwrap_or(Kind::Absent);
                match Value::from_bits(kind, *bits) {
                    Some(value) => cells.push(value),
                    None => cells.push_absent(),
                }
            }
            writer.row(row.layout, row.time_ms, &cells);
        }
        Ok(writer.finish().to_vec())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::catalog::Catalog;
    use rookery_plugins::{FieldKey, ServiceSpec};

    pub(crate) fn batch(sequence: u64) -> Batch {
        let mut catalog = Catalog::default();
        catalog.set("x", vec![ServiceSpec::new("svc", "Service", "other")]);
        let layout = Arc::new(Layout::new(vec![FieldKey::new("svc", "a")]));
        let mut cells = Cells::new();
        cells.push(sequence);
        let time_ms = 1_000 * sequence as i64;
        let rows = vec![RowOut { node: None, layout, time_ms, cells: cells.into() }];
        let services = catalog.snapshot();
        Batch { node: None, boot: 5, sequence, services, changes: None, rows }
    }

    #[test]
    fn a_bare_frame_can_be_explained_later() {
        let mut writer = FrameWriter::default();
        let full = batch(1).encode("n", "g", Explain::All, &mut writer).to_vec();
        let known = HashSet::from([batch(1).rows[0].layout.id()]);
        let bare = batch(2).encode("n", "g", Explain::Known(&known), &mut writer).to_vec();
        let parsed = Frame::parse(&bare).expect("parses");
        assert!(parsed.layouts.is_empty() && parsed.announce.is_none());

        let mut learnt = Learnt::default();
        learnt.learn(&Frame::parse(&full).expect("parses"));
        let explained = learnt.explain(&bare, &mut writer).expect("explains");
        let all = batch(2).encode("n", "g", Explain::All, &mut writer).to_vec();
        assert_eq!(explained, all);
    }
}
