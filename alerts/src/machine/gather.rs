//! What is told together: problems wait for the group window, roots are found
//! before leaves, and what shares a cause becomes one incident.
//!
//! A problem that people are not told of yet is in `waiting`. Every second it is
//! asked what stands in its way ([`Gate`]); the first that is ready and has waited
//! for the window takes along all that are ready and share a node with it, or the
//! service and the group, or (nodes that do not report) the group; links of links,
//! too. Only those with the same contacts go together: nobody hears of what is not
//! for him. With a window of 0 everything is told at once, and by itself.

use super::{Machine, Member, NEVER};
use crate::output::Output;
use rookery_plugins::{HostState, State, TimeMs};
use std::collections::BTreeMap;

/// So many incidents that would begin in the same second are one.
const STORM_INCIDENTS: usize = 10;
/// So many nodes must go DOWN at a time, and be more than half of all, for the
/// collector itself to be suspected.
const BLIND_NODES_MIN: usize = 3;

/// Nobody waits longer than this for what may be to blame, ms: twenty minutes, in which
/// a node that is read every five is found DOWN.
const WAIT_MS_MAX: i64 = 1_200_000;

/// What stands between a problem and the people.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Gate {
    /// Nothing.
    Ready,
    /// It may be something else's fault: that is known soon.
    Wait,
    /// What it depends on is in a hard problem: that is told.
    Behind(Member),
    /// It is planned, of a group with a quorum, or out of its period.
    Quiet,
}

/// What goes together: who is told, and what they share.
type Key = (Vec<String>, Share);

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum Share {
    Node(u32),
    Group(String, Option<String>),
    /// A storm, or a collector that sees nothing.
    All,
}

impl Machine {
    /// Has a problem wait to be told.
    pub(super) fn wait_to_tell(&mut self, member: Member, now_ms: TimeMs, out: &mut Vec<Output>) {
        self.begin_flexible(member, now_ms, out);
        self.waiting.entry(member).or_insert(now_ms);
    }

