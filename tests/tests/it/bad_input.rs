//! Bad input gets a clear message, and nothing else suffers.

use crate::support::{Proc, Site, bin, executable, get, http, run, wait_for};
use std::process::Command;
use std::time::Duration;

fn fails(command: &mut Command, names: &[&str]) {
    let output = run(command);
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(matches!(output.status.code(), Some(1 | 2)), "{:?}: {text}", output.status);
    for name in names {
        assert!(text.contains(name), "{name} in {text}");
    }
    println!("{}", text.trim());
}

#[test]
fn configuration_is_refused_with_place_and_remedy() {
    let site = Site::new();
    let cases = [
        ("intervall = 1\n", &["agent.toml:1", "intervall"][..]),
        ("node = \"a\"\nstpe = \"1s\"\n", &["agent.toml:2", "stpe", "step"]),
        ("step = \"fast\"\n", &["agent.toml:1", "fast"]),
        ("node = \"a\nstep = 1\n", &["agent.toml:1"]),
        ("[probe.cpuu]\n", &["cpuu", "cpu"]),
        ("collector = \"db1\"\n", &["collector", "db1"]),
    ];
    for (text, names) in cases {
        let file = site.path("agent.toml");
        std::fs::write(&file, text).expect("writes");
        fails(
            Command::new(bin("rookery-agent")).arg("--check-config").arg("--config").arg(&file),
            names,
        );
    }
    let cases = [
        ("listne = \"127.0.0.1:1\"\n", &["collector.toml:1", "listne", "listen"][..]),
        ("listen = \"4950\"\n", &["listen", "4950"]),
        ("[mail]\nsmpt = \"x\"\n", &["collector.toml:2", "smpt", "smtp"]),
        ("data = 5\n", &["collector.toml:1", "5", "path"]),
    ];
    for (text, names) in cases {
        let file = site.path("collector.toml");
        std::fs::write(&file, text).expect("writes");
        fails(
            Command::new(bin("rookery"))
                .args(["collector", "--check-config", "--config"])
                .arg(&file),
            names,
        );
    }
    std::fs::create_dir(site.path("alerts.d")).expect("a folder");
    std::fs::write(site.path("alerts.d/a.toml"), "[[rule]]\nwarnign = \"1\"\n").expect("writes");
    std::fs::write(site.path("collector.toml"), format!("alerts = {:?}\n", site.path("alerts.d")))
        .expect("writes");
    fails(
        Command::new(bin("rookery"))
            .args(["collector", "--check-config", "--config"])
            .arg(site.path("collector.toml")),
        &["a.toml:2", "warnign", "warning"],
    );
}

/// A command that hangs, and that no one else has.
fn long_sleep() -> String {
    format!("sleep {}", 100_000 + std::process::id())
}

/// Plugins as bad as they come, beside one that is good.
fn bad_plugins(site: &Site) {
    let plugin = |name: &str, fetch: &str| {
        let text = format!(
            "#!/bin/sh\nif [ \"$1\" = config ]; then echo 'graph_title {name}'; \
             echo 'a.label a'; exit; fi\n{fetch}\n"
        );
        executable(&site.path(&format!("plugins/{name}")), &text);
    };
    plugin("good", "echo a.value 42");
    plugin("garbage", "echo '<<<%%%'; echo 'a.value forty-two'; echo 'value a'");
    plugin("binary", "head -c 5000 /dev/urandom");
    plugin("flood", "yes a.value 1 | head -c 10000000");
    plugin("nothing", "exit 0");
    plugin("fails", "echo 'cannot reach the thing' >&2; exit 1");
    let sleep = long_sleep();
    plugin("hangs", &sleep);
    plugin("forks", &format!("{sleep} & echo a.value 7; {sleep}"));
    executable(&site.path("plugins/no_config"), "#!/bin/sh\nexit 3\n");
    executable(&site.path("plugins/no_interpreter"), "#!/no/such/thing\n");
}

