//! Check executables as sources: the real ones of monitoring-plugins, and ones
//! that hang or are no such thing.

use crate::lab::{LIMIT, Lab};
use crate::support::{bin, executable, get, run, wait_for};
use std::net::TcpListener;
use std::process::Command;

#[test]
fn state_text_and_perfdata_arrive_and_are_told() {
    let mut lab = Lab::with(|site| {
        let script = site.path("page");
        let told = site.path("told");
        let text = format!("#!/bin/sh\necho \"$NAGIOS_SERVICEOUTPUT\" >> {}\n", told.display());
        executable(&script, &text);
        format!("[[contact]]\nname = \"pager\"\ncommand = [{script:?}]\n")
    });
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("an address").port();
    executable(&lab.site.path("hangs"), "#!/bin/sh\necho working; sleep 100\n");
    let config = format!(
        "[[check]]\nname = \"tcp\"\nstep = \"500ms\"\n\
         command = [\"/usr/lib/nagios/plugins/check_tcp\", \"-H\", \"127.0.0.1\", \"-p\", \"{port}\"]\n\
         [[check]]\nname = \"disk\"\nstep = \"1s\"\nnode = \"elsewhere\"\n\
         command = \"/usr/lib/nagios/plugins/check_disk -w 1% -c 0% -p /\"\n\
         [[check]]\nname = \"hangs\"\nstep = \"1s\"\ntimeout = \"300ms\"\ncommand = [{:?}]\n",
        lab.site.path("hangs")
    );
    lab.watch(&config);
    lab.until("tcp", "state", |v| v == 0.0);
    assert!(lab.newest("tcp", "time") < 10.0);
    wait_for("the disk of another node", LIMIT, || {
        lab.values_of("elsewhere", "disk", "_").into_values().next()
    });
    let said = |node: &str, service: &str| {
        let services = lab.site.services(node);
        let of = services.iter().find(|s| s["service"] == service)?;
        Some((of["state"].as_str()?.to_owned(), of["text"].as_str()?.to_owned()))
    };
    let (state, text) = wait_for("the one that hangs", LIMIT, || {
        said("host", "hangs").filter(|(state, _)| state == "UNKNOWN")
    });
    assert!(text.contains("killed at its time limit"), "{state}: {text}");
    wait_for("the open port", LIMIT, || {
        said("host", "tcp").filter(|(state, text)| state == "OK" && text.contains("TCP OK"))
    });

    drop(listener);
    let (_, text) = wait_for("the closed port", LIMIT, || {
        said("host", "tcp").filter(|(state, _)| state == "CRITICAL")
    });
    assert!(text.contains("refused"), "{text}");
    let told = wait_for("someone to be told", LIMIT, || {
        let told = std::fs::read_to_string(lab.site.path("told")).ok()?;
        told.lines().find(|line| line.contains("refused")).map(str::to_owned)
    });
    assert!(told.starts_with("CRITICAL: connect to address 127.0.0.1"), "{told}");
    let page = get(&format!("{}/problems", lab.site.url())).text();
    assert!(page.contains("Connection refused"), "{page}");

    let listed = run(Command::new(bin("rookery-agent"))
        .args(["list", "--config"])
        .arg(lab.site.path("host.toml")));
    let err = String::from_utf8_lossy(&listed.stderr).into_owned();
    let listed = String::from_utf8_lossy(&listed.stdout).into_owned();
    assert!(listed.contains("DISK OK") && listed.contains("UNKNOWN: killed"), "{listed}{err}");
}
