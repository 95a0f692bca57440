//! Tests of `df` on a recorded machine, and against `df` itself.

use super::*;
use crate::probes::testing::{TestHost, fixture, lookup, ready, values};

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
