//! What lies over the data: lines at percentiles, and an earlier span's ghost.

use super::series::{self, Drawing, Paint};
use super::unit::Unit;
use rookery_collector::history::{Bucket, Rollup};

/// Dashes and the spaces between them, px.
pub(crate) const GHOST_DASH: (f64, f64) = (4.0, 3.0);
pub(crate) const PERCENTILE_DASH: (f64, f64) = (2.0, 3.0);
/// Most dashes of all ghosts' lines of a picture.
pub(crate) const DASHES_MAX: usize = 5000;
/// How strong a ghost is beside the data.
pub(crate) const GHOST_INK: f64 = 0.75;

/// A percentile of a field's drawn values, or of the stack's sum.
#[derive(Clone, Debug, PartialEq)]
pub struct Percentile {
    /// The field; `None`: the stack's sum.
    pub field: Option<String>,
    /// 0 to 100.
    pub percent: f64,
    /// The exact value.
    pub value: f64,
}

/// What lies over the data, and which fields are left out.
#[derive(Clone, Copy, Debug, Default)]
pub struct Over<'a> {
    /// Names of fields that are not painted; they keep their colour.
    pub muted: &'a [String],
    /// Each a dotted line.
    pub percentiles: &'a [Percentile],
    /// The same span earlier, by the same steps.
    pub ghost: Option<&'a Rollup>,
    /// How much earlier, as text: `1w`.
    pub ghost_name: &'a str,
    /// What could not be laid over it, and why; empty: nothing.
    pub note: &'a str,
}

/// A percentile's line in the picture.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Line {
    pub at: f64,
    /// Index in `Drawing::series`; `None`: the stack's sum.
    pub series: Option<usize>,
    pub label: String,
}

/// A line of an earlier span: whose colour (index in `Drawing::series`; `None`: a
/// stack's), and its points, each a bucket and a value.
pub(crate) type Ghost = (Option<usize>, Vec<(usize, f64)>);

/// The percentiles (nearest rank: a value that was there, none between two) of drawn
/// values in any order. NaN counts as unknown. `None`: there is no value.
pub fn percentiles(values: &mut Vec<f64>, of: &[f64]) -> Option<Vec<f64>> {
    values.retain(|v| !v.is_nan());
    let n = values.len();
    if n == 0 {
        return None;
    }
    let rank = |p: &f64| {
        let rank = (p / 100.0 * n as f64).ceil() as usize;
        rank.clamp(1, n) - 1
    };
    Some(of.iter().map(|p| *values.select_nth_unstable_by(rank(p), f64::total_cmp).1).collect())
}

/// Where percentiles are drawn.
pub(crate) fn lines(rollup: &Rollup, drawing: &Drawing, over: &Over<'_>) -> Vec<Line> {
    let unit = Unit::of(&rollup.spec);
    let line = |p: &Percentile| {
        let name = |i: usize| &rollup.fields[drawing.series[i].field].spec;
        let series = match &p.field {
            Some(field) => {
                let mut all = (0..drawing.series.len()).filter(|i| !drawing.series[*i].muted);
                Some(all.find(|i| name(*i).name == *field)?)
            }
            None => None,
        };
        let sign = if series.is_some_and(|i| drawing.series[i].mirrored) { -1.0 } else { 1.0 };
        let of = series.map_or("sum", |i| name(i).label_or_name());
        let number = unit.text(p.value);
        let label = format!("{} % of {of}: {number}", p.percent);
        Some(Line { at: sign * p.value, series, label }).filter(|_| p.value.is_finite())
    };
    over.percentiles.iter().filter_map(line).collect()
}

/// The lines of an earlier span: one for each field that does not stand in a
/// stack, and one for the top of each stack.
pub(crate) fn ghost(rollup: &Rollup, drawing: &Drawing, over: &Over<'_>, n: f64) -> Vec<Ghost> {
    let Some(ghost) = over.ghost else { return Vec::new() };
    // The fields as they are now: others of then are not in the picture.
    let fields = rollup.fields.iter().map(|f| {
        let then = ghost.fields.iter().find(|g| g.spec.name == f.spec.name);
        let mut out = f.clone();
        out.buckets = then.map(|g| g.buckets.clone()).unwrap_or_default();
        out.total = then.map_or(Bucket::default(), |g| g.total);
        out
    });
    let then = Rollup {
        from_ms: rollup.from_ms,
        step_ms: rollup.step_ms,
        spec: rollup.spec.clone(),
        fields: fields.collect(),
        averages: vec![],
    };
    let then = super::coarse::coarsen_by(&then, ghost.step_ms, rollup.step_ms).unwrap_or(then);
    let earlier = series::prepare_without(&then, n, over.muted);
    let all = &drawing.series;
    let mut out = Vec::new();
    for (i, s) in earlier.series.iter().enumerate() {
        // Only the top of a stack has a line, in no field's colour.
        let is_under = all[i + 1..]
            .iter()
            .find(|o| o.paint == Paint::Fill && o.mirrored == all[i].mirrored && !o.muted)
            .is_some_and(|o| o.stacked);
        if s.muted || (s.paint == Paint::Fill && is_under) {
            continue;
        }
        let whose = (!all[i].stacked).then_some(i);
        let line = |run: &Vec<series::Point>| run.iter().map(|p| (p.bucket, p.edge)).collect();
        out.extend(s.runs.iter().map(|run| (whose, line(run))));
    }
    out
}

