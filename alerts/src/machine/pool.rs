//! Groups with a quorum: what some nodes of many have is told once, of the group,
//! and only when it is many of them.
//!
//! A pool is a group's nodes that a rule with `quorum` speaks of: those that are
//! DOWN, or those of whose service a hard problem is known. Looked at once a tick.
//! What is in downtime does not count.

use super::{Machine, Member, incident_id};
use crate::output::{
    Incident, Notice, NoticeKind, Output, RecordState, StateRecord, Status, Transition,
    TransitionKind,
};
use crate::quorum::Quorum;
use rookery_plugins::{HostState, State, TimeMs};
use std::collections::{BTreeMap, BTreeSet};

/// A pool that was told of is well again when it was below its quorum so long, or
/// at once when nothing is wrong in it any more, ms: else it would flap.
const CALM_MS: TimeMs = 300_000;
/// The most nodes that a message names.
const NAMED_MAX: usize = 10;

/// A group, and the service; `None`: its nodes themselves.
type Key = (String, Option<String>);

/// What people were told of a pool.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub incident: Incident,
    /// Since when it is below its quorum.
    calm_since_ms: Option<TimeMs>,
}

impl Pool {
    pub(super) fn new(incident: Incident) -> Pool {
        Pool { incident, calm_since_ms: None }
    }
}

/// A pool as it stands.
struct Tally<'a> {
    quorum: Quorum,
    n_all: usize,
    bad: Vec<&'a str>,
    worst: State,
    contacts: BTreeSet<String>,
    /// Somebody in it is told to all contacts.
    to_all: bool,
    labels: BTreeMap<String, String>,
}

impl<'a> Tally<'a> {
    fn new(quorum: Quorum) -> Tally<'a> {
        Tally {
            quorum,
            n_all: 0,
            bad: Vec::new(),
            worst: State::Ok,
            contacts: BTreeSet::new(),
            to_all: false,
            labels: BTreeMap::new(),
        }
    }

    fn add(
        &mut self,
        node: &'a str,
        state: State,
        contacts: &[String],
        labels: &BTreeMap<String, String>,
    ) {
        self.n_all += 1;
        if state == State::Ok {
            return;
        }
        self.bad.push(node);
        self.worst = self.worst.worst(state);
        self.to_all |= contacts.is_empty();
        self.contacts.extend(contacts.iter().cloned());
        self.labels.extend(labels.clone());
    }

    /// `12 of 50 nodes: web1, web2 and 10 more`.
    fn text(&self) -> String {
        let named = self.bad[..self.bad.len().min(NAMED_MAX)].join(", ");
        let more = match self.bad.len().saturating_sub(NAMED_MAX) {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        format!("{} of {} nodes: {named}{more}", self.bad.len(), self.n_all)
    }
}

impl Machine {
    /// Tells of pools that have reached their quorum, and of those that are well.
    pub(super) fn judge_pools(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        if self.pools.is_empty() && !self.has_quorums() {
            return;
        }
        let tallies = self.tallies(now_ms);
        let mut said: Vec<(Key, Option<Pool>, Notice)> = Vec::new();
        let mut calm: Vec<(Key, Option<TimeMs>)> = Vec::new();
        for (key, tally) in &tallies {
            let is_bad = tally.quorum.is_reached(tally.bad.len(), tally.n_all);
            match self.pools.get(key) {
                None if is_bad => {
                    let id = incident_id(&key.0, key.1.as_deref().unwrap_or(""), now_ms);
                    let incident = Incident { sequence: 1, ..Incident::new(id, now_ms) };
                    let notice = notice(key, &incident, NoticeKind::Problem, now_ms, Some(tally));
                    said.push((key.clone(), Some(Pool::new(incident)), notice));
                }
                Some(_) if is_bad => calm.push((key.clone(), None)),
                Some(pool) => {
                    let since = pool.calm_since_ms.unwrap_or(now_ms);
                    if tally.bad.is_empty() || now_ms.saturating_sub(since) >= CALM_MS {
                        let recovery = NoticeKind::Recovery;
                        let notice = notice(key, &pool.incident, recovery, now_ms, Some(tally));
                        said.push((key.clone(), None, notice));
                    } else {
                        calm.push((key.clone(), Some(since)));
                    }
                }
                None => {}
            }
        }
        // Rules or nodes are gone: nobody waits for its end.
        let lost: Vec<Key> =
            self.pools.keys().filter(|k| !tallies.contains_key(*k)).cloned().collect();
        drop(tallies);
        for key in lost {
            self.pools.remove(&key);
            out.push(record(&key, None));
        }
        for (key, since) in calm {
            if let Some(pool) = self.pools.get_mut(&key) {
                pool.calm_since_ms = since;
            }
        }
        for (key, pool, notice) in said {
            out.push(record(&key, pool.as_ref()));
            out.push(Output::Transition(transition(&notice)));
            match pool {
                Some(pool) => self.pools.insert(key, pool),
                None => self.pools.remove(&key),
            };
            out.push(Output::Notice(notice));
        }
    }

