//! Rollups from summaries against rollups from every sample.

use bytes::Bytes;
use proptest::prelude::*;
use rookery_collector::history::{Bucket, FieldRollup, History};
use rookery_collector::read::Reader;
use rookery_collector::writer::NoObserver;
use rookery_collector::{Store, StoreSettings};
use rookery_plugins::wire::{Announce, FrameWriter};
use rookery_plugins::{Cells, FieldKey, FieldSpec, FieldType, Layout, ServiceSpec, Value};
use std::path::Path;

/// Two hours before a change of month.
const START: i64 = 1_796_083_200_000 - 7_200_000;

fn open(dir: &Path) -> Store {
    Store::open(StoreSettings::new(dir), Box::new(NoObserver)).expect("opens")
}

fn spec() -> ServiceSpec {
    let field = |i: usize, kind| FieldSpec { kind, ..FieldSpec::gauge(&format!("f{i}"), "x") };
    let mut spec = ServiceSpec::new("svc", "A service", "disk");
    spec.fields = vec![
        field(0, FieldType::Gauge),
        FieldSpec { max: Some(900.0), ..field(1, FieldType::Gauge) },
        field(2, FieldType::Counter),
        FieldSpec { min: Some(0.0), ..field(3, FieldType::Derive) },
        field(4, FieldType::Derive),
        field(5, FieldType::Absolute),
    ];
    spec.step_ms = 10_000;
    spec
}

/// What happens at a row, to all fields.
#[derive(Clone, Copy, Debug)]
enum Event {
    Reset,
    Unknown,
    Absent,
    Gap(i64),
    NegativeZero,
    Spike,
}

fn event() -> impl Strategy<Value = (usize, Event)> {
    let what = prop_oneof![
        Just(Event::Reset),
        Just(Event::Unknown),
        Just(Event::Absent),
        (1i64..600_000).prop_map(Event::Gap),
        Just(Event::NegativeZero),
        Just(Event::Spike),
    ];
    (0usize..2000, what)
}

struct Rows {
    all: Vec<(i64, Cells)>,
}

fn rows(n: usize, seed: u64, jitter: i64, events: &[(usize, Event)]) -> Rows {
    let mut random = seed | 1;
    let mut next = |n: u64| {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        random % n
    };
    let mut time = START;
    let mut counters = [0u64, 1 << 40, 5];
    let mut all = Vec::new();
    for i in 0..n {
        time += 10_000;
        let at = events.iter().filter(|(row, _)| *row == i).map(|e| e.1);
        let mut change = None;
        for event in at {
            change = Some(event);
            match event {
                Event::Gap(ms) => time += ms,
                Event::Reset => counters = [0; 3],
                _ => {}
            }
        }
        counters.iter_mut().for_each(|c| *c += next(1000));
        let level = next(500) as f64 / 10.0;
        let mut values = [
            Value::Float(level),
            Value::Int(next(800) as i64),
            Value::Int(counters[0] as i64),
            Value::Float(counters[1] as f64 / 100.0),
            Value::Int(counters[2] as i64),
            Value::Int(next(30) as i64),
        ]
        .map(Some);
        match change {
            Some(Event::Unknown) => values = [Some(Value::Unknown); 6],
            Some(Event::Absent) => values = [None; 6],
            Some(Event::NegativeZero) => values[0] = Some(Value::Float(-0.0)),
            Some(Event::Spike) => values[1] = Some(Value::Int(901)),
            _ => {}
        }
        let mut cells = Cells::new();
        for v in values {
            match v {
                Some(v) => cells.push(v),
                None => cells.push_absent(),
            }
        }
        all.push((time + next(jitter as u64 + 1) as i64, cells));
    }
    Rows { all }
}

