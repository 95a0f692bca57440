//! Processes by state, and threads, from `/proc/PID/stat` of every process
//! (proc.rst, 1.1). Services as Munin's `processes` and `threads`.
//!
//! A scan costs some 7 µs a process, more than all other probes together: it
//! is made once a minute.

use super::support::{no_settings, number, words};
use crate::{Cells, Draw, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};
use std::fs::File;
use std::io::Read as _;
use std::path::PathBuf;
use std::time::Duration;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "processes",
    about: "processes by state, and threads (/proc/PID/stat), once a minute",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Processes) as Box<dyn Probe>),
};

/// Shortest step.
const STEP_MIN: Duration = Duration::from_secs(60);

/// Of a stat file; what is wanted stands well before.
const STAT_BYTES_MAX: usize = 1024;

/// Name, letters of the state, colour (as Munin's), explanation.
const STATES: [(&str, &[u8], &str, &str); 8] = [
    ("sleeping", b"S", "0022ff", "Processes that wait for something to happen"),
    ("idle", b"I", "4169e1", "Kernel threads that have nothing to do (Linux 4.2 and newer)"),
    ("stopped", b"Tt", "cc0000", "Processes stopped by a signal or a debugger"),
    (
        "zombie",
        b"Z",
        "990000",
        "Processes that ended and whose parent has not asked for the result: a fault of the \
         parent where they pile up",
    ),
    ("dead", b"Xx", "ff0000", "Processes on their way out"),
    ("paging", b"W", "00aaaa", "Processes being paged (before Linux 2.6)"),
    (
        "uninterruptible",
        b"DKP",
        "ffa500",
        "Processes that wait for a disk or a network filesystem and cannot be killed",
    ),
    ("runnable", b"R", "22ff22", "Processes that run or wait for a CPU"),
];

#[derive(Debug)]
struct Processes;

/// Counts by state in the order of [`STATES`], all processes, all threads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Counts {
    states: [u64; STATES.len()],
    processes: u64,
    threads: u64,
}

impl Probe for Processes {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        count(host)?;
        Ok(vec![processes(), threads()])
    }

    fn read(&mut self, host: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let counts = count(host)?;
        counts.states.iter().for_each(|n| out.push(*n));
        out.push(counts.processes);
        out.push(counts.threads);
        Ok(Read::Done)
    }

    fn step_min(&self) -> Option<Duration> {
        Some(STEP_MIN)
    }
}

fn processes() -> ServiceSpec {
    let field = |name: &str, draw: Draw, colour: &str, info: &str| FieldSpec {
        colour: Some(colour.to_owned()),
        ..FieldSpec::gauge(name, name).draw(draw).info(info)
    };
    let state = |(name, _, colour, info): &(&str, &[u8], &str, &str)| {
        field(name, if *name == "sleeping" { Draw::Area } else { Draw::Stack }, colour, info)
    };
    let mut fields: Vec<FieldSpec> = STATES.iter().map(state).collect();
    let mut total = field("processes", Draw::Line1, "c0c0c0", "All processes");
    "total".clone_into(&mut total.label);
    fields.push(total);
    ServiceSpec::new("processes", "Processes", "processes")
        .vlabel("Number of processes")
        .args("--base 1000 -l 0")
        .info("The number of processes, by what they are doing at the moment of reading.")
        .fields(fields)
}

fn threads() -> ServiceSpec {
    ServiceSpec::new("threads", "Number of threads", "processes")
        .vlabel("number of threads")
        .args("--base 1000 -l 0")
        .info("The number of threads of all processes.")
        .fields(vec![FieldSpec::gauge("threads", "threads").info("The current number of threads")])
}

fn count(host: &Host) -> Result<Counts, ProbeError> {
    let entries = std::fs::read_dir(&host.proc).map_err(|e| ProbeError::file(&host.proc, &e))?;
    let mut counts = Counts::default();
    let mut path = PathBuf::new();
    let mut buf = [0; STAT_BYTES_MAX];
    for entry in entries.flatten() {
        let name = entry.file_name();
        if number(name.as_encoded_bytes()).is_none() {
            continue;
        }
        path.clone_from(&host.proc);
        path.push(&name);
        path.push("stat");
        // One that ended since the folder was listed is not counted.
        let Ok(len) = File::open(&path).and_then(|mut f| f.read(&mut buf)) else {
            continue;
        };
        let Some((state, threads)) = parse(&buf[..len]) else {
            continue;
        };
        counts.processes += 1;
        counts.threads = counts.threads.saturating_add(threads);
        let idx = STATES.iter().position(|(_, letters, ..)| letters.contains(&state));
        if let Some(i) = idx {
            counts.states[i] += 1;
        }
    }
    match counts.processes {
        0 => Err(ProbeError::NotHere(format!("{}: lists no process", host.proc.display()))),
        _ => Ok(counts),
    }
}

/// `1 (a) b) S 0 0 …`: the state's letter and the number of threads. The name
/// in parentheses may hold anything, so the last one closes it.
fn parse(text: &[u8]) -> Option<(u8, u64)> {
    let end = text.iter().rposition(|b| *b == b')')?;
    let mut words = words(&text[end + 1..]);
    let state = *words.next()?.first()?;
    let threads = words.nth(16).and_then(number)?;
    Some((state, threads))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::testing::{TestHost, fixture, ints, ready};
    use proptest::prelude::*;

    fn stat(name: &str, state: char, threads: u64) -> String {
        format!("7 ({name}) {state} 0 0 0 0 -1 4194560 1 2 0 3 4 5 6 7 20 0 {threads} 0 24\n")
    }

    #[test]
    fn states_and_threads_are_counted() {
        let host = TestHost::new(&[
            ("proc/1/stat", &stat("init", 'S', 3)),
            ("proc/2/stat", &stat("evil) R 1 (", 'D', 1)),
            ("proc/3/stat", &stat("t", 't', 1)),
            ("proc/4/stat", ""),
            ("proc/notapid/stat", &stat("x", 'R', 1)),
        ]);
        let (mut probe, services) = ready("processes", "", &host.host);
        assert_eq!(services[0].fields[8].label, "total");
        let got = ints(probe.as_mut(), &host.host).unwrap();
        assert_eq!(got, [1, 0, 1, 0, 0, 0, 1, 0, 3, 5]);
        assert_eq!(ints(probe.as_mut(), &fixture("vm")).unwrap()[8], 2);
    }

    #[test]
    fn the_live_machine_runs_this_test() {
        let counts = count(&Host::default()).unwrap();
        assert!(counts.processes >= 1 && counts.threads >= counts.processes);
        assert!(counts.states.iter().sum::<u64>() <= counts.processes);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>) {
            let _ = parse(&text);
            let _ = parse(&[b"1 (x) ", text.as_slice()].concat());
        }
    }
}
