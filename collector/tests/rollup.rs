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
        writer.announce(&Announce { services: vec![spec()], ..Announce::default() });
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
            let rollup = reader.rollup("node", "svc", &[], from, to, step).expect("reads");
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
        }
    }
}
