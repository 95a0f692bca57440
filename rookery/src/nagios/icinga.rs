//! Definitions for Icinga 2, in its own language.

use super::{Args, Node, alone, argument, groups};
use rookery_alerts::passive::HEARTBEAT;
use std::fmt::{Result, Write};

/// A string of Icinga's language, in its quotes.
fn string(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if c.is_control() => out.push(' '),
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

pub(super) fn write(out: &mut String, args: &Args, nodes: &[Node]) -> Result {
    let url: String = args.url.chars().filter(|c| !c.is_control()).collect();
    writeln!(
        out,
        "// Made by rookery nagios-config of {url}. Not to be edited: it is made anew.\n"
    )?;
    match args.passive {
        true => write_passive(out, args)?,
        false => write_active(out, args)?,
    }
    for (name, group, _) in groups(nodes) {
        writeln!(
            out,
            "object HostGroup {} {{\n  display_name = {}\n}}",
            string(&name),
            string(group)
        )?;
    }
    out.push('\n');
    write_collector(out, args)?;
    let groups = groups(nodes);
    for node in nodes {
        let group = groups.iter().find(|(_, group, _)| *group == node.group);
        write_node(out, node, group.map(|(name, ..)| name.as_str()))?;
        write_dependencies(out, nodes, node)?;
    }
    // Without the collector everything is UNKNOWN: only the collector is told of.
    writeln!(
        out,
        "apply Dependency \"rookery\" to Service {{\n  parent_host_name = {}\n  \
         parent_service_name = {}\n  states = [ OK ]\n  disable_notifications = true\n  \
         assign where service.vars.rookery_service\n}}",
        string(&args.host),
        string(HEARTBEAT)
    )
}

/// Icinga asks the collector.
fn write_active(out: &mut String, args: &Args) -> Result {
    write!(
        out,
        "object CheckCommand \"rookery_check\" {{\n  command = [ {} ]\n  arguments = {{\n    \
         \"-u\" = {}\n    \"--encoded\" = {{ set_if = true }}\n    \"-H\" = \
         \"$host.vars.rookery_node$\"\n    \"-s\" = \"$service.vars.rookery_service$\"\n  }}\n}}\n\
         template Host \"rookery-node\" {{\n  check_command = \"rookery_check\"\n  \
         max_check_attempts = 1\n  check_interval = 1m\n  retry_interval = 1m\n}}\n\
         template Service \"rookery-service\" {{\n  check_command = \"rookery_check\"\n  \
         max_check_attempts = 1\n  check_interval = 1m\n  retry_interval = 1m\n}}\n\n",
        string(&args.check),
        string(&args.url)
    )
}

/// The collector sends results; each says for how long it holds (`ttl`), and Icinga's
/// own check only speaks when it is over.
fn write_passive(out: &mut String, args: &Args) -> Result {
    let (fresh_s, _) = args.fresh_s();
    write!(
        out,
        "template Host \"rookery-node\" {{\n  check_command = \"dummy\"\n  \
         enable_active_checks = false\n  max_check_attempts = 1\n}}\n\
         template Service \"rookery-service\" {{\n  check_command = \"dummy\"\n  \
         enable_active_checks = true\n  max_check_attempts = 1\n  check_interval = {fresh_s}s\n  \
         retry_interval = {fresh_s}s\n  vars.dummy_state = 3\n  \
         vars.dummy_text = \"No result from Rookery for so long.\"\n}}\n\n"
    )
}

/// The collector itself: whether it answers, or its results come.
fn write_collector(out: &mut String, args: &Args) -> Result {
    let (_, fresh_s) = args.fresh_s();
    let interval = match args.passive {
        true => format!("  check_interval = {fresh_s}s\n"),
        false => String::new(),
    };
    write!(
        out,
        "object Host {host} {{\n  import \"rookery-node\"\n  \
         display_name = \"Rookery's collector\"\n}}\n\
         object Service {} {{\n  import \"rookery-service\"\n  host_name = {host}\n  \
         display_name = \"Results of Rookery\"\n{interval}}}\n\n",
        string(HEARTBEAT),
        host = string(&args.host),
    )
}

fn write_dependencies(out: &mut String, nodes: &[Node], node: &Node) -> Result {
    let own = node.depends_on.iter().map(|list| (None, list));
    let services = node.services.iter();
    let of_services =
        services.flat_map(|s| s.depends_on.iter().map(|list| (Some(s.description.as_str()), list)));
    for (i, (child, list)) in own.chain(of_services).enumerate() {
        let Some((host, service)) = alone(nodes, list) else {
            let names = list.join(", ").replace(char::is_control, " ");
            writeln!(out, "// {} depends on {names}", child.unwrap_or(&node.host))?;
            continue;
        };
        let of = |key: &str, name: Option<&str>| match name {
            Some(name) => format!("  {key} = {}\n", string(name)),
            None => String::new(),
        };
        let states = match service {
            Some(_) => "[ OK, Warning ]",
            None => "[ Up ]",
        };
        write!(
            out,
            "object Dependency \"rookery {i}\" {{\n  child_host_name = {}\n{}  \
             parent_host_name = {}\n{}  states = {states}\n  disable_notifications = true\n}}\n",
            string(&node.host),
            of("child_service_name", child),
            string(host),
            of("parent_service_name", service),
        )?;
    }
    Ok(())
}

fn write_node(out: &mut String, node: &Node, group: Option<&str>) -> Result {
    let host = string(&node.host);
    write!(
        out,
        "object Host {host} {{\n  import \"rookery-node\"\n  display_name = {}\n  address = {}\n  \
         vars.rookery_node = {}\n",
        string(&node.name),
        string(&node.address()),
        string(&argument(&node.name)),
    )?;
    if let Some(group) = group {
        writeln!(out, "  groups = [ {} ]", string(group))?;
    }
    writeln!(out, "}}")?;
    for service in &node.services {
        writeln!(
            out,
            "object Service {} {{\n  import \"rookery-service\"\n  host_name = {host}\n  \
             display_name = {}\n  vars.rookery_service = {}\n}}",
            string(&service.description),
            string(&service.title),
            string(&argument(&service.name)),
        )?;
    }
    Ok(())
}
