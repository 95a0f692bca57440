//! What is kept for a restart, and the machine rebuilt from it.

use super::flap::Flap;
use super::pool::Pool;
use super::{Kept, Machine, Member, Thread};
use crate::output::{FieldValue, Incident, Output, RecordState, StateRecord, Status};
use rookery_plugins::{Range, State};
use std::collections::{BTreeMap, BTreeSet};

impl Machine {
    /// Rebuilds the states from the records that were kept. To be called
    /// before the first plan; nothing that was told is told again.
    pub fn restore(&mut self, records: &[StateRecord]) {
        for record in records {
            match &record.state {
                RecordState::Host {
                    node,
                    group,
                    state,
                    since_ms,
                    step_ms,
                    incident,
                    acknowledged,
                } => {
                    let idx = self.node_idx(node);
                    self.settle_node(idx, group);
                    let node = &mut self.nodes[idx as usize];
                    (node.state, node.since_ms, node.step_ms) = (*state, *since_ms, *step_ms);
                    node.incident = incident.as_ref().map(|i| i.id.clone());
                    node.acknowledged.clone_from(acknowledged);
                    node.dirty = false;
                    if acknowledged.is_some() {
                        self.acknowledged.insert(Member::Node(idx));
                    }
                    let node = &self.nodes[idx as usize];
                    let lead = (node.name.clone(), None);
                    let told = Status::Host(*state);
                    self.restore_member(Member::Node(idx), incident.as_ref(), lead, told);
                }
                RecordState::Service { .. } => self.restore_service(&record.state),
                RecordState::Downtime { downtime } => self.restore_downtime(downtime),
                RecordState::Pool { group, service, incident, told, contacts, acknowledged } => {
                    let told = told.unwrap_or(State::Critical);
                    let mut pool = Pool::new(incident.clone(), told);
                    pool.contacts.clone_from(contacts);
                    pool.acknowledged.clone_from(acknowledged);
                    self.restore_pool((group.clone(), service.clone()), pool);
                }
                RecordState::Incident { .. } => self.restore_thread(&record.state),
                RecordState::Memory { memory, of, seen, .. } => {
                    let (of, memory) = (of.clone(), memory.clone());
                    let kept = Kept { of, memory, seen: *seen };
                    self.kept.insert(record.key.clone(), kept);
                }
                RecordState::Gone => {}
            }
        }
        self.threads.retain(|_, t| !t.members.is_empty());
        self.is_awake = false;
    }

    /// An incident as it was written down; its members come by their own records.
    fn restore_thread(&mut self, record: &RecordState) {
        let RecordState::Incident { incident, node, service, told, opened_ms, n_told, n_all } =
            record
        else {
            return;
        };
        let members = self.threads.remove(&incident.id).map(|t| t.members).unwrap_or_default();
        let thread = Thread {
            incident: incident.clone(),
            node: node.clone(),
            service: service.clone(),
            told: *told,
            opened_ms: *opened_ms,
            n_told: *n_told,
            n_all: *n_all,
            members,
        };
        self.threads.insert(incident.id.clone(), thread);
    }

    /// Puts a member back into its incident; into one of its own where there is no
    /// record of it, as in databases of before there were such records.
    fn restore_member(
        &mut self,
        member: Member,
        incident: Option<&Incident>,
        (node, service): (String, Option<String>),
        told: Status,
    ) {
        let Some(incident) = incident else { return };
        let thread = self.threads.entry(incident.id.clone()).or_insert_with(|| Thread {
            incident: incident.clone(),
            node,
            service,
            told,
            opened_ms: incident.told_ms,
            n_told: 1,
            n_all: 1,
            members: BTreeSet::new(),
        });
        thread.members.insert(member);
    }

    fn restore_service(&mut self, record: &RecordState) {
        let RecordState::Service {
            node,
            service,
            state,
            hard,
            attempt,
            since_ms,
            problem_ms,
            hard_state,
            notified,
            incident,
            acknowledged,
            is_owed,
            flap_told,
            is_stale,
            last_ms,
            flap_bits,
            flapping,
            fields,
        } = record
        else {
            return;
        };
        let node = self.node_idx(node);
        let idx = self.service_idx(node, service);
        for kept in fields {
            let f = self.field_idx(idx, &kept.field);
            let limit = kept.limit.as_deref().and_then(|l| l.parse::<Range>().ok());
            let field = &mut self.fields[f as usize];
            kept.label.clone_into(&mut field.label);
            kept.extinfo.clone_into(&mut field.extinfo);
            (field.state, field.value, field.last_ms) = (kept.state, kept.value, *last_ms);
            match kept.state {
                State::Critical => field.critical = limit,
                State::Warning => field.warning = limit,
                State::Unknown => field.unknowns = field.unknown_limit,
                State::Ok => {}
            }
        }
        let s = &mut self.services[idx as usize];
        (s.state, s.hard, s.attempt) = (*state, *hard, *attempt);
        (s.since_ms, s.problem_ms, s.last_ms) = (*since_ms, *problem_ms, *last_ms);
        (s.hard_state, s.notified) = (*hard_state, *notified);
        s.seen = Some(if *hard { *state } else { *hard_state });
        s.flap = Flap { bits: *flap_bits, active: *flapping };
        (s.is_owed, s.is_stale) = (*is_owed, *is_stale);
        s.flap_told = flap_told.unwrap_or(*flapping);
        s.incident = incident.as_ref().map(|i| i.id.clone());
        s.acknowledged.clone_from(acknowledged);
        if acknowledged.is_some() {
            self.acknowledged.insert(Member::Service(idx));
        }
        if *state == State::Ok && notified.is_some() {
            self.calming.insert(idx);
        }
        let lead = (self.nodes[node as usize].name.clone(), Some(service.clone()));
        let told = Status::Service(notified.unwrap_or(*state));
        self.restore_member(Member::Service(idx), incident.as_ref(), lead, told);
    }

