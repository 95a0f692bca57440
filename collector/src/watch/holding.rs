//! What waits in the outbox for something else than its next try: for a contact's
//! period, for who is to be told in another's stead, for a channel that there is no more.

use super::ledger::Ledger;
use super::rows::{held, json, never, put, was_told};
use crate::store::StoreError;
use rookery_alerts::{Notice, NoticeKind, Verdict};
use rookery_plugins::TimeMs;
use rusqlite::params;
use std::collections::BTreeMap;

/// What waits for a period is looked at so often, ms.
const PERIOD_MS: TimeMs = 30_000;

impl Ledger {
    /// Has these channels tell it in another's stead, now and whatever they want for
    /// themselves; those that have it already do not.
    pub fn also(
        &self,
        notice: &Notice,
        channels: &[String],
        now_ms: TimeMs,
    ) -> Result<(), StoreError> {
        let wake = || -> rusqlite::Result<()> {
            for channel in channels {
                put(&self.conn, notice, channel, Verdict::Now, now_ms)?;
                // What it has is held back: it is needed.
                self.conn
                    .prepare_cached(
                        "UPDATE outbox SET held = NULL, error = NULL, sent_ms = NULL, \
                         next_ms = 0, json = ?3 \
                         WHERE notice_id = ?1 AND channel = ?2 AND held IS NOT NULL",
                    )?
                    .execute(params![notice.id, channel, json(notice)])?;
            }
            Ok(())
        };
        wake().map_err(|e| self.err(e))
    }

    /// Gives what waits for channels that there are no more to their heirs: a way by mail
    /// is one channel for each recipient, who come and go.
    pub fn inherit(&mut self, heirs: impl Fn(&str) -> Vec<String>) -> Result<(), StoreError> {
        let path = self.path.clone();
        let err = |e| StoreError::db(&path, e);
        let tx = self.conn.transaction().map_err(err)?;
        let channels: Vec<String> = {
            let sql = "SELECT DISTINCT channel FROM outbox WHERE sent_ms IS NULL";
            let mut stmt = tx.prepare(sql).map_err(err)?;
            let found = stmt.query_map([], |r| r.get(0)).map_err(err)?;
            found.collect::<Result<_, _>>().map_err(err)?
        };
        for channel in channels {
            let heirs = heirs(&channel);
            if heirs.is_empty() || heirs.contains(&channel) {
                continue;
            }
            for heir in heirs {
                tx.execute(
                    "INSERT OR IGNORE INTO outbox(notice_id, channel, json, created_ms, n_tries, \
                     next_ms, error, begun_ms, held) \
                     SELECT notice_id, ?2, json, created_ms, n_tries, next_ms, error, begun_ms, \
                     held FROM outbox WHERE channel = ?1 AND sent_ms IS NULL ORDER BY id",
                    [&channel, &heir],
                )
                .map_err(err)?;
            }
            let sql = "DELETE FROM outbox WHERE channel = ?1 AND sent_ms IS NULL";
            tx.execute(sql, [&channel]).map_err(err)?;
        }
        tx.commit().map_err(err)
    }

    /// Has nothing wait longer than `pause_ms` from now: the clock was set while the
    /// collector was down.
    pub fn wake(&self, now_ms: TimeMs, pause_ms: TimeMs) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE outbox SET next_ms = 0 WHERE sent_ms IS NULL AND next_ms > ?1 \
                 AND (held IS NULL OR held = 'period')",
                [now_ms.saturating_add(pause_ms)],
            )
            .map_err(|e| self.err(e))?;
        Ok(())
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
}
