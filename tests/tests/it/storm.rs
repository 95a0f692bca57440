//! A storm through real processes: three services of a node go bad, the collector is
//! killed while their message waits for the group window, the node dies, the
//! collector is killed again, and all is well: one thread of three messages.

use crate::support::{Site, bin, executable, get, stdout, wait_for};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(120);

const PLUGIN: &str = r#"#!/bin/sh
if [ "$1" = config ]; then
  echo 'graph_title Level'; echo 'level.label level'; echo 'level.critical 90'
  exit
fi
echo "level.value $(cat FILE)"
"#;

#[test]
fn one_node_is_one_thread_whoever_is_killed() {
    let site = Site::new();
    let (level, told) = (site.path("level"), site.path("told"));
    let set = |text: &str| std::fs::write(&level, text).expect("writes");
    set("50");
    let text = PLUGIN.replace("FILE", &level.display().to_string());
    for name in ["disk", "mail", "sql"] {
        executable(&site.path("plugins").join(name), &text);
    }
    let script = site.path("page");
    executable(
        &script,
        &format!(
            "#!/bin/sh\necho \"$NAGIOS_NOTIFICATIONTYPE $NAGIOS_HOSTNAME $NAGIOS_SERVICEDESC: \
             $NAGIOS_SERVICEOUTPUT\" >> {}\n",
            told.display()
        ),
    );
    let config = format!(
        "[[contact]]\nname = \"pager\"\ncommand = [{script:?}]\n\
         [alerting]\ngroup_window_ms = 5000\ndown_after_ms = 4000\nstart_grace_ms = 3000\n"
    );
    // Whatever is wrong with the machine that this runs on.
    std::fs::create_dir(site.path("alerts.d")).expect("a folder");
    let quiet = ["df", "df_inode", "open_files", "memory", "swap", "load", "conntrack_used"];
    let rule = |service: &&str| format!("[[rule]]\nservice = \"{service}\"\nenabled = false\n");
    let rules = quiet.iter().map(rule).collect::<String>();
    std::fs::write(site.path("alerts.d/quiet.toml"), rules).expect("writes");
    let lines = || -> Vec<String> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let wait_hard = |state: &str| {
        wait_for(&format!("three hard {state}"), LIMIT, || {
            let services = site.services("n1");
            let is_ours = |s: &serde_json::Value| {
                ["disk", "mail", "sql"].iter().any(|name| s["service"] == *name)
            };
            let n =
                services.iter().filter(|s| is_ours(s) && s["state"] == state && s["hard"] == true);
            (n.count() == 3).then_some(())
        });
    };
    let collector = site.collector(&config);
    let agent = site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    wait_hard("OK");
    set("95");
    wait_hard("CRITICAL");
    assert_eq!(lines(), [] as [String; 0], "it waits for what shares its cause");
    collector.kill9();
    let collector = site.collector(&config);
    wait_for("the page", LIMIT, || (!lines().is_empty()).then_some(()));
    let problems = get(&format!("{}/api/v1/problems", site.url())).json();
    let id = problems[0]["incident"].as_str().expect("an incident").to_owned();
    let why = || {
        let mut command = Command::new(bin("rookery"));
        stdout(command.args(["why", &id, "--url", &site.url()]))
    };
    let open = why();
    assert!(open.starts_with("Now: it is open\nn1/"), "{open}");
    let told = ": people were told that it is CRITICAL, as one of 3 problems";
    for name in ["disk", "mail", "sql"] {
        assert!(open.contains(&format!("\nn1/{name}{told}")), "{name}: {open}");
    }
    for want in ["n1/sql OK -> CRITICAL (soft, 1.)", "PROBLEM CRITICAL by contact pager command: "]
    {
        assert!(open.contains(want), "{want}: {open}");
    }
    agent.kill9();
    wait_for("DOWN", LIMIT, || (lines().len() >= 2).then_some(()));
    collector.kill9();
    let collector = site.collector(&config);
    set("50");
    let agent = site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    wait_hard("OK");
    let all = wait_for("the end", LIMIT, || (lines().len() >= 3).then(lines));
    let over = why();
    assert!(over.starts_with("Now: it is over\n"), "{over}");
    assert!(over.contains("  RECOVERY OK by contact pager command: "), "{over}");
    assert!(over.contains("  n1/sql OK -> CRITICAL"), "{over}");
    agent.stop();
    collector.stop();
    let all = if lines().len() > all.len() { lines() } else { all };
    assert_eq!(all.len(), 3, "a page, an update, a recovery: {all:#?}");
    // Which of the three was first by a millisecond names the thread.
    let lead = all[0].split([' ', ':']).nth(2).expect("a service").to_owned();
    assert!(["disk", "mail", "sql"].contains(&lead.as_str()), "{all:#?}");
    assert!(all[0].starts_with(&format!("PROBLEM n1 {lead}: level is 95")), "{all:#?}");
    assert!(all[0].contains("; 2 more services of it: "), "{all:#?}");
    assert!(all[1].starts_with(&format!("PROBLEM n1 {lead}: n1: no data for")), "{all:#?}");
    assert!(all[1].contains("services behind it: disk, mail, sql, "), "{all:#?}");
    assert!(all[2].starts_with(&format!("RECOVERY n1 {lead}: all 4 problems")), "{all:#?}");
}
