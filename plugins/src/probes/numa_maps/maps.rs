//! The text of `/proc/PID/numa_maps`: one line for each memory area.

use super::{Placement, add};
use crate::probes::support::{number, words};
use std::fs::File;
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;

/// More of the file is not read: some million areas.
const BYTES_MAX: u64 = 256 << 20;

/// Reads the file line by line, since a large daemon's has megabytes.
pub(super) fn read(path: &Path, nodes: &[u64]) -> io::Result<Placement> {
    let mut reader = BufReader::with_capacity(64 * 1024, File::open(path)?.take(BYTES_MAX));
    let mut sum = empty(nodes);
    let mut line = Vec::new();
    while reader.read_until(b'\n', &mut line)? > 0 {
        add_line(&mut sum, &line, nodes);
        line.clear();
    }
    Ok(sum)
}

/// Nothing yet; what no line mentions is zero.
pub(super) fn empty(nodes: &[u64]) -> Placement {
    let zero = Some(0);
    Placement {
        nodes: vec![0; nodes.len()],
        active: zero,
        anon: zero,
        dirty: zero,
        mapped: zero,
        swapcache: zero,
        mapmax: zero,
    }
}

/// `7f28bfa8d000 default anon=66560 dirty=66560 active=0 N0=45690 N1=20870
/// kernelpagesize_kB=4`: numbers of pages of that size. Unknown words, of which
/// each kernel has more, are passed over; so are nodes that are not online.
pub(super) fn add_line(sum: &mut Placement, line: &[u8], nodes: &[u64]) {
    let pairs = || {
        words(line.trim_ascii_end()).filter_map(|word| {
            let equals = word.iter().position(|b| *b == b'=')?;
            Some((&word[..equals], number(&word[equals + 1..])?))
        })
    };
    // The size stands at the line's end, behind what is counted in it.
    let Some((_, kib)) = pairs().find(|(key, _)| *key == b"kernelpagesize_kB") else {
        return;
    };
    for (key, count) in pairs() {
        let bytes = count.saturating_mul(kib).saturating_mul(1024);
        match key {
            b"active" => add(&mut sum.active, Some(bytes)),
            b"anon" => add(&mut sum.anon, Some(bytes)),
            b"dirty" => add(&mut sum.dirty, Some(bytes)),
            b"mapped" => add(&mut sum.mapped, Some(bytes)),
            b"swapcache" => add(&mut sum.swapcache, Some(bytes)),
            b"mapmax" => sum.mapmax = sum.mapmax.max(Some(count)),
            [b'N', id @ ..] => {
                let idx = number(id).and_then(|id| nodes.iter().position(|n| *n == id));
                if let Some(slot) = idx.and_then(|i| sum.nodes.get_mut(i)) {
                    *slot = slot.saturating_add(bytes);
                }
            }
            _ => {}
        }
    }
}
