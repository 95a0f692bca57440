//! PostgreSQL: known transactions, locks, sizes, a standby that stops, and
//! refusals.

use crate::lab::Lab;
use crate::support::{Proc, free_port, run, stdout, wait_for};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The newest PostgreSQL of the machine.
fn program(name: &str) -> PathBuf {
    let all = std::fs::read_dir("/usr/lib/postgresql").expect("tests/install");
    let mut paths: Vec<_> =
        all.flatten().map(|e| e.path().join("bin").join(name)).filter(|p| p.exists()).collect();
    paths.sort();
    paths.pop().expect("tests/install")
}

fn as_postgres(program: &Path) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command.env("LC_ALL", "C");
    command
}

struct Server {
    port: u16,
    data: PathBuf,
}

impl Server {
    fn start(lab: &mut Lab, data: PathBuf) -> Server {
        let port = free_port();
        let mut command = as_postgres(&program("postgres"));
        command.arg("-D").arg(&data).args(["-p", &port.to_string(), "-c", "fsync=off"]);
        command.args(["-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=16MB"]);
        // Counters are told at the end of a transaction, at most once a second.
        command.args(["-c", "max_prepared_transactions=5", "-k"]).arg(lab.site.dir.path());
        lab.daemon(&mut command, port);
        let server = Server { port, data };
        wait_for("the server to take clients", crate::lab::LIMIT, || {
            run(server.psql().args(["-c", "SELECT 1"])).status.success().then_some(())
        });
        server
    }

