//! `alerts.d/*.toml`: limits and their terms, by pattern.
//!
//! ```toml
//! # A rule matches fields by node, group, service and field: a pattern with
//! # `*` and `?`, or a list of them. What is left out matches everything.
//! [[rule]]
//! node = "db*"
//! service = ["mysql_*", "memory"]
//! field = "connections"
//! warning = "~:800"          # Nagios' ranges: alerts outside, ends included
//! critical = "~:900"         # "" takes away the limit of a plugin or a rule before
//! max_check_attempts = 3     # evaluations in a row until it is hard, and told
//! unknown_limit = 3          # unknown samples in a row until UNKNOWN
//! contacts = ["dba"]         # names of [[contact]]; all when left out
//! labels = { team = "db" }
//!
//! [[rule]]
//! node = "test*"
//! enabled = false            # silence
//!
//! [[rule]]
//! group = "web"
//! quorum = "20%"             # or a number of nodes: fewer of the group are not told
//!
//! [[rule]]
//! service = "df"
//! hysteresis = 2             # back only 2 below the limit, in the field's own unit
//! renotify = "4h"            # a problem that lasts is told again
//! escalate_after = "30m"     # …and, when it has lasted so long, to these, too
//! escalate_to = ["boss"]
//!
//! [[rule]]
//! service = "memcached"
//! value = "hits / (hits + misses)"    # see expression.rs
//! as = "hit_ratio"
//! warning = "0.8:"
//!
//! [[rule]]
//! service = "backup"
//! absent_for = "26h"         # nothing came for so long: CRITICAL
//!
//! [[rule]]
//! group = "test"
//! period = "office"          # problems are told within it, else they wait
//!
//! [[period]]                 # see period.rs
//! name = "office"
//! times = ["mon-fri 08:00-18:00"]
//! ```
//!
//! Every rule that matches is applied, key by key; later ones win, and all win
//! over the plugin's own `warning` and `critical`. Files are read in the order
//! of their names. A rule that names neither service nor field also holds for
//! the node itself: its contacts are told that it is DOWN,
//! `enabled = false` silences that too, and `quorum` counts those that are DOWN.
//! Mind that Nagios' `10` also alerts below 0; write `~:10` for an upper limit
//! only. A service is as patient as the least patient of its fields with limits,
//! and is told to the contacts of all of them.

use crate::dependency::{self, Dependency};
use crate::expression::Expression;
use crate::glob::Patterns;
use crate::machine::Lasting;
use crate::period::{Period, PeriodConfig, Periods};
use crate::quorum::Quorum;
use rookery_plugins::{FieldSpec, Range, config};
use serde::de::{self, Deserialize, Deserializer, Visitor};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Nobody is told of the same more often than this, ms.
const RENOTIFY_MS_MIN: i64 = 60_000;

/// A limit in a rule: a range, or none at all (`""`).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Limit(pub Option<Range>);

/// One `[[rule]]`.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Which nodes.
    pub node: Patterns,
    /// Which groups of nodes.
    pub group: Patterns,
    /// Which services.
    pub service: Patterns,
    /// Which fields.
    pub field: Patterns,
    /// The warning range.
    pub warning: Option<Limit>,
    /// The critical range.
    pub critical: Option<Limit>,
    /// Evaluations in a row until a state is hard.
    pub max_check_attempts: Option<NonZeroU32>,
    /// Unknown samples in a row until UNKNOWN.
    pub unknown_limit: Option<NonZeroU32>,
    /// `false` silences: the field is not judged.
    pub enabled: Option<bool>,
    /// Names of contacts; empty means all.
    pub contacts: Option<Vec<String>>,
    /// Told of the group, and only when so many of its nodes have the problem.
    pub quorum: Option<Quorum>,
    /// A problem is told again each time so long after the last telling.
    pub renotify: Option<Span>,
    /// A problem that has lasted so long is told to `escalate_to`, too.
    pub escalate_after: Option<Span>,
    /// Names of contacts.
    pub escalate_to: Option<Vec<String>>,
    /// A field that has crossed a limit is back only when it is so far inside.
    pub hysteresis: Option<f64>,
    /// What a notice carries along.
    pub labels: BTreeMap<String, String>,
    /// Judges this instead of fields: an expression over a service's fields, …
    pub value: Option<Formula>,
    /// … which is called so.
    #[serde(rename = "as")]
    pub name: Option<String>,
    /// A field of which nothing came for so long is CRITICAL, while its node reports.
    pub absent_for: Option<Span>,
    /// The name of the `[[period]]` in which problems are told; at other times they
    /// wait for it.
    pub period: Option<String>,
    /// That period.
    #[serde(skip)]
    when_told: Option<Arc<Period>>,
}

