//! `rookery collector`, and what `rookery up` shares with it: the server.

use crate::{beside, logging, notify, say};
use axum::Router;
use axum::http::HeaderMap;
use clap::Args as ClapArgs;
use rookery_alerts::Notice;
use rookery_collector::Collector;
use rookery_collector::budget::Budget;
use rookery_collector::config::{CONFIG_FILE, Config};
use rookery_collector::watch::deliver::Illustrate;
use rookery_web::App;
use rookery_web::guard::{Guard, Limits, raise_descriptors};
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
    let done = runtime.block_on(async {
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
    });
    beside::end(runtime);
    done
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
    /// The memory of reads.
    budget: Arc<Budget>,
    per_address: usize,
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
        let (budget, per_address) = (config.budget()?, config.connections_per_address.max(1));
        let config = config.clone();
        let open = tokio::task::spawn_blocking(move || Collector::open(&config));
        let collector = open.await.map_err(|e| format!("BUG: opening broke off: {e}"))??;
        Ok(Server { collector: Arc::new(collector), addr, listener, budget, per_address })
    }

    /// Serves until `stop`.
    pub async fn run(self, stop: watch::Receiver<bool>) -> Result<(), String> {
        let c = &self.collector;
        let budget = self.budget;
        let app = App::new(c.history(), c.states(), c.events(), c.auth());
        let app = app.with_budget(budget.clone());
        let router: Router = rookery_web::router(app.clone())
            .merge(rookery_web::for_people(c.desk()))
            .merge(c.router());
        let told = beside::start(c.clone(), budget.clone(), illustrate(app), stop.clone())?;
        let auth = c.auth();
        let knows = Arc::new(move |headers: &HeaderMap| auth.allows(headers));
        let limits = Limits::for_descriptors(raise_descriptors());
        let limits = Limits { per_address: self.per_address, ..limits };
        let guard = Guard::new(router, knows, limits).accounting(budget);
        notify::tell(notify::READY);
        guard.serve(self.listener, stop).await;
        notify::tell(notify::STOPPING);
        if told.await.is_err() {
            tracing::error!("BUG: the thread of alerts panicked");
        }
        let collector = self.collector;
        let closed = tokio::task::spawn_blocking(move || collector.close()).await;
        closed.map_err(|e| format!("BUG: closing broke off: {e}"))
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
