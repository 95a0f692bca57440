//! A recorded two-node machine, before and after a spill, replayed through the
//! root prefix: the imbalance is seen on the graph.

use crate::support::{Site, get, wait_for};
use std::path::Path;
use std::process::Command;
use std::time::Duration;

fn lay_out(from: &str, to: &Path) {
    let source = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../plugins/testdata/numa-2node")
        .join(from)
        .join(".");
    // Over the old files, as a kernel has it: the agent keeps them open.
    let done = Command::new("cp").arg("-r").arg(source).arg(to).status().expect("cp");
    assert!(done.success());
}

fn imbalance(site: &Site) -> Vec<(i64, f64)> {
    if !site.services("twonode").iter().any(|s| s["service"] == "numa_balance") {
        return Vec::new();
    }
    let rows = site.export("twonode", "numa_balance");
    let of = rows.iter().filter(|(_, f, _)| f == "imbalance");
    of.filter_map(|(t, _, v)| Some((*t, v.parse().ok()?))).collect()
}

#[test]
fn a_spill_is_seen_on_the_graph() {
    let site = Site::new();
    let root = site.path("root");
    std::fs::create_dir(&root).expect("a folder");
    lay_out("idle", &root);
    let collector = site.collector("");
    let agent = site.agent(
        "twonode",
        &format!(
            "step = \"500ms\"\nproc = {:?}\nsys = {:?}\n",
            root.join("proc"),
            root.join("sys")
        ),
    );
    wait_for("idle values", Duration::from_secs(30), || {
        (imbalance(&site).len() >= 4).then_some(())
    });
    lay_out("spilled", &root);
    let all = wait_for("the spill", Duration::from_secs(30), || {
        let all = imbalance(&site);
        (all.last()?.1 > 60.0).then_some(all)
    });
    assert!(all[0].1 < 2.0, "{all:?}");
    wait_for("some more", Duration::from_secs(60), || {
        (imbalance(&site).iter().filter(|(_, v)| *v > 60.0).count() >= 4).then_some(())
    });
    let rollup = get(&format!(
        "{}/api/v1/rollup?node=twonode&service=numa_balance&field=imbalance&from=-2m&step=500ms",
        site.url()
    ))
    .json();
    let max = rollup["fields"][0]["max"].as_array().expect("buckets");
    let drawn: Vec<f64> = max.iter().filter_map(serde_json::Value::as_f64).collect();
    assert!(drawn.first().is_some_and(|v| *v < 2.0) && drawn.iter().any(|v| *v > 60.0));
    let svg = get(&format!("{}/graph/twonode/numa_balance.svg?from=-30s", site.url()));
    assert_eq!((svg.status, svg.kind.as_str()), (200, "image/svg+xml"));
    assert!(svg.text().contains("imbalance"), "the legend names it");
    let png = get(&format!("{}/graph/twonode/numa_balance.png?from=-30s", site.url()));
    assert!(png.body.starts_with(b"\x89PNG"), "{}", png.text());
    if let Ok(dir) = std::env::var("ROOKERY_PICTURES") {
        std::fs::write(Path::new(&dir).join("numa.png"), &png.body).expect("writes");
    }
    agent.stop();
    collector.stop();
}
