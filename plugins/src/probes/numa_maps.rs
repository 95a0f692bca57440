//! On which NUMA node the memory of a daemon lies, from `/proc/PID/numa_maps`
//! (proc.rst, 3.x; Documentation/admin-guide/mm/numa_memory_policy.rst).
//!
//! One service for each named process that runs: `numa_maps_mysqld`. Several
//! processes of one name are summed, but for `mapmax`, of which a sum would
//! mean nothing.
//!
//! Reading numa_maps walks all pages and holds the process's memory lock, for
//! some 20 ms a GiB: it is done every 5 minutes at most, and more seldom where
//! it was measured to take longer ([`COST_SHARE`]). A daemon that has a cgroup
//! of its own is read from the group's `memory.numa_stat`, which costs it
//! nothing; there the file cache that it caused counts too, and `mapmax` is
//! unknown.
//!
//! Key `processes` of `[probe.numa_maps]`: the names (of at most 15 bytes, as
//! in `/proc/PID/comm`).

use super::support::{number, settings, stable_names};
use crate::names::clean_service;
use crate::probe::ProbeConfig;
use crate::{Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};
use serde::Deserialize;
use std::time::{Duration, Instant};

mod cgroup;
mod maps;

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "numa_maps",
    about: "NUMA placement of named processes' memory (/proc/PID/numa_maps), every 5 minutes",
    waits: false,
    new: |config| Ok(Box::new(NumaMaps::new(config)?)),
};

/// Shortest step.
const STEP_MIN: Duration = Duration::from_secs(300);

/// Longest step, however dear a reading is.
const STEP_MAX: Duration = Duration::from_secs(3600);

/// A reading may take one part in so many of the time: 1 s means one reading
/// in 1000 s.
const COST_SHARE: u32 = 1000;

/// How many bytes of a name `/proc/PID/comm` holds.
const COMM_BYTES_MAX: usize = 15;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct Settings {
    processes: Vec<String>,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings { processes: ["mysqld", "mariadbd", "memcached"].map(str::to_owned).to_vec() }
    }
}

/// Bytes by node and kind, of one name.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Placement {
    /// For each online node, in their order.
    nodes: Vec<u64>,
    active: Option<u64>,
    anon: Option<u64>,
    dirty: Option<u64>,
    mapped: Option<u64>,
    swapcache: Option<u64>,
    /// Processes that map the most shared page.
    mapmax: Option<u64>,
}

/// A sum of what is known; unknown if nothing is.
fn add(sum: &mut Option<u64>, value: Option<u64>) {
    if let Some(v) = value {
        *sum = Some(sum.unwrap_or(0).saturating_add(v));
    }
}

impl Placement {
    fn add(&mut self, other: &Placement) {
        self.nodes.resize(self.nodes.len().max(other.nodes.len()), 0);
        for (sum, v) in self.nodes.iter_mut().zip(&other.nodes) {
            *sum = sum.saturating_add(*v);
        }
        add(&mut self.active, other.active);
        add(&mut self.anon, other.anon);
        add(&mut self.dirty, other.dirty);
        add(&mut self.mapped, other.mapped);
        add(&mut self.swapcache, other.swapcache);
        self.mapmax = self.mapmax.max(other.mapmax);
    }
}

/// A name that is watched, and its processes at the last look.
#[derive(Debug)]
struct Watched {
    name: String,
    /// What its service is called by.
    id: String,
    pids: Vec<u64>,
}

#[derive(Debug)]
struct NumaMaps {
    watched: Vec<Watched>,
    /// Of `watched`, those that are offered as services.
    offered: Vec<bool>,
    nodes: Vec<u64>,
    /// How long the last reading took.
    cost: Duration,
}

impl NumaMaps {
    fn new(config: &ProbeConfig) -> Result<NumaMaps, String> {
        let names = settings::<Settings>(config)?.processes;
        if let Some(bad) = names.iter().find(|n| n.is_empty() || n.len() > COMM_BYTES_MAX) {
            return Err(format!(
                "processes: {bad:?} must have 1 to {COMM_BYTES_MAX} bytes, as in /proc/PID/comm"
            ));
        }
        // A dot would nest the service.
        let wish = |name: &String| clean_service(name).replace('.', "_");
        let wishes: Vec<_> = names.iter().map(|name| (wish(name), name.as_str())).collect();
        let ids = stable_names(&wishes);
        let watched = ids.into_iter().zip(&names).map(|(id, name)| Watched {
            id: id.name,
            name: name.clone(),
            pids: Vec::new(),
        });
        let watched: Vec<Watched> = watched.collect();
        let offered = vec![false; watched.len()];
        Ok(NumaMaps { watched, offered, nodes: Vec::new(), cost: Duration::ZERO })
    }

    /// Finds the processes by name.
    fn look(&mut self, host: &Host) -> Result<(), ProbeError> {
        self.watched.iter_mut().for_each(|w| w.pids.clear());
        let failed = |e| ProbeError::file(&host.proc, &e);
        for entry in std::fs::read_dir(&host.proc).map_err(failed)?.flatten() {
            let Some(pid) = number(entry.file_name().as_encoded_bytes()) else {
                continue;
            };
            // One that ended meanwhile has no name.
            let Ok(comm) = std::fs::read(host.proc(format!("{pid}/comm"))) else {
                continue;
            };
            let name = comm.trim_ascii_end();
            if let Some(w) = self.watched.iter_mut().find(|w| w.name.as_bytes() == name) {
                w.pids.push(pid);
            }
        }
        Ok(())
    }
}

