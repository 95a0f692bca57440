//! `/compare`: one service on many nodes, one value axis, the worst first.

use crate::browser::Browser;
use crate::support::{Site, get};
use serde_json::json;
use thirtyfour::By;

fn fleet(site: &Site) {
    for (node, value) in [("web1", 10.0), ("web2", 900.0), ("web3", 40.0), ("db1", 70.0)] {
        let sample = json!({"service": "disk", "field": "busy", "value": value});
        let answer = site.post(&json!({"node": node, "samples": [sample]}).to_string());
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

/// Numbers at the value axis: the texts that end left of the plot.
fn axis(svg: &str) -> Vec<String> {
    let texts = svg.split("<text ").skip(1).filter(|t| t.contains("text-anchor=\"end\""));
    let inner = texts.filter_map(|t| Some(t.split_once('>')?.1.split_once('<')?.0.trim()));
    inner.filter(|t| t.starts_with(|c: char| c.is_ascii_digit())).map(str::to_owned).collect()
}

#[test]
fn all_are_on_one_axis_and_the_highest_comes_first() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    let mut browser = Browser::start(1200, 900);
    browser.open(&format!("{}/compare?service=disk&nodes=web*&from=-1h", site.url()));
    let names = "[...document.querySelectorAll('.card h3 a')].map((a) => a.textContent).join(' ')";
    assert_eq!(browser.eval(names), "web2 web3 web1");
    let sources = browser.eval("[...document.querySelectorAll('.card img')].map((i) => i.src)");
    let axes: Vec<Vec<String>> = sources
        .as_array()
        .expect("pictures")
        .iter()
        .map(|s| axis(&get(s.as_str().expect("an address")).text()))
        .collect();
    assert!(axes.len() == 3 && axes[0].len() >= 2, "{axes:?}");
    assert!(axes.iter().all(|a| *a == axes[0]), "{axes:?}");
    let alone = get(&format!("{}/graph/web1/disk.svg?from=-1h&to=now&legend=0", site.url()));
    assert_ne!(axis(&alone.text()), axes[0], "alone it has its own");
    // One click leads to the one that is worst.
    browser.click(By::Css(".card a img"));
    browser.wait("location.pathname === '/node/web2/disk'");
    browser.click(By::PartialLinkText("Compare with"));
    browser.wait("document.querySelectorAll('.card').length === 4");
    drop(browser);
    collector.stop();
}

#[test]
fn faults_are_named() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    let (status, text) = site.page("/compare");
    assert!(status == 200 && text.contains("4 nodes"), "{text}");
    assert_eq!(site.page("/compare?service=nothing").0, 404);
    assert_eq!(site.page("/compare?service=disk&nodes=x*").0, 404);
    assert_eq!(site.page("/compare?service=disk&from=soon").0, 400);
    let graph = "/graph/web1/disk.svg";
    for bad in ["low=1", "low=2&high=1", "low=NaN&high=1", "low=0&high=inf"] {
        let (status, text) = site.page(&format!("{graph}?{bad}"));
        assert!(status == 400 && text.contains("the lower first"), "{bad}: {text}");
    }
    assert_eq!(site.page(&format!("{graph}?low=-1e300&high=1e300")).0, 200);
    collector.stop();
}
