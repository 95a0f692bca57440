//! Linux software RAID, from `/proc/mdstat` (Documentation/admin-guide/md.rst).
//!
//! Left out: containers of fake RAID (Intel's imsm, DDF), which never run themselves, and
//! what their manager mdmon holds back. Their arrays are judged as all others.
//!
//! A reading may have to wait for an array that is in trouble: hence seldom, and
//! beside the cheap probes.

use super::support::{no_settings, number, unique};
use crate::host::HotFile;
use crate::names::clean_field;
use crate::one_pass::{OnePass, probe};
use crate::sheet::Sheet;
use crate::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use std::collections::HashSet;
use std::time::Duration;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "raid",
    about: "software RAID: missing disks, rebuilds, stopped arrays (/proc/mdstat)",
    waits: false,
    new: |config| no_settings(config).map(|()| probe(Raid::default())),
};

#[derive(Debug, Default)]
struct Raid {
    file: Option<HotFile>,
}

/// An array as mdstat tells it.
#[derive(Debug, Default, PartialEq)]
struct Array {
    name: String,
    active: bool,
    /// Disks that it should have and that it has; none for those that have no
    /// spare disk to lose (raid0, linear).
    disks: Option<(u64, u64)>,
    /// It is a container of fake RAID, or held back by who manages it.
    is_passive: bool,
    /// How far a resync, recovery, reshape or check has come, percent.
    done: Option<f64>,
}

impl OnePass for Raid {
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let file = self.file.get_or_insert_with(|| host.hot_proc("mdstat"));
        let text = String::from_utf8_lossy(file.text()?).into_owned();
        if !text.starts_with("Personalities") {
            return Err(file.malformed("does not begin with \"Personalities\""));
        }
        let arrays = parse(&text);
        if arrays.is_empty() {
            return Err(ProbeError::NotHere("/proc/mdstat: there are no arrays".to_owned()));
        }
        write(&arrays, sheet);
        Ok(())
    }

    fn step_min(&self) -> Option<Duration> {
        Some(Duration::from_secs(30))
    }
}

fn parse(text: &str) -> Vec<Array> {
    let mut arrays: Vec<Array> = Vec::new();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        if let (Some(name), Some(":"), Some(state)) = (words.next(), words.next(), words.next())
            && name.starts_with("md")
        {
            let (name, active) = (name.to_owned(), state == "active");
            arrays.push(Array { name, active, ..Array::default() });
            continue;
        }
        let Some(array) = arrays.last_mut().filter(|_| line.starts_with([' ', '\t'])) else {
            continue;
        };
        if line.contains(" blocks") {
            array.disks = line.split_whitespace().find_map(counts);
            array.is_passive = !array.active && is_passive(line);
        } else if let Some((_, rest)) = line.split_once(" = ") {
            let percent = rest.split('%').next().and_then(|n| n.trim().parse().ok());
            array.done = percent.filter(|p: &f64| (0.0..=100.0).contains(p));
        }
    }
    arrays.retain(|array| !array.is_passive);
    arrays
}

/// Whether the line of an array that does not run says that it is not to:
/// `6306 blocks super external:imsm` is a container; `external:/md127/0` is an array in
/// one, `external:-md127/0` the same while its manager keeps it from running.
fn is_passive(line: &str) -> bool {
    let mut words = line.split_whitespace();
    let kind = words.find_map(|word| word.strip_prefix("external:"));
    kind.is_some_and(|kind| !kind.starts_with('/'))
}

/// `[4/3]`.
fn counts(word: &str) -> Option<(u64, u64)> {
    let (want, have) = word.strip_prefix('[')?.strip_suffix(']')?.split_once('/')?;
    Some((number(want.as_bytes())?, number(have.as_bytes())?))
}

