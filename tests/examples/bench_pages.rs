//! How long pages take over a large fleet.
//!
//! `cargo run --release -p rookery-tests --example bench_pages -- --nodes 1000`
//!
//! A collector of its own process is filled over HTTP with nodes of about 100
//! fields in 20 groups, every minute of the last hours, and sealed. One node in a
//! hundred has a disk that is far slower than the others', one in a hundred is
//! over its limit, and one in a hundred has fallen silent. Then every page is asked
//! for over one connection, unpacked and gzipped: median time, the worst, bytes.

use clap::Parser;
use rookery_collector::Collector;
use rookery_plugins::wire::{Announce, CONTENT_TYPE, FrameWriter};
use rookery_plugins::{Cells, Draw, FieldKey, FieldSpec, Layout, ServiceSpec, Value};
use rookery_tests::cost::Cost;
use rookery_tests::http::{self, Connection};
use rookery_tests::server::{self, Server, TOKEN};
use rookery_web::App;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

const STEP_MS: i64 = 60_000;
const GROUPS: u64 = 20;
/// Rows of a frame.
const FRAME_ROWS: i64 = 60;
/// Nodes that are sent at the same time.
const SENDERS: u64 = 8;

#[derive(Parser)]
struct Args {
    #[arg(long, default_value_t = 1000)]
    nodes: u64,
    /// Hours of history
    #[arg(long, default_value_t = 26)]
    hours: i64,
    /// How often each page is asked for
    #[arg(long, default_value_t = 9)]
    times: usize,
    /// Only pages with this in their address
    #[arg(long, default_value = "")]
    only: String,
    /// Where the history is; filled if it is not there
    #[arg(long)]
    dir: Option<PathBuf>,
    /// Serve and wait, to look at the pages
    #[arg(long)]
    wait: bool,
    /// `serve DIR ADDR`: what this program starts itself as
    #[arg(hide = true)]
    serve: Vec<String>,
}

fn main() -> Res<()> {
    let args = Args::parse();
    if let [what, dir, addr] = args.serve.as_slice()
        && what == "serve"
    {
        return Ok(server::serve(Path::new(dir), addr, pages)?);
    }
    tokio::runtime::Builder::new_multi_thread().enable_all().build()?.block_on(run(args))
}

fn pages(c: &Collector) -> axum::Router {
    rookery_web::router(App::new(c.history(), c.states(), c.events(), c.auth()))
}

/// About 100 fields under the names of a real host's services.
fn services() -> Vec<ServiceSpec> {
    let mut out = Vec::new();
    let mut add = |name: &str, title: &str, category: &str, vlabel: &str, fields: &[&str]| {
        let stack = matches!(name, "cpu" | "memory");
        let fields = fields.iter().map(|f| {
            let draw = if stack { Draw::AreaStack } else { Draw::Line1 };
            FieldSpec::gauge(f, f).draw(draw)
        });
        let mut spec = ServiceSpec::new(name, title, category).vlabel(vlabel);
        spec = spec.fields(fields.collect());
        spec.step_ms = STEP_MS as u64;
        out.push(spec);
    };
    let cpu = ["system", "user", "nice", "iowait", "irq", "softirq", "steal", "idle"];
    add("cpu", "CPU usage", "system", "%", &cpu);
    add("load", "Load average", "system", "load", &["load", "load5", "load15"]);
    add("processes", "Processes", "processes", "processes", &["run", "sleep", "zombie"]);
    let memory = ["apps", "slab", "buffers", "cached", "swap", "free"];
    add("memory", "Memory usage", "memory", "bytes", &memory);
    let disks = ["sda", "sdb", "sdc", "nvme0n1"];
    add("df", "Disk usage", "disk", "%", &["root", "home", "var", "data"]);
    add("diskstats_utilization", "Disk utilization", "disk", "%", &disks);
    for disk in disks {
        let of = |what: &str| format!("diskstats_{what}.{disk}");
        add(
            &of("latency"),
            &format!("Latency of {disk}"),
            "disk",
            "ms",
            &["read", "write", "queue"],
        );
        add(&of("iops"), &format!("IO/s of {disk}"), "disk", "per ${graph_period}", &["rd", "wr"]);
        let bytes = "bytes per ${graph_period}";
        add(&of("throughput"), &format!("Bytes of {disk}"), "disk", bytes, &["rd", "wr"]);
    }
    for card in ["eth0", "eth1"] {
        let bytes = "bytes in (-) / out (+) per ${graph_period}";
        add(
            &format!("if_{card}"),
            &format!("Traffic of {card}"),
            "network",
            bytes,
            &["down", "up"],
        );
        let errors = "errors per ${graph_period}";
        add(&format!("if_err_{card}"), "Errors", "network", errors, &["rx", "tx", "drop"]);
    }
    let tcp = ["established", "wait", "listen", "reset", "failed"];
    add("netstat", "Connections", "network", "connections", &tcp);
    let nfs = ["read", "write", "lookup", "getattr", "commit", "access"];
    add("nfs", "NFS calls", "network", "calls per ${graph_period}", &nfs);
    let ages = ["c1", "c2", "c3", "c4", "c5", "c6"];
    add("sensors", "Temperatures", "sensors", "degrees Celsius", &ages);
    add("vmstat", "Paging", "memory", "pages per ${graph_period}", &["in", "out", "fault"]);
    out
}

