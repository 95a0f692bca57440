//! Squid: hits, misses and bytes of a known load.

use crate::lab::{LIMIT, Lab};
use crate::origin::{BODY_BYTES, Origin, done, get_all, get_at_once};
use crate::support::{free_port, wait_for};
use std::process::Command;

/// Requests of the agent at each reading.
const OWN: f64 = 3.0;

/// Squid's files in shared memory, which it leaves behind when it is killed.
/// They are called by its service's name alone: with one of its own it takes
/// away those of no other Squid on this machine.
struct Shared(String);

impl Drop for Shared {
    fn drop(&mut self) {
        for part in ["metadata", "queues", "readers"] {
            // It may not have come so far.
            let _ = std::fs::remove_file(format!("/dev/shm/{}-cf__{part}.shm", self.0));
        }
    }
}

/// Starts it; its port.
fn start(lab: &mut Lab) -> (u16, Shared) {
    let port = free_port();
    let dir = lab.site.path("squid").display().to_string();
    std::fs::create_dir(&dir).expect("a folder");
    let owned = Command::new("chown").args(["proxy", &dir]).status().expect("chown");
    assert!(owned.success());
    let text = format!(
        "http_port 127.0.0.1:{port}\ncache_effective_user proxy\npid_filename {dir}/pid\n\
         access_log none\ncache_log {dir}/log\ncoredump_dir {dir}\ncache_mem 16 MB\n\
         acl lo src 127.0.0.1/32\nhttp_access allow lo\nhttp_access deny all\nicp_port 0\n\
         pinger_enable off\nshutdown_lifetime 1 second\n"
    );
    let config = format!("{dir}/conf");
    std::fs::write(&config, text).expect("writes");
    let shared = Shared(format!("rookery{port}"));
    lab.daemon(Command::new("squid").args(["-N", "-n", &shared.0, "-f", &config]), port);
    (port, shared)
}

/// A counter of requests must grow by exactly this beside the agent's own.
fn grows(lab: &Lab, field: &str, before: (i64, f64), by: f64) {
    let got = wait_for(&format!("{field} to grow by {by}"), LIMIT, || {
        let later = lab.values("squid_requests", field).split_off(&(before.0 + 1));
        let (readings, newest) = (later.len() as f64, *later.last_key_value()?.1);
        Some(newest - before.1 - OWN * readings).filter(|grown| *grown >= by)
    });
    assert_eq!(got, by, "{field} grew by");
}

#[test]
fn a_known_load_is_counted() {
    let mut lab = Lab::new();
    let origin = Origin::new();
    let (port, _shared) = start(&mut lab);
    lab.watch(&format!("[probe.squid]\naddress = \"127.0.0.1:{port}\"\n"));
    let requests = lab.now("squid_requests", "requests");
    let hits = lab.newest("squid_requests", "hits");
    let fetched = lab.newest("squid_servers", "server_requests");
    let (out, from_cache) =
        (lab.newest("squid_traffic", "kbytes_out"), lab.newest("squid_traffic", "hit_kbytes_out"));
    for i in 0..200 {
        get_all(port, &format!("http://127.0.0.1:{}/c/{}", origin.port, i % 40), 1, 200);
    }
    assert_eq!(origin.served(), 40, "the others were in the cache");
    lab.grows("squid_requests", "hits", hits, 160.0);
    grows(&lab, "requests", requests, 200.0);
    lab.grows("squid_servers", "server_requests", fetched, 40.0);
    // Heads come with the bodies.
    let body = BODY_BYTES as f64;
    let cached = lab.settled("squid_traffic", "hit_kbytes_out") - from_cache;
    assert!((160.0 * body..200.0 * (body + 500.0)).contains(&cached), "{cached}");
    assert!(lab.newest("squid_traffic", "kbytes_out") - out >= 200.0 * body);

    // The share of each interval, the agent's own requests left out.
    let ratios = lab.values("squid_hit_ratio", "hit_ratio");
    let all = lab.values("squid_requests", "requests");
    let hit = lab.values("squid_requests", "hits");
    let both: Vec<(i64, f64, f64)> =
        all.iter().filter_map(|(t, n)| Some((*t, *n, *hit.get(t)?))).collect();
    let mut n = 0;
    for pair in both.windows(2) {
        let Some(ratio) = ratios.get(&pair[1].0) else { continue };
        let want = 100.0 * (pair[1].2 - pair[0].2) / (pair[1].1 - pair[0].1 - OWN);
        assert!((ratio - want).abs() < 1e-9, "{ratio} is not {want}");
        n += 1;
    }
    assert!(n > 0, "no interval with a share: {both:?}");

    // Seven clients and the seven fetches for them.
    let idle = lab.settled("squid_fd", "used");
    origin.hold();
    let target = format!("http://127.0.0.1:{}/hold", origin.port);
    let clients: Vec<_> =
        (0..7).flat_map(|i| get_at_once(port, &format!("{target}/{i}"), 1)).collect();
    origin.until_held(7);
    lab.until("squid_fd", "used", |v| v >= idle + 13.0);
    origin.release();
    done(clients);
    lab.until("squid_fd", "used", |v| v <= idle + 7.0);
    grows(&lab, "requests", requests, 207.0);
    lab.grows("squid_servers", "server_requests", fetched, 47.0);
    assert_eq!(lab.newest("squid_requests", "hits") - hits, 160.0);
}
