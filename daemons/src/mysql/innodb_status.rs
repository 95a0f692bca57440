//! What only SHOW ENGINE INNODB STATUS tells: transactions that roll back, and
//! on servers that do not count them the history list and the log.

/// What is taken from the text.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct InnodbStatus {
    /// The number that the next transaction gets.
    pub trx_id: Option<u64>,
    /// Old versions of rows that wait to be purged, in transactions.
    pub history: Option<u64>,
    /// Bytes that were ever written to the log.
    pub lsn: Option<u64>,
    /// Up to where pages are on disk.
    pub checkpoint: Option<u64>,
    /// The transactions that are rolling back.
    pub rolling_back: Vec<Rollback>,
    /// Undo entries of the transactions that are not.
    pub undo_active: u64,
    /// Transactions that are under way.
    pub active: u64,
    /// The longest of them, seconds.
    pub oldest_s: u64,
}

/// A transaction that is undone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rollback {
    /// Its number, as the text has it.
    pub id: String,
    /// Undo entries that are left.
    pub entries: u64,
}

/// Reads the text; `None`: it is another one, or does not reach to its end.
pub fn parse(text: &str) -> Option<InnodbStatus> {
    // It is cut in the middle of the transactions when it grows too long; the
    // end is always there.
    if !text.contains("INNODB MONITOR OUTPUT") || !text.contains("END OF INNODB MONITOR OUTPUT") {
        return None;
    }
    let mut all = InnodbStatus::default();
    let (mut section, mut before) = ("", "");
    let mut current: Option<Transaction<'_>> = None;
    for line in text.lines() {
        if !line.is_empty() && line.bytes().all(|b| b == b'-') {
            // A heading stands between two such lines; waits for locks have such
            // lines, too.
            if !before.is_empty()
                && before.bytes().all(|b| b.is_ascii_uppercase() || b" /&".contains(&b))
            {
                section = before;
            }
        } else if section == "TRANSACTIONS" {
            transactions(line, &mut current, &mut all);
        } else if section == "LOG" {
            let number = |name| after(line, name).and_then(number);
            all.lsn = all.lsn.or_else(|| number("Log sequence number"));
            all.checkpoint = all.checkpoint.or_else(|| number("Last checkpoint at"));
        }
        before = line;
    }
    Some(all)
}

/// The transaction whose lines are being read.
struct Transaction<'a> {
    id: &'a str,
    rolls_back: bool,
}

fn transactions<'a>(line: &'a str, current: &mut Option<Transaction<'a>>, all: &mut InnodbStatus) {
    if let Some(head) = after(line, "---TRANSACTION") {
        let (id, state) = head.split_once(',').unwrap_or((head, ""));
        let state = state.trim_start();
        *current = None;
        if let Some(active) = after(state, "ACTIVE") {
            let seconds = active.split(' ').next().and_then(number).unwrap_or(0);
            all.active += 1;
            all.oldest_s = all.oldest_s.max(seconds);
            let rolls_back = active.contains("rollback");
            *current = Some(Transaction { id, rolls_back });
        }
    } else if let Some(text) = after(line, "Trx id counter") {
        all.trx_id = number(text);
    } else if let Some(text) = after(line, "History list length") {
        all.history = number(text);
    } else if let Some(transaction) = current {
        transaction.rolls_back |= line.starts_with("ROLLING BACK");
        // A query's text may say so, too, but not in front.
        let is_locks =
            line.contains(" lock struct(s), heap size ") && line.contains(" row lock(s)");
        let entries = line.rsplit_once("undo log entries ").filter(|_| is_locks);
        let Some(entries) = entries.and_then(|(_, n)| number(n.trim())) else { return };
        match transaction.rolls_back {
            true => {
                let id = transaction.id.to_owned();
                all.rolling_back.push(Rollback { id, entries });
            }
            false => all.undo_active = all.undo_active.saturating_add(entries),
        }
        *current = None;
    }
}

fn after<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    Some(line.strip_prefix(name)?.trim_start())
}

/// A decimal number; servers before 5.1 wrote two halves, later ones some in
/// hexadecimal: those are not read.
fn number(text: &str) -> Option<u64> {
    text.trim_end().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::reply;
    use proptest::prelude::*;

    fn rollback(id: &str, entries: u64) -> Rollback {
        Rollback { id: id.to_owned(), entries }
    }

    #[test]
    fn a_recorded_one_is_read() {
        let read = parse(&reply("mariadb/1.innodb_status.txt")).expect("reads");
        let want = InnodbStatus {
            trx_id: Some(745),
            history: Some(0),
            lsn: Some(224_787),
            checkpoint: Some(44_404),
            ..InnodbStatus::default()
        };
        assert_eq!(read, want);
    }

    #[test]
    fn a_rollback_is_seen() {
        let read = parse(&reply("mariadb/rollback.innodb_status.txt")).expect("reads");
        assert_eq!(read.rolling_back, [rollback("24", 281_869)]);
        assert_eq!((read.active, read.undo_active, read.oldest_s), (2, 17, 9));
        // MySQL 8, after a crash; a query that says so itself.
        let text = "INNODB MONITOR OUTPUT\n------------\nTRANSACTIONS\n------------\n\
             Trx id counter 9001\n\
             ---TRANSACTION 1800, ACTIVE 12 sec recovered trx\n\
             ROLLING BACK 1 lock struct(s), heap size 1136, 0 row lock(s), undo log entries 5000\n\
             ---TRANSACTION 1801, ACTIVE 1 sec inserting\n\
             mysql tables in use 1, locked 1\n\
             2 lock struct(s), heap size 1136, 1 row lock(s), undo log entries 3\n\
             MySQL thread id 9, OS thread handle 1, query id 5 localhost root update\n\
             insert into t values ('ROLLING BACK undo log entries 77')\n\
             --------\nEND OF INNODB MONITOR OUTPUT\n";
        let read = parse(text).expect("reads");
        assert_eq!(read.rolling_back, [rollback("1800", 5000)]);
        assert_eq!((read.undo_active, read.trx_id), (3, Some(9001)));
    }

    #[test]
    fn cut_and_foreign_ones_are_none() {
        let whole = reply("mariadb/1.innodb_status.txt");
        for end in 0..whole.trim_end().len() - 50 {
            if whole.is_char_boundary(end) {
                assert_eq!(parse(&whole[..end]), None, "{end}");
            }
        }
        assert_eq!(parse("InnoDB is disabled"), None);
    }

    proptest! {
        #[test]
        fn nothing_panics(
            text in "(---TRANSACTION|ACTIVE|,| |[0-9]{1,25}|undo log entries|\n|LOG|-)*"
        ) {
            let _ = parse(&format!("INNODB MONITOR OUTPUT\n{text}\nEND OF INNODB MONITOR OUTPUT"));
        }
    }
}
