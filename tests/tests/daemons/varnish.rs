//! Varnish: hits, misses, queued requests and evictions of a known load.

use crate::lab::Lab;
use crate::origin::{Origin, done, get_all, get_at_once};
use crate::support::{free_port, stdout};
use std::process::Command;

/// Starts it before `origin`; its port and its folder.
fn start(lab: &mut Lab, origin: &Origin) -> (u16, String) {
    let (port, closed) = (free_port(), free_port());
    let dir = lab.site.path("varnish").display().to_string();
    let vcl = lab.site.path("test.vcl");
    let text = format!(
        "vcl 4.0;\n\
         backend default {{ .host = \"127.0.0.1\"; .port = \"{}\";\n\
         .first_byte_timeout = 300s; .between_bytes_timeout = 300s; }}\n\
         backend gone {{ .host = \"127.0.0.1\"; .port = \"{closed}\"; }}\n\
         sub vcl_recv {{\n\
         if (req.url ~ \"^/bad\") {{ set req.backend_hint = gone; return (pass); }}\n\
         if (req.url ~ \"^/hold\") {{ return (pass); }} }}\n",
        origin.port
    );
    std::fs::write(&vcl, text).expect("writes");
    let mut command = Command::new("varnishd");
    command.args(["-F", "-j", "none", "-s", "malloc,1m", "-n", &dir, "-f"]).arg(vcl);
    // By default a thread may keep what it counted until its tenth job.
    command.args(["-p", "thread_stats_rate=1"]);
    command.args(["-p", "thread_pools=1", "-p", "thread_pool_min=10"]);
    command.args(["-p", "thread_pool_max=30", "-a", &format!("127.0.0.1:{port}")]);
    lab.daemon(&mut command, port);
    (port, dir)
}

/// A number that varnishstat itself says.
fn told(dir: &str, counter: &str) -> f64 {
    let text = stdout(Command::new("varnishstat").args(["-1", "-n", dir, "-f", counter]));
    let number = text.split_whitespace().nth(1).and_then(|n| n.parse().ok());
    number.unwrap_or_else(|| panic!("{counter}: {text:?}"))
}

#[test]
fn a_known_load_is_counted() {
    let mut lab = Lab::new();
    let origin = Origin::new();
    let (port, dir) = start(&mut lab, &origin);
    lab.watch(&format!("[probe.varnish]\ninstance = {dir:?}\n"));
    let fields = [
        ("varnish_request_rate", "cache_hit", 70.0),
        ("varnish_request_rate", "cache_miss", 30.0),
        ("varnish_request_rate", "s_pass", 4.0),
        ("varnish_backend_requests", "default", 30.0),
        ("varnish_backend_errors", "gone", 4.0),
        ("varnish_objects", "n_object", 30.0),
    ];
    let before: Vec<f64> = fields.iter().map(|f| lab.newest(f.0, f.1)).collect();
    for i in 0..100 {
        get_all(port, &format!("/c/{}", i % 30), 1, 200);
    }
    get_all(port, "/bad", 4, 503);
    assert_eq!(origin.served(), 30, "the others were in the cache");
    for ((service, field, by), before) in fields.iter().zip(&before) {
        lab.grows(service, field, *before, *by);
    }
    let rate = "varnish_request_rate";
    let ratio = ("varnish_hit_rate", "hit_ratio");
    lab.ratio_is_right(ratio, (rate, "cache_hit"), (rate, "cache_miss"));

    // More clients than there are threads.
    origin.hold();
    let clients = get_at_once(port, "/hold", 60);
    lab.until("varnish_queue", "thread_queue_len", |v| v > 0.0);
    // All have come when nobody moves any more.
    let waiting = lab.settled("varnish_queue", "thread_queue_len");
    assert_eq!(told(&dir, "MAIN.thread_queue_len"), waiting);
    lab.until("varnish_threads", "threads", |v| v == told(&dir, "MAIN.threads"));
    origin.release();
    done(clients);
    lab.until("varnish_queue", "thread_queue_len", |v| v == 0.0);
    lab.grows(rate, "s_pass", before[2], 64.0);
    let queued = lab.settled("varnish_dropped", "sess_queued");
    assert_eq!(queued, told(&dir, "MAIN.sess_queued"));
    assert!(queued >= waiting, "{queued} had to wait, {waiting} at once");

    // 1 MiB does not hold 2 MB.
    for i in 100..2_100 {
        get_all(port, &format!("/c/{i}"), 1, 200);
    }
    lab.grows(rate, "cache_miss", before[1], 2_030.0);
    let evicted = lab.settled("varnish_evictions", "n_lru_nuked");
    let left = lab.settled("varnish_objects", "n_object");
    assert_eq!(evicted, told(&dir, "MAIN.n_lru_nuked"));
    assert!(evicted > 0.0 && evicted + left >= 2_030.0, "{evicted} evicted, {left} left");
}
