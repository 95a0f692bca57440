//! kill -9 of collector and agent, at random moments, fifty rounds: nothing
//! that was acknowledged is lost, doubled or changed, and nothing is invented.

use crate::support::{Proc, Site, executable, http, wait_for};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

const ROUNDS: u32 = 50;

/// An agent has this in memory only, ms: see its shipper's text; and a plugin's
/// own run.
const IN_MEMORY_MS: i64 = 500;

/// Numbers that look random, always the same ones (xorshift64*).
pub struct Dice(pub u64);

impl Dice {
    /// The next one, from 0 on.
    pub fn next(&mut self, below: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 33) % below
    }
}

pub fn now_ms() -> i64 {
    jiff::Timestamp::now().as_millisecond()
}

/// What was sent, by time: the value, and whether it was acknowledged.
type Sent = BTreeMap<i64, (u64, bool)>;

/// POSTs batch after batch until it is told to stop.
fn poster(url: String, stop: Arc<AtomicBool>) -> std::thread::JoinHandle<Sent> {
    std::thread::spawn(move || {
        let mut sent = Sent::new();
        let first = now_ms() - 80_000_000;
        let mut n: u64 = 0;
        while !stop.load(Ordering::Relaxed) {
            let mut body = "{\"node\":\"poster\",\"samples\":[".to_owned();
            let from = n;
            for i in 0..50 {
                let (time, value) = (first + n as i64, (1_u64 << 53) + 1 + n);
                let comma = if i > 0 { "," } else { "" };
                let _ = write!(
                    body,
                    "{comma}{{\"service\":\"s\",\"field\":\"f\",\"time_ms\":{time},\"value\":{value}}}"
                );
                sent.insert(time, (value, false));
                n += 1;
            }
            body.push_str("]}");
            // The same batch again until it is taken: that must change nothing.
            while !stop.load(Ordering::Relaxed) {
                let answer = http(|c| {
                    c.post(format!("{url}/api/v1/ingest"))
                        .bearer_auth("sesame")
                        .header("content-type", "application/json")
                        .body(body.clone())
                });
                match answer.map(|a| a.status) {
                    Some(200) => {
                        for k in from..n {
                            if let Some(s) = sent.get_mut(&(first + k as i64)) {
                                s.1 = true;
                            }
                        }
                        break;
                    }
                    Some(503) | None => std::thread::sleep(Duration::from_millis(5)),
                    Some(status) => panic!("{status}"),
                }
            }
        }
        sent
    })
}

pub const PLUGIN: &str = r#"#!/bin/sh
[ "$1" = config ] && echo 'graph_title S' && echo 'n.label n' && exit
n=$(( $(cat DIR/n 2>/dev/null || echo 9007199254740992) + 1 ))
echo $n > DIR/n.new && mv DIR/n.new DIR/n
echo "$(date +%s%3N) $n" >> DIR/said
echo n.value $n
"#;

fn start_agent(site: &Site) -> Proc {
    site.agent("n1", "step = \"100ms\"\nplugin_step = \"100ms\"\n")
}

/// The collector alone, more often, while it also seals and packs: kills fall
/// into every part of that.
#[test]
fn two_hundred_kills_of_the_collector_lose_nothing_acknowledged() {
    let site = Site::new();
    let mut dice = Dice(0x00DE_C0DE_0BAD);
    let stop = Arc::new(AtomicBool::new(false));
    let mut collector = site.collector("");
    let posting = poster(site.url(), stop.clone());
    let sealing = std::thread::spawn({
        let (stop, url) = (stop.clone(), format!("{}/api/v1/seal", site.url()));
        move || {
            let mut sealed = 0;
            while !stop.load(Ordering::Relaxed) {
                let answer = http(|c| c.post(&url).bearer_auth("sesame"));
                sealed += u32::from(answer.is_some_and(|a| a.status == 200));
                std::thread::sleep(Duration::from_millis(20));
            }
            sealed
        }
    });
    let mut slowest = Duration::ZERO;
    for _ in 0..200 {
        std::thread::sleep(Duration::from_millis(dice.next(200)));
        collector.kill9();
        let start = Instant::now();
        collector = site.collector("");
        slowest = slowest.max(start.elapsed());
    }
    stop.store(true, Ordering::Relaxed);
    let sent = posting.join().expect("the poster");
    let sealed = sealing.join().expect("the sealer");
    assert!(slowest < Duration::from_secs(10), "opens within seconds, not in {slowest:?}");
    assert!(sealed > 20, "only {sealed} sealings came to their end");
    check_posted(&site, &sent);
    collector.stop();
    println!("{} samples sent, {sealed} sealings, slowest start {slowest:?}", sent.len());
}

