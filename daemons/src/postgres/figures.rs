//! What is asked of PostgreSQL, and what its answers say.

use super::session::Rows;
use crate::support::number;
use std::collections::BTreeMap;

/// All that is asked at each reading, in one message; the answers are taken in
/// this order. A standby has no current WAL position, hence the CASEs.
const STATEMENTS: &str = "\
SELECT current_setting('server_version') AS version, \
  current_setting('max_connections') AS max_connections, \
  current_setting('autovacuum_freeze_max_age') AS freeze_max_age, \
  pg_is_in_recovery() AS standby, \
  (SELECT max(age(datfrozenxid)) FROM pg_database) AS xid_age, \
  CASE WHEN NOT pg_is_in_recovery() THEN NULL \
    WHEN pg_last_wal_receive_lsn() = pg_last_wal_replay_lsn() THEN 0 \
    ELSE extract(epoch FROM now() - pg_last_xact_replay_timestamp()) END AS replay_s, \
  CASE WHEN pg_is_in_recovery() THEN \
    pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()) END AS replay_bytes;\
SELECT * FROM pg_stat_database WHERE datname IS NOT NULL ORDER BY datname;\
SELECT lower(mode) AS mode, count(*) AS n, sum(CASE WHEN granted THEN 0 ELSE 1 END) AS waiting \
  FROM pg_locks WHERE database IS NOT NULL GROUP BY 1;\
SELECT CASE WHEN state IS NULL OR state = 'disabled' THEN 'unknown' \
    WHEN state = 'idle' THEN 'idle' \
    WHEN state LIKE 'idle in transaction%' THEN 'idletransaction' \
    WHEN wait_event_type = 'Lock' THEN 'waiting' ELSE 'active' END AS kind, count(*) AS n, \
  max(extract(epoch FROM now() - xact_start)) AS xact_s, \
  max(CASE WHEN state NOT LIKE 'idle%' THEN extract(epoch FROM now() - query_start) END) \
    AS query_s \
  FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND backend_type = 'client backend' \
  GROUP BY 1;\
SELECT * FROM pg_stat_bgwriter;\
SELECT coalesce(nullif(application_name, ''), 'standby') || ' ' || \
    coalesce(host(client_addr), 'local') AS name, \
  pg_wal_lsn_diff(CASE WHEN pg_is_in_recovery() THEN pg_last_wal_receive_lsn() \
    ELSE pg_current_wal_lsn() END, replay_lsn) AS bytes, \
  extract(epoch FROM replay_lag) AS seconds, \
  (SELECT min(slot_name::text) FROM pg_replication_slots s WHERE s.active_pid = r.pid) AS slot \
  FROM pg_stat_replication r ORDER BY 1;\
SELECT sum(n_live_tup) AS live, sum(n_dead_tup) AS dead, sum(seq_tup_read) AS seqread, \
  sum(idx_tup_fetch) AS idxfetch, sum(n_tup_ins) AS inserted, sum(n_tup_upd) AS updated, \
  sum(n_tup_del) AS deleted, sum(n_tup_hot_upd) AS hotupdated FROM pg_stat_user_tables;\
SELECT count(*) AS n, max(extract(epoch FROM now() - prepared)) AS oldest_s \
  FROM pg_prepared_xacts";

/// [`STATEMENTS`] for a server of this version (as `server_version_num`): since 17
/// checkpoints are counted in a view of their own.
pub(super) fn statements(version: u64) -> String {
    match version {
        ..170_000 => STATEMENTS.to_owned(),
        _ => STATEMENTS.replace(
            "SELECT * FROM pg_stat_bgwriter;",
            "SELECT b.*, c.num_timed AS checkpoints_timed, c.num_requested AS checkpoints_req, \
             c.buffers_written AS buffers_checkpoint \
             FROM pg_stat_bgwriter b, pg_stat_checkpointer c;",
        ),
    }
}

/// The version, as [`statements`] wants it.
pub(super) const VERSION: &str = "SELECT current_setting('server_version_num') AS version_num";

/// The answer to [`VERSION`].
pub(super) fn version(answers: &[Rows]) -> Option<u64> {
    count(all(answers.first()?).first()?, "version_num")
}

/// What is asked seldom. A database that may not be looked at has no size.
pub(super) const SIZES: &str = "\
SELECT datname, CASE WHEN has_database_privilege(datname, 'CONNECT') \
    OR pg_has_role('pg_read_all_stats', 'USAGE') THEN pg_database_size(datname) END AS bytes \
  FROM pg_database WHERE datallowconn ORDER BY datname";

/// One row by column name.
pub(super) type Row = BTreeMap<String, Option<String>>;

