//! Storms: what goes wrong all at once, on a simulated clock, over real rules and the
//! real `state.sqlite`, with the exact number of messages. Each is played many times:
//! once undisturbed, and once for each of many moments with the collector killed
//! then (dropped without being closed) and started again.

use super::{Alerts, Observer, Watcher, open};
use rookery_alerts::{ContactConfig, Notice, NoticeKind, Notifier, Plan, Rules, Settings};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec, TimeMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// 2026-11-20 12:00:00 UTC.
const NOON_MS: TimeMs = 1_795_176_000_000;
/// Each node sends so often, s.
const STEP_S: i64 = 10;

/// A node and the values that it sends.
struct Sender {
    group: String,
    specs: Vec<ServiceSpec>,
    values: BTreeMap<String, i64>,
    plan: Option<Plan>,
    is_silent: bool,
    /// Its clock is so far off, ms.
    skew_ms: i64,
}

struct Storm {
    dir: tempfile::TempDir,
    rules: String,
    settings: Settings,
    live: Option<(Alerts, Watcher)>,
    nodes: BTreeMap<String, Sender>,
    now_ms: TimeMs,
    /// When the collector is killed, s since noon.
    kill_s: Option<i64>,
}

impl Storm {
    fn new(rules: &str, kill_s: Option<i64>) -> Storm {
        let mut storm = Storm {
            dir: tempfile::tempdir().expect("a folder"),
            rules: rules.to_owned(),
            settings: Settings::default(),
            live: None,
            nodes: BTreeMap::new(),
            now_ms: NOON_MS,
            kill_s,
        };
        storm.start();
        storm
    }

    fn start(&mut self) {
        let rules = Rules::load(&[("r.toml".to_owned(), self.rules.clone())]).expect("rules");
        let to = ContactConfig {
            name: "ops".to_owned(),
            file: self.dir.path().join("told"),
            ..ContactConfig::default()
        };
        let notifier = Notifier::new(None, vec![to], "http://c").expect("a contact");
        let opened = open(self.dir.path(), rules, self.settings.clone(), Arc::new(notifier));
        let (alerts, watcher) = opened.expect("opens");
        for (name, node) in &mut self.nodes {
            node.plan = None;
            alerts.live().machine.know(name, &node.group, node.specs.iter());
        }
        self.live = Some((alerts, watcher));
    }

    /// As `kill -9`: what is not on disk is gone.
    fn kill(&mut self) {
        self.live = None;
        self.start();
    }

    /// A node with services, each with a field `v` that is CRITICAL above 100.
    fn node(&mut self, name: &str, group: &str, services: &[String]) {
        let spec = |s: &String| ServiceSpec {
            step_ms: STEP_S as u64 * 1000,
            ..ServiceSpec::new(s, s, "t").fields(vec![FieldSpec::gauge("v", "").limits("", "100")])
        };
        let sender = Sender {
            group: group.to_owned(),
            specs: services.iter().map(spec).collect(),
            values: services.iter().map(|s| (s.clone(), 5)).collect(),
            plan: None,
            is_silent: false,
            skew_ms: 0,
        };
        self.nodes.insert(name.to_owned(), sender);
    }

    fn set(&mut self, node: &str, service: &str, value: i64) {
        let values = &mut self.nodes.get_mut(node).expect("a node").values;
        values.insert(service.to_owned(), value);
    }

    fn silence(&mut self, node: &str, is_silent: bool) {
        self.nodes.get_mut(node).expect("a node").is_silent = is_silent;
    }

    fn send(&mut self, name: &str, time_ms: TimeMs) {
        let (alerts, _) = self.live.as_ref().expect("runs");
        let node = self.nodes.get_mut(name).expect("a node");
        let mut live = alerts.live();
        let super::Live { machine, out, .. } = &mut *live;
        let keys = node.specs.iter().map(|s| FieldKey::new(&s.name, "v")).collect();
        let layout = Layout::new(keys);
        let plan = node.plan.get_or_insert_with(|| {
            let specs = &node.specs;
            machine.plan(name, &node.group, &|s| specs.iter().find(|x| x.name == s), &layout)
        });
        let mut cells = Cells::new();
        for key in layout.fields() {
            cells.push(node.values[&key.service]);
        }
        machine.observe(plan, time_ms, cells.kinds(), cells.bits(), self.now_ms, out);
    }

