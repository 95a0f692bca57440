//! DRBD 8, from `/proc/drbd` (its user's guide, "Retrieving status with
//! /proc/drbd"). DRBD 9 tells nothing there: the probe `drbd9` asks `drbdsetup`.

use super::support::{no_settings, number};
use crate::host::HotFile;
use crate::one_pass::{OnePass, probe};
use crate::sheet::Sheet;
use crate::{FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use std::collections::BTreeMap;
use std::time::Duration;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "drbd",
    about: "DRBD 8: connection, state of the data, what is out of sync (/proc/drbd)",
    waits: false,
    new: |config| no_settings(config).map(|()| probe(Drbd::default())),
};

#[derive(Debug, Default)]
struct Drbd {
    file: Option<HotFile>,
}

/// A device: its number, and the words `key:value` of its lines.
type Device<'a> = (u64, BTreeMap<&'a str, &'a str>);

impl OnePass for Drbd {
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let file = self.file.get_or_insert_with(|| host.hot_proc("drbd"));
        let text = String::from_utf8_lossy(file.text()?).into_owned();
        if !text.starts_with("version:") {
            return Err(file.malformed("does not begin with \"version:\""));
        }
        let devices = parse(&text);
        if devices.is_empty() {
            let why = "/proc/drbd: no devices; the probe drbd9 looks for those of DRBD 9";
            return Err(ProbeError::NotHere(why.to_owned()));
        }
        write(&devices, sheet);
        Ok(())
    }

    fn step_min(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }
}

fn parse(text: &str) -> Vec<Device<'_>> {
    let mut devices: Vec<Device<'_>> = Vec::new();
    for line in text.lines() {
        let (head, rest) = line.split_once(": ").unwrap_or(("", line));
        let device = number(head.trim().as_bytes()).filter(|_| rest.starts_with("cs:"));
        let words = if let Some(n) = device {
            devices.push((n, BTreeMap::new()));
            rest
        } else {
            line
        };
        let Some((_, keys)) = devices.last_mut() else { continue };
        keys.extend(words.split_whitespace().filter_map(|w| w.split_once(':')));
    }
    devices.retain(|(_, keys)| keys.get("cs").is_some_and(|cs| *cs != "Unconfigured"));
    devices
}

/// Connection states in which the peer is heard (drbd_strings.c): a copying that waits for
/// another one, or a peer that may lag behind as it is configured to, is no lost one.
const CONNECTED: [&str; 14] = [
    "Ahead",
    "Behind",
    "Connected",
    "PausedSyncS",
    "PausedSyncT",
    "StartingSyncS",
    "StartingSyncT",
    "WFBitMapS",
    "WFBitMapT",
    "SyncSource",
    "SyncTarget",
    "VerifyS",
    "VerifyT",
    "WFSyncUUID",
];

fn write(devices: &[Device<'_>], sheet: &mut Sheet<'_>) {
    let about = |name: &str, title: &str, vlabel: &str, info: &str| {
        ServiceSpec::new(name, title, "disk").vlabel(vlabel).args("-l 0").info(info)
    };
    let mut service = sheet.service("drbd_connected", |n| {
        let info = "Whether each device hears its peer. While not, the peer's data gets old.";
        about(n, "DRBD connections", "1 = connected", info).unscaled()
    });
    for (n, keys) in devices {
        let connected = keys.get("cs").map(|cs| u64::from(CONNECTED.contains(cs)));
        service.field(&format!("drbd{n}"), connected, |name| {
            FieldSpec::gauge(name, name).limits("", "1:").info("1: it hears its peer")
        });
    }
    let mut service = sheet.service("drbd_uptodate", |n| {
        let info = "How many of the two copies of each device are up to date.";
        about(n, "DRBD copies up to date", "copies", info).unscaled()
    });
    for (n, keys) in devices {
        let copies = keys.get("ds").map(|ds| ds.split('/').filter(|s| *s == "UpToDate").count());
        service.field(&format!("drbd{n}"), copies.map(|c| c as u64), |name| {
            FieldSpec::gauge(name, name).limits("2:", "1:").info("2: ours and the peer's")
        });
    }
    let bytes = |keys: &BTreeMap<&str, &str>, key: &str| {
        keys.get(key).and_then(|kib| number(kib.as_bytes())?.checked_mul(1024))
    };
    let mut service = sheet.service("drbd_out_of_sync", |n| {
        let info = "What is still to be copied to the peer, or from it.";
        about(n, "DRBD out of sync", "bytes", info).args("-l 0 --base 1024")
    });
    for (n, keys) in devices {
        service.field(&format!("drbd{n}"), bytes(keys, "oos"), |name| {
            FieldSpec::gauge(name, name).info("Bytes that differ, as far as is known")
        });
    }
    for (n, keys) in devices {
        sheet
            .service(&format!("drbd_net.drbd{n}"), |name| {
                let vlabel = "bytes received (-) / sent (+) per ${graph_period}";
                about(name, &format!("DRBD network: drbd{n}"), vlabel, "Copied between the peers.")
                    .args("--base 1024")
            })
            .field("received", bytes(keys, "nr"), |name| {
                FieldSpec::derive(name, "received").hidden().info("Bytes from the peer")
            })
            .field("sent", bytes(keys, "ns"), |name| {
                FieldSpec::derive(name, "bytes").negative("received").info("Bytes to the peer")
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, fixture, lookup, make, ready, values};
    use proptest::prelude::*;

    #[test]
    fn a_device_that_is_well_and_one_that_is_copied() {
        let host = fixture("health");
        let (mut probe, services) = ready("drbd", "", &host);
        let cells = values(probe.as_mut(), &host).unwrap();
        let of = |s: &str, f: &str| lookup(&services, &cells, s, f);
        for (service, field, want) in [
            ("drbd_connected", "drbd0", 1),
            ("drbd_connected", "drbd1", 1),
            ("drbd_uptodate", "drbd0", 2),
            ("drbd_uptodate", "drbd1", 1),
            ("drbd_out_of_sync", "drbd1", 524_288 * 1024),
            ("drbd_net.drbd0", "sent", 1_048_508 * 1024),
        ] {
            assert_eq!(of(service, field), Value::Int(want), "{service}.{field}");
        }
        assert!(services[0].field("drbd2").is_none(), "it is not configured");
    }

    #[test]
    fn version_9_is_not_here() {
        let nine = "version: 9.1.13 (api:2/proto:110-121)\nGIT-hash: x\n";
        let host = TestHost::new(&[("proc/drbd", nine)]);
        let asked = make("drbd", "").discover(&host.host);
        assert!(matches!(asked, Err(ProbeError::NotHere(e)) if e.contains("DRBD 9")));
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in "( [0-9]{1,20}: cs:[A-Z/]{0,4}|[a-z]{2}:[0-9]{0,25}| |\n|.){0,40}") {
            let _ = parse(&text);
        }
    }
}
