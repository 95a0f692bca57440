//! What the collector did not survive twice is set aside, so that the next start goes on.
//!
//! Before a frame is worked on its mark is written into the file `at-work`, where it is read
//! at the next start if the process ended on it, however: a panic, a signal, no memory.
//! What two of them in a row ended on is copied into `quarantine/` and left out from then on.
//! The same holds for the services of a node whose judging panicked; the note of that is
//! written on the way down. Deleting a file of `quarantine/` and a restart try it again.
//!
//! The mark is a write of some bytes into the page cache, once or twice a frame: not synced,
//! as it is for the death of the process, not of the machine.

use crate::disk;
use crate::store::StoreError;
use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// So many ends in a row on the same thing are no accident.
const ENDS: u32 = 2;
/// The file of the mark is always so long, bytes.
const MARK_BYTES: usize = 64;

/// A frame by its content: its own checksum, and its length.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Mark {
    crc: u32,
    len: u64,
}

impl Mark {
    fn of(frame: &[u8]) -> Mark {
        // It stands behind the frame's first four bytes; what has none is no frame.
        let crc = frame.get(4..8).and_then(|b| b.try_into().ok()).map_or(0, u32::from_le_bytes);
        Mark { crc, len: frame.len() as u64 }
    }

    fn name(self) -> String {
        format!("frame-{:08x}-{}", self.crc, self.len)
    }

    fn parse(name: &str) -> Option<Mark> {
        let (crc, len) = name.strip_prefix("frame-")?.split_once('-')?;
        Some(Mark { crc: u32::from_str_radix(crc, 16).ok()?, len: len.parse().ok()? })
    }
}

/// What is set aside, and what is at work.
pub struct Quarantine {
    dir: PathBuf,
    at_work: Option<File>,
    /// On what the process before ended, and how many did in a row.
    fallen: Option<(Mark, u32)>,
    aside: BTreeSet<Mark>,
    is_marked: bool,
}

impl Quarantine {
    /// Of the history in `dir`. Where the file cannot be written, nothing is marked: the disk
    /// is full, which must not keep the collector from starting.
    pub fn open(dir: &Path) -> Quarantine {
        let path = dir.join("at-work");
        let mut options = File::options();
        let at_work = options.read(true).write(true).create(true).truncate(false).open(&path);
        if let Err(e) = &at_work {
            tracing::warn!("{}: {e}: what ends the collector will not be known", path.display());
        }
        let at_work = at_work.ok();
        let fallen = at_work.as_ref().and_then(read_mark);
        let quarantine = dir.join("quarantine");
        let aside = names(&quarantine).filter_map(|n| Mark::parse(&n)).collect();
        Quarantine { dir: quarantine, at_work, fallen, aside, is_marked: false }
    }

    /// A frame is about to be worked on; false: it is set aside, and to be left out.
    pub fn begin(&mut self, frame: &[u8]) -> bool {
        let mark = Mark::of(frame);
        if self.aside.contains(&mark) {
            return false;
        }
        let n_ends = self.fallen.filter(|(m, _)| *m == mark).map_or(0, |(_, n)| n);
        if n_ends >= ENDS {
            self.fallen = None;
            return !self.set_aside(mark, frame);
        }
        self.write(&format!("{} {}", mark.name(), n_ends + 1));
        self.is_marked = true;
        true
    }

    /// Nothing is being worked on: all that was begun is survived.
    pub fn rest(&mut self) {
        if std::mem::take(&mut self.is_marked) {
            self.write("");
            self.fallen = None;
        }
    }

    fn write(&self, text: &str) {
        let mut line = [b' '; MARK_BYTES];
        let n = text.len().min(MARK_BYTES - 1);
        line[..n].copy_from_slice(&text.as_bytes()[..n]);
        line[MARK_BYTES - 1] = b'\n';
        // What cannot be marked is worked on all the same.
        if let Some(Err(e)) = self.at_work.as_ref().map(|f| f.write_all_at(&line, 0)) {
            tracing::debug!("at-work: {e}");
        }
    }

