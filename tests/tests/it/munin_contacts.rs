//! The contacts of a munin.conf: what Debian's munin-limits says of a node, the
//! collector says too.

use crate::support::{Site, executable, get, run, wait_for};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

/// A node with one service, whose fields are over their limits.
fn node(stream: TcpStream) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    out.write_all(b"# munin node at db1.example.com\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        match words.next() {
            Some("cap") => out.write_all(b"cap multigraph\n")?,
            Some("list") => out.write_all(b"limits quiet\n")?,
            Some("config") if words.next() == Some("quiet") => {
                out.write_all(b"graph_title Quiet\nq.label q\nq.critical 1\n.\n")?;
            }
            Some("config") => out.write_all(
                b"graph_title Disk use; of $x\ncrit.label /data\ncrit.warning 80\n\
                  crit.critical 90\nwarn.label /var\nwarn.warning 10:80\nwarn.critical 95\n\
                  fine.label /home\nfine.critical 5:50\n.\n",
            )?,
            Some("fetch") if words.next() == Some("quiet") => out.write_all(b"q.value 7\n.\n")?,
            Some("fetch") => {
                out.write_all(b"crit.value 95\nwarn.value 85.125\nfine.value 7\n.\n")?;
            }
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// A node with services whose values stand still.
fn still_node(stream: TcpStream) -> std::io::Result<()> {
    let mut out = stream.try_clone()?;
    out.write_all(b"# munin node at db1.example.com\n")?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        let (verb, service) = (words.next(), words.next().unwrap_or_default());
        let value = match service {
            "burnt" => 95,
            "cooked" => 20,
            "warm" => 7,
            _ => 1,
        };
        match verb {
            Some("cap") => out.write_all(b"cap multigraph\n")?,
            Some("list") => out.write_all(b"burnt cooked fine warm\n")?,
            Some("config") => {
                write!(out, "graph_title {service}\nv.label v\nv.warning 5\nv.critical 10\n.\n")?
            }
            Some("fetch") => writeln!(out, "v.value {value}\nv.extinfo {EXTINFO}\n.")?,
            _ => return Ok(()),
        }
    }
    Ok(())
}

/// What it says more of its field.
const EXTINFO: &str = "<b>hot & \"new\"";

/// Answers by `talk`; the port.
fn listen(talk: fn(TcpStream) -> std::io::Result<()>) -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || talk(stream));
        }
    });
    port
}

/// A folder that Munin's user may write to.
fn folder(site: &Site, name: &str) -> PathBuf {
    let dir = site.path(name);
    std::fs::create_dir(&dir).expect("a folder");
    std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).expect("chmod");
    dir
}

/// Where a master of Debian's keeps what it has.
fn munin_dirs(site: &Site) -> String {
    let dir = |sub: &str| format!("{sub}dir {}\n", folder(site, sub).display());
    ["db", "log", "run", "html"].map(dir).concat()
}

/// Runs Debian's `munin-update` or `munin-limits`.
fn debians(part: &str, conf: &Path) {
    let mut command = Command::new("timeout");
    command.args(["60", "setpriv", "--reuid=munin", "--regid=munin", "--clear-groups"]);
    command.arg(format!("/usr/share/munin/munin-{part}")).arg("--config").arg(conf);
    let out = run(&mut command);
    assert!(out.status.success(), "{part}: {}", String::from_utf8_lossy(&out.stderr));
}

/// The contacts; what they are told goes to files of this folder.
fn contacts(dir: &str) -> String {
    format!(
        "contact.ops.command cat >> {dir}/ops; echo \"${{var:host}} ${{var:graph_title}}\" >> \
         {dir}/command\n\
         contact.nagios.command cat >> {dir}/nagios\n\
         contact.short.command cat >> {dir}/short\n\
         contact.short.text ${{var:worst}} ${{var:numcfields}}/${{var:numwfields}}\
         ${{if:!ufields  known}}\
         ${{loop<+>:cfields  ${{var:label}}>${{var:crange}}<${{var:wrange}}}}\
         ${{loop<+>:wfields  ${{var:crange}}<${{var:wrange}}}}${{loop<+>:ofields \
         ${{var:crange}}<${{var:wrange}}}}\\t!\n\
         contact.nobody.command cat >> {dir}/nobody\n\
         contacts ops nagios short\n"
    )
}

