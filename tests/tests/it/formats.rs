//! A history of each version of the format opens, for ever, and holds what it
//! held: `tests/fixtures/history/` (its README says how the next one is made).

use crate::support::{Proc, Site, bin, http, stdout};
use rookery_plugins::wire::{Announce, CONTENT_TYPE, FrameWriter};
use rookery_plugins::{Cells, FieldKey, FieldSpec, Kind, Layout, ServiceSpec, TimeMs, Value};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

/// The version that the present program writes.
const VERSION: u32 = 2;
/// 2023-11-30 22:00 UTC: two hours before a change of month.
const START: TimeMs = 1_701_381_600_000;
const STEP: TimeMs = 600_000;
const DAY: TimeMs = 86_400_000;
const FIELDS: [&str; 5] = ["int", "uint", "float", "mixed", "gaps"];
const HEAD: &str = "node,service,field,time,kind,bits";

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/history")
}

/// The cells of row `i`: every kind of value, and the edges of each.
fn cells(i: i64) -> [Option<Value>; 5] {
    let at = |n: usize| i.rem_euclid(n as i64) as usize;
    let ints = [0, -1, 1, i64::MIN, i64::MAX, (1 << 53) + 1, -(1 << 53) - 1];
    let uints = [u64::MAX, 1 << 63, (1 << 63) + 12345];
    let floats = [
        0.0,
        -0.0,
        f64::from_bits(1),
        f64::MIN_POSITIVE,
        f64::MAX,
        f64::INFINITY,
        f64::NEG_INFINITY,
        f64::from_bits(0x7ff8_0000_0000_0001),
        0.1 + 0.2,
    ];
    let mixed = [Value::Int(i), Value::Float(i as f64 / 8.0), Value::Unknown];
    [
        Some(Value::Int(ints[at(7)] ^ i)),
        Some(Value::Uint(uints[at(3)])),
        Some(Value::Float(floats[at(9)])),
        Some(mixed[at(3)]),
        (i % 3 != 0).then_some(Value::Int(i * i)),
    ]
}

/// What is sent, step by step; after each step but the last all is sealed.
struct Sent {
    node: &'static str,
    sequence: u64,
    /// Time, and the number that its cells are made of.
    rows: Vec<(TimeMs, i64)>,
}

fn steps() -> Vec<Vec<Sent>> {
    let rows = |from: i64, to: i64| (from..to).map(|i| (START + i * STEP, i)).collect();
    // A day before all else, and once with values that came too late to count.
    let late = |times: &[TimeMs]| times.iter().map(|t| (START + t, 1000 + t / 1000)).collect();
    vec![
        vec![Sent { node: "g;n1", sequence: 1, rows: rows(0, 40) }],
        vec![
            // With the first packed into one; the other stays as it is.
            Sent { node: "g;n1", sequence: 2, rows: rows(40, 60) },
            Sent { node: "once", sequence: 1, rows: rows(0, 20) },
        ],
        vec![Sent { node: "g;n1", sequence: 3, rows: late(&[-DAY, 1 - DAY, 0, STEP / 2]) }],
        vec![
            Sent { node: "g;n1", sequence: 4, rows: rows(60, 70) },
            Sent { node: "g;n1", sequence: 5, rows: late(&[2 - DAY, STEP]) },
        ],
    ]
}

fn frame(sent: &Sent) -> Vec<u8> {
    let layout = Layout::new(FIELDS.iter().map(|f| FieldKey::new("kinds", f)).collect());
    let mut spec = ServiceSpec::new("kinds", "Every kind of value", "tests");
    spec.fields.extend(FIELDS.iter().map(|f| FieldSpec::gauge(f, &format!("the {f}"))));
    let mut writer = FrameWriter::default();
    writer.start(sent.node, 1, sent.sequence);
    writer.announce(&Announce { services: vec![spec], ..Announce::default() });
    writer.layout(&layout);
    for (time, i) in &sent.rows {
        let mut row = Cells::new();
        for cell in cells(*i) {
            match cell {
                Some(value) => row.push(value),
                None => row.push_absent(),
            }
        }
        writer.row(layout.id(), *time, &row);
    }
    writer.finish().to_vec()
}

/// What must come back: of one time the first value that was sent.
fn model() -> String {
    let mut all = BTreeMap::new();
    for sent in steps().iter().flatten() {
        for (time, i) in &sent.rows {
            for (field, cell) in FIELDS.iter().zip(cells(*i)) {
                if let Some(value) = cell {
                    all.entry((sent.node, *field, *time)).or_insert(value);
                }
            }
        }
    }
    let mut csv = format!("{HEAD}\n");
    for ((node, field, time), value) in all {
        let kind = match value.kind() {
            Kind::Int => "int",
            Kind::Uint => "uint",
            Kind::Float => "float",
            Kind::Unknown | Kind::Absent => "unknown",
        };
        csv += &format!("{node},kinds,{field},{time},{kind},{}\n", value.bits() as i64);
    }
    csv
}

