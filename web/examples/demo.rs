//! Draws every kind of graph from made-up data: `demo FOLDER` writes PNG and SVG
//! files to look at, `demo --bench` prints what a picture costs.

use rookery_collector::history::{Bucket, FieldRollup, Rollup};
use rookery_plugins::{Draw, FieldSpec, ServiceSpec};
use rookery_web::graph::{GraphRequest, Limits, Theme, png, sparkline_svg, svg};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

/// Wed 18 Nov 2026, 10:10 UTC.
const FROM: i64 = 1_794_996_600_000;
const HOUR: i64 = 3_600_000;

/// A service and its values at (field, bucket); `None`: a gap.
struct Scene {
    name: &'static str,
    spec: ServiceSpec,
    step_ms: i64,
    n: usize,
    limits: Vec<(String, Limits)>,
    value: fn(usize, usize) -> Option<Bucket>,
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arg = std::env::args().nth(1).ok_or("usage: demo FOLDER | demo --bench")?;
    if arg == "--bench" {
        return bench();
    }
    let folder = Path::new(&arg);
    std::fs::create_dir_all(folder)?;
    for scene in scenes() {
        let rollup = rollup(&scene);
        for theme in [Theme::Light, Theme::Dark] {
            let stem = format!("{}-{}", scene.name, theme.word());
            with_request(&scene, &rollup, theme, |request| {
                let small = &GraphRequest { width: 280, height: 110, ..request.clone() };
                std::fs::write(folder.join(format!("{stem}-small.png")), png(small)?)?;
                std::fs::write(folder.join(format!("{stem}-small.svg")), svg(small)?)?;
                std::fs::write(folder.join(format!("{stem}.png")), png(request)?)?;
                std::fs::write(folder.join(format!("{stem}.svg")), svg(request)?)?;
                let spark = sparkline_svg(&rollup, 160, 40, theme);
                std::fs::write(folder.join(format!("{stem}-spark.svg")), spark)?;
                Ok(())
            })?;
        }
    }
    Ok(())
}

type Done = Result<(), Box<dyn std::error::Error>>;

