//! Scenarios as text: `testdata/*.test` on a simulated clock. See
//! `testdata/README.md` for the language.

use super::{Acknowledgement, Downtime, Machine, Plan, Settings};
use crate::output::{Notice, NoticeKind, Output, StateRecord, Status, Transition};
use crate::period::TimesConfig;
use crate::rules::Rules;
use rookery_plugins::{Cells, FieldKey, FieldSpec, FieldType, Layout, ServiceSpec, TimeMs, Value};
use std::collections::{BTreeMap, VecDeque};

const DAY: TimeMs = 1_763_596_800_000;

/// The world of one scenario.
pub(super) struct World {
    machine: Machine,
    settings: Settings,
    rules: String,
    nodes: BTreeMap<String, BTreeMap<String, ServiceSpec>>,
    groups: BTreeMap<String, String>,
    plans: BTreeMap<String, (Layout, Plan)>,
    store: BTreeMap<String, StateRecord>,
    now_ms: TimeMs,
    touched: (String, String),
    pub(super) notices: VecDeque<Notice>,
    /// When each field came last, and how long after the one before, as the history has
    /// it.
    seen: BTreeMap<(String, String, String), (TimeMs, i64)>,
    /// Those for who was not notified of the problem yet.
    catch_ups: VecDeque<Notice>,
    /// The states of each incident that were notified.
    told: BTreeMap<String, Vec<Status>>,
    transitions: Vec<Transition>,
    /// What the last `ack` or the like was answered.
    refused: Option<String>,
}

/// Without a window: most scenarios are about one problem.
fn quick() -> Settings {
    Settings { group_window_ms: 0, ..Settings::default() }
}

fn clock(text: &str) -> TimeMs {
    let parts: Vec<i64> = text.split(':').map(|p| p.parse().expect("a time")).collect();
    DAY + (parts[0] * 3600 + parts[1] * 60 + parts.get(2).copied().unwrap_or(0)) * 1000
}

impl World {
    pub(super) fn new() -> World {
        World {
            machine: Machine::new(Rules::default(), quick()),
            settings: quick(),
            rules: String::new(),
            nodes: BTreeMap::new(),
            groups: BTreeMap::new(),
            plans: BTreeMap::new(),
            store: BTreeMap::new(),
            now_ms: DAY,
            touched: Default::default(),
            notices: VecDeque::new(),
            seen: BTreeMap::new(),
            catch_ups: VecDeque::new(),
            told: BTreeMap::new(),
            transitions: Vec::new(),
            refused: None,
        }
    }

    /// A new machine from what was stored.
    fn restart(&mut self) {
        let rules = Rules::load(&[("s.toml".to_owned(), self.rules.clone())]).expect("rules");
        self.machine = Machine::new(rules, self.settings.clone());
        let json = serde_json::to_string(&self.store.values().collect::<Vec<_>>()).expect("json");
        let records: Vec<StateRecord> = serde_json::from_str(&json).expect("reads back");
        self.machine.restore(&records);
        for (node, specs) in &self.nodes {
            let group = self.groups.get(node).map_or("group", String::as_str);
            self.machine.know(node, group, specs.values());
        }
        for ((node, service, field), (time_ms, gap_ms)) in &self.seen {
            self.machine.seen(node, service, field, (*time_ms, *gap_ms));
            self.machine.seen_node(node, *time_ms);
        }
        self.plans.clear();
    }

    fn take(&mut self, out: Vec<Output>) {
        for output in out {
            match output {
                Output::Notice(n) => {
                    // As for somebody who is notified of everything.
                    let told = self.told.entry(n.incident.clone()).or_default();
                    let is_known = told.iter().any(|state| n.is_known_to(*state));
                    if n.kind == NoticeKind::Problem {
                        told.push(n.state);
                    }
                    if is_known { &mut self.catch_ups } else { &mut self.notices }.push_back(n);
                }
                Output::Transition(t) => self.transitions.push(t),
                Output::StateChanged(r) => {
                    self.store.insert(r.key.clone(), r);
                }
            }
        }
    }

    /// Ticks each second up to `to`.
    fn advance(&mut self, to: TimeMs) {
        assert!(to >= self.now_ms, "time goes back: use jump");
        let mut out = Vec::new();
        while self.now_ms < to {
            self.now_ms += 1000;
            self.machine.tick(self.now_ms, &mut out);
        }
        self.take(out);
    }

