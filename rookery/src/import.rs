//! `rookery import`: another system's history into a running collector's.

use crate::client::{Client, URL, encode};
use crate::say;
use clap::{Args as ClapArgs, Subcommand};
use rookery_collector::import::{Done, Host, Master};
use rookery_plugins::TimeMs;
use rookery_web::times;
use serde_json::Value as Json;
use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Instant;

#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    from: From,
}

#[derive(Subcommand)]
enum From {
    /// A Munin master's RRD files
    Munin(Munin),
}

#[derive(ClapArgs)]
#[command(after_help = "Examples:\n  \
    rookery import munin /var/lib/munin --data /var/lib/rookery\n  \
    rookery import munin /var/lib/munin --as 'db;db1=db1.example.com'\n\n\
    Again and again is no harm: what is there already is not sent.")]
struct Munin {
    /// The master's dbdir: datafile and RRD files
    #[arg(value_name = "DIR", default_value = "/var/lib/munin")]
    dir: PathBuf,
    /// Its munin.conf, for limits and other attributes that are said there
    #[arg(long, value_name = "FILE")]
    conf: Option<PathBuf>,
    /// Only hosts whose GROUP;HOST holds this text
    #[arg(long, value_name = "TEXT")]
    only: Option<String>,
    /// What a host is called here; may be said for several
    #[arg(long = "as", value_name = "GROUP;HOST=NODE")]
    names: Vec<String>,
    /// Only say what is there
    #[arg(long)]
    dry_run: bool,
    /// The collector
    #[arg(long, default_value = URL)]
    url: String,
    /// The folder that its token is in
    #[arg(long, value_name = "DIR", default_value = "./rookery-data")]
    data: PathBuf,
}

pub fn run(args: &Args) -> Result<(), String> {
    let From::Munin(args) = &args.from;
    let mut names = BTreeMap::new();
    for text in &args.names {
        let parts =
            text.split_once('=').filter(|(host, node)| !host.is_empty() && !node.is_empty());
        let (host, node) = parts.ok_or_else(|| format!("--as {text:?}: write GROUP;HOST=NODE"))?;
        names.insert(host.to_owned(), node.to_owned());
    }
    let mut master = Master::open(&args.dir, args.conf.as_deref())?;
    if let Some(only) = &args.only {
        master.hosts.retain(|h| h.path.contains(only.as_str()));
    }
    let is_unknown = |name: &&String| !master.hosts.iter().any(|h| h.path == **name);
    if let Some(host) = names.keys().find(is_unknown) {
        return Err(format!("--as {host:?}: {} has no such host", args.dir.display()));
    }
    let mut notes = std::mem::take(&mut master.notes);
    if args.dry_run {
        for host in &master.hosts {
            say(format_args!("{}: {} RRD files", host.path, host.n_files()));
        }
        return told(&notes);
    }
    let import = Import {
        client: Client::new(&args.url)?,
        token: crate::client::token(&args.data)?,
        had: RefCell::default(),
    };
    let nodes = import.nodes()?;
    let began = Instant::now();
    let mut all = Done::default();
    let shows = std::io::stderr().is_terminal() && crate::terminal::takes_escapes();
    for (i, host) in master.hosts.iter().enumerate() {
        let name = node_of(host, &names, &nodes);
        if shows {
            let n = master.hosts.len();
            // Progress is a comfort: where it cannot be written, nothing is lost.
            let _ = write!(std::io::stderr(), "\r\x1b[K{}/{n} hosts: {name}", i + 1);
        }
        let done = import.host(host, &name, &mut notes)?;
        all.n_files += done.n_files;
        all.n_values += done.n_values;
        if shows {
            let _ = write!(std::io::stderr(), "\r\x1b[K");
        }
        let as_node = if name == host.path { String::new() } else { format!(" as {name}") };
        let (path, files, values) = (&host.path, done.n_files, done.n_values);
        say(format_args!("{path}{as_node}: {files} RRD files, {values} values"));
    }
    told(&notes)?;
    let (hosts, seconds) = (master.hosts.len(), began.elapsed().as_secs_f64());
    say(format_args!(
        "{hosts} hosts, {} RRD files, {} new values in {seconds:.1} s",
        all.n_files, all.n_values
    ));
    Ok(())
}

