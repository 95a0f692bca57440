//! Squid's graphs.

use super::CATEGORY;
use super::pages::{Counters, Info, Store, bytes};
use crate::support::Sheet;
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

/// Shares of the interval, in percent.
pub struct Ratios {
    /// Of requests that were hits.
    pub hits: Option<f64>,
    /// Of bytes that came from the cache.
    pub bytes: Option<f64>,
}

/// All of them.
pub fn write(
    counters: &Counters,
    info: &Info,
    store: &Store,
    ratios: &Ratios,
    sheet: &mut Sheet<'_>,
) {
    sheet.note(info.version());
    write_requests(counters, info, ratios, sheet);
    write_traffic(counters, sheet);
    write_cache(info, store, sheet);
    write_times(info, sheet);
    write_process(counters, info, sheet);
}

fn write_requests(counters: &Counters, info: &Info, ratios: &Ratios, sheet: &mut Sheet<'_>) {
    sheet
        .service("squid_hit_ratio", |n| {
            ServiceSpec::new(n, "Squid hit ratio", CATEGORY)
                .vlabel("%")
                .args("-l 0 -u 100")
                .unscaled()
                .info(&format!(
                    "Squid, {}. How many of the requests between two readings were answered \
                     from the cache, and how many of the bytes. The agent's own requests are \
                     left out of the first; their bytes (6 KB a reading) are in the second. \
                     Nothing is drawn while nobody asks.",
                    info.version()
                ))
        })
        .field("hit_ratio", ratios.hits, |n| {
            FieldSpec::gauge(n, "requests")
                .draw(Draw::Area)
                .info("Hits, in percent of all requests of the interval")
        })
        .field("byte_hit_ratio", ratios.bytes, |n| {
            FieldSpec::gauge(n, "bytes")
                .info("Bytes from the cache, in percent of all bytes sent in the interval")
        });
    let of = |name: &str| counters.of(&format!("client_http.{name}"));
    sheet
        .service("squid_requests", |n| {
            let spec = ServiceSpec::new(n, "Squid requests", CATEGORY)
                .vlabel("requests per ${graph_period}")
                .args("-l 0 --base 1000")
                .info(
                    "Requests of clients, by what became of them. Reading these numbers takes \
                     three requests, which are among the misses.",
                );
            ServiceSpec { total: Some("total".to_owned()), ..spec }
        })
        .field("hits", of("hits"), |n| {
            FieldSpec::derive(n, "hits").draw(Draw::Area).info("Answered from the cache")
        })
        .field("errors", of("errors"), |n| {
            let info = "Answered with an error of Squid";
            FieldSpec::derive(n, "errors").draw(Draw::Stack).info(info)
        })
        .field("requests", of("requests"), |n| {
            FieldSpec::derive(n, "misses")
                .draw(Draw::Stack)
                .cdef("requests,hits,-,errors,-")
                .info("Fetched from a server: all requests but for hits and errors")
        });
    sheet
        .service("squid_servers", |n| {
            ServiceSpec::new(n, "Squid fetches", CATEGORY)
                .vlabel("requests per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Requests of Squid to servers, and what went wrong on either side.")
        })
        .field("server_requests", counters.of("server.all.requests"), |n| {
            FieldSpec::derive(n, "requests").draw(Draw::Area).info("Requests to servers")
        })
        .field("server_errors", counters.of("server.all.errors"), |n| {
            FieldSpec::derive(n, "failed").info("Requests that a server did not answer well")
        })
        .field("aborted_requests", counters.of("aborted_requests"), |n| {
            FieldSpec::derive(n, "broken off").info("Fetches that ended as the client went")
        });
    sheet
        .service("squid_clients", |n| {
            ServiceSpec::new(n, "Squid clients", CATEGORY)
                .vlabel("clients")
                .args("-l 0")
                .unscaled()
                .info("Different addresses that used the cache lately; the agent's is one.")
        })
        .field("clients", info.of("Number of clients accessing cache"), |n| {
            FieldSpec::gauge(n, "clients").draw(Draw::Area).info("Addresses of clients")
        });
}

fn write_traffic(counters: &Counters, sheet: &mut Sheet<'_>) {
    let of = |name: &str| {
        counters.of(&format!("client_http.{name}")).map(|kib| kib.saturating_mul(1024))
    };
    sheet
        .service("squid_traffic", |n| {
            ServiceSpec::new(n, "Squid traffic", CATEGORY)
                .vlabel("bytes in (-) / out (+) per ${graph_period}")
                .args("--base 1024")
                .info("What goes to and from clients, counted in units of 1 KiB.")
        })
        .field("kbytes_in", of("kbytes_in"), |n| {
            FieldSpec::derive(n, "received").hidden().info("Bytes that came from clients")
        })
        .field("kbytes_out", of("kbytes_out"), |n| {
            FieldSpec::derive(n, "sent").negative("kbytes_in").info("Bytes that went to clients")
        })
        .field("hit_kbytes_out", of("hit_kbytes_out"), |n| {
            FieldSpec::derive(n, "from cache").info("Bytes that came from the cache")
        });
}

