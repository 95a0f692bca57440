//! The memory that all reads together may take.
//!
//! A read takes what it is going to need before it allocates, and gives it back when
//! it is done; what is not there is waited for a moment, then refused. It is an account,
//! not an allocator: small things are not in it, and a quarter of the machine leaves
//! room for them.

use std::path::Path;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Of the machine's or the cgroup's memory, reads may take one part of so many.
const PART: u64 = 4;
/// The least that reads may take, bytes: a graph and an export at a time.
pub const BYTES_MIN: u64 = 64 << 20;
/// What is taken for the machine's memory where it cannot be found out.
const UNKNOWN_MEMORY: u64 = 1 << 30;
/// So long a read waits for others to give back.
const WAIT: Duration = Duration::from_secs(2);

/// The account.
#[derive(Debug)]
pub struct Budget {
    bytes_max: usize,
    account: Mutex<Account>,
    returned: Condvar,
}

#[derive(Debug, Default)]
struct Account {
    used: usize,
    /// The most that was used since [`Budget::idle_after`] last said something.
    peak: usize,
}

impl Budget {
    /// Of so many bytes.
    pub fn new(bytes_max: u64) -> Arc<Budget> {
        let bytes_max = usize::try_from(bytes_max).unwrap_or(usize::MAX);
        Arc::new(Budget { bytes_max, account: Mutex::default(), returned: Condvar::new() })
    }

    /// Of a quarter of the memory that this process may have.
    pub fn of_machine() -> Arc<Budget> {
        Budget::new((memory(Path::new("/")) / PART).max(BYTES_MIN))
    }

    /// Its size, bytes.
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// What is taken of it now, bytes.
    pub fn used(&self) -> usize {
        self.account().used
    }

    /// Whether hardly anything is left: slow readers have less time then.
    pub fn is_short(&self) -> bool {
        self.used() > self.bytes_max / 8 * 7
    }

    fn account(&self) -> std::sync::MutexGuard<'_, Account> {
        self.account.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes so many bytes, after at most two seconds; `None`: others have them.
    pub fn take(self: &Arc<Budget>, bytes: usize) -> Option<Share> {
        let mut share = self.hold(0);
        share.grow(bytes).then_some(share)
    }

    /// Counts what is allocated already, whether there was room for it or not.
    pub fn hold(self: &Arc<Budget>, bytes: usize) -> Share {
        if bytes > 0 {
            self.account().add(bytes);
        }
        Share { budget: self.clone(), bytes }
    }

    /// Whether as much as this was in use since it was last asked, and next to nothing is now:
    /// time to hand free memory back to the system.
    pub fn idle_after(&self, bytes: usize) -> bool {
        let mut account = self.account();
        let is_idle = account.peak >= bytes && account.used <= account.peak / 8;
        if is_idle {
            account.peak = account.used;
        }
        is_idle
    }
}

impl Account {
    fn add(&mut self, bytes: usize) {
        self.used = self.used.saturating_add(bytes);
        self.peak = self.peak.max(self.used);
    }
}

/// A part of a budget, until it is dropped.
#[derive(Debug)]
pub struct Share {
    budget: Arc<Budget>,
    bytes: usize,
}

