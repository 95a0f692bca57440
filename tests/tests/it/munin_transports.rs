//! Other ways to a node: TLS with Debian's munin-node, its munin-async over a real
//! `ssh`, a command.

use crate::munin_master::munin_node_with;
use crate::support::{Proc, Site, bin, executable, free_port, run, wait_for};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(60);

/// A self-made certificate and its key.
fn certificate(dir: &Path, name: &str) -> (String, String) {
    let at = |end: &str| dir.join(format!("{name}.{end}")).display().to_string();
    let (key, pem) = (at("key"), at("pem"));
    let mut make = Command::new("openssl");
    make.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj"]);
    make.args([&format!("/CN={name}"), "-keyout", &key, "-out", &pem]);
    assert!(run(&mut make).status.success(), "openssl");
    (key, pem)
}

/// A certificate for another name, by an authority of its own.
fn signed(dir: &Path) -> (String, String, String) {
    let (ca_key, ca) = certificate(dir, "authority");
    let at = |name: &str| dir.join(name).display().to_string();
    let (key, csr, pem) = (at("node.key"), at("node.csr"), at("node.pem"));
    let steps: [&[&str]; 2] = [
        &[
            "req",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-subj",
            "/CN=some.node",
            "-keyout",
            &key,
            "-out",
            &csr,
        ],
        &[
            "x509",
            "-req",
            "-in",
            &csr,
            "-CA",
            &ca,
            "-CAkey",
            &ca_key,
            "-CAcreateserial",
            "-days",
            "2",
            "-out",
            &pem,
            "-extfile",
            &at("v3"),
        ],
    ];
    // Version 3, as all but the oldest are.
    std::fs::write(at("v3"), "basicConstraints=CA:FALSE\n").expect("writes");
    for step in steps {
        let out = run(Command::new("openssl").args(step));
        assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    }
    (key, pem, ca)
}

#[test]
fn munin_nodes_are_polled_by_tls() {
    let site = Site::new();
    let (key, pem, ca) = signed(site.dir.path());
    let (_, other) = certificate(site.dir.path(), "stranger");
    // A paranoid node wants to see a certificate, too.
    let more = format!(
        "tls paranoid\ntls_private_key {key}\ntls_certificate {pem}\ntls_ca_certificate {ca}\n\
         tls_verify_certificate yes\n"
    );
    let (_node, port) = munin_node_with(site.dir.path(), &more);
    let conf = site.path("munin.conf");
    let host = |name: &str, more: &str| {
        format!("[farm;{name}]\naddress 127.0.0.1\nport {port}\nuse_node_name yes\n{more}\n")
    };
    let text = [
        format!(
            "tls enabled\ntls_verify_certificate yes\ntls_ca_certificate {ca}\n\
             tls_certificate {pem}\ntls_private_key {key}\n"
        ),
        host("trusted", ""),
        host("stranger", &format!("tls_ca_certificate {other}")),
        host("unchecked", "tls_verify_certificate no"),
        host("clear", "tls disabled"),
        host("named", "tls_match ^Subject Name: /CN=some\\.node\ntls_verify_depth 0"),
        host("another", "tls_match /CN=another"),
    ];
    std::fs::write(&conf, text.concat()).expect("writes");
    let mut collector = site
        .collector(&format!("[[munin]]\nconf = {conf:?}\ninterval = \"2s\"\ntimeout = \"5s\"\n"));
    for node in ["farm;trusted", "farm;unchecked", "farm;named"] {
        wait_for("values by TLS", LIMIT, || {
            if site.services(&node.replace(';', "%3B")).is_empty() {
                return None;
            }
            let all = site.export(node, "known");
            all.iter().any(|(_, f, v)| f == "sci" && v == "1500.0").then_some(())
        });
    }
    let line = collector.said_or_line("farm;stranger", LIMIT);
    assert!(line.contains("tls: ") && line.contains("UnknownIssuer"), "{line}");
    let line = collector.said_or_line("farm;another", LIMIT);
    assert!(line.contains("tls_match") && line.contains("/CN=some.node"), "{line}");
    for node in ["farm%3Bstranger", "farm%3Bclear", "farm%3Banother"] {
        assert!(site.services(node).is_empty(), "{node}");
    }
    collector.stop();
}