fn has_value(site: &Site, service: &str, n: usize) -> bool {
    let services = site.services("n1");
    services.iter().any(|s| s["service"] == service) && site.export("n1", service).len() >= n
}

#[test]
fn bad_plugins_harm_nobody() {
    let site = Site::new();
    bad_plugins(&site);
    let collector = site.collector("");
    let mut agent =
        site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\nplugin_timeout = \"2s\"\n");
    wait_for("the good plugin, again and again", Duration::from_secs(40), || {
        has_value(&site, "good", 8).then_some(())
    });
    let success = |name: &str| {
        let rows = site.export("n1", "rookery_success");
        let last = rows.iter().rev().find(|(_, f, _)| f == name);
        last.map(|(_, _, v)| v.clone())
    };
    for bad in ["fails", "hangs"] {
        wait_for(&format!("{bad} to be known as failed"), Duration::from_secs(60), || {
            (success(&format!("plugin_{bad}")).as_deref() == Some("0")).then_some(())
        });
    }
    let said = agent.said();
    for names in [["fails", "cannot reach the thing"], ["hangs", "time limit"]] {
        assert!(
            said.lines().any(|l| names.iter().all(|n| l.contains(n))),
            "{names:?} in one line of {said}"
        );
    }
    agent.stop();
    collector.stop();
    // What hung, or was left behind by a fork, was killed.
    wait_for("the end of the hanging children", Duration::from_secs(60), || {
        let ps = run(Command::new("ps").args(["-eo", "args"]));
        let ps = String::from_utf8_lossy(&ps.stdout).into_owned();
        (!ps.contains(&long_sleep())).then_some(())
    });
}

fn post(site: &Site, token: &str, kind: &str, body: Vec<u8>) -> (u16, String) {
    let url = format!("{}/api/v1/ingest", site.url());
    let answer = http(|c| c.post(url).bearer_auth(token).header("content-type", kind).body(body))
        .expect("an answer");
    (answer.status, answer.text())
}

#[test]
fn bad_posts_are_refused_with_a_reason() {
    let site = Site::new();
    let collector = site.collector("");
    let now = jiff::Timestamp::now().as_millisecond();
    let sample = |time: i64, value: &str| {
        format!(
            "{{\"node\":\"n\",\"samples\":[{{\"service\":\"s\",\"field\":\"f\",\
             \"time_ms\":{time},\"value\":{value}}}]}}"
        )
    };
    const JSON: &str = "application/json";
    const BATCH: &str = "application/x-rookery-batch";
    let cases: Vec<(&str, &str, Vec<u8>, u16, &str)> = vec![
        ("wrong", JSON, sample(now, "1").into_bytes(), 401, "token"),
        ("sesame", JSON, b"garbage".to_vec(), 400, "JSON"),
        ("sesame", BATCH, b"garbage".to_vec(), 400, ""),
        ("sesame", BATCH, Vec::new(), 400, ""),
        ("sesame", JSON, sample(now + 90_000_000, "1").into_bytes(), 400, "samples[0]"),
        ("sesame", JSON, sample(-5, "1").into_bytes(), 400, "samples[0]"),
        ("sesame", JSON, sample(now, "\"many\"").into_bytes(), 400, "samples[0]"),
        ("sesame", JSON, b"{\"node\":\"n\",\"samples\":[]}".to_vec(), 400, "samples"),
        ("sesame", JSON, b"{\"node\":\"\",\"samples\":[{}]}".to_vec(), 400, "node"),
    ];
    for (token, kind, body, status, names) in cases {
        let (got, text) = post(&site, token, kind, body.clone());
        let body = String::from_utf8_lossy(&body).into_owned();
        assert_eq!(got, status, "{body}: {text}");
        let error: serde_json::Value = serde_json::from_str(&text).expect("JSON");
        assert!(error["error"].as_str().expect("a reason").contains(names), "{body}: {text}");
        println!("{status}: {text}");
    }
    assert_eq!(get(&format!("{}/api/v1/nodes", site.url())).text(), "[]", "nothing was stored");
    // Long past is history: it is taken.
    let (status, text) = post(&site, "sesame", JSON, sample(86_400_000, "1").into_bytes());
    assert_eq!(status, 200, "{text}");
    assert_eq!(site.export("n", "s"), [(86_400_000, "f".to_owned(), "1".to_owned())]);
    collector.stop();
}

