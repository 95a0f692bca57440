//! Exim: a queue of mails that wait, were tried in vain, and are frozen.

use crate::lab::Lab;
use crate::support::{executable, free_port, run};
use std::process::{Command, Stdio};

#[test]
fn mails_in_exims_queue_are_counted() {
    let mut lab = Lab::new();
    let dir = lab.site.path("exim");
    std::fs::create_dir(&dir).expect("a folder");
    let at = dir.display();
    let (config, closed) = (dir.join("conf"), free_port());
    let text = format!(
        "spool_directory = {at}/spool\nlog_file_path = {at}/log_%s\n\
         primary_hostname = mail.example\nexim_user = root\nexim_group = root\nnever_users =\n\
         begin routers\nall:\n  driver = accept\n  transport = out\n\
         begin transports\nout:\n  driver = smtp\n  port = {closed}\n  hosts = 127.0.0.1\n  \
         allow_localhost\n"
    );
    std::fs::write(&config, text).expect("writes");
    let exim = |args: &[&str]| {
        let mut command = Command::new("/usr/sbin/exim4");
        let ran = run(command.arg("-C").arg(&config).args(args).stdin(Stdio::null()));
        assert!(ran.status.success(), "{args:?}: {}", String::from_utf8_lossy(&ran.stderr));
        String::from_utf8_lossy(&ran.stdout).into_owned()
    };
    for i in 0..4 {
        exim(&["-odq", &format!("user{i}@shop.example")]);
    }
    // `25m  2.9K 0t5C6f-0000c8-00 <alice@wonderland.fict.example>`
    let listed = exim(&["-bp"]);
    let ids: Vec<&str> = listed
        .lines()
        .filter(|line| line.contains('<'))
        .filter_map(|line| line.split_whitespace().nth(2))
        .collect();
    assert_eq!(ids.len(), 4, "{listed}");
    exim(&["-Mf", ids[0]]);
    exim(&["-Mrm", ids[1]]);
    // Nobody listens there: it is deferred, and stays.
    exim(&["-M", ids[2]]);
    let log = std::fs::read_to_string(dir.join("log_main")).expect("a log");
    assert!(log.contains(&format!("{} == user", ids[2])), "deferred: {log}");

    let program = dir.join("exim");
    executable(&program, &format!("#!/bin/sh\nexec /usr/sbin/exim4 -C {at}/conf \"$@\"\n"));
    lab.watch(&format!("[probe.exim]\nprogram = {program:?}\n"));
    assert_eq!(lab.newest("exim_mailqueue", "mails"), 3.0);
}
