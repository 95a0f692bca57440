//! `/api/v1/ingest`: frames and JSON over HTTP.
//!
//! 200 means: on disk, or, of a row whose time cannot be right, left out and counted.
//! 400: this body will never be taken, with the reason. 401: wrong or no token. 409: say
//! first what these layouts are. 408: the body broke off. 413: too large.
//! 503: not now (too much waits, or the disk failed); try again.

use crate::auth::Auth;
use crate::json::{self, LeftOut};
use crate::store::{Shared, StoreError, now_ms};
use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::State;
use axum::http::{HeaderMap, HeaderValue, Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use rookery_plugins::wire::{CONTENT_TYPE, FRAME_BYTES_MAX, Frame, keep_rows};
use rookery_plugins::{FieldKey, TimeMs, times};
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// Says in an answer how many rows were left out because their time cannot be right.
pub const LEFT_OUT: &str = "rookery-left-out";

/// Names the CRC-32 of the frame that is answered: its sender believes no other answer.
pub const ACK: &str = "rookery-ack";

/// What those are told who may not write.
pub const NO_TOKEN: &str =
    "wrong or missing token: send \"Authorization: Bearer TOKEN\" with the collector's token";

/// A JSON request's rows are planned so many times, should others bring the same new
/// fields just then.
const PLANS_MAX: usize = 20;

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
    let body = match to_bytes(request.into_body(), FRAME_BYTES_MAX).await {
        Ok(body) => body,
        Err(e) => {
            ingest.shared.stats.refused.fetch_add(1, Ordering::Relaxed);
            return unread(&e);
        }
    };
    let ack = is_frame.then(|| format!("{:08x}", crc32fast::hash(&body)));
    let done = match is_frame {
        true => take_frame(&ingest.shared, body).await,
        false => take_json(ingest.shared.clone(), body).await,
    };
    let mut answer = done.unwrap_or_else(|e| {
        if matches!(e, StoreError::Refused(_)) {
            ingest.shared.stats.refused.fetch_add(1, Ordering::Relaxed);
        }
        refusal(&e)
    });
    if let Some(ack) = ack.and_then(|ack| HeaderValue::try_from(ack).ok()) {
        answer.headers_mut().insert(ACK, ack);
    }
    answer
}

/// A body that did not come whole: one that is too large never will, one that broke off
/// may come again.
fn unread(e: &axum::Error) -> Response {
    let mut cause: Option<&dyn std::error::Error> = Some(e);
    while let Some(e) = cause {
        if e.to_string().contains("length limit exceeded") {
            let text = format!("the body is larger than {FRAME_BYTES_MAX} bytes");
            return failure(StatusCode::PAYLOAD_TOO_LARGE, &text);
        }
        cause = e.source();
    }
    failure(StatusCode::REQUEST_TIMEOUT, "the body broke off: send it again")
}

/// What is told who must wait.
fn busy() -> StoreError {
    StoreError::Other("too many batches wait; try again".to_owned())
}

fn stopping<E>(_: E) -> StoreError {
    StoreError::Other("the collector is stopping".to_owned())
}

async fn take_frame(shared: &Shared, body: Bytes) -> Result<Response, StoreError> {
    let (bytes, left_out) = admit(shared, body, now_ms()).map_err(StoreError::Refused)?;
    shared.queue.send(bytes).ok_or_else(busy)?.await.map_err(stopping)??;
    Ok(accepted(Taken::Frame(left_out)))
}

/// A large request takes a while to be read: on a thread that may be held.
async fn take_json(shared: Arc<Shared>, body: Bytes) -> Result<Response, StoreError> {
    let parsed = tokio::task::spawn_blocking(move || json::parse(&body, now_ms()));
    let post = parsed.await.map_err(stopping)?.map_err(StoreError::Refused)?;
    if let Some(left_out) = &post.left_out {
        shared.note_bad_times(&post.node, left_out.n as u64, &left_out.example);
    }
    let post = Arc::new(post);
    for _ in 0..PLANS_MAX {
        let (of, node) = (post.clone(), shared.nodes.get(&post.node));
        let written = tokio::task::spawn_blocking(move || {
            let homes = |keys: &[FieldKey]| match node {
                Some(node) => node.homes(keys),
                None => vec![None; keys.len()],
            };
            json::to_frame(&of, homes)
        });
        let bytes = Bytes::from(written.await.map_err(stopping)?);
        match shared.queue.send_json(bytes).ok_or_else(busy)?.await.map_err(stopping)? {
            Err(StoreError::Replan) => {}
            other => {
                other?;
                return Ok(accepted(Taken::Json(post.samples.len(), post.left_out.clone())));
            }
        }
    }
    Err(StoreError::Replan)
}

/// What came of a request whose samples are on disk.
enum Taken {
    /// A frame, of which so many rows were left out.
    Frame(u64),
    /// So many samples of JSON, and those that were left out.
    Json(usize, Option<LeftOut>),
}

fn accepted(taken: Taken) -> Response {
    match taken {
        Taken::Frame(0) => StatusCode::OK.into_response(),
        Taken::Frame(n) => (StatusCode::OK, [(LEFT_OUT, n.to_string())]).into_response(),
        Taken::Json(n, left_out) => {
            let mut body = serde_json::json!({ "accepted": n });
            if let Some(left_out) = left_out {
                body["left_out"] = left_out.n.into();
                body["reason"] = left_out.example.into();
            }
            ([(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
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

/// A frame whose times can be right; its rows that say another time are left out and
/// counted, which costs no other row. With the number of them.
fn admit(shared: &Shared, bytes: Bytes, now: TimeMs) -> Result<(Bytes, u64), String> {
    let frame = Frame::parse(&bytes).map_err(|e| e.to_string())?;
    let mut bad = frame.rows.iter().filter_map(|row| times::check(row.time_ms, now).err());
    let Some(first) = bad.next() else { return Ok((bytes, 0)) };
    let n = 1 + bad.count() as u64;
    shared.note_bad_times(frame.node, n, &first.to_string());
    let kept = keep_rows(&bytes, |row| times::check(row.time_ms, now).is_ok());
    let kept = kept.map_err(|e| e.to_string())?;
    Ok((kept.map_or(bytes, Bytes::from), n))
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