fn node_name(idx: u64) -> String {
    format!("rack{:02};node{idx:04}", idx % GROUPS)
}

fn noise(seed: u64) -> f64 {
    let mut x = seed.wrapping_add(0x9e37_79b9_7f4a_7c15).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    x = (x ^ (x >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((x ^ (x >> 31)) >> 40) as f64 / f64::from(1u32 << 24)
}

/// Sends all of a node's history.
async fn ship(connection: &mut Connection, idx: u64, end: i64, hours: i64) -> Res<()> {
    let mut services = services();
    let slow = idx % 100 == 7;
    let over = idx % 100 == 13;
    for spec in services.iter_mut().filter(|s| s.name == "df") {
        spec.fields[1].warning = Some("92".to_owned());
    }
    let key = |s: &ServiceSpec, f: &FieldSpec| FieldKey::new(&s.name, &f.name);
    let keys = services.iter().flat_map(|s| s.fields.iter().map(move |f| key(s, f)));
    let layout = Layout::new(keys.collect());
    let (mut cells, mut writer) = (Cells::new(), FrameWriter::default());
    // One in a hundred has been silent for half an hour.
    let end = if idx % 100 == 42 { end - 1_800_000 } else { end };
    let n_rows = hours * 60;
    let name = node_name(idx);
    for from in (0..n_rows).step_by(FRAME_ROWS as usize) {
        writer.start(&name, 1, (from / FRAME_ROWS) as u64 + 1);
        if from == 0 {
            let group = name.split(';').next().unwrap_or_default().to_owned();
            writer.announce(&Announce { services: services.clone(), group, ..Announce::default() });
            writer.layout(&layout);
        }
        for i in from..n_rows.min(from + FRAME_ROWS) {
            cells.clear();
            for (s, spec) in services.iter().enumerate() {
                for f in 0..spec.fields.len() {
                    let seed = (idx << 40) ^ ((s as u64) << 32) ^ ((f as u64) << 24) ^ i as u64;
                    let mut v = 10.0 + s as f64 + 3.0 * noise(seed);
                    if slow && spec.name == "diskstats_latency.sdb" {
                        v *= 20.0;
                    }
                    if over && spec.name == "df" && f == 1 {
                        v = 95.0;
                    }
                    cells.push(Value::Float((v * 100.0).round() / 100.0));
                }
            }
            writer.row(layout.id(), end - (n_rows - i) * STEP_MS, &cells);
        }
        let request = http::post("/api/v1/ingest", TOKEN, CONTENT_TYPE, writer.finish());
        let answer = connection.exchange(&request).await?;
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("{name}: {} {text}", answer.status).into());
        }
    }
    Ok(())
}