    /// Lets so many seconds pass. Nodes send at different seconds of their step.
    fn run(&mut self, seconds: i64) {
        for _ in 0..seconds {
            self.now_ms += 1000;
            let s = (self.now_ms - NOON_MS) / 1000;
            if self.kill_s == Some(s) {
                self.kill();
            }
            let names: Vec<String> = self.nodes.keys().cloned().collect();
            for (i, name) in names.iter().enumerate() {
                let node = &self.nodes[name];
                if !node.is_silent && (s + i as i64) % STEP_S == 0 {
                    self.send(name, self.now_ms + node.skew_ms);
                }
            }
            self.live.as_mut().expect("runs").1.settle(self.now_ms);
        }
    }

    /// What stands in the outbox, each message once, in order.
    fn told(&self) -> Vec<Notice> {
        let conn = rusqlite::Connection::open(self.dir.path().join("state.sqlite")).expect("opens");
        let mut stmt = conn.prepare("SELECT json FROM outbox ORDER BY id").expect("reads");
        let rows = stmt.query_map([], |r| r.get::<_, String>(0)).expect("reads");
        let all: Vec<Notice> = rows
            .map(|json| serde_json::from_str(&json.expect("text")).expect("a notice"))
            .collect();
        let ids: BTreeSet<&str> = all.iter().map(|n| n.id.as_str()).collect();
        assert_eq!(ids.len(), all.len(), "each message once");
        all
    }

    fn expect(&self, what: &str, want: &[&str]) {
        let told = self.told();
        let found: Vec<String> = told
            .iter()
            .map(|n| match &n.service {
                Some(s) => format!("{} {}/{s}", n.kind.word(), n.node),
                None => format!("{} {}", n.kind.word(), n.node),
            })
            .collect();
        let texts: Vec<&str> = told.iter().map(|n| n.text.as_str()).collect();
        assert_eq!(found, want, "{what}, killed at {:?} s: {texts:#?}", self.kill_s);
    }
}

/// Plays a storm undisturbed, and killed at each of many moments.
fn play(rules: &str, seconds: i64, story: impl Fn(&mut Storm)) {
    // Long ones at fewer moments, of all phases of their steps all the same.
    let every = if seconds > 1200 { 97 } else { 17 };
    let kills = (1..seconds).step_by(every).map(Some);
    for kill_s in [None].into_iter().chain(kills) {
        story(&mut Storm::new(rules, kill_s));
    }
}

fn names(prefix: &str, n: usize) -> Vec<String> {
    (1..=n).map(|i| format!("{prefix}{i}")).collect()
}

const S1: &str = "[[dependency]]\ngroup = \"web\"\nservice = \"wordpress\"\non = \"db1\"\n";

#[test]
fn s1_a_database_server_with_41_services_and_30_dependants_is_one_page() {
    play(S1, 420, |storm| {
        storm.node("db1", "db", &names("mysql_", 41));
        for web in names("web", 30) {
            storm.node(&web, "web", &["wordpress".to_owned(), "load".to_owned()]);
        }
        storm.run(60);
        // Dying takes it half a minute, and its dependants suffer at once.
        names("mysql_", 5).iter().for_each(|s| storm.set("db1", s, 500));
        names("web", 30).iter().for_each(|web| storm.set(web, "wordpress", 500));
        storm.run(25);
        storm.silence("db1", true);
        storm.run(215);
        storm.expect("db1 is DOWN", &["PROBLEM db1"]);
        let page = &storm.told()[0];
        assert_eq!((page.n_with, page.n_behind), (0, 71), "{}", page.text);
        assert!(page.text.contains("41 services behind it: mysql_1, mysql_2"), "{}", page.text);
        assert!(page.text.contains("30 dependants behind it: web1/wordpress"), "{}", page.text);
        storm.silence("db1", false);
        names("mysql_", 5).iter().for_each(|s| storm.set("db1", s, 5));
        storm.run(15);
        names("web", 30).iter().for_each(|web| storm.set(web, "wordpress", 5));
        storm.run(105);
        storm.expect("db1 is back", &["PROBLEM db1", "RECOVERY db1"]);
    });
}

#[test]
fn s1_without_a_dependency_it_is_one_page_of_the_server_and_one_of_the_group() {
    play("", 300, |storm| {
        storm.node("db1", "db", &names("mysql_", 41));
        names("web", 30).iter().for_each(|w| storm.node(w, "web", &["wordpress".to_owned()]));
        storm.run(60);
        names("web", 30).iter().for_each(|web| storm.set(web, "wordpress", 500));
        storm.silence("db1", true);
        storm.run(240);
        let mut told: Vec<(String, usize)> =
            storm.told().iter().map(|n| (n.node.clone(), n.n_with)).collect();
        told.sort();
        assert_eq!(told.len(), 2, "{told:?}");
        assert_eq!((told[0].0.as_str(), told[1].1), ("db1", 29), "{told:?}");
    });
}

