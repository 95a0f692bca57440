//! Disks' own view of their health, by `smartctl -j` (smartctl(8), its JSON is
//! described in smartmontools' source, `json.h`). Disks that sleep are not woken.
//! Every five minutes at most: it is a program for each disk, and asks the disk.

use crate::support::run::run;
use crate::support::{Daemon, Names, Odd, Sheet, StableName, probe, settings, timeout};
use rookery_plugins::names::clean_field;
use rookery_plugins::{FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use serde_json::Value as Json;
use std::collections::HashMap;
use std::time::Duration;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "smart",
    about: "disks' health, temperature, bad sectors, wear (smartctl)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let program = own.program.unwrap_or_else(|| "smartctl".to_owned());
        let (known, names, odd) = (HashMap::new(), Names::default(), Odd::default());
        Ok(probe(Smart { program, timeout: timeout(table)?, known, names, odd }))
    },
};

const TEMPERATURE: &str = "smart_temperature";
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
    /// What each disk told last, by [`Device::what`].
    known: HashMap<String, Disk>,
    names: Names,
    odd: Odd,
}

/// A disk as `smartctl --scan` names it.
#[derive(Clone, Debug, PartialEq)]
struct Device {
    path: String,
    kind: String,
}

impl Device {
    /// The path without `/dev/`, and for one behind a controller (`megaraid,3`,
    /// `sat+cciss,0`) its place there: they share the controller's path.
    fn what(&self) -> String {
        let name = self.path.trim_start_matches("/dev/");
        match self.kind.contains(',') {
            true => format!("{name} {}", self.kind),
            false => name.to_owned(),
        }
    }
}

/// What a disk tells.
#[derive(Clone, Debug, Default, PartialEq)]
struct Disk {
    /// Model and serial number, as far as it tells them.
    model: String,
    asleep: bool,
    /// It told the rest once, and can no longer be asked.
    lost: bool,
    failed: Option<u64>,
    temperature: Option<f64>,
    /// Its own limits, degrees Celsius: too warm, and much too warm.
    temperature_max: (Option<f64>, Option<f64>),
    reallocated: Option<u64>,
    pending: Option<u64>,
    uncorrectable: Option<u64>,
    wear: Option<u64>,
    hours: Option<u64>,
}

