//! Fields and services that were called otherwise before: one history, by either name.

use bytes::Bytes;
use rookery_collector::history::History;
use rookery_collector::read::Reader;
use rookery_collector::writer::NoObserver;
use rookery_collector::{Store, StoreSettings};
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec, Value};
use std::path::Path;

const START: i64 = 1_793_487_600_000;
const STEP: i64 = 10_000;

fn open(dir: &Path) -> Store {
    Store::open(StoreSettings::new(dir), Box::new(NoObserver)).expect("opens")
}

/// Rows of these fields, in which each value is its row's number.
fn send(
    store: &Store,
    sequence: u64,
    spec: &ServiceSpec,
    gone: &[&str],
    rows: std::ops::Range<i64>,
) {
    let keys = spec.fields.iter().map(|f| FieldKey::new(&spec.name, &f.name));
    let layout = Layout::new(keys.collect());
    let mut writer = FrameWriter::default();
    writer.start("node", 1, sequence);
    writer.announce(&Announce {
        services: vec![spec.clone()],
        gone: gone.iter().map(|g| (*g).to_owned()).collect(),
        ..Announce::default()
    });
    writer.layout(&layout);
    for i in rows {
        let mut cells = Cells::new();
        spec.fields.iter().for_each(|_| cells.push(Value::Int(i)));
        writer.row(layout.id(), START + i * STEP, &cells);
    }
    let answer = store.shared().queue.send(Bytes::copy_from_slice(writer.finish()));
    answer.expect("room").blocking_recv().expect("an answer").expect("taken");
}

fn spec(name: &str, old: &[&str], fields: &[(&str, &[&str])]) -> ServiceSpec {
    let field =
        |(name, old): &(&str, &[&str])| FieldSpec::gauge(name, name).formerly(old.iter().copied());
    ServiceSpec::new(name, name, "disk")
        .fields(fields.iter().map(field).collect())
        .formerly(old.iter().copied())
}

/// How many samples there are, and that all ways of reading agree.
fn count(reader: &Reader, service: &str, field: &str, rows: std::ops::Range<i64>) -> usize {
    let (from, to) = (START + rows.start * STEP, START + rows.end * STEP);
    let samples = reader.samples("node", service, field, from, to).expect("reads");
    assert!(samples.times_ms.is_sorted());
    for step_ms in [STEP, 60_000, 3_600_000] {
        let rollup = reader.rollup("node", service, &[field], from, to, step_ms).expect("reads");
        let [one] = &rollup.fields[..] else { panic!("one field") };
        assert_eq!((one.spec.name.as_str(), one.total.count as usize), (field, samples.len()));
        if let Some((_, first)) = samples.iter().next() {
            assert_eq!(Some(one.total.first), first.as_f64());
        }
    }
    samples.len()
}

#[test]
fn a_history_goes_on_under_the_new_name_and_answers_to_the_old_one() {
    let dir = tempfile::tempdir().expect("tmp");
    let mut store = open(dir.path());
    send(&store, 1, &spec("io.dm_1", &[], &[("wait", &[])]), &[], 0..500);
    send(&store, 2, &spec("df", &[], &[("shm", &[]), ("shm_2", &[])]), &[], 0..500);
    let mysql = spec("io.mysql", &["io.dm_1"], &[("wait", &[])]);
    send(&store, 3, &mysql, &["io.dm_1"], 500..700);
    let df = spec("df", &[], &[("_a", &["shm"]), ("_b", &["shm_2"])]);
    send(&store, 4, &df, &[], 500..700);
    for is_sealed in [false, true] {
        if is_sealed {
            let answer = store.shared().queue.seal_all().expect("room");
            answer.blocking_recv().expect("an answer").expect("sealed");
            drop(store);
            store = open(dir.path());
        }
        let reader = Reader::new(store.shared().clone());
        for (service, field) in
            [("io.mysql", "wait"), ("io.dm_1", "wait"), ("df", "_b"), ("df", "shm_2")]
        {
            assert_eq!(count(&reader, service, field, 0..700), 700, "{service} {field}");
            assert_eq!(count(&reader, service, field, 100..400), 300, "{service} {field}");
            assert_eq!(count(&reader, service, field, 600..700), 100, "{service} {field}");
        }
        assert_eq!(reader.spec("node", "io.dm_1").expect("known").name, "io.mysql");
        // All services at once are read in the same way.
        let all = reader.rollups("node", START, START + 700 * STEP, 7_000_000).expect("reads");
        let mysql = all.iter().find(|r| r.spec.name == "io.mysql").expect("there");
        assert_eq!((mysql.fields[0].total.count, mysql.fields[0].total.first), (700, 0.0));
    }
    // The first container has ended: what was its number is now another's, and neither
    // takes over what was kept so far.
    let df = spec("df", &[], &[("_b", &["shm"])]);
    send(&store, 5, &df, &[], 700..800);
    let reader = Reader::new(store.shared().clone());
    assert_eq!(count(&reader, "df", "_b", 0..800), 800);
    assert_eq!(count(&reader, "df", "_a", 0..800), 700);
    let first = reader.samples("node", "df", "_a", START, START + STEP).expect("reads");
    assert_eq!(first.len(), 1);
}
