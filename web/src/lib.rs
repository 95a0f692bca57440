//! Graphs, pages and the HTTP API.
//!
//! In: the history and the states, through their narrow interfaces. Out: JSON,
//! CSV, HTML, SVG and PNG. What it never does: write to the history; marks in time
//! are added through the collector's events.
//!
//! [`guard`] keeps connections in bounds; it knows nothing of what is served.
//! [`outliers`] ranks fields by how unusual they are.
//! [`api`] answers scripts, [`pages`] people, [`pictures`] both; [`graph`] draws
//! and knows nothing of HTTP.

pub mod api;
pub mod app;
mod drawn;
pub mod error;
mod former;
pub mod graph;
pub mod guard;
mod held;
pub mod outliers;
pub mod pages;
mod parts;
pub mod pictures;
pub mod reads;
pub mod search;
#[cfg(test)]
pub(crate) mod testing;
pub mod times;

pub use app::{App, router};
pub use pages::for_people;
