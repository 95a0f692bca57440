//! Which fields behave unlike their peers, or unlike their own past.
//!
//! Peers are the same field of the same service on the other nodes of a group;
//! the past is the same hours of former weeks. Both are compared by robust
//! scores: the distance from the median in units of the median deviation, so
//! that one bad disk does not hide itself by widening what is usual. It reads
//! means of whole hours (summaries), never samples, and at most [`FIELDS_MAX`]
//! fields.

use crate::app::App;
use crate::error::WebError;
use crate::graph::{Figures, figures};
use crate::pictures::mix::shown_fields;
use rookery_collector::history::{FieldRollup, NodeInfo, ReadError};
use rookery_collector::reading;
use rookery_plugins::ServiceSpec;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex, PoisonError};

/// Most fields that are looked at.
pub const FIELDS_MAX: usize = 300_000;
/// Most outliers that are told.
pub const OUTLIERS_MAX: usize = 200;
/// What is looked at, ms.
pub const SPAN_MS: i64 = 3 * HOUR_MS;
/// How many former weeks are the past.
const WEEKS: i64 = 4;
/// An answer is kept so long, ms.
const KEPT_MS: i64 = 60_000;
/// So old an answer is good enough to name a node on the fleet's page, ms; from
/// the second on it is worked out anew.
const KNOWN_MS: i64 = 1_800_000;
const RENEWED_MS: i64 = 300_000;
const HOUR_MS: i64 = 3_600_000;
const WEEK_MS: i64 = 7 * 24 * HOUR_MS;

/// Fewer values than this have no middle.
const PEERS_MIN: usize = 4;
const WEEKS_MIN: usize = 2;
/// From this score on it is told.
const SCORE_MIN: f64 = 6.0;
/// What counts as one deviation at least: parts of the median, and of the largest
/// median among the service's fields.
const PART_OF_MEDIAN: f64 = 0.05;
const PART_OF_PAST: f64 = 0.15;
const PART_OF_SERVICE: f64 = 0.01;
/// A score beyond this says nothing more.
const SCORE_MAX: f64 = 1000.0;

/// What a field was compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum With {
    /// The same field on other nodes.
    Peers,
    /// The same hours of former weeks.
    Past,
}

/// One thing that is unusual about a field.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Reason {
    /// Compared with what.
    pub with: With,
    /// Of how many nodes or weeks.
    pub n: usize,
    /// Where those lie.
    pub low: f64,
    /// Where those lie.
    pub high: f64,
    /// How far from their median, in deviations; at most 1000.
    pub score: f64,
}

/// A field that is unusual.
#[derive(Clone, Debug, Serialize)]
pub struct Outlier {
    /// The node.
    pub node: String,
    /// The node's group.
    pub group: String,
    /// The service.
    pub service: String,
    /// The field.
    pub field: String,
    /// Its mean of the last hours.
    pub value: f64,
    /// Why, the strongest first.
    pub reasons: Vec<Reason>,
    /// The service's title, unit and scale.
    #[serde(skip)]
    pub spec: Arc<ServiceSpec>,
}

impl Outlier {
    fn score(&self) -> f64 {
        self.reasons.first().map_or(0.0, |r| r.score)
    }
}

/// The answer.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Found {
    /// The most unusual first.
    pub outliers: Vec<Outlier>,
    /// How many there are, told or not.
    pub total: usize,
    /// How many fields were looked at.
    pub n_fields: usize,
    /// Whether there are more fields than are looked at.
    pub is_cut: bool,
    /// From when on, ms.
    pub from_ms: i64,
    /// Until when, ms.
    pub to_ms: i64,
}

/// The newest answer, and whose turn it is to work out the next.
#[derive(Default)]
pub struct Kept {
    newest: Mutex<Option<(i64, Arc<Found>)>>,
    turn: Mutex<()>,
    /// Who asks waits here, so that one thread alone is taken.
    gate: tokio::sync::Mutex<()>,
}

impl Kept {
    /// The newest answer, if it is no older than this, ms.
    fn newest(&self, now_ms: i64, age_ms: i64) -> Option<Arc<Found>> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        let (at, found) = newest.as_ref()?;
        (0..age_ms).contains(&(now_ms - at)).then(|| found.clone())
    }
}

