//! Queries by kind, the query cache and whether it is of use, connections.
//!
//! MariaDB counts a hit of the query cache among its selects (Com_select), MySQL
//! does not. Here a select is always one that was carried out, so that the sum
//! of the two is right on both.

use super::charts::{BYTES, CATEGORY, COUNTED, Chart, Facts, Of, field, rate, share};
use crate::support::{Ratio, Sheet};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

/// A server adds its counters up while they grow: by so much one may lie behind
/// another that it belongs to.
const SKEW: u64 = 64;

/// Shares of connections that are told, in percent.
const CONNECTIONS_WARNING: u64 = 80;
const CONNECTIONS_CRITICAL: u64 = 95;

/// What is worked out from one reading to the next.
#[derive(Debug, Default)]
pub struct Queries {
    selects: Option<u64>,
    hit_share: Ratio,
    pruned: Ratio,
    per_insert: Ratio,
}

const CACHE: &[Chart] = &[
    Chart {
        service: "mysql_qcache",
        title: "MySQL query cache",
        vlabel: "queries per ${graph_period}",
        args: COUNTED,
        info: "The query cache answers a select that it has seen before, as long as no table of \
               it has changed. Each change of a table throws out all queries of that table.",
        fields: &[
            field(
                "Qcache_hits",
                "hits",
                Of::Rate("Qcache_hits"),
                Draw::Line2,
                "Selects that were answered from the cache",
            ),
            rate("Qcache_inserts", "inserts", "Selects that were carried out and then kept"),
            rate("Qcache_not_cached", "not cached", "Selects that could or should not be kept"),
            rate(
                "Qcache_lowmem_prunes",
                "low-memory prunes",
                "Queries that were thrown out to make room: more memory would keep them",
            ),
        ],
    },
    Chart {
        service: "mysql_qcache_mem",
        title: "MySQL query cache memory",
        vlabel: "bytes",
        args: BYTES,
        info: "What is free of the query cache's memory (query_cache_size).",
        fields: &[
            field(
                "query_cache_size",
                "cache size",
                Of::Setting("query_cache_size"),
                Draw::Line1,
                "What it may use",
            ),
            field(
                "Qcache_free_memory",
                "free",
                Of::Level("Qcache_free_memory"),
                Draw::Area,
                "Of this, free",
            ),
        ],
    },
    Chart {
        service: "mysql_qcache_blocks",
        title: "MySQL query cache contents",
        vlabel: "number",
        args: COUNTED,
        info: "Queries in the cache, and the blocks that its memory is cut into. Many free blocks \
               beside prunes: the free memory is in pieces (FLUSH QUERY CACHE joins them).",
        fields: &[
            field(
                "Qcache_queries_in_cache",
                "queries",
                Of::Level("Qcache_queries_in_cache"),
                Draw::Line2,
                "Queries whose result is kept",
            ),
            field(
                "Qcache_total_blocks",
                "blocks",
                Of::Level("Qcache_total_blocks"),
                Draw::Line1,
                "All blocks",
            ),
            field(
                "Qcache_free_blocks",
                "free blocks",
                Of::Level("Qcache_free_blocks"),
                Draw::Line1,
                "Pieces that the free memory is in",
            ),
        ],
    },
];

impl Queries {
    /// Writes all of it; `left_out`: what is missing and why, for the first
    /// service's text.
    pub fn write(&mut self, facts: &Facts<'_>, left_out: &str, sheet: &mut Sheet<'_>) {
        let has_cache = has_cache(facts);
        self.write_kinds(facts, has_cache, left_out, sheet);
        if has_cache {
            for chart in CACHE {
                chart.write(facts, sheet);
            }
            self.write_use(facts, sheet);
        }
        write_connections(facts, sheet);
    }

