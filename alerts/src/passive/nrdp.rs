//! NRDP: results as XML in a form, to Nagios' own web receiver.
//!
//! `token=…&cmd=submitcheck&XMLDATA=…` is what every version of it takes. It answers
//! 200 whatever it thinks; `<status>0</status>` is what counts. No time is sent: a
//! receiver that is set up to take times writes past Nagios.

use super::{CheckResult, OUTPUT_BYTES_MAX, PassiveConfig, chain};
use crate::message;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::fmt::Write;

/// How much of a refusal an error quotes, characters.
const ANSWER_CHARS_MAX: usize = 200;

/// An NRDP.
#[derive(Debug)]
pub(super) struct Nrdp {
    client: reqwest::Client,
    url: reqwest::Url,
    token: String,
}

impl Nrdp {
    pub(super) fn new(config: &PassiveConfig) -> Result<Nrdp, String> {
        let url = config.endpoint("/")?;
        Ok(Nrdp { url, token: config.secret()?, client: config.client()? })
    }

    pub(super) async fn send(&self, batch: &[CheckResult]) -> Result<(), String> {
        let place = format!("NRDP at {}", self.url);
        let encode = |text: &str| utf8_percent_encode(text, NON_ALPHANUMERIC).to_string();
        let (token, xml) = (encode(&self.token), encode(&xml(batch)));
        let answer = self
            .client
            .post(self.url.clone())
            .header("content-type", "application/x-www-form-urlencoded")
            .body(format!("token={token}&cmd=submitcheck&XMLDATA={xml}"))
            .send()
            .await
            .map_err(|e| format!("{place}: {}", chain(&e.without_url())))?;
        let status = answer.status();
        let text = answer.text().await.unwrap_or_default();
        if status.is_success() && is_taken(&text) {
            return Ok(());
        }
        let said: String = message::line(&text).chars().take(ANSWER_CHARS_MAX).collect();
        Err(format!("{place}: HTTP {}: {}", status.as_u16(), said.trim()))
    }
}

/// Whether the answer says that all was taken; as XML or, from newer ones, JSON.
fn is_taken(answer: &str) -> bool {
    let bare: String = answer.chars().filter(|c| !c.is_whitespace()).collect();
    bare.contains("<status>0</status>") || bare.contains("\"status\":0,")
}

fn xml(batch: &[CheckResult]) -> String {
    let mut out = String::from("<?xml version='1.0'?>\n<checkresults>\n");
    for r in batch {
        let kind = if r.service.is_some() { "service" } else { "host" };
        // Writing to a String cannot fail.
        let _ = write!(
            out,
            "<checkresult type='{kind}' checktype='1'><hostname>{}</hostname>",
            escape(&r.host)
        );
        if let Some(service) = &r.service {
            let _ = write!(out, "<servicename>{}</servicename>", escape(service));
        }
        let _ = writeln!(
            out,
            "<state>{}</state><output>{}</output></checkresult>",
            r.code,
            escape(&r.output(OUTPUT_BYTES_MAX))
        );
    }
    out.push_str("</checkresults>\n");
    out
}

fn escape(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            // XML 1.0 has no control characters.
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn xml_holds_what_the_receiver_reads() {
        let host = CheckResult {
            service: None,
            code: 1,
            text: "<down> & out".to_owned(),
            perf: vec![],
            ..sample()
        };
        let text = xml(&[sample(), host]);
        assert!(text.contains(
            "<checkresult type='service' checktype='1'><hostname>web1</hostname>\
             <servicename>cpu</servicename><state>2</state><output>CPU CRITICAL - c:\\\\temp"
        ));
        assert!(text.contains(
            "<checkresult type='host' checktype='1'><hostname>web1</hostname><state>1</state>\
             <output>&lt;down&gt; &amp; out</output></checkresult>"
        ));
    }

    #[test]
    fn only_status_0_is_well() {
        for (answer, want) in [
            ("<?xml?>\n<result>\n  <status>0</status>\n  <message>OK</message>", true),
            ("{\n \"result\": {\n \"status\": 0,\n \"message\": \"OK\"", true),
            ("<result>\n  <status>-1</status>\n  <message>BAD TOKEN</message>", false),
            ("", false),
            ("<html>It works!</html>", false),
        ] {
            assert_eq!(is_taken(answer), want, "{answer}");
        }
    }
}
