//! How many nodes of a group must have a problem for it to be told.

use serde::de::{self, Deserialize, Deserializer, Visitor};
use serde::{Serialize, Serializer};
use std::fmt;
use std::str::FromStr;

/// So many nodes, or such a share of those of the group: `3` or `"20%"`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Quorum {
    /// At least so many nodes, 1 or more.
    Nodes(u32),
    /// At least such a share, above 0 and up to 100.
    Percent(f64),
}

impl Quorum {
    /// Whether so many of so many are enough.
    pub fn is_reached(self, n_bad: usize, n_all: usize) -> bool {
        n_bad > 0
            && match self {
                Quorum::Nodes(n) => n_bad >= n as usize,
                Quorum::Percent(p) => n_bad as f64 * 100.0 >= p * n_all as f64,
            }
    }
}

impl FromStr for Quorum {
    type Err = String;

    fn from_str(text: &str) -> Result<Quorum, String> {
        let wrong = || format!("quorum {text:?}: write a number of nodes (3) or a share (\"20%\")");
        match text.trim().strip_suffix('%') {
            Some(share) => {
                let share: f64 = share.trim().parse().map_err(|_| wrong())?;
                let is_share = share > 0.0 && share <= 100.0;
                is_share.then_some(Quorum::Percent(share)).ok_or_else(wrong)
            }
            None => {
                let n: u32 = text.trim().parse().map_err(|_| wrong())?;
                (n > 0).then_some(Quorum::Nodes(n)).ok_or_else(wrong)
            }
        }
    }
}

impl fmt::Display for Quorum {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Quorum::Nodes(n) => write!(f, "{n}"),
            Quorum::Percent(p) => write!(f, "{p}%"),
        }
    }
}

impl Serialize for Quorum {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Quorum {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Quorum, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Quorum;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a number of nodes, or a share such as \"20%\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Quorum, E> {
                text.parse().map_err(E::custom)
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Quorum, E> {
                self.visit_str(&v.to_string())
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Quorum, E> {
                self.visit_str(&v.to_string())
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_and_numbers() {
        let q = |text: &str| text.parse::<Quorum>();
        for (text, n_bad, n_all, want) in [
            ("20%", 9, 50, false),
            ("20%", 10, 50, true),
            ("20%", 0, 50, false),
            ("33.4%", 1, 3, false),
            ("3", 2, 3, false),
            ("3", 3, 1000, true),
            ("100%", 3, 3, true),
            ("100%", 0, 0, false),
        ] {
            let quorum = q(text).expect(text);
            assert_eq!(quorum.is_reached(n_bad, n_all), want, "{text} {n_bad}/{n_all}");
            assert_eq!(q(&quorum.to_string()), Ok(quorum));
        }
        for bad in ["0", "0%", "101%", "-1", "x", "", "%", "NaN%", "1.5"] {
            assert!(q(bad).is_err(), "{bad}");
        }
    }
}
