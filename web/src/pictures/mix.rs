//! Fields of any services on one picture, and sums and means over nodes.
//!
//! `f=NODE/SERVICE/FIELD` is a field; `f=sum:WHICH/SERVICE/FIELD` and `mean:` put
//! the field of many nodes together, where WHICH is a group, a pattern of node
//! names with `*`, or empty for all. Each of the three parts is percent-encoded
//! where it has a `/`. A FIELD of `*` is all that the service's graph shows.

use crate::app::App;
use crate::error::WebError;
use crate::pages::segment;
use percent_encoding::percent_decode_str;
use rookery_collector::history::{Averages, Bucket, FieldRollup, NodeInfo, ReadError, Rollup};
use rookery_collector::reading;
use rookery_plugins::{FieldSpec, ServiceSpec, rhythm};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most fields, sums and means of one picture.
pub const PARTS_MAX: usize = 50;
/// Most fields that are read for all sums and means of one picture.
pub const MEMBERS_MAX: usize = 10_000;

/// How the field of several nodes becomes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum How {
    /// It is one node's.
    One,
    /// All together.
    Sum,
    /// Their mean.
    Mean,
}

/// One `f` of an address.
#[derive(Clone, Debug, PartialEq)]
pub struct Part {
    /// A field, a sum or a mean.
    pub how: How,
    /// The node; for sums and means a group, a pattern or nothing.
    pub which: String,
    /// The service.
    pub service: String,
    /// The field.
    pub field: String,
    /// As the address has it: its name in the picture.
    pub text: String,
}

impl Part {
    /// Reads one; the error says what is expected.
    pub fn parse(text: &str) -> Result<Part, WebError> {
        let bad = || {
            WebError::bad(format!(
                "f {text:?}: write NODE/SERVICE/FIELD, or sum:GROUP/SERVICE/FIELD (also mean:; \
                 no GROUP: all nodes; web*: nodes by name), a / in a name as %2F"
            ))
        };
        let (how, rest) = match (text.strip_prefix("sum:"), text.strip_prefix("mean:")) {
            (Some(rest), _) => (How::Sum, rest),
            (_, Some(rest)) => (How::Mean, rest),
            _ => (How::One, text),
        };
        let parts: Vec<String> = rest
            .split('/')
            .map(|p| percent_decode_str(p).decode_utf8_lossy().into_owned())
            .collect();
        let Ok([which, service, field]) = <[String; 3]>::try_from(parts) else {
            return Err(bad());
        };
        let is_missing = service.is_empty() || field.is_empty();
        if is_missing || (which.is_empty() && how == How::One) {
            return Err(bad());
        }
        Ok(Part { how, which, service, field, text: text.to_owned() })
    }

    /// All of an address; none is no picture.
    pub fn all(texts: &[String]) -> Result<Vec<Part>, WebError> {
        if texts.len() > PARTS_MAX {
            let n = texts.len();
            return Err(WebError::bad(format!("f: {n} of them; at most {PARTS_MAX} are drawn")));
        }
        texts.iter().map(|t| Part::parse(t)).collect()
    }

    /// Whether it is another field of the same sum or mean.
    fn is_beside(&self, other: &Part) -> bool {
        (self.how, &self.which, &self.service) == (other.how, &other.which, &other.service)
    }

    fn has(&self, node: &NodeInfo) -> bool {
        let group = self.which.trim_matches('*');
        let inside = || node.group == self.which || node.group.starts_with(&format!("{group};"));
        match self.how {
            How::One => node.name == self.which,
            _ if self.which.is_empty() => true,
            _ if self.which == "*" => true,
            _ if self.which.contains('*') => crate::pages::fits(&self.which, &node.name),
            _ => inside(),
        }
    }
}

/// A field's `f`.
pub fn field_text(node: &str, service: &str, field: &str) -> String {
    // A node called sum:x is not a sum.
    let node = segment(node);
    format!("{node}/{}/{}", segment(service), segment(field))
}

/// The address of a picture's page with these.
pub fn mix_path(texts: &[String]) -> String {
    let parts: Vec<String> = texts.iter().map(|t| format!("f={}", segment(t))).collect();
    let joint = if parts.is_empty() { "" } else { "?" };
    format!("/graph{joint}{}", parts.join("&"))
}

/// A field as it takes part, after its `cdef`, and what it came from.
struct Found {
    field: FieldRollup,
    spec: Arc<ServiceSpec>,
    node: String,
    averages: Vec<Averages>,
}