/// An expression, `"hits / (hits + misses)"`.
#[derive(Clone, Debug, PartialEq)]
pub struct Formula(pub Arc<Expression>);

impl<'de> Deserialize<'de> for Formula {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Formula, D::Error> {
        let text = String::deserialize(deserializer)?;
        Expression::compile(&text).map(|e| Formula(Arc::new(e))).map_err(de::Error::custom)
    }
}

/// A span of time, `"4h"`, in ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span(pub i64);

impl<'de> Deserialize<'de> for Span {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Span, D::Error> {
        let text = String::deserialize(deserializer)?;
        let ms = config::parse_span_ms(&text).map_err(de::Error::custom)?;
        i64::try_from(ms).map(Span).map_err(de::Error::custom)
    }
}

#[derive(Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
struct RulesFile {
    rule: Vec<Rule>,
    period: Vec<PeriodConfig>,
    dependency: Vec<Dependency>,
}

/// All rules, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rules {
    rules: Vec<Rule>,
    /// Which rules can be of a node, or of a service, that is named in full: so that
    /// many rules cost those little whom they do not name.
    of_node: HashMap<String, Vec<u32>>,
    of_service: HashMap<String, Vec<u32>>,
    /// The others.
    of_any: Vec<u32>,
    periods: Periods,
    dependencies: Vec<Dependency>,
}

/// What holds for one field once plugin and rules are put together.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Terms {
    /// The warning range.
    pub warning: Option<Range>,
    /// The critical range.
    pub critical: Option<Range>,
    /// Evaluations in a row until hard; `None`: the machine's default.
    pub max_check_attempts: Option<u32>,
    /// Unknowns in a row until UNKNOWN; `None`: the machine's default.
    pub unknown_limit: Option<u32>,
    /// Whether it is judged at all.
    pub enabled: bool,
    /// Names of contacts; empty means all.
    pub contacts: Vec<String>,
    /// How many nodes of the group must have it; `None`: each is told by itself.
    pub quorum: Option<Quorum>,
    /// What is told of a problem that lasts.
    pub lasting: Lasting,
    /// How far inside its limits a field is back, in its own unit.
    pub hysteresis: f64,
    /// What a notice carries along.
    pub labels: BTreeMap<String, String>,
    /// When problems are told; `None`: always.
    pub period: Option<Arc<Period>>,
    /// It is CRITICAL when nothing came of it for so long, ms.
    pub absent_ms: Option<i64>,
    /// What is wrong with the plugin's own limits.
    pub notes: Vec<String>,
}

