//! MariaDB: a known load, a replica whose SQL thread stops, a long rollback,
//! a wrong password.

use crate::lab::{LIMIT, Lab};
use crate::support::{free_port, get, run, wait_for};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// A server.
struct Server {
    folder: PathBuf,
    port: u16,
    id: u16,
    options: &'static [&'static str],
}

impl Server {
    /// A server over this data.
    fn start(lab: &mut Lab, folder: PathBuf, id: u16, options: &'static [&'static str]) -> Server {
        let server = Server { folder, port: free_port(), id, options };
        server.start_again(lab);
        server
    }

    /// The same one, after it ended.
    fn start_again(&self, lab: &mut Lab) {
        let path = |name: &str| format!("{}/{name}", self.folder.display());
        let mut command = Command::new("mariadbd");
        command.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"]);
        command.args(["--innodb-buffer-pool-size=32M", "--innodb-flush-log-at-trx-commit=0"]);
        command.arg(format!("--datadir={}", path("data")));
        command.arg(format!("--socket={}", path("s")));
        command.arg(format!("--pid-file={}", path("pid")));
        command.args([format!("--port={}", self.port), format!("--server-id={}", self.id)]);
        lab.daemon(command.args(self.options).env("TMPDIR", &self.folder), self.port);
    }

    fn socket(&self) -> PathBuf {
        self.folder.join("s")
    }

    fn command(&self, sql: &str) -> Command {
        let mut command = Command::new("mariadb");
        command.args(["--no-defaults", "--batch", "--skip-column-names", "-S"]);
        command.arg(self.socket()).args(["--execute", sql]);
        command
    }

    /// Carries out these statements over one connection; what they give.
    fn sql(&self, sql: &str) -> String {
        let output = run(&mut self.command(sql));
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {error}");
        String::from_utf8(output.stdout).expect("UTF-8")
    }
}

/// Empty data, as Debian sets it up: root logs in by being root.
fn install(folder: &Path) {
    std::fs::create_dir(folder).expect("a folder");
    let data = format!("--datadir={}", folder.join("data").display());
    // A server that starts clears the folder for temporary files of all others' tables.
    let output = run(Command::new("mariadb-install-db")
        .env("TMPDIR", folder)
        .args(["--no-defaults", "--user=root", "--skip-test-db", "--skip-name-resolve", &data])
        .stdin(Stdio::null()));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
}

const CACHE: [&str; 4] = ["--query-cache-type=1", "--query-cache-size=4M", "--log-bin=b", "-s"];

