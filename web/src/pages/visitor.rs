//! Who looks at a page: in which time zone, and from where they came.
//!
//! The zone is kept in a cookie, `tz`, that holds an IANA name and nothing else.

use super::PageError;
use crate::app::{App, now_ms};
use crate::error::{Asked, WebError};
use axum::extract::FromRequestParts;
use axum::http::request::Parts;
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rookery_collector::auth::own_path;
use serde::Deserialize;
use std::convert::Infallible;

/// How long a browser keeps the zone, s: a year.
const KEPT_S: u32 = 31_536_000;

/// What a request tells of its reader.
#[derive(Clone, Debug)]
pub struct Visitor {
    /// Chosen by them; `None`: the collector's own.
    pub tz: Option<String>,
    /// The page they asked for, with its query.
    pub path: String,
    headers: HeaderMap,
}

impl<S: Send + Sync> FromRequestParts<S> for Visitor {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Visitor, Infallible> {
        let path = parts.uri.path_and_query().map_or("/", |p| p.as_str()).to_owned();
        Ok(Visitor { tz: cookie_zone(&parts.headers), path, headers: parts.headers.clone() })
    }
}

/// The zone of the cookie, if it is one.
fn cookie_zone(headers: &HeaderMap) -> Option<String> {
    let cookies = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
    let name = cookies.flat_map(|c| c.split(';')).find_map(|c| c.trim().strip_prefix("tz="))?;
    TimeZone::get(name).ok().map(|_| name.to_owned())
}

/// What every part of a page needs.
pub struct View<'a> {
    /// Where it reads.
    pub app: &'a App,
    /// UTC, ms.
    pub now_ms: i64,
    /// For dates in text.
    pub zone: TimeZone,
    /// For dates in graphs; `None`: the collector's own.
    pub tz: Option<&'a str>,
    /// Where the reader is.
    pub path: &'a str,
    /// Whether they have logged in.
    pub may_write: bool,
}

impl<'a> View<'a> {
    /// For this reader, now.
    pub fn new(app: &'a App, visitor: &'a Visitor) -> View<'a> {
        let tz = visitor.tz.as_deref();
        let zone = tz.and_then(|name| TimeZone::get(name).ok()).unwrap_or_else(TimeZone::system);
        let may_write = app.auth.allows_cookie(&visitor.headers);
        View { app, now_ms: now_ms(), zone, tz, path: &visitor.path, may_write }
    }

    /// `2026-11-20 14:03`, in the reader's zone.
    pub fn local(&self, ms: i64) -> String {
        let Ok(time) = Timestamp::from_millisecond(ms) else { return "?".to_owned() };
        time.to_zoned(self.zone.clone()).strftime("%Y-%m-%d %H:%M").to_string()
    }
}

/// What a reader chooses.
#[derive(Deserialize)]
pub struct Choice {
    tz: String,
    back: Option<String>,
}

/// `GET /zone?tz=UTC&back=/node/N`: remembers the zone and leads back; an empty
/// one is the collector's own.
pub async fn choose(choice: Result<Asked<Choice>, WebError>) -> Result<Response, PageError> {
    let Asked(choice) = choice?;
    let tz = choice.tz.trim();
    if !tz.is_empty() && TimeZone::get(tz).is_err() {
        let text = format!("{tz:?} is no time zone: write UTC or a name like Europe/Berlin");
        return Err(WebError::bad(text).into());
    }
    let kept_s = if tz.is_empty() { 0 } else { KEPT_S };
    let cookie = format!("tz={tz}; Path=/; Max-Age={kept_s}; SameSite=Lax; HttpOnly");
    let back = choice.back.as_deref().and_then(own_path).unwrap_or("/").to_owned();
    let head = [(header::SET_COOKIE, cookie), (header::LOCATION, back)];
    Ok((StatusCode::SEE_OTHER, head).into_response())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn zone(cookie: &str) -> Option<String> {
        let mut headers = HeaderMap::new();
        headers.insert(header::COOKIE, cookie.parse().expect("a header"));
        cookie_zone(&headers)
    }

    #[test]
    fn only_zones_are_taken_from_cookies() {
        assert_eq!(zone("a=b; tz=Europe/Berlin; c=d").as_deref(), Some("Europe/Berlin"));
        assert_eq!(zone("tz=UTC").as_deref(), Some("UTC"));
        for bad in ["tz=", "tz=<script>", "tz=Nowhere/Land", "xtz=UTC", ""] {
            assert_eq!(zone(bad), None, "{bad}");
        }
    }

    #[tokio::test]
    async fn nobody_is_led_away() {
        let to = async |back: &str| {
            let choice = Choice { tz: "UTC".to_owned(), back: Some(back.to_owned()) };
            let Ok(answer) = choose(Ok(Asked(choice))).await else { panic!("refused") };
            answer.headers()[header::LOCATION].to_str().expect("text").to_owned()
        };
        assert_eq!(to("/node/a?from=-1d").await, "/node/a?from=-1d");
        for bad in ["//evil.example", "/\\evil.example", "https://evil.example", "/a\r\nX: y", ""] {
            assert_eq!(to(bad).await, "/", "{bad:?}");
        }
    }
}
