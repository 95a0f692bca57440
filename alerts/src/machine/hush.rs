//! Who is not told, and why: acknowledgements and downtimes.
//!
//! An acknowledgement says that somebody is on it: its problem is told no more,
//! until it changes (unless sticky), is over, or the acknowledgement expires. A
//! downtime says that it is meant to be so: no problem within it is told. One that
//! lasts longer than its downtime is told then; a recovery is always told to those
//! who were told of the problem.

use super::{Machine, Member};
use crate::glob;
use crate::output::{NoticeKind, Output, RecordState, StateRecord};
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
        words(&self.author, &self.comment)
    }

    fn covers(&self, node: &str, group: &str, service: Option<&str>, time_ms: TimeMs) -> bool {
        let is = |pattern: &Option<String>, name: &str| {
            pattern.as_deref().is_none_or(|p| glob::matches(p, name))
        };
        let is_service = match (&self.service, service) {
            (None, _) => true,
            (Some(pattern), Some(service)) => glob::matches(pattern, service),
            (Some(_), None) => false,
        };
        (self.from_ms..self.to_ms).contains(&time_ms)
            && is(&self.node, node)
            && is(&self.group, group)
            && is_service
    }

    fn record(&self, state: RecordState) -> Output {
        Output::StateChanged(StateRecord { key: format!("downtime/{}", self.id), state })
    }
}

/// Checks who says what.
fn words(author: &str, comment: &str) -> Result<(), String> {
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
        let text = match ack.comment.trim() {
            "" => format!("{} is on it", ack.author),
            comment => format!("{} is on it: {comment}", ack.author),
        };
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
        let held = match service {
            None => self.nodes[i].acknowledged.take(),
            Some(idx) => self.services[idx as usize].acknowledged.take(),
        };
        if held.is_none() {
            return Err("it is not acknowledged".to_owned());
        }
        out.push(Output::StateChanged(match service {
            None => self.host_record(i),
            Some(idx) => self.service_record(idx),
        }));
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
        if downtime.to_ms <= now_ms {
            return Err("this downtime is over already".to_owned());
        }
        if self.downtimes.len() >= DOWNTIMES_MAX {
            return Err(format!("there are {DOWNTIMES_MAX} downtimes: cancel some"));
        }
        out.push(downtime.record(RecordState::Downtime { downtime: downtime.clone() }));
        self.downtimes.retain(|d| d.id != downtime.id);
        self.downtimes.push(downtime);
        Ok(())
    }

    /// Ends a downtime now, or unplans it.
    pub fn cancel_downtime(&mut self, id: &str, out: &mut Vec<Output>) -> Result<(), String> {
        let at = self.downtimes.iter().position(|d| d.id == id);
        let at = at.ok_or_else(|| format!("no downtime {id:?}"))?;
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
        self.downtimes.iter().find(|d| d.covers(&node.name, &node.group, service, time_ms))
    }

    /// Ends what is over.
    pub(super) fn end_hush(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        if self.downtimes.iter().any(|d| d.to_ms <= now_ms) {
            let (over, rest) = std::mem::take(&mut self.downtimes)
                .into_iter()
                .partition::<Vec<_>, _>(|d| d.to_ms <= now_ms);
            self.downtimes = rest;
            out.extend(over.iter().map(|d| d.record(RecordState::Gone)));
        }
        for i in 0..self.nodes.len() {
            let node = &mut self.nodes[i];
            if node.gone || node.state == HostState::Up {
                continue;
            }
            if node.acknowledged.as_ref().is_some_and(|a| a.is_over(now_ms)) {
                node.acknowledged = None;
                out.push(Output::StateChanged(self.host_record(i)));
            }
        }
    }
}

impl Acknowledgement {
    pub(super) fn is_over(&self, time_ms: TimeMs) -> bool {
        self.until_ms.is_some_and(|until| until <= time_ms)
    }
}
