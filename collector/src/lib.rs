//! The collector: takes batches in, keeps every sample exactly, reads them
//! back, and runs the alert machine over them.

pub mod history;
