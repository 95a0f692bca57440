//! Looking after a history on a disk that fails, or while the power goes:
//! retention, `rookery rebuild`, `rookery backup`, and reading what the disk
//! cannot read. What is not meant to go stays, and each is good when it is done
//! again.
//!
//! The layer under the programs is that of `faults.rs`; so is what
//! `ROOKERY_FAULTS_SEED` does.

use crate::crash::Dice;
use crate::faults::{Keep, Layer, check_after, check_end, number, posters};
use crate::posters::{Poster, check, check_in, check_of};
use crate::support::{Answer, Proc, Site, bin, get, http, run, stdout, wait_for};
use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

/// Batches of each sender: some services, some months.
const BATCHES: usize = 40;

/// A history that is sealed but for its last batches.
fn history(site: &Site) -> Vec<Poster> {
    let collector = site.collector("");
    let mut senders = posters();
    for i in 0..BATCHES {
        send(site, &mut senders);
        if i % 12 == 11 {
            assert_eq!(ask(site, "seal").map(|a| a.status), Some(200));
        }
    }
    collector.stop();
    senders
}

fn send(site: &Site, senders: &mut [Poster]) {
    for sender in senders {
        assert_eq!(sender.post(&site.url()).map(|a| a.status), Some(200));
    }
}

fn ask(site: &Site, what: &str) -> Option<Answer> {
    let url = format!("{}/api/v1/{what}", site.url());
    http(|c| c.post(&url).bearer_auth("sesame").timeout(Duration::from_secs(30)))
}

/// Where and how a round strikes: in turn, at a call by chance.
fn plan(dice: &mut Dice, i: u64, only: &str, most: u64) -> String {
    let (mode, most) = match i % 6 {
        0..3 => ("cut", most),
        3 => ("fsync", most / 8 + 1),
        4 => ("eio", most / 2 + 1),
        _ => ("full", most / 2 + 1),
    };
    let (at, seed, cut) = (1 + dice.next(most), 1 + dice.next(1 << 30), 1 + dice.next(most));
    format!("mode={mode} at={at} for=2 seed={seed} only={only} cut={cut}")
}

/// A program that ends by itself, on the layer. It was killed, or it says why not.
fn on_layer(layer: &Layer, command: &mut Command, dir: &Path, plan: &str) -> Output {
    layer.put_under(command, dir, plan);
    let output = run(command);
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!said.contains("panicked") && !said.contains("BUG"), "{plan}: {said}");
    let told = said.lines().any(|l| l.starts_with("rookery: "));
    assert!(output.status.code().is_none_or(|code| code == 0 || told), "{plan}: {said}");
    output
}

/// Rounds with a layer each: most of them must be struck. `round` strikes by the plan that
/// it is given, and says whether it came to that. `only`, `most`: see [`plan`].
fn rounds(only: &str, most: u64, round: impl Fn(&Site, &Layer, &str) -> bool) {
    let seed = number("ROOKERY_FAULTS_SEED", 1);
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let mut n_struck = 0;
    for i in 0..number("ROOKERY_FAULTS_ROUNDS", 9) {
        let site = Site::new();
        let _keep = Keep(&site);
        let layer = Layer::build(&site);
        n_struck += u64::from(round(&site, &layer, &plan(&mut dice, i, only, most)));
    }
    assert!(n_struck > 4, "only {n_struck} were struck");
}

