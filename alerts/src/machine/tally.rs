//! How a group with a quorum stands: who of it counts as bad, and who is told.

use super::lasting::Lasting;
use super::pool::Key;
use super::{Machine, Member};
use crate::quorum::Quorum;
use rookery_plugins::{HostState, State, TimeMs};
use std::collections::{BTreeMap, BTreeSet};

/// The most nodes that a message names.
const NAMED_MAX: usize = 10;

/// How a member of a pool stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stands {
    Well,
    /// It counts. Also where somebody is on it: its capacity is gone all the same.
    Bad(State),
    /// It is bad in a downtime or outside of its period, or something else may be to
    /// blame: it does not make its pool a problem, but one that is known is not over by
    /// that.
    Silenced,
}

/// A pool as it stands.
pub(super) struct Tally<'a> {
    pub quorum: Quorum,
    pub n_all: usize,
    pub bad: Vec<&'a str>,
    pub n_silenced: usize,
    pub worst: State,
    contacts: BTreeSet<String>,
    /// Problems of some member go to all contacts.
    to_all: bool,
    pub labels: BTreeMap<String, String>,
    pub lasting: Lasting,
}

impl<'a> Tally<'a> {
    fn new(quorum: Quorum) -> Tally<'a> {
        Tally {
            quorum,
            n_all: 0,
            bad: Vec::new(),
            n_silenced: 0,
            worst: State::Ok,
            contacts: BTreeSet::new(),
            to_all: false,
            labels: BTreeMap::new(),
            lasting: Lasting::default(),
        }
    }

    fn add(
        &mut self,
        node: &'a str,
        stands: Stands,
        (contacts, labels): (&[String], &BTreeMap<String, String>),
        lasting: &Lasting,
    ) {
        self.n_all += 1;
        let state = match stands {
            Stands::Well => return,
            Stands::Silenced => {
                self.n_silenced += 1;
                return;
            }
            Stands::Bad(state) => state,
        };
        self.bad.push(node);
        self.worst = self.worst.worst(state);
        self.to_all |= contacts.is_empty();
        self.contacts.extend(contacts.iter().cloned());
        self.labels.extend(labels.clone());
        self.lasting.merge(lasting);
    }

    /// Whether its problem begins.
    pub fn is_reached(&self) -> bool {
        self.quorum.is_reached(self.bad.len(), self.n_all)
    }

    /// Whether one that is known goes on.
    pub fn is_still_reached(&self) -> bool {
        self.quorum.is_reached(self.bad.len() + self.n_silenced, self.n_all)
    }

    /// Whether nothing at all is wrong.
    pub fn is_well(&self) -> bool {
        self.bad.is_empty() && self.n_silenced == 0
    }

    /// Who is notified; none by name: all.
    pub fn contacts(&self) -> Vec<String> {
        if self.to_all { Vec::new() } else { self.contacts.iter().cloned().collect() }
    }

    /// `12 of 50 nodes: web1, web2 and 10 more`.
    pub fn text(&self) -> String {
        if self.bad.is_empty() && self.n_silenced > 0 {
            return format!("{} of {} nodes, all silenced", self.n_silenced, self.n_all);
        }
        if self.bad.is_empty() {
            return format!("all {} nodes are well", self.n_all);
        }
        let named = self.bad[..self.bad.len().min(NAMED_MAX)].join(", ");
        let more = match self.bad.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        format!("{} of {} nodes: {named}{more}", self.bad.len(), self.n_all)
    }
}

impl Machine {
    /// All pools. What a rule has `enabled = false` for is of none.
    pub(super) fn tallies(&self, now_ms: TimeMs) -> BTreeMap<Key, Tally<'_>> {
        let mut tallies: BTreeMap<Key, Tally<'_>> = BTreeMap::new();
        for (i, node) in self.nodes.iter().enumerate().filter(|(_, n)| !n.gone) {
            if let Some(quorum) = node.quorum.filter(|_| !node.silenced) {
                let is_bad = node.state == HostState::Down;
                let member = Member::Node(i as u32);
                let stands = self.stands_in_pool(member, is_bad, State::Critical, now_ms);
                let tally =
                    tallies.entry((node.group.clone(), None)).or_insert_with(|| Tally::new(quorum));
                tally.add(&node.name, stands, (&node.contacts, &node.labels), &node.lasting);
            }
            for idx in node.services.values() {
                let s = &self.services[*idx as usize];
                let Some(quorum) = s.quorum else { continue };
                let is_bad = node.state == HostState::Up && s.hard_state != State::Ok;
                let member = Member::Service(*idx);
                let stands = self.stands_in_pool(member, is_bad, s.hard_state, now_ms);
                let tally = tallies
                    .entry((node.group.clone(), Some(s.name.clone())))
                    .or_insert_with(|| Tally::new(quorum));
                tally.add(&node.name, stands, (&s.contacts, &s.labels), &s.lasting);
            }
        }
        tallies
    }

    fn stands_in_pool(&self, member: Member, is_bad: bool, state: State, now_ms: TimeMs) -> Stands {
        if !is_bad {
            return Stands::Well;
        }
        // What is not to blame, or may not be, begins nothing and ends nothing.
        let is_left_out = !self.is_to_blame(member, now_ms)
            || self.is_planned(member, now_ms)
            || self.is_outside_period(member, now_ms);
        if is_left_out { Stands::Silenced } else { Stands::Bad(state) }
    }

    /// Whether nothing else is, or may soon be, the cause.
    fn is_to_blame(&self, member: Member, now_ms: TimeMs) -> bool {
        self.root_of(member).is_none()
            && !self.is_undecided(member, now_ms)
            && !self.is_recovering(member, now_ms)
    }
}