fn write(arrays: &[Array], sheet: &mut Sheet<'_>) {
    let mut taken = HashSet::new();
    let named: Vec<(String, &Array)> =
        arrays.iter().map(|a| (unique(clean_field(&a.name), &mut taken), a)).collect();
    let mut service = sheet.service("raid_missing", |n| {
        ServiceSpec::new(n, "RAID missing disks", "disk")
            .vlabel("disks")
            .args("-l 0")
            .unscaled()
            .info("Disks that an array should have and has not: the next failure may cost data.")
    });
    for (field, array) in &named {
        if let Some((want, have)) = array.disks {
            service.field(field, Some(want.saturating_sub(have)), |n| {
                let info = "Failed, removed, or being rebuilt";
                FieldSpec::gauge(n, &array.name).limits("", "0").info(info)
            });
        }
    }
    let mut service = sheet.service("raid_active", |n| {
        ServiceSpec::new(n, "RAID arrays", "disk")
            .vlabel("1 = active")
            .args("-l 0 -u 1")
            .unscaled()
            .info("Whether each array runs. An inactive one cannot be read.")
    });
    for (field, array) in &named {
        service.field(field, Some(u64::from(array.active)), |n| {
            FieldSpec::gauge(n, &array.name).limits("", "1:").info("1: it runs")
        });
    }
    let mut service = sheet.service("raid_sync", |n| {
        ServiceSpec::new(n, "RAID rebuild and check", "disk")
            .vlabel("% done")
            .args("-l 0 -u 100")
            .unscaled()
            .info("How far a resync, recovery, reshape or check has come; 100 when none runs.")
    });
    for (field, array) in &named {
        service.field(field, Some(array.done.unwrap_or(100.0)), |n| {
            let info = "Disks are slower while it runs";
            FieldSpec::gauge(n, &array.name).draw(Draw::Line2).info(info)
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, fixture, lookup, ready, values};
    use proptest::prelude::*;

    #[test]
    fn whole_degraded_stopped_and_spareless_arrays_are_told_apart() {
        let host = fixture("health");
        let (mut probe, services) = ready("raid", "", &host);
        let cells = values(probe.as_mut(), &host).unwrap();
        let of = |s: &str, f: &str| lookup(&services, &cells, s, f);
        assert_eq!(of("raid_missing", "md0"), Value::Int(0));
        assert_eq!(of("raid_missing", "md1"), Value::Int(1));
        assert_eq!(of("raid_active", "md2"), Value::Int(0));
        assert_eq!(of("raid_active", "md3"), Value::Int(1));
        assert_eq!(of("raid_sync", "md1"), Value::Float(12.6));
        assert!(services[0].field("md3").is_none(), "raid0 has no disk to spare");
    }

    #[test]
    fn containers_of_fake_raid_are_no_arrays() {
        let container = |kind: &str| {
            format!(
                "md127 : inactive sda[1](S) sdb[0](S)\n      6306 blocks super external:{kind}\n"
            )
        };
        let array = "md126 : active raid1 sda[1] sdb[0]\n      \
            488383488 blocks super external:/md127/0 [2/2] [UU]\n";
        for kind in ["imsm", "ddf", "-md126/1"] {
            let text = format!("{array}{}", container(kind));
            let names: Vec<_> = parse(&text).into_iter().map(|a| a.name).collect();
            assert_eq!(names, ["md126"], "{kind}");
        }
        // What should run and does not is still an array, and so is one that is held, yet runs.
        assert!(!parse(&container("/md125/0"))[0].active);
        assert!(!parse("md5 : inactive sdc[0](S)\n      9 blocks super 1.2\n")[0].active);
        assert!(parse(&array.replace("external:/", "external:-"))[0].active);
    }

    #[test]
    fn no_arrays_are_not_here_and_noise_is_an_error() {
        let none = "Personalities : [raid1] \nunused devices: <none>\n";
        let host = TestHost::new(&[("proc/mdstat", none)]);
        let mut probe = crate::probes::testing::make("raid", "");
        assert!(matches!(probe.discover(&host.host), Err(ProbeError::NotHere(_))));
        host.write("proc/mdstat", "md0 : active raid1\n");
        assert!(matches!(probe.discover(&host.host), Err(ProbeError::Failed(_))));
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in "(md[0-9] : active|  [0-9]+ blocks|\\[[0-9/]{0,5}\\]| = [0-9.%]{0,5}|\n|.){0,40}") {
            let _ = parse(&text);
        }
    }
}
