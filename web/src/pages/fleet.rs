//! `/`, `/group/G` and `/nodes`: what is wrong now, then groups as tiles or nodes as
//! cards, the worst first.

use super::board::{Board, Health, groups};
use super::layout::{
    Graph, badge, card_class, host_badge, node_path, page, segment, service_path, state_badge,
};
use super::problems::problem_cards;
use super::tiles::{self, group_path, tiles};
use super::visitor::{View, Visitor};
use super::words::{STALE_MS, ago, count, span_of_age, telling};
use super::{Html, Page, make};
use crate::app::App;
use crate::error::WebError;
use axum::extract::{Path, State};
use maud::{Markup, html};
use rookery_collector::history::{NodeInfo, Problem};
use rookery_plugins::State as ServiceState;

/// Problems on the first page; the others have their own.
const PROBLEMS_SHOWN: usize = 6;

/// With more nodes than this on a page, cards have one graph and not four.
const FOUR_GRAPHS_MAX: usize = 60;
/// Beyond this, nodes are lines without a graph.
const GRAPHS_MAX: usize = 240;

/// `GET /`.
pub async fn fleet(State(app): State<App>, visitor: Visitor) -> Page {
    make(&app, visitor, |view| {
        let nodes = view.app.history.nodes();
        if nodes.is_empty() {
            return Ok(page(view, "Fleet", &[], empty()));
        }
        let board = Board::new(view.app);
        let mut groups = groups(view.app, &board, &nodes, "");
        // A handful of nodes without groups needs no tile.
        let alone: Vec<&NodeInfo> = match groups.last() {
            Some(last) if last.name.is_empty() && last.nodes.len() <= FOUR_GRAPHS_MAX => {
                groups.pop().map(|g| g.nodes).unwrap_or_default()
            }
            _ => Vec::new(),
        };
        let newest = board.newest_first();
        Ok(page(
            view,
            "Fleet",
            &[],
            html! {
                h1 { (count(nodes.len(), "node")) ", " (count(newest.len(), "problem")) }
                (wrong(view, &newest, "/problems"))
                @if !groups.is_empty() {
                    h2 { "Groups" span.more.soft { (groups.len()) ", the worst first" } }
                    (tiles(view, &groups))
                }
                @if !alone.is_empty() {
                    h2 { @if groups.is_empty() { "Nodes" } @else { "Without a group" } }
                    (cards(view, &board, &alone))
                }
            },
        ))
    })
    .await
}

/// What is wrong, the newest first.
fn wrong(view: &View, problems: &[&Problem], more: &str) -> Markup {
    let shown = problems.len().min(PROBLEMS_SHOWN);
    html! { @if !problems.is_empty() {
        h2 { "Wrong now" span.more.soft { "the newest first" }
            @if problems.len() > shown { a.more href=(more) { "all " (problems.len()) } }
        }
        (problem_cards(view, &problems[..shown], false))
    } }
}

/// `GET /group/G`.
pub async fn group(State(app): State<App>, Path(group): Path<String>, visitor: Visitor) -> Page {
    make(&app, visitor, move |view| one_group(view, &group)).await
}

/// `GET /nodes`: all of them.
pub async fn nodes(State(app): State<App>, visitor: Visitor) -> Page {
    make(&app, visitor, |view| {
        let nodes = view.app.history.nodes();
        if nodes.is_empty() {
            return Ok(page(view, "Nodes", &[("Fleet", "/".to_owned())], empty()));
        }
        let all: Vec<&NodeInfo> = nodes.iter().collect();
        Ok(page(
            view,
            "Nodes",
            &[("Fleet", "/".to_owned())],
            html! {
                h1 { (count(all.len(), "node")) }
                (cards(view, &Board::new(view.app), &all))
            },
        ))
    })
    .await
}

