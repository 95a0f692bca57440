//! InnoDB: its buffer pool, IO, log, rows, locks, transactions, and when a
//! rollback will be done.

use super::charts::{BYTES, CATEGORY, COUNTED, Chart, Facts, Of, field, rate, share};
use super::innodb_status::{InnodbStatus, Rollback};
use crate::support::{Ratio, Sheet};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};
use std::time::{Duration, Instant};

/// A history of so many transactions slows down every reading.
const HISTORY_WARNING: &str = "1000000";
/// How long a rollback's speed is measured before it is measured anew.
const SPEED_OF: Duration = Duration::from_secs(300);

const CHARTS: &[Chart] = &[
    Chart {
        service: "mysql_innodb_bpool",
        title: "InnoDB buffer pool",
        vlabel: "pages",
        args: BYTES,
        info: "Pages of tables and indexes in memory. A full pool is as it should be; many \
               modified pages have yet to be written.",
        fields: &[
            field(
                "ib_bpool_size",
                "size",
                Of::Level("Innodb_buffer_pool_pages_total"),
                Draw::Line1,
                "Pages that there is room for (innodb_buffer_pool_size)",
            ),
            field(
                "ib_bpool_dbpages",
                "data",
                Of::Level("Innodb_buffer_pool_pages_data"),
                Draw::Area,
                "Pages that hold data",
            ),
            field(
                "ib_bpool_free",
                "free",
                Of::Level("Innodb_buffer_pool_pages_free"),
                Draw::Line1,
                "Pages that are free",
            ),
            field(
                "ib_bpool_modpages",
                "modified",
                Of::Level("Innodb_buffer_pool_pages_dirty"),
                Draw::Line1,
                "Pages that are newer in memory than on disk",
            ),
        ],
    },
    Chart {
        service: "mysql_innodb_bpool_act",
        title: "InnoDB buffer pool activity",
        vlabel: "pages per ${graph_period}",
        args: COUNTED,
        info: "Pages that come from disk, are made, and go to disk.",
        fields: &[
            field("ib_bpool_read", "read", Of::Rate("Innodb_pages_read"), Draw::Line1, "From disk"),
            field(
                "ib_bpool_created",
                "created",
                Of::Rate("Innodb_pages_created"),
                Draw::Line1,
                "Made for new rows",
            ),
            field(
                "ib_bpool_written",
                "written",
                Of::Rate("Innodb_pages_written"),
                Draw::Line1,
                "To disk",
            ),
        ],
    },
    Chart {
        service: "mysql_innodb_io",
        title: "InnoDB IO",
        vlabel: "operations per ${graph_period}",
        args: COUNTED,
        info: "What InnoDB asks of the disks.",
        fields: &[
            field("ib_io_read", "reads", Of::Rate("Innodb_data_reads"), Draw::Line1, "Of files"),
            field("ib_io_write", "writes", Of::Rate("Innodb_data_writes"), Draw::Line1, "Of files"),
            field(
                "ib_io_log",
                "log writes",
                Of::Rate("Innodb_log_writes"),
                Draw::Line1,
                "Writes of the redo log",
            ),
            field(
                "ib_io_fsync",
                "syncs",
                Of::Rate("Innodb_data_fsyncs"),
                Draw::Line1,
                "Times that it waited until data was safe on disk",
            ),
        ],
    },
    Chart {
        service: "mysql_innodb_rows",
        title: "InnoDB rows",
        vlabel: "rows per ${graph_period}",
        args: COUNTED,
        info: "Rows that InnoDB reads and changes. MariaDB counts them no more; see \"MySQL \
               handler reads\" and \"MySQL rows changed\" there.",
        fields: &[
            rate("Innodb_rows_read", "read", "Rows that were read"),
            rate("Innodb_rows_inserted", "inserted", "Rows that were inserted"),
            rate("Innodb_rows_updated", "updated", "Rows that were changed"),
            rate("Innodb_rows_deleted", "deleted", "Rows that were deleted"),
        ],
    },
    Chart {
        service: "mysql_innodb_row_locks",
        title: "InnoDB row lock waits",
        vlabel: "waits",
        args: COUNTED,
        info: "Statements that wait for a row which another transaction holds, and how often \
               that came to a deadlock.",
        fields: &[
            field(
                "Innodb_row_lock_current_waits",
                "waiting",
                Of::Level("Innodb_row_lock_current_waits"),
                Draw::Area,
                "Statements that wait now",
            ),
            rate("Innodb_row_lock_waits", "waits per second", "Waits that began"),
            rate("Innodb_deadlocks", "deadlocks per second", "Transactions that were given up"),
        ],
    },
    Chart {
        service: "mysql_innodb_row_lock_time",
        title: "InnoDB row lock time",
        vlabel: "ms per ${graph_period}",
        args: COUNTED,
        info: "Time that statements spent waiting for rows: 1000 ms per second are one statement \
               that does nothing else.",
        fields: &[field(
            "Innodb_row_lock_time",
            "waiting",
            Of::Rate("Innodb_row_lock_time"),
            Draw::Area,
            "Milliseconds of waiting, of all statements together",
        )],
    },
];

