//! What rules' functions learn of a stored past, so that they need not wait for weeks.
//!
//! The machine has no history: it says what it wants of one ([`Want`]), and whoever has
//! one reads and tells it ([`Lesson`]), in pieces, while rows go on to be judged. With
//! the first row of a computed field its want is made: of all before that row. Rows that
//! come meanwhile are judged by what is known so far, and kept aside; when the past is
//! learned they are looked at again, and it is as if the machine had been there all the
//! time. Each row is so seen once, whatever comes late or in between.

use super::{Formula, Machine, NEVER};
use crate::memory::Memory;
use crate::output::Output;
use rookery_plugins::TimeMs;
use std::collections::VecDeque;

/// So many rows of a field are kept aside; if reading takes longer than that it begins
/// anew, with what has been stored since.
const ROWS_MAX: usize = 10_000;
/// Where a service's step is not known, ms.
const USUAL_STEP_MS: i64 = 10_000;

/// What a computed field wants to be told of the past of a service's fields.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Want {
    field: u32,
    ticket: u64,
    /// The node.
    pub node: String,
    /// Its service.
    pub service: String,
    /// The name that the rule gives to what it computes.
    pub name: String,
    /// Of which fields values are wanted, in this order.
    pub fields: Vec<String>,
    /// From when on, UTC, ms.
    pub from_ms: TimeMs,
    /// Until when, not included.
    pub to_ms: TimeMs,
    /// A value for each so long a time, ms: steps of the clock, counted from 1970.
    pub step_ms: i64,
    /// The first value of each step instead of the mean.
    pub first: bool,
    /// Averages of longer times than this, ms, are of no use.
    pub coarsest_ms: i64,
    /// What has been seen before a restart, from and to.
    pub known: Option<(TimeMs, TimeMs)>,
    /// Goes on from there.
    upon: bool,
}

impl Want {
    /// The same without what was seen before the restart: to be asked for where the
    /// history begins no earlier than that.
    #[must_use]
    pub fn after_what_is_known(mut self) -> Want {
        if let Some((_, to_ms)) = self.known {
            self.from_ms = self.from_ms.max(to_ms.saturating_add(1)).min(self.to_ms);
            self.upon = true;
        }
        self
    }
}

/// The values of a step of the past.
#[derive(Clone, Debug, PartialEq)]
pub struct Seen {
    /// Its start, UTC, ms.
    pub from_ms: TimeMs,
    /// Its end, not included.
    pub to_ms: TimeMs,
    /// For how many samples each value stands, from 1 on.
    pub n: u64,
    /// One for each field of the want, as it is drawn: counters per second, before
    /// the cdef; `None`: unknown.
    pub values: Vec<Option<f64>>,
}

/// What is told of a [`Want`].
#[derive(Clone, Debug, PartialEq)]
pub enum Lesson {
    /// The next steps, oldest first.
    Steps(Vec<Seen>),
    /// That is all.
    Over,
    /// The history cannot be read: it goes on with what comes.
    Lost,
}

/// How far a computed field has come with the past.
#[derive(Debug)]
pub(super) struct Learning {
    ticket: u64,
    /// What was known when it began, and of which time.
    before: (Vec<Memory>, Option<(TimeMs, TimeMs)>),
    fresh: Option<Vec<Memory>>,
    /// Of which time that is.
    fresh_from_ms: Option<TimeMs>,
    /// Rows that came since: their time, and the fields' values.
    rows: VecDeque<(TimeMs, Vec<Option<f64>>)>,
    /// The latest was of the present.
    is_live: bool,
}

impl Learning {
    pub(super) fn new(memory: &[Memory], seen: Option<(TimeMs, TimeMs)>) -> Learning {
        Learning {
            ticket: 0,
            before: (memory.to_vec(), seen),
            fresh: None,
            fresh_from_ms: None,
            rows: VecDeque::new(),
            is_live: false,
        }
    }
}

/// What a row gave when its past was known.
struct Latest {
    time_ms: TimeMs,
    value: f64,
    /// The row was of the present.
    is_live: bool,
}

