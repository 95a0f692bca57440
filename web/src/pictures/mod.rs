//! `/graph/N/S.png`, `.svg` and `.txt`: a service's graph of any span; `/graph.svg?f=…`
//! (`.png`, `.txt`): fields of any services on one.
//!
//! Takes `from`, `to`, `width` and `height` (without the legend, px), `theme` (light,
//! dark), `tz` (an IANA name), `field` (one alone) and `legend` (1, 0),
//! `low` and `high` (the ends of the value axis), `hide` (fields that are muted),
//! `pct` (percentiles) and `ghost` (how much earlier a span is laid over). Times without
//! a zone are on the clock of `tz`, which is the collector's unless asked. Spans are
//! widened to whole pixels, so that two requests a moment apart are one picture;
//! drawn pictures are kept until new samples of the node arrive.

mod conditional;
mod key;
pub mod mix;
mod over;
mod shelf;

use crate::api::find_service;
use crate::app::{App, now_ms};
use crate::error::{Asked, WebError};
use crate::graph::{self, GraphRequest, Limits, Mark, Over, Theme};
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, RawQuery, State};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use jiff::tz::TimeZone;
pub(crate) use key::split;
pub use key::zone;
use key::{Form, HEIGHT, Key, Query, WIDTH, whole_pixels};
pub(crate) use key::{Span, ghost, hide, is_muted, percents};
use mix::{How, Part};
use percent_encoding::percent_decode_str;
use rookery_collector::history::{Rollup, ServiceInfo};
use rookery_collector::reading;
use rookery_plugins::{FieldSpec, ServiceSpec};
pub use shelf::Pictures;
use shelf::{Kept, gunzip, gzip};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Most marks of a picture: the newest.
const MARKS_MAX: usize = 60;

/// The routes of pictures.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/graph/{node}/{file}", get(picture))
        .route("/graph.svg", get(async |app, q, h| mixed(app, q, h, Form::Svg).await))
        .route("/graph.png", get(async |app, q, h| mixed(app, q, h, Form::Png).await))
        .route("/graph.txt", get(async |app, q, h| mixed(app, q, h, Form::Text).await))
}

/// The service and the form of a file's name.
fn named(file: &str) -> Result<(String, Form), WebError> {
    match file.rsplit_once('.') {
        Some((service, "svg")) => Ok((service.to_owned(), Form::Svg)),
        Some((service, "png")) => Ok((service.to_owned(), Form::Png)),
        Some((service, "txt")) => Ok((service.to_owned(), Form::Text)),
        _ => Err(WebError::not_found("graphs are SERVICE.png, SERVICE.svg and SERVICE.txt")),
    }
}

async fn picture(
    State(app): State<App>,
    Path((node, file)): Path<(String, String)>,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Result<Response, WebError> {
    let (service, form) = named(&file)?;
    answer(&app, key::key(node, service, form, &query)?, &headers).await
}

/// `/graph.svg?f=NODE/SERVICE/FIELD&f=…`: fields of any services on one picture.
async fn mixed(
    State(app): State<App>,
    RawQuery(query): RawQuery,
    headers: HeaderMap,
    form: Form,
) -> Result<Response, WebError> {
    let (texts, query) = key::split::<Query>(query.as_deref().unwrap_or(""))?;
    let mut key = key::key(String::new(), "graph".to_owned(), form, &query)?;
    if texts.is_empty() {
        return Err(WebError::bad("f: name at least one field, as f=NODE/SERVICE/FIELD"));
    }
    Part::all(&texts)?;
    key.mix = texts;
    answer(&app, key, &headers).await
}

async fn answer(app: &App, mut key: Key, headers: &HeaderMap) -> Result<Response, WebError> {
    let form = key.form;
    key.events = app.events.version();
    let (body, etag) = app.blocking(move |app| app.picture(&key)).await?;
    let is_known = conditional::is_known(headers, &etag);
    let zipped = form == Form::Svg && conditional::takes_gzip(headers);
    let etag = if zipped { conditional::of_gzip(&etag) } else { etag };
    let kind = match form {
        Form::Svg => "image/svg+xml",
        Form::Png => "image/png",
        Form::Text => "text/plain; charset=utf-8",
    };
    let head = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        // A picture with another's text in it must not run it.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::ETAG, etag.as_str()),
    ];
    // An SVG alone is sent in two encodings, and its tag that has not changed says so, too.
    let vary: HeaderMap = (form == Form::Svg)
        .then_some((header::VARY, HeaderValue::from_static("accept-encoding")))
        .into_iter()
        .collect();
    if is_known {
        return Ok((StatusCode::NOT_MODIFIED, head, vary).into_response());
    }
    if zipped {
        return Ok((head, vary, [(header::CONTENT_ENCODING, "gzip")], body).into_response());
    }
    let body =
        if form == Form::Svg { gunzip(&body)?.into_response() } else { body.into_response() };
    Ok((head, vary, body).into_response())
}

