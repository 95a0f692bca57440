//! How fast a collector takes a fleet in over HTTP, and at what cost.
//!
//! `cargo run --release -p rookery-tests --example bench_ingest`
//!
//! One connection a node; every batch is encoded before the clock starts. The
//! collector is a process of its own: this program again, or `--binary`.
//! `--nodes 10 --fields 30 --steps 20` is a smoke test.

use clap::Parser;
use rookery_plugins::wire::{Announce, CONTENT_TYPE, FrameWriter};
use rookery_plugins::{Cells, FieldKey, Layout};
use rookery_tests::cost::{Cost, folder_bytes};
use rookery_tests::fleet::{FleetHost, Pool, number};
use rookery_tests::http::{self, Connection};
use rookery_tests::series;
use rookery_tests::server::{self, Server, TOKEN};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Time between a node's steps, ms.
const STEP_MS: i64 = 10_000;

#[derive(Parser)]
struct Args {
    /// `serve DIR ADDR`: be the collector
    serve: Vec<String>,
    #[arg(long, default_value_t = 100)]
    nodes: u64,
    #[arg(long, default_value_t = 300)]
    fields: usize,
    #[arg(long, default_value_t = 720)]
    steps: i64,
    /// So many times over, each on a new history
    #[arg(long, default_value_t = 1)]
    rounds: usize,
    /// The recorded host `node1s` instead of a fleet
    #[arg(long)]
    node1s: bool,
    /// The built `rookery` instead of this program
    #[arg(long)]
    binary: Option<PathBuf>,
    /// Where the history goes, and stays; else a folder that is removed
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Do not seal at the end
    #[arg(long)]
    no_seal: bool,
    /// So many connections ask for the samples of one field after the other all
    /// the while; needs `--binary`
    #[arg(long, default_value_t = 0)]
    readers: usize,
    /// Wait so long before the clock starts (to attach a profiler), s
    #[arg(long, default_value_t = 0)]
    wait: u64,
}

fn main() -> Res<()> {
    let args = Args::parse();
    if let [what, dir, addr] = args.serve.as_slice()
        && what == "serve"
    {
        return Ok(server::serve(Path::new(dir), addr, |_| axum::Router::new())?);
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let fleet = Arc::new(if args.node1s { encode_node1s()? } else { encode(&args)? });
    for _ in 0..args.rounds {
        runtime.block_on(round(&args, &fleet))?;
    }
    Ok(())
}

/// The requests of every node, in one piece of memory each.
#[derive(Default)]
struct Requests {
    bytes: Vec<u8>,
    ends: Vec<usize>,
    n_samples: usize,
}

impl Requests {
    fn push(&mut self, frame: &[u8], n_samples: usize) {
        self.bytes.extend_from_slice(&http::post("/api/v1/ingest", TOKEN, CONTENT_TYPE, frame));
        self.ends.push(self.bytes.len());
        self.n_samples += n_samples;
    }
}

/// The recorded host, every second a batch; what began later or ended sooner
/// has no place in its rows.
fn encode_node1s() -> Res<Vec<Requests>> {
    let all = series::load("node1s")?;
    let longest = all.iter().map(|s| s.values.len()).max().unwrap_or(0);
    let whole: Vec<_> = all.iter().filter(|s| s.values.len() == longest).collect();
    let fields = whole.iter().enumerate();
    let keys = fields.map(|(i, _)| FieldKey::new(&format!("s{}", i / 10), &format!("f{}", i % 10)));
    let layout = Layout::new(keys.collect());
    let (mut cells, mut writer) = (Cells::new(), FrameWriter::default());
    let mut requests = Requests::default();
    for i in 0..longest {
        cells.clear();
        whole.iter().for_each(|s| cells.push(number(s.values[i])));
        writer.start("node1s", 1, i as u64 + 1);
        if i == 0 {
            writer.layout(&layout);
        }
        writer.row(layout.id(), whole[0].times_ms[i], &cells);
        requests.push(writer.finish(), cells.len());
    }
    Ok(vec![requests])
}

fn encode(args: &Args) -> Res<Vec<Requests>> {
    let pool = Pool::load(args.fields)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let start = now.as_millis() as i64 / STEP_MS * STEP_MS - args.steps * STEP_MS;
    let mut fleet = Vec::new();
    for idx in 0..args.nodes {
        let mut host = FleetHost::new(&pool, 1, idx);
        let (mut cells, mut writer) = (Cells::new(), FrameWriter::default());
        let mut all = Requests::default();
        for step in 0..args.steps {
            host.step(&mut cells);
            writer.start(&format!("fleet;node{idx:04}"), 1, step as u64 + 1);
            if step == 0 {
                let services = pool.services.clone();
                writer.announce(&Announce { services, ..Announce::default() });
                writer.layout(&pool.layout);
            }
            // Every node has a clock of its own.
            writer.row(pool.layout.id(), start + step * STEP_MS + idx as i64, &cells);
            all.push(writer.finish(), cells.len());
        }
        fleet.push(all);
    }
    Ok(fleet)
}

/// Sends one node's requests; how long each took, µs.
async fn ship(addr: String, fleet: Arc<Vec<Requests>>, idx: usize) -> Res<Vec<u32>> {
    let mut connection = Connection::open(&addr).await?;
    let mut took = Vec::with_capacity(fleet[idx].ends.len());
    let mut from = 0;
    for end in &fleet[idx].ends {
        let began = Instant::now();
        let answer = connection.exchange(&fleet[idx].bytes[from..*end]).await?;
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("node {idx}: {} {text}", answer.status).into());
        }
        took.push(began.elapsed().as_micros() as u32);
        from = *end;
    }
    Ok(took)
}

