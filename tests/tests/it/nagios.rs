//! Debian's Nagios 4 with the definitions of `rookery nagios-config`: they pass
//! its check, and its active checks see what the collector sees.

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

/// A Nagios of its own, with one contact who is told by nothing.
fn nagios(dir: &Path, objects: &Path) -> String {
    let path = |name: &str| dir.join(name).display().to_string();
    for sub in ["results", "archives"] {
        std::fs::create_dir_all(dir.join(sub)).expect("a folder");
    }
    let contacts = "define command {\n command_name none\n command_line /bin/true\n}\n\
        define timeperiod {\n timeperiod_name always\n alias always\n \
        monday 00:00-24:00\n}\n\
        define contact {\n contact_name ops\n host_notification_commands none\n \
        service_notification_commands none\n host_notification_period always\n \
        service_notification_period always\n}\n\
        define contactgroup {\n contactgroup_name ops\n alias ops\n members ops\n}\n";
    std::fs::write(dir.join("contacts.cfg"), contacts).expect("writes");
    let text = format!(
        "cfg_file={}\ncfg_file={}\nlog_file={}\nobject_cache_file={}\nstatus_file={}\n\
         status_update_interval=1\nlock_file={}\ntemp_file={}\ntemp_path={}\n\
         check_result_path={}\nlog_archive_path={}\nstate_retention_file={}\n\
         command_file={}\nquery_socket={}\nnagios_user=root\nnagios_group=root\nuse_syslog=0\n\
         interval_length=1\n\
         illegal_object_name_chars=`~!$%^&*|'\"<>?,()=\nillegal_macro_output_chars=`~$&|'\"<>\n",
        path("contacts.cfg"),
        objects.display(),
        path("nagios.log"),
        path("objects.cache"),
        path("status.dat"),
        path("nagios.lock"),
        path("nagios.tmp"),
        path(""),
        path("results"),
        path("archives"),
        path("retention.dat"),
        path("nagios.cmd"),
        path("nagios.qh"),
    );
    let file = dir.join("nagios.cfg");
    std::fs::write(&file, text).expect("writes");
    file.display().to_string()
}

/// What status.dat says of a service (or with `None` of the host): state, output.
fn status(dir: &Path, service: Option<&str>) -> Option<(String, String)> {
    let text = std::fs::read_to_string(dir.join("status.dat")).ok()?;
    let kind = if service.is_some() { "servicestatus {" } else { "hoststatus {" };
    for block in text.split(kind).skip(1) {
        let block = block.split('}').next()?;
        let get = |key: &str| {
            let line = block.lines().find_map(|l| l.trim().strip_prefix(key)?.strip_prefix('='));
            line.unwrap_or_default().to_owned()
        };
        let is_it = service.is_none_or(|s| get("service_description") == s);
        if is_it && get("has_been_checked") == "1" {
            return Some((get("current_state"), get("plugin_output")));
        }
    }
    None
}

#[test]
fn nagios_4_takes_the_definitions_and_sees_what_is_wrong() {
    let site = Site::new();
    executable(&site.path("plugins/level"), PLUGIN);
    let collector = site.collector("");
    // A name that Nagios would take for a comment, and a shell for its own.
    let node = "farm;n$1's";
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
    let said = config(&[]);
    assert!(said.starts_with("1 hosts, "), "nothing has changed: {said}");

    let file = nagios(site.dir.path(), &objects);
    let checked = run(Command::new("/usr/sbin/nagios4").arg("-v").arg(&file));
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{text}");
    assert!(text.contains("Total Warnings: 0") && text.contains("Total Errors:   0"), "{text}");

    let nagios = Proc::start(Command::new("/usr/sbin/nagios4").arg(&file));
    let dir = site.dir.path();
    let level = wait_for("an active check", LIMIT, || status(dir, Some("level")));
    assert_eq!(level.0, "2", "{level:?}");
    assert!(level.1.contains("CRITICAL") && level.1.contains("95"), "{level:?}");
    let uptime = wait_for("another", LIMIT, || status(dir, Some("uptime")));
    assert_eq!(uptime.0, "0", "{uptime:?}");
    let host = wait_for("the host's check", LIMIT, || status(dir, None));
    assert_eq!(host.0, "0", "{host:?}");
    nagios.signal(rustix::process::Signal::TERM);
    agent.stop();
    collector.stop();
}
