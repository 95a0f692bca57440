//! Looking for daemons that nobody has named: one thread asks for all of them, now
//! and then, and each that is found gets a thread of its own. A host has few of the
//! daemons that there are probes for, and a thread for each that is not there would
//! cost more memory than those that are.

use crate::sampler::{ASK_AGAIN_MS, Common, Sampler, Slot};
use std::io;
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;
use tokio::sync::oneshot;

/// A thread that reads probes; it ends when this is dropped.
pub struct Reading {
    /// Hung up, it is the word to stop.
    stop: mpsc::Sender<()>,
    thread: JoinHandle<()>,
}

impl Reading {
    /// Tells it to stop; the thread.
    pub fn end(self) -> JoinHandle<()> {
        drop(self.stop);
        self.thread
    }
}

/// The stack of a thread that reads probes, bytes.
const STACK_BYTES: usize = 512 << 10;

/// Starts a thread for what reads until it is told to stop.
pub fn read_beside(
    label: &str,
    work: impl FnOnce(mpsc::Receiver<()>) + Send + 'static,
) -> io::Result<Reading> {
    let (stop, stopped) = mpsc::channel();
    let thread = std::thread::Builder::new()
        .name(format!("probes-{label}"))
        .stack_size(STACK_BYTES)
        .spawn(move || work(stopped))?;
    Ok(Reading { stop, thread })
}

/// Looks for daemons until `stop` hangs up. `ready` is told after the first round.
pub fn run(
    common: &Common,
    mut missing: Vec<Slot>,
    stop: &mpsc::Receiver<()>,
    ready: oneshot::Sender<()>,
) {
    let mut ready = Some(ready);
    let mut found: Vec<Reading> = Vec::new();
    while !missing.is_empty() {
        let mut still = Vec::with_capacity(missing.len());
        for mut slot in missing {
            if !slot.is_found(&common.host) {
                still.push(slot);
                continue;
            }
            let label = slot.name.clone();
            let sampler = Sampler::new(common.clone(), &label, vec![slot], false);
            let (told, _) = oneshot::channel();
            match read_beside(&label, move |stopped| sampler.run(&stopped, told)) {
                Ok(reading) => found.push(reading),
                Err(e) => tracing::error!(probe = %label, "no thread for it: {e}"),
            }
        }
        missing = still;
        if let Some(ready) = ready.take() {
            // Nobody waits any more: the same.
            let _ = ready.send(());
        }
        let pause = Duration::from_millis(ASK_AGAIN_MS as u64);
        if !missing.is_empty()
            && !matches!(stop.recv_timeout(pause), Err(mpsc::RecvTimeoutError::Timeout))
        {
            return;
        }
    }
    // What was found is read until the end.
    let _ = stop.recv();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::{Event, Outlet};
    use crate::sampler::Live;
    use rookery_plugins::{Cells, FieldSpec, Host, Probe, ProbeError, Read, ServiceSpec};
    use std::sync::Arc;

    /// A daemon that is here, or not.
    struct Sample(bool);

    impl Probe for Sample {
        fn discover(&mut self, _: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
            let field = FieldSpec::gauge("f", "f");
            let spec = ServiceSpec::new("s", "S", "test").fields(vec![field]);
            if self.0 { Ok(vec![spec]) } else { Err(ProbeError::NotHere("no".to_owned())) }
        }

        fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
            out.push(5u64);
            Ok(Read::Done)
        }
    }

    #[tokio::test]
    async fn what_is_found_is_read_and_the_rest_is_looked_for() {
        let (outlet, mut events) = Outlet::new();
        let common = Common {
            host: Host::default(),
            node: "n".to_owned(),
            step_ms: 10_000,
            outlet,
            live: Arc::new(Live::default()),
            stats: Arc::default(),
        };
        let slot = |name: &str, here: bool| Slot::new(name, Box::new(Sample(here)), None);
        let slots = vec![slot("here", true), slot("away", false)];
        let (ready, is_ready) = oneshot::channel();
        let work = {
            let common = common.clone();
            move |stopped| run(&common, slots, &stopped, ready)
        };
        let finder = read_beside("finder", work).expect("a thread");
        is_ready.await.expect("the first round");
        let sources = async {
            loop {
                match events.recv().await.expect("events") {
                    Event::Row(row) => return row.layout.fields().to_vec(),
                    Event::Services { .. } => {}
                }
            }
        };
        let names: Vec<String> =
            sources.await.iter().map(|f| format!("{}.{}", f.service, f.field)).collect();
        let want = ["s.f", "rookery_duration.probe_here", "rookery_success.probe_here"];
        assert_eq!(names, want, "one row, of the one that is here");
        finder.end().join().expect("it ends");
    }
}
