//! Tests of the table of probes: what holds for every one of them.

mod healthy;

use super::PROBES;
use super::testing::{TestHost, fixture, make};
use crate::names::{clean_field, clean_service};
use crate::{Cells, FieldType, Host, Probe, ProbeError, Read, ServiceSpec};
use std::collections::{BTreeMap, BTreeSet, HashSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The recorded machines.
const FIXTURES: [&str; 4] = ["vm", "numa-2node/idle", "numa-2node/spilled", "health"];

/// What a probe needs to find something in the recordings.
fn config(name: &str) -> &'static str {
    match name {
        "numa_maps" => "processes = [\"hog\"]",
        _ => "",
    }
}

#[test]
fn every_file_has_a_line_in_the_table() {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src/probes");
    let helpers = ["mod", "tests", "testing"];
    let files: BTreeSet<String> = std::fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "rs"))
        .map(|path| path.file_stem().unwrap().to_str().unwrap().to_owned())
        .filter(|name| !helpers.contains(&name.as_str()))
        .collect();
    let table: BTreeSet<String> = PROBES.iter().map(|e| e.name.to_owned()).collect();
    assert_eq!(files, table);
    assert_eq!(table.len(), PROBES.len(), "a name stands twice");
    for entry in PROBES {
        assert!(!entry.about.is_empty(), "{}", entry.name);
        let wrong: crate::probe::ProbeConfig = "no_such_key = 1".parse().unwrap();
        let error = (entry.new)(&wrong).err().unwrap_or_else(|| panic!("{} accepts", entry.name));
        assert!(error.contains("no_such_key"), "{}: {error}", entry.name);
    }
}

/// Discovers and reads; how many fields there are.
fn check(name: &str, probe: &mut dyn Probe, host: &Host) -> Result<usize, ProbeError> {
    let services = probe.discover(host)?;
    check_specs(name, &services);
    let fields = services.iter().map(|s| s.fields.len()).sum();
    let mut out = Cells::new();
    for _ in 0..2 {
        out.clear();
        match probe.read(host, &mut out)? {
            Read::Changed => return check(name, probe, host),
            Read::Done => assert_eq!(out.len(), fields, "{name}: cells and fields differ"),
        }
    }
    Ok(fields)
}

fn check_specs(probe: &str, services: &[ServiceSpec]) {
    let mut names = HashSet::new();
    for s in services {
        let at = format!("{probe}: {}", s.name);
        assert!(names.insert(&s.name), "{at} twice");
        assert_eq!(clean_service(&s.name), s.name, "{at}");
        for text in [&s.title, &s.category, &s.vlabel, &s.info] {
            assert!(!text.trim().is_empty(), "{at}: title, category, vlabel or info is empty");
        }
        assert!(!s.fields.is_empty(), "{at} has no field");
        let mut fields = HashSet::new();
        for f in &s.fields {
            let at = format!("{at}.{}", f.name);
            assert!(fields.insert(&f.name), "{at} twice");
            assert!(!f.name.is_empty() && clean_field(&f.name) == f.name, "{at}");
            assert_ne!(f.name, "root", "{at} is reserved by Munin");
            assert!(!f.label.is_empty() && !f.info.is_empty(), "{at}: no label or info");
            if f.kind != FieldType::Gauge {
                assert_eq!((f.kind, f.min), (FieldType::Derive, Some(0.0)), "{at}");
            }
            assert!(f.negative.iter().all(|n| s.field(n).is_some()), "{at}: {:?}", f.negative);
            let words = f.cdef.iter().flat_map(|c| c.split(','));
            for word in words.filter(|w| w.starts_with(|c: char| c.is_ascii_alphabetic())) {
                assert!(s.field(word).is_some(), "{at}: cdef names {word}");
            }
        }
    }
}

#[test]
fn every_probe_has_a_recording_and_pushes_what_it_announced() {
    for entry in PROBES {
        let mut fields = 0;
        for name in FIXTURES {
            let mut probe = make(entry.name, config(entry.name));
            match check(entry.name, probe.as_mut(), &fixture(name)) {
                Ok(n) => fields += n,
                Err(ProbeError::NotHere(_)) => {}
                Err(error) => panic!("{} on {name}: {error}", entry.name),
            }
        }
        assert!(fields > 0, "{}: no fixture in testdata/ has anything for it", entry.name);
    }
}

#[test]
fn every_probe_works_on_the_live_machine_or_says_that_it_is_not_here() {
    let mut here = 0;
    for entry in PROBES {
        let mut probe = make(entry.name, "");
        match check(entry.name, probe.as_mut(), &Host::default()) {
            Ok(_) => here += 1,
            Err(ProbeError::NotHere(why)) => println!("{}: not here: {why}", entry.name),
            // Another user's daemon may run on the machine of the test.
            Err(error) if entry.name == "numa_maps" => println!("{error}"),
            Err(error) => panic!("{}: {error}", entry.name),
        }
    }
    assert!(here >= 8, "{here} probes work here");
}