#[test]
fn contacts_hear_what_munin_limits_says() {
    let site = Site::new();
    let port = listen(node);
    let conf = |dirs: &str, told: &Path| {
        format!(
            "{dirs}{}[stores;db;db1.example.com]\naddress 127.0.0.1\nport {port}\n\
             notify_alias The store\nuse_node_name yes\nquiet.contacts none\n",
            contacts(&told.display().to_string())
        )
    };
    // Debian's: a run to see the values, one to say what they mean.
    let theirs = folder(&site, "theirs");
    let file = site.path("theirs.conf");
    std::fs::write(&file, conf(&munin_dirs(&site), &theirs)).expect("writes");
    for part in ["update", "update", "limits"] {
        debians(part, &file);
    }
    let read = |dir: &Path, name: &str| std::fs::read_to_string(dir.join(name)).ok();
    let want = wait_for("munin-limits' commands", Duration::from_secs(60), || {
        let all = ["ops", "nagios", "short"].map(|name| read(&theirs, name));
        all.iter().all(|t| t.as_ref().is_some_and(|t| t.ends_with('\n'))).then_some(all)
    });
    // Ours.
    let ours = folder(&site, "ours");
    let file = site.path("ours.conf");
    std::fs::write(&file, conf("", &ours)).expect("writes");
    let collector = site.collector(&format!("[[munin]]\nconf = {file:?}\ninterval = \"1s\"\n"));
    let got = wait_for("the collector's commands", Duration::from_secs(60), || {
        let all = ["ops", "nagios", "short"].map(|name| read(&ours, name));
        let is_done = all.iter().all(|t| t.as_ref().is_some_and(|t| t.ends_with('\n')));
        (is_done && read(&ours, "command").is_some()).then_some(all)
    });
    let [ops, nagios, short] = got.each_ref().map(|t| t.as_deref().unwrap_or_default());
    let [wanted_ops, wanted_nagios, wanted_short] =
        want.each_ref().map(|t| t.as_deref().unwrap_or_default());
    assert_eq!((ops, short), (wanted_ops, wanted_short));
    // One of this name is told again and again, as munin-limits has it.
    assert!(nagios.starts_with(wanted_nagios), "{nagios}");
    assert_eq!(nagios.replace(wanted_nagios, ""), "");
    let line = read(&ours, "command").expect("a line");
    assert_eq!(line, "The store Disk use_ of _x\n", "a shell gets nothing to act on");
    assert!(read(&ours, "nobody").is_none(), "who is not in `contacts` hears nothing");
    assert!(!ops.contains("Quiet"), "contacts none");
    collector.stop();
}

/// Messages by runs of the command, which ends each with a line `=`.
fn runs(text: &str) -> Vec<Vec<String>> {
    let runs = text.split_inclusive("=\n").filter_map(|run| run.strip_suffix("=\n"));
    runs.map(|run| run.lines().map(str::to_owned).collect()).collect()
}

/// How many messages each run got, in no order.
fn lengths(runs: &[Vec<String>]) -> Vec<usize> {
    let mut all: Vec<usize> = runs.iter().map(Vec::len).collect();
    all.sort_unstable();
    all
}

/// Whether these are a cycle: the same messages, in runs of the same lengths.
fn is_same_cycle(got: &[Vec<String>], want: &[Vec<String>]) -> bool {
    let sorted = |runs: &[Vec<String>]| {
        let mut all = runs.concat();
        all.sort();
        all
    };
    sorted(got) == sorted(want) && lengths(got) == lengths(want)
}

#[test]
fn what_lasts_is_told_in_every_cycle_as_munin_limits_does() {
    let site = Site::new();
    let port = listen(still_node);
    let conf = |dirs: &str, told: &Path| {
        // munin-limits does not wait for one before the next: each writes at one go.
        let feed = told.join("feed.sh");
        executable(&feed, "#!/bin/sh\ntext=$(cat)\nprintf '%s\\n=\\n' \"$text\" >> \"${0%.sh}\"\n");
        format!(
            "{dirs}contact.feed.command {}\n\
             contact.feed.text ${{var:graph_title}} ${{var:worst}}\
             ${{loop<,>:cfields  ${{var:extinfo}}}}\n\
             contact.feed.always_send OK, critical\ncontact.feed.max_messages 2\n\
             [stores;db1.example.com]\naddress 127.0.0.1\nport {port}\nuse_node_name yes\n\
             rookery_success.contacts none\n",
            feed.display()
        )
    };
    let theirs = folder(&site, "theirs");
    let file = site.path("theirs.conf");
    std::fs::write(&file, conf(&munin_dirs(&site), &theirs)).expect("writes");
    for part in ["update", "update", "limits"] {
        debians(part, &file);
    }
    let read = |dir: &Path| runs(&std::fs::read_to_string(dir.join("feed")).unwrap_or_default());
    let n_of = |runs: &[Vec<String>]| runs.iter().map(Vec::len).sum::<usize>();
    // All four are news at first.
    let news = wait_for("munin-limits' first run", Duration::from_secs(60), || {
        Some(read(&theirs)).filter(|runs| n_of(runs) == 4)
    });
    for part in ["update", "limits"] {
        debians(part, &file);
    }
    let want = wait_for("munin-limits' second run", Duration::from_secs(60), || {
        Some(read(&theirs).split_off(news.len())).filter(|runs| n_of(runs) == 3)
    });
    assert_eq!(lengths(&want), [1, 2], "{want:?}");
    let ours = folder(&site, "ours");
    let file = site.path("ours.conf");
    std::fs::write(&file, conf("", &ours)).expect("writes");
    let collector = site.collector(&format!("[[munin]]\nconf = {file:?}\ninterval = \"1s\"\n"));
    wait_for("two cycles of the collector", Duration::from_secs(60), || {
        let got = read(&ours);
        let cycles = got.windows(2).filter(|two| is_same_cycle(two, &want)).count();
        (cycles >= 2).then_some(())
    });
    assert!(want.concat().contains(&format!("burnt CRITICAL {EXTINFO}")), "{want:?}");
    let page = get(&format!("{}/node/stores%3Bdb1.example.com/burnt", site.url())).text();
    assert!(page.contains("&lt;b&gt;hot &amp; &quot;new&quot;"), "{page}");
    collector.stop();
}
