//! collectd and node_exporter, with what they have for the same things as the
//! agent: for benchmarks beside it.

use crate::zoo::{Res, Zoo};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;

/// What collectd has of the host's own.
const OF_HOST: &str = "cpu memory swap vmem load disk df interface processes contextswitch irq \
                       entropy uptime users conntrack fhcount protocols numa nfs md sensors";

/// A collectd whose values nobody takes but who asks its socket.
pub struct Collectd {
    config: PathBuf,
    socket: PathBuf,
}

impl Collectd {
    fn new(zoo: &Zoo, name: &str, plugins: &str) -> Res<Collectd> {
        let dir = zoo.path(name);
        std::fs::create_dir(&dir)?;
        let (config, socket) = (dir.join("conf"), dir.join("sock"));
        // What it reads goes to its cache, and nowhere else.
        let text = format!(
            "Hostname \"bench\"\nInterval 1\nBaseDir {dir:?}\nPIDFile \"{at}/pid\"\n\
             TypesDB \"/usr/share/collectd/types.db\"\nReadThreads 5\n\
             LoadPlugin logfile\n<Plugin logfile>\nLogLevel err\nFile \"{at}/log\"\n</Plugin>\n\
             LoadPlugin unixsock\n<Plugin unixsock>\nSocketFile {socket:?}\n</Plugin>\n\
             PostCacheChain \"Drop\"\n<Chain \"Drop\">\nTarget \"stop\"\n</Chain>\n{plugins}",
            at = dir.display(),
        );
        std::fs::write(&config, text)?;
        Ok(Collectd { config, socket })
    }

    /// With its plugins for daemons that Debian builds, each second.
    pub fn of_daemons(zoo: &Zoo) -> Res<Collectd> {
        let p = zoo.ports;
        let plugins = format!(
            "LoadPlugin memcached\n<Plugin memcached>\n<Instance \"m\">\nHost \"127.0.0.1\"\n\
             Port \"{}\"\n</Instance>\n</Plugin>\n\
             LoadPlugin mysql\n<Plugin mysql>\n<Database \"m\">\nSocket {:?}\nUser \"root\"\n\
             InnodbStats true\n</Database>\n</Plugin>\n\
             LoadPlugin nginx\n<Plugin nginx>\nURL \"http://127.0.0.1:{}/nginx_status\"\n\
             </Plugin>\n\
             LoadPlugin apache\n<Plugin apache>\n<Instance \"a\">\n\
             URL \"http://127.0.0.1:{}/server-status?auto\"\n</Instance>\n</Plugin>\n\
             LoadPlugin postgresql\n<Plugin postgresql>\n<Database \"postgres\">\n\
             Host \"127.0.0.1\"\nPort \"{}\"\nUser \"postgres\"\n</Database>\n</Plugin>\n\
             LoadPlugin redis\n<Plugin redis>\n<Node \"one\">\nHost \"127.0.0.1\"\nPort \"{}\"\n\
             </Node>\n<Node \"replica\">\nHost \"127.0.0.1\"\nPort \"{}\"\n</Node>\n</Plugin>\n\
             LoadPlugin varnish\n<Plugin varnish>\n<Instance {:?}>\nCollectBackend true\n\
             CollectCache true\nCollectConnections true\nCollectSHM true\nCollectSMA true\n\
             CollectThreads true\nCollectWorkers true\nCollectSession true\nCollectUptime true\n\
             </Instance>\n</Plugin>\n",
            p.memcached,
            zoo.path("mysql/socket"),
            p.nginx,
            p.apache,
            p.postgres,
            p.redis,
            p.replica,
            zoo.path("varnish"),
        );
        Collectd::new(zoo, "collectd-daemons", &plugins)
    }

    /// With its plugins for the host's own, each second.
    pub fn of_host(zoo: &Zoo) -> Res<Collectd> {
        let plugins: String =
            OF_HOST.split_whitespace().map(|name| format!("LoadPlugin {name}\n")).collect();
        Collectd::new(zoo, "collectd-host", &plugins)
    }

    /// What starts it.
    pub fn command(&self) -> Command {
        let mut command = Command::new("/usr/sbin/collectd");
        command.arg("-f").arg("-C").arg(&self.config);
        command
    }

    /// Its values by plugin: how many it holds.
    pub fn values(&self) -> Res<Vec<(String, usize)>> {
        let mut to = UnixStream::connect(&self.socket)?;
        let mut from = BufReader::new(to.try_clone()?);
        to.write_all(b"LISTVAL\n")?;
        // `12 Values found`, then `TIME HOST/PLUGIN-INSTANCE/TYPE-INSTANCE`.
        let names = answer(&mut from)?;
        let mut all: Vec<(String, usize)> = vec![];
        for name in &names {
            let name = name.split_once(' ').map_or(&**name, |(_, name)| name);
            to.write_all(format!("GETVAL \"{name}\"\n").as_bytes())?;
            let n = answer(&mut from)?.len();
            let plugin = name.split('/').nth(1).unwrap_or(name);
            let plugin = plugin.split('-').next().unwrap_or(plugin);
            match all.iter_mut().find(|(p, _)| p == plugin) {
                Some((_, sum)) => *sum += n,
                None => all.push((plugin.to_owned(), n)),
            }
        }
        Ok(all)
    }
}

/// The lines behind the one that says how many they are.
fn answer(from: &mut impl BufRead) -> Res<Vec<String>> {
    let mut line = String::new();
    from.read_line(&mut line)?;
    let n: i64 = line.split(' ').next().unwrap_or("").parse()?;
    let mut lines = vec![];
    for _ in 0..n {
        let mut line = String::new();
        from.read_line(&mut line)?;
        lines.push(line.trim_end().to_owned());
    }
    Ok(lines)
}

/// A node_exporter on a free port.
pub struct NodeExporter {
    /// Of loopback.
    pub port: u16,
}

impl NodeExporter {
    /// Nothing is started yet.
    pub fn new() -> Res<NodeExporter> {
        Ok(NodeExporter { port: TcpListener::bind("127.0.0.1:0")?.local_addr()?.port() })
    }

    /// What starts it, with what it reads by default.
    pub fn command(&self) -> Res<Command> {
        const PROGRAM: &str = "/usr/bin/prometheus-node-exporter";
        if !Path::new(PROGRAM).exists() {
            return Err(format!("{PROGRAM}: not installed").into());
        }
        let mut command = Command::new(PROGRAM);
        command.arg(format!("--web.listen-address=127.0.0.1:{}", self.port));
        Ok(command)
    }

    /// Scrapes it once, as Prometheus would; how many samples it gives.
    pub fn scrape(&self) -> Res<usize> {
        let mut to = TcpStream::connect(("127.0.0.1", self.port))?;
        to.write_all(b"GET /metrics HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut text = String::new();
        to.read_to_string(&mut text)?;
        let (head, body) = text.split_once("\r\n\r\n").ok_or("node_exporter: no HTTP")?;
        if !head.contains(" 200 ") {
            return Err(format!("node_exporter: {head}").into());
        }
        Ok(body.lines().filter(|line| line.starts_with("node_")).count())
    }
}
