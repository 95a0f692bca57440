//! The kernel's entropy estimate, from
//! `/proc/sys/kernel/random/entropy_avail` (random(4)). Once a minute: files
//! below `/proc/sys` are dear, and since Linux 5.18 the number is always 256.

use super::support::{no_settings, number};
use crate::host::HotFile;
use crate::{Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};
use std::time::Duration;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "entropy",
    about: "available entropy (/proc/sys/kernel/random/entropy_avail)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Entropy::default()) as Box<dyn Probe>),
};

/// Shortest step.
const STEP_MIN: Duration = Duration::from_secs(60);

#[derive(Debug, Default)]
struct Entropy {
    file: HotFile,
}

impl Probe for Entropy {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("sys/kernel/random/entropy_avail");
        self.available()?;
        Ok(vec![
            ServiceSpec::new("entropy", "Available entropy", "system")
                .vlabel("entropy (bits)")
                .args("--base 1000 -l 0")
                .unscaled()
                .info("The amount of entropy available; always 256 since Linux 5.18.")
                .fields(vec![FieldSpec::gauge("entropy", "entropy").info(
                    "The random bits that the kernel holds ready, typically for cryptography",
                )]),
        ])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let bits = self.available()?;
        out.push(bits);
        Ok(Read::Done)
    }

    fn step_min(&self) -> Option<Duration> {
        Some(STEP_MIN)
    }
}

impl Entropy {
    fn available(&mut self) -> Result<u64, ProbeError> {
        let bits = number(self.file.text()?.trim_ascii());
        bits.ok_or_else(|| self.file.malformed("is not a number"))
    }
}

#[cfg(test)]
mod tests {
    use crate::probes::testing::{TestHost, ints, ready};

    #[test]
    fn one_number_or_an_error() {
        let path = "proc/sys/kernel/random/entropy_avail";
        let host = TestHost::new(&[(path, "256\n")]);
        let (mut probe, _) = ready("entropy", "", &host.host);
        assert_eq!(ints(probe.as_mut(), &host.host).unwrap(), [256]);
        host.write(path, "many\n");
        assert!(ints(probe.as_mut(), &host.host).is_err());
    }
}
