//! Mails as HTML: the same words as in their text, which goes first.
//!
//! Styles stand at the elements, and nothing is loaded from anywhere: that is what
//! mail programs show. The graph is a part of the mail (`cid:graph`).

use crate::digest::{Digest, Entry};
use crate::message::{self, span};
use crate::output::{Notice, NoticeKind, Status};
use maud::{DOCTYPE, Markup, html};
use rookery_plugins::{HostState, State};

const BODY: &str = "margin:0;padding:16px;background:#f4f5f7;\
                    font-family:-apple-system,'Segoe UI',Roboto,Helvetica,Arial,sans-serif;\
                    font-size:14px;line-height:1.45;color:#1c2126";
const CARD: &str = "max-width:720px;margin:0 auto;background:#ffffff;border:1px solid #d9dde2;\
                    border-radius:6px;overflow:hidden";
const CELL: &str = "padding:3px 16px 3px 0;vertical-align:top;text-align:left";
const KEY: &str = "padding:3px 16px 3px 0;vertical-align:top;text-align:left;color:#5b6570;\
                   white-space:nowrap;font-weight:normal";
const BUTTON: &str = "display:inline-block;margin:4px 8px 0 0;padding:7px 14px;border-radius:4px;\
                      background:#27496d;color:#ffffff;text-decoration:none";

/// Dark enough for white text on it.
fn colour(kind: NoticeKind, state: Status) -> &'static str {
    match (kind, state) {
        (NoticeKind::Acknowledgement | NoticeKind::Flapping, _) => "#1d5fa8",
        (_, Status::Host(HostState::Up) | Status::Service(State::Ok)) => "#2b7a3d",
        (_, Status::Service(State::Warning)) => "#9a6200",
        (_, Status::Service(State::Unknown) | Status::Host(HostState::Unreachable)) => "#6b4a9c",
        (_, Status::Service(State::Critical) | Status::Host(HostState::Down)) => "#b3261e",
    }
}

/// A line of the text: what it is of, and what it says; the value of a key may go
/// on on the lines that follow.
fn rows(body: &str) -> Vec<(String, Vec<String>)> {
    let mut rows: Vec<(String, Vec<String>)> = Vec::new();
    // The first line is the heading.
    for line in body.lines().skip(1).filter(|l| !l.trim().is_empty()) {
        let key = line.split_once(':').filter(|(key, _)| {
            !key.is_empty() && !key.starts_with(' ') && key.chars().count() <= 20
        });
        match (key, rows.last_mut()) {
            (Some((key, value)), _) => {
                rows.push((key.to_owned(), vec![value.trim().to_owned()]));
            }
            (None, Some((_, values))) => values.push(line.trim().to_owned()),
            (None, None) => rows.push((String::new(), vec![line.trim().to_owned()])),
        }
    }
    rows
}

fn page(title: &str, colour: &str, head: &Markup, rest: &Markup) -> String {
    let page = html! {
        (DOCTYPE)
        html lang="en" {
            head {
                meta charset="utf-8";
                meta name="viewport" content="width=device-width";
                title { (title) }
            }
            body style=(BODY) {
                div style=(CARD) {
                    div style=(format!("background:{colour};color:#ffffff;padding:12px 20px")) {
                        (head)
                    }
                    div style="padding:14px 20px 18px" { (rest) }
                }
            }
        }
    };
    page.into_string()
}

/// A notice; `has_graph`: the mail has a part `graph`.
pub(super) fn notice(notice: &Notice, base_url: &str, has_graph: bool) -> String {
    let link = message::link(notice, base_url);
    let rows = rows(&message::body(notice, base_url));
    let head = html! {
        div style="font-size:18px;font-weight:600" { (message::subject(notice)) }
        div style="margin-top:2px" { (message::cut(&message::line(&notice.text), message::SUMMARY_BYTES_MAX)) }
    };
    let rest = html! {
        table cellpadding="0" cellspacing="0" style="border-collapse:collapse" {
            @for (key, values) in rows.iter().filter(|(key, _)| !is_link(key)) {
                tr {
                    th scope="row" style=(KEY) { (key) }
                    td style=(CELL) { @for value in values { div { (value) } } }
                }
            }
        }
        @if has_graph {
            img src="cid:graph" alt="The graph of the last hours"
                style="display:block;max-width:100%;margin:14px 0 4px;border:1px solid #d9dde2";
        }
        @if !base_url.is_empty() {
            div style="margin-top:10px" {
                a href=(link) style=(BUTTON) { "Look at it" }
                @if message::can_be_acknowledged(notice) {
                    a href=(message::acknowledge_link(notice, base_url)) style=(BUTTON) {
                        "Acknowledge"
                    }
                }
            }
        }
    };
    page(&message::subject(notice), colour(notice.kind, notice.state), &head, &rest)
}

