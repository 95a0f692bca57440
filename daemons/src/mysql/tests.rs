//! The probe against made-up servers that give recorded replies.

use super::login::tests::hello;
use super::wire::packed;
use super::wire::tests::{encoded, refused};
use crate::support::testing::{Said, ask, make, reply, serve};
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

fn said(version: &'static str, answers: Answers) -> Said {
    let at = server(version, answers);
    ask(make("mysql", &format!("address = {at:?}")).as_mut()).expect("answers")
}

/// A server that tells next to nothing, for the table of limits.
pub(crate) fn bare() -> Said {
    said("4.1.22-log", |statement, _| match statement {
        "SHOW GLOBAL STATUS" => {
            let names = ["Com_select", "Questions", "Uptime"];
            let rows: Vec<_> = names.iter().map(|name| vec![Some(*name), Some("5")]).collect();
            encoded(&["Variable_name", "Value"], &rows)
        }
        "SHOW GLOBAL VARIABLES" => encoded(
            &["Variable_name", "Value"],
            &[vec![Some("max_connections"), Some("100")], vec![Some("log_bin"), Some("ON")]],
        ),
        "SHOW SLAVE STATUS" => {
            encoded(&["Slave_IO_Running", "Slave_SQL_Running"], &[vec![Some("Yes"), Some("Yes")]])
        }
        "SHOW BINARY LOGS" => encoded(&["Log_name"], &[vec![Some("b.1")]]),
        _ => refused(1, 1064, "You have an error in your SQL syntax"),
    })
}

/// A replica that is an hour behind on purpose, beside a channel of a group that
/// rests and one that follows two sources, for the table of limits.
pub(crate) fn delayed() -> Said {
    said("8.0.36", |statement, nth| match statement {
        "SHOW REPLICA STATUS" => encoded(
            &[
                "Channel_Name",
                "Replica_IO_Running",
                "Replica_SQL_Running",
                "Seconds_Behind_Source",
                "SQL_Delay",
            ],
            &[
                vec![Some("late"), Some("Yes"), Some("Yes"), Some("3613"), Some("3600")],
                vec![Some("a-b"), Some("Yes"), Some("Yes"), Some("3"), Some("0")],
                vec![Some("a_b"), Some("Yes"), Some("Yes"), Some("0"), None],
            ],
        ),
        other => mysql8(other, nth),
    })
}

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
        // Com_select is 1445 and has the 900 hits in it.
        ("mysql_queries.select", 545),
        ("mysql_queries.cache_hits", 900),
        ("mysql_queries.insert", 300),
        ("mysql_queries.update", 60),
        ("mysql_queries.delete", 1),
        ("mysql_queries.total", 1820),
        ("mysql_commands.Com_select", 1445),
        ("mysql_qcache.Qcache_lowmem_prunes", 0),
        ("mysql_qcache_blocks.Qcache_free_blocks", 1),
        ("mysql_qcache_mem.query_cache_size", 16_777_216),
        ("mysql_slowqueries.queries", 1),
        ("mysql_connections.max_connections", 151),
        ("mysql_handler_reads.Handler_read_next", 2060),
        ("mysql_innodb_bpool.ib_bpool_size", 4056),
        ("mysql_innodb_checkpoint.max_age", 80_819_529),
        ("mysql_innodb_undo.rolling_back", 281_869),
        ("mysql_innodb_history.history", 0),
        ("mysql_bin_relay_log.ma_binlog_size", 123),
    ] {
        assert_eq!(values.get(name), Some(&Value::Int(want)), "{name}");
    }
    assert_eq!(values["mysql_qcache_use.hit_share"], Value::Unknown, "there is no interval yet");
    for gone in ["mysql_innodb_rows", "mysql_replication"] {
        assert!(specs.iter().all(|s| s.name != gone), "{gone}");
    }
    let connected = field(&specs, "mysql_connections", "Threads_connected");
    assert_eq!(connected.warning.as_deref(), Some("120"));
    assert_eq!(connected.critical.as_deref(), Some("143"));

    let (_, values) = ask(probe.as_mut()).expect("answers again");
    assert_eq!(values["mysql_queries.select"], Value::Int(2887 - 1800));
    let share = 100.0 * 900.0 / (900.0 + 541.0 + 1.0);
    assert_eq!(values["mysql_qcache_use.hit_share"], Value::Float(share));
    let Value::Float(per_insert) = values["mysql_qcache_hits_per_insert.hits_per_insert"] else {
        panic!("no number");
    };
    assert!((per_insert - 900.0 / 541.0).abs() < 1e-12, "{per_insert}");
    assert_eq!(values["mysql_tmp_on_disk.on_disk"], Value::Float(0.0));
}

