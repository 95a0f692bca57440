//! Which mounts hold files of this machine: `/proc/mounts`, chosen as
//! `df -P -l` and Munin's `df` do.

use crate::probes::support::{lines, words};
use std::collections::HashSet;

/// Types that hold no files of their own: views of the kernel, and those that
/// Munin's `df` leaves out. (What is always full is known by `nature.rs`, too.)
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
const REMOTE: [&str; 29] = [
    "9p",
    "acfs",
    "afs",
    "auristorfs",
    "beegfs",
    "ceph",
    "cifs",
    "coda",
    "davfs",
    "fuse.ceph",
    "fuse.ceph-fuse",
    "fuse.curlftpfs",
    "fuse.davfs2",
    "fuse.gcsfuse",
    "fuse.glusterfs",
    "fuse.rclone",
    "fuse.s3fs",
    "fuse.sshfs",
    "fuse.vmhgfs-fuse",
    "gpfs",
    "ibrix",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "smbfs",
    "vboxsf",
    "virtiofs",
];

/// Types on this machine whose device may have a colon all the same: several devices,
/// several branches, a name that somebody chose.
const LOCAL: [&str; 24] = [
    "aufs",
    "bcachefs",
    "btrfs",
    "exfat",
    "ext2",
    "ext3",
    "ext4",
    "f2fs",
    "fuse.mergerfs",
    "fuse.mhddfs",
    "fuse.unionfs",
    "fuse.unionfs-fuse",
    "fuse.zfs",
    "fuse.zfs-fuse",
    "fuseblk",
    "jffs2",
    "nilfs2",
    "overlay",
    "ramfs",
    "tmpfs",
    "ubifs",
    "vfat",
    "xfs",
    "zfs",
];

/// Types that keep what statvfs asks for in memory and need no disk for it.
const QUICK: [&str; 7] = ["ext2", "ext3", "ext4", "f2fs", "tmpfs", "vfat", "xfs"];

/// Devices that say nothing: the mount point names the field, as in Munin.
const NAMED_BY_MOUNT: [&str; 4] = ["tmpfs", "none", "udev", "simfs"];

/// Types whose device is a word that somebody chose: it may be that of many (`shm` of
/// each container).
const WORDS_OF_MEMORY: [&str; 3] = ["devtmpfs", "ramfs", "tmpfs"];

/// A mounted filesystem.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Mount {
    pub(super) device: String,
    pub(super) mount_point: String,
    pub(super) kind: String,
    /// It answers at once: the kernel has the numbers at hand, and the way to
    /// the mount point leads over no filesystem that may hang.
    pub(super) quick: bool,
    /// It is mounted read-only.
    pub(super) read_only: bool,
}

impl Mount {
    /// What Munin makes the field's name from.
    pub(super) fn munins_naming(&self) -> &str {
        match NAMED_BY_MOUNT.contains(&self.device.as_str()) {
            true => &self.mount_point,
            false => &self.device,
        }
    }

    /// Whether its device is a number by order of appearance.
    pub(super) fn is_loop(&self) -> bool {
        let number = self.device.strip_prefix("/dev/loop");
        number.is_some_and(|n| n.bytes().all(|b| b.is_ascii_digit()))
    }

    /// Whether its device is a mere word, which may be that of many.
    pub(super) fn is_word(&self) -> bool {
        let is_fuse = self.kind.starts_with("fuse");
        WORDS_OF_MEMORY.contains(&self.kind.as_str())
            || is_fuse && (!self.device.contains(['/', ':']) || self.device == "/dev/fuse")
    }

    /// Whether a word of the configuration means it.
    pub(super) fn is(&self, word: &str) -> bool {
        [&self.kind, &self.mount_point, &self.device].iter().any(|own| *own == word)
    }

    fn is_remote(&self) -> bool {
        let kind = self.kind.as_str();
        REMOTE.contains(&kind)
            || self.device.starts_with("//")
            || !LOCAL.contains(&kind) && names_a_host(&self.device)
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

/// `srv:/home`, `me@srv:`, `[fe80::1]:/x`, `https://srv/dav`; not `/dev/a:/dev/b` or
/// `tank/data:old`, where a path or a dataset has a colon inside.
fn names_a_host(device: &str) -> bool {
    let host = match device.split_once("://") {
        Some((scheme, _)) => scheme,
        None => match device.split_once(':') {
            Some((host, _)) => host,
            None => return false,
        },
    };
    !host.is_empty() && !host.contains('/')
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
        let is_device = mount.device.starts_with('/') && !mount.is_word();
        let same = |m: &Mount| is_device && m.device == mount.device && m.kind == mount.kind;
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
    let read_only = words.next().is_some_and(|options| options.split(',').any(|o| o == "ro"));
    Some(Mount { device, mount_point, kind, quick: false, read_only })
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
    fn a_colon_makes_no_network_filesystem() {
        let text = b"/dev/sda:/dev/sdb /b bcachefs rw 0 0\n\
            tank/data:2024 /z zfs rw 0 0\n\
            tank:x /zx zfs rw 0 0\n\
            a:b /m fuse.mergerfs rw 0 0\n\
            /mnt/a:/mnt/b /u fuse.unionfs rw 0 0\n\
            /srv/with:colon /f fuse.bindfs rw 0 0\n\
            srv:/home /n nfs4 rw 0 0\n\
            me@srv:/x /s fuse.sshfs rw 0 0\n\
            bucket:path /r fuse.rclone rw 0 0\n\
            srv:/x /o fuse.newfs rw 0 0\n\
            https://srv/dav /d fuse rw 0 0\n\
            [fe80::1]:/x /p panfs rw 0 0\n";
        let places: Vec<_> = select(text, false).into_iter().map(|m| m.mount_point).collect();
        assert_eq!(places, ["/b", "/z", "/zx", "/m", "/u", "/f"]);
        assert_eq!(select(text, true).len(), 12);
    }

    #[test]
    fn filesystems_whose_device_is_a_word_are_not_one() {
        let text = b"/dev/fuse /etc/pve fuse rw 0 0\n/dev/fuse /x fuse ro 0 0\n\
            mergerfs /pool fuse.mergerfs rw 0 0\nshm /c/1/shm tmpfs rw 0 0\n\
            /dev/loop7 /l ext4 rw 0 0\n/dev/sda1 / ext4 ro,relatime 0 0\n\
            overlay / overlay rw 0 0\n";
        let all = select(text, false);
        let words: Vec<_> = all.iter().map(|m| (m.is_word(), m.is_loop())).collect();
        let (word, number, device) = ((true, false), (false, true), (false, false));
        assert_eq!(words, [word, word, word, word, number, device]);
        assert_eq!(all[3].munins_naming(), "shm");
        assert_eq!(all.iter().filter(|m| m.read_only).count(), 1);
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
