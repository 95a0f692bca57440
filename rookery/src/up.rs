//! `rookery up`: agent, collector, pages and alerts for this host in one
//! process tree.

use crate::beside;
use crate::collector::{Server, runtime, stop_signal};
use crate::logging;
use clap::Args as ClapArgs;
use rookery_agent::probes::PROBES;
use rookery_agent::{AgentError, Config as AgentConfig, Found, Span};
use rookery_collector::config::Config;
use rookery_plugins::config::parse_span_ms;
use std::io::Write;
use std::path::{Path, PathBuf};
use tokio::sync::{oneshot, watch};

/// How often plugins are fetched unless `--step` says otherwise, s: a graph of
/// a counter needs two readings before it shows its first point.
const PLUGIN_STEP_S: u64 = 20;

#[derive(ClapArgs)]
#[command(after_help = "Example: rookery up --data ./rookery-data --listen 127.0.0.1:4950")]
pub struct Args {
    /// The folder of the history, the token and the spool
    #[arg(long, value_name = "DIR", default_value = "./rookery-data")]
    data: PathBuf,
    /// Pages and API [default: 127.0.0.1:4950]
    #[arg(long, value_name = "ADDR")]
    listen: Option<String>,
    /// Munin's protocol; "none" disables it
    #[arg(long, value_name = "ADDR", default_value = "127.0.0.1:4949")]
    node_listen: String,
    /// A folder of plugin executables, beside /etc/munin/plugins and
    /// /etc/rookery/plugins
    #[arg(long, value_name = "DIR")]
    plugins: Vec<PathBuf>,
    /// How often probes and plugins are read [default: 10s and 20s]
    #[arg(long, value_name = "SPAN", value_parser = parse_span_ms)]
    step: Option<u64>,
    /// A folder of alert rules (*.toml)
    #[arg(long, value_name = "DIR")]
    alerts: Option<PathBuf>,
    /// A collector.toml, for mail and contacts
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// An agent.toml, for probes and plugins
    #[arg(long, value_name = "FILE")]
    agent_config: Option<PathBuf>,
}

pub fn run(args: &Args) -> Result<(), String> {
    let collector = collector_config(args)?;
    collector.check()?;
    let agent = agent_config(args)?;
    logging::start("warn");
    // The history, its token and the spool are for who runs it, and for the group.
    rustix::process::umask(rustix::fs::Mode::RWXO | rustix::fs::Mode::WGRP);
    let runtime = runtime()?;
    let done = runtime.block_on(async {
        let mut stop = stop_signal()?;
        let server = Server::open(&collector).await?;
        let addr = server.addr;
        let mut agent = agent;
        agent.collector = format!("http://{addr}");
        agent.token = server.collector.token().to_owned();
        let (stop_agent, agent_stopped) = watch::channel(false);
        let (stop_server, server_stopped) = watch::channel(false);
        let serving = tokio::spawn(server.run(server_stopped));
        let place = Place { addr: addr.to_string(), data: args.data.clone(), agent: agent.clone() };
        let mut watching = start_agent(agent, agent_stopped, place)?;
        let failed = tokio::select! {
            // An error means that nobody can say stop any more: the same.
            _ = stop.wait_for(|s| *s) => None,
            result = &mut watching => Some(result),
        };
        // The agent goes first: what it read last still finds the collector.
        let _ = stop_agent.send(true);
        let result = match failed {
            Some(result) => result,
            None => watching.await,
        };
        let _ = stop_server.send(true);
        let served = serving.await.map_err(|e| format!("BUG: the server broke off: {e}"))?;
        result.map_err(|_| "BUG: the agent's thread panicked".to_owned())??;
        served
    });
    beside::end(runtime);
    done
}

fn collector_config(args: &Args) -> Result<Config, String> {
    let mut config = match &args.config {
        Some(file) => Config::load(file, true)?,
        None => Config::default(),
    };
    config.data.clone_from(&args.data);
    if let Some(listen) = &args.listen {
        config.listen.clone_from(listen);
    }
    if let Some(alerts) = &args.alerts {
        if !alerts.is_dir() {
            return Err(format!("--alerts {}: there is no such folder", alerts.display()));
        }
        config.alerts.clone_from(alerts);
    }
    Ok(config)
}

fn agent_config(args: &Args) -> Result<AgentConfig, String> {
    let mut config = match &args.agent_config {
        Some(file) => AgentConfig::load(file, true, &PROBES)?,
        None => AgentConfig { plugin_step: Span::seconds(PLUGIN_STEP_S), ..AgentConfig::default() },
    };
    config.listen = args.node_listen.clone().into();
    // Plugins run in a folder of their own: what they are told must be whole.
    let data = std::path::absolute(&args.data)
        .map_err(|e| format!("--data {}: {e}", args.data.display()))?;
    config.spool = data.join("spool");
    config.plugin_state = data.join("plugin-state");
    for dir in &args.plugins {
        if !dir.is_dir() {
            return Err(format!("--plugins {}: there is no such folder", dir.display()));
        }
        let whole = std::path::absolute(dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        config.plugin_dirs.push(whole);
    }
    if let Some(ms) = args.step {
        config.step = Span { ms };
        config.plugin_step = Span { ms };
    }
    config.check(&PROBES)?;
    Ok(config)
}

/// What the greeting names.
struct Place {
    addr: String,
    data: PathBuf,
    agent: AgentConfig,
}

/// The agent has a thread and a runtime of its own, as it has a process of its
/// own elsewhere: what it measures is not disturbed by requests.
fn start_agent(
    config: AgentConfig,
    stopped: watch::Receiver<bool>,
    place: Place,
) -> Result<oneshot::Receiver<Result<(), String>>, String> {
    let (done, result) = oneshot::channel();
    let run = move || -> Result<(), String> {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .map_err(|e| format!("no runtime: {e}"))?;
        let greet = move |found: Found| greet(&place, &found);
        runtime
            .block_on(rookery_agent::run(config, stopped, greet))
            .map_err(|e: AgentError| e.to_string())
    };
    std::thread::Builder::new()
        .name("rookery-agent".to_owned())
        .spawn(move || {
            // Whoever waits may be gone: stopping already.
            let _ = done.send(run());
        })
        .map_err(|e| format!("cannot start the agent's thread: {e}"))?;
    Ok(result)
}

fn greet(place: &Place, found: &Found) {
    let node = place.agent.node_name();
    let text = format!(
        "Rookery watches {node}: {} services with {} fields, from {} probes and {} plugins.\n\
         Pages:    http://{}/\n\
         Munin:    {}\n\
         History:  {}\n\
         Ctrl-C stops; started again, it goes on with the same history.\n",
        found.services,
        found.fields,
        found.probes,
        found.plugins,
        place.addr,
        place.agent.listen,
        shown(&place.data),
    );
    let mut out = std::io::stdout().lock();
    // A closed standard output is no reason to stop watching.
    let _ = out.write_all(text.as_bytes()).and_then(|()| out.flush());
}

fn shown(dir: &Path) -> String {
    std::path::absolute(dir).unwrap_or_else(|_| dir.to_owned()).display().to_string()
}
