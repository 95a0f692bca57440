//! Readings of the last while, in memory, for masters that come seldom
//! (`spoolfetch`, as munin-async answers it).
//!
//! In: each event on its way to the shipper. Out: Munin's text with the time of
//! each value. Bounded by a span of time and by [`VALUES_MAX`]; the oldest go.
//! Off unless agent.toml's `hold` says how long: it is memory.

use crate::catalog::Catalog;
use crate::event::{Event, RowOut};
use rookery_plugins::munin::render_config;
use rookery_plugins::{TimeMs, Value};
use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;
use std::sync::{Mutex, PoisonError};

/// The most values that are held: some 20 MB.
pub const VALUES_MAX: usize = 2_000_000;
/// The most values of one answer; a master asks again for what is newer.
pub const ANSWER_VALUES_MAX: usize = 200_000;

/// What is held.
#[derive(Debug)]
pub struct Hold {
    span_ms: i64,
    held: Mutex<Held>,
}

#[derive(Debug, Default)]
struct Held {
    catalog: Catalog,
    rows: VecDeque<RowOut>,
    n_values: usize,
    full: bool,
}

impl Hold {
    /// Holds what is younger than this, ms.
    pub fn new(span_ms: u64) -> Hold {
        let span_ms = i64::try_from(span_ms).unwrap_or(i64::MAX);
        Hold { span_ms, held: Mutex::default() }
    }

    /// Takes in what a sampler says. Virtual nodes' rows are not held.
    pub fn take(&self, event: &Event, now_ms: TimeMs) {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        match event {
            Event::Services { source, specs } => {
                let own = specs.iter().filter(|s| s.host_name.is_none()).cloned();
                held.catalog.set(source, own.collect());
            }
            Event::Row(row) if row.node.is_none() => {
                held.n_values += row.layout.len();
                held.rows.push_back(row.clone());
                while let Some(oldest) = held.rows.front() {
                    let too_many = held.n_values > VALUES_MAX;
                    if !too_many && now_ms - oldest.time_ms <= self.span_ms {
                        break;
                    }
                    if too_many && !std::mem::replace(&mut held.full, true) {
                        tracing::warn!(limit = VALUES_MAX, "`hold`: the oldest values are dropped");
                    }
                    let gone = held.rows.pop_front();
                    held.n_values -= gone.map_or(0, |r| r.layout.len());
                }
            }
            Event::Row(_) => {}
        }
    }

    /// What is newer than `since_s`, each service with its config, without the
    /// final dot. Times are whole seconds (a master drops a second value of the
    /// same), or with milliseconds if `fine`.
    pub fn text_since(&self, since_s: i64, fine: bool) -> String {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let catalog = held.catalog.snapshot();
        let mut rows: Vec<&RowOut> =
            held.rows.iter().filter(|r| r.time_ms.div_euclid(1000) > since_s).collect();
        rows.sort_by_key(|r| r.time_ms);
        let mut values: BTreeMap<&str, Vec<(&str, TimeMs, Value)>> = BTreeMap::new();
        let mut left = ANSWER_VALUES_MAX;
        for row in rows {
            // Whole rows only: what is left out is newer than all that is not.
            let Some(less) = left.checked_sub(row.layout.len()) else { break };
            left = less;
            for (i, field) in row.layout.fields().iter().enumerate() {
                if let Some(value) = row.cells.get(i) {
                    let of = values.entry(&field.service).or_default();
                    of.push((&field.field, row.time_ms, value));
                }
            }
        }
        let mut out = String::new();
        for (service, values) in values {
            let Some(spec) = catalog.get(service) else { continue };
            let _ = writeln!(out, "multigraph {service}");
            render_config(spec, &mut out);
            let mut last: BTreeMap<&str, TimeMs> = BTreeMap::new();
            for (field, time_ms, value) in values {
                let s = time_ms.div_euclid(1000);
                if fine {
                    let ms = time_ms.rem_euclid(1000);
                    let _ = writeln!(out, "{field}.value {s}.{ms:03}:{value}");
                } else if last.insert(field, s) != Some(s) {
                    let _ = writeln!(out, "{field}.value {s}:{value}");
                }
            }
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rookery_plugins::munin::parse;
    use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec};
    use std::sync::Arc;

    fn filled(span_ms: u64) -> Hold {
        let hold = Hold::new(span_ms);
        let spec = ServiceSpec::new("s.sub", "S", "test").fields(vec![FieldSpec::derive("a", "A")]);
        hold.take(&Event::Services { source: "x".to_owned(), specs: vec![spec] }, 0);
        let layout = Arc::new(Layout::new(vec![FieldKey::new("s.sub", "a")]));
        for (i, time_ms) in [1_000, 2_000, 2_500, 4_000].into_iter().enumerate() {
            let mut cells = Cells::new();
            cells.push((1u64 << 53) + i as u64);
            let layout = Arc::clone(&layout);
            let row = RowOut { node: None, layout, time_ms, cells: Arc::new(cells) };
            hold.take(&Event::Row(row), time_ms);
        }
        hold
    }

    #[test]
    fn what_is_newer_comes_with_its_time_and_config() {
        let hold = filled(60_000);
        let times = |since: i64, fine: bool| -> Vec<i64> {
            let parsed = parse("x", hold.text_since(since, fine).as_bytes());
            assert_eq!(parsed.n_noise, 0);
            parsed.readings.iter().filter_map(|r| r.time_ms).collect()
        };
        assert_eq!(times(0, false), [1_000, 2_000, 4_000]);
        assert_eq!(times(1, true), [2_000, 2_500, 4_000]);
        assert_eq!(hold.text_since(4, false), "");
        let parsed = parse("x", hold.text_since(3, false).as_bytes());
        assert_eq!(parsed.services[0].name, "s.sub");
        assert_eq!(parsed.readings[0].value, Value::Int((1 << 53) + 3));
    }

    #[test]
    fn the_oldest_go() {
        assert!(!filled(1_500).text_since(0, true).contains("value 2.000"));
        assert!(filled(1_500).text_since(0, true).contains("value 2.500"));
    }
}