impl Daemon for Smart {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        self.odd.begin();
        let scan = self.json(&["--scan", "-j"])?;
        let devices = scan["devices"].as_array().cloned().unwrap_or_default();
        let (mut disks, mut refusal) = (Vec::new(), None);
        for device in devices.iter().take(DISKS_MAX) {
            let text = |key: &str, or: &str| device[key].as_str().unwrap_or(or).to_owned();
            let device = Device { path: text("name", ""), kind: text("type", "auto") };
            match self.disk(&device) {
                Ok(disk) => disks.push((device.what(), disk)),
                Err(why) => {
                    self.odd.left_out(&why);
                    // One that answered before must not fall silent.
                    if let Some(last) = self.known.get(&device.what()).cloned() {
                        disks.push((device.what(), Disk { lost: true, ..last }));
                    }
                    refusal = refusal.or(Some(why));
                }
            }
        }
        match (disks.is_empty(), refusal) {
            (true, Some(why)) => Err(ProbeError::Failed(format!(
                "smart: {why}; smartctl needs root: give the agent CAP_SYS_RAWIO and \
                 CAP_SYS_ADMIN, or run it as a plugin"
            ))),
            (true, None) => {
                Err(ProbeError::NotHere("smart: no disk that smartctl knows".to_owned()))
            }
            (false, _) => {
                let things: Vec<_> =
                    disks.iter().map(|(what, _)| (clean_field(what), what.clone())).collect();
                let named = self.names.assign("", &things);
                let named: Vec<Named> = named.into_iter().zip(disks).collect();
                write(&named, sheet);
                self.odd.write("smart", "disk", sheet);
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

    /// What a disk tells; of one that sleeps what it told last, but for its
    /// temperature. An error says why it could not be asked.
    fn disk(&mut self, device: &Device) -> Result<Disk, String> {
        let Device { path, kind } = device;
        let told = self
            .json(&["-j", "-i", "-H", "-A", "-n", "standby", "-d", kind, path])
            .map_err(|e| format!("{path}: {e}"))?;
        if is_asleep(&told) {
            let last = self.known.get(&device.what()).cloned().unwrap_or_default();
            return Ok(Disk { asleep: true, temperature: None, ..last });
        }
        let code = told["smartctl"]["exit_status"].as_i64().unwrap_or(COULD_NOT_ASK);
        if code & COULD_NOT_ASK != 0 {
            let why = told["smartctl"]["messages"][0]["string"].as_str().unwrap_or("no reason");
            return Err(format!("{path}: {why}"));
        }
        let disk = Disk::read(&told);
        self.known.insert(device.what(), disk.clone());
        Ok(disk)
    }
}

/// `-n standby` ends with 2 and says "Device is in STANDBY mode", or in SLEEP mode.
fn is_asleep(told: &Json) -> bool {
    let says = |text: &str| {
        let mode = text.strip_prefix("Device is in ");
        mode.is_some_and(|mode| mode.contains("STANDBY") || mode.contains("SLEEP"))
    };
    let messages = told["smartctl"]["messages"].as_array();
    messages.is_some_and(|all| all.iter().any(|m| m["string"].as_str().is_some_and(says)))
}

impl Disk {
    fn read(told: &Json) -> Disk {
        let attribute = |id: u64| {
            let table = told["ata_smart_attributes"]["table"].as_array()?;
            table.iter().find(|a| a["id"] == id)?["raw"]["value"].as_u64()
        };
        let words = [&told["model_name"], &told["serial_number"]];
        let words: Vec<&str> = words.iter().filter_map(|word| word.as_str()).collect();
        let (nvme, warmth) = (&told["nvme_smart_health_information_log"], &told["temperature"]);
        let max = |key: &str| warmth[key].as_f64().filter(|max| *max > 0.0);
        Disk {
            model: words.join(", "),
            asleep: false,
            lost: false,
            failed: told["smart_status"]["passed"].as_bool().map(|passed| u64::from(!passed)),
            temperature: warmth["current"].as_f64(),
            temperature_max: match nvme.is_object() {
                true => (max("op_limit_max").or(Some(80.0)), max("critical_limit_max")),
                false => (None, None),
            },
            reallocated: attribute(5),
            pending: attribute(197),
            uncorrectable: attribute(198).or_else(|| nvme["media_errors"].as_u64()),
            wear: nvme["percentage_used"].as_u64(),
            hours: told["power_on_time"]["hours"].as_u64(),
        }
    }

    /// WARNING and CRITICAL above, degrees Celsius. Flash of this kind is meant to
    /// be warmer than a disk that turns. None for one that sleeps: it is not asked.
    fn temperature_limits(&self) -> (String, String) {
        if self.asleep {
            return (String::new(), String::new());
        }
        let (warm, hot) = self.temperature_max;
        let warm = warm.unwrap_or(60.0);
        let hot = hot.unwrap_or(warm + 10.0);
        (warm.to_string(), hot.max(warm).to_string())
    }
}

/// A disk, and its field.
type Named = (StableName, (String, Disk));

/// A service: name, title, axis, explanation, limits.
type About = (&'static str, &'static str, &'static str, &'static str, (&'static str, &'static str));

fn write(named: &[Named], sheet: &mut Sheet<'_>) {
    for (_, (_, disk)) in named {
        // Limits and texts change with them.
        sheet.note(&disk.model);
        sheet.note(if disk.asleep { "asleep" } else { "awake" });
    }
    let label = |what: &str, disk: &Disk| match disk.model.as_str() {
        "" => what.to_owned(),
        model => format!("{what} ({model})"),
    };
    let mut graph = |about: About, of: &dyn Fn(&Disk) -> Option<f64>| {
        let (name, title, vlabel, info, limits) = about;
        let mut service = sheet.service(name, |n| {
            ServiceSpec::new(n, title, "disk").vlabel(vlabel).args("-l 0").unscaled().info(info)
        });
        for (field, (what, disk)) in named {
            let describe = |n: &str| {
                let spec = FieldSpec::gauge(n, &label(what, disk));
                let own = disk.temperature_limits();
                let limits = if name == TEMPERATURE { (&*own.0, &*own.1) } else { limits };
                let spec = spec.limits(limits.0, limits.1);
                field.announce(spec.info("As the disk tells; of one that sleeps its last word"))
            };
            match of(disk) {
                Some(_) if disk.lost => {
                    service.field(&field.name, None::<f64>, describe);
                }
                // A virtual disk, or one behind a bridge, does not tell all of it.
                value => {
                    service.optional(&field.name, value, describe);
                }
            }
        }
    };
    graph(
        (
            "smart_asleep",
            "Disks asleep",
            "1 = asleep",
            "Which disks sleep: they are not woken, and their last words stand.",
            ("", ""),
        ),
        &|d| Some(f64::from(u8::from(d.asleep))),
    );
    let count = |n: Option<u64>| n.map(|n| n as f64);
    let about = (
        "smart_failed",
        "Disks that give themselves up",
        "1 = failing",
        "Whether a disk's own test says that it is about to fail: replace it.",
        ("", "0"),
    );
    graph(about, &|d| count(d.failed));
    let about = (
        TEMPERATURE,
        "Disk temperatures",
        "degrees Celsius",
        "How warm the disks are; unknown while one sleeps. Above 60 disks age fast; NVMe is \
         judged by its own limits.",
        ("", ""),
    );
    graph(about, &|d| d.temperature);
    let about = (
        "smart_reallocated",
        "Disk sectors reallocated",
        "sectors",
        "Bad sectors that were replaced by spare ones. A growing number is a dying disk.",
        ("", ""),
    );
    graph(about, &|d| count(d.reallocated));
    let about = (
        "smart_pending",
        "Disk sectors in doubt",
        "sectors",
        "Sectors that could not be read, and wait to be written anew.",
        ("0", ""),
    );
    graph(about, &|d| count(d.pending));
    let about = (
        "smart_uncorrectable",
        "Disk errors not corrected",
        "errors",
        "Reads that failed for good: data was lost, unless there is a copy.",
        ("0", ""),
    );
    graph(about, &|d| count(d.uncorrectable));
    let about = (
        "smart_wear",
        "Flash wear",
        "% of its life",
        "How much of its promised writes a flash disk has behind it; it may exceed 100.",
        ("90", ""),
    );
    graph(about, &|d| count(d.wear));
    let about =
        ("smart_hours", "Disk age", "hours", "How long the disks have been powered.", ("", ""));
    graph(about, &|d| count(d.hours));
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{Said, ask, make};
    use rookery_plugins::Value;
    use std::os::unix::fs::PermissionsExt;

    /// A smartctl that prints `scan`, and of each device what is in a file of its
    /// name (`sda`, `bus_0_megaraid_1`).
    struct Fake(tempfile::TempDir, Box<dyn rookery_plugins::Probe>);

    impl Fake {
        fn new(scan: &str) -> Fake {
            let dir = tempfile::tempdir().expect("tmp");
            let program = dir.path().join("smartctl");
            let script = format!(
                "#!/bin/sh\nif [ \"$1\" = --scan ]; then echo '{scan}'; exit; fi\n\
                 for last; do :; done\nname=$(echo \"${{last#/dev/}}\" | tr / _)\n\
                 case $8 in *,*) name=${{name}}_$(echo $8 | tr , _);; esac\n\
                 cat {}/$name\nexit 4\n",
                dir.path().display()
            );
            std::fs::write(&program, script).expect("writes");
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&program, mode).expect("chmod");
            let probe = make("smart", &format!("program = {program:?}"));
            Fake(dir, probe)
        }

        fn tells(&self, disk: &str, text: &str) {
            std::fs::write(self.0.path().join(disk), text).expect("writes");
        }

        fn said(&mut self) -> Result<Said, ProbeError> {
            ask(self.1.as_mut())
        }
    }

    fn said(scan: &str, disk: &str) -> Result<Said, ProbeError> {
        let mut fake = Fake::new(scan);
        fake.tells("sda", disk);
        fake.said()
    }

    const SCAN: &str = r#"{"devices":[{"name":"/dev/sda","type":"sat"}]}"#;
    const ASLEEP: &str = r#"{"smartctl":{"exit_status":2,"messages":[
        {"string":"Device is in STANDBY mode, exit(2)"}]}}"#;
    const REFUSED: &str = r#"{"smartctl":{"exit_status":2,"messages":[
        {"string":"Smartctl open device: /dev/sda failed: Permission denied"}]}}"#;
    const FAILING: &str = r#"{"smartctl":{"exit_status":12},"smart_status":{"passed":false},
        "model_name":"WDC X","serial_number":"S1",
        "temperature":{"current":41},"power_on_time":{"hours":30000},
        "ata_smart_attributes":{"table":[{"id":5,"raw":{"value":16}},
        {"id":197,"raw":{"value":3}}]}}"#;

    #[test]
    fn a_failing_disk_tells() {
        let (specs, values) = said(SCAN, FAILING).expect("reads");
        for (name, want) in [
            ("smart_failed.sda", 1.0),
            ("smart_temperature.sda", 41.0),
            ("smart_reallocated.sda", 16.0),
            ("smart_pending.sda", 3.0),
            ("smart_hours.sda", 30_000.0),
            ("smart_asleep.sda", 0.0),
        ] {
            assert_eq!(values.get(name), Some(&Value::Float(want)), "{name}");
        }
        assert!(specs.iter().all(|s| s.name != "smart_wear"), "it is no flash disk");
        assert_eq!(specs[0].fields[0].label, "sda (WDC X, S1)");
    }

    #[test]
    fn the_last_word_of_a_sleeping_disk_stands() {
        let mut fake = Fake::new(SCAN);
        // Asleep from the start: nothing is known, and nothing is unknown.
        fake.tells("sda", ASLEEP);
        let (specs, values) = fake.said().expect("is no failure");
        assert_eq!(values["smart_asleep.sda"], Value::Float(1.0));
        assert_eq!((specs.len(), values.len()), (1, 1), "{values:?}");
        fake.tells("sda", FAILING);
        fake.said().expect("reads");
        fake.tells("sda", &ASLEEP.replace("STANDBY", "SLEEP"));
        let (specs, values) = fake.said().expect("is no failure");
        assert_eq!(values["smart_failed.sda"], Value::Float(1.0));
        assert_eq!(values["smart_pending.sda"], Value::Float(3.0));
        assert_eq!(values["smart_temperature.sda"], Value::Unknown);
        let warmth = specs.iter().find(|s| s.name == "smart_temperature").expect("a service");
        assert_eq!((&warmth.fields[0].warning, &warmth.fields[0].critical), (&None, &None));
    }

    #[test]
    fn a_disk_that_cannot_be_asked_costs_no_other_and_is_seen_if_it_once_could() {
        let scan =
            r#"{"devices":[{"name":"/dev/sda","type":"sat"},{"name":"/dev/sdb","type":"usb"}]}"#;
        let mut fake = Fake::new(scan);
        fake.tells("sda", FAILING);
        // A virtual disk tells nothing of its health, and is well.
        fake.tells("sdb", r#"{"smartctl":{"exit_status":4}}"#);
        let (_, values) = fake.said().expect("reads");
        assert!(!values.contains_key("smart_failed.sdb"), "{values:?}");
        assert_eq!(values["smart_asleep.sdb"], Value::Float(0.0));
        fake.tells("sdb", REFUSED);
        fake.tells("sda", "nonsense");
        let error = fake.said().map(|_| ()).err();
        assert!(error.is_none(), "both were known: {error:?}");
        let (_, values) = fake.said().expect("reads");
        assert_eq!(values["smart_failed.sda"], Value::Unknown, "no longer well");
        assert_eq!(values["smart_odd.odd"], Value::Int(2));
        assert!(!values.contains_key("smart_wear.sda"), "it never told that");
        let mut fake = Fake::new(scan);
        fake.tells("sda", FAILING);
        fake.tells("sdb", REFUSED);
        let (_, values) = fake.said().expect("reads");
        assert_eq!(values["smart_failed.sda"], Value::Float(1.0));
        assert_eq!(values["smart_odd.odd"], Value::Int(1));
        assert!(!values.contains_key("smart_asleep.sdb"), "it was never known");
    }

    #[test]
    fn disks_behind_one_controller_keep_their_places() {
        let device = |n: u8| format!(r#"{{"name":"/dev/bus/0","type":"megaraid,{n}"}}"#);
        let of = |order: [u8; 2]| {
            let scan = format!(r#"{{"devices":[{},{}]}}"#, device(order[0]), device(order[1]));
            let mut fake = Fake::new(&scan);
            for n in order {
                let text = format!(
                    r#"{{"smartctl":{{"exit_status":0}},"temperature":{{"current":{n}}}}}"#
                );
                fake.tells(&format!("bus_0_megaraid_{n}"), &text);
            }
            fake.said().expect("reads").1
        };
        for values in [of([11, 12]), of([12, 11])] {
            assert_eq!(values["smart_temperature.bus_0_megaraid_11"], Value::Float(11.0));
            assert_eq!(values["smart_temperature.bus_0_megaraid_12"], Value::Float(12.0));
        }
    }

    #[test]
    fn nvme_is_judged_by_its_own_limits() {
        let nvme = r#"{"smartctl":{"exit_status":0},"smart_status":{"passed":true},
            "nvme_smart_health_information_log":{"percentage_used":4,"media_errors":0},
            "temperature":{"current":65,"op_limit_max":84,"critical_limit_max":88}}"#;
        let limits = |text: &str| {
            let (specs, _) = said(SCAN, text).expect("reads");
            let service = specs.into_iter().find(|s| s.name == TEMPERATURE).expect("a service");
            let field = service.fields.into_iter().next().expect("a field");
            (field.warning.unwrap_or_default(), field.critical.unwrap_or_default())
        };
        assert_eq!(limits(nvme), ("84".to_owned(), "88".to_owned()));
        let bare = nvme.replace(r#","op_limit_max":84,"critical_limit_max":88"#, "");
        assert_eq!(limits(&bare), ("80".to_owned(), "90".to_owned()));
        assert_eq!(limits(FAILING), ("60".to_owned(), "70".to_owned()));
    }

    #[test]
    fn a_refusal_is_told() {
        for (scan, disk, want) in [
            (SCAN, REFUSED, "Permission denied; smartctl needs root"),
            (SCAN, "nonsense", "no JSON"),
            (SCAN, "{}", "no reason"),
            (r#"{"devices":[]}"#, "", "no disk that smartctl knows"),
        ] {
            let error = said(scan, disk).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
