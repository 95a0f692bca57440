//! The history against a model: whatever is sent, sealed, closed and opened
//! again, every sample comes back as it came first.

use bytes::Bytes;
use proptest::prelude::*;
use rookery_collector::history::History;
use rookery_collector::read::Reader;
use rookery_collector::writer::NoObserver;
use rookery_collector::{Store, StoreError, StoreSettings};
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Kind, Layout, ServiceSpec, TimeMs, Value};
use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::Ordering;

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

fn layout(n: usize) -> Layout {
    Layout::new((0..n).map(|i| FieldKey::new("svc", &format!("f{i}"))).collect())
}

struct Sender {
    writer: FrameWriter,
    boot: u64,
    sequence: u64,
}

impl Sender {
    fn new(boot: u64) -> Sender {
        Sender { writer: FrameWriter::default(), boot, sequence: 0 }
    }

    fn frame(&mut self, layout: &Layout, rows: &[(TimeMs, Cells)]) -> Vec<u8> {
        self.sequence += 1;
        self.writer.start("node", self.boot, self.sequence);
        self.writer.layout(layout);
        for (time, cells) in rows {
            self.writer.row(layout.id(), *time, cells);
        }
        self.writer.finish().to_vec()
    }
}

fn cells(values: &[Option<Value>]) -> Cells {
    let mut cells = Cells::new();
    for v in values {
        match v {
            Some(v) => cells.push(*v),
            None => cells.push_absent(),
        }
    }
    cells
}

fn read(store: &Store, field: &str) -> Vec<(TimeMs, Value)> {
    let reader = Reader::new(store.shared().clone());
    let all = reader.samples("node", "svc", field, 0, i64::MAX).expect("reads");
    all.iter().collect()
}

#[derive(Clone, Debug)]
enum Step {
    Row(i64, Vec<Option<Value>>),
    SendAgain,
    Seal,
    Reopen,
}

fn value() -> impl Strategy<Value = Option<Value>> {
    (0u8..5, any::<u64>())
        .prop_map(|(k, bits)| Kind::from_u8(k).and_then(|k| Value::from_bits(k, bits)))
}

