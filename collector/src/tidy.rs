//! When retention is applied: now and then, and when somebody asks for it.
//!
//! `POST /api/v1/retain`, with the collector's token: applies the `[[retention]]`
//! rules that the collector was started with at once, and answers with what went.

use crate::auth::Auth;
use crate::ingest::{NO_TOKEN, failure};
use crate::retain::{Keep, Removed};
use crate::store::{Shared, now_ms};
use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::post;
use std::sync::Arc;
use std::time::Duration;

/// How often what need not be kept is looked for.
const EVERY: Duration = Duration::from_secs(6 * 3600);
/// The first time, after the start.
const AFTER: Duration = Duration::from_secs(60);

/// The rules, and the history that they are about.
#[derive(Clone)]
pub struct Tidy {
    shared: Arc<Shared>,
    rules: Arc<[Keep]>,
}

impl Tidy {
    /// These rules, the first that speaks of a service holds; without any
    /// everything is kept.
    pub fn new(shared: Arc<Shared>, rules: &[Keep]) -> Tidy {
        Tidy { shared, rules: rules.into() }
    }

    /// Removes what need not be kept, for as long as it is polled.
    pub async fn run(&self) {
        if self.rules.is_empty() {
            return;
        }
        tokio::time::sleep(AFTER).await;
        loop {
            match self.apply().await {
                Ok(removed) => tracing::info!(?removed, "retention"),
                Err(e) => tracing::error!("retention: {e}"),
            }
            tokio::time::sleep(EVERY).await;
        }
    }

    async fn apply(&self) -> Result<Removed, String> {
        let answer = self.shared.queue.retain(self.rules.to_vec(), now_ms());
        let answer = answer.ok_or("too much waits; again later")?;
        let done = answer.await.map_err(|_| "the history was closed".to_owned())?;
        done.map_err(|e| e.to_string())
    }

    /// The route that applies them now.
    pub fn router(self, auth: Auth) -> Router {
        Router::new().route("/api/v1/retain", post(retain)).with_state((self, auth))
    }
}

async fn retain(State((tidy, auth)): State<(Tidy, Auth)>, headers: HeaderMap) -> Response {
    if !auth.allows(&headers) {
        return failure(StatusCode::UNAUTHORIZED, NO_TOKEN);
    }
    match tidy.apply().await {
        Ok(done) => {
            let body = serde_json::json!({
                "removed": { "blocks": done.blocks, "thinned": done.thinned, "months": done.months }
            });
            ([(header::CONTENT_TYPE, "application/json")], format!("{body}\n")).into_response()
        }
        Err(e) => failure(StatusCode::SERVICE_UNAVAILABLE, &e),
    }
}
