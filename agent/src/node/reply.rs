//! What is answered to a line: munin-node's words, its oddities included.
//!
//! A verb is known by how the line begins, in any case, and words after what
//! it needs are ignored (`fetchload`, `list HOST extra`). `list`, `cap` and
//! `version` end with their line, the others with a dot.

use super::{Node, services};
use crate::plugin::env::Asker;
use crate::plugin::exec::{Ending, Ran};
use crate::plugin::task::Plugin;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::{Instant, sleep};

const UNKNOWN_COMMAND: &str =
    "# Unknown command. Try cap, list, nodes, config, fetch, version or quit\n";
const UNKNOWN_SERVICE: &str = "# Unknown service\n.\n";
const TLS_WANTED: &str = "# I require TLS. Closing.\n";
/// After a start `list` waits for the plugins' first `config` this long.
const CONFIGURED_MAX: Duration = Duration::from_secs(5);
const CONFIGURED_POLL: Duration = Duration::from_millis(50);

/// What to do about a line.
pub(super) enum Step {
    /// Answer.
    Say(Vec<u8>),
    /// Answer, and hang up.
    SayAndLeave(&'static str),
    /// Hang up.
    Leave,
    /// Begin TLS.
    StartTls,
}

/// A client, and what it has said that it understands.
pub(super) struct Client {
    /// Within TLS.
    pub(super) secure: bool,
    multigraph: bool,
    dirtyconfig: bool,
    /// Ours, not Munin's: values come with the time of their reading, to the
    /// millisecond (`a.value 1795176000.250:42`), so that who asks twice can
    /// work out a counter's rate exactly.
    times: bool,
    asker: Asker,
}

impl Client {
    pub(super) fn new(peer: IpAddr) -> Client {
        let master = peer.to_canonical().to_string();
        Client {
            secure: false,
            multigraph: false,
            dirtyconfig: false,
            times: false,
            asker: Asker { master, dirtyconfig: false },
        }
    }

    /// The answer to a line without its end.
    pub(super) async fn answer(&mut self, line: &str, node: &Node) -> Step {
        let lower = line.to_ascii_lowercase();
        let starttls = node.tls.is_some() && !self.secure && lower.trim_end() == "starttls";
        if node.tls_required && !self.secure && !starttls {
            return Step::SayAndLeave(TLS_WANTED);
        }
        let rest = |verb: &str| line[verb.len()..].trim();
        let text = if starttls {
            return Step::StartTls;
        } else if lower.starts_with("list") {
            self.list(rest("list"), node).await
        } else if let Some(words) = lower.strip_prefix("cap") {
            self.cap(words, node)
        } else if lower.starts_with("quit") || lower.starts_with('.') {
            return Step::Leave;
        } else if lower.starts_with("version") {
            format!("munins node on {} version: {}\n", node.name, env!("CARGO_PKG_VERSION"))
        } else if lower.starts_with("nodes") {
            nodes(node)
        } else if lower.starts_with("fetch") {
            return Step::Say(self.service(rest("fetch"), node, false).await);
        } else if lower.starts_with("config") {
            return Step::Say(self.service(rest("config"), node, true).await);
        } else if let Some((hold, since_s)) = node.hold.as_ref().zip(spoolfetch(&lower)) {
            hold.text_since(since_s, self.times) + ".\n"
        } else {
            UNKNOWN_COMMAND.to_owned()
        };
        Step::Say(text.into_bytes())
    }

    fn cap(&mut self, words: &str, node: &Node) -> String {
        let words: Vec<&str> = words.split_whitespace().collect();
        self.multigraph = words.contains(&"multigraph");
        self.dirtyconfig = words.contains(&"dirtyconfig");
        self.times = words.contains(&"times");
        // As in Munin: what plugins were told once in a session holds.
        self.asker.dirtyconfig |= self.dirtyconfig;
        // A client that does not know the word has never asked for it.
        let times = if self.times { " times" } else { "" };
        let spool = if node.hold.is_some() { " spool" } else { "" };
        format!("cap multigraph dirtyconfig{spool}{times}\n")
    }

