//! A disk that fails, and power that goes, at any call: nothing that was
//! acknowledged is lost, doubled or changed, nothing is invented, the history
//! opens again within seconds, and goes on.
//!
//! `tests/faults/faults.c` stands between the programs and their files. Each
//! round has a seed, which is told when it fails:
//! `ROOKERY_FAULTS_SEED=S ROOKERY_FAULTS_ROUNDS=1` begins with it.

use crate::crash::{self, Dice};
use crate::posters::{Poster, Seen, check, check_export, sealer};
use crate::support::{Proc, Site, bin, executable, get, http, run, stdout, wait_for};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// A round may take so long until the power goes.
const ROUND: Duration = Duration::from_millis(2500);
/// Opens within seconds.
const OPENS: Duration = Duration::from_secs(10);
/// The files that a fault may be about (all of them where the text is empty),
/// and about how often a round changes them.
const FILES: [(&str, u64); 5] =
    [("", 3000), ("/journal/", 1500), ("/periods/", 1500), ("catalog", 400), ("state.sqlite", 40)];

pub fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v}: a number")))
}

/// The layer, compiled, and its folders.
pub struct Layer {
    so: PathBuf,
    log: PathBuf,
    trash: PathBuf,
}

impl Layer {
    pub fn build(site: &Site) -> Layer {
        let so = site.path("faults.so");
        let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("faults/faults.c");
        let flags = ["-O1", "-Wall", "-Werror", "-fPIC", "-shared", "-pthread", "-o"];
        let output = run(Command::new("gcc").args(flags).arg(&so).arg(source));
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let layer = Layer { so, log: site.path("faults.log"), trash: site.path("trash") };
        std::fs::create_dir(&layer.trash).expect("a folder");
        layer
    }

    /// Puts it under a program: `plan` is what `faults.c` says of `FAULTS`.
    pub fn put_under(&self, command: &mut Command, dir: &Path, plan: &str) {
        // Its first line is this round's.
        let _ = std::fs::remove_file(&self.log);
        command
            .env("LD_PRELOAD", &self.so)
            .env("FAULTS_DIR", dir)
            .env("FAULTS_TRASH", &self.trash)
            .env("FAULTS_LOG", &self.log)
            .env("FAULTS", plan);
    }

    /// What was struck; empty: nothing.
    pub fn struck(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().collect::<Vec<_>>().join("; ")
    }

    pub fn empty_trash(&self) {
        std::fs::remove_dir_all(&self.trash).expect("removed");
        std::fs::create_dir(&self.trash).expect("a folder");
    }
}

/// Keeps what a failed round has left, to be looked at.
pub struct Keep<'a>(pub &'a Site);

impl Drop for Keep<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let to = std::env::temp_dir().join(format!("rookery-faults-{}", std::process::id()));
            run(Command::new("cp").arg("-a").arg(self.0.dir.path()).arg(&to));
            println!("kept in {}", to.display());
        }
    }
}

/// Where and how the round with this seed strikes.
fn plan(seed: u64) -> String {
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    let (only, most) = FILES[dice.next(5) as usize];
    // Small numbers, which strike at the start, are more frequent.
    let mut at = |most: u64| 1 + dice.next(most) * dice.next(most) / most;
    let (any, write, fsync) = (at(most), at(most * 2 / 3 + 1), at(most / 6 + 1));
    let cut = 1 + dice.next(400);
    let (mode, at, times) = match dice.next(9) {
        8 => ("read", fsync, 1 + dice.next(4)),
        0..4 => return format!("mode=cut at={any} seed={seed} only={only}"),
        4 => ("full", write, 1 + dice.next(60)),
        5 => ("eio", write, 1 + dice.next(6)),
        6 => ("short", write, 1 + dice.next(20)),
        _ => ("fsync", fsync, 1 + dice.next(3)),
    };
    format!("mode={mode} at={at} for={times} seed={seed} only={only} cut={cut}")
}

/// Ingest and sealing until the process is gone or `enough` says so.
fn load(
    site: &Site,
    proc: &mut Proc,
    posters: Vec<Poster>,
    limit: Duration,
    mut enough: impl FnMut() -> bool,
) -> (Vec<Poster>, Vec<Seen>, usize) {
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = posters.into_iter().map(|p| p.start(site.url(), stop.clone())).collect();
    let sealing = sealer(site.url(), stop.clone());
    let start = Instant::now();
    while !proc.is_gone() && start.elapsed() < limit && !enough() {
        std::thread::sleep(Duration::from_millis(10));
    }
    stop.store(true, Ordering::Relaxed);
    let done = threads.into_iter().map(|t| t.join().expect("a poster"));
    let (posters, seen) = done.unzip();
    (posters, seen, sealing.join().expect("the sealer"))
}

