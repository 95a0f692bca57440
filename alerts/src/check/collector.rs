//! Asking the collector over HTTP.

use super::Answer;
use super::judge::{FieldReading, Known, Reading, Wish, as_known, judge};
use crate::message::span;
use crate::passive::chain;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use rookery_plugins::perfdata::{Perf, clean_text, to_line};
use rookery_plugins::{HostState, Range, State, TimeMs, Value};
use serde::Deserialize;
use serde::de::DeserializeOwned;

/// The largest answer that is read.
const ANSWER_BYTES_MAX: usize = 64 << 20;

/// A collector.
pub(super) struct Collector {
    client: reqwest::Client,
    base: String,
    token: Option<String>,
}

#[derive(Deserialize)]
struct ServiceAnswer {
    service: String,
    #[serde(default)]
    title: String,
    #[serde(default)]
    state: Option<State>,
    #[serde(default)]
    hard_state: Option<State>,
    #[serde(default)]
    text: String,
    #[serde(default)]
    step_ms: u64,
    #[serde(default)]
    fields: Vec<FieldAnswer>,
}

#[derive(Deserialize)]
struct FieldAnswer {
    field: String,
    #[serde(default)]
    formerly: Vec<String>,
    #[serde(default)]
    value: Option<serde_json::Number>,
    /// `inf` or `-inf`.
    #[serde(default)]
    infinite: Option<String>,
    #[serde(default)]
    time_ms: Option<TimeMs>,
    #[serde(default)]
    warning: Option<Range>,
    #[serde(default)]
    critical: Option<Range>,
    #[serde(default)]
    min: Option<f64>,
    #[serde(default)]
    max: Option<f64>,
}

#[derive(Deserialize)]
struct NodeAnswer {
    node: String,
    state: HostState,
    #[serde(default)]
    last_seen_ms: Option<TimeMs>,
    #[serde(default)]
    services: Counts,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "UPPERCASE")]
struct Counts {
    ok: u64,
    warning: u64,
    critical: u64,
    unknown: u64,
}

#[derive(Deserialize)]
struct ErrorAnswer {
    error: String,
}

impl Collector {
    pub(super) fn new(url: &str, token: Option<&str>) -> Result<Collector, String> {
        if !url.starts_with("http://") && !url.starts_with("https://") {
            return Err(format!("-u {url:?}: write http://HOST:4950"));
        }
        // Only the first of several in a process is taken, and one is enough.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let mut builder = reqwest::Client::builder().no_proxy();
        if url.starts_with("http://") {
            // No TLS: a host without any certificates must do.
            builder = builder.tls_certs_only(std::iter::empty());
        }
        let client = builder.build().map_err(|e| format!("no HTTP client: {}", chain(&e)))?;
        let base = url.trim_end_matches('/').to_owned();
        Ok(Collector { client, base, token: token.map(str::to_owned) })
    }

    async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, String> {
        let base = &self.base;
        let mut request = self.client.get(format!("{base}{path}"));
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        let failed = |e: reqwest::Error| format!("collector {base}: {}", chain(&e));
        let mut response = request.send().await.map_err(failed)?;
        let status = response.status();
        let mut body = Vec::new();
        while let Some(chunk) = response.chunk().await.map_err(failed)? {
            if body.len() + chunk.len() > ANSWER_BYTES_MAX {
                return Err(format!("collector {base}: more than {ANSWER_BYTES_MAX} bytes"));
            }
            body.extend_from_slice(&chunk);
        }
        if !status.is_success() {
            let said = serde_json::from_slice::<ErrorAnswer>(&body).map(|a| a.error);
            let said = said.unwrap_or_else(|_| format!("answers {status}"));
            return Err(format!("collector {base}: {said}"));
        }
        serde_json::from_slice(&body)
            .map_err(|e| format!("collector {base}: an answer that is none of Rookery's: {e}"))
    }

    /// One service, by any name that it has or had.
    async fn called(&self, node: &str, asked: &str) -> Result<Option<ServiceAnswer>, String> {
        let [node, name] = [node, asked].map(|n| utf8_percent_encode(n, NON_ALPHANUMERIC));
        let path = format!("/api/v1/services?node={node}&service={name}");
        let all: Vec<ServiceAnswer> = self.get(&path).await?;
        // By an old name, the one that has it now.
        let is_alone = all.len() == 1;
        Ok(all.into_iter().find(|s| is_alone || s.service == *asked))
    }

    async fn services(&self, node: &str) -> Result<Vec<ServiceAnswer>, String> {
        let node = utf8_percent_encode(node, NON_ALPHANUMERIC);
        self.get(&format!("/api/v1/services?node={node}")).await
    }

    /// How a service stands: as the collector judges it, or by the wish's own limits.
    pub(super) async fn service(
        &self,
        node: &str,
        wish: &Wish,
        now_ms: fn() -> TimeMs,
    ) -> Result<Answer, String> {
        let (reading, known) = self.reading(node, &wish.service).await?;
        // check_munin looks at some of df's fields only.
        let is_whole = !wish.has_limits() && wish.fields.is_empty() && !wish.as_munin;
        Ok(match known.filter(|_| is_whole) {
            Some(known) => as_known(&reading, &known, wish, now_ms()),
            None => judge(&reading, wish, now_ms()),
        })
    }

