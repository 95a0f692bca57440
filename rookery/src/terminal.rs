//! What may be written to a terminal beside plain text.

use std::ffi::OsString;

/// Whether the environment allows colours: NO_COLOR (<https://no-color.org>) is not set
/// or empty, and the terminal takes escape sequences.
pub fn wants_colour() -> bool {
    allows_colour(|name| std::env::var_os(name))
}

/// Whether the terminal takes escape sequences: `TERM` is not `dumb`.
pub fn takes_escapes() -> bool {
    knows_escapes(|name| std::env::var_os(name))
}

fn allows_colour(env: impl Fn(&str) -> Option<OsString>) -> bool {
    env("NO_COLOR").is_none_or(|v| v.is_empty()) && knows_escapes(env)
}

fn knows_escapes(env: impl Fn(&str) -> Option<OsString>) -> bool {
    env("TERM").is_none_or(|t| t != "dumb")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colours_are_left_out_where_the_environment_asks_so() {
        let asked = |set: &[(&str, &str)]| {
            let env =
                |name: &str| set.iter().find(|(n, _)| *n == name).map(|(_, v)| OsString::from(v));
            (allows_colour(env), knows_escapes(env))
        };
        assert_eq!(asked(&[]), (true, true));
        assert_eq!(asked(&[("TERM", "xterm"), ("NO_COLOR", "")]), (true, true));
        assert_eq!(asked(&[("NO_COLOR", "1")]), (false, true));
        assert_eq!(asked(&[("NO_COLOR", "0")]), (false, true), "any value");
        assert_eq!(asked(&[("TERM", "dumb")]), (false, false));
    }
}
