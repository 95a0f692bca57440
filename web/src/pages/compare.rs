//! `/compare?service=S`: one service on many nodes, on one value axis, the
//! worst first.

use super::layout::{
    Graph, RANGES, card_class, host_badge, node_path, page, segment, service_path,
};
use super::layout::{shared_axis, state_badge};
use super::visitor::{View, Visitor};
use super::words::{STALE_MS, ago, count};
use super::{Html, Page, make};
use crate::app::App;
use crate::error::{Asked, WebError};
use crate::pictures::Span;
use crate::pictures::mix::{PARTS_MAX, field_text, mix_path};
use crate::times;
use axum::extract::State;
use maud::{Markup, html};
use rookery_collector::history::{NodeInfo, ServiceInfo};
use rookery_plugins::{FieldSpec, HostState};
use serde::Deserialize;
use std::cmp::Reverse;
use std::collections::BTreeMap;

/// Nodes on the page; a pattern or a group leads to the others.
const NODES_MAX: usize = 60;
/// Of each graph, px.
const SIZE: (u32, u32) = (380, 130);

/// What is compared.
#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    service: Option<String>,
    group: Option<String>,
    /// A name with `*` for anything.
    nodes: Option<String>,
    from: Option<String>,
    to: Option<String>,
}

/// `GET /compare[?service=S&group=G&nodes=web*&from=T&to=T]`.
pub async fn compare(
    State(app): State<App>,
    visitor: Visitor,
    query: Result<Asked<Query>, WebError>,
) -> Page {
    let Asked(query) = query?;
    make(&app, visitor, move |view| match given(&query.service) {
        Some(service) => one_service(view, service, &query),
        None => Ok(choice(view)),
    })
    .await
}

/// The address of a service's comparison in a group (empty: all nodes).
pub fn path(service: &str, group: &str) -> String {
    let group = if group.is_empty() { String::new() } else { format!("&group={}", segment(group)) };
    format!("/compare?service={}{group}", segment(service))
}

fn given(text: &Option<String>) -> Option<&str> {
    text.as_deref().map(str::trim).filter(|t| !t.is_empty())
}

/// Which services there are to compare.
fn choice(view: &View) -> Html {
    let mut services: BTreeMap<String, (String, usize)> = BTreeMap::new();
    for node in view.app.history.nodes() {
        for (spec, _) in view.app.history.specs(&node.name).unwrap_or_default() {
            let title = spec.title.clone();
            services.entry(spec.name.clone()).or_insert((title, 0)).1 += 1;
        }
    }
    let content = html! {
        h1 { "Compare" }
        p.soft { "One service on many nodes, all on the same value axis, the worst first." }
        ul.hits { @for (name, (title, n)) in &services { li {
            a href=(path(name, "")) { (title) " " span.soft { (name) ", " (count(*n, "node")) } }
        } } }
    };
    page(view, "Compare", &[("Fleet", "/".to_owned())], content)
}

/// A node that takes part.
struct Member {
    node: NodeInfo,
    info: ServiceInfo,
    /// Ends of what it would be drawn on alone; `None`: no data in the span.
    ends: Option<(f64, f64)>,
}

fn one_service(view: &View, service: &str, query: &Query) -> Result<Html, WebError> {
    let app = view.app;
    let from = given(&query.from).unwrap_or("-1d");
    let to = given(&query.to).unwrap_or("now");
    let span = Span::parse((from, to), SIZE.0, view.now_ms, &view.zone)?;
    let (mut members, n_all) = members(view, service, query)?;
    for m in &mut members {
        m.ends = app.ends(&m.node.name, &m.info, &span)?;
    }
    let axis = members.iter().filter_map(|m| m.ends);
    let axis = axis.reduce(|a, b| (a.0.min(b.0), a.1.max(b.1)));
    members.sort_by(|a, b| {
        let severity = |m: &Member| {
            let state = app.states.service_state(&m.node.name, service).state;
            let down = app.states.host_state(&m.node.name).0 != HostState::Up;
            Reverse((down, state.severity()))
        };
        let high = |m: &Member| m.ends.map_or(f64::NEG_INFINITY, |e| e.1);
        severity(a).cmp(&severity(b)).then(high(b).total_cmp(&high(a)))
    });
    let title = members[0].info.spec.title.clone();
    let content = html! {
        h1 { (title) " on " (count(n_all, "node")) }
        p.soft { (service) @if let Some(g) = given(&query.group) { " in the group " (g) }
            ": one value axis for all; the worst state first, then the highest value."
            @if n_all > members.len() { " The first " (members.len()) " nodes are shown: choose "
                "others by name." } }
        (together(&members[0].info, query, (from, to)))
        (ranges(view, service, query, (from, to)))
        div.grid { @for m in &members { (card(view, m, (from, to), &span, axis)) } }
    };
    let crumbs = [("Fleet", "/".to_owned()), ("Compare", "/compare".to_owned())];
    Ok(page(view, &format!("{title} compared"), &crumbs, content))
}

