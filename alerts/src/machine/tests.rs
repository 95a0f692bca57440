//! Properties of the machine.

use super::{Machine, Settings};
use crate::output::{NoticeKind, Output, RecordState, StateRecord, Status};
use crate::rules::Rules;
use proptest::prelude::*;
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec, State, Value};
use std::collections::BTreeMap;

fn spec() -> ServiceSpec {
    let fields = vec![
        FieldSpec::gauge("a", "").limits("10", "20"),
        FieldSpec::gauge("b", "").limits("5:", ""),
    ];
    ServiceSpec { step_ms: 10_000, ..ServiceSpec::new("s", "S", "test").fields(fields) }
}

fn layout() -> Layout {
    Layout::new(vec![FieldKey::new("s", "a"), FieldKey::new("s", "b")])
}

#[derive(Clone, Debug)]
enum Act {
    Row { a: u8, b: u8, lag_s: i64 },
    Pause(i64),
    Restart,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        12 => (0u8..4, 0u8..3, prop_oneof![
            6 => Just(0i64), 1 => 0i64..30, 1 => 30i64..4000, 1 => -400i64..0])
            .prop_map(|(a, b, lag_s)| Act::Row { a, b, lag_s }),
        2 => (1i64..200).prop_map(Act::Pause),
        1 => Just(Act::Restart),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    /// Whatever arrives, late, doubled, from the future, with restarts in
    /// between: a problem is told once per state, all notices of a problem
    /// are one incident, and a recovery follows a problem.
    #[test]
    fn one_open_problem_per_service(acts in proptest::collection::vec(act(), 1..120)) {
        let (spec, layout) = (spec(), layout());
        let new = || Machine::new(Rules::default(), Settings::default());
        let mut machine = new();
        let mut plan = machine.plan("n", "", &|_| Some(&spec), &layout);
        let mut store: BTreeMap<String, StateRecord> = BTreeMap::new();
        let mut now = 1_763_640_000_000i64;
        let mut open: BTreeMap<Option<String>, (String, Option<Status>, u32)> = BTreeMap::new();
        let mut ids = std::collections::BTreeSet::new();
        for act in acts {
            let mut out = Vec::new();
            match act {
                Act::Row { a, b, lag_s } => {
                    now += 10_000;
                    let mut cells = Cells::new();
                    cells.push([Value::Int(5), Value::Int(15), Value::Int(25), Value::Unknown]
                        [usize::from(a)]);
                    cells.push([Value::Int(7), Value::Float(1.0), Value::Unknown][usize::from(b)]);
                    machine.tick(now, &mut out);
                    machine.observe(&plan, now - lag_s * 1000, cells.kinds(), cells.bits(), now,
                        &mut out);
                }
                Act::Pause(s) => for _ in 0..s {
                    now += 1000;
                    machine.tick(now, &mut out);
                },
                Act::Restart => {
                    prop_assert_eq!(
                        machine.records().get("service/n/s").map(|r| &r.state).filter(
                            |_| store.contains_key("service/n/s")).map(key_parts),
                        store.get("service/n/s").map(|r| &r.state).map(key_parts));
                    machine = new();
                    machine.restore(&store.values().cloned().collect::<Vec<_>>());
                    plan = machine.plan("n", "", &|_| Some(&spec), &layout);
                }
            }
            for o in out {
                match o {
                    Output::StateChanged(r) => { store.insert(r.key.clone(), r); }
                    Output::Notice(n) => {
                        prop_assert!(ids.insert(n.id.clone()), "{} twice", n.id);
                        let was = open.remove(&n.service);
                        match (n.kind, was) {
                            (NoticeKind::Problem, None) => prop_assert_eq!(n.sequence, 0),
                            (NoticeKind::Problem, Some((incident, state, sequence))) => {
                                prop_assert_eq!(&incident, &n.incident);
                                prop_assert!(n.is_catch_up || state != Some(n.state));
                                prop_assert_eq!(sequence + 1, n.sequence);
                            }
                            (NoticeKind::Flapping, None) => prop_assert_eq!(n.sequence, 0),
                            (NoticeKind::Flapping, Some((incident, _, sequence))) => {
                                prop_assert_eq!(&incident, &n.incident);
                                prop_assert_eq!(sequence + 1, n.sequence);
                            }
                            (NoticeKind::Acknowledgement, _) => prop_assert!(false, "of whom?"),
                            (NoticeKind::Recovery, was) => {
                                let (incident, _, sequence) = was.expect("an open problem");
                                prop_assert_eq!(&incident, &n.incident);
                                prop_assert_eq!(sequence + 1, n.sequence);
                            }
                        }
                        // Steady again, it may be as it was before it flapped.
                        let state = (n.kind == NoticeKind::Problem).then_some(n.state);
                        if n.kind != NoticeKind::Recovery {
                            open.insert(n.service, (n.incident, state, n.sequence));
                        }
                    }
                    Output::Transition(_) => {}
                }
            }
        }
    }

