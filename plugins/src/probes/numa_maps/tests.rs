//! Tests of `numa_maps` on the recorded spill, on cgroups, and on this machine.

use super::*;
use crate::Value;
use crate::probes::testing::{TestHost, fixture, lookup, make, ready, values};
use proptest::prelude::*;

#[test]
fn the_recorded_spill_is_exact() {
    let host = fixture("numa-2node/spilled");
    let (mut probe, services) = ready("numa_maps", "processes = [\"hog\"]", &host);
    let cells = values(probe.as_mut(), &host).unwrap();
    let get = |field: &str| match lookup(&services, &cells, "numa_maps_hog", field) {
        Value::Int(v) => v,
        v => panic!("{field}: {v:?}"),
    };
    // Pages of 4 KiB, line by line as recorded.
    assert_eq!(get("N0"), (1 + 120 + 39 + 2 + 1 + 45_690 + 9_984) * 4096);
    assert_eq!(get("N1"), (2 + 3 + 2 + 2 + 20_870 + 10_496 + 3) * 4096);
    assert_eq!(get("anon"), (2 + 3 + 2 + 3 + 66_560 + 20_480 + 3) * 4096);
    assert_eq!(get("dirty"), (1 + 120 + 39 + 4 + 3 + 2 + 3 + 66_560 + 20_480 + 3) * 4096);
    assert_eq!(get("active"), (15 + 5 + 1) * 4096);
    assert_eq!((get("swapcache"), get("mapmax")), (0, 0));
    assert_eq!(probe.step_min(), Some(STEP_MIN));
}

#[test]
fn huge_pages_count_in_their_own_size_and_mapmax_is_a_maximum() {
    let mut sum = maps::empty(&[0, 1]);
    for line in [
        "7f00 default file=/anon_hugepage huge anon=3 dirty=3 N1=3 kernelpagesize_kB=2048\n",
        "7f01 interleave:0-1 mapped=5 mapmax=7 swapcache=1 N0=5 kernelpagesize_kB=4\n",
        "7f02 default mapmax=3 N9=5 strange N0=x kernelpagesize_kB=4\n",
        "7f03 default\n",
    ] {
        maps::add_line(&mut sum, line.as_bytes(), &[0, 1]);
    }
    assert_eq!(sum.nodes, [5 * 4096, 3 * 2048 * 1024]);
    assert_eq!((sum.mapped, sum.swapcache), (Some(5 * 4096), Some(4096)));
    assert_eq!(sum.mapmax, Some(7));
}

fn with_daemon(files: &[(&str, &str)]) -> TestHost {
    let host = TestHost::new(&[
        ("sys/devices/system/node/online", "0-1\n"),
        ("proc/7/comm", "mysqld\n"),
        ("proc/7/numa_maps", "7f0 default anon=9 N0=8 N1=1 kernelpagesize_kB=4\n"),
    ]);
    files.iter().for_each(|(path, text)| host.write(path, text));
    host
}

#[test]
fn a_cgroup_of_its_own_is_read_instead() {
    let group = "sys/fs/cgroup/system.slice/mysql.service";
    let numa_stat = format!("{group}/memory.numa_stat");
    let procs = format!("{group}/cgroup.procs");
    let text = "anon N0=4096 N1=8192\nanon_thp N0=1 N1=1\nfile N0=10 N1=20\nfile_dirty N0=3\n";
    let host = with_daemon(&[
        ("proc/7/cgroup", "0::/system.slice/mysql.service\n"),
        (numa_stat.as_str(), text),
        (procs.as_str(), "7\n"),
    ]);
    let (mut probe, services) = ready("numa_maps", "", &host.host);
    let cells = values(probe.as_mut(), &host.host).unwrap();
    let get = |f: &str| lookup(&services, &cells, "numa_maps_mysqld", f);
    assert_eq!((get("N0"), get("N1")), (Value::Int(4106), Value::Int(8212)));
    assert_eq!((get("anon"), get("dirty")), (Value::Int(12_288), Value::Int(3)));
    assert_eq!((get("active"), get("mapmax")), (Value::Unknown, Value::Unknown));
    // Shared with another process, it says nothing about this one.
    host.write(&procs, "7\n8\n");
    let cells = values(probe.as_mut(), &host.host).unwrap();
    assert_eq!(lookup(&services, &cells, "numa_maps_mysqld", "N0"), Value::Int(8 * 4096));
}

