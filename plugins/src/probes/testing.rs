//! What the probes' tests share: recorded hosts, made-up hosts, short-cuts.

use crate::probes::PROBES;
use crate::{Cells, Host, Probe, ProbeError, Read, ServiceSpec, Value};
use std::path::PathBuf;

/// A machine recorded in `testdata/`.
pub fn fixture(name: &str) -> Host {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(name);
    assert!(root.is_dir(), "{}", root.display());
    Host { proc: root.join("proc"), sys: root.join("sys") }
}

/// A made-up machine in a folder that goes away with it.
pub struct TestHost {
    root: tempfile::TempDir,
    pub host: Host,
}

impl TestHost {
    /// One with these files.
    pub fn new(files: &[(&str, &str)]) -> TestHost {
        let root = tempfile::tempdir().unwrap();
        let host = Host { proc: root.path().join("proc"), sys: root.path().join("sys") };
        let made = TestHost { root, host };
        files.iter().for_each(|(path, text)| made.write(path, text));
        made
    }

    /// Writes a file in place, so that whoever has it open sees the new text.
    pub fn write(&self, path: &str, text: &str) {
        self.write_bytes(path, text.as_bytes());
    }

    pub fn write_bytes(&self, path: &str, bytes: &[u8]) {
        let path = self.root.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, bytes).unwrap();
    }
}

/// The probe of this name with this configuration.
pub fn make(name: &str, config: &str) -> Box<dyn Probe> {
    let entry = PROBES.iter().find(|e| e.name == name).expect("in the table");
    (entry.new)(&config.parse().unwrap()).unwrap()
}

/// The probe of this name after its `discover`.
pub fn ready(name: &str, config: &str, host: &Host) -> (Box<dyn Probe>, Vec<ServiceSpec>) {
    let mut probe = make(name, config);
    let services = probe.discover(host).unwrap();
    (probe, services)
}

/// One reading.
pub fn values(probe: &mut dyn Probe, host: &Host) -> Result<Vec<Option<Value>>, ProbeError> {
    let mut out = Cells::new();
    assert_eq!(probe.read(host, &mut out)?, Read::Done);
    Ok((0..out.len()).map(|i| out.get(i)).collect())
}

/// One reading of integers alone.
pub fn ints(probe: &mut dyn Probe, host: &Host) -> Result<Vec<i64>, ProbeError> {
    let int = |v: Option<Value>| match v {
        Some(Value::Int(v)) => v,
        v => panic!("not an integer: {v:?}"),
    };
    Ok(values(probe, host)?.into_iter().map(int).collect())
}

/// One reading, found by service and field.
pub fn lookup(services: &[ServiceSpec], cells: &[Option<Value>], service: &str, f: &str) -> Value {
    let names = services.iter().flat_map(|s| s.fields.iter().map(move |f| (&s.name, &f.name)));
    let idx = names.into_iter().position(|(s, n)| s == service && n == f);
    cells[idx.unwrap_or_else(|| panic!("no {service}.{f}"))].expect("present")
}
