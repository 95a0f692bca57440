//! Sockets by kind and their memory, from `/proc/net/sockstat` and, where
//! there is IPv6, `sockstat6`. One cheap reading, whereas a list of all
//! sockets would cost by their number.

use super::support::{lines, no_settings, number, push, words};
use crate::host::HotFile;
use crate::{Cells, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "sockets",
    about: "sockets by kind, orphans, time-wait, socket memory (/proc/net/sockstat)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Sockets::default()) as Box<dyn Probe>),
};

/// Line and word of `sockstat`, field, label, explanation.
const SOCKETS: [(&str, &str, &str, &str, &str); 7] = [
    ("sockets:", "used", "used", "used", "All sockets, local ones (Unix) included"),
    ("TCP:", "inuse", "tcp", "TCP", "TCP sockets in use over IPv4"),
    ("TCP:", "alloc", "tcp_alloc", "TCP allocated", "TCP sockets that hold memory, v4 and v6"),
    (
        "TCP:",
        "orphan",
        "orphan",
        "TCP orphans",
        "TCP connections that no process holds any more and that are not yet closed",
    ),
    ("TCP:", "tw", "tw", "TCP time-wait", "Closed TCP connections that wait for late packets"),
    ("UDP:", "inuse", "udp", "UDP", "UDP sockets in use over IPv4"),
    ("RAW:", "inuse", "raw", "raw", "Raw sockets in use over IPv4"),
];

/// The same of `sockstat6`.
const SOCKETS6: [(&str, &str, &str, &str, &str); 2] = [
    ("TCP6:", "inuse", "tcp6", "TCP over IPv6", "TCP sockets in use over IPv6"),
    ("UDP6:", "inuse", "udp6", "UDP over IPv6", "UDP sockets in use over IPv6"),
];

/// The same for memory, in pages.
const MEMORY: [(&str, &str, &str, &str, &str); 2] = [
    ("TCP:", "mem", "tcp", "TCP", "Memory in TCP's buffers"),
    ("UDP:", "mem", "udp", "UDP", "Memory in UDP's buffers"),
];

#[derive(Debug, Default)]
struct Sockets {
    file: HotFile,
    file6: Option<HotFile>,
    page_bytes: u64,
}

impl Probe for Sockets {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.page_bytes = rustix::param::page_size() as u64;
        self.file = host.hot_proc("net/sockstat");
        if find(self.file.text()?, "sockets:", "used").is_none() {
            return Err(self.file.malformed("has no line \"sockets: used N\""));
        }
        let mut file6 = host.hot_proc("net/sockstat6");
        self.file6 = file6.text().is_ok().then_some(file6);
        let gauge = |(_, _, name, label, info): &(&str, &str, &str, &str, &str)| {
            FieldSpec::gauge(name, label).info(info)
        };
        let six = self.file6.iter().flat_map(|_| SOCKETS6.iter());
        Ok(vec![
            ServiceSpec::new("sockets", "Sockets", "network")
                .vlabel("sockets")
                .args("--base 1000 -l 0")
                .info("Sockets by kind. Growing orphans or time-waits point at peers that vanish.")
                .fields(SOCKETS.iter().chain(six).map(gauge).collect()),
            ServiceSpec::new("socket_memory", "Socket memory", "network")
                .vlabel("Bytes")
                .args("--base 1024 -l 0")
                .info("Memory that the kernel holds for data in flight.")
                .fields(MEMORY.iter().map(gauge).collect()),
        ])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let text = self.file.text()?;
        for (line, word, ..) in &SOCKETS {
            push(out, find(text, line, word));
        }
        if let Some(file6) = &mut self.file6 {
            let text6 = file6.text()?;
            for (line, word, ..) in &SOCKETS6 {
                push(out, find(text6, line, word));
            }
        }
        for (line, word, ..) in &MEMORY {
            push(out, find(text, line, word).map(|n| n.saturating_mul(self.page_bytes)));
        }
        Ok(Read::Done)
    }
}

/// The number behind `word` in the line that opens with `head`
/// (`TCP: inuse 1 orphan 0 tw 0 alloc 1 mem 205`).
fn find(text: &[u8], head: &str, word: &str) -> Option<u64> {
    let line = lines(text).find(|line| line.starts_with(head.as_bytes()))?;
    let mut words = words(line).skip(1);
    while let (Some(key), Some(value)) = (words.next(), words.next()) {
        if key == word.as_bytes() {
            return number(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Value;
    use crate::probes::testing::{TestHost, fixture, ints, ready, values};
    use proptest::prelude::*;

    #[test]
    fn the_recorded_machine() {
        let host = fixture("vm");
        let (mut probe, services) = ready("sockets", "", &host);
        assert_eq!(services[0].fields.len(), 9);
        let page = rustix::param::page_size() as i64;
        let got = ints(probe.as_mut(), &host).unwrap();
        assert_eq!(got.len(), 11);
        assert_eq!(got[9] % page, 0);
    }

    #[test]
    fn without_ipv6_and_with_a_line_missing() {
        let text = "sockets: used 13\nTCP: inuse 1 orphan 2 tw 3 alloc 4 mem 5\n";
        let host = TestHost::new(&[("proc/net/sockstat", text)]);
        let (mut probe, _) = ready("sockets", "", &host.host);
        let got = values(probe.as_mut(), &host.host).unwrap();
        assert_eq!(got[..5], [13, 1, 4, 2, 3].map(|n| Some(Value::Int(n))));
        assert_eq!(got[5], Some(Value::Unknown));
        assert_eq!(got.len(), 9);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>) {
            let _ = find(&text, "", "");
            let _ = find(&[b"TCP: ", text.as_slice()].concat(), "TCP:", "mem");
        }
    }
}
