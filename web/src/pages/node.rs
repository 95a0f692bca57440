//! `/node/N`: every service of a node in small graphs, by category.

use super::hush::{self, About};
use super::layout::{
    Graph, card_class, host_badge, own_links, page, samples, segment, service_path, state_badge,
};
use super::visitor::{View, Visitor};
use super::words::{STALE_MS, ago, count, number, span_of_age};
use super::{Html, Page, make};
use crate::app::App;
use crate::error::WebError;
use crate::graph::newest;
use axum::extract::{Path, State};
use maud::{Markup, html};
use rookery_collector::history::ServiceInfo;
use rookery_plugins::{FieldSpec, HostState};
use std::collections::BTreeMap;

/// `GET /node/N`.
pub async fn node(State(app): State<App>, Path(node): Path<String>, visitor: Visitor) -> Page {
    make(&app, visitor, move |view| one_node(view, &node)).await
}

fn one_node(view: &View, name: &str) -> Result<Html, WebError> {
    let app = view.app;
    let services = app.history.services(name)?;
    let info = app.history.node(name);
    let is_retired = info.as_ref().is_some_and(|i| i.retired);
    let (state, since) = app.states.host_state(name);
    let problems = app.states.problems();
    let host = problems.into_iter().find(|p| p.node == name && p.service.is_none());
    let host = host.map(|p| p.state).unwrap_or_default();
    let group = info.as_ref().map(|i| i.group.clone()).unwrap_or_default();
    let mut crumbs = vec![("Fleet", "/".to_owned())];
    if !group.is_empty() {
        crumbs.push((&group, format!("/group/{}", segment(&group))));
    }
    let mut categories: BTreeMap<&str, Vec<&ServiceInfo>> = BTreeMap::new();
    for s in services.iter().filter(|s| !s.spec.hidden) {
        categories.entry(&s.spec.category).or_default().push(s);
    }
    let now = view.now_ms;
    let seen = info.as_ref().and_then(|i| i.last_seen_ms);
    let age = info.and_then(|i| i.first_seen_ms).map(|first| now - first);
    let from = span_of_age(age);
    Ok(page(
        view,
        name,
        &crumbs,
        html! {
            h1 { (name) " " @if is_retired { span.badge { "retired" } } @else { (host_badge(state)) } }
            p.soft {
                (count(services.len(), "service"))
                @if let Some(seen) = seen {
                    " · last heard " (ago(seen, now))
                    @if now - seen > STALE_MS { " " span.badge.UNKNOWN { "stale" } }
                }
                @if state != HostState::Up && since > 0 { " · " (state) " since " (view.local(since)) }
            }
            (hush::handling(view, &host))
            (hush::forms(view, &About { node: name, service: None }, &host))
            (hush::downtimes_of(view, &About { node: name, service: None }))
            (super::outliers::known(view, |node| node == name))
            (super::manage::forms(view, name))
            nav.jump aria-label="Categories" {
                @for category in categories.keys() {
                    a href={ "#" (segment(category)) } { (category) }
                }
            }
            @for (category, services) in &categories {
                h2 id=(segment(category)) {
                    (category)
                    a.more href={ "/category/" (segment(category)) } { "on all nodes" }
                }
                div.grid { @for s in services { (card(view, name, s, from)) } }
            }
        },
    ))
}

/// A service's small graph with its state.
fn card(view: &View, node: &str, s: &ServiceInfo, from: &str) -> Markup {
    let state = s.stands(view.app.states.service_state(node, &s.spec.name), view.now_ms);
    let link = service_path(node, &s.spec.name);
    html! {
        div class=(card_class(state.state)) {
            h3 {
                a href=(link) { (s.spec.title) }
                @if state.state != rookery_plugins::State::Ok {
                    (state_badge(state.state, state.hard))
                }
                @if !s.active { span.badge.UNKNOWN { "no longer reported" } }
            }
            a href=(link) title=(s.spec.name) {
                (Graph {
                    node, service: &s.spec.name, from, to: "now", width: 380, height: 100,
                    legend: false, alt: alt(node, s), tz: view.tz,
                }.img())
            }
            @if !state.text.is_empty() { div.soft { (state.text) } }
            (own_links(&samples(node, &s.spec.name, from)))
        }
    }
}

/// The way to a node: the fleet, its group.
pub fn crumbs(app: &App, node: &str) -> Vec<(String, String)> {
    let group = app.history.node(node).map(|n| n.group).unwrap_or_default();
    let mut crumbs = vec![("Fleet".to_owned(), "/".to_owned())];
    if !group.is_empty() {
        let link = format!("/group/{}", segment(&group));
        crumbs.push((group, link));
    }
    crumbs
}

/// The newest numbers in words.
pub fn alt(node: &str, s: &ServiceInfo) -> String {
    alt_of(node, s, None)
}

/// The same of one field alone.
pub fn alt_of(node: &str, s: &ServiceInfo, field: Option<&str>) -> String {
    let now: Vec<Option<f64>> = s.now.iter().map(|n| n.value).collect();
    let now = newest(&s.spec, &now);
    let fields = s.spec.fields.iter().zip(now);
    let is_told = |f: &FieldSpec| field.map_or(!f.hidden, |name| f.name == name);
    let fields = fields.filter(|(f, _)| is_told(f)).take(8);
    let values: Vec<String> = fields
        .map(|(f, now)| {
            let value = now.map_or("unknown".to_owned(), |v| number(v, &s.spec));
            format!("{} {value}", f.label_or_name())
        })
        .collect();
    format!("{} of {node}; now {}", s.spec.title, values.join(", "))
}
