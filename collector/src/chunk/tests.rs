//! Blocks as a whole: everything comes back, nothing damaged passes.

use super::*;
use proptest::prelude::*;
use proptest::test_runner::TestCaseError;
use rookery_plugins::{Kind, Value};
use std::collections::HashMap;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;

/// Cells by column.
#[derive(Clone, Debug, Default)]
struct Table {
    times_ms: Vec<i64>,
    kinds: Vec<Vec<u8>>,
    bits: Vec<Vec<u64>>,
}

impl Table {
    fn of_columns(times_ms: Vec<i64>, columns: &[Vec<Value>]) -> Table {
        let each = |f: fn(&Value) -> u64| -> Vec<Vec<u64>> {
            columns.iter().map(|c| c.iter().map(f).collect()).collect()
        };
        let kinds = each(|v| v.kind() as u64);
        let kinds = kinds.iter().map(|c| c.iter().map(|k| *k as u8).collect()).collect();
        Table { times_ms, kinds, bits: each(|v| v.bits()) }
    }

    fn encode(&self, cols: Range<usize>) -> Vec<u8> {
        self.encoded(cols).0
    }

    /// The block, and its digests.
    fn encoded(&self, cols: Range<usize>) -> (Vec<u8>, Vec<DigestPart>) {
        let n_cols = self.kinds.len();
        let mut sets: Vec<Arc<[u8]>> = vec![vec![9; n_cols].into()];
        let mut known: HashMap<Vec<u8>, u32> = HashMap::new();
        let mut bits = vec![];
        let mut row_kind = vec![];
        for row in 0..self.times_ms.len() {
            bits.extend(self.bits.iter().map(|c| c[row]));
            let kinds: Vec<u8> = self.kinds.iter().map(|c| c[row]).collect();
            let set = *known.entry(kinds.clone()).or_insert_with(|| {
                sets.push(kinds.into());
                sets.len() as u32 - 1
            });
            row_kind.push(set);
        }
        let rows = Rows {
            times_ms: &self.times_ms,
            n_cols,
            kind_sets: &sets,
            row_kind: &row_kind,
            bits: &bits,
        };
        let mut out = b"before".to_vec();
        let mut encoder = Encoder::new();
        encoder.encode(&rows, cols, 1, &mut out);
        (out.split_off(6), encoder.digests().to_vec())
    }

    /// Everything that can be read of the block equals this table.
    fn check(&self, block: &[u8], cols: Range<usize>) -> Result<(), TestCaseError> {
        let mut block = Block::open(block).expect("opens");
        prop_assert_eq!(block.n_rows(), self.times_ms.len());
        prop_assert_eq!(block.cols(), cols.clone());
        prop_assert_eq!(block.times().expect("times"), &self.times_ms);
        let mut buf = ColumnBuf::default();
        for col in cols {
            block.column(col, &mut buf).expect("decodes");
            prop_assert_eq!(&buf.kinds, &self.kinds[col], "kinds of column {}", col);
            prop_assert_eq!(&buf.bits, &self.bits[col], "bits of column {}", col);
            let stored = block.summaries(col).expect("summaries");
            prop_assert_eq!(stored.len(), self.times_ms.len().div_ceil(SUMMARY_ROWS));
            for s in stored {
                let want = summarise(&self.times_ms, &buf.kinds, &buf.bits, s.rows.clone());
                same(&s, &want, &buf.bits)?;
            }
        }
        prop_assert_eq!(block.verify(), vec![]);
        Ok(())
    }
}

/// A digest says of its runs what the samples say.
fn check_digests(table: &Table, parts: &[DigestPart]) -> Result<usize, TestCaseError> {
    let runs = digest_runs(&table.times_ms);
    let mut n_summaries = 0;
    for part in parts {
        let mut digest = Digest::open(&part.bytes).expect("opens");
        prop_assert_eq!(&digest.cols, &part.cols);
        let times: Vec<RunTimes> =
            runs.iter().map(|r| RunTimes::of(&table.times_ms[r.clone()])).collect();
        prop_assert_eq!(&digest.times, &times);
        // Backwards, to look for columns that were passed.
        for col in part.cols.clone().rev() {
            let found = digest.summaries(col).expect("summaries");
            prop_assert_eq!(found.len(), runs.len());
            for (s, rows) in found.iter().zip(&runs) {
                let (kinds, bits) = (&table.kinds[col], &table.bits[col]);
                same(s, &summarise(&table.times_ms, kinds, bits, rows.clone()), bits)?;
                n_summaries += 1;
            }
        }
    }
    Ok(n_summaries)
}

