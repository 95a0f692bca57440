//! Following a file that grows, is rotated, or is cut.
//!
//! The file is kept open. What is there at the first look is passed over; after
//! it the file is read to its end at each call, at most [`READ_BYTES_MAX`] at a
//! time. When another file has taken its name, the old one is read to its end
//! first, and the new one from its beginning. A file that has become shorter than
//! what was read of it was cut, and is read from its beginning.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::PathBuf;

/// The most that one call reads of a file: 16 MiB; the rest waits.
pub const READ_BYTES_MAX: u64 = 16 << 20;
/// A longer line is not a line: it is skipped to its end. Bytes.
pub const LINE_BYTES_MAX: usize = 64 << 10;
/// The most files.
pub const FILES_MAX: usize = 100;

const CHUNK: usize = 64 << 10;

/// A file by its name.
#[derive(Debug)]
pub struct Follower {
    path: PathBuf,
    open: Option<Open>,
    /// Whether it was looked for before: a new one is then read whole.
    looked: bool,
    buf: Vec<u8>,
}

#[derive(Debug)]
struct Open {
    file: File,
    inode: (u64, u64),
    at: u64,
    /// The beginning of a line whose end has not come.
    begun: Vec<u8>,
    /// The line is too long; it is skipped.
    skipping: bool,
}

impl Open {
    fn new(file: File, from_end: bool) -> io::Result<Open> {
        let about = file.metadata()?;
        let at = if from_end { about.len() } else { 0 };
        let inode = (about.dev(), about.ino());
        Ok(Open { file, inode, at, begun: Vec::new(), skipping: false })
    }

    /// Reads up to `limit` bytes and hands out whole lines without their ends;
    /// how many bytes are left.
    fn read(
        &mut self,
        limit: u64,
        buf: &mut Vec<u8>,
        take: &mut impl FnMut(&[u8]),
    ) -> io::Result<u64> {
        let len = self.file.metadata()?.len();
        if len < self.at {
            (self.at, self.skipping) = (0, false);
            self.begun.clear();
        }
        buf.resize(CHUNK, 0);
        let end = len.min(self.at.saturating_add(limit));
        while self.at < end {
            let want = (end - self.at).min(CHUNK as u64) as usize;
            let n = self.file.read_at(&mut buf[..want], self.at)?;
            if n == 0 {
                break;
            }
            self.at += n as u64;
            let mut rest = &buf[..n];
            while let Some(at) = rest.iter().position(|b| *b == b'\n') {
                let line = &rest[..at];
                rest = &rest[at + 1..];
                if std::mem::take(&mut self.skipping) {
                    continue;
                }
                match self.begun.is_empty() {
                    true => take(line),
                    false => {
                        self.begun.extend_from_slice(line);
                        take(&self.begun);
                        self.begun.clear();
                    }
                }
            }
            if !self.skipping {
                self.begun.extend_from_slice(rest);
            }
            if self.begun.len() > LINE_BYTES_MAX {
                self.begun.clear();
                self.skipping = true;
            }
        }
        Ok(len.saturating_sub(self.at))
    }
}

impl Follower {
    /// One for each file.
    pub fn all(files: &[String]) -> Result<Vec<Follower>, String> {
        if files.len() > FILES_MAX {
            return Err(format!("files: at most {FILES_MAX}"));
        }
        let one = |file: &String| match file.starts_with('/') {
            false => Err(format!("files: {file:?}: write the whole path")),
            true => Ok(Follower { path: file.into(), open: None, looked: false, buf: vec![] }),
        };
        files.iter().map(one).collect()
    }

    /// Hands out the lines that have come since the last call; how many bytes are
    /// left for the next. The error names the file.
    pub fn read(&mut self, mut take: impl FnMut(&[u8])) -> Result<u64, String> {
        let read = self.read_all(&mut take);
        self.looked = true;
        read.map_err(|e| format!("{}: {e}", self.path.display()))
    }