#[test]
fn retention_takes_only_what_need_not_be_kept() {
    // All of it is of 2023: "curl" goes whole, of "both" one of two services that
    // stand in the same blocks, "agent" stays.
    let rules = "[[retention]]\nnode = \"curl\"\nkeep = \"1d\"\n\
                 [[retention]]\nnode = \"both\"\nservice = \"goes\"\nkeep = \"1d\"\n";
    rounds("/periods/", 160, |site, layer, plan| {
        let mut senders = history(site);
        let stays = both(site);
        let mut gone = senders.pop().expect("two senders");
        gone.expire();
        let checked = |context: &str, senders: &[Poster]| {
            let all: Vec<Poster> = senders.iter().chain([&gone]).cloned().collect();
            check_of(&site.path("data"), &all, "node <> 'both'", context);
            assert_eq!(select(site, "node = 'both' AND service = 'stays'"), stays, "{context}");
        };
        let mut command = site.collector_command(rules);
        layer.put_under(&mut command, &site.path("data"), plan);
        command.env("FAULTS_ARM", site.path("arm"));
        let mut collector = Proc::start(&mut command);
        collector.line("pages on", Duration::from_secs(30));
        assert_eq!(ask(site, "seal").map(|a| a.status), Some(200), "{plan}");
        std::fs::write(site.path("arm"), "").expect("writes");
        for _ in 0..3 {
            let said = ask(site, "retain");
            println!("{plan}: {}: {:?}", layer.struck(), said.map(|a| a.text()));
        }
        let is_struck = !layer.struck().is_empty();
        check_end(&mut collector, plan);
        drop(collector);
        checked(plan, &senders);
        // The rules are applied to the end now.
        let collector = site.collector(rules);
        checked(plan, &senders);
        assert_eq!(ask(site, "retain").map(|a| a.status), Some(200), "{plan}");
        send(site, &mut senders);
        checked(plan, &senders);
        collector.stop();
        assert_eq!(select(site, "node = 'curl' OR service = 'goes'"), "", "{plan}");
        checked(plan, &senders);
        stdout(Command::new(bin("rookery")).arg("verify").arg("--data").arg(site.path("data")));
        is_struck
    });
}

/// Two services with the same times, in the same blocks; what the one that stays
/// has.
fn both(site: &Site) -> String {
    let collector = site.collector("");
    let sample = |i: i64, service: &str| {
        let time = 1_700_000_000_000 + i * 10_000;
        format!("{{\"service\":\"{service}\",\"field\":\"f\",\"time_ms\":{time},\"value\":{i}}}")
    };
    let all: Vec<String> =
        (0..500).flat_map(|i| ["stays", "goes"].map(|service| sample(i, service))).collect();
    let body = format!("{{\"node\":\"both\",\"samples\":[{}]}}", all.join(","));
    assert_eq!(site.post(&body).map(|a| a.status), Some(200));
    assert_eq!(ask(site, "seal").map(|a| a.status), Some(200));
    collector.stop();
    let stays = select(site, "node = 'both' AND service = 'stays'");
    assert_eq!(stays.lines().count(), 500);
    stays
}

/// The samples that these words choose, a line each.
fn select(site: &Site, what: &str) -> String {
    let mut sql = Command::new(bin("rookery"));
    let question = format!("SELECT service, time, value FROM samples WHERE {what} ORDER BY time");
    let text = stdout(sql.arg("sql").arg("--data").arg(site.path("data")).arg(question));
    text.split_once('\n').expect("a head").1.to_owned()
}

/// Flips a bit of the first byte after each block's head: its summaries are
/// damaged, its samples are not.
fn damage_summaries(data: &Path) -> usize {
    let months = std::fs::read_dir(data.join("periods")).expect("a folder").flatten();
    let months = months.map(|e| e.path()).filter(|p| p.extension().is_some_and(|e| e == "sqlite"));
    let mut n = 0;
    for month in months {
        let conn = rusqlite::Connection::open(month).expect("opens");
        let mut stmt = conn.prepare("SELECT id FROM block").expect("SQL");
        let ids = stmt.query_map([], |r| r.get::<_, i64>(0)).expect("asks");
        for id in ids.flatten() {
            let mut blob = conn.blob_open("main", "block", "data", id, false).expect("opens");
            let (mut len, mut byte) = ([0; 4], [0]);
            blob.read_at_exact(&mut len, 8).expect("reads");
            let at = u32::from_le_bytes(len) as usize;
            blob.read_at_exact(&mut byte, at).expect("reads");
            blob.write_at(&[byte[0] ^ 1], at).expect("writes");
            n += 1;
        }
    }
    n
}