#[test]
fn pages_of_version_one_groups() {
    let text = b"total=9 N0=5 N1=4\nfile=4 N0=4 N1=0\nanon=5 N0=1 N1=4\nunevictable=0 N0=0\n";
    let p = cgroup::parse(text, &[0, 1], 4096).unwrap();
    assert_eq!(p.nodes, [5 * 4096, 4 * 4096]);
    assert_eq!((p.anon, p.dirty), (Some(5 * 4096), None));
}

#[test]
fn a_daemon_that_ends_is_unknown_and_a_new_one_a_change() {
    let host = with_daemon(&[]);
    let (mut probe, _) = ready("numa_maps", "", &host.host);
    host.write("proc/7/comm", "other\n");
    let cells = values(probe.as_mut(), &host.host).unwrap();
    assert_eq!(cells, vec![Some(Value::Unknown); 8]);
    host.write("proc/9/comm", "memcached\n");
    let mut out = Cells::new();
    assert_eq!(probe.read(&host.host, &mut out).unwrap(), Read::Changed);
    host.write("proc/9/comm", "other\n");
    let error = probe.discover(&host.host).unwrap_err();
    assert!(matches!(error, ProbeError::NotHere(_)), "{error}");
    assert!(error.to_string().contains("mysqld or mariadbd or memcached"), "{error}");
}

#[test]
fn a_dear_reading_is_made_seldom() {
    let mut probe = NumaMaps::new(&ProbeConfig::new()).unwrap();
    for (cost_ms, step_s) in [(0, 300), (300, 300), (1_000, 1_000), (60_000, 3_600)] {
        probe.cost = Duration::from_millis(cost_ms);
        assert_eq!(probe.step_min(), Some(Duration::from_secs(step_s)), "{cost_ms} ms");
    }
}

#[test]
fn names_that_cannot_be_are_refused() {
    let new = |text: &str| NumaMaps::new(&text.parse().unwrap());
    assert!(new("processes = [\"a-name-of-16-byte\"]").unwrap_err().contains("15 bytes"));
    assert!(new("proceses = []").unwrap_err().contains("proceses"));
}

/// This test's own process, which it may always read where the kernel has NUMA.
#[test]
fn the_live_machine() {
    let host = Host::default();
    let comm = std::fs::read_to_string("/proc/self/comm").unwrap();
    let config = format!("processes = [{:?}]", comm.trim_end());
    let mut probe = make("numa_maps", &config);
    let services = match probe.discover(&host) {
        Err(ProbeError::NotHere(why)) => {
            return assert!(!host.sys("devices/system/node").exists(), "{why}");
        }
        services => services.unwrap(),
    };
    let cells = values(probe.as_mut(), &host).unwrap();
    let on_nodes: f64 = services[0]
        .fields
        .iter()
        .zip(&cells)
        .filter(|(f, _)| f.name.starts_with('N'))
        .filter_map(|(_, v)| v.and_then(Value::as_f64))
        .sum();
    assert!(on_nodes > 100_000.0, "{on_nodes} bytes resident");
}

/// Process 1 is another user's, or guarded from root too: what is refused says
/// what helps, and what is not refused is read.
#[test]
fn a_refusal_names_the_remedy() {
    let host = Host::default();
    let refused = std::fs::read("/proc/1/numa_maps")
        .is_err_and(|e| e.kind() == std::io::ErrorKind::PermissionDenied);
    let in_group = cgroup::own(&host, &[1], &[0]).is_some();
    match placement(&host, &[1], &[0]) {
        Err(error) => {
            assert!(refused && !in_group);
            let text = error.to_string();
            assert!(text.starts_with("/proc/1/numa_maps: "), "{text}");
            assert!(text.contains("CAP_SYS_PTRACE"), "{text}");
        }
        Ok(_) => assert!(!refused || in_group || !host.proc("1/numa_maps").exists()),
    }
}

proptest! {
    #[test]
    fn garbage_never_panics(line: Vec<u8>, count: u64, kib: u64) {
        let mut sum = maps::empty(&[0, 1]);
        maps::add_line(&mut sum, &line, &[0, 1]);
        let text = format!("x N0={count} N0={count} anon={count} kernelpagesize_kB={kib}");
        maps::add_line(&mut sum, text.as_bytes(), &[0, 1]);
        let _ = cgroup::parse(&line, &[0, 1], count);
        let text = format!("anon N0={count} N1={count}\nfile=3 N0={count}");
        let _ = cgroup::parse(text.as_bytes(), &[0, 1], kib);
    }
}
