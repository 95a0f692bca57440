//! `/graph/N/S.png` and `.svg`: a service's graph of any span.
//!
//! Takes `from`, `to`, `width` and `height` (without the legend, px), `theme` (light,
//! dark), `tz` (an IANA name), `field` (one alone) and `legend` (1, 0),
//! `low` and `high` (the ends of the value axis). Spans are
//! widened to whole pixels, so that two requests a moment apart are one picture;
//! drawn pictures are kept until new samples of the node arrive.

use crate::api::find_service;
use crate::app::{App, now_ms};
use crate::error::{Asked, WebError};
use crate::graph::{self, GraphRequest, Limits, Mark, Theme};
use crate::times;
use axum::Router;
use axum::body::Bytes;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use jiff::tz::TimeZone;
use rookery_collector::history::{Rollup, ServiceInfo};
use serde::Deserialize;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{Read, Write};
use std::sync::{Mutex, PoisonError};

/// How much is kept of what was drawn, bytes.
const KEPT_BYTES_MAX: usize = 16 << 20;

/// A picture may be this old while samples arrive, ms, and never older than an
/// eighth of a pixel.
const STALE_MS_MAX: i64 = 30_000;

/// Shortest span, ms.
const SPAN_MS_MIN: i64 = 1_000;

/// Steps longer than this are whole hours, ms.
const WHOLE_HOURS_FROM_MS: i64 = 3 * HOUR_MS;
/// Steps longer than this are half days or whole ones, ms: a year's are.
const HALF_DAYS_FROM_MS: i64 = 8 * HOUR_MS;
const HOUR_MS: i64 = 3_600_000;

/// Most marks of a picture: the newest.
const MARKS_MAX: usize = 60;

/// Plot sizes unless asked for, px.
const WIDTH: u32 = 800;
const HEIGHT: u32 = 200;

/// The routes of pictures.
pub fn routes() -> Router<App> {
    Router::new().route("/graph/{node}/{file}", get(picture))
}

/// What a picture's query may say.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    from: Option<String>,
    to: Option<String>,
    width: Option<u32>,
    height: Option<u32>,
    theme: Option<String>,
    tz: Option<String>,
    field: Option<String>,
    legend: Option<String>,
    low: Option<f64>,
    high: Option<f64>,
    /// Lets a page ask for the newest picture under a new address.
    #[serde(rename = "t")]
    _t: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum Form {
    Svg,
    Png,
}

/// A picture's every property; two equal ones look alike.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Key {
    node: String,
    service: String,
    field: Option<String>,
    from_ms: i64,
    to_ms: i64,
    step_ms: i64,
    width: u32,
    height: u32,
    is_dark: bool,
    tz: Option<String>,
    legend: bool,
    form: Form,
    /// Bits of the ends of an asked value axis.
    axis: Option<(u64, u64)>,
    /// How many marks have been added: a new one is seen at once.
    events: u64,
}

struct Kept {
    body: Bytes,
    etag: String,
    version: u64,
    drawn_ms: i64,
    used: u64,
}

/// Drawn pictures, newest used first out last.
#[derive(Default)]
pub struct Pictures(Mutex<Shelf>);

#[derive(Default)]
struct Shelf {
    kept: HashMap<Key, Kept>,
    bytes: usize,
    clock: u64,
}

impl Pictures {
    fn find(&self, key: &Key, version: u64, now_ms: i64) -> Option<(Bytes, String)> {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.clock += 1;
        let clock = shelf.clock;
        let kept = shelf.kept.get_mut(key)?;
        let age_ms = now_ms.saturating_sub(kept.drawn_ms);
        let may_be_ms = STALE_MS_MAX.min(key.step_ms / 8);
        if kept.version != version && !(0..may_be_ms).contains(&age_ms) {
            return None;
        }
        kept.used = clock;
        Some((kept.body.clone(), kept.etag.clone()))
    }

