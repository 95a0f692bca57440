//! The probes of daemons, each against the real one from Debian, started on
//! loopback: a known load, and its numbers in the collector's export.
//!
//! Needs `cargo build --workspace` before, and what `tests/run` installs.

#[path = "daemons/apache.rs"]
mod apache;
#[path = "daemons/haproxy.rs"]
mod haproxy;
#[path = "daemons/lab.rs"]
mod lab;
#[path = "daemons/memcached.rs"]
mod memcached;
#[path = "daemons/nginx.rs"]
mod nginx;
#[path = "daemons/origin.rs"]
mod origin;
#[path = "daemons/perlbal.rs"]
mod perlbal;
#[path = "daemons/squid.rs"]
mod squid;
#[path = "it/support.rs"]
#[allow(dead_code)]
mod support;
#[path = "daemons/varnish.rs"]
mod varnish;
