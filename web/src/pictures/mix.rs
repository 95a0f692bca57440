//! Fields of any services on one picture, and sums and means over nodes.
//!
//! `f=NODE/SERVICE/FIELD` is a field; `f=sum:WHICH/SERVICE/FIELD` and `mean:` put
//! the field of many nodes together, where WHICH is a group, a pattern of node
//! names with `*`, or empty for all. Each of the three parts is percent-encoded
//! where it has a `/`.

use crate::app::App;
use crate::error::WebError;
use crate::graph::own_cdef;
use crate::pages::segment;
use percent_encoding::percent_decode_str;
use rookery_collector::history::{
    Averages, Bucket, FieldRollup, NodeInfo, ReadError, Rollup, ServiceInfo,
};
use rookery_plugins::{FieldSpec, ServiceSpec};
use std::collections::BTreeSet;
use std::sync::Arc;

/// Most fields, sums and means of one picture.
pub const PARTS_MAX: usize = 50;
/// Most fields that are read for all sums and means of one picture.
pub const MEMBERS_MAX: usize = 2000;

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

/// A field as it takes part, and what it came from.
struct Found {
    field: FieldRollup,
    /// Hidden ones that its `cdef` needs.
    siblings: Vec<FieldRollup>,
    spec: Arc<ServiceSpec>,
    node: String,
    averages: Vec<Averages>,
}

impl App {
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
                "f: sums and means over {n} nodes together; at most {MEMBERS_MAX} are read: name \
                 a group or a pattern of nodes"
            )));
        }
        let mut found = Vec::new();
        for part in parts {
            found.push(match part.how {
                How::One => self.one(part, (from, to, step))?,
                _ => self.together(part, &nodes, (from, to, step))?,
            });
        }
        Ok(combined(parts, found, from, step))
    }

    fn one(&self, part: &Part, span: (i64, i64, i64)) -> Result<Option<Found>, WebError> {
        let read = |fields: &[&str]| {
            let (from, to, step) = span;
            self.history.rollup(&part.which, &part.service, fields, from, to, step)
        };
        let rollup = match read(&[&part.field]) {
            Ok(rollup) => rollup,
            Err(ReadError::NotFound(_)) => return Ok(None),
            Err(e) => return Err(e.into()),
        };
        let (spec, averages) = (rollup.spec.clone(), rollup.averages);
        let Some(mut field) = rollup.fields.into_iter().next() else { return Ok(None) };
        let mut siblings = Vec::new();
        if let Some(cdef) = field.spec.cdef.take() {
            let words: Vec<&str> = cdef.split(',').map(str::trim).collect();
            let others: BTreeSet<&str> = words
                .iter()
                .copied()
                .filter(|w| *w != part.field && spec.fields.iter().any(|f| f.name == **w))
                .collect();
            let name = |w: &str| match w {
                w if w == part.field => part.text.clone(),
                w if others.contains(w) => format!("{}|{w}", part.text),
                w => w.to_owned(),
            };
            // A comma in a name would end a word of the cdef: it is drawn without.
            if !part.text.contains(',') {
                field.spec.cdef = Some(words.iter().map(|w| name(w)).collect::<Vec<_>>().join(","));
            }
            if !others.is_empty() {
                let names: Vec<&str> = others.iter().copied().collect();
                siblings = read(&names)?.fields;
                for s in &mut siblings {
                    s.spec = FieldSpec::gauge(&name(&s.spec.name), "").hidden();
                }
            }
        }
        Ok(Some(Found { field, siblings, spec, node: part.which.clone(), averages }))
    }

    /// The field of all nodes that have it, as one. Each counts with its newest
    /// mean until two of its steps later: they are not read at one instant.
    fn together(
        &self,
        part: &Part,
        nodes: &[NodeInfo],
        (from, to, step): (i64, i64, i64),
    ) -> Result<Option<Found>, WebError> {
        let n_buckets = usize::try_from((to - from + step - 1) / step).unwrap_or(0);
        let mut sums: Vec<(f64, u32)> = vec![(0.0, 0); n_buckets];
        let mut first: Option<(ServiceInfo, FieldSpec)> = None;
        let (mut n, mut averages) = (0, Vec::new());
        for node in nodes.iter().filter(|n| part.has(n)) {
            // A node that has just been forgotten has none.
            let services = self.history.services(&node.name).unwrap_or_default();
            let Some(info) = services.into_iter().find(|s| s.spec.name == part.service) else {
                continue;
            };
            let Some(spec) = info.spec.field(&part.field).cloned() else { continue };
            let (name, fields) = (&info.spec.name, [part.field.as_str()]);
            let rollup = self.history.rollup(&node.name, name, &fields, from, to, step)?;
            let Some(field) = rollup.fields.first() else { continue };
            averages.extend_from_slice(&rollup.averages);
            let interval = match info.spec.step_ms {
                0 => UNKNOWN_STEP_MS,
                ms => i64::try_from(ms).unwrap_or(UNKNOWN_STEP_MS),
            };
            add(&mut sums, &field.buckets, 2 * interval / step, own_cdef(&spec));
            n += 1;
            first.get_or_insert((info, spec));
        }
        let Some((info, mut spec)) = first else { return Ok(None) };
        let mut total = Bucket::default();
        let bucket = |(sum, n): &(f64, u32)| {
            let mut out = Bucket::default();
            if *n > 0 {
                let v = if part.how == How::Mean { sum / f64::from(*n) } else { *sum };
                out.push(v);
                total.push(v);
            }
            out
        };
        let buckets = sums.iter().map(bucket).collect();
        // What the field's own cdef says has been done.
        spec.cdef = None;
        let word = if part.how == How::Mean { "mean" } else { "sum" };
        let which = if part.which.is_empty() { "all" } else { &part.which };
        let node = format!("{word} of {which} ({n})");
        let field = FieldRollup { spec, buckets, total, increase: None };
        let spec = info.spec;
        Ok(Some(Found { field, siblings: Vec::new(), spec, node, averages }))
    }
}

