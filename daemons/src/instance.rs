//! Several daemons of one kind: `[probe.NAME]` is the one on this host, each
//! `[[probe.NAME.server]]` another one. Of checks of services that are anywhere
//! each is a `[[probe.NAME.check]]`.

use crate::support::shown_value as shown;
use rookery_plugins::probe::ProbeConfig;
use rookery_plugins::{Cells, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec, names};
use std::collections::HashSet;
use std::time::Duration;

/// Probes that have no daemon of this host's, but a table `check` for each thing
/// that they look at, and the key that says where it is.
const CHECKS: [(&str, &str); 3] = [("dns", "query"), ("http", "url"), ("tcp", "address")];

/// The most servers of one kind.
pub const SERVERS_MAX: usize = 500;

/// One daemon's probe.
pub struct Instance {
    /// `mysql`, or `mysql.db2` for the server called `db2`.
    pub label: String,
    /// The node that its services belong to; `None`: the agent's own.
    pub node: Option<String>,
    /// The probe.
    pub probe: Box<dyn Probe>,
}

/// All daemons that `[probe.NAME]` speaks of. A server takes the keys of the
/// table that it has not itself, but for the address.
pub fn instances(entry: &ProbeEntry, table: &ProbeConfig) -> Result<Vec<Instance>, String> {
    let mut own = table.clone();
    let target = CHECKS.iter().find(|(name, _)| *name == entry.name).map(|(_, key)| *key);
    let kind = if target.is_some() { "check" } else { "server" };
    let servers = match own.remove(kind) {
        None => vec![],
        Some(toml::Value::Array(servers)) => servers,
        Some(_) => return Err(format!("{kind}: write [[probe.{}.{kind}]]", entry.name)),
    };
    let local = match own.remove("local") {
        None => target.is_none_or(|key| servers.is_empty() || own.contains_key(key)),
        Some(toml::Value::Boolean(local)) => local,
        Some(other) => return Err(format!("local = {}: write true or false", shown(&other))),
    };
    if servers.len() > SERVERS_MAX {
        return Err(format!("{kind}: at most {SERVERS_MAX}"));
    }
    let mut all = Vec::with_capacity(servers.len() + 1);
    if local {
        let probe = (entry.new)(&own)?;
        all.push(Instance { label: entry.name.to_owned(), node: None, probe });
    }
    let mut taken = HashSet::new();
    for (i, server) in servers.into_iter().enumerate() {
        let toml::Value::Table(mut server) = server else {
            return Err(format!("{kind}: write [[probe.{}.{kind}]]", entry.name));
        };
        let text = |server: &mut ProbeConfig, key: &str| match server.remove(key) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                Err(format!("{kind} {}: {key} = {}: write a text", i + 1, shown(&other)))
            }
        };
        let node = text(&mut server, "node")?;
        let name = match text(&mut server, "name")? {
            Some(name) => Some(name),
            None => match target {
                Some(key) => server.get(key).and_then(|v| v.as_str()).map(bare),
                None => node.clone(),
            },
        };
        let or = target.unwrap_or("a node");
        let name = name.ok_or_else(|| format!("{kind} {}: a name (or {or}) is needed", i + 1))?;
        if let Some(node) = node.as_ref().filter(|n| !names::is_valid(n)) {
            return Err(format!("{kind} {name:?}: node = {node:?}: a name of 1 to 255 bytes"));
        }
        let is_own = |key: &str| matches!(key, "address" | "url") || Some(key) == target;
        for (key, value) in own.iter().filter(|(key, _)| !is_own(key)) {
            server.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let suffix = names::clean_field(&name);
        if !taken.insert(suffix.clone()) {
            return Err(format!("{kind} {name:?}: another one is called so, too"));
        }
        let probe = (entry.new)(&server).map_err(|e| format!("{kind} {name:?}: {e}"))?;
        let probe: Box<dyn Probe> = match (&node, target) {
            (Some(_), None) => probe,
            // A node may well have several checks.
            _ => Box::new(Named { suffix: suffix.clone(), name: name.clone(), probe }),
        };
        all.push(Instance { label: format!("{}.{suffix}", entry.name), node, probe });
    }
    Ok(all)
}

/// What a check is called that nobody gave a name: `https://shop.example/` is
/// `shop.example`.
fn bare(target: &str) -> String {
    let rest = target.split_once("://").map_or(target, |(_, rest)| rest);
    rest.trim_end_matches('/').to_owned()
}

/// A probe whose services carry a server's name: `mysql_queries.db2`.
struct Named {
    suffix: String,
    name: String,
    probe: Box<dyn Probe>,
}

