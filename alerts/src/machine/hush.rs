//! Who is not told, and why: acknowledgements and downtimes.
//!
//! An acknowledgement says that somebody is on it: its problem is told no more,
//! until it changes (unless sticky), is over, or the acknowledgement expires. A
//! downtime says that it is meant to be so: no problem within it is told. One that
//! lasts longer than its downtime is told then; a recovery is always told to those
//! who were told of the problem.
//!
//! A downtime is fixed (from, to), or comes again at times of the week or the year
//! (`repeat`), or begins with the first hard problem in its window, one that is there
//! when the window opens among them, and lasts for so long from then on
//! (`flexible_ms`), past the window's end if need be.

use super::{Machine, Member};
use crate::output::{NoticeKind, Output, RecordState, StateRecord};
use crate::period::{Times, TimesConfig};
use crate::{glob, message};
use rookery_plugins::{HostState, State, TimeMs};
use serde::{Deserialize, Serialize};

/// The longest comment or author, bytes.
pub const COMMENT_BYTES_MAX: usize = 2000;
/// The most downtimes at a time.
pub const DOWNTIMES_MAX: usize = 10_000;

/// Somebody is on it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acknowledgement {
    /// Who.
    pub author: String,
    /// Why, or what is being done.
    #[serde(default)]
    pub comment: String,
    /// When it was given, ms.
    #[serde(default)]
    pub time_ms: TimeMs,
    /// When it ends, ms; `None`: with the problem.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub until_ms: Option<TimeMs>,
    /// Whether it holds when the state changes to another that is not OK.
    #[serde(default)]
    pub sticky: bool,
}

/// A time of planned work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Downtime {
    /// Its name, by which it is cancelled.
    pub id: String,
    /// The nodes, a pattern with `*` and `?`; by it or by `group`.
    #[serde(default)]
    pub node: Option<String>,
    /// The groups, a pattern.
    #[serde(default)]
    pub group: Option<String>,
    /// The services, a pattern; `None`: the nodes and all their services.
    #[serde(default)]
    pub service: Option<String>,
    /// From when, ms.
    pub from_ms: TimeMs,
    /// Until when, ms; not included.
    pub to_ms: TimeMs,
    /// Who.
    pub author: String,
    /// Why.
    #[serde(default)]
    pub comment: String,
    /// At these times only, between `from_ms` and `to_ms`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub repeat: Option<TimesConfig>,
    /// It begins with the first hard problem between `from_ms` and `to_ms` that it is
    /// of, and lasts so long, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flexible_ms: Option<i64>,
    /// When that was, ms.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub began_ms: Option<TimeMs>,
    /// `node`, `group` and `service` are names, of one thing each, and no patterns.
    #[serde(default, skip_serializing_if = "is_false")]
    pub exact: bool,
}

fn is_false(flag: &bool) -> bool {
    !flag
}

impl Downtime {
    /// What is wrong with it, and the remedy.
    pub fn check(&self) -> Result<(), String> {
        if self.node.is_none() && self.group.is_none() {
            return Err("a downtime of what? name a node or a group (patterns)".to_owned());
        }
        if self.to_ms <= self.from_ms {
            return Err("a downtime must end after it begins".to_owned());
        }
        if self.flexible_ms.is_some_and(|ms| ms <= 0) {
            return Err("a flexible downtime must last for some time: 30m".to_owned());
        }
        if self.flexible_ms.is_some() && self.repeat.is_some() {
            return Err("a downtime is flexible or comes again, not both".to_owned());
        }
        words(&self.author, &self.comment)
    }

    /// Whether it is of a node, or of services of it.
    pub fn is_of_node(&self, node: &str, group: &str) -> bool {
        Downtime { service: None, ..self.clone() }.is_of(node, group, None)
    }

    /// Whether it is of a node, or of a service of it.
    pub fn is_of(&self, node: &str, group: &str, service: Option<&str>) -> bool {
        let matches = |pattern: &str, name: &str| match self.exact {
            true => pattern == name,
            false => glob::matches(pattern, name),
        };
        let is = |pattern: &Option<String>, name: &str| {
            pattern.as_deref().is_none_or(|p| matches(p, name))
        };
        let is_service = match (&self.service, service) {
            (None, _) => true,
            (Some(pattern), Some(service)) => matches(pattern, service),
            (Some(_), None) => false,
        };
        is(&self.node, node) && is(&self.group, group) && is_service
    }

