//! From a rollup to what is drawn: cdef, stacks, mirrored fields, unbroken runs.

use super::gaps::{self, Spacing};
use super::plan::{self, Plan};
use super::values::{Figures, Source, Value};
use rookery_collector::history::Rollup;
use rookery_plugins::Draw;

/// A point of a drawn series, in the values of the y axis (mirrored ones
/// negative). May be infinite, never NaN.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Point {
    /// Index of the bucket.
    pub bucket: usize,
    /// Where the fill begins: zero, or the top of the stack under it.
    pub base: f64,
    /// The line, or the fill's edge.
    pub edge: f64,
    /// The band's ends, around the edge.
    pub low: f64,
    pub high: f64,
}

/// How a series is painted.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Paint {
    /// Filled from base to edge.
    Fill,
    /// A line of so many px.
    Line(u32),
}

/// One field as it is painted and told in the legend.
#[derive(Clone, Debug)]
pub(crate) struct Series {
    /// Index in `Rollup::fields`.
    pub field: usize,
    pub paint: Paint,
    /// Below zero.
    pub mirrored: bool,
    /// Has a mirrored partner.
    pub mirrors: bool,
    /// Whether it stands on another field instead of on zero.
    pub stacked: bool,
    /// Not painted: it keeps its colour and its row in the legend, and has no runs.
    pub muted: bool,
    /// Unbroken runs.
    pub runs: Vec<Vec<Point>>,
    pub figures: Figures,
}

/// All that is drawn between the axes.
#[derive(Clone, Debug, Default)]
pub(crate) struct Drawing {
    /// In the order of painting and of the legend.
    pub series: Vec<Series>,
    /// Spans without data in any field, in buckets (may be fractions).
    pub gaps: Vec<(f64, f64)>,
    /// Whether there is a value at all.
    pub any: bool,
    /// The fields together, where the service wants a total.
    pub total: Option<Figures>,
    /// Fields that are not drawn, because there are too many.
    pub left_out: usize,
}

impl Drawing {
    /// Why there is nothing to see.
    pub(crate) fn nothing(&self) -> &'static str {
        match !self.series.is_empty() && self.series.iter().all(|s| s.muted) {
            true => "every field is muted",
            false => "no data in this span",
        }
    }
}

/// Works out what to draw of a rollup whose right edge is `n` buckets from its
/// start (may be a fraction).
pub(crate) fn prepare(rollup: &Rollup, n: f64) -> Drawing {
    prepare_without(rollup, n, &[])
}

/// The same without some fields, by name: stacks close up over them.
pub(crate) fn prepare_without(rollup: &Rollup, n: f64, muted: &[String]) -> Drawing {
    let (plan, left_out) = plan::plan(rollup);
    // What begins beyond the right edge is not in the picture.
    let seen = n.ceil().max(0.0) as usize;
    let buckets = rollup.fields.iter().map(|f| &f.buckets[..f.buckets.len().min(seen)]);
    let (filled, counts) = gaps::union(buckets);
    if filled.is_empty() || n <= 0.0 {
        let series = without_points(rollup, plan, muted);
        return Drawing { series, left_out, ..Drawing::default() };
    }
    let step = rollup.spec.step_ms as f64 / rollup.step_ms.max(1) as f64;
    let spacing = gaps::spacing(&filled, &counts, step);
    let breaks = spacing.gaps(&filled);
    let source = Source { rollup, filled: &filled, step };
    let mut work = Work { source, breaks: &breaks, muted, tops: Tops::default() };
    let mut series: Vec<Series> = plan.into_iter().map(|p| work.series(p)).collect();
    flatten_covered(&mut series);
    let total = rollup.spec.total.is_some().then(|| total(&series, &filled));
    let any = series.iter().any(|s| !s.runs.is_empty());
    Drawing { series, gaps: spans(&filled, &breaks, spacing, n), any, total, left_out }
}