/// Without faults: it opens soon, all is there, and it goes on.
pub fn check_after(site: &Site, posters: &mut [Poster], context: &str) {
    if site.path("data/catalog.sqlite").exists() {
        check(site, posters, &format!("{context}: looked at before a start"));
        stdout(Command::new(bin("rookery")).arg("verify").arg("--data").arg(site.path("data")));
    }
    let start = Instant::now();
    let collector = site.collector("");
    let took = start.elapsed();
    assert!(took < OPENS, "{context}: opened only after {took:?}");
    check(site, posters, context);
    for poster in posters.iter_mut() {
        let answer = poster.post(&site.url()).unwrap_or_else(|| panic!("{context}: no answer"));
        assert_eq!(answer.status, 200, "{context}: {}", answer.text());
    }
    check(site, posters, context);
    check_export(site, posters, context);
    stdout(Command::new(bin("rookery")).arg("verify").arg("--data").arg(site.path("data")));
    collector.stop();
}

/// It was killed or runs; or it has ended with a clear message: no panic.
pub fn check_end(collector: &mut Proc, context: &str) {
    let status = collector.is_gone().then(|| collector.ended(Duration::from_secs(1)));
    let said = collector.said();
    assert!(!said.contains("panicked") && !said.contains("BUG"), "{context}: {said}");
    if let Some(code) = status.and_then(|s| s.code()) {
        let last = said.lines().last().unwrap_or_default();
        assert!(code == 1 && last.starts_with("rookery: /"), "{context}: {code}: {said}");
    }
}

pub fn posters() -> Vec<Poster> {
    // One within a day, one over many months.
    vec![Poster::new("agent", 500, true), Poster::new("curl", 1_200_000, false)]
}

#[test]
fn a_power_cut_at_any_call_loses_nothing_acknowledged() {
    let seed = number("ROOKERY_FAULTS_SEED", 1);
    let n_rounds = number("ROOKERY_FAULTS_ROUNDS", 16);
    let (mut n_struck, mut n_acked) = (0, 0);
    for first in (seed..seed + n_rounds).step_by(4) {
        // A few rounds on one history: also what a crash left is struck.
        let site = Site::new();
        let _keep = Keep(&site);
        let layer = Layer::build(&site);
        let mut senders = posters();
        for seed in first..(first + 4).min(seed + n_rounds) {
            let plan = plan(seed);
            let mut command = site.collector_command("");
            layer.put_under(&mut command, &site.path("data"), &plan);
            let mut collector = Proc::start(&mut command);
            let begun = collector.line_or_end("pages on", Duration::from_secs(30));
            if begun.is_some() {
                (senders, _, _) = load(&site, &mut collector, senders, ROUND, || false);
            }
            let struck = layer.struck();
            println!("seed {seed}: {plan}: {struck}");
            check_end(&mut collector, &format!("seed {seed}: {plan}: {struck}"));
            drop(collector);
            n_struck += u64::from(!struck.is_empty());
            check_after(&site, &mut senders, &format!("seed {seed}: {plan}: {struck}"));
            layer.empty_trash();
        }
        n_acked += senders.iter().map(Poster::n_acked).sum::<usize>();
    }
    println!("{n_struck} of {n_rounds} rounds were struck; {n_acked} samples acknowledged");
    assert!(n_struck * 2 > n_rounds || n_rounds < 16, "only {n_struck} of {n_rounds} were struck");
}

/// A fault that the process survives: 503 while it lasts, one clear line in the
/// log, readers are served, and then it goes on.
fn survive(plan: &str, file: &str) {
    let site = Site::new();
    let _keep = Keep(&site);
    let layer = Layer::build(&site);
    let mut senders = posters();
    // The history is there before, or it would not even open.
    check_after(&site, &mut senders, plan);
    let mut command = site.collector_command("");
    layer.put_under(&mut command, &site.path("data"), plan);
    command.env("FAULTS_ARM", site.path("arm"));
    let mut collector = Proc::start(&mut command);
    collector.line("pages on", Duration::from_secs(60));
    std::fs::write(site.path("arm"), "").expect("writes");
    let url = format!("{}/api/v1/services?node=curl", site.url());
    let (posters, seen, _) = load(&site, &mut collector, senders, Duration::from_secs(6), || {
        assert_eq!(get(&url).status, 200, "{plan}: readers are served");
        !layer.struck().is_empty()
    });
    senders = posters;
    assert!(!layer.struck().is_empty(), "{plan}: nothing was struck");
    assert!(!collector.is_gone(), "{plan}: it ended: {}", collector.said());
    let mut refused: Vec<String> = seen.into_iter().flat_map(|s| s.refused).collect();
    let began = Instant::now();
    for poster in &mut senders {
        wait_for("a batch to be taken again", Duration::from_secs(60), || {
            let answer = poster.post(&site.url())?;
            assert_eq!(get(&url).status, 200, "{plan}: readers are served");
            refused.extend((answer.status != 200).then(|| answer.text()));
            (answer.status == 200).then_some(())
        });
    }
    let seal = || {
        let url = format!("{}/api/v1/seal", site.url());
        http(|c| c.post(&url).bearer_auth("sesame")).filter(|a| a.status == 200)
    };
    wait_for("a sealing that goes well again", Duration::from_secs(60), seal);
    let said = collector.said();
    println!("{plan}: {} refused, over after {:?}", refused.len(), began.elapsed());
    for text in &refused {
        assert!(text.contains(".sqlite") || text.contains("too many"), "{plan}: {text}");
    }
    let told = said.lines().any(|l| l.contains("ERROR") && l.contains(file));
    assert!(refused.is_empty() || told, "{plan}: {said}");
    let fatal = said.lines().filter(|l| l.contains("nothing is acknowledged")).count();
    assert!(fatal <= 3, "{plan}: told {fatal} times: {said}");
    check(&site, &senders, plan);
    collector.kill9();
    check_after(&site, &mut senders, plan);
}

