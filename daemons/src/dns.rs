//! A check of a name server: whether it answers a question (RFC 1035, over UDP),
//! with what it should, and how fast.

mod message;

use crate::support::target::{Found, Names, write};
use crate::support::{Address, Daemon, Sheet, probe, settings, timeout};
use message::{Answer, Kind};
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::io::ErrorKind;
use std::net::{SocketAddr, ToSocketAddrs, UdpSocket};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "dns",
    about: "answers of name servers ([[probe.dns.check]])",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let kind = Kind::parse(own.r#type.as_deref().unwrap_or("A"))?;
        if let Some(name) = &own.query {
            message::question(0, name, kind)?;
        }
        let server = match &own.server {
            None => None,
            Some(text) => match Address::parse(text, PORT) {
                Ok(Address::Tcp(text)) => Some(text),
                _ => return Err(format!("server = {text:?}: write HOST or HOST:PORT")),
            },
        };
        let timeout = timeout(table)?;
        Ok(probe(Dns { query: own.query, server, kind, expect: own.expect, timeout }))
    },
};

const NAMES: Names = Names { root: "dns", title: "DNS" };
const PORT: u16 = 53;
/// A packet may get lost: the question is asked so often.
const ATTEMPTS: u32 = 2;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    query: Option<String>,
    server: Option<String>,
    r#type: Option<String>,
    expect: Option<String>,
}

struct Dns {
    query: Option<String>,
    /// `HOST:PORT`; `None`: the first one that the host itself asks.
    server: Option<String>,
    kind: Kind,
    /// A value that has to be among the answers.
    expect: Option<String>,
    timeout: Duration,
}

impl Daemon for Dns {
    fn ask(&mut self, host: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let Some(query) = &self.query else {
            let why = "dns: no checks; write [[probe.dns.check]] with a query in agent.toml";
            return Err(ProbeError::NotHere(why.to_owned()));
        };
        let server = match &self.server {
            Some(server) => Ok(server.clone()),
            None => usual_server(host),
        };
        let mut found = Found::default();
        let answer = server.clone().and_then(|server| self.look(&server, query, &mut found));
        let answers = answer.as_ref().ok().map(|a| a.values.len() as u64);
        found.down = answer.and_then(|answer| self.judge(&answer)).err();
        let kind = self.kind.name();
        let target = format!("{} for {kind} of {query}", server.as_deref().unwrap_or("nobody"));
        write(&NAMES, &target, &found, false, sheet);
        sheet
            .service("dns_answers", |n| {
                ServiceSpec::new(n, "DNS answers", "checks")
                    .vlabel("records")
                    .args("-l 0")
                    .unscaled()
                    .info(&format!("How many records {target} gave, aliases left out."))
            })
            .field("answers", answers, |n| {
                FieldSpec::gauge(n, "records").draw(Draw::Area).info("Unknown without an answer")
            });
        Ok(())
    }
}

impl Dns {
    fn judge(&self, answer: &Answer) -> Result<(), String> {
        if answer.code != 0 {
            return Err(format!("it answers {}", message::code(answer.code)));
        }
        // Cut short: what is not here may be in the rest.
        if answer.is_cut && self.expect.is_some() {
            return Err("its answer is too long for a packet, so nobody looked".to_owned());
        }
        if answer.values.is_empty() && !answer.is_cut {
            return Err(format!("it has no {} of this name", self.kind.name()));
        }
        match &self.expect {
            Some(want) if !answer.values.iter().any(|v| v.eq_ignore_ascii_case(want)) => {
                let all: Vec<&str> = answer.values.iter().take(5).map(String::as_str).collect();
                Err(format!("it says {}, not {want}", all.join(", ")))
            }
            _ => Ok(()),
        }
    }

    fn look(&self, server: &str, query: &str, found: &mut Found) -> Result<Answer, String> {
        let to = server.to_socket_addrs().map_err(|e| format!("{server}: {e}"))?;
        let to = to.into_iter().next().ok_or_else(|| format!("{server}: no such host"))?;
        let from: SocketAddr = match to {
            SocketAddr::V4(_) => ([0, 0, 0, 0], 0).into(),
            SocketAddr::V6(_) => ([0u16; 8], 0).into(),
        };
        let started = Instant::now();
        let asked = || -> std::io::Result<UdpSocket> {
            let socket = UdpSocket::bind(from)?;
            socket.connect(to)?;
            Ok(socket)
        };
        let socket = asked().map_err(|e| e.to_string())?;
        let id = new_id();
        let question = message::question(id, query, self.kind)?;
        let mut packet = [0; 4096];
        for attempt in 1..=ATTEMPTS {
            socket.send(&question).map_err(|e| e.to_string())?;
            let deadline = started + self.timeout * attempt / ATTEMPTS;
            loop {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    break;
                }
                socket.set_read_timeout(Some(left)).map_err(|e| e.to_string())?;
                match socket.recv(&mut packet) {
                    // Another one's answer, or to a question of before.
                    Ok(n) => match message::answer(&packet[..n], &question, self.kind) {
                        Ok(Some(answer)) => {
                            found.response = Some(started.elapsed().as_secs_f64());
                            return Ok(answer);
                        }
                        Ok(None) => {}
                        Err(why) => return Err(why),
                    },
                    Err(e) if e.kind() == ErrorKind::ConnectionRefused => {
                        return Err("nobody listens there (refused)".to_owned());
                    }
                    Err(e) if e.kind() == ErrorKind::Interrupted => {}
                    Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                        break;
                    }
                    Err(e) => return Err(e.to_string()),
                }
            }
        }
        Err("it did not answer in time".to_owned())
    }
}

/// The first server of resolv.conf(5).
fn usual_server(host: &Host) -> Result<String, String> {
    const FILE: &str = "/etc/resolv.conf";
    if !host.is_live() {
        return Err("no server".to_owned());
    }
    let text = std::fs::read_to_string(FILE).map_err(|e| format!("{FILE}: {e}"))?;
    let server = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == "nameserver").then(|| words.next())?
    });
    let server = server.ok_or_else(|| format!("{FILE} names no server; write server"))?;
    match Address::parse(server, PORT) {
        Ok(Address::Tcp(text)) => Ok(text),
        _ => Err(format!("{FILE}: nameserver {server:?}")),
    }
}

/// A number that an answer has to repeat. The socket takes answers of the server
/// alone, and nothing is done with what they say: it need not be secret.
fn new_id() -> u16 {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    (now.subsec_nanos() >> 4) as u16
}
