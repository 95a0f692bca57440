//! Several daemons of one kind: `[probe.NAME]` is the one on this host, each
//! `[[probe.NAME.server]]` another one.

use crate::support::shown_value as shown;
use rookery_plugins::probe::ProbeConfig;
use rookery_plugins::{Cells, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec, names};
use std::collections::HashSet;
use std::time::Duration;

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
    let servers = match own.remove("server") {
        None => vec![],
        Some(toml::Value::Array(servers)) => servers,
        Some(_) => return Err(format!("server: write [[probe.{}.server]]", entry.name)),
    };
    let local = match own.remove("local") {
        None => true,
        Some(toml::Value::Boolean(local)) => local,
        Some(other) => return Err(format!("local = {}: write true or false", shown(&other))),
    };
    if servers.len() > SERVERS_MAX {
        return Err(format!("server: at most {SERVERS_MAX}"));
    }
    let mut all = Vec::with_capacity(servers.len() + 1);
    if local {
        let probe = (entry.new)(&own)?;
        all.push(Instance { label: entry.name.to_owned(), node: None, probe });
    }
    let mut taken = HashSet::new();
    for (i, server) in servers.into_iter().enumerate() {
        let toml::Value::Table(mut server) = server else {
            return Err(format!("server: write [[probe.{}.server]]", entry.name));
        };
        let text = |server: &mut ProbeConfig, key: &str| match server.remove(key) {
            None => Ok(None),
            Some(toml::Value::String(text)) => Ok(Some(text)),
            Some(other) => {
                Err(format!("server {}: {key} = {}: write a text", i + 1, shown(&other)))
            }
        };
        let node = text(&mut server, "node")?;
        let name = text(&mut server, "name")?.or_else(|| node.clone());
        let name = name.ok_or_else(|| format!("server {}: a name (or a node) is needed", i + 1))?;
        if let Some(node) = node.as_ref().filter(|n| !names::is_valid(n)) {
            return Err(format!("server {name:?}: node = {node:?}: a name of 1 to 255 bytes"));
        }
        for (key, value) in own.iter().filter(|(key, _)| !matches!(key.as_str(), "address" | "url"))
        {
            server.entry(key.clone()).or_insert_with(|| value.clone());
        }
        let suffix = names::clean_field(&name);
        if !taken.insert(suffix.clone()) {
            return Err(format!("server {name:?}: another one is called so, too"));
        }
        let probe = (entry.new)(&server).map_err(|e| format!("server {name:?}: {e}"))?;
        let probe: Box<dyn Probe> = match node {
            Some(_) => probe,
            None => Box::new(Named { suffix: suffix.clone(), name: name.clone(), probe }),
        };
        all.push(Instance { label: format!("{}.{suffix}", entry.name), node, probe });
    }
    Ok(all)
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
