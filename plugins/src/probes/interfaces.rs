//! Traffic and errors of each network interface, from `/proc/net/dev`
//! (proc.rst, 1.4). Services as Munin's `if_NAME` and `if_err_NAME`.
//!
//! Munin types the errors COUNTER; here they are DERIVE with `min 0` like all
//! counters, so that an interface that was made anew is no burst of 2^64.

use super::support::{lines, number, settings, unique, words};
use crate::host::HotFile;
use crate::probe::ProbeConfig;
use crate::{Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};
use serde::Deserialize;
use std::collections::HashSet;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "interfaces",
    about: "traffic and errors of each network interface (/proc/net/dev)",
    waits: false,
    new: |config| Ok(Box::new(Interfaces::new(config)?)),
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// Interfaces to leave out; a `*` at the end stands for anything.
    exclude: Vec<String>,
}

impl Default for Settings {
    /// Loopback, as Munin suggests, and the near ends of containers.
    fn default() -> Settings {
        Settings { exclude: vec!["lo".to_owned(), "veth*".to_owned()] }
    }
}

#[derive(Debug)]
struct Interfaces {
    settings: Settings,
    file: HotFile,
    names: Vec<Vec<u8>>,
}

impl Interfaces {
    fn new(config: &ProbeConfig) -> Result<Interfaces, String> {
        Ok(Interfaces { settings: settings(config)?, file: HotFile::default(), names: Vec::new() })
    }
}

impl Probe for Interfaces {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("net/dev");
        let found = rows(self.file.text()?, &self.settings.exclude);
        self.names = found.map(|(name, _)| name.to_owned()).collect();
        let mut taken = HashSet::new();
        let mut services = Vec::new();
        for name in &self.names {
            let name = String::from_utf8_lossy(name).into_owned();
            let id = unique(clean_id(&name), &mut taken);
            services.push(traffic(&id, &name, speed_mbps(host, &name)));
            services.push(errors(&id, &name));
        }
        Ok(services)
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let mut n = 0;
        for (name, row) in rows(self.file.text()?, &self.settings.exclude) {
            if self.names.get(n).map(Vec::as_slice) != Some(name) {
                return Ok(Read::Changed);
            }
            // bytes packets errs drop fifo frame compressed multicast, twice;
            // in the second half frame is colls.
            for idx in [0, 8, 2, 10, 3, 11, 13] {
                out.push(row[idx]);
            }
            n += 1;
        }
        Ok(if n == self.names.len() { Read::Done } else { Read::Changed })
    }
}

/// Received columns, then sent ones.
type Row = [u64; 16];

/// The interfaces that are watched: those that are not excluded and have
/// carried anything since boot. The heading's lines have no 16 numbers.
fn rows<'a>(text: &'a [u8], exclude: &[String]) -> impl Iterator<Item = (&'a [u8], Row)> {
    lines(text)
        .filter_map(row)
        .filter(|(_, row)| row.iter().any(|n| *n != 0))
        .filter(|(name, _)| !exclude.iter().any(|pattern| matches(pattern, name)))
}

fn row(line: &[u8]) -> Option<(&[u8], Row)> {
    let colon = line.iter().rposition(|b| *b == b':')?;
    let name = line[..colon].trim_ascii();
    let mut row = [0; 16];
    let mut words = words(&line[colon + 1..]);
    for slot in &mut row {
        *slot = number(words.next()?)?;
    }
    (!name.is_empty()).then_some((name, row))
}

fn matches(pattern: &str, name: &[u8]) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start.as_bytes()),
        None => name == pattern.as_bytes(),
    }
}

/// The interface's name as part of a service's: a dot (`eth0.100`) would nest.
fn clean_id(name: &str) -> String {
    let good = |c: char| c.is_ascii_alphanumeric() || c == '-';
    name.chars().map(|c| if good(c) { c } else { '_' }).collect()
}

/// The speed in Mbit/s, where the driver knows one: a file that is absent,
/// refuses (EINVAL) or says -1 means that it does not.
fn speed_mbps(host: &Host, name: &str) -> Option<u64> {
    if name.contains('/') || name.contains("..") {
        return None;
    }
    let text = std::fs::read(host.sys(format!("class/net/{name}/speed"))).ok()?;
    number(text.trim_ascii()).filter(|mbps| *mbps > 0)
}

