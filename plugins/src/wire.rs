//! The wire format: what an agent POSTs to `/api/v1/ingest` with
//! `Content-Type: application/x-rookery-batch`, and what stands in the
//! collector's journal and in the agent's spool.
//!
//! All integers are little-endian; `varint` is LEB128 of a `u64`; `str` is a
//! varint length and UTF-8.
//!
//! ```text
//! frame   = "RKB1" u32:crc32 body        crc32 (IEEE) of body
//! body    = str:node u64:boot u64:sequence section*
//! section = u8:tag u32:length payload
//! tag 1   announce: JSON, {"group":G?,"services":[ServiceSpec…]}
//! tag 2   layout:   varint:n (str:service str:field)*n
//! tag 3   row:      u64:layout i64:time_ms varint:n kinds cells
//! kinds   = (u8:kind varint:run)*        until the runs add up to n
//! cells   = u64*n                        zero where absent or unknown
//! ```
//!
//! A reader skips a section whose tag it does not know. Every cell takes eight
//! bytes whatever its kind, so that a row is copied, not decoded.
//!
//! `boot` names one life of an agent's sequence (its start in ms), `sequence`
//! counts frames in it from 1. A frame with the same node, boot and sequence
//! is the same frame: sending it twice changes nothing.

use crate::batch::{Cells, FieldKey, Layout, LayoutId};
use crate::names;
use crate::{Kind, ServiceSpec, TimeMs};
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// The content type of a frame.
pub const CONTENT_TYPE: &str = "application/x-rookery-batch";
/// The first bytes of a frame.
pub const MAGIC: &[u8; 4] = b"RKB1";
/// The largest frame, bytes. A larger POST is answered 413.
pub const FRAME_BYTES_MAX: usize = 16 << 20;
/// The most fields of a layout.
pub const LAYOUT_FIELDS_MAX: usize = 100_000;

const TAG_ANNOUNCE: u8 = 1;
const TAG_LAYOUT: u8 = 2;
const TAG_ROW: u8 = 3;
const HEADER_BYTES: usize = 8;

/// Why bytes are not a frame.
#[derive(Debug, Error, PartialEq, Eq)]
pub enum WireError {
    /// Ends inside of something: a torn tail, or more is to come.
    #[error("the frame ends early, inside its {0}")]
    Short(&'static str),
    /// Not a frame at all.
    #[error("not a Rookery frame: it does not begin with RKB1")]
    Magic,
    /// Damaged on its way or on disk.
    #[error("the frame's checksum is {found:08x}, not {expected:08x}: it was damaged")]
    Checksum {
        /// The checksum in the header.
        expected: u32,
        /// That of the body.
        found: u32,
    },
    /// Well-formed by its checksum, but not by the format.
    #[error("malformed frame: {0}")]
    Malformed(String),
}

/// What an agent says of its services when they are new or have changed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Announce {
    /// The node's group; empty: by its name, see [`names::split_node`].
    #[serde(skip_serializing_if = "String::is_empty")]
    pub group: String,
    /// The services that are new or changed, whole. Others stay as they are.
    pub services: Vec<ServiceSpec>,
    /// Services that are gone: they keep their history and are no longer
    /// expected to report.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub gone: Vec<String>,
}

/// Builds a frame. Reuse it: [`FrameWriter::start`] keeps the memory.
#[derive(Debug, Default)]
pub struct FrameWriter {
    buf: Vec<u8>,
}

impl FrameWriter {
    /// Begins a frame; drops what was not finished.
    pub fn start(&mut self, node: &str, boot: u64, sequence: u64) {
        self.buf.clear();
        self.buf.extend_from_slice(MAGIC);
        self.buf.extend_from_slice(&[0; 4]);
        put_str(&mut self.buf, node);
        self.buf.extend_from_slice(&boot.to_le_bytes());
        self.buf.extend_from_slice(&sequence.to_le_bytes());
    }

    /// Adds what the node says of its services.
    pub fn announce(&mut self, announce: &Announce) {
        let json = serde_json::to_vec(announce).unwrap_or_default();
        self.section(TAG_ANNOUNCE, |buf| buf.extend_from_slice(&json));
    }

    /// Defines a layout; rows of this and later frames may use its id.
    pub fn layout(&mut self, layout: &Layout) {
        self.section(TAG_LAYOUT, |buf| {
            put_varint(buf, layout.len() as u64);
            for f in layout.fields() {
                put_str(buf, &f.service);
                put_str(buf, &f.field);
            }
        });
    }

