//! A collector in a few lines of HTTP, that answers as it is told to.

use rookery_plugins::wire::Frame;
use rookery_plugins::{FieldKey, Kind, Layout, LayoutId, ServiceSpec, Value};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Notify;
use tokio::task::JoinHandle;

/// What it answers.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// 200, or 409 when it lacks a layout.
    #[default]
    Right,
    /// This status, and nothing is kept.
    Status(u16),
    /// Keeps the frame and hangs up without an answer.
    LoseAnswer,
    /// It is not there; something else answers with this status and a page.
    Portal(u16),
}

#[derive(Debug, Default)]
pub struct Kept {
    pub mode: Mode,
    /// A collector of before there were checksums in answers.
    pub is_old: bool,
    pub seen: HashSet<(u64, u64)>,
    pub order: Vec<(u64, u64)>,
    pub n_resent: usize,
    pub n_conflicts: usize,
    pub n_posts: usize,
    pub layouts: HashMap<LayoutId, Layout>,
    pub services: BTreeMap<String, ServiceSpec>,
    pub gone: Vec<String>,
    pub samples: Vec<(FieldKey, i64, Value)>,
    /// The nodes that each service was announced by or sent for.
    pub nodes: BTreeMap<String, std::collections::BTreeSet<String>>,
    pub authorization: Option<String>,
}

impl Kept {
    pub fn values(&self, service: &str, field: &str) -> Vec<Value> {
        let key = FieldKey::new(service, field);
        self.samples.iter().filter(|s| s.0 == key).map(|s| s.2).collect()
    }

    pub fn times(&self, service: &str, field: &str) -> Vec<i64> {
        let key = FieldKey::new(service, field);
        self.samples.iter().filter(|s| s.0 == key).map(|s| s.1).collect()
    }

    fn take(&mut self, bytes: &[u8]) -> u16 {
        self.n_posts += 1;
        if let Mode::Status(status) | Mode::Portal(status) = self.mode {
            return status;
        }
        let frame = Frame::parse(bytes).expect("agents send frames");
        for layout in frame.layouts {
            self.layouts.insert(layout.id(), layout);
        }
        if let Some(announce) = frame.announce {
            for spec in &announce.services {
                self.nodes.entry(frame.node.to_owned()).or_default().insert(spec.name.clone());
            }
            self.services.extend(announce.services.into_iter().map(|s| (s.name.clone(), s)));
            self.gone.extend(announce.gone);
        }
        if frame.rows.iter().any(|r| !self.layouts.contains_key(&r.layout)) {
            self.n_conflicts += 1;
            return 409;
        }
        if !self.seen.insert((frame.boot, frame.sequence)) {
            self.n_resent += 1;
            return 200;
        }
        self.order.push((frame.boot, frame.sequence));
        for row in frame.rows {
            let (mut kinds, mut bits) = (vec![], vec![]);
            row.expand_kinds(&mut kinds);
            row.append_bits(&mut bits);
            let layout = &self.layouts[&row.layout];
            let services = layout.fields().iter().map(|f| f.service.clone());
            self.nodes.entry(frame.node.to_owned()).or_default().extend(services);
            for (i, field) in layout.fields().iter().enumerate() {
                let kind = Kind::from_u8(kinds[i]).expect("checked");
                if let Some(value) = Value::from_bits(kind, bits[i]) {
                    self.samples.push((field.clone(), row.time_ms, value));
                }
            }
        }
        200
    }
}

/// A collector that can go away and come back at its port.
pub struct Collector {
    pub addr: SocketAddr,
    kept: Arc<Mutex<Kept>>,
    news: Arc<Notify>,
    task: Option<JoinHandle<()>>,
}

impl Collector {
    pub async fn start() -> Collector {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("binds");
        let addr = listener.local_addr().expect("address");
        let mut c = Collector { addr, kept: Arc::default(), news: Arc::default(), task: None };
        c.serve(listener);
        c
    }

    fn serve(&mut self, listener: TcpListener) {
        let (kept, news) = (Arc::clone(&self.kept), Arc::clone(&self.news));
        self.task = Some(tokio::spawn(async move {
            // Dropped with the task: so are the connections.
            let mut connections = tokio::task::JoinSet::new();
            while let Ok((socket, _)) = listener.accept().await {
                connections.spawn(connection(socket, Arc::clone(&kept), Arc::clone(&news)));
            }
        }));
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.addr)
    }

    pub async fn go_away(&mut self) {
        let task = self.task.take().expect("is here");
        task.abort();
        let _ = task.await;
    }

    pub async fn come_back(&mut self) {
        let listener = TcpListener::bind(self.addr).await.expect("binds again");
        self.serve(listener);
    }

    pub fn with<T>(&self, f: impl FnOnce(&mut Kept) -> T) -> T {
        f(&mut self.kept.lock().expect("lock"))
    }

    /// Waits until this holds; panics with `what` after 20 s.
    pub async fn until(&self, what: &str, mut f: impl FnMut(&Kept) -> bool) {
        let wait = async {
            loop {
                let news = self.news.notified();
                if self.with(|k| f(k)) {
                    return;
                }
                news.await;
            }
        };
        if tokio::time::timeout(Duration::from_secs(60), wait).await.is_err() {
            self.with(|k| {
                panic!(
                    "waited in vain: {what}; {} posts, {} conflicts, {} samples, {:?}",
                    k.n_posts,
                    k.n_conflicts,
                    k.samples.len(),
                    k.order.last()
                )
            });
        }
    }
}

async fn connection(socket: TcpStream, kept: Arc<Mutex<Kept>>, news: Arc<Notify>) {
    let mut socket = BufReader::new(socket);
    loop {
        let (mut length, mut authorization) = (0, None);
        loop {
            let mut line = String::new();
            if socket.read_line(&mut line).await.unwrap_or(0) == 0 {
                return;
            }
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            if let Some((key, value)) = line.split_once(": ") {
                match key.to_ascii_lowercase().as_str() {
                    "content-length" => length = value.parse().expect("a length"),
                    "authorization" => authorization = Some(value.to_owned()),
                    _ => {}
                }
            }
        }
        let mut body = vec![0; length];
        if socket.read_exact(&mut body).await.is_err() {
            return;
        }
        let (status, mode, is_old) = {
            let mut kept = kept.lock().expect("lock");
            kept.authorization = authorization;
            (kept.take(&body), kept.mode, kept.is_old)
        };
        news.notify_one();
        if mode == Mode::LoseAnswer {
            return;
        }
        let text = match (mode, status) {
            (Mode::Portal(_), _) => "<html>Log in to the network</html>",
            (_, 200) => "",
            _ => "{\"error\":\"as told\",\"unknown_layouts\":[]}",
        };
        let ack = match is_old || matches!(mode, Mode::Portal(_)) {
            true => String::new(),
            false => format!("Rookery-Ack: {:08x}\r\n", crc32fast::hash(&body)),
        };
        let answer =
            format!("HTTP/1.1 {status} X\r\n{ack}Content-Length: {}\r\n\r\n{text}", text.len());
        if socket.write_all(answer.as_bytes()).await.is_err() {
            return;
        }
    }
}
