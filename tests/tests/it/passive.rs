//! Passive results into Debian's Nagios 4: by its command file, its folder of check
//! results, NSCA's daemon, and (a receiver that reads as NRDP does) NRDP.

use crate::nagios_lab::{nagios, status};
use crate::support::{Proc, Site, bin, executable, free_port, run, stdout, wait_for};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);
const PLUGIN: &str = "#!/bin/sh
if [ \"$1\" = config ]; then
  echo 'graph_title Level'; echo level.label level; echo level.critical 90; exit
fi
echo level.value $(cat FILE)
";
/// What Nagios calls the node.
const HOST: &str = "farm_n1";

/// A site with a plugin whose value is in a file.
pub fn site_with_level() -> (Site, impl Fn(&str)) {
    let site = Site::new();
    let level = site.path("level");
    executable(&site.path("plugins/level"), &PLUGIN.replace("FILE", &level.display().to_string()));
    let set = move |text: &str| std::fs::write(&level, text).expect("writes");
    set("50");
    (site, set)
}

/// Its collector sends results each 2 s.
pub fn collector(site: &Site, passive: &str) -> Proc {
    site.collector(&format!(
        "[alerting]\ndown_after_ms = 4000\nstart_grace_ms = 1000\n\
         [[passive]]\nrefresh = \"2s\"\n{passive}\n"
    ))
}

pub fn agent(site: &Site) -> Proc {
    let agent = site.agent("farm;n1", "step = \"1s\"\nplugin_step = \"1s\"\n");
    wait_for("a hard state", LIMIT, || {
        let services = site.services("farm%3Bn1");
        let level = services.iter().find(|s| s["service"] == "level")?;
        (level["state"] == "OK" && level["hard"] == true).then_some(())
    });
    agent
}

/// The definitions for it; `nagios4 -v` must be content.
fn configured(site: &Site) -> String {
    let objects = site.path("rookery.cfg");
    stdout(
        Command::new(bin("rookery"))
            .args(["nagios-config", "--url", &site.url(), "--contact-groups", "ops"])
            .args(["--passive", "--refresh", "2s", "-o"])
            .arg(&objects),
    );
    let file = nagios(site.dir.path(), &objects);
    let checked = run(Command::new("/usr/sbin/nagios4").arg("-v").arg(&file));
    let text = String::from_utf8_lossy(&checked.stdout).into_owned();
    assert!(checked.status.success(), "{text}");
    assert!(text.contains("Total Warnings: 0") && text.contains("Total Errors:   0"), "{text}");
    file
}

fn start(file: &str) -> Proc {
    Proc::start(Command::new("/usr/sbin/nagios4").arg(file))
}

fn wait_state(dir: &Path, service: Option<&str>, state: &str) -> crate::nagios_lab::Status {
    let what = format!("{service:?} in state {state}");
    wait_for(&what, LIMIT, || status(dir, HOST, service).filter(|s| s.state == state))
}

/// The notifications that Nagios has sent of this.
fn notices(dir: &Path, what: &str) -> Vec<String> {
    let log = std::fs::read_to_string(dir.join("nagios.log")).unwrap_or_default();
    let is_it = |l: &&str| l.contains(" NOTIFICATION: ") && l.contains(what);
    log.lines().filter(is_it).map(str::to_owned).collect()
}

/// To and fro: OK, CRITICAL while Nagios is away, OK again.
fn follows(site: &Site, set: &impl Fn(&str), file: &str) {
    let dir = site.dir.path();
    let mut nagios = start(file);
    let level = wait_state(dir, Some("level"), "0");
    assert!(level.text.starts_with("LEVEL OK - level 50"), "{level:?}");
    assert!(level.perf.starts_with("'level'=50;;~:90"), "{level:?}");
    assert_eq!(wait_state(dir, None, "0").text.split(',').next(), Some("node is UP"));
    set("95");
    let level = wait_state(dir, Some("level"), "2");
    assert_eq!(level.kind, "1", "{level:?}");
    wait_for("one message", LIMIT, || (notices(dir, "level").len() == 1).then_some(()));
    assert!(level.text.contains("level is 95 (outside ~:90)"), "{level:?}");
    nagios.signal(rustix::process::Signal::TERM);
    nagios.ended(LIMIT);
    set("96");
    std::thread::sleep(Duration::from_secs(3));
    set("40");
    wait_for("a good level", LIMIT, || {
        let services = site.services("farm%3Bn1");
        services.iter().any(|s| s["service"] == "level" && s["state"] == "OK").then_some(())
    });
    // Longer than changes are gathered.
    std::thread::sleep(Duration::from_millis(500));
    // It comes back, and hears of what is now: never of the past.
    let _nagios = start(file);
    wait_state(dir, Some("level"), "0");
    let all = notices(dir, "level");
    // The first CRITICAL of before, and that it is over.
    assert!(all.len() <= 2 && all.iter().all(|l| !l.contains("is 96")), "{all:#?}");
}

#[test]
fn nagios_follows_by_its_command_file() {
    let (site, set) = site_with_level();
    let path = site.path("nagios.cmd");
    // Nobody reads yet: nothing waits for that.
    let collector = collector(&site, &format!("kind = \"command-file\"\npath = {path:?}"));
    let agent = agent(&site);
    let file = configured(&site);
    follows(&site, &set, &file);
    let dir = site.dir.path();
    let nagios = start(&file);
    wait_state(dir, Some("level"), "0");
    // A node that is silent is DOWN: one message, none of its services.
    agent.kill9();
    wait_state(dir, None, "1");
    let before = notices(dir, "SERVICE NOTIFICATION").len();
    let agent = self::agent(&site);
    wait_state(dir, None, "0");
    wait_state(dir, Some("level"), "0");
    assert_eq!(notices(dir, "SERVICE NOTIFICATION").len(), before, "{:#?}", notices(dir, ""));
    // A collector that is silent: it alone is told of, and everything is UNKNOWN.
    collector.stop();
    let level = wait_state(dir, Some("level"), "3");
    assert!(level.text.contains("no result from Rookery since"), "{level:?}");
    wait_for("all are stale", LIMIT, || {
        status(dir, HOST, Some("uptime")).filter(|s| s.state == "3")
    });
    let told: Vec<String> = notices(dir, "SERVICE NOTIFICATION").into_iter().skip(before).collect();
    assert_eq!(told.len(), 1, "{told:#?}");
    assert!(told[0].contains("ops;rookery;results;UNKNOWN"), "{told:#?}");
    assert_eq!(status(dir, HOST, None).map(|s| s.state).as_deref(), Some("0"));
    nagios.signal(rustix::process::Signal::TERM);
    agent.kill9();
}

#[test]
fn nagios_follows_by_its_folder_of_results() {
    let (site, set) = site_with_level();
    let path = site.path("results");
    std::fs::create_dir(&path).expect("a folder");
    let collector = collector(&site, &format!("kind = \"spool\"\npath = {path:?}"));
    let agent = agent(&site);
    let file = configured(&site);
    follows(&site, &set, &file);
    agent.stop();
    collector.stop();
}

/// An NSCA daemon that writes into Nagios' command file.
fn nsca(site: &Site, method: u8, password: &str) -> (Proc, u16) {
    let port = free_port();
    let cfg = site.path(&format!("nsca{port}.cfg"));
    let text = format!(
        "pid_file={}\nserver_port={port}\nserver_address=127.0.0.1\nnsca_user=root\n\
         nsca_group=root\ndebug=1\ncommand_file={}\nalternate_dump_file=/dev/null\n\
         aggregate_writes=0\nappend_to_file=0\nmax_packet_age=30\npassword={password}\n\
         decryption_method={method}\n",
        site.path("nsca.pid").display(),
        site.path("nagios.cmd").display()
    );
    std::fs::write(&cfg, text).expect("writes");
    let proc = Proc::start(Command::new("/usr/sbin/nsca").arg("-f").arg("-c").arg(&cfg));
    wait_for("nsca", LIMIT, || std::net::TcpStream::connect(("127.0.0.1", port)).ok());
    (proc, port)
}

#[test]
fn nagios_follows_by_nsca_s_daemon() {
    for (method, number) in [("xor", 1), ("aes", 14)] {
        let (site, set) = site_with_level();
        let secret = site.path("secret");
        std::fs::write(&secret, "a password\n").expect("writes");
        let (_nsca, port) = nsca(&site, number, "a password");
        let collector = collector(
            &site,
            &format!(
                "kind = \"nsca\"\naddress = \"127.0.0.1:{port}\"\nmethod = {method:?}\n\
                 secret_file = {secret:?}"
            ),
        );
        let agent = agent(&site);
        let file = configured(&site);
        let dir = site.dir.path();
        let nagios = start(&file);
        let level = wait_state(dir, Some("level"), "0");
        assert!(level.perf.starts_with("'level'=50;;~:90"), "{method}: {level:?}");
        wait_state(dir, None, "0");
        set("95");
        let level = wait_state(dir, Some("level"), "2");
        assert!(level.text.contains("level is 95 (outside ~:90)"), "{method}: {level:?}");
        nagios.signal(rustix::process::Signal::TERM);
        agent.stop();
        collector.stop();
    }
}

/// Its own client says "1 data packet(s) sent" to that.
#[test]
fn a_wrong_password_of_nsca_is_noticed() {
    let (site, _set) = site_with_level();
    let secret = site.path("secret");
    std::fs::write(&secret, "wrong\n").expect("writes");
    let (_nsca, port) = nsca(&site, 14, "right");
    let mut collector = collector(
        &site,
        &format!(
            "kind = \"nsca\"\naddress = \"127.0.0.1:{port}\"\nmethod = \"aes\"\n\
             secret_file = {secret:?}"
        ),
    );
    let agent = agent(&site);
    let line = collector.line("results are not taken", LIMIT);
    assert!(line.contains("it hung up on the first packet; are method and password"), "{line}");
    agent.stop();
    collector.stop();
}

/// Reads a form as NRDP's PHP does; hands on the XML.
fn nrdp(token: &'static str) -> (u16, std::sync::mpsc::Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let port = listener.local_addr().expect("an address").port();
    let (tell, told) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut from = BufReader::new(stream.try_clone().expect("clones"));
            let mut head = String::new();
            while from.read_line(&mut head).is_ok_and(|n| n > 2) {}
            let head = head.to_ascii_lowercase();
            let length = head.lines().find_map(|l| l.strip_prefix("content-length: "));
            let mut body = vec![0; length.and_then(|l| l.parse().ok()).unwrap_or(0)];
            from.read_exact(&mut body).expect("a body");
            let body = String::from_utf8(body).expect("text");
            let form: std::collections::HashMap<String, String> = body
                .split('&')
                .filter_map(|pair| pair.split_once('='))
                .map(|(k, v)| {
                    let v = percent_encoding::percent_decode_str(v).decode_utf8().expect("UTF-8");
                    (k.to_owned(), v.into_owned())
                })
                .collect();
            let is_it = head.contains("application/x-www-form-urlencoded")
                && form.get("token").is_some_and(|t| t == token)
                && form.get("cmd").is_some_and(|c| c == "submitcheck");
            let (status, message) = if is_it { (0, "OK") } else { (-1, "BAD TOKEN") };
            let answer = format!(
                "<?xml version=\"1.0\" encoding=\"utf-8\"?>\n<result>\n  <status>{status}</status>\n  \
                 <message>{message}</message>\n</result>\n"
            );
            let _ = write!(
                stream,
                "HTTP/1.1 200 OK\r\ncontent-type: text/xml\r\ncontent-length: {}\r\n\
                 connection: close\r\n\r\n{answer}",
                answer.len()
            );
            if is_it {
                let _ = tell.send(form["XMLDATA"].clone());
            }
        }
    });
    (port, told)
}