impl Formula {
    /// Takes in the fields' values; `None`: nothing can be said.
    fn look(
        &self,
        memory: &mut [Memory],
        (time_ms, weight): (TimeMs, u64),
        values: &[Option<f64>],
    ) -> Option<f64> {
        let value = |i: usize| values.get(i).copied().flatten();
        self.expression.eval_many(time_ms, weight, value, memory).ok()
    }
}

impl Machine {
    /// From now on there is a history of which [`Machine::wants`] asks.
    pub fn learn_from_history(&mut self) {
        self.has_history = true;
    }

    /// Whether [`Machine::wants`] would answer anything.
    pub fn is_wanting(&self) -> bool {
        !self.wanting.is_empty()
    }

    /// What is to be told of the past, at most `n` wants; each is answered once.
    pub fn wants(&mut self, n: usize) -> Vec<Want> {
        let mut all = Vec::new();
        while all.len() < n
            && let Some(idx) = self.wanting.pop_first()
        {
            self.tickets += 1;
            all.extend(self.want(idx, self.tickets));
        }
        all
    }

    fn want(&mut self, idx: u32, ticket: u64) -> Option<Want> {
        let field = &self.fields[idx as usize];
        let service = &self.services[field.service as usize];
        let formula = field.formula.as_ref()?;
        let of = |i: &u32| &self.fields[*i as usize];
        let is_linear = formula.of.iter().all(|i| of(i).cdef.is_none());
        let ask = formula.expression.asks(is_linear)?;
        let learning = formula.learning.as_ref()?;
        let to_ms = learning.rows.front()?.0;
        let each = if service.step_ms > 0 { service.step_ms } else { USUAL_STEP_MS };
        let want = Want {
            field: idx,
            ticket,
            node: self.nodes[service.node as usize].name.clone(),
            service: service.name.clone(),
            name: field.name.clone(),
            fields: self.read_by(&formula.of).iter().map(|i| of(i).name.clone()).collect(),
            from_ms: to_ms.saturating_sub(ask.span_ms),
            to_ms,
            step_ms: ask.step_ms.max(each),
            first: ask.first,
            coarsest_ms: ask.coarsest_ms,
            known: learning.before.1,
            upon: false,
        };
        let learning = self.fields[idx as usize].formula.as_mut()?.learning.as_mut()?;
        (learning.ticket, learning.fresh) = (ticket, None);
        Some(want)
    }

    /// Keeps a row aside until the past is known.
    pub(super) fn note_row(&mut self, idx: u32, time_ms: TimeMs, is_live: bool) {
        let field = &self.fields[idx as usize];
        let Some(formula) = &field.formula else { return };
        if formula.learning.is_none() {
            return;
        }
        let values = formula.of.iter().map(|f| self.fields[*f as usize].value).collect();
        let formula = self.fields[idx as usize].formula.as_mut();
        let Some(learning) = formula.and_then(|f| f.learning.as_mut()) else { return };
        if learning.rows.len() >= ROWS_MAX {
            // Whoever reads for the old ticket is told so.
            learning.rows.clear();
            learning.ticket = 0;
        }
        if learning.rows.is_empty() {
            self.wanting.insert(idx);
        }
        learning.rows.push_back((time_ms, values));
        learning.is_live = is_live;
    }

    /// Takes in what was wanted; `false`: nobody wants it any more. `now_ms` is the
    /// collector's clock.
    pub fn learn(
        &mut self,
        want: &Want,
        lesson: Lesson,
        now_ms: TimeMs,
        out: &mut Vec<Output>,
    ) -> bool {
        let Some(mut formula) =
            self.fields.get_mut(want.field as usize).and_then(|f| f.formula.take())
        else {
            return false;
        };
        let learning = formula.learning.take_if(|l| l.ticket == want.ticket);
        let is_wanted = learning.is_some();
        let latest = learning.and_then(|l| self.learn_for(want, lesson, l, &mut formula));
        self.fields[want.field as usize].formula = Some(formula);
        if let Some(latest) = latest {
            self.judge_learned(want.field, latest, now_ms, out);
        }
        is_wanted
    }

