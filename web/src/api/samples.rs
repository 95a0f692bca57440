//! `/api/v1/samples`: exact samples, as JSON or CSV.
//!
//! Long spans are read and sent in parts of a few thousand samples, the next one when the
//! client has taken the one before: a year of seconds as CSV needs a megabyte, and a client
//! that does not read keeps no thread. (As JSON the values wait, as text, until the times
//! have gone out; what waits is in the account of all reads.)

use super::{Format, Query, csv_cell};
use crate::app::{App, now_ms};
use crate::error::{Asked, WebError};
use crate::parts::Parts;
use crate::times::Rfc3339;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rookery_collector::budget::Share;
use rookery_collector::history::{History, ReadError, Samples};
use rookery_collector::reading::{self, Stop};
use rookery_plugins::{FieldSpec, Value};
use std::collections::VecDeque;
use std::fmt::Write;

/// A part is about this long, bytes of text.
const PART_BYTES: usize = 256 << 10;
/// So much memory the samples of one part may take; where there are more the part is read
/// again, shorter.
const PART_READ_BYTES: usize = 1 << 20;
/// The first part's span, ms: it is not known yet how close the samples are.
const SPAN_MS: i64 = 10 * 60_000;
/// The longest, ms: decades without any samples are soon over.
const SPAN_MS_MAX: i64 = 160 * 86_400_000;
/// From one part to the next the span grows by this much at most.
const GROWTH: i64 = 8;

/// `GET /api/v1/samples?node=N&service=S[&field=F][&from=T][&to=T][&format=csv]`.
pub async fn samples(
    State(app): State<App>,
    Asked(query): Asked<Query>,
) -> Result<Response, WebError> {
    let format = query.format()?;
    let (from, to) = query.span(now_ms())?;
    let (query, fields) =
        { app.blocking(move |app| query.fields(app).map(|fields| (query, fields))).await? };
    // Nothing is older than 1970: a start far before costs no rounds.
    let walk = Walk::new(query, fields, (from.max(0), to));
    let (body, kind) = match format {
        Format::Csv => (app.in_parts(Csv::new(walk)).await?, "text/csv; charset=utf-8"),
        Format::Json => {
            (app.in_parts(Json::new(walk, app.reads.budget().hold(0))).await?, "application/json")
        }
    };
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], body).into_response())
}

/// Goes through the samples of some fields, one field after the other, by spans of time.
struct Walk {
    query: Query,
    fields: Vec<FieldSpec>,
    span: (i64, i64),
    /// Which field.
    field: usize,
    /// Where the next part begins.
    at: i64,
    /// How long it is, ms.
    span_ms: i64,
}

impl Walk {
    fn new(query: Query, fields: Vec<FieldSpec>, span: (i64, i64)) -> Walk {
        Walk { query, fields, span, field: 0, at: span.0, span_ms: SPAN_MS }
    }

    /// The field whose samples are next; `None`: that was all.
    fn field(&self) -> Option<&FieldSpec> {
        self.fields.get(self.field)
    }

    /// Goes on with the next field, from the beginning.
    fn next_field(&mut self) {
        self.field += 1;
        self.at = self.span.0;
        self.span_ms = SPAN_MS;
    }

    /// The next samples of the field, of which a few thousand are wanted; `None`: it has
    /// no more.
    fn next(&mut self, history: &dyn History, wanted: usize) -> Result<Option<Samples>, WebError> {
        while self.at < self.span.1 {
            let Some(field) = self.fields.get(self.field) else { return Ok(None) };
            let to = self.span.1.min(self.at.saturating_add(self.span_ms));
            let (node, service) = (&self.query.node, &self.query.service);
            let read = {
                let part = reading::part();
                part.limit(if self.span_ms > 1 { PART_READ_BYTES } else { usize::MAX });
                let read = history.samples(node, service, &field.name, self.at, to);
                if read.is_ok() {
                    // The samples are still there when this returns.
                    part.keep();
                }
                read
            };
            let read = match read {
                // Closer than they were before.
                Err(ReadError::Stopped(Stop::TooLarge)) if self.span_ms > 1 => {
                    self.span_ms = (self.span_ms / GROWTH).max(1);
                    continue;
                }
                other => other?,
            };
            self.at = to;
            let n = i64::try_from(read.len()).unwrap_or(i64::MAX).max(1);
            let fits = self.span_ms.saturating_mul(i64::try_from(wanted).unwrap_or(1)) / n;
            let most = SPAN_MS_MAX.min(self.span_ms.saturating_mul(GROWTH));
            self.span_ms = fits.clamp(1, most);
            if !read.is_empty() {
                return Ok(Some(read));
            }
        }
        Ok(None)
    }
}

/// The answer as CSV.
struct Csv {
    walk: Walk,
    times: Rfc3339,
    text: String,
}

