//! Replication, at both ends: a primary tells how far behind each replica is, a
//! replica whether it hears its primary (KeyDB: its primaries), and a Sentinel how
//! the primaries are that it watches.

use super::{CATEGORY, part};
use crate::support::{Names, Sheet, StableName, Stats, number};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};
use std::collections::BTreeMap;

/// Writes all of it; `text` is what `stats` was read from, and `had_replicas`
/// whether it ever had any.
pub fn write(
    text: &str,
    stats: &Stats<'_>,
    had_replicas: bool,
    names: &mut Names,
    sheet: &mut Sheet<'_>,
) {
    write_primaries(&primaries(text), names, sheet);
    write_replicas(stats, names, sheet);
    if had_replicas {
        write_count(stats, sheet);
    }
    write_watched(stats, names, sheet);
}

/// A primary that this server follows.
#[derive(Debug, Default)]
struct Primary<'a> {
    host: &'a str,
    port: &'a str,
    up: Option<bool>,
    /// Seconds since it was heard.
    silent_s: Option<u64>,
}

/// All primaries, whatever the role is called (`slave`, `replica`,
/// `active-replica`). KeyDB says the same names again for each one.
fn primaries(text: &str) -> Vec<Primary<'_>> {
    let mut all: Vec<Primary<'_>> = vec![];
    for (name, value) in text.lines().filter_map(|line| line.split_once(':')) {
        let value = value.trim();
        if name == "master_host" {
            all.push(Primary { host: value, ..Primary::default() });
            continue;
        }
        let Some(last) = all.last_mut() else { continue };
        match name {
            "master_port" => last.port = value,
            "master_link_status" => last.up = Some(value == "up"),
            "master_last_io_seconds_ago" => last.silent_s = number(value.as_bytes()),
            _ => {}
        }
    }
    all
}

