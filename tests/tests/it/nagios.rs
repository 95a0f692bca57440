//! Debian's Nagios 4 with the definitions of `rookery nagios-config`: they pass
//! its check, and its active checks see what the collector sees.

use crate::nagios_lab::{nagios, status};
use crate::support::{Proc, Site, bin, executable, run, stdout, wait_for};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const PLUGIN: &str = "#!/bin/sh
if [ \"$1\" = config ]; then
  echo 'graph_title Level; of $USER1$'; echo level.label level; echo level.critical 90; exit
fi
echo level.value 95
";

const DEPENDENCIES: &str = "
[[dependency]]
group = \"farm\"
on = \"switch1\"
[[dependency]]
group = \"farm\"
service = \"level\"
on = \"switch1/up\"
[[dependency]]
group = \"farm\"
service = \"level\"
on = [\"switch1/up\", \"switch2/up\"]
";

#[test]
fn nagios_4_takes_the_definitions_and_sees_what_is_wrong() {
    let site = Site::new();
    executable(&site.path("plugins/level"), PLUGIN);
    std::fs::create_dir(site.path("alerts.d")).expect("a folder");
    std::fs::write(site.path("alerts.d/on.toml"), DEPENDENCIES).expect("writes");
    let collector = site.collector("");
    // A name that Nagios would take for a comment, and a shell for its own.
    let node = "farm;n$1's";
    site.post(
        "{\"node\":\"switch1\",\"samples\":[{\"service\":\"up\",\"field\":\"up\",\"value\":1}]}",
    );
    let agent = site.agent(node, "step = \"1s\"\nplugin_step = \"1s\"\n");
    let url = site.url();
    wait_for("a hard state", LIMIT, || {
        let services = site.services("farm%3Bn%241%27s");
        let level = services.iter().find(|s| s["service"] == "level")?;
        (level["state"] == "CRITICAL" && level["hard"] == true).then_some(())
    });
    let objects = site.path("rookery.cfg");
    let config = |more: &[&str]| {
        stdout(
            Command::new(bin("rookery"))
                .args(["nagios-config", "--url", &url, "--contact-groups", "ops"])
                .arg("--check")
                .arg(bin("check_rookery"))
                .args(more)
                .arg("-o")
                .arg(&objects),
        )
    };
    let said = config(&[]);
    assert!(said.contains("+ farm_n_1_s\n") && said.contains("+ farm_n_1_s / level\n"), "{said}");
    let said = config(&["--limits-only"]);
    assert!(said.contains("- farm_n_1_s / uptime\n") && !said.contains("+ "), "{said}");
    config(&[]);
    let text = std::fs::read_to_string(&objects).expect("reads");
    assert!(text.contains("    parents    switch1\n"), "{text}");
    let want = "define servicedependency {\n    host_name                      switch1\n    \
                service_description            up\n    \
                dependent_host_name            farm_n_1_s\n    \
                dependent_service_description  level\n";
    assert!(text.contains(want), "{text}");
    assert!(text.contains("# level depends on switch1/up, switch2/up\n"), "{text}");
    let said = config(&[]);
    assert!(said.starts_with("3 hosts, "), "nothing has changed: {said}");

    let file = nagios(site.dir.path(), &objects);
    // And what the package ships.
    let packaged = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/check/rookery.cfg");
    let text = std::fs::read_to_string(&file).expect("reads");
    std::fs::write(&file, format!("cfg_file={}\n{text}", packaged.display())).expect("writes");
    let checked = run(Command::new("/usr/sbin/nagios4").arg("-v").arg(&file));
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{text}");
    assert!(text.contains("Total Warnings: 0") && text.contains("Total Errors:   0"), "{text}");

    let nagios = Proc::start(Command::new("/usr/sbin/nagios4").arg(&file));
    let dir = site.dir.path();
    let level = wait_for("an active check", LIMIT, || status(dir, "farm_n_1_s", Some("level")));
    assert_eq!(level.state, "2", "{level:?}");
    assert!(level.text.contains("CRITICAL") && level.text.contains("95"), "{level:?}");
    let uptime = wait_for("another", LIMIT, || status(dir, "farm_n_1_s", Some("uptime")));
    assert_eq!(uptime.state, "0", "{uptime:?}");
    let host = wait_for("the host's check", LIMIT, || status(dir, "farm_n_1_s", None));
    assert_eq!(host.state, "0", "{host:?}");
    let own = wait_for("the collector's check", LIMIT, || status(dir, "rookery", Some("results")));
    assert!(own.state == "0" && own.text == "ROOKERY OK - 2 nodes, 2 are UP", "{own:?}");
    nagios.signal(rustix::process::Signal::TERM);
    agent.stop();
    collector.stop();
}