/// Every file below `folder`, relative to it.
fn files(folder: &Path) -> Vec<PathBuf> {
    let mut all = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(Result::unwrap) {
        match entry.file_type().unwrap().is_dir() {
            true => all.extend(files(&entry.path())),
            false => all.push(entry.path()),
        }
    }
    all
}

/// A small generator of numbers that look random and never change.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, n: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        (self.0 >> 33) as usize % n.max(1)
    }
}

/// Cuts, doubles, and overwrites parts of a text.
fn damage(text: &mut Vec<u8>, numbers: &mut Numbers) {
    const PIECES: [&[u8]; 8] =
        [b"", b"\n", b" ", b"-1", b"18446744073709551615", b"18446744073709551616", b"\xff", b"x"];
    for _ in 0..=numbers.below(3) {
        let from = numbers.below(text.len() + 1);
        let to = (from + numbers.below(12)).min(text.len());
        match numbers.below(5) {
            0 => text.truncate(from),
            1 => text.extend_from_within(from..),
            _ => {
                let piece = PIECES[numbers.below(PIECES.len())];
                text.splice(from..to, piece.iter().copied());
            }
        }
    }
}

/// Damaged files of a recorded machine: an error or values, never a panic, and
/// never another number of cells than fields.
#[test]
fn damaged_files_never_panic() {
    let mut numbers = Numbers(1);
    for name in FIXTURES {
        let from = fixture(name);
        let root = from.proc.parent().unwrap();
        let recorded: Vec<(String, Vec<u8>)> = files(root)
            .into_iter()
            .map(|path| {
                let text = std::fs::read(&path).unwrap();
                (path.strip_prefix(root).unwrap().to_str().unwrap().to_owned(), text)
            })
            .collect();
        let host = TestHost::new(&[]);
        recorded.iter().for_each(|(path, text)| host.write_bytes(path, text));
        for _ in 0..60 {
            let mut probes: Vec<_> =
                PROBES.iter().map(|e| (e.name, make(e.name, config(e.name)))).collect();
            let mut cells = BTreeMap::new();
            for (name, probe) in &mut probes {
                if let Ok(services) = probe.discover(&host.host) {
                    cells.insert(*name, services.iter().map(|s| s.fields.len()).sum::<usize>());
                }
            }
            for (path, text) in &recorded {
                let mut text = text.clone();
                damage(&mut text, &mut numbers);
                host.write_bytes(path, &text);
            }
            for (name, probe) in &mut probes {
                let mut out = Cells::new();
                if let Ok(Read::Done) = probe.read(&host.host, &mut out)
                    && let Some(fields) = cells.get(name)
                {
                    assert_eq!(out.len(), *fields, "{name}");
                }
                if let Ok(services) = probe.discover(&host.host) {
                    services.iter().flat_map(|s| &s.fields).for_each(|f| {
                        assert_eq!(clean_field(&f.name), f.name, "{name}");
                    });
                }
            }
        }
    }
}

/// What a Munin plugin's `config` says: type by field.
fn munin_fields(plugin: &Path) -> Option<BTreeMap<String, FieldType>> {
    let output = Command::new(plugin)
        .arg("config")
        .env("MUNIN_LIBDIR", "/usr/share/munin")
        .env("MUNIN_PLUGSTATE", std::env::temp_dir())
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let mut fields = BTreeMap::new();
    for line in text.lines() {
        let Some((name, rest)) = line.split_once('.') else { continue };
        if let Some(kind) = rest.strip_prefix("type ") {
            fields.insert(name.to_owned(), FieldType::parse(kind.trim())?);
        } else if rest.starts_with("label ") {
            fields.entry(name.to_owned()).or_default();
        }
    }
    (!fields.is_empty()).then_some(fields)
}

/// Where Munin's own plugins are installed, theirs and ours are compared on
/// the live machine: each field that Munin has is here, with its type.
#[test]
fn services_and_fields_are_munins() {
    let mut ours = BTreeMap::new();
    for entry in PROBES {
        if let Ok(services) = make(entry.name, "").discover(&Host::default()) {
            ours.extend(services.into_iter().map(|s| (s.name.clone(), s)));
        }
    }
    let names = [
        "cpu",
        "memory",
        "load",
        "swap",
        "vmstat",
        "processes",
        "threads",
        "forks",
        "open_files",
        "uptime",
        "entropy",
        "interrupts",
        "netstat",
        "df",
    ];
    for name in names {
        let plugin = Path::new("/usr/share/munin/plugins").join(name);
        let (Some(theirs), Some(our)) = (munin_fields(&plugin), ours.get(name)) else {
            println!("{name}: Munin's plugin or our source is not on this machine");
            continue;
        };
        for (field, kind) in theirs {
            // By the name that it had, too: Munin counts loop devices.
            let same = our.field_once(&field).map(|f| f.kind);
            assert_eq!(same, Some(kind), "{name}.{field} as Munin has it");
        }
    }
}
