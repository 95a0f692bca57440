//! What the read that runs in this thread may still take: memory of the [`Budget`], and
//! time.
//!
//! A request enters a [`Read`]; whatever is read inside of it, through however many
//! layers, calls [`charge`] before it allocates much and [`check`] once a block. Outside
//! of one (alerts, the tools of the command line) both are free.

use crate::budget::{Budget, Share};
use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;
use thiserror::Error;

/// Why a read was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
pub enum Stop {
    /// Others have the memory now.
    #[error("other requests have the memory for reads at the moment; try again")]
    Busy,
    /// It needs more memory than all reads may have.
    #[error(
        "this needs more memory than all reads together may take: ask for a shorter span, a \
         larger step or fewer fields, or raise read_memory"
    )]
    TooLarge,
    /// It took too long.
    #[error("this took too long: ask for a shorter span or fewer fields")]
    Late,
    /// Nobody waits for it any more.
    #[error("nobody waits for this any more")]
    Gone,
}

/// One read: a request's work.
#[derive(Debug)]
pub struct Read {
    budget: Arc<Budget>,
    share: Mutex<Share>,
    /// The most that may be taken while a [`Part`] has a limit, bytes.
    most: AtomicUsize,
    deadline: Instant,
    gone: AtomicBool,
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Read>>> = const { RefCell::new(None) };
}

impl Read {
    /// With memory of this budget, until then.
    pub fn new(budget: &Arc<Budget>, deadline: Instant) -> Arc<Read> {
        Arc::new(Read {
            budget: budget.clone(),
            share: Mutex::new(budget.hold(0)),
            most: AtomicUsize::new(usize::MAX),
            deadline,
            gone: AtomicBool::new(false),
        })
    }

    /// Runs `work` as a part of this read.
    pub fn enter<T>(self: &Arc<Read>, work: impl FnOnce() -> T) -> T {
        let _left = Left(CURRENT.replace(Some(self.clone())));
        work()
    }

    /// Nobody waits for it any more: it ends at its next [`check`].
    pub fn give_up(&self) {
        self.gone.store(true, Ordering::Relaxed);
    }

    fn check(&self) -> Result<(), Stop> {
        if self.gone.load(Ordering::Relaxed) {
            return Err(Stop::Gone);
        }
        if Instant::now() >= self.deadline { Err(Stop::Late) } else { Ok(()) }
    }

    fn share(&self) -> std::sync::MutexGuard<'_, Share> {
        self.share.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn charge(&self, bytes: usize) -> Result<(), Stop> {
        self.check()?;
        let mut share = self.share();
        if share.bytes().saturating_add(bytes) > self.most.load(Ordering::Relaxed) {
            return Err(Stop::TooLarge);
        }
        if share.grow(bytes) {
            return Ok(());
        }
        match share.bytes().saturating_add(bytes) > self.budget.bytes_max() {
            true => Err(Stop::TooLarge),
            false => Err(Stop::Busy),
        }
    }
}

/// What was the thread's read before.
struct Left(Option<Arc<Read>>);

impl Drop for Left {
    fn drop(&mut self) {
        CURRENT.set(self.0.take());
    }
}

/// The read that runs in this thread; for handing it to others.
pub fn current() -> Option<Arc<Read>> {
    CURRENT.with_borrow(Clone::clone)
}

/// Runs `work` as a part of `read`, in whichever thread.
pub fn within<T>(read: Option<&Arc<Read>>, work: impl FnOnce() -> T) -> T {
    match read {
        Some(read) => read.enter(work),
        None => work(),
    }
}

/// So many bytes are about to be allocated; they count until the read, or the [`part`] of
/// it that runs, is over.
pub fn charge(bytes: usize) -> Result<(), Stop> {
    CURRENT.with_borrow(|read| read.as_ref().map_or(Ok(()), |read| read.charge(bytes)))
}

/// Whether the read may go on.
pub fn check() -> Result<(), Stop> {
    CURRENT.with_borrow(|read| read.as_ref().map_or(Ok(()), |read| read.check()))
}

/// A part of the read whose memory is free again when this is dropped: one node of many.
/// Not for parts that run side by side.
pub fn part() -> Part {
    let read = current();
    let before = read.as_ref().map_or(0, |read| read.share().bytes());
    let most = read.as_ref().map_or(usize::MAX, |read| read.most.load(Ordering::Relaxed));
    Part { read, before, most }
}

/// See [`part`].
#[must_use]
pub struct Part {
    read: Option<Arc<Read>>,
    before: usize,
    most: usize,
}

impl Part {
    /// From now on it may take so many bytes; what would be more is [`Stop::TooLarge`].
    pub fn limit(&self, bytes: usize) {
        if let Some(read) = &self.read {
            let most = self.before.saturating_add(bytes).min(self.most);
            read.most.store(most, Ordering::Relaxed);
        }
    }

    /// What it has taken counts until the read is over.
    pub fn keep(mut self) {
        self.before = usize::MAX;
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        if let Some(read) = &self.read {
            read.share().shrink_to(self.before);
            read.most.store(self.most, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    fn read(bytes: u64) -> (Arc<Budget>, Arc<Read>) {
        let budget = Budget::new(bytes);
        let read = Read::new(&budget, Instant::now() + Duration::from_secs(60));
        (budget, read)
    }

    #[test]
    fn a_read_takes_and_gives_back() {
        assert_eq!(charge(usize::MAX), Ok(()), "outside of a read nothing is counted");
        let (budget, read) = read(1000);
        read.enter(|| {
            assert_eq!(charge(400), Ok(()));
            for _ in 0..10 {
                let _one = part();
                assert_eq!(charge(500), Ok(()), "each after the other");
            }
            assert_eq!(budget.used(), 400);
            let few = part();
            few.limit(50);
            assert_eq!((charge(50), charge(1)), (Ok(()), Err(Stop::TooLarge)));
            drop(few);
            assert_eq!((charge(60), budget.used()), (Ok(()), 460));
            let kept = part();
            assert_eq!(charge(40), Ok(()));
            kept.keep();
            assert_eq!(charge(501), Err(Stop::TooLarge));
            let inner = current();
            let used = std::thread::scope(|s| {
                s.spawn(|| within(inner.as_ref(), || charge(100))).join().expect("ends")
            });
            assert_eq!((used, budget.used()), (Ok(()), 600), "in another thread");
        });
        assert!(current().is_none());
        drop(read);
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn a_read_ends_when_it_is_late_or_nobody_waits() {
        let (budget, read) = read(1000);
        let late = Read::new(&budget, Instant::now());
        assert_eq!(late.enter(check), Err(Stop::Late));
        read.enter(|| {
            assert_eq!(late.enter(check), Err(Stop::Late));
            assert_eq!(check(), Ok(()), "the outer one is the thread's again");
            read.give_up();
            assert_eq!((check(), charge(1)), (Err(Stop::Gone), Err(Stop::Gone)));
        });
    }

    #[test]
    fn what_others_have_is_not_there() {
        let (budget, read) = read(1000);
        let _others = budget.hold(900);
        assert_eq!(read.enter(|| charge(200)), Err(Stop::Busy));
    }
}
