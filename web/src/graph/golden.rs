//! Pictures of each style compared with kept ones. After a wanted change:
//! `UPDATE_GOLDEN=1 cargo test -p rookery-web golden`, then look at the files.

use super::testing::{FROM, bucket, field, request, rollup, with_buckets};
use super::{GraphRequest, Limits, Mark, Over, Percentile, svg};
use rookery_collector::history::Rollup;
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};
use std::path::Path;

fn compare(name: &str, request: &GraphRequest<'_>) {
    let drawn = svg(request).expect("an SVG");
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/graph").join(name);
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, &drawn).expect("the file can be written");
    }
    let kept = std::fs::read_to_string(&path).expect("the kept picture");
    let differ = kept.lines().zip(drawn.lines()).position(|(a, b)| a != b);
    assert!(kept == drawn, "{name} differs from line {differ:?} on:\n{drawn}");
}

fn service(args: &str) -> ServiceSpec {
    ServiceSpec::new("s", "S", "other").args(args).vlabel("things per ${graph_period}")
}

fn values(of: &[f64]) -> Vec<Option<f64>> {
    of.iter().map(|v| (!v.is_nan()).then_some(*v)).collect()
}

fn two(draw: Draw) -> Rollup {
    let gap = f64::NAN;
    let a = values(&[1.0, 2.0, 3.0, gap, gap, gap, 3.0, 2.0, 2.0]);
    let b = values(&[4.0, 4.0, 5.0, gap, gap, gap, 6.0, 6.0, 4.0]);
    let fields = vec![
        field(FieldSpec::gauge("a", "apples").draw(draw), &a),
        field(FieldSpec::gauge("b", "pears").draw(draw), &b),
    ];
    rollup(service("-l 0"), fields)
}

#[test]
fn golden_stack() {
    compare("stack.svg", &request(&two(Draw::AreaStack), &[]));
}

#[test]
fn golden_areas() {
    compare("areas.svg", &request(&two(Draw::Area), &[]));
}

#[test]
fn golden_lines_with_limits() {
    let limits = Limits { warning: Some("~:5".into()), critical: Some("~:7".into()) };
    let limits = [("b".to_owned(), limits)];
    compare("lines.svg", &request(&two(Draw::Line2), &limits));
}

#[test]
fn golden_marks() {
    let mark = |at: i64, text: &str| Mark { time_ms: FROM + at * 60_000, text: text.to_owned() };
    let marks = [
        mark(-1, "before"),
        mark(1, "deployed r1234 <b>"),
        mark(6, "one"),
        mark(6, "two"),
        mark(900, "after"),
    ];
    let rollup = two(Draw::Line1);
    compare("marks.svg", &GraphRequest { marks: &marks, height: 160, ..request(&rollup, &[]) });
}

#[test]
fn golden_overlays() {
    let of = |field: Option<&str>, value: f64| Percentile {
        field: field.map(str::to_owned),
        percent: 95.0,
        value,
    };
    let (lines, before) = (two(Draw::Line1), two(Draw::Line2));
    let muted = ["a".to_owned()];
    let percentiles = [of(Some("a"), 3.0), of(Some("b"), 5.5)];
    let over = Over {
        muted: &muted,
        percentiles: &percentiles,
        ghost: Some(&before),
        ghost_name: "1w",
        note: "a note",
    };
    compare("overlays.svg", &GraphRequest { over, height: 160, ..request(&lines, &[]) });
}

#[test]
fn golden_mirrored() {
    let up = FieldSpec::gauge("up", "sent").draw(Draw::Area).negative("down");
    let fields = vec![
        field(FieldSpec::gauge("down", "received").hidden(), &values(&[2e6, 3e6, 1e6])),
        field(up, &values(&[1e6, 2e6, 4e6])),
    ];
    compare("mirrored.svg", &request(&rollup(service(""), fields), &[]));
}

#[test]
fn golden_band_with_a_spike() {
    let mut buckets = vec![bucket(&[1.0, 1.5, 0.5]); 9];
    buckets[4] = bucket(&[1.0, 9.0, 1.0]);
    let fields = vec![with_buckets(FieldSpec::gauge("a", "apples"), buckets)];
    compare("band.svg", &request(&rollup(service("-l 0"), fields), &[]));
}

#[test]
fn golden_lone_point_and_nothing() {
    let mut lone = vec![None; 9];
    lone[6] = Some(5.0);
    let fields = vec![field(FieldSpec::gauge("a", "apples"), &lone)];
    compare("point.svg", &request(&rollup(service(""), fields), &[]));
    let fields = vec![field(FieldSpec::gauge("a", "apples"), &[None, None])];
    compare("nothing.svg", &request(&rollup(service(""), fields), &[]));
}
