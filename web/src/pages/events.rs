//! `/events`: what people and scripts marked, and a form for one more.

use super::layout::{node_path, page, segment};
use super::visitor::{View, Visitor};
use super::words::{ago, count};
use super::{Page, PageError, make};
use crate::api::events::{keep, read_body};
use crate::app::App;
use crate::error::WebError;
use axum::body::Body;
use axum::extract::{Query, State};
use axum::http::{Request, StatusCode, Uri, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use rookery_collector::events::{Event, NewEvent, TEXT_BYTES_MAX};
use serde::Deserialize;

/// Events on the page.
const SHOWN: usize = 200;

/// `GET /events`.
pub async fn events(State(app): State<App>, visitor: Visitor) -> Page {
    make(&app, visitor, |view| {
        let far = view.now_ms + 2 * 86_400_000;
        let events = view.app.events.read(0, far, SHOWN);
        let events = events.map_err(|e| WebError::ours(e.to_string()))?;
        Ok(page(view, "Events", &[("Fleet", "/".to_owned())], content(view, &events)))
    })
    .await
}

fn content(view: &View, events: &[Event]) -> Markup {
    html! {
        h1 { "Events" }
        p.soft { "A mark on every graph of the nodes that it concerns. From a script: "
            code { "rookery event \"deployed r1234\" --node web1" } }
        @if view.may_write { (form(view)) } @else {
            p { a href="/login?back=/events" { "Log in" } " to mark one here." }
        }
        @if events.is_empty() {
            p { "Nothing has been marked yet." }
        } @else {
            h2 { (count(events.len(), "event")) @if events.len() == SHOWN { ", the newest" } }
            (table(view, events))
        }
    }
}

fn form(view: &View) -> Markup {
    let nodes = view.app.history.nodes();
    let groups: std::collections::BTreeSet<&str> =
        nodes.iter().map(|n| n.group.as_str()).filter(|g| !g.is_empty()).collect();
    html! {
        form.card.fields action="/events" method="post" {
            label { "What happened" input name="text" required maxlength=(TEXT_BYTES_MAX)
                placeholder="deployed r1234"; }
            label { "Node" input name="node" placeholder="all" autocomplete="off"; }
            @if !groups.is_empty() {
                label { "or group" select name="group" {
                    option value="" { "–" }
                    @for group in groups { option value=(group) { (group) } }
                } }
            }
            label { "When" input name="time" placeholder="now, -10m, 2026-11-20T12:00Z"; }
            button type="submit" { "mark" }
        }
    }
}

/// A table of events with whom they concern.
pub fn table(view: &View, events: &[Event]) -> Markup {
    html! {
        div.scroll { table {
            thead { tr { th { "when" } th { "what" } th { "about" } } }
            tbody { @for event in events { tr {
                td.nowrap { (view.local(event.time_ms)) span.soft { (when(event, view.now_ms)) } }
                td { (event.text) }
                td {
                    @match (&event.node, &event.group) {
                        (Some(node), _) => { a href=(node_path(node)) { (node) } }
                        (_, Some(g)) => { a href={ "/group/" (segment(g)) } { (g) } }
                        _ => { "all nodes" }
                    }
                }
            } } }
        } }
    }
}

fn when(event: &Event, now_ms: i64) -> String {
    if event.time_ms > now_ms { "ahead".to_owned() } else { ago(event.time_ms, now_ms) }
}

/// What the form sends.
#[derive(Deserialize)]
struct Form {
    text: String,
    node: Option<String>,
    group: Option<String>,
    time: Option<String>,
}

/// `POST /events` from the form; leads back to the page.
pub async fn add(State(app): State<App>, request: Request<Body>) -> Result<Response, PageError> {
    let headers = request.headers().clone();
    if !app.auth.allows(&headers) {
        let to = [(header::LOCATION, "/login?back=/events")];
        return Ok((StatusCode::SEE_OTHER, to).into_response());
    }
    let body = read_body(request).await?;
    let Form { text, node, group, time } = parse(&body)?;
    keep(&app, NewEvent { text, node, group }, time.as_deref()).await?;
    Ok((StatusCode::SEE_OTHER, [(header::LOCATION, "/events")]).into_response())
}

/// A form's body is written like a query.
fn parse(body: &[u8]) -> Result<Form, WebError> {
    let bad = || WebError::bad("the form was not understood: go back, load it again and send it");
    let text = std::str::from_utf8(body).map_err(|_| bad())?;
    let uri: Uri = format!("/?{text}").parse().map_err(|_| bad())?;
    Query::<Form>::try_from_uri(&uri).map(|Query(form)| form).map_err(|_| bad())
}

/// Those of a span, under a graph.
pub fn below_graph(view: &View, node: &str, span: (i64, i64)) -> Result<Markup, WebError> {
    let events = view.app.events_of(node, span, SHOWN)?;
    Ok(html! {
        @if !events.is_empty() {
            h2 { "Events" a.more href="/events" { "all, and mark one" } }
            (table(view, &events))
        }
    })
}
