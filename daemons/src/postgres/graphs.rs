//! PostgreSQL's services. Names and fields are those of Munin's `postgres_*`
//! plugins with the parameter `ALL`, where there is one.

use super::figures::{Figures, Row, count, decimal, text};
use super::replicas::write_streaming;
use crate::support::{Names, Ratio, Sheet, StableName};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

const CATEGORY: &str = "postgresql";
/// The most databases that are told apart on one graph.
const DATABASES_MAX: usize = 200;

pub(super) fn about(name: &str, title: &str, vlabel: &str, info: &str) -> ServiceSpec {
    ServiceSpec::new(name, title, CATEGORY).vlabel(vlabel).args("-l 0 --base 1000").info(info)
}

/// Writes all of it.
pub(super) fn write(
    figures: &Figures,
    sizes: &[(String, Option<u64>)],
    hits: &mut Ratio,
    names: &mut Names,
    database: &str,
    sheet: &mut Sheet<'_>,
) {
    let databases = databases(figures, names);
    write_work(figures, hits, sheet);
    write_connections(figures, &databases, sheet);
    write_locks(figures, sheet);
    write_writing(figures, sheet);
    write_sizes(&databases, sizes, sheet);
    write_tables(figures, database, sheet);
    write_standby(figures, sheet);
    write_streaming(&figures.replicas, names, sheet);
    write_ages(figures, sheet);
}

fn write_work(figures: &Figures, hits: &mut Ratio, sheet: &mut Sheet<'_>) {
    let of = |name: &str| figures.sum(name);
    let version = text(&figures.server, "version").unwrap_or("");
    sheet.note(version);
    sheet
        .service("postgres_transactions_ALL", |n| {
            let info = format!("PostgreSQL {version}. Transactions of all databases.");
            about(n, "PostgreSQL transactions", "transactions per ${graph_period}", &info)
        })
        .field("commit", of("xact_commit"), |n| {
            FieldSpec::derive(n, "commits").draw(Draw::AreaStack).info("Transactions that held")
        })
        .field("rollback", of("xact_rollback"), |n| {
            FieldSpec::derive(n, "rollbacks").draw(Draw::AreaStack).info("Those taken back")
        });
    let (read, hit) = (of("blks_read"), of("blks_hit"));
    sheet
        .service("postgres_cache_ALL", |n| {
            let info = "Pages that queries needed: from shared_buffers, or from the system \
                        (which may have them in its own cache).";
            about(n, "PostgreSQL buffer cache", "pages per ${graph_period}", info)
        })
        .field("blks_hit", hit, |n| {
            FieldSpec::derive(n, "hits").draw(Draw::AreaStack).info("Pages found in shared_buffers")
        })
        .field("blks_read", read, |n| {
            FieldSpec::derive(n, "reads").draw(Draw::AreaStack).info("Pages that had to be read")
        });
    let whole = read.zip(hit).map(|(r, h)| r.saturating_add(h));
    sheet
        .service("postgres_cache_ratio", |n| {
            let info = "How many of the pages needed between two readings were in shared_buffers.";
            about(n, "PostgreSQL cache hit ratio", "% of pages", info)
                .args("-l 0 -u 100")
                .unscaled()
        })
        .field("hit_ratio", hits.next(hit, whole), |n| {
            let info = "Pages that were there, in percent of all of the interval";
            FieldSpec::gauge(n, "hit ratio").draw(Draw::Area).info(info)
        });
    sheet
        .service("postgres_trouble", |n| {
            let info = "What should not happen, or seldom.";
            about(n, "PostgreSQL deadlocks and conflicts", "per ${graph_period}", info)
        })
        .optional("deadlocks", of("deadlocks"), |n| {
            let info = "Transactions ended because they waited for one another";
            FieldSpec::derive(n, "deadlocks").limits("0", "").info(info)
        })
        .field("conflicts", of("conflicts"), |n| {
            let info = "Queries of a standby ended because the primary went on";
            FieldSpec::derive(n, "conflicts").info(info)
        });
    sheet
        .service("postgres_temp", |n| {
            let info = "Sorts and joins that did not fit work_mem and went to disk.";
            about(n, "PostgreSQL temporary files", "bytes per ${graph_period}", info)
                .args("-l 0 --base 1024")
        })
        .field("temp_bytes", of("temp_bytes"), |n| {
            FieldSpec::derive(n, "written").draw(Draw::Area).info("Bytes of temporary files")
        });
}

