//! Redis: lookups, evictions, a password, a replica that loses its primary.

use crate::lab::Lab;
use crate::support::{free_port, run};
use std::process::Command;

fn start(lab: &mut Lab, more: &[&str]) -> u16 {
    let port = free_port();
    let mut command = Command::new("redis-server");
    command.args(["--bind", "127.0.0.1", "--save", "", "--port", &port.to_string()]);
    command.args(["--dir", &lab.site.dir.path().display().to_string()]).args(more);
    lab.daemon(&mut command, port);
    port
}

/// What redis-cli prints.
fn cli(port: u16, words: &[&str]) -> String {
    let mut command = Command::new("redis-cli");
    command.args(["-p", &port.to_string(), "--no-auth-warning", "-a", "sesame"]).args(words);
    let done = run(&mut command);
    assert!(done.status.success(), "{done:?}");
    String::from_utf8(done.stdout).expect("UTF-8")
}

#[test]
fn a_known_load_is_counted_and_a_lost_primary_seen() {
    let mut lab = Lab::new();
    let port = start(&mut lab, &["--requirepass", "sesame", "--maxmemory", "64mb"]);
    let primary = port.to_string();
    let replica =
        start(&mut lab, &["--replicaof", "127.0.0.1", &primary, "--masterauth", "sesame"]);
    let file = lab.site.path("redis-password");
    std::fs::write(&file, "sesame\n").expect("writes");
    lab.watch(&format!(
        "[probe.redis]\naddress = \"127.0.0.1:{port}\"\npassword_file = {file:?}\n\
         [[probe.redis.server]]\nname = \"replica\"\naddress = \"127.0.0.1:{replica}\"\n\
         password = \"\"\n\
         [[probe.redis.server]]\nname = \"wrong\"\naddress = \"127.0.0.1:{port}\"\n\
         password = \"guess\"\n"
    ));
    let fields = [("redis_keys_per_sec", "hits"), ("redis_keys_per_sec", "misses")];
    let before = lab.before(&fields);
    let script = "for i = 1, 200 do redis.call('set', 'k' .. i, 'v') end \
                  for i = 1, 500 do redis.call('get', 'k' .. i) end return 1";
    assert_eq!(cli(port, &["eval", script, "0"]).trim(), "1");
    lab.grows("redis_keys_per_sec", "hits", before[0], 200.0);
    lab.grows("redis_keys_per_sec", "misses", before[1], 300.0);
    lab.ratio_is_right(("redis_key_ratio", "hitratio"), fields[0], fields[1]);
    assert_eq!(lab.newest("redis_used_keys", "db0"), 200.0);
    assert_eq!(lab.newest("redis_used_memory", "maxmemory"), 67_108_864.0);
    lab.until("redis_repl_lag", &format!("replica_127_0_0_1_{replica}"), |v| v == 0.0);
    lab.until("redis_repl_link.replica", "up", |v| v == 1.0);
    let refused = lab.said("WRONGPASS");
    assert!(refused.contains("see user and password_file in [probe.redis]"), "{refused}");
    assert!(!refused.contains("guess"), "{refused}");
    lab.until("rookery_success", "probe_redis_wrong", |v| v == 0.0);
    lab.kill(port);
    lab.until("redis_repl_link.replica", "up", |v| v == 0.0);
    lab.until("rookery_success", "probe_redis", |v| v == 0.0);
    assert!(lab.said("probe=redis ").contains("is it running there?"));
}
