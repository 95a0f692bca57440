//! Varnish's graphs.

use super::CATEGORY;
use super::counters::{Backend, Counters};
use crate::support::{Names, Sheet};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};
use std::collections::BTreeSet;

/// The most backends of a graph: more are no picture any longer.
const BACKENDS_MAX: usize = 200;

/// All of them.
pub fn write(
    counters: &Counters,
    hit_ratio: Option<f64>,
    probed: &mut BTreeSet<String>,
    names: &mut Names,
    sheet: &mut Sheet<'_>,
) {
    write_requests(counters, hit_ratio, sheet);
    write_queues(counters, sheet);
    write_cache(counters, sheet);
    write_stores(counters, names, sheet);
    write_connections(counters, sheet);
    let backends = counters.backends(names);
    write_backends(counters, &backends, sheet);
    write_health(counters, &backends, probed, names, sheet);
    counters.forget(probed);
    sheet
        .service("varnish_uptime", |n| {
            ServiceSpec::new(n, "Varnish uptime", CATEGORY)
                .vlabel("days")
                .args("-l 0")
                .unscaled()
                .info(
                    "Time since the cache was started: the process that holds it starts anew, \
                     and empty, when it crashes.",
                )
        })
        .optional("uptime", counters.main("uptime").map(|s| s as f64 / 86_400.0), |n| {
            FieldSpec::gauge(n, "uptime").draw(Draw::Area).info("Days since its start")
        });
}