impl App {
    /// The texts of an address, those that end in `/*` as all fields of the
    /// service that a graph shows. What is not found stays as it is.
    pub(crate) fn expand(&self, texts: &[String]) -> Result<Vec<String>, WebError> {
        let mut out: Vec<String> = Vec::new();
        for text in texts {
            let part = Part::parse(text)?;
            let spec = match (part.field.as_str(), part.how) {
                ("*", How::One) => self.history.spec(&part.which, &part.service),
                ("*", _) => {
                    let nodes = self.history.nodes();
                    let mut of = nodes.iter().filter(|n| part.has(n));
                    of.find_map(|n| self.history.spec(&n.name, &part.service))
                }
                _ => None,
            };
            match (spec, text.strip_suffix('*')) {
                (Some(spec), Some(start)) => {
                    let names = shown_fields(&spec).map(|f| format!("{start}{}", segment(&f.name)));
                    out.extend(names);
                }
                _ => out.push(text.clone()),
            }
        }
        out.truncate(PARTS_MAX.max(texts.len()));
        Ok(out)
    }

    /// The parts as one rollup, whose fields have the parts' texts as names.
    pub(crate) fn mix(
        &self,
        parts: &[Part],
        (from, to, step): (i64, i64, i64),
    ) -> Result<Rollup, WebError> {
        let nodes = self.history.nodes();
        let sums = parts.iter().filter(|p| p.how != How::One);
        let n: usize = sums.map(|p| nodes.iter().filter(|n| p.has(n)).count()).sum();
        if n > MEMBERS_MAX {
            return Err(WebError::bad(format!(
                "f: sums and means over {n} fields together; at most {MEMBERS_MAX} are read: name \
                 a group or a pattern of nodes"
            )));
        }
        let mut found: Vec<Option<Found>> = parts.iter().map(|_| None).collect();
        for (i, part) in parts.iter().enumerate() {
            match part.how {
                How::One => found[i] = self.one(part, (from, to, step))?,
                // What is of the same nodes and service is read at once, with the first.
                _ if parts[..i].iter().any(|p| p.is_beside(part)) => {}
                _ => {
                    let same: Vec<usize> =
                        (i..parts.len()).filter(|j| parts[*j].is_beside(part)).collect();
                    let of: Vec<&Part> = same.iter().map(|j| &parts[*j]).collect();
                    let all = self.together(&of, &nodes, (from, to, step))?;
                    same.into_iter().zip(all).for_each(|(j, one)| found[j] = one);
                }
            }
        }
        Ok(combined(parts, found, from, step))
    }

