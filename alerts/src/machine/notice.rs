//! An incident's next message.

use super::lasting::Due;
use super::{Machine, Member, Thread};
use crate::message;
use crate::output::{Incident, Notice, NoticeKind, Output, Part, Status};
use rookery_plugins::{HostState, State, TimeMs};

/// What is to be said within an incident.
pub(super) struct Saying {
    /// What it is about now: the lead, or the member that is news.
    pub subject: Member,
    pub kind: NoticeKind,
    pub time_ms: TimeMs,
    /// What is due of a problem that lasts.
    pub due: Option<Due>,
    /// In which words; `None`: the machine's own.
    pub text: Option<String>,
    /// It is for those only who were not notified of the incident's problem yet.
    pub is_catch_up: bool,
}

impl Saying {
    pub(super) fn new(subject: Member, kind: NoticeKind, time_ms: TimeMs) -> Saying {
        Saying { subject, kind, time_ms, due: None, text: None, is_catch_up: false }
    }
}

impl Machine {
    /// Makes the incident's next notice, and keeps that it was made.
    pub(super) fn speak(&mut self, id: &str, saying: Saying, out: &mut Vec<Output>) {
        let Some(thread) = self.threads.get(id) else { return };
        let mut rest: Vec<Member> =
            thread.members.iter().copied().filter(|m| *m != saying.subject).collect();
        rest.sort_by_cached_key(|m| self.order(*m));
        // For most of them a catch-up says nothing: reminders go on as they were.
        let is_problem = saying.kind == NoticeKind::Problem && !saying.is_catch_up;
        let mut incident = thread.incident.clone();
        incident.sequence += 1;
        if is_problem {
            incident.told_ms = saying.time_ms;
            incident.escalated |= saying.due == Some(Due::Further);
        }
        let notice = self.compose(thread, &incident, saying, &rest);
        if let Some(thread) = self.threads.get_mut(id) {
            thread.incident = incident;
            if is_problem {
                thread.n_told = rest.len() + 1;
                // Without its root it is as bad as what is left of it.
                if thread.is_rootless() || notice.state.rank() > thread.told.rank() {
                    thread.told = notice.state;
                }
            }
        }
        out.push(self.thread_record(id));
        out.push(Output::Notice(notice));
    }

    /// `incident` counts this notice already.
    fn compose(
        &self,
        thread: &Thread,
        incident: &Incident,
        saying: Saying,
        rest: &[Member],
    ) -> Notice {
        let Saying { subject, kind, time_ms, due, text, is_catch_up } = saying;
        // Only a problem needs to name all that is of it.
        let rest = if kind == NoticeKind::Problem { rest } else { &[] };
        let behind = match kind {
            NoticeKind::Problem => self.behind(subject, rest, time_ms),
            _ => Vec::new(),
        };
        let lead = self.lead_of(thread).unwrap_or(subject);
        let text = text.unwrap_or_else(|| {
            let own = self.own_text(subject, time_ms);
            let place = match subject == lead {
                true => String::new(),
                false => format!("{}: ", self.place(subject)),
            };
            let (more, behind) =
                (self.rest_text(subject, rest), self.behind_text(subject, rest, &behind));
            format!("{place}{own}{more}{behind}")
        });
        let state = match (kind, &thread.service) {
            (NoticeKind::Recovery, Some(_)) => Status::Service(State::Ok),
            (NoticeKind::Recovery, None) => Status::Host(HostState::Up),
            _ => self.status(subject),
        };
        let (lasting, own, labels, title, values) = match lead {
            Member::Node(i) => {
                let n = &self.nodes[i as usize];
                (&n.lasting, &n.contacts, &n.labels, "", Vec::new())
            }
            Member::Service(idx) => {
                let s = &self.services[idx as usize];
                (&s.lasting, &s.contacts, &s.labels, s.title.as_str(), self.field_values(idx))
            }
        };
        let sequence = incident.sequence - 1;
        Notice {
            id: format!("{}.{sequence}", incident.id),
            incident: incident.id.clone(),
            sequence,
            kind,
            node: thread.node.clone(),
            of_group: false,
            service: thread.service.clone(),
            title: title.to_owned(),
            state,
            since_ms: incident.since_ms,
            time_ms,
            values,
            text,
            n_with: rest.len(),
            with: rest.iter().take(message::PARTS_MAX).map(|m| self.part(*m, time_ms)).collect(),
            n_behind: behind.len(),
            behind: behind.into_iter().take(message::PARTS_MAX).collect(),
            contacts: lasting.contacts(own, incident, due),
            labels: labels.clone(),
            repeated: false,
            instead_of: None,
            is_catch_up,
        }
    }

    fn part(&self, member: Member, now_ms: TimeMs) -> Part {
        let (node, service) = self.names(member);
        Part {
            node: node.to_owned(),
            service: service.map(str::to_owned),
            state: self.status(member),
            text: self.own_text(member, now_ms),
        }
    }
}
