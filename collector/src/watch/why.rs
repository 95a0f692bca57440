//! `GET /api/v1/why?node=N[&service=S]`: why people were told of something, or were
//! not: how its state changed, what was to be told when, and what became of it.

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
    node: String,
    service: Option<String>,
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

async fn why(
    State(desk): State<Desk>,
    query: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Query(which) = match query {
        Ok(query) => query,
        Err(e) => return failure(StatusCode::BAD_REQUEST, &e.body_text()),
    };
    let now = desk.alerts.live().machine.why(&which.node, which.service.as_deref(), now_ms());
    let Some(now) = now else {
        let text = format!("no node {:?} is watched", which.node);
        return failure(StatusCode::NOT_FOUND, &text);
    };
    let read = move || {
        let past =
            Ledger::open(&desk.dir)?.past(&which.node, which.service.as_deref(), PAST_MAX)?;
        Ok::<_, crate::store::StoreError>((which, past))
    };
    let (which, past) = match tokio::task::spawn_blocking(read).await {
        Ok(Ok(read)) => read,
        Ok(Err(e)) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
        Err(e) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("BUG: {e}")),
    };
    let answer = Answer { node: which.node, service: which.service, now, past };
    // Plain structs of strings and numbers: there is nothing to fail.
    let body = serde_json::to_string(&answer).unwrap_or_default();
    let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (head, body).into_response()
}
