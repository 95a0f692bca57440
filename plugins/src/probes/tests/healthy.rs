//! Probes that judge by themselves, on hosts on which all is well: each against sources
//! that lack what is judged, that sleep, or that somebody configured so. None of them may
//! be an alarm, nor unknown, forever; and beside each stands one that is sick, on which
//! the same probe is not silent.

use crate::probes::PROBES;
use crate::probes::testing::{TestHost, fixture, make, values};
use crate::{Range, Value};
use std::collections::BTreeSet;

/// What a probe's judged fields say, worst first: `alarm`, `unknown`, `fine`, or `none`
/// where nothing is judged.
fn judged(probe: &str, files: &[(&str, &str)]) -> &'static str {
    let host = TestHost::new(files);
    let mut probe = make(probe, "");
    let Ok(services) = probe.discover(&host.host) else { return "none" };
    let Ok(cells) = values(probe.as_mut(), &host.host) else { return "alarm" };
    let fields = services.iter().flat_map(|s| &s.fields);
    let (mut is_judged, mut is_unknown, mut is_alarm) = (false, false, false);
    for (field, value) in fields.zip(cells) {
        let limits = [&field.warning, &field.critical].into_iter().flatten();
        let ranges: Vec<Range> = limits.map(|text| Range::from_munin(text).unwrap()).collect();
        // Of a rate, the limit is no matter of one reading.
        if ranges.is_empty() || field.kind != crate::FieldType::Gauge {
            is_unknown |= !ranges.is_empty() && value == Some(Value::Unknown);
            is_judged |= !ranges.is_empty();
            continue;
        }
        is_judged = true;
        match value.and_then(Value::as_f64) {
            Some(v) => is_alarm |= ranges.iter().any(|range| range.alerts(v)),
            None => is_unknown |= value == Some(Value::Unknown),
        }
    }
    match (is_alarm, is_unknown, is_judged) {
        (true, ..) => "alarm",
        (_, true, _) => "unknown",
        (_, _, true) => "fine",
        _ => "none",
    }
}

/// The probe, why, its files, and what comes of them.
type Case = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static str);

const MDSTAT: &str = "proc/mdstat";
const VMSTAT: &str = "proc/vmstat";
const CHIP: &str = "sys/class/hwmon/hwmon0/name";
const TEMP: &str = "sys/class/hwmon/hwmon0/temp1_input";
const CRIT: &str = "sys/class/hwmon/hwmon0/temp1_crit";
const MOUNTS: &str = "proc/mounts";
const STATVFS: &str = "proc/statvfs";
const COUNT: &str = "proc/sys/net/netfilter/nf_conntrack_count";
const MAX: &str = "proc/sys/net/netfilter/nf_conntrack_max";
const FILES: &str = "proc/sys/fs/file-nr";
const DEV: &str = "proc/net/dev";
const DRBD: &str = "proc/drbd";

