//! Which mounts hold files of this machine: `/proc/mounts`, chosen as
//! `df -P -l` and Munin's `df` do.

use crate::probes::support::{lines, words};
use std::collections::HashSet;

/// Types that hold no files of their own: views of the kernel, and those that
/// Munin's `df` leaves out because they are always full or always empty.
const NOT_DISKS: [&str; 33] = [
    "autofs",
    "binfmt_misc",
    "bpf",
    "cgroup",
    "cgroup2",
    "cgroup_root",
    "configfs",
    "debugfs",
    "devpts",
    "devtmpfs",
    "efivarfs",
    "fuse.gvfsd-fuse",
    "fuse.portal",
    "fusectl",
    "hugetlbfs",
    "iso9660",
    "mqueue",
    "none",
    "nsfs",
    "proc",
    "pstore",
    "ramfs",
    "romfs",
    "rootfs",
    "rpc_pipefs",
    "securityfs",
    "selinuxfs",
    "squashfs",
    "subfs",
    "sysfs",
    "tracefs",
    "udf",
    "unknown",
];

/// Types whose files are on another machine, where the device does not tell.
const REMOTE: [&str; 16] = [
    "9p",
    "acfs",
    "afs",
    "ceph",
    "cifs",
    "coda",
    "fuse.glusterfs",
    "fuse.sshfs",
    "gpfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
    "virtiofs",
];

/// Types that keep what statvfs asks for in memory and need no disk for it.
const QUICK: [&str; 7] = ["ext2", "ext3", "ext4", "f2fs", "tmpfs", "vfat", "xfs"];

/// Devices that say nothing: the mount point names the field.
const NAMED_BY_MOUNT: [&str; 4] = ["tmpfs", "none", "udev", "simfs"];

/// A mounted filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) device: String,
    pub(super) mount_point: String,
    pub(super) kind: String,
    /// It answers at once: the kernel has the numbers at hand, and the way to
    /// the mount point leads over no filesystem that may hang.
    pub(super) quick: bool,
}

impl Mount {
    /// What Munin makes the field's name from.
    pub(super) fn naming(&self) -> &str {
        match NAMED_BY_MOUNT.contains(&self.device.as_str()) {
            true => &self.mount_point,
            false => &self.device,
        }
    }

    /// Whether a word of the configuration means it.
    pub(super) fn is(&self, word: &str) -> bool {
        [&self.kind, &self.mount_point, &self.device].iter().any(|own| *own == word)
    }

    fn is_remote(&self) -> bool {
        REMOTE.contains(&self.kind.as_str())
            || self.device.contains(':')
            || self.device.starts_with("//")
    }

    /// Whether a look at it, or at anything below it, may wait for ever.
    fn may_hang(&self) -> bool {
        self.is_remote() || self.kind.starts_with("fuse") || self.kind == "autofs"
    }

    fn is_below(&self, other: &str) -> bool {
        self.mount_point.strip_prefix(other).is_some_and(|rest| rest.starts_with('/'))
    }

    /// The layers of containers come and go with them; only where the machine
    /// itself stands on one does it count.
    fn is_layer(&self) -> bool {
        matches!(self.kind.as_str(), "overlay" | "aufs") && self.mount_point != "/"
    }
}

/// The mounts to watch. Of one device that is mounted at several places, the
/// shortest mount point; of several mounts at one place, the last, which hides
/// the others.
pub(super) fn select(text: &[u8], remote: bool) -> Vec<Mount> {
    let mut mounts: Vec<Mount> = Vec::new();
    let mut hanging = Vec::new();
    for mount in lines(text).filter_map(parse) {
        if mount.may_hang() {
            hanging.push(mount.mount_point.clone());
        }
        let not_ours = mount.is_layer() || (mount.is_remote() && !remote);
        if NOT_DISKS.contains(&mount.kind.as_str()) || not_ours {
            continue;
        }
        mounts.retain(|m| m.mount_point != mount.mount_point);
        let same = |m: &Mount| mount.device.starts_with('/') && m.device == mount.device;
        match mounts.iter().position(same) {
            Some(i) if mounts[i].mount_point.len() <= mount.mount_point.len() => {}
            Some(i) => mounts[i] = mount,
            None => mounts.push(mount),
        }
    }
    let mut seen = HashSet::new();
    mounts.retain(|m| seen.insert(m.mount_point.clone()));
    for mount in &mut mounts {
        let behind = hanging.iter().any(|other| mount.is_below(other));
        mount.quick = QUICK.contains(&mount.kind.as_str()) && !behind;
    }
    mounts
}

/// `/dev/vda / ext4 rw,relatime 0 0`
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = words(line).map(unescape);
    let (device, mount_point, kind) = (words.next()?, words.next()?, words.next()?);
    Some(Mount { device, mount_point, kind, quick: false })
}

/// The kernel writes blanks, tabs, newlines and backslashes as `\040`.
fn unescape(word: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some((first, tail)) = rest.split_first() {
        let octal = |b: &u8| (b'0'..=b'7').contains(b).then(|| u32::from(b - b'0'));
        let code = match (first, tail) {
            (b'\\', [a, b, c, ..]) => octal(a).zip(octal(b)).zip(octal(c)),
            _ => None,
        };
        match code.and_then(|((a, b), c)| u8::try_from(a * 64 + b * 8 + c).ok()) {
            Some(byte) => {
                bytes.push(byte);
                rest = &tail[3..];
            }
            None => {
                bytes.push(*first);
                rest = tail;
            }
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn local_filesystems_are_selected_once() {
        let text = b"proc /proc proc rw 0 0\n\
            /dev/vda /var/lib/x ext4 rw 0 0\n\
            /dev/vda / ext4 rw 0 0\n\
            /dev/vda /mnt ext4 rw 0 0\n\
            tmpfs /dev/shm tmpfs rw 0 0\n\
            tmpfs /dev/shm tmpfs rw 0 0\n\
            overlay /var/lib/docker/overlay2/1/merged overlay rw 0 0\n\
            srv:/home /home nfs4 rw 0 0\n\
            //win/c /mnt/with\\040blank cifs rw 0 0\n\
            short\n";
        let names = |remote| -> Vec<String> {
            select(text, remote).iter().map(|m| m.mount_point.clone()).collect()
        };
        assert_eq!(names(false), ["/", "/dev/shm"]);
        assert_eq!(names(true), ["/", "/dev/shm", "/home", "/mnt/with blank"]);
    }

    #[test]
    fn what_lies_behind_a_network_filesystem_is_not_quick() {
        let text = b"/dev/vda / ext4 rw 0 0\nsrv:/x /net nfs rw 0 0\n\
            /dev/vdb /net/disk ext4 rw 0 0\n/dev/vdc /network ext4 rw 0 0\n\
            /dev/vdd /b btrfs rw 0 0\n";
        let quick: Vec<_> = select(text, true).iter().map(|m| m.quick).collect();
        assert_eq!(quick, [true, false, false, true, false]);
    }

    #[test]
    fn escapes_are_read_back() {
        assert_eq!(unescape(b"a\\040b\\134c\\11\\999"), "a b\\c\\11\\999");
        assert_eq!(unescape(b"\\777"), "\\777", "no byte");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>, words in "[/a-z\\\\0-7 \n]*") {
            let _ = select(&text, true);
            let _ = select(words.as_bytes(), true);
        }
    }
}
