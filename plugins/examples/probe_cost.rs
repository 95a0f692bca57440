//! What the system probes cost: CPU time and allocations a cycle.
//!
//! `cargo run --release -p rookery-plugins --example probe_cost -- [CYCLES] [INTERVAL_MS] [ROOT]`
//!
//! ROOT is a recorded machine (a folder with `proc` and `sys`) instead of this one.
//! An interval of 0 reads in a loop with warm caches; 1000 is the honest one.
//! Probes that ask for a longer step than ten seconds are timed apart.

use rookery_plugins::{Cells, Host, Probe, Read, probes::PROBES};
use rustix::time::{ClockId, clock_gettime};
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// The system's allocator, with a count of its calls.
struct Counting;

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

// SAFETY: every call is handed on to the system's allocator unchanged.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of `alloc`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, ptr: *mut u8, layout: Layout) {
        // SAFETY: `ptr` came from `System` with this layout.
        unsafe { System.dealloc(ptr, layout) }
    }

    unsafe fn realloc(&self, ptr: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: `ptr` came from `System` with this layout.
        unsafe { System.realloc(ptr, layout, size) }
    }
}

#[global_allocator]
static GLOBAL: Counting = Counting;

/// A probe, how many fields it has, and the CPU time it took so far, in µs.
struct Timed {
    name: &'static str,
    probe: Box<dyn Probe>,
    fields: usize,
    cpu_us: f64,
}

/// CPU time of this process so far, helper threads included, in µs.
fn cpu_us() -> f64 {
    let t = clock_gettime(ClockId::ProcessCPUTime);
    t.tv_sec as f64 * 1e6 + t.tv_nsec as f64 / 1e3
}

fn main() {
    let mut args = std::env::args().skip(1);
    let mut number = |or| args.next().and_then(|a| a.parse::<u64>().ok()).unwrap_or(or);
    let (cycles, interval) = (number(1000).max(1), Duration::from_millis(number(0)));
    let host = args.next().map_or_else(Host::default, |root| {
        let root = std::path::PathBuf::from(root);
        Host { proc: root.join("proc"), sys: root.join("sys") }
    });
    let (mut hot, mut slow) = (Vec::new(), Vec::new());
    for entry in PROBES {
        let Ok(mut probe) = (entry.new)(&Default::default()) else { continue };
        match probe.discover(&host) {
            Ok(services) => {
                let fields = services.iter().map(|s| s.fields.len()).sum();
                let dear = probe.step_min().is_some_and(|s| s > Duration::from_secs(10));
                let timed = Timed { name: entry.name, probe, fields, cpu_us: 0.0 };
                if dear { slow.push(timed) } else { hot.push(timed) }
            }
            Err(why) => println!("{:12} {why}", entry.name),
        }
    }
    let mut out = Cells::new();
    cycle(&host, &mut hot, &mut out);
    cycle(&host, &mut slow, &mut out);
    hot.iter_mut().chain(&mut slow).for_each(|t| t.cpu_us = 0.0);

    let mut total = 0.0;
    let allocations = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..cycles {
        std::thread::sleep(interval);
        let before = cpu_us();
        cycle(&host, &mut hot, &mut out);
        total += cpu_us() - before;
    }
    let allocations = ALLOCATIONS.load(Ordering::Relaxed) - allocations;
    for _ in 0..cycles.min(30) {
        cycle(&host, &mut slow, &mut out);
    }
    let n = cycles as f64;
    let fields: usize = hot.iter().map(|t| t.fields).sum();
    hot.iter().for_each(|t| print(t, n));
    println!("-- slow ones, per reading");
    slow.iter().for_each(|t| print(t, n.min(30.0)));
    println!(
        "hot probes: {fields} fields, {:.0} us CPU a cycle, {:.2} allocations",
        total / n,
        allocations as f64 / n
    );
}

fn print(t: &Timed, n: f64) {
    println!("{:12} {:5} fields {:8.1} us", t.name, t.fields, t.cpu_us / n);
}

fn cycle(host: &Host, probes: &mut [Timed], out: &mut Cells) {
    out.clear();
    for timed in probes {
        let before = cpu_us();
        match timed.probe.read(host, out) {
            Ok(Read::Done) => {}
            Ok(Read::Changed) => println!("{} changed", timed.name),
            Err(error) => println!("{}: {error}", timed.name),
        }
        timed.cpu_us += cpu_us() - before;
    }
}
