//! The kernel's own view of its clock: offset, error, whether it is disciplined,
//! by adjtimex(2), whichever daemon does it.

use super::support::{decimal, keyed, no_settings, words};
use crate::one_pass::{OnePass, probe};
use crate::sheet::Sheet;
use crate::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use std::time::Duration;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "clock",
    about: "the clock's offset, error and synchronisation (adjtimex)",
    waits: false,
    new: |config| no_settings(config).map(|()| probe(Clock)),
};

struct Clock;

/// Seconds, and whether a daemon disciplines it.
#[derive(Debug, PartialEq)]
struct Reading {
    offset: f64,
    maxerror: f64,
    esterror: f64,
    synchronised: bool,
}

impl OnePass for Clock {
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let reading = if host.is_live() { live()? } else { recorded(host)? };
        write(&reading, sheet);
        Ok(())
    }

    fn step_min(&self) -> Option<Duration> {
        Some(Duration::from_secs(30))
    }
}

fn live() -> Result<Reading, ProbeError> {
    // SAFETY: all zeroes is a valid timex, and `modes` 0 only reads.
    let mut timex: libc::timex = unsafe { std::mem::zeroed() };
    // SAFETY: the pointer is to a timex that lives longer than the call.
    let state = unsafe { libc::adjtimex(&mut timex) };
    if state < 0 {
        let e = std::io::Error::last_os_error();
        return Err(ProbeError::Failed(format!("adjtimex: {e}")));
    }
    let nano = timex.status & libc::STA_NANO != 0;
    Ok(Reading {
        offset: timex.offset as f64 / if nano { 1e9 } else { 1e6 },
        maxerror: timex.maxerror as f64 / 1e6,
        esterror: timex.esterror as f64 / 1e6,
        synchronised: timex.status & libc::STA_UNSYNC == 0,
    })
}

/// A recorded machine's: `proc/timex`, which no kernel has.
fn recorded(host: &Host) -> Result<Reading, ProbeError> {
    let mut file = host.hot_proc("timex");
    let text = file.text()?;
    let of = |name: &str| {
        let line = text.split(|b| *b == b'\n').find(|l| l.starts_with(name.as_bytes()))?;
        decimal(words(line).nth(1)?)
    };
    let [synchronised] = keyed(text, &["synchronised"]);
    let all = (of("offset"), of("maxerror"), of("esterror"), synchronised);
    match all {
        (Some(offset), Some(maxerror), Some(esterror), Some(synchronised)) => {
            Ok(Reading { offset, maxerror, esterror, synchronised: synchronised == 1 })
        }
        _ => Err(file.malformed("lacks offset, maxerror, esterror or synchronised")),
    }
}

fn write(reading: &Reading, sheet: &mut Sheet<'_>) {
    sheet
        .service("clock_offset", |n| {
            ServiceSpec::new(n, "Clock offset", "time").vlabel("seconds").info(
                "How far the kernel still has to move its clock to be right, as its time \
                       daemon told it.",
            )
        })
        .field("offset", Some(reading.offset), |n| {
            FieldSpec::gauge(n, "offset").info("What is still to be corrected, either way")
        });
    sheet
        .service("clock_error", |n| {
            ServiceSpec::new(n, "Clock error", "time")
                .vlabel("seconds")
                .args("-l 0")
                .info("How wrong the clock may be. It grows while nobody sets it, up to 16 s.")
        })
        .field("maxerror", Some(reading.maxerror), |n| {
            FieldSpec::gauge(n, "at most").draw(Draw::Area).info("The bound that the kernel keeps")
        })
        .field("esterror", Some(reading.esterror), |n| {
            FieldSpec::gauge(n, "estimated").info("What the time daemon expects")
        });
    sheet
        .service("clock_sync", |n| {
            ServiceSpec::new(n, "Clock synchronisation", "time")
                .vlabel("1 = synchronised")
                .args("-l 0 -u 1")
                .unscaled()
                .info("Whether a time daemon (chrony, ntpd, systemd-timesyncd) keeps the clock.")
        })
        .field("synchronised", Some(u64::from(reading.synchronised)), |n| {
            FieldSpec::gauge(n, "synchronised").draw(Draw::Area).info("0: nobody sets the clock")
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{fixture, lookup, ready, values};

    #[test]
    fn a_recorded_and_the_real_clock_are_read() {
        let host = fixture("health");
        let (mut probe, services) = ready("clock", "", &host);
        let cells = values(probe.as_mut(), &host).unwrap();
        let of = |s: &str, f: &str| lookup(&services, &cells, s, f);
        assert_eq!(of("clock_offset", "offset"), Value::Float(-0.000_125));
        assert_eq!(of("clock_sync", "synchronised"), Value::Int(1));
        let real = live().unwrap();
        assert!(real.offset.abs() <= 0.5 && (0.0..=17.0).contains(&real.maxerror), "{real:?}");
    }
}
