//! Who may write: whoever has the token, or sits at this host.
//!
//! A request from loopback counts only when nothing says that it was passed on
//! or comes from another site's page: a proxy in front adds headers, a browser
//! names the page's origin, and a name that was bent to loopback is no loopback
//! name in `Host`.

use axum::http::{HeaderMap, header};
use std::net::IpAddr;
use std::sync::Arc;

/// Where a request comes from; whoever serves adds it to the request.
#[derive(Clone, Copy, Debug)]
pub struct Peer(pub IpAddr);

/// Headers that a proxy adds.
const PASSED_ON: [&str; 4] = ["forwarded", "x-forwarded-for", "x-real-ip", "via"];

/// Knows the token.
#[derive(Clone)]
pub struct Access(Arc<str>);

impl Access {
    /// With the collector's token.
    pub fn new(token: &str) -> Access {
        Access(token.into())
    }

    /// Whether a request may write. `given` is a token that stands elsewhere
    /// than in `Authorization` (a form's field).
    pub fn allows(&self, headers: &HeaderMap, peer: Option<Peer>, given: Option<&str>) -> bool {
        let bearer = headers.get(header::AUTHORIZATION).and_then(|v| v.to_str().ok());
        let bearer = bearer.and_then(|v| v.strip_prefix("Bearer "));
        let has_token = [bearer, given].into_iter().flatten().any(|t| self.is_token(t.trim()));
        has_token || peer.is_some_and(|p| p.0.to_canonical().is_loopback() && is_own(headers))
    }

    fn is_token(&self, given: &str) -> bool {
        // Not cut short at the first difference: the time tells nothing.
        given.len() == self.0.len()
            && given.bytes().zip(self.0.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
    }
}

/// Neither passed on nor from another site's page.
fn is_own(headers: &HeaderMap) -> bool {
    let text = |name: &str| headers.get(name).map(|v| v.to_str().unwrap_or("?"));
    let Some(host) = text("host") else { return false };
    let site = text("sec-fetch-site");
    !PASSED_ON.iter().any(|name| headers.contains_key(*name))
        && is_loopback_name(host)
        && text("origin").is_none_or(|o| o.strip_prefix("http://") == Some(host))
        && site.is_none_or(|s| s == "same-origin" || s == "none")
}

/// `localhost:4950`, `127.0.0.1`, `[::1]:4950`.
fn is_loopback_name(host: &str) -> bool {
    let name = match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|b| b.is_ascii_digit()) => name,
        _ => host,
    };
    let bare = name.strip_prefix('[').and_then(|n| n.strip_suffix(']')).unwrap_or(name);
    name == "localhost" || bare.parse::<IpAddr>().is_ok_and(|ip| ip.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderName;

    fn allows(peer: &str, headers: &[(&str, &str)], given: Option<&str>) -> bool {
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            let name: HeaderName = name.parse().expect("a name");
            map.insert(name, value.parse().expect("a value"));
        }
        let peer = peer.parse().ok().map(Peer);
        Access::new("sesame").allows(&map, peer, given)
    }

    #[test]
    fn the_token_opens_from_anywhere() {
        assert!(allows("10.0.0.1", &[("authorization", "Bearer sesame")], None));
        assert!(allows("", &[], Some("sesame")));
        for wrong in ["Bearer sesamE", "Bearer ", "sesame", "Bearer sesame1"] {
            assert!(!allows("10.0.0.1", &[("authorization", wrong)], None), "{wrong}");
        }
        assert!(!allows("10.0.0.1", &[("host", "127.0.0.1")], Some("")));
    }

    #[test]
    fn loopback_opens_only_to_itself() {
        for host in ["127.0.0.1:4950", "localhost:4950", "[::1]:4950", "127.0.0.1"] {
            assert!(allows("127.0.0.1", &[("host", host)], None), "{host}");
            let origin = format!("http://{host}");
            let own = [("host", host), ("origin", &origin), ("sec-fetch-site", "same-origin")];
            assert!(allows("::ffff:127.0.0.1", &own, None), "{host}");
        }
        let host = ("host", "127.0.0.1:4950");
        for bad in [
            [host, ("origin", "http://evil.example")],
            [host, ("origin", "null")],
            [host, ("sec-fetch-site", "cross-site")],
            [host, ("x-forwarded-for", "10.0.0.1")],
            [host, ("forwarded", "for=10.0.0.1")],
            [("host", "evil.example:4950"), ("accept", "*/*")],
            [("host", "localhost.evil.example"), ("accept", "*/*")],
        ] {
            assert!(!allows("127.0.0.1", &bad, None), "{bad:?}");
        }
        assert!(!allows("127.0.0.1", &[], None), "no Host");
        assert!(!allows("10.0.0.1", &[host], None), "not from here");
    }
}
