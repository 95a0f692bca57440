//! `/outliers`: one bad disk among many, and a node that is unlike its own past.

use crate::browser::Browser;
use crate::overlays::{now_ms, post_minutes};
use crate::support::{Site, get};

const WEEK_MS: i64 = 604_800_000;

#[test]
fn the_bad_disk_comes_first_and_says_why() {
    let site = Site::new();
    let collector = site.collector("");
    let now = now_ms();
    for n in 1..=8 {
        let value = if n == 7 { 41.0 } else { 2.0 + 0.3 * f64::from(n) };
        let node = format!("db{n}");
        // db2 was twenty times as busy in all former weeks, as no other was.
        for week in (0..=3).rev() {
            let then = if n == 2 && week > 0 { 20.0 * value } else { value };
            post_minutes(&site, &node, "write", now - week * WEEK_MS, &[then; 200]);
        }
        post_minutes(&site, &node, "steady", now, &[100.0; 200]);
    }
    let found = get(&format!("{}/api/v1/outliers", site.url())).json();
    let outliers = found["outliers"].as_array().expect("outliers");
    let names: Vec<&str> = outliers.iter().filter_map(|o| o["node"].as_str()).collect();
    assert_eq!(names[0], "db7", "{found}");
    assert!(outliers.iter().all(|o| o["field"] == "write"), "{found}");
    assert_eq!(found["n_fields"], 16);
    let past = outliers.iter().find(|o| o["node"] == "db2").expect("unlike its past");
    assert_eq!(past["reasons"][0]["with"], "past", "{past}");
    assert!(past["reasons"][0]["n"].as_u64() >= Some(2), "{past}");
    let mut browser = Browser::start(1200, 900);
    browser.open(&format!("{}/", site.url()));
    browser.follow("Outliers");
    browser.wait("location.pathname === '/outliers' && document.querySelector('.card p')");
    let first = browser.eval("document.querySelector('.card p').textContent");
    let first = first.as_str().expect("words");
    assert!(
        first.starts_with("db7 disk write is 41.0; its 7 peers lie between 2.30 and 4.40"),
        "{first}"
    );
    browser.wait("document.querySelector('.card img').complete");
    browser.follow("beside its peers");
    browser.wait(
        "location.pathname === '/graph' && document.querySelectorAll('[data-mute]').length === 8",
    );
    drop(browser);
    collector.stop();
}
