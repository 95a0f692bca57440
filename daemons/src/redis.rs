//! Redis (and Valkey), by `INFO` of its protocol
//! (https://redis.io/docs/latest/commands/info/). One connection is kept.
//!
//! The reply is one bulk string: `$LENGTH`, the text, an empty line (RESP2).

use crate::support::{Daemon, Link, Place, Ratio, Secret, Sheet, Stats, number, probe, settings};
use rookery_plugins::names::clean_field;
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "redis",
    about: "commands, hit ratio, memory, clients, keys, replication (INFO, port 6379)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let usual = ["/run/redis/redis-server.sock", "127.0.0.1:6379"];
        let place = Place::new("redis", table, own.address.as_deref(), &usual, 6379)?;
        let secret = Secret {
            password: own.password,
            password_file: own.password_file,
            password_env: own.password_env,
        };
        let login = Login { user: own.user, secret };
        Ok(probe(Redis { place, login, link: None, hit_ratio: Ratio::default() }))
    },
};

const CATEGORY: &str = "redis";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
    user: Option<String>,
    password: Option<String>,
    password_file: Option<std::path::PathBuf>,
    password_env: Option<String>,
}

struct Login {
    user: Option<String>,
    secret: Secret,
}

struct Redis {
    place: Place,
    login: Login,
    link: Option<Link>,
    hit_ratio: Ratio,
}

impl Daemon for Redis {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let mut link = match Link::still(&mut self.link, &self.place) {
            Some(link) => link,
            None => self.login.enter(Link::open(&self.place)?)?,
        };
        let text = info(&mut link)?;
        let stats = parse(&text);
        if stats.text("redis_version").is_none() {
            return Err(link.failed("its INFO has no redis_version: is it a Redis?"));
        }
        let gets = stats.sum("keyspace_hits", "keyspace_misses");
        let ratio = self.hit_ratio.next(stats.count("keyspace_hits"), gets);
        write_use(&stats, ratio, sheet);
        write_memory(&stats, sheet);
        write_keys(&stats, sheet);
        write_replication(&stats, sheet);
        self.link = Some(link);
        Ok(())
    }
}

impl Login {
    fn enter(&self, mut link: Link) -> Result<Link, ProbeError> {
        let Some(password) = self.secret.read()? else { return Ok(link) };
        let mut words = vec!["AUTH"];
        words.extend(self.user.as_deref());
        words.push(&password);
        link.send(command(&words).as_bytes())?;
        let reply = link.read_until(line_end)?;
        match reply.starts_with(b"+OK") {
            true => Ok(link),
            false => Err(refused(&link, &String::from_utf8_lossy(&reply))),
        }
    }
}

/// A command as an array of bulk strings, so that no password can end early.
fn command(words: &[&str]) -> String {
    let bulk = |word: &&str| format!("${}\r\n{word}\r\n", word.len());
    format!("*{}\r\n{}", words.len(), words.iter().map(bulk).collect::<String>())
}

fn line_end(text: &[u8]) -> Option<usize> {
    text.windows(2).position(|w| w == b"\r\n").map(|at| at + 2)
}

/// An error reply, with what to do about it.
fn refused(link: &Link, reply: &str) -> ProbeError {
    let line = reply.trim_start_matches('-').lines().next().unwrap_or("");
    let line: String = line.chars().filter(|c| !c.is_control()).take(120).collect();
    let remedy = match line.split(' ').next().unwrap_or("") {
        "NOAUTH" => {
            "; it wants a password: set password_file (and user) in [probe.redis] of agent.toml"
        }
        "WRONGPASS" => "; see user and password_file in [probe.redis] of agent.toml",
        "NOPERM" => "; allow it there: ACL SETUSER rookery on >PASSWORD +info",
        _ => "",
    };
    link.failed(format!("it answers {line:?}{remedy}"))
}

fn info(link: &mut Link) -> Result<String, ProbeError> {
    link.send(command(&["INFO"]).as_bytes())?;
    let reply = link.read_until(|text| bulk_end(text).unwrap_or(Some(text.len())))?;
    match bulk_end(&reply) {
        Ok(Some(end)) => {
            let from = line_end(&reply).unwrap_or(0);
            Ok(String::from_utf8_lossy(&reply[from..end - 2]).into_owned())
        }
        _ => Err(refused(link, &String::from_utf8_lossy(&reply))),
    }
}

