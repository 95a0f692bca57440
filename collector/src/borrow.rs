//! Graphs of other graphs' fields, as `munin.conf` has them: loans in `graph_order`
//! (`name=host:service.field`), `field.sum` and `field.stack`, also on hosts that are
//! there for nothing else.
//!
//! They have no samples of their own. [`Borrow`] reads them from where they are: a loan
//! is the other's samples to the bit, a sum is worked out on reading. As in Munin, a sum
//! takes an unknown part for zero.

use crate::history::{
    Bucket, FieldRollup, History, NodeInfo, Now, ReadError, Rollup, Samples, ServiceInfo,
};
use crate::overlay::Overlay;
use rookery_plugins::munin::parse;
use rookery_plugins::{Draw, FieldSpec, FieldType, Kind, ServiceSpec, TimeMs, names};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The most fields that one service borrows, and the most parts of a sum.
pub const PARTS_MAX: usize = 1000;
/// Of services that do not say how often they are read, ms.
const UNKNOWN_STEP_MS: i64 = 60_000;
/// A sum is exported in parts of so many steps.
const STEPS: i64 = 10_000;

/// A field of another service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The node, in the order in which they are tried.
    pub nodes: Vec<String>,
    /// Its service.
    pub service: String,
    /// Its field.
    pub field: String,
}

/// A field that is made of others.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Loan {
    /// What it is called here.
    pub name: String,
    /// One: a loan. Several, or `is_sum`: their sum.
    pub sources: Vec<Source>,
    /// It is a sum, even of one.
    pub is_sum: bool,
}

/// A service with borrowed fields.
#[derive(Clone, Debug, PartialEq)]
pub struct Borrowed {
    /// Its node.
    pub node: String,
    /// What is said of it: its borrowed fields too.
    pub spec: ServiceSpec,
    /// `field.attribute` that were said.
    said: BTreeSet<String>,
    /// Where they come from.
    pub loans: Vec<Loan>,
    /// So often they are judged, ms; 0: never.
    pub every_ms: u64,
}

/// Reads `plugin.field`, `host:plugin.field` or `group;host:plugin.field`, as seen from
/// `node`.
fn source(text: &str, node: &str) -> Option<Source> {
    let (host, rest) = match text.rsplit_once(':') {
        Some((host, rest)) => (Some(host), rest),
        None => (None, text),
    };
    let (service, field) = rest.rsplit_once('.')?;
    let field = names::clean_field(field);
    if service.is_empty() || field.is_empty() {
        return None;
    }
    let nodes = match host {
        None => vec![node.to_owned()],
        Some(host) if host.contains(';') => {
            let alone = host.rsplit(';').next().unwrap_or(host);
            vec![host.to_owned(), alone.to_owned()]
        }
        Some(host) => {
            let group = node.rsplit_once(';').map(|(group, _)| format!("{group};{host}"));
            let domain = host.split_once('.').map(|(_, domain)| format!("{domain};{host}"));
            group.into_iter().chain(domain).chain([host.to_owned()]).collect()
        }
    };
    Some(Source { nodes, service: service.to_owned(), field })
}

/// `name=source` words.
fn aliased(words: &str, node: &str) -> (Vec<Loan>, Vec<String>) {
    let (mut loans, mut bad) = (Vec::new(), Vec::new());
    for word in words.split_whitespace() {
        let Some((name, from)) = word.split_once('=') else { continue };
        let name = names::clean_field(name.trim_start_matches('-'));
        match source(from, node).filter(|_| !name.is_empty() && loans.len() < PARTS_MAX) {
            Some(source) => loans.push(Loan { name, sources: vec![source], is_sum: false }),
            None => bad.push(word.to_owned()),
        }
    }
    (loans, bad)
}

impl Borrowed {
    /// What `munin.conf` says of one service of a node, as `attribute value` or
    /// `field.attribute value`; `None`: it borrows nothing. Words that cannot be read
    /// are added to `bad`.
    pub fn read(
        node: &str,
        service: &str,
        lines: &[String],
        bad: &mut Vec<String>,
    ) -> Option<Borrowed> {
        let spec = parse(service, lines.join("\n").as_bytes()).services.into_iter().next()?;
        let said = lines.iter().filter_map(|l| Some(l.split_whitespace().next()?.to_owned()));
        let mut borrowed = Borrowed::of(node, spec, said.collect(), bad)?;
        borrowed.spec.source = "munin.conf".to_owned();
        Some(borrowed)
    }

