//! The postman: takes notices out of the outbox and hands them to the channels,
//! again and again with growing pauses until they are taken.

use super::Alerts;
use super::digest::Sources;
use super::ledger::Ledger;
use super::outbox::{Due, Letter};
use super::trouble::Health;
use crate::history::History;
use crate::store::StoreError;
use rookery_alerts::channels::ChannelError;
use rookery_alerts::{Notice, Notifier};
use rookery_plugins::TimeMs;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, mpsc, watch};

/// The longest pause between two tries, ms.
const PAUSE_MS_MAX: TimeMs = 300_000;
/// What was tried for so long is given up: a day.
const GIVE_UP_MS: TimeMs = 86_400_000;
/// The outbox is looked at this often even when nothing rings.
const POLL: Duration = Duration::from_secs(2);

/// An outbox that cannot be opened is tried again after this.
const REOPEN: Duration = Duration::from_secs(5);

/// Draws the graph that goes with a notice; `None`: there is none.
pub type Illustrate = Arc<dyn Fn(&Notice) -> Option<Vec<u8>> + Send + Sync>;

/// What time it is on the wall clock, ms: the system's (`store::now_ms`), or a test's.
pub type Clock = Arc<dyn Fn() -> TimeMs + Send + Sync>;

/// Says that whoever calls it works.
pub type Beat = Arc<dyn Fn() + Send + Sync>;

/// A notice waits so long for its graph; then it goes without.
const PICTURE_WAIT: Duration = Duration::from_secs(1);

/// After so many failures the contact's `fallback` is told, too.
const FALLBACK_AFTER: u32 = 2;

/// How long after so many failures it is tried again, ms.
fn pause_ms(n_tries: u32) -> TimeMs {
    (1000i64 << n_tries.min(20)).min(PAUSE_MS_MAX)
}

/// How long it has been waited between so many tries, ms. Counted from the first try, as
/// before that it may have waited for its contact's period; and by tries, as no clock can
/// be set past them.
fn waited_ms(n_tries: u32) -> TimeMs {
    (0..n_tries).map(pause_ms).sum()
}

/// The dispatcher's own clock: it begins as the wall clock, and goes on steadily when that
/// is set.
struct Steady {
    began_ms: TimeMs,
    began: tokio::time::Instant,
}

impl Steady {
    fn new(now_ms: TimeMs) -> Steady {
        Steady { began_ms: now_ms, began: tokio::time::Instant::now() }
    }

    fn now_ms(&self) -> TimeMs {
        let elapsed = i64::try_from(self.began.elapsed().as_millis()).unwrap_or(i64::MAX);
        self.began_ms.saturating_add(elapsed)
    }
}

/// What the channels' tasks report.
enum Report {
    /// What became of a notice.
    Told(Box<Due>, Result<(), ChannelError>),
    /// The channel has done all that it took.
    Free(String),
}

/// Reports a channel as free when its task ends, however it does.
struct Busy(String, mpsc::UnboundedSender<Report>);

impl Drop for Busy {
    fn drop(&mut self) {
        // Whoever does not listen any more has stopped.
        let _ = self.1.send(Report::Free(std::mem::take(&mut self.0)));
    }
}

/// What the postman works with.
pub struct Postman {
    /// The channels.
    pub notifier: Arc<Notifier>,
    /// Rings when there is something in the outbox.
    pub due: Arc<Notify>,
    /// Draws graphs.
    pub illustrate: Illustrate,
    /// For digests: how things stand.
    pub alerts: Alerts,
    /// For digests: which nodes there are.
    pub history: Arc<dyn History>,
    /// What fails to be told.
    pub health: Arc<Health>,
    /// What time it is.
    pub clock: Clock,
    /// Called at least every two seconds while the postman works.
    pub beat: Beat,
}

