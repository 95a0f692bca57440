//! From a row to states: fields, then services, then what is to be said.

use super::flap::Turn;
use super::lasting::Due;
use super::{Field, Machine, Plan, Service, Settings, incident_id};
use crate::output::{Incident, Notice, NoticeKind, Output, Status, Transition, TransitionKind};
use crate::rate;
use rookery_plugins::{FieldType, Kind, Range, State, TimeMs, Value};

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
            for (column, field) in mine {
                let cell = (kinds.get(*column as usize), bits.get(*column as usize));
                let (Some(kind), Some(bits)) = cell else { continue };
                let Some(kind) = Kind::from_u8(*kind) else { continue };
                if let Some(value) = Value::from_bits(kind, *bits) {
                    judged |= self.fields[*field as usize].judge(time_ms, value);
                }
            }
            if judged {
                self.judge_service(*service, time_ms, live, out);
            }
        }
    }

    fn judge_service(&mut self, idx: u32, time_ms: TimeMs, live: bool, out: &mut Vec<Output>) {
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
        service.step(state, time_ms);
        service.settle_acknowledgement(from, time_ms);
        let turn = if is_newer { service.flaps(&self.settings) } else { None };
        let due = if live { service.due(&self.settings, turn, time_ms) } else { None };
        let is_good = |kind| kind == NoticeKind::Recovery;
        let due = due.filter(|(kind, _)| is_good(*kind) || !self.is_hushed(idx, time_ms));
        let service = &self.services[idx as usize];
        if service.mark() == before && due.is_none() && turn.is_none() {
            return;
        }
        let notice = due.map(|(kind, due)| self.notice_to(idx, kind, time_ms, due));
        out.push(Output::StateChanged(self.service_record(idx)));
        let service = &self.services[idx as usize];
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
        out.extend(notice.map(Output::Notice));
    }

    /// Whether its problem is not told: it is planned, or told of the group.
    fn is_hushed(&self, idx: u32, time_ms: TimeMs) -> bool {
        let s = &self.services[idx as usize];
        s.quorum.is_some() || self.downtime(s.node as usize, Some(&s.name), time_ms).is_some()
    }

    /// Makes the notice that is due, and remembers that it was made.
    pub(super) fn notice(&mut self, idx: u32, kind: NoticeKind, time_ms: TimeMs) -> Notice {
        self.notice_to(idx, kind, time_ms, None)
    }

    fn notice_to(
        &mut self,
        idx: u32,
        kind: NoticeKind,
        time_ms: TimeMs,
        due: Option<Due>,
    ) -> Notice {
        let (text, values) = (self.service_text(idx), self.field_values(idx));
        let service = &mut self.services[idx as usize];
        let node = &self.nodes[service.node as usize];
        let mut incident = service.incident.take().unwrap_or_else(|| {
            Incident::new(incident_id(&node.name, &service.name, time_ms), service.problem_ms)
        });
        let sequence = incident.sequence;
        incident.sequence += 1;
        if kind == NoticeKind::Problem {
            incident.told_ms = time_ms;
            incident.escalated |= due == Some(Due::Further);
        }
        let notice = Notice {
            id: format!("{}.{sequence}", incident.id),
            incident: incident.id.clone(),
            sequence,
            kind,
            node: node.name.clone(),
            of_group: false,
            service: Some(service.name.clone()),
            title: service.title.clone(),
            state: Status::Service(service.state),
            since_ms: incident.since_ms,
            time_ms,
            values,
            text,
            contacts: service.lasting.contacts(&service.contacts, &incident, due),
            labels: service.labels.clone(),
            repeated: false,
            instead_of: None,
        };
        match kind {
            NoticeKind::Problem => {
                (service.notified, service.incident) = (Some(service.state), Some(incident));
            }
            NoticeKind::Acknowledgement => service.incident = Some(incident),
            // Whatever it is when it is steady again is then told.
            NoticeKind::Flapping => {
                service.notified = service.notified.or(Some(State::Unknown));
                service.incident = Some(incident);
            }
            NoticeKind::Recovery => (service.notified, service.incident) = (None, None),
        }
        notice
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
    /// in a row, whichever state it is that is not OK.
    fn step(&mut self, state: State, time_ms: TimeMs) {
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
            self.attempt = self.attempt.min(self.attempts_max);
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

    /// What people are still to be told. Comparing what is with what was told
    /// makes late, repeated and restarted evaluation harmless.
    fn due(
        &self,
        settings: &Settings,
        turn: Option<Turn>,
        time_ms: TimeMs,
    ) -> Option<(NoticeKind, Option<Due>)> {
        match turn {
            Some(Turn::Began) if self.acknowledged.is_none() => {
                return Some((NoticeKind::Flapping, None));
            }
            // Steady again: people are told as what.
            Some(Turn::Ended) if self.notified.is_some() && self.state != State::Ok => {
                return Some((NoticeKind::Problem, None));
            }
            _ if self.flap.active => return None,
            _ => {}
        }
        match (self.state, self.notified) {
            (State::Ok, Some(_)) => Some((NoticeKind::Recovery, None)),
            (State::Ok, None) => None,
            (state, told) => {
                if !self.hard || self.acknowledged.is_some() {
                    return None;
                }
                // "It cannot be told" was no warning of what is known now.
                let is_news =
                    |told| told != state && (settings.tell_changes || told == State::Unknown);
                if told.is_none_or(is_news) {
                    return Some((NoticeKind::Problem, None));
                }
                let due = self.lasting.due(self.incident.as_ref()?, time_ms)?;
                Some((NoticeKind::Problem, Some(due)))
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