fn fill(store: &Store, rows: &Rows, seals: &[usize]) {
    let layout = Layout::new((0..6).map(|i| FieldKey::new("svc", &format!("f{i}"))).collect());
    let mut writer = FrameWriter::default();
    let mut ends: Vec<usize> = seals.iter().map(|s| s % rows.all.len()).collect();
    ends.sort_unstable();
    let mut from = 0;
    for end in ends.into_iter().chain([rows.all.len()]) {
        writer.start("node", 1, end as u64 + 1);
        // A slow one beside it, whose rates need samples from longer ago.
        let mut slow = ServiceSpec::new("slow", "Another service", "disk");
        slow.fields = vec![FieldSpec { kind: FieldType::Derive, ..FieldSpec::gauge("f", "x") }];
        slow.step_ms = 900_000;
        writer.announce(&Announce { services: vec![spec(), slow], ..Announce::default() });
        writer.layout(&layout);
        for (time, cells) in &rows.all[from..end] {
            writer.row(layout.id(), *time, cells);
        }
        let answer = store.shared().queue.send(Bytes::from(writer.finish().to_vec()));
        answer.expect("room").blocking_recv().expect("an answer").expect("taken");
        if end < rows.all.len() {
            let answer = store.shared().queue.seal_all().expect("room");
            answer.blocking_recv().expect("an answer").expect("sealed");
        }
        from = end;
    }
}

/// Of a bucket, ms.
fn width() -> impl Strategy<Value = i64> {
    prop_oneof![1_000i64..100_000, 1_000_000i64..9_000_000]
}

fn near(a: f64, b: f64, share: f64) -> bool {
    (a - b).abs() <= share * a.abs().max(b.abs()).max(1.0)
}

fn same(field: &FieldRollup, from_summaries: &Bucket, exact: &Bucket) -> Result<(), TestCaseError> {
    let (a, b) = (from_summaries, exact);
    prop_assert_eq!(a.count, b.count, "{}: {:?} {:?}", field.spec.name, a, b);
    prop_assert_eq!(a.min.to_bits(), b.min.to_bits(), "{}: {:?} {:?}", field.spec.name, a, b);
    prop_assert_eq!(a.max.to_bits(), b.max.to_bits(), "{}: {:?} {:?}", field.spec.name, a, b);
    if field.spec.kind == FieldType::Gauge {
        prop_assert_eq!(a.first.to_bits(), b.first.to_bits(), "{:?} {:?}", a, b);
        prop_assert_eq!(a.last.to_bits(), b.last.to_bits(), "{:?} {:?}", a, b);
        prop_assert!(near(a.sum, b.sum, 1e-9), "{:?} {:?}", a, b);
    } else {
        prop_assert!(near(a.sum, b.sum, 0.06), "{:?} {:?}", a, b);
    }
    Ok(())
}

fn compare(reader: &Reader, (from, to): (i64, i64), step: i64) -> Result<(), TestCaseError> {
    let rollup = reader.rollup("node", "svc", &[], from, to, step).expect("reads");
    // All services at once give the same. (They may be read a little further back, so that
    // samples are decoded where else a summary does.)
    let all = reader.rollups("node", from, to, step).expect("reads");
    let svc = all.iter().find(|r| r.spec.name == "svc").expect("the service");
    prop_assert_eq!(all.len(), 2);
    for (a, b) in svc.fields.iter().zip(&rollup.fields) {
        prop_assert_eq!((&a.spec, a.buckets.len()), (&b.spec, b.buckets.len()));
        for (x, y) in a.buckets.iter().zip(&b.buckets).chain([(&a.total, &b.total)]) {
            same(a, x, y)?;
        }
        prop_assert_eq!(a.total.last.to_bits(), b.total.last.to_bits());
    }
    let exact = reader.rollup_exactly("node", "svc", (from, to), step).expect("reads");
    for (field, exact) in rollup.fields.iter().zip(&exact) {
        prop_assert_eq!(field.buckets.len(), exact.buckets.len());
        for (a, b) in field.buckets.iter().zip(&exact.buckets) {
            same(field, a, b)?;
        }
        same(field, &field.total, &exact.total)?;
        prop_assert_eq!(field.total.last.to_bits(), exact.total.last.to_bits());
        match (field.increase, exact.increase) {
            (Some(a), Some(b)) => prop_assert!(near(a, b, 1e-9), "{a} {b}"),
            (a, b) => prop_assert_eq!(a, b),
        }
    }
    Ok(())
}

