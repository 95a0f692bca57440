//! Nodes that are renamed, retired or removed, and downtimes of exactly one thing.

use crate::support::{Site, bin, get, http, run, stdout, wait_for};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(30);
const RULES: &str = "[[rule]]\nnode = \"old\"\nservice = \"queue*\"\ncritical = \"~:90\"\n\
    [[rule]]\nnode = \"mq*\"\nservice = \"queue*\"\ncritical = \"~:90\"\n";

struct Named {
    site: Site,
    config: String,
}

impl Named {
    fn new() -> Named {
        let site = Site::new();
        std::fs::write(site.path("token"), "sesame\n").expect("writes");
        std::fs::create_dir_all(site.path("alerts.d")).expect("a folder");
        std::fs::write(site.path("alerts.d/a.toml"), RULES).expect("writes");
        let config = format!(
            "[[contact]]\nname = \"file\"\nfile = {:?}\n[alerting]\ngroup_window_ms = 0\n\
             max_check_attempts = 1\nstart_grace_ms = 0\n",
            site.path("notified").display().to_string()
        );
        Named { site, config }
    }

    fn send(&self, node: &str, service: &str, value: i64) {
        let body = format!(
            "{{\"node\":{node:?},\"samples\":[{{\"service\":{service:?},\"field\":\"n\",\
             \"value\":{value}}}]}}"
        );
        assert_eq!(self.site.post(&body).expect("an answer").status, 200, "{body}");
    }

    fn notified(&self) -> String {
        std::fs::read_to_string(self.site.path("notified")).unwrap_or_default()
    }

    fn wait_notified(&self, text: &str) {
        wait_for(text, LIMIT, || self.notified().contains(text).then_some(()));
    }

    fn rookery(&self, words: &[&str]) -> Command {
        let mut command = Command::new(bin("rookery"));
        command.args(words).arg("--url").arg(self.site.url());
        command.arg("--data").arg(self.site.dir.path());
        command
    }

    fn refused(&self, words: &[&str]) -> String {
        let done = run(&mut self.rookery(words));
        assert_eq!(done.status.code(), Some(1), "{words:?}");
        String::from_utf8_lossy(&done.stderr).into_owned()
    }

    fn nodes(&self) -> Vec<String> {
        let all = get(&format!("{}/api/v1/nodes", self.site.url())).json();
        let all = all.as_array().expect("a list");
        all.iter().map(|n| n["node"].as_str().expect("a name").to_owned()).collect()
    }

    fn samples(&self, node: &str) -> usize {
        let path = format!("/api/v1/samples?node={node}&service=queue&field=n&from=-1h&format=csv");
        let (status, text) = self.site.page(&path);
        assert_eq!(status, 200, "{text}");
        text.lines().count() - 1
    }
}

#[test]
fn renamed_node_keeps_history_silences_rules_and_old_addresses() {
    let w = Named::new();
    let collector = w.site.collector(&w.config);
    w.send("old", "queue", 5);
    w.send("other", "queue", 5);
    stdout(w.rookery(&["downtime", "add", "--node", "old", "--for", "1h"]).args(["--author", "a"]));
    let text = w.refused(&["node", "rename", "old", "other"]);
    assert!(text.contains("there is a node \"other\" already"), "{text}");
    let text = w.refused(&["node", "rename", "olt", "new"]);
    assert!(text.contains("no node \"olt\"; did you mean \"old\"?"), "{text}");
    assert_eq!(
        stdout(&mut w.rookery(&["node", "rename", "old", "new"])),
        "old is called new now\n"
    );
    // What still sends the old name is the same node.
    w.send("old", "queue", 95);
    assert_eq!(w.nodes(), ["new", "other"]);
    let services = wait_for("CRITICAL by the rule that names it", LIMIT, || {
        let services = w.site.services("new");
        (services[0]["state"] == "CRITICAL").then_some(services)
    });
    assert_eq!(w.site.services("old"), services, "the API answers to both names");
    collector.kill9();
    let collector = w.site.collector(&w.config);
    assert_eq!(w.nodes(), ["new", "other"]);
    assert_eq!((w.samples("new"), w.samples("old")), (2, 2), "one history");
    assert_eq!(w.site.services("new")[0]["state"], "CRITICAL");
    assert_eq!(w.notified(), "", "its downtime went with it");
    let link = format!("{}/node/old/queue?from=-1h", w.site.url());
    let redirected = stdout(Command::new("curl").args([
        "-s",
        "-o",
        "/dev/null",
        "-w",
        "%{redirect_url}",
        &link,
    ]));
    assert_eq!(redirected, format!("{}/node/new/queue?from=-1h", w.site.url()));
    let downtimes = get(&format!("{}/api/v1/downtimes", w.site.url())).json();
    assert_eq!(downtimes[0]["node"], "new", "{downtimes}");
    let id = downtimes[0]["id"].as_str().expect("an id").to_owned();
    stdout(w.rookery(&["downtime", "cancel", &id]).args(["--author", "a"]));
    w.send("old", "queue", 96);
    w.wait_notified("CRITICAL new/queue");
    // Its open incident goes with it.
    stdout(&mut w.rookery(&["node", "rename", "new", "newer"]));
    w.send("new", "queue", 5);
    w.wait_notified("OK newer/queue");
    assert_eq!(w.notified().lines().count(), 2, "{}", w.notified());
    collector.stop();
}