#[test]
fn digests_equal_their_samples() {
    let values = |d: i32, seed| decimals(8640, d, seed);
    let mut rising: Vec<Value> =
        (0..8640i64).map(|i| Value::Int((1 << 60) + i * i * 1000)).collect();
    rising[5000] = Value::Int(7);
    let mut gaps = values(2, 3);
    gaps[100..3000].fill(Value::Unknown);
    let big = (0..8640u64).map(|i| Value::from(u64::MAX - i * i)).collect();
    let nothing = vec![Value::Unknown; 8640];
    let zero = vec![Value::Float(-0.0); 8640];
    let columns = [values(0, 1), values(3, 2), rising, gaps, big, nothing, zero];
    // From 11:06 on: a day, and two hours.
    for step in [10_000, 1000] {
        let times = (0..8640).map(|i| 1_795_000_000_000 + i * step).collect();
        let table = Table::of_columns(times, &columns);
        let parts = table.encoded(0..7).1;
        let n = check_digests(&table, &parts).expect("equal");
        assert_eq!(n, 7 * if step == 1000 { 2 } else { 3 }, "{step}");
    }
    // As long as its summaries: not worth it.
    let times = (0..8640).map(|i| 1_795_000_000_000 + i * 60_000).collect();
    assert!(Table::of_columns(times, &columns).encoded(0..7).1.is_empty());
}

/// To the bit, but for the last bits of a sum of doubles.
fn same(got: &Summary, want: &Summary, bits: &[u64]) -> Result<(), TestCaseError> {
    let exact = |s: &Summary| {
        let rates = s.rates.map(|(a, b)| (a.to_bits(), b.to_bits()));
        let extremes = (s.min.to_bits(), s.max.to_bits());
        (s.rows.clone(), s.count, s.unknown, s.first, s.last, extremes, rates)
    };
    prop_assert_eq!(exact(got), exact(want));
    let magnitude: f64 = want.min.abs().max(want.max.abs());
    let near = (got.sum - want.sum).abs() <= magnitude * want.count as f64 * 1e-12;
    let same = got.sum.to_bits() == want.sum.to_bits() || got.sum.is_nan() && want.sum.is_nan();
    prop_assert!(same || near, "sum {} is not {}, of {:?}", got.sum, want.sum, bits);
    Ok(())
}

fn steady(n: usize) -> Vec<i64> {
    (0..n as i64).map(|i| 1_795_000_000_000 + i * 10_000).collect()
}

fn decimals(n: usize, d: i32, seed: u64) -> Vec<Value> {
    let mut x = seed;
    let values = (0..n).map(|_| {
        x = x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let v = (x >> 50) as f64 / 10f64.powi(d);
        if v.fract() == 0.0 { Value::Int(v as i64) } else { Value::Float(v) }
    });
    values.collect()
}

fn any_kind() -> impl Strategy<Value = u8> {
    prop_oneof![Just(0u8), Just(1), Just(2), Just(3), Just(4)]
}

fn any_bits() -> impl Strategy<Value = u64> {
    let hard = [
        0.0,
        -0.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::MIN_POSITIVE,
        5e-324,
        f64::MAX,
        0.1,
        0.282_000_000_000_000_03,
    ];
    let mut hard: Vec<u64> = hard.iter().map(|v: &f64| v.to_bits()).collect();
    hard.extend([u64::MAX, 1 << 63, (1 << 63) - 1, (1 << 53) + 1, 0x7ff8_dead_beef_0001, 7]);
    prop_oneof![
        any::<u64>(),
        proptest::sample::select(hard),
        (-5000i64..5000, 0i32..7).prop_map(|(m, d)| (m as f64 / 10f64.powi(d)).to_bits()),
        (-5000i64..5000).prop_map(|m| m as u64),
    ]
}