    fn has_quorums(&self) -> bool {
        self.nodes.iter().any(|n| n.quorum.is_some())
            || self.services.iter().any(|s| s.quorum.is_some())
    }

    fn tallies(&self, now_ms: TimeMs) -> BTreeMap<Key, Tally<'_>> {
        let mut tallies: BTreeMap<Key, Tally<'_>> = BTreeMap::new();
        for (i, node) in self.nodes.iter().enumerate().filter(|(_, n)| !n.gone) {
            let is_up = node.state == HostState::Up;
            if let Some(quorum) = node.quorum {
                let is_bad = node.state == HostState::Down
                    && self.downtime(i, None, now_ms).is_none()
                    && self.is_to_blame(Member::Node(i as u32), now_ms);
                let state = if is_bad { State::Critical } else { State::Ok };
                let tally =
                    tallies.entry((node.group.clone(), None)).or_insert_with(|| Tally::new(quorum));
                tally.add(&node.name, state, &node.contacts, &node.labels);
            }
            for idx in node.services.values() {
                let s = &self.services[*idx as usize];
                let Some(quorum) = s.quorum else { continue };
                let is_bad = is_up
                    && s.hard_state != State::Ok
                    && self.downtime(i, Some(&s.name), now_ms).is_none()
                    && self.is_to_blame(Member::Service(*idx), now_ms);
                let state = if is_bad { s.hard_state } else { State::Ok };
                let tally = tallies
                    .entry((node.group.clone(), Some(s.name.clone())))
                    .or_insert_with(|| Tally::new(quorum));
                tally.add(&node.name, state, &s.contacts, &s.labels);
            }
        }
        tallies
    }

    /// Whether nothing else is, or may soon be, the cause.
    fn is_to_blame(&self, member: Member, now_ms: TimeMs) -> bool {
        self.root_of(member).is_none()
            && !self.is_undecided(member, now_ms)
            && !self.is_recovering(member, now_ms)
    }

    pub(super) fn restore_pool(&mut self, group: &str, service: Option<&str>, told: &Incident) {
        let key = (group.to_owned(), service.map(str::to_owned));
        self.pools.insert(key, Pool::new(told.clone()));
    }
}

fn record(key: &Key, pool: Option<&Pool>) -> Output {
    let (group, service) = key;
    let state = match pool {
        None => RecordState::Gone,
        Some(pool) => RecordState::Pool {
            group: group.clone(),
            service: service.clone(),
            // The notice that it is kept for is told.
            incident: pool.incident.clone(),
        },
    };
    let key = format!("pool/{group}/{}", service.as_deref().unwrap_or(""));
    Output::StateChanged(StateRecord { key, state })
}

fn notice(
    key: &Key,
    incident: &Incident,
    kind: NoticeKind,
    now_ms: TimeMs,
    tally: Option<&Tally<'_>>,
) -> Notice {
    let is_problem = kind == NoticeKind::Problem;
    let state = match (&key.1, is_problem) {
        (None, true) => Status::Host(HostState::Down),
        (None, false) => Status::Host(HostState::Up),
        (Some(_), true) => Status::Service(tally.map_or(State::Critical, |t| t.worst)),
        (Some(_), false) => Status::Service(State::Ok),
    };
    // The incident counts what was told before.
    let sequence = incident.sequence - u32::from(is_problem);
    let text = tally.map_or_else(String::new, |t| match t.bad.len() {
        0 => format!("all {} nodes are well", t.n_all),
        _ => t.text(),
    });
    let contacts = tally.filter(|t| !t.to_all).map(|t| t.contacts.iter().cloned().collect());
    Notice {
        id: format!("{}.{sequence}", incident.id),
        incident: incident.id.clone(),
        sequence,
        kind,
        node: key.0.clone(),
        of_group: true,
        service: key.1.clone(),
        title: String::new(),
        state,
        since_ms: incident.since_ms,
        time_ms: now_ms,
        values: Vec::new(),
        text,
        with: Vec::new(),
        n_with: 0,
        behind: Vec::new(),
        n_behind: 0,
        contacts: contacts.unwrap_or_default(),
        labels: tally.map(|t| t.labels.clone()).unwrap_or_default(),
        repeated: false,
        instead_of: None,
    }
}

fn transition(notice: &Notice) -> Transition {
    let is_problem = notice.kind == NoticeKind::Problem;
    let well = match notice.state {
        Status::Host(_) => Status::Host(HostState::Up),
        Status::Service(_) => Status::Service(State::Ok),
    };
    let bad = match notice.state {
        Status::Host(_) => Status::Host(HostState::Down),
        Status::Service(State::Ok) => Status::Service(State::Critical),
        state => state,
    };
    Transition {
        kind: TransitionKind::State,
        node: format!("group {}", notice.node),
        service: notice.service.clone(),
        from: if is_problem { well } else { bad },
        to: notice.state,
        hard: true,
        attempt: 1,
        time_ms: notice.time_ms,
        stale: false,
        text: notice.text.clone(),
    }
}
