//! `/category/C`: the services of a category across all nodes, side by side.

use super::layout::{Graph, card_class, node_path, page, service_path, state_badge};
use super::visitor::{View, Visitor};
use super::words::{count, small_span};
use super::{Html, Page, make};
use crate::app::App;
use crate::error::WebError;
use axum::extract::{Path, State};
use maud::html;
use rookery_collector::history::ServiceInfo;
use rookery_plugins::State as ServiceState;
use std::collections::BTreeMap;

/// Nodes shown for one service; the fleet page has the others.
const NODES_MAX: usize = 100;

/// `GET /category/C`.
pub async fn category(
    State(app): State<App>,
    Path(category): Path<String>,
    visitor: Visitor,
) -> Page {
    make(&app, visitor, move |view| one_category(view, &category)).await
}

/// A node and its service.
type Of = (String, ServiceInfo);

fn one_category(view: &View, category: &str) -> Result<Html, WebError> {
    let (app, now) = (view.app, view.now_ms);
    let mut services: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for node in app.history.nodes() {
        for (spec, _) in app.history.specs(&node.name).unwrap_or_default() {
            if spec.category == category && !spec.hidden {
                services.entry(spec.name.clone()).or_default().push(node.name.clone());
            }
        }
    }
    if services.is_empty() {
        return Err(WebError::not_found(format!("no service is in a category {category:?}")));
    }
    // Each service's name, on how many nodes it is, and the worst of them.
    let mut shown: Vec<(String, usize, Vec<Of>)> = Vec::new();
    for (name, mut nodes) in services {
        nodes.sort_by_cached_key(|node| {
            std::cmp::Reverse(app.states.service_state(node, &name).state.severity())
        });
        let n_all = nodes.len();
        nodes.truncate(NODES_MAX);
        // A node that has just been forgotten has none.
        let info = |node: String| Some((node.clone(), app.history.service(&node, &name).ok()??));
        let nodes: Vec<_> = nodes.into_iter().filter_map(info).collect();
        if !nodes.is_empty() {
            shown.push((name, n_all, nodes));
        }
    }
    Ok(page(
        view,
        category,
        &[("Fleet", "/".to_owned())],
        html! {
            h1 { (category) " on all nodes" }
            @if let Some(path) = super::report::of_category(category) {
                p { a href=(path) { "All in one table" } }
            }
            @for (name, n_all, nodes) in &shown {
                h2 {
                    (nodes[0].1.spec.title)
                    a.more href=(super::compare::path(name, "")) { "compare on one axis" }
                    span.more.soft { (name) ", " (count(*n_all, "node")) }
                    @if *n_all > NODES_MAX {
                        span.more.soft { "the worst " (NODES_MAX) " are shown" }
                    }
                }
                div.grid {
                    @for (node, s) in nodes {
                        @let state = app.states.service_state(node, name);
                        div class=(card_class(state.state)) {
                            h3 {
                                a href=(node_path(node)) { (node) }
                                @if state.state != ServiceState::Ok {
                                    (state_badge(state.state, state.hard))
                                }
                            }
                            a href=(service_path(node, name)) {
                                (Graph {
                                    node, service: name, from: small_span(app, node, now),
                                    to: "now", width: 380, height: 100, legend: false,
                                    alt: super::node::alt(node, s), tz: view.tz,
                                }.img())
                            }
                        }
                    }
                }
            }
        },
    ))
}
