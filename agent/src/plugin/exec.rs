//! Running one executable: time limit, output limit, own session.
//!
//! A plugin that runs too long gets SIGTERM with all its children, and SIGKILL
//! [`KILL_AFTER`] later; one that floods gets SIGKILL at once. A child that
//! keeps the pipe open after the plugin has ended is waited for [`PIPE_GRACE`]
//! and then killed too.

use super::ids::Ids;
use super::start::{Child, start};
use rustix::process::{Pid, Signal, kill_process_group};
use std::ffi::OsString;
use std::os::fd::OwnedFd;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::net::unix::pipe::Receiver;
use tokio::time::{Instant, sleep, timeout};

/// The most bytes of output that are taken.
pub const OUTPUT_BYTES_MAX: usize = 1 << 20;
/// The most bytes of stderr that are kept.
pub const STDERR_BYTES_MAX: usize = 4096;
/// Between SIGTERM and SIGKILL.
pub const KILL_AFTER: Duration = Duration::from_secs(2);
/// How long the pipe may stay open after the plugin's end.
pub const PIPE_GRACE: Duration = Duration::from_millis(250);

/// What to run.
#[derive(Clone, Debug)]
pub struct Job {
    /// The executable.
    pub program: PathBuf,
    /// Its arguments.
    pub args: Vec<OsString>,
    /// Its whole environment.
    pub env: Vec<(String, OsString)>,
    /// Under whom; `None`: as the agent.
    pub ids: Option<Ids>,
    /// Its time limit.
    pub limit: Duration,
}

/// How it ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Ending {
    /// With this exit code.
    Exit(i32),
    /// By this signal.
    Signal(i32),
    /// Killed at its time limit.
    TimedOut,
    /// Killed after [`OUTPUT_BYTES_MAX`] bytes.
    Flooded,
    /// It could not be started.
    NotStarted(String),
}

/// What came of it.
#[derive(Clone, Debug)]
pub struct Ran {
    /// What it printed.
    pub stdout: Vec<u8>,
    /// The first [`STDERR_BYTES_MAX`] bytes of its complaints.
    pub stderr: Vec<u8>,
    /// How it ended.
    pub ending: Ending,
    /// How long it took.
    pub took: Duration,
}

impl Ran {
    /// Whether its output counts.
    pub fn ok(&self) -> bool {
        self.ending == Ending::Exit(0)
    }

    /// Why its output does not count, with its own words.
    pub fn why(&self) -> String {
        let mut text = match &self.ending {
            Ending::Exit(code) => format!("exit code {code}"),
            Ending::Signal(signal) => format!("killed by signal {signal}"),
            Ending::TimedOut => "killed at its time limit".to_owned(),
            Ending::Flooded => format!("killed after {OUTPUT_BYTES_MAX} bytes of output"),
            Ending::NotStarted(why) => format!("not started: {why}"),
        };
        let stderr = String::from_utf8_lossy(&self.stderr);
        let stderr = stderr.trim();
        if !stderr.is_empty() {
            text = format!("{text}; stderr: {stderr}");
        }
        text
    }
}

/// Kills the group when dropped, unless it ended well: so that a stop of the
/// agent in the middle leaves nothing behind.
struct Group(Option<Pid>);

impl Group {
    fn kill(&self, signal: Signal) {
        if let Some(pid) = self.0 {
            // An error says that all of it has gone.
            let _ = kill_process_group(pid, signal);
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        self.kill(Signal::KILL);
    }
}

/// Runs it.
pub async fn exec(job: &Job) -> Ran {
    let since = Instant::now();
    let (mut stdout, mut stderr) = (Vec::new(), Vec::new());
    let ending = match start(job) {
        Err(e) => Ending::NotStarted(format!("{}: {e}", job.program.display())),
        Ok(mut child) => {
            let mut group = Group(Some(child.pid));
            let watched = watch(&mut child, &mut stdout, &mut stderr);
            let ending = match timeout(job.limit, watched).await {
                Ok(Watched::Ended { status, pipe_held }) => {
                    if !pipe_held {
                        group.0 = None;
                    }
                    ending(status)
                }
                Ok(Watched::Flooded) => Ending::Flooded,
                Err(_) => {
                    group.kill(Signal::TERM);
                    let _ = timeout(KILL_AFTER, child.wait()).await;
                    Ending::TimedOut
                }
            };
            drop(group);
            let _ = child.wait().await;
            ending
        }
    };
    Ran { stdout, stderr, ending, took: since.elapsed() }
}

enum Watched {
    Ended { status: Option<ExitStatus>, pipe_held: bool },
    Flooded,
}

async fn watch(child: &mut Child, stdout: &mut Vec<u8>, stderr: &mut Vec<u8>) -> Watched {
    let pipe = |fd: Option<OwnedFd>| fd.and_then(|fd| Receiver::from_owned_fd(fd).ok());
    let (mut out, mut err) = (pipe(child.stdout.take()), pipe(child.stderr.take()));
    let mut status = None;
    let mut grace = std::pin::pin!(sleep(Duration::MAX));
    loop {
        if status.is_some() && out.is_none() && err.is_none() {
            return Watched::Ended { status, pipe_held: false };
        }
        tokio::select! {
            // Output first: what a plugin has printed before its end counts.
            biased;
            more = take(&mut out, stdout, OUTPUT_BYTES_MAX + 1), if out.is_some() => {
                if !more {
                    out = None;
                }
                if stdout.len() > OUTPUT_BYTES_MAX {
                    return Watched::Flooded;
                }
            }
            more = take(&mut err, stderr, STDERR_BYTES_MAX), if err.is_some() => {
                if !more {
                    err = None;
                }
            }
            ended = child.wait(), if status.is_none() => {
                status = ended.ok();
                if status.is_none() {
                    return Watched::Ended { status, pipe_held: true };
                }
                grace.as_mut().reset(Instant::now() + PIPE_GRACE);
            }
            () = &mut grace, if status.is_some() => {
                return Watched::Ended { status, pipe_held: true };
            }
        }
    }
}

/// Reads once; keeps at most `max` bytes and discards the rest. `false`: end.
async fn take<R: AsyncRead + Unpin>(from: &mut Option<R>, to: &mut Vec<u8>, max: usize) -> bool {
    let Some(reader) = from else { return false };
    let mut chunk = [0; 8192];
    match reader.read(&mut chunk).await {
        Ok(0) | Err(_) => false,
        Ok(n) => {
            let n = n.min(max.saturating_sub(to.len()));
            to.extend_from_slice(&chunk[..n]);
            true
        }
    }
}

fn ending(status: Option<ExitStatus>) -> Ending {
    match status.map(|s| (s.code(), s.signal())) {
        Some((Some(code), _)) => Ending::Exit(code),
        Some((None, Some(signal))) => Ending::Signal(signal),
        _ => Ending::NotStarted("its end was not seen".to_owned()),
    }
}
