//! Plugin executables: finding them, and a task for each.
//!
//! The folders are looked through at every plugin step: new executables are
//! run, vanished ones are no longer announced, changed ones are asked for
//! their `config` again, all without a restart. Each plugin has its own task
//! and its own place within the step, so that a slow one delays none; at most
//! [`RUNNING_MAX`] run at the same time.

pub mod conf;
pub mod env;
pub mod exec;
pub mod find;
pub mod ids;
mod start;
pub mod task;

use crate::config::Config;
use crate::event::{Event, Outlet};
use crate::sampler::Live;
use conf::PluginConf;
use env::Surroundings;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use task::Plugin;
use tokio::sync::{Semaphore, watch};
use tokio::task::JoinHandle;

/// The most plugins that run at the same time.
pub const RUNNING_MAX: usize = 32;

/// What the plugins of an agent share.
#[derive(Debug)]
pub struct Context {
    /// What their environment says.
    pub around: Surroundings,
    /// How often they are fetched, ms, unless they say otherwise.
    pub step_ms: u64,
    /// Where events go.
    pub outlet: Outlet,
    /// The probes' services: a plugin does not offer the same again.
    pub live: Arc<Live>,
    /// Bounds how many run at once.
    pub running: Semaphore,
    conf: Mutex<Arc<PluginConf>>,
}

impl Context {
    /// From the configuration.
    pub fn new(config: &Config, outlet: Outlet, live: Arc<Live>) -> Context {
        let around = Surroundings {
            node: config.munin_name(),
            state_dir: config.plugin_state.clone(),
            user: config.munin.user.clone(),
            group: config.munin.group.clone(),
            timeout: Duration::from_millis(config.plugin_timeout.ms),
        };
        Context {
            around,
            step_ms: config.plugin_step.ms,
            outlet,
            live,
            running: Semaphore::new(RUNNING_MAX),
            conf: Mutex::new(Arc::new(PluginConf::load(&config.plugin_conf_dirs))),
        }
    }

    /// The plugin configuration in force.
    pub fn conf(&self) -> Arc<PluginConf> {
        Arc::clone(&self.conf.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn set_conf(&self, conf: PluginConf) {
        *self.conf.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(conf);
    }
}

/// The plugins that are run now, for who asks by Munin's protocol.
#[derive(Debug, Default)]
pub struct Plugins {
    by_name: Mutex<BTreeMap<String, Arc<Plugin>>>,
    looked: AtomicBool,
}

impl Plugins {
    /// All of them, by name.
    pub fn all(&self) -> Vec<Arc<Plugin>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
    }

    /// The one of this name.
    pub fn get(&self, name: &str) -> Option<Arc<Plugin>> {
        self.by_name.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned()
    }

    /// Whether the folders have been looked through, and the first `config` of
    /// every plugin has ended.
    pub fn are_configured(&self) -> bool {
        self.looked.load(Ordering::Acquire) && self.all().iter().all(|p| p.is_configured())
    }
}

/// A plugin that is run.
struct Running {
    plugin: Arc<Plugin>,
    task: JoinHandle<()>,
    source: String,
}

/// Runs the plugins of the configuration until `shutdown`. `counted` is told
/// how many were found at the start.
pub async fn run(
    config: Config,
    context: Arc<Context>,
    plugins: Arc<Plugins>,
    counted: tokio::sync::oneshot::Sender<usize>,
    mut shutdown: watch::Receiver<bool>,
) {
    let mut running: BTreeMap<String, Running> = BTreeMap::new();
    let mut counted = Some(counted);
    for error in &context.conf().errors {
        tracing::warn!(%error, "plugin configuration");
    }
    while !*shutdown.borrow() {
        scan(&config, &context, &mut running);
        let now = running.iter().map(|(n, r)| (n.clone(), Arc::clone(&r.plugin))).collect();
        *plugins.by_name.lock().unwrap_or_else(PoisonError::into_inner) = now;
        plugins.looked.store(true, Ordering::Release);
        if let Some(counted) = counted.take() {
            let _ = counted.send(running.len());
        }
        tokio::select! {
            () = tokio::time::sleep(Duration::from_millis(config.plugin_step.ms)) => {}
            _ = shutdown.changed() => break,
        }
    }
    for (_, r) in running {
        // Dropping the task kills the plugin's process group.
        r.task.abort();
        let _ = r.task.await;
    }
}

fn scan(config: &Config, context: &Arc<Context>, running: &mut BTreeMap<String, Running>) {
    if context.conf().is_stale(&config.plugin_conf_dirs) {
        let conf = PluginConf::load(&config.plugin_conf_dirs);
        for error in &conf.errors {
            tracing::warn!(%error, "plugin configuration");
        }
        context.set_conf(conf);
    }
    let mut found = find::find(&config.plugin_dirs);
    found.retain(|name, _| !config.munin.ignore.iter().any(|p| p.is_in(name)));
    found.retain(|name, _| {
        let service = rookery_plugins::names::clean_service(name);
        !context.live.has_service(&service) || {
            tracing::debug!(plugin = %name, "not run: a built-in probe offers this service");
            false
        }
    });
    running.retain(|name, r| {
        let same = found.get(name).is_some_and(|f| f.path == r.plugin.path);
        if !same {
            tracing::info!(plugin = %name, "gone");
            r.task.abort();
            let event = Event::Services { source: r.source.clone(), specs: vec![] };
            context.outlet.send(event);
        }
        same
    });
    for (name, file) in found {
        if let Some(r) = running.get(&name) {
            r.plugin.set_stamp(file.stamp);
            continue;
        }
        let source = format!("plugin:{name}");
        let plugin = Arc::new(Plugin::new(file));
        let task = tokio::spawn(task::run(Arc::clone(context), Arc::clone(&plugin)));
        running.insert(name, Running { plugin, task, source });
    }
}
