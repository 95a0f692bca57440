//! What a picture has over its data, read from the history: the exact samples'
//! percentiles, and an earlier span.

use crate::app::App;
use crate::error::WebError;
use crate::graph::{Percentile, percentiles};
use crate::pictures::mix::{How, Part};
use rookery_collector::history::{ReadError, Rollup};
use rookery_collector::reading;
use rookery_collector::series::{Drawn, Heartbeat};
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
        match self.history.rollup(node, &rollup.spec.name, &names, from, to, step) {
            Ok(ghost) => Ok(Some(ghost)),
            Err(ReadError::NotFound(_)) => Ok(None),
            Err(e) => Err(e.into()),
        }
    }

    /// Percentiles (thousandths) of the exact values in a rollup's span: of each
    /// field that is drawn by itself, and of the stack's sum. Not those of muted
    /// fields, and none of a `cdef` of several fields.
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
            let values = self.exact(node, &rollup.spec, &field.spec, (from, to))?;
            let spec = &field.spec;
            if has_stack && n_parts > 1 && is_part(spec) && !is_below(rollup, field) {
                sums = Some(match sums {
                    None => values,
                    Some(sums) => both(&sums, &values),
                });
                continue;
            }
            let mut values = values.into_iter().map(|(_, v)| v).collect();
            add(Some(&spec.name), percentiles(spec, &mut values, &percents));
        }
        let is_plain = drawn.iter().all(|f| !is_part(&f.spec) || f.spec.cdef.is_none());
        if let Some(sums) = sums.filter(|_| is_plain) {
            let mut values = sums.into_iter().map(|(_, v)| v).collect();
            let spec = FieldSpec::gauge("sum", "");
            add(None, percentiles(&spec, &mut values, &percents));
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
            let found = percentiles(spec, &mut values, &percents).unwrap_or_default();
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
        let heartbeat = Heartbeat::of(service);
        // The first rate needs the sample before.
        let before = from.saturating_sub(heartbeat.0);
        let samples = self.history.samples(node, &service.name, &spec.name, before, to)?;
        reading::charge(samples.len() * size_of::<(i64, f64)>()).map_err(WebError::stopped)?;
        let mut drawn = Drawn::new(spec, heartbeat);
        let values = samples.iter().filter_map(|(t, v)| Some((t, drawn.next(t, v)?)));
        Ok(values.filter(|(t, _)| *t >= from).collect())
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