    /// Adds a row. `cells` has as many cells as the layout has fields.
    pub fn row(&mut self, layout: LayoutId, time_ms: TimeMs, cells: &Cells) {
        self.section(TAG_ROW, |buf| {
            buf.extend_from_slice(&layout.0.to_le_bytes());
            buf.extend_from_slice(&time_ms.to_le_bytes());
            put_varint(buf, cells.len() as u64);
            for run in cells.kinds().chunk_by(|a, b| a == b) {
                buf.push(run[0]);
                put_varint(buf, run.len() as u64);
            }
            for bits in cells.bits() {
                buf.extend_from_slice(&bits.to_le_bytes());
            }
        });
    }

    /// Ends the frame: its bytes, ready to be sent.
    pub fn finish(&mut self) -> &[u8] {
        let crc = crc32fast::hash(&self.buf[HEADER_BYTES..]);
        self.buf[4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
        &self.buf
    }

    /// The bytes so far.
    pub fn len(&self) -> usize {
        self.buf.len()
    }

    /// Whether nothing was started.
    pub fn is_empty(&self) -> bool {
        self.buf.is_empty()
    }

    fn section(&mut self, tag: u8, fill: impl FnOnce(&mut Vec<u8>)) {
        self.buf.push(tag);
        let at = self.buf.len();
        self.buf.extend_from_slice(&[0; 4]);
        fill(&mut self.buf);
        let len = (self.buf.len() - at - 4) as u32;
        self.buf[at..at + 4].copy_from_slice(&len.to_le_bytes());
    }
}

/// A frame that was checked, over the bytes it came in.
#[derive(Debug)]
pub struct Frame<'a> {
    /// Who sent it.
    pub node: &'a str,
    /// The life of the sequence, ms since the epoch.
    pub boot: u64,
    /// Counts the frames of that life from 1.
    pub sequence: u64,
    /// New and changed services.
    pub announce: Option<Announce>,
    /// Layouts defined here.
    pub layouts: Vec<Layout>,
    /// The rows, in order.
    pub rows: Vec<Row<'a>>,
}

/// One row of a frame.
#[derive(Clone, Copy, Debug)]
pub struct Row<'a> {
    /// What its cells are.
    pub layout: LayoutId,
    /// When they were read.
    pub time_ms: TimeMs,
    /// How many cells.
    pub n: usize,
    kinds: &'a [u8],
    cells: &'a [u8],
}

impl<'a> Row<'a> {
    /// The runs of kinds as they stand on the wire: equal bytes mean equal
    /// kinds, which a reader of many rows uses to skip the work.
    pub fn kind_runs(&self) -> &'a [u8] {
        self.kinds
    }

    /// The cells, eight little-endian bytes each.
    pub fn cell_bytes(&self) -> &'a [u8] {
        self.cells
    }

    /// Writes the kind of each cell to `out`, which is cleared first.
    pub fn expand_kinds(&self, out: &mut Vec<u8>) {
        out.clear();
        let mut reader = Reader { bytes: self.kinds };
        while let (Ok(kind), Ok(run)) = (reader.u8("kinds"), reader.varint("kinds")) {
            out.resize(out.len() + run as usize, kind);
        }
    }

    /// Appends the bits of all cells to `out`.
    pub fn append_bits(&self, out: &mut Vec<u64>) {
        out.extend(self.cells.as_chunks::<8>().0.iter().map(|c| u64::from_le_bytes(*c)));
    }
}

