//! From a rollup to what is drawn: cdef, stacks, mirrored fields, unbroken runs.

use super::cdef::Cdef;
use super::gaps::{self, Spacing};
use rookery_collector::history::{Bucket, FieldRollup, Rollup};
use rookery_plugins::Draw;
use tracing::debug;

/// One bucket of one field after its cdef.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Value {
    pub mean: f64,
    pub min: f64,
    pub max: f64,
}

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
    /// Unbroken runs.
    pub runs: Vec<Vec<Point>>,
    pub figures: Figures,
}

/// The legend's numbers, after cdef; `None`: unknown.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Figures {
    pub cur: Option<f64>,
    pub min: Option<f64>,
    pub avg: Option<f64>,
    pub max: Option<f64>,
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
}

/// Works out what to draw of a rollup whose right edge is `n` buckets from its
/// start (may be a fraction).
pub(crate) fn prepare(rollup: &Rollup, n: f64) -> Drawing {
    let plan = plan(rollup);
    let (filled, counts) = gaps::union(rollup.fields.iter().map(|f| f.buckets.as_slice()));
    if filled.is_empty() || n <= 0.0 {
        return Drawing { series: without_points(rollup, plan), ..Drawing::default() };
    }
    let step = rollup.spec.step_ms as f64 / rollup.step_ms.max(1) as f64;
    let spacing = gaps::spacing(&filled, &counts, step);
    let breaks = spacing.gaps(&filled);
    let mut work = Work { rollup, filled: &filled, breaks: &breaks, step, tops: Tops::default() };
    let mut series: Vec<Series> = plan.into_iter().map(|p| work.series(p)).collect();
    flatten_covered(&mut series);
    let any = series.iter().any(|s| !s.runs.is_empty());
    Drawing { series, gaps: spans(&filled, &breaks, spacing, n), any }
}