#[test]
fn a_gigabyte_is_refused_before_it_is_read() {
    use std::io::{Read, Write};
    let site = Site::new();
    let collector = site.collector("");
    let mut stream = std::net::TcpStream::connect(("127.0.0.1", site.port)).expect("connects");
    stream.set_read_timeout(Some(Duration::from_secs(60))).expect("a timeout");
    stream
        .write_all(
            b"POST /api/v1/ingest HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer sesame\r\n\
              Content-Type: application/json\r\nContent-Length: 1073741824\r\n\r\n",
        )
        .expect("writes");
    // The answer may come before all was sent, and sending may then fail.
    let part = vec![b' '; 1 << 20];
    for _ in 0..64 {
        if stream.write_all(&part).is_err() {
            break;
        }
    }
    let mut answer = [0; 12];
    stream.read_exact(&mut answer).expect("an answer");
    assert_eq!(&answer, b"HTTP/1.1 413");
    let rss = std::fs::read_to_string(format!("/proc/{}/status", collector.pid().as_raw_nonzero()))
        .expect("it runs");
    let peak = rss.lines().find_map(|l| l.strip_prefix("VmHWM:")).expect("a peak");
    let peak_kb: u64 = peak.trim().trim_end_matches(" kB").trim().parse().expect("kB");
    assert!(peak_kb < 200_000, "{peak_kb} kB");
    collector.stop();
}

#[test]
fn bad_questions_are_answered_with_a_reason() {
    let site = Site::new();
    let collector = site.collector("");
    site.post("{\"node\":\"n\",\"samples\":[{\"service\":\"load\",\"field\":\"f\",\"value\":1}]}");
    let cases = [
        ("/api/v1/services", 400, "node"),
        ("/api/v1/services?node=m", 404, "m"),
        ("/api/v1/samples?node=n&service=laod&field=f", 404, "load"),
        ("/api/v1/samples?node=n&service=load&field=f&from=yesterday", 400, "yesterday"),
        ("/api/v1/samples?node=n&service=load&field=f&format=xml", 400, "csv"),
        ("/api/v1/rollup?node=n&service=load&from=0&to=now&step=1s", 400, "steps"),
        ("/api/v1/rollup?node=n&service=load&step=fast", 400, "step"),
        ("/graph/n/load.gif", 404, "svg"),
        ("/graph/n/load.svg?theme=pink", 400, "pink"),
        ("/graph/n/load.svg?colour=red", 400, "colour"),
        ("/graph/n/nothing.svg", 404, "nothing"),
        ("/node/m", 404, "m"),
        ("/node/n/laod", 404, "load"),
        ("/nowhere", 404, "/nowhere"),
    ];
    for (path, status, names) in cases {
        let answer = get(&format!("{}{path}", site.url()));
        assert_eq!(answer.status, status, "{path}: {}", answer.text());
        assert!(answer.text().contains(names), "{path}: {}", answer.text());
    }
    // A page is not fooled by names.
    let evil =
        "{\"node\":\"<b>n</b>\",\"samples\":[{\"service\":\"s\",\"field\":\"f\",\"value\":1}]}";
    let answer = site.post(evil).expect("an answer");
    if answer.status == 200 {
        let page = get(&format!("{}/", site.url())).text();
        assert!(!page.contains("<b>n</b>"), "{page}");
    }
    collector.stop();
}

#[test]
fn an_unknown_command_says_what_there_is() {
    let output = run(Command::new(bin("rookery")).arg("collectr"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(2));
    assert!(text.contains("collector"), "{text}");
    let mut proc = Proc::start(Command::new(bin("rookery")).args(["export", "--help"]));
    proc.line("--field", Duration::from_secs(5));
}