    fn set_aside(&mut self, mark: Mark, frame: &[u8]) -> bool {
        let path = self.dir.join(mark.name());
        let saved = disk::make_dir(&self.dir)
            .and_then(|()| std::fs::write(&path, frame).map_err(|e| StoreError::io(&path, e)));
        if let Err(e) = saved {
            tracing::error!("FATAL: a frame that ends the collector cannot be set aside: {e}");
            return false;
        }
        tracing::error!(
            "FATAL: {ENDS} starts in a row ended on a frame of {} bytes: it is {} now and left out; \
             please report it with that file",
            mark.len,
            path.display()
        );
        self.aside.insert(mark);
        true
    }
}

fn read_mark(file: &File) -> Option<(Mark, u32)> {
    let mut line = [0; MARK_BYTES];
    let n = file.read_at(&mut line, 0).ok()?;
    let text = std::str::from_utf8(&line[..n]).ok()?;
    let (name, n_ends) = text.trim().rsplit_once(' ')?;
    Some((Mark::parse(name)?, n_ends.parse().ok()?))
}

/// The names of a folder's files; one that is not there has none.
fn names(dir: &Path) -> impl Iterator<Item = String> {
    let files = std::fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    files.filter_map(|f| f.file_name().into_string().ok())
}

/// What is set aside of the history in `dir`, a line each, for people.
pub fn told(dir: &Path) -> Vec<(String, String)> {
    let quarantine = dir.join("quarantine");
    let one = |name: String| {
        let path = quarantine.join(&name).display().to_string();
        let what =
            if Mark::parse(&name).is_some() { "a frame" } else { "the judging of a service" };
        let text = format!(
            "two starts in a row ended on {what}, which is left out since: please report it with \
             {path}; deleted, it is tried again at the next start"
        );
        (format!("quarantine {name}"), text)
    };
    names(&quarantine).map(one).collect()
}

/// The services of a node, by their layout, whose judging is left out.
#[derive(Default)]
pub struct Judging {
    dir: PathBuf,
    aside: BTreeSet<String>,
}

impl Judging {
    /// Of the history in `dir`: what two panics in a row came from is set aside now.
    pub fn open(dir: &Path) -> Judging {
        let quarantine = dir.join("quarantine");
        let aside = names(&quarantine).filter(|n| n.starts_with("judging-")).collect();
        let mut judging = Judging { dir: dir.to_owned(), aside };
        if let Some((name, n_ends, node)) = read_note(dir).filter(|(_, n, _)| *n >= ENDS) {
            let path = quarantine.join(&name);
            let moved = disk::make_dir(&quarantine).and_then(|()| {
                std::fs::rename(dir.join(NOTE), &path).map_err(|e| StoreError::io(&path, e))
            });
            match moved {
                Ok(()) => {
                    tracing::error!(
                        "FATAL: {n_ends} starts in a row ended on judging services of {node:?}: \
                         they are judged no more; please report it with {} and the rules",
                        path.display()
                    );
                    judging.aside.insert(name);
                }
                Err(e) => tracing::error!("FATAL: what ends the collector is not set aside: {e}"),
            }
        }
        judging
    }

    /// Whether rows of this layout of a node are judged.
    pub fn is_judged(&self, node: &str, layout: u64) -> bool {
        self.aside.is_empty() || !self.aside.contains(&name_of(node, layout))
    }

    /// To be held while a row is judged.
    pub fn begin<'a>(&'a self, node: &'a str, layout: u64) -> Judged<'a> {
        Judged { dir: &self.dir, node, layout }
    }
}

/// Where it is noted on what a judging panicked.
const NOTE: &str = "judged-last";

fn name_of(node: &str, layout: u64) -> String {
    format!("judging-{:08x}-{layout:016x}", crc32fast::hash(node.as_bytes()))
}

/// The name, how many panics in a row, and the node.
fn read_note(dir: &Path) -> Option<(String, u32, String)> {
    let text = std::fs::read_to_string(dir.join(NOTE)).ok()?;
    let (head, node) = text.split_once('\n')?;
    let (name, n_ends) = head.split_once(' ')?;
    let is_name = name.starts_with("judging-") && !name.contains('/');
    is_name.then_some((name.to_owned(), n_ends.parse().ok()?, node.trim().to_owned()))
}