/// A band under another part of the stack would only muddy its colour: the
/// stack's top has one for all of its parts.
fn flatten_covered(series: &mut [Series]) {
    for i in 0..series.len() {
        let next = series[i + 1..]
            .iter()
            .find(|s| s.paint == Paint::Fill && s.mirrored == series[i].mirrored);
        if series[i].paint == Paint::Fill && next.is_some_and(|s| s.stacked) {
            for p in series[i].runs.iter_mut().flatten() {
                (p.low, p.high) = (p.edge, p.edge);
            }
        }
    }
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

/// What is to be painted of which field.
struct Plan {
    field: usize,
    draw: Draw,
    mirrored: bool,
    mirrors: bool,
}

/// Visible fields in their order, each followed by its mirrored partner. Where
/// only hidden fields were asked for, they are meant.
fn plan(rollup: &Rollup) -> Vec<Plan> {
    let fields = &rollup.fields;
    let index = |name: &str| fields.iter().position(|f| f.spec.name == name);
    let partner = |f: &FieldRollup| f.spec.negative.as_deref().and_then(index);
    let below: Vec<usize> = fields.iter().filter_map(partner).collect();
    let all_hidden = fields.iter().all(|f| f.spec.hidden);
    let mut plan = Vec::new();
    for (i, f) in fields.iter().enumerate() {
        if (f.spec.hidden && !all_hidden) || (below.contains(&i) && partner(f).is_none()) {
            continue;
        }
        let other = partner(f).filter(|o| *o != i);
        let draw = f.spec.draw;
        plan.push(Plan { field: i, draw, mirrored: false, mirrors: other.is_some() });
        if let Some(other) = other {
            plan.push(Plan { field: other, draw, mirrored: true, mirrors: false });
        }
    }
    plan
}

fn without_points(rollup: &Rollup, plan: Vec<Plan>) -> Vec<Series> {
    let mut work = Work { rollup, filled: &[], breaks: &[], step: 0.0, tops: Tops::default() };
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
    rollup: &'a Rollup,
    /// Buckets in which any field has a value.
    filled: &'a [usize],
    /// Whether a gap lies after each of `filled`.
    breaks: &'a [bool],
    /// The service's own step, in buckets.
    step: f64,
    tops: Tops,
}

impl Work<'_> {
    fn series(&mut self, plan: Plan) -> Series {
        let cdef = self.cdef(plan.field);
        let known = self.values(plan.field, cdef.as_ref());
        let values = self.joined(plan.field, &known);
        let figures = self.figures(plan.field, cdef.as_ref(), &known);
        let top = if plan.mirrored { &mut self.tops.below } else { &mut self.tops.above };
        let (paint, on_top) = match plan.draw {
            Draw::Line1 => (Paint::Line(1), false),
            Draw::Line2 => (Paint::Line(2), false),
            Draw::Line3 => (Paint::Line(3), false),
            Draw::Area => (Paint::Fill, false),
            Draw::Stack | Draw::AreaStack => (Paint::Fill, true),
        };
        let sign = if plan.mirrored { -1.0 } else { 1.0 };
        let under = top.take();
        let stacked = on_top && under.is_some();
        let n = self.filled.len();
        let (kept, mut stack) = match under {
            Some(under) if on_top => (None, under),
            // A line between two parts of a stack does not end the stack.
            other => (other.filter(|_| paint != Paint::Fill), Stack::at_zero(n)),
        };
        let base = stack.top.clone();
        stack.add(&values, sign);
        let mut runs = runs(self.filled, self.breaks, &values, &base, sign);
        if stacked {
            reach(&mut runs, self.filled, &stack.reach, sign);
        }
        // A STACK upon a LINE stands on it, as in rrdtool.
        *top = kept.or(Some(stack));
        let (field, mirrored, mirrors) = (plan.field, plan.mirrored, plan.mirrors);
        Series { field, paint, mirrored, mirrors, stacked, runs, figures }
    }

    fn cdef(&self, field: usize) -> Option<Cdef> {
        let fields = &self.rollup.fields;
        let text = fields[field].spec.cdef.as_deref()?;
        let find = |name: &str| fields.iter().position(|f| f.spec.name == name);
        match Cdef::parse(text, find) {
            Ok(cdef) => Some(cdef),
            Err(why) => {
                let service = &self.rollup.spec.name;
                let name = &fields[field].spec.name;
                debug!("{service}.{name}: cdef {text:?}: {why}; drawn without it");
                None
            }
        }
    }

    /// The field's value at each filled bucket.
    fn values(&self, field: usize, cdef: Option<&Cdef>) -> Vec<Option<Value>> {
        let fields = &self.rollup.fields;
        let bucket = |f: usize, b: usize| fields[f].buckets.get(b).filter(|b| b.count > 0);
        let Some(cdef) = cdef else {
            return self.filled.iter().map(|b| bucket(field, *b).and_then(raw)).collect();
        };
        let mut stack = Vec::new();
        let value = |b: &usize| {
            let own = bucket(field, *b).and_then(raw);
            let mut at = |own: Option<f64>| {
                cdef.eval(&mut stack, |i| match i == field {
                    true => own,
                    false => bucket(i, *b).and_then(raw).map(|v| v.mean),
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
    fn joined(&self, field: usize, values: &[Option<Value>]) -> Vec<Option<Value>> {
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
            for i in pair[0] + 1..pair[1] {
                let part = (self.filled[i] as f64 - from) / (to - from);
                let mean = a.mean + (b.mean - a.mean) * part;
                if !mean.is_nan() {
                    out[i] = Some(Value { mean, min: mean, max: mean });
                }
            }
        }
        out
    }

    fn figures(&self, field: usize, cdef: Option<&Cdef>, known: &[Option<Value>]) -> Figures {
        let fields = &self.rollup.fields;
        let total = |f: usize| Some(&fields[f].total).filter(|t| t.count > 0);
        let Some(cdef) = cdef else {
            let number = |of: fn(Value) -> f64| total(field).and_then(raw).map(of);
            return Figures {
                cur: total(field).map(|t| t.last).filter(|v| !v.is_nan()),
                min: number(|v| v.min),
                avg: number(|v| v.mean),
                max: number(|v| v.max),
            };
        };
        let values = || known.iter().flatten();
        let buckets = &fields[field].buckets;
        let weight = |i: usize| buckets.get(self.filled[i]).map_or(1, |b| b.count.max(1)) as f64;
        let (sum, n) = known.iter().enumerate().fold((0.0, 0.0), |(sum, n), (i, v)| match v {
            Some(v) => (sum + v.mean * weight(i), n + weight(i)),
            None => (sum, n),
        });
        Figures {
            cur: cdef.eval(&mut Vec::new(), |i| total(i).map(|t| t.last)),
            min: values().map(|v| v.min).reduce(f64::min),
            avg: Some(sum / n).filter(|v| !v.is_nan()),
            max: values().map(|v| v.max).reduce(f64::max),
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
