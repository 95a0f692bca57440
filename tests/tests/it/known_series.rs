//! A plugin emits a series that is known beforehand; the collector is away in
//! the middle; every value comes out of the export again.

use crate::support::{Site, executable, wait_for};
use std::fmt::Write;
use std::time::Duration;

/// Values that floats, rounding or text would damage.
const VALUES: [[&str; 3]; 6] = [
    ["9007199254740993", "0.1", "U"],
    ["18446744073709551615", "-0.0", "7"],
    ["-9223372036854775808", "1e-320", "U"],
    ["9223372036854775807", "123456789.12345679", "8"],
    ["9007199254740995", "2.5", "-1"],
    ["0", "1e300", "U"],
];

/// Each fetch says the next line of the file, with the time it names itself,
/// and notes what it has said.
const PLUGIN: &str = r#"#!/bin/sh
if [ "$1" = config ]; then
  echo 'graph_title Known series'
  echo 'big.label big'; echo 'dec.label dec'; echo 'odd.label odd'; echo 'plain.label plain'
  exit
fi
n=$(( $(cat DIR/n 2>/dev/null || echo 0) + 1 ))
now=$(( $(cat DIR/start) + n ))
set -- $(sed -n "${n}p" DIR/values)
echo "$n" > DIR/n.new && mv DIR/n.new DIR/n
echo "big.value $now:$1"; echo "dec.value $now:$2"; echo "odd.value $now:$3"
echo "plain.value $1"
echo "$now $1 $2 $3" >> DIR/said
"#;

type Row = (i64, String, String);

fn values_of(rows: &[Row], field: &str) -> Vec<(i64, String)> {
    let of = rows.iter().filter(|(_, f, _)| f == field);
    of.map(|(t, _, v)| (*t, v.clone())).collect()
}

fn said(site: &Site) -> Vec<Vec<String>> {
    let text = std::fs::read_to_string(site.path("state/said")).unwrap_or_default();
    text.lines().map(|l| l.split(' ').map(str::to_owned).collect()).collect()
}

fn wait_said(site: &Site, n: usize) {
    wait_for("the plugin's next values", Duration::from_secs(60), || {
        (said(site).len() >= n).then_some(())
    });
}

#[test]
fn none_lost_none_doubled_none_changed() {
    let site = Site::new();
    std::fs::create_dir(site.path("state")).expect("a folder");
    let mut lines = String::new();
    for round in 0..40 {
        for [big, dec, odd] in VALUES {
            let _ = writeln!(lines, "{big} {dec} {odd}");
        }
        let _ = writeln!(lines, "{} {round}.25 U", (1_u64 << 53) + 1 + round);
    }
    std::fs::write(site.path("state/values"), lines).expect("writes");
    // About now, and never twice the same second however the fetches fall.
    let start = jiff::Timestamp::now().as_second();
    std::fs::write(site.path("state/start"), start.to_string()).expect("writes");
    let dir = site.path("state").display().to_string();
    executable(&site.path("plugins/known"), &PLUGIN.replace("DIR", &dir));
    std::process::Command::new("chmod").args(["-R", "a+rwX", &dir]).status().expect("chmod");

    let collector = site.collector("");
    let agent = site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    wait_said(&site, 7);
    collector.kill9();
    wait_said(&site, 14);
    let collector = site.collector("");
    wait_said(&site, 21);
    // The spool is shipped when the newest value is there.
    let newest = said(&site).last().expect("some").clone();
    wait_for("the newest value", Duration::from_secs(30), || {
        let there = values_of(&site.export("n1", "known"), "big");
        there.iter().any(|(t, _)| *t == newest[0].parse::<i64>().unwrap_or(0) * 1000).then_some(())
    });
    agent.stop();

    let rows = site.export("n1", "known");
    let said = said(&site);
    for (column, field) in [(1, "big"), (2, "dec"), (3, "odd")] {
        let want: Vec<(i64, String)> = said
            .iter()
            .map(|s| {
                let value = if s[column] == "U" { String::new() } else { s[column].clone() };
                (s[0].parse::<i64>().expect("seconds") * 1000, value)
            })
            .collect();
        let got = values_of(&rows, field);
        // What was said as the agent stopped may not have been taken any more.
        assert!(want.len() - got.len() <= 1, "{field}: {} of {}", got.len(), want.len());
        assert_eq!(got, want[..got.len()], "{field}");
    }
    // Without a time of its own a value has that of its reading.
    let plain = values_of(&rows, "plain");
    assert!(plain.windows(2).all(|w| w[0].0 < w[1].0), "times ascend: {plain:?}");
    assert!(said.len() - plain.len() <= 1, "{} of {}", plain.len(), said.len());
    for ((time, value), s) in plain.iter().zip(&said) {
        assert_eq!(value, &s[1]);
        let own = s[0].parse::<i64>().expect("seconds") * 1000;
        assert!((own - 3000..own + 20_000).contains(time), "{time} for {own}");
    }
    // Once more from the sealed history, after a clean stop.
    collector.stop();
    let collector = site.collector("");
    assert_eq!(site.export("n1", "known"), rows, "a restart changes nothing");
    collector.stop();
}
