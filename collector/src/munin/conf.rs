//! `munin.conf` as it is (munin.conf(5), Munin 2.0): the tree of groups and hosts,
//! and what it says over the plugins' own words.
//!
//! Honoured: `[group;host]` and `[host.domain]` sections, those of a service
//! (`[group;host:df]`), `address`, `port`, `use_node_name`, `use_default_node`, `update no`,
//! `includedir`, and overrides of attributes (`df._dev_sda1.warning 80`), also for a whole
//! group, and of one host within its group's section (`www1:df._dev_sda1.warning 80` below
//! `[Web;]`). All else is named, line by line.

use super::people::People;
use super::tls::{Tls, Wish};
use super::{Address, ListAs, PORT, Remote, Remotes, address};
use crate::borrow::Borrowed;
use rookery_plugins::config::is_left_out;
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

/// The longest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 4 << 20;
/// The most hosts that are taken.
const HOSTS_MAX: usize = 10_000;

/// What is said of TLS, for all, a group or a host.
const TLS_KEYS: &[&str] = &[
    "tls",
    "tls_verify_certificate",
    "tls_ca_certificate",
    "tls_certificate",
    "tls_private_key",
    "tls_verify_depth",
    "tls_match",
];

/// What a section says.
#[derive(Clone, Debug, Default)]
struct Section {
    place: String,
    settings: BTreeMap<String, String>,
    overrides: Vec<(String, String)>,
}

#[derive(Default)]
struct Reader {
    /// By path, `group;sub;host`; a group's ends with `;`.
    sections: BTreeMap<String, Section>,
    /// In the order in which they came.
    order: Vec<String>,
    include: Option<PathBuf>,
    notes: Vec<String>,
    current: String,
    /// The service that the section is about: `df` of `[group;host:df]`.
    service: Option<String>,
    /// The section's header could not be read: nobody knows whose its lines are.
    is_lost: bool,
    people: People,
    /// `ssh_command` and `ssh_options`.
    ssh: BTreeMap<String, String>,
}

/// Reads a `munin.conf` and what it includes.
pub fn read(file: &Path) -> Result<Remotes, String> {
    let mut reader = Reader::default();
    reader.file(file)?;
    if let Some(dir) = reader.include.take() {
        let entries = std::fs::read_dir(&dir).map_err(|e| format!("{}: {e}", dir.display()))?;
        let mut files: Vec<PathBuf> = entries.flatten().map(|e| e.path()).collect();
        files.retain(|f| f.is_file() && is_included(f));
        files.sort();
        for file in files {
            reader.begin("", None);
            reader.file(&file)?;
        }
    }
    reader.remotes()
}

/// As Munin: no hidden files, no editor's backups.
fn is_included(file: &Path) -> bool {
    !is_left_out(&file.file_name().unwrap_or_default().to_string_lossy())
}

impl Reader {
    fn file(&mut self, file: &Path) -> Result<(), String> {
        let name = file.display().to_string();
        let fail = |e: std::io::Error| format!("{name}: {e}");
        let len = std::fs::metadata(file).map_err(fail)?.len();
        if len > FILE_BYTES_MAX {
            return Err(format!("{name}: {len} bytes: more than {FILE_BYTES_MAX}"));
        }
        let text = std::fs::read(file).map_err(fail)?;
        self.text(&name, &String::from_utf8_lossy(&text));
        Ok(())
    }

    fn text(&mut self, name: &str, text: &str) {
        let mut joined = String::new();
        let mut first = 0;
        for (i, line) in text.lines().enumerate() {
            let line = without_comment(line);
            if joined.is_empty() {
                first = i + 1;
            }
            match line.trim_end().strip_suffix('\\') {
                Some(begun) => joined.push_str(begun),
                None => {
                    joined.push_str(&line);
                    let whole = std::mem::take(&mut joined);
                    self.line(&format!("{name}:{first}"), whole.trim());
                }
            }
        }
        if !joined.trim().is_empty() {
            self.line(&format!("{name}:{first}"), joined.trim());
        }
    }

    fn note(&mut self, place: &str, text: &str) {
        self.notes.push(format!("{place}: {text}"));
    }

