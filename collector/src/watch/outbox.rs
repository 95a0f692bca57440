//! The outbox: one row of `state.sqlite` for each notice and channel.
//!
//! `sent_ms` is null until it is told. `begun_ms` is set while it is being told: after
//! a crash between telling and noting it is told once more, with the same Message-ID,
//! and marked as a repeat. `held` says why it is not told now: `period` waits for the
//! contact's own, `digest` for the next one, `never` is kept only to be explained.
//!
//! A recovery goes only to those who were told of the problem, or will be; what
//! waits for a period and is over when that opens goes to the digest.

use super::ledger::Ledger;
use crate::store::StoreError;
use rookery_alerts::digest::Digest;
use rookery_alerts::{Notice, NoticeKind, Output, RecordState, StateRecord, Verdict};
use rookery_plugins::TimeMs;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// What waits for a period is looked at so often, ms.
const PERIOD_MS: TimeMs = 30_000;

/// What is to be told.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Letter {
    /// A daily digest.
    Digest {
        /// It.
        digest: Box<Digest>,
    },
    /// A notice.
    Notice(Box<Notice>),
}

impl Letter {
    /// The same however often it is tried.
    pub fn id(&self) -> String {
        match self {
            Letter::Notice(notice) => notice.id.clone(),
            Letter::Digest { digest } => digest.id(),
        }
    }

    /// When it was decided, ms.
    pub fn time_ms(&self) -> TimeMs {
        match self {
            Letter::Notice(notice) => notice.time_ms,
            Letter::Digest { digest } => digest.to_ms,
        }
    }

    /// It, where it is no digest.
    pub fn notice(&self) -> Option<&Notice> {
        match self {
            Letter::Notice(notice) => Some(notice),
            Letter::Digest { .. } => None,
        }
    }

    fn mark_repeated(&mut self) {
        match self {
            Letter::Notice(notice) => notice.repeated = true,
            Letter::Digest { digest } => digest.repeated = true,
        }
    }
}

/// Something that is to be told now.
pub struct Due {
    /// Its row.
    pub id: i64,
    /// The channel.
    pub channel: String,
    /// What to tell.
    pub letter: Letter,
    /// How often it was tried.
    pub n_tries: u32,
    /// When it came to the outbox, ms.
    pub created_ms: TimeMs,
}

/// Id, JSON, tries, whether it was begun, when it came.
type Row = (i64, String, u32, bool, TimeMs);

impl Ledger {
    /// Writes all of it in one commit. Returns how many notices wait now.
    pub fn save(
        &mut self,
        outputs: &[Output],
        channels: impl Fn(&Notice) -> Vec<(String, Verdict)>,
        now_ms: TimeMs,
    ) -> Result<usize, StoreError> {
        let path = self.path.clone();
        let err = |e| StoreError::db(&path, e);
        let tx = self.conn.transaction().map_err(err)?;
        let mut n_notices = 0;
        for output in outputs {
            match output {
                Output::StateChanged(record) => save_record(&tx, record).map_err(err)?,
                Output::Transition(t) => {
                    tx.prepare_cached(
                        "INSERT INTO transition(time_ms, node, service, json) \
                         VALUES (?1, ?2, ?3, ?4)",
                    )
                    .and_then(|mut s| s.execute(params![t.time_ms, t.node, t.service, json(t)]))
                    .map_err(err)?;
                }
                Output::Notice(notice) => {
                    for (channel, verdict) in channels(notice) {
                        put(&tx, notice, &channel, verdict, now_ms).map_err(err)?;
                        n_notices += 1;
                    }
                }
            }
        }
        tx.commit().map_err(err)?;
        Ok(n_notices)
    }

    /// Has these channels tell it, too; those that have it already do not.
    pub fn also(
        &self,
        notice: &Notice,
        channels: &[(String, Verdict)],
        now_ms: TimeMs,
    ) -> Result<(), StoreError> {
        for (channel, verdict) in channels {
            put(&self.conn, notice, channel, verdict.clone(), now_ms).map_err(|e| self.err(e))?;
        }
        Ok(())
    }

