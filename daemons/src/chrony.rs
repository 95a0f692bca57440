//! chronyd's own view of the clock, by `chronyc -c tracking` (chronyc(1)): finer
//! than the kernel's, which the probe `clock` reads whichever daemon keeps it.

use crate::support::run::run;
use crate::support::{Address, Daemon, Sheet, number, probe, settings, timeout};
use rookery_plugins::probes::support::decimal;
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::time::Duration;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "chrony",
    about: "the clock as chronyd knows it: offset, error, frequency, stratum (chronyc)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let address = match &own.address {
            None => None,
            Some(text) => match Address::parse(text, PORT)? {
                Address::Tcp(text) => Some(text),
                Address::Unix(path) => Some(path.display().to_string()),
            },
        };
        let program = own.program.unwrap_or_else(|| "chronyc".to_owned());
        Ok(probe(Chrony { program, address, timeout: timeout(table)? }))
    },
};

/// chronyd's port for commands.
const PORT: u16 = 323;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
    program: Option<String>,
}

struct Chrony {
    program: String,
    address: Option<String>,
    timeout: Duration,
}

/// A line of `tracking`; spans in seconds, frequencies in ppm.
#[derive(Debug, PartialEq)]
struct Tracking<'a> {
    /// Whom it follows.
    source: &'a str,
    stratum: u64,
    /// How far the clock is behind; below 0: ahead.
    offset: f64,
    last_offset: f64,
    rms_offset: f64,
    frequency: f64,
    skew: f64,
    root_delay: f64,
    root_dispersion: f64,
    is_synchronised: bool,
}