    /// What the latest row gives, when it is over.
    fn learn_for(
        &self,
        want: &Want,
        lesson: Lesson,
        mut learning: Learning,
        formula: &mut Formula,
    ) -> Option<Latest> {
        let known = learning.before.1.filter(|_| want.upon);
        let start = || match want.upon {
            true => learning.before.0.clone(),
            false => formula.expression.memory(),
        };
        let mut fresh = learning.fresh.take().unwrap_or_else(start);
        match lesson {
            Lesson::Steps(steps) => {
                let all = self.read_by(&formula.of);
                for step in steps {
                    let values = self.drawn_then(&all, formula.of.len(), &step.values);
                    // In the middle: where its samples are, one with the other.
                    let half_ms = (step.to_ms - step.from_ms) / 2;
                    let is_one = want.first || step.n <= 1;
                    let time_ms = step.from_ms + if is_one { 0 } else { half_ms };
                    formula.look(&mut fresh, (time_ms, step.n.max(1)), &values);
                    learning.fresh_from_ms.get_or_insert(step.from_ms);
                }
                learning.fresh = Some(fresh);
                formula.learning = Some(learning);
                None
            }
            Lesson::Over => {
                let first = learning.rows.front().map_or(want.to_ms, |r| r.0);
                let from = known.map(|k| k.0).or(learning.fresh_from_ms).unwrap_or(first);
                let mut latest = None;
                for (time_ms, values) in &learning.rows {
                    if known.is_some_and(|k| *time_ms <= k.1) {
                        continue;
                    }
                    let found = formula.look(&mut fresh, (*time_ms, 1), values);
                    let is_live = learning.is_live;
                    latest = found.map(|value| Latest { time_ms: *time_ms, value, is_live });
                    formula.seen = Some((from, *time_ms));
                }
                // Written down soon.
                (formula.memory, formula.kept_ms) = (fresh, NEVER);
                latest
            }
            Lesson::Lost => None,
        }
    }