impl Csv {
    fn new(walk: Walk) -> Csv {
        let text = "time,node,service,field,value\n".to_owned();
        Csv { walk, times: Rfc3339::default(), text }
    }

    /// What stands between time and value.
    fn names(&self, field: &str) -> String {
        let mut names = String::from(",");
        for name in [&self.walk.query.node, &self.walk.query.service, field] {
            csv_cell(name, &mut names);
            names.push(',');
        }
        names
    }
}

impl Parts for Csv {
    fn next(&mut self, history: &dyn History) -> Result<Option<Bytes>, WebError> {
        while let Some(field) = self.walk.field() {
            let names = self.names(&field.name);
            let line = names.len() + 40;
            while self.text.len() < PART_BYTES / 2 {
                let Some(samples) = self.walk.next(history, PART_BYTES / line + 1)? else { break };
                self.text.reserve(samples.len() * line);
                for (time, value) in samples.iter() {
                    self.times.push(time, &mut self.text);
                    self.text.push_str(&names);
                    if value != Value::Unknown {
                        // Writing into a String cannot fail.
                        let _ = write!(self.text, "{value}");
                    }
                    self.text.push('\n');
                }
            }
            if self.text.len() >= PART_BYTES / 2 {
                return Ok(Some(std::mem::take(&mut self.text).into()));
            }
            self.walk.next_field();
        }
        Ok(Some(std::mem::take(&mut self.text).into()).filter(|text: &Bytes| !text.is_empty()))
    }
}

/// The answer as JSON.
struct Json {
    walk: Walk,
    text: String,
    /// The field's values, until its times have gone out.
    values: String,
    /// Whether the field's head has gone out.
    is_begun: bool,
    is_over: bool,
    /// What is ready to be sent.
    ready: VecDeque<Bytes>,
    /// Of the values, in the memory of all reads.
    share: Share,
}

impl Json {
    fn new(walk: Walk, share: Share) -> Json {
        Json {
            walk,
            text: String::from("{\"fields\":["),
            values: String::new(),
            is_begun: false,
            is_over: false,
            ready: VecDeque::new(),
            share,
        }
    }

    fn begin_field(&mut self) {
        let Some(field) = self.walk.field() else { return };
        let comma = if self.walk.field > 0 { "," } else { "" };
        let head = [
            ("node", self.walk.query.node.as_str()),
            ("service", self.walk.query.service.as_str()),
            ("field", field.name.as_str()),
            ("type", field.kind.word()),
        ];
        let head = head.map(|(k, v)| format!("\"{k}\":{}", serde_json::json!(v)));
        // Writing into a String cannot fail.
        let _ = write!(self.text, "{comma}{{{},\"times_ms\":[", head.join(","));
        self.is_begun = true;
    }

    fn add(&mut self, samples: &Samples) -> Result<(), WebError> {
        let before = self.values.len();
        for (time, value) in samples.iter() {
            if !self.values.is_empty() {
                self.text.push(',');
                self.values.push(',');
            }
            let _ = write!(self.text, "{time}");
            json_value(value, &mut self.values);
        }
        match self.share.grow(self.values.len() - before) {
            true => Ok(()),
            false => Err(WebError::busy(
                "the values of so long a span do not fit into the memory for reads: as CSV \
                 (format=csv) they need not wait for each other",
            )),
        }
    }

    /// The text so far, as the next part.
    fn text_next(&mut self) -> Option<Bytes> {
        self.ready.push_back(std::mem::take(&mut self.text).into());
        self.ready_next()
    }

    /// A piece of what is ready.
    fn ready_next(&mut self) -> Option<Bytes> {
        while let Some(mut first) = self.ready.pop_front() {
            let part = first.split_to(first.len().min(PART_BYTES));
            if !first.is_empty() {
                self.ready.push_front(first);
            }
            if !part.is_empty() {
                return Some(part);
            }
        }
        None
    }
}

impl Parts for Json {
    fn next(&mut self, history: &dyn History) -> Result<Option<Bytes>, WebError> {
        if let Some(part) = self.ready_next() {
            return Ok(Some(part));
        }
        if self.values.is_empty() {
            self.share.shrink_to(0);
        }
        if self.walk.field().is_none() {
            if std::mem::replace(&mut self.is_over, true) {
                return Ok(None);
            }
            self.text.push_str("]}");
            return Ok(self.text_next());
        }
        if !self.is_begun {
            self.begin_field();
        }
        while self.text.len() < PART_BYTES / 2 {
            let Some(samples) = self.walk.next(history, PART_BYTES / 14)? else {
                self.text.push_str("],\"values\":[");
                self.ready.push_back(std::mem::take(&mut self.text).into());
                self.ready.push_back(std::mem::take(&mut self.values).into());
                self.text.push_str("]}");
                self.walk.next_field();
                self.is_begun = false;
                return Ok(self.ready_next());
            };
            self.add(&samples)?;
        }
        Ok(self.text_next())
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

#[cfg(test)]
mod tests;
