//! Gearman and beanstalkd: so many jobs queued, running and done.

use crate::lab::Lab;
use crate::support::{free_port, run};
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::process::Command;

#[test]
fn gearmans_queues_running_jobs_and_workers() {
    let mut lab = Lab::new();
    let port = free_port();
    let mut command = Command::new("gearmand");
    command.args(["-L", "127.0.0.1", "-l", "stderr", "-u", "root", "-p", &port.to_string()]);
    lab.daemon(&mut command, port);
    lab.watch(&format!("[probe.gearman]\naddress = \"127.0.0.1:{port}\"\n"));
    lab.until("gearman_jobs", "waiting", |v| v == 0.0);
    let client = |words: &[&str]| {
        let mut command = Command::new("gearman");
        command.args(["-h", "127.0.0.1", "-p", &port.to_string()]).args(words);
        command
    };
    for (function, n) in [("mail", 5), ("resize", 7)] {
        for _ in 0..n {
            let done = run(&mut client(&["-b", "-f", function, "payload"]));
            assert!(done.status.success(), "{done:?}");
        }
    }
    lab.until("gearman_queue", "f_mail", |v| v == 5.0);
    lab.until("gearman_queue", "f_resize", |v| v == 7.0);
    assert_eq!(lab.newest("gearman_orphaned", "f_resize"), 7.0, "there is no worker");
    // One job is held until the file is there.
    let go = lab.site.path("go");
    let script = format!("cat >/dev/null; while [ ! -e {} ]; do sleep 0.05; done", go.display());
    let mut worker = client(&["-w", "-f", "mail", "--", "sh", "-c", &script]);
    let mut worker = crate::support::Proc::start(&mut worker);
    lab.until("gearman_running", "f_mail", |v| v == 1.0);
    lab.until("gearman_queue", "f_mail", |v| v == 4.0);
    assert_eq!(lab.newest("gearman_workers", "f_mail"), 1.0);
    assert_eq!(lab.newest("gearman_orphaned", "f_mail"), 0.0);
    std::fs::write(&go, "").expect("writes");
    lab.until("gearman_queue", "f_mail", |v| v == 0.0);
    lab.until("gearman_running", "f_mail", |v| v == 0.0);
    assert!(!worker.is_gone(), "{}", worker.said());
    assert_eq!(lab.newest("gearman_queue", "f_resize"), 7.0, "nobody has taken these");
}

#[test]
fn beanstalkds_jobs_by_state_and_tube() {
    let mut lab = Lab::new();
    let port = free_port();
    let mut command = Command::new("beanstalkd");
    lab.daemon(command.args(["-l", "127.0.0.1", "-p", &port.to_string()]), port);
    lab.watch(&format!("[probe.beanstalkd]\naddress = \"127.0.0.1:{port}\"\n"));
    let puts = lab.newest("beanstalkd_rate", "cmd_put");
    let mut to = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    let mut from = BufReader::new(to.try_clone().expect("clones"));
    let mut say = |text: &str| -> String {
        to.write_all(format!("{text}\r\n").as_bytes()).expect("writes");
        let mut line = String::new();
        from.read_line(&mut line).expect("answers");
        if line.starts_with("RESERVED") {
            from.read_line(&mut String::new()).expect("the body");
        }
        line
    };
    say("use mail");
    say("watch mail");
    for i in 0..60 {
        let (priority, delay) = (if i < 4 { 1 } else { 1024 }, if i >= 50 { 600 } else { 0 });
        assert!(say(&format!("put {priority} {delay} 600 5\r\nhello")).starts_with("INSERTED"));
    }
    let mut ids = (0..30).map(|_| {
        let line = say("reserve-with-timeout 0");
        line.split(' ').nth(1).expect("an id").to_owned()
    });
    let (buried, deleted): (Vec<_>, Vec<_>) =
        (ids.by_ref().take(10).collect(), ids.by_ref().take(15).collect());
    let reserved = ids.count();
    for id in &buried {
        assert_eq!(say(&format!("bury {id} 1")), "BURIED\r\n");
    }
    for id in &deleted {
        assert_eq!(say(&format!("delete {id}")), "DELETED\r\n");
    }
    for service in ["beanstalkd_jobs", "beanstalkd_jobs.tube_mail"] {
        for (field, want) in
            [("ready", 20.0), ("reserved", reserved as f64), ("delayed", 10.0), ("buried", 10.0)]
        {
            lab.until(service, field, |v| v == want);
        }
    }
    lab.grows("beanstalkd_rate", "cmd_put", puts, 60.0);
    lab.grows("beanstalkd_rate", "cmd_delete", 0.0, 15.0);
    lab.grows("beanstalkd_rate", "cmd_reserve", 0.0, 30.0);
}
