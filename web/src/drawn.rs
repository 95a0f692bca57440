//! Rollups as pictures, tables, CSV and JSON show them: by the service's period and after
//! each field's `cdef`, of the exact samples at every span.

use crate::app::App;
use crate::error::WebError;
use crate::graph::as_drawn;
use rookery_collector::drawn::{Exact, follows_from_buckets};
use rookery_collector::history::{Bucket, History, ReadError, Rollup};
use rookery_plugins::FieldSpec;

impl App {
    /// [`drawn`] of this history.
    pub(crate) fn drawn(
        &self,
        node: &str,
        read: &Rollup,
        to_ms: i64,
        only: &[&str],
    ) -> Result<Rollup, WebError> {
        Ok(drawn(&*self.history, node, read, to_ms, only)?)
    }
}

/// A rollup that ends at `to_ms` as it is drawn, or these fields of it (none: all): what
/// their `cdef` needs must be in it.
pub(crate) fn drawn(
    history: &dyn History,
    node: &str,
    read: &Rollup,
    to_ms: i64,
    only: &[&str],
) -> Result<Rollup, ReadError> {
    let mut out = as_drawn(read);
    let is_wanted = |f: &FieldSpec| only.is_empty() || only.contains(&f.name.as_str());
    let needs_samples: Vec<usize> = (0..read.fields.len())
        .filter(|i| is_wanted(&read.fields[*i].spec))
        .filter(|i| !follows_from_buckets(&read.spec, &read.fields[*i].spec))
        .collect();
    if !needs_samples.is_empty() {
        let fields: Vec<&FieldSpec> = needs_samples.iter().map(|i| &read.fields[*i].spec).collect();
        let exact = Exact::new(history, node, &read.spec);
        let all = exact.buckets(&fields, (read.from_ms, to_ms), read.step_ms)?;
        for (i, buckets) in needs_samples.into_iter().zip(all) {
            let field = &mut out.fields[i];
            field.buckets = with_averages(read, buckets, &field.buckets);
            field.total = Bucket::joined(&field.buckets);
            field.increase = None;
        }
    }
    out.fields.retain(|f| is_wanted(&f.spec));
    Ok(out)
}

