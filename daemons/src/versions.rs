//! Tests: what each probe makes of the recorded replies of daemons of other
//! versions than Debian's current one (`testdata/README.md`), and of every
//! beginning of them.

use crate::support::testing::{Recording, Said, ask, make};
use rookery_plugins::{ProbeError, Value};

fn said(probe: &str, recording: Recording, config: &str) -> Result<Said, ProbeError> {
    let at = recording.serve();
    let (specs, values) = ask(make(probe, &config.replace("{}", &at)).as_mut())?;
    // Apache's fields have the port in their names.
    let (_, port) = at.split_once(':').expect("a port");
    let values = values.into_iter().map(|(name, value)| (name.replace(port, ""), value)).collect();
    Ok((specs, values))
}

/// What the probe of a recording makes of it.
pub(crate) fn read(case: &Case) -> Said {
    said(case.probe, Recording::new(case.file), case.config).expect("answers")
}

/// A recording: probe, configuration, file, what the first service's text begins
/// with, fields that must not be there, and figures that must.
pub(crate) struct Case {
    probe: &'static str,
    config: &'static str,
    pub(crate) file: &'static str,
    info: &'static str,
    gone: &'static [&'static str],
    figures: &'static [(&'static str, Value)],
}

const ADDRESS: &str = "address = \"{}\"";
const ROOKERY: &str = "address = \"{}\"\nuser = \"rookery\"\npassword = \"sesame\"";
const SHOP: &str = "address = \"{}\"\nuser = \"postgres\"\ndatabase = \"shop\"";
const fn int(n: i64) -> Value {
    Value::Int(n)
}

const fn haproxy(file: &'static str, config: &'static str, info: &'static str) -> Case {
    // 105 quick requests, of which 5 failed; 20 slow ones, of which 4 are served.
    const FIGURES: &[(&str, Value)] = &[
        ("haproxy_queue.be_qcur", int(16)),
        ("haproxy_sessions.be_scur", int(20)),
        ("haproxy_rates.be_stot", int(125)),
        ("haproxy_servers.be_act", int(2)),
        ("haproxy_servers.be.dead_up", Value::Float(0.0)),
        ("haproxy_responses.be.hrsp_2xx", int(100)),
        ("haproxy_responses.be.hrsp_5xx", int(5)),
        ("haproxy_frontends.fe.slim", int(100)),
    ];
    Case { probe: "haproxy", config, file, info, gone: &[], figures: FIGURES }
}

const fn memcached(file: &'static str, info: &'static str) -> Case {
    // 50 sets, 70 gets of which 50 hit, 3 deletes.
    const FIGURES: &[(&str, Value)] = &[
        ("memcached_rates.memcache_cmd_get", int(70)),
        ("memcached_rates.memcache_cmd_set", int(50)),
        ("memcached_rates.memcache_cache_hits", int(50)),
        ("memcached_rates.memcache_cache_misses", int(20)),
        ("memcached_counters.memcache_curr_items", int(47)),
        ("memcached_memory.limit_maxbytes", int(8 << 20)),
        ("memcached_slab_hits.slab_4", int(50)),
    ];
    Case { probe: "memcached", config: ADDRESS, file, info, gone: &[], figures: FIGURES }
}

const fn redis(file: &'static str, info: &'static str) -> Case {
    // 50 keys; 70 gets of which 50 hit; a replica that has caught up.
    const FIGURES: &[(&str, Value)] = &[
        ("redis_keys_per_sec.hits", int(50)),
        ("redis_keys_per_sec.misses", int(20)),
        ("redis_used_keys.db0", int(50)),
        ("redis_used_memory.maxmemory", int(6 << 20)),
    ];
    let gone = &["redis_repl_link.up"];
    Case { probe: "redis", config: ADDRESS, file, info, gone, figures: FIGURES }
}

const fn replica(file: &'static str, info: &'static str) -> Case {
    const FIGURES: &[(&str, Value)] =
        &[("redis_repl_link.up", int(1)), ("redis_used_keys.db0", int(50))];
    Case { probe: "redis", config: ADDRESS, file, info, gone: &[], figures: FIGURES }
}

const fn squid(file: &'static str, info: &'static str, gone: &'static [&'static str]) -> Case {
    // 35 requests, of which 29 found what another one had fetched.
    const FIGURES: &[(&str, Value)] = &[
        ("squid_requests.requests", int(35)),
        ("squid_requests.hits", int(29)),
        ("squid_servers.server_requests", int(6)),
        ("squid_memory.mem_size", int(245_760)),
    ];
    Case { probe: "squid", config: ADDRESS, file, info, gone, figures: FIGURES }
}

const fn nginx(file: &'static str) -> Case {
    const FIGURES: &[(&str, Value)] =
        &[("nginx_request.request", int(41)), ("nginx_connections.dropped", int(0))];
    let config = "url = \"http://{}/nginx_status\"";
    Case { probe: "nginx", config, file, info: "Requests", gone: &[], figures: FIGURES }
}

