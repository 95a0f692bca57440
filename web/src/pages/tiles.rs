//! Groups as tiles: the worst state, the worst node by name, and all nodes
//! together in small graphs.

use super::board::{Group, Health, telling_of};
use super::layout::{badge, card_class, node_path, picture, segment, service_path, state_badge};
use super::visitor::View;
use super::words::count;
use crate::graph::Unit;
use crate::pictures::mix::mix_path;
use maud::{Markup, html};
use rookery_collector::history::NodeInfo;
use rookery_plugins::{HostState, ServiceSpec};

/// Of a tile's graph, px.
const SIZE: (u32, u32) = (290, 110);
/// What they show.
pub const FROM: &str = "-1d";

/// `/group/G`; of those without a group `/nodes`.
pub fn group_path(group: &str) -> String {
    match group {
        "" => "/nodes".to_owned(),
        _ => format!("/group/{}", segment(group)),
    }
}

/// All groups, each a tile.
pub fn tiles(view: &View, groups: &[Group]) -> Markup {
    html! { div.grid.nodes { @for g in groups { (tile(view, g)) } } }
}

fn tile(view: &View, g: &Group) -> Markup {
    let own = g.name.rsplit(';').next().unwrap_or(g.name);
    html! {
        div class={ (card_class(g.worst)) " tile" } {
            h3 {
                a href=(group_path(g.name)) {
                    @if own.is_empty() { "Without a group" } @else { (own) }
                }
                (state_badge(g.worst, true))
                span.more.soft { (count(g.nodes.len(), "node"))
                    @if g.n_bad > 0 { ", " (g.n_bad) " not well" }
                    @if g.n_down > 0 { ", " (g.n_down) " down" } }
            }
            (worst(view, g))
            div.four { (graphs(view, g.name, &g.nodes, (FROM, SIZE), false)) }
        }
    }
}

/// The worst node by name: by its state, or by what is unusual of it.
fn worst(view: &View, g: &Group) -> Markup {
    if let Some((node, health)) = &g.bad {
        return html! { div { "worst: " (named(node, health)) } };
    }
    let known = view.app.known_outliers(view.now_ms);
    let inside = |node: &str| g.nodes.iter().any(|n| n.name == node);
    let odd = known.as_ref().and_then(|k| k.outliers.iter().find(|o| inside(&o.node)));
    html! { div.soft {
        @match odd {
            Some(o) => {
                "all well; most unusual: " a href=(node_path(&o.node)) { (o.node) } " "
                a href=(service_path(&o.node, &o.service)) { (o.spec.title) }
            }
            None => "all well",
        }
    } }
}

/// A node that is not well, with its worst service.
pub fn named(node: &NodeInfo, health: &Health) -> Markup {
    html! {
        a href=(node_path(&node.name)) { (node.name) } " "
        @if health.host != HostState::Up { (badge(&health.host.to_string())) }
        @else if let Some(service) = &health.service {
            (badge(health.worst.word())) " "
            a href=(service_path(&node.name, service)) { (service) }
        }
    }
}

/// Whether a service's numbers are added up over nodes, or their mean is told.
fn is_summed(spec: &ServiceSpec) -> bool {
    Unit::of(spec).adds_up()
}

/// All nodes together: the services that tell most, as sums or means.
pub fn graphs(
    view: &View,
    group: &str,
    nodes: &[&NodeInfo],
    (from, size): (&str, (u32, u32)),
    is_wall: bool,
) -> Markup {
    let spec_of = |service: &String| {
        let spec = nodes.iter().find_map(|n| view.app.history.spec(&n.name, service))?;
        Some((service.clone(), spec))
    };
    let all = telling_of(view.app, nodes);
    let shown: Vec<_> = all.iter().filter_map(spec_of).collect();
    html! { @for (service, spec) in &shown {
        (graph(view, group, service, spec, (nodes.len(), from, size), is_wall))
    } }
}

fn graph(
    view: &View,
    group: &str,
    service: &str,
    spec: &ServiceSpec,
    (n, from, size): (usize, &str, (u32, u32)),
    is_wall: bool,
) -> Markup {
    let (how, words) = if is_summed(spec) { ("sum", "together") } else { ("mean", "mean") };
    let text = format!("{how}:{}/{}/*", segment(group), segment(service));
    let tz = view.tz.map_or(String::new(), |tz| format!("&tz={}", segment(tz)));
    let base = mix_path(&[text]).replacen("/graph?", "/graph.svg?", 1);
    let src = |theme: &str, (width, height): (u32, u32)| {
        format!(
            "{base}&from={from}&to=now&width={width}&height={height}&legend=0&theme={theme}{tz}"
        )
    };
    let alt = format!("{}, {words} of {}", spec.title, count(n, "node"));
    html! {
        a href=(super::compare::path(service, group)) {
            // A wall is dark whatever its reader's system is.
            @if is_wall { img src=(src("dark", size)) alt=(alt); }
            @else { (picture(src, size, &alt)) }
            span.soft { (spec.title) ", " (words) }
        }
    }
}
