//! HTTP/1.1 with as little work as possible: for load generators, whose own
//! cost must not be taken for the server's.

use std::io;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// A head longer than this is nobody's.
const HEAD_BYTES_MAX: usize = 64 << 10;

/// The bytes of a POST.
pub fn post(path: &str, token: &str, content_type: &str, body: &[u8]) -> Vec<u8> {
    let head = format!(
        "POST {path} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {token}\r\n\
         Content-Type: {content_type}\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The bytes of a GET.
pub fn get(path: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n").into_bytes()
}

/// A connection that is kept.
pub struct Connection {
    stream: TcpStream,
    buf: Vec<u8>,
}

/// What was answered.
#[derive(Debug)]
pub struct Answer {
    /// The status.
    pub status: u16,
    /// Everything after the head.
    pub body: Vec<u8>,
}

impl Connection {
    /// Connects, without Nagle's delay.
    pub async fn open(addr: &str) -> io::Result<Connection> {
        let stream = TcpStream::connect(addr).await?;
        stream.set_nodelay(true)?;
        Ok(Connection { stream, buf: Vec::with_capacity(4096) })
    }

    /// Sends one request, whole, and reads its answer.
    pub async fn exchange(&mut self, request: &[u8]) -> io::Result<Answer> {
        self.stream.write_all(request).await?;
        self.buf.clear();
        loop {
            let n = self.stream.read_buf(&mut self.buf).await?;
            if n == 0 || self.buf.len() > HEAD_BYTES_MAX && head_len(&self.buf).is_none() {
                return Err(bad("the answer breaks off"));
            }
            let Some(head) = head_len(&self.buf) else { continue };
            let text = std::str::from_utf8(&self.buf[..head]).map_err(|_| bad("not a head"))?;
            let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
            let status = status.ok_or_else(|| bad("no status"))?;
            if matches!(status, 204 | 304) {
                return Ok(Answer { status, body: Vec::new() });
            }
            let Some(len) = content_length(text) else {
                return Ok(Answer { status, body: self.chunks(head).await? });
            };
            self.buf.reserve((head + len).saturating_sub(self.buf.len()));
            while self.buf.len() < head + len {
                if self.stream.read_buf(&mut self.buf).await? == 0 {
                    return Err(bad("the body breaks off"));
                }
            }
            return Ok(Answer { status, body: self.buf[head..head + len].to_vec() });
        }
    }
}

impl Connection {
    /// A body in chunks that begins at `at` of what was read.
    async fn chunks(&mut self, mut at: usize) -> io::Result<Vec<u8>> {
        let mut body = Vec::new();
        loop {
            let line = loop {
                if let Some(n) = self.buf[at..].windows(2).position(|w| w == b"\r\n") {
                    break at..at + n;
                }
                self.more().await?;
            };
            let text = std::str::from_utf8(&self.buf[line.clone()]).unwrap_or_default();
            let len = usize::from_str_radix(text, 16).map_err(|_| bad("no chunk's length"))?;
            at = line.end + 2;
            while self.buf.len() < at + len + 2 {
                self.more().await?;
            }
            body.extend_from_slice(&self.buf[at..at + len]);
            at += len + 2;
            if len == 0 {
                return Ok(body);
            }
        }
    }

    async fn more(&mut self) -> io::Result<()> {
        match self.stream.read_buf(&mut self.buf).await? {
            0 => Err(bad("the body breaks off")),
            _ => Ok(()),
        }
    }
}

fn bad(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn head_len(bytes: &[u8]) -> Option<usize> {
    bytes.windows(4).position(|w| w == b"\r\n\r\n").map(|at| at + 4)
}

fn content_length(head: &str) -> Option<usize> {
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .find(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .and_then(|(_, value)| value.trim().parse().ok())
}
