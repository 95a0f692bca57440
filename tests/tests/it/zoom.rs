//! A service's page under a hand: zoom, pan, keys, hover, live; and that legend,
//! table, hover, API and export give the same number.

use crate::browser::Browser;
use crate::overlays::{now_ms, post_minutes};
use crate::support::{Site, get, http, wait_for};
use rookery_plugins::wire::{Announce, CONTENT_TYPE, FrameWriter};
use rookery_plugins::{Cells, FieldKey, FieldSpec, FieldType, Layout, ServiceSpec, Value};
use serde_json::json;

/// The picture's place on the page: left, top, width, height; and where its plot
/// begins and ends, parts of the width.
fn place(browser: &mut Browser) -> [f64; 6] {
    let place = browser.eval(
        // A picture that is just replaced by a newer one cannot be decoded.
        "(async () => { let i, left = 250; \
         for (;;) { i = document.querySelector('.zoom img'); \
         try { await i.decode(); break; } catch (e) { if (left-- === 0) throw e; \
         await new Promise((go) => setTimeout(go, 20)); } } \
         i.scrollIntoView({block: 'center'}); const b = i.getBoundingClientRect(); \
         const s = await (await fetch(i.currentSrc)).text(); \
         const m = /<svg[^>]* width=\"(\\d+)\"[^>]* data-plot=\"([\\d.]+) ([\\d.]+)\"/.exec(s); \
         return [b.left, b.top, b.width, b.height, m[2] / m[1], m[3] / m[1]]; })()",
    );
    let all: Vec<f64> =
        place.as_array().expect("numbers").iter().filter_map(|v| v.as_f64()).collect();
    all.try_into().expect("six")
}

/// The px of a place.
fn px(place: f64) -> i64 {
    place.round() as i64
}

/// The span in the address, ms.
fn span(browser: &mut Browser) -> (i64, i64) {
    let of = |browser: &mut Browser, name: &str| {
        let text = browser.eval(&format!("new URL(location).searchParams.get('{name}')"));
        text.as_str().and_then(|t| t.parse().ok()).unwrap_or_else(|| panic!("{name}: {text}"))
    };
    (of(browser, "from"), of(browser, "to"))
}

const LOADED: &str = "document.readyState === 'complete' && document.querySelector('.zoom img')";

#[test]
fn drag_zooms_arrows_pan_and_keys_choose_spans() {
    let site = Site::new();
    let collector = site.collector("");
    let now = now_ms();
    post_minutes(&site, "db1", "busy", now, &(0..600).map(f64::from).collect::<Vec<_>>());
    let mut browser = Browser::start(1300, 900);
    let (from, to) = (now - 8 * 3_600_000, now);
    browser.open(&format!("{}/node/db1/disk?from={from}&to={to}", site.url()));
    browser.wait(LOADED);
    let [left, top, width, height, plot_from, plot_to] = place(&mut browser);
    let x = |part: f64| px(left + width * (plot_from + part * (plot_to - plot_from)));
    let y = px(top + height / 3.0);
    browser.mouse(|mouse| mouse.move_to(x(0.25), y).click_and_hold().move_to(x(0.4), y));
    assert_eq!(browser.eval("!!document.querySelector('.zoom .mark')"), true, "it is marked");
    browser.mouse(|mouse| mouse.move_to(x(0.5), y).release());
    browser.wait(&format!("!location.search.includes('from={from}') && {LOADED}"));
    let zoomed = span(&mut browser);
    let whole = (to - from) as f64;
    let far = |a: i64, part: f64| ((a - from) as f64 / whole - part).abs();
    assert!(far(zoomed.0, 0.25) < 0.01 && far(zoomed.1, 0.5) < 0.01, "{zoomed:?}");

    // What is seen is what the address holds: another browser sees the same.
    let seen = browser.eval("document.querySelector('.zoom img').src");
    let address = browser.eval("location.href");
    let html = get(address.as_str().expect("an address")).text().replace("&amp;", "&");
    let seen = seen.as_str().expect("an address").replace(&site.url(), "");
    assert!(html.contains(&seen), "{seen}");

    let half = (zoomed.1 - zoomed.0) / 2;
    browser.press("ArrowLeft");
    browser.wait(&format!("location.search.includes('from={}') && {LOADED}", zoomed.0 - half));
    browser.press("ArrowRight");
    browser.wait(&format!("location.search.includes('from={}') && {LOADED}", zoomed.0));
    browser.press("-");
    browser.wait(&format!("location.search.includes('from={}') && {LOADED}", zoomed.0 - half));
    browser.press("+");
    browser.wait(&format!("!location.search.includes('from={}') && {LOADED}", zoomed.0 - half));
    for (key, from) in
        [("h", "1h"), ("q", "6h"), ("d", "1d"), ("w", "1w"), ("m", "1M"), ("y", "1y")]
    {
        browser.press(key);
        browser.wait(&format!("location.search.includes('from=-{from}&to=now') && {LOADED}"));
    }
    // Double click: back to where one was.
    let [left, top, width, height, ..] = place(&mut browser);
    let (x, y) = (px(left + width / 2.0), px(top + height / 3.0));
    // Where the machine is slow they may be two single clicks.
    browser.eval("addEventListener('dblclick', () => { sessionStorage.doubled = 1 })");
    wait_for("a double click", std::time::Duration::from_secs(60), || {
        browser.mouse(|mouse| mouse.move_to(x, y).double_click());
        browser.is("sessionStorage.doubled").then_some(())
    });
    browser.wait(&format!("location.search.includes('from=-1M&to=now') && {LOADED}"));
    drop(browser);
    collector.stop();
}

