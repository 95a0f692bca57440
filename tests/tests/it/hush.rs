//! Acknowledgements and downtimes, from the command line, by script and by a
//! page's form: who is told what, also after a kill.

use crate::browser::Browser;
use crate::support::{Site, bin, executable, get, http, run, stdout, wait_for};
use std::io::{Read, Write};
use std::path::Path;
use std::process::Command;
use std::time::Duration;
use thirtyfour::{By, Key};

const PLUGIN: &str = r#"#!/bin/sh
if [ "$1" = config ]; then
  echo 'graph_title Level'; echo 'level.label level'; echo 'level.critical 90'
  exit
fi
echo "level.value $(cat FILE)"
"#;

const LIMIT: Duration = Duration::from_secs(30);

/// A site whose collector writes down who is told what.
struct Watched {
    site: Site,
    config: String,
}

impl Watched {
    fn new() -> Watched {
        let site = Site::new();
        let level = site.path("level");
        let text = PLUGIN.replace("FILE", &level.display().to_string());
        executable(&site.path("plugins/level"), &text);
        let script = site.path("page");
        let text = format!(
            "#!/bin/sh\necho \"$NAGIOS_NOTIFICATIONTYPE $NAGIOS_SERVICESTATE \
             $NAGIOS_SERVICEOUTPUT\" >> {}\n",
            site.path("told").display()
        );
        executable(&script, &text);
        std::fs::write(site.path("token"), "sesame\n").expect("writes");
        let config = format!(
            "[[contact]]\nname = \"pager\"\ncommand = [{script:?}]\n\
             [alerting]\ngroup_window_ms = 0\n"
        );
        let watched = Watched { site, config };
        watched.set("50");
        watched
    }

    fn set(&self, text: &str) {
        std::fs::write(self.site.path("level"), text).expect("writes");
    }

    fn told(&self) -> Vec<String> {
        let text = std::fs::read_to_string(self.site.path("told")).unwrap_or_default();
        text.lines().map(str::to_owned).collect()
    }

    /// What is told next must begin so.
    fn expect(&self, n: usize, words: &str) {
        wait_for(words, LIMIT, || (self.told().len() >= n).then_some(()));
        let told = self.told();
        assert_eq!(told.len(), n, "{told:#?}");
        assert!(told[n - 1].starts_with(words), "{words}: {told:#?}");
    }

    /// Between telling and noting a kill has it told once more: not here.
    fn wait_noted(&self) {
        let path = self.site.path("data/state.sqlite");
        let conn = rusqlite::Connection::open(path).expect("opens");
        let sql = "SELECT count(*) FROM outbox WHERE sent_ms IS NULL";
        wait_for("all is noted", LIMIT, || {
            let n: i64 = conn.query_row(sql, [], |r| r.get(0)).expect("a count");
            (n == 0).then_some(())
        });
    }

    fn wait_hard(&self, state: &str) {
        wait_for(&format!("a hard {state}"), LIMIT, || {
            let services = self.site.services("n1");
            let level = services.iter().find(|s| s["service"] == "level")?;
            (level["state"] == state && level["hard"] == true).then_some(())
        });
    }

    fn rookery(&self, words: &[&str]) -> Command {
        let mut command = Command::new(bin("rookery"));
        command.args(words).arg("--url").arg(self.site.url());
        if words[..2] != ["downtime", "list"] && words[0] != "why" {
            command.arg("--data").arg(self.site.dir.path()).args(["--author", "ann"]);
        }
        command
    }

    /// A POST as a browser's form makes it: status, and the head.
    fn form(&self, path: &str, cookie: &str, body: &str) -> (u16, String) {
        let addr = ("127.0.0.1", self.site.port);
        let mut stream = std::net::TcpStream::connect(addr).expect("connects");
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nCookie: {cookie}\r\n\
             Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("asks");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("an answer");
        let status = answer[9..12].parse().expect("a status");
        (status, answer)
    }
}

