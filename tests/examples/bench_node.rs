//! What it costs to answer a Munin master: the agent beside munin-node, with
//! the same executables.
//!
//! `cargo build --release && cargo run --release -p rookery-tests \
//!   --example bench_node -- --binary target/release/rookery-agent`
//!
//! As root, with Debian's munin-node. Both serve the links of
//! /etc/munin/plugins (the agent without its probes) and are asked for what a
//! master asks each cycle; beside them the executables run by themselves.
//! Figures are CPU seconds a cycle, children and theirs included.

use clap::Parser;
use rookery_agent::plugin::conf::PluginConf;
use rookery_agent::plugin::env::{self, Asker, Surroundings};
use rookery_agent::plugin::exec::Job;
use rookery_daemons::DAEMONS;
use rookery_plugins::probes::PROBES;
use rookery_tests::cost::Cost;
use rustix::fs::{Gid, Uid};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::error::Error;
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

type Res<T> = Result<T, Box<dyn Error>>;

const PLUGINS: &str = "/etc/munin/plugins";
/// The agent fetches each plugin a second time 10 s after its start.
const SETTLED: Duration = Duration::from_secs(13);

#[derive(Parser)]
struct Args {
    /// The built `rookery-agent`
    #[arg(long)]
    binary: PathBuf,
    /// How often each is asked
    #[arg(long, default_value_t = 5)]
    rounds: u32,
    /// Only runs the executables of this file: for the benchmark itself
    #[arg(long, hide = true)]
    spawn: Option<PathBuf>,
}

/// A node that is asked.
struct Node {
    child: Child,
    port: u16,
}

impl Drop for Node {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn main() -> Res<()> {
    let args = Args::parse();
    if let Some(file) = &args.spawn {
        return spawn(file);
    }
    let dir = tempfile::tempdir()?;
    std::fs::set_permissions(dir.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))?;
    let munin = start(dir.path(), munin_node)?;
    let agent = start(dir.path(), |dir, port| rookery_agent(dir, port, &args.binary))?;
    let names = names(agent.port)?;
    println!("{} plugins of {PLUGINS}; CPU s a cycle:", names.len());
    std::thread::sleep(SETTLED);
    println!("{:<10} {:>22} {:>22}", "", "config and fetch", "fetch");
    let mut sums = [[0.0; 2]; 3];
    let own_before = Cost::of(agent.child.id())?.cpu_s();
    for _ in 0..args.rounds {
        for (v, verbs) in [&["config", "fetch"][..], &["fetch"][..]].into_iter().enumerate() {
            sums[0][v] += alone(dir.path(), &jobs(dir.path(), &names, verbs)?)?;
            sums[1][v] += asked(&agent, &names, verbs)?;
            sums[2][v] += asked(&munin, &names, verbs)?;
        }
    }
    let n = f64::from(args.rounds);
    for (who, sum) in ["plugins", "agent", "munin-node"].iter().zip(sums) {
        println!("{who:<10} {:>22.3} {:>22.3}", sum[0] / n, sum[1] / n);
    }
    for (v, what) in ["config and fetch", "fetch"].iter().enumerate() {
        let over = |i: usize| (sums[i][v] / sums[0][v] - 1.0) * 100.0;
        println!("{what}: agent {:+.1} %, munin-node {:+.1} %", over(1), over(2));
    }
    let own = Cost::of(agent.child.id())?.cpu_s() - own_before;
    let n_runs = n * 2.0 * names.len() as f64;
    println!("agent without its children: {:.2} ms a plugin run", own * 1e3 / n_runs);
    println!("agent resident: {:.1} MB", Cost::of(agent.child.id())?.peak_rss as f64 / 1e6);
    Ok(())
}

/// Starts a node on a free port and waits until it answers.
fn start(dir: &Path, make: impl FnOnce(&Path, u16) -> Res<Command>) -> Res<Node> {
    let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
    let mut command = make(dir, port)?;
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
    let node = Node { child: command.spawn()?, port };
    let since = Instant::now();
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        if since.elapsed() > Duration::from_secs(60) {
            return Err(format!("{command:?} does not listen").into());
        }
        std::thread::sleep(Duration::from_millis(50));
    }
    Ok(node)
}

fn munin_node(dir: &Path, port: u16) -> Res<Command> {
    let file = dir.join("munin-node.conf");
    let text = format!(
        "log_level 1\nlog_file {0}/munin-node.log\npid_file {0}/munin-node.pid\nbackground 0\n\
         setsid 0\nuser root\ngroup root\nhost_name bench\nallow ^127\\.0\\.0\\.1$\n\
         host 127.0.0.1\nport {port}\n",
        dir.display()
    );
    std::fs::write(&file, text)?;
    let mut command = Command::new("/usr/sbin/munin-node");
    command.arg("--config").arg(file);
    Ok(command)
}

fn rookery_agent(dir: &Path, port: u16, binary: &Path) -> Res<Command> {
    let file = dir.join("agent.toml");
    let mut text = format!(
        "node = \"bench\"\ncollector = \"http://127.0.0.1:1\"\nlisten = \"127.0.0.1:{port}\"\n\
         spool = {:?}\nplugin_step = \"1h\"\nstep = \"1h\"\n",
        dir.join("spool")
    );
    for probe in PROBES.iter().chain(DAEMONS).map(|p| p.name) {
        text += &format!("[probe.{probe}]\nenabled = false\n");
    }
    std::fs::write(&file, text)?;
    let mut command = Command::new(binary);
    command.arg("--config").arg(file);
    Ok(command)
}

