//! Problems that last: told again, and to others.

use crate::output::Incident;
use rookery_plugins::TimeMs;

/// What the rules say of a problem that lasts.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lasting {
    /// It is told again each time so long after the last telling, ms.
    pub renotify_ms: Option<i64>,
    /// When it has lasted so long, ms, these contacts are told, too.
    pub escalate: Option<(i64, Vec<String>)>,
}

/// What is due of one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// To be told again.
    Again,
    /// To be told to those who stand behind.
    Further,
}

impl Lasting {
    /// What is due of an incident that was told.
    pub(super) fn due(&self, incident: &Incident, now_ms: TimeMs) -> Option<Due> {
        let for_ms = |since: TimeMs| now_ms.saturating_sub(since);
        if let Some((after_ms, to)) = &self.escalate
            && !incident.escalated
            && !to.is_empty()
            && for_ms(incident.since_ms) >= *after_ms
        {
            return Some(Due::Further);
        }
        let again = self.renotify_ms.is_some_and(|ms| for_ms(incident.told_ms) >= ms);
        again.then_some(Due::Again)
    }

    /// Who is told now: of something further only those behind, later all.
    /// `own` empty means all contacts, and so does the answer.
    pub(super) fn contacts(
        &self,
        own: &[String],
        incident: &Incident,
        due: Option<Due>,
    ) -> Vec<String> {
        let behind = self.escalate.as_ref().map_or(&[][..], |(_, to)| to);
        if due == Some(Due::Further) {
            return behind.to_vec();
        }
        let mut all = own.to_vec();
        if incident.escalated && !own.is_empty() {
            let more = behind.iter().filter(|name| !own.contains(name)).cloned();
            all.extend(more);
        }
        all
    }

    /// What holds where several fields are one service: the shorter patience.
    pub(super) fn merge(&mut self, other: &Lasting) {
        self.renotify_ms = match (self.renotify_ms, other.renotify_ms) {
            (Some(a), Some(b)) => Some(a.min(b)),
            (a, b) => a.or(b),
        };
        match (&mut self.escalate, &other.escalate) {
            (Some((ms, to)), Some((other_ms, others))) => {
                *ms = (*ms).min(*other_ms);
                let more: Vec<String> =
                    others.iter().filter(|name| !to.contains(name)).cloned().collect();
                to.extend(more);
            }
            (none @ None, some) => none.clone_from(some),
            _ => {}
        }
    }
}
