//! Munin's node protocol on its ports, as munin-node 2.0.73 speaks it on the
//! wire; `docs/munin.md` names each difference.
//!
//! `session` reads a client's lines, `reply` answers them, `services` knows
//! what probes offer, `tls` and `allow` decide who gets in. A peer that may not
//! ask gets EOF at once. Bounded: connections, the length of a line, how long a
//! client may be silent.

mod allow;
mod listen;
mod reply;
mod services;
mod session;
mod tls;

pub use allow::Access;
pub use listen::{Listen, bind};
pub use tls::{Masters, acceptor};

use crate::hold::Hold;
use crate::plugin::{Context, Plugins};
use crate::sampler::Live;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// The most connections at a time; more get EOF at once.
pub const CONNECTIONS_MAX: usize = 256;
/// The longest line that a client may send, bytes.
pub const LINE_BYTES_MAX: usize = 1024;
/// A client that is silent for this long is left.
pub const IDLE_MAX: Duration = Duration::from_secs(120);
/// The longest TLS handshake.
pub const HANDSHAKE_MAX: Duration = Duration::from_secs(10);

/// What is served.
#[derive(Clone)]
pub struct Node {
    /// The node's name, without its group.
    pub name: String,
    /// Who may ask.
    pub access: Access,
    /// For `starttls`; `None`: there is no such command.
    pub tls: Option<TlsAcceptor>,
    /// Whether a client must begin with `starttls`.
    pub tls_required: bool,
    /// For `spoolfetch`; `None`: there is no such command.
    pub hold: Option<Arc<Hold>>,
    /// The probes' services and newest values.
    pub live: Arc<Live>,
    /// The plugins.
    pub plugins: Arc<Plugins>,
    /// How plugins are run.
    pub context: Arc<Context>,
}

/// Serves one port until `shutdown`; `slots` bounds the connections of all
/// ports together.
pub async fn serve(
    listener: TcpListener,
    node: Arc<Node>,
    slots: Arc<Semaphore>,
    mut shutdown: watch::Receiver<bool>,
) {
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
        if !node.access.allows(peer.ip()) {
            tracing::info!(%peer, "munin-node port: denied, see `allow` and `deny`");
            continue;
        }
        let Ok(slot) = Arc::clone(&slots).try_acquire_owned() else {
            tracing::warn!(%peer, limit = CONNECTIONS_MAX, "munin-node port: too many connections");
            continue;
        };
        let node = Arc::clone(&node);
        sessions.spawn(async move {
            if let Err(error) = session::run(socket, peer.ip(), &node).await {
                tracing::debug!(%peer, %error, "munin-node port: connection ended");
            }
            drop(slot);
        });
    }
}
