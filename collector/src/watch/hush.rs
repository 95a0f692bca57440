//! Acknowledgements and downtimes over HTTP: `/api/v1/acknowledge`,
//! `/api/v1/unacknowledge`, `/api/v1/downtime`, `/api/v1/downtime/cancel` (POST,
//! JSON or a page's form) and `/api/v1/downtimes` (GET).
//!
//! 200 (to a form 303, back to where it stood) means: on disk. 400: refused, with
//! the reason. 401: no token. 503: not on disk yet, though it holds already.

use super::{Alerts, States};
use crate::asked::{self, Asked, Flag, see};
use crate::auth::{Auth, own_path};
use crate::history::History;
use crate::ingest::failure;
use crate::store::now_ms;
use axum::Router;
use axum::body::Body;
use axum::extract::State;
use axum::http::{Request, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use rookery_alerts::period::{TimesConfig, time_on_clock};
use rookery_alerts::{Acknowledgement, Downtime};
use rookery_plugins::TimeMs;
use rookery_plugins::config::parse_span_ms;
use serde::Deserialize;
use std::sync::Arc;

/// How long a downtime without an end is: two hours.
const DOWNTIME_MS: TimeMs = 2 * 3_600_000;
/// How long one that comes again goes on, if nothing is said: ten years.
const REPEAT_MS: TimeMs = 3652 * 86_400_000;

#[derive(Clone)]
struct Desk {
    alerts: Alerts,
    auth: Auth,
    history: Arc<dyn History>,
}

/// The routes.
pub fn router(alerts: Alerts, auth: Auth, history: Arc<dyn History>) -> Router {
    Router::new()
        .route("/api/v1/acknowledge", post(acknowledge))
        .route("/api/v1/unacknowledge", post(unacknowledge))
        .route("/api/v1/downtime", post(add_downtime))
        .route("/api/v1/downtime/cancel", post(cancel_downtime))
        .route("/api/v1/downtimes", get(downtimes))
        .with_state(Desk { alerts, auth, history })
}

/// What an [`acknowledge`] says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Ack {
    #[serde(default)]
    node: String,
    /// Instead of a node: a group with a quorum, whose problem it is.
    #[serde(default)]
    group: String,
    #[serde(default)]
    service: String,
    author: String,
    #[serde(default)]
    comment: String,
    /// A form's box comes as `on`.
    #[serde(default)]
    sticky: Flag,
    /// How long it holds, `2h`; empty: as long as the problem.
    #[serde(default, rename = "for")]
    lasts: String,
    #[serde(default)]
    back: String,
}

/// What an [`add_downtime`] says.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct NewDowntime {
    #[serde(default)]
    node: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    service: String,
    author: String,
    #[serde(default)]
    comment: String,
    /// From when, ms; now, where it is left out.
    from_ms: Option<TimeMs>,
    /// Or from when on the clock of `zone`, `2026-11-22T02:00`; empty: now.
    #[serde(default)]
    from: String,
    /// Until when, ms; or:
    to_ms: Option<TimeMs>,
    /// How long, `2h`, which is also what holds where both are left out.
    #[serde(default, rename = "for")]
    lasts: String,
    /// It begins with the first problem in that time, and lasts so long: `30m`.
    #[serde(default)]
    flexible: String,
    /// It comes again: `sat 02:00-04:00; sun 03:00-05:00`, as in a `[[period]]`…
    #[serde(default)]
    repeat: String,
    /// … on the clock of this zone; empty: of the collector's own.
    #[serde(default)]
    zone: String,
    /// `node`, `group` and `service` are names, and no patterns …
    #[serde(default)]
    exact: Flag,
    /// … as they are in a form, which is of one thing, unless this is set.
    #[serde(default)]
    pattern: Flag,
    /// Also where nothing is called so yet.
    #[serde(default)]
    anyway: Flag,
    #[serde(default)]
    back: String,
}

impl NewDowntime {
    /// From and to, ms.
    fn span(&self, now_ms: TimeMs) -> Result<(TimeMs, TimeMs), String> {
        let from_ms = match (self.from_ms, self.from.trim()) {
            (Some(from_ms), _) => from_ms,
            (None, "") => now_ms,
            (None, text) => time_on_clock(text, &self.zone).map_err(|e| format!("from: {e}"))?,
        };
        let to_ms = match (self.to_ms, self.lasts.as_str()) {
            (Some(to_ms), _) => to_ms,
            (None, "") if !self.repeat.trim().is_empty() => from_ms.saturating_add(REPEAT_MS),
            (None, "") => from_ms.saturating_add(DOWNTIME_MS),
            (None, text) => from_ms.saturating_add(span_ms("for", text)?),
        };
        Ok((from_ms, to_ms))
    }