    fn psql(&self) -> Command {
        let mut command = Command::new("psql");
        command.args(["-X", "-q", "-At", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres"]);
        command.args(["-v", "ON_ERROR_STOP=1", "-p", &self.port.to_string()]);
        command.env("PGPASSWORD", "sesame");
        command
    }

    fn sql(&self, text: &str) -> String {
        stdout(self.psql().args(["-c", text]))
    }
}

fn folder(lab: &Lab, name: &str) -> PathBuf {
    let path = lab.site.path(name);
    std::fs::create_dir(&path).expect("a folder");
    let own = Command::new("chown").arg("postgres").arg(&path).status().expect("chown");
    assert!(own.success());
    path
}

/// A client whose statements stay open until it is dropped.
struct Held {
    client: std::process::Child,
}

impl Held {
    fn new(server: &Server, sql: &str) -> Held {
        let mut client = server.psql().stdin(Stdio::piped()).spawn().expect("psql");
        let to = client.stdin.as_mut().expect("piped");
        to.write_all(sql.as_bytes()).expect("writes");
        to.flush().expect("writes");
        Held { client }
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.client.kill();
        let _ = self.client.wait();
    }
}

#[test]
fn a_known_load_locks_and_a_standby_are_seen() {
    let mut lab = Lab::new();
    // Sockets lie in the lab's folder.
    let own = Command::new("chown").arg("postgres").arg(lab.site.dir.path()).status();
    assert!(own.expect("chown").success());
    let data = folder(&lab, "pg");
    let password = lab.site.path("pg-password");
    std::fs::write(&password, "sesame\n").expect("writes");
    let mut init = as_postgres(&program("initdb"));
    init.arg("-D").arg(&data).args(["-A", "scram-sha-256", "-U", "postgres", "--no-sync"]);
    stdout(init.arg(format!("--pwfile={}", password.display())));
    let server = Server::start(&mut lab, data);
    server.sql("CREATE ROLE rookery LOGIN PASSWORD 'watch'");
    server.sql("GRANT pg_monitor TO rookery");
    server.sql("CREATE TABLE t(a int PRIMARY KEY, b int)");
    server.sql("CREATE DATABASE \"shop-2\"");
    let at = format!("address = \"127.0.0.1:{}\"\n", server.port);
    lab.watch(&format!(
        "[probe.postgres]\n{at}password = \"watch\"\n\
         [[probe.postgres.server]]\nname = \"wrong\"\n{at}password = \"guess\"\n\
         [[probe.postgres.server]]\nname = \"nobody\"\n{at}user = \"nobody\"\npassword = \"x\"\n\
         [[probe.postgres.server]]\nname = \"nodb\"\n{at}database = \"nodb\"\n"
    ));
    for (user, want) in [
        ("wrong", "see password_file in [probe.postgres]"),
        ("nobody", "see password_file in [probe.postgres]"),
        ("nodb", "see database in [probe.postgres]"),
    ] {
        let line = lab.said(&format!("probe=postgres.{user} "));
        assert!(line.contains(want) && line.contains("refuses user"), "{line}");
    }

    // The probe's own transactions are counted, too: 40 of 1,000 rows are not.
    let inserted = lab.settled("postgres_tuples_db", "inserted");
    let rollbacks = lab.settled("postgres_transactions_ALL", "rollback");
    let mut script = String::new();
    for i in 0..40 {
        let from = i * 25;
        script +=
            &format!("INSERT INTO t SELECT g, 0 FROM generate_series({from}, {from} + 24) g;\n");
    }
    script += "UPDATE t SET b = 1 WHERE a < 300;\nDELETE FROM t WHERE a >= 900;\n";
    for _ in 0..7 {
        script += "BEGIN; SELECT 1; ROLLBACK;\n";
    }
    let before = lab.newest("postgres_transactions_ALL", "commit");
    stdout(server.psql().args(["-c", "SELECT 1", "-f"]).arg({
        let file = lab.site.path("load.sql");
        std::fs::write(&file, script).expect("writes");
        file
    }));
    lab.grows("postgres_tuples_db", "inserted", inserted, 1_000.0);
    lab.grows("postgres_tuples_db", "updated", 0.0, 300.0);
    lab.grows("postgres_tuples_db", "deleted", 0.0, 100.0);
    lab.grows("postgres_transactions_ALL", "rollback", rollbacks, 7.0);
    lab.until("postgres_transactions_ALL", "commit", |v| v >= before + 42.0);
    lab.until("postgres_dead_tuples", "live", |v| v == 900.0);
    lab.ratio_is_right(
        ("postgres_cache_ratio", "hit_ratio"),
        ("postgres_cache_ALL", "blks_hit"),
        ("postgres_cache_ALL", "blks_read"),
    );
    assert!(lab.newest("postgres_size_ALL", "shop_2") > 1e6);

    // One holds a row, one waits for it.
    let holder = Held::new(&server, "BEGIN; UPDATE t SET b = 2 WHERE a = 1;\n");
    lab.until("postgres_connections_ALL", "idletransaction", |v| v == 1.0);
    let waiter = Held::new(&server, "UPDATE t SET b = 3 WHERE a = 1;\n");
    lab.until("postgres_connections_ALL", "waiting", |v| v == 1.0);
    lab.until("postgres_querylength_ALL", "transaction", |v| v > 0.5);
    drop((holder, waiter));
    lab.until("postgres_connections_ALL", "waiting", |v| v == 0.0);
    assert_eq!(lab.newest("postgres_connections_ALL", "max_connections"), 100.0);
    server.sql("BEGIN; INSERT INTO t VALUES (5000, 0); PREPARE TRANSACTION 'forgotten'");
    lab.until("postgres_prepared_xacts", "prepared", |v| v == 1.0);
    server.sql("ROLLBACK PREPARED 'forgotten'");

    // A standby that is told to stop replaying.
    let hba = server.data.join("pg_hba.conf");
    let mut text = std::fs::read_to_string(&hba).expect("reads");
    text += "\nhost replication postgres 127.0.0.1/32 scram-sha-256\n";
    std::fs::write(&hba, text).expect("writes");
    server.sql("SELECT pg_reload_conf()");
    let copy = lab.site.path("standby");
    let mut backup = as_postgres(&program("pg_basebackup"));
    backup.args(["-h", "127.0.0.1", "-U", "postgres", "-R", "-c", "fast", "-p"]);
    backup.arg(server.port.to_string()).arg("-D").arg(&copy).env("PGPASSWORD", "sesame");
    stdout(&mut backup);
    let standby = Server::start(&mut lab, copy);
    let field = "walreceiver_127_0_0_1";
    lab.until("postgres_streaming", field, |v| v == 0.0);
    let mut standby_agent = Proc::start(&mut lab.site.agent_command(
        "sb",
        &format!(
            "step = \"500ms\"\n[probe.postgres]\naddress = \"127.0.0.1:{}\"\npassword = \"watch\"\n",
            standby.port
        ),
    ));
    standby.sql("SELECT pg_wal_replay_pause()");
    server.sql("INSERT INTO t SELECT g, 0 FROM generate_series(10000, 20000) g");
    lab.until("postgres_streaming", field, |v| v > 100_000.0);
    wait_for("the standby's own view", crate::lab::LIMIT, || {
        let bytes = lab.values_of("sb", "postgres_standby_bytes", "bytes");
        bytes.into_values().next_back().filter(|v| *v > 100_000.0)
    });
    standby.sql("SELECT pg_wal_replay_resume()");
    lab.until("postgres_streaming", field, |v| v == 0.0);
    assert!(!standby_agent.is_gone(), "{}", standby_agent.said());
}
