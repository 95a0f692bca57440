//! What was consolidated before it came here: averages, told apart from samples.
//!
//! Another system's history (a Munin master's RRD files) has no samples, only the mean,
//! the least and the largest value of each period. It is kept beside the samples, never
//! among them: service `load` has its samples; `load@300s` the averages of five minutes,
//! with the fields `load`, `load:min` and `load:max`, at the ends of their periods. So
//! export and SQL give them by their own names, and `load` gives what was measured.
//!
//! Graphs want both. [`Past`] reads them as one: where a service has no samples, the
//! averages stand in, the finest first, and [`Rollup::averages`] says where.

use crate::catalog::NodeEntry;
use crate::history::{
    Averages, Bucket, FieldRollup, History, NodeInfo, Now, ReadError, Rollup, Samples, ServiceInfo,
};
use crate::overlay::Overlay;
use crate::read::Reader;
use crate::series::Heartbeat;
use crate::store::Shared;
use rookery_plugins::{FieldSpec, FieldType, ServiceSpec, TimeMs, Value};
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// The attribute of a service that holds averages: their period, s.
const PERIOD: &str = "consolidated_s";
/// What it was called where it came from.
const TITLE: &str = "consolidated_title";
/// A counter's type, before it became a rate.
const TYPE: &str = "consolidated_type";

/// The service that holds the averages of this period of another.
pub fn service_name(service: &str, step_s: i64) -> String {
    format!("{service}@{step_s}s")
}

/// The field with the least value of each period.
pub fn min_of(field: &str) -> String {
    format!("{field}:min")
}

/// The field with the largest value of each period.
pub fn max_of(field: &str) -> String {
    format!("{field}:max")
}

/// The period of a service that holds averages, s; `None`: it holds samples.
pub fn period_s(spec: &ServiceSpec) -> Option<i64> {
    spec.extra.get(PERIOD)?.parse().ok().filter(|s| *s > 0)
}

/// `5 min`, `2 h`, `1 day`.
pub fn words(step_ms: i64) -> String {
    let s = step_ms / 1000;
    match s {
        s if s > 0 && s % 86_400 == 0 => format!("{} d", s / 86_400),
        s if s > 0 && s % 3600 == 0 => format!("{} h", s / 3600),
        s if s > 0 && s % 60 == 0 => format!("{} min", s / 60),
        s => format!("{s} s"),
    }
}

/// The description of the service with averages, still without fields. Its step is not
/// told: nobody is to wait for more of them.
pub fn describe(of: &ServiceSpec, step_s: i64) -> ServiceSpec {
    let mut spec = of.clone();
    spec.name = service_name(&of.name, step_s);
    spec.title = format!("{} (averages of {})", of.title, words(step_s * 1000));
    spec.source = "import:munin".to_owned();
    (spec.step_ms, spec.host_name) = (0, None);
    spec.fields.clear();
    spec.extra.insert(PERIOD.to_owned(), step_s.to_string());
    spec.extra.insert(TITLE.to_owned(), of.title.clone());
    spec
}

/// Adds field `name` with a consolidated value of field `source` of service `of`.
/// Counters are rates a second by now. Limits are kept as words only: nobody is waked
/// by what was long ago.
pub fn add_field(spec: &mut ServiceSpec, of: &ServiceSpec, source: &str, name: &str) {
    let mut field = of.field(source).cloned().unwrap_or_else(|| FieldSpec::gauge(source, source));
    if field.kind != FieldType::Gauge {
        field.extra.insert(TYPE.to_owned(), field.kind.word().to_owned());
        field.kind = FieldType::Gauge;
    }
    for (key, limit) in [("warning", field.warning.take()), ("critical", field.critical.take())] {
        field.extra.extend(limit.map(|limit| (key.to_owned(), limit)));
    }
    if name != source {
        let end = if name.ends_with(":min") { "least" } else { "largest" };
        field.label = format!("{} ({end} of each period)", field.label_or_name());
        (field.cdef, field.negative, field.hidden) = (None, None, true);
    }
    name.clone_into(&mut field.name);
    spec.fields.push(field);
}

/// The averages of one service by one period.
#[derive(Clone, Debug)]
struct Shadow {
    step_ms: i64,
    spec: Arc<ServiceSpec>,
}

