//! One answer everywhere: the API, a page, `check_rookery`, a passive result and
//! `rookery why` say the same of a service, in every state.

use crate::support::{Site, bin, run, wait_for};
use std::path::Path;
use std::process::Command;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(30);
const RULES: &str = r#"
[[rule]]
service = ["ok", "warn", "crit", "inf", "unknown", "cron"]
warning = "~:80"
critical = "~:90"
max_check_attempts = 1
unknown_limit = 1

[[rule]]
service = "soft"
critical = "~:90"
max_check_attempts = 100

[[rule]]
service = "derived"
value = "a / b"
as = "ratio"
warning = "0.5:"
max_check_attempts = 1
"#;

/// Service, what is posted of its field, and the answer: state, hard state.
const CASES: [(&str, &str, &str, &str); 8] = [
    ("ok", "5", "OK", "OK"),
    ("warn", "85", "WARNING", "WARNING"),
    ("crit", "95", "CRITICAL", "CRITICAL"),
    ("inf", "\"inf\"", "CRITICAL", "CRITICAL"),
    ("unknown", "\"U\"", "UNKNOWN", "UNKNOWN"),
    ("soft", "95", "CRITICAL", "OK"),
    ("derived", "1", "WARNING", "WARNING"),
    // Every five minutes: what is two minutes old is of now.
    ("cron", "5", "OK", "OK"),
];

/// The code that Nagios' folder of results has for a service.
fn sent(dir: &Path, service: &str) -> Option<String> {
    let files = std::fs::read_dir(dir).ok()?.flatten();
    let text: String = files.filter_map(|f| std::fs::read_to_string(f.path()).ok()).collect();
    let want = format!("service_description={service}\n");
    let block = text.split("\n\n").find(|b| b.contains(&want))?.to_owned();
    block.lines().find_map(|l| l.strip_prefix("return_code=")).map(str::to_owned)
}

#[test]
fn page_api_check_and_passive_result_say_the_same_in_every_state() {
    let site = Site::new();
    let spool = site.path("results");
    std::fs::create_dir(&spool).expect("a folder");
    let config = format!(
        "[alerting]\ngroup_window_ms = 0\nstart_grace_ms = 1000\n\
         [[passive]]\nkind = \"spool\"\npath = {spool:?}\nrefresh = \"1s\"\n"
    );
    let mut command = site.collector_command(&config);
    std::fs::write(site.path("alerts.d/a.toml"), RULES).expect("writes");
    let mut proc = crate::support::Proc::start(&mut command);
    proc.line("pages on", LIMIT);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis();
    let mut samples: Vec<String> = CASES
        .iter()
        .filter(|(service, ..)| *service != "cron")
        .map(|(service, value, ..)| {
            format!(r#"{{"service":"{service}","field":"a","value":{value}}}"#)
        })
        .collect();
    samples.push(r#"{"service":"derived","field":"b","value":10}"#.to_owned());
    for i in (0..6).rev() {
        let time = now - 120_000 - i * 300_000;
        let line = format!(r#"{{"service":"cron","field":"a","value":5,"time_ms":{time}}}"#);
        samples.push(line);
    }
    let body = format!(r#"{{"node":"h","samples":[{}]}}"#, samples.join(","));
    assert_eq!(site.post(&body).map(|a| a.status), Some(200));
    let all = wait_for("all states", LIMIT, || {
        let all = site.services("h");
        let is_so = |(service, _, state, _): &(&str, &str, &str, &str)| {
            all.iter().any(|s| s["service"] == *service && s["state"] == *state)
        };
        CASES.iter().all(is_so).then_some(all.clone())
    });
    for (service, _, state, hard) in CASES {
        let of_api = all.iter().find(|s| s["service"] == service).expect(service);
        assert_eq!(of_api["hard_state"], hard, "{of_api}");
        let check = |more: &[&str]| {
            let mut command = Command::new(bin("check_rookery"));
            let done = run(command.args(["-u", &site.url(), "-H", "h", "-s", service]).args(more));
            let text = String::from_utf8_lossy(&done.stdout).into_owned();
            (done.status.code().expect("exits"), text)
        };
        let code = ["OK", "WARNING", "CRITICAL", "UNKNOWN"].iter().position(|w| *w == hard);
        let code = code.expect("a state");
        let (checked, text) = check(&[]);
        assert_eq!(checked as usize, code, "{service}: {text}");
        assert!(text.contains(&format!(" {hard} - ")), "{service}: {text}");
        wait_for(&format!("a result of {service}: {code}"), LIMIT, || {
            sent(&spool, service).filter(|c| *c == code.to_string())
        });
        let (status, page) = site.page(&format!("/node/h/{service}"));
        assert_eq!(status, 200);
        if state != "OK" {
            assert!(page.contains(&format!("badge {state}")), "{service} is not {state}: {page}");
        }
    }
    let mut command = Command::new(bin("check_rookery"));
    let own = command.args(["-u", &site.url(), "-H", "h", "-s", "inf", "-f", "a", "-c", "~:90"]);
    assert_eq!(run(own).status.code(), Some(2), "infinity is outside of ~:90");
    // Nobody is there to be notified: it says so.
    let why = run(Command::new(bin("rookery")).args(["why", "h", "crit", "--url", &site.url()]));
    let why = String::from_utf8_lossy(&why.stdout).into_owned();
    assert!(why.starts_with("Now: nobody was told that it is CRITICAL: no contact"), "{why}");
}
