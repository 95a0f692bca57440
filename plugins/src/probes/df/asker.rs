//! Asks filesystems how full they are without waiting for one that hangs.
//!
//! statvfs on a dead NFS server blocks for ever, so a helper thread calls it.
//! If the deadline passes, that thread is left behind with the path that it is
//! stuck on, which stays marked as busy; the next question goes to a new
//! thread, which passes over busy paths. So there is at most one stuck thread
//! a path, and a path is asked again as soon as its thread comes back.

use super::Usage;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// How a path is asked; a test puts one here that hangs.
pub(super) type Ask = fn(&Path) -> Option<Usage>;

/// The kernel's answer, if it gives one.
pub(super) fn statvfs(path: &Path) -> Option<Usage> {
    let s = rustix::fs::statvfs(path).ok()?;
    Some(Usage {
        frsize: s.f_frsize,
        blocks: s.f_blocks,
        bfree: s.f_bfree,
        bavail: s.f_bavail,
        files: s.f_files,
        ffree: s.f_ffree,
    })
}

#[derive(Debug)]
struct Target {
    path: PathBuf,
    /// A thread is inside the call for it.
    busy: AtomicBool,
}

/// What asker and helper share.
#[derive(Debug, Default)]
struct Desk {
    state: Mutex<State>,
    asked: Condvar,
    answered: Condvar,
}

#[derive(Debug, Default)]
struct State {
    /// Number of the last question, and of the last that is answered in full.
    asked: u64,
    answered: u64,
    /// The helper is to go home.
    closed: bool,
    answers: Vec<Option<Usage>>,
}

impl Desk {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Knows the paths and the present helper.
#[derive(Debug)]
pub(super) struct Asker {
    targets: Arc<Vec<Arc<Target>>>,
    desk: Option<Arc<Desk>>,
    call: Ask,
}

impl Default for Asker {
    fn default() -> Asker {
        Asker::new(statvfs)
    }
}

impl Drop for Asker {
    fn drop(&mut self) {
        self.close();
    }
}

impl Asker {
    /// One that asks in this way.
    pub(super) fn new(call: Ask) -> Asker {
        Asker { targets: Arc::default(), desk: None, call }
    }

    /// From now on these paths. One that is stuck remains known as stuck.
    pub(super) fn watch(&mut self, paths: impl Iterator<Item = PathBuf>) {
        self.close();
        let old = Arc::clone(&self.targets);
        let target = |path: PathBuf| match old.iter().find(|t| t.path == path) {
            Some(known) => Arc::clone(known),
            None => Arc::new(Target { path, busy: AtomicBool::new(false) }),
        };
        self.targets = Arc::new(paths.map(target).collect());
    }

    /// Asks all paths; `None` for each that failed or did not answer in time.
    /// Whether all were asked, but for those known as stuck.
    pub(super) fn ask(&mut self, deadline: Duration, answers: &mut Vec<Option<Usage>>) -> bool {
        answers.clear();
        if self.targets.is_empty() {
            return true;
        }
        let desk = match self.desk.take() {
            Some(desk) => desk,
            None => match self.hire() {
                Ok(desk) => desk,
                // No thread to be had: nothing is known this time.
                Err(_) => {
                    answers.resize(self.targets.len(), None);
                    return false;
                }
            },
        };
        let mut state = desk.state();
        state.asked += 1;
        let count = self.targets.len();
        state.answers.clear();
        state.answers.resize(count, None);
        desk.asked.notify_one();
        let (mut state, waited) = desk
            .answered
            .wait_timeout_while(state, deadline, |s| s.answered != s.asked)
            .unwrap_or_else(PoisonError::into_inner);
        answers.extend_from_slice(&state.answers);
        if waited.timed_out() {
            state.closed = true;
            return false;
        }
        drop(state);
        self.desk = Some(desk);
        true
    }

    /// Starts a helper.
    fn hire(&self) -> std::io::Result<Arc<Desk>> {
        let desk = Arc::new(Desk::default());
        let (own, targets, call) = (Arc::clone(&desk), Arc::clone(&self.targets), self.call);
        std::thread::Builder::new()
            .name("statvfs".to_owned())
            .stack_size(64 * 1024)
            .spawn(move || help(&own, &targets, call))?;
        Ok(desk)
    }

    fn close(&mut self) {
        if let Some(desk) = self.desk.take() {
            desk.state().closed = true;
            desk.asked.notify_one();
        }
    }
}

/// The helper's work, until its desk is closed.
fn help(desk: &Desk, targets: &[Arc<Target>], call: Ask) {
    loop {
        let waiting = |s: &mut State| s.asked == s.answered && !s.closed;
        let state =
            desk.asked.wait_while(desk.state(), waiting).unwrap_or_else(PoisonError::into_inner);
        if state.closed {
            return;
        }
        let question = state.asked;
        drop(state);
        for (i, target) in targets.iter().enumerate() {
            if target.busy.swap(true, Ordering::AcqRel) {
                continue;
            }
            let answer = call(&target.path);
            target.busy.store(false, Ordering::Release);
            let mut state = desk.state();
            if state.closed {
                return;
            }
            if let Some(slot) = state.answers.get_mut(i) {
                *slot = answer;
            }
        }
        desk.state().answered = question;
        desk.answered.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const USAGE: Usage =
        Usage { frsize: 1, blocks: 100, bfree: 50, bavail: 40, files: 10, ffree: 5 };

    /// Hangs on a path that ends in `fifo` until someone writes to it, as
    /// opening a FIFO does.
    fn hangs_on_a_fifo(path: &Path) -> Option<Usage> {
        if path.ends_with("fifo") {
            std::fs::File::open(path).ok()?;
        }
        Some(USAGE)
    }

    #[test]
    fn a_path_that_hangs_is_unknown_and_comes_back() {
        let dir = tempfile::tempdir().unwrap();
        let fifo = dir.path().join("fifo");
        rustix::fs::mknodat(
            rustix::fs::CWD,
            &fifo,
            rustix::fs::FileType::Fifo,
            rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR,
            0,
        )
        .unwrap();
        let paths = ["/a".into(), fifo.clone(), "/b".into()];
        let mut asker = Asker::new(hangs_on_a_fifo);
        asker.watch(paths.clone().into_iter());
        let short = Duration::from_millis(50);
        let long = Duration::from_secs(30);
        let mut answers = Vec::new();
        assert!(!asker.ask(short, &mut answers));
        assert_eq!(answers, [Some(USAGE), None, None], "cut short behind the hanging one");
        assert!(asker.ask(long, &mut answers));
        assert_eq!(answers, [Some(USAGE), None, Some(USAGE)], "passed over");
        asker.watch(paths.into_iter());
        assert!(asker.ask(long, &mut answers));
        assert_eq!(answers, [Some(USAGE), None, Some(USAGE)], "still known as stuck");
        // The server is back: the stuck thread returns and frees its path.
        drop(std::fs::File::options().write(true).open(&fifo).unwrap());
        while asker.targets[1].busy.load(Ordering::Acquire) {
            std::thread::yield_now();
        }
        // The next question opens the FIFO again, and this answers it.
        let writer = std::thread::spawn(move || {
            drop(std::fs::File::options().write(true).open(&fifo).unwrap());
        });
        assert!(asker.ask(long, &mut answers));
        writer.join().unwrap();
        assert_eq!(answers, [Some(USAGE); 3]);
    }
}
