//! Starting the built programs, asking them, and stopping them again.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value as Json;
use std::io::{BufRead, BufReader, Read};
use std::net::TcpListener;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// A program of this build.
pub fn bin(name: &str) -> PathBuf {
    let exe = std::env::current_exe().expect("this test has a path");
    let dir = exe.parent().and_then(Path::parent).expect("target/PROFILE/deps/it");
    let path = dir.join(name);
    assert!(path.exists(), "{}: not built; cargo build --workspace", path.display());
    path
}

/// A port of loopback that nobody has.
pub fn free_port() -> u16 {
    use std::sync::atomic::{AtomicU32, Ordering};
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Below what the kernel gives to outgoing connections, which would take it before it
    // is bound; each once, and from another place in each process.
    let start = std::process::id().wrapping_mul(37);
    for _ in 0..18_000 {
        let n = start.wrapping_add(NEXT.fetch_add(1, Ordering::Relaxed)) % 18_000;
        let port = 12_000 + n as u16;
        if TcpListener::bind(("127.0.0.1", port)).is_ok() {
            return port;
        }
    }
    panic!("no port is free");
}

/// Asks until there is an answer; panics with `what` after `limit`.
pub fn wait_for<T>(what: &str, limit: Duration, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(found) = ask() {
            return found;
        }
        assert!(start.elapsed() < limit, "waited {limit:?} for {what}");
        std::thread::sleep(Duration::from_millis(50));
    }
}

/// A started program; killed when dropped.
pub struct Proc {
    child: Child,
    lines: Receiver<String>,
    pub seen: Vec<String>,
}

impl Proc {
    /// Starts it; both its outputs are read as lines.
    pub fn start(command: &mut Command) -> Proc {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{command:?}: {e}"));
        let (send, lines) = channel();
        let out = child.stdout.take().expect("piped");
        let err = child.stderr.take().expect("piped");
        for stream in [Box::new(out) as Box<dyn Read + Send>, Box::new(err)] {
            let send = send.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stream).lines().map_while(Result::ok) {
                    if send.send(line).is_err() {
                        return;
                    }
                }
            });
        }
        Proc { child, lines, seen: Vec::new() }
    }

    /// The first line, from now on, that holds this text.
    pub fn line(&mut self, text: &str, limit: Duration) -> String {
        let line = self.line_or_end(text, limit);
        line.unwrap_or_else(|| panic!("it ended without {text:?}: {:#?}", self.seen))
    }

    /// The same, if it was not said already.
    pub fn said_or_line(&mut self, text: &str, limit: Duration) -> String {
        let before = self.seen.iter().find(|line| line.contains(text)).cloned();
        before.unwrap_or_else(|| self.line(text, limit))
    }

    /// As `line`; `None`: it has ended.
    pub fn line_or_end(&mut self, text: &str, limit: Duration) -> Option<String> {
        let end = Instant::now() + limit;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let line = match self.lines.recv_timeout(left) {
                Ok(line) => line,
                Err(RecvTimeoutError::Disconnected) => return None,
                Err(RecvTimeoutError::Timeout) => {
                    panic!("no line with {text:?} within {limit:?}, but: {:#?}", self.seen)
                }
            };
            self.seen.push(line.clone());
            if line.contains(text) {
                return Some(line);
            }
        }
    }

    /// Whether it runs no more.
    pub fn is_gone(&mut self) -> bool {
        self.child.try_wait().expect("a child").is_some()
    }

    /// Everything that it has said until now.
    pub fn said(&mut self) -> String {
        self.seen.extend(self.lines.try_iter());
        self.seen.join("\n")
    }

    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).expect("it runs");
    }

    /// kill -9, and gone.
    pub fn kill9(mut self) {
        self.child.kill().expect("it runs");
        self.child.wait().expect("it ends");
    }

    /// Waits until it ends.
    pub fn ended(&mut self, limit: Duration) -> ExitStatus {
        wait_for("the end of a program", limit, || self.child.try_wait().expect("a child"))
    }

    /// Ends it as Ctrl-C does; it must end well.
    pub fn stop(mut self) -> String {
        self.signal(Signal::INT);
        let status = self.ended(Duration::from_secs(60));
        std::thread::sleep(Duration::from_millis(20));
        let said = self.said();
        assert!(status.success(), "{status}: {said}");
        said
    }
}

impl Drop for Proc {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Runs a program to its end.
pub fn run(command: &mut Command) -> Output {
    command.stdin(Stdio::null()).output().unwrap_or_else(|e| panic!("{command:?}: {e}"))
}

/// What a program printed; it must have ended well.
pub fn stdout(command: &mut Command) -> String {
    let output = run(command);
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {}: {err}", output.status);
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// An answer over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub kind: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn json(&self) -> Json {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("{e}: {}", self.text()))
    }
}

