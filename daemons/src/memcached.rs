//! memcached, by `stats` and `stats slabs` of its text protocol
//! (doc/protocol.txt of its source). One connection is kept.

use crate::support::{Daemon, Link, Odd, Place, Ratio, Sheet, Stats, number, probe, settings};
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "memcached",
    about: "hit ratio, requests, evictions, memory, connections, slabs (stats, port 11211)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let usual = ["127.0.0.1:11211", "/run/memcached/memcached.sock"];
        let place = Place::new("memcached", table, own.address.as_deref(), &usual, 11211)?;
        let (hit_ratio, odd) = (Ratio::default(), Odd::default());
        Ok(probe(Memcached { place, link: None, hit_ratio, odd }))
    },
};

const CATEGORY: &str = "memcached";
/// What a refusal begins with.
const ERRORS: &[&str] = &["ERROR", "CLIENT_ERROR", "SERVER_ERROR"];

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
}

struct Memcached {
    place: Place,
    link: Option<Link>,
    hit_ratio: Ratio,
    odd: Odd,
}

impl Daemon for Memcached {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let mut link = Link::again(&mut self.link, &self.place)?;
        let stats = link.ask(b"stats\r\n", b"END\r\n", ERRORS)?;
        let slabs = link.ask(b"stats slabs\r\n", b"END\r\n", ERRORS)?;
        self.odd.begin();
        let stats = parse(&stats, &mut self.odd);
        if stats.text("cmd_get").is_none() {
            return Err(link.failed("its stats have no cmd_get: is it a memcached?"));
        }
        let (hits, gets) = (stats.count("get_hits"), stats.sum("get_hits", "get_misses"));
        write(&stats, self.hit_ratio.next(hits, gets), sheet);
        write_slabs(&parse(&slabs, &mut self.odd), sheet);
        self.odd.write("memcached", CATEGORY, sheet);
        self.link = Some(link);
        Ok(())
    }
}

/// `STAT name value` lines. A value may be empty.
fn parse<'a>(text: &'a str, odd: &mut Odd) -> Stats<'a> {
    let is_other = |line: &&str| line.is_empty() || *line == "END" || line.starts_with("STAT ");
    text.lines().filter(|line| !is_other(line)).for_each(|line| odd.left_out(line));
    Stats::parse(text, |line| line.strip_prefix("STAT ")?.split_once(' '))
}

