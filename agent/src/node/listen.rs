//! Where Munin's protocol is served: one address, or several.

use rustix::net::sockopt::set_ipv6_v6only;
use serde::{Deserialize, Deserializer};
use std::fmt;
use std::net::SocketAddr;
use tokio::net::{TcpListener, TcpSocket};

/// Connections that wait to be accepted.
const BACKLOG: u32 = 256;

/// agent.toml's `listen`: `"ADDRESS:PORT"`, a list of them, or `"none"`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Listen(Vec<String>);

impl Listen {
    /// The addresses; none: it is off. The error names the entry.
    pub fn addrs(&self) -> Result<Vec<SocketAddr>, String> {
        let wanted = self.0.iter().filter(|l| !matches!(l.as_str(), "none" | ""));
        wanted
            .map(|text| {
                text.parse().map_err(|_| {
                    format!(
                        "listen = {text:?}: write ADDRESS:PORT such as 127.0.0.1:4949 or \
                         [::]:4949, a list of them, or none"
                    )
                })
            })
            .collect()
    }
}

impl From<&str> for Listen {
    fn from(text: &str) -> Listen {
        Listen(vec![text.to_owned()])
    }
}

impl From<String> for Listen {
    fn from(text: String) -> Listen {
        Listen(vec![text])
    }
}

impl From<Vec<String>> for Listen {
    fn from(list: Vec<String>) -> Listen {
        Listen(list)
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.addrs() {
            Ok(addrs) if addrs.is_empty() => f.write_str("(off)"),
            _ => f.write_str(&self.0.join(", ")),
        }
    }
}

impl<'de> Deserialize<'de> for Listen {
    fn deserialize<D: Deserializer<'de>>(de: D) -> Result<Listen, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged, expecting = "\"ADDRESS:PORT\", a list of them, or \"none\"")]
        enum Form {
            One(String),
            List(Vec<String>),
        }
        Ok(Listen(match Form::deserialize(de)? {
            Form::One(text) => vec![text],
            Form::List(list) => list,
        }))
    }
}

/// Binds all of them; the error is one line that says what to do.
pub fn bind(addrs: &[SocketAddr]) -> Result<Vec<TcpListener>, String> {
    // Alone, `[::]` takes IPv4 too; beside `0.0.0.0` it must not.
    let v6_only = addrs.len() > 1;
    addrs
        .iter()
        .map(|addr| {
            bind_one(*addr, v6_only).map_err(|e| match e.kind() {
                std::io::ErrorKind::AddrInUse => format!(
                    "listen {addr}: the port is taken (by munin-node or another agent?); \
                     stop that, or set `listen` (rookery up: --node-listen) to another address \
                     or to \"none\""
                ),
                _ => format!(
                    "listen {addr}: {e}; set `listen` to an address of this host or to \"none\""
                ),
            })
        })
        .collect()
}

fn bind_one(addr: SocketAddr, v6_only: bool) -> std::io::Result<TcpListener> {
    let socket = match addr {
        SocketAddr::V4(_) => TcpSocket::new_v4()?,
        SocketAddr::V6(_) => TcpSocket::new_v6()?,
    };
    if addr.is_ipv6() {
        set_ipv6_v6only(&socket, v6_only)?;
    }
    socket.set_reuseaddr(true)?;
    socket.bind(addr)?;
    socket.listen(BACKLOG)
}