    /// Whether it is a hard problem of which nobody was notified, silenced or not.
    pub(super) fn is_untold(&self, member: Member) -> bool {
        match member {
            Member::Node(i) => {
                let node = &self.nodes[i as usize];
                !node.gone && node.state != HostState::Up && node.incident.is_none()
            }
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                let is_bad = s.state != State::Ok && s.hard && !s.gone;
                is_bad && s.notified.is_none() && !s.flap.active
            }
        }
    }

    pub(super) fn gate(&self, member: Member, now_ms: TimeMs) -> Gate {
        if self.is_quiet(member, now_ms) {
            return Gate::Quiet;
        }
        if let Some(root) = self.root_of(member) {
            return Gate::Behind(root);
        }
        // What it depended on is well: the next tick finds it DOWN, which is another word
        // for those who want to hear of nodes that are.
        let is_unreachable = matches!(member, Member::Node(i)
            if self.nodes[i as usize].state == HostState::Unreachable);
        if is_unreachable || self.is_undecided(member, now_ms) || self.is_recovering(member, now_ms)
        {
            return Gate::Wait;
        }
        Gate::Ready
    }

    /// Whether nobody is to be told now, whatever else is.
    pub(super) fn is_quiet(&self, member: Member, now_ms: TimeMs) -> bool {
        let is_left_out = match member {
            Member::Node(i) => {
                let node = &self.nodes[i as usize];
                node.silenced || node.quorum.is_some() || node.acknowledged.is_some()
            }
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                s.quorum.is_some() || s.acknowledged.is_some()
            }
        };
        is_left_out || self.is_outside_period(member, now_ms) || self.is_planned(member, now_ms)
    }

    /// Whether its period is closed.
    pub(super) fn is_outside_period(&self, member: Member, now_ms: TimeMs) -> bool {
        let period = match member {
            Member::Node(i) => &self.nodes[i as usize].period,
            Member::Service(idx) => &self.services[idx as usize].period,
        };
        period.as_ref().is_some_and(|p| !p.contains(now_ms))
    }

    /// Whether it is in a downtime.
    pub(super) fn is_planned(&self, member: Member, now_ms: TimeMs) -> bool {
        match member {
            Member::Node(i) => self.downtime(i as usize, None, now_ms).is_some(),
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                self.downtime(s.node as usize, Some(&s.name), now_ms).is_some()
            }
        }
    }

    /// Tells of what has waited long enough.
    pub(super) fn tell_waiting(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        if self.waiting.is_empty() {
            return;
        }
        let mut over = Vec::new();
        let mut ready: Vec<(Member, bool)> = Vec::new();
        let window = i64::try_from(self.settings.group_window_ms).unwrap_or(i64::MAX);
        for (member, since) in &self.waiting {
            if !self.is_untold(*member) {
                over.push(*member);
                continue;
            }
            // A clock that was set back must not hold anything up.
            let waited = now_ms.saturating_sub(*since);
            match self.gate(*member, now_ms) {
                Gate::Ready => ready.push((*member, waited >= window || waited < 0)),
                // Whatever it hangs on says nothing any more.
                Gate::Wait if waited >= WAIT_MS_MAX => ready.push((*member, true)),
                // What is silenced waits for the silence's end: there may be no further
                // sample to tell of it.
                Gate::Quiet => drop(self.silenced.insert(*member)),
                _ => {}
            }
        }
        for member in over {
            self.silenced.remove(&member);
            self.waiting.remove(&member);
        }
        if !ready.iter().any(|(_, is_ripe)| *is_ripe) {
            return;
        }
        for cluster in self.clusters(&ready) {
            self.tell_together(&cluster, now_ms, out);
        }
    }

    /// Those that are told now, by what they share.
    fn clusters(&self, ready: &[(Member, bool)]) -> Vec<Vec<Member>> {
        if self.settings.group_window_ms == 0 {
            return ready.iter().map(|(m, _)| vec![*m]).collect();
        }
        let is_blind = self.is_blind(ready);
        let mut of: Vec<usize> = (0..ready.len()).collect();
        let mut first: BTreeMap<Key, usize> = BTreeMap::new();
        for (i, (member, _)) in ready.iter().enumerate() {
            let is_node = matches!(member, Member::Node(_));
            let all = (is_blind && is_node).then(|| (self.contacts_of(*member), Share::All));
            for key in self.keys(*member).into_iter().chain(all) {
                let other = *first.entry(key).or_insert(i);
                let (a, b) = (find(&mut of, i), find(&mut of, other));
                of[a.max(b)] = a.min(b);
            }
        }
        let mut by_root: BTreeMap<usize, (Vec<Member>, bool)> = BTreeMap::new();
        for (i, (member, is_ripe)) in ready.iter().enumerate() {
            let (members, ripe) = by_root.entry(find(&mut of, i)).or_default();
            members.push(*member);
            *ripe |= is_ripe;
        }
        let ripe: Vec<Vec<Member>> =
            by_root.into_values().filter(|(_, ripe)| *ripe).map(|(m, _)| m).collect();
        if ripe.len() <= STORM_INCIDENTS {
            return ripe;
        }
        let mut storm: BTreeMap<Vec<String>, Vec<Member>> = BTreeMap::new();
        for member in ripe.into_iter().flatten() {
            storm.entry(self.contacts_of(member)).or_default().push(member);
        }
        storm.into_values().collect()
    }

    /// Whether so many nodes fall silent together that it may be the collector.
    pub(super) fn is_blind(&self, ready: &[(Member, bool)]) -> bool {
        let n_down = ready.iter().filter(|(m, _)| matches!(m, Member::Node(_))).count();
        n_down >= BLIND_NODES_MIN
            && n_down * 2 > self.nodes.iter().filter(|n| !n.gone && n.since_ms != NEVER).count()
    }

    pub(super) fn keys(&self, member: Member) -> Vec<Key> {
        let (node, service) = match member {
            Member::Node(i) => (i, None),
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                (s.node, Some(s.name.clone()))
            }
        };
        let contacts = self.contacts_of(member);
        let group = &self.nodes[node as usize].group;
        let of_group =
            (!group.is_empty()).then(|| (contacts.clone(), Share::Group(group.clone(), service)));
        of_group.into_iter().chain([(contacts, Share::Node(node))]).collect()
    }

    pub(super) fn contacts_of(&self, member: Member) -> Vec<String> {
        match member {
            Member::Node(i) => self.nodes[i as usize].contacts.clone(),
            Member::Service(idx) => self.services[idx as usize].contacts.clone(),
        }
    }
}

fn find(of: &mut [usize], mut i: usize) -> usize {
    while of[i] != i {
        of[i] = of[of[i]];
        i = of[i];
    }
    i
}
