//! The shell that every page has, and the links and pictures in it.

use super::visitor::View;
use super::{Html, assets};
use crate::search::QUERY_BYTES_MAX;
use maud::{DOCTYPE, Markup, html};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use rookery_plugins::{HostState, State};

/// Spans with a link: key, name, `from`.
pub const RANGES: [(&str, &str, &str); 6] = [
    ("h", "hour", "-1h"),
    ("q", "6 hours", "-6h"),
    ("d", "day", "-1d"),
    ("w", "week", "-1w"),
    ("m", "month", "-1M"),
    ("y", "year", "-1y"),
];

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

/// `/node/N/S/F`.
pub fn field_path(node: &str, service: &str, field: &str) -> String {
    format!("{}/{}", service_path(node, service), segment(field))
}

/// A graph's numbers: the address of its samples, which ends in `format=`.
pub fn own_links(samples: &str) -> Markup {
    html! { div.own {
        a href={ (samples) "csv" } { "CSV" } " " a href={ (samples) "json" } { "JSON" }
    } }
}

/// The exact samples of a service over the span of a small graph, for
/// [`own_links`].
pub fn samples(node: &str, service: &str, from: &str) -> String {
    let (node, service) = (segment(node), segment(service));
    format!("/api/v1/samples?node={node}&service={service}&from={from}&format=")
}

/// A page with breadcrumbs (text, link) above its content.
pub fn page(view: &View, title: &str, crumbs: &[(&str, String)], content: Markup) -> Html {
    let crumbs = html! {
        @if !crumbs.is_empty() {
            nav.crumbs aria-label="Where this is" {
                @for (i, (text, link)) in crumbs.iter().enumerate() {
                    @if i > 0 { " › " }
                    a href=(link) { (text) }
                }
            }
        }
    };
    shell(title, html! { (crumbs) (content) }, zone_choice(view))
}

/// A page for no one in particular.
pub fn plain_page(title: &str, content: Markup) -> Html {
    shell(title, content, html! {})
}

fn shell(title: &str, content: Markup, foot: Markup) -> Html {
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
                        a href="/outliers" { "Outliers" }
                        a href="/compare" { "Compare" }
                        a href="/events" { "Events" }
                        a href="/reports" { "Reports" }
                        a href="/wall" { "Wall" }
                    }
                    (search_form())
                }
                main { (content) }
                footer {
                    div { "Rookery " (env!("CARGO_PKG_VERSION")) " · exact numbers: "
                        a href="/api/v1/nodes" { "/api/v1/" } }
                    (foot)
                }
            }
        }
    })
}

/// In the head of every page; the key / leads to it.
fn search_form() -> Markup {
    html! {
        form.search action="/search" method="get" role="search" {
            input type="search" name="q" placeholder="Search: press /" autocomplete="off"
                maxlength=(QUERY_BYTES_MAX)
                aria-label="Search nodes, services, fields and groups";
        }
    }
}

/// Which time zone this is, and the way to another.
fn zone_choice(view: &View) -> Markup {
    let name = view.zone.iana_name().unwrap_or("the collector's local time");
    let link = |tz: &str| format!("/zone?tz={}&back={}", segment(tz), segment(view.path));
    html! {
        form.row action="/zone" method="get" {
            span { "Times in " (name) }
            @if view.tz.is_some() { a href=(link("")) rel="nofollow" { "as the collector" } }
            @if !name.ends_with("UTC") { a href=(link("UTC")) rel="nofollow" { "UTC" } }
            input type="hidden" name="back" value=(view.path);
            input name="tz" placeholder="Europe/Berlin" aria-label="Time zone" data-zone;
            button type="submit" { "change" }
        }
    }
}

/// A state's word in its colour.
pub fn badge(word: &str) -> Markup {
    html! { span class={ "badge " (word) } { (word) } }
}

/// What kind of thing a hit is.
pub fn badge_of(kind: &str) -> Markup {
    html! { span.badge.kind { (kind) } }
}

/// A service's, with whether it has been confirmed.
pub fn state_badge(state: State, is_hard: bool) -> Markup {
    html! {
        (badge(state.word()))
        @if state != State::Ok && !is_hard { span.soft { " soft" } }
    }
}

/// A node's.
pub fn host_badge(state: HostState) -> Markup {
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

/// The value axis that several graphs share, for a picture's query.
pub fn shared_axis((low, high): (f64, f64)) -> String {
    format!("&low={low:?}&high={high:?}")
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
    /// The reader's zone, if they chose one.
    pub tz: Option<&'a str>,
}

impl Graph<'_> {
    fn src(&self, theme: &str, (width, height): (u32, u32), more: &str) -> String {
        let tz = self.tz.map_or(String::new(), |tz| format!("&tz={}", segment(tz)));
        format!(
            "/graph/{}/{}.svg?from={}&to={}&width={width}&height={height}&legend={}&theme={theme}\
             {tz}{more}",
            segment(self.node),
            segment(self.service),
            segment(self.from),
            segment(self.to),
            u8::from(self.legend),
        )
    }

    /// Light or dark as the reader's system is.
    pub fn img(&self) -> Markup {
        self.img_with("")
    }

    /// With more in the picture's query.
    pub fn img_with(&self, more: &str) -> Markup {
        picture(|theme, size| self.src(theme, size, more), (self.width, self.height), &self.alt)
    }
}

/// Wider pictures than this have a narrow twin for phones, px.
const NARROW_FROM: u32 = 500;
/// The narrow twin's width, and its height for one as high as wide, px.
const NARROW: (u32, u32) = (350, 170);

/// A picture in light and dark, and where it is wide, drawn anew for phones, where
/// its texts would be too small to be read.
pub fn picture(src: impl Fn(&str, (u32, u32)) -> String, size: (u32, u32), alt: &str) -> Markup {
    let narrow = (NARROW.0, NARROW.1.max(size.1 / 2));
    html! {
        picture {
            @if size.0 >= NARROW_FROM {
                source srcset=(src("dark", narrow))
                    media="(max-width: 480px) and (prefers-color-scheme: dark)";
                source srcset=(src("light", narrow)) media="(max-width: 480px)";
            }
            source srcset=(src("dark", size)) media="(prefers-color-scheme: dark)";
            img src=(src("light", size)) alt=(alt) loading="lazy";
        }
    }
}
