//! Open files of the whole machine, from `/proc/sys/fs/file-nr`
//! (Documentation/admin-guide/sysctl/fs.rst). Files below `/proc/sys` are
//! among the dearest to read, so this is done once a minute.

use super::support::{no_settings, number, words};
use crate::host::HotFile;
use crate::{Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};
use std::time::Duration;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "open_files",
    about: "open files of the machine and their limit (/proc/sys/fs/file-nr)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(OpenFiles::default()) as Box<dyn Probe>),
};

/// Shortest step.
const STEP_MIN: Duration = Duration::from_secs(60);

/// A limit from here on is "none": newer kernels set i64::MAX.
const NO_LIMIT: u64 = 1 << 62;

#[derive(Debug, Default)]
struct OpenFiles {
    file: HotFile,
    /// The limit that the description was made with.
    limit: u64,
}

impl Probe for OpenFiles {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("sys/fs/file-nr");
        let (_, limit) = self.used_and_limit()?;
        self.limit = limit;
        let share = |percent: u128| (u128::from(limit) * percent / 100).to_string();
        let mut used =
            FieldSpec::gauge("used", "open files").info("The number of currently open files");
        if limit < NO_LIMIT {
            used = used.limits(&share(92), &share(98));
        }
        let max = FieldSpec::gauge("max", "limit")
            .info("The most files that may be open at once (sysctl fs.file-max)")
            .hidden();
        Ok(vec![
            ServiceSpec::new("open_files", "File table usage", "system")
                .vlabel("number of open files")
                .args("--base 1000 -l 0")
                .info(
                    "Files, sockets and pipes open in all processes. When the limit is reached, \
                     programs fail with \"Too many open files in system\".",
                )
                .fields(vec![used, max]),
        ])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let (used, limit) = self.used_and_limit()?;
        if limit != self.limit {
            return Ok(Read::Changed);
        }
        out.push(used);
        out.push(limit);
        Ok(Read::Done)
    }

    fn step_min(&self) -> Option<Duration> {
        Some(STEP_MIN)
    }
}

impl OpenFiles {
    fn used_and_limit(&mut self) -> Result<(u64, u64), ProbeError> {
        let parsed = parse(self.file.text()?);
        parsed.ok_or_else(|| self.file.malformed("is not three numbers"))
    }
}

/// `532 0 2466177`: allocated, of these free, limit.
fn parse(text: &[u8]) -> Option<(u64, u64)> {
    let mut numbers = words(text.trim_ascii()).map(number);
    let (allocated, free, limit) = (numbers.next()??, numbers.next()??, numbers.next()??);
    Some((allocated.saturating_sub(free), limit))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::testing::{TestHost, ints, ready};
    use proptest::prelude::*;

    #[test]
    fn limits_follow_the_kernels_limit() {
        let host = TestHost::new(&[("proc/sys/fs/file-nr", "532\t32\t2466177\n")]);
        let (mut probe, services) = ready("open_files", "", &host.host);
        assert_eq!(services[0].fields[0].warning.as_deref(), Some("2268882"));
        assert_eq!(services[0].fields[0].critical.as_deref(), Some("2416853"));
        assert_eq!(ints(probe.as_mut(), &host.host).unwrap(), [500, 2_466_177]);
        host.write("proc/sys/fs/file-nr", "532\t32\t9223372036854775807\n");
        let read = probe.read(&host.host, &mut Cells::new()).unwrap();
        assert_eq!(read, Read::Changed, "a limit that was raised is judged by");
        let (_, services) = ready("open_files", "", &host.host);
        assert_eq!(services[0].fields[0].warning, None);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>) {
            let _ = parse(&text);
        }
    }
}
