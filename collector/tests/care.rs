//! Verify, backup, and a history that goes on with a part of it damaged.

use bytes::Bytes;
use rookery_collector::backup::backup;
use rookery_collector::history::History;
use rookery_collector::read::Reader;
use rookery_collector::rebuild::{Rebuilt, rebuild};
use rookery_collector::retain::{Keep, Removed};
use rookery_collector::verify::verify;
use rookery_collector::writer::NoObserver;
use rookery_collector::{Store, StoreSettings};
use rookery_plugins::wire::FrameWriter;
use rookery_plugins::{Cells, FieldKey, Layout, Value};
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;
use std::time::{Duration, SystemTime};

/// 2026-10-31 23:00 UTC: an hour before a change of month.
const START: i64 = 1_793_487_600_000;
const STEP: i64 = 10_000;
const ROWS: i64 = 1000;
/// Rows of the first month.
const FIRST: i64 = 360;

fn open(dir: &Path) -> Store {
    Store::open(StoreSettings::new(dir), Box::new(NoObserver)).expect("opens")
}

fn send(store: &Store, sequence: u64, rows: std::ops::Range<i64>) {
    let layout = Layout::new((0..40).map(|i| FieldKey::new("svc", &format!("f{i}"))).collect());
    let mut writer = FrameWriter::default();
    writer.start("node", 1, sequence);
    writer.layout(&layout);
    for i in rows {
        let mut cells = Cells::new();
        (0..40i64).for_each(|f| cells.push(Value::Float(((i * 7919 + f) % 1009) as f64 / 8.0)));
        writer.row(layout.id(), START + i * STEP, &cells);
    }
    let answer = store.shared().queue.send(Bytes::copy_from_slice(writer.finish()));
    answer.expect("room").blocking_recv().expect("an answer").expect("taken");
}

fn seal(store: &Store) {
    let answer = store.shared().queue.seal_all().expect("room");
    answer.blocking_recv().expect("an answer").expect("sealed");
}

fn count(store: &Store, field: &str, rows: std::ops::Range<i64>) -> usize {
    let reader = Reader::new(store.shared().clone());
    let (from, to) = (START + rows.start * STEP, START + rows.end * STEP);
    let samples = reader.samples("node", "svc", field, from, to).expect("reads");
    // By 5 minutes: from the samples themselves.
    let rollup = reader.rollup("node", "svc", &[field], from, to, 300_000).expect("reads");
    assert_eq!(rollup.fields[0].total.count as usize, samples.len(), "{field}");
    samples.len()
}

/// A history of two months, all of it sealed.
fn history(dir: &Path) -> Store {
    let store = open(dir);
    send(&store, 1, 0..ROWS);
    seal(&store);
    store
}

fn period(dir: &Path, month: &str) -> PathBuf {
    dir.join("periods").join(format!("{month}.sqlite"))
}

/// Changes one byte of a month's only block: `from_end` bytes before its end, or
/// the first after its head, which is a summary's.
fn damage_block(dir: &Path, from_end: Option<usize>) -> rusqlite::Result<()> {
    let conn = rusqlite::Connection::open(period(dir, "2026-10"))?;
    let (id, len): (i64, u32) =
        conn.query_row("SELECT id, length(data) FROM block", [], |r| Ok((r.get(0)?, r.get(1)?)))?;
    let mut blob = conn.blob_open("main", "block", "data", id, false)?;
    let mut byte = [0];
    let mut head_len = [0; 4];
    blob.read_at_exact(&mut head_len, 8)?;
    let head = u32::from_le_bytes(head_len) as usize;
    let at = from_end.map_or(head, |n| len as usize - n);
    blob.read_at_exact(&mut byte, at)?;
    blob.write_at(&[byte[0] ^ 1], at)
}

#[test]
fn a_whole_history_is_whole_while_it_is_written() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = history(dir.path());
    send(&store, 2, ROWS..ROWS + 10);
    let report = verify(dir.path()).expect("reads");
    assert!(report.is_whole(), "{report:?}");
    assert_eq!((report.n_cells, report.n_frames), (ROWS as u64 * 40, 1));
    assert!(verify(&dir.path().join("periods")).is_err(), "no history there");
}

