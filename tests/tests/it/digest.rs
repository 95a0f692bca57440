//! Who is told what, and when: groups of contacts, what each wants to hear, periods,
//! and the digest of what was not urgent, over a real SMTP server.

use crate::alerting::{mails, smtp, subject};
use crate::support::{Proc, Site, bin, stdout, wait_for};
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const LIMIT: Duration = Duration::from_secs(60);

const RULES: &str = r#"
[[rule]]
service = "level"
warning = "~:80"
critical = "~:90"
max_check_attempts = 1

[[rule]]
group = "web"
service = "level"
quorum = "50%"

[[rule]]
node = "db1"
contacts = ["daily", "late"]

[[rule]]
node = "db2"
contacts = ["team"]

[[period]]
name = "long ago"
zone = "UTC"
times = ["2001-01-01"]
"#;

fn now_ms() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).expect("after 1970").as_millis() as i64
}

/// Posts the level of each node, twice a second, until it is dropped.
struct Levels {
    values: Vec<(&'static str, Arc<AtomicI64>)>,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Levels {
    fn start(site: &Site, values: &[(&'static str, i64)]) -> Levels {
        let values: Vec<_> =
            values.iter().map(|(node, v)| (*node, Arc::new(AtomicI64::new(*v)))).collect();
        let stop = Arc::new(AtomicBool::new(false));
        let (all, until, url) = (values.clone(), stop.clone(), site.url());
        let thread = std::thread::spawn(move || {
            while !until.load(Ordering::Relaxed) {
                for (node, value) in &all {
                    let body = format!(
                        "{{\"node\":{node:?},\"samples\":[{{\"service\":\"level\",\
                         \"field\":\"level\",\"time_ms\":{},\"value\":{}}}]}}",
                        now_ms(),
                        value.load(Ordering::Relaxed)
                    );
                    // While the collector is away nobody answers.
                    let _ = crate::support::http(|c| {
                        c.post(format!("{url}/api/v1/ingest"))
                            .bearer_auth("sesame")
                            .header("content-type", "application/json")
                            .body(body)
                    });
                }
                std::thread::sleep(Duration::from_millis(500));
            }
        });
        Levels { values, stop, thread: Some(thread) }
    }

    fn set(&self, node: &str, value: i64) {
        let found = self.values.iter().find(|(n, _)| *n == node).expect("a node");
        found.1.store(value, Ordering::Relaxed);
    }
}

impl Drop for Levels {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.thread.take().map(std::thread::JoinHandle::join);
    }
}

fn wait_level(site: &Site, node: &str, state: &str) {
    wait_for(&format!("{node} {state}"), LIMIT, || {
        let services = site.services(&node.replace(';', "%3B"));
        let level = services.iter().find(|s| s["service"] == "level")?;
        (level["state"] == state && level["hard"] == true).then_some(())
    });
}

fn lines(file: &Path) -> Vec<String> {
    std::fs::read_to_string(file).unwrap_or_default().lines().map(str::to_owned).collect()
}

fn why(site: &Site, node: &str) -> String {
    stdout(Command::new(bin("rookery")).args(["why", node, "level", "--url", &site.url()]))
}

/// The mail to this address.
fn mail_to(all: &[String], address: &str) -> String {
    let head = format!("To: {address}");
    let found: Vec<&String> = all.iter().filter(|m| m.lines().any(|l| l == head)).collect();
    assert_eq!(found.len(), 1, "{address}: {all:#?}");
    found[0].clone()
}

/// As it was before its encoding for the mail.
fn decoded(mail: &str) -> String {
    let done = Command::new("/usr/bin/python3")
        .args(["-c", DECODE])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .and_then(|mut child| {
            use std::io::Write;
            child.stdin.take().expect("piped").write_all(mail.as_bytes())?;
            child.wait_with_output()
        })
        .expect("python3");
    assert!(done.status.success());
    String::from_utf8(done.stdout).expect("UTF-8")
}

const DECODE: &str = "
import email, email.policy, sys
for part in email.message_from_file(sys.stdin, policy=email.policy.default).walk():
    if part.get_content_maintype() == 'text':
        print('==', part.get_content_type())
        print(part.get_content())
";

fn start(site: &Site, port: u16) -> Proc {
    let (pager, second, night) = (site.path("pager"), site.path("second"), site.path("night"));
    site.collector(&format!(
        "[alerting]\nstart_grace_ms = 4000\ngroup_window_ms = 3000\n\
         [mail]\nsmtp = \"127.0.0.1:{port}\"\nfrom = \"rookery@example.com\"\n\
         to = [\"ops@example.com\"]\n[digest]\nat = \"00:00\"\nzone = \"UTC\"\n\
         [[contact]]\nname = \"daily\"\nmail = [\"daily@example.com\"]\ndigest = [\"warning\"]\n\
         [[contact]]\nname = \"late\"\nmail = [\"late@example.com\"]\nperiod = \"long ago\"\n\
         [[contact]]\nname = \"idle\"\nmail = [\"idle@example.com\"]\ndigest = [\"unknown\"]\n\
         [[contact]]\nname = \"pager\"\nfile = {pager:?}\ntell = [\"critical\", \"down\"]\n\
         [[contact]]\nname = \"second\"\nfile = {second:?}\n\
         [[contact]]\nname = \"night\"\nfile = {night:?}\nperiod = \"long ago\"\n\
         [[contact_group]]\nname = \"team\"\nmembers = [\"first\", \"night\"]\n\
         [[contact_group]]\nname = \"first\"\nmembers = [\"pager\", \"second\"]\n"
    ))
}

#[test]
fn each_hears_what_it_wants_and_the_rest_is_a_digest() {
    let site = Site::new();
    let box_dir = site.path("mailbox");
    let (_smtp, port) = smtp(&box_dir);
    std::fs::create_dir(site.path("alerts.d")).expect("a folder");
    std::fs::write(site.path("alerts.d/all.toml"), RULES).expect("writes");
    let collector = start(&site, port);
    let levels = Levels::start(
        &site,
        &[("web;n1", 95), ("web;n2", 5), ("web;n3", 5), ("db1", 85), ("db2", 95)],
    );
    wait_level(&site, "web;n1", "CRITICAL");
    wait_level(&site, "db1", "WARNING");
    let (pager, second) = (site.path("pager"), site.path("second"));
    wait_for("the team", LIMIT, || {
        (lines(&pager).len() == 1 && lines(&second).len() == 1).then_some(())
    });
    levels.set("db2", 5);
    wait_for("the recovery", LIMIT, || (lines(&second).len() == 2).then_some(()));
    assert!(lines(&second)[1].contains("OK db2/level"), "{:?}", lines(&second));
    let said = why(&site, "db2");
    for want in [
        "RECOVERY OK by contact pager file: not told: it is not told of recovery",
        "RECOVERY OK by contact second file: told at ",
        "PROBLEM CRITICAL by contact night file: waits: outside of period \"long ago\"",
    ] {
        assert!(said.contains(want), "{want}: {said}");
    }
    let said = why(&site, "db1");
    for want in [
        "by contact daily mail: waits for the digest: warning is for its digest",
        "by contact late mail: waits for the digest: outside of period \"long ago\", and not",
    ] {
        assert!(said.contains(want), "{want}: {said}");
    }
    // What is not told within a minute is for the digest.
    std::thread::sleep(Duration::from_secs(62));
    assert_eq!(mails(&box_dir), Vec::<String>::new(), "nothing of it is urgent");
    collector.stop();
    // As if the latest digest were of long ago, and the collector had been away since.
    let conn = rusqlite::Connection::open(site.path("data/state.sqlite")).expect("opens");
    let sql = "UPDATE digest SET day = '2001-01-01', until_ms = ?1";
    let n = conn.execute(sql, [now_ms() - 3_600_000]).expect("writes");
    assert_eq!(n, 4, "one for each contact with mail");
    drop(conn);
    let collector = start(&site, port);
    let all = wait_for("three digests", LIMIT, || {
        let all = mails(&box_dir);
        (all.len() >= 3).then_some(all)
    });
    let ops = mail_to(&all, "ops@example.com");
    let today = jiff::Timestamp::now().strftime("%Y-%m-%d").to_string();
    assert_eq!(subject(&ops), format!("Digest {today}: 1 wrong"));
    assert!(ops.contains("Auto-Submitted: auto-generated"), "{ops}");
    let text = decoded(&ops);
    let (plain, html) = text.split_once("== text/html").expect("text first, then HTML");
    assert!(plain.starts_with("== text/plain"), "{plain}");
    assert!(plain.contains("  CRITICAL level on 1 of 3 in web: web;n1\n"), "{plain}");
    assert!(plain.contains("level is 95 (outside ~:90)"), "{plain}");
    assert!(plain.contains("single nodes of the group \"web\" are not told of: 50% of"), "{plain}");
    assert!(html.contains(">level on 1 of 3 in web: web;n1</div>"), "{html}");
    for address in ["daily@example.com", "late@example.com"] {
        let text = decoded(&mail_to(&all, address));
        assert!(text.contains("  WARNING db1/level\n"), "{text}");
        assert!(!text.contains("web;n1"), "only what was meant for it: {text}");
    }
    // Once a day, also after another restart.
    collector.stop();
    let collector = start(&site, port);
    wait_level(&site, "web;n1", "CRITICAL");
    std::thread::sleep(Duration::from_secs(8));
    assert_eq!(mails(&box_dir).len(), 3);
    assert!(
        why(&site, "db1").contains(&format!("by contact daily mail: in the digest of {today}"))
    );
    assert!(lines(&site.path("night")).is_empty() && lines(&pager).len() == 1);
    collector.stop();
}