    /// Forgets a service that is gone; its records become [`RecordState::Gone`]. Who was
    /// notified of a problem of it is notified that it is not watched any more.
    pub fn forget_service(&mut self, node: &str, service: &str, out: &mut Vec<Output>) {
        let Some(node_idx) = self.by_name.get(node) else { return };
        let node = &mut self.nodes[*node_idx as usize];
        if let Some(idx) = node.services.remove(service) {
            self.services[idx as usize].gone = true;
            out.push(gone(format!("service/{}/{service}", node.name)));
            self.forget_memories(idx, out);
            self.drop_member(Member::Service(idx), out);
        }
    }

    /// Forgets a node and its services. Rows of its old plans say nothing any more; a
    /// new plan makes it known again. Who was notified of a problem of it is notified
    /// that it is not watched any more.
    pub fn forget_node(&mut self, node: &str, out: &mut Vec<Output>) {
        let Some(idx) = self.by_name.remove(node) else { return };
        self.nodes[idx as usize].gone = true;
        for (name, idx) in std::mem::take(&mut self.nodes[idx as usize].services) {
            self.services[idx as usize].gone = true;
            out.push(gone(format!("service/{node}/{name}")));
            self.forget_memories(idx, out);
            self.drop_member(Member::Service(idx), out);
        }
        out.push(gone(format!("host/{node}")));
        self.drop_member(Member::Node(idx), out);
    }

    pub(super) fn host_record(&self, i: usize) -> StateRecord {
        let node = &self.nodes[i];
        let steps = node.slots.iter().filter(|s| !s.retired && s.step_ms > 0);
        let step_ms = steps.map(|s| s.step_ms.unsigned_abs()).min().unwrap_or(node.step_ms);
        StateRecord {
            key: format!("host/{}", node.name),
            state: RecordState::Host {
                node: node.name.clone(),
                group: node.group.clone(),
                state: node.state,
                since_ms: node.since_ms,
                step_ms,
                incident: self.incident(node.incident.as_deref()),
                acknowledged: node.acknowledged.clone(),
            },
        }
    }

    fn incident(&self, id: Option<&str>) -> Option<Incident> {
        id.and_then(|id| self.threads.get(id)).map(|t| t.incident.clone())
    }

    pub(super) fn service_record(&self, idx: u32) -> StateRecord {
        let s = &self.services[idx as usize];
        let node = &self.nodes[s.node as usize].name;
        let mut fields = self.field_values(idx);
        fields.retain(|f| f.state != State::Ok);
        StateRecord {
            key: format!("service/{node}/{}", s.name),
            state: RecordState::Service {
                node: node.clone(),
                service: s.name.clone(),
                state: s.state,
                hard: s.hard,
                attempt: s.attempt,
                since_ms: s.since_ms,
                problem_ms: s.problem_ms,
                hard_state: s.hard_state,
                notified: s.notified,
                incident: self.incident(s.incident.as_deref()),
                acknowledged: s.acknowledged.clone(),
                is_owed: s.is_owed,
                flap_told: (s.flap_told != s.flap.active).then_some(s.flap_told),
                is_stale: s.is_stale && s.state != State::Ok,
                last_ms: s.last_ms,
                flap_bits: s.flap.bits,
                flapping: s.flap.active,
                fields,
            },
        }
    }

    /// The judged fields of a service, worst first.
    pub(super) fn field_values(&self, idx: u32) -> Vec<FieldValue> {
        let fields = self.services[idx as usize].fields.iter().map(|f| &self.fields[*f as usize]);
        let mut values: Vec<FieldValue> = fields
            .filter(|f| f.active)
            .map(|f| FieldValue {
                field: f.name.clone(),
                label: f.label.clone(),
                value: f.value,
                state: f.state,
                limit: f.crossed().map(|r| r.to_string()),
                warning: f.warning.map(|r| r.to_string()),
                critical: f.critical.map(|r| r.to_string()),
                extinfo: f.extinfo.clone(),
            })
            .collect();
        values.sort_by_key(|v| std::cmp::Reverse(v.state.severity()));
        values
    }

    /// All that is to be kept, by key: for a backup of the state and tests.
    pub fn records(&self) -> BTreeMap<String, StateRecord> {
        let live = |idx: &u32| !self.services[*idx as usize].gone;
        let services = (0..self.services.len() as u32).filter(live).map(|i| self.service_record(i));
        let hosts = (0..self.nodes.len()).filter(|i| !self.nodes[*i].gone);
        services.chain(hosts.map(|i| self.host_record(i))).map(|r| (r.key.clone(), r)).collect()
    }
}

pub(super) fn gone(key: String) -> Output {
    Output::StateChanged(StateRecord { key, state: RecordState::Gone })
}
