//! Drawn values of the exact samples: counters as rates by the service's `graph_period`,
//! and after that each field's `cdef`, at each of the field's own samples.
//!
//! A `cdef` that is linear in its own field ([`follows_from_buckets`]) is the same of means
//! and extremes as of values, so that rollups do. Any other (of two fields, or of one with
//! `IF`, `MAX`, …) is not: the quotient of two maxima is no maximum of the quotient. Of
//! these the samples are read, some days at a time.
//!
//! A sibling's value is that of its sample nearest in time, no further away than its
//! heartbeat: fields of one service need not be read at one instant.

use crate::history::{Bucket, History, ReadError};
use crate::series::{Drawn, Heartbeat};
use rookery_plugins::rpn::Rpn;
use rookery_plugins::{FieldSpec, ServiceSpec, TimeMs};

/// So many values of all fields together are in memory at a time, about.
const PART_VALUES: i64 = 200_000;
/// The shortest and the longest part, ms.
const PART_MS: (i64, i64) = (3_600_000, 30 * 86_400_000);
/// Of services that do not say how often they are read, ms.
const UNKNOWN_STEP_MS: i64 = 10_000;

/// Whether the drawn values of a field's buckets are those of its samples: it has no
/// `cdef` that is understood, or one that is linear in the field itself.
pub fn follows_from_buckets(spec: &ServiceSpec, field: &FieldSpec) -> bool {
    let find = |name: &str| spec.fields.iter().position(|f| f.name == name);
    let cdef = field.cdef.as_deref().and_then(|text| Rpn::parse(text, find).ok());
    match (cdef, find(&field.name)) {
        (None, _) => true,
        (Some(cdef), Some(own)) => cdef.linear(own).is_some(),
        (Some(_), None) => false,
    }
}

/// One field's samples in a span, oldest first: time, and the value by the service's
/// period; `None`: unknown.
type Column = Vec<(TimeMs, Option<f64>)>;

/// How one field is drawn. Indices are those of [`Exact::columns`].
struct Formula {
    /// Whose samples say when there is a value: the field's own, or, if its `cdef` does
    /// not name it, those of the first that it names.
    timed_by: usize,
    own: usize,
    cdef: Option<Rpn>,
    /// The columns that the `cdef` names.
    of: Vec<usize>,
}

/// A service's exact drawn values.
pub struct Exact<'a> {
    history: &'a dyn History,
    node: &'a str,
    spec: &'a ServiceSpec,
    /// The service's fields, and asked ones that it has no more.
    columns: Vec<&'a FieldSpec>,
}