    fn flexible_ms(&self) -> Result<Option<i64>, String> {
        match self.flexible.as_str() {
            "" => Ok(None),
            text => span_ms("flexible", text).map(Some),
        }
    }

    fn times(&self) -> Option<TimesConfig> {
        let entries = self.repeat.split(';').map(str::trim).filter(|t| !t.is_empty());
        let times: Vec<String> = entries.map(str::to_owned).collect();
        (!times.is_empty()).then(|| TimesConfig { zone: self.zone.clone(), times })
    }
}

/// What is taken back.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Which {
    #[serde(default)]
    node: String,
    #[serde(default)]
    group: String,
    #[serde(default)]
    service: String,
    #[serde(default)]
    id: String,
    #[serde(default)]
    back: String,
}

impl Desk {
    /// What a node is called today that may be asked for by a name that it had.
    fn today(&self, node: String) -> String {
        self.history.node(&node).map_or(node, |n| n.name)
    }

    async fn tell(
        &self,
        is_form: bool,
        back: &str,
        answer: serde_json::Value,
        what: impl FnOnce(
            &mut rookery_alerts::Machine,
            &mut Vec<rookery_alerts::Output>,
        ) -> Result<(), String>,
    ) -> Response {
        let waiting = match self.alerts.tell(what) {
            Ok(waiting) => waiting,
            Err(e) => return failure(StatusCode::BAD_REQUEST, &e),
        };
        match waiting.await {
            Ok(Ok(())) if is_form => see(own_path(back).unwrap_or("/problems")),
            Ok(Ok(())) => {
                ([(header::CONTENT_TYPE, "application/json")], answer.to_string()).into_response()
            }
            Ok(Err(e)) => failure(StatusCode::SERVICE_UNAVAILABLE, &e),
            Err(_) => failure(StatusCode::SERVICE_UNAVAILABLE, "the collector is stopping"),
        }
    }
}

fn named(text: String) -> Option<String> {
    Some(text).filter(|t| !t.is_empty())
}

fn span_ms(what: &str, text: &str) -> Result<TimeMs, String> {
    let ms = parse_span_ms(text).map_err(|e| format!("{what}: {e}"))?;
    i64::try_from(ms).map_err(|_| format!("{what}: {text}: too long"))
}

/// Whose problem is acknowledged.
enum Place {
    Node,
    Group,
}

fn one_place(node: &str, group: &str) -> Result<Place, String> {
    match (node.is_empty(), group.is_empty()) {
        (false, true) => Ok(Place::Node),
        (true, false) => Ok(Place::Group),
        _ => Err("name a node, or a group that has a quorum (\"group\")".to_owned()),
    }
}

