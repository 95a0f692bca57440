//! CPU time by kind, in all and per core, from `/proc/stat`
//! (Documentation/filesystems/proc.rst, 1.7).
//!
//! The kernel counts in USER_HZ, of which 100 make a second, so that the
//! change per second is the percentage of one core, as in Munin's `cpu`.
//! Two traps: `user` already holds `guest` and `nice` holds `guest_nice`
//! (subtracted here, so that the stack sums to 100 % per core), and `iowait`
//! may fall (stored as it is; `min 0` makes such a step unknown).

use super::support::{lines, number, settings, words};
use crate::host::HotFile;
use crate::probe::ProbeConfig;
use crate::{Cells, Draw, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};
use serde::Deserialize;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "cpu",
    about: "CPU time by kind, in all and per core (/proc/stat)",
    waits: false,
    new: |config| Ok(Box::new(Cpu::new(config)?)),
};

/// Name and explanation, in the order of [`Times`].
const FIELDS: [(&str, &str); 9] = [
    ("system", "CPU time spent by the kernel in system activities"),
    ("user", "CPU time spent by normal programs and daemons, virtual machines not counted"),
    ("nice", "CPU time spent by nice(1)d programs, virtual machines not counted"),
    ("idle", "Idle CPU time"),
    (
        "iowait",
        "CPU time in which nothing could run and some task waited for a disk. The kernel only \
         estimates it: it may even fall",
    ),
    ("irq", "CPU time spent handling interrupts"),
    ("softirq", "CPU time spent handling \"batched\" interrupts"),
    (
        "steal",
        "The time that a virtual CPU had runnable tasks, but the virtual CPU itself was not \
         running: the host gave it to others",
    ),
    ("guest", "The time spent running virtual CPUs for guest systems, niced ones included"),
];

/// Ticks of USER_HZ since boot.
type Times = [u64; 9];

/// Which line a [`Times`] is from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Which {
    All,
    Core(u64),
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    /// `total_only = true`: no graph for each core.
    total_only: bool,
}

#[derive(Debug, Default)]
struct Cpu {
    settings: Settings,
    file: HotFile,
    which: Vec<Which>,
}

impl Cpu {
    fn new(config: &ProbeConfig) -> Result<Cpu, String> {
        Ok(Cpu { settings: settings(config)?, ..Cpu::default() })
    }
}

impl Probe for Cpu {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("stat");
        let only = self.settings.total_only;
        let text = self.file.text()?;
        let which: Option<Vec<Which>> =
            rows(text, only).map(|row| row.map(|(which, _)| which)).collect();
        match which {
            Some(which) if which.first() == Some(&Which::All) => self.which = which,
            _ => return Err(self.file.malformed("has no line of CPU times")),
        }
        let cores = self.which.len().saturating_sub(1).max(1);
        Ok(self.which.iter().map(|which| service(*which, cores)).collect())
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let mut n = 0;
        let mut good = true;
        for row in rows(self.file.text()?, self.settings.total_only) {
            let Some((which, times)) = row else {
                good = false;
                break;
            };
            if self.which.get(n) != Some(&which) {
                return Ok(Read::Changed);
            }
            times.iter().for_each(|t| out.push(*t));
            n += 1;
        }
        match (good, n == self.which.len()) {
            (true, true) => Ok(Read::Done),
            (true, false) => Ok(Read::Changed),
            (false, _) => Err(self.file.malformed("a line of CPU times is broken")),
        }
    }
}

fn service(which: Which, cores: usize) -> ServiceSpec {
    let (name, title, cores) = match which {
        Which::All => ("cpu".to_owned(), "CPU usage".to_owned(), cores),
        Which::Core(n) => (format!("cpu.core{n}"), format!("CPU usage of core {n}"), 1),
    };
    let fields = FIELDS.iter().map(|(name, info)| FieldSpec {
        // The most of most graphs: grey, so that the eye finds the others.
        colour: (*name == "idle").then(|| "A3ACB8".to_owned()),
        ..FieldSpec::derive(name, name).draw(Draw::AreaStack).info(info)
    });
    ServiceSpec::new(&name, &title, "system")
        .vlabel("%")
        .args(&format!("--base 1000 -r --lower-limit 0 --upper-limit {}", cores * 100))
        .info("How CPU time is spent; 100 % is one core busy all the time.")
        .unscaled()
        .fields(fields.collect())
}

