//! The numbers that a picture's legend tells, for pages, tables and the API: so
//! that all of them tell the same.

use super::gaps;
use super::values::{Figures, Source};
use rookery_collector::history::{Bucket, FieldRollup, Rollup};
use rookery_plugins::rpn::Rpn;
use rookery_plugins::{FieldSpec, FieldType, ServiceSpec};

/// The legend's numbers of each field of the rollup, in its order, hidden ones
/// too. Those of a picture of the same rollup are equal to the bit.
pub fn figures(rollup: &Rollup) -> Vec<Figures> {
    with_source(rollup, |source| {
        let of = |i: usize| {
            let cdef = source.cdef(i);
            let known = if cdef.is_some() { source.values(i, cdef.as_ref()) } else { vec![] };
            source.figures(i, cdef.as_ref(), &known)
        };
        (0..rollup.fields.len()).map(of).collect()
    })
}

/// The rollup as its picture shows it: each bucket by the service's period and after the
/// field's `cdef`, of which the fields have none any more (a counter that was scaled by
/// its period is a level by now). What cannot be drawn is a gap.
///
/// Of a `cdef` that is not linear in its own field the means and extremes are about right
/// only: [`crate::app::App::drawn`] reads its samples.
pub fn as_drawn(rollup: &Rollup) -> Rollup {
    with_source(rollup, |source| {
        let field = |(i, f): (usize, &FieldRollup)| match source.cdef(i) {
            Some(cdef) => after_cdef(source, i, &cdef),
            None => by_period(f, source.per(i)),
        };
        let fields = rollup.fields.iter().enumerate().map(field).collect();
        Rollup { fields, ..rollup.clone() }
    })
}

/// A field without a `cdef`, by the service's period.
fn by_period(field: &FieldRollup, per: f64) -> FieldRollup {
    let mut out = field.clone();
    out.spec.cdef = None;
    if per != 1.0 {
        out.spec.kind = FieldType::Gauge;
        for b in out.buckets.iter_mut().chain([&mut out.total]) {
            for v in [&mut b.min, &mut b.max, &mut b.sum, &mut b.first, &mut b.last] {
                *v *= per;
            }
        }
    }
    out
}

/// A field after its `cdef`.
fn after_cdef(source: &Source<'_>, i: usize, cdef: &Rpn) -> FieldRollup {
    let f = &source.rollup.fields[i];
    let mut out = FieldRollup::of(f.spec.clone(), vec![Bucket::default(); f.buckets.len()]);
    out.spec.cdef = None;
    if source.per(i) != 1.0 {
        out.spec.kind = FieldType::Gauge;
    }
    let is_linear = cdef.linear(i).is_some();
    let mut stack = Vec::new();
    let values = source.values(i, Some(cdef));
    for (b, v) in source.filled.iter().zip(&values) {
        let own = f.buckets.get(*b);
        let count = own.map_or(0, |b| b.count.max(1));
        let (Some(v), Some(bucket)) = (v, out.buckets.get_mut(*b)) else { continue };
        let mut end = |of: fn(&Bucket) -> f64| {
            let value = own.filter(|_| is_linear).map(|b| of(b) * source.per(i));
            cdef.eval(&mut stack, |_| value).filter(|_| is_linear).unwrap_or(v.mean)
        };
        let ends = (end(|b| b.first), end(|b| b.last));
        bucket.merge(count, (v.min, v.max), v.mean * count as f64, ends);
    }
    out.total = Bucket::joined(&out.buckets);
    let figures = source.figures(i, Some(cdef), &values);
    out.total.last = figures.cur.unwrap_or(out.total.last);
    out.increase = figures.total;
    out
}

