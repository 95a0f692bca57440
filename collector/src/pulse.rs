//! Heartbeats of the threads on which everything rests, and what `/healthz` says of them.
//!
//! Each of them beats at least once a second or so while it works as it should; a
//! panic in one of them ends the process, which the service manager starts again.

use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// After this without a heartbeat the collector is not healthy.
const LATE: Duration = Duration::from_secs(30);
/// The sealer packs whole months at times.
const LATE_SEALER: Duration = Duration::from_secs(600);
/// After this the watchdog is not fed: a disk that hangs gets two minutes.
const DEAD: Duration = Duration::from_secs(120);

/// One thread's heartbeat.
pub struct Pulse {
    name: &'static str,
    late: Duration,
    /// Whether it is waited for.
    is_running: AtomicBool,
    /// When it beat last, ms since the beginning.
    beaten_ms: AtomicU64,
}

/// Those of a collector.
pub struct Pulses {
    began: Instant,
    /// Journals and acknowledges.
    pub writer: Pulse,
    /// Writes sealed blocks.
    pub sealer: Pulse,
    /// Judges rows and writes down what came of it; on the writer's thread.
    pub alerting: Pulse,
    /// Hands notices to the channels.
    pub delivery: Pulse,
    /// Why nothing can be written at the moment.
    writing_failure: Mutex<Option<String>>,
}

impl Default for Pulses {
    fn default() -> Pulses {
        let pulse = |name, late| Pulse {
            name,
            late,
            is_running: AtomicBool::new(false),
            beaten_ms: AtomicU64::new(0),
        };
        Pulses {
            began: Instant::now(),
            writer: pulse("the writer", LATE),
            sealer: pulse("the sealer", LATE_SEALER),
            alerting: pulse("alerting", LATE),
            delivery: pulse("delivery", LATE),
            writing_failure: Mutex::default(),
        }
    }
}

impl fmt::Debug for Pulses {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.faults()).finish()
    }
}

impl Pulses {
    fn now_ms(&self) -> u64 {
        u64::try_from(self.began.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// This one works.
    pub fn beat(&self, which: &Pulse) {
        which.beaten_ms.store(self.now_ms(), Relaxed);
        which.is_running.store(true, Relaxed);
    }

    /// This one has ended as it should.
    pub fn rest(&self, which: &Pulse) {
        which.is_running.store(false, Relaxed);
    }

    /// Notes how the last commit went.
    pub fn note_writing(&self, failure: Option<String>) {
        *self.writing_failure.lock().unwrap_or_else(PoisonError::into_inner) = failure;
    }

    fn silence(&self, pulse: &Pulse) -> Option<Duration> {
        let silent_ms = self.now_ms().saturating_sub(pulse.beaten_ms.load(Relaxed));
        pulse.is_running.load(Relaxed).then(|| Duration::from_millis(silent_ms))
    }

    /// What is wrong, a line each; none: all is well.
    pub fn faults(&self) -> Vec<String> {
        let all = [&self.writer, &self.sealer, &self.alerting, &self.delivery];
        let late = all.into_iter().filter_map(|pulse| {
            let silence = self.silence(pulse).filter(|s| *s >= pulse.late)?;
            let s = silence.as_secs();
            Some(format!(
                "{} has given no sign for {s} s: the disk may hang (the kernel's log says more)",
                pulse.name
            ))
        });
        let failure = self.writing_failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let failure = failure.map(|e| format!("nothing is acknowledged: {e}"));
        late.chain(failure).collect()
    }

    /// Whether the service manager should leave the process alone.
    pub fn is_alive(&self) -> bool {
        // Alerting is on the writer's thread, which may be busy with a large seal.
        let vital = [&self.writer, &self.delivery];
        vital.into_iter().all(|pulse| self.silence(pulse).is_none_or(|s| s < DEAD))
    }
}

/// Ends the process when the thread that holds it panics.
pub struct Vital(pub &'static str);

impl Drop for Vital {
    fn drop(&mut self) {
        if std::thread::panicking() {
            tracing::error!("BUG: {} panicked (see above); the process ends", self.0);
            std::process::abort();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As if all that has happened had happened so long ago.
    fn age(pulses: Pulses, by: Duration) -> Pulses {
        Pulses { began: Instant::now() - by, ..pulses }
    }

    #[test]
    fn who_gives_no_sign_is_named_and_who_has_not_begun_is_not() {
        let pulses = Pulses::default();
        assert!(pulses.faults().is_empty() && pulses.is_alive());
        pulses.beat(&pulses.writer);
        pulses.beat(&pulses.sealer);
        let pulses = age(pulses, LATE);
        assert!(pulses.is_alive());
        let faults = pulses.faults();
        assert!(faults.len() == 1 && faults[0].starts_with("the writer"), "{faults:?}");
        pulses.beat(&pulses.writer);
        assert!(pulses.faults().is_empty());
        let pulses = age(pulses, DEAD + LATE);
        assert!(!pulses.is_alive());
        pulses.rest(&pulses.writer);
        assert!(pulses.is_alive() && pulses.faults().is_empty());
    }

    #[test]
    fn a_disk_that_fails_is_a_fault() {
        let pulses = Pulses::default();
        pulses.note_writing(Some("disk full".to_owned()));
        assert_eq!(pulses.faults(), ["nothing is acknowledged: disk full"]);
        pulses.note_writing(None);
        assert!(pulses.faults().is_empty());
    }

    #[test]
    fn a_panic_of_a_vital_thread_ends_the_process() {
        const ASKED: &str = "ROOKERY_TEST_PANIC";
        if std::env::var_os(ASKED).is_some() {
            let panics = std::thread::spawn(|| {
                let _vital = Vital("the writer");
                panic!("on purpose");
            });
            let _ = panics.join();
            std::process::exit(0);
        }
        let this = std::env::current_exe().expect("a test's file");
        let mut again = std::process::Command::new(this);
        again.args(["--exact", "pulse::tests::a_panic_of_a_vital_thread_ends_the_process"]);
        let ended = again.env(ASKED, "1").output().expect("runs");
        use std::os::unix::process::ExitStatusExt;
        assert_eq!(ended.status.signal(), Some(6), "by SIGABRT: {:?}", ended.status);
    }
}