#[test]
fn a_disk_that_fails_for_a_while_is_told_and_survived() {
    let seed = number("ROOKERY_FAULTS_SEED", 1);
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for mode in ["fsync", "eio", "full", "short"] {
        for file in ["/journal/", "/periods/", "catalog"] {
            // The sealer's pauses grow with each failure.
            let most = if file == "/periods/" { 3 } else { 8 };
            let (at, times) = (1 + dice.next(20), 1 + dice.next(most));
            survive(&format!("mode={mode} at={at} for={times} seed={seed} only={file}"), file);
        }
    }
}

/// Sealed blocks cannot be written for good, and the journal can: ingest goes
/// on as far as memory goes, and is then refused, not held up.
#[test]
fn ingest_is_answered_while_nothing_can_be_sealed() {
    let site = Site::new();
    let _keep = Keep(&site);
    let layer = Layer::build(&site);
    let mut command = site.collector_command("");
    let plan = "mode=eio at=1 for=1000000 only=/periods/";
    layer.put_under(&mut command, &site.path("data"), plan);
    let mut collector = Proc::start(&mut command);
    collector.line("pages on", Duration::from_secs(60));
    let (mut senders, seen, _) =
        load(&site, &mut collector, posters(), Duration::from_secs(8), || false);
    let months = std::fs::read_dir(site.path("data/periods")).expect("a folder").flatten();
    let months: Vec<_> = months.map(|e| e.file_name()).collect();
    let is_whole = |name: &std::ffi::OsString| name.to_string_lossy().ends_with(".sqlite");
    assert!(!months.iter().any(is_whole), "{months:?}");
    for seen in &seen {
        assert!(seen.taken > 0 && seen.longest < Duration::from_secs(3), "{seen:?}");
    }
    let refused: Vec<&String> = seen.iter().flat_map(|s| &s.refused).collect();
    println!("{seen_taken:?} taken, then refused", seen_taken = seen[0].taken + seen[1].taken);
    assert!(refused.iter().any(|t| t.contains("/periods/")), "{refused:?}");
    check(&site, &senders, plan);
    assert!(collector.said().contains("sealing failed"));
    collector.kill9();
    check_after(&site, &mut senders, plan);
}

/// An agent's own values, in its spool while the collector is away: what was
/// read longer ago than its memory holds is there after a power cut, and a
/// disk that failed meanwhile costs nothing.
#[test]
fn the_spool_loses_nothing_when_the_disk_fails_and_the_power_goes() {
    let seed = number("ROOKERY_FAULTS_SEED", 1);
    let mut dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
    for mode in ["cut", "fsync", "eio", "full", "short"] {
        let (at, cut) = (5 + dice.next(30), 10 + dice.next(20));
        let at = if mode == "fsync" { at / 3 } else { at };
        let plan = format!("mode={mode} at={at} for=2 seed={seed} cut={cut}");
        let site = Site::new();
        let _keep = Keep(&site);
        let layer = Layer::build(&site);
        std::fs::create_dir(site.path("state")).expect("a folder");
        let dir = site.path("state").display().to_string();
        executable(&site.path("plugins/series"), &crash::PLUGIN.replace("DIR", &dir));
        run(Command::new("chmod").args(["-R", "a+rwX", &dir]));
        let steps = "step = \"100ms\"\nplugin_step = \"100ms\"\n";
        let mut command = site.agent_command("n1", steps);
        layer.put_under(&mut command, &site.path("spool-n1"), &plan);
        let mut agent = Proc::start(&mut command);
        wait_for("the power cut", Duration::from_secs(30), || agent.is_gone().then_some(()));
        let cut_ms = crash::now_ms();
        println!("{plan}: {}", layer.struck());
        let last = crash::last_said(&dir);
        let collector = site.collector("");
        let agent = site.agent("n1", steps);
        wait_for("newer values", Duration::from_secs(30), || {
            // The built-in probes may come first.
            if !site.services("n1").iter().any(|s| s["service"] == "series") {
                return None;
            }
            let rows = site.export("n1", "series");
            rows.iter().any(|(_, _, v)| v.parse::<u64>().is_ok_and(|v| v > last)).then_some(())
        });
        agent.stop();
        crash::check_agent(&site, &dir, &[cut_ms]);
        collector.stop();
    }
}
