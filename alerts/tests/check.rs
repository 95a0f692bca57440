//! The built `check_rookery` against small servers on loopback: text, perfdata
//! and exit codes.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::Command;
use std::time::{SystemTime, UNIX_EPOCH};

/// Serves every connection of a fresh port with `serve`.
fn server(serve: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
    let address = listener.local_addr().expect("address").to_string();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            serve(stream.expect("stream"));
        }
    });
    address
}

fn check(args: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_check_rookery"))
        .args(args.split_whitespace())
        .env_remove("ROOKERY_TOKEN")
        .output()
        .expect("runs");
    let text = String::from_utf8(output.stdout).expect("text");
    assert!(output.stderr.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(text.ends_with('\n'), "{text:?}");
    (output.status.code().expect("an exit code"), text.trim_end().to_owned())
}

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

/// A collector with one node `db 1`; a token when given must be `secret`.
fn collector(user: &'static str, age_s: i64) -> String {
    let serve = move |mut stream: TcpStream| {
        let mut lines = BufReader::new(stream.try_clone().expect("clone")).lines();
        let request = lines.next().and_then(Result::ok).unwrap_or_default();
        let head: Vec<String> = lines.map_while(Result::ok).take_while(|l| !l.is_empty()).collect();
        let token = head.iter().any(|l| l.eq_ignore_ascii_case("authorization: Bearer wrong"));
        let time = now_ms() - age_s * 1000;
        let path = request.split(' ').nth(1).unwrap_or_default();
        let (status, body) = match path {
            _ if token => ("401 Unauthorized", "{\"error\":\"wrong token\"}".to_owned()),
            // It has one service.
            path if path.contains("&service=") && !path.ends_with("&service=cpu") => {
                ("200 OK", "[]".to_owned())
            }
            path if path.starts_with("/api/v1/services?node=db%201") => (
                "200 OK",
                format!(
                    r#"[{{"service":"cpu","title":"CPU","category":"system","state":"OK",
                    "step_ms":10000,"fields":[{{"field":"user","label":"user","type":"DERIVE",
                    "value":{user},"time_ms":{time},"warning":"~:80","critical":"~:90",
                    "state":"OK"}},{{"field":"big","label":"big","type":"GAUGE",
                    "value":9007199254740993,"time_ms":{time},"warning":null,"critical":null,
                    "state":"OK"}}]}}]"#
                ),
            ),
            "/api/v1/nodes" => (
                "200 OK",
                format!(
                    r#"[{{"node":"up","group":"G","state":"UP","last_seen_ms":{time},
                    "services":{{"OK":10,"WARNING":1,"CRITICAL":0,"UNKNOWN":0}}}},
                    {{"node":"dead","group":"G","state":"DOWN","last_seen_ms":{time},
                    "services":{{"OK":10}}}}]"#
                ),
            ),
            _ => ("404 Not Found", "{\"error\":\"no node \\\"x\\\"\"}".to_owned()),
        };
        let answer = format!(
            "HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n{body}",
            body.len()
        );
        let _ = stream.write_all(answer.as_bytes());
    };
    format!("http://{}", server(serve))
}

/// `check` with the node name that has a blank.
fn check_db(url: &str, args: &str) -> (i32, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_check_rookery"))
        .args(["-u", url, "-H", "db 1"])
        .args(args.split_whitespace())
        .output()
        .expect("runs");
    let text = String::from_utf8(output.stdout).expect("text").trim_end().to_owned();
    (output.status.code().expect("an exit code"), text)
}