impl Shadow {
    /// The service as it was, for one that has no samples at all.
    fn original(&self, name: &str) -> ServiceSpec {
        let mut spec = (*self.spec).clone();
        name.clone_into(&mut spec.name);
        spec.title = spec.extra.remove(TITLE).unwrap_or_else(|| name.to_owned());
        spec.extra.remove(PERIOD);
        spec.fields.retain(|f| !f.name.contains(':'));
        for field in &mut spec.fields {
            field.warning = field.extra.remove("warning");
            field.critical = field.extra.remove("critical");
            let kind = field.extra.remove(TYPE).and_then(|t| FieldType::parse(&t));
            field.kind = kind.unwrap_or_default();
        }
        spec
    }
}

/// Mean, least and largest value of a time.
type Means = (f64, f64, f64);

/// Services with averages, by the service that they are of; the finest first.
type Index = BTreeMap<String, Vec<Shadow>>;

/// How many services a node had when its index was made.
type Indexed = HashMap<String, (usize, Arc<Index>)>;

/// The history with what was consolidated.
#[derive(Clone)]
pub struct Past {
    shared: Arc<Shared>,
    reader: Reader,
    indexed: Arc<Mutex<Indexed>>,
}

impl Past {
    /// Of this history.
    pub fn new(shared: Arc<Shared>) -> Past {
        Past { reader: Reader::new(shared.clone()), shared, indexed: Arc::default() }
    }

    fn index(&self, node: &str) -> Arc<Index> {
        let Some(entry) = self.shared.nodes.get(node) else { return Arc::default() };
        let n = entry.n_services();
        let mut all = self.indexed.lock().unwrap_or_else(PoisonError::into_inner);
        match all.get(node) {
            Some((known, index)) if *known == n => index.clone(),
            _ => {
                let index = Arc::new(index_of(&entry));
                all.insert(node.to_owned(), (n, index.clone()));
                index
            }
        }
    }

    /// A node with as many services as readers see.
    fn counted(&self, mut node: NodeInfo) -> NodeInfo {
        let index = self.index(&node.name);
        let shadows: usize = index.values().map(Vec::len).sum();
        let gone = index.keys().filter(|s| !self.is_live(&node.name, s)).count();
        node.n_services = (node.n_services + gone).saturating_sub(shadows);
        node
    }

    fn is_live(&self, node: &str, service: &str) -> bool {
        self.shared.nodes.get(node).is_some_and(|n| n.service(service).is_some())
    }
}

fn index_of(node: &NodeEntry) -> Index {
    let mut index = Index::new();
    for service in node.services() {
        let Some(step_s) = period_s(&service.spec) else { continue };
        let end = format!("@{step_s}s");
        if let Some(of) = service.spec.name.strip_suffix(&end) {
            let shadow =
                Shadow { step_ms: step_s.saturating_mul(1000), spec: service.spec.clone() };
            index.entry(of.to_owned()).or_default().push(shadow);
        }
    }
    index.values_mut().for_each(|shadows| shadows.sort_by_key(|s| s.step_ms));
    index
}

impl Overlay for Past {
    fn below(&self) -> &dyn History {
        &self.reader
    }

    fn covers(&self, node: &str) -> bool {
        !self.index(node).is_empty()
    }

    fn covered_nodes(&self) -> Vec<NodeInfo> {
        self.reader.nodes().into_iter().map(|node| self.counted(node)).collect()
    }

    fn covered_node(&self, name: &str) -> Option<NodeInfo> {
        self.reader.node(name).map(|node| self.counted(node))
    }

    fn covered_services(&self, node: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        let mut services = self.reader.services(node)?;
        let index = self.index(node);
        if index.is_empty() {
            return Ok(services);
        }
        services.retain(|s| period_s(&s.spec).is_none());
        for (name, shadows) in index.iter() {
            if let Some(first) = shadows.first().filter(|_| !self.is_live(node, name)) {
                let spec = first.original(name);
                let now = vec![Now::default(); spec.fields.len()];
                services.push(ServiceInfo { spec: Arc::new(spec), active: false, now, step_ms: 0 });
            }
        }
        services.sort_by(|a, b| a.spec.name.cmp(&b.spec.name));
        Ok(services)
    }