/// Asks over HTTP; `None` when nobody answers.
pub fn http(build: impl FnOnce(&reqwest::Client) -> reqwest::RequestBuilder) -> Option<Answer> {
    // Only the first of several is taken, and one is enough.
    let _ = rustls::crypto::ring::default_provider().install_default();
    let runtime =
        tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    runtime.block_on(async {
        let client = reqwest::Client::builder().no_proxy().build().expect("a client");
        let answer = build(&client).send().await.ok()?;
        let status = answer.status().as_u16();
        let kind = answer.headers().get("content-type");
        let kind = kind.and_then(|k| k.to_str().ok()).unwrap_or_default().to_owned();
        Some(Answer { status, kind, body: answer.bytes().await.ok()?.to_vec() })
    })
}

/// GET; panics when nobody answers.
pub fn get(url: &str) -> Answer {
    http(|c| c.get(url)).unwrap_or_else(|| panic!("nobody answers at {url}"))
}

/// An executable file.
pub fn executable(path: &Path, text: &str) {
    std::fs::write(path, text).expect("writes");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("chmod");
}

/// A folder with a collector's and agents' files.
pub struct Site {
    pub dir: tempfile::TempDir,
    pub port: u16,
}

impl Site {
    pub fn new() -> Site {
        let dir = tempfile::tempdir().expect("a folder");
        // Plugins run as other users, too.
        std::fs::set_permissions(dir.path(), std::fs::Permissions::from_mode(0o755))
            .expect("chmod");
        std::fs::create_dir(dir.path().join("plugins")).expect("a folder");
        Site { dir, port: free_port() }
    }

    pub fn path(&self, sub: &str) -> PathBuf {
        self.dir.path().join(sub)
    }

    pub fn url(&self) -> String {
        format!("http://127.0.0.1:{}", self.port)
    }

    /// Starts the collector, with more configuration, and waits until it serves.
    pub fn collector(&self, more: &str) -> Proc {
        let mut proc = Proc::start(&mut self.collector_command(more));
        proc.line("pages on", Duration::from_secs(60));
        proc
    }

    /// What starts the collector.
    pub fn collector_command(&self, more: &str) -> Command {
        let file = self.path("collector.toml");
        // How full the disk of this machine is must not be told by any test.
        std::fs::create_dir_all(self.path("alerts.d")).expect("a folder");
        let quiet = "[[rule]]\nservice = [\"df\", \"df_inode\"]\nenabled = false\n";
        std::fs::write(self.path("alerts.d/0.toml"), quiet).expect("writes");
        let text = format!(
            "listen = \"127.0.0.1:{}\"\ndata = {:?}\ntoken = \"sesame\"\nalerts = {:?}\n{more}",
            self.port,
            self.path("data"),
            self.path("alerts.d"),
        );
        std::fs::write(&file, text).expect("writes");
        let mut command = Command::new(bin("rookery"));
        command.arg("collector").arg("--config").arg(file);
        command
    }

    /// Starts an agent of this name, with more configuration.
    pub fn agent(&self, node: &str, more: &str) -> Proc {
        Proc::start(&mut self.agent_command(node, more))
    }

    /// What starts it.
    pub fn agent_command(&self, node: &str, more: &str) -> Command {
        let file = self.path(&format!("{node}.toml"));
        let text = format!(
            "node = {node:?}\ncollector = {:?}\ntoken = \"sesame\"\nlisten = \"none\"\n\
             spool = {:?}\nplugin_dirs = [{:?}]\nplugin_conf_dirs = []\nplugin_state = {:?}\n\
             {more}",
            self.url(),
            self.path(&format!("spool-{node}")),
            self.path("plugins"),
            self.path(&format!("state-{node}")),
        );
        std::fs::write(&file, text).expect("writes");
        let mut command = Command::new(bin("rookery-agent"));
        command.arg("--config").arg(file);
        command
    }

    /// Everything of a service, as `rookery export` prints it: time, field,
    /// value.
    pub fn export(&self, node: &str, service: &str) -> Vec<(i64, String, String)> {
        let csv = stdout(
            Command::new(bin("rookery"))
                .args(["export", "--node", node, "--service", service, "--from", "0"])
                .args(["--to", "now+2d", "--url", &self.url()]),
        );
        let mut lines = csv.lines();
        assert_eq!(lines.next(), Some("time,node,service,field,value"));
        lines
            .map(|line| {
                let cells: Vec<&str> = line.split(',').collect();
                assert_eq!(&cells[1..3], [node, service], "{line}");
                let time: jiff::Timestamp = cells[0].parse().expect("RFC 3339");
                (time.as_millisecond(), cells[3].to_owned(), cells[4].to_owned())
            })
            .collect()
    }

    /// The services of a node, by name.
    pub fn services(&self, node: &str) -> Vec<Json> {
        let answer = get(&format!("{}/api/v1/services?node={node}", self.url()));
        if answer.status == 404 {
            return Vec::new();
        }
        answer.json().as_array().expect("a list").clone()
    }

    /// What stands at a path of the pages: status and text.
    pub fn page(&self, path: &str) -> (u16, String) {
        let answer = get(&format!("{}{path}", self.url()));
        (answer.status, answer.text())
    }

    /// POSTs JSON to ingest.
    pub fn post(&self, body: &str) -> Option<Answer> {
        let url = format!("{}/api/v1/ingest", self.url());
        http(|c| {
            c.post(url)
                .bearer_auth("sesame")
                .header("content-type", "application/json")
                .body(body.to_owned())
        })
    }
}