const fn apache(file: &'static str, info: &'static str) -> Case {
    const FIGURES: &[(&str, Value)] =
        &[("apache_usage.busy", Value::Float(2.0)), ("apache_scoreboard.waiting", int(49))];
    let config = "url = \"http://{}/server-status?auto\"";
    Case { probe: "apache", config, file, info, gone: &[], figures: FIGURES }
}

/// It has no hits of a slab yet.
const OLD_MEMCACHED: Case = Case {
    figures: &[
        ("memcached_rates.memcache_cmd_get", int(70)),
        ("memcached_rates.memcache_cmd_set", int(50)),
        ("memcached_rates.memcache_cache_hits", int(50)),
        ("memcached_counters.memcache_curr_items", int(47)),
        ("memcached_memory.limit_maxbytes", int(8 << 20)),
        ("memcached_slab_hits.slab_3", Value::Unknown),
    ],
    ..memcached("memcached/1.2.8/stats.wire", "memcached 1.2.8. ")
};

pub(crate) const CASES: &[Case] = &[
    haproxy("haproxy/1.4.0/socket.wire", ADDRESS, "HAProxy 1.4.0. "),
    haproxy("haproxy/1.4.0/page.wire", PAGE, ""),
    haproxy("haproxy/1.5.0/socket.wire", ADDRESS, "HAProxy 1.5.0. "),
    haproxy("haproxy/1.5.0/page.wire", PAGE, ""),
    haproxy("haproxy/1.7.0/socket.wire", ADDRESS, "HAProxy 1.7.0. "),
    haproxy("haproxy/1.7.0/page.wire", PAGE, ""),
    haproxy("haproxy/1.8.0/socket.wire", ADDRESS, "HAProxy 1.8.0. "),
    haproxy("haproxy/1.8.0/page.wire", PAGE, ""),
    haproxy("haproxy/1.9.0/socket.wire", ADDRESS, "HAProxy 1.9.0. "),
    haproxy("haproxy/1.9.0/page.wire", PAGE, ""),
    haproxy("haproxy/2.2/socket.wire", ADDRESS, "HAProxy 2.2.9-2+deb11u6. "),
    haproxy("haproxy/2.2/page.wire", PAGE, ""),
    haproxy("haproxy/3.0/socket.wire", ADDRESS, "HAProxy 3.0.11-1+deb13u3. "),
    haproxy("haproxy/3.0/page.wire", PAGE, ""),
    haproxy("haproxy/3.2/socket.wire", ADDRESS, "HAProxy 3.2.26-1. "),
    haproxy("haproxy/3.2/page.wire", PAGE, ""),
    OLD_MEMCACHED,
    memcached("memcached/1.4.39/stats.wire", "memcached 1.4.39. "),
    memcached("memcached/1.6.9/stats.wire", "memcached 1.6.9. "),
    memcached("memcached/1.6.38/stats.wire", "memcached 1.6.38. "),
    memcached("memcached/1.6.45/stats.wire", "memcached 1.6.45. "),
    redis("redis/6.0.16/primary.wire", "Redis 6.0.16. "),
    replica("redis/6.0.16/replica.wire", "Redis 6.0.16. "),
    redis("redis/8.0.2/primary.wire", "Redis 8.0.2. "),
    replica("redis/8.0.2/replica.wire", "Redis 8.0.2. "),
    redis("valkey/9.1.2/primary.wire", "Valkey 9.1.2. "),
    replica("valkey/9.1.2/replica.wire", "Valkey 9.1.2. "),
    squid("squid/4.13/manager.wire", "Squid, Version 4.13. ", &[]),
    // Its accounted memory is 0, which cannot be.
    squid("squid/6.13/manager.wire", "Squid, Version 6.13. ", &[]),
    squid("squid/7.7/manager.wire", "Squid, Version 7.7. ", &[]),
    nginx("nginx/1.18.0/status.wire"),
    nginx("nginx/1.26.3/status.wire"),
    apache("apache/2.4.62/status.wire", "Apache/2.4.62 (Debian). "),
    apache("apache/2.4.68/status.wire", "Apache/2.4.68 (Debian). "),
    Case {
        probe: "mysql",
        config: ROOKERY,
        file: "mariadb/10.5.23/login.wire",
        info: "MariaDB 10.5.23-MariaDB-0+deb11u1-log. ",
        gone: &["mysql_replication.slave_io_running"],
        // One of 40 selects went into the query cache, which 39 hit.
        figures: &[
            ("mysql_queries.select", int(3)),
            ("mysql_queries.cache_hits", int(39)),
            ("mysql_queries.insert", int(30)),
            ("mysql_queries.update", int(12)),
            ("mysql_queries.delete", int(5)),
            ("mysql_queries.replace", int(3)),
            ("mysql_qcache.Qcache_inserts", int(1)),
            ("mysql_innodb_rows.Innodb_rows_updated", int(12)),
            ("mysql_bin_relay_log.ma_binlog_size", int(19_577)),
        ],
    },
    Case {
        probe: "mysql",
        config: ROOKERY,
        file: "mariadb/11.8.6/login.wire",
        info: "MariaDB 11.8.6-MariaDB-0+deb13u1 from Debian. ",
        // The cache is off, and the counts of rows are no more.
        gone: &["mysql_queries.cache_hits", "mysql_innodb_rows.Innodb_rows_updated"],
        figures: &[
            ("mysql_queries.select", int(42)),
            ("mysql_queries.insert", int(30)),
            ("mysql_queries.update", int(12)),
            ("mysql_queries.delete", int(5)),
            ("mysql_queries.replace", int(3)),
            ("mysql_innodb_history.history", int(54)),
        ],
    },
    Case {
        probe: "mysql",
        config: ROOKERY,
        file: "mysql/9.7.4/login.wire",
        info: "MySQL 9.7.4-2. ",
        gone: &["mysql_queries.cache_hits", "mysql_qcache.Qcache_hits"],
        figures: &[
            ("mysql_queries.select", int(42)),
            ("mysql_queries.insert", int(30)),
            ("mysql_queries.update", int(12)),
            ("mysql_queries.delete", int(5)),
            ("mysql_queries.replace", int(3)),
            ("mysql_innodb_rows.Innodb_rows_inserted", int(33)),
            ("mysql_innodb_history.history", int(62)),
            ("mysql_bin_relay_log.ma_binlog_size", int(15_742)),
            // Its source is not there.
            ("mysql_replication.slave_io_running", int(1)),
            ("mysql_replication.slave_sql_running", int(0)),
            ("mysql_replication.seconds_behind_master", Value::Unknown),
        ],
    },
    postgres("postgres/13.16/wire.wire", "PostgreSQL 13.16 (Debian 13.16-0+deb11u1). "),
    postgres("postgres/17.11/wire.wire", "PostgreSQL 17.11 (Debian 17.11-0+deb13u1). "),
];