    /// `service.field value` pairs as one row.
    fn row(&mut self, node: &str, pairs: &[&str], time_ms: TimeMs) {
        let specs = &self.nodes[node];
        if !self.plans.contains_key(node) {
            let keys = specs
                .values()
                .flat_map(|s| s.fields.iter().map(|f| FieldKey::new(&s.name, &f.name)))
                .collect();
            let layout = Layout::new(keys);
            let group = self.groups.get(node).map_or("group", String::as_str);
            let plan = self.machine.plan(node, group, &|s| specs.get(s), &layout);
            self.plans.insert(node.to_owned(), (layout, plan));
        }
        let (layout, plan) = &self.plans[node];
        let mut cells = Cells::new();
        for key in layout.fields() {
            let name = format!("{}.{}", key.service, key.field);
            let value = pairs.chunks(2).find(|p| p[0] == name || p[0] == "all").map(|p| p[1]);
            match value.map(|v| Value::parse(v).expect("a value")) {
                Some(v) => {
                    cells.push(v);
                    let place = (node.to_owned(), key.service.clone(), key.field.clone());
                    let seen = self.seen.entry(place).or_insert((time_ms, 0));
                    let newest = time_ms.min(self.now_ms).max(seen.0);
                    *seen = (newest, newest - seen.0);
                    self.touched = (node.to_owned(), key.service.clone());
                }
                None => cells.push_absent(),
            }
        }
        let mut out = Vec::new();
        let (kinds, bits) = (cells.kinds(), cells.bits());
        self.machine.observe(plan, time_ms, kinds, bits, self.now_ms, &mut out);
        self.take(out);
    }

    fn field(&mut self, words: &[&str]) {
        let (node, name) = (words[0], words[1]);
        let (service, field) = name.split_once('.').expect("service.field");
        let services = self.nodes.entry(node.to_owned()).or_default();
        let spec = services.entry(service.to_owned()).or_insert_with(|| ServiceSpec {
            step_ms: 10_000,
            ..ServiceSpec::new(service, service, "test")
        });
        spec.fields.retain(|f| f.name != field);
        let mut f = FieldSpec::gauge(field, field);
        for pair in words[2..].chunks(2) {
            let value = pair[1].to_owned();
            match pair[0] {
                "type" => f.kind = FieldType::parse(&value).expect("a type"),
                "warning" => f.warning = Some(value),
                "critical" => f.critical = Some(value),
                "unknown_limit" => f.unknown_limit = value.parse().ok(),
                "min" => f.min = value.parse().ok(),
                "max" => f.max = value.parse().ok(),
                "cdef" => f.cdef = Some(value),
                "step" => spec.step_ms = value.parse().expect("ms"),
                other => panic!("unknown word {other}"),
            }
        }
        spec.fields.push(f);
        self.plans.remove(node);
    }

