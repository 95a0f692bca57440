//! Flapping, as Nagios finds it (Nagios Core documentation, "Detection and
//! Handling of State Flapping"): the last 21 states have 20 gaps between them; a
//! gap in which the state changed counts 0.75 when it is the oldest, 1.25 when it
//! is the newest, and evenly between; the sum in percent of 20.
//!
//! Only states that are OK or hard are looked at: what is soft tells nobody.

/// Gaps between the states that are remembered.
pub const GAPS: u32 = 20;
const WEIGHT_OLDEST: f64 = 0.75;
const WEIGHT_NEWEST: f64 = 1.25;

/// A service's latest states.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Flap {
    /// A bit for each gap, the newest lowest: the state changed.
    pub bits: u32,
    /// It flaps: nobody is told of single changes.
    pub active: bool,
}

/// What a state has made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Turn {
    Began,
    Ended,
}

impl Flap {
    /// The share of changes, percent: 0 to 100.
    pub fn percent(self) -> f64 {
        let weight = |age: u32| {
            let newness = f64::from(GAPS - 1 - age) / f64::from(GAPS - 1);
            WEIGHT_OLDEST + (WEIGHT_NEWEST - WEIGHT_OLDEST) * newness
        };
        let changed = (0..GAPS).filter(|age| self.bits >> age & 1 == 1);
        changed.map(weight).sum::<f64>() * 100.0 / f64::from(GAPS)
    }

    /// Takes in the next state. `high`: it flaps from so much on, percent; 0: it
    /// never does. `low`: it does until so little.
    pub fn push(&mut self, changed: bool, high: u32, low: u32) -> Option<Turn> {
        self.bits = (self.bits << 1 | u32::from(changed)) & ((1 << GAPS) - 1);
        let (percent, was) = (self.percent(), self.active);
        self.active = match was {
            false => high > 0 && percent >= f64::from(high),
            true => high > 0 && percent > f64::from(low),
        };
        match (was, self.active) {
            (false, true) => Some(Turn::Began),
            (true, false) => Some(Turn::Ended),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_scores_are_nagios() {
        let mut flap = Flap::default();
        // Measured of Nagios 4.4.6: changes at every state, from all OK.
        for want in [6.25, 12.37, 18.36, 24.21] {
            flap.push(true, 20, 5);
            assert!((flap.percent() - want).abs() < 0.01, "{} is not {want}", flap.percent());
        }
        assert!(flap.active);
        for _ in 0..GAPS {
            flap.push(true, 20, 5);
        }
        assert!((flap.percent() - 100.0).abs() < 1e-9);
    }

    #[test]
    fn it_begins_at_the_fourth_change_and_ends_after_nineteen_steady_states() {
        let mut flap = Flap::default();
        let turns: Vec<_> = (0..4).map(|_| flap.push(true, 20, 5)).collect();
        assert_eq!(turns, [None, None, None, Some(Turn::Began)]);
        let ended = (1..40).find(|_| flap.push(false, 20, 5) == Some(Turn::Ended));
        assert_eq!(ended, Some(19));
        let mut never = Flap::default();
        assert!((0..100).all(|_| never.push(true, 0, 0).is_none()));
    }
}
