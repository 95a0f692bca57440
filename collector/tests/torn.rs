//! A journal whose last write was torn: what was acknowledged before is whole,
//! what was not is there wholly or not at all.

use bytes::Bytes;
use proptest::prelude::*;
use rookery_collector::history::History;
use rookery_collector::read::Reader;
use rookery_collector::writer::NoObserver;
use rookery_collector::{Store, StoreSettings};
use rookery_plugins::wire::FrameWriter;
use rookery_plugins::{Cells, FieldKey, Layout, Value};
use std::path::{Path, PathBuf};

const START: i64 = 1_796_000_000_000;
const FIELDS: i64 = 300;

fn open(dir: &Path) -> Store {
    Store::open(StoreSettings::new(dir), Box::new(NoObserver)).expect("opens")
}

/// Two rows of 300 fields: more than one page of the journal.
fn send(store: &Store, i: i64) {
    let keys = (0..FIELDS).map(|f| FieldKey::new("svc", &format!("f{f}"))).collect();
    let layout = Layout::new(keys);
    let mut writer = FrameWriter::default();
    writer.start("node", 1, i as u64 + 1);
    writer.layout(&layout);
    for row in [2 * i, 2 * i + 1] {
        let mut cells = Cells::new();
        (0..FIELDS).for_each(|f| cells.push(Value::Int(row * FIELDS + f)));
        writer.row(layout.id(), START + row * 1000, &cells);
    }
    let answer = store.shared().queue.send(Bytes::copy_from_slice(writer.finish()));
    answer.expect("room").blocking_recv().expect("an answer").expect("taken");
}

/// The WAL of the newest segment.
fn wal(dir: &Path) -> PathBuf {
    let entries = std::fs::read_dir(dir.join("journal")).expect("lists");
    let paths = entries.map(|e| e.expect("an entry").path());
    paths.filter(|p| p.to_string_lossy().ends_with("-wal")).max().expect("a WAL")
}

/// As the disk would be after the power went: without shared memory.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("makes");
    for entry in std::fs::read_dir(from).expect("lists") {
        let path = entry.expect("an entry").path();
        let to = to.join(path.file_name().expect("a name"));
        if path.is_dir() {
            copy(&path, &to);
        } else if !path.to_string_lossy().ends_with("-shm") {
            std::fs::copy(&path, &to).expect("copies");
        }
    }
}

/// What the last write left behind.
#[derive(Clone, Debug)]
enum Torn {
    /// It ends early.
    Cut,
    /// A sector holds something else.
    Sector(u8),
    /// One bit is wrong.
    Bit(u8),
    /// The end was never written, but the file is as long.
    Zeros,
}

fn tear(path: &Path, at: usize, torn: &Torn) {
    let mut bytes = std::fs::read(path).expect("reads");
    match torn {
        Torn::Cut => bytes.truncate(at),
        Torn::Zeros => bytes[at..].fill(0),
        Torn::Sector(with) => {
            let end = (at / 512 * 512 + 512).min(bytes.len());
            bytes[at..end].fill(*with);
        }
        Torn::Bit(bit) => bytes[at] ^= 1 << (bit % 8),
    }
    std::fs::write(path, bytes).expect("writes");
}

fn torn() -> impl Strategy<Value = Torn> {
    prop_oneof![
        Just(Torn::Cut),
        any::<u8>().prop_map(Torn::Sector),
        any::<u8>().prop_map(Torn::Bit),
        Just(Torn::Zeros),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]
    #[test]
    fn what_was_acknowledged_survives_a_torn_write(
        n in 1i64..6,
        share in 0f64..1.0,
        torn in torn(),
    ) {
        let (dir, after) = (tempfile::tempdir().expect("tmp"), tempfile::tempdir().expect("tmp"));
        let store = open(dir.path());
        (0..n).for_each(|i| send(&store, i));
        let safe = std::fs::metadata(wal(dir.path())).expect("there").len() as usize;
        send(&store, n);
        copy(dir.path(), after.path());
        let path = wal(after.path());
        let len = std::fs::metadata(&path).expect("there").len() as usize;
        prop_assert!(len > safe);
        tear(&path, safe + ((len - safe) as f64 * share) as usize, &torn);
        for _ in 0..2 {
            let store = open(after.path());
            let reader = Reader::new(store.shared().clone());
            let mut lens = vec![];
            for f in [0, FIELDS - 1] {
                let samples =
                    reader.samples("node", "svc", &format!("f{f}"), 0, i64::MAX).expect("reads");
                let want: Vec<_> = (0..samples.len() as i64)
                    .map(|row| (START + row * 1000, Value::Int(row * FIELDS + f)))
                    .collect();
                prop_assert_eq!(samples.iter().collect::<Vec<_>>(), want);
                lens.push(samples.len() as i64);
            }
            prop_assert_eq!(lens[0], lens[1]);
            prop_assert!(lens[0] == 2 * n || lens[0] == 2 * n + 2, "{} rows of {}", lens[0], n);
        }
        // It goes on: the torn frame comes again.
        let store = open(after.path());
        send(&store, n);
        send(&store, n + 1);
        drop(store);
        let store = open(after.path());
        let reader = Reader::new(store.shared().clone());
        let samples = reader.samples("node", "svc", "f7", 0, i64::MAX).expect("reads");
        prop_assert_eq!(samples.len() as i64, 2 * n + 4);
    }
}
