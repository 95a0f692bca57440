//! What is known of one connection: what it does, since when, and who waits for whom.
//!
//! Times are ms since the guard's start, at least 1; 0 stands for "not".

use super::limits::Limits;
use rookery_collector::budget::Share;
use std::net::IpAddr;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::sync::Notify;

/// What a connection does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
enum Phase {
    /// Waits for a request, or has a part of its head.
    Head = 0,
    /// A request is being worked on, or answered.
    Request = 1,
}

/// One direction in which we wait for the peer now and then.
#[derive(Debug, Default)]
pub(super) struct Wait {
    /// Since when, ms.
    since: AtomicU64,
    /// In this request, before that, ms.
    before: AtomicU64,
    /// Bytes that went over in this request.
    bytes: AtomicU64,
}

impl Wait {
    /// The peer keeps us waiting.
    pub(super) fn waits(&self, now: u64) {
        if self.since.load(Relaxed) == 0 {
            self.since.store(now, Relaxed);
        }
    }

    /// It does not, or no longer: so many bytes went over.
    pub(super) fn goes_on(&self, now: u64, bytes: usize) {
        let since = self.since.swap(0, Relaxed);
        if since != 0 {
            self.before.fetch_add(now.saturating_sub(since), Relaxed);
        }
        self.bytes.fetch_add(bytes as u64, Relaxed);
    }

    fn begin(&self) {
        self.before.store(0, Relaxed);
        self.bytes.store(0, Relaxed);
    }

    /// Whether we have waited too long, or for too little.
    fn is_overdue(&self, now: u64, stall: Duration, rate: u64) -> bool {
        let since = self.since.load(Relaxed);
        if since == 0 {
            return false;
        }
        let stall = ms(stall);
        let now_waiting = now.saturating_sub(since);
        let earned = self.bytes.load(Relaxed).saturating_mul(1000) / rate.max(1);
        let in_all = self.before.load(Relaxed) + now_waiting;
        now_waiting >= stall || in_all >= stall.saturating_add(earned)
    }
}

/// One connection's account.
#[derive(Debug)]
pub(super) struct Meter {
    pub(super) id: u64,
    /// Its address; of IPv6 the network.
    pub(super) address: IpAddr,
    epoch: Instant,
    phase: AtomicU8,
    /// When the phase began.
    since: AtomicU64,
    /// When the first byte of the head came.
    head_since: AtomicU64,
    /// When it last moved.
    moved: AtomicU64,
    /// How many requests it has sent.
    requests: AtomicU64,
    /// It has shown credentials.
    known: AtomicBool,
    pub(super) input: Wait,
    pub(super) output: Wait,
    /// Of what waits in the socket's buffer.
    unsent: Mutex<Option<Share>>,
    end: Notify,
    is_ended: AtomicBool,
}

fn ms(span: Duration) -> u64 {
    u64::try_from(span.as_millis()).unwrap_or(u64::MAX)
}

impl Meter {
    pub(super) fn new(id: u64, address: IpAddr, epoch: Instant) -> Meter {
        let meter = Meter {
            id,
            address,
            epoch,
            phase: AtomicU8::new(Phase::Head as u8),
            since: AtomicU64::new(0),
            head_since: AtomicU64::new(0),
            moved: AtomicU64::new(0),
            requests: AtomicU64::new(0),
            known: AtomicBool::new(false),
            input: Wait::default(),
            output: Wait::default(),
            unsent: Mutex::default(),
            end: Notify::new(),
            is_ended: AtomicBool::new(false),
        };
        let now = meter.now();
        meter.since.store(now, Relaxed);
        meter.moved.store(now, Relaxed);
        meter
    }

    pub(super) fn now(&self) -> u64 {
        ms(self.epoch.elapsed()).max(1)
    }

    pub(super) fn is_known(&self) -> bool {
        self.known.load(Relaxed)
    }