fn write_connections(figures: &Figures, databases: &[Database<'_>], sheet: &mut Sheet<'_>) {
    let kinds = [
        ("active", "active", "At work"),
        ("waiting", "waiting for a lock", "Stopped until another transaction ends"),
        ("idletransaction", "idle in transaction", "Holds its locks and does nothing"),
        ("idle", "idle", "Open, and not in use"),
        ("unknown", "unknown", "Not shown to us: GRANT pg_monitor would"),
    ];
    let max = count(&figures.server, "max_connections");
    let of = |kind: &str| {
        let row = figures.activity.iter().find(|row| text(row, "kind") == Some(kind));
        row.map_or(Some(0), |row| count(row, "n"))
    };
    sheet.note(&max.unwrap_or(0).to_string());
    let mut service = sheet.service("postgres_connections_ALL", |n| {
        let most = max.map(|n| format!(" At most {n} are let in.")).unwrap_or_default();
        let info = format!("Connections by what they do, without our own.{most}");
        about(n, "PostgreSQL connections", "connections", &info).unscaled()
    });
    for (name, label, info) in kinds {
        service
            .field(name, of(name), |n| FieldSpec::gauge(n, label).draw(Draw::AreaStack).info(info));
    }
    service.field("max_connections", max, |n| {
        // Drawn, it would press all else to the ground.
        FieldSpec::gauge(n, "limit").hidden().info("The most connections (max_connections)")
    });
    let all = figures.sum("numbackends");
    let used = all.zip(max).filter(|(_, max)| *max > 0);
    sheet
        .service("postgres_connections_used", |n| {
            let info = "Connections in percent of max_connections.";
            about(n, "PostgreSQL connections in use", "%", info).args("-l 0 -u 100").unscaled()
        })
        .optional("used", used.map(|(n, max)| 100.0 * n as f64 / max as f64), |n| {
            let info = "At 100 nobody is let in any more, but for a few of superusers";
            FieldSpec::gauge(n, "in use").draw(Draw::Area).limits("80", "95").info(info)
        });
    let mut service = sheet.service("postgres_connections_db", |n| {
        let info = "Connections of each database.";
        about(n, "PostgreSQL connections by database", "connections", info).unscaled()
    });
    for (field, name, row) in databases {
        service.field(&field.name, count(row, "numbackends"), |n| {
            let spec = FieldSpec::gauge(n, name).draw(Draw::AreaStack);
            field.announce(spec.info("Connections now"))
        });
    }
    let longest = |column: &str| {
        let all = figures.activity.iter().filter_map(|row| decimal(row, column));
        Some(all.fold(0.0, f64::max))
    };
    sheet
        .service("postgres_querylength_ALL", |n| {
            let info = "The longest that any client is at it. A long transaction keeps dead \
                        tuples from being cleared away.";
            about(n, "PostgreSQL longest query and transaction", "seconds", info)
        })
        .field("query", longest("query_s"), |n| {
            FieldSpec::gauge(n, "query").info("Since the oldest running query began")
        })
        .field("transaction", longest("xact_s"), |n| {
            FieldSpec::gauge(n, "transaction").info("Since the oldest open transaction began")
        });
}

/// A database: its field, its name, its row.
type Database<'a> = (StableName, &'a str, &'a Row);

fn databases<'a>(figures: &'a Figures, names: &mut Names) -> Vec<Database<'a>> {
    let named = figures.databases.iter().filter_map(|row| Some((text(row, "datname")?, row)));
    let apart: Vec<(&str, &Row)> = named.take(DATABASES_MAX).collect();
    let fields = names.fields("databases", apart.iter().map(|(name, _)| *name));
    fields.into_iter().zip(apart).map(|(field, (name, row))| (field, name, row)).collect()
}

