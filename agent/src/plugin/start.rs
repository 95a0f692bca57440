//! Starting an executable without a copy of the agent.
//!
//! A fork copies the agent's page tables, and both sides then fault on every page that
//! they touch: 0.4 ms and more for each run, where most plugins take 5 ms. The standard
//! library forks as soon as the child is to become another user or a session's leader. So
//! the child here borrows the agent's memory until it executes (`CLONE_VM`,
//! `CLONE_VFORK`), as `posix_spawn` and Go's runtime do it; the thread that starts it
//! stands still meanwhile.
//!
//! While it borrows, the child may already be the plugin's user, whose other processes
//! must not get hold of the agent's memory through it: the kernel makes memory that a
//! process shared while it changed its user unreadable to all but root (not "dumpable"),
//! and it stays so here. Who needs a core file of the agent sets `fs.suid_dumpable`.

use super::exec::Job;
use super::ids::Ids;
use libc::{c_char, c_int, c_void};
use rustix::process::{Pid, Signal, WaitOptions, kill_process, waitpid};
use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;
use std::ptr;
use std::sync::atomic::{AtomicI32, Ordering};
use std::sync::{Mutex, PoisonError};
use tokio::signal::unix::{Signal as Signals, SignalKind, signal};

/// What the child needs until it executes: `execvpe` has a path and a copy of the
/// arguments' addresses on it.
const STACK_BYTES: usize = 128 << 10;
/// More arguments than that do not fit.
const ARGS_MAX: usize = 4096;
/// What it ends with when it could not execute; the reason is told otherwise.
const NOT_EXECUTED: c_int = 127;
/// The kernel's last signal.
const SIGNAL_MAX: c_int = 64;

/// Ended children that nobody has waited for: a run was dropped in its middle.
static ORPHANS: Mutex<Vec<Pid>> = Mutex::new(Vec::new());

/// A process that was started.
pub struct Child {
    /// Its id, which is its session's and its group's, too.
    pub pid: Pid,
    /// What it prints.
    pub stdout: Option<OwnedFd>,
    /// Its complaints.
    pub stderr: Option<OwnedFd>,
    status: Option<ExitStatus>,
    ends: Signals,
}

impl Child {
    /// Waits for its end; may be dropped and asked again.
    pub async fn wait(&mut self) -> io::Result<ExitStatus> {
        loop {
            if let Some(status) = self.status {
                return Ok(status);
            }
            self.status = reap(self.pid)?;
            if self.status.is_none() && self.ends.recv().await.is_none() {
                return Err(io::Error::other("the ends of children are not seen any more"));
            }
        }
    }
}

impl Drop for Child {
    fn drop(&mut self) {
        if self.status.is_none() {
            // It is a zombie at the least: its id is still its own.
            let _ = kill_process(self.pid, Signal::KILL);
            ORPHANS.lock().unwrap_or_else(PoisonError::into_inner).push(self.pid);
        }
    }
}

/// Its end, if it has come.
fn reap(pid: Pid) -> io::Result<Option<ExitStatus>> {
    let ended = waitpid(Some(pid), WaitOptions::NOHANG)?;
    Ok(ended.map(|(_, status)| ExitStatus::from_raw(status.as_raw())))
}

/// All that the child needs, made before it is there: it must not allocate.
struct Plan<'a> {
    /// Tried one after the other.
    programs: Vec<CString>,
    /// Ends with null, as `env` does.
    args: Vec<*const c_char>,
    env: Vec<*const c_char>,
    ids: Option<&'a Ids>,
    stdio: [RawFd; 3],
    /// Why nothing was executed, `errno`.
    error: AtomicI32,
}