/// A node without a certificate, which Debian's is, wants to be TLS' client.
#[test]
fn a_munin_node_without_a_certificate_is_polled_by_tls() {
    let site = Site::new();
    let (key, pem, ca) = signed(site.dir.path());
    let strict = site.path("strict");
    std::fs::create_dir(&strict).expect("a folder");
    let (_strict, strict_port) = munin_node_with(
        &strict,
        &format!("tls enabled\ntls_verify_certificate yes\ntls_ca_certificate {ca}\n"),
    );
    let (_node, port) = munin_node_with(site.dir.path(), "");
    let conf = site.path("munin.conf");
    let host = |name: &str, port: u16, more: &str| {
        format!("[farm;{name}]\naddress 127.0.0.1\nport {port}\nuse_node_name yes\n{more}\n")
    };
    let own = format!("tls_certificate {pem}\ntls_private_key {key}\n");
    let check = format!("tls_verify_certificate yes\ntls_ca_certificate {ca}\n");
    let text = [
        "tls auto\n".to_owned(),
        host("served", strict_port, &format!("tls enabled\n{own}")),
        host("bare", port, ""),
        host("checked", port, &format!("{own}{check}")),
        host("alone", port, "tls enabled"),
    ];
    std::fs::write(&conf, text.concat()).expect("writes");
    let mut collector = site
        .collector(&format!("[[munin]]\nconf = {conf:?}\ninterval = \"2s\"\ntimeout = \"5s\"\n"));
    for node in ["farm;served", "farm;bare"] {
        wait_for("values", LIMIT, || {
            if site.services(&node.replace(';', "%3B")).is_empty() {
                return None;
            }
            let all = site.export(node, "known");
            all.iter().any(|(_, f, v)| f == "sci" && v == "1500.0").then_some(())
        });
    }
    for node in ["farm;checked", "farm;alone"] {
        let line = collector.said_or_line(node, LIMIT);
        assert!(line.contains("the node has no certificate"), "{line}");
        assert!(site.services(&node.replace(';', "%3B")).is_empty(), "{node}");
    }
    collector.stop();
}

/// A node is asked from the address that is said, of a host, a group or all.
#[test]
fn nodes_are_polled_from_a_local_address() {
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    let conf = site.path("munin.conf");
    let text = format!(
        "local_address 127.0.0.7\n[farm;]\nport {port}\nuse_node_name yes\n\
         [farm;all]\naddress 127.0.0.1\n[farm;own]\naddress localhost\n\
         local_address 127.0.0.8\n[farm;foreign]\naddress 127.0.0.1\n\
         local_address 192.0.2.1\n"
    );
    std::fs::write(&conf, text).expect("writes");
    let mut collector = site.collector(&format!("[[munin]]\nconf = {conf:?}\ninterval = \"1s\"\n"));
    let (came, comes) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The test may be over.
            let _ = came.send(stream.peer_addr().expect("an address").ip().to_string());
        }
    });
    let mut seen = std::collections::BTreeSet::new();
    while seen.len() < 2 {
        seen.insert(comes.recv_timeout(LIMIT).expect("a master"));
    }
    assert_eq!(seen.into_iter().collect::<Vec<_>>(), ["127.0.0.7", "127.0.0.8"]);
    let line = collector.said_or_line("local_address 192.0.2.1", LIMIT);
    assert!(line.contains("farm;foreign"), "{line}");
    collector.stop();
}

