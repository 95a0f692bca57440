//! A field's value as it is drawn: what its `cdef` makes of its own reading and of its
//! siblings'. `avgwait,ios,/` of a disk is a wait for each request; the raw `avgwait` is
//! none, and no limit is ever judged on it.

use super::{Field, Machine, Plan};
use crate::rpn::{self, Rpn};
use rookery_plugins::{FieldSpec, ServiceSpec, State, TimeMs};
use std::cell::RefCell;

/// A field's `cdef`, compiled.
#[derive(Clone, Debug)]
pub(super) enum Cdef {
    /// Of its own value alone.
    Own(Rpn),
    /// Of its siblings', too: these fields, in this order, before their own `cdef`s.
    Of(rookery_plugins::rpn::Rpn, Vec<u32>),
    /// It cannot be computed of one time's values: why.
    Broken(String),
}

/// A reading's level or rate per second, within the field's bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) enum Reading {
    /// None yet: a rate needs two.
    #[default]
    Nothing,
    Unknown,
    Is(f64),
}

impl Reading {
    pub(super) fn of(value: Option<f64>) -> Reading {
        value.map_or(Reading::Unknown, Reading::Is)
    }

    pub(super) fn value(self) -> Option<f64> {
        match self {
            Reading::Is(v) => Some(v),
            Reading::Nothing | Reading::Unknown => None,
        }
    }
}

impl Cdef {
    /// Its value of these readings, in its order; `None`: nothing can be said (a reading
    /// is not there yet, or a division by zero: no requests, no wait for each).
    fn eval_of(rpn: &rookery_plugins::rpn::Rpn, of: &[Reading]) -> Option<Option<f64>> {
        if of.contains(&Reading::Nothing) {
            return None;
        }
        let value = rpn::with_stack(|stack| rpn.eval(stack, |i| of.get(i)?.value()));
        let is_whole = !of.contains(&Reading::Unknown);
        if value.is_none() && is_whole { None } else { Some(value) }
    }
}

impl Machine {
    /// Compiles a field's `cdef`; the fields that it needs are made.
    pub(super) fn cdef_of(
        &mut self,
        plan: &mut Plan,
        service: u32,
        spec: &ServiceSpec,
        field: &FieldSpec,
    ) -> Option<Cdef> {
        let text = field.cdef.as_deref()?;
        if let Ok(own) = Rpn::compile(text, &field.name) {
            return Some(Cdef::Own(own));
        }
        let names: RefCell<Vec<&str>> = RefCell::new(Vec::new());
        let found = rookery_plugins::rpn::Rpn::parse(text, |word| {
            let sibling = spec.fields.iter().find(|f| f.name == word)?;
            let mut names = names.borrow_mut();
            let known = names.iter().position(|n| *n == sibling.name);
            Some(known.unwrap_or_else(|| {
                names.push(&sibling.name);
                names.len() - 1
            }))
        });
        match found {
            Ok(rpn) => {
                let of = names.into_inner();
                let of = of.into_iter().map(|name| self.field_idx(service, name)).collect();
                Some(Cdef::Of(rpn, of))
            }
            Err(e) => {
                let shown: String = text.chars().take(200).collect();
                let why = format!("its cdef {shown:?} cannot be judged: {e}");
                plan.add_note(format!("{} {}: {why}", spec.name, field.name));
                Some(Cdef::Broken(why))
            }
        }
    }

    /// The values of a service's fields that are made of several; whether that said
    /// anything. Each only where the row has all that it needs.
    pub(super) fn judge_derived(
        &mut self,
        derived: &[(u32, u32)],
        time_ms: TimeMs,
        came_ms: TimeMs,
    ) -> bool {
        let mut judged = false;
        for (_, idx) in derived {
            let field = &self.fields[*idx as usize];
            let Some(Cdef::Of(rpn, of)) = &field.cdef else { continue };
            let all = || of.iter().map(|i| &self.fields[*i as usize]);
            if field.derived_ms >= time_ms || !all().all(|f| f.last_ms == time_ms) {
                continue;
            }
            // As many as there are words at most; nearly always two.
            let mut readings = [Reading::Nothing; FEW];
            let value = match readings.get_mut(..of.len()) {
                Some(readings) => {
                    all().zip(&mut *readings).for_each(|(f, r)| *r = f.reading);
                    Cdef::eval_of(rpn, readings)
                }
                None => Cdef::eval_of(rpn, &all().map(|f| f.reading).collect::<Vec<_>>()),
            };
            let field = &mut self.fields[*idx as usize];
            field.derived_ms = time_ms;
            field.came(came_ms);
            if let Some(value) = value {
                field.value = value;
                judged |= field.active && field.compare();
            }
        }
        judged
    }

    /// What a formula's fields are of these readings of the past: in order those that it
    /// names, then those that their `cdef`s need.
    pub(super) fn drawn_then(
        &self,
        all: &[u32],
        n: usize,
        values: &[Option<f64>],
    ) -> Vec<Option<f64>> {
        let value = |i: u32| {
            let at = all.iter().position(|a| *a == i);
            at.and_then(|at| values.get(at).copied().flatten())
        };
        let drawn = |i: &u32| match &self.fields[*i as usize].cdef {
            None => value(*i),
            Some(Cdef::Own(cdef)) => cdef.eval(value(*i)),
            Some(Cdef::Broken(_)) => None,
            Some(Cdef::Of(rpn, of)) => {
                rpn::with_stack(|stack| rpn.eval(stack, |k| of.get(k).and_then(|i| value(*i))))
            }
        };
        all.iter().take(n).map(drawn).collect()
    }

    /// The fields that a formula names, and those that their `cdef`s need.
    pub(super) fn read_by(&self, of: &[u32]) -> Vec<u32> {
        let mut all = of.to_vec();
        for i in of {
            let Some(Cdef::Of(_, more)) = &self.fields[*i as usize].cdef else { continue };
            more.iter().for_each(|i| {
                if !all.contains(i) {
                    all.push(*i)
                }
            });
        }
        all
    }
}

/// So many readings need no allocation.
const FEW: usize = 16;

impl Field {
    /// Whether it is judged by itself, not when its siblings are known.
    pub(super) fn is_derived(&self) -> bool {
        matches!(self.cdef, Some(Cdef::Of(..)))
    }

    /// Judges the newest reading by itself; whether it said anything.
    pub(super) fn judge_own(&mut self) -> bool {
        match &self.cdef {
            None => self.value = self.reading.value(),
            Some(Cdef::Own(cdef)) => self.value = cdef.eval(self.reading.value()),
            Some(Cdef::Of(..)) => return false,
            Some(Cdef::Broken(_)) => {
                (self.value, self.unknowns) = (None, self.unknown_limit);
                self.state = State::Unknown;
                return true;
            }
        }
        self.compare()
    }

    /// Why its limits cannot be judged.
    pub(super) fn is_broken(&self) -> Option<&str> {
        match &self.cdef {
            Some(Cdef::Broken(why)) => Some(why),
            _ => None,
        }
    }
}