/// What [`draw`] needs beside the rollup.
struct Style<'a> {
    key: &'a Key,
    tz: &'a TimeZone,
    title: &'a str,
    limits: &'a [(String, Limits)],
    marks: &'a [Mark],
    over: Over<'a>,
}

impl App {
    /// The service's graph for a mail: `None` when there is nothing to draw.
    pub fn graph_png(&self, node: &str, service: &str, from: i64, to: i64) -> Option<Vec<u8>> {
        let (from_ms, to_ms, step_ms) = whole_pixels(from, to, WIDTH);
        let key = Key {
            node: node.to_owned(),
            service: service.to_owned(),
            field: None,
            from_ms,
            to_ms,
            step_ms,
            width: WIDTH,
            height: HEIGHT,
            is_dark: false,
            tz: None,
            legend: true,
            form: Form::Png,
            axis: None,
            events: self.events.version(),
            hide: String::new(),
            percents: Vec::new(),
            ghost: None,
            mix: Vec::new(),
            colour: false,
        };
        match self.draw(&key) {
            Ok(png) => Some(png),
            Err(e) => {
                tracing::warn!(node, service, "no picture for the mail: {}", e.text);
                None
            }
        }
    }

    /// The picture at this address (`/graph/N/S.svg?from=-1w`), read from the history
    /// and drawn; nothing that was drawn before is looked for.
    pub fn draw_at(&self, address: &str) -> Result<Vec<u8>, WebError> {
        let bad = |e: &dyn std::fmt::Display| WebError::bad(format!("{address}: {e}"));
        let uri: axum::http::Uri = address.parse().map_err(|e| bad(&e))?;
        let query = axum::extract::Query::<Query>::try_from_uri(&uri).map_err(|e| bad(&e))?.0;
        let decoded = |s: &str| percent_decode_str(s).decode_utf8_lossy().into_owned();
        let parts: Vec<String> = uri.path().split('/').map(decoded).collect();
        let [_, _, node, file] = &parts[..] else {
            return Err(bad(&"write /graph/NODE/SERVICE.svg"));
        };
        let (service, form) = named(file)?;
        self.draw(&key::key(node.clone(), service, form, &query)?)
    }

    /// The ends of the value axis that a service's picture would have.
    pub(crate) fn ends(
        &self,
        node: &str,
        info: &ServiceInfo,
        span: &Span,
    ) -> Result<Option<(f64, f64)>, WebError> {
        let (from, to, step) = (span.from_ms, span.to_ms, span.step_ms);
        let rollup = self.rollup(node, info, None, (from, to, step))?;
        let request = GraphRequest {
            rollup: &rollup,
            to_ms: to,
            width: WIDTH,
            height: HEIGHT,
            theme: Theme::Light,
            tz: &TimeZone::UTC,
            title: "",
            limits: &self.limits(node, info),
            marks: &[],
            axis: None,
            legend: false,
            over: Over::default(),
        };
        Ok(graph::ends(&request))
    }

    /// A service's fields as they are drawn, or one of them.
    pub(crate) fn rollup(
        &self,
        node: &str,
        info: &ServiceInfo,
        field: Option<&str>,
        (from, to, step): (i64, i64, i64),
    ) -> Result<Rollup, WebError> {
        let service = &info.spec.name;
        let needs_others =
            field.is_some_and(|f| info.spec.field(f).is_some_and(|f| f.cdef.is_some()));
        let names: &[&str] = match (&field, needs_others) {
            (Some(field), false) => &[*field],
            _ => &[],
        };
        let read = self.history.rollup(node, service, names, from, to, step)?;
        let mut rollup = self.drawn(node, &read, to, field.as_slice())?;
        for f in rollup.fields.iter_mut().filter(|_| field.is_some()) {
            (f.spec.hidden, f.spec.negative) = (false, None);
        }
        Ok(rollup)
    }

