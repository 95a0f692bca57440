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

#[derive(Debug, Default)]
struct Swap {
    file: HotFile,
}

impl Probe for Swap {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("vmstat");
        self.values()?;
        Ok(vec![swap(), page_faults(), reclaim()])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        self.values()?.into_iter().for_each(|v| push(out, v));
        Ok(Read::Done)
    }
}

impl Swap {
    fn values(&mut self) -> Result<[Option<u64>; N], ProbeError> {
        let values = parse(self.file.text()?);
        match values.iter().any(Option::is_some) {
            true => Ok(values),
            false => Err(self.file.malformed("has none of pswpin, pgfault, oom_kill")),
        }
    }
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

/// In the order of the fields. `allocstall` is one number in old kernels and
/// one per zone (`allocstall_normal` …) in new ones: their sum.
fn parse(text: &[u8]) -> [Option<u64>; N] {
    let mut found = [None; N];
    for line in lines(text) {
        // A look at the first bytes spares the rest for most of the lines.
        if !matches!(line, [b'p', b's' | b'g', ..] | [b'a', b'l', ..] | [b'o', b'o', ..]) {
            continue;
        }
        let mut words = words(line);
        let (Some(key), Some(value)) = (words.next(), words.next().and_then(number)) else {
            continue;
        };
        let idx = match key {
            b"pswpin" => 0,
            b"pswpout" => 1,
            b"pgfault" => 2,
            b"pgmajfault" => 3,
            b"pgscan_kswapd" => 4,
            b"pgscan_direct" => 5,
            _ if key.starts_with(b"allocstall") => {
                found[6] = Some(found[6].unwrap_or(0u64).saturating_add(value));
                continue;
            }
            b"oom_kill" => 7,
            _ => continue,
        };
        found[idx] = Some(value);
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
    use crate::probes::testing::{fixture, ints, ready};
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

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>, a: u64, b: u64) {
            let _ = parse(&text);
            let _ = parse(format!("pgfault {a}\npgmajfault {b}\nallocstall {a}\nallocstall_x {b}\n")
                .as_bytes());
        }
    }
}
