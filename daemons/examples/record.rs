//! Records what a probe and a daemon say to each other, for a unit test that
//! plays the daemon's side again (`support::testing::replay`):
//!
//! `record PROBE HOST:PORT FILE 'CONFIGURATION, with {} where the address goes'`
//!
//! In the file a line `O` is a new connection, `C` what the probe said, `S` what
//! the daemon answered and `E` that the daemon hung up. Bytes that are no
//! printable ASCII stand as `\xNN`, a new line as `\n` and the end of the line.

use rookery_plugins::{Cells, Host};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex};

/// Connection, direction, bytes.
type Heard = Arc<Mutex<Vec<(usize, char, Vec<u8>)>>>;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let [name, to, file, config] = &words[..] else {
        return Err("record PROBE HOST:PORT FILE CONFIGURATION".into());
    };
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let at = listener.local_addr()?.to_string();
    let heard = Heard::default();
    let pairs = {
        let (heard, to) = (heard.clone(), to.clone());
        std::thread::spawn(move || {
            for (n, client) in listener.incoming().flatten().enumerate() {
                let Ok(server) = TcpStream::connect(&to) else { return };
                push(&heard, n, 'O', &[]);
                forward(&heard, n, 'C', &client, &server);
                forward(&heard, n, 'S', &server, &client);
            }
        })
    };
    let entry = rookery_daemons::DAEMONS.iter().find(|e| e.name == name).ok_or("no such probe")?;
    let mut probe = (entry.new)(&config.replace("{}", &at).parse()?)?;
    let host = Host::default();
    let specs = probe.discover(&host)?;
    let mut cells = Cells::new();
    probe.read(&host, &mut cells)?;
    let names = specs.iter().flat_map(|s| s.fields.iter().map(move |f| (&s.name, &f.name)));
    for (i, (service, field)) in names.enumerate() {
        println!("{service}.{field} {:?}", cells.get(i));
    }
    println!("{}", specs[0].info);
    // An end that the daemon made comes a little after its last words.
    std::thread::sleep(std::time::Duration::from_millis(300));
    let mut all = std::mem::take(&mut *heard.lock().map_err(|_| "a thread failed")?);
    all.sort_by_key(|(n, ..)| *n);
    let mut out = String::new();
    for (_, what, bytes) in all {
        match bytes.is_empty() {
            true => out.push_str(&format!("{what}\n")),
            false => bytes
                .split_inclusive(|b| *b == b'\n')
                .for_each(|line| out.push_str(&format!("{what} {}\n", escaped(line)))),
        }
    }
    std::fs::write(file, out)?;
    // It waits for the next connection; the process ends without it.
    drop(pairs);
    Ok(())
}

fn push(heard: &Heard, n: usize, what: char, bytes: &[u8]) {
    let Ok(mut all) = heard.lock() else { return };
    match all.iter_mut().rfind(|(m, ..)| *m == n) {
        Some((_, before, text)) if *before == what && what != 'E' => text.extend_from_slice(bytes),
        _ => all.push((n, what, bytes.to_vec())),
    }
}

fn forward(heard: &Heard, n: usize, what: char, from: &TcpStream, to: &TcpStream) {
    let (Ok(mut from), Ok(mut to)) = (from.try_clone(), to.try_clone()) else { return };
    let heard = heard.clone();
    std::thread::spawn(move || {
        let mut chunk = [0; 64 << 10];
        while let Ok(got @ 1..) = from.read(&mut chunk) {
            push(&heard, n, what, &chunk[..got]);
            if to.write_all(&chunk[..got]).is_err() {
                break;
            }
        }
        if what == 'S' {
            push(&heard, n, 'E', &[]);
        }
        let _ = to.shutdown(Shutdown::Write);
    });
}

fn escaped(line: &[u8]) -> String {
    let mut text = String::new();
    for (i, b) in line.iter().enumerate() {
        match b {
            b'\n' => text.push_str("\\n"),
            b'\r' => text.push_str("\\r"),
            b'\\' => text.push_str("\\\\"),
            b' ' if i + 1 == line.len() => text.push_str("\\x20"),
            b' '..=b'~' => text.push(char::from(*b)),
            b => text.push_str(&format!("\\x{b:02x}")),
        }
    }
    text
}