impl<'a> Exact<'a> {
    /// Of a service as `spec` describes it.
    pub fn new(history: &'a dyn History, node: &'a str, spec: &'a ServiceSpec) -> Exact<'a> {
        Exact { history, node, spec, columns: spec.fields.iter().collect() }
    }

    /// The fields' drawn values by steps of time, as [`History::rollup`] gives those of
    /// fields without a `cdef`.
    pub fn buckets(
        mut self,
        fields: &[&'a FieldSpec],
        (from_ms, to_ms): (TimeMs, TimeMs),
        step_ms: i64,
    ) -> Result<Vec<Vec<Bucket>>, ReadError> {
        let step_ms = step_ms.max(1);
        let n = to_ms.saturating_sub(from_ms).max(0) as u64;
        let n = usize::try_from(n.div_ceil(step_ms.unsigned_abs())).unwrap_or(0);
        let mut out = vec![vec![Bucket::default(); n]; fields.len()];
        self.visit(fields, (from_ms, to_ms), |field, time_ms, value| {
            let bucket = usize::try_from((time_ms - from_ms) / step_ms).unwrap_or(usize::MAX);
            if let (Some(value), Some(bucket)) = (value, out[field].get_mut(bucket)) {
                bucket.push(value);
            }
        })?;
        Ok(out)
    }

    /// Visits each drawn value of these fields with `from <= time < to`, the oldest of each
    /// field first: the field's index in `fields`, the time, and the value (`None`:
    /// unknown).
    pub fn visit(
        &mut self,
        fields: &[&'a FieldSpec],
        (from_ms, to_ms): (TimeMs, TimeMs),
        mut take: impl FnMut(usize, TimeMs, Option<f64>),
    ) -> Result<(), ReadError> {
        let formulas: Vec<Formula> = fields.iter().map(|f| self.formula(f)).collect();
        let Some((first, last)) = self.known() else { return Ok(()) };
        let (heartbeat, lead) = (Heartbeat::of(self.spec), Heartbeat::lead_ms(self.spec));
        let mut needed: Vec<usize> = formulas.iter().flat_map(|f| f.of.clone()).collect();
        needed.extend(formulas.iter().map(|f| f.timed_by));
        needed.sort_unstable();
        needed.dedup();
        let (mut at, end) = (from_ms.max(first), to_ms.min(last.saturating_add(1)));
        let part_ms = self.part_ms(needed.len());
        while at < end {
            let to = end.min(at.saturating_add(part_ms));
            let span = (at.saturating_sub(lead), to.saturating_add(heartbeat.0));
            let mut columns: Vec<Column> = vec![Vec::new(); self.columns.len()];
            for i in &needed {
                columns[*i] = self.column(self.columns[*i], span, heartbeat)?;
            }
            for (i, formula) in formulas.iter().enumerate() {
                formula.walk(&columns, (at, to), heartbeat, |time, value| take(i, time, value));
            }
            at = to;
        }
        Ok(())
    }

    fn formula(&mut self, field: &'a FieldSpec) -> Formula {
        let own = self.columns.iter().position(|f| f.name == field.name);
        let own = own.unwrap_or_else(|| {
            self.columns.push(field);
            self.columns.len() - 1
        });
        let find = |name: &str| self.columns.iter().position(|f| f.name == name);
        let cdef = field.cdef.as_deref().and_then(|text| Rpn::parse(text, find).ok());
        let of = cdef.as_ref().map_or_else(Vec::new, Rpn::fields);
        let timed_by = if of.contains(&own) { own } else { *of.first().unwrap_or(&own) };
        Formula { timed_by, own, cdef, of }
    }

    /// The times of the node's oldest and newest sample.
    fn known(&self) -> Option<(TimeMs, TimeMs)> {
        let node = self.history.node(self.node)?;
        Some((node.first_seen_ms?, node.last_seen_ms?))
    }

    fn part_ms(&self, n_columns: usize) -> i64 {
        let step = match i64::try_from(self.spec.step_ms) {
            Ok(step) if step > 0 => step,
            _ => UNKNOWN_STEP_MS,
        };
        let n_rows = PART_VALUES / i64::try_from(n_columns.max(1)).unwrap_or(1);
        step.saturating_mul(n_rows.max(1)).clamp(PART_MS.0, PART_MS.1)
    }

    fn column(
        &self,
        field: &FieldSpec,
        (from_ms, to_ms): (TimeMs, TimeMs),
        heartbeat: Heartbeat,
    ) -> Result<Column, ReadError> {
        let read = self.history.samples(self.node, &self.spec.name, &field.name, from_ms, to_ms);
        let samples = match read {
            Ok(samples) => samples,
            Err(ReadError::NotFound(_)) => return Ok(Column::new()),
            Err(e) => return Err(e),
        };
        let per = self.spec.per(field.kind);
        let mut drawn = Drawn::new(field, heartbeat);
        Ok(samples.iter().map(|(t, v)| (t, drawn.next(t, v).map(|v| v * per))).collect())
    }
}

impl Formula {
    /// Each value in `[from, to)`.
    fn walk(
        &self,
        columns: &[Column],
        (from_ms, to_ms): (TimeMs, TimeMs),
        Heartbeat(heartbeat): Heartbeat,
        mut take: impl FnMut(TimeMs, Option<f64>),
    ) {
        let times = &columns[self.timed_by];
        let start = times.partition_point(|(t, _)| *t < from_ms);
        let end = times.partition_point(|(t, _)| *t < to_ms);
        let Some(cdef) = &self.cdef else {
            columns[self.own]
                .iter()
                .filter(|(t, _)| (from_ms..to_ms).contains(t))
                .for_each(|(t, v)| take(*t, *v));
            return;
        };
        let mut stack = Vec::new();
        let mut nearest = vec![0usize; columns.len()];
        let mut values: Vec<Option<f64>> = vec![None; columns.len()];
        for (time, _) in &times[start..end] {
            for i in &self.of {
                let column = &columns[*i];
                let at = &mut nearest[*i];
                // Of two as near the earlier one.
                let far = |at: usize| column.get(at).map_or(i64::MAX, |(t, _)| (t - time).abs());
                while far(*at + 1) < far(*at) {
                    *at += 1;
                }
                values[*i] = column
                    .get(*at)
                    .filter(|(t, _)| (t - time).abs() <= heartbeat)
                    .and_then(|(_, v)| *v);
            }
            take(*time, cdef.eval(&mut stack, |i| values.get(i).copied().flatten()));
        }
    }
}
