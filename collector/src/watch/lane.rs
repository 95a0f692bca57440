//! One target of passive results: what waits for it, and who empties that.

use super::trouble::Health;
use crate::store::now_ms;
use rookery_alerts::passive::{CheckResult, HOST, PassiveConfig, Queue, Target};
use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};
use tokio::sync::Notify;

/// The longest pause between two tries.
const PAUSE_MAX: Duration = Duration::from_secs(60);
/// So many different notes of a target are logged once each.
const NOTED_MAX: usize = 100;
/// A target that fails for so long is told of in the log: Nagios may be reloading.
const PATIENCE: Duration = Duration::from_secs(20);

/// One target with what waits for it.
pub(super) struct Lane {
    pub target: Target,
    pub host: String,
    pub limits_only: bool,
    pub refresh: Duration,
    pub queue: Mutex<Queue>,
    pub ring: Notify,
}

impl Lane {
    /// Checks the target; the error names the key and the remedy.
    pub fn new(config: &PassiveConfig) -> Result<Lane, String> {
        Ok(Lane {
            target: Target::new(config)?,
            host: if config.host.is_empty() { HOST.to_owned() } else { config.host.clone() },
            limits_only: config.limits_only,
            refresh: Duration::from_millis(config.refresh_ms()?),
            queue: Mutex::new(Queue::default()),
            ring: Notify::new(),
        })
    }
}

pub(super) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Empties a lane's queue, again and again. Only a target that fails as a whole makes
/// results wait; those that it refuses by themselves keep none of the others.
pub(super) async fn send(lane: Arc<Lane>, health: Arc<Health>) {
    let what = format!("passive {}", lane.target.name());
    let mut failing: Option<(Instant, u32, bool)> = None;
    let mut noted: BTreeSet<String> = BTreeSet::new();
    // What it could not take and may take later, and how often there was such.
    let (mut again, mut n_again) = (Vec::new(), 0u32);
    loop {
        let all = lock(&lane.queue).drain();
        if all.is_empty() {
            if again.is_empty() {
                n_again = 0;
                lane.ring.notified().await;
                continue;
            }
            tokio::select! {
                () = lane.ring.notified() => {}
                () = tokio::time::sleep(pause(n_again)) => {}
            }
            n_again += 1;
            lock(&lane.queue).put_back(std::mem::take(&mut again));
            continue;
        }
        let name = lane.target.name();
        let (mut n_taken, mut n_refused) = (0, 0);
        let mut rest = all.into_iter();
        loop {
            let batch: Vec<CheckResult> = rest.by_ref().take(lane.target.batch()).collect();
            if batch.is_empty() {
                // One alone says nothing of the target.
                match n_taken == 0 && n_refused > 1 {
                    true => health.failed(&what, "it refuses all results", false, now_ms()),
                    false => health.works(&what),
                }
                break;
            }
            match lane.target.send(&batch).await {
                Ok(taken) => {
                    n_taken += taken.n_taken;
                    n_refused += taken.n_refused;
                    again.extend(taken.again);
                    if failing.take().is_some_and(|(_, _, is_told)| is_told) {
                        tracing::info!("{name}: results are taken again");
                    }
                    if noted.len() >= NOTED_MAX {
                        noted.clear();
                    }
                    if let Some(note) = taken.note
                        && noted.insert(note.clone())
                    {
                        tracing::warn!("{note}");
                    }
                }
                Err(e) => {
                    lock(&lane.queue).put_back(batch.into_iter().chain(rest).collect());
                    health.failed(&what, &e, false, now_ms());
                    let pause = note_failure(&mut failing, name, &e);
                    tokio::time::sleep(pause).await;
                    break;
                }
            }
        }
    }
}

/// How long to wait after so many failures.
fn pause(n_failures: u32) -> Duration {
    Duration::from_secs(1 << n_failures.min(10)).min(PAUSE_MAX)
}

