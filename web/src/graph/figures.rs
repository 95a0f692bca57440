//! The numbers that a picture's legend tells, for pages, tables and the API: so
//! that all of them tell the same.

use super::gaps;
use super::values::{Figures, Source};
use rookery_collector::history::{Bucket, FieldRollup, Rollup};
use rookery_plugins::ServiceSpec;
use rookery_plugins::rpn::Rpn;

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

/// The rollup as its picture shows it: each bucket after the field's `cdef`, of
/// which the fields have none any more. What cannot be drawn is a gap.
pub fn as_drawn(rollup: &Rollup) -> Rollup {
    with_source(rollup, |source| {
        let field = |(i, f): (usize, &FieldRollup)| {
            let Some(cdef) = source.cdef(i) else { return f.clone() };
            let mut out = f.clone();
            out.spec.cdef = None;
            out.buckets = vec![Bucket::default(); f.buckets.len()];
            out.total = Bucket::default();
            for (b, v) in source.filled.iter().zip(source.values(i, Some(&cdef))) {
                let count = f.buckets.get(*b).map_or(0, |b| b.count.max(1));
                let (Some(v), Some(bucket)) = (v, out.buckets.get_mut(*b)) else { continue };
                bucket.merge(count, (v.min, v.max), v.mean * count as f64, (v.mean, v.mean));
                out.total.merge(count, (v.min, v.max), v.mean * count as f64, (v.mean, v.mean));
            }
            let figures = source.figures(i, Some(&cdef), &source.values(i, Some(&cdef)));
            out.total.last = figures.cur.unwrap_or(out.total.last);
            out.increase = figures.total;
            out
        };
        let fields = rollup.fields.iter().enumerate().map(field).collect();
        Rollup { fields, ..rollup.clone() }
    })
}

fn with_source<T>(rollup: &Rollup, work: impl FnOnce(Source<'_>) -> T) -> T {
    let (filled, _) = gaps::union(rollup.fields.iter().map(|f| f.buckets.as_slice()));
    let step = rollup.spec.step_ms as f64 / rollup.step_ms.max(1) as f64;
    work(Source { rollup, filled: &filled, step })
}

/// A service's newest values, in the order of its fields, after each one's `cdef`.
/// One that is not understood leaves the value as it is.
pub fn newest(spec: &ServiceSpec, now: &[Option<f64>]) -> Vec<Option<f64>> {
    let find = |name: &str| spec.fields.iter().position(|f| f.name == name);
    let of = |(i, f): (usize, &rookery_plugins::FieldSpec)| {
        let own = now.get(i).copied().flatten();
        let cdef = f.cdef.as_deref().and_then(|text| Rpn::parse(text, find).ok());
        match cdef {
            Some(cdef) => cdef.eval(&mut Vec::new(), |i| now.get(i).copied().flatten()),
            None => own,
        }
    };
    spec.fields.iter().enumerate().map(of).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::series;
    use crate::graph::testing::{bucket, field, rollup, with_buckets};
    use rookery_plugins::FieldSpec;

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
