//! Senders of known samples, who remember what was acknowledged, and look
//! afterwards whether all of it is there, and nothing else.

use crate::support::{Answer, Site, bin, http, stdout};
use rookery_plugins::wire::{CONTENT_TYPE, FrameWriter};
use rookery_plugins::{Cells, FieldKey, Layout, Value};
use std::collections::HashSet;
use std::fmt::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const ROWS: i64 = 20;
const FIELDS: i64 = 3;
/// So many batches are of one service; then comes one that the catalog does
/// not know.
const BATCHES: i64 = 15;

/// One node that sends.
#[derive(Clone)]
pub struct Poster {
    node: &'static str,
    /// Time of its first sample and between two, ms.
    first_ms: i64,
    step_ms: i64,
    /// As an agent does, with sequences; else as JSON.
    frames: bool,
    /// Whether each batch that was sent was acknowledged.
    acked: Vec<bool>,
    /// What it sent may be gone, in part, too.
    may_be_gone: bool,
}

/// What a poster's thread saw.
#[derive(Debug, Default)]
pub struct Seen {
    /// Batches that were taken.
    pub taken: usize,
    /// What was said to those that were not taken now.
    pub refused: Vec<String>,
    /// The longest wait for an answer.
    pub longest: Duration,
}

impl Poster {
    pub fn new(node: &'static str, step_ms: i64, frames: bool) -> Poster {
        Poster {
            node,
            first_ms: 1_700_000_000_000,
            step_ms,
            frames,
            acked: Vec::new(),
            may_be_gone: false,
        }
    }

    fn service(batch: i64) -> String {
        format!("s{}", batch / BATCHES)
    }

    /// Above 2^53, so that nothing survives a float.
    fn value(row: i64, field: i64) -> i64 {
        (1 << 60) + 1 + row * FIELDS + field
    }

    fn time(&self, row: i64) -> i64 {
        self.first_ms + row * self.step_ms
    }

    fn frame(&self, batch: i64) -> Vec<u8> {
        let service = Poster::service(batch);
        let keys = (0..FIELDS).map(|f| FieldKey::new(&service, &format!("f{f}"))).collect();
        let layout = Layout::new(keys);
        let mut writer = FrameWriter::default();
        writer.start(self.node, 1, batch as u64 + 1);
        // Known from the first batch of the service on.
        if batch % BATCHES == 0 {
            writer.layout(&layout);
        }
        for row in batch * ROWS..(batch + 1) * ROWS {
            let mut cells = Cells::new();
            (0..FIELDS).for_each(|f| cells.push(Value::Int(Poster::value(row, f))));
            writer.row(layout.id(), self.time(row), &cells);
        }
        writer.finish().to_vec()
    }

    fn json(&self, batch: i64) -> Vec<u8> {
        let mut body = format!("{{\"node\":\"{}\",\"samples\":[", self.node);
        for row in batch * ROWS..(batch + 1) * ROWS {
            for f in 0..FIELDS {
                let comma = if row == batch * ROWS && f == 0 { "" } else { "," };
                let (service, time) = (Poster::service(batch), self.time(row));
                let value = Poster::value(row, f);
                let _ = write!(
                    body,
                    "{comma}{{\"service\":\"{service}\",\"field\":\"f{f}\",\"time_ms\":{time},\
                     \"value\":{value}}}"
                );
            }
        }
        body.push_str("]}");
        body.into_bytes()
    }

    /// Sends the first batch that was not acknowledged yet: the same one again
    /// until it is. `None`: nobody answers.
    pub fn post(&mut self, url: &str) -> Option<Answer> {
        if self.acked.last().is_none_or(|acked| *acked) {
            self.acked.push(false);
        }
        let batch = self.acked.len() as i64 - 1;
        let (body, kind) = match self.frames {
            true => (self.frame(batch), CONTENT_TYPE),
            false => (self.json(batch), "application/json"),
        };
        let answer = http(|c| {
            let request = c.post(format!("{url}/api/v1/ingest")).bearer_auth("sesame");
            request.header("content-type", kind).timeout(Duration::from_secs(20)).body(body)
        })?;
        self.acked[batch as usize] = answer.status == 200;
        let status = answer.status;
        assert!(matches!(status, 200 | 503), "{status}: {}", answer.text());
        Some(answer)
    }

