//! Replication, on the side of the replica: whether it runs and how far behind
//! it is; and the binary log on the side of the source.
//!
//! MySQL 8.0.22 renamed Slave to Replica and Master to Source; MariaDB did not.
//! Fields are called as Munin calls them.

use super::charts::{BYTES, CATEGORY, COUNTED, Chart, Facts, rate};
use super::login::Version;
use super::wire::Table;
use crate::support::{Names, Sheet, number};
use rookery_plugins::names::clean_field;
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

/// Seconds behind, and beyond the delay that is configured, that are WARNING and
/// CRITICAL.
const BEHIND_WARNING: u64 = 300;
const BEHIND_CRITICAL: u64 = 600;

/// MySQL's own channels, which rest once a member of the group has caught up.
const GROUP_CHANNELS: &str = "group_replication_";

/// The statement that tells a replica's state.
pub fn statement(version: &Version) -> &'static str {
    match version {
        Version { is_mariadb: true, number, .. } if *number >= (10, 0, 0) => {
            "SHOW ALL SLAVES STATUS"
        }
        Version { is_mariadb: false, number, .. } if *number >= (8, 0, 22) => "SHOW REPLICA STATUS",
        _ => "SHOW SLAVE STATUS",
    }
}

/// One source that this server follows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Replica {
    /// Of the connection (MariaDB) or channel (MySQL); mostly empty.
    pub name: String,
    /// `HOST:PORT` of the source.
    pub source: String,
    /// Whether the thread that fetches the log runs.
    pub io_runs: bool,
    /// Whether the thread that carries it out runs.
    pub sql_runs: bool,
    /// Whether the server has a column for the seconds (since 4.1).
    pub tells_seconds: bool,
    /// `None`: NULL, which is not 0 but "nobody knows".
    pub seconds_behind: Option<u64>,
    /// By how much it is behind on purpose (`SQL_Delay`), seconds.
    pub delay: u64,
    /// Bytes that are fetched and not carried out; `None`: in several files.
    pub bytes_behind: Option<u64>,
    /// Bytes of relay logs.
    pub relay_log_space: Option<u64>,
    /// What stopped it.
    pub error: String,
}

/// All that the statement gave; `None`: it is not a replica's state.
pub fn parse(table: &Table<'_>) -> Option<Vec<Replica>> {
    if table.columns.is_empty() && table.rows().next().is_none() {
        return Some(vec![]);
    }
    let column = |names: [&str; 2]| table.columns.iter().position(|c| names.contains(c));
    let io = column(["Slave_IO_Running", "Replica_IO_Running"])?;
    let sql = column(["Slave_SQL_Running", "Replica_SQL_Running"])?;
    let seconds = column(["Seconds_Behind_Master", "Seconds_Behind_Source"]);
    let delay = column(["SQL_Delay", "SQL_Delay"]);
    let read = column(["Read_Master_Log_Pos", "Read_Source_Log_Pos"]);
    let done = column(["Exec_Master_Log_Pos", "Exec_Source_Log_Pos"]);
    let read_file = column(["Master_Log_File", "Source_Log_File"]);
    let done_file = column(["Relay_Master_Log_File", "Relay_Source_Log_File"]);
    let space = column(["Relay_Log_Space", "Relay_Log_Space"]);
    let name = column(["Connection_name", "Channel_Name"]);
    let (host, port) =
        (column(["Master_Host", "Source_Host"]), column(["Master_Port", "Source_Port"]));
    let errors = ["Last_SQL_Error", "Last_IO_Error"].map(|name| column([name, name]));
    let of = |row: &[Option<&str>]| {
        let text = |at: Option<usize>| at.and_then(|i| *row.get(i)?).unwrap_or("");
        let count = |at: Option<usize>| number(text(at).as_bytes());
        let same_file = text(read_file) == text(done_file);
        let behind = count(read).zip(count(done)).filter(|_| same_file);
        let error = errors.iter().map(|at| text(*at)).find(|e| !e.is_empty());
        Replica {
            name: text(name).to_owned(),
            source: format!("{}:{}", text(host), text(port)),
            io_runs: text(Some(io)) == "Yes",
            sql_runs: text(Some(sql)) == "Yes",
            // MySQL 9 says 0 while it cannot reach its source at all.
            seconds_behind: count(seconds).filter(|s| *s > 0 || text(Some(io)) == "Yes"),
            tells_seconds: seconds.is_some(),
            delay: count(delay).unwrap_or(0),
            bytes_behind: behind.and_then(|(read, done)| read.checked_sub(done)),
            relay_log_space: count(space),
            error: error.unwrap_or_default().to_owned(),
        }
    };
    Some(table.rows().map(of).collect())
}

const CACHE: Chart = Chart {
    service: "mysql_binlog_cache",
    title: "MySQL binary log cache",
    vlabel: "transactions per ${graph_period}",
    args: COUNTED,
    info: "Transactions that went to the binary log. Those that did not fit into \
           binlog_cache_size took the way over a temporary file.",
    fields: &[
        rate("Binlog_cache_use", "transactions", "Transactions that were logged"),
        rate("Binlog_cache_disk_use", "over disk", "Those that did not fit into the cache"),
    ],
};