fn write_cache(info: &Info, store: &Store, sheet: &mut Sheet<'_>) {
    let size = |name: &str| info.of(name).and_then(bytes);
    sheet
        .service("squid_memory", |n| {
            ServiceSpec::new(n, "Squid memory", CATEGORY)
                .vlabel("bytes")
                .args("-l 0 --base 1024")
                .info("Memory that objects take (up to cache_mem), and all that Squid counts.")
        })
        .field("mem_size", size("Storage Mem size"), |n| {
            FieldSpec::gauge(n, "objects").draw(Draw::Area).info("Bytes of objects in memory")
        })
        .field("accounted", size("Total accounted").filter(|n| *n > 0), |n| {
            FieldSpec::gauge(n, "all").info("Bytes of memory that Squid has counted")
        });
    sheet
        .service("squid_objects", |n| {
            ServiceSpec::new(n, "Squid objects", CATEGORY)
                .vlabel("objects")
                .args("-l 0 --base 1000")
                .info("Objects in the cache.")
        })
        .field("entries", info.count("StoreEntries"), |n| {
            FieldSpec::gauge(n, "all").draw(Draw::Area).info("Objects now")
        })
        .field("in_memory", info.count("StoreEntries with MemObjects"), |n| {
            FieldSpec::gauge(n, "in memory").info("Objects in memory")
        })
        .field("on_disk", info.count("on-disk objects"), |n| {
            FieldSpec::gauge(n, "on disk").info("Objects on disk")
        });
    // Debian's has no cache on disk: that is no reason for empty graphs.
    if store.max != Some(0) {
        write_disk(size("Mean Object Size"), store, sheet);
    }
}

fn write_disk(object: Option<u64>, store: &Store, sheet: &mut Sheet<'_>) {
    sheet
        .service("squid_cache", |n| {
            ServiceSpec::new(n, "Squid cache on disk", CATEGORY)
                .vlabel("bytes")
                .args("-l 0 --base 1024")
                .info(
                    "What objects take of the room on disk (cache_dir). A full one is as it \
                     should be.",
                )
        })
        .field("Maximum", store.max, |n| {
            FieldSpec::gauge(n, "limit").info("Bytes that may be used")
        })
        .field("Current", store.current, |n| {
            FieldSpec::gauge(n, "in use").draw(Draw::Area).info("Bytes of stored objects")
        });
    sheet
        .service("squid_objectsize", |n| {
            ServiceSpec::new(n, "Squid object size", CATEGORY)
                .vlabel("bytes")
                .args("-l 0 --base 1024")
                .info("The mean size of objects on disk.")
        })
        .field("objectsize", object, |n| {
            FieldSpec::gauge(n, "object size").info("Bytes of an object on disk, on average")
        });
}

fn write_times(info: &Info, sheet: &mut Sheet<'_>) {
    let mut service = sheet.service("squid_times", |n| {
        ServiceSpec::new(n, "Squid response time", CATEGORY)
            .vlabel("milliseconds")
            .args("-l 0")
            .unscaled()
            .info("How long requests took: the median of the last five minutes.")
    });
    for (name, field, label, text) in [
        ("HTTP Requests (All)", "all", "all", "All requests"),
        ("Cache Misses", "misses", "misses", "Fetched from a server"),
        ("Cache Hits", "hits", "hits", "Answered from the cache"),
        ("Near Hits", "near_hits", "confirmed hits", "In the cache, after asking the server"),
        ("DNS Lookups", "dns", "name look-ups", "Questions for a server's address"),
    ] {
        service.field(field, info.of(name).map(|s| s * 1000.0), |n| {
            FieldSpec::gauge(n, label).info(text)
        });
    }
}

fn write_process(counters: &Counters, info: &Info, sheet: &mut Sheet<'_>) {
    sheet
        .service("squid_cpu", |n| {
            ServiceSpec::new(n, "Squid processor time", CATEGORY)
                .vlabel("% of one processor")
                .args("-l 0")
                .unscaled()
                .info(
                    "A Squid without workers runs on one processor: near 100 it is the \
                     bottleneck.",
                )
        })
        .field("cpu_time", counters.decimal("cpu_time").map(|s| s * 100.0), |n| {
            FieldSpec::derive(n, "used").draw(Draw::Area).info("Processor time")
        });
    sheet
        .service("squid_page_faults", |n| {
            ServiceSpec::new(n, "Squid page faults", CATEGORY)
                .vlabel("faults per ${graph_period}")
                .args("-l 0 --base 1000")
                .info(
                    "Times that Squid had to wait for its own memory to come back from disk: \
                     many mean that cache_mem is larger than this host can bear.",
                )
        })
        .field("page_faults", counters.of("page_faults"), |n| {
            FieldSpec::derive(n, "page faults").draw(Draw::Area).info("With a wait for a disk")
        });
    let max = info.of("Maximum number of file descriptors").filter(|max| *max > 0.0);
    let percent = |p: f64| max.map(|max| (max * p / 100.0).floor().to_string()).unwrap_or_default();
    sheet.note(&percent(100.0));
    sheet
        .service("squid_fd", |n| {
            ServiceSpec::new(n, "Squid file descriptors", CATEGORY)
                .vlabel("descriptors")
                .args("-l 0")
                .unscaled()
                .info(
                    "Each connection and each open object takes one. At the limit Squid takes \
                     no more clients.",
                )
        })
        .optional("used", info.of("Number of file desc currently in use"), |n| {
            FieldSpec::gauge(n, "in use")
                .draw(Draw::Area)
                .limits(&percent(80.0), &percent(95.0))
                .info(&format!("Descriptors now, of at most {}", percent(100.0)))
        })
        .field("max", max, |n| {
            // Drawn, it would press all else to the ground.
            FieldSpec::gauge(n, "limit")
                .hidden()
                .info("As many as there may be (max_filedescriptors)")
        });
    sheet
        .service("squid_uptime", |n| {
            ServiceSpec::new(n, "Squid uptime", CATEGORY)
                .vlabel("days")
                .args("-l 0")
                .unscaled()
                .info("Time since Squid was started.")
        })
        .field("uptime", info.of("UP Time").map(|s| s / 86_400.0), |n| {
            FieldSpec::gauge(n, "uptime").draw(Draw::Area).info("Days since its start")
        });
}