/// Starts it: within tokio's runtime. The error is the system's.
pub fn start(job: &Job) -> io::Result<Child> {
    ORPHANS
        .lock()
        .unwrap_or_else(PoisonError::into_inner)
        .retain(|pid| matches!(reap(*pid), Ok(None)));
    // Before the child is there, so that its end is not missed.
    let ends = signal(SignalKind::child())?;
    let stdin = File::open("/dev/null")?;
    let (stdout, to_stdout) = io::pipe()?;
    let (stderr, to_stderr) = io::pipe()?;
    let words = std::iter::once(job.program.as_os_str()).chain(job.args.iter().map(|a| &**a));
    let words: Vec<CString> = words.map(c_string).collect::<io::Result<_>>()?;
    if words.len() > ARGS_MAX {
        return Err(io::Error::from_raw_os_error(libc::E2BIG));
    }
    let env: Vec<CString> = job
        .env
        .iter()
        .map(|(key, value)| {
            let mut line = std::ffi::OsString::from(key);
            line.push("=");
            line.push(value);
            c_string(&line)
        })
        .collect::<io::Result<_>>()?;
    let addresses = |of: &[CString]| -> Vec<*const c_char> {
        of.iter().map(|s| s.as_ptr()).chain([ptr::null()]).collect()
    };
    let plan = Plan {
        programs: programs(job)?,
        args: addresses(&words),
        env: addresses(&env),
        ids: job.ids.as_ref(),
        stdio: [stdin.as_raw_fd(), to_stdout.as_raw_fd(), to_stderr.as_raw_fd()],
        error: AtomicI32::new(0),
    };
    let pid = clone(&plan)?;
    let error = plan.error.load(Ordering::Relaxed);
    if error != 0 {
        waitpid(Some(pid), WaitOptions::empty())?;
        return Err(io::Error::from_raw_os_error(error));
    }
    let (stdout, stderr) = (Some(stdout.into()), Some(stderr.into()));
    Ok(Child { pid, stdout, stderr, status: None, ends })
}

fn c_string(text: &OsStr) -> io::Result<CString> {
    let named = |_| {
        let text = text.to_string_lossy().into_owned();
        io::Error::new(io::ErrorKind::InvalidInput, format!("{text:?} has a zero byte in it"))
    };
    CString::new(text.as_bytes()).map_err(named)
}

/// Where a program is looked for: as it is, or in the folders of the plugin's own PATH.
fn programs(job: &Job) -> io::Result<Vec<CString>> {
    let name = job.program.as_os_str();
    if name.as_bytes().contains(&b'/') {
        return Ok(vec![c_string(name)?]);
    }
    let path = job.env.iter().rfind(|(key, _)| key == "PATH").map(|(_, v)| v.as_os_str());
    let folders = std::env::split_paths(path.unwrap_or(OsStr::new("/usr/bin:/bin")));
    folders.map(|folder| c_string(folder.join(name).as_os_str())).collect()
}

/// A child with this plan; it has executed or ended when this returns.
fn clone(plan: &Plan) -> io::Result<Pid> {
    // 16 bytes each, as stacks want to be aligned; never read, so never filled.
    let mut stack: Vec<u128> = Vec::with_capacity(STACK_BYTES / 16);
    let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
    if plan.ids.is_some() {
        // The kernel would do so a moment later: never a moment without it.
        rustix::process::set_dumpable_behavior(rustix::process::DumpableBehavior::NotDumpable)?;
    }
    // SAFETY: the masks are plain data that sigfillset and pthread_sigmask fill. No
    // signal's handler may run in the child, which shares this memory: so all are held
    // back until it has reset its handlers. The stack is the child's alone and, as `plan`,
    // outlives its use: CLONE_VFORK keeps this thread here until the child has executed
    // or ended. The child does not unwind, allocate or take locks (`become_plugin`).
    let pid = unsafe {
        let mut all = std::mem::zeroed();
        let mut before = std::mem::zeroed();
        libc::sigfillset(&raw mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const all, &raw mut before);
        let top = stack.as_mut_ptr().add(stack.capacity()).cast::<c_void>();
        let argument = ptr::from_ref(plan).cast_mut().cast::<c_void>();
        let pid = libc::clone(become_plugin, top, flags, argument);
        let error = io::Error::last_os_error();
        libc::pthread_sigmask(libc::SIG_SETMASK, &raw const before, ptr::null_mut());
        if pid < 0 { Err(error) } else { Ok(pid) }
    }?;
    Pid::from_raw(pid).ok_or_else(|| io::Error::other("a child without an id"))
}

