//! Writing a block.

use super::bytes::put_varint;
use super::column::{ColumnCoder, Kinds};
use super::digest::{DigestCoder, DigestPart};
use super::ints::{self, IntsScratch, Streams};
use super::summary::runs;
use super::summary_code::{self, Clock};
use super::{COLS_MAX, MAGIC, PREFIX_BYTES, ROWS_MAX, VERSION};
use rookery_plugins::TimeMs;
use std::ops::Range;
use std::sync::Arc;

/// A part ends when it has this many bytes before compression, …
const PART_BYTES: usize = 12 << 10;
/// … of a block with more rows than [`STRIP_ROWS`] this many: else a part would
/// be a column or two, and the summaries of a service in many pieces, …
const PART_BYTES_LONG: usize = 64 << 10;
/// … this much noise, …
const PART_NOISE_BYTES: usize = 64 << 10;
/// … of a long block this much, …
const PART_NOISE_BYTES_LONG: usize = 256 << 10;
/// … this many columns, …
const PART_COLS: usize = 64;
/// … or this many bytes of summaries.
const PART_SUMMARY_BYTES: usize = 1 << 20;
/// So many columns are turned from rows at once: two lines of the cache.
const STRIP_COLS: usize = 16;
/// The same, of blocks with more rows than [`STRIP_ROWS`].
const STRIP_COLS_LONG: usize = 4;
const STRIP_ROWS: usize = 4096;
/// Times of fewer bytes are not compressed.
const TIMES_BYTES_PLAIN: usize = 32;

/// Rows of one layout, in order of time, cells row by row.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a> {
    /// Strictly ascending, UTC, ms.
    pub times_ms: &'a [TimeMs],
    /// Cells of a row.
    pub n_cols: usize,
    /// Kinds of all cells of a row; those that rows have in common stand once.
    pub kind_sets: &'a [Arc<[u8]>],
    /// Which of `kind_sets` each row has.
    pub row_kind: &'a [u32],
    /// Bits of the cells, `times_ms.len() * n_cols`.
    pub bits: &'a [u64],
}

/// Turns rows into blocks; keeps its buffers from one to the next.
pub struct Encoder {
    coder: ColumnCoder,
    packer: Packer,
    strip: Vec<u64>,
    kinds: Vec<u8>,
    /// Columns whose cells are not all of one kind.
    mixed: Vec<bool>,
    part: Part,
    directory: Vec<u8>,
    data: Vec<u8>,
    summaries: Vec<u8>,
    digests: DigestCoder,
    n_parts: usize,
}

/// The part that is being filled.
#[derive(Default)]
struct Part {
    n_cols: usize,
    streams: Streams,
    summaries: Vec<u8>,
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::new()
    }
}

impl Encoder {
    /// Without buffers yet.
    pub fn new() -> Encoder {
        Encoder {
            coder: ColumnCoder::default(),
            packer: Packer { zstd: None, buffer: Vec::new() },
            strip: Vec::new(),
            kinds: Vec::new(),
            mixed: Vec::new(),
            part: Part::default(),
            directory: Vec::new(),
            data: Vec::new(),
            summaries: Vec::new(),
            digests: DigestCoder::default(),
            n_parts: 0,
        }
    }

    /// Appends a block of the columns `cols` to `out`, compressed at this level
    /// of zstd.
    ///
    /// # Panics
    /// When the rows are none, more than [`ROWS_MAX`] or not as `Rows` says, or
    /// the columns more than [`COLS_MAX`].
    pub fn encode(&mut self, rows: &Rows<'_>, cols: Range<usize>, level: i32, out: &mut Vec<u8>) {
        let n = rows.times_ms.len();
        assert!((1..=ROWS_MAX).contains(&n) && cols.end <= rows.n_cols, "BUG: rows or columns");
        assert!((1..=COLS_MAX).contains(&cols.len()), "BUG: {} columns", cols.len());
        assert!(rows.bits.len() == n * rows.n_cols && rows.row_kind.len() == n, "BUG: rows");
        self.packer.set_level(level);
        self.n_parts = 0;
        self.directory.clear();
        self.data.clear();
        self.summaries.clear();
        self.digests.start(rows.times_ms, cols.start);
        let first_kinds = self.find_mixed(rows);
        let clock = Clock::new(rows.times_ms);
        let width = if n > STRIP_ROWS { STRIP_COLS_LONG } else { STRIP_COLS };
        for from in cols.clone().step_by(width) {
            let strip = from..cols.end.min(from + width);
            transpose(rows, strip.clone(), &mut self.strip);
            for (i, col) in strip.enumerate() {
                let bits = i * n..(i + 1) * n;
                self.encode_column(rows, &clock, first_kinds[col], col, bits);
            }
        }
        self.finish_part();
        self.put_head(rows, cols, out);
        out.extend_from_slice(&self.summaries);
        out.extend_from_slice(&self.data);
    }

    /// The digests of the block that was encoded last; of short ones there are none.
    pub fn digests(&self) -> &[DigestPart] {
        &self.digests.parts
    }