/// What is worked out from one reading to the next.
#[derive(Debug, Default)]
pub struct Innodb {
    miss: Ratio,
    rollbacks: Vec<Seen>,
}

/// A rollback since its speed is measured.
#[derive(Clone, Debug)]
struct Seen {
    since: Instant,
    first: Rollback,
    last: Rollback,
}

impl Innodb {
    /// Writes all of it; `status` is `None` where the server does not tell it.
    pub fn write(
        &mut self,
        facts: &Facts<'_>,
        status: Option<&InnodbStatus>,
        sheet: &mut Sheet<'_>,
    ) {
        for chart in CHARTS {
            chart.write(facts, sheet);
        }
        let of = |name: &str| facts.count(name);
        let asked = of("Innodb_buffer_pool_read_requests");
        if asked.is_some() {
            let miss = self.miss.next(of("Innodb_buffer_pool_reads"), asked);
            sheet
                .service("mysql_innodb_bpool_miss", |n| {
                    share(
                        n,
                        "InnoDB buffer pool misses",
                        "How many of the page reads of the interval had to go to disk. More than \
                         a few in a hundred: what is in use does not fit into the pool.",
                    )
                })
                .field("miss", miss, |n| {
                    let info = "Reads from disk, of all requests for a page";
                    FieldSpec::gauge(n, "from disk").draw(Draw::Area).info(info)
                });
        }
        write_log(facts, status, sheet);
        if let Some(status) = status {
            write_transactions(status, sheet);
            let seconds = self.seconds_left(&status.rolling_back, Instant::now());
            write_rollback(status, seconds, sheet);
        }
    }

    /// Until the last rollback is done, going by the speed of each so far.
    /// `None`: it cannot be said.
    fn seconds_left(&mut self, now: &[Rollback], at: Instant) -> Option<f64> {
        let before = std::mem::take(&mut self.rollbacks);
        let mut longest = Some(0.0f64);
        for rollback in now {
            let seen = before.iter().find(|s| s.last.id == rollback.id);
            let mut seen = seen.cloned().unwrap_or_else(|| Seen {
                since: at,
                first: rollback.clone(),
                last: rollback.clone(),
            });
            let took = at.saturating_duration_since(seen.since);
            let done = seen.first.entries.saturating_sub(rollback.entries);
            let left = (done > 0 && !took.is_zero())
                .then(|| rollback.entries as f64 * took.as_secs_f64() / done as f64);
            longest = longest.zip(left).map(|(a, b)| a.max(b));
            seen.last = rollback.clone();
            if took > SPEED_OF {
                (seen.since, seen.first) = (at, rollback.clone());
            }
            self.rollbacks.push(seen);
        }
        longest
    }
}

fn write_log(facts: &Facts<'_>, status: Option<&InnodbStatus>, sheet: &mut Sheet<'_>) {
    let of = |name: &str| facts.count(name);
    let told = |f: fn(&InnodbStatus) -> Option<u64>| status.and_then(f);
    let history = of("Innodb_history_list_length").or_else(|| told(|s| s.history));
    if history.is_some() {
        sheet
            .service("mysql_innodb_history", |n| {
                ServiceSpec::new(n, "InnoDB history list length", CATEGORY)
                    .vlabel("transactions")
                    .args(COUNTED)
                    .info(
                        "Old versions of rows that cannot be thrown away yet, counted in \
                         transactions. It grows while a transaction is left open, and slows \
                         reading down.",
                    )
            })
            .field("history", history, |n| {
                FieldSpec::gauge(n, "history")
                    .draw(Draw::Area)
                    .info("Transactions whose old rows wait to be purged")
                    .limits(HISTORY_WARNING, "")
            });
    }
    let lsn = of("Innodb_lsn_current").or_else(|| told(|s| s.lsn));
    let reached = of("Innodb_lsn_last_checkpoint").or_else(|| told(|s| s.checkpoint));
    let behind = lsn.zip(reached).and_then(|(lsn, at)| lsn.checked_sub(at));
    let age = of("Innodb_checkpoint_age").or(behind);
    if lsn.is_none() && age.is_none() {
        return;
    }
    sheet
        .service("mysql_innodb_log", |n| {
            ServiceSpec::new(n, "InnoDB log", CATEGORY)
                .vlabel("bytes per ${graph_period}")
                .args(BYTES)
                .info("Bytes that go to the redo log: how much is changed.")
        })
        .field("ib_log_written", lsn, |n| {
            let info = "By how much the log sequence number grows";
            FieldSpec::derive(n, "written").draw(Draw::Area).info(info)
        });
    let max = of("Innodb_checkpoint_max_age");
    let mut service = sheet.service("mysql_innodb_checkpoint", |n| {
        ServiceSpec::new(n, "InnoDB checkpoint age", CATEGORY).vlabel("bytes").args(BYTES).info(
            "How much of the log holds changes whose pages are not on disk yet: what a restart \
             after a crash has to redo. Near the limit, statements wait for the disks.",
        )
    });
    service.field("age", age, |n| {
        FieldSpec::gauge(n, "age").draw(Draw::Area).info("Log since the last checkpoint")
    });
    if max.is_some() {
        service.field("max_age", max, |n| {
            FieldSpec::gauge(n, "limit").info("Above this, it must write pages at once")
        });
    }
}

