//! HAProxy, by `show info` and `show stat` of its stats socket, or by the CSV of
//! its statistics page (management.txt, 9.1 and 9.3). The socket takes one
//! command per connection.

mod columns;
mod csv;
mod graphs;

use crate::support::http::Page;
use crate::support::{Address, Daemon, Link, Names, Odd, Place, Sheet, probe, settings};
use csv::Table;
use rookery_plugins::{Host, ProbeEntry, ProbeError};
use serde::Deserialize;
use std::io::ErrorKind;
use std::os::unix::net::UnixStream;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "haproxy",
    about: "queues, sessions, errors, servers, response times (/run/haproxy/admin.sock)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        if let Some(url) = &own.url {
            if own.address.is_some() {
                return Err("address and url: write one of them".to_owned());
            }
            let page = Page::new("haproxy", table, Some(url.as_str()), &[])?;
            return Ok(probe(Haproxy::new(From::Page(page))));
        }
        let usual = [
            "/run/haproxy/admin.sock",
            "/run/haproxy.sock",
            "/var/lib/haproxy/stats",
            "/run/haproxy/haproxy.sock",
        ];
        let place = Place::new("haproxy", table, own.address.as_deref(), &usual, 9999)?;
        Ok(probe(Haproxy::new(From::Socket(place))))
    },
};

const CATEGORY: &str = "haproxy";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
    url: Option<String>,
}

struct Haproxy {
    from: From,
    names: Names,
    odd: Odd,
}

enum From {
    Socket(Place),
    Page(Page),
}

impl Haproxy {
    fn new(from: From) -> Haproxy {
        Haproxy { from, names: Names::default(), odd: Odd::default() }
    }
}

impl Daemon for Haproxy {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        self.odd.begin();
        let place = match &self.from {
            From::Socket(place) => place,
            From::Page(page) => {
                let text = page.get()?;
                let at = &page.place.addresses[0];
                let said = |why| ProbeError::Failed(format!("haproxy at {at}: {why}"));
                let table = Table::parse(&text, &mut self.names, &mut self.odd).map_err(|why| {
                    said(format!("{why} The url of the table ends in ;csv (\"/stats;csv\")"))
                })?;
                graphs::write(&table, sheet);
                self.odd.write("haproxy", CATEGORY, sheet);
                return Ok(());
            }
        };
        let (link, info) = told(place, "show info\n")?;
        if !is_info(&info) {
            return Err(link.failed("it does not say \"Name: HAProxy\": is it its stats socket?"));
        }
        // The socket ends each reply in an empty line.
        if !info.ends_with("\n\n") {
            return Err(link.failed("its reply to \"show info\" is cut short"));
        }
        let (link, text) = told(place, "show stat\n")?;
        if !text.ends_with("\n\n") {
            return Err(link.failed("its table is cut short"));
        }
        let table =
            Table::parse(&text, &mut self.names, &mut self.odd).map_err(|why| link.failed(why))?;
        graphs::write_process(&info, sheet);
        graphs::write(&table, sheet);
        self.odd.write("haproxy", CATEGORY, sheet);
        Ok(())
    }
}

/// Whether it is the reply to `show info`, by whatever name the product goes:
/// HAProxy Enterprise is `hapee-lb`. That it is HAProxy, its table tells.
fn is_info(text: &str) -> bool {
    text.lines().any(|line| line.starts_with("Name: ") || line.starts_with("Version: "))
}

/// What it answers to a command.
fn told(place: &Place, command: &str) -> Result<(Link, String), ProbeError> {
    let mut link = match Link::open(place) {
        Ok(link) => link,
        Err(error) => return Err(refusal(place).unwrap_or(error)),
    };
    link.send(command.as_bytes())?;
    let reply = String::from_utf8_lossy(&link.read_all()?).into_owned();
    if reply.starts_with("Unknown command") || reply.starts_with("Permission denied") {
        return Err(link.failed(format!(
            "it refuses {:?}; its configuration needs \"stats socket {} level operator\"",
            command.trim_end(),
            link.address
        )));
    }
    Ok((link, reply))
}

/// A socket that is there and may not be opened: told wherever it is, as it
/// has to be allowed once.
fn refusal(place: &Place) -> Option<ProbeError> {
    place.addresses.iter().find_map(|address| {
        let Address::Unix(path) = address else { return None };
        let kind = UnixStream::connect(path).err()?.kind();
        (kind == ErrorKind::PermissionDenied).then(|| {
            ProbeError::Failed(format!(
                "haproxy at {address}: permission denied: add the agent's user to the socket's \
                 group (usermod -aG haproxy rookery, and restart the agent), and give the group \
                 the right to it: \"stats socket {address} mode 660 level operator\" in \
                 haproxy.cfg"
            ))
        })
    })
}

#[cfg(test)]
mod tests;
