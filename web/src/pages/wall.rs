//! `/wall`: for a screen on the wall. Big, dark, nothing to click at first sight; what
//! is wrong first, then the groups. It renews itself, without JavaScript too.

use super::assets;
use super::board::{Board, Group, groups};
use super::layout::{node_path, segment, service_path};
use super::tiles::{self, group_path};
use super::visitor::{View, Visitor};
use super::words::{ago, count, small_span};
use super::{Html, Page, make};
use crate::app::App;
use crate::error::{Asked, WebError};
use axum::extract::State;
use maud::{DOCTYPE, Markup, html};
use rookery_collector::history::{NodeInfo, Problem};
use rookery_plugins::State as ServiceState;
use serde::Deserialize;

/// How often it is renewed, s.
const EVERY_S: u32 = 15;
/// Problems on it; more than these nobody reads from far away.
const PROBLEMS_SHOWN: usize = 6;
/// With more than these there is no room for graphs.
const WITH_GRAPHS: usize = 3;
/// Groups on it, the worst first.
const GROUPS_SHOWN: usize = 24;
/// Of the graphs, px: drawn small and shown large, so that lines and texts are bold.
const SIZE: (u32, u32) = (300, 120);

/// Of which nodes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    group: Option<String>,
}

/// `GET /wall[?group=G]`.
pub async fn wall(
    State(app): State<App>,
    visitor: Visitor,
    query: Result<Asked<Query>, WebError>,
) -> Page {
    let Asked(query) = query?;
    make(&app, visitor, move |view| one_wall(view, query.group.as_deref().unwrap_or(""))).await
}

fn one_wall(view: &View, group: &str) -> Result<Html, WebError> {
    let inside = format!("{group};");
    let is_in = |n: &NodeInfo| group.is_empty() || n.group == group || n.group.starts_with(&inside);
    let nodes: Vec<NodeInfo> = view.app.history.nodes().into_iter().filter(is_in).collect();
    if nodes.is_empty() && !group.is_empty() {
        return Err(WebError::not_found(format!("no node is in a group {group:?}")));
    }
    let board = Board::new(view.app);
    let names: std::collections::HashSet<&str> = nodes.iter().map(|n| n.name.as_str()).collect();
    let problems: Vec<&Problem> =
        board.newest_first().into_iter().filter(|p| names.contains(p.node.as_str())).collect();
    let groups = groups(view.app, &board, &nodes, group);
    let open = problems.iter().filter(|p| !p.state.is_handled()).count();
    let worst = problems.iter().filter(|p| !p.state.is_handled());
    let worst = worst.fold(ServiceState::Ok, |worst, p| worst.worst(p.state.state));
    Ok(shell(
        if group.is_empty() { "Wall" } else { group },
        html! {
            header class=(worst.word()) {
                b { @match open { 0 => "All well", n => (count(n, "problem")) } }
                span { @if !group.is_empty() { (group) ", " } (count(nodes.len(), "node"))
                    @if problems.len() > open { ", " (problems.len() - open) " handled" } }
                time { (view.local(view.now_ms)) }
            }
            @if nodes.is_empty() {
                p.big { "No node has reported yet: install the agent (" a href="/" { "how" } ")." }
            }
            (problem_tiles(view, &problems))
            (group_tiles(&groups))
            @if problems.is_empty() {
                div.graphs { (tiles::graphs(
                    view, group, &nodes.iter().collect::<Vec<_>>(), (tiles::FROM, SIZE), true)) }
            }
        },
    ))
}

fn problem_tiles(view: &View, problems: &[&Problem]) -> Markup {
    let shown = problems.len().min(PROBLEMS_SHOWN);
    html! {
        div class=(if shown > 2 { "wrong many" } else { "wrong" }) {
            @for p in &problems[..shown] {
                a class=(p.state.state.word()) data-handled[p.state.is_handled()] href=(link(p)) {
                    b { (p.node.rsplit(';').next().unwrap_or(&p.node)) }
                    div.what { @match &p.service { Some(s) => (s), None => (p.host_state) } }
                    div.text { (p.state.text) }
                    @if p.state.since_ms > 0 {
                        div.since { (ago(p.state.since_ms, view.now_ms))
                            @if p.state.acknowledged.is_some() { ", acknowledged" }
                            @if p.state.downtime.is_some() { ", in a downtime" } }
                    }
                    @if let Some(service) = p.service.as_ref().filter(|_| shown <= WITH_GRAPHS) {
                        (graph(view, p, service))
                    }
                }
            }
        }
        @if problems.len() > shown { p.big { "and " (problems.len() - shown) " more" } }
    }
}

fn link(p: &Problem) -> String {
    match &p.service {
        Some(service) => service_path(&p.node, service),
        None => node_path(&p.node),
    }
}

fn graph(view: &View, p: &Problem, service: &str) -> Markup {
    let tz = view.tz.map_or(String::new(), |tz| format!("&tz={}", segment(tz)));
    let src = format!(
        "/graph/{}/{}.svg?from={}&to=now&width={}&height={}&legend=0&theme=dark{tz}",
        segment(&p.node),
        segment(service),
        small_span(view.app, &p.node, view.now_ms),
        SIZE.0,
        SIZE.1
    );
    html! { img src=(src) alt={ (service) " of " (p.node) ": " (p.state.text) }; }
}

fn group_tiles(groups: &[Group]) -> Markup {
    html! {
        div.groups { @for g in groups.iter().take(GROUPS_SHOWN) {
            a class=(g.worst.word()) href=(group_path(g.name)) {
                b { @if g.name.is_empty() { "Nodes" }
                    @else { (g.name.rsplit(';').next().unwrap_or(g.name)) } }
                @match &g.bad {
                    Some((node, _)) => div { (g.n_bad) " of " (g.nodes.len()) ": "
                        (node.name.rsplit(';').next().unwrap_or(&node.name)) },
                    None => div { (g.nodes.len()) " well" },
                }
            }
        } }
        @if groups.len() > GROUPS_SHOWN {
            p.big { "and " (groups.len() - GROUPS_SHOWN) " more groups" }
        }
    }
}

/// Without the pages' head: nobody clicks on a wall. With JavaScript what is seen
/// stays when the collector does not answer, and says so.
fn shell(title: &str, content: Markup) -> Html {
    Html(html! {
        (DOCTYPE)
        html.wall lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Rookery" }
                noscript { meta http-equiv="refresh" content=(EVERY_S); }
                link rel="stylesheet" href=(assets::style());
                link rel="icon" href="/favicon.ico" type="image/svg+xml";
                script src=(assets::script()) defer {}
            }
            body {
                main data-renew=(EVERY_S) { h1.unseen { (title) } (content) }
            }
        }
    })
}
