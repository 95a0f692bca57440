//! Search in a browser: by key, as one types, and without JavaScript.

use crate::browser::Browser;
use crate::support::{Site, get};

/// A service with one field, whose names are what an attacker would choose.
const EVIL: &str = "<img src=x onerror=document.title=1>";

fn one(node: &str, service: &str, field: &str) -> String {
    let sample = serde_json::json!({"service": service, "field": field, "value": 1});
    serde_json::json!({"node": node, "samples": [sample]}).to_string()
}

#[test]
fn a_name_is_found_as_one_types() {
    let site = Site::new();
    let collector = site.collector("");
    for node in ["web1", "web2", "db1"] {
        for service in ["cpu", "disk"] {
            let answer = site.post(&one(node, service, "busy")).expect("an answer");
            assert_eq!(answer.status, 200, "{}", answer.text());
        }
    }
    let mut browser = Browser::start(1200, 800);
    browser.open(&format!("{}/", site.url()));
    browser.press("/");
    browser.wait("document.activeElement.name === 'q'");
    browser.write("web2 cp");
    browser.wait("document.querySelectorAll('#hits [role=option]').length === 1");
    browser.press("ArrowDown");
    browser.wait("document.querySelector('#hits [aria-selected=true]')");
    browser.press("Enter");
    browser.wait("location.pathname === '/node/web2/cpu'");
    browser.wait("document.readyState === 'complete'");
    // Without a choice, Enter leads to the page with all hits.
    browser.press("/");
    browser.write("disk");
    browser.press("Enter");
    browser.wait("location.pathname === '/search' && location.search === '?q=disk'");
    browser.wait("document.querySelectorAll('ul.hits a').length === 3");
    let asked = browser.asked();
    assert!(asked.contains(&format!("{}/search?q=disk", site.url())), "{asked:?}");
    assert!(asked.iter().all(|url| url.starts_with(&site.url()) || url == "about:blank"));
    drop(browser);
    collector.stop();
}

/// Beside pictures (graphs, the icon): the page, its style and its script, and
/// nothing else.
#[test]
fn the_first_view_is_light_and_stays_here() {
    let site = Site::new();
    let collector = site.collector("");
    for n in 0..200 {
        let answer = site.post(&one(&format!("web{n}"), "cpu", "busy")).expect("an answer");
        assert_eq!(answer.status, 200, "{}", answer.text());
    }
    let mut browser = Browser::start(1200, 800);
    let pages = [
        "/",
        "/nodes",
        "/node/web7",
        "/node/web7/cpu",
        "/node/web7/cpu/busy",
        "/events",
        "/compare",
        "/compare?service=cpu",
        "/category/other",
        "/search?q=web",
        "/problems",
        "/outliers",
        "/graph",
        "/reports",
        "/wall",
    ];
    for path in pages {
        browser.asked();
        browser.open(&format!("{}{path}", site.url()));
        browser.wait(&format!("location.href.endsWith('{path}')"));
        browser.wait("document.readyState === 'complete'");
        let is_picture = |u: &&String| {
            ["/graph/", "/graph.svg"].iter().any(|p| u.contains(p)) || u.ends_with("/favicon.ico")
        };
        let all = browser.asked();
        let asked: Vec<&String> = all.iter().filter(|u| !is_picture(u)).collect();
        assert!(asked.contains(&&format!("{}{path}", site.url())), "{path}: {all:?}");
        assert!((1..=3).contains(&asked.len()), "{path}: {asked:?}");
        assert!(asked.iter().all(|u| u.starts_with(&site.url())), "{path}: {asked:?}");
        let bytes = browser.eval(
            "performance.getEntries().filter((e) => 'encodedBodySize' in e \
             && !/\\/graph[.\\/]/.test(e.name)).reduce((sum, e) => sum + e.encodedBodySize, 0)",
        );
        let bytes = bytes.as_f64().expect("a number");
        assert!(bytes > 500.0 && bytes < 100_000.0, "{path}: {bytes} bytes");
    }
    drop(browser);
    collector.stop();
}

#[test]
fn the_api_ranks_limits_and_refuses() {
    let site = Site::new();
    let collector = site.collector("");
    for node in ["web1", "web10", "myweb1"] {
        site.post(&one(node, "cpu", "busy")).expect("an answer");
    }
    let ask = |query: &str| get(&format!("{}/api/v1/search?{query}", site.url()));
    let found = ask("q=web1&limit=2").json();
    assert_eq!(found["total"], 3);
    let places: Vec<&str> = found["hits"]
        .as_array()
        .expect("hits")
        .iter()
        .filter_map(|h| h["place"].as_str())
        .collect();
    assert_eq!(places, ["web1", "web10"]);
    assert_eq!(found["hits"][0]["link"], "/node/web1");
    assert_eq!(found["hits"][0]["kind"], "node");
    let long = ask(&format!("q={}", "x".repeat(300)));
    assert_eq!(long.status, 400);
    assert!(long.text().contains("at most 200"), "{}", long.text());
    assert_eq!(ask("").status, 400);
    assert_eq!(get(&format!("{}/search", site.url())).status, 200);
    let evil: String = EVIL.bytes().map(|b| format!("%{b:02x}")).collect();
    let page = get(&format!("{}/search?q={evil}", site.url()));
    assert!(page.status == 200 && !page.text().contains("<img src=x"), "{}", page.text());
    collector.stop();
}
