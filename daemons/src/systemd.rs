//! systemd's failed units, by `systemctl list-units --failed` (systemctl(1)), which
//! asks the manager over its own socket. Once a minute at most: it is a program.

use crate::support::run::run;
use crate::support::{Daemon, Odd, Sheet, probe};
use rookery_plugins::probes::support::no_settings;
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use std::time::Duration;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "systemd",
    about: "failed units, and which (systemctl)",
    waits: true,
    new: |table| {
        no_settings(table)?;
        let timeout = crate::support::timeout(table)?;
        Ok(probe(Systemd { timeout, odd: Odd::default() }))
    },
};

/// The most units that the text names.
const NAMED_MAX: usize = 10;

struct Systemd {
    timeout: Duration,
    odd: Odd,
}

impl Daemon for Systemd {
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        // As sd_booted(3) finds out.
        if !std::path::Path::new("/run/systemd/system").is_dir() || !host.is_live() {
            let why = "systemd: it is not what this host was booted with";
            return Err(ProbeError::NotHere(why.to_owned()));
        }
        let words = ["list-units", "--failed", "--plain", "--no-legend", "--no-pager", "--full"];
        let ran = run("systemd", "systemctl", &words, self.timeout)?;
        if !ran.ok {
            let why = ran.stderr.lines().next().unwrap_or("no output").to_owned();
            return Err(ProbeError::Failed(format!("systemd: systemctl list-units: {why}")));
        }
        self.odd.begin();
        write(&failed(&ran.stdout, &mut self.odd), sheet);
        self.odd.write("systemd", "system", sheet);
        Ok(())
    }

    fn step_min(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }
}

/// The units of lines such as `UNIT LOAD ACTIVE SUB DESCRIPTION`; old versions
/// put a dot before them.
fn failed<'a>(text: &'a str, odd: &mut Odd) -> Vec<&'a str> {
    let unit = |line: &'a str| {
        let mut words =
            line.split_whitespace().filter(|word| !matches!(*word, "●" | "*" | "x" | "×"));
        let (unit, active) = (words.next()?, words.nth(1)?);
        (unit.contains('.') && active == "failed").then_some(unit)
    };
    let mut units = vec![];
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        match unit(line) {
            Some(unit) => units.push(unit),
            None => odd.left_out(line),
        }
    }
    units
}

fn write(failed: &[&str], sheet: &mut Sheet<'_>) {
    let mut names = failed.iter().take(NAMED_MAX).copied().collect::<Vec<_>>().join(", ");
    if failed.len() > NAMED_MAX {
        names = format!("{names} and {} more", failed.len() - NAMED_MAX);
    }
    // A new name is a new description: the text says which they are.
    sheet.note(&names);
    sheet
        .service("systemd_failed", |n| {
            let info = match names.is_empty() {
                true => "Units that failed. There are none.".to_owned(),
                false => format!("Units that failed: {names}."),
            };
            ServiceSpec::new(n, "Failed units", "system")
                .vlabel("units")
                .args("-l 0")
                .unscaled()
                .info(&info)
        })
        .field("failed", Some(failed.len() as u64), |n| {
            let label =
                if names.is_empty() { "failed".to_owned() } else { format!("failed: {names}") };
            FieldSpec::gauge(n, &label)
                .draw(Draw::Area)
                .limits("0", "")
                .info("systemctl --failed lists them; systemctl reset-failed forgets them")
        });
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_plugins::{Cells, Value};

    #[test]
    fn units_are_counted_and_named() {
        let text = "a.service loaded failed failed A thing\nb.mount  loaded failed failed /b\n";
        let mut cells = Cells::new();
        let mut sheet = Sheet::new(&mut cells, true);
        let mut odd = Odd::default();
        write(&failed(text, &mut odd), &mut sheet);
        let specs = sheet.into_specs();
        assert_eq!(cells.get(0), Some(Value::Int(2)));
        assert_eq!(specs[0].fields[0].label, "failed: a.service, b.mount");
        assert!(failed("\n \n", &mut odd).is_empty());
        assert_eq!(odd.count(), 0);
        let text = "Warning: the journal is new.\n● c.service not-found failed failed C\n";
        assert_eq!(failed(text, &mut odd), ["c.service"]);
        assert_eq!(odd.count(), 1);
        let many: Vec<String> = (0..30).map(|i| format!("u{i}.service")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        let mut cells = Cells::new();
        let mut sheet = Sheet::new(&mut cells, true);
        write(&many, &mut sheet);
        assert!(sheet.into_specs()[0].info.ends_with("u9.service and 20 more."));
    }
}
