//! What it costs to poll munin-nodes: the collector beside Debian's munin-update,
//! with the same nodes, which are simulated on loopback.
//!
//! `cargo build --release && cargo run --release -p rookery-tests \
//!   --example bench_munin -- --binary target/release/rookery`
//!
//! As root, with Debian's munin. A node has 31 services and 161 fields, as a
//! default Debian has. CPU seconds are the master's own, its children included,
//! for each host and poll; the collector's contain journal, alerts and sealing.

use clap::Parser;
use rookery_tests::cost::Cost;
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};

type Res<T> = Result<T, Box<dyn Error + Send + Sync>>;

const SERVICES: usize = 31;
const FIELDS: usize = 161;

#[derive(Parser)]
struct Args {
    /// The built `rookery`
    #[arg(long)]
    binary: PathBuf,
    #[arg(long, default_value_t = 200)]
    nodes: usize,
    /// Polls of the collector that are measured
    #[arg(long, default_value_t = 5)]
    polls: u64,
    /// Polls of munin-update that are measured
    #[arg(long, default_value_t = 2)]
    updates: u32,
}

/// What all nodes answer.
struct Node {
    list: String,
    /// By service: `config` and `fetch`.
    answers: Vec<[String; 2]>,
    fetches: AtomicU64,
}

impl Node {
    fn new() -> Node {
        let mut list = Vec::new();
        let mut answers = Vec::new();
        for s in 0..SERVICES {
            let n = FIELDS * (s + 1) / SERVICES - FIELDS * s / SERVICES;
            let mut config = format!(
                "graph_title Service {s}\ngraph_args --base 1000 -l 0\ngraph_vlabel per \
                 ${{graph_period}}\ngraph_category bench\ngraph_info What it is and means.\n"
            );
            let mut fetch = String::new();
            for f in 0..n {
                config += &format!(
                    "f{f}.label field {f}\nf{f}.type DERIVE\nf{f}.min 0\nf{f}.draw LINE1\n\
                     f{f}.info One of many.\n"
                );
                fetch += &format!("f{f}.value {}\n", 1000 * s + f);
            }
            list.push(format!("service{s}"));
            answers.push([config + ".\n", fetch + ".\n"]);
        }
        Node { list: list.join(" ") + "\n", answers, fetches: AtomicU64::new(0) }
    }

    async fn serve(self: Arc<Node>, stream: TcpStream, name: String) -> Res<()> {
        stream.set_nodelay(true)?;
        let (read, mut write) = stream.into_split();
        write.write_all(format!("# munin node at {name}\n").as_bytes()).await?;
        let mut lines = BufReader::new(read).lines();
        while let Some(line) = lines.next_line().await? {
            let mut words = line.split_whitespace();
            let verb = words.next().unwrap_or("");
            let service = words.next().and_then(|w| w.strip_prefix("service")?.parse().ok());
            let answer = match (verb, service) {
                ("cap", _) => "cap multigraph dirtyconfig\n",
                ("list", _) => &self.list,
                ("config", Some::<usize>(i)) => &self.answers[i % SERVICES][0],
                ("fetch", Some(i)) => {
                    self.fetches.fetch_add(1, Ordering::Relaxed);
                    &self.answers[i % SERVICES][1]
                }
                _ => return Ok(()),
            };
            write.write_all(answer.as_bytes()).await?;
        }
        Ok(())
    }
}

fn main() -> Res<()> {
    let args = Args::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let node = Arc::new(Node::new());
    let mut conf = String::new();
    for i in 0..args.nodes {
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
        let name = format!("node{i:04}.example");
        conf += &format!("[{name}]\naddress 127.0.0.1\nport {}\n", listener.local_addr()?.port());
        let node = node.clone();
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                // A master that leaves is none of its business.
                tokio::spawn(node.clone().serve(stream, name.clone()));
            }
        });
    }
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    println!("{} nodes of {SERVICES} services and {FIELDS} fields", args.nodes);
    let ours = collector(&args, dir.path(), &conf, &node)?;
    let theirs = munin_update(&args, dir.path(), &conf)?;
    println!("munin-update takes {:.0} times the CPU", theirs / ours);
    Ok(())
}

