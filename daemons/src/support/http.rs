//! GET over plain HTTP/1.1, for status pages on this host or its network.
//!
//! Not 1.0: its replies may end with the connection alone, and then nobody knows
//! whether that was all. (HAProxy 2.2 sends chunks to those who ask by 1.0, too.)

use super::{Address, Link, Place};
use rookery_plugins::ProbeError;
use rookery_plugins::probe::ProbeConfig;

/// A page of a daemon.
#[derive(Clone, Debug)]
pub struct Page {
    /// Where the daemon is.
    pub place: Place,
    /// Paths (`/server-status?auto`), as many as addresses.
    paths: Vec<String>,
    /// Which of them was the right one last.
    found: usize,
}

impl Page {
    /// The `url` of `[probe.NAME]`, or without one the `usual` ones.
    pub fn new(
        daemon: &'static str,
        table: &ProbeConfig,
        url: Option<&str>,
        usual: &[&str],
    ) -> Result<Page, String> {
        let texts = url.as_ref().map_or(usual, std::slice::from_ref);
        let (mut addresses, mut paths) = (vec![], vec![]);
        for text in texts {
            let (address, path) = split(text)?;
            addresses.push(address);
            paths.push(path);
        }
        let timeout = super::place::timeout(table)?;
        let place = Place { daemon, addresses, given: url.is_some(), timeout };
        Ok(Page { place, paths, found: 0 })
    }

    /// What `read` makes of the page, and where it was. Tries the usual places
    /// one after the other, the one of last time first: another program's page
    /// at a usual place, of which `read` makes nothing, is passed over. `remedy`
    /// is what somebody must do who is answered but has no such page.
    pub fn find<T>(
        &mut self,
        remedy: &str,
        read: impl Fn(&str) -> Option<T>,
    ) -> Result<(T, Address), ProbeError> {
        // Someone who answers tells more than that nobody does.
        let (mut answered, mut silent) = (None, None);
        let others = (0..self.paths.len()).filter(|i| *i != self.found);
        for i in std::iter::once(self.found).chain(others).collect::<Vec<_>>() {
            let address = self.place.addresses[i].clone();
            let place = Place { addresses: vec![address.clone()], ..self.place.clone() };
            let path = &self.paths[i];
            let why = match fetch(&place, path) {
                Err(e) => {
                    silent = silent.or(Some(e));
                    continue;
                }
                Ok((200, body)) => match read(&body) {
                    Some(found) => {
                        self.found = i;
                        return Ok((found, address));
                    }
                    None => format!("{path} is not its status page, or not all of it"),
                },
                Ok((status, _)) => format!("{path} is answered with HTTP {status}"),
            };
            let text = format!("{} at {address}: {why}; {remedy}", place.daemon);
            answered = answered.or(Some(match place.given {
                true => ProbeError::Failed(text),
                false => ProbeError::NotHere(text),
            }));
        }
        let none = || ProbeError::NotHere(format!("{}: no URL", self.place.daemon));
        Err(answered.or(silent).unwrap_or_else(none))
    }

    /// The body of the page. Tries the usual places one after the other; a
    /// place that answers with another status than 200 is passed over if it was
    /// not asked for.
    pub fn get(&self) -> Result<String, ProbeError> {
        let mut why = None;
        for (i, path) in self.paths.iter().enumerate() {
            let place =
                Place { addresses: vec![self.place.addresses[i].clone()], ..self.place.clone() };
            match get(&place, path) {
                Ok(body) => return Ok(body),
                Err(e) => why = why.or(Some(e)),
            }
        }
        Err(why.unwrap_or_else(|| ProbeError::NotHere(format!("{}: no URL", self.place.daemon))))
    }
}

/// `http://HOST[:PORT]/PATH`.
fn split(url: &str) -> Result<(Address, String), String> {
    let wrong = || format!("url = {url:?}: write http://HOST:PORT/PATH");
    let rest = url.strip_prefix("http://").ok_or_else(wrong)?;
    let (host, path) = match rest.split_once('/') {
        Some((host, path)) => (host, format!("/{path}")),
        None => (rest, "/".to_owned()),
    };
    if path.contains(|c: char| c.is_whitespace() || c.is_control()) || host.starts_with("unix:") {
        return Err(wrong());
    }
    Ok((Address::parse(host, 80).map_err(|_| wrong())?, path))
}

/// GET; the body of a reply of status 200.
pub fn get(place: &Place, path: &str) -> Result<String, ProbeError> {
    let (status, body) = fetch(place, path)?;
    if status == 200 {
        return Ok(body);
    }
    let at = place.addresses.first().map(|a| format!(" at {a}")).unwrap_or_default();
    let text =
        format!("{}{at}: {path} is answered with HTTP {status}; 200 is needed", place.daemon);
    Err(match place.given {
        true => ProbeError::Failed(text),
        false => ProbeError::NotHere(text),
    })
}

