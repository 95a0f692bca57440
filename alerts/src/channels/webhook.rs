//! A webhook as a channel: Alertmanager's payload, version 4, so that what
//! receives from Alertmanager receives from Rookery
//! (https://prometheus.io/docs/alerting/latest/configuration/#webhook_config).

use crate::message;
use crate::output::{Notice, NoticeKind, Status};
use crate::passive::chain;
use reqwest::redirect::Policy;
use rookery_plugins::{HostState, State, TimeMs};
use serde_json::{Map, Value as Json, json};
use std::time::Duration;

/// How long a receiver may take.
pub const WEBHOOK_SECONDS_MAX: u64 = 20;
/// How much of a refusal an error message quotes, characters.
const ANSWER_CHARS_MAX: usize = 300;

/// How many addresses a receiver may be moved on to.
const REDIRECTS_MAX: usize = 5;

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
            .redirect(redirects())
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
        if status.is_redirection() {
            // Where it leads to may be as secret as the URL.
            let base = answer.url().clone();
            let to =
                answer.headers().get("location").and_then(|l| base.join(l.to_str().ok()?).ok());
            let to = to.as_ref().and_then(|u| u.host_str()).unwrap_or("nowhere");
            let why = format!("HTTP {status} to {to}, which no POST follows: name its new URL");
            return Err((false, format!("{place}: {why}")));
        }
        let text = answer.text().await.unwrap_or_default();
        let text: String = message::line(&text).chars().take(ANSWER_CHARS_MAX).collect();
        // What the receiver does not understand now it will not understand later. All else
        // may pass, a 404 while it is deployed, too.
        let permanent = matches!(status.as_u16(), 400 | 413 | 415 | 422);
        Err((permanent, format!("{place}: HTTP {status}: {}", text.trim())))
    }
}

/// Followed are 307 and 308, which keep method and body, but not out of TLS. What the others
/// lead to would be asked by GET, and its 200 would say nothing of the notice.
fn redirects() -> Policy {
    Policy::custom(|attempt| {
        let keeps_body = matches!(attempt.status().as_u16(), 307 | 308);
        let was_secret = attempt.previous().last().is_some_and(|u| u.scheme() == "https");
        let is_downgrade = was_secret && attempt.url().scheme() != "https";
        match keeps_body && !is_downgrade && attempt.previous().len() <= REDIRECTS_MAX {
            true => attempt.follow(),
            false => attempt.stop(),
        }
    })
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

    /// Answers `/STATUS` with that status and leads to `/new`, which takes all; without a
    /// `Location` where the path ends with an `x`. Gives each request's first line and how
    /// long its body is.
    fn receiver() -> (String, std::sync::mpsc::Receiver<(String, usize)>) {
        use std::io::{BufRead, BufReader, Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let (tx, rx) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.expect("a stream"));
                let mut lines = Vec::new();
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("reads");
                    match line.trim() {
                        "" => break,
                        line => lines.push(line.to_ascii_lowercase()),
                    }
                }
                let length = lines.iter().find_map(|l| l.strip_prefix("content-length: "));
                let mut body = vec![0; length.map_or(0, |n| n.parse().expect("a number"))];
                reader.read_exact(&mut body).expect("reads");
                let path = lines[0].split(' ').nth(1).expect("a path").to_owned();
                let _ = tx.send((lines[0].clone(), body.len()));
                let status = path.trim_matches(['/', 'x']).parse::<u16>().unwrap_or(200);
                let location = if path.ends_with('x') { "" } else { "Location: /new\r\n" };
                let answer = format!(
                    "HTTP/1.1 {status} X\r\n{location}Connection: close\r\n\
                     Content-Length: 2\r\n\r\nok"
                );
                let _ = reader.get_mut().write_all(answer.as_bytes());
            }
        });
        (base, rx)
    }

    #[tokio::test]
    async fn a_redirect_is_posted_again_or_a_failure_but_never_a_get() {
        let (base, got) = receiver();
        let notice = sample(NoticeKind::Problem, 0);
        for (path, want) in [
            ("200", None),
            ("307", None),
            ("308", None),
            ("301", Some(false)),
            ("302", Some(false)),
            ("303", Some(false)),
            ("300x", Some(false)),
            ("307x", Some(false)),
            ("400", Some(true)),
            ("404", Some(false)),
            ("413", Some(true)),
            ("429", Some(false)),
            ("503", Some(false)),
        ] {
            let hook = Webhook::new(&format!("{base}/{path}")).expect("right");
            let sent = hook.send(&notice, "ops", "").await;
            assert_eq!(sent.as_ref().err().map(|e| e.0), want, "{path}: {sent:?}");
            let requests: Vec<(String, usize)> = got.try_iter().collect();
            let is_moved = matches!(path, "307" | "308");
            assert_eq!(requests.len(), if is_moved { 2 } else { 1 }, "{path}: {requests:?}");
            assert!(requests.iter().all(|(l, n)| l.starts_with("post ") && *n > 0), "{requests:?}");
            if path.starts_with('3')
                && let Err((_, e)) = sent
            {
                assert!(e.contains("name its new URL"), "{e}");
            }
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