    fn keep(&self, key: Key, kept: Kept) {
        let mut shelf = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        shelf.bytes += kept.body.len();
        let used = shelf.clock;
        if let Some(old) = shelf.kept.insert(key, Kept { used, ..kept }) {
            shelf.bytes -= old.body.len();
        }
        if shelf.bytes <= KEPT_BYTES_MAX {
            return;
        }
        // Half is dropped at once: this happens seldom.
        let mut by_age: Vec<(u64, Key)> =
            shelf.kept.iter().map(|(k, v)| (v.used, k.clone())).collect();
        by_age.sort_unstable_by_key(|(used, _)| *used);
        for (_, key) in by_age {
            if shelf.bytes <= KEPT_BYTES_MAX / 2 {
                break;
            }
            if let Some(old) = shelf.kept.remove(&key) {
                shelf.bytes -= old.body.len();
            }
        }
    }
}

/// The zone of a `tz=` parameter; the collector's own without one.
pub fn zone(name: Option<&str>) -> Result<TimeZone, WebError> {
    match name {
        None | Some("") => Ok(TimeZone::system()),
        Some(name) => TimeZone::get(name)
            .map_err(|_| WebError::bad(format!("tz {name:?}: no such time zone (Europe/Berlin)"))),
    }
}

async fn picture(
    State(app): State<App>,
    Path((node, file)): Path<(String, String)>,
    Asked(query): Asked<Query>,
    headers: HeaderMap,
) -> Result<Response, WebError> {
    let (service, form) = match file.rsplit_once('.') {
        Some((service, "svg")) => (service.to_owned(), Form::Svg),
        Some((service, "png")) => (service.to_owned(), Form::Png),
        _ => return Err(WebError::not_found("graphs are SERVICE.png and SERVICE.svg")),
    };
    let mut key = key(node, service, form, &query)?;
    key.events = app.events.version();
    let (body, etag) = app.blocking(move |app| app.picture(&key)).await?;
    let takes_gzip = headers
        .get(header::ACCEPT_ENCODING)
        .and_then(|v| v.to_str().ok())
        .is_some_and(|v| v.split(',').any(|w| w.split(';').next().map(str::trim) == Some("gzip")));
    let kind = match form {
        Form::Svg => "image/svg+xml",
        Form::Png => "image/png",
    };
    let known = headers.get(header::IF_NONE_MATCH).is_some_and(|v| v.as_bytes() == etag.as_bytes());
    let head = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "no-cache"),
        // A picture with another's text in it must not run it.
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::ETAG, etag.as_str()),
    ];
    if known {
        return Ok((StatusCode::NOT_MODIFIED, head).into_response());
    }
    if form == Form::Png {
        return Ok((head, body).into_response());
    }
    let vary = (header::VARY, "accept-encoding");
    if takes_gzip {
        return Ok((head, [(header::CONTENT_ENCODING, "gzip"), vary], body).into_response());
    }
    Ok((head, [vary], gunzip(&body)?).into_response())
}

/// SVGs are kept like this: a tenth of their size.
fn gzip(text: &[u8]) -> Result<Vec<u8>, WebError> {
    let mut encoder = GzEncoder::new(Vec::with_capacity(text.len() / 6), Compression::new(3));
    let packed = encoder.write_all(text).and_then(|()| encoder.finish());
    packed.map_err(|e| WebError::ours(format!("BUG: a picture cannot be packed: {e}")))
}

/// For those few who do not take gzip.
fn gunzip(packed: &[u8]) -> Result<Vec<u8>, WebError> {
    let mut text = Vec::with_capacity(packed.len() * 8);
    let unpacked = GzDecoder::new(packed).read_to_end(&mut text);
    unpacked.map_err(|e| WebError::ours(format!("BUG: a picture cannot be unpacked: {e}")))?;
    Ok(text)
}

