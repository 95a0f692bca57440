//! When to sample: a wall-clock grid, moved by a fixed offset per host.
//!
//! Deadlines are absolute, so nothing drifts. The offset comes from the node's
//! name: a fleet does not read and ship at the same instant, and a host keeps
//! its place for ever.

use rookery_plugins::TimeMs;

/// The offset is at most this part of the step …
const OFFSET_STEP_PART: u64 = 5;
/// … and never more than this, ms.
const OFFSET_MS_MAX: u64 = 2_000;

/// A grid of times.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grid {
    step_ms: i64,
    offset_ms: i64,
}

impl Grid {
    /// The grid of a host (or of a plugin on a host) for a step in ms.
    pub fn new(step_ms: u64, name: &str) -> Grid {
        let step_ms = step_ms.max(1);
        let range = (step_ms / OFFSET_STEP_PART).clamp(1, OFFSET_MS_MAX);
        let offset = hash(name) % range;
        Grid { step_ms: step_ms as i64, offset_ms: offset as i64 }
    }

    /// A grid whose offset is anywhere within the step: for work that need not
    /// happen together, such as plugins.
    pub fn spread(step_ms: u64, name: &str) -> Grid {
        let step_ms = step_ms.max(1);
        Grid { step_ms: step_ms as i64, offset_ms: (hash(name) % step_ms) as i64 }
    }

    /// The first time of the grid after `now_ms`.
    pub fn next(&self, now_ms: TimeMs) -> TimeMs {
        let since = (now_ms - self.offset_ms).div_euclid(self.step_ms);
        (since + 1) * self.step_ms + self.offset_ms
    }

    /// How many of the grid's times lie strictly between `due_ms`, which is
    /// being served now, and `now_ms`: those that were missed.
    pub fn missed(&self, due_ms: TimeMs, now_ms: TimeMs) -> u64 {
        ((now_ms - due_ms) / self.step_ms).max(0) as u64
    }
}

/// FNV-1a with a final mix, so that names that differ in one last digit do not
/// end up side by side.
fn hash(name: &str) -> u64 {
    let mut h = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^ (h >> 33)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_offset_is_stable_small_and_spread() {
        let offsets: Vec<i64> =
            (0..100).map(|i| Grid::new(10_000, &format!("web{i}")).offset_ms).collect();
        assert_eq!(Grid::new(10_000, "web7"), Grid::new(10_000, "web7"));
        assert!(offsets.iter().all(|o| (0..2_000).contains(o)));
        let low = offsets.iter().filter(|o| **o < 1_000).count();
        assert!((30..70).contains(&low), "{low} of 100 in the lower half");
    }

    #[test]
    fn late_wakes_are_counted() {
        let grid = Grid { step_ms: 1_000, offset_ms: 100 };
        assert_eq!(grid.next(1_100), 2_100);
        assert_eq!(grid.next(1_099), 1_100);
        assert_eq!(grid.missed(1_100, 1_103), 0);
        assert_eq!(grid.missed(1_100, 4_200), 3);
        assert_eq!(grid.missed(1_100, 900), 0);
    }

    proptest! {
        #[test]
        fn next_is_after_now_and_on_the_grid(now in -1_000_000_000i64..4_000_000_000_000,
                                             step in 1u64..100_000_000, name: String) {
            for grid in [Grid::new(step, &name), Grid::spread(step, &name)] {
                let next = grid.next(now);
                prop_assert!(next > now && next - now <= step as i64);
                prop_assert_eq!((next - grid.offset_ms).rem_euclid(step as i64), 0);
                prop_assert_eq!(grid.next(next), next + step as i64);
            }
        }
    }
}
