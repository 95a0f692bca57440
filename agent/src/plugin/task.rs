//! One plugin: `config` now and then, `fetch` at its step, a row each time.
//!
//! `config` is run at the start, when the file or plugin-conf.d has changed,
//! when `fetch` brings a field that it did not name, and at the first fetch
//! [`CONFIG_EVERY`] after the last time. A plugin whose `config` carries values
//! unasked (Munin's dirtyconfig) is only ever asked for `config`, as a master
//! does. A row holds the values of one fetch at the time of its start, and how long
//! the plugin took and whether it succeeded; values with a time of their own
//! (`epoch:value`) are rows of that time.

use super::Context;
use super::conf::{PluginConf, Settings};
use super::env::{self, Asker};
use super::exec::{Ending, Ran, exec};
use super::find::{Found, Stamp};
use crate::clock::now_ms;
use crate::event::{Event, RowOut};
use crate::report::{DURATION, SUCCESS, report_fields, report_specs};
use crate::schedule::Grid;
use rookery_plugins::munin::{Extinfo, Oddities, Parsed, Reading, parse};
use rookery_plugins::names::clean_field;
use rookery_plugins::times::{self, LeftOut};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec, TimeMs, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// How old a `config` may become, if nothing has changed.
pub const CONFIG_EVERY: Duration = Duration::from_secs(300);
/// The second fetch after a start comes this early, so that rates show soon.
const EARLY: Duration = Duration::from_secs(10);
/// For so many fields at most `config` is asked again.
const NAMELESS_MAX: usize = 10_000;
/// The most values with times of their own that one fetch may bring.
const TIMES_MAX: usize = 1000;

/// A plugin and what is known of it.
#[derive(Debug)]
pub struct Plugin {
    /// Its file's name.
    pub name: String,
    /// Its path.
    pub path: PathBuf,
    state: Mutex<State>,
    changed: Notify,
}

#[derive(Debug)]
struct State {
    stamp: Stamp,
    config: Option<Vec<u8>>,
    multigraph: bool,
    dirty: bool,
    host: Option<String>,
    silent: bool,
    step_ms: u64,
    error: Option<String>,
    configured: bool,
}

impl Plugin {
    /// A plugin that has not been run.
    pub fn new(file: Found) -> Plugin {
        let state = State {
            stamp: file.stamp,
            config: None,
            multigraph: false,
            dirty: false,
            host: None,
            silent: false,
            step_ms: 0,
            error: None,
            configured: false,
        };
        Plugin {
            name: file.name,
            path: file.path,
            state: Mutex::new(state),
            changed: Notify::new(),
        }
    }

