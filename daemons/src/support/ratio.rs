//! Shares over the interval between two readings, in percent.
//!
//! A daemon counts hits and misses since its start; their share over a year
//! says nothing about now. So it is worked out of what each grew by.

/// A share of two counters.
#[derive(Clone, Copy, Debug, Default)]
pub struct Ratio {
    last: Option<(u64, u64)>,
}

impl Ratio {
    /// How much of what `whole` grew by since the last call is what `part` grew
    /// by, in percent. `None` at the first call, after a restart, and when
    /// nothing happened: there is no share of nothing.
    pub fn next(&mut self, part: Option<u64>, whole: Option<u64>) -> Option<f64> {
        let now = part.zip(whole);
        let before = std::mem::replace(&mut self.last, now);
        let ((part, whole), (part_before, whole_before)) = (now?, before?);
        let whole = whole.checked_sub(whole_before).filter(|n| *n > 0)?;
        let part = part.checked_sub(part_before)?;
        Some(100.0 * part as f64 / whole as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_interval_counts() {
        let mut ratio = Ratio::default();
        assert_eq!(ratio.next(Some(1_000), Some(1_000)), None);
        assert_eq!(ratio.next(Some(1_001), Some(1_004)), Some(25.0));
        assert_eq!(ratio.next(Some(1_001), Some(1_004)), None, "idle");
        assert_eq!(ratio.next(Some(3), Some(4)), None, "restarted");
        assert_eq!(ratio.next(Some(5), Some(6)), Some(100.0));
        assert_eq!(ratio.next(None, Some(9)), None);
        assert_eq!(ratio.next(Some(5), Some(9)), None, "the one before is not known");
    }
}
