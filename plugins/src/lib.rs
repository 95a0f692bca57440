//! The words that every part of Rookery shares.
//!
//! In: bytes of /proc and /sys, a plugin's text, a frame from the wire, a line
//! of configuration. Out: [`Value`]s, [`ServiceSpec`]s, [`Range`]s and frames.
//!
//! What this crate never does: I/O outside [`probes`] and [`Host`], reading a
//! clock (time is always an argument; [`one_pass`] only knows how long ago it
//! asked), or knowing who uses it. Agent and server side meet here and nowhere
//! else.

pub mod batch;
pub mod config;
pub mod host;
pub mod munin;
pub mod names;
pub mod one_pass;
pub mod perfdata;
pub mod probe;
pub mod probes;
pub mod range;
pub mod rhythm;
pub mod rpn;
pub mod sheet;
pub mod spec;
pub mod state;
pub mod times;
pub mod value;
pub mod wire;

pub use batch::{Cells, FieldKey, Layout, LayoutId};
pub use host::Host;
pub use probe::{Probe, ProbeEntry, ProbeError, Read};
pub use range::Range;
pub use spec::{Draw, FieldSpec, FieldType, ServiceSpec};
pub use state::{HostState, State};
pub use value::{Kind, Value};

/// Milliseconds since 1970-01-01T00:00:00Z. Negative values are before it.
pub type TimeMs = i64;
