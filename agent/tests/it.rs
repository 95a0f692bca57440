//! The agent as a whole, against a small collector that keeps all it is told.

#[path = "it/collector.rs"]
mod collector;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/munin_node.rs"]
mod munin_node;
#[path = "it/plugins.rs"]
mod plugins;
#[path = "it/shipping.rs"]
mod shipping;
#[path = "it/starttls.rs"]
mod starttls;
#[path = "it/support.rs"]
mod support;
#[path = "it/transcripts.rs"]
mod transcripts;
