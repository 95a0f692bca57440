//! Just enough SNMP (RFC 1157, RFC 3416; versions 1 and 2c over UDP) to ask a device
//! what it has: one object, or a column of a table.
//!
//! Every answer is untrusted: lengths are checked against what was received, walks are
//! bounded.

use std::time::Duration;
use tokio::net::UdpSocket;

/// How long an answer may take, …
const TIMEOUT: Duration = Duration::from_secs(2);
/// … and how often it is asked for.
const TRIES: u32 = 3;
/// The most rows of a column.
const ROWS_MAX: usize = 5000;
/// The largest message, bytes.
const MESSAGE_BYTES_MAX: usize = 65_535;

const SEQUENCE: u8 = 0x30;
const INTEGER: u8 = 0x02;
const STRING: u8 = 0x04;
const NULL: u8 = 0x05;
const OBJECT: u8 = 0x06;
const ADDRESS: u8 = 0x40;
const GET: u8 = 0xa0;
const GET_NEXT: u8 = 0xa1;
const RESPONSE: u8 = 0xa2;

/// A name in the tree of objects.
pub type Oid = Vec<u32>;

/// Reads `1.3.6.1.2.1.1.3.0`, also with a dot in front or at the end.
pub fn oid(text: &str) -> Option<Oid> {
    let parts = text.trim_matches('.').split('.').map(|p| p.parse().ok());
    let oid: Oid = parts.collect::<Option<_>>()?;
    (oid.len() >= 2 && oid[0] <= 2 && oid[1] < 40).then_some(oid)
}

/// Talks with one device.
pub struct Device {
    socket: UdpSocket,
    community: String,
    /// 0: version 1; 1: version 2c.
    version: u8,
    request: i32,
}

impl Device {
    /// Sends nothing yet.
    pub async fn new(host: &str, port: u16, community: &str, v1: bool) -> Result<Device, String> {
        let fail = |e: std::io::Error| format!("{host}:{port}: {e}");
        let to = tokio::net::lookup_host((host, port)).await.map_err(fail)?.next();
        let to = to.ok_or_else(|| format!("{host}: it has no address"))?;
        let any = if to.is_ipv6() { "[::]:0" } else { "0.0.0.0:0" };
        let socket = UdpSocket::bind(any).await.map_err(fail)?;
        socket.connect(to).await.map_err(fail)?;
        let version = u8::from(!v1);
        Ok(Device { socket, community: community.to_owned(), version, request: 0 })
    }

    /// One object's value as text; `None`: it has none.
    pub async fn get(&mut self, name: &Oid) -> Result<Option<String>, String> {
        let answer = self.ask(GET, name).await?;
        Ok(answer.filter(|(found, _)| found == name).map(|(_, value)| value))
    }

    /// A table's column: what follows its name, and the value.
    pub async fn column(&mut self, name: &Oid) -> Result<Vec<(Oid, String)>, String> {
        let mut rows: Vec<(Oid, String)> = Vec::new();
        let mut at = name.clone();
        while rows.len() < ROWS_MAX {
            let Some((next, value)) = self.ask(GET_NEXT, &at).await? else { break };
            // One that does not go on would have us ask for ever.
            if !next.starts_with(name) || next <= at {
                break;
            }
            rows.push((next[name.len()..].to_vec(), value));
            at = next;
        }
        Ok(rows)
    }

    async fn ask(&mut self, verb: u8, name: &Oid) -> Result<Option<(Oid, String)>, String> {
        self.request += 1;
        let question = message(self.version, &self.community, verb, self.request, name);
        let mut buf = vec![0u8; MESSAGE_BYTES_MAX];
        for _ in 0..TRIES {
            self.socket.send(&question).await.map_err(|e| e.to_string())?;
            let end = tokio::time::Instant::now() + TIMEOUT;
            while let Ok(n) = tokio::time::timeout_at(end, self.socket.recv(&mut buf)).await {
                let n = n.map_err(|e| e.to_string())?;
                // An answer to an earlier try, or none at all, is passed over.
                if let Some((request, found)) = answer(&buf[..n])
                    && request == self.request
                {
                    return Ok(found);
                }
            }
        }
        Err("no answer".to_owned())
    }
}

