//! The agent: samples a host, runs plugins, speaks munin-node, spools, ships.
//!
//! In: a [`Config`], the host's files, executables. Out: frames POSTed to a
//! collector, in order, each exactly once; and Munin's protocol on a port.
//! The front door is [`run()`].
//!
//! One row's way: `schedule` says when, `sampler` reads the probes on threads
//! of their own, `plugin` runs the executables; both hand [`event::Event`]s to
//! `ship`, which numbers batches and POSTs them, and keeps them in `spool`
//! while the collector is away. `catalog` knows which services there are.
//!
//! What this crate never does: know the server side, or change a value.

pub mod catalog;
pub mod check;
pub mod cli;
pub mod clock;
pub mod config;
pub mod configure;
pub mod configure_snmp;
pub mod event;
mod finder;
pub mod hold;
pub mod munin_conf;
pub mod node;
pub mod nrpe;
pub mod outbox;
pub mod plugin;
pub mod probes;
pub mod report;
pub mod run;
pub mod sampler;
pub mod schedule;
pub mod ship;
pub mod snmp;
pub mod spool;

pub use config::{Config, Span};
pub use run::{AgentError, Found, run, run_with};
