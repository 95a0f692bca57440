//! Interrupts, context switches, forks and runnable tasks: what else
//! `/proc/stat` counts for the whole machine (proc.rst, 1.7). Services as
//! Munin's `interrupts`, `forks` and `vmstat`, from one reading.

use super::support::{keyed, no_settings, push};
use crate::host::HotFile;
use crate::{Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "kernel",
    about: "interrupts, context switches, forks, running and blocked tasks (/proc/stat)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Kernel::default()) as Box<dyn Probe>),
};

/// The keys, in the order of the fields.
const KEYS: [&str; 5] = ["intr", "ctxt", "processes", "procs_running", "procs_blocked"];

#[derive(Debug, Default)]
struct Kernel {
    file: HotFile,
}

impl Probe for Kernel {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("stat");
        self.values()?;
        Ok(vec![interrupts(), forks(), vmstat()])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        self.values()?.into_iter().for_each(|v| push(out, v));
        Ok(Read::Done)
    }
}

impl Kernel {
    fn values(&mut self) -> Result<[Option<u64>; 5], ProbeError> {
        let values = keyed(self.file.text()?, &KEYS);
        match values.iter().any(Option::is_some) {
            true => Ok(values),
            false => Err(self.file.malformed("has none of intr, ctxt, processes, procs_*")),
        }
    }
}

fn interrupts() -> ServiceSpec {
    ServiceSpec::new("interrupts", "Interrupts and context switches", "system")
        .vlabel("interrupts & ctx switches / ${graph_period}")
        .args("--base 1000 -l 0")
        .info(
            "The number of interrupts and context switches on the system. These are typically \
             high on a busy system.",
        )
        .fields(vec![
            FieldSpec::derive("intr", "interrupts").info(
                "An interrupt makes a CPU leave what it runs, for hardware that needs it (a \
                 packet came, a disk is done, a timer ran out)",
            ),
            FieldSpec::derive("ctx", "context switches")
                .info("A context switch takes the CPU from one task and gives it to another"),
        ])
}

fn forks() -> ServiceSpec {
    let mut field = FieldSpec::derive("forks", "forks")
        .info("The number of new processes and threads started per second");
    field.max = Some(100_000.0);
    ServiceSpec::new("forks", "Fork rate", "processes")
        .vlabel("forks / ${graph_period}")
        .args("--base 1000 -l 0")
        .info("The number of forks (new processes and threads started) per second.")
        .fields(vec![field])
}

fn vmstat() -> ServiceSpec {
    let field = |name: &str, label: &str, info: &str| FieldSpec {
        max: Some(500_000.0),
        ..FieldSpec::gauge(name, label).info(info)
    };
    ServiceSpec::new("vmstat", "VMstat", "processes")
        .vlabel("process states")
        .args("--base 1000 -l 0")
        .info("Tasks that run or wait for a CPU, and tasks that wait for a disk, at the moment.")
        .fields(vec![
            field("wait", "running", "Tasks that run or wait for a CPU, this agent included"),
            field("sleep", "I/O sleep", "Tasks that are blocked until a disk answers"),
        ])
}

#[cfg(test)]
mod tests {
    use crate::Value;
    use crate::probes::testing::{TestHost, fixture, ints, ready, values};

    #[test]
    fn counts_are_read_exactly() {
        let (mut probe, services) = ready("kernel", "", &fixture("numa-2node/spilled"));
        let names: Vec<_> = services.iter().map(|s| s.name.as_str()).collect();
        assert_eq!(names, ["interrupts", "forks", "vmstat"]);
        let cells = ints(probe.as_mut(), &fixture("numa-2node/spilled")).unwrap();
        assert_eq!(cells[..2], [3172, 1775]);
    }

    #[test]
    fn a_missing_count_is_unknown_and_none_at_all_an_error() {
        let host = TestHost::new(&[("proc/stat", "cpu 1 2 3 4\nctxt 7\n")]);
        let (mut probe, _) = ready("kernel", "", &host.host);
        let cells = values(probe.as_mut(), &host.host).unwrap();
        assert_eq!(cells[..2], [Some(Value::Unknown), Some(Value::Int(7))]);
        host.write("proc/stat", "\0\0\n\n");
        assert!(values(probe.as_mut(), &host.host).is_err());
    }
}
