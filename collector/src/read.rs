//! Reading: sealed blocks and head, merged.
//!
//! The head is looked at first and the sealed blocks after it, so that a block
//! that is sealed in between is seen twice rather than never; doubled times are
//! merged, and the sample that came first stays.

use crate::catalog::NodeEntry;
use crate::chunk::ColumnBuf;
use crate::history::{
    Bucket, FieldRollup, History, NodeInfo, ReadError, Rollup, Samples, ServiceInfo,
};
use crate::newest::{node_info, service_info};
use crate::period::{BlockRow, Period};
use crate::read_former::{self, Wanted};
use crate::read_rollup;
use crate::reading;
use crate::rollup::{Grid, Roll};
use crate::series::Heartbeat;
use crate::store::{Shared, StoreError};
use rookery_plugins::config::nearest;
use rookery_plugins::{FieldKey, FieldSpec, Kind, LayoutId, ServiceSpec, TimeMs};
use rusqlite::Connection;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The most buckets of a rollup, a field.
pub const BUCKETS_MAX: i64 = 100_000;
/// The most buckets of a rollup, of all its fields together.
pub const CELLS_MAX: usize = 8_000_000;
/// A sample in memory: time, kind and bits.
const SAMPLE_BYTES: usize = 17;
/// What is known of a field, beside its buckets.
const FIELD_BYTES: usize = 512;

/// Reads the history.
#[derive(Clone)]
pub struct Reader(Arc<Shared>);

impl Reader {
    /// A reader of this history.
    pub fn new(shared: Arc<Shared>) -> Reader {
        Reader(shared)
    }

    fn entry(&self, name: &str) -> Result<Arc<NodeEntry>, ReadError> {
        self.0.nodes.get(name).ok_or_else(|| {
            let all = self.0.nodes.all();
            let names: Vec<&str> = all.iter().map(|n| n.name.as_str()).collect();
            not_found("node", name, &names)
        })
    }

    fn spec_of(&self, node: &NodeEntry, service: &str) -> Result<Arc<ServiceSpec>, ReadError> {
        node.service_called(service).map(|s| s.spec).ok_or_else(|| {
            let all = node.services();
            let names: Vec<&str> = all.iter().map(|s| s.spec.name.as_str()).collect();
            not_found("service", service, &names)
        })
    }

    /// A field that the service has or had.
    fn field_ever(
        &self,
        node: &NodeEntry,
        service: &str,
        field: &str,
    ) -> Result<FieldSpec, ReadError> {
        let mut ever = node.fields_ever(service);
        match ever.iter().position(|f| f.name == field) {
            Some(at) => Ok(ever.swap_remove(at)),
            None => {
                let names: Vec<&str> = ever.iter().map(|f| f.name.as_str()).collect();
                Err(not_found("field", field, &names))
            }
        }
    }

    /// A field by any name that it has or had: as it is called in `spec`, and where its
    /// samples are now.
    fn field_called(
        &self,
        node: &NodeEntry,
        spec: &ServiceSpec,
        field: &str,
    ) -> Result<(FieldSpec, FieldKey), ReadError> {
        let found = match spec.field_once(field) {
            Some(found) => found.clone(),
            None => self.field_ever(node, &spec.name, field)?,
        };
        let key = FieldKey::new(&spec.name, &found.name);
        Ok((FieldSpec { name: field.to_owned(), ..found }, key))
    }

    /// One field's samples, those before its name was changed too.
    fn read_called(
        &self,
        node: &NodeEntry,
        (field, key): (FieldSpec, FieldKey),
        span: (TimeMs, TimeMs),
    ) -> Result<Samples, ReadError> {
        let read = |key: &FieldKey, span| -> Result<Gather, ReadError> {
            let field = FieldSpec { name: key.field.clone(), ..field.clone() };
            let mut read = self.read_fields(node, &key.service, &[&field], span)?;
            Ok::<Gather, ReadError>(Gather {
                samples: read.pop().unwrap_or_default(),
                in_order: true,
            })
        };
        let mut all = read(&key, span)?;
        for (old, until_ms) in node.formers(&key) {
            let to_ms = until_ms.min(span.1);
            if to_ms > span.0 {
                all.append(read(&old, (span.0, to_ms))?);
            }
        }
        Ok(all.finish())
    }