/// The answers.
#[derive(Debug, Default)]
pub(super) struct Figures {
    pub server: Row,
    pub databases: Vec<Row>,
    pub locks: Vec<Row>,
    pub activity: Vec<Row>,
    pub bgwriter: Row,
    pub replicas: Vec<Row>,
    pub tables: Row,
    pub prepared: Row,
}

impl Figures {
    /// From the answers to [`STATEMENTS`].
    pub fn read(answers: &[Rows]) -> Result<Figures, String> {
        let [server, databases, locks, activity, bgwriter, replicas, tables, prepared] = answers
        else {
            return Err(format!("{} answers to 8 questions", answers.len()));
        };
        let first = |rows: &Rows| all(rows).into_iter().next().unwrap_or_default();
        let figures = Figures {
            server: first(server),
            databases: all(databases),
            locks: all(locks),
            activity: all(activity),
            bgwriter: first(bgwriter),
            replicas: all(replicas),
            tables: first(tables),
            prepared: first(prepared),
        };
        match text(&figures.server, "version") {
            Some(_) => Ok(figures),
            None => Err("it tells no version".to_owned()),
        }
    }

    /// The sum over all databases; `None`: none of them has it.
    pub fn sum(&self, column: &str) -> Option<u64> {
        let counts = self.databases.iter().filter_map(|row| count(row, column));
        counts.reduce(u64::saturating_add)
    }
}

fn all(rows: &Rows) -> Vec<Row> {
    rows.iter().map(|row| row.iter().cloned().collect()).collect()
}

/// Databases and their sizes in bytes.
pub(super) fn sizes(answers: &[Rows]) -> Vec<(String, Option<u64>)> {
    let rows = answers.first().map(all).unwrap_or_default();
    let named = rows.iter().filter_map(|row| Some((text(row, "datname")?.to_owned(), row)));
    named.map(|(name, row)| (name, count(row, "bytes"))).collect()
}

/// A column as it was printed; `None`: NULL, or there is none.
pub(super) fn text<'a>(row: &'a Row, column: &str) -> Option<&'a str> {
    row.get(column)?.as_deref()
}

/// A whole number that is not negative. Sums of bigint are numeric and may be
/// printed so, but without a fraction.
pub(super) fn count(row: &Row, column: &str) -> Option<u64> {
    number(text(row, column)?.as_bytes())
}

/// A decimal.
pub(super) fn decimal(row: &Row, column: &str) -> Option<f64> {
    text(row, column)?.parse().ok().filter(|v: &f64| v.is_finite())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::reply;

    /// A recorded answer of psql, tabs between its columns.
    fn recorded(path: &str) -> Rows {
        let text = reply(path);
        let mut lines = text.lines().filter(|l| !l.starts_with('('));
        let names: Vec<&str> = lines.next().expect("a head").split('\t').collect();
        let value = |v: &str| (!v.is_empty()).then(|| v.to_owned());
        let row = |line: &str| {
            names.iter().zip(line.split('\t')).map(|(n, v)| ((*n).to_owned(), value(v))).collect()
        };
        lines.map(row).collect()
    }

    pub(in crate::postgres) fn sample() -> Vec<Rows> {
        let cell = |n: &str, v: &str| (n.to_owned(), Some(v.to_owned()));
        let server = vec![vec![cell("version", "15.18"), cell("max_connections", "100")]];
        let mut databases = recorded("postgres/1.pg_stat_database.tsv");
        databases.retain(|row| row.iter().any(|(n, v)| n == "datname" && v.is_some()));
        let bgwriter = recorded("postgres/1.pg_stat_bgwriter.tsv");
        vec![server, databases, vec![], vec![], bgwriter, vec![], vec![], vec![]]
    }

    #[test]
    fn recorded_answers_are_read() {
        let figures = Figures::read(&sample()).expect("reads");
        assert_eq!(figures.sum("xact_commit"), Some(1056 + 903));
        assert_eq!(count(&figures.bgwriter, "buffers_backend"), Some(4125));
        assert_eq!(count(&figures.bgwriter, "num_timed"), None);
        assert_eq!(figures.sum("no_such_column"), None);
        assert_eq!(statements(160_009), STATEMENTS);
        assert!(statements(170_000).contains("pg_stat_checkpointer c;"));
        let row: Row = [("x".to_owned(), Some("-5".to_owned()))].into();
        assert_eq!((count(&row, "x"), decimal(&row, "x")), (None, Some(-5.0)));
    }

    #[test]
    fn half_an_answer_is_none() {
        let mut cut = sample();
        cut.pop();
        assert!(Figures::read(&cut).is_err_and(|e| e.contains("7 answers")));
        let mut foreign = sample();
        foreign[0].clear();
        assert!(Figures::read(&foreign).is_err());
    }
}