    fn one(&self, part: &Part, span: (i64, i64, i64)) -> Result<Option<Found>, WebError> {
        let (from, to, step) = span;
        let has_cdef = self.history.spec(&part.which, &part.service);
        let has_cdef = has_cdef.is_some_and(|s| s.fields.iter().any(|f| f.cdef.is_some()));
        // A cdef may need other fields of its service.
        let field = [part.field.as_str()];
        let names: &[&str] = if has_cdef { &[] } else { &field };
        let read = match self.history.rollup(&part.which, &part.service, names, from, to, step) {
            Ok(read) => read,
            Err(ReadError::NotFound(_)) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let drawn = self.drawn(&part.which, &read, to, &field)?;
        let (spec, averages) = (drawn.spec, drawn.averages);
        let Some(field) = drawn.fields.into_iter().next() else { return Ok(None) };
        Ok(Some(Found { field, spec, node: part.which.clone(), averages }))
    }

    /// The fields of all nodes that have them, each as one. Each node counts with
    /// its newest mean until two of its steps later ([`rhythm::hold_ms`]). The parts are
    /// of the same nodes and service.
    fn together(
        &self,
        parts: &[&Part],
        nodes: &[NodeInfo],
        (from, to, step): (i64, i64, i64),
    ) -> Result<Vec<Option<Found>>, WebError> {
        let n_buckets = usize::try_from((to - from + step - 1) / step).unwrap_or(0);
        let mut sums: Vec<Sum> = parts.iter().map(|_| Sum::new(n_buckets)).collect();
        let Some(part) = parts.first() else { return Ok(Vec::new()) };
        let mut newest: Option<Arc<ServiceSpec>> = None;
        let mut averages = Vec::new();
        for node in nodes.iter().filter(|n| part.has(n)) {
            // A node that has just been forgotten has none.
            let Some(spec) = self.history.spec(&node.name, &part.service) else { continue };
            let has_cdef =
                parts.iter().any(|p| spec.field(&p.field).is_some_and(|f| f.cdef.is_some()));
            let names: Vec<&str> = match has_cdef {
                true => Vec::new(),
                false => parts.iter().map(|p| p.field.as_str()).collect(),
            };
            let names: Vec<&str> =
                names.into_iter().filter(|name| spec.field(name).is_some()).collect();
            if names.is_empty() && !has_cdef {
                continue;
            }
            // Once it is added it is gone.
            let _one = reading::part();
            let rollup = self.history.rollup(&node.name, &spec.name, &names, from, to, step)?;
            averages.extend_from_slice(&rollup.averages);
            let wanted: Vec<&str> = parts.iter().map(|p| p.field.as_str()).collect();
            let rollup = self.drawn(&node.name, &rollup, to, &wanted)?;
            for (part, sum) in parts.iter().zip(&mut sums) {
                let Some(field) = rollup.fields.iter().find(|f| f.spec.name == part.field) else {
                    continue;
                };
                let filled = (from..).step_by(usize::try_from(step).unwrap_or(1));
                let filled = filled.zip(&field.buckets).filter(|(_, b)| b.count > 0);
                let hold = rhythm::hold_ms(spec.step_ms, filled.map(|(t, _)| t), step);
                add(&mut sum.buckets, &field.buckets, hold / step);
                sum.n += 1;
                sum.spec.get_or_insert_with(|| field.spec.clone());
            }
            newest.get_or_insert(spec);
        }
        let Some(service) = newest else { return Ok(parts.iter().map(|_| None).collect()) };
        let found = parts.iter().zip(sums).map(|(part, sum)| {
            let (n, field) = (sum.n, sum.finish(part.how)?);
            let word = if part.how == How::Mean { "mean" } else { "sum" };
            let which = if part.which.is_empty() { "all" } else { &part.which };
            let node = format!("{word} of {which} ({n})");
            Some(Found { field, spec: service.clone(), node, averages: averages.clone() })
        });
        Ok(found.collect())
    }
}

/// The fields of a service that its graph has: visible ones, and what hangs below
/// zero.
pub(crate) fn shown_fields(spec: &ServiceSpec) -> impl Iterator<Item = &FieldSpec> {
    let is_partner = |name: &str| spec.fields.iter().any(|f| f.negative.as_deref() == Some(name));
    spec.fields.iter().filter(move |f| !f.hidden || is_partner(&f.name))
}

/// A field of many nodes while it is added up.
struct Sum {
    buckets: Vec<(f64, u32)>,
    /// As the first node has it.
    spec: Option<FieldSpec>,
    /// How many nodes have it.
    n: usize,
}

impl Sum {
    fn new(n_buckets: usize) -> Sum {
        Sum { buckets: vec![(0.0, 0); n_buckets], spec: None, n: 0 }
    }

