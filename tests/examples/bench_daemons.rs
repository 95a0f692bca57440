//! What it costs to watch daemons: the agent beside munin-node with Debian's
//! plugins for the same ones and collectd with its own, each second, in one run;
//! and the host itself: an agent beside collectd and node_exporter.
//!
//! `cargo build --release -p rookery -p rookery-agent && cargo run --release \
//!   -p rookery-tests --example bench_daemons -- --seconds 60`
//!
//! As root, with what `tests/install` installs and the modules of the plugins
//! (libdbd-mysql-perl, libdbd-pg-perl, libcache-memcached-perl,
//! libcache-cache-perl; PERL5LIB may say where they are), collectd-core with
//! libmariadb3, libpq5, libhiredis and libvarnishapi, and prometheus-node-exporter.
//! What is not installed is left out. CPU is user and
//! system of the processes and their children, from /proc/PID/stat; the agent's
//! is the difference to another one that runs beside it without these probes.
//! Plugins are asked by `fetch` only, one cycle a second, or as often as they
//! can be.

use clap::Parser;
use rookery_tests::cost::Cost;
use rookery_tests::http::{Connection, get};
use rookery_tests::peers::{Collectd, NodeExporter};
use rookery_tests::server::{Server, TOKEN};
use rookery_tests::zoo::{PROBES, Res, Zoo, built};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const LIBRARY: &str = "/usr/share/munin/plugins";
/// Until counters have been read twice, and every service is known.
const SETTLED: Duration = Duration::from_secs(15);
const STEP: Duration = Duration::from_secs(1);
/// Of mysql_.
const NAMES: &str = "bin_relay_log commands connections files_tables innodb_bpool \
                     innodb_bpool_act innodb_insert_buf innodb_io innodb_io_pend innodb_log \
                     innodb_rows innodb_semaphores innodb_tnx myisam_indexes network_traffic \
                     qcache qcache_mem select_types slow sorts table_locks tmp_tables";

#[derive(Parser)]
struct Args {
    /// How long is measured
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// Ends with this value.
struct Running(Child);

impl Running {
    fn start(command: &mut Command) -> Res<Running> {
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(Running(command.spawn().map_err(|e| format!("{command:?}: {e}"))?))
    }

    /// CPU seconds of it and its children so far.
    fn cpu(&self) -> Res<f64> {
        let cost = Cost::of(self.0.id())?;
        Ok(cost.cpu_s() + cost.children_s)
    }

