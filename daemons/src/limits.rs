//! Tests: no probe calls a healthy daemon ill for what it is.
//!
//! A table of every probe that sets limits, by three questions: what if the
//! source does not have the value, what if it sleeps, what if it is configured
//! so? Each answer is a made-up healthy source that must give no problem, or the
//! reason why there is none.

use crate::support::testing::{Said, ask, make, serve};
use crate::versions;
use rookery_plugins::{FieldType, Range, Value};
use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;

enum Case {
    /// A healthy source, made up.
    Healthy(fn() -> Said),
    /// Why there is no such source.
    None(&'static str),
}
use Case::{Healthy, None as No};

/// A probe, and the answers to the three questions.
struct Row(&'static str, [Case; 3]);

const ANSWERS_OR_NOT: &str = "it answers, or it is away: then there is no reading";
const CONFIGURED_NOT: &str = "no setting of it moves what is judged";

const TABLE: &[Row] = &[
    Row(
        "apache",
        [
            Healthy(|| {
                page("apache", "url = \"http://{}/?auto\"", |_| {
                    "BusyWorkers: 0\nIdleWorkers: 0\nScoreboard: \n".to_owned()
                })
            }),
            No(ANSWERS_OR_NOT),
            Healthy(|| {
                page("apache", "url = \"http://{}/?auto\"", |_| {
                    "BusyWorkers: 1\nIdleWorkers: 3\nScoreboard: W___\n".to_owned()
                })
            }),
        ],
    ),
    Row(
        "chrony",
        [
            // Nobody knows the offset of who follows nobody; that itself is judged.
            No("a line that is not whole is an error"),
            No(ANSWERS_OR_NOT),
            // `local stratum 10`: it is the clock that others follow.
            Healthy(|| {
                program(
                    "chrony",
                    "echo '7F7F0101,127.127.1.1,10,1795283327.8,0.000000000,0.0,0.0,-0.002,0.000,0.182,0.000000000,0.000001036,1.0,Normal'",
                )
            }),
        ],
    ),
    Row(
        "drbd9",
        [
            Healthy(|| {
                program(
                    "drbd9",
                    r#"echo '[{"name":"r","devices":[{"volume":0,"disk-state":"UpToDate"}],"connections":[]}]'"#,
                )
            }),
            No(ANSWERS_OR_NOT),
            // Without a disk of its own by intent.
            Healthy(|| {
                program(
                    "drbd9",
                    r#"echo '[{"name":"r","devices":[{"volume":0,"disk-state":"Diskless","client":true,"quorum":true}],"connections":[{"name":"b","connection-state":"Connected","peer_devices":[{"volume":0,"peer-disk-state":"UpToDate"}]}]}]'"#,
                )
            }),
        ],
    ),
    Row(
        "gearman",
        [
            Healthy(|| {
                lines("gearman", "", |q| {
                    if q.starts_with("version") { "OK 1.1\n" } else { ".\n" }.to_owned()
                })
            }),
            No(ANSWERS_OR_NOT),
            // A function without workers that nobody asks for.
            Healthy(|| {
                lines("gearman", "", |q| {
                    if q.starts_with("version") {
                        "0.9\n"
                    } else {
                        "old\t0\t0\t0\nmail\t5\t1\t1\n.\n"
                    }
                    .to_owned()
                })
            }),
        ],
    ),
    Row(
        "haproxy",
        [
            // 1.3 has neither Idle_pct nor half of the columns.
            Healthy(|| {
                haproxy(
                    "Name: HAProxy\nVersion: 1.3.15\nMaxconn: 0\n\n",
                    "# pxname,svname,qcur,scur,status,\nb,s,0,0,UP,\nb,BACKEND,,0,UP,\n\n",
                )
            }),
            // Servers that are not checked, and places that no server has taken.
            Healthy(|| {
                haproxy(
                    INFO,
                    "# pxname,svname,qcur,act,bck,status,type\nb,w1,0,1,0,no check,2\nb,BACKEND,0,1,0,UP,1\np,w1,0,1,0,UP,2\np,w2,0,1,0,MAINT (resolution),2\np,w3,0,1,0,MAINT,2\np,BACKEND,0,1,0,UP,1\n\n",
                )
            }),
            // Backups alone, and a small limit.
            Healthy(|| {
                haproxy(
                    INFO,
                    "# pxname,svname,qcur,scur,slim,act,bck,status,type\nf,FRONTEND,,2,4,,,OPEN,0\nb,s,0,0,,0,1,UP,2\nb,BACKEND,0,0,,0,1,UP,1\n\n",
                )
            }),
        ],
    ),
    Row(
        "memcached",
        [
            Healthy(|| {
                lines("memcached", "", |q| {
                    if q == "stats\r\n" { "STAT cmd_get 5\r\nEND\r\n" } else { "END\r\n" }
                        .to_owned()
                })
            }),
            No(ANSWERS_OR_NOT),
            No(CONFIGURED_NOT),
        ],
    ),
    Row(
        "mysql",
        [
            Healthy(crate::mysql::tests::bare),
            No(ANSWERS_OR_NOT),
            Healthy(crate::mysql::tests::delayed),
        ],
    ),
    Row(
        "nginx",
        [
            Healthy(|| {
                page("nginx", "url = \"http://{}/\"", |_| {
                    "Active connections: 1\nserver accepts handled requests\n odd\nReading: 0 Writing: 1 Waiting: 0\n".to_owned()
                })
            }),
            No(ANSWERS_OR_NOT),
            No(CONFIGURED_NOT),
        ],
    ),
    Row(
        "nut",
        [
            // A distribution unit has no battery and no status.
            Healthy(|| lines("nut", "", |q| ups(q, "VAR u outlet.count \"8\"\n"))),
            No("a driver that is away is a problem"),
            Healthy(|| {
                lines("nut", "", |q| {
                    ups(q, "VAR u ups.status \"OL CHRG\"\nVAR u battery.charge \"n/a\"\n")
                })
            }),
        ],
    ),
    Row(
        "perlbal",
        [
            Healthy(|| {
                lines("perlbal", "", |q| perlbal(q, "web-normal.count 0\r\n", "ERROR: no\r\n"))
            }),
            No(ANSWERS_OR_NOT),
            // Few descriptors are enough for few clients.
            Healthy(|| {
                lines("perlbal", "", |q| {
                    perlbal(
                        q,
                        "web-normal.age 0\r\nweb-normal.count 0\r\n",
                        "max 64\r\ncur 20\r\n.\r\n",
                    )
                })
            }),
        ],
    ),
    Row(
        "postgres",
        [
            No("older versions are recorded: see the other test"),
            No(ANSWERS_OR_NOT),
            No("autovacuum_freeze_max_age: see postgres::graphs::tests"),
        ],
    ),
    Row(
        "redis",
        [
            // A Sentinel stores nothing.
            Healthy(|| {
                redis(
                    "redis_version:7.2.4\r\nredis_mode:sentinel\r\nconnected_clients:3\r\nmaster0:name=m,status=ok,address=a:1,slaves=1,sentinels=3\r\n",
                )
            }),
            No(ANSWERS_OR_NOT),
            Healthy(|| {
                redis(
                    "redis_version:7.2.4\r\nrole:master\r\nmaxmemory:0\r\nrejected_connections:0\r\nrdb_last_bgsave_status:ok\r\naof_enabled:0\r\naof_last_write_status:ok\r\nconnected_slaves:0\r\n",
                )
            }),
        ],
    ),
    Row(
        "smart",
        [
            // A virtual disk, behind a bridge that tells nothing.
            Healthy(|| smart(r#"{"smartctl":{"exit_status":4},"model_name":"QEMU"}"#)),
            Healthy(|| {
                smart(
                    r#"{"smartctl":{"exit_status":2,"messages":[{"string":"Device is in STANDBY mode, exit(2)"}]}}"#,
                )
            }),
            // As warm as its maker lets it be.
            Healthy(|| {
                smart(
                    r#"{"smartctl":{"exit_status":0},"smart_status":{"passed":true},"nvme_smart_health_information_log":{"percentage_used":1,"media_errors":0},"temperature":{"current":75,"op_limit_max":84}}"#,
                )
            }),
        ],
    ),
    Row(
        "squid",
        [
            Healthy(|| {
                squid(
                    "Number of file desc currently in use: many\nMaximum number of file descriptors: 1024\n",
                )
            }),
            No(ANSWERS_OR_NOT),
            Healthy(|| {
                squid(
                    "Number of file desc currently in use: 5\nMaximum number of file descriptors: 0\n",
                )
            }),
        ],
    ),
    Row(
        "systemd",
        [
            No("the list is there, or it is an error"),
            No("a unit that is not running is not failed"),
            No(CONFIGURED_NOT),
        ],
    ),
    Row(
        "varnish",
        [
            // 4.0 counts hardly anything.
            Healthy(|| {
                varnish(
                    r#"{"MAIN.client_req": {"value": 1}, "VBE.d(10.0.0.1,,80).happy": {"value": 0}}"#,
                )
            }),
            // A backend that nobody probes, and one of a VCL that was replaced.
            Healthy(|| {
                varnish(
                    r#"{"MAIN.client_req": {"value": 1}, "VBE.boot.d.happy": {"value": 256}, "VBE.reload_20260101_120000_1.d.happy": {"value": 255}, "VBE.boot.n.happy": {"value": 0}}"#,
                )
            }),
            Healthy(|| {
                varnish(
                    r#"{"MAIN.client_req": {"value": 1}, "VBE.site_a.d.happy": {"value": 255}, "VBE.site_b.d.happy": {"value": 0}}"#,
                )
            }),
        ],
    ),
];

const INFO: &str = "Name: HAProxy\nVersion: 2.8\nMaxconn: 4\nCurrConns: 1\nIdle_pct: 90\n\n";

/// Who answers each question of a connection so.
fn lines(probe: &str, more: &str, answer: fn(&str) -> String) -> Said {
    let at = serve(move |mut s| {
        let mut question = [0; 4096];
        while let Ok(n @ 1..) = s.read(&mut question) {
            let text = answer(&String::from_utf8_lossy(&question[..n]));
            if s.write_all(text.as_bytes()).is_err() {
                return;
            }
        }
    });
    ask(make(probe, &format!("address = {at:?}\n{more}")).as_mut()).expect("answers")
}

/// Who answers each page so.
fn page(probe: &str, config: &str, body: fn(&str) -> String) -> Said {
    let at = serve(move |mut s| {
        let mut line = String::new();
        let _ = BufReader::new(s.try_clone().expect("clones")).read_line(&mut line);
        let _ = write!(s, "HTTP/1.1 200 OK\r\n\r\n{}", body(&line));
    });
    ask(make(probe, &config.replace("{}", &at)).as_mut()).expect("answers")
}

/// A program that does so.
fn program(probe: &str, script: &str) -> Said {
    let dir = tempfile::tempdir().expect("tmp");
    let program = dir.path().join("program");
    std::fs::write(&program, format!("#!/bin/sh\n{script}\n")).expect("writes");
    let mode = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, mode).expect("chmod");
    ask(make(probe, &format!("program = {program:?}")).as_mut()).expect("answers")
}

fn haproxy(info: &'static str, stat: &'static str) -> Said {
    let at = serve(move |mut s| {
        let mut line = String::new();
        let _ = BufReader::new(s.try_clone().expect("clones")).read_line(&mut line);
        let _ = s.write_all(if line == "show info\n" { info } else { stat }.as_bytes());
    });
    ask(make("haproxy", &format!("address = {at:?}")).as_mut()).expect("answers")
}

fn ups(question: &str, variables: &str) -> String {
    match question {
        "LIST UPS\n" => "BEGIN LIST UPS\nUPS u \"x\"\nEND LIST UPS\n".to_owned(),
        _ => format!("BEGIN LIST VAR u\n{variables}END LIST VAR u\n"),
    }
}

fn perlbal(question: &str, queues: &str, fd: &str) -> String {
    match question.trim_end() {
        "uptime" => "uptime 5\r\n.\r\n".to_owned(),
        "queues" => format!("{queues}.\r\n"),
        "fd" => fd.to_owned(),
        _ => ".\r\n".to_owned(),
    }
}

fn redis(info: &'static str) -> Said {
    let at = serve(move |mut s| {
        while let Ok(1..) = s.read(&mut [0; 64]) {
            if write!(s, "${}\r\n{info}\r\n", info.len()).is_err() {
                return;
            }
        }
    });
    ask(make("redis", &format!("address = {at:?}")).as_mut()).expect("answers")
}

fn smart(disk: &str) -> Said {
    let scan = r#"{"devices":[{"name":"/dev/sda","type":"sat"}]}"#;
    program("smart", &format!("[ \"$1\" = --scan ] && echo '{scan}' || echo '{disk}'"))
}

fn squid(info: &'static str) -> Said {
    let at = serve(move |mut s| {
        let mut line = String::new();
        let _ = BufReader::new(s.try_clone().expect("clones")).read_line(&mut line);
        let body = match line.split(' ').nth(1).and_then(|path| path.rsplit('/').next()) {
            Some("counters") => "client_http.requests = 5\naborted_requests = 0\n".to_owned(),
            Some("info") => format!("Squid Object Cache: Version 6\n{info}1 on-disk objects\n"),
            _ => "Store Directory Statistics:\nCurrent Capacity: 0%\n".to_owned(),
        };
        let _ = write!(s, "HTTP/1.1 200 OK\r\n\r\n{body}");
    });
    ask(make("squid", &format!("address = {at:?}")).as_mut()).expect("answers")
}

fn varnish(counters: &str) -> Said {
    program("varnish", &format!("echo '{counters}'"))
}

/// The limits of a field that its value is beyond, or that it leaves without a
/// value. A counter's rate is not known from one reading.
fn problems((specs, values): &Said, known_too: bool) -> Vec<String> {
    let mut all = vec![];
    let fields = specs.iter().flat_map(|s| s.fields.iter().map(move |f| (&s.name, f)));
    for (service, field) in fields {
        let name = format!("{service}.{}", field.name);
        for limit in [&field.warning, &field.critical].into_iter().flatten() {
            let range = Range::from_munin(limit).expect("a range");
            match values[&name] {
                Value::Unknown => all.push(format!("{name} is unknown under {limit}")),
                value if field.kind == FieldType::Gauge && known_too => {
                    let value = value.as_f64().expect("a number");
                    if range.alerts(value) {
                        all.push(format!("{name} is {value}, {limit} is its limit"));
                    }
                }
                _ => {}
            }
        }
    }
    all
}

#[test]
fn a_healthy_source_is_no_problem_whatever_it_lacks() {
    for Row(probe, cases) in TABLE {
        for (case, question) in cases.iter().zip(["does not have it", "sleeps", "is configured so"])
        {
            match case {
                Healthy(said) => {
                    assert_eq!(problems(&said(), true), [""; 0], "{probe} {question}");
                }
                No(why) => assert!(!why.is_empty()),
            }
        }
    }
}

#[test]
fn every_probe_with_limits_is_in_the_table() {
    fn sources(dir: PathBuf, probe: Option<String>, with_limits: &mut BTreeSet<String>) {
        for entry in std::fs::read_dir(dir).expect("a folder") {
            let path = entry.expect("an entry").path();
            let stem = path.file_stem().expect("a name").to_string_lossy().into_owned();
            let probe = probe.clone().unwrap_or(stem);
            match path.is_dir() {
                true => sources(path, Some(probe), with_limits),
                false => {
                    let text = std::fs::read_to_string(&path).expect("reads");
                    if text.contains(".limits(") || text.contains(".warning(") {
                        with_limits.insert(probe);
                    }
                }
            }
        }
    }
    let mut found = BTreeSet::new();
    sources(PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("src"), None, &mut found);
    // The checks of `support` are of what agent.toml asks for: it is up, or not.
    for other in ["support", "limits"] {
        assert!(found.remove(other), "{other}");
    }
    let table: BTreeSet<String> = TABLE.iter().map(|row| row.0.to_owned()).collect();
    assert_eq!(found, table);
}

#[test]
fn no_recorded_version_is_unknown_under_a_limit() {
    for case in versions::CASES {
        let said = versions::read(case);
        let mut all = problems(&said, false);
        // It has lost its source.
        all.retain(|p| {
            !p.starts_with("mysql_replication.seconds_behind_master")
                || !case.file.contains("9.7.4")
        });
        assert_eq!(all, [""; 0], "{}", case.file);
    }
}
