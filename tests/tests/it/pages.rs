//! Every page that is linked answers, links nowhere outside, and escapes what
//! nodes say; Chromium draws it.

use crate::support::{Site, executable, get, run, wait_for};
use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PLUGIN: &str = r#"#!/bin/sh
if [ "$1" = config ]; then
  echo 'graph_title <script>alert(1)</script> & more'
  echo 'graph_category evil'
  echo 'graph_info <img src=x onerror=alert(2)>'
  echo 'a.label <script>alert(3)</script>'
  echo 'a.info "quoted" <b>bold</b>'
  exit
fi
echo a.value 42
"#;

/// Attributes' values in a page.
fn links(html: &str, attribute: &str) -> BTreeSet<String> {
    let mark = format!(" {attribute}=\"");
    let parts = html.split(&mark).skip(1).filter_map(|p| p.split_once('"'));
    parts.map(|(link, _)| link.replace("&amp;", "&")).collect()
}

#[test]
fn all_pages_answer_and_escape() {
    let site = Site::new();
    executable(&site.path("plugins/evil"), PLUGIN);
    let collector = site.collector("");
    let empty = get(&format!("{}/", site.url()));
    assert!(empty.text().contains("No node has reported yet"), "{}", empty.text());
    let agent = site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    wait_for("the evil plugin", Duration::from_secs(60), || {
        site.services("n1").iter().any(|s| s["service"] == "evil").then_some(())
    });
    wait_for("its value", Duration::from_secs(60), || {
        (site.export("n1", "evil").len() > 2).then_some(())
    });
    let mut todo: Vec<String> = vec!["/".to_owned()];
    let mut seen = BTreeSet::new();
    let mut n_graphs = 0;
    while let Some(path) = todo.pop() {
        if !seen.insert(path.clone()) {
            continue;
        }
        assert!(path.starts_with('/'), "{path} leaves the site");
        let answer = get(&format!("{}{path}", site.url()));
        assert_eq!(answer.status, 200, "{path}: {}", answer.text());
        if answer.kind.starts_with("image/svg") {
            n_graphs += 1;
            assert!(!answer.text().contains("<script>"), "{path}");
        }
        if !answer.kind.starts_with("text/html") {
            continue;
        }
        let html = answer.text();
        for bad in ["<script>alert", "<img src=x", "<b>bold"] {
            assert!(!html.contains(bad), "{bad} in {path}");
        }
        let next = ["href", "src", "srcset"].iter().flat_map(|a| links(&html, a));
        // One span of each service is enough: there is no end to them.
        let next = next.filter(|l| !l.starts_with('#') && !l.contains("?from=-1w"));
        // Nor is there to what may be laid over a graph: each once.
        let is_deep =
            |l: &str| ["from=", "hide=", "pct=", "ghost=", "f="].iter().any(|p| l.contains(p));
        // Fields' pages are alike: those of two services are enough.
        let is_field = |l: &str| l.starts_with("/node/") && l.matches('/').count() == 4;
        let next = next.filter(|l| !is_field(l) || l.contains("/evil/") || l.contains("/cpu/"));
        let deep = is_deep(&path);
        todo.extend(next.filter(|l| !deep || !is_deep(l)));
    }
    println!("{} addresses, {n_graphs} graphs", seen.len());
    assert!(seen.iter().any(|p| p.starts_with("/node/n1/evil")));
    assert!(n_graphs > 50);
    agent.stop();
    collector.stop();
}

/// Draws a page; the picture is not empty, and the page is no wider than the
/// window.
fn screenshot(url: &str, file: &Path, size: (u32, u32), is_dark: bool) {
    let profile = tempfile::tempdir().expect("a folder");
    let mut command = Command::new("chromium");
    command
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-quic"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--hide-scrollbars", "--virtual-time-budget=4000"])
        .arg(format!("--user-data-dir={}", profile.path().display()))
        .arg(format!("--window-size={},{}", size.0, size.1))
        .arg(format!("--screenshot={}", file.display()));
    if is_dark {
        command.arg("--blink-settings=preferredColorScheme=0");
    }
    let output = run(command.arg(url));
    let err = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(file.exists(), "{url}: {err}");
    assert!(std::fs::metadata(file).expect("a picture").len() > 5_000, "{url}: {err}");
}

#[test]
fn chromium_draws_fleet_node_and_service() {
    let site = Site::new();
    let collector = site.collector("");
    let agent = site.agent("n1", "step = \"1s\"\n");
    wait_for("a rate", Duration::from_secs(30), || {
        let services = site.services("n1");
        let cpu = services.iter().find(|s| s["service"] == "cpu")?;
        (!cpu["fields"][0]["value"].is_null()).then_some(())
    });
    let dir = site.path("pictures");
    std::fs::create_dir(&dir).expect("a folder");
    for (name, path) in [("fleet", "/"), ("node", "/node/n1"), ("service", "/node/n1/cpu")] {
        for is_dark in [false, true] {
            let file = dir.join(format!("{name}-{is_dark}.png"));
            screenshot(&format!("{}{path}", site.url()), &file, (1300, 1600), is_dark);
        }
        let file = dir.join(format!("{name}-phone.png"));
        screenshot(&format!("{}{path}", site.url()), &file, (390, 1600), false);
    }
    agent.stop();
    collector.stop();
}
