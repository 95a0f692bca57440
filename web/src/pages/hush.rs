//! Acknowledging and planning: who is on a problem, what is meant to be so, the
//! forms for both, and `/login`, which remembers the token that they need.
//!
//! The forms are answered by the collector's `/api/v1/acknowledge` and
//! `/api/v1/downtime`.

use super::layout::page;
use super::visitor::{View, Visitor};
use super::words::count;
use super::{Html, Page, PageError, make};
use crate::app::App;
use crate::error::{Asked, WebError};
use axum::Form;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use maud::{Markup, html};
use rookery_collector::auth::{COOKIE, own_path};
use rookery_collector::history::{Downtime, ServiceState};
use rookery_plugins::State as Level;
use serde::Deserialize;

/// How long a browser keeps the token, s: 30 days.
const KEPT_S: u32 = 30 * 86_400;

/// What a thing's state is about: a service, or a node itself.
pub struct About<'a> {
    /// The node.
    pub node: &'a str,
    /// The service; `None`: the node.
    pub service: Option<&'a str>,
}

/// Who is on it, and until when it is meant to be so; nothing for most.
pub fn handling(view: &View, state: &ServiceState) -> Markup {
    html! {
        @if let Some(ack) = &state.acknowledged {
            div.handled {
                span.badge { "acknowledged" } " by " (ack.author) ", " (view.local(ack.time_ms))
                @if let Some(until) = ack.until_ms { ", until " (view.local(until)) }
                @if !ack.comment.is_empty() { ": " (ack.comment) }
            }
        }
        @if let Some(d) = &state.downtime {
            div.handled {
                span.badge { "downtime" } " "
                @match d.until_ms() {
                    Some(to) => { "until " (view.local(to)) }
                    None => { (d.when()) }
                }
                " (" (d.author)
                @if !d.comment.is_empty() { ": " (d.comment) }
                ")"
            }
        }
    }
}

/// The forms to take it on, or to plan it.
pub fn forms(view: &View, about: &About, state: &ServiceState) -> Markup {
    let (node, service) = (about.node, about.service.unwrap_or(""));
    let is_problem = state.state != Level::Ok;
    // Mails lead here: on a page of its own it is there once.
    let anchor = view.path.starts_with("/node/").then_some("acknowledge");
    if !view.may_write {
        return html! {
            @if is_problem {
                p.soft id=[anchor] { a href={ "/login?back=" (super::layout::segment(view.path)) } { "Log in" }
                    " to acknowledge it or to plan a downtime." }
            }
        };
    }
    let hidden = html! {
        input type="hidden" name="node" value=(node);
        input type="hidden" name="service" value=(service);
        input type="hidden" name="back" value=(view.path);
    };
    html! {
        @if is_problem && state.acknowledged.is_none() {
            details id=[anchor] {
                summary { "Acknowledge" }
                form.row method="post" action="/api/v1/acknowledge" {
                    (hidden)
                    (who())
                    input name="for" placeholder="as long as it lasts, or 2h"
                        aria-label="How long";
                    label { input type="checkbox" name="sticky"; " also when its state changes" }
                    button type="submit" { "I am on it" }
                }
            }
        }
        @if state.acknowledged.is_some() {
            form.row method="post" action="/api/v1/unacknowledge" {
                (hidden)
                button type="submit" { "Take the acknowledgement back" }
            }
        }
        (planning(view, &hidden))
    }
}

/// Three forms: from now or a time on, from the first problem on, and again and again.
fn planning(view: &View, hidden: &Markup) -> Markup {
    html! {
        details.plan {
            summary { "Plan a downtime" }
            form.row method="post" action="/api/v1/downtime" {
                (hidden)
                b { "Once" }
                input type="hidden" name="zone" value=(own_zone(view).unwrap_or_default());
                label { "from now, or from " input type="datetime-local" name="from"; }
                label { "for " input.short name="for" value="2h" required; }
                (who())
                button type="submit" { "Plan it" }
            }
            form.row method="post" action="/api/v1/downtime" {
                (hidden)
                b { "Flexible" }
                label { "within the next " input.short name="for" value="8h" required; }
                label { "from the first problem on, for "
                    input.short name="flexible" placeholder="30m" required; }
                (who())
                button type="submit" { "Wait for it" }
            }
            form.row method="post" action="/api/v1/downtime" {
                (hidden)
                b { "Repeating" }
                label { "at " input name="repeat" placeholder="sun 02:00-04:00; 12-24" required; }
                label { "on the clock of " input name="zone" value=[own_zone(view)]
                    placeholder="the collector"; }
                label { "for " input.short name="for" placeholder="10 years"; }
                (who())
                button type="submit" { "Plan it" }
            }
        }
    }
}

