//! `rookery import munin`: what Debian's munin-update and rrdtool have made of two weeks,
//! row by row, beside what the collector measures itself.

use crate::overlays::now_ms;
use crate::support::{Site, bin, get, run, stdout};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;

const NODE: &str = "web;front;web1.example.com";
const DAY_S: i64 = 86_400;
/// A time at which the node could not say, before now, s.
const UNKNOWN_S: (i64, i64) = (36 * 3600, 30 * 3600);

/// A level that swings by days, to be recognised.
fn level(t: i64) -> f64 {
    (3000.0 + 2000.0 * (t as f64 / 20_000.0).sin()).round() / 1000.0
}

/// A node with a spool of two weeks, as munin-async is one.
fn spool(stream: TcpStream, now_s: i64) -> std::io::Result<()> {
    let mut out = std::io::BufWriter::new(stream.try_clone()?);
    out.write_all(b"# munin node at web1.example.com\n")?;
    out.flush()?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        let mut words = line.split_whitespace();
        match words.next() {
            Some("cap") => out.write_all(b"cap multigraph dirtyconfig spool\n")?,
            Some("list") => out.write_all(b"load nest\n")?,
            Some("spoolfetch") => {
                let since: i64 = words.next().and_then(|w| w.parse().ok()).unwrap_or(0);
                out.write_all(
                    b"multigraph load\ngraph_title Load average\ngraph_args --base 1000 -l 0\n\
                      graph_category system\nload.label load\nload.warning 10\n",
                )?;
                let times = |step| (now_s - 14 * DAY_S..=now_s).step_by(step);
                for t in times(300).filter(|t| *t > since) {
                    match (now_s - UNKNOWN_S.0..now_s - UNKNOWN_S.1).contains(&t) {
                        true => writeln!(out, "load.value {t}:U")?,
                        false => writeln!(out, "load.value {t}:{}", level(t))?,
                    }
                }
                out.write_all(
                    b"multigraph nest.sda\ngraph_title sda\nrd_x.label read\nrd_x.type DERIVE\n\
                      rd_x.min 0\nrd_x.cdef rd_x,8,*\n",
                )?;
                for t in times(300).filter(|t| *t > since) {
                    writeln!(out, "rd_x.value {t}:{}", (t - now_s + 14 * DAY_S) * 3)?;
                }
                out.write_all(b".\n")?;
            }
            _ => return Ok(()),
        }
        out.flush()?;
    }
    Ok(())
}

/// A master's folder, made by Debian's munin-update from that spool.
fn master(site: &Site, now_s: i64) -> PathBuf {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = listener.local_addr().expect("an address").port();
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // The master may hang up whenever it likes.
            let _ = spool(stream, now_s);
        }
    });
    let mut text = String::new();
    for sub in ["db", "log", "run", "html"] {
        let dir = site.path(sub);
        std::fs::create_dir(&dir).expect("a folder");
        assert!(run(Command::new("chown").arg("munin").arg(&dir)).status.success());
        text += &format!("{sub}dir {}\n", dir.display());
    }
    text += &format!(
        "[{NODE}]\naddress 127.0.0.1\nport {port}\nuse_node_name yes\nload.load.critical 20\n"
    );
    let conf = site.path("munin.conf");
    std::fs::write(&conf, text).expect("writes");
    let mut update = Command::new("timeout");
    update.args(["60", "setpriv", "--reuid=munin", "--regid=munin", "--clear-groups"]);
    let out = run(update.arg("/usr/share/munin/munin-update").arg("--config").arg(conf));
    assert!(out.status.success(), "{}", String::from_utf8_lossy(&out.stderr));
    site.path("db")
}

/// Every row of an RRD, as `rrdtool dump` has it: by period and time; NaN: unknown.
fn dumped(file: &Path, what: &str) -> BTreeMap<(i64, i64), f64> {
    let text = stdout(Command::new("rrdtool").arg("dump").arg(file));
    let mut rows = BTreeMap::new();
    let between = |line: &str, a: &str, b: &str| {
        let (_, rest) = line.split_once(a)?;
        rest.split_once(b).map(|(found, _)| found.trim().to_owned())
    };
    let (mut is_it, mut step_s) = (false, 0);
    for line in text.lines() {
        if let Some(cf) = between(line, "<cf>", "</cf>") {
            is_it = cf == what;
        } else if let Some(n) = between(line, "<pdp_per_row>", "</pdp_per_row>") {
            step_s = 300 * n.parse::<i64>().expect("a number");
        } else if let Some(value) = between(line, "<row><v>", "</v>").filter(|_| is_it) {
            let time = between(line, " / ", " -->").and_then(|t| t.parse().ok()).expect("a time");
            rows.insert((step_s, time), value.parse().expect("a value"));
        }
    }
    assert!(rows.len() > 1000, "{}: {} rows", file.display(), rows.len());
    rows
}

