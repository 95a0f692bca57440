//! One line of an access log.
//!
//! `[VHOST[:PORT]] HOST IDENT USER [TIME] "REQUEST" STATUS BYTES ["REFERER" "AGENT"]
//! [RESPONSE TIME]` (Apache's `common`, `combined`, `vhost_combined`; nginx's
//! `combined`). Quotes inside are escaped with a backslash by both.

/// What a response time's number is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unit {
    /// With a point, seconds (nginx's `$request_time`); without one,
    /// microseconds (Apache's `%D`).
    Auto,
    /// Microseconds.
    Us,
    /// Milliseconds.
    Ms,
    /// Seconds.
    S,
    /// There is none.
    None,
}

impl Unit {
    /// `time` of `[probe.access_log]`.
    pub fn read(text: &str) -> Result<Unit, String> {
        Ok(match text {
            "auto" => Unit::Auto,
            "us" => Unit::Us,
            "ms" => Unit::Ms,
            "s" => Unit::S,
            "none" => Unit::None,
            _ => return Err(format!("time = {text:?}: write auto, us, ms, s or none")),
        })
    }
}

/// What a line tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The virtual host, without its port.
    pub vhost: Option<&'a [u8]>,
    /// The path without what follows `?`.
    pub path: &'a [u8],
    /// The HTTP status.
    pub status: u16,
    /// Bytes sent.
    pub bytes: u64,
    /// How long it took, us.
    pub time_us: Option<u64>,
}

/// `None`: it is no such line.
pub fn parse(line: &[u8], unit: Unit) -> Option<Request<'_>> {
    let at = line.iter().position(|b| *b == b'[')?;
    let (head, rest) = (&line[..at], &line[at..]);
    let mut words = head.split(|b| *b == b' ').filter(|w| !w.is_empty());
    // A user's name may hold blanks, but not a vhost's.
    let first = words.next()?;
    let vhost = (words.count() == 3).then_some(first).filter(|v| *v != b"-").map(without_port);
    let end = rest.windows(3).position(|w| w == b"] \"")?;
    let rest = &rest[end + 3..];
    let end = quote(rest)?;
    let (request, rest) = (&rest[..end], &rest[end + 1..]);
    let mut words = rest.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let status = words.next()?;
    let status = if status.len() == 3 { number(status)? as u16 } else { return None };
    let bytes = words.next()?;
    let bytes = if bytes == b"-" { 0 } else { number(bytes)? };
    let path = request.split(|b| *b == b' ').nth(1).unwrap_or(request);
    let path = path.split(|b| *b == b'?').next().unwrap_or(path);
    let time_us = if unit == Unit::None { None } else { time_us(rest, unit) };
    Some(Request { vhost, path, status, bytes, time_us })
}

fn without_port(vhost: &[u8]) -> &[u8] {
    match vhost.iter().rposition(|b| *b == b':') {
        Some(at) if number(&vhost[at + 1..]).is_some() => &vhost[..at],
        _ => vhost,
    }
}

/// Where a quoted text ends.
fn quote(text: &[u8]) -> Option<usize> {
    let mut escaped = false;
    text.iter().position(|b| {
        let ends = *b == b'"' && !escaped;
        escaped = *b == b'\\' && !escaped;
        ends
    })
}

fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 18 {
        return None;
    }
    word.iter().try_fold(0u64, |n, b| {
        let digit = b.wrapping_sub(b'0');
        (digit <= 9).then(|| n * 10 + u64::from(digit))
    })
}

/// The first number behind status, bytes and quoted texts.
fn time_us(rest: &[u8], unit: Unit) -> Option<u64> {
    // Of `STATUS BYTES …`, two words are no time.
    let mut rest = rest;
    let mut n = 0;
    while !rest.is_empty() {
        if let Some(quoted) = rest.strip_prefix(b"\"") {
            rest = &quoted[quote(quoted)? + 1..];
            continue;
        }
        let end = rest.iter().position(|b| *b == b' ').unwrap_or(rest.len());
        let word = &rest[..end];
        rest = rest.get(end + 1..).unwrap_or_default();
        if word.is_empty() {
            continue;
        }
        n += 1;
        if n > 2
            && let Some(time) = span_us(word, unit)
        {
            return Some(time);
        }
    }
    None
}

fn span_us(word: &[u8], unit: Unit) -> Option<u64> {
    let point = word.iter().position(|b| *b == b'.');
    let factor = match (unit, point) {
        (Unit::Us, _) | (Unit::Auto, None) => 1,
        (Unit::Ms, _) => 1_000,
        (Unit::S, _) | (Unit::Auto, Some(_)) => 1_000_000,
        (Unit::None, _) => return None,
    };
    let (whole, fraction) = match point {
        None => (word, &b""[..]),
        Some(at) => (&word[..at], &word[at + 1..]),
    };
    let whole = number(whole)?.checked_mul(factor)?;
    if fraction.is_empty() {
        return Some(whole);
    }
    let digits = &fraction[..fraction.len().min(6)];
    number(fraction)?;
    Some(whole + number(digits)? * factor / 10u64.pow(digits.len() as u32))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<Request<'_>> {
        parse(text.as_bytes(), Unit::Auto)
    }

    #[test]
    fn the_usual_formats_are_read() {
        let common = "10.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /a?b HTTP/1.0\" 200 2326";
        let request = read(common).expect("reads");
        let want = Request { vhost: None, path: b"/a", status: 200, bytes: 2326, time_us: None };
        assert_eq!(request, want);
        let combined = format!("{common} \"http://x/\" \"Mozilla/5.0 (a \\\"b\\\") 7\"");
        assert_eq!(read(&combined), Some(want));
        for (time, us) in
            [("1500", 1_500), ("0.004", 4_000), ("12.5", 12_500_000), ("\"-\" 3.000001", 3_000_001)]
        {
            let timed = format!("{combined} {time}");
            assert_eq!(read(&timed), Some(Request { time_us: Some(us), ..want }), "{time}");
        }
        let vhost = format!("shop.example:443 {common}");
        assert_eq!(read(&vhost), Some(Request { vhost: Some(b"shop.example"), ..want }));
        let odd = "::1 - - [x] \"\\x16\\x03\" 400 - \"-\" \"-\"";
        let request = read(odd).expect("reads");
        assert_eq!((request.status, request.bytes, request.path), (400, 0, &b"\\x16\\x03"[..]));
    }

    #[test]
    fn what_is_none_is_none() {
        for text in [
            "",
            "noise",
            "{\"status\":200}",
            "1 - - [x] \"GET /",
            "1 - - [x] \"GET /\" abc 5",
            "1 - - [x] \"GET /\" 20 5",
            "1 - - [x] \"GET /\" 200",
        ] {
            assert_eq!(read(text), None, "{text}");
        }
        let line = b"1 - - [x] \"GET /\" 200 5 \"-\" \"-\" 7";
        assert_eq!(parse(line, Unit::None).and_then(|r| r.time_us), None);
        assert_eq!(parse(line, Unit::Ms).and_then(|r| r.time_us), Some(7_000));
    }

    proptest! {
        #[test]
        fn lines_never_panic(bytes: Vec<u8>, tail in "[ \"\\\\0-9.-]{0,30}") {
            let _ = parse(&bytes, Unit::Auto);
            for unit in [Unit::Auto, Unit::Us, Unit::Ms, Unit::S] {
                let _ = parse(format!("1 - - [x] \"GET / HTTP\" 200 5{tail}").as_bytes(), unit);
            }
        }
    }
}
