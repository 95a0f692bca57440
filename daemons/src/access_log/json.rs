//! A line of JSON, by names whose meaning and unit are known: nginx's variables
//! (`status`, `request_time`, seconds), Caddy's (`request`, `duration`, seconds
//! with a fraction) and Traefik's (`DownstreamStatus`, `Duration`, nanoseconds).

use super::line::{Request, Time, without_port, without_query};
use serde_json::{Map, Value as Json};
use std::borrow::Cow;

const STATUS: [&str; 2] = ["status", "DownstreamStatus"];
const BYTES: [&str; 5] =
    ["body_bytes_sent", "bytes_sent", "size", "bytes", "DownstreamContentSize"];
const PATH: [&str; 4] = ["request_uri", "uri", "path", "RequestPath"];
const VHOST: [&str; 5] = ["host", "http_host", "server_name", "vhost", "RequestHost"];

/// `None`: it is no object, or has no status.
pub fn parse(line: &[u8]) -> Option<Request<'static>> {
    if line.first() != Some(&b'{') {
        return None;
    }
    let all: Map<String, Json> = serde_json::from_slice(line).ok()?;
    // Caddy's are in an object of their own.
    let inner = all.get("request").and_then(Json::as_object);
    let text = |names: &[&str]| {
        let of = |map: &Map<String, Json>| {
            names.iter().find_map(|name| map.get(*name)?.as_str().map(str::to_owned))
        };
        of(&all).or_else(|| of(inner?))
    };
    let status = u16::try_from(whole(&all, &STATUS)?).ok().filter(|s| (100..1000).contains(s))?;
    // nginx's $request is "GET /path HTTP/1.1".
    let from_request = || {
        let line = all.get("request")?.as_str()?;
        Some(line.split(' ').nth(1).unwrap_or(line).to_owned())
    };
    let path = text(&PATH).or_else(from_request).unwrap_or_default();
    let vhost = text(&VHOST).filter(|host| !host.is_empty() && host != "-");
    Some(Request {
        vhost: vhost.map(|host| Cow::Owned(without_port(host.as_bytes()).to_vec())),
        path: Cow::Owned(without_query(path.as_bytes()).to_vec()),
        status,
        bytes: whole(&all, &BYTES).unwrap_or(0),
        time: Time::Named(time_us(&all)),
    })
}

/// A whole number, as a number or as a text.
fn whole(all: &Map<String, Json>, names: &[&str]) -> Option<u64> {
    names.iter().find_map(|name| match all.get(*name)? {
        Json::Number(n) => n.as_u64(),
        Json::String(text) => text.parse().ok(),
        _ => None,
    })
}

fn time_us(all: &Map<String, Json>) -> Option<u64> {
    let us = |seconds: f64| (0.0..1e9).contains(&seconds).then(|| (seconds * 1e6).round() as u64);
    match all.get("request_time") {
        Some(Json::Number(n)) => return us(n.as_f64()?),
        Some(Json::String(text)) => return us(text.parse().ok()?),
        _ => {}
    }
    match (all.get("Duration"), all.get("duration")) {
        (Some(Json::Number(ns)), _) => Some(ns.as_u64()? / 1_000),
        // A whole number may be in any unit.
        (_, Some(Json::Number(n))) if n.is_f64() => us(n.as_f64()?),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_are_known_are_read() {
        for (line, want) in [
            (
                r#"{"time":"x","status":"404","request_uri":"/a?b","body_bytes_sent":"12","host":"shop","request_time":"0.250"}"#,
                (404, 12, "/a", Some("shop"), Some(250_000)),
            ),
            (
                r#"{"level":"info","status":200,"size":7,"duration":0.0015,"request":{"method":"GET","host":"shop:443","uri":"/x?y"}}"#,
                (200, 7, "/x", Some("shop"), Some(1_500)),
            ),
            (
                r#"{"DownstreamStatus":502,"DownstreamContentSize":11,"Duration":1234567,"RequestPath":"/t","RequestHost":"t.example"}"#,
                (502, 11, "/t", Some("t.example"), Some(1_234)),
            ),
            (
                r#"{"status":200,"request":"GET /q HTTP/1.1","duration":15}"#,
                (200, 0, "/q", None, None),
            ),
        ] {
            let request = parse(line.as_bytes()).expect(line);
            let vhost = request.vhost.as_deref().map(|v| std::str::from_utf8(v).expect("UTF-8"));
            let path = std::str::from_utf8(&request.path).expect("UTF-8");
            let Time::Named(time) = request.time else { panic!("{line}") };
            assert_eq!((request.status, request.bytes, path, vhost, time), want, "{line}");
        }
        for line in ["{", "{}", "[1]", r#"{"status":"up"}"#, r#"{"status":7}"#, r#"{"state":200}"#]
        {
            assert_eq!(parse(line.as_bytes()), None, "{line}");
        }
    }
}