    fn read_all(&mut self, take: &mut impl FnMut(&[u8])) -> io::Result<u64> {
        let there = std::fs::metadata(&self.path);
        if let Some(open) = &mut self.open {
            let left = open.read(READ_BYTES_MAX, &mut self.buf, take)?;
            let same = there.as_ref().is_ok_and(|m| (m.dev(), m.ino()) == open.inode);
            // Until another one has its name, it is the one.
            if same || there.is_err() || left > 0 {
                return Ok(left);
            }
        }
        let mut open = Open::new(File::open(&self.path)?, !self.looked)?;
        let left = open.read(READ_BYTES_MAX, &mut self.buf, take)?;
        self.open = Some(open);
        Ok(left)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::io::Write;
    use std::path::Path;

    fn follower(path: &Path) -> Follower {
        Follower::all(&[path.display().to_string()]).expect("a file").remove(0)
    }

    fn append(path: &Path, text: &str) {
        let mut options = std::fs::OpenOptions::new();
        let mut file = options.append(true).create(true).open(path).expect("opens");
        file.write_all(text.as_bytes()).expect("writes");
    }

    fn lines(f: &mut Follower) -> Vec<String> {
        let mut all = vec![];
        f.read(|line| all.push(String::from_utf8_lossy(line).into_owned())).expect("reads");
        all
    }

    #[test]
    fn rotated_cut_and_late_files_are_read_once() {
        let dir = tempfile::tempdir().expect("tmp");
        let path = dir.path().join("log");
        let mut f = follower(&path);
        assert!(f.read(|_| {}).is_err_and(|e| e.contains("log")));
        append(&path, "a\nb");
        assert_eq!(lines(&mut f), ["a"], "it came after the first look");
        append(&path, "b\nc\n");
        assert_eq!(lines(&mut f), ["bb", "c"]);
        // Rotated: the rest of the old one comes before the new one.
        std::fs::rename(&path, dir.path().join("log.1")).expect("renames");
        append(&dir.path().join("log.1"), "d\n");
        assert_eq!(lines(&mut f), ["d"]);
        append(&dir.path().join("log.1"), "e\n");
        append(&path, "f\n");
        assert_eq!(lines(&mut f), ["e", "f"]);
        // Cut, as copytruncate does.
        std::fs::write(&path, "").expect("cuts");
        assert_eq!(lines(&mut f), [""; 0]);
        append(&path, "g\n");
        assert_eq!(lines(&mut f), ["g"]);
        let mut late = follower(&path);
        assert_eq!(lines(&mut late), [""; 0], "what was there before does not count");
        append(&path, "h\n");
        assert_eq!(lines(&mut late), ["h"]);
    }

    #[test]
    fn endless_lines_are_skipped_and_much_waits() {
        let dir = tempfile::tempdir().expect("tmp");
        let path = dir.path().join("log");
        append(&path, "");
        let mut f = follower(&path);
        assert_eq!(lines(&mut f), [""; 0]);
        append(&path, &"x".repeat(3 * LINE_BYTES_MAX));
        assert_eq!(lines(&mut f), [""; 0]);
        append(&path, "y\nz\n");
        assert_eq!(lines(&mut f), ["z"]);
        let line = format!("{}\n", "w".repeat(1023));
        append(&path, &line.repeat(20 << 10));
        let mut n = 0;
        let left = f.read(|_| n += 1).expect("reads");
        assert_eq!((n, left), (16 << 10, 4 << 20));
        assert_eq!(lines(&mut f).len(), 4 << 10);
    }

    proptest! {
        #[test]
        fn pieces_make_the_same_lines(text in "[a\n]{0,300}", cuts in proptest::collection::vec(0usize..300, 0..5)) {
            let dir = tempfile::tempdir().expect("tmp");
            let path = dir.path().join("log");
            append(&path, "");
            let mut f = follower(&path);
            let mut got = lines(&mut f);
            let mut cuts: Vec<usize> = cuts.into_iter().filter(|c| *c <= text.len()).collect();
            cuts.extend([0, text.len()]);
            cuts.sort_unstable();
            for pair in cuts.windows(2) {
                append(&path, &text[pair[0]..pair[1]]);
                got.extend(lines(&mut f));
            }
            let whole = text.rfind('\n').map_or("", |at| &text[..at + 1]);
            let want: Vec<&str> = whole.split_terminator('\n').collect();
            prop_assert_eq!(got, want);
        }
    }
}