impl<'a> Frame<'a> {
    /// Checks and reads a frame. Every length is checked before it is used;
    /// the rows point into `bytes`.
    pub fn parse(bytes: &'a [u8]) -> Result<Frame<'a>, WireError> {
        let body = checked_body(bytes)?;
        let mut reader = Reader { bytes: body };
        let node = reader.str("node's name")?;
        if !names::is_valid(node) {
            return Err(WireError::Malformed(format!("bad node name {node:?}")));
        }
        let boot = reader.u64("boot")?;
        let sequence = reader.u64("sequence")?;
        let mut frame =
            Frame { node, boot, sequence, announce: None, layouts: vec![], rows: vec![] };
        while !reader.bytes.is_empty() {
            let tag = reader.u8("section's tag")?;
            let len = reader.u32("section's length")? as usize;
            let payload = reader.take(len, "section")?;
            match tag {
                TAG_ANNOUNCE => frame.announce = Some(parse_announce(payload)?),
                TAG_LAYOUT => frame.layouts.push(parse_layout(payload)?),
                TAG_ROW => frame.rows.push(parse_row(payload)?),
                _ => {}
            }
        }
        Ok(frame)
    }
}

/// The frame without the rows that `keep` does not want, with a checksum of its own;
/// `None`: all were wanted. What else the frame says stays as it is, sections of unknown
/// tags too.
pub fn keep_rows(
    bytes: &[u8],
    mut keep: impl FnMut(&Row<'_>) -> bool,
) -> Result<Option<Vec<u8>>, WireError> {
    let mut reader = Reader { bytes: checked_body(bytes)? };
    reader.str("node's name")?;
    reader.u64("boot")?;
    reader.u64("sequence")?;
    let mut kept = bytes[..bytes.len() - reader.bytes.len()].to_vec();
    let mut is_whole = true;
    while !reader.bytes.is_empty() {
        let before = reader.bytes;
        let tag = reader.u8("section's tag")?;
        let len = reader.u32("section's length")? as usize;
        let payload = reader.take(len, "section")?;
        if tag == TAG_ROW && !keep(&parse_row(payload)?) {
            is_whole = false;
            continue;
        }
        kept.extend_from_slice(&before[..before.len() - reader.bytes.len()]);
    }
    if is_whole {
        return Ok(None);
    }
    let crc = crc32fast::hash(&kept[HEADER_BYTES..]);
    kept[4..HEADER_BYTES].copy_from_slice(&crc.to_le_bytes());
    Ok(Some(kept))
}

/// Checks magic and checksum only; the body. For a reader that has parsed the
/// frame before.
pub fn checked_body(bytes: &[u8]) -> Result<&[u8], WireError> {
    let header = bytes.get(..HEADER_BYTES).ok_or(WireError::Short("header"))?;
    if &header[..4] != MAGIC {
        return Err(WireError::Magic);
    }
    let expected = u32::from_le_bytes([header[4], header[5], header[6], header[7]]);
    let body = &bytes[HEADER_BYTES..];
    let found = crc32fast::hash(body);
    if found != expected {
        return Err(WireError::Checksum { expected, found });
    }
    Ok(body)
}

fn parse_announce(payload: &[u8]) -> Result<Announce, WireError> {
    let announce: Announce = serde_json::from_slice(payload)
        .map_err(|e| WireError::Malformed(format!("announcement: {e}")))?;
    for s in &announce.services {
        let bad = [&s.name].into_iter().chain(s.fields.iter().map(|f| &f.name));
        if let Some(name) = bad.into_iter().find(|n| !names::is_valid(n)) {
            return Err(WireError::Malformed(format!("announcement: bad name {name:?}")));
        }
    }
    Ok(announce)
}

fn parse_layout(payload: &[u8]) -> Result<Layout, WireError> {
    let mut reader = Reader { bytes: payload };
    let n = reader.varint("layout")? as usize;
    if n == 0 || n > LAYOUT_FIELDS_MAX {
        return Err(WireError::Malformed(format!(
            "a layout of {n} fields (1 to {LAYOUT_FIELDS_MAX} are allowed)"
        )));
    }
    let mut fields = Vec::with_capacity(n.min(payload.len()));
    for _ in 0..n {
        let service = reader.str("layout")?;
        let field = reader.str("layout")?;
        for name in [service, field] {
            if !names::is_valid(name) {
                return Err(WireError::Malformed(format!("layout: bad name {name:?}")));
            }
        }
        fields.push(FieldKey::new(service, field));
    }
    Ok(Layout::new(fields))
}

fn parse_row(payload: &[u8]) -> Result<Row<'_>, WireError> {
    let mut reader = Reader { bytes: payload };
    let layout = LayoutId(reader.u64("row")?);
    let time_ms = reader.u64("row")? as i64;
    let n = reader.varint("row")? as usize;
    if n == 0 || n > LAYOUT_FIELDS_MAX {
        return Err(WireError::Malformed(format!("a row of {n} cells")));
    }
    let start = reader.bytes;
    let mut left = n;
    while left > 0 {
        let kind = reader.u8("row's kinds")?;
        let run = reader.varint("row's kinds")? as usize;
        if Kind::from_u8(kind).is_none() || run == 0 || run > left {
            return Err(WireError::Malformed(format!("a run of {run} cells of kind {kind}")));
        }
        left -= run;
    }
    let kinds = &start[..start.len() - reader.bytes.len()];
    let cells = reader.take(n * 8, "row's cells")?;
    if !reader.bytes.is_empty() {
        return Err(WireError::Malformed(format!("{} bytes after a row", reader.bytes.len())));
    }
    Ok(Row { layout, time_ms, n, kinds, cells })
}

fn put_varint(buf: &mut Vec<u8>, mut v: u64) {
    while v >= 0x80 {
        buf.push(v as u8 | 0x80);
        v >>= 7;
    }
    buf.push(v as u8);
}

fn put_str(buf: &mut Vec<u8>, text: &str) {
    put_varint(buf, text.len() as u64);
    buf.extend_from_slice(text.as_bytes());
}

struct Reader<'a> {
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, n: usize, what: &'static str) -> Result<&'a [u8], WireError> {
        let (head, tail) = self.bytes.split_at_checked(n).ok_or(WireError::Short(what))?;
        self.bytes = tail;
        Ok(head)
    }

    fn u8(&mut self, what: &'static str) -> Result<u8, WireError> {
        Ok(self.take(1, what)?[0])
    }

