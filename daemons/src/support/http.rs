//! GET over plain HTTP/1.0, for status pages on this host or its network.
//!
//! HTTP/1.0, so that the reply is neither chunked nor kept open; RFC 9112 says
//! that servers answer it.

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
        Ok(Page { place, paths })
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
    let mut link = Link::open(place)?;
    let host = match &link.address {
        Address::Tcp(text) => text.clone(),
        Address::Unix(_) => "localhost".to_owned(),
    };
    let version = env!("CARGO_PKG_VERSION");
    link.send(
        format!(
            "GET {path} HTTP/1.0\r\nHost: {host}\r\nUser-Agent: rookery-agent/{version}\r\n\
             Accept: text/plain, */*\r\nConnection: close\r\n\r\n"
        )
        .as_bytes(),
    )?;
    let reply = link.read_all()?;
    let said = |why: String| match place.given {
        true => link.failed(why),
        false => ProbeError::NotHere(format!("{} at {}: {why}", place.daemon, link.address)),
    };
    let (status, length, body) = parse(&reply).ok_or_else(|| said("no HTTP".to_owned()))?;
    if status != 200 {
        return Err(said(format!("{path} is answered with HTTP {status}; 200 is needed")));
    }
    if length.is_some_and(|n| n > body.len()) {
        return Err(link.failed(format!("{path}: the reply is cut short")));
    }
    Ok(String::from_utf8_lossy(body).into_owned())
}

/// Status, Content-Length and body.
fn parse(reply: &[u8]) -> Option<(u16, Option<usize>, &[u8])> {
    let end = reply.windows(4).position(|w| w == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&reply[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let first = lines.next()?.strip_prefix("HTTP/1.")?;
    let status = first.split(' ').nth(1)?.parse().ok()?;
    let length = lines.find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    Some((status, length, &reply[end + 4..]))
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
            assert!(question[..n].starts_with(b"GET /x?auto HTTP/1.0\r\nHost: 127.0.0.1:"));
            s.write_all(reply).expect("writes");
        });
        get(&place(&at), "/x?auto")
    }

    #[test]
    fn a_page_is_read_whole_or_not_at_all() {
        let body = answered(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").expect("a body");
        assert_eq!(body, "ok");
        for (reply, want) in [
            (&b"HTTP/1.1 403 Forbidden\r\n\r\nno"[..], "answered with HTTP 403"),
            (b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nok", "cut short"),
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

    proptest! {
        #[test]
        fn replies_never_panic(reply: Vec<u8>) {
            let _ = parse(&reply);
        }
    }
}