#[test]
fn a_damaged_block_is_named_and_the_rest_is_served() {
    let dir = tempfile::tempdir().expect("tmp");
    drop(history(dir.path()));
    damage_block(dir.path(), Some(10)).expect("damages");
    let report = verify(dir.path()).expect("reads");
    assert!(report.files.is_empty(), "{report:?}");
    let found = &report.blocks[0];
    assert_eq!((report.blocks.len(), found.node.as_str()), (1, "node"));
    assert_eq!((found.from_ms, found.to_ms), (START, START + (FIRST - 1) * STEP));
    assert!(found.fields.contains(&FieldKey::new("svc", "f39")), "{:?}", found.fields);
    let whole = FieldKey::new("svc", "f0");
    assert!(!found.fields.contains(&whole), "another part: {:?}", found.fields);
    let store = open(dir.path());
    for _ in 0..3 {
        assert_eq!(count(&store, "f39", 0..ROWS), (ROWS - FIRST) as usize);
        assert_eq!(count(&store, "f0", 0..ROWS), ROWS as usize);
    }
    assert_eq!(store.shared().stats.damages.load(Ordering::Relaxed), 1, "told once");
    // Its summaries are whole: they tell what there was.
    let reader = Reader::new(store.shared().clone());
    let (from, to) = (START, START + ROWS * STEP);
    let rollup = reader.rollup("node", "svc", &["f39"], from, to, 3_600_000).expect("reads");
    assert_eq!(rollup.fields[0].total.count, ROWS as u64);
}

/// What became of a month's file, and whether it is then taken for damaged.
fn lose(path: &Path, how: &str) {
    let bytes = std::fs::read(path).expect("reads");
    let result = match how {
        "gone" => std::fs::remove_file(path),
        "empty" => std::fs::write(path, b""),
        "half" => std::fs::write(path, &bytes[..bytes.len() / 2]),
        _ => std::fs::write(path, vec![0xa5; bytes.len()]),
    };
    result.expect("damages");
}

#[test]
fn a_lost_month_costs_that_month_only() {
    for how in ["gone", "empty", "half", "garbage"] {
        let dir = tempfile::tempdir().expect("tmp");
        drop(history(dir.path()));
        lose(&period(dir.path(), "2026-10"), how);
        let report = verify(dir.path()).expect("reads");
        assert_eq!(report.is_whole(), how == "gone", "{how}: {report:?}");
        for told in report.files.iter().map(|f| &f.path) {
            assert_eq!(*told, period(dir.path(), "2026-10"), "{how}");
        }
        let store = open(dir.path());
        assert_eq!(count(&store, "f3", FIRST..ROWS), (ROWS - FIRST) as usize, "{how}");
        let all = count(&store, "f3", 0..ROWS);
        assert!((640..1000).contains(&all), "{how}: {all}");
        // Both months are written again.
        send(&store, 2, -50..-20);
        send(&store, 3, ROWS..ROWS + 20);
        seal(&store);
        assert_eq!(count(&store, "f3", -50..-20), 30, "{how}");
        assert_eq!(count(&store, "f3", ROWS..ROWS + 20), 20, "{how}");
        drop(store);
        let store = open(dir.path());
        assert_eq!(count(&store, "f3", -50..-20), 30, "{how}");
    }
}

#[test]
fn a_backup_opens_and_is_made_of_what_changed() {
    let (dir, dest) = (tempfile::tempdir().expect("tmp"), tempfile::tempdir().expect("tmp"));
    let store = history(dir.path());
    send(&store, 2, ROWS..ROWS + 300);
    let old = SystemTime::now() - Duration::from_secs(3600);
    for month in ["2026-10", "2026-11"] {
        let file = std::fs::File::options().append(true).open(period(dir.path(), month));
        file.and_then(|f| f.set_modified(old)).expect("sets its time");
    }
    let first = backup(dir.path(), dest.path()).expect("copies");
    assert_eq!((first.n_unchanged, first.failed.len()), (0, 0), "{first:?}");
    // The second month goes on.
    send(&store, 3, ROWS + 300..ROWS + 400);
    seal(&store);
    send(&store, 4, ROWS + 400..ROWS + 500);
    let second = backup(dir.path(), dest.path()).expect("copies");
    assert_eq!((second.n_unchanged, second.failed.len()), (1, 0), "{second:?}");
    assert!(verify(dest.path()).expect("reads").is_whole());
    let copy = open(dest.path());
    assert_eq!(count(&copy, "f5", 0..ROWS + 500), ROWS as usize + 500);
    // What the copy takes from now on is kept, whatever was sealed before.
    send(&copy, 5, ROWS + 500..ROWS + 501);
    drop(copy);
    assert_eq!(count(&open(dest.path()), "f5", 0..ROWS + 600), ROWS as usize + 501);
    assert!(backup(dir.path(), dir.path()).is_err(), "onto itself");
}

#[test]
fn a_lost_period_stays_in_the_backup() {
    let (dir, dest) = (tempfile::tempdir().expect("tmp"), tempfile::tempdir().expect("tmp"));
    drop(history(dir.path()));
    backup(dir.path(), dest.path()).expect("copies");
    lose(&period(dir.path(), "2026-10"), "gone");
    lose(&period(dir.path(), "2026-11"), "garbage");
    let done = backup(dir.path(), dest.path()).expect("copies");
    assert_eq!(done.only_here, [period(dest.path(), "2026-10")]);
    assert_eq!(done.failed[0].0, period(dir.path(), "2026-11"));
    assert_eq!(count(&open(dest.path()), "f5", 0..ROWS), ROWS as usize);
}

