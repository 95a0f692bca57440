//! How long reads of a long history take.
//!
//! `cargo run --release -p rookery-tests --example bench_read -- --dir DIR`
//!
//! Fills `DIR` with a host of 130 fields (13 services) every 10 s for a year,
//! if it is not there, and reads it in this process. With `--binary` the built
//! `rookery` serves it, and the raw reads go over HTTP too.

use bytes::Bytes;
use clap::Parser;
use rookery_collector::history::History;
use rookery_collector::read::Reader;
use rookery_collector::writer::NoObserver;
use rookery_collector::{Store, StoreSettings};
use rookery_plugins::Cells;
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_tests::cost::folder_bytes;
use rookery_tests::fleet::{FleetHost, Pool};
use rookery_tests::http::{self, Connection};
use rookery_tests::server::Server;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::Instant;

type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

const NODE: &str = "fleet;node0000";
const STEP_MS: i64 = 10_000;
const DAY_MS: i64 = 86_400_000;
/// 2025-11-01 UTC.
const START_MS: i64 = 1_761_955_200_000;
/// Rows of a frame while the history is filled.
const FRAME_ROWS: i64 = 180;

#[derive(Parser)]
struct Args {
    /// The history; filled if it is not there
    #[arg(long)]
    dir: PathBuf,
    #[arg(long, default_value_t = 130)]
    fields: usize,
    #[arg(long, default_value_t = 365)]
    days: i64,
    /// Only what has this in its name, many times (to attach a profiler)
    #[arg(long)]
    only: Option<String>,
    /// The built `rookery`, for reads over HTTP
    #[arg(long)]
    binary: Option<PathBuf>,
}

fn main() -> Res<()> {
    let args = Args::parse();
    let data = args.dir.join("data");
    if !data.exists() {
        fill(&args, &data)?;
    }
    println!("{:.1} MB in {}", folder_bytes(&data)? as f64 / 1e6, data.display());
    let began = Instant::now();
    let store = Store::open(StoreSettings::new(&data), Box::new(NoObserver))?;
    println!("  {:>9.2} ms to open it", began.elapsed().as_secs_f64() * 1e3);
    read(&args, &store)?;
    drop(store);
    if let Some(binary) = &args.binary {
        tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?
            .block_on(read_http(&args, binary))?;
    }
    Ok(())
}

fn fill(args: &Args, data: &Path) -> Res<()> {
    let began = Instant::now();
    let store = Store::open(StoreSettings::new(data), Box::new(NoObserver))?;
    let pool = Pool::load(args.fields)?;
    let mut host = FleetHost::new(&pool, 1, 0);
    let (mut cells, mut writer) = (Cells::new(), FrameWriter::default());
    let n_rows = args.days * DAY_MS / STEP_MS;
    let mut waiting: Vec<tokio::sync::oneshot::Receiver<_>> = Vec::new();
    for from in (0..n_rows).step_by(FRAME_ROWS as usize) {
        writer.start(NODE, 1, (from / FRAME_ROWS) as u64 + 1);
        if from == 0 {
            let services = pool.services.clone();
            writer.announce(&Announce { services, ..Announce::default() });
            writer.layout(&pool.layout);
        }
        for i in from..n_rows.min(from + FRAME_ROWS) {
            host.step(&mut cells);
            // A tick is some ms late, as a real agent's.
            let late = i.wrapping_mul(0x9e37_79b9).rem_euclid(5);
            writer.row(pool.layout.id(), START_MS + i * STEP_MS + late, &cells);
        }
        let frame = Bytes::copy_from_slice(writer.finish());
        waiting.push(store.shared().queue.send(frame).ok_or("too many wait")?);
        if waiting.len() >= 32 {
            for answer in waiting.drain(..) {
                answer.blocking_recv()??;
            }
        }
    }
    for answer in waiting {
        answer.blocking_recv()??;
    }
    let taken = began.elapsed().as_secs_f64();
    store.shared().queue.seal_all().ok_or("too many wait")?.blocking_recv()??;
    let n = n_rows as f64 * args.fields as f64;
    println!(
        "{n:.0} samples taken in {taken:.1} s, sealed and packed in {:.1} s more; {:.3} bytes each",
        began.elapsed().as_secs_f64() - taken,
        folder_bytes(data)? as f64 / n
    );
    Ok(())
}

