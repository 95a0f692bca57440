//! A command as a channel: a program and its arguments without a shell, Nagios'
//! macros and Munin's variables in the environment, the text on standard input.

use super::munin;
use crate::message;
use crate::output::{Notice, NoticeKind, Status};
use rookery_plugins::perfdata::{Perf, to_line};
use rookery_plugins::{HostState, State, Value};
use rustix::process::{Pid, Signal, kill_process_group};
use std::process::Stdio;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::process::{Child, Command};

/// How long a command may take; then its process group is killed.
pub const COMMAND_SECONDS_MAX: u64 = 30;
/// How much of a command's standard error an error message quotes.
pub const STDERR_BYTES_MAX: usize = 1000;

/// The longest value of a variable that a command gets, bytes: the system takes no
/// command whose environment is too large.
pub const VALUE_BYTES_MAX: usize = 8192;

/// Whom a command is for.
#[derive(Clone, Copy, Debug, Default)]
pub struct For<'c> {
    /// The contact.
    pub contact: &'c str,
    /// Its addresses, with commas between.
    pub mail: &'c str,
    /// Where people find the pages.
    pub base_url: &'c str,
}

/// Nagios' macros for a notice, as `NAGIOS_*` variables, Munin's as `MUNIN_*`, and
/// Rookery's own. What is longer than [`VALUE_BYTES_MAX`] is cut, lists at the end of one of
/// their words; `ROOKERY_CUT` names those.
pub fn environment(notice: &Notice, whom: For<'_>) -> Vec<(String, String)> {
    let nagios = nagios(notice, whom).into_iter().map(|(key, value)| (key.to_owned(), value));
    let munin = munin::variables(notice).into_iter();
    let munin = munin.map(|(key, value)| (format!("MUNIN_{}", key.to_ascii_uppercase()), value));
    let mut cut: Vec<String> = Vec::new();
    let mut all = Vec::new();
    for (key, mut value) in nagios.chain(munin) {
        if value.len() > VALUE_BYTES_MAX {
            value = match key.ends_with("FIELDS") || key.ends_with("PERFDATA") {
                true => message::words(&value, VALUE_BYTES_MAX).to_owned(),
                false => message::cut(&value, VALUE_BYTES_MAX),
            };
            cut.push(key.clone());
        }
        all.push((key, value));
    }
    if !cut.is_empty() {
        all.push(("ROOKERY_CUT".to_owned(), cut.join(" ")));
    }
    all
}

fn nagios(notice: &Notice, whom: For<'_>) -> Vec<(&'static str, String)> {
    let For { contact, mail, base_url } = whom;
    let state = notice.state.to_string();
    let host_state = match notice.state {
        Status::Host(state) => state,
        Status::Service(_) => HostState::Up,
    };
    let number = (notice.sequence + 1).to_string();
    let output = message::line(&notice.text);
    let mut all = vec![
        ("NAGIOS_NOTIFICATIONTYPE", notice.kind.word().to_owned()),
        ("NAGIOS_NOTIFICATIONNUMBER", number),
        ("NAGIOS_HOSTNAME", message::line(&notice.node)),
        ("NAGIOS_HOSTALIAS", message::line(&notice.node)),
        ("NAGIOS_HOSTSTATE", host_state.to_string()),
        ("NAGIOS_HOSTSTATEID", (host_state as u8).to_string()),
        ("NAGIOS_CONTACTNAME", contact.to_owned()),
        ("NAGIOS_CONTACTALIAS", contact.to_owned()),
        ("NAGIOS_CONTACTEMAIL", mail.to_owned()),
        ("NAGIOS_LONGDATETIME", long_time(notice.time_ms)),
        ("NAGIOS_TIMET", (notice.time_ms / 1000).to_string()),
        ("NAGIOS_LASTPROBLEMTIMET", (notice.since_ms / 1000).to_string()),
        ("ROOKERY_ID", notice.id.clone()),
        ("ROOKERY_INCIDENT", notice.incident.clone()),
        ("ROOKERY_URL", message::link(notice, base_url)),
        ("ROOKERY_REPEATED", u8::from(notice.repeated).to_string()),
    ];
    if notice.kind == NoticeKind::Acknowledgement {
        all.push(("NAGIOS_NOTIFICATIONCOMMENT", output.clone()));
    }
    let lasted = notice.time_ms.saturating_sub(notice.since_ms).max(0);
    let (seconds, duration) = ((lasted / 1000).to_string(), message::span(lasted));
    match &notice.service {
        None => all.extend([
            ("NAGIOS_HOSTOUTPUT", output),
            ("NAGIOS_HOSTDURATION", duration),
            ("NAGIOS_HOSTDURATIONSEC", seconds),
        ]),
        Some(service) => {
            let id = match notice.state {
                Status::Service(state) => state,
                Status::Host(_) => State::Unknown,
            };
            all.extend([
                ("NAGIOS_SERVICEDESC", message::line(service)),
                ("NAGIOS_SERVICESTATE", state),
                ("NAGIOS_SERVICESTATEID", id.exit_code().to_string()),
                ("NAGIOS_SERVICEOUTPUT", output),
                ("NAGIOS_SERVICEDISPLAYNAME", message::line(&notice.title)),
                ("NAGIOS_SERVICEPERFDATA", perfdata(notice)),
                ("NAGIOS_SERVICEDURATION", duration),
                ("NAGIOS_SERVICEDURATIONSEC", seconds),
            ]);
        }
    }
    if notice.kind == NoticeKind::Recovery {
        let lasted = notice.time_ms.saturating_sub(notice.since_ms);
        all.push(("ROOKERY_LASTED", message::span(lasted)));
    }
    all
}