    fn finish(self, how: How) -> Option<FieldRollup> {
        let mut spec = self.spec?;
        // What the field's own cdef says has been done.
        spec.cdef = None;
        let bucket = |(sum, n): &(f64, u32)| {
            let mut out = Bucket::default();
            if *n > 0 {
                let v = if how == How::Mean { sum / f64::from(*n) } else { *sum };
                out.push(v);
            }
            out
        };
        let buckets = self.buckets.iter().map(bucket).collect();
        Some(FieldRollup::of(spec, buckets))
    }
}

/// Adds one node's means; each holds for so many buckets without another.
fn add(sums: &mut [(f64, u32)], buckets: &[Bucket], hold: i64) {
    let mut last: Option<(i64, f64)> = None;
    for ((i, sum), bucket) in (0_i64..).zip(sums).zip(buckets) {
        if let Some(v) = bucket.mean() {
            last = Some((i, v));
        }
        if let Some((_, v)) = last.filter(|(at, _)| i - at <= hold) {
            (sum.0, sum.1) = (sum.0 + v, sum.1 + 1);
        }
    }
}

/// One rollup of all; what all have in common stands at the axis, and only what
/// tells them apart in the labels.
fn combined(parts: &[Part], found: Vec<Option<Found>>, from_ms: i64, step_ms: i64) -> Rollup {
    let all: Vec<&Found> = found.iter().flatten().collect();
    let is_one = |of: &dyn Fn(&Found) -> String| {
        let set: BTreeSet<String> = all.iter().map(|f| of(f)).collect();
        (set.len() == 1).then(|| set.into_iter().next()).flatten()
    };
    let averages = all.iter().flat_map(|f| f.averages.iter().copied()).collect();
    let mut spec = ServiceSpec::new("graph", "Graph", "other");
    // Each is drawn by the period of its own service.
    let period =
        |s: &ServiceSpec| if s.period.is_empty() { "second".to_owned() } else { s.period.clone() };
    let vlabel = |f: &Found| f.spec.vlabel.replace("${graph_period}", &period(&f.spec));
    spec.vlabel = is_one(&vlabel).unwrap_or_default();
    if is_one(&|f| f.spec.base().to_string()).as_deref() == Some("1024") {
        spec.args = "--base 1024".to_owned();
    }
    spec.unscaled = all.iter().all(|f| f.spec.unscaled);
    spec.step_ms = all.iter().map(|f| f.spec.step_ms).max().unwrap_or(0);
    let one_node = all.len() > 1 && is_one(&|f| f.node.clone()).is_some();
    let one_title = all.len() > 1 && is_one(&|f| f.spec.title.clone()).is_some();
    // A whole service of many nodes looks as that of one.
    let is_whole = parts.iter().all(|p| p.how != How::One && p.is_beside(&parts[0]));
    if let (true, Some(first)) = (is_whole, all.first()) {
        spec.args = first.spec.args.clone();
        spec.order = first.spec.order.iter().filter_map(|n| text_of(parts, n)).collect();
    }
    let mut fields = Vec::new();
    for (part, found) in parts.iter().zip(found) {
        let Some(Found { mut field, spec, node, .. }) = found else {
            let label = format!("{} (not found)", part.text);
            let spec = FieldSpec::gauge(&part.text, &label);
            fields.push(FieldRollup::of(spec, Vec::new()));
            continue;
        };
        let label = field.spec.label_or_name().to_owned();
        let title = (!one_title).then_some(spec.title.as_str());
        let words = [(!one_node).then_some(node.as_str()), title, Some(&label)];
        let label = words.into_iter().flatten().collect::<Vec<_>>().join(" · ");
        let was = field.spec;
        field.spec = FieldSpec { kind: was.kind, ..FieldSpec::gauge(&part.text, &label) };
        if is_whole {
            field.spec.draw = was.draw;
            field.spec.colour = was.colour;
            field.spec.hidden = was.hidden;
            field.spec.negative = was.negative.and_then(|n| text_of(parts, &n));
        }
        fields.push(field);
    }
    spec.fields = fields.iter().map(|f| f.spec.clone()).collect();
    Rollup { from_ms, step_ms, spec: Arc::new(spec), fields, averages }
}

/// The text of the part with this field.
fn text_of(parts: &[Part], field: &str) -> Option<String> {
    parts.iter().find(|p| p.field == field).map(|p| p.text.clone())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_read_and_faults_told() {
        let part = Part::parse("web1/if_eth0/up").expect("a part");
        assert_eq!((part.how, part.which.as_str()), (How::One, "web1"));
        let part = Part::parse("sum:web servers/cpu/user").expect("a part");
        assert_eq!((part.how, part.which.as_str()), (How::Sum, "web servers"));
        let part = Part::parse("mean:/a%2Fb/c%25").expect("a part");
        assert_eq!((part.service.as_str(), part.field.as_str()), ("a/b", "c%"));
        let text = field_text("sum:x", "a/b", "ü");
        let part = Part::parse(&text).expect("a part");
        assert_eq!((part.how, part.which.as_str()), (How::One, "sum:x"));
        for bad in ["", "a/b", "a/b/c/d", "/b/c", "a//c", "sum:a/b"] {
            assert!(Part::parse(bad).is_err(), "{bad}");
        }
        assert!(Part::all(&vec!["a/b/c".to_owned(); 51]).is_err());
    }

    #[test]
    fn nodes_that_are_read_in_turn_are_summed_without_holes() {
        let at = |phase: usize, v: f64| -> Vec<Bucket> {
            let bucket = |i: usize| {
                let mut b = Bucket::default();
                if i % 3 == phase && i < 9 {
                    b.push(v);
                }
                b
            };
            (0..14).map(bucket).collect()
        };
        let mut sums = vec![(0.0, 0); 14];
        for (phase, v) in [(0, 1.0), (1, 10.0), (2, 100.0)] {
            add(&mut sums, &at(phase, v), 3);
        }
        let told: Vec<f64> = sums.iter().map(|(v, _)| *v).collect();
        let whole = [111.0; 8];
        assert_eq!(told[..2], [1.0, 11.0]);
        assert_eq!(told[2..10], whole);
        assert_eq!(told[10..], [110.0, 100.0, 0.0, 0.0], "and they end");
    }
}