fn write(stats: &Stats<'_>, hit_ratio: Option<f64>, sheet: &mut Sheet<'_>) {
    let of = |name: &str| stats.count(name);
    let version = stats.text("version").unwrap_or("of unknown version");
    sheet.note(version);
    sheet
        .service("memcached_hits", |n| {
            ServiceSpec::new(n, "memcached hit ratio", CATEGORY)
                .vlabel("% of gets")
                .args("-l 0 -u 100")
                .unscaled()
                .info(&format!(
                    "memcached {version}. How many of the gets between two readings found what \
                     they asked for; nothing is drawn while nobody asks."
                ))
        })
        .field("hit_ratio", hit_ratio, |n| {
            FieldSpec::gauge(n, "hit ratio")
                .draw(Draw::Area)
                .info("Gets that were hits, in percent of all gets of the interval")
        });
    sheet
        .service("memcached_rates", |n| {
            ServiceSpec::new(n, "memcached requests", CATEGORY)
                .vlabel("per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("What clients ask for. Hits and misses together are the gets.")
        })
        .optional("memcache_cache_hits", of("get_hits"), |n| {
            FieldSpec::derive(n, "hits").draw(Draw::Area).info("Gets that found their key")
        })
        .optional("memcache_cache_misses", of("get_misses"), |n| {
            let info = "Gets that did not: each mostly costs a query of the database behind";
            FieldSpec::derive(n, "misses").draw(Draw::Stack).info(info)
        })
        .optional("memcache_cmd_get", of("cmd_get"), |n| {
            FieldSpec::derive(n, "gets").info("Keys that were asked for")
        })
        .optional("memcache_cmd_set", of("cmd_set"), |n| {
            FieldSpec::derive(n, "sets").info("Values that were stored")
        })
        .optional("memcache_total_connections", of("total_connections"), |n| {
            let info = "Connections that were opened: many mean that clients do not keep them";
            FieldSpec::derive(n, "new connections").info(info)
        })
        .optional("memcache_total_items", of("total_items"), |n| {
            FieldSpec::derive(n, "new items").info("Items that were taken in")
        });
    sheet
        .service("memcached_bytes", |n| {
            ServiceSpec::new(n, "memcached traffic", CATEGORY)
                .vlabel("bytes in (-) / out (+) per ${graph_period}")
                .args("--base 1024")
                .info("What goes to and from clients.")
        })
        .optional("memcache_bytes_read", of("bytes_read"), |n| {
            FieldSpec::derive(n, "received").hidden().info("Bytes that came from clients")
        })
        .optional("memcache_bytes_written", of("bytes_written"), |n| {
            FieldSpec::derive(n, "sent")
                .negative("memcache_bytes_read")
                .info("Bytes that went to clients")
        });
    sheet
        .service("memcached_memory", |n| {
            ServiceSpec::new(n, "memcached memory", CATEGORY)
                .vlabel("bytes")
                .args("-l 0 --base 1024")
                .info(
                    "What items take of the memory that memcached may use. A full one is as it \
                     should be, as long as little is evicted.",
                )
        })
        .optional("bytes", of("bytes"), |n| {
            FieldSpec::gauge(n, "in use").draw(Draw::Area).info("Bytes of stored items")
        })
        .optional("limit_maxbytes", of("limit_maxbytes"), |n| {
            FieldSpec::gauge(n, "limit").info("Bytes that it may use (-m)")
        });
    sheet
        .service("memcached_counters", |n| {
            ServiceSpec::new(n, "memcached items", CATEGORY)
                .vlabel("items")
                .args("-l 0 --base 1000")
                .info("Items that are stored. Expired ones count until they are come across.")
        })
        .optional("memcache_curr_items", of("curr_items"), |n| {
            FieldSpec::gauge(n, "items").draw(Draw::Area).info("Items now")
        });
    sheet
        .service("memcached_evictions", |n| {
            ServiceSpec::new(n, "memcached evictions", CATEGORY)
                .vlabel("items per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Items that had to go before their time: more memory would keep them.")
        })
        .optional("evictions", of("evictions"), |n| {
            FieldSpec::derive(n, "evicted").draw(Draw::Area).info("Thrown out to make room")
        })
        .optional("evicted_unfetched", of("evicted_unfetched"), |n| {
            FieldSpec::derive(n, "never fetched").info("Of these, never asked for by anyone")
        })
        .optional("reclaimed", of("reclaimed"), |n| {
            FieldSpec::derive(n, "expired").info("Places that were taken over from expired items")
        });
    write_connections(stats, sheet);
}

fn write_connections(stats: &Stats<'_>, sheet: &mut Sheet<'_>) {
    let of = |name: &str| stats.count(name);
    let max = of("max_connections").map(|n| format!(", of at most {n} (-c)")).unwrap_or_default();
    sheet.note(&max);
    sheet
        .service("memcached_connections", |n| {
            ServiceSpec::new(n, "memcached connections", CATEGORY)
                .vlabel("connections")
                .args("-l 0")
                .unscaled()
                .info("Open connections; above the limit (-c) clients have to wait.")
        })
        .optional("curr_connections", of("curr_connections"), |n| {
            FieldSpec::gauge(n, "open").draw(Draw::Area).info(&format!("Connections now{max}"))
        })
        .optional("max_connections", of("max_connections"), |n| {
            // Drawn, it would press all else to the ground.
            FieldSpec::gauge(n, "limit").hidden().info("Connections that it takes (-c)")
        });
    sheet
        .service("memcached_refused", |n| {
            ServiceSpec::new(n, "memcached refusals", CATEGORY)
                .vlabel("per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Times that clients had to wait or were turned away.")
        })
        .optional("listen_disabled_num", of("listen_disabled_num"), |n| {
            FieldSpec::derive(n, "limit hit")
                .limits("0", "")
                .info("Times that the limit of connections was reached")
        })
        .optional("rejected_connections", of("rejected_connections"), |n| {
            FieldSpec::derive(n, "rejected")
                .info("Connections that were closed at once (maxconns_fast)")
        })
        .optional("conn_yields", of("conn_yields"), |n| {
            let info = "Times that one connection had so much to say that others went first";
            FieldSpec::derive(n, "yields").info(info)
        });
}

/// Per slab class: how full it is, and how often it is asked.
fn write_slabs(stats: &Stats<'_>, sheet: &mut Sheet<'_>) {
    let mut classes: Vec<u64> =
        stats.iter().filter_map(|(k, _)| number(k.split_once(':')?.0.as_bytes())).collect();
    classes.sort_unstable();
    classes.dedup();
    let of = |class: u64, name: &str| stats.count(&format!("{class}:{name}"));
    let size = |class: u64| of(class, "chunk_size").unwrap_or(0);
    // They stand in the labels; a restart with another -f makes other classes.
    classes.iter().for_each(|class| sheet.note(&size(*class).to_string()));
    let mut service = sheet.service("memcached_slabs", |n| {
        ServiceSpec::new(n, "memcached memory by item size", CATEGORY)
            .vlabel("bytes")
            .args("-l 0 --base 1024")
            .info("Memory in use by items, for each size of place (slab class).")
    });
    for &class in &classes {
        let used = of(class, "used_chunks").map(|n| n.saturating_mul(size(class)));
        service.field(&format!("slab_{class}"), used, |n| {
            FieldSpec::gauge(n, &format!("up to {} bytes", size(class)))
                .draw(Draw::AreaStack)
                .info("Bytes of places that hold an item")
        });
    }
    let mut service = sheet.service("memcached_slab_hits", |n| {
        ServiceSpec::new(n, "memcached hits by item size", CATEGORY)
            .vlabel("hits per ${graph_period}")
            .args("-l 0 --base 1000")
            .info("Which sizes of items are asked for, for each size of place (slab class).")
    });
    for &class in &classes {
        service.field(&format!("slab_{class}"), of(class, "get_hits"), |n| {
            FieldSpec::derive(n, &format!("up to {} bytes", size(class)))
                .draw(Draw::AreaStack)
                .info("Gets that were hits in this class")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{ask, make, reply, serve};
    use rookery_plugins::Value;
    use std::io::{BufRead, BufReader, Write};

    /// Answers `stats` and `stats slabs`, each time from the next recording.
    fn recorded(replies: &'static [(&'static str, &'static str)]) -> String {
        serve(move |s| {
            let mut lines = BufReader::new(s.try_clone().expect("clones")).lines();
            let mut to = s;
            for (stats, slabs) in replies {
                for text in [stats, slabs] {
                    if lines.next().is_none() {
                        return;
                    }
                    to.write_all(
                        reply(text).replace("\r\n", "\n").replace('\n', "\r\n").as_bytes(),
                    )
                    .expect("writes");
                }
            }
        })
    }

    const ONE: (&str, &str) = ("memcached/1.stats.txt", "memcached/1.stats_slabs.txt");
    const TWO: (&str, &str) = ("memcached/2.stats.txt", "memcached/2.stats_slabs.txt");

    #[test]
    fn a_recorded_one_is_read() {
        let at = recorded(&[ONE, TWO]);
        let mut probe = make("memcached", &format!("address = {at:?}"));
        let (specs, values) = ask(probe.as_mut()).expect("answers");
        assert_eq!(specs[0].name, "memcached_hits");
        assert!(specs[0].info.starts_with("memcached 1.6.18. "));
        for (name, want) in [
            ("memcached_rates.memcache_cache_hits", 1840),
            ("memcached_rates.memcache_cmd_set", 3001),
            ("memcached_memory.limit_maxbytes", 8_388_608),
            ("memcached_evictions.evictions", 1160),
            ("memcached_slab_hits.slab_18", 1840),
        ] {
            assert_eq!(values[name], Value::Int(want), "{name}");
        }
        assert_eq!(values["memcached_hits.hit_ratio"], Value::Unknown);
        let (_, values) = ask(probe.as_mut()).expect("answers again");
        let text = reply(TWO.0);
        let second = parse(&text, &mut Odd::default());
        let of = |name: &str| second.count(name).expect("a number") as f64;
        let hits = of("get_hits") - 1840.0;
        let want = 100.0 * hits / (hits + of("get_misses") - 2160.0);
        assert_eq!(values["memcached_hits.hit_ratio"], Value::Float(want));
    }

    #[test]
    fn foreign_cut_and_refusing_ones_give_errors() {
        for (text, want) in [
            ("HTTP/1.1 400 Bad Request\r\n\r\n", "hung up"),
            ("STAT cmd_get 1\r\nSTAT get_h", "hung up after"),
            ("ERROR\r\n", "it answers \"ERROR\""),
            ("END\r\nEND\r\n", "hung up"),
            ("", "hung up after 0 bytes"),
        ] {
            let at = serve(move |mut s| s.write_all(text.as_bytes()).expect("writes"));
            let mut probe = make("memcached", &format!("address = {at:?}"));
            let error = ask(probe.as_mut()).expect_err(text).to_string();
            let named = error.starts_with(&format!("memcached at {at}: "));
            // It may be gone before the second question.
            let gone = error.contains("reset") || error.contains("Broken pipe");
            assert!(named && (error.contains(want) || gone), "{error}");
        }
    }

    #[test]
    fn an_old_one_has_less_and_is_not_unknown_for_it() {
        let at = serve(|mut s| {
            let stats = "STAT version 1.2.2\r\nSTAT cmd_get 5\r\nSTAT get_hits 3\r\nEND\r\n";
            let mut lines = BufReader::new(s.try_clone().expect("clones")).lines();
            for text in [stats, "END\r\n"] {
                let _ = lines.next();
                s.write_all(text.as_bytes()).expect("writes");
            }
        });
        let mut probe = make("memcached", &format!("address = {at:?}"));
        let (specs, values) = ask(probe.as_mut()).expect("answers");
        assert!(!values.contains_key("memcached_evictions.evictions"), "no count of its own");
        assert!(!values.contains_key("memcached_refused.listen_disabled_num"), "nor a limit on it");
        assert_eq!(values["memcached_rates.memcache_cmd_get"], Value::Int(5));
        assert!(specs.iter().all(|s| s.name != "memcached_slabs"));
    }
}
