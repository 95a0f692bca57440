//! Marks in time: `deployed r1234`, about everything, a group or one node.
//!
//! In: a text, a time and whom it concerns. Out: the events of a span, for
//! pages and graphs. They stand in the table `event` of `state.sqlite`, on disk
//! before [`Events::add`] returns, and are never changed.

use crate::db;
use crate::store::StoreError;
use rookery_plugins::{TimeMs, times};
use rusqlite::{Connection, Row, params};
use serde::{Deserialize, Serialize};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Longest text, bytes.
pub const TEXT_BYTES_MAX: usize = 500;
/// Longest name of a node or group, bytes.
const NAME_BYTES_MAX: usize = 255;
/// Most events that one reading returns.
pub const EVENTS_MAX: usize = 1000;

const SCHEMA: &str = "
CREATE TABLE IF NOT EXISTS event(
  id INTEGER PRIMARY KEY, time_ms INTEGER NOT NULL, text TEXT NOT NULL, node TEXT,
  in_group TEXT, created_ms INTEGER NOT NULL);
CREATE INDEX IF NOT EXISTS event_by_time ON event(time_ms);
";

/// An event that is kept.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Event {
    /// Its number.
    pub id: i64,
    /// When it happened, UTC.
    pub time_ms: TimeMs,
    /// What happened: one line, from people or scripts; untrusted.
    pub text: String,
    /// The node that it concerns; with no group either: all.
    pub node: Option<String>,
    /// The group that it concerns.
    pub group: Option<String>,
}

/// An event to be kept.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewEvent {
    /// What happened.
    pub text: String,
    /// The node that it concerns.
    pub node: Option<String>,
    /// The group that it concerns; not with a node.
    pub group: Option<String>,
}

impl NewEvent {
    /// Trimmed, with empty names left out; the error names the fault.
    pub fn check(self, time_ms: TimeMs, now_ms: TimeMs) -> Result<NewEvent, String> {
        let text = self.text.trim().to_owned();
        if text.is_empty() {
            return Err("text: say what happened (\"deployed r1234\")".to_owned());
        }
        if text.len() > TEXT_BYTES_MAX {
            return Err(format!("text: {} bytes; at most {TEXT_BYTES_MAX} are kept", text.len()));
        }
        if text.chars().any(char::is_control) {
            return Err("text: it must be one line, without control characters".to_owned());
        }
        let name = |what: &str, name: Option<String>| match name.map(|n| n.trim().to_owned()) {
            Some(n) if n.len() > NAME_BYTES_MAX => {
                Err(format!("{what}: {} bytes; no name has more than {NAME_BYTES_MAX}", n.len()))
            }
            n => Ok(n.filter(|n| !n.is_empty())),
        };
        let (node, group) = (name("node", self.node)?, name("group", self.group)?);
        if node.is_some() && group.is_some() {
            return Err("an event concerns a node or a group, not both: send it twice".to_owned());
        }
        times::check(time_ms, now_ms).map_err(|e| e.to_string())?;
        Ok(NewEvent { text, node, group })
    }
}

/// The events, open.
pub struct Events {
    path: PathBuf,
    conn: Mutex<Connection>,
    version: AtomicU64,
}

impl Events {
    /// Opens those of the history in `dir`.
    pub fn open(dir: &Path) -> Result<Events, StoreError> {
        let path = dir.join("state.sqlite");
        let err = |e| StoreError::db(&path, e);
        let conn = db::open_durable(&path, db::SMALL_PAGE_BYTES)?;
        conn.execute_batch(SCHEMA).map_err(err)?;
        Ok(Events { path, conn: Mutex::new(conn), version: AtomicU64::new(0) })
    }

    fn conn(&self) -> MutexGuard<'_, Connection> {
        self.conn.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A number that changes with every event: for caches.
    pub fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// Keeps a checked event. It is on disk when this returns.
    pub fn add(&self, new: NewEvent, time_ms: TimeMs, now_ms: TimeMs) -> Result<Event, StoreError> {
        let NewEvent { text, node, group } = new;
        let conn = self.conn();
        conn.execute(
            "INSERT INTO event(time_ms, text, node, in_group, created_ms) \
             VALUES (?1, ?2, ?3, ?4, ?5)",
            params![time_ms, text, node, group, now_ms],
        )
        .map_err(|e| StoreError::db(&self.path, e))?;
        self.version.fetch_add(1, Ordering::Release);
        Ok(Event { id: conn.last_insert_rowid(), time_ms, text, node, group })
    }

