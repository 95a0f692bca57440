//! The HTTP guard: who may be connected, for how long, and how slowly.
//!
//! axum's own accept loop has neither time-outs nor limits. This one serves each
//! connection by hyper's HTTP/1 and looks at all of them twice a second:
//!
//! - a head (request line and headers) must be there within [`Limits::head`], a
//!   connection without a request ends after [`Limits::idle`];
//! - a peer that takes or sends nothing for [`Limits::stall`] loses its connection,
//!   one that does so at less than [`Limits::rate`] a little later;
//! - connections that have shown credentials are bounded by file descriptors only.
//!   All others ("strangers") share [`Limits::strangers`], of one address
//!   [`Limits::per_address`]; beyond it the one that has been quiet for longest goes,
//!   so that who comes is always heard.
//!
//! Nothing here waits in a thread, and nobody is refused as long as somebody quieter
//! can go.

mod body;
mod crowd;
mod limits;
mod meter;

pub use limits::{Limits, raise_descriptors};

use axum::Router;
use axum::body::Body;
use axum::extract::ConnectInfo;
use axum::http::{HeaderMap, Request, Response};
use body::{Received, Sent};
use crowd::Crowd;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper_util::rt::TokioIo;
use meter::{Meter, Metered};
use rookery_collector::budget::Budget;
use std::convert::Infallible;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tower_service::Service;

/// How often all connections are looked at.
const LOOK: Duration = Duration::from_millis(500);
/// How long whoever is being answered may go on after a stop.
const GRACE: Duration = Duration::from_secs(2);
/// The pause after the system had no descriptor for a connection.
const BREATH: Duration = Duration::from_millis(50);
/// The longest head of a request, bytes.
const HEAD_BYTES_MAX: usize = 32 << 10;
/// The largest body of a request without credentials (`/login`), bytes.
const STRANGERS_BODY_MAX: usize = 64 << 10;

/// Whether a request's headers show credentials.
pub type Knows = Arc<dyn Fn(&HeaderMap) -> bool + Send + Sync>;

/// What serves, and for whom.
#[derive(Clone)]
pub struct Guard {
    router: Router,
    knows: Knows,
    crowd: Arc<Crowd>,
    budget: Option<Arc<Budget>>,
}

impl Guard {
    /// Serves `router`; `knows` tells whose requests show credentials.
    pub fn new(router: Router, knows: Knows, limits: Limits) -> Guard {
        Guard { router, knows, crowd: Arc::new(Crowd::new(limits)), budget: None }
    }

    /// What waits for slow readers counts in this budget; where it is short, they have
    /// less time.
    pub fn accounting(self, budget: Arc<Budget>) -> Guard {
        Guard { budget: Some(budget), ..self }
    }

    /// Accepts connections until `stop`, then gives those that are being answered two
    /// seconds.
    pub async fn serve(self, listener: TcpListener, stop: watch::Receiver<bool>) {
        let looking = tokio::spawn(look(self.crowd.clone(), self.budget.clone()));
        let mut until = stop.clone();
        let mut stopped = pin!(async move {
            // An error means that nobody can say stop any more: the same.
            let _ = until.wait_for(|s| *s).await;
        });
        loop {
            let accepted = tokio::select! {
                () = &mut stopped => break,
                accepted = listener.accept() => accepted,
            };
            match accepted {
                Ok((io, addr)) => self.begin(io, addr, &stop),
                Err(e) if is_of_one(&e) => {}
                Err(e) => {
                    self.crowd.make_room(&e);
                    tokio::time::sleep(BREATH).await;
                }
            }
        }
        drop(listener);
        let deadline = tokio::time::Instant::now() + GRACE;
        while self.crowd.len() > 0 && tokio::time::Instant::now() < deadline {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        self.crowd.end_all();
        looking.abort();
    }

    fn begin(&self, io: TcpStream, addr: SocketAddr, stop: &watch::Receiver<bool>) {
        // Small answers go at once instead of waiting for more to send.
        if let Err(e) = io.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY: {e}");
        }
        let Some(meter) = self.crowd.admit(addr.ip()) else { return };
        tokio::spawn(self.clone().connection(io, addr, meter, stop.clone()));
    }

    async fn connection(
        self,
        io: TcpStream,
        addr: SocketAddr,
        meter: Arc<Meter>,
        mut stop: watch::Receiver<bool>,
    ) {
        // However it ends, its place is free.
        let _place = crowd::Place::new(&self.crowd, &meter);
        let ended = meter.clone();
        let served = {
            let meter = meter.clone();
            hyper::service::service_fn(move |request| {
                self.clone().answer(request, addr, meter.clone())
            })
        };
        let io = TokioIo::new(Metered::new(io, meter));
        let mut http = http1::Builder::new();
        http.max_header_size(HEAD_BYTES_MAX).header_read_timeout(None);
        let mut connection = pin!(http.serve_connection(io, served));
        let mut is_stopping = *stop.borrow();
        if is_stopping {
            connection.as_mut().graceful_shutdown();
        }
        loop {
            tokio::select! {
                result = connection.as_mut() => {
                    if let Err(e) = result {
                        tracing::debug!(%addr, "connection: {e}");
                    }
                    return;
                }
                () = ended.ended() => return,
                // An error means that nobody can say stop any more: the same.
                _ = stop.wait_for(|s| *s), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
            }
        }
    }

    async fn answer(
        mut self,
        request: Request<Incoming>,
        addr: SocketAddr,
        meter: Arc<Meter>,
    ) -> Result<Response<Sent>, Infallible> {
        let is_known = (self.knows)(request.headers());
        if is_known {
            self.crowd.vouch(&meter);
        }
        meter.begin_request();
        let mut request = request.map(|body| {
            let body = Received::new(body, meter.clone());
            match is_known {
                true => Body::new(body),
                false => Body::new(http_body_util::Limited::new(body, STRANGERS_BODY_MAX)),
            }
        });
        request.extensions_mut().insert(ConnectInfo(addr));
        let response = self.router.call(request).await?;
        meter.begin_reply();
        Ok(response.map(|body| Sent::new(body, meter, self.budget)))
    }
}

/// Looks at all connections until it is dropped.
async fn look(crowd: Arc<Crowd>, budget: Option<Arc<Budget>>) {
    let mut often = tokio::time::interval(LOOK);
    often.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        often.tick().await;
        crowd.look(budget.as_ref().is_some_and(|b| b.is_short()));
    }
}

/// Whether the error is of the one connection, which has gone already.
fn is_of_one(e: &std::io::Error) -> bool {
    use std::io::ErrorKind::{ConnectionAborted, ConnectionRefused, ConnectionReset, Interrupted};
    matches!(e.kind(), ConnectionAborted | ConnectionRefused | ConnectionReset | Interrupted)
}

#[cfg(test)]
mod tests;
