//! The front door: wires samplers, plugins, shipper and server together.

use crate::check;
use crate::config::Config;
use crate::event::Outlet;
use crate::finder::{self, Reading, read_beside};
use crate::hold::Hold;
use crate::node::{self, Node};
use crate::plugin::{self, Context, Plugins};
use crate::probes::{self, Made, PROBES};
use crate::sampler::{Common, Live, Sampler, Slot};
use crate::ship::{ClientError, ReadToken, Shipper, Stats, Target};
use crate::spool::{Spool, SpoolError};
use rookery_plugins::ProbeEntry;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use thiserror::Error;
use tokio::sync::{Semaphore, oneshot, watch};
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;

/// What was found is told at the latest after this.
pub const READY_MAX: Duration = Duration::from_secs(5);
/// Plugins wait so long for daemons, so that they do not offer the same services;
/// a daemon that takes longer takes them over at the next look.
const DAEMONS_READY_MAX: Duration = Duration::from_millis(300);
const READY_POLL: Duration = Duration::from_millis(50);

/// Why the agent does not run; each is one line that names the remedy.
#[derive(Debug, Error)]
pub enum AgentError {
    /// The configuration, or a port that is taken.
    #[error("{0}")]
    Config(String),
    /// The spool cannot be used.
    #[error(transparent)]
    Spool(#[from] SpoolError),
    /// There is no client for this collector.
    #[error(transparent)]
    Client(#[from] ClientError),
    /// A thread could not be started.
    #[error("no thread for the probes: {0}")]
    Thread(std::io::Error),
}

/// What the agent found on the host.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Services, of probes and plugins.
    pub services: usize,
    /// Fields of them.
    pub fields: usize,
    /// Probes that have something to read.
    pub probes: usize,
    /// Plugin executables.
    pub plugins: usize,
}

/// Runs the agent with the built-in probes until `shutdown` turns true.
/// `on_ready` is called once, after the first readings.
///
/// Wants a tokio runtime with everything enabled; a current-thread one will do.
pub async fn run(
    config: Config,
    shutdown: watch::Receiver<bool>,
    on_ready: impl FnOnce(Found) + Send + 'static,
) -> Result<(), AgentError> {
    run_with(config, &PROBES, shutdown, on_ready).await
}

/// [`run`] with a table of probes of one's own.
pub async fn run_with(
    config: Config,
    probes: &'static [ProbeEntry],
    shutdown: watch::Receiver<bool>,
    on_ready: impl FnOnce(Found) + Send + 'static,
) -> Result<(), AgentError> {
    config.check(probes).map_err(AgentError::Config)?;
    for note in &config.munin.notes {
        tracing::warn!(%note, "not honoured");
    }
    let node = config.node_name();
    let addrs = config.listen.addrs().map_err(AgentError::Config)?;
    let listeners = node::bind(&addrs).map_err(AgentError::Config)?;
    let tls = tls(&config).map_err(AgentError::Config)?;
    let spool = Spool::open(&config.spool, config.spool_bytes_max)?;
    let target = Target {
        node: node.clone(),
        group: config.group.clone(),
        collector: config.collector.clone(),
        token: config.read_token().map_err(AgentError::Config)?,
        read_token: ReadToken(Arc::new({
            let config = config.clone();
            move || config.read_token()
        })),
    };
    let stats = Arc::new(Stats::default());
    let shipper = Shipper::new(target, spool, Arc::clone(&stats))?;
    let (outlet, events) = Outlet::new();
    let hold = config.hold.map(|span| Arc::new(Hold::new(span.ms)));
    let outlet = outlet.held_by(hold.clone());
    let live = Arc::new(Live::default());
    let common = Common {
        host: config.host(),
        node: node.clone(),
        step_ms: config.step.ms,
        outlet: outlet.clone(),
        live: Arc::clone(&live),
        stats,
    };
    let mut samplers =
        Samplers::start(&common, probes::make(&config, probes).map_err(AgentError::Config)?)?;
    drop(common);
    // The shipper stops last: when no one can send any more, or is told to.
    let (stop_shipping, shipping_stopped) = watch::channel(false);
    let shipping = tokio::spawn(shipper.run(events, shipping_stopped));
    let context = Arc::new(Context::new(&config, outlet, Arc::clone(&live)));
    let plugins = Arc::new(Plugins::default());
    let served = Arc::new(Node {
        name: config.munin_name(),
        access: config.access().map_err(AgentError::Config)?,
        tls,
        tls_required: config.tls_required,
        hold,
        live: Arc::clone(&live),
        plugins: Arc::clone(&plugins),
        context: Arc::clone(&context),
    });
    let slots = Arc::new(Semaphore::new(node::CONNECTIONS_MAX));
    let serve = |l| tokio::spawn(node::serve(l, served.clone(), slots.clone(), shutdown.clone()));
    let serving: Vec<_> = listeners.into_iter().map(serve).collect();
    samplers.first_readings().await;
    let (counted, count) = oneshot::channel();
    let checks = check::run(config.check.clone(), Arc::clone(&context), shutdown.clone());
    let checking = tokio::spawn(checks);
    let running = tokio::spawn(plugin::run(
        config,
        Arc::clone(&context),
        Arc::clone(&plugins),
        counted,
        shutdown.clone(),
    ));
    tell_found(&live, &plugins, count, &shutdown, on_ready).await;
    wait_for_stop(shutdown).await;
    samplers.stop();
    let _ = running.await;
    let _ = checking.await;
    for serving in serving {
        let _ = serving.await;
    }
    let _ = stop_shipping.send(true);
    let _ = shipping.await;
    Ok(())
}

fn tls(config: &Config) -> Result<Option<TlsAcceptor>, String> {
    let Some((certificate, key)) = config.tls_files()? else { return Ok(None) };
    node::acceptor(certificate, key, &config.masters()).map(Some)
}

async fn wait_for_stop(mut shutdown: watch::Receiver<bool>) {
    // An error says that who could stop us is gone: that is a stop, too.
    let _ = shutdown.wait_for(|stop| *stop).await;
}

/// The threads that read probes: one for the cheap, one for the dear, one for each
/// daemon that the configuration names, and one that looks for others. Dropping it
/// stops them.
struct Samplers {
    threads: Vec<Reading>,
    ready: Vec<oneshot::Receiver<()>>,
    /// So many of `ready` are the host's own.
    n_host: usize,
}

impl Samplers {
    fn start(common: &Common, made: Made) -> Result<Samplers, AgentError> {
        let mut samplers = Samplers { threads: vec![], ready: vec![], n_host: 0 };
        samplers.add("fast", Sampler::new(common.clone(), "fast", made.cheap, true))?;
        if !made.dear.is_empty() {
            samplers.add("slow", Sampler::new(common.clone(), "slow", made.dear, false))?;
        }
        samplers.n_host = samplers.ready.len();
        let (named, others): (Vec<_>, Vec<_>) =
            made.daemons.into_iter().partition(|(slot, _)| slot.is_wanted);
        for (slot, node) in named {
            let label = slot.name.clone();
            let sampler = Sampler::new(common.clone(), &label, vec![slot], false);
            samplers.add(&label, sampler.of_node(node))?;
        }
        if !others.is_empty() {
            let slots: Vec<Slot> = others.into_iter().map(|(slot, _)| slot).collect();
            let (common, (ready, is_ready)) = (common.clone(), oneshot::channel());
            let look = move |stopped| finder::run(&common, slots, &stopped, ready);
            samplers.threads.push(read_beside("finder", look).map_err(AgentError::Thread)?);
            samplers.ready.push(is_ready);
        }
        Ok(samplers)
    }