#[test]
fn an_old_mysql_counts_no_hits_among_its_selects() {
    let at = server("5.7.44-log", |statement, nth| match statement {
        "SHOW SLAVE STATUS" => nothing(),
        other => mariadb(other, nth),
    });
    let mut probe = make("mysql", &format!("address = {at:?}"));
    let (_, values) = ask(probe.as_mut()).expect("answers");
    assert_eq!(values["mysql_queries.select"], Value::Int(1445));
    assert_eq!(values["mysql_queries.cache_hits"], Value::Int(900));
}

/// Made up after the manual, not recorded.
fn mysql8(statement: &str, _: usize) -> Vec<u8> {
    const REPLICA: [(&str, Option<&str>); 10] = [
        ("Source_Host", Some("db1")),
        ("Source_Port", Some("3306")),
        ("Source_Log_File", Some("binlog.000009")),
        ("Read_Source_Log_Pos", Some("900")),
        ("Relay_Source_Log_File", Some("binlog.000009")),
        ("Replica_IO_Running", Some("Yes")),
        ("Replica_SQL_Running", Some("No")),
        ("Exec_Source_Log_Pos", Some("400")),
        ("Seconds_Behind_Source", None),
        ("Last_SQL_Error", Some("Duplicate entry '5' for key 'PRIMARY'")),
    ];
    match statement {
        "SHOW GLOBAL STATUS" => tabbed("mysql/8.global_status.tsv"),
        "SHOW GLOBAL VARIABLES" => encoded(
            &["Variable_name", "Value"],
            &[vec![Some("log_bin"), Some("OFF")], vec![Some("max_connections"), Some("500")]],
        ),
        "SHOW ENGINE INNODB STATUS" => {
            let text = "INNODB MONITOR OUTPUT\n------------\nTRANSACTIONS\n------------\n\
                        Trx id counter 9001\nHistory list length 31\n---\nLOG\n---\n\
                        Log sequence number          20000\nLast checkpoint at           19000\n\
                        ---\nEND OF INNODB MONITOR OUTPUT\n";
            encoded(&["Type", "Name", "Status"], &[vec![Some("InnoDB"), Some(""), Some(text)]])
        }
        "SHOW REPLICA STATUS" => {
            let (columns, row): (Vec<_>, Vec<_>) = REPLICA.iter().copied().unzip();
            encoded(&columns, &[row])
        }
        _ => refused(1, 1064, "You have an error in your SQL syntax"),
    }
}

#[test]
fn a_mysql_8_has_no_query_cache_and_other_names() {
    let at = server("8.0.36-0ubuntu0.22.04.1", mysql8);
    let mut probe = make("mysql", &format!("address = {at:?}"));
    let (specs, values) = ask(probe.as_mut()).expect("answers");
    assert!(specs[0].info.starts_with("MySQL 8.0.36-0ubuntu0.22.04.1. "));
    assert!(specs.iter().all(|s| !s.name.contains("qcache") && s.name != "mysql_bin_relay_log"));
    assert!(specs[0].field("cache_hits").is_none());
    for (name, want) in [
        ("mysql_queries.select", Value::Int(205)),
        ("mysql_innodb_rows.Innodb_rows_read", Value::Int(512)),
        ("mysql_innodb_history.history", Value::Int(31)),
        ("mysql_innodb_checkpoint.age", Value::Int(1000)),
        ("mysql_innodb_tnx.ib_tnx", Value::Int(9001)),
        ("mysql_replication.slave_io_running", Value::Int(0)),
        ("mysql_replication.slave_sql_running", Value::Int(1)),
        ("mysql_replication.seconds_behind_master", Value::Unknown),
        ("mysql_replication_bytes.behind", Value::Int(500)),
    ] {
        assert_eq!(values.get(name), Some(&want), "{name}");
    }
    let sql = field(&specs, "mysql_replication", "slave_sql_running");
    assert_eq!(sql.critical.as_deref(), Some("0"));
    let service = specs.iter().find(|s| s.name == "mysql_replication").expect("is there");
    assert!(service.info.contains("It says: Duplicate entry '5'"), "{}", service.info);
    assert!(service.info.contains("its source, db1:3306."), "{}", service.info);
}

