//! `rookery nagios-config`: object definitions for Nagios 4 (and what reads its
//! files) of all nodes and services that the collector knows.
//!
//! Nagios' own rules (object definitions, nagios.cfg's `illegal_object_name_chars`):
//! a name holds none of `` `~!$%^&*|'"<>?,()= ``, and a `;` begins a comment. What a
//! name loses by that, the custom variable `_NODE` or the check's argument keeps.

use crate::client::{Client, URL, encode};
use crate::say;
use clap::Args as ClapArgs;
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::{Path, PathBuf};

/// Where Debian and our package put checks.
const CHECK: &str = "/usr/lib/nagios/plugins/check_rookery";
/// What no name of an object may hold, by default, and what would end a line or
/// an argument.
const ILLEGAL: &str = "`~!$%^&*|'\"<>?,()=;\\";

#[derive(ClapArgs)]
#[command(
    name = "nagios-config",
    after_help = "Example:\n  rookery nagios-config --contact-groups admins -o \
                  /etc/nagios4/conf.d/rookery.cfg\n  nagios4 -v /etc/nagios4/nagios.cfg && \
                  systemctl reload nagios4"
)]
pub struct Args {
    /// The collector, as Nagios' host reaches it
    #[arg(long, default_value = URL)]
    url: String,
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

/// A node with its services' names and titles.
struct Node {
    name: String,
    group: String,
    services: Vec<(String, String)>,
}

pub fn run(args: &Args) -> Result<(), String> {
    let nodes = ask(args)?;
    let text = render(args, &nodes)?;
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
    let mut nodes = Vec::new();
    for node in get("/api/v1/nodes")? {
        let name = text(&node, "node");
        let all = get(&format!("/api/v1/services?node={}", encode(&name)))?;
        let has_limits = |s: &Json| {
            let fields = s["fields"].as_array().map_or(&[][..], Vec::as_slice);
            fields.iter().any(|f| f["warning"].is_string() || f["critical"].is_string())
        };
        let is_wanted = |s: &&Json| s["active"] != false && (!args.limits_only || has_limits(s));
        let services = all.iter().filter(is_wanted);
        let services = services.map(|s| (text(s, "service"), text(s, "title"))).collect();
        nodes.push(Node { group: text(&node, "group"), name, services });
    }
    Ok(nodes)
}

/// A name that Nagios takes, like no other in `taken`.
fn object_name(name: &str, taken: &mut BTreeSet<String>) -> String {
    let fits = |c: char| !c.is_control() && !ILLEGAL.contains(c);
    let base: String = name.chars().map(|c| if fits(c) { c } else { '_' }).collect();
    let numbered = |n: u32| if n == 1 { base.clone() } else { format!("{base}_{n}") };
    let free = (1..).map(numbered).find(|name| !taken.contains(name));
    let name = free.unwrap_or(base);
    taken.insert(name.clone());
    name
}

/// Text for a line of its own: no comment begins in it.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == ';' { ' ' } else { c }).collect()
}

