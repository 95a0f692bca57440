//! Any fields on one graph, sums over groups, and a graph in the terminal.

use crate::browser::Browser;
use crate::overlays::{now_ms, post_minutes};
use crate::support::{Site, bin, get, stdout};
use std::process::Command;
use thirtyfour::By;

fn fleet(site: &Site) {
    for (node, value) in [("web1", 10.0), ("web2", 30.0), ("web3", 20.0), ("db1", 1000.0)] {
        post_minutes(site, node, "busy", now_ms(), &[value; 50]);
        post_minutes(site, node, "idle", now_ms(), &[1.0; 50]);
    }
}

#[test]
fn sums_and_fields_of_several_nodes_are_one_graph() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    let query = "f=web1/disk/busy&f=sum:web*/disk/busy&f=mean:/disk/busy&from=-30m&to=now";
    let json = get(&format!("{}/graph.json?{query}", site.url())).json();
    let means = |i: usize| -> Vec<f64> {
        let cells = json["fields"][i]["mean"].as_array().expect("means");
        cells.iter().filter_map(serde_json::Value::as_f64).collect()
    };
    assert!(means(0).iter().all(|v| *v == 10.0) && means(0).len() > 20);
    let sums = means(1);
    assert!(sums.iter().skip(60).all(|v| *v == 60.0) && sums.len() > 100, "{sums:?}");
    assert!(means(2).iter().skip(60).all(|v| *v == 265.0));
    assert!(site.page(&format!("/graph.csv?{query}")).1.contains(",sum:web*/disk/busy,1,60.0,"));
    let (status, svg) = site.page(&format!("/graph.svg?{query}"));
    assert!(status == 200 && svg.contains("sum of web* (3)"), "{svg}");
    let (status, page) = site.page(&format!("/graph?{query}&hide=web1/disk/busy"));
    assert!(status == 200 && page.contains("3 fields on one graph"), "{page}");
    assert!(site.page("/graph?f=gone/disk/busy").1.contains("(not found)"));
    assert!(site.page("/graph?q=web1+idle").1.contains("/graph?f=web1%2Fdisk%2Fidle"));
    for bad in ["/graph.svg", "/graph.svg?f=a", "/graph?f=a/b/c&nonsense=1", "/graph?f=a/b/c&to=x"]
    {
        assert_eq!(site.page(bad).0, 400, "{bad}");
    }
    let many: String = (0..51).map(|i| format!("f=n/s/{i}&")).collect();
    let (status, text) = site.page(&format!("/graph?{many}"));
    assert!(status == 400 && text.contains("at most 50"), "{text}");
    collector.stop();
}

#[test]
fn a_field_is_added_as_one_types_and_compare_leads_to_sums() {
    let site = Site::new();
    let collector = site.collector("");
    fleet(&site);
    let mut browser = Browser::start(1200, 900);
    browser.open(&format!("{}/compare?service=disk&nodes=web*&from=-1h", site.url()));
    browser.follow("Sum of all");
    browser.wait(
        "location.pathname === '/graph' && document.querySelectorAll('[data-mute]').length === 2",
    );
    browser.wait("document.querySelector('.zoom img').complete");
    browser.click(By::Css("form.add input[type=search]"));
    browser.write("db1 bus");
    browser.wait("document.querySelectorAll('#found [role=option]').length === 1");
    browser.press("ArrowDown");
    browser.press("Enter");
    browser.wait("document.querySelectorAll('[data-mute]').length === 3");
    browser.click(By::Css("[data-mute=\"db1/disk/busy\"]"));
    browser.wait("new URL(location).searchParams.get('hide') === 'db1/disk/busy'");
    browser.wait("document.querySelector('[data-mute=\"db1/disk/busy\"][aria-pressed=true]')");
    browser.click(By::XPath("(//a[. = 'remove'])[3]"));
    browser.wait("document.querySelectorAll('[data-mute]').length === 2");
    drop(browser);
    collector.stop();
}

#[test]
fn a_graph_is_drawn_in_the_terminal() {
    let site = Site::new();
    let collector = site.collector("");
    post_minutes(&site, "db1", "busy", now_ms(), &(0..100).map(f64::from).collect::<Vec<_>>());
    let url = site.url();
    let run = |more: &[&str]| {
        let base = ["graph", "db1", "disk", "--from", "-2h", "--url", &url];
        stdout(Command::new(bin("rookery")).args(base).args(more))
    };
    let text = run(&["--term", "--width", "70", "--height", "12", "--percentile", "95"]);
    println!("{text}");
    assert!(text.starts_with("disk · db1") && !text.contains('\x1b'), "{text}");
    assert!(text.lines().all(|l| l.chars().count() <= 70), "{text}");
    assert!(text.contains("99.0") && text.contains("95 % of busy: 94.0"), "{text}");
    assert!(text.chars().filter(|c| ('\u{2801}'..='\u{28ff}').contains(c)).count() > 40);
    // A terminal gets colours.
    let command =
        format!("{} graph db1 disk --from -2h --term --url {url}", bin("rookery").display());
    let on_terminal = |name: &str, value: &str| {
        let mut script = Command::new("script");
        script.args(["-qec", &command, "/dev/null"]).env_remove("NO_COLOR").env("TERM", "xterm");
        stdout(script.env(name, value))
    };
    let seen = on_terminal("TERM", "xterm");
    assert!(seen.contains("\x1b[38;2;"), "{seen}");
    for (name, value) in [("NO_COLOR", "1"), ("TERM", "dumb")] {
        assert!(!on_terminal(name, value).contains('\x1b'), "{name}={value}");
    }
    let svg = run(&["-o", "-", "--ghost", "1h", "--percentile", "99"]);
    assert!(svg.contains("99 % of busy: 98.0") && svg.contains("dashed: 1h before"), "{svg}");
    collector.stop();
}
