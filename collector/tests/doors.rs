//! What comes through the doors of ingest: bad times, many months, JSON's many fields.

use bytes::Bytes;
use rookery_collector::auth::Auth;
use rookery_collector::history::History;
use rookery_collector::ingest;
use rookery_collector::read::Reader;
use rookery_collector::writer::NoObserver;
use rookery_collector::{Store, StoreError, StoreSettings};
use rookery_plugins::wire::FrameWriter;
use rookery_plugins::{Cells, FieldKey, Layout, TimeMs, Value};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::atomic::Ordering;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;

const MONTH_MS: TimeMs = 31 * 86_400_000;

fn open(dir: &Path) -> Store {
    Store::open(StoreSettings::new(dir), Box::new(NoObserver)).expect("opens")
}

fn send(store: &Store, bytes: Vec<u8>) -> Result<(), StoreError> {
    let answer = store.shared().queue.send(Bytes::from(bytes)).expect("room");
    answer.blocking_recv().expect("an answer")
}

fn seal(store: &Store) {
    let answer = store.shared().queue.seal_all().expect("room");
    answer.blocking_recv().expect("an answer").expect("sealed");
}

fn one_a_month(node: &str, n: i64) -> Vec<u8> {
    let layout = Layout::new(vec![FieldKey::new("s", "f")]);
    let mut writer = FrameWriter::default();
    writer.start(node, 0, 0);
    writer.layout(&layout);
    let mut cells = Cells::new();
    cells.push(Value::Int(1));
    for i in 0..n {
        writer.row(layout.id(), i * MONTH_MS, &cells);
    }
    writer.finish().to_vec()
}

fn n_descriptors_of(dir: &Path) -> usize {
    let fds = std::fs::read_dir("/proc/self/fd").expect("a list");
    fds.filter_map(|fd| std::fs::read_link(fd.ok()?.path()).ok())
        .filter(|path| path.starts_with(dir))
        .count()
}

#[test]
fn a_history_of_many_months_opens_few_of_their_files() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = open(dir.path());
    send(&store, one_a_month("n", 70)).expect("taken");
    seal(&store);
    let reader = Reader::new(store.shared().clone());
    assert_eq!(reader.samples("n", "s", "f", 0, TimeMs::MAX).expect("reads").len(), 70);
    let n = n_descriptors_of(&dir.path().join("periods"));
    assert!(n <= 3 * (64 + 8), "{n} descriptors of months");
    drop((reader, store));
    // The first start looks at all of them, one after the other, …
    drop(open(dir.path()));
    // … the next at the newest two.
    let store = open(dir.path());
    let n = store.shared().periods.n_open();
    assert!(n <= 2, "{n} months are open after a start");
    let node = store.shared().nodes.get("n").expect("known");
    let seen = node.last_seen_ms.load(Ordering::Relaxed);
    assert_eq!(seen, 69 * MONTH_MS);
}

/// The ingest of a store behind a port.
struct Door {
    store: Store,
    at: SocketAddr,
    // Ends with its tasks.
    _runtime: Runtime,
}

impl Door {
    fn open(dir: &Path) -> Door {
        let store = open(dir);
        let runtime = Runtime::new().expect("starts");
        let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0")).expect("binds");
        let at = listener.local_addr().expect("has one");
        let router = ingest::router(store.shared().clone(), Auth::new(Some("t")));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Door { store, at, _runtime: runtime }
    }

    /// The answer's head and body.
    fn post(&self, kind: &str, body: &[u8]) -> (String, String) {
        let mut stream = TcpStream::connect(self.at).expect("connects");
        let head = format!(
            "POST /api/v1/ingest HTTP/1.1\r\nhost: x\r\nauthorization: Bearer t\r\ncontent-type: \
             {kind}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n",
            body.len()
        );
        stream.write_all(head.as_bytes()).expect("writes");
        stream.write_all(body).expect("writes");
        let mut answer = String::new();
        stream.read_to_string(&mut answer).expect("reads");
        let (head, body) = answer.split_once("\r\n\r\n").expect("a head");
        (head.to_owned(), body.to_owned())
    }