fn write_locks(figures: &Figures, sheet: &mut Sheet<'_>) {
    const MODES: [(&str, &str, &str); 8] = [
        ("accesssharelock", "AccessShareLock", "Taken by queries that only read"),
        ("rowsharelock", "RowShareLock", "Taken by SELECT FOR UPDATE and FOR SHARE"),
        ("rowexclusivelock", "RowExclusiveLock", "Taken by UPDATE, DELETE and INSERT"),
        ("shareupdateexclusivelock", "ShareUpdateExclusiveLock", "Taken by VACUUM and ANALYZE"),
        ("sharelock", "ShareLock", "Taken by CREATE INDEX"),
        ("sharerowexclusivelock", "ShareRowExclusiveLock", "Taken by triggers and LOCK TABLE"),
        ("exclusivelock", "ExclusiveLock", "Lets others only read"),
        ("accessexclusivelock", "AccessExclusiveLock", "Keeps all others out: ALTER, DROP, …"),
    ];
    let of = |mode: &str, column: &str| {
        let row = figures.locks.iter().find(|row| text(row, "mode") == Some(mode));
        row.map_or(Some(0), |row| count(row, column))
    };
    let mut service = sheet.service("postgres_locks_ALL", |n| {
        let info = "Locks of all databases, held or waited for, the mildest first.";
        about(n, "PostgreSQL locks", "locks", info).unscaled()
    });
    for (name, label, info) in MODES {
        service.field(name, of(name, "n"), |n| {
            FieldSpec::gauge(n, label).draw(Draw::AreaStack).info(info)
        });
    }
    let waiting = MODES.iter().filter_map(|(name, ..)| of(name, "waiting"));
    let waiting = waiting.fold(0, u64::saturating_add);
    sheet
        .service("postgres_locks_waiting", |n| {
            let info = "Locks that someone waits for.";
            about(n, "PostgreSQL waits for locks", "locks", info).unscaled()
        })
        .field("waiting", Some(waiting), |n| {
            FieldSpec::gauge(n, "waiting").draw(Draw::Area).info("Locks asked for and not given")
        });
}

fn write_writing(figures: &Figures, sheet: &mut Sheet<'_>) {
    let of = |name: &str| count(&figures.bgwriter, name);
    if of("buffers_checkpoint").is_some() {
        sheet
            .service("postgres_checkpoints", |n| {
                let info = "Many requested ones mean that max_wal_size is small for the load.";
                let vlabel = "checkpoints per ${graph_period}";
                ServiceSpec {
                    period: "minute".to_owned(),
                    ..about(n, "PostgreSQL checkpoints", vlabel, info)
                }
            })
            .field("checkpoints_timed", of("checkpoints_timed"), |n| {
                FieldSpec::derive(n, "timed").draw(Draw::AreaStack).info("By checkpoint_timeout")
            })
            .field("checkpoints_req", of("checkpoints_req"), |n| {
                let info = "Because so much was written, or someone asked";
                FieldSpec::derive(n, "requested").draw(Draw::AreaStack).info(info)
            });
    }
    let fields = [
        ("buffers_checkpoint", "checkpoints", "Pages written by checkpoints"),
        ("buffers_clean", "background writer", "Pages written ahead of need"),
        ("buffers_backend", "clients", "Pages that clients had to write themselves"),
        ("buffers_alloc", "allocated", "Pages taken for new content"),
    ];
    let mut service = sheet.service("postgres_bgwriter", |n| {
        about(n, "PostgreSQL page writes", "pages per ${graph_period}", "Who writes pages to disk.")
    });
    for (name, label, info) in fields {
        if let Some(value) = of(name) {
            service.field(name, Some(value), |n| FieldSpec::derive(n, label).info(info));
        }
    }
}

