//! What `munin.conf` borrows and adds up is judged, too: sums, stacks and loans with
//! limits, their own or a rule's.
//!
//! They have no rows of their own: once in the interval of their `[[munin]]` they are read
//! as graphs read them, and the machine is told as of a row. What is judged is the mean of
//! the latest interval; a sum without any known part is unknown.

use super::Alerts;
use crate::borrow::Borrowed;
use crate::catalog::NodeEntry;
use crate::history::{History, Rollup};
use crate::store::{Shared, now_ms};
use rookery_alerts::RecordState;
use rookery_plugins::{FieldKey, FieldType, Layout, ServiceSpec, Value, names};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::task::JoinSet;

/// So many intervals are read: the latest, and those from which a late part counts.
const INTERVALS: i64 = 3;

/// Forgets states of nodes and services that there are no more, such as aggregates that
/// munin.conf has no longer.
pub fn forget_strangers(alerts: &Alerts, nodes: &[Arc<NodeEntry>], borrowed: &[Borrowed]) {
    let services_of = |n: &Arc<NodeEntry>| {
        n.services().into_iter().map(|s| s.spec.name.clone()).collect::<BTreeSet<_>>()
    };
    let mut known: BTreeMap<&str, BTreeSet<String>> =
        nodes.iter().map(|n| (n.name.as_str(), services_of(n))).collect();
    for one in borrowed {
        known.entry(&one.node).or_default().insert(one.spec.name.clone());
    }
    let forgotten = alerts.tell(|machine, out| {
        for record in machine.records().into_values() {
            match record.state {
                RecordState::Host { node, .. } if !known.contains_key(node.as_str()) => {
                    machine.forget_node(&node, out);
                }
                RecordState::Service { node, service, .. }
                    if known.get(node.as_str()).is_some_and(|all| !all.contains(&service)) =>
                {
                    machine.forget_service(&node, &service, out);
                }
                _ => {}
            }
        }
        Ok(())
    });
    // Nobody needs to wait until it is written down.
    drop(forgotten);
}

/// Runs until it is dropped.
pub async fn run(
    alerts: Alerts,
    shared: Arc<Shared>,
    history: Arc<dyn History>,
    borrowed: Vec<Borrowed>,
) {
    let mut by_interval: BTreeMap<u64, Vec<Borrowed>> = BTreeMap::new();
    for one in borrowed.into_iter().filter(|b| b.every_ms > 0) {
        by_interval.entry(one.every_ms).or_default().push(one);
    }
    let mut tasks = JoinSet::new();
    for (every_ms, all) in by_interval {
        let (alerts, history, all) = (alerts.clone(), history.clone(), Arc::new(all));
        let shared = shared.clone();
        tasks.spawn(async move {
            let mut cycle = tokio::time::interval(Duration::from_millis(every_ms));
            cycle.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                cycle.tick().await;
                let (alerts, history, all) = (alerts.clone(), history.clone(), all.clone());
                let shared = shared.clone();
                let judged = tokio::task::spawn_blocking(move || {
                    let every_ms = i64::try_from(every_ms).unwrap_or(i64::MAX / 8);
                    let is_silent = |one: &&Borrowed| is_silent(&shared, &one.node, every_ms);
                    let heard = all.iter().filter(|one| !is_silent(one));
                    heard.for_each(|one| judge(&alerts, history.as_ref(), one, every_ms));
                });
                if let Err(e) = judged.await {
                    tracing::error!("BUG: aggregates were not judged: {e}");
                }
            }
        });
    }
    while tasks.join_next().await.is_some() {}
}

/// Whether a node that reports has not done so of late: its silence is not to be broken by
/// what others lend it. One that is there for aggregates alone is never silent.
fn is_silent(shared: &Shared, node: &str, every_ms: i64) -> bool {
    let Some(node) = shared.nodes.get(node) else { return false };
    let last_ms = node.last_seen_ms.load(Ordering::Relaxed);
    now_ms().saturating_sub(last_ms) > every_ms.saturating_mul(INTERVALS)
}

/// The service with its borrowed fields as they are judged: levels and rates by now.
fn judged_spec(history: &dyn History, one: &Borrowed) -> ServiceSpec {
    let own = history.spec(&one.node, &one.spec.name);
    let mut spec = own.map_or_else(|| one.spec.clone(), |own| (*own).clone());
    for loan in &one.loans {
        let Some(field) = one.spec.field(&loan.name) else { continue };
        let mut field = field.clone();
        field.kind = FieldType::Gauge;
        match spec.fields.iter_mut().find(|f| f.name == loan.name) {
            Some(known) => *known = field,
            None => spec.fields.push(field),
        }
    }
    // Nobody waits for its rows: what it is made of may come at any pace.
    spec.step_ms = 0;
    spec
}

/// One service, now.
fn judge(alerts: &Alerts, history: &dyn History, one: &Borrowed, every_ms: i64) {
    let now = now_ms();
    let spec = judged_spec(history, one);
    let mut fields: Vec<&str> = one.loans.iter().map(|l| l.name.as_str()).collect();
    fields.sort_unstable();
    fields.dedup();
    let layout = Layout::new(fields.iter().map(|f| FieldKey::new(&spec.name, f)).collect());
    let find = |name: &str| (name == spec.name).then_some(&spec);
    let group = names::split_node(&one.node).0;
    let is_judged = alerts.live().machine.plan(&one.node, group, &find, &layout);
    if is_judged.is_empty() {
        return;
    }
    let from = now.saturating_sub(every_ms.saturating_mul(INTERVALS));
    let read = history.rollup(&one.node, &one.spec.name, &fields, from, now, every_ms);
    let rollup = match read {
        Ok(rollup) => rollup,
        Err(e) => return tracing::warn!("{}: {}: not judged: {e}", one.node, one.spec.name),
    };
    let values: Vec<Value> = fields.iter().map(|f| latest(&rollup, f)).collect();
    let kinds: Vec<u8> = values.iter().map(|v| v.kind() as u8).collect();
    let bits: Vec<u64> = values.iter().map(|v| v.bits()).collect();
    let told = alerts.tell(|machine, out| {
        // Anew: what is said of the node may have changed.
        let plan = machine.plan(&one.node, group, &find, &layout);
        machine.observe(&plan, now, &kinds, &bits, now, out);
        Ok(())
    });
    drop(told);
}

/// The mean of the latest interval in which something is known, at most the one before
/// the last.
fn latest(rollup: &Rollup, field: &str) -> Value {
    let field = rollup.fields.iter().find(|f| f.spec.name == field);
    let buckets = field.map(|f| f.buckets.as_slice()).unwrap_or_default();
    let known = buckets.iter().rev().take(2).find_map(|b| b.mean());
    known.filter(|v| !v.is_nan()).map_or(Value::Unknown, Value::Float)
}