/// Runs until `stop` says so. A disk that fails is logged and tried again: the
/// outbox keeps what is due. Each channel has its own pace: one that hangs keeps
/// none of the others waiting.
pub async fn run(dir: &Path, postman: Postman, mut stop: watch::Receiver<bool>) {
    let Postman { notifier, due, illustrate, alerts, history, health, clock, beat } = postman;
    let mut ledger = loop {
        match Ledger::open(dir) {
            Ok(ledger) => break ledger,
            Err(e) => tracing::error!("nobody is told until this can be opened: {e}"),
        }
        tokio::select! {
            () = tokio::time::sleep(REOPEN) => {}
            _ = stop.changed() => return,
        }
    };
    let steady = Steady::new(clock());
    let inherited = ledger.inherit(|c| match notifier.knows(c) {
        true => Vec::new(),
        false => notifier.heirs(c),
    });
    if let Err(e) = inherited.and_then(|()| ledger.wake(steady.now_ms(), PAUSE_MS_MAX)) {
        tracing::error!("what waits cannot be looked at: {e}");
    }
    let grace = alerts.live().machine.settings().start_grace_ms;
    let grace = tokio::time::Instant::now() + Duration::from_millis(grace);
    let (reports, mut reported) = mpsc::unbounded_channel();
    let mut busy: BTreeSet<String> = BTreeSet::new();
    // What was told and could not be written down: nothing else is told before it is,
    // or it would be told again.
    let mut unnoted: Vec<(Box<Due>, Result<(), ChannelError>)> = Vec::new();
    loop {
        beat();
        while let Some((item, outcome)) = unnoted.pop() {
            if let Err(e) =
                note(&mut ledger, &notifier, &health, &item, &outcome, times(&clock, &steady))
            {
                tracing::error!("what was told cannot be written down: {e}");
                unnoted.push((item, outcome));
                break;
            }
        }
        if !unnoted.is_empty() && !*stop.borrow() {
            // The disk fails: it is tried again with the next turn.
        } else if !*stop.borrow() {
            let sources = Sources { alerts: &alerts, history: history.as_ref() };
            if tokio::time::Instant::now() < grace {
                // Who has not reported since the start is not known well.
            } else if let Err(e) = ledger.write_digests(&notifier, &sources, clock()) {
                tracing::error!("no digest is written: {e}");
            }
            if let Err(e) = ledger.write_troubles(&notifier, &health, clock()) {
                tracing::error!("what fails to be told cannot be written down: {e}");
            }
            let now = times(&clock, &steady);
            let started = begin(&mut ledger, &notifier, &illustrate, &mut busy, &reports, now);
            if let Err(e) = started {
                tracing::error!("notices that are due cannot be read: {e}");
            }
        } else if busy.is_empty() {
            return;
        }
        tokio::select! {
            Some(report) = reported.recv() => match report {
                Report::Free(channel) => drop(busy.remove(&channel)),
                Report::Told(item, outcome) => unnoted.push((item, outcome)),
            },
            () = due.notified() => {}
            () = tokio::time::sleep(POLL) => {}
            // An error means that whoever could say stop is gone: the same.
            _ = stop.changed(), if !*stop.borrow() => {}
        }
    }
}

/// What time it is.
#[derive(Clone, Copy)]
struct Times {
    /// By the wall clock, ms: of that are periods.
    wall_ms: TimeMs,
    /// By the dispatcher's, ms: by that things wait.
    steady_ms: TimeMs,
}

fn times(clock: &Clock, steady: &Steady) -> Times {
    Times { wall_ms: clock(), steady_ms: steady.now_ms() }
}

/// Starts a task for each channel that has something to tell and is not at it.
fn begin(
    ledger: &mut Ledger,
    notifier: &Arc<Notifier>,
    illustrate: &Illustrate,
    busy: &mut BTreeSet<String>,
    reports: &mpsc::UnboundedSender<Report>,
    now: Times,
) -> Result<(), StoreError> {
    for channel in ledger.channels_due(now.steady_ms)? {
        if busy.contains(&channel) {
            continue;
        }
        let (is_open, has_digest) =
            (notifier.is_open(&channel, now.wall_ms), notifier.has_digest(&channel));
        ledger.open_period(&channel, is_open, has_digest, now.steady_ms)?;
        let batch = ledger.begin(&channel, now.steady_ms, notifier.batch(&channel))?;
        if batch.is_empty() {
            continue;
        }
        busy.insert(channel.clone());
        let (notifier, illustrate) = (Arc::clone(notifier), illustrate.clone());
        let reports = reports.clone();
        tokio::spawn(async move {
            let busy = Busy(channel, reports);
            let mut rest = batch;
            while !rest.is_empty() {
                let notices: Vec<&Notice> = rest.iter().map_while(|d| d.letter.notice()).collect();
                let n = notifier.run_len(&busy.0, &notices).min(rest.len());
                let outcome = match n {
                    1 => deliver(&notifier, &illustrate, &rest[0]).await,
                    n => notifier.send_run(&busy.0, &notices[..n]).await,
                };
                let later = rest.split_off(n);
                for item in std::mem::replace(&mut rest, later) {
                    let _ = busy.1.send(Report::Told(Box::new(item), outcome.clone()));
                }
            }
        });
    }
    Ok(())
}

