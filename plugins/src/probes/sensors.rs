//! Hardware sensors: temperatures, fans, voltages and power, from
//! `/sys/class/hwmon` (Documentation/hwmon/sysfs-interface.rst). Some chips take
//! milliseconds to answer: hence rarely, and beside the cheap probes.
//!
//! Left out: what has not given a value yet (not connected, by `temp1_fault` or by
//! nothing to be read). A device that sleeps is not woken: its last value holds.

use super::support::{StableName, decimal, no_settings, stable_names, unique};
use crate::names::clean_field;
use crate::one_pass::{OnePass, probe};
use crate::sheet::Sheet;
use crate::{FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use std::collections::{BTreeMap, HashSet};
use std::path::PathBuf;
use std::time::Duration;

mod chips;
use chips::{Chip, text};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "sensors",
    about: "temperatures, fans, voltages, power (/sys/class/hwmon)",
    waits: false,
    new: |config| no_settings(config).map(|()| probe(Sensors::default())),
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

#[derive(Debug, Default)]
struct Sensors {
    /// Those that have given a value: when they give none, that is unknown.
    given: HashSet<String>,
}

impl OnePass for Sensors {
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let root = host.sys("class/hwmon");
        let chips = chips::chips(host, &root).map_err(|e| ProbeError::file(&root, &e))?;
        let mut n = 0;
        for kind in &KINDS {
            n += self.write(kind, &chips, sheet);
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

/// A sensor of a chip.
#[derive(Debug)]
struct Sensor<'c> {
    chip: &'c Chip,
    /// Where its files are.
    folder: PathBuf,
    /// `temp1`.
    name: String,
    /// Behind the name of its file: `input`, or `average` where there is nothing else.
    file: &'static str,
}

impl Sensor<'_> {
    fn path(&self, what: &str) -> PathBuf {
        self.folder.join(format!("{}_{what}", self.name))
    }

    fn number(&self, what: &str, divisor: f64) -> Option<f64> {
        Some(decimal(text(&self.path(what))?.as_bytes())? / divisor)
    }

    /// What it says now; nothing while it is broken or not connected.
    fn value(&self, divisor: f64) -> Option<f64> {
        let value = self.number(self.file, divisor)?;
        let fault = self.number("fault", 1.0).unwrap_or(0.0);
        (fault == 0.0).then_some(value)
    }

    /// What it is, whatever its chip's number.
    fn identity(&self) -> String {
        format!("{}/{}", self.chip.identity, self.name)
    }

    fn describe(&self, kind: &Kind, id: &StableName) -> FieldSpec {
        let chip = &self.chip.name;
        let label = text(&self.path("label")).unwrap_or_else(|| self.name.clone());
        let place = self.chip.place.as_ref().map(|place| format!(" ({place})"));
        let label = format!("{chip}{} {label}", place.unwrap_or_default());
        let limit = |what: &str| {
            let limit = self.number(what, kind.divisor).filter(|v| *v > 0.0);
            limit.map(|v| v.to_string()).unwrap_or_default()
        };
        let spec = id.announce(FieldSpec::gauge(&id.name, &label));
        let spec = match kind.prefix {
            "temp" => spec.limits(&limit("max"), &limit("crit")),
            "fan" => {
                let least = limit("min");
                let colon = if least.is_empty() { "" } else { ":" };
                spec.limits(&format!("{least}{colon}"), "")
            }
            _ => spec,
        };
        spec.info(&format!("{}_{} of the chip {chip}", self.name, self.file))
    }
}

impl Sensors {
    /// The sensors of a kind; how many.
    fn write(&mut self, kind: &Kind, chips: &[Chip], sheet: &mut Sheet<'_>) -> usize {
        let mut service = sheet.service(kind.service, |n| {
            let service = ServiceSpec::new(n, kind.title, "sensors").vlabel(kind.vlabel);
            service.args("--base 1000").unscaled().info(kind.info)
        });
        let mut all: Vec<Sensor<'_>> =
            chips.iter().flat_map(|chip| sensors(chip, kind.prefix)).collect();
        all.truncate(SENSORS_MAX);
        let mut n = 0;
        for (sensor, id) in all.iter().zip(names(&all)) {
            let identity = format!("{}{}", kind.prefix, sensor.identity());
            let is_known = self.given.contains(&identity);
            if sensor.chip.is_asleep() {
                // Its last word holds. One that was never awake is not known yet.
                if is_known {
                    service.silent(&id.name, |_| sensor.describe(kind, &id));
                    n += 1;
                }
                continue;
            }
            let value = sensor.value(kind.divisor);
            // One that never said anything is not connected.
            if value.is_none() && !is_known {
                continue;
            }
            if !is_known {
                self.given.insert(identity);
            }
            service.field(&id.name, value, |_| sensor.describe(kind, &id));
            n += 1;
        }
        n
    }
}

/// The sensors' names: by chip and sensor, and where several chips have one name, by
/// what each is. Before, those were numbered in the order of their folders.
fn names(all: &[Sensor<'_>]) -> Vec<StableName> {
    let wish = |s: &Sensor<'_>| clean_field(&format!("{}_{}", s.chip.name, s.name));
    let wishes: Vec<_> = all.iter().map(|s| (wish(s), s.identity())).collect();
    let mut by_folder: Vec<usize> = (0..all.len()).collect();
    by_folder.sort_by_key(|i| (&all[*i].chip.folder, *i));
    let mut before = HashSet::new();
    let mut old = vec![None; all.len()];
    for i in by_folder {
        old[i] = Some(unique(wish(&all[i]), &mut before));
    }
    let named = stable_names(&wishes).into_iter().zip(old);
    named.map(|(id, old)| StableName { old: old.filter(|old| *old != id.name), ..id }).collect()
}

/// `temp1`, `temp2`, … that a chip has, in their order.
fn sensors<'c>(chip: &'c Chip, prefix: &str) -> Vec<Sensor<'c>> {
    let mut all: BTreeMap<u32, Sensor<'c>> = BTreeMap::new();
    for folder in chip.folders() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            let Ok(file_name) = entry.file_name().into_string() else { continue };
            let Some((name, file)) = file_name.rsplit_once('_') else { continue };
            let file = match file {
                "input" => "input",
                // Of power, some chips tell the mean of a while only.
                "average" if prefix == "power" => "average",
                _ => continue,
            };
            let Some(n) = name.strip_prefix(prefix).and_then(|n| n.parse().ok()) else { continue };
            let is_better = |old: &Sensor<'_>| old.folder == folder && file == "input";
            if all.get(&n).is_none_or(is_better) {
                let sensor = Sensor { chip, folder: folder.clone(), name: name.to_owned(), file };
                all.insert(n, sensor);
            }
        }
    }
    all.into_values().collect()
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
        let sensor = "sys/class/hwmon/hwmon0/temp1_input";
        host.write(sensor, "hot\n");
        assert!(make("sensors", "").discover(&host.host).is_err(), "never said anything");
        host.write(sensor, "40000\n");
        let (mut probe, _) = ready("sensors", "", &host.host);
        assert_eq!(first(probe.as_mut(), &host), Some(Value::Float(40.0)));
        host.write(sensor, "hot\n");
        assert_eq!(first(probe.as_mut(), &host), Some(Value::Unknown), "it did once");
    }

    /// The first value of a reading that is asked for now, not taken from the look before.
    fn first(probe: &mut dyn crate::Probe, host: &TestHost) -> Option<Value> {
        let _ = probe.discover(&host.host);
        let mut out = crate::Cells::new();
        let _ = probe.read(&host.host, &mut crate::Cells::new());
        assert_eq!(probe.read(&host.host, &mut out).unwrap(), crate::Read::Done);
        out.get(0)
    }

    #[test]
    fn averages_old_folders_and_faults_are_read() {
        let host = TestHost::new(&[
            ("sys/class/hwmon/hwmon0/name", "amdgpu\n"),
            ("sys/class/hwmon/hwmon0/power1_average", "35000000\n"),
            ("sys/class/hwmon/hwmon0/power1_cap", "90000000\n"),
            ("sys/class/hwmon/hwmon0/power2_average", "1000000\n"),
            ("sys/class/hwmon/hwmon0/power2_input", "2000000\n"),
            ("sys/class/hwmon/hwmon0/temp1_average", "1\n"),
            ("sys/class/hwmon/hwmon1/device/name", "it87\n"),
            ("sys/class/hwmon/hwmon1/device/temp1_input", "41000\n"),
            ("sys/class/hwmon/hwmon1/device/temp1_max", "80000\n"),
            ("sys/class/hwmon/hwmon1/device/temp2_input", "-128000\n"),
            ("sys/class/hwmon/hwmon1/device/temp2_fault", "1\n"),
        ]);
        let (mut probe, services) = ready("sensors", "", &host.host);
        let cells = values(probe.as_mut(), &host.host).unwrap();
        let of = |s: &str, f: &str| lookup(&services, &cells, s, f);
        assert_eq!(of("sensors_power", "amdgpu_power1"), Value::Float(35.0));
        assert_eq!(of("sensors_power", "amdgpu_power2"), Value::Float(2.0), "input is better");
        assert_eq!(of("sensors_temp", "it87_temp1"), Value::Float(41.0));
        assert_eq!(services[0].fields.len(), 1, "nothing is connected to temp2");
        assert_eq!(services[0].fields[0].warning.as_deref(), Some("80"));
        // It is connected, then breaks.
        let fault = "sys/class/hwmon/hwmon1/device/temp2_fault";
        host.write(fault, "0\n");
        assert_eq!(probe.discover(&host.host).unwrap()[0].fields.len(), 2);
        host.write(fault, "1\n");
        assert_eq!(probe.discover(&host.host).unwrap()[0].fields.len(), 2);
        let cells = values(probe.as_mut(), &host.host).unwrap();
        assert!(cells.contains(&Some(Value::Float(-128.0))), "the reading before the last look");
    }

    #[test]
    fn what_sleeps_keeps_its_last_word() {
        let host = TestHost::new(&[
            ("sys/class/hwmon/hwmon0/name", "nouveau\n"),
            ("sys/class/hwmon/hwmon0/temp1_input", "50000\n"),
            ("sys/class/hwmon/hwmon0/temp1_max", "90000\n"),
            ("sys/class/hwmon/hwmon0/device/power/runtime_status", "suspended\n"),
        ]);
        assert!(make("sensors", "").discover(&host.host).is_err(), "never seen awake");
        let status = "sys/class/hwmon/hwmon0/device/power/runtime_status";
        host.write(status, "active\n");
        let (mut probe, services) = ready("sensors", "", &host.host);
        assert_eq!(first(probe.as_mut(), &host), Some(Value::Float(50.0)));
        host.write(status, "suspended\n");
        assert_eq!(first(probe.as_mut(), &host), None, "a gap, which is judged by nobody");
        assert_eq!(probe.discover(&host.host).unwrap(), services);
    }

    /// Two disks, whichever of them is found first.
    #[test]
    fn disks_of_one_kind_keep_their_fields() {
        let names = |first: &str, second: &str, serials: bool| {
            let host = TestHost::new(&[]);
            for (pci, n) in [(first, 2), (second, 10)] {
                let real = format!("sys/devices/pci0000:00/{pci}/nvme/nvme{n}");
                host.write(&format!("{real}/hwmon{n}/name"), "nvme\n");
                host.write(&format!("{real}/hwmon{n}/temp1_input"), "30000\n");
                if serials {
                    host.write(&format!("{real}/serial"), &format!("S{pci}\n"));
                }
                let link = |from: String, to: String| {
                    std::fs::create_dir_all(from.rsplit_once('/').unwrap().0).unwrap();
                    std::os::unix::fs::symlink(to, from).unwrap();
                };
                let sys = host.host.sys.display();
                link(
                    format!("{sys}/devices/pci0000:00/{pci}/nvme/nvme{n}/hwmon{n}/device"),
                    format!("../../nvme{n}"),
                );
                link(
                    format!("{sys}/class/hwmon/hwmon{n}"),
                    format!("../../devices/pci0000:00/{pci}/nvme/nvme{n}/hwmon{n}"),
                );
            }
            let (_, services) = ready("sensors", "", &host.host);
            let old = |f: &FieldSpec| f.old_names().map(str::to_owned).collect::<Vec<_>>();
            let of = |f: &FieldSpec| (f.label.clone(), (f.name.clone(), old(f)));
            services[0].fields.iter().map(of).collect::<BTreeMap<_, _>>()
        };
        let (a, b) = ("0000:01:00.0", "0000:02:00.0");
        for serials in [false, true] {
            let (forth, back) = (names(a, b, serials), names(b, a, serials));
            let s = if serials { "S" } else { "" };
            let label = format!("nvme ({s}{a}) temp1");
            assert_eq!(forth[&label].0, back[&label].0, "{forth:?} {back:?}");
            assert!(forth[&label].0.starts_with("nvme_temp1_"));
            // hwmon10 stood before hwmon2.
            assert_eq!(forth[&label].1, ["nvme_temp1_2"]);
            assert_eq!(back[&label].1, ["nvme_temp1"]);
        }
    }
}
