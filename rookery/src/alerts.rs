//! `rookery alerts test`: what rules would have told over the stored history, so
//! that a limit is tuned on last month before it wakes anyone.
//!
//! The same machine as the collector's, with the patience of its `[alerting]`, goes
//! through the exact samples on their own time. Downtimes and acknowledgements are not
//! replayed.

use crate::say;
use clap::{Args as ClapArgs, Subcommand};
use rookery_alerts::rules::Terms;
use rookery_alerts::{Machine, Notice, NoticeKind, Output, Plan, Rules, Settings, Status, message};
use rookery_collector::Store;
use rookery_collector::config::Config;
use rookery_collector::history::{History, ServiceInfo};
use rookery_collector::past::{Past, period_s};
use rookery_collector::read::Reader;
use rookery_collector::store::now_ms;
use rookery_collector::watch::learn::teach;
use rookery_plugins::{FieldKey, FieldSpec, Kind, Layout, ServiceSpec, TimeMs};
use rookery_web::times;
use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::io::{IsTerminal, Write};
use std::path::PathBuf;

/// The machine looks for silent nodes so often, ms.
const TICK_MS: TimeMs = 10_000;
/// So much history is in memory at a time, ms: a day, …
const PART_MS: TimeMs = 86_400_000;
/// … or less, down to a quarter of an hour, where that would be more rows.
const ROWS_MAX: TimeMs = 1_000_000;
const PART_MS_MIN: TimeMs = 900_000;
/// How often a service without a known step is taken to come, ms.
const STEP_MS: TimeMs = 10_000;

#[derive(ClapArgs)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Say what these rules would have told over the stored history
    #[command(after_help = "Example:\n  rookery alerts test new-limits.toml --data \
                            /var/lib/rookery --from -30d")]
    Test(TestArgs),
}

#[derive(ClapArgs)]
struct TestArgs {
    /// Files of rules, as in alerts.d; limits of plugins hold where they say nothing
    #[arg(value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// The history's folder; a collector may run
    #[arg(long, value_name = "DIR", default_value = "./rookery-data")]
    data: PathBuf,
    /// The collector's configuration, for the patience of its [alerting]; without it the
    /// defaults hold
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// From when: a date, RFC 3339, or -30d
    #[arg(long, value_name = "T", default_value = "-7d", allow_hyphen_values = true)]
    from: String,
    /// Until when
    #[arg(long, value_name = "T", default_value = "now", allow_hyphen_values = true)]
    to: String,
}

pub fn run(args: &Args) -> Result<(), String> {
    let What::Test(args) = &args.what;
    let mut files = Vec::new();
    for file in &args.files {
        let text = std::fs::read_to_string(file);
        let text = text.map_err(|e| format!("{}: {e}", file.display()))?;
        files.push((file.display().to_string(), text));
    }
    let rules = Rules::load(&files)?;
    let settings = match &args.config {
        Some(file) => Config::load(file, true)?.alerting,
        None => Settings::default(),
    };
    let now = now_ms();
    let from = times::parse(&args.from, now).map_err(|e| format!("--from: {e}"))?;
    let to = times::parse(&args.to, now).map_err(|e| format!("--to: {e}"))?;
    if from >= to {
        return Err("--from must be before --to".to_owned());
    }
    let shared = Store::look(&args.data).map_err(|e| e.to_string())?;
    let past = Past::new(shared.clone());
    let reader = Reader::new(shared);
    let mut replay = Replay::new(&reader, &past, rules, settings)?;
    replay.go(from, to)?;
    replay.sum_up();
    Ok(())
}

/// A service whose samples are judged, or tell that its node is there.
struct Source {
    node: String,
    service: String,
    fields: Vec<String>,
    plan: Plan,
    step_ms: TimeMs,
}

/// A row of a source.
struct Row {
    time_ms: TimeMs,
    source: usize,
    kinds: Vec<u8>,
    bits: Vec<u64>,
}

struct Replay<'a> {
    reader: &'a Reader,
    /// The same with what was consolidated before it came here.
    past: &'a Past,
    machine: Machine,
    sources: Vec<Source>,
    out: Vec<Output>,
    ticked_ms: Option<TimeMs>,
    told: BTreeMap<&'static str, u32>,
    /// Of the open incidents the states that were told.
    known: HashMap<String, HashSet<Status>>,
    n_changes: u32,
}