fn write_primaries(all: &[Primary<'_>], names: &mut Names, sheet: &mut Sheet<'_>) {
    if all.is_empty() {
        return;
    }
    let label = |p: &Primary<'_>| format!("{}:{}", p.host, p.port);
    let raws: Vec<String> = all.iter().map(|p| format!("primary_{}", label(p))).collect();
    // One alone is the service's own field.
    let several: Vec<(StableName, &Primary<'_>)> = match all {
        [_] => vec![],
        _ => names
            .fields("primaries", raws.iter().map(String::as_str))
            .into_iter()
            .zip(all)
            .collect(),
    };
    let mut service = sheet.service("redis_repl_link", |n| {
        ServiceSpec::new(n, "Redis link to the primary", CATEGORY)
            .vlabel("1 = up")
            .args("-l 0 -u 1")
            .unscaled()
            .info("Whether this replica hears its primary. While not, its data gets old.")
    });
    let ups: Option<Vec<bool>> = all.iter().map(|p| p.up).collect();
    let up = ups.map(|ups| u64::from(ups.iter().all(|up| *up)));
    service.optional("up", up, |n| {
        FieldSpec::gauge(n, "up").limits("", "1:").info("1: it does; of several primaries, all")
    });
    for (name, primary) in &several {
        service.field(&name.name, primary.up.map(u64::from), |n| {
            name.announce(FieldSpec::gauge(n, &label(primary)).info("1: it is heard"))
        });
    }
    let mut service = sheet.service("redis_repl_silence", |n| {
        ServiceSpec::new(n, "Redis silence of the primary", CATEGORY)
            .vlabel("seconds")
            .args("-l 0")
            .unscaled()
            .info("How long this replica has not heard its primary.")
    });
    let silences: Option<Vec<u64>> = all.iter().map(|p| p.silent_s).collect();
    service.field("last_io", silences.and_then(|all| all.into_iter().max()), |n| {
        FieldSpec::gauge(n, "silence")
            .draw(Draw::Area)
            .info("Of several primaries the longest; unknown while one is down")
    });
    for (name, primary) in &several {
        service.field(&name.name, primary.silent_s, |n| {
            name.announce(FieldSpec::gauge(n, &label(primary)).info("Unknown while it is down"))
        });
    }
}

/// What is known of the replicas at one address.
#[derive(Default)]
struct Replicas {
    n: usize,
    /// Bytes that the last of them lacks; `None`: one does not tell.
    behind: Option<u64>,
}

fn write_replicas(stats: &Stats<'_>, names: &mut Names, sheet: &mut Sheet<'_>) {
    let offset = stats.count("master_repl_offset");
    let mut by_address: BTreeMap<String, Replicas> = BTreeMap::new();
    for (name, value) in stats.iter() {
        if !name.starts_with("slave") || !value.starts_with("ip=") {
            continue;
        }
        let of = |key| part(value, key).unwrap_or("");
        let at = part(value, "offset").and_then(|n| number(n.as_bytes()));
        let behind = at.and_then(|at| Some(offset?.saturating_sub(at)));
        let replicas = by_address.entry(format!("{}:{}", of("ip"), of("port"))).or_default();
        // Behind one address (NAT) nothing tells them apart: the last one counts.
        replicas.behind = match replicas.n {
            0 => behind,
            _ => replicas.behind.zip(behind).map(|(a, b)| a.max(b)),
        };
        replicas.n += 1;
    }
    let raws: Vec<String> = by_address.keys().map(|at| format!("replica_{at}")).collect();
    let named = names.fields("replicas", raws.iter().map(String::as_str));
    let mut service = sheet.service("redis_repl_lag", |n| {
        ServiceSpec::new(n, "Redis replicas' lag", CATEGORY)
            .vlabel("bytes behind")
            .args("-l 0 --base 1024")
            .info("How much of what this primary has said each replica has not taken in yet.")
    });
    for (name, (address, replicas)) in named.iter().zip(&by_address) {
        service.field(&name.name, replicas.behind, |n| {
            let info = "Bytes of the stream that it lacks; of several behind one address, the last";
            name.announce(FieldSpec::gauge(n, address).info(info))
        });
    }
}

fn write_count(stats: &Stats<'_>, sheet: &mut Sheet<'_>) {
    sheet
        .service("redis_repl_replicas", |n| {
            ServiceSpec::new(n, "Redis replicas", CATEGORY)
                .vlabel("replicas")
                .args("-l 0")
                .unscaled()
                .info("Replicas that are connected to this primary; left out if it never had any.")
        })
        .field("connected", stats.count("connected_slaves"), |n| {
            FieldSpec::gauge(n, "connected").draw(Draw::Area).info("Replicas now")
        });
}

/// `masterN:name=NAME,status=ok,…` of a Sentinel.
fn write_watched(stats: &Stats<'_>, names: &mut Names, sheet: &mut Sheet<'_>) {
    let watched: Vec<(&str, &str)> = stats
        .iter()
        .filter(|(name, _)| name.starts_with("master") && name[6..].parse::<u32>().is_ok())
        .filter_map(|(_, value)| Some((part(value, "name")?, part(value, "status")?)))
        .collect();
    let raws: Vec<String> = watched.iter().map(|(name, _)| format!("primary_{name}")).collect();
    let named = names.fields("watched", raws.iter().map(String::as_str));
    let mut service = sheet.service("redis_sentinel", |n| {
        ServiceSpec::new(n, "Redis Sentinel: primaries", CATEGORY)
            .vlabel("1 = up")
            .args("-l 0 -u 1")
            .unscaled()
            .info(
                "How this Sentinel sees the primaries that it watches: 1 up, 0.5 down as it \
                 alone sees it (sdown), 0 down as enough Sentinels see it (odown).",
            )
    });
    for (field, (name, status)) in named.iter().zip(&watched) {
        let up = match *status {
            "ok" => Some(1.0),
            "sdown" => Some(0.5),
            "odown" => Some(0.0),
            _ => None,
        };
        service.optional(&field.name, up, |n| {
            let spec = FieldSpec::gauge(n, name).limits("1:", "0.5:");
            field.announce(spec.info("1: it is up"))
        });
    }
}
