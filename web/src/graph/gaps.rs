//! Which empty buckets are gaps, and which only lie between two samples.
//!
//! A bucket may be narrower than the time between two samples; then most
//! buckets are empty and nothing is missing. A gap is a distance well above
//! what is usual in the whole picture and in its neighbourhood.

use rookery_collector::history::Bucket;

/// A distance of more than so many usual ones is a gap.
const GAP: f64 = 2.5;
/// So many distances on either side are the neighbourhood.
const NEAR: usize = 4;
/// Fewer distances than this say nothing; then the service's own step does.
const FEW: usize = 3;

/// How far apart samples usually are, in buckets.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Spacing(f64);

/// Of the buckets that are not empty, ascending, and the samples in each;
/// `step` is the service's own step in buckets, 0 when it is not known.
pub(crate) fn spacing(filled: &[usize], counts: &[u64], step: f64) -> Spacing {
    let mut apart: Vec<usize> = filled.windows(2).map(|w| w[1] - w[0]).collect();
    if apart.len() < FEW && step > 0.0 {
        return Spacing(step);
    }
    let Some(usual) = median(&mut apart) else { return Spacing(step.max(1.0)) };
    if usual > 1 {
        return Spacing(usual as f64);
    }
    let mut counts = counts.to_vec();
    let each = median(&mut counts).unwrap_or(1).max(1);
    Spacing(1.0 / each as f64)
}

fn median<T: Ord + Copy>(of: &mut [T]) -> Option<T> {
    let middle = of.len().checked_sub(1)? / 2;
    Some(*of.select_nth_unstable(middle).1)
}

impl Spacing {
    /// Whether a distance of so many buckets is a gap, whatever is around it.
    pub(crate) fn is_gap(self, distance: usize) -> bool {
        let Spacing(usual) = self;
        // From one filled bucket to another at least (distance - 1) buckets of
        // time passed without a sample.
        let silent = distance.saturating_sub(1) as f64;
        if usual < 1.0 { silent > GAP * usual } else { distance as f64 > GAP * usual }
    }

    /// For each two neighbours in `filled`, whether a gap is between them.
    pub(crate) fn gaps(self, filled: &[usize]) -> Vec<bool> {
        let apart: Vec<usize> = filled.windows(2).map(|w| w[1] - w[0]).collect();
        let judge = |i: usize| {
            if !self.is_gap(apart[i]) {
                return false;
            }
            // Where sampling once was slower, its longer distances are no gaps.
            let mut before = apart[i.saturating_sub(NEAR)..i].to_vec();
            let mut after = apart[i + 1..(i + 1 + NEAR).min(apart.len())].to_vec();
            let near = median(&mut before).max(median(&mut after));
            near.is_none_or(|usual| usual <= 1 || apart[i] as f64 > GAP * usual as f64)
        };
        (0..apart.len()).map(judge).collect()
    }
}

/// The filled buckets of any of these fields, with the largest count of each.
pub(crate) fn union<'a>(fields: impl Iterator<Item = &'a [Bucket]>) -> (Vec<usize>, Vec<u64>) {
    let mut counts: Vec<u64> = Vec::new();
    for buckets in fields {
        if buckets.len() > counts.len() {
            counts.resize(buckets.len(), 0);
        }
        for (all, one) in counts.iter_mut().zip(buckets) {
            *all = (*all).max(one.count);
        }
    }
    let filled: Vec<usize> = (0..counts.len()).filter(|i| counts[*i] > 0).collect();
    let counts = filled.iter().map(|i| counts[*i]).collect();
    (filled, counts)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn gaps(filled: &[usize], count: u64) -> Vec<usize> {
        let counts = vec![count; filled.len()];
        let found = spacing(filled, &counts, 0.0).gaps(filled);
        found.iter().enumerate().filter(|(_, g)| **g).map(|(i, _)| i).collect()
    }

    #[test]
    fn buckets_between_samples_are_no_gaps() {
        let every_sixth: Vec<usize> = (0..100).map(|i| i * 6 + i % 2).collect();
        assert!(gaps(&every_sixth, 1).is_empty());
        let lost_one: Vec<usize> = (0..100).filter(|i| i % 10 != 5).map(|i| i * 6).collect();
        assert!(gaps(&lost_one, 1).is_empty(), "one lost sample does not break the line");
        let lost_more: Vec<usize> =
            (0..100).filter(|i| !(40..43).contains(i)).map(|i| i * 6).collect();
        assert_eq!(gaps(&lost_more, 1), [39]);
    }

    #[test]
    fn one_empty_bucket_is_a_gap_where_all_are_full() {
        let filled: Vec<usize> = (0..100).filter(|i| *i != 50).collect();
        assert_eq!(gaps(&filled, 60), [49]);
        assert!(gaps(&filled, 1).is_empty(), "but not where it may fall between two samples");
    }

    #[test]
    fn a_change_of_the_step_is_no_gap() {
        let mut filled: Vec<usize> = (0..20).map(|i| i * 6).collect();
        filled.extend(120..400);
        assert!(gaps(&filled, 10).is_empty());
    }

    #[test]
    fn two_samples_are_judged_by_the_services_step() {
        let filled = [0, 500];
        assert_eq!(spacing(&filled, &[1, 1], 2.0).gaps(&filled), [true]);
        assert_eq!(spacing(&filled, &[1, 1], 0.0).gaps(&filled), [false]);
        assert!(spacing(&[], &[], 0.0).gaps(&[]).is_empty());
    }
}
