//! What hangs on what while something is wrong: which parent holds a problem back,
//! whether one is still undecided, and how long after its recovery its dependants
//! are waited for.

use super::{Machine, Member, NEVER, Node};
use crate::dependency::{Dependency, Target};
use rookery_plugins::{HostState, State, TimeMs};

/// A node that is silent for so many of its steps may be about to be DOWN, in
/// halves of a step.
const SUSPECT_HALF_STEPS: i64 = 3;
/// …but not before this, ms: some send several steps at a time.
const SUSPECT_MS_MIN: i64 = 5000;
/// A child is looked at again within so many of its steps after the parent's
/// recovery: the sample that was on its way, and the next.
const CHILD_STEPS: i64 = 2;

impl Machine {
    /// What is to blame for something: the first of the parents that are in a hard
    /// problem, up to the one that has none. `None`: itself.
    pub(super) fn root_of(&self, member: Member) -> Option<Member> {
        let mut way = vec![member];
        let mut at = member;
        while let Some(parent) = self.bad_parent(at) {
            if let Some(from) = way.iter().position(|m| *m == parent) {
                // A circle that goes by groups: somebody must be told all the same.
                let root = way[from..].iter().min().copied();
                return root.filter(|root| *root != member);
            }
            way.push(parent);
            at = parent;
        }
        (at != member).then_some(at)
    }

    fn bad_parent(&self, member: Member) -> Option<Member> {
        if let Member::Service(idx) = member {
            let node = self.services[idx as usize].node;
            if self.nodes[node as usize].state != HostState::Up {
                return Some(Member::Node(node));
            }
        }
        self.dependencies(member).find_map(|d| {
            let mut parents = self.parents(d, member).peekable();
            let first = parents.peek().copied()?;
            parents.all(|p| self.is_in_hard_problem(p)).then_some(first)
        })
    }

    fn dependencies(&self, member: Member) -> impl Iterator<Item = &Dependency> {
        let of = match member {
            Member::Node(i) => &self.nodes[i as usize].depends,
            Member::Service(idx) => &self.services[idx as usize].depends,
        };
        of.iter().filter_map(|i| self.rules.dependency(*i))
    }

    /// Those of a dependency's parents that are watched, but for itself.
    fn parents(&self, d: &Dependency, child: Member) -> impl Iterator<Item = Member> {
        let known = d.on.0.iter().filter_map(|t| self.find(t));
        known.filter(move |p| *p != child)
    }

    fn find(&self, target: &Target) -> Option<Member> {
        let node = *self.by_name.get(&target.node)?;
        match &target.service {
            None => Some(Member::Node(node)),
            Some(name) => self.nodes[node as usize].services.get(name).map(|s| Member::Service(*s)),
        }
    }

    fn is_in_hard_problem(&self, member: Member) -> bool {
        match member {
            Member::Node(i) => self.nodes[i as usize].state != HostState::Up,
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                matches!(s.hard_state, State::Critical | State::Unknown)
                    || self.is_in_hard_problem(Member::Node(s.node))
            }
        }
    }

    /// Whether it may soon turn out that something else is to blame: its node is
    /// overdue, a parent is, or a parent has a soft problem.
    pub(super) fn is_undecided(&self, member: Member, now_ms: TimeMs) -> bool {
        let mut parents = self.dependencies(member).flat_map(|d| self.parents(d, member));
        let own = match member {
            Member::Node(_) => false,
            Member::Service(idx) => {
                self.is_overdue(self.services[idx as usize].node as usize, now_ms)
            }
        };
        own || parents.any(|p| match p {
            Member::Node(i) => self.is_overdue(i as usize, now_ms),
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                s.state != State::Ok && !s.hard || self.is_overdue(s.node as usize, now_ms)
            }
        })
    }

    fn is_overdue(&self, i: usize, now_ms: TimeMs) -> bool {
        let node = &self.nodes[i];
        let Some(step) = self.step_of(node).filter(|_| node.state == HostState::Up) else {
            return false;
        };
        let seen = node.last_seen_ms.max(self.started_ms.unwrap_or(now_ms));
        let suspect = step.saturating_mul(SUSPECT_HALF_STEPS) / 2;
        // Where a node is DOWN sooner than that, half of the way.
        let floor = SUSPECT_MS_MIN.min(self.overdue_after(step) / 2);
        now_ms.saturating_sub(seen) > suspect.max(floor)
    }

    /// Whether what it depends on, or its own node, recovered so short a time ago
    /// that it may just not have been looked at again.
    pub(super) fn is_recovering(&self, member: Member, now_ms: TimeMs) -> bool {
        let (step, own) = match member {
            Member::Node(i) => (self.step_of(&self.nodes[i as usize]).unwrap_or(0), None),
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                (s.step_ms, Some(Member::Node(s.node)))
            }
        };
        let window = i64::try_from(self.settings.group_window_ms).unwrap_or(i64::MAX);
        let hold = step.saturating_mul(CHILD_STEPS).max(window);
        let parents = self.dependencies(member).flat_map(|d| self.parents(d, member));
        own.into_iter().chain(parents).any(|p| {
            let since = self.recovered_ms(p);
            // A clock that was set back must not hold anything up.
            since != NEVER && (0..hold).contains(&now_ms.saturating_sub(since))
        })
    }

    fn recovered_ms(&self, member: Member) -> TimeMs {
        match member {
            Member::Node(i) => self.nodes[i as usize].recovered_ms,
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                s.recovered_ms.max(self.nodes[s.node as usize].recovered_ms)
            }
        }
    }

    /// A node's fastest step, ms.
    pub(super) fn step_of(&self, node: &Node) -> Option<i64> {
        let steps = node.slots.iter().filter(|s| !s.retired && s.step_ms > 0);
        steps.map(|s| s.step_ms).min().or(match i64::try_from(node.step_ms) {
            Ok(0) | Err(_) => None,
            Ok(step) => Some(step),
        })
    }
}
