//! How long rules that look back take to learn of a history that was there before them.
//!
//! `cargo build --release && cargo run --release -p rookery-tests --example bench_learn`
//!
//! Half a year of a service with two fields, a sample each 10 s, is written and sealed.
//! Then, for each rule, a collector starts that has not seen any of it, one sample
//! comes, and its log says what it has read, and in what time.

use bytes::Bytes;
use clap::Parser;
use rookery_collector::Collector;
use rookery_collector::config::Config;
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec, Value};
use rookery_tests::http::{self, Connection};
use rookery_tests::server::{Server, TOKEN};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NODE: &str = "bench;node0";
const DAY_MS: i64 = 86_400_000;
const FRAME_ROWS: i64 = 180;
/// Frames on their way at the same time.
const IN_FLIGHT: usize = 32;
const VALUES: [&str; 4] = ["past(a)", "past(a / (a + b))", "forecast(a, 4d)", "change(a, 7d)"];
/// What the collector's log says when it has done.
const LEARNED: &str = "have learned of the past: ";

#[derive(Parser)]
struct Args {
    /// The built `rookery`; else the one beside this program
    rookery: Option<PathBuf>,
    #[arg(long, default_value_t = 26)]
    weeks: i64,
    /// Seconds between two samples
    #[arg(long, default_value_t = 10)]
    step: i64,
    /// How often each rule learns; the least time is told
    #[arg(long, default_value_t = 3)]
    times: usize,
}

fn main() -> Res<()> {
    let args = Args::parse();
    let here = std::env::current_exe()?;
    let built = here.parent().and_then(Path::parent).map(|dir| dir.join("rookery"));
    let rookery = args.rookery.clone().or(built).ok_or("no rookery")?;
    let dir = tempfile::tempdir()?;
    let n_rows = fill(&args, &dir.path().join("data"))?;
    println!("{} weeks, a sample each {} s: {n_rows} rows of 2 fields", args.weeks, args.step);
    for value in VALUES {
        let runs: Res<Vec<(f64, String)>> =
            (0..args.times.max(1)).map(|_| learn(&rookery, dir.path(), value)).collect();
        let least = runs?.into_iter().min_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((s, steps)) = least {
            println!("{value}: {steps} in {s:.2} s");
        }
    }
    Ok(())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// A wave by the day and some noise.
fn value(at_ms: i64) -> f64 {
    let wave = (at_ms as f64 / DAY_MS as f64 * std::f64::consts::TAU).sin();
    let noise = (at_ms as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 54;
    (wave * 400.0).round() + 500.0 + noise as f64 / 100.0
}

/// Writes the history up to now; how many rows.
fn fill(args: &Args, data: &Path) -> Res<i64> {
    let config = Config {
        data: data.to_owned(),
        token: TOKEN.to_owned(),
        alerts: data.with_extension("none"),
        ..Config::default()
    };
    let collector = Collector::open(&config)?;
    let step_ms = args.step.max(1) * 1000;
    let end = now_ms() / step_ms * step_ms;
    let n_rows = args.weeks * 7 * DAY_MS / step_ms;
    let mut spec = ServiceSpec::new("shop", "Shop", "bench")
        .fields(vec![FieldSpec::gauge("a", "a"), FieldSpec::gauge("b", "b")]);
    spec.step_ms = step_ms as u64;
    let layout = Layout::new(vec![FieldKey::new("shop", "a"), FieldKey::new("shop", "b")]);
    let (mut cells, mut writer) = (Cells::new(), FrameWriter::default());
    let queue = &collector.shared().queue;
    let mut waiting = Vec::new();
    for from in (0..n_rows).step_by(FRAME_ROWS as usize) {
        writer.start(NODE, 1, (from / FRAME_ROWS) as u64 + 1);
        if from == 0 {
            writer.announce(&Announce { services: vec![spec.clone()], ..Announce::default() });
            writer.layout(&layout);
        }
        for i in from..n_rows.min(from + FRAME_ROWS) {
            let at = end - (n_rows - i) * step_ms;
            cells.clear();
            cells.push(Value::Float(value(at)));
            cells.push(Value::Float(value(at + DAY_MS / 3)));
            writer.row(layout.id(), at, &cells);
        }
        let frame = Bytes::copy_from_slice(writer.finish());
        waiting.push(queue.send(frame).ok_or("too many wait")?);
        if waiting.len() >= IN_FLIGHT {
            for answer in waiting.drain(..) {
                answer.blocking_recv()??;
            }
        }
    }
    for answer in waiting {
        answer.blocking_recv()??;
    }
    queue.seal_all().ok_or("too many wait")?.blocking_recv()??;
    collector.close();
    Ok(n_rows)
}

/// How long a new collector learns for a rule with this value, s, and how much it reads.
fn learn(rookery: &Path, dir: &Path, value: &str) -> Res<(f64, String)> {
    let rules = dir.join("alerts.d");
    std::fs::create_dir_all(&rules)?;
    let rule = format!(
        "[[rule]]\nservice = \"shop\"\nvalue = {value:?}\nas = \"looks_back\"\ncritical = \"~:1e9\"\n"
    );
    std::fs::write(rules.join("all.toml"), rule)?;
    // What the machine before has seen is forgotten.
    for suffix in ["", "-wal", "-shm"] {
        let path = dir.join(format!("data/state.sqlite{suffix}"));
        if path.exists() {
            std::fs::remove_file(path)?;
        }
    }
    let (server, log) = Server::start_read(dir, rookery)?;
    let body = format!(
        r#"{{"node":"{NODE}","samples":[{{"service":"shop","field":"a","value":1}},{{"service":"shop","field":"b","value":1}}]}}"#
    );
    let request = http::post("/api/v1/ingest", TOKEN, "application/json", body.as_bytes());
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let answer = runtime
        .block_on(async { Connection::open(&server.addr).await?.exchange(&request).await })?;
    if answer.status != 200 {
        return Err(format!("refused: {}", String::from_utf8_lossy(&answer.body)).into());
    }
    for line in log {
        let line = line?;
        if let Some((_, told)) = line.split_once(LEARNED) {
            let (steps, s) = told.split_once(" in ").ok_or("another log")?;
            server.stop()?;
            return Ok((s.trim_end_matches(" s").parse()?, steps.to_owned()));
        }
    }
    Err(format!("{value}: nothing was learned").into())
}