impl App {
    /// What is unusual now; an answer may be a minute old.
    pub fn outliers(&self, now_ms: i64) -> Result<Arc<Found>, WebError> {
        if let Some(found) = self.outliers.newest(now_ms, KEPT_MS) {
            return Ok(found);
        }
        // Who comes meanwhile waits for the same answer.
        let turn = self.outliers.turn.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(found) = self.outliers.newest(now_ms, KEPT_MS) {
            return Ok(found);
        }
        let found = Arc::new(self.find_outliers(now_ms)?);
        let mut newest = self.outliers.newest.lock().unwrap_or_else(PoisonError::into_inner);
        *newest = Some((now_ms, found.clone()));
        drop(turn);
        Ok(found)
    }

    /// To be held around a [`Self::blocking`] that asks for [`Self::outliers`]: who comes
    /// meanwhile waits without a thread.
    pub(crate) async fn outliers_gate(&self) -> tokio::sync::MutexGuard<'_, ()> {
        self.outliers.gate.lock().await
    }

    /// What was unusual a moment ago; where that is not known or was long ago, the
    /// next is worked out meanwhile, and nobody waits for it.
    pub(crate) fn known_outliers(&self, now_ms: i64) -> Option<Arc<Found>> {
        let known = self.outliers.newest(now_ms, KNOWN_MS);
        let is_old = self.outliers.newest(now_ms, RENEWED_MS).is_none();
        if is_old && self.outliers.turn.try_lock().is_ok() {
            let app = self.clone();
            tokio::spawn(async move {
                let _gate = app.outliers_gate().await;
                if let Err(e) = app.blocking(move |app| app.outliers(now_ms)).await {
                    tracing::warn!("outliers for the fleet's page: {}", e.text);
                }
            });
        }
        known
    }

    fn find_outliers(&self, now_ms: i64) -> Result<Found, WebError> {
        // Whole hours, as the summaries are; the hour that runs counts with what it has.
        let to_ms = (now_ms.div_euclid(HOUR_MS) + 1) * HOUR_MS;
        let from_ms = to_ms - SPAN_MS;
        let mut found = Found { from_ms, to_ms, ..Found::default() };
        let mut members: Vec<Member> = Vec::new();
        let mut groups: BTreeMap<(String, String), Vec<Has>> = BTreeMap::new();
        for node in self.history.nodes() {
            // A node that has just been forgotten has none.
            let specs = self.history.specs(&node.name).unwrap_or_default();
            let of = specs.into_iter().filter(|(spec, active)| *active && !spec.hidden);
            let of: Vec<Arc<ServiceSpec>> = of.map(|(spec, _)| spec).collect();
            let n: usize = of.iter().map(|spec| spec.fields.len()).sum();
            if found.n_fields + n > FIELDS_MAX {
                found.is_cut = true;
                continue;
            }
            found.n_fields += n;
            for spec in of {
                let key = (node.group.clone(), spec.name.clone());
                groups.entry(key).or_default().push((members.len(), spec));
            }
            members.push(self.member(node, (from_ms, to_ms))?);
        }
        for ((_, service), of) in &groups {
            group_outliers(&members, service, of, &mut found);
        }
        found.outliers.sort_by(|a, b| b.score().total_cmp(&a.score()));
        found.total = found.outliers.len();
        found.outliers.truncate(OUTLIERS_MAX);
        Ok(found)
    }

    /// A node's means of the span, and of the same span in former weeks.
    fn member(&self, node: NodeInfo, (from, to): (i64, i64)) -> Result<Member, WebError> {
        let known_ms = node.first_seen_ms.map_or(0, |t| from.saturating_sub(t));
        let now = self.means(&node.name, (from, to))?;
        let mut past = Vec::new();
        for week in 1..=WEEKS.min(known_ms / WEEK_MS) {
            past.push(self.means(&node.name, (from - week * WEEK_MS, to - week * WEEK_MS))?);
        }
        Ok(Member { node, now, past })
    }

    /// Each field's mean over a span of whole hours, by service; those without are
    /// left out.
    fn means(&self, node: &str, span: (i64, i64)) -> Result<Services, WebError> {
        // Of each node's rollups only the means stay.
        let _one = reading::part();
        let read = match self.history.rollups(node, span.0, span.1, HOUR_MS) {
            Ok(read) => read,
            Err(ReadError::NotFound(_)) => return Ok(Services::new()),
            Err(e) => return Err(e.into()),
        };
        let mut out = Services::new();
        for rollup in read {
            let figures = figures(&rollup);
            let mean = |(f, figures): (FieldRollup, Figures)| {
                Some((f.spec.name, figures.avg.filter(|v| v.is_finite())?))
            };
            let means = rollup.fields.into_iter().zip(figures).filter_map(mean).collect();
            out.insert(rollup.spec.name.clone(), means);
        }
        Ok(out)
    }
}

