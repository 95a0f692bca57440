//! NRDP: results as XML in a form, to Nagios' own web receiver.
//!
//! `token=…&cmd=submitcheck&XMLDATA=…` is what every version of it takes. It answers
//! 200 whatever it thinks; `<status>0</status>` is what counts. No time is sent: a
//! receiver that is set up to take times writes past Nagios.

use super::{
    ANSWER_CHARS_MAX, CheckResult, OUTPUT_BYTES_MAX, PassiveConfig, Taken, chain, redirected,
};
use crate::message;
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use std::collections::VecDeque;
use std::fmt::Write;

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

    /// Sends the batch in one request. One that is refused is sent in halves, down to the
    /// results that are refused by themselves: those keep none of the others.
    pub(super) async fn send(&self, batch: &[CheckResult]) -> Result<Taken, String> {
        let mut taken = Taken::default();
        let mut refused: Vec<String> = Vec::new();
        let mut parts = VecDeque::from([batch]);
        while let Some(part) = parts.pop_front() {
            let Some(why) = self.post(part).await? else {
                taken.n_taken += part.len();
                continue;
            };
            if let [alone] = part {
                refused.push(format!("{} ({why})", alone.place()));
                continue;
            }
            let (first, second) = part.split_at(part.len() / 2);
            parts.extend([first, second].into_iter().filter(|half| !half.is_empty()));
        }
        taken.n_refused = refused.len();
        taken.note = refused.first().map(|first| {
            let (place, n, all) = (self.place(), refused.len(), batch.len());
            format!("{place} refuses {n} of {all} results, {first} is one")
        });
        Ok(taken)
    }

    fn place(&self) -> String {
        format!("NRDP at {}", self.url)
    }

    /// Why these results are refused; an error: it takes nothing at all.
    async fn post(&self, batch: &[CheckResult]) -> Result<Option<String>, String> {
        let place = self.place();
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
        if let Some(moved) = redirected(&place, &answer) {
            return Err(moved);
        }
        let status = answer.status().as_u16();
        let text = answer.text().await.unwrap_or_default();
        if (200..300).contains(&status) && is_taken(&text) {
            return Ok(None);
        }
        let said: String = message::line(&text).chars().take(ANSWER_CHARS_MAX).collect();
        let why = format!("HTTP {status}: {}", said.trim());
        match is_of_results(status, &text) {
            true => Ok(Some(why)),
            false => Err(format!("{place}: {why}")),
        }
    }
}

/// Whether a refusal is of what was sent, and not of everybody: a token that is wrong,
/// a proxy, another server at its address.
fn is_of_results(status: u16, answer: &str) -> bool {
    let bare: String = answer.chars().filter(|c| !c.is_whitespace()).collect();
    let bare = bare.to_ascii_lowercase();
    let is_nrdp = bare.contains("<status>") || bare.contains("\"status\":");
    let is_closed = bare.contains("token") || bare.contains("notauth");
    match status {
        200..=299 => is_nrdp && !is_closed,
        // Too much at once, or something in it that it fails on.
        400 | 413 | 414 | 422 | 500 => !is_closed,
        _ => false,
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
            // XML 1.0 has no control characters, and not these.
            c if c.is_control() || matches!(c, '\u{fffe}' | '\u{ffff}') => out.push(' '),
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

    /// An NRDP that refuses each request with `bad` in it; gives what it has taken.
    fn receiver(refusal: &'static str) -> (String, std::sync::mpsc::Receiver<String>) {
        use std::io::{BufRead, BufReader, Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let base = format!("http://{}", listener.local_addr().expect("an address"));
        let (tx, rx) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.expect("a stream"));
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("reads");
                    let line = line.trim().to_ascii_lowercase();
                    if let Some(n) = line.strip_prefix("content-length: ") {
                        length = n.parse().expect("a number");
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("reads");
                let body = String::from_utf8(body).expect("text");
                let is_bad = body.contains("bad");
                let (head, text) = match is_bad {
                    true => refusal.split_once('|').expect("two parts"),
                    false => ("200 OK", "<result><status>0</status></result>"),
                };
                if !is_bad {
                    let _ = tx.send(body);
                }
                let answer = format!(
                    "HTTP/1.1 {head}\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                );
                let _ = reader.get_mut().write_all(answer.as_bytes());
            }
        });
        (base, rx)
    }

    #[tokio::test]
    async fn one_bad_result_keeps_none_of_the_others() {
        let dir = tempfile::tempdir().expect("tmp");
        let secret_file = dir.path().join("token");
        std::fs::write(&secret_file, "t").expect("writes");
        let nrdp = |url| {
            let config =
                PassiveConfig { url, secret_file: secret_file.clone(), ..PassiveConfig::default() };
            Nrdp::new(&config).expect("right")
        };
        let named = |i: usize| CheckResult { host: format!("host{i}x"), ..sample() };
        let mut batch: Vec<CheckResult> = (0..37).map(named).collect();
        for i in [0, 20] {
            batch[i].host = format!("bad{i}");
        }
        for refusal in [
            "200 OK|<result><status>-1</status><message>BAD XML</message></result>",
            "200 OK|{\"result\": {\"status\": -1, \"message\": \"BAD JSON\"}}",
            "400 Bad Request|no",
            "500 Oops|",
            "413 Too Large|",
        ] {
            let (base, got) = receiver(refusal);
            let taken = nrdp(base).send(&batch).await.expect("is taken");
            assert_eq!((taken.n_taken, taken.n_refused), (35, 2), "{refusal}");
            let note = taken.note.expect("is said");
            assert!(note.contains("refuses 2 of 37 results, bad"), "{note}");
            let all: String = got.try_iter().collect();
            for i in (0..37).filter(|i| ![0, 20].contains(i)) {
                assert_eq!(all.matches(&format!("host{i}x")).count(), 1, "{i}, {refusal}");
            }
        }
        for refusal in [
            "200 OK|<result><status>-1</status><message>BAD TOKEN</message></result>",
            "200 OK|<html>log in</html>",
            "301 Moved|",
            "401 No|",
            "403 No|",
            "503 Later|",
        ] {
            let (base, _got) = receiver(refusal);
            let e = nrdp(base).send(&batch).await.expect_err(refusal);
            assert!(e.contains(&format!("HTTP {}", &refusal[..3])), "{e}");
        }
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
