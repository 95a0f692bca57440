//! `/node/N/S`: one service, by day, week, month and year, or over any span;
//! below it the numbers, the limits and the way to the exact samples.

use super::address::Address;
use super::hush::{self, About};
use super::layout::{Graph, RANGES, node_path, page, segment, service_path, state_badge};
use super::visitor::{View, Visitor};
use super::words::{ago, small_span};
use super::{Html, Page, make};
use crate::api::find_service;
use crate::app::App;
use crate::error::{Asked, WebError};
use crate::pictures::{ghost, hide, percents};
use crate::times;
use axum::extract::{Path, State};
use maud::{Markup, html};
use rookery_collector::history::ServiceInfo;
use serde::Deserialize;

/// Earlier spans with a link: key, name, `ghost`.
const GHOSTS: [(&str, &str, &str); 2] = [("g", "a week before", "1w"), ("b", "a day before", "1d")];

/// Shortest span that buttons lead to, ms.
const SPAN_MS_MIN: i64 = 10_000;

/// Steps of the table's rollup: only totals are shown.
const TABLE_STEPS: i64 = 4;

/// The query: none for the four graphs.
#[derive(Deserialize)]
pub struct Span {
    from: Option<String>,
    to: Option<String>,
    /// Muted fields.
    hide: Option<String>,
    /// Percentiles.
    pct: Option<String>,
    /// How much earlier the ghost is.
    ghost: Option<String>,
}

/// `GET /node/N/S[?from=T&to=T][&hide=F,F][&pct=95,99][&ghost=1w]`.
pub async fn service(
    State(app): State<App>,
    Path((node, service)): Path<(String, String)>,
    visitor: Visitor,
    span: Result<Asked<Span>, WebError>,
) -> Page {
    let Asked(span) = span?;
    make(&app, visitor, move |view| one_service(view, &node, &service, &span)).await
}

/// What the parts of the page share.
pub struct Shown<'a> {
    pub view: &'a View<'a>,
    pub node: &'a str,
    pub info: &'a ServiceInfo,
    /// As written in the address; relative ones move with time.
    pub from: &'a str,
    pub to: &'a str,
    pub from_ms: i64,
    pub to_ms: i64,
    /// Where the reader is, and what lies over the graphs.
    pub address: Address,
}

fn one_service(view: &View, node: &str, service: &str, span: &Span) -> Result<Html, WebError> {
    let (app, now_ms) = (view.app, view.now_ms);
    let info = find_service(app, node, service)?;
    let given = |text: &Option<String>| text.clone().filter(|t| !t.trim().is_empty());
    let (from, to) = (given(&span.from), given(&span.to));
    let is_zoomed = from.is_some() || to.is_some();
    let to = to.unwrap_or_else(|| "now".to_owned());
    let from = from.unwrap_or_else(|| "-1d".to_owned());
    let read = |name: &str, text: &str| {
        times::parse(text, now_ms).map_err(|e| WebError::bad(format!("{name}: {e}")))
    };
    let (from_ms, to_ms) = (read("from", &from)?, read("to", &to)?);
    if from_ms >= to_ms {
        return Err(WebError::bad("from must be before to"));
    }
    percents(span.pct.as_deref())?;
    ghost(span.ghost.as_deref())?;
    let address = Address {
        path: service_path(node, service),
        span: is_zoomed.then(|| (from.clone(), to.clone())),
        hide: hide(span.hide.as_deref())?.to_owned(),
        pct: given(&span.pct).unwrap_or_default(),
        ghost: given(&span.ghost).unwrap_or_default(),
    };
    let shown = Shown { view, node, info: &info, from: &from, to: &to, from_ms, to_ms, address };
    let step = ((to_ms - from_ms) / TABLE_STEPS).max(1);
    let rollup = app.history.rollup(node, service, &[], from_ms, to_ms, step)?;
    let state = app.states.service_state(node, service);
    let events = super::events::below_graph(view, node, (from_ms, to_ms))?;
    let title = format!("{} on {node}", info.spec.title);
    let crumbs = [("Fleet", "/".to_owned()), (node, node_path(node))];
    Ok(page(
        view,
        &title,
        &crumbs,
        html! {
            h1 { (info.spec.title) " " (state_badge(state.state, state.hard)) }
            @if !state.text.is_empty() {
                p { (state.text)
                    @if state.since_ms > 0 {
                        span.soft { " since " (view.local(state.since_ms)) ", "
                            (ago(state.since_ms, now_ms)) }
                    }
                }
            }
            (hush::handling(view, &state))
            (hush::forms(view, &About { node, service: Some(service) }, &state))
            @if !info.active { p { span.badge.UNKNOWN { "no longer reported" } } }
            @if !info.spec.info.is_empty() { p.info { (info.spec.info) } }
            p { a href=(super::compare::path(service, "")) { "Compare with other nodes" } }
            (shown.ranges(is_zoomed))
            (shown.toggles())
            @if is_zoomed { (shown.one_graph()) } @else { (shown.four_graphs()) }
            (events)
            (super::numbers::table(&shown, &rollup))
        },
    ))
}

