//! `rookery-agent configure` beside Debian's `munin-node-configure`, on the same
//! library and the same folder of links.

use super::support::{Proc, bin, run, wait_for};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

const LIBRARY: &str = "/usr/share/munin/plugins";

/// Output, and the plugins that are said to have caused errors.
fn said(command: &mut Command) -> (String, Vec<String>) {
    let out = run(command);
    let err = String::from_utf8_lossy(&out.stderr).into_owned();
    let broken = err.lines().filter_map(|l| l.strip_prefix("# ")?.strip_suffix(':'));
    let broken = broken.filter(|l| !l.contains(' ')).map(str::to_owned).collect();
    (String::from_utf8(out.stdout).expect("UTF-8"), broken)
}

fn munins(links: &Path, args: &[&str]) -> (String, Vec<String>) {
    said(Command::new("munin-node-configure").arg("--servicedir").arg(links).args(args))
}

fn ours(links: &Path, args: &[&str]) -> (String, Vec<String>) {
    let toml = links.with_extension("toml");
    std::fs::write(&toml, format!("plugin_dirs = [{links:?}]\n")).expect("writes");
    let mut command = Command::new(bin("rookery-agent"));
    said(command.arg("--config").arg(toml).arg("configure").args(args))
}

/// Both say the same; asked again where interfaces came or went in between.
fn same(links: &Path, munin_args: &[&str], our_args: &[&str]) -> String {
    for _ in 0..3 {
        let (before, got) = (munins(links, munin_args), ours(links, our_args));
        let after = munins(links, munin_args);
        if before == after {
            assert_eq!(got, before);
            return got.0;
        }
    }
    panic!("munin-node-configure says something else each time");
}

#[test]
fn suggestions_commands_and_links_are_munin_node_configures() {
    let dir = tempfile::tempdir().expect("a folder");
    let links = dir.path().join("links");
    std::fs::create_dir(&links).expect("a folder");
    let library = Path::new(LIBRARY);
    for (link, plugin) in
        [("load", "load"), ("if_gone0", "if_"), ("if_lo", "if_"), ("fw_packets", "fw_packets")]
    {
        symlink(library.join(plugin), links.join(link)).expect("links");
    }
    let table = same(&links, &["--suggest"], &[]);
    assert!(table.lines().count() > 50, "{table}");
    assert!(table.contains("\nif_                        | yes  | yes ("), "{table}");
    let all = ["--families", "auto,manual,contrib"];
    same(&links, &[&["--suggest"], &all[..]].concat(), &all);
    let shell = same(&links, &["--shell"], &["--shell"]);
    assert!(shell.contains(&format!("ln -s '{LIBRARY}/uptime' '{}/uptime'", links.display())));
    let both = ["--shell", "--remove-also"];
    let shell = same(&links, &both, &both);
    assert!(shell.contains(&format!("rm -f '{}/if_gone0'", links.display())), "{shell}");

    let (done, _) = ours(&links, &["--apply", "--remove-also"]);
    assert_eq!(done, shell);
    assert_eq!(std::fs::read_link(links.join("uptime")).expect("made"), library.join("uptime"));
    assert!(!links.join("if_gone0").exists());
    let (left, _) = munins(&links, &both);
    assert_eq!(left, "", "munin-node-configure has nothing to add");
}

/// Debian's snmpd on a port of its own.
fn snmpd(dir: &Path) -> (Proc, String) {
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
    let port = socket.local_addr().expect("an address").port();
    drop(socket);
    (snmpd_at(dir, port), port.to_string())
}

/// Debian's snmpd on this port of 127.0.0.1.
pub fn snmpd_at(dir: &Path, port: u16) -> Proc {
    let conf = dir.join("snmpd.conf");
    let text = format!("rocommunity public 127.0.0.1\nagentaddress udp:127.0.0.1:{port}\n");
    std::fs::write(&conf, text).expect("writes");
    let mut command = Command::new("/usr/sbin/snmpd");
    command.args(["-f", "-Lo", "-C", "-I", "-smux", "-c"]).arg(conf);
    let proc = Proc::start(command.arg("-p").arg(dir.join("snmpd.pid")));
    let target = format!("127.0.0.1:{port}");
    wait_for("snmpd", Duration::from_secs(30), || {
        let mut get = Command::new("snmpget");
        let uptime = "1.3.6.1.2.1.1.3.0";
        get.args(["-v2c", "-c", "public", "-r0", "-t1", &target, uptime]);
        run(&mut get).status.success().then_some(())
    });
    proc
}