    /// The samples of some fields of a service, each as [`History::samples`].
    fn read_fields(
        &self,
        node: &NodeEntry,
        service: &str,
        fields: &[&FieldSpec],
        span: (TimeMs, TimeMs),
    ) -> Result<Vec<Samples>, ReadError> {
        let mut gathered: Vec<Gather> = fields.iter().map(|f| Gather::new(f)).collect();
        let keys: Vec<FieldKey> = fields.iter().map(|f| FieldKey::new(service, &f.name)).collect();
        // Newest part first, see the module's text.
        let mut head_parts: Vec<Gather> = fields.iter().map(|f| Gather::new(f)).collect();
        let mut buf = ColumnBuf::default();
        for index in node.layouts() {
            let cols: Vec<Option<usize>> = keys.iter().map(|k| index.column(k)).collect();
            if cols.iter().all(Option::is_none) {
                continue;
            }
            read_head(node, index.layout.id(), &cols, span, &mut head_parts);
            for period in self.0.periods.between(span.0, span.1) {
                let read = period.with_reader(|conn| {
                    let id = index.layout.id();
                    let mut blocks = period.blocks_between(conn, node.id, id, span)?;
                    // Of equal times the sample that was sealed first holds.
                    blocks.sort_by_key(|b| b.id);
                    for row in blocks {
                        reading::charge(bytes_of(&row, &cols))?;
                        let to = &mut gathered;
                        let read = read_block(&period, conn, &row, &cols, span, to, &mut buf);
                        self.0.pass_damage(read)?;
                    }
                    Ok(())
                });
                self.0.pass_damage(read)?;
            }
        }
        for (all, head) in gathered.iter_mut().zip(head_parts) {
            all.append(head);
        }
        Ok(gathered.into_iter().map(Gather::finish).collect())
    }
}

/// What the samples of these columns of a block take, once they are gathered.
fn bytes_of(row: &BlockRow, cols: &[Option<usize>]) -> usize {
    let n_cols = cols.iter().flatten().filter(|c| row.holds(**c)).count();
    row.n_rows.saturating_mul(n_cols).saturating_mul(SAMPLE_BYTES)
}

fn not_found(what: &str, name: &str, known: &[&str]) -> ReadError {
    ReadError::NotFound(match nearest(name, known) {
        Some(near) => format!("no {what} {name:?}; did you mean {near:?}?"),
        None => format!("no {what} {name:?}"),
    })
}

impl Reader {
    /// As [`History::rollup`], from the exact samples alone.
    pub fn rollup_exactly(
        &self,
        node: &str,
        service: &str,
        span: (TimeMs, TimeMs),
        step_ms: i64,
    ) -> Result<Vec<FieldRollup>, ReadError> {
        let node = self.entry(node)?;
        let spec = self.spec_of(&node, service)?;
        let wanted: Vec<&FieldSpec> = spec.fields.iter().collect();
        let heartbeat = Heartbeat::of(&spec);
        let grid =
            Grid { from_ms: span.0, to_ms: span.1, step_ms, before_ms: Heartbeat::lead_ms(&spec) };
        let samples = self.read_fields(&node, service, &wanted, grid.reads())?;
        let fields = wanted.iter().zip(samples).map(|(field, samples)| {
            let mut roll = Roll::new(field, heartbeat, grid);
            samples.iter().for_each(|(t, v)| roll.sample(t, v));
            roll.finish()
        });
        Ok(fields.collect())
    }
}

/// Appends a block's samples of these columns. A damaged column does not keep
/// the others from being read; the first damage comes back.
pub(crate) fn read_block(
    period: &Period,
    conn: &Connection,
    row: &BlockRow,
    cols: &[Option<usize>],
    span: (TimeMs, TimeMs),
    out: &mut [Gather],
    buf: &mut ColumnBuf,
) -> Result<(), StoreError> {
    let mut block = period.open_block(conn, row.id)?;
    let err = |e| StoreError::chunk(period.path(), row.id, e);
    let times = block.times().map_err(err)?.to_vec();
    let lo = times.partition_point(|t| *t < span.0);
    let hi = times.partition_point(|t| *t < span.1);
    let mut damage = Ok(());
    for (col, out) in cols.iter().zip(out) {
        let Some(col) = col.filter(|c| row.holds(*c)) else { continue };
        match block.column(col, buf) {
            Ok(()) => out.extend(&times[lo..hi], &buf.kinds[lo..hi], &buf.bits[lo..hi]),
            Err(e) => damage = damage.and(Err(err(e))),
        }
    }
    damage
}

impl History for Reader {
    fn nodes(&self) -> Vec<NodeInfo> {
        self.0.nodes.all().iter().filter(|n| !n.is_retired()).map(|n| node_info(n)).collect()
    }

    fn node(&self, name: &str) -> Option<NodeInfo> {
        self.0.nodes.get(name).map(|n| node_info(&n))
    }

    fn specs(&self, node: &str) -> Result<Vec<(Arc<ServiceSpec>, bool)>, ReadError> {
        let all = self.entry(node)?.services();
        Ok(all.into_iter().map(|s| (s.spec, s.active)).collect())
    }

    fn spec(&self, node: &str, service: &str) -> Option<Arc<ServiceSpec>> {
        Some(self.0.nodes.get(node)?.service_called(service)?.spec)
    }

