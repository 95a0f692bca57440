//! What hangs on what: `[[dependency]]` in `alerts.d/*.toml`.
//!
//! ```toml
//! # Nodes of a rack are reached through its switch: while switch1 is DOWN they are
//! # UNREACHABLE instead of DOWN, and nobody is told of them.
//! [[dependency]]
//! node = "rack1-*"
//! on = "switch1"
//!
//! # Two ways in: unreachable only when both are DOWN.
//! [[dependency]]
//! node = "rack2-*"
//! on = ["switch2", "switch3"]
//!
//! # Services, and a service that they need (NODE/SERVICE).
//! [[dependency]]
//! group = "web"
//! service = ["wordpress*", "shop"]
//! on = "db1/mysql_up"
//! ```
//!
//! `node`, `group` and `service` are patterns as in rules. Without `service` it is
//! the nodes that depend; their services say what they have to say as long as their
//! node reports. What stands in `on` is named in full. It holds its dependants back
//! while it is in a hard problem: a node that does not report, a service that is
//! CRITICAL or UNKNOWN (a WARNING holds nothing back) or whose node does not report.
//! Nothing depends on itself, whatever the patterns say.

use crate::glob::Patterns;
use serde::de::{self, Deserialize, Deserializer};
use std::collections::BTreeSet;
use std::fmt;

/// One `[[dependency]]`.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Dependency {
    /// Which nodes depend.
    pub node: Patterns,
    /// Which groups' nodes depend.
    pub group: Patterns,
    /// Which services depend; none at all: the nodes do.
    pub service: Patterns,
    /// On what: it holds back while all of these are in a hard problem.
    pub on: Targets,
}

/// What something depends on.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Target {
    /// The node.
    pub node: String,
    /// The service; `None`: the node itself.
    pub service: Option<String>,
}

/// `"switch1"`, `"db1/mysql_up"`, or a list of such.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Targets(pub Vec<Target>);

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.service {
            Some(service) => write!(f, "{}/{service}", self.node),
            None => f.write_str(&self.node),
        }
    }
}

impl<'de> Deserialize<'de> for Targets {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Targets, D::Error> {
        let Patterns(names) = Patterns::deserialize(deserializer)?;
        let target = |name: &String| {
            let (node, service) = match name.split_once('/') {
                Some((node, service)) => (node, Some(service)),
                None => (name.as_str(), None),
            };
            let is_name = |n: &str| !n.is_empty() && !n.contains(['*', '?']);
            if !is_name(node) || !service.is_none_or(is_name) {
                return Err(de::Error::custom(format!(
                    "{name:?}: name a node (\"switch1\") or a service (\"db1/mysql_up\") in full"
                )));
            }
            Ok(Target { node: node.to_owned(), service: service.map(str::to_owned) })
        };
        names.iter().map(target).collect::<Result<_, _>>().map(Targets)
    }
}

impl Dependency {
    /// What cannot be meant.
    pub(crate) fn is_wrong(&self) -> Option<&'static str> {
        if self.on.0.is_empty() {
            return Some("on what? on = \"switch1\", or \"db1/mysql_up\"");
        }
        if self.node.0.is_empty() && self.group.0.is_empty() {
            return Some("who depends? give it a node or a group (patterns)");
        }
        None
    }

    /// Whether a node (`service` is `None`) or a service depends by it.
    pub fn holds_for(&self, node: &str, group: &str, service: Option<&str>) -> bool {
        let is_service = match service {
            None => self.service.0.is_empty(),
            Some(name) => !self.service.0.is_empty() && self.service.matches(name),
        };
        is_service && self.node.matches(node) && self.group.matches(group)
    }
}

