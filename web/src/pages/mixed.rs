//! `/graph?f=NODE/SERVICE/FIELD&f=…`: fields of any services on one graph, its
//! numbers, and a form that adds one more.

use super::address::Address;
use super::layout::{RANGES, page, picture, segment, service_path};
use super::numbers::{Swatches, swatch};
use super::visitor::{View, Visitor};
use super::words::{count, number};
use super::{Html, Page, make};
use crate::app::{App, now_ms};
use crate::error::WebError;
use crate::graph::{Figures, Percentile, figures};
use crate::pictures::mix::{How, PARTS_MAX, Part, mix_path};
use crate::pictures::{Span, ghost, hide, is_muted, percents, split, zone};
use crate::search::{Found, Kind, search_only};
use crate::times::{self, Rfc3339, rfc3339};
use axum::extract::{RawQuery, State};
use axum::http::header;
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use rookery_collector::history::{Bucket, FieldRollup, Rollup};
use serde::Deserialize;
use serde_json::{Value as Json, json as to_json};
use std::fmt::Write;

/// Of the picture, px.
const SIZE: (u32, u32) = (1200, 360);
/// Suggestions below the form.
const HITS: usize = 20;
/// Steps of the numbers as CSV and JSON.
const STEPS: u32 = 600;

/// All but the fields.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    from: Option<String>,
    to: Option<String>,
    hide: Option<String>,
    pct: Option<String>,
    ghost: Option<String>,
    /// The clock of times without a zone; of the numbers alone, as a page has its reader's.
    tz: Option<String>,
    /// What a field to be added is searched by.
    q: Option<String>,
}

/// What is asked for.
struct Asked {
    texts: Vec<String>,
    parts: Vec<Part>,
    from: String,
    to: String,
    query: Query,
}

fn asked(app: &App, query: Option<String>) -> Result<Asked, WebError> {
    let (texts, query) = split::<Query>(query.as_deref().unwrap_or(""))?;
    let texts = app.expand(&texts)?;
    let given = |text: &Option<String>| text.clone().filter(|t| !t.trim().is_empty());
    let from = given(&query.from).unwrap_or_else(|| "-1d".to_owned());
    let to = given(&query.to).unwrap_or_else(|| "now".to_owned());
    hide(query.hide.as_deref())?;
    percents(query.pct.as_deref())?;
    ghost(query.ghost.as_deref())?;
    Ok(Asked { parts: Part::all(&texts)?, texts, from, to, query })
}

/// `GET /graph[?f=…][&from=T&to=T][&hide=…][&pct=95][&ghost=1w][&q=…]`.
pub async fn graph(State(app): State<App>, visitor: Visitor, RawQuery(query): RawQuery) -> Page {
    let asked = asked(&app, query)?;
    make(&app, visitor, move |view| one_graph(view, &asked)).await
}

fn one_graph(view: &View, asked: &Asked) -> Result<Html, WebError> {
    if asked.query.tz.is_some() {
        return Err(WebError::bad("tz: a page's zone is chosen at its foot"));
    }
    let span = Span::parse((&asked.from, &asked.to), SIZE.0, view.now_ms, &view.zone)?;
    let text = |text: &Option<String>| text.clone().unwrap_or_default();
    let address = Address {
        path: mix_path(&asked.texts),
        span: Some((asked.from.clone(), asked.to.clone())),
        hide: text(&asked.query.hide),
        pct: text(&asked.query.pct).trim().to_owned(),
        ghost: text(&asked.query.ghost).trim().to_owned(),
    };
    let q = text(&asked.query.q);
    let found = search_only(&*view.app.history, q.trim(), HITS, Some(Kind::Field))?;
    let shown = Shown { view, asked, address, span };
    let rollup = view.app.mix(&asked.parts, shown.span.steps())?;
    let n = asked.texts.len();
    let content = html! {
        h1 { @if n == 0 { "Graph" } @else { (count(n, "field")) " on one graph" } }
        @if n == 0 {
            p.soft { "Any fields of any nodes, up to " (PARTS_MAX) ", on one graph. Search for the "
                "first; or write it as NODE/SERVICE/FIELD, or " code { "sum:GROUP/SERVICE/FIELD" }
                " (also " code { "mean:" } "; " code { "web*" }
                " instead of a group: nodes by name; nothing: all nodes)." }
        } @else {
            (shown.ranges())
            (shown.picture())
            (shown.table(&rollup))
        }
        (shown.form(q.trim(), &found))
    };
    Ok(page(view, "Graph", &[("Fleet", "/".to_owned())], content))
}

