//! How pages are seen: on phones, on paper, on a wall, without JavaScript, by those
//! who hear them; empty, stale and hostile.

use crate::browser::Browser;
use crate::overlays::{now_ms, post_minutes};
use crate::support::{Site, bin, get, http, run};
use serde_json::json;
use std::process::Command;
use thirtyfour::By;

const PAGES: [&str; 15] = [
    "/",
    "/nodes",
    "/group/web",
    "/node/web%3Bweb1",
    "/node/web%3Bweb1/disk",
    "/node/web%3Bweb1/disk?from=-1h&to=now",
    "/node/web%3Bweb1/disk/busy",
    "/category/other",
    "/compare?service=disk",
    "/graph?f=web%253Bweb1/disk/busy",
    "/problems",
    "/outliers",
    "/events",
    "/reports",
    "/wall",
];

/// Two groups; one node has been silent for an hour.
fn fleet(site: &Site) {
    let now = now_ms();
    for (node, end, field) in [
        ("web;web1", now, "busy"),
        ("web;web1", now, "idle"),
        ("web;web2", now - 3_600_000, "busy"),
        ("db;db1", now, "busy"),
    ] {
        post_minutes(site, node, field, end, &[7.5; 100]);
    }
}

#[test]
fn every_page_fits_a_phone_and_has_alt_texts() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    let mut browser = Browser::start(375, 800);
    let metrics = json!({"width": 375, "height": 800, "deviceScaleFactor": 2, "mobile": true});
    browser.call("Emulation.setDeviceMetricsOverride", metrics);
    for page in PAGES {
        browser.open(&format!("{}{page}", site.url()));
        browser.wait(&format!(
            "location.href.endsWith({page:?}) && document.readyState === 'complete'"
        ));
        let wide = browser.eval("document.documentElement.scrollWidth");
        assert!(wide.as_f64().expect("a number") <= 375.0, "{page} is {wide} px wide");
        let dumb = browser.eval("[...document.images].filter((i) => !i.alt.trim()).length");
        assert_eq!(dumb, 0, "{page}: pictures without a text");
        let head = browser
            .eval("[document.documentElement.lang, document.querySelectorAll('h1').length].join()");
        assert_eq!(head, "en,1", "{page}");
        // Of every form's input somebody can be told what it is.
        let nameless = browser.eval(
            "[...document.querySelectorAll('input:not([type=hidden]), select')]\
             .filter((i) => !i.ariaLabel && !i.closest('label')).length",
        );
        assert_eq!(nameless, 0, "{page}: inputs without a name");
    }
    // Wide graphs are drawn for the phone, not shrunk: their texts keep their size.
    browser.open(&format!("{}/node/web%3Bweb1/disk?from=-1h&to=now", site.url()));
    browser.wait("document.querySelector('.zoom img').naturalWidth > 0");
    let part = browser.eval(
        "(async () => { const i = document.querySelector('.zoom img'); const s = await (await \
         fetch(i.currentSrc)).text(); \
         return i.clientWidth / /<svg[^>]* width=\"(\\d+)\"/.exec(s)[1] })()",
    );
    assert!(part.as_f64().expect("a number") > 0.9, "shown at {part} of its size");
    drop(browser);
    collector.stop();
}

#[test]
fn without_javascript_all_is_there() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    let mut browser = Browser::start(1200, 900);
    browser.call("Emulation.setScriptExecutionDisabled", json!({"value": true}));
    for page in PAGES {
        browser.open(&format!("{}{page}", site.url()));
        // The page's own scripts are off, the driver's are not.
        browser.wait(&format!(
            "location.href.endsWith({page:?}) && document.readyState === 'complete'"
        ));
        browser
            .wait("[...document.images].every((i) => i.loading === 'lazy' || i.naturalWidth > 0)");
    }
    browser.open(&format!("{}/node/web%3Bweb1/disk?from=-1h&to=now", site.url()));
    browser.wait("document.querySelector('.zoom img').naturalWidth > 0");
    // With its script it would have one.
    assert_eq!(browser.eval("document.querySelectorAll('.zoom .tip').length"), 0);
    browser.click(By::Css("a[data-key=ArrowLeft]"));
    browser.wait("/from=\\d+&to=\\d+/.test(location.search)");
    drop(browser);
    let wall = get(&format!("{}/wall", site.url())).text();
    assert!(wall.contains("<noscript><meta http-equiv=\"refresh\" content=\"15\">"), "{wall}");
    collector.stop();
}