    /// The channels for which something is due.
    pub fn channels_due(&self, now_ms: TimeMs) -> Result<Vec<String>, StoreError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut stmt = self.conn.prepare_cached(
                "SELECT DISTINCT channel FROM outbox WHERE sent_ms IS NULL AND next_ms <= ?1",
            )?;
            stmt.query_map([now_ms], |r| r.get(0))?.collect()
        };
        read().map_err(|e| self.err(e))
    }

    /// What is due for a channel, oldest first; at most `n`. From now on it counts
    /// as begun.
    pub fn begin(&self, channel: &str, now_ms: TimeMs, n: usize) -> Result<Vec<Due>, StoreError> {
        let read = || -> rusqlite::Result<Vec<Row>> {
            let mut stmt = self.conn.prepare_cached(
                "SELECT id, json, n_tries, begun_ms IS NOT NULL, created_ms FROM outbox \
                 WHERE sent_ms IS NULL AND next_ms <= ?1 AND channel = ?2 AND held IS NULL \
                 ORDER BY id LIMIT ?3",
            )?;
            stmt.query_map(params![now_ms, channel, n as i64], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?, r.get(4)?))
            })?
            .collect()
        };
        let rows = read().map_err(|e| self.err(e))?;
        let mut due = Vec::new();
        for (id, json, n_tries, was_begun, created_ms) in rows {
            match serde_json::from_str::<Letter>(&json) {
                Ok(mut letter) => {
                    if was_begun {
                        letter.mark_repeated();
                    }
                    due.push(Due { id, channel: channel.to_owned(), letter, n_tries, created_ms });
                }
                Err(e) => self.settle(id, now_ms, Some(&format!("unreadable: {e}")))?,
            }
        }
        if let Some(last) = due.last() {
            self.conn
                .execute(
                    "UPDATE outbox SET begun_ms = ?1 WHERE sent_ms IS NULL AND next_ms <= ?1 \
                     AND channel = ?2 AND held IS NULL AND id <= ?3",
                    params![now_ms, channel, last.id],
                )
                .map_err(|e| self.err(e))?;
        }
        Ok(due)
    }

    /// Looks at what waits for the period of a channel's contact. While that is
    /// closed it goes on waiting. When it is open, what is still so is told: of an
    /// incident the newest word. What is over goes to the digest, or to nobody.
    pub fn open_period(
        &mut self,
        channel: &str,
        is_open: bool,
        has_digest: bool,
        now_ms: TimeMs,
    ) -> Result<(), StoreError> {
        let path = self.path.clone();
        let err = |e| StoreError::db(&path, e);
        let tx = self.conn.transaction().map_err(err)?;
        if !is_open {
            tx.execute(
                "UPDATE outbox SET next_ms = ?2 WHERE channel = ?1 AND held = 'period' \
                 AND sent_ms IS NULL AND next_ms <= ?3",
                params![channel, now_ms + PERIOD_MS, now_ms],
            )
            .map_err(err)?;
            return tx.commit().map_err(err);
        }
        let mut incidents: BTreeMap<String, Vec<(i64, Notice)>> = BTreeMap::new();
        for (id, notice) in held(&tx, channel, "period").map_err(err)? {
            incidents.entry(notice.incident.clone()).or_default().push((id, notice));
        }
        for rows in incidents.into_values() {
            let has_problem = rows.iter().any(|(_, n)| n.kind == NoticeKind::Problem);
            let ends = rows.iter().any(|(_, n)| n.kind == NoticeKind::Recovery);
            // Who heard of it before hears of its end, too.
            let before = rows.first().map(|(_, n)| was_told(&tx, n, channel)).transpose();
            let is_over = ends && !before.map_err(err)?.unwrap_or(false);
            let newest = rows.last().map(|(id, _)| *id);
            for (id, notice) in rows {
                let problem = notice.kind == NoticeKind::Problem;
                if has_problem && is_over && problem && has_digest {
                    tx.execute(
                        "UPDATE outbox SET held = 'digest', next_ms = ?2, \
                         error = 'it was over when its period opened' WHERE id = ?1",
                        params![id, TimeMs::MAX],
                    )
                } else if has_problem && is_over {
                    never(&tx, id, "it was over when its period opened", now_ms)
                } else if Some(id) == newest {
                    tx.execute(
                        "UPDATE outbox SET held = NULL, error = NULL, next_ms = ?2 WHERE id = ?1",
                        params![id, now_ms],
                    )
                } else {
                    never(&tx, id, "there was newer word when its period opened", now_ms)
                }
                .map_err(err)?;
            }
        }
        tx.commit().map_err(err)
    }

    /// Notes that a notice was told, or (with an error) never will be.
    pub fn settle(&self, id: i64, now_ms: TimeMs, error: Option<&str>) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE outbox SET sent_ms = ?2, error = ?3, n_tries = n_tries + 1 WHERE id = ?1",
                params![id, now_ms, error],
            )
            .map_err(|e| self.err(e))?;
        Ok(())
    }

    /// Notes that telling failed, and when to try again.
    pub fn postpone(&self, id: i64, next_ms: TimeMs, error: &str) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE outbox SET next_ms = ?2, error = ?3, n_tries = n_tries + 1, \
                 begun_ms = NULL WHERE id = ?1",
                params![id, next_ms, error],
            )
            .map_err(|e| self.err(e))?;
        Ok(())
    }
}

