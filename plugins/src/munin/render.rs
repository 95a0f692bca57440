//! Services and values → the text that a Munin master reads.

use crate::spec::{Draw, FieldSpec, FieldType, ServiceSpec};
use crate::{TimeMs, Value};
use std::fmt::Write;

/// What a plugin would print for `config`. Attributes at their defaults are
/// left out. Lines end in LF; no terminating `.`.
pub fn render_config(spec: &ServiceSpec, out: &mut String) {
    line(out, "graph_title", &spec.title);
    line(out, "graph_category", &spec.category);
    for (key, text) in [
        ("graph_args", &spec.args),
        ("graph_vlabel", &spec.vlabel),
        ("graph_info", &spec.info),
        ("graph_period", &spec.period),
    ] {
        if !text.is_empty() {
            line(out, key, text);
        }
    }
    if !spec.order.is_empty() {
        line(out, "graph_order", &spec.order.join(" "));
    }
    if let Some(total) = &spec.total {
        line(out, "graph_total", total);
    }
    if spec.unscaled {
        line(out, "graph_scale", "no");
    }
    if spec.hidden {
        line(out, "graph", "no");
    }
    if let Some(host) = &spec.host_name {
        line(out, "host_name", host);
    }
    for (key, text) in &spec.extra {
        line(out, key, text);
    }
    for field in &spec.fields {
        render_field(field, out);
    }
}

fn render_field(field: &FieldSpec, out: &mut String) {
    let mut put = |attribute: &str, text: &str| {
        line(out, &format!("{}.{attribute}", field.name), text);
    };
    // Munin's master wants a label of every field.
    put("label", field.label_or_name());
    if field.kind != FieldType::Gauge {
        put("type", field.kind.word());
    }
    if field.draw != Draw::Line1 {
        put("draw", field.draw.word());
    }
    if !field.info.is_empty() {
        put("info", &field.info);
    }
    if let Some(min) = field.min {
        put("min", &min.to_string());
    }
    if let Some(max) = field.max {
        put("max", &max.to_string());
    }
    for (attribute, text) in [
        ("negative", &field.negative),
        ("cdef", &field.cdef),
        ("colour", &field.colour),
        ("warning", &field.warning),
        ("critical", &field.critical),
    ] {
        if let Some(text) = text {
            put(attribute, text);
        }
    }
    if let Some(limit) = field.unknown_limit {
        put("unknown_limit", &limit.to_string());
    }
    if field.hidden {
        put("graph", "no");
    }
    for (attribute, text) in &field.extra {
        put(attribute, text);
    }
}

/// What a plugin would print for `fetch`: integers as digits, floats in their
/// shortest exact form, unknown as `U`.
pub fn render_values<'a>(values: impl IntoIterator<Item = (&'a str, Value)>, out: &mut String) {
    for (field, value) in values {
        let _ = writeln!(out, "{field}.value {value}");
    }
}

/// The same with the time of each reading, s with three decimals: Munin's
/// `TIME:VALUE`, finer.
pub fn render_timed_values<'a>(
    values: impl IntoIterator<Item = (&'a str, TimeMs, Value)>,
    out: &mut String,
) {
    for (field, time_ms, value) in values {
        let (s, ms) = (time_ms.div_euclid(1000), time_ms.rem_euclid(1000));
        let _ = writeln!(out, "{field}.value {s}.{ms:03}:{value}");
    }
}

/// One line; a line break inside of the text would be another line.
fn line(out: &mut String, key: &str, text: &str) {
    let _ = write!(out, "{key} ");
    out.extend(text.chars().map(|c| if c.is_control() { ' ' } else { c }));
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::munin::parse;
    use proptest::prelude::*;

    fn text() -> impl Strategy<Value = String> {
        "[a-zA-Z0-9%(][a-zA-Z0-9 #:./-]{0,12}[a-z]"
    }

    fn field() -> impl Strategy<Value = FieldSpec> {
        let some = proptest::option::of(text());
        let number = proptest::option::of(-1e9..1e9);
        (("[a-z_][a-z0-9_]{0,8}", text(), 0..4usize, 0..6usize), (number, some, any::<bool>()))
            .prop_map(|((name, label, kind, draw), (min, warning, hidden))| FieldSpec {
                kind: [
                    FieldType::Gauge,
                    FieldType::Counter,
                    FieldType::Derive,
                    FieldType::Absolute,
                ][kind],
                draw: [
                    Draw::Line1,
                    Draw::Line2,
                    Draw::Line3,
                    Draw::Area,
                    Draw::Stack,
                    Draw::AreaStack,
                ][draw],
                min,
                warning,
                hidden,
                ..FieldSpec::gauge(&name, &label)
            })
    }

    proptest! {
        #[test]
        fn config_round_trips(title in text(), unscaled: bool, fields in
            proptest::collection::btree_map("[a-z]{1,8}", field(), 0..5)) {
            let mut spec = ServiceSpec::new("svc.sub", &title, "other");
            spec.unscaled = unscaled;
            spec.fields = fields.into_iter().map(|(name, f)| FieldSpec { name, ..f }).collect();
            spec.extra.insert("graph_printf".into(), "%6.1lf".into());
            let mut out = String::new();
            render_config(&spec, &mut out);
            let parsed = parse("svc.sub", out.as_bytes());
            prop_assert_eq!(parsed.n_noise, 0);
            prop_assert_eq!(&parsed.services, &[spec]);
        }

        #[test]
        fn values_round_trip(v: u64, f: f64) {
            let values = [("a", Value::from(v)), ("b", Value::Float(f)), ("c", Value::Unknown)];
            let mut out = String::new();
            render_values(values, &mut out);
            let back: Vec<Value> =
                parse("x", out.as_bytes()).readings.into_iter().map(|r| r.value).collect();
            let f = if f.is_nan() { f64::NAN } else { f };
            prop_assert_eq!(back, vec![Value::from(v), Value::Float(f), Value::Unknown]);
        }
    }

    #[test]
    fn a_line_break_in_a_label_stays_inside() {
        let spec = ServiceSpec::new("s", "one\ntwo.value 1", "other");
        let mut out = String::new();
        render_config(&spec, &mut out);
        assert_eq!(out, "graph_title one two.value 1\ngraph_category other\n");
    }
}