/// A band under another part of the stack would only muddy its colour: the
/// stack's top has one for all of its parts.
fn flatten_covered(series: &mut [Series]) {
    for i in 0..series.len() {
        let next = series[i + 1..]
            .iter()
            .find(|s| s.paint == Paint::Fill && s.mirrored == series[i].mirrored && !s.muted);
        if series[i].paint == Paint::Fill && next.is_some_and(|s| s.stacked) {
            for p in series[i].runs.iter_mut().flatten() {
                (p.low, p.high) = (p.edge, p.edge);
            }
        }
    }
}

/// `graph_total`: all fields together, but for mirrored ones. Its extremes are
/// those of the buckets' means, since no one knows which maxima met.
fn total(series: &[Series], filled: &[usize]) -> Figures {
    let shown = || series.iter().filter(|s| !s.mirrored && !s.muted);
    let sum = |of: fn(&Figures) -> Option<f64>| shown().filter_map(|s| of(&s.figures)).reduce(add);
    let mut sums: Vec<Option<f64>> = vec![None; filled.len()];
    for s in shown() {
        let mut at = filled.iter().zip(&mut sums);
        for p in s.runs.iter().flatten() {
            let Some((_, sum)) = at.by_ref().find(|(b, _)| **b == p.bucket) else { break };
            *sum = Some(sum.unwrap_or(0.0) + (p.edge - p.base));
        }
    }
    let sums = || sums.iter().flatten().copied();
    let (min, max) = (sums().reduce(f64::min), sums().reduce(f64::max));
    let total = sum(|f| f.total);
    Figures { cur: sum(|f| f.cur), min, avg: sum(|f| f.avg), max, total }
}

fn add(a: f64, b: f64) -> f64 {
    a + b
}

/// The spans without data, the picture's ends included.
fn spans(filled: &[usize], breaks: &[bool], spacing: Spacing, n: f64) -> Vec<(f64, f64)> {
    let mut out = Vec::new();
    let (Some(first), Some(last)) = (filled.first(), filled.last()) else { return out };
    if spacing.is_gap(first + 1) {
        out.push((0.0, *first as f64));
    }
    for (pair, is_gap) in filled.windows(2).zip(breaks) {
        if *is_gap {
            out.push(((pair[0] + 1) as f64, pair[1] as f64));
        }
    }
    let end = (*last + 1) as f64;
    // The newest sample may still be on its way: a bucket more is allowed.
    if n > end && spacing.is_gap((n - end).floor() as usize) {
        out.push((end, n));
    }
    out.retain(|(a, b)| a < b);
    out
}

fn without_points(rollup: &Rollup, plan: Vec<Plan>, muted: &[String]) -> Vec<Series> {
    let source = Source { rollup, filled: &[], step: 0.0 };
    let mut work = Work { source, breaks: &[], muted, tops: Tops::default() };
    plan.into_iter().map(|p| work.series(p)).collect()
}

/// The stacks so far, above and below zero.
#[derive(Default)]
struct Tops {
    above: Option<Stack>,
    below: Option<Stack>,
}

/// A stack's top at each filled bucket, and how far above it the largest spike
/// of any one of its parts reached. (The maxima of all parts together would be
/// higher than the stack ever was, since they come at different times.)
struct Stack {
    top: Vec<f64>,
    reach: Vec<f64>,
}

impl Stack {
    fn at_zero(n: usize) -> Stack {
        Stack { top: vec![0.0; n], reach: vec![0.0; n] }
    }

    fn add(&mut self, values: &[Option<Value>], sign: f64) {
        for (i, v) in values.iter().enumerate() {
            let Some(v) = v else { continue };
            self.top[i] += sign * v.mean;
            self.reach[i] = self.reach[i].max(v.max - v.mean);
        }
    }
}

struct Work<'a> {
    source: Source<'a>,
    /// Whether a gap lies after each of the filled buckets.
    breaks: &'a [bool],
    /// Names of fields that are not painted.
    muted: &'a [String],
    tops: Tops,
}

