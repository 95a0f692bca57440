//! Runs a program that prints a daemon's figures: no shell, a time limit, and
//! no more of its output than of any other reply.

use super::REPLY_BYTES_MAX;
use rookery_plugins::ProbeError;
use std::io::{ErrorKind, Read};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// Where programs are looked for.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// The most that is kept of its complaints.
const STDERR_BYTES_MAX: usize = 4 << 10;
/// How often an end is looked for once its output has ended.
const LOOK: Duration = Duration::from_millis(1);

/// What a program printed.
#[derive(Debug)]
pub struct Ran {
    /// Whether it ended with 0.
    pub ok: bool,
    /// Its output.
    pub stdout: String,
    /// The beginning of its complaints.
    pub stderr: String,
}

/// Runs `program` to its end. That it is not installed means not here.
pub fn run(
    daemon: &'static str,
    program: &str,
    args: &[&str],
    timeout: Duration,
) -> Result<Ran, ProbeError> {
    let failed = |why: &str| ProbeError::Failed(format!("{daemon}: {program}: {why}"));
    let deadline = Instant::now() + timeout;
    let mut command = Command::new(program);
    command.args(args).env_clear().env("PATH", PATH).env("LC_ALL", "C").current_dir("/");
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = match command.spawn() {
        Ok(child) => Running(child),
        Err(e) if e.kind() == ErrorKind::NotFound => {
            return Err(ProbeError::NotHere(format!("{daemon}: {program} is not installed")));
        }
        Err(e) => return Err(failed(&e.to_string())),
    };
    let stdout = reader(child.0.stdout.take(), REPLY_BYTES_MAX + 1);
    let stderr = reader(child.0.stderr.take(), STDERR_BYTES_MAX);
    let left = || deadline.saturating_duration_since(Instant::now());
    let late = "it did not end in time, and was killed";
    let stdout = stdout.recv_timeout(left()).map_err(|_| failed(late))?;
    if stdout.len() > REPLY_BYTES_MAX {
        return Err(failed(&format!("it prints more than {REPLY_BYTES_MAX} bytes")));
    }
    let stderr = stderr.recv_timeout(left()).map_err(|_| failed(late))?;
    let status = loop {
        match child.0.try_wait() {
            Ok(Some(status)) => break status,
            Ok(None) if left().is_zero() => return Err(failed(late)),
            Ok(None) => std::thread::sleep(LOOK),
            Err(e) => return Err(failed(&e.to_string())),
        }
    };
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    Ok(Ran { ok: status.success(), stdout: text(stdout), stderr: text(stderr) })
}

/// A child that does not outlive its reading.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Sends all that comes, or its first `max` bytes; in a thread of its own, so
/// that nobody waits for it longer than they want.
fn reader(from: Option<impl Read + Send + 'static>, max: usize) -> Receiver<Vec<u8>> {
    let (send, receive) = channel();
    std::thread::spawn(move || {
        let mut bytes = vec![];
        if let Some(mut from) = from {
            // What came before an error is still worth to be shown.
            let _ = from.by_ref().take(max as u64).read_to_end(&mut bytes);
            let _ = send.send(bytes);
            // Whoever complains at length is not to be stopped by a full pipe.
            if max == STDERR_BYTES_MAX {
                let _ = std::io::copy(&mut from, &mut std::io::sink());
            }
        }
    });
    receive
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str, timeout: Duration) -> Result<Ran, ProbeError> {
        run("test", "sh", &["-c", script], timeout)
    }

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn it_is_run_to_its_end() {
        let ran = shell("echo out; echo err >&2; exit 3", LONG).expect("runs");
        assert_eq!((ran.ok, &*ran.stdout, &*ran.stderr), (false, "out\n", "err\n"));
        let noisy = "head -c 200000 /dev/zero >&2; echo done";
        let ran = shell(noisy, LONG).expect("runs");
        assert_eq!((ran.ok, &*ran.stdout, ran.stderr.len()), (true, "done\n", STDERR_BYTES_MAX));
    }

    #[test]
    fn who_hangs_floods_or_is_missing_is_told() {
        let error = shell("exec sleep 600", Duration::from_millis(50)).expect_err("hangs");
        assert!(error.to_string().contains("did not end in time"), "{error}");
        // Its output has ended, it has not.
        let closed = "exec >&- 2>&-; exec sleep 600";
        let error = shell(closed, Duration::from_millis(50)).expect_err("hangs");
        assert!(error.to_string().contains("did not end in time"), "{error}");
        let error = shell("exec yes", LONG).expect_err("floods");
        assert!(error.to_string().contains("it prints more than"), "{error}");
        let error = run("test", "no-such-program", &[], LONG).expect_err("missing");
        assert!(matches!(error, ProbeError::NotHere(_)), "{error}");
    }
}
