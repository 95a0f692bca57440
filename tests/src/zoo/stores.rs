//! What keeps data: memcached, Redis with a replica, MariaDB, PostgreSQL,
//! Gearman, beanstalkd.

use super::{Res, Zoo, run};
use rustix::process::Signal;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Starts all of them.
pub fn start(zoo: &mut Zoo) -> Res<()> {
    let ports = zoo.ports;
    let mut memcached = Command::new("memcached");
    memcached.args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-m", "8", "-p"]);
    memcached.arg(ports.memcached.to_string());
    zoo.daemon("memcached", Signal::TERM, &mut memcached, ports.memcached)?;

    redis(
        zoo,
        "redis",
        ports.redis,
        &["--maxmemory", "32mb", "--maxmemory-policy", "allkeys-lru"],
    )?;
    let primary = ports.redis.to_string();
    redis(zoo, "replica", ports.replica, &["--replicaof", "127.0.0.1", &primary])?;

    let mut gearmand = Command::new("gearmand");
    gearmand.args(["-L", "127.0.0.1", "-l", "stderr", "-u", "root", "-p"]);
    gearmand.arg(ports.gearman.to_string());
    zoo.daemon("gearmand", Signal::TERM, &mut gearmand, ports.gearman)?;

    let mut beanstalkd = Command::new("beanstalkd");
    beanstalkd.args(["-l", "127.0.0.1", "-p", &ports.beanstalkd.to_string()]);
    zoo.daemon("beanstalkd", Signal::TERM, &mut beanstalkd, ports.beanstalkd)?;
    mariadb(zoo)?;
    postgres(zoo)
}

fn redis(zoo: &mut Zoo, name: &str, port: u16, more: &[&str]) -> Res<()> {
    let dir = zoo.folder(name)?;
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "30 1000", "--port", &port.to_string()]);
    zoo.daemon(name, Signal::TERM, command.args(["--dir", &dir]).args(more), port)
}

fn mariadb(zoo: &mut Zoo) -> Res<()> {
    let dir = zoo.folder("mysql")?;
    let data = format!("--datadir={dir}/data");
    // TMPDIR: a server that starts clears it of all others' temporary tables.
    let mut install = Command::new("mariadb-install-db");
    install.args(["--no-defaults", "--user=root", "--skip-test-db", "--skip-name-resolve"]);
    run(install.arg(&data).env("TMPDIR", &dir))?;
    let mut command = Command::new("mariadbd");
    command.args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1", &data]);
    command.args(["--innodb-buffer-pool-size=32M", "--query-cache-type=1"]);
    command.args(["--query-cache-size=4M", "--log-bin=b", "--long-query-time=0.05"]);
    command.args([format!("--socket={dir}/socket"), format!("--pid-file={dir}/pid")]);
    command.arg(format!("--port={}", zoo.ports.mysql)).env("TMPDIR", &dir);
    zoo.daemon("mariadbd", Signal::TERM, &mut command, zoo.ports.mysql)?;
    let tables = "create database t; use t;
        create table a(id int primary key auto_increment, v varchar(120), n int) engine=innodb;
        create table m(id int primary key) engine=myisam;
        create table c(id int primary key, v varchar(120)) engine=innodb;
        insert into c select seq, repeat('y', 100) from seq_1_to_500;
        insert into a(v, n) select repeat('x', 100), seq from seq_1_to_20000";
    run(mariadb_client(zoo).args(["--execute", tables]))?;
    Ok(())
}

/// A client of MariaDB.
pub fn mariadb_client(zoo: &Zoo) -> Command {
    let mut command = Command::new("mariadb");
    command.args(["--no-defaults", "--batch", "--force", "-S"]).arg(zoo.path("mysql/socket"));
    command
}

fn postgres(zoo: &mut Zoo) -> Res<()> {
    let dir = zoo.folder("postgres")?;
    run(Command::new("chown").args(["postgres", &dir]))?;
    let data = format!("{dir}/data");
    let init = ["-A", "trust", "-U", "postgres", "--no-sync"];
    run(as_postgres("initdb")?.args(["-D", &data]).args(init))?;
    let port = zoo.ports.postgres;
    let mut command = as_postgres("postgres")?;
    command.args(["-D", &data, "-p", &port.to_string(), "-k", &dir, "-c", "fsync=off"]);
    command.args(["-c", "listen_addresses=127.0.0.1", "-c", "shared_buffers=16MB"]);
    zoo.daemon("postgres", Signal::INT, &mut command, port)?;
    let sql = "CREATE ROLE rookery LOGIN; GRANT pg_monitor TO rookery;
        CREATE TABLE t(a serial PRIMARY KEY, b int, c text);
        INSERT INTO t(b, c) SELECT g, repeat('x', 100) FROM generate_series(1, 20000) g";
    let ready = || run(psql(zoo).args(["-c", "SELECT 1"]));
    let mut tries = 0;
    while let Err(error) = ready() {
        tries += 1;
        if tries > 50 {
            return Err(error);
        }
        std::thread::sleep(std::time::Duration::from_millis(200));
    }
    run(psql(zoo).args(["-c", sql]))?;
    run(psql(zoo).args(["-c", "CREATE DATABASE shop"]))?;
    Ok(())
}

/// A client of PostgreSQL.
pub fn psql(zoo: &Zoo) -> Command {
    let mut command = Command::new("psql");
    command.args(["-X", "-q", "-At", "-h", "127.0.0.1", "-U", "postgres", "-d", "postgres"]);
    command.args(["-p", &zoo.ports.postgres.to_string()]);
    command
}

/// A program of the newest PostgreSQL of the machine, as its user.
fn as_postgres(name: &str) -> Res<Command> {
    let all = std::fs::read_dir("/usr/lib/postgresql").map_err(|e| format!("PostgreSQL: {e}"))?;
    let path = |e: std::fs::DirEntry| e.path().join("bin").join(name);
    let mut paths: Vec<PathBuf> = all.flatten().map(path).filter(|p| p.exists()).collect();
    paths.sort();
    let program = paths.pop().ok_or("no PostgreSQL: see tests/install")?;
    let mut command = Command::new("setpriv");
    command.args(["--reuid=postgres", "--regid=postgres", "--clear-groups"]).arg(program);
    command.env("LC_ALL", "C").current_dir(Path::new("/"));
    Ok(command)
}