impl Rules {
    /// Reads the files, each a name and its text, in the order of the names.
    /// The error names file, line and remedy.
    pub fn load(files: &[(String, String)]) -> Result<Rules, String> {
        let mut files: Vec<_> = files.iter().collect();
        files.sort_by(|a, b| a.0.cmp(&b.0));
        let (mut rules, mut periods, mut dependencies) = (Vec::new(), Vec::new(), Vec::new());
        for (name, text) in files {
            let file: RulesFile = config::from_toml(name, text)?;
            for (i, rule) in file.rule.iter().enumerate() {
                if rule.sets_nothing() {
                    return Err(format!(
                        "{name}: rule {} sets nothing: give it warning, critical, \
                         max_check_attempts, unknown_limit, enabled, contacts, quorum, \
                         renotify, escalate_after, hysteresis, absent_for, period or labels",
                        i + 1
                    ));
                }
                if let Some(why) = rule.is_wrong() {
                    return Err(format!("{name}: rule {}: {why}", i + 1));
                }
            }
            rules.extend(file.rule);
            periods.extend(file.period);
            for (i, dependency) in file.dependency.iter().enumerate() {
                if let Some(why) = dependency.is_wrong() {
                    return Err(format!("{name}: dependency {}: {why}", i + 1));
                }
            }
            dependencies.extend(file.dependency);
        }
        if let Some(circle) = dependency::circle(&dependencies) {
            return Err(format!(
                "dependencies go in a circle: {circle}; narrow the node patterns of one"
            ));
        }
        let periods = Periods::new(&periods)?;
        for rule in &mut rules {
            let Some(name) = &rule.period else { continue };
            let period = periods.get(name).ok_or_else(|| {
                format!("a rule names period {name:?}: add a [[period]] of that name")
            })?;
            rule.when_told = Some(period.clone());
        }
        let mut all = Rules { rules, periods, dependencies, ..Rules::default() };
        all.index();
        Ok(all)
    }

    fn index(&mut self) {
        for (i, rule) in self.rules.iter().enumerate() {
            let i = i as u32;
            let (of, names) = match (rule.node.names(), rule.service.names()) {
                (Some(names), _) => (&mut self.of_node, names),
                (None, Some(names)) => (&mut self.of_service, names),
                (None, None) => {
                    self.of_any.push(i);
                    continue;
                }
            };
            for name in names {
                let list = of.entry(name.clone()).or_default();
                if list.last() != Some(&i) {
                    list.push(i);
                }
            }
        }
    }

    /// Those that may be of a node's service, in order.
    fn candidates(&self, node: &str, service: &str) -> impl Iterator<Item = &Rule> {
        let mut all = self.of_any.clone();
        let named = [self.of_node.get(node), self.of_service.get(service)];
        named.into_iter().flatten().for_each(|list| all.extend(list));
        all.sort_unstable();
        all.into_iter().filter_map(|i| self.rules.get(i as usize))
    }

    /// The `[[period]]`s of all files.
    pub fn periods(&self) -> &Periods {
        &self.periods
    }

    /// The `[[dependency]]`s by which a node (without `service`) or a service depends.
    pub fn dependencies_of(&self, node: &str, group: &str, service: Option<&str>) -> Vec<u32> {
        let all = self.dependencies.iter().enumerate();
        let mine = all.filter(|(_, d)| d.holds_for(node, group, service));
        mine.map(|(i, _)| i as u32).collect()
    }

    /// One of them.
    pub fn dependency(&self, idx: u32) -> Option<&Dependency> {
        self.dependencies.get(idx as usize)
    }

    /// How many rules there are.
    pub fn len(&self) -> usize {
        self.rules.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.rules.is_empty()
    }

    /// All names of contacts that rules use, so that a configuration can be
    /// checked against its `[[contact]]` tables.
    pub fn contacts(&self) -> impl Iterator<Item = &str> {
        self.rules
            .iter()
            .flat_map(|r| r.contacts.iter().chain(&r.escalate_to).flatten())
            .map(String::as_str)
    }

    /// The rules for a node itself: those that name neither service nor field.
    pub fn node_terms(&self, node: &str, group: &str) -> Terms {
        let mut terms = Terms { enabled: true, ..Terms::default() };
        for rule in self.candidates(node, "") {
            let whole = rule.service.0.is_empty() && rule.field.0.is_empty();
            if whole && rule.value.is_none() && rule.matches(node, group, "", "") {
                rule.apply(&mut terms);
            }
        }
        terms
    }

