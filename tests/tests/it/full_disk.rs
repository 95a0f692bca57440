//! A disk that is full: nothing is acknowledged that is not kept, what was kept
//! stays readable, and when there is room again it goes on.

use crate::support::{Site, run, wait_for};
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const SAMPLES: i64 = 1000;

/// A small filesystem in memory; unmounted when dropped.
struct Small(PathBuf);

impl Small {
    fn mount(path: &Path) -> Small {
        std::fs::create_dir_all(path).expect("a folder");
        let small = Small(path.to_owned());
        small.command(&["-t", "tmpfs", "-o", "size=8m", "tmpfs"]);
        small
    }

    fn grow(&self) {
        self.command(&["-o", "remount,size=200m"]);
    }

    fn command(&self, args: &[&str]) {
        let output = run(Command::new("mount").args(args).arg(&self.0));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "mount {args:?} (root is needed): {text}");
    }
}

impl Drop for Small {
    fn drop(&mut self) {
        run(Command::new("umount").arg("-l").arg(&self.0));
    }
}

/// POSTs one batch that compresses badly; whether it was taken.
fn post(site: &Site, batch: i64) -> Result<(), String> {
    let mut body = "{\"node\":\"n\",\"samples\":[".to_owned();
    for i in 0..SAMPLES {
        let k = batch * SAMPLES + i;
        let comma = if i > 0 { "," } else { "" };
        let _ = write!(
            body,
            "{comma}{{\"service\":\"s\",\"field\":\"f\",\"time_ms\":{},\"value\":{}}}",
            1_700_000_000_000 + k * 1000,
            value(k)
        );
    }
    body.push_str("]}");
    let answer = site.post(&body).expect("it still answers");
    match answer.status {
        200 => Ok(()),
        503 => Err(answer.text()),
        status => panic!("{status}: {}", answer.text()),
    }
}

/// Looks random, and is always the same for the same `k`.
fn value(k: i64) -> i64 {
    (k.wrapping_mul(0x5851_F42D_4C95_7F2D) ^ (k << 17)).wrapping_mul(0x2545_F491_4F6C_DD1D)
}

fn check(site: &Site, taken: &[i64], refused: &[i64]) {
    let rows = site.export("n", "s");
    let found: std::collections::BTreeMap<i64, String> =
        rows.iter().map(|(t, _, v)| ((t - 1_700_000_000_000) / 1000, v.clone())).collect();
    assert_eq!(found.len(), rows.len(), "none is doubled");
    for batch in taken {
        for k in batch * SAMPLES..(batch + 1) * SAMPLES {
            assert_eq!(found.get(&k), Some(&value(k).to_string()), "sample {k}, acknowledged");
        }
    }
    let known = |k: &i64| taken.contains(&(k / SAMPLES)) || refused.contains(&(k / SAMPLES));
    assert!(found.keys().all(known), "none is invented");
}

#[test]
fn nothing_is_acknowledged_on_a_full_disk_and_it_goes_on() {
    let site = Site::new();
    let small = Small::mount(&site.path("data"));
    let collector = site.collector("");
    let (mut taken, mut refused) = (Vec::new(), Vec::new());
    let mut text = String::new();
    for batch in 0..1000 {
        match post(&site, batch) {
            Ok(()) => taken.push(batch),
            Err(e) => {
                refused.push(batch);
                text = e;
            }
        }
        if refused.len() == 5 {
            break;
        }
    }
    assert_eq!(refused.len(), 5, "8 MB are not full after {} batches", taken.len());
    println!("full after {} batches: {text}", taken.len());
    assert!(text.contains("full"), "{text}");
    check(&site, &taken, &refused);

    small.grow();
    let next = 2000;
    wait_for("room again", Duration::from_secs(60), || post(&site, next).ok());
    taken.push(next);
    check(&site, &taken, &refused);
    // What was refused is sent again, as agents do.
    for batch in std::mem::take(&mut refused) {
        post(&site, batch).expect("there is room");
        taken.push(batch);
    }
    check(&site, &taken, &refused);
    collector.kill9();
    let collector = site.collector("");
    check(&site, &taken, &refused);
    collector.stop();
}
