//! What samplers hand to the shipper.

use crate::hold::Hold;
use rookery_plugins::{Cells, Layout, ServiceSpec, TimeMs};
use std::sync::Arc;
use tokio::sync::mpsc;

/// The most events that wait for the shipper. It only falls behind when the
/// disk hangs; then events are dropped, counted and logged.
pub const EVENTS_MAX: usize = 4096;

/// One row, read at one time.
#[derive(Clone, Debug)]
pub struct RowOut {
    /// The virtual node that it belongs to; `None`: the agent's own.
    pub node: Option<Arc<str>>,
    /// What its cells are.
    pub layout: Arc<Layout>,
    /// When they were read.
    pub time_ms: TimeMs,
    /// The values.
    pub cells: Arc<Cells>,
}

/// What a sampler says.
#[derive(Clone, Debug)]
pub enum Event {
    /// All services that this source offers from now on; none: it is gone.
    Services {
        /// `probes:10000`, `plugin:df`: whose services these are.
        source: String,
        /// The services, whole.
        specs: Vec<ServiceSpec>,
    },
    /// Values.
    Row(RowOut),
}

/// The samplers' end of the way to the shipper.
#[derive(Clone, Debug)]
pub struct Outlet {
    tx: mpsc::Sender<Event>,
    hold: Option<Arc<Hold>>,
}

impl Outlet {
    /// A way of [`EVENTS_MAX`] events.
    pub fn new() -> (Outlet, mpsc::Receiver<Event>) {
        let (tx, rx) = mpsc::channel(EVENTS_MAX);
        (Outlet { tx, hold: None }, rx)
    }

    /// The same, which lets `hold` see every event.
    #[must_use]
    pub fn held_by(mut self, hold: Option<Arc<Hold>>) -> Outlet {
        self.hold = hold;
        self
    }

    /// Hands over; never blocks. `false`: dropped, the shipper is far behind.
    pub fn send(&self, event: Event) -> bool {
        if let Some(hold) = &self.hold {
            hold.take(&event, crate::clock::now_ms());
        }
        match self.tx.try_send(event) {
            Ok(()) => true,
            Err(mpsc::error::TrySendError::Closed(_)) => true,
            Err(mpsc::error::TrySendError::Full(_)) => {
                tracing::error!(
                    limit = EVENTS_MAX,
                    "samples dropped: shipping is stuck; is the spool's disk answering?"
                );
                false
            }
        }
    }
}