    /// Whether it is on; `times` are those of `repeat`.
    fn is_on(&self, times: Option<&Times>, time_ms: TimeMs) -> bool {
        match (self.flexible_ms, self.began_ms) {
            (Some(ms), Some(began)) => (began..began.saturating_add(ms)).contains(&time_ms),
            (Some(_), None) => false,
            (None, _) => {
                (self.from_ms..self.to_ms).contains(&time_ms)
                    && (self.repeat.is_none() || times.is_some_and(|t| t.contains(time_ms)))
            }
        }
    }

    /// Whether it is flexible, its window is open, and it waits for a problem.
    fn waits(&self, now_ms: TimeMs) -> bool {
        let is_waiting = self.flexible_ms.is_some() && self.began_ms.is_none();
        is_waiting && (self.from_ms..self.to_ms).contains(&now_ms)
    }

    /// Whether it may be on at a time, by its window alone: what is asked first.
    fn may_be_on(&self, time_ms: TimeMs) -> bool {
        match self.flexible_ms {
            Some(_) => self.is_on(None, time_ms),
            None => (self.from_ms..self.to_ms).contains(&time_ms),
        }
    }

    /// Until when something is in it that is in it now, as far as that is known.
    pub fn until_ms(&self) -> Option<TimeMs> {
        match (self.flexible_ms, self.began_ms, &self.repeat) {
            (Some(ms), Some(began), _) => Some(began.saturating_add(ms)),
            (_, _, Some(_)) => None,
            _ => Some(self.to_ms),
        }
    }

    fn is_over(&self, now_ms: TimeMs) -> bool {
        match (self.flexible_ms, self.began_ms) {
            (Some(ms), Some(began)) => began.saturating_add(ms) <= now_ms,
            _ => self.to_ms <= now_ms,
        }
    }

    /// When it is, in words.
    pub fn when(&self) -> String {
        let span = format!("{} to {}", message::time(self.from_ms), message::time(self.to_ms));
        match (&self.repeat, self.flexible_ms, self.began_ms) {
            (Some(times), ..) => {
                let zone = if times.zone.is_empty() { "local time" } else { &times.zone };
                format!("{} ({zone}), {span}", times.times.join("; "))
            }
            (None, Some(ms), None) => {
                format!("{} from the first problem on, {span}", message::span(ms))
            }
            (None, Some(ms), Some(began)) => {
                format!("{} from {} on", message::span(ms), message::time(began))
            }
            (None, None, _) => span,
        }
    }

    /// What is kept of it.
    pub(super) fn kept(&self) -> Output {
        self.record(RecordState::Downtime { downtime: self.clone() })
    }

    fn record(&self, state: RecordState) -> Output {
        Output::StateChanged(StateRecord { key: format!("downtime/{}", self.id), state })
    }
}

/// Checks who says what.
pub(super) fn words(author: &str, comment: &str) -> Result<(), String> {
    if author.trim().is_empty() {
        return Err("who says so? the author is missing".to_owned());
    }
    match author.len().max(comment.len()) {
        0..=COMMENT_BYTES_MAX => Ok(()),
        n => Err(format!("{n} bytes of text: at most {COMMENT_BYTES_MAX} are taken")),
    }
}