fn samples(data: &Path) -> String {
    let question = format!("SELECT {HEAD} FROM samples ORDER BY node, service, field, time");
    let mut command = Command::new(bin("rookery"));
    let csv = stdout(command.args(["sql", "--format", "csv", &question, "--data"]).arg(data));
    csv.replace("\r\n", "\n")
}

fn seal(site: &Site) {
    let url = format!("{}/api/v1/seal", site.url());
    let answer = http(|c| c.post(url).bearer_auth("sesame")).expect("it answers");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder").flatten() {
        let (path, name) = (entry.path(), entry.file_name());
        let left_out =
            ["lock"].iter().any(|n| name == *n) || name.to_string_lossy().ends_with("-shm");
        if path.is_dir() {
            copy(&path, &to.join(name));
        } else if !left_out {
            std::fs::copy(&path, to.join(name)).expect("copied");
        }
    }
}

/// Makes the history of the present version: sealed, packed, late and not yet
/// sealed samples.
fn make(dir: &Path) {
    let site = Site::new();
    let collector = site.collector("");
    let steps = steps();
    for (n, step) in steps.iter().enumerate() {
        for sent in step {
            let url = format!("{}/api/v1/ingest", site.url());
            let answer = http(|c| {
                let request =
                    c.post(url).bearer_auth("sesame").header("content-type", CONTENT_TYPE);
                request.body(frame(sent))
            });
            assert_eq!(answer.expect("it answers").status, 200);
        }
        if n + 1 < steps.len() {
            seal(&site);
        }
    }
    collector.stop();
    copy(&site.path("data"), &dir.join("data"));
    std::fs::write(dir.join("samples.csv"), samples(&site.path("data"))).expect("written");
}

/// Blocks as they were frozen and packed ones; batches in the journal.
fn parts(data: &Path) -> (BTreeSet<i64>, usize) {
    let mut levels = BTreeSet::new();
    for entry in std::fs::read_dir(data.join("periods")).expect("a folder").flatten() {
        if entry.path().extension().is_some_and(|e| e == "sqlite") {
            let conn = rusqlite::Connection::open(entry.path()).expect("opens");
            let mut stmt = conn.prepare("SELECT DISTINCT level FROM block").expect("a table");
            let found = stmt.query_map([], |r| r.get::<_, i64>(0)).expect("asked");
            levels.extend(found.map(|l| l.expect("a number")));
        }
    }
    let said = stdout(Command::new(bin("rookery")).args(["verify", "--data"]).arg(data));
    let n =
        said.lines().find_map(|l| l.split_once(" batches in the journal")?.0.rsplit(' ').next());
    (levels, n.expect("verify counts").parse().expect("a number"))
}

/// Opens a copy, as a collector does, and reads everything in each way.
fn check(dir: &Path) {
    let what = dir.display();
    let want = std::fs::read_to_string(dir.join("samples.csv")).expect("samples.csv");
    let site = Site::new();
    let data = site.path("data");
    copy(&dir.join("data"), &data);
    let (levels, n_frames) = parts(&data);
    assert_eq!(levels, BTreeSet::from([0, 1]), "{what}: packed and not packed");
    assert!(n_frames > 0, "{what}: nothing in the journal");
    assert_eq!(samples(&data), want, "{what}: looked at from outside");
    let collector: Proc = site.collector("");
    let mut exported = 0;
    for node in ["g;n1", "once"] {
        exported += site.export(node, "kinds").len();
        let services = site.services(&node.replace(';', "%3B"));
        assert!(services[0].to_string().contains("Every kind of value"), "{what}: {services:?}");
    }
    assert_eq!(exported, want.lines().count() - 1, "{what}: exported");
    assert_eq!(samples(&data), want, "{what}: beside the collector");
    // It is not only read: the present program goes on with it.
    seal(&site);
    assert_eq!(samples(&data), want, "{what}: sealed and packed anew");
    collector.stop();
    stdout(Command::new(bin("rookery")).args(["verify", "--data"]).arg(&data));
}

#[test]
fn a_history_of_each_version_opens_and_holds_what_it_held() {
    let present = fixtures().join(format!("v{VERSION}"));
    if std::env::var_os("UPDATE_EXPECT").is_some() && !present.exists() {
        make(&present);
    }
    let stored = std::fs::read_to_string(present.join("samples.csv")).expect("samples.csv");
    assert_eq!(stored, model(), "version {VERSION}: what was sent");
    for version in 1..=VERSION {
        check(&fixtures().join(format!("v{version}")));
    }
}
