//! All connections: who is let in, and who goes when there is no room.

use super::limits::Limits;
use super::meter::Meter;
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// So long a new connection has to show credentials before it counts to its address:
/// a thousand agents behind one address come at once after a restart.
const YOUNG: Duration = Duration::from_secs(2);
/// What was closed is logged at most this often.
const SAID_EVERY: Duration = Duration::from_secs(60);

/// The connections that there are.
pub(super) struct Crowd {
    limits: Limits,
    epoch: Instant,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    next: u64,
    all: HashMap<u64, Arc<Meter>>,
    /// How many of them have not shown credentials, and are not ending.
    strangers: usize,
    /// Why connections were closed since it was last said, and how many.
    closed: BTreeMap<&'static str, usize>,
    said: Option<Instant>,
}

impl Inner {
    fn end(&mut self, meter: &Meter, why: &'static str) {
        if meter.finish() {
            *self.closed.entry(why).or_default() += 1;
            if !meter.is_known() {
                self.strangers = self.strangers.saturating_sub(1);
            }
        }
    }

    /// Ends the stranger that has been quiet for longest; false: there is none.
    fn end_quietest(&mut self, why: &'static str) -> bool {
        let open = self.all.values().filter(|m| !m.is_known() && !m.is_ended());
        let Some(quietest) = open.min_by_key(|m| (m.moved(), m.id)).cloned() else { return false };
        self.end(&quietest, why);
        true
    }

    fn say(&mut self) {
        let is_due = self.said.is_none_or(|at| at.elapsed() >= SAID_EVERY);
        if self.closed.is_empty() || !is_due {
            return;
        }
        self.said = Some(Instant::now());
        let closed = std::mem::take(&mut self.closed);
        let all: Vec<String> = closed.iter().map(|(why, n)| format!("{n} {why}")).collect();
        tracing::info!(
            open = self.all.len(),
            "connections that were closed since this was last said: {}",
            all.join(", ")
        );
    }
}

impl Crowd {
    pub(super) fn new(limits: Limits) -> Crowd {
        Crowd { limits, epoch: Instant::now(), inner: Mutex::default() }
    }

    fn inner(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.inner().all.len()
    }

    /// A new connection; `None`: there is no room, and nobody who could go.
    pub(super) fn admit(&self, address: IpAddr) -> Option<Arc<Meter>> {
        let mut inner = self.inner();
        let is_full = inner.all.len() >= self.limits.connections;
        let is_crowded = is_full || inner.strangers >= self.limits.strangers;
        let has_room = is_crowded && inner.end_quietest("made room for others") || !is_full;
        if !has_room {
            *inner.closed.entry("were refused: all places are taken").or_default() += 1;
            return None;
        }
        inner.next += 1;
        let meter = Arc::new(Meter::new(inner.next, network(address), self.epoch));
        inner.all.insert(meter.id, meter.clone());
        inner.strangers += 1;
        Some(meter)
    }

    /// This connection has shown credentials.
    pub(super) fn vouch(&self, meter: &Meter) {
        if meter.is_known() {
            return;
        }
        let mut inner = self.inner();
        if !meter.is_ended() && meter.vouch() {
            inner.strangers = inner.strangers.saturating_sub(1);
        }
    }

    fn leave(&self, meter: &Meter) {
        let mut inner = self.inner();
        inner.all.remove(&meter.id);
        if meter.finish() && !meter.is_known() {
            inner.strangers = inner.strangers.saturating_sub(1);
        }
    }

    /// The system has no descriptor left.
    pub(super) fn make_room(&self, e: &std::io::Error) {
        tracing::debug!("accept: {e}");
        self.inner().end_quietest("made room: no file descriptor was left (raise LimitNOFILE)");
    }

