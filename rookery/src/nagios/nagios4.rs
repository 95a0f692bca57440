//! Definitions for Nagios 4, and for what else reads its files.

use super::{Args, Node, alone, argument, groups, place};
use rookery_alerts::passive::HEARTBEAT;
use std::fmt::{Result, Write};

/// Text for a line of its own: no comment begins in it.
fn line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() || c == ';' { ' ' } else { c }).collect()
}

pub(super) fn write(out: &mut String, args: &Args, nodes: &[Node]) -> Result {
    let url = line(&args.url);
    writeln!(
        out,
        "# Made by rookery nagios-config of {url}. Not to be edited: it is made anew.\n"
    )?;
    write_commands(out, args)?;
    write_templates(out, args)?;
    write_collector(out, args)?;
    for node in nodes {
        write_node(out, nodes, node, args.passive)?;
    }
    for (name, group, hosts) in groups(nodes) {
        write!(
            out,
            "define hostgroup {{\n    hostgroup_name  {name}\n    alias           {}\n    \
             members         {}\n}}\n",
            line(group),
            hosts.join(",")
        )?;
    }
    // Who asks a collector that does not answer gets UNKNOWN for everything: only
    // the collector itself is told of.
    if nodes.iter().any(|n| !n.services.is_empty()) {
        write!(
            out,
            "define servicedependency {{\n    host_name                      {}\n    \
             service_description            {HEARTBEAT}\n    \
             dependent_servicegroup_name    rookery-services\n    \
             notification_failure_criteria  w,u,c\n}}\n",
            args.host
        )?;
    }
    Ok(())
}

fn write_commands(out: &mut String, args: &Args) -> Result {
    let (check, url) = (&args.check, line(&args.url));
    if args.passive {
        // Only run when no result has come for too long. A backslash, or the rest
        // would be a comment.
        let said = "UNKNOWN - no result from Rookery since $LASTSERVICECHECK$ (seconds of 1970)";
        return write!(
            out,
            "define command {{\n    command_name  rookery_stale\n    command_line  /bin/sh -c \
             'echo \"{said}\"\\; exit 3'\n}}\n\n"
        );
    }
    for (name, arguments) in [
        ("rookery_collector", ""),
        ("rookery_node", " --encoded -H '$_HOSTNODE$'"),
        ("rookery_service", " --encoded -H '$_HOSTNODE$' -s '$ARG1$'"),
    ] {
        write!(
            out,
            "define command {{\n    command_name  {name}\n    command_line  {check} -u \
             {url}{arguments}\n}}\n"
        )?;
    }
    out.push('\n');
    Ok(())
}

fn write_templates(out: &mut String, args: &Args) -> Result {
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
    let (fresh_s, _) = args.fresh_s();
    let (host, service) = match args.passive {
        // A node that is silent is DOWN by a result; a collector that is silent says
        // nothing of its nodes.
        true => (
            "    active_checks_enabled  0\n    passive_checks_enabled 1\n".to_owned(),
            format!(
                "    active_checks_enabled  0\n    passive_checks_enabled 1\n    \
                 check_freshness        1\n    freshness_threshold    {fresh_s}\n    \
                 check_command          rookery_stale\n"
            ),
        ),
        false => ("    check_command          rookery_node\n".to_owned(), String::new()),
    };
    // Rookery has counted its attempts itself.
    let common = format!(
        "    max_check_attempts     1\n    check_interval         1\n    \
         check_period           rookery-always\n    notification_period    rookery-always\n    \
         notification_interval  0\n{contacts}"
    );
    write!(
        out,
        "define host {{\n    name                   rookery-node\n    register               0\n\
         {host}{common}}}\n\
         define service {{\n    name                   rookery-service\n    \
         register               0\n    servicegroups          rookery-services\n\
         {service}{common}}}\n\
         define servicegroup {{\n    servicegroup_name  rookery-services\n    \
         alias              Services that Rookery watches\n}}\n\n"
    )
}

/// The collector itself: whether it answers, or its results come.
fn write_collector(out: &mut String, args: &Args) -> Result {
    let (host, (_, fresh_s)) = (&args.host, args.fresh_s());
    let (of_host, of_service) = match args.passive {
        true => (String::new(), format!("    freshness_threshold  {fresh_s}\n")),
        false => (
            "    check_command  rookery_collector\n".to_owned(),
            "    check_command        rookery_collector\n".to_owned(),
        ),
    };
    write!(
        out,
        "define host {{\n    use            rookery-node\n    host_name      {host}\n    \
         alias          Rookery's collector\n    address        127.0.0.1\n{of_host}}}\n\
         define service {{\n    use                  rookery-service\n    \
         host_name            {host}\n    service_description  {HEARTBEAT}\n    \
         display_name         Results of Rookery\n    servicegroups        null\n\
         {of_service}}}\n\n"
    )
}

fn write_node(out: &mut String, nodes: &[Node], node: &Node, is_passive: bool) -> Result {
    let host = &node.host;
    write!(
        out,
        "define host {{\n    use        rookery-node\n    host_name  {host}\n    alias      {}\n    \
         address    {}\n    _NODE      {}\n",
        line(&node.name),
        node.address(),
        argument(&node.name)
    )?;
    // Nagios, too, calls it UNREACHABLE while all of them are DOWN; it knows one list.
    if let [list] = &node.depends_on[..] {
        let parents = list.iter().filter_map(|name| place(nodes, name));
        let parents: Vec<&str> = parents.filter(|p| p.1.is_none()).map(|p| p.0).collect();
        if parents.len() == list.len() {
            writeln!(out, "    parents    {}", parents.join(","))?;
        }
    }
    writeln!(out, "}}")?;
    for service in &node.services {
        write!(
            out,
            "define service {{\n    use                  rookery-service\n    \
             host_name            {host}\n    service_description  {}\n    display_name         \
             {}\n",
            service.description,
            line(&service.title),
        )?;
        if !is_passive {
            // Of a passive one the template's runs when it is stale.
            writeln!(out, "    check_command        rookery_service!{}", argument(&service.name))?;
        }
        writeln!(out, "}}")?;
        for list in &service.depends_on {
            let Some((on, Some(what))) = alone(nodes, list) else {
                writeln!(out, "# {} depends on {}", service.description, line(&list.join(", ")))?;
                continue;
            };
            write!(
                out,
                "define servicedependency {{\n    host_name                      {on}\n    \
                 service_description            {what}\n    \
                 dependent_host_name            {host}\n    \
                 dependent_service_description  {}\n    \
                 notification_failure_criteria  u,c\n}}\n",
                service.description
            )?;
        }
    }
    Ok(())
}