fn step() -> impl Strategy<Value = Step> {
    // Few times, over a change of month, so that many rows meet.
    let time = (0i64..40).prop_map(|t| 1_796_083_200_000 + (t - 20) * 1000);
    let row = (time, proptest::collection::vec(value(), 3));
    prop_oneof![
        12 => row.prop_map(|(t, v)| Step::Row(t, v)),
        2 => Just(Step::SendAgain),
        1 => Just(Step::Seal),
        1 => Just(Step::Reopen),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    #[test]
    fn the_first_value_of_every_time_comes_back(
        steps in proptest::collection::vec(step(), 1..60),
    ) {
        let dir = tempfile::tempdir().expect("tmp");
        let mut store = open(dir.path());
        let layout = layout(3);
        let mut sender = Sender::new(1);
        let mut last = None;
        let mut model: Vec<BTreeMap<TimeMs, Value>> = vec![BTreeMap::new(); 3];
        for step in steps {
            match step {
                Step::Row(time, values) => {
                    let bytes = sender.frame(&layout, &[(time, cells(&values))]);
                    send(&store, bytes.clone()).expect("taken");
                    last = Some(bytes);
                    for (model, v) in model.iter_mut().zip(values) {
                        if let Some(v) = v {
                            model.entry(time).or_insert(v);
                        }
                    }
                }
                Step::SendAgain => {
                    if let Some(bytes) = last.clone() {
                        send(&store, bytes).expect("taken");
                    }
                }
                Step::Seal => seal(&store),
                Step::Reopen => {
                    drop(store);
                    store = open(dir.path());
                }
            }
        }
        for (i, model) in model.iter().enumerate() {
            if model.is_empty() && store.shared().nodes.all().is_empty() {
                continue;
            }
            let want: Vec<(TimeMs, Value)> = model.iter().map(|(t, v)| (*t, *v)).collect();
            prop_assert_eq!(read(&store, &format!("f{i}")), want);
        }
    }
}

#[test]
fn a_frame_sent_twice_changes_nothing() {
    let dir = tempfile::tempdir().expect("tmp");
    let layout = layout(1);
    let frame = Sender::new(7).frame(&layout, &[(1000, cells(&[Some(Value::Int(1))]))]);
    let store = open(dir.path());
    send(&store, frame.clone()).expect("taken");
    send(&store, frame.clone()).expect("taken");
    assert_eq!(store.shared().stats.doubled_frames.load(Ordering::Relaxed), 1);
    seal(&store);
    drop(store);
    let store = open(dir.path());
    send(&store, frame).expect("taken");
    assert_eq!(store.shared().stats.doubled_frames.load(Ordering::Relaxed), 1);
    assert_eq!(read(&store, "f0"), [(1000, Value::Int(1))]);
}

#[test]
fn another_value_for_a_known_time_is_a_conflict_and_the_first_stays() {
    let dir = tempfile::tempdir().expect("tmp");
    let layout = layout(2);
    let mut sender = Sender::new(1);
    let store = open(dir.path());
    let both = |a, b| cells(&[Some(Value::Int(a)), Some(Value::Int(b))]);
    send(&store, sender.frame(&layout, &[(1000, both(1, 2))])).expect("taken");
    send(&store, sender.frame(&layout, &[(1000, both(1, 3))])).expect("taken");
    assert_eq!(store.shared().stats.conflicts.load(Ordering::Relaxed), 1);
    seal(&store);
    send(&store, sender.frame(&layout, &[(1000, both(9, 9))])).expect("taken");
    assert_eq!(store.shared().stats.conflicts.load(Ordering::Relaxed), 3);
    assert_eq!(read(&store, "f0"), [(1000, Value::Int(1))]);
    assert_eq!(read(&store, "f1"), [(1000, Value::Int(2))]);
}

#[test]
fn rows_of_an_unknown_layout_are_asked_for_again() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = open(dir.path());
    let layout = layout(1);
    let mut writer = FrameWriter::default();
    writer.start("node", 1, 1);
    writer.row(layout.id(), 1000, &cells(&[Some(Value::Int(1))]));
    let bare = writer.finish().to_vec();
    match send(&store, bare) {
        Err(StoreError::UnknownLayouts(ids)) => assert_eq!(ids, [layout.id()]),
        other => panic!("{other:?}"),
    }
    writer.start("node", 1, 1);
    writer.layout(&layout);
    writer.row(layout.id(), 1000, &cells(&[Some(Value::Int(1))]));
    send(&store, writer.finish().to_vec()).expect("taken");
    assert_eq!(read(&store, "f0").len(), 1);
}

/// The files of a folder and of those in it.
fn files(dir: &Path) -> Vec<String> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).expect("a folder").flatten() {
        match entry.path() {
            path if path.is_dir() => found.extend(files(&path)),
            path => found.push(path.display().to_string()),
        }
    }
    found
}

#[test]
fn after_a_stop_only_databases_are_left() {
    let dir = tempfile::tempdir().expect("tmp");
    let layout = layout(2);
    let store = open(dir.path());
    let rows: Vec<(TimeMs, Cells)> =
        (0..400).map(|i| (i * 1000, cells(&[Some(Value::Int(i)), None]))).collect();
    send(&store, Sender::new(1).frame(&layout, &rows)).expect("taken");
    seal(&store);
    let reader = Reader::new(store.shared().clone());
    let read = || reader.samples("node", "svc", "f0", 0, 1_000_000).expect("reads").len();
    assert_eq!(read(), 400);
    drop(store);
    let left = files(dir.path());
    let is_side = |f: &&String| f.ends_with("-wal") || f.ends_with("-shm");
    assert!(left.iter().any(|f| f.ends_with("1970-01.sqlite")), "{left:?}");
    assert_eq!(left.iter().filter(is_side).collect::<Vec<_>>(), Vec::<&String>::new());
    assert_eq!(read(), 400, "who still has a reader reads");
    assert_eq!(files(dir.path()).len(), left.len() + 2, "that one's own");
}