/// Writes all of it. `binlog`: the size of all binary logs, bytes, where there
/// are any.
pub fn write(
    facts: &Facts<'_>,
    replicas: &[Replica],
    binlog: Option<u64>,
    names: &mut Names,
    sheet: &mut Sheet<'_>,
) {
    let relay = replicas.iter().filter_map(|r| r.relay_log_space).reduce(u64::saturating_add);
    let mut service = sheet.service("mysql_bin_relay_log", |n| {
        ServiceSpec::new(n, "MySQL binary and relay logs", CATEGORY)
            .vlabel("bytes")
            .args(BYTES)
            .info(
                "What the logs of changes take on disk. Binary logs go when they are older than \
             expire_logs_days or binlog_expire_logs_seconds, relay logs when they are carried out.",
            )
    });
    if binlog.is_some() {
        service.field("ma_binlog_size", binlog, |n| {
            FieldSpec::gauge(n, "binary logs").draw(Draw::AreaStack).info("Bytes on disk")
        });
    }
    if relay.is_some() {
        service.field("relay_log_space", relay, |n| {
            FieldSpec::gauge(n, "relay logs").draw(Draw::AreaStack).info("Bytes on disk")
        });
    }
    if facts.word("log_bin") == "ON" {
        CACHE.write(facts, sheet);
    }
    let dotted = |name: &str| match name {
        "" => String::new(),
        name => format!(".{}", clean_field(name)),
    };
    let things: Vec<_> = replicas.iter().map(|r| (dotted(&r.name), r.name.clone())).collect();
    for (replica, name) in replicas.iter().zip(names.assign("", &things)) {
        let old = name.old.as_deref();
        write_seconds(facts, replica, (&name.name, old), sheet);
        write_backlog(replica, (&name.name, old), sheet);
    }
}

/// What is called `ROOT.CHANNEL` now and was called `ROOT.OLD`.
fn formerly(spec: ServiceSpec, root: &str, old: Option<&str>) -> ServiceSpec {
    spec.formerly(old.map(|old| format!("{root}{old}")).as_deref())
}

fn title(what: &str, replica: &Replica) -> String {
    match replica.name.as_str() {
        "" => what.to_owned(),
        name => format!("{what} ({name})"),
    }
}

/// Its threads, and how far behind it is.
fn write_seconds(
    facts: &Facts<'_>,
    replica: &Replica,
    (suffix, old): (&str, Option<&str>),
    sheet: &mut Sheet<'_>,
) {
    // A channel of the group rests as it should, unless an error stopped it.
    let rests = replica.name.starts_with(GROUP_CHANNELS) && replica.error.is_empty();
    // All stand in the description.
    sheet.note(&replica.source);
    sheet.note(&replica.error);
    sheet.note(&replica.delay.to_string());
    sheet.note(if rests { "rests" } else { "" });
    let stopped = |runs: bool| Some(u64::from(!runs));
    let mut service = sheet.service(&format!("mysql_replication{suffix}"), |n| {
        let error = match replica.error.as_str() {
            "" => String::new(),
            error => format!(" It says: {error}"),
        };
        let delayed = match replica.delay {
            0 => String::new(),
            s => format!(" It is {s} s behind on purpose (SQL_Delay): the limits begin there."),
        };
        let spec = ServiceSpec::new(n, &title("MySQL replication", replica), CATEGORY)
            .vlabel("seconds; 1: stopped")
            .args("-l 0")
            .unscaled()
            .info(&format!(
                "How far this replica is behind its source, {}. The two threads are 0 while they \
                 run. While one does not, nobody knows how far behind it is: then that is \
                 unknown, not 0.{delayed}{error}",
                replica.source
            ));
        formerly(spec, "mysql_replication", old)
    });
    let critical = if rests { "" } else { "0" };
    let behind = |limit: u64| replica.delay.saturating_add(limit).to_string();
    service
        .field("slave_io_running", stopped(replica.io_runs), |n| {
            FieldSpec::gauge(n, "fetching stopped")
                .draw(Draw::Area)
                .limits("", critical)
                .info("1 while the thread that fetches the source's log does not run (IO)")
        })
        .field("slave_sql_running", stopped(replica.sql_runs), |n| {
            FieldSpec::gauge(n, "applying stopped")
                .draw(Draw::Area)
                .limits("", critical)
                .info("1 while the thread that carries the log out does not run (SQL)")
        });
    if replica.tells_seconds {
        service.field("seconds_behind_master", replica.seconds_behind, |n| {
            let spec = FieldSpec::gauge(n, "seconds behind").draw(Draw::Line2);
            let spec = match rests {
                true => spec,
                false => spec.limits(&behind(BEHIND_WARNING), &behind(BEHIND_CRITICAL)),
            };
            spec.info("How old the change is that is carried out now")
        });
    }
    if suffix.is_empty() {
        for (name, label, info) in [
            ("Slave_retried_transactions", "retried per second", "Transactions tried once more"),
            ("Slave_open_temp_tables", "temporary tables", "Temporary tables of the SQL thread"),
        ] {
            let is_level = name == "Slave_open_temp_tables";
            if let Some(value) = facts.count(name) {
                service.field(name, Some(value), |n| match is_level {
                    true => FieldSpec::gauge(n, label).info(info),
                    false => FieldSpec::derive(n, label).info(info),
                });
            }
        }
    }
}

