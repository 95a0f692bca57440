//! The probes of daemons, each against the real one from Debian, started on
//! loopback: a known load, and its numbers in the collector's export.
//!
//! Needs `cargo build --workspace` before, and what `tests/run` installs.

#[path = "daemons/access_log.rs"]
mod access_log;
#[path = "daemons/apache.rs"]
mod apache;
#[path = "daemons/checks.rs"]
mod checks;
#[path = "daemons/chrony.rs"]
mod chrony;
#[path = "daemons/haproxy.rs"]
mod haproxy;
#[path = "daemons/lab.rs"]
mod lab;
#[path = "daemons/mail.rs"]
mod mail;
#[path = "daemons/memcached.rs"]
mod memcached;
#[path = "daemons/mysql.rs"]
mod mysql;
#[path = "daemons/nginx.rs"]
mod nginx;
#[path = "daemons/nut.rs"]
mod nut;
#[path = "daemons/origin.rs"]
mod origin;
#[path = "daemons/perlbal.rs"]
mod perlbal;
#[path = "daemons/postfix.rs"]
mod postfix;
#[path = "daemons/postgres.rs"]
mod postgres;
#[path = "daemons/queues.rs"]
mod queues;
#[path = "daemons/reach.rs"]
mod reach;
#[path = "daemons/redis.rs"]
mod redis;
#[path = "daemons/squid.rs"]
mod squid;
// The other target uses more of it.
#[path = "it/support.rs"]
#[allow(dead_code)]
mod support;
#[path = "daemons/varnish.rs"]
mod varnish;
