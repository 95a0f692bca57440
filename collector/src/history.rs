//! The narrow interface behind which the history stands: walk the catalog,
//! read a field's samples, read a rollup.
//!
//! Whoever reads (pages, export, SQL, the alert machine's past) sees this and
//! nothing of files, chunks or the head, so that another engine can take the
//! store's place.

use crate::reading::Stop;
use crate::store::StoreError;
use rookery_alerts::message::span;
pub use rookery_alerts::{Acknowledgement, Downtime};
use rookery_plugins::{FieldSpec, FieldType, HostState, Kind, ServiceSpec, State, TimeMs, Value};
use serde::Serialize;
use std::sync::Arc;
use thiserror::Error;

/// Why something could not be read.
#[derive(Debug, Error)]
pub enum ReadError {
    /// No such node, service or field; the text names it, and a near one.
    #[error("{0}")]
    NotFound(String),
    /// The request makes no sense (from after to, a step of zero).
    #[error("{0}")]
    BadRequest(String),
    /// The disk or a period file failed; the text names the file.
    #[error("{0}")]
    Storage(String),
    /// It was ended: no memory, no time, or nobody waits for it.
    #[error("{0}")]
    Stopped(#[from] Stop),
}

impl From<StoreError> for ReadError {
    fn from(e: StoreError) -> ReadError {
        match e {
            StoreError::Stopped(why) => ReadError::Stopped(why),
            e => ReadError::Storage(e.to_string()),
        }
    }
}

/// A node of the catalog.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct NodeInfo {
    /// Its name, `group;host` where the agent gave it so.
    pub name: String,
    /// Its group; empty: none.
    pub group: String,
    /// Time of its newest sample; `None` before the first.
    pub last_seen_ms: Option<TimeMs>,
    /// Time of its oldest sample, as far as is known without looking.
    pub first_seen_ms: Option<TimeMs>,
    /// How many services it has.
    pub n_services: usize,
    /// It is not expected any more: it is on no list, and has no state.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub retired: bool,
}

/// A service of the catalog, as it is now.
#[derive(Clone, Debug)]
pub struct ServiceInfo {
    /// What it is.
    pub spec: Arc<ServiceSpec>,
    /// Whether it is still expected to report.
    pub active: bool,
    /// The newest drawn value of each field of `spec`, in its order.
    pub now: Vec<Now>,
    /// How often it comes, ms: as declared, else by its rhythm of late; 0: not known.
    pub step_ms: u64,
}

/// Data of a service whose step is known is too old when it is older than three steps and
/// than this, ms.
pub const AGE_MS_MIN: i64 = rookery_alerts::check::AGE_MS_MIN;

impl ServiceInfo {
    /// How old its newest value is, ms; `None`: there is none in memory.
    pub fn age_ms(&self, now_ms: TimeMs) -> Option<i64> {
        let newest = self.now.iter().filter_map(|n| n.time_ms).max();
        newest.map(|t| now_ms.saturating_sub(t))
    }

    /// From what age on its data says nothing of now, ms; `None`: never, as nobody knows
    /// when the next is to come.
    pub fn age_max_ms(&self) -> Option<i64> {
        let step_ms = i64::try_from(self.step_ms).unwrap_or(i64::MAX);
        (step_ms > 0).then(|| step_ms.saturating_mul(3).max(AGE_MS_MIN))
    }

    /// How it stands, for whoever asks: a page, the API, check_rookery, a passive result.
    /// `state` is the alert machine's; what is too old is UNKNOWN.
    pub fn stands(&self, state: ServiceState, now_ms: TimeMs) -> ServiceState {
        let Some(limit) = self.age_max_ms() else { return state };
        let Some(age) = self.age_ms(now_ms) else {
            // Not even the machine has seen one.
            let is_new = self.active && state.since_ms == 0 && !self.now.is_empty();
            let (state_now, text) = (State::Unknown, "no value yet".to_owned());
            return match is_new {
                true => ServiceState { state: state_now, hard_state: state_now, text, ..state },
                false => state,
            };
        };
        if !self.active || age <= limit || state.hard_state == State::Unknown {
            return state;
        }
        let text = format!("data is {} old (limit {})", span(age), span(limit));
        ServiceState {
            state: State::Unknown,
            hard: true,
            hard_state: State::Unknown,
            since_ms: now_ms.saturating_sub(age).saturating_add(limit),
            text,
            ..state
        }
    }
}

