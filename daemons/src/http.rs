//! A check of a page, by HTTP or HTTPS: whether it is answered as it should be,
//! how fast, and when its certificate expires. Redirections are not followed.

use crate::support::http::parse;
use crate::support::target::{Expiry, Found, Names, Wire, write, write_certificate};
use crate::support::{Address, Daemon, Sheet, probe, settings, timeout};
use rookery_plugins::{FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::ops::RangeInclusive;
use std::time::Duration;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "http",
    about: "pages by HTTP and HTTPS, their certificates ([[probe.http.check]])",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let page = own.url.as_deref().map(Page::parse).transpose()?;
        let expiry = Expiry::new(own.certificate_warning, own.certificate_critical, own.verify)?;
        let status = own.status.map_or(Ok(200..=399), |s| s.range())?;
        let (text, timeout) = (own.text.unwrap_or_default(), timeout(table)?);
        if own.address.is_some() && page.is_none() {
            return Err("address: of use with a url alone".to_owned());
        }
        // Where to connect to instead of the URL's own host: one of several servers.
        let address = match (&own.address, &page) {
            (Some(text), Some(page)) => match Address::parse(text, page.port)? {
                Address::Tcp(text) => Some(text),
                Address::Unix(_) => return Err(format!("address = {text:?}: write HOST:PORT")),
            },
            _ => None,
        };
        Ok(probe(Http { page, address, status, text, expiry, timeout }))
    },
};

const NAMES: Names = Names { root: "http", title: "HTTP" };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    url: Option<String>,
    address: Option<String>,
    status: Option<Status>,
    text: Option<String>,
    verify: Option<bool>,
    certificate_warning: Option<u32>,
    certificate_critical: Option<u32>,
}

/// `200` or `"200-399"`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Status {
    One(u16),
    Range(String),
}

impl Status {
    fn range(&self) -> Result<RangeInclusive<u16>, String> {
        let (from, to) = match self {
            Status::One(code) => (Some(*code), Some(*code)),
            Status::Range(text) => {
                let (from, to) = text.split_once('-').unwrap_or((text, text));
                (from.trim().parse().ok(), to.trim().parse().ok())
            }
        };
        match (from, to) {
            (Some(from), Some(to)) if 100 <= from && from <= to && to <= 599 => Ok(from..=to),
            _ => Err("status: write a code such as 200, or \"200-399\"".to_owned()),
        }
    }
}

struct Http {
    page: Option<Page>,
    address: Option<String>,
    status: RangeInclusive<u16>,
    text: String,
    expiry: Expiry,
    timeout: Duration,
}

/// A URL in parts.
#[derive(Debug, PartialEq)]
struct Page {
    url: String,
    tls: bool,
    /// As it stands in `Host:`.
    authority: String,
    host: String,
    port: u16,
    path: String,
}

impl Page {
    fn parse(url: &str) -> Result<Page, String> {
        let wrong = || format!("url = {url:?}: write https://HOST[:PORT]/PATH, or http://");
        let (tls, rest) = match (url.strip_prefix("https://"), url.strip_prefix("http://")) {
            (Some(rest), _) => (true, rest),
            (_, Some(rest)) => (false, rest),
            _ => return Err(wrong()),
        };
        let end = rest.find(['/', '?', '#']).unwrap_or(rest.len());
        let (authority, path) = rest.split_at(end);
        let path = path.split('#').next().unwrap_or("");
        let path = if path.starts_with('/') { path.to_owned() } else { format!("/{path}") };
        let bad = |c: char| c.is_whitespace() || c.is_control() || c == '@';
        let port = if tls { 443 } else { 80 };
        if authority.is_empty() || url.contains(|c: char| bad(c) && c != '@') {
            return Err(wrong());
        }
        if authority.contains(bad) || authority.starts_with("unix:") {
            return Err(wrong());
        }
        let Ok(Address::Tcp(address)) = Address::parse(authority, port) else {
            return Err(wrong());
        };
        let (host, port) = address.rsplit_once(':').ok_or_else(wrong)?;
        Ok(Page {
            url: url.to_owned(),
            tls,
            authority: authority.to_owned(),
            host: host.trim_matches(['[', ']']).to_owned(),
            port: port.parse().map_err(|_| wrong())?,
            path,
        })
    }

