//! What the daemons' tests share: made-up daemons on loopback, short-cuts.

use super::{Address, Place};
use rookery_plugins::{Cells, Host, Probe, ProbeError, Read, ServiceSpec, Value};
use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// A listener that hands each connection to `f`; its address.
pub fn serve(f: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let at = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(f));
    at
}

/// The place of a made-up daemon.
pub fn place(address: &str) -> Place {
    let addresses = vec![Address::parse(address, 1).expect("an address")];
    Place { daemon: "test", addresses, given: true, timeout: Duration::from_secs(5) }
}

/// A recorded reply in `testdata/`.
pub fn reply(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("testdata").join(path);
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The probe of this name with this configuration.
pub fn make(name: &str, config: &str) -> Box<dyn Probe> {
    let entry = crate::DAEMONS.iter().find(|e| e.name == name).expect("in the table");
    (entry.new)(&config.parse().expect("TOML")).unwrap_or_else(|e| panic!("{name}: {e}"))
}

/// What a probe says: its services, and the values by `service.field`.
pub type Said = (Vec<ServiceSpec>, BTreeMap<String, Value>);

/// Asks a probe for its services and values.
pub fn ask(probe: &mut dyn Probe) -> Result<Said, ProbeError> {
    let host = Host::default();
    let specs = probe.discover(&host)?;
    let mut cells = Cells::new();
    assert_eq!(probe.read(&host, &mut cells)?, Read::Done);
    let mut values = BTreeMap::new();
    let names = specs.iter().flat_map(|s| s.fields.iter().map(move |f| (&s.name, &f.name)));
    let mut n = 0;
    for (i, (service, field)) in names.enumerate() {
        n += 1;
        if let Some(value) = cells.get(i) {
            values.insert(format!("{service}.{field}"), value);
        }
    }
    assert_eq!(n, cells.len(), "as many values as fields");
    Ok((specs, values))
}