    /// Ends those whose time is up, and what is too many of one address.
    pub(super) fn look(&self, is_short: bool) {
        let mut inner = self.inner();
        let all: Vec<Arc<Meter>> = inner.all.values().cloned().collect();
        let mut of_address: HashMap<IpAddr, Vec<Arc<Meter>>> = HashMap::new();
        for meter in all {
            if meter.is_ended() {
                continue;
            }
            if let Some(why) = meter.verdict(&self.limits, is_short) {
                inner.end(&meter, why);
            } else if !meter.is_known() && meter.is_judged(YOUNG) {
                of_address.entry(meter.address).or_default().push(meter);
            }
        }
        for (_, mut of) in of_address {
            let too_many = of.len().saturating_sub(self.limits.per_address);
            if too_many > 0 {
                of.sort_by_key(|m| (m.moved(), m.id));
                for meter in &of[..too_many] {
                    inner.end(meter, "were too many of one address");
                }
            }
        }
        inner.say();
    }

    /// Ends all.
    pub(super) fn end_all(&self) {
        let mut inner = self.inner();
        let all: Vec<Arc<Meter>> = inner.all.values().cloned().collect();
        all.iter().for_each(|meter| inner.end(meter, "were open at the stop"));
    }
}

/// A connection's place, until it is dropped.
pub(super) struct Place {
    crowd: Arc<Crowd>,
    meter: Arc<Meter>,
}

impl Place {
    pub(super) fn new(crowd: &Arc<Crowd>, meter: &Arc<Meter>) -> Place {
        Place { crowd: crowd.clone(), meter: meter.clone() }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.crowd.leave(&self.meter);
    }
}

/// What counts as one address: of IPv6 the /64 that one host may have whole.
fn network(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(v6) => IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;

    fn crowd(connections: usize, strangers: usize, per_address: usize) -> Crowd {
        let limits = Limits::for_descriptors(1024);
        Crowd::new(Limits { connections, strangers, per_address, ..limits })
    }

    fn ip(n: u8) -> IpAddr {
        IpAddr::V4(Ipv4Addr::new(10, 0, 0, n))
    }

    #[test]
    fn who_comes_is_let_in_and_the_quietest_stranger_goes() {
        let crowd = crowd(10, 3, 64);
        let first: Vec<_> = (0..3).map(|n| crowd.admit(ip(n)).expect("room")).collect();
        crowd.vouch(&first[0]);
        let fourth = crowd.admit(ip(9)).expect("room: one is known");
        assert!(first.iter().all(|m| !m.is_ended()));
        crowd.admit(ip(9)).expect("somebody goes");
        assert!(!first[0].is_ended(), "known");
        assert!(first[1].is_ended() && !first[2].is_ended() && !fourth.is_ended());
        crowd.leave(&first[1]);
        assert_eq!((crowd.len(), crowd.inner().strangers), (4, 3));
    }

    #[test]
    fn the_known_are_bounded_by_descriptors_only() {
        let crowd = crowd(5, 2, 1);
        for n in 0..5 {
            let meter = crowd.admit(ip(0)).unwrap_or_else(|| panic!("room for {n}"));
            crowd.vouch(&meter);
        }
        crowd.look(false);
        assert!(crowd.inner().all.values().all(|m| !m.is_ended()), "all of one address");
        assert!(crowd.admit(ip(1)).is_none(), "full of the known");
    }

    #[test]
    fn an_address_has_its_share_once_its_connections_had_time_to_show_credentials() {
        let crowd = crowd(500, 100, 4);
        let meters: Vec<_> = (0..10).map(|_| crowd.admit(ip(1)).expect("room")).collect();
        let other = crowd.admit(ip(2)).expect("room");
        crowd.look(false);
        assert!(meters.iter().all(|m| !m.is_ended()), "they are young");
        meters.iter().for_each(|m| m.begin_request());
        crowd.look(false);
        let n_open = meters.iter().filter(|m| !m.is_ended()).count();
        assert_eq!((n_open, other.is_ended()), (4, false));
        assert!(!meters[9].is_ended(), "the newest stays");
    }

    #[test]
    fn a_network_of_version_6_is_one_address() {
        let of = |text: &str| network(text.parse().expect("an address"));
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:10.0.0.1"), of("10.0.0.1"));
    }
}