    fn line(&mut self, place: &str, line: &str) {
        if line.is_empty() {
            return;
        }
        if line.starts_with('[') {
            self.header(place, line);
            return;
        }
        if self.is_lost {
            return;
        }
        let Some((key, value)) = line.split_once(char::is_whitespace) else {
            self.note(place, &format!("{line:?}: a key and its value are expected"));
            return;
        };
        let value = value.trim();
        if self.current.is_empty() && self.global(place, key, value) {
            return;
        }
        if let Some(service) = self.service.clone() {
            self.setting_of_service(place, &service, key, value);
            return;
        }
        let (path, key) = match key.split_once(':') {
            Some((path, key)) => match self.path_within(path, key) {
                Ok(path) => (path, key),
                Err(why) => return self.note(place, &format!("{path}:{key}: {why}")),
            },
            None => (self.current.clone(), key),
        };
        let before = std::mem::replace(&mut self.current, path);
        self.setting(place, key, value);
        self.current = before;
    }

    fn begin(&mut self, path: &str, service: Option<&str>) {
        path.clone_into(&mut self.current);
        self.service = service.map(str::to_owned);
        self.is_lost = false;
    }

    /// `[group;host]`, `[group;]`, `[host.domain]`, or one of these with `:service`.
    fn header(&mut self, place: &str, line: &str) {
        let name = line.strip_prefix('[').and_then(|l| l.strip_suffix(']')).map(str::trim);
        let parts = name.map(|name| match name.split_once(':') {
            Some((path, service)) => (path.trim(), Some(service.trim())),
            None => (name, None),
        });
        match parts {
            Some((path, service))
                if !path.is_empty()
                    && service.is_none_or(|s| !s.is_empty() && !s.contains([':', ';'])) =>
            {
                self.begin(&path_of(path), service);
                self.section(place);
            }
            _ => {
                self.is_lost = true;
                let text = format!(
                    "{line}: [group;host], [group;] or [group;host:service] is expected; what \
                     follows is left out up to the next section"
                );
                self.note(place, &text);
            }
        }
    }

