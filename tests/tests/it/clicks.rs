//! 200 nodes and a year of history: from the fleet to the one slow disk.

use crate::browser::Browser;
use crate::overlays::now_ms;
use crate::support::{Site, get, wait_for};
use rookery_plugins::wire::{Announce, CONTENT_TYPE, FrameWriter};
use rookery_plugins::{Cells, Draw, FieldKey, FieldSpec, Layout, ServiceSpec, Value};
use rookery_tests::http::{Connection, post};
use std::time::Duration;
use thirtyfour::By;

const HOUR_MS: i64 = 3_600_000;
const DAY_MS: i64 = 24 * HOUR_MS;
/// Groups and their nodes.
const GROUPS: [(&str, usize); 4] =
    [("web", 100), ("databases", 60), ("caches", 30), ("backup", 10)];
/// Over its limit: it is wrong. Without a limit: it is only unlike its peers.
const SLOW: &str = "databases;db07";
const ODD: &str = "caches;ca11";

fn services(node: &str) -> Vec<ServiceSpec> {
    let gauges = |names: &[&str]| names.iter().map(|n| FieldSpec::gauge(n, n)).collect::<Vec<_>>();
    let stacked = gauges(&["system", "user", "iowait"]).into_iter();
    let stacked = stacked.map(|f| f.draw(Draw::AreaStack)).collect();
    let mut all = vec![ServiceSpec::new("cpu", "CPU usage", "system").vlabel("%").fields(stacked)];
    for disk in ["sda", "sdb"] {
        let (name, title) = (format!("diskstats_latency.{disk}"), format!("Latency of {disk}"));
        let mut fields = gauges(&["read", "write"]);
        if node.starts_with("databases") {
            fields[1].critical = Some("30".to_owned());
        }
        all.push(ServiceSpec::new(&name, &title, "disk").vlabel("ms").fields(fields));
    }
    all.iter_mut().for_each(|s| s.step_ms = 300_000);
    all
}

fn value(node: usize, column: usize, row: usize, is_slow: bool) -> f64 {
    let wave = ((row * 7 + node * 13 + column * 5) % 40) as f64 / 20.0;
    // Columns: three of the CPU, then read and write of each disk.
    let write_of_sdb = 6;
    2.0 + wave + if is_slow && column == write_of_sdb { 41.0 } else { 0.0 }
}

/// A year by three hours, the last day by five minutes, over the real wire.
pub fn fill(site: &Site) -> Vec<String> {
    let short = [("web", "web"), ("databases", "db"), ("caches", "ca"), ("backup", "ba")];
    let names: Vec<String> = GROUPS
        .iter()
        .zip(short)
        .flat_map(|((group, n), (_, name))| (1..=*n).map(move |i| format!("{group};{name}{i:02}")))
        .collect();
    let now = now_ms();
    let year = (now - 365 * DAY_MS..now - DAY_MS).step_by(3 * HOUR_MS as usize);
    let times: Vec<i64> = year.chain((now - DAY_MS..now).step_by(300_000)).collect();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let addr = format!("127.0.0.1:{}", site.port);
        let mut connection = Connection::open(&addr).await.expect("a connection");
        let (mut cells, mut writer) = (Cells::new(), FrameWriter::default());
        for (i, name) in names.iter().enumerate() {
            let services = services(name);
            let keys = services
                .iter()
                .flat_map(|s| s.fields.iter().map(|f| FieldKey::new(&s.name, &f.name)));
            let layout = Layout::new(keys.collect());
            let is_slow = [SLOW, ODD].contains(&name.as_str());
            for (frame, part) in times.chunks(1500).enumerate() {
                writer.start(name, 1, frame as u64 + 1);
                if frame == 0 {
                    writer
                        .announce(&Announce { services: services.clone(), ..Announce::default() });
                    writer.layout(&layout);
                }
                for (row, time) in part.iter().enumerate() {
                    cells.clear();
                    for column in 0..layout.len() {
                        cells.push(Value::Float(value(i, column, row, is_slow)));
                    }
                    writer.row(layout.id(), *time, &cells);
                }
                let request = post("/api/v1/ingest", "sesame", CONTENT_TYPE, writer.finish());
                let answer = connection.exchange(&request).await.expect("an answer");
                assert_eq!(answer.status, 200, "{}", String::from_utf8_lossy(&answer.body));
            }
        }
    });
    names
}

