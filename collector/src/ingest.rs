//! `/api/v1/ingest`: frames and JSON over HTTP.
//!
//! 200 means: on disk. 400: this body will never be taken, with the reason.
//! 401: wrong or no token. 409: say first what these layouts are. 413: too
//! large. 503: not now (too much waits, or the disk failed); try again.

use crate::auth::Auth;
use crate::json;
use crate::store::{Shared, StoreError, now_ms};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rookery_plugins::TimeMs;
use rookery_plugins::wire::{CONTENT_TYPE, FRAME_BYTES_MAX, Frame};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Samples further ahead of our clock than this are refused: a day.
pub const FUTURE_MS_MAX: TimeMs = 86_400_000;

/// What those are told who may not write.
pub const NO_TOKEN: &str =
    "wrong or missing token: send \"Authorization: Bearer TOKEN\" with the collector's token";

/// What the handlers need.
#[derive(Clone)]
pub struct Ingest {
    shared: Arc<Shared>,
    auth: Auth,
}

/// The routes that write: `/api/v1/ingest` and `/api/v1/seal`.
pub fn router(shared: Arc<Shared>, auth: Auth) -> Router {
    Router::new()
        .route("/api/v1/ingest", post(ingest))
        .route("/api/v1/seal", post(seal))
        .with_state(Ingest { shared, auth })
}

/// An error as JSON.
pub(crate) fn failure(status: StatusCode, text: &str) -> Response {
    let body = serde_json::json!({ "error": text });
    (status, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn unauthorized() -> Response {
    failure(StatusCode::UNAUTHORIZED, NO_TOKEN)
}

async fn ingest(State(ingest): State<Ingest>, request: Request<Body>) -> Response {
    if !ingest.auth.allows(request.headers()) {
        ingest.shared.stats.refused.fetch_add(1, Ordering::Relaxed);
        return unauthorized();
    }
    let is_frame = request
        .headers()
        .get(header::CONTENT_TYPE)
        .is_some_and(|t| t.as_bytes().starts_with(CONTENT_TYPE.as_bytes()));
    let Ok(body) = to_bytes(request.into_body(), FRAME_BYTES_MAX).await else {
        ingest.shared.stats.refused.fetch_add(1, Ordering::Relaxed);
        let text = format!("the body is larger than {FRAME_BYTES_MAX} bytes, or broke off");
        return failure(StatusCode::PAYLOAD_TOO_LARGE, &text);
    };
    let now = now_ms();
    let (bytes, n_samples) = if is_frame {
        (body, None)
    } else {
        match json::to_frame(&body, now) {
            Ok((bytes, n)) => (Bytes::from(bytes), Some(n)),
            Err(e) => {
                ingest.shared.stats.refused.fetch_add(1, Ordering::Relaxed);
                return failure(StatusCode::BAD_REQUEST, &e);
            }
        }
    };
    if let Err(e) = check_times(&bytes, now) {
        ingest.shared.stats.refused.fetch_add(1, Ordering::Relaxed);
        return failure(StatusCode::BAD_REQUEST, &e);
    }
    let Some(answer) = ingest.shared.queue.send(bytes) else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "too many batches wait; try again");
    };
    match answer.await {
        Ok(Ok(())) => accepted(n_samples),
        Ok(Err(e)) => refusal(&e),
        Err(_) => failure(StatusCode::SERVICE_UNAVAILABLE, "the collector is stopping"),
    }
}

fn accepted(n_samples: Option<usize>) -> Response {
    match n_samples {
        None => StatusCode::OK.into_response(),
        Some(n) => {
            let body = format!("{{\"accepted\":{n}}}\n");
            ([(header::CONTENT_TYPE, "application/json")], body).into_response()
        }
    }
}

fn refusal(e: &StoreError) -> Response {
    match e {
        StoreError::Refused(text) => failure(StatusCode::BAD_REQUEST, text),
        StoreError::UnknownLayouts(ids) => {
            let ids: Vec<u64> = ids.iter().map(|id| id.0).collect();
            let body = serde_json::json!({
                "error": "unknown layouts: send the batch again with its layouts",
                "unknown_layouts": ids,
            });
            let kind = [(header::CONTENT_TYPE, "application/json")];
            (StatusCode::CONFLICT, kind, body.to_string()).into_response()
        }
        e => failure(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
    }
}

/// The frame is one, and its times are believable.
fn check_times(bytes: &[u8], now: TimeMs) -> Result<(), String> {
    let frame = Frame::parse(bytes).map_err(|e| e.to_string())?;
    for (i, row) in frame.rows.iter().enumerate() {
        check_time(row.time_ms, now)
            .map_err(|e| format!("row {i} of node {:?}: {e}", frame.node))?;
    }
    Ok(())
}

/// A time that a sample may have.
pub(crate) fn check_time(t: TimeMs, now: TimeMs) -> Result<(), String> {
    if t < 0 {
        return Err(format!("time {t} ms is before 1970"));
    }
    if t > now.saturating_add(FUTURE_MS_MAX) {
        return Err(format!(
            "time {t} ms is {} hours ahead of the collector's clock ({now} ms); at most {} are \
             allowed: set the sender's clock",
            (t - now) / 3_600_000,
            FUTURE_MS_MAX / 3_600_000
        ));
    }
    Ok(())
}

async fn seal(State(ingest): State<Ingest>, headers: HeaderMap) -> Response {
    if !ingest.auth.allows(&headers) {
        return unauthorized();
    }
    let Some(answer) = ingest.shared.queue.seal_all() else {
        return failure(StatusCode::SERVICE_UNAVAILABLE, "too many batches wait; try again");
    };
    match answer.await {
        Ok(Ok(())) => StatusCode::OK.into_response(),
        Ok(Err(e)) => refusal(&e),
        Err(_) => failure(StatusCode::SERVICE_UNAVAILABLE, "the collector is stopping"),
    }
}
