//! What lies over a service's graphs: muted fields, percentiles, an earlier span.

use crate::browser::Browser;
use crate::support::{Site, get};
use serde_json::{Value as Json, json};
use std::time::{SystemTime, UNIX_EPOCH};
use thirtyfour::By;

pub fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970");
    i64::try_from(since.as_millis()).expect("not far")
}

/// Samples of a minute each, `n` up to `end_ms`.
pub fn post_minutes(site: &Site, node: &str, field: &str, end_ms: i64, values: &[f64]) {
    let n = i64::try_from(values.len()).expect("few");
    let sample = |(i, v): (i64, &f64)| {
        json!({"service": "disk", "field": field, "value": v,
            "time_ms": end_ms - (n - 1 - i) * 60_000})
    };
    let samples: Vec<Json> = (0..).zip(values).map(sample).collect();
    let answer = site.post(&json!({"node": node, "samples": samples}).to_string());
    let answer = answer.expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn a_click_on_the_legend_mutes() {
    let site = Site::new();
    let collector = site.collector("");
    let now = now_ms();
    for (field, value) in [("small", 5.0), ("huge", 5e6), ("other", 7.0)] {
        post_minutes(&site, "db1", field, now, &[value; 50]);
    }
    let page = format!("{}/node/db1/disk?from=-1h&to=now", site.url());
    // By plain links, without JavaScript.
    let html = get(&page).text();
    let link = "/node/db1/disk?from=-1h&amp;to=now&amp;hide=huge";
    assert!(html.contains(link), "{html}");
    let mut browser = Browser::start(1200, 900);
    browser.open(&page);
    browser.wait("document.querySelector('[data-mute=other] rect')");
    let colour = "document.querySelector('[data-mute=other] rect').getAttribute('stroke')";
    let before = browser.eval(colour);
    browser.click(By::Css("[data-mute=huge]"));
    browser.wait("new URL(location).searchParams.get('hide') === 'huge'");
    browser.wait("document.querySelector('[data-mute=huge][aria-pressed=true]')");
    assert_eq!(browser.eval(colour), before, "others keep their colours");
    let source = browser.eval("document.querySelector('.zoom img').src");
    let source = source.as_str().expect("an address").replace("legend=1", "legend=0");
    let svg = get(&source).text();
    assert!(!svg.contains(" M\n"), "the axis fits what is seen: {svg}");
    // The span changes, the muted field stays so.
    browser.press("d");
    browser.wait("location.search === '?from=-1d&to=now&hide=huge'");
    // The address is there before the page is.
    browser.wait("document.querySelector('[data-mute=huge][aria-pressed=true]')");
    browser.click(By::Css("[data-mute=huge]"));
    browser.wait("location.search === '?from=-1d&to=now'");
    drop(browser);
    collector.stop();
}

#[test]
fn percentiles_are_exact_and_the_ghost_is_a_week_old() {
    let site = Site::new();
    let collector = site.collector("");
    let now = now_ms();
    let values: Vec<f64> = (1..=100).map(f64::from).collect();
    post_minutes(&site, "db1", "busy", now - 604_800_000, &[1234.0; 100]);
    post_minutes(&site, "db1", "busy", now, &values);
    let ask = |what: &str| site.page(&format!("/graph/db1/disk.svg?from=-2h&to=now{what}"));
    let (status, svg) = ask("&pct=95,99");
    assert!(status == 200 && svg.contains("95 % of busy: 95.0"), "{svg}");
    assert!(svg.contains("99 % of busy: 99.0"));
    let (_, plain) = ask("");
    assert!(!plain.contains("1.25 k") && !plain.contains(" k\n"));
    let (_, ghost) = ask("&ghost=1w");
    assert!(ghost.contains("dashed: 1w before"), "{ghost}");
    assert!(ghost.matches("<path").count() > plain.matches("<path").count() + 20);
    let (_, none) = ask("&ghost=4w");
    assert!(none.contains("nothing is known of 4w before"));
    for bad in ["&pct=0", "&pct=x", "&ghost=soon", "&ghost=0.1s", "&hidden=a"] {
        assert_eq!(ask(bad).0, 400, "{bad}");
    }
    let mut browser = Browser::start(1200, 900);
    browser.open(&format!("{}/node/db1/disk?from=-2h&to=now", site.url()));
    browser.press("9");
    browser.wait("location.search.endsWith('&pct=95')");
    browser.wait("document.querySelector('table').textContent.includes('95 %')");
    let cell =
        "[...document.querySelectorAll('#field-busy td.n')].some((c) => c.textContent === '95.0')";
    browser.wait(cell);
    browser.press("g");
    browser.wait("location.search.endsWith('&pct=95&ghost=1w')");
    browser.wait("document.querySelectorAll('[aria-pressed=true]').length === 2");
    drop(browser);
    collector.stop();
}
