//! Rows of the outbox: how one is put there, and what an incident's rows say of each
//! other.

use rookery_alerts::{Notice, NoticeKind, Verdict};
use rookery_plugins::TimeMs;
use rusqlite::{Connection, OptionalExtension, params};

/// Why a way is not told of an end.
pub(super) const NOT_TOLD: &str = "its problem was not told by this way";

/// `19a-0f.3` is of `19a-0f`.
pub(super) fn incident_of(notice_id: &str) -> &str {
    notice_id.rsplit_once('.').map_or(notice_id, |(incident, _)| incident)
}

/// Between these lie the ids of an incident's notices, `incident.0` to `incident.9…`: the
/// sign after the dot is the slash.
pub(super) fn bounds(incident: &str) -> (String, String) {
    (format!("{incident}."), format!("{incident}/"))
}

/// A row for a notice and a channel, as its contact wants it.
pub(super) fn put(
    conn: &Connection,
    notice: &Notice,
    channel: &str,
    verdict: Verdict,
    now_ms: TimeMs,
) -> rusqlite::Result<()> {
    if notice.is_catch_up
        && (matches!(verdict, Verdict::Never(_)) || is_known(conn, notice, channel)?)
    {
        return Ok(());
    }
    if notice.kind == NoticeKind::Problem && verdict == Verdict::Now {
        outdate(conn, notice, channel, now_ms)?;
    }
    let verdict = match notice.kind {
        // Who waits for the end, or is on it, was told of the beginning.
        NoticeKind::Recovery | NoticeKind::Acknowledgement => match verdict {
            Verdict::Now | Verdict::Wait(_) if !is_told(conn, notice, channel)? => {
                Verdict::Never(NOT_TOLD.to_owned())
            }
            verdict => verdict,
        },
        NoticeKind::Problem | NoticeKind::Flapping => verdict,
    };
    let (held, error, next_ms, sent_ms) = match verdict {
        Verdict::Now => (None, None, 0, None),
        Verdict::Wait(why) => (Some("period"), Some(why), 0, None),
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

/// The rows of an incident (`?1`, `?2`) and a way (`?3`) that were told or will be. A way by
/// mail is one channel, or one for each recipient: what it was before counts, too.
const TOLD: &str = "notice_id > ?1 AND notice_id < ?2 AND (sent_ms IS NULL OR error IS NULL) \
     AND (channel = ?3 OR substr(channel, 1, length(?3) + 1) = ?3 || ' ' \
       OR substr(?3, 1, length(channel) + 1) = channel || ' ')";

/// Whether something of a notice's incident was told by this way, or will be.
fn is_told(conn: &Connection, notice: &Notice, channel: &str) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT EXISTS (SELECT 1 FROM outbox WHERE {TOLD} AND (held IS NULL OR held = 'period'))"
    );
    let (from, to) = bounds(&notice.incident);
    conn.prepare_cached(&sql)?.query_row(params![from, to, channel], |r| r.get(0))
}

/// Whether this way was told a problem of the notice's incident, or will be, so that the
/// notice is no news to it. What was given up is not known there.
fn is_known(conn: &Connection, notice: &Notice, channel: &str) -> rusqlite::Result<bool> {
    let sql = format!(
        "SELECT DISTINCT json ->> 'state' FROM outbox WHERE {TOLD} AND held IS NULL \
         AND json ->> 'kind' = 'PROBLEM'"
    );
    let (from, to) = bounds(&notice.incident);
    let mut stmt = conn.prepare_cached(&sql)?;
    let told: Vec<String> =
        stmt.query_map(params![from, to, channel], |r| r.get(0))?.collect::<Result<_, _>>()?;
    let state = |text: String| serde_json::from_value(serde_json::Value::String(text)).ok();
    Ok(told.into_iter().filter_map(state).any(|state| notice.is_known_to(state)))
}

/// What still waits for its contact's period is old where newer word goes out at once.
fn outdate(
    conn: &Connection,
    notice: &Notice,
    channel: &str,
    now_ms: TimeMs,
) -> rusqlite::Result<()> {
    let (from, to) = bounds(&notice.incident);
    conn.prepare_cached(
        "UPDATE outbox SET held = 'never', error = 'there was newer word', sent_ms = ?4 \
         WHERE notice_id > ?1 AND notice_id < ?2 AND channel = ?3 AND held = 'period' \
         AND sent_ms IS NULL",
    )?
    .execute(params![from, to, channel, now_ms])?;
    Ok(())
}

/// The problems of a notice's incident that a channel was to be told, oldest first,
/// whenever and however.
pub(super) fn problems_of(
    conn: &Connection,
    notice: &Notice,
    channel: &str,
) -> rusqlite::Result<Vec<Notice>> {
    let (from, to) = bounds(&notice.incident);
    let mut stmt = conn.prepare_cached(
        "SELECT json FROM outbox WHERE notice_id > ?1 AND notice_id < ?2 AND channel = ?3 \
         AND json ->> 'kind' = 'PROBLEM' ORDER BY id",
    )?;
    let all: Vec<String> =
        stmt.query_map(params![from, to, channel], |r| r.get(0))?.collect::<Result<_, _>>()?;
    Ok(all.iter().filter_map(|json| serde_json::from_str(json).ok()).collect())
}

/// Whether something of a notice's incident was handed to this way.
pub(super) fn was_told(
    conn: &Connection,
    notice: &Notice,
    channel: &str,
) -> rusqlite::Result<bool> {
    let sql = format!("SELECT EXISTS (SELECT 1 FROM outbox WHERE {TOLD} AND held IS NULL)");
    let (from, to) = bounds(&notice.incident);
    conn.prepare_cached(&sql)?.query_row(params![from, to, channel], |r| r.get(0))
}

/// The channels that were told of an incident in another's stead, of whose end they are
/// told, too.
pub(super) fn told_instead(conn: &Connection, notice: &Notice) -> rusqlite::Result<Vec<String>> {
    if notice.kind != NoticeKind::Recovery {
        return Ok(Vec::new());
    }
    let (from, to) = bounds(&notice.incident);
    conn.prepare_cached(
        "SELECT DISTINCT channel FROM outbox WHERE notice_id > ?1 AND notice_id < ?2 \
         AND held IS NULL AND (sent_ms IS NULL OR error IS NULL) \
         AND json ->> 'instead_of' IS NOT NULL",
    )?
    .query_map(params![from, to], |r| r.get(0))?
    .collect()
}

pub(super) fn never(
    conn: &Connection,
    id: i64,
    why: &str,
    now_ms: TimeMs,
) -> rusqlite::Result<usize> {
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
    let (from, to) = bounds(&notice.incident);
    conn.prepare_cached(
        "SELECT json ->> 'time_ms' FROM outbox WHERE notice_id > ?1 AND notice_id < ?2 \
         AND channel = ?3 AND json ->> 'kind' = 'RECOVERY' ORDER BY id DESC LIMIT 1",
    )?
    .query_row(params![from, to, channel], |r| r.get(0))
    .optional()
}

pub(super) fn json(value: &impl serde::Serialize) -> String {
    // Plain structs of strings and numbers: there is nothing to fail.
    serde_json::to_string(value).unwrap_or_default()
}
