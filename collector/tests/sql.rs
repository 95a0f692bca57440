//! The table `samples`, and a history looked at beside its writer.

use bytes::Bytes;
use rookery_collector::history::{History, NodeInfo, ReadError, Rollup, Samples, ServiceInfo};
use rookery_collector::read::Reader;
use rookery_collector::sql;
use rookery_collector::writer::NoObserver;
use rookery_collector::{Store, StoreSettings};
use rookery_plugins::wire::FrameWriter;
use rookery_plugins::{Cells, FieldKey, FieldSpec, Layout, TimeMs, Value};
use rusqlite::Connection;
use std::path::Path;
use std::sync::{Arc, Mutex};

const START: i64 = 1_796_000_000_000;

fn open(dir: &Path) -> Store {
    Store::open(StoreSettings::new(dir), Box::new(NoObserver)).expect("opens")
}

fn send(store: &Store, node: &str, sequence: u64, rows: &[(i64, [Value; 2])]) {
    let keys = ["f0", "f1"].map(|f| FieldKey::new("svc", f));
    let layout = Layout::new(keys.to_vec());
    let mut writer = FrameWriter::default();
    writer.start(node, 1, sequence);
    writer.layout(&layout);
    for (time, values) in rows {
        let mut cells = Cells::new();
        values.iter().for_each(|v| cells.push(*v));
        writer.row(layout.id(), START + time, &cells);
    }
    let answer = store.shared().queue.send(Bytes::copy_from_slice(writer.finish()));
    answer.expect("room").blocking_recv().expect("an answer").expect("taken");
}

fn seal(store: &Store) {
    let answer = store.shared().queue.seal_all().expect("room");
    answer.blocking_recv().expect("an answer").expect("sealed");
}

/// Two nodes, a sealed part and one that is not.
fn history(dir: &Path) -> Store {
    let store = open(dir);
    for node in ["a", "b;c"] {
        let row = |i: i64| (i * 1000, [Value::Int(i), Value::Float(i as f64 / 4.0)]);
        send(&store, node, 1, &(0..100).map(row).collect::<Vec<_>>());
    }
    seal(&store);
    let odd = [
        (200_000, [Value::Uint(u64::MAX), Value::Float(-0.0)]),
        (201_000, [Value::Unknown, Value::Float(f64::NAN)]),
        (202_000, [Value::Int((1 << 53) + 1), Value::Float(f64::INFINITY)]),
    ];
    send(&store, "a", 2, &odd);
    store
}

fn ask(conn: &Connection, query: &str) -> Vec<String> {
    let mut stmt = conn.prepare(query).expect("prepares");
    let n = stmt.column_count();
    let rows = stmt.query_map([], |row| {
        let cells = (0..n).map(|i| Ok(format!("{:?}", row.get::<_, rusqlite::types::Value>(i)?)));
        Ok(cells.collect::<rusqlite::Result<Vec<_>>>()?.join(" "))
    });
    rows.expect("runs").map(|r| r.expect("a row")).collect()
}

#[test]
fn every_value_comes_out_as_it_is() {
    let dir = tempfile::tempdir().expect("tmp");
    let _writing = history(dir.path());
    let look = Store::look(dir.path()).expect("looks");
    let conn = sql::connect(Arc::new(Reader::new(look))).expect("connects");
    let query = "SELECT field, value, kind, bits FROM samples \
                 WHERE node = 'a' AND service = 'svc' AND time >= 1796000200000";
    assert_eq!(
        ask(&conn, query),
        [
            r#"Text("f0") Text("18446744073709551615") Text("uint") Integer(-1)"#,
            r#"Text("f0") Null Text("unknown") Integer(0)"#,
            r#"Text("f0") Integer(9007199254740993) Text("int") Integer(9007199254740993)"#,
            r#"Text("f1") Real(-0.0) Text("float") Integer(-9223372036854775808)"#,
            r#"Text("f1") Null Text("float") Integer(9221120237041090560)"#,
            r#"Text("f1") Real(inf) Text("float") Integer(9218868437227405312)"#,
        ]
    );
    assert_eq!(ask(&conn, "SELECT count(*) FROM samples"), ["Integer(406)"]);
    let by_node = "SELECT node, count(*), sum(value) FROM samples WHERE field = 'f0' \
                   AND kind = 'int' AND time < 1796000100000 GROUP BY node ORDER BY node";
    let sums =
        ["Text(\"a\") Integer(100) Integer(4950)", "Text(\"b;c\") Integer(100) Integer(4950)"];
    assert_eq!(ask(&conn, by_node), sums);
    let none =
        ["node = NULL", "node = 7", "node = 'x'", "time = 'now'", "time > 9e18", "time < NULL"];
    for none in none {
        let query = format!("SELECT * FROM samples WHERE {none}");
        assert!(ask(&conn, &query).is_empty(), "{none}");
    }
    let half = "SELECT time - 1796000000000 FROM samples WHERE node = 'a' AND service = 'svc' \
                AND field = 'f1' AND time > 1796000000999.5 AND time <= 1796000003000 \
                ORDER BY time";
    assert_eq!(ask(&conn, half), ["Integer(1000)", "Integer(2000)", "Integer(3000)"]);
    assert!(conn.execute("DELETE FROM samples", []).is_err(), "read-only");
}

