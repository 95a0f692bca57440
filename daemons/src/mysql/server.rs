//! The server as a whole: traffic, slow queries, tables, locks, sorting,
//! reading of rows, MyISAM's key cache, how long it has been up.

use super::charts::{BYTES, CATEGORY, COUNTED, Chart, Facts, Of, field, rate, share};
use crate::support::{Ratio, Sheet};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

const CHARTS: &[Chart] = &[
    Chart {
        service: "mysql_commands",
        title: "MySQL commands",
        vlabel: "commands per ${graph_period}",
        args: COUNTED,
        info: "Statements that read or change rows, and the ends of transactions, each as the \
               server itself counts it (Com_*).",
        fields: &[
            rate("Com_select", "select", "SELECT; MariaDB counts hits of the query cache here"),
            rate("Com_insert", "insert", "INSERT ... VALUES"),
            rate("Com_insert_select", "insert select", "INSERT ... SELECT"),
            rate("Com_update", "update", "UPDATE of one table"),
            rate("Com_update_multi", "update multi", "UPDATE of several tables"),
            rate("Com_delete", "delete", "DELETE from one table"),
            rate("Com_delete_multi", "delete multi", "DELETE from several tables"),
            rate("Com_replace", "replace", "REPLACE ... VALUES"),
            rate("Com_replace_select", "replace select", "REPLACE ... SELECT"),
            rate("Com_load", "load data", "LOAD DATA and LOAD XML"),
            rate("Com_commit", "commit", "COMMIT that was said; not those of autocommit"),
            rate("Com_rollback", "rollback", "ROLLBACK that was said"),
        ],
    },
    Chart {
        service: "mysql_slowqueries",
        title: "MySQL slow queries",
        vlabel: "slow queries per ${graph_period}",
        args: COUNTED,
        info: "Queries that took longer than long_query_time, whether or not they are logged.",
        fields: &[field(
            "queries",
            "slow queries",
            Of::Rate("Slow_queries"),
            Draw::Area,
            "Queries that took longer than long_query_time",
        )],
    },
    Chart {
        service: "mysql_table_locks",
        title: "MySQL table locks",
        vlabel: "locks per ${graph_period}",
        args: COUNTED,
        info: "Locks of whole tables, which MyISAM and Aria need for each change. Many that had \
               to wait: InnoDB would lock rows instead.",
        fields: &[
            rate("Table_locks_immediate", "at once", "Locks that were granted at once"),
            rate("Table_locks_waited", "waited", "Locks that had to be waited for"),
        ],
    },
    Chart {
        service: "mysql_tmp_tables",
        title: "MySQL temporary objects",
        vlabel: "objects per ${graph_period}",
        args: COUNTED,
        info: "Tables and files that the server makes to work out queries. Each SHOW STATUS of \
               a monitoring system makes one, too.",
        fields: &[
            rate("Created_tmp_tables", "tables", "Temporary tables, on disk or not"),
            rate("Created_tmp_disk_tables", "tables on disk", "Those that had to go to disk"),
            rate("Created_tmp_files", "files", "Temporary files, mostly for sorting"),
        ],
    },
    Chart {
        service: "mysql_handler_reads",
        title: "MySQL handler reads",
        vlabel: "reads per ${graph_period}",
        args: COUNTED,
        info: "How rows are found. By key is as it should be; many of \"next in file\" are whole \
               tables that are read through, for want of an index.",
        fields: &[
            field(
                "Handler_read_key",
                "by key",
                Of::Rate("Handler_read_key"),
                Draw::AreaStack,
                "A row found by its key",
            ),
            field(
                "Handler_read_next",
                "next by key",
                Of::Rate("Handler_read_next"),
                Draw::AreaStack,
                "The next row in the order of a key: a range",
            ),
            field(
                "Handler_read_prev",
                "previous by key",
                Of::Rate("Handler_read_prev"),
                Draw::AreaStack,
                "The row before, in the order of a key: ORDER BY ... DESC",
            ),
            field(
                "Handler_read_first",
                "first by key",
                Of::Rate("Handler_read_first"),
                Draw::AreaStack,
                "The first entry of an index: a whole index is read through",
            ),
            field(
                "Handler_read_last",
                "last by key",
                Of::Rate("Handler_read_last"),
                Draw::AreaStack,
                "The last entry of an index",
            ),
            field(
                "Handler_read_rnd",
                "by position",
                Of::Rate("Handler_read_rnd"),
                Draw::AreaStack,
                "A row by its place, after sorting",
            ),
            field(
                "Handler_read_rnd_next",
                "next in file",
                Of::Rate("Handler_read_rnd_next"),
                Draw::AreaStack,
                "The next row of the file: a whole table is read through",
            ),
        ],
    },
    Chart {
        service: "mysql_handler_writes",
        title: "MySQL rows changed",
        vlabel: "rows per ${graph_period}",
        args: COUNTED,
        info: "Rows that were written, of all engines, without those of temporary tables where \
               the server counts them apart.",
        fields: &[
            rate("Handler_write", "inserted", "Rows that were inserted"),
            rate("Handler_update", "updated", "Rows that were changed"),
            rate("Handler_delete", "deleted", "Rows that were deleted"),
        ],
    },
    Chart {
        service: "mysql_select_types",
        title: "MySQL select types",
        vlabel: "selects per ${graph_period}",
        args: COUNTED,
        info: "How selects go about it. A full join has no index to go by: each one is worth a \
               look.",
        fields: &[
            rate("Select_full_join", "full join", "Joins without an index"),
            rate("Select_full_range_join", "full range", "Joins by a range of the other table"),
            rate("Select_range", "range", "A range of the first table"),
            rate("Select_range_check", "range check", "Joins that look for an index at each row"),
            rate("Select_scan", "scan", "The first table is read through"),
        ],
    },
    Chart {
        service: "mysql_sorts",
        title: "MySQL sorts",
        vlabel: "per ${graph_period}",
        args: COUNTED,
        info: "Sorting. Merge passes mean that sort_buffer_size did not suffice.",
        fields: &[
            rate("Sort_rows", "rows", "Rows that were sorted"),
            rate("Sort_range", "by range", "Sorts of a range"),
            rate("Sort_scan", "by scan", "Sorts of a whole table"),
            rate("Sort_merge_passes", "merge passes", "Passes over parts that went to disk"),
        ],
    },
    Chart {
        service: "mysql_files_tables",
        title: "MySQL files and tables",
        vlabel: "open",
        args: COUNTED,
        info: "Open tables of how many the server may hold open (table_open_cache). When it is \
               full, opening goes on all the time.",
        fields: &[
            field(
                "table_open_cache",
                "table cache",
                Of::Setting("table_open_cache"),
                Draw::Line1,
                "Tables that it may hold open",
            ),
            field("Open_tables", "open tables", Of::Level("Open_tables"), Draw::Line2, "Now"),
            field("Open_files", "open files", Of::Level("Open_files"), Draw::Line1, "Now"),
            rate("Opened_tables", "opened per second", "Tables that had to be opened"),
        ],
    },
    Chart {
        service: "mysql_myisam_indexes",
        title: "MyISAM key cache requests",
        vlabel: "requests per ${graph_period}",
        args: COUNTED,
        info: "Blocks of MyISAM's indexes. Reads from disk should be few beside the requests; \
               if not, key_buffer_size is too small.",
        fields: &[
            rate("Key_read_requests", "read requests", "Blocks that were asked for"),
            rate("Key_reads", "reads", "Those that had to be read from disk"),
            rate("Key_write_requests", "write requests", "Blocks that were to be written"),
            rate("Key_writes", "writes", "Those that were written to disk"),
        ],
    },
];

