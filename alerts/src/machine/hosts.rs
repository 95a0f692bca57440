//! Nodes: arrival, silence, and clocks that are off.

use super::{Machine, Member, NEVER, Node, Plan, Slot};
use crate::output::{Output, Status, Transition, TransitionKind};
use rookery_plugins::{HostState, TimeMs};

/// A pause between two ticks after which watching begins anew, ms: the
/// collector slept or its clock jumped, so that silence proves nothing.
pub const TICK_GAP_MS: i64 = 30_000;

/// A node has so many of its steps to be heard of after a start, before its silence
/// from before counts.
const CHANCE_STEPS: i64 = 2;

/// How many old rows in a row must come at the pace of their own times until
/// they count as the present by a clock that is behind. A replayed spool comes
/// faster than that.
pub const STEADY_ROWS: u32 = 3;

impl Machine {
    /// To be called about once a second: finds nodes that are silent. A node
    /// whose step is not known (plain JSON samples) is never silent.
    pub fn tick(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        let started = self.begin(now_ms);
        self.end_silence(now_ms, out);
        if now_ms.saturating_sub(started) >= ms(self.settings.start_grace_ms) {
            if !std::mem::replace(&mut self.is_awake, true) {
                self.look_again(now_ms, out);
            }
            for i in 0..self.nodes.len() {
                self.judge_silence(i, started, now_ms, out);
            }
            self.judge_absence(started, now_ms, out);
            self.judge_freshness(started, now_ms, out);
            self.judge_pools(now_ms, out);
        }
        self.compare_peers(now_ms);
        self.keep_memories(now_ms, out);
        self.judge_resettled(now_ms, out);
        self.end_calm(now_ms, out);
        self.tell_changed(now_ms, out);
        self.tell_waiting(now_ms, out);
        self.remind(now_ms, out);
    }

    fn judge_silence(&mut self, i: usize, started: TimeMs, now_ms: TimeMs, out: &mut Vec<Output>) {
        let node = &self.nodes[i];
        if node.gone {
            return;
        }
        let member = Member::Node(i as u32);
        if node.state == HostState::Up {
            let Some(limit) = self.silence_limit(node) else { return };
            // It must have had the chance to report since the start.
            let chance = limit.min(self.step_of(node).unwrap_or(0).saturating_mul(CHANCE_STEPS));
            let silent = now_ms.saturating_sub(node.silent_since(started));
            if silent > limit && now_ms.saturating_sub(started) > chance {
                self.down(i, now_ms, out);
            }
            return;
        }
        let is_told = node.incident.is_some();
        let since = node.since_ms;
        let is_behind = self.root_of(member).is_some();
        match self.nodes[i].state {
            HostState::Down if is_behind && !is_told => {
                let text = "what it depends on is in a hard problem";
                self.turn(i, HostState::Unreachable, since, now_ms, text, out);
            }
            HostState::Unreachable if !is_behind && !self.is_recovering(member, now_ms) => {
                let s = now_ms.saturating_sub(since) / 1000;
                let text = format!("no data for {s} s, and what it depends on is well");
                self.turn(i, HostState::Down, since, now_ms, &text, out);
            }
            _ => {}
        }
        if !is_told {
            self.wait_to_tell(member, now_ms, out);
        }
    }

    /// When watching began; now, if it begins now.
    pub(super) fn begin(&mut self, now_ms: TimeMs) -> TimeMs {
        if self.last_tick_ms != NEVER && now_ms < self.last_tick_ms {
            // Time does not go back: the clock was set.
            self.step_clock(now_ms.saturating_sub(self.last_tick_ms));
        }
        let gap = now_ms.saturating_sub(self.last_tick_ms);
        let broken = self.last_tick_ms != NEVER && !(0..=TICK_GAP_MS).contains(&gap);
        self.last_tick_ms = now_ms;
        match self.started_ms {
            Some(started) if !broken => started,
            _ => {
                self.started_ms = Some(now_ms);
                for node in &mut self.nodes {
                    node.last_seen_ms = node.last_seen_ms.min(now_ms);
                    for slot in &mut node.slots {
                        slot.last_now_ms = slot.last_now_ms.min(now_ms);
                    }
                }
                now_ms
            }
        }
    }

