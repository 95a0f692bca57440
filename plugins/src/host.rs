//! The host that probes read, as a value.
//!
//! Every path goes through [`Host`], so that a recorded machine can stand in
//! for the real one.

use crate::ProbeError;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

/// The roots of a host's files.
#[derive(Clone, Debug)]
pub struct Host {
    /// Where /proc is.
    pub proc: PathBuf,
    /// Where /sys is.
    pub sys: PathBuf,
}

impl Default for Host {
    fn default() -> Host {
        Host { proc: PathBuf::from("/proc"), sys: PathBuf::from("/sys") }
    }
}

impl Host {
    /// A path below /proc.
    pub fn proc(&self, rest: impl AsRef<Path>) -> PathBuf {
        self.proc.join(rest)
    }

    /// A path below /sys.
    pub fn sys(&self, rest: impl AsRef<Path>) -> PathBuf {
        self.sys.join(rest)
    }

    /// A file below /proc, to be read each cycle.
    pub fn hot_proc(&self, rest: impl AsRef<Path>) -> HotFile {
        HotFile::new(self.proc(rest))
    }

    /// A file below /sys, to be read each cycle.
    pub fn hot_sys(&self, rest: impl AsRef<Path>) -> HotFile {
        HotFile::new(self.sys(rest))
    }

    /// Whether this is the machine that the process runs on, so that system
    /// calls (statvfs) speak of the same host as the files.
    pub fn is_live(&self) -> bool {
        self.proc == Path::new("/proc")
    }
}

/// The buffer that a [`HotFile`] starts with: a page, which most files fit.
const HOT_FILE_BYTES_FIRST: usize = 4096;

/// The longest file that is read whole: 16 MiB, some hundred times the longest
/// seen. A power of two times [`HOT_FILE_BYTES_FIRST`].
pub const HOT_FILE_BYTES_MAX: usize = 16 << 20;

/// A file of /proc or /sys that is kept open and read again from its start
/// each cycle: half the cost of opening it anew.
#[derive(Debug, Default)]
pub struct HotFile {
    path: PathBuf,
    file: Option<File>,
    buf: Vec<u8>,
}

impl HotFile {
    /// Names the file; it is opened at the first reading.
    pub fn new(path: PathBuf) -> HotFile {
        HotFile { path, file: None, buf: Vec::new() }
    }

    /// The whole file as it is now. After an error the next call opens it
    /// again.
    pub fn read(&mut self) -> io::Result<&[u8]> {
        let len = self.fill()?;
        Ok(&self.buf[..len])
    }

    /// As [`HotFile::read`], with an error that names the file: one that is
    /// absent means that the thing to watch is not here.
    pub fn text(&mut self) -> Result<&[u8], ProbeError> {
        match self.fill() {
            Ok(len) => Ok(&self.buf[..len]),
            Err(e) => Err(ProbeError::file(&self.path, &e)),
        }
    }

    /// The error for a file that was read and makes no sense.
    pub fn malformed(&self, what: &str) -> ProbeError {
        ProbeError::Failed(format!(
            "{}: {what}; if this is what the kernel prints, please report it",
            self.path.display()
        ))
    }

    /// Reads into `buf`; how many bytes.
    fn fill(&mut self) -> io::Result<usize> {
        let file = match self.file.take() {
            Some(file) => file,
            None => File::open(&self.path)?,
        };
        if self.buf.is_empty() {
            self.buf.resize(HOT_FILE_BYTES_FIRST, 0);
        }
        let mut len = 0;
        loop {
            if len == HOT_FILE_BYTES_MAX {
                let text = format!("longer than the limit of {HOT_FILE_BYTES_MAX} bytes");
                return Err(io::Error::new(io::ErrorKind::FileTooLarge, text));
            }
            if len == self.buf.len() {
                self.buf.resize(len * 2, 0);
            }
            match file.read_at(&mut self.buf[len..], len as u64)? {
                0 => break,
                n => len += n,
            }
        }
        self.file = Some(file);
        Ok(len)
    }

    /// The path it was made with.
    pub fn path(&self) -> &Path {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn hot_file_sees_what_changed_and_grows() {
        let mut tmp = tempfile::NamedTempFile::new().expect("tmp");
        tmp.write_all(b"one").expect("write");
        let mut hot = HotFile::new(tmp.path().to_owned());
        assert_eq!(hot.read().expect("read"), b"one");
        tmp.write_all(&vec![b'x'; 10_000]).expect("write");
        assert_eq!(hot.read().expect("read").len(), 10_003);
    }

    #[test]
    fn a_missing_file_is_an_error_each_time() {
        let mut hot = HotFile::new("/nonexistent/file".into());
        assert!(hot.read().is_err());
        assert!(hot.read().is_err());
    }
}
