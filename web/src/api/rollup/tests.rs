//! Rollups as answers in parts.

use super::*;
use rookery_collector::budget::Budget;
use rookery_collector::history::{NodeInfo, ReadError, Samples, ServiceInfo};
use rookery_plugins::{FieldSpec, ServiceSpec};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// A service of so many fields; each bucket is its number in the field's. The first of each
/// four is a gap.
struct Wide {
    n_fields: usize,
    /// The most cells that were read at once.
    most: AtomicUsize,
}

impl Wide {
    fn new(n_fields: usize) -> Wide {
        Wide { n_fields, most: AtomicUsize::new(0) }
    }

    fn spec(&self) -> ServiceSpec {
        let mut spec = ServiceSpec::new("s", "s", "other");
        spec.fields = (0..self.n_fields).map(|i| FieldSpec::gauge(&format!("f{i}"), "")).collect();
        spec
    }
}

impl History for Wide {
    fn nodes(&self) -> Vec<NodeInfo> {
        vec![]
    }

    fn services(&self, _: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        Ok(vec![ServiceInfo { spec: Arc::new(self.spec()), active: true, now: vec![], step_ms: 0 }])
    }

    fn fields(&self, _: &str, _: &str) -> Result<Vec<FieldSpec>, ReadError> {
        Ok(self.spec().fields)
    }

    fn samples(&self, _: &str, _: &str, _: &str, _: i64, _: i64) -> Result<Samples, ReadError> {
        Ok(Samples::default())
    }

    fn rollup(
        &self,
        _: &str,
        _: &str,
        names: &[&str],
        from_ms: i64,
        to_ms: i64,
        step_ms: i64,
    ) -> Result<Rollup, ReadError> {
        let n = ((to_ms - from_ms + step_ms - 1) / step_ms) as usize;
        let spec = self.spec();
        let asked = |f: &&FieldSpec| names.is_empty() || names.contains(&f.name.as_str());
        let buckets = |i: usize| {
            let mut bucket = Bucket::default();
            if !i.is_multiple_of(4) {
                bucket.push(i as f64);
            }
            bucket
        };
        let fields: Vec<FieldRollup> = (spec.fields.iter().filter(asked))
            .map(|f| FieldRollup::of(f.clone(), (0..n).map(buckets).collect()))
            .collect();
        self.most.fetch_max(fields.len() * n, Relaxed);
        Ok(Rollup { from_ms, step_ms, fields, spec: Arc::new(spec), averages: vec![] })
    }

    fn version(&self, _: &str) -> u64 {
        0
    }
}

fn answer(format: Format, steps: i64, budget: &Arc<Budget>) -> Answer {
    let query = Query {
        node: "n".to_owned(),
        service: "s".to_owned(),
        field: None,
        from: None,
        to: None,
        step: None,
        format: None,
        drawn: None,
        tz: None,
    };
    let steps = Steps { on_clock: None, span: (0, steps * 1000, 1000) };
    Answer::new(query, format, false, steps, budget.hold(0))
}

fn all(answer: &mut Answer, history: &Wide) -> Result<Vec<Bytes>, WebError> {
    let mut parts = Vec::new();
    while let Some(part) = answer.next(history)? {
        parts.push(part);
    }
    Ok(parts)
}

#[test]
fn many_fields_are_read_a_few_at_a_time_and_none_is_missing() {
    let (history, budget) = (Wide::new(40), Budget::new(64 << 20));
    let parts = all(&mut answer(Format::Json, 20_000, &budget), &history).expect("reads");
    let most = history.most.load(Relaxed);
    assert!(most <= CELLS_AT_ONCE, "{most} cells at once");
    assert_eq!(budget.used(), 0, "given back");
    let read: serde_json::Value = serde_json::from_slice(&parts.concat()).expect("JSON");
    let fields = read["fields"].as_array().expect("fields");
    assert_eq!((fields.len(), &read["step_ms"]), (40, &json!(1000)));
    for (i, field) in fields.iter().enumerate() {
        assert_eq!(field["field"], format!("f{i}"));
        for name in ["count", "min", "max", "mean", "first", "last"] {
            let column = field[name].as_array().expect("a column");
            assert_eq!(column.len(), 20_000, "{name} of {i}");
            let (gap, one) =
                if name == "count" { (json!(0), json!(1)) } else { (json!(null), json!(19_999.0)) };
            assert_eq!((&column[4], &column[19_999]), (&gap, &one), "{name} of {i}");
        }
    }
}

#[test]
fn csv_has_a_line_for_each_bucket_that_is_no_gap() {
    let (history, budget) = (Wide::new(3), Budget::new(64 << 20));
    let parts = all(&mut answer(Format::Csv, 9000, &budget), &history).expect("reads");
    let text = String::from_utf8(parts.concat()).expect("UTF-8");
    assert_eq!(text.lines().count(), 1 + 3 * 6750);
    let last = "1970-01-01T02:29:59.000Z,n,s,f2,1,8999.0,8999.0,8999.0,8999.0,8999.0";
    assert_eq!(text.lines().last(), Some(last));
}

#[test]
fn more_cells_than_may_be_are_refused_before_they_are_read() {
    let (history, budget) = (Wide::new(100), Budget::new(64 << 20));
    let refused = all(&mut answer(Format::Json, 100_000, &budget), &history).expect_err("too many");
    assert!(refused.text.contains("100 fields by 100000 steps"), "{}", refused.text);
    assert_eq!(history.most.load(Relaxed), 0);
    let short = Budget::new(1 << 20);
    let _others = short.hold(1 << 20);
    let busy = all(&mut answer(Format::Json, 10, &short), &history).expect_err("no memory");
    assert_eq!(busy.status, axum::http::StatusCode::SERVICE_UNAVAILABLE);
}

#[test]
fn numbers_that_json_has_not_are_strings() {
    let mut out = String::new();
    for v in [1.0, 1e300, -0.0, 0.1, f64::INFINITY, f64::NEG_INFINITY, f64::NAN] {
        number(v, &mut out);
        out.push(',');
    }
    assert_eq!(out, "1.0,1e300,-0.0,0.1,\"inf\",\"-inf\",\"NaN\",");
}
