//! What the daemons' tests share: made-up daemons on loopback, short-cuts.

use super::{Address, Place};
use rookery_plugins::{Cells, Host, Probe, ProbeError, Read, ServiceSpec, Value};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::path::PathBuf;
use std::time::Duration;

/// A listener that hands each connection to `f`; its address.
pub fn serve(f: impl Fn(TcpStream) + Send + 'static) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
    let at = listener.local_addr().expect("an address").to_string();
    std::thread::spawn(move || listener.incoming().flatten().for_each(f));
    at
}

/// A recording of `examples/record.rs`: what the daemon said, and whether it then
/// hung up, for each connection; between two texts the probe said so many bytes.
#[derive(Clone, Debug)]
pub struct Recording(Vec<Vec<Turn>>);

#[derive(Clone, Debug)]
enum Turn {
    Asked(usize),
    Said(Vec<u8>),
    HungUp,
}

impl Recording {
    /// A recording in `testdata/`.
    pub fn new(path: &str) -> Recording {
        let text = reply(path);
        let mut all: Vec<Vec<Turn>> = vec![];
        for line in text.lines() {
            let (what, rest) = line.split_at(1);
            let bytes = unescaped(rest.strip_prefix(' ').unwrap_or(""));
            let Some(turns) = all.last_mut().filter(|_| what != "O") else {
                all.push(vec![]);
                continue;
            };
            match (what, turns.last_mut()) {
                ("C", Some(Turn::Asked(n))) => *n += bytes.len(),
                ("C", _) => turns.push(Turn::Asked(bytes.len())),
                ("S", Some(Turn::Said(said))) => said.extend(bytes),
                ("S", _) => turns.push(Turn::Said(bytes)),
                _ => turns.push(Turn::HungUp),
            }
        }
        Recording(all)
    }

    /// How many bytes the daemon said.
    pub fn bytes(&self) -> usize {
        let said = |turn: &Turn| if let Turn::Said(bytes) = turn { bytes.len() } else { 0 };
        self.0.iter().flatten().map(said).sum()
    }

    /// The same, where the daemon hangs up after so many bytes, and says nothing
    /// on any connection after that.
    pub fn cut(&self, mut left: usize) -> Recording {
        let mut cut = vec![];
        for turns in &self.0 {
            let mut kept = vec![];
            for turn in turns {
                match turn {
                    Turn::Said(bytes) if bytes.len() > left => {
                        kept.extend([Turn::Said(bytes[..left].to_vec()), Turn::HungUp]);
                        cut.push(kept);
                        return Recording(cut);
                    }
                    Turn::Said(bytes) => left -= bytes.len(),
                    _ => {}
                }
                kept.push(turn.clone());
            }
            cut.push(kept);
        }
        Recording(cut)
    }

    /// Plays the daemon; its address.
    pub fn serve(self) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").expect("binds");
        let at = listener.local_addr().expect("an address").to_string();
        std::thread::spawn(move || {
            for turns in self.0 {
                let Ok((stream, _)) = listener.accept() else { return };
                std::thread::spawn(move || play(stream, &turns));
            }
        });
        at
    }
}

/// One connection. Whoever asks at another length than the probe did when it was
/// recorded is answered all the same, once nothing more comes.
fn play(mut stream: TcpStream, turns: &[Turn]) {
    let mut chunk = [0; 16 << 10];
    for turn in turns {
        match turn {
            Turn::Asked(wanted) => {
                let mut got = 0;
                let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
                while got < *wanted {
                    match stream.read(&mut chunk) {
                        Ok(n @ 1..) => got += n,
                        Ok(_) => return,
                        Err(_) => break,
                    }
                    let _ = stream.set_read_timeout(Some(Duration::from_millis(50)));
                }
            }
            Turn::Said(bytes) => {
                if stream.write_all(bytes).is_err() {
                    return;
                }
            }
            Turn::HungUp => {
                // The client's last words must not make a reset of it.
                let _ = stream.shutdown(Shutdown::Write);
                break;
            }
        }
    }
    let _ = stream.set_read_timeout(Some(Duration::from_secs(5)));
    while let Ok(1..) = stream.read(&mut chunk) {}
}

fn unescaped(text: &str) -> Vec<u8> {
    let (mut bytes, mut rest) = (vec![], text.as_bytes());
    while let Some((b, after)) = rest.split_first() {
        rest = after;
        if *b != b'\\' {
            bytes.push(*b);
            continue;
        }
        let (kind, after) = rest.split_first().expect("an escape");
        rest = after;
        bytes.push(match kind {
            b'n' => b'\n',
            b'r' => b'\r',
            b'x' => {
                let (digits, after) = rest.split_at(2);
                rest = after;
                u8::from_str_radix(std::str::from_utf8(digits).expect("hex"), 16).expect("hex")
            }
            other => *other,
        });
    }
    bytes
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