    fn write_kinds(
        &mut self,
        facts: &Facts<'_>,
        has_cache: bool,
        left_out: &str,
        sheet: &mut Sheet<'_>,
    ) {
        let of = |name: &str| facts.count(name);
        let selects = self.selects(facts);
        let version = facts.version;
        sheet.note(&version.text);
        sheet.note(left_out);
        let mut service = sheet.service("mysql_queries", |n| {
            let also =
                if has_cache { " Select and cache hits together are all selects." } else { "" };
            ServiceSpec::new(n, "MySQL queries", CATEGORY)
                .vlabel("queries per ${graph_period}")
                .args(COUNTED)
                .info(&format!(
                    "{} {}. What clients ask for, by kind.{also} What the total has above the \
                     stack are other statements: SET, COMMIT, SHOW.{left_out}",
                    version.product(),
                    version.text
                ))
        });
        service.field("select", selects, |n| {
            FieldSpec::derive(n, "select")
                .draw(Draw::AreaStack)
                .info("SELECTs that were carried out, without hits of the query cache")
        });
        if has_cache {
            service.field("cache_hits", of("Qcache_hits"), |n| {
                FieldSpec::derive(n, "cache hits")
                    .draw(Draw::AreaStack)
                    .info("SELECTs that the query cache answered")
            });
        }
        for (name, variable) in [
            ("insert", "Com_insert"),
            ("update", "Com_update"),
            ("delete", "Com_delete"),
            ("replace", "Com_replace"),
        ] {
            service.field(name, of(variable), |n| {
                let info = format!("{} statements", name.to_uppercase());
                FieldSpec::derive(n, name).draw(Draw::AreaStack).info(&info)
            });
        }
        service.field("total", of("Questions"), |n| {
            let info = "All statements that clients sent, those of this monitoring as well";
            FieldSpec::derive(n, "total").info(info)
        });
    }

    /// Selects that were carried out. On MariaDB it is a difference of two
    /// counters, which must not fall because they were not read at one moment.
    fn selects(&mut self, facts: &Facts<'_>) -> Option<u64> {
        let all = facts.count("Com_select")?;
        let hits = facts.count("Qcache_hits").filter(|_| facts.version.is_mariadb).unwrap_or(0);
        let now = all.saturating_sub(hits);
        let kept = self.selects.filter(|last| now < *last && last - now <= SKEW).unwrap_or(now);
        self.selects = Some(kept);
        self.selects
    }

    fn write_use(&mut self, facts: &Facts<'_>, sheet: &mut Sheet<'_>) {
        let of = |name: &str| facts.count(name);
        let (hits, inserts) = (of("Qcache_hits"), of("Qcache_inserts"));
        // Every select that the cache was looked into for, on either server.
        let asked = hits.zip(inserts).zip(of("Qcache_not_cached"));
        let asked = asked.map(|((h, i), n)| h.saturating_add(i).saturating_add(n));
        let hit_share = self.hit_share.next(hits, asked);
        let pruned = self.pruned.next(of("Qcache_lowmem_prunes"), inserts);
        let per_insert = self.per_insert.next(hits, inserts).map(|percent| percent / 100.0);
        sheet
            .service("mysql_qcache_use", |n| {
                share(
                    n,
                    "Is the MySQL query cache useful?",
                    "How many of the selects of the interval the query cache answered. Nothing \
                     is drawn while nobody selects. A low share: the application does not repeat \
                     its selects, or changes the tables between them, and the cache costs more \
                     than it gives. Where much is pruned, it may only be too small.",
                )
            })
            .field("hit_share", hit_share, |n| {
                FieldSpec::gauge(n, "hits")
                    .draw(Draw::Area)
                    .info("Hits, of hits, inserts and selects that are not cached")
            })
            .field("prune_share", pruned, |n| {
                FieldSpec::gauge(n, "pruned")
                    .info("Queries thrown out for want of memory, of those that were kept")
            });
        sheet
            .service("mysql_qcache_hits_per_insert", |n| {
                ServiceSpec::new(n, "MySQL query cache hits per insert", CATEGORY)
                    .vlabel("hits per insert")
                    .args("-l 0")
                    .unscaled()
                    .info(
                        "How often a result that was kept is asked for again, before it is thrown \
                         out. Below 1 the cache keeps more than it is ever asked for: the \
                         application is better off without it.",
                    )
            })
            .field("hits_per_insert", per_insert, |n| {
                FieldSpec::gauge(n, "hits per insert")
                    .draw(Draw::Area)
                    .info("Hits of the interval by inserts of the interval")
            });
    }
}

