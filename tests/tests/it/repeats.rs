//! kill -9 between telling and noting it: mail, command and webhook tell it once more,
//! as the same, and say that it is a repeat.
//!
//! A line to IRC, a file or syslog is noted as soon as it is written: there the power
//! goes at each change of the ledger in turn.

use crate::faults::Layer;
use crate::support::{Proc, Site, executable, http, wait_for};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixDatagram;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const PLUGIN: &str = "#!/bin/sh
if [ \"$1\" = config ]; then
  echo 'graph_title Level'; echo level.label level; echo level.critical 90; exit
fi
echo level.value 95
";

/// Listens; `talk` takes what is told, and gives what ends the conversation well.
/// While `deaf` that end is not said.
fn sink(
    deaf: &Arc<AtomicBool>,
    talk: impl Fn(&mut BufReader<TcpStream>) -> Option<(String, &'static str)> + Send + 'static,
) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("an address").port();
    let (tell, told) = channel();
    let deaf = deaf.clone();
    // Held open: a closed connection is an answer, too.
    let held: Arc<Mutex<Vec<BufReader<TcpStream>>>> = Arc::default();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let Some((text, end)) = talk(&mut stream) else { continue };
            let _ = tell.send(text);
            if deaf.load(Ordering::SeqCst) {
                held.lock().expect("nobody panics").push(stream);
            } else {
                let _ = stream.get_mut().write_all(end.as_bytes());
                // SMTP's last word.
                let mut rest = String::new();
                if stream.read_line(&mut rest).is_ok_and(|n| n > 0) {
                    let _ = stream.get_mut().write_all(b"221 bye\r\n");
                }
            }
        }
    });
    (port, told)
}

fn webhook(stream: &mut BufReader<TcpStream>) -> Option<(String, &'static str)> {
    let mut head = String::new();
    while stream.read_line(&mut head).is_ok_and(|n| n > 2) {}
    let head = head.to_ascii_lowercase();
    let length = head.lines().find_map(|l| l.strip_prefix("content-length: "))?;
    let mut body = vec![0; length.parse().ok()?];
    stream.read_exact(&mut body).ok()?;
    let end = "HTTP/1.1 200 OK\r\ncontent-length: 0\r\nconnection: close\r\n\r\n";
    Some((String::from_utf8(body).ok()?, end))
}

fn smtp(stream: &mut BufReader<TcpStream>) -> Option<(String, &'static str)> {
    stream.get_mut().write_all(b"220 sink\r\n").ok()?;
    loop {
        let mut line = String::new();
        if stream.read_line(&mut line).ok()? == 0 {
            return None;
        }
        if !line.to_ascii_uppercase().starts_with("DATA") {
            stream.get_mut().write_all(b"250 ok\r\n").ok()?;
            continue;
        }
        stream.get_mut().write_all(b"354 go\r\n").ok()?;
        let mut mail = String::new();
        while !mail.ends_with("\r\n.\r\n") {
            if stream.read_line(&mut mail).ok()? == 0 {
                return None;
            }
        }
        return Some((mail, "250 kept\r\n"));
    }
}