#[test]
fn a_look_sees_what_the_writer_has_acknowledged() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = history(dir.path());
    let all = |reader: &Reader| reader.samples("a", "svc", "f0", 0, i64::MAX).expect("reads");
    let live = Reader::new(store.shared().clone());
    let look = Reader::new(Store::look(dir.path()).expect("looks"));
    assert_eq!(all(&look), all(&live));
    send(&store, "a", 3, &[(300_000, [Value::Int(1), Value::Int(2)])]);
    let later = Reader::new(Store::look(dir.path()).expect("looks"));
    assert_eq!(all(&later).len(), all(&look).len() + 1);
    // Without a writer too.
    drop(store);
    let after = Reader::new(Store::look(dir.path()).expect("looks"));
    assert_eq!(all(&after), all(&later));
    assert!(Store::look(&dir.path().join("journal")).is_err(), "no history");
}

/// Which reads a query makes.
struct Spy {
    reader: Reader,
    reads: Mutex<Vec<(String, TimeMs, TimeMs)>>,
}

impl History for Spy {
    fn nodes(&self) -> Vec<NodeInfo> {
        self.reader.nodes()
    }
    fn services(&self, node: &str) -> Result<Vec<ServiceInfo>, ReadError> {
        self.reader.services(node)
    }
    fn fields(&self, node: &str, service: &str) -> Result<Vec<FieldSpec>, ReadError> {
        self.reader.fields(node, service)
    }
    fn samples(
        &self,
        node: &str,
        service: &str,
        field: &str,
        from_ms: TimeMs,
        to_ms: TimeMs,
    ) -> Result<Samples, ReadError> {
        let name = format!("{node} {service} {field}");
        self.reads.lock().expect("lock").push((name, from_ms - START, to_ms - START));
        self.reader.samples(node, service, field, from_ms, to_ms)
    }
    fn rollup(
        &self,
        node: &str,
        service: &str,
        fields: &[&str],
        from_ms: TimeMs,
        to_ms: TimeMs,
        step_ms: i64,
    ) -> Result<Rollup, ReadError> {
        self.reader.rollup(node, service, fields, from_ms, to_ms, step_ms)
    }
    fn version(&self, node: &str) -> u64 {
        self.reader.version(node)
    }
}

#[test]
fn only_what_is_asked_for_is_read() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = history(dir.path());
    let reader = Reader::new(store.shared().clone());
    let spy = Arc::new(Spy { reader, reads: Mutex::default() });
    let conn = sql::connect(spy.clone()).expect("connects");
    let cases = [
        (
            "node = 'a' AND field = 'f1' AND time BETWEEN 1796000001000 AND 1796000002000",
            vec![("a svc f1", 1000, 2001)],
        ),
        (
            "node IN ('b;c', 'x') AND field = 'f0' AND time = 1796000001000",
            vec![("b;c svc f0", 1000, 1001)],
        ),
        (
            "node = 'a' AND field = 'f1' AND time >= '1796000001000' AND time < '1796000002000'",
            vec![("a svc f1", 1000, 2001)],
        ),
        ("node = 'a' AND time > 1796000009000 AND time < 1796000008000", vec![]),
    ];
    for (constraint, want) in cases {
        spy.reads.lock().expect("lock").clear();
        ask(&conn, &format!("SELECT value FROM samples WHERE {constraint}"));
        let reads = spy.reads.lock().expect("lock");
        let got: Vec<_> = reads.iter().map(|(n, from, to)| (n.as_str(), *from, *to)).collect();
        assert_eq!(got, want, "{constraint}");
    }
}

