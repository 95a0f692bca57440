//! What a process has cost so far, by the kernel's books.

use std::io;
use std::path::Path;

/// Figures of `/proc/PID`.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Processor time in user mode, seconds.
    pub user_s: f64,
    /// Processor time in the kernel on its behalf, seconds.
    pub system_s: f64,
    /// Processor time of its children that have ended and been waited for, with
    /// theirs, seconds.
    pub children_s: f64,
    /// Bytes that it caused to be written to disk.
    pub written: u64,
    /// The most memory it has had resident, bytes.
    pub peak_rss: u64,
}

impl Cost {
    /// Of the process `pid`, up to now.
    pub fn of(pid: u32) -> io::Result<Cost> {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/{pid}/{name}"));
        let stat = read("stat")?;
        // The name in brackets may hold anything: count from its end.
        let after = stat.rsplit_once(") ").map_or("", |s| s.1);
        let words: Vec<&str> = after.split(' ').collect();
        let ticks = |i: usize| words.get(i).and_then(|w| w.parse::<f64>().ok()).unwrap_or(0.0);
        let per_second = rustix::param::clock_ticks_per_second() as f64;
        Ok(Cost {
            user_s: ticks(11) / per_second,
            system_s: ticks(12) / per_second,
            children_s: (ticks(13) + ticks(14)) / per_second,
            written: number(&read("io")?, "write_bytes:"),
            peak_rss: number(&read("status")?, "VmHWM:") * 1024,
        })
    }

    /// Both kinds of processor time, seconds.
    pub fn cpu_s(&self) -> f64 {
        self.user_s + self.system_s
    }
}

fn number(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|l| l.strip_prefix(name));
    line.and_then(|l| l.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

/// The bytes of all files below `dir`.
pub fn folder_bytes(dir: &Path) -> io::Result<u64> {
    let mut sum = 0;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let about = entry.metadata()?;
        sum += if about.is_dir() { folder_bytes(&entry.path())? } else { about.len() };
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_has_cost_something() {
        let cost = Cost::of(std::process::id()).expect("readable");
        assert!(cost.peak_rss > 1 << 20, "{cost:?}");
    }
}