/// They are buttons.
fn is_link(key: &str) -> bool {
    matches!(key, "Look at" | "Ack")
}

/// A digest.
pub(super) fn digest(digest: &Digest, base_url: &str) -> String {
    let head = html! {
        div style="font-size:18px;font-weight:600" { (digest.subject()) }
        div style="margin-top:2px" { "What was not urgent. Times are of " (digest.zone) "." }
    };
    let rest = html! {
        @for (title, entries) in [("Wrong now", &digest.wrong), ("Over", &digest.over)] {
            @if !entries.is_empty() {
                h2 style="font-size:15px;margin:12px 0 6px" { (title) }
                table cellpadding="0" cellspacing="0" style="border-collapse:collapse;width:100%" {
                    @for entry in entries { (line_of(entry)) }
                }
            }
        }
        @if digest.n_more > 0 { p { "and " (digest.n_more) " more" } }
        @if digest.repeated {
            p { "Rookery ended while it sent this; you may have it already." }
        }
        @if !base_url.is_empty() {
            div style="margin-top:12px" {
                a href=(format!("{}/problems", base_url.trim_end_matches('/'))) style=(BUTTON) {
                    "All problems"
                }
            }
        }
    };
    page(&digest.subject(), "#27496d", &head, &rest)
}

fn line_of(e: &Entry) -> Markup {
    let colour = colour(NoticeKind::Problem, e.state);
    let badge = format!(
        "display:inline-block;padding:1px 8px;border-radius:3px;background:{colour};color:#ffffff;\
         font-size:12px"
    );
    html! {
        tr style="border-top:1px solid #e6e9ed" {
            td style="padding:8px 14px 8px 0;vertical-align:top" { span style=(badge) { (e.state) } }
            td style="padding:8px 0;vertical-align:top;width:100%" {
                div style="font-weight:600" { (e.place()) }
                @if !e.text.is_empty() { div { (message::line(&e.text)) } }
                div style="color:#5b6570" {
                    "since " (e.since) ", " (span(e.lasted_ms)) "; " (message::line(&e.why))
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::sample;

    #[test]
    fn the_page_says_what_the_text_says_and_nothing_is_injected() {
        let mut n = sample(NoticeKind::Problem, 0);
        n.text = "c is 95 <script>alert(1)</script>".to_owned();
        let page = notice(&n, "http://c:4950", true);
        for want in [
            "CRITICAL db1/my sql",
            "c is 95 &lt;script&gt;",
            "<th scope=\"row\" style=\"padding:3px 16px 3px 0;",
            ">Where</th>",
            "2025-11-20 12:00:00 UTC (20 s before this)",
            "conn  Bcc: x@y 93.10 is CRITICAL (limit ~:80)",
            "href=\"http://c:4950/node/db1/my%20sql\"",
            "Acknowledge",
            "src=\"cid:graph\"",
        ] {
            assert!(page.contains(want), "{want}: {page}");
        }
        assert!(!page.contains("<script"), "{page}");
        let over = notice(&sample(NoticeKind::Recovery, 1), "", false);
        assert!(!over.contains("Acknowledge") && !over.contains("cid:graph"), "{over}");
    }

    #[test]
    fn a_digest_has_a_line_for_each() {
        let page = digest(&crate::digest::tests::sample(), "http://c");
        for want in ["apache on 1 of 50 in web: web7", ">DOWN</span>", "http://c/problems"] {
            assert!(page.contains(want), "{want}: {page}");
        }
    }
}
