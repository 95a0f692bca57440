//! The `datafile` of a Munin master: what each plugin said of itself, and what it
//! read of `munin.conf`, a line an attribute, `group;host:service.field.key value`.
//! (`munin-update` writes it anew at each run; its first line is `version 2.0.73`.)

use rookery_plugins::ServiceSpec;
use rookery_plugins::munin::parse;
use std::collections::{BTreeMap, BTreeSet};

/// The services of each host, `group;host` to services by name.
pub type Hosts = BTreeMap<String, BTreeMap<String, ServiceSpec>>;

/// Attributes that say that what stands before them is a service.
const MARKS: &[&str] = &["graph_title", "graph_order"];

/// Reads the file's text. `over` are lines of `munin.conf` on a host, `service` and
/// `key value`, which come after the plugin's own. Lines that are none are counted.
pub fn read(text: &str, over: &dyn Fn(&str) -> Vec<(String, String)>) -> (Hosts, usize) {
    let mut by_host: BTreeMap<&str, Vec<(&str, &str)>> = BTreeMap::new();
    let mut n_noise = 0;
    for line in text.lines().filter(|l| !l.trim().is_empty() && !l.starts_with("version ")) {
        let parts = line.split_once(':').and_then(|(host, rest)| {
            let (key, value) = rest.split_once(' ').unwrap_or((rest, ""));
            (!host.is_empty() && key.contains('.')).then_some((host, key, value))
        });
        match parts {
            Some((host, key, value)) => by_host.entry(host).or_default().push((key, value)),
            None => n_noise += 1,
        }
    }
    let hosts = by_host.into_iter().map(|(host, lines)| {
        let over = over(host);
        (host.to_owned(), services(&lines, &over))
    });
    (hosts.collect(), n_noise)
}

fn services(lines: &[(&str, &str)], over: &[(String, String)]) -> BTreeMap<String, ServiceSpec> {
    let marked = |(key, _): &(&str, &str)| {
        let (service, key) = key.rsplit_once('.')?;
        MARKS.contains(&key).then(|| service.to_owned())
    };
    let names: BTreeSet<String> = lines.iter().filter_map(marked).collect();
    let mut texts: BTreeMap<&str, String> = BTreeMap::new();
    for (key, value) in lines {
        let Some((service, rest)) = split(&names, key) else { continue };
        let text = texts.entry(service).or_default();
        text.push_str(&format!("{rest} {value}\n"));
    }
    for (service, line) in over {
        if let Some(text) = texts.get_mut(service.as_str()) {
            text.push_str(&format!("{line}\n"));
        }
    }
    let mut all = BTreeMap::new();
    for (name, text) in texts {
        let parsed = parse(name, text.as_bytes());
        if let Some(mut spec) = parsed.services.into_iter().next() {
            spec.host_name = None;
            // Munin's own, not the plugin's.
            for field in &mut spec.fields {
                field.extra.retain(|k, _| k != "graph_data_size" && k != "update_rate");
            }
            all.insert(name.to_owned(), spec);
        }
    }
    all
}

/// The longest service that the key begins with, and what is left of it.
fn split<'k>(names: &BTreeSet<String>, key: &'k str) -> Option<(&'k str, &'k str)> {
    let ends = key.rmatch_indices('.').map(|(at, _)| at);
    ends.map(|at| (&key[..at], &key[at + 1..])).find(|(service, _)| names.contains(*service))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use rookery_plugins::FieldType;

    const TEXT: &str = "version 2.0.73\n\
        web;www1.example.com:nest.graph_title Nest\n\
        web;www1.example.com:nest.up.graph_data_size normal\n\
        web;www1.example.com:nest.up.label up: a colon\n\
        web;www1.example.com:nest.up.type DERIVE\n\
        web;www1.example.com:nest.sda.graph_title sda\n\
        web;www1.example.com:nest.sda.graph_order rd_x\n\
        web;www1.example.com:nest.sda.rd_x.label rd\n\
        web;www1.example.com:nest.sda.rd_x.warning 5\n\
        odd line\n\
        db;db1:load.graph_title Load\n\
        db;db1:load.load.label load\n";

    #[test]
    fn services_and_nested_ones_are_told_apart() {
        let over = |host: &str| match host {
            "web;www1.example.com" => {
                vec![("nest.sda".to_owned(), "rd_x.warning 80".to_owned())]
            }
            _ => vec![],
        };
        let (hosts, n_noise) = read(TEXT, &over);
        assert_eq!((hosts.len(), n_noise), (2, 1));
        let www1 = &hosts["web;www1.example.com"];
        let up = www1["nest"].field("up").expect("a field");
        assert_eq!((up.label.as_str(), up.kind), ("up: a colon", FieldType::Derive));
        assert!(up.extra.is_empty(), "{up:?}");
        let rd = www1["nest.sda"].field("rd_x").expect("a field");
        assert_eq!(rd.warning.as_deref(), Some("80"), "munin.conf comes last");
        assert_eq!(www1["nest.sda"].order, ["rd_x"]);
        assert_eq!(hosts["db;db1"]["load"].title, "Load");
    }

    proptest! {
        #[test]
        fn no_text_panics(text in "([a-z;:. ]{0,12}(graph_title|graph_order|label)? [a-z:]{0,4}\n|\\PC{0,9}\n){0,20}") {
            let (hosts, _) = read(&text, &|_| vec![]);
            for spec in hosts.values().flat_map(|h| h.values()) {
                prop_assert!(!spec.name.is_empty());
            }
        }
    }
}