/// A device is asked as munin-node-configure asks it, and the plugins that are linked
/// for it say what they say under munin-run.
#[test]
fn snmp_devices_are_asked_as_munin_node_configure_does() {
    let dir = tempfile::tempdir().expect("a folder");
    let links = dir.path().join("links");
    std::fs::create_dir(&links).expect("a folder");
    let (_snmpd, port) = snmpd(dir.path());
    let host = "127.0.0.1";
    symlink(Path::new(LIBRARY).join("snmp__load"), links.join("snmp_127.0.0.1_load"))
        .expect("links");
    symlink(Path::new(LIBRARY).join("snmp__if_"), links.join("snmp_127.0.0.1_if_99"))
        .expect("links");
    // snmpd tells processors' load from its second minute on only, which may begin meanwhile.
    let settled = |(text, errors): (String, Vec<String>)| {
        let comes_later = |l: &&str| l.contains("__cpuload") || l.contains("__winload");
        let lines: Vec<&str> = text.lines().filter(|l| !comes_later(l)).collect();
        (lines.join("\n"), errors)
    };
    for version in ["2c", "1"] {
        let args = ["--snmp", host, "--snmpport", &port, "--snmpversion", version];
        // Columns that are walked come in no order there.
        let sorted = |told: (String, Vec<String>)| {
            let (text, errors) = settled(told);
            let mut words: Vec<String> = text.split_whitespace().map(str::to_owned).collect();
            words.sort_unstable();
            (words, errors)
        };
        let table = [&["--suggest"], &args[..]].concat();
        assert_eq!(sorted(ours(&links, &args)), sorted(munins(&links, &table)), "{version}");
        let shell = [&["--shell"], &args[..]].concat();
        let (got, errors) = ours(&links, &shell);
        assert!(errors.is_empty(), "{errors:?}");
        assert!(got.contains("/snmp_127.0.0.1_if_1'") && got.contains("_uptime'"), "{got}");
        assert_eq!(sorted((got, errors)), sorted(munins(&links, &shell)), "{version}");
    }
    // A network: those of its devices that answer.
    let one = ours(&links, &["--shell", "--snmp", host, "--snmpport", &port]);
    let all = ours(&links, &["--shell", "--snmp", "127.0.0.1/30", "--snmpport", &port]);
    assert_eq!(settled(all), settled(one));
    let (done, _) = ours(&links, &["--apply", "--snmp", host, "--snmpport", &port]);
    assert!(done.contains("ln -s"), "{done}");

    let conf = dir.path().join("plugin-conf.d");
    std::fs::create_dir(&conf).expect("a folder");
    let text = format!("[snmp_*]\nenv.port {port}\nenv.version 2\nenv.community public\n");
    std::fs::write(conf.join("snmp"), text).expect("writes");
    let toml = dir.path().join("run.toml");
    let text = format!("plugin_dirs = [{links:?}]\nplugin_conf_dirs = [{conf:?}]\n");
    std::fs::write(&toml, text).expect("writes");
    for (name, still) in [("if_1", false), ("memory", false), ("uptime", false), ("users", true)] {
        let name = format!("snmp_127.0.0.1_{name}");
        for verb in ["config", "fetch"] {
            let mut theirs = Command::new("munin-run");
            theirs.arg("--servicedir").arg(&links).arg("--sconfdir").arg(&conf).arg(&name);
            let theirs = run(if verb == "config" { theirs.arg(verb) } else { &mut theirs });
            let mut own = Command::new(bin("rookery-agent"));
            let own = run(own.arg("--config").arg(&toml).args(["run", &name, verb]));
            let text = |out: &[u8]| String::from_utf8_lossy(out).into_owned();
            let names = |text: &str| -> Vec<String> {
                text.lines().filter_map(|l| Some(l.split_whitespace().next()?.to_owned())).collect()
            };
            let (theirs, own) = (text(&theirs.stdout), text(&own.stdout));
            assert!(theirs.contains(".value ") || verb == "config", "{name}: {theirs}");
            assert_eq!(names(&own), names(&theirs), "{name} {verb}");
            if still || verb == "config" {
                assert_eq!(own, theirs, "{name} {verb}");
            }
        }
    }
}