    /// Whom `path:key` is about: before any section all of it, below `[group;]` a host (or a
    /// group's) of that group.
    fn path_within(&self, path: &str, key: &str) -> Result<String, &'static str> {
        if path.is_empty() || key.contains(':') {
            return Err("host:service.field.attribute is expected");
        }
        match self.current.as_str() {
            "" => Ok(path_of(path)),
            group if group.ends_with(';') => Ok(format!("{group}{}", joined(path))),
            _ => Err("a host's section says things of that host: begin a section for another"),
        }
    }

    /// A line of a service's section: as if it named the service.
    fn setting_of_service(&mut self, place: &str, service: &str, key: &str, value: &str) {
        let is_hosts = TLS_KEYS.contains(&key)
            || matches!(
                key,
                "address" | "port" | "local_address" | "use_node_name" | "use_default_node"
            );
        match is_hosts || key.contains([':', ';']) {
            true => self.note(place, &format!("{key}: is said of a host, not of a service")),
            false => self.setting(place, &format!("{service}.{key}"), value),
        }
    }

    fn section(&mut self, place: &str) -> &mut Section {
        let path = self.current.clone();
        if !self.sections.contains_key(&path) {
            self.order.push(path.clone());
        }
        let section = self.sections.entry(path).or_default();
        if section.place.is_empty() {
            place.clone_into(&mut section.place);
        }
        section
    }

    /// What stands before the first section; whether it was that.
    fn global(&mut self, place: &str, key: &str, value: &str) -> bool {
        match key {
            "includedir" => self.include = Some(PathBuf::from(value)),
            "dbdir" => {
                self.note(place, "dbdir: the history is in `data` of collector.toml");
            }
            "htmldir" | "logdir" | "rundir" | "tmpldir" | "staticdir" | "cgitmpdir"
            | "cgiurl_graph" | "rrdcached_socket" => {
                self.note(place, &format!("{key}: there is no such file here: not needed"));
            }
            "graph_strategy"
            | "html_strategy"
            | "max_processes"
            | "fork"
            | "palette"
            | "max_size_x"
            | "max_size_y"
            | "munin_cgi_graph_jobs"
            | "dropdownlimit" => {
                self.note(place, &format!("{key}: graphs are drawn when they are asked for"));
            }
            "timeout" | "timeout_fetch_all_nodes" | "timeout_fetch_one_node" | "update_rate" => {
                self.note(place, &format!("{key}: say it in [[munin]]: interval, timeout"));
            }
            "contacts" => self.people.all(value),
            key if key.starts_with("contact.") => {
                if let Some(why) = self.people.contact(key, value) {
                    self.note(place, &format!("{key}: {why}"));
                }
            }
            "ssh_command" | "ssh_options" => {
                self.ssh.insert(key.to_owned(), value.to_owned());
            }
            key if TLS_KEYS.contains(&key) || key == "local_address" => return false,
            key if key.starts_with("tls") => {
                self.note(place, &format!("{key}: not honoured: see tls_ca_certificate"));
            }
            key if key.contains([';', ':', '.']) => return false,
            _ => self.note(place, &format!("{key}: not honoured")),
        }
        true
    }

    fn setting(&mut self, place: &str, key: &str, value: &str) {
        if self.people.setting(&self.current, key, value) {
            // The section is one even if it says nothing else.
            self.section(place);
            return;
        }
        if key.contains('.') {
            let Some((service, rest)) = service_and_rest(key) else {
                self.note(place, &format!("{key}: an attribute is expected after the last dot"));
                return;
            };
            let item = (service, format!("{rest} {value}"));
            self.section(place).overrides.push(item);
            return;
        }
        match key {
            key if TLS_KEYS.contains(&key) => {
                if key == "tls" && Wish::parse(value).is_none() {
                    self.note(place, &format!("tls {value}: disabled, auto or enabled"));
                    return;
                }
                if key == "tls_verify_depth" && value.parse::<usize>().is_err() {
                    self.note(place, &format!("{key} {value}: a number is expected"));
                    return;
                }
                self.section(place).settings.insert(key.to_owned(), value.to_owned());
            }
            "local_address" if value.parse::<IpAddr>().is_err() => {
                self.note(place, &format!("{key} {value}: an address is expected"));
            }
            "address" | "port" | "local_address" | "use_node_name" | "use_default_node"
            | "update" => {
                self.section(place).settings.insert(key.to_owned(), value.to_owned());
            }
            "node_order" | "group_order" | "domain_order" => {
                self.note(place, &format!("{key}: not honoured"));
            }
            key if key.starts_with("tls") => self.note(place, &format!("{key}: not honoured")),
            _ => self.note(place, &format!("{key}: not honoured")),
        }
    }

    /// The program and its options, as they are said for all nodes.
    fn set_ssh(&self, address: &mut Address, place: &str) {
        let Address::Command(words) = address else { return };
        if !place.trim().starts_with("ssh://") {
            return;
        }
        if let Some(options) = self.ssh.get("ssh_options") {
            let options = options.split_whitespace().map(str::to_owned);
            words.splice(1..1, options);
        }
        if let Some(program) = self.ssh.get("ssh_command") {
            words[0].clone_from(program);
        }
    }

    /// Services that are made of others' fields, also those of hosts that are not polled.
    fn borrowed(&mut self) -> Vec<Borrowed> {
        let mut all = Vec::new();
        let is_host = |p: &str| !p.is_empty() && !p.ends_with(';');
        for (path, section) in self.sections.iter().filter(|(p, _)| is_host(p)) {
            let node = path.as_str();
            // What is said of a group is said of each of its hosts; the nearest comes last.
            let groups = self.sections.iter().filter(|(p, _)| p.ends_with(';'));
            let groups = groups.filter(|(p, _)| path.starts_with(p.as_str())).map(|(_, s)| s);
            let mut by_service: BTreeMap<&str, Vec<String>> = BTreeMap::new();
            for (service, line) in groups.chain([section]).flat_map(|s| &s.overrides) {
                by_service.entry(service).or_default().push(line.clone());
            }
            for (service, lines) in by_service {
                let mut bad = Vec::new();
                all.extend(Borrowed::read(node, service, &lines, &mut bad));
                for word in bad {
                    let place = &section.place;
                    self.notes.push(format!(
                        "{place}: [{path}] {service}: {word:?}: name=host:service.field is expected"
                    ));
                }
            }
        }
        all
    }

    fn remotes(mut self) -> Result<Remotes, String> {
        let mut nodes = Vec::new();
        let borrowed = self.borrowed();
        for path in std::mem::take(&mut self.order) {
            let own = self.sections[&path].clone();
            if path.is_empty() || path.ends_with(';') {
                continue;
            }
            let groups: Vec<&Section> = self
                .sections
                .iter()
                .filter(|(p, _)| p.ends_with(';') && path.starts_with(p.as_str()))
                .map(|(_, s)| s)
                .collect();
            let get = |key: &str| {
                let of = |s: &Section| s.settings.get(key).cloned();
                let near = of(&own).or_else(|| groups.iter().rev().find_map(|s| of(s)));
                near.or_else(|| self.sections.get("").and_then(of))
            };
            if get("update").is_some_and(|v| !is_yes(&v)) {
                self.notes.push(format!("{}: [{path}]: update no: not polled", own.place));
                continue;
            }
            let Some(place) = get("address") else {
                self.notes.push(format!("{}: [{path}]: no address: not polled", own.place));
                continue;
            };
            let port = match get("port").map(|p| p.parse::<u16>()) {
                None => PORT,
                Some(Ok(port)) => port,
                Some(Err(_)) => return Err(format!("{}: [{path}]: port", own.place)),
            };
            let mut address: Address =
                address(&place, Some(port)).map_err(|e| format!("{}: [{path}]: {e}", own.place))?;
            self.set_ssh(&mut address, &place);
            let host = path.rsplit(';').next().unwrap_or(&path).to_owned();
            let is_set = |key: &str| get(key).is_some_and(|v| is_yes(&v));
            let list_as = match (is_set("use_default_node"), is_set("use_node_name")) {
                (true, _) => ListAs::Own,
                (_, true) => ListAs::Banner,
                _ => ListAs::Host(host),
            };
            let of_groups = groups.iter().flat_map(|s| s.overrides.iter().cloned());
            let mut overrides: Vec<(String, String)> =
                of_groups.chain(own.overrides.iter().cloned()).collect();
            // They are read where they are: the node knows nothing of them.
            overrides.retain(|(_, line)| !is_of_others(line));
            let (interval_ms, timeout_ms) = (super::INTERVAL_MS, super::TIMEOUT_MS);
            let file = |key: &str| get(key).map(PathBuf::from);
            let tls = Tls {
                wish: get("tls").and_then(|t| Wish::parse(&t)).unwrap_or_default(),
                verify: is_set("tls_verify_certificate"),
                ca: file("tls_ca_certificate"),
                certificate: file("tls_certificate"),
                key: file("tls_private_key"),
                depth: get("tls_verify_depth").and_then(|d| d.parse().ok()),
                matches: get("tls_match"),
            };
            nodes.push(Remote {
                node: path,
                address,
                list_as,
                interval_ms,
                timeout_ms,
                overrides,
                local: get("local_address").and_then(|a| a.parse().ok()),
                tls,
            });
            if nodes.len() > HOSTS_MAX {
                return Err(format!("more than {HOSTS_MAX} hosts"));
            }
        }
        let contacts = self.people.contacts(&mut self.notes);
        Ok(Remotes { nodes, notes: self.notes, borrowed, contacts })
    }
}

