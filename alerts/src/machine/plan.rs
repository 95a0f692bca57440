//! Which columns of a row are judged, found once per layout.

use super::derived::Cdef;
use super::{Lasting, Machine, NEVER, Slot};
use crate::rules::Terms;
use rookery_plugins::{FieldSpec, Layout, LayoutId, ServiceSpec, State};
use std::collections::{BTreeMap, BTreeSet};

/// What to judge in the rows of one layout of one node. Belongs to the machine
/// that made it; make a new one when the layout or the services change.
#[derive(Debug)]
pub struct Plan {
    pub(super) node: u32,
    pub(super) slot: u32,
    /// A service and how many of `columns`, in order, are its own.
    pub(super) services: Vec<(u32, u32)>,
    /// A row's cell and its field.
    pub(super) columns: Vec<(u32, u32)>,
    /// Fields whose cdef needs their siblings: the service and the field, in the order
    /// of `services`.
    pub(super) derived: Vec<(u32, u32)>,
    /// Fields that are computed of those of a service: the service and the field.
    pub(super) formulas: Vec<(u32, u32)>,
    notes: Vec<String>,
}

impl Plan {
    /// Judges nothing yet.
    fn new(node: u32) -> Plan {
        Plan {
            node,
            slot: 0,
            services: vec![],
            columns: vec![],
            derived: vec![],
            formulas: vec![],
            notes: vec![],
        }
    }

    /// What is wrong with the plugins' own limits and cdefs, for the log.
    pub fn notes(&self) -> &[String] {
        &self.notes
    }

    pub(super) fn add_note(&mut self, note: String) {
        self.notes.push(note);
    }

    /// How many cells of a row are judged.
    pub fn len(&self) -> usize {
        self.columns.len()
    }

    /// Whether no cell has limits.
    pub fn is_empty(&self) -> bool {
        self.columns.is_empty()
    }
}