#[test]
fn hover_tells_what_export_has() {
    let site = Site::new();
    let collector = site.collector("");
    let now = now_ms();
    let values: Vec<f64> = (0..120).map(|i| f64::from(i) * 1.25 + 0.125).collect();
    post_minutes(&site, "db1", "busy", now, &values);
    let mut browser = Browser::start(1300, 900);
    let (from, to) = (now - 2 * 3_600_000, now);
    browser.open(&format!("{}/node/db1/disk?from={from}&to={to}", site.url()));
    browser.wait(LOADED);
    let [left, top, width, height, plot_from, plot_to] = place(&mut browser);
    let exported = site.export("db1", "disk");
    let mut seen = Vec::new();
    // On two samples, and 18 s after one: the page counts in steps of 12 s and a px is
    // some 7 s wide, so that the middle between two would be of either.
    for part in [0.2, 0.5, 0.8275] {
        let plot = (left + width * plot_from, width * (plot_to - plot_from));
        let (x, y) = (px(plot.0 + part * plot.1), px(top + height / 3.0));
        browser.mouse(|mouse| mouse.move_to(x, y));
        // The numbers are fetched with the first move.
        browser.wait(
            "performance.getEntriesByType('resource').some((e) => e.name.includes('/rollup'))",
        );
        let tip = "document.querySelector('.zoom .tip').textContent";
        wait_for("numbers", std::time::Duration::from_secs(60), || {
            browser.mouse(|mouse| mouse.move_to(x + 1, y).move_to(x, y));
            let text = browser.eval(tip);
            text.as_str().filter(|t| t.contains("busy")).map(|t| seen.push(t.to_owned()))
        });
        let text = seen.last().expect("numbers");
        let value: f64 = text
            .lines()
            .find_map(|l| l.strip_prefix("busy "))
            .and_then(|v| v.parse().ok())
            .unwrap_or_else(|| panic!("{text}"));
        // A mouse stands on a whole px: the time is that one's.
        let at = from + ((x as f64 - plot.0) / plot.1 * (to - from) as f64) as i64;
        let near = exported.iter().min_by_key(|(t, ..)| (t - at).abs()).expect("samples");
        assert_eq!(value, near.2.parse::<f64>().expect("a number"), "{part}: {text} {near:?}");
    }
    seen.dedup();
    assert_eq!(seen.len(), 3, "each place has its own");
    drop(browser);
    collector.stop();
}

/// A counter with a factor and one that hangs below zero.
fn traffic(site: &Site, end: i64) {
    let counter =
        |name: &str| FieldSpec { kind: FieldType::Derive, ..FieldSpec::gauge(name, name) };
    let mut spec = ServiceSpec::new("if_eth0", "Traffic", "network")
        .vlabel("bits in (-) / out (+) per ${graph_period}")
        .fields(vec![
            counter("down").cdef("down,8,*").hidden(),
            counter("up").cdef("up,8,*").negative("down"),
        ]);
    spec.step_ms = 60_000;
    let layout =
        Layout::new(vec![FieldKey::new("if_eth0", "down"), FieldKey::new("if_eth0", "up")]);
    let (mut cells, mut writer) = (Cells::new(), FrameWriter::default());
    writer.start("web1", 1, 1);
    writer.announce(&Announce { services: vec![spec], ..Announce::default() });
    writer.layout(&layout);
    for i in 0..60 {
        cells.clear();
        cells.push(Value::Int(6000 * i));
        cells.push(Value::Int(1500 * i * (1 + i % 2)));
        writer.row(layout.id(), end - (60 - i) * 60_000, &cells);
    }
    let body = writer.finish().to_vec();
    let url = format!("{}/api/v1/ingest", site.url());
    let answer =
        http(|c| c.post(url).bearer_auth("sesame").header("content-type", CONTENT_TYPE).body(body));
    assert_eq!(answer.expect("an answer").status, 200);
}