/// The collector ends as it should: what it panicked on before was no series.
pub fn ended_well(dir: &Path) {
    // Nothing is there, as a rule.
    let _ = std::fs::remove_file(dir.join(NOTE));
}

/// Notes on what its thread panics.
pub struct Judged<'a> {
    dir: &'a Path,
    node: &'a str,
    layout: u64,
}

impl Drop for Judged<'_> {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            return;
        }
        let name = name_of(self.node, self.layout);
        let before = read_note(self.dir).filter(|(n, _, _)| *n == name).map_or(0, |(_, n, _)| n);
        let text = format!("{name} {}\n{}\n", before + 1, self.node);
        if let Err(e) = std::fs::write(self.dir.join(NOTE), text) {
            tracing::error!("what panicked cannot be noted: {e}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(n: u8) -> Vec<u8> {
        [b"RKB1".as_slice(), &[n, 0, 0, 0], b"content", &[n]].concat()
    }

    #[test]
    fn what_two_ends_in_a_row_were_on_is_set_aside_with_its_bytes() {
        let dir = tempfile::tempdir().expect("tmp");
        let start = || Quarantine::open(dir.path());
        // It ends on the second frame; the next start as well.
        for _ in 0..2 {
            let mut q = start();
            assert!(q.begin(&frame(1)) && q.begin(&frame(2)));
        }
        let mut q = start();
        assert!(q.begin(&frame(1)));
        assert!(!q.begin(&frame(2)), "set aside");
        assert!(q.begin(&frame(3)));
        q.rest();
        let told = told(dir.path());
        assert_eq!(told.len(), 1);
        let (name, text) = &told[0];
        let file =
            dir.path().join("quarantine").join(name.strip_prefix("quarantine ").expect("a name"));
        assert_eq!(std::fs::read(&file).expect("is there"), frame(2));
        assert!(text.contains(&file.display().to_string()), "{text}");
        let mut q = start();
        assert!(!q.begin(&frame(2)) && q.begin(&frame(1)), "also later");
        drop(q);
        std::fs::remove_file(&file).expect("is there");
        assert!(start().begin(&frame(2)), "tried again");
    }

    #[test]
    fn an_end_now_and_then_sets_nothing_aside() {
        let dir = tempfile::tempdir().expect("tmp");
        for n in 0..6 {
            let mut q = Quarantine::open(dir.path());
            assert!(q.begin(&frame(7)), "{n}: the process is killed on it");
            drop(q);
            let mut q = Quarantine::open(dir.path());
            assert!(q.begin(&frame(7)) && q.begin(&frame(8)), "{n}");
            q.rest();
        }
        // Whatever stands in the file.
        for text in ["", "frame-xyz 3", "frame-00000001-99999999999999999999 2", "\0\u{fffd}"] {
            std::fs::write(dir.path().join("at-work"), text).expect("writes");
            assert!(Quarantine::open(dir.path()).begin(&frame(1)), "{text:?}");
        }
        assert!(told(dir.path()).is_empty());
    }

    #[test]
    fn services_whose_judging_panics_twice_in_a_row_are_judged_no_more() {
        let dir = tempfile::tempdir().expect("tmp");
        let panic_on = |node: &'static str| {
            let judging = Judging::open(dir.path());
            let panics = std::thread::spawn(move || {
                let _judged = judging.begin(node, 7);
                panic!("on purpose");
            });
            assert!(panics.join().is_err());
        };
        panic_on("a");
        panic_on("b");
        assert!(Judging::open(dir.path()).is_judged("b", 7), "once only");
        panic_on("b");
        let judging = Judging::open(dir.path());
        assert!(!judging.is_judged("b", 7) && judging.is_judged("b", 8));
        assert!(judging.is_judged("a", 7));
        assert!(!Judging::open(dir.path()).is_judged("b", 7), "also later");
        panic_on("a");
        ended_well(dir.path());
        panic_on("a");
        assert!(Judging::open(dir.path()).is_judged("a", 7), "not in a row");
    }
}