    /// No row panics, whatever its kinds, bits, times and length.
    #[test]
    fn no_row_panics(
        rows in proptest::collection::vec(
            (any::<i64>(), any::<i64>(), proptest::collection::vec((any::<u8>(), any::<u64>()),
            0..4)), 1..20),
    ) {
        let mut spec = spec();
        spec.fields[0].kind = rookery_plugins::FieldType::Counter;
        let mut machine = Machine::new(Rules::default(), Settings::default());
        let plan = machine.plan("n", "", &|_| Some(&spec), &layout());
        let mut out = Vec::new();
        for (time, now, cells) in rows {
            let (kinds, bits): (Vec<u8>, Vec<u64>) =
                cells.into_iter().map(|(k, b)| (k % 6, b)).unzip();
            machine.tick(now, &mut out);
            machine.observe(&plan, time, &kinds, &bits, now, &mut out);
        }
        let _ = machine.problems().count();
    }
}

/// What a stored record must agree on with the machine it came from. (The
/// latest time and values are kept as of the latest change.)
fn key_parts(state: &crate::output::RecordState) -> String {
    let mut json = serde_json::to_value(state).expect("json");
    // Steady states are not written down one by one: a restart counts fewer.
    for key in ["last_ms", "fields", "since_ms", "flap_bits"] {
        json.as_object_mut().expect("a record").remove(key);
    }
    // An incident's own record counts its messages.
    if json["incident"].is_object() {
        json["incident"] = json["incident"]["id"].take();
    }
    json.to_string()
}

#[test]
fn a_limit_that_goes_away_takes_its_problem_along() {
    let with = ServiceSpec { step_ms: 10_000, ..spec() };
    let mut without = with.clone();
    without.fields.iter_mut().for_each(|f| f.warning = None);
    without.fields.iter_mut().for_each(|f| f.critical = None);
    let settings = Settings { max_check_attempts: 1, group_window_ms: 0, ..Settings::default() };
    let mut machine = Machine::new(Rules::default(), settings);
    let mut cells = Cells::new();
    cells.push(25i64);
    cells.push(7i64);
    let (kinds, bits) = (cells.kinds(), cells.bits());
    let mut out = Vec::new();
    let t = 1_763_640_000_000;
    let plan = machine.plan("n", "", &|_| Some(&with), &layout());
    machine.observe(&plan, t, kinds, bits, t, &mut out);
    assert_eq!(machine.problems().count(), 1);
    assert_eq!(machine.service_counts("n"), [0, 0, 1, 0]);
    let field = machine.field_state("n", "s", "a").expect("judged");
    assert_eq!((field.state, field.value), (State::Critical, Some(25.0)));
    let plan = machine.plan("n", "", &|_| Some(&without), &layout());
    machine.observe(&plan, t + 10_000, kinds, bits, t + 10_000, &mut out);
    let kinds: Vec<NoticeKind> = out
        .iter()
        .filter_map(|o| if let Output::Notice(n) = o { Some(n.kind) } else { None })
        .collect();
    assert_eq!(kinds, [NoticeKind::Problem, NoticeKind::Recovery]);
    assert_eq!(machine.problems().count(), 0);
    out.clear();
    machine.forget_node("n", &mut out);
    assert_eq!((out.len(), machine.records().len()), (2, 0));
}