/// A field's newest value as it is drawn.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Now {
    /// When it was read; `None`: not in memory.
    pub time_ms: Option<TimeMs>,
    /// Level, or rate per second of a counter; `None`: unknown.
    pub value: Option<f64>,
}

/// A field's samples in a span of time, oldest first, exactly as they came.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// How to draw them.
    pub field_type: FieldType,
    /// UTC, ms, strictly ascending.
    pub times_ms: Vec<TimeMs>,
    /// [`Kind`] of each value, never `Absent`.
    pub kinds: Vec<u8>,
    /// Bits of each value.
    pub bits: Vec<u64>,
}

impl Samples {
    /// The samples, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = (TimeMs, Value)> + '_ {
        self.times_ms.iter().enumerate().filter_map(|(i, t)| {
            let kind = Kind::from_u8(self.kinds[i])?;
            Some((*t, Value::from_bits(kind, self.bits[i])?))
        })
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.times_ms.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.times_ms.is_empty()
    }
}

/// What is known of a field's drawn values in `[start, start + step)`: levels
/// as they are, counters as rates per second (each rate belongs to the later of
/// its two samples).
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Bucket {
    /// Number of known drawn values; 0: a gap, and all else is meaningless.
    pub count: u64,
    /// Smallest.
    pub min: f64,
    /// Largest.
    pub max: f64,
    /// Sum; the mean is `sum / count`.
    pub sum: f64,
    /// Oldest.
    pub first: f64,
    /// Newest.
    pub last: f64,
}

impl Default for Bucket {
    fn default() -> Bucket {
        Bucket {
            count: 0,
            min: f64::INFINITY,
            max: f64::NEG_INFINITY,
            sum: 0.0,
            first: 0.0,
            last: 0.0,
        }
    }
}

impl Bucket {
    /// Takes in one drawn value, newer than all before.
    pub fn push(&mut self, v: f64) {
        if self.count == 0 {
            self.first = v;
        }
        self.count += 1;
        // Of equal ones (0.0 and -0.0) the first stays.
        if v < self.min {
            self.min = v;
        }
        if v > self.max {
            self.max = v;
        }
        self.sum += v;
        self.last = v;
    }

    /// As [`Self::push`] for each of these that is no NaN.
    pub fn push_all(&mut self, drawn: &[f64]) {
        let is_whole = drawn.iter().fold(true, |all, v| all & !v.is_nan());
        let (Some(first), Some(last), true) = (drawn.first(), drawn.last(), is_whole) else {
            return drawn.iter().filter(|v| !v.is_nan()).for_each(|v| self.push(*v));
        };
        // Least and greatest in four columns first: no one waits for the one before.
        let (fours, rest) = drawn.as_chunks::<4>();
        let (mut min, mut max) = ([*first; 4], [*first; 4]);
        for four in fours {
            for i in 0..4 {
                min[i] = if four[i] < min[i] { four[i] } else { min[i] };
                max[i] = if four[i] > max[i] { four[i] } else { max[i] };
            }
        }
        let all = |of: [f64; 4]| of.into_iter().chain(rest.iter().copied());
        // Of equal ones (0.0 and -0.0) the first stays.
        let first_of = |v: f64| match v == 0.0 {
            true => drawn.iter().copied().find(|v| *v == 0.0).unwrap_or(v),
            false => v,
        };
        let least = first_of(all(min).fold(*first, |a, v| if v < a { v } else { a }));
        let greatest = first_of(all(max).fold(*first, |a, v| if v > a { v } else { a }));
        // One after the other: however they are cut into runs, the sum is the same.
        let sum = drawn.iter().fold(self.sum, |sum, v| sum + v);
        self.merge(drawn.len() as u64, (least, greatest), 0.0, (*first, *last));
        self.sum = sum;
    }

    /// As [`Self::push`] for `n` times this one, which is no NaN.
    pub fn push_same(&mut self, v: f64, n: usize) {
        const EXACT: f64 = (1_u64 << 53) as f64;
        let product = v * n as f64;
        let is_exact = v.fract() == 0.0 && self.sum.fract() == 0.0;
        let sum = if is_exact && product.abs() + self.sum.abs() < EXACT {
            self.sum + product
        } else {
            (0..n).fold(self.sum, |sum, _| sum + v)
        };
        self.merge(n as u64, (v, v), 0.0, (v, v));
        self.sum = sum;
    }