#[rustfmt::skip]
const CASES: &[Case] = &[
    // What the source does not have.
    ("swap", "no oom_kill before Linux 4.13", &[(VMSTAT, "pgfault 1\npgscan_kswapd_dma 1\n")], "none"),
    ("swap", "only OOM kills", &[(VMSTAT, "oom_kill 0\n")], "fine"),
    ("conntrack", "no limit", &[(COUNT, "9\n"), (MAX, "0\n")], "none"),
    ("conntrack", "nearly full", &[(COUNT, "99\n"), (MAX, "100\n")], "alarm"),
    ("open_files", "no limit", &[(FILES, "9\t0\t9223372036854775807\n")], "none"),
    ("open_files", "nearly full", &[(FILES, "99\t0\t100\n")], "alarm"),
    ("df", "no inodes", &[(MOUNTS, "/dev/a / btrfs rw 0 0\n"), (STATVFS, "/ 1 9 5 5 0 0\n")], "fine"),
    ("df", "a view of the kernel", &[(MOUNTS, "x /x odd rw 0 0\n"), (STATVFS, "/x 1 0 0 0 0 0\n")], "none"),
    ("sensors", "no limits", &[(CHIP, "x\n"), (TEMP, "99000\n")], "none"),
    ("sensors", "not connected", &[(CHIP, "x\n"), (CRIT, "90000\n"), (TEMP, "-128000\n"),
        ("sys/class/hwmon/hwmon0/temp1_fault", "1\n")], "none"),
    ("sensors", "cannot be read", &[(CHIP, "x\n"), (CRIT, "90000\n"), (TEMP, "?\n")], "none"),
    ("sensors", "too hot", &[(CHIP, "x\n"), (CRIT, "90000\n"), (TEMP, "95000\n")], "alarm"),
    ("interfaces", "carries nothing", &[(DEV, "eth0: 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n")], "none"),
    // What sleeps.
    ("sensors", "a card that sleeps", &[(CHIP, "x\n"), (CRIT, "90000\n"), (TEMP, "?\n"),
        ("sys/class/hwmon/hwmon0/device/power/runtime_status", "suspended\n")], "none"),
    ("raid", "read-only until written to",
        &[(MDSTAT, "Personalities :\nmd1 : active (auto-read-only) raid1 b[1] a[0]\n      9 blocks [2/2] [UU]\n")], "fine"),
    ("drbd", "its copying waits",
        &[(DRBD, "version: 8.4\n 0: cs:PausedSyncS ro:Primary/Secondary ds:UpToDate/UpToDate\n    ns:1 oos:0\n")], "fine"),
    // What is configured so.
    ("raid", "a container of fake RAID",
        &[(MDSTAT, "Personalities :\nmd127 : inactive a[1](S) b[0](S)\n      6306 blocks super external:imsm\n")], "none"),
    ("raid", "a container of DDF beside its array", &[(MDSTAT, "Personalities :\n\
        md126 : active raid1 a[1] b[0]\n      9 blocks super external:/md127/0 [2/2] [UU]\n\
        md127 : inactive a[1](S) b[0](S)\n      6306 blocks super external:ddf\n")], "fine"),
    ("raid", "an array of fake RAID lacks a disk", &[(MDSTAT, "Personalities :\n\
        md126 : active raid1 a[1]\n      9 blocks super external:/md127/0 [2/1] [U_]\n")], "alarm"),
    ("raid", "an array that does not run",
        &[(MDSTAT, "Personalities :\nmd5 : inactive a[0](S)\n      9 blocks super 1.2\n")], "alarm"),
    ("drbd", "a peer that may lag behind",
        &[(DRBD, "version: 8.4\n 0: cs:Ahead ro:Primary/Secondary ds:UpToDate/UpToDate\n    ns:1 oos:8\n")], "fine"),
    ("drbd", "not configured",
        &[(DRBD, "version: 8.4\n 0: cs:Unconfigured\n")], "none"),
    ("drbd", "alone",
        &[(DRBD, "version: 8.4\n 0: cs:StandAlone ro:Primary/Unknown ds:UpToDate/DUnknown\n    ns:1 oos:8\n")], "alarm"),
    ("df", "an image", &[(MOUNTS, "x /x fuse.x ro 0 0\n"), (STATVFS, "/x 1 9 0 0 9 0\n")], "none"),
    ("df", "read-only and nearly full", &[(MOUNTS, "x /x fuse.x ro 0 0\n"), (STATVFS, "/x 1 900 9 9 9 5\n")], "none"),
    ("df", "full", &[(MOUNTS, "/dev/a / ext4 rw 0 0\n"), (STATVFS, "/ 1 900 9 9 9 5\n")], "alarm"),
    ("df", "without a free inode", &[(MOUNTS, "/dev/a / ext4 rw 0 0\n"), (STATVFS, "/ 1 900 800 800 900 0\n")], "alarm"),
    ("df", "several devices, one full",
        &[(MOUNTS, "/dev/a:/dev/b / bcachefs rw 0 0\n"), (STATVFS, "/ 1 900 9 9 0 0\n")], "alarm"),
];

#[test]
fn what_is_well_is_no_alarm_and_what_is_sick_is_one() {
    for (probe, why, files, want) in CASES {
        assert_eq!(judged(probe, files), *want, "{probe}: {why}");
    }
}

/// A probe that gets limits needs lines in the table above.
#[test]
fn every_probe_with_limits_stands_in_the_table() {
    let mut with_limits = BTreeSet::new();
    for entry in PROBES {
        for recorded in ["vm", "health"] {
            let mut probe = make(entry.name, "");
            let services = probe.discover(&fixture(recorded)).unwrap_or_default();
            let mut fields = services.iter().flat_map(|s| &s.fields);
            if fields.any(|f| f.warning.is_some() || f.critical.is_some()) {
                with_limits.insert(entry.name);
            }
        }
    }
    let table: BTreeSet<&str> = CASES.iter().map(|(probe, ..)| *probe).collect();
    assert_eq!(with_limits, table);
}