#[test]
fn several_sources_have_a_service_each() {
    let at = server(MARIADB, |statement, nth| match statement {
        "SHOW ALL SLAVES STATUS" => encoded(
            &["Connection_name", "Slave_IO_Running", "Slave_SQL_Running", "Seconds_Behind_Master"],
            &[
                vec![Some(""), Some("Yes"), Some("Yes"), Some("0")],
                vec![Some("o-ne"), Some("Connecting"), Some("Yes"), None],
                vec![Some("o_ne"), Some("Yes"), Some("Yes"), Some("7")],
            ],
        ),
        other => mariadb(other, nth),
    });
    let mut probe = make("mysql", &format!("address = {at:?}"));
    let (specs, values) = ask(probe.as_mut()).expect("answers");
    assert_eq!(values["mysql_replication.seconds_behind_master"], Value::Int(0));
    // Named by what they are called, not by their order.
    for (channel, want, old) in [
        ("o-ne", Value::Unknown, "mysql_replication.o_ne"),
        ("o_ne", Value::Int(7), "mysql_replication.o_ne_2"),
    ] {
        let title = format!("MySQL replication ({channel})");
        let service = specs.iter().find(|s| s.title == title).expect("a service");
        assert!(service.name.starts_with("mysql_replication.o_ne_"), "{}", service.name);
        assert_eq!(values[&format!("{}.seconds_behind_master", service.name)], want, "{channel}");
        assert_eq!(service.old_names().collect::<Vec<_>>(), [old]);
    }
}

#[test]
fn a_replica_is_judged_by_what_it_is_behind_beyond_its_delay() {
    let at = server(MARIADB, |statement, nth| match statement {
        "SHOW ALL SLAVES STATUS" => encoded(
            &[
                "Connection_name",
                "Slave_IO_Running",
                "Slave_SQL_Running",
                "Seconds_Behind_Master",
                "SQL_Delay",
            ],
            &[
                vec![Some("late"), Some("Yes"), Some("Yes"), Some("3613"), Some("3600")],
                vec![Some("now"), Some("Yes"), Some("Yes"), Some("13"), None],
                vec![Some("group_replication_recovery"), Some("No"), Some("No"), None, Some("0")],
            ],
        ),
        "SHOW BINARY LOGS" => encoded(
            &["Log_name", "File_size"],
            &[vec![Some("b.1"), Some("100")], vec![Some("b.2"), None]],
        ),
        other => mariadb(other, nth),
    });
    let mut probe = make("mysql", &format!("address = {at:?}"));
    let (specs, values) = ask(probe.as_mut()).expect("answers");
    let limits = |service: &str, name: &str| {
        let field = field(&specs, service, name);
        (field.warning.clone().unwrap_or_default(), field.critical.clone().unwrap_or_default())
    };
    let seconds = "seconds_behind_master";
    let both = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(limits("mysql_replication.late", seconds), both("3900", "4200"));
    assert_eq!(limits("mysql_replication.now", seconds), both("300", "600"));
    assert_eq!(values["mysql_replication.late.seconds_behind_master"], Value::Int(3613));
    // A group's own channel rests.
    let group = "mysql_replication.group_replication_recovery";
    for name in ["slave_io_running", "slave_sql_running", seconds] {
        assert_eq!(limits(group, name), both("", ""), "{name}");
    }
    assert_eq!(values["mysql_bin_relay_log.ma_binlog_size"], Value::Int(100));
    assert_eq!(values["mysql_odd.odd"], Value::Int(1));
}