/// A line through points as dashes, each a line of its own. More than `most` get
/// longer instead: a restless line must not make a picture of megabytes.
pub(crate) fn dashes(
    points: &[(f64, f64)],
    (on, off): (f64, f64),
    most: usize,
) -> Vec<Vec<(f64, f64)>> {
    let far = |w: &[(f64, f64)]| (w[1].0 - w[0].0).hypot(w[1].1 - w[0].1);
    let length: f64 = points.windows(2).map(far).filter(|far| far.is_finite()).sum();
    let stretch = (length / (on + off) / most.max(1) as f64).max(1.0);
    let (on, off) = (on * stretch, off * stretch);
    let mut out: Vec<Vec<(f64, f64)>> = Vec::new();
    let (mut left, mut is_on) = (on, true);
    let mut part: Vec<(f64, f64)> = points.first().copied().into_iter().collect();
    for pair in points.windows(2) {
        let ((mut x, mut y), (to_x, to_y)) = (pair[0], pair[1]);
        loop {
            let far = (to_x - x).hypot(to_y - y);
            if far <= left || !far.is_finite() {
                left -= if far.is_finite() { far } else { 0.0 };
                if is_on {
                    part.push((to_x, to_y));
                }
                break;
            }
            (x, y) = (x + (to_x - x) * left / far, y + (to_y - y) * left / far);
            if is_on {
                part.push((x, y));
                out.push(std::mem::take(&mut part));
            } else {
                part = vec![(x, y)];
            }
            is_on = !is_on;
            left = if is_on { on } else { off };
        }
    }
    if is_on && part.len() > 1 {
        out.push(part);
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{field, rollup};
    use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

    #[test]
    fn percentiles_are_values_that_were_there() {
        let of = |values: &[f64], p: &[f64]| percentiles(&mut values.to_vec(), p);
        let hundred: Vec<f64> = (1..=100).rev().map(f64::from).collect();
        assert_eq!(of(&hundred, &[95.0, 99.0, 50.0]), Some(vec![95.0, 99.0, 50.0]));
        assert_eq!(of(&[7.0], &[1.0, 99.9]), Some(vec![7.0, 7.0]));
        assert_eq!(of(&[f64::NAN, 3.0], &[50.0]), Some(vec![3.0]));
        assert_eq!(of(&[f64::NAN], &[50.0]), None);
    }

    #[test]
    fn dashes_have_their_lengths() {
        let corner = [(0.0, 0.0), (10.0, 0.0), (10.0, 10.0)];
        let parts = dashes(&corner, (4.0, 2.0), 100);
        let length = |p: &Vec<(f64, f64)>| {
            p.windows(2).map(|w| (w[1].0 - w[0].0).hypot(w[1].1 - w[0].1)).sum()
        };
        let lengths: Vec<f64> = parts.iter().map(length).collect();
        assert_eq!(lengths, [4.0, 4.0, 4.0, 2.0]);
        assert!(dashes(&[], (1.0, 1.0), 9).is_empty());
        assert!(dashes(&[(1.0, 1.0)], (1.0, 1.0), 9).is_empty());
        let restless: Vec<(f64, f64)> =
            (0..1000).map(|i| (f64::from(i), f64::from(i % 2) * 300.0)).collect();
        let parts = dashes(&restless, (4.0, 3.0), 500);
        assert!((400..=501).contains(&parts.len()), "{}", parts.len());
    }

    #[test]
    fn a_ghost_has_a_line_a_field_and_one_a_stack() {
        let spec = || ServiceSpec::new("s", "S", "other");
        let of = |v: [f64; 3]| {
            let [a, b, l] = v.map(|v| [Some(v), Some(v)]);
            let fields = vec![
                field(FieldSpec::gauge("a", "").draw(Draw::Area), &a),
                field(FieldSpec::gauge("b", "").draw(Draw::Stack), &b),
                field(FieldSpec::gauge("l", ""), &l),
            ];
            rollup(spec(), fields)
        };
        let (now, then) = (of([1.0, 2.0, 3.0]), of([10.0, 20.0, 7.0]));
        let over = Over { ghost: Some(&then), ghost_name: "1w", ..Over::default() };
        let drawing = series::prepare(&now, 2.0);
        let lines = ghost(&now, &drawing, &over, 2.0);
        let told: Vec<(Option<usize>, f64)> = lines.iter().map(|(s, run)| (*s, run[0].1)).collect();
        assert_eq!(told, [(None, 30.0), (Some(2), 7.0)]);
        let muted = ["b".to_owned()];
        let over = Over { muted: &muted, ..over };
        let drawing = series::prepare_without(&now, 2.0, &muted);
        let lines = ghost(&now, &drawing, &over, 2.0);
        assert_eq!(lines[0], (Some(0), vec![(0, 10.0), (1, 10.0)]));
    }
}