#[test]
fn a_known_load_is_counted() {
    let mut lab = Lab::new();
    let folder = lab.site.path("db");
    install(&folder);
    let server = Server::start(&mut lab, folder, 1, &CACHE);
    server.sql(
        "create database t; use t; create table t.a(id int primary key, v varchar(120)) engine=innodb;
         create table t.m(id int primary key) engine=myisam;
         insert into t.a select seq, repeat('x', 100) from seq_1_to_100;
         create user rookery@localhost identified by 'sesame'; create user bare@localhost;
         grant process, replication client, slave monitor on *.* to rookery@localhost;",
    );
    let port = server.port;
    let options = lab.site.path("my.cnf");
    let text =
        format!("[client]\nhost = 127.0.0.1\nport = {port}\nuser = rookery\npassword = sesame\n");
    std::fs::write(&options, text).expect("writes");
    lab.watch(&format!(
        "[probe.mysql]\naddress = {:?}\n\
         [[probe.mysql.server]]\nname = \"tcp\"\ndefaults_file = {:?}\n\
         [[probe.mysql.server]]\nname = \"bare\"\naddress = \"127.0.0.1:{port}\"\nuser = \"bare\"\n\
         [[probe.mysql.server]]\nname = \"wrong\"\naddress = \"127.0.0.1:{port}\"\n\
         user = \"rookery\"\npassword = \"simsim\"\n",
        server.socket(),
        options
    ));
    let grows = [
        (("mysql_queries", "select"), 50.0),
        (("mysql_queries", "cache_hits"), 150.0),
        (("mysql_queries", "insert"), 30.0),
        (("mysql_queries", "update"), 20.0),
        (("mysql_queries", "delete"), 10.0),
        (("mysql_queries", "replace"), 5.0),
        (("mysql_commands", "Com_select"), 200.0),
        (("mysql_qcache", "Qcache_inserts"), 45.0),
        (("mysql_qcache", "Qcache_not_cached"), 5.0),
        (("mysql_commands", "Com_insert"), 30.0),
        (("mysql_slowqueries", "queries"), 1.0),
        (("mysql_handler_writes", "Handler_delete"), 10.0),
    ];
    let fields = grows.map(|(field, _)| field);
    let before = lab.before(&fields);
    let tcp = lab.before(&[("mysql_queries.tcp", "insert"), ("mysql_queries.bare", "insert")]);
    // 45 that are kept and found again 150 times, and 5 that cannot be kept. No USE:
    // the client asks for DATABASE() then.
    let mut load = String::from("set long_query_time = 0.2;");
    for i in 1..=45 {
        load += &format!("select v from t.a where id = {i};");
    }
    for i in 0..150 {
        load += &format!("select v from t.a where id = {};", 1 + i % 45);
    }
    load += &"select rand() from t.a where id = 1;".repeat(4);
    load += "select sleep(0.3);";
    for i in 0..30 {
        load += &format!("insert into t.a values ({}, 'y');", 1_000 + i);
    }
    for i in 0..20 {
        load += &format!("update t.a set v = 'z' where id = {};", 1_000 + i);
    }
    for i in 0..10 {
        load += &format!("delete from t.a where id = {};", 1_000 + i);
    }
    for i in 0..5 {
        load += &format!("replace into t.m values ({i});");
    }
    server.sql(&load);
    for ((field, by), before) in grows.iter().zip(before) {
        lab.grows(field.0, field.1, before, *by);
    }
    lab.grows("mysql_queries.tcp", "insert", tcp[0], 30.0);
    lab.grows("mysql_queries.bare", "insert", tcp[1], 30.0);
    // A select that is carried out is an insert into the cache or not cached.
    lab.ratio_is_right(
        ("mysql_qcache_use", "hit_share"),
        ("mysql_qcache", "Qcache_hits"),
        ("mysql_queries", "select"),
    );
    assert_eq!(lab.newest("mysql_connections", "max_connections"), 151.0);
    assert!(lab.newest("mysql_bin_relay_log", "ma_binlog_size") > 0.0);
    assert_eq!(lab.newest("mysql_qcache_mem", "query_cache_size"), 4_194_304.0);

    // Who has no rights gets less and is told why.
    assert!(lab.knows("host", "mysql_innodb_undo.tcp"));
    assert!(!lab.knows("host", "mysql_innodb_undo.bare"));
    let info = lab.info("mysql_queries.bare");
    assert!(
        info.contains("Left out are InnoDB's transactions") && info.contains("GRANT"),
        "{info}"
    );
    assert_eq!(lab.newest("rookery_success", "probe_mysql_wrong"), 0.0);
    let line = lab.told("the probe failed");
    for want in ["Access denied for user 'rookery'", "CREATE USER 'rookery'", "GRANT PROCESS"] {
        assert!(line.contains(want), "{line}");
    }

    // A restart is a reset of the counters, and the probe finds the server again.
    let inserts = lab.newest("mysql_queries", "insert");
    server.sql("shutdown");
    lab.until("rookery_success", "probe_mysql", |v| v == 0.0);
    server.start_again(&mut lab);
    lab.until("mysql_queries", "insert", |v| v < inserts);
    server.sql("insert into t.a values (5000, '')");
    lab.until("mysql_queries", "insert", |v| v == 1.0);
}

