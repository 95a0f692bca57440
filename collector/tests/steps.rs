//! What is derived from a step comes from the data, not from who asks: a source may be
//! asked more often than it has new values, or say nothing of its step.

use bytes::Bytes;
use rookery_collector::history::History;
use rookery_collector::read::Reader;
use rookery_collector::writer::NoObserver;
use rookery_collector::{Store, StoreSettings};
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec, Value};

const START: i64 = 1_796_000_400_000;
const MINUTE: i64 = 60_000;

/// Who asks, how often (minutes; rows without a value where there is none yet), and what
/// step is declared.
const SOURCES: [(&str, Option<i64>, u64); 4] = [
    ("a poller by the minute", Some(1), 60_000),
    ("a poller that knows the step", Some(1), 300_000),
    ("a push that says nothing", None, 0),
    ("a spool by the minute", None, 60_000),
];

/// A counter that grows by 10 a second with a value every five minutes, and a level.
fn history(dir: &std::path::Path, asked: Option<i64>, declared: u64, n: i64) -> Store {
    let store = Store::open(StoreSettings::new(dir), Box::new(NoObserver)).expect("opens");
    let mut spec = ServiceSpec::new("net", "Net", "network");
    spec.fields = vec![FieldSpec::derive("down", ""), FieldSpec::gauge("load", "")];
    spec.step_ms = declared;
    let keys = ["down", "load"].map(|f| FieldKey::new("net", f));
    let layout = Layout::new([&keys[..], &[FieldKey::new("own", "took")]].concat());
    let mut writer = FrameWriter::default();
    writer.start("a", 1, 1);
    writer.announce(&Announce { group: String::new(), services: vec![spec], gone: vec![] });
    writer.layout(&layout);
    let mut row = |time: i64, has_values: bool| {
        let mut cells = Cells::new();
        match has_values {
            true => {
                cells.push(Value::Int(time / 100));
                cells.push(Value::Int(1));
            }
            false => {
                cells.push_absent();
                cells.push_absent();
            }
        }
        cells.push(Value::Float(0.5));
        writer.row(layout.id(), START + time, &cells);
    };
    for i in 0..n {
        row(i * 5 * MINUTE, true);
        for at in (1..5 / asked.unwrap_or(5)).map(|k| k * asked.unwrap_or(5)) {
            row((i * 5 + at) * MINUTE + 1, false);
        }
    }
    let answer = store.shared().queue.send(Bytes::copy_from_slice(writer.finish()));
    answer.expect("room").blocking_recv().expect("an answer").expect("taken");
    store
}

#[test]
fn rates_newest_values_and_steps_are_those_of_the_data() {
    for (who, asked, declared) in SOURCES {
        for sealed in [false, true] {
            let dir = tempfile::tempdir().expect("tmp");
            let n = 72;
            let store = history(dir.path(), asked, declared, n);
            if sealed {
                let answer = store.shared().queue.seal_all().expect("room");
                answer.blocking_recv().expect("an answer").expect("sealed");
            }
            let at = format!("{who}, sealed: {sealed}");
            let reader = Reader::new(store.shared().clone());
            let end = START + n * 5 * MINUTE;
            for (from, step) in
                [(START + 30 * MINUTE, 30 * MINUTE), (START + 60 * MINUTE, 5 * MINUTE)]
            {
                let rollup = reader.rollup("a", "net", &["down"], from, end, step).expect("reads");
                let means: Vec<f64> =
                    rollup.fields[0].buckets.iter().filter_map(|b| b.mean()).collect();
                let n_buckets = (end - from) / step;
                assert_eq!(means.len() as i64, n_buckets, "{at}: each bucket has a rate");
                assert!(means.iter().all(|v| *v == 10.0), "{at}: {means:?}");
            }
            let info = reader.service("a", "net").expect("reads").expect("a service");
            let values: Vec<Option<f64>> = info.now.iter().map(|n| n.value).collect();
            assert_eq!(values, [Some(10.0), Some(1.0)], "{at}: newest values");
            assert_eq!(info.step_ms, 300_000, "{at}: what is late is judged by");
        }
    }
}

/// A short outage stays a gap, and is no step.
#[test]
fn an_outage_is_no_step() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = history(dir.path(), None, 300_000, 30);
    let reader = Reader::new(store.shared().clone());
    let late = START + 30 * 5 * MINUTE + 3 * 60 * MINUTE;
    let keys = ["down", "load"].map(|f| FieldKey::new("net", f));
    let layout = Layout::new(keys.to_vec());
    let mut writer = FrameWriter::default();
    writer.start("a", 1, 2);
    writer.layout(&layout);
    for i in 0..3 {
        let time = late + i * 5 * MINUTE;
        let mut cells = Cells::new();
        cells.push(Value::Int((time - START) / 100));
        cells.push(Value::Int(1));
        writer.row(layout.id(), time, &cells);
    }
    let answer = store.shared().queue.send(Bytes::copy_from_slice(writer.finish()));
    answer.expect("room").blocking_recv().expect("an answer").expect("taken");
    let rollup =
        reader.rollup("a", "net", &["down"], START, late + 15 * MINUTE, 5 * MINUTE).expect("reads");
    let told = |t: i64| rollup.fields[0].buckets[((t - START) / (5 * MINUTE)) as usize].count;
    assert_eq!((told(late), told(late + 5 * MINUTE)), (0, 1), "no rate over the outage");
    assert_eq!(reader.service("a", "net").expect("reads").expect("one").step_ms, 300_000);
}