    /// It has shown credentials; false: it had before.
    pub(super) fn vouch(&self) -> bool {
        !self.known.swap(true, Relaxed)
    }

    /// When it last moved, ms.
    pub(super) fn moved(&self) -> u64 {
        self.moved.load(Relaxed)
    }

    /// Whether it has had time enough to show credentials.
    pub(super) fn is_judged(&self, young: Duration) -> bool {
        let age = self.now().saturating_sub(self.since.load(Relaxed));
        self.requests.load(Relaxed) > 0 || age >= ms(young)
    }

    /// A request's head is there.
    pub(super) fn begin_request(&self) {
        let now = self.now();
        self.requests.fetch_add(1, Relaxed);
        self.input.begin();
        self.output.begin();
        self.phase.store(Phase::Request as u8, Relaxed);
        self.since.store(now, Relaxed);
        self.moved.store(now, Relaxed);
    }

    /// The answer's head is there.
    pub(super) fn begin_reply(&self) {
        self.moved.store(self.now(), Relaxed);
        // What is left of the request is not waited for.
        self.input.goes_on(self.now(), 0);
    }

    /// The answer is with hyper to its end.
    pub(super) fn end_request(&self) {
        let now = self.now();
        self.input.goes_on(now, 0);
        self.head_since.store(0, Relaxed);
        self.phase.store(Phase::Head as u8, Relaxed);
        self.since.store(now, Relaxed);
    }

    /// What this share stands for waits for the peer.
    pub(super) fn hold(&self, share: Option<Share>) {
        *self.unsent.lock().unwrap_or_else(PoisonError::into_inner) = share;
    }

    /// Ends the connection as soon as its task is there.
    pub(super) fn finish(&self) -> bool {
        let is_first = !self.is_ended.swap(true, Relaxed);
        self.end.notify_one();
        is_first
    }

    /// Whether [`Meter::finish`] was called.
    pub(super) fn is_ended(&self) -> bool {
        self.is_ended.load(Relaxed)
    }

    /// Comes when [`Meter::finish`] was called.
    pub(super) async fn ended(&self) {
        self.end.notified().await;
    }

    /// Why the connection is to end now; `None`: it may stay.
    pub(super) fn verdict(&self, limits: &Limits, is_short: bool) -> Option<&'static str> {
        let now = self.now();
        let stall = if is_short { limits.stall_short } else { limits.stall };
        if self.output.is_overdue(now, stall, limits.rate) {
            return Some("did not read its answer");
        }
        if self.phase.load(Relaxed) == Phase::Request as u8 {
            return self
                .input
                .is_overdue(now, limits.stall, limits.rate)
                .then_some("did not send its body");
        }
        let waited = now.saturating_sub(self.since.load(Relaxed));
        let head_since = self.head_since.load(Relaxed);
        if head_since != 0 && now.saturating_sub(head_since) >= ms(limits.head) {
            return Some("did not send its headers");
        }
        let idle = match (self.requests.load(Relaxed), self.is_known()) {
            (0, _) => limits.head,
            (_, true) => limits.idle_known,
            (_, false) => limits.idle,
        };
        (head_since == 0 && waited >= ms(idle)).then_some("was idle")
    }
}

/// A socket whose traffic is measured.
pub(super) struct Metered<T> {
    io: T,
    meter: Arc<Meter>,
}

impl<T> Metered<T> {
    pub(super) fn new(io: T, meter: Arc<Meter>) -> Metered<T> {
        Metered { io, meter }
    }

