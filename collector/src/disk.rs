//! Files and folders that outlive a power cut.
//!
//! A new file is only there for sure when its folder was synced, and what an
//! fsync failed to write may be seen in the page cache for a long time without
//! ever reaching the disk.

use crate::store::StoreError;
use rustix::fs::{Advice, fadvise};
use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

/// Makes a folder, and those above it, for good.
pub fn make_dir(dir: &Path) -> Result<(), StoreError> {
    std::fs::create_dir_all(dir).map_err(|e| StoreError::io(dir, e))?;
    sync_parent(dir)
}

/// Brings to disk that this file, or folder, is there.
pub fn sync_parent(path: &Path) -> Result<(), StoreError> {
    let Some(parent) = path.parent() else { return Ok(()) };
    // The parent of a bare name is the empty path.
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match File::open(parent).and_then(|dir| dir.sync_all()) {
        // Who may not look into a folder has made nothing in it either.
        Err(e) if e.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        other => other.map_err(|e| StoreError::io(parent, e)),
    }
}

/// Makes whoever reads this file from now on see what is on disk, if it is
/// there. After a failed fsync the kernel may show what it could not write as
/// if it were safe: an earlier life of this program may have left that behind,
/// and answered that it is not kept. Never for a file on which SQLite holds
/// locks: closing it would end them.
pub fn believe_only_the_disk(path: &Path) -> Result<(), StoreError> {
    let file = match File::open(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
        other => other.map_err(|e| StoreError::io(path, e))?,
    };
    // What waits to be written is written first, or it would stay in the cache.
    file.sync_data().map_err(|e| StoreError::io(path, e))?;
    // Only advice: a file system that does not take it has no such cache.
    let _ = fadvise(&file, 0, None, Advice::DontNeed);
    Ok(())
}

/// Removes a file, if it is there.
pub fn remove(path: &Path) -> Result<(), StoreError> {
    match std::fs::remove_file(path) {
        Err(e) if e.kind() != io::ErrorKind::NotFound => Err(StoreError::io(path, e)),
        _ => Ok(()),
    }
}

/// A path with something after its name.
pub fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folders_are_made_and_files_read_from_disk() {
        let dir = tempfile::tempdir().expect("tmp");
        let deep = dir.path().join("a/b");
        make_dir(&deep).expect("made");
        make_dir(&deep).expect("is there");
        let file = deep.join("x");
        believe_only_the_disk(&file).expect("nothing there");
        std::fs::write(&file, b"text").expect("writes");
        believe_only_the_disk(&file).expect("is there");
        assert_eq!(std::fs::read(&file).expect("reads"), b"text");
        sync_parent(Path::new("bare-name")).expect("the current folder");
        assert!(sync_parent(&dir.path().join("gone/x")).is_err());
    }
}