    /// Takes in several drawn values, newer than all before.
    pub fn merge(&mut self, count: u64, range: (f64, f64), sum: f64, ends: (f64, f64)) {
        if count == 0 {
            return;
        }
        if self.count == 0 {
            self.first = ends.0;
        }
        self.count += count;
        if range.0 < self.min {
            self.min = range.0;
        }
        if range.1 > self.max {
            self.max = range.1;
        }
        self.sum += sum;
        self.last = ends.1;
    }

    /// All of these, oldest first, as one.
    pub fn joined(buckets: &[Bucket]) -> Bucket {
        let mut out = Bucket::default();
        for b in buckets {
            out.merge(b.count, (b.min, b.max), b.sum, (b.first, b.last));
        }
        out
    }

    /// The mean; `None` in a gap.
    pub fn mean(&self) -> Option<f64> {
        (self.count > 0).then(|| self.sum / self.count as f64)
    }
}

/// One field's part of a [`Rollup`].
#[derive(Clone, Debug)]
pub struct FieldRollup {
    /// What the field is.
    pub spec: FieldSpec,
    /// One for each step from `Rollup::from_ms`, gaps included.
    pub buckets: Vec<Bucket>,
    /// Over the whole span: the same figures that the buckets give together.
    pub total: Bucket,
    /// Over the whole span, for COUNTER, DERIVE and ABSOLUTE: by how much it
    /// grew, resets handled.
    pub increase: Option<f64>,
}

impl FieldRollup {
    /// A field with these buckets and their total; its increase is not known.
    pub fn of(spec: FieldSpec, buckets: Vec<Bucket>) -> FieldRollup {
        let total = Bucket::joined(&buckets);
        FieldRollup { spec, buckets, total, increase: None }
    }
}

/// A service's fields by steps of time.
#[derive(Clone, Debug)]
pub struct Rollup {
    /// Start of the first bucket.
    pub from_ms: TimeMs,
    /// Width of a bucket, ms.
    pub step_ms: i64,
    /// The service as it was in the catalog at the end of the span.
    pub spec: Arc<ServiceSpec>,
    /// The fields asked for, in the service's order.
    pub fields: Vec<FieldRollup>,
    /// Where the buckets hold no samples but averages of a period: see [`crate::past`].
    pub averages: Vec<Averages>,
}

/// A span in which averages stand in for samples.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Averages {
    /// Its start, UTC, ms.
    pub from_ms: TimeMs,
    /// Its end, not included.
    pub to_ms: TimeMs,
    /// Of so long a time each is the average, ms.
    pub step_ms: i64,
}

/// What a reader can ask of the history.
pub trait History: Send + Sync {
    /// All nodes, by name.
    fn nodes(&self) -> Vec<NodeInfo>;

    /// A node's services, by name.
    fn services(&self, node: &str) -> Result<Vec<ServiceInfo>, ReadError>;

    /// A node's services by name, each with whether it is still expected to
    /// report; without their newest values, which cost far more.
    fn specs(&self, node: &str) -> Result<Vec<(Arc<ServiceSpec>, bool)>, ReadError> {
        Ok(self.services(node)?.into_iter().map(|s| (s.spec, s.active)).collect())
    }

    /// What one service of a node is; `None`: there is none.
    fn spec(&self, node: &str, service: &str) -> Option<Arc<ServiceSpec>> {
        let all = self.specs(node).unwrap_or_default();
        all.into_iter().map(|(spec, _)| spec).find(|s| s.name == service)
    }

    /// One service of a node, as in [`History::services`]; `None`: there is none.
    fn service(&self, node: &str, service: &str) -> Result<Option<ServiceInfo>, ReadError> {
        Ok(self.services(node)?.into_iter().find(|s| s.spec.name == service))
    }

    /// One node, as in [`History::nodes`].
    fn node(&self, name: &str) -> Option<NodeInfo> {
        self.nodes().into_iter().find(|n| n.name == name)
    }

    /// Every field that a service has or had, those that it has now first.
    fn fields(&self, node: &str, service: &str) -> Result<Vec<FieldSpec>, ReadError>;

