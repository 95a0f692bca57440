//! What of a service is still to be notified, and when it is looked at again.
//!
//! What is compared with what was notified, so that late, repeated and restarted
//! evaluation is harmless. What cannot be notified now (a downtime, a closed period, an
//! acknowledgement, a parent in a problem) is kept and looked at each second: no
//! notification depends on another sample. First notifications wait in
//! [`super::gather`]; here are those of problems that are known already.

use super::gather::Gate;
use super::{Machine, Member, Service, Settings};
use crate::output::{NoticeKind, Output};
use rookery_plugins::{State, TimeMs};

/// What is still to be notified of a service.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum News {
    /// That it has a problem.
    First,
    /// That its problem is another now, to all.
    Changed,
    /// The same, to those only who were not notified of it yet: who wants CRITICAL
    /// only, or has WARNING in a digest, was not.
    CatchUp,
    /// That it flaps.
    Flaps,
}

impl Service {
    /// What is still to be notified, whatever stands in its way now.
    pub(super) fn news(&self, settings: &Settings) -> Option<News> {
        if self.gone {
            return None;
        }
        if self.flap.active {
            return (!self.flap_told).then_some(News::Flaps);
        }
        if self.state == State::Ok || !self.hard {
            return None;
        }
        match self.notified {
            None => Some(News::First),
            // Steady again: who was notified that it flaps is notified as what.
            Some(_) if self.flap_told => Some(News::Changed),
            Some(told) if told == self.state => None,
            Some(_) if self.is_owed || settings.tell_changes => Some(News::Changed),
            Some(_) => Some(News::CatchUp),
        }
    }

    /// Its acknowledgement has ended: a state that people do not know of is owed to all.
    pub(super) fn owe_change(&mut self) {
        let is_known = |told| self.state == told;
        self.is_owed |= self.state != State::Ok && !self.notified.is_none_or(is_known);
    }
}

impl Machine {
    pub(super) fn tell_news(
        &mut self,
        idx: u32,
        news: News,
        now_ms: TimeMs,
        out: &mut Vec<Output>,
    ) {
        let member = Member::Service(idx);
        if news == News::First {
            return self.wait_to_tell(member, now_ms, out);
        }
        self.begin_flexible(member, now_ms, out);
        if self.is_quiet(member, now_ms) || self.root_of(member).is_some() {
            self.changed.insert(idx);
            return;
        }
        self.tell_change(idx, news, now_ms, out);
    }

    fn tell_change(&mut self, idx: u32, news: News, now_ms: TimeMs, out: &mut Vec<Output>) {
        self.changed.remove(&idx);
        let member = Member::Service(idx);
        match news {
            News::First => {}
            News::Flaps => self.tell_alone(member, NoticeKind::Flapping, now_ms, None, out),
            News::Changed => self.tell_alone(member, NoticeKind::Problem, now_ms, None, out),
            News::CatchUp => self.catch_up(member, now_ms, out),
        }
    }

    /// Looks again at what was kept back.
    pub(super) fn tell_changed(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        let kept: Vec<u32> = self.changed.iter().copied().collect();
        for idx in kept {
            match self.services[idx as usize].news(&self.settings) {
                None | Some(News::First) => drop(self.changed.remove(&idx)),
                Some(news) if self.gate(Member::Service(idx), now_ms) == Gate::Ready => {
                    self.tell_change(idx, news, now_ms, out);
                }
                Some(_) => {}
            }
        }
    }

    /// After a restart: what was to be notified, and was not, waits again, also where no
    /// further sample comes. Not what only old samples have shown.
    pub(super) fn look_again(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        let since_ms = self.started_ms.unwrap_or(now_ms);
        for idx in 0..self.services.len() as u32 {
            let s = &self.services[idx as usize];
            let field = |f: &u32| &self.fields[*f as usize];
            let is_bad = s.fields.iter().any(|f| field(f).active && field(f).state != State::Ok);
            match s.news(&self.settings).filter(|_| is_bad && !s.is_stale) {
                None => {}
                Some(News::First) => {
                    let member = Member::Service(idx);
                    self.begin_flexible(member, now_ms, out);
                    if !self.waiting.contains_key(&member) {
                        // It may have been silenced until just now.
                        self.silenced.insert(member);
                        self.waiting.insert(member, since_ms);
                    }
                }
                Some(_) => drop(self.changed.insert(idx)),
            }
        }
    }
}