impl Probe for Named {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        let mut specs = self.probe.discover(host)?;
        for spec in &mut specs {
            let (root, rest) = spec.name.split_once('.').map_or((&*spec.name, ""), |(a, b)| (a, b));
            let dot = if rest.is_empty() { "" } else { "." };
            spec.name = format!("{root}.{}{dot}{rest}", self.suffix);
            spec.title = format!("{} ({})", spec.title, self.name);
        }
        Ok(specs)
    }

    fn read(&mut self, host: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        self.probe.read(host, out)
    }

    fn step_min(&self) -> Option<Duration> {
        self.probe.step_min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::{Daemon, Place, Sheet, probe, settings};
    use rookery_plugins::FieldSpec;
    use serde::Deserialize;

    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    struct Settings {
        address: Option<String>,
        depth: Option<u64>,
    }

    struct Sample(Place, Option<u64>);

    impl Daemon for Sample {
        fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
            let title = self.0.addresses[0].to_string();
            for name in ["s", "s.sub"] {
                sheet.service(name, |n| ServiceSpec::new(n, &title, "test")).field(
                    "f",
                    self.1,
                    |n| FieldSpec::gauge(n, "f"),
                );
            }
            Ok(())
        }
    }

    const ENTRY: ProbeEntry = ProbeEntry {
        name: "sample",
        about: "a sample",
        waits: true,
        new: |table| {
            let own: Settings = settings(table)?;
            let place = Place::new("sample", table, own.address.as_deref(), &["localhost"], 7)?;
            Ok(probe(Sample(place, own.depth)))
        },
    };

    fn made(text: &str) -> Result<Vec<Instance>, String> {
        instances(&ENTRY, &text.parse().expect("TOML"))
    }

    #[test]
    fn servers_stand_beside_the_local_one() {
        let mut all = made(
            "depth = 3\n[[server]]\nname = \"db-2\"\naddress = \"db2\"\n\
             [[server]]\nnode = \"db3.example\"\naddress = \"db3\"\ndepth = 4\n",
        )
        .expect("reads");
        let said: Vec<_> = all
            .iter_mut()
            .map(|i| {
                let specs = i.probe.discover(&Host::default()).expect("is here");
                let mut cells = Cells::new();
                i.probe.read(&Host::default(), &mut cells).expect("reads");
                let names: Vec<_> = specs.iter().map(|s| s.name.clone()).collect();
                (
                    i.label.clone(),
                    i.node.clone(),
                    names.join(" "),
                    specs[0].title.clone(),
                    cells.get(0),
                )
            })
            .collect();
        let int = |n| Some(rookery_plugins::Value::Int(n));
        let text = |t: &str| t.to_owned();
        assert_eq!(
            said,
            [
                (text("sample"), None, text("s s.sub"), text("localhost:7"), int(3)),
                (
                    text("sample.db_2"),
                    None,
                    text("s.db_2 s.db_2.sub"),
                    text("db2:7 (db-2)"),
                    int(3)
                ),
                (
                    text("sample.db3_example"),
                    Some(text("db3.example")),
                    text("s s.sub"),
                    text("db3:7"),
                    int(4)
                ),
            ]
        );
        assert_eq!(made("local = false\n").expect("reads").len(), 0);
    }

    #[test]
    fn checks_are_called_after_what_they_look_at() {
        let entry = crate::DAEMONS.iter().find(|e| e.name == "http").expect("is there");
        let made = |text: &str| instances(entry, &text.parse().expect("TOML"));
        let all = made(
            "timeout = \"1s\"\n[[check]]\nurl = \"https://shop.example/\"\n\
             [[check]]\nname = \"status\"\nnode = \"web1\"\nurl = \"http://web1/status\"\n",
        )
        .expect("reads");
        let labels: Vec<_> = all.iter().map(|i| (&*i.label, i.node.as_deref())).collect();
        assert_eq!(labels, [("http.shop_example", None), ("http.status", Some("web1"))]);
        assert_eq!(made("url = \"http://a/\"").expect("reads")[0].label, "http");
        assert_eq!(made("").expect("reads").len(), 1, "it says that there is nothing to do");
        for (text, want) in [
            ("[[check]]\ntext = \"x\"", "check 1: a name (or url) is needed"),
            ("[[check]]\nurl = \"x\"", "check \"x\": url = \"x\": write https://"),
            ("[[server]]\nname = \"x\"", "unknown field `server`"),
            ("[[check]]\nurl = \"http://x/\"\nstatus = 42", "status: write a code"),
            (
                "[[check]]\nurl = \"http://x/\"\ncertificate_critical = 30",
                "certificate_warning = 21: at least certificate_critical (30)",
            ),
        ] {
            let error = made(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(error.contains(want), "{text}: {error}");
        }
    }

    #[test]
    fn mistakes_are_named() {
        for (text, want) in [
            ("[server]\nname = \"x\"", "write [[probe.sample.server]]"),
            ("server = [1]", "write [[probe.sample.server]]"),
            ("local = 1", "local = 1: write true or false"),
            ("[[server]]\naddress = \"x\"", "server 1: a name (or a node) is needed"),
            ("[[server]]\nname = 3", "server 1: name = 3: write a text"),
            ("[[server]]\nname = \"x\"\ndpeth = 3", "server \"x\": unknown field `dpeth`"),
            ("[[server]]\nname = \"x\"\n[[server]]\nname = \"x\"", "another one is called so"),
            ("[[server]]\nnode = \"a/b\"", "node = \"a/b\""),
            ("address = \"a b\"", "address = \"a b\": write HOST:PORT"),
        ] {
            let error = made(text).err().unwrap_or_else(|| panic!("{text}"));
            assert!(error.contains(want), "{text}: {error}");
        }
    }
}
