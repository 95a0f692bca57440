//! The one place that reads the wall clock and the host's name.

use rookery_plugins::TimeMs;
use std::time::{SystemTime, UNIX_EPOCH};

/// Now, UTC, in microseconds since 1970.
pub fn now_us() -> i64 {
    match SystemTime::now().duration_since(UNIX_EPOCH) {
        Ok(d) => i64::try_from(d.as_micros()).unwrap_or(i64::MAX),
        Err(e) => -i64::try_from(e.duration().as_micros()).unwrap_or(i64::MAX),
    }
}

/// Now, UTC, in milliseconds since 1970.
pub fn now_ms() -> TimeMs {
    now_us().div_euclid(1000)
}

/// The kernel's node name; `localhost` if it is not UTF-8 or empty.
pub fn hostname() -> String {
    let uname = rustix::system::uname();
    match uname.nodename().to_str() {
        Ok(name) if !name.is_empty() => name.to_owned(),
        _ => "localhost".to_owned(),
    }
}