fn one_group(view: &View, group: &str) -> Result<Html, WebError> {
    let nodes = view.app.history.nodes();
    let inside = format!("{group};");
    let of: Vec<&NodeInfo> =
        nodes.iter().filter(|n| n.group == group || n.group.starts_with(&inside)).collect();
    if of.is_empty() {
        return Err(WebError::not_found(format!("no node is in a group {group:?}")));
    }
    let board = Board::new(view.app);
    let groups = groups(view.app, &board, &nodes, group);
    // Nodes in groups of this group are in their tiles.
    let own: Vec<&NodeInfo> = of.iter().filter(|n| n.group == group).copied().collect();
    let newest = board.newest_first();
    let newest: Vec<&Problem> =
        newest.into_iter().filter(|p| of.iter().any(|n| n.name == p.node)).collect();
    let crumbs: Vec<(&str, String)> = std::iter::once(("Fleet", "/".to_owned()))
        .chain(group.match_indices(';').map(|(at, _)| (&group[..at], group_path(&group[..at]))))
        .collect();
    Ok(page(
        view,
        group,
        &crumbs,
        html! {
            h1 { (group) }
            p.soft { (count(of.len(), "node")) ", " (count(newest.len(), "problem")) " · "
                a href={ "/outliers?group=" (segment(group)) } { "outliers" } " · "
                a href={ "/wall?group=" (segment(group)) } { "wall screen" } }
            (wrong(view, &newest, "/problems"))
            (super::outliers::known(view, |node| of.iter().any(|n| n.name == node)))
            h2 { "Together" span.more.soft { "a graph leads to its nodes on one axis" } }
            div.together { (tiles::graphs(view, group, &of, (tiles::FROM, (380, 130)), false)) }
            @if !groups.is_empty() {
                h2 { "Groups" }
                (tiles(view, &groups))
            }
            @if !own.is_empty() {
                h2 { "Nodes" span.more.soft { "the worst first" } }
                (cards(view, &board, &own))
            }
        },
    ))
}

fn cards(view: &View, board: &Board, nodes: &[&NodeInfo]) -> Markup {
    let mut all: Vec<(&NodeInfo, Health)> =
        nodes.iter().map(|n| (*n, board.health(view.app, &n.name))).collect();
    // Worst first; among equals by name, as they came.
    all.sort_by_key(|(_, h)| std::cmp::Reverse((h.worst.severity(), h.n_bad)));
    let n_graphs = if all.len() <= FOUR_GRAPHS_MAX { 4 } else { 1 };
    let (shown, rest) = all.split_at(all.len().min(GRAPHS_MAX));
    html! {
        div class=(if n_graphs == 4 { "grid nodes" } else { "grid small" }) {
            @for (node, health) in shown { (card(view, node, health, n_graphs)) }
        }
        @if !rest.is_empty() {
            h2 { (rest.len()) " more" }
            ul.names { @for (node, health) in rest { li {
                a href=(node_path(&node.name)) { (node.name) }
                @if health.worst != ServiceState::Ok { " " (badge(health.worst.word())) }
            } } }
        }
    }
}

fn card(view: &View, node: &NodeInfo, health: &Health, n_graphs: usize) -> Markup {
    let now = view.now_ms;
    let age = node.last_seen_ms.map(|t| now.saturating_sub(t));
    let from = span_of_age(node.first_seen_ms.map(|first| now - first));
    let specs = view.app.history.specs(&node.name).unwrap_or_default();
    let names: Vec<&str> =
        specs.iter().filter(|(s, _)| !s.hidden).map(|(s, _)| s.name.as_str()).collect();
    let mut shown = telling(&names);
    if let Some(bad) = &health.service {
        // What is wrong is seen first.
        shown.retain(|s| s != bad);
        shown.insert(0, bad.clone());
    }
    shown.truncate(n_graphs);
    html! {
        div class=(card_class(health.worst)) {
            h3 {
                a href=(node_path(&node.name)) { (node.name) }
                (host_badge(health.host))
                @if health.n_bad > 0 { (state_badge(health.worst, true)) }
            }
            div class=(if n_graphs > 1 { "four" } else { "one" }) {
                @for service in &shown {
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
            div.soft {
                (count(node.n_services, "service"))
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
