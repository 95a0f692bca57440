//! Polling: each node in a task of its own, at its interval, never twice at a time.
//!
//! `config` is asked for at first, then every [`CONFIG_EVERY`], and when a `fetch`
//! brings a field that it did not name; a plugin whose `config` carries values
//! (dirtyconfig) is asked for nothing else. A connection is made for each poll, as
//! munin-node ends those that stay.

use super::Remote;
use super::deliver::{Deliverer, Row, layout_of};
use super::rhythms::Rhythms;
use super::session::{Answer, Session};
use super::tls::Secure;
use crate::store::{Shared, now_ms};
use rookery_plugins::munin::{Extinfo, Oddities, Parsed, Reading, parse};
use rookery_plugins::names::{clean_field, clean_service, is_valid};
use rookery_plugins::times::{self, LeftOut};
use rookery_plugins::{Draw, FieldKey, FieldSpec, Layout, ServiceSpec, TimeMs, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::Semaphore;
use tokio::task::JoinSet;
use tokio::time::MissedTickBehavior;

/// How old a `config` may become.
pub const CONFIG_EVERY: Duration = Duration::from_secs(600);
/// The most services that are taken from one node.
pub const SERVICES_MAX: usize = 2000;
/// The most fields that are taken from one node, all services together.
pub const FIELDS_MAX: usize = 20_000;
/// The most nodes that are spoken with at a time.
const AT_ONCE: usize = 200;
/// The most values with times of their own that one answer may bring.
const TIMES_MAX: usize = 100_000;
/// A spool is asked for so much more than is new, s: what a slow plugin says comes
/// into it later than its own time tells. A sample that comes twice changes nothing.
const SPOOL_OVERLAP_S: i64 = 300;
/// After so many lost connections a poll is over.
const LOST_MAX: u32 = 3;
/// First polls are so far apart.
const STAGGER: Duration = Duration::from_millis(20);

/// What is said of a plugin whose values have times that cannot be right.
const BAD_TIMES: &str = "it gives values times before 1970 or more than a day ahead: these \
                         are left out";

/// As the agent calls what it says of its plugins.
const DURATION: &str = "rookery_duration";
const SUCCESS: &str = "rookery_success";
/// What is said of the poll as a whole.
const POLL: &str = "munin_poll";

/// Polls all of these; ends only by being dropped.
pub async fn run(shared: Arc<Shared>, remotes: Vec<Remote>) {
    let at_once = Arc::new(Semaphore::new(AT_ONCE));
    let boot = now_ms().unsigned_abs();
    let mut tasks = JoinSet::new();
    for (i, remote) in remotes.into_iter().enumerate() {
        let (shared, at_once) = (shared.clone(), at_once.clone());
        tasks.spawn(async move {
            tokio::time::sleep(STAGGER * (i as u32 % 500)).await;
            watch(shared, remote, boot, at_once).await;
        });
    }
    while let Some(ended) = tasks.join_next().await {
        if let Err(e) = ended {
            tracing::error!("BUG: polling a munin-node broke off: {e}");
        }
    }
}

async fn watch(shared: Arc<Shared>, remote: Remote, boot: u64, at_once: Arc<Semaphore>) {
    let mut ticks = tokio::time::interval(Duration::from_millis(remote.interval_ms.max(1)));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Skip);
    let mut node = Node::new(shared, remote, boot);
    loop {
        ticks.tick().await;
        let Ok(_permit) = at_once.acquire().await else { return };
        let done = node.poll().await;
        node.note(done);
    }
}

/// What is known of one of a node's services, as `list` names it.
#[derive(Default)]
struct Plugin {
    specs: Vec<ServiceSpec>,
    layout: Option<Arc<Layout>>,
    index: HashMap<FieldKey, usize>,
    asked: Option<Instant>,
    is_dirty: bool,
    extinfo: Extinfo,
    oddities: Oddities,
    rhythms: Rhythms,
    /// Why it gives nothing, if so.
    error: Option<String>,
}

struct Node {
    shared: Arc<Shared>,
    remote: Remote,
    boot: u64,
    name: String,
    deliverer: Option<Deliverer>,
    plugins: BTreeMap<String, Plugin>,
    /// Why it cannot be polled, if so.
    error: Option<String>,
    /// The newest second that was spooled.
    spooled_s: Option<i64>,
    /// What was odd in what it had spooled.
    oddities: Oddities,
    /// Named once: a limit was met.
    is_flooding: bool,
    tls: Result<Option<Secure>, String>,
}