/// Says in the log, once, that a target fails; how long to wait.
fn note_failure(failing: &mut Option<(Instant, u32, bool)>, name: &str, e: &str) -> Duration {
    let (since, n_tries, is_told) = failing.get_or_insert((Instant::now(), 0, false));
    *n_tries += 1;
    if !*is_told && since.elapsed() >= PATIENCE {
        *is_told = true;
        tracing::error!(
            "{name}: results are not taken ({e}); the newest of each service is kept and tried again"
        );
    } else {
        tracing::debug!("{name}: {e}");
    }
    pause(*n_tries - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// An Icinga that refuses one object with a status; gives those that it has taken.
    fn icinga(refused: &'static str, status: u16) -> (String, std::sync::mpsc::Receiver<String>) {
        use std::io::{BufRead, BufReader, Read, Write};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("binds");
        let url = format!("http://{}", listener.local_addr().expect("an address"));
        let (tx, rx) = std::sync::mpsc::channel();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let mut reader = BufReader::new(stream.expect("a stream"));
                let mut length = 0;
                loop {
                    let mut line = String::new();
                    reader.read_line(&mut line).expect("reads");
                    let line = line.trim().to_ascii_lowercase();
                    if let Some(n) = line.strip_prefix("content-length: ") {
                        length = n.parse().expect("a number");
                    }
                    if line.is_empty() {
                        break;
                    }
                }
                let mut body = vec![0; length];
                reader.read_exact(&mut body).expect("reads");
                let body: serde_json::Value = serde_json::from_slice(&body).expect("JSON");
                let place = body["service"].as_str().expect("a service").to_owned();
                let status = if place == refused { status } else { 200 };
                let text = format!(r#"{{"results":[{{"code":{status}}}]}}"#);
                let answer = format!(
                    "HTTP/1.1 {status} X\r\nConnection: close\r\nContent-Length: {}\r\n\r\n{text}",
                    text.len()
                );
                let _ = tx.send(format!("{place} {status}"));
                let _ = reader.get_mut().write_all(answer.as_bytes());
            }
        });
        (url, rx)
    }

    #[tokio::test]
    async fn what_icinga_refuses_of_one_object_keeps_none_of_the_others() {
        let dir = tempfile::tempdir().expect("tmp");
        let secret_file = dir.path().join("secret");
        std::fs::write(&secret_file, "pw").expect("writes");
        for status in [400, 403, 404, 409, 500] {
            let (url, got) = icinga("b!cpu", status);
            let config = PassiveConfig {
                kind: "icinga2".to_owned(),
                url,
                user: "r".to_owned(),
                secret_file: secret_file.clone(),
                batch: 2,
                ..PassiveConfig::default()
            };
            let lane = Arc::new(Lane::new(&config).expect("right"));
            for host in ["a", "b", "c", "d"] {
                lock(&lane.queue).push(CheckResult {
                    host: host.to_owned(),
                    service: Some("cpu".to_owned()),
                    ..CheckResult::default()
                });
            }
            let health = Arc::new(Health::default());
            let sender = tokio::spawn(send(lane, health.clone()));
            let all: Vec<String> = tokio::task::spawn_blocking(move || {
                let limit = Duration::from_secs(10);
                // Those that may be taken later come once more.
                let n = if matches!(status, 409 | 500) { 5 } else { 4 };
                (0..n).map(|_| got.recv_timeout(limit).expect("a request")).collect()
            })
            .await
            .expect("runs");
            let mut want = ["a!cpu 200", "c!cpu 200", "d!cpu 200"].map(str::to_owned).to_vec();
            let refused = format!("b!cpu {status}");
            assert_eq!(all.iter().filter(|p| **p == refused).count(), all.len() - 3, "{all:?}");
            want.retain(|w| !all.contains(w));
            assert!(want.is_empty(), "{status}: not sent: {want:?} of {all:?}");
            assert!(health.troubles().is_empty());
            sender.abort();
        }
    }
}
