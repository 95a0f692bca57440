//! `/search?q=`: what was found, for those without JavaScript and for more hits
//! than fit under the field.

use super::layout::{badge_of, page};
use super::visitor::{View, Visitor};
use super::words::count;
use super::{Html, Page, make};
use crate::app::App;
use crate::error::{Asked, WebError};
use crate::search::{Found, HITS_MAX, search};
use axum::extract::State;
use maud::{Markup, html};
use serde::Deserialize;

/// The form's field.
#[derive(Deserialize)]
pub struct Query {
    q: Option<String>,
}

/// `GET /search?q=…`.
pub async fn results(
    State(app): State<App>,
    visitor: Visitor,
    query: Result<Asked<Query>, WebError>,
) -> Page {
    let Asked(query) = query?;
    make(&app, visitor, move |view| one_page(view, query.q.as_deref().unwrap_or("").trim())).await
}

fn one_page(view: &View, q: &str) -> Result<Html, WebError> {
    let found = search(&*view.app.history, q, HITS_MAX)?;
    let title = if q.is_empty() { "Search".to_owned() } else { format!("Search: {q}") };
    let content = html! {
        h1 { @if q.is_empty() { "Search" } @else { (count(found.total, "hit")) " for " q { (q) } } }
        form.row action="/search" method="get" {
            input.long type="search" name="q" value=(q) aria-label="Search again" autofocus;
            button type="submit" { "search" }
        }
        @if q.is_empty() {
            p.soft { "Write a part of a node's, service's, field's or group's name or title; "
                "more words narrow it: " code { "web1 cpu" } ". The key " kbd { "/" }
                " leads to the field in the head of any page." }
        } @else if found.total == 0 {
            p { "Nothing has all of these words in its name or title. Try fewer words or letters, "
                "or start at the " a href="/" { "fleet" } "." }
        }
        (list(&found))
    };
    Ok(page(view, &title, &[("Fleet", "/".to_owned())], content))
}

fn list(found: &Found) -> Markup {
    html! {
        @if found.total > found.hits.len() {
            p.soft { "The best " (found.hits.len()) " are shown." }
        }
        @if !found.hits.is_empty() {
            ul.hits { @for hit in &found.hits { li {
                a href=(hit.link) {
                    (badge_of(hit.kind.word())) " " (hit.title) " " span.soft { (hit.place) }
                }
            } } }
        }
    }
}
