//! Munin's plugin texts, both ways: what `config` and `fetch` print.
//!
//! Read as Munin's master reads them: lines end in LF or CRLF, blanks around
//! a line do not matter, `#` begins a comment, `multigraph NAME` begins
//! another service. What is not understood is counted and skipped, never an
//! error: one bad line must not cost the other values. A value that is no number is an
//! unknown one.

mod certificate;
mod extinfo;
mod oddities;
mod parse;
mod render;

pub use certificate::certificate_names;
pub use extinfo::{EXTINFO, Extinfo};
pub use oddities::Oddities;
pub use parse::{Parsed, Reading, Strange, parse};
pub use render::{render_config, render_timed_values, render_values};
