//! What the probes share: byte parsers, and the reading of `[probe.NAME]`.

mod devices;
mod names;
mod parse;
mod settings;

pub use devices::{Volume, device_file, volume};
pub use names::{STABLE_NAME_BYTES_MAX, StableName, stable_names, unique};
pub use parse::{decimal, has_keys, keyed, lines, number, words};
pub use settings::{no_settings, settings};

use crate::{Cells, Value};

/// Pushes the number, or unknown where the kernel did not give it.
pub fn push(out: &mut Cells, value: Option<u64>) {
    match value {
        Some(v) => out.push(v),
        None => out.push(Value::Unknown),
    }
}