/// A row for a notice and a channel, as its contact wants it.
pub(super) fn put(
    conn: &Connection,
    notice: &Notice,
    channel: &str,
    verdict: Verdict,
    now_ms: TimeMs,
) -> rusqlite::Result<()> {
    let verdict = match notice.kind {
        // Who waits for the end, or is on it, was told of the beginning.
        NoticeKind::Recovery | NoticeKind::Acknowledgement => match verdict {
            Verdict::Now | Verdict::Wait(_) if !is_told(conn, notice, channel)? => {
                Verdict::Never("its problem was not told by this way".to_owned())
            }
            verdict => verdict,
        },
        NoticeKind::Problem | NoticeKind::Flapping => verdict,
    };
    let (held, error, next_ms, sent_ms) = match verdict {
        Verdict::Now => (None, None, now_ms, None),
        Verdict::Wait(why) => (Some("period"), Some(why), now_ms, None),
        Verdict::Digest(why) => (Some("digest"), Some(why), TimeMs::MAX, None),
        Verdict::Never(why) => (Some("never"), Some(why), now_ms, Some(now_ms)),
    };
    conn.prepare_cached(
        "INSERT OR IGNORE INTO outbox(notice_id, channel, json, created_ms, next_ms, held, error, \
         sent_ms) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
    )?
    .execute(params![
        notice.id,
        channel,
        json(notice),
        now_ms,
        next_ms,
        held,
        error,
        sent_ms
    ])?;
    Ok(())
}

/// Whether something of a notice's incident was told by this way, or will be.
fn is_told(conn: &Connection, notice: &Notice, channel: &str) -> rusqlite::Result<bool> {
    // `incident.0` to `incident.9…`: the sign after the dot is the slash.
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM outbox WHERE notice_id > ?1 AND notice_id < ?2 \
         AND channel = ?3 AND (held IS NULL OR held = 'period'))",
    )?
    .query_row(
        params![format!("{}.", notice.incident), format!("{}/", notice.incident), channel],
        |r| r.get(0),
    )
}

/// Whether something of a notice's incident was handed to this way.
fn was_told(conn: &Connection, notice: &Notice, channel: &str) -> rusqlite::Result<bool> {
    conn.prepare_cached(
        "SELECT EXISTS (SELECT 1 FROM outbox WHERE notice_id > ?1 AND notice_id < ?2 \
         AND channel = ?3 AND held IS NULL)",
    )?
    .query_row(
        params![format!("{}.", notice.incident), format!("{}/", notice.incident), channel],
        |r| r.get(0),
    )
}

fn never(conn: &Connection, id: i64, why: &str, now_ms: TimeMs) -> rusqlite::Result<usize> {
    conn.execute(
        "UPDATE outbox SET held = 'never', error = ?2, sent_ms = ?3 WHERE id = ?1",
        params![id, why, now_ms],
    )
}