    /// The exact samples of one field, one that is gone too, with `from_ms <= time < to_ms`.
    fn samples(
        &self,
        node: &str,
        service: &str,
        field: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Samples, ReadError>;

    /// The fields of a service (all where `fields` is empty) by steps of
    /// `step_ms` from `from_ms` to `to_ms`. At most 100,000 buckets a field.
    fn rollup(
        &self,
        node: &str,
        service: &str,
        fields: &[&str],
        from_ms: TimeMs,
        to_ms: TimeMs,
        step_ms: i64,
    ) -> Result<Rollup, ReadError>;

    /// The services that hold averages of this one, and the period of each, ms: the
    /// finest first. None where it has samples only.
    fn averages(&self, node: &str, service: &str) -> Vec<(String, i64)> {
        let _ = (node, service);
        Vec::new()
    }

    /// All services of a node, each as [`History::rollup`]: read at once, which
    /// costs a fraction of one after the other.
    fn rollups(
        &self,
        node: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
        step_ms: i64,
    ) -> Result<Vec<Rollup>, ReadError> {
        let mut out = Vec::new();
        for (spec, _) in self.specs(node)? {
            out.push(self.rollup(node, &spec.name, &[], from_ms, to_ms, step_ms)?);
        }
        Ok(out)
    }

    /// A number that changes whenever new samples of the node arrived: for
    /// caches.
    fn version(&self, node: &str) -> u64;
}

/// A service's state as the alert machine sees it.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ServiceState {
    /// OK, WARNING, CRITICAL, UNKNOWN.
    pub state: State,
    /// Hard: seen often enough to be told.
    pub hard: bool,
    /// The latest hard state: what Nagios is told while `state` is soft.
    pub hard_state: State,
    /// Since when it is in this state; 0: from the start.
    pub since_ms: TimeMs,
    /// `user is 93.10 (outside ~:80)`; empty when OK.
    pub text: String,
    /// Who is on it.
    pub acknowledged: Option<Acknowledgement>,
    /// The downtime that it is in.
    pub downtime: Option<Downtime>,
}

impl ServiceState {
    /// Whether somebody is on it, or it is meant to be so.
    pub fn is_handled(&self) -> bool {
        self.acknowledged.is_some() || self.downtime.is_some()
    }
}

/// Something that is wrong now.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Problem {
    /// The node.
    pub node: String,
    /// The service; `None`: the node itself is DOWN.
    pub service: Option<String>,
    /// The node's state.
    pub host_state: HostState,
    /// The service's state, and since when.
    #[serde(flatten)]
    pub state: ServiceState,
    /// The incident that it belongs to, if one was opened.
    pub incident: Option<String>,
}

/// A way of telling that fails.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Trouble {
    /// Which: `contact ops mail`, `passive nagios1`.
    pub what: String,
    /// Since when, on the collector's clock, ms.
    pub since_ms: TimeMs,
    /// What was said last.
    pub error: String,
}

/// What a reader can ask of the alert machine.
pub trait States: Send + Sync {
    /// UP or DOWN, and since when.
    fn host_state(&self, node: &str) -> (HostState, TimeMs);
    /// The state of one service; OK when nothing is known.
    fn service_state(&self, node: &str, service: &str) -> ServiceState;
    /// The state of one field.
    fn field_state(&self, node: &str, service: &str, field: &str) -> State;
    /// The warning and critical range that hold for a field now, in Nagios'
    /// grammar, wherever they come from.
    fn field_limits(
        &self,
        node: &str,
        service: &str,
        field: &str,
    ) -> (Option<String>, Option<String>);
    /// All that is not OK or UP: what nobody handles yet first, then worst first,
    /// then newest first.
    fn problems(&self) -> Vec<Problem>;
    /// On what a node (without `service`) or a service depends: it is held back while
    /// all of one of these lists are in a hard problem. `NODE` or `NODE/SERVICE`.
    fn depends_on(&self, node: &str, group: &str, service: Option<&str>) -> Vec<Vec<String>>;
    /// The downtimes that are, or are to come.
    fn downtimes(&self) -> Vec<Downtime>;
    /// The ways of telling that fail now, by name.
    fn troubles(&self) -> Vec<Trouble>;
}