    /// Fills `mixed`; the kinds of the first row.
    fn find_mixed<'a>(&mut self, rows: &Rows<'a>) -> &'a [u8] {
        let first = &rows.kind_sets[rows.row_kind[0] as usize];
        assert!(first.len() == rows.n_cols, "BUG: {} kinds", first.len());
        self.mixed.clear();
        self.mixed.resize(rows.n_cols, false);
        let mut seen = vec![false; rows.kind_sets.len()];
        seen[rows.row_kind[0] as usize] = true;
        for set in rows.row_kind {
            // Fast path: the kinds of a row before.
            if std::mem::replace(&mut seen[*set as usize], true) {
                continue;
            }
            let kinds = &rows.kind_sets[*set as usize];
            assert!(kinds.len() == rows.n_cols, "BUG: {} kinds", kinds.len());
            let pairs = first.iter().zip(kinds.iter());
            self.mixed.iter_mut().zip(pairs).for_each(|(m, (a, b))| *m |= a != b);
        }
        first
    }

    fn encode_column(
        &mut self,
        rows: &Rows<'_>,
        clock: &Clock<'_>,
        first_kind: u8,
        col: usize,
        bits: Range<usize>,
    ) {
        let bits = &self.strip[bits];
        let kinds = if self.mixed[col] {
            self.kinds.clear();
            let sets = rows.row_kind.iter().map(|set| &rows.kind_sets[*set as usize]);
            self.kinds.extend(sets.map(|set| set[col]));
            Kinds::Each(&self.kinds)
        } else {
            Kinds::All(first_kind)
        };
        let part = &mut self.part;
        let coded = self.coder.encode(kinds, bits, &mut part.streams);
        let (n, whole) = (bits.len(), self.coder.whole());
        summary_code::write(clock, runs(n), (kinds, bits), &coded, whole, &mut part.summaries);
        self.digests.column(clock, (kinds, bits), &coded, whole);
        part.n_cols += 1;
        let is_long = rows.times_ms.len() > STRIP_ROWS;
        let (bytes, noise) = if is_long {
            (PART_BYTES_LONG, PART_NOISE_BYTES_LONG)
        } else {
            (PART_BYTES, PART_NOISE_BYTES)
        };
        let is_full = part.streams.heads.len() + part.streams.planes.len() >= bytes
            || part.streams.noise.len() >= noise
            || part.n_cols >= PART_COLS
            || part.summaries.len() >= PART_SUMMARY_BYTES;
        if is_full {
            self.finish_part();
        }
    }

    fn finish_part(&mut self) {
        let part = &mut self.part;
        if part.n_cols == 0 {
            return;
        }
        self.n_parts += 1;
        self.digests.finish_part(part.n_cols);
        put_varint(&mut self.directory, part.n_cols as u64);
        let streams = &mut part.streams;
        streams.heads.append(&mut streams.planes);
        for (raw, noise, out) in [
            (&mut streams.heads, Some(&mut streams.noise), &mut self.data),
            (&mut part.summaries, None, &mut self.summaries),
        ] {
            let packed = self.packer.pack(raw);
            put_varint(&mut self.directory, raw.len() as u64);
            put_varint(&mut self.directory, packed.len() as u64);
            let from = out.len();
            out.extend_from_slice(packed);
            if let Some(noise) = noise {
                put_varint(&mut self.directory, noise.len() as u64);
                out.append(noise);
            }
            self.directory.extend(crc32fast::hash(&out[from..]).to_le_bytes());
            raw.clear();
        }
        part.n_cols = 0;
    }

    fn put_head(&mut self, rows: &Rows<'_>, cols: Range<usize>, out: &mut Vec<u8>) {
        let mut streams = Streams::default();
        ints::encode(rows.times_ms, &mut IntsScratch::default(), &mut streams);
        let times = [streams.heads, streams.planes, streams.noise].concat();
        let packed =
            if times.len() < TIMES_BYTES_PLAIN { &times } else { self.packer.pack(&times) };
        let start = out.len();
        out.extend_from_slice(MAGIC);
        out.push(VERSION);
        out.resize(start + PREFIX_BYTES, 0);
        let sizes =
            [rows.times_ms.len(), cols.start, cols.len(), self.n_parts, times.len(), packed.len()];
        sizes.iter().for_each(|n| put_varint(out, *n as u64));
        out.extend_from_slice(&self.directory);
        out.extend_from_slice(packed);
        let head = &mut out[start..];
        let len = head.len() as u32;
        head[8..12].copy_from_slice(&len.to_le_bytes());
        let crc = crc32fast::hash(&head[8..]);
        head[4..8].copy_from_slice(&crc.to_le_bytes());
    }
}

/// Turns some columns of rows into columns, one after the other.
fn transpose(rows: &Rows<'_>, cols: Range<usize>, out: &mut Vec<u64>) {
    let n = rows.times_ms.len();
    out.clear();
    out.resize(n * cols.len(), 0);
    for (i, row) in rows.bits.chunks_exact(rows.n_cols).enumerate() {
        for (j, bits) in row[cols.clone()].iter().enumerate() {
            out[j * n + i] = *bits;
        }
    }
}

/// Compresses what gets smaller by it.
struct Packer {
    zstd: Option<(i32, zstd::bulk::Compressor<'static>)>,
    buffer: Vec<u8>,
}

impl Packer {
    fn set_level(&mut self, level: i32) {
        if self.zstd.as_ref().is_some_and(|z| z.0 == level) {
            return;
        }
        // Without memory for it blocks are stored uncompressed.
        self.zstd = zstd::bulk::Compressor::new(level).ok().map(|mut z| {
            let _ = z.include_contentsize(false);
            (level, z)
        });
    }

    /// The compressed bytes, or `raw` itself where that is not longer.
    fn pack<'a>(&'a mut self, raw: &'a [u8]) -> &'a [u8] {
        self.buffer.clear();
        self.buffer.reserve(zstd::zstd_safe::compress_bound(raw.len()));
        let packed = self.zstd.as_mut().map(|z| z.1.compress_to_buffer(raw, &mut self.buffer));
        match packed {
            Some(Ok(len)) if len < raw.len() => &self.buffer[..len],
            _ => raw,
        }
    }
}