/// Where a bulk string ends, `None` while it has not; an error if it is none.
fn bulk_end(text: &[u8]) -> Result<Option<usize>, ()> {
    if text.first().is_some_and(|b| *b != b'$') {
        // An error is a line; half of it is not yet one.
        return if line_end(text).is_some() { Err(()) } else { Ok(None) };
    }
    let Some(line) = line_end(text) else { return Ok(None) };
    let length = number(&text[1..line - 2]).and_then(|n| usize::try_from(n).ok()).ok_or(())?;
    let end = length.checked_add(line + 2).ok_or(())?;
    Ok((text.len() >= end).then_some(end))
}

fn parse(text: &str) -> Stats<'_> {
    Stats::parse(text, |line| line.split_once(':'))
}

/// `key=value` in a value such as `keys=5,expires=0,avg_ttl=0`.
fn part<'a>(value: &'a str, key: &str) -> Option<&'a str> {
    value.split(',').find_map(|part| part.strip_prefix(key)?.strip_prefix('='))
}

fn write_use(stats: &Stats<'_>, hit_ratio: Option<f64>, sheet: &mut Sheet<'_>) {
    let of = |name: &str| stats.count(name);
    // Valkey says of itself for old clients' sake that it is Redis 7.2.4.
    let (name, version) = match stats.text("valkey_version") {
        Some(version) => ("Valkey", version),
        None => ("Redis", stats.text("redis_version").unwrap_or("")),
    };
    sheet.note(version);
    sheet
        .service("redis_per_sec", |n| {
            ServiceSpec::new(n, "Redis commands", CATEGORY)
                .vlabel("per ${graph_period}")
                .args("-l 0 --base 1000")
                .info(&format!("{name} {version}. What clients ask for, and how often they come."))
        })
        .field("requests", of("total_commands_processed"), |n| {
            FieldSpec::derive(n, "commands").draw(Draw::Area).info("Commands that were done")
        })
        .field("connections", of("total_connections_received"), |n| {
            let info = "Connections that were opened: many mean that clients do not keep them";
            FieldSpec::derive(n, "new connections").info(info)
        })
        .field("rejected", of("rejected_connections"), |n| {
            FieldSpec::derive(n, "rejected")
                .limits("0", "")
                .info("Connections that were closed at once, as maxclients was reached")
        });
    sheet
        .service("redis_key_ratio", |n| {
            ServiceSpec::new(n, "Redis hit ratio", CATEGORY)
                .vlabel("% of lookups")
                .args("-l 0 -u 100")
                .unscaled()
                .info("How many lookups of keys between two readings found them.")
        })
        .field("hitratio", hit_ratio, |n| {
            FieldSpec::gauge(n, "hit ratio")
                .draw(Draw::Area)
                .info("Lookups that were hits, in percent of all of the interval")
        });
    sheet
        .service("redis_keys_per_sec", |n| {
            ServiceSpec::new(n, "Redis lookups", CATEGORY)
                .vlabel("keys per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Keys that were looked up, and keys that went.")
        })
        .field("hits", of("keyspace_hits"), |n| {
            FieldSpec::derive(n, "hits").draw(Draw::Area).info("Lookups that found their key")
        })
        .field("misses", of("keyspace_misses"), |n| {
            FieldSpec::derive(n, "misses").draw(Draw::Stack).info("Lookups that did not")
        })
        .field("expired", of("expired_keys"), |n| {
            FieldSpec::derive(n, "expired").info("Keys whose time was over")
        })
        .field("evicted_keys", of("evicted_keys"), |n| {
            let info = "Keys thrown out before their time to make room: more memory keeps them";
            FieldSpec::derive(n, "evicted").info(info)
        });
    let max = of("maxclients").map(|n| format!("; at most {n} (maxclients)")).unwrap_or_default();
    sheet.note(&max);
    sheet
        .service("redis_connected_clients", |n| {
            ServiceSpec::new(n, "Redis clients", CATEGORY)
                .vlabel("clients")
                .args("-l 0")
                .unscaled()
                .info("Connected clients; above maxclients new ones are turned away.")
        })
        .field("connected_clients", of("connected_clients"), |n| {
            FieldSpec::gauge(n, "connected")
                .draw(Draw::Area)
                .info(&format!("Clients now, replicas apart{max}"))
        })
        .field("blocked_clients", of("blocked_clients"), |n| {
            FieldSpec::gauge(n, "blocked").info("Waiting in a blocking call (BLPOP and such)")
        })
        .field("maxclients", of("maxclients"), |n| {
            // Drawn, it would press all else to the ground.
            FieldSpec::gauge(n, "limit").hidden().info("The most clients (maxclients)")
        });
}