    /// The same of a service that says it of itself, as a plugin may.
    fn own(node: &str, spec: &ServiceSpec) -> Option<Borrowed> {
        let is_of_others =
            |f: &FieldSpec| f.extra.contains_key("sum") || f.extra.contains_key("stack");
        if !spec.order.iter().any(|w| w.contains('=')) && !spec.fields.iter().any(is_of_others) {
            return None;
        }
        let drawn = spec.fields.iter().filter(|f| f.draw != Draw::default());
        let said = drawn.map(|f| format!("{}.draw", f.name)).collect();
        Borrowed::of(node, spec.clone(), said, &mut Vec::new())
    }

    fn of(
        node: &str,
        mut spec: ServiceSpec,
        mut said: BTreeSet<String>,
        bad: &mut Vec<String>,
    ) -> Option<Borrowed> {
        let (mut loans, wrong) = aliased(&spec.order.join(" "), node);
        bad.extend(wrong);
        let mut stacked: Vec<(String, Vec<Loan>)> = Vec::new();
        for field in &spec.fields {
            if let Some(words) = field.extra.get("sum") {
                let parts = words.split_whitespace().map(|w| w.split_once('=').map_or(w, |p| p.1));
                let (mut sources, name) = (Vec::new(), field.name.clone());
                for word in parts.take(PARTS_MAX) {
                    match source(word, node) {
                        Some(source) => sources.push(source),
                        None => bad.push(word.to_owned()),
                    }
                }
                loans.push(Loan { name, sources, is_sum: true });
            } else if let Some(words) = field.extra.get("stack") {
                let (parts, wrong) = aliased(words, node);
                bad.extend(wrong);
                stacked.push((field.name.clone(), parts));
            }
        }
        for (dummy, parts) in stacked {
            unfold(&mut spec, &mut said, &dummy, &parts);
            loans.extend(parts);
        }
        if loans.is_empty() {
            return None;
        }
        for loan in &loans {
            if spec.field(&loan.name).is_none() {
                spec.fields.push(FieldSpec::gauge(&loan.name, ""));
            }
        }
        for field in &mut spec.fields {
            field.extra.retain(|k, _| k != "sum" && k != "stack");
        }
        Some(Borrowed { node: node.to_owned(), spec, said, loans, every_ms: 0 })
    }
}

/// A stack's parts take the place of the field that names them, which is not drawn.
fn unfold(spec: &mut ServiceSpec, said: &mut BTreeSet<String>, dummy: &str, parts: &[Loan]) {
    let Some(at) = spec.fields.iter().position(|f| f.name == dummy) else { return };
    let head = spec.fields.remove(at);
    let first = if said.contains(&format!("{dummy}.draw")) { head.draw } else { Draw::Line1 };
    for (i, part) in parts.iter().enumerate() {
        let mut field = FieldSpec::gauge(&part.name, &part.name);
        field.draw = if i == 0 { first } else { Draw::Stack };
        field.cdef = head.cdef.as_ref().map(|cdef| {
            let own = |word: &str| if word == dummy { part.name.clone() } else { word.to_owned() };
            cdef.split(',').map(own).collect::<Vec<_>>().join(",")
        });
        said.insert(format!("{}.draw", part.name));
        spec.fields.insert((at + i).min(spec.fields.len()), field);
    }
    let names: Vec<String> = parts.iter().map(|p| p.name.clone()).collect();
    if let Some(at) = spec.order.iter().position(|w| w == dummy) {
        spec.order.splice(at..=at, names);
    }
}

/// The history with services that borrow their fields.
pub struct Borrow {
    inner: Arc<dyn History>,
    services: BTreeMap<String, BTreeMap<String, Borrowed>>,
}

impl Borrow {
    /// Over this history.
    pub fn new(inner: Arc<dyn History>, borrowed: Vec<Borrowed>) -> Borrow {
        let mut services: BTreeMap<String, BTreeMap<String, Borrowed>> = BTreeMap::new();
        for one in borrowed {
            services.entry(one.node.clone()).or_default().insert(one.spec.name.clone(), one);
        }
        Borrow { inner, services }
    }

