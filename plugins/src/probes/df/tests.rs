//! Tests of `df` on a recorded machine, and against `df` itself.

use super::*;
use crate::names::clean_field;
use crate::probes::testing::{TestHost, fixture, lookup, ready, values};
use std::collections::{BTreeMap, HashSet};

#[test]
fn the_recorded_machine() {
    let host = fixture("vm");
    let (mut probe, services) = ready("df", "", &host);
    let names: Vec<_> = services[0].fields.iter().map(|f| f.name.as_str()).collect();
    assert_eq!(names, ["_dev_vda", "_dev_shm", "_sys_fs_cgroup"]);
    assert_eq!(services[0].fields[0].label, "/");
    assert_eq!(services[0].fields[0].warning.as_deref(), Some("92"));
    let cells = values(probe.as_mut(), &host).unwrap();
    let get = |service: &str, field: &str| lookup(&services, &cells, service, field);
    // 66053021 blocks, 62518034 free, 20286485 available.
    let used = 66_053_021.0 - 62_518_034.0;
    assert_eq!(get("df", "_dev_vda"), Value::Float(used / (used + 20_286_485.0) * 100.0));
    assert_eq!(get("df_abs", "_dev_vda"), Value::Int((66_053_021 - 62_518_034) * 4096));
    assert_eq!(get("df_abs", "_dev_vda_size"), Value::Int(66_053_021 * 4096));
    assert_eq!(get("df_inode", "_dev_shm"), Value::Float(1.0 / 3_085_511.0 * 100.0));
}

#[test]
fn mounts_that_come_or_go_are_a_change_and_views_of_the_kernel_are_not() {
    let root = "/dev/vda / ext4 rw 0 0\n";
    let answers = "/ 4096 100 50 40 0 0\n/mnt 4096 100 50 40 10 5\n/zero 4096 0 0 0 0 0\n";
    let host = TestHost::new(&[
        ("proc/mounts", &format!("{root}odd /zero odd rw 0 0\n")),
        ("proc/statvfs", answers),
    ]);
    let (mut probe, services) = ready("df", "", &host.host);
    assert_eq!(services[0].fields.len(), 1);
    assert_eq!(services[1].name, "df_abs", "no inodes, as on btrfs");
    let mut out = Cells::new();
    host.write("proc/mounts", &format!("{root}odd /zero odd rw 0 0\nproc /p proc rw 0 0\n"));
    assert_eq!(probe.read(&host.host, &mut out).unwrap(), Read::Done);
    assert_eq!(out.len(), 3);
    host.write("proc/mounts", &format!("{root}odd /zero odd rw 0 0\n/dev/vdb /mnt xfs rw 0 0\n"));
    assert_eq!(probe.read(&host.host, &mut out).unwrap(), Read::Changed);
    let services = probe.discover(&host.host).unwrap();
    assert_eq!(services[1].fields[0].name, "_dev_vdb");
    let (_, services) = ready("df", "exclude = [\"/mnt\"]", &host.host);
    assert_eq!(services[0].fields.len(), 1);
}

fn fields<'s>(services: &'s [ServiceSpec], service: &str) -> Vec<&'s FieldSpec> {
    let of = services.iter().filter(|s| s.name == service);
    of.flat_map(|s| &s.fields).collect()
}

