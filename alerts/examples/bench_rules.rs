//! What 100,000 rules over 1,000,000 fields cost: `cargo run -p rookery-alerts --release
//! --example bench_rules`. Each rule names its node and service in full, and limits its
//! ten fields; the nodes are 2,000 with 50 services each.

use rookery_alerts::{Machine, Output, Plan, Rules, Settings};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, ServiceSpec};
use std::fmt::Write;
use std::time::Instant;

const NODES: usize = 2000;
const SERVICES: usize = 50;
const FIELDS: usize = 10;
const ROUNDS: i64 = 10;
const START_MS: i64 = 1_795_176_000_000;

/// Bytes that are resident, of the kernel.
fn resident_mb() -> f64 {
    let text = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages: f64 = text.split(' ').nth(1).and_then(|w| w.parse().ok()).unwrap_or(f64::NAN);
    pages * 4096.0 / 1e6
}

fn rules_text(formulas: bool) -> String {
    let mut text = String::new();
    for node in 0..NODES {
        for service in 0..SERVICES {
            // Writing to a String cannot fail.
            let _ = write!(
                text,
                "[[rule]]\nnode = \"node{node}\"\nservice = \"service{service}\"\n\
                 warning = \"~:800\"\ncritical = \"~:900\"\n"
            );
            if formulas {
                text.push_str("value = \"f0 / (f0 + f1)\"\nas = \"ratio\"\n");
            }
        }
    }
    text
}

fn run(name: &str, text: &str) {
    let before = resident_mb();
    let started = Instant::now();
    let rules = match Rules::load(&[("bench.toml".to_owned(), text.to_owned())]) {
        Ok(rules) => rules,
        Err(e) => return println!("{name}: {e}"),
    };
    let n_rules = rules.len();
    println!("{name}: {n_rules} rules read in {:.2} s", started.elapsed().as_secs_f64());
    let services: Vec<ServiceSpec> = (0..SERVICES)
        .map(|i| {
            let fields = (0..FIELDS).map(|f| FieldSpec::gauge(&format!("f{f}"), "")).collect();
            let name = format!("service{i}");
            ServiceSpec { step_ms: 10_000, ..ServiceSpec::new(&name, "S", "t").fields(fields) }
        })
        .collect();
    let keys = |s: &ServiceSpec| -> Vec<FieldKey> {
        s.fields.iter().map(|f| FieldKey::new(&s.name, &f.name)).collect()
    };
    let layout = Layout::new(services.iter().flat_map(keys).collect());
    let mut machine = Machine::new(rules, Settings::default());
    let started = Instant::now();
    let plans: Vec<Plan> = (0..NODES)
        .map(|n| {
            let find = |s: &str| services.iter().find(|x| x.name == s);
            machine.plan(&format!("node{n}"), "", &find, &layout)
        })
        .collect();
    let planned_s = started.elapsed().as_secs_f64();
    let n_fields: usize = plans.iter().map(Plan::len).sum();
    println!(
        "  {n_fields} fields planned in {planned_s:.2} s, {:.0} MB with the rules",
        resident_mb() - before
    );
    let mut cells = Cells::new();
    (0..SERVICES * FIELDS).for_each(|i| cells.push(i as i64));
    let mut out: Vec<Output> = Vec::new();
    let mut best_ns = f64::INFINITY;
    let mut tick_ms = 0.0f64;
    for round in 0..ROUNDS {
        let t = START_MS + round * 10_000;
        let started = Instant::now();
        for plan in &plans {
            machine.observe(plan, t, cells.kinds(), cells.bits(), t, &mut out);
        }
        // The first round makes the states.
        if round > 0 {
            best_ns = best_ns.min(started.elapsed().as_nanos() as f64 / n_fields as f64);
        }
        out.clear();
        let started = Instant::now();
        machine.tick(t + 1, &mut out);
        tick_ms = tick_ms.max(started.elapsed().as_secs_f64() * 1000.0);
    }
    println!("  {best_ns:.1} ns a sample (best of {}), a tick {tick_ms:.2} ms", ROUNDS - 1);
}

fn main() {
    run("limits", &rules_text(false));
    run("ratios", &rules_text(true));
}
