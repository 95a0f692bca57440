//! Munin's aggregate graphs: loans, sums and stacks of munin.conf, drawn and exported.

use crate::overlays::now_ms;
use crate::support::{Site, get, wait_for};
use serde_json::Value as Json;
use std::time::Duration;

const STEP_MS: i64 = 60_000;
const N: i64 = 120;

/// Two hours of a field, a value a minute.
fn post(site: &Site, node: &str, end_ms: i64, field: &str, value: impl Fn(i64) -> Option<f64>) {
    let sample = |i: i64| {
        let (t, v) = (end_ms - (N - 1 - i) * STEP_MS, value(i)?);
        Some(format!(
            "{{\"service\":\"load\",\"field\":\"{field}\",\"time_ms\":{t},\"value\":{v}}}"
        ))
    };
    let samples: Vec<String> = (0..N).filter_map(sample).collect();
    let body = format!("{{\"node\":\"{node}\",\"samples\":[{}]}}", samples.join(","));
    assert_eq!(site.post(&body).expect("an answer").status, 200);
}

const CONF: &str = "
[web;all]
    update no
    total.graph_title Load of all
    total.graph_category system
    total.graph_order sum -first=www1:load.load second=www2:load.load
    total.sum.label Sum
    total.sum.sum www1:load.load www2:load.load
    total.sum.draw AREA
    total.sum.negative first
    total.sum.cdef sum,10,*
    total.second.label The second
    pile.graph_title Piled up
    pile.graph_order parts
    pile.parts.label none
    pile.parts.draw AREA
    pile.parts.stack one=www1:load.load two=web;www2:load.load
[web;www1]
    update no
    load.graph_order load other=www2:load.load gone=www9:load.load
    load.other.label of www2
";

#[test]
fn sums_loans_and_stacks_are_drawn_and_exported() {
    let site = Site::new();
    let conf = site.path("munin.conf");
    std::fs::write(&conf, CONF).expect("writes");
    let collector = site.collector(&format!("[[munin]]\nconf = {conf:?}\n"));
    let end = now_ms() / STEP_MS * STEP_MS;
    // They are not read at one instant, and the second has a gap of half an hour.
    post(&site, "web;www1", end, "load", |i| Some(i as f64));
    post(&site, "web;www2", end - 20_000, "load", |i| {
        (!(40..70).contains(&i)).then_some(1000.0 + i as f64)
    });

    let nodes = get(&format!("{}/api/v1/nodes", site.url())).json();
    let names: Vec<&str> =
        nodes.as_array().expect("nodes").iter().filter_map(|n| n["node"].as_str()).collect();
    assert_eq!(names, ["web;all", "web;www1", "web;www2"]);
    let services = site.services("web%3Ball");
    let names: Vec<&str> = services.iter().filter_map(|s| s["service"].as_str()).collect();
    assert_eq!(names, ["pile", "total"]);

    // A loan is the other's samples to the bit; a sum holds each part for two steps.
    let own = site.export("web;www2", "load");
    let lent: Vec<_> = site.export("web;all", "total");
    let second: Vec<_> = lent.iter().filter(|(_, f, _)| f == "second").collect();
    assert_eq!(second.len(), own.len());
    assert!(second.iter().zip(&own).all(|(a, b)| (a.0, &a.2) == (b.0, &b.2)));
    let sums: Vec<(i64, f64)> = lent
        .iter()
        .filter(|(_, f, _)| f == "sum")
        .map(|(t, _, v)| (*t, v.parse().expect("a number")))
        .collect();
    assert!(sums.len() >= N as usize, "{}", sums.len());
    let at = |i: i64| {
        let t = end - (N - 1 - i) * STEP_MS;
        sums.iter().find(|(time, _)| *time == t).map(|(_, v)| *v).expect("a sum")
    };
    // The second's minute began twenty seconds before: its newest by then is of i + 1.
    assert_eq!(at(20), 20.0 + 1000.0 + 21.0);
    assert_eq!(at(60), 60.0, "an unknown part counts as none");

    let rollup = |node: &str, service: &str| -> Json {
        let node = node.replace(';', "%3B");
        let from = end - N * STEP_MS;
        get(&format!(
            "{}/api/v1/rollup?node={node}&service={service}&from={from}&to={end}&step=10m",
            site.url()
        ))
        .json()
    };
    let found = rollup("web;all", "total");
    let fields: Vec<&str> = found["fields"]
        .as_array()
        .expect("fields")
        .iter()
        .filter_map(|f| f["field"].as_str())
        .collect();
    assert!(["first", "second", "sum"].iter().all(|f| fields.contains(f)), "{fields:?}");
    // A real service keeps its own fields beside a loan.
    let found = rollup("web;www1", "load");
    let mean = |i: usize| found["fields"][i]["mean"][1].as_f64();
    assert_eq!(found["fields"][0]["field"], "load");
    assert_eq!(found["fields"][1]["field"], "other");
    assert!(mean(0) < Some(30.0) && mean(1) > Some(1000.0), "{found}");

    // Drawn: the sum tenfold, the first mirrored below it, the second by itself.
    let picture = |node: &str, service: &str, kind: &str| {
        let node = node.replace(';', "%3B");
        get(&format!("{}/graph/{node}/{service}.{kind}?from=-2h&width=800", site.url()))
    };
    let svg = picture("web;all", "total", "svg").text();
    for words in ["Load of all", "Sum (+)", "first (−)", "The second"] {
        assert!(svg.contains(words), "{words}: {svg}");
    }
    assert!(svg.contains("\n12.4 k\n"), "119 and 1119, tenfold: {svg}");
    let pile = picture("web;all", "pile", "svg").text();
    let has = |label: &str| pile.contains(&format!("\n{label}\n"));
    assert!(has("one") && has("two") && !has("none"), "{pile}");
    if let Ok(dir) = std::env::var("ROOKERY_PICTURES") {
        for name in ["total", "pile"] {
            let png = picture("web;all", name, "png");
            let file = std::path::Path::new(&dir).join(format!("{name}.png"));
            std::fs::write(file, png.body).expect("writes");
        }
    }
    let page = get(&format!("{}/node/web%3Ball", site.url()));
    assert!(page.status == 200 && page.text().contains("Piled up"), "{}", page.status);
    collector.stop();
}

