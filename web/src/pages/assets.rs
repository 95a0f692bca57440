//! The style sheet and the script: built in, named by their content's hash, so
//! that a browser may keep them for a year.

use crate::app::App;
use axum::Router;
use axum::http::header;
use axum::response::IntoResponse;
use axum::routing::get;

const STYLE: &str = include_str!("../../assets/style.css");
/// Small files to read, one to ask for.
const SCRIPT: &str =
    concat!(include_str!("../../assets/page.js"), include_str!("../../assets/search.js"),);

/// FNV-1a, 32 bits: a name, not a secret.
const fn hash(bytes: &[u8]) -> u32 {
    let mut h: u32 = 0x811c_9dc5;
    let mut i = 0;
    while i < bytes.len() {
        h = (h ^ bytes[i] as u32).wrapping_mul(0x0100_0193);
        i += 1;
    }
    h
}

/// Where the style sheet stands.
pub fn style() -> String {
    format!("/static/{:08x}/style.css", hash(STYLE.as_bytes()))
}

/// Where the script stands.
pub fn script() -> String {
    format!("/static/{:08x}/page.js", hash(SCRIPT.as_bytes()))
}

fn asset(kind: &'static str, body: &'static str) -> impl IntoResponse {
    let head = [
        (header::CONTENT_TYPE, kind),
        (header::CACHE_CONTROL, "public, max-age=31536000, immutable"),
    ];
    (head, body)
}

/// Their routes; an old hash gets the new file.
pub fn routes() -> Router<App> {
    Router::new()
        .route("/static/{hash}/style.css", get(async || asset("text/css; charset=utf-8", STYLE)))
        .route(
            "/static/{hash}/page.js",
            get(async || asset("text/javascript; charset=utf-8", SCRIPT)),
        )
        .route("/favicon.ico", get(async || asset("image/svg+xml", FAVICON)))
}

const FAVICON: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 16 16"><rect width="16" height="16" rx="3" fill="#1b2330"/><path d="M2 12l4-5 3 3 5-7" fill="none" stroke="#62d296" stroke-width="2"/></svg>"##;
