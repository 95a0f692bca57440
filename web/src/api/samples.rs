//! `/api/v1/samples`: exact samples, as JSON or CSV.
//!
//! Long spans are read and sent in parts: a year of seconds as CSV needs no more
//! memory than ten days. (As JSON the values wait, as text, until the times
//! have gone out.)

use super::{Format, Query, csv_cell};
use crate::app::{App, now_ms};
use crate::error::{Asked, WebError};
use crate::times::Rfc3339;
use axum::body::{Body, Bytes};
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use futures_util::stream;
use rookery_collector::history::Samples;
use rookery_plugins::{FieldSpec, Value};
use std::fmt::Write;
use tokio::sync::mpsc;

/// How much of the history is in memory at once, ms: ten days, …
const PART_MS: i64 = 10 * 86_400_000;
/// … or more after a while without samples, so that decades without any are soon
/// over.
const PART_MS_MAX: i64 = 160 * 86_400_000;

/// How many parts wait for a slow reader.
const PARTS_WAITING: usize = 2;

type Part = Result<Bytes, std::io::Error>;

/// `GET /api/v1/samples?node=N&service=S[&field=F][&from=T][&to=T][&format=csv]`.
pub async fn samples(
    State(app): State<App>,
    Asked(query): Asked<Query>,
) -> Result<Response, WebError> {
    let format = query.format()?;
    let (from, to) = query.span(now_ms())?;
    let (app, query, fields) = {
        let app2 = app.clone();
        app.blocking(move |app| query.fields(app).map(|f| (app2, query, f))).await?
    };
    let (send, parts) = mpsc::channel::<Part>(PARTS_WAITING);
    tokio::task::spawn_blocking(move || {
        let out = Out { app: &app, query: &query, send: &send, span: (from, to) };
        let done = match format {
            Format::Csv => out.csv(&fields),
            Format::Json => out.json(&fields),
        };
        if let Err(Stop::Failed(text)) = done {
            tracing::error!("samples: {text}");
            // The client sees the answer break off, not end.
            let _ = send.blocking_send(Err(std::io::Error::other(text)));
        }
    });
    let body = Body::from_stream(stream::unfold(parts, async |mut parts| {
        parts.recv().await.map(|part| (part, parts))
    }));
    let kind = match format {
        Format::Csv => "text/csv; charset=utf-8",
        Format::Json => "application/json",
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], body).into_response())
}

/// Why an answer ends early.
enum Stop {
    /// Nobody listens any more.
    Gone,
    /// The history cannot be read.
    Failed(String),
}

struct Out<'a> {
    app: &'a App,
    query: &'a Query,
    send: &'a mpsc::Sender<Part>,
    span: (i64, i64),
}

impl Out<'_> {
    fn send(&self, text: &mut String) -> Result<(), Stop> {
        if text.is_empty() {
            return Ok(());
        }
        let part = Bytes::from(std::mem::take(text));
        self.send.blocking_send(Ok(part)).map_err(|_| Stop::Gone)
    }

    /// Calls `each` with the samples of one part of the span after the other.
    fn parts(
        &self,
        field: &FieldSpec,
        mut each: impl FnMut(&Samples) -> Result<(), Stop>,
    ) -> Result<(), Stop> {
        let (node, service) = (&self.query.node, &self.query.service);
        let mut from = self.span.0;
        // Nothing is older than 1970: a start far before costs no rounds.
        if from < 0 {
            from = 0;
        }
        let mut part_ms = PART_MS;
        while from < self.span.1 {
            let to = self.span.1.min(from.saturating_add(part_ms));
            let read = self.app.history.samples(node, service, &field.name, from, to);
            let read = read.map_err(|e| Stop::Failed(e.to_string()))?;
            if read.is_empty() {
                part_ms = PART_MS_MAX.min(part_ms * 2);
            } else {
                part_ms = PART_MS;
                each(&read)?;
            }
            from = to;
        }
        Ok(())
    }

    fn csv(&self, fields: &[FieldSpec]) -> Result<(), Stop> {
        let mut text = "time,node,service,field,value\n".to_owned();
        let mut times = Rfc3339::default();
        for field in fields {
            let mut names = String::from(",");
            csv_cell(&self.query.node, &mut names);
            names.push(',');
            csv_cell(&self.query.service, &mut names);
            names.push(',');
            csv_cell(&field.name, &mut names);
            names.push(',');
            self.parts(field, |samples| {
                text.reserve(samples.len() * (names.len() + 40));
                for (time, value) in samples.iter() {
                    times.push(time, &mut text);
                    text.push_str(&names);
                    if value != Value::Unknown {
                        // Writing into a String cannot fail.
                        let _ = write!(text, "{value}");
                    }
                    text.push('\n');
                }
                self.send(&mut text)
            })?;
        }
        self.send(&mut text)
    }

    fn json(&self, fields: &[FieldSpec]) -> Result<(), Stop> {
        let mut text = String::from("{\"fields\":[");
        for (i, field) in fields.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let head = [
                ("node", self.query.node.as_str()),
                ("service", self.query.service.as_str()),
                ("field", field.name.as_str()),
                ("type", field.kind.word()),
            ];
            let head = head.map(|(k, v)| format!("\"{k}\":{}", serde_json::json!(v)));
            let _ = write!(text, "{comma}{{{},\"times_ms\":[", head.join(","));
            // The values wait in text form until all times have been sent.
            let mut values = String::new();
            let mut is_first = true;
            self.parts(field, |samples| {
                text.reserve(samples.len() * 14);
                values.reserve(samples.len() * 8);
                for (time, value) in samples.iter() {
                    if !is_first {
                        text.push(',');
                        values.push(',');
                    }
                    is_first = false;
                    let _ = write!(text, "{time}");
                    json_value(value, &mut values);
                }
                self.send(&mut text)
            })?;
            text.push_str("],\"values\":[");
            self.send(&mut text)?;
            self.send(&mut values)?;
            text.push_str("]}");
        }
        text.push_str("]}");
        self.send(&mut text)
    }
}

/// Integers as integers, floats in the shortest form that round-trips, unknown
/// as null. JSON has no infinity and no NaN: these are strings, as ingest
/// takes them.
fn json_value(value: Value, out: &mut String) {
    // Writing into a String cannot fail.
    let _ = match value {
        Value::Unknown => write!(out, "null"),
        Value::Float(v) if !v.is_finite() => write!(out, "\"{v}\""),
        v => write!(out, "{v}"),
    };
}
