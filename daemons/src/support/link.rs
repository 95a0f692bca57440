//! A connection to a daemon, with one deadline for a whole reading.
//!
//! The write side is never shut down before the reply is whole: gearmand drops
//! its reply when a client does.

use super::{Address, Place, REPLY_BYTES_MAX};
use rookery_plugins::ProbeError;
use std::io::{self, Read, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

/// A connection.
#[derive(Debug)]
pub struct Link {
    stream: Stream,
    /// Where it leads to.
    pub address: Address,
    daemon: &'static str,
    deadline: Instant,
    buf: Vec<u8>,
}

impl Link {
    /// Connects to the first address that answers.
    pub fn open(place: &Place) -> Result<Link, ProbeError> {
        let deadline = Instant::now() + place.timeout;
        let mut why = None;
        for address in &place.addresses {
            match connect(address, deadline) {
                Ok(stream) => {
                    let (address, daemon) = (address.clone(), place.daemon);
                    return Ok(Link { stream, address, daemon, deadline, buf: Vec::new() });
                }
                Err(e) => why = why.or(Some(place.unreachable(address, &e))),
            }
        }
        Err(why.unwrap_or_else(|| ProbeError::NotHere(format!("{}: no address", place.daemon))))
    }

    /// The connection of the last reading, if the daemon still holds it and said
    /// nothing unasked; else a new one. Whoever is content with the reading puts
    /// it back into `kept`.
    pub fn again(kept: &mut Option<Link>, place: &Place) -> Result<Link, ProbeError> {
        match Link::still(kept, place) {
            Some(link) => Ok(link),
            None => Link::open(place),
        }
    }

    /// The connection of the last reading, as [`Link::again`] would take it up;
    /// for a daemon that wants to be greeted on a new one.
    pub fn still(kept: &mut Option<Link>, place: &Place) -> Option<Link> {
        let mut link = kept.take()?;
        if !link.is_idle() {
            return None;
        }
        link.deadline = Instant::now() + place.timeout;
        Some(link)
    }

    /// Whether there is nothing to read, not even an end.
    fn is_idle(&mut self) -> bool {
        let mut byte = [0];
        let waits = |e: io::Error| e.kind() == io::ErrorKind::WouldBlock;
        let (read, blocking) = match &mut self.stream {
            Stream::Tcp(s) => {
                let read = s.set_nonblocking(true).and_then(|()| s.read(&mut byte));
                (read, s.set_nonblocking(false))
            }
            Stream::Unix(s) => {
                let read = s.set_nonblocking(true).and_then(|()| s.read(&mut byte));
                (read, s.set_nonblocking(false))
            }
        };
        self.buf.is_empty() && read.is_err_and(waits) && blocking.is_ok()
    }

    /// An error that names the daemon and its address.
    pub fn failed(&self, why: impl std::fmt::Display) -> ProbeError {
        ProbeError::Failed(format!("{} at {}: {why}", self.daemon, self.address))
    }

    /// Sends.
    pub fn send(&mut self, bytes: &[u8]) -> Result<(), ProbeError> {
        let limit = self.left()?;
        let sent = match &mut self.stream {
            Stream::Tcp(s) => s.set_write_timeout(Some(limit)).and_then(|()| s.write_all(bytes)),
            Stream::Unix(s) => s.set_write_timeout(Some(limit)).and_then(|()| s.write_all(bytes)),
        };
        sent.map_err(|e| self.broken(&e))
    }

    /// Reads until `end` finds how long the reply is; the reply. What comes
    /// after it waits for the next call. `end` sees all that has come so far.
    pub fn read_until(
        &mut self,
        end: impl Fn(&[u8]) -> Option<usize>,
    ) -> Result<Vec<u8>, ProbeError> {
        loop {
            if let Some(n) = end(&self.buf) {
                let rest = self.buf.split_off(n.min(self.buf.len()));
                return Ok(std::mem::replace(&mut self.buf, rest));
            }
            if self.more()? == 0 {
                let n = self.buf.len();
                return Err(self.failed(format!("it hung up after {n} bytes of its reply")));
            }
        }
    }

    /// Sends a question and reads the reply that ends so (or begins with one of
    /// `errors`, whose line is then the error).
    pub fn ask(
        &mut self,
        question: &[u8],
        end: &[u8],
        errors: &[&str],
    ) -> Result<String, ProbeError> {
        self.send(question)?;
        let error = |text: &[u8]| {
            let line = text.iter().position(|b| *b == b'\n')?;
            let is = errors.iter().any(|e| text.starts_with(e.as_bytes()));
            is.then_some(line + 1)
        };
        let reply = self.read_until(|text| ends(text, end).or_else(|| error(text)))?;
        let reply = String::from_utf8_lossy(&reply).into_owned();
        match error(reply.as_bytes()) {
            Some(_) => Err(self.failed(format!("it answers {:?}", shown(&reply)))),
            None => Ok(reply),
        }
    }

    /// Reads to the end of the connection.
    pub fn read_all(&mut self) -> Result<Vec<u8>, ProbeError> {
        while self.more()? > 0 {}
        Ok(std::mem::take(&mut self.buf))
    }

    fn left(&self) -> Result<Duration, ProbeError> {
        let left = self.deadline.saturating_duration_since(Instant::now());
        match left.is_zero() {
            true => Err(self.failed("it did not answer in time")),
            false => Ok(left),
        }
    }

    /// Reads once; how much.
    fn more(&mut self) -> Result<usize, ProbeError> {
        let limit = self.left()?;
        if self.buf.len() >= REPLY_BYTES_MAX {
            return Err(self.failed(format!("a reply of more than {REPLY_BYTES_MAX} bytes")));
        }
        let mut chunk = [0; 16 << 10];
        let read = loop {
            let read = match &mut self.stream {
                Stream::Tcp(s) => s.set_read_timeout(Some(limit)).and_then(|()| s.read(&mut chunk)),
                Stream::Unix(s) => {
                    s.set_read_timeout(Some(limit)).and_then(|()| s.read(&mut chunk))
                }
            };
            match read {
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let n = read.map_err(|e| self.broken(&e))?;
        self.buf.extend_from_slice(&chunk[..n]);
        Ok(n)
    }

    fn broken(&self, e: &io::Error) -> ProbeError {
        match e.kind() {
            io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut => {
                self.failed("it did not answer in time")
            }
            _ => self.failed(e),
        }
    }
}

fn connect(address: &Address, deadline: Instant) -> io::Result<Stream> {
    match address {
        // A full backlog of a local socket is an error at once, not a wait.
        Address::Unix(path) => UnixStream::connect(path).map(Stream::Unix),
        Address::Tcp(text) => {
            let mut why = io::Error::new(io::ErrorKind::NotFound, "no such host");
            for addr in text.to_socket_addrs()? {
                let left = deadline.saturating_duration_since(Instant::now());
                if left.is_zero() {
                    return Err(io::ErrorKind::TimedOut.into());
                }
                match TcpStream::connect_timeout(&addr, left) {
                    Ok(stream) => {
                        stream.set_nodelay(true)?;
                        return Ok(Stream::Tcp(stream));
                    }
                    Err(e) => why = e,
                }
            }
            Err(why)
        }
    }
}

/// Where `end` ends in the text, if the text ends with it.
fn ends(text: &[u8], end: &[u8]) -> Option<usize> {
    text.ends_with(end).then_some(text.len())
}

/// The first line of something, short enough for a message.
pub(super) fn shown(text: &str) -> &str {
    let line = text.lines().next().unwrap_or("");
    let end = line.char_indices().nth(120).map_or(line.len(), |(at, _)| at);
    &line[..end]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::{place, serve};

    #[test]
    fn a_reply_is_read_to_its_end_and_the_rest_waits() {
        let at = serve(|mut s| {
            s.write_all(b"one\r\ntw").expect("writes");
            s.write_all(b"o\r\n").expect("writes");
        });
        let mut link = Link::open(&place(&at)).expect("connects");
        let line = |text: &[u8]| text.iter().position(|b| *b == b'\n').map(|n| n + 1);
        assert_eq!(link.read_until(line).expect("reads"), b"one\r\n");
        assert_eq!(link.read_until(line).expect("reads"), b"two\r\n");
        let error = link.read_until(line).expect_err("the end");
        assert!(error.to_string().contains("hung up after 0 bytes"), "{error}");
    }

    #[test]
    fn silence_floods_and_refusals_are_told() {
        let at = serve(|s| std::thread::sleep(Duration::from_secs(5).min(hold(&s))));
        let mut short = place(&at);
        short.timeout = Duration::from_millis(50);
        let mut link = Link::open(&short).expect("connects");
        let error = link.ask(b"x", b"END\r\n", &[]).expect_err("silent");
        assert!(error.to_string().contains("did not answer in time"), "{error}");

        let at = serve(|mut s| while s.write_all(&[b'x'; 1 << 16]).is_ok() {});
        let mut link = Link::open(&place(&at)).expect("connects");
        let error = link.read_all().expect_err("a flood");
        assert!(error.to_string().contains("more than"), "{error}");

        let at = serve(|mut s| s.write_all(b"ERROR no such command\r\n").expect("writes"));
        let mut link = Link::open(&place(&at)).expect("connects");
        let error = link.ask(b"x", b"END\r\n", &["ERROR"]).expect_err("refused");
        assert!(error.to_string().contains("it answers \"ERROR no such command\""), "{error}");
    }

    fn hold(_: &TcpStream) -> Duration {
        Duration::from_millis(500)
    }

    #[test]
    fn a_kept_connection_is_used_until_it_ends() {
        let (tell, told) = std::sync::mpsc::channel();
        let at = serve(move |mut s| {
            tell.send(s.peer_addr().expect("a peer")).expect("tells");
            let mut question = [0; 1];
            for _ in 0..2 {
                s.read_exact(&mut question).expect("asked");
                s.write_all(b"END\r\n").expect("writes");
            }
        });
        let (place, mut kept, mut peers) = (place(&at), None, vec![]);
        for round in 0..4 {
            let mut link = Link::again(&mut kept, &place).expect("connects");
            assert_eq!(link.ask(b"x", b"END\r\n", &[]).expect("answers"), "END\r\n");
            peers.extend(told.try_iter());
            assert_eq!(peers.len(), round / 2 + 1, "round {round}");
            if round == 1 {
                // The daemon hangs up: seen when the end has come.
                assert!(link.read_all().expect("the end").is_empty());
            }
            kept = Some(link);
        }
    }

    #[test]
    fn who_is_not_there_is_not_here_unless_asked_for() {
        let mut place = place("127.0.0.1:1");
        assert!(matches!(Link::open(&place), Err(ProbeError::Failed(_))));
        place.given = false;
        assert!(matches!(Link::open(&place), Err(ProbeError::NotHere(_))));
    }
}
