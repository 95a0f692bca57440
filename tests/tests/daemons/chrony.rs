//! chronyd: one that is a server by its own clock, one that follows it. Neither
//! touches the clock of this machine (`-x`).

use crate::lab::{LIMIT, Lab};
use crate::support::{Proc, free_port, run, wait_for};
use std::os::unix::process::CommandExt;
use std::process::Command;

fn chronyd(lab: &Lab, name: &str, config: &str) -> Proc {
    let dir = lab.site.path(name).display().to_string();
    std::fs::create_dir(&dir).expect("a folder");
    let config = format!("{config}\npidfile {dir}/pid\ndriftfile {dir}/drift\n");
    std::fs::write(format!("{dir}/conf"), config).expect("writes");
    let mut command = Command::new("/usr/sbin/chronyd");
    command.args(["-x", "-d", "-u", "root", "-f"]).arg(format!("{dir}/conf"));
    Proc::start(command.process_group(0))
}

#[test]
fn who_follows_whom_is_seen() {
    let mut lab = Lab::new();
    let (ntp, cmd) = (free_port(), free_port());
    let server =
        format!("local stratum 5\nport {ntp}\nbindaddress 127.0.0.1\nallow 127.0.0.1\ncmdport 0");
    let client = format!(
        "server 127.0.0.1 port {ntp} iburst minpoll 0 maxpoll 0\nport 0\ncmdport {cmd}\n\
         bindcmdaddress 127.0.0.1"
    );
    let mut of = chronyd(&lab, "client", &client);
    let at = format!("[probe.chrony]\naddress = \"127.0.0.1:{cmd}\"\n");
    wait_for("chronyd to answer", LIMIT, || {
        assert!(!of.is_gone(), "it ended: {}", of.said());
        let port = cmd.to_string();
        let asked = run(Command::new("chronyc").args(["-h", "127.0.0.1", "-p", &port, "tracking"]));
        asked.status.success().then_some(())
    });
    lab.watch(&at);
    lab.until("chrony_stratum", "stratum", |v| v == 0.0);
    assert!(lab.values("chrony_offset", "systime").is_empty(), "it follows nobody");
    let _server = chronyd(&lab, "server", &server);
    lab.until("chrony_stratum", "stratum", |v| v == 6.0);
    let off = lab.newest("chrony_offset", "systime");
    assert!(off.abs() < 0.1, "two on one machine: {off}");
    let delay = lab.newest("chrony_error", "rootdelay");
    assert!(delay > 0.0 && lab.newest("chrony_error", "maxerror") > delay / 2.0, "{delay}");
    assert!(lab.info("chrony_offset").contains("It follows 127.0.0.1 now"));
}
