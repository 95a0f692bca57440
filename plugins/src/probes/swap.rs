//! Swapping, page faults and the search for free memory, from `/proc/vmstat`
//! (the names are those of include/linux/vm_event_item.h). `swap` is Munin's.

use super::support::{lines, no_settings, number, push, words};
use crate::host::HotFile;
use crate::{Cells, Draw, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "swap",
    about: "pages swapped, page faults, memory reclaim and OOM kills (/proc/vmstat)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Swap::default()) as Box<dyn Probe>),
};

/// How many fields there are, over all three services.
const N: usize = 8;

/// Positions of the services' fields.
const SERVICES: [std::ops::Range<usize>; 3] = [0..2, 2..4, 4..N];

/// Zones of memory, of each of which old kernels count apart. (`pgscan_direct_throttle`
/// is no zone's.)
const ZONES: [&[u8]; 6] = [b"dma", b"dma32", b"normal", b"high", b"movable", b"device"];

#[derive(Debug, Default)]
struct Swap {
    file: HotFile,
    /// Which counts this kernel has.
    offered: [bool; N],
}

impl Probe for Swap {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("vmstat");
        let text = self.file.text()?;
        // By the line, not by its value at this moment.
        let found = keys(text);
        let is_vmstat = lines(text).any(|line| words(line).nth(1).is_some_and(is_number));
        self.offered = found;
        if found.contains(&true) {
            let all = [swap(), page_faults(), reclaim()].into_iter().zip(SERVICES);
            let offered = all.map(|(mut service, at)| {
                let mut has = found[at].iter();
                service.fields.retain(|_| has.next() == Some(&true));
                service
            });
            return Ok(offered.filter(|service| !service.fields.is_empty()).collect());
        }
        match is_vmstat {
            // As in some containers.
            true => Err(ProbeError::NotHere("/proc/vmstat: none of pswpin, pgfault …".to_owned())),
            false => Err(self.file.malformed("has none of pswpin, pgfault, oom_kill")),
        }
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let values = parse(self.file.text()?);
        if values.iter().all(Option::is_none) {
            return Err(self.file.malformed("has none of pswpin, pgfault, oom_kill"));
        }
        if values.iter().zip(self.offered).any(|(value, offered)| value.is_some() && !offered) {
            return Ok(Read::Changed);
        }
        let offered = values.into_iter().zip(self.offered).filter(|(_, offered)| *offered);
        offered.for_each(|(value, _)| push(out, value));
        Ok(Read::Done)
    }
}

fn is_number(word: &[u8]) -> bool {
    number(word).is_some()
}

fn swap() -> ServiceSpec {
    let field = |name: &str, info: &str| FieldSpec {
        max: Some(100_000.0),
        ..FieldSpec::derive(name, "swap").info(info)
    };
    ServiceSpec::new("swap", "Swap in/out", "system")
        .vlabel("pages per ${graph_period} in (-) / out (+)")
        .args("-l 0 --base 1000")
        .info("Pages read from and written to swap. A machine that does both is short of memory.")
        .fields(vec![
            field("swap_in", "Pages read back from swap").hidden(),
            field("swap_out", "Pages written to swap").negative("swap_in"),
        ])
}

fn page_faults() -> ServiceSpec {
    ServiceSpec::new("page_faults", "Page faults", "system")
        .vlabel("faults per ${graph_period}")
        .args("-l 0 --base 1000")
        .info("How often a program touched a page that was not mapped for it.")
        .fields(vec![
            FieldSpec::derive("minor", "minor")
                .info("Served from memory: cheap, and normal when programs start"),
            FieldSpec::derive("major", "major")
                .draw(Draw::Line2)
                .info("Had to wait for a disk: many of them mean that memory is short"),
        ])
}

fn reclaim() -> ServiceSpec {
    ServiceSpec::new("reclaim", "Memory reclaim", "system")
        .vlabel("events per ${graph_period}")
        .args("-l 0 --base 1000")
        .info("What the kernel does when free memory runs low.")
        .fields(vec![
            FieldSpec::derive("scan_kswapd", "scanned in background")
                .info("Pages looked at by kswapd, which frees memory ahead of need"),
            FieldSpec::derive("scan_direct", "scanned directly")
                .info("Pages looked at by programs themselves, which had to wait meanwhile"),
            FieldSpec::derive("allocstall", "stalls")
                .info("Times that a program had to stop and free memory itself"),
            FieldSpec::derive("oom_kill", "OOM kills")
                .draw(Draw::Line2)
                .limits("0", "")
                .info("Processes killed because no memory could be freed"),
        ])
}

