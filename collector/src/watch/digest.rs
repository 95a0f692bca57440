//! Writes the daily digests into the outbox: for each mail of a contact, once a day,
//! what was not urgent.
//!
//! What was told to nobody is found where it is: what is wrong now in the machine's
//! views, what is over in the ledger's transitions.

use super::Alerts;
use super::ledger::Ledger;
use super::outbox::Letter;
use super::rows::{held, json, over_ms, problems_of};
use crate::history::History;
use crate::store::StoreError;
use rookery_alerts::digest::{Digest, Fact};
use rookery_alerts::{Notice, Notifier, Status, Transition, TransitionKind};
use rookery_plugins::{HostState, State, TimeMs};
use rusqlite::{Connection, OptionalExtension, params};
use std::collections::hash_map::Entry;
use std::collections::{BTreeMap, HashMap, HashSet};

/// What is younger than this may still be told, ms.
const FRESH_MS: TimeMs = 60_000;
/// The most changes of the past that are looked through.
const CHANGES_MAX: usize = 100_000;

/// What the digests are made of.
pub struct Sources<'s> {
    /// How things stand.
    pub alerts: &'s Alerts,
    /// Which nodes there are, and in which groups.
    pub history: &'s dyn History,
}

/// A place: a node, and a service or the node itself.
type Place = (String, Option<String>);

impl Ledger {
    /// Writes the digests that are due; whether there are any.
    pub fn write_digests(
        &mut self,
        notifier: &Notifier,
        sources: &Sources<'_>,
        now_ms: TimeMs,
    ) -> Result<bool, StoreError> {
        let Some(day) = notifier.schedule().day(now_ms) else { return Ok(false) };
        let path = self.path.clone();
        let err = |e| StoreError::db(&path, e);
        let mut any = false;
        // The same for all who get it, and only looked for when one is due.
        let mut told_to_nobody: HashMap<TimeMs, Vec<Fact>> = HashMap::new();
        for (channel, gets_all) in notifier.digests() {
            let tx = self.conn.transaction().map_err(err)?;
            // A recipient's own, or that of all when they were one channel.
            let sql = "SELECT day, until_ms FROM digest WHERE channel = ?1 \
                       OR substr(?1, 1, length(channel) + 1) = channel || ' ' \
                       ORDER BY until_ms DESC LIMIT 1";
            let before: Option<(String, TimeMs)> = tx
                .query_row(sql, [&channel], |r| Ok((r.get(0)?, r.get(1)?)))
                .optional()
                .map_err(err)?;
            let day_text = day.to_string();
            let since = match before {
                Some((done, _)) if done >= day_text => continue,
                Some((_, until)) => until,
                // The first one comes when a day is over.
                None => now_ms,
            };
            let mut facts = Vec::new();
            if since < now_ms {
                if gets_all {
                    let found = match told_to_nobody.entry(since) {
                        Entry::Occupied(found) => found.into_mut(),
                        Entry::Vacant(slot) => {
                            slot.insert(untold(&tx, sources, since, now_ms).map_err(err)?)
                        }
                    };
                    facts.extend(found.iter().cloned());
                }
                facts.extend(held_back(&tx, sources, &channel).map_err(err)?);
            }
            let digest = Digest::new(notifier.schedule(), day, (since, now_ms), &facts);
            any |= digest.is_some();
            if let Some(digest) = digest {
                let id = digest.id();
                let letter = json(&Letter::Digest { digest: Box::new(digest) });
                tx.execute(
                    "INSERT OR IGNORE INTO outbox(notice_id, channel, json, created_ms, next_ms) \
                     VALUES (?1, ?2, ?3, ?4, ?4)",
                    params![id, channel, letter, now_ms],
                )
                .map_err(err)?;
                tx.execute(
                    "UPDATE outbox SET sent_ms = ?2, error = 'in the digest of ' || ?3 \
                     WHERE channel = ?1 AND held = 'digest' AND sent_ms IS NULL",
                    params![channel, now_ms, day_text],
                )
                .map_err(err)?;
            }
            let sql = "INSERT OR REPLACE INTO digest VALUES (?1, ?2, ?3)";
            tx.execute(sql, params![channel, day_text, now_ms]).map_err(err)?;
            tx.commit().map_err(err)?;
        }
        Ok(any)
    }
}

