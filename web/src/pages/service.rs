//! `/node/N/S`: one service, by day, week, month and year, or over any span;
//! below it the numbers, the limits, the way to the exact samples, and each field
//! by itself. `/node/N/S/F` is the same of one field alone.

use super::address::Address;
use super::hush::{self, About};
use super::layout::{
    Graph, RANGES, card_class, field_path, node_path, own_links, page, segment, service_path,
    state_badge,
};
use super::visitor::{View, Visitor};
use super::words::{ago, small_span};
use super::{Html, Page, make};
use crate::api::find_service;
use crate::app::App;
use crate::error::{Asked, WebError};
use crate::pictures::mix::{field_text, mix_path, shown_fields};
use crate::pictures::{self, ghost, hide, percents};
use crate::times;
use axum::extract::{Path, State};
use maud::{Markup, html};
use rookery_collector::history::ServiceInfo;
use rookery_plugins::{FieldSpec, State as FieldState};
use serde::Deserialize;

/// Earlier spans with a link: key, name, `ghost`.
const GHOSTS: [(&str, &str, &str); 2] = [("g", "a week before", "1w"), ("b", "a day before", "1d")];

/// Shortest span that buttons lead to, ms.
const SPAN_MS_MIN: i64 = 10_000;

/// Of the one graph of a span, and of each of the four, px.
const ONE: (u32, u32) = (1200, 320);
const FOUR: (u32, u32) = (600, 160);
/// Most fields with a small graph of their own.
const FIELDS_MAX: usize = 60;

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
    make(&app, visitor, move |view| one_service(view, &node, (&service, None), &span)).await
}

/// `GET /node/N/S/F[?…]`: one field, with the same query.
pub async fn field(
    State(app): State<App>,
    Path((node, service, field)): Path<(String, String, String)>,
    visitor: Visitor,
    span: Result<Asked<Span>, WebError>,
) -> Page {
    let Asked(span) = span?;
    make(&app, visitor, move |view| one_service(view, &node, (&service, Some(&field)), &span)).await
}

/// What the parts of the page share.
pub struct Shown<'a> {
    pub view: &'a View<'a>,
    pub node: &'a str,
    pub info: &'a ServiceInfo,
    /// Only this one.
    pub field: Option<&'a str>,
    /// As written in the address; relative ones move with time.
    pub from: &'a str,
    pub to: &'a str,
    pub from_ms: i64,
    pub to_ms: i64,
    /// What the picture covers: the span in whole px.
    pub picture: pictures::Span,
    /// Where the reader is, and what lies over the graphs.
    pub address: Address,
}

fn one_service(
    view: &View,
    node: &str,
    (service, field): (&str, Option<&str>),
    span: &Span,
) -> Result<Html, WebError> {
    let (app, now_ms) = (view.app, view.now_ms);
    let info = find_service(app, node, service)?;
    // As they are called now.
    let service = info.spec.name.as_str();
    let once = field.and_then(|name| info.spec.field_once(name));
    let field = once.map(|f| f.name.as_str()).or(field);
    if let Some(name) = field
        && info.spec.field(name).is_none()
    {
        let names: Vec<&str> = info.spec.fields.iter().map(|f| f.name.as_str()).collect();
        let text = format!("no field {name:?} in {service}; it has {}", names.join(", "));
        return Err(WebError::not_found(text));
    }
    let given = |text: &Option<String>| text.clone().filter(|t| !t.trim().is_empty());
    let (from, to) = (given(&span.from), given(&span.to));
    let is_zoomed = from.is_some() || to.is_some();
    let to = to.unwrap_or_else(|| "now".to_owned());
    let from = from.unwrap_or_else(|| "-1d".to_owned());
    let read = |name: &str, text: &str| {
        times::parse_in(text, now_ms, &view.zone).map_err(|e| WebError::bad(format!("{name}: {e}")))
    };
    let (from_ms, to_ms) = (read("from", &from)?, read("to", &to)?);
    if from_ms >= to_ms {
        return Err(WebError::bad("from must be before to"));
    }
    percents(span.pct.as_deref())?;
    ghost(span.ghost.as_deref())?;
    let address = Address {
        path: field.map_or(service_path(node, service), |f| field_path(node, service, f)),
        span: is_zoomed.then(|| (from.clone(), to.clone())),
        hide: hide(span.hide.as_deref())?.to_owned(),
        pct: given(&span.pct).unwrap_or_default(),
        ghost: given(&span.ghost).unwrap_or_default(),
    };
    // The table's numbers are those of the picture's legend.
    let px = if is_zoomed { ONE.0 } else { FOUR.0 };
    let picture = pictures::Span::parse((&from, &to), px, now_ms, &view.zone)?;
    let rollup = app.rollup(node, &info, field, picture.steps())?;
    let shown = Shown {
        view,
        node,
        info: &info,
        field,
        from: &from,
        to: &to,
        from_ms,
        to_ms,
        picture,
        address,
    };
    let state = info.stands(app.states.service_state(node, service), now_ms);
    let events = super::events::below_graph(view, node, (from_ms, to_ms))?;
    let title = format!("{} on {node}", shown.name());
    let mut crumbs = super::node::crumbs(app, node);
    crumbs.push((node.to_owned(), node_path(node)));
    if field.is_some() {
        crumbs.push((info.spec.title.clone(), service_path(node, service)));
    }
    let crumbs: Vec<(&str, String)> = crumbs.iter().map(|(t, l)| (t.as_str(), l.clone())).collect();
    Ok(page(
        view,
        &title,
        &crumbs,
        html! {
            h1 { (shown.name()) " "
                @match field {
                    Some(f) => {
                        @let state = app.states.field_state(node, service, f);
                        @if state != FieldState::Ok { (state_badge(state, true)) }
                    }
                    None => (state_badge(state.state, state.hard)),
                }
            }
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
            (hush::downtimes_of(view, &About { node, service: Some(service) }))
            @if !info.active { p { span.badge.UNKNOWN { "no longer reported" } } }
            @if !info.spec.info.is_empty() { p.info { (info.spec.info) } }
            @if let Some(about) = field.and_then(|f| info.spec.field(f)).map(|f| &f.info) {
                @if !about.is_empty() { p.info { (about) } }
            }
            p.row {
                a href=(super::compare::path(service, "")) { "Compare with other nodes" }
                @if let Some(f) = field {
                    a href=(mix_path(&[field_text(node, service, f)])) rel="nofollow"
                        { "with other fields on one graph" }
                }
            }
            (shown.ranges(is_zoomed))
            (shown.toggles())
            @if is_zoomed { (shown.one_graph()) } @else { (shown.four_graphs()) }
            (events)
            (super::numbers::table(&shown, &rollup))
            @if field.is_none() { (shown.fields()) }
        },
    ))
}

