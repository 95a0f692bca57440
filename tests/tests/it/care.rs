//! Looking after a history that is in use: backup, verify, damage.

use crate::support::{Site, bin, http, run, stdout};
use std::os::unix::fs::FileExt;
use std::process::Command;

fn rookery(args: &[&str]) -> (i32, String) {
    let output = run(Command::new(bin("rookery")).args(args));
    let text = [output.stdout, output.stderr].concat();
    (output.status.code().expect("exits"), String::from_utf8_lossy(&text).into_owned())
}

fn post(site: &Site, from: i64) {
    let samples: Vec<String> = (from..from + 1000)
        .map(|i| {
            let value = (1_u64 << 53) + 1 + i as u64;
            format!(
                "{{\"service\":\"s\",\"field\":\"f\",\"time_ms\":{},\"value\":{value}}}",
                i * 1000
            )
        })
        .collect();
    let body = format!("{{\"node\":\"n\",\"samples\":[{}]}}", samples.join(","));
    assert_eq!(site.post(&body).map(|a| a.status), Some(200));
}

fn seal(site: &Site) {
    let url = format!("{}/api/v1/seal", site.url());
    assert_eq!(http(|c| c.post(url).bearer_auth("sesame")).map(|a| a.status), Some(200));
}

#[test]
fn a_backup_of_a_running_collector_opens_and_damage_is_named() {
    let site = Site::new();
    let collector = site.collector("");
    let (data, copy) = (site.path("data"), site.path("copy"));
    let (data, copy) = (data.to_str().expect("UTF-8"), copy.to_str().expect("UTF-8"));
    post(&site, 0);
    seal(&site);
    post(&site, 5000);
    let all = site.export("n", "s");
    assert_eq!(all.len(), 2000);
    let ask = "SELECT time, field, value FROM samples WHERE node = 'n' AND service = 's'";
    let text = stdout(Command::new(bin("rookery")).args(["sql", "--data", data, ask]));
    let want = all.iter().map(|(time, field, value)| format!("{time},{field},{value}\n"));
    assert_eq!(text, format!("time,field,value\n{}", want.collect::<String>()), "as exported");
    let text = stdout(Command::new(bin("rookery")).args(["backup", "--data", data, copy]));
    println!("{text}");
    let (code, text) = rookery(&["verify", "--data", data]);
    assert_eq!(code, 0, "{text}");
    collector.stop();

    // The copy, in the place of the history.
    let (gone, lost) = (site.path("lost"), site.path("data"));
    std::fs::rename(&lost, &gone).expect("renames");
    std::fs::rename(site.path("copy"), &lost).expect("renames");
    let collector = site.collector("");
    assert_eq!(site.export("n", "s"), all);
    collector.stop();

    // One byte in each block of the sealed month.
    let month = lost.join("periods/1970-01.sqlite");
    let bytes = std::fs::read(&month).expect("reads");
    let file = std::fs::File::options().write(true).open(&month).expect("a month");
    let is_block = |at: &usize| &bytes[*at..*at + 3] == b"RKB";
    for at in (0..bytes.len() - 100).filter(is_block) {
        let byte = bytes[at + 30] ^ 0x10;
        file.write_all_at(&[byte], at as u64 + 30).expect("writes");
    }
    let (code, text) = rookery(&["verify", "--data", data]);
    println!("{text}");
    assert_eq!(code, 1, "{text}");
    assert!(text.contains("damaged: n s.f from 1970-01-01T00:00:00.000Z"), "{text}");
    // It opens all the same, and takes and gives what is whole.
    let collector = site.collector("");
    post(&site, 9000);
    let later = run(Command::new(bin("rookery"))
        .args(["export", "--node", "n", "--service", "s", "--from", "5000", "--to", "now"])
        .args(["--url", &site.url()]));
    let text = String::from_utf8_lossy(&later.stdout).into_owned();
    assert!(text.lines().count() > 1000, "{text}");
    collector.stop();
}
