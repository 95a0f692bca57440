//! From a row to states: fields, then services, then what is to be said.

use super::derived::Reading;
use super::flap::Flap;
use super::{Field, Machine, Member, NEVER, Plan, Service, Settings};
use crate::output::{Output, Status, Transition, TransitionKind};
use crate::rate;
use rookery_plugins::{FieldType, HostState, Kind, Range, State, TimeMs, Value};

/// A problem that began so many group windows ago is no short one.
const CALM_WINDOWS: i64 = 10;

/// With each value the longest gap before it counts less by this part.
const GAP_PART: i64 = 8;

impl Machine {
    /// Judges one row of `plan`'s layout. `kinds` and `bits` are the row's
    /// cells; `now_ms` is the collector's clock. What is to be said is
    /// appended to `out`.
    pub fn observe(
        &mut self,
        plan: &Plan,
        time_ms: TimeMs,
        kinds: &[u8],
        bits: &[u64],
        now_ms: TimeMs,
        out: &mut Vec<Output>,
    ) {
        if self.started_ms.is_none() {
            self.begin(now_ms);
        }
        let Some(live) = self.arrived(plan, time_ms, now_ms, out) else { return };
        let (mut columns, mut derived) = (plan.columns.as_slice(), plan.derived.as_slice());
        for (service, n) in &plan.services {
            let (mine, rest) = columns.split_at(*n as usize);
            columns = rest;
            // A service without any judged field is only here to become OK.
            let mut judged = mine.is_empty();
            let came_ms = if live { now_ms } else { time_ms.min(now_ms) };
            let mut has_come = false;
            for (column, field) in mine {
                let cell = (kinds.get(*column as usize), bits.get(*column as usize));
                let (Some(kind), Some(bits)) = cell else { continue };
                let Some(kind) = Kind::from_u8(*kind) else { continue };
                if let Some(value) = Value::from_bits(kind, *bits) {
                    has_come = true;
                    let field = &mut self.fields[*field as usize];
                    // One that needs its siblings has come when they have.
                    if !field.is_derived() {
                        field.came(came_ms);
                    }
                    judged |= field.judge(time_ms, value);
                }
            }
            if !derived.is_empty() {
                let n = derived.iter().take_while(|(s, _)| s == service).count();
                let (mine, rest) = derived.split_at(n);
                derived = rest;
                judged |= self.judge_derived(mine, time_ms, came_ms);
            }
            if has_come {
                self.services[*service as usize].is_late = false;
            }
            if !plan.formulas.is_empty() {
                judged |= self.judge_formulas(plan, *service, time_ms, (live, came_ms));
            }
            if judged {
                self.judge_service(*service, time_ms, live, now_ms, out);
            }
        }
        if self.settings.group_window_ms == 0 {
            self.tell_waiting(now_ms, out);
        }
    }

    pub(super) fn judge_service(
        &mut self,
        idx: u32,
        time_ms: TimeMs,
        live: bool,
        now_ms: TimeMs,
        out: &mut Vec<Output>,
    ) {
        let service = &self.services[idx as usize];
        let (mut state, mut bad) = (State::Ok, 0u64);
        for f in &service.fields {
            let field = &self.fields[*f as usize];
            if field.active && field.state != State::Ok {
                state = state.worst(field.state);
                let one = u64::from(*f) << 2 | u64::from(field.state as u8 & 3);
                bad = bad.wrapping_add(one.wrapping_mul(0x9e37_79b9_7f4a_7c15));
            }
        }
        let service = &mut self.services[idx as usize];
        if service.gone || time_ms < service.last_ms {
            return;
        }
        let before = service.mark();
        let from = service.state;
        let is_newer = time_ms > service.last_ms;
        let any =
            |is: fn(&Field) -> bool| service.fields.iter().any(|f| is(&self.fields[*f as usize]));
        let is_sure = match state {
            State::Unknown => any(|f| f.active && f.is_late),
            State::Critical => any(|f| f.is_absent),
            _ => false,
        };
        service.step(state, time_ms, is_sure);
        service.is_stale = !live;
        service.bad_fields = bad;
        if before.hard_state != State::Ok && service.hard_state == State::Ok {
            service.recovered_ms = now_ms;
        }
        service.settle_acknowledgement(from, time_ms);
        if is_newer {
            service.flaps(&self.settings, is_sure);
        }
        let is_over = live && service.is_over(&self.settings, time_ms);
        let news = if live { service.news(&self.settings) } else { None };
        if live && service.is_calming(&self.settings, time_ms) {
            self.calming.insert(idx);
        }
        if service.mark() != before {
            let (state, hard, hard_state) = (service.state, service.hard, service.hard_state);
            out.push(Output::StateChanged(self.service_record(idx)));
            if (before.state, before.hard) != (state, hard) || before.hard_state != hard_state {
                out.push(self.service_transition(idx, from, time_ms, !live));
            }
        }
        if is_over {
            self.leave(Member::Service(idx), time_ms, self.service_text(idx), out);
        }
        if let Some(news) = news {
            self.tell_news(idx, news, now_ms, out);
        }
    }