impl<'a> Replay<'a> {
    fn new(
        reader: &'a Reader,
        past: &'a Past,
        rules: Rules,
        settings: Settings,
    ) -> Result<Replay<'a>, String> {
        let mut machine = Machine::new(rules.clone(), settings);
        machine.learn_from_history();
        let mut sources = Vec::new();
        for node in reader.nodes() {
            let services = reader.services(&node.name).map_err(|e| e.to_string())?;
            let specs: BTreeMap<&str, &ServiceSpec> =
                services.iter().map(|s| (s.spec.name.as_str(), &*s.spec)).collect();
            let quickest = services
                .iter()
                .filter(|s| s.active && s.spec.step_ms > 0)
                .min_by_key(|s| s.spec.step_ms);
            // Averages of long ago are not judged.
            for info in services.iter().filter(|s| period_s(&s.spec).is_none()) {
                let beats = quickest.is_some_and(|q| q.spec.name == info.spec.name);
                let fields = judged(&rules, &node.name, &node.group, info, beats);
                if fields.is_empty() {
                    continue;
                }
                let name = &info.spec.name;
                let keys = fields.iter().map(|f| FieldKey::new(name, f)).collect();
                let find = |name: &str| specs.get(name).copied();
                let plan = machine.plan(&node.name, &node.group, &find, &Layout::new(keys));
                let (node, service) = (node.name.clone(), name.clone());
                let step = i64::try_from(info.spec.step_ms).ok().filter(|s| *s > 0);
                let step_ms = step.unwrap_or(STEP_MS);
                sources.push(Source { node, service, fields, plan, step_ms });
            }
        }
        let (out, told, known) = (Vec::new(), BTreeMap::new(), HashMap::new());
        let (ticked_ms, n_changes) = (None, 0);
        Ok(Replay { reader, past, machine, sources, out, ticked_ms, told, known, n_changes })
    }

    fn go(&mut self, from: TimeMs, to: TimeMs) -> Result<(), String> {
        let shows = std::io::stderr().is_terminal();
        let a_day: TimeMs = self.sources.iter().map(|s| PART_MS / s.step_ms).sum();
        let part_ms = (PART_MS / (a_day / ROWS_MAX + 1)).max(PART_MS_MIN);
        let mut at = from;
        while at < to {
            let end = to.min(at.saturating_add(part_ms));
            if shows {
                // Whether it is seen does not matter.
                let _ = write!(std::io::stderr(), "\r{} ", message::time(at));
            }
            for row in self.rows(at, end)? {
                self.tick(row.time_ms);
                let plan = &self.sources[row.source].plan;
                let (time, out) = (row.time_ms, &mut self.out);
                self.machine.observe(plan, time, &row.kinds, &row.bits, time, out);
                self.tell();
                self.learn(time)?;
            }
            self.tick(end);
            at = end;
        }
        if shows {
            let _ = write!(std::io::stderr(), "\r{:30}\r", "");
        }
        Ok(())
    }

    /// Tells the machine what it wants to know of before.
    fn learn(&mut self, now: TimeMs) -> Result<(), String> {
        while self.machine.is_wanting() {
            for want in self.machine.wants(1) {
                let (machine, out) = (&mut self.machine, &mut self.out);
                teach(self.past, want, &mut |want, lesson| machine.learn(want, lesson, now, out))
                    .map_err(|e| e.to_string())?;
            }
            self.tell();
        }
        Ok(())
    }

    /// All rows of a span, in order of time.
    fn rows(&self, from: TimeMs, to: TimeMs) -> Result<Vec<Row>, String> {
        let mut all: Vec<Row> = Vec::new();
        for (source, s) in self.sources.iter().enumerate() {
            let mut rows: BTreeMap<TimeMs, Row> = BTreeMap::new();
            let n = s.fields.len();
            for (i, field) in s.fields.iter().enumerate() {
                let samples = self.reader.samples(&s.node, &s.service, field, from, to);
                let samples = samples.map_err(|e| e.to_string())?;
                for j in 0..samples.len() {
                    let time_ms = samples.times_ms[j];
                    let row = rows.entry(time_ms).or_insert_with(|| Row {
                        time_ms,
                        source,
                        kinds: vec![Kind::Absent as u8; n],
                        bits: vec![0; n],
                    });
                    (row.kinds[i], row.bits[i]) = (samples.kinds[j], samples.bits[j]);
                }
            }
            all.extend(rows.into_values());
        }
        all.sort_by_key(|r| r.time_ms);
        Ok(all)
    }

    /// Lets the time pass.
    fn tick(&mut self, to: TimeMs) {
        let mut at = self.ticked_ms.unwrap_or(to);
        while at <= to {
            self.machine.tick(at, &mut self.out);
            self.tell();
            at += TICK_MS;
        }
        self.ticked_ms = Some(at);
    }

    fn tell(&mut self) {
        for output in std::mem::take(&mut self.out) {
            match output {
                Output::Notice(notice) => {
                    // As for a contact that is told of everything.
                    let known = self.known.entry(notice.incident.clone()).or_default();
                    let is_known = known.iter().any(|state| notice.is_known_to(*state));
                    if notice.kind == NoticeKind::Problem {
                        known.insert(notice.state);
                    }
                    if is_known {
                        continue;
                    }
                    if notice.kind == NoticeKind::Recovery {
                        self.known.remove(&notice.incident);
                    }
                    *self.told.entry(notice.kind.word()).or_default() += 1;
                    say(format_args!("{}", line(&notice)));
                }
                // Soft ones among them: nobody is told.
                Output::Transition(_) => self.n_changes += 1,
                Output::StateChanged(_) => {}
            }
        }
    }

    fn sum_up(&self) {
        let n = |word: &str| self.told.get(word).copied().unwrap_or(0);
        let nodes: BTreeSet<&str> = self.sources.iter().map(|s| s.node.as_str()).collect();
        say(format_args!(
            "{} problems and {} recoveries would have been told, of {} changes of state on {} nodes",
            n("PROBLEM"),
            n("RECOVERY"),
            self.n_changes,
            nodes.len()
        ));
    }
}

