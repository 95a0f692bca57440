//! The graphs of `diskstats`: which counters go where, under Munin's names.

use super::Row;

/// A field: one counter, or a sum of counters.
pub(super) struct Column {
    pub(super) name: &'static str,
    pub(super) label: &'static str,
    pub(super) info: &'static str,
    pub(super) value: fn(&Row) -> u64,
    pub(super) negative: Option<&'static str>,
    pub(super) cdef: Option<&'static str>,
    pub(super) hidden: bool,
    pub(super) gauge: bool,
    /// How many columns the kernel must print for it.
    pub(super) needs: usize,
}

/// One kind of graph: an overview of all devices and one for each.
pub(super) struct Graph {
    pub(super) name: &'static str,
    pub(super) title: &'static str,
    pub(super) vlabel: &'static str,
    pub(super) args: &'static str,
    pub(super) info: &'static str,
    pub(super) unscaled: bool,
    pub(super) overview: &'static [Column],
    pub(super) device: &'static [Column],
}

/// A counter, drawn per second.
const fn column(
    name: &'static str,
    label: &'static str,
    info: &'static str,
    value: fn(&Row) -> u64,
) -> Column {
    let (negative, cdef) = (None, None);
    Column { name, label, info, value, negative, cdef, hidden: false, gauge: false, needs: 11 }
}

impl Column {
    const fn negative(self, other: &'static str) -> Column {
        Column { negative: Some(other), ..self }
    }

    const fn cdef(self, cdef: &'static str) -> Column {
        Column { cdef: Some(cdef), ..self }
    }

    const fn hidden(self) -> Column {
        Column { hidden: true, ..self }
    }

    const fn gauge(self) -> Column {
        Column { gauge: true, ..self }
    }

    const fn needs(self, needs: usize) -> Column {
        Column { needs, ..self }
    }
}

/// The kernel counts in sectors of 512 bytes, whatever the device has.
const fn bytes(sectors: u64) -> u64 {
    sectors.saturating_mul(512)
}

fn read_ios(row: &Row) -> u64 {
    row.counters[0]
}

fn read_bytes(row: &Row) -> u64 {
    bytes(row.counters[2])
}

fn read_ms(row: &Row) -> u64 {
    row.counters[3]
}

fn write_ios(row: &Row) -> u64 {
    row.counters[4]
}

fn write_bytes(row: &Row) -> u64 {
    bytes(row.counters[6])
}

fn write_ms(row: &Row) -> u64 {
    row.counters[7]
}

fn in_flight(row: &Row) -> u64 {
    row.counters[8]
}

fn busy_ms(row: &Row) -> u64 {
    row.counters[9]
}

fn queued_ms(row: &Row) -> u64 {
    row.counters[10]
}

fn discard_ios(row: &Row) -> u64 {
    row.counters[11]
}

fn discard_bytes(row: &Row) -> u64 {
    bytes(row.counters[13])
}

fn flush_ios(row: &Row) -> u64 {
    row.counters[15]
}

fn all_ios(row: &Row) -> u64 {
    read_ios(row).saturating_add(write_ios(row))
}

fn all_ms(row: &Row) -> u64 {
    read_ms(row).saturating_add(write_ms(row))
}

