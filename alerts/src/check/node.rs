//! Asking a munin-node (or a rookery-agent) itself.
//!
//! A munin-node runs the plugin for each `fetch`, so that two of them a second
//! apart make a counter's rate. A rookery-agent answers with the newest values
//! of its own schedule; to make a rate of those, their time is needed. So the
//! check says `cap … times`, and a node that knows this word answers with
//! `field.value EPOCH:VALUE`, the time in seconds with a fraction. Others
//! ignore it, as they do every unknown word of `cap`.

use super::Answer;
use super::collector::no_such_service;
use super::judge::{FieldReading, Reading};
use super::munin::{self, Field};
use crate::rate;
use rookery_plugins::perfdata::clean_text;
use rookery_plugins::{FieldType, State, TimeMs, Value};
use std::time::{Duration, Instant};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};

/// Munin's port.
const PORT: u16 = 4949;
/// The most bytes of one answer.
const ANSWER_BYTES_MAX: u64 = 16 << 20;
/// How long to wait between the two readings that a rate needs.
const RATE_PAUSE: Duration = Duration::from_secs(1);

/// How often an agent reads; what a plain munin-node says has no times, and is of now, ms.
const AGENT_STEP_MS: u64 = 10_000;

/// A connection to a node.
pub(super) struct NodeClient {
    reader: BufReader<OwnedReadHalf>,
    writer: OwnedWriteHalf,
    host: String,
    /// What the node calls itself.
    name: String,
}

/// Values with the time of their reading.
type Fetched = Vec<(String, Value, Option<TimeMs>)>;

impl NodeClient {
    /// Connects to `HOST[:PORT]` and reads the greeting.
    pub(super) async fn connect(host: &str) -> Result<NodeClient, String> {
        let (name, port) = split_host(host)?;
        let stream = TcpStream::connect((name.as_str(), port))
            .await
            .map_err(|e| format!("node {name} port {port}: {e}"))?;
        let (reader, writer) = stream.into_split();
        let reader = BufReader::new(reader);
        let mut node = NodeClient { reader, writer, host: host.to_owned(), name };
        // Anything may stand before the greeting (a motd).
        loop {
            let line = node.line().await.map_err(|e| {
                format!("{e} before its greeting; is this host in the node's allow list?")
            })?;
            let words: Vec<&str> = line.split_whitespace().collect();
            if let ["#", "munin" | "lrrd", "node" | "client", "at", name, ..] = words[..] {
                name.clone_into(&mut node.name);
                return Ok(node);
            }
        }
    }

    async fn say(&mut self, line: &str) -> Result<(), String> {
        let bytes = format!("{line}\n");
        let said = self.writer.write_all(bytes.as_bytes()).await;
        said.map_err(|e| format!("node {}: {e}", self.host))
    }

    async fn line(&mut self) -> Result<String, String> {
        let mut bytes = Vec::new();
        let mut limited = (&mut self.reader).take(ANSWER_BYTES_MAX);
        let read = limited.read_until(b'\n', &mut bytes).await;
        match read {
            Ok(0) => Err(format!("node {} closed the connection", self.host)),
            Ok(_) => Ok(String::from_utf8_lossy(&bytes).trim_end().to_owned()),
            Err(e) => Err(format!("node {}: {e}", self.host)),
        }
    }

    /// The lines up to the `.`.
    async fn answer(&mut self, command: &str) -> Result<Vec<String>, String> {
        self.say(command).await?;
        let mut lines = Vec::new();
        let mut size = 0u64;
        loop {
            let line = self.line().await?;
            if line == "." {
                return Ok(lines);
            }
            size += line.len() as u64 + 1;
            if size > ANSWER_BYTES_MAX {
                let host = &self.host;
                return Err(format!("node {host}: {command}: more than {ANSWER_BYTES_MAX} bytes"));
            }
            lines.push(line);
        }
    }

    async fn services(&mut self) -> Result<Vec<String>, String> {
        self.say("cap multigraph dirtyconfig times").await?;
        self.line().await?;
        self.say("list").await?;
        Ok(self.line().await?.split_whitespace().map(str::to_owned).collect())
    }

    /// The plugins, one a line; or in one line that the node answers.
    pub(super) async fn list(&mut self, long: bool) -> Result<Answer, String> {
        let names = self.services().await?;
        let text = match long {
            true => names.iter().map(|n| clean_text(n)).collect::<Vec<_>>().join("\n"),
            false => {
                let line = format!(
                    "{} OK - node {} answers, with {} plugins",
                    self.name.to_uppercase(),
                    self.name,
                    names.len()
                );
                format!("{} | 'plugins'={}", clean_text(&line), names.len())
            }
        };
        Ok(Answer { state: State::Ok, text })
    }

