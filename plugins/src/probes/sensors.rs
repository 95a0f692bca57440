//! Hardware sensors: temperatures, fans, voltages and power, from
//! `/sys/class/hwmon` (Documentation/hwmon/sysfs-interface.rst). Some chips take
//! milliseconds to answer: hence seldom, and beside the cheap probes.

use super::support::{decimal, no_settings, unique};
use crate::names::clean_field;
use crate::one_pass::{OnePass, probe};
use crate::sheet::Sheet;
use crate::{FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "sensors",
    about: "temperatures, fans, voltages, power (/sys/class/hwmon)",
    waits: false,
    new: |config| no_settings(config).map(|()| probe(Sensors)),
};

/// The most sensors of a kind.
const SENSORS_MAX: usize = 200;

/// A kind of sensor: how its files begin, what its numbers are divided by, and
/// its service: name, title, axis, explanation.
struct Kind {
    prefix: &'static str,
    divisor: f64,
    service: &'static str,
    title: &'static str,
    vlabel: &'static str,
    info: &'static str,
}

const KINDS: [Kind; 4] = [
    Kind {
        prefix: "temp",
        divisor: 1e3,
        service: "sensors_temp",
        title: "Temperatures",
        vlabel: "degrees Celsius",
        info: "What the machine's sensors say; limits are those of the chips themselves.",
    },
    Kind {
        prefix: "fan",
        divisor: 1.0,
        service: "sensors_fan",
        title: "Fans",
        vlabel: "turns per minute",
        info: "How fast the fans turn. One that stands lets something get hot.",
    },
    Kind {
        prefix: "in",
        divisor: 1e3,
        service: "sensors_volt",
        title: "Voltages",
        vlabel: "volts",
        info: "The machine's supply voltages.",
    },
    Kind {
        prefix: "power",
        divisor: 1e6,
        service: "sensors_power",
        title: "Power",
        vlabel: "watts",
        info: "What parts of the machine draw.",
    },
];

struct Sensors;

impl OnePass for Sensors {
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let root = host.sys("class/hwmon");
        let entries = std::fs::read_dir(&root).map_err(|e| ProbeError::file(&root, &e))?;
        let mut chips: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        chips.sort();
        let mut n = 0;
        for kind in &KINDS {
            n += write(kind, &chips, sheet);
        }
        match n {
            0 => Err(ProbeError::NotHere(format!("{}: no sensors", root.display()))),
            _ => Ok(()),
        }
    }

    fn step_min(&self) -> Option<Duration> {
        Some(Duration::from_secs(30))
    }
}

fn text(path: &Path) -> Option<String> {
    let text = std::fs::read_to_string(path).ok()?;
    let clean: String = text.trim().chars().filter(|c| !c.is_control()).take(60).collect();
    (!clean.is_empty()).then_some(clean)
}

fn value(path: &Path, divisor: f64) -> Option<f64> {
    Some(decimal(text(path)?.as_bytes())? / divisor)
}

/// The sensors of a kind; how many.
fn write(kind: &Kind, chips: &[PathBuf], sheet: &mut Sheet<'_>) -> usize {
    let mut service = sheet.service(kind.service, |n| {
        let service = ServiceSpec::new(n, kind.title, "sensors").vlabel(kind.vlabel);
        service.args("--base 1000").unscaled().info(kind.info)
    });
    let mut taken = HashSet::new();
    let mut n = 0;
    for chip in chips {
        let chip_name = text(&chip.join("name")).unwrap_or_else(|| "chip".to_owned());
        for sensor in numbers(chip, kind.prefix) {
            if n >= SENSORS_MAX {
                return n;
            }
            n += 1;
            let file = |what: &str| chip.join(format!("{sensor}_{what}"));
            let name = unique(clean_field(&format!("{chip_name}_{sensor}")), &mut taken);
            // A sensor that cannot be read now (a sleeping disk) is unknown.
            service.field(&name, value(&file("input"), kind.divisor), |name| {
                let label = text(&file("label")).unwrap_or_else(|| sensor.clone());
                let spec = FieldSpec::gauge(name, &format!("{chip_name} {label}"));
                let limit = |what: &str| {
                    let limit = value(&file(what), kind.divisor).filter(|v| *v > 0.0);
                    limit.map(|v| v.to_string()).unwrap_or_default()
                };
                let spec = match kind.prefix {
                    "temp" => spec.limits(&limit("max"), &limit("crit")),
                    "fan" => {
                        let least = limit("min");
                        let colon = if least.is_empty() { "" } else { ":" };
                        spec.limits(&format!("{least}{colon}"), "")
                    }
                    _ => spec,
                };
                spec.info(&format!("{sensor}_input of the chip {chip_name}"))
            });
        }
    }
    n
}

/// `temp1`, `temp2`, … that a chip has, in their order.
fn numbers(chip: &Path, prefix: &str) -> Vec<String> {
    let names = std::fs::read_dir(chip).into_iter().flatten().flatten();
    let mut all: Vec<(u32, String)> = names
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let sensor = name.strip_suffix("_input")?;
            let n = sensor.strip_prefix(prefix)?.parse().ok()?;
            Some((n, sensor.to_owned()))
        })
        .collect();
    all.sort();
    all.into_iter().map(|(_, name)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, fixture, lookup, make, ready, values};

    #[test]
    fn sensors_have_their_units_labels_and_limits() {
        let host = fixture("health");
        let (mut probe, services) = ready("sensors", "", &host);
        let cells = values(probe.as_mut(), &host).unwrap();
        let of = |s: &str, f: &str| lookup(&services, &cells, s, f);
        assert_eq!(of("sensors_temp", "coretemp_temp1"), Value::Float(51.0));
        assert_eq!(of("sensors_temp", "coretemp_temp2"), Value::Float(-5.0));
        assert_eq!(of("sensors_fan", "nct6775_fan1"), Value::Float(1205.0));
        assert_eq!(of("sensors_volt", "nct6775_in0"), Value::Float(1.104));
        assert_eq!(of("sensors_power", "nct6775_power1"), Value::Float(45.0));
        let temp = services[0].field("coretemp_temp1").unwrap();
        assert_eq!(temp.label, "coretemp Package id 0");
        assert_eq!((temp.warning.as_deref(), temp.critical.as_deref()), (Some("80"), Some("100")));
        let fan = services[1].field("nct6775_fan1").unwrap();
        assert_eq!(fan.warning.as_deref(), Some("300:"));
    }

    #[test]
    fn a_machine_without_sensors_says_so() {
        let host = TestHost::new(&[("sys/class/hwmon/hwmon0/name", "acpitz\n")]);
        let asked = make("sensors", "").discover(&host.host);
        assert!(matches!(asked, Err(ProbeError::NotHere(_))));
        host.write("sys/class/hwmon/hwmon0/temp1_input", "hot\n");
        let (mut probe, _) = ready("sensors", "", &host.host);
        assert_eq!(values(probe.as_mut(), &host.host).unwrap(), [Some(Value::Unknown)]);
    }
}
