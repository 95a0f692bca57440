//! A check of a TCP port, by TLS or in the clear: whether someone takes the
//! connection, what they say, and when their certificate expires.

use crate::support::target::{Expiry, Found, Names, Wire, write, write_certificate};
use crate::support::{Address, Daemon, Sheet, probe, settings, timeout};
use rookery_plugins::{Host, ProbeEntry, ProbeError};
use serde::Deserialize;
use std::time::Duration;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "tcp",
    about: "TCP ports, what they say, their certificates ([[probe.tcp.check]])",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let address = match &own.address {
            // 0: no port is usual.
            Some(text) => match Address::parse(text, 0)? {
                Address::Tcp(text) if !text.ends_with(":0") => Some(text),
                _ => return Err(format!("address = {text:?}: write HOST:PORT")),
            },
            None => None,
        };
        let expiry = Expiry::new(own.certificate_warning, own.certificate_critical, own.verify)?;
        let timeout = timeout(table)?;
        let tls = own.tls.unwrap_or(false);
        if own.server_name.is_some() && !tls {
            return Err("server_name: of use with tls = true alone".to_owned());
        }
        let (send, expect, name) = (own.send, own.expect, own.server_name);
        Ok(probe(Tcp { address, send, expect, tls, name, expiry, timeout }))
    },
};

const NAMES: Names = Names { root: "tcp", title: "TCP" };

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
    send: Option<String>,
    expect: Option<String>,
    tls: Option<bool>,
    server_name: Option<String>,
    verify: Option<bool>,
    certificate_warning: Option<u32>,
    certificate_critical: Option<u32>,
}

struct Tcp {
    address: Option<String>,
    send: Option<String>,
    expect: Option<String>,
    tls: bool,
    name: Option<String>,
    expiry: Expiry,
    timeout: Duration,
}

impl Daemon for Tcp {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let Some(address) = &self.address else {
            let why = "tcp: no checks; write [[probe.tcp.check]] with an address in agent.toml";
            return Err(ProbeError::NotHere(why.to_owned()));
        };
        let mut found = Found::default();
        found.down = self.look(address, &mut found).err();
        write(&NAMES, address, &found, self.tls, sheet);
        if self.tls {
            write_certificate(&NAMES, address, &found, self.expiry, sheet);
        }
        Ok(())
    }
}

impl Tcp {
    fn look(&self, address: &str, found: &mut Found) -> Result<(), String> {
        let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
        let name = self.name.as_deref().unwrap_or(host.trim_matches(['[', ']']));
        let mut wire = Wire::open(address, self.tls.then_some(name), self.timeout, found)?;
        if let Some(text) = &self.send {
            wire.send(text.as_bytes())?;
        }
        if let Some(want) = &self.expect {
            let has = |reply: &[u8]| reply.windows(want.len().max(1)).any(|w| w == want.as_bytes());
            let reply = wire.read(has)?;
            if !want.is_empty() && !has(&reply) {
                let said: String = String::from_utf8_lossy(&reply).chars().take(60).collect();
                return Err(format!("it says {said:?}, not {want:?}"));
            }
        }
        found.response = Some(wire.started.elapsed().as_secs_f64());
        Ok(())
    }
}
