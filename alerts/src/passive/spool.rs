//! Nagios' folder of check results (`check_result_path`): a file of `key=value`
//! blocks, `cXXXXXX`, and an empty `cXXXXXX.ok` beside it when it is whole.
//!
//! Nagios reads what lies there in no order, so there is never more than one file of
//! ours: results of the same service in two files could be taken the wrong way
//! round. One that is not read yet is taken back, and what it said is said again in the
//! next where nothing newer has come.

use super::{CheckResult, OUTPUT_BYTES_MAX, Queue, at};
use std::fmt::Write;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// A file's name: exactly seven bytes, the first a `c`; ours have the next two, too.
const PREFIX: &str = "cRk";
/// When nothing was read for so long, that is told.
const UNREAD_MAX: Duration = Duration::from_secs(120);

/// The folder.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
    last: Arc<Mutex<Last>>,
}

/// What is in the file that was written last.
#[derive(Debug, Default)]
struct Last {
    results: Vec<CheckResult>,
    /// Since when nothing was read.
    unread: Option<Instant>,
}

impl Spool {
    pub(super) fn new(path: PathBuf) -> Spool {
        Spool { path, last: Arc::default() }
    }

    /// Writes the batch as one file. Says so when nothing is read for long.
    pub(super) async fn send(&self, batch: &[CheckResult]) -> Result<Option<String>, String> {
        let (dir, batch, last) = (self.path.clone(), batch.to_vec(), self.last.clone());
        let work = move || {
            let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
            last.replace(&dir, batch)
        };
        match tokio::task::spawn_blocking(work).await {
            Ok(done) => done,
            Err(e) => Err(at(&self.path, &e)),
        }
    }
}

impl Last {
    fn replace(&mut self, dir: &Path, batch: Vec<CheckResult>) -> Result<Option<String>, String> {
        let is_unread = take_back(dir)?;
        let before = std::mem::take(&mut self.results);
        let mut all = Queue::default();
        batch.into_iter().for_each(|r| all.push(r));
        if is_unread {
            all.put_back(before);
        }
        self.results = all.drain();
        put(dir, &text(&self.results))?;
        let since = *self.unread.get_or_insert_with(Instant::now);
        if !is_unread {
            self.unread = Some(Instant::now());
            return Ok(None);
        }
        let is_long = since.elapsed() > UNREAD_MAX;
        Ok(is_long
            .then(|| at(dir, &"nobody reads it; does Nagios run, with this check_result_path?")))
    }
}

fn put(dir: &Path, text: &str) -> Result<(), String> {
    let folder = std::fs::metadata(dir).map_err(|e| at(dir, &e))?;
    let mut random = [0u8; 4];
    getrandom::fill(&mut random).map_err(|e| format!("no random numbers for a name: {e}"))?;
    let letters = random.iter().map(|b| char::from(b'A' + b % 26));
    let name: String = PREFIX.chars().chain(letters).collect();
    let (file, ok) = (dir.join(&name), dir.join(format!("{name}.ok")));
    let create = |path: &Path, text: &str| -> Result<(), String> {
        let mut out = std::fs::OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(0o660)
            .open(path)
            .map_err(|e| at(path, &e))?;
        let mine = out.metadata().map_err(|e| at(path, &e))?;
        out.write_all(text.as_bytes()).map_err(|e| at(path, &e))?;
        // Nagios must be able to read it: with its own user's folder, as that user's.
        if (mine.uid(), mine.gid()) != (folder.uid(), folder.gid())
            && let Err(e) = std::os::unix::fs::chown(path, Some(folder.uid()), Some(folder.gid()))
        {
            // A group that reads is enough where it cannot be given away.
            let group = std::os::unix::fs::chown(path, None, Some(folder.gid()));
            if group.is_err() && mine.gid() != folder.gid() {
                return Err(format!(
                    "{}: it cannot be given to the folder's owner ({e}); add the collector's \
                     user to the folder's group",
                    path.display()
                ));
            }
        }
        Ok(())
    };
    create(&file, text).and_then(|()| create(&ok, "")).inspect_err(|_| {
        // What is half done would be read for whole, or lie about.
        let _ = std::fs::remove_file(&ok);
        let _ = std::fs::remove_file(&file);
    })
}