#[test]
fn a_rebuild_that_is_cut_short_leaves_every_sample_and_is_done_again() {
    rounds("/periods/", 120, |site, layer, plan| {
        let mut senders = history(site);
        let data = site.path("data");
        let n_damaged = damage_summaries(&data);
        assert!(n_damaged > 5, "{n_damaged} blocks");
        let rebuild = || {
            let mut command = Command::new(bin("rookery"));
            command.arg("rebuild").arg("--data").arg(&data);
            command
        };
        let output = on_layer(layer, &mut rebuild(), &data, plan);
        println!("{plan}: {}: {:?}", layer.struck(), output.status);
        let is_struck = !layer.struck().is_empty();
        check(site, &senders, plan);
        stdout(&mut rebuild());
        stdout(Command::new(bin("rookery")).arg("verify").arg("--data").arg(&data));
        check(site, &senders, plan);
        check_after(site, &mut senders, plan);
        is_struck
    });
}

#[test]
fn a_backup_that_is_cut_short_keeps_the_one_before_and_is_done_again() {
    rounds("", 60, |site, layer, plan| {
        let mut senders = history(site);
        let (data, copy) = (site.path("data"), site.path("copy"));
        let backup = || {
            let mut command = Command::new(bin("rookery"));
            command.arg("backup").arg("--data").arg(&data).arg(&copy);
            command
        };
        stdout(&mut backup());
        let before = senders.clone();
        check_in(&copy, &before, "a whole backup");
        // More of it, sealed and not, while the next one is made.
        let collector = site.collector("");
        (0..10).for_each(|_| send(site, &mut senders));
        assert_eq!(ask(site, "seal").map(|a| a.status), Some(200));
        (0..3).for_each(|_| send(site, &mut senders));
        let output = on_layer(layer, &mut backup(), &copy, plan);
        println!("{plan}: {}: {:?}", layer.struck(), output.status);
        let is_struck = !layer.struck().is_empty();
        check(site, &senders, plan);
        let then: Vec<Poster> =
            senders.iter().zip(&before).map(|(now, then)| now.as_of(then)).collect();
        check_in(&copy, &then, &format!("{plan}: the copy"));
        stdout(&mut backup());
        check_in(&copy, &senders, &format!("{plan}: the copy, made again"));
        stdout(Command::new(bin("rookery")).arg("verify").arg("--data").arg(&copy));
        collector.stop();
        is_struck
    });
}

/// A disk that cannot read a month: the collector lives, says it once, serves the
/// rest and takes what comes; when the disk reads again, all of it is there.
#[test]
fn months_that_cannot_be_read_are_told_and_the_rest_is_served() {
    let site = Site::new();
    let _keep = Keep(&site);
    let layer = Layer::build(&site);
    let mut senders = history(&site);
    let plan = "mode=read at=1 for=1000000 only=/periods/2023-11";
    let mut command = site.collector_command("");
    layer.put_under(&mut command, &site.path("data"), plan);
    command.env("FAULTS_ARM", site.path("arm"));
    let mut collector = Proc::start(&mut command);
    collector.line("pages on", Duration::from_secs(30));
    std::fs::write(site.path("arm"), "").expect("writes");
    // Of the many months of "curl" one is gone, of "agent" all that was sealed.
    let url = |node: &str, service: &str, what: &str| {
        let span = "from=1690000000000&to=1800000000000";
        format!("{}/api/v1/{what}?node={node}&service={service}&{span}", site.url())
    };
    for _ in 0..3 {
        for (node, service) in [("curl", "s0"), ("curl", "s1"), ("agent", "s0")] {
            let answer = get(&url(node, service, "samples"));
            assert_eq!(answer.status, 200, "{node} {service}: {}", answer.text());
        }
    }
    assert!(get(&url("curl", "s1", "samples")).text().contains("time"), "the rest is served");
    let said = collector.said();
    let told = said.lines().filter(|l| l.contains("ERROR") && l.contains("2023-11"));
    assert!((1..4).contains(&told.count()), "{said}");
    wait_for("batches to be taken", Duration::from_secs(60), || {
        let answers = senders.iter_mut().map(|s| s.post(&site.url()).map(|a| a.status));
        answers.collect::<Option<Vec<_>>>().filter(|all| all.iter().all(|s| *s == 200))
    });
    collector.kill9();
    check_after(&site, &mut senders, plan);
}
