//! A field over its threshold and back: Nagios' exit codes in order, one mail,
//! one recovery mail, over a real SMTP server; none again after a restart.

use crate::support::{Proc, Site, bin, executable, free_port, run, wait_for};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const PLUGIN: &str = r#"#!/bin/sh
if [ "$1" = config ]; then
  echo 'graph_title Level'; echo 'level.label level'
  echo 'level.warning 80'; echo 'level.critical 90'
  exit
fi
echo "level.value $(cat FILE)"
"#;

/// An SMTP server that keeps every mail as a file.
pub fn smtp(dir: &Path) -> (Proc, u16) {
    let port = free_port();
    let proc = Proc::start(
        Command::new("/usr/bin/python3")
            .args(["-m", "aiosmtpd", "-n", "-l", &format!("127.0.0.1:{port}")])
            .args(["-c", "aiosmtpd.handlers.Mailbox"])
            .arg(dir),
    );
    wait_for("the SMTP server", Duration::from_secs(60), || {
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    (proc, port)
}

/// Subjects of the mails, by their order.
pub fn mails(dir: &Path) -> Vec<String> {
    let mut files: Vec<_> = std::fs::read_dir(dir.join("new"))
        .map(|entries| entries.flatten().map(|e| e.path()).collect())
        .unwrap_or_default();
    files.sort_by_key(|f: &std::path::PathBuf| {
        std::fs::metadata(f).and_then(|m| m.modified()).expect("a time")
    });
    files.iter().map(|f| std::fs::read_to_string(f).expect("reads")).collect()
}

pub fn subject(mail: &str) -> &str {
    mail.lines().find_map(|l| l.strip_prefix("Subject: ")).unwrap_or("(none)")
}

/// Exit code and text of `check_rookery` at the collector.
fn check(site: &Site) -> (i32, String) {
    let output = run(Command::new(bin("check_rookery")).args([
        "-u",
        &site.url(),
        "-H",
        "n1",
        "-s",
        "level",
    ]));
    (output.status.code().expect("exits"), String::from_utf8_lossy(&output.stdout).into_owned())
}

fn wait_code(site: &Site, want: i32) -> String {
    wait_for(&format!("exit code {want}"), Duration::from_secs(30), || {
        let (code, text) = check(site);
        (code == want).then_some(text)
    })
}

fn wait_hard(site: &Site, state: &str) {
    wait_for(&format!("a hard {state}"), Duration::from_secs(30), || {
        let services = site.services("n1");
        let level = services.iter().find(|s| s["service"] == "level")?;
        (level["state"] == state && level["hard"] == true).then_some(())
    });
}

#[test]
fn one_mail_one_recovery_and_nagios_codes_in_order() {
    let site = Site::new();
    let box_dir = site.path("mailbox");
    let (_smtp, port) = smtp(&box_dir);
    let level = site.path("level");
    let set = |text: &str| std::fs::write(&level, text).expect("writes");
    set("50");
    let text = PLUGIN.replace("FILE", &level.display().to_string());
    executable(&site.path("plugins/level"), &text);
    let config = format!(
        "[mail]\nsmtp = \"127.0.0.1:{port}\"\nfrom = \"rookery@example.com\"\n\
         to = [\"ops@example.com\"]\n[alerting]\ngroup_window_ms = 0\n"
    );
    let collector = site.collector(&config);
    let agent = site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");

    let text = wait_code(&site, 0);
    assert!(text.contains("'level'=50"), "perfdata: {text}");
    set("85");
    let text = wait_code(&site, 1);
    assert!(text.contains("WARNING") && text.contains("'level'=85"), "{text}");
    wait_hard(&site, "WARNING");
    // Whatever else this machine has that goes wrong meanwhile is no fault of the level.
    let mails = || -> Vec<String> {
        let all = mails(&box_dir).into_iter();
        all.filter(|m| subject(m).contains(" n1/level")).collect()
    };
    wait_for("the first mail", Duration::from_secs(60), || (mails().len() == 1).then_some(()));
    set("95");
    let text = wait_code(&site, 2);
    assert!(text.contains("CRITICAL") && text.contains("'level'=95"), "{text}");
    wait_hard(&site, "CRITICAL");

    // A restart of the collector tells nobody again.
    collector.stop();
    let collector = site.collector(&config);
    wait_code(&site, 2);
    wait_hard(&site, "CRITICAL");

    set("50");
    wait_code(&site, 0);
    wait_hard(&site, "OK");
    wait_for("the recovery mail", Duration::from_secs(60), || (mails().len() >= 2).then_some(()));
    agent.stop();
    collector.stop();
    let all = mails();
    let subjects: Vec<&str> = all.iter().map(|m| subject(m)).collect();
    println!("{subjects:#?}");
    assert_eq!(subjects.len(), 2, "one mail, one recovery: {subjects:#?}");
    assert!(subjects[0].starts_with("WARNING n1/level"), "{subjects:?}");
    assert!(subjects[1].starts_with("OK n1/level"), "{subjects:?}");
    let first_id = all[0].lines().find_map(|l| l.strip_prefix("Message-ID: ")).expect("an id");
    assert!(all[1].contains(first_id), "the recovery belongs to the problem's thread");
    // Text first, then HTML with the graph in it.
    let at = |what: &str| all[0].find(what).unwrap_or_else(|| panic!("{what}: {}", all[0]));
    let order = ["text/plain", "multipart/related", "text/html", "image/png"].map(at);
    assert!(order.is_sorted(), "{order:?}: {}", all[0]);
    assert!(all[0].contains("cid:graph") && all[0].contains("Content-ID: <graph>"), "{}", all[0]);
    assert!(all[0].contains("Auto-Submitted: auto-generated"), "{}", all[0]);
    assert!(all[0].contains("List-Id: Rookery <rookery.example.com>"), "{}", all[0]);
    assert!(all[0].contains("/node/n1/level#acknowledge"), "{}", all[0]);
    assert!(all[0].len() < 140_000, "a mail of {} bytes", all[0].len());
}

#[test]
fn a_silent_node_is_down_once() {
    let site = Site::new();
    let box_dir = site.path("mailbox");
    let (_smtp, port) = smtp(&box_dir);
    let collector = site.collector(&format!(
        "[mail]\nsmtp = \"127.0.0.1:{port}\"\nfrom = \"rookery@example.com\"\n\
         to = [\"ops@example.com\"]\n[alerting]\ngroup_window_ms = 0\n\
         down_after_ms = 4000\nstart_grace_ms = 1000\n"
    ));
    let agent = site.agent("n1", "step = \"1s\"\n");
    wait_for("services", Duration::from_secs(60), || {
        (site.services("n1").len() > 10).then_some(())
    });
    let check = || {
        let output = run(Command::new(bin("check_rookery")).args(["-u", &site.url(), "-H", "n1"]));
        output.status.code().expect("exits")
    };
    assert_eq!(check(), 0);
    agent.kill9();
    wait_for("DOWN", Duration::from_secs(30), || (check() == 2).then_some(()));
    wait_for("the mail", Duration::from_secs(60), || (!mails(&box_dir).is_empty()).then_some(()));
    let agent = site.agent("n1", "step = \"1s\"\n");
    wait_for("UP", Duration::from_secs(30), || (check() == 0).then_some(()));
    wait_for("the recovery", Duration::from_secs(60), || {
        (mails(&box_dir).len() >= 2).then_some(())
    });
    agent.stop();
    collector.stop();
    let all = mails(&box_dir);
    let subjects: Vec<&str> = all.iter().map(|m| subject(m)).collect();
    assert_eq!(subjects.len(), 2, "DOWN once, not once a service: {subjects:#?}");
    assert_eq!(subjects, ["DOWN n1", "UP n1"]);
}

/// A rule of `alerts.d` over a probe's field; the one who is told is a command.
#[test]
fn a_rule_is_told_to_a_command() {
    let site = Site::new();
    std::fs::create_dir(site.path("alerts.d")).expect("a folder");
    let rule = "[[rule]]\nnode = \"n*\"\nservice = \"uptime\"\nwarning = \"~:-1\"\n\
                max_check_attempts = 1\ncontacts = [\"pager\"]\nlabels = { team = \"ops\" }\n";
    std::fs::write(site.path("alerts.d/uptime.toml"), rule).expect("writes");
    let told = site.path("told");
    let script = site.path("page");
    executable(
        &script,
        &format!(
            "#!/bin/sh\necho \"$NAGIOS_NOTIFICATIONTYPE $NAGIOS_HOSTNAME \
             $NAGIOS_SERVICEDESC $NAGIOS_SERVICESTATE\" >> {}\n",
            told.display()
        ),
    );
    let collector = site.collector(&format!(
        "[[contact]]\nname = \"pager\"\ncommand = [{script:?}]\n\
         [alerting]\ngroup_window_ms = 0\n"
    ));
    let agent = site.agent("n1", "step = \"1s\"\n");
    let lines = || std::fs::read_to_string(&told).unwrap_or_default();
    wait_for("the command", Duration::from_secs(30), || (!lines().is_empty()).then_some(()));
    assert_eq!(lines(), "PROBLEM n1 uptime WARNING\n");
    let problems = crate::support::get(&format!("{}/api/v1/problems", site.url())).json();
    assert_eq!(problems[0]["service"], "uptime", "{problems}");
    let output = run(Command::new(bin("check_rookery")).args([
        "-u",
        &site.url(),
        "-H",
        "n1",
        "-s",
        "uptime",
    ]));
    assert_eq!(output.status.code(), Some(1));
    agent.stop();
    collector.stop();
    assert_eq!(lines(), "PROBLEM n1 uptime WARNING\n", "told once");
}