impl<'a> Tracking<'a> {
    /// `None`: it is none, or not whole.
    fn parse(text: &'a str) -> Option<Tracking<'a>> {
        // A warning may stand before it, and a later version may tell more behind.
        text.strip_suffix('\n')?.lines().find_map(Tracking::line)
    }

    fn line(line: &'a str) -> Option<Tracking<'a>> {
        let cells: Vec<&str> = line.split(',').collect();
        let [_, source, stratum, _, rest @ ..] = &cells[..] else { return None };
        let [offset, last, rms, frequency, _, skew, delay, dispersion, _, leap, ..] = rest else {
            return None;
        };
        let of = |cell: &str| decimal(cell.as_bytes());
        Some(Tracking {
            source,
            stratum: number(stratum.as_bytes())?,
            offset: of(offset)?,
            last_offset: of(last)?,
            rms_offset: of(rms)?,
            frequency: of(frequency)?,
            skew: of(skew)?,
            root_delay: of(delay)?,
            root_dispersion: of(dispersion)?,
            is_synchronised: *leap != "Not synchronised",
        })
    }
}

impl Daemon for Chrony {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let mut words = vec!["-n", "-c"];
        match self.address.as_deref() {
            Some(path) if path.starts_with('/') => words.extend(["-h", path]),
            Some(address) => {
                let (host, port) = address.rsplit_once(':').unwrap_or((address, "323"));
                words.extend(["-h", host.trim_matches(['[', ']']), "-p", port]);
            }
            None => {}
        }
        words.push("tracking");
        let ran = run("chrony", &self.program, &words, self.timeout)?;
        let said = ran.stdout.lines().chain(ran.stderr.lines()).next().unwrap_or("no output");
        if !ran.ok {
            let text = format!("chrony: {} tracking: {said}", self.program);
            return Err(match self.address {
                // It is installed, and chronyd does not run.
                None => ProbeError::NotHere(text),
                Some(_) => ProbeError::Failed(format!(
                    "{text}; is it the cmdport or bindcmdaddress of chronyd?"
                )),
            });
        }
        let tracking = Tracking::parse(&ran.stdout).ok_or_else(|| {
            let program = &self.program;
            ProbeError::Failed(format!("chrony: {program} -c tracking: {said:?} is no such line"))
        })?;
        write(&tracking, sheet);
        Ok(())
    }

    fn step_min(&self) -> Option<Duration> {
        Some(Duration::from_secs(10))
    }
}

fn write(tracking: &Tracking<'_>, sheet: &mut Sheet<'_>) {
    // Without a source all is 0, and that is not an offset.
    let known = |value: f64| tracking.is_synchronised.then_some(value);
    let source = if tracking.is_synchronised { tracking.source } else { "nobody" };
    sheet.note(source);
    sheet
        .service("chrony_offset", |n| {
            ServiceSpec::new(n, "chrony: offset of the clock", "time").vlabel("seconds").info(
                &format!(
                    "How far the clock is behind the time that chronyd takes to be right; below 0 \
                     it is ahead. It follows {source} now. Unknown while it follows nobody."
                ),
            )
        })
        // Whether it follows anybody is judged by the stratum.
        .optional("systime", known(tracking.offset), |n| {
            FieldSpec::gauge(n, "clock")
                .limits("-0.1:0.1", "-1:1")
                .info("What is still to be corrected")
        })
        .field("lastoffset", known(tracking.last_offset), |n| {
            FieldSpec::gauge(n, "last measured").info("What the last measurement found")
        })
        .field("rmsoffset", known(tracking.rms_offset), |n| {
            FieldSpec::gauge(n, "mean").info("Long-term average of what was found (RMS)")
        });
    sheet
        .service("chrony_error", |n| {
            ServiceSpec::new(n, "chrony: error of the clock", "time")
                .vlabel("seconds")
                .args("-l 0")
                .info(
                    "How wrong the clock may be: half of the way to the first clock of the chain \
                     and back, and what has gathered on it.",
                )
        })
        .field("maxerror", known(tracking.root_delay / 2.0 + tracking.root_dispersion), |n| {
            FieldSpec::gauge(n, "at most").draw(Draw::Area).info("Half of the delay + dispersion")
        })
        .field("rootdelay", known(tracking.root_delay), |n| {
            FieldSpec::gauge(n, "delay").info("Of the network, to the first clock and back")
        })
        .field("rootdispersion", known(tracking.root_dispersion), |n| {
            FieldSpec::gauge(n, "dispersion").info("Errors that have gathered on the way")
        });
    sheet
        .service("chrony_frequency", |n| {
            ServiceSpec::new(n, "chrony: frequency", "time").vlabel("ppm").info(
                "How wrong the clock would go by itself, in millionths; it changes with the \
                 temperature.",
            )
        })
        .field("frequency", known(tracking.frequency), |n| {
            FieldSpec::gauge(n, "frequency").info("Above 0 it would be fast")
        })
        .field("skew", known(tracking.skew), |n| {
            FieldSpec::gauge(n, "skew").info("How uncertain that is")
        });
    sheet
        .service("chrony_stratum", |n| {
            ServiceSpec::new(n, "chrony: stratum", "time")
                .vlabel("servers")
                .args("-l 0 -u 16")
                .unscaled()
                .info("How many servers away the first clock is. 0: it follows nobody.")
        })
        .field("stratum", Some(tracking.stratum), |n| {
            FieldSpec::gauge(n, "stratum").limits("1:", "").info("0: it follows nobody")
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{ask, make};
    use proptest::prelude::*;
    use rookery_plugins::Value;
    use std::os::unix::fs::PermissionsExt;

    /// Of chrony 4.3, of a client of a server on loopback.
    const LINE: &str = "7F000001,127.0.0.1,6,1795283327.844380067,-0.000001137,-0.000000378,\
                        0.000000217,-0.002,-0.005,0.182,0.000003331,0.000002036,2.1,Normal\n";
    /// Of the same before it followed anyone.
    const NOBODY: &str = "00000000,,0,0.000000000,0.000000000,0.000000000,0.000000000,0.000,0.000,\
                          0.000,1.000000000,1.000000000,0.0,Not synchronised\n";

    #[test]
    fn a_recorded_line_is_read_and_its_beginnings_are_not() {
        let tracking = Tracking::parse(LINE).expect("reads");
        assert_eq!((tracking.source, tracking.stratum), ("127.0.0.1", 6));
        assert_eq!((tracking.offset, tracking.skew), (-0.000_001_137, 0.182));
        let more = format!("Warning: odd\n{}", LINE.replace(",Normal", ",Normal,more"));
        assert_eq!(Tracking::parse(&more), Some(tracking));
        for at in 0..LINE.len() {
            assert_eq!(Tracking::parse(&LINE[..at]), None, "cut at {at}");
        }
    }

    #[test]
    fn who_follows_nobody_has_no_offset() {
        let dir = tempfile::tempdir().expect("tmp");
        let program = dir.path().join("chronyc");
        let said = |script: &str, more: &str| {
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("writes");
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&program, mode).expect("chmod");
            ask(make("chrony", &format!("program = {program:?}\n{more}")).as_mut())
        };
        let (_, values) = said(&format!("printf %s '{NOBODY}'"), "").expect("answers");
        assert!(!values.contains_key("chrony_offset.systime"));
        assert_eq!(values["chrony_stratum.stratum"], Value::Int(0));
        let wanted = "[ \"$*\" = '-n -c -h ::1 -p 1323 tracking' ]";
        let (specs, values) =
            said(&format!("{wanted} && printf %s '{LINE}'"), "address = \"[::1]:1323\"")
                .expect("answers");
        assert!(specs[0].info.contains("It follows 127.0.0.1 now"), "{}", specs[0].info);
        assert_eq!(values["chrony_error.rootdelay"], Value::Float(0.000_003_331));
        let gone = "echo '506 Cannot talk to daemon'; exit 1";
        assert!(matches!(said(gone, ""), Err(ProbeError::NotHere(_))));
        let error = said(gone, "address = \"/x\"").expect_err("gone").to_string();
        assert!(error.contains("506 Cannot talk to daemon; is it the cmdport"), "{error}");
        assert!(matches!(said("echo hello", ""), Err(ProbeError::Failed(_))));
    }

    proptest! {
        #[test]
        fn noise_never_panics(text in "([0-9.,-]{0,40}|.)*\n") {
            let _ = Tracking::parse(&text);
        }
    }
}