/// Removes our file, if it is still there; whether it was.
fn take_back(dir: &Path) -> Result<bool, String> {
    let mut any = false;
    for entry in std::fs::read_dir(dir).map_err(|e| at(dir, &e))?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| n.starts_with(PREFIX) && n.len() == 7) else {
            continue;
        };
        // Without its mark it is not read any more. It may be read, and removed, at this
        // moment: then it is said twice, and nothing is lost.
        let _ = std::fs::remove_file(dir.join(format!("{name}.ok")));
        any |= std::fs::remove_file(entry.path()).is_ok();
    }
    Ok(any)
}

/// The file's text: a block a result, empty lines between.
fn text(batch: &[CheckResult]) -> String {
    let mut out = String::from("# Rookery\n");
    if let Some(first) = batch.first() {
        let _ = writeln!(out, "file_time={}", first.time_ms.div_euclid(1000));
    }
    for result in batch {
        let (s, us) = (result.time_ms.div_euclid(1000), result.time_ms.rem_euclid(1000) * 1000);
        // Writing to a String cannot fail.
        let _ = write!(out, "\nhost_name={}\n", result.host);
        if let Some(service) = &result.service {
            let _ = writeln!(out, "service_description={service}");
        }
        let _ = write!(
            out,
            "check_type=1\ncheck_options=0\nscheduled_check=0\nreschedule_check=0\nlatency=0.0\n\
             start_time={s}.{us}\nfinish_time={s}.{us}\nearly_timeout=0\nexited_ok=1\n\
             return_code={}\noutput={}\\n\n",
            result.code,
            result.output(OUTPUT_BYTES_MAX)
        );
    }
    out
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    fn files(dir: &Path) -> Vec<String> {
        let mut all: Vec<String> = std::fs::read_dir(dir)
            .expect("reads")
            .flatten()
            .map(|e| e.file_name().to_string_lossy().into_owned())
            .collect();
        all.sort();
        all
    }

    #[tokio::test]
    async fn one_file_at_a_time_and_what_was_not_read_is_said_again() {
        let dir = tempfile::tempdir().expect("dir");
        let spool = Spool::new(dir.path().to_owned());
        let text = "node is DOWN".to_owned();
        let host = CheckResult { service: None, code: 1, text, ..sample() };
        assert_eq!(spool.send(&[sample(), host.clone()]).await, Ok(None));
        let first = files(dir.path());
        assert_eq!((first.len(), first[0].len()), (2, 7), "{first:?}");
        assert_eq!(first[1], format!("{}.ok", first[0]));
        let read = |name: &str| std::fs::read_to_string(dir.path().join(name)).expect("reads");
        let text = read(&first[0]);
        let blocks: Vec<&str> = text.split("\n\n").collect();
        assert_eq!(blocks.len(), 3, "{text}");
        assert!(!blocks[1].contains("service_description"), "a host that is down first: {text}");
        assert!(blocks[2].starts_with("host_name=web1\nservice_description=cpu\ncheck_type=1\n"));
        assert!(blocks[2].contains("\nfinish_time=1763640000.123000\n"), "{text}");
        assert!(blocks[2].ends_with("'user'=95;80;90 'sys'=1\\n\n"), "{text}");
        // Not read: one file with the newest of each.
        let fine = CheckResult { code: 0, text: "CPU OK".to_owned(), ..sample() };
        assert_eq!(spool.send(&[fine]).await, Ok(None));
        let second = files(dir.path());
        assert!(second.len() == 2 && second != first, "{second:?}");
        let text = read(&second[0]);
        assert!(text.contains("output=CPU OK") && !text.contains("CRITICAL - c:"), "{text}");
        assert_eq!(text.matches("host_name=").count(), 2, "the host's is said again: {text}");
        for name in second {
            std::fs::remove_file(dir.path().join(name)).expect("Nagios has read it");
        }
        assert_eq!(spool.send(&[sample()]).await, Ok(None));
        let text = read(&files(dir.path())[0]);
        assert_eq!(text.matches("host_name=").count(), 1, "{text}");
        let gone = Spool::new(dir.path().join("none"));
        assert!(gone.send(&[sample()]).await.is_err_and(|e| e.contains("none: No such file")));
    }
}