impl Share {
    /// How much it is.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Takes so many more bytes, after at most two seconds; false: others have them.
    #[must_use]
    pub fn grow(&mut self, bytes: usize) -> bool {
        let until = Instant::now() + WAIT;
        let budget = &self.budget;
        let fits = |a: &Account| a.used.saturating_add(bytes) <= budget.bytes_max;
        let mut account = budget.account();
        // What can never fit is not waited for.
        while !fits(&account) && bytes <= budget.bytes_max {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = budget.returned.wait_timeout(account, left);
            (account, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
        let is_there = fits(&account);
        if is_there {
            account.add(bytes);
            self.bytes += bytes;
        }
        is_there
    }

    /// Gives back all but so many bytes.
    pub fn shrink_to(&mut self, bytes: usize) {
        let given_back = self.bytes.saturating_sub(bytes);
        if given_back > 0 {
            self.bytes -= given_back;
            let mut account = self.budget.account();
            account.used = account.used.saturating_sub(given_back);
            drop(account);
            self.budget.returned.notify_all();
        }
    }
}

impl Drop for Share {
    fn drop(&mut self) {
        self.shrink_to(0);
    }
}

/// Reads `512M`, `2G`, `100000K` or plain bytes; a B at the end changes nothing.
pub fn parse_bytes(text: &str) -> Option<u64> {
    let text = text.trim().trim_end_matches(['B', 'b']);
    let digits = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let shift = match text[digits..].trim() {
        "" => 0,
        "k" | "K" => 10,
        "M" => 20,
        "G" => 30,
        _ => return None,
    };
    text[..digits].parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// The memory that this process may have, bytes: the machine's, or the least that its
/// cgroup and those above allow. `root` stands for `/`.
pub fn memory(root: &Path) -> u64 {
    let machine = machine_memory(root).unwrap_or(UNKNOWN_MEMORY);
    cgroup_memory(root).map_or(machine, |limit| limit.min(machine))
}

fn machine_memory(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/meminfo")).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    let kib: u64 = line.split_whitespace().next()?.parse().ok()?;
    Some(kib.saturating_mul(1024))
}

fn cgroup_memory(root: &Path) -> Option<u64> {
    let text = std::fs::read_to_string(root.join("proc/self/cgroup")).ok()?;
    let limits = text.lines().filter_map(|line| {
        // `0::/system.slice/x.service` (v2), `7:memory:/system.slice/x.service` (v1).
        let mut parts = line.splitn(3, ':');
        let (_, controllers, path) = (parts.next()?, parts.next()?, parts.next()?);
        let (base, file) = match controllers {
            "" => ("sys/fs/cgroup", "memory.max"),
            c if c.split(',').any(|c| c == "memory") => {
                ("sys/fs/cgroup/memory", "memory.limit_in_bytes")
            }
            _ => return None,
        };
        least_limit(&root.join(base), path, file)
    });
    limits.min()
}

/// The least limit of a cgroup and those above it. In a container the path may be one of
/// the host's, which is not there: its own limit stands at the root then.
fn least_limit(base: &Path, path: &str, file: &str) -> Option<u64> {
    let mut dir = base.join(path.trim_start_matches('/'));
    let mut least: Option<u64> = None;
    loop {
        // "max" is none.
        let limit = std::fs::read_to_string(dir.join(file)).ok();
        let limit = limit.and_then(|text| text.trim().parse::<u64>().ok());
        least = [least, limit].into_iter().flatten().min();
        if dir == base || !dir.pop() {
            return least;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_taken_comes_back() {
        let budget = Budget::new(1000);
        let mut first = budget.take(600).expect("there is room");
        assert!(first.grow(300) && budget.used() == 900 && budget.is_short());
        let held = budget.hold(500);
        assert_eq!((budget.used(), held.bytes()), (1400, 500));
        drop(held);
        first.shrink_to(100);
        assert_eq!(budget.used(), 100);
        let much = budget.hold(400);
        assert!(!budget.idle_after(1000), "something is in use");
        drop((first, much));
        assert!(budget.idle_after(1000) && !budget.idle_after(1000));
    }

    #[test]
    fn what_others_have_is_waited_for_and_what_never_fits_is_not() {
        let budget = Budget::new(1000);
        let began = Instant::now();
        assert!(budget.take(1001).is_none() && began.elapsed() < WAIT / 2);
        let all = budget.take(1000).expect("there is room");
        let waiting = std::thread::spawn({
            let budget = budget.clone();
            move || budget.take(10).is_some()
        });
        std::thread::sleep(Duration::from_millis(20));
        drop(all);
        assert!(waiting.join().expect("ends"));
        let all = budget.take(1000).expect("there is room");
        assert!(budget.take(1).is_none(), "after two seconds");
        drop(all);
    }

    #[test]
    fn sizes_are_read() {
        let cases =
            [("512M", 512 << 20), ("2G", 2 << 30), ("2 GB", 2 << 30), ("7", 7), ("1kB", 1024)];
        for (text, bytes) in cases {
            assert_eq!(parse_bytes(text), Some(bytes), "{text}");
        }
        for text in ["", "M", "-1M", "1.5G", "1T", "99999999999999999999", "18446744073709551615G"]
        {
            assert_eq!(parse_bytes(text), None, "{text}");
        }
    }

    #[test]
    fn the_memory_is_the_machines_or_the_cgroups() {
        let dir = tempfile::tempdir().expect("tmp");
        let root = dir.path();
        let write = |path: &str, text: &str| {
            let path = root.join(path);
            std::fs::create_dir_all(path.parent().expect("a folder")).expect("makes");
            std::fs::write(path, text).expect("writes");
        };
        assert_eq!(memory(root), UNKNOWN_MEMORY);
        write("proc/meminfo", "MemTotal:       4194304 kB\nMemFree: 1 kB\n");
        assert_eq!(memory(root), 4 << 30);
        write("proc/self/cgroup", "0::/system.slice/rookery-collector.service\n");
        assert_eq!(memory(root), 4 << 30, "no limits");
        write("sys/fs/cgroup/system.slice/rookery-collector.service/memory.max", "max\n");
        write("sys/fs/cgroup/system.slice/memory.max", "2147483648\n");
        assert_eq!(memory(root), 2 << 30, "of the slice above");
        write("proc/self/cgroup", "9:cpu,cpuacct:/\n7:memory:/docker/abc\n");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "536870912\n");
        assert_eq!(memory(root), 512 << 20, "a container of version 1");
        write("sys/fs/cgroup/memory/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(memory(root), 4 << 30);
    }
}
