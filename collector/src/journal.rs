//! The journal: every accepted frame, in arrival order, on disk before it is
//! acknowledged.
//!
//! A folder of SQLite databases, `journal/NNNNNNNN.sqlite`, one a segment.
//! Table `j(id, frames)`: one row a commit; `frames` holds the frames that
//! arrived together, each as a little-endian `u32` length and the frame's
//! bytes (see `rookery_plugins::wire`; each frame has a checksum of its own).
//!
//! Who writes: the writer thread alone. Who deletes: the same, whole segments,
//! when every row in them stands in a sealed block. Segments are never
//! checkpointed into their main file: what is in the WAL is written once, and
//! goes with the segment.
//!
//! A position is `segment << 32 | n`, n counting the segment's frames from 1.

use crate::db;
use crate::disk;
use crate::store::StoreError;
use rusqlite::{Connection, config::DbConfig};
use std::path::{Path, PathBuf};

/// A segment that has grown to this many bytes is ended.
pub const SEGMENT_BYTES_MAX: u64 = 64 << 20;
const PAGE_BYTES: u32 = 4096;
const SCHEMA: &str = "CREATE TABLE IF NOT EXISTS j(id INTEGER PRIMARY KEY, frames BLOB NOT NULL)";

/// Where a frame stands in the journal; grows with time.
pub type Position = u64;

/// The journal, open for appending.
pub struct Journal {
    dir: PathBuf,
    conn: Connection,
    segment: u64,
    /// Frames that are on disk, …
    n_committed: u64,
    /// … and with those of the commit in preparation.
    n_frames: u64,
    bytes: u64,
    buf: Vec<u8>,
}

impl Journal {
    /// Opens the folder. Every frame in it is given to `replay` in order; then
    /// a new segment is begun, all of whose positions are above `sealed_to`.
    pub fn open(
        dir: &Path,
        sealed_to: Position,
        mut replay: impl FnMut(Position, &[u8]) -> Result<(), StoreError>,
    ) -> Result<Journal, StoreError> {
        disk::make_dir(dir)?;
        let mut last = sealed_to >> 32;
        for segment in segments(dir)? {
            replay_segment(&segment_path(dir, segment), segment, &mut replay)?;
            last = last.max(segment);
        }
        let segment = last + 1;
        let conn = begin_segment(dir, segment)?;
        let dir = dir.to_owned();
        Ok(Journal { dir, conn, segment, n_committed: 0, n_frames: 0, bytes: 0, buf: vec![] })
    }

    /// Adds a frame to the commit in preparation; its position.
    pub fn push(&mut self, frame: &[u8]) -> Position {
        self.buf.extend_from_slice(&(frame.len() as u32).to_le_bytes());
        self.buf.extend_from_slice(frame);
        self.n_frames += 1;
        self.segment << 32 | self.n_frames
    }

    /// Writes all that was pushed, and returns when it is on disk. After an
    /// error nothing of it counts: the caller answers all of it with failure.
    pub fn commit(&mut self) -> Result<(), StoreError> {
        if self.buf.is_empty() {
            return Ok(());
        }
        let done = self
            .conn
            .prepare_cached("INSERT INTO j(frames) VALUES (?1)")
            .and_then(|mut stmt| stmt.execute([&self.buf]));
        self.bytes += self.buf.len() as u64;
        match done {
            Ok(_) => {
                self.buf.clear();
                self.n_committed = self.n_frames;
                Ok(())
            }
            Err(e) => {
                self.discard();
                Err(StoreError::db(&segment_path(&self.dir, self.segment), e))
            }
        }
    }

    /// Forgets what was pushed since the last commit. Its positions are given
    /// out again: a replay counts what is on disk.
    pub fn discard(&mut self) {
        self.buf.clear();
        self.n_frames = self.n_committed;
    }

    /// Whether the segment is full.
    pub fn is_full(&self) -> bool {
        self.bytes >= SEGMENT_BYTES_MAX
    }

    /// Whether the segment holds anything.
    pub fn is_empty(&self) -> bool {
        self.n_frames == 0
    }

    /// Ends the segment and begins the next.
    pub fn rotate(&mut self) -> Result<(), StoreError> {
        let next = begin_segment(&self.dir, self.segment + 1)?;
        self.conn = next;
        self.segment += 1;
        self.n_committed = 0;
        self.n_frames = 0;
        self.bytes = 0;
        Ok(())
    }

    /// Deletes the segments in which every frame stands before `keep_from`;
    /// never the one that is written.
    pub fn delete_before(&self, keep_from: Position) -> Result<usize, StoreError> {
        let keep_segment = (keep_from >> 32).min(self.segment);
        let mut n_deleted = 0;
        for segment in segments(&self.dir)? {
            if segment < keep_segment {
                remove(&segment_path(&self.dir, segment))?;
                n_deleted += 1;
            }
        }
        Ok(n_deleted)
    }

    /// Gives every frame that is on disk to `each`, with its position, in order.
    pub fn read_all(&self, mut each: impl FnMut(Position, &[u8])) -> Result<(), StoreError> {
        for segment in segments(&self.dir)? {
            read_segment(&segment_path(&self.dir, segment), |n, frame| {
                each(segment << 32 | n, frame);
            })?;
        }
        Ok(())
    }

    /// The position that the next frame will have.
    pub fn next_position(&self) -> Position {
        self.segment << 32 | (self.n_frames + 1)
    }
}

impl Drop for Journal {
    fn drop(&mut self) {
        if self.is_empty() {
            // SQLite then removes the empty WAL and its index. Else they stay,
            // which is no harm.
            let _ = self.conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, false);
        }
    }
}

