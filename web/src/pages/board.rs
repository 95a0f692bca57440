//! How nodes and groups are, worked out once for a page: all problems are asked for
//! together, not by service.

use super::words::telling;
use crate::app::App;
use rookery_collector::history::{NodeInfo, Problem};
use rookery_plugins::{HostState, State};
use std::collections::{BTreeMap, HashMap};

/// So many nodes of a group tell which services it has.
const ASKED_NODES: usize = 12;

/// All that is wrong, by node.
pub struct Board {
    problems: Vec<Problem>,
    by_node: HashMap<String, Vec<usize>>,
}

/// How a node is, with its services.
pub struct Health {
    /// UP or DOWN.
    pub host: HostState,
    /// The worst of its services; CRITICAL when it is down.
    pub worst: State,
    /// Its worst service, if any is not OK.
    pub service: Option<String>,
    /// Services that are not OK.
    pub n_bad: usize,
}

impl Board {
    /// As it is now.
    pub fn new(app: &App) -> Board {
        let problems = app.states.problems();
        let mut by_node: HashMap<String, Vec<usize>> = HashMap::new();
        for (i, p) in problems.iter().enumerate() {
            by_node.entry(p.node.clone()).or_default().push(i);
        }
        Board { problems, by_node }
    }

    /// The newest first; what somebody handles already comes last.
    pub fn newest_first(&self) -> Vec<&Problem> {
        let mut all: Vec<&Problem> = self.problems.iter().collect();
        all.sort_by_key(|p| (p.state.is_handled(), std::cmp::Reverse(p.state.since_ms)));
        all
    }

    fn of<'a>(&'a self, node: &str) -> impl Iterator<Item = &'a Problem> {
        self.by_node.get(node).into_iter().flatten().map(|i| &self.problems[*i])
    }

    /// Of one node.
    pub fn health(&self, app: &App, node: &str) -> Health {
        let (host, _) = app.states.host_state(node);
        let services = || self.of(node).filter(|p| p.service.is_some());
        let worst = services().fold(State::Ok, |worst, p| worst.worst(p.state.state));
        let service = services().max_by_key(|p| p.state.state.severity());
        Health {
            host,
            worst: if host == HostState::Down { State::Critical } else { worst },
            service: service.and_then(|p| p.service.clone()),
            n_bad: services().count(),
        }
    }
}

/// A group with its nodes.
pub struct Group<'a> {
    /// Empty: those without.
    pub name: &'a str,
    /// All nodes in it and in the groups in it.
    pub nodes: Vec<&'a NodeInfo>,
    /// The worst node's state.
    pub worst: State,
    /// The worst node and how it is; `None`: all are well.
    pub bad: Option<(&'a NodeInfo, Health)>,
    /// Nodes that are not well.
    pub n_bad: usize,
    /// Nodes that are down.
    pub n_down: usize,
}

/// Nodes by the next part of their group's name below `above` (empty: the whole
/// fleet), the worst group first. `a;b` is a group in `a`.
pub fn groups<'a>(app: &App, board: &Board, nodes: &'a [NodeInfo], above: &str) -> Vec<Group<'a>> {
    let mut by_name: BTreeMap<&str, Vec<&NodeInfo>> = BTreeMap::new();
    for node in nodes {
        if let Some(name) = below(&node.group, above) {
            by_name.entry(name).or_default().push(node);
        }
    }
    let mut out: Vec<Group> = by_name
        .into_iter()
        .map(|(name, nodes)| {
            let all: Vec<(&NodeInfo, Health)> =
                nodes.iter().map(|n| (*n, board.health(app, &n.name))).collect();
            let n_bad = all.iter().filter(|(_, h)| h.worst != State::Ok).count();
            let n_down = all.iter().filter(|(_, h)| h.host == HostState::Down).count();
            let bad = all
                .into_iter()
                .filter(|(_, h)| h.worst != State::Ok)
                .max_by_key(|(_, h)| (h.worst.severity(), h.host == HostState::Down, h.n_bad));
            let worst = bad.as_ref().map_or(State::Ok, |(_, h)| h.worst);
            Group { name, nodes, worst, bad, n_bad, n_down }
        })
        .collect();
    out.sort_by_key(|g| (g.name.is_empty(), std::cmp::Reverse((g.worst.severity(), g.n_bad))));
    out
}

/// The name of the group right below `above` that a group is in, or is.
fn below<'a>(group: &'a str, above: &str) -> Option<&'a str> {
    let start = match above {
        "" => 0,
        _ => group.strip_prefix(above)?.strip_prefix(';').map(|_| above.len() + 1)?,
    };
    let end = group[start..].find(';').map_or(group.len(), |at| start + at);
    Some(&group[..end])
}

/// The services that tell most of a group: those that most of its nodes have.
pub fn telling_of(app: &App, nodes: &[&NodeInfo]) -> Vec<String> {
    let asked = &nodes[..nodes.len().min(ASKED_NODES)];
    let mut names: BTreeMap<String, usize> = BTreeMap::new();
    for node in asked {
        for (spec, active) in app.history.specs(&node.name).unwrap_or_default() {
            if active && !spec.hidden {
                *names.entry(spec.name.clone()).or_default() += 1;
            }
        }
    }
    let most = names.values().copied().max().unwrap_or(0);
    let usual: Vec<&str> =
        names.iter().filter(|(_, n)| **n * 2 >= most).map(|(name, _)| name.as_str()).collect();
    telling(&usual)
}

#[cfg(test)]
mod tests {
    use super::below;

    #[test]
    fn groups_lie_in_groups() {
        assert_eq!(below("web", ""), Some("web"));
        assert_eq!(below("eu;web", ""), Some("eu"));
        assert_eq!(below("eu;web", "eu"), Some("eu;web"));
        assert_eq!(below("eu;web;blue", "eu"), Some("eu;web"));
        assert_eq!(below("eu", "eu"), None, "it is the group itself");
        assert_eq!(below("europe;web", "eu"), None);
        assert_eq!(below("", ""), Some(""));
    }
}
