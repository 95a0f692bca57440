//! What is kept for a restart, and the machine rebuilt from it.

use super::Machine;
use super::flap::Flap;
use crate::output::{FieldValue, Output, RecordState, StateRecord};
use rookery_plugins::{Range, State};
use std::collections::BTreeMap;

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
                    node.incident.clone_from(incident);
                    node.acknowledged.clone_from(acknowledged);
                    node.dirty = false;
                }
                RecordState::Service { .. } => self.restore_service(&record.state),
                RecordState::Downtime { downtime } => self.downtimes.push(downtime.clone()),
                RecordState::Pool { group, service, incident } => {
                    self.restore_pool(group, service.as_deref(), incident);
                }
                RecordState::Gone => {}
            }
        }
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
        s.incident.clone_from(incident);
        s.acknowledged.clone_from(acknowledged);
    }

    /// Forgets a service that is gone, without telling anyone; its records
    /// become [`RecordState::Gone`].
    pub fn forget_service(&mut self, node: &str, service: &str, out: &mut Vec<Output>) {
        let Some(node_idx) = self.by_name.get(node) else { return };
        let node = &mut self.nodes[*node_idx as usize];
        if let Some(idx) = node.services.remove(service) {
            self.services[idx as usize].gone = true;
            out.push(gone(format!("service/{}/{service}", node.name)));
        }
    }

    /// Forgets a node and its services, without telling anyone. Rows of its
    /// old plans say nothing any more; a new plan makes it known again.
    pub fn forget_node(&mut self, node: &str, out: &mut Vec<Output>) {
        let Some(idx) = self.by_name.remove(node) else { return };
        let node = &mut self.nodes[idx as usize];
        node.gone = true;
        for (name, idx) in std::mem::take(&mut node.services) {
            self.services[idx as usize].gone = true;
            out.push(gone(format!("service/{}/{name}", node.name)));
        }
        out.push(gone(format!("host/{}", node.name)));
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
                incident: node.incident.clone(),
                acknowledged: node.acknowledged.clone(),
            },
        }
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
                incident: s.incident.clone(),
                acknowledged: s.acknowledged.clone(),
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

fn gone(key: String) -> Output {
    Output::StateChanged(StateRecord { key, state: RecordState::Gone })
}