/// Of services that do not say how often they are read, ms.
const UNKNOWN_STEP_MS: i64 = 60_000;

/// Adds one node's means; each holds for so many buckets without another.
fn add(
    sums: &mut [(f64, u32)],
    buckets: &[Bucket],
    hold: i64,
    mut cdef: impl FnMut(f64) -> Option<f64>,
) {
    let mut last: Option<(i64, f64)> = None;
    for ((i, sum), bucket) in (0_i64..).zip(sums).zip(buckets) {
        if let Some(v) = bucket.mean().and_then(&mut cdef) {
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
    spec.vlabel = is_one(&|f| f.spec.vlabel.clone()).unwrap_or_default();
    if is_one(&|f| f.spec.base().to_string()).as_deref() == Some("1024") {
        spec.args = "--base 1024".to_owned();
    }
    spec.unscaled = all.iter().all(|f| f.spec.unscaled);
    spec.step_ms = all.iter().map(|f| f.spec.step_ms).max().unwrap_or(0);
    let one_node = all.len() > 1 && is_one(&|f| f.node.clone()).is_some();
    let one_title = all.len() > 1 && is_one(&|f| f.spec.title.clone()).is_some();
    let mut fields = Vec::new();
    let mut hidden = Vec::new();
    for (part, found) in parts.iter().zip(found) {
        let Some(Found { mut field, siblings, spec, node, .. }) = found else {
            let label = format!("{} (not found)", part.text);
            let (total, buckets) = (Bucket::default(), Vec::new());
            let spec = FieldSpec::gauge(&part.text, &label);
            fields.push(FieldRollup { spec, buckets, total, increase: None });
            continue;
        };
        let label = field.spec.label_or_name().to_owned();
        let title = (!one_title).then_some(spec.title.as_str());
        let words = [(!one_node).then_some(node.as_str()), title, Some(&label)];
        let label = words.into_iter().flatten().collect::<Vec<_>>().join(" · ");
        let cdef = field.spec.cdef.take();
        let kind = field.spec.kind;
        field.spec = FieldSpec { cdef, kind, ..FieldSpec::gauge(&part.text, &label) };
        fields.push(field);
        hidden.extend(siblings);
    }
    fields.append(&mut hidden);
    spec.fields = fields.iter().map(|f| f.spec.clone()).collect();
    Rollup { from_ms, step_ms, spec: Arc::new(spec), fields, averages }
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
            add(&mut sums, &at(phase, v), 3, Some);
        }
        let told: Vec<f64> = sums.iter().map(|(v, _)| *v).collect();
        let whole = [111.0; 8];
        assert_eq!(told[..2], [1.0, 11.0]);
        assert_eq!(told[2..10], whole);
        assert_eq!(told[10..], [110.0, 100.0, 0.0, 0.0], "and they end");
    }
}
