//! The built-in probes: one file each, one line each.

mod cpu;
mod entropy;
mod kernel;
mod load;
mod open_files;
mod psi;
mod support;
#[cfg(test)]
mod testing;
mod uptime;

use crate::ProbeEntry;

/// Every probe there is. A new one is a file beside this one and a line here.
#[rustfmt::skip]
pub const PROBES: &[ProbeEntry] = &[
    cpu::ENTRY,
    kernel::ENTRY,
    load::ENTRY,
    psi::ENTRY,
    uptime::ENTRY,
    open_files::ENTRY,
    entropy::ENTRY,
];
