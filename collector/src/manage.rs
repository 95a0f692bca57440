//! Nodes over HTTP: `/api/v1/node/rename`, `/api/v1/node/retire` and
//! `/api/v1/node/remove` (POST, JSON or a page's form), and `/api/v1/node/retired` (GET).
//!
//! 200 (to a form 303, to the node's page or the list of nodes) means: on disk. 400:
//! refused, with the reason. 401: no token. 503: not now, try again.

use crate::asked::{self, Asked, see};
use crate::auth::Auth;
use crate::catalog::is_tombstone;
use crate::ingest::failure;
use crate::store::{Shared, StoreError};
use crate::writer::NodeChange;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde::Deserialize;
use std::sync::Arc;

#[derive(Clone)]
struct Manage {
    shared: Arc<Shared>,
    auth: Auth,
}

/// The routes.
pub fn router(shared: Arc<Shared>, auth: Auth) -> Router {
    Router::new()
        .route("/api/v1/node/rename", post(rename))
        .route("/api/v1/node/retire", post(retire))
        .route("/api/v1/node/remove", post(remove))
        .route("/api/v1/node/retired", get(retired))
        .with_state(Manage { shared, auth })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rename {
    node: String,
    to: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Retire {
    node: String,
    /// Only this service of it; empty: the node.
    #[serde(default)]
    service: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Remove {
    node: String,
    /// The name once more: what goes does not come back.
    confirm: String,
}

impl Manage {
    async fn change(&self, what: NodeChange, is_form: bool, then: &str) -> Response {
        let Some(answer) = self.shared.queue.change(what) else {
            return failure(StatusCode::SERVICE_UNAVAILABLE, "too many batches wait; try again");
        };
        match answer.await {
            Ok(Ok(())) if is_form => see(then),
            Ok(Ok(())) => {
                let body = serde_json::json!({ "done": true }).to_string();
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Ok(Err(StoreError::Refused(text))) => failure(StatusCode::BAD_REQUEST, &text),
            Ok(Err(e)) => failure(StatusCode::SERVICE_UNAVAILABLE, &e.to_string()),
            Err(_) => failure(StatusCode::SERVICE_UNAVAILABLE, "the collector is stopping"),
        }
    }
}

fn page_of(node: &str) -> String {
    format!("/node/{}", utf8_percent_encode(node, NON_ALPHANUMERIC))
}

async fn rename(State(manage): State<Manage>, request: Request<Body>) -> Response {
    let Asked { what: Rename { node, to }, is_form } =
        match asked::read(&manage.auth, request).await {
            Ok(asked) => asked,
            Err(response) => return *response,
        };
    let to = to.trim().to_owned();
    let then = page_of(&to);
    manage.change(NodeChange::Rename { node, to }, is_form, &then).await
}

async fn retire(State(manage): State<Manage>, request: Request<Body>) -> Response {
    let Asked { what: Retire { node, service }, is_form } =
        match asked::read(&manage.auth, request).await {
            Ok(asked) => asked,
            Err(response) => return *response,
        };
    let service = Some(service).filter(|s| !s.is_empty());
    let then = service.as_ref().map_or_else(|| "/nodes".to_owned(), |_| page_of(&node));
    manage.change(NodeChange::Retire { node, service }, is_form, &then).await
}

async fn remove(State(manage): State<Manage>, request: Request<Body>) -> Response {
    let Asked { what: Remove { node, confirm }, is_form } =
        match asked::read(&manage.auth, request).await {
            Ok(asked) => asked,
            Err(response) => return *response,
        };
    if confirm != node {
        let text = format!(
            "to remove {node:?} and all its history, say its name once more as \"confirm\"; to \
             keep the history, retire it"
        );
        return failure(StatusCode::BAD_REQUEST, &text);
    }
    manage.change(NodeChange::Remove { node }, is_form, "/nodes").await
}

/// The names of the retired nodes, whose history is still there.
async fn retired(State(manage): State<Manage>) -> Response {
    let all = manage.shared.nodes.all();
    let names = all.iter().filter(|n| n.is_retired() && !is_tombstone(&n.name));
    let names: Vec<&str> = names.map(|n| n.name.as_str()).collect();
    let body = serde_json::json!({ "retired": names }).to_string();
    ([(header::CONTENT_TYPE, "application/json")], body).into_response()
}