/// What the readers were answered.
#[derive(Default)]
struct Asked {
    answers: AtomicU64,
    bytes: AtomicU64,
}

/// Asks for the last hour of one service after the other, for ever.
async fn ask(addr: String, first: usize, n_nodes: u64, asked: Arc<Asked>) -> Res<()> {
    let mut connection = Connection::open(&addr).await?;
    for n in first.. {
        let node = n as u64 * 7 % n_nodes;
        let path = format!(
            "/api/v1/samples?node=fleet;node{node:04}&service=service{}&from=-1h&to=now&format=csv",
            n % 20
        );
        let answer = connection.exchange(&http::get(&path)).await?;
        // Nodes that have not shipped yet are not known.
        if answer.status == 200 {
            asked.answers.fetch_add(1, Ordering::Relaxed);
            asked.bytes.fetch_add(answer.body.len() as u64, Ordering::Relaxed);
        }
    }
    Ok(())
}

async fn round(args: &Args, fleet: &Arc<Vec<Requests>>) -> Res<()> {
    let scratch = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| scratch.path().join("history"));
    let server = Server::start(&dir, args.binary.as_deref())?;
    if args.wait > 0 {
        println!("the collector is process {}", server.pid());
        tokio::time::sleep(Duration::from_secs(args.wait)).await;
    }
    let before = Cost::of(server.pid())?;
    let began = Instant::now();
    let ships: Vec<_> = (0..fleet.len())
        .map(|idx| tokio::spawn(ship(server.addr.clone(), fleet.clone(), idx)))
        .collect();
    let asked = Arc::new(Asked::default());
    let asking: Vec<_> = (0..args.readers)
        .map(|i| tokio::spawn(ask(server.addr.clone(), i, args.nodes, asked.clone())))
        .collect();
    let mut took = Vec::new();
    for ship in ships {
        took.extend(ship.await??);
    }
    asking.iter().for_each(|a| a.abort());
    let wall = began.elapsed().as_secs_f64();
    let after = Cost::of(server.pid())?;
    let n = fleet.iter().map(|r| r.n_samples).sum::<usize>() as f64;
    report(n, wall, &before, &after, &mut took);
    if args.readers > 0 {
        let of = |n: &AtomicU64| n.load(Ordering::Relaxed) as f64 / wall;
        println!(
            "  {:>8.0} queries answered a second, {:.1} MB/s",
            of(&asked.answers),
            of(&asked.bytes) / 1e6
        );
    }
    if !args.no_seal {
        seal(server, &dir, n).await?;
    }
    Ok(())
}

fn report(n: f64, wall: f64, before: &Cost, after: &Cost, took: &mut [u32]) {
    took.sort_unstable();
    let at = |share: f64| f64::from(took[((took.len() - 1) as f64 * share) as usize]) / 1000.0;
    let cpu = after.cpu_s() - before.cpu_s();
    println!("{n:.0} samples in {} requests", took.len());
    println!("  {:>8.2} M samples/s wall ({wall:.2} s)", n / wall / 1e6);
    println!(
        "  {:>8.2} M samples per server CPU s ({cpu:.2} s: {:.2} user, {:.2} system; {:.1} us a \
         request)",
        n / cpu / 1e6,
        after.user_s - before.user_s,
        after.system_s - before.system_s,
        cpu * 1e6 / took.len() as f64
    );
    println!(
        "  {:>8.2} bytes written to disk a sample",
        (after.written - before.written) as f64 / n
    );
    println!("  {:>8.1} MB resident at most", after.peak_rss as f64 / 1e6);
    println!(
        "  acknowledged after p50 {:.2} ms, p99 {:.2} ms, at most {:.2} ms",
        at(0.5),
        at(0.99),
        at(1.0)
    );
}

async fn seal(server: Server, dir: &Path, n: f64) -> Res<()> {
    let before = Cost::of(server.pid())?;
    let began = Instant::now();
    let mut connection = Connection::open(&server.addr).await?;
    let answer = connection.exchange(&http::post("/api/v1/seal", TOKEN, "text/plain", b"")).await?;
    if answer.status != 200 {
        return Err(format!("seal: {}", answer.status).into());
    }
    let took = began.elapsed().as_secs_f64();
    let after = Cost::of(server.pid())?;
    let cpu = after.cpu_s() - before.cpu_s();
    println!(
        "  sealed in {took:.2} s ({cpu:.2} CPU s); resident at most {:.1} MB",
        after.peak_rss as f64 / 1e6
    );
    let data = dir.join("data");
    let running = folder_bytes(&data)? as f64 / n;
    server.stop()?;
    println!(
        "  {:>8.3} bytes a sample, all of the folder ({running:.3} while it runs, with SQLite's \
         indices of its WALs):",
        folder_bytes(&data)? as f64 / n
    );
    for entry in std::fs::read_dir(&data)? {
        let path = entry?.path();
        let bytes = if path.is_dir() { folder_bytes(&path)? } else { path.metadata()?.len() };
        println!("  {bytes:>12} {}", path.file_name().unwrap_or_default().to_string_lossy());
    }
    Ok(())
}
