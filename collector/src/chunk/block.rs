//! Reading a block: its head at once, its columns as they are asked for.

use super::bytes::{Cursor, Flaw};
use super::column::ColumnHead;
use super::error::{ChunkError, Section};
use super::ints::{IntsHead, Lens};
use super::summary::{Summary, runs};
use super::summary_code;
use super::{
    COLS_MAX, MAGIC, PART_BYTES_MAX, PREFIX_BYTES, ROWS_MAX, SUMMARIES_BYTES_MAX, VERSION,
};
use rookery_plugins::TimeMs;
use std::cell::RefCell;
use std::ops::Range;

/// So much is read at first; most heads fit.
const FIRST_READ: usize = 2048;

/// Where a block's bytes are.
pub trait ReadAt {
    /// How many there are.
    fn len(&self) -> usize;

    /// Fills `buf` from `offset`; everything asked for is within `len`.
    fn read_at(&self, offset: usize, buf: &mut [u8]) -> Result<(), ChunkError>;

    /// Whether there are none.
    fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl ReadAt for &[u8] {
    fn len(&self) -> usize {
        <[u8]>::len(self)
    }

    fn read_at(&self, offset: usize, buf: &mut [u8]) -> Result<(), ChunkError> {
        let end = offset.saturating_add(buf.len());
        let from = self.get(offset..end).ok_or(ChunkError::Truncated(Section::Head))?;
        buf.copy_from_slice(from);
        Ok(())
    }
}

/// One column, decoded. The buffers are kept from one to the next.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ColumnBuf {
    /// Kind of each row's cell.
    pub kinds: Vec<u8>,
    /// Bits of each row's cell.
    pub bits: Vec<u64>,
    /// Every row has the first one's cell; not all such columns say so.
    pub is_constant: bool,
    pub(super) whole: Vec<i64>,
    pub(super) corrections: Vec<i64>,
}

/// A piece of a block that cannot be read, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The columns that it concerns.
    pub cols: Range<usize>,
    /// Which piece, and what is wrong with it.
    pub error: ChunkError,
}

/// A piece of the block's bytes.
#[derive(Clone, Debug)]
struct Piece {
    offset: usize,
    packed_len: usize,
    raw_len: usize,
    /// So many bytes follow that are not compressed.
    noise_len: usize,
    crc: u32,
}

#[derive(Clone, Debug)]
struct PartEntry {
    cols: Range<usize>,
    data: Piece,
    summaries: Piece,
}

/// A part, decompressed.
struct OpenPart {
    idx: usize,
    /// Heads and planes of its columns.
    raw: Vec<u8>,
    noise: Vec<u8>,
    heads: Vec<ColumnHead>,
    /// Where each column's planes and noise begin.
    starts: Vec<Lens>,
}

/// A sealed block.
pub struct Block<R: ReadAt> {
    reader: R,
    n_rows: usize,
    cols: Range<usize>,
    parts: Vec<PartEntry>,
    /// The coded times, until they are asked for.
    times_raw: Vec<u8>,
    times: Vec<TimeMs>,
    part: Option<OpenPart>,
    summaries: Option<OpenSummaries>,
}

/// The summaries of one part, decompressed.
struct OpenSummaries {
    idx: usize,
    raw: Vec<u8>,
    /// The column that was not read yet, and where its summaries begin.
    next: (usize, usize),
}

fn malformed(section: Section) -> impl Fn(Flaw) -> ChunkError {
    move |why| ChunkError::Malformed(section.clone(), why)
}

impl<R: ReadAt> Block<R> {
    /// Reads and checks the head.
    pub fn open(reader: R) -> Result<Block<R>, ChunkError> {
        let head = read_head(&reader)?;
        parse_head(reader, &head)
    }

    /// How many rows it has.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// The columns of the layout that it holds.
    pub fn cols(&self) -> Range<usize> {
        self.cols.clone()
    }

    /// How many of its bytes are summaries.
    pub fn summary_bytes(&self) -> usize {
        self.parts.iter().map(|p| p.summaries.packed_len).sum()
    }

    /// Time of each row, ms, strictly ascending.
    pub fn times(&mut self) -> Result<&[TimeMs], ChunkError> {
        if self.times.is_empty() {
            self.times =
                decode_times(&self.times_raw, self.n_rows).map_err(malformed(Section::Times))?;
        }
        Ok(&self.times)
    }