fn put(tag: u8, content: &[u8], out: &mut Vec<u8>) {
    out.push(tag);
    match content.len() {
        n @ 0..=127 => out.push(n as u8),
        n @ 128..=255 => out.extend([0x81, n as u8]),
        n => out.extend([0x82, (n >> 8) as u8, n as u8]),
    }
    out.extend_from_slice(content);
}

fn message(version: u8, community: &str, verb: u8, request: i32, name: &Oid) -> Vec<u8> {
    let mut binding = Vec::new();
    put(OBJECT, &encode(name), &mut binding);
    put(NULL, &[], &mut binding);
    let mut bindings = Vec::new();
    put(SEQUENCE, &binding, &mut bindings);
    let mut pdu = Vec::new();
    put(INTEGER, &request.to_be_bytes(), &mut pdu);
    put(INTEGER, &[0], &mut pdu);
    put(INTEGER, &[0], &mut pdu);
    put(SEQUENCE, &bindings, &mut pdu);
    let mut body = Vec::new();
    put(INTEGER, &[version], &mut body);
    put(STRING, community.as_bytes(), &mut body);
    put(verb, &pdu, &mut body);
    let mut out = Vec::new();
    put(SEQUENCE, &body, &mut out);
    out
}

fn encode(name: &Oid) -> Vec<u8> {
    let [first, second, rest @ ..] = name.as_slice() else { return Vec::new() };
    let mut out = vec![(first * 40 + second) as u8];
    for part in rest {
        let groups = (1..5).rev().map(|i| (part >> (7 * i)) as u8 & 0x7f);
        let long = groups.skip_while(|g| *g == 0).map(|g| g | 0x80);
        out.extend(long.collect::<Vec<u8>>());
        out.push(*part as u8 & 0x7f);
    }
    out
}

fn decode(bytes: &[u8]) -> Option<Oid> {
    let (first, rest) = bytes.split_first()?;
    let mut out = vec![u32::from(first / 40), u32::from(first % 40)];
    let mut part = 0u32;
    for b in rest {
        part = part.checked_mul(128)?.checked_add(u32::from(b & 0x7f))?;
        if b & 0x80 == 0 {
            out.push(part);
            part = 0;
        }
    }
    Some(out)
}

/// The first element: its tag, its content, and what follows it.
fn element(bytes: &[u8]) -> Option<(u8, &[u8], &[u8])> {
    let (tag, rest) = bytes.split_first()?;
    let (first, rest) = rest.split_first()?;
    let (len, rest) = match first {
        n @ 0..=127 => (usize::from(*n), rest),
        0x81 => (usize::from(*rest.first()?), rest.get(1..)?),
        0x82 => (usize::from(u16::from_be_bytes(*rest.first_chunk()?)), rest.get(2..)?),
        _ => return None,
    };
    let (content, rest) = rest.split_at_checked(len)?;
    Some((*tag, content, rest))
}

fn integer(bytes: &[u8]) -> Option<i64> {
    let first = *bytes.first().filter(|_| bytes.len() <= 8)?;
    let start = if first & 0x80 == 0 { 0 } else { -1 };
    Some(bytes.iter().fold(start, |n, b| n << 8 | i64::from(*b)))
}

