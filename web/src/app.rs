//! What the handlers share, and the routes.

use crate::error::WebError;
use crate::outliers::Kept;
use crate::pictures::Pictures;
use crate::reads::Reads;
use crate::{api, former, held, pages, pictures};
use axum::Router;
use axum::http::{HeaderValue, header};
use axum::middleware::{from_fn_with_state, map_response, map_response_with_state};
use axum::response::Response;
use rookery_collector::auth::Auth;
use rookery_collector::budget::Budget;
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
    /// The threads and the memory of reads.
    pub(crate) reads: Arc<Reads>,
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
        let reads = Arc::new(Reads::new(Budget::of_machine()));
        App { history, states, events, auth, pictures, outliers, reads }
    }

    /// The same, with memory for reads of this budget.
    pub fn with_budget(self, budget: Arc<Budget>) -> App {
        App { reads: Arc::new(Reads::new(budget)), ..self }
    }

    /// Runs what may read the disk in the threads of reads.
    pub(crate) async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&App) -> Result<T, WebError> + Send + 'static,
    ) -> Result<T, WebError> {
        let app = self.clone();
        self.reads.run(move || work(&app)).await
    }
}

/// All routes that read, and those that add marks.
pub fn router(app: App) -> Router {
    let gzip = CompressionLayer::new().quality(CompressionLevel::Fastest);
    Router::new()
        .merge(api::routes())
        .merge(pages::routes())
        .layer(map_response_with_state(app.clone(), held::account))
        .layer(gzip)
        // Pictures are kept compressed.
        .merge(pictures::routes())
        .layer(from_fn_with_state(app.clone(), former::follow))
        .layer(map_response(careful))
        .with_state(app)
}

/// What every answer says to browsers: its type is what it says, and where a link leads
/// need not know where it stood.
async fn careful(mut response: Response) -> Response {
    let headers = response.headers_mut();
    let head = [
        (header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff")),
        (header::REFERRER_POLICY, HeaderValue::from_static("same-origin")),
    ];
    for (name, value) in head {
        headers.entry(name).or_insert(value);
    }
    response
}

/// UTC, ms since 1970.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
