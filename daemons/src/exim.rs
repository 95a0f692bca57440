//! Exim's queue, by `exim -bpc` (exim(8)): it counts, and opens no message.

use crate::support::run::run;
use crate::support::{Daemon, Sheet, number, probe, settings, timeout};
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::time::Duration;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "exim",
    about: "messages in the queue (exim -bpc)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let program = own.program.unwrap_or_else(|| "exim".to_owned());
        Ok(probe(Exim { program, timeout: timeout(table)? }))
    },
};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    program: Option<String>,
}

struct Exim {
    program: String,
    timeout: Duration,
}

impl Daemon for Exim {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let ran = run("exim", &self.program, &["-bpc"], self.timeout)?;
        let failed = |why: &str| ProbeError::Failed(format!("exim: {} -bpc: {why}", self.program));
        if !ran.ok {
            return Err(failed(ran.stderr.lines().next().unwrap_or("no output")));
        }
        // A warning may stand before it.
        let last = ran.stdout.lines().rev().find_map(|line| number(line.trim().as_bytes()));
        let n = last.ok_or_else(|| failed("it prints no number"))?;
        sheet
            .service("exim_mailqueue", |name| {
                ServiceSpec::new(name, "Exim queue", "mail")
                    .vlabel("messages")
                    .args("-l 0 --base 1000")
                    .info("Messages that Exim has not delivered yet.")
            })
            .field("mails", Some(n), |name| {
                FieldSpec::gauge(name, "queued").draw(Draw::Area).info("Frozen ones, too")
            });
        Ok(())
    }

    fn step_min(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }
}

#[cfg(test)]
mod tests {
    use crate::support::testing::{ask, make};
    use rookery_plugins::Value;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_number_is_a_number_and_nothing_else() {
        let dir = tempfile::tempdir().expect("tmp");
        let program = dir.path().join("exim");
        let said = |script: &str| {
            std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("writes");
            let mode = std::fs::Permissions::from_mode(0o755);
            std::fs::set_permissions(&program, mode).expect("chmod");
            ask(make("exim", &format!("program = {program:?}")).as_mut())
        };
        let (_, values) = said("[ \"$1\" = -bpc ] && echo 17").expect("counts");
        assert_eq!(values["exim_mailqueue.mails"], Value::Int(17));
        let (_, values) = said("echo 'Warning: purging'; echo 18").expect("counts");
        assert_eq!(values["exim_mailqueue.mails"], Value::Int(18));
        for (script, want) in [
            ("echo many", "it prints no number"),
            ("echo 'exim: permission denied' >&2; exit 1", "permission denied"),
        ] {
            let error = said(script).expect_err(want).to_string();
            assert!(error.contains(want), "{error}");
        }
    }
}
