//! What the handlers share, and the routes.

use crate::error::WebError;
use crate::outliers::Kept;
use crate::pictures::Pictures;
use crate::{api, former, pages, pictures};
use axum::Router;
use axum::middleware::from_fn_with_state;
use rookery_collector::auth::Auth;
use rookery_collector::events::Events;
use rookery_collector::history::{History, States};
use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};
use tower_http::CompressionLevel;
use tower_http::compression::CompressionLayer;

/// What pages and API read from. Cheap to clone.
#[derive(Clone)]
pub struct App {
    /// The exact history.
    pub history: Arc<dyn History>,
    /// The alert machine's view.
    pub states: Arc<dyn States>,
    /// Marks in time.
    pub events: Arc<Events>,
    /// Who may write.
    pub auth: Auth,
    /// Drawn before.
    pub(crate) pictures: Arc<Pictures>,
    /// The newest answer.
    pub(crate) outliers: Arc<Kept>,
}

impl App {
    /// Over this history, these states and events.
    pub fn new(
        history: Arc<dyn History>,
        states: Arc<dyn States>,
        events: Arc<Events>,
        auth: Auth,
    ) -> App {
        let (pictures, outliers) = Default::default();
        App { history, states, events, auth, pictures, outliers }
    }

    /// Runs what may read the disk off the threads that serve.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, WebError> + Send + 'static,
    ) -> Result<T, WebError> {
        let app = self.clone();
        let done = tokio::task::spawn_blocking(move || work(&app)).await;
        done.map_err(|e| WebError::ours(format!("BUG: a request broke off: {e}")))?
    }
}

/// All routes that read, and those that add marks.
pub fn router(app: App) -> Router {
    let gzip = CompressionLayer::new().quality(CompressionLevel::Fastest);
    Router::new()
        .merge(api::routes())
        .merge(pages::routes())
        .layer(gzip)
        // Pictures are kept compressed.
        .merge(pictures::routes())
        .layer(from_fn_with_state(app.clone(), former::follow))
        .with_state(app)
}

/// UTC, ms since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
