//! Agents and collector apart: in network namespaces of their own, joined by a
//! bridge.

use crate::support::{Proc, Site, bin, run, stdout, wait_for};
use std::process::Command;
use std::time::Duration;

/// Namespaces and their bridge; taken down when dropped.
struct Net {
    names: Vec<String>,
    bridge: String,
}

fn ip(args: &[&str]) {
    let output = run(Command::new("ip").args(args));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ip {args:?} (root is needed): {text}");
}

impl Net {
    /// `n` namespaces with addresses 10.71.0.1, .2, …
    fn new(n: usize) -> Net {
        let id = std::process::id() % 10_000;
        let bridge = format!("rkb{id}");
        let mut net = Net { names: Vec::new(), bridge: bridge.clone() };
        ip(&["link", "add", &bridge, "type", "bridge"]);
        ip(&["link", "set", &bridge, "up"]);
        for i in 1..=n {
            let name = format!("rook{id}-{i}");
            let (out, inn) = (format!("rko{id}-{i}"), format!("rki{id}-{i}"));
            ip(&["netns", "add", &name]);
            net.names.push(name.clone());
            ip(&["link", "add", &out, "type", "veth", "peer", "name", &inn]);
            ip(&["link", "set", &inn, "netns", &name]);
            ip(&["link", "set", &out, "master", &bridge]);
            ip(&["link", "set", &out, "up"]);
            ip(&["-n", &name, "link", "set", "lo", "up"]);
            ip(&["-n", &name, "link", "set", &inn, "up"]);
            ip(&["-n", &name, "addr", "add", &format!("10.71.0.{i}/24"), "dev", &inn]);
        }
        net
    }

    /// A program in the i-th namespace, counted from 1.
    fn command(&self, i: usize, program: &str) -> Command {
        let mut command = Command::new("ip");
        command.args(["netns", "exec", &self.names[i - 1]]).arg(bin(program));
        command
    }
}

impl Drop for Net {
    fn drop(&mut self) {
        for name in &self.names {
            run(Command::new("ip").args(["netns", "del", name]));
        }
        run(Command::new("ip").args(["link", "del", &self.bridge]));
    }
}

#[test]
fn several_agents_reach_a_collector_in_another_namespace() {
    let net = Net::new(4);
    let site = Site::new();
    let file = site.path("collector.toml");
    let text = format!(
        "listen = \"10.71.0.1:4950\"\ndata = {:?}\ntoken = \"sesame\"\n",
        site.path("data")
    );
    std::fs::write(&file, text).expect("writes");
    let mut collector =
        Proc::start(net.command(1, "rookery").arg("collector").arg("--config").arg(&file));
    collector.line("pages on", Duration::from_secs(60));
    let mut agents = Vec::new();
    for i in 2..=4 {
        let file = site.path(&format!("agent{i}.toml"));
        let text = format!(
            "node = \"web;host{i}\"\ncollector = \"http://10.71.0.1:4950\"\ntoken = \"sesame\"\n\
             step = \"1s\"\nspool = {:?}\nplugin_dirs = []\nlisten = \"10.71.0.{i}:4949\"\n\
             allow = [\"10.71.0.0/24\"]\n",
            site.path(&format!("spool{i}"))
        );
        std::fs::write(&file, text).expect("writes");
        agents.push(Proc::start(net.command(i, "rookery-agent").arg("--config").arg(file)));
    }
    let url = "http://10.71.0.1:4950";
    let check = |host: &str| {
        let mut command = net.command(1, "check_rookery");
        run(command.args(["-u", url, "-H", host, "-s", "load", "-w", "~:9999", "-c", "~:9999"]))
    };
    for i in 2..=4 {
        let host = format!("web;host{i}");
        wait_for(&host, Duration::from_secs(30), || check(&host).status.success().then_some(()));
        let csv = stdout(
            net.command(1, "rookery")
                .args([
                    "export",
                    "--url",
                    url,
                    "--node",
                    &host,
                    "--service",
                    "load",
                    "--from",
                    "-1h",
                ])
                .arg("--to")
                .arg("now"),
        );
        assert!(csv.lines().count() > 1, "its own samples: {csv}");
    }
    // Straight from an agent's port, across the bridge, too.
    let direct = run(net.command(1, "check_rookery").args([
        "-H",
        "10.71.0.2:4949",
        "-s",
        "load",
        "-w",
        "~:9999",
        "-c",
        "~:9999",
    ]));
    let text = String::from_utf8_lossy(&direct.stdout).into_owned();
    assert!(direct.status.success(), "{text}");
    for agent in agents {
        agent.stop();
    }
    collector.stop();
}
