//! DRBD 9, by `drbdsetup status --json` (drbdsetup-9.0(8)); `/proc/drbd`, which
//! the probe `drbd` reads, has nothing of it. Services are called as there.

use crate::support::run::run;
use crate::support::{Daemon, Names, Odd, Sheet, StableName, probe, settings, timeout};
use rookery_plugins::names::clean_field;
use rookery_plugins::{FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::time::Duration;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "drbd9",
    about: "DRBD 9: connections, copies up to date, out of sync, quorum (drbdsetup)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let program = own.program.unwrap_or_else(|| "drbdsetup".to_owned());
        let (names, odd) = (Names::default(), Odd::default());
        Ok(probe(Drbd { program, timeout: timeout(table)?, names, odd }))
    },
};

/// The most volumes, and connections, that are shown.
const FIELDS_MAX: usize = 200;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    program: Option<String>,
}

struct Drbd {
    program: String,
    timeout: Duration,
    names: Names,
    odd: Odd,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Resource {
    name: String,
    devices: Vec<Device>,
    #[serde(default)]
    connections: Vec<Connection>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Device {
    volume: u32,
    disk_state: String,
    /// Without a disk by intent.
    #[serde(default)]
    client: bool,
    quorum: Option<bool>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Connection {
    name: String,
    connection_state: String,
    #[serde(default, rename = "peer_devices")]
    peer_devices: Vec<PeerDevice>,
}

/// Amounts are in KiB.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct PeerDevice {
    volume: u32,
    peer_disk_state: String,
    #[serde(default)]
    peer_client: bool,
    received: Option<u64>,
    sent: Option<u64>,
    out_of_sync: Option<u64>,
}

/// All resources; one that is not understood is left out and counted.
fn parse(text: &str, odd: &mut Odd) -> Result<Vec<Resource>, String> {
    let foreign = |e| format!("what it prints is not DRBD 9's status: {e}");
    let all: Vec<serde_json::Value> = serde_json::from_str(text).map_err(foreign)?;
    let (mut resources, mut why) = (vec![], None);
    for value in all {
        match serde_json::from_value::<Resource>(value.clone()) {
            Ok(resource) => resources.push(resource),
            Err(e) => {
                odd.left_out(&value.to_string());
                why = why.or(Some(e));
            }
        }
    }
    match why {
        Some(e) if resources.is_empty() => Err(foreign(e)),
        _ => Ok(resources),
    }
}

impl Daemon for Drbd {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let ran = run("drbd9", &self.program, &["status", "--json"], self.timeout)?;
        let of = |why: &str| format!("drbd9: {} status --json: {why}", self.program);
        if !ran.ok {
            // Without the module, or of a version that does not know --json.
            let why = ran.stderr.lines().chain(ran.stdout.lines()).next().unwrap_or("no output");
            return Err(ProbeError::NotHere(of(why)));
        }
        self.odd.begin();
        let resources =
            parse(&ran.stdout, &mut self.odd).map_err(|why| ProbeError::Failed(of(&why)))?;
        if resources.is_empty() {
            return Err(ProbeError::NotHere(of("no resource is up")));
        }
        write(&resources, &mut self.names, sheet);
        self.odd.write("drbd9", "disk", sheet);
        Ok(())
    }

    fn step_min(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }
}

/// A volume of a resource: how it is called, and what the peers have of it.
struct Volume<'a> {
    label: String,
    field: StableName,
    device: &'a Device,
    peers: Vec<&'a PeerDevice>,
}

fn volumes<'a>(resources: &'a [Resource], names: &mut Names) -> Vec<Volume<'a>> {
    let all = resources.iter().flat_map(|r| r.devices.iter().map(move |d| (r, d)));
    let all: Vec<(&Resource, &Device)> = all.take(FIELDS_MAX).collect();
    let label = |(resource, device): &(&Resource, &Device)| match resource.devices.len() {
        1 => resource.name.clone(),
        _ => format!("{}/{}", resource.name, device.volume),
    };
    let labels: Vec<String> = all.iter().map(label).collect();
    let fields = names.fields("volumes", labels.iter().map(String::as_str));
    let volume = |(((resource, device), label), field): (((&'a Resource, &'a Device), _), _)| {
        let peers = resource.connections.iter().flat_map(|c| &c.peer_devices);
        let peers = peers.filter(|p| p.volume == device.volume).collect();
        Volume { label, field, device, peers }
    };
    all.into_iter().zip(labels).zip(fields).map(volume).collect()
}