#[test]
fn retired_node_returns_when_it_sends_and_a_removed_one_starts_again() {
    let w = Named::new();
    let collector = w.site.collector(&w.config);
    w.send("mq-zwerg", "queue", 95);
    w.wait_notified("CRITICAL mq-zwerg/queue");
    stdout(&mut w.rookery(&["node", "retire", "mq-zwerg"]));
    let is_listed = || {
        let pages = ["/", "/nodes", "/wall", "/problems", "/api/v1/nodes", "/api/v1/problems"];
        pages.into_iter().find(|p| w.site.page(p).1.contains("mq-zwerg"))
    };
    assert_eq!(is_listed(), None);
    assert!(w.site.page("/node/mq-zwerg").1.contains("retired"), "its page stays");
    assert_eq!(w.samples("mq-zwerg"), 1, "and so does its history");
    collector.kill9();
    let collector = w.site.collector(&w.config);
    assert_eq!(is_listed(), None);
    assert_eq!(
        stdout(Command::new(bin("rookery")).args(["node", "retired", "--url"]).arg(w.site.url())),
        "mq-zwerg\n"
    );
    w.send("mq-zwerg", "queue", 5);
    assert_eq!((w.nodes(), w.samples("mq-zwerg")), (vec!["mq-zwerg".to_owned()], 2));

    assert!(w.refused(&["node", "remove", "mq-zwerg"]).contains("--yes"));
    assert_eq!(w.nodes(), ["mq-zwerg"]);
    stdout(&mut w.rookery(&["node", "remove", "mq-zwerg", "--yes"]));
    assert_eq!((w.nodes().len(), w.site.page("/node/mq-zwerg").0), (0, 404));
    w.send("mq-zwerg", "queue", 6);
    assert_eq!(w.samples("mq-zwerg"), 1, "what comes under its name is of a new node");
    collector.kill9();
    let collector = w.site.collector(&w.config);
    assert_eq!(w.samples("mq-zwerg"), 1, "no journal brings it back");
    collector.stop();
}

#[test]
fn downtime_by_a_form_is_of_one_thing_and_one_of_nothing_is_refused() {
    let w = Named::new();
    let collector = w.site.collector(&w.config);
    for service in ["queue *", "queue payments"] {
        w.send("mq1", service, 5);
    }
    let form = "node=mq1&service=queue+%2A&for=1h&author=me";
    let answer = http(|client| {
        client
            .post(format!("{}/api/v1/downtime", w.site.url()))
            .bearer_auth("sesame")
            .header("Content-Type", "application/x-www-form-urlencoded")
            .body(form)
    });
    assert!(answer.expect("an answer").status < 400);
    w.send("mq1", "queue *", 95);
    w.send("mq1", "queue payments", 95);
    w.wait_notified("CRITICAL mq1/queue payments");
    assert!(!w.notified().contains("queue *"), "{}", w.notified());
    for (words, want) in [
        (&["--node", "mq2"][..], "no node is called \"mq2\""),
        (&["--node", "mq1", "--service", "queu"], "no service is called \"queu\""),
        (&["--group", "mail"], "no group is called \"mail\""),
        (&["--node", "mq*", "--exact"], "no node is called \"mq*\""),
    ] {
        let text = w.refused(&[&["downtime", "add", "--author", "a"], words].concat());
        assert!(text.contains(want), "{want}: {text}");
    }
    let anyway = ["downtime", "add", "--author", "a", "--node", "mq2", "--anyway"];
    stdout(&mut w.rookery(&anyway));
    collector.stop();
}
