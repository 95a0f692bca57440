//! What comes twice, out of order, or must be taken out of the journal again.

use bytes::Bytes;
use rookery_collector::history::History;
use rookery_collector::read::Reader;
use rookery_collector::writer::NoObserver;
use rookery_collector::{Store, StoreSettings};
use rookery_plugins::wire::FrameWriter;
use rookery_plugins::{Cells, FieldKey, Layout, TimeMs, Value};
use std::path::Path;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

const T0: TimeMs = 1_700_000_000_000;

fn open(dir: &Path) -> Store {
    Store::open(StoreSettings::new(dir), Box::new(NoObserver)).expect("opens")
}

fn frame(boot: u64, sequence: u64, rows: impl IntoIterator<Item = (TimeMs, i64)>) -> Vec<u8> {
    let layout = Layout::new(vec![FieldKey::new("s", "f")]);
    let mut writer = FrameWriter::default();
    writer.start("n", boot, sequence);
    writer.layout(&layout);
    let mut cells = Cells::new();
    for (time_ms, value) in rows {
        cells.clear();
        cells.push(Value::Int(value));
        writer.row(layout.id(), time_ms, &cells);
    }
    writer.finish().to_vec()
}

fn send(store: &Store, bytes: Vec<u8>) {
    let answer = store.shared().queue.send(Bytes::from(bytes)).expect("room");
    answer.blocking_recv().expect("an answer").expect("taken");
}

fn seal(store: &Store) {
    let answer = store.shared().queue.seal_all().expect("room");
    answer.blocking_recv().expect("an answer").expect("sealed");
}

fn values(store: &Store) -> Vec<Value> {
    let reader = Reader::new(store.shared().clone());
    let all = reader.samples("n", "s", "f", 0, TimeMs::MAX).expect("reads");
    all.iter().map(|(_, v)| v).collect()
}

fn ints(range: std::ops::Range<i64>) -> Vec<Value> {
    range.map(Value::Int).collect()
}

fn wait_for(what: &str, done: impl Fn() -> bool) {
    let until = Instant::now() + Duration::from_secs(20);
    while !done() {
        assert!(Instant::now() < until, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn bytes_in(dir: &Path) -> u64 {
    let files = std::fs::read_dir(dir).expect("a folder");
    files.map(|f| f.expect("a file").metadata().expect("is there").len()).sum()
}

#[test]
fn a_forged_number_blinds_nobody() {
    let dir = tempfile::tempdir().expect("tmp");
    let mut store = open(dir.path());
    send(&store, frame(7, 1, [(T0, 0)]));
    send(&store, frame(7, 1 << 63, [(T0 - 5, 666)]));
    for n in 2..4 {
        send(&store, frame(7, n as u64, [(T0 + n, n)]));
    }
    // The same after a restart, with and without the journal.
    for n in 4..8 {
        if n == 6 {
            seal(&store);
        }
        drop(store);
        store = open(dir.path());
        send(&store, frame(7, n as u64, [(T0 + n, n)]));
        // As it was before: a clone, or a snapshot that was restored.
        send(&store, frame(7, 2, [(T0 + 100 + n, 100 + n)]));
    }
    let mut want = vec![Value::Int(666), Value::Int(0)];
    want.extend(ints(2..8));
    want.extend(ints(104..108));
    assert_eq!(values(&store), want);
    assert_eq!(store.shared().stats.conflicts.load(Ordering::Relaxed), 0);
}

#[test]
fn doubled_rows_are_not_journalled_again() {
    let dir = tempfile::tempdir().expect("tmp");
    let mut store = open(dir.path());
    let rows = |range: std::ops::Range<i64>| range.map(|i| (T0 + 1000 * i, i));
    send(&store, frame(0, 0, rows(0..5000)));
    seal(&store);
    let before = bytes_in(&dir.path().join("journal"));
    for _ in 0..5 {
        send(&store, frame(0, 0, rows(0..5000)));
    }
    let stats = &store.shared().stats;
    assert_eq!(stats.doubled_rows.load(Ordering::Relaxed), 25_000);
    assert_eq!(bytes_in(&dir.path().join("journal")), before);
    // Only what is new of a frame, of the sealed and of the open ones.
    send(&store, frame(0, 0, rows(4000..5010)));
    send(&store, frame(0, 0, rows(4000..5020)));
    let grown = bytes_in(&dir.path().join("journal")) - before;
    assert!(grown < 60_000, "{grown} bytes for 20 rows");
    let other = rows(10..20).map(|(t, v)| (t, v + 1));
    send(&store, frame(0, 0, other));
    assert_eq!(store.shared().stats.conflicts.load(Ordering::Relaxed), 10);
    assert_eq!(values(&store), ints(0..5020));
    drop(store);
    store = open(dir.path());
    assert_eq!(values(&store), ints(0..5020));
}

#[test]
fn a_months_file_that_is_removed_meanwhile_costs_no_row_that_the_journal_has() {
    let dir = tempfile::tempdir().expect("tmp");
    let settings = StoreSettings { seal_after_ms: 1, ..StoreSettings::new(dir.path()) };
    let store = Store::open(settings, Box::new(NoObserver)).expect("opens");
    let rows = |range: std::ops::Range<i64>| range.map(|i| (T0 + 1000 * i, i));
    let n_sealed = || store.shared().stats.blocks_sealed.load(Ordering::Relaxed);
    for part in [0..50, 50..100] {
        let before = n_sealed();
        send(&store, frame(0, 0, rows(part)));
        wait_for("sealed", || n_sealed() > before);
    }
    let file = dir.path().join("periods/2023-11.sqlite");
    std::fs::remove_file(&file).expect("was there");
    send(&store, frame(0, 0, rows(100..150)));
    wait_for("taken out of the journal", || values(&store) == ints(0..150));
    assert!(store.shared().stats.damages.load(Ordering::Relaxed) > 0);
    // Also when nothing more is sealed into it before the journal is trimmed.
    let before = n_sealed();
    wait_for("sealed", || n_sealed() > before);
    std::fs::remove_file(&file).expect("was made again");
    seal(&store);
    assert_eq!(values(&store), ints(0..150));
    drop(store);
    let store = open(dir.path());
    assert_eq!(values(&store), ints(0..150));
}

#[test]
fn a_month_of_little_takes_little_and_may_grow_again() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = open(dir.path());
    let noise = |i: i64| {
        let x = (i as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        ((x ^ x >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9) ^ x >> 32) as i64
    };
    send(&store, frame(0, 0, (0..100).map(|i| (T0 + 1000 * i, noise(i)))));
    seal(&store);
    let file = dir.path().join("periods/2023-11.sqlite");
    let size = || std::fs::metadata(&file).expect("is there").len();
    let page = || {
        let conn = rusqlite::Connection::open(&file).expect("opens");
        conn.query_row("PRAGMA page_size", [], |r| r.get::<_, i64>(0)).expect("reads")
    };
    assert!(size() < 10_000, "{} bytes", size());
    assert_eq!(page(), 512);
    send(&store, frame(0, 0, (0..200_000).map(|i| (T0 + 1_000_000 + i, noise(i)))));
    seal(&store);
    assert_eq!((page(), values(&store).len()), (4096, 200_100));
    drop(store);
    assert_eq!(values(&open(dir.path())).len(), 200_100);
}
