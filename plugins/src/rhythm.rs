//! How often a source is read.
//!
//! What declares a step (a poller, a push, a spool) may not know the source's: a plugin
//! that is polled each minute may have new numbers every five. So a step comes from the
//! data where that is slower than what is declared; here, for all that is derived from
//! it: the newest values' age, states of what is silent, sums over nodes. (Rates tell
//! gaps by each sample's own neighbours, which is stricter than one step for all.)

use crate::{ServiceSpec, TimeMs};

/// Fewer distances than this tell nothing.
const DISTANCES_MIN: usize = 2;

/// How far apart these times usually are, ms: the median of their distances, the lower
/// one of two. Ascending; equal ones count once. `None`: too few to tell.
pub fn step_ms(times: impl IntoIterator<Item = TimeMs>) -> Option<i64> {
    let mut before = None;
    let mut apart: Vec<i64> = Vec::new();
    for time in times {
        if let Some(before) = before.replace(time)
            && time > before
        {
            apart.push(time - before);
        }
    }
    if apart.len() < DISTANCES_MIN {
        return None;
    }
    let middle = (apart.len() - 1) / 2;
    Some(*apart.select_nth_unstable(middle).1)
}

/// The step that holds, ms: what is declared, or what was seen where that is slower by
/// half or nothing is declared (0). Data that is quicker than declared leaves what is
/// declared: its source says how late it may be.
pub fn paced(declared_ms: u64, seen_ms: Option<i64>) -> u64 {
    let seen = seen_ms.and_then(|ms| u64::try_from(ms).ok()).unwrap_or(0);
    if seen > declared_ms.saturating_add(declared_ms / 2) { seen } else { declared_ms }
}

/// For how long a value of one of several nodes counts in their sum without a newer one,
/// ms: two steps of its service. They are not read at one instant. `held`: the starts of
/// the steps of time that have values, ascending, of `bucket_ms` each.
pub fn hold_ms(declared_ms: u64, held: impl IntoIterator<Item = TimeMs>, bucket_ms: i64) -> i64 {
    // A step that no one declares, until the data tells: once a minute.
    const UNKNOWN_MS: u64 = 60_000;
    // Values that are in each bucket tell only that they are no further apart.
    let seen = step_ms(held).filter(|ms| *ms > bucket_ms);
    let declared = if declared_ms == 0 && seen.is_none() { UNKNOWN_MS } else { declared_ms };
    i64::try_from(paced(declared, seen)).unwrap_or(i64::MAX / 2).saturating_mul(2)
}

/// A plugin's `update_rate`, ms: how often it has new numbers (`300`, `5m`,
/// `60 aligned`). `None`: it does not say so.
pub fn update_rate_ms(spec: &ServiceSpec) -> Option<u64> {
    let text = spec.extra.get("update_rate")?;
    crate::config::parse_span_ms(text.split_whitespace().next()?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_step_is_what_is_usual() {
        assert_eq!(step_ms([]), None);
        assert_eq!(step_ms([0, 10]), None, "one distance is none that is usual");
        assert_eq!(step_ms([0, 10, 20]), Some(10));
        assert_eq!(step_ms([0, 10, 7210]), Some(10), "an outage");
        assert_eq!(step_ms([0, 300, 600, 900, 4000, 4300]), Some(300));
        assert_eq!(step_ms([5, 5, 5, 8, 8]), None, "doubles are one");
    }

    #[test]
    fn the_slower_step_holds() {
        assert_eq!(paced(60_000, Some(300_000)), 300_000);
        assert_eq!(paced(60_000, Some(10_000)), 60_000, "declared");
        assert_eq!(paced(60_000, Some(80_000)), 60_000, "a little late");
        assert_eq!((paced(0, Some(900_000)), paced(0, None), paced(10, None)), (900_000, 0, 10));
    }

    #[test]
    fn values_of_a_sum_hold_for_two_steps_of_the_data() {
        let every = |ms: i64| (0..20).map(move |i| i * ms);
        assert_eq!(hold_ms(10_000, every(10_000), 10_000), 20_000);
        assert_eq!(hold_ms(10_000, every(300_000), 60_000), 600_000, "slower than declared");
        assert_eq!(hold_ms(0, every(900_000), 60_000), 1_800_000, "declared by nobody");
        assert_eq!(hold_ms(0, every(3_600_000), 3_600_000), 120_000, "in each bucket");
        assert_eq!(hold_ms(0, [], 1000), 120_000);
    }

    #[test]
    fn update_rates_are_read() {
        let rate = |text: &str| {
            let mut spec = ServiceSpec::new("s", "s", "s");
            spec.extra.insert("update_rate".to_owned(), text.to_owned());
            update_rate_ms(&spec)
        };
        assert_eq!(rate("300"), Some(300_000));
        assert_eq!(rate("5m"), Some(300_000));
        assert_eq!(rate("60 aligned"), Some(60_000));
        assert_eq!((rate("often"), update_rate_ms(&ServiceSpec::default())), (None, None));
    }
}