    fn with<T>(&self, f: impl FnOnce(&mut State) -> T) -> T {
        f(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Tells the task what its file looks like now.
    pub fn set_stamp(&self, stamp: Stamp) {
        if self.with(|s| std::mem::replace(&mut s.stamp, stamp.clone()) != stamp) {
            self.changed.notify_one();
        }
    }

    /// Whether its first `config` has ended, well or not.
    pub fn is_configured(&self) -> bool {
        self.with(|s| s.configured)
    }

    /// Whether its `config` printed `multigraph`, and values.
    pub fn capabilities(&self) -> (bool, bool) {
        self.with(|s| (s.multigraph, s.dirty))
    }

    /// The virtual node that it speaks for, if not the agent's own.
    pub fn host(&self) -> Option<String> {
        self.with(|s| s.host.clone())
    }

    /// Whether its last `config` printed nothing or took too long: Munin then
    /// does not list it.
    pub fn is_silent(&self) -> bool {
        self.with(|s| s.silent)
    }

    /// The last good `config`.
    pub fn config_text(&self) -> Option<Vec<u8>> {
        self.with(|s| s.config.clone())
    }

    /// Why it fails, if it does.
    pub fn error(&self) -> Option<String> {
        self.with(|s| s.error.clone())
    }

    /// Runs it once; bounded like every run.
    pub async fn run(&self, context: &Context, verb: Option<&str>, asker: &Asker) -> Ran {
        let settings = context.conf().settings(&self.name);
        let job = env::job(&context.around, &settings, &self.name, &self.path, verb, asker);
        let failed = |why| Ran {
            stdout: vec![],
            stderr: vec![],
            ending: Ending::NotStarted(why),
            took: Duration::ZERO,
        };
        match (job, context.running.acquire().await) {
            (Ok(job), Ok(_permit)) => exec(&job).await,
            (Err(why), _) => failed(why),
            (_, Err(_)) => failed("the agent is stopping".to_owned()),
        }
    }
}

/// What the task remembers between cycles.
struct Task {
    context: Arc<Context>,
    plugin: Arc<Plugin>,
    /// `plugin_NAME` in the agent's own services.
    own: String,
    specs: Vec<ServiceSpec>,
    layout: Option<Arc<Layout>>,
    /// The virtual node that the services belong to, and the layout of what the
    /// plugin reports of itself, which stays with the agent's node.
    virtual_node: Option<(Arc<str>, Arc<Layout>)>,
    index: HashMap<(String, String), usize>,
    asked: Option<(Instant, Stamp, Arc<PluginConf>)>,
    /// Fields that `config` did not name although it was asked again.
    nameless: HashSet<(String, String)>,
    oddities: Oddities,
    config_oddities: Oddities,
    /// Times of the last run's values could not be right.
    has_bad_times: bool,
    extinfo: Extinfo,
}

/// Runs a plugin at its step; ends only by being aborted.
pub async fn run(context: Arc<Context>, plugin: Arc<Plugin>) {
    let own = format!("plugin_{}", clean_field(&plugin.name));
    let mut task = Task {
        context,
        plugin,
        own,
        specs: vec![],
        layout: None,
        virtual_node: None,
        index: HashMap::new(),
        asked: None,
        nameless: HashSet::new(),
        oddities: Oddities::default(),
        config_oddities: Oddities::default(),
        has_bad_times: false,
        extinfo: Extinfo::default(),
    };
    let mut early = true;
    loop {
        task.cycle().await;
        let step_ms = task.plugin.with(|s| s.step_ms).max(1);
        let name = format!("{}/{}", task.context.around.node, task.plugin.name);
        let now = now_ms();
        let due = Grid::spread(step_ms, &name).next(now);
        let mut wait = Duration::from_millis((due - now).max(1) as u64);
        if std::mem::take(&mut early) && Duration::from_millis(step_ms) > EARLY {
            wait = wait.min(EARLY);
        }
        tokio::select! {
            () = tokio::time::sleep(wait) => {}
            () = task.plugin.changed.notified() => {}
        }
    }
}

impl Task {
    async fn cycle(&mut self) {
        let time_ms = now_ms();
        let mut values = None;
        let mut took = Duration::ZERO;
        if self.config_is_due() {
            let ran = self.plugin.run(&self.context, Some("config"), &Asker::agent()).await;
            took = ran.took;
            values = self.configured(&ran);
            if ran.ending == Ending::TimedOut {
                // A fetch would most likely hang as long again.
                self.emit(time_ms, &[], took, false);
                return;
            }
        }
        if let Some(parsed) = values {
            self.works();
            self.take(time_ms, parsed, took);
            return;
        }
        let time_ms = now_ms();
        let ran = self.plugin.run(&self.context, None, &Asker::agent()).await;
        if !ran.ok() {
            self.failed("fetch", &ran);
            self.emit(time_ms, &[], ran.took, false);
            return;
        }
        self.works();
        let parsed = parse(&self.plugin.name, &ran.stdout);
        self.take(time_ms, parsed, ran.took);
    }

    fn works(&self) {
        if self.plugin.with(|s| s.error.take()).is_some() {
            tracing::info!(plugin = %self.plugin.name, "the plugin works again");
        }
    }

    fn config_is_due(&self) -> bool {
        let Some((at, stamp, conf)) = &self.asked else { return true };
        at.elapsed() >= CONFIG_EVERY
            || self.plugin.with(|s| s.dirty || s.stamp != *stamp)
            || !Arc::ptr_eq(conf, &self.context.conf())
    }

    /// Takes in a `config`; its values, if it carries any.
    fn configured(&mut self, ran: &Ran) -> Option<Parsed> {
        let conf = self.context.conf();
        let settings = conf.settings(&self.plugin.name);
        let stamp = self.plugin.with(|s| s.stamp.clone());
        self.asked = Some((Instant::now(), stamp, conf));
        let mut parsed = Parsed::default();
        if ran.ok() {
            parsed = parse(&self.plugin.name, &ran.stdout);
        } else {
            self.failed("config", ran);
        }
        let dirty = !parsed.readings.is_empty();
        let empty = ran.ok() && !ran.stdout.iter().any(|b| !matches!(b, b'\n' | b'\r'));
        self.plugin.with(|s| {
            s.configured = true;
            s.silent = empty || ran.ending == Ending::TimedOut;
            s.step_ms = step_ms(&settings, &parsed.services, self.context.step_ms);
            if ran.ok() {
                s.config = Some(ran.stdout.clone());
                s.multigraph = parsed.multigraph;
                s.dirty = dirty;
            } else if s.config.is_none() {
                s.host.clone_from(&settings.host_name);
            }
        });
        if ran.ok() {
            let specs = std::mem::take(&mut parsed.services);
            self.set_specs(specs, &settings);
            if !dirty {
                // Else it is named with the values.
                self.config_oddities(&parsed);
            }
        }
        dirty.then_some(parsed)
    }

    fn set_specs(&mut self, specs: Vec<ServiceSpec>, settings: &Settings) {
        let node = &self.context.around.node;
        let own = specs.iter().find_map(|s| s.host_name.clone());
        let host = settings.host_name.clone().or(own).filter(|h| !h.eq_ignore_ascii_case(node));
        let step_ms = self.plugin.with(|s| {
            s.host.clone_from(&host);
            s.step_ms
        });
        let live = &self.context.live;
        self.specs = specs
            .into_iter()
            .filter(|s| host.is_some() || !live.has_service(&s.name))
            .map(|mut s| {
                s.step_ms = step_ms;
                s.source = format!("plugin:{}", self.plugin.name);
                s.host_name.clone_from(&host);
                s
            })
            .collect();
        self.extinfo.apply(&mut self.specs);
        self.describe();
    }

    /// Makes the layout anew and announces the services.
    fn describe(&mut self) {
        let mut fields = Vec::new();
        for spec in &self.specs {
            fields.extend(spec.fields.iter().map(|f| FieldKey::new(&spec.name, &f.name)));
        }
        let own = [FieldKey::new(DURATION, &self.own), FieldKey::new(SUCCESS, &self.own)];
        self.virtual_node = self.plugin.host().map(|host| {
            let layout = Layout::new(own.to_vec());
            (host.into(), Arc::new(layout))
        });
        if self.virtual_node.is_none() {
            fields.extend(own);
        }
        self.index = fields
            .iter()
            .enumerate()
            .map(|(i, f)| ((f.service.clone(), f.field.clone()), i))
            .collect();
        self.layout = Some(Arc::new(Layout::new(fields)));
        let mut specs: Vec<ServiceSpec> =
            self.specs.iter().filter(|s| !s.fields.is_empty()).cloned().collect();
        let (mut durations, mut successes) = report_specs();
        let (duration, success) = report_fields(&self.own, &self.plugin.name);
        durations.fields.push(duration);
        successes.fields.push(success);
        for mut spec in [durations, successes] {
            spec.step_ms = self.context.step_ms;
            specs.push(spec);
        }
        let source = format!("plugin:{}", self.plugin.name);
        self.context.outlet.send(Event::Services { source, specs });
    }

    /// Takes in values.
    fn take(&mut self, time_ms: TimeMs, parsed: Parsed, took: Duration) {
        self.noise(&parsed);
        let mut new = self.layout.is_none();
        if self.extinfo.take(&parsed, Instant::now()) {
            self.extinfo.apply(&mut self.specs);
            new = true;
        }
        for reading in parsed.numbers() {
            if self.add_unknown_field(reading) {
                new = true;
                // What is new may have been described meanwhile; once is enough.
                let few = self.nameless.len() < NAMELESS_MAX;
                if few && self.nameless.insert((reading.service.clone(), reading.field.clone())) {
                    self.asked = None;
                }
            }
        }
        if new {
            self.describe();
        }
        self.emit(time_ms, &parsed.readings, took, true);
    }

    /// A field that `config` did not name is kept all the same.
    fn add_unknown_field(&mut self, reading: &Reading) -> bool {
        if self.index.contains_key(&(reading.service.clone(), reading.field.clone())) {
            return false;
        }
        if self.virtual_node.is_none() && self.context.live.has_service(&reading.service) {
            return false;
        }
        let field = FieldSpec::gauge(&reading.field, "");
        match self.specs.iter_mut().find(|s| s.name == reading.service) {
            Some(spec) if spec.field(&reading.field).is_some() => return false,
            Some(spec) => spec.fields.push(field),
            None => {
                let mut spec = ServiceSpec::new(&reading.service, &reading.service, "other");
                spec.step_ms = self.plugin.with(|s| s.step_ms);
                spec.source = format!("plugin:{}", self.plugin.name);
                spec.host_name = self.plugin.host();
                self.specs.push(spec.fields(vec![field]));
            }
        }
        true
    }

    fn emit(&mut self, time_ms: TimeMs, readings: &[Reading], took: Duration, ok: bool) {
        if self.layout.is_none() {
            self.describe();
        }
        let Some(layout) = self.layout.clone() else { return };
        let mut rows: BTreeMap<TimeMs, Vec<Option<Value>>> = BTreeMap::new();
        let seconds = Value::Float(took.as_micros() as f64 / 1e6);
        let readings = self.believable(readings, time_ms);
        let ok = ok && !self.has_bad_times;
        let own = [Some(seconds), Some(Value::Int(i64::from(ok)))];
        let node = match &self.virtual_node {
            None => {
                let mut row = vec![None; layout.len() - own.len()];
                row.extend(own);
                rows.insert(time_ms, row);
                None
            }
            Some((node, layout)) => {
                self.send_row(None, layout, time_ms, &own);
                Some(node)
            }
        };
        for r in readings {
            let Some(&i) = self.index.get(&(r.service.clone(), r.field.clone())) else { continue };
            let at = r.time_ms.unwrap_or(time_ms);
            if rows.len() >= TIMES_MAX && !rows.contains_key(&at) {
                tracing::warn!(plugin = %self.plugin.name, limit = TIMES_MAX, "too many times");
                break;
            }
            rows.entry(at).or_insert_with(|| vec![None; layout.len()])[i] = Some(r.value);
        }
        for (time_ms, values) in rows {
            self.send_row(node, &layout, time_ms, &values);
        }
    }

    /// The readings whose times can be right: the collector takes no others. Logged once,
    /// until all of a run's are right again.
    fn believable<'r>(&mut self, readings: &'r [Reading], now: TimeMs) -> Vec<&'r Reading> {
        let (good, left_out) = times::believable(readings, now);
        if let (Some(LeftOut { field, why, .. }), false) = (&left_out, self.has_bad_times) {
            tracing::warn!(
                plugin = %self.plugin.name, field,
                "the plugin prints a value with a wrong time; such values are left out: {why}"
            );
        }
        self.has_bad_times = left_out.is_some();
        good
    }

