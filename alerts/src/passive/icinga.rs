//! Icinga 2's API: `/v1/actions/process-check-result`, one object a request.
//!
//! `execution_end` is the result's own time: Icinga keeps no result that is older than
//! the one it has. `ttl` is how long it holds; then Icinga runs the object's
//! own check. Perfdata goes in an array of its own: it is not split off the output.

use super::{ANSWER_CHARS_MAX, CheckResult, PassiveConfig, Taken, chain, redirected};
use crate::message;
use reqwest::StatusCode;
use serde_json::{Value as Json, json};

/// An Icinga 2.
#[derive(Debug)]
pub(super) struct Icinga {
    client: reqwest::Client,
    url: reqwest::Url,
    user: String,
    password: String,
}

impl Icinga {
    pub(super) fn new(config: &PassiveConfig) -> Result<Icinga, String> {
        let url = config.endpoint("/v1/actions/process-check-result")?;
        if config.user.is_empty() {
            return Err("user is missing: an ApiUser of Icinga's".to_owned());
        }
        let password = config.secret()?;
        Ok(Icinga { url, user: config.user.clone(), password, client: config.client()? })
    }

    /// Sends each result by itself. One that is refused keeps none of the others.
    pub(super) async fn send(&self, batch: &[CheckResult]) -> Result<Taken, String> {
        let place = format!("Icinga at {}", self.url.host_str().unwrap_or_default());
        let mut taken = Taken::default();
        let mut unknown: Vec<String> = Vec::new();
        let mut refused: Vec<String> = Vec::new();
        for result in batch {
            let answer = self
                .client
                .post(self.url.clone())
                .basic_auth(&self.user, Some(&self.password))
                .header("accept", "application/json")
                .header("content-type", "application/json")
                .body(body(result).to_string())
                .send()
                .await
                .map_err(|e| format!("{place}: {}", chain(&e.without_url())))?;
            if let Some(moved) = redirected(&place, &answer) {
                return Err(moved);
            }
            let status = answer.status();
            // Read to its end, or the connection would not be used again.
            let text = answer.text().await.unwrap_or_default();
            let said = || message::line(&text).chars().take(ANSWER_CHARS_MAX).collect::<String>();
            let who =
                || format!("{} (HTTP {}: {})", result.place(), status.as_u16(), said().trim());
            match verdict(status, &text) {
                Verdict::Taken => taken.n_taken += 1,
                Verdict::Unknown => unknown.push(result.place()),
                Verdict::Refused => refused.push(who()),
                Verdict::Later => {
                    taken.again.push(result.clone());
                    refused.push(who());
                }
                Verdict::Closed if status == StatusCode::UNAUTHORIZED => {
                    return Err(format!("{place}: it does not let user {:?} in", self.user));
                }
                Verdict::Closed => return Err(format!("{place}: it refuses {}", who())),
            }
        }
        taken.n_refused = unknown.len() + refused.len() - taken.again.len();
        taken.note = self.note(&place, batch.len(), (&unknown, &refused));
        Ok(taken)
    }

    /// What is wrong with whom.
    fn note(
        &self,
        place: &str,
        n_all: usize,
        (unknown, refused): (&[String], &[String]),
    ) -> Option<String> {
        let refused = refused.first().map(|first| {
            format!("{place} refuses {} of {n_all} results, {first} is one", refused.len())
        });
        let unknown = unknown.first().map(|first| {
            format!(
                "{place} does not know {} of {n_all} objects, {first} is one (or user {:?} may not \
                 see them): rookery nagios-config --icinga",
                unknown.len(),
                self.user
            )
        });
        let notes: Vec<String> = refused.into_iter().chain(unknown).collect();
        (!notes.is_empty()).then(|| notes.join("; "))
    }
}

/// What an answer means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Taken,
    /// Icinga has no such object.
    Unknown,
    /// This one, whenever it is sent: its passive checks are off, its text is not liked.
    Refused,
    /// This one now: it is busy, or Icinga has a newer result.
    Later,
    /// It takes nothing at all.
    Closed,
}

fn verdict(status: StatusCode, text: &str) -> Verdict {
    // Icinga answers in JSON; a proxy, or another server at its address, does not.
    let is_icinga = serde_json::from_str::<Json>(text).is_ok_and(|json| json.is_object());
    match status.as_u16() {
        200..=299 if is_icinga || text.trim().is_empty() => Verdict::Taken,
        404 if is_icinga => Verdict::Unknown,
        400 | 403 | 405..=408 | 410..=428 if is_icinga => Verdict::Refused,
        409 | 429 | 500 => Verdict::Later,
        _ => Verdict::Closed,
    }
}

fn body(result: &CheckResult) -> Json {
    let mut body = json!({
        "exit_status": result.code,
        "plugin_output": result.text,
        "performance_data": result.perf,
        "check_source": "rookery",
        // Seconds with a fraction.
        "execution_start": result.time_ms as f64 / 1000.0,
        "execution_end": result.time_ms as f64 / 1000.0,
    });
    match &result.service {
        Some(service) => {
            body["type"] = "Service".into();
            body["service"] = format!("{}!{service}", result.host).into();
            body["ttl"] = result.fresh_s.into();
        }
        None => {
            body["type"] = "Host".into();
            body["host"] = result.host.clone().into();
            // Of a host Icinga takes only UP and DOWN.
            body["exit_status"] = u8::from(result.code != 0).into();
        }
    }
    body
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn one_object_is_refused_by_itself_and_a_stranger_as_a_whole() {
        let of =
            |code: u16, text: &str| verdict(StatusCode::from_u16(code).expect("a status"), text);
        let json = r#"{"results":[{"code":403.0,"status":"Passive checks are off."}]}"#;
        for (code, want) in [
            (200, Verdict::Taken),
            (400, Verdict::Refused),
            (401, Verdict::Closed),
            (403, Verdict::Refused),
            (404, Verdict::Unknown),
            (409, Verdict::Later),
            (500, Verdict::Later),
            (502, Verdict::Closed),
            (503, Verdict::Closed),
        ] {
            assert_eq!(of(code, json), want, "{code}");
        }
        // A login page, a proxy's own words.
        for code in [200, 400, 403, 404, 503] {
            assert_eq!(of(code, "<html>"), Verdict::Closed, "{code}");
        }
        // Whatever it is: the others are asked, too.
        assert_eq!(of(500, "<html>"), Verdict::Later);
    }

    #[test]
    fn a_body_has_what_icinga_wants() {
        let service = body(&sample());
        assert_eq!(service["type"], "Service");
        assert_eq!(service["service"], "web1!cpu");
        assert_eq!(service["performance_data"], json!(["'user'=95;80;90", "'sys'=1"]));
        assert_eq!(service["plugin_output"], "CPU CRITICAL - c:\\temp is 95");
        assert_eq!((&service["ttl"], &service["exit_status"]), (&json!(180), &json!(2)));
        assert_eq!(service["execution_end"], json!(1_763_640_000.123));
        let host = body(&CheckResult { service: None, code: 2, ..sample() });
        assert_eq!((&host["host"], &host["exit_status"]), (&json!("web1"), &json!(1)));
        assert!(host.get("ttl").is_none() && host.get("service").is_none());
    }
}