    fn service_transition(&self, idx: u32, from: State, time_ms: TimeMs, stale: bool) -> Output {
        let service = &self.services[idx as usize];
        Output::Transition(Transition {
            kind: TransitionKind::State,
            node: self.nodes[service.node as usize].name.clone(),
            service: Some(service.name.clone()),
            from: Status::Service(from),
            to: Status::Service(service.state),
            hard: service.hard,
            attempt: service.attempt,
            time_ms,
            stale,
            text: self.service_text(idx),
        })
    }

    /// Tells of ends that were held until they are sure, also where nothing more comes.
    pub(super) fn end_calm(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        for idx in std::mem::take(&mut self.calming) {
            let s = &self.services[idx as usize];
            let is_up = self.nodes[s.node as usize].state == HostState::Up;
            if s.gone || s.state != State::Ok || s.notified.is_none() {
                continue;
            }
            if !is_up || s.flap.active || now_ms < s.calm_ms(&self.settings) {
                self.calming.insert(idx);
                continue;
            }
            self.leave(Member::Service(idx), now_ms, self.service_text(idx), out);
        }
    }
}

/// What a change of makes a record due.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    state: State,
    hard: bool,
    hard_state: State,
    attempt: u32,
    acknowledged: bool,
    is_owed: bool,
    flapping: (bool, bool),
    is_stale: bool,
    bad_fields: u64,
}

impl Service {
    fn mark(&self) -> Mark {
        let Service { state, hard, hard_state, attempt, is_owed, .. } = *self;
        Mark {
            state,
            hard,
            hard_state,
            attempt,
            acknowledged: self.acknowledged.is_some(),
            is_owed,
            flapping: (self.flap.active, self.flap_told),
            is_stale: self.is_stale && state != State::Ok,
            bad_fields: self.bad_fields,
        }
    }

    /// Takes an acknowledgement off that does not hold any more. What changed under it
    /// was notified to nobody: it is now, to all.
    fn settle_acknowledgement(&mut self, before: State, time_ms: TimeMs) {
        let (state, changed) = (self.state, self.state != before);
        let ended = self
            .acknowledged
            .take_if(|ack| state == State::Ok || changed && !ack.sticky || ack.is_over(time_ms));
        if ended.is_some() {
            self.owe_change();
        }
    }

    /// One evaluation, as Nagios counts: soft until seen `attempts_max` times
    /// in a row, whichever state it is that is not OK; at once, where time itself has
    /// proved it.
    fn step(&mut self, state: State, time_ms: TimeMs, is_sure: bool) {
        let first = self.since_ms == NEVER;
        if state != self.state || first {
            self.since_ms = time_ms;
        }
        if state == State::Ok {
            (self.hard, self.hard_state, self.attempt) = (true, State::Ok, 1);
        } else {
            if self.state == State::Ok {
                (self.attempt, self.problem_ms) = (1, time_ms);
            } else if time_ms > self.last_ms {
                // Several rows of one time are one evaluation.
                self.attempt = self.attempt.saturating_add(1);
            }
            self.attempt = if is_sure { u32::MAX } else { self.attempt }.min(self.attempts_max);
            self.hard = self.attempt >= self.attempts_max;
            if self.hard {
                self.hard_state = state;
            }
        }
        self.state = state;
        self.last_ms = time_ms;
    }