    /// The `config` of a service and the plugin that has it: the service's own
    /// name, or what stands before a `.` or `_` of it (`diskstats_iops.sda` is
    /// a graph of `diskstats`).
    /// With the name that the service has now, if that was an old one.
    async fn config(&mut self, service: &str) -> Result<(String, String, Vec<String>), String> {
        if service.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(format!("{service:?} is no service's name"));
        }
        let known = self.services().await?;
        let mut plugin = service;
        loop {
            let lines = self.answer(&format!("config {plugin}")).await?;
            let failed = lines
                .iter()
                .find(|l| matches!(l.as_str(), "# Bad exit" | "# Timed out" | "# timeout"));
            if let Some(why) = failed {
                return Err(format!("node {}: plugin {plugin}: {}", self.host, &why[2..]));
            }
            let all = munin::sections(&lines);
            let old = munin::called_now(&all, service);
            for name in [Some(service.to_owned()), old].into_iter().flatten() {
                if let Some(found) = munin::section(all.clone(), &name, plugin) {
                    return Ok((plugin.to_owned(), name, found));
                }
            }
            let graphs: Vec<String> = all.into_iter().map(|(n, _)| n).collect();
            if plugin == service && !graphs.is_empty() {
                return Err(format!(
                    "{service} is several graphs; ask for one: {}",
                    graphs.join(", ")
                ));
            }
            match plugin.rfind(['.', '_']) {
                Some(i) if i > 0 => plugin = &plugin[..i],
                _ => return Err(no_such_service(&self.host, service, &known)),
            }
        }
    }

    async fn fetch(&mut self, plugin: &str, service: &str) -> Result<(Fetched, Instant), String> {
        let lines = self.answer(&format!("fetch {plugin}")).await?;
        let at = Instant::now();
        let all = munin::sections(&lines);
        let parts: Vec<String> = all.iter().map(|(n, _)| n.clone()).collect();
        match munin::section(all, service, plugin)
            .map(|l| munin::values(&l))
            .filter(|v| !v.is_empty())
        {
            Some(values) => Ok((values, at)),
            None if parts.iter().any(|p| !p.is_empty()) => Err(format!(
                "{service} has no values of its own; ask for one of {}",
                parts.join(", ")
            )),
            None => {
                let said = lines.first().map_or("nothing", String::as_str);
                Err(format!("node {}: fetch {plugin} answers {said:?}", self.host))
            }
        }
    }

    /// A service's values, rates for counters (which takes a second, or until
    /// the node has a newer value). Gives up after `deadline`.
    pub(super) async fn reading(
        &mut self,
        service: &str,
        deadline: Duration,
    ) -> Result<Reading, String> {
        let started = Instant::now();
        let (plugin, service, config) = self.config(service).await?;
        let service = service.as_str();
        let fields = munin::fields(&config)?;
        let (first, first_at) = self.fetch(&plugin, service).await?;
        let (mut last, mut last_at) = (first.clone(), first_at);
        let counts = fields.iter().any(|f| f.kind != FieldType::Gauge);
        let repeated = |last: &Fetched| {
            last.iter().any(|(n, _, t)| t.is_some() && first.iter().any(|f| f.0 == *n && f.2 == *t))
        };
        while counts && started.elapsed() + RATE_PAUSE < deadline {
            tokio::time::sleep(RATE_PAUSE).await;
            (last, last_at) = self.fetch(&plugin, service).await?;
            if !repeated(&last) {
                break;
            }
        }
        // Leaving without a word is allowed too.
        let _ = self.say("quit").await;
        let gap_ms = last_at.duration_since(first_at).as_millis() as i64;
        let find = |all: &Fetched, f: &Field| all.iter().find(|v| v.0 == f.name).cloned();
        let fields = fields
            .into_iter()
            .filter_map(|f| {
                let before = find(&first, &f);
                find(&last, &f).map(|now| finish(f, before, now, gap_ms))
            })
            .collect();
        Ok(Reading { service: service.to_owned(), step_ms: AGENT_STEP_MS, fields })
    }
}

/// Puts config and values together.
fn finish(
    f: Field,
    before: Option<(String, Value, Option<TimeMs>)>,
    now: (String, Value, Option<TimeMs>),
    gap_ms: i64,
) -> FieldReading {
    let (_, value, time_ms) = now;
    let raw = match (f.kind, before) {
        (FieldType::Gauge, _) => value.as_f64(),
        (kind, Some((_, v, t))) => {
            let times = t.zip(time_ms).unwrap_or((0, gap_ms));
            rate::per_second(kind, (times.0, v), (times.1, value))
        }
        (_, None) => None,
    };
    let bounded = rate::bounded(raw, f.min, f.max);
    let judged = match &f.cdef {
        Some(cdef) => cdef.eval(bounded),
        None => bounded,
    };
    let value = match (f.kind, &f.cdef, judged) {
        (_, _, None) => Value::Unknown,
        // As read: an integer keeps its digits.
        (FieldType::Gauge, None, Some(_)) => value,
        (_, _, Some(v)) => Value::Float(v),
    };
    // min and max are those of the value before the cdef.
    let (min, max) = if f.cdef.is_some() { (None, None) } else { (f.min, f.max) };
    let (warning, critical) = (f.warning, f.critical);
    FieldReading { field: f.name, formerly: f.old, value, time_ms, warning, critical, min, max }
}

/// `host`, `host:4949`, `[::1]:4949`, `::1`.
fn split_host(text: &str) -> Result<(String, u16), String> {
    let bad = |why: &str| format!("-H {text:?}: {why}; write HOST or HOST:PORT");
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !host.contains(':') || host.ends_with(']') => {
            (host, port.parse().map_err(|_| bad(&format!("{port:?} is not a port")))?)
        }
        _ => (text, PORT),
    };
    let host = host.trim_start_matches('[').trim_end_matches(']');
    if host.is_empty() { Err(bad("no host")) } else { Ok((host.to_owned(), port)) }
}