#[test]
fn new_positions_are_above_sealed_ones_without_the_journal() {
    let dir = tempfile::tempdir().expect("tmp");
    drop(history(dir.path()));
    std::fs::remove_dir_all(dir.path().join("journal")).expect("removed");
    send(&open(dir.path()), 9, ROWS..ROWS + 5);
    assert_eq!(count(&open(dir.path()), "f1", 0..ROWS + 9), ROWS as usize + 5);
}

#[test]
fn retention_takes_what_is_old_and_nothing_else() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = history(dir.path());
    let keep = |service: &str, rows: i64| Keep {
        node: "no*".to_owned(),
        service: service.to_owned(),
        for_ms: Some(rows * STEP),
    };
    let retain = |rules: &[Keep]| {
        let now = START + ROWS * STEP;
        let answer = store.shared().queue.retain(rules.to_vec(), now).expect("room");
        answer.blocking_recv().expect("an answer").expect("done")
    };
    assert_eq!(retain(&[]), Removed::default(), "for ever");
    assert_eq!(retain(&[keep("other", 1)]), Removed::default());
    // The first month is over; the second's only block has newer rows.
    let first = Removed { blocks: 1, thinned: 0, months: 1 };
    assert_eq!(retain(&[keep("svc", ROWS - FIRST)]), first);
    assert!(!period(dir.path(), "2026-10").exists());
    assert_eq!(count(&store, "f9", 0..ROWS), (ROWS - FIRST) as usize);
    assert_eq!(retain(&[keep("svc", ROWS - FIRST)]), Removed::default(), "done already");
    drop(store);
    assert_eq!(count(&open(dir.path()), "f9", 0..ROWS), (ROWS - FIRST) as usize);
}

#[test]
fn retention_of_one_service_leaves_its_neighbours() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = open(dir.path());
    let keys = ["old", "kept"].map(|s| FieldKey::new(s, "f"));
    let layout = Layout::new(keys.to_vec());
    let mut writer = FrameWriter::default();
    writer.start("node", 1, 1);
    writer.layout(&layout);
    for i in 0..100 {
        let mut cells = Cells::new();
        cells.push(Value::Int(i));
        cells.push(Value::Float(i as f64 / 3.0));
        writer.row(layout.id(), START + i * STEP, &cells);
    }
    let answer = store.shared().queue.send(Bytes::copy_from_slice(writer.finish()));
    answer.expect("room").blocking_recv().expect("an answer").expect("taken");
    seal(&store);
    let reader = Reader::new(store.shared().clone());
    let read = |service: &str| reader.samples("node", service, "f", 0, i64::MAX).expect("reads");
    let kept = read("kept");
    let rule = Keep { node: "*".to_owned(), service: "old".to_owned(), for_ms: Some(1) };
    let retain = || {
        let now = START + 1000 * STEP;
        let answer = store.shared().queue.retain(vec![rule.clone()], now).expect("room");
        answer.blocking_recv().expect("an answer").expect("done")
    };
    assert_eq!(retain(), Removed { blocks: 0, thinned: 1, months: 0 });
    assert_eq!((read("old").len(), read("kept")), (0, kept));
    assert_eq!(retain(), Removed::default(), "done already");
}

#[test]
fn summaries_are_rebuilt_from_whole_samples_only() {
    let dir = tempfile::tempdir().expect("tmp");
    drop(history(dir.path()));
    assert_eq!(rebuild(dir.path()).expect("reads"), Rebuilt::default());
    damage_block(dir.path(), None).expect("damages");
    let report = verify(dir.path()).expect("reads");
    assert!(report.blocks[0].error.to_string().starts_with("summaries"), "{report:?}");
    let all = |dir: &Path| count(&open(dir), "f0", 0..ROWS);
    assert_eq!(all(dir.path()), ROWS as usize, "the samples are whole");
    assert_eq!(rebuild(dir.path()).expect("writes"), Rebuilt { rebuilt: 1, damaged: 0 });
    assert!(verify(dir.path()).expect("reads").is_whole());
    assert_eq!(all(dir.path()), ROWS as usize);
    damage_block(dir.path(), Some(10)).expect("damages");
    assert_eq!(rebuild(dir.path()).expect("reads"), Rebuilt { rebuilt: 0, damaged: 1 });
    let _open = open(dir.path());
    assert!(rebuild(dir.path()).is_err(), "in use");
}
