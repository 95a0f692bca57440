//! For a Nagios server with nothing but check_nrpe: Debian's nrpe with the snippet
//! that the agent writes.

use crate::support::{Proc, Site, bin, executable, free_port, run, wait_for};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn debians_nrpe_runs_what_the_agent_writes() {
    let site = Site::new();
    executable(
        &site.path("plugins/level"),
        "#!/bin/sh\nif [ \"$1\" = config ]; then echo 'graph_title L'; echo 'level.label l'\n\
         echo 'level.critical 90'; else echo 'level.value 95'; fi\n",
    );
    let port = free_port();
    // Writes the configuration; there an agent listens nowhere.
    let _ = site.agent_command("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    let config = site.path("n1.toml");
    let text = std::fs::read_to_string(&config).expect("reads");
    let text = text.replace("listen = \"none\"", &format!("listen = \"127.0.0.1:{port}\""));
    std::fs::write(&config, text).expect("writes");
    let agent = Proc::start(Command::new(bin("rookery-agent")).arg("--config").arg(&config));
    // nrpe runs it as a user who may not see the build's folder.
    let check = site.path("check_rookery");
    std::fs::copy(bin("check_rookery"), &check).expect("copies");
    let written = || {
        let mut command = Command::new(bin("rookery-agent"));
        command.args(["nrpe-config", "--config"]).arg(&config).arg("--check");
        run(command.arg(&check))
    };
    let snippet = wait_for("the agent's services", LIMIT, || {
        let text = String::from_utf8_lossy(&written().stdout).into_owned();
        text.contains("command[check_rookery_level]=").then_some(text)
    });
    let (nrpe, cfg) = (free_port(), site.path("nrpe.cfg"));
    let head = format!(
        "server_port={nrpe}\nserver_address=127.0.0.1\nallowed_hosts=127.0.0.1\n\
         nrpe_user=nagios\nnrpe_group=nagios\npid_file={}\ndont_blame_nrpe=0\n",
        site.path("nrpe.pid").display()
    );
    std::fs::write(&cfg, head + snippet.as_str()).expect("writes");
    let mut server = Proc::start(Command::new("/usr/sbin/nrpe").arg("-f").arg("-c").arg(&cfg));
    let ask = |command: &str| {
        let done = run(Command::new("/usr/lib/nagios/plugins/check_nrpe").args([
            "-H",
            "127.0.0.1",
            "-p",
            &nrpe.to_string(),
            "-c",
            command,
        ]));
        (done.status.code(), String::from_utf8_lossy(&done.stdout).into_owned())
    };
    let (code, text) = wait_for("nrpe, and a level", LIMIT, || {
        assert!(!server.is_gone(), "{}", server.said());
        Some(ask("check_rookery_level")).filter(|(_, text)| text.contains("'level'=95"))
    });
    assert!(code == Some(2) && text.contains("CRITICAL"), "{text}");
    let (code, text) = ask("check_rookery_load");
    assert!(code == Some(0) && text.contains("'load'="), "{text}");
    agent.stop();
}
