//! Traffic and errors of each network interface, from `/proc/net/dev`
//! (proc.rst, 1.4). Services as Munin's `if_NAME` and `if_err_NAME`.
//!
//! Munin types the errors COUNTER; here they are DERIVE with `min 0` like all
//! counters, so that an interface that was made again is no burst of 2^64. And a speed
//! that is stated is only told: Munin's `max` by it would hide the busiest hours of all
//! that state another than they have (tun and tap always say 10 Mbit/s; bonds, wireless
//! ones, a link that is not up yet).

use super::support::{StableName, lines, number, settings, stable_names, words};
use crate::host::HotFile;
use crate::probe::ProbeConfig;
use crate::{Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};
use serde::Deserialize;

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
    /// What they state, for their descriptions.
    speeds: Vec<Option<u64>>,
    /// Readings since a look at the speeds.
    readings: u32,
}

/// A look at what the drivers state as speed is made each so many readings: it costs as
/// much as all else here.
const SPEED_READINGS: u32 = 60;

impl Interfaces {
    fn new(config: &ProbeConfig) -> Result<Interfaces, String> {
        let (file, names, speeds) = (HotFile::default(), Vec::new(), Vec::new());
        Ok(Interfaces { settings: settings(config)?, file, names, speeds, readings: 0 })
    }

    fn stated(&self, host: &Host) -> Vec<Option<u64>> {
        let name = |name: &Vec<u8>| String::from_utf8_lossy(name).into_owned();
        self.names.iter().map(|n| speed_mbps(host, &name(n))).collect()
    }
}

impl Probe for Interfaces {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("net/dev");
        let found = rows(self.file.text()?, &self.settings.exclude);
        self.names = found.map(|(name, _)| name.to_owned()).collect();
        (self.speeds, self.readings) = (self.stated(host), 0);
        let names: Vec<String> =
            self.names.iter().map(|n| String::from_utf8_lossy(n).into_owned()).collect();
        // `eth0.7` and `eth0_7` want one name.
        let wishes: Vec<_> = names.iter().map(|name| (clean_id(name), name.as_str())).collect();
        let ids = stable_names(&wishes);
        let named = ids.iter().zip(&names).zip(&self.speeds);
        let both = |((id, name), speed): ((&StableName, &String), &Option<u64>)| {
            let old = |kind: &str| id.old.as_ref().map(|old| format!("{kind}_{old}"));
            [
                traffic(&id.name, name, *speed).formerly(old("if").as_deref()),
                errors(&id.name, name).formerly(old("if_err").as_deref()),
            ]
        };
        Ok(named.flat_map(both).collect())
    }

    fn read(&mut self, host: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        self.readings += 1;
        if self.readings >= SPEED_READINGS {
            self.readings = 0;
            if self.stated(host) != self.speeds {
                return Ok(Read::Changed);
            }
        }
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
        || "The driver states no speed.".to_owned(),
        |mbps| format!("The driver states a speed of {mbps} Mbit/s."),
    );
    let field = |name: &str, label: &str, info: String| {
        FieldSpec::derive(name, label).cdef(&format!("{name},8,*")).info(&info)
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
        assert!(services[0].fields[1].info.contains("10000 Mbit/s"));
        assert_eq!(services[0].fields[1].max, None, "stated, not kept to");
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

    #[test]
    fn two_that_clean_to_one_name_keep_theirs_in_any_order() {
        let line = |name: &str| format!("{name}: 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n");
        let services = |names: [&str; 2]| {
            let text = format!("{HEAD}{}{}", line(names[0]), line(names[1]));
            let host = TestHost::new(&[("proc/net/dev", &text)]);
            let mut by_title = std::collections::BTreeMap::new();
            for service in ready("interfaces", "", &host.host).1 {
                let old: Vec<String> = service.old_names().map(str::to_owned).collect();
                by_title.insert(service.title.clone(), (service.name.clone(), old));
            }
            by_title
        };
        let (forth, back) = (services(["eth0.7", "eth0_7"]), services(["eth0_7", "eth0.7"]));
        for (title, (name, old)) in &forth {
            assert_eq!(back[title].0, *name, "{title}");
            assert_eq!(old.len(), 1, "{title}");
        }
        assert_eq!(forth["eth0.7 errors"].1, ["if_err_eth0_7"]);
        assert_eq!(forth["eth0_7 traffic"].1, ["if_eth0_7_2"]);
    }

    #[test]
    fn a_speed_that_changes_is_told_anew() {
        let eth = "eth0: 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0\n";
        let host = TestHost::new(&[("proc/net/dev", &format!("{HEAD}{eth}"))]);
        let (mut probe, services) = ready("interfaces", "", &host.host);
        assert!(services[0].fields[1].info.contains("states no speed"));
        host.write("sys/class/net/eth0/speed", "1000\n");
        let mut out = Cells::new();
        let mut read = || probe.read(&host.host, &mut out).unwrap();
        let n = (1..).take_while(|_| read() == Read::Done).count();
        assert_eq!(n as u32 + 1, SPEED_READINGS);
        let services = probe.discover(&host.host).unwrap();
        assert!(services[0].fields[1].info.contains("1000 Mbit/s"));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>) {
            let _ = rows(&text, &[]).count();
            let _ = row(&[b"eth0: 1 2 3 ", text.as_slice()].concat());
        }
    }
}
