//! `/metrics`: the collector about itself, as OpenMetrics text.

use crate::store::Shared;
use axum::Router;
use axum::extract::State;
use axum::http::header;
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use std::fmt::Write;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

/// The route.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new().route("/metrics", get(metrics)).with_state(shared)
}

async fn metrics(State(shared): State<Arc<Shared>>) -> Response {
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text(&shared)).into_response()
}

/// The counters as text.
pub fn text(shared: &Shared) -> String {
    let s = &shared.stats;
    let counters: [(&str, &str, &AtomicU64); 14] = [
        ("frames", "Batches acknowledged.", &s.frames),
        ("rows", "Rows of samples taken.", &s.rows),
        ("samples", "Samples taken.", &s.samples),
        ("doubled_frames", "Batches that had been taken before.", &s.doubled_frames),
        ("doubled_rows", "Rows that had been taken before.", &s.doubled_rows),
        ("conflicts", "Samples that came again with another value.", &s.conflicts),
        ("journal_commits", "Durable commits of the journal.", &s.commits),
        ("blocks_sealed", "Blocks sealed.", &s.blocks_sealed),
        ("blocks_packed", "Sealed blocks packed into longer ones.", &s.blocks_packed),
        ("sealed_bytes", "Bytes of sealed blocks.", &s.bytes_sealed),
        ("refused", "Requests refused.", &s.refused),
        ("bad_times", "Rows left out because their time cannot be right.", &s.bad_times),
        ("damages", "Damaged files and blocks come across.", &s.damages),
        ("failures", "Commits or sealings that failed.", &s.failures),
    ];
    let mut out = String::new();
    for (name, help, value) in counters {
        // Writing to a String cannot fail.
        let _ = writeln!(out, "# TYPE rookery_{name} counter");
        let _ = writeln!(out, "# HELP rookery_{name} {help}");
        let _ = writeln!(out, "rookery_{name}_total {}", value.load(Ordering::Relaxed));
    }
    let _ = writeln!(out, "# TYPE rookery_nodes gauge");
    let _ = writeln!(out, "# HELP rookery_nodes Nodes in the catalog.");
    let _ = writeln!(out, "rookery_nodes {}", shared.nodes.all().len());
    out.push_str("# EOF\n");
    out
}