async fn acknowledge(State(desk): State<Desk>, request: Request<Body>) -> Response {
    let Asked { what, is_form } = match asked::read::<Ack>(&desk.auth, request).await {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    let now_ms = now_ms();
    let until_ms = match what.lasts.as_str() {
        "" => None,
        text => match span_ms("for", text) {
            Ok(ms) => Some(now_ms.saturating_add(ms)),
            Err(e) => return failure(StatusCode::BAD_REQUEST, &e),
        },
    };
    let ack = Acknowledgement {
        author: what.author,
        comment: what.comment,
        time_ms: now_ms,
        until_ms,
        sticky: what.sticky.is_set(),
    };
    let (node, service) = (desk.today(what.node), named(what.service));
    let answer = serde_json::json!({ "acknowledged": true });
    let told = desk.tell(is_form, &what.back, answer, |machine, out| {
        match one_place(&node, &what.group)? {
            Place::Node => machine.acknowledge(&node, service.as_deref(), ack, out),
            Place::Group => machine.acknowledge_group(&what.group, service.as_deref(), ack, out),
        }
    });
    told.await
}

async fn unacknowledge(State(desk): State<Desk>, request: Request<Body>) -> Response {
    let Asked { what, is_form } = match asked::read::<Which>(&desk.auth, request).await {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    let (node, service) = (desk.today(what.node), named(what.service));
    let answer = serde_json::json!({ "acknowledged": false });
    let told = desk.tell(is_form, &what.back, answer, |machine, out| {
        match one_place(&node, &what.group)? {
            Place::Node => machine.unacknowledge(&node, service.as_deref(), out),
            Place::Group => machine.unacknowledge_group(&what.group, service.as_deref(), out),
        }
    });
    told.await
}

async fn add_downtime(State(desk): State<Desk>, request: Request<Body>) -> Response {
    let Asked { what, is_form } = match asked::read::<NewDowntime>(&desk.auth, request).await {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    let now_ms = now_ms();
    let read = || Ok((what.span(now_ms)?, what.flexible_ms()?));
    let ((from_ms, to_ms), flexible_ms) = match read() {
        Ok(read) => read,
        Err(e) => {
            let e: String = e;
            return failure(StatusCode::BAD_REQUEST, &e);
        }
    };
    let repeat = what.times();
    let mut random = [0; 4];
    if let Err(e) = getrandom::fill(&mut random) {
        return failure(StatusCode::SERVICE_UNAVAILABLE, &format!("no random numbers: {e}"));
    }
    let id = format!("{:08x}", u32::from_le_bytes(random));
    let downtime = Downtime {
        id: id.clone(),
        node: named(what.node).map(|node| desk.today(node)),
        group: named(what.group),
        service: named(what.service),
        from_ms,
        to_ms,
        author: what.author,
        comment: what.comment,
        repeat,
        flexible_ms,
        began_ms: None,
        exact: what.exact.is_set() || (is_form && !what.pattern.is_set()),
    };
    if !what.anyway.is_set()
        && let Err(e) = is_of_something(&*desk.history, &downtime)
    {
        return failure(StatusCode::BAD_REQUEST, &e);
    }
    let when = downtime.when();
    let answer = serde_json::json!({ "id": id, "from_ms": from_ms, "to_ms": to_ms, "when": when });
    let told = desk.tell(is_form, &what.back, answer, |machine, out| {
        machine.add_downtime(downtime, now_ms, out)
    });
    told.await
}

/// A downtime that is of nothing is a slip: it would silence nothing. The error names what
/// is called alike.
fn is_of_something(history: &dyn History, downtime: &Downtime) -> Result<(), String> {
    let nodes = history.nodes();
    let mut of: Vec<&str> = Vec::new();
    let mut services: Vec<String> = Vec::new();
    for node in nodes.iter().filter(|n| downtime.is_of_node(&n.name, &n.group)) {
        of.push(&node.name);
        if downtime.service.is_none() {
            return Ok(());
        }
        for (spec, _) in history.specs(&node.name).unwrap_or_default() {
            if downtime.is_of(&node.name, &node.group, Some(&spec.name)) {
                return Ok(());
            }
            services.push(spec.name.clone());
        }
    }
    let (what, wanted, known): (_, _, Vec<&str>) = match (&downtime.service, of.is_empty()) {
        (Some(service), false) => {
            ("service", service, services.iter().map(String::as_str).collect())
        }
        _ => match (&downtime.node, &downtime.group) {
            (Some(node), _) => ("node", node, nodes.iter().map(|n| n.name.as_str()).collect()),
            (None, Some(group)) => {
                ("group", group, nodes.iter().map(|n| n.group.as_str()).collect())
            }
            (None, None) => return Ok(()),
        },
    };
    let near = rookery_plugins::config::nearest(wanted, &known);
    let near = near.map(|n| format!("; did you mean {n:?}?")).unwrap_or_default();
    Err(format!(
        "no {what} is called {wanted:?}: this downtime would silence nothing{near} (\"anyway\" \
         plans it all the same)"
    ))
}

async fn cancel_downtime(State(desk): State<Desk>, request: Request<Body>) -> Response {
    let Asked { what, is_form } = match asked::read::<Which>(&desk.auth, request).await {
        Ok(asked) => asked,
        Err(response) => return *response,
    };
    let answer = serde_json::json!({ "id": what.id });
    let told = desk
        .tell(is_form, &what.back, answer, |machine, out| machine.cancel_downtime(&what.id, out));
    told.await
}

async fn downtimes(State(desk): State<Desk>) -> Response {
    // Plain strings and numbers: there is nothing to fail.
    let text = serde_json::to_string(&desk.alerts.downtimes()).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text).into_response()
}
