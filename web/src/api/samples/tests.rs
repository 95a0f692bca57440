//! Answers in parts, of a history whose samples lie unevenly.

use super::*;
use rookery_collector::budget::Budget;
use rookery_collector::history::{NodeInfo, Rollup, ServiceInfo};
use rookery_collector::reading::Read;
use rookery_plugins::Kind;
use std::time::{Duration, Instant};

/// 2026-11-18T00:00:00Z.
const FROM: i64 = 1_794_960_000_000;
const N: i64 = 100_000;

/// A few samples in 1980, nothing for decades, then one each millisecond.
struct Uneven;

impl Uneven {
    fn all() -> impl Iterator<Item = (i64, i64)> {
        (0..3).map(|i| (i * 86_400_000 + 315_532_800_000, -i)).chain((0..N).map(|i| (FROM + i, i)))
    }
}

impl History for Uneven {
    fn nodes(&self) -> Vec<NodeInfo> {
        vec![]
    }

    fn services(&self, _: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        Ok(vec![])
    }

    fn fields(&self, _: &str, _: &str) -> Result<Vec<FieldSpec>, ReadError> {
        Ok(vec![])
    }

    fn samples(
        &self,
        _: &str,
        _: &str,
        field: &str,
        from: i64,
        to: i64,
    ) -> Result<Samples, ReadError> {
        let mut out = Samples::default();
        let early = Uneven::all().take(3).filter(|(t, _)| (from..to).contains(t));
        let dense = (from.max(FROM)..to.min(FROM + N)).map(|t| (t, t - FROM));
        for (t, v) in early.chain(dense).filter(|_| field != "empty") {
            out.times_ms.push(t);
            out.kinds.push(Kind::Int as u8);
            out.bits.push(v as u64);
        }
        reading::charge(out.len() * 17)?;
        Ok(out)
    }

    fn rollup(
        &self,
        _: &str,
        _: &str,
        _: &[&str],
        _: i64,
        _: i64,
        _: i64,
    ) -> Result<Rollup, ReadError> {
        Err(ReadError::NotFound(String::new()))
    }

    fn version(&self, _: &str) -> u64 {
        0
    }
}

fn walk(fields: &[&str]) -> Walk {
    let text = |t: &str| Some(t.to_owned());
    let query = Query {
        node: "n,1".to_owned(),
        service: "s".to_owned(),
        field: None,
        from: text("0"),
        to: None,
        step: None,
        format: None,
        drawn: None,
        tz: None,
    };
    let fields = fields.iter().map(|f| FieldSpec::gauge(f, "")).collect();
    Walk::new(query, fields, (0, FROM + N + 1_000_000))
}

/// All parts, each made as a read of its own with so much memory.
fn all(parts: &mut impl Parts, budget: u64) -> Result<Vec<Bytes>, WebError> {
    let budget = Budget::new(budget);
    let mut all = Vec::new();
    loop {
        let read = Read::new(&budget, Instant::now() + Duration::from_secs(60));
        match read.enter(|| parts.next(&Uneven))? {
            Some(part) => all.push(part),
            None => return Ok(all),
        }
    }
}

#[test]
fn a_long_csv_comes_in_small_parts_and_whole() {
    let parts = all(&mut Csv::new(walk(&["empty", "a"])), 20 << 20).expect("reads");
    let longest = parts.iter().map(Bytes::len).max().unwrap_or(0);
    assert!(parts.len() > 10 && longest < 16 * PART_BYTES, "{} of {longest}", parts.len());
    let text = String::from_utf8(parts.concat()).expect("UTF-8");
    let mut times = Rfc3339::default();
    let mut want = "time,node,service,field,value\n".to_owned();
    for (t, v) in Uneven::all() {
        times.push(t, &mut want);
        let _ = writeln!(want, ",\"n,1\",s,a,{v}");
    }
    assert!(text == want, "not what was written: {} and {} bytes", text.len(), want.len());
}

#[test]
fn a_long_json_is_whole_and_its_values_are_accounted() {
    let budget = Budget::new(20 << 20);
    let mut json = Json::new(walk(&["a", "empty", "b"]), budget.hold(0));
    let parts = all(&mut json, 20 << 20).expect("reads");
    assert_eq!(budget.used(), 0, "given back");
    assert!(parts.iter().all(|p| p.len() < 2 * PART_BYTES && !p.is_empty()));
    let got: serde_json::Value = serde_json::from_slice(&parts.concat()).expect("JSON");
    let names: Vec<_> = (0..3).map(|i| got["fields"][i]["field"].as_str()).collect();
    assert_eq!(names, [Some("a"), Some("empty"), Some("b")]);
    for i in [0, 2] {
        let column = |name: &str| -> Vec<Option<i64>> {
            let cells = got["fields"][i][name].as_array().expect("a column");
            cells.iter().map(serde_json::Value::as_i64).collect()
        };
        let (times, values) = (column("times_ms"), column("values"));
        let read: Vec<_> = times.into_iter().zip(values).collect();
        assert!(read == Uneven::all().map(|(t, v)| (Some(t), Some(v))).collect::<Vec<_>>());
    }
    let small = Budget::new(100_000);
    let mut json = Json::new(walk(&["a"]), small.hold(0));
    let short = all(&mut json, 20 << 20).expect_err("the values do not fit");
    assert!(short.text.contains("format=csv"), "{}", short.text);
}
