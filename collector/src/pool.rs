//! Connections for reading that wait to be used again, of all months together.
//!
//! A history of many months has as many files, and each open one costs three
//! descriptors: only those that were used last stay open.

use rusqlite::Connection;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

/// The most connections that are kept open while nobody uses them.
pub const IDLE_MAX: usize = 64;

/// The connections that nobody uses, those used last at the end, each with the number
/// of its file.
#[derive(Default)]
pub struct Pool {
    idle: Mutex<VecDeque<(u64, Connection)>>,
    numbers: AtomicU64,
}

impl Pool {
    /// A number for a file.
    pub fn number(&self) -> u64 {
        self.numbers.fetch_add(1, Ordering::Relaxed)
    }

    /// A connection to this file, if one is idle.
    pub fn take(&self, number: u64) -> Option<Connection> {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let at = idle.iter().rposition(|(n, _)| *n == number)?;
        idle.remove(at).map(|(_, conn)| conn)
    }

    /// Keeps a connection for the next to use; the one that was not used for longest is
    /// closed if there are too many.
    pub fn put(&self, number: u64, conn: Connection) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        idle.push_back((number, conn));
        let oldest = if idle.len() > IDLE_MAX { idle.pop_front() } else { None };
        drop(idle);
        // Closing may take a while.
        drop(oldest);
    }

    /// Closes what is idle of this file.
    pub fn let_go(&self, number: u64) {
        let mut idle = self.idle.lock().unwrap_or_else(PoisonError::into_inner);
        let (closed, kept) = std::mem::take(&mut *idle).into_iter().partition(|i| i.0 == number);
        *idle = kept;
        drop(idle);
        drop::<VecDeque<_>>(closed);
    }

    /// How many are idle.
    pub fn n_idle(&self) -> usize {
        self.idle.lock().unwrap_or_else(PoisonError::into_inner).len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn conn() -> Connection {
        Connection::open_in_memory().expect("opens")
    }

    #[test]
    fn those_used_last_stay_open() {
        let pool = Pool::default();
        for number in 0..IDLE_MAX as u64 + 1 {
            pool.put(number, conn());
        }
        assert_eq!(pool.n_idle(), IDLE_MAX);
        assert!(pool.take(0).is_none(), "the oldest was closed");
        let used = pool.take(1).expect("open");
        pool.put(1, used);
        pool.put(1000, conn());
        pool.put(1001, conn());
        assert!(pool.take(1).is_some(), "it was used since");
        assert!(pool.take(2).is_none());
        pool.put(1000, conn());
        pool.let_go(1000);
        assert!(pool.take(1000).is_none());
    }
}
