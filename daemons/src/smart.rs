//! Disks' own view of their health, by `smartctl -j` (smartctl(8), its JSON is
//! described in smartmontools' source, `json.h`). Disks that sleep are not woken.
//! Every five minutes at most: it is a program for each disk, and asks the disk.

use crate::support::run::run;
use crate::support::{Daemon, Sheet, probe, settings, timeout, unique};
use rookery_plugins::names::clean_field;
use rookery_plugins::{FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::HashSet;
use std::time::Duration;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "smart",
    about: "disks' health, temperature, bad sectors, wear (smartctl)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let program = own.program.unwrap_or_else(|| "smartctl".to_owned());
        Ok(probe(Smart { program, timeout: timeout(table)? }))
    },
};

/// The most disks.
const DISKS_MAX: usize = 200;
/// Bits of smartctl's exit code that say that it could not ask: a wrong command
/// line, a device that cannot be opened. The others tell of the disk.
const COULD_NOT_ASK: i64 = 0b11;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    program: Option<String>,
}

struct Smart {
    program: String,
    timeout: Duration,
}

/// What a disk tells.
#[derive(Debug, Default, PartialEq)]
struct Disk {
    name: String,
    failed: Option<u64>,
    temperature: Option<f64>,
    reallocated: Option<u64>,
    pending: Option<u64>,
    uncorrectable: Option<u64>,
    wear: Option<u64>,
    hours: Option<u64>,
}

impl Daemon for Smart {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let scan = self.json(&["--scan", "-j"])?;
        let devices = scan["devices"].as_array().cloned().unwrap_or_default();
        let mut disks = Vec::new();
        for device in devices.iter().take(DISKS_MAX) {
            let name = device["name"].as_str().unwrap_or_default();
            let kind = device["type"].as_str().unwrap_or("auto");
            let told = self.json(&["-j", "-H", "-A", "-n", "standby", "-d", kind, name])?;
            let code = told["smartctl"]["exit_status"].as_i64().unwrap_or(COULD_NOT_ASK);
            if code & COULD_NOT_ASK != 0 && !is_asleep(&told) {
                let why = told["smartctl"]["messages"][0]["string"].as_str().unwrap_or("no reason");
                return Err(ProbeError::Failed(format!(
                    "smart: {name}: {why}; smartctl needs root: give the agent CAP_SYS_RAWIO and \
                     CAP_SYS_ADMIN, or run it as a plugin"
                )));
            }
            disks.push(disk(name, &told));
        }
        match disks.is_empty() {
            true => Err(ProbeError::NotHere("smart: no disk that smartctl knows".to_owned())),
            false => {
                write(&disks, sheet);
                Ok(())
            }
        }
    }

    fn step_min(&self) -> Option<Duration> {
        Some(Duration::from_secs(300))
    }
}

impl Smart {
    fn json(&self, args: &[&str]) -> Result<Json, ProbeError> {
        let ran = run("smart", &self.program, args, self.timeout)?;
        // Its exit code tells of the disk; that it spoke at all is what counts.
        serde_json::from_str(&ran.stdout).map_err(|e| {
            let why = ran.stderr.lines().next().unwrap_or("").to_owned();
            ProbeError::Failed(format!("smart: {}: no JSON: {e} {why}", self.program))
        })
    }
}

/// `-n standby` ends with 2 and says so.
fn is_asleep(told: &Json) -> bool {
    let messages = told["smartctl"]["messages"].as_array();
    messages.is_some_and(|all| {
        all.iter().any(|m| m["string"].as_str().is_some_and(|s| s.contains("STANDBY")))
    })
}

fn disk(name: &str, told: &Json) -> Disk {
    let attribute = |id: u64| {
        let table = told["ata_smart_attributes"]["table"].as_array()?;
        table.iter().find(|a| a["id"] == id)?["raw"]["value"].as_u64()
    };
    let nvme = &told["nvme_smart_health_information_log"];
    Disk {
        name: name.trim_start_matches("/dev/").to_owned(),
        failed: told["smart_status"]["passed"].as_bool().map(|passed| u64::from(!passed)),
        temperature: told["temperature"]["current"].as_f64(),
        reallocated: attribute(5),
        pending: attribute(197),
        uncorrectable: attribute(198).or_else(|| nvme["media_errors"].as_u64()),
        wear: nvme["percentage_used"].as_u64(),
        hours: told["power_on_time"]["hours"].as_u64(),
    }
}

/// A service: name, title, axis, explanation, limits.
type About = (&'static str, &'static str, &'static str, &'static str, (&'static str, &'static str));

