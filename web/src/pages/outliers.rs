//! `/outliers`: the fields that behave unlike their peers or their own past, each
//! with its graph and the reason in words.

use super::layout::{Graph, field_path, node_path, page, segment, service_path};
use super::visitor::{View, Visitor};
use super::words::{count, number};
use super::{Html, Page, make};
use crate::app::App;
use crate::error::{Asked, WebError};
use crate::outliers::{FIELDS_MAX, Outlier, Reason, With};
use crate::pictures::mix::{field_text, mix_path};
use axum::extract::State;
use maud::{Markup, html};
use serde::Deserialize;

/// Outliers on the page.
const SHOWN: usize = 40;
/// Outliers on a group's or a node's page.
const KNOWN_SHOWN: usize = 5;
/// Peers on the graph that a link leads to.
const PEERS_SHOWN: usize = 12;
/// What the small graphs show.
const FROM: &str = "-12h";

/// Of which nodes.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Query {
    group: Option<String>,
}

/// `GET /outliers[?group=G]`.
pub async fn outliers(
    State(app): State<App>,
    visitor: Visitor,
    query: Result<Asked<Query>, WebError>,
) -> Page {
    let Asked(query) = query?;
    let _gate = app.outliers_gate().await;
    make(&app, visitor, move |view| all(view, query.group.as_deref().unwrap_or(""))).await
}

fn all(view: &View, group: &str) -> Result<Html, WebError> {
    let found = view.app.outliers(view.now_ms)?;
    let inside = |o: &&Outlier| {
        group.is_empty() || o.group == group || o.group.starts_with(&format!("{group};"))
    };
    let of: Vec<&Outlier> = found.outliers.iter().filter(inside).collect();
    let content = html! {
        h1 { "Outliers" @if !group.is_empty() { " of " (group) } }
        p.soft {
            "Fields whose mean since " (view.local(found.from_ms)) " is far from that of the same "
            "field on the other nodes of the group (four or more), or from that of the same hours "
            "of former weeks. " (count(found.n_fields, "field")) " were compared"
            @if found.is_cut { ", which is not all: at most " (FIELDS_MAX) " are" }
            "."
        }
        @if of.is_empty() {
            p { "Nothing is unusual." }
        } @else {
            @if of.len() > SHOWN || found.total > found.outliers.len() {
                p.soft { "The first " (SHOWN.min(of.len())) " of " (found.total)
                    " are shown, the most unusual first." }
            }
            div.grid { @for o in of.into_iter().take(SHOWN) { (card(view, o)) } }
        }
    };
    Ok(page(view, "Outliers", &[("Fleet", "/".to_owned())], content))
}

/// `db7 diskstats_latency.sda write is 41 ms; its 11 peers lie between 2 and 5 ms.`
fn words(o: &Outlier) -> String {
    let spec = &o.spec;
    let label = spec.field(&o.field).map_or(o.field.as_str(), |f| f.label_or_name());
    let mut out = format!("{} {} {label} is {}", o.node, o.service, number(o.value, spec));
    for Reason { with, n, low, high, .. } in &o.reasons {
        let (low, high) = (number(*low, spec), number(*high, spec));
        out += &match with {
            With::Peers => format!("; its {} lie between {low} and {high}", count(*n, "peer")),
            With::Past => {
                format!("; at this hour of {n} former weeks it lay between {low} and {high}")
            }
        };
    }
    out + "."
}

/// What is unusual of some nodes, as far as it is known by now, as a few lines.
pub fn known(view: &View, is_meant: impl Fn(&str) -> bool) -> Markup {
    let Some(known) = view.app.known_outliers(view.now_ms) else { return html! {} };
    let of: Vec<&Outlier> =
        known.outliers.iter().filter(|o| is_meant(&o.node)).take(KNOWN_SHOWN).collect();
    html! { @if !of.is_empty() {
        h2 { "Unusual now" a.more href="/outliers" { "all outliers" } }
        ul.lines { @for o in of { li {
            a href=(field_path(&o.node, &o.service, &o.field)) { (o.spec.title) }
            " " span.soft { (words(o)) }
        } } }
    } }
}

fn card(view: &View, o: &Outlier) -> Markup {
    let words = words(o);
    let is_past = o.reasons.iter().any(|r| r.with == With::Past);
    let ghost = if is_past { "&ghost=1w" } else { "" };
    let link = format!("{}?from={FROM}&to=now{ghost}", service_path(&o.node, &o.service));
    let nodes = view.app.history.nodes();
    let peers = nodes.iter().filter(|n| n.group == o.group && n.name != o.node);
    let names = std::iter::once(o.node.as_str()).chain(peers.map(|n| n.name.as_str()));
    let texts: Vec<String> =
        names.take(PEERS_SHOWN).map(|n| field_text(n, &o.service, &o.field)).collect();
    html! {
        div.card {
            h3 { a href=(node_path(&o.node)) { (o.node) } " " (o.spec.title) }
            p { (words) }
            a href=(link) {
                (Graph {
                    node: &o.node, service: &o.service, from: FROM, to: "now", width: 380,
                    height: 120, legend: false, alt: words.clone(), tz: view.tz,
                }.img_with(&format!("&field={}{ghost}", segment(&o.field))))
            }
            @if texts.len() > 1 {
                a href={ (mix_path(&texts)) "&from=" (FROM) "&to=now" } rel="nofollow"
                    { "beside its peers" }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_plugins::ServiceSpec;
    use std::sync::Arc;

    #[test]
    fn the_reason_is_told_in_words() {
        let spec = ServiceSpec::new("diskstats_latency.sda", "Latency", "disk").vlabel("ms");
        let reason = |with, n| Reason { with, n, low: 2.0, high: 5.0, score: 9.0 };
        let outlier = Outlier {
            node: "db7".into(),
            group: "db".into(),
            service: spec.name.clone(),
            field: "write".into(),
            value: 41.0,
            reasons: vec![reason(With::Peers, 11), reason(With::Past, 3)],
            spec: Arc::new(spec),
        };
        assert_eq!(
            words(&outlier),
            "db7 diskstats_latency.sda write is 41.0 ms; its 11 peers lie between 2.00 ms and \
             5.00 ms; at this hour of 3 former weeks it lay between 2.00 ms and 5.00 ms."
        );
    }
}
