//! What alarms promise, as a model, and a randomised test of it on a simulated clock.
//!
//! The promise (`docs/alerts.md`): each problem that lasts and is not silenced for a
//! contact is notified to it exactly once, in order, and so is its end; at least once
//! across a crash between hand-over and note, and then marked as a repeat.
//!
//! A [`Schedule`] is a small fleet with contacts, and what happens to it, made from a
//! seed ([`generate`]). [`play`] plays it on a [`World`]: the alert machine alone
//! (`alerts/tests/promise.rs`), or with the real `state.sqlite`, outbox and dispatcher
//! (`collector/src/watch/promise.rs`). [`Truth`] works out from the schedule alone how
//! all stands at each second, and who may or must not be notified, as far as that is
//! certain; [`judge`] compares that with what each contact was handed. A schedule that
//! fails is made as small as possible ([`shrink`]) and printed.
//!
//! This crate uses none of the crates that it judges: the model shares no code with
//! the engine. What it leaves out is listed in `docs/testing.md`.

mod delivery;
mod generate;
mod judge;
mod play;
mod random;
mod run;
mod schedule;
mod shrink;
mod silence;
mod truth;

pub use delivery::{Delivery, Kind};
pub use generate::{Scope, generate};
pub use judge::{Fault, Tally, judge};
pub use play::{Asked, Played, World, play};
pub use random::Random;
pub use run::{Plan, check, run};
pub use schedule::{
    Contact, Down, Event, Mode, Node, START_MS, STEP_S, Schedule, Service, Span, Taste, Value, What,
};
pub use shrink::shrink;
pub use silence::Quiet;
pub use truth::{Is, Level, Thing, Truth};