    fn covered_fields(&self, node: &str, service: &str) -> Result<Vec<FieldSpec>, ReadError> {
        let index = self.index(node);
        let Some(shadows) = index.get(service) else { return self.reader.fields(node, service) };
        let mut fields = match self.is_live(node, service) {
            true => self.reader.fields(node, service)?,
            false => vec![],
        };
        for field in shadows.iter().flat_map(|s| s.original(service).fields) {
            if !fields.iter().any(|f| f.name == field.name) {
                fields.push(field);
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
        match self.reader.samples(node, service, field, from_ms, to_ms) {
            // There are averages of it, and no sample.
            Err(ReadError::NotFound(e)) => match self.fields(node, service) {
                Ok(fields) if fields.iter().any(|f| f.name == field) => Ok(Samples::default()),
                _ => Err(ReadError::NotFound(e)),
            },
            other => other,
        }
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
        let index = self.index(node);
        let Some(shadows) = index.get(service) else {
            return self.reader.rollup(node, service, fields, from_ms, to_ms, step_ms);
        };
        let span = (from_ms, to_ms);
        let mut rollup = match self.is_live(node, service) {
            true => self.live(node, service, fields, span, step_ms)?,
            // The spans that may be asked for are the same.
            false => {
                let shadow = &shadows[0].spec.name;
                let mut empty = self.reader.rollup(node, shadow, &[], from_ms, to_ms, step_ms)?;
                empty.spec = Arc::new(shadows[0].original(service));
                empty.fields.clear();
                empty
            }
        };
        let n_live = rollup.fields.len();
        let known = self.fields(node, service)?;
        for field in known {
            let is_there = rollup.fields.iter().any(|f| f.spec.name == field.name);
            let is_asked = fields.is_empty() || fields.contains(&field.name.as_str());
            if !is_there && is_asked {
                let n = buckets_of(span, step_ms);
                rollup.fields.push(FieldRollup::of(field, vec![Bucket::default(); n]));
            }
        }
        self.fill(node, shadows, &mut rollup, span)?;
        // Fields of the past that have nothing in this span would only be in the way.
        let is_live = self.is_live(node, service);
        let mut at = 0;
        rollup.fields.retain(|f| {
            at += 1;
            at <= n_live || !fields.is_empty() || !is_live || f.total.count > 0
        });
        Ok(rollup)
    }

    fn covered_averages(&self, node: &str, service: &str) -> Vec<(String, i64)> {
        let index = self.index(node);
        let shadows = index.get(service).map(Vec::as_slice).unwrap_or_default();
        shadows.iter().map(|s| (s.spec.name.clone(), s.step_ms)).collect()
    }
}

fn buckets_of((from_ms, to_ms): (TimeMs, TimeMs), step_ms: i64) -> usize {
    let n = to_ms.saturating_sub(from_ms).saturating_add(step_ms - 1) / step_ms.max(1);
    usize::try_from(n).unwrap_or(0)
}

impl Past {
    /// What the samples say, of the fields that have or had some.
    fn live(
        &self,
        node: &str,
        service: &str,
        fields: &[&str],
        (from_ms, to_ms): (TimeMs, TimeMs),
        step_ms: i64,
    ) -> Result<Rollup, ReadError> {
        let ever = self.reader.fields(node, service)?;
        let is_known = |name: &&&str| ever.iter().any(|f| f.name == **name);
        let known: Vec<&str> = fields.iter().filter(is_known).copied().collect();
        let mut rollup = self.reader.rollup(node, service, &known, from_ms, to_ms, step_ms)?;
        if known.is_empty() && !fields.is_empty() {
            rollup.fields.clear();
        }
        Ok(rollup)
    }

    /// Lets averages stand in where there are no samples.
    fn fill(
        &self,
        node: &str,
        shadows: &[Shadow],
        rollup: &mut Rollup,
        span: (TimeMs, TimeMs),
    ) -> Result<(), ReadError> {
        let covered = covered(rollup);
        let sample_ms = i64::try_from(rollup.spec.step_ms).unwrap_or(0);
        let step_ms = rollup.step_ms;
        let mut by_step: Vec<(i64, Vec<bool>)> =
            shadows.iter().map(|s| (s.step_ms, vec![false; covered.len()])).collect();
        for field in &mut rollup.fields {
            // Where samples are, or a finer archive knows that nothing is known.
            let mut closed = covered.clone();
            let name = field.spec.name.clone();
            for (i, shadow) in shadows.iter().enumerate() {
                let is_open = |(b, closed): (&Bucket, &bool)| b.count == 0 && !closed;
                if !field.buckets.iter().zip(&closed).any(is_open) {
                    break;
                }
                let each = if sample_ms > 0 { sample_ms } else { shadow.step_ms };
                let weight = u64::try_from(step_ms / each.max(1)).unwrap_or(1).max(1);
                let means = self.means(node, shadow, &name, span, step_ms)?;
                let slots = field.buckets.iter_mut().zip(means).zip(&mut by_step[i].1);
                for (((bucket, mean), filled), closed) in slots.zip(&closed) {
                    let Some((mean, min, max)) = mean.filter(|_| bucket.count == 0 && !closed)
                    else {
                        continue;
                    };
                    let (min, max) = (min.min(mean), max.max(mean));
                    bucket.merge(weight, (min, max), mean * weight as f64, (mean, mean));
                    *filled = true;
                }
                if i + 1 < shadows.len() {
                    self.close(node, shadow, field, (span.0, step_ms), &mut closed)?;
                }
            }
        }
        for field in &mut rollup.fields {
            field.total = Bucket::joined(&field.buckets);
        }
        rollup.averages = by_step
            .iter()
            .flat_map(|(step_ms, filled)| runs(filled, *step_ms, rollup.from_ms, rollup.step_ms))
            .collect();
        rollup.averages.sort_by_key(|a| a.from_ms);
        Ok(())
    }

    /// Closes buckets in which this archive has periods that are unknown: what a coarser
    /// one says of them is of other times.
    fn close(
        &self,
        node: &str,
        shadow: &Shadow,
        field: &FieldRollup,
        (from_ms, step_ms): (TimeMs, i64),
        closed: &mut [bool],
    ) -> Result<(), ReadError> {
        if shadow.spec.field(&field.spec.name).is_none() {
            return Ok(());
        }
        let is_open = |i: usize| field.buckets[i].count == 0 && !closed[i];
        let mut runs: Vec<(usize, usize)> = Vec::new();
        for i in (0..closed.len().min(field.buckets.len())).filter(|i| is_open(*i)) {
            match runs.last_mut() {
                Some(last) if last.1 == i => last.1 = i + 1,
                _ => runs.push((i, i + 1)),
            }
        }
        let start = |i: usize| from_ms.saturating_add(step_ms.saturating_mul(i as i64));
        for (from, to) in runs {
            let (name, service) = (&field.spec.name, &shadow.spec.name);
            // The period of a row that ends later may begin in the run.
            let until = start(to).saturating_add(shadow.step_ms);
            let rows = self.reader.samples(node, service, name, start(from) + 1, until)?;
            for (t, _) in rows.iter().filter(|(_, v)| *v == Value::Unknown) {
                let bucket = |t: TimeMs| ((t - from_ms) / step_ms).clamp(from as i64, to as i64);
                let (first, last) = (bucket(t - shadow.step_ms), bucket(t - 1) + 1);
                closed[first as usize..(last as usize).min(to)].fill(true);
            }
        }
        Ok(())
    }

    /// Mean, least and largest value for each bucket of which a period is known.
    fn means(
        &self,
        node: &str,
        shadow: &Shadow,
        field: &str,
        (from_ms, to_ms): (TimeMs, TimeMs),
        step_ms: i64,
    ) -> Result<Vec<Option<Means>>, ReadError> {
        let n = buckets_of((from_ms, to_ms), step_ms);
        let mut out = vec![None; n];
        if shadow.spec.field(field).is_none() {
            return Ok(out);
        }
        let names = [field.to_owned(), min_of(field), max_of(field)];
        let period = shadow.step_ms;
        // A row stands at the end of its period, a bucket is known by its start.
        let (from, to) = (from_ms.saturating_add(period), to_ms.saturating_add(period));
        let service = &shadow.spec.name;
        if step_ms >= period {
            let names = names.each_ref().map(String::as_str);
            let read = self.reader.rollup(node, service, &names, from, to, step_ms)?;
            let of = |name: &str| read.fields.iter().find(|f| f.spec.name == name);
            let Some(means) = of(names[0]) else { return Ok(out) };
            for (i, bucket) in means.buckets.iter().enumerate().take(n) {
                let Some(mean) = bucket.mean() else { continue };
                let end =
                    |name: &str| of(name).and_then(|f| f.buckets.get(i)).filter(|b| b.count > 0);
                let min = end(names[1]).map_or(bucket.min, |b| b.min);
                let max = end(names[2]).map_or(bucket.max, |b| b.max);
                out[i] = Some((mean, min, max));
            }
            return Ok(out);
        }
        // A period fills several buckets.
        let read = |name: &str| match self.reader.samples(node, service, name, from_ms, to) {
            Ok(samples) => Ok(samples.iter().collect::<Vec<_>>()),
            Err(ReadError::NotFound(_)) => Ok(vec![]),
            Err(e) => Err(e),
        };
        let (means, mins, maxs) = (read(&names[0])?, read(&names[1])?, read(&names[2])?);
        let at = |all: &[(TimeMs, Value)], t: TimeMs| {
            let i = all.binary_search_by_key(&t, |(t, _)| *t).ok()?;
            all[i].1.as_f64().filter(|v| !v.is_nan())
        };
        for (t, value) in &means {
            let Some(mean) = value.as_f64().filter(|v| !v.is_nan()) else { continue };
            let (min, max) = (at(&mins, *t).unwrap_or(mean), at(&maxs, *t).unwrap_or(mean));
            let bucket = |t: TimeMs| usize::try_from((t - from_ms) / step_ms).unwrap_or(0).min(n);
            let (first, last) = (bucket((t - period).max(from_ms)), bucket((*t).max(from_ms)));
            out[first..last].fill(Some((mean, min, max)));
        }
        Ok(out)
    }
}

/// Buckets that hold samples of any field, or lie between two that belong together.
fn covered(rollup: &Rollup) -> Vec<bool> {
    let n = rollup.fields.iter().map(|f| f.buckets.len()).max().unwrap_or(0);
    let is_held =
        |i: &usize| rollup.fields.iter().any(|f| f.buckets.get(*i).is_some_and(|b| b.count > 0));
    let held: Vec<usize> = (0..n).filter(is_held).collect();
    let most = Heartbeat::of(&rollup.spec).0 / rollup.step_ms.max(1);
    let mut covered = vec![false; n];
    held.iter().for_each(|i| covered[*i] = true);
    for pair in held.windows(2).filter(|p| (p[1] - p[0]) as i64 <= most.max(1)) {
        covered[pair[0]..pair[1]].fill(true);
    }
    covered
}

/// The spans of neighbouring buckets.
fn runs(filled: &[bool], period_ms: i64, from_ms: TimeMs, step_ms: i64) -> Vec<Averages> {
    let mut out: Vec<Averages> = Vec::new();
    for i in (0..filled.len()).filter(|i| filled[*i]) {
        let start = from_ms + i as i64 * step_ms;
        match out.last_mut() {
            Some(last) if last.to_ms >= start => last.to_ms = start + step_ms,
            _ => out.push(Averages { from_ms: start, to_ms: start + step_ms, step_ms: period_ms }),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_and_its_averages_are_told_apart() {
        let mut of = ServiceSpec::new("if_eth0", "Traffic", "network");
        of.fields.push(FieldSpec::derive("up", "up").limits("5", "9").cdef("up,8,*"));
        let mut spec = describe(&of, 1800);
        add_field(&mut spec, &of, "up", "up");
        add_field(&mut spec, &of, "up", &max_of("up"));
        assert_eq!((spec.name.as_str(), period_s(&spec)), ("if_eth0@1800s", Some(1800)));
        assert_eq!(spec.title, "Traffic (averages of 30 min)");
        let [up, max] = &spec.fields[..] else { panic!("{spec:?}") };
        assert_eq!((up.kind, up.warning.as_deref()), (FieldType::Gauge, None));
        assert_eq!(up.cdef.as_deref(), Some("up,8,*"));
        assert_eq!((max.name.as_str(), max.hidden), ("up:max", true));
        let back = Shadow { step_ms: 1_800_000, spec: Arc::new(spec) }.original("if_eth0");
        assert_eq!((back.title.as_str(), back.fields.len()), ("Traffic", 1));
        assert_eq!(back.fields[0].critical.as_deref(), Some("9"));
        assert_eq!(back.fields[0].kind, FieldType::Derive);
        assert_eq!(period_s(&of), None);
    }

    #[test]
    fn periods_in_words() {
        let told = [300_000, 1_800_000, 7_200_000, 86_400_000, 10_000].map(words);
        assert_eq!(told, ["5 min", "30 min", "2 h", "1 d", "10 s"]);
    }

    #[test]
    fn neighbouring_buckets_are_one_span() {
        let found = runs(&[false, true, true, false, true], 300_000, 1000, 10);
        let spans: Vec<_> = found.iter().map(|a| (a.from_ms, a.to_ms)).collect();
        assert_eq!(spans, [(1010, 1030), (1040, 1050)]);
    }
}