/// The fields of a service that have limits; the first one of a service that only
/// tells that its node is there.
fn judged(rules: &Rules, node: &str, group: &str, info: &ServiceInfo, beats: bool) -> Vec<String> {
    let spec = &info.spec;
    let has_limits = |f: &&FieldSpec| {
        let terms = rules.terms_of(node, group, spec, f);
        let Terms { warning, critical, absent_ms, .. } = &terms;
        terms.enabled && (warning.is_some() || critical.is_some() || absent_ms.is_some())
    };
    // Fields of which rules compute something, too.
    let services: Vec<&str> = [spec.name.as_str()].into_iter().chain(spec.old_names()).collect();
    let formulas = rules.formulas(node, group, &services);
    let is_source = |f: &FieldSpec| formulas.iter().any(|(_, e, _)| e.fields().contains(&f.name));
    let used: Vec<&FieldSpec> =
        spec.fields.iter().filter(|f| has_limits(f) || is_source(f)).collect();
    // A cdef may need others.
    let words: BTreeSet<&str> =
        used.iter().filter_map(|f| f.cdef.as_deref()).flat_map(|c| c.split(',')).collect();
    let is_used =
        |f: &&FieldSpec| used.iter().any(|u| u.name == f.name) || words.contains(f.name.as_str());
    let mut fields: Vec<String> =
        spec.fields.iter().filter(is_used).map(|f| f.name.clone()).collect();
    if fields.is_empty() && beats {
        fields.extend(spec.fields.first().map(|f| f.name.clone()));
    }
    fields
}

/// `2026-11-20 12:00:10 UTC PROBLEM CRITICAL web1/load: load is 12 (outside ~:10)`.
fn line(notice: &Notice) -> String {
    format!(
        "{} {:<8} {} {}: {}",
        message::time(notice.time_ms),
        notice.kind.word(),
        notice.state,
        message::place(notice),
        message::line(&notice.text)
    )
}