#[test]
fn a_reply_that_is_not_understood_costs_no_other() {
    let at = server("4.1.22-log", |statement, nth| match statement {
        // Of a server that knows no seconds, and no sizes.
        "SHOW SLAVE STATUS" => encoded(&["Something"], &[vec![Some("else")]]),
        "SHOW BINARY LOGS" => encoded(&["Log_name"], &[vec![Some("b.1")]]),
        other => mariadb(other, nth),
    });
    let mut probe = make("mysql", &format!("address = {at:?}"));
    let (specs, values) = ask(probe.as_mut()).expect("answers");
    assert_eq!(values["mysql_queries.insert"], Value::Int(300));
    assert_eq!(values["mysql_odd.odd"], Value::Int(1));
    assert!(specs.iter().all(|s| s.name != "mysql_replication"));
    assert!(!values.contains_key("mysql_bin_relay_log.ma_binlog_size"));
}

#[test]
fn what_a_right_is_missing_for_is_left_out_and_said() {
    let at = server(MARIADB, |statement, nth| match statement {
        "SHOW ENGINE INNODB STATUS" => refused(1, 1227, "Access denied; you need PROCESS"),
        "SHOW ALL SLAVES STATUS" => refused(1, 1227, "Access denied; you need SLAVE MONITOR"),
        "SHOW BINARY LOGS" => refused(1, 1381, "You are not using binary logging"),
        other => mariadb(other, nth),
    });
    let mut probe = make("mysql", &format!("address = {at:?}"));
    let (specs, values) = ask(probe.as_mut()).expect("answers");
    assert_eq!(values["mysql_queries.insert"], Value::Int(300));
    assert!(specs.iter().all(|s| s.name != "mysql_innodb_undo" && s.name != "mysql_replication"));
    let want = "Left out are InnoDB's transactions and replication: the server says \"Access \
                denied; you need PROCESS\"; remedy: GRANT PROCESS, REPLICATION CLIENT, SLAVE \
                MONITOR ON *.* TO 'rookery'@...;";
    assert!(specs[0].info.contains(want), "{}", specs[0].info);
    // The status has it without any right.
    assert!(specs.iter().any(|s| s.name == "mysql_innodb_history"));
}

/// What a server says at the start, and what becomes of it.
fn error_of(first: &'static [u8]) -> String {
    let at = serve(move |mut s| {
        let _ = s.write_all(first);
        let _ = receive(&mut s);
    });
    let mut probe = make("mysql", &format!("address = {at:?}\ntimeout = \"1s\""));
    let error = ask(probe.as_mut()).expect_err("no server").to_string();
    assert!(error.starts_with(&format!("mysql at {at}: ")), "{error}");
    error
}

#[test]
fn foreign_cut_and_empty_ones_give_errors() {
    for (first, want) in [
        (&b""[..], "did not answer in time"),
        (b"SSH-2.0-OpenSSH_9.2p1\r\n", "does not speak MySQL's protocol"),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n", "does not speak MySQL's protocol"),
        (b"+PONG\r\n", "does not speak MySQL's protocol"),
        (b"\0\0\0\0", "does not speak MySQL's protocol"),
        (b"\x03\0\0\0\x09ab", "does not speak MySQL's protocol"),
        (b"\x50\0\0\0\x0a8.0.36\0", "did not answer in time"),
        (b"\x0a\0\0\0\xff\x10\x04Too many", "all its connections are taken"),
        (b"\x0b\0\0\0\xff\x6a\x04Host 'a' ", "create the user for this host"),
    ] {
        let error = error_of(first);
        assert!(error.contains(want), "{first:?}: {error}");
    }
}

#[test]
fn a_status_that_is_cut_foreign_or_empty_gives_an_error() {
    let cases: [(Answers, &str); 4] = [
        (|_, _| encoded(&["a"], &[]), "is it a MySQL or MariaDB?"),
        (|_, _| b"\x01\0\0\x01\xfb".to_vec(), "not of MySQL's protocol"),
        (|_, _| b"HTTP/1.1 200 OK".to_vec(), "not of MySQL's protocol"),
        (|_, _| tabbed("mariadb/1.global_status.tsv")[..5000].to_vec(), "did not answer in time"),
    ];
    for (answers, want) in cases {
        let at = server(MARIADB, answers);
        let mut probe = make("mysql", &format!("address = {at:?}\ntimeout = \"500ms\""));
        let error = ask(probe.as_mut()).expect_err("no server").to_string();
        assert!(error.contains(want), "{error}");
    }
}