    /// The plugin's limits and the rules, put together for one field.
    pub fn terms(&self, node: &str, group: &str, service: &str, field: &FieldSpec) -> Terms {
        let mut terms = Terms { enabled: true, ..Terms::default() };
        let mut limit = |text: &Option<String>, what: &str| {
            let text = text.as_deref().filter(|t| !t.trim().is_empty())?;
            Range::from_munin(text)
                .map_err(|e| {
                    let name = &field.name;
                    terms.notes.push(format!("{node} {service}.{name}.{what}: {e}; not used"));
                })
                .ok()
        };
        let warning = limit(&field.warning, "warning");
        let critical = limit(&field.critical, "critical");
        (terms.warning, terms.critical) = (warning, critical);
        terms.unknown_limit = field.unknown_limit.map(|n| n.max(1));
        for rule in self.candidates(node, service) {
            if rule.value.is_none() && rule.matches(node, group, service, &field.name) {
                rule.apply(&mut terms);
            }
        }
        terms
    }

    /// What rules judge of a service beside its fields: names, expressions and terms. Of
    /// one name the last expression holds; all rules for a field of that name apply.
    pub fn formulas(
        &self,
        node: &str,
        group: &str,
        service: &str,
    ) -> Vec<(String, Arc<Expression>, Terms)> {
        let mut found: BTreeMap<&str, Arc<Expression>> = BTreeMap::new();
        let is_of = |r: &&Rule| r.matches(node, group, service, "");
        let all = self.candidates(node, service).filter(|r| r.value.is_some());
        for rule in all.filter(is_of) {
            if let (Some(Formula(e)), Some(name)) = (&rule.value, &rule.name) {
                found.insert(name, e.clone());
            }
        }
        let with_terms = found.into_iter().map(|(name, e)| {
            let mut terms = Terms { enabled: true, ..Terms::default() };
            for rule in self.candidates(node, service) {
                let applies = match &rule.value {
                    None => rule.matches(node, group, service, name),
                    Some(_) => rule.name.as_deref() == Some(name) && is_of(&rule),
                };
                if applies {
                    rule.apply(&mut terms);
                }
            }
            (name.to_owned(), e, terms)
        });
        with_terms.collect()
    }
}

impl Rule {
    fn sets_nothing(&self) -> bool {
        let blank = Rule {
            node: self.node.clone(),
            group: self.group.clone(),
            service: self.service.clone(),
            field: self.field.clone(),
            ..Rule::default()
        };
        *self == blank
    }

