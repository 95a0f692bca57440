//! Disk IO per device, from `/proc/diskstats`
//! (Documentation/admin-guide/iostats.rst).
//!
//! Graphs and names as Munin's `diskstats`: an overview of all devices, and
//! one nested graph for each. What is stored is the kernel's counters; latency
//! and utilisation are a `cdef` over their rates, in which a division by zero
//! (no IO at all) is unknown. A kernel prints 11, 15 (discards, 4.18) or 17
//! (flushes, 5.5) columns. Its milliseconds are 32 bits wide and wrap, which
//! `min 0` makes one unknown point. Since 5.0 busy time is sampled at each
//! timer tick: utilisation is inexact.
//!
//! Volumes are called as they are (`vg0_mysql`, as in Munin), since their numbers
//! (`dm-1`) are given in the order of their appearance at each boot. So are those of
//! disks (`sda`), whose names stay Munin's: which disk it is stands in their
//! description, and another disk behind a name is an event.
//!
//! Left out: partitions, loop and RAM disks, and devices that never did
//! anything.

use super::support::{
    StableName, Volume, device_file, lines, no_settings, number, stable_names, unique, volume,
    words,
};
use crate::host::HotFile;
use crate::names::clean_field;
use crate::{Cells, FieldSpec, FieldType, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};
use std::collections::HashSet;

mod graphs;
use graphs::{Column, GRAPHS, Graph};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "diskstats",
    about: "disk IO per device: operations, bytes, latency, utilisation (/proc/diskstats)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Diskstats::default()) as Box<dyn Probe>),
};

/// Fewest columns behind the name; old kernels print four for partitions,
/// which are left out anyway.
const COLUMNS_MIN: usize = 11;

/// The counters behind the name, zero where the kernel has fewer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Row {
    columns: usize,
    counters: [u64; 17],
}

#[derive(Debug)]
struct Disk {
    name: Vec<u8>,
    row: Row,
}

#[derive(Debug, Default)]
struct Diskstats {
    file: HotFile,
    disks: Vec<Disk>,
}

impl Probe for Diskstats {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("diskstats");
        let disks = rows(self.file.text()?).map(|(name, row)| Disk { name: name.to_owned(), row });
        self.disks = disks.collect();
        if self.disks.is_empty() {
            return Ok(Vec::new());
        }
        let named = named(host, &self.disks);
        Ok(GRAPHS.iter().flat_map(|graph| services(graph, &named)).collect())
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let mut n = 0;
        for (name, row) in rows(self.file.text()?) {
            match self.disks.get_mut(n) {
                Some(disk) if disk.name == name && disk.row.columns == row.columns => {
                    disk.row = row;
                }
                _ => return Ok(Read::Changed),
            }
            n += 1;
        }
        if n != self.disks.len() {
            return Ok(Read::Changed);
        }
        if n == 0 {
            return Ok(Read::Done);
        }
        for graph in &GRAPHS {
            self.disks.iter().for_each(|disk| push(out, graph.overview, &disk.row));
            self.disks.iter().for_each(|disk| push(out, graph.device, &disk.row));
        }
        Ok(Read::Done)
    }
}

/// A device, and what it is called here.
#[derive(Debug)]
struct Named {
    id: StableName,
    /// Below `/dev`, for people: `sda`, `mapper/vg0-mysql`.
    path: String,
    /// The same in a legend: `vg0-mysql`.
    label: String,
    /// Which disk it is, if it says: its World Wide Name, or its serial number.
    identity: Option<String>,
    columns: usize,
}

fn named(host: &Host, disks: &[Disk]) -> Vec<Named> {
    let raw: Vec<String> =
        disks.iter().map(|disk| String::from_utf8_lossy(&disk.name).into_owned()).collect();
    let volumes: Vec<_> = raw.iter().map(|name| volume(host, name)).collect();
    let wish = |(raw, volume): (&String, &Option<Volume>)| {
        let name = volume.as_ref().map_or(raw, |v| &v.munin);
        (clean_field(name), volume.as_ref().map_or(raw, |v| &v.mapper).clone())
    };
    let wishes: Vec<_> = raw.iter().zip(&volumes).map(wish).collect();
    // Before, all were called by the kernel's name of them.
    let mut before = HashSet::new();
    let old = raw.iter().map(|raw| unique(clean_field(raw), &mut before));
    let named = stable_names(&wishes).into_iter().zip(old).zip(raw.iter().zip(volumes)).zip(disks);
    named
        .map(|(((id, old), (raw, volume)), disk)| Named {
            id: StableName { old: (old != id.name).then_some(old), ..id },
            path: volume.as_ref().map_or_else(|| raw.clone(), |v| format!("mapper/{}", v.mapper)),
            identity: identity(host, raw),
            label: volume.map_or_else(|| raw.clone(), |v| v.mapper),
            columns: disk.row.columns,
        })
        .collect()
}

