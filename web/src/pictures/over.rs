//! What a picture has over its data, read from the history: the exact samples'
//! percentiles, and an earlier span.

use crate::app::App;
use crate::error::WebError;
use crate::graph::{Percentile, percentiles};
use crate::pictures::mix::{How, Part};
use rookery_collector::drawn::Exact;
use rookery_collector::history::{ReadError, Rollup};
use rookery_collector::reading;
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};

/// Most exact samples that the percentiles of one picture are made of.
pub(crate) const SAMPLES_MAX: u64 = 5_000_000;

impl App {
    /// The same span earlier; `None`: the service was not there yet.
    pub(super) fn ghost(
        &self,
        node: &str,
        rollup: &Rollup,
        (from, to, step): (i64, i64, i64),
        earlier_ms: i64,
    ) -> Result<Option<Rollup>, WebError> {
        let names: Vec<&str> = rollup.fields.iter().map(|f| f.spec.name.as_str()).collect();
        let (from, to) = (from.saturating_sub(earlier_ms), to.saturating_sub(earlier_ms));
        // A cdef may need others than those that are drawn.
        let has_cdef = rollup.spec.fields.iter().any(|f| f.cdef.is_some());
        let read: &[&str] = if has_cdef { &[] } else { &names };
        match self.history.rollup(node, &rollup.spec.name, read, from, to, step) {
            Ok(ghost) => self.drawn(node, &ghost, to, &names).map(Some),
            Err(ReadError::NotFound(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Percentiles (thousandths) of the exact values in a rollup's span: of each
    /// field that is drawn by itself, and of the stack's sum. Not those of muted
    /// fields.
    pub(crate) fn percentiles(
        &self,
        node: &str,
        rollup: &Rollup,
        (from, to, _): (i64, i64, i64),
        (muted, thousandths): (&[String], &[u32]),
    ) -> Result<Vec<Percentile>, WebError> {
        let mut out = Vec::new();
        if thousandths.is_empty() {
            return Ok(out);
        }
        let drawn = rollup.fields.iter().filter(|f| !muted.contains(&f.spec.name));
        let drawn: Vec<_> = drawn.filter(|f| is_drawn(rollup, &f.spec)).collect();
        let n: u64 = drawn.iter().map(|f| f.total.count).sum();
        if n > SAMPLES_MAX {
            return Err(WebError::bad(format!(
                "pct: {n} exact samples lie in this span, and at most {SAMPLES_MAX} are read for \
                 percentiles: choose a shorter span, or mute fields (hide=)"
            )));
        }
        let percents: Vec<f64> = thousandths.iter().map(|p| f64::from(*p) / 1000.0).collect();
        let mut add = |field: Option<&str>, values: Option<Vec<f64>>| {
            for (percent, value) in percents.iter().zip(values.into_iter().flatten()) {
                let field = field.map(str::to_owned);
                out.push(Percentile { field, percent: *percent, value });
            }
        };
        let is_part = |f: &FieldSpec| matches!(f.draw, Draw::Area | Draw::Stack | Draw::AreaStack);
        let n_parts = drawn.iter().filter(|f| is_part(&f.spec) && !is_below(rollup, f)).count();
        let has_stack = drawn.iter().any(|f| matches!(f.spec.draw, Draw::Stack | Draw::AreaStack));
        let mut sums: Option<Vec<(i64, f64)>> = None;
        for field in &drawn {
            let spec = &field.spec;
            // As it was stored: what is drawn has no cdef any more.
            let stored = rollup.spec.field(&spec.name).unwrap_or(spec);
            let values = self.exact(node, &rollup.spec, stored, (from, to))?;
            if has_stack && n_parts > 1 && is_part(spec) && !is_below(rollup, field) {
                sums = Some(match sums {
                    None => values,
                    Some(sums) => both(&sums, &values),
                });
                continue;
            }
            let mut values = values.into_iter().map(|(_, v)| v).collect();
            add(Some(&spec.name), percentiles(&mut values, &percents));
        }
        if let Some(sums) = sums {
            let mut values = sums.into_iter().map(|(_, v)| v).collect();
            add(None, percentiles(&mut values, &percents));
        }
        Ok(out)
    }

    /// Percentiles of the single fields of a mix, and what to tell of those that
    /// have none: a sum of many nodes has no exact values of its own.
    pub(crate) fn mix_percentiles(
        &self,
        parts: &[Part],
        rollup: &Rollup,
        (from, to): (i64, i64),
        thousandths: &[u32],
    ) -> Result<(Vec<Percentile>, &'static str), WebError> {
        let mut out = Vec::new();
        if thousandths.is_empty() {
            return Ok((out, ""));
        }
        let singles = || parts.iter().zip(&rollup.fields).filter(|(p, _)| p.how == How::One);
        if singles().map(|(_, f)| f.total.count).sum::<u64>() > SAMPLES_MAX {
            return Ok((out, "no percentiles: too many samples in this span"));
        }
        let percents: Vec<f64> = thousandths.iter().map(|p| f64::from(*p) / 1000.0).collect();
        for (part, _) in singles() {
            let Some(service) = self.history.spec(&part.which, &part.service) else { continue };
            let Some(spec) = service.field(&part.field) else { continue };
            let values = self.exact(&part.which, &service, spec, (from, to))?;
            let mut values = values.into_iter().map(|(_, v)| v).collect();
            let found = percentiles(&mut values, &percents).unwrap_or_default();
            for (percent, value) in percents.iter().zip(found) {
                let field = Some(part.text.clone());
                out.push(Percentile { field, percent: *percent, value });
            }
        }
        let has_sums = parts.iter().any(|p| p.how != How::One);
        Ok((out, if has_sums { "percentiles: of single fields only" } else { "" }))
    }

    /// A field's drawn values, each with its time.
    fn exact(
        &self,
        node: &str,
        service: &ServiceSpec,
        spec: &FieldSpec,
        (from, to): (i64, i64),
    ) -> Result<Vec<(i64, f64)>, WebError> {
        let mut out = Vec::new();
        let mut exact = Exact::new(&*self.history, node, service);
        exact.visit(&[spec], (from, to), |_, time, value| {
            out.extend(value.map(|value| (time, value)));
        })?;
        reading::charge(out.len() * size_of::<(i64, f64)>()).map_err(WebError::stopped)?;
        Ok(out)
    }
}

/// Whether the picture has it: visible, or a visible one's other half.
fn is_drawn(rollup: &Rollup, spec: &FieldSpec) -> bool {
    let all_hidden = rollup.fields.iter().all(|f| f.spec.hidden);
    !spec.hidden || all_hidden || is_negative(rollup, spec)
}

fn is_negative(rollup: &Rollup, spec: &FieldSpec) -> bool {
    rollup.fields.iter().any(|f| f.spec.negative.as_deref() == Some(spec.name.as_str()))
}

fn is_below(rollup: &Rollup, field: &rookery_collector::history::FieldRollup) -> bool {
    is_negative(rollup, &field.spec)
}

/// Sums at the times that both have.
fn both(a: &[(i64, f64)], b: &[(i64, f64)]) -> Vec<(i64, f64)> {
    let mut rest = b.iter().peekable();
    let mut out = Vec::with_capacity(a.len());
    for (t, v) in a {
        while rest.next_if(|(other, _)| other < t).is_some() {}
        if let Some((_, other)) = rest.next_if(|(other, _)| other == t) {
            out.push((*t, v + other));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_are_of_what_was_read_together() {
        let a = [(1, 1.0), (2, 2.0), (4, 4.0)];
        let b = [(0, 9.0), (2, 10.0), (3, 9.0), (4, 20.0)];
        assert_eq!(both(&a, &b), [(2, 12.0), (4, 24.0)]);
    }
}
