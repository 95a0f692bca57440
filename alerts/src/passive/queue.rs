//! What waits for a target: of each host and service only the newest result.
//!
//! A spool of old results would do harm: Nagios takes what it is given for what is
//! now, and would tell of problems that are over. So while a target is down,
//! a result takes the place of the one before it, and what waits is never more than
//! there are hosts and services.

use super::CheckResult;
use std::collections::HashMap;

/// The most results that wait for one target; more are dropped, and that is said.
pub const WAITING_MAX: usize = 200_000;

/// Results by host and service.
#[derive(Debug, Default)]
pub struct Queue {
    waiting: HashMap<(String, Option<String>), CheckResult>,
    n_dropped: u64,
}

impl Queue {
    /// Takes a result, which is newer than all before.
    pub fn push(&mut self, result: CheckResult) {
        let key = (result.host.clone(), result.service.clone());
        if self.waiting.len() >= WAITING_MAX && !self.waiting.contains_key(&key) {
            self.n_dropped += 1;
            return;
        }
        self.waiting.insert(key, result);
    }

    /// Takes back what could not be sent, where nothing newer has come.
    pub fn put_back(&mut self, results: Vec<CheckResult>) {
        for result in results {
            let key = (result.host.clone(), result.service.clone());
            self.waiting.entry(key).or_insert(result);
        }
    }

    /// All that waits, in the order in which it is to be sent: hosts that are not UP
    /// before services, so that nobody is told of the services behind them; hosts
    /// that are UP last, when their services are known again.
    pub fn drain(&mut self) -> Vec<CheckResult> {
        let mut all: Vec<CheckResult> = self.waiting.drain().map(|(_, r)| r).collect();
        let rank = |r: &CheckResult| match (&r.service, r.code) {
            (None, 1..) => 0u8,
            (Some(_), _) => 1,
            (None, 0) => 2,
        };
        all.sort_by(|a, b| (rank(a), &a.host, &a.service).cmp(&(rank(b), &b.host, &b.service)));
        all
    }

    /// How many were dropped since this was last asked.
    pub fn take_dropped(&mut self) -> u64 {
        std::mem::take(&mut self.n_dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(host: &str, service: Option<&str>, code: u8, time_ms: i64) -> CheckResult {
        CheckResult {
            host: host.to_owned(),
            service: service.map(str::to_owned),
            code,
            time_ms,
            ..CheckResult::default()
        }
    }

    fn names(all: &[CheckResult]) -> Vec<String> {
        let name = |r: &CheckResult| format!("{}/{}", r.host, r.service.as_deref().unwrap_or(""));
        all.iter().map(name).collect()
    }

    #[test]
    fn only_the_newest_waits_and_hosts_that_are_down_go_first() {
        let mut queue = Queue::default();
        for r in [
            result("b", None, 0, 1),
            result("b", Some("x"), 2, 1),
            result("a", Some("x"), 2, 1),
            result("a", None, 1, 1),
            result("a", Some("x"), 0, 2),
        ] {
            queue.push(r);
        }
        let all = queue.drain();
        assert_eq!(names(&all), ["a/", "a/x", "b/x", "b/"]);
        assert_eq!((all[1].code, all[1].time_ms), (0, 2));
        // Sending has failed, and meanwhile there is news of one.
        queue.push(result("a", Some("x"), 1, 3));
        queue.put_back(all);
        let all = queue.drain();
        assert_eq!((all.len(), all[1].code, all[1].time_ms), (4, 1, 3));
        assert!(queue.drain().is_empty());
    }

    #[test]
    fn what_is_too_much_is_counted() {
        let mut queue = Queue::default();
        for i in 0..WAITING_MAX + 3 {
            queue.push(result(&i.to_string(), None, 0, 0));
        }
        queue.push(result("0", None, 1, 1));
        assert_eq!((queue.take_dropped(), queue.take_dropped()), (3, 0));
        let all = queue.drain();
        assert_eq!((all.len(), all[0].code), (WAITING_MAX, 1), "what waits is still renewed");
    }
}
