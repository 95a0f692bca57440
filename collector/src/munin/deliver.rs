//! What a poll brought, into the history: as an agent's batches.

use crate::store::{Shared, StoreError};
use bytes::Bytes;
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_plugins::{Cells, FieldKey, Layout, LayoutId, ServiceSpec, TimeMs, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;
use std::time::Duration;

/// A frame is sent when it has so many bytes.
const FRAME_BYTES: usize = 1 << 20;
/// While too much waits, it is tried so many times, …
const TRIES: u32 = 30;
/// … with this pause between.
const PAUSE: Duration = Duration::from_secs(1);

/// Values of one time.
pub struct Row {
    /// Whose they are.
    pub layout: Arc<Layout>,
    /// When, UTC, ms.
    pub time_ms: TimeMs,
    /// One for each field of the layout; `None`: not read.
    pub values: Vec<Option<Value>>,
}

/// The layout of these services' fields, and where each stands in it.
pub fn layout_of(specs: &[ServiceSpec]) -> (Arc<Layout>, HashMap<FieldKey, usize>) {
    let mut fields = Vec::new();
    for spec in specs {
        fields.extend(spec.fields.iter().map(|f| FieldKey::new(&spec.name, &f.name)));
    }
    let index = fields.iter().cloned().enumerate().map(|(i, key)| (key, i)).collect();
    (Arc::new(Layout::new(fields)), index)
}

/// Sends one node's frames.
pub struct Deliverer {
    shared: Arc<Shared>,
    node: String,
    boot: u64,
    sequence: u64,
    writer: FrameWriter,
    cells: Cells,
    /// What the collector has heard of its services since the start.
    told: BTreeMap<String, ServiceSpec>,
    known: HashSet<LayoutId>,
}

impl Deliverer {
    /// For this node; `boot` is another one at each start.
    pub fn new(shared: Arc<Shared>, node: &str, boot: u64) -> Deliverer {
        Deliverer {
            shared,
            node: node.to_owned(),
            boot,
            sequence: 0,
            writer: FrameWriter::default(),
            cells: Cells::new(),
            told: BTreeMap::new(),
            known: HashSet::new(),
        }
    }

    /// Sends what is new of the services (all that there are, in `specs`) and
    /// the rows. The error says why not: the rows are lost then.
    pub async fn send(&mut self, specs: &[ServiceSpec], rows: &[Row]) -> Result<(), String> {
        let mut announce = self.news(specs);
        let mut rest = rows;
        while announce.is_some() || !rest.is_empty() {
            let n = self.write(announce.as_ref(), rest, false);
            match self.queue().await {
                Err(StoreError::UnknownLayouts(_)) => {
                    // Retention may have forgotten them: said once more.
                    self.write(announce.as_ref(), rest, true);
                    self.queue().await.map_err(|e| e.to_string())?;
                }
                other => other.map_err(|e| e.to_string())?,
            }
            self.known.extend(rest[..n].iter().map(|r| r.layout.id()));
            if announce.take().is_some() {
                self.told = specs.iter().map(|s| (s.name.clone(), s.clone())).collect();
            }
            rest = &rest[n..];
        }
        Ok(())
    }

    /// What changed since it was told last.
    fn news(&self, specs: &[ServiceSpec]) -> Option<Announce> {
        let is_news = |s: &&ServiceSpec| self.told.get(&s.name) != Some(*s);
        let services: Vec<ServiceSpec> = specs.iter().filter(is_news).cloned().collect();
        let gone = |name: &&String| !specs.iter().any(|s| s.name == **name);
        let gone: Vec<String> = self.told.keys().filter(gone).cloned().collect();
        let is_any = !services.is_empty() || !gone.is_empty();
        is_any.then(|| Announce { services, gone, ..Announce::default() })
    }

    /// Fills a frame; how many rows went in.
    fn write(&mut self, announce: Option<&Announce>, rows: &[Row], explain: bool) -> usize {
        self.sequence += 1;
        self.writer.start(&self.node, self.boot, self.sequence);
        if let Some(announce) = announce {
            self.writer.announce(announce);
        }
        let mut said: HashSet<LayoutId> = HashSet::new();
        let mut n = 0;
        for row in rows {
            if self.writer.len() > FRAME_BYTES {
                break;
            }
            let id = row.layout.id();
            if (explain || !self.known.contains(&id)) && said.insert(id) {
                self.writer.layout(&row.layout);
            }
            self.cells.clear();
            for value in &row.values {
                match value {
                    Some(value) => self.cells.push(*value),
                    None => self.cells.push_absent(),
                }
            }
            self.writer.row(id, row.time_ms, &self.cells);
            n += 1;
        }
        n
    }

    async fn queue(&mut self) -> Result<(), StoreError> {
        let frame = Bytes::copy_from_slice(self.writer.finish());
        for _ in 0..TRIES {
            let Some(answer) = self.shared.queue.send(frame.clone()) else {
                tokio::time::sleep(PAUSE).await;
                continue;
            };
            let stopping = || StoreError::Other("the collector is stopping".to_owned());
            return answer.await.unwrap_or_else(|_| Err(stopping()));
        }
        Err(StoreError::Other("too many batches wait".to_owned()))
    }
}