    pub(super) fn command(&mut self, line: &str) {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[0] {
            "field" => self.field(&words[1..]),
            "drop" => {
                let (service, field) = words[2].split_once('.').expect("service.field");
                let specs = self.nodes.get_mut(words[1]).expect("a node");
                specs.get_mut(service).expect("a service").fields.retain(|f| f.name != field);
                self.plans.remove(words[1]);
            }
            "fields" => {
                for i in 1..=words[2].parse().expect("a count") {
                    let name = format!("{}{i}.value", words[3]);
                    self.field(&[&[words[1], &name], &words[4..]].concat());
                }
            }
            "group" => {
                for node in &words[2..] {
                    self.groups.insert((*node).to_owned(), words[1].replace('-', ""));
                }
            }
            "rule" | "dependency" | "period" => {
                self.rules.push_str(&format!("[[{}]]\n", words[0]));
                self.rules.push_str(&line[words[0].len()..].replace(';', "\n"));
                self.rules.push('\n');
                self.restart();
            }
            "setting" => {
                let json = format!("{{\"{}\":{}}}", words[1], words[2]);
                let mut all = serde_json::to_value(&self.settings).expect("json");
                let one: serde_json::Value = serde_json::from_str(&json).expect("a number");
                all[words[1]] = one[words[1]].clone();
                self.settings = serde_json::from_value(all).expect("a setting");
                self.restart();
            }
            "start" => {
                self.now_ms = clock(words[1]);
                self.machine.tick(self.now_ms, &mut Vec::new());
            }
            "wait" => self.advance(clock(words[1])),
            "jump" => self.now_ms = clock(words[1]),
            "set-clock" => {
                self.machine.step_clock(clock(words[1]) - self.now_ms);
                self.now_ms = clock(words[1]);
            }
            "restart" => self.restart(),
            "at" => {
                self.advance(clock(words[1]));
                let (pairs, time) = match words.iter().position(|w| *w == "sampled") {
                    Some(i) => (&words[3..i], clock(words[i + 1])),
                    None => (&words[3..], self.now_ms),
                };
                self.row(words[2], pairs, time);
            }
            // both 10 from A to B NODE FIELD VALUE NODE FIELD VALUE
            "both" => {
                let step: i64 = words[1].parse().expect("seconds");
                let (mut t, to) = (clock(words[3]), clock(words[5]));
                while t <= to {
                    self.advance(t);
                    self.row(words[6], &words[7..9], t);
                    self.row(words[9], &words[10..12], t);
                    t += step * 1000;
                }
            }
            // ramp FIELD V1 V2 every 10 from A to B NODE pairs…
            "ramp" => {
                let number = |i: usize| words[i].parse::<f64>().expect("a number");
                let step: i64 = words[5].parse().expect("seconds");
                let (from, to) = (clock(words[7]), clock(words[9]));
                let mut t = from;
                while t <= to {
                    self.advance(t);
                    let part = (t - from) as f64 / (to - from) as f64;
                    let value = format!("{:.6}", number(2) + (number(3) - number(2)) * part);
                    let pairs = [&[words[1], value.as_str()], &words[11..]].concat();
                    self.row(words[10], &pairs, t);
                    t += step * 1000;
                }
            }
            // every 10 from A to B NODE pairs…
            "every" => {
                let step: i64 = words[1].parse().expect("seconds");
                let (mut t, to) = (clock(words[3]), clock(words[5]));
                while t <= to {
                    self.advance(t);
                    self.row(words[6], &words[7..], t);
                    t += step * 1000;
                }
            }
            // round 10 from A to B PREFIX FIRST LAST all VALUE [FIRST LAST all VALUE]
            "round" => {
                let step: i64 = words[1].parse().expect("seconds");
                let (mut t, to) = (clock(words[3]), clock(words[5]));
                while t <= to {
                    self.advance(t);
                    for part in words[7..].chunks(4) {
                        let number = |i: usize| part[i].parse::<u32>().expect("a number");
                        for n in number(0)..=number(1) {
                            self.row(&format!("{}{n}", words[6]), &part[2..], t);
                        }
                    }
                    t += step * 1000;
                }
            }
            // replay 10 from A to B NODE pairs…: all arrive now
            "replay" => {
                let step: i64 = words[1].parse().expect("seconds");
                let (mut t, to) = (clock(words[3]), clock(words[5]));
                while t <= to {
                    self.row(words[6], &words[7..], t);
                    t += step * 1000;
                }
            }
            "expect" => self.expect(&words[1..]),
            "ack" | "unack" | "downtime" | "cancel" => self.hush(&words),
            other => panic!("unknown command {other}"),
        }
    }

    /// `ack NODE SERVICE|- [sticky] [until T]`, `unack NODE SERVICE|-`,
    /// `downtime ID NODE|@GROUP SERVICE|- from T to T`, `cancel ID`.
    fn hush(&mut self, words: &[&str]) {
        let after = |word: &str| words.iter().position(|w| *w == word).map(|i| clock(words[i + 1]));
        let service = |at: usize| Some(words[at]).filter(|s| *s != "-");
        let (author, comment) = ("ann".to_owned(), "at work".to_owned());
        let now_ms = self.now_ms;
        let mut out = Vec::new();
        let done = match words[0] {
            "ack" => {
                let sticky = words.contains(&"sticky");
                let until_ms = after("until");
                let ack = Acknowledgement { author, comment, time_ms: now_ms, until_ms, sticky };
                match words[1].strip_prefix('@') {
                    Some(group) => self.machine.acknowledge_group(group, service(2), ack, &mut out),
                    None => self.machine.acknowledge(words[1], service(2), ack, &mut out),
                }
            }
            "unack" => match words[1].strip_prefix('@') {
                Some(group) => self.machine.unacknowledge_group(group, service(2), &mut out),
                None => self.machine.unacknowledge(words[1], service(2), &mut out),
            },
            "cancel" => self.machine.cancel_downtime(words[1], &mut out),
            _ => {
                let group = words[2].strip_prefix('@').map(str::to_owned);
                let downtime = Downtime {
                    id: words[1].to_owned(),
                    node: Some(words[2].to_owned()).filter(|_| group.is_none()),
                    group,
                    service: service(3).map(str::to_owned),
                    from_ms: after("from").expect("from"),
                    to_ms: after("to").expect("to"),
                    author,
                    comment,
                    repeat: words.iter().position(|w| *w == "repeat").map(|i| TimesConfig {
                        zone: "UTC".to_owned(),
                        times: vec![words[i + 1..].join(" ")],
                    }),
                    flexible_ms: words
                        .iter()
                        .position(|w| *w == "flexible")
                        .map(|i| words[i + 1].parse::<i64>().expect("seconds") * 1000),
                    began_ms: None,
                    exact: false,
                };
                self.machine.add_downtime(downtime, now_ms, &mut out)
            }
        };
        self.refused = done.err();
        self.take(out);
    }

