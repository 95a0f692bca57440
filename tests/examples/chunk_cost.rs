//! What sealed blocks cost: bytes and nanoseconds a sample, on the fleet's
//! rows and on the recorded host, measured on one thread.
//!
//! `cargo run --release -p rookery-tests --example chunk_cost`

use rookery_collector::chunk::{Block, ColumnBuf, Encoder, Rows};
use rookery_plugins::{Cells, Value};
use rookery_tests::fleet::{FleetHost, Pool, number};
use rookery_tests::series;
use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Instant;

/// Rows of one block, as the head holds them.
#[derive(Default)]
struct Head {
    times_ms: Vec<i64>,
    n_cols: usize,
    kind_sets: Vec<Arc<[u8]>>,
    known: HashMap<Vec<u8>, u32>,
    row_kind: Vec<u32>,
    bits: Vec<u64>,
}

impl Head {
    fn push(&mut self, time_ms: i64, values: &[Value]) {
        self.times_ms.push(time_ms);
        self.n_cols = values.len();
        self.bits.extend(values.iter().map(|v| v.bits()));
        let kinds: Vec<u8> = values.iter().map(|v| v.kind() as u8).collect();
        let sets = &mut self.kind_sets;
        let set = *self.known.entry(kinds).or_insert_with_key(|kinds| {
            sets.push(kinds.as_slice().into());
            sets.len() as u32 - 1
        });
        self.row_kind.push(set);
    }

    fn rows(&self) -> Rows<'_> {
        Rows {
            times_ms: &self.times_ms,
            n_cols: self.n_cols,
            kind_sets: &self.kind_sets,
            row_kind: &self.row_kind,
            bits: &self.bits,
        }
    }
}

/// At least as many steps as a fleet's history has.
const STEPS: usize = 720;

fn fleet(n_hosts: u64, n_rows: usize) -> io::Result<Vec<Head>> {
    let pool = Pool::load(300)?;
    let mut heads = Vec::new();
    for idx in 0..n_hosts {
        let mut host = FleetHost::new(&pool, 1, idx);
        let mut cells = Cells::new();
        for from in (0..STEPS.max(n_rows)).step_by(n_rows) {
            let mut head = Head::default();
            for i in from..from + n_rows {
                host.step(&mut cells);
                let values: Vec<Value> = (0..300).filter_map(|c| cells.get(c)).collect();
                head.push(1_795_000_000_000 + i as i64 * 10_000, &values);
            }
            heads.push(head);
        }
    }
    Ok(heads)
}

/// The recorded host: columns that span the whole recording.
fn node1s(n_rows: usize) -> io::Result<Vec<Head>> {
    let all = series::load("node1s")?;
    let longest = all.iter().map(|s| s.values.len()).max().unwrap_or(0);
    let whole: Vec<_> = all.iter().filter(|s| s.values.len() == longest).collect();
    let mut heads = Vec::new();
    for from in (0..longest).step_by(n_rows) {
        let mut head = Head::default();
        for i in from..longest.min(from + n_rows) {
            let values: Vec<Value> = whole.iter().map(|s| number(s.values[i])).collect();
            head.push(whole[0].times_ms[i], &values);
        }
        heads.push(head);
    }
    Ok(heads)
}

fn measure(name: &str, heads: &[Head], level: i32) {
    const ROUNDS: usize = 5;
    let n_samples: usize = heads.iter().map(|h| h.bits.len()).sum();
    let mut encoder = Encoder::new();
    let mut blocks: Vec<Vec<u8>> = vec![Vec::new(); heads.len()];
    let mut best = [f64::INFINITY; 4];
    let mut buf = ColumnBuf::default();
    let mut n_columns = 0;
    for _ in 0..ROUNDS {
        let start = Instant::now();
        for (head, out) in heads.iter().zip(&mut blocks) {
            out.clear();
            encoder.encode(&head.rows(), 0..head.n_cols, level, out);
        }
        best[0] = best[0].min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for (head, bytes) in heads.iter().zip(&blocks) {
            let mut block = Block::open(&bytes[..]).expect("opens");
            (0..head.n_cols).for_each(|c| block.column(c, &mut buf).expect("decodes"));
        }
        best[1] = best[1].min(start.elapsed().as_secs_f64());
        // Single columns, each from a block that is opened anew.
        n_columns = 0;
        let start = Instant::now();
        for (head, bytes) in heads.iter().zip(&blocks) {
            for c in (0..head.n_cols).step_by(13) {
                let mut block = Block::open(&bytes[..]).expect("opens");
                block.column(c, &mut buf).expect("decodes");
                n_columns += 1;
            }
        }
        best[2] = best[2].min(start.elapsed().as_secs_f64());
        let start = Instant::now();
        for (head, bytes) in heads.iter().zip(&blocks) {
            for c in (0..head.n_cols).step_by(13) {
                let mut block = Block::open(&bytes[..]).expect("opens");
                block.summaries(c).expect("summaries");
            }
        }
        best[3] = best[3].min(start.elapsed().as_secs_f64());
    }
    for (head, bytes) in heads.iter().zip(&blocks) {
        let mut block = Block::open(&bytes[..]).expect("opens");
        assert_eq!(block.times().expect("times"), head.times_ms);
        for c in 0..head.n_cols {
            block.column(c, &mut buf).expect("decodes");
            let bits = head.bits.iter().skip(c).step_by(head.n_cols);
            assert!(bits.eq(buf.bits.iter()), "column {c}");
        }
    }
    let n_bytes: usize = blocks.iter().map(Vec::len).sum();
    let summary_bytes: usize =
        blocks.iter().map(|b| Block::open(&b[..]).expect("opens").summary_bytes()).sum();
    let n = n_samples as f64;
    println!(
        "{name:24} level {level}: {:.4} B/sample ({:.4} summaries), encode {:.1} ns, \
         decode {:.1} ns, a column {:.1} µs, its summaries {:.1} µs",
        n_bytes as f64 / n,
        summary_bytes as f64 / n,
        best[0] * 1e9 / n,
        best[1] * 1e9 / n,
        best[2] * 1e6 / n_columns as f64,
        best[3] * 1e6 / n_columns as f64,
    );
}

fn main() -> io::Result<()> {
    let cases = [(240, 1), (360, 1), (360, 9), (720, 1), (720, 3), (720, 6), (720, 9)];
    for (rows, level) in cases.into_iter().chain([(8640, 1), (8640, 3), (8640, 6), (8640, 9)]) {
        measure(&format!("fleet, {rows} rows"), &fleet(8, rows)?, level);
    }
    for (name, rows) in [("node1s, 360 rows", 360), ("node1s, all rows", 10_000)] {
        for level in [1, 6] {
            measure(name, &node1s(rows)?, level);
        }
    }
    Ok(())
}