fn with_source<T>(rollup: &Rollup, work: impl FnOnce(&Source<'_>) -> T) -> T {
    let (filled, _) = gaps::union(rollup.fields.iter().map(|f| f.buckets.as_slice()));
    let step = rollup.spec.step_ms as f64 / rollup.step_ms.max(1) as f64;
    work(&Source { rollup, filled: &filled, step })
}

/// A service's newest values, in the order of its fields, after each one's `cdef`: as they
/// are judged, counters per second. One that is not understood leaves the value as it is.
pub fn newest(spec: &ServiceSpec, now: &[Option<f64>]) -> Vec<Option<f64>> {
    after_cdefs(spec, |i| now.get(i).copied().flatten())
}

/// The same as they are drawn: counters by the service's `graph_period`.
pub fn newest_drawn(spec: &ServiceSpec, now: &[Option<f64>]) -> Vec<Option<f64>> {
    let per = |i: usize| spec.fields.get(i).map_or(1.0, |f| spec.per(f.kind));
    after_cdefs(spec, |i| now.get(i).copied().flatten().map(|v| v * per(i)))
}

fn after_cdefs(spec: &ServiceSpec, now: impl Fn(usize) -> Option<f64>) -> Vec<Option<f64>> {
    let find = |name: &str| spec.fields.iter().position(|f| f.name == name);
    let of = |(i, f): (usize, &FieldSpec)| match f
        .cdef
        .as_deref()
        .and_then(|text| Rpn::parse(text, find).ok())
    {
        Some(cdef) => cdef.eval(&mut Vec::new(), &now),
        None => now(i),
    };
    spec.fields.iter().enumerate().map(of).collect()
}

/// Where a limit of a field stands among its drawn values. It is judged against the value
/// a second after the `cdef`; drawn is the value by the service's period. `None`: nowhere,
/// as what is judged is no function of what is drawn.
pub fn drawn_limit(spec: &ServiceSpec, field: &FieldSpec, limit: f64) -> Option<f64> {
    let find = |name: &str| spec.fields.iter().position(|f| f.name == name);
    let per = |i: usize| spec.fields.get(i).map_or(1.0, |f| spec.per(f.kind));
    let own = find(&field.name)?;
    let Some(cdef) = field.cdef.as_deref().and_then(|t| Rpn::parse(t, find).ok()) else {
        return Some(limit * per(own));
    };
    match cdef.linear(own) {
        Some((_, b)) => Some((limit - b) * per(own) + b),
        // By another period than a second it is bent.
        None => cdef.fields().into_iter().all(|i| per(i) == 1.0).then_some(limit),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::series;
    use crate::graph::testing::{bucket, field, rollup, with_buckets};

    fn latency() -> Rollup {
        let ios = FieldSpec::gauge("ios", "").hidden();
        let fields = vec![
            with_buckets(
                FieldSpec::gauge("wait", "").cdef("wait,ios,/"),
                vec![bucket(&[10.0, 30.0]), bucket(&[8.0]), Bucket::default(), bucket(&[9.0])],
            ),
            field(ios, &[Some(10.0), Some(2.0), None, Some(0.0)]),
        ];
        rollup(ServiceSpec::new("s", "S", "disk"), fields)
    }

    #[test]
    fn figures_are_the_legends() {
        let rollup = latency();
        let all = figures(&rollup);
        let drawing = series::prepare(&rollup, 4.0);
        assert_eq!(all[drawing.series[0].field], drawing.series[0].figures);
        assert_eq!((all[0].min, all[0].max), (Some(1.0), Some(4.0)));
        assert_eq!(all[1].max, Some(10.0), "hidden ones too");
    }

    #[test]
    fn a_drawn_rollup_has_the_lines_values() {
        let drawn = as_drawn(&latency());
        let means: Vec<Option<f64>> = drawn.fields[0].buckets.iter().map(Bucket::mean).collect();
        assert_eq!(means, [Some(2.0), Some(4.0), None, None], "and a gap where it divides by 0");
        assert_eq!((drawn.fields[0].buckets[0].min, drawn.fields[0].buckets[0].max), (1.0, 3.0));
        assert_eq!(figures(&drawn)[0].max, figures(&latency())[0].max);
    }

    #[test]
    fn the_newest_values_are_after_their_cdefs() {
        let spec = latency().spec;
        assert_eq!(newest(&spec, &[Some(8.0), Some(2.0)]), [Some(4.0), Some(2.0)]);
        assert_eq!(newest(&spec, &[Some(8.0), None]), [None, None]);
        assert_eq!(newest(&spec, &[]), [None, None]);
    }

    #[test]
    fn totals_follow_factors_only() {
        let mut counter = FieldSpec::gauge("up", "").cdef("up,8,*");
        let mut data = with_buckets(counter.clone(), vec![bucket(&[1.0, 3.0])]);
        data.increase = Some(100.0);
        counter = counter.cdef("up,up,*");
        let mut square = data.clone();
        square.spec = counter;
        let rollup = rollup(ServiceSpec::new("s", "S", "net"), vec![data, square]);
        let all = figures(&rollup);
        assert_eq!((all[0].total, all[1].total), (Some(800.0), None));
    }
}