/// A node's means, now and in former weeks.
struct Member {
    node: NodeInfo,
    now: Services,
    past: Vec<Services>,
}

impl Member {
    fn mean(&self, service: &str, field: &str) -> Option<f64> {
        self.now.get(service)?.get(field).copied()
    }
}

/// Which member has a service, and what it is there.
type Has = (usize, Arc<ServiceSpec>);
/// By name.
type Services = HashMap<String, Means>;
type Means = HashMap<String, f64>;

/// One service on all nodes of a group.
fn group_outliers(members: &[Member], service: &str, of: &[Has], found: &mut Found) {
    let mut names: Vec<&str> = of.iter().flat_map(|(_, s)| shown(s)).collect();
    names.sort_unstable();
    names.dedup();
    // Which of them have the field, and its mean.
    let having = |name: &str| {
        let mean =
            |(at, (i, _)): (usize, &(usize, _))| Some((at, members[*i].mean(service, name)?));
        of.iter().enumerate().filter_map(mean).collect::<Vec<(usize, f64)>>()
    };
    let all: Vec<Vec<(usize, f64)>> = names.iter().map(|name| having(name)).collect();
    let values = |of: &[(usize, f64)]| of.iter().map(|(_, v)| *v).collect::<Vec<f64>>();
    let scale = all.iter().map(|of| median(&mut values(of)).abs()).fold(0.0, f64::max);
    let mut reasons: BTreeMap<(usize, &str), Vec<Reason>> = BTreeMap::new();
    for (name, having) in names.iter().zip(&all) {
        for (i, reason) in peers(&values(having), scale) {
            reasons.entry((having[i].0, *name)).or_default().push(reason);
        }
        for (at, value) in having {
            let past = members[of[*at].0].past.iter();
            let before: Vec<f64> =
                past.filter_map(|p| p.get(service)?.get(*name).copied()).collect();
            if let Some(reason) = unlike_past(*value, &before, scale) {
                reasons.entry((*at, *name)).or_default().push(reason);
            }
        }
    }
    for ((at, field), mut reasons) in reasons {
        let (i, spec) = &of[at];
        let member = &members[*i];
        reasons.sort_by(|a, b| b.score.total_cmp(&a.score));
        found.outliers.push(Outlier {
            node: member.node.name.clone(),
            group: member.node.group.clone(),
            service: service.to_owned(),
            field: field.to_owned(),
            value: member.mean(service, field).unwrap_or_default(),
            reasons,
            spec: spec.clone(),
        });
    }
}

/// The fields that a graph of the service has.
fn shown(spec: &ServiceSpec) -> impl Iterator<Item = &str> {
    shown_fields(spec).map(|f| f.name.as_str())
}

fn median(values: &mut [f64]) -> f64 {
    let n = values.len();
    if n == 0 {
        return 0.0;
    }
    values.sort_unstable_by(f64::total_cmp);
    (values[(n - 1) / 2] + values[n / 2]) / 2.0
}

/// The median, and how far values usually are from it.
fn middle(values: &[f64]) -> (f64, f64) {
    let middle = median(&mut values.to_vec());
    let mut far: Vec<f64> = values.iter().map(|v| (v - middle).abs()).collect();
    // Of values that are normally distributed this is the standard deviation.
    (middle, 1.4826 * median(&mut far))
}