impl Work<'_> {
    fn series(&mut self, plan: Plan) -> Series {
        let cdef = self.source.cdef(plan.field);
        let known = self.source.values(plan.field, cdef.as_ref());
        let values = self.source.joined(plan.field, &known);
        let figures = self.source.figures(plan.field, cdef.as_ref(), &known);
        let top = if plan.mirrored { &mut self.tops.below } else { &mut self.tops.above };
        let (paint, on_top) = match plan.draw {
            Draw::Line1 => (Paint::Line(1), false),
            Draw::Line2 => (Paint::Line(2), false),
            Draw::Line3 => (Paint::Line(3), false),
            Draw::Area => (Paint::Fill, false),
            Draw::Stack | Draw::AreaStack => (Paint::Fill, true),
            Draw::LineStack => (Paint::Line(1), true),
        };
        let (field, mirrored, mirrors) = (plan.field, plan.mirrored, plan.mirrors);
        if self.muted.contains(&self.source.rollup.fields[field].spec.name) {
            // What would have stood on this area stands on zero, not on an older stack.
            if paint == Paint::Fill && !on_top {
                *top = None;
            }
            let (stacked, muted, runs) = (false, true, Vec::new());
            return Series { field, paint, mirrored, mirrors, stacked, muted, runs, figures };
        }
        let sign = if plan.mirrored { -1.0 } else { 1.0 };
        let under = top.take();
        let stacked = on_top && under.is_some();
        let n = self.source.filled.len();
        let (kept, mut stack) = match under {
            Some(under) if on_top => (None, under),
            // A line between two parts of a stack does not end the stack.
            other => (other.filter(|_| paint != Paint::Fill), Stack::at_zero(n)),
        };
        let base = stack.top.clone();
        stack.add(&values, sign);
        let mut runs = runs(self.source.filled, self.breaks, &values, &base, sign);
        if stacked {
            reach(&mut runs, self.source.filled, &stack.reach, sign);
        }
        // A STACK upon a LINE stands on it, as in rrdtool.
        *top = kept.or(Some(stack));
        Series { field, paint, mirrored, mirrors, stacked, muted: false, runs, figures }
    }
}

/// Widens a stack's points to what its parts' spikes reach.
fn reach(runs: &mut [Vec<Point>], filled: &[usize], reach: &[f64], sign: f64) {
    let mut at = filled.iter().zip(reach);
    for p in runs.iter_mut().flatten() {
        // Both ascend.
        let Some((_, reach)) = at.by_ref().find(|(b, _)| **b == p.bucket) else { return };
        let end = p.edge + sign * reach;
        (p.low, p.high) = (p.edge.min(end), p.edge.max(end));
    }
}

