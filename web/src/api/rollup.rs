//! `/api/v1/rollup`: a service's fields by steps of time, as they are drawn.

use super::{Format, Query, csv_cell};
use crate::app::{App, now_ms};
use crate::error::{Asked, WebError};
use crate::graph::as_drawn;
use crate::times::Rfc3339;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use rookery_collector::history::{Bucket, Rollup};
use rookery_plugins::config::parse_span_ms;
use serde_json::{Value as Json, json};
use std::fmt::Write;

/// Steps of a span when none is asked for.
const STEPS: i64 = 300;

/// `GET /api/v1/rollup?node=N&service=S[&field=F][&from=T][&to=T][&step=5m]`; with
/// `drawn=1` after each field's `cdef`, as the graph shows it.
pub async fn rollup(
    State(app): State<App>,
    Asked(query): Asked<Query>,
) -> Result<Response, WebError> {
    let format = query.format()?;
    let (from, to) = query.span(now_ms())?;
    let is_drawn = match query.drawn.as_deref() {
        None | Some("" | "0") => false,
        Some("1") => true,
        Some(other) => return Err(WebError::bad(format!("drawn {other:?}: write 0 or 1"))),
    };
    let step = match &query.step {
        Some(text) => step_ms(text)?,
        None => ((to - from) / STEPS).max(1000),
    };
    let (body, kind) = app
        .blocking(move |app| {
            let mut fields: Vec<&str> = query.field.iter().map(String::as_str).collect();
            if is_drawn {
                // A cdef may need the others.
                fields.clear();
            }
            let read = app.history.rollup(&query.node, &query.service, &fields, from, to, step)?;
            let read = if is_drawn { drawn(&query, &read)? } else { read };
            Ok(match format {
                Format::Json => (to_json(&query, &read).to_string(), "application/json"),
                Format::Csv => (to_csv(&query, &read), "text/csv; charset=utf-8"),
            })
        })
        .await?;
    Ok(([(header::CONTENT_TYPE, kind), (header::CACHE_CONTROL, "no-cache")], body).into_response())
}

fn drawn(query: &Query, read: &Rollup) -> Result<Rollup, WebError> {
    let mut drawn = as_drawn(read);
    if let Some(name) = &query.field {
        drawn.fields.retain(|f| f.spec.name == *name);
        if drawn.fields.is_empty() {
            return Err(WebError::not_found(format!("no field {name:?} in {}", query.service)));
        }
    }
    Ok(drawn)
}

fn step_ms(text: &str) -> Result<i64, WebError> {
    let bad = |e: String| WebError::bad(format!("step: {e}"));
    let ms = match text.parse::<f64>() {
        // A bare number is seconds, as Prometheus' API has it.
        Ok(s) if s > 0.0 => (s * 1000.0) as u64,
        _ => parse_span_ms(text).map_err(bad)?,
    };
    i64::try_from(ms).ok().filter(|ms| *ms > 0).ok_or_else(|| bad(format!("{text:?} is no step")))
}

fn finite(v: f64) -> Json {
    if v.is_finite() { json!(v) } else { json!(v.to_string()) }
}

fn column(buckets: &[Bucket], pick: impl Fn(&Bucket) -> f64) -> Json {
    let cells = buckets.iter().map(|b| if b.count == 0 { Json::Null } else { finite(pick(b)) });
    Json::Array(cells.collect())
}

fn to_json(query: &Query, rollup: &Rollup) -> Json {
    let fields = rollup.fields.iter().map(|f| {
        let b = &f.buckets;
        json!({
            "node": query.node,
            "service": query.service,
            "field": f.spec.name,
            "type": f.spec.kind,
            "count": b.iter().map(|b| b.count).collect::<Vec<u64>>(),
            "min": column(b, |b| b.min),
            "max": column(b, |b| b.max),
            "mean": column(b, |b| b.sum / b.count as f64),
            "first": column(b, |b| b.first),
            "last": column(b, |b| b.last),
            "increase": f.increase,
        })
    });
    let mut answer = json!({
        "from_ms": rollup.from_ms,
        "step_ms": rollup.step_ms,
        "fields": fields.collect::<Vec<Json>>(),
    });
    if !rollup.averages.is_empty() {
        answer["averages"] = json!(rollup.averages);
    }
    answer
}

fn to_csv(query: &Query, rollup: &Rollup) -> String {
    let mut out = "time,node,service,field,count,min,max,mean,first,last\n".to_owned();
    let mut times = Rfc3339::default();
    for field in &rollup.fields {
        for (i, b) in field.buckets.iter().enumerate().filter(|(_, b)| b.count > 0) {
            times.push(rollup.from_ms + i as i64 * rollup.step_ms, &mut out);
            for cell in [&query.node, &query.service, &field.spec.name] {
                out.push(',');
                csv_cell(cell, &mut out);
            }
            let mean = b.sum / b.count as f64;
            let Bucket { count, min, max, first, last, .. } = b;
            // Writing into a String cannot fail.
            let _ = writeln!(out, ",{count},{min:?},{max:?},{mean:?},{first:?},{last:?}");
        }
    }
    out
}
