//! A webhook as a channel: Alertmanager's payload, version 4, so that what
//! receives from Alertmanager receives from Rookery
//! (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config).

use crate::message;
use crate::output::{Notice, NoticeKind, Status};
use crate::passive::chain;
use rookery_plugins::{HostState, State, TimeMs};
use serde_json::{Map, Value as Json, json};
use std::time::Duration;

/// How long a receiver may take.
pub const WEBHOOK_SECONDS_MAX: u64 = 20;
/// How much of a refusal an error message quotes, characters.
const ANSWER_CHARS_MAX: usize = 300;

/// Posts notices to a URL.
#[derive(Clone, Debug)]
pub(super) struct Webhook {
    client: reqwest::Client,
    url: reqwest::Url,
}

impl Webhook {
    /// Checks the URL; no connection is made yet.
    pub fn new(url: &str) -> Result<Webhook, String> {
        let wrong = |why: &str| format!("webhook = {url:?}: {why}; write https://HOST/PATH");
        let parsed = reqwest::Url::parse(url).map_err(|e| wrong(&e.to_string()))?;
        if !matches!(parsed.scheme(), "http" | "https") {
            return Err(wrong("neither http nor https"));
        }
        // Only the first of several is taken, and one is enough.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = reqwest::Client::builder()
            .timeout(Duration::from_secs(WEBHOOK_SECONDS_MAX))
            .user_agent(concat!("rookery/", env!("CARGO_PKG_VERSION")))
            .build()
            .map_err(|e| wrong(&e.to_string()))?;
        Ok(Webhook { client, url: parsed })
    }

    /// Posts a notice; whether a failure is for good.
    pub async fn send(
        &self,
        notice: &Notice,
        contact: &str,
        base_url: &str,
    ) -> Result<(), (bool, String)> {
        let body = payload(notice, contact, base_url).to_string();
        // The URL may hold a secret: the host is enough to find it.
        let place = format!("webhook {}", self.url.host_str().unwrap_or(""));
        let post = self.client.post(self.url.clone()).header("content-type", "application/json");
        let answer = post.body(body).send().await;
        let answer =
            answer.map_err(|e| (false, format!("{place}: {}", chain(&e.without_url()))))?;
        let status = answer.status();
        if status.is_success() {
            return Ok(());
        }
        let text = answer.text().await.unwrap_or_default();
        let text: String = message::line(&text).chars().take(ANSWER_CHARS_MAX).collect();
        // As Alertmanager: what the receiver does not understand now it will not
        // understand later; all else may pass.
        let permanent = status.is_client_error() && !matches!(status.as_u16(), 408 | 429);
        Err((permanent, format!("{place}: HTTP {status}: {}", text.trim())))
    }
}

fn time(ms: TimeMs) -> String {
    jiff::Timestamp::from_millisecond(ms).map_or_else(|_| NEVER.to_owned(), |t| t.to_string())
}

/// Go's zero time: the alert has not ended.
const NEVER: &str = "0001-01-01T00:00:00Z";

fn severity(status: Status) -> &'static str {
    match status {
        Status::Service(State::Warning) => "warning",
        Status::Service(State::Unknown) => "unknown",
        Status::Service(State::Ok) | Status::Host(HostState::Up) => "ok",
        _ => "critical",
    }
}

/// What Alertmanager would post for it.
fn payload(notice: &Notice, contact: &str, base_url: &str) -> Json {
    let resolved = notice.kind == NoticeKind::Recovery;
    let status = if resolved { "resolved" } else { "firing" };
    let mut labels = Map::new();
    let mut put = |key: &str, value: &str| {
        labels.insert(key.to_owned(), Json::from(message::line(value)));
    };
    for (key, value) in &notice.labels {
        put(key, value);
    }
    put("alertname", notice.service.as_deref().unwrap_or("down"));
    put(if notice.of_group { "group" } else { "instance" }, &notice.node);
    if let Some(service) = &notice.service {
        put("service", service);
    }
    // What identifies an alert must not change with its state: the severity is
    // that of the problem only while there is one, so it is no label.
    let mut annotations = Map::from_iter([
        ("summary".to_owned(), Json::from(message::summary(notice))),
        ("description".to_owned(), Json::from(message::body(notice, base_url))),
        ("severity".to_owned(), Json::from(severity(notice.state))),
        ("notification_type".to_owned(), Json::from(notice.kind.word())),
    ]);
    if notice.repeated {
        annotations.insert("repeated".to_owned(), Json::from("true"));
    }
    let link = message::link(notice, base_url);
    json!({
        "version": "4",
        "groupKey": format!("rookery:{}", notice.incident),
        "truncatedAlerts": 0,
        "status": status,
        "receiver": contact,
        "groupLabels": { "incident": notice.incident },
        "commonLabels": labels,
        "commonAnnotations": annotations,
        "externalURL": base_url,
        "alerts": [{
            "status": status,
            "labels": labels,
            "annotations": annotations,
            "startsAt": time(notice.since_ms),
            "endsAt": if resolved { time(notice.time_ms) } else { NEVER.to_owned() },
            "generatorURL": link,
            "fingerprint": fingerprint(notice),
        }],
    })
}

/// The same for all notices of the same thing: 16 hexadecimal digits.
fn fingerprint(notice: &Notice) -> String {
    let text = format!("{}\0{}\0{:?}", notice.of_group, notice.node, notice.service);
    let hash = text
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325u64, |h, b| (h ^ u64::from(b)).wrapping_mul(0x100_0000_01b3));
    format!("{hash:016x}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::sample;

    #[test]
    fn an_alertmanager_s_receiver_finds_what_it_looks_for() {
        let problem = payload(&sample(NoticeKind::Problem, 0), "dba", "http://c");
        assert_eq!(problem["version"], "4");
        assert_eq!((&problem["status"], &problem["receiver"]), (&json!("firing"), &json!("dba")));
        let alert = &problem["alerts"][0];
        assert_eq!(alert["labels"]["alertname"], "my sql");
        assert_eq!(alert["labels"]["instance"], "db1");
        assert_eq!(alert["labels"]["team"], "db");
        assert_eq!(alert["startsAt"], "2025-11-20T12:00:00Z");
        assert_eq!(alert["endsAt"], NEVER);
        assert_eq!(alert["generatorURL"], "http://c/node/db1/my%20sql");
        let recovery = payload(&sample(NoticeKind::Recovery, 1), "dba", "http://c");
        assert_eq!(recovery["status"], "resolved");
        assert_eq!(recovery["alerts"][0]["endsAt"], "2025-11-20T12:00:20Z");
        for same in ["labels", "fingerprint", "startsAt"] {
            assert_eq!(alert[same], recovery["alerts"][0][same], "{same}");
        }
    }

    #[test]
    fn slips_are_named() {
        for url in ["", "ftp://x/", "x", "//x"] {
            assert!(Webhook::new(url).is_err_and(|e| e.contains("webhook = ")), "{url}");
        }
        assert!(Webhook::new("https://x.example/hook?key=1").is_ok());
    }
}
