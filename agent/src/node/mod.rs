//! Munin's node protocol on a port: banner, cap, list, nodes, config, fetch,
//! version, quit; as munin-node 2.0.73 speaks it on the wire.
//!
//! Who may ask is decided by address; a peer that may not gets EOF at once.
//! Bounded: connections, the length of a line, and how long one may be idle.

mod allow;
mod session;

pub use allow::AllowList;

use crate::plugin::{Context, Plugins};
use crate::sampler::Live;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};

/// The most connections at a time; more get EOF at once.
pub const CONNECTIONS_MAX: usize = 32;
/// The longest line that a client may send, bytes.
pub const LINE_BYTES_MAX: usize = 1024;
/// A client that is silent for this long is left.
pub const IDLE_MAX: Duration = Duration::from_secs(120);

/// What is served.
#[derive(Debug)]
pub struct Node {
    /// The node's name.
    pub name: String,
    /// Who may ask.
    pub allow: AllowList,
    /// The probes' services and newest values.
    pub live: Arc<Live>,
    /// The plugins.
    pub plugins: Arc<Plugins>,
    /// How plugins are run.
    pub context: Arc<Context>,
}

/// Binds; the error is one line that says what to do.
pub async fn bind(addr: SocketAddr) -> Result<TcpListener, String> {
    TcpListener::bind(addr).await.map_err(|e| match e.kind() {
        std::io::ErrorKind::AddrInUse => format!(
            "listen {addr}: the port is taken (by munin-node or another agent?); \
             stop that, or set `listen` (rookery up: --node-listen) to another address or to \
             \"none\""
        ),
        _ => format!("listen {addr}: {e}; set `listen` to an address of this host or to \"none\""),
    })
}

/// Serves until `shutdown`.
pub async fn serve(listener: TcpListener, node: Arc<Node>, mut shutdown: watch::Receiver<bool>) {
    let slots = Arc::new(Semaphore::new(CONNECTIONS_MAX));
    let mut sessions = tokio::task::JoinSet::new();
    while !*shutdown.borrow() {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            Some(_) = sessions.join_next() => continue,
            _ = shutdown.changed() => break,
        };
        let (socket, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "munin-node port: accept failed");
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        if !node.allow.allows(peer.ip()) {
            tracing::info!(%peer, "munin-node port: not in `allow`");
            continue;
        }
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(%peer, limit = CONNECTIONS_MAX, "munin-node port: too many connections");
            continue;
        };
        let node = Arc::clone(&node);
        sessions.spawn(async move {
            if let Err(error) = session::run(socket, &node).await {
                tracing::debug!(%peer, %error, "munin-node port: connection ended");
            }
            drop(slot);
        });
    }
}
