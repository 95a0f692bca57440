//! Thresholds, states and notices as a pure machine; the channels that tell
//! people; and what Nagios asks through `check_rookery`.
//!
//! In: rows of samples with their own times, and the time that it is now. Out:
//! [`Output`]s: what is to be kept ([`StateRecord`]), what has changed
//! ([`Transition`]) and what people are to be told ([`Notice`]).
//!
//! What this crate never does: I/O outside [`channels`], [`passive`] and [`check`],
//! and reading a clock anywhere else.

pub mod channels;
pub mod check;
pub mod dependency;
pub mod digest;
pub mod expression;
pub mod glob;
pub mod machine;
pub mod memory;
pub mod message;
pub mod output;
pub mod passive;
pub mod period;
pub mod quorum;
pub mod rate;
pub mod rpn;
pub mod rules;
#[cfg(test)]
mod testing;

pub use channels::{
    ContactConfig, GroupConfig, MailConfig, MuninContact, Notifier, Routes, SendError, Setup,
    Verdict,
};
pub use machine::{
    Acknowledgement, Downtime, FieldView, HostView, Lesson, Machine, Plan, Problem, Seen,
    ServiceView, Settings, Want,
};
pub use output::{
    FieldValue, Notice, NoticeKind, Output, RecordState, StateRecord, Status, Transition,
    TransitionKind,
};
pub use rules::Rules;