fn write_requests(counters: &Counters, hit_ratio: Option<f64>, sheet: &mut Sheet<'_>) {
    let of = |name: &str| counters.main(name);
    sheet
        .service("varnish_hit_rate", |n| {
            ServiceSpec::new(n, "Varnish hit ratio", CATEGORY)
                .vlabel("% of look-ups")
                .args("-l 0 -u 100")
                .unscaled()
                .info(
                    "How many of the requests between two readings found their object in the \
                     cache, of those that looked for one. Requests that VCL passes on without a \
                     look do not count; nothing is drawn while nobody asks.",
                )
        })
        .field("hit_ratio", hit_ratio, |n| {
            let info = "Hits, in percent of hits and misses of the interval";
            FieldSpec::gauge(n, "hit ratio").draw(Draw::Area).info(info)
        });
    sheet
        .service("varnish_request_rate", |n| {
            ServiceSpec::new(n, "Varnish requests", CATEGORY)
                .vlabel("per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("What clients ask for, and what became of it.")
        })
        .optional("cache_hit", of("cache_hit"), |n| {
            FieldSpec::derive(n, "hits").draw(Draw::Area).info("Answered from the cache")
        })
        .optional("cache_hitpass", of("cache_hitpass"), |n| {
            let info = "Known not to be cacheable: passed on";
            FieldSpec::derive(n, "hits for pass").draw(Draw::Stack).info(info)
        })
        .optional("cache_miss", of("cache_miss"), |n| {
            let info = "Not in the cache: fetched from a backend";
            FieldSpec::derive(n, "misses").draw(Draw::Stack).info(info)
        })
        .optional("cache_hitmiss", of("cache_hitmiss"), |n| {
            FieldSpec::derive(n, "of these not cacheable")
                .info("Misses of objects that are known not to be cacheable")
        })
        .optional("client_req", of("client_req"), |n| {
            FieldSpec::derive(n, "requests").info("Good requests of clients")
        })
        .optional("sess_conn", of("sess_conn"), |n| {
            FieldSpec::derive(n, "connections").info("Connections that clients opened")
        })
        .optional("backend_conn", of("backend_conn"), |n| {
            FieldSpec::derive(n, "backend connections").info("Connections opened to backends")
        })
        .optional("backend_unhealthy", of("backend_unhealthy"), |n| {
            FieldSpec::derive(n, "backend sick").info("Fetches not tried, as the backend is sick")
        })
        .optional("s_pass", of("s_pass"), |n| {
            FieldSpec::derive(n, "pass").info("Requests that VCL passes on without a look")
        })
        .optional("s_pipe", of("s_pipe"), |n| {
            FieldSpec::derive(n, "pipe").info("Connections that VCL joins to a backend's")
        });
    sheet
        .service("varnish_transfer_rates", |n| {
            ServiceSpec::new(n, "Varnish traffic", CATEGORY)
                .vlabel("bytes per ${graph_period}")
                .args("-l 0 --base 1024")
                .info("What goes to clients.")
        })
        .optional("s_resp_bodybytes", of("s_resp_bodybytes"), |n| {
            FieldSpec::derive(n, "bodies").draw(Draw::Area).info("Bytes of responses' bodies")
        })
        .optional("s_resp_hdrbytes", of("s_resp_hdrbytes"), |n| {
            FieldSpec::derive(n, "heads").draw(Draw::Stack).info("Bytes of responses' heads")
        });
}

fn write_queues(counters: &Counters, sheet: &mut Sheet<'_>) {
    let of = |name: &str| counters.main(name);
    sheet
        .service("varnish_queue", |n| {
            ServiceSpec::new(n, "Varnish queue", CATEGORY)
                .vlabel("sessions")
                .args("-l 0")
                .unscaled()
                .info(
                    "Sessions of clients that wait for a thread. If some wait for long, there \
                     are too few threads (thread_pool_max), or backends are slow.",
                )
        })
        .optional("thread_queue_len", of("thread_queue_len"), |n| {
            FieldSpec::gauge(n, "waiting").draw(Draw::Area).limits("0", "").info("Sessions now")
        });
    sheet
        .service("varnish_dropped", |n| {
            ServiceSpec::new(n, "Varnish queued and dropped", CATEGORY)
                .vlabel("per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Clients that had to wait for a thread, and those that were turned away.")
        })
        .optional("sess_queued", of("sess_queued"), |n| {
            FieldSpec::derive(n, "queued").info("Sessions that had to wait for a thread")
        })
        .optional("sess_dropped", of("sess_dropped"), |n| {
            FieldSpec::derive(n, "sessions dropped")
                .limits("", "0")
                .info("Sessions turned away, as the queue was full")
        })
        .optional("req_dropped", of("req_dropped"), |n| {
            FieldSpec::derive(n, "requests dropped")
                .limits("", "0")
                .info("HTTP/2 requests turned away, as the queue was full")
        })
        .optional("sess_fail", of("sess_fail"), |n| {
            FieldSpec::derive(n, "not accepted").info("Connections that could not be taken in")
        });
    sheet
        .service("varnish_threads", |n| {
            ServiceSpec::new(n, "Varnish threads", CATEGORY)
                .vlabel("threads")
                .args("-l 0")
                .unscaled()
                .info("Threads that serve clients and fetch from backends.")
        })
        .optional("threads", of("threads"), |n| {
            FieldSpec::gauge(n, "threads").draw(Draw::Area).info("Threads now")
        });
    sheet
        .service("varnish_thread_limits", |n| {
            ServiceSpec::new(n, "Varnish threads missed", CATEGORY)
                .vlabel("per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Times that one more thread was needed and could not be had.")
        })
        .optional("threads_limited", of("threads_limited"), |n| {
            FieldSpec::derive(n, "limit hit")
                .limits("0", "")
                .info("There were as many as may be (thread_pool_max)")
        })
        .optional("threads_failed", of("threads_failed"), |n| {
            FieldSpec::derive(n, "failed").limits("0", "").info("The kernel gave none")
        });
}

fn write_cache(counters: &Counters, sheet: &mut Sheet<'_>) {
    let of = |name: &str| counters.main(name);
    sheet
        .service("varnish_evictions", |n| {
            ServiceSpec::new(n, "Varnish evictions", CATEGORY)
                .vlabel("objects per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Objects that had to go before their time: more storage would keep them.")
        })
        .optional("n_lru_nuked", of("n_lru_nuked"), |n| {
            FieldSpec::derive(n, "evicted").draw(Draw::Area).info("Thrown out to make room")
        })
        .optional("n_lru_limited", of("n_lru_limited"), |n| {
            FieldSpec::derive(n, "in vain").info("Times that too many had to go (nuke_limit)")
        })
        .optional("n_expired", of("n_expired"), |n| {
            FieldSpec::derive(n, "expired").info("Objects whose time was over")
        });
    sheet
        .service("varnish_objects", |n| {
            ServiceSpec::new(n, "Varnish objects", CATEGORY)
                .vlabel("objects")
                .args("-l 0 --base 1000")
                .info("Objects in the cache; those that are known not to be cacheable count too.")
        })
        .optional("n_object", of("n_object"), |n| {
            FieldSpec::gauge(n, "objects").draw(Draw::Area).info("Objects now")
        })
        .optional("n_objecthead", of("n_objecthead"), |n| {
            FieldSpec::gauge(n, "addresses").info("Different addresses of them")
        });
}

fn write_stores(counters: &Counters, names: &mut Names, sheet: &mut Sheet<'_>) {
    let stores: Vec<&str> = counters.stores().collect();
    let fields = names.fields("stores", stores.iter().copied());
    let mut service = sheet.service("varnish_memory_usage", |n| {
        ServiceSpec::new(n, "Varnish storage", CATEGORY)
            .vlabel("bytes")
            .args("-l 0 --base 1024")
            .info(
                "What objects take of each storage, and what is left. A full one is as it \
                 should be, as long as little is evicted. Transient has no limit unless it is \
                 given one.",
            )
    });
    for (field, store) in fields.iter().zip(stores) {
        let name = store.split_once('.').map_or(store, |(_, name)| name);
        let number = |what: &str| counters.of(&format!("{store}.{what}"));
        let old = |what: &str| field.old.as_deref().map(|old| format!("{old}_{what}"));
        for (what, label, info) in
            [("g_bytes", "in use", "Bytes of objects"), ("g_space", "free", "Bytes that are left")]
        {
            service.optional(&format!("{}_{what}", field.name), number(what), |n| {
                FieldSpec::gauge(n, &format!("{name} {label}"))
                    .draw(Draw::AreaStack)
                    .info(info)
                    .formerly(old(what).as_deref())
            });
        }
    }
}

fn write_connections(counters: &Counters, sheet: &mut Sheet<'_>) {
    let of = |name: &str| counters.main(name);
    sheet
        .service("varnish_backend_traffic", |n| {
            ServiceSpec::new(n, "Varnish backend connections", CATEGORY)
                .vlabel("per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Connections to backends, and what became of attempts to get one.")
        })
        .optional("backend_conn", of("backend_conn"), |n| {
            FieldSpec::derive(n, "new").info("Connections that were opened")
        })
        .optional("backend_reuse", of("backend_reuse"), |n| {
            FieldSpec::derive(n, "used again").info("Requests on a connection that was open")
        })
        .optional("backend_req", of("backend_req"), |n| {
            FieldSpec::derive(n, "requests").info("Requests to backends")
        })
        .optional("backend_busy", of("backend_busy"), |n| {
            let info = "Not tried: as many connections as may be (.max_connections)";
            FieldSpec::derive(n, "busy").limits("0", "").info(info)
        })
        .optional("backend_fail", of("backend_fail"), |n| {
            FieldSpec::derive(n, "failed").limits("0", "").info("Connections that failed")
        })
        .optional("backend_unhealthy", of("backend_unhealthy"), |n| {
            FieldSpec::derive(n, "sick").limits("0", "").info("Not tried: its probe fails")
        })
        .optional("backend_retry", of("backend_retry"), |n| {
            FieldSpec::derive(n, "tried again").info("On a new connection, as the old one broke")
        })
        .optional("fetch_failed", of("fetch_failed"), |n| {
            FieldSpec::derive(n, "fetch failed").info("Responses that could not be read whole")
        });
}

fn shown<'b, 'a>(all: &'b [Backend<'a>]) -> &'b [Backend<'a>] {
    &all[..all.len().min(BACKENDS_MAX)]
}