    fn borrowed(&self, node: &str, service: &str) -> Option<&Borrowed> {
        self.services.get(node)?.get(service)
    }

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
    fn lend(
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
            let mut total = Bucket::default();
            for b in &buckets {
                total.merge(b.count, (b.min, b.max), b.sum, (b.first, b.last));
            }
            FieldRollup { spec: field, buckets, total, increase: None }
        } else {
            match parts.into_iter().next().and_then(|p| p.fields.into_iter().next()) {
                Some(found) => FieldRollup { spec: field, ..found },
                None => FieldRollup {
                    spec: field,
                    buckets: vec![],
                    total: Bucket::default(),
                    increase: None,
                },
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
}

/// The sum of the parts' means. Each counts until two of its steps later: they are not
/// read at one instant. What one part reached beyond its mean, the sum may have reached.
fn sum(parts: &[Rollup], n: usize) -> Vec<Bucket> {
    let mut sums: Vec<Option<(f64, f64, f64)>> = vec![None; n];
    for part in parts {
        let step_ms = match i64::try_from(part.spec.step_ms) {
            Ok(ms) if ms > 0 => ms,
            _ => UNKNOWN_STEP_MS,
        };
        let hold = 2 * step_ms / part.step_ms.max(1);
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

impl Overlay for Borrow {
    fn below(&self) -> &dyn History {
        self.inner.as_ref()
    }

    fn covers(&self, node: &str) -> bool {
        self.services.contains_key(node)
    }

    fn covered_nodes(&self) -> Vec<NodeInfo> {
        let mut nodes = self.inner.nodes();
        let n_real = nodes.len();
        for (name, services) in &self.services {
            let real: BTreeSet<String> = match nodes.iter().any(|n| n.name == *name) {
                true => self
                    .inner
                    .services(name)
                    .unwrap_or_default()
                    .into_iter()
                    .map(|s| s.spec.name.clone())
                    .collect(),
                false => BTreeSet::new(),
            };
            let more = services.keys().filter(|s| !real.contains(*s)).count();
            if let Some(node) = nodes.iter_mut().find(|n| n.name == *name) {
                node.n_services += more;
                continue;
            }
            let lenders: BTreeSet<&String> = services
                .values()
                .flat_map(|b| &b.loans)
                .flat_map(|l| &l.sources)
                .flat_map(|s| &s.nodes)
                .collect();
            let lenders = || nodes[..n_real].iter().filter(|n| lenders.contains(&n.name));
            let info = NodeInfo {
                name: name.clone(),
                group: names::split_node(name).0.to_owned(),
                last_seen_ms: lenders().filter_map(|n| n.last_seen_ms).max(),
                first_seen_ms: lenders().filter_map(|n| n.first_seen_ms).min(),
                n_services: more,
            };
            nodes.push(info);
        }
        nodes.sort_by(|a, b| a.name.cmp(&b.name));
        nodes
    }

    fn covered_services(&self, node: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        let Some(own) = self.services.get(node) else { return self.inner.services(node) };
        let mut services = match self.inner.services(node) {
            Err(ReadError::NotFound(_)) => vec![],
            other => other?,
        };
        for borrowed in own.values() {
            if !services.iter().any(|s| s.spec.name == borrowed.spec.name) {
                let now = vec![Now::default(); borrowed.spec.fields.len()];
                let spec = Arc::new(borrowed.spec.clone());
                services.push(ServiceInfo { spec, active: true, now });
            }
        }
        services.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(services)
    }

    fn covered_fields(&self, node: &str, service: &str) -> Result<Vec<FieldSpec>, ReadError> {
        let Some(borrowed) = self.borrowed(node, service) else {
            return self.inner.fields(node, service);
        };
        let mut fields = match self.inner.fields(node, service) {
            Err(ReadError::NotFound(_)) => vec![],
            other => other?,
        };
        for field in &borrowed.spec.fields {
            if !fields.iter().any(|f| f.name == field.name) {
                fields.push(field.clone());
            }
        }
        Ok(fields)
    }

    fn covered_samples(
        &self,
        node: &str,
        service: &str,
        field: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Samples, ReadError> {
        let borrowed = self.borrowed(node, service);
        let loan = borrowed.and_then(|b| b.loans.iter().find(|l| l.name == field));
        let Some(loan) = loan else {
            return self.inner.samples(node, service, field, from_ms, to_ms);
        };
        if loan.is_sum {
            return self.summed(loan, (from_ms, to_ms));
        }
        for source in &loan.sources {
            for of in &source.nodes {
                match self.inner.samples(of, &source.service, &source.field, from_ms, to_ms) {
                    Err(ReadError::NotFound(_)) => {}
                    other => return other,
                }
            }
        }
        Ok(Samples::default())
    }

    fn covered_rollup(
        &self,
        node: &str,
        service: &str,
        fields: &[&str],
        from_ms: TimeMs,
        to_ms: TimeMs,
        step_ms: i64,
    ) -> Result<Rollup, ReadError> {
        let borrowed = self.borrowed(node, service);
        let is_lent =
            |name: &&&str| borrowed.is_some_and(|b| b.loans.iter().any(|l| l.name == **name));
        let own: Vec<&str> = fields.iter().filter(|f| !is_lent(f)).copied().collect();
        let read = self.inner.rollup(node, service, &own, from_ms, to_ms, step_ms);
        let mut rollup = match (read, borrowed) {
            (Ok(mut rollup), Some(borrowed)) => {
                if own.is_empty() && !fields.is_empty() {
                    rollup.fields.clear();
                }
                if !borrowed.spec.order.is_empty() {
                    Arc::make_mut(&mut rollup.spec).order.clone_from(&borrowed.spec.order);
                }
                rollup
            }
            (Err(ReadError::NotFound(_)), Some(borrowed)) if step_ms > 0 && from_ms < to_ms => {
                let spec = Arc::new(borrowed.spec.clone());
                Rollup { from_ms, step_ms, spec, fields: vec![], averages: vec![] }
            }
            (read, _) => read?,
        };
        let own = match borrowed {
            Some(_) => None,
            None => Borrowed::own(node, &rollup.spec),
        };
        if let Some(own) = &own {
            // A stack's parts take the place of the field that names them.
            let is_gone = |name: &str| own.spec.field(name).is_none();
            rollup.fields.retain(|f| !is_gone(&f.spec.name) || fields.contains(&&*f.spec.name));
            rollup.spec = Arc::new(own.spec.clone());
        }
        let borrowed = borrowed.or(own.as_ref());
        let loans = borrowed.map(|b| b.loans.clone()).unwrap_or_default();
        for loan in loans {
            if fields.is_empty() || fields.contains(&loan.name.as_str()) {
                self.lend(&loan, borrowed, (from_ms, to_ms), &mut rollup)?;
            }
        }
        rollup.averages.sort_by_key(|a| (a.from_ms, a.step_ms));
        rollup.averages.dedup();
        Ok(rollup)
    }

    fn covered_version(&self, node: &str) -> u64 {
        let lenders: BTreeSet<&String> = (self.services.get(node).into_iter())
            .flat_map(BTreeMap::values)
            .flat_map(|b| &b.loans)
            .flat_map(|l| &l.sources)
            .flat_map(|s| &s.nodes)
            .collect();
        let own = self.inner.version(node);
        lenders.iter().fold(own, |sum, n| sum.wrapping_add(self.inner.version(n)))
    }
}

impl Borrow {
    /// A sum at each step of its parts, aligned to the clock.
    fn summed(
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

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn read(lines: &[&str]) -> (Option<Borrowed>, Vec<String>) {
        let lines: Vec<String> = lines.iter().map(|l| (*l).to_owned()).collect();
        let mut bad = Vec::new();
        (Borrowed::read("web;all", "traffic", &lines, &mut bad), bad)
    }

    #[test]
    fn loans_sums_and_stacks_as_munin_writes_them() {
        let (found, bad) = read(&[
            "graph_title All traffic",
            "graph_order up=www1:if_eth0.up down total nonsense= parts",
            "down.label down",
            "total.label Total",
            "total.sum www1:if_eth0.up db;db1:if_eth0.up www3.example.com:disks.sda.rd",
            "total.draw LINE2",
            "parts.label unused",
            "parts.draw AREA",
            "parts.cdef parts,8,*",
            "parts.stack a=www1:if_eth0.up b=www2:if_eth0.up",
        ]);
        let found = found.expect("borrows");
        assert_eq!(bad, ["nonsense="]);
        let names: Vec<&str> = found.loans.iter().map(|l| l.name.as_str()).collect();
        assert_eq!(names, ["up", "total", "a", "b"]);
        assert_eq!(found.loans[0].sources[0].nodes, ["web;www1", "www1"]);
        let total = &found.loans[1];
        assert!(total.is_sum && total.sources.len() == 3);
        assert_eq!(total.sources[1].nodes, ["db;db1", "db1"]);
        assert_eq!(total.sources[2].service, "disks.sda");
        let three = ["web;www3.example.com", "example.com;www3.example.com", "www3.example.com"];
        assert_eq!(total.sources[2].nodes, three);
        assert_eq!(found.spec.title, "All traffic");
        assert!(found.spec.field("parts").is_none(), "only its parts are drawn");
        let a = found.spec.field("a").expect("a part");
        assert_eq!((a.draw, a.cdef.as_deref(), a.label.as_str()), (Draw::Area, Some("a,8,*"), "a"));
        assert_eq!(found.spec.field("b").map(|f| f.draw), Some(Draw::Stack));
        assert_eq!(found.spec.order.last().map(String::as_str), Some("b"));
        assert_eq!(read(&["graph_title x", "a.label a"]).0, None);
        // A plugin may say so of itself.
        let own = parse("s", b"s.label Sum\ns.sum load.load users.tty\n").services.remove(0);
        let own = Borrowed::own("web;www1", &own).expect("borrows");
        assert_eq!(own.loans[0].sources[1].nodes, ["web;www1"]);
        assert_eq!(Borrowed::own("n", &ServiceSpec::new("s", "s", "s")), None);
    }

    proptest! {
        #[test]
        fn no_text_panics(
            lines in prop::collection::vec("(graph_order |a.sum |a.stack )?[a-c;:.= -]{0,16}", 0..6),
        ) {
            let mut bad = Vec::new();
            let _ = Borrowed::read("g;n", "s", &lines, &mut bad);
        }
    }
}