    fn add(&mut self, label: &str, sampler: Sampler) -> Result<(), AgentError> {
        let (ready, is_ready) = oneshot::channel();
        let read = move |stopped| sampler.run(&stopped, ready);
        self.threads.push(read_beside(label, read).map_err(AgentError::Thread)?);
        self.ready.push(is_ready);
        Ok(())
    }

    async fn first_readings(&mut self) {
        let daemons = self.ready.split_off(self.n_host);
        let host = std::mem::take(&mut self.ready);
        for (all, limit) in [(host, READY_MAX), (daemons, DAEMONS_READY_MAX)] {
            let _ = timeout(limit, async {
                for ready in all {
                    let _ = ready.await;
                }
            })
            .await;
        }
    }

    fn stop(self) {
        // All are told before any is waited for.
        let threads: Vec<_> = self.threads.into_iter().map(Reading::end).collect();
        for thread in threads {
            // A probe that hangs in the kernel must not hold up the stop.
            if thread.is_finished() {
                let _ = thread.join();
            }
        }
    }
}

/// Counts what is there, once every plugin has been asked, and tells it.
async fn tell_found(
    live: &Live,
    plugins: &Plugins,
    count: oneshot::Receiver<usize>,
    shutdown: &watch::Receiver<bool>,
    on_ready: impl FnOnce(Found),
) {
    let _ = timeout(READY_MAX, async {
        let _ = count.await;
        while !*shutdown.borrow() && !plugins.all().iter().all(|p| p.is_configured()) {
            tokio::time::sleep(READY_POLL).await;
        }
    })
    .await;
    let (mut services, mut fields, mut probes) = (BTreeSet::new(), 0, BTreeSet::new());
    live.with(|groups| {
        for spec in groups.values().flat_map(|g| &g.specs) {
            services.insert(spec.name.clone());
            fields += spec.fields.len();
            if spec.source.starts_with("probe:") {
                probes.insert(spec.source.clone());
            }
        }
    });
    let all = plugins.all();
    for plugin in &all {
        let text = plugin.config_text().unwrap_or_default();
        for spec in rookery_plugins::munin::parse(&plugin.name, &text).services {
            fields += spec.fields.len();
            services.insert(spec.name);
        }
    }
    let found =
        Found { services: services.len(), fields, probes: probes.len(), plugins: all.len() };
    tracing::info!(
        services = found.services,
        fields = found.fields,
        probes = found.probes,
        plugins = found.plugins,
        "watching"
    );
    on_ready(found);
}
