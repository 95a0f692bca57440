//! Counts of response times, in a fixed space.
//!
//! Below 128 us each microsecond is a bucket of its own; above, each doubling is
//! cut into 64: a quantile is off by at most 1.6 %. 7 KB for anything up to 71
//! minutes; what is longer counts as that long. Count and largest are exact.

/// Buckets in each doubling, as a power of two.
const SUB_BITS: u32 = 6;
const SUBS: usize = 1 << SUB_BITS;
/// Up to 2^32 us.
const BUCKETS: usize = (32 - SUB_BITS as usize) * SUBS + SUBS;

/// Counts by response time, us.
#[derive(Clone, Debug)]
pub struct Histogram {
    counts: Vec<u32>,
    n: u64,
    max_us: u64,
}

impl Default for Histogram {
    fn default() -> Histogram {
        Histogram { counts: vec![0; BUCKETS], n: 0, max_us: 0 }
    }
}

fn bucket(us: u64) -> usize {
    let us = us.min(u64::from(u32::MAX)) as u32;
    let bits = 32 - us.leading_zeros();
    let shift = bits.saturating_sub(SUB_BITS + 1);
    shift as usize * SUBS + (us >> shift) as usize
}

/// The middle of a bucket, us.
fn middle(bucket: usize) -> f64 {
    let shift = (bucket / SUBS).saturating_sub(1);
    let low = (bucket - shift * SUBS) as u64;
    let (from, to) = (low << shift, ((low + 1) << shift) - 1);
    (from + to) as f64 / 2.0
}

impl Histogram {
    /// Counts one.
    pub fn add(&mut self, us: u64) {
        let count = &mut self.counts[bucket(us)];
        *count = count.saturating_add(1);
        self.n += 1;
        self.max_us = self.max_us.max(us);
    }

    /// The time that this share (0 to 1) of all did not exceed, us; `None`: there
    /// were none.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        let rank = ((share * self.n as f64).ceil() as u64).max(1);
        let mut seen = 0;
        for (i, count) in self.counts.iter().enumerate() {
            seen += u64::from(*count);
            if seen >= rank {
                return Some(middle(i).min(self.max_us as f64));
            }
        }
        None
    }

    /// The longest, us; `None`: there were none.
    pub fn max_us(&self) -> Option<u64> {
        (self.n > 0).then_some(self.max_us)
    }

    /// Forgets all.
    pub fn clear(&mut self) {
        if self.n > 0 {
            self.counts.fill(0);
            (self.n, self.max_us) = (0, 0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn nothing_has_no_quantile_and_much_is_no_overflow() {
        let mut h = Histogram::default();
        assert_eq!((h.quantile(0.5), h.max_us()), (None, None));
        h.add(u64::MAX);
        assert_eq!(h.max_us(), Some(u64::MAX));
        assert!(h.quantile(0.5).is_some_and(|v| v > 4e9));
        h.clear();
        assert_eq!(h.quantile(0.5), None);
    }

    proptest! {
        #[test]
        fn quantiles_are_near_those_of_the_sorted_times(
            mut all in proptest::collection::vec(0u64..5_000_000_000, 1..200),
            share in 0.0f64..1.0) {
            all.iter_mut().for_each(|us| *us = (*us).min(u64::from(u32::MAX)));
            let mut h = Histogram::default();
            all.iter().for_each(|us| h.add(*us));
            all.sort_unstable();
            let rank = ((share * all.len() as f64).ceil() as usize).max(1);
            let want = all[rank - 1] as f64;
            let got = h.quantile(share).expect("some");
            prop_assert!((got - want).abs() <= want * 0.016 + 0.5, "{} is not {}", got, want);
        }
    }
}
