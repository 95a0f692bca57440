//! Batches on disk, while the collector is away.
//!
//! ```text
//! DIR/lock                  held for the agent's life: one agent, one spool
//! DIR/position              u64:segment u64:offset u32:crc32 of the 16 bytes
//! DIR/0000000000000001.seg  record*
//! record = u32:length frame the frame's own crc32 guards it; all little-endian
//! ```
//!
//! Who writes: the shipper's task alone. A batch comes here as soon as one
//! attempt to ship it has failed, and at a stop; while the collector answers
//! nothing is written. [`Spool::append`] `write`s a record: it outlives a kill
//! -9. [`Spool::sync`] `fdatasync`s all that were written since the last one:
//! then they outlive a power cut too.
//!
//! Each segment explains itself: its first frame of each node announces every service and
//! every layout used later is defined in it before, so that a collector that
//! knows nothing can be answered from the segment alone. A new life of the
//! agent begins a new segment.
//!
//! Who deletes: [`Spool::ack`], a segment when all in it was acknowledged; and
//! [`Spool::append`], the OLDEST segment when the total would pass the limit,
//! with a warning and a counter. Segments are 1/8 of the limit, 4 MiB at most.
//!
//! The position is written (not synced) at each acknowledgement; a lost one
//! costs a resend, which the collector recognises. After a failed sync nobody
//! knows what is on disk: what was appended since the last good one does not
//! count as kept, and the segment is not written any more. At start a torn tail is cut
//! off the last segment, and anything that is no record is skipped, counted
//! and logged: a damaged spool never stops the agent.

mod segment;

