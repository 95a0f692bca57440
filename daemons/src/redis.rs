//! Redis (and Valkey), by `INFO` of its protocol
//! (https://redis.io/docs/latest/commands/info/). One connection is kept.
//!
//! The reply is one bulk string: `$LENGTH`, the text, an empty line (RESP2).

mod replication;

use crate::support::{
    Daemon, Link, Names, Odd, Place, Ratio, Secret, Sheet, Stats, number, probe, settings,
};
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
        let (hit_ratio, names, odd) = (Ratio::default(), Names::default(), Odd::default());
        let (link, had_replicas) = (None, false);
        Ok(probe(Redis { place, login, link, hit_ratio, names, odd, had_replicas }))
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
    names: Names,
    odd: Odd,
    /// Whether a replica was connected once.
    had_replicas: bool,
}

impl Daemon for Redis {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let mut link = match Link::still(&mut self.link, &self.place) {
            Some(link) => link,
            None => self.login.enter(Link::open(&self.place)?)?,
        };
        let text = info(&mut link)?;
        self.odd.begin();
        let stats = parse(&text, &mut self.odd);
        if stats.text("redis_version").is_none() {
            return Err(link.failed("its INFO has no redis_version: is it a Redis?"));
        }
        let gets = stats.sum("keyspace_hits", "keyspace_misses");
        let ratio = self.hit_ratio.next(stats.count("keyspace_hits"), gets);
        write_use(&stats, ratio, sheet);
        write_memory(&stats, sheet);
        write_keys(&stats, sheet);
        self.had_replicas |= stats.count("connected_slaves").is_some_and(|n| n > 0);
        replication::write(&text, &stats, self.had_replicas, &mut self.names, sheet);
        self.odd.write("redis", CATEGORY, sheet);
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

/// `name:value` lines, and headings of sections.
fn parse<'a>(text: &'a str, odd: &mut Odd) -> Stats<'a> {
    let is_other = |line: &&str| {
        let line = line.trim();
        line.is_empty() || line.starts_with('#') || line.contains(':')
    };
    text.lines().filter(|line| !is_other(line)).for_each(|line| odd.left_out(line));
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
        .optional("requests", of("total_commands_processed"), |n| {
            FieldSpec::derive(n, "commands").draw(Draw::Area).info("Commands that were done")
        })
        .optional("connections", of("total_connections_received"), |n| {
            let info = "Connections that were opened: many mean that clients do not keep them";
            FieldSpec::derive(n, "new connections").info(info)
        })
        .optional("rejected", of("rejected_connections"), |n| {
            FieldSpec::derive(n, "rejected")
                .limits("0", "")
                .info("Connections that were closed at once, as maxclients was reached")
        });
    let mut service = sheet.service("redis_key_ratio", |n| {
        ServiceSpec::new(n, "Redis hit ratio", CATEGORY)
            .vlabel("% of lookups")
            .args("-l 0 -u 100")
            .unscaled()
            .info("How many lookups of keys between two readings found them.")
    });
    if of("keyspace_hits").is_some() {
        service.field("hitratio", hit_ratio, |n| {
            FieldSpec::gauge(n, "hit ratio")
                .draw(Draw::Area)
                .info("Lookups that were hits, in percent of all of the interval")
        });
    }
    sheet
        .service("redis_keys_per_sec", |n| {
            ServiceSpec::new(n, "Redis lookups", CATEGORY)
                .vlabel("keys per ${graph_period}")
                .args("-l 0 --base 1000")
                .info("Keys that were looked up, and keys that went.")
        })
        .optional("hits", of("keyspace_hits"), |n| {
            FieldSpec::derive(n, "hits").draw(Draw::Area).info("Lookups that found their key")
        })
        .optional("misses", of("keyspace_misses"), |n| {
            FieldSpec::derive(n, "misses").draw(Draw::Stack).info("Lookups that did not")
        })
        .optional("expired", of("expired_keys"), |n| {
            FieldSpec::derive(n, "expired").info("Keys whose time was over")
        })
        .optional("evicted_keys", of("evicted_keys"), |n| {
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
        .optional("connected_clients", of("connected_clients"), |n| {
            FieldSpec::gauge(n, "connected")
                .draw(Draw::Area)
                .info(&format!("Clients now, replicas apart{max}"))
        })
        .optional("blocked_clients", of("blocked_clients"), |n| {
            FieldSpec::gauge(n, "blocked").info("Waiting in a blocking call (BLPOP and such)")
        })
        .optional("maxclients", of("maxclients"), |n| {
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
        .optional("used_memory", of("used_memory"), |n| {
            FieldSpec::gauge(n, "data").draw(Draw::Area).info("Bytes that Redis has allocated")
        })
        .optional("used_memory_rss", of("used_memory_rss"), |n| {
            FieldSpec::gauge(n, "process").info("Bytes of the process in memory (RSS)")
        })
        .optional("maxmemory", of("maxmemory").filter(|m| *m > 0), |n| {
            FieldSpec::gauge(n, "limit").info("maxmemory; left out where there is no limit")
        });
    sheet
        .service("redis_persistence", |n| {
            ServiceSpec::new(n, "Redis unsaved changes", CATEGORY)
                .vlabel("changes")
                .args("-l 0 --base 1000")
                .info("Changes since the last save: what a crash costs where no AOF is kept.")
        })
        .optional("changes", of("rdb_changes_since_last_save"), |n| {
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
        .optional("rdb", failed("rdb_last_bgsave_status"), |n| {
            FieldSpec::gauge(n, "RDB save").limits("", "0").info("The last background save")
        })
        .optional("aof", failed("aof_last_write_status"), |n| {
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
        // KeyDB's active replica is both, and loses its primary all the same.
        for role in ["active-replica", "replica"] {
            let text = down.replace("role:slave", &format!("role:{role}"));
            let (specs, values) = said(vec![bulk(&text)], "").expect("answers");
            assert_eq!(values["redis_repl_link.up"], Value::Int(0), "{role}");
            let link = specs.iter().find(|s| s.name == "redis_repl_link").expect("a service");
            assert_eq!(link.field("up").expect("a field").critical.as_deref(), Some("1:"));
        }
    }

    /// All fields with limits that are unknown.
    fn unknown_under_limits(said: &crate::support::testing::Said) -> Vec<String> {
        let (specs, values) = said;
        let named = specs.iter().flat_map(|s| s.fields.iter().map(move |f| (s, f)));
        let limited = named.filter(|(_, f)| f.warning.is_some() || f.critical.is_some());
        let names = limited.map(|(s, f)| format!("{}.{}", s.name, f.name));
        names.filter(|name| values[name] == Value::Unknown).collect()
    }

    #[test]
    fn a_sentinel_is_judged_by_what_it_watches_and_by_nothing_that_it_lacks() {
        let text = "# Server\r\nredis_version:7.2.4\r\nredis_mode:sentinel\r\n\r\n# Clients\r\n\
                    connected_clients:3\r\n\r\n# Stats\r\ntotal_commands_processed:5\r\n\r\n\
                    # Sentinel\r\nsentinel_masters:3\r\n\
                    master0:name=shop-a,status=ok,address=10.0.0.1:6379,slaves=2,sentinels=3\r\n\
                    master1:name=shop.a,status=odown,address=10.0.0.2:6379,slaves=1,sentinels=3\r\n\
                    master2:name=mail,status=sdown,address=10.0.0.3:6379,slaves=1,sentinels=3\r\n";
        let said = said(vec![bulk(text)], "").expect("answers");
        assert_eq!(unknown_under_limits(&said), [""; 0]);
        let (specs, values) = said;
        assert!(
            specs.iter().all(|s| s.name != "redis_save_failed" && s.name != "redis_used_memory")
        );
        let service = specs.iter().find(|s| s.name == "redis_sentinel").expect("a service");
        let of = |name: &str| {
            let field = service.fields.iter().find(|f| f.label == name).expect(name);
            values[&format!("redis_sentinel.{}", field.name)]
        };
        let float = |v: f64| Value::Float(v);
        assert_eq!((of("shop-a"), of("shop.a"), of("mail")), (float(1.0), float(0.0), float(0.5)));
    }

    #[test]
    fn each_of_several_primaries_and_replicas_counts() {
        let primary = |n: u8, status: &str, ago: i32| {
            format!(
                "Master {n}: \r\nmaster_host:10.0.0.{n}\r\nmaster_port:6379\r\n\
                 master_link_status:{status}\r\nmaster_last_io_seconds_ago:{ago}\r\n"
            )
        };
        let text = format!(
            "redis_version:6.3.4\r\nan odd line\r\nrole:active-replica\r\n{}{}connected_slaves:2\r\n\
             slave0:ip=10.0.0.9,port=6379,state=online,offset=900,lag=0\r\n\
             slave1:ip=10.0.0.9,port=6379,state=online,offset=200,lag=1\r\n\
             master_repl_offset:1000\r\n",
            primary(1, "up", 2),
            primary(2, "down", -1)
        );
        let (_, values) = said(vec![bulk(&text)], "").expect("answers");
        for (name, want) in [
            ("redis_repl_link.up", Value::Int(0)),
            ("redis_repl_link.primary_10_0_0_1_6379", Value::Int(1)),
            ("redis_repl_link.primary_10_0_0_2_6379", Value::Int(0)),
            ("redis_repl_silence.primary_10_0_0_1_6379", Value::Int(2)),
            ("redis_repl_lag.replica_10_0_0_9_6379", Value::Int(800)),
            ("redis_repl_replicas.connected", Value::Int(2)),
            ("redis_odd.odd", Value::Int(1)),
        ] {
            assert_eq!(values.get(name), Some(&want), "{name}: {values:?}");
        }
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
