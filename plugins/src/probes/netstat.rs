//! TCP connections and the errors of TCP and UDP, from `/proc/net/snmp` and
//! `/proc/net/netstat` (Documentation/networking/snmp_counter.rst). `netstat`
//! is Munin's. Of the 300 numbers there, those are kept that point at trouble.

use super::support::{lines, no_settings, number, push, words};
use crate::host::HotFile;
use crate::{Cells, Draw, FieldSpec, Host, Probe, ProbeEntry, ProbeError, Read, ServiceSpec};

/// The line of the table of probes.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "netstat",
    about: "TCP connections, retransmits, drops; UDP errors (/proc/net/snmp, netstat)",
    waits: false,
    new: |config| no_settings(config).map(|()| Box::new(Netstat::default()) as Box<dyn Probe>),
};

/// The kernel's name, the field's name, label and explanation.
type Counter = (&'static str, &'static str, &'static str, &'static str);

/// Munin's `netstat`: lines `Tcp:`.
const CONNECTIONS: [Counter; 5] = [
    ("ActiveOpens", "active", "active", "The number of active TCP openings per second"),
    ("PassiveOpens", "passive", "passive", "The number of passive TCP openings per second"),
    ("AttemptFails", "failed", "failed", "The number of failed TCP connection attempts"),
    ("EstabResets", "resets", "resets", "The number of TCP connection resets"),
    ("CurrEstab", "established", "established", "The number of currently open connections"),
];

/// Lines `Tcp:` again.
const SEGMENTS: [Counter; 4] = [
    ("RetransSegs", "retrans", "retransmitted", "Segments that had to be sent again"),
    ("OutSegs", "out", "sent", "Segments sent, retransmitted ones not counted"),
    ("InErrs", "in_errs", "received broken", "Segments received with a wrong checksum or length"),
    ("OutRsts", "out_rsts", "resets sent", "Segments sent with the RST flag: refusals, aborts"),
];

/// Lines `Udp:`.
const UDP: [Counter; 5] = [
    ("NoPorts", "no_ports", "no listener", "Datagrams to a port where nobody listens"),
    ("InErrors", "in_errors", "in errors", "Datagrams that could not be delivered"),
    (
        "RcvbufErrors",
        "rcvbuf_errors",
        "receive buffer full",
        "Datagrams dropped because the program reads too slowly",
    ),
    ("SndbufErrors", "sndbuf_errors", "send buffer full", "Datagrams that found no memory"),
    ("InCsumErrors", "csum_errors", "checksum", "Datagrams with a wrong checksum"),
];

/// Lines `TcpExt:` of `netstat`.
#[rustfmt::skip]
const TROUBLE: [Counter; 12] = [
    ("ListenOverflows", "listen_overflows", "accept queue full",
        "Connections refused because a program accepts too slowly"),
    ("ListenDrops", "listen_drops", "listen drops",
        "Connection requests dropped for any reason, overflows included"),
    ("SyncookiesSent", "syncookies", "SYN cookies",
        "Cookies sent because too many connections were half open: a flood, or a short backlog"),
    ("TCPReqQFullDrop", "reqq_full", "SYN queue full",
        "Connection requests dropped because too many were half open"),
    ("TCPTimeouts", "timeouts", "timeouts", "Retransmission timers that ran out"),
    ("TCPLostRetransmit", "lost_retransmits", "lost retransmits",
        "Retransmitted segments that were lost again"),
    ("TCPSynRetrans", "syn_retrans", "SYN retransmits",
        "SYN segments sent again: peers that do not answer"),
    ("TCPAbortOnTimeout", "abort_timeout", "aborts by timeout",
        "Connections given up because the peer fell silent"),
    ("TCPAbortOnMemory", "abort_memory", "aborts by memory",
        "Connections given up for want of socket memory"),
    ("TCPBacklogDrop", "backlog_drop", "backlog drops",
        "Segments dropped because the socket's backlog was full"),
    ("TCPMemoryPressures", "memory_pressures", "memory pressure",
        "Times that TCP's memory rose above its threshold (sysctl net.ipv4.tcp_mem)"),
    ("PruneCalled", "pruned", "pruned",
        "Times that data was thrown out of a receive queue for want of buffer"),
];

#[derive(Debug, Default)]
struct Netstat {
    snmp: HotFile,
    netstat: HotFile,
}

impl Probe for Netstat {
    fn discover(&mut self, host: &Host) -> Result<Vec<ServiceSpec>, ProbeError> {
        self.snmp = host.hot_proc("net/snmp");
        self.netstat = host.hot_proc("net/netstat");
        self.snmp.text()?;
        self.netstat.text()?;
        Ok(vec![connections(), segments(), udp(), trouble()])
    }