/// Whether it has a query cache that is switched on.
fn has_cache(facts: &Facts<'_>) -> bool {
    facts.count("Qcache_hits").is_some()
        && !matches!(facts.word("query_cache_type"), "OFF" | "0")
        && facts.setting("query_cache_size") != Some(0)
}

const CONNECTS: Chart = Chart {
    service: "mysql_connects",
    title: "MySQL new connections",
    vlabel: "connections per ${graph_period}",
    args: COUNTED,
    info: "Connections that clients open, and those that end badly. Many new ones: clients do not \
           keep theirs.",
    fields: &[
        rate("Connections", "new", "Attempts to connect, successful or not"),
        rate("Aborted_connects", "aborted connects", "Attempts that failed: a wrong password, say"),
        rate("Aborted_clients", "aborted clients", "Connections that were not closed properly"),
        rate(
            "Connection_errors_max_connections",
            "none free",
            "Attempts that failed because all connections were taken",
        )
        .warning("0"),
        rate("Threads_created", "threads created", "Threads that were not found in the cache"),
    ],
};

fn write_connections(facts: &Facts<'_>, sheet: &mut Sheet<'_>) {
    let of = |name: &str| facts.count(name);
    let max = facts.setting("max_connections");
    // The limits follow it, and stand in the description.
    sheet.note(facts.word("max_connections"));
    let mut service = sheet.service("mysql_connections", |n| {
        ServiceSpec::new(n, "MySQL connections", CATEGORY)
            .vlabel("connections")
            .args("-l 0")
            .unscaled()
            .info(
                "Connections of how many the server allows (max_connections). When all are \
                 taken, clients are turned away.",
            )
    });
    if max.is_some() {
        service.field("max_connections", max, |n| {
            // Drawn, it would press all else to the ground.
            FieldSpec::gauge(n, "allowed").hidden().info("max_connections")
        });
    }
    service
        .field("Max_used_connections", of("Max_used_connections"), |n| {
            let info = "The most at one time since the server's start";
            FieldSpec::gauge(n, "most").info(info)
        })
        .optional("Threads_connected", of("Threads_connected"), |n| {
            let all = max.map(|m| format!(", of at most {m} (max_connections)"));
            let info = format!("Connections now{}", all.unwrap_or_default());
            let spec = FieldSpec::gauge(n, "connected").draw(Draw::Area).info(&info);
            let at = |percent: u64| max.map(|m| (m.saturating_mul(percent) / 100).to_string());
            match (at(CONNECTIONS_WARNING), at(CONNECTIONS_CRITICAL)) {
                (Some(warning), Some(critical)) => spec.limits(&warning, &critical),
                _ => spec,
            }
        })
        .field("Threads_running", of("Threads_running"), |n| {
            FieldSpec::gauge(n, "running").info("Connections that are at work on a statement now")
        });
    CONNECTS.write(facts, sheet);
    sheet
        .service("mysql_threads", |n| {
            ServiceSpec::new(n, "MySQL threads", CATEGORY)
                .vlabel("threads")
                .args("-l 0")
                .unscaled()
                .info("Threads: one for each connection, and those kept for the next ones.")
        })
        .field("threads", of("Threads_connected"), |n| {
            FieldSpec::gauge(n, "of connections").draw(Draw::AreaStack).info("One per connection")
        })
        .field("cached", of("Threads_cached"), |n| {
            let info = "Idle, for the next connections (thread_cache_size)";
            FieldSpec::gauge(n, "cached").draw(Draw::AreaStack).info(info)
        });
}
