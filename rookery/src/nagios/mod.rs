//! `rookery nagios-config`: object definitions for Nagios 4, or for Icinga 2, of all
//! nodes and services that the collector knows.
//!
//! Names are those of [`rookery_alerts::passive::Names`], so that passive results
//! find their objects. What a name loses there, the custom variable `_NODE` or the
//! check's argument keeps. The order is that of the names, so that a new file
//! differs from the old one only where something has changed.

mod icinga;
mod nagios4;

use crate::client::{Client, URL, encode};
use crate::say;
use clap::Args as ClapArgs;
use rookery_alerts::passive::{FRESH_REFRESHES, HOST, Names, REFRESH_MS, clean};
use rookery_plugins::config::parse_span_ms;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where Debian and our package put checks.
const CHECK: &str = "/usr/lib/nagios/plugins/check_rookery";

#[derive(ClapArgs)]
#[command(
    name = "nagios-config",
    after_help = "Examples:\n  rookery nagios-config --contact-groups admins -o \
                  /etc/nagios4/conf.d/rookery.cfg\n  nagios4 -v /etc/nagios4/nagios.cfg && \
                  systemctl reload nagios4\n  rookery nagios-config --passive -o \
                  /etc/nagios4/conf.d/rookery.cfg\n  rookery nagios-config --icinga -o \
                  /etc/icinga2/conf.d/rookery.conf\n  icinga2 daemon -C && systemctl reload icinga2"
)]
pub struct Args {
    /// The collector, as Nagios' host reaches it
    #[arg(long, default_value = URL)]
    url: String,
    /// For Icinga 2
    #[arg(long)]
    icinga: bool,
    /// Nagios asks nothing: [[passive]] in collector.toml sends results
    #[arg(long)]
    passive: bool,
    /// The `refresh` of that [[passive]]: after three of them without a result a
    /// service is UNKNOWN
    #[arg(long, value_name = "SPAN", default_value = "60s")]
    refresh: String,
    /// The host that stands for the collector itself (`host` of that [[passive]])
    #[arg(long, value_name = "NAME", default_value = HOST)]
    host: String,
    /// Where check_rookery stands on Nagios' host
    #[arg(long, value_name = "FILE", default_value = CHECK)]
    check: String,
    /// Who is told, by Nagios' names
    #[arg(long, value_name = "GROUPS", default_value = "")]
    contact_groups: String,
    /// Only services that have limits: the others are always OK
    #[arg(long)]
    limits_only: bool,
    /// The file, replaced as a whole; what has changed is said. Without it all goes
    /// to standard output
    #[arg(short, long, value_name = "FILE")]
    output: Option<PathBuf>,
}

impl Args {
    /// After so many seconds without a result a service is UNKNOWN; the collector
    /// itself earlier, so that it is told of and not all of its services.
    fn fresh_s(&self) -> (u64, u64) {
        let refresh_ms = parse_span_ms(&self.refresh).unwrap_or(REFRESH_MS).max(1000);
        (refresh_ms * FRESH_REFRESHES / 1000, refresh_ms * (FRESH_REFRESHES - 1) / 1000)
    }
}

/// A node with its services.
struct Node {
    name: String,
    /// What it is called there.
    host: String,
    group: String,
    depends_on: Vec<Vec<String>>,
    services: Vec<Service>,
}

struct Service {
    name: String,
    /// What it is called there.
    description: String,
    title: String,
    depends_on: Vec<Vec<String>>,
}

/// On what a host or a service depends, by the names there. `None`: the definitions
/// cannot say it (something that is not there; of a service a node).
type Place<'n> = (&'n str, Option<&'n str>);

/// What a name of `depends_on` is called there.
fn place<'n>(nodes: &'n [Node], name: &str) -> Option<Place<'n>> {
    let (node, service) = match name.split_once('/') {
        Some((node, service)) => (node, Some(service)),
        None => (name, None),
    };
    let node = nodes.iter().find(|n| n.name == node)?;
    match service {
        None => Some((&node.host, None)),
        Some(name) => {
            let service = node.services.iter().find(|s| s.name == name)?;
            Some((&node.host, Some(&service.description)))
        }
    }
}

/// A list of which one is enough, alone: neither Nagios nor Icinga 2.13 knows "while
/// all of these are" but for a host's parents.
fn alone<'n>(nodes: &'n [Node], list: &[String]) -> Option<Place<'n>> {
    match list {
        [one] => place(nodes, one),
        _ => None,
    }
}

impl Node {
    /// Its own name in its group: the best guess at an address.
    fn address(&self) -> String {
        clean(self.name.rsplit(';').next().unwrap_or(&self.name))
    }
}

pub fn run(args: &Args) -> Result<(), String> {
    parse_span_ms(&args.refresh).map_err(|e| format!("--refresh: {e}"))?;
    if clean(&args.host) != args.host {
        return Err(format!("--host {:?}: Nagios takes no such name", args.host));
    }
    let nodes = ask(args)?;
    let mut text = String::new();
    let done = match args.icinga {
        true => icinga::write(&mut text, args, &nodes),
        false => nagios4::write(&mut text, args, &nodes),
    };
    done.map_err(|_| "BUG: no memory for the definitions".to_owned())?;
    let Some(file) = &args.output else {
        say(format_args!("{}", text.trim_end()));
        return Ok(());
    };
    let before = std::fs::read_to_string(file).unwrap_or_default();
    write_whole(file, &text)?;
    say_changes(&objects(&before), &objects(&text));
    Ok(())
}