/// Those that have the service and are asked for, and how many there are.
fn members(view: &View, service: &str, query: &Query) -> Result<(Vec<Member>, usize), WebError> {
    let (group, pattern) = (given(&query.group), given(&query.nodes));
    let is_in = |node: &NodeInfo| {
        let inside = |g: &str| node.group == g || node.group.starts_with(&format!("{g};"));
        group.is_none_or(inside) && pattern.is_none_or(|p| matches(p, &node.name))
    };
    let mut found = Vec::new();
    for node in view.app.history.nodes().into_iter().filter(is_in) {
        // A node that has just been forgotten has none.
        if let Ok(Some(info)) = view.app.history.service(&node.name, service) {
            found.push(Member { node, info, ends: None });
        }
    }
    if found.is_empty() {
        let text = format!("no node that was asked for has a service {service:?}");
        return Err(WebError::not_found(text));
    }
    let n_all = found.len();
    // What is wrong must not be left out.
    found.sort_by_key(|m| {
        Reverse(view.app.states.service_state(&m.node.name, service).state.severity())
    });
    found.truncate(NODES_MAX);
    Ok((found, n_all))
}

/// Whether a name fits a pattern in which `*` is anything.
pub fn matches(pattern: &str, name: &str) -> bool {
    let mut parts = pattern.split('*');
    let Some(mut rest) = name.strip_prefix(parts.next().unwrap_or("")) else { return false };
    let mut parts: Vec<&str> = parts.collect();
    let Some(last) = parts.pop() else { return rest.is_empty() };
    for part in parts {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Links to all of these nodes as one.
fn together(info: &ServiceInfo, query: &Query, (from, to): (&str, &str)) -> Markup {
    let which = given(&query.nodes).or(given(&query.group)).unwrap_or("");
    let spec = &info.spec;
    let link = |how: &str| {
        let fields = spec.fields.iter().filter(|f| !f.hidden).take(PARTS_MAX);
        let text = |f: &FieldSpec| format!("{how}:{}", field_text(which, &spec.name, &f.name));
        let texts: Vec<String> = fields.map(text).collect();
        format!("{}&from={}&to={}", mix_path(&texts), segment(from), segment(to))
    };
    // A pattern within a group is more than a sum can say.
    let both = given(&query.nodes).is_some() && given(&query.group).is_some();
    html! { @if !both {
        p.row {
            a href=(link("sum")) rel="nofollow" { "Sum of all" }
            a href=(link("mean")) rel="nofollow" { "Mean of all" }
        }
    } }
}

fn ranges(view: &View, service: &str, query: &Query, (from, to): (&str, &str)) -> Markup {
    let group = given(&query.group).unwrap_or("");
    let nodes = given(&query.nodes);
    let which = nodes.map_or(String::new(), |n| format!("&nodes={}", segment(n)));
    let base = path(service, group) + &which;
    html! {
        nav.ranges aria-label="Span" {
            @for (key, name, span) in RANGES {
                a href={ (base) "&from=" (span) } data-key=(key)
                    aria-current=[(from == span && to == "now").then_some("true")] { (name) }
            }
            form.row action="/compare" method="get" {
                input type="hidden" name="service" value=(service);
                input type="hidden" name="group" value=(group);
                input name="nodes" value=(nodes.unwrap_or("")) placeholder="nodes: web*"
                    aria-label="Nodes, * for anything";
                input name="from" value=(times::editable(from, &view.zone)) aria-label="From";
                input name="to" value=(times::editable(to, &view.zone)) aria-label="To";
                button type="submit" { "show" }
            }
        }
    }
}

fn card(
    view: &View,
    m: &Member,
    (from, to): (&str, &str),
    span: &Span,
    axis: Option<(f64, f64)>,
) -> Markup {
    let (node, service) = (m.node.name.as_str(), m.info.spec.name.as_str());
    let state = view.app.states.service_state(node, service);
    let (host, _) = view.app.states.host_state(node);
    let silent = m.node.last_seen_ms.filter(|t| view.now_ms - t > STALE_MS);
    let link = format!("{}?from={}&to={}", service_path(node, service), segment(from), segment(to));
    let numbers = format!(
        "/api/v1/samples?node={}&service={}&from={}&to={}&format=",
        segment(node),
        segment(service),
        times::rfc3339(span.from_ms),
        times::rfc3339(span.to_ms)
    );
    html! {
        div class=(card_class(state.state)) {
            h3 {
                a href=(node_path(node)) { (node) }
                @if host != HostState::Up { (host_badge(host)) }
                @if state.state != rookery_plugins::State::Ok {
                    (state_badge(state.state, state.hard))
                }
                @if let Some(seen) = silent {
                    span.badge.UNKNOWN { "silent" }
                    span.soft { " last heard " (ago(seen, view.now_ms)) }
                }
            }
            a href=(link) {
                (Graph {
                    node, service, from, to, width: SIZE.0, height: SIZE.1, legend: false,
                    alt: super::node::alt(node, &m.info), tz: view.tz,
                }.img_with(&axis.map_or(String::new(), shared_axis)))
            }
            div.soft { a href={ (numbers) "csv" } { "CSV" } " " a href={ (numbers) "json" } { "JSON" } }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stars_stand_for_anything() {
        for (pattern, name) in [
            ("web1", "web1"),
            ("web*", "web1"),
            ("*1", "web1"),
            ("*", ""),
            ("w*b*", "web1"),
            ("**", "a"),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in
            [("web", "web1"), ("web*", "myweb"), ("*2", "web1"), ("w*x*1", "web1"), ("ab*b", "ab")]
        {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
