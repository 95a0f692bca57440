//! A disk that fails, and power that goes, at any call: nothing that was
//! acknowledged is lost, doubled or changed, nothing is invented, the history
//! opens again within seconds, and goes on.
//!
//! `tests/faults/faults.c` stands between the programs and their files. Each
//! round has a seed, which is told when it fails:
//! `ROOKERY_FAULTS_SEED=S ROOKERY_FAULTS_ROUNDS=1` begins with it.

use crate::crash::Dice;
use crate::posters::{Poster, Seen, check, check_export, sealer};
use crate::support::{Proc, Site, bin, get, run, stdout, wait_for};
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

fn number(name: &str, default: u64) -> u64 {
    let set = std::env::var(name).ok();
    set.map_or(default, |v| v.parse().unwrap_or_else(|_| panic!("{name}={v}: a number")))
}

/// The layer, compiled, and its folders.
struct Layer {
    so: PathBuf,
    log: PathBuf,
    trash: PathBuf,
}

impl Layer {
    fn build(site: &Site) -> Layer {
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
    fn put_under(&self, command: &mut Command, dir: &Path, plan: &str) {
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
    fn struck(&self) -> String {
        let text = std::fs::read_to_string(&self.log).unwrap_or_default();
        text.lines().collect::<Vec<_>>().join("; ")
    }

    fn empty_trash(&self) {
        std::fs::remove_dir_all(&self.trash).expect("removed");
        std::fs::create_dir(&self.trash).expect("a folder");
    }
}

/// Keeps what a failed round has left, to be looked at.
struct Keep<'a>(&'a Site);

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
    let (mode, at, times) = match dice.next(8) {
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
fn check_after(site: &Site, posters: &mut [Poster], context: &str) {
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

fn posters() -> Vec<Poster> {
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
            if !collector.is_gone() {
                collector.kill9();
            }
            let struck = layer.struck();
            println!("seed {seed}: {plan}: {struck}");
            n_struck += u64::from(!struck.is_empty());
            check_after(&site, &mut senders, &format!("seed {seed}: {plan}: {struck}"));
            layer.empty_trash();
        }
        n_acked += senders.iter().map(Poster::n_acked).sum::<usize>();
    }
    println!("{n_struck} of {n_rounds} rounds were struck; {n_acked} samples acknowledged");
    assert!(n_struck * 2 > n_rounds || n_rounds < 4, "only {n_struck} of {n_rounds} were struck");
}
