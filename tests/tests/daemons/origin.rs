//! A web server behind the proxies, and a client in front of them.

use crate::support::wait_for;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

/// The length of every body, in bytes.
pub const BODY_BYTES: usize = 1_000;
/// A client that has waited for this long gives up: a test must end.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Default)]
struct State {
    /// Requests to `/hold` wait while it is set.
    holding: bool,
    held: usize,
    served: usize,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

/// The server. Paths under `/c/` may be cached, those under `/hold` wait until
/// they are released; all but the first must not be cached.
pub struct Origin {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Origin {
    pub fn new() -> Origin {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let port = listener.local_addr().expect("bound").port();
        let shared = Arc::new(Shared::default());
        let of_all = shared.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = of_all.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Origin { port, shared }
    }

    /// From now on requests to `/hold` wait.
    pub fn hold(&self) {
        self.shared.state.lock().expect("no panics").holding = true;
    }

    /// Lets all of them go.
    pub fn release(&self) {
        self.shared.state.lock().expect("no panics").holding = false;
        self.shared.changed.notify_all();
    }

    /// Waits until so many are held.
    pub fn until_held(&self, n: usize) {
        wait_for(&format!("{n} held requests"), PATIENCE, || {
            (self.shared.state.lock().expect("no panics").held == n).then_some(())
        });
    }

    /// How many requests have come here so far.
    pub fn served(&self) -> usize {
        self.shared.state.lock().expect("no panics").served
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        // Whoever still waits here would wait for ever.
        if let Ok(mut state) = self.shared.state.lock() {
            state.holding = false;
        }
        self.shared.changed.notify_all();
    }
}

impl Shared {
    /// One connection, to its end.
    fn serve(&self, stream: TcpStream) {
        let Ok(mut to) = stream.try_clone() else { return };
        let mut from = BufReader::new(stream);
        while let Some((path, keep)) = request(&mut from) {
            self.wait(path.contains("/hold"));
            let cache = if path.contains("/c/") { "max-age=600" } else { "no-store" };
            let date = jiff::Timestamp::now().strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
            let body = "x".repeat(BODY_BYTES);
            // Squid keeps nothing that has no date.
            let reply = format!(
                "HTTP/1.1 200 OK\r\nDate: {date}\r\nContent-Length: {BODY_BYTES}\r\n\
                 Cache-Control: {cache}\r\nContent-Type: text/plain\r\n\r\n{body}"
            );
            if to.write_all(reply.as_bytes()).is_err() || !keep {
                return;
            }
        }
    }

    fn wait(&self, holds: bool) {
        let mut state = self.state.lock().expect("no panics");
        state.served += 1;
        state.held += 1;
        while holds && state.holding {
            state = self.changed.wait(state).expect("no panics");
        }
        state.held -= 1;
    }
}

/// The path of the next request, and whether the connection is to stay.
fn request(from: &mut impl BufRead) -> Option<(String, bool)> {
    let mut first = String::new();
    from.read_line(&mut first).ok()?;
    let path = first.split(' ').nth(1)?.to_owned();
    let mut keep = first.contains("HTTP/1.1");
    loop {
        let mut line = String::new();
        if from.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let line = line.trim_end().to_ascii_lowercase();
        if line.is_empty() {
            return Some((path, keep));
        }
        if let Some(how) = line.strip_prefix("connection:") {
            keep = how.trim() == "keep-alive";
        }
    }
}

/// GET on a connection of its own; the status, and the length of the whole
/// reply. `target` is a path, or a whole URL for a proxy.
pub fn get(port: u16, target: &str) -> (u16, usize) {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let question =
        format!("GET {target} HTTP/1.1\r\nHost: origin.example\r\nConnection: close\r\n\r\n");
    stream.write_all(question.as_bytes()).expect("writes");
    let mut reply = vec![];
    stream.read_to_end(&mut reply).unwrap_or_else(|e| panic!("GET {target}: {e}"));
    let text = String::from_utf8_lossy(&reply);
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok());
    (status.unwrap_or_else(|| panic!("GET {target}: {text:?}")), reply.len())
}

/// Whether a GET is answered 200 now; a server that has just started may hang up.
pub fn is_answered(port: u16, target: &str) -> bool {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let question = format!("GET {target} HTTP/1.1\r\nHost: origin.example\r\n");
        stream.write_all(format!("{question}Connection: close\r\n\r\n").as_bytes())?;
        let mut reply = vec![];
        stream.read_to_end(&mut reply)?;
        Ok(String::from_utf8_lossy(&reply).into_owned())
    };
    asked().is_ok_and(|reply| reply.split(' ').nth(1) == Some("200"))
}

/// Asks so many times, one after the other; each must be answered so.
pub fn get_all(port: u16, target: &str, times: usize, status: u16) {
    for _ in 0..times {
        assert_eq!(get(port, target).0, status, "{target}");
    }
}

/// Asks so many times at once, from threads; each must be answered 200.
pub fn get_at_once(port: u16, target: &str, times: usize) -> Vec<std::thread::JoinHandle<()>> {
    let one = |_| {
        let target = target.to_owned();
        std::thread::spawn(move || assert_eq!(get(port, &target).0, 200, "{target}"))
    };
    (0..times).map(one).collect()
}

/// Waits for the end of all of them.
pub fn done(clients: Vec<std::thread::JoinHandle<()>>) {
    for client in clients {
        client.join().expect("an answer");
    }
}

/// GET, after which the connection stays open.
pub fn get_and_stay(port: u16, target: &str) -> TcpStream {
    let mut stream = TcpStream::connect(("127.0.0.1", port)).expect("connects");
    stream.set_read_timeout(Some(PATIENCE)).expect("a time limit");
    let question = format!("GET {target} HTTP/1.1\r\nHost: origin.example\r\n\r\n");
    stream.write_all(question.as_bytes()).expect("writes");
    let mut from = BufReader::new(stream.try_clone().expect("clones"));
    let mut line = String::new();
    while line != "\r\n" {
        line.clear();
        assert_ne!(from.read_line(&mut line).expect("a head"), 0, "it hung up");
    }
    from.read_exact(&mut [0; BODY_BYTES]).expect("a body");
    stream
}
