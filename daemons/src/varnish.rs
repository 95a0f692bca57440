//! Varnish, by `varnishstat -j` (varnishstat(1), varnish-counters(7)): its
//! counters are in shared memory, and only this program knows their layout.

mod counters;
mod graphs;

use crate::support::run::{Ran, run};
use crate::support::{Daemon, Names, Odd, Place, Ratio, Sheet, probe, settings};
use counters::Counters;
use rookery_plugins::{Host, ProbeEntry, ProbeError};
use serde::Deserialize;
use std::collections::BTreeSet;
use std::time::Duration;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "varnish",
    about: "hit ratio, requests, backends, queues, evictions, memory (varnishstat)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        if own.instance.as_ref().is_some_and(|name| name.is_empty() || name.contains('\0')) {
            return Err("instance: write what varnishd was given with -n".to_owned());
        }
        // Only the time limit is of use here.
        let timeout = Place::new("varnish", table, None, &[], 1)?.timeout;
        let program = own.program.unwrap_or_else(|| "varnishstat".to_owned());
        let (hit_ratio, probed) = (Ratio::default(), BTreeSet::new());
        let name = own.instance;
        let (names, odd) = (Names::default(), Odd::default());
        Ok(probe(Varnish { name, program, timeout, hit_ratio, probed, names, odd }))
    },
};

const CATEGORY: &str = "varnish";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    /// What varnishd was given with `-n`. Not `name`: a server has one already.
    instance: Option<String>,
    program: Option<String>,
}

struct Varnish {
    /// `-n`.
    name: Option<String>,
    program: String,
    timeout: Duration,
    hit_ratio: Ratio,
    /// Backends whose probes were well once, see [`Counters::health`].
    probed: BTreeSet<String>,
    names: Names,
    odd: Odd,
}

impl Daemon for Varnish {
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let ran = self.run()?;
        let failed = |why: &str| {
            let of = self.name.as_ref().map(|n| format!(" -n {n}")).unwrap_or_default();
            ProbeError::Failed(format!("varnish: {} -j{of}: {why}", self.program))
        };
        if !ran.ok {
            let said = ran.stderr.trim_matches(['.', '\n']).lines().next().unwrap_or("no output");
            return Err(match (&self.name, is_running(host)) {
                (None, false) => ProbeError::NotHere(format!("varnish: {said}")),
                (None, true) => failed(&format!(
                    "{said} It runs: may the agent read its counters (usermod -aG varnish \
                     rookery, and restart the agent)? Was it given a name (-n)? Then write \
                     instance = \"NAME\" in [probe.varnish]"
                )),
                (Some(_), _) => failed(&format!(
                    "{said} Is it what varnishd was given with -n, and may the agent read its \
                     counters (usermod -aG varnish rookery, and restart the agent)?"
                )),
            });
        }
        self.odd.begin();
        let counters = Counters::parse(&ran.stdout, &mut self.odd).map_err(|why| failed(&why))?;
        let (hits, misses) = (counters.main("cache_hit"), counters.main("cache_miss"));
        let asked = hits.zip(misses).map(|(h, m)| h.saturating_add(m));
        let hit_ratio = self.hit_ratio.next(hits, asked);
        graphs::write(&counters, hit_ratio, &mut self.probed, &mut self.names, sheet);
        self.odd.write("varnish", CATEGORY, sheet);
        Ok(())
    }
}

impl Varnish {
    fn run(&self) -> Result<Ran, ProbeError> {
        let name = self.name.as_deref();
        let named = name.map(|n| vec!["-n", n]).unwrap_or_default();
        // Without -t it looks for varnishd for five seconds.
        let quick = run("varnish", &self.program, &[&["-j", "-t", "1"], &*named].concat(), {
            self.timeout
        });
        let ran = match quick {
            // Before 4.1 there is no -t.
            Ok(ran) if !ran.ok && ran.stderr.contains("invalid option") => {
                run("varnish", &self.program, &[&["-j"], &*named].concat(), self.timeout)
            }
            other => other,
        };
        match ran {
            Err(ProbeError::NotHere(why)) if name.is_some() => Err(ProbeError::Failed(why)),
            other => other,
        }
    }
}

/// Whether a varnishd runs on this host.
fn is_running(host: &Host) -> bool {
    let Ok(entries) = std::fs::read_dir(host.proc("")) else { return false };
    entries.flatten().any(|entry| {
        let comm = std::fs::read_to_string(entry.path().join("comm"));
        comm.is_ok_and(|name| name.trim_end() == "varnishd")
    })
}

#[cfg(test)]
mod tests;
