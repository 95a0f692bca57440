//! Pressure stall information: how much of the time tasks had to wait for a
//! CPU, a disk or memory, from `/proc/pressure` (Documentation/accounting/psi.rst).
//!
//! What is kept is `total`, microseconds since boot; its change per second
//! divided by 10,000 is the percentage of time. A kernel without PSI, or with
//! it switched off, has no such files or refuses to read them: not here. A line `full`
//! that a kernel does not print (that of the CPU before 5.13) is left out.

use super::support::{lines, no_settings, number, push, words};
use crate::host::HotFile;
use crate::{Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "psi",
    about: "time that tasks waited for CPU, disk and memory (/proc/pressure)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Psi::default()) as Box<dyn Probe>),
};

/// File, and what is waited for.
const RESOURCES: [(&str, &str); 3] = [("cpu", "a CPU"), ("io", "a disk"), ("memory", "memory")];

#[derive(Debug, Default)]
struct Psi {
    files: [HotFile; 3],
    has_full: [bool; 3],
}

impl Probe for Psi {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        let mut services = Vec::new();
        for (i, (name, what)) in RESOURCES.iter().enumerate() {
            self.files[i] = host.hot_proc(format!("pressure/{name}"));
            let text = self.files[i].text().map_err(|error| {
                ProbeError::NotHere(format!("{error}; boot with psi=1 to have it"))
            })?;
            self.has_full[i] = has_full(text);
            services.push(service(name, what, self.has_full[i]));
        }
        Ok(services)
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        for (file, has_full) in self.files.iter_mut().zip(self.has_full) {
            let (some, full) = parse(file.text()?);
            if some.is_none() {
                return Err(file.malformed("has no line \"some … total=N\""));
            }
            push(out, some);
            if has_full {
                push(out, full);
            }
        }
        Ok(Read::Done)
    }
}

fn has_full(text: &[u8]) -> bool {
    lines(text).any(|line| words(line).next() == Some(b"full"))
}

fn service(name: &str, what: &str, has_full: bool) -> ServiceSpec {
    let field = |name: &str, info: String| {
        FieldSpec::derive(name, name).cdef(&format!("{name},10000,/")).info(&info)
    };
    let full = has_full.then(|| {
        field("full", format!("All tasks that had work waited for {what}: nothing useful was done"))
    });
    let some = field("some", format!("At least one task waited for {what}"));
    ServiceSpec::new(&format!("psi_{name}"), &format!("Pressure: waiting for {what}"), "system")
        .vlabel("% of time")
        .args("--base 1000 --lower-limit 0")
        .unscaled()
        .info(&format!(
            "The share of time in which tasks had work to do and stood still for want of {what}. \
             Stored in microseconds."
        ))
        .fields([some].into_iter().chain(full).collect())
}

/// `some avg10=0.00 avg60=0.06 avg300=0.42 total=14472278` and the same with
/// `full`, which old kernels do not print for the CPU: the totals, in µs.
fn parse(text: &[u8]) -> (Option<u64>, Option<u64>) {
    let (mut some, mut full) = (None, None);
    for line in lines(text) {
        let total = words(line).find_map(|word| number(word.strip_prefix(b"total=")?));
        match words(line).next() {
            Some(b"some") => some = total,
            Some(b"full") => full = total,
            _ => {}
        }
    }
    (some, full)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, ready, values};
    use proptest::prelude::*;

    #[test]
    fn totals_are_kept_in_microseconds() {
        let some = "some avg10=0.00 avg60=0.06 avg300=0.42 total=14472278\n";
        let full = "full avg10=0.00 avg60=0.00 avg300=0.00 total=7\n";
        let both = format!("{some}{full}");
        let host = TestHost::new(&[
            ("proc/pressure/cpu", some),
            ("proc/pressure/io", &both),
            ("proc/pressure/memory", &both),
        ]);
        let (mut probe, services) = ready("psi", "", &host.host);
        assert_eq!(services[1].name, "psi_io");
        assert_eq!(services[1].fields[0].cdef.as_deref(), Some("some,10000,/"));
        let got = values(probe.as_mut(), &host.host).unwrap();
        assert_eq!(got[..2], [14_472_278, 14_472_278].map(|n| Some(Value::Int(n))));
        assert_eq!((got[2], got.len()), (Some(Value::Int(7)), 5), "no `full` of the CPU");
        host.write("proc/pressure/io", "none\n");
        assert!(values(probe.as_mut(), &host.host).is_err());
    }

    #[test]
    fn a_kernel_without_it_is_not_an_error() {
        let host = TestHost::new(&[]);
        let error = Psi::default().discover(&host.host).unwrap_err();
        assert!(matches!(error, ProbeError::NotHere(_)), "{error}");
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>) {
            let _ = parse(&text);
        }
    }
}