    fn wrote(&self, done: &Poll<std::io::Result<usize>>) {
        let now = self.meter.now();
        match done {
            Poll::Pending => self.meter.output.waits(now),
            Poll::Ready(Ok(n)) => {
                self.meter.output.goes_on(now, *n);
                self.meter.moved.store(now, Relaxed);
            }
            Poll::Ready(Err(_)) => {}
        }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Metered<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let done = Pin::new(&mut self.io).poll_read(cx, buf);
        let n = buf.filled().len() - before;
        if n > 0 {
            let (meter, now) = (&self.meter, self.meter.now());
            meter.moved.store(now, Relaxed);
            if meter.phase.load(Relaxed) == Phase::Head as u8 {
                // The first byte's time stays.
                let _ = meter.head_since.compare_exchange(0, now, Relaxed, Relaxed);
            }
        }
        done
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Metered<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write(cx, buf);
        self.wrote(&done);
        done
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[std::io::IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let done = Pin::new(&mut self.io).poll_write_vectored(cx, bufs);
        self.wrote(&done);
        done
    }

    fn is_write_vectored(&self) -> bool {
        self.io.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        // hyper flushes when it has written all that it had.
        if self.meter.phase.load(Relaxed) == Phase::Head as u8 {
            self.meter.hold(None);
        }
        Pin::new(&mut self.io).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn limits(head_ms: u64, idle_ms: u64, stall_ms: u64) -> Limits {
        let of = Duration::from_millis;
        Limits {
            head: of(head_ms),
            idle: of(idle_ms),
            idle_known: of(idle_ms * 10),
            stall: of(stall_ms),
            stall_short: of(stall_ms / 10),
            ..Limits::for_descriptors(1024)
        }
    }

    /// A connection that began so long ago.
    fn old(age_ms: u64) -> Meter {
        let meter = Meter::new(0, IpAddr::V4(Ipv4Addr::LOCALHOST), Instant::now());
        Meter { epoch: Instant::now() - Duration::from_millis(age_ms), ..meter }
    }

    #[test]
    fn a_head_an_idle_connection_and_a_slow_peer_have_their_times() {
        let limits = limits(10_000, 75_000, 60_000);
        assert_eq!(old(9_000).verdict(&limits, false), None);
        assert_eq!(old(11_000).verdict(&limits, false), Some("was idle"), "no byte came");
        let slow = old(11_000);
        slow.head_since.store(500, Relaxed);
        assert_eq!(slow.verdict(&limits, false), Some("did not send its headers"));
        let at_work = old(500_000);
        at_work.requests.store(1, Relaxed);
        at_work.phase.store(Phase::Request as u8, Relaxed);
        assert_eq!(at_work.verdict(&limits, false), None, "we take long, not the peer");
        at_work.output.waits(at_work.now() - 59_000);
        assert_eq!(at_work.verdict(&limits, false), None);
        assert!(at_work.verdict(&limits, true).is_some(), "less time where memory is short");
        at_work.output.goes_on(at_work.now() - 59_000, 1);
        at_work.output.waits(at_work.now() - 61_000);
        assert_eq!(at_work.verdict(&limits, false), Some("did not read its answer"));
    }

    #[test]
    fn who_trickles_ends_and_who_is_merely_slow_does_not() {
        let limits = limits(10_000, 75_000, 60_000);
        let take = |bytes_a_second: usize, seconds: u64| {
            let meter = old(seconds * 1000 + 1);
            meter.requests.store(1, Relaxed);
            meter.phase.store(Phase::Request as u8, Relaxed);
            for s in 1..=seconds {
                meter.output.waits(s * 1000 - 999);
                meter.output.goes_on(s * 1000, bytes_a_second);
            }
            meter.output.waits(seconds * 1000);
            meter.verdict(&limits, false)
        };
        assert_eq!(take(100, 50), None);
        assert_eq!(take(100, 90), Some("did not read its answer"));
        assert_eq!(take(2000, 3600), None, "2 kB/s for an hour");
    }

    #[test]
    fn who_has_shown_credentials_may_be_idle_for_longer() {
        let limits = limits(10_000, 75_000, 60_000);
        let meter = old(100_000);
        meter.requests.store(1, Relaxed);
        assert_eq!(meter.verdict(&limits, false), Some("was idle"));
        assert!(meter.vouch() && !meter.vouch());
        assert_eq!(meter.verdict(&limits, false), None);
    }
}