fn segment_path(dir: &Path, segment: u64) -> PathBuf {
    dir.join(format!("{segment:08}.sqlite"))
}

/// The numbers of the segments in the folder, ascending.
fn segments(dir: &Path) -> Result<Vec<u64>, StoreError> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(|e| StoreError::io(dir, e))? {
        let name = entry.map_err(|e| StoreError::io(dir, e))?.file_name();
        let number: Option<u64> =
            name.to_str().and_then(|n| n.strip_suffix(".sqlite")?.parse().ok());
        found.extend(number);
    }
    found.sort_unstable();
    Ok(found)
}

fn begin_segment(dir: &Path, segment: u64) -> Result<Connection, StoreError> {
    let path = segment_path(dir, segment);
    db::make_whole(&path, SCHEMA, |path| db::open_durable(path, PAGE_BYTES))?;
    let conn = db::open_durable(&path, PAGE_BYTES)?;
    let prepare = || -> rusqlite::Result<()> {
        conn.pragma_update(None, "wal_autocheckpoint", 0)?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true)?;
        Ok(())
    };
    prepare().map_err(|e| StoreError::db(&path, e))?;
    Ok(conn)
}

fn replay_segment(
    path: &Path,
    segment: u64,
    replay: &mut impl FnMut(Position, &[u8]) -> Result<(), StoreError>,
) -> Result<(), StoreError> {
    let err = |e| StoreError::db(path, e);
    let conn = db::open_durable(path, PAGE_BYTES)?;
    conn.set_db_config(DbConfig::SQLITE_DBCONFIG_NO_CKPT_ON_CLOSE, true).map_err(err)?;
    // One of an earlier program may have been left without it by a crash.
    conn.execute_batch(SCHEMA).map_err(err)?;
    let mut stmt = conn.prepare("SELECT frames FROM j ORDER BY id").map_err(err)?;
    let mut rows = stmt.query([]).map_err(err)?;
    let mut n = 0u64;
    while let Some(row) = rows.next().map_err(err)? {
        let blob = row.get_ref(0).map_err(err)?.as_blob().map_err(|e| err(e.into()))?;
        for frame in frames(blob) {
            n += 1;
            replay(segment << 32 | n, frame)?;
        }
    }
    Ok(())
}

/// Gives every frame of a segment, with its number, to `each`; read-only, also
/// while it is written.
pub fn read_segment(path: &Path, mut each: impl FnMut(u64, &[u8])) -> Result<(), StoreError> {
    let mut read = || -> rusqlite::Result<()> {
        let conn = db::open_reader(path)?;
        let mut stmt = conn.prepare("SELECT frames FROM j ORDER BY id")?;
        let mut rows = stmt.query([])?;
        let mut n = 0;
        while let Some(row) = rows.next()? {
            for frame in frames(row.get_ref(0)?.as_blob()?) {
                n += 1;
                each(n, frame);
            }
        }
        Ok(())
    };
    read().map_err(|e| StoreError::db(path, e))
}

/// Splits a journal row into its frames; ends early where a length is wrong.
fn frames(mut blob: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (len, rest) = blob.split_first_chunk::<4>()?;
        let (frame, rest) = rest.split_at_checked(u32::from_le_bytes(*len) as usize)?;
        blob = rest;
        Some(frame)
    })
}

fn remove(path: &Path) -> Result<(), StoreError> {
    let parts = ["", "-wal", "-shm"];
    parts.iter().try_for_each(|suffix| disk::remove(&disk::with_suffix(path, suffix)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn collect(dir: &Path) -> Vec<(Position, Vec<u8>)> {
        let mut all = vec![];
        Journal::open(dir, 0, |p, f| {
            all.push((p, f.to_vec()));
            Ok(())
        })
        .expect("opens");
        all
    }

    #[test]
    fn frames_come_back_in_order_over_segments() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut j = Journal::open(dir.path(), 0, |_, _| Ok(())).expect("opens");
        let a = j.push(b"one");
        let b = j.push(&[7; 100_000]);
        j.commit().expect("commits");
        j.rotate().expect("rotates");
        let c = j.push(b"three");
        j.commit().expect("commits");
        j.push(b"never committed");
        drop(j);
        let all = collect(dir.path());
        assert_eq!(all.iter().map(|x| x.0).collect::<Vec<_>>(), [a, b, c]);
        assert_eq!(all[1].1.len(), 100_000);
        assert_eq!(all[2].1, b"three");
    }

    #[test]
    fn positions_of_what_was_discarded_are_given_out_again() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut j = Journal::open(dir.path(), 0, |_, _| Ok(())).expect("opens");
        j.push(b"one");
        j.commit().expect("commits");
        j.push(b"lost");
        j.discard();
        let kept = j.push(b"two");
        j.commit().expect("commits");
        drop(j);
        assert_eq!(collect(dir.path())[1], (kept, b"two".to_vec()));
    }

    #[test]
    fn positions_begin_above_what_was_sealed() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut j = Journal::open(dir.path(), 7 << 32 | 99, |_, _| Ok(())).expect("opens");
        assert!(j.push(b"one") > 7 << 32 | 99);
    }

    #[test]
    fn only_whole_segments_before_the_position_go() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut j = Journal::open(dir.path(), 0, |_, _| Ok(())).expect("opens");
        j.push(b"one");
        j.commit().expect("commits");
        j.rotate().expect("rotates");
        let keep = j.push(b"two");
        j.commit().expect("commits");
        assert_eq!(j.delete_before(keep).expect("deletes"), 1);
        assert_eq!(j.delete_before(u64::MAX).expect("deletes"), 0);
        drop(j);
        assert_eq!(collect(dir.path()).len(), 1);
    }
}
