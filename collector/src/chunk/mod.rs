//! Sealed blocks: rows of one layout as exact, small, checked columns.
//!
//! [`Encoder`] turns rows into bytes, [`Block`] reads single columns and their
//! summaries back without touching the rest. Every 64-bit pattern of every
//! kind comes back as it was; damaged bytes give a [`ChunkError`] that names
//! what is damaged. `docs/history-format.md` describes every byte.
//!
//! How a value gets small: [`column`] turns a column's cells into integers
//! (decimals by their power of ten, with corrections where that is off by an
//! ulp) → [`ints`] takes differences and a common divisor, and parts what has a
//! pattern from what is noise → the patterns of some neighbouring columns are
//! one part, compressed by zstd, with the noise as it is beside it.

mod block;
mod bytes;
mod column;
mod decimal;
mod digest;
mod encode;
mod error;
mod ints;
mod summary;
mod summary_code;
#[cfg(test)]
mod tests;

pub use block::{Block, ColumnBuf, Damage, ReadAt};
pub use digest::{DIGEST_MS, Digest, DigestPart, RunTimes, digest_runs};
pub use encode::{Encoder, Rows};
pub use error::{ChunkError, Section};
pub use summary::{Summary, rate, summarise};

/// The format that is written.
pub const VERSION: u8 = 1;
/// How many rows one [`Summary`] speaks of; the last of a block of fewer.
pub const SUMMARY_ROWS: usize = 360;
/// The most rows of a block.
pub const ROWS_MAX: usize = 1 << 20;
/// The most columns of a block.
pub const COLS_MAX: usize = 100_000;

/// The first bytes of every block.
const MAGIC: &[u8; 3] = b"RKB";
/// Magic, version, checksum and length of the head.
const PREFIX_BYTES: usize = 12;
/// The most bytes of a part before compression: [`column`] never writes more
/// than 28 bytes a row, and a part is full long before its last column.
const PART_BYTES_MAX: usize = 32 << 20;
/// The same, of a part's summaries.
const SUMMARIES_BYTES_MAX: usize = 4 << 20;
