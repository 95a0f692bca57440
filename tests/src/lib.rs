//! What the end-to-end tests and benchmarks share.
//!
//! In: the recorded series of `fixtures/`. Out: fleets to be shipped, and
//! drivers of the built binaries. Never part of a package.

pub mod cost;
pub mod fleet;
pub mod http;
pub mod peers;
pub mod remote_write;
pub mod series;
pub mod server;
pub mod zoo;