/// What is wrong with the files is told before anything is polled.
#[test]
fn slips_in_tls_are_named() {
    let site = Site::new();
    let fails = |text: &str| {
        let file = site.path("c.toml");
        std::fs::write(&file, format!("[[munin]]\naddress = \"a\"\n{text}\n")).expect("writes");
        let mut command = Command::new(bin("rookery"));
        let out = run(command.args(["collector", "--check-config", "--config"]).arg(&file));
        assert_eq!(out.status.code(), Some(1), "{text}");
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    for (text, want) in [
        ("tls = \"enabled\"\ntls_verify_certificate = true", "name tls_ca_certificate"),
        ("tls = \"auto\"\ntls_certificate = \"/no/such\"", "tls_certificate /no/such"),
        ("tls = \"maybe\"", "maybe"),
        ("tls = \"enabled\"\ntls_match = \"x\"", "anyone can write a certificate"),
    ] {
        let e = fails(text);
        assert!(e.contains(want), "{want}: {e}");
    }
}

/// `sshd` on a port of its own, which lets this user in with this key.
fn sshd(site: &Site) -> (Proc, u16, String) {
    let at = |name: &str| site.path(name).display().to_string();
    for name in ["host_key", "login"] {
        let mut make = Command::new("ssh-keygen");
        let out = run(make.args(["-q", "-t", "ed25519", "-N", "", "-f"]).arg(at(name)));
        assert!(out.status.success(), "ssh-keygen");
    }
    std::fs::copy(at("login.pub"), at("authorized_keys")).expect("copies");
    let port = free_port();
    let text = format!(
        "Port {port}\nListenAddress 127.0.0.1\nHostKey {}\nAuthorizedKeysFile {}\nPidFile none\n\
         StrictModes no\nUsePAM no\nPasswordAuthentication no\n",
        at("host_key"),
        at("authorized_keys")
    );
    std::fs::write(at("sshd.conf"), text).expect("writes");
    std::fs::create_dir_all("/run/sshd").expect("a folder");
    let proc =
        Proc::start(Command::new("/usr/sbin/sshd").args(["-D", "-e", "-f", &at("sshd.conf")]));
    wait_for("sshd", LIMIT, || TcpStream::connect(("127.0.0.1", port)).ok());
    (proc, port, at("login"))
}

const COUNTS: &str = "#!/bin/sh
if [ \"$1\" = config ]; then echo graph_title Counts; echo n.label n; exit; fi
n=$(cat COUNT); n=$((n + 1)); echo $n > COUNT; echo n.value $n
";

/// Debian's munin-asyncd polls the agent as its node and keeps what it says;
/// munin-async hands it out over ssh. The collector has all of it.
#[test]
fn munin_async_is_read_over_ssh() {
    let site = Site::new();
    let count = site.path("count");
    std::fs::write(&count, "0\n").expect("writes");
    std::fs::set_permissions(&count, std::os::unix::fs::PermissionsExt::from_mode(0o666))
        .expect("chmod");
    let text = COUNTS.replace("COUNT", &count.display().to_string());
    executable(&site.path("plugins/counts"), &text);
    let node_port = free_port();
    // The site's agents do not listen: this one does.
    drop(site.agent_command("spooled.example", ""));
    let file = site.path("spooled.example.toml");
    let text = std::fs::read_to_string(&file).expect("its configuration");
    let text = text.replace("\"none\"", &format!("\"127.0.0.1:{node_port}\""));
    std::fs::write(&file, text).expect("writes");
    let mut agent = Proc::start(Command::new(bin("rookery-agent")).arg("--config").arg(&file));
    agent.line("watching", LIMIT);
    let spool = site.path("async");
    std::fs::create_dir(&spool).expect("a folder");
    let asyncd = Proc::start(
        Command::new("/usr/share/munin/munin-asyncd")
            .args(["--host", &format!("127.0.0.1:{node_port}"), "--minrate", "1", "--spool"])
            .arg(&spool),
    );
    let spooled = || -> Vec<String> {
        let mut text = String::new();
        for entry in std::fs::read_dir(&spool).expect("a folder").flatten() {
            if entry.file_name().to_string_lossy().contains("counts") {
                text += &std::fs::read_to_string(entry.path()).unwrap_or_default();
            }
        }
        let (mut time, mut values) = ("", Vec::new());
        for line in text.lines() {
            match line.split_once(' ') {
                Some(("timestamp", t)) => time = t,
                Some(("n.value", v)) => values.push(format!("{time}:{v}")),
                _ => {}
            }
        }
        values
    };
    wait_for("three in the spool", LIMIT, || (spooled().len() >= 3).then_some(()));

    let (_sshd, port, key) = sshd(&site);
    let conf = site.path("munin.conf");
    let text = format!(
        "ssh_options -i {key} -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null\n\
         [farm;spooled.example]\n\
         address ssh://root@127.0.0.1:{port}/usr/share/munin/munin-async \
         --spooldir {} --spoolfetch\n\
         use_node_name yes\n",
        spool.display()
    );
    std::fs::write(&conf, text).expect("writes");
    let collector = site.collector(&format!("[[munin]]\nconf = {conf:?}\ninterval = \"1s\"\n"));
    const NODE: &str = "farm;spooled.example";
    let has = |want: usize| {
        wait_for("what was spooled", LIMIT, || {
            if site.services("farm%3Bspooled.example").is_empty() {
                return None;
            }
            let all = site.export(NODE, "counts");
            (all.len() >= want).then_some(all)
        })
    };
    has(spooled().len());
    collector.kill9();
    let n = spooled().len();
    wait_for("more in the spool", LIMIT, || (spooled().len() >= n + 2).then_some(()));
    let collector = site.collector(&format!("[[munin]]\nconf = {conf:?}\ninterval = \"1s\"\n"));
    let want = spooled();
    let got = has(want.len());
    for (got, want) in got.iter().zip(&want) {
        assert_eq!(format!("{}:{}", got.0 / 1000, got.2), *want, "its time and value");
    }
    let services = site.services("farm%3Bspooled.example");
    assert!(services.iter().any(|s| s["service"] == "counts" && s["title"] == "Counts"));
    assert!(services.iter().any(|s| s["service"] == "cpu"), "the agent's probes, too");
    collector.stop();
    asyncd.kill9();
    agent.stop();
}