/// A sum, a stack and a loan have limits of their own, and a rule's; their parts have none.
#[test]
fn sums_and_loans_are_judged() {
    let site = Site::new();
    let conf = site.path("munin.conf");
    let text = "[web;all]\n update no\n\
        total.graph_title Load of all\n total.graph_order sum\n\
        total.sum.sum www1:load.load www2:load.load\n\
        total.sum.warning 100\n total.sum.critical 1000\n\
        calm.graph_order sum\n calm.sum.sum www1:load.load www2:load.load\n\
        calm.sum.critical 5000\n\
        pile.graph_order parts\n pile.parts.stack one=www1:load.load two=web;www2:load.load\n\
        lost.graph_order sum\n lost.sum.sum www8:load.load\n lost.sum.critical 1\n\
        [web;www1]\n update no\n load.graph_order load other=www2:load.load\n\
        load.other.warning 10:800\n";
    std::fs::write(&conf, text).expect("writes");
    std::fs::create_dir_all(site.path("alerts.d")).expect("a folder");
    let rule = "[[rule]]\nnode = \"web;all\"\nservice = \"pile\"\nfield = \"two\"\n\
        critical = \"900\"\n";
    std::fs::write(site.path("alerts.d/pile.toml"), rule).expect("writes");
    let more = format!("[[munin]]\nconf = {conf:?}\ninterval = \"1s\"\n");
    let collector = site.collector(&more);
    let posted = |level: f64| {
        let send = |node: &str, value: f64| {
            let (t, one) = (now_ms(), "\"service\":\"load\",\"field\":\"load\"");
            let sample = format!("{{{one},\"time_ms\":{t},\"value\":{value}}}");
            let body = format!("{{\"node\":\"{node}\",\"samples\":[{sample}]}}");
            assert_eq!(site.post(&body).expect("an answer").status, 200);
        };
        send("web;www1", level);
        send("web;www2", level * 9.0);
    };
    let problems = || -> Vec<String> {
        let all = get(&format!("{}/api/v1/problems", site.url())).json();
        let all = all.as_array().expect("problems").iter();
        let text = |p: &Json, key: &str| p[key].as_str().unwrap_or("-").to_owned();
        let mut all: Vec<String> = all
            .map(|p| format!("{}/{} {}", text(p, "node"), text(p, "service"), text(p, "state")))
            .collect();
        all.sort();
        all
    };
    let within = |level: f64, want: &[&str]| {
        wait_for("the problems", Duration::from_secs(60), || {
            posted(level);
            let found = problems();
            (found == want).then_some(()).ok_or(found).map_err(|f| eprintln!("{f:?}")).ok()
        });
    };
    within(
        105.0,
        &[
            "web;all/lost UNKNOWN",
            "web;all/pile CRITICAL",
            "web;all/total CRITICAL",
            "web;www1/load WARNING",
        ],
    );
    let limits = get(&format!("{}/graph/web%3Ball/total.svg?from=-1h", site.url())).text();
    assert!(limits.contains("Load of all"), "{limits}");
    within(20.0, &["web;all/lost UNKNOWN", "web;all/total WARNING"]);
    within(5.0, &["web;all/lost UNKNOWN"]);
    collector.stop();
    // What munin.conf has no more is forgotten with its problem.
    let text = text.replace("lost.", "found.").replace("www8", "www1");
    std::fs::write(&conf, text).expect("writes");
    let collector = site.collector(&more);
    within(0.1, &["web;www1/load WARNING"]);
    collector.stop();
}