    fn expect(&mut self, words: &[&str]) {
        if let ["refused", rest @ ..] = words {
            let text = self.refused.take().expect("refused");
            assert!(rest.iter().all(|word| text.contains(word)), "{text}");
            return;
        }
        assert_eq!(self.refused.take(), None);
        match words {
            ["no", "notice"] => {
                assert!(self.notices.is_empty(), "unexpected: {:#?}", self.notices);
            }
            ["notices", n, rest @ ..] => {
                assert_eq!(self.notices.len().to_string(), *n, "{:#?}", self.notices);
                for notice in std::mem::take(&mut self.notices) {
                    expect_notice(&notice, rest);
                }
            }
            ["catch-up", rest @ ..] => {
                let notice = self.catch_ups.pop_front().expect("a catch-up");
                expect_notice(&notice, rest);
            }
            ["no", "catch-up"] => {
                assert!(self.catch_ups.is_empty(), "unexpected: {:#?}", self.catch_ups);
            }
            ["notice", rest @ ..] => {
                let notice = self.notices.pop_front().expect("a notice");
                expect_notice(&notice, rest);
            }
            ["transition", what, node] => {
                let found = std::mem::take(&mut self.transitions);
                let kinds: Vec<String> = found
                    .iter()
                    .filter(|t| t.node == *node)
                    .map(|t| format!("{:?}", t.kind))
                    .collect();
                assert!(kinds.contains(&(*what).to_owned()), "{kinds:?}");
            }
            ["no", "transition"] => {
                assert!(self.transitions.is_empty(), "{:#?}", self.transitions);
            }
            ["why", node, service, rest @ ..] => {
                let service = Some(*service).filter(|s| *s != "-");
                let why = self.machine.why(node, service, self.now_ms).expect("a node");
                assert!(rest.iter().all(|word| why.contains(word)), "{why}");
            }
            ["host", node, state] => {
                let view = self.machine.host_state(node).expect("a node");
                assert_eq!(view.state.to_string(), *state);
            }
            ["service", node, service, rest @ ..] => {
                self.touched = ((*node).to_owned(), (*service).to_owned());
                self.expect_state(rest);
            }
            rest => self.expect_state(rest),
        }
    }

    fn expect_state(&self, words: &[&str]) {
        let (node, service) = &self.touched;
        let view = self.machine.service_state(node, service).expect("a service");
        let found = [
            view.state.to_string(),
            if view.hard { "hard" } else { "soft" }.to_owned(),
            format!("{}/{}", view.attempt, view.max_check_attempts),
        ];
        for word in words {
            assert!(found.iter().any(|f| f == word), "{word}: {found:?} {}", view.text);
        }
    }
}

fn expect_notice(notice: &Notice, words: &[&str]) {
    let text = format!(
        "{} {} {} {} {} {}",
        notice.kind.word(),
        notice.node,
        notice.service.as_deref().unwrap_or("-"),
        notice.state,
        notice.sequence,
        notice.text
    );
    for word in words {
        assert!(text.contains(word), "{word} is not in {text:?}");
    }
}

#[test]
fn every_scenario_goes_as_written() {
    let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/testdata");
    let mut n = 0;
    let mut failed = Vec::new();
    for entry in std::fs::read_dir(dir).expect("testdata") {
        let path = entry.expect("an entry").path();
        if path.extension().is_none_or(|e| e != "test") {
            continue;
        }
        n += 1;
        let text = std::fs::read_to_string(&path).expect("text");
        let mut world = World::new();
        for (i, line) in text.lines().enumerate() {
            let line = line.split('#').next().unwrap_or("").trim();
            if line.is_empty() {
                continue;
            }
            let run = std::panic::AssertUnwindSafe(|| world.command(line));
            if std::panic::catch_unwind(run).is_err() {
                failed.push(format!("{}:{}: {line}", path.display(), i + 1));
                break;
            }
        }
        if !world.notices.is_empty() && !std::thread::panicking() {
            failed.push(format!("{}: left over {:?}", path.display(), world.notices));
        }
    }
    assert!(failed.is_empty(), "{}", failed.join("\n"));
    assert!(n >= 8, "only {n} scenarios found");
}