impl Node {
    fn new(shared: Arc<Shared>, remote: Remote, boot: u64) -> Node {
        let name = remote.node.clone();
        // Its files were read at the start, when the configuration was checked.
        // If they have gone since, it is not polled: never in the clear instead.
        let tls = remote.tls.secure();
        Node {
            tls,
            shared,
            remote,
            boot,
            name,
            deliverer: None,
            plugins: BTreeMap::new(),
            error: None,
            spooled_s: None,
            oddities: Oddities::default(),
            is_flooding: false,
        }
    }

    /// Logs how a poll went, if that is news.
    fn note(&mut self, done: Result<(), String>) {
        let place = &self.remote.address;
        let name = if self.name.is_empty() { "?" } else { &self.name };
        match (done, &self.error) {
            (Ok(()), Some(_)) => {
                tracing::info!("munin-node {name} ({place}) answers again");
                self.error = None;
            }
            (Err(e), before) if before.as_ref() != Some(&e) => {
                tracing::warn!("munin-node {name} ({place}): {e}");
                self.error = Some(e);
            }
            _ => {}
        }
    }

    /// Asks for everything once.
    async fn poll(&mut self) -> Result<(), String> {
        let began = Instant::now();
        let mut session = self.connect().await?;
        let list = session.list(&self.remote.list_as).await?;
        if list.is_empty() {
            return Err(format!(
                "it offers no services as {:?}: try use_node_name",
                self.remote.list_as
            ));
        }
        let list = self.bounded(list);
        self.plugins.retain(|name, _| list.contains(name));
        let mut rows = Vec::new();
        let mut lost = None;
        if session.has_spool {
            self.spool(&mut session, &list, &mut rows).await?;
            session.quit().await;
        } else {
            lost = self.each(session, &list, &mut rows).await;
        }
        self.report(began, list.len(), &mut rows);
        let specs = self.specs();
        let deliverer = self
            .deliverer
            .get_or_insert_with(|| Deliverer::new(self.shared.clone(), &self.name, self.boot));
        deliverer.send(&specs, &rows).await.map_err(|e| format!("not taken: {e}"))?;
        lost.map_or(Ok(()), Err)
    }

    async fn connect(&mut self) -> Result<Session, String> {
        let limit = Duration::from_millis(self.remote.timeout_ms);
        let session = {
            let tls = self.tls.as_ref().map_err(Clone::clone)?;
            let tls = tls.as_ref().map(|t| (t, self.remote.tls.wish));
            Session::open((&self.remote.address, self.remote.local), tls, limit).await?
        };
        if self.name.is_empty() {
            if !is_valid(&session.name) {
                return Err(format!("it calls itself {:?}: set `node`", session.name));
            }
            self.name.clone_from(&session.name);
        }
        Ok(session)
    }

    /// Services whose names can be taken, and no more than may be.
    fn bounded(&mut self, mut list: Vec<String>) -> Vec<String> {
        list.retain(|name| is_valid(&clean_service(name)));
        list.sort_unstable();
        list.dedup();
        if list.len() > SERVICES_MAX {
            self.flood(&format!("{} services: {SERVICES_MAX} are taken", list.len()));
            list.truncate(SERVICES_MAX);
        }
        list
    }

    fn flood(&mut self, what: &str) {
        if !std::mem::replace(&mut self.is_flooding, true) {
            tracing::warn!("munin-node {} ({}): {what}", self.name, self.remote.address);
        }
    }

    /// Asks for each service. A lost connection costs one service, and is made
    /// again; an error: too many were lost.
    async fn each(
        &mut self,
        session: Session,
        list: &[String],
        rows: &mut Vec<Row>,
    ) -> Option<String> {
        let mut open = Some(session);
        let mut n_lost = 0;
        for name in list {
            let mut session = match open.take() {
                Some(session) => session,
                None => match self.connect().await {
                    Ok(session) => session,
                    Err(e) => return Some(format!("lost on the way: {e}")),
                },
            };
            let mut plugin = self.plugins.remove(name).unwrap_or_default();
            let began = Instant::now();
            let time_ms = now_ms();
            let done = self.service(&mut session, name, &mut plugin).await;
            let (readings, error) = match done {
                Ok(Ok(readings)) => {
                    open = Some(session);
                    (readings, None)
                }
                // The node said so, and goes on.
                Ok(Err(refused)) => {
                    open = Some(session);
                    (vec![], Some(refused))
                }
                Err(e) => {
                    n_lost += 1;
                    (vec![], Some(e))
                }
            };
            self.row(name, &mut plugin, &readings, (time_ms, began.elapsed()), error, rows);
            self.plugins.insert(name.clone(), plugin);
            if n_lost >= LOST_MAX {
                return Some(format!("{n_lost} connections lost: the rest is asked next time"));
            }
        }
        if let Some(session) = open {
            session.quit().await;
        }
        None
    }