    fn service(&self, node: &str, service: &str) -> Result<Option<ServiceInfo>, ReadError> {
        let node = self.entry(node)?;
        let Some(entry) = node.service_called(service) else { return Ok(None) };
        let (layouts, head) = (node.layouts(), node.head());
        Ok(Some(service_info(&head, &layouts, &entry)))
    }

    fn services(&self, node: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        let node = self.entry(node)?;
        let layouts = node.layouts();
        let head = node.head();
        Ok(node.services().iter().map(|s| service_info(&head, &layouts, s)).collect())
    }

    fn fields(&self, node: &str, service: &str) -> Result<Vec<FieldSpec>, ReadError> {
        let node = self.entry(node)?;
        let spec = self.spec_of(&node, service)?;
        Ok(node.fields_ever(&spec.name))
    }

    fn samples(
        &self,
        node: &str,
        service: &str,
        field: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Samples, ReadError> {
        let node = self.entry(node)?;
        let spec = self.spec_of(&node, service)?;
        let called = self.field_called(&node, &spec, field)?;
        self.read_called(&node, called, (from_ms, to_ms))
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
        check_steps(from_ms, to_ms, step_ms)?;
        let node = self.entry(node)?;
        let now = self.spec_of(&node, service)?;
        // As it was then: with its labels, types and limits of that time.
        let spec = node.service_at(&now.name, to_ms - 1).unwrap_or_default();
        let mut chosen: Vec<(FieldSpec, FieldKey)> = Vec::new();
        for name in fields.iter().filter(|name| spec.field(name).is_none()) {
            let of = if spec.field_once(name).is_some() { &spec } else { &now };
            chosen.push(self.field_called(&node, of, name)?);
        }
        let asked = |f: &&FieldSpec| fields.is_empty() || fields.contains(&f.name.as_str());
        let own = spec.fields.iter().filter(asked);
        let keys = own.clone().map(|f| FieldKey::new(&now.name, &f.name));
        let keys: Vec<FieldKey> = keys.chain(chosen.iter().map(|(_, key)| key.clone())).collect();
        let wanted: Vec<&FieldSpec> = own.chain(chosen.iter().map(|(f, _)| f)).collect();
        let heartbeat = Heartbeat::of(&spec);
        let grid = Grid { from_ms, to_ms, step_ms, before_ms: Heartbeat::lead_ms(&spec) };
        charge_cells(wanted.len(), grid.len())?;
        let rolls = wanted.iter().map(|f| Roll::new(f, heartbeat, grid)).collect();
        let mut fields = read_rollup::roll(&self.0, &node, &keys, &wanted, rolls, grid)?;
        let heartbeats = vec![heartbeat; keys.len()];
        let wanted = Wanted { keys: &keys, fields: &wanted, heartbeats: &heartbeats };
        read_former::add(&self.0, &node, &wanted, grid, &mut fields)?;
        Ok(Rollup { from_ms, step_ms, fields, spec: spec.clone(), averages: vec![] })
    }

    fn rollups(
        &self,
        node: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
        step_ms: i64,
    ) -> Result<Vec<Rollup>, ReadError> {
        check_steps(from_ms, to_ms, step_ms)?;
        let node = self.entry(node)?;
        let names: Vec<String> = node.services().iter().map(|s| s.spec.name.clone()).collect();
        let spec_at = |name: &String| node.service_at(name, to_ms - 1).unwrap_or_default();
        let specs: Vec<Arc<ServiceSpec>> = names.iter().map(spec_at).collect();
        // The longest of all: a rate needs the sample before.
        let before_ms = specs.iter().map(|s| Heartbeat::lead_ms(s)).max().unwrap_or(0);
        let grid = Grid { from_ms, to_ms, step_ms, before_ms };
        charge_cells(specs.iter().map(|s| s.fields.len()).sum(), grid.len())?;
        let (mut keys, mut fields, mut rolls) = (Vec::new(), Vec::new(), Vec::new());
        let mut heartbeats = Vec::new();
        for (name, spec) in names.iter().zip(&specs) {
            for field in &spec.fields {
                keys.push(FieldKey::new(name, &field.name));
                fields.push(field);
                heartbeats.push(Heartbeat::of(spec));
                rolls.push(Roll::new(field, Heartbeat::of(spec), grid));
            }
        }
        let mut all = read_rollup::roll(&self.0, &node, &keys, &fields, rolls, grid)?;
        let wanted = Wanted { keys: &keys, fields: &fields, heartbeats: &heartbeats };
        read_former::add(&self.0, &node, &wanted, grid, &mut all)?;
        let mut all = all.into_iter();
        let rollup = |spec: Arc<ServiceSpec>| {
            let fields = all.by_ref().take(spec.fields.len()).collect();
            Rollup { from_ms, step_ms, fields, spec, averages: vec![] }
        };
        Ok(specs.into_iter().map(rollup).collect())
    }

    fn version(&self, node: &str) -> u64 {
        self.0.nodes.get(node).map_or(0, |n| n.version.load(Ordering::Relaxed))
    }
}

fn check_steps(from_ms: TimeMs, to_ms: TimeMs, step_ms: i64) -> Result<(), ReadError> {
    let n_buckets = to_ms.saturating_sub(from_ms).saturating_add(step_ms - 1) / step_ms.max(1);
    if step_ms < 1 || from_ms >= to_ms || n_buckets > BUCKETS_MAX {
        return Err(ReadError::BadRequest(format!(
            "from {from_ms} to {to_ms} by {step_ms} ms: from must be before to, and at most \
             {BUCKETS_MAX} steps"
        )));
    }
    Ok(())
}

/// Takes the memory of a rollup before it is allocated.
fn charge_cells(n_fields: usize, n_buckets: usize) -> Result<(), ReadError> {
    let n_cells = n_fields.saturating_mul(n_buckets);
    if n_cells > CELLS_MAX {
        return Err(ReadError::BadRequest(format!(
            "{n_fields} fields by {n_buckets} steps are {n_cells} cells, at most {CELLS_MAX} are \
             read at once: ask for a larger step, a shorter span or fewer fields"
        )));
    }
    let bytes = n_cells.saturating_mul(size_of::<Bucket>()) + n_fields.saturating_mul(FIELD_BYTES);
    Ok(reading::charge(bytes)?)
}

/// Samples of one field that come from several places.
pub(crate) struct Gather {
    samples: Samples,
    in_order: bool,
}

impl Gather {
    /// Empty.
    pub fn new(field: &FieldSpec) -> Gather {
        let samples = Samples { field_type: field.kind, ..Samples::default() };
        Gather { samples, in_order: true }
    }

