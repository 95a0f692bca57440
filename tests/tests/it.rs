//! End to end: the built binaries, real daemons, real kills.
//!
//! Needs `cargo build --workspace` before, and what `tests/run` installs.

#[path = "it/agree.rs"]
mod agree;
#[path = "it/alerting.rs"]
mod alerting;
#[path = "it/apart.rs"]
mod apart;
#[path = "it/bad_input.rs"]
mod bad_input;
#[path = "it/browser.rs"]
mod browser;
#[path = "it/care.rs"]
mod care;
#[path = "it/channels.rs"]
mod channels;
#[path = "it/check.rs"]
mod check;
#[path = "it/clicks.rs"]
mod clicks;
#[path = "it/compare.rs"]
mod compare;
#[path = "it/crash.rs"]
mod crash;
#[path = "it/digest.rs"]
mod digest;
#[path = "it/events.rs"]
mod events;
#[path = "it/extension.rs"]
mod extension;
#[path = "it/faults.rs"]
mod faults;
#[path = "it/faults_care.rs"]
mod faults_care;
#[path = "it/formats.rs"]
mod formats;
#[path = "it/fresh.rs"]
mod fresh;
#[path = "it/full_disk.rs"]
mod full_disk;
#[path = "it/hush.rs"]
mod hush;
#[path = "it/known_series.rs"]
mod known_series;
#[path = "it/looking_back.rs"]
mod looking_back;
#[path = "it/mixes.rs"]
mod mixes;
#[path = "it/munin_aggregates.rs"]
mod munin_aggregates;
#[path = "it/munin_configure.rs"]
mod munin_configure;
#[path = "it/munin_contacts.rs"]
mod munin_contacts;
#[path = "it/munin_corpus.rs"]
mod munin_corpus;
#[path = "it/munin_import.rs"]
mod munin_import;
#[path = "it/munin_master.rs"]
mod munin_master;
#[path = "it/munin_node.rs"]
mod munin_node;
#[path = "it/munin_probes.rs"]
mod munin_probes;
#[path = "it/munin_rpn.rs"]
mod munin_rpn;
#[path = "it/munin_transports.rs"]
mod munin_transports;
#[path = "it/nagios.rs"]
mod nagios;
#[path = "it/nagios_lab.rs"]
mod nagios_lab;
#[path = "it/node_names.rs"]
mod node_names;
#[path = "it/nrpe.rs"]
mod nrpe;
#[path = "it/numa.rs"]
mod numa;
#[path = "it/outliers.rs"]
mod outliers;
#[path = "it/overlays.rs"]
mod overlays;
#[path = "it/pages.rs"]
mod pages;
#[path = "it/passive.rs"]
mod passive;
#[path = "it/passive_icinga.rs"]
mod passive_icinga;
#[path = "it/posters.rs"]
mod posters;
#[path = "it/rehearsal.rs"]
mod rehearsal;
#[path = "it/repeats.rs"]
mod repeats;
#[path = "it/search.rs"]
mod search;
#[path = "it/storm.rs"]
mod storm;
#[path = "it/support.rs"]
mod support;
#[path = "it/tidy.rs"]
mod tidy;
#[path = "it/up.rs"]
mod up;
#[path = "it/views.rs"]
mod views;
#[path = "it/zoom.rs"]
mod zoom;
