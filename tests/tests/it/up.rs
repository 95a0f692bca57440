//! `rookery up`, as a newcomer has it.

use crate::support::{Proc, Site, bin, executable, free_port, get, run, wait_for};
use rustix::process::Signal;
use std::process::Command;
use std::time::{Duration, Instant};

fn up(site: &Site) -> Command {
    let mut command = Command::new(bin("rookery"));
    command
        .arg("up")
        .arg("--data")
        .arg(site.path("data"))
        .args(["--listen", &format!("127.0.0.1:{}", site.port)])
        .args(["--node-listen", "none"])
        .arg("--plugins")
        .arg(site.path("plugins"));
    command
}

fn node_name(site: &Site) -> String {
    let nodes = get(&format!("{}/api/v1/nodes", site.url())).json();
    nodes[0]["node"].as_str().expect("a node").to_owned()
}

/// The services that have no value to draw yet.
fn without_points(site: &Site) -> Vec<String> {
    let nodes = get(&format!("{}/api/v1/nodes", site.url())).json();
    let Some(node) = nodes[0]["node"].as_str() else { return vec!["any node".to_owned()] };
    let services = site.services(node);
    if services.is_empty() {
        return vec!["any service".to_owned()];
    }
    let has_none = |s: &&serde_json::Value| {
        let fields = s["fields"].as_array().expect("fields");
        fields.iter().all(|f| f["value"].is_null())
    };
    services.iter().filter(has_none).map(|s| s["service"].to_string()).collect()
}

#[test]
fn two_commands_and_every_graph_has_points() {
    let site = Site::new();
    executable(
        &site.path("plugins/hello"),
        "#!/bin/sh\n[ \"$1\" = config ] && echo 'graph_title Hello' && echo 'a.label a' && exit\n\
         echo a.value 1\n",
    );
    let start = Instant::now();
    let mut proc = Proc::start(&mut up(&site));
    let greeting = proc.line("Rookery watches", Duration::from_secs(60));
    println!("{greeting} (after {:?})", start.elapsed());
    assert!(greeting.contains("plugins") && greeting.contains("fields"), "{greeting}");
    let pages = proc.line("Pages:", Duration::from_secs(60));
    assert!(pages.contains(&site.url()), "{pages}");
    // Plugins of this machine that never answer are no fault of ours.
    let left = Duration::from_secs(30) - start.elapsed().min(Duration::from_secs(29));
    let mut bare = Vec::new();
    let ready = Instant::now() + left;
    while Instant::now() < ready {
        bare = without_points(&site);
        if bare.is_empty() {
            break;
        }
        std::thread::sleep(Duration::from_millis(250));
    }
    let own = |s: &&String| !s.contains("munin") && !is_foreign(&site, s);
    let bare: Vec<&String> = bare.iter().filter(own).collect();
    assert!(bare.is_empty(), "no point within 30 s: {bare:?}");

    let node = node_name(&site);
    let before = site.export(&node, "load");
    assert!(!before.is_empty());
    proc.stop();
    let mut again = Proc::start(&mut up(&site));
    again.line("Rookery watches", Duration::from_secs(60));
    let after = site.export(&node, "load");
    for row in &before {
        assert!(after.contains(row), "it goes on with the same history: {row:?} in {after:?}");
    }
    again.stop();
}

/// From a plugin that is not ours: some of this machine's may have nothing to
/// say.
fn is_foreign(site: &Site, service: &str) -> bool {
    let name = service.trim_matches('"');
    std::path::Path::new("/etc/munin/plugins").join(name).exists()
        || site.services(&node_name(site)).iter().any(|s| {
            s["service"] == name
                && s["fields"].as_array().is_some_and(|f| f.iter().all(|f| f["time_ms"].is_null()))
        })
}

/// One clear line on standard error, and exit code 1.
fn refused(command: &mut Command, names: &[&str]) {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{text}");
    assert_eq!(text.trim().lines().count(), 1, "one line: {text}");
    for name in names {
        assert!(text.contains(name), "{name} in {text}");
    }
    println!("{}", text.trim());
}

#[test]
fn a_taken_port_a_second_instance_and_a_bad_folder_are_told() {
    let site = Site::new();
    let mut proc = Proc::start(&mut up(&site));
    proc.line("Rookery watches", Duration::from_secs(60));

    let taken = Site::new();
    let port = site.port.to_string();
    refused(
        Command::new(bin("rookery")).arg("up").arg("--data").arg(taken.path("data")).args([
            "--listen",
            &format!("127.0.0.1:{port}"),
            "--node-listen",
            "none",
        ]),
        &[&port, "listen"],
    );
    let other = free_port();
    refused(
        Command::new(bin("rookery")).arg("up").arg("--data").arg(site.path("data")).args([
            "--listen",
            &format!("127.0.0.1:{other}"),
            "--node-listen",
            "none",
        ]),
        &["data"],
    );
    refused(
        Command::new(bin("rookery"))
            .args(["up", "--data", "/proc/nowhere", "--node-listen", "none", "--listen"])
            .arg(format!("127.0.0.1:{other}")),
        &["/proc/nowhere"],
    );
    let file = site.path("a-file");
    std::fs::write(&file, "").expect("writes");
    refused(
        Command::new(bin("rookery"))
            .args(["up", "--node-listen", "none", "--listen"])
            .arg(format!("127.0.0.1:{other}"))
            .arg("--data")
            .arg(file.join("data")),
        &["a-file"],
    );
    // Munin's port taken by someone else.
    let munin = std::net::TcpListener::bind("127.0.0.1:0").expect("loopback");
    let munin = munin.local_addr().expect("bound").to_string();
    let _held = std::net::TcpListener::bind(&munin);
    refused(
        Command::new(bin("rookery"))
            .args(["up", "--node-listen", &site.url()[7..], "--listen"])
            .arg(format!("127.0.0.1:{other}"))
            .arg("--data")
            .arg(taken.path("data2")),
        &[&port],
    );
    proc.signal(Signal::TERM);
    assert!(proc.ended(Duration::from_secs(60)).success());
}

#[test]
fn check_rookery_asks_the_agent_itself() {
    let site = Site::new();
    let munin = free_port();
    let mut command = Command::new(bin("rookery"));
    command
        .arg("up")
        .arg("--data")
        .arg(site.path("data"))
        .args(["--listen", &format!("127.0.0.1:{}", site.port), "--step", "1s"])
        .args(["--node-listen", &format!("127.0.0.1:{munin}")]);
    let mut proc = Proc::start(&mut command);
    proc.line("Rookery watches", Duration::from_secs(60));
    let node = node_name(&site);
    wait_for("a rate", Duration::from_secs(60), || {
        let services = site.services(&node);
        let cpu = services.iter().find(|s| s["service"] == "cpu")?;
        (!cpu["fields"][0]["value"].is_null()).then_some(())
    });
    let direct = |args: &[&str]| {
        let output = run(Command::new(bin("check_rookery"))
            .args(["-H", &format!("127.0.0.1:{munin}")])
            .args(args));
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    let (code, text) = direct(&["-s", "load", "-w", "~:10000", "-c", "~:20000"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.contains("'load'=") && text.contains("10000"), "{text}");
    // A counter's check is of its rate, never of its raw value.
    let (code, text) = direct(&["-s", "cpu", "-f", "idle", "-w", "~:10000", "-c", "~:20000"]);
    assert_eq!(code, Some(0), "{text}");
    let (code, text) = direct(&["-s", "load", "-c", "~:-1"]);
    assert_eq!(code, Some(2), "{text}");
    proc.stop();
}
