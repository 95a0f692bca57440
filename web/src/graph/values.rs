//! A field's values by buckets, after its cdef, and the legend's numbers.

use super::gaps;
use rookery_collector::history::{Bucket, Rollup};
use rookery_plugins::rpn::Rpn;
use tracing::debug;

/// One bucket of one field after its cdef.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

/// The legend's numbers, after cdef; `None`: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Figures {
    /// The newest value of the span.
    pub cur: Option<f64>,
    /// The least.
    pub min: Option<f64>,
    /// The mean of all samples.
    pub avg: Option<f64>,
    /// The largest.
    pub max: Option<f64>,
    /// By how much a counter grew in the span; `None`: it is none, or its `cdef`
    /// is more than a factor.
    pub total: Option<f64>,
}

/// A rollup, looked at where it has values.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub rollup: &'a Rollup,
    /// Buckets in which any field has a value, ascending.
    pub filled: &'a [usize],
    /// The service's own step, in buckets; 0 when it is not known.
    pub step: f64,
}

impl Source<'_> {
    /// What the field's `cdef` says, if it is understood.
    pub(crate) fn cdef(&self, field: usize) -> Option<Rpn> {
        let fields = &self.rollup.fields;
        let text = fields[field].spec.cdef.as_deref()?;
        let find = |name: &str| fields.iter().position(|f| f.spec.name == name);
        match Rpn::parse(text, find) {
            Ok(cdef) => Some(cdef),
            Err(why) => {
                let service = &self.rollup.spec.name;
                let name = &fields[field].spec.name;
                debug!("{service}.{name}: cdef {text:?}: {why}; drawn without it");
                None
            }
        }
    }

    /// What makes a field's stored values those of the service's period.
    pub(crate) fn per(&self, field: usize) -> f64 {
        self.rollup.spec.per(self.rollup.fields[field].spec.kind)
    }

    /// A bucket's numbers by the service's period.
    fn drawn(&self, field: usize, bucket: Option<&Bucket>) -> Option<Value> {
        let v = bucket.and_then(raw)?;
        let per = self.per(field);
        Some(Value { mean: v.mean * per, min: v.min * per, max: v.max * per })
    }

    /// The field's value at each filled bucket.
    pub(crate) fn values(&self, field: usize, cdef: Option<&Rpn>) -> Vec<Option<Value>> {
        let fields = &self.rollup.fields;
        let bucket = |f: usize, b: usize| fields[f].buckets.get(b).filter(|b| b.count > 0);
        let Some(cdef) = cdef else {
            return self.filled.iter().map(|b| self.drawn(field, bucket(field, *b))).collect();
        };
        let mut stack = Vec::new();
        let value = |b: &usize| {
            let own = self.drawn(field, bucket(field, *b));
            let mut at = |own: Option<f64>| {
                cdef.eval(&mut stack, |i| match i == field {
                    true => own,
                    false => self.drawn(i, bucket(i, *b)).map(|v| v.mean),
                })
            };
            let mean = at(own.map(|v| v.mean))?;
            // The siblings stand at their means meanwhile.
            let ends = own.filter(|v| v.min < v.max).map(|v| (at(Some(v.min)), at(Some(v.max))));
            let (a, b) = ends.unwrap_or_default();
            let (a, b) = (a.unwrap_or(mean), b.unwrap_or(mean));
            Some(Value { mean, min: mean.min(a).min(b), max: mean.max(a).max(b) })
        };
        self.filled.iter().map(value).collect()
    }

    /// The same, with what lies between two of the field's samples filled in:
    /// fields of one service need not be read at one instant.
    pub(crate) fn joined(&self, field: usize, values: &[Option<Value>]) -> Vec<Option<Value>> {
        let own: Vec<usize> = (0..values.len()).filter(|i| values[*i].is_some()).collect();
        if own.len() == values.len() || own.len() < 2 {
            return values.to_vec();
        }
        let buckets = &self.rollup.fields[field].buckets;
        let at: Vec<usize> = own.iter().map(|i| self.filled[*i]).collect();
        let counts: Vec<u64> = at.iter().map(|b| buckets.get(*b).map_or(1, |b| b.count)).collect();
        let breaks = gaps::spacing(&at, &counts, self.step).gaps(&at);
        let mut out = values.to_vec();
        for (pair, _) in own.windows(2).zip(breaks).filter(|(_, is_gap)| !is_gap) {
            let (Some(a), Some(b)) = (values[pair[0]], values[pair[1]]) else { continue };
            let (from, to) = (self.filled[pair[0]] as f64, self.filled[pair[1]] as f64);
            let between = pair[0] + 1..pair[1];
            for (bucket, value) in self.filled[between.clone()].iter().zip(&mut out[between]) {
                let part = (*bucket as f64 - from) / (to - from);
                let mean = a.mean + (b.mean - a.mean) * part;
                if !mean.is_nan() {
                    *value = Some(Value { mean, min: mean, max: mean });
                }
            }
        }
        out
    }

    /// The legend's numbers; `known` are the field's values.
    pub(crate) fn figures(
        &self,
        field: usize,
        cdef: Option<&Rpn>,
        known: &[Option<Value>],
    ) -> Figures {
        let fields = &self.rollup.fields;
        let total = |f: usize| Some(&fields[f].total).filter(|t| t.count > 0);
        let Some(cdef) = cdef else {
            let number = |of: fn(Value) -> f64| self.drawn(field, total(field)).map(of);
            return Figures {
                cur: total(field).map(|t| t.last * self.per(field)).filter(|v| !v.is_nan()),
                min: number(|v| v.min),
                avg: number(|v| v.mean),
                max: number(|v| v.max),
                total: fields[field].increase,
            };
        };
        // A cdef of the field alone that is a factor holds for its sum, too.
        let scaled = |sum: f64| {
            let mut stack = Vec::new();
            let mut at = |v: f64| cdef.eval(&mut stack, |i| (i == field).then_some(v));
            let (zero, one, two) = (at(0.0)?, at(sum)?, at(2.0 * sum)?);
            (zero == 0.0 && two == 2.0 * one).then_some(one)
        };
        let values = || known.iter().flatten();
        let buckets = &fields[field].buckets;
        let weight = |i: usize| buckets.get(self.filled[i]).map_or(1, |b| b.count.max(1)) as f64;
        let (sum, n) = known.iter().enumerate().fold((0.0, 0.0), |(sum, n), (i, v)| match v {
            Some(v) => (sum + v.mean * weight(i), n + weight(i)),
            None => (sum, n),
        });
        Figures {
            cur: cdef.eval(&mut Vec::new(), |i| total(i).map(|t| t.last * self.per(i))),
            min: values().map(|v| v.min).reduce(f64::min),
            avg: Some(sum / n).filter(|v| !v.is_nan()),
            max: values().map(|v| v.max).reduce(f64::max),
            total: fields[field].increase.and_then(scaled),
        }
    }
}