    /// Decodes one column.
    pub fn column(&mut self, col: usize, out: &mut ColumnBuf) -> Result<(), ChunkError> {
        let idx = self.part_of(col)?;
        self.open_part(idx)?;
        let cols = &self.parts[idx].cols;
        let Some(part) = &self.part else { return Err(ChunkError::NotABlock) };
        let (i, n) = (col - cols.start, self.n_rows);
        let head = &part.heads[i];
        let (start, len) = (part.starts[i], head.lens(n));
        let planes = &part.raw[start.planes..start.planes + len.planes];
        let noise = &part.noise[start.noise..start.noise + len.noise];
        head.decode(&part.raw, (planes, noise), n, out)
            .map_err(malformed(Section::Data(cols.clone())))
    }

    /// A column's summaries, one for each [`super::SUMMARY_ROWS`] rows, without
    /// reading its samples.
    pub fn summaries(&mut self, col: usize) -> Result<Vec<Summary>, ChunkError> {
        let idx = self.part_of(col)?;
        self.times()?;
        let entry = &self.parts[idx];
        let section = Section::Summaries(entry.cols.clone());
        // Columns that are asked for in order are found where the last ended.
        let at = match self.summaries.take() {
            Some(open) if open.idx == idx && open.next.0 <= col => open,
            Some(open) if open.idx == idx => OpenSummaries { next: (entry.cols.start, 0), ..open },
            _ => {
                let (raw, _) = self.unpack(&entry.summaries, &section)?;
                OpenSummaries { idx, raw, next: (entry.cols.start, 0) }
            }
        };
        let mut out = Vec::new();
        let mut cursor = Cursor::new(&at.raw[at.next.1..]);
        let step_ms = summary_code::step_of(&self.times);
        let mut read = |out| summary_code::read(&mut cursor, runs(self.times.len()), step_ms, out);
        let before = (at.next.0..col).try_for_each(|_| read(None));
        before.and_then(|()| read(Some(&mut out))).map_err(malformed(section))?;
        let next = (col + 1, at.next.1 + cursor.position());
        self.summaries = Some(OpenSummaries { next, ..at });
        Ok(out)
    }

    /// Reads and decodes everything; what is damaged.
    pub fn verify(&mut self) -> Vec<Damage> {
        let mut found = Vec::new();
        if let Err(error) = self.times().map(drop) {
            return vec![Damage { cols: self.cols(), error }];
        }
        let mut buf = ColumnBuf::default();
        for idx in 0..self.parts.len() {
            let cols = self.parts[idx].cols.clone();
            let data = cols.clone().try_for_each(|col| self.column(col, &mut buf));
            let summaries = cols.clone().try_for_each(|col| self.summaries(col).map(drop));
            let errors = [data, summaries].into_iter().filter_map(Result::err);
            found.extend(errors.map(|error| Damage { cols: cols.clone(), error }));
        }
        found
    }

    fn part_of(&self, col: usize) -> Result<usize, ChunkError> {
        if !self.cols.contains(&col) {
            return Err(ChunkError::NoColumn { col, cols: self.cols() });
        }
        Ok(self.parts.partition_point(|p| p.cols.end <= col))
    }

    fn open_part(&mut self, idx: usize) -> Result<(), ChunkError> {
        if self.part.as_ref().is_some_and(|p| p.idx == idx) {
            return Ok(());
        }
        let entry = &self.parts[idx];
        let section = Section::Data(entry.cols.clone());
        let (raw, noise) = self.unpack(&entry.data, &section)?;
        let (heads, starts) = parse_part(&raw, noise.len(), entry.cols.len(), self.n_rows)
            .map_err(malformed(section))?;
        self.part = Some(OpenPart { idx, raw, noise, heads, starts });
        Ok(())
    }

    /// A piece's bytes before compression, and those that never were.
    fn unpack(&self, piece: &Piece, section: &Section) -> Result<(Vec<u8>, Vec<u8>), ChunkError> {
        let len = piece.packed_len + piece.noise_len;
        let end = piece.offset.saturating_add(len);
        if end > self.reader.len() {
            return Err(ChunkError::Truncated(section.clone()));
        }
        let mut packed = vec![0; len];
        self.reader.read_at(piece.offset, &mut packed)?;
        if crc32fast::hash(&packed) != piece.crc {
            return Err(ChunkError::Checksum(section.clone()));
        }
        let noise = packed.split_off(piece.packed_len);
        let raw = decompress(packed, piece.raw_len).map_err(malformed(section.clone()))?;
        Ok((raw, noise))
    }
}

fn parse_part(
    raw: &[u8],
    noise_len: usize,
    n_cols: usize,
    n_rows: usize,
) -> Result<(Vec<ColumnHead>, Vec<Lens>), Flaw> {
    let mut cursor = Cursor::new(raw);
    let heads = (0..n_cols)
        .map(|_| ColumnHead::read(&mut cursor, n_rows))
        .collect::<Result<Vec<ColumnHead>, Flaw>>()?;
    let mut at = Lens { planes: cursor.position(), noise: 0 };
    let mut starts = Vec::with_capacity(n_cols);
    for head in &heads {
        starts.push(at);
        let len = head.lens(n_rows);
        at = Lens { planes: at.planes + len.planes, noise: at.noise + len.noise };
    }
    if at != (Lens { planes: raw.len(), noise: noise_len }) {
        return Err("its columns do not fill it");
    }
    Ok((heads, starts))
}

