//! The same fleet into Rookery, VictoriaMetrics and Prometheus, one after the
//! other on this machine, over HTTP on loopback.
//!
//! `cargo build --release && cargo run --release -p rookery-tests --example bench_peers`
//!
//! Needs Debian's `victoria-metrics` and `prometheus`; a server that is not there
//! is left out, and said. Rookery gets its own frames, the peers remote write. All
//! requests of some steps are encoded while the clock stands still, then sent by
//! one keep-alive connection a node. `--nodes 5 --fields 20 --steps 20` is a smoke
//! test.

use clap::Parser;
use rookery_plugins::wire::{Announce, CONTENT_TYPE, FrameWriter};
use rookery_plugins::{Cells, FieldKey, Value};
use rookery_tests::cost::{Cost, folder_bytes};
use rookery_tests::fleet::{FleetHost, Pool};
use rookery_tests::http::{self, Connection};
use rookery_tests::remote_write::Writer;
use rookery_tests::server::{Server, TOKEN};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

/// Time between a node's steps, ms.
const STEP_MS: i64 = 10_000;
/// Steps that are encoded at once.
const WINDOW: i64 = 60;
/// A query is asked so often; the median counts.
const QUERIES: usize = 20;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 100)]
    nodes: u64,
    #[arg(long, default_value_t = 300)]
    fields: usize,
    #[arg(long, default_value_t = 720)]
    steps: i64,
    /// The built `rookery`; else the one beside this program
    #[arg(long)]
    binary: Option<PathBuf>,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Rookery,
    Victoria,
    Prometheus,
}

/// A server under load; ends with this value.
enum Running {
    Ours(Server),
    Peer(Child, String),
}

impl Running {
    fn pid(&self) -> u32 {
        match self {
            Running::Ours(server) => server.pid(),
            Running::Peer(child, _) => child.id(),
        }
    }

