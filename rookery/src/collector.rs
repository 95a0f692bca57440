//! `rookery collector`, and what `rookery up` shares with it: the server.

use crate::{logging, say};
use axum::Router;
use clap::Args as ClapArgs;
use rookery_alerts::Notice;
use rookery_collector::Collector;
use rookery_collector::config::{CONFIG_FILE, Config};
use rookery_collector::watch::deliver::Illustrate;
use rookery_web::App;
use std::io::Write;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

/// How much history the picture in a mail shows, ms.
const PICTURE_SPAN_MS: i64 = 6 * 3_600_000;

#[derive(ClapArgs)]
#[command(after_help = "Example: rookery collector --config /etc/rookery/collector.toml")]
pub struct Args {
    /// The configuration; without it /etc/rookery/collector.toml, if it is there
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Only say whether the configuration is right
    #[arg(long)]
    check_config: bool,
}

pub fn run(args: &Args) -> Result<(), String> {
    let file = args.config.as_deref().unwrap_or(Path::new(CONFIG_FILE));
    let config = Config::load(file, args.config.is_some())?;
    config.check()?;
    if args.check_config {
        for note in config.remotes()?.notes.into_iter().chain(config.advice(&config.rules()?)) {
            say(format_args!("{note}"));
        }
        let from = if file.exists() { "is right" } else { "is not there: the defaults hold" };
        say(format_args!("{} {from}", file.display()));
        return Ok(());
    }
    logging::start("info");
    let runtime = runtime()?;
    runtime.block_on(async {
        let stop = stop_signal()?;
        let server = Server::open(&config).await?;
        // A closed standard output is no reason not to serve.
        let _ = writeln!(
            std::io::stdout(),
            "rookery collector: pages on http://{}/, history in {}",
            server.addr,
            config.data.display()
        );
        server.run(stop).await
    })
}

/// Threads for requests; the history has two of its own.
pub fn runtime() -> Result<tokio::runtime::Runtime, String> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .thread_name("rookery-http")
        .build()
        .map_err(|e| format!("no runtime: {e}"))
}

/// Turns true at SIGINT or SIGTERM.
pub fn stop_signal() -> Result<watch::Receiver<bool>, String> {
    let (stop, stopped) = watch::channel(false);
    let mut term = signal(SignalKind::terminate()).map_err(|e| format!("SIGTERM: {e}"))?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| format!("SIGINT: {e}"))?;
    tokio::spawn(async move {
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        // Nobody listens any more: stopping already.
        let _ = stop.send(true);
    });
    Ok(stopped)
}

/// A collector with its listener.
pub struct Server {
    pub collector: Arc<Collector>,
    pub addr: SocketAddr,
    listener: TcpListener,
}

impl Server {
    /// Binds the port first, so that a taken one costs nothing, then opens the
    /// history.
    pub async fn open(config: &Config) -> Result<Server, String> {
        let addr = config.listen_addr()?;
        let listener = TcpListener::bind(addr).await.map_err(|e| {
            format!("cannot listen on {addr}: {e}; stop who has it, or listen elsewhere (--listen)")
        })?;
        let addr = listener.local_addr().map_err(|e| format!("{addr}: {e}"))?;
        let config = config.clone();
        let open = tokio::task::spawn_blocking(move || Collector::open(&config));
        let collector = open.await.map_err(|e| format!("BUG: opening broke off: {e}"))??;
        Ok(Server { collector: Arc::new(collector), addr, listener })
    }

    /// Serves until `stop`.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), String> {
        let c = &self.collector;
        let app = App::new(c.history(), c.states(), c.events(), c.auth());
        let router: Router = rookery_web::router(app.clone())
            .merge(rookery_web::for_people(self.collector.desk()))
            .merge(self.collector.router());
        let postman = tokio::spawn({
            let (collector, stop) = (self.collector.clone(), stop.clone());
            async move { collector.tell(illustrate(app), stop).await }
        });
        let tidying = tokio::spawn({
            let collector = self.collector.clone();
            async move { collector.tidy_up().await }
        });
        let polling = tokio::spawn({
            let collector = self.collector.clone();
            async move { collector.poll().await }
        });
        let learning = tokio::spawn({
            let collector = self.collector.clone();
            async move { collector.learn().await }
        });
        let reporting = tokio::spawn({
            let collector = self.collector.clone();
            async move { collector.report().await }
        });
        let mut until = stop.clone();
        let graceful = async move {
            // An error means that nobody can say stop any more.
            let _ = until.wait_for(|s| *s).await;
        };
        let served = axum::serve(NoDelay(self.listener), router).with_graceful_shutdown(graceful);
        // Keep-alive connections of agents would hold a graceful stop up for
        // ever: they have their answers, and come back.
        let mut until = stop;
        let deadline = async move {
            let _ = until.wait_for(|s| *s).await;
            tokio::time::sleep(std::time::Duration::from_secs(2)).await;
        };
        let result = tokio::select! {
            r = served => r.map_err(|e| format!("serving broke off: {e}")),
            () = deadline => Ok(()),
        };
        tidying.abort();
        polling.abort();
        reporting.abort();
        learning.abort();
        if let Err(e) = postman.await {
            tracing::error!("BUG: the postman panicked: {e}");
        }
        let collector = self.collector;
        let closed = tokio::task::spawn_blocking(move || collector.close()).await;
        closed.map_err(|e| format!("BUG: closing broke off: {e}"))?;
        result
    }
}

/// Answers small requests at once instead of waiting for more to send.
struct NoDelay(TcpListener);

impl axum::serve::Listener for NoDelay {
    type Io = tokio::net::TcpStream;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        let (io, addr) = axum::serve::Listener::accept(&mut self.0).await;
        if let Err(e) = io.set_nodelay(true) {
            tracing::debug!("TCP_NODELAY: {e}");
        }
        (io, addr)
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.0.local_addr()
    }
}

/// The picture that goes with a mail: the service's last hours.
fn illustrate(app: App) -> Illustrate {
    Arc::new(move |notice: &Notice| {
        // A group has no graph of its own.
        let service = notice.service.as_deref().filter(|_| !notice.of_group)?;
        let to = notice.time_ms + 60_000;
        app.graph_png(&notice.node, service, to - PICTURE_SPAN_MS, to)
    })
}