/// An answer's number, and the object in it; without one where there is none.
#[allow(clippy::type_complexity)] // A name for it would say no more.
fn answer(bytes: &[u8]) -> Option<(i32, Option<(Oid, String)>)> {
    let (SEQUENCE, body, _) = element(bytes)? else { return None };
    let (_, _version, rest) = element(body)?;
    let (_, _community, rest) = element(rest)?;
    let (RESPONSE, pdu, _) = element(rest)? else { return None };
    let (_, request, rest) = element(pdu)?;
    let (_, error, rest) = element(rest)?;
    let (_, _index, rest) = element(rest)?;
    let request = i32::try_from(integer(request)?).ok()?;
    if integer(error)? != 0 {
        return Some((request, None));
    }
    let (_, bindings, _) = element(rest)?;
    let (_, binding, _) = element(bindings)?;
    let (OBJECT, name, rest) = element(binding)? else { return None };
    let (tag, value, _) = element(rest)?;
    let text = match tag {
        STRING => String::from_utf8_lossy(value).into_owned(),
        OBJECT => decode(value)?.iter().map(u32::to_string).collect::<Vec<_>>().join("."),
        ADDRESS => value.iter().map(u8::to_string).collect::<Vec<_>>().join("."),
        // Counters, gauges, ticks: unsigned, with a zero in front where it is needed.
        INTEGER | 0x41..=0x43 | 0x46 => match value.strip_prefix(&[0]) {
            Some(rest) if rest.len() == 8 => u64::from_be_bytes(*rest.first_chunk()?).to_string(),
            _ => integer(value)?.to_string(),
        },
        // No such object, no such instance, the end of all.
        _ => return Some((request, None)),
    };
    Some((request, Some((decode(name)?, text))))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_come_back() {
        for text in ["1.3.6.1.4.1.2021.10.1.3.2", "0.0", "1.3.4294967295.128.127.0"] {
            let name = oid(text).expect("a name");
            assert_eq!(decode(&encode(&name)), Some(name), "{text}");
        }
        assert_eq!(oid(".1.3.6."), oid("1.3.6"));
        for bad in ["", "1", "3.1", "1.40", "1.3.x", "1..3"] {
            assert_eq!(oid(bad), None, "{bad}");
        }
    }

    fn response(tag: u8, value: &[u8]) -> Vec<u8> {
        let name = oid("1.3.6.1").expect("a name");
        let mut binding = Vec::new();
        put(OBJECT, &encode(&name), &mut binding);
        put(tag, value, &mut binding);
        let mut bindings = Vec::new();
        put(SEQUENCE, &binding, &mut bindings);
        let mut pdu = Vec::new();
        [7u8, 0, 0].iter().for_each(|n| put(INTEGER, &[*n], &mut pdu));
        put(SEQUENCE, &bindings, &mut pdu);
        let mut body = Vec::new();
        put(INTEGER, &[1], &mut body);
        put(STRING, b"public", &mut body);
        put(RESPONSE, &pdu, &mut body);
        let mut out = Vec::new();
        put(SEQUENCE, &body, &mut out);
        out
    }

    #[test]
    fn values_are_read_as_they_are() {
        let value = |tag: u8, bytes: &[u8]| {
            let (request, found) = answer(&response(tag, bytes)).expect("an answer");
            assert_eq!(request, 7);
            found.map(|(_, text)| text)
        };
        let is = |text: &str| Some(text.to_owned());
        assert_eq!(value(INTEGER, &[0xff]), is("-1"));
        assert_eq!(value(0x41, &[0, 0xff, 0xff, 0xff, 0xff]), is("4294967295"));
        assert_eq!(
            value(0x46, &[0, 255, 255, 255, 255, 255, 255, 255, 255]),
            is(&u64::MAX.to_string())
        );
        assert_eq!(value(STRING, &[b'x'; 300]), Some("x".repeat(300)));
        assert_eq!(value(ADDRESS, &[10, 0, 0, 1]), is("10.0.0.1"));
        assert_eq!(value(0x80, &[]), None, "no such object");
        let whole = response(STRING, b"text");
        for n in 0..whole.len() {
            assert_eq!(answer(&whole[..n]), None, "cut at {n}");
        }
    }

    proptest! {
        #[test]
        fn no_bytes_panic(
            bytes in prop::collection::vec(any::<u8>(), 0..60),
            at in 0usize..60,
            byte: u8,
        ) {
            let _ = answer(&bytes);
            let mut near = response(0x42, &[1, 2, 3]);
            if let Some(b) = near.get_mut(at) {
                *b = byte;
            }
            let _ = answer(&near);
        }
    }
}