/// The child.
extern "C" fn become_plugin(plan: *mut c_void) -> c_int {
    // SAFETY: it is `clone`'s plan, and `clone` waits.
    let plan = unsafe { &*plan.cast::<Plan>() };
    let error = match settle(plan) {
        Err(error) => error,
        Ok(()) => execute(plan),
    };
    plan.error.store(error, Ordering::Relaxed);
    NOT_EXECUTED
}

/// Only system calls: by rustix without the C library, which then knows nothing of them.
fn settle(plan: &Plan) -> Result<(), c_int> {
    let number = |e: rustix::io::Errno| e.raw_os_error();
    // A session of its own, and so a process group of its own.
    rustix::process::setsid().map_err(number)?;
    rustix::process::chdir(c"/").map_err(number)?;
    rustix::process::umask(rustix::fs::Mode::WOTH);
    // What lets a service become others is not for plugins.
    rustix::thread::clear_ambient_capability_set().map_err(number)?;
    if let Some(ids) = plan.ids {
        rustix::thread::set_thread_groups(&ids.groups).map_err(number)?;
        rustix::thread::set_thread_res_gid(ids.gid, ids.gid, ids.gid).map_err(number)?;
        rustix::thread::set_thread_res_uid(ids.uid, ids.uid, ids.uid).map_err(number)?;
    }
    for (fd, to) in plan.stdio.iter().zip(0..) {
        // SAFETY: the agent's own 0, 1 and 2 are taken from the start, so that these are
        // others; the child's table of them is a copy.
        if unsafe { libc::dup2(*fd, to) } < 0 {
            return Err(errno());
        }
    }
    // SAFETY: plain data and system calls; the child's table of handlers is a copy. What
    // the agent ignores (SIGPIPE) would be ignored by the plugin, too.
    unsafe {
        let mut default: libc::sigaction = std::mem::zeroed();
        default.sa_sigaction = libc::SIG_DFL;
        for signal in 1..=SIGNAL_MAX {
            libc::sigaction(signal, &raw const default, ptr::null_mut());
        }
        let mut none = std::mem::zeroed();
        libc::sigemptyset(&raw mut none);
        libc::sigprocmask(libc::SIG_SETMASK, &raw const none, ptr::null_mut());
    }
    Ok(())
}

/// Returns only with the reason why it could not.
fn execute(plan: &Plan) -> c_int {
    let mut error = libc::ENOENT;
    for program in &plan.programs {
        // SAFETY: all three end with null and live until the agent goes on. With a slash
        // in it the program is not looked for; a script without `#!` is given to the shell.
        unsafe { libc::execvpe(program.as_ptr(), plan.args.as_ptr(), plan.env.as_ptr()) };
        match errno() {
            libc::ENOENT | libc::ENOTDIR => {}
            // Another folder may have one that may be run.
            libc::EACCES => error = libc::EACCES,
            other => return other,
        }
    }
    error
}