/// A bucket's numbers, in order even where its sum overflowed or it holds an
/// infinity; `None`: it has none that can be drawn.
fn raw(bucket: &Bucket) -> Option<Value> {
    let (min, max) = (bucket.min, bucket.max);
    if bucket.count == 0 || min.is_nan() || max.is_nan() || min > max {
        return None;
    }
    let mut mean = bucket.sum / bucket.count as f64;
    if !mean.is_finite() {
        mean = min / 2.0 + max / 2.0;
    }
    (!mean.is_nan()).then(|| Value { mean: mean.clamp(min, max), min, max })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{bucket, field, rollup, with_buckets};
    use rookery_plugins::{FieldSpec, ServiceSpec};

    fn source<'a>(rollup: &'a Rollup, filled: &'a [usize]) -> Source<'a> {
        Source { rollup, filled, step: 0.0 }
    }

    #[test]
    fn cdefs_change_values_and_figures() {
        let fields = vec![
            with_buckets(
                FieldSpec::gauge("a", "").cdef("a,-8,*"),
                vec![bucket(&[1.0, 3.0]), bucket(&[2.0])],
            ),
            field(FieldSpec::gauge("b", "").cdef("a,b,/"), &[Some(4.0), Some(0.0)]),
            field(FieldSpec::gauge("c", "").cdef("c,TREND"), &[Some(4.0), Some(0.0)]),
        ];
        let rollup = rollup(ServiceSpec::new("s", "s", "s"), fields);
        let s = source(&rollup, &[0, 1]);
        let cdef = s.cdef(0);
        let values = s.values(0, cdef.as_ref());
        let first = Value { mean: -16.0, min: -24.0, max: -8.0 };
        assert_eq!(values[0], Some(first), "a negative factor turns min and max round");
        let figures = s.figures(0, cdef.as_ref(), &values);
        assert_eq!((figures.cur, figures.min), (Some(-16.0), Some(-24.0)));
        assert_eq!((figures.avg, figures.max), (Some(-16.0), Some(-8.0)));
        let cdef = s.cdef(1);
        let values = s.values(1, cdef.as_ref());
        assert_eq!(values[0].map(|v| v.mean), Some(0.5));
        assert_eq!(values[1], None, "divided by zero");
        assert_eq!(s.figures(1, cdef.as_ref(), &values).cur, None);
        assert!(s.cdef(2).is_none());
        assert_eq!(s.values(2, None)[0].map(|v| v.mean), Some(4.0), "drawn as it is");
    }

    #[test]
    fn counters_are_drawn_by_the_graphs_period() {
        let of = |period: &str| {
            let fields = vec![
                field(FieldSpec::derive("a", "").cdef("a,8,*"), &[Some(2.0)]),
                field(FieldSpec::derive("b", ""), &[Some(2.0)]),
                field(FieldSpec::gauge("c", ""), &[Some(2.0)]),
            ];
            let mut service = ServiceSpec::new("s", "s", "s");
            service.period = period.to_owned();
            let rollup = rollup(service, fields);
            let s = source(&rollup, &[0]);
            [0, 1, 2].map(|i| {
                let cdef = s.cdef(i);
                let values = s.values(i, cdef.as_ref());
                let cur = s.figures(i, cdef.as_ref(), &values).cur;
                assert_eq!(cur, values[0].map(|v| v.mean));
                cur.expect("a value")
            })
        };
        assert_eq!(of(""), [16.0, 2.0, 2.0]);
        assert_eq!(of("minute"), [960.0, 120.0, 2.0]);
        assert_eq!(of("hour"), [57_600.0, 7200.0, 2.0]);
    }

    #[test]
    fn odd_buckets_have_an_order_or_no_value() {
        let huge = raw(&bucket(&[f64::MAX, f64::MAX])).expect("a value");
        assert_eq!(huge.mean, f64::MAX, "though the sum overflowed");
        let endless = raw(&bucket(&[1.0, f64::INFINITY])).expect("a value");
        assert_eq!((endless.min, endless.mean), (1.0, f64::INFINITY));
        assert_eq!(raw(&bucket(&[f64::NEG_INFINITY, f64::INFINITY])), None);
        assert_eq!(raw(&bucket(&[f64::NAN])), None);
        assert_eq!(raw(&Bucket::default()), None);
    }
}
