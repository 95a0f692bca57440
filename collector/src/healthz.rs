//! `/healthz` and `/readyz`: whether the collector does what it is for.

use crate::store::Shared;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::sync::Arc;
use std::sync::atomic::Ordering;

/// The routes.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new().route("/healthz", get(healthz)).route("/readyz", get(readyz)).with_state(shared)
}

/// 200 and `ok`, or 503 and what is wrong, a line each.
async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    let mut faults = shared.pulses.faults();
    faults.extend(shared.sealing_failure().map(|e| format!("blocks cannot be sealed: {e}")));
    answer("ok", &faults)
}

/// The same; 503 also while it stops.
async fn readyz(State(shared): State<Arc<Shared>>) -> Response {
    let mut faults = shared.pulses.faults();
    if shared.stopping.load(Ordering::Relaxed) {
        faults.push("the collector is stopping".to_owned());
    }
    answer("ready", &faults)
}

fn answer(well: &str, faults: &[String]) -> Response {
    let (status, text) = match faults.is_empty() {
        true => (StatusCode::OK, format!("{well}\n")),
        false => (StatusCode::SERVICE_UNAVAILABLE, faults.join("\n") + "\n"),
    };
    let kind = (header::CONTENT_TYPE, "text/plain; charset=utf-8");
    (status, [kind, (header::CACHE_CONTROL, "no-store")], text).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::{Store, StoreSettings};
    use crate::writer::NoObserver;
    use axum::body::{Body, to_bytes};
    use axum::http::Request;
    use tower_service::Service;

    async fn get_of(shared: &Arc<Shared>, path: &str) -> (u16, String) {
        let request = Request::get(path).body(Body::empty()).expect("a request");
        let response = router(shared.clone()).call(request).await.expect("answers");
        let status = response.status().as_u16();
        let body = to_bytes(response.into_body(), 10_000).await.expect("a body");
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    #[tokio::test]
    async fn health_says_what_is_wrong() {
        let dir = tempfile::tempdir().expect("tmp");
        let store = Store::open(StoreSettings::new(dir.path()), Box::new(NoObserver));
        let store = store.expect("opens");
        let shared = store.shared().clone();
        assert_eq!(get_of(&shared, "/healthz").await, (200, "ok\n".to_owned()));
        assert_eq!(get_of(&shared, "/readyz").await, (200, "ready\n".to_owned()));
        shared.pulses.note_writing(Some("no space".to_owned()));
        let (status, text) = get_of(&shared, "/healthz").await;
        assert!(status == 503 && text.contains("no space"), "{status} {text}");
        shared.pulses.note_writing(None);
        store.close();
        assert_eq!(get_of(&shared, "/readyz").await.0, 503);
    }
}
