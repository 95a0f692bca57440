//! What a request's headers ask of a picture: whether it is known already, and whether
//! it may come compressed (RFC 9110, sections 13.1.2 and 12.5.3).

use axum::http::{HeaderMap, HeaderName, header};

/// The tag of the compressed form of what has this tag: a strong tag is of one
/// sequence of bytes.
pub(super) fn of_gzip(etag: &str) -> String {
    format!("{}-gzip\"", etag.trim_end_matches('"'))
}

/// Whether the client has the picture with this entity tag, in either encoding:
/// `If-None-Match` names it in any line and at any place of a list, weak (`W/"…"`, which
/// proxies make of it) or strong, or is `*`.
pub(super) fn is_known(headers: &HeaderMap, etag: &str) -> bool {
    let zipped = of_gzip(etag);
    // Our own tags have no commas, so a tag that was cut at one is another's.
    words(headers, header::IF_NONE_MATCH).any(|tag| {
        let opaque = tag.strip_prefix("W/").unwrap_or(tag);
        tag == "*" || opaque == etag || opaque == zipped
    })
}

/// Whether gzip is an acceptable encoding: named (or `*`), and not with `q=0`. Without
/// the header it is not taken, as most such clients cannot read it.
pub(super) fn takes_gzip(headers: &HeaderMap) -> bool {
    let mut any = None;
    for word in words(headers, header::ACCEPT_ENCODING) {
        let mut parts = word.split(';').map(str::trim);
        let name = parts.next().unwrap_or("").to_ascii_lowercase();
        let weight = parts.find_map(|p| {
            let (key, value) = p.split_once('=')?;
            key.trim().eq_ignore_ascii_case("q").then(|| value.trim().parse::<f64>().ok())?
        });
        let is_taken = weight.unwrap_or(1.0) > 0.0;
        match name.as_str() {
            "gzip" | "x-gzip" => return is_taken,
            "*" => any = Some(is_taken),
            _ => {}
        }
    }
    any.unwrap_or(false)
}

/// The elements of a header's list, over all its lines.
fn words(headers: &HeaderMap, name: HeaderName) -> impl Iterator<Item = &str> {
    let lines = headers.get_all(name).into_iter().filter_map(|v| v.to_str().ok());
    lines.flat_map(|line| line.split(',').map(str::trim)).filter(|w| !w.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::http::HeaderValue;

    fn with(name: HeaderName, lines: &[&'static str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for line in lines {
            headers.append(name.clone(), HeaderValue::from_static(line));
        }
        headers
    }

    #[test]
    fn known_pictures_are_named_weakly_in_lists_and_by_a_star() {
        let known =
            |lines: &[&'static str]| is_known(&with(header::IF_NONE_MATCH, lines), "\"a-1\"");
        for yes in
            ["\"a-1\"", "\"a-1-gzip\"", "W/\"a-1\"", "\"x\", \"a-1\"", "\"x\",W/\"a-1\" ", "*"]
        {
            assert!(known(&[yes]), "{yes}");
        }
        assert!(known(&["\"x\"", "\"a-1\""]), "two lines are one list");
        for no in ["\"a-2\"", "a-1", "\"a-1", "", "W/", "\"x\", \"y\""] {
            assert!(!known(&[no]), "{no}");
        }
        assert!(!known(&[]));
    }

    #[test]
    fn gzip_is_sent_to_those_who_take_it() {
        let takes = |lines: &[&'static str]| takes_gzip(&with(header::ACCEPT_ENCODING, lines));
        for yes in [
            "gzip",
            "br, gzip",
            "GZIP",
            "gzip;q=0.5",
            "gzip; Q=1",
            "x-gzip",
            "*",
            "br;q=1, *;q=0.1",
        ] {
            assert!(takes(&[yes]), "{yes}");
        }
        for no in [
            "gzip;q=0",
            "identity, gzip; q=0",
            "gzip;q=0.000",
            "*, gzip;q=0",
            "*;q=0",
            "identity",
            "br",
            "",
        ] {
            assert!(!takes(&[no]), "{no}");
        }
        assert!(takes(&["br", "gzip"]) && !takes(&[]));
    }
}
