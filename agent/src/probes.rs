//! The probes that the configuration asks for, made.

use crate::config::Config;
use crate::sampler::Slot;
use rookery_daemons::DAEMONS;
use rookery_daemons::instance::instances;
use rookery_plugins::{Probe, ProbeEntry, probes};
use std::sync::LazyLock;

/// Every probe there is: the host's own, and those of daemons.
pub static PROBES: LazyLock<Vec<ProbeEntry>> = LazyLock::new(|| [probes::PROBES, DAEMONS].concat());

/// The enabled probes, by how they are read.
#[derive(Default)]
pub struct Made {
    /// Those that cost little: together.
    pub cheap: Vec<Slot>,
    /// Those with a shortest step: together, beside the cheap ones.
    pub dear: Vec<Slot>,
    /// Daemons, each by itself, with the virtual node that it is.
    pub daemons: Vec<(Slot, Option<String>)>,
}

/// A probe by its label (`cpu`, `mysql.db2`), and whose it is.
pub struct Labelled {
    /// The label.
    pub label: String,
    /// The virtual node, if it is not the agent's own.
    pub node: Option<String>,
    /// The probe.
    pub probe: Box<dyn Probe>,
}

/// The probes of one line of the table; the message names the key that is wrong.
pub fn of_entry(config: &Config, entry: &ProbeEntry) -> Result<Vec<Labelled>, String> {
    let settings = config.probe_settings(entry.name)?;
    let name_it = |e| format!("[probe.{}]: {e}", entry.name);
    if !settings.enabled {
        return Ok(vec![]);
    }
    if entry.waits {
        let all = instances(entry, &settings.rest).map_err(name_it)?;
        let labelled = all.into_iter();
        return Ok(labelled
            .map(|i| Labelled { label: i.label, node: i.node, probe: i.probe })
            .collect());
    }
    let probe = (entry.new)(&settings.rest).map_err(name_it)?;
    Ok(vec![Labelled { label: entry.name.to_owned(), node: None, probe }])
}

/// All of them.
pub fn make(config: &Config, probes: &[ProbeEntry]) -> Result<Made, String> {
    let mut made = Made::default();
    for entry in probes {
        let step_ms = config.probe_settings(entry.name)?.step_ms;
        for Labelled { label, node, probe } in of_entry(config, entry)? {
            let is_dear = probe.step_min().is_some();
            let mut slot = Slot::new(&label, probe, step_ms);
            // A daemon that was found by chance and lets nobody in is no alert.
            slot.is_wanted = !entry.waits || config.probe.contains_key(entry.name);
            match (entry.waits, is_dear) {
                (true, _) => made.daemons.push((slot, node)),
                (_, true) => made.dear.push(slot),
                _ => made.cheap.push(slot),
            }
        }
    }
    Ok(made)
}