    /// The limits that hold, by field, where they stand among the drawn values.
    fn limits(&self, node: &str, info: &ServiceInfo) -> Vec<(String, Limits)> {
        let fields = info.spec.fields.iter();
        fields.map(|f| (f.name.clone(), self.limits_of(node, &info.spec, f))).collect()
    }

    /// One field's.
    fn limits_of(&self, node: &str, spec: &ServiceSpec, field: &FieldSpec) -> Limits {
        let (warning, critical) = self.states.field_limits(node, &spec.name, &field.name);
        let drawn = |text: Option<String>| Limits::drawn(spec, field, &text?);
        Limits { warning: drawn(warning), critical: drawn(critical) }
    }

    /// From the shelf, or drawn.
    fn picture(&self, key: &Key) -> Result<(Bytes, String), WebError> {
        let (version, now) = (self.version(key), now_ms());
        if let Some(found) = self.pictures.find(key, version, now) {
            return Ok(found);
        }
        let drawn = self.draw(key)?;
        let body = Bytes::from(if key.form == Form::Svg { gzip(&drawn)? } else { drawn });
        let mut hasher = DefaultHasher::new();
        body.hash(&mut hasher);
        let etag = format!("\"{:016x}\"", hasher.finish());
        let kept = Kept { body: body.clone(), etag: etag.clone(), version, drawn_ms: now, used: 0 };
        self.pictures.keep(key.clone(), kept);
        Ok((body, etag))
    }

    /// Changes whenever there is something new in the picture.
    fn version(&self, key: &Key) -> u64 {
        if key.mix.is_empty() {
            return self.history.version(&key.node);
        }
        let nodes = self.history.nodes();
        nodes.iter().fold(0, |sum, n| sum.wrapping_add(self.history.version(&n.name)))
    }

    /// Fields of any services.
    fn draw_mix(&self, key: &Key) -> Result<Vec<u8>, WebError> {
        let tz = zone(key.tz.as_deref())?;
        let texts = self.expand(&key.mix)?;
        let parts = Part::all(&texts)?;
        let (from, to, step) = (key.from_ms, key.to_ms, key.step_ms);
        let rollup = self.mix(&parts, (from, to, step))?;
        let muted: Vec<String> =
            texts.iter().filter(|text| is_muted(&key.hide, text)).cloned().collect();
        let ghost = match &key.ghost {
            Some((_, ms)) => Some(self.mix(&parts, (from - ms, to - ms, step))?),
            None => None,
        };
        let of_one = || parts.iter().filter(|p| p.how == How::One);
        let limits: Vec<(String, Limits)> = of_one()
            .filter_map(|p| {
                let spec = self.history.spec(&p.which, &p.service)?;
                let field = spec.field(&p.field)?;
                Some((p.text.clone(), self.limits_of(&p.which, &spec, field)))
            })
            .collect();
        let nodes: BTreeSet<&str> = of_one().map(|p| p.which.as_str()).collect();
        let mut marks: Vec<Mark> = Vec::new();
        for node in nodes {
            for e in self.events_of(node, (from, to), MARKS_MAX)? {
                let mark = Mark { time_ms: e.time_ms, text: e.text };
                if !marks.contains(&mark) {
                    marks.push(mark);
                }
            }
        }
        marks.sort_by_key(|m| m.time_ms);
        marks.drain(..marks.len().saturating_sub(MARKS_MAX));
        let (percentiles, note) =
            self.mix_percentiles(&parts, &rollup, (from, to), &key.percents)?;
        let over = Over {
            muted: &muted,
            percentiles: &percentiles,
            ghost: ghost.as_ref(),
            ghost_name: key.ghost.as_ref().map_or("", |(name, _)| name),
            note,
        };
        let title = if key.legend && key.form != Form::Text { "Graph" } else { "" };
        draw(&rollup, &Style { key, tz: &tz, title, limits: &limits, marks: &marks, over })
    }