#[test]
fn a_refusal_says_what_to_do() {
    let at = serve(|mut s| {
        let _ = s.write_all(&packed(0, &hello(MARIADB, b"mysql_native_password")));
        let _ = receive(&mut s);
        let _ = s.write_all(&refused(2, 1045, "Access denied for user 'rookery'@'localhost'"));
    });
    let mut probe = make("mysql", &format!("address = {at:?}\npassword = \"sesame\""));
    let error = ask(probe.as_mut()).expect_err("refused").to_string();
    for want in ["refused user \"rookery\"", "CREATE USER 'rookery'@'localhost'", "GRANT PROCESS"] {
        assert!(error.contains(want), "{error}");
    }
    assert!(!error.contains("sesame"), "{error}");
}

#[test]
fn a_login_that_the_server_remembers_is_short() {
    let at = serve(|mut s| {
        let _ = s.write_all(&packed(0, &hello("8.0.36", b"caching_sha2_password")));
        let _ = receive(&mut s);
        let _ = s.write_all(&packed(2, &[1, 3]));
        let _ = s.write_all(&packed(3, &[0, 0, 0, 2, 0, 0, 0]));
        while let Some(question) = receive(&mut s) {
            let statement = String::from_utf8_lossy(&question[1..]).into_owned();
            let _ = s.write_all(&mysql8(&statement, 0));
        }
    });
    let mut probe = make("mysql", &format!("address = {at:?}\npassword = \"sesame\""));
    let (_, values) = ask(probe.as_mut()).expect("answers");
    assert_eq!(values["mysql_queries.insert"], Value::Int(70));
}

#[test]
fn a_login_goes_the_servers_way() {
    // caching_sha2_password, which asks for the whole password: by the server's key.
    let at = serve(|mut s| {
        let _ = s.write_all(&packed(0, &hello("8.0.36", b"caching_sha2_password")));
        let answer = receive(&mut s).unwrap_or_default();
        assert!(answer.ends_with(b"caching_sha2_password\0"));
        let _ = s.write_all(&packed(2, &[1, 4]));
        let wish = receive(&mut s).unwrap_or_default();
        let mut key = vec![1];
        key.extend_from_slice(reply("mysql/public_key.pem").as_bytes());
        // A key that was given need not be asked for.
        let asks = wish == [2];
        if asks {
            let _ = s.write_all(&packed(4, &key));
        }
        let hidden = if asks { receive(&mut s).unwrap_or_default() } else { wish };
        let text = format!("got {} bytes, asked: {asks}", hidden.len());
        let _ = s.write_all(&refused(if asks { 6 } else { 4 }, 1045, &text));
    });
    let key = format!("{}/testdata/mysql/public_key.pem", env!("CARGO_MANIFEST_DIR"));
    for (more, want) in [
        (String::new(), "got 256 bytes, asked: true"),
        (format!("server_key = {key:?}"), "got 256 bytes, asked: false"),
        ("server_key = \"/no/such\"".to_owned(), "server_key /no/such: No such file"),
    ] {
        let config = format!("address = {at:?}\npassword = \"sesame\"\n{more}");
        let error = ask(make("mysql", &config).as_mut()).expect_err("refused").to_string();
        assert!(error.contains(want), "{error}");
    }
    // unix_socket over TCP can only be refused.
    let at = serve(|mut s| {
        let _ = s.write_all(&packed(0, &hello(MARIADB, b"mysql_native_password")));
        let _ = receive(&mut s);
        let _ = s.write_all(&packed(2, b"\xfeunix_socket\0"));
        let _ = receive(&mut s);
    });
    let mut probe = make("mysql", &format!("address = {at:?}"));
    let error = ask(probe.as_mut()).expect_err("no way").to_string();
    assert!(error.contains("\"unix_socket\", which is not known here"), "{error}");
}
