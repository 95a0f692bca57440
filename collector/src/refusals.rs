//! What was left out of what nodes sent, so that somebody sees it: a sample whose time
//! cannot be right, a name beyond a limit.
//!
//! The doors note it here; `/metrics` counts it, the log names it at most once an hour a
//! node, and `/problems` shows it until it has not happened for a while.

use rookery_plugins::TimeMs;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

/// What has not happened again for so long is over, ms.
const OVER_MS: TimeMs = 900_000;
/// A node's refusals of one kind are logged at most this often, ms.
const LOG_EVERY_MS: TimeMs = 3_600_000;
/// The most (node, kind) pairs that are remembered; more are only counted.
const REMEMBERED_MAX: usize = 1000;

/// Why something was left out.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Why {
    /// Samples whose time cannot be right.
    Times,
    /// New names beyond a limit.
    Names,
}

impl Why {
    fn text(self) -> &'static str {
        match self {
            Why::Times => "times of samples",
            Why::Names => "new names",
        }
    }
}

/// What is left out of one node's samples at the moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// What it is about: `intake of NODE: times of samples`.
    pub what: String,
    /// Since when, ms.
    pub since_ms: TimeMs,
    /// How many, and an example.
    pub text: String,
}

#[derive(Debug)]
struct Noted {
    since_ms: TimeMs,
    last_ms: TimeMs,
    logged_ms: TimeMs,
    n: u64,
    example: String,
}

/// What was left out lately, by node and kind.
#[derive(Debug, Default)]
pub struct Refusals(Mutex<BTreeMap<(String, Why), Noted>>);

impl Refusals {
    /// Notes that `n` things of a node were left out, for which `example` gives the reason.
    pub fn note(&self, node: &str, why: Why, n: u64, example: &str, now_ms: TimeMs) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let key = (node.to_owned(), why);
        if all.len() >= REMEMBERED_MAX && !all.contains_key(&key) {
            all.retain(|_, noted| now_ms.saturating_sub(noted.last_ms) < OVER_MS);
            if all.len() >= REMEMBERED_MAX {
                return;
            }
        }
        let noted = all.entry(key).or_insert_with(|| Noted {
            since_ms: now_ms,
            last_ms: now_ms,
            logged_ms: TimeMs::MIN,
            n: 0,
            example: String::new(),
        });
        if now_ms.saturating_sub(noted.last_ms) >= OVER_MS {
            (noted.since_ms, noted.n) = (now_ms, 0);
        }
        noted.last_ms = now_ms;
        noted.n = noted.n.saturating_add(n);
        example.clone_into(&mut noted.example);
        if now_ms.saturating_sub(noted.logged_ms) >= LOG_EVERY_MS {
            noted.logged_ms = now_ms;
            tracing::warn!(node, n, "left out ({}): {example}", why.text());
        }
    }

    /// What is left out at the moment.
    pub fn now(&self, now_ms: TimeMs) -> Vec<Refusal> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let lately = all.iter().filter(|(_, n)| now_ms.saturating_sub(n.last_ms) < OVER_MS);
        lately
            .map(|((node, why), noted)| Refusal {
                what: format!("intake of {node}: {}", why.text()),
                since_ms: noted.since_ms,
                text: format!("{} left out; {}", noted.n, noted.example),
            })
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_left_out_is_shown_until_it_is_over() {
        let refusals = Refusals::default();
        refusals.note("a", Why::Times, 2, "too early", 1000);
        refusals.note("a", Why::Times, 3, "too late", 2000);
        let shown = refusals.now(3000);
        assert_eq!(shown.len(), 1);
        assert_eq!(shown[0].what, "intake of a: times of samples");
        assert_eq!((shown[0].since_ms, shown[0].text.as_str()), (1000, "5 left out; too late"));
        assert_eq!(refusals.now(2000 + OVER_MS), []);
        refusals.note("a", Why::Times, 1, "too late", 2000 + OVER_MS);
        assert_eq!(refusals.now(2000 + OVER_MS)[0].text, "1 left out; too late");
    }

    #[test]
    fn forged_node_names_do_not_grow_it() {
        let refusals = Refusals::default();
        for i in 0..2 * REMEMBERED_MAX {
            refusals.note(&format!("n{i}"), Why::Names, 1, "x", 0);
        }
        assert_eq!(refusals.now(0).len(), REMEMBERED_MAX);
        refusals.note("later", Why::Names, 1, "x", OVER_MS);
        assert_eq!(refusals.now(OVER_MS).len(), 1, "what is over makes room");
    }
}