/// The median of some runs, and what the first, with nothing in memory, took.
fn measure(args: &Args, name: &str, mut run: impl FnMut() -> Res<String>) -> Res<()> {
    let mut took = Vec::new();
    let mut said = String::new();
    if args.only.as_ref().is_some_and(|only| !name.contains(only)) {
        return Ok(());
    }
    while took.len() < if args.only.is_some() { 99 } else { 9 } {
        let began = Instant::now();
        said = run()?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let first = took[0];
    took.sort_by(f64::total_cmp);
    println!("  {:>9.2} ms (first {first:.2}) {name}: {said}", took[took.len() / 2]);
    Ok(())
}

fn read(args: &Args, store: &Store) -> Res<()> {
    let reader = Reader::new(store.shared().clone());
    let end = START_MS + args.days * DAY_MS;
    let span = |name: &str, days: i64| {
        measure(args, name, || {
            let from = end - days.min(args.days) * DAY_MS;
            Ok(format!("{} samples", reader.samples(NODE, "service3", "f3", from, end)?.len()))
        })
    };
    span("one field, one day raw", 1)?;
    span("one field, 30 days raw", 30)?;
    let day = (end - DAY_MS, end);
    measure(args, "all fields by 5 min over a day", || {
        let all = reader.rollups(NODE, day.0, day.1, 300_000)?;
        let n: usize = all.iter().flat_map(|r| &r.fields).map(|f| f.buckets.len()).sum();
        Ok(format!("{n} buckets"))
    })?;
    measure(args, "all fields by 1 h over a day", || {
        let all = reader.rollups(NODE, day.0, day.1, 3_600_000)?;
        let n: usize = all.iter().flat_map(|r| &r.fields).map(|f| f.buckets.len()).sum();
        Ok(format!("{n} buckets"))
    })?;
    let year = |name: &str, from: i64, step: i64| {
        measure(args, name, || {
            let r = reader.rollup(NODE, "service3", &[], from, end, step)?;
            let n: u64 = r.fields.iter().map(|f| f.total.count).sum();
            Ok(format!("{} fields, {n} samples", r.fields.len()))
        })
    };
    year("a service, all days by 12 h", START_MS, 12 * 3_600_000)?;
    year("a service, all days by a day", START_MS, DAY_MS)?;
    year("a service, all days by 6 h", START_MS, 6 * 3_600_000)?;
    year("a service, all days by an 800th", START_MS, (end - START_MS) / 800)?;
    measure(args, "a service, all days by 12 h, exactly", || {
        let all = reader.rollup_exactly(NODE, "service3", (START_MS, end), 12 * 3_600_000)?;
        Ok(format!("{} samples", all.iter().map(|f| f.total.count).sum::<u64>()))
    })
}

async fn read_http(args: &Args, binary: &Path) -> Res<()> {
    let server = Server::start(&args.dir, Some(binary))?;
    let mut connection = Connection::open(&server.addr).await?;
    let end = START_MS + args.days * DAY_MS;
    for (days, format) in [(1, "json"), (1, "csv"), (30, "json"), (30, "csv")] {
        let path = format!(
            "/api/v1/samples?node=fleet%3Bnode0000&service=service3&field=f3&from={}&to={end}\
             &format={format}",
            end - days.min(args.days) * DAY_MS
        );
        let request = http::get(&path);
        let mut took = Vec::new();
        let mut bytes = 0;
        for _ in 0..9 {
            let began = Instant::now();
            let answer = connection.exchange(&request).await?;
            took.push(began.elapsed().as_secs_f64() * 1e3);
            if answer.status != 200 {
                return Err(String::from_utf8_lossy(&answer.body).into_owned().into());
            }
            bytes = answer.body.len();
        }
        took.sort_by(f64::total_cmp);
        let median = took[took.len() / 2];
        println!(
            "  {median:>9.2} ms over HTTP: one field, {days} days raw, {format}: {bytes} bytes"
        );
    }
    Ok(())
}
