//! Groups with a quorum: what some nodes of many have is notified once, of the group,
//! and only when it is many of them.
//!
//! A pool is a group's nodes that a rule with `quorum` speaks of: those that are
//! DOWN, or those of whose service a hard problem is known. Looked at once a tick.
//! What is in a downtime or outside of its period does not count; what somebody has
//! acknowledged does. An acknowledgement of the pool itself silences the pool.

use super::hush::{Acknowledgement, words};
use super::lasting::Due;
use super::tally::Tally;
use super::{Machine, incident_id};
use crate::output::{
    Incident, Notice, NoticeKind, Output, RecordState, StateRecord, Status, Transition,
    TransitionKind,
};
use rookery_plugins::{HostState, State, TimeMs};

/// A pool that was told of is well again when it was below its quorum so long, or
/// at once when nothing is wrong in it any more, ms: else it would flap.
const CALM_MS: TimeMs = 300_000;

/// A group, and the service; `None`: its nodes themselves.
pub(super) type Key = (String, Option<String>);

/// What people were told of a pool.
#[derive(Clone, Debug)]
pub(super) struct Pool {
    pub incident: Incident,
    /// The worst state that they were notified of.
    pub told: State,
    /// Who was meant then; `None`: it was not kept, in folders of before.
    pub contacts: Option<Vec<String>>,
    pub acknowledged: Option<Acknowledgement>,
    /// Since when it is below its quorum.
    calm_since_ms: Option<TimeMs>,
}

/// What is to be said of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Word {
    Begins,
    /// Its acknowledgement has ended, and it is worse than people know.
    Worse,
    /// It is worse, or is others' as well: for those who do not know of it.
    CatchUp,
    Lasts(Due),
    Ends,
}

impl Pool {
    /// What is to be said of one that is known, and is one still.
    fn word(&self, tally: &Tally<'_>, was_acknowledged: bool, now_ms: TimeMs) -> Option<Word> {
        if self.acknowledged.is_some() || !tally.is_reached() {
            return None;
        }
        let is_worse = tally.worst.severity() > self.told.severity();
        if is_worse && was_acknowledged {
            return Some(Word::Worse);
        }
        if is_worse || self.contacts.as_ref().is_some_and(|c| *c != tally.contacts()) {
            return Some(Word::CatchUp);
        }
        tally.lasting.due(&self.incident, now_ms).map(Word::Lasts)
    }

    /// Takes an acknowledgement off that does not hold any more; whether it did.
    fn settle_acknowledgement(&mut self, worst: State, now_ms: TimeMs) -> bool {
        let is_worse = worst.severity() > self.told.severity();
        self.acknowledged.take_if(|a| is_worse && !a.sticky || a.is_over(now_ms)).is_some()
    }

    pub(super) fn step_clock(&mut self, by_ms: i64) {
        let moved = |at: &mut TimeMs| *at = at.saturating_add(by_ms);
        self.calm_since_ms.iter_mut().for_each(moved);
        moved(&mut self.incident.told_ms);
    }

    fn next_sequence(&mut self) -> u32 {
        self.incident.sequence += 1;
        self.incident.sequence - 1
    }
}

impl Machine {
    /// Tells of pools that have reached their quorum, and of those that are well.
    pub(super) fn judge_pools(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        if self.pools.is_empty() && !self.has_quorums() {
            return;
        }
        let mut pools = std::mem::take(&mut self.pools);
        let tallies = self.tallies(now_ms);
        // Rules or nodes are gone: nobody must wait for its end forever.
        for (key, mut pool) in pools.extract_if(.., |key, _| !tallies.contains_key(key)) {
            let sequence = pool.next_sequence();
            let state =
                key.1.as_ref().map_or(Status::Host(HostState::Up), |_| Status::Service(State::Ok));
            let blank = notice(&key, &pool.incident, sequence, NoticeKind::Recovery, state);
            let text = "it has no quorum any more, or no nodes".to_owned();
            out.push(record(&key, None));
            out.push(Output::Notice(Notice { time_ms: now_ms, text, ..blank }));
        }
        for (key, tally) in &tallies {
            let Some(pool) = pools.get_mut(key) else {
                if tally.is_reached() {
                    let id = incident_id(&key.0, key.1.as_deref().unwrap_or(""), now_ms);
                    let mut pool = Pool::new(Incident::new(id, now_ms), State::Ok);
                    say(key, &mut pool, Word::Begins, tally, now_ms, out);
                    pools.insert(key.clone(), pool);
                }
                continue;
            };
            let ended = pool.settle_acknowledgement(tally.worst, now_ms);
            if tally.is_still_reached() {
                pool.calm_since_ms = None;
                match pool.word(tally, ended, now_ms) {
                    Some(word) => say(key, pool, word, tally, now_ms, out),
                    None if ended => out.push(record(key, Some(pool))),
                    None => {}
                }
                continue;
            }
            let since = *pool.calm_since_ms.get_or_insert(now_ms);
            if tally.is_well() || now_ms.saturating_sub(since) >= CALM_MS {
                say(key, pool, Word::Ends, tally, now_ms, out);
                pools.remove(key);
            }
        }
        drop(tallies);
        self.pools = pools;
    }

