//! TOML configuration with errors that name the file, the line and the remedy.

use serde::de::DeserializeOwned;
use std::fmt::Write;

/// Reads `text` as a `T` that denies unknown keys. The error is one line:
/// `agent.toml:12: unknown key "intervall"; did you mean "interval"?`.
pub fn from_toml<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, String> {
    toml::from_str(text).map_err(|e| {
        let at = e.span().map_or(0, |span| span.start);
        format!("{file}:{}: {}", line_of(text, at), explain(e.message()))
    })
}

/// Whether a file of this name in a folder of configuration or plugins is not meant:
/// hidden ones (Emacs' locks, macOS' `._x`), and what editors and packages leave behind;
/// among them what Debian's munin-node.conf names as `ignore_file`.
pub fn is_left_out(name: &str) -> bool {
    const ENDINGS: [&str; 12] = [
        "~", "#", "%", "DEADJOE", ".bak", ".orig", ".swp", ".tmp", ".rpmsave", ".rpmnew",
        ".rpmorig", ".pod",
    ];
    // `.dpkg-old`, `.dpkg-dist`, `.ucf-new` …
    let of_package = |mark: &str| {
        name.rsplit_once(mark).is_some_and(|(_, end)| end.bytes().all(|b| b.is_ascii_lowercase()))
    };
    name.starts_with(['.', '#'])
        || ENDINGS.iter().any(|end| name.ends_with(end))
        || of_package(".dpkg-")
        || of_package(".ucf-")
}

/// The number, from 1, of the line that holds byte `at`.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.as_bytes().iter().take(at).filter(|b| **b == b'\n').count()
}

/// serde's ``unknown field `x`, expected one of `a`, `b` `` in our words.
fn explain(message: &str) -> String {
    let message = message.trim().replace('\n', "; ");
    let Some(rest) = message.strip_prefix("unknown field `") else {
        return message;
    };
    let Some(bad) = rest.split('`').next() else {
        return message;
    };
    let known: Vec<&str> = rest.split('`').skip(2).step_by(2).collect();
    let mut text = format!("unknown key {bad:?}");
    match nearest(bad, &known) {
        Some(near) => {
            let _ = write!(text, "; did you mean {near:?}?");
        }
        None => {
            let _ = write!(text, "; known keys are {}", known.join(", "));
        }
    }
    text
}

/// The known word that a slip of the fingers would turn into `bad`.
pub fn nearest<'a>(bad: &str, known: &[&'a str]) -> Option<&'a str> {
    let limit = (bad.len() / 3).max(1);
    known.iter().map(|k| (distance(bad, k), *k)).filter(|(d, _)| *d <= limit).min().map(|(_, k)| k)
}

/// Edits that make one of the other, in bytes; two neighbours swapped are one
/// (optimal string alignment).
fn distance(a: &str, b: &str) -> usize {
    let (a, b) = (a.as_bytes(), b.as_bytes());
    let mut before: Vec<usize> = Vec::new();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for i in 0..a.len() {
        let mut next = vec![i + 1];
        for j in 0..b.len() {
            let substituted = row[j] + usize::from(a[i] != b[j]);
            let mut least = substituted.min(row[j + 1] + 1).min(next[j] + 1);
            if i > 0 && j > 0 && a[i] == b[j - 1] && a[i - 1] == b[j] {
                least = least.min(before[j - 1] + 1);
            }
            next.push(least);
        }
        before = std::mem::replace(&mut row, next);
    }
    row[b.len()]
}

/// A span of time in configuration and on the command line: `500ms`, `10s`,
/// `5m`, `1h`, `7d`, `1w`, or a bare number of seconds. At least 1 ms.
pub fn parse_span_ms(text: &str) -> Result<u64, String> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let (number, unit) = text.split_at(digits);
    let factor = match unit.trim() {
        "ms" => 1.0,
        "" | "s" | "sec" => 1e3,
        "m" | "min" => 6e4,
        "h" => 3.6e6,
        "d" => 8.64e7,
        "w" => 6.048e8,
        _ => return Err(format!("{text:?} is no span of time: write 500ms, 10s, 5m, 1h, 7d")),
    };
    match number.parse::<f64>() {
        Ok(n) if n * factor >= 1.0 && n * factor < 1e15 => Ok((n * factor).round() as u64),
        _ => Err(format!("{text:?} is no span of time: write 500ms, 10s, 5m, 1h, 7d")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hidden_files_and_what_editors_and_packages_leave_are_passed_over() {
        for name in [
            ".#limits.toml",
            "._limits.toml",
            ".limits.toml.swp",
            "limits.toml~",
            "#limits.toml#",
            "limits.toml.dpkg-old",
            "limits.toml.dpkg-dist",
            "limits.toml.ucf-new",
            "limits.toml.rpmsave",
            "limits.toml.rpmnew",
            "limits.toml.bak",
            "limits.toml.orig",
        ] {
            assert!(is_left_out(name), "{name}");
        }
        for name in ["limits.toml", "a.dpkg-x.toml", "load", "if_eth0", "10-web.conf", "x.dpkg"] {
            assert!(!is_left_out(name), "{name}");
        }
    }
    use serde::Deserialize;

    #[test]
    fn slips_of_the_fingers_are_recognised() {
        let cases = [
            ("stpe", &["step", "spool"][..], Some("step")),
            ("smpt", &["smtp", "from"], Some("smtp")),
            ("intervall", &["interval"], Some("interval")),
            ("listen", &["listen"], Some("listen")),
            ("colour", &["listen"], None),
            ("x", &["y", "listen"], Some("y")),
            ("", &["listen"], None),
        ];
        for (bad, known, want) in cases {
            assert_eq!(nearest(bad, known), want, "{bad}");
        }
        assert_eq!(
            (distance("ab", "ba"), distance("", "abc"), distance("kitten", "sitting")),
            (1, 3, 3)
        );
    }

    #[derive(Debug, Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Sample {
        #[serde(default)]
        interval: u32,
        #[serde(default)]
        name: String,
    }

    #[test]
    fn a_slip_is_named_with_its_line_and_remedy() {
        let e = from_toml::<Sample>("agent.toml", "name = \"x\"\n\nintervall = 3\n");
        assert_eq!(
            e.expect_err("refused"),
            "agent.toml:3: unknown key \"intervall\"; did you mean \"interval\"?"
        );
        let e = from_toml::<Sample>("a.toml", "colour = 3\n").expect_err("refused");
        assert_eq!(e, "a.toml:1: unknown key \"colour\"; known keys are interval, name");
    }

    #[test]
    fn broken_toml_and_wrong_types_name_the_line() {
        let e = from_toml::<Sample>("a.toml", "name = \"x\"\ninterval = \"ten\"\n");
        assert!(e.expect_err("refused").starts_with("a.toml:2: invalid type"));
        let e = from_toml::<Sample>("a.toml", "name = \n").expect_err("refused");
        assert!(e.starts_with("a.toml:1: "), "{e}");
        let s = from_toml::<Sample>("a.toml", "").expect("an empty file works");
        assert_eq!((s.interval, s.name.as_str()), (0, ""));
    }

    #[test]
    fn spans() {
        for (text, ms) in [("10", 10_000), ("10s", 10_000), ("500ms", 500), ("5m", 300_000)] {
            assert_eq!(parse_span_ms(text), Ok(ms), "{text}");
        }
        for text in ["", "x", "10y", "-5s", "0", "1e99"] {
            assert!(parse_span_ms(text).is_err(), "{text}");
        }
    }
}