    /// Says what the latest row means, now that its past is known.
    fn judge_learned(&mut self, idx: u32, latest: Latest, now_ms: TimeMs, out: &mut Vec<Output>) {
        let Latest { time_ms, value, is_live } = latest;
        let field = &mut self.fields[idx as usize];
        let service = field.service;
        if time_ms < field.last_ms || self.services[service as usize].gone {
            return;
        }
        (field.value, field.last_ms) = (Some(value), time_ms);
        if field.compare() {
            self.judge_service(service, time_ms, is_live, now_ms, out);
            if self.settings.group_window_ms == 0 {
                self.tell_waiting(now_ms, out);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::{Plan, Settings};
    use crate::output::{RecordState, StateRecord};
    use crate::rules::Rules;
    use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec};
    use std::collections::BTreeMap;

    const STEP_MS: i64 = 300_000;
    const DAY_MS: i64 = 86_400_000;
    /// 2026-11-20 12:03:20 UTC, in the middle of an hour.
    const NOW_MS: i64 = 1_795_176_200_000;

    const ALL: [(&str, f64); 7] = [
        ("past(x)", 1e-9),
        ("past(x / y)", 1e-9),
        ("past(c)", 1e-9),
        ("change(x, 6h)", 1e-9),
        ("change(x * y, 3d)", 1e-9),
        ("forecast(x, 4d)", 0.01),
        ("past(x) + change(y, 2h)", 1e-9),
    ];

    fn spec() -> ServiceSpec {
        let gauge = |name: &str| FieldSpec::gauge(name, name);
        let fields = vec![gauge("x"), gauge("y"), gauge("c").cdef("c,8,*")];
        ServiceSpec { step_ms: 300_000, ..ServiceSpec::new("s", "S", "t").fields(fields) }
    }

    /// What the fields were then: a day's ups and downs, a trend, and noise.
    fn values(time_ms: i64) -> [f64; 3] {
        let noise = ((time_ms / STEP_MS).wrapping_mul(2_654_435_761) % 97) as f64 / 97.0;
        let day = (time_ms as f64 / DAY_MS as f64 * std::f64::consts::TAU).sin();
        let x = 100.0 + 40.0 * day + (time_ms - NOW_MS) as f64 / DAY_MS as f64 + noise;
        [x, 50.0 - 10.0 * day + noise, x * 3.0]
    }

    struct Lab {
        machine: Machine,
        plan: Plan,
        records: BTreeMap<String, StateRecord>,
    }

    impl Lab {
        fn new(value: &str, has_history: bool, records: &[StateRecord]) -> Lab {
            let rule = format!(
                "[[rule]]\nservice=\"s\"\nvalue=\"{value}\"\nas=\"v\"\n\
                warning=\"~:1e9\"\n"
            );
            let rules = Rules::load(&[("r.toml".to_owned(), rule)]).expect("rules");
            let mut machine = Machine::new(rules, Settings::default());
            if has_history {
                machine.learn_from_history();
            }
            machine.restore(records);
            let keys = ["x", "y", "c"].map(|f| FieldKey::new("s", f)).to_vec();
            let spec = spec();
            let plan = machine.plan("n", "", &|_| Some(&spec), &Layout::new(keys));
            Lab { machine, plan, records: BTreeMap::new() }
        }

        /// Rows as they come.
        fn run(&mut self, from_ms: i64, to_ms: i64) {
            let mut out = Vec::new();
            let mut at = from_ms.div_euclid(STEP_MS) * STEP_MS + 7_000;
            while at < to_ms {
                if at >= from_ms {
                    let mut cells = Cells::new();
                    values(at).iter().for_each(|v| cells.push(*v));
                    let (kinds, bits) = (cells.kinds(), cells.bits());
                    self.machine.observe(&self.plan, at, kinds, bits, at, &mut out);
                    self.machine.tick(at - at % 5000, &mut out);
                }
                at += STEP_MS;
            }
            for o in out {
                if let Output::StateChanged(r) = o {
                    self.records.insert(r.key.clone(), r);
                }
            }
        }

        /// Tells all that is wanted of a history that begins then.
        fn teach(&mut self, history_ms: i64) -> Vec<Want> {
            let wants = self.machine.wants(9);
            for want in &wants {
                let earlier = want.known.is_some_and(|(from, _)| history_ms < from - STEP_MS);
                let asked = match want.known.is_none() || earlier {
                    true => want.clone(),
                    false => want.clone().after_what_is_known(),
                };
                for part in steps(&asked, history_ms).chunks(500) {
                    let lesson = Lesson::Steps(part.to_vec());
                    assert!(self.machine.learn(&asked, lesson, NOW_MS, &mut Vec::new()));
                }
                assert!(self.machine.learn(&asked, Lesson::Over, NOW_MS, &mut Vec::new()));
                assert!(!self.machine.learn(&asked, Lesson::Over, NOW_MS, &mut Vec::new()));
            }
            wants
        }

        fn value(&self) -> Option<f64> {
            self.machine.fields.iter().find(|f| f.name == "v").and_then(|f| f.value)
        }

        fn memory(&self) -> StateRecord {
            self.records["memory/n/s/v"].clone()
        }
    }

    /// The history as a collector tells it.
    fn steps(want: &Want, history_ms: i64) -> Vec<Seen> {
        let mut all: BTreeMap<i64, Vec<[f64; 3]>> = BTreeMap::new();
        let mut at = history_ms.div_euclid(STEP_MS) * STEP_MS + 7_000;
        while at < want.to_ms {
            if at >= want.from_ms.max(history_ms) {
                all.entry(at.div_euclid(want.step_ms)).or_default().push(values(at));
            }
            at += STEP_MS;
        }
        let seen = |(i, rows): (i64, Vec<[f64; 3]>)| {
            let of = |name: &String| ["x", "y", "c"].iter().position(|n| n == name).expect("one");
            let value = |name: &String| match want.first {
                true => rows[0][of(name)],
                false => rows.iter().map(|r| r[of(name)]).sum::<f64>() / rows.len() as f64,
            };
            Seen {
                from_ms: (i * want.step_ms).max(want.from_ms),
                to_ms: ((i + 1) * want.step_ms).min(want.to_ms),
                n: rows.len() as u64,
                values: want.fields.iter().map(|name| Some(value(name))).collect(),
            }
        };
        all.into_iter().map(seen).collect()
    }

    fn assert_near(a: Option<f64>, b: Option<f64>, part: f64, what: &str) {
        let (a, b) = (a.expect(what), b.expect(what));
        assert!((a - b).abs() <= part * a.abs().max(1.0), "{what}: {a} is not {b}");
    }

    #[test]
    fn who_was_told_of_the_past_says_what_one_says_who_was_there() {
        let first = NOW_MS - 28 * DAY_MS;
        for (value, part) in ALL {
            let mut there = Lab::new(value, false, &[]);
            there.run(first, NOW_MS);
            let mut told = Lab::new(value, true, &[]);
            // Rows go on to come while it is told.
            for lab in [&mut there, &mut told] {
                lab.run(NOW_MS, NOW_MS + 20 * STEP_MS);
            }
            told.teach(first);
            assert_near(there.value(), told.value(), part, value);
            for lab in [&mut there, &mut told] {
                lab.run(NOW_MS + 20 * STEP_MS, NOW_MS + 40 * STEP_MS);
            }
            assert!(!told.machine.is_wanting(), "{value}: it is told once");
            assert_near(there.value(), told.value(), part, value);
        }
    }

    #[test]
    fn after_a_restart_it_is_told_only_of_what_it_has_missed() {
        let first = NOW_MS - 28 * DAY_MS;
        for (value, part) in ALL {
            let mut there = Lab::new(value, false, &[]);
            there.run(first, NOW_MS + 3 * STEP_MS);
            let mut before = Lab::new(value, false, &[]);
            before.run(first, NOW_MS - DAY_MS);
            let mut after = Lab::new(value, true, &[before.memory()]);
            after.run(NOW_MS, NOW_MS + 3 * STEP_MS);
            let wants = after.teach(first);
            let (from, to) = wants[0].known.expect("something");
            assert!(from < first + DAY_MS && to > NOW_MS - DAY_MS - 3 * STEP_MS, "{value}");
            assert_near(there.value(), after.value(), part, &format!("{value} kept"));
            // A history that begins before that, as one that was imported, is told whole.
            let mut late = Lab::new(value, false, &[]);
            late.run(NOW_MS - 2 * DAY_MS, NOW_MS - DAY_MS);
            let mut after = Lab::new(value, true, &[late.memory()]);
            after.run(NOW_MS, NOW_MS + 3 * STEP_MS);
            after.teach(first);
            assert_near(there.value(), after.value(), part, value);
        }
    }

    #[test]
    fn what_was_kept_of_another_value_is_not_used_and_a_kill_on_the_way_loses_nothing() {
        let mut old = Lab::new("forecast(y, 4d)", false, &[]);
        old.run(NOW_MS - 9 * DAY_MS, NOW_MS);
        let mut new = Lab::new("forecast(x, 4d)", true, &[old.memory()]);
        new.run(NOW_MS, NOW_MS + STEP_MS);
        assert_eq!(new.value(), None);
        assert_eq!(new.machine.wants(9)[0].known, None);
        assert!(!new.records.contains_key("memory/n/s/v"), "the old one stays until it has");
        let RecordState::Memory { of, .. } = old.memory().state else { panic!("a memory") };
        assert_eq!(of, "forecast(y, 4d)");
    }

    #[test]
    fn a_history_that_cannot_be_read_is_done_without() {
        let mut lab = Lab::new("change(x, 1h)", true, &[]);
        lab.run(NOW_MS, NOW_MS + 2 * STEP_MS);
        let want = lab.machine.wants(9).pop().expect("one");
        assert!(lab.machine.learn(&want, Lesson::Lost, NOW_MS, &mut Vec::new()));
        lab.run(NOW_MS + 2 * STEP_MS, NOW_MS + 20 * STEP_MS);
        assert!(lab.value().is_some() && !lab.machine.is_wanting());
    }
}
