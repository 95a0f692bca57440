//! Screenshots of every page of a running collector: light, dark, and as a phone has
//! it; small enough for `docs/pictures`, to be looked at after every change.
//!
//! `cargo run -p rookery-tests --example pictures -- http://127.0.0.1:4950 FOLDER \
//!  --node 'rack07;node0007' --group rack13 --service cpu --field user`

// The tests use more of both.
#[allow(dead_code)]
#[path = "../tests/it/browser.rs"]
mod browser;
#[allow(dead_code)]
#[path = "../tests/it/support.rs"]
mod support;

use browser::Browser;
use clap::Parser;
use serde_json::json;
use std::path::{Path, PathBuf};

#[derive(Parser)]
struct Args {
    /// The collector
    url: String,
    /// Where the pictures go
    folder: PathBuf,
    #[arg(long)]
    node: String,
    #[arg(long)]
    group: String,
    #[arg(long)]
    service: String,
    /// Of that service
    #[arg(long)]
    field: String,
    /// Only pages of this name
    #[arg(long, default_value = "")]
    only: String,
}

/// Of a screen and a phone, px; the wall has its own.
const SCREEN: (u32, u32) = (1280, 1000);
const PHONE: (u32, u32) = (375, 740);
const WALL: (u32, u32) = (1920, 1080);
/// WebP's; texts stay sharp.
const QUALITY: u32 = 55;

fn main() {
    let args = Args::parse();
    std::fs::create_dir_all(&args.folder).expect("a folder");
    let encode = |text: &str| -> String {
        let kept = |b: u8| b.is_ascii_alphanumeric() || b"-_.~".contains(&b);
        let byte = |b: u8| match kept(b) {
            true => char::from(b).to_string(),
            false => format!("%{b:02X}"),
        };
        text.bytes().map(byte).collect()
    };
    let (node, group, service) = (encode(&args.node), &args.group, encode(&args.service));
    let pages = [
        ("fleet", "/".to_owned()),
        ("group", format!("/group/{}", encode(group))),
        ("node", format!("/node/{node}")),
        ("overview", format!("/node/{node}/{service}")),
        ("span", format!("/node/{node}/{service}?from=-6h&to=now&pct=95")),
        ("compare", format!("/compare?service={service}&group={}", encode(group))),
        ("field", format!("/node/{node}/{service}/{}", encode(&args.field))),
        ("nodes", "/nodes".to_owned()),
        ("category", "/category/disk".to_owned()),
        ("problems", "/problems".to_owned()),
        ("unusual", "/outliers".to_owned()),
        ("mean", format!("/graph?f=mean:{}/{service}/*&from=-6h&to=now", encode(group))),
        ("search", format!("/search?q={}", encode(group))),
        ("events", "/events".to_owned()),
        ("reports", "/reports".to_owned()),
        ("memcached", "/report/memcached".to_owned()),
        ("login", "/login".to_owned()),
        ("wall", "/wall".to_owned()),
    ];
    let mut browser = Browser::start(SCREEN.0, SCREEN.1);
    for (name, path) in pages.iter().filter(|(name, _)| name.contains(&args.only)) {
        let large = if *name == "wall" { WALL } else { SCREEN };
        for (kind, size, scheme) in
            [("", large, "light"), ("-dark", large, "dark"), ("-phone", PHONE, "light")]
        {
            let metrics = json!({"width": size.0, "height": size.1, "deviceScaleFactor": 1,
                "mobile": size == PHONE});
            browser.call("Emulation.setDeviceMetricsOverride", metrics);
            let scheme = json!({"features": [{"name": "prefers-color-scheme", "value": scheme}]});
            browser.call("Emulation.setEmulatedMedia", scheme);
            browser.open(&format!("{}{path}", args.url));
            browser.wait("document.readyState === 'complete'");
            browser.wait(
                "[...document.images].every((i) => { const b = i.getBoundingClientRect(); \
                 return b.top > innerHeight || (i.complete && i.naturalWidth > 0) })",
            );
            let shot = json!({"format": "webp", "quality": QUALITY});
            let shot = browser.call("Page.captureScreenshot", shot);
            let file: &Path = &args.folder.join(format!("{name}{kind}.webp"));
            let bytes = decode(shot["data"].as_str().expect("base64"));
            println!("{} {}", file.display(), bytes.len());
            std::fs::write(file, bytes).expect("writes");
        }
    }
}

/// Base64, as Chromium's own protocol has bytes.
fn decode(text: &str) -> Vec<u8> {
    let value = |c: u8| match c {
        b'A'..=b'Z' => u32::from(c - b'A'),
        b'a'..=b'z' => u32::from(c - b'a') + 26,
        b'0'..=b'9' => u32::from(c - b'0') + 52,
        b'+' => 62,
        _ => 63,
    };
    let mut out = Vec::with_capacity(text.len() / 4 * 3);
    for four in text.trim_end_matches('=').as_bytes().chunks(4) {
        let bits = four.iter().enumerate().fold(0, |sum, (i, c)| sum | value(*c) << (18 - 6 * i));
        out.extend_from_slice(&bits.to_be_bytes()[1..four.len()]);
    }
    out
}
