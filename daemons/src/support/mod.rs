//! What the daemons share: finding them, talking to them, naming what they say.

pub mod certificate;
pub mod http;
mod link;
mod names;
mod odd;
mod place;
mod ratio;
pub mod run;
mod stats;
pub mod target;
#[cfg(test)]
pub mod testing;

pub use link::Link;
pub use names::Names;
pub use odd::Odd;
pub use place::{Address, Place, Secret, shown_value, timeout};
pub use ratio::Ratio;
pub use rookery_plugins::one_pass::{OnePass as Daemon, probe};
pub use rookery_plugins::probes::support::{StableName, number, settings};
pub use rookery_plugins::sheet::{Service, Sheet};
pub use stats::Stats;

/// The longest reply that is read: more is an error. 4 MiB.
pub const REPLY_BYTES_MAX: usize = 4 << 20;