/// GET; the status, and the whole body.
fn fetch(place: &Place, path: &str) -> Result<(u16, String), ProbeError> {
    let mut link = Link::open(place)?;
    let host = match &link.address {
        Address::Tcp(text) => text.clone(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let version = env!("CARGO_PKG_VERSION");
    link.send(
        format!(
            "GET {path} HTTP/1.1\r\nHost: {host}\r\nUser-Agent: rookery-agent/{version}\r\n\
             Accept: text/plain, */*\r\nConnection: close\r\n\r\n"
        )
        .as_bytes(),
    )?;
    let reply = link.read_all()?;
    let Some((status, body)) = parse(&reply) else {
        return Err(match place.given {
            true => link.failed("no HTTP"),
            false => ProbeError::NotHere(format!("{} at {}: no HTTP", place.daemon, link.address)),
        });
    };
    match body {
        Some(body) => Ok((status, String::from_utf8_lossy(&body).into_owned())),
        None if status == 200 => Err(link.failed(format!("{path}: the reply is cut short"))),
        None => Ok((status, String::new())),
    }
}

/// Status and body; no body: it is not whole. RFC 9112, 6 and 7.1.
pub fn parse(reply: &[u8]) -> Option<(u16, Option<Vec<u8>>)> {
    let end = reply.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&reply[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let first = lines.next()?.strip_prefix("HTTP/1.")?;
    let status = first.split(' ').nth(1)?.parse().ok()?;
    let header = |wanted: &str| {
        lines.clone().find_map(|line| {
            let (name, value) = line.split_once(':')?;
            name.eq_ignore_ascii_case(wanted).then(|| value.trim())
        })
    };
    let body = &reply[end + 4..];
    let whole = match (header("transfer-encoding"), header("content-length")) {
        (Some(kind), _) if kind.eq_ignore_ascii_case("chunked") => unchunked(body),
        (_, Some(length)) => length.parse().ok().and_then(|n: usize| body.get(..n)).map(Vec::from),
        _ => Some(body.to_vec()),
    };
    Some((status, whole))
}

/// What stands in the chunks; `None`: the last one is missing.
fn unchunked(mut rest: &[u8]) -> Option<Vec<u8>> {
    let mut body = vec![];
    loop {
        let end = rest.windows(2).position(|w| w == b"\r\n")?;
        let head = std::str::from_utf8(&rest[..end]).ok()?;
        let size = head.split(';').next()?.trim();
        let size = usize::from_str_radix(size, 16).ok()?;
        rest = &rest[end + 2..];
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(rest.get(..size)?);
        rest = rest.get(size..)?.strip_prefix(b"\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{place, serve};
    use proptest::prelude::*;
    use std::io::{Read, Write};

    fn answered(reply: &'static [u8]) -> Result<String, ProbeError> {
        let at = serve(move |mut s| {
            let mut question = [0; 512];
            let n = s.read(&mut question).expect("reads");
            assert!(question[..n].starts_with(b"GET /x?auto HTTP/1.1\r\nHost: 127.0.0.1:"));
            s.write_all(reply).expect("writes");
        });
        get(&place(&at), "/x?auto")
    }

    #[test]
    fn a_page_is_read_whole_or_not_at_all() {
        let body = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").expect("a body");
        assert_eq!(body, "ok");
        let chunks = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\no\r\n\
                       001;x=y\r\nk\r\n0\r\n\r\n";
        assert_eq!(answered(chunks).expect("a body"), "ok");
        for (reply, want) in [
            (&b"HTTP/1.1 403 Forbidden\r\n\r\nno"[..], "answered with HTTP 403"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "cut short"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n", "cut short"),
            (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nok\r\n", "cut short"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\nok", "cut short"),
            (b"220 mail.example ESMTP\r\n", "no HTTP"),
            (b"", "no HTTP"),
        ] {
            let error = answered(reply).expect_err("refused").to_string();
            assert!(error.contains(want), "{error}");
        }
    }

    #[test]
    fn urls_are_read() {
        let (address, path) = split("http://127.0.0.1:81/a/b?c").expect("a URL");
        assert_eq!((address.to_string().as_str(), path.as_str()), ("127.0.0.1:81", "/a/b?c"));
        let (address, path) = split("http://web1").expect("a URL");
        assert_eq!((address.to_string().as_str(), path.as_str()), ("web1:80", "/"));
        for url in ["https://x/", "x", "http://", "http://x/a b", "http://x/\r\nEvil: 1"] {
            assert!(split(url).is_err(), "{url}");
        }
    }

    #[test]
    fn the_usual_place_that_has_the_page_is_found_and_kept() {
        let answers = |reply: &'static [u8]| {
            serve(move |mut s| {
                let _ = s.read(&mut [0; 512]);
                let _ = s.write_all(reply);
            })
        };
        let none = answers(b"HTTP/1.1 404 Not Found\r\n\r\n");
        let other = answers(b"HTTP/1.1 200 OK\r\n\r\nwelcome");
        let right = answers(b"HTTP/1.1 200 OK\r\n\r\nstatus 5");
        let urls = [none, other, right].map(|at| format!("http://{at}/x"));
        let read = |body: &str| body.strip_prefix("status ")?.parse::<u64>().ok();
        let page = |urls: &[&str]| Page::new("test", &ProbeConfig::new(), None, urls);
        let mut all = page(&["http://127.0.0.1:1/", &urls[0], &urls[1], &urls[2]]).expect("URLs");
        for _ in 0..2 {
            let (number, address) = all.find("do this", read).expect("there");
            assert_eq!((number, all.found), (5, 3));
            assert!(urls[2].contains(&address.to_string()));
        }
        let mut none = page(&["http://127.0.0.1:1/", &urls[0]]).expect("URLs");
        let error = none.find("do this", read).expect_err("not there");
        assert!(matches!(error, ProbeError::NotHere(_)));
        assert!(error.to_string().ends_with("/x is answered with HTTP 404; do this"), "{error}");
        let mut given = Page::new("test", &ProbeConfig::new(), Some(&urls[1]), &[]).expect("a URL");
        let error = given.find("do this", read).expect_err("another's");
        assert!(matches!(error, ProbeError::Failed(_)));
        assert!(error.to_string().contains("/x is not its status page"), "{error}");
    }

    proptest! {
        #[test]
        fn replies_never_panic(reply: Vec<u8>) {
            let _ = parse(&reply);
        }
    }
}
