//! Errors as HTTP answers: JSON for scripts, a page for people.

use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use rookery_collector::history::ReadError;
use rookery_collector::reading::Stop;
use serde::de::DeserializeOwned;

/// Why a request has no answer.
#[derive(Clone, Debug, PartialEq)]
pub struct WebError {
    /// 400, 404, 413, 500 or 503.
    pub status: StatusCode,
    /// One line that names the thing and the remedy.
    pub text: String,
}

impl WebError {
    /// 400: the request makes no sense.
    pub fn bad(text: impl Into<String>) -> WebError {
        WebError { status: StatusCode::BAD_REQUEST, text: text.into() }
    }

    /// 404: there is no such thing.
    pub fn not_found(text: impl Into<String>) -> WebError {
        WebError { status: StatusCode::NOT_FOUND, text: text.into() }
    }

    /// 503: not now.
    pub fn busy(text: impl Into<String>) -> WebError {
        WebError { status: StatusCode::SERVICE_UNAVAILABLE, text: text.into() }
    }

    /// A read that was ended.
    pub(crate) fn stopped(why: Stop) -> WebError {
        match why {
            Stop::TooLarge => WebError::bad(why.to_string()),
            Stop::Busy | Stop::Late | Stop::Gone => WebError::busy(why.to_string()),
        }
    }

    /// 500: it is ours.
    pub fn ours(text: impl Into<String>) -> WebError {
        let text = text.into();
        tracing::error!("{text}");
        WebError { status: StatusCode::INTERNAL_SERVER_ERROR, text }
    }
}

impl From<ReadError> for WebError {
    fn from(e: ReadError) -> WebError {
        match e {
            ReadError::NotFound(text) => WebError::not_found(text),
            ReadError::BadRequest(text) => WebError::bad(text),
            ReadError::Storage(text) => WebError::ours(text),
            ReadError::Stopped(why) => WebError::stopped(why),
        }
    }
}

impl IntoResponse for WebError {
    /// `{"error":"…"}`.
    fn into_response(self) -> Response {
        let body = serde_json::json!({ "error": self.text }).to_string();
        let head = [(header::CONTENT_TYPE, "application/json")];
        retry_later((self.status, head, body).into_response())
    }
}

/// When to try again what is not possible now, s.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("5");

/// A 503 says when to try again.
pub(crate) fn retry_later(mut response: Response) -> Response {
    if response.status() == StatusCode::SERVICE_UNAVAILABLE {
        response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
    }
    response
}

/// A query string; one that is not right is answered like any other error.
pub struct Asked<T>(pub T);

impl<T: DeserializeOwned, S: Send + Sync> FromRequestParts<S> for Asked<T> {
    type Rejection = WebError;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Asked<T>, WebError> {
        let query = Query::<T>::from_request_parts(parts, state).await;
        query.map(|Query(q)| Asked(q)).map_err(|e| WebError::bad(e.body_text()))
    }
}