fn traffic(id: &str, name: &str, speed_mbps: Option<u64>) -> ServiceSpec {
    let speed = speed_mbps.map_or_else(
        || "The driver knows no speed.".to_owned(),
        |mbps| format!("Maximum speed is {mbps} Mbit/s."),
    );
    // As in Munin, the limit is the number of bits on a rate of bytes: wide
    // enough for virtual interfaces, which exceed the speed that they state.
    let max = speed_mbps.map(|mbps| mbps as f64 * 1e6);
    let field = |name: &str, label: &str, info: String| FieldSpec {
        max,
        ..FieldSpec::derive(name, label).cdef(&format!("{name},8,*")).info(&info)
    };
    ServiceSpec {
        order: vec!["down".to_owned(), "up".to_owned()],
        ..ServiceSpec::new(&format!("if_{id}"), &format!("{name} traffic"), "network")
            .vlabel("bits in (-) / out (+) per ${graph_period}")
            .args("--base 1000")
            .info(&format!("Traffic of the network interface {name}; stored in bytes."))
            .fields(vec![
                field("down", "received", format!("Traffic received by {name}. {speed}")).hidden(),
                field(
                    "up",
                    "bps",
                    format!("Traffic of {name}, received (-) and sent (+). {speed}"),
                )
                .negative("down"),
            ])
    }
}

fn errors(id: &str, name: &str) -> ServiceSpec {
    let field = |name: &str, label: &str, info: &str| FieldSpec::derive(name, label).info(info);
    ServiceSpec {
        order: vec!["rcvd".to_owned(), "trans".to_owned()],
        ..ServiceSpec::new(&format!("if_err_{id}"), &format!("{name} errors"), "network")
            .vlabel("packets in (-) / out (+) per ${graph_period}")
            .args("--base 1000")
            .info(&format!("Errors, dropped packets and collisions of the interface {name}."))
            .fields(vec![
                field("rcvd", "errors", "Packets received that were broken")
                    .limits("1", "")
                    .hidden(),
                field("trans", "errors", "Packets broken: received (-) and sent (+)")
                    .limits("1", "")
                    .negative("rcvd"),
                field("rxdrop", "drops", "Packets received and dropped").hidden(),
                field("txdrop", "drops", "Packets dropped: received (-) and to be sent (+)")
                    .negative("rxdrop"),
                field("collisions", "collisions", "Two stations sent at once (half duplex)"),
            ])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::testing::{TestHost, fixture, ints, ready};
    use proptest::prelude::*;

    const HEAD: &str = "Inter-| Receive | Transmit\n face |bytes packets |bytes\n";

    #[test]
    fn the_recorded_machine_has_one_that_carried_something() {
        let host = fixture("vm");
        let (mut probe, services) = ready("interfaces", "", &host);
        let names: Vec<_> = services.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["if_eth0", "if_err_eth0"]);
        assert_eq!(services[0].fields[1].max, Some(1e10));
        assert_eq!(services[0].fields[1].cdef.as_deref(), Some("up,8,*"));
        assert_eq!(ints(probe.as_mut(), &host).unwrap().len(), 7);
        let (_, services) = ready("interfaces", "exclude = []", &host);
        assert_eq!(services[0].name, "if_lo");
    }

    #[test]
    fn columns_go_to_their_fields_and_a_new_interface_is_a_change() {
        let eth = "  eth0.7:10 2 3 4 5 6 7 8 90 10 11 12 13 14 15 16\n";
        let host = TestHost::new(&[("proc/net/dev", &format!("{HEAD}{eth}"))]);
        let (mut probe, services) = ready("interfaces", "", &host.host);
        assert_eq!(services[0].name, "if_eth0_7");
        assert_eq!(ints(probe.as_mut(), &host.host).unwrap(), [10, 90, 3, 11, 4, 12, 14]);
        let wlan = "wlan0: 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let mut out = Cells::new();
        for text in [format!("{HEAD}{eth}{wlan}"), HEAD.to_owned()] {
            host.write("proc/net/dev", &text);
            assert_eq!(probe.read(&host.host, &mut out).unwrap(), Read::Changed);
        }
        host.write("proc/net/dev", &format!("{HEAD}veth0: 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n"));
        assert!(ready("interfaces", "", &host.host).1.is_empty());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>) {
            let _ = rows(&text, &[]).count();
            let _ = row(&[b"eth0: 1 2 3 ", text.as_slice()].concat());
        }
    }
}