    /// Takes the state in that was just seen. A soft one is notified to nobody, and
    /// counts for nothing. What time itself has proved (`is_sure`) is steady.
    fn flaps(&mut self, settings: &Settings, is_sure: bool) {
        if self.state != State::Ok && !self.hard {
            return;
        }
        let changed = self.seen.replace(self.state).is_some_and(|seen| seen != self.state);
        self.flap.push(changed, settings.flap_high, settings.flap_low);
        if is_sure && self.flap.active {
            self.flap = Flap::default();
        }
    }

    /// From when on its end is told, on the samples' time. A short problem is soon back,
    /// and each time a new one would be two messages: so when it has been well for twice
    /// as long as it was bad, or [`CALM_WINDOWS`] after that began.
    pub(super) fn calm_ms(&self, settings: &Settings) -> TimeMs {
        let window = i64::try_from(settings.group_window_ms).unwrap_or(i64::MAX);
        let lasted = self.since_ms.saturating_sub(self.problem_ms);
        let held = lasted.saturating_mul(3).min(window.saturating_mul(CALM_WINDOWS));
        self.problem_ms.saturating_add(held)
    }

    /// Whether it is well, which is told later.
    fn is_calming(&self, settings: &Settings, time_ms: TimeMs) -> bool {
        let is_known_bad = self.state == State::Ok && self.notified.is_some();
        is_known_bad && !self.flap.active && time_ms < self.calm_ms(settings)
    }

    /// Whether its end is to be notified now.
    fn is_over(&self, settings: &Settings, time_ms: TimeMs) -> bool {
        let is_known_bad = self.state == State::Ok && self.notified.is_some();
        is_known_bad && !self.flap.active && time_ms >= self.calm_ms(settings)
    }
}

impl Field {
    /// Notes that a value has come, on the collector's clock.
    pub(super) fn came(&mut self, came_ms: TimeMs) {
        if self.arrived_ms != NEVER {
            let gap = came_ms.saturating_sub(self.arrived_ms);
            // A long one is forgotten after some more.
            self.gap_ms = gap.max(self.gap_ms - self.gap_ms / GAP_PART);
        }
        self.arrived_ms = self.arrived_ms.max(came_ms);
        self.is_late = false;
    }

    /// Judges a sample; whether it said anything. One that is not newer than
    /// the newest is history only.
    fn judge(&mut self, time_ms: TimeMs, value: Value) -> bool {
        if time_ms <= self.last_ms {
            return false;
        }
        self.last_ms = time_ms;
        let before = self.before.replace((time_ms, value));
        self.reading = Reading::Nothing;
        let raw = match (self.kind, before) {
            (FieldType::Gauge, _) => value.as_f64(),
            // A rate needs two readings: the first says nothing.
            (_, None) => return false,
            (_, Some((_, Value::Unknown))) if value != Value::Unknown => return false,
            (kind, Some(before)) => rate::per_second(kind, before, (time_ms, value)),
        };
        self.reading = Reading::of(rate::bounded(raw, self.min, self.max));
        self.judge_own()
    }

    /// Judges the value; whether it said anything.
    pub(super) fn compare(&mut self) -> bool {
        self.is_absent = false;
        let Some(v) = self.value else {
            self.unknowns = self.unknowns.saturating_add(1);
            let unknown = self.unknowns >= self.unknown_limit;
            if unknown {
                self.state = State::Unknown;
            }
            return unknown;
        };
        self.unknowns = 0;
        // What has crossed a limit is back only when it is well inside.
        let still = |range: Range, bad: bool| {
            let near = bad && self.hysteresis > 0.0;
            range.alerts(v)
                || near && (range.alerts(v + self.hysteresis) || range.alerts(v - self.hysteresis))
        };
        let (was_critical, was_bad) =
            (self.state == State::Critical, matches!(self.state, State::Critical | State::Warning));
        self.state = if self.critical.is_some_and(|r| still(r, was_critical)) {
            State::Critical
        } else if self.warning.is_some_and(|r| still(r, was_bad)) {
            State::Warning
        } else {
            State::Ok
        };
        true
    }
}
