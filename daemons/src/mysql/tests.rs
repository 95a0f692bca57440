//! The probe against made-up servers that give recorded replies.

use super::login::tests::hello;
use super::wire::packed;
use super::wire::tests::{encoded, refused};
use crate::support::testing::{ask, make, reply, serve};
use rookery_plugins::{FieldSpec, ServiceSpec, Value};
use std::io::{Read, Write};
use std::net::TcpStream;

/// What a made-up server answers to a statement.
type Answers = fn(statement: &str, nth: usize) -> Vec<u8>;

fn receive(from: &mut TcpStream) -> Option<Vec<u8>> {
    let mut head = [0; 4];
    from.read_exact(&mut head).ok()?;
    let n = u32::from_le_bytes([head[0], head[1], head[2], 0]) as usize;
    let mut content = vec![0; n];
    from.read_exact(&mut content).ok()?;
    Some(content)
}

/// A server of this version; its address. `nth` counts its SHOW GLOBAL STATUS.
fn server(version: &'static str, answers: Answers) -> String {
    serve(move |mut s| {
        let _ = s.write_all(&packed(0, &hello(version, b"mysql_native_password")));
        if receive(&mut s).is_none() || s.write_all(&packed(2, &[0, 0, 0, 2, 0, 0, 0])).is_err() {
            return;
        }
        let mut nth = 0;
        while let Some(question) = receive(&mut s) {
            let statement = String::from_utf8_lossy(&question[1..]).into_owned();
            nth += usize::from(statement == "SHOW GLOBAL STATUS");
            if s.write_all(&answers(&statement, nth)).is_err() {
                return;
            }
        }
    })
}

/// `name<TAB>value` lines as a result.
fn tabbed(path: &str) -> Vec<u8> {
    let text = reply(path);
    let rows: Vec<Vec<Option<&str>>> = text
        .lines()
        .filter_map(|l| l.split_once('\t'))
        .map(|(a, b)| vec![Some(a), Some(b)])
        .collect();
    encoded(&["Variable_name", "Value"], &rows)
}

fn nothing() -> Vec<u8> {
    encoded(&["Slave_IO_Running", "Slave_SQL_Running", "Seconds_Behind_Master"], &[])
}

fn mariadb(statement: &str, nth: usize) -> Vec<u8> {
    match statement {
        "SHOW GLOBAL STATUS" => tabbed(&format!("mariadb/{}.global_status.tsv", nth.min(2))),
        "SHOW GLOBAL VARIABLES" => tabbed("mariadb/1.global_variables.tsv"),
        "SHOW ENGINE INNODB STATUS" => {
            let text = reply("mariadb/rollback.innodb_status.txt");
            encoded(&["Type", "Name", "Status"], &[vec![Some("InnoDB"), Some(""), Some(&text)]])
        }
        "SHOW BINARY LOGS" => encoded(
            &["Log_name", "File_size"],
            &[vec![Some("b.1"), Some("100")], vec![Some("b.2"), Some("23")]],
        ),
        "SHOW ALL SLAVES STATUS" => nothing(),
        _ => refused(1, 1064, "You have an error in your SQL syntax"),
    }
}

const MARIADB: &str = "5.5.5-10.11.19-MariaDB-0+deb12u1-log";

fn field<'a>(specs: &'a [ServiceSpec], service: &str, field: &str) -> &'a FieldSpec {
    let service = specs.iter().find(|s| s.name == service).expect(service);
    service.field(field).expect(field)
}

#[test]
fn a_recorded_mariadb_is_read() {
    let at = server(MARIADB, mariadb);
    let mut probe = make("mysql", &format!("address = {at:?}"));
    let (specs, values) = ask(probe.as_mut()).expect("answers");
    assert_eq!(specs[0].name, "mysql_queries");
    assert!(specs[0].info.starts_with("MariaDB 10.11.19-MariaDB-0+deb12u1-log. "));
    assert!(!specs[0].info.contains("Left out"), "{}", specs[0].info);
    for (name, want) in [
        // Com_select is 2887 and has the 1800 hits in it.
        ("mysql_queries.select", 1087),
        ("mysql_queries.cache_hits", 1800),
        ("mysql_queries.insert", 600),
        ("mysql_queries.update", 120),
        ("mysql_queries.delete", 2),
        ("mysql_queries.total", 3637),
        ("mysql_commands.Com_select", 2887),
        ("mysql_qcache.Qcache_lowmem_prunes", 0),
        ("mysql_qcache_blocks.Qcache_free_blocks", 1),
        ("mysql_qcache_mem.query_cache_size", 16_777_216),
        ("mysql_slowqueries.queries", 2),
        ("mysql_connections.max_connections", 151),
        ("mysql_handler_reads.Handler_read_next", 6462),
        ("mysql_innodb_bpool.ib_bpool_size", 4056),
        ("mysql_innodb_checkpoint.max_age", 80_819_529),
        ("mysql_innodb_undo.rolling_back", 281_869),
        ("mysql_innodb_history.history", 0),
        ("mysql_bin_relay_log.ma_binlog_size", 123),
    ] {
        // The first reading after the description is the second recording only
        // where it is asked twice; here it is the one that was described.
        let second = tsv(name);
        let got = values.get(name).unwrap_or_else(|| panic!("{name} is missing"));
        assert!(*got == Value::Int(want) || Some(*got) == second, "{name}: {got:?} is not {want}");
    }
    assert_eq!(values["mysql_qcache_use.hit_share"], Value::Unknown, "there is no interval yet");
    for gone in ["mysql_innodb_rows", "mysql_replication"] {
        assert!(specs.iter().all(|s| s.name != gone), "{gone}");
    }
    let connected = field(&specs, "mysql_connections", "Threads_connected");
    assert_eq!(connected.warning.as_deref(), Some("120"));
    assert_eq!(connected.critical.as_deref(), Some("143"));
}

fn tsv(_: &str) -> Option<Value> {
    None
}
