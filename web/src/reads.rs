//! Reads have threads of their own: few, and nice, so that taking in samples, alerts and
//! the connections themselves never wait for what somebody reads.
//!
//! Who asks waits for a turn without holding a thread, and for at most [`WAIT`]; then, or
//! when too many wait, the answer is 503 with `Retry-After`. Each read has memory of the
//! [`Budget`] and a deadline, and ends soon after its client has gone.

use crate::error::WebError;
use rookery_collector::budget::Budget;
use rookery_collector::reading::{self, Read};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::runtime::{Builder, Runtime};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// So many requests may wait for their turn.
const WAITING_MAX: usize = 512;
/// How long a request waits for its turn.
const WAIT: Duration = Duration::from_secs(10);
/// How long one read may take. Of an answer that is sent in parts: each part.
const TIME_MAX: Duration = Duration::from_secs(30);
/// The least number of threads: one that waits for a disk keeps not all others waiting.
const THREADS_MIN: usize = 4;
/// By how much they are nicer than those that take in and alert.
const NICER: i32 = 5;

/// The threads, and who waits for them.
pub struct Reads {
    budget: Arc<Budget>,
    turns: Arc<Semaphore>,
    n_threads: usize,
    waiting: AtomicUsize,
    /// Made at the first read.
    runtime: Mutex<Option<Runtime>>,
}

impl Reads {
    /// With memory of this budget.
    pub fn new(budget: Arc<Budget>) -> Reads {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Reads::with_threads(budget, cores.max(THREADS_MIN))
    }

    fn with_threads(budget: Arc<Budget>, n_threads: usize) -> Reads {
        let turns = Arc::new(Semaphore::new(n_threads));
        let (waiting, runtime) = (AtomicUsize::new(0), Mutex::new(None));
        Reads { budget, turns, n_threads, waiting, runtime }
    }

    /// The memory of all reads.
    pub fn budget(&self) -> &Arc<Budget> {
        &self.budget
    }

    fn handle(&self) -> Result<tokio::runtime::Handle, WebError> {
        let mut runtime = self.runtime.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(runtime) = &*runtime {
            return Ok(runtime.handle().clone());
        }
        let made = Builder::new_multi_thread()
            // It runs blocking work, and now and then what such work leaves behind.
            .worker_threads(1)
            .enable_time()
            .max_blocking_threads(self.n_threads)
            .thread_name("rookery-read")
            .on_thread_start(be_nice)
            .build()
            .map_err(|e| WebError::ours(format!("no threads for reads: {e}")))?;
        Ok(runtime.insert(made).handle().clone())
    }

    /// Runs what may read the disk; the answer comes when it is done.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, WebError> + Send + 'static,
    ) -> Result<T, WebError> {
        let turn = self.turn(Some(WAIT)).await?;
        self.run_now(turn, work).await
    }

    /// The same, for the next part of an answer that has begun: it waits as long as the
    /// client does.
    pub(crate) async fn run_next<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, WebError> + Send + 'static,
    ) -> Result<T, WebError> {
        let turn = self.turn(None).await?;
        self.run_now(turn, work).await
    }

    async fn turn(&self, wait: Option<Duration>) -> Result<OwnedSemaphorePermit, WebError> {
        let place = Waiting::at(&self.waiting);
        if wait.is_some() && place.n > WAITING_MAX {
            return Err(WebError::busy("too many requests wait; try again"));
        }
        let turn = self.turns.clone().acquire_owned();
        let turn = match wait {
            Some(wait) => tokio::time::timeout(wait, turn).await,
            None => Ok(turn.await),
        };
        match turn {
            Ok(Ok(turn)) => Ok(turn),
            Ok(Err(_)) => Err(WebError::busy("the collector is stopping")),
            Err(_) => Err(WebError::busy("too much is read at the moment; try again")),
        }
    }

    async fn run_now<T: Send + 'static>(
        &self,
        turn: OwnedSemaphorePermit,
        work: impl FnOnce() -> Result<T, WebError> + Send + 'static,
    ) -> Result<T, WebError> {
        let read = Read::new(&self.budget, Instant::now() + TIME_MAX);
        let asking = Asking(read.clone());
        let done = self.handle()?.spawn_blocking(move || {
            // Also when whoever asked is gone: the thread is taken until it ends.
            let _turn = turn;
            read.enter(|| {
                reading::check().map_err(WebError::stopped)?;
                work()
            })
        });
        let done = done.await;
        drop(asking);
        done.map_err(|e| WebError::ours(format!("BUG: a request broke off: {e}")))?
    }
}

