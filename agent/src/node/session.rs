//! One client's dialogue.

use super::{IDLE_MAX, LINE_BYTES_MAX, Node};
use crate::plugin::exec::{Ending, Ran};
use crate::sampler::LiveGroup;
use rookery_plugins::munin::{render_config, render_timed_values, render_values};
use rookery_plugins::{ServiceSpec, TimeMs, Value};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::io;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpStream;
use tokio::time::timeout;

const UNKNOWN_COMMAND: &str =
    "# Unknown command. Try cap, list, nodes, config, fetch, version or quit\n";
const UNKNOWN_SERVICE: &str = "# Unknown service\n.\n";

/// A service and the newest value of each of its fields, with its time.
type Served = (ServiceSpec, Vec<Newest>);

/// A field's newest value and its time.
type Newest = Option<(TimeMs, Value)>;

/// What the client has said it understands.
#[derive(Clone, Copy, Debug, Default)]
struct Caps {
    multigraph: bool,
    dirtyconfig: bool,
    /// Ours, not Munin's: values come with the time of their reading, to the
    /// millisecond (`a.value 1795176000.250:42`), so that who asks twice can
    /// work out a counter's rate exactly.
    times: bool,
}

/// Speaks until the client leaves.
pub(super) async fn run(socket: TcpStream, node: &Node) -> io::Result<()> {
    let mut socket = BufReader::new(socket);
    let mut caps = Caps::default();
    let banner = format!("# munin node at {}\n", node.name);
    socket.write_all(banner.as_bytes()).await?;
    let mut line = Vec::new();
    loop {
        line.clear();
        let mut limited = (&mut socket).take(LINE_BYTES_MAX as u64);
        let read = timeout(IDLE_MAX, limited.read_until(b'\n', &mut line)).await;
        match read {
            Ok(Ok(n)) if n > 0 && line.ends_with(b"\n") => {}
            Ok(Err(e)) => return Err(e),
            // The end, silence for too long, or a line without end.
            _ => return Ok(()),
        }
        let text = String::from_utf8_lossy(&line);
        let Some(reply) = reply(text.trim(), node, &mut caps).await else { return Ok(()) };
        timeout(IDLE_MAX, socket.write_all(&reply)).await??;
    }
}

/// The answer to a line; `None`: the client has said good-bye. As munin-node
/// does, a verb is known by how the line begins, in any case.
async fn reply(line: &str, node: &Node, caps: &mut Caps) -> Option<Vec<u8>> {
    let lower = line.to_ascii_lowercase();
    let rest = |verb: &str| line[verb.len()..].trim();
    let text = if lower == "." || lower.starts_with("quit") {
        return None;
    } else if lower.starts_with("list") {
        list(rest("list"), node, *caps)
    } else if let Some(words) = lower.strip_prefix("cap") {
        let words: Vec<&str> = words.split_whitespace().collect();
        caps.multigraph = words.contains(&"multigraph");
        caps.dirtyconfig = words.contains(&"dirtyconfig");
        caps.times = words.contains(&"times");
        // A client that does not know the word has never asked for it.
        let times = if caps.times { " times" } else { "" };
        format!("cap multigraph dirtyconfig{times}\n")
    } else if lower.starts_with("nodes") {
        format!("{}\n.\n", node.name.to_lowercase())
    } else if lower.starts_with("version") {
        format!("munins node on {} version: {}\n", node.name, env!("CARGO_PKG_VERSION"))
    } else if lower.starts_with("config") {
        return Some(service(rest("config"), node, true, *caps).await);
    } else if lower.starts_with("fetch") {
        return Some(service(rest("fetch"), node, false, *caps).await);
    } else {
        UNKNOWN_COMMAND.to_owned()
    };
    Some(text.into_bytes())
}

/// Services of probes, those with a nested name below their root.
fn probe_services(node: &Node) -> BTreeMap<String, Vec<Served>> {
    let mut merged: BTreeMap<String, Served> = BTreeMap::new();
    node.live.with(|groups| {
        for group in groups.values() {
            for (spec, values) in with_values(group) {
                match merged.get_mut(&spec.name) {
                    None => {
                        merged.insert(spec.name.clone(), (spec.clone(), values));
                    }
                    Some((known, known_values)) => {
                        known.fields.extend(spec.fields.iter().cloned());
                        known_values.extend(values);
                    }
                }
            }
        }
    });
    let names: Vec<String> = merged.keys().cloned().collect();
    let mut roots: BTreeMap<String, Vec<Served>> = BTreeMap::new();
    for (name, entry) in merged {
        let parent = name.match_indices('.').map(|(at, _)| &name[..at]);
        let root = parent.into_iter().find(|p| names.iter().any(|n| n == p));
        roots.entry(root.unwrap_or(&name).to_owned()).or_default().push(entry);
    }
    roots
}

