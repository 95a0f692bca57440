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

/// Devices that say nothing: the mount point names the field.
const NAMED_BY_MOUNT: [&str; 4] = ["tmpfs", "none", "udev", "simfs"];

/// A mounted filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) device: String,
    pub(super) mount_point: String,
    pub(super) kind: String,
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
    for mount in lines(text).filter_map(parse) {
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
    mounts
}

/// `/dev/vda / ext4 rw,relatime 0 0`
fn parse(line: &[u8]) -> Option<Mount> {
    let mut words = words(line).map(unescape);
    Some(Mount { device: words.next()?, mount_point: words.next()?, kind: words.next()? })
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