fn key(node: String, service: String, form: Form, query: &Query) -> Result<Key, WebError> {
    let now = now_ms();
    let read = |name: &str, text: &Option<String>, default: i64| match text {
        Some(t) => times::parse(t, now).map_err(|e| WebError::bad(format!("{name}: {e}"))),
        None => Ok(default),
    };
    let to = read("to", &query.to, now)?;
    let from = read("from", &query.from, to.saturating_sub(86_400_000))?;
    if from >= to {
        return Err(WebError::bad("from must be before to"));
    }
    let theme = query.theme.as_deref().unwrap_or("light");
    let theme = Theme::parse(theme)
        .ok_or_else(|| WebError::bad(format!("theme {theme:?}: there are light and dark")))?;
    let width = query.width.unwrap_or(WIDTH).clamp(100, 4000);
    let height = query.height.unwrap_or(HEIGHT).clamp(80, 2400);
    let (from_ms, to_ms, step_ms) = whole_pixels(from, to, width);
    zone(query.tz.as_deref())?;
    Ok(Key {
        node,
        service,
        field: query.field.clone(),
        from_ms,
        to_ms,
        step_ms,
        width,
        height,
        is_dark: matches!(theme, Theme::Dark),
        tz: query.tz.clone(),
        legend: query.legend.as_deref() != Some("0"),
        form,
        axis: axis(query.low, query.high)?,
        events: 0,
    })
}

/// An asked value axis, as bits.
fn axis(low: Option<f64>, high: Option<f64>) -> Result<Option<(u64, u64)>, WebError> {
    match (low, high) {
        (None, None) => Ok(None),
        (Some(low), Some(high)) if low.is_finite() && high.is_finite() && low < high => {
            Ok(Some((low.to_bits(), high.to_bits())))
        }
        _ => Err(WebError::bad("low and high: two numbers, the lower first")),
    }
}

/// A span as a picture of some width has it.
pub(crate) struct Span {
    /// Left edge, ms.
    pub from_ms: i64,
    /// Right edge, ms.
    pub to_ms: i64,
    step_ms: i64,
}

impl Span {
    /// From texts as an address has them.
    pub(crate) fn parse(from: &str, to: &str, width: u32, now_ms: i64) -> Result<Span, WebError> {
        let read = |name: &str, text: &str| {
            times::parse(text, now_ms).map_err(|e| WebError::bad(format!("{name}: {e}")))
        };
        let (from, to) = (read("from", from)?, read("to", to)?);
        if from >= to {
            return Err(WebError::bad("from must be before to"));
        }
        let (from_ms, to_ms, step_ms) = whole_pixels(from, to, width);
        Ok(Span { from_ms, to_ms, step_ms })
    }
}

/// The span widened to whole steps of one pixel.
fn whole_pixels(from: i64, to: i64, width: u32) -> (i64, i64, i64) {
    let span = (to - from).max(SPAN_MS_MIN);
    let px = i64::from(width.max(1));
    let mut step = ((span + px - 1) / px).max(1);
    // The history's summaries are of whole hours, its digests of half days: such
    // steps need no more.
    for (from, unit) in [(WHOLE_HOURS_FROM_MS, HOUR_MS), (HALF_DAYS_FROM_MS, 12 * HOUR_MS)] {
        if step > from {
            step = (step + unit - 1) / unit * unit;
        }
    }
    let start = from.div_euclid(step) * step;
    let end = (to.div_euclid(step) + i64::from(to.rem_euclid(step) > 0)) * step;
    (start, end.max(start + step), step)
}