/// Says `commands`, reads as many answers that end with a dot.
fn talk(port: u16, commands: &[String]) -> Res<()> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    let mut writer = socket.try_clone()?;
    let mut lines = BufReader::new(socket).lines();
    lines.next().ok_or("no banner")??;
    for command in commands {
        writer.write_all(format!("{command}\n").as_bytes())?;
        loop {
            if lines.next().ok_or("hung up")?? == "." {
                break;
            }
        }
    }
    writer.write_all(b"quit\n")?;
    // EOF: the node's child for this connection has ended.
    let left = lines.count();
    if left == 0 { Ok(()) } else { Err("more than was asked for".into()) }
}

fn names(port: u16) -> Res<Vec<String>> {
    let socket = TcpStream::connect(("127.0.0.1", port))?;
    let mut writer = socket.try_clone()?;
    writer.write_all(b"cap multigraph\nlist\nquit\n")?;
    let list = BufReader::new(socket).lines().nth(2).ok_or("no list")??;
    let own = |n: &&str| !n.starts_with("rookery_");
    Ok(list.split(' ').filter(own).map(str::to_owned).collect())
}

/// The CPU that a cycle costs a node, s.
fn asked(node: &Node, names: &[String], verbs: &[&str]) -> Res<f64> {
    let pid = node.child.id();
    let cpu = || Cost::of(pid).map(|c| c.cpu_s() + c.children_s);
    let before = cpu()?;
    let commands: Vec<String> =
        names.iter().flat_map(|n| verbs.iter().map(move |v| format!("{v} {n}"))).collect();
    talk(node.port, &commands)?;
    // munin-node's child is waited for by its parent a moment later.
    std::thread::sleep(Duration::from_millis(300));
    Ok(cpu()? - before)
}

/// The CPU of the executables by themselves, s: each as the agent would run it (its user,
/// environment, folder), by a spawner that is that user already and so need not fork.
fn alone(dir: &Path, jobs: &[Job]) -> Res<f64> {
    let mut by_user: BTreeMap<(u32, Vec<u32>), Vec<&Job>> = BTreeMap::new();
    for job in jobs {
        let ids = job.ids.as_ref().ok_or("run it as root")?;
        let groups = ids.groups.iter().map(|g| g.as_raw()).collect();
        by_user.entry((ids.uid.as_raw(), groups)).or_default().push(job);
    }
    let mut sum = 0.0;
    for ((uid, groups), jobs) in by_user {
        let file = dir.join("jobs");
        let text = |s: &OsStr| s.to_string_lossy().into_owned();
        let bare: Vec<Bare> = jobs
            .into_iter()
            .map(|job| Bare {
                program: text(job.program.as_os_str()),
                args: job.args.iter().map(|a| text(a)).collect(),
                env: job.env.iter().map(|(k, v)| (k.clone(), text(v))).collect(),
            })
            .collect();
        std::fs::write(&file, serde_json::to_vec(&(uid, groups, bare))?)?;
        let mut spawner = Command::new(std::env::current_exe()?);
        spawner.args(["--binary", "-", "--spawn"]).arg(&file).current_dir("/");
        let out = spawner.stderr(Stdio::inherit()).output()?;
        sum += String::from_utf8_lossy(&out.stdout).trim().parse::<f64>()?;
    }
    Ok(sum)
}

/// What a spawner runs.
#[derive(Serialize, Deserialize)]
struct Bare {
    program: String,
    args: Vec<String>,
    env: Vec<(String, String)>,
}

/// Runs them one after the other, and prints what CPU they took, s.
fn spawn(file: &Path) -> Res<()> {
    let (uid, groups, jobs): (u32, Vec<u32>, Vec<Bare>) =
        serde_json::from_slice(&std::fs::read(file)?)?;
    // There is no other thread.
    let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
    let (uid, gid) = (Uid::from_raw(uid), *groups.first().ok_or("no group")?);
    rustix::thread::set_thread_groups(&groups)?;
    rustix::thread::set_thread_res_gid(gid, gid, gid)?;
    rustix::thread::set_thread_res_uid(uid, uid, uid)?;
    // It reads its own /proc.
    rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::Dumpable)?;
    for job in &jobs {
        let mut command = Command::new(&job.program);
        command.args(&job.args).env_clear().envs(job.env.iter().map(|(k, v)| (k, v)));
        // Some fail on some hosts; they cost all the same.
        command.stdin(Stdio::null()).output()?;
    }
    println!("{}", Cost::of(std::process::id())?.children_s);
    Ok(())
}

/// How the agent runs them, with state files of their own.
fn jobs(dir: &Path, names: &[String], verbs: &[&str]) -> Res<Vec<Job>> {
    let conf = PluginConf::load(&["/etc/munin/plugin-conf.d".into()]);
    let around = Surroundings {
        node: "bench".to_owned(),
        state_dir: dir.join("alone"),
        user: None,
        group: None,
        timeout: Duration::from_secs(60),
    };
    let asker = Asker { master: "127.0.0.1".to_owned(), dirtyconfig: false };
    let mut jobs = Vec::new();
    for name in names {
        let path = Path::new(PLUGINS).join(name);
        for verb in verbs {
            let verb = (*verb == "config").then_some(*verb);
            jobs.push(env::job(&around, &conf.settings(name), name, &path, verb, &asker)?);
        }
    }
    Ok(jobs)
}
