//! Rollups for tests.

use super::{GraphRequest, Limits, Over, Theme};
use jiff::tz::TimeZone;
use proptest::prelude::*;
use rookery_collector::history::{Bucket, FieldRollup, Rollup};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};
use std::sync::Arc;

/// Wed 18 Nov 2026, 00:00 UTC.
pub(crate) const FROM: i64 = 1_794_960_000_000;

/// A bucket of samples.
pub(crate) fn bucket(values: &[f64]) -> Bucket {
    let mut out = Bucket::default();
    values.iter().for_each(|v| out.push(*v));
    out
}

/// A field and its buckets, each with no or one sample.
pub(crate) fn field(spec: FieldSpec, values: &[Option<f64>]) -> FieldRollup {
    let buckets: Vec<Bucket> =
        values.iter().map(|v| v.map_or(Bucket::default(), |v| bucket(&[v]))).collect();
    with_buckets(spec, buckets)
}

/// A field with these buckets.
pub(crate) fn with_buckets(spec: FieldSpec, buckets: Vec<Bucket>) -> FieldRollup {
    FieldRollup::of(spec, buckets)
}

/// A rollup with buckets of a minute.
pub(crate) fn rollup(mut service: ServiceSpec, fields: Vec<FieldRollup>) -> Rollup {
    service.fields = fields.iter().map(|f| f.spec.clone()).collect();
    Rollup { from_ms: FROM, step_ms: 60_000, spec: Arc::new(service), fields, averages: vec![] }
}

/// A request for all of it.
pub(crate) fn request<'a>(rollup: &'a Rollup, limits: &'a [(String, Limits)]) -> GraphRequest<'a> {
    static UTC: TimeZone = TimeZone::UTC;
    let n = rollup.fields.iter().map(|f| f.buckets.len()).max().unwrap_or(0);
    GraphRequest {
        rollup,
        to_ms: rollup.from_ms + rollup.step_ms * n as i64,
        width: 300,
        height: 100,
        theme: Theme::Light,
        tz: &UTC,
        title: "Title",
        limits,
        marks: &[],
        axis: None,
        legend: true,
        over: Over::default(),
    }
}

/// Any number, the odd ones often.
fn any_value() -> impl Strategy<Value = f64> {
    let odd = vec![
        0.0,
        -0.0,
        1.0,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::NAN,
        f64::MAX,
        f64::MIN,
        f64::MIN_POSITIVE,
        5e-324,
        1e308,
        -1e308,
        1e15 + 0.125,
    ];
    prop_oneof![3 => -1e3..1e3f64, 1 => prop::num::f64::ANY, 2 => prop::sample::select(odd)]
}

fn any_bucket() -> impl Strategy<Value = Bucket> {
    let filled = prop::collection::vec(any_value(), 1..4).prop_map(|v| bucket(&v));
    prop_oneof![2 => Just(Bucket::default()), 3 => filled]
}

fn any_field() -> impl Strategy<Value = FieldRollup> {
    let draws = [Draw::Line1, Draw::Line2, Draw::Line3, Draw::Area, Draw::Stack, Draw::AreaStack];
    let words = ["a,8,*", "a,b,/", "b,UN,0,b,IF", "a,LOG", "a,a,-", "x", "1e308,a,*"];
    let cdef = prop::option::of(prop::sample::select(words.to_vec()));
    let negative = prop::option::of(prop::sample::select(vec!["a", "b", "c", "zzz"]));
    (
        prop::sample::select(vec!["a", "b", "c", "d"]),
        ".{0,40}",
        prop::sample::select(draws.to_vec()),
        (cdef, negative, any::<bool>()),
        prop::collection::vec(any_bucket(), 0..60),
    )
        .prop_map(|(name, label, draw, (cdef, negative, hidden), buckets)| {
            let mut spec = FieldSpec::gauge(name, &label).draw(draw);
            spec.cdef = cdef.map(str::to_owned);
            spec.negative = negative.map(str::to_owned);
            spec.hidden = hidden;
            with_buckets(spec, buckets)
        })
}

/// Any rollup, well formed or not.
pub(crate) fn any_rollup() -> impl Strategy<Value = Rollup> {
    let args = [
        "",
        "--base 1024 -l 0",
        "-l 0 -u 100 -r",
        "-l 5 -u 1 --rigid",
        "-l -u -r -l nan",
        "--logarithmic",
        "-o -l 7.9e307 -r",
        "-o -l 5e-324 -u 1e308 -r",
    ];
    (
        prop::collection::vec(any_field(), 0..5),
        prop::sample::select(args.to_vec()),
        ".{0,20}",
        prop_oneof![Just(60_000i64), Just(0), Just(1), Just(i64::MAX), 1i64..1_000_000_000],
        prop_oneof![Just(FROM), Just(0i64), Just(i64::MIN), Just(i64::MAX), any::<i64>()],
        any::<bool>(),
    )
        .prop_map(|(fields, args, vlabel, step_ms, from_ms, unscaled)| {
            let mut spec = ServiceSpec::new("s", "S", "other").args(args).vlabel(&vlabel);
            spec.unscaled = unscaled;
            spec.step_ms = if unscaled { 0 } else { step_ms.unsigned_abs() };
            Rollup { step_ms, from_ms, ..rollup(spec, fields) }
        })
}