/// What [`draw`] needs beside the rollup.
struct Style<'a> {
    key: &'a Key,
    tz: &'a TimeZone,
    title: &'a str,
    limits: &'a [(String, Limits)],
    marks: &'a [Mark],
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
        };
        match self.draw(&key) {
            Ok(png) => Some(png),
            Err(e) => {
                tracing::warn!(node, service, "no picture for the mail: {}", e.text);
                None
            }
        }
    }

    /// The ends of the value axis that a service's picture would have.
    pub(crate) fn ends(
        &self,
        node: &str,
        info: &ServiceInfo,
        span: &Span,
    ) -> Result<Option<(f64, f64)>, WebError> {
        let (from, to, step) = (span.from_ms, span.to_ms, span.step_ms);
        let rollup = self.history.rollup(node, &info.spec.name, &[], from, to, step)?;
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
        };
        Ok(graph::ends(&request))
    }

    /// The limits that hold, by field.
    fn limits(&self, node: &str, info: &ServiceInfo) -> Vec<(String, Limits)> {
        let spec = &info.spec;
        let of = |name: &String| {
            let (warning, critical) = self.states.field_limits(node, &spec.name, name);
            (name.clone(), Limits { warning, critical })
        };
        spec.fields.iter().map(|f| of(&f.name)).collect()
    }

    /// From the shelf, or drawn.
    fn picture(&self, key: &Key) -> Result<(Bytes, String), WebError> {
        let (version, now) = (self.history.version(&key.node), now_ms());
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

    fn draw(&self, key: &Key) -> Result<Vec<u8>, WebError> {
        let tz = zone(key.tz.as_deref())?;
        let info = find_service(self, &key.node, &key.service)?;
        let fields: Vec<&str> = key.field.iter().map(String::as_str).collect();
        let (from, to, step) = (key.from_ms, key.to_ms, key.step_ms);
        let rollup = self.history.rollup(&key.node, &key.service, &fields, from, to, step)?;
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
        draw(&rollup, &Style { key, tz: &tz, title: &title, limits: &limits, marks: &marks })
    }
}

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
    };
    let drawn = match key.form {
        Form::Svg => graph::svg(&request).map(String::into_bytes),
        Form::Png => graph::png(&request),
    };
    drawn.map_err(|e| WebError::ours(format!("{} of {}: {e}", key.service, key.node)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn key(n: i64) -> Key {
        let query = Query::default();
        let mut key = super::key("n".into(), format!("s{n}"), Form::Svg, &query).expect("a key");
        key.from_ms = n;
        key
    }

    fn kept(version: u64, drawn_ms: i64, bytes: usize) -> Kept {
        let body = Bytes::from(vec![0; bytes]);
        Kept { body, etag: "\"x\"".into(), version, drawn_ms, used: 0 }
    }

    #[test]
    fn new_samples_make_a_picture_old_after_a_moment() {
        let pictures = Pictures::default();
        pictures.keep(key(1), kept(5, 1_000_000, 10));
        assert!(pictures.find(&key(1), 5, 9_000_000).is_some(), "nothing new has come");
        assert!(pictures.find(&key(1), 6, 1_001_000).is_some(), "less than a pixel has come");
        assert!(pictures.find(&key(1), 6, 1_040_000).is_none());
        assert!(pictures.find(&key(2), 5, 1_000_000).is_none());
    }

    #[test]
    fn the_shelf_stays_small_and_keeps_what_is_used() {
        let pictures = Pictures::default();
        for n in 0..40 {
            pictures.keep(key(n), kept(1, 0, 1 << 20));
            assert!(pictures.find(&key(0), 1, 0).is_some(), "used each time, after {n}");
        }
        let shelf = pictures.0.lock().expect("not poisoned");
        assert!(shelf.bytes <= KEPT_BYTES_MAX);
        assert_eq!(shelf.bytes, shelf.kept.values().map(|k| k.body.len()).sum::<usize>());
    }

    #[test]
    fn pictures_are_packed_and_unpacked() {
        let text = "<svg>".repeat(1000).into_bytes();
        let packed = gzip(&text).expect("packs");
        assert!(packed.len() < 100);
        assert_eq!(gunzip(&packed), Ok(text));
        assert!(gunzip(b"no gzip").is_err());
    }

    proptest! {
        #[test]
        fn spans_are_whole_pixels(
            from in 0..4_000_000_000_000_i64,
            span in 1..100_000_000_000_i64,
            width in 1..4000_u32,
        ) {
            let (start, end, step) = whole_pixels(from, from + span, width);
            prop_assert!(start <= from && end >= from + span);
            prop_assert_eq!((end - start) % step, 0);
            prop_assert!((end - start) / step <= i64::from(width) + 2);
        }
    }
}