impl Drop for Reads {
    fn drop(&mut self) {
        // Also from a thread that must not wait.
        let runtime = self.runtime.get_mut().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(runtime) = runtime {
            runtime.shutdown_background();
        }
    }
}

/// Ends the read when whoever asked is gone.
struct Asking(Arc<Read>);

impl Drop for Asking {
    fn drop(&mut self) {
        self.0.give_up();
    }
}

/// A place among those who wait.
struct Waiting<'a> {
    all: &'a AtomicUsize,
    n: usize,
}

impl Waiting<'_> {
    fn at(all: &AtomicUsize) -> Waiting<'_> {
        Waiting { all, n: all.fetch_add(1, Ordering::Relaxed) + 1 }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.all.fetch_sub(1, Ordering::Relaxed);
    }
}

fn be_nice() {
    // Of this thread alone, as Linux has it.
    if let Err(e) = rustix::process::nice(NICER) {
        tracing::debug!("a reading thread keeps its priority: {e}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_collector::reading::Stop;
    use std::sync::mpsc;

    fn reads(n_threads: usize) -> Arc<Reads> {
        Arc::new(Reads::with_threads(Budget::new(1 << 20), n_threads))
    }

    #[tokio::test]
    async fn a_read_whose_client_has_gone_ends() {
        let reads = reads(1);
        let (began, begin) = mpsc::channel();
        let (ended, end) = mpsc::channel();
        let asked = tokio::spawn({
            let reads = reads.clone();
            async move {
                let work = move || {
                    began.send(()).expect("somebody listens");
                    while reading::check().is_ok() {
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    ended.send(reading::check()).expect("somebody listens");
                    Ok(())
                };
                reads.run(work).await
            }
        });
        tokio::task::spawn_blocking(move || begin.recv()).await.expect("ends").expect("begins");
        asked.abort();
        let why = tokio::task::spawn_blocking(move || end.recv_timeout(WAIT)).await;
        assert_eq!(why.expect("ends").expect("it ended"), Err(Stop::Gone));
        assert_eq!(reads.run(|| Ok(1)).await, Ok(1), "its thread is free again");
    }

    #[tokio::test]
    async fn who_waits_too_long_is_told_so() {
        let reads = reads(1);
        let turn = reads.turn(Some(WAIT)).await.expect("a turn");
        let busy = reads.turn(Some(Duration::from_millis(20))).await.expect_err("no turn");
        assert_eq!(busy.status, axum::http::StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(reads.waiting.load(Ordering::Relaxed), 0);
        drop(turn);
        let turn = reads.turn(Some(WAIT)).await;
        assert!(turn.is_ok());
    }

    #[tokio::test]
    async fn a_panic_is_an_error_and_memory_comes_back() {
        let reads = reads(2);
        let broken: Result<(), WebError> = reads.run(|| panic!("on purpose")).await;
        assert!(broken.expect_err("it broke").text.contains("BUG"));
        let large = reads.run(|| reading::charge(2 << 20).map_err(WebError::stopped)).await;
        assert_eq!(large.expect_err("too large").status, axum::http::StatusCode::BAD_REQUEST);
        let fits = reads.run(|| reading::charge(1 << 20).map_err(WebError::stopped)).await;
        assert_eq!((fits, reads.budget().used()), (Ok(()), 0));
    }
}