/// CPU seconds a host and poll.
fn collector(args: &Args, dir: &Path, conf: &str, node: &Node) -> Res<f64> {
    let file = dir.join("munin.conf");
    std::fs::write(&file, conf)?;
    let addr = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
    let config = dir.join("collector.toml");
    let text = format!(
        "listen = \"{addr}\"\ndata = {:?}\n[[munin]]\nconf = {file:?}\ninterval = \"5s\"\n",
        dir.join("data")
    );
    std::fs::write(&config, text)?;
    let mut child = Command::new(&args.binary)
        .arg("collector")
        .arg("--config")
        .arg(config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()?;
    let a_poll = (args.nodes * SERVICES) as u64;
    let wait = |n: u64| -> Res<()> {
        let since = Instant::now();
        while node.fetches.load(Ordering::Relaxed) < n {
            if since.elapsed() > Duration::from_secs(300) {
                return Err("the collector does not poll".into());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        Ok(())
    };
    // The first brings the configurations.
    wait(a_poll)?;
    std::thread::sleep(Duration::from_secs(2));
    let (before, began) = (Cost::of(child.id())?, Instant::now());
    let first = node.fetches.load(Ordering::Relaxed);
    wait(first + args.polls * a_poll)?;
    std::thread::sleep(Duration::from_secs(2));
    let after = Cost::of(child.id())?;
    let n = (node.fetches.load(Ordering::Relaxed) - first) as f64 / SERVICES as f64;
    let cpu = (after.cpu_s() - before.cpu_s()) / n;
    println!(
        "collector:    {cpu:.5} CPU s a host and poll; {n:.0} polls in {:.0} s; {:.0} MB resident",
        began.elapsed().as_secs_f64(),
        after.peak_rss as f64 / 1e6
    );
    child.kill()?;
    child.wait()?;
    Ok(cpu)
}

fn munin_update(args: &Args, dir: &Path, conf: &str) -> Res<f64> {
    let mut text = String::new();
    for sub in ["db", "log", "run", "html"] {
        let path = dir.join(sub);
        std::fs::create_dir(&path)?;
        if !Command::new("chown").arg("munin").arg(&path).status()?.success() {
            return Err("chown munin: is Debian's munin installed?".into());
        }
        text += &format!("{sub}dir {}\n", path.display());
    }
    let file = dir.join("munin-update.conf");
    std::fs::write(&file, text + conf)?;
    let update = || -> Res<(f64, f64)> {
        let (cpu, began) = (children_cpu_s()?, Instant::now());
        let done = Command::new("setpriv")
            .args(["--reuid=munin", "--regid=munin", "--clear-groups"])
            .args(["/usr/share/munin/munin-update", "--config"])
            .arg(&file)
            .stderr(Stdio::null())
            .status()?;
        if !done.success() {
            return Err(format!("munin-update: {done}").into());
        }
        Ok((children_cpu_s()? - cpu, began.elapsed().as_secs_f64()))
    };
    // The first makes the RRD files.
    update()?;
    let (mut cpu, mut wall) = (0.0, 0.0);
    for _ in 0..args.updates {
        let (c, w) = update()?;
        (cpu, wall) = (cpu + c, wall + w);
    }
    let n = f64::from(args.updates) * args.nodes as f64;
    println!("munin-update: {:.5} CPU s a host and poll; {wall:.0} s in all", cpu / n);
    Ok(cpu / n)
}

/// User and system time of all children that have ended, and theirs, s.
fn children_cpu_s() -> Res<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat")?;
    let after = stat.rsplit_once(')').ok_or("no name in /proc/self/stat")?.1;
    let fields: Vec<&str> = after.split_whitespace().collect();
    // cutime and cstime, proc(5).
    let ticks = fields[13].parse::<f64>()? + fields[14].parse::<f64>()?;
    Ok(ticks / rustix::param::clock_ticks_per_second() as f64)
}