/// Whether a line tells of other services' fields.
fn is_of_others(line: &str) -> bool {
    let (key, value) = line.split_once(' ').unwrap_or((line, ""));
    match key.rsplit('.').next() {
        Some("sum" | "stack") => key.contains('.'),
        Some("graph_order") => value.contains('='),
        _ => false,
    }
}

/// `[group;host]` as it is; `[host.domain]` is in the group of its domain; a host
/// without a domain in one of its own name.
fn path_of(name: &str) -> String {
    let name = name.trim();
    if name.contains(';') || name.is_empty() {
        return joined(name);
    }
    match name.split_once('.') {
        Some((_, domain)) => format!("{domain};{name}"),
        None => format!("{name};{name}"),
    }
}

/// A path without blanks around its parts.
fn joined(path: &str) -> String {
    path.split(';').map(str::trim).collect::<Vec<_>>().join(";")
}

/// `df._dev_sda1.warning` is of service `df`; `diskstats.sda.graph_title` of the
/// nested `diskstats.sda`: an attribute of a graph begins with `graph` or is
/// one of the few others.
fn service_and_rest(key: &str) -> Option<(String, String)> {
    let (before, attribute) = key.rsplit_once('.')?;
    if attribute.is_empty() || before.is_empty() {
        return None;
    }
    let is_graphs = attribute.starts_with("graph_") || matches!(attribute, "graph" | "update");
    if is_graphs && !before.contains('.') {
        return Some((before.to_owned(), attribute.to_owned()));
    }
    match before.rsplit_once('.') {
        Some((service, field)) if !is_graphs => {
            Some((service.to_owned(), format!("{field}.{attribute}")))
        }
        _ => Some((before.to_owned(), attribute.to_owned())),
    }
}

fn is_yes(text: &str) -> bool {
    matches!(text.to_ascii_lowercase().as_str(), "yes" | "true" | "on" | "1" | "enable")
}

/// A line without its comment; `\#` is a `#`.
fn without_comment(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut chars = line.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '\\' if chars.peek() == Some(&'#') => {
                out.push('#');
                chars.next();
            }
            '#' => break,
            c => out.push(c),
        }
    }
    out
}

#[cfg(test)]
mod tests;
