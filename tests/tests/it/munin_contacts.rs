//! The contacts of a munin.conf: what Debian's munin-limits says of a node, the
//! collector says too.

use crate::support::{Site, run, wait_for};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
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

/// The contacts; what they are told goes to files of this folder.
fn contacts(dir: &str) -> String {
    format!(
        "contact.ops.command cat >> {dir}/ops; echo \"${{var:host}} ${{var:graph_title}}\" >> \
         {dir}/command\n\
         contact.nagios.command cat >> {dir}/nagios\n\
         contact.short.command cat >> {dir}/short\n\
         contact.short.text ${{var:worst}} ${{var:numcfields}}/${{var:numwfields}}\
         ${{if:!ufields  known}}${{loop<+>:cfields  ${{var:label}}>${{var:crange}}}}\\t!\n\
         contact.nobody.command cat >> {dir}/nobody\n\
         contacts ops nagios short\n"
    )
}

#[test]
fn contacts_hear_what_munin_limits_says() {
    let site = Site::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || node(stream));
        }
    });
    let folder = |name: &str| {
        let dir = site.path(name);
        std::fs::create_dir(&dir).expect("a folder");
        std::fs::set_permissions(&dir, PermissionsExt::from_mode(0o777)).expect("chmod");
        dir
    };
    let conf = |dirs: &str, told: &PathBuf| {
        format!(
            "{dirs}{}[stores;db;db1.example.com]\naddress 127.0.0.1\nport {port}\n\
             notify_alias The store\nuse_node_name yes\nquiet.contacts none\n",
            contacts(&told.display().to_string())
        )
    };
    // Debian's: a run to see the values, one to say what they mean.
    let theirs = folder("theirs");
    let mut dirs = String::new();
    for sub in ["db", "log", "run", "html"] {
        dirs += &format!("{sub}dir {}\n", folder(sub).display());
    }
    let file = site.path("theirs.conf");
    std::fs::write(&file, conf(&dirs, &theirs)).expect("writes");
    for part in ["update", "update", "limits"] {
        let mut command = Command::new("timeout");
        command.args(["60", "setpriv", "--reuid=munin", "--regid=munin", "--clear-groups"]);
        command.arg(format!("/usr/share/munin/munin-{part}")).arg("--config").arg(&file);
        let out = run(&mut command);
        assert!(out.status.success(), "{part}: {}", String::from_utf8_lossy(&out.stderr));
    }
    let read = |dir: &PathBuf, name: &str| std::fs::read_to_string(dir.join(name)).ok();
    let want = wait_for("munin-limits' commands", Duration::from_secs(20), || {
        let all = ["ops", "nagios", "short"].map(|name| read(&theirs, name));
        all.iter().all(|t| t.as_ref().is_some_and(|t| t.ends_with('\n'))).then_some(all)
    });
    // Ours.
    let ours = folder("ours");
    let file = site.path("ours.conf");
    std::fs::write(&file, conf("", &ours)).expect("writes");
    let collector = site.collector(&format!("[[munin]]\nconf = {file:?}\ninterval = \"1s\"\n"));
    let got = wait_for("the collector's commands", Duration::from_secs(60), || {
        let all = ["ops", "nagios", "short"].map(|name| read(&ours, name));
        let is_done = all.iter().all(|t| t.as_ref().is_some_and(|t| t.ends_with('\n')));
        (is_done && read(&ours, "command").is_some()).then_some(all)
    });
    for (got, want) in got.iter().zip(&want) {
        assert_eq!(got.as_deref(), want.as_deref());
    }
    let line = read(&ours, "command").expect("a line");
    assert_eq!(line, "The store Disk use_ of _x\n", "a shell gets nothing to act on");
    assert!(read(&ours, "nobody").is_none(), "who is not in `contacts` hears nothing");
    assert!(!got[0].as_deref().unwrap_or_default().contains("Quiet"), "contacts none");
    collector.stop();
}
