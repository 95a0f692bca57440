//! The probes of daemons, each against the real one from Debian, started on
//! loopback: a known load, and its numbers in the collector's export.
//!
//! Needs `cargo build --workspace` before, and what `tests/run` installs.

#[path = "daemons/access_log.rs"]
mod access_log;
#[path = "daemons/checks.rs"]
mod checks;
#[path = "daemons/lab.rs"]
mod lab;
#[path = "daemons/memcached.rs"]
mod memcached;
#[path = "daemons/mysql.rs"]
mod mysql;
#[path = "daemons/postgres.rs"]
mod postgres;
#[path = "daemons/queues.rs"]
mod queues;
#[path = "daemons/redis.rs"]
mod redis;
#[path = "it/support.rs"]
#[allow(dead_code)]
mod support;
