//! Freshness: services of which nothing comes any more, while their node reports.
//!
//! A plugin that hangs or fails says nothing, so its service would stay as it was for
//! ever. As Munin's master has it, what is older than ten minutes is unknown.

use super::{Machine, NEVER};
use crate::output::Output;
use rookery_plugins::{HostState, State, TimeMs};

/// So much of all services is looked at each tick, that is each second.
const PART: usize = 10;
/// What comes so seldom has as many of its steps, if that is longer.
const STEPS: i64 = 3;

impl Machine {
    /// Finds services that are no longer fresh: UNKNOWN, and hard, since time itself has
    /// proved it.
    pub(super) fn judge_freshness(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        let n = self.services.len();
        if self.settings.fresh_after_ms == 0 || n == 0 {
            return;
        }
        for _ in 0..n.div_ceil(PART) {
            self.fresh_at = (self.fresh_at + 1) % n;
            let idx = self.fresh_at as u32;
            if !self.is_late(idx, now_ms) {
                continue;
            }
            let service = &mut self.services[idx as usize];
            service.is_late = true;
            let time_ms = service.last_ms.saturating_add(1);
            for f in &service.fields {
                let field = &mut self.fields[*f as usize];
                if field.active {
                    (field.state, field.value) = (State::Unknown, None);
                    field.unknowns = field.unknown_limit;
                }
            }
            self.judge_service(idx, time_ms, true, now_ms, out);
        }
    }

    /// Judges services that lost a field that was bad, by those that are left.
    pub(super) fn judge_resettled(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        for idx in std::mem::take(&mut self.resettled) {
            let service = &self.services[idx as usize];
            if !service.gone && service.last_ms != NEVER {
                self.judge_service(idx, service.last_ms.saturating_add(1), true, now_ms, out);
            }
        }
    }

    fn is_late(&self, idx: u32, now_ms: TimeMs) -> bool {
        let s = &self.services[idx as usize];
        let node = &self.nodes[s.node as usize];
        // Without a step nothing is expected; what has not come since the start may
        // never have.
        if s.gone || s.is_late || s.step_ms <= 0 || s.arrived_ms == NEVER {
            return false;
        }
        // Fast path: it is fresh.
        let limit = self.late_after(s.step_ms);
        if now_ms.saturating_sub(s.arrived_ms.max(node.recovered_ms)) <= limit {
            return false;
        }
        // A rule says itself how long nothing may come.
        let field = |f: &u32| &self.fields[*f as usize];
        if s.fields.iter().any(|f| field(f).absent_ms.is_some()) {
            return false;
        }
        // While an agent brings along what it measured before, all is old.
        let newest = node.slots.iter().map(|slot| slot.last_time_ms).max().unwrap_or(NEVER);
        let is_there = node.state == HostState::Up && !node.gone && !node.skewed;
        is_there
            && now_ms.saturating_sub(newest) < limit / 2
            && s.fields.iter().any(|f| field(f).active)
    }

    /// How old a service's newest row may be, ms.
    pub(super) fn late_after(&self, step_ms: i64) -> i64 {
        let least = i64::try_from(self.settings.fresh_after_ms).unwrap_or(i64::MAX);
        least.max(step_ms.saturating_mul(STEPS))
    }
}