#[test]
fn the_collectors_answer_becomes_exit_codes() {
    for (user, code, want) in [
        ("12.5", 0, "CPU OK - user 12.50, big 9007199254740992 | "),
        ("80", 0, "CPU OK - user 80, "),
        ("80.001", 1, "CPU WARNING - user is 80.00 (outside ~:80) | "),
        ("93.1", 2, "CPU CRITICAL - user is 93.10 (outside ~:90) | "),
        ("null", 3, "CPU UNKNOWN - user is unknown | "),
    ] {
        let url = collector(user, 5);
        let (found, text) = check_db(&url, "-s cpu");
        assert_eq!(found, code, "{text}");
        // Values beyond 2^53 are rounded in the text for people only.
        let want = want.replace("9007199254740992", "9007199254740992.00");
        assert!(text.starts_with(&want), "{text}");
        assert!(text.ends_with("'big'=9007199254740993"), "{text}");
        assert!(text.contains("~:80;~:90 "), "{text}");
    }
    let url = collector("93.1", 5);
    assert_eq!(check_db(&url, "-s cpu -f user -w 100 -c 200").0, 0);
    assert_eq!(check_db(&url, "cpu user 93 94").0, 1);
    assert_eq!(check_db(&url, "cpu!user!93.1!94").0, 0);
    assert_eq!(check_db(&url, "cpu user 5 94 -v").1.lines().count(), 2);
    let (code, text) = check_db(&url, "--list");
    assert_eq!((code, text.starts_with("cpu ")), (0, true), "{text}");
}

#[test]
fn what_cannot_be_known_is_unknown_and_says_why() {
    let url = collector("93.1", 300);
    let (code, text) = check_db(&url, "-s cpu");
    assert_eq!(code, 3);
    assert!(text.starts_with("CPU UNKNOWN - data is 5 min old (limit 60 s) | "), "{text}");
    assert_eq!(check_db(&url, "-s cpu -a 400").0, 2);
    for (args, want) in [
        (format!("-u {url} -H x -s cpu"), "no node \"x\""),
        (format!("-u {url} -H x -s cpu --token wrong"), "wrong token"),
        (format!("-u {url} -H nobody"), "no node \"nobody\""),
        ("-u http://127.0.0.1:1 -H x -s cpu".to_owned(), "Connection refused"),
        ("-u ftp://x -H x -s cpu".to_owned(), "ftp://x"),
        ("-H x -s cpu -w 10%".to_owned(), "\"10%\""),
        ("-H x --frobnicate".to_owned(), "--frobnicate"),
        ("-s cpu".to_owned(), "-H NODE"),
    ] {
        let (code, text) = check(&args);
        assert_eq!(code, 3, "{text}");
        assert!(text.contains(" UNKNOWN - ") && text.contains(want), "{args}: {text}");
        assert_eq!(text.lines().count(), 1, "{text}");
    }
    let (code, text) = check_db(&url, "-s cpi");
    assert_eq!(code, 3);
    assert!(text.contains("did you mean \"cpu\"?"), "{text}");
    let (code, text) = check("--help");
    assert_eq!(code, 3);
    assert!(text.contains("Examples:"), "{text}");
    assert_eq!(check("-V").0, 3);
}

#[test]
fn nodes_are_up_or_down() {
    let url = collector("1", 5);
    let (code, text) = check(&format!("-u {url} -H up"));
    assert_eq!(code, 0);
    let want = "UP OK - node is UP, last heard 5 s ago; services: 10 OK, 1 WARNING";
    assert!(text.starts_with(want), "{text}");
    assert!(text.ends_with("| 'ok'=10 'warning'=1 'critical'=0 'unknown'=0"), "{text}");
    let (code, text) = check(&format!("-u {url} -H dead"));
    assert_eq!(code, 2);
    assert!(text.starts_with("DEAD CRITICAL - node is DOWN"), "{text}");
    assert_eq!(check(&format!("-u {url} -H up -a 1")).0, 3);
}

#[test]
fn a_server_that_says_nothing_runs_into_the_time_limit() {
    let silent = server(|mut stream| {
        let _ = stream.read_to_end(&mut Vec::new());
    });
    for args in [format!("-u http://{silent} -H x -s cpu"), format!("-H {silent} -s cpu")] {
        let (code, text) = check(&format!("{args} -t 0.5"));
        assert_eq!(code, 3);
        assert!(text.contains("no answer from") && text.contains("within 0.5 s"), "{text}");
    }
    let garbage = server(|mut stream| {
        let _ = stream.write_all(b"\xff\x00garbage\n");
    });
    assert_eq!(check(&format!("-u http://{garbage} -H x -s cpu")).0, 3);
    let (code, text) = check(&format!("-H {garbage} -s cpu"));
    assert_eq!(code, 3);
    assert!(text.contains("before its greeting"), "{text}");
}