fn score(value: f64, middle: f64, deviation: f64) -> f64 {
    let far = (value - middle).abs();
    if far == 0.0 {
        return 0.0;
    }
    // Where all others are zero and nothing gives a scale, it is just an outlier.
    let score = if deviation > 0.0 { far / deviation } else { SCORE_MIN };
    score.min(SCORE_MAX)
}

/// Those that are unlike the others, by index.
fn peers(values: &[f64], scale: f64) -> Vec<(usize, Reason)> {
    if values.len() < PEERS_MIN {
        return Vec::new();
    }
    let (middle, deviation) = middle(values);
    let deviation = deviation.max(middle.abs() * PART_OF_MEDIAN).max(scale * PART_OF_SERVICE);
    let scores: Vec<f64> = values.iter().map(|v| score(*v, middle, deviation)).collect();
    let usual = || values.iter().zip(&scores).filter(|(_, s)| **s < SCORE_MIN).map(|(v, _)| *v);
    let (low, high) = (usual().fold(f64::INFINITY, f64::min), usual().fold(f64::MIN, f64::max));
    let n = usual().count();
    // Where half of them differ from the other half, nobody is usual.
    if n * 2 <= values.len() {
        return Vec::new();
    }
    let odd = scores.iter().enumerate().filter(|(_, s)| **s >= SCORE_MIN);
    odd.map(|(i, s)| (i, Reason { with: With::Peers, n, low, high, score: *s })).collect()
}

/// Whether a value is unlike those of the same hours before.
fn unlike_past(value: f64, before: &[f64], scale: f64) -> Option<Reason> {
    if before.len() < WEEKS_MIN {
        return None;
    }
    let (low, high) =
        before.iter().fold((f64::INFINITY, f64::MIN), |(a, b), v| (a.min(*v), b.max(*v)));
    let middle = median(&mut before.to_vec());
    // So few have no deviation of their own: their range is one.
    let deviation = (high - low).max(middle.abs() * PART_OF_PAST).max(scale * PART_OF_SERVICE);
    let score = score(value, middle, deviation);
    let n = before.len();
    (score >= SCORE_MIN).then_some(Reason { with: With::Past, n, low, high, score })
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_bad_disk_is_found_and_does_not_hide_itself() {
        let mut values = vec![2.0, 3.0, 5.0, 4.0, 3.5, 2.5, 41.0, 3.0, 4.5, 2.2, 3.1, 4.4];
        let found = peers(&values, 41.0);
        assert_eq!(found.len(), 1);
        let (i, reason) = &found[0];
        assert_eq!((*i, reason.n, reason.low, reason.high), (6, 11, 2.0, 5.0));
        values[6] = 5.5;
        assert!(peers(&values, 5.0).is_empty());
        assert!(peers(&[1.0, 1.0, 90.0], 1.0).is_empty(), "too few");
        assert!(peers(&[1.0, 1.0, 9.0, 9.0], 1.0).is_empty(), "two kinds of nodes");
    }

    #[test]
    fn what_is_small_beside_the_service_is_no_outlier() {
        let idle = [0.0, 0.0, 0.0, 0.0, 0.4];
        assert!(peers(&idle, 200.0).is_empty(), "0.4 of 200 %");
        assert_eq!(peers(&idle, 0.0).len(), 1, "the first errors of a service without any");
        assert!(peers(&[100.0, 100.0, 100.0, 101.0], 0.0).is_empty());
    }

    #[test]
    fn the_past_must_be_known_and_left_far() {
        assert_eq!(unlike_past(50.0, &[5.0], 0.0), None);
        let reason = unlike_past(50.0, &[5.0, 6.0, 4.0], 6.0).expect("an outlier");
        assert_eq!((reason.n, reason.low, reason.high), (3, 4.0, 6.0));
        assert_eq!(unlike_past(9.0, &[5.0, 6.0, 4.0], 6.0), None);
        assert_eq!(unlike_past(5.0, &[5.0, 5.0], 6.0), None);
    }

    proptest! {
        #[test]
        fn scores_are_numbers(values in prop::collection::vec(any::<f64>(), 0..20), scale: f64) {
            for (i, reason) in peers(&values, scale) {
                prop_assert!(i < values.len() && reason.score <= SCORE_MAX);
            }
            let _ = unlike_past(scale, &values, 0.0);
        }
    }
}
