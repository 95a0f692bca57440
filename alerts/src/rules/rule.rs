//! One `[[rule]]`: whom it is for, what it sets, and what cannot be meant.

use super::{Formula, Limit, Span, Terms};
use crate::glob::Patterns;
use crate::period::Period;
use crate::quorum::Quorum;
use std::collections::BTreeMap;
use std::num::NonZeroU32;
use std::sync::Arc;

/// Nobody is told of the same more often than this, ms.
const RENOTIFY_MS_MIN: i64 = 60_000;

/// One `[[rule]]`.
#[derive(Clone, Debug, Default, PartialEq, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// Which nodes.
    pub node: Patterns,
    /// Which groups of nodes.
    pub group: Patterns,
    /// Which services.
    pub service: Patterns,
    /// Which fields.
    pub field: Patterns,
    /// The warning range.
    pub warning: Option<Limit>,
    /// The critical range.
    pub critical: Option<Limit>,
    /// Evaluations in a row until a state is hard.
    pub max_check_attempts: Option<NonZeroU32>,
    /// Unknown samples in a row until UNKNOWN.
    pub unknown_limit: Option<NonZeroU32>,
    /// `false` silences: the field is not judged.
    pub enabled: Option<bool>,
    /// Names of contacts; empty means all.
    pub contacts: Option<Vec<String>>,
    /// Told of the group, and only when so many of its nodes have the problem.
    pub quorum: Option<Quorum>,
    /// A problem is told again each time so long after the last telling.
    pub renotify: Option<Span>,
    /// A problem that has lasted so long is told to `escalate_to`, too.
    pub escalate_after: Option<Span>,
    /// Names of contacts.
    pub escalate_to: Option<Vec<String>>,
    /// A field that has crossed a limit is back only when it is so far inside.
    pub hysteresis: Option<f64>,
    /// What a notice carries along.
    pub labels: BTreeMap<String, String>,
    /// Judges this instead of fields: an expression over a service's fields, …
    pub value: Option<Formula>,
    /// … which is called so.
    #[serde(rename = "as")]
    pub name: Option<String>,
    /// A field of which nothing came for so long is CRITICAL, while its node reports.
    pub absent_for: Option<Span>,
    /// The name of the `[[period]]` in which problems are told; at other times they
    /// wait for it.
    pub period: Option<String>,
    /// That period.
    #[serde(skip)]
    pub(super) when_told: Option<Arc<Period>>,
}

impl Rule {
    pub(super) fn sets_nothing(&self) -> bool {
        let blank = Rule {
            node: self.node.clone(),
            group: self.group.clone(),
            service: self.service.clone(),
            field: self.field.clone(),
            ..Rule::default()
        };
        *self == blank
    }

    /// What cannot be meant.
    pub(super) fn is_wrong(&self) -> Option<&'static str> {
        if self.escalate_after.is_some() != self.escalate_to.is_some() {
            return Some("escalate_after and escalate_to belong together");
        }
        if self.hysteresis.is_some_and(|h| !h.is_finite() || h < 0.0) {
            return Some("hysteresis: a number that is not negative, in the field's own unit");
        }
        if self.value.is_some() != self.name.is_some() {
            return Some("value and as belong together: as = \"hit_ratio\"");
        }
        if self.value.is_some() {
            if self.service.0.is_empty() || !self.field.0.is_empty() {
                return Some("value: name the service (a pattern), and no field");
            }
            if self.warning.is_none() && self.critical.is_none() {
                return Some("value: give it a warning or a critical range");
            }
            if self.absent_for.is_some() {
                return Some("absent_for is for fields: give it a rule of its own");
            }
        }
        if self.absent_for.is_some() && self.service.0.is_empty() {
            return Some("absent_for: of which service? (a pattern)");
        }
        if self.absent_for.is_some_and(|s| s.0 < RENOTIFY_MS_MIN) {
            return Some("absent_for: at least 1m");
        }
        let short = |s: &Option<Span>| s.is_some_and(|s| s.0 < RENOTIFY_MS_MIN);
        short(&self.renotify).then_some("renotify: at least 1m")
    }

    pub(super) fn matches(&self, node: &str, group: &str, service: &str, field: &str) -> bool {
        self.field.matches(field)
            && self.service.matches(service)
            && self.node.matches(node)
            && self.group.matches(group)
    }

    pub(super) fn apply(&self, terms: &mut Terms) {
        if let Some(Limit(range)) = self.warning {
            terms.warning = range;
        }
        if let Some(Limit(range)) = self.critical {
            terms.critical = range;
        }
        if let Some(n) = self.max_check_attempts {
            terms.max_check_attempts = Some(n.get());
        }
        if let Some(n) = self.unknown_limit {
            terms.unknown_limit = Some(n.get());
        }
        if let Some(enabled) = self.enabled {
            terms.enabled = enabled;
        }
        if let Some(contacts) = &self.contacts {
            terms.contacts.clone_from(contacts);
        }
        terms.quorum = self.quorum.or(terms.quorum);
        if let Some(Span(ms)) = self.renotify {
            terms.lasting.renotify_ms = Some(ms);
        }
        if let Some((Span(ms), to)) = self.escalate_after.zip(self.escalate_to.clone()) {
            terms.lasting.escalate = Some((ms, to));
        }
        if let Some(hysteresis) = self.hysteresis {
            terms.hysteresis = hysteresis;
        }
        terms.absent_ms = self.absent_for.map(|s| s.0).or(terms.absent_ms);
        if let Some(period) = &self.when_told {
            terms.period = Some(period.clone());
        }
        terms.labels.extend(self.labels.iter().map(|(k, v)| (k.clone(), v.clone())));
    }
}
