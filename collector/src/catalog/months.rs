//! What is known of months' files without opening them: their newest journal position,
//! as long as a file is what it was.

use super::Catalog;
use crate::disk;
use crate::period::{Period, PeriodId};
use crate::store::StoreError;
use rusqlite::params;
use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;
use std::time::UNIX_EPOCH;

/// By what a file is known again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Stamp {
    bytes: i64,
    changed_ns: i64,
}

impl Stamp {
    /// Of a database that holds all that was written to it; `None`: some of it may stand
    /// in its WAL, or it cannot be looked at.
    fn of(path: &Path) -> Option<Stamp> {
        let wal = std::fs::metadata(disk::with_suffix(path, "-wal"));
        if wal.is_ok_and(|wal| wal.len() > 0) {
            return None;
        }
        let file = std::fs::metadata(path).ok()?;
        let changed = file.modified().ok()?.duration_since(UNIX_EPOCH).ok()?;
        Some(Stamp {
            bytes: file.len() as i64,
            changed_ns: i64::try_from(changed.as_nanos()).ok()?,
        })
    }
}

impl Catalog {
    /// The newest journal position of these months; opens only those that have changed
    /// since it was written down.
    pub fn sealed_position(
        &mut self,
        months: &[(PeriodId, Arc<Period>)],
        mut read: impl FnMut(&Period) -> Result<u64, StoreError>,
    ) -> Result<u64, StoreError> {
        let known = self.known_months()?;
        let (mut newest, mut changed) = (0, Vec::new());
        for (id, period) in months {
            let stamp = Stamp::of(period.path());
            let position = match known.get(id) {
                Some((was, position)) if Some(*was) == stamp => *position,
                _ => {
                    let position = read(period)?;
                    // As it was before it was read: what came since is read again.
                    changed.extend(stamp.map(|stamp| (*id, stamp, position)));
                    position
                }
            };
            newest = newest.max(position);
        }
        // Without it the next start opens them again.
        if let Err(e) = self.save_months(&changed) {
            tracing::warn!("{e}");
        }
        Ok(newest)
    }

    fn known_months(&self) -> Result<HashMap<PeriodId, (Stamp, u64)>, StoreError> {
        let read = || -> rusqlite::Result<HashMap<PeriodId, (Stamp, u64)>> {
            let mut stmt =
                self.conn.prepare("SELECT id, bytes, changed_ns, position FROM month")?;
            let rows = stmt.query_map([], |r| {
                let stamp = Stamp { bytes: r.get(1)?, changed_ns: r.get(2)? };
                Ok((PeriodId(r.get(0)?), (stamp, r.get::<_, i64>(3)? as u64)))
            })?;
            rows.collect()
        };
        read().map_err(|e| StoreError::db(&self.path, e))
    }

    fn save_months(&mut self, months: &[(PeriodId, Stamp, u64)]) -> Result<(), StoreError> {
        if months.is_empty() {
            return Ok(());
        }
        let mut write = || -> rusqlite::Result<()> {
            let tx = self.conn.transaction()?;
            for (id, stamp, position) in months {
                let sql = "INSERT OR REPLACE INTO month VALUES (?1, ?2, ?3, ?4)";
                let args = params![id.0, stamp.bytes, stamp.changed_ns, *position as i64];
                tx.prepare_cached(sql)?.execute(args)?;
            }
            tx.commit()
        };
        write().map_err(|e| StoreError::db(&self.path, e))
    }
}
