//! The outbox: one row of `state.sqlite` for each notice and channel.
//!
//! `sent_ms` is null until it is told. `begun_ms` is set while it is being told: after
//! a crash between telling and noting it is told once more, with the same Message-ID,
//! and marked as a repeat. `held` says why it is not told now: `period` waits for the
//! contact's own, `digest` for the next one, `never` is kept only to be explained.
//!
//! Of one incident a channel is told in order: what comes later waits until what comes
//! before was taken, or given up. A problem that could not be told before it was over
//! says that it is.
//!
//! A recovery goes only to those who were told of the problem, or will be; what
//! waits for a period and is over when that opens goes to the digest. A catch-up goes
//! only to those who were told of no problem of its incident yet: whether that is so is
//! known here and nowhere else.
//!
//! `next_ms` is on the dispatcher's own clock ([`super::deliver`]), which goes on when
//! the wall clock is set; 0 is now.

use super::ledger::Ledger;
use super::rows::{NOT_TOLD, bounds, incident_of, json, put, told_instead};
use crate::store::StoreError;
use rookery_alerts::digest::Digest;
use rookery_alerts::message;
use rookery_alerts::{Notice, NoticeKind, Output, RecordState, StateRecord, Verdict};
use rookery_plugins::TimeMs;
use rusqlite::{Connection, OptionalExtension, params};
use serde::{Deserialize, Serialize};

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

    /// It, where it is no digest.
    pub fn notice(&self) -> Option<&Notice> {
        match self {
            Letter::Notice(notice) => Some(notice),
            Letter::Digest { .. } => None,
        }
    }

    /// Whether it may have been told before.
    pub fn is_repeated(&self) -> bool {
        match self {
            Letter::Notice(notice) => notice.repeated,
            Letter::Digest { digest } => digest.repeated,
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
}

/// A row that is due.
struct Row {
    id: i64,
    json: String,
    n_tries: u32,
    was_begun: bool,
}

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
                    let mut all = channels(notice);
                    for channel in told_instead(&tx, notice).map_err(err)? {
                        if all.iter().all(|(c, _)| *c != channel) {
                            all.push((channel, Verdict::Now));
                        }
                    }
                    for (channel, verdict) in all {
                        put(&tx, notice, &channel, verdict, now_ms).map_err(err)?;
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

    /// What is due for a channel, oldest first; at most `n`, and of each incident only
    /// what comes next. From now on it counts as begun.
    pub fn begin(&self, channel: &str, now_ms: TimeMs, n: usize) -> Result<Vec<Due>, StoreError> {
        let rows = self.next_of(channel, now_ms, n).map_err(|e| self.err(e))?;
        let mut due = Vec::new();
        for row in rows {
            let mut letter = match serde_json::from_str::<Letter>(&row.json) {
                Ok(letter) => letter,
                Err(e) => {
                    self.settle(row.id, now_ms, Some(&format!("unreadable: {e}")))?;
                    continue;
                }
            };
            if row.was_begun {
                letter.mark_repeated();
            }
            if let Letter::Notice(notice) = &mut letter {
                self.mark_over(row.id, channel, notice).map_err(|e| self.err(e))?;
            }
            self.conn
                .prepare_cached("UPDATE outbox SET begun_ms = ?2 WHERE id = ?1")
                .and_then(|mut s| s.execute(params![row.id, now_ms]))
                .map_err(|e| self.err(e))?;
            let (id, n_tries) = (row.id, row.n_tries);
            due.push(Due { id, channel: channel.to_owned(), letter, n_tries });
        }
        Ok(due)
    }

    /// The rows that are due and have nothing of their incident before them.
    fn next_of(&self, channel: &str, now_ms: TimeMs, n: usize) -> rusqlite::Result<Vec<Row>> {
        let mut stmt = self.conn.prepare_cached(
            "SELECT id, notice_id, json, n_tries, begun_ms IS NOT NULL FROM outbox \
             WHERE sent_ms IS NULL AND next_ms <= ?1 AND channel = ?2 AND held IS NULL ORDER BY id",
        )?;
        let mut before = self.conn.prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM outbox WHERE notice_id > ?1 AND notice_id < ?2 \
             AND channel = ?3 AND id < ?4 AND sent_ms IS NULL AND held IS NULL)",
        )?;
        let mut found = stmt.query(params![now_ms, channel])?;
        let mut rows = Vec::new();
        while let Some(r) = found.next()?
            && rows.len() < n
        {
            let (id, notice_id): (i64, String) = (r.get(0)?, r.get(1)?);
            let (from, to) = bounds(incident_of(&notice_id));
            if before.query_row(params![from, to, channel, id], |r| r.get(0))? {
                continue;
            }
            let (json, n_tries, was_begun) = (r.get(2)?, r.get(3)?, r.get(4)?);
            rows.push(Row { id, json, n_tries, was_begun });
        }
        Ok(rows)
    }

    /// Has a problem whose end waits behind it say that it is over.
    fn mark_over(&self, id: i64, channel: &str, notice: &mut Notice) -> rusqlite::Result<()> {
        if !matches!(notice.kind, NoticeKind::Problem | NoticeKind::Flapping) {
            return Ok(());
        }
        let (from, to) = bounds(&notice.incident);
        let over_ms: Option<TimeMs> = self
            .conn
            .prepare_cached(
                "SELECT json ->> 'time_ms' FROM outbox WHERE notice_id > ?1 AND notice_id < ?2 \
                 AND channel = ?3 AND id > ?4 AND sent_ms IS NULL AND held IS NULL \
                 AND json ->> 'kind' = 'RECOVERY' LIMIT 1",
            )?
            .query_row(params![from, to, channel, id], |r| r.get(0))
            .optional()?;
        if let Some(over_ms) = over_ms {
            let over = message::time(over_ms);
            notice.text = format!("over since {over}, told late: {}", notice.text);
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

    /// Notes that telling failed, and when to try again. What may have been told before a
    /// restart stays a repeat.
    pub fn postpone(&self, due: &Due, next_ms: TimeMs, error: &str) -> Result<(), StoreError> {
        self.conn
            .execute(
                "UPDATE outbox SET next_ms = ?2, error = ?3, n_tries = n_tries + 1, \
                 begun_ms = CASE WHEN ?4 THEN begun_ms END WHERE id = ?1",
                params![due.id, next_ms, error, due.letter.is_repeated()],
            )
            .map_err(|e| self.err(e))?;
        Ok(())
    }

    /// Notes that something will never be told. The end of a problem of which nothing was
    /// told, and nothing will be, is not told either.
    pub fn give_up(&mut self, due: &Due, now_ms: TimeMs, error: &str) -> Result<(), StoreError> {
        let path = self.path.clone();
        let err = |e| StoreError::db(&path, e);
        let tx = self.conn.transaction().map_err(err)?;
        let sql = "UPDATE outbox SET sent_ms = ?2, error = ?3, n_tries = n_tries + 1 WHERE id = ?1";
        tx.execute(sql, params![due.id, now_ms, error]).map_err(err)?;
        if let Letter::Notice(notice) = &due.letter {
            let (from, to) = bounds(&notice.incident);
            tx.execute(
                "UPDATE outbox SET held = 'never', sent_ms = ?4, error = ?5 \
                 WHERE notice_id > ?1 AND notice_id < ?2 AND channel = ?3 AND sent_ms IS NULL \
                 AND json ->> 'kind' IN ('RECOVERY', 'ACKNOWLEDGEMENT') \
                 AND NOT EXISTS (SELECT 1 FROM outbox WHERE notice_id > ?1 AND notice_id < ?2 \
                   AND channel = ?3 AND json ->> 'kind' IN ('PROBLEM', 'FLAPPING') \
                   AND (held IS NULL OR held = 'period') AND (sent_ms IS NULL OR error IS NULL))",
                params![from, to, due.channel, now_ms, NOT_TOLD],
            )
            .map_err(err)?;
        }
        tx.commit().map_err(err)
    }
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
    use super::super::rows::{held, over_ms};
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
        // It failed, and that was noted: of the first try nothing is known still.
        let due = ledger.begin("a", 11, 9).expect("begins");
        ledger.postpone(&due[0], 20, "refused").expect("notes");
        assert!(begin(&ledger, 19).is_empty(), "not yet");
        assert_eq!(begin(&ledger, 20), [(first[0].0, true)]);
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
        assert_eq!(all_of(&mut ledger, 9), ["i.2", "i.3"]);
    }

    fn due(ledger: &Ledger, now: TimeMs) -> Vec<Due> {
        ledger.begin("a", now, 9).expect("begins")
    }

    /// What is told when everything is taken, in order.
    fn all_of(ledger: &mut Ledger, now: TimeMs) -> Vec<String> {
        let mut told = Vec::new();
        loop {
            let batch = due(ledger, now);
            if batch.is_empty() {
                return told;
            }
            for item in batch {
                ledger.settle(item.id, now, None).expect("notes");
                told.push(item.letter.id());
            }
        }
    }

    #[test]
    fn of_one_incident_all_is_told_in_order_whatever_fails() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        save(&mut ledger, problem(), &Verdict::Now, 1);
        let first = due(&ledger, 2);
        assert_eq!(first.len(), 1);
        ledger.postpone(&first[0], 1000, "refused").expect("notes");
        // Its end, and a problem of another incident.
        save(&mut ledger, notice(1, "RECOVERY", "OK"), &Verdict::Now, 3);
        let mut other = problem();
        (other.id, other.incident) = ("j.0".to_owned(), "j".to_owned());
        save(&mut ledger, other, &Verdict::Now, 4);
        assert_eq!(all_of(&mut ledger, 10), ["j.0"], "an end never comes before its beginning");
        // What comes late says that it is over.
        let late = due(&ledger, 1000);
        let text = |due: &Due| due.letter.notice().map(|n| n.text.clone()).unwrap_or_default();
        assert_eq!(text(&late[0]), "over since 1970-01-01 00:00:00 UTC, told late: x");
        ledger.postpone(&late[0], 2000, "refused").expect("notes");
        assert_eq!(all_of(&mut ledger, 2000), ["i.0", "i.1"]);
    }

    #[test]
    fn the_end_of_what_was_given_up_is_not_told() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        save(&mut ledger, problem(), &Verdict::Now, 1);
        let first = due(&ledger, 2);
        save(&mut ledger, notice(1, "RECOVERY", "OK"), &Verdict::Now, 3);
        ledger.give_up(&first[0], 4, "550 no").expect("notes");
        assert!(due(&ledger, 9).is_empty());
        assert_eq!(why(&ledger), [NOT_TOLD, "550 no"]);
        // One that comes after that.
        save(&mut ledger, notice(2, "RECOVERY", "OK"), &Verdict::Now, 5);
        assert!(due(&ledger, 9).is_empty());
        // Where something of it was told, its end is.
        save(&mut ledger, notice(3, "PROBLEM", "WARNING"), &Verdict::Now, 6);
        assert_eq!(all_of(&mut ledger, 9), ["i.3"]);
        save(&mut ledger, notice(4, "PROBLEM", "CRITICAL"), &Verdict::Now, 7);
        let worse = due(&ledger, 9);
        save(&mut ledger, notice(5, "RECOVERY", "OK"), &Verdict::Now, 8);
        ledger.give_up(&worse[0], 9, "550 no").expect("notes");
        assert_eq!(all_of(&mut ledger, 9), ["i.5"]);
    }

    #[test]
    fn who_is_told_in_anothers_stead_is_told_of_the_end_too() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        let to_b = |ledger: &mut Ledger, notice: Notice, verdict: &Verdict| {
            let all = [Output::Notice(notice)];
            ledger.save(&all, |_| vec![("b".to_owned(), verdict.clone())], 1).expect("saves");
        };
        // The other waits for its period itself: now it is needed.
        to_b(&mut ledger, problem(), &Verdict::Now);
        save(&mut ledger, problem(), &Verdict::Wait("outside".to_owned()), 1);
        assert!(due(&ledger, 9).is_empty());
        let instead = Notice { instead_of: Some("b: refused".to_owned()), ..problem() };
        ledger.also(&instead, &["a".to_owned()], 2).expect("notes");
        assert_eq!(all_of(&mut ledger, 9), ["i.0"]);
        // Once: it has it.
        ledger.also(&instead, &["a".to_owned()], 3).expect("notes");
        assert!(due(&ledger, 9).is_empty());
        to_b(&mut ledger, notice(1, "RECOVERY", "OK"), &Verdict::Now);
        assert_eq!(all_of(&mut ledger, 9), ["i.1"]);
    }

    #[test]
    fn a_way_by_mail_may_become_one_for_each_recipient_and_back() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        let to = |ledger: &mut Ledger, notice: Notice, channel: &str| {
            let all = [Output::Notice(notice)];
            ledger.save(&all, |_| vec![(channel.to_owned(), Verdict::Now)], 1).expect("saves");
        };
        let ids = |ledger: &Ledger, channel: &str| -> Vec<String> {
            let due = ledger.begin(channel, 9, 9).expect("begins");
            due.iter().map(|d| d.letter.id()).collect()
        };
        to(&mut ledger, problem(), "mail");
        let heirs = |c: &str| match c {
            "mail" => vec!["mail x@y".to_owned(), "mail z@y".to_owned()],
            _ => vec![],
        };
        ledger.inherit(heirs).expect("inherits");
        assert!(ids(&ledger, "mail").is_empty());
        assert_eq!(ids(&ledger, "mail x@y"), ["i.0"]);
        assert_eq!(ids(&ledger, "mail z@y"), ["i.0"]);
        // Told when it was one: who is told now hears of the end.
        let mut other = problem();
        (other.id, other.incident) = ("j.0".to_owned(), "j".to_owned());
        let mut end = notice(1, "RECOVERY", "OK");
        (end.id, end.incident) = ("j.1".to_owned(), "j".to_owned());
        to(&mut ledger, other, "mail");
        let told = ledger.begin("mail", 9, 9).expect("begins");
        ledger.settle(told[0].id, 9, None).expect("notes");
        to(&mut ledger, end.clone(), "mail x@y");
        assert!(ids(&ledger, "mail x@y").contains(&"j.1".to_owned()));
        to(&mut ledger, end, "mailx");
        assert!(ids(&ledger, "mailx").is_empty());
    }

    #[test]
    fn what_waits_until_long_from_now_is_woken_at_a_start() {
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        save(&mut ledger, problem(), &Verdict::Now, 1);
        let first = due(&ledger, 2);
        // The clock was an hour ahead when it was tried.
        ledger.postpone(&first[0], 3_600_000, "refused").expect("notes");
        ledger.wake(10, 300_000).expect("wakes");
        assert_eq!(due(&ledger, 10).len(), 1);
        ledger.postpone(&first[0], 60_000, "refused").expect("notes");
        ledger.wake(10, 300_000).expect("wakes");
        assert!(due(&ledger, 10).is_empty(), "that is soon enough");
    }

    /// Whether a channel knows is asked of each by itself: by its `tell`, its digest and
    /// its period it may have missed what others were told.
    #[test]
    fn a_catch_up_is_for_those_who_were_not_told() {
        let (now, never) = (Verdict::Now, Verdict::Never("not told of warning".to_owned()));
        let (wait, digest) = (Verdict::Wait("night".to_owned()), Verdict::Digest("d".to_owned()));
        let warning = || notice(0, "PROBLEM", "WARNING");
        let catch_up = |n, state| Notice { is_catch_up: true, ..notice(n, "PROBLEM", state) };
        let told = |first: &Notice, verdict: &Verdict, second: &Notice, then: &Verdict| {
            let dir = tempfile::tempdir().expect("tmp");
            let mut ledger = Ledger::open(dir.path()).expect("opens");
            save(&mut ledger, first.clone(), verdict, 1);
            save(&mut ledger, second.clone(), then, 2);
            (
                all_of(&mut ledger, 9).join(" "),
                ledger.past("n", Some("s"), 9).expect("reads").notices.len(),
            )
        };
        let critical = catch_up(1, "CRITICAL");
        for (verdict, then, want, n_rows) in [
            // Who has it already is not told again, and nothing is kept of it.
            (&now, &now, "i.0", 1),
            (&never, &now, "i.1", 2),
            (&digest, &now, "i.1", 2),
            // Its period has just opened: the newest word alone.
            (&wait, &now, "i.1", 2),
            (&wait, &wait, "", 2),
            (&never, &never, "", 1),
            (&never, &digest, "", 2),
        ] {
            let found = told(&warning(), verdict, &critical, then);
            assert_eq!(found, (want.to_owned(), n_rows), "{verdict:?} {then:?}");
        }
        // UNKNOWN was no warning of what is known now.
        let unknown = notice(0, "PROBLEM", "UNKNOWN");
        assert_eq!(told(&unknown, &now, &critical, &now).0, "i.0 i.1");
        assert_eq!(told(&unknown, &now, &catch_up(1, "UNKNOWN"), &now).0, "i.0");
        // What was given up is not known.
        let dir = tempfile::tempdir().expect("tmp");
        let mut ledger = Ledger::open(dir.path()).expect("opens");
        save(&mut ledger, warning(), &now, 1);
        ledger.settle(1, 2, Some("refused")).expect("notes");
        save(&mut ledger, critical, &now, 3);
        assert_eq!(all_of(&mut ledger, 9), ["i.1"]);
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
        assert_eq!(all_of(&mut ledger, 9), ["i.2"]);
    }
}
