//! Marks in time: by command, API and form; kept, drawn, and only text.

use crate::browser::Browser;
use crate::support::{Site, bin, get, http, run, stdout};
use serde_json::json;
use std::process::Command;
use thirtyfour::By;

const EVIL: &str = "<script>alert(1)</script>";

fn two_nodes(site: &Site) {
    for node in ["web1", "db1"] {
        let sample = json!({"service": "cpu", "field": "busy", "value": 1});
        let answer = site.post(&json!({"node": node, "samples": [sample]}).to_string());
        assert_eq!(answer.expect("an answer").status, 200);
    }
}

fn graph(site: &Site, node: &str) -> String {
    get(&format!("{}/graph/{node}/cpu.svg?from=-1h&to=now", site.url())).text()
}

#[test]
fn a_mark_is_kept_and_drawn_where_it_concerns() {
    let site = Site::new();
    let collector = site.collector("");
    two_nodes(&site);
    std::fs::write(site.path("token"), "sesame\n").expect("writes");
    assert!(!graph(&site, "web1").contains("event: "), "drawn before, and kept");
    let event = |args: &[&str]| {
        let mut command = Command::new(bin("rookery"));
        command.args(["event", "--url", &site.url()]).args(args);
        command.arg("--data").arg(site.dir.path());
        command
    };
    let said = stdout(&mut event(&["deployed r1234", "--node", "web1", "--at", "-10m"]));
    assert_eq!(said, "event 1: deployed r1234 (web1)\n");
    stdout(&mut event(&[EVIL, "--at", "-20m"]));
    let wrong = run(&mut event(&["x", "--node", "web11"]));
    let text = String::from_utf8_lossy(&wrong.stderr).into_owned();
    assert!(!wrong.status.success() && text.contains("did you mean \"web1\"?"), "{text}");
    let (web, db) = (graph(&site, "web1"), graph(&site, "db1"));
    assert!(web.contains("deployed r1234") && !db.contains("deployed"), "{web}");
    for svg in [web, db] {
        assert!(svg.contains("&lt;script&gt;") && !svg.contains("<script"), "{svg}");
    }
    for page in ["/events", "/node/web1/cpu?from=-1h&to=now"] {
        let html = get(&format!("{}{page}", site.url())).text();
        assert!(html.contains("deployed r1234") && !html.contains("<script>alert"), "{html}");
    }
    collector.kill9();
    let collector = site.collector("");
    let kept = get(&format!("{}/api/v1/events?from=-1h", site.url())).json();
    let texts: Vec<&str> =
        kept.as_array().expect("events").iter().filter_map(|e| e["text"].as_str()).collect();
    assert_eq!(texts, ["deployed r1234", EVIL], "after kill -9, newest first");
    let of_db = get(&format!("{}/api/v1/events?node=db1", site.url())).json();
    assert_eq!(of_db.as_array().map(Vec::len), Some(1));
    collector.stop();
}

#[test]
fn only_who_may_writes_and_faults_are_named() {
    let site = Site::new();
    let collector = site.collector("");
    two_nodes(&site);
    let post = |body: &str, header: (&str, &str)| {
        let url = format!("{}/api/v1/events", site.url());
        let body = body.to_owned();
        let answer = http(|c| c.post(url).header(header.0, header.1).body(body));
        let answer = answer.expect("an answer");
        (answer.status, answer.text())
    };
    let good = r#"{"text":"a"}"#;
    let token = ("authorization", "Bearer sesame");
    assert_eq!(post(good, token).0, 201);
    for none in [("accept", "*/*"), ("authorization", "Bearer guess")] {
        let (status, text) = post(good, none);
        assert!(status == 401 && text.contains("token"), "{none:?}: {text}");
    }
    let mut n_refused = 0;
    for (body, fault) in [
        ("{", "EOF"),
        ("{}", "missing field `text`"),
        (r#"{"text":" "}"#, "say what happened"),
        (r#"{"text":"a","nod":"web1"}"#, "unknown field `nod`"),
        (r#"{"text":"a","time":"soon"}"#, "is no time"),
        (r#"{"text":"a","time":"now+3d"}"#, "ahead"),
        (r#"{"text":"a","node":"web1","group":"g"}"#, "not both"),
    ] {
        let (status, text) = post(body, token);
        assert!(status == 400 && text.contains(fault), "{body}: {status} {text}");
        n_refused += 1;
    }
    assert_eq!(n_refused, 7);
    let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(9000));
    assert_eq!(post(&long, token).0, 413);
    let kept = get(&format!("{}/api/v1/events", site.url())).json();
    assert_eq!(kept.as_array().map(Vec::len), Some(1), "nothing that was refused");
    collector.stop();
}

#[test]
fn the_form_marks() {
    let site = Site::new();
    let collector = site.collector("");
    two_nodes(&site);
    let mut browser = Browser::start(375, 800);
    browser.open(&format!("{}/login?back=/events", site.url()));
    browser.fill(By::Css("main [name=token]"), "sesame");
    browser.press("Enter");
    browser.wait("location.pathname === '/events' && document.querySelector('main [name=text]')");
    assert_eq!(browser.eval("innerWidth"), 375);
    browser.fill(By::Css("main [name=text]"), "new disk & more");
    browser.click(By::Css("main form button"));
    browser.wait("document.querySelector('main td + td')?.textContent === 'new disk & more'");
    assert_eq!(browser.eval("location.pathname"), "/events");
    let fits = "document.documentElement.scrollWidth <= innerWidth";
    assert_eq!(browser.eval(fits), true, "no wider than a phone");
    drop(browser);
    collector.stop();
}