fn told(notes: &[String]) -> Result<(), String> {
    for note in notes {
        writeln!(std::io::stderr(), "{note}").map_err(|e| format!("standard error: {e}"))?;
    }
    Ok(())
}

/// As it was said, else as the collector knows it: with its group, or as the agent of
/// that host calls itself.
fn node_of(host: &Host, names: &BTreeMap<String, String>, nodes: &BTreeSet<String>) -> String {
    if let Some(name) = names.get(&host.path) {
        return name.clone();
    }
    let alone = host.path.rsplit(';').next().unwrap_or(&host.path);
    match !nodes.contains(&host.path) && nodes.contains(alone) {
        true => alone.to_owned(),
        false => host.path.clone(),
    }
}

struct Import {
    client: Client,
    token: String,
    /// Services of the node at hand that have averages.
    had: RefCell<Option<(String, BTreeSet<String>)>>,
}

impl Import {
    fn json(&self, path: &str) -> Result<Json, String> {
        let answer = self.client.get(path)?;
        serde_json::from_slice(&answer).map_err(|e| format!("{path}: {e}"))
    }

    fn nodes(&self) -> Result<BTreeSet<String>, String> {
        let answer = self.json("/api/v1/nodes")?;
        let nodes = answer.as_array().into_iter().flatten();
        Ok(nodes.filter_map(|n| Some(n["node"].as_str()?.to_owned())).collect())
    }

    fn host(&self, host: &Host, name: &str, notes: &mut Vec<String>) -> Result<Done, String> {
        let known = |service: &str, field: &str, from_ms: TimeMs| {
            self.newest(name, service, field, from_ms)
        };
        let mut send = |batch: &[u8]| self.client.post_batch(&self.token, batch);
        host.send(name, &known, &mut send, notes)
    }

    /// The newest average that the collector has.
    fn newest(
        &self,
        node: &str,
        service: &str,
        field: &str,
        from_ms: TimeMs,
    ) -> Result<Option<TimeMs>, String> {
        let mut had = self.had.borrow_mut();
        if had.as_ref().is_none_or(|(of, _)| of != node) {
            *had = Some((node.to_owned(), self.services(node)?));
        }
        if !had.as_ref().is_some_and(|(_, services)| services.contains(service)) {
            return Ok(None);
        }
        let path = format!(
            "/api/v1/samples?node={}&service={}&field={}&from={}&format=csv",
            encode(node),
            encode(service),
            encode(field),
            encode(&times::rfc3339(from_ms)),
        );
        let mut last = Vec::new();
        let read = self.client.stream(&path, |part| {
            last.extend_from_slice(part);
            let end = last.len().saturating_sub(1);
            if let Some(at) = last[..end].iter().rposition(|b| *b == b'\n') {
                last.drain(..=at);
            }
            Ok(())
        });
        match read {
            // It has other fields of that service.
            Err(e) if e.starts_with("no field") => return Ok(None),
            other => other?.map_err(|e| e.to_string())?,
        }
        let line = String::from_utf8_lossy(&last).into_owned();
        let time = line.split(',').next().unwrap_or_default();
        if time == "time" {
            return Ok(None);
        }
        times::parse(time, 0).map(Some).map_err(|e| format!("{path}: {e}"))
    }

    /// Those that hold averages.
    fn services(&self, node: &str) -> Result<BTreeSet<String>, String> {
        let answer = match self.json(&format!("/api/v1/services?node={}", encode(node))) {
            Err(e) if e.starts_with("no node") => return Ok(BTreeSet::new()),
            other => other?,
        };
        let all = answer.as_array().into_iter().flatten();
        let averages = all.flat_map(|s| s["averages"].as_array().into_iter().flatten());
        Ok(averages.filter_map(|a| Some(a["service"].as_str()?.to_owned())).collect())
    }
}