    /// One service's readings; inside an error of the node's own, outside one of
    /// the connection.
    async fn service(
        &mut self,
        session: &mut Session,
        name: &str,
        plugin: &mut Plugin,
    ) -> Result<Result<Vec<Reading>, String>, String> {
        let is_due = plugin.asked.is_none_or(|at| at.elapsed() >= CONFIG_EVERY);
        if plugin.is_dirty || is_due {
            match session.plugin("config", name).await? {
                Answer::Refused(why) => return Ok(Err(format!("config: {why}"))),
                Answer::Text(text) => {
                    let parsed = self.configured(name, plugin, text);
                    if plugin.is_dirty {
                        self.odd(name, plugin, &parsed);
                        return Ok(Ok(parsed.readings));
                    }
                }
            }
        }
        match session.plugin("fetch", name).await? {
            Answer::Refused(why) => Ok(Err(format!("fetch: {why}"))),
            Answer::Text(text) => {
                let parsed = parse(name, &text);
                self.odd(name, plugin, &parsed);
                if self.add_unknown(plugin, parsed.numbers()) {
                    // It may have been described meanwhile.
                    plugin.asked = None;
                }
                if plugin.extinfo.take(&parsed, Instant::now()) {
                    plugin.extinfo.apply(&mut plugin.specs);
                }
                Ok(Ok(parsed.readings))
            }
        }
    }

    /// Logs what is odd in an answer, if that is news.
    fn odd(&self, name: &str, plugin: &mut Plugin, parsed: &Parsed) {
        for text in plugin.oddities.news(parsed) {
            tracing::warn!("munin-node {}: {name}: {text}", self.name);
        }
    }

    /// Takes in a `config`, and what is said over it.
    fn configured(&mut self, name: &str, plugin: &mut Plugin, mut text: Vec<u8>) -> Parsed {
        let mut parsed = parse(name, &text);
        let is_its = |service: &str| parsed.services.iter().any(|s| s.name == service);
        let over: String = self
            .remote
            .overrides
            .iter()
            .filter(|(service, _)| is_its(service))
            .map(|(service, line)| format!("\nmultigraph {service}\n{line}\n"))
            .collect();
        if !over.is_empty() {
            text.extend_from_slice(over.as_bytes());
            parsed = parse(name, &text);
        }
        plugin.is_dirty = !parsed.readings.is_empty();
        plugin.asked = Some(Instant::now());
        let mut specs = std::mem::take(&mut parsed.services);
        specs.retain(|s| !s.fields.is_empty());
        for spec in &mut specs {
            spec.step_ms = plugin.rhythms.step_ms(spec, self.remote.interval_ms);
            spec.source = format!("munin:{}", self.remote.address);
            spec.host_name = None;
        }
        plugin.extinfo.apply(&mut specs);
        self.describe(plugin, specs);
        self.add_unknown(plugin, parsed.numbers());
        parsed
    }

    /// Sets what a plugin's services are, within what a node may have.
    fn describe(&mut self, plugin: &mut Plugin, mut specs: Vec<ServiceSpec>) {
        let others: usize = self.plugins.values().map(|p| p.index.len()).sum();
        let mut room = FIELDS_MAX.saturating_sub(others);
        for spec in &mut specs {
            if spec.fields.len() > room {
                self.flood(&format!("more than {FIELDS_MAX} fields: the others are left out"));
                spec.fields.truncate(room);
            }
            room -= spec.fields.len();
        }
        specs.retain(|s| !s.fields.is_empty());
        (plugin.specs, plugin.layout) = (specs, None);
        plugin.index = layout_of(&plugin.specs).1;
    }