    fn u32(&mut self, what: &'static str) -> Result<u32, WireError> {
        let b = self.take(4, what)?;
        Ok(u32::from_le_bytes([b[0], b[1], b[2], b[3]]))
    }

    fn u64(&mut self, what: &'static str) -> Result<u64, WireError> {
        let mut b = [0; 8];
        b.copy_from_slice(self.take(8, what)?);
        Ok(u64::from_le_bytes(b))
    }

    fn varint(&mut self, what: &'static str) -> Result<u64, WireError> {
        let mut v = 0u64;
        for shift in (0..64).step_by(7) {
            let byte = self.u8(what)?;
            v |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(v);
            }
        }
        Err(WireError::Malformed(format!("{what}: a number of more than 64 bits")))
    }

    fn str(&mut self, what: &'static str) -> Result<&'a str, WireError> {
        let len = self.varint(what)?;
        let len = usize::try_from(len).map_err(|_| WireError::Short(what))?;
        std::str::from_utf8(self.take(len, what)?)
            .map_err(|_| WireError::Malformed(format!("{what}: not UTF-8")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use proptest::prelude::*;

    fn sample(cells: &Cells) -> (Vec<u8>, Layout) {
        let fields = (0..cells.len()).map(|i| FieldKey::new("svc", &format!("f{i}"))).collect();
        let layout = Layout::new(fields);
        let mut w = FrameWriter::default();
        w.start("web;www1", 7, 9);
        w.announce(&Announce {
            services: vec![ServiceSpec::new("svc", "A service", "other")],
            ..Announce::default()
        });
        w.layout(&layout);
        w.row(layout.id(), -12_345, cells);
        (w.finish().to_vec(), layout)
    }

    fn cells() -> impl Strategy<Value = Cells> {
        proptest::collection::vec((0u8..5, any::<u64>()), 1..40).prop_map(|list| {
            let mut cells = Cells::new();
            for (kind, bits) in list {
                match Kind::from_u8(kind).and_then(|k| Value::from_bits(k, bits)) {
                    Some(v) => cells.push(v),
                    None => cells.push_absent(),
                }
            }
            cells
        })
    }

    #[test]
    fn rows_that_are_not_wanted_go_and_the_rest_stays() {
        let layout = Layout::new(vec![FieldKey::new("svc", "f")]);
        let mut cells = Cells::new();
        cells.push(Value::Int(7));
        let mut w = FrameWriter::default();
        w.start("n", 1, 2);
        w.layout(&layout);
        for time_ms in [1, -5, 2, 1 << 62] {
            w.row(layout.id(), time_ms, &cells);
        }
        w.section(9, |buf| buf.extend_from_slice(b"of a later program"));
        let bytes = w.finish().to_vec();
        assert_eq!(keep_rows(&bytes, |_| true), Ok(None));
        let kept = keep_rows(&bytes, |r| (0..100).contains(&r.time_ms));
        let kept = kept.expect("a frame").expect("without some");
        let frame = Frame::parse(&kept).expect("parses");
        assert_eq!((frame.node, frame.boot, frame.sequence), ("n", 1, 2));
        assert_eq!(frame.layouts, [layout]);
        assert_eq!(frame.rows.iter().map(|r| r.time_ms).collect::<Vec<_>>(), [1, 2]);
        assert!(kept.ends_with(b"of a later program"));
    }

    proptest! {
        #[test]
        fn every_row_comes_back(cells in cells()) {
            let (bytes, layout) = sample(&cells);
            let frame = Frame::parse(&bytes).expect("parses");
            prop_assert_eq!((frame.node, frame.boot, frame.sequence), ("web;www1", 7, 9));
            prop_assert_eq!(&frame.layouts, &[layout]);
            let row = frame.rows[0];
            prop_assert_eq!(row.time_ms, -12_345);
            let (mut kinds, mut bits) = (vec![], vec![]);
            row.expand_kinds(&mut kinds);
            row.append_bits(&mut bits);
            prop_assert_eq!(kinds, cells.kinds());
            prop_assert_eq!(bits, cells.bits());
        }

        #[test]
        fn every_prefix_and_every_flip_is_an_error(cells in cells(), at: prop::sample::Index) {
            let (mut bytes, _) = sample(&cells);
            let cut = at.index(bytes.len());
            prop_assert!(Frame::parse(&bytes[..cut]).is_err());
            bytes[cut] ^= 0x10;
            prop_assert!(Frame::parse(&bytes).is_err());
        }

        #[test]
        fn no_body_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            let mut bytes = MAGIC.to_vec();
            bytes.extend(crc32fast::hash(&body).to_le_bytes());
            bytes.extend(body);
            let _ = Frame::parse(&bytes);
        }
    }
}