    fn has_quorums(&self) -> bool {
        self.nodes.iter().any(|n| n.quorum.is_some())
            || self.services.iter().any(|s| s.quorum.is_some())
    }

    /// Notes that somebody is on the problem of a group with a quorum, and notifies
    /// those who know of it. The error says why not.
    pub fn acknowledge_group(
        &mut self,
        group: &str,
        service: Option<&str>,
        ack: Acknowledgement,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        words(&ack.author, &ack.comment)?;
        let now_ms = ack.time_ms;
        if ack.until_ms.is_some_and(|until| until <= now_ms) {
            return Err("an acknowledgement must end in the future".to_owned());
        }
        let key = (group.to_owned(), service.map(str::to_owned));
        let pool = self.pools.get_mut(&key).ok_or_else(|| unknown(&key))?;
        let text = ack.text();
        pool.acknowledged = Some(ack);
        let sequence = pool.next_sequence();
        let told = Status::Service(pool.told);
        let state = if key.1.is_some() { told } else { Status::Host(HostState::Down) };
        let blank = notice(&key, &pool.incident, sequence, NoticeKind::Acknowledgement, state);
        out.push(record(&key, Some(pool)));
        out.push(Output::Notice(Notice { text, time_ms: now_ms, ..blank }));
        Ok(())
    }

    /// Takes an acknowledgement of a group's problem back.
    pub fn unacknowledge_group(
        &mut self,
        group: &str,
        service: Option<&str>,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        let key = (group.to_owned(), service.map(str::to_owned));
        let pool = self.pools.get_mut(&key).ok_or_else(|| unknown(&key))?;
        if pool.acknowledged.take().is_none() {
            return Err("it is not acknowledged".to_owned());
        }
        out.push(record(&key, Some(pool)));
        Ok(())
    }

    pub(super) fn restore_pool(&mut self, key: Key, pool: Pool) {
        self.pools.insert(key, pool);
    }
}

fn unknown((group, service): &Key) -> String {
    let what = match service {
        Some(service) => format!("{service:?} on nodes of the group {group:?}"),
        None => format!("nodes of the group {group:?} that are DOWN"),
    };
    format!("no problem with a quorum is known of {what}: there is nothing to acknowledge")
}

impl Pool {
    pub(super) fn new(incident: Incident, told: State) -> Pool {
        Pool { incident, told, contacts: None, acknowledged: None, calm_since_ms: None }
    }
}

/// Says it, and keeps that it was said.
fn say(
    key: &Key,
    pool: &mut Pool,
    word: Word,
    tally: &Tally<'_>,
    now_ms: TimeMs,
    out: &mut Vec<Output>,
) {
    let sequence = pool.next_sequence();
    let (kind, due) = match word {
        Word::Ends => (NoticeKind::Recovery, None),
        Word::Lasts(due) => (NoticeKind::Problem, Some(due)),
        Word::Begins | Word::Worse | Word::CatchUp => (NoticeKind::Problem, None),
    };
    let is_problem = kind == NoticeKind::Problem;
    let is_catch_up = word == Word::CatchUp;
    if is_problem {
        pool.incident.escalated |= due == Some(Due::Further);
        pool.told = pool.told.worst(tally.worst);
        pool.contacts = Some(tally.contacts());
    }
    if is_problem && !is_catch_up {
        pool.incident.told_ms = now_ms;
    }
    let state = match (&key.1, is_problem) {
        (None, true) => Status::Host(HostState::Down),
        (None, false) => Status::Host(HostState::Up),
        (Some(_), true) => Status::Service(tally.worst),
        (Some(_), false) => Status::Service(State::Ok),
    };
    let contacts = match is_problem {
        true => tally.lasting.contacts(&tally.contacts(), &pool.incident, due),
        // All who were notified of it.
        false => Vec::new(),
    };
    let blank = notice(key, &pool.incident, sequence, kind, state);
    let (text, labels) = (tally.text(), tally.labels.clone());
    let notice = Notice { time_ms: now_ms, text, contacts, labels, is_catch_up, ..blank };
    out.push(record(key, Some(pool).filter(|_| is_problem).map(|p| &*p)));
    if matches!(word, Word::Begins | Word::Ends) {
        out.push(Output::Transition(transition(&notice)));
    }
    out.push(Output::Notice(notice));
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
            told: Some(pool.told),
            contacts: pool.contacts.clone(),
            acknowledged: pool.acknowledged.clone(),
        },
    };
    let key = format!("pool/{group}/{}", service.as_deref().unwrap_or(""));
    Output::StateChanged(StateRecord { key, state })
}

/// A notice without words yet.
fn notice(
    key: &Key,
    incident: &Incident,
    sequence: u32,
    kind: NoticeKind,
    state: Status,
) -> Notice {
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
        time_ms: incident.since_ms,
        values: Vec::new(),
        text: String::new(),
        with: Vec::new(),
        n_with: 0,
        behind: Vec::new(),
        n_behind: 0,
        contacts: Vec::new(),
        labels: std::collections::BTreeMap::new(),
        repeated: false,
        instead_of: None,
        is_catch_up: false,
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
