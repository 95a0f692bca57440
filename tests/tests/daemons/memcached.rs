//! memcached: hits, misses, sets and evictions of a known load.

use crate::lab::Lab;
use crate::support::{free_port, get, wait_for};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;

/// A client.
struct Client {
    to: TcpStream,
    from: BufReader<TcpStream>,
}

impl Client {
    fn new(port: u16) -> Client {
        let to = TcpStream::connect(("127.0.0.1", port)).expect("connects");
        let from = BufReader::new(to.try_clone().expect("clones"));
        Client { to, from }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.from.read_line(&mut line).expect("answers");
        line
    }

    fn set(&mut self, key: usize, bytes: usize) {
        let text = format!("set k{key} 0 0 {bytes}\r\n{}\r\n", "x".repeat(bytes));
        self.to.write_all(text.as_bytes()).expect("writes");
        assert_eq!(self.line(), "STORED\r\n");
    }

    /// Whether it is there.
    fn get(&mut self, key: usize) -> bool {
        self.to.write_all(format!("get k{key}\r\n").as_bytes()).expect("writes");
        let mut found = false;
        loop {
            let line = self.line();
            if line == "END\r\n" {
                return found;
            }
            found = true;
        }
    }
}

fn start(lab: &mut Lab) -> u16 {
    let port = free_port();
    let mut command = Command::new("memcached");
    command.args(["-u", "root", "-l", "127.0.0.1", "-U", "0", "-m", "8", "-p"]);
    lab.daemon(command.arg(port.to_string()), port);
    port
}

#[test]
fn a_known_load_is_counted() {
    let mut lab = Lab::new();
    let (port, other) = (start(&mut lab), start(&mut lab));
    lab.watch(&format!(
        "[probe.memcached]\naddress = \"127.0.0.1:{port}\"\n\
         [[probe.memcached.server]]\nname = \"second\"\naddress = \"127.0.0.1:{other}\"\n\
         [[probe.memcached.server]]\nnode = \"cache3\"\naddress = \"127.0.0.1:{other}\"\n"
    ));
    let fields = [
        ("memcached_rates", "memcache_cache_hits"),
        ("memcached_rates", "memcache_cache_misses"),
        ("memcached_rates", "memcache_cmd_set"),
    ];
    let before = lab.before(&fields);
    let mut client = Client::new(port);
    for key in 0..300 {
        client.set(key, 100);
    }
    let hits = (0..1_000).filter(|key| client.get(key % 400)).count();
    assert_eq!(hits, 800, "0 to 299 are there, 300 to 399 are not");
    for ((service, field), (before, by)) in
        fields.iter().zip(before.iter().zip([800.0, 200.0, 300.0]))
    {
        lab.grows(service, field, *before, by);
    }
    assert_eq!(lab.settled("memcached_counters", "memcache_curr_items"), 300.0);
    assert_eq!(lab.newest("memcached_memory", "limit_maxbytes"), 8_388_608.0);
    lab.ratio_is_right(("memcached_hits", "hit_ratio"), fields[0], fields[1]);
    // 8 MiB do not hold 12 MB.
    for key in 0..3_000 {
        client.set(key, 4_000);
    }
    lab.grows("memcached_rates", "memcache_cmd_set", before[2], 3_300.0);
    let evicted = lab.settled("memcached_evictions", "evictions");
    let left = lab.settled("memcached_counters", "memcache_curr_items");
    assert!(evicted > 0.0 && left < 3_000.0, "{evicted} evicted, {left} left");

    // The second one, by its name and as a node of its own.
    let mut client = Client::new(other);
    client.set(1, 5);
    assert!(client.get(1));
    lab.until("memcached_rates.second", "memcache_cmd_set", |v| v == 1.0);
    wait_for("the node of its own", crate::lab::LIMIT, || {
        let sets = lab.values_of("cache3", "memcached_rates", "memcache_cmd_set");
        sets.into_values().any(|v| v == 1.0).then_some(())
    });
    let titles: Vec<String> = lab
        .site
        .services("host")
        .iter()
        .filter(|s| s["service"] == "memcached_rates.second")
        .map(|s| s["title"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert_eq!(titles, ["memcached requests (second)"]);
    assert!(lab.newest("rookery_success", "probe_memcached_cache3") == 1.0);

    // The fleet's report: three rows, two of them the same daemon.
    let csv = get(&format!("{}/report/memcached.csv", lab.site.url())).text();
    let rows: Vec<&str> = csv.lines().skip(1).collect();
    assert_eq!(rows.len(), 3, "{csv}");
    assert!(rows.iter().any(|r| r.starts_with("\"host\",\"second\",\"memcached 1.")), "{csv}");
    assert!(rows.iter().all(|r| r.ends_with(",8388608")), "{csv}");
    let page = get(&format!("{}/report/memcached", lab.site.url())).text();
    assert!(page.contains("3 instances") && page.contains("all together"), "{page}");
    assert!(page.contains(">24.0 Mi<") || page.contains(">24.0 M<"), "{page}");
    let category = get(&format!("{}/category/memcached", lab.site.url())).text();
    assert!(category.contains("/report/memcached"), "{category}");
    assert_eq!(get(&format!("{}/report/nothing", lab.site.url())).status, 404);
}
