//! Debian's Munin master polls the agent as a node: its RRD files hold the
//! right values, its pages and pictures are made, in the clear and by TLS.

use super::support::{Proc, bin, executable, free_port, run, stdout, wait_for};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const STEADY: &str = "#!/bin/sh
if [ \"$1\" = config ]; then
  echo graph_title Steady values; echo graph_category test
  echo big.label big; echo neg.label neg; echo cnt.label cnt; echo cnt.type COUNTER
  exit
fi
echo big.value 4503599627370497; echo neg.value -12.5; echo cnt.value 9007199254740993
";
const NESTED: &str = "#!/bin/sh
if [ \"$1\" = config ]; then
  echo multigraph nest; echo graph_title All; echo a.label a
  echo multigraph nest.sda; echo graph_title sda; echo b.label b
  exit
fi
echo multigraph nest; echo a.value 1; echo multigraph nest.sda; echo b.value 2
";
const DIRTY: &str = "#!/bin/sh
[ \"$1\" = config ] && echo graph_title Dirty && echo d.label d
[ \"$1\" = config -a \"$MUNIN_CAP_DIRTYCONFIG\" != 1 ] || echo d.value 77
";
const SWITCH: &str = "#!/bin/sh
[ \"$1\" = config ] && echo host_name switch.example && echo graph_title Ports && echo p.label p
[ \"$1\" = config ] || echo p.value 24
";
/// A check in the way of the public check_munin scripts: service, warning,
/// critical; the worst field counts.
const CHECK_MUNIN: &str = r#"import socket, sys
host, port, service, warning, critical = sys.argv[1:]
s = socket.create_connection((host, int(port)))
f = s.makefile("rw")
if "munin node at" not in f.readline(): sys.exit(3)
f.write("fetch %s\n" % service); f.flush()
worst, texts = 0, []
while (line := f.readline().strip()) != ".":
    if line[0] == '#': print("UNKNOWN:", line); sys.exit(3)
    name, value = line.split(".value ")
    state = 2 if float(value) > float(critical) else 1 if float(value) > float(warning) else 0
    worst = max(worst, state); texts.append("%s: %s" % (name, value))
f.write("quit\n"); f.flush()
print(["OK", "WARNING", "CRITICAL"][worst], ", ".join(texts)); sys.exit(worst)
"#;

struct Lab {
    dir: tempfile::TempDir,
    port: u16,
}

impl Lab {
    fn new() -> Lab {
        let lab = Lab { dir: tempfile::tempdir().expect("a folder"), port: free_port() };
        let open = |path: &Path| {
            std::fs::set_permissions(path, PermissionsExt::from_mode(0o755)).expect("chmod");
        };
        open(lab.dir.path());
        for sub in ["plugins", "db", "log", "run", "html"] {
            std::fs::create_dir(lab.path(sub)).expect("a folder");
        }
        for (name, text) in
            [("steady", STEADY), ("nested", NESTED), ("dirty", DIRTY), ("switch", SWITCH)]
        {
            executable(&lab.path("plugins").join(name), text);
        }
        let debian = Path::new("/usr/share/munin/plugins");
        symlink(debian.join("users"), lab.path("plugins").join("users")).expect("links");
        for sub in ["db", "log", "run", "html"] {
            let owned = Command::new("chown").arg("munin").arg(lab.path(sub)).status();
            assert!(owned.expect("chown").success());
        }
        lab
    }

    fn path(&self, sub: &str) -> PathBuf {
        self.dir.path().join(sub)
    }

    fn agent(&self, more: &str) -> Proc {
        let file = self.path("agent.toml");
        let text = format!(
            "node = \"live.example\"\ncollector = \"http://127.0.0.1:1\"\n\
             listen = \"127.0.0.1:{}\"\nspool = {:?}\nplugin_dirs = [{:?}]\n\
             plugin_conf_dirs = []\nplugin_state = {:?}\n{more}",
            self.port,
            self.path("spool"),
            self.path("plugins"),
            self.path("state"),
        );
        std::fs::write(&file, text).expect("writes");
        let mut proc = Proc::start(Command::new(bin("rookery-agent")).arg("--config").arg(file));
        proc.line("watching", Duration::from_secs(60));
        proc
    }

    /// Runs a part of the master with this configuration, as its user.
    fn munin(&self, part: &str, more: &str) {
        let dirs = ["db", "log", "run", "html"].map(|d| format!("{d}dir {:?}\n", self.path(d)));
        let mut text = dirs.concat().replace('"', "");
        text += "graph_strategy cron\nhtml_strategy cron\n";
        text += more;
        for host in ["live.example", "switch.example"] {
            text += &format!("[{host}]\naddress 127.0.0.1\nport {}\n", self.port);
        }
        let file = self.path("munin.conf");
        std::fs::write(&file, text).expect("writes");
        let mut command = Command::new("timeout");
        command.args(["60", "setpriv", "--reuid=munin", "--regid=munin", "--clear-groups"]);
        command.arg(format!("/usr/share/munin/munin-{part}")).arg("--config").arg(file);
        if part == "graph" {
            command.args(["--cron", "--noweek", "--nomonth", "--noyear"]);
        }
        let out = run(&mut command);
        let text = String::from_utf8_lossy(&out.stderr).into_owned();
        assert!(out.status.success(), "munin-{part}: {text}");
    }

    /// The last value of each RRD file, by `HOST-SERVICE-FIELD-TYPE`.
    fn rrds(&self) -> BTreeMap<String, String> {
        let mut all = BTreeMap::new();
        for entry in std::fs::read_dir(self.path("db/example")).expect("RRDs").flatten() {
            let text = stdout(Command::new("rrdtool").arg("lastupdate").arg(entry.path()));
            let value = text.trim_end().rsplit(' ').next().unwrap_or_default();
            let name = entry.file_name().to_string_lossy().replace(".rrd", "");
            all.insert(name, value.to_owned());
        }
        all
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.path("log/munin-update.log")).expect("a log")
    }

    /// What the node answers.
    fn ask(&self, command: &str) -> String {
        let socket = TcpStream::connect(("127.0.0.1", self.port)).expect("connects");
        let mut writer = socket.try_clone().expect("clones");
        writer.write_all(format!("{command}\nquit\n").as_bytes()).expect("writes");
        let lines = BufReader::new(socket).lines().skip(1).map_while(Result::ok);
        lines.map(|l| l + "\n").collect()
    }
}

/// A field's value in an answer.
fn value(answer: &str, field: &str) -> u64 {
    let line = answer.lines().find_map(|l| l.strip_prefix(&format!("{field}.value ")));
    line.and_then(|v| v.parse().ok()).unwrap_or_else(|| panic!("{field} in {answer}"))
}

#[test]
fn debians_master_polls_the_agent() {
    let lab = Lab::new();
    let agent = lab.agent("");
    let before = value(&lab.ask("fetch cpu"), "user");
    lab.munin("update", "");
    let after = value(&lab.ask("fetch cpu"), "user");
    let rrds = lab.rrds();
    for (name, want) in [
        ("live.example-steady-big-g", "4503599627370497"),
        ("live.example-steady-neg-g", "-12.5"),
        ("live.example-steady-cnt-c", "9007199254740993"),
        ("live.example-nest-a-g", "1"),
        ("live.example-nest-sda-b-g", "2"),
        ("live.example-dirty-d-g", "77"),
        ("switch.example-switch-p-g", "24"),
    ] {
        assert_eq!(rrds.get(name).map(String::as_str), Some(want), "{name} of {rrds:#?}");
    }
    let user: u64 = rrds["live.example-cpu-user-d"].parse().expect("a counter");
    assert!((before..=after).contains(&user), "{before} <= {user} <= {after}");
    assert!(rrds.keys().any(|n| n.starts_with("live.example-users-")), "Debian's own plugin");
    assert!(rrds.len() > 100, "probes are services too: {}", rrds.len());

    // The files are there now: from here on the master has nothing to complain of.
    let log = lab.log();
    std::fs::write(lab.path("log/munin-update.log"), "").expect("empties");
    assert!(!log.contains("WARN"), "{log}");
    for part in ["update", "limits", "html", "graph"] {
        lab.munin(part, "");
    }
    let log = lab.log();
    assert!(!log.contains("WARN") && !log.contains("ERROR"), "{log}");
    let page = lab.path("html/example/live.example/index.html");
    let page = std::fs::read_to_string(page).expect("munin-html's page");
    assert!(page.contains("Steady values") && page.contains("CPU usage"), "{page}");
    for picture in ["steady-day.png", "cpu-day.png", "nest-day.png"] {
        let png = std::fs::read(lab.path("html/example/live.example").join(picture));
        let png = png.unwrap_or_else(|e| panic!("{picture}: {e}"));
        assert!(png.starts_with(b"\x89PNG") && png.len() > 2000, "{picture}");
    }
    agent.stop();
}

#[test]
fn debians_master_polls_the_agent_by_tls() {
    let lab = Lab::new();
    let openssl = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=live.example";
    let (key, pem) = (lab.path("node.key"), lab.path("node.pem"));
    let mut make = Command::new("openssl");
    make.args(openssl.split(' ')).arg("-keyout").arg(&key).arg("-out").arg(&pem);
    assert!(run(&mut make).status.success(), "openssl");
    // The master is another user, and this its key as well.
    std::fs::set_permissions(&key, PermissionsExt::from_mode(0o644)).expect("chmod");
    let agent = lab.agent(&format!(
        "tls_certificate = {pem:?}\ntls_private_key = {key:?}\ntls_required = true\n"
    ));
    assert_eq!(lab.ask("list"), "# I require TLS. Closing.\n");
    let (key, pem) = (key.display(), pem.display());
    lab.munin(
        "update",
        &format!(
            "tls enabled\ntls_private_key {key}\ntls_certificate {pem}\ntls_ca_certificate {pem}\n"
        ),
    );
    let rrds = lab.rrds();
    let got = rrds.get("live.example-steady-neg-g").map(String::as_str);
    assert_eq!(got, Some("-12.5"), "{}", lab.log());
    agent.stop();
}

/// A master that comes seldom gets what was read meanwhile, with its times.
#[test]
fn debians_master_fetches_what_is_held() {
    let lab = Lab::new();
    let agent = lab.agent("hold = \"10m\"\nstep = \"1s\"\nplugin_step = \"1s\"\n");
    lab.munin("update", "");
    assert_eq!(lab.rrds()["live.example-steady-neg-g"], "-12.5", "{}", lab.log());
    let updated = || {
        let file = lab.path("db/example/live.example-cpu-user-d.rrd");
        let text = stdout(Command::new("rrdtool").arg("lastupdate").arg(file));
        let line = text.trim_end().rsplit('\n').next().unwrap_or_default().to_owned();
        line.split_once(": ").map(|(t, v)| (t.to_owned(), v.to_owned())).expect("TIME: VALUE")
    };
    let first = updated();
    wait_for("later readings", Duration::from_secs(60), || {
        lab.ask(&format!("spoolfetch {}", first.0)).contains("multigraph cpu\n").then_some(())
    });
    // The agent's own word for that time.
    let all = lab.ask("spoolfetch 0");
    let cpu = all.split("multigraph ").find(|s| s.starts_with("cpu\n")).expect("cpu");
    assert!(cpu.contains(&format!("\nuser.value {}:{}\n", first.0, first.1)), "{first:?} {cpu}");
    lab.munin("update", "");
    let second = updated();
    assert!(second.0 > first.0, "{first:?} {second:?}");
    agent.stop();
}

/// A host that had munin-node: its configuration holds.
#[test]
fn munin_node_conf_is_taken_over() {
    let lab = Lab::new();
    let conf = lab.path("munin-node.conf");
    let text = format!(
        "log_level 4\nhost_name live.example\nallow ^127\\.0\\.0\\.1$\nhost 127.0.0.1\nport {}\n\
         ignore_file ^stead\nuser root\n",
        lab.port
    );
    std::fs::write(&conf, text).expect("writes");
    let toml = lab.path("agent.toml");
    let text = format!(
        "munin_node_conf = {conf:?}\ncollector = \"http://127.0.0.1:1\"\nspool = {:?}\n\
         plugin_dirs = [{:?}]\nplugin_conf_dirs = []\nplugin_state = {:?}\n",
        lab.path("spool"),
        lab.path("plugins"),
        lab.path("state"),
    );
    std::fs::write(&toml, text).expect("writes");
    let mut agent = Proc::start(Command::new(bin("rookery-agent")).arg("--config").arg(toml));
    agent.line("watching", Duration::from_secs(60));
    let list = lab.ask("list live.example");
    assert!(list.contains(" dirty ") && !list.contains("steady"), "{list}");
    assert!(lab.ask("version").starts_with("munins node on live.example"));
    agent.stop();
}

#[test]
fn checks_in_munins_way_ask_the_agent() {
    let lab = Lab::new();
    let agent = lab.agent("");
    let script = lab.path("check_munin.py");
    std::fs::write(&script, CHECK_MUNIN).expect("writes");
    let check = |service: &str, warning: &str, critical: &str| {
        let mut command = Command::new("python3");
        command.arg(&script).args(["127.0.0.1", &lab.port.to_string(), service]);
        let out = run(command.args([warning, critical]));
        (out.status.code(), String::from_utf8_lossy(&out.stdout).trim_end().to_owned())
    };
    assert_eq!(check("dirty", "80", "90"), (Some(0), "OK d: 77".to_owned()));
    assert_eq!(check("dirty", "70", "90"), (Some(1), "WARNING d: 77".to_owned()));
    assert_eq!(check("dirty", "60", "70"), (Some(2), "CRITICAL d: 77".to_owned()));
    assert_eq!(check("load", "1e6", "1e7").0, Some(0), "a built-in probe");
    assert_eq!(check("nosuch", "1", "2").0, Some(3));
    agent.stop();
}