#[test]
fn the_wall_renews_itself_and_says_when_nobody_answers() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    let mut browser = Browser::start(1920, 1080);
    browser.open(&format!("{}/", site.url()));
    browser.follow("Wall");
    browser.wait("location.pathname === '/wall' && document.querySelector('.groups a')");
    let text = browser.eval("document.querySelector('header').textContent");
    assert!(text.as_str().expect("text").starts_with("All well3 nodes"), "{text}");
    // 5 m away: letters of 2 cm on a screen of 1.2 m.
    let size = "parseFloat(getComputedStyle(document.querySelector('.groups b')).fontSize)";
    assert!(browser.eval(size).as_f64().expect("px") > 32.0);
    assert_eq!(browser.eval("document.querySelectorAll('nav').length"), 0);
    let fits = "document.documentElement.scrollHeight <= innerHeight";
    assert_eq!(browser.eval(fits), true, "nobody scrolls a wall");
    post_minutes(&site, "new;new1", "busy", now_ms(), &[1.0; 3]);
    browser.wait("document.querySelector('header').textContent.includes('4 nodes')");
    assert_eq!(get(&format!("{}/wall?group=web", site.url())).status, 200);
    assert_eq!(get(&format!("{}/wall?group=nothing", site.url())).status, 404);
    collector.kill9();
    browser
        .wait("document.querySelector('header.old time').textContent.includes('no answer since')");
    drop(browser);
}

#[test]
fn paper_has_no_controls() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    let mut browser = Browser::start(1200, 900);
    browser.call("Emulation.setEmulatedMedia", json!({"media": "print"}));
    browser.open(&format!("{}/node/web%3Bweb1/disk", site.url()));
    browser.wait("document.readyState === 'complete' && document.querySelector('.graph img')");
    let seen = "[...document.querySelectorAll('header nav, nav.ranges, form, footer')]\
                .filter((e) => e.checkVisibility()).length";
    assert_eq!(browser.eval(seen), 0);
    assert_eq!(browser.eval("document.querySelectorAll('.graph img').length > 0"), true);
    drop(browser);
    collector.stop();
}

#[test]
fn silent_nodes_stay_and_are_shown_as_such() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    for (page, word) in [
        ("/group/web", "stale"),
        ("/nodes", "stale"),
        ("/node/web%3Bweb2", "stale"),
        ("/compare?service=disk", "silent"),
    ] {
        let html = get(&format!("{}{page}", site.url())).text();
        assert!(html.contains("web2") && html.contains(word), "{page}: {html}");
    }
    // Its end is shaded and named at every zoom.
    for span in ["-2h", "-6h", "-1d", "-1w", "-1y"] {
        let path = format!("/graph/web%3Bweb2/disk.svg?from={span}&to=now&width=600");
        let svg = get(&format!("{}{path}", site.url())).text();
        assert!(svg.contains("no data\n"), "{span}: {svg}");
    }
    collector.stop();
}

#[test]
fn empty_pages_teach_and_faults_name_the_remedy() {
    let site = Site::new();
    let collector = site.collector("");
    for (path, words) in [
        ("/", "install the agent"),
        ("/nodes", "install the agent"),
        ("/problems", "Limits come from"),
        ("/outliers", "Nothing is unusual"),
        ("/events", "Nothing has been marked yet"),
        ("/reports", "rookery-agent list --available"),
        ("/report/redis", "rookery-agent list --available"),
        ("/search", "more words narrow it"),
        ("/graph", "Search for the first"),
        ("/wall", "install the agent"),
    ] {
        let (status, html) = site.page(path);
        assert!(status == 200 && html.contains(words), "{path}: {status} {html}");
    }
    fleet(&site);
    let (status, html) = site.page("/node/db%3Bdb1/disk?from=2020-01-01&to=2020-01-02");
    assert!(status == 200 && html.contains("–"), "{html}");
    let svg = site.page("/graph/db%3Bdb1/disk.svg?from=2020-01-01&to=2020-01-02").1;
    assert!(svg.contains("no data in this span"), "{svg}");
    for (path, status, words) in [
        ("/node/db%3Bdb2", 404, "did you mean"),
        ("/node/db%3Bdb1/dsk", 404, "did you mean"),
        ("/node/db%3Bdb1/disk/bsy", 404, "it has busy"),
        ("/node/db%3Bdb1/disk?from=soon", 400, "is no time"),
        ("/group/nothing", 404, "no node is in a group"),
        ("/report/nothing", 404, "there are: memcached, redis"),
        ("/nothing", 404, "nothing stands at"),
    ] {
        let (got, html) = site.page(path);
        assert!(got == status && html.contains(words), "{path}: {got} {html}");
    }
    collector.stop();
}

/// What an attacker would call a node, a group, a service and a field.
const EVIL: &str = "\"><img src=x onerror=document.title='owned'><script>alert(1);";