fn perfdata(notice: &Notice) -> String {
    let items = notice.values.iter().map(|v| {
        let limit = v.limit.as_deref().and_then(|l| l.parse().ok());
        let (warning, critical) = match v.state {
            State::Warning => (limit, None),
            _ => (None, limit),
        };
        let value = v.value.map_or(Value::Unknown, Value::Float);
        Perf::new(&v.field, value).limits(warning, critical)
    });
    to_line(&items.collect::<Vec<_>>())
}

/// `Fri Nov 20 12:00:00 UTC 2026`.
fn long_time(ms: i64) -> String {
    match jiff::Timestamp::from_millisecond(ms) {
        Ok(t) => t.strftime("%a %b %e %H:%M:%S UTC %Y").to_string(),
        Err(_) => format!("{ms} ms"),
    }
}

/// Runs the command for a notice, with this text or the usual one.
pub(super) async fn run(
    argv: &[String],
    notice: &Notice,
    whom: For<'_>,
    text: Option<String>,
) -> Result<(), String> {
    let text = text.unwrap_or_else(|| message::body(notice, whom.base_url));
    let limit = Duration::from_secs(COMMAND_SECONDS_MAX);
    run_for(argv, notice, whom, &text, limit).await
}

async fn run_for(
    argv: &[String],
    notice: &Notice,
    whom: For<'_>,
    text: &str,
    limit: Duration,
) -> Result<(), String> {
    let (program, arguments) = argv.split_first().ok_or("the command is empty")?;
    let mut child = Command::new(program)
        .args(arguments)
        .envs(environment(notice, whom))
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(|e| format!("command {program}: {e}"))?;
    let group = child.id();
    match tokio::time::timeout(limit, converse(&mut child, text)).await {
        Ok(result) => result.map_err(|e| format!("command {program}: {e}")),
        Err(_) => {
            if let Some(pid) = group.and_then(|g| Pid::from_raw(g as i32)) {
                // It may have ended at this very moment.
                let _ = kill_process_group(pid, Signal::KILL);
            }
            let _ = child.wait().await;
            Err(format!("command {program}: killed after {} s", limit.as_secs_f32()))
        }
    }
}