fn write_sizes(databases: &[Database<'_>], sizes: &[(String, Option<u64>)], sheet: &mut Sheet<'_>) {
    let mut service = sheet.service("postgres_size_ALL", |n| {
        let info = "What each database takes on disk; looked at every five minutes. Unknown: we \
                    may not connect to it and are no member of pg_monitor.";
        about(n, "PostgreSQL database sizes", "bytes", info).args("-l 0 --base 1024")
    });
    for (field, name, _) in databases {
        let size = sizes.iter().find(|(of, _)| of == name);
        if let Some((_, bytes)) = size {
            service.field(&field.name, *bytes, |n| {
                let spec = FieldSpec::gauge(n, name).draw(Draw::AreaStack);
                field.announce(spec.info("Bytes on disk"))
            });
        }
    }
}

fn write_tables(figures: &Figures, database: &str, sheet: &mut Sheet<'_>) {
    let of = |name: &str| count(&figures.tables, name);
    // NULL: the database has no tables.
    if of("live").is_none() {
        return;
    }
    sheet
        .service("postgres_dead_tuples", |n| {
            let info = format!(
                "Rows of the database {database}, and remains of rows that a vacuum has still to \
                 clear away. [probe.postgres] database names another one."
            );
            about(n, "PostgreSQL dead tuples", "tuples", &info)
        })
        .field("live", of("live"), |n| FieldSpec::gauge(n, "live").info("Rows, by estimate"))
        .field("dead", of("dead"), |n| {
            FieldSpec::gauge(n, "dead").info("Remains of changed and deleted rows, by estimate")
        });
    let fields = [
        ("seqread", "read in sequence", "Rows read by going through a whole table"),
        ("idxfetch", "by index", "Rows found by an index"),
        ("inserted", "inserted", "Rows that came"),
        ("updated", "updated", "Rows that changed"),
        ("deleted", "deleted", "Rows that went"),
        ("hotupdated", "hot updated", "Rows that changed without work for any index"),
    ];
    let mut service = sheet.service("postgres_tuples_db", |n| {
        let info = format!("What is done with rows of the database {database}.");
        about(n, "PostgreSQL tuple access", "tuples per ${graph_period}", &info)
    });
    for (name, label, info) in fields {
        service.field(name, of(name), |n| FieldSpec::derive(n, label).info(info));
    }
}

fn write_standby(figures: &Figures, sheet: &mut Sheet<'_>) {
    if text(&figures.server, "standby") == Some("t") {
        sheet
            .service("postgres_standby_lag", |n| {
                let info = "How old what this standby shows is; 0 when it has replayed all that \
                            has come.";
                about(n, "PostgreSQL age of the standby's data", "seconds", info)
            })
            .field("seconds", decimal(&figures.server, "replay_s").map(|s| s.max(0.0)), |n| {
                FieldSpec::gauge(n, "behind")
                    .draw(Draw::Area)
                    .info("Since the last replayed commit")
            });
        sheet
            .service("postgres_standby_bytes", |n| {
                let info = "What has come and is not replayed yet.";
                about(n, "PostgreSQL WAL to replay", "bytes", info).args("-l 0 --base 1024")
            })
            .field("bytes", count(&figures.server, "replay_bytes"), |n| {
                FieldSpec::gauge(n, "to replay").draw(Draw::Area).info("Bytes of WAL")
            });
    }
}

/// WARNING and CRITICAL for the age of the oldest row, in transactions.
/// Autovacuum may be told to begin late (`autovacuum_freeze_max_age`, up to
/// 2 thousand million): until it is late itself, that is no problem.
fn xid_limits(freeze_age: u64) -> (u64, u64) {
    const BEHIND: u64 = 50_000_000;
    let late = freeze_age.saturating_add(BEHIND).min(2_080_000_000);
    (late.max(1_000_000_000), late.saturating_add(BEHIND).max(1_800_000_000))
}

fn write_ages(figures: &Figures, sheet: &mut Sheet<'_>) {
    let freeze_age = count(&figures.server, "freeze_max_age").unwrap_or(0);
    sheet.note(&freeze_age.to_string());
    sheet
        .service("postgres_xid_age", |n| {
            let info = "Transactions since the oldest row that is not frozen. Autovacuum freezes \
                        at 200 million; at 2.1 thousand million the server stops.";
            about(n, "PostgreSQL transaction id age", "transactions", info)
        })
        .optional("age", count(&figures.server, "xid_age"), |n| {
            let info = "Of the oldest database (datfrozenxid)";
            let (warning, critical) = xid_limits(freeze_age);
            FieldSpec::gauge(n, "age")
                .draw(Draw::Area)
                .limits(&warning.to_string(), &critical.to_string())
                .info(info)
        });
    sheet
        .service("postgres_prepared_xacts", |n| {
            let info = "Prepared for two-phase commit. A forgotten one holds its locks for ever.";
            about(n, "PostgreSQL prepared transactions", "transactions", info).unscaled()
        })
        .field("prepared", count(&figures.prepared, "n"), |n| {
            FieldSpec::gauge(n, "prepared").info("Transactions now")
        });
    sheet
        .service("postgres_oldest_prepared_xact_ALL", |n| {
            let info = "Since when the oldest prepared transaction waits; 0: there is none.";
            about(n, "PostgreSQL oldest prepared transaction", "seconds", info)
        })
        .field("age", Some(decimal(&figures.prepared, "oldest_s").unwrap_or(0.0)), |n| {
            FieldSpec::gauge(n, "age").draw(Draw::Area).info("Seconds since it was prepared")
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_late_autovacuum_moves_the_limits_and_never_beyond_the_end() {
        assert_eq!(xid_limits(200_000_000), (1_000_000_000, 1_800_000_000));
        assert_eq!(xid_limits(1_500_000_000), (1_550_000_000, 1_800_000_000));
        assert_eq!(xid_limits(2_000_000_000), (2_050_000_000, 2_100_000_000));
        assert!(xid_limits(u64::MAX).1 < 2_140_000_000);
    }
}
