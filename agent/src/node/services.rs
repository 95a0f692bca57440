//! What probes offer over Munin's protocol: each service once, nested ones
//! below their root, with the newest values.

use super::Node;
use crate::sampler::LiveGroup;
use rookery_plugins::munin::{render_config, render_timed_values, render_values};
use rookery_plugins::{ServiceSpec, TimeMs, Value};
use std::collections::BTreeMap;
use std::fmt::Write;

/// A service and the newest value of each of its fields, with its time.
pub(super) type Served = (ServiceSpec, Vec<Newest>);

/// A field's newest value and its time.
type Newest = Option<(TimeMs, Value)>;

/// Services of probes, those with a nested name below their root.
pub(super) fn of_probes(node: &Node) -> BTreeMap<String, Vec<Served>> {
    let mut merged: BTreeMap<String, Served> = BTreeMap::new();
    node.live.with(|groups| {
        for group in groups.values() {
            for (spec, values) in with_values(group) {
                match merged.get_mut(&spec.name) {
                    None => {
                        merged.insert(spec.name.clone(), (spec.clone(), values));
                    }
                    Some((known, known_values)) => {
                        known.fields.extend(spec.fields.iter().cloned());
                        known_values.extend(values);
                    }
                }
            }
        }
    });
    let names: Vec<String> = merged.keys().cloned().collect();
    let mut roots: BTreeMap<String, Vec<Served>> = BTreeMap::new();
    for (name, entry) in merged {
        let parent = name.match_indices('.').map(|(at, _)| &name[..at]);
        let root = parent.into_iter().find(|p| names.iter().any(|n| n == p));
        roots.entry(root.unwrap_or(&name).to_owned()).or_default().push(entry);
    }
    roots
}

/// Those that are asked for by this name, which they have or, themselves, had.
pub(super) fn called<'s>(
    all: &'s BTreeMap<String, Vec<Served>>,
    name: &str,
) -> Option<&'s Vec<Served>> {
    let was = |(root, services): &(&String, &Vec<Served>)| {
        let own = services.iter().find(|(spec, _)| spec.name == **root);
        own.is_some_and(|(spec, _)| spec.old_names().any(|old| old == name))
    };
    all.get(name).or_else(|| all.iter().find(was).map(|(_, services)| services))
}

fn with_values(group: &LiveGroup) -> Vec<(&ServiceSpec, Vec<Newest>)> {
    // What is of a virtual node is not this one's.
    let Some(row) = group.row.as_ref().filter(|r| r.node.is_none()) else { return vec![] };
    let at: std::collections::HashMap<(&str, &str), usize> = row
        .layout
        .fields()
        .iter()
        .enumerate()
        .map(|(i, f)| ((f.service.as_str(), f.field.as_str()), i))
        .collect();
    let value = |spec: &ServiceSpec, field: &str| {
        let value = at.get(&(spec.name.as_str(), field)).and_then(|i| row.cells.get(*i));
        value.map(|v| (row.time_ms, v))
    };
    let of = |spec: &ServiceSpec| spec.fields.iter().map(|f| value(spec, &f.name)).collect();
    group.specs.iter().map(|spec| (spec, of(spec))).collect()
}

/// What a plugin would print for them, and the final dot.
pub(super) fn text(services: &[Served], config: bool, with_times: bool) -> String {
    let mut out = String::new();
    for (spec, values) in services {
        if services.len() > 1 {
            let _ = writeln!(out, "multigraph {}", spec.name);
        }
        if config {
            render_config(spec, &mut out);
        } else {
            let fields = spec.fields.iter().zip(values);
            let known = fields.filter_map(|(f, v)| v.map(|(t, v)| (f.name.as_str(), t, v)));
            if with_times {
                render_timed_values(known, &mut out);
            } else {
                render_values(known.map(|(f, _, v)| (f, v)), &mut out);
            }
        }
    }
    out.push_str(".\n");
    out
}