/// What this channel was to be told later.
fn held_back(
    conn: &Connection,
    sources: &Sources<'_>,
    channel: &str,
) -> rusqlite::Result<Vec<Fact>> {
    let groups = groups(sources.history);
    let mut facts: BTreeMap<String, Fact> = BTreeMap::new();
    for (id, notice) in held(conn, channel, "digest")? {
        let sql = "SELECT error FROM outbox WHERE id = ?1";
        let why: Option<String> = conn.query_row(sql, [id], |r| r.get(0))?;
        let until_ms = over_ms(conn, &notice, channel)?;
        let group = if notice.of_group { &notice.node } else { groups.of(&notice.node) };
        let problems = problems_of(conn, &notice, channel)?;
        // As bad as it was at the worst, in whichever way that was told.
        let worst = problems.iter().rev().max_by_key(|n| n.state.rank()).unwrap_or(&notice);
        let newest = problems.last().unwrap_or(&notice);
        let text = match newest.state == worst.state {
            true => newest.text.clone(),
            false => was_worse(newest.state, &newest.text, &worst.text),
        };
        let fact = Fact {
            node: if notice.of_group {
                format!("group {}", notice.node)
            } else {
                notice.node.clone()
            },
            group: group.to_owned(),
            service: notice.service.clone(),
            state: worst.state,
            since_ms: notice.since_ms,
            until_ms,
            text,
            why: why.unwrap_or_default(),
            n_all: 0,
        };
        // Of an incident one line.
        facts.insert(notice.incident, fact);
    }
    Ok(facts.into_values().collect())
}

/// What is wrong and nobody was told of, and what was so since the last digest.
fn untold(
    conn: &Connection,
    sources: &Sources<'_>,
    since_ms: TimeMs,
    now_ms: TimeMs,
) -> rusqlite::Result<Vec<Fact>> {
    let mut groups = groups(sources.history);
    let mut facts = Vec::new();
    let mut wrong: HashSet<Place> = HashSet::new();
    let (over, known_bad) = over(conn, since_ms)?;
    let problems: Vec<_> = sources.alerts.live().machine.problems().collect();
    for p in problems {
        let service = p.service.as_ref().map(|(name, _)| name.clone());
        wrong.insert((p.node.clone(), service.clone()));
        let is_down = p.host.state != HostState::Up;
        let (state, since, text, is_quiet) = match &p.service {
            // Told of the node.
            Some(_) if is_down => continue,
            Some((_, view)) => (
                Status::Service(view.state),
                view.since_ms,
                view.text.clone(),
                view.hard
                    && !view.notified
                    && view.incident.is_none()
                    && view.acknowledged.is_none()
                    && view.downtime.is_none(),
            ),
            None => (
                Status::Host(p.host.state),
                p.host.since_ms,
                "nothing arrives from it".to_owned(),
                p.host.incident.is_none()
                    && p.host.acknowledged.is_none()
                    && p.host.downtime.is_none(),
            ),
        };
        let is_fresh = since.is_some_and(|t| now_ms.saturating_sub(t) < FRESH_MS);
        if !is_quiet || is_fresh || is_told_of_group(conn, &p.group, service.as_deref())? {
            continue;
        }
        let (state, text) = match known_bad.get(&(p.node.clone(), service.clone())) {
            Some(f) if f.state.rank() > state.rank() => (f.state, was_worse(state, &text, &f.text)),
            _ => (state, text),
        };
        let n_all = groups.count(sources.history, &p.group, service.as_deref());
        let why = sources.alerts.live().machine.why(&p.node, service.as_deref(), now_ms);
        facts.push(Fact {
            node: p.node,
            group: p.group,
            service,
            state,
            since_ms: since.unwrap_or(since_ms),
            until_ms: None,
            text,
            why: why.unwrap_or_default(),
            n_all,
        });
    }
    for fact in over {
        if wrong.contains(&(fact.node.clone(), fact.service.clone())) {
            continue;
        }
        let group = groups.of(&fact.node).to_owned();
        let n_all = groups.count(sources.history, &group, fact.service.as_deref());
        facts.push(Fact { group, n_all, ..fact });
    }
    Ok(facts)
}