#[test]
fn acknowledged_and_planned_problems_are_told_no_more() {
    let w = Watched::new();
    let collector = w.site.collector(&w.config);
    let agent = w.site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    w.wait_hard("OK");
    // There is nothing to acknowledge yet.
    let refused = run(&mut w.rookery(&["ack", "n1", "level"]));
    let text = String::from_utf8_lossy(&refused.stderr).into_owned();
    assert_eq!(refused.status.code(), Some(1), "{text}");
    assert!(text.contains("n1/level is OK: there is nothing to acknowledge"), "{text}");

    w.set("95");
    w.expect(1, "PROBLEM CRITICAL level is 95");
    let text = stdout(&mut w.rookery(&["ack", "n1", "level", "--comment", "new <b>disk</b>"]));
    assert_eq!(text, "n1/level is acknowledged by ann\n");
    w.expect(2, "ACKNOWLEDGEMENT CRITICAL ann is on it: new <b>disk</b>");
    // What was told is noted, so it is not told again; the rest is on disk.
    w.wait_noted();
    collector.kill9();
    let collector = w.site.collector(&w.config);
    let problem = &get(&format!("{}/api/v1/problems", w.site.url())).json()[0];
    assert_eq!(problem["acknowledged"]["author"], "ann", "{problem}");
    let page = get(&format!("{}/problems", w.site.url())).text();
    assert!(page.contains("acknowledged") && page.contains("new &lt;b&gt;disk"), "{page}");
    w.set("50");
    w.expect(3, "RECOVERY OK");

    // Planned: nobody is told, until it is cancelled and still there.
    let text = stdout(&mut w.rookery(&["downtime", "add", "--node", "n*", "--for", "1h"]));
    let id = text.split(':').next().expect("an id").to_owned();
    w.set("95");
    w.wait_hard("CRITICAL");
    let listed = stdout(&mut w.rookery(&["downtime", "list"]));
    assert!(listed.starts_with(&id) && listed.contains("ann"), "{listed}");
    assert_eq!(w.told().len(), 3, "{:#?}", w.told());
    stdout(&mut w.rookery(&["downtime", "cancel", &id]));
    w.expect(4, "PROBLEM CRITICAL");
    assert_eq!(stdout(&mut w.rookery(&["downtime", "list"])), "");
    agent.stop();
    collector.stop();
}

#[test]
fn downtimes_come_again_or_begin_with_the_first_problem() {
    let w = Watched::new();
    let collector = w.site.collector(&w.config);
    let agent = w.site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    w.wait_hard("OK");
    let add = ["downtime", "add", "--node", "n1"];
    let said = |more: &[&str]| stdout(&mut w.rookery(&[&add[..], more].concat()));
    let never = said(&["--repeat", "02-29 02:00-02:01", "--zone", "UTC", "--for", "1d"]);
    assert!(never.contains(": 02-29 02:00-02:01 (UTC), "), "{never}");
    for (wrong, want) in [
        (&["--repeat", "sunday"][..], "times \"sunday\": \"sunday\" is no day"),
        (&["--repeat", "sun", "--zone", "Moon"], "zone \"Moon\" is not known"),
        (&["--flexible", "soon"], "flexible: "),
        (&["--flexible", "1h", "--repeat", "sun"], "not both"),
    ] {
        let refused = run(&mut w.rookery(&[&add[..], wrong].concat()));
        let text = String::from_utf8_lossy(&refused.stderr).into_owned();
        assert!(refused.status.code() == Some(1) && text.contains(want), "{want}: {text}");
    }
    let flexible = said(&["--flexible", "1h", "--comment", "new fan"]);
    assert!(flexible.contains(": 60 min from the first problem on, "), "{flexible}");
    w.set("95");
    w.wait_hard("CRITICAL");
    let listed = wait_for("it begins", LIMIT, || {
        let listed = stdout(&mut w.rookery(&["downtime", "list"]));
        listed.contains("60 min from 20").then_some(listed)
    });
    assert_eq!(listed.lines().count(), 2, "{listed}");
    let page = get(&format!("{}/problems", w.site.url())).text();
    assert!(page.contains("02-29 02:00-02:01 (UTC)") && page.contains("new fan"), "{page}");
    // It is kept that it began.
    collector.kill9();
    let collector = w.site.collector(&w.config);
    let why = || stdout(&mut w.rookery(&["why", "n1", "level"]));
    wait_for("why", LIMIT, || why().contains("it is planned until").then_some(()));
    assert_eq!(w.told(), [] as [String; 0]);
    let id = flexible.split(':').next().expect("an id");
    stdout(&mut w.rookery(&["downtime", "cancel", id]));
    w.expect(1, "PROBLEM CRITICAL level is 95");
    agent.stop();
    collector.stop();
}

