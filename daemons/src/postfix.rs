//! Postfix' queues: how many messages lie in each folder of its spool (qmgr(8),
//! QSHAPE_README). Counted, never opened; sub-folders (`deferred/0` to `F`) count.

use crate::support::{Daemon, Sheet, probe, settings};
use rookery_plugins::{Draw, FieldSpec, Host, ProbeEntry, ProbeError, ServiceSpec};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "postfix",
    about: "mail queues: active, deferred, hold, incoming, maildrop (/var/spool/postfix)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let given = own.spool.is_some();
        let spool = own.spool.unwrap_or_else(|| "/var/spool/postfix".into());
        Ok(probe(Postfix { spool, given }))
    },
};

/// Queues as Munin's postfix_mailqueue names them, in the order of a message's way.
const QUEUES: [(&str, &str, Draw, &str); 6] = [
    ("maildrop", "maildrop", Draw::Area, "Handed in on this host, not yet taken up"),
    ("incoming", "incoming", Draw::Stack, "Taken in, not yet being delivered"),
    ("active", "active", Draw::Stack, "Being delivered"),
    ("deferred", "deferred", Draw::Stack, "Could not be delivered, and will be tried again"),
    ("corrupt", "corrupt", Draw::Stack, "Unreadable; somebody has to look at them"),
    ("hold", "held", Draw::Stack, "Kept until somebody lets them go"),
];

/// The most messages that are counted in a queue: then it is that many or more.
const MESSAGES_MAX: u64 = 1_000_000;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    spool: Option<PathBuf>,
}

struct Postfix {
    spool: PathBuf,
    given: bool,
}

impl Daemon for Postfix {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let mut counts = Vec::with_capacity(QUEUES.len());
        for (queue, ..) in QUEUES {
            let mut n = 0;
            match count(&self.spool.join(queue), 0, &mut n) {
                Ok(()) => counts.push(Some(n)),
                // Not every installation has every queue.
                Err(e) if e.kind() == std::io::ErrorKind::NotFound => counts.push(None),
                Err(e) => {
                    return Err(ProbeError::Failed(format!(
                        "postfix: {}/{queue}: {e}; let the agent read it (it runs as root, or \
                         with CAP_DAC_READ_SEARCH)",
                        self.spool.display()
                    )));
                }
            }
        }
        if counts.iter().all(Option::is_none) {
            let text = format!("postfix: {}: no queues", self.spool.display());
            return Err(if self.given {
                ProbeError::Failed(text)
            } else {
                ProbeError::NotHere(text)
            });
        }
        let mut service = sheet.service("postfix_mailqueue", |n| {
            ServiceSpec::new(n, "Postfix queues", "mail")
                .vlabel("messages")
                .args("-l 0 --base 1000")
                .info("Messages in each queue. Many deferred ones: others do not take our mail.")
        });
        for ((name, label, draw, info), n) in QUEUES.into_iter().zip(counts) {
            service.field(name, n, |field| FieldSpec::gauge(field, label).draw(draw).info(info));
        }
        Ok(())
    }

    fn step_min(&self) -> Option<Duration> {
        Some(Duration::from_secs(60))
    }
}

/// Adds the files of a folder and of its folders.
fn count(dir: &Path, depth: u32, n: &mut u64) -> std::io::Result<()> {
    // hash_queue_depth is 1 or 2.
    const DEPTH_MAX: u32 = 3;
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        match entry.file_type() {
            Ok(kind) if kind.is_dir() && depth < DEPTH_MAX => {
                match count(&entry.path(), depth + 1, n) {
                    // It went away between the two looks.
                    Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
                    other => other?,
                }
            }
            Ok(kind) if kind.is_file() => *n += 1,
            _ => {}
        }
        if *n >= MESSAGES_MAX {
            return Ok(());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use crate::support::testing::{ask, make};
    use rookery_plugins::Value;

    #[test]
    fn messages_are_counted_in_all_folders() {
        let dir = tempfile::tempdir().expect("tmp");
        for folder in ["active", "deferred/0/1", "deferred/F", "incoming", "hold"] {
            std::fs::create_dir_all(dir.path().join(folder)).expect("a folder");
        }
        for file in ["active/1", "deferred/0/1/2", "deferred/0/3", "deferred/F/4", "hold/5"] {
            std::fs::write(dir.path().join(file), "").expect("writes");
        }
        let mut probe = make("postfix", &format!("spool = {:?}", dir.path()));
        let (_, values) = ask(probe.as_mut()).expect("counts");
        for (queue, want) in [
            ("active", Value::Int(1)),
            ("deferred", Value::Int(3)),
            ("incoming", Value::Int(0)),
            ("maildrop", Value::Unknown),
        ] {
            assert_eq!(values[&format!("postfix_mailqueue.{queue}")], want, "{queue}");
        }
        let mut probe = make("postfix", "spool = \"/no/such\"");
        assert!(ask(probe.as_mut()).is_err_and(|e| e.to_string().contains("/no/such: no queues")));
    }
}
