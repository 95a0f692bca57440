//! The collector's front door: opens what a configuration says, and hands out
//! its parts to whoever composes them with pages and a listener.

use crate::auth::Auth;
use crate::borrow::{Borrow, Borrowed};
use crate::config::{self, Config};
use crate::events::Events;
use crate::history::{History, States};
use crate::munin::{self, Remote};
use crate::past::Past;
use crate::read::Reader;
use crate::store::{Shared, Store, StoreSettings};
use crate::tidy::Tidy;
use crate::watch::passive::{Changes, Reporter};
use crate::watch::trouble::Health;
use crate::watch::{self, Alerts, deliver};
use crate::{healthz, ingest, manage, metrics, quarantine};
use axum::Router;
use rookery_alerts::Notifier;
use std::path::PathBuf;
use std::sync::Arc;
use tokio::sync::{Notify, watch as signal};

/// An open collector.
pub struct Collector {
    store: Store,
    alerts: Alerts,
    events: Arc<Events>,
    token: String,
    notifier: Arc<Notifier>,
    due: Arc<Notify>,
    wanted: Arc<Notify>,
    data: PathBuf,
    tidy: Tidy,
    remotes: Vec<Remote>,
    reporter: Arc<Reporter>,
    health: Arc<Health>,
    borrowed: Vec<Borrowed>,
}

impl Collector {
    /// Opens history, rules and channels. The error is one line that names the
    /// thing and the place. Takes as long as the journal needs to be replayed.
    pub fn open(config: &Config) -> Result<Collector, String> {
        let rules = config.rules()?;
        for note in config.advice(&rules) {
            tracing::warn!("{note}");
        }
        let retention = config.retention()?;
        let remotes = config.remotes()?;
        remotes.notes.iter().for_each(|note| tracing::warn!("{note}"));
        let notifier = Arc::new(config.notifier(&rules)?);
        std::fs::create_dir_all(&config.data)
            .map_err(|e| format!("{}: {e}", config.data.display()))?;
        let token = config::token(config)?;
        let text = |e: crate::StoreError| e.to_string();
        // The lock is taken by the store: it comes first of all databases.
        let lock = Store::lock(&config.data).map_err(text)?;
        let (alerts, mut watcher) =
            watch::open(&config.data, rules, config.alerting.clone(), notifier.clone())
                .map_err(text)?;
        let events = Arc::new(Events::open(&config.data).map_err(text)?);
        watcher.watch_clock(crate::store::now_ms());
        let (due, wanted) = (watcher.due(), watcher.wanted());
        let changes = Arc::new(Changes::default());
        if !config.passive.is_empty() {
            watcher.note_changes(changes.clone());
        }
        let settings = StoreSettings::new(&config.data);
        let observer = watch::Identities::new(Box::new(watcher), events.clone());
        let store = Store::open_locked(settings, lock, Box::new(observer)).map_err(text)?;
        for (from, to) in crate::catalog::renames(&store.shared().nodes) {
            alerts.rename(&from, &to);
        }
        for (what, text) in quarantine::told(&config.data) {
            alerts.health().failed(&what, &text, true, crate::store::now_ms());
        }
        alerts.know(&store.shared().nodes.all());
        alerts.forget_retired(&store.shared().nodes.all());
        watch::aggregates::forget_strangers(
            &alerts,
            &store.shared().nodes.all(),
            &remotes.borrowed,
        );
        let data = config.data.clone();
        let (remotes, borrowed) = (remotes.nodes, remotes.borrowed);
        let tidy = Tidy::new(store.shared().clone(), &retention);
        let history = Arc::new(Reader::new(store.shared().clone()));
        let health = alerts.health();
        let reporter =
            Reporter::new(&config.passive, alerts.clone(), history, changes, health.clone())?;
        let reporter = Arc::new(reporter);
        Ok(Collector {
            store,
            alerts,
            events,
            token,
            notifier,
            due,
            wanted,
            data,
            tidy,
            remotes,
            reporter,
            health,
            borrowed,
        })
    }

    /// What agents must send.
    pub fn token(&self) -> &str {
        &self.token
    }

