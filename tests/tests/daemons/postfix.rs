//! Postfix: mails that are on their way, were tried in vain, and are held.

use crate::lab::{LIMIT, Lab};
use crate::support::{free_port, run, wait_for};
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

/// Where tests/install unpacks it: Debian does not install it beside Exim.
const UNPACKED: &str = "/usr/local/lib/rookery-tests/postfix";

/// A program of the unpacked package, with this configuration.
fn program(name: &str, etc: &Path) -> Command {
    let mut command = Command::new(format!("{UNPACKED}/usr/{name}"));
    command.env("LD_LIBRARY_PATH", format!("{UNPACKED}/usr/lib/postfix"));
    command.env("MAIL_CONFIG", etc);
    command
}

fn configure(dir: &Path, port: u16, slow: u16) -> PathBuf {
    let closed = free_port();
    let (etc, spool, at) = (dir.join("etc"), dir.join("spool"), dir.display());
    for folder in ["etc", "data", "spool"] {
        std::fs::create_dir_all(dir.join(folder)).expect("a folder");
    }
    let queues = ["active", "bounce", "corrupt", "defer", "deferred", "flush", "hold"];
    let others = ["incoming", "maildrop", "pid", "private", "public", "saved", "trace"];
    for folder in queues.iter().chain(&others) {
        std::fs::create_dir(spool.join(folder)).expect("a folder");
    }
    let owned = "chown daemon data spool/* && chown root spool/pid && chmod 1730 spool/maildrop \
                 && chgrp games spool/maildrop spool/public && chmod 710 spool/public";
    let ran = run(Command::new("sh").args(["-c", owned]).current_dir(dir));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    let main = format!(
        "compatibility_level = 3.6\nqueue_directory = {at}/spool\ndata_directory = {at}/data\n\
         command_directory = {UNPACKED}/usr/sbin\n\
         daemon_directory = {UNPACKED}/usr/lib/postfix/sbin\n\
         shlib_directory = {UNPACKED}/usr/lib/postfix\n\
         meta_directory = {UNPACKED}/etc/postfix\n\
         mail_owner = daemon\nsetgid_group = games\ndefault_privs = nobody\n\
         myhostname = mail.example\nmydestination =\nalias_maps =\nalias_database =\n\
         inet_interfaces = loopback-only\nrelayhost = [127.0.0.1]:{closed}\n\
         local_recipient_maps =\nsmtpd_client_connection_count_limit = 0\n\
         transport_maps = inline:{{slow.example=smtp:[127.0.0.1]:{slow}}}\n\
         maillog_file = {at}/log\nmaillog_file_prefixes = {at}\n\
         import_environment = MAIL_CONFIG LD_LIBRARY_PATH\n\
         export_environment = LD_LIBRARY_PATH\n"
    );
    let master = format!(
        "127.0.0.1:{port} inet n - n - - smtpd\ncleanup unix n - n - 0 cleanup\n\
         qmgr unix n - n 300 1 qmgr\nrewrite unix - - n - - trivial-rewrite\n\
         bounce unix - - n - 0 bounce\ndefer unix - - n - 0 bounce\n\
         trace unix - - n - 0 bounce\nsmtp unix - - n - - smtp\nerror unix - - n - - error\n\
         retry unix - - n - - error\nshowq unix n - n - - showq\n\
         proxymap unix - - n - - proxymap\nverify unix - - n - 1 verify\n\
         anvil unix - - n - 1 anvil\nscache unix - - n - 1 scache\n\
         postlog unix-dgram n - n - 1 postlogd\n"
    );
    std::fs::write(etc.join("main.cf"), main).expect("writes");
    std::fs::write(etc.join("master.cf"), master).expect("writes");
    etc
}

/// Hands a mail in; it is Postfix' from the last answer on.
fn send(port: u16, to: &str) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_read_timeout(Some(LIMIT)).expect("a time limit");
    let mut from = BufReader::new(stream.try_clone().expect("a handle"));
    let mut answer = |wanted: &str| {
        let mut line = String::new();
        from.read_line(&mut line).expect("an answer");
        assert!(line.starts_with(wanted), "{line}");
    };
    answer("220");
    for (said, wanted) in [
        ("HELO client.example", "250"),
        ("MAIL FROM:<a@mail.example>", "250"),
        (&*format!("RCPT TO:<{to}>"), "250"),
        ("DATA", "354"),
        ("Subject: hello\r\n\r\nhello\r\n.", "250"),
        ("QUIT", "221"),
    ] {
        stream.write_all(format!("{said}\r\n").as_bytes()).expect("writes");
        answer(wanted);
    }
}

/// The mails in a queue's folders, by their ids.
fn mails(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).into_iter().flatten().flatten() {
        match entry.file_type() {
            Ok(kind) if kind.is_dir() => found.extend(mails(&entry.path())),
            _ => found.push(entry.file_name().to_string_lossy().into_owned()),
        }
    }
    found
}

#[test]
fn mails_in_postfix_queues_are_counted() {
    let mut lab = Lab::new();
    let dir = lab.site.path("postfix");
    let slow = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free_port();
    let etc = configure(&dir, port, slow.local_addr().expect("an address").port());
    lab.daemon(program("lib/postfix/sbin/master", &etc).arg("-d"), port);

    // Nobody listens where these are to go.
    let queue = |name: &str| mails(&dir.join("spool").join(name));
    for n in 1..=4 {
        send(port, &format!("user{n}@shop.example"));
        wait_for("a deferred mail", LIMIT, || (queue("deferred").len() == n).then_some(()));
    }
    let held = queue("deferred").remove(0);
    let ran = run(program("sbin/postsuper", &etc).args(["-h", &held]));
    assert!(ran.status.success(), "{}", String::from_utf8_lossy(&ran.stderr));
    assert_eq!(queue("hold"), [held]);
    // Whoever takes these in holds its tongue.
    for n in 5..=6 {
        send(port, &format!("user{n}@slow.example"));
    }
    wait_for("two active mails", LIMIT, || (queue("active").len() == 2).then_some(()));

    lab.watch(&format!("[probe.postfix]\nspool = {:?}\n", dir.join("spool")));
    for (name, want) in [
        ("maildrop", 0.0),
        ("incoming", 0.0),
        ("active", 2.0),
        ("deferred", 3.0),
        ("hold", 1.0),
        ("corrupt", 0.0),
    ] {
        assert_eq!(lab.newest("postfix_mailqueue", name), want, "{name}");
    }
}
