//! Tests of Squid's probe against made-up cache managers.

use super::*;
use crate::support::testing::{Said, ask, make, reply, serve};
use proptest::prelude::*;
use rookery_plugins::Value;
use std::io::{BufRead, BufReader, Write};

/// Answers each page with what `body` makes of its name.
fn manager(head: &'static str, body: impl Fn(&str) -> String + Send + 'static) -> String {
    serve(move |mut s| {
        let mut line = String::new();
        let _ = BufReader::new(s.try_clone().expect("clones")).read_line(&mut line);
        let name = line.strip_prefix("GET /squid-internal-mgr/").and_then(|l| l.split_once(' '));
        let (name, _) = name.unwrap_or_else(|| panic!("asked {line:?}"));
        let _ = write!(s, "HTTP/1.1 {head}\r\n\r\n{}", body(name));
    })
}

fn said(at: &str) -> Result<Said, ProbeError> {
    ask(make("squid", &format!("address = {at:?}")).as_mut())
}

fn recorded(name: &str) -> String {
    match name {
        "storedir" => reply("squid/1.storedir.txt"),
        name => reply(&format!("squid/3.{name}.txt")),
    }
}

#[test]
fn a_recorded_one_is_read() {
    let (specs, values) = said(&manager("200 OK", recorded)).expect("answers");
    for (name, want) in [
        ("squid_requests.requests", Value::Int(3314)),
        ("squid_requests.hits", Value::Int(960)),
        ("squid_traffic.kbytes_out", Value::Int(1122 * 1024)),
        ("squid_traffic.hit_kbytes_out", Value::Int(313 * 1024)),
        ("squid_servers.server_requests", Value::Int(2340)),
        ("squid_memory.mem_size", Value::Int(376 * 1024)),
        ("squid_times.misses", Value::Float(0.02069 * 1000.0)),
        ("squid_fd.max", Value::Float(20_000.0)),
        ("squid_uptime.uptime", Value::Float(294.981 / 86_400.0)),
        ("squid_hit_ratio.hit_ratio", Value::Unknown),
    ] {
        assert_eq!(values.get(name), Some(&want), "{name}");
    }
    assert!(specs[0].info.starts_with("Squid, Version 5.7. "), "{}", specs[0].info);
    // It has no cache on disk.
    assert!(!specs.iter().any(|s| s.name == "squid_cache" || s.name == "squid_objectsize"));
    let with_disk = |name: &str| recorded(name).replace(": 0 KB\n", ": 100 KB\n");
    let (_, on_disk) = said(&manager("200 OK", with_disk)).expect("answers");
    assert_eq!(on_disk.get("squid_cache.Maximum"), Some(&Value::Int(100 * 1024)));
    assert!(on_disk.contains_key("squid_objectsize.objectsize"));
    let used = specs.iter().find_map(|s| s.field("used")).expect("a field");
    assert_eq!((used.warning.as_deref(), used.critical.as_deref()), (Some("16000"), Some("19000")));
}

#[test]
fn its_own_requests_are_no_misses() {
    // Each reading asks three times, and sees what there was before.
    let mut own = Own::default();
    let mut ratio = Ratio::default();
    let mut reading = |hits: u64, all: u64| {
        let others = own.without(Some(all));
        own.asked += 2;
        ratio.next(Some(hits), others)
    };
    assert_eq!(reading(0, 100), None);
    assert_eq!(reading(0, 103), None, "nobody else asked");
    assert_eq!(reading(3, 110), Some(75.0), "three hits, one miss, three of its own");
    assert_eq!(reading(0, 5), None, "started anew");
    assert_eq!(reading(1, 10), Some(50.0));
}

#[test]
fn room_on_disks_is_read() {
    let text = "Store Directory Statistics:\nStore Entries          : 52\n\
                Maximum Swap Size      : 102400 KB\nCurrent Store Swap Size: 10.50 KB\n\
                Current Capacity       : 0.01% used, 99.99% free\n\nStore Directory #0 (ufs):\n\
                Maximum Size: 5 KB\n";
    let store = Store::parse(text).expect("a page");
    assert_eq!((store.max, store.current), (Some(104_857_600), Some(10_752)));
}

#[test]
fn others_and_refusals_are_told() {
    let at = manager("403 Forbidden", |_| "no".to_owned());
    let error = said(&at).expect_err("refused").to_string();
    assert!(error.contains("HTTP 403; squid.conf needs \"http_access allow localhost manager\""));
    for (page, text) in [
        ("counters", "<html>\n".to_owned()),
        ("counters", String::new()),
        ("counters", recorded("counters")[..600].to_owned()),
        ("info", recorded("info")[..1000].to_owned()),
        ("info", "on-disk objects\n".to_owned()),
        ("storedir", "Store Directory Statistics:\n".to_owned()),
    ] {
        let at = manager("200 OK", move |name| match name == page {
            true => text.clone(),
            false => recorded(name),
        });
        let error = said(&at).expect_err(page).to_string();
        let want = format!("squid at {at}: /squid-internal-mgr/{page} is not its status page");
        assert!(error.starts_with(&want), "{error}");
    }
}

proptest! {
    #[test]
    fn pages_never_panic(text: String, size: f64) {
        let _ = pages::bytes(size);
        let (_, _, _) = (Counters::parse(&text), Info::parse(&text), Store::parse(&text));
        let _ = Info::parse(&format!("Squid Object Cache: Version 5\n{text}\n1 on-disk objects\n"));
    }
}