/// What is asked of a history of six days.
fn ask_for_half_days(reader: &Reader) {
    const HALF_DAY: i64 = 43_200_000;
    let day = START.div_euclid(2 * HALF_DAY) * 2 * HALF_DAY;
    for (from, to) in [(day, day + 12 * HALF_DAY), (day - HALF_DAY, START + 1), (day + 7, day * 2)]
    {
        for step in [HALF_DAY, 2 * HALF_DAY, 5 * HALF_DAY, HALF_DAY + 1] {
            let to = to.min(from + 100 * step);
            compare(reader, (from, to), step).unwrap_or_else(|e| panic!("{from} {step}: {e}"));
        }
    }
}

#[test]
fn digests_give_what_the_samples_give() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = open(dir.path());
    let n = 6 * 8640;
    let events = [
        (9000, Event::Reset),
        (20_000, Event::Unknown),
        (21_000, Event::Gap(400_000)),
        (30_000, Event::Spike),
        (39_000, Event::NegativeZero),
    ];
    fill(&store, &rows(n, 7, 4, &events), &[8000, 17_000, 26_000, 40_000, n - 100]);
    let reader = Reader::new(store.shared().clone());
    ask_for_half_days(&reader);
    drop(reader);
    drop(store);
    let periods = || {
        let files = std::fs::read_dir(dir.path().join("periods")).expect("periods");
        let files = files.map(|f| f.expect("a file").path());
        files
            .filter(|f| f.extension().is_some_and(|e| e == "sqlite"))
            .map(|f| rusqlite::Connection::open(f).expect("opens"))
    };
    let count = || -> i64 {
        let sql = "SELECT count(*) FROM digest";
        periods().map(|c| c.query_row(sql, [], |r| r.get::<_, i64>(0)).expect("counted")).sum()
    };
    let n_digests = count();
    assert!(n_digests >= 4, "{n_digests} digests");
    let damage = |sql: &str| periods().for_each(|c| c.execute_batch(sql).expect("damaged"));
    damage("UPDATE digest SET data = zeroblob(length(data))");
    let report = rookery_collector::verify::verify(dir.path()).expect("verified");
    assert_eq!(report.blocks.len(), n_digests as usize, "{report:?}");
    let store = open(dir.path());
    ask_for_half_days(&Reader::new(store.shared().clone()));
    drop(store);
    let rebuilt = rookery_collector::rebuild::rebuild(dir.path()).expect("rebuilt");
    assert!(rebuilt.rebuilt > 0 && rebuilt.damaged == 0, "{rebuilt:?}");
    assert_eq!(count(), n_digests);
    let report = rookery_collector::verify::verify(dir.path()).expect("verified");
    assert!(report.is_whole(), "{report:?}");
    // They alone are asked: nothing else is left of the blocks.
    let day = START.div_euclid(86_400_000) * 86_400_000;
    let count_of = |store: &Store| {
        let reader = Reader::new(store.shared().clone());
        let span = (day + 86_400_000, day + 4 * 86_400_000);
        let r = reader.rollup("node", "svc", &["f0"], span.0, span.1, 43_200_000).expect("reads");
        r.fields[0].total.count
    };
    let store = open(dir.path());
    let before = count_of(&store);
    drop(store);
    damage("DROP TRIGGER block_changed; UPDATE block SET data = zeroblob(9)");
    let store = open(dir.path());
    assert_eq!(count_of(&store), before);
    assert!(before > 25_000, "{before}");
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]
    #[test]
    fn summaries_give_what_the_samples_give(
        n in 400usize..2000,
        seed: u64,
        jitter in prop_oneof![Just(0i64), Just(5), Just(4000)],
        events in proptest::collection::vec(event(), 0..8),
        seals in proptest::collection::vec(0usize..2000, 1..3),
        asked in proptest::collection::vec(
            (-500i64..15_000, 1i64..20_000, width()),
            8,
        ),
    ) {
        let dir = tempfile::tempdir().expect("tmp");
        let store = open(dir.path());
        fill(&store, &rows(n, seed, jitter, &events), &seals);
        let reader = Reader::new(store.shared().clone());
        for (from, len, step) in asked {
            let from = START + from * 1000;
            let to = from + len * 1000;
            compare(&reader, (from, to), step)?;
        }
    }
}
