//! Whole answers in memory: those of some size count as memory of reads until they are sent,
//! also while they are being compressed.

use crate::app::App;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::response::Response;
use hyper::body::{Frame, SizeHint};
use rookery_collector::budget::Share;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Shorter answers are not counted, bytes.
const COUNTED: u64 = 64 << 10;

/// A layer below compression.
pub(crate) async fn account(State(app): State<App>, response: Response) -> Response {
    let size = hyper::body::Body::size_hint(response.body()).exact().filter(|n| *n >= COUNTED);
    let Some(size) = size.and_then(|n| usize::try_from(n).ok()) else { return response };
    let share = app.reads.budget().hold(size);
    response.map(|body| Body::new(Held { body, _share: share }))
}

/// A body, and the share that stands for it.
struct Held {
    body: Body,
    _share: Share,
}

impl hyper::body::Body for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
