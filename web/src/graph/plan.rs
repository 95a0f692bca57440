//! Which fields are drawn, in which order, and which of them below zero.

use rookery_collector::history::{FieldRollup, Rollup};
use rookery_plugins::Draw;
use tracing::debug;

/// More fields than this are not drawn: nobody could tell them apart, and the
/// picture would be larger than the data.
const MAX_DRAWN: usize = 200;

/// What is to be painted of which field.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Plan {
    /// Index in `Rollup::fields`.
    pub field: usize,
    pub draw: Draw,
    /// Below zero, as the partner of the field before it.
    pub mirrored: bool,
    /// Has such a partner.
    pub mirrors: bool,
}

/// Visible fields in the order of `graph_order`, each followed by its mirrored
/// partner, and how many were left out. Where only hidden fields were asked
/// for, they are meant.
pub(crate) fn plan(rollup: &Rollup) -> (Vec<Plan>, usize) {
    let fields = &rollup.fields;
    let index = |name: &str| fields.iter().position(|f| f.spec.name == name);
    let partner = |f: &FieldRollup| f.spec.negative.as_deref().and_then(index);
    let below: Vec<usize> = fields.iter().filter_map(partner).collect();
    let all_hidden = fields.iter().all(|f| f.spec.hidden);
    let mut plan = Vec::new();
    for i in order(rollup) {
        let f = &fields[i];
        let is_off = rollup.spec.order.iter().any(|w| {
            w.strip_prefix('-').and_then(|w| w.split('=').next()) == Some(f.spec.name.as_str())
        });
        if ((f.spec.hidden || is_off) && !all_hidden)
            || (below.contains(&i) && partner(f).is_none())
        {
            continue;
        }
        let other = partner(f).filter(|o| *o != i);
        let draw = f.spec.draw;
        plan.push(Plan { field: i, draw, mirrored: false, mirrors: other.is_some() });
        if let Some(other) = other {
            plan.push(Plan { field: other, draw, mirrored: true, mirrors: false });
        }
    }
    let left_out = plan.len().saturating_sub(MAX_DRAWN);
    if left_out > 0 {
        debug!("{}: {left_out} fields are beyond {MAX_DRAWN} and not drawn", rollup.spec.name);
        plan.truncate(MAX_DRAWN);
    }
    (plan, left_out)
}

/// The fields that `graph_order` names, then the others in their own order.
fn order(rollup: &Rollup) -> Vec<usize> {
    let n = rollup.fields.len();
    if rollup.spec.order.is_empty() {
        return (0..n).collect();
    }
    let mut order: Vec<usize> = Vec::with_capacity(n);
    for word in &rollup.spec.order {
        // Munin also has `name=host:service.field` here, and `-name` for one that is
        // read but not drawn.
        let name = word.split('=').next().unwrap_or(word);
        let name = name.strip_prefix('-').unwrap_or(name);
        let found = rollup.fields.iter().position(|f| f.spec.name == name);
        order.extend(found.filter(|i| !order.contains(i)));
    }
    let rest: Vec<usize> = (0..n).filter(|i| !order.contains(i)).collect();
    order.extend(rest);
    order
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::testing::{field, rollup};
    use rookery_plugins::{FieldSpec, ServiceSpec};

    fn planned(order: &str, specs: Vec<FieldSpec>) -> String {
        let mut spec = ServiceSpec::new("s", "s", "s");
        spec.order = order.split_whitespace().map(str::to_owned).collect();
        let fields = specs.into_iter().map(|s| field(s, &[Some(1.0)])).collect();
        let rollup = rollup(spec, fields);
        let (plan, _) = plan(&rollup);
        let show = |p: &Plan| {
            let sign = if p.mirrored { "-" } else { "" };
            format!("{sign}{}", rollup.fields[p.field].spec.name)
        };
        plan.iter().map(show).collect::<Vec<_>>().join(" ")
    }

    fn of(name: &str) -> FieldSpec {
        FieldSpec::gauge(name, "")
    }

    #[test]
    fn order_and_mirrors_are_followed() {
        assert_eq!(planned("", vec![of("a"), of("b"), of("c")]), "a b c");
        assert_eq!(planned("-b c -a=h:s.f", vec![of("a"), of("b"), of("c")]), "c");
        assert_eq!(planned("c zzz a=h:s.f c", vec![of("a"), of("b"), of("c")]), "c a b");
        let down = of("down").hidden();
        assert_eq!(planned("", vec![down.clone(), of("up").negative("down")]), "up -down");
        assert_eq!(planned("", vec![of("down"), of("up").negative("down")]), "up -down");
        assert_eq!(planned("", vec![of("up").negative("gone")]), "up");
        assert_eq!(planned("", vec![of("a").negative("a")]), "a");
        assert_eq!(planned("", vec![of("a").hidden(), of("b")]), "b");
        assert_eq!(planned("", vec![down]), "down", "asked for by itself");
    }

    #[test]
    fn a_flood_of_fields_is_cut() {
        let fields = (0..300).map(|i| field(of(&format!("f{i}")), &[None])).collect();
        let (plan, left_out) = plan(&rollup(ServiceSpec::new("s", "s", "s"), fields));
        assert_eq!((plan.len(), left_out), (200, 100));
    }
}