#[test]
fn what_may_have_been_told_is_told_once_more_as_the_same() {
    let site = Site::new();
    executable(&site.path("plugins/level"), PLUGIN);
    let deaf = Arc::new(AtomicBool::new(true));
    let (hook, hooked) = sink(&deaf, webhook);
    let (smtp, mailed) = sink(&deaf, smtp);
    let (script, told) = (site.path("page"), site.path("told"));
    let wait = site.path("deaf");
    std::fs::write(&wait, "").expect("writes");
    executable(
        &script,
        &format!(
            "#!/bin/sh\necho \"$ROOKERY_ID $ROOKERY_REPEATED\" >> {}\n\
             while [ -e {} ]; do sleep 0.1; done\n",
            told.display(),
            wait.display()
        ),
    );
    let config = format!(
        "[alerting]\ngroup_window_ms = 0\n[mail]\nsmtp = \"127.0.0.1:{smtp}\"\n\
         from = \"rookery@example.com\"\nto = [\"ops@example.com\"]\n\
         [[contact]]\nname = \"hook\"\nwebhook = \"http://127.0.0.1:{hook}/\"\n\
         [[contact]]\nname = \"pager\"\ncommand = [{script:?}]\n"
    );
    let lines = || -> Vec<String> {
        let text = std::fs::read_to_string(&told).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    };
    let collector = site.collector(&config);
    let agent = site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    let first_hook = hooked.recv_timeout(LIMIT).expect("a webhook");
    let first_mail = mailed.recv_timeout(LIMIT).expect("a mail");
    wait_for("the command", LIMIT, || (lines().len() == 1).then_some(()));
    // All of them have it, and nobody has said so.
    collector.kill9();
    deaf.store(false, Ordering::SeqCst);
    std::fs::remove_file(&wait).expect("removes");
    let collector = site.collector(&config);
    let second_hook = hooked.recv_timeout(LIMIT).expect("once more");
    let second_mail = mailed.recv_timeout(LIMIT).expect("once more");
    wait_for("the command", LIMIT, || (lines().len() == 2).then_some(()));

    let json = |text: &str| -> serde_json::Value { serde_json::from_str(text).expect("JSON") };
    let (first, second) = (json(&first_hook), json(&second_hook));
    assert_eq!(first["alerts"][0]["fingerprint"], second["alerts"][0]["fingerprint"]);
    assert_eq!(first["groupKey"], second["groupKey"]);
    assert_eq!(first["commonAnnotations"].get("repeated"), None, "{first}");
    assert_eq!(second["commonAnnotations"]["repeated"], "true", "{second}");
    let id = |mail: &str| {
        let line = mail.lines().find(|l| l.starts_with("Message-ID: "));
        line.expect("an id").to_owned()
    };
    assert_eq!(id(&first_mail), id(&second_mail));
    assert!(!first_mail.contains("Repeated: Rookery ended"), "{first_mail}");
    assert!(second_mail.contains("Repeated: Rookery ended while it told this"), "{second_mail}");
    let told = lines();
    let (a, b) = (told[0].split_once(' '), told[1].split_once(' '));
    assert_eq!(a.map(|(id, _)| id), b.map(|(id, _)| id), "{told:?}");
    assert_eq!((a.map(|a| a.1), b.map(|b| b.1)), (Some("0"), Some("1")), "{told:?}");
    // And that was all.
    collector.stop();
    let collector = site.collector(&config);
    assert!(hooked.recv_timeout(Duration::from_secs(4)).is_err());
    assert!(mailed.try_recv().is_err() && lines().len() == 2);
    agent.stop();
    collector.stop();
}

/// A receiver that refuses for good: the others are told, and when it works again.
#[test]
fn a_way_that_fails_is_told_by_the_others() {
    let site = Site::new();
    let level = site.path("level");
    let text = PLUGIN.replace("95", &format!("$(cat {})", level.display()));
    executable(&site.path("plugins/level"), &text);
    std::fs::write(&level, "95").expect("writes");
    let works = Arc::new(AtomicBool::new(false));
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("an address").port();
    let does = works.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let mut stream = BufReader::new(stream);
            let _ = webhook(&mut stream);
            let code = if does.load(Ordering::SeqCst) { "200 OK" } else { "400 Bad Request" };
            let answer =
                format!("HTTP/1.1 {code}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
            let _ = stream.get_mut().write_all(answer.as_bytes());
        }
    });
    let file = site.path("told");
    let config = format!(
        "[alerting]\ngroup_window_ms = 0\n\
         [[contact]]\nname = \"hook\"\nwebhook = \"http://127.0.0.1:{port}/\"\n\
         [[contact]]\nname = \"log\"\nfile = {file:?}\n"
    );
    let lines = || std::fs::read_to_string(&file).unwrap_or_default();
    let collector = site.collector(&config);
    let agent = site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    let all = wait_for("the trouble", LIMIT, || {
        Some(lines()).filter(|l| l.contains("CRITICAL rookery/contact hook webhook: "))
    });
    assert!(all.contains("HTTP 400"), "{all}");
    // A restart tells it no second time.
    collector.stop();
    let collector = site.collector(&config);
    works.store(true, Ordering::SeqCst);
    // The end of what was refused for good is not sent there: the next problem is.
    for (value, state) in [("5", "OK"), ("95", "CRITICAL")] {
        std::fs::write(&level, value).expect("writes");
        wait_for(state, LIMIT, || {
            let services = site.services("n1");
            let level = services.iter().find(|s| s["service"] == "level")?;
            (level["state"] == state && level["hard"] == true).then_some(())
        });
    }
    let all = wait_for("its end", LIMIT, || {
        Some(lines()).filter(|l| l.contains("OK rookery/contact hook webhook: it works again"))
    });
    assert_eq!(all.matches("rookery/contact hook webhook").count(), 2, "{all}");
    agent.stop();
    collector.stop();
}

/// Where lines go: an irccat, a file, a system's log.
struct Lines {
    site: Site,
    config: String,
    chatted: Receiver<String>,
    logged: Receiver<String>,
}