fn write_backends(counters: &Counters, all: &[Backend<'_>], sheet: &mut Sheet<'_>) {
    let list = shown(all);
    let cut = |info: &str| match all.len() {
        n if n > BACKENDS_MAX => format!("{info} Only the first {BACKENDS_MAX} of {n} are shown."),
        _ => info.to_owned(),
    };
    let mut service = sheet.service("varnish_backend_requests", |n| {
        ServiceSpec::new(n, "Varnish backend requests", CATEGORY)
            .vlabel("requests per ${graph_period}")
            .args("-l 0 --base 1000")
            .info(&cut("Requests to each backend."))
    });
    for backend in counted(list, |backend| counters.sum(backend, "req")) {
        service.field(&backend.field.name, counters.sum(backend, "req"), |n| {
            let spec = FieldSpec::derive(n, backend.name).draw(Draw::AreaStack);
            backend.field.announce(spec.info("Requests to it"))
        });
    }
    let mut service = sheet.service("varnish_backend_conns", |n| {
        ServiceSpec::new(n, "Varnish backend connections in use", CATEGORY)
            .vlabel("connections")
            .args("-l 0")
            .unscaled()
            .info(&cut("Connections to each backend on which a request is under way."))
    });
    for backend in counted(list, |backend| counters.sum(backend, "conn")) {
        service.field(&backend.field.name, counters.sum(backend, "conn"), |n| {
            let spec = FieldSpec::gauge(n, backend.name).draw(Draw::AreaStack);
            backend.field.announce(spec.info("Connections in use now"))
        });
    }
    let mut service = sheet.service("varnish_backend_errors", |n| {
        ServiceSpec::new(n, "Varnish backend errors", CATEGORY)
            .vlabel("errors per ${graph_period}")
            .args("-l 0 --base 1000")
            .info(&cut(
                "Requests that did not get through to each backend: its connection failed, it \
                 is sick, busy, or failed a moment ago.",
            ))
    });
    for backend in counted(list, |backend| errors(counters, backend)) {
        service.field(&backend.field.name, errors(counters, backend), |n| {
            let spec = FieldSpec::derive(n, backend.name);
            backend.field.announce(spec.info("Requests that did not get through"))
        });
    }
}

/// Two VCLs in use may each have a backend of one name: the worst counts, and
/// each has a field of its own beside.
fn write_health(
    counters: &Counters,
    all: &[Backend<'_>],
    probed: &mut BTreeSet<String>,
    names: &mut Names,
    sheet: &mut Sheet<'_>,
) {
    let mut service = sheet.service("varnish_backend_health", |n| {
        ServiceSpec::new(n, "Varnish backend health", CATEGORY)
            .vlabel("good probes of 8")
            .args("-l 0 -u 8")
            .unscaled()
            .info(
                "How many of the last 8 probes of each backend were good. By default one with \
                 less than 3 is sick, and gets no requests. Those without a probe, or that were \
                 never well since the agent's start, are left out; some versions (7.7) count \
                 one without a probe as always well.",
            )
    });
    for backend in shown(all) {
        let places = counters.health(backend, probed);
        let Some(worst) = places.iter().map(|(_, good)| *good).min() else { continue };
        service.field(&backend.field.name, Some(worst), |n| {
            let spec = FieldSpec::gauge(n, backend.name).limits("6:", "3:");
            backend.field.announce(spec.info("Good ones of the last 8; in several VCLs the worst"))
        });
        if places.len() < 2 {
            continue;
        }
        let full = |vcl: &str| format!("{}_in_{vcl}", backend.name);
        let raws: Vec<String> = places.iter().map(|(place, _)| full(place.vcl)).collect();
        let fields = names.fields("backends by VCL", raws.iter().map(String::as_str));
        for (field, (place, good)) in fields.iter().zip(&places) {
            service.field(&field.name, Some(*good), |n| {
                let label = format!("{} (VCL {})", backend.name, place.vcl);
                field.announce(FieldSpec::gauge(n, &label).info("Good ones of the last 8"))
            });
        }
    }
}

/// These backends, or none of them where the version has not this counter (4.0 counts
/// hardly anything of a backend): a graph without a line says nothing.
fn counted<'b>(
    list: &'b [Backend<'b>],
    count: impl Fn(&Backend<'_>) -> Option<u64>,
) -> impl Iterator<Item = &'b Backend<'b>> {
    let any = list.iter().any(|backend| count(backend).is_some());
    list.iter().filter(move |_| any)
}

fn errors(counters: &Counters, backend: &Backend<'_>) -> Option<u64> {
    let sum = |kinds: &[&str]| {
        kinds.iter().filter_map(|k| counters.sum(backend, k)).reduce(u64::saturating_add)
    };
    // `fail` is to be the sum of its reasons, but 7.1 counts only these, and
    // 6.0 has none.
    let failed = sum(&["fail"]).max(sum(&REASONS));
    let others = sum(&["unhealthy", "busy", "helddown"]);
    failed.into_iter().chain(others).reduce(u64::saturating_add)
}

/// Why a connection failed.
const REASONS: [&str; 6] = [
    "fail_eacces",
    "fail_eaddrnotavail",
    "fail_econnrefused",
    "fail_enetunreach",
    "fail_etimedout",
    "fail_other",
];
