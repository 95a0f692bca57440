//! A control group's `memory.numa_stat`
//! (Documentation/admin-guide/cgroup-v2.rst; cgroup-v1/memory.rst): the same
//! figures for a whole daemon, without a walk over its pages.

use super::Placement;
use crate::Host;
use crate::probes::support::{lines, number, words};
use std::path::PathBuf;

/// The placement of these processes, if they alone make up a group that says
/// where its memory lies. Anything amiss means no: numa_maps is read then.
pub(super) fn own(host: &Host, pids: &[u64], nodes: &[u64]) -> Option<Placement> {
    let text = std::fs::read(host.proc(format!("{}/cgroup", pids.first()?))).ok()?;
    lines(&text).find_map(|line| group(host, line, pids, nodes))
}

/// One line of `/proc/PID/cgroup`: `0::/system.slice/mariadb.service` (v2) or
/// `4:memory:/mysql` (v1).
fn group(host: &Host, line: &[u8], pids: &[u64], nodes: &[u64]) -> Option<Placement> {
    let line = std::str::from_utf8(line).ok()?;
    let mut parts = line.splitn(3, ':').skip(1);
    let (controllers, path) = (parts.next()?, parts.next()?.trim_matches('/'));
    // The root is everybody's; `..` is a group outside this namespace.
    if path.is_empty() || path.split('/').any(|part| part == "..") {
        return None;
    }
    let (roots, page_bytes): (&[&str], u64) = match controllers {
        "" => (&["fs/cgroup", "fs/cgroup/unified"], 1),
        c if c.split(',').any(|c| c == "memory") => {
            (&["fs/cgroup/memory"], rustix::param::page_size() as u64)
        }
        _ => return None,
    };
    roots.iter().find_map(|root| {
        let folder = host.sys(root).join(path);
        let text = std::fs::read(folder.join("memory.numa_stat")).ok()?;
        holds_only(&folder, pids).then(|| parse(&text, nodes, page_bytes))?
    })
}

/// Whether no other process is in the group.
fn holds_only(folder: &std::path::Path, pids: &[u64]) -> bool {
    let file: PathBuf = folder.join("cgroup.procs");
    std::fs::read(file).is_ok_and(|text| {
        lines(&text).all(|line| number(line.trim_ascii()).is_some_and(|p| pids.contains(&p)))
    })
}

/// `anon N0=4096 N1=0` (v2, bytes) or `anon=1 N0=1 N1=0` (v1, pages of
/// `unit` bytes).
pub(super) fn parse(text: &[u8], nodes: &[u64], unit: u64) -> Option<Placement> {
    let row = |key: &str| -> Option<Vec<u64>> {
        let line = lines(text).find(|line| {
            line.strip_prefix(key.as_bytes())
                .is_some_and(|rest| matches!(rest.first(), Some(b' ' | b'=')))
        })?;
        let of_node = |id: &u64| {
            let key = format!("N{id}=");
            let found = words(line).find_map(|w| number(w.strip_prefix(key.as_bytes())?));
            found.unwrap_or(0).saturating_mul(unit)
        };
        Some(nodes.iter().map(of_node).collect())
    };
    let sum = |key: &str| row(key).map(|r| r.iter().fold(0u64, |a, b| a.saturating_add(*b)));
    let both = |a: Option<u64>, b: Option<u64>| Some(a?.saturating_add(b?));
    let (anon, file) = (row("anon")?, row("file")?);
    Some(Placement {
        nodes: anon.iter().zip(&file).map(|(a, f)| a.saturating_add(*f)).collect(),
        active: both(sum("active_anon"), sum("active_file")),
        anon: sum("anon"),
        dirty: sum("file_dirty"),
        mapped: sum("file_mapped"),
        swapcache: sum("swapcached"),
        mapmax: None,
    })
}