impl Machine {
    /// Notes that somebody is on a problem, and tells those who were told of it.
    /// `service` is `None` for a node that is DOWN. The error says why not.
    pub fn acknowledge(
        &mut self,
        node: &str,
        service: Option<&str>,
        ack: Acknowledgement,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        words(&ack.author, &ack.comment)?;
        let now_ms = ack.time_ms;
        if ack.until_ms.is_some_and(|until| until <= now_ms) {
            return Err("an acknowledgement must end in the future".to_owned());
        }
        let text = ack.text();
        let (i, service) = self.target(node, service)?;
        let member = match service {
            None if self.nodes[i].state == HostState::Up => {
                return Err(format!("{node} is UP: there is nothing to acknowledge"));
            }
            None => Member::Node(i as u32),
            Some(idx) if self.services[idx as usize].state == State::Ok => {
                let name = &self.services[idx as usize].name;
                return Err(format!("{node}/{name} is OK: there is nothing to acknowledge"));
            }
            Some(idx) => Member::Service(idx),
        };
        // An incident is one thing: who is on it is on all of it.
        for m in self.together_with(member) {
            self.acknowledged.insert(m);
            out.push(Output::StateChanged(match m {
                Member::Node(i) => {
                    self.nodes[i as usize].acknowledged = Some(ack.clone());
                    self.host_record(i as usize)
                }
                Member::Service(idx) => {
                    self.services[idx as usize].acknowledged = Some(ack.clone());
                    self.service_record(idx)
                }
            }));
        }
        let is_told = match member {
            Member::Node(i) => self.nodes[i as usize].incident.is_some(),
            Member::Service(idx) => self.services[idx as usize].notified.is_some(),
        };
        if is_told {
            self.tell_alone(member, NoticeKind::Acknowledgement, now_ms, Some(text), out);
        }
        Ok(())
    }

    /// Takes an acknowledgement back.
    pub fn unacknowledge(
        &mut self,
        node: &str,
        service: Option<&str>,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        let (i, service) = self.target(node, service)?;
        let member = service.map_or(Member::Node(i as u32), Member::Service);
        if self.acknowledgement(member).is_none() {
            return Err("it is not acknowledged".to_owned());
        }
        for m in self.together_with(member) {
            self.end_acknowledgement(m, out);
        }
        Ok(())
    }

    fn target(&self, node: &str, service: Option<&str>) -> Result<(usize, Option<u32>), String> {
        let i = *self.by_name.get(node).ok_or_else(|| format!("no node {node:?}"))? as usize;
        let Some(service) = service else { return Ok((i, None)) };
        let idx = self.nodes[i].services.get(service);
        let idx = idx.ok_or_else(|| format!("no service {service:?} with limits on {node:?}"))?;
        Ok((i, Some(*idx)))
    }

    /// Begins, or plans, a downtime.
    pub fn add_downtime(
        &mut self,
        downtime: Downtime,
        now_ms: TimeMs,
        out: &mut Vec<Output>,
    ) -> Result<(), String> {
        downtime.check()?;
        let times = downtime.repeat.as_ref().map(TimesConfig::compile).transpose()?;
        if downtime.to_ms <= now_ms {
            return Err("this downtime is over already".to_owned());
        }
        if self.downtimes.len() >= DOWNTIMES_MAX {
            return Err(format!("there are {DOWNTIMES_MAX} downtimes: cancel some"));
        }
        out.push(downtime.kept());
        self.downtimes.retain(|d| d.id != downtime.id);
        self.repeats.remove(&downtime.id);
        self.repeats.extend(times.map(|t| (downtime.id.clone(), t)));
        self.downtimes.push(downtime);
        Ok(())
    }

    /// Ends a downtime now, or unplans it.
    pub fn cancel_downtime(&mut self, id: &str, out: &mut Vec<Output>) -> Result<(), String> {
        let at = self.downtimes.iter().position(|d| d.id == id);
        let at = at.ok_or_else(|| format!("no downtime {id:?}"))?;
        self.repeats.remove(id);
        out.push(self.downtimes.remove(at).record(RecordState::Gone));
        Ok(())
    }

    /// Those that are, or are to come.
    pub fn downtimes(&self) -> &[Downtime] {
        &self.downtimes
    }

    /// The downtime that a node, or a service of it, is in.
    pub(super) fn downtime(
        &self,
        i: usize,
        service: Option<&str>,
        time_ms: TimeMs,
    ) -> Option<&Downtime> {
        let node = &self.nodes[i];
        self.downtimes.iter().find(|d| {
            d.may_be_on(time_ms)
                && d.is_of(&node.name, &node.group, service)
                && d.is_on(self.repeats.get(&d.id), time_ms)
        })
    }

    /// Puts back one that was kept.
    pub(super) fn restore_downtime(&mut self, downtime: &Downtime) {
        // It was read before it was kept; without its times it never is.
        let times = downtime.repeat.as_ref().and_then(|t| t.compile().ok());
        self.repeats.extend(times.map(|t| (downtime.id.clone(), t)));
        self.downtimes.push(downtime.clone());
    }

