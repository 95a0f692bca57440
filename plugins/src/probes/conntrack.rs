//! Connection tracking: how full its table is, from
//! `/proc/sys/net/netfilter/nf_conntrack_{count,max}`, and what it dropped, from
//! `/proc/net/stat/nf_conntrack` (hexadecimal, a line for each CPU, columns by
//! its head line). Never the table itself, whose reading costs by its length.

use super::support::{no_settings, number};
use crate::host::HotFile;
use crate::one_pass::{OnePass, probe};
use crate::sheet::Sheet;
use crate::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "conntrack",
    about: "tracked connections, their limit, drops (/proc/sys/net/netfilter/nf_conntrack_*)",
    waits: false,
    new: |config| no_settings(config).map(|()| probe(Conntrack::default())),
};

#[derive(Debug, Default)]
struct Conntrack {
    files: Option<[HotFile; 3]>,
}

impl OnePass for Conntrack {
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let dir = "sys/net/netfilter/nf_conntrack_";
        let [count, max, stat] = self.files.get_or_insert_with(|| {
            let stat = host.hot_proc("net/stat/nf_conntrack");
            [host.hot_proc(format!("{dir}count")), host.hot_proc(format!("{dir}max")), stat]
        });
        let one = |file: &mut HotFile| match number(file.text()?.trim_ascii()) {
            Some(n) => Ok(n),
            None => Err(file.malformed("is no number")),
        };
        let (count, max) = (one(count)?, one(max)?);
        // Not every kernel has the counters.
        let sums = stat.text().map(sums).unwrap_or_default();
        write(count, max, sums, sheet);
        Ok(())
    }
}

/// What is counted: the column, the label, what it means.
const DROPS: [(&str, &str, &str); 4] = [
    ("insert_failed", "not entered", "Packets dropped as their connection could not be entered"),
    ("drop", "dropped", "Packets dropped as the table was full"),
    ("early_drop", "pushed out", "Connections pushed out of the full table by new ones"),
    ("invalid", "invalid", "Packets that belong to no connection"),
];

/// The sums of those columns over all CPUs.
fn sums(text: &[u8]) -> [Option<u64>; DROPS.len()] {
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines();
    let head: Vec<&str> = lines.next().unwrap_or("").split_whitespace().collect();
    let rows: Vec<Vec<&str>> = lines.map(|l| l.split_whitespace().collect()).collect();
    DROPS.map(|(name, ..)| {
        let at = head.iter().position(|h| *h == name)?;
        let cells = rows.iter().map(|row| u64::from_str_radix(row.get(at)?, 16).ok());
        cells.collect::<Option<Vec<u64>>>().map(|all| all.into_iter().fold(0, u64::wrapping_add))
    })
}

fn write(count: u64, max: u64, drops: [Option<u64>; DROPS.len()], sheet: &mut Sheet<'_>) {
    sheet
        .service("conntrack", |n| {
            ServiceSpec::new(n, "Tracked connections", "network")
                .vlabel("connections")
                .args("-l 0 --base 1000")
                .info("Connections that the packet filter knows. At the limit new ones are lost.")
        })
        .field("count", Some(count), |n| {
            FieldSpec::gauge(n, "tracked").draw(Draw::Area).info("Connections in the table")
        })
        .field("max", Some(max), |n| {
            FieldSpec::gauge(n, "limit").info("net.netfilter.nf_conntrack_max")
        });
    // No limit (0): nothing to be a share of.
    if max > 0 {
        sheet
            .service("conntrack_used", |n| {
                ServiceSpec::new(n, "Tracked connections in use", "network")
                    .vlabel("%")
                    .args("-l 0 -u 100")
                    .unscaled()
                    .info("Tracked connections in percent of their limit.")
            })
            .field("used", Some(100.0 * count as f64 / max as f64), |n| {
                let info = "At 100 new connections are dropped";
                FieldSpec::gauge(n, "in use").draw(Draw::Area).limits("80", "95").info(info)
            });
    }
    if drops.iter().all(Option::is_none) {
        return;
    }
    let mut service = sheet.service("conntrack_drops", |n| {
        ServiceSpec::new(n, "Connection tracking drops", "network")
            .vlabel("per ${graph_period}")
            .args("-l 0 --base 1000")
            .info("What was lost in connection tracking.")
    });
    for ((name, label, info), value) in DROPS.into_iter().zip(drops) {
        service.field(name, value, |n| FieldSpec::derive(n, label).info(info));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, fixture, lookup, ready, values};
    use proptest::prelude::*;

    #[test]
    fn all_cpus_count_and_columns_are_found_by_name() {
        let host = fixture("health");
        let (mut probe, services) = ready("conntrack", "", &host);
        let cells = values(probe.as_mut(), &host).unwrap();
        let of = |s: &str, f: &str| lookup(&services, &cells, s, f);
        assert_eq!(of("conntrack", "count"), Value::Int(1200));
        assert_eq!(of("conntrack_drops", "insert_failed"), Value::Int(4));
        assert_eq!(of("conntrack_drops", "early_drop"), Value::Int(256));
        assert_eq!(of("conntrack_used", "used"), Value::Float(100.0 * 1200.0 / 65536.0));
    }

    #[test]
    fn a_kernel_without_counters_has_the_rest() {
        let dir = "proc/sys/net/netfilter/nf_conntrack_";
        let host = TestHost::new(&[(&format!("{dir}count"), "5\n"), (&format!("{dir}max"), "0\n")]);
        let (mut probe, services) = ready("conntrack", "", &host.host);
        assert_eq!(services.len(), 1, "no share of no limit");
        assert_eq!(values(probe.as_mut(), &host.host).unwrap().len(), 2);
    }

    proptest! {
        #[test]
        fn noise_never_panics(text: Vec<u8>) {
            let _ = sums(&text);
            let _ = sums(&[b"drop invalid\n", &text[..]].concat());
        }
    }
}
