//! What judging a row costs: `cargo run -p rookery-alerts --release --example
//! row_cost`.

use rookery_alerts::{Machine, Rules, Settings};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec};
use std::time::Instant;

fn main() {
    let mut machine = Machine::new(Rules::default(), Settings::default());
    let mut s = ServiceSpec { step_ms: 10_000, ..ServiceSpec::new("s", "S", "t") };
    s.fields = (0..300).map(|i| FieldSpec::gauge(&format!("f{i}"), "")).collect();
    let layout = Layout::new(s.fields.iter().map(|f| FieldKey::new("s", &f.name)).collect());
    for limits in [0, 5, 300] {
        for f in &mut s.fields[..limits] {
            f.warning = Some("800".to_owned());
        }
        let mut plans: Vec<_> = (0..13_000)
            .map(|n| machine.plan(&format!("n{limits}-{n}"), "", &|_| Some(&s), &layout))
            .collect();
        let mut cells = Cells::new();
        (0..300).for_each(|i| cells.push(i as i64));
        let mut out = Vec::new();
        let started = Instant::now();
        for round in 0..10i64 {
            let t = 1_763_640_000_000 + round * 10_000;
            for plan in &mut plans {
                machine.observe(plan, t, cells.kinds(), cells.bits(), t, &mut out);
            }
        }
        let ns = started.elapsed().as_nanos() / 130_000;
        println!("{limits} of 300 fields with limits: {ns} ns a row");
    }
}
