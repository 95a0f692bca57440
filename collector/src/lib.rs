//! The collector: takes batches in, keeps every sample exactly, reads them
//! back, and runs the alert machine over them.
//!
//! In: frames and JSON over HTTP. Out: samples, rollups and states, through
//! [`history::History`] and [`history::States`]. What it never does: round,
//! average or drop a value on the write path, or acknowledge what is not on
//! disk.
//!
//! A sample's way: [`ingest`] checks a frame → [`writer`] journals it with
//! whatever else has arrived (one commit) and answers → [`head`] keeps it in
//! memory → [`seal`] turns full heads into [`chunk`] blocks in a period's
//! database → [`read`] merges sealed blocks and head.

mod advice;
mod apply;
pub mod asked;
pub mod auth;
pub mod backup;
pub mod borrow;
pub mod budget;
pub mod catalog;
pub mod chunk;
pub mod config;
pub mod db;
mod disk;
mod doubled;
pub mod drawn;
pub mod events;
pub mod head;
pub mod healthz;
pub mod history;
pub mod import;
pub mod ingest;
pub mod journal;
pub mod json;
mod json_rows;
pub mod manage;
pub mod metrics;
pub mod munin;
mod newest;
pub mod offline;
pub mod overlay;
pub mod pack;
mod packed_text;
pub mod past;
pub mod period;
mod pool;
pub mod pulse;
pub mod quarantine;
pub mod read;
mod read_former;
mod read_rollup;
pub mod reading;
pub mod rebuild;
pub mod refusals;
pub mod retain;
pub mod rollup;
pub mod run;
pub mod seal;
pub mod series;
pub mod sql;
pub mod store;
mod stored;
pub mod tidy;
mod vanished;
pub mod verify;
pub mod watch;
pub mod writer;

pub use run::Collector;
pub use store::{Store, StoreError, StoreSettings};