/// A channel's rows that are held for this.
pub(super) fn held(
    conn: &Connection,
    channel: &str,
    why: &str,
) -> rusqlite::Result<Vec<(i64, Notice)>> {
    let mut stmt = conn.prepare_cached(
        "SELECT id, json FROM outbox WHERE channel = ?1 AND held = ?2 AND sent_ms IS NULL \
         ORDER BY id",
    )?;
    let rows: Vec<(i64, String)> = stmt
        .query_map([channel, why], |r| Ok((r.get(0)?, r.get(1)?)))?
        .collect::<Result<_, _>>()?;
    let parse = |(id, json): (i64, String)| Some((id, serde_json::from_str(&json).ok()?));
    Ok(rows.into_iter().filter_map(parse).collect())
}

/// When an incident was over, as a channel would have been told.
pub(super) fn over_ms(
    conn: &Connection,
    notice: &Notice,
    channel: &str,
) -> rusqlite::Result<Option<TimeMs>> {
    conn.prepare_cached(
        "SELECT json ->> 'time_ms' FROM outbox WHERE notice_id > ?1 AND notice_id < ?2 \
         AND channel = ?3 AND json ->> 'kind' = 'RECOVERY' ORDER BY id DESC LIMIT 1",
    )?
    .query_row(
        params![format!("{}.", notice.incident), format!("{}/", notice.incident), channel],
        |r| r.get(0),
    )
    .optional()
}

pub(super) fn json(value: &impl serde::Serialize) -> String {
    // Plain structs of strings and numbers: there is nothing to fail.
    serde_json::to_string(value).unwrap_or_default()
}