/// What the parts of the page share.
struct Shown<'a> {
    view: &'a View<'a>,
    asked: &'a Asked,
    address: Address,
    span: Span,
}

impl Shown<'_> {
    fn picture(&self) -> Markup {
        let tz = self.view.tz.map_or(String::new(), |tz| format!("&tz={}", segment(tz)));
        let base = mix_path(&self.asked.texts).replacen("/graph?", "/graph.svg?", 1);
        let (from, to) = (segment(&self.asked.from), segment(&self.asked.to));
        let over = self.address.over();
        let src = |theme: &str, (width, height): (u32, u32)| {
            format!(
                "{base}&from={from}&to={to}&width={width}&height={height}&legend=0\
                 &theme={theme}{tz}{over}"
            )
        };
        let path = self.address.path.as_str();
        html! {
            div.graph.zoom data-from=(self.span.from_ms) data-to=(self.span.to_ms)
                data-path=(path) data-more=(over) {
                (picture(src, SIZE, "The fields of the table below over time"))
            }
        }
    }

    fn ranges(&self) -> Markup {
        let (a, asked) = (&self.address, self.asked);
        let is_on = a.ghost == "1w";
        html! {
            nav.ranges aria-label="Span" {
                @for (key, name, from) in RANGES {
                    @let here = asked.from == from && asked.to == "now";
                    a href=(a.of(from, "now")) data-key=(key) rel="nofollow"
                        aria-current=[here.then_some("true")] { (name) }
                }
                @for (key, p) in [("9", "95"), ("0", "99")] {
                    @let has = a.pct.split(',').any(|w| w.trim() == p);
                    a href=(a.toggled_percent(p)) data-key=(key) rel="nofollow"
                        aria-pressed=(has) { (p) " %" }
                }
                a href=(a.with_ghost(if is_on { "" } else { "1w" })) data-key="g" rel="nofollow"
                    aria-pressed=(is_on) { "a week before" }
                @if !a.hide.is_empty() {
                    a href=(a.with_hide("")) data-key="u" rel="nofollow" { "unmute all" }
                }
                form.row action="/graph" method="get" {
                    (self.inputs()) (a.inputs())
                    input name="from" value=(times::editable(&asked.from, &self.view.zone)) aria-label="From";
                    input name="to" value=(times::editable(&asked.to, &self.view.zone)) aria-label="To";
                    button type="submit" { "show" }
                }
            }
        }
    }

    /// The fields, hidden in a form.
    fn inputs(&self) -> Markup {
        html! { @for text in &self.asked.texts { input type="hidden" name="f" value=(text); } }
    }

    fn with(&self, texts: &[String]) -> String {
        Address { path: mix_path(texts), ..self.address.clone() }.url()
    }

    fn numbers(&self, format: &str) -> String {
        let path = mix_path(&self.asked.texts).replacen("/graph?", &format!("/graph.{format}?"), 1);
        let (from, to) = (rfc3339(self.span.from_ms), rfc3339(self.span.to_ms));
        format!("{path}&from={from}&to={to}")
    }

    fn table(&self, rollup: &Rollup) -> Markup {
        let swatches = Swatches::of(rollup);
        let (from, to) = (self.span.from_ms, self.span.to_ms);
        let asked = percents(Some(&self.address.pct)).unwrap_or_default();
        let read = self.view.app.mix_percentiles(&self.asked.parts, rollup, (from, to), &asked);
        let (lines, _) = read.unwrap_or_default();
        let asked: Vec<f64> = asked.iter().map(|p| f64::from(*p) / 1000.0).collect();
        let figures = figures(rollup);
        html! {
            h2 { "Numbers"
                span.more.soft { (self.view.local(self.span.from_ms)) " to "
                    (self.view.local(self.span.to_ms)) }
                a.more href=(self.numbers("csv")) { "as drawn, as CSV" }
                a.more href=(self.numbers("json")) { "JSON" }
            }
            div.scroll { table {
                thead { tr {
                    th { "field" } th.n { "cur" } th.n { "min" } th.n { "avg" } th.n { "max" }
                    @for p in &asked { th.n { (p) " %" } }
                    th { "exact" } th {}
                } }
                tbody { @for (i, part) in self.asked.parts.iter().enumerate() {
                    (self.row(part, rollup.fields.get(i).zip(figures.get(i)), &swatches, |v| {
                        v.map_or("–".to_owned(), |v| number(v, &rollup.spec))
                    }, &asked, &lines))
                } }
            } }
        }
    }

    fn row(
        &self,
        part: &Part,
        field: Option<(&FieldRollup, &Figures)>,
        swatches: &Swatches,
        shown: impl Fn(Option<f64>) -> String,
        asked: &[f64],
        lines: &[Percentile],
    ) -> Markup {
        let Some((field, figures)) = field else { return html! {} };
        let (total, a) = (&field.total, &self.address);
        let percentile = |p: &f64| {
            let own = |l: &&Percentile| l.field.as_ref() == Some(&part.text) && l.percent == *p;
            lines.iter().find(own).map(|l| l.value)
        };
        let muted = is_muted(&a.hide, &part.text);
        let rest: Vec<String> =
            self.asked.texts.iter().filter(|t| **t != part.text).cloned().collect();
        let exact = |format: &str| {
            let (node, service) = (segment(&part.which), segment(&part.service));
            let (from, to) = (rfc3339(self.span.from_ms), rfc3339(self.span.to_ms));
            let field = segment(&part.field);
            format!(
                "/api/v1/samples?node={node}&service={service}&field={field}&from={from}&to={to}\
                 &format={format}"
            )
        };
        html! { tr {
            td {
                a.legend href=(a.toggled_field(&part.text)) rel="nofollow" aria-pressed=(muted)
                    data-mute=(part.text) {
                    @if let Some(colours) = swatches.get(&part.text) { (swatch(colours, muted)) }
                    " " (field.spec.label_or_name())
                }
                span.soft { (part.text) }
            }
            td.n { (shown(figures.cur)) } td.n { (shown(figures.min)) }
            td.n { (shown(figures.avg)) } td.n { (shown(figures.max)) }
            @for p in asked { td.n { (shown(percentile(p))) } }
            td { @if part.how == How::One && total.count > 0 {
                a href=(exact("csv")) { "CSV" } " " a href=(exact("json")) { "JSON" } " "
                a href=(service_path(&part.which, &part.service)) { "service" }
            } }
            td { a href=(self.with(&rest)) rel="nofollow" { "remove" } }
        } }
    }

    /// Adds one: by its name, or by a search whose hits are links.
    fn form(&self, q: &str, found: &Found) -> Markup {
        let given = [("from", &self.asked.from), ("to", &self.asked.to)];
        let inputs = html! {
            (self.inputs()) (self.address.inputs())
            @for (name, text) in given { input type="hidden" name=(name) value=(text); }
        };
        let is_full = self.asked.texts.len() >= PARTS_MAX;
        let with = |text: &str| {
            let mut texts = self.asked.texts.clone();
            texts.push(text.to_owned());
            self.with(&texts)
        };
        html! {
            h2 { "Add a field" }
            @if is_full { p.soft { "There are " (PARTS_MAX) ", as many as can be drawn." } } @else {
                form.row.add action="/graph" method="get" data-add=(self.with(&self.asked.texts)) {
                    (inputs)
                    input.long type="search" name="q" value=(q) placeholder="db1 sda write"
                        autocomplete="off" aria-label="Search for a field";
                    button type="submit" { "search" }
                }
                form.row action="/graph" method="get" {
                    (inputs)
                    input.long name="f" placeholder="sum:web*/cpu/user"
                        aria-label="A field, a sum or a mean by its name";
                    button type="submit" { "add" }
                }
                @if !q.is_empty() {
                    p.soft { (count(found.total, "field")) " found"
                        @if found.total > found.hits.len() { ", the best " (found.hits.len())
                            " are shown" } }
                    ul.hits { @for hit in &found.hits { @if let Some(text) = &hit.graph { li {
                        a href=(with(text)) rel="nofollow" {
                            (hit.title) " " span.soft { (hit.place) } }
                    } } } }
                }
            }
        }
    }
}