/// A munin-node with a few plugins; its counter grows by 1000 each second.
fn munin_node() -> String {
    server(|mut stream| {
        let (started, base_s) = (std::time::Instant::now(), now_ms() / 1000);
        let lines = BufReader::new(stream.try_clone().expect("clone")).lines();
        let _ = stream.write_all(b"welcome\n# munin node at vm.example\n");
        for line in lines.map_while(Result::ok) {
            let count = 5000 + started.elapsed().as_millis();
            let answer = match line.as_str() {
                line if line.starts_with("cap ") => "cap multigraph dirtyconfig times\n".to_owned(),
                "list" => "bad disk load net\n".to_owned(),
                "config load" => "graph_title Load\nload.label load\nload.warning 10\n\
                    load.critical 120\n.\n"
                    .to_owned(),
                "fetch load" => "load.value 11\n.\n".to_owned(),
                "config net" => "down.type DERIVE\ndown.min 0\ndown.cdef down,8,*\n\
                    down.warning 20000\n.\n"
                    .to_owned(),
                "fetch net" => format!("down.value {count}\n.\n"),
                "config disk" => {
                    "multigraph disk_iops\nr.label r\nmultigraph disk_all\nmultigraph disk_iops.sda\nr.label r\n\
                     r.warning 1:\n.\n"
                        .to_owned()
                }
                "fetch disk" => "multigraph disk_iops\nr.value 5\nmultigraph disk_iops.sda\n\
                    r.value 0\n.\n"
                    .to_owned(),
                // New values every two seconds, as an agent has them.
                "config step" => "n.type DERIVE\n.\n".to_owned(),
                "fetch step" => {
                    let n = started.elapsed().as_secs() as i64 / 2;
                    format!("n.value {}.250:{}\n.\n", base_s + n * 2, n * 50)
                }
                "config bad" => "# Bad exit\n.\n".to_owned(),
                "quit" => break,
                _ => "# Unknown service\n.\n".to_owned(),
            };
            let _ = stream.write_all(answer.as_bytes());
        }
    })
}

#[test]
fn a_munin_node_is_asked_itself() {
    let node = munin_node();
    let ask = |args: &str| check(&format!("-H {node} {args}"));
    assert_eq!(
        ask("-s load"),
        (1, "LOAD WARNING - load is 11 (outside ~:10) | 'load'=11;~:10;~:120".to_owned())
    );
    assert_eq!(ask("-s load -w 11").0, 0);
    assert_eq!(ask("load 5 10").0, 2);
    // Some 1000 a second, times eight.
    let (code, text) = ask("-s net");
    assert_eq!(code, 0, "{text}");
    let rate: f64 = text.split(['=', ';']).nth(1).and_then(|v| v.parse().ok()).expect("a rate");
    assert!((7000.0..9000.0).contains(&rate), "{text}");
    assert_eq!(ask("-s net -c 10:20").0, 2);
    // By the values' own times, not by when they were fetched.
    assert_eq!(ask("-s step").1, "STEP OK - n 25 | 'n'=25");
    let (code, text) = ask("-s disk_iops.sda");
    assert_eq!(
        (code, text.as_str()),
        (1, "DISK_IOPS.SDA WARNING - r is 0 (outside 1:) | 'r'=0;1:")
    );
    for (args, want) in [
        ("-s disk", "ask for one: disk_iops, disk_all, disk_iops.sda"),
        ("-s disk_all", "ask for one of disk_iops, disk_iops.sda"),
        ("-s loat", "did you mean \"load\"?"),
        ("-s bad", "plugin bad: Bad exit"),
        ("-s load -f x", "no field \"x\"; there are load"),
    ] {
        let (code, text) = ask(args);
        assert_eq!(code, 3, "{text}");
        assert!(text.contains(want), "{text}");
    }
    assert_eq!(ask("--list"), (0, "bad\ndisk\nload\nnet".to_owned()));
    let (code, text) = ask("");
    assert_eq!(code, 0);
    assert!(text.contains("node vm.example answers, with 4 plugins"), "{text}");
}