/// Whether people know of a group's problem that this is a part of.
fn is_told_of_group(
    conn: &Connection,
    group: &str,
    service: Option<&str>,
) -> rusqlite::Result<bool> {
    let kind: Option<String> = conn
        .prepare_cached(
            "SELECT json ->> 'kind' FROM outbox WHERE json ->> 'of_group' AND \
             json ->> 'node' = ?1 AND json ->> 'service' IS ?2 ORDER BY id DESC LIMIT 1",
        )?
        .query_row(params![group, service], |r| r.get(0))
        .optional()?;
    Ok(kind.is_some_and(|kind| kind != "RECOVERY"))
}

/// `sda1 is 85; it was worse: sda1 is 95`, with the state that it has now.
fn was_worse(now: Status, text: &str, worst: &str) -> String {
    format!("{now} now: {text}; it was worse: {worst}")
}

/// Hard problems that ended since then, and of which no notice was made; and those that
/// have not ended. Each as bad as it was at the worst.
fn over(
    conn: &Connection,
    since_ms: TimeMs,
) -> rusqlite::Result<(Vec<Fact>, HashMap<Place, Fact>)> {
    let mut stmt = conn.prepare_cached(
        "SELECT json FROM transition WHERE time_ms >= ?1 ORDER BY id DESC LIMIT ?2",
    )?;
    let texts: Vec<String> = stmt
        .query_map(params![since_ms, CHANGES_MAX as i64], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    let mut bad: HashMap<Place, Fact> = HashMap::new();
    let mut facts = Vec::new();
    for json in texts.iter().rev() {
        let Ok(t) = serde_json::from_str::<Transition>(json) else { continue };
        // A group's own changes are told.
        if t.kind != TransitionKind::State || !t.hard || t.node.starts_with("group ") {
            continue;
        }
        let place = (t.node.clone(), t.service.clone());
        if !matches!(t.to, Status::Service(State::Ok) | Status::Host(HostState::Up)) {
            let fact = bad.entry(place).or_insert(Fact {
                node: t.node,
                group: String::new(),
                service: t.service,
                state: t.to,
                since_ms: t.time_ms,
                until_ms: None,
                text: t.text.clone(),
                why: match t.stale {
                    true => "nobody was told: it was known too late".to_owned(),
                    false => "nobody was told".to_owned(),
                },
                n_all: 0,
            });
            if t.to.rank() > fact.state.rank() {
                (fact.state, fact.text) = (t.to, t.text);
            }
        } else if let Some(mut fact) = bad.remove(&place) {
            fact.until_ms = Some(t.time_ms);
            facts.push(fact);
        }
    }
    let mut untold = Vec::new();
    for fact in facts {
        let notices = notices(conn, &fact)?;
        let told = notices.iter().any(|n| {
            n.since_ms <= fact.until_ms.unwrap_or(TimeMs::MAX) && n.time_ms >= fact.since_ms
        });
        if !told {
            untold.push(fact);
        }
    }
    Ok((untold, bad))
}

/// The notices of a place, since its problem began.
fn notices(conn: &Connection, fact: &Fact) -> rusqlite::Result<Vec<Notice>> {
    let mut stmt = conn.prepare_cached(
        "SELECT json FROM outbox WHERE created_ms >= ?3 AND json ->> 'node' = ?1 \
         AND json ->> 'service' IS ?2",
    )?;
    // The collector's clock may be a little before the samples'.
    let from = fact.since_ms.saturating_sub(3_600_000);
    let texts: Vec<String> = stmt
        .query_map(params![fact.node, fact.service, from], |r| r.get(0))?
        .collect::<Result<_, _>>()?;
    Ok(texts.iter().filter_map(|json| serde_json::from_str(json).ok()).collect())
}

/// The nodes' groups.
struct Groups {
    of: HashMap<String, String>,
    /// How many nodes have a service, or there are, by group.
    counts: HashMap<(String, Option<String>), usize>,
}

fn groups(history: &dyn History) -> Groups {
    let of = history.nodes().into_iter().map(|n| (n.name, n.group)).collect();
    Groups { of, counts: HashMap::new() }
}

impl Groups {
    fn of(&self, node: &str) -> &str {
        self.of.get(node).map_or("", String::as_str)
    }

    /// How many nodes of a group have a service; of no group none, as it is of one
    /// node alone.
    fn count(&mut self, history: &dyn History, group: &str, service: Option<&str>) -> usize {
        if group.is_empty() {
            return 0;
        }
        let key = (group.to_owned(), service.map(str::to_owned));
        if let Some(n) = self.counts.get(&key) {
            return *n;
        }
        let has = |node: &str| {
            let Some(service) = service else { return true };
            let all = history.services(node).unwrap_or_default();
            all.iter().any(|s| s.active && s.spec.name == service)
        };
        let n = self.of.iter().filter(|(node, g)| *g == group && has(node)).count();
        self.counts.insert(key, n);
        n
    }
}

#[cfg(test)]
mod tests {
    use super::super::fake::Fake;
    use super::super::open;
    use super::*;
    use rookery_alerts::{Output, Rules, Settings, Verdict};
    use std::sync::Arc;

    const HOUR_MS: TimeMs = 3_600_000;

    fn notice(sequence: u32, kind: &str, state: &str, text: &str) -> Output {
        let json = format!(
            r#"{{"id":"i.{sequence}","incident":"i","sequence":{sequence},"kind":"{kind}",
            "node":"n","service":"s","state":"{state}","since_ms":1,"time_ms":2,"values":[],
            "text":"{text}"}}"#
        );
        Output::Notice(serde_json::from_str(&json).expect("a notice"))
    }

    fn change(from: &str, to: &str, time_ms: TimeMs) -> Output {
        let json = format!(
            r#"{{"kind":"state","node":"n","service":"s","from":"{from}","to":"{to}","hard":true,
            "attempt":1,"time_ms":{time_ms},"stale":false,"text":"it is {to}"}}"#
        );
        Output::Transition(serde_json::from_str(&json).expect("a transition"))
    }

    #[test]
    fn a_line_names_the_worst_state() {
        let dir = tempfile::tempdir().expect("tmp");
        let notifier = Arc::new(Notifier::new(None, vec![], "").expect("right"));
        let opened = open(dir.path(), Rules::default(), Settings::default(), notifier);
        let (alerts, _watcher) = opened.expect("opens");
        let sources = Sources { alerts: &alerts, history: &Fake::default() };
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        let later = Verdict::Digest("for its digest".to_owned());
        let mut save = |output: Output, verdict: &Verdict| {
            ledger.save(&[output], |_| vec![("a".to_owned(), verdict.clone())], 9).expect("saves");
        };
        save(notice(0, "PROBLEM", "WARNING", "it is 85"), &later);
        // That was urgent, and told at once; later it is better again.
        save(notice(1, "PROBLEM", "CRITICAL", "it is 95"), &Verdict::Now);
        save(notice(2, "PROBLEM", "WARNING", "it is 86"), &later);
        let facts = held_back(&ledger.conn, &sources, "a").expect("reads");
        assert_eq!(facts.len(), 1, "a line for an incident");
        assert_eq!(facts[0].state, Status::Service(State::Critical));
        assert_eq!(facts[0].text, "WARNING now: it is 86; it was worse: it is 95");
        // What nobody was notified of, over and not.
        for (from, to, time_ms) in [
            ("OK", "WARNING", 1),
            ("WARNING", "CRITICAL", HOUR_MS),
            ("CRITICAL", "WARNING", 2 * HOUR_MS),
        ] {
            ledger.save(&[change(from, to, time_ms)], |_| vec![], 9).expect("saves");
        }
        let (over_now, wrong) = over(&ledger.conn, 0).expect("reads");
        let place = ("n".to_owned(), Some("s".to_owned()));
        assert!(over_now.is_empty());
        assert_eq!(wrong[&place].state, Status::Service(State::Critical));
        assert_eq!(wrong[&place].text, "it is CRITICAL");
    }
}
