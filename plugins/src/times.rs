//! Which times a sample may have: the one check of every door by which samples come in
//! (frames and JSON over HTTP, polled munin-nodes, plugins of the agent, imports).
//!
//! A sample whose time is refused is left out and counted by whoever asked; what came
//! with it is taken all the same.

use crate::TimeMs;
use crate::munin::Reading;
use thiserror::Error;

/// A sample may be this far ahead of the clock of whoever takes it, ms: a day.
pub const FUTURE_MS_MAX: TimeMs = 86_400_000;
/// The earliest time of a sample, ms: 1970-01-01T00:00:00Z.
pub const EARLIEST_MS: TimeMs = 0;
const HOUR_MS: TimeMs = 3_600_000;

/// Why a sample cannot have this time.
#[derive(Clone, Copy, Debug, Error, PartialEq, Eq)]
pub enum BadTime {
    /// Before 1970.
    #[error("time {0} ms is before 1970: set the sender's clock, or mend what prints this time")]
    Early(TimeMs),
    /// Too far ahead.
    #[error(
        "time {time_ms} ms is {} hours ahead of the clock here ({now_ms} ms); at most {} are \
         allowed: set the sender's clock, or mend what prints this time",
        time_ms.saturating_sub(*now_ms) / HOUR_MS, FUTURE_MS_MAX / HOUR_MS
    )]
    Ahead {
        /// The sample's time.
        time_ms: TimeMs,
        /// The clock of whoever takes it.
        now_ms: TimeMs,
    },
}

/// Whether a sample may have this time, by a clock that says `now_ms`.
pub fn check(time_ms: TimeMs, now_ms: TimeMs) -> Result<(), BadTime> {
    if time_ms < EARLIEST_MS {
        return Err(BadTime::Early(time_ms));
    }
    if time_ms > now_ms.saturating_add(FUTURE_MS_MAX) {
        return Err(BadTime::Ahead { time_ms, now_ms });
    }
    Ok(())
}

/// The readings of a plugin that are left out because of their times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LeftOut {
    /// How many.
    pub n: u64,
    /// The field of the first.
    pub field: String,
    /// What is wrong with its time.
    pub why: BadTime,
}

/// A plugin's readings whose times can be right (those without one have that of the
/// run), and what is left out.
pub fn believable(readings: &[Reading], now_ms: TimeMs) -> (Vec<&Reading>, Option<LeftOut>) {
    let mut left_out: Option<LeftOut> = None;
    let mut good = Vec::with_capacity(readings.len());
    for reading in readings {
        match (reading.time_ms.map_or(Ok(()), |at| check(at, now_ms)), &mut left_out) {
            (Ok(()), _) => good.push(reading),
            (Err(_), Some(left_out)) => left_out.n += 1,
            (Err(why), None) => {
                left_out = Some(LeftOut { n: 1, field: reading.field.clone(), why });
            }
        }
    }
    (good, left_out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::munin::parse;

    #[test]
    fn a_plugins_wrong_epoch_costs_its_value_alone() {
        let now = 1_796_000_000_000;
        let text = b"a.value -5:1\nb.value 4000000000:1\nc.value 1796000000:7\nd.value 8\n";
        let parsed = parse("p", text);
        let (good, left_out) = believable(&parsed.readings, now);
        assert_eq!(good.iter().map(|r| r.field.as_str()).collect::<Vec<_>>(), ["c", "d"]);
        let want = LeftOut { n: 2, field: "a".to_owned(), why: BadTime::Early(-5000) };
        assert_eq!(left_out, Some(want));
        assert_eq!(believable(&parsed.readings[2..], now).1, None);
    }

    #[test]
    fn from_1970_to_a_day_ahead() {
        let now = 1_796_000_000_000;
        for good in [0, 1, now, now + FUTURE_MS_MAX] {
            assert_eq!(check(good, now), Ok(()), "{good}");
        }
        for early in [-1, TimeMs::MIN] {
            assert_eq!(check(early, now), Err(BadTime::Early(early)));
        }
        for ahead in [now + FUTURE_MS_MAX + 1, TimeMs::MAX] {
            let e = check(ahead, now).expect_err("refused");
            assert!(e.to_string().contains("ahead of the clock"), "{e}");
        }
        assert_eq!(check(TimeMs::MAX, TimeMs::MAX), Ok(()), "a broken clock does not overflow");
        assert!(check(TimeMs::MAX, TimeMs::MIN).is_err());
    }
}
