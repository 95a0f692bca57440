//! When things last came: told of after a start by whoever has the history, and moved
//! along when the collector's clock is set.

use super::{Machine, NEVER};
use rookery_plugins::TimeMs;

impl Machine {
    /// Notes when a field came last, UTC, ms, as the history has it: after a start, so
    /// that silence is counted across it. `gap_ms` is the longest time between two of
    /// its latest values, 0 where that is not known.
    pub fn seen(
        &mut self,
        node: &str,
        service: &str,
        field: &str,
        (time_ms, gap_ms): (TimeMs, i64),
    ) {
        let Some(node) = self.by_name.get(node) else { return };
        let Some(idx) = self.nodes[*node as usize].services.get(service) else { return };
        for f in &self.services[*idx as usize].fields {
            let of = &mut self.fields[*f as usize];
            if of.name == field {
                of.arrived_ms = of.arrived_ms.max(time_ms);
                of.gap_ms = of.gap_ms.max(gap_ms);
            }
        }
    }

    /// Notes when something of a node came last, UTC, ms.
    pub fn seen_node(&mut self, node: &str, time_ms: TimeMs) {
        if let Some(idx) = self.by_name.get(node) {
            let node = &mut self.nodes[*idx as usize];
            node.last_seen_ms = node.last_seen_ms.max(time_ms);
        }
    }

    /// Fields with limits of which it is not known when they came last, or that lag behind
    /// their node and whose rhythm is not known: node, service and field.
    pub fn unseen(&self) -> Vec<(String, String, String)> {
        let fields = self.fields.iter().filter(|f| {
            let s = &self.services[f.service as usize];
            let is_expected = s.step_ms > 0 || f.absent_ms.is_some();
            let lag = self.nodes[s.node as usize].last_seen_ms.saturating_sub(f.arrived_ms);
            let lags = f.gap_ms == 0 && s.step_ms > 0 && lag > s.step_ms.saturating_mul(2);
            let is_wanted = f.arrived_ms == NEVER || lags;
            f.active && is_expected && is_wanted && f.formula.is_none() && !s.gone
        });
        let name = |f: &super::Field| {
            let s = &self.services[f.service as usize];
            let node = &self.nodes[s.node as usize].name;
            (node.clone(), s.name.clone(), f.name.clone())
        };
        fields.map(name).collect()
    }

    /// The collector's clock was set by so much, ms (not: it slept). What is counted on
    /// it goes on as if it had been right before.
    pub fn step_clock(&mut self, by_ms: i64) {
        let moved = |at: &mut TimeMs| {
            if *at != NEVER {
                *at = at.saturating_add(by_ms);
            }
        };
        moved(&mut self.last_tick_ms);
        self.started_ms.iter_mut().for_each(moved);
        for node in &mut self.nodes {
            moved(&mut node.last_seen_ms);
            moved(&mut node.recovered_ms);
            moved(&mut node.replayed_ms);
            node.slots.iter_mut().for_each(|slot| moved(&mut slot.last_now_ms));
        }
        self.services.iter_mut().for_each(|s| moved(&mut s.recovered_ms));
        self.fields.iter_mut().for_each(|f| moved(&mut f.arrived_ms));
        self.waiting.values_mut().for_each(moved);
        for thread in self.threads.values_mut() {
            moved(&mut thread.opened_ms);
            moved(&mut thread.incident.told_ms);
        }
        self.pools.values_mut().for_each(|pool| pool.step_clock(by_ms));
    }
}
