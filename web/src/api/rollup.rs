//! `/api/v1/rollup`: a service's fields by steps of time, as they are drawn.
//!
//! Numbers are written straight into the answer, and that is made in parts, as the client
//! takes them. Where many fields and steps are asked for, the fields are read a few at a
//! time, so that memory does not grow with their number.

use super::clock::{self, OnClock, Step};
use super::{Format, Query, csv_cell};
use crate::app::{App, now_ms};
use crate::drawn::drawn;
use crate::error::{Asked, WebError};
use crate::parts::Parts;
use crate::pictures::zone;
use crate::times::Rfc3339;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use jiff::tz::TimeZone;
use rookery_collector::budget::Share;
use rookery_collector::history::{Averages, Bucket, FieldRollup, History, Rollup};
use rookery_collector::read::BUCKETS_MAX;
use rookery_collector::reading::{self, Stop};
use rookery_plugins::{FieldType, ServiceSpec};
use serde_json::json;
use std::collections::VecDeque;
use std::fmt::Write;
use std::ops::Range;
use std::sync::Arc;

/// Steps of a span when none is asked for.
const STEPS: i64 = 300;
/// Most cells, fields by steps, of one answer.
const CELLS_MAX: usize = 2_000_000;
/// So many cells are read at once where there are more fields than one.
const CELLS_AT_ONCE: usize = 128 << 10;
/// A part of the answer is about this long, bytes of text.
const PART_BYTES: usize = 256 << 10;

/// `GET /api/v1/rollup?node=N&service=S[&field=F][&from=T][&to=T][&step=5m][&tz=Z]`; with
/// `drawn=1` by the service's period and after each field's `cdef`, as the graph shows it. At
/// most 100,000 steps, and 2,000,000 cells of all fields together.
///
/// Steps that are asked for stand on the clock of `tz` (UTC unless said): hours begin on
/// the hour, days at midnight. Without, the span is cut into equal ones.
pub async fn rollup(
    State(app): State<App>,
    Asked(query): Asked<Query>,
) -> Result<Response, WebError> {
    let format = query.format()?;
    let tz = match query.tz.as_deref() {
        None | Some("") => TimeZone::UTC,
        name => zone(name)?,
    };
    let (from, to) = query.span_in(now_ms(), &tz)?;
    let is_drawn = match query.drawn.as_deref() {
        None | Some("" | "0") => false,
        Some("1") => true,
        Some(other) => return Err(WebError::bad(format!("drawn {other:?}: write 0 or 1"))),
    };
    let step = query.step.as_deref().map(Step::parse).transpose()?;
    let step_ms = step.map_or(((to - from) / STEPS).max(1000), Step::ms);
    let kind = match format {
        Format::Json => "application/json",
        Format::Csv => "text/csv; charset=utf-8",
    };
    let share = app.reads.budget().hold(0);
    let steps = Steps { on_clock: step.map(|step| (step, tz)), span: (from, to, step_ms) };
    let answer = Answer::new(query, format, is_drawn, steps, share);
    let body = app.in_parts(answer).await?;
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], body).into_response())
}

/// Which steps are asked for.
struct Steps {
    /// On the clock of a zone; `None`: equal ones from the span's beginning on.
    on_clock: Option<(Step, TimeZone)>,
    /// From, to, and a step's usual length, ms.
    span: (i64, i64, i64),
}

impl Steps {
    /// By these steps; `read` gives equal ones.
    fn roll(
        &self,
        read: impl Fn(i64, i64, i64) -> Result<Rollup, WebError>,
    ) -> Result<OnClock, WebError> {
        let (from, to, step_ms) = self.span;
        match &self.on_clock {
            Some((step, tz)) if from < to => clock::roll(*step, (from, to), tz, read),
            _ => {
                let rollup = read(from, to, step_ms)?;
                Ok(OnClock { starts_ms: starts(&rollup), rollup })
            }
        }
    }
}

/// Where equal steps begin.
fn starts(rollup: &Rollup) -> Vec<i64> {
    let n = rollup.fields.iter().map(|f| f.buckets.len()).max().unwrap_or(0);
    (0..n as i64).map(|i| rollup.from_ms + i * rollup.step_ms).collect()
}

/// An answer in the making.
struct Answer {
    query: Query,
    format: Format,
    is_drawn: bool,
    steps: Steps,
    /// Where each step begins.
    starts_ms: Vec<i64>,
    /// The service as it is stored: what is drawn by the minute is a level by then.
    spec: Arc<ServiceSpec>,
    /// The fields that are still to be read, a few together; `None`: it has not begun.
    groups: Option<VecDeque<Vec<String>>>,
    /// What is read and not written yet: the fields, and from which bucket on.
    read: VecDeque<FieldRollup>,
    at: usize,
    averages: Vec<Averages>,
    n_written: usize,
    times: Rfc3339,
    /// Of what is read, in the memory of all reads.
    share: Share,
    is_over: bool,
}

