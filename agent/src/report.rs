//! What the agent says of itself: how long each probe, plugin and check took,
//! whether it worked, and the agent's own counters.

use crate::ship::Stats;
use rookery_plugins::{Cells, Draw, FieldSpec, ServiceSpec};
use std::sync::atomic::Ordering;

/// The service that holds how long each probe and plugin took.
pub const DURATION: &str = "rookery_duration";
/// The service that holds whether each probe and plugin succeeded.
pub const SUCCESS: &str = "rookery_success";
/// The service of the agent's own counters.
pub const AGENT: &str = "rookery_agent";

/// The two services that hold what each probe and plugin reports of itself.
pub fn report_specs() -> (ServiceSpec, ServiceSpec) {
    let duration = ServiceSpec::new(DURATION, "Time taken by probes and plugins", "rookery")
        .vlabel("seconds")
        .args("-l 0")
        .info("How long each probe and plugin took at its last reading.");
    let success = ServiceSpec::new(SUCCESS, "Success of probes and plugins", "rookery")
        .vlabel("1 = it worked")
        .args("-l 0 -u 1")
        .unscaled()
        .info("1: the last reading worked; 0: it failed, the agent's log says why.");
    (duration, success)
}

/// The fields for one probe or plugin in those two services.
pub fn report_fields(name: &str, label: &str) -> (FieldSpec, FieldSpec) {
    (
        FieldSpec::gauge(name, label),
        FieldSpec::gauge(name, label).limits("1:", "").draw(Draw::Line1),
    )
}

/// The service of the agent's own counters.
pub fn counters_spec() -> ServiceSpec {
    let field = |name: &str, label: &str| FieldSpec::derive(name, label);
    ServiceSpec::new(AGENT, "The agent itself", "rookery")
        .vlabel("per ${graph_period}")
        .info("What the agent could not do in time, and what it keeps on disk.")
        .fields(vec![
            field("batches_sent", "batches sent"),
            field("batches_dropped", "batches dropped").limits("0", ""),
            field("attempts_failed", "attempts failed"),
            field("ticks_missed", "ticks missed"),
            field("events_dropped", "events dropped").limits("0", ""),
            FieldSpec::gauge("spool_bytes", "spool, bytes").hidden(),
            field("spool_bytes_dropped", "spool dropped, bytes").limits("0", "").hidden(),
        ])
}

/// Pushes the counters, in the order of [`counters_spec`].
pub fn push_counters(stats: &Stats, cells: &mut Cells) {
    for counter in [
        &stats.batches_sent,
        &stats.batches_dropped,
        &stats.attempts_failed,
        &stats.ticks_missed,
        &stats.events_dropped,
        &stats.spool_bytes,
        &stats.spool_bytes_dropped,
    ] {
        cells.push(counter.load(Ordering::Relaxed));
    }
}
