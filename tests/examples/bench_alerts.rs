//! How long it takes from a sample to its message, through a real collector: `cargo
//! build --release && cargo run --release -p rookery-tests --example bench_alerts`.
//!
//! A sample is posted, hard at once (`max_check_attempts = 1`); the message is a line in
//! a contact's file. With a group window of 0, and with the default one.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// Whoever measures waits no longer than this for a message.
const LIMIT: Duration = Duration::from_secs(60);

struct Collector(Child);

impl Drop for Collector {
    fn drop(&mut self) {
        // Gone already: then there is nothing to do.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let here = std::env::current_exe()?;
    let built = here.parent().and_then(Path::parent).map(|dir| dir.join("rookery"));
    let rookery = std::env::args().nth(1).map(PathBuf::from).or(built).ok_or("no rookery")?;
    let default_ms = rookery_collector::config::Config::default().alerting.group_window_ms;
    for (window_ms, rounds) in [(0, 50), (default_ms, 3)] {
        let mut took: Vec<f64> = measure(&rookery, window_ms, rounds)?;
        took.sort_by(f64::total_cmp);
        let at = |part: f64| took[((took.len() - 1) as f64 * part) as usize];
        println!(
            "group_window_ms = {window_ms}: {:.3} s median, {:.3} to {:.3} s, of {} messages",
            at(0.5),
            at(0.0),
            at(1.0),
            took.len()
        );
    }
    Ok(())
}

fn measure(
    rookery: &Path,
    window_ms: u64,
    rounds: usize,
) -> Result<Vec<f64>, Box<dyn std::error::Error>> {
    let dir = tempfile::tempdir()?;
    let addr = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?.to_string();
    let (told, rules) = (dir.path().join("told"), dir.path().join("alerts.d"));
    std::fs::create_dir(&rules)?;
    let rule = "[[rule]]\ncritical = \"~:90\"\nmax_check_attempts = 1\n";
    std::fs::write(rules.join("all.toml"), rule)?;
    let config = dir.path().join("collector.toml");
    let text = format!(
        "listen = {addr:?}\ndata = {:?}\ntoken = \"bench\"\nalerts = {rules:?}\n\
         [[contact]]\nname = \"filed\"\nfile = {told:?}\n\
         [alerting]\ngroup_window_ms = {window_ms}\n",
        dir.path().join("data")
    );
    std::fs::write(&config, text)?;
    let mut command = Command::new(rookery);
    command.arg("collector").arg("--config").arg(&config);
    let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let _collector = Collector(child);
    let started = Instant::now();
    while TcpStream::connect(&addr).is_err() {
        if started.elapsed() > LIMIT {
            return Err("the collector does not listen".into());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    let lines = || std::fs::read_to_string(&told).map_or(0, |t| t.lines().count());
    let mut took = Vec::new();
    for round in 0..rounds {
        // Each of a node and service of its own: none is told with another.
        let service = format!("s{round}");
        let before = lines();
        post(&addr, &service, 5)?;
        let started = Instant::now();
        post(&addr, &service, 95)?;
        while lines() == before {
            if started.elapsed() > LIMIT {
                return Err(format!("no message of {service}").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        took.push(started.elapsed().as_secs_f64());
    }
    Ok(took)
}

fn post(addr: &str, service: &str, value: i64) -> Result<(), Box<dyn std::error::Error>> {
    let body = format!(
        "{{\"node\":\"n{service}\",\"samples\":[{{\"service\":\"{service}\",\"field\":\"f\",\
         \"value\":{value}}}]}}"
    );
    let mut stream = TcpStream::connect(addr)?;
    write!(
        stream,
        "POST /api/v1/ingest HTTP/1.1\r\nhost: {addr}\r\nauthorization: Bearer bench\r\n\
         content-type: application/json\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}",
        body.len()
    )?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    match answer.starts_with("HTTP/1.1 200") {
        true => Ok(()),
        false => Err(format!("refused: {answer}").into()),
    }
}