/// What is the disk's own, whatever the kernel calls it.
fn identity(host: &Host, device: &str) -> Option<String> {
    ["wwid", "device/wwid", "device/serial", "dm/uuid", "md/uuid"]
        .iter()
        .find_map(|file| device_file(host, device, file))
}

fn push(out: &mut Cells, columns: &[Column], row: &Row) {
    columns.iter().filter(|c| c.needs <= row.columns).for_each(|c| out.push((c.value)(row)));
}

/// The overview, and the nested graph of each device.
fn services(graph: &Graph, disks: &[Named]) -> Vec<ServiceSpec> {
    let service = |name: String, title: String, fields: Vec<FieldSpec>| ServiceSpec {
        unscaled: graph.unscaled,
        ..ServiceSpec::new(&name, &title, "disk")
            .vlabel(graph.vlabel)
            .args(graph.args)
            .info(graph.info)
            .fields(fields)
    };
    let overview = disks.iter().flat_map(|disk| {
        let columns = graph.overview.iter().filter(|c| c.needs <= disk.columns);
        columns.map(|c| {
            let old = disk.id.old.as_ref().map(|old| format!("{old}_{}", c.name));
            field(c, &format!("{}_", disk.id.name), &disk.label).formerly(old.as_deref())
        })
    });
    let title = format!("{} per device", graph.title);
    let mut all = vec![service(graph.name.to_owned(), title, overview.collect())];
    for disk in disks {
        let columns = graph.device.iter().filter(|c| c.needs <= disk.columns);
        let fields = columns.map(|c| field(c, "", c.label)).collect();
        let title = format!("{} of /dev/{}", graph.title, disk.path);
        let name = format!("{}.{}", graph.name, disk.id.name);
        let old = disk.id.old.as_ref().map(|old| format!("{}.{old}", graph.name));
        let mut spec = service(name, title, fields).formerly(old.as_deref());
        // Said once: another disk is one event.
        if let Some(identity) = disk.identity.as_ref().filter(|_| graph.name == GRAPHS[0].name) {
            spec = spec.identified(identity);
        }
        all.push(spec);
    }
    all
}

/// In names, `$` stands for the device's prefix (`vda_` in an overview).
fn field(column: &Column, prefix: &str, label: &str) -> FieldSpec {
    let mut spec = FieldSpec::derive(&format!("{prefix}{}", column.name), label).info(column.info);
    spec.kind = if column.gauge { FieldType::Gauge } else { FieldType::Derive };
    spec.hidden = column.hidden;
    let prefixed = |text: &str| text.replace('$', prefix);
    spec.negative = column.negative.map(prefixed);
    spec.cdef = column.cdef.map(prefixed);
    spec
}

/// The devices that are watched, with their counters.
fn rows(text: &[u8]) -> impl Iterator<Item = (&[u8], Row)> {
    let mut whole: &[u8] = b"";
    lines(text).filter_map(row).filter(move |(name, row)| {
        if is_partition(name, whole) {
            return false;
        }
        whole = name;
        let virtual_disk = name.starts_with(b"loop") || name.starts_with(b"ram");
        !virtual_disk && row.counters.iter().any(|n| *n != 0)
    })
}

/// `254 0 vda 117241 28360 …`
fn row(line: &[u8]) -> Option<(&[u8], Row)> {
    let mut words = words(line);
    let (_major, _minor) = (number(words.next()?)?, number(words.next()?)?);
    let name = words.next()?;
    let mut row = Row::default();
    for (slot, word) in row.counters.iter_mut().zip(words) {
        *slot = number(word)?;
        row.columns += 1;
    }
    (row.columns >= COLUMNS_MIN).then_some((name, row))
}

/// Whether `name` is a partition of the disk `whole`, which stands before it:
/// `sda1` of `sda`, `nvme0n1p1` of `nvme0n1`, but not `dm-10` of `dm-1`.
fn is_partition(name: &[u8], whole: &[u8]) -> bool {
    let Some(rest) = name.strip_prefix(whole) else {
        return false;
    };
    let digits = match whole.last() {
        None => return false,
        Some(b) if b.is_ascii_digit() => match rest.strip_prefix(b"p") {
            Some(digits) => digits,
            None => return false,
        },
        Some(_) => rest,
    };
    number(digits).is_some()
}

#[cfg(test)]
mod tests;
