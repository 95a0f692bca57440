//! Finds out that the wall clock was set: a clock that nobody can set goes on beside it,
//! also while the machine sleeps.

use rookery_plugins::TimeMs;
use rustix::time::{ClockId, clock_gettime};

/// Less than this is no step, ms: both are read one after the other.
const STEP_MS_MIN: i64 = 2000;

/// Both clocks, as they were read last.
#[derive(Debug)]
pub struct Steps {
    wall_ms: TimeMs,
    boot_ms: i64,
}

impl Steps {
    /// From now on.
    pub fn new(wall_ms: TimeMs) -> Steps {
        Steps { wall_ms, boot_ms: boot_ms() }
    }

    /// By how much the wall clock was set since the last call, ms; `None`: it was not.
    pub fn since_last(&mut self, wall_ms: TimeMs) -> Option<i64> {
        self.step(wall_ms, boot_ms())
    }

    fn step(&mut self, wall_ms: TimeMs, boot_ms: i64) -> Option<i64> {
        let passed = boot_ms.saturating_sub(self.boot_ms);
        let step = wall_ms.saturating_sub(self.wall_ms.saturating_add(passed));
        (self.wall_ms, self.boot_ms) = (wall_ms, boot_ms);
        (step.saturating_abs() >= STEP_MS_MIN).then_some(step)
    }
}

/// Since the start of the machine, its sleep counted, ms.
fn boot_ms() -> i64 {
    let t = clock_gettime(ClockId::Boottime);
    t.tv_sec.saturating_mul(1000).saturating_add(t.tv_nsec / 1_000_000)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clock_that_is_set_is_no_time_that_passed() {
        let mut steps = Steps { wall_ms: 1_000_000, boot_ms: 5000 };
        assert_eq!(steps.step(1_001_000, 6000), None, "a second");
        assert_eq!(steps.step(4_601_500, 3_606_000), None, "an hour's sleep");
        assert_eq!(steps.step(8_202_500, 3_607_000), Some(3_600_000), "set forward");
        assert_eq!(steps.step(4_603_500, 3_608_000), Some(-3_600_000), "and back");
        assert_eq!(Steps::new(7).since_last(8), None);
    }
}
