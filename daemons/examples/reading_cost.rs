//! What a reading of a daemon costs the agent, in CPU time of its thread:
//! `cargo run --release -p rookery-daemons --example reading_cost -- mysql
//! 'address = "127.0.0.1:3306"'`.

use rookery_daemons::DAEMONS;
use rookery_plugins::{Cells, Host};

const READINGS: u64 = 200;

/// CPU time of this thread, ns (`/proc/PID/schedstat`, Documentation/scheduler).
fn cpu_ns() -> Result<u64, String> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").map_err(|e| e.to_string())?;
    let first = text.split(' ').next().and_then(|n| n.parse().ok());
    first.ok_or_else(|| format!("schedstat: {text:?}"))
}

fn main() -> Result<(), String> {
    let mut words = std::env::args().skip(1);
    let name = words.next().ok_or("which daemon? and, if it is elsewhere, its configuration")?;
    let config = words.next().unwrap_or_default();
    let entry = DAEMONS.iter().find(|e| e.name == name);
    let entry = entry.ok_or_else(|| format!("there is no probe {name:?}"))?;
    let table = config.parse().map_err(|e| format!("{config}: {e}"))?;
    let mut probe = (entry.new)(&table)?;
    let host = Host::default();
    let started = cpu_ns()?;
    let specs = probe.discover(&host).map_err(|e| e.to_string())?;
    let described = cpu_ns()?;
    let mut cells = Cells::new();
    for _ in 0..READINGS {
        cells = Cells::new();
        probe.read(&host, &mut cells).map_err(|e| e.to_string())?;
    }
    println!(
        "{} services, {} fields: {} us a reading, {} us to connect and describe",
        specs.len(),
        cells.len(),
        (cpu_ns()? - described) / READINGS / 1000,
        (described - started) / 1000,
    );
    Ok(())
}