fn read_head<R: ReadAt>(reader: &R) -> Result<Vec<u8>, ChunkError> {
    let truncated = || ChunkError::Truncated(Section::Head);
    let mut head = vec![0; reader.len().min(FIRST_READ)];
    reader.read_at(0, &mut head)?;
    let (magic, version) = head.split_at_checked(3).ok_or_else(truncated)?;
    if magic != MAGIC {
        return Err(ChunkError::NotABlock);
    }
    match version.first() {
        None => return Err(truncated()),
        Some(&VERSION) => {}
        Some(newer) if *newer > VERSION => return Err(ChunkError::Version(*newer)),
        Some(_) => return Err(ChunkError::NotABlock),
    }
    let mut cursor = Cursor::new(&head[4..]);
    let crc = cursor.u32().map_err(|_| truncated())?;
    let len = cursor.u32().map_err(|_| truncated())? as usize;
    if len < PREFIX_BYTES {
        return Err(ChunkError::Checksum(Section::Head));
    }
    if len > reader.len() {
        return Err(truncated());
    }
    let had = head.len().min(len);
    head.resize(len, 0);
    if had < len {
        reader.read_at(had, &mut head[had..])?;
    }
    if crc32fast::hash(&head[8..]) != crc {
        return Err(ChunkError::Checksum(Section::Head));
    }
    Ok(head)
}

fn parse_head<R: ReadAt>(reader: R, head: &[u8]) -> Result<Block<R>, ChunkError> {
    let err = malformed(Section::Head);
    let mut cursor = Cursor::new(&head[PREFIX_BYTES..]);
    let mut sizes = [0; 6];
    let limits = [ROWS_MAX, COLS_MAX, COLS_MAX, COLS_MAX, ROWS_MAX * 9 + 64, head.len()];
    for (size, limit) in sizes.iter_mut().zip(limits) {
        *size = cursor.size(limit).map_err(&err)?;
    }
    let [n_rows, col_from, n_cols, n_parts, times_raw_len, times_packed_len] = sizes;
    if n_rows == 0 || n_cols == 0 || n_parts > n_cols {
        return Err(err("no rows, no columns or too many parts"));
    }
    let mut parts = Vec::with_capacity(n_parts);
    let mut col = col_from;
    for _ in 0..n_parts {
        let entry = read_entry(&mut cursor, col).map_err(&err)?;
        col = entry.cols.end;
        parts.push(entry);
    }
    if col != col_from + n_cols {
        return Err(err("its parts do not hold its columns"));
    }
    let times = cursor.take(times_packed_len).map_err(&err)?;
    if cursor.position() + PREFIX_BYTES != head.len() {
        return Err(err("more bytes than it needs"));
    }
    let times_raw = decompress(times.to_vec(), times_raw_len).map_err(malformed(Section::Times))?;
    let mut offset = head.len();
    for entry in &mut parts {
        entry.summaries.offset = offset;
        offset += entry.summaries.packed_len;
    }
    for entry in &mut parts {
        entry.data.offset = offset;
        offset += entry.data.packed_len + entry.data.noise_len;
    }
    Ok(Block {
        reader,
        n_rows,
        cols: col_from..col,
        parts,
        times_raw,
        times: Vec::new(),
        part: None,
        summaries: None,
    })
}

fn read_entry(cursor: &mut Cursor<'_>, col: usize) -> Result<PartEntry, Flaw> {
    let n_cols = cursor.size(COLS_MAX)?;
    if n_cols == 0 {
        return Err("a part without columns");
    }
    let mut piece = |max, max_noise| {
        let raw_len = cursor.size(max)?;
        let packed_len = cursor.size(raw_len)?;
        let noise_len = if max_noise > 0 { cursor.size(max_noise)? } else { 0 };
        Ok::<_, Flaw>(Piece { offset: 0, packed_len, raw_len, noise_len, crc: cursor.u32()? })
    };
    let data = piece(PART_BYTES_MAX, PART_BYTES_MAX)?;
    let summaries = piece(SUMMARIES_BYTES_MAX, 0)?;
    Ok(PartEntry { cols: col..col + n_cols, data, summaries })
}