    /// How long a node may be silent, ms.
    fn silence_limit(&self, node: &Node) -> Option<i64> {
        Some(self.overdue_after(self.step_of(node)?))
    }

    pub(super) fn overdue_after(&self, step_ms: i64) -> i64 {
        step_ms
            .saturating_mul(i64::from(self.settings.down_after_steps))
            .max(ms(self.settings.down_after_ms))
    }

    fn down(&mut self, i: usize, now_ms: TimeMs, out: &mut Vec<Output>) {
        let started = self.started_ms.unwrap_or(now_ms);
        let member = Member::Node(i as u32);
        let since = self.nodes[i].silent_since(started);
        let s = now_ms.saturating_sub(since) / 1000;
        let (state, why) = match self.root_of(member) {
            None => (HostState::Down, String::new()),
            Some(root) => (HostState::Unreachable, format!("; it depends on {}", self.place(root))),
        };
        self.turn(i, state, since, now_ms, &format!("no data for {s} s{why}"), out);
        self.wait_to_tell(member, now_ms, out);
    }

    /// Changes a node's state: record and transition; when it is UP, the end of what
    /// people were told.
    fn turn(
        &mut self,
        i: usize,
        to: HostState,
        since: TimeMs,
        now: TimeMs,
        text: &str,
        out: &mut Vec<Output>,
    ) {
        let node = &mut self.nodes[i];
        let from = std::mem::replace(&mut node.state, to);
        node.since_ms = since;
        node.dirty = false;
        if to == HostState::Up {
            node.acknowledged = None;
            node.recovered_ms = now;
        }
        out.push(Output::StateChanged(self.host_record(i)));
        let kind = TransitionKind::State;
        out.push(Output::Transition(self.host_transition(i, kind, from, now, text)));
        if to == HostState::Up {
            let member = Member::Node(i as u32);
            self.waiting.remove(&member);
            if self.nodes[i].incident.is_some() {
                self.leave(member, now, text.to_owned(), out);
            }
        }
    }

    fn host_transition(
        &self,
        i: usize,
        kind: TransitionKind,
        from: HostState,
        time_ms: TimeMs,
        text: &str,
    ) -> Transition {
        let node = &self.nodes[i];
        Transition {
            kind,
            node: node.name.clone(),
            service: None,
            from: Status::Host(from),
            to: Status::Host(node.state),
            hard: true,
            attempt: 1,
            time_ms,
            stale: false,
            text: text.to_owned(),
        }
    }

    /// Notes that a row has come; whether it is of the present, `None` where
    /// it must not be judged at all.
    pub(super) fn arrived(
        &mut self,
        plan: &Plan,
        time_ms: TimeMs,
        now_ms: TimeMs,
        out: &mut Vec<Output>,
    ) -> Option<bool> {
        let (down_steps, down_ms) = (self.settings.down_after_steps, self.settings.down_after_ms);
        let i = plan.node as usize;
        let node = &mut self.nodes[i];
        if node.gone {
            return None;
        }
        node.last_seen_ms = node.last_seen_ms.max(now_ms);
        for slot in &mut node.slots {
            let limit = slot.step_ms.saturating_mul(i64::from(down_steps)).max(ms(down_ms));
            slot.retired |= now_ms.saturating_sub(slot.last_now_ms) > limit;
        }
        let slot = node.slots.get_mut(plan.slot as usize)?;
        let pace = slot.pace(time_ms, now_ms);
        if slot.retired {
            slot.retired = false;
            node.dirty = true;
        }
        let slot_step = slot.step_ms;
        if node.since_ms == NEVER {
            node.since_ms = now_ms;
        }
        if node.state != HostState::Up {
            let s = now_ms.saturating_sub(node.since_ms) / 1000;
            let text = format!("data again after {s} s of silence");
            self.turn(i, HostState::Up, now_ms, now_ms, &text, out);
        } else if node.dirty {
            node.dirty = false;
            out.push(Output::StateChanged(self.host_record(i)));
        }
        self.judge_clock(plan, slot_step, pace, time_ms, now_ms, out)
    }