/// In Munin's order.
#[rustfmt::skip]
pub(super) const GRAPHS: [Graph; 5] = [
    Graph {
        name: "diskstats_latency",
        title: "Disk latency",
        vlabel: "seconds",
        args: "--base 1000",
        info: "How long a request took from start to finish, its time in the queue included. \
               Stored are milliseconds and requests; unknown while there are no requests.",
        unscaled: false,
        overview: &[
            column("avgwait", "wait", "Average wait time for an I/O request", all_ms)
                .cdef("$avgwait,$ios,/,1000,/"),
            column("ios", "requests", "Reads and writes finished", all_ios).hidden(),
        ],
        device: &[
            column("svctm", "Device IO time",
                "Average time that the device was busy for a request: busy time by requests",
                busy_ms).cdef("svctm,ios,/,1000,/"),
            column("avgwait", "IO Wait time",
                "Average wait time for an I/O from request start to finish (includes queue times)",
                all_ms).cdef("avgwait,ios,/,1000,/"),
            column("avgrdwait", "Read IO Wait time",
                "Average wait time for a read from request start to finish", read_ms)
                .cdef("avgrdwait,rdios,/,1000,/"),
            column("avgwrwait", "Write IO Wait time",
                "Average wait time for a write from request start to finish", write_ms)
                .cdef("avgwrwait,wrios,/,1000,/"),
            column("ios", "requests", "Reads and writes finished", all_ios).hidden(),
            column("rdios", "reads", "Reads finished", read_ios).hidden(),
            column("wrios", "writes", "Writes finished", write_ios).hidden(),
        ],
    },
    Graph {
        name: "diskstats_utilization",
        title: "Disk utilization",
        vlabel: "% busy",
        args: "--base 1000 --lower-limit 0 --upper-limit 100 --rigid",
        info: "The share of time in which the device had something to do. 100 % is the end for a \
               single disk; an SSD or a RAID may still have room. Stored in milliseconds.",
        unscaled: true,
        overview: &[
            column("util", "busy", "Utilization of the device", busy_ms).cdef("$util,10,/"),
        ],
        device: &[
            column("util", "Utilization", "Share of time in which the device was busy", busy_ms)
                .cdef("util,10,/"),
        ],
    },
    Graph {
        name: "diskstats_throughput",
        title: "Disk throughput",
        vlabel: "Bytes/${graph_period} read (-) / write (+)",
        args: "--base 1024",
        info: "Bytes read from and written to the device.",
        unscaled: false,
        overview: &[
            column("rdbytes", "read", "Bytes read", read_bytes).hidden(),
            column("wrbytes", "written", "Bytes read (-) and written (+)", write_bytes)
                .negative("$rdbytes"),
        ],
        device: &[
            column("rdbytes", "read", "Bytes read", read_bytes).hidden(),
            column("wrbytes", "Bytes", "Bytes read (-) and written (+)", write_bytes)
                .negative("rdbytes"),
            column("dcbytes", "discarded", "Bytes that the device was told to forget (TRIM)",
                discard_bytes).needs(15),
        ],
    },
    Graph {
        name: "diskstats_iops",
        title: "Disk IOs",
        vlabel: "IOs/${graph_period} read (-) / write (+)",
        args: "--base 1000",
        info: "Requests finished, and their average size: many small ones need more of a disk \
               than few large ones.",
        unscaled: false,
        overview: &[
            column("rdio", "reads", "Reads finished", read_ios).hidden(),
            column("wrio", "writes", "Reads (-) and writes (+) finished", write_ios)
                .negative("$rdio"),
        ],
        device: &[
            column("rdio", "reads", "Reads finished", read_ios).hidden(),
            column("wrio", "IO/sec", "Reads (-) and writes (+) finished", write_ios)
                .negative("rdio"),
            column("avgrdrqsz", "read size", "Average size of a read in kilobytes (1000)",
                read_bytes).cdef("avgrdrqsz,rdio,/,1000,/").hidden(),
            column("avgwrrqsz", "Req Size (KB)",
                "Average size of a read (-) and a write (+) in kilobytes (1000)", write_bytes)
                .cdef("avgwrrqsz,wrio,/,1000,/").negative("avgrdrqsz"),
            column("dcio", "discards", "Requests to forget blocks (TRIM)", discard_ios).needs(15),
            column("flio", "flushes", "Requests to write the device's cache through", flush_ios)
                .needs(17),
        ],
    },
    Graph {
        name: "diskstats_queue",
        title: "Disk queue",
        vlabel: "requests",
        args: "--base 1000 -l 0",
        info: "How many requests are in the queue or at the device. Stored is the sum of their \
               milliseconds.",
        unscaled: false,
        overview: &[
            column("queue", "queue", "Average number of requests in flight", queued_ms)
                .cdef("$queue,1000,/"),
        ],
        device: &[
            column("queue", "average", "Average number of requests in flight", queued_ms)
                .cdef("queue,1000,/"),
            column("inflight", "now", "Requests in flight at the moment of reading", in_flight)
                .gauge(),
        ],
    },
];