/// The samples' buckets, and where averages stand in for samples that never were, what
/// these make.
fn with_averages(read: &Rollup, exact: Vec<Bucket>, about: &[Bucket]) -> Vec<Bucket> {
    let pick = |(i, bucket): (usize, Bucket)| {
        let start = read.from_ms.saturating_add(i as i64 * read.step_ms);
        let is_average = bucket.count == 0
            && read.averages.iter().any(|a| (a.from_ms..a.to_ms).contains(&start));
        if is_average { about.get(i).copied().unwrap_or_default() } else { bucket }
    };
    exact.into_iter().enumerate().map(pick).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{
        GraphRequest, Limits, Over, Percentile, Theme, drawn_limit, ends, figures, newest,
        newest_drawn, percentiles, terminal_text,
    };
    use crate::testing::Memory;
    use jiff::tz::TimeZone;
    use proptest::prelude::*;
    use rookery_collector::series::{Drawn, Heartbeat};
    use rookery_plugins::rpn::Rpn;
    use rookery_plugins::{ServiceSpec, Value};

    const START: i64 = 1_796_000_400_000;

    fn spec(period: &str, cdefs: [Option<&str>; 3]) -> ServiceSpec {
        let mut fields = vec![
            FieldSpec::gauge("a", ""),
            FieldSpec::derive("b", ""),
            FieldSpec { min: Some(-40.0), ..FieldSpec::gauge("c", "") },
        ];
        for (field, cdef) in fields.iter_mut().zip(cdefs) {
            field.cdef = cdef.map(str::to_owned);
        }
        let mut spec = ServiceSpec::new("s", "S", "other").fields(fields);
        (spec.step_ms, spec.period) = (10_000, period.to_owned());
        spec
    }

    /// Rows of three fields with gaps, unknown and absent values, and times that differ.
    fn rows(n: i64, seed: u64, odd: &[(usize, u8)]) -> [Vec<(i64, Value)>; 3] {
        let mut random = seed | 1;
        let mut next = |n: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            (random % n) as i64
        };
        let (mut time, mut count) = (START, 0i64);
        let mut out = [vec![], vec![], vec![]];
        for i in 0..n {
            time += 10_000;
            let what = odd.iter().find(|(at, _)| *at as i64 == i).map(|o| o.1);
            time += if what == Some(0) { 400_000 } else { 0 };
            count += next(100);
            let values = [
                Value::Int(next(100) - 50),
                Value::Int(count),
                Value::Float(next(1000) as f64 / 10.0 - 50.0),
            ];
            for (k, value) in values.into_iter().enumerate() {
                match what {
                    Some(1) if k == 0 => {}
                    Some(2) if k == 1 => out[k].push((time, Value::Unknown)),
                    Some(3) if k == 2 => {}
                    // Read a little later than the others.
                    Some(4) => out[k].push((time + k as i64 * 1500, value)),
                    _ => out[k].push((time, value)),
                }
            }
        }
        out
    }

    /// All drawn values of a field by the definition: at each of its samples (of the first
    /// field that its `cdef` names, if that is not its own), siblings by their nearest.
    fn by_hand(spec: &ServiceSpec, rows: &[Vec<(i64, Value)>; 3], field: usize) -> Vec<(i64, f64)> {
        let heartbeat = Heartbeat::of(spec);
        let columns: Vec<Vec<(i64, Option<f64>)>> = (0..3)
            .map(|k| {
                let mut drawn = Drawn::new(&spec.fields[k], heartbeat);
                let per = spec.per(spec.fields[k].kind);
                rows[k].iter().map(|(t, v)| (*t, drawn.next(*t, *v).map(|v| v * per))).collect()
            })
            .collect();
        let find = |name: &str| spec.fields.iter().position(|f| f.name == name);
        let cdef = spec.fields[field].cdef.as_deref().map(|t| Rpn::parse(t, find).expect("a cdef"));
        let Some(cdef) = cdef else {
            return columns[field].iter().filter_map(|(t, v)| Some((*t, (*v)?))).collect();
        };
        let of = cdef.fields();
        let timed = if of.contains(&field) { field } else { *of.first().unwrap_or(&field) };
        let value = |time: i64, k: usize| {
            let near = columns[k].iter().min_by_key(|(t, _)| (t - time).abs())?;
            near.1.filter(|_| (near.0 - time).abs() <= heartbeat.0)
        };
        let at = |(time, _): &(i64, Option<f64>)| {
            Some((*time, cdef.eval(&mut Vec::new(), |k| value(*time, k))?))
        };
        columns[timed].iter().filter_map(at).collect()
    }

    const CDEFS: [&str; 14] = [
        "a,b,/",
        "b,a,*",
        "a,8,*",
        "b,60,*,1,-",
        "a,UN,0,a,IF",
        "b,a,GT,b,a,IF",
        "c,c,*",
        "a,b,c,+,+",
        "b",
        "100,c,-",
        "5",
        "a,0,40,LIMIT",
        "a,b,c,3,AVG",
        "c,b,MAXNAN",
    ];

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(96))]
        /// One number everywhere: line, extremes, means, percentiles of any span are those
        /// of the exact drawn samples.
        #[test]
        fn every_span_has_the_exact_drawn_samples(
            seed: u64,
            odd in prop::collection::vec((0usize..400, 0u8..5), 0..30),
            cdefs in prop::array::uniform3(prop::option::of(prop::sample::select(CDEFS.to_vec()))),
            period in prop::sample::select(vec!["", "minute", "hour"]),
            from in 0i64..4_000_000,
            span in 20_000i64..4_000_000,
            n_steps in 1i64..60,
        ) {
            let spec = spec(period, cdefs);
            let rows = rows(400, seed, &odd);
            let mut memory = Memory::default();
            memory.add("n", "", vec![spec.clone()]);
            for (field, rows) in spec.fields.iter().zip(&rows) {
                memory.keep("s", &field.name, rows.clone());
            }
            let (from, step) = (START + from, (span / n_steps).max(1));
            let to = from + span;
            let read = memory.rollup("n", "s", &[], from, to, step).expect("reads");
            let got = drawn(&memory, "n", &read, to, &[]).expect("draws");
            for (k, field) in got.fields.iter().enumerate() {
                let want = by_hand(&spec, &rows, k);
                let want: Vec<(i64, f64)> =
                    want.into_iter().filter(|(t, _)| (from..to).contains(t)).collect();
                let near = |a: f64, b: f64| a == b || (a - b).abs() <= 1e-9 * (a.abs() + b.abs());
                for (i, bucket) in field.buckets.iter().enumerate() {
                    let start = from + i as i64 * step;
                    let here = want.iter().filter(|(t, _)| (start..start + step).contains(t));
                    let here: Vec<f64> = here.map(|(_, v)| *v).collect();
                    prop_assert_eq!(bucket.count, here.len() as u64, "{:?} bucket {}", &spec.fields[k].cdef, i);
                    if here.is_empty() {
                        continue;
                    }
                    let least = here.iter().copied().fold(f64::MAX, f64::min);
                    let greatest = here.iter().copied().fold(f64::MIN, f64::max);
                    let (min, max) = (least, greatest);
                    let mean = here.iter().sum::<f64>() / here.len() as f64;
                    prop_assert!(near(bucket.min, min) && near(bucket.max, max), "{bucket:?} {here:?}");
                    prop_assert!(near(bucket.sum / bucket.count as f64, mean), "{bucket:?} {here:?}");
                    let ends = (here[0], here[here.len() - 1]);
                    prop_assert!(near(bucket.first, ends.0) && near(bucket.last, ends.1), "{bucket:?} {here:?}");
                }
                let mut exact = Vec::new();
                let stored = &spec.fields[k];
                Exact::new(&memory, "n", &spec)
                    .visit(&[stored], (from, to), |_, _, v| exact.extend(v))
                    .expect("visits");
                let mut values: Vec<f64> = want.iter().map(|(_, v)| *v).collect();
                let percents = [50.0, 95.0];
                let wanted = percentiles(&mut values, &percents);
                prop_assert_eq!(percentiles(&mut exact, &percents), wanted);
            }
        }
    }

    /// All that stands beside the line, pair by pair: counter × period × cdef × negative.
    #[test]
    fn all_that_stands_beside_the_line_is_in_its_unit() {
        for kind in ["gauge", "derive", "counter"] {
            for (period, per) in [("", 1.0), ("minute", 60.0), ("hour", 3600.0)] {
                for (cdef, factor, plus) in [
                    (None, 1.0, 0.0),
                    (Some("f,8,*"), 8.0, 0.0),
                    (Some("1000,f,-"), -1.0, 1000.0),
                    (Some("f,other,*"), 3.0, 0.0),
                ] {
                    for is_below in [false, true] {
                        beside(kind, (period, per), (cdef, factor, plus), is_below);
                    }
                }
            }
        }
    }

    fn beside(
        kind: &str,
        (period, per): (&str, f64),
        (cdef, factor, plus): (Option<&str>, f64, f64),
        is_below: bool,
    ) {
        let at = format!("{kind} by {period:?} {cdef:?} below: {is_below}");
        let mut f = match kind {
            "gauge" => FieldSpec::gauge("f", "f"),
            "derive" => FieldSpec::derive("f", "f"),
            _ => FieldSpec {
                kind: rookery_plugins::FieldType::Counter,
                ..FieldSpec::gauge("f", "f")
            },
        };
        f.cdef = cdef.map(str::to_owned);
        f.hidden = is_below;
        let mut above = FieldSpec::gauge("above", "above");
        above.negative = is_below.then(|| "f".to_owned());
        above.hidden = !is_below;
        let other = FieldSpec::gauge("other", "other").hidden();
        let mut spec = ServiceSpec::new("s", "S", "other").fields(vec![f.clone(), above, other]);
        (spec.step_ms, spec.period, spec.unscaled) = (10_000, period.to_owned(), true);
        let mut memory = Memory::default();
        memory.add("n", "", vec![spec.clone()]);
        let is_level = kind == "gauge";
        let times = || (0..120i64).map(|i| START + i * 10_000);
        let stored = |t: i64| if is_level { Value::Int(2) } else { Value::Int((t - START) / 500) };
        memory.keep("s", "f", times().map(|t| (t, stored(t))).collect());
        memory.keep("s", "above", times().map(|t| (t, Value::Int(1))).collect());
        memory.keep("s", "other", times().map(|t| (t, Value::Int(3))).collect());
        let (from, to) = (START + 200_000, START + 1_200_000);
        let per = if is_level { 1.0 } else { per };
        let want = 2.0 * per * factor + plus;
        let read = memory.rollup("n", "s", &[], from, to, 20_000).expect("reads");
        let rollup = drawn(&memory, "n", &read, to, &[]).expect("draws");
        let field = &rollup.fields[0];
        // Rollup, JSON and CSV.
        for b in &field.buckets {
            let of = [b.min, b.max, b.sum / b.count as f64, b.first, b.last];
            assert_eq!(of, [want; 5], "{at}: rollup");
        }
        // Legend.
        let legend = figures(&rollup)[0];
        let of = [legend.cur, legend.min, legend.avg, legend.max];
        assert_eq!(of, [Some(want); 4], "{at}: legend");
        // Percentiles.
        let mut exact = Vec::new();
        let mut visit = Exact::new(&memory, "n", &spec);
        visit.visit(&[&spec.fields[0]], (from, to), |_, _, v| exact.extend(v)).expect("visits");
        let found = percentiles(&mut exact, &[95.0]).expect("values")[0];
        assert_eq!(found, want, "{at}: percentile");
        // Checks and limits: judged by the second, drawn by the period.
        let now = [Some(2.0), Some(1.0), Some(3.0)];
        let judged = newest(&spec, &now)[0].expect("a value");
        assert_eq!(newest_drawn(&spec, &now)[0], Some(want), "{at}: newest");
        // Of a cdef that is not linear a limit by another period is none that can be drawn.
        let has_line = per == 1.0 || cdef.is_none_or(|c| !c.contains("other"));
        let limit = drawn_limit(&spec, &spec.fields[0], judged);
        assert_eq!(limit, has_line.then_some(want), "{at}: limit");
        // The picture, as text: its legend, its percentile, its limit's line.
        let limits = Limits::drawn(&spec, &spec.fields[0], &format!("{judged}"));
        let limits = [("f".to_owned(), Limits { warning: limits, critical: None })];
        let lines = [Percentile { field: Some("f".to_owned()), percent: 95.0, value: found }];
        let request = GraphRequest {
            rollup: &rollup,
            to_ms: to,
            width: 400,
            height: 120,
            theme: Theme::Light,
            tz: &TimeZone::UTC,
            title: "",
            limits: &limits,
            marks: &[],
            axis: None,
            legend: true,
            over: Over { percentiles: &lines, ..Over::default() },
        };
        let text = terminal_text(&request, 8, 100, false);
        let number = crate::graph::Unit::of(&spec).text(want);
        let row =
            text.lines().find(|l| l.contains(" f ") || l.contains(" f (−)")).unwrap_or_default();
        assert_eq!(
            row.split_whitespace().filter(|w| *w == number).count(),
            4,
            "{at}: {number} in\n{text}"
        );
        assert!(text.contains(&format!("95 % of f: {number}")), "{at}: {text}");
        let (low, high) = ends(&request).expect("values");
        let shown = if is_below { -want } else { want };
        assert!(low <= shown && shown <= high, "{at}: {low} {shown} {high}");
    }
}