impl Shown<'_> {
    fn path(&self) -> &str {
        &self.address.path
    }

    /// Of the service, or the field in it.
    fn name(&self) -> String {
        let title = &self.info.spec.title;
        match self.field.and_then(|f| self.info.spec.field(f)) {
            Some(field) => format!("{}: {title}", field.label_or_name()),
            None => title.clone(),
        }
    }

    fn graph(&self, from: &str, to: &str, name: &str, size: (u32, u32)) -> Markup {
        let alt = format!("{name}: {}", super::node::alt_of(self.node, self.info, self.field));
        let field = self.field.map_or(String::new(), |f| format!("&field={}", segment(f)));
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
        .img_with(&(field + &self.address.over()))
    }

    /// Each field by itself, small.
    fn fields(&self) -> Markup {
        let (node, info) = (self.node, self.info);
        let service = info.spec.name.as_str();
        let fields: Vec<&FieldSpec> = shown_fields(&info.spec).collect();
        html! {
            @if fields.len() > 1 {
                h2 { "Each field"
                    @if fields.len() > FIELDS_MAX {
                        span.more.soft { "the first " (FIELDS_MAX) " of " (fields.len()) }
                    }
                }
                div.grid.fields { @for f in fields.into_iter().take(FIELDS_MAX) {
                    @let state = self.view.app.states.field_state(node, service, &f.name);
                    div class=(card_class(state)) {
                        h3 { a href=(field_path(node, service, &f.name)) { (f.label_or_name()) }
                            @if state != FieldState::Ok { (state_badge(state, true)) } }
                        a href=(field_path(node, service, &f.name)) {
                            (Graph {
                                node, service, from: self.from, to: self.to, width: 300,
                                height: 110, legend: false,
                                alt: super::node::alt_of(node, info, Some(&f.name)),
                                tz: self.view.tz,
                            }.img_with(&format!("&field={}", segment(&f.name))))
                        }
                        (own_links(&self.export(Some(&f.name), "")))
                    }
                } }
            }
        }
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
                    input name="from" value=(times::editable(self.from, &self.view.zone)) aria-label="From";
                    input name="to" value=(times::editable(self.to, &self.view.zone)) aria-label="To";
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

    fn one_graph(&self) -> Markup {
        let (from, to) = (self.from_ms, self.to_ms);
        let name = format!("{} to {}", self.view.local(from), self.view.local(to));
        html! {
            div.graph.zoom data-from=(self.picture.from_ms) data-to=(self.picture.to_ms)
                data-path=(self.path()) data-more=(self.address.over()) data-query=(self.query())
                data-zone=(self.view.zone.iana_name().unwrap_or("")) {
                (self.graph(self.from, self.to, &name, ONE))
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
                            (self.graph(from, "now", &format!("the last {name}"), FOUR))
                        }
                    }
                }
            }
        }
    }

    /// Which service, for the API.
    pub fn query(&self) -> String {
        let field = self.field.map_or(String::new(), |f| format!("&field={}", segment(f)));
        format!("node={}&service={}{field}", segment(self.node), segment(&self.info.spec.name))
    }

    /// Exact samples of one field or all.
    pub fn export(&self, field: Option<&str>, format: &str) -> String {
        let field = field.map_or(String::new(), |f| format!("&field={}", segment(f)));
        let query = match field.is_empty() {
            true => self.query(),
            false => {
                format!("node={}&service={}", segment(self.node), segment(&self.info.spec.name))
            }
        };
        let (from, to) = (times::rfc3339(self.from_ms), times::rfc3339(self.to_ms));
        format!("/api/v1/samples?{query}{field}&from={from}&to={to}&format={format}")
    }
}