/// A column in one of the ways that columns are.
fn any_column(n: usize) -> impl Strategy<Value = Vec<(u8, u64)>> {
    let chaos = proptest::collection::vec((any_kind(), any_bits()), n);
    let of_kind = (any_kind(), proptest::collection::vec(any_bits(), n))
        .prop_map(|(kind, bits)| bits.iter().map(|b| (kind, *b)).collect::<Vec<_>>());
    let constant = (any_kind(), any_bits()).prop_map(move |cell| vec![cell; n]);
    let counter =
        (any::<i64>(), proptest::collection::vec(0i64..100_000, n)).prop_map(|(start, steps)| {
            let mut v = start;
            let mut next = |s: &i64| {
                v = v.saturating_add(*s);
                (Kind::Int as u8, v as u64)
            };
            steps.iter().map(&mut next).collect::<Vec<_>>()
        });
    let decimal = (0i32..5, any::<bool>(), proptest::collection::vec(-3000i64..90_000, n))
        .prop_map(|(d, sorted, mut m)| {
            if sorted {
                m.sort();
            }
            let cell = |m: &i64| {
                let v = *m as f64 / 10f64.powi(d);
                let whole = v.fract() == 0.0;
                if whole { (2, v as i64 as u64) } else { (4, v.to_bits()) }
            };
            m.iter().map(cell).collect::<Vec<_>>()
        });
    let added =
        (0.001f64..30.0, proptest::collection::vec(0i64..5000, n)).prop_map(|(mut sum, steps)| {
            let mut next = |s: &i64| {
                sum += *s as f64 / 1000.0;
                (Kind::Float as u8, sum.to_bits())
            };
            steps.iter().map(&mut next).collect::<Vec<_>>()
        });
    let times = proptest::collection::vec(-500i64..5000, n).prop_map(|m| {
        m.iter().map(|m| (Kind::Float as u8, (*m as f64 * 0.001).to_bits())).collect::<Vec<_>>()
    });
    let base = prop_oneof![added, times, chaos, of_kind, constant, counter, decimal];
    let hole = (any_kind(), any_bits());
    let holes = proptest::collection::vec((0..n, hole), 0..3);
    (base, holes).prop_map(|(mut cells, holes)| {
        holes.into_iter().for_each(|(i, cell)| cells[i] = cell);
        cells
    })
}

