//! Nagios' command file: a named pipe that takes one command a line
//! (`[epoch] PROCESS_SERVICE_CHECK_RESULT;host;service;code;output`).

use super::{CheckResult, OUTPUT_BYTES_MAX, at};
use std::fmt::Write;
use std::path::PathBuf;
use std::time::Duration;
use tokio::net::unix::pipe;

/// What a pipe takes as a whole or not at all: PIPE_BUF of Linux. Lines of several
/// writers do not mix.
const PIPE_BYTES: usize = 4096;
/// What is left of it for an output, beside names and time.
pub(super) const OUTPUT_BYTES: usize = PIPE_BYTES - 600;
/// How long Nagios may take to make room in the pipe.
const PATIENCE: Duration = Duration::from_secs(5);

/// Nagios' command file.
#[derive(Debug)]
pub(super) struct Pipe {
    path: PathBuf,
}

impl Pipe {
    pub(super) fn new(path: PathBuf) -> Pipe {
        Pipe { path }
    }

    /// Writes the batch. A pipe that nobody reads is an error at once, never a wait.
    pub(super) async fn send(&self, batch: &[CheckResult]) -> Result<(), String> {
        let sender = pipe::OpenOptions::new().open_sender(&self.path);
        let sender = sender.map_err(|e| match e.raw_os_error() {
            Some(libc_enxio) if libc_enxio == rustix::io::Errno::NXIO.raw_os_error() => {
                at(&self.path, &"nobody reads it; does Nagios run?")
            }
            _ => at(&self.path, &e),
        })?;
        for block in blocks(batch) {
            let write = async {
                loop {
                    sender.writable().await?;
                    match sender.try_write(block.as_bytes()) {
                        // It takes it as a whole.
                        Ok(_) => return Ok(()),
                        Err(e) if e.kind() == std::io::ErrorKind::WouldBlock => {
                            // Some room, but not enough: ready all the time.
                            tokio::time::sleep(Duration::from_millis(10)).await;
                        }
                        Err(e) => return Err(e),
                    }
                }
            };
            match tokio::time::timeout(PATIENCE, write).await {
                Ok(done) => done.map_err(|e: std::io::Error| at(&self.path, &e))?,
                Err(_) => return Err(at(&self.path, &"it is full, and Nagios does not read")),
            }
        }
        Ok(())
    }
}

/// Whole lines, as many as the pipe takes at once.
fn blocks(batch: &[CheckResult]) -> Vec<String> {
    let mut all: Vec<String> = Vec::new();
    for result in batch {
        let line = line(result);
        match all.last_mut() {
            Some(block) if block.len() + line.len() <= PIPE_BYTES => block.push_str(&line),
            _ => all.push(line),
        }
    }
    all
}

fn line(result: &CheckResult) -> String {
    let mut line = format!("[{}] ", result.time_ms.div_euclid(1000));
    // Writing to a String cannot fail.
    let _ = match &result.service {
        Some(service) => {
            write!(line, "PROCESS_SERVICE_CHECK_RESULT;{};{service};", result.host)
        }
        None => write!(line, "PROCESS_HOST_CHECK_RESULT;{};", result.host),
    };
    let _ = write!(line, "{};", result.code);
    let room = PIPE_BYTES.saturating_sub(line.len() + 1).min(OUTPUT_BYTES_MAX);
    line.push_str(&result.output(room));
    line.push('\n');
    line
}

#[cfg(test)]
mod tests {
    use super::super::tests::sample;
    use super::*;

    #[test]
    fn lines_are_nagios_commands_and_blocks_are_atomic() {
        let service = sample();
        let host = CheckResult { service: None, code: 1, perf: vec![], ..sample() };
        assert_eq!(
            line(&service),
            "[1763640000] PROCESS_SERVICE_CHECK_RESULT;web1;cpu;2;\
             CPU CRITICAL - c:\\\\temp is 95 | 'user'=95;80;90 'sys'=1\n"
        );
        assert_eq!(
            line(&host),
            "[1763640000] PROCESS_HOST_CHECK_RESULT;web1;1;CPU CRITICAL - c:\\\\temp is 95\n"
        );
        let long = CheckResult { text: "x".repeat(9000), ..sample() };
        assert_eq!(line(&long).len(), PIPE_BYTES);
        let all = vec![service; 100];
        let blocks = blocks(&all);
        assert!(blocks.len() > 1 && blocks.iter().all(|b| b.len() <= PIPE_BYTES));
        assert_eq!(blocks.concat().lines().count(), 100);
        assert!(blocks.iter().all(|b| b.ends_with('\n') && b.starts_with('[')));
    }

    #[tokio::test]
    async fn a_pipe_without_a_reader_is_an_error_at_once_and_so_is_a_file() {
        let dir = tempfile::tempdir().expect("dir");
        let fifo = dir.path().join("cmd");
        let made = std::process::Command::new("mkfifo").arg(&fifo).status().expect("mkfifo");
        assert!(made.success());
        let pipe = Pipe::new(fifo.clone());
        let started = std::time::Instant::now();
        let e = pipe.send(&[sample()]).await.expect_err("nobody reads");
        assert!(e.contains("nobody reads it; does Nagios run?"), "{e}");
        assert!(started.elapsed() < Duration::from_secs(1));
        // One that is there but does not read: the pipe fills, and that is said.
        let reader = pipe::OpenOptions::new().open_receiver(&fifo).expect("opens");
        let many = vec![sample(); 3000];
        let e = pipe.send(&many).await.expect_err("it is full");
        assert!(e.contains("it is full"), "{e}");
        drop(reader);
        let file = dir.path().join("file");
        std::fs::write(&file, "").expect("writes");
        let e = Pipe::new(file.clone()).send(&[sample()]).await.expect_err("no pipe");
        assert!(e.contains("not a pipe"), "{e}");
        assert_eq!(std::fs::read(&file).expect("reads"), b"");
        let e = Pipe::new(dir.path().join("none")).send(&[sample()]).await.expect_err("none");
        assert!(e.contains("No such file"), "{e}");
        assert!(!dir.path().join("none").exists());
    }
}