/// What it has fetched and not carried out.
fn write_backlog(replica: &Replica, (suffix, old): (&str, Option<&str>), sheet: &mut Sheet<'_>) {
    sheet
        .service(&format!("mysql_replication_bytes{suffix}"), |n| {
            let spec = ServiceSpec::new(n, &title("MySQL replication backlog", replica), CATEGORY)
                .vlabel("bytes")
                .args(BYTES)
                .info(
                    "Changes that were fetched from the source and are not carried out yet. It \
                     moves even while the seconds are unknown.",
                );
            formerly(spec, "mysql_replication_bytes", old)
        })
        .field("behind", replica.bytes_behind, |n| {
            FieldSpec::gauge(n, "behind")
                .draw(Draw::Area)
                .info("Bytes of the source's log; unknown while they are in several files")
        });
}

#[cfg(test)]
mod tests {
    use super::super::wire::tests::encoded;
    use super::super::wire::{Reply, reply as read};
    use super::*;
    use crate::support::testing::reply;

    /// `name: value` lines, as a client shows a row.
    fn of_lines(text: &str, rename: impl Fn(&str) -> String) -> Vec<Replica> {
        let rows = text.lines().filter_map(|l| l.trim().split_once(':'));
        let pairs: Vec<(String, String)> =
            rows.map(|(name, value)| (rename(name), value.trim().to_owned())).collect();
        let columns: Vec<&str> = pairs.iter().map(|(name, _)| &**name).collect();
        let row = pairs.iter().map(|(_, v)| (v != "NULL").then_some(&**v)).collect();
        let bytes = encoded(&columns, &[row]);
        let Some(Reply::Table(table)) = read(&bytes) else { panic!("no table") };
        parse(&table).expect("a replica's state")
    }

    #[test]
    fn recorded_ones_are_read_in_both_dialects() {
        for (file, sql_runs, seconds, bytes) in [
            ("after_start", true, Some(4), Some(71_696)),
            ("caught_up", true, Some(0), Some(0)),
            ("sql_stopped", false, None, Some(75_124)),
        ] {
            let text = reply(&format!("mariadb/replica.status.{file}.txt"));
            let old = of_lines(&text, str::to_owned);
            let new = of_lines(&text, |name| {
                name.replace("Slave", "Replica").replace("Master", "Source")
            });
            assert_eq!(old, new);
            let [one] = &old[..] else { panic!("{old:?}") };
            let got = (one.io_runs, one.sql_runs, one.seconds_behind, one.bytes_behind);
            assert_eq!(got, (true, sql_runs, seconds, bytes), "{file}");
            assert_eq!((&*one.source, &*one.name, &*one.error), ("127.0.0.1:13306", "", ""));
        }
    }

    #[test]
    fn each_server_is_asked_in_its_own_words() {
        for (version, want) in [
            ("5.5.5-10.11.19-MariaDB", "SHOW ALL SLAVES STATUS"),
            ("5.5.5-5.5.39-MariaDB", "SHOW SLAVE STATUS"),
            ("5.7.44-log", "SHOW SLAVE STATUS"),
            ("8.0.21", "SHOW SLAVE STATUS"),
            ("8.0.36-0ubuntu0.22.04.1", "SHOW REPLICA STATUS"),
            ("8.4.0", "SHOW REPLICA STATUS"),
        ] {
            // 5.5.39 is before 10.0 and says its number twice.
            assert_eq!(statement(&Version::parse(version)), want, "{version}");
        }
    }

    #[test]
    fn a_delay_on_purpose_is_read_and_an_old_server_has_less() {
        let text = reply("mariadb/replica.status.caught_up.txt");
        let delayed = text
            .replace("SQL_Delay: 0", "SQL_Delay: 3600")
            .replace("Behind_Master: 0", "Behind_Master: 3613");
        let delayed = of_lines(&delayed, str::to_owned);
        assert_eq!((delayed[0].seconds_behind, delayed[0].delay), (Some(3613), 3600));
        let old = "Slave_IO_Running: Yes\nSlave_SQL_Running: Yes\nMaster_Host: db1\n";
        let old = of_lines(old, str::to_owned);
        assert!(old[0].io_runs && !old[0].tells_seconds && old[0].seconds_behind.is_none());
    }

    #[test]
    fn another_table_is_none() {
        let bytes = encoded(&["Log_name", "File_size"], &[vec![Some("b.1"), Some("5")]]);
        let Some(Reply::Table(table)) = read(&bytes) else { panic!("no table") };
        assert_eq!(parse(&table), None);
        assert_eq!(parse(&Table::default()), Some(vec![]));
    }
}
