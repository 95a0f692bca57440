//! A way of telling that fails is itself told, by the other ways.
//!
//! Who sends notes in [`Health`] what fails and what works; the postman makes of it
//! notices of the node `rookery`, kept in the ledger's table `trouble` so that a restart
//! tells nothing twice. What fails now is shown on `/problems` and by `rookery status`.

use super::ledger::Ledger;
use super::rows::put;
use crate::history::Trouble;
use crate::store::StoreError;
use rookery_alerts::message::{OWN_NODE, OWN_TITLE};
use rookery_alerts::{Notice, NoticeKind, Notifier, Status};
use rookery_plugins::{State, TimeMs};
use rusqlite::params;
use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// What fails for so long is told, ms.
pub const TROUBLE_MS: TimeMs = 300_000;

/// What fails, and what works again, since it was last looked at.
#[derive(Debug, Default)]
pub struct Health(Mutex<BTreeMap<String, Seen>>);

#[derive(Clone, Debug, PartialEq)]
enum Seen {
    Works,
    Fails(Failure),
}

#[derive(Clone, Debug, PartialEq)]
struct Failure {
    /// By the wall clock, ms, to be shown.
    since_ms: TimeMs,
    /// By one that nobody sets; `None`: since before the start.
    since: Option<Instant>,
    is_certain: bool,
    error: String,
}

impl Failure {
    fn is_certain(&self) -> bool {
        let lasts = |since: Instant| since.elapsed() >= Duration::from_millis(TROUBLE_MS as u64);
        self.is_certain || self.since.is_none_or(lasts)
    }
}

impl Health {
    /// It has failed. `is_certain`: trying again is of no use, so it is told at once.
    pub fn failed(&self, what: &str, error: &str, is_certain: bool, now_ms: TimeMs) {
        self.note(what, error, is_certain, (now_ms, Some(Instant::now())));
    }

    fn note(&self, what: &str, error: &str, is_certain: bool, now: (TimeMs, Option<Instant>)) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let (since_ms, since) = match all.get(what) {
            Some(Seen::Fails(f)) => (f.since_ms, f.since),
            _ => now,
        };
        let error = error.to_owned();
        all.insert(what.to_owned(), Seen::Fails(Failure { since_ms, since, is_certain, error }));
    }

    /// It has worked.
    pub fn works(&self, what: &str) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.insert(what.to_owned(), Seen::Works);
    }

    /// What fails now, told or not.
    pub fn troubles(&self) -> Vec<Trouble> {
        let all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let fails = all.iter().filter_map(|(what, seen)| match seen {
            Seen::Works => None,
            Seen::Fails(f) => {
                Some(Trouble { what: what.clone(), since_ms: f.since_ms, error: f.error.clone() })
            }
        });
        fails.collect()
    }

    /// What is certain by now: that it works (said once), or since when it fails.
    fn certain(&self) -> Vec<(String, Option<(TimeMs, String)>)> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let mut found = Vec::new();
        all.retain(|what, seen| match seen {
            Seen::Works => {
                found.push((what.clone(), None));
                false
            }
            Seen::Fails(f) => {
                if f.is_certain() {
                    found.push((what.clone(), Some((f.since_ms, f.error.clone()))));
                }
                true
            }
        });
        found
    }
}

impl Ledger {
    /// Notes what was told to fail before the restart, and forgets what there is no
    /// more: `exists` says which ways there are.
    pub fn read_troubles(
        &self,
        health: &Health,
        exists: impl Fn(&str) -> bool,
    ) -> Result<(), StoreError> {
        let sql = "SELECT what, since_ms, text FROM trouble";
        let read = || -> rusqlite::Result<Vec<(String, TimeMs, String)>> {
            let mut stmt = self.conn.prepare(sql)?;
            stmt.query_map([], |r| Ok((r.get(0)?, r.get(1)?, r.get(2)?)))?.collect()
        };
        for (what, since_ms, text) in read().map_err(|e| self.err(e))? {
            if exists(&what) {
                health.note(&what, &text, false, (since_ms, None));
            } else {
                let gone = "DELETE FROM trouble WHERE what = ?1";
                self.conn.execute(gone, [&what]).map_err(|e| self.err(e))?;
            }
        }
        Ok(())
    }

