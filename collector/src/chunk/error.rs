//! What can be wrong with a block, and with which piece of it.

use std::fmt;
use std::ops::Range;
use thiserror::Error;

/// A piece of a block that has its own checksum, or is part of the head.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Section {
    /// Magic, sizes and directory: nothing of the block can be read.
    Head,
    /// The times of the rows: nothing of the block can be read.
    Times,
    /// The samples of these columns.
    Data(Range<usize>),
    /// The summaries of these columns; their samples may still be whole.
    Summaries(Range<usize>),
}

impl fmt::Display for Section {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Section::Head => f.write_str("head"),
            Section::Times => f.write_str("times"),
            Section::Data(c) => write!(f, "samples of columns {} to {}", c.start, c.end - 1),
            Section::Summaries(c) => {
                write!(f, "summaries of columns {} to {}", c.start, c.end - 1)
            }
        }
    }
}

/// Why a block, or a piece of it, cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
pub enum ChunkError {
    /// The reader below could not give the bytes.
    #[error("reading failed: {0}")]
    Io(String),
    /// It does not begin as a block does.
    #[error("these bytes are no block")]
    NotABlock,
    /// A later release wrote it.
    #[error("block format {0} is newer than this release: upgrade, nothing is damaged")]
    Version(u8),
    /// The bytes end too early.
    #[error("{0}: cut short; take the block from a backup")]
    Truncated(Section),
    /// The bytes are not those that were written.
    #[error("{0}: the checksum differs; take the block from a backup")]
    Checksum(Section),
    /// The checksum is right, but the bytes make no sense.
    #[error("{0}: {1}; a bug or a forgery")]
    Malformed(Section, &'static str),
    /// The caller asked for a column that is not in here.
    #[error("column {col} is not in this block of columns {} to {}", cols.start, cols.end)]
    NoColumn {
        /// The one asked for.
        col: usize,
        /// Those that are here.
        cols: Range<usize>,
    },
}

impl ChunkError {
    /// The piece of the block that it concerns, where it is one.
    pub fn section(&self) -> Option<&Section> {
        match self {
            ChunkError::Truncated(s) | ChunkError::Checksum(s) | ChunkError::Malformed(s, _) => {
                Some(s)
            }
            _ => None,
        }
    }
}
