//! A collector to be measured: this program again, as a process of its own
//! (`EXAMPLE serve DIR PORT`), or the built command.

use axum::serve::Listener;
use rookery_collector::Collector;
use rookery_collector::config::Config;
use std::io::{self, BufRead, BufReader, Lines};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{SignalKind, signal};

/// What the measured collector's clients must send.
pub const TOKEN: &str = "bench";

/// A running collector; ends with this value.
pub struct Server {
    child: Child,
    /// Where it listens.
    pub addr: String,
}

impl Server {
    /// Starts one on `dir`: `binary` is the built `rookery`, else this program.
    pub fn start(dir: &Path, binary: Option<&Path>) -> io::Result<Server> {
        Server::start_logging(dir, binary, Stdio::inherit())
    }

    /// As [`Self::start`], with its log by lines.
    pub fn start_read(dir: &Path, binary: &Path) -> io::Result<(Server, Lines<impl BufRead>)> {
        let mut server = Server::start_logging(dir, Some(binary), Stdio::piped())?;
        let log = server.child.stderr.take().ok_or_else(|| io::Error::other("no pipe"))?;
        Ok((server, BufReader::new(log).lines()))
    }

    fn start_logging(dir: &Path, binary: Option<&Path>, log: Stdio) -> io::Result<Server> {
        // Bound and let go again: the port is free for the server in a moment.
        let addr = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
        let mut command = match binary {
            Some(binary) => {
                std::fs::create_dir_all(dir)?;
                let file = dir.with_extension("toml");
                let text = format!(
                    "listen = {addr:?}\ndata = {:?}\ntoken = {TOKEN:?}\nalerts = {:?}\n",
                    dir.join("data"),
                    dir.join("alerts.d")
                );
                std::fs::write(&file, text)?;
                let mut command = Command::new(binary);
                command.arg("collector").arg("--config").arg(file);
                command
            }
            None => {
                let mut command = Command::new(std::env::current_exe()?);
                command.arg("serve").arg(dir).arg(&addr);
                command
            }
        };
        let mut child = command.stdout(Stdio::piped()).stderr(log).spawn()?;
        // Its first line says that it listens.
        let mut line = String::new();
        if let Some(stdout) = child.stdout.take() {
            BufReader::new(stdout).read_line(&mut line)?;
        }
        if line.is_empty() {
            let said = child.wait_with_output()?.stderr;
            let said = String::from_utf8_lossy(&said);
            return Err(io::Error::other(format!("the collector did not start. {said}")));
        }
        Ok(Server { child, addr })
    }

    /// Stops it, so that it closes its history.
    pub fn stop(mut self) -> io::Result<()> {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM)?;
        self.child.wait().map(drop)
    }

    /// Its process.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // Gone already: then there is nothing to do.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Serves `dir` on `addr` until SIGTERM: what `EXAMPLE serve` does.
pub fn serve(dir: &Path, addr: &str, more: fn(&Collector) -> axum::Router) -> Result<(), String> {
    let config = Config {
        data: dir.join("data"),
        token: TOKEN.to_owned(),
        alerts: dir.join("alerts.d"),
        ..Config::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("no runtime: {e}"))?;
    let collector = Collector::open(&config)?;
    runtime.block_on(async {
        let listener = TcpListener::bind(addr).await.map_err(|e| format!("{addr}: {e}"))?;
        println!("listening on {addr}");
        let router = collector.router().merge(more(&collector));
        let mut told = signal(SignalKind::terminate()).map_err(|e| e.to_string())?;
        // Connections that are open are not waited for.
        tokio::select! {
            served = axum::serve(NoDelay(listener), router) => served.map_err(|e| e.to_string()),
            _ = told.recv() => Ok(()),
        }
    })?;
    collector.close();
    Ok(())
}

/// Answers at once instead of waiting for more to send.
struct NoDelay(TcpListener);

impl Listener for NoDelay {
    type Io = TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (TcpStream, SocketAddr) {
        let (io, addr) = Listener::accept(&mut self.0).await;
        // Slower without it, that is all.
        let _ = io.set_nodelay(true);
        (io, addr)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.0.local_addr()
    }
}