impl Answer {
    fn new(query: Query, format: Format, is_drawn: bool, steps: Steps, share: Share) -> Answer {
        Answer {
            query,
            format,
            is_drawn,
            steps,
            starts_ms: Vec::new(),
            spec: Arc::default(),
            groups: None,
            read: VecDeque::new(),
            at: 0,
            averages: Vec::new(),
            n_written: 0,
            times: Rfc3339::default(),
            share,
            is_over: false,
        }
    }

    fn n_steps(&self) -> usize {
        let (from, to, step) = self.steps.span;
        usize::try_from(to.saturating_sub(from).saturating_add(step - 1) / step).unwrap_or(0)
    }

    /// Reads these fields; none named are all.
    fn fields(&self, history: &dyn History, names: &[&str]) -> Result<OnClock, WebError> {
        let (node, service) = (&self.query.node, &self.query.service);
        self.steps.roll(|from, to, step| {
            let read = history.rollup(node, service, names, from, to, step)?;
            if !self.is_drawn {
                return Ok(read);
            }
            let n_cells: usize = read.fields.iter().map(|f| f.buckets.len()).sum();
            reading::charge(n_cells * size_of::<Bucket>()).map_err(WebError::stopped)?;
            let field = self.query.field.as_deref();
            let drawn = drawn(history, node, &read, to, field.as_slice())?;
            match field {
                Some(name) if drawn.fields.is_empty() => {
                    Err(WebError::not_found(format!("no field {name:?} in {service}")))
                }
                _ => Ok(drawn),
            }
        })
    }

    /// Which fields are read together: all of them where that is little.
    fn plan(&self, history: &dyn History) -> Result<VecDeque<Vec<String>>, WebError> {
        if let (Some(field), false) = (&self.query.field, self.is_drawn) {
            return Ok(VecDeque::from([vec![field.clone()]]));
        }
        let n_steps = self.n_steps();
        let spec = history.spec(&self.query.node, &self.query.service);
        let n_fields = spec.map_or(0, |spec| spec.fields.len());
        let n_cells = n_fields.saturating_mul(n_steps);
        // Of more steps than a field may have the history says so.
        if n_cells > CELLS_MAX && n_steps as i64 <= BUCKETS_MAX {
            return Err(WebError::bad(format!(
                "{n_fields} fields by {n_steps} steps are {n_cells} cells, at most {CELLS_MAX} are \
                 answered: ask for a larger step, a shorter span or one field (field=)"
            )));
        }
        // A cdef may need the others.
        if n_cells <= CELLS_AT_ONCE || self.is_drawn {
            return Ok(VecDeque::from([vec![]]));
        }
        let (from, to, _) = self.steps.span;
        let (node, service) = (&self.query.node, &self.query.service);
        // As it was at the end of the span, which tells the names.
        let as_it_was = history.rollup(node, service, &[], from, to, to - from)?;
        let names: Vec<String> = as_it_was.fields.into_iter().map(|f| f.spec.name).collect();
        let each = (CELLS_AT_ONCE / n_steps.max(1)).max(1);
        Ok(names.chunks(each).map(<[String]>::to_vec).collect())
    }

    /// Reads the next fields, if there are any.
    fn read_next(&mut self, history: &dyn History) -> Result<bool, WebError> {
        self.share.shrink_to(0);
        let Some(names) = self.groups.as_mut().and_then(VecDeque::pop_front) else {
            return Ok(false);
        };
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let OnClock { rollup: read, starts_ms } = self.fields(history, &names)?;
        (self.starts_ms, self.spec) = (starts_ms, read.spec);
        let n_cells: usize = read.fields.iter().map(|f| f.buckets.len()).sum();
        if !self.share.grow(n_cells * size_of::<Bucket>()) {
            return Err(WebError::stopped(Stop::Busy));
        }
        for averages in read.averages {
            if !self.averages.contains(&averages) {
                self.averages.push(averages);
            }
        }
        self.read.extend(read.fields);
        Ok(true)
    }

    /// The first part: it decides what the answer is, or that there is none.
    fn begin(&mut self, history: &dyn History, out: &mut String) -> Result<(), WebError> {
        self.groups = Some(self.plan(history)?);
        self.read_next(history)?;
        // Writing into a String cannot fail.
        let _ = match self.format {
            Format::Csv => out.write_str("time,node,service,field,count,min,max,mean,first,last\n"),
            Format::Json => {
                let (from, _, step) = self.steps.span;
                let first = self.starts_ms.first().copied().unwrap_or(from);
                let _ = write!(out, "{{\"from_ms\":{first},\"step_ms\":{step}");
                if first < from {
                    let _ = write!(out, ",\"first_from_ms\":{from}");
                }
                if !self.starts_ms.windows(2).all(|w| w[1] - w[0] == step) {
                    let _ = write!(out, ",\"starts_ms\":{}", json!(self.starts_ms));
                }
                out.write_str(",\"fields\":[")
            }
        };
        Ok(())
    }

