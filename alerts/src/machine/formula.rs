//! Fields that rules compute of others, and fields of which nothing comes.

use super::learn::Learning;
use super::{Formula, Kept, Machine, NEVER, Plan};
use crate::expression::{Expression, Missing};
use crate::memory::{Memory, Middle};
use crate::output::{Output, RecordState, StateRecord};
use crate::rules::Terms;
use rookery_plugins::config::nearest;
use rookery_plugins::{FieldSpec, HostState, ServiceSpec, State, TimeMs};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// Absence is looked for so often, ms.
const ABSENCE_EVERY_MS: i64 = 5000;
/// A node that sent something old within this, ms, brings along what it measured before.
const REPLAY_MS: i64 = 60_000;
/// What forecasts have seen is written down so often, ms: as much is lost by a kill.
const KEEP_EVERY_MS: i64 = 600_000;

/// So many at a time, so that no commit is large: 720,000 in an hour.
const KEEP_AT_ONCE: usize = 1000;
/// Peers are compared so often, ms; …
const PEERS_EVERY_MS: i64 = 10_000;
/// … those of whom something was heard within this, ms.
const PEERS_OLD_MS: i64 = 600_000;

/// A rule's name, expression and terms.
type Named = (String, Arc<Expression>, Terms);

impl Machine {
    /// What rules compute of a service. What names fields that it has not is noted.
    pub(super) fn formulas_of(
        &self,
        plan: &mut Plan,
        spec: &ServiceSpec,
        service: &str,
    ) -> Vec<Named> {
        let node = &self.nodes[plan.node as usize];
        let services: Vec<&str> = [service].into_iter().chain(spec.old_names()).collect();
        let mut all = self.rules.formulas(&node.name, &node.group, &services);
        all.retain(|(name, expression, terms)| {
            let known: Vec<&str> = spec.fields.iter().map(|f| f.name.as_str()).collect();
            let lost = expression.fields().iter().find(|f| spec.field_once(f).is_none());
            let place = format!("{} {service}: the rule's value {name:?}", node.name);
            if let Some(field) = lost {
                let near = nearest(field, &known).map(|n| format!("; did you mean {n:?}?"));
                let near = near.unwrap_or_default();
                plan.add_note(format!("{place} names {field:?}, which it has not{near}"));
            } else if known.contains(&name.as_str()) {
                plan.add_note(format!("{place} is a field's name: choose another"));
            } else {
                return terms.enabled;
            }
            false
        });
        all
    }

    /// Makes their fields; the answer is what they are computed of.
    pub(super) fn settle_formulas(
        &mut self,
        plan: &mut Plan,
        service: u32,
        spec: &ServiceSpec,
        formulas: Vec<Named>,
        active: &mut BTreeSet<u32>,
    ) -> BTreeSet<u32> {
        let mut sources = BTreeSet::new();
        for (name, expression, terms) in formulas {
            let mut of = Vec::new();
            // By the names that they had, too.
            for field in expression.fields().iter().filter_map(|name| spec.field_once(name)) {
                let idx = self.field_idx(service, &field.name);
                let cdef = self.cdef_of(plan, service, spec, field);
                self.settle_field(idx, field, &Terms::default(), cdef);
                of.push(idx);
            }
            sources.extend(of.iter().copied());
            let idx = self.field_idx(service, &name);
            self.settle_field(idx, &FieldSpec::gauge(&name, &name), &terms, None);
            active.insert(idx);
            let key = self.memory_key(service, &name);
            let old = self.fields[idx as usize].formula.take();
            let formula = match old.filter(|f| f.expression == expression) {
                Some(known) => Formula { of, ..*known },
                None => self.new_formula(&key, expression, of),
            };
            // Only those that remember something are looked at now and then.
            match formula.memory.is_empty() {
                true => self.formulas.remove(&idx),
                false => self.formulas.insert(idx),
            };
            self.fields[idx as usize].formula = Some(Box::new(formula));
            plan.formulas.push((service, idx));
        }
        sources
    }

    /// A formula that goes on with what was written down of it, if that is its own.
    fn new_formula(&mut self, key: &str, expression: Arc<Expression>, of: Vec<u32>) -> Formula {
        let kept = self.kept.remove(key);
        let is_own = |k: &Kept| k.of == expression.text() && expression.fits(&k.memory);
        let (memory, seen) = match kept.filter(is_own) {
            Some(kept) => (kept.memory, kept.seen),
            None => (expression.memory(), None),
        };
        let asks = self.has_history && expression.asks(true).is_some();
        let learning = asks.then(|| Learning::new(&memory, seen));
        Formula { expression, of, memory, kept_ms: NEVER, seen, learning }
    }

