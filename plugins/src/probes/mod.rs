//! The built-in probes: one file each, one line each.

mod clock;
mod conntrack;
mod cpu;
mod df;
mod diskstats;
mod drbd;
mod entropy;
mod interfaces;
mod kernel;
mod load;
mod memory;
mod netstat;
mod nfs;
mod numa;
mod numa_maps;
mod open_files;
mod processes;
mod psi;
mod raid;
mod sensors;
mod sockets;
pub mod support;
mod swap;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod tests;
mod uptime;

use crate::ProbeEntry;

/// Every probe there is. A new one is a file beside this one and a line here.
#[rustfmt::skip]
pub const PROBES: &[ProbeEntry] = &[
    cpu::ENTRY,
    kernel::ENTRY,
    load::ENTRY,
    memory::ENTRY,
    swap::ENTRY,
    diskstats::ENTRY,
    df::ENTRY,
    interfaces::ENTRY,
    netstat::ENTRY,
    sockets::ENTRY,
    psi::ENTRY,
    numa::ENTRY,
    numa_maps::ENTRY,
    uptime::ENTRY,
    processes::ENTRY,
    open_files::ENTRY,
    entropy::ENTRY,
    raid::ENTRY,
    drbd::ENTRY,
    nfs::ENTRY,
    conntrack::ENTRY,
    sensors::ENTRY,
    clock::ENTRY,
];
