//! One file of the spool: finding records in it, and mending its tail.

use rookery_plugins::wire::{FRAME_BYTES_MAX, Frame, MAGIC, WireError, checked_body};
use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// A segment file.
#[derive(Debug)]
pub(super) struct Segment {
    pub index: u64,
    pub path: PathBuf,
    pub bytes: u64,
}

/// What stands at an offset.
#[derive(Debug)]
pub(super) enum Record {
    Frame(Vec<u8>),
    /// Nothing more.
    End,
    /// No record, or one with a bad checksum; `next` is where to go on.
    Damaged {
        next: u64,
        why: String,
    },
}

/// What [`Segment::mend`] found.
#[derive(Debug, Default)]
pub(super) struct Mended {
    pub bytes_cut: u64,
    pub boot_max: u64,
}

/// The path of a segment.
pub(super) fn path(dir: &Path, index: u64) -> PathBuf {
    dir.join(format!("{index:016}.seg"))
}

/// The segments of a folder, oldest first.
pub(super) fn list(dir: &Path) -> io::Result<Vec<Segment>> {
    let mut segments = Vec::new();
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let name = entry.file_name();
        let index = name.to_str().and_then(|n| n.strip_suffix(".seg"));
        if let Some(index) = index.and_then(|n| n.parse().ok()) {
            let bytes = entry.metadata()?.len();
            segments.push(Segment { index, path: entry.path(), bytes });
        }
    }
    segments.sort_by_key(|s| s.index);
    Ok(segments)
}

impl Segment {
    /// The record that begins at `offset`.
    pub fn record_at(&self, offset: u64) -> io::Result<Record> {
        if offset >= self.bytes {
            return Ok(Record::End);
        }
        let lost = |why: &str| Ok(Record::Damaged { next: self.bytes, why: why.to_owned() });
        if self.bytes - offset < 8 {
            return lost("the rest of the segment is too short for a record");
        }
        let file = File::open(&self.path)?;
        let mut head = [0; 8];
        file.read_exact_at(&mut head, offset)?;
        let len = u64::from(u32::from_le_bytes([head[0], head[1], head[2], head[3]]));
        if &head[4..] != MAGIC || len > FRAME_BYTES_MAX as u64 {
            return lost("no record begins here; the rest of the segment is lost");
        }
        if len > self.bytes - offset - 4 {
            return lost("the record is torn");
        }
        let mut frame = vec![0; len as usize];
        file.read_exact_at(&mut frame, offset + 4)?;
        match checked_body(&frame) {
            Ok(_) => Ok(Record::Frame(frame)),
            // The length may itself be what was damaged: it is believed only
            // if another record, or the end, follows.
            Err(e) => self.after_damage(&file, offset + 4 + len, &e),
        }
    }

    fn after_damage(&self, file: &File, next: u64, error: &WireError) -> io::Result<Record> {
        let why = error.to_string();
        if next == self.bytes {
            return Ok(Record::Damaged { next, why });
        }
        let mut head = [0; 8];
        let follows = file.read_exact_at(&mut head, next).is_ok() && &head[4..] == MAGIC;
        Ok(Record::Damaged { next: if follows { next } else { self.bytes }, why })
    }

    /// Cuts off a torn tail: what follows the last good record.
    pub fn mend(&mut self) -> io::Result<Mended> {
        let mut mended = Mended::default();
        let (mut at, mut good) = (0, 0);
        loop {
            match self.record_at(at)? {
                Record::End => break,
                Record::Damaged { next, .. } => at = next,
                Record::Frame(bytes) => {
                    at += bytes.len() as u64 + 4;
                    good = at;
                    if let Ok(frame) = Frame::parse(&bytes) {
                        mended.boot_max = mended.boot_max.max(frame.boot);
                    }
                }
            }
        }
        if good < self.bytes {
            let file = OpenOptions::new().write(true).open(&self.path)?;
            file.set_len(good)?;
            file.sync_all()?;
            mended.bytes_cut = self.bytes - good;
            self.bytes = good;
        }
        Ok(mended)
    }
}