    /// Begins the flexible downtimes that wait for such a problem.
    pub(super) fn begin_flexible(&mut self, member: Member, now_ms: TimeMs, out: &mut Vec<Output>) {
        if !self.downtimes.iter().any(|d| d.waits(now_ms)) {
            return;
        }
        let (i, service) = match member {
            Member::Node(i) => (i, None),
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                (s.node, Some(s.name.as_str()))
            }
        };
        let node = &self.nodes[i as usize];
        for d in &mut self.downtimes {
            if d.waits(now_ms) && d.is_of(&node.name, &node.group, service) {
                d.began_ms = Some(now_ms);
                out.push(d.record(RecordState::Downtime { downtime: d.clone() }));
            }
        }
    }

    /// Begins the flexible downtimes whose window is open for what is bad already.
    fn begin_flexible_for_all(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        if !self.downtimes.iter().any(|d| d.waits(now_ms)) {
            return;
        }
        let nodes = (0..self.nodes.len()).filter(|i| {
            let node = &self.nodes[*i];
            !node.gone && node.state != HostState::Up
        });
        let services = self.services.iter().enumerate().filter(|(_, s)| {
            // Of a node that is DOWN it is not known how its services are.
            let is_up = self.nodes[s.node as usize].state == HostState::Up;
            !s.gone && is_up && s.state != State::Ok && s.hard
        });
        let bad: Vec<Member> = nodes
            .map(|i| Member::Node(i as u32))
            .chain(services.map(|(idx, _)| Member::Service(idx as u32)))
            .collect();
        bad.into_iter().for_each(|member| self.begin_flexible(member, now_ms, out));
    }

    /// Ends the downtimes and acknowledgements that are over, and begins the flexible
    /// downtimes that are due. What was silenced is notified by those who wait for it.
    pub(super) fn end_silence(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        if self.downtimes.iter().any(|d| d.is_over(now_ms)) {
            let (over, rest) = std::mem::take(&mut self.downtimes)
                .into_iter()
                .partition::<Vec<_>, _>(|d| d.is_over(now_ms));
            self.downtimes = rest;
            over.iter().for_each(|d| drop(self.repeats.remove(&d.id)));
            out.extend(over.iter().map(|d| d.record(RecordState::Gone)));
        }
        self.begin_flexible_for_all(now_ms, out);
        let acknowledged: Vec<Member> = self.acknowledged.iter().copied().collect();
        for member in acknowledged {
            match self.acknowledgement(member) {
                None => drop(self.acknowledged.remove(&member)),
                Some(ack) if ack.is_over(now_ms) => self.end_acknowledgement(member, out),
                Some(_) => {}
            }
        }
    }

    fn acknowledgement(&self, member: Member) -> Option<&Acknowledgement> {
        match member {
            Member::Node(i) => self.nodes[i as usize].acknowledged.as_ref(),
            Member::Service(idx) => self.services[idx as usize].acknowledged.as_ref(),
        }
    }

    /// Takes an acknowledgement off. What nobody was notified of waits for that already;
    /// what has changed meanwhile is looked at with the next tick.
    fn end_acknowledgement(&mut self, member: Member, out: &mut Vec<Output>) {
        self.acknowledged.remove(&member);
        out.push(Output::StateChanged(match member {
            Member::Node(i) => {
                self.nodes[i as usize].acknowledged = None;
                self.host_record(i as usize)
            }
            Member::Service(idx) => {
                let service = &mut self.services[idx as usize];
                service.acknowledged = None;
                service.owe_change();
                self.changed.insert(idx);
                self.service_record(idx)
            }
        }));
    }
}

impl Acknowledgement {
    /// What those are notified of who know of the problem.
    pub(super) fn text(&self) -> String {
        match self.comment.trim() {
            "" => format!("{} is on it", self.author),
            comment => format!("{} is on it: {comment}", self.author),
        }
    }

    pub(super) fn is_over(&self, time_ms: TimeMs) -> bool {
        self.until_ms.is_some_and(|until| until <= time_ms)
    }
}
