//! Icinga 2's API: `/v1/actions/process-check-result`, one object a request.
//!
//! `execution_end` is the result's own time: Icinga keeps no result that is older than
//! the one it has. `ttl` is how long it holds; then Icinga runs the object's
//! own check. Perfdata goes in an array of its own: it is not split off the output.

use super::{CheckResult, PassiveConfig, chain};
use crate::message;
use reqwest::StatusCode;
use serde_json::{Value as Json, json};

/// How much of a refusal an error quotes, characters.
const ANSWER_CHARS_MAX: usize = 200;

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

    pub(super) async fn send(&self, batch: &[CheckResult]) -> Result<Option<String>, String> {
        let place = format!("Icinga at {}", self.url.host_str().unwrap_or_default());
        let mut unknown: Vec<String> = Vec::new();
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
            let status = answer.status();
            // Read to its end, or the connection would not be used again.
            let text = answer.text().await.unwrap_or_default();
            match status {
                _ if status.is_success() => {}
                StatusCode::NOT_FOUND => unknown.push(result.place()),
                StatusCode::UNAUTHORIZED => {
                    return Err(format!("{place}: it does not let user {:?} in", self.user));
                }
                _ => {
                    let said: String =
                        message::line(&text).chars().take(ANSWER_CHARS_MAX).collect();
                    return Err(format!(
                        "{place}: HTTP {} for {}: {}",
                        status.as_u16(),
                        result.place(),
                        said.trim()
                    ));
                }
            }
        }
        Ok(unknown.first().map(|first| {
            format!(
                "{place} does not know {} of {} objects, {first} is one (or user {:?} may not see \
                 them): rookery nagios-config --icinga",
                unknown.len(),
                batch.len(),
                self.user
            )
        }))
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
