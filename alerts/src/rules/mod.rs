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

mod advice;
mod file;
mod rule;
mod terms;
mod words;

use crate::dependency::Dependency;
use crate::period::Periods;
use std::collections::HashMap;

pub use rule::Rule;
pub use terms::Terms;
pub use words::{Formula, Limit, Span};

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
    notes: Vec<String>,
}

impl Rules {
    /// What stands in them and is of no use: `FILE: rule N: why`.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    /// Whether what no other rule is for has contacts by one that is for everything.
    pub fn has_contacts_for_all(&self) -> bool {
        let is_for_all =
            |r: &Rule| [&r.node, &r.group, &r.service, &r.field].iter().all(|p| p.0.is_empty());
        let mut all = self.rules.iter().filter(|r| is_for_all(r));
        all.any(|r| r.contacts.as_ref().is_some_and(|c| !c.is_empty()))
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

    /// Those that may be of a node's service, whatever it is or was called, in order.
    fn candidates(&self, node: &str, services: &[&str]) -> impl Iterator<Item = &Rule> {
        let mut all = self.of_any.clone();
        let named = services.iter().map(|service| self.of_service.get(*service));
        let named = named.chain([self.of_node.get(node)]);
        named.flatten().for_each(|list| all.extend(list));
        all.sort_unstable();
        all.dedup();
        all.into_iter().filter_map(|i| self.rules.get(i as usize))
    }

    /// A node is called otherwise: rules and dependencies that name it in full hold for
    /// its new name, too. Returns how many there are, so that somebody can be asked to
    /// write the new name into them.
    pub fn rename(&mut self, from: &str, to: &str) -> usize {
        let rules = self.rules.iter_mut().map(|r| &mut r.node);
        let mut n = 0;
        for patterns in rules.chain(self.dependencies.iter_mut().map(|d| &mut d.node)) {
            n += usize::from(patterns.add_name(from, to));
        }
        for target in self.dependencies.iter_mut().flat_map(|d| &mut d.on.0) {
            if target.node == from {
                to.clone_into(&mut target.node);
                n += 1;
            }
        }
        if n > 0 {
            (self.of_node, self.of_service, self.of_any) = Default::default();
            self.index();
        }
        n
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
}

#[cfg(test)]
mod tests {
    use crate::testing::{documented_toml, load_rules};
    use rookery_plugins::FieldSpec;

    #[test]
    fn the_example_of_the_documentation_loads() {
        let text = documented_toml(include_str!("mod.rs"));
        let rules = load_rules(&text).expect("loads");
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
    fn who_is_named_in_full_is_found_in_order_all_the_same() {
        let texts = [
            "node = \"a\"\nwarning = 1",
            "service = [\"s\", \"t\"]\nwarning = 2",
            "warning = 3\nfield = \"g\"",
            "node = [\"a\", \"a\", \"b\"]\nservice = \"t\"\nwarning = 4",
            "node = \"a*\"\nservice = \"t*\"\ncritical = 5",
        ];
        let text: String = texts.iter().map(|t| format!("[[rule]]\n{t}\n")).collect();
        let rules = load_rules(&text).expect("loads");
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
}