fn write_memory(stats: &Stats<'_>, sheet: &mut Sheet<'_>) {
    let of = |name: &str| stats.count(name);
    sheet
        .service("redis_used_memory", |n| {
            ServiceSpec::new(n, "Redis memory", CATEGORY)
                .vlabel("bytes")
                .args("-l 0 --base 1024")
                .info(
                    "Memory of the data, and of the process. Much more of the latter means that \
                     memory is fragmented; less, that the machine swaps.",
                )
        })
        .field("used_memory", of("used_memory"), |n| {
            FieldSpec::gauge(n, "data").draw(Draw::Area).info("Bytes that Redis has allocated")
        })
        .field("used_memory_rss", of("used_memory_rss"), |n| {
            FieldSpec::gauge(n, "process").info("Bytes of the process in memory (RSS)")
        })
        .field("maxmemory", of("maxmemory").filter(|m| *m > 0), |n| {
            FieldSpec::gauge(n, "limit").info("maxmemory; unknown where there is no limit")
        });
    sheet
        .service("redis_persistence", |n| {
            ServiceSpec::new(n, "Redis unsaved changes", CATEGORY)
                .vlabel("changes")
                .args("-l 0 --base 1000")
                .info("Changes since the last save: what a crash costs where no AOF is kept.")
        })
        .field("changes", of("rdb_changes_since_last_save"), |n| {
            FieldSpec::gauge(n, "unsaved").draw(Draw::Area).info("Changes since the last RDB save")
        });
    let failed = |name: &str| stats.text(name).map(|text| u64::from(text != "ok"));
    sheet
        .service("redis_save_failed", |n| {
            ServiceSpec::new(n, "Redis failed saves", CATEGORY)
                .vlabel("1 = the last one failed")
                .args("-l 0 -u 1")
                .unscaled()
                .info("Whether the last save to disk failed: then Redis may refuse to write.")
        })
        .field("rdb", failed("rdb_last_bgsave_status"), |n| {
            FieldSpec::gauge(n, "RDB save").limits("", "0").info("The last background save")
        })
        .field("aof", failed("aof_last_write_status"), |n| {
            FieldSpec::gauge(n, "AOF write").limits("", "0").info("The last write of the log")
        });
}

fn write_keys(stats: &Stats<'_>, sheet: &mut Sheet<'_>) {
    let mut dbs: Vec<(u64, &str)> = stats
        .iter()
        .filter_map(|(name, value)| Some((number(name.strip_prefix("db")?.as_bytes())?, value)))
        .collect();
    dbs.sort_unstable();
    let mut service = sheet.service("redis_used_keys", |n| {
        ServiceSpec::new(n, "Redis keys", CATEGORY)
            .vlabel("keys")
            .args("-l 0 --base 1000")
            .info("Keys of each database.")
    });
    for (db, value) in dbs {
        let keys = part(value, "keys").and_then(|n| number(n.as_bytes()));
        service.field(&format!("db{db}"), keys, |n| {
            FieldSpec::gauge(n, &format!("database {db}"))
                .draw(Draw::AreaStack)
                .info("Keys in it, expired ones until they are come across")
        });
    }
}