    fn read(&mut self, _: &Host, out: &mut Cells) -> Result<Read, ProbeError> {
        let snmp = self.snmp.text()?;
        let connections = table(snmp, "Tcp:", &CONNECTIONS);
        let segments = table(snmp, "Tcp:", &SEGMENTS);
        let udp = table(snmp, "Udp:", &UDP);
        let Some((connections, segments)) = connections.zip(segments) else {
            return Err(self.snmp.malformed("has no two lines Tcp:"));
        };
        let Some(trouble) = table(self.netstat.text()?, "TcpExt:", &TROUBLE) else {
            return Err(self.netstat.malformed("has no two lines TcpExt:"));
        };
        let udp = udp.unwrap_or_default();
        let all = connections.into_iter().chain(segments).chain(udp).chain(trouble);
        all.for_each(|v| push(out, v));
        Ok(Read::Done)
    }
}

/// Numbers out of a pair of lines, names above values:
/// `Tcp: RtoAlgorithm RtoMin …`, `Tcp: 1 200 …`. `None` if there is no such
/// pair; a counter that this kernel lacks is `None` inside.
fn table<const N: usize>(
    text: &[u8],
    head: &str,
    counters: &[Counter; N],
) -> Option<[Option<u64>; N]> {
    let mut pair = lines(text).filter(|line| words(line).next() == Some(head.as_bytes()));
    let (names, values) = (pair.next()?, pair.next()?);
    let mut found = [None; N];
    for (name, value) in words(names).zip(words(values)).skip(1) {
        if let Some(i) = counters.iter().position(|(key, ..)| key.as_bytes() == name) {
            found[i] = number(value);
        }
    }
    Some(found)
}

fn derive((_, name, label, info): &Counter) -> FieldSpec {
    FieldSpec::derive(name, label).info(info)
}

fn connections() -> ServiceSpec {
    let field = |counter: &Counter| match counter.1 {
        "established" => FieldSpec::gauge(counter.1, counter.2).info(counter.3),
        _ => FieldSpec { max: Some(50_000.0), ..derive(counter) },
    };
    ServiceSpec::new("netstat", "Netstat, combined", "network")
        .vlabel("TCP connections")
        .args("--units=si -l 1 --base 1000 --logarithmic")
        .info("TCP activity of all the network interfaces combined.")
        .fields(CONNECTIONS.iter().map(field).collect())
}

fn segments() -> ServiceSpec {
    let field = |counter: &Counter| match counter.1 {
        "retrans" => derive(counter).cdef("retrans,out,/,100,*").draw(Draw::Line2),
        "in_errs" | "out_rsts" => derive(counter).cdef(&format!("{},out,/,100,*", counter.1)),
        _ => derive(counter).hidden(),
    };
    ServiceSpec::new("tcp_retransmits", "TCP retransmits", "network")
        .vlabel("% of segments sent")
        .args("--base 1000 -l 0")
        .unscaled()
        .info(
            "Segments that went wrong, as a share of those sent. Above 1 % retransmitted, users \
             notice; it points at a bad line or a full one.",
        )
        .fields(SEGMENTS.iter().map(field).collect())
}

fn udp() -> ServiceSpec {
    ServiceSpec::new("udp_errors", "UDP errors", "network")
        .vlabel("datagrams per ${graph_period}")
        .args("--base 1000 -l 0")
        .info("Datagrams that did not reach a program.")
        .fields(UDP.iter().map(derive).collect())
}

fn trouble() -> ServiceSpec {
    ServiceSpec::new("tcp_errors", "TCP errors", "network")
        .vlabel("events per ${graph_period}")
        .args("--base 1000 -l 0")
        .info("What goes wrong with TCP connections: drops, timeouts, aborts, full queues.")
        .fields(TROUBLE.iter().map(derive).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::probes::testing::{fixture, ints, ready};
    use proptest::prelude::*;

    #[test]
    fn values_stand_below_their_names() {
        let text = b"Ip: A B\nIp: 1 2\nUdp: NoPorts X InErrors\nUdp: 7 -1 9\nUdpLite: NoPorts\n";
        let n = Some;
        assert_eq!(table(text, "Udp:", &UDP), Some([n(7), n(9), None, None, None]));
        assert_eq!(table(text, "UdpLite:", &UDP), None, "half a pair");
        assert_eq!(table(text, "Tcp:", &UDP), None);
    }

    #[test]
    fn the_recorded_machine_has_all_of_them() {
        let host = fixture("vm");
        let (mut probe, services) = ready("netstat", "", &host);
        let n = services.iter().map(|s| s.fields.len()).sum::<usize>();
        assert_eq!(ints(probe.as_mut(), &host).unwrap().len(), n);
    }

    proptest! {
        #[test]
        fn garbage_never_panics(text: Vec<u8>, names in "[ -~\n]*", values in "[ -~]*") {
            let _ = table(&text, "Udp:", &UDP);
            let _ = table(format!("Udp: {names}\nUdp: {values}").as_bytes(), "Udp:", &UDP);
        }
    }
}