use crate::outbox::{Batch, Explain, Learnt};
use rookery_plugins::LayoutId;
use rookery_plugins::wire::{Frame, FrameWriter, WireError};
use segment::{Record, Segment};
use std::collections::{HashSet, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use thiserror::Error;

/// The largest segment, bytes.
pub const SEGMENT_BYTES_MAX: u64 = 4 << 20;
/// So many segments fit the limit.
const SEGMENTS_OF_LIMIT: u64 = 8;
const POSITION_BYTES: usize = 20;

/// Why there is no spool.
#[derive(Debug, Error)]
pub enum SpoolError {
    /// Another process holds it.
    #[error("spool {0}: another agent uses it; give this one its own `spool` folder")]
    Busy(PathBuf),
    /// The folder cannot be used.
    #[error("spool {dir}: {error}; make it writable or set `spool` to another folder")]
    Io {
        /// The folder.
        dir: PathBuf,
        /// What the system said.
        error: io::Error,
    },
}

/// The spool.
#[derive(Debug)]
pub struct Spool {
    dir: PathBuf,
    bytes_max: u64,
    segment_bytes: u64,
    _lock: File,
    position_file: File,
    /// Oldest first; the reader stands in the first one.
    segments: VecDeque<Segment>,
    /// Where the next unacknowledged record begins, in the first segment.
    offset: u64,
    index_next: u64,
    /// The last segment, if this life of the agent has begun it.
    writer: Option<Writer>,
    /// What the first segment has explained up to `offset`, once it was asked.
    learnt: Option<(u64, u64, Learnt)>,
    boot_max: u64,
    bytes_dropped: u64,
    n_damaged: u64,
    n_appended: u64,
    n_safe: u64,
}

#[derive(Debug)]
struct Writer {
    file: File,
    /// So many bytes were synced.
    synced: u64,
    layouts: HashSet<LayoutId>,
    /// The nodes that a frame of this segment has explained.
    nodes: HashSet<String>,
}

impl Spool {
    /// Opens the folder, makes it if need be, and mends what a crash left.
    pub fn open(dir: &Path, bytes_max: u64) -> Result<Spool, SpoolError> {
        let fail = |error| SpoolError::Io { dir: dir.to_owned(), error };
        std::fs::create_dir_all(dir).map_err(fail)?;
        sync_parent(dir).map_err(fail)?;
        let lock = open_file(&dir.join("lock")).map_err(fail)?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(std::fs::TryLockError::WouldBlock) => return Err(SpoolError::Busy(dir.to_owned())),
            Err(std::fs::TryLockError::Error(error)) => return Err(fail(error)),
        }
        let position_file = open_file(&dir.join("position")).map_err(fail)?;
        let mut spool = Spool {
            dir: dir.to_owned(),
            bytes_max,
            segment_bytes: (bytes_max / SEGMENTS_OF_LIMIT).clamp(1, SEGMENT_BYTES_MAX),
            _lock: lock,
            position_file,
            segments: VecDeque::new(),
            offset: 0,
            index_next: 1,
            writer: None,
            learnt: None,
            boot_max: 0,
            bytes_dropped: 0,
            n_damaged: 0,
            n_appended: 0,
            n_safe: 0,
        };
        spool.recover().map_err(fail)?;
        Ok(spool)
    }

    fn recover(&mut self) -> io::Result<()> {
        let (at_segment, at_offset) = self.read_position();
        let mut segments = segment::list(&self.dir)?;
        if let Some(last) = segments.last_mut() {
            let mended = last.mend()?;
            self.boot_max = mended.boot_max;
            if mended.bytes_cut > 0 {
                tracing::warn!(
                    segment = %last.path.display(),
                    bytes = mended.bytes_cut,
                    "the spool's last write was torn; its tail was cut off"
                );
            }
        }
        self.index_next = 1 + segments.last().map_or(0, |s| s.index).max(at_segment);
        for segment in segments {
            let done = segment.index < at_segment
                || (segment.index == at_segment && segment.bytes <= at_offset);
            if done || segment.bytes == 0 {
                std::fs::remove_file(&segment.path)?;
            } else {
                self.segments.push_back(segment);
            }
        }
        if self.segments.front().is_some_and(|s| s.index == at_segment) {
            self.offset = at_offset;
        }
        Ok(())
    }

    fn read_position(&self) -> (u64, u64) {
        let mut buf = [0; POSITION_BYTES];
        if self.position_file.read_exact_at(&mut buf, 0).is_err() {
            return (0, 0);
        }
        let u64_at = |i: usize| buf[i..i + 8].iter().rev().fold(0, |v, b| (v << 8) | u64::from(*b));
        let crc = crc32fast::hash(&buf[..16]).to_le_bytes();
        if crc != buf[16..] { (0, 0) } else { (u64_at(0), u64_at(8)) }
    }

    fn write_position(&self, segment: u64, offset: u64) {
        let mut buf = [0; POSITION_BYTES];
        buf[..8].copy_from_slice(&segment.to_le_bytes());
        buf[8..16].copy_from_slice(&offset.to_le_bytes());
        let crc = crc32fast::hash(&buf[..16]);
        buf[16..].copy_from_slice(&crc.to_le_bytes());
        if let Err(error) = self.position_file.write_all_at(&buf, 0) {
            // It costs no more than a resend after the next start.
            tracing::debug!(%error, "the spool's position was not written");
        }
    }

    /// Its folder.
    pub fn dir(&self) -> &Path {
        &self.dir
    }

    /// Whether everything was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.segments.is_empty()
    }

    /// Bytes on disk.
    pub fn bytes(&self) -> u64 {
        self.segments.iter().map(|s| s.bytes).sum()
    }

    /// Bytes that were dropped to stay below the limit, since the start.
    pub fn bytes_dropped(&self) -> u64 {
        self.bytes_dropped
    }

    /// Records that were damaged and skipped, since the start.
    pub fn n_damaged(&self) -> u64 {
        self.n_damaged
    }

    /// The latest life of an agent that wrote here, ms; 0: unknown. A new life
    /// takes a later one, even if the clock went back.
    pub fn boot_max(&self) -> u64 {
        self.boot_max
    }

    /// Keeps a batch; on disk for sure after the next [`Spool::sync`].
    pub fn append(
        &mut self,
        batch: &Batch,
        node: &str,
        group: &str,
        frame: &mut FrameWriter,
    ) -> io::Result<()> {
        if self.segments.back().is_some_and(|s| s.bytes >= self.segment_bytes) {
            self.sync()?;
            self.writer = None;
        }
        let name = batch.node_name(node);
        let known = self.writer.as_ref().filter(|w| w.nodes.contains(name));
        let known = known.map(|w| Explain::Known(&w.layouts));
        let bytes = batch.encode(node, group, known.unwrap_or(Explain::All), frame);
        self.make_room(bytes.len() as u64 + 4);
        if self.writer.is_none() {
            self.begin_segment()?;
        }
        let (Some(writer), Some(segment)) = (&mut self.writer, self.segments.back_mut()) else {
            return Err(io::Error::other("the spool has no segment to write to"));
        };
        let mut record = Vec::with_capacity(bytes.len() + 4);
        record.extend_from_slice(&(bytes.len() as u32).to_le_bytes());
        record.extend_from_slice(bytes);
        match writer.file.write_all(&record) {
            Ok(()) => {
                segment.bytes += record.len() as u64;
                writer.layouts.extend(batch.layouts().iter().map(|l| l.id()));
                if !writer.nodes.contains(name) {
                    writer.nodes.insert(name.to_owned());
                }
                self.boot_max = self.boot_max.max(batch.boot);
                self.n_appended += 1;
                Ok(())
            }
            Err(error) => {
                // No half record may stand before the next one.
                let cut = writer.file.set_len(segment.bytes);
                if cut.is_err() || segment.bytes == 0 {
                    self.distrust();
                }
                Err(error)
            }
        }
    }

    /// Waits until all that was appended is on disk. After an error nothing
    /// that was appended since the last good one is kept.
    pub fn sync(&mut self) -> io::Result<()> {
        if let (Some(writer), Some(segment)) = (&mut self.writer, self.segments.back())
            && writer.synced < segment.bytes
        {
            if let Err(error) = writer.file.sync_data() {
                self.distrust();
                return Err(error);
            }
            writer.synced = segment.bytes;
        }
        self.n_safe = self.n_appended;
        Ok(())
    }

    /// How many batches were appended and synced, since the start.
    pub fn n_safe(&self) -> u64 {
        self.n_safe
    }

    fn begin_segment(&mut self) -> io::Result<()> {
        let path = segment::path(&self.dir, self.index_next);
        let file = OpenOptions::new().create(true).append(true).mode(0o640).open(&path)?;
        File::open(&self.dir)?.sync_all()?;
        self.segments.push_back(Segment { index: self.index_next, path, bytes: 0 });
        self.index_next += 1;
        self.writer =
            Some(Writer { file, synced: 0, layouts: HashSet::new(), nodes: HashSet::new() });
        Ok(())
    }

    /// Ends the segment where it was synced last: another fsync of the same
    /// file would not bring to disk what this one could not. If the file keeps
    /// the rest all the same it comes twice, which the collector recognises.
    fn distrust(&mut self) {
        let Some(writer) = self.writer.take() else { return };
        self.n_appended = self.n_safe;
        let is_front = self.segments.len() == 1;
        let Some(segment) = self.segments.back_mut() else { return };
        if let Err(error) = writer.file.set_len(writer.synced) {
            tracing::debug!(segment = %segment.path.display(), %error, "not cut");
        }
        segment.bytes = writer.synced;
        if is_front {
            self.offset = self.offset.min(writer.synced);
        }
        if let Some(empty) = self.segments.pop_back_if(|s| s.bytes == 0) {
            // An empty one is removed at the next start.
            let _ = std::fs::remove_file(&empty.path);
        }
    }

    fn make_room(&mut self, bytes: u64) {
        while self.segments.len() > 1 && self.bytes() + bytes > self.bytes_max {
            let Some(oldest) = self.segments.pop_front() else { return };
            let lost = oldest.bytes.saturating_sub(self.offset);
            self.bytes_dropped += lost;
            tracing::warn!(
                segment = %oldest.path.display(),
                bytes = lost,
                limit = self.bytes_max,
                "the spool is full: its oldest samples were dropped; \
                 raise spool_bytes_max or bring the collector back"
            );
            self.remove(&oldest);
            self.offset = 0;
        }
    }

    fn remove(&mut self, segment: &Segment) {
        if let Err(error) = std::fs::remove_file(&segment.path) {
            tracing::warn!(segment = %segment.path.display(), %error, "not removed");
        }
        self.learnt = None;
        let first = self.segments.front().map_or(segment.index + 1, |s| s.index);
        self.write_position(first, 0);
    }

    /// The oldest frame that was not acknowledged. Damaged ones are skipped.
    pub fn peek(&mut self) -> io::Result<Option<Vec<u8>>> {
        while let Some(segment) = self.segments.front() {
            match segment.record_at(self.offset)? {
                Record::Frame(bytes) => return Ok(Some(bytes)),
                Record::End => self.finish_segment(),
                Record::Damaged { next, why } => {
                    self.n_damaged += 1;
                    tracing::error!(
                        segment = %segment.path.display(),
                        offset = self.offset,
                        %why,
                        "a damaged record in the spool was skipped"
                    );
                    self.offset = next;
                }
            }
        }
        Ok(None)
    }

    /// The frame of the last [`Spool::peek`] is durable at the collector, or
    /// was refused for good: forgets it.
    pub fn ack(&mut self, frame_bytes: usize) {
        self.offset += frame_bytes as u64 + 4;
        let Some(segment) = self.segments.front() else { return };
        if self.offset >= segment.bytes {
            self.finish_segment();
        } else {
            self.write_position(segment.index, self.offset);
        }
    }

    fn finish_segment(&mut self) {
        if let Some(done) = self.segments.pop_front() {
            if self.segments.is_empty() {
                self.writer = None;
            }
            self.offset = 0;
            self.remove(&done);
        }
    }

    /// The frame of the last [`Spool::peek`], explaining everything.
    pub fn explain(
        &mut self,
        frame: &[u8],
        writer: &mut FrameWriter,
    ) -> Result<Vec<u8>, WireError> {
        let Some(segment) = self.segments.front() else {
            return Err(WireError::Short("spool"));
        };
        let (mut at, mut learnt) = match self.learnt.take() {
            Some((index, at, learnt)) if index == segment.index => (at, learnt),
            _ => (0, Learnt::default()),
        };
        while at <= self.offset {
            match segment.record_at(at) {
                Ok(Record::Frame(bytes)) => {
                    if let Ok(frame) = Frame::parse(&bytes) {
                        learnt.learn(&frame);
                    }
                    at += bytes.len() as u64 + 4;
                }
                Ok(Record::Damaged { next, .. }) => at = next,
                Ok(Record::End) | Err(_) => break,
            }
        }
        let explained = learnt.explain(frame, writer);
        self.learnt = Some((segment.index, at, learnt));
        explained
    }
}

/// Brings to disk that the folder is there.
fn sync_parent(dir: &Path) -> io::Result<()> {
    let parent = dir.parent().filter(|p| !p.as_os_str().is_empty());
    match File::open(parent.unwrap_or(Path::new("."))).and_then(|p| p.sync_all()) {
        // Who may not look into a folder has made nothing in it either.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other,
    }
}

fn open_file(path: &Path) -> io::Result<File> {
    OpenOptions::new().create(true).truncate(false).read(true).write(true).mode(0o640).open(path)
}

#[cfg(test)]
mod tests;
