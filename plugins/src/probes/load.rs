//! The load averages, from `/proc/loadavg` (proc.rst). Munin's `load` is the
//! one over 5 minutes; those over 1 and 15 minutes stand beside it.

use super::support::{decimal, no_settings, words};
use crate::host::HotFile;
use crate::{Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "load",
    about: "load averages over 1, 5 and 15 minutes (/proc/loadavg)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Load::default()) as Box<dyn Probe>),
};

#[derive(Debug, Default)]
struct Load {
    file: HotFile,
}

impl Probe for Load {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("loadavg");
        self.averages()?;
        let field = |name, label: &str, span: &str| {
            FieldSpec::gauge(name, label).info(&format!(
                "Tasks that run, wait for a CPU or wait for a disk, averaged over {span}"
            ))
        };
        Ok(vec![
            ServiceSpec::new("load", "Load average", "system")
                .vlabel("load")
                .args("--base 1000 -l 0")
                .unscaled()
                .info(
                    "How many tasks run, wait to run, or are blocked by a disk. A load above \
                     the number of cores means that some had to wait.",
                )
                .fields(vec![
                    field("load", "load", "5 minutes"),
                    field("load1", "1 minute", "1 minute"),
                    field("load15", "15 minutes", "15 minutes"),
                ]),
        ])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let [one, five, fifteen] = self.averages()?;
        [five, one, fifteen].into_iter().for_each(|v| out.push(v));
        Ok(Read::Done)
    }
}

impl Load {
    fn averages(&mut self) -> Result<[f64; 3], ProbeError> {
        let averages = parse(self.file.text()?);
        averages.ok_or_else(|| self.file.malformed("does not open with three averages"))
    }
}

/// `0.72 0.70 0.44 5/107 16641`: over 1, 5 and 15 minutes.
fn parse(text: &[u8]) -> Option<[f64; 3]> {
    let mut words = words(text);
    Some([decimal(words.next()?)?, decimal(words.next()?)?, decimal(words.next()?)?])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, ready, values};
    use proptest::prelude::*;

    #[test]
    fn munins_load_is_the_five_minute_one() {
        let host = TestHost::new(&[("proc/loadavg", "0.72 0.70 0.44 5/107 16641\n")]);
        let (mut probe, services) = ready("load", "", &host.host);
        assert_eq!(services[0].fields[0].name, "load");
        let got = values(probe.as_mut(), &host.host).unwrap();
        assert_eq!(got, [0.70, 0.72, 0.44].map(|v| Some(Value::Float(v))));
        host.write("proc/loadavg", "0.72 high\n");
        assert!(values(probe.as_mut(), &host.host).is_err());
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>) {
            let _ = parse(&text);
        }
    }
}