/// Each mount by what it is, how statvfs answers, and what becomes of it in `df`:
/// `-` left out, `0` no limits, `!` judged.
#[test]
fn what_is_full_by_nature_is_no_alarm_and_what_became_full_is() {
    let table = [
        ("/dev/vda / ext4 rw", "4096 100 50 40 10 5", '!'),
        ("snapfuse /snap/a/1 fuse.snapfuse ro,nodev", "131072 506 0 0 11800 0", '-'),
        ("squashfuse /snap/b/2 fuse.squashfuse ro", "131072 720 0 0 900 0", '-'),
        ("fuseiso /iso fuse.fuseiso rw,nosuid", "2048 300 0 0 0 0", '-'),
        ("X.AppImage /tmp/.mount_X fuse.X.AppImage ro", "4096 9 0 0 9 0", '-'),
        ("/dev/sr0 /cd udf2 ro", "2048 300 0 0 0 0", '-'),
        ("/dev/loop1 /e erofs ro", "4096 9 0 0 18446744073709551615 18446744073709551606", '-'),
        ("/dev/loop2 /c cramfs ro", "4096 9 0 0 9 0", '-'),
        ("overlay / overlay ro", "4096 9 0 0 9 0", '-'),
        ("/dev/vdb /golden ext4 ro", "4096 9 0 0 9 0", '-'),
        ("/dev/vdc /archive ext4 ro,errors=remount-ro", "4096 900 9 0 90 9", '0'),
        ("/dev/vdd /sick ext4 ro,errors=remount-ro", "4096 9 0 0 9 0", '!'),
        ("/dev/vde /unsure ext4 ro", "4096 9 0 0 9 0", '!'),
        ("/dev/vdf /b btrfs ro", "4096 9 0 0 0 0", '!'),
        ("/dev/vdg /x xfs ro", "4096 900 9 9 90 9", '0'),
        ("mergerfs /pool fuse.mergerfs rw", "4096 900 0 0 90 9", '!'),
        ("tmpfs /full tmpfs rw", "4096 90 0 0 90 0", '!'),
        ("/dev/vdh /n fuseblk rw", "4096 90 0 0 90 0", '!'),
    ];
    for (mount, answer, want) in table {
        let words: Vec<&str> = mount.split(' ').collect();
        let host = TestHost::new(&[
            ("proc/mounts", &format!("{mount} 0 0\n/dev/other /other ext4 rw 0 0\n")),
            ("proc/statvfs", &format!("{} {answer}\n/other 1 10 5 5 10 5\n", words[1])),
            ("sys/class/block/vdb/ro", "1\n"),
            ("sys/fs/ext4/vdc/errors_count", "0\n"),
            ("sys/fs/ext4/vdd/errors_count", "3\n"),
        ]);
        let (_, services) = ready("df", "", &host.host);
        let df = fields(&services, "df");
        let found = df.iter().find(|f| f.label == words[1]);
        let got = match found.map(|f| f.warning.is_some()) {
            None => '-',
            Some(false) => '0',
            Some(true) => '!',
        };
        assert_eq!(got, want, "{mount}");
        let inode = fields(&services, "df_inode").into_iter().find(|f| f.label == words[1]);
        assert!(inode.is_none_or(|f| f.warning.is_some() == (want == '!')), "{mount}");
    }
}

#[test]
fn a_disk_that_turns_read_only_when_it_is_full_stays_watched() {
    let host = TestHost::new(&[
        ("proc/mounts", "/dev/vda / odd rw 0 0\n"),
        ("proc/statvfs", "/ 4096 100 5 5 10 5\n"),
    ]);
    let (mut probe, _) = ready("df", "", &host.host);
    host.write("proc/mounts", "/dev/vda / odd ro 0 0\n");
    host.write("proc/statvfs", "/ 4096 100 0 0 10 5\n");
    assert_eq!(probe.read(&host.host, &mut Cells::new()).unwrap(), Read::Changed);
    let services = probe.discover(&host.host).unwrap();
    assert_eq!(services[0].fields[0].critical.as_deref(), Some("98"));
}

/// What was nothing, or hung, when it was first looked at.
#[test]
fn what_was_not_ready_at_first_is_seen_later() {
    let mounts = "/dev/vda / ext4 rw 0 0\nlate /late fuse.mergerfs rw 0 0\n";
    let root = "/ 4096 100 50 40 10 5\n";
    let host = TestHost::new(&[
        ("proc/mounts", mounts),
        ("proc/statvfs", &format!("{root}/late 4096 0 0 0 0 0\n")),
    ]);
    let (mut probe, services) = ready("df", "", &host.host);
    assert_eq!(services[0].fields.len(), 1);
    let mut out = Cells::new();
    let mut read = || probe.read(&host.host, &mut out).unwrap();
    let n = (1..).take_while(|_| read() == Read::Done).count();
    assert_eq!(n as u32 + 1, LOOK_AGAIN_READINGS);
    // It does not answer, then it does: an image after all.
    host.write("proc/statvfs", root);
    assert_eq!(probe.discover(&host.host).unwrap()[0].fields.len(), 2);
    assert_eq!(probe.read(&host.host, &mut Cells::new()).unwrap(), Read::Done);
    host.write("proc/statvfs", &format!("{root}/late 4096 9 0 0 9 0\n"));
    assert_eq!(probe.read(&host.host, &mut Cells::new()).unwrap(), Read::Changed);
    assert_eq!(probe.discover(&host.host).unwrap()[0].fields.len(), 1);
}