#[test]
fn a_second_instance_is_refused() {
    let dir = tempfile::tempdir().expect("tmp");
    let _store = open(dir.path());
    let second = Store::open(StoreSettings::new(dir.path()), Box::new(NoObserver));
    let text = second.err().expect("refused").to_string();
    assert!(text.contains("in use by another rookery"), "{text}");
}

#[test]
fn what_was_announced_is_known_after_a_restart() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = open(dir.path());
    let mut spec = ServiceSpec::new("svc", "A service", "disk");
    spec.fields = vec![FieldSpec::derive("f0", "reads").limits("80", "90")];
    let mut writer = FrameWriter::default();
    writer.start("web;www1", 1, 1);
    writer.announce(&Announce { services: vec![spec.clone()], ..Announce::default() });
    send(&store, writer.finish().to_vec()).expect("taken");
    drop(store);
    let reader = Reader::new(open(dir.path()).shared().clone());
    assert_eq!(reader.nodes()[0].last_seen_ms, None, "no sample has come");
    assert_eq!(reader.nodes()[0].group, "web");
    assert_eq!(*reader.services("web;www1").expect("known")[0].spec, spec);
}

#[test]
fn rollups_are_what_the_samples_give() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = open(dir.path());
    let mut spec = ServiceSpec::new("svc", "A service", "disk");
    spec.fields = vec![FieldSpec::gauge("f0", "level"), FieldSpec::derive("f1", "counter")];
    spec.step_ms = 1000;
    let layout = layout(2);
    let mut writer = FrameWriter::default();
    writer.start("node", 1, 1);
    writer.announce(&Announce { services: vec![spec], ..Announce::default() });
    writer.layout(&layout);
    for t in 0..1000i64 {
        let row = cells(&[Some(Value::Int(t % 7)), Some(Value::Int(t * t))]);
        writer.row(layout.id(), 1_000_000 + t * 1000, &row);
    }
    send(&store, writer.finish().to_vec()).expect("taken");
    seal(&store);
    let reader = Reader::new(store.shared().clone());
    let span = (1_010_000, 1_030_000);
    let rollup = reader.rollup("node", "svc", &[], span.0, span.1, 10_000).expect("reads");
    let level = &rollup.fields[0];
    assert_eq!(level.buckets.len(), 2);
    assert_eq!((level.total.count, level.total.min, level.total.max), (20, 0.0, 6.0));
    assert_eq!(level.total.sum, (10..30).map(|t| f64::from(t % 7)).sum::<f64>());
    let counter = &rollup.fields[1];
    assert_eq!((counter.total.min, counter.total.max), (19.0, 57.0));
    assert_eq!(counter.increase, Some(f64::from(29 * 29 - 9 * 9)));
    assert!(reader.rollup("node", "svc", &[], 5, 5, 1).is_err());
    let e = reader.rollup("node", "svc", &["f2"], 0, 10, 1).expect_err("unknown").to_string();
    assert!(e.contains("did you mean"), "{e}");
}

/// A block that ends in the middle of a frame: the frame's other rows are in
/// the journal only, and must come back from there. (They once did not.)
#[test]
fn a_block_may_end_in_the_middle_of_a_frame() {
    const FRAMES: i64 = 30;
    const ROWS: i64 = 50;
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let mut sender = Sender::new(1);
    for f in 0..FRAMES {
        let row = |r: i64| (1_000_000 + (f * ROWS + r) * 1000, cells(&[Some(Value::Int(r))]));
        let rows: Vec<_> = (0..ROWS).map(row).collect();
        send(&store, sender.frame(&layout(1), &rows)).expect("taken");
    }
    let want = read(&store, "f0");
    assert_eq!(want.len() as i64, FRAMES * ROWS);
    let shared = store.shared().clone();
    while shared.stats.blocks_sealed.load(Ordering::Relaxed) < 3 {
        std::thread::yield_now();
    }
    drop(store);
    assert_eq!(read(&open(dir.path()), "f0"), want);
}

