//! `/` and `/group/G`: what is wrong now, then everything, worst first.

use super::layout::{
    Graph, card_class, host_badge, node_path, page, segment, service_path, state_badge,
};
use super::problems::problem_cards;
use super::visitor::{View, Visitor};
use super::words::{Health, STALE_MS, ago, count, health, span_of_age};
use super::{Html, Page, make};
use crate::app::App;
use crate::error::WebError;
use axum::extract::{Path, State};
use maud::{Markup, html};
use rookery_collector::history::NodeInfo;
use std::collections::BTreeMap;

/// Problems on the first page; the others have their own.
const PROBLEMS_SHOWN: usize = 6;

/// With more nodes than this on a page, cards have no graphs.
const GRAPHS_MAX: usize = 60;

/// `GET /`.
pub async fn fleet(State(app): State<App>, visitor: Visitor) -> Page {
    make(&app, visitor, |view| {
        let app = view.app;
        let nodes = app.history.nodes();
        if nodes.is_empty() {
            return Ok(page(view, "Fleet", &[], empty()));
        }
        let problems = app.states.problems();
        let mut groups: BTreeMap<&str, Vec<&NodeInfo>> = BTreeMap::new();
        for node in &nodes {
            groups.entry(&node.group).or_default().push(node);
        }
        let with_graphs = nodes.len() <= GRAPHS_MAX;
        Ok(page(
            view,
            "Fleet",
            &[],
            html! {
                h1 { (count(nodes.len(), "node")) ", " (count(problems.len(), "problem")) }
                @if !problems.is_empty() {
                    h2 { "Wrong now"
                        @if problems.len() > PROBLEMS_SHOWN {
                            a.more href="/problems" { "all " (problems.len()) }
                        }
                    }
                    (problem_cards(view, &problems[..problems.len().min(PROBLEMS_SHOWN)], false))
                }
                @for (group, nodes) in &groups {
                    h2 {
                        @if group.is_empty() { "Nodes" } @else {
                            a href={ "/group/" (segment(group)) } { (group) }
                        }
                        span.more.soft { (count(nodes.len(), "node")) }
                    }
                    (cards(view, nodes, with_graphs))
                }
            },
        ))
    })
    .await
}

/// `GET /group/G`.
pub async fn group(State(app): State<App>, Path(group): Path<String>, visitor: Visitor) -> Page {
    make(&app, visitor, move |view| one_group(view, &group)).await
}

fn one_group(view: &View, group: &str) -> Result<Html, WebError> {
    let nodes = view.app.history.nodes();
    let inside = format!("{group};");
    let of: Vec<&NodeInfo> =
        nodes.iter().filter(|n| n.group == group || n.group.starts_with(&inside)).collect();
    if of.is_empty() {
        return Err(WebError::not_found(format!("no node is in a group {group:?}")));
    }
    Ok(page(
        view,
        group,
        &[("Fleet", "/".to_owned())],
        html! {
            h1 { (group) }
            p.soft { (count(of.len(), "node")) " · "
                a href={ "/outliers?group=" (segment(group)) } { "outliers" } }
            @if let Some(node) = of.first() {
                p.row { span.soft { "Compare:" }
                    @for service in &health(view.app, &node.name).shown {
                        a href=(super::compare::path(service, group)) { (service) }
                    }
                }
            }
            (cards(view, &of, of.len() <= GRAPHS_MAX))
        },
    ))
}

fn cards(view: &View, nodes: &[&NodeInfo], with_graphs: bool) -> Markup {
    let mut all: Vec<(&NodeInfo, Health)> =
        nodes.iter().map(|n| (*n, health(view.app, &n.name))).collect();
    // Worst first; among equals by name, as they came.
    all.sort_by_key(|(_, h)| std::cmp::Reverse((h.worst.severity(), h.n_bad)));
    html! {
        div class=(if with_graphs { "grid nodes" } else { "grid small" }) { @for (node, health) in &all { (card(view, node, health, with_graphs)) } }
    }
}

fn card(view: &View, node: &NodeInfo, health: &Health, with_graphs: bool) -> Markup {
    let now = view.now_ms;
    let age = node.last_seen_ms.map(|t| now.saturating_sub(t));
    let from = span_of_age(node.first_seen_ms.map(|first| now - first));
    html! {
        div class=(card_class(health.worst)) {
            h3 {
                a href=(node_path(&node.name)) { (node.name) }
                (host_badge(health.host))
                @if health.n_bad > 0 { (state_badge(health.worst, true)) }
            }
            @if with_graphs {
                div.four {
                    @for service in &health.shown {
                        a href=(service_path(&node.name, service)) {
                            (Graph {
                                node: &node.name, service, from, to: "now", width: 290, height: 110,
                                legend: false, alt: format!("{service} of {}", node.name),
                                tz: view.tz,
                            }.img())
                            span.soft { (service) }
                        }
                    }
                }
            }
            div.soft {
                (count(health.n_services, "service"))
                @if health.n_bad > 0 { ", " (health.n_bad) " not OK" }
                @match (node.last_seen_ms, age) {
                    (Some(seen), Some(age)) if age > STALE_MS => {
                        " · " span.badge.UNKNOWN { "stale" } " last heard " (ago(seen, now))
                    }
                    (Some(seen), _) => { " · heard " (ago(seen, now)) }
                    _ => { " · nothing has come from it yet" }
                }
            }
        }
    }
}

fn empty() -> Markup {
    html! {
        h1 { "No node has reported yet" }
        p { "A node appears here with its first batch. On a host that is to be watched, install "
            "the agent, and tell it in " code { "/etc/rookery/agent.toml" }
            " where this collector is and its token:" }
        pre { "collector = \"http://THIS-HOST:4950\"\ntoken = \"(the text in DATA/token)\"" }
        p { "Or send one number by hand:" }
        pre {
            "curl -H \"Authorization: Bearer $(cat DATA/token)\" \\\n"
            "     -H 'Content-Type: application/json' \\\n"
            "     -d '{\"node\":\"test\",\"samples\":[{\"service\":\"s\",\"field\":\"f\",\"value\":1}]}' \\\n"
            "     http://THIS-HOST:4950/api/v1/ingest"
        }
    }
}
