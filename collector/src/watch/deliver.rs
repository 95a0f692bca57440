//! The postman: takes notices out of the outbox and hands them to the channels,
//! again and again with growing pauses until they are taken.

use super::ledger::{Due, Ledger};
use crate::store::{StoreError, now_ms};
use rookery_alerts::channels::ChannelError;
use rookery_alerts::{Notice, Notifier};
use rookery_plugins::TimeMs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// The longest pause between two tries, ms.
const PAUSE_MS_MAX: TimeMs = 300_000;
/// Notices older than this are given up: a day.
const GIVE_UP_MS: TimeMs = 86_400_000;
/// How many notices are taken out at once.
const BATCH: usize = 32;
/// The outbox is looked at this often even when nothing rings.
const POLL: Duration = Duration::from_secs(2);

/// An outbox that cannot be opened is tried again after this.
const REOPEN: Duration = Duration::from_secs(5);

/// Draws the graph that goes with a notice; `None`: there is none.
pub type Illustrate = Arc<dyn Fn(&Notice) -> Option<Vec<u8>> + Send + Sync>;

/// Runs until `stop` says so. A disk that fails is logged and tried again: the
/// outbox keeps what is due.
pub async fn run(
    dir: &Path,
    notifier: Arc<Notifier>,
    due: Arc<Notify>,
    illustrate: Illustrate,
    mut stop: watch::Receiver<bool>,
) {
    let ledger = loop {
        match Ledger::open(dir) {
            Ok(ledger) => break ledger,
            Err(e) => tracing::error!("nobody is told until this can be opened: {e}"),
        }
        tokio::select! {
            () = tokio::time::sleep(REOPEN) => {}
            _ = stop.changed() => return,
        }
    };
    loop {
        let mut is_more = false;
        match ledger.due(now_ms(), BATCH) {
            Ok(waiting) => {
                is_more = waiting.len() == BATCH;
                for item in waiting {
                    let outcome = deliver(&notifier, &illustrate, &item).await;
                    if let Err(e) = note(&ledger, &item, outcome) {
                        tracing::error!("what was told cannot be written down: {e}");
                        is_more = false;
                    }
                }
            }
            Err(e) => tracing::error!("notices that are due cannot be read: {e}"),
        }
        if *stop.borrow() {
            return;
        }
        if is_more {
            continue;
        }
        tokio::select! {
            () = due.notified() => {}
            () = tokio::time::sleep(POLL) => {}
            // An error means that whoever could say stop is gone: the same.
            _ = stop.changed() => {}
        }
    }
}

async fn deliver(
    notifier: &Notifier,
    illustrate: &Illustrate,
    due: &Due,
) -> Result<(), ChannelError> {
    let draw = illustrate.clone();
    let notice = due.notice.clone();
    let picture = tokio::task::spawn_blocking(move || draw(&notice)).await.unwrap_or(None);
    notifier.send_to(&due.channel, &due.notice, picture).await
}

/// Writes down what became of a notice.
fn note(ledger: &Ledger, due: &Due, outcome: Result<(), ChannelError>) -> Result<(), StoreError> {
    let now = now_ms();
    match outcome {
        Ok(()) => {
            tracing::info!(notice = due.notice.id, channel = due.channel, "told");
            ledger.settle(due.id, now, None)
        }
        Err(e) if e.permanent || now - due.notice.time_ms > GIVE_UP_MS => {
            tracing::error!(notice = due.notice.id, "given up: {e}");
            ledger.settle(due.id, now, Some(&e.to_string()))
        }
        Err(e) => {
            let pause = (1000i64 << due.n_tries.min(20)).min(PAUSE_MS_MAX);
            tracing::warn!(notice = due.notice.id, "not told, again in {} s: {e}", pause / 1000);
            ledger.postpone(due.id, now + pause, &e.to_string())
        }
    }
}