#[test]
fn a_rollback_is_seen_to_end() {
    let mut lab = Lab::new();
    let folder = lab.site.path("db");
    install(&folder);
    let server = Server::start(&mut lab, folder, 1, &[]);
    lab.watch(&format!("[probe.mysql]\naddress = {:?}\n", server.socket()));
    server.sql(
        "create database t; use t; create table t.a(id int primary key, v varchar(120)) engine=innodb;
         insert into t.a select seq, repeat('x', 90) from seq_1_to_400000;",
    );
    let mut undo = server
        .command("use t; begin; update a set v = concat('y', v); rollback")
        .spawn()
        .expect("starts");
    let most = lab.until("mysql_innodb_undo", "rolling_back", |v| v > 0.0);
    lab.until("mysql_innodb_undo", "rolling_back", |v| v == 0.0);
    lab.until("mysql_innodb_rollback", "seconds", |v| v == 0.0);
    assert!(undo.wait().expect("ends").success());
    // At least one reading in between knew its speed, and what it said was the
    // right order of magnitude.
    let (left, entries) = (
        lab.values("mysql_innodb_rollback", "seconds"),
        lab.values("mysql_innodb_undo", "rolling_back"),
    );
    let end = entries.iter().filter(|(_, v)| **v > 0.0).map(|(t, _)| *t).max().expect("seen");
    let estimates: Vec<(f64, f64)> = left
        .iter()
        .filter(|(t, v)| **t < end && **v > 0.0)
        .map(|(t, v)| ((end - t) as f64 / 1e3, *v))
        .collect();
    println!("{most} entries; true and estimated seconds left: {estimates:?}");
    assert!(most <= 400_000.0 && entries.values().all(|v| *v <= 400_000.0));
    for (truth, estimate) in estimates {
        assert!(estimate < 10.0 * truth + 10.0, "{estimate} for {truth}");
    }
}

#[test]
fn a_replica_that_stops_is_unknown_and_critical() {
    let mut lab = Lab::new();
    let (one, two) = (lab.site.path("one"), lab.site.path("two"));
    install(&one);
    let copied = run(Command::new("cp").arg("-r").args([&one, &two]));
    assert!(copied.status.success());
    let source = Server::start(&mut lab, one, 1, &["--log-bin=b"]);
    let replica = Server::start(&mut lab, two, 2, &["--relay-log=r"]);
    source.sql(
        "create user repl@localhost identified by 'r';
         grant replication slave on *.* to repl@localhost;",
    );
    replica.sql(&format!(
        "change master to master_host='127.0.0.1', master_port={}, master_user='repl',
         master_password='r', master_log_file='b.000001', master_log_pos=4; start slave",
        source.port
    ));
    lab.watch(&format!("[probe.mysql]\naddress = {:?}\n", replica.socket()));
    let service = "mysql_replication";
    lab.until(service, "slave_io_running", |v| v == 0.0);
    lab.until(service, "slave_sql_running", |v| v == 0.0);
    source.sql("create database t; use t; create table t.a(id int primary key) engine=innodb;");
    lab.until("mysql_replication_bytes", "behind", |v| v == 0.0);
    lab.until(service, "seconds_behind_master", |v| v == 0.0);

    replica.sql("stop slave sql_thread");
    source.sql("use t; insert into t.a select seq from seq_1_to_1000");
    lab.until(service, "slave_sql_running", |v| v == 1.0);
    lab.until("mysql_replication_bytes", "behind", |v| v > 0.0);
    // From when the thread is seen to stand on, how far behind is unknown.
    let stopped = lab.values(service, "slave_sql_running");
    let since = stopped.iter().rev().take_while(|(_, v)| **v == 1.0).map(|(t, _)| *t).min();
    let since = since.expect("stopped");
    wait_for("an unknown lag", LIMIT, || {
        let rows = lab.site.export("host", service);
        let of = rows.iter().filter(|(t, f, _)| *t >= since && f == "seconds_behind_master");
        let values: Vec<&str> = of.map(|(_, _, v)| &**v).collect();
        assert!(values.iter().all(|v| v.is_empty()), "{values:?}");
        (values.len() > 2).then_some(())
    });
    let problem = wait_for("a problem", LIMIT, || {
        let problems = get(&format!("{}/api/v1/problems", lab.site.url())).json();
        problems.as_array()?.iter().find(|p| p["service"] == service).cloned()
    });
    assert_eq!(problem["state"], "CRITICAL", "{problem}");

    replica.sql("start slave sql_thread");
    lab.until(service, "slave_sql_running", |v| v == 0.0);
    lab.until("mysql_replication_bytes", "behind", |v| v == 0.0);
    assert_eq!(replica.sql("select count(*) from t.a").trim(), "1000");
    // The source has gone: the IO thread does not run, and that is told.
    source.sql("shutdown");
    lab.until(service, "slave_io_running", |v| v == 1.0);
}
