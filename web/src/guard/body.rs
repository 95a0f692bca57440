//! Bodies of requests and answers, as the guard sees them pass.

use super::meter::Meter;
use axum::body::{Body, Bytes};
use hyper::body::{Frame, Incoming, SizeHint};
use rookery_collector::budget::Budget;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

/// A request's body on its way in.
pub(super) struct Received {
    body: Incoming,
    meter: Arc<Meter>,
}

impl Received {
    pub(super) fn new(body: Incoming, meter: Arc<Meter>) -> Received {
        Received { body, meter }
    }
}

impl hyper::body::Body for Received {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        let now = self.meter.now();
        match &polled {
            Poll::Pending => self.meter.input.waits(now),
            Poll::Ready(Some(Ok(frame))) => {
                let n = frame.data_ref().map_or(0, Bytes::len);
                self.meter.input.goes_on(now, n);
            }
            Poll::Ready(_) => self.meter.input.goes_on(now, 0),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Received {
    fn drop(&mut self) {
        // Whoever works on the request has all that it wants.
        self.meter.input.goes_on(self.meter.now(), 0);
    }
}

/// An answer's body on its way out: what waits for the peer counts as memory in use.
pub(super) struct Sent {
    body: Body,
    meter: Arc<Meter>,
    budget: Option<Arc<Budget>>,
}

impl Sent {
    pub(super) fn new(body: Body, meter: Arc<Meter>, budget: Option<Arc<Budget>>) -> Sent {
        Sent { body, meter, budget }
    }
}

impl hyper::body::Body for Sent {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let frame = ready!(Pin::new(&mut self.body).poll_frame(cx));
        if let (Some(Ok(frame)), Some(budget)) = (&frame, &self.budget) {
            // The one before is written, or nearly: hyper asks when it has room.
            let n = frame.data_ref().map_or(0, Bytes::len);
            self.meter.hold(Some(budget.hold(n)));
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for Sent {
    fn drop(&mut self) {
        self.meter.end_request();
    }
}
