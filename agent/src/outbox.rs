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

    /// The frame's bytes, in `writer`.
    pub fn encode<'w>(
        &self,
        node: &str,
        group: &str,
        explain: Explain<'_>,
        writer: &'w mut FrameWriter,
    ) -> &'w [u8] {
        writer.start(node, self.boot, self.sequence);
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
    services: HashMap<String, rookery_plugins::ServiceSpec>,
    layouts: HashMap<LayoutId, Layout>,
    group: String,
}

impl Learnt {
    /// Takes in what a frame explains.
    pub fn learn(&mut self, frame: &Frame<'_>) {
        if let Some(announce) = &frame.announce {
            self.group.clone_from(&announce.group);
            for spec in &announce.services {
                self.services.insert(spec.name.clone(), spec.clone());
            }
            for name in &announce.gone {
                self.services.remove(name);
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
        let mut services: Vec<_> = self.services.values().cloned().collect();
        services.sort_by(|a, b| a.name.cmp(&b.name));
        let gone = frame.announce.map(|a| a.gone).unwrap_or_default();
        writer.announce(&Announce { group: self.group.clone(), services, gone });
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
        let rows = vec![RowOut { layout, time_ms: 1_000 * sequence as i64, cells: cells.into() }];
        Batch { boot: 5, sequence, services: catalog.snapshot(), changes: None, rows }
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
