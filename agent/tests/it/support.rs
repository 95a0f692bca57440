//! A running agent, and a probe that counts.

use crate::collector::Collector;
use rookery_agent::{AgentError, Config, Found, Span, run_with};
use rookery_plugins::{
    Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec, probe::ProbeConfig,
};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use tempfile::TempDir;
use tokio::sync::{oneshot, watch};
use tokio::task::JoinHandle;

/// Gives 2^53 + 1, 2^53 + 2, … one a reading, and a field that changes its
/// name after each 10.
#[derive(Default)]
struct Counting {
    n: u64,
    generation: u64,
}

impl Probe for Counting {
    fn discover(&mut self, _: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.generation = self.n / 10;
        let odd = format!("odd_{}", self.generation);
        Ok(vec![
            ServiceSpec::new("counting", "Counting", "test")
                .fields(vec![FieldSpec::gauge("n", "n"), FieldSpec::gauge(&odd, "odd")]),
        ])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        if self.generation != self.n / 10 {
            return Ok(Read::Changed);
        }
        self.n += 1;
        out.push((1u64 << 53) + self.n);
        out.push(self.n % 2);
        Ok(Read::Done)
    }
}

/// Fails at every third reading, half-way.
#[derive(Default)]
struct Failing(u64);

impl Probe for Failing {
    fn discover(&mut self, _: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        Ok(vec![
            ServiceSpec::new("failing", "Failing", "test")
                .fields(vec![FieldSpec::gauge("a", "a"), FieldSpec::gauge("b", "b")]),
        ])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        self.0 += 1;
        out.push(self.0);
        if self.0.is_multiple_of(3) {
            return Err(ProbeError::Failed("third time unlucky".to_owned()));
        }
        out.push(0.5);
        Ok(Read::Done)
    }
}

fn counting(_: &ProbeConfig) -> Result<Box<dyn Probe>, String> {
    Ok(Box::<Counting>::default())
}

fn failing(_: &ProbeConfig) -> Result<Box<dyn Probe>, String> {
    Ok(Box::<Failing>::default())
}

pub static COUNTING: &[ProbeEntry] = &[
    ProbeEntry { name: "counting", about: "counts", waits: false, new: counting },
    ProbeEntry { name: "failing", about: "fails", waits: false, new: failing },
];

/// A folder for an agent, which any user may enter.
pub struct Home {
    pub dir: TempDir,
}

impl Home {
    pub fn new() -> Home {
        let dir = tempfile::tempdir().expect("tmp");
        open_to_all(dir.path());
        for sub in ["plugins", "conf"] {
            std::fs::create_dir(dir.path().join(sub)).expect("mkdir");
            open_to_all(&dir.path().join(sub));
        }
        Home { dir }
    }

    pub fn spool(&self) -> PathBuf {
        self.dir.path().join("spool")
    }

    pub fn n_segments(&self) -> usize {
        let entries = std::fs::read_dir(self.spool()).into_iter().flatten().flatten();
        entries.filter(|e| e.file_name().to_string_lossy().ends_with(".seg")).count()
    }

    /// A configuration that samples often and touches nothing outside.
    pub fn config(&self, collector: &Collector) -> Config {
        let path = |sub: &str| self.dir.path().join(sub);
        Config {
            node: "test.example".to_owned(),
            collector: collector.url(),
            token: "secret".to_owned(),
            step: Span { ms: 50 },
            listen: "none".into(),
            spool: self.spool(),
            spool_bytes_max: 1 << 20,
            plugin_dirs: vec![path("plugins")],
            plugin_conf_dirs: vec![path("conf")],
            plugin_state: path("state"),
            plugin_step: Span { ms: 300 },
            ..Config::default()
        }
    }

    pub fn plugin(&self, name: &str, script: &str) {
        let path = self.dir.path().join("plugins").join(name);
        // Renamed into place: a half-written file must not be run.
        let new = self.dir.path().join(format!("{name}.new"));
        std::fs::write(&new, format!("#!/bin/sh\n{script}\n")).expect("writes");
        open_to_all(&new);
        std::fs::rename(new, path).expect("renames");
    }
}

/// A port of the loopback that nobody has now.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Below what the kernel gives to outgoing connections, which would take it before it
    // is bound; each once, and from another place in each process.
    let start = std::process::id().wrapping_mul(37);
    for _ in 0..18_000 {
        let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 18_000;
        let port = 12_000 + n as u16;
        if std::net::TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

fn open_to_all(path: &Path) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("chmod");
}

/// An agent in this process.
pub struct Agent {
    stop: watch::Sender<bool>,
    task: JoinHandle<Result<(), AgentError>>,
    pub found: oneshot::Receiver<Found>,
}

impl Agent {
    pub fn start(config: Config, probes: &'static [ProbeEntry]) -> Agent {
        let (stop, stopped) = watch::channel(false);
        let (tell, found) = oneshot::channel();
        let on_ready = |f| {
            let _ = tell.send(f);
        };
        let task = tokio::spawn(run_with(config, probes, stopped, on_ready));
        Agent { stop, task, found }
    }

    pub async fn stop(self) -> Result<(), AgentError> {
        let _ = self.stop.send(true);
        self.task.await.expect("does not panic")
    }
}

/// Waits until this holds; panics with `what` after 20 s. For files, which
/// tell no one when they change.
pub async fn until_true(what: &str, mut f: impl FnMut() -> bool) {
    for _ in 0..2_000 {
        if f() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    panic!("waited in vain: {what}");
}
