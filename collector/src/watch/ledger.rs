//! `state.sqlite`: what the alert machine must remember, what has changed, and
//! who is still to be told.
//!
//! Table `record`: the machine's state, by key. `transition`: every change, for
//! ever. `outbox`: one row for each notice and channel; `sent_ms` is null until
//! it is told. `begun_ms` is set while it is being told: after a crash between
//! telling and noting it is told once more, with the same Message-ID, and marked as
//! a repeat.

use crate::db;
use crate::store::StoreError;
use rookery_alerts::{Notice, Output, RecordState, StateRecord, Transition};
use rookery_plugins::TimeMs;
use rusqlite::{Connection, params};
use std::path::{Path, PathBuf};

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS record(key TEXT PRIMARY KEY, json TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS transition(
  id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, node TEXT NOT NULL, service TEXT,
  json TEXT NOT NULL);
CREATE INDEX IF NOT EXISTS transition_by_node ON transition(node, service, time_ms);
CREATE TABLE IF NOT EXISTS outbox(
  id INTEGER PRIMARY KEY, notice_id TEXT NOT NULL, channel TEXT NOT NULL, json TEXT NOT NULL,
  created_ms INTEGER NOT NULL, n_tries INTEGER NOT NULL DEFAULT 0,
  next_ms INTEGER NOT NULL, sent_ms INTEGER, error TEXT,
  UNIQUE(notice_id, channel));
CREATE INDEX IF NOT EXISTS outbox_due ON outbox(next_ms) WHERE sent_ms IS NULL;
";

/// A column that older databases lack.
const BEGUN: &str = "ALTER TABLE outbox ADD COLUMN begun_ms INTEGER";

/// The database, open.
pub struct Ledger {
    path: PathBuf,
    conn: Connection,
}

/// A notice that is still to be told.
pub struct Due {
    /// Its row.
    pub id: i64,
    /// The channel.
    pub channel: String,
    /// What to tell.
    pub notice: Notice,
    /// How often it was tried.
    pub n_tries: u32,
}

/// What was, newest first.
#[derive(Debug, Default, serde::Serialize)]
pub struct Past {
    /// Changes of state.
    pub transitions: Vec<Transition>,
    /// What was to be told.
    pub notices: Vec<Telling>,
}

/// A notice on its way to a channel.
#[derive(Debug, serde::Serialize)]
pub struct Telling {
    /// What.
    pub notice: Notice,
    /// By which way.
    pub channel: String,
    /// When it was decided, on the collector's clock, ms.
    pub created_ms: TimeMs,
    /// How often it was tried.
    pub n_tries: u32,
    /// When it was told, or given up (then `error` says why); `None`: not yet.
    pub sent_ms: Option<TimeMs>,
    /// When it is tried next, where it was not told yet, ms.
    pub next_ms: TimeMs,
    /// What went wrong last.
    pub error: Option<String>,
}

impl Ledger {
    /// Opens it in `dir`.
    pub fn open(dir: &Path) -> Result<Ledger, StoreError> {
        let path = dir.join("state.sqlite");
        let err = |e| StoreError::db(&path, e);
        db::make_whole(&path, SCHEMA, |path| db::open_durable(path, db::SMALL_PAGE_BYTES))?;
        let conn = db::open_durable(&path, db::SMALL_PAGE_BYTES)?;
        conn.execute_batch(SCHEMA).map_err(err)?;
        let sql = "SELECT count(*) FROM pragma_table_info('outbox') WHERE name = 'begun_ms'";
        let n: i64 = conn.query_row(sql, [], |r| r.get(0)).map_err(err)?;
        if n == 0
            && let Err(e) = conn.execute_batch(BEGUN)
        {
            // Another connection of this process may have been quicker.
            let n: i64 = conn.query_row(sql, [], |r| r.get(0)).map_err(err)?;
            if n == 0 {
                return Err(err(e));
            }
        }
        Ok(Ledger { path, conn })
    }

    fn err(&self, e: rusqlite::Error) -> StoreError {
        StoreError::db(&self.path, e)
    }

    /// The newest changes and notices of a service, or of a node itself; at most
    /// `n` of each. Notices that name it as of their incident, or as standing behind
    /// it, are among them.
    pub fn past(&self, node: &str, service: Option<&str>, n: usize) -> Result<Past, StoreError> {
        let read = || -> rusqlite::Result<Past> {
            let mut stmt = self.conn.prepare(
                "SELECT json FROM transition WHERE node = ?1 AND service IS ?2 \
                 ORDER BY id DESC LIMIT ?3",
            )?;
            let texts: Vec<String> = stmt
                .query_map(params![node, service, n as i64], |r| r.get(0))?
                .collect::<Result<_, _>>()?;
            let transitions =
                texts.iter().filter_map(|json| serde_json::from_str(json).ok()).collect();
            let mut stmt = self.conn.prepare(
                "SELECT json, channel, created_ms, n_tries, sent_ms, next_ms, error FROM outbox \
                 WHERE json ->> 'node' = ?1 AND json ->> 'service' IS ?2 \
                 OR EXISTS (SELECT 1 FROM json_each(outbox.json, '$.with') AS w \
                   WHERE w.value ->> 'node' = ?1 AND w.value ->> 'service' IS ?2) \
                 OR EXISTS (SELECT 1 FROM json_each(outbox.json, '$.behind') AS b \
                   WHERE b.value = ?4) \
                 ORDER BY id DESC LIMIT ?3",
            )?;
            let place = service.map_or_else(|| node.to_owned(), |s| format!("{node}/{s}"));
            let mut notices = Vec::new();
            let mut rows = stmt.query(params![node, service, n as i64, place])?;
            while let Some(r) = rows.next()? {
                let json: String = r.get(0)?;
                let Ok(notice) = serde_json::from_str(&json) else { continue };
                notices.push(Telling {
                    notice,
                    channel: r.get(1)?,
                    created_ms: r.get(2)?,
                    n_tries: r.get(3)?,
                    sent_ms: r.get(4)?,
                    next_ms: r.get(5)?,
                    error: r.get(6)?,
                });
            }
            Ok(Past { transitions, notices })
        };
        read().map_err(|e| self.err(e))
    }

    /// All records, for [`rookery_alerts::Machine::restore`].
    pub fn records(&self) -> Result<Vec<StateRecord>, StoreError> {
        let read = || -> rusqlite::Result<Vec<String>> {
            let mut stmt = self.conn.prepare("SELECT json FROM record")?;
            stmt.query_map([], |r| r.get(0))?.collect()
        };
        let texts = read().map_err(|e| self.err(e))?;
        let parse = |json: &String| match serde_json::from_str(json) {
            Ok(record) => Some(record),
            Err(e) => {
                tracing::error!("{}: a record cannot be read: {e}", self.path.display());
                None
            }
        };
        Ok(texts.iter().filter_map(parse).collect())
    }

    /// Writes all of it in one commit. Returns how many notices wait now.
    pub fn save(
        &mut self,
        outputs: &[Output],
        channels: impl Fn(&Notice) -> Vec<String>,
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
                    for channel in channels(notice) {
                        tx.prepare_cached(
                            "INSERT OR IGNORE INTO outbox(notice_id, channel, json, created_ms, \
                             next_ms) VALUES (?1, ?2, ?3, ?4, ?4)",
                        )
                        .and_then(|mut s| {
                            s.execute(params![notice.id, channel, json(notice), now_ms])
                        })
                        .map_err(err)?;
                        n_notices += 1;
                    }
                }
            }
        }
        tx.commit().map_err(err)?;
        Ok(n_notices)
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
        let read = || -> rusqlite::Result<Vec<(i64, String, u32, bool)>> {
            let mut stmt = self.conn.prepare_cached(
                "SELECT id, json, n_tries, begun_ms IS NOT NULL FROM outbox \
                 WHERE sent_ms IS NULL AND next_ms <= ?1 AND channel = ?2 ORDER BY id LIMIT ?3",
            )?;
            stmt.query_map(params![now_ms, channel, n as i64], |r| {
                Ok((r.get(0)?, r.get(1)?, r.get(2)?, r.get(3)?))
            })?
            .collect()
        };
        let rows = read().map_err(|e| self.err(e))?;
        let mut due = Vec::new();
        for (id, json, n_tries, was_begun) in rows {
            match serde_json::from_str::<Notice>(&json) {
                Ok(mut notice) => {
                    notice.repeated |= was_begun;
                    due.push(Due { id, channel: channel.to_owned(), notice, n_tries });
                }
                Err(e) => self.settle(id, now_ms, Some(&format!("unreadable: {e}")))?,
            }
        }
        if let Some(last) = due.last() {
            self.conn
                .execute(
                    "UPDATE outbox SET begun_ms = ?1 WHERE sent_ms IS NULL AND next_ms <= ?1 \
                     AND channel = ?2 AND id <= ?3",
                    params![now_ms, channel, last.id],
                )
                .map_err(|e| self.err(e))?;
        }
        Ok(due)
    }

    /// Has other channels tell it, too; those that have it already do not.
    pub fn also(
        &self,
        notice: &Notice,
        channels: &[String],
        now_ms: TimeMs,
    ) -> Result<(), StoreError> {
        for channel in channels {
            self.conn
                .execute(
                    "INSERT OR IGNORE INTO outbox(notice_id, channel, json, created_ms, next_ms) \
                     VALUES (?1, ?2, ?3, ?4, ?4)",
                    params![notice.id, channel, json(notice), now_ms],
                )
                .map_err(|e| self.err(e))?;
        }
        Ok(())
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

fn json(value: &impl serde::Serialize) -> String {
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

    fn notice() -> Notice {
        let json = r#"{"id":"i.0","incident":"i","sequence":0,"kind":"PROBLEM","node":"n",
            "service":"s","state":"CRITICAL","since_ms":1,"time_ms":2,"values":[],"text":"x"}"#;
        serde_json::from_str(json).expect("a notice")
    }

    #[test]
    fn what_was_begun_and_never_noted_is_a_repeat() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        let both = |_: &Notice| vec!["a".to_owned(), "b".to_owned()];
        ledger.save(&[Output::Notice(notice())], both, 10).expect("saves");
        assert_eq!(ledger.channels_due(10).expect("reads"), ["a", "b"]);
        let begin = |ledger: &Ledger, now| -> Vec<(i64, bool)> {
            let due = ledger.begin("a", now, 9).expect("begins");
            due.iter().map(|d| (d.id, d.notice.repeated)).collect()
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
    fn a_notice_is_of_all_whom_it_names() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        let mut notice = notice();
        let part = r#"{"node":"m","service":"t","state":"WARNING","text":""}"#;
        notice.with = vec![serde_json::from_str(part).expect("a part")];
        notice.behind = vec!["web1/wordpress".to_owned(), "rack1".to_owned()];
        ledger.save(&[Output::Notice(notice)], |_| vec!["a".to_owned()], 10).expect("saves");
        let n = |node: &str, service: Option<&str>| {
            ledger.past(node, service, 9).expect("reads").notices.len()
        };
        for (node, service) in
            [("n", Some("s")), ("m", Some("t")), ("web1", Some("wordpress")), ("rack1", None)]
        {
            assert_eq!(n(node, service), 1, "{node} {service:?}");
        }
        assert_eq!((n("m", None), n("web1", None), n("n", None)), (0, 0, 0));
    }

    #[test]
    fn a_database_of_before_gets_the_new_column() {
        let dir = tempfile::tempdir().expect("tmp");
        let conn = Connection::open(dir.path().join("state.sqlite")).expect("opens");
        conn.execute_batch(SCHEMA).expect("as it was");
        drop(conn);
        let ledger = Ledger::open(dir.path()).expect("opens");
        assert!(ledger.begin("a", 1, 1).expect("has begun_ms").is_empty());
        drop(Ledger::open(dir.path()).expect("opens again"));
    }
}