#[test]
fn a_page_s_forms_need_the_token_once() {
    let w = Watched::new();
    let collector = w.site.collector(&w.config);
    let agent = w.site.agent("n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    w.set("95");
    w.expect(1, "PROBLEM CRITICAL");
    let ack = "node=n1&service=level&author=bob&comment=&for=1h&sticky=on&back=%2Fproblems";
    let (status, head) = w.form("/api/v1/acknowledge", "", ack);
    assert!(status == 303 && head.contains("location: /login"), "{head}");
    let (status, page) = w.form("/login", "", "token=guess&back=%2Fproblems");
    assert!(
        status == 400 && page.contains("not the collector&#39;s token")
            || page.contains("not the collector's token"),
        "{page}"
    );
    let (status, head) = w.form("/login", "", "token=sesame&back=%2F%2Fevil.example");
    assert!(status == 303 && head.contains("location: /problems"), "{head}");
    let cookie = head.split("set-cookie: ").nth(1).and_then(|c| c.split(';').next());
    let cookie = cookie.expect("a cookie").to_owned();
    let (status, head) = w.form("/api/v1/acknowledge", &cookie, ack);
    assert!(status == 303 && head.contains("location: /problems"), "{head}");
    w.expect(2, "ACKNOWLEDGEMENT CRITICAL bob is on it");
    // A person is told by a page what was wrong.
    let slip = "node=n1&author=bob&comment=&for=%3Cb%3Esoon&back=%2Fproblems";
    let (status, page) = w.form("/api/v1/downtime", &cookie, slip);
    assert!(status == 400 && page.contains("<h1>That was not understood</h1>"), "{page}");
    assert!(page.contains("for: ") && page.contains("&lt;b&gt;soon"), "{page}");
    // Scripts get JSON, and a reason.
    let url = format!("{}/api/v1/downtime", w.site.url());
    let post = |token: &str, body: &'static str| {
        http(|c| c.post(&url).bearer_auth(token).body(body)).expect("an answer")
    };
    assert_eq!(post("wrong", "{}").status, 401);
    for (body, want) in [
        ("{}", "author"),
        ("nonsense", "JSON"),
        (r#"{"author":"a"}"#, "name a node or a group"),
        (r#"{"author":"","node":"n1"}"#, "author"),
        (r#"{"author":"a","node":"n1","for":"soon"}"#, "for"),
        (r#"{"author":"a","node":"n1","nod":"n1"}"#, "unknown field"),
        (r#"{"author":"a","node":"n1","from_ms":5,"to_ms":4}"#, "end after it begins"),
    ] {
        let answer = post("sesame", body);
        assert_eq!(answer.status, 400, "{body}: {}", answer.text());
        let error = answer.json()["error"].as_str().unwrap_or_default().to_owned();
        assert!(error.contains(want), "{body}: {error}");
    }
    let answer = post("sesame", r#"{"author":"a","group":"*","service":"level"}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(get(&format!("{}/problems", w.site.url())).text().contains("1 downtime"));
    // It is of this service, and not of the node that has it, nor of its others.
    let has_one =
        |path: &str| get(&format!("{}{path}", w.site.url())).text().contains("downtime of");
    assert!(has_one("/node/n1/level") && !has_one("/node/n1"));
    let answer = post("sesame", r#"{"author":"a","node":"n*"}"#);
    assert_eq!(answer.status, 200, "{}", answer.text());
    assert!(has_one("/node/n1/level") && has_one("/node/n1"));
    agent.stop();
    collector.stop();
}

#[test]
fn a_page_s_forms_plan_once_flexibly_and_again_and_again() {
    let w = Watched::new();
    let collector = w.site.collector(&w.config);
    let answer = w.site.post(r#"{"node":"n1","samples":[{"service":"s","field":"f","value":1}]}"#);
    assert_eq!(answer.expect("an answer").status, 200);
    let mut browser = Browser::start(900, 700);
    browser.open(&format!("{}/login?back=%2Fnode%2Fn1", w.site.url()));
    let submit = |browser: &mut Browser, form: &str, values: &[(&str, &str)], then: &str| {
        for (name, value) in values {
            browser.fill(By::XPath(format!("{form}//input[@name='{name}']")), value);
        }
        browser.eval("document.body.dataset.old = 1");
        browser.click(By::XPath(format!("{form}//button")));
        // Another document, whatever its address.
        browser.wait(&format!(
            "document.readyState === 'complete' && !document.body.dataset.old && {then}"
        ));
    };
    let login = "//form[@action='/login']";
    submit(&mut browser, login, &[("token", "sesame")], "location.pathname === '/node/n1'");
    // Times are of the reader's clock, not of the collector's.
    let own = [("tz", "Asia/Tokyo")];
    submit(&mut browser, "//form[@action='/zone']", &own, "location.pathname === '/node/n1'");
    let plan = |browser: &mut Browser, word: &str, values: &[(&str, &str)]| {
        browser.click(By::Css("details.plan summary"));
        if let Some(dir) = std::env::var_os("ROOKERY_PICTURES") {
            let file = Path::new(&dir).join(format!("plan-{word}.png"));
            std::fs::write(file, browser.picture()).expect("writes");
        }
        let form = format!("//details[@class='plan']//form[b = '{word}']");
        submit(browser, &form, values, "location.pathname === '/node/n1'");
    };
    let again = [
        ("author", "ann"),
        ("comment", "backups"),
        ("repeat", "02-29 02:00-02:01; 02-29 04:00-04:01"),
        ("zone", "Europe/Berlin"),
    ];
    plan(&mut browser, "Repeating", &again);
    let flexible = [("author", "bob"), ("flexible", "30m"), ("for", "3h")];
    plan(&mut browser, "Flexible", &flexible);
    plan(&mut browser, "Once", &[("author", "cay"), ("for", "5m")]);
    // A time is typed part by part: 2040-01-02, on to the hour, 03:04.
    let from = format!("01022040{}0304A", Key::Tab.value());
    let later = [("author", "dan"), ("from", from.as_str()), ("for", "7m")];
    plan(&mut browser, "Once", &later);
    browser.open(&format!("{}/problems", w.site.url()));
    let text = browser.eval("document.body.innerText").as_str().expect("text").to_owned();
    for want in [
        "4 downtimes",
        "02-29 02:00-02:01; 02-29 04:00-04:01 (Europe/Berlin)",
        "30 min from the first problem on",
        "backups",
    ] {
        assert!(text.contains(want), "{want}: {text}");
    }
    let all = get(&format!("{}/api/v1/downtimes", w.site.url())).json();
    let long = |d: &serde_json::Value| {
        (d["to_ms"].as_i64().expect("to") - d["from_ms"].as_i64().expect("from")) / 60_000
    };
    let planned = all.as_array().expect("a list").iter().find(|d| d["author"] == "dan");
    assert_eq!(planned.expect("one")["from_ms"], 2_209_053_840_000_i64, "{all}");
    let mut spans: Vec<i64> = all.as_array().expect("a list").iter().map(long).collect();
    spans.sort_unstable();
    assert_eq!(spans, [5, 7, 180, 3652 * 24 * 60], "{all}");
    drop(browser);
    collector.stop();
}
