//! From a row to states: fields, then services, then what is to be said.

use super::flap::Turn;
use super::{Field, Machine, Member, Plan, Service, Settings};
use crate::output::{NoticeKind, Output, Status, Transition, TransitionKind};
use crate::rate;
use rookery_plugins::{FieldType, HostState, Kind, Range, State, TimeMs, Value};

/// A problem that began so many group windows ago is no short one.
const CALM_WINDOWS: i64 = 10;

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
        let mut columns = plan.columns.as_slice();
        for (service, n) in &plan.services {
            let (mine, rest) = columns.split_at(*n as usize);
            columns = rest;
            // A service without any judged field is only here to become OK.
            let mut judged = mine.is_empty();
            let mut has_come = false;
            for (column, field) in mine {
                let cell = (kinds.get(*column as usize), bits.get(*column as usize));
                let (Some(kind), Some(bits)) = cell else { continue };
                let Some(kind) = Kind::from_u8(*kind) else { continue };
                if let Some(value) = Value::from_bits(kind, *bits) {
                    has_come = true;
                    judged |= self.fields[*field as usize].judge(time_ms, value);
                }
            }
            if has_come {
                let s = &mut self.services[*service as usize];
                (s.arrived_ms, s.is_late) = (now_ms, false);
            }
            if !plan.formulas.is_empty() {
                judged |= self.judge_formulas(plan, *service, time_ms, live);
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
        let fields = service.fields.iter().map(|f| &self.fields[*f as usize]);
        let state = fields.filter(|f| f.active).fold(State::Ok, |worst, f| worst.worst(f.state));
        let service = &mut self.services[idx as usize];
        if service.gone || time_ms < service.last_ms {
            return;
        }
        let before = service.mark();
        let from = service.state;
        let is_newer = time_ms > service.last_ms;
        let is_sure = state == State::Unknown && service.is_late
            || state == State::Critical
                && service.fields.iter().any(|f| self.fields[*f as usize].is_absent);
        service.step(state, time_ms, is_sure);
        if before.hard_state != State::Ok && service.hard_state == State::Ok {
            service.recovered_ms = now_ms;
        }
        service.settle_acknowledgement(from, time_ms);
        let turn = if is_newer { service.flaps(&self.settings) } else { None };
        let due = if live { service.due(&self.settings, turn, time_ms) } else { None };
        if live && service.is_calming(&self.settings, time_ms) {
            self.calming.insert(idx);
        }
        if due == Some(News::First) {
            self.wait_to_tell(Member::Service(idx), now_ms, out);
        }
        let service = &self.services[idx as usize];
        let is_due = due.is_some_and(|due| due != News::First);
        if service.mark() == before && !is_due && turn.is_none() {
            return;
        }
        out.push(Output::StateChanged(self.service_record(idx)));
        if (before.state, before.hard) != (service.state, service.hard)
            || before.hard_state != service.hard_state
        {
            out.push(Output::Transition(Transition {
                kind: TransitionKind::State,
                node: self.nodes[service.node as usize].name.clone(),
                service: Some(service.name.clone()),
                from: Status::Service(from),
                to: Status::Service(service.state),
                hard: service.hard,
                attempt: service.attempt,
                time_ms,
                stale: !live,
                text: self.service_text(idx),
            }));
        }
        if let Some(due) = due {
            self.tell_news(Member::Service(idx), due, time_ms, out);
        }
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

    fn tell_news(&mut self, member: Member, news: News, time_ms: TimeMs, out: &mut Vec<Output>) {
        let Member::Service(idx) = member else { return };
        match news {
            News::First => {}
            News::Over => self.leave(member, time_ms, self.service_text(idx), out),
            News::Changed | News::Flaps => {
                if self.is_quiet(member, time_ms) || self.root_of(member).is_some() {
                    return;
                }
                let kind = match news {
                    News::Flaps => NoticeKind::Flapping,
                    _ => NoticeKind::Problem,
                };
                self.tell_alone(member, kind, time_ms, None, out);
            }
        }
    }
}

/// What people are still to be told of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    /// That it has a problem.
    First,
    /// That its problem is another now.
    Changed,
    /// That it flaps.
    Flaps,
    /// That it is well.
    Over,
}

/// What a change of makes a record due.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Mark {
    state: State,
    hard: bool,
    hard_state: State,
    attempt: u32,
    acknowledged: bool,
}

impl Service {
    fn mark(&self) -> Mark {
        let Service { state, hard, hard_state, attempt, .. } = *self;
        Mark { state, hard, hard_state, attempt, acknowledged: self.acknowledged.is_some() }
    }

    /// Takes an acknowledgement off that does not hold any more.
    fn settle_acknowledgement(&mut self, before: State, time_ms: TimeMs) {
        let (state, changed) = (self.state, self.state != before);
        self.acknowledged
            .take_if(|ack| state == State::Ok || changed && !ack.sticky || ack.is_over(time_ms));
    }

    /// One evaluation, as Nagios counts: soft until seen `attempts_max` times
    /// in a row, whichever state it is that is not OK; at once, where time itself has
    /// proved it.
    fn step(&mut self, state: State, time_ms: TimeMs, is_sure: bool) {
        let first = self.since_ms == super::NEVER;
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

    /// Takes the state in that was just seen. A soft one tells nobody, and counts
    /// for nothing.
    fn flaps(&mut self, settings: &Settings) -> Option<Turn> {
        if self.state != State::Ok && !self.hard {
            return None;
        }
        let changed = self.seen.replace(self.state).is_some_and(|seen| seen != self.state);
        self.flap.push(changed, settings.flap_high, settings.flap_low)
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

    /// What people are still to be told. Comparing what is with what was told
    /// makes late, repeated and restarted evaluation harmless.
    fn due(&self, settings: &Settings, turn: Option<Turn>, time_ms: TimeMs) -> Option<News> {
        match turn {
            Some(Turn::Began) if self.acknowledged.is_none() => return Some(News::Flaps),
            // Steady again: people are told as what.
            Some(Turn::Ended) if self.notified.is_some() && self.state != State::Ok => {
                return Some(News::Changed);
            }
            _ if self.flap.active => return None,
            _ => {}
        }
        match (self.state, self.notified) {
            (State::Ok, Some(_)) if time_ms < self.calm_ms(settings) => None,
            (State::Ok, Some(_)) => Some(News::Over),
            (State::Ok, None) => None,
            (state, told) => {
                if !self.hard || self.acknowledged.is_some() {
                    return None;
                }
                let Some(told) = told else { return Some(News::First) };
                // "It cannot be told" was no warning of what is known now.
                let is_news = told != state && (settings.tell_changes || told == State::Unknown);
                is_news.then_some(News::Changed)
            }
        }
    }
}

impl Field {
    /// Judges a sample; whether it said anything. One that is not newer than
    /// the newest is history only.
    fn judge(&mut self, time_ms: TimeMs, value: Value) -> bool {
        if time_ms <= self.last_ms {
            return false;
        }
        self.last_ms = time_ms;
        let before = self.before.replace((time_ms, value));
        let raw = match (self.kind, before) {
            (FieldType::Gauge, _) => value.as_f64(),
            // A rate needs two readings: the first says nothing.
            (_, None) => return false,
            (_, Some((_, Value::Unknown))) if value != Value::Unknown => return false,
            (kind, Some(before)) => rate::per_second(kind, before, (time_ms, value)),
        };
        let bounded = rate::bounded(raw, self.min, self.max);
        self.value = match &self.cdef {
            Some(cdef) => cdef.eval(bounded),
            None => bounded,
        };
        self.compare()
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