/// A circle among those that others depend on: `a depends on b depends on a`. Who is
/// in which group is known only later: what depends by its group is left out here.
pub(crate) fn circle(all: &[Dependency]) -> Option<String> {
    let targets: Vec<&Target> = all.iter().flat_map(|d| &d.on.0).collect();
    let mut cleared = BTreeSet::new();
    targets.iter().find_map(|t| climb(all, &mut vec![(*t).clone()], &mut cleared))
}

/// Goes on from the way's end; what is `cleared` leads into no circle.
fn climb(
    all: &[Dependency],
    way: &mut Vec<Target>,
    cleared: &mut BTreeSet<Target>,
) -> Option<String> {
    let last = way.last()?.clone();
    let by_rule = all
        .iter()
        .filter(|d| d.group.0.is_empty() && d.holds_for(&last.node, "", last.service.as_deref()))
        .flat_map(|d| d.on.0.iter().cloned());
    // A service needs its node.
    let its_node = last.service.as_ref().map(|_| Target { node: last.node.clone(), service: None });
    for next in by_rule.chain(its_node).filter(|next| *next != last) {
        if let Some(from) = way.iter().position(|t| *t == next) {
            let names = way[from..].iter().chain([&next]).map(ToString::to_string);
            return Some(names.collect::<Vec<_>>().join(" depends on "));
        }
        if cleared.contains(&next) {
            continue;
        }
        way.push(next);
        let found = climb(all, way, cleared);
        if found.is_some() {
            return found;
        }
        way.pop();
    }
    cleared.insert(last);
    None
}

#[cfg(test)]
mod tests {
    use crate::testing::{documented_toml, load_rules};

    #[test]
    fn the_example_of_the_documentation_loads() {
        let text = documented_toml(include_str!("dependency.rs"));
        let rules = load_rules(&text).expect("loads");
        let of = |n: &str, g: &str, s: Option<&str>| rules.dependencies_of(n, g, s);
        assert_eq!(of("rack1-a", "", None), [0]);
        assert_eq!(of("rack1-a", "web", Some("load")), [] as [u32; 0]);
        assert_eq!(of("w1", "web", Some("shop")), [2]);
        assert_eq!(of("w1", "db", Some("shop")), [] as [u32; 0]);
        assert_eq!(rules.dependency(1).map(|d| d.on.0.len()), Some(2));
    }

    #[test]
    fn circles_and_slips_are_refused() {
        let d = |who: &str, on: &str| format!("[[dependency]]\n{who}\non = {on}\n");
        for (text, want) in [
            (
                d("node = \"a\"", "\"b\"") + &d("node = \"b\"", "\"a\""),
                "b depends on a depends on b",
            ),
            (
                d("node = \"*\"", "\"sw1\"") + &d("node = \"*\"", "\"sw2\""),
                "sw1 depends on sw2 depends on sw1",
            ),
            (d("node = \"db1\"", "\"db1/up\""), "db1/up depends on db1 depends on db1/up"),
            (
                d("node = \"a\"", "\"b\"")
                    + &d("node = \"b\"\nservice = \"s\"", "\"a\"")
                    + &d("node = \"a\"\nservice = \"t\"", "\"b/s\""),
                "",
            ),
            (d("node = \"a\"", "\"b*\""), "a.toml:3: \"b*\": name a node"),
            (d("node = \"a\"", "[]"), "a.toml:3: an empty list"),
            (d("service = \"a\"", "\"b\""), "a.toml: dependency 1: who depends?"),
            ("[[dependency]]\nnode = \"a\"\n".to_owned(), "a.toml: dependency 1: on what?"),
            (d("nod = \"a\"", "\"b\""), "a.toml:2: unknown key \"nod\""),
        ] {
            match (load_rules(&text), want) {
                (Ok(_), "") => {}
                (Ok(_), want) => panic!("{want}: was taken"),
                (Err(e), want) => assert!(!want.is_empty() && e.contains(want), "{want}: {e}"),
            }
        }
        load_rules(&d("node = \"*\"", "\"sw1\"")).expect("nothing depends on itself");
    }
}