fn save_record(tx: &Connection, record: &StateRecord) -> rusqlite::Result<()> {
    if record.state == RecordState::Gone {
        tx.prepare_cached("DELETE FROM record WHERE key = ?1")?.execute([&record.key])?;
        return Ok(());
    }
    tx.prepare_cached("INSERT OR REPLACE INTO record VALUES (?1, ?2)")?
        .execute(params![record.key, json(record)])?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn notice(sequence: u32, kind: &str, state: &str) -> Notice {
        let json = format!(
            r#"{{"id":"i.{sequence}","incident":"i","sequence":{sequence},"kind":"{kind}",
            "node":"n","service":"s","state":"{state}","since_ms":1,"time_ms":2,"values":[],
            "text":"x"}}"#
        );
        serde_json::from_str(&json).expect("a notice")
    }

    fn problem() -> Notice {
        notice(0, "PROBLEM", "CRITICAL")
    }

    fn save(ledger: &mut Ledger, notice: Notice, verdict: &Verdict, now: TimeMs) {
        let all = [Output::Notice(notice)];
        ledger.save(&all, |_| vec![("a".to_owned(), verdict.clone())], now).expect("saves");
    }

    fn begin(ledger: &Ledger, now: TimeMs) -> Vec<(String, bool)> {
        let due = ledger.begin("a", now, 9).expect("begins");
        let of = |d: Due| match d.letter {
            Letter::Notice(n) => (n.id, n.repeated),
            Letter::Digest { digest } => (digest.id(), digest.repeated),
        };
        due.into_iter().map(of).collect()
    }

    fn why(ledger: &Ledger) -> Vec<String> {
        let past = ledger.past("n", Some("s"), 9).expect("reads");
        past.notices.into_iter().map(|t| t.error.unwrap_or_default()).collect()
    }

    #[test]
    fn what_was_begun_and_never_noted_is_a_repeat() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        let both = |_: &Notice| ["a", "b"].map(|c| (c.to_owned(), Verdict::Now)).to_vec();
        ledger.save(&[Output::Notice(problem())], both, 10).expect("saves");
        assert_eq!(ledger.channels_due(10).expect("reads"), ["a", "b"]);
        let begin = |ledger: &Ledger, now| -> Vec<(i64, bool)> {
            let due = ledger.begin("a", now, 9).expect("begins");
            let of = |d: &Due| match &d.letter {
                Letter::Notice(n) => (d.id, n.repeated),
                Letter::Digest { .. } => panic!("no digest"),
            };
            due.iter().map(of).collect()
        };
        let first = begin(&ledger, 10);
        assert!(!first[0].1, "told for the first time");
        // Killed here: nobody has noted whether it was told.
        drop(ledger);
        let ledger = Ledger::open(dir.path()).expect("opens");
        assert_eq!(begin(&ledger, 11), [(first[0].0, true)]);
        // It failed, and that was noted: the next try is no repeat.
        ledger.postpone(first[0].0, 20, "refused").expect("notes");
        assert!(begin(&ledger, 19).is_empty(), "not yet");
        assert_eq!(begin(&ledger, 20), [(first[0].0, false)]);
        ledger.settle(first[0].0, 21, None).expect("notes");
        assert_eq!(ledger.channels_due(30).expect("reads"), ["b"]);
        let past = ledger.past("n", Some("s"), 9).expect("reads");
        assert_eq!((past.notices.len(), past.notices[1].sent_ms), (2, Some(21)));
        assert!(ledger.past("n", None, 9).expect("reads").notices.is_empty());
    }

    #[test]
    fn a_recovery_goes_to_those_who_heard_of_the_problem() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        let recovery = || notice(1, "RECOVERY", "OK");
        save(&mut ledger, problem(), &Verdict::Never("not told of critical".to_owned()), 1);
        save(&mut ledger, recovery(), &Verdict::Now, 2);
        assert!(begin(&ledger, 9).is_empty());
        assert_eq!(why(&ledger), ["its problem was not told by this way", "not told of critical"]);
        // A later word of it that is told, and then its end.
        save(&mut ledger, notice(2, "PROBLEM", "CRITICAL"), &Verdict::Now, 3);
        save(&mut ledger, notice(3, "RECOVERY", "OK"), &Verdict::Now, 4);
        assert_eq!(begin(&ledger, 9), [("i.2".to_owned(), false), ("i.3".to_owned(), false)]);
    }

    #[test]
    fn what_waits_for_a_period_is_told_if_it_is_still_so() {
        let wait = Verdict::Wait("outside".to_owned());
        let fresh = || {
            let dir = tempfile::tempdir().expect("tmp");
            let mut ledger = Ledger::open(dir.path()).expect("opens");
            save(&mut ledger, problem(), &wait, 1);
            (dir, ledger)
        };
        // Still bad, and told twice meanwhile: the newest word.
        let (_dir, mut ledger) = fresh();
        save(&mut ledger, notice(1, "PROBLEM", "CRITICAL"), &wait, 2);
        assert_eq!(ledger.channels_due(5).expect("reads"), ["a"]);
        ledger.open_period("a", false, true, 5).expect("waits");
        assert!(begin(&ledger, 6).is_empty() && ledger.channels_due(6).expect("r").is_empty());
        ledger.open_period("a", true, true, 40_000).expect("opens");
        assert_eq!(begin(&ledger, 40_000), [("i.1".to_owned(), false)]);
        // Over: nobody is told of either, the digest has it.
        let (_dir, mut ledger) = fresh();
        save(&mut ledger, notice(1, "RECOVERY", "OK"), &wait, 2);
        ledger.open_period("a", true, true, 5).expect("opens");
        assert!(begin(&ledger, 9).is_empty());
        let rows = held(&ledger.conn, "a", "digest").expect("reads");
        assert_eq!(rows.len(), 1);
        assert_eq!(over_ms(&ledger.conn, &rows[0].1, "a").expect("reads"), Some(2));
        // Without a digest it is only kept, to be explained.
        let (_dir, mut ledger) = fresh();
        save(&mut ledger, notice(1, "RECOVERY", "OK"), &wait, 2);
        ledger.open_period("a", true, false, 5).expect("opens");
        assert!(begin(&ledger, 9).is_empty());
        assert_eq!(why(&ledger)[0], "it was over when its period opened");
        // Told within the period, over outside of it: the end is told.
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        save(&mut ledger, problem(), &Verdict::Now, 1);
        ledger.settle(1, 2, None).expect("told");
        save(&mut ledger, notice(1, "PROBLEM", "CRITICAL"), &wait, 3);
        save(&mut ledger, notice(2, "RECOVERY", "OK"), &wait, 4);
        ledger.open_period("a", true, true, 5).expect("opens");
        assert_eq!(begin(&ledger, 9), [("i.2".to_owned(), false)]);
    }
}