/// A primary tells how far behind each replica is, a replica whether its link
/// is up.
fn write_replication(stats: &Stats<'_>, sheet: &mut Sheet<'_>) {
    let replica = stats.text("role") == Some("slave");
    if replica {
        let up = stats.text("master_link_status").map(|s| u64::from(s == "up"));
        sheet
            .service("redis_repl_link", |n| {
                ServiceSpec::new(n, "Redis link to the primary", CATEGORY)
                    .vlabel("1 = up")
                    .args("-l 0 -u 1")
                    .unscaled()
                    .info("Whether this replica hears its primary. While not, its data gets old.")
            })
            .field("up", up, |n| FieldSpec::gauge(n, "up").limits("", "1:").info("1: it does"));
        sheet
            .service("redis_repl_silence", |n| {
                ServiceSpec::new(n, "Redis silence of the primary", CATEGORY)
                    .vlabel("seconds")
                    .args("-l 0")
                    .unscaled()
                    .info("How long this replica has not heard its primary.")
            })
            .field("last_io", stats.count("master_last_io_seconds_ago"), |n| {
                FieldSpec::gauge(n, "silence").draw(Draw::Area).info("Unknown while it is down")
            });
    }
    let mut replicas: Vec<(String, &str)> = stats
        .iter()
        .filter(|(name, value)| name.starts_with("slave") && value.starts_with("ip="))
        .map(|(_, v)| {
            let of = |key| part(v, key).unwrap_or("");
            (format!("{}:{}", of("ip"), of("port")), v)
        })
        .collect();
    replicas.sort_unstable();
    let offset = stats.count("master_repl_offset");
    let mut service = sheet.service("redis_repl_lag", |n| {
        ServiceSpec::new(n, "Redis replicas' lag", CATEGORY)
            .vlabel("bytes behind")
            .args("-l 0 --base 1024")
            .info("How much of what this primary has said each replica has not taken in yet.")
    });
    for (name, value) in replicas {
        let behind = part(value, "offset")
            .and_then(|n| number(n.as_bytes()))
            .and_then(|at| Some(offset?.saturating_sub(at)));
        service.field(&clean_field(&format!("replica_{name}")), behind, |n| {
            FieldSpec::gauge(n, &name).info("Bytes of the stream that it lacks")
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{ask, make, reply, serve};
    use proptest::prelude::*;
    use rookery_plugins::Value;
    use std::io::{Read, Write};

    /// One that answers every command with the next of these.
    fn answering(replies: Vec<String>) -> String {
        serve(move |mut s| {
            let mut question = [0; 4096];
            for reply in &replies {
                if s.read(&mut question).is_ok_and(|n| n > 0) {
                    s.write_all(reply.as_bytes()).expect("writes");
                }
            }
        })
    }

    fn bulk(text: &str) -> String {
        format!("${}\r\n{text}\r\n", text.len())
    }

    fn said(replies: Vec<String>, more: &str) -> Result<crate::support::testing::Said, ProbeError> {
        let at = answering(replies);
        ask(make("redis", &format!("address = {at:?}\n{more}")).as_mut())
    }

    #[test]
    fn a_recorded_primary_and_replica_are_read() {
        let (specs, values) = said(vec![bulk(&reply("redis/1.info.txt"))], "").expect("answers");
        assert!(specs[0].info.starts_with("Redis 7.0.15. "));
        for (name, want) in [
            ("redis_per_sec.requests", 60_117),
            ("redis_keys_per_sec.evicted_keys", 14_217),
            ("redis_used_memory.maxmemory", 6_291_456),
            ("redis_repl_lag.replica_127_0_0_1_16380", 0),
            ("redis_save_failed.rdb", 0),
        ] {
            assert_eq!(values.get(name), Some(&Value::Int(want)), "{name}: {values:?}");
        }
        assert!(!values.contains_key("redis_repl_link.up"));
        let text = reply("redis/1.replica_info.txt");
        let (_, values) = said(vec![bulk(&text)], "").expect("answers");
        assert_eq!(values["redis_repl_link.up"], Value::Int(1));
        let down = text.replace("master_link_status:up", "master_link_status:down");
        let (_, values) = said(vec![bulk(&down)], "").expect("answers");
        assert_eq!(values["redis_repl_link.up"], Value::Int(0));
    }

    #[test]
    fn refusals_say_what_to_do() {
        for (replies, more, want) in [
            (vec!["-NOAUTH Authentication required.\r\n"], "", "set password_file"),
            (vec!["-WRONGPASS invalid\r\n"], "password = \"x\"", "see user and password_file"),
            (vec!["+OK\r\n", "-NOPERM no\r\n"], "password = \"x\"", "ACL SETUSER rookery"),
            (vec!["HTTP/1.1 400 Bad Request\r\n\r\n"], "", "it answers \"HTTP/1.1 400"),
            (vec!["$5\r\nhello\r\n"], "", "is it a Redis?"),
            (vec!["$99\r\nredis_version:7\r\n"], "", "hung up after"),
            (vec!["$-1\r\n"], "", "it answers"),
            (vec![""], "", "hung up after 0 bytes"),
        ] {
            let replies = replies.into_iter().map(str::to_owned).collect();
            let error = said(replies, more).expect_err(want).to_string();
            assert!(error.contains(want) && error.starts_with("redis at "), "{error}");
        }
    }

    #[test]
    fn a_password_cannot_end_a_command() {
        assert_eq!(command(&["AUTH", "a\r\nb"]), "*2\r\n$4\r\nAUTH\r\n$4\r\na\r\nb\r\n");
    }

    proptest! {
        #[test]
        fn replies_never_panic(text: Vec<u8>, head in "\\$[0-9]{0,22}\r\n") {
            let _ = bulk_end(&text);
            let whole = [head.as_bytes(), &text].concat();
            if let Ok(Some(end)) = bulk_end(&whole) {
                prop_assert!(end <= whole.len());
            }
        }
    }
}
