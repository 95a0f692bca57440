//! `GET /api/v1/why?node=N[&service=S]`, or `?incident=ID`: why people were told of
//! something, or were not: how its state changed, what was to be told when, and what
//! became of it.

use super::Alerts;
use super::ledger::{Ledger, Past};
use crate::ingest::failure;
use crate::store::now_ms;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde::{Deserialize, Serialize};
use std::path::PathBuf;

/// The most changes, and the most notices, that are shown; the newest.
pub const PAST_MAX: usize = 100;

#[derive(Clone)]
struct Desk {
    alerts: Alerts,
    dir: PathBuf,
}

/// The route; `dir` is where `state.sqlite` is.
pub fn router(alerts: Alerts, dir: PathBuf) -> Router {
    Router::new().route("/api/v1/why", get(why)).with_state(Desk { alerts, dir })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    node: String,
    service: Option<String>,
    #[serde(default)]
    incident: String,
}

#[derive(Serialize)]
struct Answer {
    node: String,
    service: Option<String>,
    /// Why people know of its state now, or do not.
    now: String,
    #[serde(flatten)]
    past: Past,
}

#[derive(Serialize)]
struct OfIncident {
    incident: String,
    is_open: bool,
    /// Who is of it, while it is open.
    members: Vec<Member>,
    #[serde(flatten)]
    past: Past,
}

#[derive(Serialize)]
struct Member {
    node: String,
    service: Option<String>,
    /// Why people know of its state now, or do not.
    now: String,
}

async fn why(
    State(desk): State<Desk>,
    query: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Which { node, service, incident } = match query {
        Ok(Query(which)) => which,
        Err(e) => return failure(StatusCode::BAD_REQUEST, &e.body_text()),
    };
    match (node.is_empty(), incident.is_empty()) {
        (false, true) => of_place(desk, node, service).await,
        (true, false) if service.is_none() => of_incident(desk, incident).await,
        _ => failure(StatusCode::BAD_REQUEST, "name a node, and a service of it, or an incident"),
    }
}

async fn of_place(desk: Desk, node: String, service: Option<String>) -> Response {
    let now = desk.alerts.live().machine.why(&node, service.as_deref(), now_ms());
    let Some(now) = now else {
        return failure(StatusCode::NOT_FOUND, &format!("no node {node:?} is watched"));
    };
    let read = move || {
        let past = Ledger::open(&desk.dir)?.past(&node, service.as_deref(), PAST_MAX)?;
        Ok(Answer { node, service, now, past })
    };
    answer(read).await
}

async fn of_incident(desk: Desk, incident: String) -> Response {
    let open = desk.alerts.live().machine.why_incident(&incident, now_ms());
    let dir = desk.dir;
    let unknown = format!("no incident {incident:?}: see the messages, or /api/v1/problems");
    let read = move || {
        let past = Ledger::open(&dir)?.past_of(&incident, PAST_MAX)?;
        let member = |(node, service, now)| Member { node, service, now };
        let is_open = open.is_some();
        let members: Vec<Member> = open.into_iter().flatten().map(member).collect();
        let is_known = is_open || !past.notices.is_empty();
        Ok(is_known.then_some(OfIncident { incident, is_open, members, past }))
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(None)) => failure(StatusCode::NOT_FOUND, &unknown),
        read => respond(read),
    }
}

type Read<T> = Result<Result<T, crate::store::StoreError>, tokio::task::JoinError>;

async fn answer<T: Serialize + Send + 'static>(
    read: impl FnOnce() -> Result<T, crate::store::StoreError> + Send + 'static,
) -> Response {
    respond(tokio::task::spawn_blocking(read).await)
}

fn respond<T: Serialize>(read: Read<T>) -> Response {
    let answer = match read {
        Ok(Ok(answer)) => answer,
        Ok(Err(e)) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
        Err(e) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("BUG: {e}")),
    };
    // Plain structs of strings and numbers: there is nothing to fail.
    let body = serde_json::to_string(&answer).unwrap_or_default();
    let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (head, body).into_response()
}
