//! Rules that look back, `past()` and `forecast()`, over a history that was there before
//! them: they speak with the first sample, say what one says who was there all the time,
//! and say nothing twice after a kill.

use crate::crash::now_ms;
use crate::support::{Site, bin, get, stdout, wait_for};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const STEP_MS: i64 = 300_000;
const DAY_MS: i64 = 86_400_000;

/// `past` of a field and of a ratio, and two disks.
const RULES: &str = r#"
[[rule]]
service = "shop"
value = "past(orders)"
as = "unusual"
critical = "-6:6"
max_check_attempts = 1

[[rule]]
service = "cache"
value = "past(hits / (hits + misses))"
as = "unusual"
critical = "-6:6"
max_check_attempts = 1

[[rule]]
service = "disk*"
value = "forecast(used, 4d)"
as = "in_4_days"
critical = "~:100"
max_check_attempts = 1
"#;

/// What was so long before the end: busy by day, calm by night.
fn usual(before_ms: i64, name: &str) -> f64 {
    let noise = (before_ms / STEP_MS * 37 % 11) as f64;
    // The end is in the middle of a busy time.
    let is_busy = (before_ms + DAY_MS / 4).rem_euclid(DAY_MS) < DAY_MS / 2;
    let days = before_ms as f64 / DAY_MS as f64;
    match (name, is_busy) {
        ("orders", true) => 900.0 + noise,
        ("orders", false) => 90.0 + noise,
        ("hits", true) => 5000.0 + noise,
        ("hits", false) => 200.0 + noise,
        ("misses", _) => 50.0 + noise,
        // Full in three days and a half, or in a month.
        ("filling", _) => 79.0 - 6.0 * days,
        _ => 79.0 - 0.7 * days,
    }
}

fn sample(service: &str, field: &str, value: f64, time_ms: i64) -> String {
    format!(r#"{{"service":"{service}","field":"{field}","value":{value:.3},"time_ms":{time_ms}}}"#)
}

/// A row of all services: as usual, or odd.
fn row(end_ms: i64, time_ms: i64, is_odd: bool) -> String {
    let value = |name: &str| usual(end_ms - time_ms, name);
    let (orders, misses) = if is_odd { (90.0, 4000.0) } else { (value("orders"), value("misses")) };
    [
        sample("shop", "orders", orders, time_ms),
        sample("cache", "hits", value("hits"), time_ms),
        sample("cache", "misses", misses, time_ms),
        sample("disk1", "used", value("filling"), time_ms),
        sample("disk2", "used", value("calm"), time_ms),
    ]
    .join(",")
}

fn post(site: &Site, rows: &[String]) {
    let body = format!(r#"{{"node":"n1","samples":[{}]}}"#, rows.join(","));
    let answer = site.post(&body).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

/// What a rehearsal over that time says: the problems' texts, in order of their names.
fn rehearsed(site: &Site, from_ms: i64, to_ms: i64) -> Vec<String> {
    let mut command = Command::new(bin("rookery"));
    command.args(["alerts", "test"]).arg(site.path("rules.toml"));
    command.arg("--data").arg(site.path("data"));
    command.args(["--from", &from_ms.to_string(), "--to", &to_ms.to_string()]);
    let said = stdout(&mut command);
    let problems = said.lines().filter(|line| line.contains(" PROBLEM "));
    problems.filter_map(|line| line.split_once("CRITICAL ").map(|(_, t)| t.to_owned())).collect()
}

#[test]
fn rules_that_look_back_know_what_was_stored_before_them() {
    let site = Site::new();
    let told = site.path("told");
    let config = format!(
        "[[contact]]\nname = \"filed\"\nfile = {told:?}\n[alerting]\ngroup_window_ms = 2000\n"
    );
    let lines = || -> Vec<String> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let collector = site.collector(&config);
    let now = now_ms();
    let times: Vec<i64> = (1..=28 * 288).rev().map(|i| now - i * STEP_MS).collect();
    for part in times.chunks(1000) {
        post(&site, &part.iter().map(|t| row(now, *t, false)).collect::<Vec<_>>());
    }
    collector.kill9();

    std::fs::write(site.path("alerts.d/back.toml"), RULES).expect("writes");
    std::fs::write(site.path("rules.toml"), RULES).expect("writes");
    let collector = site.collector(&config);
    assert_eq!(lines(), [] as [String; 0]);
    // The first sample of all that these rules see.
    let first = now_ms();
    post(&site, &[row(now, first, true)]);
    let problems = || {
        let all = get(&format!("{}/api/v1/problems", site.url())).json();
        let all = all.as_array().expect("a list").clone();
        let mut texts: Vec<(String, String)> = all
            .iter()
            .map(|p| [&p["service"], &p["text"]].map(|t| t.as_str().unwrap_or("").to_owned()))
            .map(|[service, text]| (service, text))
            .collect();
        texts.sort();
        texts
    };
    let found = wait_for("three problems", LIMIT, || {
        let found = problems();
        (found.len() >= 3).then_some(found)
    });
    let names: Vec<&str> = found.iter().map(|(s, _)| s.as_str()).collect();
    assert_eq!(names, ["cache", "disk1", "shop"], "{found:#?}");
    assert!(found[1].1.starts_with("in_4_days is 103.00 (outside ~:100)"), "{found:#?}");
    let page = wait_for("the page", LIMIT, || (!lines().is_empty()).then(lines));
    assert_eq!(page.len(), 1, "one node, one page: {page:#?}");

    // A rehearsal of this sample alone says the same, and so does one that has seen all.
    let to = first + 120_000;
    let short = rehearsed(&site, first - 1000, to);
    let long = rehearsed(&site, now - 29 * DAY_MS, to);
    assert_eq!(short.len(), 1, "{short:#?}");
    let first_of = |all: &[String]| {
        let last = all.last().expect("a problem");
        last.split(';').next().unwrap_or(last).to_owned()
    };
    assert_eq!(first_of(&long), first_of(&short), "{long:#?}");
    assert!(short[0].contains(&found[0].1), "{short:#?}");
    assert!(short[0].contains("2 more services of it: disk1 CRITICAL, shop"), "{short:#?}");

    // It is still so after a kill, and nobody is told again; then it is over.
    collector.kill9();
    let collector = site.collector(&config);
    post(&site, &[row(now, now_ms(), true)]);
    assert_eq!(problems().len(), 3, "{:#?}", problems());
    post(&site, &[row(now, now_ms() + 1, false).replace("\"disk1\"", "\"disk3\"")]);
    wait_for("two are over", LIMIT, || (problems().len() == 1).then_some(()));
    assert_eq!(lines().len(), 1, "{:#?}", lines());
    let said = collector.stop();
    assert!(!said.contains("does without the past"), "{said}");
}