    fn json(&self, samples: &[(String, String, TimeMs, i64)]) -> (String, String) {
        let samples: Vec<String> = samples
            .iter()
            .map(|(s, f, t, v)| {
                format!(r#"{{"service":"{s}","field":"{f}","time_ms":{t},"value":{v}}}"#)
            })
            .collect();
        let body = format!(r#"{{"node":"n","samples":[{}]}}"#, samples.join(","));
        self.post("application/json", body.as_bytes())
    }

    fn times(&self, service: &str, field: &str) -> Vec<TimeMs> {
        let reader = Reader::new(self.store.shared().clone());
        reader.samples("n", service, field, TimeMs::MIN, TimeMs::MAX).expect("reads").times_ms
    }
}

#[test]
fn a_bad_time_costs_its_row_and_is_seen() {
    let dir = tempfile::tempdir().expect("tmp");
    let door = Door::open(dir.path());
    let now = rookery_collector::store::now_ms();
    let (good, bad) = (now - 1000, now + 2 * 86_400_000);
    let mut writer = FrameWriter::default();
    writer.start("n", 1, 1);
    let mut cells = Cells::new();
    cells.push(Value::Int(1));
    for field in ["mine", "another_plugins"] {
        let layout = Layout::new(vec![FieldKey::new("s", field)]);
        writer.layout(&layout);
        writer.row(layout.id(), if field == "mine" { bad } else { good }, &cells);
        writer.row(layout.id(), if field == "mine" { -5 } else { good + 1 }, &cells);
    }
    let (head, _) = door.post("application/x-rookery-batch", writer.finish());
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("rookery-left-out: 2"), "{head}");
    assert_eq!(door.times("s", "another_plugins"), [good, good + 1]);
    let sample = |f: &str, t| ("s".to_owned(), f.to_owned(), t, 1);
    let (head, body) = door.json(&[sample("json", bad), sample("json", good)]);
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    assert!(body.contains(r#""accepted":1"#) && body.contains("samples[0]: time"), "{body}");
    let (head, body) = door.json(&[sample("json", -1)]);
    assert!(head.starts_with("HTTP/1.1 400") && body.contains("before 1970"), "{head} {body}");
    let shared = door.store.shared();
    assert_eq!(shared.stats.bad_times.load(Ordering::Relaxed), 3);
    let seen = shared.refusals.now(now);
    assert!(seen[0].text.starts_with("3 left out; samples[0]: time"), "{seen:?}");
}

#[test]
fn many_new_fields_are_one_version_and_few_layouts() {
    let dir = tempfile::tempdir().expect("tmp");
    let door = Door::open(dir.path());
    let one: Vec<_> = (0..3000).map(|i| ("wide".to_owned(), format!("f{i:05}"), 5, i)).collect();
    assert!(door.json(&one).0.starts_with("HTTP/1.1 200"));
    let many: Vec<_> = (0..3000).map(|i| (format!("s{i}"), "f".to_owned(), 5, i)).collect();
    assert!(door.json(&many).0.starts_with("HTTP/1.1 200"));
    let node = door.store.shared().nodes.get("n").expect("known");
    assert_eq!(node.layouts().len(), 2 * 3000_usize.div_ceil(128));
    assert_eq!(node.service("wide").expect("known").spec.fields.len(), 3000);
    let catalog = rusqlite::Connection::open(dir.path().join("catalog.sqlite")).expect("opens");
    let sql = "SELECT count(*) FROM service WHERE name = 'wide'";
    let n: i64 = catalog.query_row(sql, [], |r| r.get(0)).expect("reads");
    assert_eq!(n, 1, "one version");
    assert_eq!(door.times("wide", "f02999"), [5]);
    assert_eq!(door.times("s2999", "f"), [5]);
}

#[test]
fn a_field_has_one_home_whoever_sends_it_with_whom() {
    let dir = tempfile::tempdir().expect("tmp");
    let mut door = Door::open(dir.path());
    let sample = |i: i64, t, v| ("s".to_owned(), format!("f{i}"), t, v);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let door = &door;
            scope.spawn(move || {
                for t in 0..10 {
                    // Neighbours change from request to request.
                    let n = 1 + (thread + t) % 5;
                    let all: Vec<_> = (0..n).map(|i| sample((thread + i) % 6, t, thread)).collect();
                    let (head, body) = door.json(&all);
                    assert!(head.starts_with("HTTP/1.1 200"), "{head} {body}");
                }
            });
        }
    });
    for _ in 0..2 {
        let node = door.store.shared().nodes.get("n").expect("known");
        for i in 0..6 {
            let key = FieldKey::new("s", &format!("f{i}"));
            let n = node.layouts().iter().filter(|l| l.column(&key).is_some()).count();
            assert_eq!(n, 1, "one home of {key:?}");
        }
        let before: Vec<_> = (0..6).map(|i| door.times("s", &format!("f{i}"))).collect();
        let conflicts = || door.store.shared().stats.conflicts.load(Ordering::Relaxed);
        let had = conflicts();
        door.json(&[sample(3, before[3][0], 99), sample(77, 5, 1)]);
        assert_eq!(conflicts(), had + 1, "the first stays, the second is seen");
        // The same after a restart.
        seal(&door.store);
        drop(door);
        door = Door::open(dir.path());
        let after: Vec<_> = (0..6).map(|i| door.times("s", &format!("f{i}"))).collect();
        assert_eq!(after, before);
    }
}
