//! What the memory is used for, from `/proc/meminfo` (proc.rst, 1.2).
//!
//! Fields as Munin's `memory` has them: `apps` is what remains of the total,
//! `cached` is without shared memory. In bytes.
//!
//! A field is offered where its lines are there, whatever they say at that moment: in
//! containers (lxcfs) a value may be nonsense, which is unknown, not left out.

use super::support::{has_keys, keyed, no_settings, push};
use crate::host::HotFile;
use crate::{Cells, Draw, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "memory",
    about: "what the memory is used for (/proc/meminfo)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Memory::default()) as Box<dyn Probe>),
};

/// In the kernel's order, which makes the search short.
const KEYS: [&str; 17] = [
    "MemTotal",
    "MemFree",
    "MemAvailable",
    "Buffers",
    "Cached",
    "SwapCached",
    "Active",
    "Inactive",
    "SwapTotal",
    "SwapFree",
    "Mapped",
    "Shmem",
    "Slab",
    "PageTables",
    "Committed_AS",
    "VmallocUsed",
    "Percpu",
];

/// `/proc/meminfo` in KiB.
#[derive(Clone, Copy, Debug, Default)]
struct Info {
    total: Option<u64>,
    free: Option<u64>,
    available: Option<u64>,
    buffers: Option<u64>,
    cached: Option<u64>,
    swap_cached: Option<u64>,
    active: Option<u64>,
    inactive: Option<u64>,
    swap_total: Option<u64>,
    swap_free: Option<u64>,
    mapped: Option<u64>,
    shmem: Option<u64>,
    slab: Option<u64>,
    page_tables: Option<u64>,
    committed: Option<u64>,
    vmalloc_used: Option<u64>,
    percpu: Option<u64>,
}

impl Info {
    /// What no other field accounts for.
    fn apps(&self) -> Option<u64> {
        let others = [
            self.free,
            self.buffers,
            self.cached,
            self.slab,
            self.page_tables,
            self.percpu,
            self.swap_cached,
        ];
        others.iter().try_fold(self.total?, |rest, v| rest.checked_sub(v.unwrap_or(0)))
    }
}

/// Positions in [`KEYS`].
const CACHED: usize = 4;
const SWAP_TOTAL: usize = 8;
const SWAP_FREE: usize = 9;

/// A field: its drawing as Munin has it, and how it is computed.
struct Field {
    name: &'static str,
    label: &'static str,
    draw: Draw,
    colour: &'static str,
    info: &'static str,
    /// The lines that it cannot be without, by their position in [`KEYS`].
    needs: &'static [usize],
    kib: fn(&Info) -> Option<u64>,
}

