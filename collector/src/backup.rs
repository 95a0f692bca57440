//! `rookery backup`: a copy of the history that opens as one, made while the
//! collector runs.
//!
//! Each database is copied as of one moment (`VACUUM INTO` of a reader). The
//! journal comes first, then what its frames are sealed into and described by,
//! so that every sample acknowledged before the start is in one or the other.
//! A period's file that has not changed since the last backup to the same
//! folder is not copied again: `backup.json` there remembers what it was.
//!
//! First all is copied beside what is there, as `NAME.part`; then the copies take
//! their places by renames, what describes first, then what is sealed, then the
//! journal. So a backup that is cut short leaves the one before whole: an older
//! journal beside newer periods and a newer catalog says nothing twice and misses
//! nothing. What the source has lost stays.

use crate::db;
use crate::disk::{remove, with_suffix};
use crate::offline::databases;
use crate::store::StoreError;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A file that was written to so shortly before is copied again next time: its
/// time stamp may not tell a later change.
const SETTLED: Duration = Duration::from_secs(2);
/// There while a backup is not whole.
const UNFINISHED: &str = "backup-unfinished";

/// What [`backup`] did.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Done {
    /// Databases that were copied.
    pub n_copied: usize,
    /// Bytes of the copies.
    pub bytes_copied: u64,
    /// Databases that had not changed.
    pub n_unchanged: usize,
    /// Databases that could not be copied, and why; an earlier copy stays.
    pub failed: Vec<(PathBuf, String)>,
    /// Periods that only the backup has.
    pub only_here: Vec<PathBuf>,
}

/// What a database's files were when they were copied: length and time of
/// change, ns, of the database and of its WAL.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Mark {
    main: (u64, u64),
    wal: (u64, u64),
}

/// Copies the history in `data` to the folder `dest` (made if it is not there).
pub fn backup(data: &Path, dest: &Path) -> Result<Done, StoreError> {
    if !data.join("catalog.sqlite").exists() {
        let text = format!("{}: no history here: name the collector's data folder", data.display());
        return Err(StoreError::Other(text));
    }
    for dir in [dest.to_owned(), dest.join("journal"), dest.join("periods")] {
        std::fs::create_dir_all(&dir).map_err(|e| StoreError::io(&dir, e))?;
    }
    let same = |a: &Path, b: &Path| a.canonicalize().ok().zip(b.canonicalize().ok());
    if same(data, dest).is_some_and(|(a, b)| a == b) {
        let text = format!("{}: a history is not its own backup", dest.display());
        return Err(StoreError::Other(text));
    }
    let flag = dest.join(UNFINISHED);
    write_synced(&flag, b"a backup into this folder was not finished\n")?;
    let mut marks: BTreeMap<String, Mark> = std::fs::read(dest.join("backup.json"))
        .ok()
        .and_then(|text| serde_json::from_slice(&text).ok())
        .unwrap_or_default();
    let mut done = Done::default();
    let mut made = Made::default();
    let segments = databases(&data.join("journal"))?;
    for path in &segments {
        // Gone: sealed meanwhile, and copied with its period.
        made.journal.extend(done.copy(path, &dest.join("journal"), true)?);
    }
    let periods = databases(&data.join("periods"))?;
    for path in &periods {
        let mark = mark_of(path)?;
        let name = name_of(path);
        let is_there = dest.join("periods").join(&name).exists();
        if is_there && mark.is_some() && marks.get(&name).copied() == mark {
            done.n_unchanged += 1;
            continue;
        }
        if let Some(copy) = done.copy(path, &dest.join("periods"), false)? {
            made.periods.push(copy);
            match mark.filter(is_settled) {
                Some(mark) => marks.insert(name, mark),
                None => marks.remove(&name),
            };
        }
    }
    for name in ["catalog.sqlite", "state.sqlite"] {
        made.described.extend(done.copy(&data.join(name), dest, true)?);
    }
    // What is not as `marks` will say must not be taken for it.
    remove(&dest.join("backup.json"))?;
    sync_dir(dest)?;
    made.described.iter().try_for_each(|to| take_place(to))?;
    made.periods.iter().try_for_each(|to| take_place(to))?;
    made.journal.iter().try_for_each(|to| take_place(to))?;
    copy_token(data, dest)?;
    let kept: Vec<String> = periods.iter().map(|p| name_of(p)).collect();
    let here = databases(&dest.join("periods"))?;
    done.only_here = here.into_iter().filter(|p| !kept.contains(&name_of(p))).collect();
    // What stood in older segments stands in the periods now.
    let kept: Vec<String> = segments.iter().map(|p| name_of(p)).collect();
    for path in databases(&dest.join("journal"))? {
        if !kept.contains(&name_of(&path)) {
            std::fs::remove_file(&path).map_err(|e| StoreError::io(&path, e))?;
        }
    }
    let text = serde_json::to_vec_pretty(&marks)
        .map_err(|e| StoreError::Other(format!("backup.json: {e}")))?;
    write_synced(&dest.join("backup.json"), &text)?;
    std::fs::remove_file(&flag).map_err(|e| StoreError::io(&flag, e))?;
    sync_dir(dest)?;
    Ok(done)
}

