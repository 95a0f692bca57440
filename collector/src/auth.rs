//! Who may write: those who show the collector's token, as
//! `Authorization: Bearer TOKEN` or, from a page, as the cookie that `/login` sets.

use axum::http::{HeaderMap, header};
use std::sync::Arc;

/// The cookie's name.
pub const COOKIE: &str = "rookery_token";

/// Checks tokens.
#[derive(Clone, Debug)]
pub struct Auth(Option<Arc<str>>);

impl Auth {
    /// For this token; `None`: whoever reaches the port may write.
    pub fn new(token: Option<&str>) -> Auth {
        Auth(token.map(Arc::from))
    }

    /// Whether a request with these headers may write.
    pub fn allows(&self, headers: &HeaderMap) -> bool {
        if self.0.is_none() {
            return true;
        }
        let bearer = headers.get(header::AUTHORIZATION).and_then(|v| {
            let (scheme, token) = v.as_bytes().split_first_chunk::<7>()?;
            (scheme == b"Bearer ").then_some(token)
        });
        bearer.is_some_and(|token| self.is_token(token)) || self.allows_cookie(headers)
    }

    /// Whether it has the cookie of `/login`.
    pub fn allows_cookie(&self, headers: &HeaderMap) -> bool {
        let cookies = headers.get_all(header::COOKIE).iter().filter_map(|v| v.to_str().ok());
        cookies.flat_map(|v| v.split(';')).any(|pair| {
            let pair = pair.trim().split_once('=');
            pair.is_some_and(|(name, token)| name == COOKIE && self.is_token(token.as_bytes()))
        })
    }

    /// Whether this is the token.
    pub fn is_token(&self, given: &[u8]) -> bool {
        let Some(wanted) = &self.0 else { return true };
        // Not cut short at the first difference: the time tells nothing.
        given.len() == wanted.len()
            && given.iter().zip(wanted.bytes()).fold(0, |acc, (a, b)| acc | (a ^ b)) == 0
    }
}

/// Where a form or a link leads back to: a path of these pages, never another
/// site. Browsers take `\` for `/`.
pub fn own_path(back: &str) -> Option<&str> {
    let is_path = back.starts_with('/') && !back.starts_with("//") && !back.contains('\\');
    Some(back).filter(|_| is_path && back.bytes().all(|b| b.is_ascii_graphic()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_is_led_to_another_site() {
        let path = "/node/a%3Bb/cpu?from=-1d";
        assert_eq!(own_path(path), Some(path));
        for bad in ["", "//evil.example", "http://evil.example", "/\\evil.example", "/a\r\nb", "x"]
        {
            assert_eq!(own_path(bad), None, "{bad:?}");
        }
    }

    fn headers(name: header::HeaderName, value: &str) -> HeaderMap {
        HeaderMap::from_iter([(name, value.parse().expect("a header"))])
    }

    #[test]
    fn the_token_is_asked_for() {
        let auth = Auth::new(Some("secret"));
        assert!(auth.allows(&headers(header::AUTHORIZATION, "Bearer secret")));
        assert!(auth.allows(&headers(header::COOKIE, "tz=UTC; rookery_token=secret")));
        for (name, value) in [
            (header::AUTHORIZATION, "Bearer secre"),
            (header::AUTHORIZATION, "Bearer "),
            (header::AUTHORIZATION, "secret"),
            (header::AUTHORIZATION, "bearer secret"),
            (header::COOKIE, "rookery_token=secret2"),
            (header::COOKIE, "rookery_token"),
            (header::COOKIE, "token=secret"),
        ] {
            assert!(!auth.allows(&headers(name, value)), "{value}");
        }
        assert!(!auth.allows(&HeaderMap::new()));
        assert!(Auth::new(None).allows(&HeaderMap::new()));
    }
}