    /// The records of a service's memories are of no use any more.
    pub(super) fn forget_memories(&mut self, service: u32, out: &mut Vec<Output>) {
        for f in self.services[service as usize].fields.clone() {
            let field = &mut self.fields[f as usize];
            self.expected.remove(&f);
            self.formulas.remove(&f);
            self.wanting.remove(&f);
            if field.formula.take().is_some_and(|formula| !formula.memory.is_empty()) {
                let key = self.memory_key(service, &self.fields[f as usize].name);
                out.push(Output::StateChanged(StateRecord { key, state: RecordState::Gone }));
            }
        }
    }

    /// The service's node is about to be called otherwise: what its memories were kept
    /// under is of no use any more, and they are kept again soon.
    pub(super) fn move_memories(&mut self, service: u32, out: &mut Vec<Output>) {
        for f in self.services[service as usize].fields.clone() {
            let key = self.memory_key(service, &self.fields[f as usize].name);
            let formula = self.fields[f as usize].formula.as_mut();
            if let Some(formula) = formula.filter(|formula| !formula.memory.is_empty()) {
                formula.kept_ms = NEVER;
                out.push(Output::StateChanged(StateRecord { key, state: RecordState::Gone }));
            }
        }
    }

    /// The same for memories that were kept and whose fields are not known yet.
    pub(super) fn move_kept(&mut self, from: &str, to: &str, out: &mut Vec<Output>) {
        // No node's name holds a slash.
        let prefix = format!("memory/{from}/");
        let keys: Vec<String> =
            self.kept.keys().filter(|key| key.starts_with(&prefix)).cloned().collect();
        for key in keys {
            let moved = format!("memory/{to}/{}", &key[prefix.len()..]);
            if let Some(kept) = self.kept.remove(&key) {
                self.kept.insert(moved, kept);
            }
            out.push(Output::StateChanged(StateRecord { key, state: RecordState::Gone }));
        }
    }

    fn memory_key(&self, service: u32, field: &str) -> String {
        let s = &self.services[service as usize];
        format!("memory/{}/{}/{field}", self.nodes[s.node as usize].name, s.name)
    }

    /// Computes what rules compute of a service's fields; whether that said anything.
    /// `is_live`: the row is of the present; `came_ms`: when it came.
    pub(super) fn judge_formulas(
        &mut self,
        plan: &Plan,
        service: u32,
        time_ms: TimeMs,
        (is_live, came_ms): (bool, TimeMs),
    ) -> bool {
        let mut judged = false;
        for (_, idx) in plan.formulas.iter().filter(|(s, _)| *s == service) {
            let field = &mut self.fields[*idx as usize];
            if time_ms <= field.last_ms {
                continue;
            }
            let Some(mut formula) = field.formula.take() else { continue };
            // Of this row, or it is not new.
            let is_new = |i: &u32| {
                let f = &self.fields[*i as usize];
                f.last_ms == time_ms && (!f.is_derived() || f.derived_ms == time_ms)
            };
            let is_whole = formula.of.iter().all(is_new);
            let value = if is_whole {
                let Formula { expression, of, memory, seen, .. } = &mut *formula;
                let since = seen.map_or(time_ms, |s| s.0);
                *seen = Some((since, time_ms));
                let value_of = |i: usize| of.get(i).and_then(|f| self.fields[*f as usize].value);
                expression.eval(time_ms, value_of, memory)
            } else {
                Err(Missing::Nothing)
            };
            let field = &mut self.fields[*idx as usize];
            let is_learning = formula.learning.is_some();
            field.formula = Some(formula);
            if is_whole && is_learning {
                self.note_row(*idx, time_ms, is_live);
            }
            let field = &mut self.fields[*idx as usize];
            if is_whole {
                field.came(came_ms);
            }
            field.value = match value {
                Ok(value) => Some(value),
                Err(Missing::Unknown) => None,
                Err(Missing::Nothing) => continue,
            };
            field.last_ms = time_ms;
            judged |= field.compare();
        }
        judged
    }

