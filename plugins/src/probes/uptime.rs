//! Time since boot, from `/proc/uptime` (proc.rst), in days as Munin's
//! `uptime` has it.

use super::support::{decimal, no_settings, words};
use crate::host::HotFile;
use crate::{Cells, Draw, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "uptime",
    about: "days since boot (/proc/uptime)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Uptime::default()) as Box<dyn Probe>),
};

/// Seconds in a day.
const DAY_S: f64 = 86_400.0;

#[derive(Debug, Default)]
struct Uptime {
    file: HotFile,
}

impl Probe for Uptime {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("uptime");
        self.days()?;
        Ok(vec![
            ServiceSpec::new("uptime", "Uptime", "system")
                .vlabel("uptime in days")
                .args("--base 1000 -l 0")
                .unscaled()
                .info("How long the system has been up; a fall to zero is a reboot.")
                .fields(vec![
                    FieldSpec::gauge("uptime", "uptime")
                        .draw(Draw::Area)
                        .info("Days since the system was started"),
                ]),
        ])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let days = self.days()?;
        out.push(days);
        Ok(Read::Done)
    }
}

impl Uptime {
    fn days(&mut self) -> Result<f64, ProbeError> {
        let seconds = words(self.file.text()?).next().and_then(decimal);
        let seconds = seconds.ok_or_else(|| self.file.malformed("does not open with seconds"))?;
        Ok(seconds / DAY_S)
    }
}

#[cfg(test)]
mod tests {
    use crate::Value;
    use crate::probes::testing::{TestHost, ready, values};

    #[test]
    fn seconds_become_days() {
        let host = TestHost::new(&[("proc/uptime", "129600.00 2491.96\n")]);
        let (mut probe, _) = ready("uptime", "", &host.host);
        assert_eq!(values(probe.as_mut(), &host.host).unwrap(), [Some(Value::Float(1.5))]);
        host.write("proc/uptime", "\n");
        assert!(values(probe.as_mut(), &host.host).is_err());
    }
}