impl Probe for NumaMaps {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        let path = host.sys("devices/system/node/online");
        let text = std::fs::read(&path).map_err(|e| ProbeError::file(&path, &e))?;
        self.nodes = super::numa::online(&text);
        self.look(host)?;
        self.offered = self.watched.iter().map(|w| !w.pids.is_empty()).collect();
        let offered = self.watched.iter().filter(|w| !w.pids.is_empty());
        let services: Vec<_> = offered.map(|w| service(w, &self.nodes)).collect();
        match services.is_empty() {
            true => {
                let names: Vec<&str> = self.watched.iter().map(|w| w.name.as_str()).collect();
                Err(ProbeError::NotHere(format!("no process named {}", names.join(" or "))))
            }
            false => Ok(services),
        }
    }

    fn read(&mut self, host: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        self.look(host)?;
        if self.watched.iter().zip(&self.offered).any(|(w, o)| !w.pids.is_empty() && !*o) {
            return Ok(Read::Changed);
        }
        let started = Instant::now();
        let (mut read, mut refused) = (0, None);
        for (watched, _) in self.watched.iter().zip(&self.offered).filter(|(_, o)| **o) {
            let placement = match placement(host, &watched.pids, &self.nodes) {
                Ok(placement) => placement,
                Err(error) => {
                    refused = Some(error);
                    None
                }
            };
            read += usize::from(placement.is_some());
            push(out, placement.as_ref(), self.nodes.len());
        }
        self.cost = started.elapsed();
        match refused {
            Some(error) if read == 0 => Err(error),
            _ => Ok(Read::Done),
        }
    }

    fn step_min(&self) -> Option<Duration> {
        Some((self.cost * COST_SHARE).clamp(STEP_MIN, STEP_MAX))
    }
}

/// The sum over the processes; `None` if none of them runs any more.
fn placement(host: &Host, pids: &[u64], nodes: &[u64]) -> Result<Option<Placement>, ProbeError> {
    if let Some(placement) = cgroup::own(host, pids, nodes) {
        return Ok(Some(placement));
    }
    let mut sum: Option<Placement> = None;
    for pid in pids {
        let path = host.proc(format!("{pid}/numa_maps"));
        match maps::read(&path, nodes) {
            Ok(placement) => sum.get_or_insert_default().add(&placement),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(ProbeError::Failed(format!(
                    "{}: {e}; give the agent CAP_SYS_PTRACE (AmbientCapabilities= in its unit), \
                     run it as root, or give the daemon a cgroup of its own",
                    path.display()
                )));
            }
            // It ended since it was found.
            Err(e) if gone(&e) => {}
            Err(e) => return Err(ProbeError::file(&path, &e)),
        }
    }
    Ok(sum)
}

fn gone(error: &std::io::Error) -> bool {
    error.kind() == std::io::ErrorKind::NotFound
        || error.raw_os_error() == Some(rustix::io::Errno::SRCH.raw_os_error())
}

fn push(out: &mut Cells, placement: Option<&Placement>, nodes: usize) {
    let mut push = |v: Option<u64>| super::support::push(out, v);
    for i in 0..nodes {
        push(placement.and_then(|p| p.nodes.get(i).copied()));
    }
    let get = |field: fn(&Placement) -> Option<u64>| placement.and_then(field);
    push(get(|p| p.active));
    push(get(|p| p.anon));
    push(get(|p| p.dirty));
    push(get(|p| p.mapped));
    push(get(|p| p.swapcache));
    push(get(|p| p.mapmax));
}

fn service(Watched { name, id, .. }: &Watched, nodes: &[u64]) -> ServiceSpec {
    let on_node = |id: &u64| {
        FieldSpec::gauge(&format!("N{id}"), &format!("on node {id}"))
            .draw(crate::Draw::AreaStack)
            .info(&format!("Bytes of {name} that lie on NUMA node {id}"))
    };
    let field = |name: &str, info: &str| FieldSpec::gauge(name, name).info(info);
    let mut fields: Vec<FieldSpec> = nodes.iter().map(on_node).collect();
    fields.extend([
        field(
            "active",
            "Bytes on the list of pages used lately, as numa_maps states it: areas all of whose \
             pages are active are not counted there",
        ),
        field("anon", "The program's own memory, not that of files, in bytes"),
        field("dirty", "Bytes changed since they were read from a file or from swap"),
        field("mapped", "Bytes of files and shared memory that are mapped, where stated"),
        field("swapcache", "Bytes that lie in memory and have a place in swap too"),
        FieldSpec { hidden: true, ..field("mapmax", "Processes that map the most shared page") },
    ]);
    let title = format!("NUMA placement of {name}");
    ServiceSpec::new(&format!("numa_maps_{id}"), &title, "numa")
        .vlabel("Bytes")
        .args("--base 1024 -l 0")
        .info(&format!(
            "On which node the memory of {name} lies. All on one node that is full, with another \
             one free, means swapping without need: interleave its memory (numactl \
             --interleave=all)."
        ))
        .fields(fields)
}

#[cfg(test)]
mod tests;