fn with_values(group: &LiveGroup) -> Vec<(&ServiceSpec, Vec<Newest>)> {
    let Some(row) = &group.row else { return vec![] };
    let at: std::collections::HashMap<(&str, &str), usize> = row
        .layout
        .fields()
        .iter()
        .enumerate()
        .map(|(i, f)| ((f.service.as_str(), f.field.as_str()), i))
        .collect();
    let value = |spec: &ServiceSpec, field: &str| {
        let value = at.get(&(spec.name.as_str(), field)).and_then(|i| row.cells.get(*i));
        value.map(|v| (row.time_ms, v))
    };
    let of = |spec: &ServiceSpec| spec.fields.iter().map(|f| value(spec, &f.name)).collect();
    group.specs.iter().map(|spec| (spec, of(spec))).collect()
}

fn list(host: &str, node: &Node, caps: Caps) -> String {
    let host = host.split_whitespace().next().unwrap_or("");
    if !host.is_empty() && !host.eq_ignore_ascii_case(&node.name) {
        return "\n".to_owned();
    }
    let mut names: Vec<String> = probe_services(node)
        .into_iter()
        .filter(|(_, services)| caps.multigraph || services.len() == 1)
        .map(|(name, _)| name)
        .collect();
    for plugin in node.plugins.all() {
        let (multigraph, dirty) = plugin.capabilities();
        if (caps.multigraph || !multigraph) && (caps.dirtyconfig || !dirty) {
            names.push(plugin.name.clone());
        }
    }
    names.sort();
    names.join(" ") + "\n"
}

/// `config` or `fetch` of a probe's service or a plugin.
async fn service(name: &str, node: &Node, config: bool, caps: Caps) -> Vec<u8> {
    let name = name.split_whitespace().next().unwrap_or("");
    let probes = probe_services(node);
    if let Some((_, services)) = probes.iter().find(|(n, _)| n.eq_ignore_ascii_case(name)) {
        return probe_text(services, config, caps.times).into_bytes();
    }
    let Some(plugin) = node.plugins.get(name) else { return UNKNOWN_SERVICE.into() };
    let known = if config { plugin.config_text() } else { plugin.fresh_fetch() };
    let text = match known {
        Some(text) => text,
        None => {
            let ran = plugin.run(&node.context, config.then_some("config")).await;
            match failure(&ran) {
                Some(reply) => return reply.into(),
                None => ran.stdout,
            }
        }
    };
    plugin_text(&text)
}

fn failure(ran: &Ran) -> Option<&'static str> {
    match ran.ending {
        Ending::Exit(0) => None,
        Ending::TimedOut => Some("# Timed out\n.\n"),
        _ => Some("# Bad exit\n.\n"),
    }
}

fn probe_text(services: &[Served], config: bool, with_times: bool) -> String {
    let mut out = String::new();
    for (spec, values) in services {
        if services.len() > 1 {
            let _ = writeln!(out, "multigraph {}", spec.name);
        }
        if config {
            render_config(spec, &mut out);
        } else {
            let fields = spec.fields.iter().zip(values);
            let known = fields.filter_map(|(f, v)| v.map(|(t, v)| (f.name.as_str(), t, v)));
            if with_times {
                render_timed_values(known, &mut out);
            } else {
                render_values(known.map(|(f, _, v)| (f, v)), &mut out);
            }
        }
    }
    out.push_str(".\n");
    out
}

/// A plugin's own lines: LF only, no blank lines, and no `.` of its own, which
/// would end the answer early.
fn plugin_text(text: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(text.len() + 2);
    for line in text.split(|b| matches!(b, b'\n' | b'\r')) {
        if !line.is_empty() && line != b"." {
            out.extend_from_slice(line);
            out.push(b'\n');
        }
    }
    out.extend_from_slice(b".\n");
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plugins_lines_cannot_end_the_answer() {
        assert_eq!(plugin_text(b"a.value 1\r\n\r\n.\nb.value 2"), b"a.value 1\nb.value 2\n.\n");
        assert_eq!(plugin_text(b""), b".\n");
    }
}