/// What a picture shows, as a rollup.
async fn rollup(app: &App, query: Option<String>) -> Result<Rollup, WebError> {
    let asked = asked(app, query)?;
    app.blocking(move |app| {
        let zone = zone(asked.query.tz.as_deref())?;
        let span = Span::parse((&asked.from, &asked.to), STEPS, now_ms(), &zone)?;
        let mut rollup = app.mix(&asked.parts, span.steps())?;
        rollup.fields.truncate(asked.parts.len());
        Ok(rollup)
    })
    .await
}

/// `GET /graph.csv?f=…`.
pub async fn csv(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, WebError> {
    let rollup = rollup(&app, query).await?;
    let mut out = "time,field,count,min,max,mean\n".to_owned();
    let mut times = Rfc3339::default();
    for field in &rollup.fields {
        for (i, b) in field.buckets.iter().enumerate().filter(|(_, b)| b.count > 0) {
            times.push(rollup.from_ms + i as i64 * rollup.step_ms, &mut out);
            out.push(',');
            crate::api::csv_cell(&field.spec.name, &mut out);
            let Bucket { count, min, max, sum, .. } = b;
            // Writing into a String cannot fail.
            let _ = writeln!(out, ",{count},{min:?},{max:?},{:?}", sum / *count as f64);
        }
    }
    let head =
        [(header::CONTENT_TYPE, "text/csv; charset=utf-8"), (header::CACHE_CONTROL, "no-cache")];
    Ok((head, out).into_response())
}

/// `GET /graph.json?f=…`.
pub async fn json(State(app): State<App>, RawQuery(query): RawQuery) -> Result<Response, WebError> {
    let rollup = rollup(&app, query).await?;
    let finite = |v: f64| if v.is_finite() { to_json!(v) } else { to_json!(v.to_string()) };
    let column = |buckets: &[Bucket], of: fn(&Bucket) -> f64| {
        let cell = |b: &Bucket| if b.count == 0 { Json::Null } else { finite(of(b)) };
        Json::Array(buckets.iter().map(cell).collect())
    };
    let field = |f: &rookery_collector::history::FieldRollup| {
        to_json!({
            "field": f.spec.name,
            "label": f.spec.label_or_name(),
            "count": f.buckets.iter().map(|b| b.count).collect::<Vec<u64>>(),
            "min": column(&f.buckets, |b| b.min),
            "max": column(&f.buckets, |b| b.max),
            "mean": column(&f.buckets, |b| b.sum / b.count as f64),
        })
    };
    let fields: Vec<Json> = rollup.fields.iter().map(field).collect();
    let body = to_json!({"from_ms": rollup.from_ms, "step_ms": rollup.step_ms, "fields": fields});
    let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    Ok((head, body.to_string()).into_response())
}
