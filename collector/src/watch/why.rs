//! `GET /api/v1/why?node=N[&service=S]`, or `?incident=ID`: why people were told of
//! something, or were not: how its state changed, what was to be told when, and what
//! became of it.

use super::Alerts;
use super::ledger::{Ledger, Past, Telling};
use crate::ingest::failure;
use crate::store::now_ms;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use rookery_alerts::machine::WHY_TOLD;
use rookery_alerts::{NoticeKind, message};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::path::PathBuf;

/// The most changes, and the most notices, that are shown; the newest.
pub const PAST_MAX: usize = 100;

#[derive(Clone)]
struct Desk {
    alerts: Alerts,
    dir: PathBuf,
}

/// The route; `dir` is where `state.sqlite` is.
pub fn router(alerts: Alerts, dir: PathBuf) -> Router {
    Router::new().route("/api/v1/why", get(why)).with_state(Desk { alerts, dir })
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    node: String,
    service: Option<String>,
    #[serde(default)]
    incident: String,
}

#[derive(Serialize)]
struct Answer {
    node: String,
    service: Option<String>,
    /// Why people know of its state now, or do not.
    now: String,
    #[serde(flatten)]
    past: Past,
}

#[derive(Serialize)]
struct OfIncident {
    incident: String,
    is_open: bool,
    /// Who is of it, while it is open.
    members: Vec<Member>,
    #[serde(flatten)]
    past: Past,
}

#[derive(Serialize)]
struct Member {
    node: String,
    service: Option<String>,
    /// Why people know of its state now, or do not.
    now: String,
}

async fn why(
    State(desk): State<Desk>,
    query: Result<Query<Which>, axum::extract::rejection::QueryRejection>,
) -> Response {
    let Which { node, service, incident } = match query {
        Ok(Query(which)) => which,
        Err(e) => return failure(StatusCode::BAD_REQUEST, &e.body_text()),
    };
    match (node.is_empty(), incident.is_empty()) {
        (false, true) => of_place(desk, node, service).await,
        (true, false) if service.is_none() => of_incident(desk, incident).await,
        _ => failure(StatusCode::BAD_REQUEST, "name a node, and a service of it, or an incident"),
    }
}

async fn of_place(desk: Desk, node: String, service: Option<String>) -> Response {
    let (now, incident) = {
        let machine = &desk.alerts.live().machine;
        let incident = machine.open_incident(&node, service.as_deref()).map(str::to_owned);
        (machine.why(&node, service.as_deref(), now_ms()), incident)
    };
    let Some(now) = now else {
        return failure(StatusCode::NOT_FOUND, &format!("no node {node:?} is watched"));
    };
    let read = move || {
        let ledger = Ledger::open(&desk.dir)?;
        let past = ledger.past(&node, service.as_deref(), PAST_MAX)?;
        let now = match incident.filter(|_| now.starts_with(WHY_TOLD)) {
            Some(incident) => honest(&now, &ledger.past_of(&incident, PAST_MAX)?),
            None => now,
        };
        Ok(Answer { node, service, now, past })
    };
    answer(read).await
}

async fn of_incident(desk: Desk, incident: String) -> Response {
    let open = desk.alerts.live().machine.why_incident(&incident, now_ms());
    let dir = desk.dir;
    let unknown = format!("no incident {incident:?}: see the messages, or /api/v1/problems");
    let read = move || {
        let past = Ledger::open(&dir)?.past_of(&incident, PAST_MAX)?;
        let member = |(node, service, now): (String, Option<String>, String)| {
            let now = if now.starts_with(WHY_TOLD) { honest(&now, &past) } else { now };
            Member { node, service, now }
        };
        let is_open = open.is_some();
        let members: Vec<Member> = open.into_iter().flatten().map(member).collect();
        let is_known = is_open || !past.notices.is_empty();
        Ok(is_known.then_some(OfIncident { incident, is_open, members, past }))
    };
    match tokio::task::spawn_blocking(read).await {
        Ok(Ok(None)) => failure(StatusCode::NOT_FOUND, &unknown),
        read => respond(read),
    }
}