    fn address(&self) -> String {
        match self.host.contains(':') {
            true => format!("[{}]:{}", self.host, self.port),
            false => format!("{}:{}", self.host, self.port),
        }
    }
}

impl Daemon for Http {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let Some(page) = &self.page else {
            let why = "http: no checks; write [[probe.http.check]] with a url in agent.toml";
            return Err(ProbeError::NotHere(why.to_owned()));
        };
        let (mut found, mut code) = (Found::default(), None);
        found.down = self.look(page, &mut found, &mut code).err();
        write(&NAMES, &page.url, &found, page.tls, sheet);
        sheet
            .service("http_status", |n| {
                ServiceSpec::new(n, "HTTP status", "checks")
                    .vlabel("status code")
                    .args("-l 0 -u 600")
                    .unscaled()
                    .info(&format!(
                        "What {} is answered with: 2.. is well, 3.. another place, 4.. our \
                         mistake, 5.. theirs.",
                        page.url
                    ))
            })
            .field("status", code.map(u64::from), |n| {
                FieldSpec::gauge(n, "status").info("Unknown while there is no answer")
            });
        if page.tls {
            write_certificate(&NAMES, &page.url, &found, self.expiry, sheet);
        }
        Ok(())
    }
}

impl Http {
    fn look(&self, page: &Page, found: &mut Found, code: &mut Option<u16>) -> Result<(), String> {
        let address = self.address.clone().unwrap_or_else(|| page.address());
        let name = page.tls.then_some(&*page.host);
        let mut wire = Wire::open(&address, name, self.timeout, found)?;
        wire.send(
            format!(
                "GET {} HTTP/1.1\r\nHost: {}\r\nUser-Agent: rookery-agent/{}\r\nAccept: */*\r\n\
                 Connection: close\r\n\r\n",
                page.path,
                page.authority,
                env!("CARGO_PKG_VERSION")
            )
            .as_bytes(),
        )?;
        let reply = wire.read(|_| false)?;
        let (status, body) = parse(&reply).ok_or_else(|| match reply.is_empty() {
            true => "it hung up without an answer".to_owned(),
            false => "it does not speak HTTP".to_owned(),
        })?;
        *code = Some(status);
        found.response = Some(wire.started.elapsed().as_secs_f64());
        if !self.status.contains(&status) {
            return Err(format!("it answers with HTTP {status}"));
        }
        let Some(body) = body else { return Err("its answer breaks off".to_owned()) };
        let has = body.windows(self.text.len().max(1)).any(|w| w == self.text.as_bytes());
        match has || self.text.is_empty() {
            true => Ok(()),
            false => Err(format!("its page does not have {:?}", self.text)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_taken_apart() {
        let page = Page::parse("https://shop.example:8443/a/b?c#d").expect("a URL");
        assert_eq!((page.tls, &*page.authority, page.port), (true, "shop.example:8443", 8443));
        assert_eq!((&*page.address(), &*page.path), ("shop.example:8443", "/a/b?c"));
        let page = Page::parse("http://[::1]?x@y").expect("a URL");
        assert_eq!((&*page.address(), &*page.path, &*page.host), ("[::1]:80", "/?x@y", "::1"));
        for url in
            ["x", "ftp://x/", "https://", "http://a b/", "http://u:p@x/", "http://x/\r\nE: 1"]
        {
            assert!(Page::parse(url).is_err(), "{url}");
        }
    }

    #[test]
    fn statuses_are_ranges() {
        assert_eq!(Status::One(404).range(), Ok(404..=404));
        assert_eq!(Status::Range("200-299".to_owned()).range(), Ok(200..=299));
        for text in ["", "299-200", "2xx", "200-", "99", "600"] {
            assert!(Status::Range(text.to_owned()).range().is_err(), "{text}");
        }
    }
}
