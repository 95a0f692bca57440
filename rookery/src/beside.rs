//! What runs beside the server: telling people, polling, learning, reporting, tidying. It
//! has threads of its own, so that nothing a reader does delays an alert.

use crate::notify;
use rookery_collector::Collector;
use rookery_collector::budget::Budget;
use rookery_collector::pulse::Vital;
use rookery_collector::watch::deliver::Illustrate;
use std::sync::Arc;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{oneshot, watch};

/// Threads that run tasks.
const WORKERS: usize = 2;
/// Threads for what waits for a disk or a mail server.
const BLOCKING_MAX: usize = 64;
/// How long what still waits for a disk may hold up the end.
const LAST: Duration = Duration::from_secs(2);

/// Starts it; what comes back is done when all has ended, after `stop`.
pub fn start(
    collector: Arc<Collector>,
    budget: Arc<Budget>,
    illustrate: Illustrate,
    stop: watch::Receiver<bool>,
) -> Result<oneshot::Receiver<()>, String> {
    let runtime = Builder::new_multi_thread()
        .enable_all()
        .worker_threads(WORKERS)
        .max_blocking_threads(BLOCKING_MAX)
        .thread_name("rookery-watch")
        .build()
        .map_err(|e| format!("no threads for alerts: {e}"))?;
    let (done, ended) = oneshot::channel();
    std::thread::Builder::new()
        .name("rookery-watch".to_owned())
        .spawn(move || {
            let _vital = Vital("delivery");
            runtime.block_on(run(collector, budget, illustrate, stop));
            end(runtime);
            // Whoever waits may be gone: stopping already.
            let _ = done.send(());
        })
        .map_err(|e| format!("cannot start the thread of alerts: {e}"))?;
    Ok(ended)
}

/// Ends a runtime, whatever its threads are stuck in.
pub fn end(runtime: Runtime) {
    runtime.shutdown_timeout(LAST);
}

async fn run(
    collector: Arc<Collector>,
    budget: Arc<Budget>,
    illustrate: Illustrate,
    stop: watch::Receiver<bool>,
) {
    let of = || collector.clone();
    let (tidying, polling, learning, reporting) = (of(), of(), of(), of());
    let others = [
        tokio::spawn(async move { tidying.tidy_up().await }),
        tokio::spawn(async move { polling.poll().await }),
        tokio::spawn(async move { learning.learn().await }),
        tokio::spawn(async move { reporting.report().await }),
        tokio::spawn(return_memory(budget)),
        tokio::spawn(feed_watchdog(of())),
    ];
    collector.tell(illustrate, stop).await;
    others.iter().for_each(tokio::task::JoinHandle::abort);
}

/// Tells the service manager's watchdog that all is alive, as long as it is.
async fn feed_watchdog(collector: Arc<Collector>) {
    let Some(every) = notify::watchdog() else { return };
    loop {
        if collector.shared().pulses.is_alive() {
            notify::tell(notify::ALIVE);
        }
        tokio::time::sleep(every).await;
    }
}

/// After so much was in use by reads, what is free goes back to the system, bytes.
const WORTH_RETURNING: usize = 16 << 20;
/// How often it is looked whether there is something to return.
const RETURN_LOOK: Duration = Duration::from_secs(5);

/// Hands memory that reads have left behind back to the system: the allocator keeps it else.
async fn return_memory(budget: Arc<Budget>) {
    loop {
        tokio::time::sleep(RETURN_LOOK).await;
        if budget.idle_after(WORTH_RETURNING)
            && let Err(e) = tokio::task::spawn_blocking(trim).await
        {
            tracing::error!("BUG: memory is not returned: {e}");
        }
    }
}

#[cfg(target_env = "gnu")]
fn trim() {
    // SAFETY: malloc_trim may be called at any time, by any thread.
    unsafe { libc::malloc_trim(0) };
}

#[cfg(not(target_env = "gnu"))]
fn trim() {}