    fn push(&mut self, time_ms: TimeMs, kind: u8, bits: u64) {
        if kind == Kind::Absent as u8 {
            return;
        }
        self.in_order &= self.samples.times_ms.last().is_none_or(|last| *last < time_ms);
        self.samples.times_ms.push(time_ms);
        self.samples.kinds.push(kind);
        self.samples.bits.push(bits);
    }

    /// The earliest time; `None`: it has no samples.
    pub fn first_ms(&self) -> Option<TimeMs> {
        self.samples.times_ms.iter().min().copied()
    }

    /// Ascending ones.
    fn extend(&mut self, times_ms: &[TimeMs], kinds: &[u8], bits: &[u64]) {
        let Some(first) = times_ms.first() else { return };
        if kinds.contains(&(Kind::Absent as u8)) {
            for (i, time_ms) in times_ms.iter().enumerate() {
                self.push(*time_ms, kinds[i], bits[i]);
            }
            return;
        }
        self.in_order &= self.samples.times_ms.last().is_none_or(|last| last < first);
        self.samples.times_ms.extend_from_slice(times_ms);
        self.samples.kinds.extend_from_slice(kinds);
        self.samples.bits.extend_from_slice(bits);
    }

    /// What another has, after its own.
    pub fn append(&mut self, other: Gather) {
        let s = &other.samples;
        for i in 0..s.len() {
            self.push(s.times_ms[i], s.kinds[i], s.bits[i]);
        }
    }

    /// Ascending, each time once; of equal times the first that was pushed.
    pub fn finish(self) -> Samples {
        if self.in_order {
            return self.samples;
        }
        let s = &self.samples;
        let mut order: Vec<usize> = (0..s.len()).collect();
        order.sort_by_key(|i| s.times_ms[*i]);
        order.dedup_by_key(|i| s.times_ms[*i]);
        Samples {
            field_type: s.field_type,
            times_ms: order.iter().map(|i| s.times_ms[*i]).collect(),
            kinds: order.iter().map(|i| s.kinds[*i]).collect(),
            bits: order.iter().map(|i| s.bits[*i]).collect(),
        }
    }
}

pub(crate) fn read_head(
    node: &NodeEntry,
    layout: LayoutId,
    cols: &[Option<usize>],
    span: (TimeMs, TimeMs),
    out: &mut [Gather],
) {
    let head = node.head();
    let Some(head) = head.layout(layout) else { return };
    for block in head.frozen.iter().map(Arc::as_ref).chain([&head.open]) {
        let n = block.n_cols();
        for row in 0..block.n_rows() {
            let t = block.times_ms[row];
            if t < span.0 || t >= span.1 {
                continue;
            }
            let kinds = &block.kind_sets[block.row_kind[row] as usize];
            for (col, out) in cols.iter().zip(out.iter_mut()) {
                if let Some(col) = col {
                    out.push(t, kinds[*col], block.bits[row * n + col]);
                }
            }
        }
    }
}