fn import(site: &Site, dir: &Path, more: &[&str]) -> String {
    let mut command = Command::new(bin("rookery"));
    command.args(["import", "munin"]).arg(dir).args(["--url", &site.url(), "--data"]);
    stdout(command.arg(site.path("data")).args(more))
}

/// What the history has of an RRD's rows: all of it and nothing else.
fn compare(site: &Site, file: &Path, service: &str, field: &str) -> usize {
    let mut n = 0;
    for (what, end) in [("AVERAGE", ""), ("MIN", ":min"), ("MAX", ":max")] {
        let rows = dumped(file, what);
        for step_s in [300, 1800, 7200, 86_400] {
            let rows = rows.iter().filter(|((s, _), _)| *s == step_s);
            let mut rows: Vec<(i64, f64)> = rows.map(|((_, t), v)| (*t, *v)).collect();
            // What was never known is no row.
            let first = rows.iter().position(|(_, v)| !v.is_nan()).unwrap_or(rows.len());
            rows.drain(..first);
            let name = format!("{field}{end}");
            let found = site.export(NODE, &format!("{service}@{step_s}s"));
            // An RRD forgets its oldest row for a new one; the history does not.
            let kept = |(t, f, _): &(i64, String, String)| *f == name && *t >= rows[0].0 * 1000;
            let found: Vec<_> = found.into_iter().filter(kept).collect();
            assert_eq!(found.len(), rows.len(), "{name}@{step_s}s");
            for ((t, v), (time_ms, _, text)) in rows.iter().zip(&found) {
                assert_eq!(time_ms / 1000, *t, "{name}@{step_s}s");
                match text.as_str() {
                    "" => assert!(v.is_nan(), "{name}@{step_s}s at {t}: {v}"),
                    text => {
                        let ours: f64 = text.parse().expect("a number");
                        // rrdtool prints eleven digits.
                        assert!((ours - v).abs() <= v.abs() * 1e-9, "at {t}: {ours} {v}");
                    }
                }
                n += 1;
            }
        }
    }
    n
}

fn rollup(site: &Site, service: &str, query: &str) -> Json {
    let node = NODE.replace(';', "%3B");
    let at = format!("{}/api/v1/rollup?node={node}&service={service}&{query}", site.url());
    get(&at).json()
}

#[test]
fn a_masters_history_comes_in_whole_and_marked() {
    let site = Site::new();
    let now_s = now_ms() / 1000 / 300 * 300;
    let db = master(&site, now_s);
    let load = db.join("web/front/web1.example.com-load-load-g.rrd");
    let disk = db.join("web/front/web1.example.com-nest-sda-rd_x-d.rrd");
    let collector = site.collector("");
    std::fs::write(site.path("data/token"), "sesame\n").expect("writes");
    let conf = site.path("munin.conf");
    let told = import(&site, &db, &["--conf", &conf.display().to_string()]);
    assert!(told.starts_with(&format!("{NODE}: 2 RRD files, ")), "{told}");
    let n = compare(&site, &load, "load", "load") + compare(&site, &disk, "nest.sda", "rd_x");
    assert!(told.contains(&format!("{n} new values in ")), "{n} rows: {told}");
    // And as everybody reads RRDs.
    let fetched = stdout(Command::new("rrdtool").arg("fetch").arg(&load).arg("AVERAGE"));
    let ours = site.export(NODE, "load@300s");
    let mut n = 0;
    for line in fetched.lines() {
        let Some((t, v)) = line.split_once(": ") else { continue };
        let (t, v): (i64, f64) = (t.parse().expect("a time"), v.parse().expect("a value"));
        let ours = ours.iter().find(|(ms, f, _)| *ms == t * 1000 && f == "load");
        if !v.is_nan() {
            let ours: f64 = ours.and_then(|(_, _, text)| text.parse().ok()).expect("a value");
            assert!((ours - v).abs() <= v.abs() * 1e-9, "at {t}: {ours} {v}");
            n += 1;
        }
    }
    assert!(n > 250, "{n} rows fetched:\n{fetched}");

    // Names, attributes and limits are the master's; the averages are no samples.
    let services = site.services("web%3Bfront%3Bweb1.example.com");
    let names: Vec<&str> = services.iter().filter_map(|s| s["service"].as_str()).collect();
    assert_eq!(names, ["load", "nest.sda"], "averages are no services of their own");
    assert_eq!(
        (&services[0]["title"], &services[0]["category"]),
        (&"Load average".into(), &"system".into())
    );
    assert_eq!(services[0]["averages"][1]["service"], "load@1800s");
    assert!(site.export(NODE, "load").is_empty());
    let problems = get(&format!("{}/api/v1/problems", site.url())).json();
    assert_eq!(problems, serde_json::json!([]), "nobody is waked by what is long ago");

    // Once more: nothing new; with a new row: that row.
    assert!(import(&site, &db, &[]).contains(" 0 new values"));
    let newer = format!("{}:{}", now_s + 300, level(now_s + 300));
    assert!(run(Command::new("rrdtool").arg("update").arg(&load).arg(newer)).status.success());
    let told = import(&site, &db, &[]);
    let n: usize = told
        .split(" RRD files, ")
        .nth(1)
        .and_then(|t| t.split(' ').next())
        .expect("n")
        .parse()
        .expect("n");
    assert!((3..=12).contains(&n), "a row of each archive whose period ended: {told}");
    compare(&site, &load, "load", "load");

    continues(&site, now_s);
    collector.stop();
}