fn with_request(
    scene: &Scene,
    rollup: &Rollup,
    theme: Theme,
    run: impl Fn(&GraphRequest<'_>) -> Done,
) -> Done {
    let tz = jiff::tz::TimeZone::get("Europe/Berlin")?;
    let title = format!("{} · web1.example", scene.spec.title);
    run(&GraphRequest {
        rollup,
        to_ms: FROM + scene.step_ms * scene.n as i64,
        width: 900,
        height: 240,
        theme,
        tz: &tz,
        title: &title,
        limits: &scene.limits,
        marks: &[],
        axis: None,
        legend: true,
        over: rookery_web::graph::Over::default(),
    })
}

fn rollup(scene: &Scene) -> Rollup {
    let field = |(i, spec): (usize, &FieldSpec)| {
        let buckets = (0..scene.n).map(|b| (scene.value)(i, b).unwrap_or_default());
        FieldRollup::of(spec.clone(), buckets.collect())
    };
    let fields = scene.spec.fields.iter().enumerate().map(field).collect();
    Rollup {
        from_ms: FROM,
        step_ms: scene.step_ms,
        spec: Arc::new(scene.spec.clone()),
        fields,
        averages: vec![],
    }
}

/// A bucket of `count` samples around a mean.
fn around(mean: f64, spread: f64, count: u64) -> Option<Bucket> {
    let (min, max) = (mean - spread, mean + spread);
    let sum = mean * count as f64;
    Some(Bucket { count, min, max, sum, first: mean, last: mean })
}

/// The same noise every time, 0 to 1.
fn noise(field: usize, bucket: usize) -> f64 {
    let mut x =
        (field as u64 + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) ^ ((bucket as u64 + 7) << 17);
    x = (x ^ (x >> 31)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    x = (x ^ (x >> 29)).wrapping_mul(0x94D0_49BB_1331_11EB);
    (x >> 40) as f64 / (1u64 << 24) as f64
}

fn wave(field: usize, bucket: usize, n: f64) -> f64 {
    ((bucket as f64 / n + field as f64 * 0.17) * std::f64::consts::TAU).sin()
}

fn limits(field: &str, warning: &str, critical: &str) -> Vec<(String, Limits)> {
    let text = |t: &str| (!t.is_empty()).then(|| t.to_owned());
    vec![(field.into(), Limits { warning: text(warning), critical: text(critical) })]
}

fn scenes() -> Vec<Scene> {
    vec![
        stack(),
        traffic(),
        year(),
        point("point", 1),
        point("nothing", 0),
        sparse(),
        many(),
        log(),
    ]
}

fn stack() -> Scene {
    let names = ["system", "user", "nice", "iowait", "steal"];
    let fields = names.map(|n| FieldSpec::derive(n, n).draw(Draw::AreaStack)).into();
    Scene {
        name: "day-stack",
        spec: ServiceSpec::new("cpu", "CPU usage", "system")
            .vlabel("% per ${graph_period}")
            .args("--base 1000 -r -l 0 -u 150")
            .fields(fields),
        step_ms: 24 * HOUR / 860,
        n: 860,
        limits: limits("user", "~:110", "~:125"),
        value: |f, b| {
            if (490..570).contains(&b) {
                return None;
            }
            let base = [10.0, 20.0, 18.0, 22.0, 20.0][f];
            around(base * (1.0 + 0.35 * wave(f, b, 860.0)) + 2.5 * noise(f, b), 1.5, 10)
        },
    }
}

fn traffic() -> Scene {
    let up = FieldSpec::derive("up", "sent").draw(Draw::Area).negative("down");
    Scene {
        name: "traffic",
        spec: ServiceSpec::new("if_eth0", "eth0 traffic", "network")
            .vlabel("bits in (−) / out (+) per ${graph_period}")
            .fields(vec![
                FieldSpec::derive("down", "received").cdef("down,8,*").hidden(),
                up.cdef("up,8,*"),
            ]),
        step_ms: 24 * HOUR / 860,
        n: 860,
        limits: vec![],
        value: |f, b| {
            let size = [3.1e6, 9.0e5][f];
            around(size * (1.3 + wave(f, b, 430.0) + noise(f, b) * 0.4), size * 0.15, 10)
        },
    }
}

fn year() -> Scene {
    Scene {
        name: "year-lines",
        spec: ServiceSpec::new("load", "Load average", "system")
            .vlabel("load")
            .args("-l 0")
            .fields(vec![
                FieldSpec::gauge("load", "load of the last minute").draw(Draw::Line1),
                FieldSpec::gauge("load5", "of the last five minutes").draw(Draw::Line2),
                FieldSpec::gauge("load15", "fifteen").draw(Draw::Line3),
            ]),
        step_ms: 365 * 24 * HOUR / 860,
        n: 860,
        limits: limits("load", "6", "~:12"),
        value: |f, b| {
            if (120..140).contains(&b) {
                return None;
            }
            let mean = 2.0 + wave(f, b, 500.0) + noise(f, b) * 0.5;
            let mut bucket = around(mean, 0.6 / (f + 1) as f64, 3600)?;
            if b == 600 && f == 0 {
                bucket.max = 9.5;
            }
            Some(bucket)
        },
    }
}

fn point(name: &'static str, n: usize) -> Scene {
    let mut spec = ServiceSpec::new("temp", "Temperature", "sensors").vlabel("degrees Celsius");
    spec.fields = vec![FieldSpec::gauge("cpu", "CPU"), FieldSpec::gauge("disk", "disk")];
    let one: fn(usize, usize) -> Option<Bucket> =
        |f, b| if b == 60 { around(40.0 + f as f64 * 3.0, 0.0, 1) } else { None };
    let value = if n == 0 { |_, _| None } else { one };
    Scene { name, spec, step_ms: 10_000, n: 100, limits: vec![], value }
}

/// Buckets narrower than the step: most are empty, nothing is missing.
fn sparse() -> Scene {
    Scene {
        name: "sparse",
        spec: ServiceSpec::new("df", "Disk usage <script>alert(1)</script>", "disk")
            .vlabel("%")
            .args("--lower-limit 0 --upper-limit 100")
            .fields(vec![
                FieldSpec::gauge("root", "/"),
                FieldSpec::gauge(
                    "home",
                    "/home & a very long name that has to be cut somewhere…\u{1b}[31m",
                ),
            ]),
        step_ms: 5_000,
        n: 700,
        limits: limits("root", "~:80", "~:92"),
        value: |f, b| match b % 12 == 3 && !(300..380).contains(&b) {
            true => around([62.0, 71.5][f] + 4.0 * wave(f, b, 300.0), 0.0, 1),
            false => None,
        },
    }
}

fn many() -> Scene {
    let name = |i: usize| format!("sensor_{i}");
    let fields = (0..30).map(|i| FieldSpec::gauge(&name(i), &name(i)));
    Scene {
        name: "many",
        spec: ServiceSpec::new("many", "Many sensors", "sensors").fields(fields.collect()),
        step_ms: 7 * 24 * HOUR / 860,
        n: 860,
        limits: vec![],
        value: |f, b| around(10.0 + f as f64 * 3.0 + wave(f, b, 300.0) * 4.0, 0.5, 70),
    }
}

/// Memory in bytes: base 1024, with a line upon the stack.
fn log() -> Scene {
    Scene {
        name: "memory",
        spec: ServiceSpec::new("memory", "Memory usage", "system")
            .vlabel("Bytes")
            .args("--base 1024 -l 0")
            .fields(vec![
                FieldSpec::gauge("apps", "apps").draw(Draw::AreaStack),
                FieldSpec::gauge("cache", "cache").draw(Draw::AreaStack),
                FieldSpec::gauge("free", "unused").draw(Draw::AreaStack),
                FieldSpec::gauge("committed", "committed").draw(Draw::Line2),
            ]),
        step_ms: 31 * 24 * HOUR / 860,
        n: 860,
        limits: vec![],
        value: |f, b| {
            let gib = 1024f64.powi(3);
            let used = 3.0 + 0.8 * wave(0, b, 200.0) + noise(0, b) * 0.2;
            let cache = 6.0 + wave(1, b, 700.0) + noise(1, b) * 0.1;
            let value = [used, cache, 16.0 - used - cache, 5.5 + noise(3, b) * 0.3][f];
            around(value * gib, 0.05 * gib, 300)
        },
    }
}

/// CPU time of the process in µs per picture.
fn bench() -> Done {
    const ROUNDS: u32 = 400;
    let mut scene = stack();
    scene.step_ms = 24 * HOUR / 860;
    let rollup = rollup(&scene);
    with_request(&scene, &rollup, Theme::Light, |request| {
        let request = &GraphRequest { height: 300, ..request.clone() };
        let run = |name: &str, draw: &dyn Fn() -> Result<usize, Box<dyn std::error::Error>>| {
            let bytes = draw()?;
            let start = Instant::now();
            for _ in 0..ROUNDS {
                draw()?;
            }
            let each = start.elapsed().as_secs_f64() * 1e6 / f64::from(ROUNDS);
            println!("{name}: {each:.0} µs, {bytes} bytes");
            Ok::<(), Box<dyn std::error::Error>>(())
        };
        run("svg", &|| Ok(svg(request)?.len()))?;
        run("png", &|| Ok(png(request)?.len()))?;
        run("sparkline", &|| Ok(sparkline_svg(&rollup, 160, 40, Theme::Light).len()))
    })
}