async fn deliver(
    notifier: &Notifier,
    illustrate: &Illustrate,
    due: &Due,
) -> Result<(), ChannelError> {
    let notice = match &due.letter {
        Letter::Digest { digest } => return notifier.send_digest(&due.channel, digest).await,
        Letter::Notice(notice) => notice,
    };
    let (draw, drawn) = (illustrate.clone(), notice.clone());
    let drawing = tokio::task::spawn_blocking(move || draw(&drawn));
    let picture = match tokio::time::timeout(PICTURE_WAIT, drawing).await {
        Ok(drawn) => drawn.unwrap_or(None),
        Err(_) => {
            tracing::warn!(notice = due.letter.id(), "its graph takes too long: sent without it");
            None
        }
    };
    notifier.send_to(&due.channel, notice, picture).await
}

/// Writes down what became of a notice.
fn note(
    ledger: &mut Ledger,
    notifier: &Notifier,
    health: &Health,
    due: &Due,
    outcome: &Result<(), ChannelError>,
    now: Times,
) -> Result<(), StoreError> {
    let error = match outcome {
        Ok(()) => {
            tracing::info!(notice = due.letter.id(), channel = due.channel, "told");
            health.works(&due.channel);
            return ledger.settle(due.id, now.wall_ms, None);
        }
        Err(error) => error,
    };
    // One that there is no more cannot be mended.
    if notifier.knows(&due.channel) {
        health.failed(&due.channel, &error.message, error.permanent, now.wall_ms);
    }
    let given_up = error.permanent || waited_ms(due.n_tries) >= GIVE_UP_MS;
    if let Letter::Notice(notice) = &due.letter
        && (given_up || due.n_tries + 1 == FALLBACK_AFTER)
    {
        let others = notifier.fallback_of(&due.channel);
        if !others.is_empty() {
            let instead_of = Some(error.to_string());
            let notice = Notice { instead_of, repeated: false, ..(**notice).clone() };
            ledger.also(&notice, &others, now.wall_ms)?;
            tracing::warn!(notice = due.letter.id(), "others are told instead of {}", due.channel);
        }
    }
    if given_up {
        tracing::error!(notice = due.letter.id(), "given up: {error}");
        return ledger.give_up(due, now.wall_ms, &error.to_string());
    }
    let pause = pause_ms(due.n_tries);
    tracing::warn!(notice = due.letter.id(), "not told, again in {} s: {error}", pause / 1000);
    ledger.postpone(due, now.steady_ms + pause, &error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_day_of_tries_is_given_up_and_not_before() {
        assert_eq!((0..10).map(pause_ms).sum::<TimeMs>(), 811_000);
        assert_eq!(pause_ms(u32::MAX), PAUSE_MS_MAX);
        let last = (0..).find(|n| waited_ms(*n) >= GIVE_UP_MS).expect("some day");
        assert_eq!(last, 296);
    }

    #[test]
    fn the_dispatchers_clock_goes_on_when_the_wall_clock_is_set() {
        let steady = Steady::new(1_000_000);
        let steady = Steady { began: steady.began - Duration::from_secs(5), ..steady };
        // An hour back, and a year ahead.
        for wall_ms in [-2_600_000, 31_536_000_000] {
            let now = times(&(Arc::new(move || wall_ms) as Clock), &steady);
            assert_eq!(now.wall_ms, wall_ms);
            assert!((1_005_000..1_015_000).contains(&now.steady_ms), "{}", now.steady_ms);
        }
    }
}
