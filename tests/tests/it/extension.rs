//! The loadable extension in Debian's own SQLite, beside a collector that writes.

use crate::support::{Site, bin, run, stdout, wait_for};
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

/// The extension, without its suffix, as `.load` takes it.
fn extension() -> PathBuf {
    let so = bin("rookery").with_file_name("librookery_sqlite.so");
    assert!(so.exists(), "{}: cargo build --workspace makes it", so.display());
    so.with_extension("")
}

/// The plain `sqlite3` program, with the table over this site's history.
fn sqlite(site: &Site, question: &str) -> Command {
    let mut command = Command::new("/usr/bin/sqlite3");
    let data = site.path("data");
    command
        .args(["-batch", "-bail", "-csv", ":memory:"])
        .arg(format!(".load {}", extension().display()))
        .arg(format!("CREATE VIRTUAL TABLE temp.samples USING rookery('{}')", data.display()))
        .arg(question);
    command
}

fn ship(site: &Site, values: &[&str], first_ms: i64) {
    let samples: Vec<String> = values
        .iter()
        .enumerate()
        .map(|(i, v)| {
            let time = first_ms + i as i64 * 1000;
            format!(r#"{{"service":"s","field":"f","value":{v},"time_ms":{time}}}"#)
        })
        .collect();
    let body = format!(r#"{{"node":"n;1","samples":[{}]}}"#, samples.join(","));
    let answer = site.post(&body).expect("an answer");
    assert_eq!(answer.status, 200, "{}", answer.text());
}

const FIRST_MS: i64 = 1_795_000_000_000;

#[test]
fn the_plain_sqlite3_reads_what_export_prints() {
    let site = Site::new();
    let collector = site.collector("");
    let values = ["9007199254740993", "-5", "0.1", "null", "18446744073709551615", "1e300"];
    ship(&site, &values, FIRST_MS);
    let question = "SELECT time, field, value FROM samples WHERE node = 'n;1' AND service = 's'";
    let ask = || {
        let text = stdout(&mut sqlite(&site, question));
        let row = |line: &str| {
            let cells: Vec<&str> = line.trim_end().split(',').collect();
            (cells[0].parse::<i64>().expect("ms"), cells[1].to_owned(), cells[2].to_owned())
        };
        text.lines().map(row).collect::<Vec<_>>()
    };
    let exported = site.export("n;1", "s");
    let found = ask();
    assert_eq!(found.len(), values.len());
    for (a, b) in found.iter().zip(&exported) {
        assert_eq!((a.0, &a.1), (b.0, &b.1));
        let same = a.2 == b.2 || a.2.parse::<f64>().ok() == b.2.parse::<f64>().ok();
        assert!(same, "{a:?} {b:?}");
    }
    assert_eq!(found[0].2, "9007199254740993");
    assert_eq!(found[4].2, "18446744073709551615");
    // While the collector writes: sealed ones, and new ones.
    let seal = stdout(Command::new(bin("rookery")).arg("status").arg("--url").arg(site.url()));
    assert!(seal.contains("frames"), "{seal}");
    ship(&site, &["7"], FIRST_MS + 10_000);
    assert_eq!(ask().len(), values.len() + 1);

    // One connection goes on seeing what arrives.
    let script = format!(
        "import sqlite3, sys\n\
         c = sqlite3.connect(':memory:')\n\
         c.enable_load_extension(True)\n\
         c.load_extension({:?})\n\
         c.execute(\"CREATE VIRTUAL TABLE temp.samples USING rookery('{}')\")\n\
         for line in sys.stdin:\n\
         \x20   print(c.execute('SELECT count(*) FROM samples WHERE field = ?',\n\
         \x20                   (line.strip(),)).fetchone()[0], flush=True)\n",
        extension().display().to_string(),
        site.path("data").display()
    );
    let mut python = Command::new("/usr/bin/python3")
        .args(["-c", &script])
        .stdin(std::process::Stdio::piped())
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("python3");
    let mut stdin = python.stdin.take().expect("a pipe");
    let mut lines =
        std::io::BufRead::lines(std::io::BufReader::new(python.stdout.take().expect("a pipe")));
    let mut count = |field: &str| -> usize {
        std::io::Write::write_all(&mut stdin, format!("{field}\n").as_bytes()).expect("asks");
        lines.next().expect("an answer").expect("text").parse().expect("a number")
    };
    assert_eq!((count("f"), count("x")), (7, 0));
    ship(&site, &["8"], FIRST_MS + 20_000);
    wait_for("the new sample", Duration::from_secs(60), || (count("f") == 8).then_some(()));
    drop(stdin);
    assert!(python.wait().expect("ends").success());
    collector.stop();
}

#[test]
fn constraints_are_looked_up_and_errors_say_what_to_do() {
    let site = Site::new();
    let collector = site.collector("");
    ship(&site, &["1", "2", "3"], FIRST_MS);
    let plan = |question: &str| {
        let text = stdout(&mut sqlite(&site, &format!("EXPLAIN QUERY PLAN {question}")));
        let number = text.rsplit("INDEX ").next().and_then(|t| t.trim().split(':').next());
        number.and_then(|n| n.parse::<u32>().ok()).unwrap_or_else(|| panic!("{text}"))
    };
    assert_eq!(plan("SELECT * FROM samples"), 0);
    assert_eq!(plan("SELECT * FROM samples WHERE node = 'a' AND field = 'b'"), 0b101);
    let span = "SELECT * FROM samples WHERE service = 'b' AND time >= 5 AND time < 9";
    assert_eq!(plan(span), 0b1001_0010);
    for (question, want) in [
        ("SELECT count(*) FROM samples WHERE time > 1795000000000", "2"),
        ("SELECT count(*) FROM samples WHERE time BETWEEN 1795000000000.5 AND 1e13", "2"),
        ("SELECT count(*) FROM samples WHERE node = 'N;1' COLLATE NOCASE", "3"),
        ("SELECT count(*) FROM samples WHERE node = 5 OR field IS NULL", "0"),
        ("SELECT sum(value) FROM samples WHERE field IN ('f', 'g')", "6"),
        (
            "SELECT max(time) - min(time) FROM samples a WHERE EXISTS \
          (SELECT 1 FROM samples b WHERE b.node = a.node AND b.time = a.time + 1000)",
            "1000",
        ),
        (
            "SELECT group_concat(value, ' ') FROM (SELECT value FROM samples ORDER BY time DESC)",
            "\"3 2 1\"",
        ),
    ] {
        assert_eq!(stdout(&mut sqlite(&site, question)).trim(), want, "{question}");
    }
    let refused = |question: &str, want: &str| {
        let output = run(&mut sqlite(&site, question));
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && text.contains(want), "{question}: {text}");
    };
    refused("CREATE VIRTUAL TABLE temp.t USING rookery('/no/such')", "/no/such: no history here");
    refused("CREATE VIRTUAL TABLE temp.t USING rookery('/', 'x')", "write USING rookery(");
    refused("INSERT INTO samples VALUES (1,2,3,4,5,6,7)", "may not be modified");
    collector.stop();
    // A damaged catalog is an error, and no more than that.
    let catalog = site.path("data/catalog.sqlite");
    std::fs::write(&catalog, vec![b'x'; 5000]).expect("writes");
    let output = run(&mut sqlite(&site, "SELECT count(*) FROM samples"));
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!output.status.success() && text.contains("catalog.sqlite"), "{text}");
}

/// Nothing of the SQLite inside is seen outside.
#[test]
fn only_the_entry_point_is_exported() {
    let so = extension().with_extension("so");
    let text = stdout(Command::new("nm").args(["-D", "--defined-only"]).arg(so));
    let names: Vec<&str> = text.lines().filter_map(|l| l.split_whitespace().nth(2)).collect();
    assert_eq!(names, ["sqlite3_extension_init"], "{text}");
}