/// Gives it the text, waits for its end, and reads what it complains of.
async fn converse(child: &mut Child, text: &str) -> Result<(), String> {
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let feed = async {
        if let Some(mut stdin) = stdin {
            // A command that does not read its input is right to do so.
            let _ = stdin.write_all(text.as_bytes()).await;
        }
    };
    let mut complaint = Vec::new();
    let listen = async {
        if let Some(mut stderr) = stderr {
            let mut buf = [0u8; 4096];
            while let Ok(n @ 1..) = stderr.read(&mut buf).await {
                let room = STDERR_BYTES_MAX.saturating_sub(complaint.len());
                complaint.extend_from_slice(&buf[..n.min(room)]);
            }
        }
    };
    let status = {
        tokio::pin!(feed, listen);
        let wait = child.wait();
        tokio::pin!(wait);
        let (mut fed, mut heard) = (false, false);
        let status = loop {
            tokio::select! {
                status = &mut wait => break status,
                () = &mut feed, if !fed => fed = true,
                () = &mut listen, if !heard => heard = true,
            }
        };
        if !heard {
            // A child that it left behind may hold the pipe open for ever.
            let _ = tokio::time::timeout(Duration::from_millis(100), listen).await;
        }
        status.map_err(|e| e.to_string())?
    };
    if status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&complaint);
    Err(message::line(format!("{status}: {}", complaint.trim()).trim_end_matches([' ', ':'])))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::tests::sample;

    fn whom<'c>(contact: &'c str, base_url: &'c str) -> For<'c> {
        For { contact, mail: "dba@example.com", base_url }
    }

    fn sh(script: &str) -> Vec<String> {
        ["/bin/sh", "-c", script].map(str::to_owned).to_vec()
    }

    #[tokio::test]
    async fn macros_and_text_arrive() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("out");
        let script = format!(
            "printf '%s|' \"$NAGIOS_NOTIFICATIONTYPE\" \"$NAGIOS_HOSTNAME\" \
             \"$NAGIOS_SERVICEDESC\" \"$NAGIOS_SERVICESTATE\" \"$NAGIOS_SERVICEOUTPUT\" \
             \"$NAGIOS_LONGDATETIME\" \"$NAGIOS_CONTACTNAME\" \"$NAGIOS_CONTACTEMAIL\" \
             \"$NAGIOS_SERVICEPERFDATA\" \"$NAGIOS_SERVICEDURATION\" \"$MUNIN_HOST\" \
             \"$MUNIN_PLUGIN\" \"$MUNIN_WORST\" \"$MUNIN_WORSTID\" \"$MUNIN_CFIELDS\" \
             \"$MUNIN_NUMCFIELDS\" \"$MUNIN_GRAPH_TITLE\" >{0}; cat >>{0}",
            file.display()
        );
        let notice = sample(NoticeKind::Problem, 0);
        run(&sh(&script), &notice, whom("dba", "http://c"), None).await.expect("runs");
        let text = std::fs::read_to_string(file).expect("written");
        let want = "PROBLEM|db1|my sql|CRITICAL|c is 93.10 (outside ~:80)  Bcc: x@y|\
                    Thu Nov 20 12:00:20 UTC 2025|dba|dba@example.com|'c'=93.1;;~:80|\
                    20 s|db1|my sql|CRITICAL|2|c|1|MySQL connections|CRITICAL: c is";
        assert!(text.starts_with(want), "{text}");
        assert!(text.contains("Look at:  http://c/node/db1/my%20sql\n"), "{text}");
    }

    #[tokio::test]
    async fn failures_are_told_with_what_it_said() {
        let notice = sample(NoticeKind::Problem, 0);
        let e = run(&sh("echo no route >&2; exit 3"), &notice, whom("x", ""), None)
            .await
            .expect_err("fails");
        assert_eq!(e, "command /bin/sh: exit status: 3: no route");
        let e = run(&["/nonexistent/x".to_owned()], &notice, whom("x", ""), None)
            .await
            .expect_err("fails");
        assert!(e.contains("/nonexistent/x: No such file"), "{e}");
        // One that reads nothing, and one that leaves a child with the pipe.
        run(&sh("exit 0"), &notice, whom("x", ""), None).await.expect("is fine");
        let started = std::time::Instant::now();
        run(&sh("sleep 5 & exit 0"), &notice, whom("x", ""), None).await.expect("is fine");
        assert!(started.elapsed() < Duration::from_secs(4));
    }

    #[tokio::test]
    async fn a_service_with_very_many_fields_does_not_keep_the_command_from_running() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("out");
        let mut notice = sample(NoticeKind::Problem, 0);
        let value = notice.values[0].clone();
        let of = |i| crate::FieldValue { field: format!("port_{i:05}"), ..value.clone() };
        notice.values = (0..20_000).map(of).collect();
        notice.text = "port is 93.10 (outside ~:80), ".repeat(20_000);
        // One that reads nothing of its input, too.
        let script = format!("env >{}", file.display());
        run(&sh(&script), &notice, whom("dba", "http://c"), None).await.expect("runs");
        let text = std::fs::read_to_string(file).expect("written");
        let of = |key: &str| text.lines().find_map(|l| l.strip_prefix(&format!("{key}=")));
        assert_eq!(of("MUNIN_NUMCFIELDS"), Some("20000"));
        assert_eq!(
            of("ROOKERY_CUT"),
            Some("NAGIOS_SERVICEOUTPUT NAGIOS_SERVICEPERFDATA MUNIN_CFIELDS")
        );
        for (key, end) in [
            ("NAGIOS_SERVICEOUTPUT", " (cut)"),
            ("NAGIOS_SERVICEPERFDATA", "=93.1;;~:80"),
            ("MUNIN_CFIELDS", "_00743"),
        ] {
            let value = of(key).expect(key);
            assert!(value.len() <= VALUE_BYTES_MAX && value.ends_with(end), "{key}={value}");
        }
    }

    #[tokio::test]
    async fn one_that_hangs_is_killed_with_its_children() {
        let dir = tempfile::tempdir().expect("dir");
        let file = dir.path().join("pid");
        let script = format!("sleep 60 & echo $! >{}; wait", file.display());
        let notice = sample(NoticeKind::Problem, 0);
        let limit = Duration::from_millis(500);
        let e =
            run_for(&sh(&script), &notice, whom("x", ""), "text", limit).await.expect_err("killed");
        assert!(e.ends_with("killed after 0.5 s"), "{e}");
        let pid = std::fs::read_to_string(file).expect("pid");
        let stat = std::path::PathBuf::from(format!("/proc/{}/stat", pid.trim()));
        // Killed at once; its new parent may take a moment to bury it.
        for _ in 0..100 {
            match std::fs::read_to_string(&stat) {
                Ok(text) if !text.contains(") Z ") => {
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                _ => return,
            }
        }
        panic!("the child of the command lives on");
    }
}
