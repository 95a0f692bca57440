//! Columns of values that were read together.
//!
//! A [`Layout`] says which fields a row holds and in which order; [`Cells`] is
//! one row: a kind and 64 bits for each field, at one time.

use crate::{Kind, Value};
use serde::{Deserialize, Serialize};

/// A field of a node, by service and field name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct FieldKey {
    /// The service's name.
    pub service: String,
    /// The field's name.
    pub field: String,
}

impl FieldKey {
    /// `service`, `field`.
    pub fn new(service: &str, field: &str) -> FieldKey {
        FieldKey { service: service.to_owned(), field: field.to_owned() }
    }
}

/// Names a layout by its content: the same fields in the same order have the
/// same id on every host, in every run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LayoutId(pub u64);

/// The fields of a row, in order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Layout {
    id: LayoutId,
    fields: Vec<FieldKey>,
}

impl Layout {
    /// The layout of these fields; its id is computed here.
    pub fn new(fields: Vec<FieldKey>) -> Layout {
        let id = LayoutId(fnv1a64(&fields));
        Layout { id, fields }
    }

    /// The id that stands for it on the wire.
    pub fn id(&self) -> LayoutId {
        self.id
    }

    /// The fields in the order of a row's cells.
    pub fn fields(&self) -> &[FieldKey] {
        &self.fields
    }

    /// How many cells a row has.
    pub fn len(&self) -> usize {
        self.fields.len()
    }

    /// Whether a row would have no cells.
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }
}

/// FNV-1a, 64 bits, over `service NUL field NUL` of each field. Its constants
/// are part of the wire format. Two layouts of one node that collide are told
/// apart by the collector, which compares the fields when one is announced.
fn fnv1a64(fields: &[FieldKey]) -> u64 {
    let mut hash: u64 = 0xcbf2_9ce4_8422_2325;
    let mut eat = |bytes: &[u8]| {
        for &b in bytes.iter().chain(&[0]) {
            hash = (hash ^ u64::from(b)).wrapping_mul(0x0000_0100_0000_01b3);
        }
    };
    for f in fields {
        eat(f.service.as_bytes());
        eat(f.field.as_bytes());
    }
    hash
}

/// One row: what was read at one time, in a layout's order. Reused from cycle
/// to cycle, so that a sample costs no allocation.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cells {
    kinds: Vec<u8>,
    bits: Vec<u64>,
}

impl Cells {
    /// Nothing yet.
    pub fn new() -> Cells {
        Cells::default()
    }

    /// The next field's value.
    pub fn push(&mut self, value: impl Into<Value>) {
        let value = value.into();
        self.kinds.push(value.kind() as u8);
        self.bits.push(value.bits());
    }

    /// The next field was not read: a gap.
    pub fn push_absent(&mut self) {
        self.kinds.push(Kind::Absent as u8);
        self.bits.push(0);
    }

    /// Forgets the values and keeps the memory.
    pub fn clear(&mut self) {
        self.kinds.clear();
        self.bits.clear();
    }

    /// Drops all cells from position `len` on: what a probe that failed
    /// half-way has pushed.
    pub fn truncate(&mut self, len: usize) {
        self.kinds.truncate(len);
        self.bits.truncate(len);
    }

    /// How many cells there are.
    pub fn len(&self) -> usize {
        self.kinds.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.kinds.is_empty()
    }

    /// The value at `idx`; `None` where absent or out of range.
    pub fn get(&self, idx: usize) -> Option<Value> {
        let kind = Kind::from_u8(*self.kinds.get(idx)?)?;
        Value::from_bits(kind, *self.bits.get(idx)?)
    }

    /// The kinds, as wire numbers.
    pub fn kinds(&self) -> &[u8] {
        &self.kinds
    }

    /// The bits, zero where absent or unknown.
    pub fn bits(&self) -> &[u64] {
        &self.bits
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn layout_ids_depend_on_order_and_names_only() {
        let a = Layout::new(vec![FieldKey::new("cpu", "user"), FieldKey::new("cpu", "idle")]);
        let b = Layout::new(vec![FieldKey::new("cpu", "idle"), FieldKey::new("cpu", "user")]);
        let c = Layout::new(vec![FieldKey::new("cpuu", "ser"), FieldKey::new("cpu", "idle")]);
        assert_ne!(a.id(), b.id());
        assert_ne!(a.id(), c.id());
        assert_eq!(a.id(), Layout::new(a.fields().to_vec()).id());
    }

    #[test]
    fn cells_keep_values() {
        let mut c = Cells::new();
        c.push(7i64);
        c.push_absent();
        c.push(Value::Unknown);
        c.push(1.5);
        assert_eq!(c.get(0), Some(Value::Int(7)));
        assert_eq!(c.get(1), None);
        assert_eq!(c.get(2), Some(Value::Unknown));
        assert_eq!(c.get(3), Some(Value::Float(1.5)));
        assert_eq!(c.get(4), None);
        c.truncate(1);
        assert_eq!(c.len(), 1);
    }
}