const PAGE: &str = "url = \"http://{}/;csv\"";

const fn postgres(file: &'static str, info: &'static str) -> Case {
    // 1000 rows in, 100 changed, 10 deleted; one rolled back; one who holds a lock
    // and does nothing, one who waits for it.
    const FIGURES: &[(&str, Value)] = &[
        ("postgres_transactions_ALL.rollback", int(1)),
        ("postgres_connections_ALL.waiting", int(1)),
        ("postgres_connections_ALL.idletransaction", int(1)),
        ("postgres_connections_ALL.max_connections", int(100)),
        ("postgres_connections_db.shop", int(3)),
        ("postgres_locks_waiting.waiting", int(1)),
        ("postgres_locks_ALL.accessexclusivelock", int(1)),
        ("postgres_tuples_db.inserted", int(1001)),
        ("postgres_tuples_db.updated", int(100)),
        ("postgres_tuples_db.deleted", int(10)),
        ("postgres_dead_tuples.live", int(990)),
        ("postgres_dead_tuples.dead", int(111)),
        ("postgres_checkpoints.checkpoints_timed", int(0)),
    ];
    Case { probe: "postgres", config: SHOP, file, info, gone: &[], figures: FIGURES }
}

#[test]
fn other_versions_are_read_rightly() {
    for case in CASES {
        let file = case.file;
        let answer = said(case.probe, Recording::new(file), case.config);
        let (specs, values) = answer.unwrap_or_else(|e| panic!("{file}: {e}"));
        assert!(specs[0].info.starts_with(case.info), "{file}: {}", specs[0].info);
        for (name, want) in case.figures {
            assert_eq!(values.get(*name), Some(want), "{file}: {name}");
        }
        for name in case.gone {
            assert!(!values.contains_key(*name), "{file}: {name}");
        }
    }
}

/// About so many beginnings of a recording are tried, and its last ones.
const CUTS: usize = 60;

/// What breaks off is an error, or (where only an end that says nothing is
/// missing) the same numbers; a number of which a part is missing is a wrong one.
#[test]
fn a_reply_that_breaks_off_gives_no_wrong_number() {
    for case in CASES {
        let whole = Recording::new(case.file);
        let (_, right) = said(case.probe, whole.clone(), case.config).expect("answers");
        let step = (whole.bytes() / CUTS).max(1) | 1;
        for at in
            (0..whole.bytes()).step_by(step).chain(whole.bytes().saturating_sub(12)..whole.bytes())
        {
            let Ok((_, values)) = said(case.probe, whole.cut(at), case.config) else { continue };
            for (name, value) in values {
                let same = right.get(&name).is_some_and(|v| *v == value);
                assert!(same || value == Value::Unknown, "{} cut at {at}: {name}", case.file);
            }
        }
    }
}