fn ask(args: &Args) -> Result<Vec<Node>, String> {
    let client = Client::new(&args.url)?;
    let get = |path: &str| -> Result<Vec<Json>, String> {
        let body = client.get(path)?;
        serde_json::from_slice(&body).map_err(|e| format!("{}: {e}", args.url))
    };
    let text = |json: &Json, key: &str| json[key].as_str().unwrap_or_default().to_owned();
    let lists = |json: &Json| {
        serde_json::from_value::<Vec<Vec<String>>>(json["depends_on"].clone()).unwrap_or_default()
    };
    let mut all = get("/api/v1/nodes")?;
    all.sort_by_key(|node| text(node, "node"));
    let hosts = Names::new(all.iter().filter_map(|n| n["node"].as_str()), &args.host);
    let mut nodes = Vec::new();
    for node in &all {
        let name = text(node, "node");
        let mut all = get(&format!("/api/v1/services?node={}", encode(&name)))?;
        all.sort_by_key(|service| text(service, "service"));
        // All of them, also those that are left out: no name depends on what is wanted.
        let names = Names::new(all.iter().filter_map(|s| s["service"].as_str()), "");
        let has_limits = |s: &Json| {
            let fields = s["fields"].as_array().map_or(&[][..], Vec::as_slice);
            fields.iter().any(|f| f["warning"].is_string() || f["critical"].is_string())
        };
        let is_wanted = |s: &&Json| s["active"] != false && (!args.limits_only || has_limits(s));
        let services = all.iter().filter(is_wanted).map(|s| Service {
            name: text(s, "service"),
            description: names.of(&text(s, "service")),
            title: text(s, "title"),
            depends_on: lists(s),
        });
        let services = services.collect();
        let (group, depends_on) = (text(node, "group"), lists(node));
        nodes.push(Node { host: hosts.of(&name), group, name, depends_on, services });
    }
    Ok(nodes)
}

/// The hosts of each group, by its name there, and its own.
fn groups(nodes: &[Node]) -> Vec<(String, &str, Vec<&str>)> {
    let mut groups: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for node in nodes.iter().filter(|n| !n.group.is_empty()) {
        groups.entry(&node.group).or_default().push(&node.host);
    }
    let names = Names::new(groups.keys().copied(), "");
    groups.into_iter().map(|(group, hosts)| (names.of(group), group, hosts)).collect()
}

/// An argument of a check in a definition, percent-encoded: neither Nagios, Icinga
/// nor the shell sees in it what they would take for their own.
fn argument(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            ';' | '\'' | '"' | '\\' | '$' | '!' | '`' | '%' | '&' | '|' | '<' | '>' => {
                // Writing to a String cannot fail.
                let _ = write!(out, "%{:02X}", u32::from(c));
            }
            c if c.is_control() => out.push('_'),
            c => out.push(c),
        }
    }
    out
}

/// The hosts and services in such a file: `HOST` and `HOST / SERVICE`.
fn objects(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut host = "";
    let mut service = "";
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once(char::is_whitespace) else { continue };
        let quoted = || value.split('"').nth(1).unwrap_or_default();
        match key {
            "host_name" if value.starts_with("= ") => {
                found.insert(format!("{} / {service}", quoted()));
            }
            "host_name" => {
                host = value.trim();
                found.insert(host.to_owned());
            }
            "service_description" => {
                found.insert(format!("{host} / {}", value.trim()));
            }
            "object" if value.starts_with("Host ") => {
                found.insert(quoted().to_owned());
            }
            "object" if value.starts_with("Service ") => service = quoted(),
            _ => {}
        }
    }
    found
}

fn say_changes(before: &BTreeSet<String>, after: &BTreeSet<String>) {
    for new in after.difference(before) {
        say(format_args!("+ {new}"));
    }
    for gone in before.difference(after) {
        say(format_args!("- {gone}"));
    }
    let n_services = after.iter().filter(|o| o.contains(" / ")).count();
    say(format_args!("{} hosts, {n_services} services", after.len() - n_services));
}

/// Writes a file beside, and puts it in the old one's place.
fn write_whole(file: &Path, text: &str) -> Result<(), String> {
    let mut name = file.as_os_str().to_owned();
    name.push(".new");
    let new = PathBuf::from(name);
    std::fs::write(&new, text)
        .and_then(|()| std::fs::rename(&new, file))
        .map_err(|e| format!("{}: {e}", file.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arguments_hide_what_a_shell_would_see() {
        assert_eq!(argument("db;d'b$1!"), "db%3Bd%27b%241%21");
    }

    #[test]
    fn objects_are_found_in_both_files() {
        let want: BTreeSet<String> =
            ["a", "a / cpu", "b"].iter().map(|t| (*t).to_owned()).collect();
        let nagios = "define host {\n host_name  a\n}\ndefine service {\n host_name a\n \
                      service_description  cpu\n}\ndefine host {\n host_name b\n}\n";
        assert_eq!(objects(nagios), want);
        let icinga = "object Host \"a\" {\n}\nobject Service \"cpu\" {\n  host_name = \"a\"\n}\n\
                      object Host \"b\" {\n}\n";
        assert_eq!(objects(icinga), want);
    }
}
