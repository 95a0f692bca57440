//! `/problems`: all that is not OK, each with the graph that shows it.

use super::hush::{self, About};
use super::layout::{
    Graph, badge, card_class, node_path, own_links, page, samples, service_path, state_badge,
};
use super::visitor::{View, Visitor};
use super::words::{ago, count, small_span};
use super::{Page, make};
use crate::app::App;
use axum::extract::State;
use maud::{Markup, html};
use rookery_collector::history::Problem;
use rookery_plugins::State as Level;

/// Problems with a graph; further ones are rows of a table.
const GRAPHS_MAX: usize = 40;

/// `GET /problems`.
pub async fn problems(State(app): State<App>, visitor: Visitor) -> Page {
    make(&app, visitor, |view| {
        let problems = view.app.states.problems();
        let handled = problems.iter().filter(|p| p.state.is_handled()).count();
        let problems: Vec<&Problem> = problems.iter().collect();
        let (shown, rest) = problems.split_at(problems.len().min(GRAPHS_MAX));
        Ok(page(view, "Problems", &[("Fleet", "/".to_owned())], html! {
            h1 { (count(problems.len(), "problem")) " now"
                @if handled > 0 { ", " (handled) " handled" } }
            (troubles(view))
            @if problems.is_empty() {
                p { "Every node reports, and every field is within its limits. Limits come from "
                    "the plugins' own warning and critical, and from rules in "
                    code { "alerts.d/*.toml" } "." }
            }
            (problem_cards(view, shown, true))
            @if !rest.is_empty() {
                h2 { "And " (rest.len()) " more" }
                ul { @for p in rest.iter().copied() { li { (line(p)) } } }
            }
            (hush::downtimes(view))
        }))
    })
    .await
}

/// The ways of telling that fail: whoever looks here may be the only one who knows.
fn troubles(view: &View) -> Markup {
    let all = view.app.states.troubles();
    html! {
        @if !all.is_empty() {
            div.grid.troubles {
                @for t in &all {
                    div class=(card_class(Level::Critical)) {
                        h3 { @if !t.what.starts_with("quarantine ") { "Telling fails: " } (t.what) " " (badge("CRITICAL")) }
                        div { (t.error) }
                        div.soft { "since " (view.local(t.since_ms)) ", "
                            (ago(t.since_ms, view.now_ms)) }
                    }
                }
            }
        }
    }
}

/// One card for each; with the forms to acknowledge it, or without.
pub fn problem_cards(view: &View, problems: &[&Problem], with_forms: bool) -> Markup {
    let now = view.now_ms;
    html! {
        div.grid {
            @for p in problems.iter().copied() {
                @let about = About { node: &p.node, service: p.service.as_deref() };
                div class=(card_class(p.state.state)) data-handled[p.state.is_handled()] {
                    h3 { (line(p)) }
                    div { (p.state.text) }
                    @if p.state.since_ms > 0 {
                        div.soft { "since " (view.local(p.state.since_ms)) ", "
                            (ago(p.state.since_ms, now)) }
                    }
                    (hush::handling(view, &p.state))
                    @if let Some(service) = &p.service {
                        a href=(service_path(&p.node, service)) {
                            (Graph {
                                node: &p.node, service, from: small_span(view.app, &p.node, now), to: "now", width: 380,
                                height: 100, legend: false,
                                alt: format!("{service} of {}: {}", p.node, p.state.text), tz: view.tz,
                            }.img())
                        }
                    }
                    @if let Some(service) = &p.service {
                        (own_links(&samples(&p.node, service, small_span(view.app, &p.node, now))))
                    }
                    @if with_forms { (hush::forms(view, &about, &p.state)) }
                }
            }
        }
    }
}

fn line(p: &Problem) -> Markup {
    html! {
        @match &p.service {
            Some(service) => {
                a href=(service_path(&p.node, service)) { (service) }
                " on " a href=(node_path(&p.node)) { (p.node) } " "
                (state_badge(p.state.state, p.state.hard))
            }
            None => {
                a href=(node_path(&p.node)) { (p.node) } " " (badge(&p.host_state.to_string()))
            }
        }
    }
}