const QUORUM: &str = "[[rule]]\ngroup = \"web\"\nquorum = \"20%\"\n";

#[test]
fn s2_one_of_fifty_is_no_page() {
    play(QUORUM, 240, |storm| {
        names("web", 50).iter().for_each(|w| storm.node(w, "web", &["apache".to_owned()]));
        storm.run(60);
        storm.silence("web7", true);
        storm.set("web9", "apache", 500);
        storm.run(180);
        storm.expect("web7 is DOWN", &[]);
    });
}

#[test]
fn s3_thirteen_of_fifty_one_after_the_other_are_one_page() {
    for rules in [QUORUM, ""] {
        play(rules, 400, |storm| {
            names("web", 50).iter().for_each(|w| storm.node(w, "web", &["apache".to_owned()]));
            storm.run(60);
            for web in names("web", 13) {
                storm.set(&web, "apache", 500);
                storm.run(1);
            }
            storm.run(127);
            let told = storm.told();
            assert_eq!(told.len(), 1, "{rules} {:?}", storm.kill_s);
            assert!(told[0].of_group || told[0].n_with >= 9, "{:?}", told[0]);
            names("web", 13).iter().for_each(|w| storm.set(w, "apache", 5));
            storm.run(200);
            let kinds: Vec<NoticeKind> = storm.told().iter().map(|n| n.kind).collect();
            assert_eq!(kinds, [NoticeKind::Problem, NoticeKind::Recovery], "{rules}");
        });
    }
}

#[test]
fn s4_thirty_quick_flips_are_a_notice_and_its_end() {
    let patient = "[[rule]]\nservice = \"link\"\nmax_check_attempts = 1\n";
    play(patient, 1100, |storm| {
        storm.node("n", "", &["link".to_owned()]);
        storm.run(60);
        for flip in 0..30 {
            storm.set("n", "link", if flip % 2 == 0 { 500 } else { 5 });
            storm.run(20);
        }
        storm.run(440);
        // No single change lasted for the window: it is told as what it is.
        storm.expect("it flips", &["FLAPPINGSTART n/link", "RECOVERY n/link"]);
    });
}

#[test]
fn s4_thirty_slow_flips_are_a_page_a_notice_and_its_end() {
    let patient = "[[rule]]\nservice = \"link\"\nmax_check_attempts = 1\n";
    // Each lasts longer than the window, so that the first is told as what it is.
    for flip_s in [40, 60] {
        play(patient, 30 * flip_s + 500, |storm| {
            storm.node("n", "", &["link".to_owned()]);
            storm.run(60);
            for flip in 0..30 {
                storm.set("n", "link", if flip % 2 == 0 { 500 } else { 5 });
                storm.run(flip_s);
            }
            storm.run(440);
            let want = ["PROBLEM n/link", "FLAPPINGSTART n/link", "RECOVERY n/link"];
            storm.expect("it flips", &want);
        });
    }
}

/// Too slow to be flapping, and still one problem.
#[test]
fn s4_flips_that_are_too_few_to_flap_are_one_problem_and_its_end() {
    play("[[rule]]\nservice = \"link\"\nmax_check_attempts = 1\n", 3600, |storm| {
        storm.node("n", "", &["link".to_owned()]);
        storm.run(60);
        for flip in 0..30 {
            storm.set("n", "link", if flip % 2 == 0 { 500 } else { 5 });
            storm.run(100);
        }
        storm.run(440);
        storm.expect("it flips", &["PROBLEM n/link", "RECOVERY n/link"]);
    });
}

#[test]
fn s5_a_restart_tells_nothing_again() {
    play("", 240, |storm| {
        storm.node("n", "", &["a".to_owned(), "b".to_owned()]);
        storm.node("m", "", &["a".to_owned()]);
        storm.run(30);
        storm.set("n", "a", 500);
        storm.silence("m", true);
        storm.run(210);
        let mut told: Vec<String> = storm.told().iter().map(|n| n.node.clone()).collect();
        told.sort();
        assert_eq!(told, ["m", "n"], "{:?}", storm.kill_s);
        for _ in 0..3 {
            storm.kill();
            storm.run(100);
        }
        assert_eq!(storm.told().len(), 2, "{:?}", storm.kill_s);
    });
}

#[test]
fn s6_a_replay_of_old_results_is_no_page() {
    play("", 400, |storm| {
        storm.node("n", "", &["a".to_owned()]);
        storm.run(60);
        storm.silence("n", true);
        storm.run(240);
        storm.expect("a partition", &["PROBLEM n"]);
        // It comes back and brings along what it measured: bad all the time, and well now.
        storm.silence("n", false);
        storm.set("n", "a", 500);
        for i in 1..23 {
            storm.send("n", NOON_MS + 60_000 + i * 10_000);
        }
        storm.set("n", "a", 5);
        storm.run(100);
        storm.expect("a replay", &["PROBLEM n", "RECOVERY n"]);
    });
}

