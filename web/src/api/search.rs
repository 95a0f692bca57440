//! `/api/v1/search`: groups, nodes, services and fields by a few letters.

use super::json;
use crate::app::App;
use crate::error::{Asked, WebError};
use crate::search::{HITS, Kind, search_only};
use axum::extract::State;
use axum::response::Response;
use serde::Deserialize;

/// What is searched for.
#[derive(Deserialize)]
pub struct Query {
    q: String,
    limit: Option<usize>,
    kind: Option<Kind>,
}

/// `GET /api/v1/search?q=…[&limit=N][&kind=field]`.
pub async fn answer(
    State(app): State<App>,
    Asked(query): Asked<Query>,
) -> Result<Response, WebError> {
    let limit = query.limit.unwrap_or(HITS);
    let found =
        app.blocking(move |app| search_only(&*app.history, &query.q, limit, query.kind)).await?;
    json(&found)
}