    /// Sends until it is told to stop, in a thread.
    pub fn start(mut self, url: String, stop: Arc<AtomicBool>) -> JoinHandle<(Poster, Seen)> {
        std::thread::spawn(move || {
            let mut seen = Seen::default();
            while !stop.load(Ordering::Relaxed) {
                let start = Instant::now();
                let answer = self.post(&url);
                seen.longest = seen.longest.max(start.elapsed());
                match answer {
                    Some(answer) if answer.status == 200 => seen.taken += 1,
                    Some(answer) => seen.refused.push(answer.text()),
                    None => {}
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            (self, seen)
        })
    }

    /// What it has sent may be gone from now on.
    pub fn expire(&mut self) {
        self.may_be_gone = true;
    }

    /// As it was at an earlier time: what was acknowledged since then may be there.
    pub fn as_of(&self, earlier: &Poster) -> Poster {
        let mut then = self.clone();
        then.acked.iter_mut().skip(earlier.acked.len()).for_each(|acked| *acked = false);
        then
    }

    /// Samples that were acknowledged.
    pub fn n_acked(&self) -> usize {
        self.acked.iter().filter(|a| **a).count() * (ROWS * FIELDS) as usize
    }
}

/// Asks for sealing until it is told to stop; how often that went well.
pub fn sealer(url: String, stop: Arc<AtomicBool>) -> JoinHandle<usize> {
    std::thread::spawn(move || {
        let mut sealed = 0;
        while !stop.load(Ordering::Relaxed) {
            let request = |c: &reqwest::Client| {
                let post = c.post(format!("{url}/api/v1/seal")).bearer_auth("sesame");
                post.timeout(Duration::from_secs(20))
            };
            sealed += usize::from(http(request).is_some_and(|a| a.status == 200));
            std::thread::sleep(Duration::from_millis(30));
        }
        sealed
    })
}

/// Every acknowledged sample is there, unchanged and once, and nothing that
/// was never sent; `context` is told with what is wrong.
pub fn check(site: &Site, posters: &[Poster], context: &str) {
    check_in(&site.path("data"), posters, context);
}

/// As [`check`], of the history in this folder.
pub fn check_in(data: &Path, posters: &[Poster], context: &str) {
    check_of(data, posters, "true", context);
}

/// As [`check_in`], of the samples that these words choose.
pub fn check_of(data: &Path, posters: &[Poster], of: &str, context: &str) {
    let question =
        format!("SELECT node, service, field, time, value, kind FROM samples WHERE {of}");
    let csv = stdout(
        Command::new(bin("rookery"))
            .arg("sql")
            .arg("--data")
            .arg(data)
            .args(["--format", "csv", &question]),
    );
    let mut found: HashSet<(&str, i64, i64)> = HashSet::new();
    for line in csv.lines().skip(1) {
        let cells: Vec<&str> = line.split(',').collect();
        let poster = posters.iter().find(|p| p.node == cells[0]);
        let poster = poster.unwrap_or_else(|| panic!("{context}: {line}: nobody's"));
        let time: i64 = cells[3].trim_end_matches('\r').parse().expect("a time");
        let row = (time - poster.first_ms) / poster.step_ms;
        let field: i64 = cells[2].trim_start_matches('f').parse().expect("a field");
        let sent = poster.time(row) == time && row / ROWS < poster.acked.len() as i64;
        assert!(sent && row >= 0 && field < FIELDS, "{context}: {line}: never sent");
        assert_eq!(cells[1], Poster::service(row / ROWS), "{context}: {line}");
        assert_eq!(cells[4], Poster::value(row, field).to_string(), "{context}: {line}");
        assert!(found.insert((poster.node, row, field)), "{context}: {line}: doubled");
    }
    for poster in posters.iter().filter(|p| !p.may_be_gone) {
        for (batch, acked) in poster.acked.iter().enumerate() {
            let batch = batch as i64;
            let lost = (batch * ROWS..(batch + 1) * ROWS)
                .flat_map(|row| (0..FIELDS).map(move |f| (poster.node, row, f)))
                .filter(|key| !found.contains(key))
                .count();
            let all = (ROWS * FIELDS) as usize;
            assert!(
                lost == 0 || !acked,
                "{context}: {lost} of {all} samples of batch {batch} of {} ({}) were \
                 acknowledged and are lost",
                poster.node,
                Poster::service(batch)
            );
            assert!(lost == 0 || lost == all, "{context}: batch {batch} is there in part");
        }
    }
}

/// What the collector exports of each poster's last service is what it has.
pub fn check_export(site: &Site, posters: &[Poster], context: &str) {
    for poster in posters.iter().filter(|p| p.acked.contains(&true)) {
        let last = poster.acked.iter().rposition(|a| *a).unwrap_or(0) as i64;
        let service = Poster::service(last);
        let rows = site.export(poster.node, &service);
        let first = last / BATCHES * BATCHES;
        let acked = (first..=last).filter(|b| poster.acked[*b as usize]).count() as i64;
        assert!(rows.len() as i64 >= acked * ROWS * FIELDS, "{context}: {} exported", rows.len());
        for (time, field, value) in rows {
            let row = (time - poster.first_ms) / poster.step_ms;
            let field: i64 = field.trim_start_matches('f').parse().expect("a field");
            assert_eq!(value, Poster::value(row, field).to_string(), "{context}: at {time}");
        }
    }
}