    fn judge_clock(
        &mut self,
        plan: &Plan,
        step_ms: i64,
        pace: Pace,
        time_ms: TimeMs,
        now_ms: TimeMs,
        out: &mut Vec<Output>,
    ) -> Option<bool> {
        let ahead = time_ms.saturating_sub(now_ms);
        let stale_ms = step_ms
            .saturating_mul(i64::from(self.settings.stale_after_steps))
            .max(ms(self.settings.stale_after_ms));
        let future = ahead > ms(self.settings.future_ms);
        let old = ahead.saturating_neg() > stale_ms;
        let slot = &mut self.nodes[plan.node as usize].slots[plan.slot as usize];
        slot.steady = match (old, pace) {
            (true, Pace::OfItsTimes) => slot.steady.saturating_add(1),
            (true, Pace::Repeated) => slot.steady,
            _ => 0,
        };
        let behind = old && slot.steady >= STEADY_ROWS;
        // A replay is no skew, and says nothing of the clock either way.
        if future || behind || !old {
            self.set_skew(plan.node as usize, future || behind, ahead, time_ms, now_ms, out);
        }
        if old && !behind {
            self.nodes[plan.node as usize].replayed_ms = now_ms;
        }
        if future { None } else { Some(!old || behind) }
    }

    fn set_skew(
        &mut self,
        i: usize,
        skewed: bool,
        ahead_ms: i64,
        time_ms: TimeMs,
        now_ms: TimeMs,
        out: &mut Vec<Output>,
    ) {
        let node = &mut self.nodes[i];
        if node.skewed == skewed {
            return;
        }
        node.skewed = skewed;
        let state = node.state;
        let s = ahead_ms.unsigned_abs() / 1000;
        let (kind, at, text) = match (skewed, ahead_ms > 0) {
            (true, true) => (
                TransitionKind::ClockSkew,
                // The claimed time is the very thing that is wrong.
                now_ms,
                format!("its clock is {s} s ahead: samples are kept but not judged; set the clock"),
            ),
            (true, false) => (
                TransitionKind::ClockSkew,
                now_ms,
                format!("its clock is {s} s behind; set the clock"),
            ),
            (false, _) => (TransitionKind::ClockOk, time_ms, "its clock is right again".to_owned()),
        };
        out.push(Output::Transition(self.host_transition(i, kind, state, at, &text)));
    }
}

impl Node {
    /// Since when nothing has come of it; where that is not known, since the start.
    fn silent_since(&self, started: TimeMs) -> TimeMs {
        if self.last_seen_ms == NEVER { started } else { self.last_seen_ms }
    }
}

/// How a row came after the one before it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Pace {
    /// About as much later as its time is.
    OfItsTimes,
    /// Not newer than the one before.
    Repeated,
    /// Faster or slower: a replay, or the first.
    Other,
}

impl Slot {
    fn pace(&mut self, time_ms: TimeMs, now_ms: TimeMs) -> Pace {
        let time_gap = time_ms.saturating_sub(self.last_time_ms);
        let now_gap = now_ms.saturating_sub(self.last_now_ms);
        let first = self.last_time_ms == NEVER;
        self.last_now_ms = self.last_now_ms.max(now_ms);
        if !first && time_gap <= 0 {
            return Pace::Repeated;
        }
        self.last_time_ms = time_ms;
        let off = now_gap.saturating_sub(time_gap).saturating_abs();
        match !first && off <= time_gap / 2 {
            true => Pace::OfItsTimes,
            false => Pace::Other,
        }
    }
}

/// Milliseconds of a setting as a difference of times.
fn ms(setting: u64) -> i64 {
    i64::try_from(setting).unwrap_or(i64::MAX)
}