    fn addr(&self) -> &str {
        match self {
            Running::Ours(server) => &server.addr,
            Running::Peer(_, addr) => addr,
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Running::Peer(child, _) = self {
            // Gone already: then there is nothing to do.
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

fn main() -> Res<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let load = std::fs::read_to_string("/proc/loadavg")?;
    println!(
        "{} nodes x {} fields x {} steps; load before: {}",
        args.nodes,
        args.fields,
        args.steps,
        load.split(' ').next().unwrap_or_default()
    );
    println!(
        "{:<16} {:>9} {:>9} {:>8} {:>8} {:>8} {:>9} {:>9} {:>9}",
        "",
        "M/s wall",
        "M/CPU s",
        "p50 ms",
        "p99 ms",
        "MB peak",
        "B writ/s.",
        "B/sample",
        "query ms"
    );
    for kind in [Kind::Rookery, Kind::Victoria, Kind::Prometheus] {
        let scratch = tempfile::tempdir()?;
        match start(kind, scratch.path(), &args) {
            Ok(server) => runtime.block_on(measure(kind, &server, scratch.path(), &args))?,
            Err(e) => println!("{:<16} left out: {e}", name(kind)),
        }
    }
    println!("Rookery answers when a batch is on disk (fdatasync); the peers answer before.");
    Ok(())
}

fn name(kind: Kind) -> &'static str {
    match kind {
        Kind::Rookery => "Rookery",
        Kind::Victoria => "VictoriaMetrics",
        Kind::Prometheus => "Prometheus",
    }
}

fn start(kind: Kind, dir: &Path, args: &Args) -> Res<Running> {
    if kind == Kind::Rookery {
        let beside = std::env::current_exe()?;
        let beside = beside.parent().and_then(Path::parent).map(|d| d.join("rookery"));
        let binary = args.binary.clone().or(beside).ok_or("no path of our own")?;
        return Ok(Running::Ours(Server::start(&dir.join("history"), Some(&binary))?));
    }
    let addr = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let data = dir.join("data");
    let mut command = if kind == Kind::Victoria {
        let mut c = Command::new("victoria-metrics");
        c.arg(format!("-storageDataPath={}", data.display()));
        c.arg(format!("-httpListenAddr={addr}")).arg("-retentionPeriod=100y");
        c
    } else {
        let config = dir.join("prometheus.yml");
        std::fs::write(&config, "global: {}\n")?;
        let mut c = Command::new("prometheus");
        c.arg(format!("--config.file={}", config.display()));
        c.arg(format!("--storage.tsdb.path={}", data.display()));
        c.arg(format!("--web.listen-address={addr}"));
        c.args(["--web.enable-remote-write-receiver", "--storage.tsdb.retention.time=10y"]);
        c
    };
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let running = Running::Peer(child, addr.clone());
    let until = Instant::now() + Duration::from_secs(30);
    let path = if kind == Kind::Victoria { "/health" } else { "/-/ready" };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    while Instant::now() < until {
        let ready = runtime.block_on(async {
            let mut connection = Connection::open(&addr).await.ok()?;
            Some(connection.exchange(&http::get(path)).await.ok()?.status)
        });
        if ready == Some(200) {
            return Ok(running);
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Err("it does not get ready".into())
}

/// A field's name as Prometheus allows it.
fn metric(field: &FieldKey) -> String {
    let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '_' };
    format!("{}_{}", field.service, field.field).chars().map(plain).collect()
}

/// What makes one node's requests.
struct Source {
    name: String,
    host: FleetHost,
    ours: FrameWriter,
    peers: Writer,
    next: i64,
}

impl Source {
    fn new(pool: &Arc<Pool>, idx: u64) -> Source {
        let name = format!("node{idx:04}");
        let fields = pool.layout.fields().iter();
        let names: Vec<String> = fields.map(metric).collect();
        let peers = Writer::new(&name, &names);
        Source {
            host: FleetHost::new(pool, 1, idx),
            ours: FrameWriter::default(),
            peers,
            next: 0,
            name,
        }
    }

    /// The next request, whole.
    fn request(&mut self, kind: Kind, pool: &Pool, start_ms: i64, cells: &mut Cells) -> Vec<u8> {
        let time_ms = start_ms + self.next * STEP_MS;
        self.next += 1;
        self.host.step(cells);
        if kind != Kind::Rookery {
            let values =
                (0..cells.len()).map(|i| cells.get(i).and_then(Value::as_f64).unwrap_or(f64::NAN));
            return remote_write(&self.peers.body(time_ms, values));
        }
        self.ours.start(&self.name, 1, self.next as u64);
        if self.next == 1 {
            let services = pool.services.clone();
            self.ours.announce(&Announce { services, ..Announce::default() });
            self.ours.layout(&pool.layout);
        }
        self.ours.row(pool.layout.id(), time_ms, cells);
        http::post("/api/v1/ingest", TOKEN, CONTENT_TYPE, self.ours.finish())
    }
}

fn remote_write(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST /api/v1/write HTTP/1.1\r\nHost: localhost\r\nContent-Encoding: snappy\r\n\
         Content-Type: application/x-protobuf\r\nX-Prometheus-Remote-Write-Version: 0.1.0\r\n\
         Content-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// Sends requests one after the other; how long each took, µs.
async fn ship(mut connection: Connection, requests: Vec<Vec<u8>>) -> Res<(Connection, Vec<u32>)> {
    let mut took = Vec::with_capacity(requests.len());
    for request in &requests {
        let began = Instant::now();
        let answer = connection.exchange(request).await?;
        if answer.status / 100 != 2 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("{} {text}", answer.status).into());
        }
        took.push(began.elapsed().as_micros() as u32);
    }
    Ok((connection, took))
}

async fn measure(kind: Kind, server: &Running, dir: &Path, args: &Args) -> Res<()> {
    let pool = Pool::load(args.fields)?;
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let start_ms = now.as_millis() as i64 / STEP_MS * STEP_MS - args.steps * STEP_MS;
    let mut sources: Vec<Source> = (0..args.nodes).map(|idx| Source::new(&pool, idx)).collect();
    let mut connections = Vec::new();
    for _ in 0..args.nodes {
        connections.push(Connection::open(server.addr()).await?);
    }
    let (mut cells, mut took, mut wall_s) = (Cells::new(), Vec::new(), 0.0);
    let before = Cost::of(server.pid())?;
    let mut left = args.steps;
    while left > 0 {
        let n = left.min(WINDOW);
        left -= n;
        let all: Vec<Vec<Vec<u8>>> = sources
            .iter_mut()
            .map(|s| (0..n).map(|_| s.request(kind, &pool, start_ms, &mut cells)).collect())
            .collect();
        let began = Instant::now();
        let ships = std::mem::take(&mut connections).into_iter().zip(all);
        let ships: Vec<_> = ships.map(|(c, requests)| tokio::spawn(ship(c, requests))).collect();
        for ship in ships {
            let (connection, times) = ship.await??;
            connections.push(connection);
            took.extend(times);
        }
        wall_s += began.elapsed().as_secs_f64();
    }
    settle(kind, &mut connections[0]).await?;
    let after = Cost::of(server.pid())?;
    let samples = (args.nodes * args.fields as u64) as f64 * args.steps as f64;
    let query_ms = query(kind, &mut connections[0], &pool, start_ms, args.steps).await?;
    let data = if kind == Kind::Rookery { dir.join("history/data") } else { dir.join("data") };
    took.sort_unstable();
    let at = |share: f64| f64::from(took[((took.len() - 1) as f64 * share) as usize]) / 1000.0;
    println!(
        "{:<16} {:>9.2} {:>9.2} {:>8.2} {:>8.2} {:>8.0} {:>9.1} {:>9.3} {:>9.2}",
        name(kind),
        samples / wall_s / 1e6,
        samples / (after.cpu_s() - before.cpu_s()) / 1e6,
        at(0.5),
        at(0.99),
        after.peak_rss as f64 / 1e6,
        (after.written - before.written) as f64 / samples,
        folder_bytes(&data)? as f64 / samples,
        query_ms,
    );
    Ok(())
}

/// Has the server put away what it has in memory: that is part of its cost.
async fn settle(kind: Kind, connection: &mut Connection) -> Res<()> {
    let requests = match kind {
        Kind::Rookery => vec![http::post("/api/v1/seal", TOKEN, "text/plain", b"")],
        Kind::Victoria => {
            vec![http::get("/internal/force_flush"), http::get("/internal/force_merge")]
        }
        // Its head stays in memory and in its log until two hours have passed.
        Kind::Prometheus => Vec::new(),
    };
    for request in requests {
        let answer = connection.exchange(&request).await?;
        if answer.status != 200 {
            return Err(format!("settling: {}", answer.status).into());
        }
    }
    if kind == Kind::Victoria {
        // The merge runs on after the answer.
        tokio::time::sleep(Duration::from_secs(3)).await;
    }
    Ok(())
}

/// One field over the whole span, every sample; ms, the median.
async fn query(
    kind: Kind,
    connection: &mut Connection,
    pool: &Pool,
    start_ms: i64,
    steps: i64,
) -> Res<f64> {
    let field = &pool.layout.fields()[7];
    let metric = metric(field);
    let end_ms = start_ms + steps * STEP_MS;
    let span_s = steps * STEP_MS / 1000 + 1;
    let path = match kind {
        Kind::Rookery => format!(
            "/api/v1/samples?node=node0001&service={}&field={}&from={start_ms}&to={end_ms}",
            field.service, field.field
        ),
        Kind::Victoria => format!(
            "/api/v1/export?match%5B%5D={metric}%7Bnode=%22node0001%22%7D&start={}&end={}",
            start_ms / 1000,
            end_ms / 1000
        ),
        Kind::Prometheus => format!(
            "/api/v1/query?query={metric}%7Bnode=%22node0001%22%7D%5B{span_s}s%5D&time={}",
            end_ms / 1000
        ),
    };
    let request = http::get(&path);
    let mut took = Vec::new();
    for _ in 0..QUERIES {
        let began = Instant::now();
        let answer = connection.exchange(&request).await?;
        took.push(began.elapsed().as_secs_f64() * 1000.0);
        let n = answer.body.iter().filter(|b| **b == b',').count() as i64;
        if answer.status != 200 || n < steps {
            let text = String::from_utf8_lossy(&answer.body[..answer.body.len().min(300)]);
            return Err(format!("query: {} with {n} commas: {text}", answer.status).into());
        }
    }
    took.sort_by(f64::total_cmp);
    Ok(took[QUERIES / 2])
}