    fn draw(&self, key: &Key) -> Result<Vec<u8>, WebError> {
        if !key.mix.is_empty() {
            return self.draw_mix(key);
        }
        let tz = zone(key.tz.as_deref())?;
        let info = find_service(self, &key.node, &key.service)?;
        let fields: Vec<&str> = key.field.iter().map(String::as_str).collect();
        let (from, to, step) = (key.from_ms, key.to_ms, key.step_ms);
        let rollup = self.rollup(&key.node, &info, key.field.as_deref(), (from, to, step))?;
        let mut limits = self.limits(&key.node, &info);
        limits.retain(|(name, _)| fields.is_empty() || fields.contains(&name.as_str()));
        let marks: Vec<Mark> = self
            .events_of(&key.node, (from, to), MARKS_MAX)?
            .into_iter()
            .map(|e| Mark { time_ms: e.time_ms, text: e.text })
            .collect();
        // Without a legend it stands below a headline of the page.
        let title =
            if key.legend { format!("{} · {}", info.spec.title, key.node) } else { String::new() };
        let names = rollup.fields.iter().map(|f| f.spec.name.clone());
        let muted: Vec<String> = names.filter(|name| is_muted(&key.hide, name)).collect();
        let span = (from, to, step);
        let ghost = match &key.ghost {
            Some((_, ms)) => self.ghost(&key.node, &rollup, span, *ms)?,
            None => None,
        };
        let asked = (muted.as_slice(), key.percents.as_slice());
        // Too many samples are told in the picture, not instead of it.
        let (percentiles, mut note) = match self.percentiles(&key.node, &rollup, span, asked) {
            Ok(percentiles) => (percentiles, String::new()),
            Err(e) if e.status == StatusCode::BAD_REQUEST => {
                (Vec::new(), "no percentiles: too many samples in this span".to_owned())
            }
            Err(e) => return Err(e),
        };
        if let Some((name, _)) = &key.ghost {
            let has_any = |r: &Rollup| r.fields.iter().any(|f| f.total.count > 0);
            if !ghost.as_ref().is_some_and(has_any) {
                note = format!("{note} nothing is known of {name} before");
            }
        }
        let over = Over {
            muted: &muted,
            percentiles: &percentiles,
            ghost: ghost.as_ref(),
            ghost_name: key.ghost.as_ref().map_or("", |(name, _)| name),
            note: note.trim(),
        };
        let (limits, marks) = (&limits, &marks);
        draw(&rollup, &Style { key, tz: &tz, title: &title, limits, marks, over })
    }
}

/// What it takes to draw a picture, about: its pixels twice, or its text; and the drawing.
fn bytes_of(key: &Key, rollup: &Rollup) -> usize {
    let n_cells: usize = rollup.fields.iter().map(|f| f.buckets.len()).sum();
    let drawing = n_cells.saturating_mul(CELL_DRAWN_BYTES);
    let height = key.height as usize + rollup.fields.len() * LEGEND_PX;
    let pixels = (key.width as usize).saturating_mul(height);
    match key.form {
        Form::Png => drawing.saturating_add(pixels.saturating_mul(8)),
        Form::Svg => drawing.saturating_mul(2),
        Form::Text => drawing,
    }
}

/// A cell as it is drawn: a point with its band.
const CELL_DRAWN_BYTES: usize = 48;
/// A field's line of the legend, px.
const LEGEND_PX: usize = 20;

fn draw(rollup: &Rollup, style: &Style) -> Result<Vec<u8>, WebError> {
    let key = style.key;
    let request = GraphRequest {
        rollup,
        to_ms: key.to_ms,
        width: key.width,
        height: key.height,
        theme: if key.is_dark { Theme::Dark } else { Theme::Light },
        tz: style.tz,
        title: style.title,
        limits: style.limits,
        marks: style.marks,
        axis: key.axis.map(|(low, high)| (f64::from_bits(low), f64::from_bits(high))),
        legend: key.legend,
        over: style.over,
    };
    reading::charge(bytes_of(key, rollup)).map_err(WebError::stopped)?;
    let drawn = match key.form {
        Form::Svg => graph::svg(&request).map(String::into_bytes),
        Form::Png => graph::png(&request),
        Form::Text => {
            let (rows, columns) = (key.height as usize, key.width as usize);
            Ok(graph::terminal_text(&request, rows, columns, key.colour).into_bytes())
        }
    };
    drawn.map_err(|e| WebError::ours(format!("{} of {}: {e}", key.service, key.node)))
}
