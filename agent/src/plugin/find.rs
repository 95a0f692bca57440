//! Which files are plugins, by Munin's rules.

use rookery_plugins::config::is_left_out;
use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The most plugins that are run; more are left out and logged.
pub const PLUGINS_MAX: usize = 1000;

/// What tells that a plugin's file has changed: inode, size, and both times of
/// what a link points to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stamp(u64, u64, i64, i64, i64, i64);

/// A plugin's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// Its name in the folder: the link's, if it is one.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    /// See [`Stamp`].
    pub stamp: Stamp,
}

/// The stamp of a file, if it can be read.
pub fn stamp(path: &Path) -> Option<Stamp> {
    let m = std::fs::metadata(path).ok()?;
    Some(Stamp(m.ino(), m.size(), m.mtime(), m.mtime_nsec(), m.ctime(), m.ctime_nsec()))
}

/// Whether Munin takes a file of this name: `^[-\w@.:]+$`, not hidden, no
/// configuration.
pub fn is_plugin_name(name: &str) -> bool {
    let good = |b: u8| b.is_ascii_alphanumeric() || b"-_@.:".contains(&b);
    !name.is_empty()
        && !is_left_out(name)
        && !name.ends_with(".conf")
        && name.len() <= rookery_plugins::names::NAME_BYTES_MAX
        && name.bytes().all(good)
}

/// The plugins of these folders by name; in a later folder a name of an
/// earlier one is ignored.
pub fn find(dirs: &[PathBuf]) -> BTreeMap<String, Found> {
    let mut found = BTreeMap::new();
    for dir in dirs {
        let Ok(entries) = std::fs::read_dir(dir) else { continue };
        for entry in entries.flatten() {
            let Ok(name) = entry.file_name().into_string() else { continue };
            let path = entry.path();
            let Ok(meta) = std::fs::metadata(&path) else { continue };
            let runs = meta.is_file() && meta.permissions().mode() & 0o111 != 0;
            if !is_plugin_name(&name) || !runs || found.contains_key(&name) {
                continue;
            }
            if found.len() >= PLUGINS_MAX {
                tracing::warn!(dir = %dir.display(), limit = PLUGINS_MAX, "too many plugins");
                return found;
            }
            if let Some(stamp) = stamp(&path) {
                found.insert(name.clone(), Found { name, path, stamp });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_as_munin_takes_them() {
        for name in ["load", "if_eth0", "wild_br-lan@x:y", "a.b"] {
            assert!(is_plugin_name(name), "{name}");
        }
        for name in ["", ".hidden", "x.conf", "with space", "x;y", "ü", "x.dpkg-old", "x.bak"] {
            assert!(!is_plugin_name(name), "{name}");
        }
    }

    #[test]
    fn only_executables_are_found_and_the_first_folder_wins() {
        let dirs = [tempfile::tempdir().expect("tmp"), tempfile::tempdir().expect("tmp")];
        let put = |dir: usize, name: &str, mode: u32| {
            let path = dirs[dir].path().join(name);
            std::fs::write(&path, "#!/bin/sh\n").expect("writes");
            std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).expect("chmod");
        };
        put(0, "a", 0o755);
        put(0, "plain", 0o644);
        put(0, "a.conf", 0o755);
        put(1, "a", 0o755);
        put(1, "b", 0o755);
        std::fs::create_dir(dirs[1].path().join("dir")).expect("mkdir");
        let list: Vec<PathBuf> = dirs.iter().map(|d| d.path().to_owned()).collect();
        let found = find(&list);
        assert_eq!(found.keys().collect::<Vec<_>>(), ["a", "b"]);
        assert!(found["a"].path.starts_with(&list[0]));
        let before = found["b"].stamp.clone();
        std::fs::write(&found["b"].path, "#!/bin/sh\necho\n").expect("writes");
        assert_ne!(find(&list)["b"].stamp, before);
    }
}