/// The count that a key belongs to, as its position among the fields.
fn position(key: &[u8]) -> Option<usize> {
    Some(match key {
        b"pswpin" => 0,
        b"pswpout" => 1,
        b"pgfault" => 2,
        b"pgmajfault" => 3,
        b"pgscan_kswapd" => 4,
        b"pgscan_direct" => 5,
        b"allocstall" => 6,
        b"oom_kill" => 7,
        _ => {
            let sums: [(usize, &[u8]); 3] =
                [(4, b"pgscan_kswapd_"), (5, b"pgscan_direct_"), (6, b"allocstall_")];
            let of = |(at, start): &(usize, &[u8])| {
                key.strip_prefix(*start).filter(|zone| ZONES.contains(zone)).map(|_| *at)
            };
            return sums.iter().find_map(of);
        }
    })
}

/// The lines that may be wanted: a look at the first bytes spares the rest for most.
fn candidates(text: &[u8]) -> impl Iterator<Item = &[u8]> {
    lines(text)
        .filter(|l| matches!(l, [b'p', b's' | b'g', ..] | [b'a', b'l', ..] | [b'o', b'o', ..]))
}

/// Which counts have a line.
fn keys(text: &[u8]) -> [bool; N] {
    let mut found = [false; N];
    for line in candidates(text) {
        if let Some(at) = words(line).next().and_then(position) {
            found[at] = true;
        }
    }
    found
}

/// In the order of the fields. Stalls are one number in old kernels and one per zone
/// (`allocstall_normal` …) in new ones, scanned pages the other way about (per zone
/// before 4.8): their sums.
fn parse(text: &[u8]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for line in candidates(text) {
        let mut words = words(line);
        let Some(at) = words.next().and_then(position) else { continue };
        if let Some(value) = words.next().and_then(number) {
            found[at] = Some(found[at].unwrap_or(0u64).saturating_add(value));
        }
    }
    // Minor faults are those that are not major.
    if let [_, _, Some(all), Some(major), ..] = found {
        found[2] = Some(all.saturating_sub(major));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, fixture, ints, lookup, make, ready, values};
    use proptest::prelude::*;

    #[test]
    fn stalls_are_summed_and_minor_faults_are_the_rest() {
        let text = b"pswpin 5\nallocstall_dma 1\nallocstall_normal 2\npgfault 10\npgmajfault 4\n";
        let n = Some;
        assert_eq!(parse(text), [n(5), None, n(6), n(4), None, None, n(3), None]);
        assert_eq!(parse(b"pswpin x\n"), [None; N]);
    }

    #[test]
    fn a_recorded_machine_has_them_all() {
        let host = fixture("vm");
        let (mut probe, services) = ready("swap", "", &host);
        assert_eq!(services.iter().map(|s| s.fields.len()).sum::<usize>(), N);
        let cells = ints(probe.as_mut(), &host).unwrap();
        assert!(cells[2] > cells[3], "{cells:?}");
    }

    /// As Linux 3.10 prints it, and a container that is shown nothing of it.
    #[test]
    fn an_old_kernel_counts_by_zone_and_has_no_oom_kills() {
        let old = "pswpin 5\npswpout 6\npgfault 10\npgmajfault 4\npgscan_kswapd_dma 1\n\
            pgscan_kswapd_normal 320\npgscan_kswapd_movable 0\npgscan_direct_dma32 400\n\
            pgscan_direct_normal 32\npgscan_direct_throttle 7\nallocstall 9\n";
        let host = TestHost::new(&[("proc/vmstat", old)]);
        let (mut probe, services) = ready("swap", "", &host.host);
        let cells = values(probe.as_mut(), &host.host).unwrap();
        let of = |f: &str| lookup(&services, &cells, "reclaim", f);
        assert_eq!((of("scan_kswapd"), of("scan_direct")), (Value::Int(321), Value::Int(432)));
        assert_eq!(of("allocstall"), Value::Int(9));
        assert!(services[2].field("oom_kill").is_none());
        host.write("proc/vmstat", &format!("{old}oom_kill 1\n"));
        assert_eq!(probe.read(&host.host, &mut Cells::new()).unwrap(), Read::Changed);
        host.write("proc/vmstat", "nr_free_pages 7\noom_kill 1\n");
        let (_, services) = ready("swap", "", &host.host);
        assert_eq!((services.len(), services[0].fields.len()), (1, 1));
        host.write("proc/vmstat", "nr_free_pages 7\n");
        let asked = make("swap", "").discover(&host.host);
        assert!(matches!(asked, Err(ProbeError::NotHere(_))));
        host.write("proc/vmstat", "pgfault many\n");
        let (mut probe, _) = ready("swap", "", &host.host);
        assert!(values(probe.as_mut(), &host.host).is_err(), "offered, and no number");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>, a: u64, b: u64) {
            let _ = parse(&text);
            let _ = parse(format!("pgfault {a}\npgmajfault {b}\nallocstall {a}\nallocstall_x {b}\n")
                .as_bytes());
        }
    }
}