/// An argument of a command in a definition: in quotes for the shell, with
/// Nagios' own signs escaped. `;` is written for `%3B` by check_rookery.
fn argument(text: &str) -> String {
    let mut out = String::new();
    for c in text.chars() {
        match c {
            // Percent-encoded: neither Nagios nor the shell sees them.
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

fn render(args: &Args, nodes: &[Node]) -> Result<String, String> {
    let mut out = String::new();
    let done = write_head(&mut out, args).and_then(|()| write_nodes(&mut out, nodes));
    done.map_err(|_| "BUG: no memory for the definitions".to_owned())?;
    Ok(out)
}

/// What all definitions use.
fn write_head(out: &mut String, args: &Args) -> std::fmt::Result {
    let (check, url) = (&args.check, line(&args.url));
    writeln!(
        out,
        "# Made by rookery nagios-config of {url}. Not to be edited: it is made anew.\n"
    )?;
    write!(
        out,
        "define command {{\n    command_name  rookery_node\n    command_line  {check} -u {url} \
         --encoded -H '$_HOSTNODE$'\n}}\n\
         define command {{\n    command_name  rookery_service\n    command_line  {check} -u {url} \
         --encoded -H '$_HOSTNODE$' -s '$ARG1$'\n}}\n\n"
    )?;
    let contacts = match args.contact_groups.as_str() {
        "" => String::new(),
        groups => format!("    contact_groups         {}\n", line(groups)),
    };
    let mut period = String::new();
    for day in ["sunday", "monday", "tuesday", "wednesday", "thursday", "friday", "saturday"] {
        writeln!(period, "    {day:<15}  00:00-24:00")?;
    }
    write!(
        out,
        "define timeperiod {{\n    timeperiod_name  rookery-always\n    alias            Always\n\
         {period}}}\n\n"
    )?;
    // Rookery has counted its attempts itself.
    write!(
        out,
        "define host {{\n    name                   rookery-node\n    register               0\n    \
         check_command          rookery_node\n    max_check_attempts     1\n    \
         check_interval         1\n    check_period           rookery-always\n    \
         notification_period    rookery-always\n    notification_interval  0\n{contacts}}}\n\
         define service {{\n    name                   rookery-service\n    \
         register               0\n    max_check_attempts     1\n    \
         check_interval         1\n    check_period           rookery-always\n    \
         notification_period    rookery-always\n    notification_interval  0\n{contacts}}}\n\n"
    )
}

fn write_nodes(out: &mut String, nodes: &[Node]) -> std::fmt::Result {
    let mut names = BTreeSet::new();
    let mut groups: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for node in nodes {
        let host = object_name(&node.name, &mut names);
        write!(
            out,
            "define host {{\n    use        rookery-node\n    host_name  {host}\n    alias      \
             {}\n    address    {}\n    _NODE      {}\n}}\n",
            line(&node.name),
            object_name(node.name.rsplit(';').next().unwrap_or(&node.name), &mut BTreeSet::new()),
            argument(&node.name)
        )?;
        let mut services = BTreeSet::new();
        for (service, title) in &node.services {
            write!(
                out,
                "define service {{\n    use                  rookery-service\n    \
                 host_name            {host}\n    service_description  {}\n    \
                 display_name         {}\n    check_command        rookery_service!{}\n}}\n",
                object_name(service, &mut services),
                line(title),
                argument(service)
            )?;
        }
        if !node.group.is_empty() {
            groups.entry(&node.group).or_default().push(host);
        }
    }
    let mut names = BTreeSet::new();
    for (group, hosts) in groups {
        write!(
            out,
            "define hostgroup {{\n    hostgroup_name  {}\n    alias           {}\n    \
             members         {}\n}}\n",
            object_name(group, &mut names),
            line(group),
            hosts.join(",")
        )?;
    }
    Ok(())
}

/// The hosts and services in such a file: `HOST` and `HOST / SERVICE`.
fn objects(text: &str) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut host = "";
    for line in text.lines() {
        let Some((key, value)) = line.trim().split_once(char::is_whitespace) else { continue };
        match key {
            "host_name" => {
                host = value.trim();
                found.insert(host.to_owned());
            }
            "service_description" => {
                found.insert(format!("{host} / {}", value.trim()));
            }
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
    fn names_lose_what_nagios_refuses_and_stay_apart() {
        let mut taken = BTreeSet::new();
        assert_eq!(object_name("db;db1", &mut taken), "db_db1");
        assert_eq!(object_name("db_db1", &mut taken), "db_db1_2");
        assert_eq!(object_name("a`b$c\n", &mut taken), "a_b_c_");
        assert_eq!(argument("db;d'b$1!"), "db%3Bd%27b%241%21");
        assert_eq!(line("a;b\nc"), "a b c");
    }
}
