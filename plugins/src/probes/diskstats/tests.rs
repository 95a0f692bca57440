//! Tests of `diskstats` on recorded and made-up kernels.

use super::*;
use crate::Value;
use crate::probes::testing::{TestHost, fixture, lookup, ready, values};
use proptest::prelude::*;

/// One device with the numbers 1, 2, 3 … as its counters.
fn line(name: &str, columns: usize) -> String {
    let numbers: Vec<String> = (1..=columns).map(|n| n.to_string()).collect();
    format!(" 8 0 {name} {}\n", numbers.join(" "))
}

#[test]
fn the_recorded_machine_has_one_disk() {
    let host = fixture("vm");
    let (mut probe, services) = ready("diskstats", "", &host);
    let names: Vec<_> = services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(names[..2], ["diskstats_latency", "diskstats_latency.vda"]);
    assert_eq!(names.len(), 10);
    let cells = values(probe.as_mut(), &host).unwrap();
    let iops = lookup(&services, &cells, "diskstats_iops.vda", "rdio");
    assert_eq!(lookup(&services, &cells, "diskstats_iops", "vda_rdio"), iops);
}

#[test]
fn columns_of_three_kernels_go_to_their_fields() {
    for (columns, fields) in [(11, 24), (15, 26), (17, 27)] {
        let host = TestHost::new(&[("proc/diskstats", &line("sda", columns))]);
        let (mut probe, services) = ready("diskstats", "", &host.host);
        let cells = values(probe.as_mut(), &host.host).unwrap();
        assert_eq!(cells.len(), fields, "{columns} columns");
        let get = |service: &str, field: &str| lookup(&services, &cells, service, field);
        assert_eq!(get("diskstats_throughput.sda", "wrbytes"), Value::Int(7 * 512));
        assert_eq!(get("diskstats_latency.sda", "avgwait"), Value::Int(4 + 8));
        assert_eq!(get("diskstats_utilization", "sda_util"), Value::Int(10));
        assert_eq!(get("diskstats_queue.sda", "inflight"), Value::Int(9));
        if columns == 17 {
            assert_eq!(get("diskstats_iops.sda", "flio"), Value::Int(16));
            assert_eq!(get("diskstats_throughput.sda", "dcbytes"), Value::Int(14 * 512));
        }
    }
}

#[test]
fn cdefs_name_fields_of_their_own_service() {
    let host = TestHost::new(&[("proc/diskstats", &(line("sda", 17) + &line("dm-0", 17)))]);
    let (_, services) = ready("diskstats", "", &host.host);
    let wait = services[0].field("dm_0_avgwait").unwrap();
    assert_eq!(wait.cdef.as_deref(), Some("dm_0_avgwait,dm_0_ios,/,1000,/"));
    for service in &services {
        for field in &service.fields {
            let words = field.cdef.iter().flat_map(|c| c.split(','));
            for word in words.chain(field.negative.as_deref()) {
                let known = service.field(word).is_some()
                    || word == "/"
                    || word.bytes().all(|b| b.is_ascii_digit());
                assert!(known, "{}.{}: {word}", service.name, field.name);
            }
        }
    }
}

/// Two volumes, in either order of the kernel's numbers.
#[test]
fn volumes_keep_their_names_whatever_their_numbers() {
    let of = |dm0: &str, dm1: &str| {
        let host = TestHost::new(&[
            ("proc/diskstats", &(line("sda", 17) + &line("dm-0", 17) + &line("dm-1", 17))),
            ("sys/block/dm-0/dm/name", dm0),
            ("sys/block/dm-1/dm/name", dm1),
            ("sys/block/sda/device/wwid", "naa.5000c5008e9d1b7a\n"),
        ]);
        ready("diskstats", "", &host.host).1
    };
    let (forth, back) = (of("vg0-root\n", "vg0-mysql\n"), of("vg0-mysql\n", "vg0-root\n"));
    let names = |specs: &[ServiceSpec]| -> Vec<String> {
        let mut all: Vec<_> = specs.iter().map(|s| s.name.clone()).collect();
        all.sort();
        all
    };
    assert_eq!(names(&forth), names(&back));
    let of = |specs: &[ServiceSpec], name: &str| {
        let spec = specs.iter().find(|s| s.name == name).unwrap();
        (spec.title.clone(), spec.old_names().map(str::to_owned).collect::<Vec<_>>())
    };
    let name = "diskstats_latency.vg0_mysql";
    let title = "Disk latency of /dev/mapper/vg0-mysql".to_owned();
    assert_eq!(of(&forth, name), (title.clone(), vec!["diskstats_latency.dm_1".to_owned()]));
    assert_eq!(of(&back, name), (title, vec!["diskstats_latency.dm_0".to_owned()]));
    let field = forth[0].field("vg0_mysql_avgwait").unwrap();
    assert_eq!(field.old_names().collect::<Vec<_>>(), ["dm_1_avgwait"]);
    assert_eq!(
        (field.label.as_str(), field.cdef.as_deref()),
        ("vg0-mysql", Some("vg0_mysql_avgwait,vg0_mysql_ios,/,1000,/"))
    );
    let sda = forth.iter().find(|s| s.name == "diskstats_latency.sda").unwrap();
    assert_eq!(sda.identity(), Some("naa.5000c5008e9d1b7a"));
    assert_eq!(forth.iter().filter(|s| s.identity().is_some()).count(), 1, "one event");
    assert_eq!(sda.old_names().count(), 0);
}

#[test]
fn partitions_loops_and_idle_devices_are_left_out() {
    let text = line("loop0", 17)
        + &line("ram1", 17)
        + &line("sda", 17)
        + &line("sda1", 17)
        + &line("sda2", 17)
        + &line("nvme0n1", 17)
        + &line("nvme0n1p1", 17)
        + &line("dm-1", 17)
        + &line("dm-10", 17)
        + " 8 0 sdb 0 0 0 0 0 0 0 0 0 0 0\n"
        + " 8 1 old1 1 2 3 4\n";
    let found: Vec<_> = rows(text.as_bytes()).map(|(n, _)| String::from_utf8_lossy(n)).collect();
    assert_eq!(found, ["sda", "nvme0n1", "dm-1", "dm-10"]);
}

#[test]
fn a_disk_that_comes_or_goes_is_a_change() {
    let host = TestHost::new(&[("proc/diskstats", &line("sda", 17))]);
    let (mut probe, _) = ready("diskstats", "", &host.host);
    let mut out = Cells::new();
    for text in [line("sda", 17) + &line("sdb", 17), line("sda", 15), line("sdc", 17)] {
        host.write("proc/diskstats", &text);
        assert_eq!(probe.read(&host.host, &mut out).unwrap(), Read::Changed, "{text}");
    }
    host.write("proc/diskstats", "");
    assert_eq!(probe.read(&host.host, &mut out).unwrap(), Read::Changed);
    assert!(probe.discover(&host.host).unwrap().is_empty());
    out.clear();
    assert_eq!(probe.read(&host.host, &mut out).unwrap(), Read::Done);
    assert!(out.is_empty());
}

proptest! {
    #[test]
    fn garbage_never_panics(text: Vec<u8>, counters: [u64; 17]) {
        let _ = rows(&text).count();
        let numbers: Vec<String> = counters.iter().map(u64::to_string).collect();
        let line = format!("8 0 sda {}\n", numbers.join(" "));
        let (_, row) = row(line.trim_end().as_bytes()).unwrap();
        let mut out = Cells::new();
        for graph in &GRAPHS {
            push(&mut out, graph.device, &row);
        }
    }
}
