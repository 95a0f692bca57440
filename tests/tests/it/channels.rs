//! Channels: a webhook, an irccat, a file; one that hangs keeps no other waiting,
//! and one that fails is stood in for.

use crate::support::{Site, bin, executable, free_port, get, run, stdout, wait_for};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);

const PLUGIN: &str = r#"#!/bin/sh
if [ "$1" = config ]; then
  echo 'graph_title Level'; echo 'level.label level'; echo 'level.critical 90'
  exit
fi
echo "level.value $(cat FILE)"
"#;

/// A listener that hands on what each connection has said, and answers `reply`.
fn sink(reply: &'static str) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("an address").port();
    let (tell, told) = channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut text = String::new();
            let mut from = BufReader::new(stream.try_clone().expect("clones"));
            let mut length = 0;
            while from.read_line(&mut text).is_ok_and(|n| n > 0) {
                let line = text.lines().last().unwrap_or("").to_ascii_lowercase();
                if let Some(n) = line.strip_prefix("content-length: ") {
                    length = n.parse().expect("a length");
                }
                if line.is_empty() {
                    break;
                }
            }
            let mut body = vec![0; length];
            from.read_exact(&mut body).expect("a body");
            let _ = stream.write_all(reply.as_bytes());
            let _ = tell.send(text + String::from_utf8_lossy(&body).as_ref());
        }
    });
    (port, told)
}

#[test]
fn each_way_has_its_own_pace_and_another_stands_in() {
    let site = Site::new();
    let level = site.path("level");
    executable(&site.path("plugins/level"), &PLUGIN.replace("FILE", &level.display().to_string()));
    std::fs::write(&level, "50").expect("writes");
    let (hook, hooked) = sink("HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n");
    let (irc, chatted) = sink("");
    let hang = site.path("hangs");
    executable(&hang, "#!/bin/sh\nsleep 100\n");
    let file = site.path("told");
    let dead = free_port();
    let config = format!(
        "[[contact]]\nname = \"hangs\"\ncommand = [{hang:?}]\n\
         [[contact]]\nname = \"hook\"\nwebhook = \"http://127.0.0.1:{hook}/x?key=secret\"\n\
         [[contact]]\nname = \"chat\"\nirc = \"127.0.0.1:{irc} #ops\"\n\
         [[contact]]\nname = \"dead\"\nwebhook = \"http://127.0.0.1:{dead}/y?key=secret\"\n\
         fallback = \"filed\"\n\
         [[contact]]\nname = \"filed\"\nfile = {file:?}\n\
         [alerting]\ngroup_window_ms = 0\n"
    );
    std::fs::create_dir(site.path("alerts.d")).expect("a folder");
    // The file alone is told only in another's stead.
    let rule = "[[rule]]\ncontacts = [\"hangs\", \"hook\", \"chat\", \"dead\"]\n";
    std::fs::write(site.path("alerts.d/who.toml"), rule).expect("writes");
    let mut collector = site.collector(&config);
    let agent = site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    wait_for("a good level", LIMIT, || {
        let services = site.services("n1");
        services.iter().any(|s| s["service"] == "level" && s["hard"] == true).then_some(())
    });
    std::fs::write(&level, "95").expect("writes");
    let posted = hooked.recv_timeout(LIMIT).expect("a webhook");
    let body = posted.split("\r\n\r\n").nth(1).expect("a body");
    let json: serde_json::Value = serde_json::from_str(body).expect("JSON");
    assert_eq!((&json["version"], &json["status"]), (&"4".into(), &"firing".into()), "{json}");
    assert_eq!(json["alerts"][0]["labels"]["service"], "level", "{json}");
    let line = chatted.recv_timeout(LIMIT).expect("a line");
    assert!(line.starts_with("#ops %REDCRITICAL%NORMAL n1/level: level is 95"), "{line}");
    // Two tries at the dead one, then the other.
    let told = wait_for("the one who stands in", LIMIT, || {
        std::fs::read_to_string(&file).ok().filter(|t| !t.is_empty())
    });
    assert!(told.contains("CRITICAL n1/level: level is 95") && told.lines().count() == 1, "{told}");
    let log = collector.said();
    assert!(log.contains("others are told instead of contact dead webhook"), "{log}");
    assert!(!log.contains("secret"), "a URL's secret is in the log: {log}");
    let why =
        stdout(Command::new(bin("rookery")).args(["why", "n1", "level", "--url", &site.url()]));
    assert!(why.starts_with("Now: people were told that it is CRITICAL"), "{why}");
    for want in [
        "PROBLEM CRITICAL by contact hook webhook: told at ",
        "PROBLEM CRITICAL by contact dead webhook: failed ",
        "PROBLEM CRITICAL by contact hangs command: not told yet",
        "PROBLEM CRITICAL by contact filed file: told at ",
        "OK -> CRITICAL (soft, 1.): level is 95",
    ] {
        assert!(why.contains(want), "{want}: {why}");
    }
    // Whoever looks sees which ways fail.
    let troubles = get(&format!("{}/api/v1/troubles", site.url())).json();
    assert_eq!(troubles.as_array().map(Vec::len), Some(1), "{troubles}");
    assert_eq!(troubles[0]["what"], "contact dead webhook", "{troubles}");
    let status = stdout(Command::new(bin("rookery")).args(["status", "--url", &site.url()]));
    assert!(status.contains("TELLING FAILS contact dead webhook since 20"), "{status}");
    let page = get(&format!("{}/problems", site.url())).text();
    assert!(page.contains("Telling fails: contact dead webhook"), "{page}");
    for text in [troubles.to_string(), status, page] {
        assert!(!text.contains("secret"), "a URL's secret is shown: {text}");
    }
    let refused = run(Command::new(bin("rookery")).args(["why", "nobody", "--url", &site.url()]));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert!(text.contains("no node \"nobody\" is watched"), "{text}");
    std::fs::write(&level, "50").expect("writes");
    let posted = hooked.recv_timeout(LIMIT).expect("a webhook");
    assert!(posted.contains("\"status\":\"resolved\""), "{posted}");
    agent.stop();
    // The one that hangs is still at it.
    collector.kill9();
}

#[test]
fn slips_are_told_before_the_start() {
    let site = Site::new();
    for (text, want) in [
        ("webhook = \"hooks.example\"", "webhook = \"hooks.example\""),
        ("irc = \"localhost\"", "irc = \"localhost\": write \"HOST:PORT\""),
        ("fallback = \"boss\"\nsyslog = true", "fallback = \"boss\": name another contact"),
        ("", "give it mail, command, webhook, irc, file or syslog"),
        ("web_hook = \"x\"", "unknown key \"web_hook\"; did you mean \"webhook\"?"),
    ] {
        let file = site.path("c.toml");
        std::fs::write(&file, format!("[[contact]]\nname = \"a\"\n{text}\n")).expect("writes");
        let done = run(Command::new(bin("rookery"))
            .args(["collector", "--check-config", "--config"])
            .arg(&file));
        let said = String::from_utf8_lossy(&done.stderr).into_owned();
        assert_eq!(done.status.code(), Some(1), "{said}");
        assert!(said.contains(want), "{text}: {said}");
    }
}