fn write_transactions(status: &InnodbStatus, sheet: &mut Sheet<'_>) {
    sheet
        .service("mysql_innodb_tnx", |n| {
            ServiceSpec::new(n, "InnoDB transactions", CATEGORY)
                .vlabel("transactions per ${graph_period}")
                .args(COUNTED)
                .info("Transactions that changed something.")
        })
        .field("ib_tnx", status.trx_id, |n| {
            FieldSpec::derive(n, "transactions").draw(Draw::Area).info("Transactions that began")
        });
    sheet
        .service("mysql_innodb_active", |n| {
            ServiceSpec::new(n, "InnoDB transactions under way", CATEGORY)
                .vlabel("transactions")
                .args("-l 0")
                .unscaled()
                .info("Transactions that have begun and not ended.")
        })
        .field("active", Some(status.active), |n| {
            FieldSpec::gauge(n, "under way").draw(Draw::Area).info("Now")
        });
    sheet
        .service("mysql_innodb_oldest", |n| {
            ServiceSpec::new(n, "InnoDB oldest transaction", CATEGORY)
                .vlabel("seconds")
                .args("-l 0")
                .unscaled()
                .info(
                    "How long the oldest of the transactions under way has been open. While it \
                     is, no old version of a row since then can be thrown away.",
                )
        })
        .field("oldest", Some(status.oldest_s), |n| {
            FieldSpec::gauge(n, "oldest").draw(Draw::Area).info("Seconds since it began")
        });
}

fn write_rollback(status: &InnodbStatus, seconds: Option<f64>, sheet: &mut Sheet<'_>) {
    let left = status.rolling_back.iter().fold(0u64, |sum, r| sum.saturating_add(r.entries));
    sheet
        .service("mysql_innodb_undo", |n| {
            ServiceSpec::new(n, "InnoDB undo entries", CATEGORY)
                .vlabel("entries")
                .args(COUNTED)
                .info(
                    "Changes that transactions under way have noted down so that they can be \
                     undone. Those that are rolling back count down to 0; what the others have \
                     is what a rollback would have to undo.",
                )
        })
        .field("rolling_back", Some(left), |n| {
            let info = "Entries that transactions which are rolling back have left";
            FieldSpec::gauge(n, "left to undo").draw(Draw::Area).info(info)
        })
        .field("active", Some(status.undo_active), |n| {
            FieldSpec::gauge(n, "of others").info("Entries of transactions that go on")
        });
    sheet
        .service("mysql_innodb_rollback", |n| {
            ServiceSpec::new(n, "InnoDB rollback: time left", CATEGORY)
                .vlabel("seconds")
                .args("-l 0")
                .unscaled()
                .info(
                    "When the transactions that are rolling back will be done, if they go on as \
                     fast as so far. Unknown until their speed is; 0 while there are none.",
                )
        })
        .field("seconds", seconds, |n| {
            FieldSpec::gauge(n, "time left").draw(Draw::Area).info("Seconds until the last is done")
        });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rollback_is_estimated_by_its_speed() {
        let mut innodb = Innodb::default();
        let start = Instant::now();
        let mut left = |s: u64, now: &[(&str, u64)]| {
            let one =
                |(id, entries): &(&str, u64)| Rollback { id: (*id).to_owned(), entries: *entries };
            let now: Vec<Rollback> = now.iter().map(one).collect();
            innodb.seconds_left(&now, start + Duration::from_secs(s))
        };
        assert_eq!(left(0, &[]), Some(0.0), "none");
        assert_eq!(left(10, &[("a", 1000)]), None, "no speed yet");
        assert_eq!(left(20, &[("a", 900)]), Some(90.0));
        assert_eq!(left(30, &[("a", 600), ("b", 10)]), None, "another one began");
        assert_eq!(left(40, &[("a", 400), ("b", 5)]), Some(20.0));
        assert_eq!(left(50, &[("a", 1500)]), None, "it does not go down");
        assert_eq!(left(60, &[]), Some(0.0));
        assert_eq!(left(70, &[("a", 100)]), None, "its past is forgotten");
    }

    #[test]
    fn a_long_rollback_is_measured_anew() {
        let mut innodb = Innodb::default();
        let start = Instant::now();
        let mut left = |s: u64, entries: u64| {
            let now = [Rollback { id: "a".to_owned(), entries }];
            innodb.seconds_left(&now, start + Duration::from_secs(s))
        };
        assert_eq!(left(0, 10_000), None);
        assert_eq!(left(400, 6_000), Some(600.0));
        // From here on it is ten times as fast.
        assert_eq!(left(410, 5_000), Some(50.0));
    }
}