/// Nodes whose names are digits, beside others; values of each kind.
fn digits(dir: &Path) -> Store {
    let store = open(dir);
    for node in ["17", "017", "17.0", "1e3", "x17", "inf"] {
        let row = |i: i64| (i * 1000, [Value::Int(i), Value::Float(i as f64 + 0.5)]);
        send(&store, node, 1, &(0..6).map(row).collect::<Vec<_>>());
    }
    let odd = [(7000, [Value::Uint(u64::MAX), Value::Unknown])];
    send(&store, "17", 2, &odd);
    store
}

/// Whatever is compared with whatever, the answer is that of a table of the same rows
/// with the types that the documents state.
#[test]
fn types_compare_as_those_of_any_table() {
    let dir = tempfile::tempdir().expect("tmp");
    let store = digits(dir.path());
    let conn = sql::connect(Arc::new(Reader::new(store.shared().clone()))).expect("connects");
    conn.execute_batch(
        "CREATE TABLE plain(node TEXT, service TEXT, field TEXT, time INTEGER, value NUMERIC, \
                            kind TEXT, bits INTEGER);
         INSERT INTO plain SELECT * FROM samples;
         CREATE TABLE hosts(id INTEGER, name TEXT, any);
         INSERT INTO hosts VALUES (17, '17', '17'), (1000, 'x17', 17), (3, '017', 17.0);",
    )
    .expect("tables");
    let mut tests: Vec<String> = [
        "time BETWEEN '1796000001000' AND '1796000003000'",
        "time IN ('1796000001000', 1796000002000.0, ' 1796000003000 ')",
        "time >= strftime('%s', 1796000003, 'unixepoch') || '000'",
        "node IN (17, 1000)",
        "node = (SELECT any FROM hosts WHERE id = 3)",
        "node LIKE '17%'",
        "17 = node AND time > '1796000002000'",
        "node = NULL OR field IS NULL OR bits IS NULL",
        "CAST(node AS INTEGER) = 17",
    ]
    .map(str::to_owned)
    .to_vec();
    for op in ["=", "<>", "<", "<=", ">", ">=", "IS"] {
        for (column, values) in [
            ("node", &["17", "'17'", "17.0", "'017'", "1000", "x'3137'", "'x17'", "-1"][..]),
            ("field", &["'f0'", "0", "'F0'"]),
            (
                "time",
                &[
                    "1796000002000",
                    "'1796000002000'",
                    "' 1796000002000'",
                    "'1.796000002e12'",
                    "1796000002000.5",
                    "'1796000002000.5'",
                    "'now'",
                    "''",
                    "x'31'",
                    "'+1796000002000'",
                ],
            ),
            ("value", &["3", "'3'", "3.5", "'3.5'", "'x'", "'18446744073709551615'"]),
            ("kind", &["'int'", "0"]),
            ("bits", &["3", "'3'", "'-1'", "-1", "'x'"]),
        ] {
            tests.extend(values.iter().map(|v| format!("{column} {op} {v}")));
        }
    }
    for test in tests {
        let count = |of: &str| ask(&conn, &format!("SELECT count(*) FROM {of} WHERE {test}"));
        assert_eq!(count("samples"), count("plain"), "{test}");
    }
    for join in [
        "s.node = h.id",
        "s.node = h.name",
        "s.node = h.any",
        "h.id = s.node AND s.time = '1796000002000'",
    ] {
        let count = |of: &str| {
            ask(
                &conn,
                &format!(
                    "SELECT h.id, s.node, count(*) FROM hosts h JOIN {of} s ON {join} GROUP BY 1, 2"
                ),
            )
        };
        assert_eq!(count("samples"), count("plain"), "{join}");
    }
    let ordered = "SELECT count(*) FROM (SELECT time FROM samples WHERE node = (SELECT id FROM hosts \
                   LIMIT 1) AND service = 'svc' AND field = 'f0' ORDER BY time)";
    let refused = conn.query_row(ordered, [], |row| row.get::<_, i64>(0));
    assert!(refused.is_err_and(|e| e.to_string().contains("as numbers")), "no order is promised");
}
