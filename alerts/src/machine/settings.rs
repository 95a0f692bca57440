//! The machine's settings and their limits.

use serde::{Deserialize, Serialize};

/// How patient the machine is. Times are milliseconds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Settings {
    /// Evaluations in a row, not OK, until a state is hard and people are
    /// told. Rules can set it per service.
    pub max_check_attempts: u32,
    /// Unknown samples in a row until a field is UNKNOWN.
    pub unknown_limit: u32,
    /// Whether a problem that changes (from WARNING to CRITICAL, say) is told
    /// again, in the same thread. Without it one problem is one notice and one
    /// recovery.
    pub tell_changes: bool,
    /// The first message of a problem waits for so long, so that what shares its
    /// cause is told with it; 0: everything is told at once, and by itself.
    pub group_window_ms: u64,
    /// What shares the cause of an incident that is open, and no older than this,
    /// joins it.
    pub join_window_ms: u64,
    /// A service flaps, and its single changes are told no more, when so much of
    /// its latest 21 states are changes, weighed as Nagios does, percent; 0: none
    /// ever does.
    pub flap_high: u32,
    /// It does until so little are, percent.
    pub flap_low: u32,
    /// A node is DOWN when nothing arrived for this many of its fastest steps…
    pub down_after_steps: u32,
    /// …and for at least this long.
    pub down_after_ms: u64,
    /// No node is declared DOWN for this long after the start, so that agents
    /// can find the collector again.
    pub start_grace_ms: u64,
    /// A row is stale (moves states, tells nobody) when it is older than this
    /// many of its steps…
    pub stale_after_steps: u32,
    /// …and older than this.
    pub stale_after_ms: u64,
    /// A service with limits of which nothing came for so long, and for three of its
    /// steps, is UNKNOWN, while its node reports; 0: never.
    pub fresh_after_ms: u64,
    /// A row whose time is further ahead of now than this is not judged.
    pub future_ms: u64,
}

impl Default for Settings {
    fn default() -> Settings {
        Settings {
            max_check_attempts: 3,
            unknown_limit: 3,
            tell_changes: false,
            group_window_ms: 30_000,
            join_window_ms: 300_000,
            flap_high: 20,
            flap_low: 5,
            down_after_steps: 3,
            down_after_ms: 30_000,
            start_grace_ms: 60_000,
            stale_after_steps: 3,
            stale_after_ms: 30_000,
            fresh_after_ms: 600_000,
            future_ms: 300_000,
        }
    }
}