/// What is worked out from one reading to the next.
#[derive(Debug, Default)]
pub struct Server {
    on_disk: Ratio,
}

impl Server {
    /// Writes all of it.
    pub fn write(&mut self, facts: &Facts<'_>, sheet: &mut Sheet<'_>) {
        let of = |name: &str| facts.count(name);
        for chart in CHARTS {
            chart.write(facts, sheet);
        }
        write_bytes(facts, sheet);
        let on_disk = self.on_disk.next(of("Created_tmp_disk_tables"), of("Created_tmp_tables"));
        sheet
            .service("mysql_tmp_on_disk", |n| {
                share(
                    n,
                    "MySQL temporary tables on disk",
                    "How many of the temporary tables had to go to disk, because they grew \
                     larger than tmp_table_size or hold texts.",
                )
            })
            .field("on_disk", on_disk, |n| {
                let info = "Share of the interval's temporary tables";
                FieldSpec::gauge(n, "on disk").draw(Draw::Area).info(info)
            });
        write_key_cache(facts, sheet);
        sheet
            .service("mysql_uptime", |n| {
                ServiceSpec::new(n, "MySQL uptime", CATEGORY)
                    .vlabel("days")
                    .args("-l 0")
                    .unscaled()
                    .info("How long ago the server was started. A fall is a restart.")
            })
            .field("uptime", of("Uptime").map(|s| s as f64 / 86_400.0), |n| {
                FieldSpec::gauge(n, "uptime").draw(Draw::Area).info("Days since its start")
            });
    }
}

fn write_bytes(facts: &Facts<'_>, sheet: &mut Sheet<'_>) {
    sheet
        .service("mysql_bytes", |n| {
            ServiceSpec::new(n, "MySQL throughput", CATEGORY)
                .vlabel("bytes received (-) / sent (+) per ${graph_period}")
                .args("--base 1024")
                .info("What goes to and from clients.")
        })
        .field("recv", facts.count("Bytes_received"), |n| {
            FieldSpec::derive(n, "received").hidden().info("Bytes that came from clients")
        })
        .field("sent", facts.count("Bytes_sent"), |n| {
            FieldSpec::derive(n, "sent").negative("recv").info("Bytes that went to clients")
        });
}

fn write_key_cache(facts: &Facts<'_>, sheet: &mut Sheet<'_>) {
    let Some(size) = facts.setting("key_buffer_size") else { return };
    let unused = facts.count("Key_blocks_unused").zip(facts.setting("key_cache_block_size"));
    // What the blocks take besides is counted as used.
    let used = unused.map(|(n, block)| size.saturating_sub(n.saturating_mul(block)));
    sheet
        .service("mysql_key_cache", |n| {
            ServiceSpec::new(n, "MyISAM key cache", CATEGORY).vlabel("bytes").args(BYTES).info(
                "Memory for indexes of MyISAM tables. Where there are none but the server's \
                 own, little of it suffices.",
            )
        })
        .field("key_buffer_size", Some(size), |n| {
            FieldSpec::gauge(n, "size").info("key_buffer_size")
        })
        .field("used", used, |n| {
            let info = "In use, together with what the blocks' book-keeping takes";
            FieldSpec::gauge(n, "used").draw(Draw::Area).info(info)
        });
}