/// The collector measures on from an hour ago: a week's graph is one line.
fn continues(site: &Site, now_s: i64) {
    let live_s = now_s - 3600;
    let samples: Vec<String> = (live_s..=now_s)
        .step_by(60)
        .map(|t| {
            let ms = t * 1000;
            let v = level(t);
            format!("{{\"service\":\"load\",\"field\":\"load\",\"time_ms\":{ms},\"value\":{v}}}")
        })
        .collect();
    let body = format!("{{\"node\":\"{NODE}\",\"samples\":[{}]}}", samples.join(","));
    assert_eq!(site.post(&body).expect("an answer").status, 200);
    // A period is shown where it begins: with the half hours of the clock.
    let (from, to) = ((now_s - 8 * DAY_S) / 1800 * 1_800_000, (now_s + 1) * 1000);
    let found = rollup(site, "load", &format!("from={from}&to={to}&step=30m"));
    let means = found["fields"][0]["mean"].as_array().expect("means");
    let starts = (0..).map(|i| from / 1000 + i * 1800);
    let mut n_gaps = 0;
    for (t, mean) in starts.zip(means) {
        // What was unknown for five minutes of the half hour is known for the rest of it.
        let is_gap = now_s - UNKNOWN_S.0 < t && t + 1800 < now_s - UNKNOWN_S.1;
        match mean.as_f64() {
            None => n_gaps += 1,
            Some(mean) => {
                assert!(!is_gap, "at {t}: {mean}");
                assert!((mean - level(t + 900)).abs() < 0.12, "at {t}: {mean}");
            }
        }
    }
    assert!((9..=13).contains(&n_gaps), "six hours were unknown: {n_gaps} half hours");
    // Where averages stand in is said, and what is measured is not one.
    let spans = found["averages"].as_array().expect("averages");
    let periods: Vec<i64> = spans.iter().filter_map(|s| s["step_ms"].as_i64()).collect();
    assert_eq!(periods, [1_800_000, 300_000, 300_000], "{spans:?}");
    let end = spans.last().and_then(|s| s["to_ms"].as_i64()).expect("an end");
    assert!((end - live_s * 1000).abs() <= 1_800_000, "{end} {live_s}");
    let exact = site.export(NODE, "load");
    assert_eq!(exact.len(), 61, "samples only");

    // A rate is in the same unit as a counter's.
    let disk = rollup(site, "nest.sda", &format!("from={from}&to={to}&step=1h"));
    let mean = disk["fields"][0]["mean"][20].as_f64().expect("a mean");
    assert!((mean - 3.0).abs() < 1e-6, "{mean}");
    // Within a period: the one average, all the way.
    let (from, to) = ((now_s - 7 * DAY_S) * 1000, (now_s - 7 * DAY_S + 600) * 1000);
    let near = rollup(site, "load", &format!("from={from}&to={to}&step=10s"));
    let means = near["fields"][0]["mean"].as_array().expect("means");
    assert!(means.iter().all(Json::is_number), "{near}");
    assert_eq!(near["averages"][0]["step_ms"], 1_800_000);

    let node = NODE.replace(';', "%3B");
    let graph = format!("{}/graph/{node}/load", site.url());
    let svg = get(&format!("{graph}.svg?from=-8d&width=900")).text();
    for words in ["averages of 30 min", "averages of 5 min"] {
        assert!(svg.contains(words), "{words}: {svg}");
    }
    let png = get(&format!("{graph}.png?from=-8d&width=900"));
    assert_eq!(png.status, 200);
    if let Ok(dir) = std::env::var("ROOKERY_PICTURES") {
        std::fs::write(Path::new(&dir).join("import.png"), png.body).expect("writes");
    }
}