fn any_table() -> impl Strategy<Value = Table> {
    let n = prop_oneof![1usize..4, 1usize..80, 350usize..800];
    n.prop_flat_map(|n| {
        let columns = proptest::collection::vec(any_column(n), 1..12);
        let irregular = proptest::collection::vec(1i64..100_000, n);
        let wild = proptest::collection::btree_set(any::<i64>(), n);
        let times = prop_oneof![
            Just(steady(n)),
            irregular.prop_map(|steps| {
                steps.iter().scan(0, |t, s| Some(std::mem::replace(t, *t + s))).collect()
            }),
            wild.prop_map(|set| set.into_iter().collect::<Vec<i64>>()),
        ];
        (columns, times).prop_map(|(columns, times_ms)| {
            let normal = |(kind, bits): &(u8, u64)| if *kind <= 1 { 0 } else { *bits };
            Table {
                times_ms,
                kinds: columns.iter().map(|c| c.iter().map(|cell| cell.0).collect()).collect(),
                bits: columns.iter().map(|c| c.iter().map(normal).collect()).collect(),
            }
        })
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]
    #[test]
    fn everything_comes_back(table in any_table()) {
        let cols = 0..table.kinds.len();
        table.check(&table.encode(cols.clone()), cols)?;
    }

    #[test]
    fn damage_is_found(table in any_table(), at: proptest::sample::Index, flip in 1u8..) {
        let cols = 0..table.kinds.len();
        let mut bytes = table.encode(cols.clone());
        let at = at.index(bytes.len());
        bytes[at] ^= flip;
        // What is still readable is right, what is not is named.
        let Ok(mut block) = Block::open(&bytes[..]) else { return Ok(()) };
        let damage = block.verify();
        prop_assert_eq!(damage.len(), 1, "{:?}", damage);
        let mut buf = ColumnBuf::default();
        for col in cols {
            let is_named = damage[0].cols.contains(&col);
            match block.column(col, &mut buf) {
                Ok(()) => prop_assert_eq!(&buf.bits, &table.bits[col]),
                Err(_) => prop_assert!(is_named),
            }
            prop_assert!(is_named || block.summaries(col).is_ok());
        }
    }

    #[test]
    fn forged_heads_do_not_panic(
        table in any_table(),
        flips in proptest::collection::vec((any::<proptest::sample::Index>(), any::<u8>()), 1..4),
    ) {
        let bytes = forge(&table.encode(0..table.kinds.len()), &flips);
        if let Ok(mut block) = Block::open(&bytes[..]) {
            block.verify();
        }
    }
}

/// Alters bytes and puts the checksums right again.
fn forge(block: &[u8], flips: &[(proptest::sample::Index, u8)]) -> Vec<u8> {
    let mut bytes = block.to_vec();
    for (at, byte) in flips {
        let at = 8 + at.index(bytes.len() - 8);
        bytes[at] = *byte;
    }
    let len = u32::from_le_bytes([bytes[8], bytes[9], bytes[10], bytes[11]]) as usize;
    if let Some(head) = bytes.get(8..len) {
        let crc = crc32fast::hash(head).to_le_bytes();
        bytes[4..8].copy_from_slice(&crc);
    }
    bytes
}

#[test]
fn a_cut_block_names_what_is_missing() {
    let columns: Vec<_> = (0..20).map(|i| decimals(50, 2, i)).collect();
    let table = Table::of_columns(steady(50), &columns);
    let bytes = table.encode(0..20);
    let mut n_opened = 0;
    for len in 0..bytes.len() {
        match Block::open(&bytes[..len]) {
            Err(e) => {
                let expected = [ChunkError::Truncated(Section::Head)];
                assert!(expected.contains(&e), "{len}: {e}");
            }
            Ok(mut block) => {
                n_opened += 1;
                let damage = block.verify();
                assert!(!damage.is_empty(), "{len} of {}", bytes.len());
                let cut = |d: &Damage| matches!(d.error, ChunkError::Truncated(_));
                assert!(damage.iter().all(cut), "{damage:?}");
            }
        }
    }
    assert!(n_opened > 100, "{n_opened}");
}

#[test]
fn one_trap_among_decimals_costs_only_itself() {
    let plain = decimals(360, 3, 5);
    let mut trapped = plain.clone();
    trapped[200] = Value::Float(0.282_000_000_000_000_03);
    let len = |column: Vec<Value>| Table::of_columns(steady(360), &[column]).encode(0..1).len();
    let (plain, trapped) = (len(plain), len(trapped));
    assert!(trapped < plain + 32, "{plain} {trapped}");
}

#[test]
fn doubles_that_were_added_up_cost_little_more_than_decimals() {
    let steps: Vec<f64> = (0..360).map(|i| f64::from(i * i % 97) / 1000.0).collect();
    let len = |values: Vec<f64>| {
        let column = values.into_iter().map(Value::Float).collect();
        Table::of_columns(steady(360), &[column]).encode(0..1).len()
    };
    let add = |sum: &mut f64, step: &f64| {
        *sum += step;
        Some(*sum)
    };
    let added: Vec<f64> = steps.iter().scan(0.0501, add).collect();
    let printed: Vec<f64> = added.iter().map(|v| (v * 1e4).round() / 1e4).collect();
    assert_ne!(added, printed);
    let (added, printed) = (len(added), len(printed));
    assert!(added < printed + 60, "{added} {printed}");
}

#[test]
fn constants_and_a_steady_clock_cost_next_to_nothing() {
    let columns: Vec<_> = (0..300).map(|i| vec![Value::Int(i * 977); 360]).collect();
    let len = Table::of_columns(steady(360), &columns).encode(0..300).len();
    assert!(len < 300 * 10, "{len}");
}

#[test]
fn a_range_of_columns_keeps_its_numbers() {
    let columns: Vec<_> = (0..70).map(|i| decimals(40, 1, i)).collect();
    let table = Table::of_columns(steady(40), &columns);
    let bytes = table.encode(20..50);
    table.check(&bytes, 20..50).expect("equal");
    let mut block = Block::open(&bytes[..]).expect("opens");
    let error = block.column(50, &mut ColumnBuf::default());
    assert_eq!(error, Err(ChunkError::NoColumn { col: 50, cols: 20..50 }));
}

#[test]
fn long_blocks_come_back() {
    let n = 9000;
    let columns: Vec<_> = (0..7).map(|i| decimals(n, i % 4, i as u64)).collect();
    let table = Table::of_columns(steady(n), &columns);
    table.check(&table.encode(0..7), 0..7).expect("equal");
}

#[test]
fn rates_are_those_of_neighbours() {
    let v = |v: i64| Value::Int((1 << 60) + v);
    assert_eq!(rate(0, v(1), 500, v(4)), Some(6.0));
    assert_eq!(rate(0, v(1), 0, v(4)), None);
    assert_eq!(rate(0, Value::Unknown, 1000, v(4)), None);
    assert_eq!(rate(0, Value::Float(f64::INFINITY), 1, Value::Float(f64::INFINITY)), None);
    let counter = [5, 9, 9, 29].map(Value::Int).to_vec();
    let table = Table::of_columns(steady(4), &[counter]);
    let bytes = table.encode(0..1);
    let mut block = Block::open(&bytes[..]).expect("opens");
    assert_eq!(block.summaries(0).expect("read")[0].rates, Some((0.0, 2.0)));
}

/// What the stored block holds; never to be changed, like the file.
fn version_1() -> Table {
    let n = 400;
    let mut columns: Vec<Vec<Value>> = vec![
        vec![Value::Int(42); n],
        vec![Value::Unknown; n],
        vec![Value::Float(0.072_000_000_000_000_01); n],
        (0..n as i64).map(|i| Value::Int(i * i * 4096)).collect(),
        (0..n as u64).map(|i| Value::Uint(u64::MAX - i * 3)).collect(),
        (0..n).map(|i| Value::Float(i as f64 * 0.001)).collect(),
        (0..n).map(|i| Value::Float((i as f64).sqrt())).collect(),
        (0..n as u64).map(|i| Value::Float(f64::from_bits(i << 52 | i))).collect(),
    ];
    columns.extend((1..4).map(|d| decimals(n, d, 99)));
    let mut holes = columns[8].clone();
    holes[7] = Value::Float(f64::from_bits(0x7ff8_dead_beef_0001));
    holes[8] = Value::Float(-0.0);
    holes[9] = Value::Unknown;
    holes[10] = Value::Int(i64::MIN);
    columns.push(holes);
    let add = |sum: &mut f64, step: f64| {
        *sum += step;
        Some(Value::Float(*sum))
    };
    columns.push((0..n).map(|i| (i * i % 97) as f64 / 1000.0).scan(0.0501, add).collect());
    let noise = |i: u64| i.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 30;
    columns.push((0..n as u64).map(|i| Value::from(noise(i))).collect());
    let mut table = Table::of_columns(steady(n), &columns);
    table.times_ms[300..].iter_mut().for_each(|t| *t += 7);
    (table.kinds[11][20], table.bits[11][20]) = (Kind::Absent as u8, 0);
    table
}

#[test]
fn a_block_of_version_1_opens() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/block-1.bin");
    let table = version_1();
    if std::env::var_os("UPDATE_EXPECT").is_some() && !path.exists() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("made");
        std::fs::write(&path, table.encode(0..14)).expect("written");
    }
    let bytes = std::fs::read(&path).expect("the stored block");
    assert_eq!(bytes[3], 1);
    table.check(&bytes, 0..14).expect("equal");
}

#[test]
fn later_versions_say_so() {
    let mut bytes = Table::of_columns(steady(3), &[vec![Value::Int(1); 3]]).encode(0..1);
    bytes[3] = VERSION + 1;
    assert_eq!(Block::open(&bytes[..]).err(), Some(ChunkError::Version(VERSION + 1)));
    assert_eq!(Block::open(&b"SQLite"[..]).err(), Some(ChunkError::NotABlock));
}