const fn field(
    name: &'static str,
    label: &'static str,
    (draw, colour): (Draw, &'static str),
    info: &'static str,
    needs: &'static [usize],
    kib: fn(&Info) -> Option<u64>,
) -> Field {
    Field { name, label, draw, colour, info, needs, kib }
}

use Draw::{Area, Line2, Stack};

/// In Munin's order of drawing.
#[rustfmt::skip]
const FIELDS: [Field; 17] = [
    field("apps", "apps", (Area, "COLOUR0"), "Memory used by user-space applications", &[0],
        Info::apps),
    field("page_tables", "page_tables", (Stack, "COLOUR1"),
        "Memory used to map between virtual and physical memory addresses", &[13], |m| m.page_tables),
    field("per_cpu", "per_cpu", (Stack, "COLOUR20"),
        "Memory that the kernel keeps for each CPU apart", &[16], |m| m.percpu),
    field("swap_cache", "swap_cache", (Stack, "COLOUR2"),
        "Pages that were fetched from swap and not yet changed: they need not be written again",
        &[5], |m| m.swap_cached),
    field("slab", "slab_cache", (Stack, "COLOUR3"),
        "Memory used by the kernel for its own objects (inodes, directory entries and so on)",
        &[12], |m| m.slab),
    field("shmem", "shmem", (Stack, "COLOUR9"),
        "Shared memory (System V segments, tmpfs)", &[11], |m| m.shmem),
    field("cached", "cache", (Stack, "COLOUR4"),
        "Contents of files, kept as long as nobody needs the memory",
        &[CACHED], |m| m.cached?.checked_sub(m.shmem.unwrap_or(0))),
    field("buffers", "buffers", (Stack, "COLOUR5"),
        "Blocks of disks outside files, and blocks that wait to be written", &[3], |m| m.buffers),
    field("free", "unused", (Stack, "COLOUR6"),
        "Memory that is not used for anything at all", &[1], |m| m.free),
    field("swap", "swap", (Stack, "COLOUR7"), "Swap space used",
        &[SWAP_TOTAL, SWAP_FREE], |m| m.swap_total?.checked_sub(m.swap_free?)),
    field("vmalloc_used", "vmalloc_used", (Line2, "COLOUR8"),
        "Memory that the kernel mapped with vmalloc", &[15], |m| m.vmalloc_used),
    field("committed", "committed", (Line2, "COLOUR10"),
        "Memory promised to programs. More than there is, is normal; steady growth may be a leak",
        &[14], |m| m.committed),
    field("mapped", "mapped", (Line2, "COLOUR11"), "Files mapped into programs", &[10], |m| m.mapped),
    field("active", "active", (Line2, "COLOUR12"),
        "Memory used lately; not taken back unless there is need", &[6], |m| m.active),
    field("inactive", "inactive", (Line2, "COLOUR15"),
        "Memory not used lately; the first to be taken back", &[7], |m| m.inactive),
    field("available", "available", (Line2, "COLOUR13"),
        "What new programs can have without swapping, as the kernel estimates it: the number \
         to watch, rather than unused", &[2], |m| m.available),
    field("total", "total", (Line2, "COLOUR14"), "All memory that the kernel manages",
        &[0], |m| m.total),
];

#[derive(Debug, Default)]
struct Memory {
    file: HotFile,
    /// Which of [`FIELDS`] this kernel has, and which it lacked so far.
    offered: Vec<usize>,
    lacking: Vec<usize>,
}

impl Probe for Memory {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.file = host.hot_proc("meminfo");
        let info = self.info()?;
        let has = has_keys(self.file.text()?, &KEYS);
        let is_here = |f: &Field| f.needs.iter().all(|key| has[*key]);
        (self.offered, self.lacking) = (0..FIELDS.len()).partition(|i| is_here(&FIELDS[*i]));
        let fields = self.offered.iter().map(|i| spec(&FIELDS[*i])).collect();
        let total = info.total.unwrap_or(0).saturating_mul(1024);
        Ok(vec![
            ServiceSpec::new("memory", "Memory usage", "system")
                .vlabel("Bytes")
                .args(&format!("--base 1024 -l 0 --upper-limit {total}"))
                .info("What the machine uses its memory for.")
                .fields(fields),
        ])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let info = self.info()?;
        if self.lacking.iter().any(|i| (FIELDS[*i].kib)(&info).is_some()) {
            return Ok(Read::Changed);
        }
        for i in &self.offered {
            push(out, (FIELDS[*i].kib)(&info).map(|kib| kib.saturating_mul(1024)));
        }
        Ok(Read::Done)
    }
}

impl Memory {
    fn info(&mut self) -> Result<Info, ProbeError> {
        let info = parse(self.file.text()?);
        match info.total {
            Some(_) => Ok(info),
            None => Err(self.file.malformed("has no line MemTotal")),
        }
    }
}

fn parse(text: &[u8]) -> Info {
    let [total, free, available, buffers, cached, swap_cached, active, inactive, rest @ ..] =
        keyed(text, &KEYS);
    let [swap_total, swap_free, mapped, shmem, slab, page_tables, rest @ ..] = rest;
    let [committed, vmalloc_used, percpu] = rest;
    Info {
        total,
        free,
        available,
        buffers,
        cached,
        swap_cached,
        active,
        inactive,
        swap_total,
        swap_free,
        mapped,
        shmem,
        slab,
        page_tables,
        committed,
        vmalloc_used,
        percpu,
    }
}