    /// Makes notices of what fails now and did not, and of what works again.
    pub fn write_troubles(
        &mut self,
        notifier: &Notifier,
        health: &Health,
        now_ms: TimeMs,
    ) -> Result<(), StoreError> {
        let certain = health.certain();
        if certain.is_empty() {
            return Ok(());
        }
        let path = self.path.clone();
        let err = |e| StoreError::db(&path, e);
        let tx = self.conn.transaction().map_err(err)?;
        for (what, failing) in certain {
            let told: Option<TimeMs> = {
                let sql = "SELECT since_ms FROM trouble WHERE what = ?1";
                let mut stmt = tx.prepare_cached(sql).map_err(err)?;
                let mut rows = stmt.query([&what]).map_err(err)?;
                rows.next().map_err(err)?.map(|r| r.get(0)).transpose().map_err(err)?
            };
            let notice = match (told, failing) {
                (None, Some((since_ms, error))) => {
                    let sql = "INSERT INTO trouble VALUES (?1, ?2, ?3)";
                    tx.execute(sql, params![what, since_ms, error]).map_err(err)?;
                    notice(&what, NoticeKind::Problem, since_ms, now_ms, &error)
                }
                (Some(since_ms), None) => {
                    tx.execute("DELETE FROM trouble WHERE what = ?1", [&what]).map_err(err)?;
                    notice(&what, NoticeKind::Recovery, since_ms, now_ms, "it works again")
                }
                _ => continue,
            };
            tracing::warn!("{} is {}: {}", what, notice.state, notice.text);
            // Not by the way that fails.
            let others = notifier.channels_for(&notice).into_iter().filter(|c| *c != what);
            for channel in others {
                let verdict = notifier.verdict(&channel, &notice, now_ms);
                put(&tx, &notice, &channel, verdict, now_ms).map_err(err)?;
            }
        }
        tx.commit().map_err(err)
    }
}

fn notice(what: &str, kind: NoticeKind, since_ms: TimeMs, now_ms: TimeMs, text: &str) -> Notice {
    let is_problem = kind == NoticeKind::Problem;
    let sequence = u32::from(!is_problem);
    let incident = format!("{since_ms:x}-{:08x}", crc32fast::hash(what.as_bytes()));
    let state = if is_problem { State::Critical } else { State::Ok };
    Notice {
        id: format!("{incident}.{sequence}"),
        incident,
        sequence,
        kind,
        node: OWN_NODE.to_owned(),
        of_group: false,
        service: Some(what.to_owned()),
        title: OWN_TITLE.to_owned(),
        state: Status::Service(state),
        since_ms,
        time_ms: now_ms,
        values: Vec::new(),
        text: text.to_owned(),
        with: Vec::new(),
        n_with: 0,
        behind: Vec::new(),
        n_behind: 0,
        contacts: Vec::new(),
        labels: BTreeMap::new(),
        repeated: false,
        instead_of: None,
        is_catch_up: false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_alerts::ContactConfig;

    #[test]
    fn what_fails_is_told_once_by_the_others_and_so_is_its_end() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        let contact = |name: &str| ContactConfig {
            name: name.to_owned(),
            file: dir.path().join(name),
            ..ContactConfig::default()
        };
        let all = vec![contact("a"), contact("b")];
        let notifier = Notifier::new(None, all, "").expect("right");
        let health = Health::default();
        let mut write = |now| {
            ledger.write_troubles(&notifier, &health, now).expect("writes");
            let past = ledger.past(OWN_NODE, Some("contact a file"), 9).expect("reads");
            let of = |t: &super::super::ledger::Telling| (t.channel.clone(), t.notice.kind);
            past.notices.iter().map(of).collect::<Vec<_>>()
        };
        health.failed("contact a file", "disk full", false, 1000);
        assert!(write(2000).is_empty(), "it may pass");
        // However the wall clock is set meanwhile.
        assert!(write(2000 + 2 * TROUBLE_MS).is_empty(), "it may pass");
        health.works("contact a file");
        let before = Instant::now() - Duration::from_millis(TROUBLE_MS as u64);
        health.note("contact a file", "disk full", false, (1000, Some(before)));
        health.failed("contact a file", "disk full", false, 200_000);
        let problem = ("contact b file".to_owned(), NoticeKind::Problem);
        assert_eq!(write(1000 + TROUBLE_MS), std::slice::from_ref(&problem));
        assert_eq!(write(2000 + TROUBLE_MS), std::slice::from_ref(&problem), "once");
        // After a restart nothing is known until it fails or works.
        health.works("contact a file");
        let recovery = ("contact b file".to_owned(), NoticeKind::Recovery);
        assert_eq!(write(3000 + TROUBLE_MS), [recovery.clone(), problem.clone()]);
        assert_eq!(write(4000 + TROUBLE_MS).len(), 2);
        // A new start knows what was told, of ways that there are still.
        let troubles = |exists: bool| {
            let (ledger, health) = (Ledger::open(dir.path()).expect("opens"), Health::default());
            ledger.read_troubles(&health, |_| exists).expect("reads");
            health.troubles().into_iter().map(|t| (t.what, t.since_ms)).collect::<Vec<_>>()
        };
        assert_eq!(troubles(true), []);
        // What is refused for good is told at once.
        health.failed("contact a file", "no such user", true, 900_000);
        assert_eq!(write(900_000), [problem.clone(), recovery, problem]);
        assert_eq!(troubles(true), [("contact a file".to_owned(), 900_000)]);
        assert_eq!((troubles(false), troubles(true)), (vec![], vec![]));
    }
}