#[test]
fn a_field_stays_with_its_mount() {
    let root = "/dev/sda2 / ext4 rw 0 0\n";
    let shm = |id: &str| format!("shm /var/lib/docker/containers/{id}/mounts/shm tmpfs rw 0 0\n");
    let host = TestHost::new(&[
        ("proc/mounts", &format!("{root}{}{}{}", shm("a"), shm("b"), shm("c"))),
        ("proc/statvfs", ""),
    ]);
    let names = |host: &TestHost| -> BTreeMap<String, (String, Vec<String>)> {
        let (_, services) = ready("df", "", &host.host);
        let old = |f: &FieldSpec| f.old_names().map(str::to_owned).collect();
        fields(&services, "df")
            .iter()
            .map(|f| (f.label.clone(), (f.name.clone(), old(f))))
            .collect()
    };
    let before = names(&host);
    assert_eq!(before["/"].0, "_dev_sda2");
    let b = "/var/lib/docker/containers/b/mounts/shm";
    assert_eq!(before[b].0, "_var_lib_docker_containers_b_mounts_shm");
    assert_eq!(before[b].1, ["shm_2"], "today's checks go on");
    let (_, services) = ready("df", "", &host.host);
    let size =
        fields(&services, "df_abs").into_iter().find(|f| f.name.ends_with("b_mounts_shm_size"));
    assert_eq!(size.unwrap().old_names().collect::<Vec<_>>(), ["shm_2_size"]);
    host.write("proc/mounts", &format!("{}{}{root}", shm("c"), shm("b")));
    for (mount, (name, _)) in names(&host) {
        assert_eq!(before[&mount].0, name, "{mount}");
    }
    // One alone has Munin's name, but not after it had another.
    let (mut probe, _) = ready("df", "", &host.host);
    host.write("proc/mounts", &format!("{}{root}", shm("c")));
    assert_eq!(names(&host)["/var/lib/docker/containers/c/mounts/shm"].0, "shm");
    let services = probe.discover(&host.host).unwrap();
    assert_eq!(services[0].fields[0].name, "_var_lib_docker_containers_c_mounts_shm");
}

#[test]
fn names_that_collide_are_told_apart_by_what_they_are() {
    let mounts = "/dev/sd-a /1 ext4 rw 0 0\n/dev/sd_a /2 ext4 rw 0 0\n\
        /dev/dm-3 /3 xfs rw 0 0\ntmpfs /data tmpfs rw 0 0\ntmpfs /data_size tmpfs rw 0 0\n\
        tank/a /4 zfs rw 0 0\ntank/a /5 zfs rw 0 0\n";
    let host = TestHost::new(&[
        ("proc/mounts", mounts),
        ("proc/statvfs", ""),
        ("sys/block/dm-3/dm/name", "vg-srv\n"),
    ]);
    let (_, services) = ready("df", "", &host.host);
    let df: Vec<&str> = fields(&services, "df").iter().map(|f| f.name.as_str()).collect();
    assert!(df[0].starts_with("_dev_sd_a_") && df[1].starts_with("_dev_sd_a_"), "{df:?}");
    assert_eq!(df[2..5], ["_dev_mapper_vg_srv", "_data", "_data_size_"]);
    let all: HashSet<&str> = fields(&services, "df_abs").iter().map(|f| f.name.as_str()).collect();
    assert_eq!(all.len(), 14, "{all:?}");
}

/// Against the program that Munin's plugin calls, on the machine of the test.
#[test]
fn the_live_root_is_as_df_says() {
    let host = Host::default();
    let mut probe = Df::default();
    let services = probe.discover(&host).unwrap();
    let cells = values(&mut probe, &host).unwrap();
    let df = std::process::Command::new("df").args(["-P", "-l", "/"]).output().unwrap();
    let text = String::from_utf8(df.stdout).unwrap();
    let words: Vec<&str> = text.lines().nth(1).unwrap().split_whitespace().collect();
    let (used, avail): (f64, f64) = (words[2].parse().unwrap(), words[3].parse().unwrap());
    let field = clean_field(words[0]);
    let Value::Float(percent) = lookup(&services, &cells, "df", &field) else {
        panic!("unknown");
    };
    // Others write to the disk meanwhile.
    assert!((percent - used / (used + avail) * 100.0).abs() < 2.0, "{percent} {text}");
}
