//! `rookery alerts test`: rules tried on what was stored.

use crate::crash::now_ms;
use crate::support::{Site, bin, run, stdout};
use std::process::Command;

/// An hour of a field: high for ten minutes, and once for a single sample.
fn hour(site: &Site, first_ms: i64) {
    let value = |i: i64| match i {
        100..160 => 95,
        250 => 99,
        _ => 10,
    };
    let samples: Vec<String> = (0..360)
        .map(|i| {
            let time = first_ms + i * 10_000;
            format!(r#"{{"service":"s","field":"f","value":{},"time_ms":{time}}}"#, value(i))
        })
        .collect();
    let body = format!(r#"{{"node":"web1","samples":[{}]}}"#, samples.join(","));
    let answer = site.post(&body).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

#[test]
fn rules_are_tried_on_the_stored_history() {
    let site = Site::new();
    let collector = site.collector("");
    let first = now_ms() - 4_000_000;
    hour(&site, first);
    let rules = site.path("new.toml");
    let test = |text: &str| {
        std::fs::write(&rules, text).expect("writes");
        let mut command = Command::new(bin("rookery"));
        command.args(["alerts", "test"]).arg(&rules).arg("--data").arg(site.path("data"));
        command.args(["--from", "-2h"]);
        command
    };
    let said = stdout(&mut test("[[rule]]\nservice = \"s\"\ncritical = \"~:90\"\n"));
    let lines: Vec<&str> = said.lines().collect();
    assert_eq!(lines.len(), 3, "{said}");
    // Hard with the third, told half a minute later with all that shares its cause (there
    // is nothing); the single one is told to nobody.
    let at = |i: i64| jiff::Timestamp::from_millisecond(first + i * 10_000).expect("a time");
    let time = |i: i64| at(i).strftime("%Y-%m-%d %H:%M:%S UTC").to_string();
    let want = format!("{} PROBLEM  CRITICAL web1/s: f is 95 (outside ~:90)", time(105));
    assert_eq!(lines[0], want);
    assert!(lines[1].starts_with(&format!("{} RECOVERY OK web1/s", time(160))), "{said}");
    assert!(lines[2].starts_with("1 problems and 1 recoveries would have been told"), "{said}");
    // More patient, less is told; none at a higher limit.
    for patient in ["critical = \"~:90\"\nmax_check_attempts = 100", "critical = \"~:100\""] {
        let said = stdout(&mut test(&format!("[[rule]]\n{patient}\n")));
        assert!(said.starts_with("0 problems and 0 recoveries"), "{said}");
    }
    // As patient as the collector is.
    let patient = "[alerting]\nmax_check_attempts = 100\n";
    std::fs::write(site.path("patient.toml"), patient).expect("writes");
    let mut command = test("[[rule]]\ncritical = \"~:90\"\n");
    let said = stdout(command.arg("--config").arg(site.path("patient.toml")));
    assert!(said.starts_with("0 problems and 0 recoveries"), "{said}");
    let refused = run(&mut test("[[rule]]\ncritical = \">9\"\n"));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(!refused.status.success() && text.contains("new.toml:2: range"), "{text}");
    collector.stop();
}