#[test]
fn nrdp_gets_the_xml_that_it_reads_and_a_refusal_is_noticed() {
    let (site, set) = site_with_level();
    let secret = site.path("secret");
    std::fs::write(&secret, "a token&more\n").expect("writes");
    let (port, told) = nrdp("a token&more");
    let (deaf, _) = nrdp("another");
    let mut collector = collector(
        &site,
        &format!(
            "kind = \"nrdp\"\nurl = \"http://127.0.0.1:{port}/nrdp\"\nsecret_file = {secret:?}\n\
             [[passive]]\nkind = \"nrdp\"\nurl = \"http://127.0.0.1:{deaf}/nrdp/\"\n\
             secret_file = {secret:?}"
        ),
    );
    let agent = agent(&site);
    let wait = |want: &str| loop {
        let xml = told.recv_timeout(LIMIT).unwrap_or_else(|_| panic!("no {want}"));
        if xml.contains(want) {
            return xml;
        }
    };
    let service = "<checkresult type='service' checktype='1'><hostname>farm_n1</hostname>\
                   <servicename>level</servicename>";
    let xml = wait(&format!("{service}<state>0</state><output>LEVEL OK - level 50 | 'level'=50"));
    assert!(xml.contains(
        "<checkresult type='host' checktype='1'><hostname>farm_n1</hostname><state>0</state>"
    ));
    set("95");
    wait(&format!("{service}<state>2</state><output>LEVEL CRITICAL - level is 95"));
    let line = collector.line("results are not taken", LIMIT);
    assert!(line.contains("BAD TOKEN") && !line.contains("more"), "{line}");
    agent.stop();
    collector.stop();
}
