//! A fleet of hosts made from the recorded pool, the same for the same seed.
//!
//! Each host replays the pool with a phase of its own and a stride of 7 to 13
//! seconds that is drawn anew at each wrap; counters grow on by the real
//! increments. A value that the pool shows with d decimals has d decimals here
//! too, as a daemon would print it.

use crate::series::{self, Series};
use rookery_plugins::{Cells, FieldKey, FieldSpec, FieldType, Layout, ServiceSpec, Value};
use std::io;
use std::sync::Arc;

/// How many fields of the pool make one service, as on a real host.
const FIELDS_A_SERVICE: usize = 10;

/// The pool, ready to be replayed.
pub struct Pool {
    series: Vec<Series>,
    /// 10^d for the series' number of decimals; 0: not decimal.
    scales: Vec<f64>,
    /// The layout of every host's rows.
    pub layout: Layout,
    /// What every host announces.
    pub services: Vec<ServiceSpec>,
}

impl Pool {
    /// Reads the pool; hosts have `n_fields` fields, the pool over again when
    /// there are more than it has.
    pub fn load(n_fields: usize) -> io::Result<Arc<Pool>> {
        let base = series::load("pool")?;
        let series: Vec<Series> = base.iter().cycle().take(n_fields).cloned().collect();
        let scales = series.iter().map(|s| decimal_scale(&s.values)).collect();
        let mut services = Vec::new();
        let mut keys = Vec::new();
        for (i, chunk) in series.chunks(FIELDS_A_SERVICE).enumerate() {
            let name = format!("service{i}");
            let fields = chunk.iter().enumerate().map(|(j, s)| {
                let kind = if s.counter { FieldType::Derive } else { FieldType::Gauge };
                FieldSpec { kind, ..FieldSpec::gauge(&format!("f{j}"), &s.name) }
            });
            let mut spec = ServiceSpec::new(&name, &name, "fleet").fields(fields.collect());
            spec.step_ms = 10_000;
            // One threshold a service, as on a real host, far from being met.
            spec.fields[0].critical = Some("1e300".to_owned());
            keys.extend((0..chunk.len()).map(|j| FieldKey::new(&name, &format!("f{j}"))));
            services.push(spec);
        }
        Ok(Arc::new(Pool { series, scales, layout: Layout::new(keys), services }))
    }

    fn len_steps(&self) -> usize {
        self.series.iter().map(|s| s.values.len()).min().unwrap_or(0)
    }
}

/// 10^d such that every value is a decimal of d places, d up to 9; else 0.
fn decimal_scale(values: &[f64]) -> f64 {
    (0..=9)
        .map(|d| 10f64.powi(d))
        .find(|scale| values.iter().all(|v| (v * scale).round() / scale == *v))
        .unwrap_or(0.0)
}

/// One host of a fleet.
pub struct FleetHost {
    pool: Arc<Pool>,
    random: u64,
    at: usize,
    stride: usize,
    counters: Vec<f64>,
}

impl FleetHost {
    /// Host number `idx` of the fleet with this seed.
    pub fn new(pool: &Arc<Pool>, seed: u64, idx: u64) -> FleetHost {
        let random = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ idx;
        let counters = pool.series.iter().map(|s| s.values[0]).collect();
        let mut host = FleetHost { pool: pool.clone(), random, at: 0, stride: 7, counters };
        host.at = host.next_random() as usize % pool.len_steps();
        host.redraw();
        host
    }

    /// splitmix64.
    fn next_random(&mut self) -> u64 {
        self.random = self.random.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.random;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn redraw(&mut self) {
        self.stride = 7 + self.next_random() as usize % 7;
    }

    /// The next step's values, in the pool's layout.
    pub fn step(&mut self, out: &mut Cells) {
        let pool = self.pool.clone();
        let before = self.at;
        self.at += self.stride;
        let wrapped = self.at >= pool.len_steps();
        if wrapped {
            self.at %= pool.len_steps();
            self.redraw();
        }
        out.clear();
        for (i, s) in pool.series.iter().enumerate() {
            let now = s.values[self.at];
            if !s.counter {
                out.push(number(now));
                continue;
            }
            // Over the wrap the counter stands still for one step.
            let grown = if wrapped { 0.0 } else { (now - s.values[before]).max(0.0) };
            let scale = pool.scales[i];
            let sum = self.counters[i] + grown;
            self.counters[i] = if scale > 0.0 { (sum * scale).round() / scale } else { sum };
            out.push(number(self.counters[i]));
        }
    }
}

/// An integer where it is one, as an agent would read it.
pub fn number(v: f64) -> Value {
    if v.fract() == 0.0 && v.abs() < 9e15 && !(v == 0.0 && v.is_sign_negative()) {
        Value::Int(v as i64)
    } else {
        Value::Float(v)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_fleet() {
        let pool = Pool::load(300).expect("fixtures");
        assert_eq!(pool.layout.len(), 300);
        let series = |seed, idx| {
            let mut host = FleetHost::new(&pool, seed, idx);
            let mut cells = Cells::new();
            (0..100).for_each(|_| host.step(&mut cells));
            cells
        };
        assert_eq!(series(1, 1), series(1, 1));
        assert_ne!(series(1, 1), series(1, 2));
        assert_ne!(series(1, 1), series(2, 1));
    }
}
