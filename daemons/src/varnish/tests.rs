//! Tests of Varnish's probe with a script in the place of varnishstat.

use super::*;
use crate::support::testing::{Said, ask, make};
use rookery_plugins::{Probe, Value};
use std::path::PathBuf;

fn file(name: &str) -> String {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata/varnish");
    folder.join(name).display().to_string()
}

fn made(instance: &str, more: &str) -> Box<dyn Probe> {
    let program = file("varnishstat");
    make("varnish", &format!("program = {program:?}\ninstance = {instance:?}\n{more}"))
}

fn said(instance: &str) -> Result<Said, ProbeError> {
    ask(made(instance, "").as_mut())
}

#[test]
fn a_recorded_one_is_read() {
    let (specs, values) = said(&file("1.varnishstat.json")).expect("answers");
    for (name, want) in [
        ("varnish_request_rate.cache_hit", 960),
        ("varnish_request_rate.client_req", 1100),
        ("varnish_dropped.sess_queued", 8),
        ("varnish_threads.threads", 95),
        ("varnish_memory_usage.SMA_s0_g_space", 16_777_216),
        ("varnish_memory_usage.SMA_Transient_g_bytes", 22_568),
        ("varnish_backend_traffic.backend_conn", 20),
        ("varnish_backend_requests.default", 140),
        ("varnish_backend_errors.default", 0),
    ] {
        assert_eq!(values[name], Value::Int(want), "{name}");
    }
    assert_eq!(values["varnish_hit_rate.hit_ratio"], Value::Unknown);
    assert!(specs.iter().all(|s| s.name != "varnish_backend_health"), "it has no probe");
    let (_, old) = said(&format!("old:{}", file("1.varnishstat.json"))).expect("without -t");
    assert_eq!(old, values);
}

#[test]
fn other_versions_are_read_rightly() {
    let versions =
        [("4.0.5", None), ("4.1.11", None), ("6.5.1", None), ("7.7.0", Some(Value::Int(8)))];
    for (version, none) in versions {
        let (_, values) = said(&file(&format!("{version}/varnishstat.json"))).expect("answers");
        for (name, want) in [
            ("varnish_request_rate.client_req", 39),
            ("varnish_request_rate.cache_hit", 29),
            ("varnish_request_rate.cache_miss", 10),
            ("varnish_backend_requests.web", 6),
            ("varnish_backend_health.web", 8),
            ("varnish_memory_usage.SMA_s0_g_space", 16_777_216),
        ] {
            // 4.0 does not count a backend's requests: no empty graph of them.
            if version == "4.0.5" && name == "varnish_backend_requests.web" {
                assert!(!values.contains_key(name));
                continue;
            }
            let value = values.get(name).unwrap_or_else(|| panic!("{version}: {name}"));
            match name {
                // What is stored is not in the free space.
                "varnish_memory_usage.SMA_s0_g_space" => {
                    let stored = values["varnish_memory_usage.SMA_s0_g_bytes"];
                    let (Value::Int(free), Value::Int(stored)) = (value, stored) else {
                        panic!("{version}: no numbers")
                    };
                    assert_eq!(free + stored, want, "{version}");
                }
                _ => assert_eq!(value, &Value::Int(want), "{version}: {name}"),
            }
        }
        // It has no probe: 7.7 says that it is well, and so says the text.
        assert_eq!(values.get("varnish_backend_health.none").copied(), none, "{version}");
    }
}

#[test]
fn output_that_breaks_off_is_an_error() {
    for version in ["4.0.5", "4.1.11", "6.5.1", "7.7.0"] {
        let text = crate::support::testing::reply(&format!("varnish/{version}/varnishstat.json"));
        let text = text.trim_end();
        for at in (0..text.len()).step_by(97).chain(text.len() - 9..text.len()) {
            assert!(
                Counters::parse(&text[..at], &mut Odd::default()).is_err(),
                "{version} cut at {at}"
            );
        }
    }
}

#[test]
fn a_backend_that_was_well_once_stays() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("stat.json");
    let mut probe = made(&path.display().to_string(), "");
    let mut health = |happy: u64| {
        let text = format!(
            "{{\"MAIN.client_req\": {{\"value\": 1}}, \
             \"VBE.boot.web.happy\": {{\"value\": {happy}}}}}"
        );
        std::fs::write(&path, text).expect("writes");
        let (_, values) = ask(probe.as_mut()).expect("answers");
        values.get("varnish_backend_health.web").copied()
    };
    assert_eq!(health(0), None);
    assert_eq!(health(0xffff_ff1f), Some(Value::Int(5)));
    assert_eq!(health(0), Some(Value::Int(0)));
}

#[test]
fn a_failure_counts_once() {
    let dir = tempfile::tempdir().expect("a folder");
    let path = dir.path().join("stat.json");
    for (counters, want) in [
        ("\"VBE.boot.web.fail\": {\"value\": 5}", 5),
        ("\"VBE.boot.web.fail\": {\"value\": 5}, \"VBE.boot.web.fail_other\": {\"value\": 5}", 5),
        ("\"VBE.boot.web.fail\": {\"value\": 0}, \"VBE.boot.web.fail_other\": {\"value\": 5}", 5),
        ("\"VBE.boot.web.busy\": {\"value\": 2}, \"VBE.boot.web.fail\": {\"value\": 5}", 7),
    ] {
        let text = format!(
            "{{\"MAIN.client_req\": {{\"value\": 1}}, {counters}, \
             \"VBE.boot.web.happy\": {{\"value\": 0}}}}"
        );
        std::fs::write(&path, text).expect("writes");
        let (_, values) = said(&path.display().to_string()).expect("answers");
        assert_eq!(values["varnish_backend_errors.web"], Value::Int(want), "{counters}");
    }
}

#[test]
fn refusals_are_told() {
    for (instance, want) in [
        ("none", "Could not get hold of varnishd, is it running? Is it what varnishd was given"),
        ("silent", "does not print JSON"),
        ("flood", "it prints more than"),
        ("/dev/null", "does not print JSON"),
    ] {
        let error = said(instance).expect_err(want);
        assert!(matches!(error, ProbeError::Failed(_)));
        assert!(error.to_string().contains(want), "{error}");
    }
    let error = ask(made("hang", "timeout = \"100ms\"").as_mut()).expect_err("hangs");
    assert!(error.to_string().contains("did not end in time"), "{error}");
}

#[test]
fn without_varnish_it_is_not_here() {
    let mut probe = make("varnish", "program = \"/no/such/varnishstat\"");
    assert!(matches!(ask(probe.as_mut()), Err(ProbeError::NotHere(_))));
    let mut probe = make("varnish", "program = \"/no/such/varnishstat\"\ninstance = \"x\"");
    assert!(matches!(ask(probe.as_mut()), Err(ProbeError::Failed(_))));
    let dir = tempfile::tempdir().expect("a folder");
    let host = Host { proc: dir.path().to_owned(), ..Host::default() };
    assert!(!is_running(&host));
    std::fs::create_dir(dir.path().join("7")).expect("a folder");
    std::fs::write(dir.path().join("7/comm"), "varnishd\n").expect("writes");
    assert!(is_running(&host));
}
