//! The shell that every page has, and the links and pictures in it.

use super::{Html, assets};
use maud::{DOCTYPE, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rookery_plugins::{HostState, State};

/// Kept as they are in a path segment.
const SEGMENT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_').remove(b'.').remove(b'~');

/// One path segment.
pub fn segment(text: &str) -> String {
    utf8_percent_encode(text, SEGMENT).to_string()
}

/// `/node/N`.
pub fn node_path(node: &str) -> String {
    format!("/node/{}", segment(node))
}

/// `/node/N/S`.
pub fn service_path(node: &str, service: &str) -> String {
    format!("/node/{}/{}", segment(node), segment(service))
}

/// A page with breadcrumbs (text, link) above its content.
pub fn page(title: &str, crumbs: &[(&str, String)], content: maud::Markup) -> Html {
    Html(html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width, initial-scale=1";
                title { (title) " · Rookery" }
                link rel="stylesheet" href=(assets::style());
                link rel="icon" href="/favicon.ico" type="image/svg+xml";
                script src=(assets::script()) defer {}
            }
            body {
                header.top {
                    a.brand href="/" { "Rookery" }
                    nav aria-label="Pages" {
                        a href="/" { "Fleet" }
                        a href="/problems" { "Problems" }
                    }
                }
                main {
                    @if !crumbs.is_empty() {
                        div.crumbs {
                            @for (text, link) in crumbs { a href=(link) { (text) } " › " }
                        }
                    }
                    (content)
                }
                footer {
                    "Rookery " (env!("CARGO_PKG_VERSION")) " · times in "
                    (zone_name()) " · exact numbers: " a href="/api/v1/nodes" { "/api/v1/" }
                }
            }
        }
    })
}

fn zone_name() -> String {
    let zone = jiff::tz::TimeZone::system();
    zone.iana_name().map_or_else(|| "the collector's local time".to_owned(), str::to_owned)
}

/// A state's word in its colour.
pub fn badge(word: &str) -> maud::Markup {
    html! { span class={ "badge " (word) } { (word) } }
}

/// A service's, with whether it has been confirmed.
pub fn state_badge(state: State, is_hard: bool) -> maud::Markup {
    html! {
        (badge(state.word()))
        @if state != State::Ok && !is_hard { span.soft { " soft" } }
    }
}

/// A node's.
pub fn host_badge(state: HostState) -> maud::Markup {
    badge(&state.to_string())
}

/// A card's class by the state in it.
pub fn card_class(state: State) -> &'static str {
    match state {
        State::Critical => "card bad",
        State::Warning | State::Unknown => "card warn",
        State::Ok => "card",
    }
}

/// A graph that a page shows.
pub struct Graph<'a> {
    /// The node.
    pub node: &'a str,
    /// The service.
    pub service: &'a str,
    /// As a picture's `from` takes it.
    pub from: &'a str,
    /// As a picture's `to` takes it.
    pub to: &'a str,
    /// Of the plot, px.
    pub width: u32,
    /// Of the plot, px.
    pub height: u32,
    /// With the table of numbers below.
    pub legend: bool,
    /// For those who do not see it.
    pub alt: String,
}

impl Graph<'_> {
    fn src(&self, theme: &str) -> String {
        format!(
            "/graph/{}/{}.svg?from={}&to={}&width={}&height={}&legend={}&theme={theme}",
            segment(self.node),
            segment(self.service),
            segment(self.from),
            segment(self.to),
            self.width,
            self.height,
            u8::from(self.legend),
        )
    }

    /// Light or dark as the reader's system is.
    pub fn img(&self) -> maud::Markup {
        html! {
            picture {
                source srcset=(self.src("dark")) media="(prefers-color-scheme: dark)";
                img src=(self.src("light")) alt=(self.alt) loading="lazy";
            }
        }
    }
}
