//! What the functions of an [`crate::expression`] have seen: in constant space,
//! and, but for `peers`, kept across a restart. How much of a stored past they ask for
//! when they begin: [`Ask`].
//!
//! `past` keeps a mean and a mean deviation for each hour of the week (of UTC), to which
//! each week adds the hour's mean with a quarter of the weight; it speaks from the third
//! week on. `peers` compares with the median of all that the rule is for in the group,
//! when there are four at least; a usual deviation is their median one.

use rookery_plugins::TimeMs;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, VecDeque};

/// A change is remembered by so many points.
const CHANGE_POINTS: i64 = 60;
/// A forecast needs at least this part of the time that it looks ahead.
const FORECAST_PART: i64 = 20;
/// Fewer have no middle.
const PEERS_MIN: usize = 4;
/// So many weeks must have been seen before the past says anything.
const WEEKS_MIN: u32 = 2;
/// The weight of the newest week.
const WEEK_WEIGHT: f64 = 0.25;
/// A usual deviation is at least this part of the middle: what never changes at all
/// would else be far off with its first change.
const DEVIATION_PART: f64 = 0.05;
const HOUR_MS: i64 = 3_600_000;
/// Hours of a week.
const WEEK_HOURS: i64 = 168;
/// So many weeks of a stored past are looked at: what is older weighs less than a
/// hundredth in what `past` says.
const WEEKS_MAX: i64 = 26;
/// A forecast's half-life in steps of a stored past: it changes less within one than
/// the line through them would show.
const HALF_LIFE_STEPS: i64 = 64;

/// What a function remembers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Kind {
    Change(i64),
    Forecast(i64),
    Peers,
    Past,
}

/// What a function asks of a stored past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ask {
    /// So far back, ms.
    pub span_ms: i64,
    /// One value for each so long a time, ms; 0: each sample.
    pub step_ms: i64,
    /// The first value of each step, not the mean.
    pub first: bool,
    /// Averages of longer times than this say nothing to it, ms.
    pub coarsest_ms: i64,
}

impl Kind {
    pub(crate) fn asks(self) -> Option<Ask> {
        match self {
            Kind::Change(span) => {
                let step_ms = (span / CHANGE_POINTS).max(1);
                let (span_ms, coarsest_ms) = (span.saturating_add(step_ms), span / 4);
                Some(Ask { span_ms, step_ms, first: true, coarsest_ms })
            }
            Kind::Forecast(ahead) => Some(Ask {
                // Sixteen times what counts half.
                span_ms: ahead.saturating_mul(2),
                step_ms: (ahead / 8 / HALF_LIFE_STEPS).max(1),
                first: false,
                coarsest_ms: ahead / 16,
            }),
            Kind::Past => Some(Ask {
                span_ms: WEEKS_MAX * WEEK_HOURS * HOUR_MS,
                step_ms: HOUR_MS,
                first: false,
                coarsest_ms: 2 * HOUR_MS,
            }),
            // Where all are is known within seconds.
            Kind::Peers => None,
        }
    }
}

/// What an expression's functions have seen of one service.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Memory {
    /// Of `change`: the first value of each sixtieth of its time, and when that began;
    /// oldest first.
    Change(VecDeque<(TimeMs, f64)>),
    /// Of `forecast`.
    Forecast(Trend),
    /// Of `peers`.
    Peers(Peers),
    /// Of `past`.
    Past(Past),
}

/// A straight line through the past.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Trend {
    first_ms: TimeMs,
    last_ms: TimeMs,
    weight: f64,
    /// Means, weighed: of the time (s, against `last_ms`), of the value, …
    time: f64,
    value: f64,
    /// … and of the products of their deviations.
    tt: f64,
    tv: f64,
}

impl Trend {
    fn push(&mut self, time_ms: TimeMs, value: f64, ahead_ms: i64) {
        if self.weight == 0.0 {
            *self = Trend { first_ms: time_ms, last_ms: time_ms, weight: 1.0, value, ..*self };
            return;
        }
        let dt_s = time_ms.saturating_sub(self.last_ms) as f64 / 1000.0;
        if dt_s <= 0.0 {
            return;
        }
        let half_s = (ahead_ms as f64 / 1000.0 / 8.0).max(1.0);
        let keep = 0.5f64.powf(dt_s / half_s);
        // Time is against the newest point, which moves on; a point weighs as much as the
        // time for which it stands.
        self.time -= dt_s;
        let (old, new) = (self.weight * keep, dt_s);
        let total = old + new;
        let (dt, dv) = (-self.time, value - self.value);
        self.tt = (self.tt * old + dt * dt * old * new / total) / total;
        self.tv = (self.tv * old + dt * dv * old * new / total) / total;
        self.time += dt * new / total;
        self.value += dv * new / total;
        self.weight = total;
        self.last_ms = time_ms;
    }

    fn ahead(&self, now: f64, ahead_ms: i64) -> Option<f64> {
        let seen = self.last_ms.saturating_sub(self.first_ms);
        let enough = seen >= ahead_ms / FORECAST_PART && self.tt > 0.0;
        enough.then(|| now + self.tv / self.tt * (ahead_ms as f64 / 1000.0))
    }
}

/// A value among its peers'.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Peers {
    pub(crate) time_ms: TimeMs,
    pub(crate) value: f64,
    /// Where all are, as of late; what is kept has none.
    #[serde(skip)]
    pub(crate) middle: Option<Middle>,
}

/// Where values lie.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Middle {
    median: f64,
    deviation: f64,
}

