//! How many connections there may be, and how patient the guard is with them.

use rustix::process::{Resource, getrlimit, setrlimit};
use std::time::Duration;

/// Descriptors that are kept back for the history, plugins and notices: a quarter,
/// at least and at most these.
const KEPT_BACK: (u64, u64) = (64, 4096);
/// Connections without credentials: a quarter of what is left, at most this.
const STRANGERS_MAX: u64 = 4096;
/// What is taken for the limit of descriptors where there is none.
const NO_LIMIT: u64 = 1 << 20;

/// What the guard allows.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limits {
    /// Connections in all.
    pub connections: usize,
    /// Connections that have not shown credentials.
    pub strangers: usize,
    /// Of those, of one address (IPv6: one /64).
    pub per_address: usize,
    /// For the head of a request, from its first byte; for the first of a new
    /// connection, from its beginning.
    pub head: Duration,
    /// Without a request.
    pub idle: Duration,
    /// The same for connections that have shown credentials.
    pub idle_known: Duration,
    /// Without any progress while we wait for the peer to read or to send.
    pub stall: Duration,
    /// The same while the memory for reads is short.
    pub stall_short: Duration,
    /// Bytes a second that a peer must read or send, on average, while we wait for it;
    /// not in the first [`Limits::stall`].
    pub rate: u64,
}

impl Limits {
    /// For a process that may have so many descriptors.
    pub fn for_descriptors(n: u64) -> Limits {
        let n = n.min(NO_LIMIT);
        let kept_back = (n / 4).clamp(KEPT_BACK.0, KEPT_BACK.1);
        let connections = n.saturating_sub(kept_back).max(16);
        Limits {
            connections: connections as usize,
            strangers: (connections / 4).clamp(8, STRANGERS_MAX) as usize,
            per_address: 64,
            head: Duration::from_secs(10),
            idle: Duration::from_secs(75),
            idle_known: Duration::from_secs(600),
            stall: Duration::from_secs(60),
            stall_short: Duration::from_secs(5),
            rate: 1024,
        }
    }
}

/// Raises the soft limit of open files to the hard one, and returns it: agents, months
/// of history and readers have a descriptor each.
pub fn raise_descriptors() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let soft = limit.current.unwrap_or(NO_LIMIT);
    let hard = limit.maximum.unwrap_or(NO_LIMIT);
    if soft >= hard {
        return soft;
    }
    let raised = rustix::process::Rlimit { current: Some(hard), maximum: limit.maximum };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => hard,
        Err(e) => {
            tracing::warn!("at most {soft} open files; the limit cannot be raised to {hard}: {e}");
            soft
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ten_thousand_agents_fit_and_the_history_keeps_its_share() {
        let packaged = Limits::for_descriptors(65_536);
        assert!(packaged.connections - packaged.strangers > 50_000, "{packaged:?}");
        let small = Limits::for_descriptors(1024);
        assert_eq!((small.connections, small.strangers), (768, 192));
        for n in [0, 1, 20, 63, 64, 65, 256, 4096, u64::MAX] {
            let l = Limits::for_descriptors(n);
            assert!(l.strangers <= l.connections && l.strangers > 0, "{n}: {l:?}");
        }
    }

    #[test]
    fn the_soft_limit_becomes_the_hard_one() {
        let raised = raise_descriptors();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(limit.current.unwrap_or(NO_LIMIT), raised);
    }
}
