//! `check_rookery` straight to Debian's munin-node, by hand and as a command of
//! Debian's Nagios 4: its services, several fields, perfdata, check_munin's form.

use crate::munin_master::munin_node;
use crate::nagios_lab::{nagios, status};
use crate::support::{Proc, Site, bin, run, wait_for};
use rookery_plugins::perfdata;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

#[test]
fn any_munin_node_is_checked_directly() {
    let site = Site::new();
    let (node, port) = munin_node(site.dir.path());
    let host = format!("127.0.0.1:{port}");
    let check = |args: &[&str]| {
        let mut command = Command::new(bin("check_rookery"));
        let done = run(command.args(["--munin", "-H", &host]).args(args));
        let text = String::from_utf8_lossy(&done.stdout).into_owned();
        assert!(done.stderr.is_empty(), "{}", String::from_utf8_lossy(&done.stderr));
        (done.status.code().expect("exits"), text)
    };
    let perf = |text: &str| {
        let (_, line) = text.trim_end().split_once(" | ").expect("perfdata");
        perfdata::parse(line).expect("as the guidelines have it")
    };
    let (code, text) = check(&["--list"]);
    for service in ["known", "nested", "dirty", "timed", "load", "uptime"] {
        assert!(text.lines().any(|l| l.starts_with(service)), "{service}: {text}");
    }
    assert_eq!(code, 0, "{text}");
    // Several fields, one of them beyond its limit.
    let (code, text) =
        check(&["-s", "known", "-f", "sci", "-f", "neg", "-w", "~:1000", "-c", "~:2000"]);
    assert_eq!(code, 1, "{text}");
    assert!(text.starts_with("KNOWN WARNING - sci is 1500 (outside ~:1000) | "), "{text}");
    let items = perf(&text);
    let labels: Vec<&str> = items.iter().map(|p| p.label.as_str()).collect();
    assert_eq!(labels, ["neg", "sci"], "in the plugin's order: {text}");
    assert!(text.contains("'sci'=1500;~:1000;~:2000"), "{text}");
    // The plugin's own limits, and a field that is unknown.
    let (code, text) = check(&["-s", "known", "-f", "n"]);
    assert!(code == 0 && text.contains(";~:1000000"), "{text}");
    let (code, text) = check(&["-s", "known", "-f", "unk"]);
    assert_eq!(code, 3, "{text}");
    // A plugin with several graphs, and check_munin's words.
    let (code, text) = check(&["-s", "nested"]);
    assert!(code == 3 && text.contains("several graphs; ask for one: nest, nest.sda"), "{text}");
    for (words, want) in [
        (&["dirty!80!90"][..], 0),
        (&["dirty", "70", "90"], 1),
        (&["dirty", "d", "70", "76"], 2),
        (&["dirty", "77", "77"], 0),
    ] {
        let (code, text) = check(words);
        assert_eq!(code, want, "{words:?}: {text}");
    }
    let (code, text) = check(&["-s", "knwn"]);
    assert!(code == 3 && text.contains("did you mean \"known\"?"), "{text}");

    // As a command of Nagios, with the definitions of the package.
    let objects = site.path("mine.cfg");
    let definitions = format!(
        "define command {{\n command_name node\n command_line {} --munin -H '$HOSTADDRESS$:{port}' \
         $ARG1$\n}}\n\
         define host {{\n host_name n\n address 127.0.0.1\n max_check_attempts 1\n \
         check_period always\n notification_period always\n contacts ops\n}}\n\
         define service {{\n host_name n\n service_description dirty\n check_command \
         node!dirty 70 90\n max_check_attempts 1\n check_interval 1\n retry_interval 1\n \
         check_period always\n notification_period always\n contacts ops\n}}\n",
        bin("check_rookery").display()
    );
    std::fs::write(&objects, definitions).expect("writes");
    let file = nagios(site.dir.path(), &objects);
    let nagios = Proc::start(Command::new("/usr/sbin/nagios4").arg(&file));
    let dirty = wait_for("a check", LIMIT, || status(site.dir.path(), "n", Some("dirty")));
    assert_eq!(dirty.state, "1", "{dirty:?}");
    assert_eq!(dirty.text, "DIRTY WARNING - d is 77 (outside ~:70)", "{dirty:?}");
    assert_eq!(dirty.perf, "'d'=77;~:70;~:90", "{dirty:?}");
    nagios.signal(rustix::process::Signal::TERM);
    drop(node);
}