    /// A service's latest values, and how the collector has it (one of before does not say).
    async fn reading(&self, node: &str, service: &str) -> Result<(Reading, Option<Known>), String> {
        let Some(found) = self.called(node, service).await? else {
            let all = self.services(node).await?;
            let names: Vec<String> = all.into_iter().map(|s| s.service).collect();
            return Err(no_such_service(node, service, &names));
        };
        let fields = found.fields.into_iter().map(FieldReading::from).collect();
        let known = found.hard_state.map(|state| {
            let text = match (found.state, found.text) {
                (Some(now), text) if now != state => format!("{text} ({now}, not hard yet)"),
                (_, text) => text,
            };
            Known { state, text }
        });
        Ok((Reading { service: found.service, step_ms: found.step_ms, fields }, known))
    }

    /// The node's services, one a line.
    pub(super) async fn list(&self, node: &str) -> Result<Answer, String> {
        let mut text = String::new();
        for s in self.services(node).await? {
            let state = s.state.map_or_else(String::new, |s| s.to_string());
            let fields: Vec<&str> = s.fields.iter().map(|f| f.field.as_str()).collect();
            let line = format!("{:<30} {state:<8} {} ({})", s.service, s.title, fields.join(" "));
            text.push_str(&clean_text(&line));
            text.push('\n');
        }
        Ok(Answer { state: State::Ok, text: text.trim_end().to_owned() })
    }

    /// Whether the collector answers, and how many nodes it watches.
    pub(super) async fn itself(&self) -> Result<Answer, String> {
        let all: Vec<NodeAnswer> = self.get("/api/v1/nodes").await?;
        let n_up = all.iter().filter(|n| n.state == HostState::Up).count();
        let perf = to_line(&[
            Perf::new("nodes", all.len() as u64).bounds(Some(0.0), None),
            Perf::new("up", n_up as u64).bounds(Some(0.0), None),
        ]);
        let text = format!("ROOKERY OK - {} nodes, {n_up} are UP | {perf}", all.len());
        Ok(Answer { state: State::Ok, text })
    }

    /// Whether the node reports.
    pub(super) async fn node(
        &self,
        node: &str,
        age_s: Option<f64>,
        now_ms: fn() -> TimeMs,
    ) -> Result<Answer, String> {
        let all: Vec<NodeAnswer> = self.get("/api/v1/nodes").await?;
        let now_ms = now_ms();
        let Some(found) = all.iter().find(|n| n.node == node) else {
            return Err(format!("no node {node:?} at {}; it knows {}", self.base, all.len()));
        };
        let age_ms = found.last_seen_ms.map(|t| now_ms.saturating_sub(t));
        let stale = age_ms.zip(age_s).filter(|(age, limit)| *age as f64 > limit * 1000.0);
        let (state, word) = match (found.state, stale) {
            (HostState::Down, _) => (State::Critical, "DOWN"),
            (HostState::Unreachable, _) => (State::Unknown, "UNREACHABLE"),
            (HostState::Up, Some(_)) => (State::Unknown, "UP but its data is too old"),
            (HostState::Up, None) => (State::Ok, "UP"),
        };
        let c = &found.services;
        let seen = age_ms.map_or_else(|| "never".to_owned(), |a| format!("{} ago", span(a)));
        let line = clean_text(&format!(
            "{} {state} - node is {word}, last heard {seen}; services: {} OK, {} WARNING, \
             {} CRITICAL, {} UNKNOWN",
            node.to_uppercase(),
            c.ok,
            c.warning,
            c.critical,
            c.unknown
        ));
        let perf = to_line(&[
            Perf::new("ok", c.ok),
            Perf::new("warning", c.warning),
            Perf::new("critical", c.critical),
            Perf::new("unknown", c.unknown),
        ]);
        Ok(Answer { state, text: format!("{line} | {perf}") })
    }
}

impl From<FieldAnswer> for FieldReading {
    fn from(f: FieldAnswer) -> FieldReading {
        let number = |n: serde_json::Number| match (n.as_i64(), n.as_u64(), n.as_f64()) {
            (Some(v), _, _) => Value::Int(v),
            (_, Some(v), _) => Value::from(v),
            (_, _, Some(v)) => Value::Float(v),
            _ => Value::Unknown,
        };
        FieldReading {
            field: f.field,
            formerly: f.formerly,
            value: match f.infinite.and_then(|text| text.parse::<f64>().ok()) {
                Some(infinite) => Value::Float(infinite),
                None => f.value.map_or(Value::Unknown, number),
            },
            time_ms: f.time_ms,
            warning: f.warning,
            critical: f.critical,
            min: f.min,
            max: f.max,
        }
    }
}

/// The most names that an error lists.
const NAMES_MAX: usize = 20;

/// What to say of a service that is not there.
pub(super) fn no_such_service(node: &str, service: &str, names: &[String]) -> String {
    let known: Vec<&str> = names.iter().map(String::as_str).collect();
    match rookery_plugins::config::nearest(service, &known) {
        Some(near) => format!("no service {service:?} on {node}; did you mean {near:?}?"),
        None if known.len() > NAMES_MAX => {
            format!("no service {service:?} on {node}; --list shows its {}", known.len())
        }
        None => format!("no service {service:?} on {node}; it has {}", known.join(", ")),
    }
}