    /// Fields that `config` did not name are kept all the same; whether there were.
    fn add_unknown<'r>(
        &mut self,
        plugin: &mut Plugin,
        readings: impl IntoIterator<Item = &'r Reading>,
    ) -> bool {
        let mut specs = plugin.specs.clone();
        let mut is_new = false;
        for r in readings {
            let known = specs.iter_mut().find(|s| s.name == r.service);
            if known.as_ref().is_some_and(|s| s.field(&r.field).is_some()) {
                continue;
            }
            is_new = true;
            let field = FieldSpec::gauge(&r.field, "");
            match known {
                Some(spec) => spec.fields.push(field),
                None => {
                    let mut spec = ServiceSpec::new(&r.service, &r.service, "other");
                    spec.step_ms = self.remote.interval_ms;
                    spec.source = format!("munin:{}", self.remote.address);
                    specs.push(spec.fields(vec![field]));
                }
            }
        }
        if is_new {
            let before = plugin.index.len();
            self.describe(plugin, specs);
            return plugin.index.len() > before;
        }
        false
    }

    /// Makes the rows of one service's readings, and says how it went.
    fn row(
        &mut self,
        name: &str,
        plugin: &mut Plugin,
        readings: &[Reading],
        (time_ms, took): (TimeMs, Duration),
        error: Option<String>,
        rows: &mut Vec<Row>,
    ) {
        let (readings, left_out) = times::believable(readings, time_ms);
        if let Some(LeftOut { n, field, why }) = &left_out {
            let example = format!("plugin {name}, field {field}: {why}");
            self.shared.note_bad_times(&self.name, *n, &example);
        }
        let error = error.or_else(|| left_out.map(|_| BAD_TIMES.to_owned()));
        self.say(name, plugin, error);
        plugin.rhythms.take(readings.iter().copied());
        for spec in &mut plugin.specs {
            spec.step_ms = plugin.rhythms.step_ms(spec, self.remote.interval_ms);
        }
        let own = own_field(name);
        let n = plugin.index.len();
        let layout = plugin.layout.get_or_insert_with(|| {
            let keys = plugin
                .specs
                .iter()
                .flat_map(|s| s.fields.iter().map(|f| FieldKey::new(&s.name, &f.name)));
            let reports = [FieldKey::new(DURATION, &own), FieldKey::new(SUCCESS, &own)];
            Arc::new(Layout::new(keys.chain(reports).collect()))
        });
        let mut by_time: BTreeMap<TimeMs, Vec<Option<Value>>> = BTreeMap::new();
        let mut first = vec![None; n + 2];
        first[n] = Some(Value::Float(took.as_micros() as f64 / 1e6));
        first[n + 1] = Some(Value::Int(i64::from(plugin.error.is_none())));
        by_time.insert(time_ms, first);
        for r in readings {
            let key = FieldKey::new(&r.service, &r.field);
            let Some(i) = plugin.index.get(&key) else { continue };
            let at = r.time_ms.unwrap_or(time_ms);
            if by_time.len() < TIMES_MAX || by_time.contains_key(&at) {
                by_time.entry(at).or_insert_with(|| vec![None; n + 2])[*i] = Some(r.value);
            }
        }
        let layout = layout.clone();
        rows.extend(by_time.into_iter().map(|(time_ms, values)| Row {
            layout: layout.clone(),
            time_ms,
            values,
        }));
    }

    /// Logs how a service is, if that is news.
    fn say(&self, name: &str, plugin: &mut Plugin, error: Option<String>) {
        match (&error, &plugin.error) {
            (Some(e), before) if before.as_ref() != Some(e) => {
                tracing::warn!("munin-node {}: {name}: {e}", self.name);
            }
            (None, Some(_)) => tracing::info!("munin-node {}: {name} works again", self.name),
            _ => {}
        }
        plugin.error = error;
    }

    /// Takes what the node has kept since the last time.
    async fn spool(
        &mut self,
        session: &mut Session,
        list: &[String],
        rows: &mut Vec<Row>,
    ) -> Result<(), String> {
        let since = self.spooled_s.unwrap_or_else(|| self.last_seen_s());
        let text = match session.spoolfetch((since - SPOOL_OVERLAP_S).max(0)).await? {
            Answer::Refused(why) => return Err(format!("spoolfetch: {why}")),
            Answer::Text(text) => text,
        };
        let mut parsed = parse("spool", &text);
        for text in self.oddities.news(&parsed) {
            tracing::warn!("munin-node {}: spoolfetch: {text}", self.name);
        }
        let odd = Parsed { strange: std::mem::take(&mut parsed.strange), ..Parsed::default() };
        let mut by_plugin: BTreeMap<String, (Vec<ServiceSpec>, Vec<Reading>)> = BTreeMap::new();
        let plugin_of = |service: &str| {
            let root = service.split('.').next().unwrap_or(service);
            list.iter().find(|n| clean_service(n) == root).cloned()
        };
        for spec in std::mem::take(&mut parsed.services) {
            if let Some(name) = plugin_of(&spec.name) {
                by_plugin.entry(name).or_default().0.push(spec);
            }
        }
        for reading in parsed.readings {
            // A time that cannot be right would skip all that comes before it.
            let newest = reading.time_ms.filter(|ms| times::check(*ms, now_ms()).is_ok());
            self.spooled_s = self.spooled_s.max(newest.map(|ms| ms / 1000));
            if let Some(name) = plugin_of(&reading.service) {
                by_plugin.entry(name).or_default().1.push(reading);
            }
        }
        for (name, (mut specs, readings)) in by_plugin {
            let mut plugin = self.plugins.remove(&name).unwrap_or_default();
            for spec in &mut specs {
                spec.step_ms = plugin.rhythms.step_ms(spec, self.remote.interval_ms);
                spec.source = format!("munin:{}", self.remote.address);
            }
            specs.retain(|s| !s.fields.is_empty());
            if !specs.is_empty() {
                self.describe(&mut plugin, specs);
            }
            self.add_unknown(&mut plugin, readings.iter().filter(|r| !odd.is_strange(r)));
            self.row(&name, &mut plugin, &readings, (now_ms(), Duration::ZERO), None, rows);
            self.plugins.insert(name, plugin);
        }
        Ok(())
    }

    /// The newest second of it in the history; what is older was taken before.
    fn last_seen_s(&self) -> i64 {
        let node = self.shared.nodes.get(&self.name);
        let seen = node.map(|n| n.last_seen_ms.load(std::sync::atomic::Ordering::Relaxed));
        seen.filter(|ms| *ms > 0).map_or(0, |ms| ms / 1000)
    }

    /// Says how the poll went.
    fn report(&self, began: Instant, n_services: usize, rows: &mut Vec<Row>) {
        let (layout, _) = layout_of(&[poll_spec(self.remote.interval_ms)]);
        let n_failed = self.plugins.values().filter(|p| p.error.is_some()).count();
        let values = vec![
            Some(Value::Float(began.elapsed().as_micros() as f64 / 1e6)),
            Some(Value::Int(n_services as i64)),
            Some(Value::Int(n_failed as i64)),
        ];
        rows.push(Row { layout, time_ms: now_ms(), values });
    }

    /// All services that it has now.
    fn specs(&self) -> Vec<ServiceSpec> {
        let step_ms = self.remote.interval_ms;
        let mut duration = ServiceSpec::new(DURATION, "Time taken by plugins", "rookery")
            .vlabel("seconds")
            .args("-l 0")
            .info("How long each plugin's answer took at the last poll.");
        let mut success = ServiceSpec::new(SUCCESS, "Success of plugins", "rookery")
            .vlabel("1 = it worked")
            .args("-l 0 -u 1")
            .unscaled()
            .info("1: the last answer was good; 0: it was not, the collector's log says why.");
        for name in self.plugins.keys() {
            let own = own_field(name);
            duration.fields.push(FieldSpec::gauge(&own, name));
            let field = FieldSpec::gauge(&own, name).limits("1:", "").draw(Draw::Line1);
            success.fields.push(field);
        }
        (duration.step_ms, success.step_ms) = (step_ms, step_ms);
        let plugins = self.plugins.values().flat_map(|p| p.specs.iter().cloned());
        plugins.chain([duration, success, poll_spec(step_ms)]).collect()
    }
}

fn own_field(plugin: &str) -> String {
    format!("plugin_{}", clean_field(plugin))
}

fn poll_spec(step_ms: u64) -> ServiceSpec {
    let mut spec = ServiceSpec::new(POLL, "Polls of this munin-node", "rookery")
        .args("-l 0")
        .unscaled()
        .info("How long a poll took, how many services the node offers, and how many failed.")
        .fields(vec![
            FieldSpec::gauge("duration", "seconds"),
            FieldSpec::gauge("services", "services"),
            FieldSpec::gauge("failed", "services that failed"),
        ]);
    spec.step_ms = step_ms;
    spec
}