/// A renamed label, a changed type and a field that is gone are drawn as they
/// were at the time, and their samples stay within reach.
#[test]
fn the_catalog_keeps_its_own_history() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let (early, late) = (1_000_000, 2_000_000);
    let mut sender = Sender::new(1);
    let mut say = |from: TimeMs, fields: Vec<FieldSpec>, n: usize| {
        sender.sequence += 1;
        let w = &mut sender.writer;
        w.start("node", 1, sender.sequence);
        let spec = ServiceSpec::new("svc", "S", "test").fields(fields);
        w.announce(&Announce { services: vec![spec], ..Announce::default() });
        w.layout(&layout(n));
        for i in 0..3 {
            let row = cells(&vec![Some(Value::Int(i)); n]);
            w.row(layout(n).id(), from + i * 10_000, &row);
        }
        send(&store, w.finish().to_vec()).expect("taken");
    };
    say(early, vec![FieldSpec::gauge("f0", "old"), FieldSpec::gauge("f1", "gone")], 2);
    say(late, vec![FieldSpec::derive("f0", "new")], 1);
    let look = |store: &Store| {
        let reader = Reader::new(store.shared().clone());
        let at = |from: TimeMs| {
            let rollup = reader.rollup("node", "svc", &[], from, from + 30_000, 30_000);
            let rollup = rollup.expect("reads");
            let fields = rollup.fields.iter();
            fields.map(|f| (f.spec.label.clone(), f.total.max)).collect::<Vec<_>>()
        };
        assert_eq!(at(early), [("old".to_owned(), 2.0), ("gone".to_owned(), 2.0)]);
        assert_eq!(at(late), [("new".to_owned(), 0.1)], "a rate now");
        assert_eq!(read(store, "f1").len(), 3, "of a field that is gone");
        let names = reader.fields("node", "svc").expect("known");
        let names: Vec<&str> = names.iter().map(|f| f.name.as_str()).collect();
        assert_eq!(names, ["f0", "f1"]);
        let now = reader.services("node").expect("known");
        assert_eq!(now[0].spec.fields.len(), 1, "it has one now");
    };
    look(&store);
    drop(store);
    look(&open(dir.path()));
}

/// Old samples that come last say what there is now, too: an import of 1970
/// must not hide a field that it brought.
#[test]
fn what_was_said_last_holds_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let mut sender = Sender::new(1);
    let row = |n: usize| cells(&vec![Some(Value::Int(1)); n]);
    send(&store, sender.frame(&layout(1), &[(1_700_000_000_000, row(1))])).expect("taken");
    send(&store, sender.frame(&layout(2), &[(1_000_000, row(2))])).expect("taken");
    drop(store);
    let store = open(dir.path());
    assert_eq!(read(&store, "f0").len(), 2);
    assert_eq!(read(&store, "f1").len(), 1);
    let now = Reader::new(store.shared().clone()).services("node").expect("known");
    assert_eq!(now[0].spec.fields.len(), 2);
}

#[test]
fn when_a_node_was_heard_is_known_after_a_restart() {
    let dir = tempfile::tempdir().expect("a folder");
    let store = open(dir.path());
    let row = cells(&[Some(Value::Int(1))]);
    let frame = Sender::new(1).frame(&layout(1), &[(5_000, row)]);
    send(&store, frame).expect("taken");
    seal(&store);
    drop(store);
    let reader = Reader::new(open(dir.path()).shared().clone());
    assert_eq!(reader.nodes()[0].last_seen_ms, Some(5_000));
}
