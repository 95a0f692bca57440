//! Tests of finding out where a log has its response times.

use super::super::line::parse;
use super::*;
use proptest::prelude::*;

/// What a clock makes of `n` lines that end so; the times, us, and the remark.
fn times(said: Said, n: usize, end: impl Fn(usize) -> (u64, String)) -> (Vec<u64>, String) {
    let mut clock = Clock::new(said);
    let mut all = vec![];
    for i in 0..n {
        let (bytes, end) = end(i);
        let line = format!("10.0.0.1 - - [x] \"GET / HTTP/1.1\" 200 {bytes} {end}");
        let request = parse(line.as_bytes()).expect("reads");
        match clock.look(request.time, request.bytes, line.as_bytes()) {
            Verdict::Took(took) => all.extend(took),
            Verdict::Waits => {}
            Verdict::Found(lines) => {
                let of = |line: &Vec<u8>| clock.took(parse(line)?.time);
                all.extend(lines.iter().filter_map(of));
            }
        }
    }
    (all, clock.remark)
}

fn unsaid(n: usize, end: impl Fn(usize) -> (u64, String)) -> (Vec<u64>, String) {
    times(Said::Nothing, n, end)
}

const AGENTS: &str = "\"-\" \"curl/8 (x y)\"";

#[test]
fn seconds_with_a_fraction_are_found_at_once() {
    for (end, want) in [
        (format!("{AGENTS} 0.004"), 4_000),
        (format!("{AGENTS} 3.000001 \"-\""), 3_000_001),
        (format!("{AGENTS} \"10.0.0.9\" rt=0.250 ut=\"0.100\""), 250_000),
        // ingress-nginx: the length of the request stands before its time.
        (
            format!(
                "{AGENTS} 512 0.012 [web-80] [] 10.1.2.3:80, 10.1.2.4:80 0, 7 0.001, 0.011 502, 200 ab"
            ),
            12_000,
        ),
        // Traefik: the number of the request, and a unit.
        (format!("{AGENTS} 17 \"router@docker\" \"http://10.0.0.2:80\" 12ms"), 12_000),
    ] {
        assert_eq!(unsaid(2, |_| (100, end.clone())), (vec![want; 2], String::new()), "{end}");
    }
    // A date, a ratio and a version are no times.
    let (none, _) = unsaid(300, |_| (100, format!("{AGENTS} 1795283327.844 2.54 1.2.3")));
    assert_eq!(none, [0; 0]);
}

#[test]
fn bytes_are_no_times() {
    // combinedio: bytes received and sent, heads included.
    let io = |i: usize| {
        let bytes = 100 + (i as u64 * 7919) % 90_000;
        (bytes, format!("{AGENTS} {} {}", 300 + i % 90, bytes + 230 + i as u64 % 40))
    };
    assert_eq!(unsaid(500, io), (vec![], String::new()));
    let with_time = |i: usize| (io(i).0, format!("{} {}", io(i).1, 2_000 + i));
    assert_eq!(unsaid(12, with_time).0, (0..12).map(|i| 2_000 + i).collect::<Vec<u64>>());
    // Bytes sent alone.
    let sent = |i: usize| (io(i).0, format!("{AGENTS} {}", io(i).0 + 250));
    assert_eq!(unsaid(500, sent).0, [0; 0]);
}

#[test]
fn whole_numbers_are_microseconds_only_if_they_can_be_nothing_else() {
    let of = |value: fn(u64) -> u64| {
        unsaid(250, move |i| ((i as u64 * 7919) % 90_000, format!("{AGENTS} {}", value(i as u64))))
    };
    assert_eq!(of(|i| 5_000 + i * 31).0.len(), 250);
    assert_eq!(of(|i| 150 + (i % 10) * (i % 10) * 1_000).0.len(), 250, "one took 81 ms, or 81 s");
    for (value, what) in [
        ((|i| 20 + i % 300) as fn(u64) -> u64, "milliseconds of an application, or quick files"),
        (|i| u64::from(i % 50 == 0), "whole seconds"),
        (|i| i % 400, "with a 0"),
    ] {
        let (times, remark) = of(value);
        assert_eq!(times, [0; 0], "{what}");
        assert!(remark.contains("say which by time"), "{what}: {remark}");
    }
    // Two that nothing tells apart.
    let (times, remark) = unsaid(250, |i| (5, format!("{AGENTS} {} {}", 1 + i, 900_000 + i)));
    assert_eq!((times.len(), remark.contains("say so by format")), (0, true));
}

#[test]
fn what_is_said_counts() {
    let end = |text: &'static str| move |_| (100u64, format!("{AGENTS} {text}"));
    let said = |time, format| Said::read(time, format).expect("reads");
    assert_eq!(times(said(Some("ms"), None), 12, end("7")).0, [7_000; 12]);
    assert_eq!(times(said(Some("s"), None), 12, end("7")).0, [7_000_000; 12]);
    assert_eq!(times(said(Some("none"), None), 300, end("0.004")).0, [0; 0]);
    let format = "%h %l %u %t \"%r\" %>s %b \"%{Referer}i\" \"%{User-Agent}i\" %I %D";
    assert_eq!(times(said(None, Some(format)), 1, end("9 15")).0, [15]);
    assert_eq!(times(said(Some("ms"), Some(format)), 1, end("9 15")).0, [15_000], "Tomcat's %D");
    assert_eq!(times(said(None, Some("combinedio")), 300, end("9 15")).0, [0; 0]);
    assert!(Said::read(Some("hours"), None).is_err_and(|e| e.contains("time = \"hours\"")));
}

#[test]
fn a_time_that_comes_late_is_found_all_the_same() {
    // $upstream_response_time is - for each file that nginx serves itself.
    let (times, _) = unsaid(3_000, |i| {
        let time = if i % 900 == 899 { "0.004" } else { "-" };
        (100, format!("{AGENTS} {time}"))
    });
    assert_eq!(times, [4_000; 3]);
}

#[test]
fn a_format_that_changes_is_found_out_again() {
    let n = SURPRISES_MAX as usize + 20;
    let (times, _) = unsaid(2 * n, |i| match i < n {
        true => (100, format!("{AGENTS} 0.004")),
        false => (100, format!("{AGENTS} 77 [x] 0.005")),
    });
    assert_eq!(times.iter().filter(|us| **us == 5_000).count(), n - SURPRISES_MAX as usize - 1);
}

proptest! {
    #[test]
    fn tails_never_panic(ends in proptest::collection::vec("[ \"\\[\\]0-9.=ms-]{0,30}", 1..40)) {
        for said in [Said::Nothing, Said::Unit(Unit::Us), Said::Unit(Unit::S)] {
            let _ = times(said, ends.len(), |i| (5, ends[i].clone()));
        }
    }
}