/// The reader's zone by its name, where it has one.
fn own_zone<'a>(view: &'a View) -> Option<&'a str> {
    view.zone.iana_name().filter(|_| view.tz.is_some())
}

fn who() -> Markup {
    html! {
        input name="author" placeholder="your name" required autocomplete="name"
            aria-label="Your name";
        input name="comment" placeholder="what is being done" aria-label="Comment";
    }
}

/// The downtimes that are, or are to come.
pub fn downtimes(view: &View) -> Markup {
    let all = view.app.states.downtimes();
    html! {
        @if !all.is_empty() { h2 { (count(all.len(), "downtime")) } }
        (table(view, &all))
    }
}

/// Those of a thing alone, also while nothing is wrong with it.
pub fn downtimes_of(view: &View, about: &About) -> Markup {
    let group = view.app.history.node(about.node).map(|n| n.group).unwrap_or_default();
    let mut all = view.app.states.downtimes();
    all.retain(|d| d.is_of(about.node, &group, about.service));
    table(view, &all)
}

fn table(view: &View, all: &[Downtime]) -> Markup {
    html! {
        @if !all.is_empty() {
            div.scroll { table {
                thead { tr { th { "downtime of" } th { "from" } th { "until" } th { "by" } th { "why" } th {} } }
                tbody { @for d in all { tr {
                    td {
                        @if let Some(service) = &d.service { "services " (service) " of " }
                        "nodes " (d.node.as_deref().unwrap_or("*"))
                        @if let Some(group) = &d.group { " of group " (group) }
                    }
                    @if d.repeat.is_some() || d.flexible_ms.is_some() {
                        td colspan="2" { (d.when()) }
                    } @else {
                        td { (view.local(d.from_ms)) }
                        td { (view.local(d.to_ms)) }
                    }
                    td { (d.author) }
                    td { (d.comment) }
                    td { @if view.may_write {
                        form method="post" action="/api/v1/downtime/cancel" {
                            input type="hidden" name="id" value=(d.id);
                            input type="hidden" name="back" value=(view.path);
                            button type="submit" { "end it" }
                        }
                    } }
                } } }
            } }
        }
    }
}

/// The query of `/login`.
#[derive(Deserialize)]
pub struct Back {
    back: Option<String>,
}

/// `GET /login?back=/problems`.
pub async fn login(
    State(app): State<App>,
    visitor: Visitor,
    back: Result<Asked<Back>, WebError>,
) -> Page {
    let back = back?.0.back.unwrap_or_default();
    make(&app, visitor, move |view| Ok(login_page(view, own_path(&back).unwrap_or("/problems"))))
        .await
}

fn login_page(view: &View, back: &str) -> Html {
    page(
        view,
        "Log in",
        &[("Fleet", "/".to_owned())],
        html! {
            h1 { "Log in" }
            p { "Everybody may look. Acknowledging, planning and marking need the collector's "
                "token: that of " code { "collector.toml" } ", else the text of "
                code { "token" } " in its data folder (" code { "/var/lib/rookery/token" } ", "
                code { "./rookery-data/token" } ")." }
            form.row method="post" action="/login" {
                input type="hidden" name="back" value=(back);
                input type="password" name="token" required autocomplete="current-password"
                    aria-label="Token" placeholder="token";
                button type="submit" { "Log in" }
            }
        },
    )
}

/// What `/login` is sent.
#[derive(Deserialize)]
pub struct Credentials {
    token: String,
    #[serde(default)]
    back: String,
}

/// `POST /login`: remembers the token for 30 days.
pub async fn check(
    State(app): State<App>,
    form: Result<Form<Credentials>, axum::extract::rejection::FormRejection>,
) -> Result<Response, PageError> {
    let Form(given) = form.map_err(|e| WebError::bad(e.body_text()))?;
    let token = given.token.trim();
    if !app.auth.is_token(token.as_bytes()) || !token.bytes().all(is_plain) {
        let text = "that is not the collector's token: see the file \"token\" in its data folder";
        return Err(WebError::bad(text).into());
    }
    let cookie = format!("{COOKIE}={token}; Path=/; Max-Age={KEPT_S}; SameSite=Lax; HttpOnly");
    let to = own_path(&given.back).unwrap_or("/problems").to_owned();
    Ok((StatusCode::SEE_OTHER, [(header::SET_COOKIE, cookie), (header::LOCATION, to)])
        .into_response())
}

/// What a cookie's value may hold (RFC 6265).
fn is_plain(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'"' | b',' | b';' | b'\\')
}