impl Lines {
    fn new() -> Lines {
        let site = Site::new();
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("an address").port();
        let (tell, chatted) = channel();
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                let mut line = String::new();
                // A killed one has said nothing.
                if stream.read_to_string(&mut line).is_ok_and(|n| n > 0) && tell.send(line).is_err()
                {
                    return;
                }
            }
        });
        let log = UnixDatagram::bind(site.path("log")).expect("binds");
        let (tell, logged) = channel();
        std::thread::spawn(move || {
            let mut line = [0; 8192];
            while let Ok(n) = log.recv(&mut line) {
                if tell.send(String::from_utf8_lossy(&line[..n]).into_owned()).is_err() {
                    return;
                }
            }
        });
        let config = format!(
            "[alerting]\ngroup_window_ms = 0\n[[contact]]\nname = \"ops\"\n\
             irc = \"127.0.0.1:{port} #ops\"\nfile = {:?}\nsyslog = {:?}\n",
            site.path("told"),
            site.path("log")
        );
        Lines { site, config, chatted, logged }
    }

    fn post(&self, value: i64) -> Option<u16> {
        let sample = format!(r#"{{"service":"s","field":"f","value":{value}}}"#);
        self.site.post(&format!(r#"{{"node":"n1","samples":[{sample}]}}"#)).map(|a| a.status)
    }

    /// How many notices are written down, and how many of them wait to be told, as the
    /// collector says; `None`: it does not answer.
    fn outbox(&self) -> Option<(usize, usize)> {
        let url = format!("{}/api/v1/why?node=n1&service=s", self.site.url());
        let answer = http(|c| c.get(url))?;
        let why: serde_json::Value = serde_json::from_slice(&answer.body).ok()?;
        let all = why["notices"].as_array()?;
        Some((all.len(), all.iter().filter(|n| n["sent_ms"].is_null()).count()))
    }

    /// What was told by each way.
    fn told(&self) -> [Vec<String>; 3] {
        let file = std::fs::read_to_string(self.site.path("told")).unwrap_or_default();
        // Each has said its last by now; what is on its way through a thread comes.
        let all = |from: &Receiver<String>| {
            let first = from.recv_timeout(LIMIT).expect("it is told");
            let mut all = vec![first];
            while let Ok(next) = from.recv_timeout(Duration::from_millis(300)) {
                all.push(next);
            }
            all
        };
        [all(&self.chatted), file.lines().map(str::to_owned).collect(), all(&self.logged)]
    }
}

/// The power goes with the n-th change of the ledger after a problem began; whether it
/// did. How often each way has told it.
fn cut_at(n: u32) -> (bool, [usize; 3]) {
    let lines = Lines::new();
    let site = &lines.site;
    std::fs::create_dir_all(site.path("alerts.d")).expect("a folder");
    let rule = "[[rule]]\nservice = \"s\"\ncritical = \"~:90\"\nmax_check_attempts = 1\n";
    std::fs::write(site.path("alerts.d/s.toml"), rule).expect("writes");
    let layer = Layer::build(site);
    let armed = site.path("armed");
    let mut command = site.collector_command(&lines.config);
    let plan = format!("mode=cut at={n} seed={n} only=state.sqlite");
    layer.put_under(&mut command, &site.path("data"), &plan);
    command.env("FAULTS_ARM", &armed);
    let mut collector = Proc::start(&mut command);
    collector.line("pages on", LIMIT);
    assert_eq!(lines.post(5), Some(200));
    std::fs::write(&armed, "").expect("writes");
    // The power may go before the answer.
    let _ = lines.post(95);
    let is_cut = wait_for("the cut, or the end", LIMIT, || match collector.is_gone() {
        true => Some(true),
        false => (lines.outbox() == Some((3, 0))).then_some(false),
    });
    drop(collector);
    let collector = site.collector(&lines.config);
    // Who was killed before it was written down that there is a problem sees it now.
    assert_eq!(lines.post(95), Some(200));
    wait_for("all is told", LIMIT, || (lines.outbox() == Some((3, 0))).then_some(()));
    let told = lines.told();
    collector.stop();
    for (way, all) in ["irc", "file", "syslog"].iter().zip(&told) {
        assert!((1..=2).contains(&all.len()), "cut at {n}, {way}: {all:#?}");
        assert!(!all[0].contains("told again") || all.len() == 1, "cut at {n}, {way}: {all:#?}");
        for again in &all[1..] {
            assert!(again.contains("(told again: it is not sure that it was)"), "{way}: {again}");
        }
    }
    (is_cut, told.map(|all| all.len()))
}

#[test]
fn a_line_is_told_at_most_once_more_whenever_the_power_goes() {
    let mut twice = [false; 3];
    // Who of the three is noted last is chance.
    for _ in 0..4 {
        for n in 1..200 {
            let (is_cut, told) = cut_at(n);
            (0..3).for_each(|i| twice[i] |= told[i] == 2);
            if !is_cut {
                assert!(n > 3, "nothing was cut");
                break;
            }
        }
        if twice == [true; 3] {
            return;
        }
    }
    panic!("there is a moment between telling and noting it: {twice:?}");
}