#[test]
fn bad_limits_and_hard_cdefs_are_noted() {
    let mut s = spec();
    s.fields[0].cdef = Some("a,TREND".to_owned());
    s.fields[1].critical = Some("10%".to_owned());
    let mut machine = Machine::new(Rules::default(), Settings::default());
    let plan = machine.plan("n", "", &|_| Some(&s), &layout());
    assert_eq!(plan.notes().len(), 2, "{:?}", plan.notes());
    assert_eq!(plan.len(), 2);
}

#[test]
fn the_end_of_what_is_not_watched_any_more_is_told() {
    let settings = Settings { max_check_attempts: 1, group_window_ms: 0, ..Settings::default() };
    let spec = spec();
    let mut cells = Cells::new();
    cells.push(25i64);
    cells.push(7i64);
    let t = 1_763_640_000_000;
    for by_node in [true, false] {
        let mut out = Vec::new();
        let mut machine = Machine::new(Rules::default(), settings.clone());
        let plan = machine.plan("n", "", &|_| Some(&spec), &layout());
        machine.observe(&plan, t, cells.kinds(), cells.bits(), t, &mut out);
        match by_node {
            true => machine.forget_node("n", &mut out),
            false => machine.forget_service("n", "s", &mut out),
        }
        let told: Vec<(NoticeKind, &str)> = out
            .iter()
            .filter_map(|o| if let Output::Notice(n) = o { Some(n) } else { None })
            .map(|n| (n.kind, n.text.as_str()))
            .collect();
        let end = (NoticeKind::Recovery, "n/s is not watched any more");
        assert_eq!(told[1..], [end], "{told:?}");
    }
}

/// State databases of before incidents had records of their own.
#[test]
fn an_incident_without_a_record_goes_on() {
    let settings = Settings { max_check_attempts: 1, group_window_ms: 0, ..Settings::default() };
    let spec = spec();
    let mut cells = Cells::new();
    cells.push(25i64);
    cells.push(7i64);
    let t = 1_763_640_000_000;
    let mut out = Vec::new();
    let mut machine = Machine::new(Rules::default(), settings.clone());
    let plan = machine.plan("n", "", &|_| Some(&spec), &layout());
    machine.observe(&plan, t, cells.kinds(), cells.bits(), t, &mut out);
    let mut records: BTreeMap<String, StateRecord> = BTreeMap::new();
    let mut told = Vec::new();
    for o in out.drain(..) {
        match o {
            Output::StateChanged(r) => drop(records.insert(r.key.clone(), r)),
            Output::Notice(n) => told.push(n),
            Output::Transition(_) => {}
        }
    }
    // Then the service's own record was written after its notice was made.
    let id = told[0].incident.clone();
    records.remove(&format!("incident/{id}")).expect("there is one now");
    let service = records.get_mut("service/n/s").expect("kept");
    if let RecordState::Service { incident: Some(incident), .. } = &mut service.state {
        incident.sequence = 1;
    }
    let records: Vec<StateRecord> = records.into_values().collect();
    let mut machine = Machine::new(Rules::default(), settings);
    machine.restore(&records);
    let plan = machine.plan("n", "", &|_| Some(&spec), &layout());
    let mut cells = Cells::new();
    cells.push(5i64);
    cells.push(7i64);
    machine.observe(&plan, t + 10_000, cells.kinds(), cells.bits(), t + 10_000, &mut out);
    let notice = out.iter().find_map(|o| if let Output::Notice(n) = o { Some(n) } else { None });
    let notice = notice.expect("a recovery");
    assert_eq!((notice.kind, &notice.incident), (NoticeKind::Recovery, &id));
    assert_eq!(notice.id, format!("{id}.1"), "after the first");
}
