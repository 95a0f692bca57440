//! A schedule's fleet as the alert machine knows it; used here, and by the collector's
//! test of the whole way (`collector/src/watch/promise.rs`).

use rookery_alerts::period::TimesConfig;
use rookery_alerts::{
    Acknowledgement, ContactConfig, Downtime, Machine, Output, Plan, Rules, Settings,
};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec};
use rookery_promise::{Down, STEP_S, Schedule, Thing, Value, What};

/// The nodes of a schedule.
pub struct Fleet<'s> {
    pub schedule: &'s Schedule,
    specs: Vec<Vec<ServiceSpec>>,
    plans: Vec<Option<(Layout, Plan)>>,
}

/// Its rules.
pub fn rules(schedule: &Schedule) -> Rules {
    Rules::load(&[("r.toml".to_owned(), schedule.rules())]).expect("rules")
}

/// Its `[alerting]`.
pub fn settings(schedule: &Schedule) -> Settings {
    serde_json::from_value(schedule.alerting()).expect("settings")
}

/// Its contacts.
pub fn contacts(schedule: &Schedule) -> Vec<ContactConfig> {
    #[derive(serde::Deserialize)]
    struct File {
        contact: Vec<ContactConfig>,
    }
    let file: File = toml::from_str(&schedule.contact_tables()).expect("contacts");
    file.contact
}

/// The index of the contact that a channel is of: `contact c1 file`.
pub fn contact_of(channel: &str) -> usize {
    let name = channel.split(' ').nth(1).expect("a contact");
    name[1..].parse::<usize>().expect("a number") - 1
}

impl Fleet<'_> {
    pub fn new(schedule: &Schedule) -> Fleet<'_> {
        let field = |k: usize| FieldSpec::gauge(&format!("f{k}"), "");
        let spec = |(j, s): (usize, &rookery_promise::Service)| ServiceSpec {
            step_ms: STEP_S as u64 * 1000,
            ..ServiceSpec::new(&format!("s{}", j + 1), "", "t")
                .fields((1..=s.fields).map(field).collect())
        };
        let nodes = schedule.nodes.iter();
        let specs = nodes.map(|n| n.services.iter().enumerate().map(spec).collect()).collect();
        Fleet { schedule, specs, plans: schedule.nodes.iter().map(|_| None).collect() }
    }

    /// Makes it known to a machine that was just started.
    pub fn introduce(&mut self, machine: &mut Machine) {
        for (i, specs) in self.specs.iter().enumerate() {
            machine.know(&format!("n{}", i + 1), &self.schedule.group(i), specs.iter());
        }
        self.plans.fill_with(|| None);
    }

    /// Has the machine see a node's row.
    pub fn row(
        &mut self,
        machine: &mut Machine,
        node: usize,
        cells: &[Vec<Value>],
        (time_ms, now_ms): (i64, i64),
        out: &mut Vec<Output>,
    ) {
        let specs = &self.specs[node];
        let group = self.schedule.group(node);
        let (layout, plan) = self.plans[node].get_or_insert_with(|| {
            let key = |s: &ServiceSpec, f: &FieldSpec| FieldKey::new(&s.name, &f.name);
            let keys = specs.iter().flat_map(|s| s.fields.iter().map(move |f| key(s, f)));
            let layout = Layout::new(keys.collect());
            let find = |s: &str| specs.iter().find(|x| x.name == s);
            let plan = machine.plan(&format!("n{}", node + 1), &group, &find, &layout);
            (layout, plan)
        });
        let number = |name: &str| name[1..].parse::<usize>().expect("a number") - 1;
        let mut row = Cells::new();
        for key in layout.fields() {
            match cells[number(&key.service)][number(&key.field)] {
                Value::Ok => row.push(5i64),
                Value::Warning => row.push(15i64),
                Value::Critical => row.push(25i64),
                Value::Unknown => row.push(rookery_plugins::Value::Unknown),
                Value::Absent => row.push_absent(),
            }
        }
        machine.observe(plan, time_ms, row.kinds(), row.bits(), now_ms, out);
    }
}

fn place(thing: Thing) -> (String, Option<String>) {
    match thing {
        Thing::Node(n) => (format!("n{}", n + 1), None),
        Thing::Service(n, s) => (format!("n{}", n + 1), Some(format!("s{}", s + 1))),
        Thing::Pool(_) => ("g".to_owned(), Some("s1".to_owned())),
    }
}

/// Asks for acknowledgements and downtimes; the error says why not.
pub fn ask(
    machine: &mut Machine,
    what: &What,
    now_ms: i64,
    out: &mut Vec<Output>,
) -> Result<(), String> {
    let (author, comment) = ("ann".to_owned(), String::new());
    match *what {
        What::Ack(thing, sticky, for_s) => {
            let (node, service) = place(thing);
            let until_ms = for_s.map(|s| now_ms + s * 1000);
            let ack = Acknowledgement { author, comment, time_ms: now_ms, until_ms, sticky };
            machine.acknowledge(&node, service.as_deref(), ack, out)
        }
        What::Unack(thing) => {
            let (node, service) = place(thing);
            machine.unacknowledge(&node, service.as_deref(), out)
        }
        What::Cancel(id) => machine.cancel_downtime(&format!("d{id}"), out),
        What::Downtime(id, node, service, down) => {
            let (from_ms, to_ms) = match down {
                Down::Fixed(from, to) => (now_ms + from * 1000, now_ms + to * 1000),
                Down::Repeating(_) => (now_ms, now_ms + 86_400_000),
                Down::Flexible(window, _) => (now_ms, now_ms + window * 1000),
            };
            let repeat = match down {
                Down::Repeating(span) => {
                    Some(TimesConfig { zone: "UTC".to_owned(), times: vec![span.text()] })
                }
                _ => None,
            };
            let downtime = Downtime {
                id: format!("d{id}"),
                node: Some(format!("n{}", node + 1)),
                group: None,
                service: service.map(|s| format!("s{}", s + 1)),
                from_ms,
                to_ms,
                author,
                comment,
                repeat,
                flexible_ms: match down {
                    Down::Flexible(_, s) => Some(s * 1000),
                    _ => None,
                },
                began_ms: None,
                exact: false,
            };
            machine.add_downtime(downtime, now_ms, out)
        }
        _ => Ok(()),
    }
}
