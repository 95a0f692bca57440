//! Nagios' folder of check results (`check_result_path`): a file of `key=value`
//! blocks, `cXXXXXX`, and an empty `cXXXXXX.ok` beside it when it is whole.
//!
//! Nagios reads what lies there in no order, so there is never more than one file of
//! ours: results of the same service in two files could be taken the wrong way
//! round. While it is not read, the rest waits; when it grows old, it is replaced.

use super::{CheckResult, OUTPUT_BYTES_MAX, at};
use std::fmt::Write;
use std::io::Write as _;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

/// A file's name: exactly seven bytes, the first a `c`; ours have the next two, too.
const PREFIX: &str = "cRk";
/// A file that was not read for so long is replaced by newer results.
const UNREAD_MAX: Duration = Duration::from_secs(30);

/// The folder.
#[derive(Debug)]
pub(super) struct Spool {
    path: PathBuf,
}

impl Spool {
    pub(super) fn new(path: PathBuf) -> Spool {
        Spool { path }
    }

    /// Writes the batch as one file; an error while the one before is not read.
    pub(super) async fn send(&self, batch: &[CheckResult]) -> Result<(), String> {
        let (dir, text) = (self.path.clone(), text(batch));
        match tokio::task::spawn_blocking(move || put(&dir, &text)).await {
            Ok(done) => done,
            Err(e) => Err(at(&self.path, &e)),
        }
    }
}

fn put(dir: &Path, text: &str) -> Result<(), String> {
    let folder = std::fs::metadata(dir).map_err(|e| at(dir, &e))?;
    make_room(dir)?;
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

/// Removes an old file that was not read; an error while there is a young one.
fn make_room(dir: &Path) -> Result<(), String> {
    for entry in std::fs::read_dir(dir).map_err(|e| at(dir, &e))?.flatten() {
        let name = entry.file_name();
        let Some(name) = name.to_str().filter(|n| n.starts_with(PREFIX) && n.len() == 7) else {
            continue;
        };
        let age = entry.metadata().ok().and_then(|m| m.modified().ok()?.elapsed().ok());
        if age.is_some_and(|age| age < UNREAD_MAX) {
            return Err(at(dir, &format!("{name} is not read yet")));
        }
        // It may be read, and removed, at this moment.
        let _ = std::fs::remove_file(dir.join(format!("{name}.ok")));
        let _ = std::fs::remove_file(entry.path());
    }
    Ok(())
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
    async fn one_file_at_a_time_and_an_old_one_is_replaced() {
        let dir = tempfile::tempdir().expect("dir");
        let spool = Spool::new(dir.path().to_owned());
        let host = CheckResult { service: None, code: 1, ..sample() };
        spool.send(&[sample(), host]).await.expect("writes");
        let first = files(dir.path());
        assert_eq!((first.len(), first[0].len()), (2, 7), "{first:?}");
        assert_eq!(first[1], format!("{}.ok", first[0]));
        let text = std::fs::read_to_string(dir.path().join(&first[0])).expect("reads");
        let blocks: Vec<&str> = text.split("\n\n").collect();
        assert_eq!(blocks.len(), 3, "{text}");
        assert!(blocks[1].starts_with("host_name=web1\nservice_description=cpu\ncheck_type=1\n"));
        assert!(blocks[1].contains("\nfinish_time=1763640000.123000\n"), "{text}");
        assert!(blocks[1].ends_with("'user'=95;80;90 'sys'=1\\n"), "{text}");
        assert!(!blocks[2].contains("service_description"), "{text}");
        let e = spool.send(&[sample()]).await.expect_err("the first is there");
        assert!(e.contains("is not read yet"), "{e}");
        let old = std::time::SystemTime::now() - UNREAD_MAX - Duration::from_secs(1);
        let file = std::fs::File::options().write(true).open(dir.path().join(&first[0]));
        file.expect("opens").set_modified(old).expect("sets");
        spool.send(&[sample()]).await.expect("replaces");
        let second = files(dir.path());
        assert!(second.len() == 2 && second != first, "{second:?}");
        for name in second {
            std::fs::remove_file(dir.path().join(name)).expect("Nagios has read it");
        }
        spool.send(&[sample()]).await.expect("writes");
        let gone = Spool::new(dir.path().join("none"));
        assert!(gone.send(&[sample()]).await.is_err_and(|e| e.contains("none: No such file")));
    }
}
