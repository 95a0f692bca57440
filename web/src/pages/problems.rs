//! `/problems`: all that is not OK, each with the graph that shows it.

use super::layout::{Graph, badge, card_class, node_path, page, service_path, state_badge};
use super::words::{ago, count, local, small_span};
use super::{Page, make};
use crate::app::{App, now_ms};
use axum::extract::State;
use maud::{Markup, html};
use rookery_collector::history::Problem;

/// Problems with a graph; further ones are rows of a table.
const GRAPHS_MAX: usize = 40;

/// `GET /problems`.
pub async fn problems(State(app): State<App>) -> Page {
    make(&app, |app| {
        let problems = app.states.problems();
        let (shown, rest) = problems.split_at(problems.len().min(GRAPHS_MAX));
        Ok(page("Problems", &[("Fleet", "/".to_owned())], html! {
            h1 { (count(problems.len(), "problem")) " now" }
            @if problems.is_empty() {
                p { "Every node reports, and every field is within its limits. Limits come from "
                    "the plugins' own warning and critical, and from rules in "
                    code { "alerts.d/*.toml" } "." }
            }
            (problem_cards(app, shown))
            @if !rest.is_empty() {
                h2 { "And " (rest.len()) " more" }
                ul { @for p in rest { li { (line(p)) } } }
            }
        }))
    })
    .await
}

/// One card for each.
pub fn problem_cards(app: &App, problems: &[Problem]) -> Markup {
    let now = now_ms();
    html! {
        div.grid {
            @for p in problems {
                div class=(card_class(p.state.state)) {
                    h3 { (line(p)) }
                    div { (p.state.text) }
                    @if p.state.since_ms > 0 {
                        div.soft { "since " (local(p.state.since_ms)) ", "
                            (ago(p.state.since_ms, now)) }
                    }
                    @if let Some(service) = &p.service {
                        a href=(service_path(&p.node, service)) {
                            (Graph {
                                node: &p.node, service, from: small_span(app, &p.node, now), to: "now", width: 380,
                                height: 100, legend: false,
                                alt: format!("{service} of {}: {}", p.node, p.state.text),
                            }.img())
                        }
                    }
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