    /// What cannot be meant.
    fn is_wrong(&self) -> Option<&'static str> {
        if self.escalate_after.is_some() != self.escalate_to.is_some() {
            return Some("escalate_after and escalate_to belong together");
        }
        if self.hysteresis.is_some_and(|h| !h.is_finite() || h < 0.0) {
            return Some("hysteresis: a number that is not negative, in the field's own unit");
        }
        if self.value.is_some() != self.name.is_some() {
            return Some("value and as belong together: as = \"hit_ratio\"");
        }
        if self.value.is_some() {
            if self.service.0.is_empty() || !self.field.0.is_empty() {
                return Some("value: name the service (a pattern), and no field");
            }
            if self.warning.is_none() && self.critical.is_none() {
                return Some("value: give it a warning or a critical range");
            }
            if self.absent_for.is_some() {
                return Some("absent_for is for fields: give it a rule of its own");
            }
        }
        if self.absent_for.is_some() && self.service.0.is_empty() {
            return Some("absent_for: of which service? (a pattern)");
        }
        if self.absent_for.is_some_and(|s| s.0 < RENOTIFY_MS_MIN) {
            return Some("absent_for: at least 1m");
        }
        let short = |s: &Option<Span>| s.is_some_and(|s| s.0 < RENOTIFY_MS_MIN);
        short(&self.renotify).then_some("renotify: at least 1m")
    }

    fn matches(&self, node: &str, group: &str, service: &str, field: &str) -> bool {
        self.field.matches(field)
            && self.service.matches(service)
            && self.node.matches(node)
            && self.group.matches(group)
    }

    fn apply(&self, terms: &mut Terms) {
        if let Some(Limit(range)) = self.warning {
            terms.warning = range;
        }
        if let Some(Limit(range)) = self.critical {
            terms.critical = range;
        }
        if let Some(n) = self.max_check_attempts {
            terms.max_check_attempts = Some(n.get());
        }
        if let Some(n) = self.unknown_limit {
            terms.unknown_limit = Some(n.get());
        }
        if let Some(enabled) = self.enabled {
            terms.enabled = enabled;
        }
        if let Some(contacts) = &self.contacts {
            terms.contacts.clone_from(contacts);
        }
        terms.quorum = self.quorum.or(terms.quorum);
        if let Some(Span(ms)) = self.renotify {
            terms.lasting.renotify_ms = Some(ms);
        }
        if let Some((Span(ms), to)) = self.escalate_after.zip(self.escalate_to.clone()) {
            terms.lasting.escalate = Some((ms, to));
        }
        if let Some(hysteresis) = self.hysteresis {
            terms.hysteresis = hysteresis;
        }
        terms.absent_ms = self.absent_for.map(|s| s.0).or(terms.absent_ms);
        if let Some(period) = &self.when_told {
            terms.period = Some(period.clone());
        }
        terms.labels.extend(self.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
}

/// `"~:80"`, `80` (the same as `"80"`), or `""` for no limit.
impl<'de> Deserialize<'de> for Limit {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Limit, D::Error> {
        struct Text;
        impl Visitor<'_> for Text {
            type Value = Limit;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a Nagios range such as \"~:80\"")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Limit, E> {
                match text {
                    "" => Ok(Limit(None)),
                    text => text.parse().map(|r| Limit(Some(r))).map_err(E::custom),
                }
            }

            fn visit_i64<E: de::Error>(self, v: i64) -> Result<Limit, E> {
                self.visit_str(&v.to_string())
            }

            fn visit_u64<E: de::Error>(self, v: u64) -> Result<Limit, E> {
                self.visit_str(&v.to_string())
            }

            fn visit_f64<E: de::Error>(self, v: f64) -> Result<Limit, E> {
                self.visit_str(&v.to_string())
            }
        }
        deserializer.deserialize_any(Text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn load(text: &str) -> Result<Rules, String> {
        Rules::load(&[("a.toml".to_owned(), text.to_owned())])
    }

    #[test]
    fn the_example_of_the_documentation_loads() {
        let doc = include_str!("rules.rs");
        let lines: Vec<&str> = doc
            .lines()
            .skip_while(|l| *l != "//! ```toml")
            .skip(1)
            .take_while(|l| *l != "//! ```")
            .map(|l| l.trim_start_matches("//!"))
            .collect();
        let rules = load(&lines.join("\n")).expect("loads");
        assert_eq!(rules.len(), 7);
        let f = FieldSpec::gauge("connections", "").limits("10", "20");
        let t = rules.terms("db1", "", "mysql_x", &f);
        assert_eq!(t.warning, Some("~:800".parse().expect("range")));
        assert_eq!((t.contacts, t.enabled), (vec!["dba".to_owned()], true));
        assert!(!rules.terms("test1", "", "mysql_x", &f).enabled);
        let t = rules.terms("web", "", "x", &f);
        assert_eq!(t.critical, Some("~:20".parse().expect("range")));
    }

    #[test]
    fn later_files_win_key_by_key() {
        let files = [
            ("b.toml".to_owned(), "[[rule]]\nwarning = \"\"\nunknown_limit = 5\n".to_owned()),
            ("a.toml".to_owned(), "[[rule]]\nwarning = 5\ncritical = 7.5\n".to_owned()),
        ];
        let rules = Rules::load(&files).expect("loads");
        let t = rules.terms("n", "", "s", &FieldSpec::gauge("f", ""));
        assert_eq!((t.warning, t.critical), (None, "7.5".parse().ok()));
        assert_eq!(t.unknown_limit, Some(5));
    }

    #[test]
    fn who_is_named_in_full_is_found_in_order_all_the_same() {
        let texts = [
            "node = \"a\"\nwarning = 1",
            "service = [\"s\", \"t\"]\nwarning = 2",
            "warning = 3\nfield = \"g\"",
            "node = [\"a\", \"a\", \"b\"]\nservice = \"t\"\nwarning = 4",
            "node = \"a*\"\nservice = \"t*\"\ncritical = 5",
        ];
        let text: String = texts.iter().map(|t| format!("[[rule]]\n{t}\n")).collect();
        let rules = load(&text).expect("loads");
        for (node, service, field, want) in [
            ("a", "s", "f", (Some("2"), None)),
            ("a", "u", "f", (Some("1"), None)),
            ("a", "u", "g", (Some("3"), None)),
            ("a", "t", "g", (Some("4"), Some("5"))),
            ("c", "t", "f", (Some("2"), None)),
            ("c", "u", "f", (None, None)),
        ] {
            let t = rules.terms(node, "", service, &FieldSpec::gauge(field, ""));
            let found = (t.warning.map(|r| r.to_string()), t.critical.map(|r| r.to_string()));
            let want = (want.0.map(str::to_owned), want.1.map(str::to_owned));
            assert_eq!(found, want, "{node} {service} {field}");
        }
    }

    #[test]
    fn slips_are_named_with_file_and_line() {
        for (text, want) in [
            ("[[rule]]\n\nwarnin = \"5\"\n", "a.toml:3: unknown key \"warnin\""),
            ("[[rule]]\nwarning = \">5\"\n", "a.toml:2: range \">5\" is not a number"),
            ("[[rule]]\nmax_check_attempts = 0\n", "a.toml:2: "),
            ("[[rule]]\nnode = \"db*\"\n", "a.toml: rule 1 sets nothing"),
            ("[[rule]]\nnode = []\nenabled = false\n", "a.toml:2: an empty list"),
            ("[[rule]]\nrenotify = \"1s\"\n", "a.toml: rule 1: renotify: at least 1m"),
            ("[[rule]]\nescalate_after = \"1h\"\n", "a.toml: rule 1: escalate_after and"),
            ("[[rule]]\nhysteresis = -1\n", "a.toml: rule 1: hysteresis: a number"),
            ("[[rule]]\nrenotify = \"soon\"\n", "a.toml:2: "),
            ("[[rule]]\nvalue = \"a +\"\n", "a.toml:2: value \"a +\": a field, a number"),
            ("[[rule]]\nvalue = \"a\"\n", "a.toml: rule 1: value and as belong"),
            ("[[rule]]\nvalue = \"a\"\nas = \"b\"\n", "a.toml: rule 1: value: name the"),
            (
                "[[rule]]\nservice = \"s\"\nvalue = \"a\"\nas = \"b\"\n",
                "a.toml: rule 1: value: give it a",
            ),
            ("[[rule]]\nabsent_for = \"1h\"\n", "a.toml: rule 1: absent_for: of which"),
            ("[[rule]]\nservice = \"s\"\nabsent_for = \"1s\"\n", "a.toml: rule 1: absent_for: at"),
            ("[[rule]]\nperiod = \"nights\"\n", "a rule names period \"nights\": add a"),
            ("[[rules]]\n", "a.toml:1: unknown key \"rules\"; did you mean \"rule\"?"),
        ] {
            let e = load(text).expect_err(text);
            assert!(e.starts_with(want), "{e}");
        }
    }

    #[test]
    fn a_plugins_bad_limit_is_noted() {
        let f = FieldSpec::gauge("f", "").limits("10%", "5:");
        let t = Rules::default().terms("n", "", "s", &f);
        assert_eq!((t.warning, t.critical), (None, "5:".parse().ok()));
        assert_eq!(t.notes, ["n s.f.warning: limit \"10%\" is not a number; not used"]);
    }
}