#[test]
fn hostile_names_are_only_text() {
    let site = Site::new();
    let collector = site.collector("");
    let sample = json!({"service": EVIL, "field": EVIL, "value": 1});
    let node = format!("{EVIL};{EVIL}");
    let mut stored = 0;
    for name in [node.as_str(), EVIL, "good"] {
        let other = json!({"service": EVIL, "field": "other", "value": 2});
        let answer = site.post(&json!({"node": name, "samples": [sample, other]}).to_string());
        stored += usize::from(answer.expect("an answer").status == 200);
    }
    assert!(stored > 0, "nothing was taken: nothing is tried");
    let mut browser = Browser::start(1200, 900);
    browser.open(&format!("{}/", site.url()));
    let mut todo =
        vec!["/".to_owned(), "/wall".to_owned(), "/nodes".to_owned(), "/compare".to_owned()];
    let mut seen: Vec<String> = Vec::new();
    while let Some(path) = todo.pop() {
        if seen.contains(&path) || seen.len() > 40 {
            continue;
        }
        browser.open(&format!("{}{path}", site.url()));
        browser.wait("document.readyState === 'complete' && document.querySelector('main')");
        assert_ne!(browser.eval("document.title"), "owned", "{path}");
        assert_eq!(browser.eval("document.querySelectorAll('main script, img[src=x]').length"), 0);
        let more = browser.eval(
            "[...document.links].map((a) => a.getAttribute('href')).filter((h) => \
             /^\\/(node|group|graph|compare|category)/.test(h) && \
             !/from=|pct=|ghost=|hide=/.test(h))",
        );
        todo.extend(
            more.as_array().expect("links").iter().filter_map(|l| l.as_str()).map(str::to_owned),
        );
        seen.push(path);
    }
    assert!(seen.iter().any(|p| p.matches('/').count() == 4), "a field's page: {seen:?}");
    drop(browser);
    collector.stop();
}

#[test]
fn pictures_and_assets_are_kept_as_long_as_they_hold() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    let head = |path: &str, etag: &str| {
        let url = format!("{}{path}", site.url());
        let mut args = vec!["-s", "-D", "-", "-o", "/dev/null", "--compressed", &url];
        let known = format!("If-None-Match: {etag}");
        if !etag.is_empty() {
            args.extend(["-H", &known]);
        }
        let output = run(Command::new("curl").args(args));
        String::from_utf8_lossy(&output.stdout).to_lowercase()
    };
    let etag_of = |head: &str| {
        let line = head.lines().find_map(|l| l.strip_prefix("etag: "));
        line.unwrap_or_else(|| panic!("no etag: {head}")).trim().to_owned()
    };
    let graph = "/graph/db%3Bdb1/disk.svg?from=-1h&to=now";
    let limit = std::time::Duration::from_secs(60);
    // A picture that ends now is another one every eighth of a pixel: here some
    // 0.5 s, in which two questions may or may not fall.
    let first = crate::support::wait_for("the same picture twice", limit, || {
        let first = head(graph, "");
        assert!(first.contains("cache-control: no-cache"), "{first}");
        assert!(first.contains("content-encoding: gzip"), "{first}");
        let again = head(graph, &etag_of(&first));
        again.starts_with("http/1.1 304").then_some(first)
    });
    // One that ended in the past stays, however long one waits.
    let fixed = "/graph/db%3Bdb1/disk.svg?from=2026-01-01&to=2026-01-02";
    let past = head(fixed, "");
    assert!(head(fixed, &etag_of(&past)).starts_with("http/1.1 304"));
    crate::support::wait_for("a new picture", limit, || {
        post_minutes(&site, "db;db1", "busy", now_ms(), &[4000.0]);
        let new = head(graph, &etag_of(&first));
        new.starts_with("http/1.1 200").then_some(())
    });
    let page = get(&format!("{}/", site.url())).text();
    let asset = page.split('"').find(|p| p.starts_with("/static/")).expect("an asset");
    let asset = head(asset, "");
    assert!(asset.contains("max-age=31536000, immutable"), "{asset}");
    assert!(asset.contains("content-encoding: gzip"), "{asset}");
    assert!(head("/", "").contains("content-encoding: gzip"));
    collector.stop();
}

#[test]
fn any_fields_graph_is_drawn_by_the_command() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    let url = site.url();
    let term = run(Command::new(bin("rookery")).args([
        "graph",
        "-f",
        "sum:web/disk/busy",
        "-f",
        "db%3Bdb1/disk/busy",
        "--from",
        "-1h",
        "--term",
        "--percentile",
        "95",
        "--ghost",
        "10m",
        "--url",
        &url,
    ]));
    let text = String::from_utf8_lossy(&term.stdout).into_owned();
    assert!(term.status.success(), "{}", String::from_utf8_lossy(&term.stderr));
    assert!(text.contains("sum of web") && text.contains("95 % of db;db1"), "{text}");
    let none = run(Command::new(bin("rookery")).args(["graph", "--term", "--url", &url]));
    let said = String::from_utf8_lossy(&none.stderr).into_owned();
    assert!(!none.status.success() && said.contains("NODE"), "{said}");
    let page = get(&format!("{url}/graph?f=db%253Bdb1/disk/busy&from=-1h&pct=95")).text();
    assert!(page.contains("95 %</th>") && page.contains(">7.50<"), "{page}");
    let answer = http(|c| c.get(format!("{url}/graph?f=a/b/c&pct=101")));
    assert_eq!(answer.expect("an answer").status, 400);
    collector.stop();
}