    /// Finds fields of which nothing has come for too long, of nodes that report.
    pub(super) fn judge_absence(&mut self, started: TimeMs, now_ms: TimeMs, out: &mut Vec<Output>) {
        if self.expected.is_empty() || now_ms.rem_euclid(ABSENCE_EVERY_MS) >= 1000 {
            return;
        }
        let mut late = Vec::new();
        for idx in self.expected.iter().copied() {
            let service = self.fields[idx as usize].service;
            let s = &self.services[service as usize];
            let node = &self.nodes[s.node as usize];
            // A clock that is off makes all of it old, or none.
            let is_there = !s.gone && !node.gone && node.state == HostState::Up && !node.skewed;
            let field = &self.fields[idx as usize];
            let Some(limit) = field.absent_ms.filter(|_| is_there && !field.is_absent) else {
                continue;
            };
            // Of what has never come it is not known for how long.
            let came = if field.arrived_ms == NEVER { started } else { field.arrived_ms };
            let since = came.max(node.recovered_ms);
            if now_ms.saturating_sub(since) > limit && self.is_heard(s.node, started, now_ms) {
                late.push((service, idx));
            }
        }
        for (_, idx) in &late {
            let field = &mut self.fields[*idx as usize];
            (field.is_absent, field.state, field.value) = (true, State::Critical, None);
        }
        for service in late.into_iter().map(|(service, _)| service).collect::<BTreeSet<_>>() {
            let last_ms = self.services[service as usize].last_ms;
            let time_ms = if last_ms == NEVER { now_ms } else { last_ms.saturating_add(1) };
            self.judge_service(service, time_ms, true, now_ms, out);
        }
    }

    /// Whether a node reports of the present, so that what it does not say is not there:
    /// since the start, and what it measured before has come.
    fn is_heard(&self, node: u32, started: TimeMs, now_ms: TimeMs) -> bool {
        let node = &self.nodes[node as usize];
        // Who sends when there is something to send is not waited for.
        let is_back = node.last_seen_ms >= started || self.step_of(node).is_none();
        let replayed = now_ms.saturating_sub(node.replayed_ms);
        is_back && !(0..REPLAY_MS).contains(&replayed)
    }

    /// Has each field that is compared with its peers know where those are.
    pub(super) fn compare_peers(&mut self, now_ms: TimeMs) {
        if self.formulas.is_empty() || now_ms.rem_euclid(PEERS_EVERY_MS) >= 1000 {
            return;
        }
        // By group, service, field and which of its functions it is.
        let mut of: BTreeMap<(&str, &str, &str, usize), Vec<f64>> = BTreeMap::new();
        let mut mine = Vec::new();
        for idx in &self.formulas {
            let field = &self.fields[*idx as usize];
            let (s, formula) = (&self.services[field.service as usize], field.formula.as_ref());
            for (i, memory) in formula.iter().flat_map(|f| &f.memory).enumerate() {
                let Memory::Peers(peers) = memory else { continue };
                let node = &self.nodes[s.node as usize];
                let is_old = now_ms.saturating_sub(peers.time_ms) > PEERS_OLD_MS;
                if s.gone || node.gone || is_old {
                    continue;
                }
                let key = (node.group.as_str(), s.name.as_str(), field.name.as_str(), i);
                of.entry(key).or_default().push(peers.value);
                mine.push((*idx, key));
            }
        }
        let middles: BTreeMap<_, _> =
            of.into_iter().map(|(key, all)| (key, Middle::of(all))).collect();
        let found: Vec<(u32, usize, Option<Middle>)> =
            mine.into_iter().map(|(idx, key)| (idx, key.3, middles[&key])).collect();
        for (idx, i, middle) in found {
            if let Some(formula) = &mut self.fields[idx as usize].formula
                && let Some(Memory::Peers(peers)) = formula.memory.get_mut(i)
            {
                peers.middle = middle;
            }
        }
    }

    /// Writes down what forecasts have seen, now and then.
    pub(super) fn keep_memories(&mut self, now_ms: TimeMs, out: &mut Vec<Output>) {
        if now_ms.rem_euclid(ABSENCE_EVERY_MS) >= 1000 {
            return;
        }
        let mut due = Vec::new();
        for f in &self.formulas {
            if due.len() >= KEEP_AT_ONCE {
                break;
            }
            let field = &self.fields[*f as usize];
            let Some(formula) = &field.formula else { continue };
            let waited = now_ms.saturating_sub(formula.kept_ms);
            let is_gone = self.services[field.service as usize].gone;
            // What was kept knows better than what has begun anew.
            let is_whole = !formula.memory.is_empty() && formula.learning.is_none();
            if !is_gone && is_whole && !(0..KEEP_EVERY_MS).contains(&waited) {
                due.push((field.service, *f));
            }
        }
        for (service, f) in due {
            let key = self.memory_key(service, &self.fields[f as usize].name);
            let (node, s) =
                (self.services[service as usize].node, &self.services[service as usize]);
            let (node, service) = (self.nodes[node as usize].name.clone(), s.name.clone());
            let field = &mut self.fields[f as usize];
            let Some(formula) = &mut field.formula else { continue };
            formula.kept_ms = now_ms;
            let (of, seen) = (formula.expression.text().to_owned(), formula.seen);
            let (field, memory) = (field.name.clone(), formula.memory.clone());
            let state = RecordState::Memory { node, service, field, memory, of, seen };
            out.push(Output::StateChanged(StateRecord { key, state }));
        }
    }
}