/// Clicks on the first link that fits, as a reader does, and waits for the page.
fn click(browser: &mut Browser, link: By, path: &str) {
    browser.click(link);
    browser.wait(&format!("location.pathname === {path:?} && document.readyState === 'complete'"));
}

#[test]
fn from_the_fleet_to_the_slow_disk_in_three_clicks() {
    let site = Site::new();
    let collector = site.collector("");
    let names = fill(&site);
    assert_eq!(names.len(), 200);
    wait_for("the disk's alarm", Duration::from_secs(60), || {
        let problems = get(&format!("{}/api/v1/problems", site.url())).json();
        problems.as_array().is_some_and(|p| !p.is_empty()).then_some(())
    });
    let mut browser = Browser::start(1300, 1000);
    browser.open(&format!("{}/", site.url()));
    assert_eq!(browser.eval("document.querySelector('h1').textContent"), "200 nodes, 1 problem");
    // Groups as tiles, the worst first, its worst node by name, all nodes together.
    let tile = browser.eval("document.querySelector('.tile').textContent");
    let tile = tile.as_str().expect("text");
    assert!(
        tile.starts_with("databases CRITICAL 60 nodes") || tile.contains("worst: databases;db07"),
        "{tile}"
    );
    assert!(tile.contains("databases;db07") && tile.contains("CPU usage, mean"), "{tile}");
    browser.wait(
        "[...document.querySelectorAll('.tile img')].slice(0, 2).every((i) => i.naturalWidth > 0)",
    );
    let mean = browser.eval("document.querySelector('.tile img').src");
    let svg = get(mean.as_str().expect("an address")).text();
    assert!(svg.contains("z\"/>") && !svg.contains("no data in this span"), "{svg}");
    let beside = "(u) => !u.includes('/graph') && !u.endsWith('favicon.ico')";
    let asked = browser.eval(&format!(
        "performance.getEntriesByType('resource').map((e) => e.name).filter({beside}).length"
    ));
    assert!(asked.as_u64().expect("a number") <= 2, "beside the page itself: {asked}");

    // One, two, three.
    click(&mut browser, By::Css(".tile h3 a"), "/group/databases");
    let first = By::XPath("//h2[starts-with(., 'Nodes')]/following-sibling::*[1]//h3/a");
    assert_eq!(browser.text(first.clone()), SLOW, "the worst comes first");
    click(&mut browser, first, "/node/databases%3Bdb07");
    let disk = By::XPath("//*[contains(concat(@class, ' '), 'bad ')]//h3/a[. = 'Latency of sdb']");
    click(&mut browser, disk, "/node/databases%3Bdb07/diskstats_latency.sdb");

    // Four spans, of which the year's has data; and one level more: the field alone.
    browser.wait("[...document.querySelectorAll('.graph img')].length === 4");
    let year = browser.eval("[...document.querySelectorAll('.graph img')][3].src");
    let svg = get(year.as_str().expect("an address")).text();
    assert!(
        !svg.contains("no data in this span") && svg.matches("<path fill=\"none\"").count() >= 8,
        "{svg}"
    );
    let crumbs =
        "[...document.querySelectorAll('.crumbs a')].map((a) => a.textContent).join(' > ')";
    assert_eq!(browser.eval(crumbs), "Fleet > databases > databases;db07");
    let field = By::XPath("//*[contains(@class, 'card')]//h3/a[. = 'write']");
    click(&mut browser, field, "/node/databases%3Bdb07/diskstats_latency.sdb/write");
    assert_eq!(browser.eval(crumbs), "Fleet > databases > databases;db07 > Latency of sdb");
    browser.wait("document.querySelector('.graph img').naturalWidth > 0");
    assert_eq!(browser.eval("document.querySelectorAll('tbody tr').length"), 1);

    // A disk without a limit is named by what is unusual, on its group's page.
    wait_for("the outliers", Duration::from_secs(60), || {
        let page = get(&format!("{}/group/caches", site.url())).text();
        page.contains("Unusual now").then_some(())
    });
    browser.open(&format!("{}/group/caches", site.url()));
    let text = browser.text(By::Css("ul.lines li"));
    assert!(text.contains(ODD) && text.contains("its 29 peers lie between"), "{text}");
    click(
        &mut browser,
        By::Css("ul.lines li a"),
        "/node/caches%3Bca11/diskstats_latency.sdb/write",
    );
    drop(browser);
    collector.stop();
}