#[test]
fn fifty_kills_lose_nothing_acknowledged() {
    let site = Site::new();
    std::fs::create_dir(site.path("state")).expect("a folder");
    let dir = site.path("state").display().to_string();
    executable(&site.path("plugins/series"), &PLUGIN.replace("DIR", &dir));
    std::process::Command::new("chmod").args(["-R", "a+rwX", &dir]).status().expect("chmod");

    let mut dice = Dice(0x005E_ED0F_0DD5);
    let stop = Arc::new(AtomicBool::new(false));
    let mut collector = site.collector("");
    let mut agent = start_agent(&site);
    let posting = poster(site.url(), stop.clone());
    let mut kills: Vec<i64> = Vec::new();
    for round in 0..ROUNDS {
        std::thread::sleep(Duration::from_millis(50 + dice.next(500)));
        if round % 2 == 0 {
            collector.kill9();
            std::thread::sleep(Duration::from_millis(dice.next(200)));
            let start = Instant::now();
            collector = site.collector("");
            assert!(start.elapsed() < Duration::from_secs(10), "opens within seconds");
        } else {
            kills.push(now_ms());
            agent.kill9();
            agent = start_agent(&site);
        }
    }
    stop.store(true, Ordering::Relaxed);
    let sent = posting.join().expect("the poster");
    // Batches come in order: when a later value is there, all before are.
    let last = last_said(&dir);
    wait_for("the agent's newer values", Duration::from_secs(60), || {
        let rows = site.export("n1", "series");
        rows.iter().any(|(_, _, v)| v.parse::<u64>().is_ok_and(|v| v > last)).then_some(())
    });
    agent.stop();

    check_posted(&site, &sent);
    check_agent(&site, &dir, &kills);
    collector.stop();
}

fn said(dir: &str) -> Vec<(i64, u64)> {
    let text = std::fs::read_to_string(format!("{dir}/said")).unwrap_or_default();
    let line = |l: &str| {
        let (time, n) = l.split_once(' ')?;
        Some((time.parse().ok()?, n.parse().ok()?))
    };
    text.lines().filter_map(line).collect()
}

pub fn last_said(dir: &str) -> u64 {
    said(dir).last().map_or(0, |(_, n)| *n)
}

fn check_posted(site: &Site, sent: &Sent) {
    let acked = sent.values().filter(|(_, acked)| *acked).count();
    assert!(acked > 1000, "only {acked} were acknowledged");
    let mut found = BTreeMap::new();
    for (time, _, value) in site.export("poster", "s") {
        assert!(found.insert(time, value.clone()).is_none(), "{time} is doubled");
        let (want, _) = sent.get(&time).unwrap_or_else(|| panic!("{time} was never sent"));
        assert_eq!(value, want.to_string(), "at {time}");
    }
    let is_lost = |(time, (_, acked)): &(&i64, &(u64, bool))| *acked && !found.contains_key(*time);
    let lost: Vec<i64> = sent.iter().filter(is_lost).map(|(time, _)| *time).collect();
    assert!(lost.is_empty(), "{} of {acked} were acknowledged and are lost: {lost:?}", lost.len());
}

/// A run that was begun before a kill ends so long after it, on a busy machine, ms.
const ORPHAN_MS: i64 = 2000;

pub fn check_agent(site: &Site, dir: &str, kills: &[i64]) {
    let said = said(dir);
    let mut found: BTreeMap<u64, i64> = BTreeMap::new();
    for (time, _, value) in site.export("n1", "series") {
        let value = value.parse().expect("an integer");
        assert!(found.insert(value, time).is_none(), "{value} is doubled");
        assert!(said.iter().any(|(_, n)| *n == value), "{value} was never said");
    }
    let mut lost = 0;
    // A plugin's run outlives its agent, and may say one more value to nobody.
    let mut orphans: Vec<i64> = kills.to_vec();
    for (time, n) in &said {
        if !found.contains_key(n) {
            lost += 1;
            let near = kills.iter().any(|k| (*k - IN_MEMORY_MS..*k).contains(time));
            let of = orphans.iter().position(|k| (*k..*k + ORPHAN_MS).contains(time));
            let is_orphan = !near && of.map(|i| orphans.remove(i)).is_some();
            // The last one may have been said as the agent was stopped.
            let is_last = *n >= last_said(dir) - 1;
            assert!(near || is_orphan || is_last, "{n}, said at {time}, is lost: {kills:?}");
        }
    }
    println!(
        "{} values said by the plugin, {lost} lost in memory at {} kills",
        said.len(),
        kills.len()
    );
}
