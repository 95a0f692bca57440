//! `state.sqlite`: what the alert machine must remember, what has changed, and
//! who is still to be told.
//!
//! Table `record`: the machine's state, by key. `transition`: every change, for
//! ever. `outbox`: one row for each notice and channel, see [`super::outbox`].
//! `digest`: up to when each channel had its daily digest.

use crate::db;
use crate::store::StoreError;
use rookery_alerts::{Notice, StateRecord, Transition};
use rookery_plugins::TimeMs;
use rusqlite::{Connection, params};
use std::collections::BTreeSet;
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
CREATE TABLE IF NOT EXISTS digest(
  channel TEXT PRIMARY KEY, day TEXT NOT NULL, until_ms INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS trouble(
  what TEXT PRIMARY KEY, since_ms INTEGER NOT NULL, text TEXT NOT NULL) WITHOUT ROWID;
";

/// Columns of the outbox that older databases lack.
const ADDED: [(&str, &str); 2] = [("begun_ms", "INTEGER"), ("held", "TEXT")];

/// The database, open.
pub struct Ledger {
    pub(super) path: PathBuf,
    pub(super) conn: Connection,
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
    /// When it is tried next, where it was not told yet, on the dispatcher's clock, ms.
    pub next_ms: TimeMs,
    /// What went wrong last, or why it is not told now.
    pub error: Option<String>,
    /// `period`: it waits for one; `digest`: for the next one; `never`: it is not told.
    pub held: Option<String>,
}

impl Ledger {
    /// Opens it in `dir`.
    pub fn open(dir: &Path) -> Result<Ledger, StoreError> {
        let path = dir.join("state.sqlite");
        let err = |e| StoreError::db(&path, e);
        db::make_whole(&path, SCHEMA, |path| db::open_durable(path, db::SMALL_PAGE_BYTES))?;
        let conn = db::open_durable(&path, db::SMALL_PAGE_BYTES)?;
        conn.execute_batch(SCHEMA).map_err(err)?;
        for (column, kind) in ADDED {
            let sql = "SELECT count(*) FROM pragma_table_info('outbox') WHERE name = ?1";
            let is_there = || conn.query_row(sql, [column], |r| r.get::<_, bool>(0));
            let add = format!("ALTER TABLE outbox ADD COLUMN {column} {kind}");
            if !is_there().map_err(err)?
                && let Err(e) = conn.execute_batch(&add)
                // Another connection of this process may have been quicker.
                && !is_there().map_err(err)?
            {
                return Err(err(e));
            }
        }
        Ok(Ledger { path, conn })
    }

    pub(super) fn err(&self, e: rusqlite::Error) -> StoreError {
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
                "SELECT json, channel, created_ms, n_tries, sent_ms, next_ms, error, held \
                 FROM outbox \
                 WHERE json ->> 'node' = ?1 AND json ->> 'service' IS ?2 \
                 OR EXISTS (SELECT 1 FROM json_each(outbox.json, '$.with') AS w \
                   WHERE w.value ->> 'node' = ?1 AND w.value ->> 'service' IS ?2) \
                 OR EXISTS (SELECT 1 FROM json_each(outbox.json, '$.behind') AS b \
                   WHERE b.value = ?4) \
                 ORDER BY id DESC LIMIT ?3",
            )?;
            let place = service.map_or_else(|| node.to_owned(), |s| format!("{node}/{s}"));
            let notices = tellings(stmt.query(params![node, service, n as i64, place])?)?;
            Ok(Past { transitions, notices })
        };
        read().map_err(|e| self.err(e))
    }

    /// What was to be told of an incident, newest first, and how the states of those
    /// whom that names changed from its beginning to its last notice; at most `n` of
    /// each.
    pub fn past_of(&self, incident: &str, n: usize) -> Result<Past, StoreError> {
        let read = || -> rusqlite::Result<Past> {
            let mut stmt = self.conn.prepare(
                "SELECT json, channel, created_ms, n_tries, sent_ms, next_ms, error, held \
                 FROM outbox WHERE json ->> 'incident' = ?1 ORDER BY id DESC LIMIT ?2",
            )?;
            let notices = tellings(stmt.query(params![incident, n as i64])?)?;
            let mut places = BTreeSet::new();
            for Telling { notice, .. } in &notices {
                places.insert((notice.node.clone(), notice.service.clone()));
                let with = notice.with.iter().map(|p| (p.node.clone(), p.service.clone()));
                places.extend(with);
            }
            let since = notices.iter().map(|t| t.notice.since_ms).min().unwrap_or(0);
            let until = notices.iter().map(|t| t.notice.time_ms).max().unwrap_or(0);
            let mut stmt = self.conn.prepare(
                "SELECT json FROM transition WHERE node = ?1 AND service IS ?2 \
                 AND time_ms BETWEEN ?3 AND ?4 ORDER BY id DESC LIMIT ?5",
            )?;
            let mut transitions: Vec<Transition> = Vec::new();
            for (node, service) in places {
                let found = params![node, service, since, until, n as i64];
                let texts: Vec<String> =
                    stmt.query_map(found, |r| r.get(0))?.collect::<Result<_, _>>()?;
                transitions.extend(texts.iter().filter_map(|t| serde_json::from_str(t).ok()));
            }
            transitions.sort_by_key(|t| std::cmp::Reverse(t.time_ms));
            transitions.truncate(n);
            Ok(Past { transitions, notices })
        };
        read().map_err(|e| self.err(e))
    }

    /// What happened to the node `from` happened to `to`: its changes, and its notices,
    /// also those that still wait.
    pub fn rename(&mut self, from: &str, to: &str) -> Result<(), StoreError> {
        let rename = |conn: &mut Connection| -> rusqlite::Result<()> {
            let tx = conn.transaction()?;
            tx.execute(
                "UPDATE transition SET node = ?2, json = json_set(json, '$.node', ?2) \
                 WHERE node = ?1",
                [from, to],
            )?;
            tx.execute(
                "UPDATE outbox SET json = json_set(json, '$.node', ?2) \
                 WHERE json ->> 'node' = ?1",
                [from, to],
            )?;
            tx.commit()
        };
        rename(&mut self.conn).map_err(|e| StoreError::db(&self.path, e))
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
}

