//! Probes for daemons: databases, caches, proxies, queues.
//!
//! In: a place (an address, credentials, a time limit) from `[probe.NAME]` of
//! `agent.toml`, or the daemon's usual one; then its replies. Out: services and
//! values, as every [`Probe`](rookery_plugins::Probe) gives them, named as
//! Munin's plugin of the same kind names them.
//!
//! A daemon is one file beside this one and one line in [`DAEMONS`]. It says in
//! one function ([`Daemon::ask`](support::Daemon::ask)) what it asks and which
//! number of the reply is which field.
//!
//! What this crate never does: wait longer than the time limit, keep more of a
//! reply than [`support::REPLY_BYTES_MAX`], change anything in a daemon, or turn
//! a reply that it does not understand into numbers.

pub mod instance;
pub mod support;

mod access_log;
mod apache;
mod beanstalkd;
mod chrony;
mod dns;
mod drbd9;
mod exim;
mod gearman;
mod haproxy;
mod http;
mod memcached;
mod mysql;
mod nginx;
mod nut;
mod perlbal;
mod postfix;
mod postgres;
mod redis;
mod smart;
mod squid;
mod systemd;
mod tcp;
mod varnish;

#[cfg(test)]
mod limits;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod versions;

use rookery_plugins::ProbeEntry;

/// Every daemon there is a probe for. A new one is a file beside this one and
/// a line here.
#[rustfmt::skip]
pub const DAEMONS: &[ProbeEntry] = &[
    access_log::ENTRY,
    apache::ENTRY,
    beanstalkd::ENTRY,
    chrony::ENTRY,
    dns::ENTRY,
    drbd9::ENTRY,
    exim::ENTRY,
    gearman::ENTRY,
    haproxy::ENTRY,
    http::ENTRY,
    memcached::ENTRY,
    mysql::ENTRY,
    nginx::ENTRY,
    nut::ENTRY,
    perlbal::ENTRY,
    postfix::ENTRY,
    postgres::ENTRY,
    redis::ENTRY,
    smart::ENTRY,
    squid::ENTRY,
    systemd::ENTRY,
    tcp::ENTRY,
    varnish::ENTRY,
];