#[test]
fn legend_table_api_and_all_texts_give_one_number() {
    let site = Site::new();
    let collector = site.collector("");
    let now = now_ms();
    traffic(&site, now);
    let (from, to) = (now - 3_600_000, now);
    let span = format!("from={from}&to={to}");
    // 6000 bytes a minute are 800 bits a second, whoever tells it.
    let svg = get(&format!("{}/graph/web1/if_eth0.svg?{span}", site.url())).text();
    assert!(svg.contains("down Cur 800 b/s, Min 800 b/s, Avg 800 b/s, Max 800 b/s"), "{svg}");
    let page = get(&format!("{}/node/web1/if_eth0?{span}", site.url())).text();
    let row = page.split("id=\"field-down\"").nth(1).expect("a row");
    let row = row.split("</tr>").next().expect("a row");
    assert_eq!(row.matches(">800 b/s<").count(), 4, "cur, min, avg, max: {row}");
    let total = "2.83 Mb";
    assert!(row.contains(total) && svg.contains(total), "59 times 6000 bytes: {row}");
    let ask = |query: &str| {
        let url = format!("{}/api/v1/{query}&node=web1&service=if_eth0", site.url());
        get(&url).json()
    };
    let drawn = ask(&format!("rollup?{span}&drawn=1&field=down"));
    let means = drawn["fields"][0]["mean"].as_array().expect("means");
    assert!(means.iter().filter_map(|v| v.as_f64()).all(|v| v == 800.0), "{drawn}");
    let raw = ask(&format!("rollup?{span}&field=down"));
    assert!(raw["fields"][0]["mean"].as_array().expect("means").contains(&json!(100.0)), "{raw}");
    let services = get(&format!("{}/api/v1/services?node=web1&service=if_eth0", site.url())).json();
    assert_eq!(services[0]["fields"][0]["value"], 800.0);
    let node = get(&format!("{}/node/web1", site.url())).text();
    assert!(node.contains("now up "), "the alt text has numbers: {node}");
    // A field by itself is drawn as among the others.
    let alone = get(&format!("{}/graph/web1/if_eth0.svg?{span}&field=down", site.url())).text();
    assert!(alone.contains("down Cur 800 b/s"), "{alone}");
    let term = get(&format!("{}/graph/web1/if_eth0.txt?{span}", site.url())).text();
    assert!(term.contains("800 b/s") && term.contains(total), "{term}");
    let mixed = get(&format!("{}/graph.svg?f=web1/if_eth0/down&{span}", site.url())).text();
    assert!(mixed.contains("down Cur 800 b/s"), "{mixed}");
    let sum = get(&format!("{}/graph.svg?f=sum:/if_eth0/*&{span}", site.url())).text();
    assert!(sum.contains("down Cur 800 b/s"), "{sum}");
    collector.stop();
}

#[test]
fn a_graph_that_ends_now_is_drawn_anew() {
    let site = Site::new();
    let collector = site.collector("");
    post_minutes(&site, "db1", "busy", now_ms(), &[5.0; 30]);
    let mut browser = Browser::start(1300, 900);
    browser.open(&format!("{}/node/db1/disk?from=-15m&to=now", site.url()));
    browser.wait(LOADED);
    browser.wait("document.querySelector('.zoom img').complete");
    post_minutes(&site, "db1", "busy", now_ms(), &[777.0]);
    browser.wait("document.querySelector('.zoom img').src.includes('&t=')");
    let told = "(async () => { const i = document.querySelector('.zoom img'); \
                return (await (await fetch(i.currentSrc)).text()).includes('Cur 777') })()";
    assert_eq!(browser.eval(told), true);
    drop(browser);
    collector.stop();
}