/// The `cpu` lines, which open the file; an item is `None` where one is
/// broken. With `total_only`, the first alone.
fn rows(text: &[u8], total_only: bool) -> impl Iterator<Item = Option<(Which, Times)>> {
    lines(text)
        .take_while(|line| line.starts_with(b"cpu"))
        .take(if total_only { 1 } else { usize::MAX })
        .map(row)
}

fn row(line: &[u8]) -> Option<(Which, Times)> {
    let mut words = words(line);
    let which = match words.next()?.strip_prefix(b"cpu")? {
        b"" => Which::All,
        n => Which::Core(number(n)?),
    };
    // user nice system idle iowait irq softirq steal guest guest_nice; old
    // kernels print fewer.
    let mut raw = [0u64; 10];
    let mut n = 0;
    for (slot, word) in raw.iter_mut().zip(words) {
        *slot = number(word)?;
        n += 1;
    }
    let [user, nice, system, idle, iowait, irq, softirq, steal, guest, guest_nice] = raw;
    let user = user.saturating_sub(guest);
    let nice = nice.saturating_sub(guest_nice);
    let guest = guest.saturating_add(guest_nice);
    (n >= 4).then_some((which, [system, user, nice, idle, iowait, irq, softirq, steal, guest]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, fixture, ints, ready};
    use proptest::prelude::*;

    #[test]
    fn guest_time_is_taken_out_of_user() {
        let (which, times) = row(b"cpu3 100 50 7 8 9 1 2 3 40 20").unwrap();
        assert_eq!(which, Which::Core(3));
        assert_eq!(times, [7, 60, 30, 8, 9, 1, 2, 3, 60]);
        assert_eq!(row(b"cpu 1 2 3 4").unwrap().1, [3, 1, 2, 4, 0, 0, 0, 0, 0]);
        assert!(row(b"cpu 1 2 3").is_none());
        assert!(row(b"cpux 1 2 3 4").is_none());
    }

    #[test]
    fn the_recorded_machine_has_a_total_and_two_cores() {
        let (mut probe, services) = ready("cpu", "", &fixture("vm"));
        let names: Vec<_> = services.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["cpu", "cpu.core0", "cpu.core1"]);
        assert!(services[0].args.ends_with("--upper-limit 200"));
        let cells = ints(probe.as_mut(), &fixture("numa-2node/idle")).unwrap();
        assert_eq!(cells.len(), 27);
        let (mut probe, services) = ready("cpu", "total_only = true", &fixture("vm"));
        assert_eq!(services.len(), 1);
        assert_eq!(ints(probe.as_mut(), &fixture("vm")).unwrap().len(), 9);
    }

    #[test]
    fn a_core_that_comes_or_goes_is_a_change() {
        let host = TestHost::new(&[("proc/stat", "cpu 9 9 9 9\ncpu0 1 1 1 1\n")]);
        let (mut probe, _) = ready("cpu", "", &host.host);
        host.write("proc/stat", "cpu 9 9 9 9\ncpu0 1 1 1 1\ncpu1 1 1 1 1\n");
        let mut out = Cells::new();
        assert_eq!(probe.read(&host.host, &mut out).unwrap(), Read::Changed);
        host.write("proc/stat", "cpu 9 9 9 9\ncpu0 1 1 1 18446744073709551615\n");
        out.clear();
        assert_eq!(probe.read(&host.host, &mut out).unwrap(), Read::Done);
        assert_eq!(out.get(12), Some(Value::Uint(u64::MAX)));
        host.write("proc/stat", "cpu 9 9 9 9\ncpu0 1 1 x 1\n");
        let error = probe.read(&host.host, &mut out).unwrap_err().to_string();
        assert!(error.contains("stat: a line of CPU times is broken"), "{error}");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(tail: Vec<u8>) {
            let _ = row(&tail);
            let _ = rows(&[b"cpu ", tail.as_slice()].concat(), false).count();
        }
    }
}