    /// Resident now, bytes.
    fn resident(&self) -> Res<f64> {
        let text = std::fs::read_to_string(format!("/proc/{}/status", self.0.id()))?;
        let line = text.lines().find_map(|l| l.strip_prefix("VmRSS:"));
        let number = line.and_then(|l| l.split_whitespace().next()?.parse::<f64>().ok());
        Ok(number.ok_or("no VmRSS")? * 1024.0)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[tokio::main]
async fn main() -> Res<()> {
    let args = Args::parse();
    let mut zoo = Zoo::start()?;
    let server = Server::start(&zoo.path("collector"), Some(&built("rookery")?))?;
    zoo.drive()?;
    let off: String = PROBES.map(|p| format!("[probe.{p}]\nenabled = false\n")).concat();
    let with = agent(&zoo, &server, "with", &zoo.agent_config(), false)?;
    let without = agent(&zoo, &server, "without", &off, false)?;
    let host = agent(&zoo, &server, "host", &off, true)?;
    let (of_daemons, of_host) = (Collectd::of_daemons(&zoo)?, Collectd::of_host(&zoo)?);
    let exporter = NodeExporter::new()?;
    // Who, and how many fields it has.
    let mut peers: Vec<(&str, Running, Fields<'_>)> = vec![];
    for (who, command, count) in [
        ("collectd, daemons", Ok(of_daemons.command()), Fields::Collectd(&of_daemons)),
        ("collectd, host", Ok(of_host.command()), Fields::Collectd(&of_host)),
        ("node_exporter, host", exporter.command(), Fields::Exporter(&exporter)),
    ] {
        match command.and_then(|mut command| Running::start(&mut command)) {
            Ok(running) => peers.push((who, running, count)),
            Err(e) => println!("{who}: {e}"),
        }
    }
    let munin = munin_node(&zoo)?;
    let mut talk = Talk::new(munin.1)?;
    std::thread::sleep(SETTLED);
    let plugins = talk.plugins()?;
    let mut of_plugins = BTreeMap::new();
    for name in &plugins {
        of_plugins.insert(name.clone(), talk.fetch(name)?);
    }
    drop(talk);

    let before = (with.cpu()?, without.cpu()?, munin.0.cpu()?, host.cpu()?);
    let before_peers: Vec<f64> = peers.iter().map(|(_, p, _)| p.cpu()).collect::<Res<_>>()?;
    let scraper = Scraper::start(peers.iter().any(|(_, _, f)| f.is_scraped()).then_some(&exporter));
    let since = Instant::now();
    let mut cycles = 0u32;
    while since.elapsed().as_secs() < args.seconds {
        let mut talk = Talk::new(munin.1)?;
        for name in &plugins {
            talk.fetch(name)?;
        }
        cycles += 1;
        std::thread::sleep((STEP * cycles).saturating_sub(since.elapsed()));
    }
    // The node's child for the last connection has to be waited for.
    std::thread::sleep(Duration::from_millis(300));
    let seconds = since.elapsed().as_secs_f64();
    let (ours, base) = (with.cpu()? - before.0, without.cpu()? - before.1);
    let (theirs, own) = (munin.0.cpu()? - before.2, host.cpu()? - before.3);
    let after_peers: Vec<f64> = peers.iter().map(|(_, p, _)| p.cpu()).collect::<Res<_>>()?;
    let scrapes = scraper.stop();

    let fields = self::fields(&server, "with").await? - self::fields(&server, "without").await?;
    let of_plugins: usize = of_plugins
        .iter()
        .map(|(name, fields)| {
            if *fields == 0 {
                println!("{name} gave nothing: is its module there?");
            }
            fields
        })
        .sum();
    let n = plugins.len();
    println!("{} probes, {n} plugins, {seconds:.0} s", PROBES.len());
    println!("| | fields | cycles | CPU ms a cycle | CPU us a field and cycle | resident MB |");
    println!("|---|---|---|---|---|---|");
    let line = |who: &str, fields: usize, cycles: f64, cpu: f64, mb: f64| {
        let cycle = cpu / cycles;
        let field = cycle * 1e6 / fields as f64;
        let ms = cycle * 1e3;
        println!("| {who} | {fields} | {cycles:.0} | {ms:.2} | {field:.1} | {mb:.1} |");
    };
    line("rookery-agent", fields, seconds, ours - base, with.resident()? / 1e6);
    let resident = munin.0.resident()? / 1e6;
    line("munin-node", of_plugins, f64::from(cycles), theirs, resident);
    let host_fields =
        self::fields(&server, "host").await? - self::fields(&server, "without").await?;
    for ((who, running, count), (after, before)) in
        peers.iter().zip(after_peers.iter().zip(before_peers))
    {
        let cycles = if count.is_scraped() { f64::from(scrapes) } else { seconds };
        line(who, count.count()?, cycles, after - before, running.resident()? / 1e6);
    }
    line("rookery-agent, host", host_fields, seconds, own, host.resident()? / 1e6);
    println!(
        "without these probes the agent takes {:.2} ms a cycle and has {:.1} MB resident",
        base * 1e3 / seconds,
        without.resident()? / 1e6
    );
    Ok(())
}

/// Who knows how many fields a peer has.
enum Fields<'a> {
    Collectd(&'a Collectd),
    Exporter(&'a NodeExporter),
}

impl Fields<'_> {
    fn is_scraped(&self) -> bool {
        matches!(self, Fields::Exporter(_))
    }

    fn count(&self) -> Res<usize> {
        match self {
            Fields::Collectd(collectd) => {
                let all = collectd.values()?;
                println!("collectd: {all:?}");
                Ok(all.iter().map(|(_, n)| n).sum())
            }
            Fields::Exporter(exporter) => exporter.scrape(),
        }
    }
}

/// Asks node_exporter once a second.
struct Scraper(std::sync::Arc<std::sync::atomic::AtomicBool>, std::thread::JoinHandle<u32>);

impl Scraper {
    fn start(exporter: Option<&NodeExporter>) -> Scraper {
        let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
        let (flag, port) = (stop.clone(), exporter.map(|e| e.port));
        let thread = std::thread::spawn(move || {
            let (since, mut n) = (Instant::now(), 0);
            while let Some(port) = port.filter(|_| !flag.load(std::sync::atomic::Ordering::Relaxed))
            {
                if let Err(e) = (NodeExporter { port }).scrape() {
                    println!("{e}");
                }
                n += 1;
                std::thread::sleep((STEP * n).saturating_sub(since.elapsed()));
            }
            n
        });
        Scraper(stop, thread)
    }

    fn stop(self) -> u32 {
        self.0.store(true, std::sync::atomic::Ordering::Relaxed);
        self.1.join().unwrap_or(0)
    }
}

/// An agent; with the host's own probes, too, or without.
fn agent(zoo: &Zoo, server: &Server, node: &str, probes: &str, host: bool) -> Res<Running> {
    let mut text = format!(
        "node = {node:?}\ncollector = \"http://{}\"\ntoken = {TOKEN:?}\nlisten = \"none\"\n\
         step = \"1s\"\nspool = {:?}\nplugin_dirs = []\n{probes}",
        server.addr,
        zoo.path(&format!("spool-{node}")),
    );
    for probe in rookery_plugins::probes::PROBES.iter().map(|p| p.name).filter(|_| !host) {
        text += &format!("[probe.{probe}]\nenabled = false\n");
    }
    let file = zoo.path(&format!("{node}.toml"));
    std::fs::write(&file, text)?;
    Running::start(Command::new(built("rookery-agent")?).arg("--config").arg(file))
}

/// All fields of a node, but for those about the agent itself.
async fn fields(server: &Server, node: &str) -> Res<usize> {
    let mut connection = Connection::open(&server.addr).await?;
    let answer = connection.exchange(&get(&format!("/api/v1/services?node={node}"))).await?;
    let services: Vec<serde_json::Value> = serde_json::from_slice(&answer.body)?;
    let own = |s: &&serde_json::Value| s["category"] != "rookery";
    let counts = services.iter().filter(own).filter_map(|s| s["fields"].as_array());
    Ok(counts.map(Vec::len).sum())
}

/// munin-node with plugins and configuration of its own; its port.
fn munin_node(zoo: &Zoo) -> Res<(Running, u16)> {
    let (links, sections) = (zoo.path("plugins"), zoo.path("plugin-conf.d"));
    std::fs::create_dir(&links)?;
    std::fs::create_dir(&sections)?;
    let p = zoo.ports;
    let link = |plugin: &str, name: &str| {
        std::os::unix::fs::symlink(Path::new(LIBRARY).join(plugin), links.join(name))
    };
    for name in NAMES.split_whitespace() {
        link("mysql_", &format!("mysql_{name}"))?;
    }
    for name in ["bytes", "counters", "rates"] {
        link("memcached_", &format!("memcached_{name}"))?;
    }
    link("haproxy_", "haproxy_all")?;
    link("haproxy_ng", "haproxy_ng")?;
    for name in ["apache_accesses", "apache_processes", "apache_volume", "nginx_request"] {
        link(name, name)?;
    }
    for name in ["nginx_status", "squid_cache", "squid_objectsize", "squid_requests"] {
        link(name, name)?;
    }
    link("squid_traffic", "squid_traffic")?;
    for name in ["cache", "connections", "locks", "querylength", "size", "transactions"] {
        link(&format!("postgres_{name}_"), &format!("postgres_{name}_ALL"))?;
    }
    for name in ["scans", "tuples"] {
        link(&format!("postgres_{name}_"), &format!("postgres_{name}_postgres"))?;
    }
    for name in ["bgwriter", "checkpoints", "connections_db", "users", "xlog"] {
        link(&format!("postgres_{name}"), &format!("postgres_{name}"))?;
    }
    // varnish_ gives no values of Varnish 7; for the others there is none.
    let text = format!(
        "[*]\nuser root\n{}\
         [mysql*]\nenv.mysqlconnection DBI:mysql:mysql;mysql_socket={}\nenv.mysqluser root\n\
         [memcached*]\nenv.host 127.0.0.1\nenv.port {}\n\
         [haproxy*]\nenv.url http://127.0.0.1:{}/;csv;norefresh\n\
         [apache*]\nenv.url http://127.0.0.1:%d/server-status?auto\nenv.ports {}\n\
         [nginx*]\nenv.url http://127.0.0.1:{}/nginx_status\n\
         [squid*]\nenv.squidhost 127.0.0.1\nenv.squidport {}\n\
         [postgres*]\nenv.PGHOST 127.0.0.1\nenv.PGPORT {}\nenv.PGUSER postgres\n",
        std::env::var("PERL5LIB").map(|at| format!("env.PERL5LIB {at}\n")).unwrap_or_default(),
        zoo.path("mysql/socket").display(),
        p.memcached,
        p.haproxy_page,
        p.apache,
        p.nginx,
        p.squid,
        p.postgres,
    );
    std::fs::write(sections.join("zoo"), text)?;
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let file = zoo.path("munin-node.conf");
    let text = format!(
        "log_level 1\nlog_file {0}/munin-node.log\npid_file {0}/munin-node.pid\nbackground 0\n\
         setsid 0\nuser root\ngroup root\nhost_name bench\nallow ^127\\.0\\.0\\.1$\n\
         host 127.0.0.1\nport {port}\n",
        zoo.dir.path().display()
    );
    std::fs::write(&file, text)?;
    // It looks at /etc/munin only: it gets one of its own.
    let script = "mount --bind \"$1\" /etc/munin/plugins && \
                  mount --bind \"$2\" /etc/munin/plugin-conf.d && \
                  exec /usr/sbin/munin-node --config \"$3\"";
    let mut command = Command::new("unshare");
    command.args(["--mount", "sh", "-c", script, "munin-node"]);
    let node = Running::start(command.args([links, sections, file]))?;
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if since.elapsed() > Duration::from_secs(30) {
            return Err("munin-node does not start".into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok((node, port))
}

/// A master's connection.
struct Talk {
    to: TcpStream,
    from: BufReader<TcpStream>,
}

impl Talk {
    fn new(port: u16) -> Res<Talk> {
        let to = TcpStream::connect(("127.0.0.1", port))?;
        to.set_nodelay(true)?;
        let from = BufReader::new(to.try_clone()?);
        let mut talk = Talk { to, from };
        talk.line()?;
        talk.to.write_all(b"cap multigraph\n")?;
        talk.line()?;
        Ok(talk)
    }

    fn line(&mut self) -> Res<String> {
        let mut line = String::new();
        match self.from.read_line(&mut line)? {
            0 => Err("munin-node hung up".into()),
            _ => Ok(line),
        }
    }

    fn plugins(&mut self) -> Res<Vec<String>> {
        // Without multigraph it would leave some out.
        self.to.write_all(b"list\n")?;
        Ok(self.line()?.split_whitespace().map(str::to_owned).collect())
    }

    /// How many values a plugin gives.
    fn fetch(&mut self, name: &str) -> Res<usize> {
        self.to.write_all(format!("fetch {name}\n").as_bytes())?;
        let mut n = 0;
        loop {
            let line = self.line()?;
            if line == ".\n" {
                return Ok(n);
            }
            n += usize::from(line.contains(".value "));
        }
    }
}