    /// Who may write.
    pub fn auth(&self) -> Auth {
        Auth::new(Some(&self.token))
    }

    /// For readers.
    pub fn history(&self) -> Arc<dyn History> {
        let past = Arc::new(Past::new(self.store.shared().clone()));
        Arc::new(Borrow::new(past, self.borrowed.clone()))
    }

    /// For those who ask what is wrong.
    pub fn states(&self) -> Arc<dyn States> {
        Arc::new(self.alerts.clone())
    }

    /// For those who read or add marks.
    pub fn events(&self) -> Arc<Events> {
        self.events.clone()
    }

    /// What the history's threads share.
    pub fn shared(&self) -> &Arc<Shared> {
        self.store.shared()
    }

    /// The routes of acknowledgements and downtimes, for scripts and for forms.
    pub fn desk(&self) -> Router {
        watch::hush::router(self.alerts.clone(), self.auth(), self.history())
            .merge(manage::router(self.store.shared().clone(), self.auth()))
    }

    /// The other routes that write, and `/metrics`.
    pub fn router(&self) -> Router {
        let auth = self.auth();
        ingest::router(self.store.shared().clone(), auth.clone())
            .merge(watch::why::router(self.alerts.clone(), self.data.clone()))
            .merge(self.tidy.clone().router(auth))
            .merge(metrics::router(self.store.shared().clone()))
            .merge(healthz::router(self.store.shared().clone()))
    }

    /// Empties the outbox until `stop`; runs beside the server.
    pub async fn tell(&self, illustrate: deliver::Illustrate, stop: signal::Receiver<bool>) {
        let shared = self.store.shared().clone();
        let beat = move || shared.pulses.beat(&shared.pulses.delivery);
        let postman = deliver::Postman {
            notifier: self.notifier.clone(),
            due: self.due.clone(),
            illustrate,
            alerts: self.alerts.clone(),
            history: self.history(),
            health: self.health.clone(),
            clock: Arc::new(crate::store::now_ms),
            beat: Arc::new(beat),
        };
        let always =
            watch::always::run(self.alerts.clone(), self.notifier.clone(), self.health.clone());
        let borrowed = self.borrowed.clone();
        let aggregates = watch::aggregates::run(
            self.alerts.clone(),
            self.store.shared().clone(),
            self.history(),
            borrowed,
        );
        let intake = watch::intake::run(self.store.shared().clone(), self.health.clone());
        let beside = [tokio::spawn(always), tokio::spawn(aggregates), tokio::spawn(intake)];
        deliver::run(&self.data, postman, stop).await;
        let pulses = &self.store.shared().pulses;
        pulses.rest(&pulses.delivery);
        beside.iter().for_each(tokio::task::JoinHandle::abort);
    }

    /// Tells the alert machine what it wants to know of the past, until it is dropped;
    /// runs beside the server.
    pub async fn learn(&self) {
        let past = Arc::new(Past::new(self.store.shared().clone()));
        let (alerts, history) = (self.alerts.clone(), Reader::new(self.store.shared().clone()));
        let recall = move || watch::recall::recall(&alerts, &history, crate::store::now_ms());
        if let Err(e) = tokio::task::spawn_blocking(recall).await {
            tracing::error!("BUG: reading when things came last broke off: {e}");
        }
        watch::learn::run(self.alerts.clone(), past, self.wanted.clone()).await;
    }

    /// Removes what need not be kept any longer, now and then, until it is
    /// dropped; runs beside the server.
    pub async fn tidy_up(&self) {
        self.tidy.run().await;
    }

    /// Sends passive results to Nagios and Icinga until it is dropped; runs beside the
    /// server.
    pub async fn report(&self) {
        self.reporter.clone().run().await;
    }

    /// Polls munin-nodes until it is dropped; runs beside the server.
    pub async fn poll(&self) {
        munin::run(self.store.shared().clone(), self.remotes.clone()).await;
    }

    /// Ends the threads; what was acknowledged is on disk already.
    pub fn close(&self) {
        self.store.close();
        quarantine::ended_well(&self.data);
    }
}
