//! The collector as Munin's master: Debian's munin-node, beside nodes that are
//! dead, hang, flood, or are none.

use crate::support::{Proc, Site, bin, executable, free_port, get, run, wait_for};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// Counts its fetches: each value tells which it was.
const KNOWN: &str = "#!/bin/sh
if [ \"$1\" = config ]; then
  echo graph_title Known; echo graph_category test
  echo n.label n; echo big.label big; echo big.type COUNTER; echo dec.label dec
  echo neg.label neg; echo sci.label sci; echo unk.label unk; echo n.warning 1000000
  exit
fi
n=$(cat COUNT 2>/dev/null || echo 0); n=$((n + 1)); echo $n > COUNT
echo n.value $n; echo big.value $((9007199254740993 + n)); echo dec.value 0.1$n
echo neg.value -$n.25; echo sci.value 1.5e3; echo unk.value U; echo nameless.value 7
";
const NESTED: &str = "#!/bin/sh
if [ \"$1\" = config ]; then
  echo multigraph nest; echo graph_title All; echo a.label a
  echo multigraph nest.sda; echo graph_title sda; echo b.label b; exit
fi
echo multigraph nest; echo a.value 1; echo multigraph nest.sda; echo b.value 2
";
const DIRTY: &str = "#!/bin/sh
[ \"$1\" = config ] && echo graph_title Dirty && echo d.label d
[ \"$1\" = config -a \"$MUNIN_CAP_DIRTYCONFIG\" != 1 ] || echo d.value 77
";
const TIMED: &str = "#!/bin/sh
if [ \"$1\" = config ]; then echo graph_title Timed; echo t.label t; exit; fi
now=$(date +%s); echo t.value $((now - 20)):1; echo t.value $((now - 10)):2
";
const BROKEN: &str = "#!/bin/sh
if [ \"$1\" = config ]; then echo graph_title Broken; echo x.label x; exit; fi
echo x.value 1; exit 3
";

/// Debian's munin-node on a port of its own, with these plugins.
pub fn munin_node(dir: &Path) -> (Proc, u16) {
    munin_node_with(dir, "")
}

/// The same, with more configuration.
pub fn munin_node_with(dir: &Path, more: &str) -> (Proc, u16) {
    let port = free_port();
    let plugins = dir.join("node-plugins");
    std::fs::create_dir(&plugins).expect("a folder");
    let count = dir.join("count");
    std::fs::write(&count, "0\n").expect("writes");
    std::fs::set_permissions(&count, std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .expect("chmod");
    let known = KNOWN.replace("COUNT", &count.display().to_string());
    for (name, text) in [
        ("known", known.as_str()),
        ("nested", NESTED),
        ("dirty", DIRTY),
        ("timed", TIMED),
        ("broken", BROKEN),
    ] {
        executable(&plugins.join(name), text);
    }
    for name in ["load", "uptime"] {
        symlink(Path::new("/usr/share/munin/plugins").join(name), plugins.join(name))
            .expect("links");
    }
    let conf = dir.join("munin-node.conf");
    let text = format!(
        "log_level 1\nlog_file {0}/munin-node.log\npid_file {0}/munin-node.pid\nbackground 0\n\
         setsid 0\nuser root\ngroup root\nhost_name node.example\nallow ^127\\.0\\.0\\.1$\n\
         host 127.0.0.1\nport {port}\n{more}",
        dir.display()
    );
    std::fs::write(&conf, text).expect("writes");
    let empty = dir.join("no-plugin-conf");
    std::fs::create_dir(&empty).expect("a folder");
    // It knows no other folders than these.
    let script = "mount --bind \"$1\" /etc/munin/plugins && \
                  mount --bind \"$2\" /etc/munin/plugin-conf.d && \
                  exec /usr/sbin/munin-node --config \"$3\"";
    let node = Proc::start(
        Command::new("unshare")
            .args(["-m", "--propagation", "private", "sh", "-c", script, "sh"])
            .args([&plugins, &empty, &conf]),
    );
    wait_for("munin-node", LIMIT, || TcpStream::connect(("127.0.0.1", port)).ok());
    (node, port)
}

/// Something at a port that answers each connection in its way.
fn impostor(answer: impl Fn(TcpStream) + Send + Sync + 'static) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let answer = std::sync::Arc::new(answer);
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let answer = answer.clone();
            std::thread::spawn(move || answer(stream));
        }
    });
    port
}

/// A node that greets, lists one plugin, and answers its questions with this.
fn flooding(stream: TcpStream) {
    let mut out = stream.try_clone().expect("clones");
    let _ = out.write_all(b"# munin node at flood\n");
    for line in BufReader::new(stream).lines().map_while(Result::ok) {
        let done = match line.split_whitespace().next() {
            Some("cap") => out.write_all(b"cap multigraph dirtyconfig\n"),
            Some("list") => out.write_all(b"endless many\n"),
            _ if line.ends_with("endless") => loop {
                if let Err(e) = out.write_all(&[b'x'; 65_536]) {
                    break Err(e);
                }
            },
            Some(verb) => {
                let what = if verb == "config" { "label x" } else { "value 1" };
                let text: String = (0..30_000).map(|i| format!("f{i}.{what}\n")).collect();
                out.write_all(format!("{text}.\n").as_bytes())
            }
            None => Ok(()),
        };
        if done.is_err() {
            return;
        }
    }
}

/// The values of a field, by time.
fn values(site: &Site, node: &str, service: &str, field: &str) -> Vec<(i64, String)> {
    let all = site.export(node, service);
    all.into_iter().filter(|r| r.1 == field).map(|r| (r.0, r.2)).collect()
}

#[test]
fn a_real_munin_node_beside_dead_and_mad_ones() {
    let site = Site::new();
    let (_node, port) = munin_node(site.dir.path());
    let hanging = impostor(|stream| {
        // Says nothing until it is left.
        let _ = BufReader::new(stream).lines().count();
    });
    let none = impostor(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.2\r\n");
        let _ = BufReader::new(stream).lines().count();
    });
    let mad = impostor(flooding);
    let dead = free_port();
    let conf = site.path("munin.conf");
    let text = format!(
        "# as it stood\ndbdir /var/lib/munin\n[farm;node.example]\n  address 127.0.0.1\n  \
         port {port}\n  known.n.warning 2\n  nest.sda.graph_title Our disk\n\
         [farm;dead]\n  address 127.0.0.1:{dead}\n[farm;hanging]\n  address 127.0.0.1:{hanging}\n"
    );
    std::fs::write(&conf, text).expect("writes");
    let mut collector = site.collector(&format!(
        "[[munin]]\nconf = {conf:?}\ninterval = \"1s\"\ntimeout = \"2s\"\n\
         [[munin]]\naddress = \"127.0.0.1:{none}\"\nnode = \"none\"\ninterval = \"1s\"\n\
         timeout = \"1s\"\n\
         [[munin]]\naddress = \"127.0.0.1:{mad}\"\ninterval = \"1s\"\ntimeout = \"3s\"\n"
    ));
    const NODE: &str = "farm;node.example";
    wait_for("five polls", LIMIT, || {
        (!site.services("farm%3Bnode.example").is_empty()).then_some(())
    });
    let n = wait_for("five polls", LIMIT, || {
        let n = values(&site, NODE, "known", "n");
        (n.len() >= 5).then_some(n)
    });
    // Each fetch once, in order, and exactly.
    let first: u64 = n[0].1.parse().expect("a number");
    for (i, (_, value)) in n.iter().enumerate() {
        assert_eq!(value.parse::<u64>().ok(), Some(first + i as u64), "{n:?}");
    }
    let at = |field: &str| values(&site, NODE, "known", field)[0].1.clone();
    assert_eq!(at("big"), (9_007_199_254_740_993 + first).to_string());
    assert_eq!(at("dec"), format!("0.1{first}"));
    assert_eq!(at("neg"), format!("-{first}.25"));
    assert_eq!((at("sci"), at("unk"), at("nameless")), ("1500.0".into(), "".into(), "7".into()));
    assert_eq!(values(&site, NODE, "nest.sda", "b")[0].1, "2");
    assert_eq!(values(&site, NODE, "dirty", "d")[0].1, "77");
    let timed = values(&site, NODE, "timed", "t");
    // Each fetch gave two, 10 s apart, at times of their own.
    let second = (timed[0].0 + 10_000, "2".to_owned());
    assert!(timed[0].1 == "1" && timed.contains(&second), "{timed:?}");
    assert!(!values(&site, NODE, "load", "load").is_empty());
    assert!(values(&site, NODE, "broken", "x").is_empty());

    // What munin.conf says over the plugin, and what failed, is seen.
    let services = site.services("farm%3Bnode.example");
    let find = |name: &str| services.iter().find(|s| s["service"] == name).expect("a service");
    assert_eq!(find("nest.sda")["title"], "Our disk");
    let check = |service: &str| {
        let output = run(Command::new(bin("check_rookery")).args([
            "-u",
            &site.url(),
            "-H",
            NODE,
            "-s",
            service,
        ]));
        (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
    };
    wait_for("the warning", LIMIT, || (check("known").0 == Some(1)).then_some(()));
    let (code, text) = check("rookery_success");
    assert!(code == Some(1) && text.contains("broken"), "{text}");
    let polls = values(&site, NODE, "munin_poll", "failed");
    assert_eq!(polls.last().map(|p| p.1.as_str()), Some("1"));

    // The mad one: what it offers is bounded, and said.
    wait_for("the flood", LIMIT, || {
        let fields = get(&format!("{}/api/v1/services?node=flood", site.url()));
        (fields.status == 200 && fields.text().contains("f19999")).then_some(())
    });
    collector.signal(rustix::process::Signal::TERM);
    let said = collector.said();
    for want in [
        format!("munin-node farm;dead (127.0.0.1:{dead}): Connection refused"),
        format!("munin-node farm;hanging (127.0.0.1:{hanging}): no answer in 2 s"),
        format!("munin-node none (127.0.0.1:{none}): no answer in 1 s"),
        "broken: fetch: Bad exit".to_owned(),
        "endless: \"config endless\": a line of more than 65536 bytes".to_owned(),
        "more than 20000 fields".to_owned(),
        "munin.conf:2: dbdir: the history is in `data`".to_owned(),
    ] {
        assert!(said.contains(&want), "{want}\n{said}");
    }
    assert_eq!(said.matches("Connection refused").count(), 1, "told once: {said}");
}

/// A node that keeps its readings: what came while the collector was away is
/// asked for when it is back.
#[test]
fn what_a_node_has_spooled_is_not_missed() {
    let site = Site::new();
    let count = site.path("count");
    let known = KNOWN.replace("COUNT", &count.display().to_string());
    executable(&site.path("plugins/known"), &known);
    std::fs::write(&count, "0\n").expect("writes");
    std::fs::set_permissions(&count, std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .expect("chmod");
    let port = free_port();
    let conf = site.path("holding.toml");
    let text = format!(
        "node = \"holding\"\ncollector = \"http://127.0.0.1:1\"\nlisten = \"127.0.0.1:{port}\"\n\
         hold = \"1h\"\nspool = {:?}\nplugin_dirs = [{:?}]\nplugin_conf_dirs = []\n\
         plugin_state = {:?}\nplugin_step = \"2s\"\n",
        site.path("agent-spool"),
        site.path("plugins"),
        site.path("state"),
    );
    std::fs::write(&conf, text).expect("writes");
    let agent = Proc::start(Command::new(bin("rookery-agent")).arg("--config").arg(&conf));
    let fetched = || -> usize {
        let text = std::fs::read_to_string(&count).unwrap_or_default();
        text.trim().parse().unwrap_or(0)
    };
    let more = |n: usize| {
        let want = fetched() + n;
        wait_for("more fetches", LIMIT, || (fetched() >= want).then_some(()));
    };
    more(3);
    let munin =
        format!("[[munin]]\naddress = \"127.0.0.1:{port}\"\ninterval = \"1s\"\ntimeout = \"5s\"\n");
    let has = |n: usize| {
        wait_for("all of them", LIMIT, || {
            let is_known = |s: &serde_json::Value| s["service"] == "known";
            if !site.services("holding").iter().any(is_known) {
                return None;
            }
            let all = values(&site, "holding", "known", "n");
            (all.last()?.1.parse::<usize>().ok()? >= n).then_some(all)
        })
    };
    let collector = site.collector(&munin);
    has(fetched());
    collector.kill9();
    more(3);
    let collector = site.collector(&munin);
    let all = has(fetched());
    for (i, (_, value)) in all.iter().enumerate() {
        assert_eq!(value.parse::<usize>().ok(), Some(i + 1), "each once, in order: {all:?}");
    }
    agent.stop();
    collector.stop();
}