    fn send_row(
        &self,
        node: Option<&Arc<str>>,
        layout: &Arc<Layout>,
        time_ms: TimeMs,
        values: &[Option<Value>],
    ) {
        let mut cells = Cells::new();
        for value in values {
            match value {
                Some(value) => cells.push(*value),
                None => cells.push_absent(),
            }
        }
        let (layout, cells) = (Arc::clone(layout), Arc::new(cells));
        let row = RowOut { node: node.cloned(), layout, time_ms, cells };
        self.context.outlet.send(Event::Row(row));
    }

    /// Logs a failure once, until it is another one or has passed.
    fn failed(&self, verb: &str, ran: &Ran) {
        let why = format!("{verb}: {}", ran.why());
        let new = self.plugin.with(|s| s.error.replace(why.clone()) != Some(why.clone()));
        if new {
            tracing::warn!(
                plugin = %self.plugin.name, %why,
                "the plugin failed; try: rookery-agent run {} {verb}", self.plugin.name
            );
        }
    }

    /// `config` is an output of its own: what is odd in it is no news for `fetch`.
    fn config_oddities(&mut self, parsed: &Parsed) {
        for text in self.config_oddities.news(parsed) {
            tracing::warn!(plugin = %self.plugin.name, "config: {text}");
        }
    }

    fn noise(&mut self, parsed: &Parsed) {
        for text in self.oddities.news(parsed) {
            tracing::warn!(plugin = %self.plugin.name, "{text}");
        }
    }
}

/// plugin-conf.d's `update_rate`, the plugin's own, or the agent's.
fn step_ms(settings: &Settings, specs: &[ServiceSpec], default_ms: u64) -> u64 {
    let own = specs.iter().find_map(|s| s.extra.get("update_rate"));
    let own = own.and_then(|t| rookery_plugins::config::parse_span_ms(t.split(' ').next()?).ok());
    settings.update_rate_s.map(|s| s.saturating_mul(1000)).or(own).unwrap_or(default_ms).max(1)
}