fn tellings(mut rows: rusqlite::Rows<'_>) -> rusqlite::Result<Vec<Telling>> {
    let mut notices = Vec::new();
    while let Some(r) = rows.next()? {
        let json: String = r.get(0)?;
        let Ok(notice) = serde_json::from_str(&json) else { continue };
        let (created_ms, next_ms): (TimeMs, TimeMs) = (r.get(2)?, r.get(5)?);
        notices.push(Telling {
            notice,
            channel: r.get(1)?,
            created_ms,
            n_tries: r.get(3)?,
            sent_ms: r.get(4)?,
            next_ms: next_ms.max(created_ms),
            error: r.get(6)?,
            held: r.get(7)?,
        });
    }
    Ok(notices)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_alerts::Verdict;

    #[test]
    fn a_notice_is_of_all_whom_it_names() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        let json = r#"{"id":"i.0","incident":"i","sequence":0,"kind":"PROBLEM","node":"n",
            "service":"s","state":"CRITICAL","since_ms":1,"time_ms":2,"values":[],"text":"x"}"#;
        let mut notice: Notice = serde_json::from_str(json).expect("a notice");
        let part = r#"{"node":"m","service":"t","state":"WARNING","text":""}"#;
        notice.with = vec![serde_json::from_str(part).expect("a part")];
        notice.behind = vec!["web1/wordpress".to_owned(), "rack1".to_owned()];
        let all = [rookery_alerts::Output::Notice(notice)];
        ledger.save(&all, |_| vec![("a".to_owned(), Verdict::Now)], 10).expect("saves");
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
    fn a_database_of_before_gets_the_new_columns() {
        let dir = tempfile::tempdir().expect("tmp");
        let conn = Connection::open(dir.path().join("state.sqlite")).expect("opens");
        conn.execute_batch(SCHEMA).expect("as it was");
        drop(conn);
        let ledger = Ledger::open(dir.path()).expect("opens");
        assert!(ledger.begin("a", 1, 1).expect("has begun_ms and held").is_empty());
        drop(Ledger::open(dir.path()).expect("opens again"));
    }
}