/// What the machine has handed over as told, with what became of that: it may have been
/// refused by every way, or still wait.
fn honest(told: &str, past: &Past) -> String {
    let what = told.strip_prefix(WHY_TOLD).unwrap_or(told);
    let what = what.split(';').next().unwrap_or(what);
    let problems = past
        .notices
        .iter()
        .filter(|t| matches!(t.notice.kind, NoticeKind::Problem | NoticeKind::Flapping));
    if problems.clone().any(|t| became(t) == (None, true, false)) {
        return told.to_owned();
    }
    // The newest of each way.
    let mut ways: BTreeMap<&str, &Telling> = BTreeMap::new();
    for t in problems {
        ways.entry(&t.channel).or_insert(t);
    }
    if ways.is_empty() {
        return format!("nobody was told that {what}: no contact is there to tell");
    }
    let is_open = ways.values().any(|t| matches!(became(t), (None | Some("period"), false, _)));
    let ways: Vec<String> = ways
        .iter()
        .map(|(channel, t)| {
            let why = t.error.as_deref().map(message::line).unwrap_or_default();
            match became(t) {
                (None, true, _) => format!("given up by {channel}: {why}"),
                (None, false, true) => format!("{channel} fails and is tried again: {why}"),
                (None, false, false) => format!("{channel} is at it"),
                (Some(held), ..) => format!("{channel} ({held}): {why}"),
            }
        })
        .collect();
    let yet = if is_open { " yet" } else { "" };
    format!("nobody was told{yet} that {what}: {}", ways.join("; "))
}

/// Why it is held, whether it is settled, whether something went wrong.
fn became(t: &Telling) -> (Option<&str>, bool, bool) {
    (t.held.as_deref(), t.sent_ms.is_some(), t.error.is_some())
}

type Read<T> = Result<Result<T, crate::store::StoreError>, tokio::task::JoinError>;

async fn answer<T: Serialize + Send + 'static>(
    read: impl FnOnce() -> Result<T, crate::store::StoreError> + Send + 'static,
) -> Response {
    respond(tokio::task::spawn_blocking(read).await)
}

fn respond<T: Serialize>(read: Read<T>) -> Response {
    let answer = match read {
        Ok(Ok(answer)) => answer,
        Ok(Err(e)) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &e.to_string()),
        Err(e) => return failure(StatusCode::INTERNAL_SERVER_ERROR, &format!("BUG: {e}")),
    };
    // Plain structs of strings and numbers: there is nothing to fail.
    let body = serde_json::to_string(&answer).unwrap_or_default();
    let head = [(header::CONTENT_TYPE, "application/json"), (header::CACHE_CONTROL, "no-cache")];
    (head, body).into_response()
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_alerts::{Output, Verdict};

    #[test]
    fn who_says_that_people_were_told_has_looked_whether_they_were() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        let notice = r#"{"id":"i.0","incident":"i","sequence":0,"kind":"PROBLEM","node":"n",
            "service":"s","state":"CRITICAL","since_ms":1,"time_ms":2,"values":[],"text":"x"}"#;
        let told = format!("{WHY_TOLD}it is CRITICAL; it is not told again until it is over");
        let say = |ledger: &Ledger| honest(&told, &ledger.past_of("i", 9).expect("reads"));
        let nobody = "nobody was told that it is CRITICAL: ";
        assert_eq!(say(&ledger), format!("{nobody}no contact is there to tell"));
        let all = [Output::Notice(serde_json::from_str(notice).expect("a notice"))];
        let to = |_: &_| ["a", "b"].map(|c| (c.to_owned(), Verdict::Now)).to_vec();
        ledger.save(&all, to, 1).expect("saves");
        let yet = "nobody was told yet that it is CRITICAL: ";
        assert_eq!(say(&ledger), format!("{yet}a is at it; b is at it"));
        let due = ledger.begin("a", 1, 9).expect("begins");
        ledger.postpone(&due[0], 9, "451 later").expect("notes");
        let tried = format!("{yet}a fails and is tried again: 451 later; b is at it");
        assert_eq!(say(&ledger), tried);
        for channel in ["a", "b"] {
            let due = ledger.begin(channel, 9, 9).expect("begins");
            ledger.give_up(&due[0], 9, "550 no").expect("notes");
        }
        assert_eq!(say(&ledger), format!("{nobody}given up by a: 550 no; given up by b: 550 no"));
        ledger.settle(1, 10, None).expect("notes");
        assert_eq!(say(&ledger), told);
    }
}