impl Middle {
    /// `None`: there are too few.
    pub(crate) fn of(all: Vec<f64>) -> Option<Middle> {
        if all.len() < PEERS_MIN {
            return None;
        }
        let middle = median(all.clone());
        let off = median(all.iter().map(|v| (v - middle).abs()).collect());
        Some(Middle { median: middle, deviation: deviation(off, middle) })
    }
}

/// The hours of former weeks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Past {
    /// By the hour of the week: weeks seen, mean, mean deviation.
    hours: BTreeMap<i64, (u32, f64, f64)>,
    /// The hour that is: its number since 1970, values and their sum.
    hour: i64,
    n: u32,
    sum: f64,
}

impl Past {
    fn see(&mut self, time_ms: TimeMs, value: f64, weight: u64) -> Option<f64> {
        let hour = time_ms.div_euclid(HOUR_MS);
        if hour != self.hour {
            self.close();
            (self.hour, self.n, self.sum) = (hour, 0, 0.0);
        }
        self.n = self.n.saturating_add(u32::try_from(weight).unwrap_or(u32::MAX));
        self.sum += value * weight as f64;
        let (weeks, mean, off) = self.hours.get(&hour.rem_euclid(WEEK_HOURS))?;
        (*weeks >= WEEKS_MIN).then(|| (value - mean) / deviation(*off, *mean))
    }

    /// Adds the hour that is over to its week's.
    fn close(&mut self) {
        if self.n == 0 {
            return;
        }
        let value = self.sum / f64::from(self.n);
        let known = self.hours.entry(self.hour.rem_euclid(WEEK_HOURS)).or_insert((0, value, 0.0));
        let (weeks, mean, off) = *known;
        let weight = WEEK_WEIGHT.max(1.0 / f64::from(weeks + 1));
        let off = off + ((value - mean).abs() - off) * weight;
        *known = (weeks + 1, mean + (value - mean) * weight, off);
    }
}

/// What counts as one deviation.
fn deviation(off: f64, middle: f64) -> f64 {
    off.max(middle.abs() * DEVIATION_PART).max(f64::MIN_POSITIVE)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    let n = values.len();
    if n % 2 == 1 { values[n / 2] } else { (values[n / 2 - 1] + values[n / 2]) / 2.0 }
}

impl Memory {
    pub(crate) fn new(kind: &Kind) -> Memory {
        match kind {
            Kind::Change(_) => Memory::Change(VecDeque::new()),
            Kind::Forecast(_) => Memory::Forecast(Trend::default()),
            Kind::Peers => Memory::Peers(Peers::default()),
            Kind::Past => Memory::Past(Past::default()),
        }
    }

    /// Takes in a value that stands for so many samples (`weight`, from 1 on), and says
    /// what the function gives.
    pub(crate) fn see(
        &mut self,
        kind: Kind,
        time_ms: TimeMs,
        value: f64,
        weight: u64,
    ) -> Option<f64> {
        match (self, kind) {
            (Memory::Change(points), Kind::Change(span)) => {
                // Steps of the clock, not from the first point on: whoever begins
                // when, all have the same points.
                let step = (span / CHANGE_POINTS).max(1);
                let start = time_ms.div_euclid(step).saturating_mul(step);
                if points.back().is_none_or(|last| last.0 < start) {
                    points.push_back((start, value));
                }
                let then = time_ms.saturating_sub(span);
                while points.get(1).is_some_and(|p| p.0 <= then) {
                    points.pop_front();
                }
                points.front().filter(|p| p.0 <= then).map(|p| value - p.1)
            }
            (Memory::Forecast(trend), Kind::Forecast(ahead)) => {
                trend.push(time_ms, value, ahead);
                trend.ahead(value, ahead)
            }
            (Memory::Peers(peers), Kind::Peers) => {
                (peers.time_ms, peers.value) = (time_ms, value);
                peers.middle.map(|m| (value - m.median) / m.deviation)
            }
            (Memory::Past(past), Kind::Past) => past.see(time_ms, value, weight),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_among_its_peers() {
        let of = |all: &[f64]| Middle::of(all.to_vec()).map(|m| (m.median, m.deviation));
        assert_eq!(of(&[10.0, 50.0, 11.0]), None, "three have no middle");
        assert_eq!(of(&[10.0, 50.0, 12.0, 11.0, 9.0]), Some((11.0, 1.0)));
        assert_eq!(of(&[10.0; 9]), Some((10.0, 0.5)));
    }

    #[test]
    fn an_hour_is_compared_with_its_own_of_former_weeks() {
        let mut memory = Memory::new(&Kind::Past);
        let mut see = |week: i64, hour: i64, value: f64| {
            memory.see(Kind::Past, (week * WEEK_HOURS + hour) * HOUR_MS, value, 1)
        };
        // Busy by day and calm by night, a little more or less each week.
        let usual = |week: i64, hour: i64| {
            let base = if hour % 24 < 8 { 10.0 } else { 100.0 };
            base + (week % 2) as f64 * base * 0.2
        };
        for week in 0..4 {
            for hour in 0..WEEK_HOURS {
                let found = see(week, hour, usual(week, hour));
                assert_eq!(found.is_some(), week >= 2, "{week} {hour}");
                assert!(found.is_none_or(|v| v.abs() < 3.0), "{week} {hour} {found:?}");
            }
        }
        assert!(see(4, 3, 100.0).expect("known") > 40.0, "a busy night");
        assert!(see(4, 12, 100.0).expect("known").abs() < 3.0, "a busy day");
        assert!(see(4, 13, 10.0).expect("known") < -5.0, "a calm day");
    }
}
