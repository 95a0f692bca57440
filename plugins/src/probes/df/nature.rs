//! What a filesystem is by its nature: to be watched, or full once and for all.
//!
//! An image (squashfs, ISO 9660, EROFS, an AppImage, a snap by way of FUSE) has no free
//! block from the first day to the last, and is known by that, not by its name: it is
//! read-only by design and has none. What is read-only by design and not packed full
//! keeps its field but has no limits: nobody can fill it.
//!
//! A disk that turned read-only by an error while it was full must not be taken for one.
//! So a filesystem of a kind that is written to counts as read-only by design only where
//! its device is, or where it says that it has met no error; and what was once seen with
//! free blocks, or writable, stays watched.

use super::Usage;
use super::mounts::Mount;
use crate::Host;
use crate::probes::support::device_file;

/// Kinds that are written to, where read-only may mean that something went wrong.
const WRITTEN: [&str; 22] = [
    "affs", "apfs", "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "fuseblk",
    "gfs2", "hfsplus", "jffs2", "jfs", "nilfs2", "ntfs3", "ocfs2", "reiserfs", "ubifs", "vfat",
    "xfs", "zfs",
];

/// How a filesystem is to be taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Nature {
    /// It fills and empties.
    Live,
    /// Nothing is ever written to it.
    Fixed,
    /// Fixed, and packed full.
    Image,
}

/// What it is by what is mounted and what it said of itself.
pub(super) fn nature(host: &Host, mount: &Mount, usage: &Usage) -> Nature {
    let is_packed = usage.bfree == 0 && usage.bavail == 0;
    match is_fixed(host, mount) {
        true if is_packed => Nature::Image,
        true => Nature::Fixed,
        // Some of FUSE's images do not say that they are read-only, but no filesystem
        // that may be written to has neither a free block nor a free inode.
        false if is_packed && usage.ffree == 0 && mount.kind.starts_with("fuse.") => Nature::Image,
        false => Nature::Live,
    }
}

/// Whether it is read-only by design.
fn is_fixed(host: &Host, mount: &Mount) -> bool {
    if !mount.read_only {
        return false;
    }
    if !WRITTEN.contains(&mount.kind.as_str()) {
        return true;
    }
    let says = |file: &str, of: &str| {
        let device = mount.device.strip_prefix("/dev/");
        device.and_then(|d| device_file(host, d, file)).is_some_and(|text| text == of)
    };
    says("ro", "1") || has_no_error(host, mount)
}

/// Whether it is known to have turned read-only by somebody's will.
fn has_no_error(host: &Host, mount: &Mount) -> bool {
    match mount.kind.as_str() {
        // It shuts down instead.
        "xfs" => true,
        "ext2" | "ext3" | "ext4" => {
            let device = mount.device.strip_prefix("/dev/").filter(|d| !d.contains(['/', '.']));
            let file = device.map(|d| host.sys(format!("fs/ext4/{d}/errors_count")));
            let text = file.and_then(|file| std::fs::read(file).ok());
            text.is_some_and(|text| text.trim_ascii() == b"0")
        }
        _ => false,
    }
}
