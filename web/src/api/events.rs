//! `/api/v1/events`: marks in time, read and added.

use super::json;
use crate::app::{App, now_ms};
use crate::error::{Asked, WebError};
use crate::times;
use axum::body::{Body, to_bytes};
use axum::extract::State;
use axum::http::{Request, StatusCode};
use axum::response::Response;
use rookery_collector::events::{EVENTS_MAX, Event, NewEvent};
use rookery_plugins::TimeMs;
use serde::Deserialize;

/// Largest body, bytes: a text and two names.
const BODY_BYTES_MAX: usize = 8192;
/// Events unless asked for.
const EVENTS: usize = 100;

/// Which events.
#[derive(Deserialize)]
pub struct Span {
    from: Option<String>,
    to: Option<String>,
    node: Option<String>,
    limit: Option<usize>,
}

/// `GET /api/v1/events[?from=T&to=T&node=N&limit=K]`: newest first, a month back
/// unless said otherwise.
pub async fn list(State(app): State<App>, Asked(span): Asked<Span>) -> Result<Response, WebError> {
    let now = now_ms();
    let time = |name: &str, text: &Option<String>, default: i64| match text {
        Some(t) => times::parse(t, now).map_err(|e| WebError::bad(format!("{name}: {e}"))),
        None => Ok(default),
    };
    // An event may be a day ahead.
    let to = time("to", &span.to, now + 2 * 86_400_000)?;
    let from = time("from", &span.from, now - 30 * 86_400_000)?;
    let limit = span.limit.unwrap_or(EVENTS).clamp(1, EVENTS_MAX);
    let events = app
        .blocking(move |app| match &span.node {
            Some(node) => {
                let mut events = app.events_of(node, (from, to), limit)?;
                events.reverse();
                Ok(events)
            }
            None => app.events.read(from, to, limit).map_err(|e| WebError::ours(e.to_string())),
        })
        .await?;
    json(&events)
}

/// A request's event, as JSON has it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Posted {
    text: String,
    node: Option<String>,
    group: Option<String>,
    time: Option<String>,
    time_ms: Option<i64>,
}

/// `POST /api/v1/events` with `{"text":"deployed r1234","node":"web1"}`; needs
/// the token. 201 with the event.
pub async fn add(State(app): State<App>, request: Request<Body>) -> Result<Response, WebError> {
    if !app.auth.allows(request.headers()) {
        return Err(unauthorized());
    }
    let body = read_body(request).await?;
    let posted: Posted = serde_json::from_slice(&body).map_err(|e| {
        WebError::bad(format!("{e}; send {{\"text\":\"deployed r1234\",\"node\":\"web1\"}}"))
    })?;
    let Posted { text, node, group, time, time_ms } = posted;
    let time = time.or(time_ms.map(|ms| ms.to_string()));
    let event = keep(&app, NewEvent { text, node, group }, time.as_deref()).await?;
    let mut answer = json(&event)?;
    *answer.status_mut() = StatusCode::CREATED;
    Ok(answer)
}

/// A small body.
pub(crate) async fn read_body(request: Request<Body>) -> Result<bytes::Bytes, WebError> {
    let body = to_bytes(request.into_body(), BODY_BYTES_MAX).await;
    body.map_err(|_| WebError {
        status: StatusCode::PAYLOAD_TOO_LARGE,
        text: format!("the body is larger than {BODY_BYTES_MAX} bytes, or broke off"),
    })
}

/// 401, with the way in.
fn unauthorized() -> WebError {
    WebError {
        status: StatusCode::UNAUTHORIZED,
        text: rookery_collector::ingest::NO_TOKEN.to_owned(),
    }
}

/// Checks and keeps an event, at `time` or now.
pub(crate) async fn keep(app: &App, new: NewEvent, time: Option<&str>) -> Result<Event, WebError> {
    let now = now_ms();
    let time_ms = match time.map(str::trim).filter(|t| !t.is_empty()) {
        Some(t) => times::parse(t, now).map_err(|e| WebError::bad(format!("time: {e}")))?,
        None => now,
    };
    let new = new.check(time_ms, now).map_err(WebError::bad)?;
    app.blocking(move |app| {
        check_names(app, &new)?;
        app.events.add(new, time_ms, now).map_err(|e| WebError::ours(e.to_string()))
    })
    .await
}

/// A mark on a node that is not there would be seen by no one.
fn check_names(app: &App, new: &NewEvent) -> Result<(), WebError> {
    let nodes = app.history.nodes();
    let (what, wanted, known): (_, _, Vec<&str>) = match (&new.node, &new.group) {
        (Some(node), _) => ("node", node, nodes.iter().map(|n| n.name.as_str()).collect()),
        (_, Some(group)) => {
            let inside = format!("{group};");
            if nodes.iter().any(|n| n.group.starts_with(&inside)) {
                return Ok(());
            }
            ("group", group, nodes.iter().map(|n| n.group.as_str()).collect())
        }
        _ => return Ok(()),
    };
    if known.contains(&wanted.as_str()) {
        return Ok(());
    }
    let near = rookery_plugins::config::nearest(wanted, &known);
    let hint = near.map_or(String::new(), |n| format!("; did you mean {n:?}?"));
    Err(WebError::not_found(format!("no {what} {wanted:?}{hint}")))
}

impl App {
    /// Events that concern a node, oldest first.
    pub(crate) fn events_of(
        &self,
        node: &str,
        span: (TimeMs, TimeMs),
        limit: usize,
    ) -> Result<Vec<Event>, WebError> {
        let info = self.history.node(node);
        let group = info.map(|i| i.group).unwrap_or_default();
        let events = self.events.concerning(node, &group, span, limit);
        events.map_err(|e| WebError::ours(e.to_string()))
    }
}