    /// Writes of the first field that is read.
    fn write(&mut self, out: &mut String) {
        let Some(field) = self.read.front() else { return };
        match self.format {
            Format::Json => {
                let comma = if self.n_written > 0 { "," } else { "" };
                out.push_str(comma);
                let stored = self.spec.field(&field.spec.name);
                let kind = stored.map_or(field.spec.kind, |f| f.kind);
                json_field(&self.query, field, kind, out);
                self.at = field.buckets.len();
            }
            Format::Csv => {
                let end = field.buckets.len().min(self.at + CSV_ROWS);
                // The first step holds nothing from before the span.
                let from = self.steps.span.0;
                let starts = |i: usize| self.starts_ms.get(i).copied().unwrap_or(from).max(from);
                csv_rows(&self.query, field, self.at..end, starts, &mut self.times, out);
                self.at = end;
            }
        }
        if self.at == field.buckets.len() {
            self.read.pop_front();
            (self.at, self.n_written) = (0, self.n_written + 1);
        }
    }

    fn end(&mut self, out: &mut String) {
        self.is_over = true;
        if self.format == Format::Json {
            out.push(']');
            if !self.averages.is_empty() {
                let _ = write!(out, ",\"averages\":{}", json!(self.averages));
            }
            out.push('}');
        }
    }
}

impl Parts for Answer {
    fn next(&mut self, history: &dyn History) -> Result<Option<Bytes>, WebError> {
        let mut out = String::new();
        if self.groups.is_none() {
            self.begin(history, &mut out)?;
        }
        while out.len() < PART_BYTES && !self.is_over {
            if !self.read.is_empty() {
                self.write(&mut out);
            } else if !self.read_next(history)? {
                self.end(&mut out);
            }
        }
        Ok(Some(Bytes::from(out)).filter(|part| !part.is_empty()))
    }
}

/// Rows of CSV that are written at once.
const CSV_ROWS: usize = 2048;

/// A number; JSON has no infinity and no NaN: these are strings.
fn number(v: f64, out: &mut String) {
    // Writing into a String cannot fail.
    let _ = if v.is_finite() { write!(out, "{v:?}") } else { write!(out, "\"{v}\"") };
}

fn column(name: &str, buckets: &[Bucket], pick: impl Fn(&Bucket) -> f64, out: &mut String) {
    let _ = write!(out, ",\"{name}\":[");
    for (i, b) in buckets.iter().enumerate() {
        if i > 0 {
            out.push(',');
        }
        match b.count {
            0 => out.push_str("null"),
            _ => number(pick(b), out),
        }
    }
    out.push(']');
}

fn json_field(query: &Query, field: &FieldRollup, kind: FieldType, out: &mut String) {
    let b = &field.buckets;
    let head = [
        ("node", json!(query.node)),
        ("service", json!(query.service)),
        ("field", json!(field.spec.name)),
        ("type", json!(kind)),
        ("increase", json!(field.increase)),
    ];
    let head = head.map(|(k, v)| format!("\"{k}\":{v}"));
    let _ = write!(out, "{{{},\"count\":[", head.join(","));
    for (i, b) in b.iter().enumerate() {
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(out, "{comma}{}", b.count);
    }
    out.push(']');
    column("min", b, |b| b.min, out);
    column("max", b, |b| b.max, out);
    column("mean", b, |b| b.sum / b.count as f64, out);
    column("first", b, |b| b.first, out);
    column("last", b, |b| b.last, out);
    out.push('}');
}

fn csv_rows(
    query: &Query,
    field: &FieldRollup,
    rows: Range<usize>,
    start_ms: impl Fn(usize) -> i64,
    times: &mut Rfc3339,
    out: &mut String,
) {
    for i in rows {
        let b = &field.buckets[i];
        if b.count == 0 {
            continue;
        }
        times.push(start_ms(i), out);
        for cell in [&query.node, &query.service, &field.spec.name] {
            out.push(',');
            csv_cell(cell, out);
        }
        let mean = b.sum / b.count as f64;
        let Bucket { count, min, max, first, last, .. } = b;
        // Writing into a String cannot fail.
        let _ = writeln!(out, ",{count},{min:?},{max:?},{mean:?},{first:?},{last:?}");
    }
}

#[cfg(test)]
mod tests;