#[test]
fn s7_a_clock_an_hour_ahead_is_a_warning_and_no_page() {
    play("", 200, |storm| {
        storm.node("n", "", &["a".to_owned()]);
        storm.run(60);
        storm.nodes.get_mut("n").expect("n").skew_ms = 3_600_000;
        storm.set("n", "a", 500);
        storm.run(140);
        storm.expect("a clock that jumps", &[]);
        let conn = rusqlite::Connection::open(storm.dir.path().join("state.sqlite")).expect("db");
        let sql = "SELECT count(*) FROM transition WHERE json ->> 'kind' = 'clock_skew'";
        let n: i64 = conn.query_row(sql, [], |r| r.get(0)).expect("reads");
        assert!(n >= 1, "it is noted");
        storm.nodes.get_mut("n").expect("n").skew_ms = 0;
        storm.set("n", "a", 5);
        storm.run(60);
        storm.expect("it is set right", &[]);
    });
}

#[test]
fn s8_what_is_over_before_it_is_told_is_no_page() {
    let quick = "[[rule]]\nservice = \"quick\"\nmax_check_attempts = 1\n";
    play(quick, 200, |storm| {
        storm.node("n", "", &["quick".to_owned(), "slow".to_owned()]);
        storm.run(60);
        storm.set("n", "quick", 500);
        storm.set("n", "slow", 500);
        storm.run(20);
        storm.set("n", "quick", 5);
        storm.set("n", "slow", 5);
        storm.run(120);
        storm.expect("a blip", &[]);
    });
}

#[test]
fn s9_a_switch_and_five_nodes_behind_it_are_one_page() {
    let rules = "[[dependency]]\nnode = \"rack*\"\non = \"switch\"\n";
    play(rules, 420, |storm| {
        names("rack", 5).iter().for_each(|n| storm.node(n, "", &names("s", 3)));
        storm.node("switch", "", &["port".to_owned()]);
        storm.node("else", "", &["a".to_owned()]);
        storm.run(60);
        let all: Vec<String> = names("rack", 5).into_iter().chain(["switch".to_owned()]).collect();
        all.iter().for_each(|n| storm.silence(n, true));
        storm.run(240);
        storm.expect("the switch is DOWN", &["PROBLEM switch"]);
        assert_eq!(storm.told()[0].n_behind, 6, "{}", storm.told()[0].text);
        all.iter().for_each(|n| storm.silence(n, false));
        storm.run(120);
        storm.expect("it is back", &["PROBLEM switch", "RECOVERY switch"]);
    });
}

#[test]
fn s12_a_collector_that_sees_nothing_is_one_page() {
    play("", 420, |storm| {
        for (i, name) in names("n", 50).iter().enumerate() {
            storm.node(name, ["", "web", "db", "mail"][i % 4], &names("s", 4));
        }
        storm.run(60);
        names("n", 50).iter().for_each(|n| storm.silence(n, true));
        storm.run(240);
        let told = storm.told();
        assert_eq!(told.len(), 1, "{:?} {:?}", storm.kill_s, told.iter().map(|n| &n.text));
        assert!(told[0].text.contains("is it the collector that is cut off?"), "{}", told[0].text);
        assert_eq!(told[0].n_with, 49, "{}", told[0].text);
        names("n", 50).iter().for_each(|n| storm.silence(n, false));
        storm.run(120);
        assert_eq!(storm.told().len(), 2, "{:?}", storm.kill_s);
    });
}

/// A node that comes back with its services still bad: the node's end is told, and
/// what is left is one problem, once.
#[test]
fn a_node_that_comes_back_sick_is_one_recovery_and_one_problem() {
    play("", 480, |storm| {
        storm.node("db1", "", &names("mysql_", 41));
        storm.run(60);
        storm.silence("db1", true);
        storm.run(180);
        names("mysql_", 41).iter().for_each(|s| storm.set("db1", s, 500));
        storm.silence("db1", false);
        storm.run(240);
        storm.expect("db1 is sick", &["PROBLEM db1", "RECOVERY db1", "PROBLEM db1/mysql_1"]);
        assert_eq!(storm.told()[2].n_with, 40);
        names("mysql_", 41).iter().for_each(|s| storm.set("db1", s, 5));
        storm.run(90);
        assert_eq!(storm.told().len(), 4, "one recovery of all");
    });
}
