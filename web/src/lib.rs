//! Graphs, pages and the HTTP API.
//!
//! In: the history and the states, through their narrow interfaces. Out: JSON,
//! CSV, HTML, SVG and PNG. What it never does: write to the history.

pub mod graph;
