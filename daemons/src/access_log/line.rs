//! One line of an access log.
//!
//! `[VHOST[:PORT]] HOST IDENT USER [TIME] "REQUEST" STATUS BYTES …` (Apache's
//! `common`, `combined`, `vhost_combined` and what is made of them; nginx's
//! `combined`), or an object of JSON with names that are known ([`super::json`]).
//! Quotes inside are escaped with a backslash by all. What stands behind the
//! bytes is another thing in each format: [`super::clock`] finds the time in it.

use std::borrow::Cow;

/// What a line tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request<'a> {
    /// The virtual host, without its port.
    pub vhost: Option<Cow<'a, [u8]>>,
    /// The path without what follows `?`.
    pub path: Cow<'a, [u8]>,
    /// The HTTP status.
    pub status: u16,
    /// Bytes sent.
    pub bytes: u64,
    /// How long it took.
    pub time: Time<'a>,
}

/// Where the response time is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Time<'a> {
    /// Somewhere in what stands behind the bytes.
    Behind(&'a [u8]),
    /// The line names it, us; `None`: it has none.
    Named(Option<u64>),
}

/// `None`: it is no such line.
pub fn parse(line: &[u8]) -> Option<Request<'_>> {
    // A vhost may begin with a bracket: [::1]:443.
    let at = line.windows(2).position(|w| w == b" [")?;
    let (head, rest) = (&line[..at], &line[at + 1..]);
    let end = rest.windows(3).position(|w| w == b"] \"")?;
    let rest = &rest[end + 3..];
    let end = quote(rest)?;
    let (request, rest) = (&rest[..end], &rest[end + 1..]);
    let (status, rest) = word(rest)?;
    let status = if status.len() == 3 { number(status)? as u16 } else { return None };
    let (bytes, rest) = word(rest)?;
    let bytes = if bytes == b"-" { 0 } else { number(bytes)? };
    let path = request.split(|b| *b == b' ').nth(1).unwrap_or(request);
    let vhost = vhost(head)?.map(|v| Cow::Borrowed(without_port(v)));
    let path = Cow::Borrowed(without_query(path));
    Some(Request { vhost, path, status, bytes, time: Time::Behind(rest) })
}

/// The virtual host of `[VHOST] HOST IDENT USER`; `None`: there is not even a
/// host. A user's name may hold blanks: IDENT, mostly `-`, tells which is which.
fn vhost(head: &[u8]) -> Option<Option<&[u8]>> {
    let mut words = head.split(|b| *b == b' ').filter(|w| !w.is_empty());
    let (first, second) = (words.next()?, words.next());
    let (third, n_more) = (words.next(), words.count());
    let is_dash = |word: Option<&[u8]>| word == Some(b"-");
    let has_vhost = match n_more {
        0 => false,
        1 => !is_dash(second) || is_dash(third) && first.contains(&b':'),
        _ => !is_dash(second) && is_dash(third),
    };
    Some(Some(first).filter(|v| has_vhost && *v != b"-"))
}

/// A path without what follows `?`.
pub fn without_query(path: &[u8]) -> &[u8] {
    path.split(|b| *b == b'?').next().unwrap_or(path)
}

/// A host without its port.
pub fn without_port(vhost: &[u8]) -> &[u8] {
    match vhost.iter().rposition(|b| *b == b':') {
        Some(at) if number(&vhost[at + 1..]).is_some() => &vhost[..at],
        _ => vhost,
    }
}

/// The next word, and what follows it.
fn word(text: &[u8]) -> Option<(&[u8], &[u8])> {
    let from = text.iter().position(|b| *b != b' ')?;
    let text = &text[from..];
    let end = text.iter().position(|b| *b == b' ').unwrap_or(text.len());
    Some((&text[..end], &text[end..]))
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

/// A whole number of at most 18 digits.
pub fn number(word: &[u8]) -> Option<u64> {
    if word.is_empty() || word.len() > 18 {
        return None;
    }
    word.iter().try_fold(0u64, |n, b| {
        let digit = b.wrapping_sub(b'0');
        (digit <= 9).then(|| n * 10 + u64::from(digit))
    })
}

/// The columns behind the bytes: words, and texts in quotes or brackets (without
/// them), which count as one.
pub fn columns(mut rest: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let from = rest.iter().position(|b| *b != b' ')?;
        rest = &rest[from..];
        let inside = &rest[1..];
        let end = match rest[0] {
            b'"' => quote(inside),
            b'[' => inside.iter().position(|b| *b == b']'),
            _ => {
                let (column, after) = word(rest)?;
                rest = after;
                return Some(column);
            }
        };
        // Left open: it goes to the end.
        let end = end.unwrap_or(inside.len());
        rest = inside.get(end + 1..).unwrap_or_default();
        Some(&inside[..end])
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(text: &str) -> Option<Request<'_>> {
        parse(text.as_bytes())
    }

    #[test]
    fn the_usual_formats_are_read() {
        let common = "10.0.0.1 - frank [10/Oct/2000:13:55:36 -0700] \"GET /a?b HTTP/1.0\" 200 2326";
        let request = read(common).expect("reads");
        let path = Cow::Borrowed(&b"/a"[..]);
        let time = Time::Behind(b"");
        assert_eq!(request, Request { vhost: None, path, status: 200, bytes: 2326, time });
        let combined =
            format!("{common} \"http://x/\" \"Mozilla/5.0 (a \\\"b\\\") 7\" 12 [x y] 0.5");
        let Some(Request { time: Time::Behind(rest), .. }) = read(&combined) else { panic!() };
        let all: Vec<&[u8]> = columns(rest).collect();
        assert_eq!(all, [&b"http://x/"[..], b"Mozilla/5.0 (a \\\"b\\\") 7", b"12", b"x y", b"0.5"]);
        let odd = "::1 - - [x] \"\\x16\\x03\" 400 - \"-\" \"-\"";
        let request = read(odd).expect("reads");
        assert_eq!((request.status, request.bytes, &*request.path), (400, 0, &b"\\x16\\x03"[..]));
    }

    #[test]
    fn a_vhost_is_told_from_a_user_with_blanks() {
        for (head, want) in [
            ("10.0.0.1 - -", None),
            ("10.0.0.1 - Frank Furter", None),
            ("10.0.0.1 - Frank N Furter", None),
            ("shop.example:443 10.0.0.1 - -", Some("shop.example")),
            ("shop.example 10.0.0.1 - Frank Furter", Some("shop.example")),
            ("shop.example 10.0.0.1 ident frank", Some("shop.example")),
            ("[2001:db8::1]:443 10.0.0.1 - -", Some("[2001:db8::1]")),
            ("- 10.0.0.1 - -", None),
        ] {
            let line = format!("{head} [x] \"GET / HTTP/1.1\" 200 5");
            let request = read(&line).expect(head);
            assert_eq!(request.vhost.as_deref(), want.map(str::as_bytes), "{head}");
        }
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
    }

    proptest! {
        #[test]
        fn lines_never_panic(bytes: Vec<u8>, tail in "[ \"\\\\\\[\\]0-9.-]{0,30}") {
            let _ = parse(&bytes);
            let line = format!("1 - - [x] \"GET / HTTP\" 200 5{tail}");
            if let Some(Request { time: Time::Behind(rest), .. }) = parse(line.as_bytes()) {
                prop_assert!(columns(rest).count() <= rest.len());
            }
        }
    }
}
