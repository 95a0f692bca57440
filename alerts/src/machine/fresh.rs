//! Freshness: fields of which nothing comes any more, while their node reports.
//!
//! A plugin that hangs or fails says nothing, and one that drops a value says nothing of
//! that: the field would stay as it was forever. As Munin's master has it, what is older
//! than ten minutes is unknown. Silence is counted from the last arrival, whatever the
//! collector did meanwhile; only its first moments after a start prove nothing.

use super::{Machine, NEVER};
use crate::output::Output;
use rookery_plugins::{HostState, State, TimeMs};

/// So much of all services is looked at each tick, that is each second.
const PART: usize = 10;
/// What comes so rarely has as many of its steps, if that is longer.
const STEPS: i64 = 3;

impl Machine {
    /// Finds fields that are no longer fresh: UNKNOWN, and hard, since time itself has
    /// proved it.
    pub(super) fn judge_freshness(
        &mut self,
        started: TimeMs,
        now_ms: TimeMs,
        out: &mut Vec<Output>,
    ) {
        let n = self.services.len();
        if self.settings.fresh_after_ms == 0 || n == 0 {
            return;
        }
        for _ in 0..n.div_ceil(PART) {
            self.fresh_at = (self.fresh_at + 1) % n;
            let idx = self.fresh_at as u32;
            if !self.has_late(idx, started, now_ms) {
                continue;
            }
            let after = self.late_after(self.services[idx as usize].step_ms);
            let is_whole = self.is_silent(idx, now_ms.saturating_sub(after));
            let service = &mut self.services[idx as usize];
            let time_ms = match service.last_ms {
                NEVER => now_ms,
                last_ms => last_ms.saturating_add(1),
            };
            service.is_late = true;
            for f in &service.fields {
                let field = &mut self.fields[*f as usize];
                if field.may_be_late() && field.is_overdue(after, is_whole, now_ms) {
                    (field.state, field.value, field.is_late) = (State::Unknown, None, true);
                    field.unknowns = field.unknown_limit;
                }
                // Only all of them are the service.
                service.is_late &= !field.active || field.is_late;
            }
            self.judge_service(idx, time_ms, true, now_ms, out);
        }
    }

    /// Whether nothing at all of a service has come since then.
    fn is_silent(&self, idx: u32, since: TimeMs) -> bool {
        let field = |f: &u32| &self.fields[*f as usize];
        self.services[idx as usize].fields.iter().all(|f| field(f).arrived_ms < since)
    }

    /// Whether a field of it is late that is not known to be.
    fn has_late(&self, idx: u32, started: TimeMs, now_ms: TimeMs) -> bool {
        let s = &self.services[idx as usize];
        // Without a step nothing is expected.
        if s.gone || s.step_ms <= 0 {
            return false;
        }
        let node = &self.nodes[s.node as usize];
        let after = self.late_after(s.step_ms);
        let since = now_ms.saturating_sub(after);
        // Fast path: all is fresh, or may come yet since the start or its node's recovery.
        let chance = s.step_ms.saturating_add(s.step_ms / 2);
        if node.recovered_ms > since || now_ms.saturating_sub(started) <= chance {
            return false;
        }
        let field = |f: &u32| &self.fields[*f as usize];
        let may_be =
            |f: &u32| field(f).may_be_late() && !field(f).is_late && field(f).arrived_ms < since;
        if !s.fields.iter().any(may_be) {
            return false;
        }
        let is_whole = self.is_silent(idx, since);
        let is_late = |f: &u32| may_be(f) && field(f).is_overdue(after, is_whole, now_ms);
        if !s.fields.iter().any(is_late) {
            return false;
        }
        // While an agent brings along what it measured before, all is old.
        let newest = node.slots.iter().map(|slot| slot.last_time_ms).max().unwrap_or(NEVER);
        let is_there = node.state == HostState::Up && !node.gone && !node.skewed;
        is_there && now_ms.saturating_sub(newest) < after / 2
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

    /// How old a field's newest value may be, ms.
    pub(super) fn late_after(&self, step_ms: i64) -> i64 {
        let least = i64::try_from(self.settings.fresh_after_ms).unwrap_or(i64::MAX);
        least.max(step_ms.saturating_mul(STEPS))
    }
}

impl super::Field {
    /// Whether it is expected. What has not come as far as is known may never have; a
    /// rule may say itself how long nothing may come.
    fn may_be_late(&self) -> bool {
        self.active && self.arrived_ms != NEVER && self.absent_ms.is_none()
    }

    /// Whether it is older than it may be. One that comes more rarely than its siblings
    /// (a success that is reported by the hour) has its own rhythm; `is_whole`: nothing
    /// of its service comes any more.
    fn is_overdue(&self, after_ms: i64, is_whole: bool, now_ms: TimeMs) -> bool {
        let silent = now_ms.saturating_sub(self.arrived_ms);
        let own = self.gap_ms.saturating_mul(STEPS);
        silent > after_ms && (is_whole || self.gap_ms > 0 && silent > own)
    }
}
