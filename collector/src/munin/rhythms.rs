//! How often a plugin of a munin-node has new numbers: not how often it is asked.

use rookery_plugins::munin::Reading;
use rookery_plugins::{ServiceSpec, TimeMs, rhythm};
use std::collections::BTreeMap;

/// So many own times of a service are kept.
const TIMES: usize = 8;

/// The times that a plugin itself gave its newest values, by service.
#[derive(Default)]
pub(super) struct Rhythms(BTreeMap<String, Vec<TimeMs>>);

impl Rhythms {
    /// Takes in the times of an answer; values without a time of their own say nothing.
    pub fn take<'a>(&mut self, readings: impl IntoIterator<Item = &'a Reading>) {
        for r in readings {
            let Some(time_ms) = r.time_ms else { continue };
            let times = self.0.entry(r.service.clone()).or_default();
            if let Err(at) = times.binary_search(&time_ms) {
                times.insert(at, time_ms);
                // The oldest goes.
                let n_over = times.len().saturating_sub(TIMES);
                times.drain(..n_over);
            }
        }
    }

    /// The step of a service that is asked for every `interval_ms`: no quicker than that,
    /// than its `update_rate` and than the times that it gives.
    pub fn step_ms(&self, spec: &ServiceSpec, interval_ms: u64) -> u64 {
        let declared = interval_ms.max(rhythm::update_rate_ms(spec).unwrap_or(0));
        let times = self.0.get(&spec.name).into_iter().flatten().copied();
        rhythm::paced(declared, rhythm::step_ms(times))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_plugins::Value;

    fn read(service: &str, time_ms: Option<TimeMs>) -> Reading {
        let (field, value) = ("f".to_owned(), Value::Int(1));
        Reading { service: service.to_owned(), field, time_ms, value }
    }

    #[test]
    fn a_plugin_is_as_quick_as_it_says_or_gives() {
        let mut rhythms = Rhythms::default();
        let spec = ServiceSpec::new("s", "s", "s");
        assert_eq!(rhythms.step_ms(&spec, 60_000), 60_000, "as it is asked");
        let mut slow = spec.clone();
        slow.extra.insert("update_rate".to_owned(), "300".to_owned());
        assert_eq!(rhythms.step_ms(&slow, 60_000), 300_000);
        assert_eq!(rhythms.step_ms(&slow, 600_000), 600_000);
        // One new value at each fifth poll.
        for poll in 0..20 {
            rhythms.take(&[read("s", Some(poll / 5 * 300_000)), read("t", None)]);
        }
        assert_eq!(rhythms.step_ms(&spec, 60_000), 300_000);
        // All that a spool has, in any order.
        let mut rhythms = Rhythms::default();
        let all: Vec<Reading> = (0..100).rev().map(|i| read("s", Some(i * 120_000))).collect();
        rhythms.take(&all);
        assert_eq!(rhythms.step_ms(&spec, 10_000), 120_000);
        let other = ServiceSpec::new("t", "t", "t");
        assert_eq!(rhythms.step_ms(&other, 10_000), 10_000);
    }
}
