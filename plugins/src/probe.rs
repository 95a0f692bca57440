//! What a built-in probe is.
//!
//! A probe is one file in `probes/` and one line in [`crate::probes::PROBES`].
//! It says which services it offers ([`Probe::discover`]) and then, each
//! cycle, pushes one value for each of their fields in that order
//! ([`Probe::read`]). It reads no clock: whoever calls it stamps the row.

use crate::{Cells, Host, ServiceSpec};
use std::time::Duration;
use thiserror::Error;

/// Why a probe gave no values.
#[derive(Debug, Error)]
pub enum ProbeError {
    /// The thing to watch is not on this host: not an error, the probe is
    /// left out and asked again later.
    #[error("not here: {0}")]
    NotHere(String),
    /// It is here and could not be read; the text names it and the remedy.
    #[error("{0}")]
    Failed(String),
}

impl ProbeError {
    /// A file that could not be read: absent means not here.
    pub fn file(path: &std::path::Path, error: &std::io::Error) -> ProbeError {
        let text = format!("{}: {error}", path.display());
        match error.kind() {
            std::io::ErrorKind::NotFound => ProbeError::NotHere(text),
            _ => ProbeError::Failed(text),
        }
    }
}

/// What came of a reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// One value was pushed for every field.
    Done,
    /// The set of services or fields is another than at the last
    /// [`Probe::discover`] (a disk came or went): what was pushed does not
    /// count, and `discover` is to be called again.
    Changed,
}

/// A built-in plugin.
pub trait Probe: Send {
    /// Looks at the host; the services offered now, with all their fields.
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError>;

    /// Pushes one value for each field of each service of the last
    /// `discover`, in its order. Allocates nothing when nothing changed.
    fn read(&mut self, host: &Host, out: &mut Cells) -> Result<Read, ProbeError>;

    /// The shortest step that is fit for it; `None`: any. A probe whose cost
    /// it has measured itself may answer a longer one after a reading.
    fn step_min(&self) -> Option<Duration> {
        None
    }
}

/// `[probe.NAME]` of `agent.toml`.
pub type ProbeConfig = toml::Table;

/// A line of the table of probes.
#[derive(Clone, Copy)]
pub struct ProbeEntry {
    /// The name in `[probe.NAME]`, and in a service's source `probe:NAME`.
    pub name: &'static str,
    /// One line for `rookery-agent list` and the manual.
    pub about: &'static str,
    /// It asks a daemon and may have to wait: it gets a thread of its own, and
    /// `[[probe.NAME.server]]` names further ones.
    pub waits: bool,
    /// Makes one; the message of an `Err` names the key that is wrong.
    pub new: fn(&ProbeConfig) -> Result<Box<dyn Probe>, String>,
}