    /// Those with `from_ms <= time < to_ms`, newest first, at most `limit` and
    /// never more than [`EVENTS_MAX`].
    pub fn read(
        &self,
        from_ms: TimeMs,
        to_ms: TimeMs,
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let sql = "SELECT id, time_ms, text, node, in_group FROM event \
                   WHERE time_ms >= ?1 AND time_ms < ?2 ORDER BY time_ms DESC, id DESC LIMIT ?3";
        let limit = limit.min(EVENTS_MAX) as i64;
        self.query(sql, params![from_ms, to_ms, limit])
    }

    /// Those of a span that concern a node in a group: its own, its groups' (a
    /// group in a group is `a;b`) and everyone's; oldest first, the newest
    /// `limit`.
    pub fn concerning(
        &self,
        node: &str,
        group: &str,
        (from_ms, to_ms): (TimeMs, TimeMs),
        limit: usize,
    ) -> Result<Vec<Event>, StoreError> {
        let sql = "SELECT id, time_ms, text, node, in_group FROM event \
                   WHERE time_ms >= ?1 AND time_ms < ?2 AND (node = ?3 \
                   OR (node IS NULL AND in_group IS NULL) OR in_group = ?4 \
                   OR substr(?4, 1, length(in_group) + 1) = in_group || ';') \
                   ORDER BY time_ms DESC, id DESC LIMIT ?5";
        let limit = limit.min(EVENTS_MAX) as i64;
        let mut events = self.query(sql, params![from_ms, to_ms, node, group, limit])?;
        events.reverse();
        Ok(events)
    }

    fn query(&self, sql: &str, params: impl rusqlite::Params) -> Result<Vec<Event>, StoreError> {
        let conn = self.conn();
        let read = || -> rusqlite::Result<Vec<Event>> {
            conn.prepare_cached(sql)?.query_map(params, event)?.collect()
        };
        read().map_err(|e| StoreError::db(&self.path, e))
    }
}

fn event(row: &Row<'_>) -> rusqlite::Result<Event> {
    Ok(Event {
        id: row.get(0)?,
        time_ms: row.get(1)?,
        text: row.get(2)?,
        node: row.get(3)?,
        group: row.get(4)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn new(text: &str, node: Option<&str>, group: Option<&str>) -> NewEvent {
        let own = |t: Option<&str>| t.map(str::to_owned);
        NewEvent { text: text.to_owned(), node: own(node), group: own(group) }
    }

    fn texts(events: &[Event]) -> Vec<&str> {
        events.iter().map(|e| e.text.as_str()).collect()
    }

    #[test]
    fn events_are_kept_and_found_by_whom_they_concern() {
        let dir = tempfile::tempdir().expect("a folder");
        let events = Events::open(dir.path()).expect("opens");
        for (i, (text, node, group)) in [
            ("all", None, None),
            ("web1", Some("web1"), None),
            ("eu", None, Some("eu")),
            ("eu;web", None, Some("eu;web")),
            ("us", None, Some("us")),
        ]
        .into_iter()
        .enumerate()
        {
            let version = events.version();
            events.add(new(text, node, group), i as i64, 9).expect("writes");
            assert_ne!(events.version(), version);
        }
        drop(events);
        let events = Events::open(dir.path()).expect("opens again");
        let of = |node, group| events.concerning(node, group, (0, 10), 50).expect("reads");
        assert_eq!(texts(&of("web1", "eu;web")), ["all", "web1", "eu", "eu;web"]);
        assert_eq!(texts(&of("web2", "eu")), ["all", "eu"]);
        assert_eq!(texts(&of("web2", "europe")), ["all"]);
        assert_eq!(texts(&of("web2", "")), ["all"]);
        assert_eq!(texts(&events.read(1, 4, 2).expect("reads")), ["eu;web", "eu"]);
    }

    #[test]
    fn what_is_wrong_is_named() {
        let check = |e: NewEvent, t| e.check(t, 1000).expect_err("a fault");
        assert!(check(new(" ", None, None), 0).contains("say what happened"));
        assert!(check(new(&"x".repeat(501), None, None), 0).contains("501 bytes"));
        assert!(check(new("a\nb", None, None), 0).contains("one line"));
        assert!(check(new("a", Some("n"), Some("g")), 0).contains("not both"));
        assert!(check(new("a", Some(&"n".repeat(256)), None), 0).starts_with("node: 256"));
        assert!(check(new("a", None, None), -1).contains("before 1970"));
        assert!(check(new("a", None, None), 1 << 50).contains("ahead"));
        let good = new(" a ", Some(" "), Some("g ")).check(0, 1000);
        assert_eq!(good, Ok(new("a", None, Some("g"))));
    }
}