fn errno() -> c_int {
    io::Error::last_os_error().raw_os_error().unwrap_or(libc::EINVAL)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::path::Path;
    use std::time::Duration;

    fn job(program: &str, args: &[&str]) -> Job {
        Job {
            program: program.into(),
            args: args.iter().map(|a| (*a).into()).collect(),
            env: vec![("PATH".to_owned(), "/no/such:/usr/bin:/bin".into())],
            ids: None,
            limit: Duration::from_secs(60),
        }
    }

    /// What it prints, and how it ends.
    async fn run(job: &Job) -> (String, Option<i32>) {
        let mut child = start(job).expect("starts");
        let mut out = String::new();
        let stdout = child.stdout.take().expect("a pipe");
        File::from(stdout).read_to_string(&mut out).expect("reads");
        (out, child.wait().await.expect("ends").code())
    }

    /// Written by another process: a child that is started meanwhile would have the file
    /// open for a moment, and what is being written cannot be executed.
    fn file(dir: &Path, name: &str, text: &str, mode: &str) -> String {
        let path = dir.join(name).display().to_string();
        let mut write = std::process::Command::new("sh");
        write.args(["-c", "printf %s \"$1\" > \"$0\" && chmod $2 \"$0\"", &path, text, mode]);
        assert!(write.status().expect("runs").success());
        path
    }

    #[tokio::test]
    async fn it_has_what_the_job_says_and_nothing_of_the_agent() {
        let shell = "pwd; umask; echo $0 $1; echo ${HOME-none}; exit 7";
        let (out, code) = run(&job("sh", &["-c", shell, "name", "a b"])).await;
        assert_eq!(out, "/\n0002\nname a b\nnone\n");
        assert_eq!(code, Some(7));
        // The leader of a session; no signal is held back, or ignored but by the shell.
        let shell = "cut -d' ' -f1,5,6 /proc/$$/stat; grep -E 'Sig(Blk|Ign)' /proc/self/status";
        let (out, _) = run(&job("sh", &["-c", shell])).await;
        let mut lines = out.lines();
        let ids: Vec<&str> = lines.next().expect("ids").split(' ').collect();
        assert!(ids[0] == ids[1] && ids[1] == ids[2], "{out}");
        // Those of the C library itself (32 and 33) are whoever's started the test.
        let low = |l: &str| l.get(l.len() - 8..).and_then(|l| u32::from_str_radix(l, 16).ok());
        assert!(lines.all(|l| low(l).is_some_and(|l| l & 0x7fff_ffff == 0)), "{out}");
    }

    #[tokio::test]
    async fn what_cannot_be_started_says_why() {
        let dir = tempfile::tempdir().expect("a folder");
        let error = |job: &Job| start(job).err().expect("fails");
        assert_eq!(error(&job("/no/such", &[])).kind(), io::ErrorKind::NotFound);
        assert_eq!(error(&job("no-such-program", &[])).kind(), io::ErrorKind::NotFound);
        let closed = file(dir.path(), "closed", "#!/bin/sh\n", "600");
        assert_eq!(error(&job(&closed, &[])).kind(), io::ErrorKind::PermissionDenied);
        assert!(error(&job("/bin/echo", &["a\0b"])).to_string().contains("zero byte"));
        let many: Vec<&str> = vec!["x"; ARGS_MAX];
        assert_eq!(error(&job("/bin/echo", &many)).raw_os_error(), Some(libc::E2BIG));
    }

    #[tokio::test]
    async fn a_script_without_a_first_line_is_the_shells() {
        let dir = tempfile::tempdir().expect("a folder");
        let script = file(dir.path(), "script", "echo $1 from the shell\n", "755");
        assert_eq!(run(&job(&script, &["hello"])).await.0, "hello from the shell\n");
    }

    #[tokio::test]
    async fn another_user_has_its_ids_and_no_others() {
        if !rustix::process::getuid().is_root() {
            return;
        }
        let ids = Ids {
            user: "nobody".to_owned(),
            uid: rustix::fs::Uid::from_raw(65534),
            gid: rustix::fs::Gid::from_raw(65534),
            groups: vec![rustix::fs::Gid::from_raw(65534), rustix::fs::Gid::from_raw(4)],
        };
        let job = Job { ids: Some(ids), ..job("sh", &["-c", "id -u; id -g; id -G"]) };
        assert_eq!(run(&job).await.0, "65534\n65534\n65534 4\n");
        let dumpable = rustix::process::dumpable_behavior().expect("asks");
        assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
    }

    #[tokio::test]
    async fn who_is_dropped_is_killed_and_buried() {
        let child = start(&job("sleep", &["1000"])).expect("starts");
        let pid = child.pid;
        drop(child);
        let is_there = || Path::new(&format!("/proc/{}", pid.as_raw_nonzero())).exists();
        // The next ones that are started bury it.
        while is_there() {
            run(&job("true", &[])).await;
        }
    }
}