fn write(resources: &[Resource], names: &mut Names, sheet: &mut Sheet<'_>) {
    let about = |name: &str, title: &str, vlabel: &str, info: &str| {
        ServiceSpec::new(name, title, "disk").vlabel(vlabel).args("-l 0").info(info)
    };
    let volumes = volumes(resources, names);
    let mut service = sheet.service("drbd_connected", |n| {
        let info = "Whether each resource hears each of its peers. While not, the peer's data \
                    gets old.";
        about(n, "DRBD connections", "1 = connected", info).unscaled()
    });
    let pairs = resources.iter().flat_map(|r| r.connections.iter().map(move |c| (r, c)));
    let pairs: Vec<(&Resource, &Connection)> = pairs.take(FIELDS_MAX).collect();
    let thing = |(r, c): &(&Resource, &Connection)| {
        (clean_field(&format!("{}_{}", r.name, c.name)), format!("{} to {}", r.name, c.name))
    };
    let things: Vec<_> = pairs.iter().map(thing).collect();
    let named = names.assign("connections", &things);
    for ((name, (_, label)), (_, connection)) in named.iter().zip(&things).zip(&pairs) {
        let up = connection.connection_state == "Connected";
        service.field(&name.name, Some(u64::from(up)), |n| {
            let spec = FieldSpec::gauge(n, label).limits("", "1:").info("1: it hears its peer");
            name.announce(spec)
        });
    }
    let mut service = sheet.service("drbd_uptodate", |n| {
        let info = "How many copies of each volume are up to date, ours among them.";
        about(n, "DRBD copies up to date", "copies", info).unscaled()
    });
    for Volume { label, field, device, peers } in &volumes {
        let ours = u64::from(device.disk_state == "UpToDate");
        let theirs = peers.iter().filter(|p| p.peer_disk_state == "UpToDate").count() as u64;
        let disks =
            u64::from(!device.client) + peers.iter().filter(|p| !p.peer_client).count() as u64;
        service.field(&field.name, Some(ours + theirs), |n| {
            let spec = FieldSpec::gauge(n, label).limits(&format!("{disks}:"), "1:");
            field.announce(spec.info(&format!("{disks}: every disk that it has")))
        });
    }
    let bytes = |peers: &[&PeerDevice], of: fn(&PeerDevice) -> Option<u64>| {
        let all = peers.iter().map(|p| of(p)?.checked_mul(1024));
        all.reduce(|sum, n| sum?.checked_add(n?)).flatten()
    };
    let mut service = sheet.service("drbd_out_of_sync", |n| {
        let info = "What is still to be copied to the peers, or from them.";
        about(n, "DRBD out of sync", "bytes", info).args("-l 0 --base 1024")
    });
    for Volume { label, field, peers, .. } in &volumes {
        service.field(&field.name, bytes(peers, |p| p.out_of_sync), |n| {
            field.announce(FieldSpec::gauge(n, label).info("Bytes that differ, as far as is known"))
        });
    }
    if volumes.iter().any(|v| v.device.quorum.is_some()) {
        let mut service = sheet.service("drbd_quorum", |n| {
            let info = "Whether enough of the copies are heard to go on writing. Always 1 where \
                        no quorum is asked for.";
            about(n, "DRBD quorum", "1 = has it", info).unscaled()
        });
        for Volume { label, field, device, .. } in &volumes {
            service.optional(&field.name, device.quorum.map(u64::from), |n| {
                let spec = FieldSpec::gauge(n, label).limits("", "1:");
                field.announce(spec.info("0: writing waits, or fails"))
            });
        }
    }
    for Volume { label, field, peers, .. } in &volumes {
        sheet
            .service(&format!("drbd_net.{}", field.name), |name| {
                let vlabel = "bytes received (-) / sent (+) per ${graph_period}";
                let old = field.old.as_deref().map(|old| format!("drbd_net.{old}"));
                about(name, &format!("DRBD network: {label}"), vlabel, "Copied between the peers.")
                    .args("--base 1024")
                    .formerly(old.as_deref())
            })
            .field("received", bytes(peers, |p| p.received), |n| {
                FieldSpec::derive(n, "received").hidden().info("Bytes from the peers")
            })
            .field("sent", bytes(peers, |p| p.sent), |n| {
                FieldSpec::derive(n, "bytes").negative("received").info("Bytes to the peers")
            });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{ask, make, reply};
    use rookery_plugins::Value;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_status_is_read_and_one_that_breaks_off_is_not() {
        let dir = tempfile::tempdir().expect("tmp");
        let program = dir.path().join("drbdsetup");
        let said = |script: &str| {
            let script = format!("#!/bin/sh\n[ \"$*\" = 'status --json' ] || exit 9\n{script}\n");
            std::fs::write(&program, script).expect("writes");
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&program, mode).expect("chmod");
            ask(make("drbd9", &format!("program = {program:?}")).as_mut())
        };
        let text = reply("drbd/9.status.json");
        let (specs, values) = said(&format!("cat <<'E'\n{text}E")).expect("answers");
        for (name, want) in [
            ("drbd_connected.mail_b", 1),
            ("drbd_connected.mail_c", 0),
            ("drbd_uptodate.mail_0", 2),
            ("drbd_uptodate.mail_1", 1),
            ("drbd_uptodate.www", 2),
            ("drbd_out_of_sync.mail_0", 2048 * 1024),
            ("drbd_out_of_sync.mail_1", 524_288 * 1024),
            ("drbd_net.mail_1.sent", 1_048_508 * 1024),
            ("drbd_quorum.mail_0", 1),
            ("drbd_quorum.www", 0),
        ] {
            assert_eq!(values.get(name), Some(&Value::Int(want)), "{name}: {values:?}");
        }
        let copies = specs.iter().find(|s| s.name == "drbd_uptodate").expect("is there");
        let warning = |field: &str| copies.field(field).and_then(|f| f.warning.clone());
        assert_eq!(warning("mail_0").as_deref(), Some("3:"));
        assert_eq!(warning("www").as_deref(), Some("2:"), "one of its peers has no disk by intent");
        let whole = text.trim_end();
        for at in 0..whole.len() {
            assert!(parse(&whole[..at], &mut Odd::default()).is_err(), "cut at {at}");
        }
        // One that is odd costs no other.
        let more = whole.replacen('[', "[{\"name\": \"odd\", \"devices\": 7},", 1);
        let (_, values) = said(&format!("cat <<'E'\n{more}\nE")).expect("answers");
        assert_eq!(values["drbd_uptodate.www"], Value::Int(2));
        assert_eq!(values["drbd9_odd.odd"], Value::Int(1));
        assert!(matches!(said("echo '[]'"), Err(ProbeError::NotHere(_))));
        assert!(matches!(said("echo 'no module' >&2; exit 20"), Err(ProbeError::NotHere(_))));
        for foreign in ["{}", "[{\"a\": 1}]", "hello"] {
            assert!(matches!(said(&format!("echo '{foreign}'")), Err(ProbeError::Failed(_))));
        }
    }
}