/// Wrong folders and names are told, and one bad file does not keep the others out.
#[test]
fn what_is_no_master_is_refused() {
    let site = Site::new();
    let collector = site.collector("");
    std::fs::write(site.path("data/token"), "sesame\n").expect("writes");
    let db = site.path("db");
    let fails = |more: &[&str]| {
        let mut command = Command::new(bin("rookery"));
        command.args(["import", "munin"]).arg(&db).args(["--url", &site.url(), "--data"]);
        let out = run(command.arg(site.path("data")).args(more));
        assert_eq!(out.status.code(), Some(1));
        String::from_utf8_lossy(&out.stderr).into_owned()
    };
    assert!(fails(&[]).contains("name the master's dbdir"), "{}", fails(&[]));
    std::fs::create_dir_all(db.join("g")).expect("a folder");
    std::fs::write(db.join("datafile"), "version 2.0.73\ng;h:s.graph_title S\ng;h:s.a.label a\n")
        .expect("writes");
    std::fs::write(db.join("g/h-s-a-g.rrd"), "RRD\0nonsense").expect("writes");
    let create = |name: &str| {
        let mut command = Command::new("rrdtool");
        command.args(["create", &db.join(name).display().to_string(), "--start", "1790000000"]);
        let out = run(command.args(["DS:42:GAUGE:600:U:U", "RRA:AVERAGE:0.5:1:10"]));
        assert!(out.status.success());
        let mut command = Command::new("rrdtool");
        command.arg("update").arg(db.join(name)).args(["1790000400:5", "1790000700:6"]);
        assert!(run(&mut command).status.success());
    };
    create("g/h-gone-b-g.rrd");
    create("g/odd.rrd");
    // Of version 1, whose time of the last value has no microseconds: head, one source and
    // one archive before it. rrdtool reads it, too.
    create("g/h-old-c-g.rrd");
    let old = db.join("g/h-old-c-g.rrd");
    let mut bytes = std::fs::read(&old).expect("reads");
    bytes[4..8].copy_from_slice(b"0001");
    let microseconds = 128 + 120 + 120 + 8;
    bytes.drain(microseconds..microseconds + 8);
    std::fs::write(&old, bytes).expect("writes");
    let theirs = stdout(Command::new("rrdtool").arg("dump").arg(&old));
    assert!(theirs.contains("<lastupdate>1790000700<"), "{theirs}");
    assert!(theirs.contains("6.0000000000e+00"), "{theirs}");
    assert!(fails(&["--as", "x;y=z"]).contains("has no such host"));
    assert!(fails(&["--as", "x"]).contains("GROUP;HOST=NODE"));
    let mut command = Command::new(bin("rookery"));
    command.args(["import", "munin"]).arg(&db).args(["--url", &site.url(), "--data"]);
    let out = run(command.arg(site.path("data")).args(["--as", "g;h=h.example"]));
    let (said, notes) =
        (String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    assert!(said.contains("g;h as h.example: 2 RRD files, 4 values"), "{said} {notes}");
    for want in
        ["h-s-a-g.rrd: RRD version", "h-gone-b-g.rrd: not in the datafile", "odd.rrd: not named"]
    {
        assert!(notes.contains(want), "{want}: {notes}");
    }
    for service in ["gone@300s", "old@300s"] {
        let rows = site.export("h.example", service);
        let values: Vec<&str> = rows.iter().map(|(_, _, v)| v.as_str()).collect();
        assert_eq!(values, ["5.0", "6.0"], "{service}");
    }
    collector.stop();
}