async fn fill(server: &Server, args: &Args) -> Res<()> {
    let began = Instant::now();
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH)?;
    let end = since.as_millis() as i64;
    let (hours, nodes) = (args.hours, args.nodes);
    let senders: Vec<_> = (0..SENDERS)
        .map(|first| {
            let addr = server.addr.clone();
            tokio::spawn(async move {
                let mut connection = Connection::open(&addr).await?;
                for idx in (first..nodes).step_by(SENDERS as usize) {
                    ship(&mut connection, idx, end, hours).await?;
                }
                Ok::<(), Box<dyn Error + Send + Sync>>(())
            })
        })
        .collect();
    for sender in senders {
        sender.await??;
    }
    let n_fields: usize = services().iter().map(|s| s.fields.len()).sum();
    println!(
        "{nodes} nodes, {n_fields} fields each, {hours} h by the minute: sent in {:.0} s",
        began.elapsed().as_secs_f64()
    );
    Ok(())
}

async fn run(args: Args) -> Res<()> {
    let scratch = tempfile::tempdir()?;
    let dir = args.dir.clone().unwrap_or_else(|| scratch.path().join("history"));
    let is_new = !dir.join("data").exists();
    let server = Server::start(&dir, None)?;
    if is_new {
        fill(&server, &args).await?;
    }
    if args.wait {
        println!("http://{}/ until Ctrl-C", server.addr);
        return Ok(tokio::signal::ctrl_c().await?);
    }
    // What waits to be sealed would take its time from the pages.
    let mut connection = Connection::open(&server.addr).await?;
    tokio::time::sleep(Duration::from_secs(5)).await;
    let (group, node) = ("rack07", node_name(7).replace(';', "%3B"));
    let sum = "/graph.svg?f=mean:rack07/cpu/*&from=-1d&to=now&width=290&height=110&legend=0";
    let small = "from=-1d&to=now&width=290&height=110&legend=0";
    let pages = [
        "/".to_owned(),
        format!("/group/{group}"),
        "/nodes".to_owned(),
        format!("/node/{node}"),
        format!("/node/{node}/diskstats_latency.sdb"),
        format!("/node/{node}/diskstats_latency.sdb?from=-6h&to=now"),
        format!("/node/{node}/diskstats_latency.sdb/write"),
        "/category/disk".to_owned(),
        "/compare".to_owned(),
        "/compare?service=diskstats_latency.sdb".to_owned(),
        format!("/compare?service=cpu&group={group}"),
        "/problems".to_owned(),
        "/outliers".to_owned(),
        "/search?q=node0907+sdb".to_owned(),
        "/api/v1/search?q=sd&limit=12".to_owned(),
        "/events".to_owned(),
        "/reports".to_owned(),
        "/wall".to_owned(),
        "/api/v1/nodes".to_owned(),
        format!("/graph/{node}/cpu.svg?{small}"),
        sum.to_owned(),
        sum.replace("mean:rack07", "mean:"),
    ];
    println!("| page | first ms | median ms | worst ms | CPU ms | kB | kB gzipped |");
    println!("|---|---|---|---|---|---|---|");
    for page in pages.iter().filter(|p| p.contains(&args.only)) {
        measure(&args, &server, &mut connection, page).await?;
    }
    Ok(())
}

async fn measure(args: &Args, server: &Server, connection: &mut Connection, page: &str) -> Res<()> {
    let plain = http::get(page);
    let gzip = String::from_utf8_lossy(&plain)
        .replace("\r\n\r\n", "\r\nAccept-Encoding: gzip\r\n\r\n")
        .into_bytes();
    let mut took = Vec::new();
    let mut cpu = 0.0;
    let mut bytes = 0;
    for i in 0..=args.times {
        let before = Cost::of(server.pid())?.cpu_s();
        let began = Instant::now();
        let answer = connection.exchange(&gzip).await?;
        took.push(began.elapsed().as_secs_f64() * 1e3);
        if i > 0 {
            cpu += Cost::of(server.pid())?.cpu_s() - before;
        }
        if answer.status != 200 {
            let text = String::from_utf8_lossy(&answer.body).into_owned();
            return Err(format!("{page}: {} {text}", answer.status).into());
        }
        bytes = answer.body.len();
    }
    let unpacked = connection.exchange(&plain).await?.body.len();
    let first = took.remove(0);
    took.sort_by(f64::total_cmp);
    println!(
        "| {page} | {first:.1} | {:.1} | {:.1} | {:.1} | {:.1} | {:.1} |",
        took[took.len() / 2],
        took[took.len() - 1],
        cpu * 1e3 / args.times as f64,
        unpacked as f64 / 1e3,
        bytes as f64 / 1e3
    );
    Ok(())
}