fn runs(
    filled: &[usize],
    breaks: &[bool],
    values: &[Option<Value>],
    base: &[f64],
    sign: f64,
) -> Vec<Vec<Point>> {
    let mut out: Vec<Vec<Point>> = Vec::new();
    let mut open = false;
    for (i, value) in values.iter().enumerate() {
        let point = value.map(|v| {
            let at = |x: f64| base[i] + sign * x;
            let (a, b) = (at(v.min), at(v.max));
            let (low, high) = (a.min(b), a.max(b));
            Point { bucket: filled[i], base: base[i], edge: at(v.mean), low, high }
        });
        match point.filter(|p| !(p.base.is_nan() || p.edge.is_nan())) {
            None => open = false,
            Some(p) => {
                match out.last_mut().filter(|_| open) {
                    Some(run) => run.push(p),
                    None => out.push(vec![p]),
                }
                open = true;
            }
        }
        open &= !breaks.get(i).copied().unwrap_or(false);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{bucket, field, rollup, with_buckets};
    use rookery_plugins::{FieldSpec, ServiceSpec};

    fn spec() -> ServiceSpec {
        ServiceSpec::new("s", "S", "other")
    }

    fn edges(drawing: &Drawing, series: usize) -> Vec<Vec<f64>> {
        let run = |r: &Vec<Point>| r.iter().map(|p| p.edge).collect();
        drawing.series[series].runs.iter().map(run).collect()
    }

    #[test]
    fn stacks_stand_on_each_other_and_lines_do_not() {
        let fields = vec![
            field(FieldSpec::gauge("a", "").draw(Draw::AreaStack), &[Some(1.0), Some(2.0)]),
            field(FieldSpec::gauge("l", "").draw(Draw::Line2), &[Some(7.0), Some(7.0)]),
            field(FieldSpec::gauge("b", "").draw(Draw::AreaStack), &[Some(10.0), Some(20.0)]),
            field(FieldSpec::gauge("c", "").draw(Draw::Stack), &[None, Some(100.0)]),
            field(FieldSpec::gauge("d", "").draw(Draw::Area), &[Some(5.0), Some(6.0)]),
        ];
        let drawing = prepare(&rollup(spec(), fields), 2.0);
        assert_eq!(edges(&drawing, 0), [[1.0, 2.0]]);
        assert_eq!(edges(&drawing, 1), [[7.0, 7.0]]);
        assert_eq!(edges(&drawing, 2), [[11.0, 22.0]]);
        assert_eq!(edges(&drawing, 3), [[122.0]]);
        assert_eq!(edges(&drawing, 4), [[5.0, 6.0]]);
        let stacked: Vec<bool> = drawing.series.iter().map(|s| s.stacked).collect();
        assert_eq!(stacked, [false, false, true, true, false]);
    }

    #[test]
    fn muted_fields_leave_no_hole() {
        let of = |name: &str, v: f64, draw: Draw| {
            field(FieldSpec::gauge(name, "").draw(draw), &[Some(v), Some(v)])
        };
        let mut spec = spec();
        spec.total = Some("all".into());
        let fields = vec![
            of("a", 1.0, Draw::Area),
            of("b", 10.0, Draw::Stack),
            of("c", 100.0, Draw::Stack),
            of("d", 5.0, Draw::Area),
            of("e", 50.0, Draw::Stack),
        ];
        let rollup = rollup(spec, fields);
        let muted = ["b".to_owned(), "d".to_owned(), "gone".to_owned()];
        let drawing = prepare_without(&rollup, 2.0, &muted);
        assert_eq!(edges(&drawing, 0), [[1.0, 1.0]]);
        assert!(edges(&drawing, 1).is_empty() && drawing.series[1].muted);
        assert_eq!(edges(&drawing, 2), [[101.0, 101.0]], "closed up");
        assert_eq!(edges(&drawing, 4), [[50.0, 50.0]], "not upon the first stack");
        assert_eq!(drawing.total.and_then(|t| t.cur), Some(151.0));
        assert_eq!(drawing.series[1].figures.cur, Some(10.0), "still told");
        let all: Vec<String> = ["a", "b", "c", "d", "e"].map(str::to_owned).into();
        assert!(!prepare_without(&rollup, 2.0, &all).any);
    }

    #[test]
    fn a_stacks_band_reaches_the_largest_spike_of_its_parts() {
        let of = |name: &str, values: &[f64]| {
            let spec = FieldSpec::gauge(name, "").draw(Draw::AreaStack);
            with_buckets(spec, vec![bucket(values); 3])
        };
        let fields = vec![of("a", &[1.0, 9.0]), of("b", &[2.0, 4.0]), of("c", &[1.0, 1.0])];
        let drawing = prepare(&rollup(spec(), fields), 3.0);
        let point = |s: usize| drawing.series[s].runs[0][0];
        assert_eq!((point(0).low, point(0).high), (5.0, 5.0), "covered by the next");
        assert_eq!((point(2).edge, point(2).low, point(2).high), (9.0, 9.0, 13.0));
    }

    #[test]
    fn negatives_hang_below_zero_with_the_partners_draw() {
        let up = FieldSpec::gauge("up", "").draw(Draw::Area).negative("down");
        let fields = vec![
            field(FieldSpec::gauge("down", "").hidden(), &[Some(3.0), Some(4.0)]),
            field(up, &[Some(1.0), Some(2.0)]),
        ];
        let drawing = prepare(&rollup(spec(), fields), 2.0);
        assert_eq!(edges(&drawing, 0), [[1.0, 2.0]]);
        assert_eq!(edges(&drawing, 1), [[-3.0, -4.0]]);
        assert_eq!(drawing.series[1].paint, Paint::Fill);
        assert_eq!(drawing.series[1].figures.max, Some(4.0), "the legend tells the sizes");
    }

    #[test]
    fn gaps_break_lines_and_are_told() {
        let mut values = vec![Some(1.0); 40];
        values[10..20].fill(None);
        values[35..].fill(None);
        let drawing =
            prepare(&rollup(spec(), vec![field(FieldSpec::gauge("a", ""), &values)]), 40.0);
        assert_eq!(drawing.gaps, [(10.0, 20.0), (35.0, 40.0)]);
        let lengths: Vec<usize> = drawing.series[0].runs.iter().map(Vec::len).collect();
        assert_eq!(lengths, [10, 15]);
    }

    #[test]
    fn fields_read_at_different_times_still_stack() {
        let at = |phase: usize, v: f64| -> Vec<Option<f64>> {
            (0..40).map(|i| (i % 4 == phase).then_some(v)).collect()
        };
        let of = |name: &str, values: &[Option<f64>]| {
            field(FieldSpec::gauge(name, "").draw(Draw::AreaStack), values)
        };
        let fields = vec![of("a", &at(0, 1.0)), of("b", &at(2, 10.0))];
        let drawing = prepare(&rollup(spec(), fields), 40.0);
        assert!(drawing.gaps.is_empty());
        let top = &edges(&drawing, 1)[0];
        assert!(top.len() > 15 && top.iter().take(top.len() - 1).all(|v| *v == 11.0), "{top:?}");
    }

    #[test]
    fn a_total_sums_what_is_above_zero() {
        let mut spec = spec();
        spec.total = Some("Total".into());
        let fields = vec![
            field(FieldSpec::gauge("a", ""), &[Some(1.0), Some(2.0)]),
            field(FieldSpec::gauge("b", ""), &[Some(10.0), Some(5.0)]),
        ];
        let total = prepare(&rollup(spec, fields), 2.0).total.expect("a total");
        let expected = Figures {
            cur: Some(7.0),
            min: Some(7.0),
            avg: Some(9.0),
            max: Some(11.0),
            total: None,
        };
        assert_eq!(total, expected);
    }

    #[test]
    fn lines_are_stacked_too() {
        let of = |name: &str, v: f64| {
            field(FieldSpec::gauge(name, "").draw(Draw::LineStack), &[Some(v), Some(v)])
        };
        let fields = vec![of("a", 1.0), of("b", 10.0), of("c", 100.0)];
        let drawing = prepare(&rollup(ServiceSpec::new("s", "s", "s"), fields), 2.0);
        let edges: Vec<f64> = drawing.series.iter().map(|s| s.runs[0][0].edge).collect();
        assert_eq!(edges, [1.0, 11.0, 111.0]);
        assert!(drawing.series.iter().all(|s| s.paint == Paint::Line(1)));
        assert!(!drawing.series[0].stacked && drawing.series[2].stacked);
    }

    #[test]
    fn what_lies_beyond_the_right_edge_is_left_out() {
        let data = field(FieldSpec::gauge("a", ""), &[Some(1.0), Some(2.0), Some(3.0)]);
        let drawing = prepare(&rollup(spec(), vec![data]), 1.5);
        assert_eq!(edges(&drawing, 0), [[1.0, 2.0]]);
    }
}
