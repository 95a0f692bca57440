//! Contacts of a `munin.conf` with `always_send`: told in each cycle how the services in
//! these states stand, changed or not, as munin-limits tells them.
//!
//! This is not written down first, as news are: what could not be told is told by the
//! next cycle.

use super::Alerts;
use super::trouble::Health;
use crate::store::now_ms;
use rookery_alerts::{Notice, Notifier};
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Runs until it is dropped.
pub async fn run(alerts: Alerts, notifier: Arc<Notifier>, health: Arc<Health>) {
    let mut tasks = JoinSet::new();
    for (channel, every_ms) in notifier.repeated() {
        let (alerts, notifier, health) = (alerts.clone(), notifier.clone(), health.clone());
        tasks.spawn(async move {
            let mut cycle = tokio::time::interval(Duration::from_millis(every_ms));
            cycle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            // The first is at once, when nothing is known yet.
            cycle.tick().await;
            loop {
                cycle.tick().await;
                tell(&alerts, &notifier, &health, &channel).await;
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// One cycle of one contact.
async fn tell(alerts: &Alerts, notifier: &Notifier, health: &Health, channel: &str) {
    let all = alerts.live().machine.standing(now_ms());
    let told: Vec<&Notice> = all.iter().filter(|n| notifier.repeats(channel, n)).collect();
    let mut rest = &told[..];
    while !rest.is_empty() {
        let n = notifier.run_len(channel, rest);
        match notifier.send_run(channel, &rest[..n]).await {
            Ok(()) => health.works(channel),
            Err(e) => {
                tracing::warn!("told again by the next cycle: {e}");
                return health.failed(channel, &e.message, e.permanent, now_ms());
            }
        }
        rest = &rest[n..];
    }
}