fn write(disks: &[Disk], sheet: &mut Sheet<'_>) {
    let mut taken = HashSet::new();
    let named: Vec<(String, &Disk)> =
        disks.iter().map(|d| (unique(clean_field(&d.name), &mut taken), d)).collect();
    let mut graph = |about: About, always: bool, of: &dyn Fn(&Disk) -> Option<f64>| {
        let (name, title, vlabel, info, limits) = about;
        let mut service = sheet.service(name, |n| {
            ServiceSpec::new(n, title, "disk").vlabel(vlabel).args("-l 0").unscaled().info(info)
        });
        for (field, disk) in &named {
            let value = of(disk);
            if always || value.is_some() {
                service.field(field, value, |n| {
                    let spec = FieldSpec::gauge(n, &disk.name);
                    spec.limits(limits.0, limits.1).info("As the disk tells; unknown in its sleep")
                });
            }
        }
    };
    let count = |n: Option<u64>| n.map(|n| n as f64);
    let about = (
        "smart_failed",
        "Disks that give themselves up",
        "1 = failing",
        "Whether a disk's own test says that it is about to fail: replace it.",
        ("", "0"),
    );
    graph(about, true, &|d| count(d.failed));
    let about = (
        "smart_temperature",
        "Disk temperatures",
        "degrees Celsius",
        "How warm the disks are. Above 60 they age fast.",
        ("60", "70"),
    );
    graph(about, false, &|d| d.temperature);
    let about = (
        "smart_reallocated",
        "Disk sectors reallocated",
        "sectors",
        "Bad sectors that were replaced by spare ones. A growing number is a dying disk.",
        ("", ""),
    );
    graph(about, false, &|d| count(d.reallocated));
    let about = (
        "smart_pending",
        "Disk sectors in doubt",
        "sectors",
        "Sectors that could not be read, and wait to be written anew.",
        ("0", ""),
    );
    graph(about, false, &|d| count(d.pending));
    let about = (
        "smart_uncorrectable",
        "Disk errors not corrected",
        "errors",
        "Reads that failed for good: data was lost, unless there is a copy.",
        ("0", ""),
    );
    graph(about, false, &|d| count(d.uncorrectable));
    let about = (
        "smart_wear",
        "Flash wear",
        "% of its life",
        "How much of its promised writes a flash disk has behind it; it may exceed 100.",
        ("90", ""),
    );
    graph(about, false, &|d| count(d.wear));
    let about =
        ("smart_hours", "Disk age", "hours", "How long the disks have been powered.", ("", ""));
    graph(about, false, &|d| count(d.hours));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{Said, ask, make};
    use rookery_plugins::Value;
    use std::os::unix::fs::PermissionsExt;

    /// A smartctl that prints these, by its last word.
    fn said(scan: &str, disk: &str) -> Result<Said, ProbeError> {
        let dir = tempfile::tempdir().expect("tmp");
        let program = dir.path().join("smartctl");
        let script = format!(
            "#!/bin/sh\nif [ \"$1\" = --scan ]; then echo '{scan}'; else echo '{disk}'; exit 4; fi\n"
        );
        std::fs::write(&program, script).expect("writes");
        std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o755)).expect("chmod");
        ask(make("smart", &format!("program = {program:?}")).as_mut())
    }

    const SCAN: &str = r#"{"devices":[{"name":"/dev/sda","type":"sat"}]}"#;

    #[test]
    fn a_failing_disk_tells() {
        let disk = r#"{"smartctl":{"exit_status":12},"smart_status":{"passed":false},
            "temperature":{"current":41},"power_on_time":{"hours":30000},
            "ata_smart_attributes":{"table":[{"id":5,"raw":{"value":16}},
            {"id":197,"raw":{"value":3}}]}}"#;
        let (specs, values) = said(SCAN, disk).expect("reads");
        for (name, want) in [
            ("smart_failed.sda", 1.0),
            ("smart_temperature.sda", 41.0),
            ("smart_reallocated.sda", 16.0),
            ("smart_pending.sda", 3.0),
            ("smart_hours.sda", 30_000.0),
        ] {
            assert_eq!(values.get(name), Some(&Value::Float(want)), "{name}");
        }
        assert!(specs.iter().all(|s| s.name != "smart_wear"), "it is no flash disk");
    }

    #[test]
    fn sleep_is_unknown_and_a_refusal_is_told() {
        let asleep = r#"{"smartctl":{"exit_status":2,"messages":[
            {"string":"Device is in STANDBY mode, exit(2)"}]}}"#;
        let (_, values) = said(SCAN, asleep).expect("is no failure");
        assert_eq!(values["smart_failed.sda"], Value::Unknown);
        let refused = r#"{"smartctl":{"exit_status":2,"messages":[
            {"string":"Smartctl open device: /dev/sda failed: Permission denied"}]}}"#;
        for (scan, disk, want) in [
            (SCAN, refused, "Permission denied; smartctl needs root"),
            (SCAN, "nonsense", "no JSON"),
            (SCAN, "{}", "no reason"),
            (r#"{"devices":[]}"#, "", "no disk that smartctl knows"),
        ] {
            let error = said(scan, disk).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