fn spec(field: &Field) -> FieldSpec {
    FieldSpec {
        colour: Some(field.colour.to_owned()),
        // The total is the graph's upper edge already.
        hidden: field.name == "total",
        ..FieldSpec::gauge(field.name, field.label).draw(field.draw).info(field.info)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, fixture, lookup, ready, values};
    use proptest::prelude::*;

    #[test]
    fn the_stack_sums_to_the_total() {
        let host = fixture("vm");
        let (mut probe, services) = ready("memory", "", &host);
        let cells = values(probe.as_mut(), &host).unwrap();
        let get = |f: &str| match lookup(&services, &cells, "memory", f) {
            Value::Int(v) => v,
            v => panic!("{f}: {v:?}"),
        };
        let stack = ["apps", "page_tables", "per_cpu", "swap_cache", "slab", "shmem", "cached"];
        let sum: i64 = stack.iter().chain(&["buffers", "free"]).map(|f| get(f)).sum();
        assert_eq!(sum, get("total"));
        assert_eq!(get("total"), 24_684_092 * 1024);
        assert_eq!(services[0].base(), 1024);
    }

    #[test]
    fn an_old_kernel_offers_fewer_fields() {
        let host = TestHost::new(&[("proc/meminfo", "MemTotal: 100 kB\nMemFree: 30 kB\n")]);
        let (mut probe, services) = ready("memory", "", &host.host);
        let names: Vec<_> = services[0].fields.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["apps", "free", "total"]);
        let cells = values(probe.as_mut(), &host.host).unwrap();
        assert_eq!(cells[0], Some(Value::Int(70 * 1024)));
        host.write("proc/meminfo", "MemTotal: 100 kB\nMemFree: 300 kB\n");
        let cells = values(probe.as_mut(), &host.host).unwrap();
        assert_eq!(cells[0], Some(Value::Unknown), "never below zero");
        host.write("proc/meminfo", "MemFree: 300 kB\n");
        assert!(values(probe.as_mut(), &host.host).is_err());
    }

    #[test]
    fn fields_are_offered_by_their_lines_not_by_the_first_value() {
        // As lxcfs says at times; the others come out negative, or are no numbers at all.
        let bad = "MemTotal: 100 kB\nMemFree: 300 kB\nCached: 5 kB\nShmem: 9 kB\n\
            SwapTotal: 50 kB\nSwapFree: 18446744073709551488 kB\nSlab: -3 kB\n";
        let host = TestHost::new(&[("proc/meminfo", bad)]);
        let (mut probe, services) = ready("memory", "", &host.host);
        let names: Vec<_> = services[0].fields.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["apps", "slab", "shmem", "cached", "free", "swap", "total"]);
        let cells = values(probe.as_mut(), &host.host).unwrap();
        let of = |cells: &[Option<Value>], f: &str| lookup(&services, cells, "memory", f);
        for unknown in ["apps", "slab", "cached", "swap"] {
            assert_eq!(of(&cells, unknown), Value::Unknown, "{unknown}");
        }
        let good = "MemTotal: 100 kB\nMemFree: 30 kB\nCached: 9 kB\nShmem: 5 kB\n\
            SwapTotal: 50 kB\nSwapFree: 40 kB\nSlab: 3 kB\n";
        host.write("proc/meminfo", good);
        let cells = values(probe.as_mut(), &host.host).unwrap();
        assert_eq!(of(&cells, "swap"), Value::Int(10 * 1024));
        assert_eq!(of(&cells, "cached"), Value::Int(4 * 1024));
    }

    proptest! {
        #[test]
        fn garbage_never_panics(numbers: [u64; 17], text: Vec<u8>) {
            let lines = KEYS.iter().zip(numbers).map(|(k, n)| format!("{k}: {n} kB\n"));
            let info = parse(lines.collect::<String>().as_bytes());
            FIELDS.iter().for_each(|f| { let _ = (f.kib)(&info); });
            let _ = parse(&text);
        }
    }
}