fn decode_times(raw: &[u8], n_rows: usize) -> Result<Vec<TimeMs>, Flaw> {
    let mut cursor = Cursor::new(raw);
    let ints = IntsHead::read(&mut cursor)?;
    let len = ints.lens(n_rows);
    let (planes, noise) = (cursor.take(len.planes)?, cursor.take(len.noise)?);
    let mut times = Vec::new();
    ints.decode(planes, noise, n_rows, &mut times);
    if !times.is_sorted_by(|a, b| a < b) {
        return Err("they do not ascend");
    }
    Ok(times)
}

thread_local! {
    /// To make one is dearer than to use it.
    static ZSTD: RefCell<Option<zstd::bulk::Decompressor<'static>>> = const {
        RefCell::new(None)
    };
}

/// The bytes before compression; as long as before: they were not compressed.
fn decompress(packed: Vec<u8>, raw_len: usize) -> Result<Vec<u8>, Flaw> {
    if packed.len() == raw_len {
        return Ok(packed);
    }
    ZSTD.with_borrow_mut(|zstd| {
        if zstd.is_none() {
            *zstd = zstd::bulk::Decompressor::new().ok();
        }
        let zstd = zstd.as_mut().ok_or("no memory to decompress it")?;
        let mut raw = Vec::with_capacity(raw_len);
        let len = zstd.decompress_to_buffer(&packed, &mut raw).map_err(|_| "zstd refuses it")?;
        if len == raw_len { Ok(raw) } else { Err("it has another length than it should") }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::chunk::{Encoder, Rows};
    use proptest::prelude::*;
    use std::sync::Arc;

    /// A part with every way of coding in it: its bytes, noise, summaries.
    fn part() -> (Vec<u8>, Vec<u8>, Vec<u8>) {
        const N: usize = 50;
        let cell = |i: usize, col: usize| match (col, i % 7) {
            (0, _) => (2, (i * i * 4096) as u64),
            (1, 3) => (1, 0),
            (1, _) => (4, (i as f64 / 8.0).to_bits()),
            (2, _) => (4, (i as f64).sqrt().to_bits()),
            (3, _) => (4, ((0..i).map(|k| k as f64 * 0.1).sum::<f64>() + 0.1).to_bits()),
            (4, 0) => (4, 0.282_000_000_000_000_03f64.to_bits()),
            (4, _) => (4, (i as f64 / 1000.0 + 0.0001).to_bits()),
            (5, _) => (2, (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40),
            _ => (3, u64::MAX - i as u64),
        };
        let cells: Vec<(u8, u64)> = (0..N * 7).map(|i| cell(i / 7, i % 7)).collect();
        let times_ms: Vec<i64> = (0..N as i64).map(|i| i * 10_000 + i % 3).collect();
        let kinds = cells.chunks(7).map(|row| row.iter().map(|c| c.0).collect());
        let rows = Rows {
            times_ms: &times_ms,
            n_cols: 7,
            kind_sets: &kinds.collect::<Vec<Arc<[u8]>>>(),
            row_kind: &(0..N as u32).collect::<Vec<u32>>(),
            bits: &cells.iter().map(|c| c.1).collect::<Vec<u64>>(),
        };
        let mut bytes = Vec::new();
        Encoder::new().encode(&rows, 0..7, 1, &mut bytes);
        let block = Block::open(&bytes[..]).expect("opens");
        let section = Section::Head;
        let (raw, noise) = block.unpack(&block.parts[0].data, &section).expect("data");
        let (sums, _) = block.unpack(&block.parts[0].summaries, &section).expect("summaries");
        (raw, noise, sums)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 4000, ..ProptestConfig::default() })]
        #[test]
        fn forged_parts_do_not_panic(
            flips in proptest::collection::vec((0usize..120, any::<u8>()), 1..4),
            n in prop_oneof![Just(50usize), 1usize..100],
        ) {
            let (mut raw, noise, mut summaries) = part();
            for (at, byte) in flips {
                // The heads come first.
                raw[at] = byte;
                let at = at % summaries.len();
                summaries[at] = byte;
            }
            let mut out = ColumnBuf::default();
            if let Ok((heads, starts)) = parse_part(&raw, noise.len(), 7, n) {
                for (head, from) in heads.iter().zip(starts) {
                    let len = head.lens(n);
                    let planes = &raw[from.planes..from.planes + len.planes];
                    let noise = &noise[from.noise..from.noise + len.noise];
                    if head.decode(&raw, (planes, noise), n, &mut out).is_ok() {
                        prop_assert!(out.kinds.len() == n && out.bits.len() == n);
                        prop_assert!(out.kinds.iter().all(|k| *k <= 4));
                    }
                }
            }
            let mut cursor = Cursor::new(&summaries);
            while summary_code::read(&mut cursor, runs(n), 1, None).is_ok() {}
        }
    }
}