impl Shown<'_> {
    fn path(&self) -> String {
        service_path(self.node, &self.info.spec.name)
    }

    fn graph(&self, from: &str, to: &str, name: &str, size: (u32, u32)) -> Markup {
        let alt = format!("{} of {}, {name}", self.info.spec.title, self.node);
        Graph {
            node: self.node,
            service: &self.info.spec.name,
            from,
            to,
            width: size.0,
            height: size.1,
            legend: true,
            alt,
            tz: self.view.tz,
        }
        .img_with(&self.address.over())
    }

    /// Links to spans, near and far, and a form for any other.
    fn ranges(&self, is_zoomed: bool) -> Markup {
        let (path, address) = (self.path(), &self.address);
        let span = self.to_ms - self.from_ms;
        let to = |from: i64, to: i64| address.of(&from.to_string(), &to.to_string());
        let (from_ms, to_ms) = (self.from_ms, self.to_ms);
        let quarter = (span / 4).max(SPAN_MS_MIN / 2);
        html! {
            nav.ranges aria-label="Span" {
                a href=(address.overview()) aria-current=[(!is_zoomed).then_some("true")] { "overview" }
                @for (key, name, from) in RANGES {
                    @let here = is_zoomed && self.from == from && self.to == "now";
                    a href=(address.of(from, "now")) data-key=(key)
                        aria-current=[here.then_some("true")] { (name) }
                }
                @if is_zoomed {
                    a href=(to(from_ms - span / 2, to_ms - span / 2)) data-key="ArrowLeft"
                        { "← earlier" }
                    a href=(to(from_ms + span / 2, to_ms + span / 2)) data-key="ArrowRight"
                        { "later →" }
                    @if span / 2 >= SPAN_MS_MIN {
                        a href=(to(from_ms + quarter, to_ms - quarter)) data-key="+" { "zoom in" }
                    }
                    a href=(to(from_ms - span / 2, to_ms + span / 2)) data-key="-" { "zoom out" }
                }
                form action=(path) method="get" class="row" {
                    (address.inputs())
                    input name="from" value=(self.shown(self.from)) aria-label="From";
                    input name="to" value=(self.shown(self.to)) aria-label="To";
                    button type="submit" { "show" }
                }
            }
        }
    }

    /// What may be laid over the graphs, each on or off by a link.
    fn toggles(&self) -> Markup {
        let (address, percents) = (&self.address, &self.address.pct);
        let has = |p: &str| percents.split(',').any(|w| w.trim() == p);
        html! {
            nav.ranges aria-label="Over the graphs" {
                span.soft { "lay over:" }
                @for (key, p) in [("9", "95"), ("0", "99")] {
                    a href=(address.toggled_percent(p)) data-key=(key) rel="nofollow"
                        aria-pressed=(has(p)) { (p) " %" }
                }
                @for (key, name, ghost) in GHOSTS {
                    @let is_on = address.ghost == ghost;
                    a href=(address.with_ghost(if is_on { "" } else { ghost })) data-key=(key)
                        rel="nofollow" aria-pressed=(is_on) { (name) }
                }
                @if !address.hide.is_empty() {
                    a href=(address.with_hide("")) data-key="u" rel="nofollow" { "unmute all" }
                }
            }
        }
    }

    /// Milliseconds are for links; people read dates.
    fn shown(&self, text: &str) -> String {
        match text.parse::<i64>() {
            Ok(_) => times::parse(text, self.view.now_ms).map_or(text.to_owned(), times::rfc3339),
            Err(_) => text.to_owned(),
        }
    }

    fn one_graph(&self) -> Markup {
        let (from, to) = (self.from_ms, self.to_ms);
        let name = format!("{} to {}", self.view.local(from), self.view.local(to));
        html! {
            div.graph.zoom data-from=(from) data-to=(to) data-path=(self.path())
                data-more=(self.address.over()) data-query=(self.query()) data-zone=(self.view.zone.iana_name().unwrap_or("")) {
                (self.graph(self.from, self.to, &name, (1200, 320)))
            }
        }
    }

    /// Munin's four; of a young node the four shorter ones.
    fn four_graphs(&self) -> Markup {
        let is_young = small_span(self.view.app, self.node, self.view.now_ms) != "-1d";
        let ranges = if is_young { &RANGES[..4] } else { &RANGES[2..] };
        html! {
            div."grid"."wide" {
                @for (_, name, from) in ranges {
                    div.graph {
                        h3 { "By " (name) }
                        a href=(self.address.of(from, "now")) {
                            (self.graph(from, "now", &format!("the last {name}"), (600, 160)))
                        }
                    }
                }
            }
        }
    }

    /// Which service, for the API.
    pub fn query(&self) -> String {
        format!("node={}&service={}", segment(self.node), segment(&self.info.spec.name))
    }

    /// Exact samples of one field or all.
    pub fn export(&self, field: Option<&str>, format: &str) -> String {
        let field = field.map_or(String::new(), |f| format!("&field={}", segment(f)));
        let query = self.query();
        let (from, to) = (times::rfc3339(self.from_ms), times::rfc3339(self.to_ms));
        format!("/api/v1/samples?{query}{field}&from={from}&to={to}&format={format}")
    }
}