/// Where the copies go that were made.
#[derive(Default)]
struct Made {
    journal: Vec<PathBuf>,
    periods: Vec<PathBuf>,
    described: Vec<PathBuf>,
}

impl Done {
    /// Copies a database beside its place in a folder; that place, if there is
    /// a copy.
    fn copy(
        &mut self,
        path: &Path,
        dir: &Path,
        may_be_gone: bool,
    ) -> Result<Option<PathBuf>, StoreError> {
        let to = dir.join(name_of(path));
        let part = part_of(&to);
        remove_part(&part)?;
        if may_be_gone && !path.exists() {
            return Ok(None);
        }
        match copy_database(path, &part) {
            Ok(()) => {}
            Err(e) if may_be_gone && !path.exists() => {
                tracing::debug!("{}: sealed meanwhile: {e}", path.display());
                remove_part(&part)?;
                return Ok(None);
            }
            Err(e) => {
                remove_part(&part)?;
                self.failed.push((path.to_owned(), e.to_string()));
                return Ok(None);
            }
        }
        File::open(&part).and_then(|f| f.sync_all()).map_err(|e| StoreError::io(&part, e))?;
        self.bytes_copied += part.metadata().map_err(|e| StoreError::io(&part, e))?.len();
        self.n_copied += 1;
        Ok(Some(to))
    }
}

fn part_of(to: &Path) -> PathBuf {
    to.with_extension("part")
}

/// Removes a copy that was begun, with what would be taken for a new one's.
fn remove_part(part: &Path) -> Result<(), StoreError> {
    ["", "-journal", "-wal", "-shm"].iter().try_for_each(|s| remove(&with_suffix(part, s)))
}

/// Puts a copy in its place, for good.
fn take_place(to: &Path) -> Result<(), StoreError> {
    // A WAL of the copy that is replaced must not be taken for the new one's.
    for suffix in ["-wal", "-shm"] {
        remove(&with_suffix(to, suffix))?;
    }
    std::fs::rename(part_of(to), to).map_err(|e| StoreError::io(to, e))?;
    to.parent().map_or(Ok(()), sync_dir)
}

fn copy_database(from: &Path, to: &Path) -> Result<(), StoreError> {
    let err = |e| StoreError::db(from, e);
    let text = to
        .to_str()
        .ok_or_else(|| StoreError::Other(format!("{}: the name must be UTF-8", to.display())))?;
    let conn = db::open_reader(from).map_err(err)?;
    conn.execute("VACUUM INTO ?1", [text]).map_err(err)?;
    // As the collector has it: no change of mode is needed when it is opened.
    let copy = rusqlite::Connection::open(to).map_err(|e| StoreError::db(to, e))?;
    copy.pragma_update(None, "journal_mode", "WAL").map_err(|e| StoreError::db(to, e))
}

fn name_of(path: &Path) -> String {
    path.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// `None`: the file is gone.
fn mark_of(path: &Path) -> Result<Option<Mark>, StoreError> {
    let about = |path: &Path| match std::fs::metadata(path) {
        Ok(m) => {
            let since = m.modified().ok().and_then(|t| t.duration_since(UNIX_EPOCH).ok());
            Ok(Some((m.len(), since.map_or(0, |d| d.as_nanos() as u64))))
        }
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(StoreError::io(path, e)),
    };
    // An empty WAL says nothing; its time changes when it is opened.
    let wal = about(&with_suffix(path, "-wal"))?.filter(|w| w.0 > 0).unwrap_or((0, 0));
    Ok(about(path)?.map(|main| Mark { main, wal }))
}

fn is_settled(mark: &Mark) -> bool {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let newest = Duration::from_nanos(mark.main.1.max(mark.wal.1));
    newest + SETTLED < now
}

/// Agents go on with the same token.
fn copy_token(data: &Path, dest: &Path) -> Result<(), StoreError> {
    let (from, to) = (data.join("token"), dest.join("token"));
    match std::fs::copy(&from, &to) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(StoreError::io(&from, e)),
        _ => Ok(()),
    }
}

fn write_synced(path: &Path, bytes: &[u8]) -> Result<(), StoreError> {
    let part = path.with_extension("new");
    std::fs::write(&part, bytes)
        .and_then(|()| File::open(&part)?.sync_all())
        .and_then(|()| std::fs::rename(&part, path))
        .map_err(|e| StoreError::io(path, e))
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir).and_then(|d| d.sync_all()).map_err(|e| StoreError::io(dir, e))
}
