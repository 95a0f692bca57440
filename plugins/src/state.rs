//! States, with Nagios' names, numbers and order of severity.

use serde::{Deserialize, Serialize};
use std::fmt;

/// A service's state; the number is the plugin's exit code.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum State {
    /// Exit code 0.
    #[default]
    Ok = 0,
    /// Exit code 1.
    Warning = 1,
    /// Exit code 2.
    Critical = 2,
    /// Exit code 3.
    Unknown = 3,
}

impl State {
    /// Nagios' exit code, 0 to 3.
    pub fn exit_code(self) -> u8 {
        self as u8
    }

    /// The state of an exit code; anything above 3 is UNKNOWN, as Nagios
    /// reads passive results.
    pub fn from_exit_code(code: i32) -> State {
        match code {
            0 => State::Ok,
            1 => State::Warning,
            2 => State::Critical,
            _ => State::Unknown,
        }
    }

    /// Order for "worst of": CRITICAL > WARNING > UNKNOWN > OK.
    pub fn severity(self) -> u8 {
        match self {
            State::Ok => 0,
            State::Unknown => 1,
            State::Warning => 2,
            State::Critical => 3,
        }
    }

    /// The worse of two.
    pub fn worst(self, other: State) -> State {
        if other.severity() > self.severity() { other } else { self }
    }

    /// The word as Nagios prints it.
    pub fn word(self) -> &'static str {
        match self {
            State::Ok => "OK",
            State::Warning => "WARNING",
            State::Critical => "CRITICAL",
            State::Unknown => "UNKNOWN",
        }
    }
}

impl fmt::Display for State {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())
    }
}

/// A node's state.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
#[repr(u8)]
pub enum HostState {
    /// Reporting.
    #[default]
    Up = 0,
    /// Silent, or known dead.
    Down = 1,
    /// Not to be judged: what it is reached through is down.
    Unreachable = 2,
}

impl fmt::Display for HostState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            HostState::Up => "UP",
            HostState::Down => "DOWN",
            HostState::Unreachable => "UNREACHABLE",
        })
    }
}
