//! Working out a borrowed field on reading: a loan, or a sum of several, by steps or at
//! each step of its parts.

use super::{Borrow, Borrowed, Loan, Source};
use crate::history::{Bucket, FieldRollup, NodeInfo, ReadError, Rollup, Samples};
use rookery_plugins::{FieldSpec, FieldType, Kind, TimeMs, rhythm};
use std::sync::Arc;

/// Of services that do not say how often they are read, ms.
const UNKNOWN_STEP_MS: i64 = 60_000;
/// A sum is exported in parts of so many steps.
const STEPS: i64 = 10_000;

impl Borrow {
    /// A source's field by steps, from the first of its nodes that has it.
    fn part(
        &self,
        of: &Source,
        span: (TimeMs, TimeMs),
        step_ms: i64,
    ) -> Result<Option<Rollup>, ReadError> {
        for node in &of.nodes {
            let fields = [of.field.as_str()];
            match self.inner.rollup(node, &of.service, &fields, span.0, span.1, step_ms) {
                Ok(rollup) if rollup.fields.is_empty() => {}
                Ok(rollup) => return Ok(Some(rollup)),
                Err(ReadError::NotFound(_)) => {}
                Err(e) => return Err(e),
            }
        }
        Ok(None)
    }

    /// Adds a borrowed field to a rollup.
    pub(super) fn lend(
        &self,
        loan: &Loan,
        said: Option<&Borrowed>,
        span: (TimeMs, TimeMs),
        rollup: &mut Rollup,
    ) -> Result<(), ReadError> {
        let spec = Arc::make_mut(&mut rollup.spec);
        let known = said.and_then(|b| b.spec.field(&loan.name)).or(spec.field(&loan.name));
        let mut field = known.cloned().unwrap_or_else(|| FieldSpec::gauge(&loan.name, ""));
        let has_said = |attribute: &str| {
            said.is_some_and(|b| b.said.contains(&format!("{}.{attribute}", loan.name)))
        };
        let mut parts = Vec::new();
        for source in &loan.sources {
            parts.extend(self.part(source, span, rollup.step_ms)?);
        }
        if let Some(first) = parts.first() {
            let of = &first.fields[0].spec;
            if !has_said("draw") {
                field.draw = of.draw;
            }
            if field.info.is_empty() {
                field.info.clone_from(&of.info);
            }
            field.kind = if loan.is_sum { FieldType::Gauge } else { of.kind };
        }
        spec.step_ms =
            parts.iter().map(|p| p.spec.step_ms).chain([spec.step_ms]).max().unwrap_or(0);
        let averages = parts.iter().flat_map(|p| p.averages.iter().copied());
        rollup.averages.extend(averages);
        let found = if loan.is_sum {
            let n = usize::try_from((span.1 - span.0 + rollup.step_ms - 1) / rollup.step_ms);
            let buckets = sum(&parts, n.unwrap_or(0));
            FieldRollup::of(field, buckets)
        } else {
            match parts.into_iter().next().and_then(|p| p.fields.into_iter().next()) {
                Some(found) => FieldRollup { spec: field, ..found },
                None => FieldRollup::of(field, vec![]),
            }
        };
        match spec.fields.iter_mut().find(|f| f.name == loan.name) {
            Some(known) => known.clone_from(&found.spec),
            None => spec.fields.push(found.spec.clone()),
        }
        match rollup.fields.iter_mut().find(|f| f.spec.name == loan.name) {
            Some(known) => *known = found,
            None => rollup.fields.push(found),
        }
        Ok(())
    }

    /// A sum at each step of its parts, aligned to the clock.
    pub(super) fn summed(
        &self,
        loan: &Loan,
        (from_ms, to_ms): (TimeMs, TimeMs),
    ) -> Result<Samples, ReadError> {
        let mut out = Samples { field_type: FieldType::Gauge, ..Samples::default() };
        let mut step_ms = 0;
        for source in &loan.sources {
            if let Some(part) = self.part(source, (from_ms, from_ms.saturating_add(1)), 1)? {
                step_ms = step_ms.max(i64::try_from(part.spec.step_ms).unwrap_or(0));
            }
        }
        let step_ms = if step_ms > 0 { step_ms } else { UNKNOWN_STEP_MS };
        // Before the first of them there is nothing to add up.
        let lends = |n: &NodeInfo| loan.sources.iter().any(|s| s.nodes.contains(&n.name));
        let nodes = self.inner.nodes();
        let first = nodes.iter().filter(|n| lends(n)).filter_map(|n| n.first_seen_ms).min();
        let from_ms = first.map_or(from_ms, |first| from_ms.max(first - step_ms));
        let mut from = from_ms - from_ms.rem_euclid(step_ms);
        while from < to_ms {
            let to = to_ms.min(from.saturating_add(step_ms * STEPS));
            let mut parts = Vec::new();
            for source in &loan.sources {
                parts.extend(self.part(source, (from, to), step_ms)?);
            }
            let n = usize::try_from((to - from + step_ms - 1) / step_ms).unwrap_or(0);
            for (i, bucket) in (0i64..).zip(sum(&parts, n)) {
                let time_ms = from + i * step_ms;
                let Some(v) = bucket.mean().filter(|_| time_ms >= from_ms) else { continue };
                out.times_ms.push(time_ms);
                out.kinds.push(Kind::Float as u8);
                out.bits.push(v.to_bits());
            }
            from = to;
        }
        Ok(out)
    }
}

/// The sum of the parts' means. Each counts until two of its steps later: they are not
/// read at one instant. What one part reached beyond its mean, the sum may have reached.
fn sum(parts: &[Rollup], n: usize) -> Vec<Bucket> {
    let mut sums: Vec<Option<(f64, f64, f64)>> = vec![None; n];
    for part in parts {
        let bucket_ms = part.step_ms.max(1);
        let filled = part.fields[0].buckets.iter().enumerate().filter(|(_, b)| b.count > 0);
        let filled = filled.map(|(i, _)| i as i64 * bucket_ms);
        let hold = rhythm::hold_ms(part.spec.step_ms, filled, bucket_ms) / bucket_ms;
        let mut last: Option<(i64, f64)> = None;
        for ((i, sum), bucket) in (0i64..).zip(&mut sums).zip(&part.fields[0].buckets) {
            let mean = bucket.mean().filter(|v| !v.is_nan());
            let (below, above) = match mean {
                Some(mean) => {
                    last = Some((i, mean));
                    (mean - bucket.min, bucket.max - mean)
                }
                None => (0.0, 0.0),
            };
            let Some((_, v)) = last.filter(|(at, _)| i - at <= hold) else { continue };
            let (all, low, high) = sum.unwrap_or_default();
            *sum = Some((all + v, low.max(below), high.max(above)));
        }
    }
    let bucket = |sum: Option<(f64, f64, f64)>| {
        let mut out = Bucket::default();
        if let Some((v, below, above)) = sum {
            out.merge(1, (v - below, v + above), v, (v, v));
        }
        out
    };
    sums.into_iter().map(bucket).collect()
}