    async fn list(&self, host: &str, node: &Node) -> String {
        until_configured(node).await;
        let charset = |c: char| c.is_ascii_alphanumeric() || c == '.' || c == '-';
        let end = host.find(|c| !charset(c)).unwrap_or(host.len());
        let host = if end == 0 { node.name.clone() } else { host[..end].to_ascii_lowercase() };
        let own = host.eq_ignore_ascii_case(&node.name);
        let mut names: Vec<String> = Vec::new();
        if own {
            let probes = services::of_probes(node);
            let shown = probes.into_iter().filter(|(_, all)| self.multigraph || all.len() == 1);
            names.extend(shown.map(|(name, _)| name));
        }
        for plugin in node.plugins.all() {
            let (multigraph, dirty) = plugin.capabilities();
            let understood = (self.multigraph || !multigraph) && (self.dirtyconfig || !dirty);
            let here = match plugin.host() {
                Some(other) => other.eq_ignore_ascii_case(&host),
                None => own,
            };
            if understood && here && !plugin.is_silent() {
                names.push(plugin.name.clone());
            }
        }
        names.sort();
        names.join(" ") + "\n"
    }

    /// `config` or `fetch` of a probe's service or a plugin.
    async fn service(&self, words: &str, node: &Node, config: bool) -> Vec<u8> {
        let name = words.split_whitespace().next().unwrap_or("");
        if let Some(services) = services::called(&services::of_probes(node), name) {
            return services::text(services, config, self.times).into_bytes();
        }
        let Some(plugin) = node.plugins.get(name) else { return UNKNOWN_SERVICE.into() };
        let known = if config { known_config(&plugin) } else { None };
        let text = match known {
            Some(text) => text,
            None => {
                let verb = config.then_some("config");
                let ran = plugin.run(&node.context, verb, &self.asker).await;
                match failure(&ran) {
                    Some(reply) => return reply.into(),
                    None => ran.stdout,
                }
            }
        };
        plugin_text(&text)
    }
}

/// The agent's own copy of a `config`, which it renews when something may have
/// changed; not one that carries values, which would be old.
fn known_config(plugin: &Arc<Plugin>) -> Option<Vec<u8>> {
    let (_, dirty) = plugin.capabilities();
    plugin.config_text().filter(|_| !dirty && plugin.error().is_none())
}

/// A list that lacked plugins would make a master drop their graphs.
async fn until_configured(node: &Node) {
    let deadline = Instant::now() + CONFIGURED_MAX;
    while !node.plugins.are_configured() && Instant::now() < deadline {
        sleep(CONFIGURED_POLL).await;
    }
}

/// The epoch of `spoolfetch EPOCH`, s.
fn spoolfetch(line: &str) -> Option<i64> {
    let rest = line.strip_prefix("spoolfetch ")?;
    let digits = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
    rest[..digits].parse().ok()
}

fn nodes(node: &Node) -> String {
    let own = node.name.to_ascii_lowercase();
    let mut others: Vec<String> =
        node.plugins.all().iter().filter_map(|p| p.host()).map(|h| h.to_lowercase()).collect();
    others.sort();
    others.dedup();
    std::iter::once(own).chain(others).map(|n| n + "\n").collect::<String>() + ".\n"
}

fn failure(ran: &Ran) -> Option<&'static str> {
    match ran.ending {
        Ending::Exit(0) => None,
        Ending::TimedOut => Some("# Timed out\n.\n"),
        _ => Some("# Bad exit\n.\n"),
    }
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
    use proptest::prelude::*;

    #[test]
    fn a_plugins_lines_cannot_end_the_answer() {
        assert_eq!(plugin_text(b"a.value 1\r\n\r\n.\nb.value 2"), b"a.value 1\nb.value 2\n.\n");
        assert_eq!(plugin_text(b""), b".\n");
    }

    proptest! {
        #[test]
        fn an_answer_ends_once_and_at_its_end(text in proptest::collection::vec(
            prop_oneof![Just(b'.'), Just(b'\n'), Just(b'\r'), any::<u8>()], 0..60)) {
            let out = plugin_text(&text);
            let lines: Vec<&[u8]> = out.split(|b| *b == b'\n').collect();
            let dots = lines.iter().filter(|l| **l == b".").count();
            prop_assert_eq!(dots, 1);
            prop_assert_eq!(&lines[lines.len() - 2..], &[&b"."[..], &b""[..]]);
        }
    }
}