impl Machine {
    /// The plan for a node's layout. `services` finds a service of that node
    /// by name; a service that it does not know is not judged.
    pub fn plan<'a>(
        &mut self,
        node: &str,
        group: &str,
        services: &dyn Fn(&str) -> Option<&'a ServiceSpec>,
        layout: &Layout,
    ) -> Plan {
        let node_idx = self.node_idx(node);
        self.settle_node(node_idx, group);
        let mut by_service: BTreeMap<&str, Vec<(u32, &str)>> = BTreeMap::new();
        for (i, key) in layout.fields().iter().enumerate() {
            by_service.entry(&key.service).or_default().push((i as u32, &key.field));
        }
        let mut plan = Plan::new(node_idx);
        let mut step_ms = 0i64;
        for (name, columns) in by_service {
            let Some(spec) = services(name) else { continue };
            let step = i64::try_from(spec.step_ms).unwrap_or(0);
            if step > 0 && (step_ms == 0 || step < step_ms) {
                step_ms = step;
            }
            self.plan_service(&mut plan, spec, name, &columns);
        }
        plan.slot = self.slot_idx(node_idx, layout.id(), step_ms);
        plan
    }

    /// Makes a node's services known before its first row, so that what is said of it
    /// names them all.
    pub fn know<'a>(
        &mut self,
        node: &str,
        group: &str,
        services: impl Iterator<Item = &'a ServiceSpec>,
    ) {
        let node_idx = self.node_idx(node);
        self.settle_node(node_idx, group);
        let mut plan = Plan::new(node_idx);
        for spec in services {
            self.plan_service(&mut plan, spec, &spec.name, &[]);
        }
    }

    fn slot_idx(&mut self, node: u32, layout: LayoutId, step_ms: i64) -> u32 {
        let node = &mut self.nodes[node as usize];
        // The first sight of a step is kept for a restart.
        node.dirty = true;
        if let Some(i) = node.slots.iter().position(|s| s.layout == layout) {
            node.slots[i].step_ms = step_ms;
            return i as u32;
        }
        node.slots.push(Slot {
            layout,
            step_ms,
            last_now_ms: NEVER,
            last_time_ms: NEVER,
            steady: 0,
            // Expected from its first row on.
            retired: true,
        });
        (node.slots.len() - 1) as u32
    }

    fn plan_service(
        &mut self,
        plan: &mut Plan,
        spec: &ServiceSpec,
        name: &str,
        columns: &[(u32, &str)],
    ) {
        let (node, group) = {
            let n = &self.nodes[plan.node as usize];
            (n.name.clone(), n.group.clone())
        };
        let terms: Vec<(&FieldSpec, Terms)> =
            spec.fields.iter().map(|f| (f, self.rules.terms_of(&node, &group, spec, f))).collect();
        let judged = |t: &Terms| {
            t.enabled && (t.warning.is_some() || t.critical.is_some() || t.absent_ms.is_some())
        };
        let formulas = self.formulas_of(plan, spec, name);
        let known = self.nodes[plan.node as usize].services.contains_key(name);
        if !known && formulas.is_empty() && !terms.iter().any(|(_, t)| judged(t)) {
            plan.notes.extend(terms.into_iter().flat_map(|(_, t)| t.notes));
            return;
        }
        let service = self.service_idx(plan.node, name);
        spec.title.clone_into(&mut self.services[service as usize].title);
        spec.said.clone_into(&mut self.services[service as usize].said);
        self.services[service as usize].step_ms = i64::try_from(spec.step_ms).unwrap_or(0);
        let all = terms.iter().map(|(_, t)| t).filter(|t| judged(t));
        self.settle_service(service, all.chain(formulas.iter().map(|(_, _, t)| t)));
        let mut active = BTreeSet::new();
        let mut sources = self.settle_formulas(plan, service, spec, formulas, &mut active);
        for (field, terms) in terms {
            plan.notes.extend(terms.notes.iter().cloned());
            if judged(&terms) {
                let idx = self.field_idx(service, &field.name);
                let cdef = self.cdef_of(plan, service, spec, field);
                self.settle_field(idx, field, &terms, cdef);
                active.insert(idx);
            }
        }
        self.settle_siblings(plan, service, spec, &active, &mut sources);
        let mut n = 0;
        for (column, field) in columns {
            let of = &self.services[service as usize].fields;
            let idx = of.iter().find(|i| self.fields[**i as usize].name == *field);
            if let Some(idx) = idx.filter(|i| active.contains(i) || sources.contains(i)) {
                plan.columns.push((*column, *idx));
                n += 1;
            }
        }
        // A field without limits any more must not keep its service from
        // being OK again, whether another row comes or not.
        for idx in &self.services[service as usize].fields {
            if !active.contains(idx) {
                let field = &mut self.fields[*idx as usize];
                if field.active && field.state != State::Ok {
                    self.resettled.insert(service);
                }
                (field.active, field.state) = (false, State::Ok);
                (field.absent_ms, field.is_absent) = (None, false);
                (field.arrived_ms, field.is_late) = (NEVER, false);
                self.expected.remove(idx);
            }
        }
        plan.services.push((service, n));
    }

    fn settle_service<'t>(&mut self, service: u32, terms: impl Iterator<Item = &'t Terms>) {
        let default = self.settings.max_check_attempts.max(1);
        let service = &mut self.services[service as usize];
        let node = &self.nodes[service.node as usize];
        service.depends = self.rules.dependencies_of(&node.name, &node.group, Some(&service.name));
        // A field that is always told of makes the service one that is.
        let mut period = None;
        let mut is_always = false;
        let mut attempts: Option<u32> = None;
        let mut contacts = Some(BTreeSet::new());
        service.labels.clear();
        // A field that is told by itself makes the service one that is.
        let mut quorum = None;
        let mut is_alone = false;
        service.lasting = Lasting::default();
        for t in terms {
            let mine = t.max_check_attempts.unwrap_or(default);
            attempts = Some(attempts.map_or(mine, |a| a.min(mine)));
            // A field for all contacts makes the service one for all.
            match &mut contacts {
                Some(set) if !t.contacts.is_empty() => set.extend(t.contacts.iter().cloned()),
                _ => contacts = None,
            }
            service.labels.extend(t.labels.clone());
            service.lasting.merge(&t.lasting);
            is_always |= t.period.is_none();
            period = period.or_else(|| t.period.clone());
            is_alone |= t.quorum.is_none();
            quorum = quorum.or(t.quorum);
        }
        service.period = period.filter(|_| !is_always);
        service.quorum = quorum.filter(|_| !is_alone);
        service.attempts_max = attempts.unwrap_or(default);
        service.contacts = contacts.unwrap_or_default().into_iter().collect();
    }

    /// Has a service's fields read that the cdefs of others need, and notes which those
    /// others are.
    fn settle_siblings(
        &mut self,
        plan: &mut Plan,
        service: u32,
        spec: &ServiceSpec,
        active: &BTreeSet<u32>,
        sources: &mut BTreeSet<u32>,
    ) {
        let used: Vec<u32> = active.union(sources).copied().collect();
        for idx in used {
            let Some(Cdef::Of(_, of)) = &self.fields[idx as usize].cdef else { continue };
            let of = of.clone();
            plan.derived.push((service, idx));
            for sibling in of {
                let name = &self.fields[sibling as usize].name;
                let field = spec.fields.iter().find(|f| f.name == *name);
                if let Some(field) = field.filter(|_| !active.contains(&sibling))
                    && sources.insert(sibling)
                {
                    // Its own cdef is nothing to those who read it.
                    self.settle_field(sibling, field, &Terms::default(), None);
                }
            }
        }
    }

    pub(super) fn settle_field(
        &mut self,
        idx: u32,
        spec: &FieldSpec,
        terms: &Terms,
        cdef: Option<Cdef>,
    ) {
        let default = self.settings.unknown_limit.max(1);
        let field = &mut self.fields[idx as usize];
        if field.kind != spec.kind {
            (field.kind, field.before) = (spec.kind, None);
        }
        spec.label_or_name().clone_into(&mut field.label);
        field.extinfo =
            spec.extra.get(rookery_plugins::munin::EXTINFO).cloned().unwrap_or_default();
        (field.min, field.max, field.cdef) = (spec.min, spec.max, cdef);
        (field.warning, field.critical) = (terms.warning, terms.critical);
        field.unknown_limit = terms.unknown_limit.unwrap_or(default);
        field.hysteresis = terms.hysteresis;
        field.active = true;
        field.absent_ms = terms.absent_ms;
        match terms.absent_ms {
            Some(_) => self.expected.insert(idx),
            None => self.expected.remove(&idx),
        };
    }
}
