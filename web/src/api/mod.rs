//! The API, version 1: JSON unless asked otherwise. Every error is
//! `{"error":"…"}` with a status that says whose it is.

mod catalog;
mod clock;
pub(crate) mod events;
mod rollup;
mod samples;
mod search;

use crate::app::App;
use crate::error::WebError;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::tz::TimeZone;
use serde::Serialize;

/// The routes under `/api/v1/`.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/api/v1/nodes", get(catalog::nodes))
        .route("/api/v1/services", get(catalog::services))
        .route("/api/v1/problems", get(problems))
        .route("/api/v1/troubles", get(troubles))
        .route("/api/v1/outliers", get(outliers))
        .route("/api/v1/samples", get(samples::samples))
        .route("/api/v1/events", get(events::list).post(events::add))
        .route("/api/v1/search", get(search::answer))
        .route("/api/v1/rollup", get(rollup::rollup))
        .route("/api/v1/{*rest}", get(nothing))
}

/// A JSON answer.
fn json<T: Serialize>(value: &T) -> Result<Response, WebError> {
    let body = serde_json::to_string(value)
        .map_err(|e| WebError::ours(format!("BUG: an answer is no JSON: {e}")))?;
    let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    Ok((StatusCode::OK, head, body).into_response())
}

async fn problems(State(app): State<App>) -> Result<Response, WebError> {
    let problems = app.blocking(|app| Ok(app.states.problems())).await?;
    json(&problems)
}

async fn troubles(State(app): State<App>) -> Result<Response, WebError> {
    json(&app.states.troubles())
}

async fn outliers(State(app): State<App>) -> Result<Response, WebError> {
    let _gate = app.outliers_gate().await;
    let found = app.blocking(|app| app.outliers(crate::app::now_ms())).await?;
    json(&*found)
}

async fn nothing() -> WebError {
    WebError::not_found(
        "no such call: there are nodes, services, samples, rollup, problems, troubles, \
         why, downtimes, outliers, events and search",
    )
}

/// What is asked for, and how, of one service.
#[derive(serde::Deserialize)]
struct Query {
    node: String,
    service: String,
    field: Option<String>,
    from: Option<String>,
    to: Option<String>,
    step: Option<String>,
    format: Option<String>,
    /// 1: after the fields' `cdef` (rollup alone).
    drawn: Option<String>,
    /// On whose clock the steps stand, and times without a zone (rollup alone).
    tz: Option<String>,
}

#[derive(Clone, Copy, PartialEq)]
enum Format {
    Json,
    Csv,
}

impl Query {
    /// From and to, ms; a day back from now unless said otherwise.
    fn span(&self, now_ms: i64) -> Result<(i64, i64), WebError> {
        self.span_in(now_ms, &TimeZone::UTC)
    }

    /// The same; times without a zone are on the clock of `zone`.
    fn span_in(&self, now_ms: i64, zone: &TimeZone) -> Result<(i64, i64), WebError> {
        let read = |name: &str, text: &Option<String>, default: i64| match text {
            Some(t) => crate::times::parse_in(t, now_ms, zone)
                .map_err(|e| WebError::bad(format!("{name}: {e}"))),
            None => Ok(default),
        };
        let to = read("to", &self.to, now_ms + 1)?;
        let from = read("from", &self.from, to.saturating_sub(86_400_000))?;
        if from > to {
            return Err(WebError::bad("from is after to"));
        }
        Ok((from, to))
    }

    fn format(&self) -> Result<Format, WebError> {
        match self.format.as_deref() {
            None | Some("json") => Ok(Format::Json),
            Some("csv") => Ok(Format::Csv),
            Some(f) => Err(WebError::bad(format!("format {f:?}: there are json and csv"))),
        }
    }

    /// The one field that was asked for, or all that the service has or had.
    fn fields(&self, app: &App) -> Result<Vec<rookery_plugins::FieldSpec>, WebError> {
        let all = app.history.fields(&self.node, &self.service)?;
        let Some(name) = &self.field else { return Ok(all) };
        match all.iter().find(|f| f.name == *name) {
            Some(field) => Ok(vec![field.clone()]),
            None => {
                let names: Vec<&str> = all.iter().map(|f| f.name.as_str()).collect();
                let (service, names) = (&self.service, names.join(", "));
                Err(WebError::not_found(format!("no field {name:?} in {service}; it has {names}")))
            }
        }
    }
}

/// A service by its name; the error names a near one.
pub(crate) fn find_service(
    app: &App,
    node: &str,
    service: &str,
) -> Result<rookery_collector::history::ServiceInfo, WebError> {
    match app.history.service(node, service)? {
        Some(found) => Ok(found),
        None => {
            let all = app.history.specs(node)?;
            let names: Vec<&str> = all.iter().map(|(spec, _)| spec.name.as_str()).collect();
            let near = rookery_plugins::config::nearest(service, &names);
            let hint = near.map_or(String::new(), |n| format!("; did you mean {n:?}?"));
            Err(WebError::not_found(format!("no service {service:?} on {node:?}{hint}")))
        }
    }
}

/// A cell of a CSV file, quoted where it must be (RFC 4180).
pub fn csv_cell(text: &str, out: &mut String) {
    if text.contains([',', '"', '\n', '\r']) {
        out.push('"');
        out.push_str(&text.replace('"', "\"\""));
        out.push('"');
    } else {
        out.push_str(text);
    }
}
