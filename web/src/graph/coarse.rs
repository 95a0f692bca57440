//! Fewer buckets, where a rollup has far more than a picture has pixels.

use rookery_collector::history::{Bucket, FieldRollup, Rollup};

/// The same rollup with at most `most` buckets a field, by joining neighbours;
/// `None` where it has no more than that. Nothing but time resolution is lost:
/// counts, sums and extremes are those of the buckets joined.
pub(crate) fn coarsen(rollup: &Rollup, most: usize) -> Option<Rollup> {
    let n = rollup.fields.iter().map(|f| f.buckets.len()).max()?;
    let each = n.div_ceil(most.max(1));
    if each <= 1 {
        return None;
    }
    let join = |f: &FieldRollup| FieldRollup {
        spec: f.spec.clone(),
        buckets: f.buckets.chunks(each).map(joined).collect(),
        total: f.total,
        increase: f.increase,
    };
    Some(Rollup {
        from_ms: rollup.from_ms,
        step_ms: rollup.step_ms.saturating_mul(i64::try_from(each).unwrap_or(i64::MAX)),
        spec: rollup.spec.clone(),
        fields: rollup.fields.iter().map(join).collect(),
        averages: rollup.averages.clone(),
    })
}

/// A rollup whose buckets were of `from_ms`, by buckets of `to_ms`, a multiple;
/// `None` where they are of one width.
pub(crate) fn coarsen_by(rollup: &Rollup, from_ms: i64, to_ms: i64) -> Option<Rollup> {
    let each = usize::try_from(to_ms / from_ms.max(1)).ok().filter(|n| *n > 1)?;
    let mut out = rollup.clone();
    for field in &mut out.fields {
        field.buckets = field.buckets.chunks(each).map(joined).collect();
    }
    Some(out)
}

fn joined(buckets: &[Bucket]) -> Bucket {
    let mut out = Bucket::default();
    for b in buckets.iter().filter(|b| b.count > 0) {
        if out.count == 0 {
            out.first = b.first;
        }
        out.count = out.count.saturating_add(b.count);
        out.min = out.min.min(b.min);
        out.max = out.max.max(b.max);
        out.sum += b.sum;
        out.last = b.last;
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{bucket, field, rollup};
    use rookery_plugins::{FieldSpec, ServiceSpec};

    #[test]
    fn nothing_but_resolution_is_lost() {
        let values = [Some(1.0), None, Some(5.0), Some(-2.0), None, None, Some(3.0)];
        let fields = vec![field(FieldSpec::gauge("a", ""), &values)];
        let fine = rollup(ServiceSpec::new("s", "s", "s"), fields);
        assert!(coarsen(&fine, 7).is_none());
        let coarse = coarsen(&fine, 3).expect("more than 3");
        assert_eq!(coarse.step_ms, 180_000);
        let expected = vec![bucket(&[1.0, 5.0]), bucket(&[-2.0]), bucket(&[3.0])];
        assert_eq!(coarse.fields[0].buckets, expected);
        assert_eq!(coarse.fields[0].total, fine.fields[0].total);
    }
}
