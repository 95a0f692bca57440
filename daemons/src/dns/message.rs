//! Questions and answers of the DNS in their packets (RFC 1035, 4; RFC 3596).

use std::net::{Ipv4Addr, Ipv6Addr};

/// What is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Kind(u16);

/// Name and number of what can be asked for.
const KINDS: [(&str, u16); 8] = [
    ("A", 1),
    ("NS", 2),
    ("CNAME", 5),
    ("SOA", 6),
    ("PTR", 12),
    ("MX", 15),
    ("TXT", 16),
    ("AAAA", 28),
];
const INTERNET: u16 = 1;
const HEAD: usize = 12;
/// So many names may a name point on to (4.1.4): more is a circle.
const JUMPS_MAX: usize = 32;

impl Kind {
    /// From its name.
    pub fn parse(text: &str) -> Result<Kind, String> {
        let kind = KINDS.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
        kind.map(|(_, n)| Kind(*n)).ok_or_else(|| {
            let all: Vec<&str> = KINDS.iter().map(|(name, _)| *name).collect();
            format!("type = {text:?}: write one of {}", all.join(", "))
        })
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, n)| *n == self.0).map_or("", |(name, _)| *name)
    }
}

/// An answer.
#[derive(Debug, PartialEq)]
pub struct Answer {
    /// RCODE; 0: well.
    pub code: u8,
    /// Whether there is more than fits a packet.
    pub is_cut: bool,
    /// The records of the kind that was asked for, as text.
    pub values: Vec<String>,
}

/// RCODE in words (RFC 1035, 4.1.1).
pub fn code(code: u8) -> String {
    match code {
        1 => "FORMERR: it does not understand the question".to_owned(),
        2 => "SERVFAIL: it could not find out".to_owned(),
        3 => "NXDOMAIN: there is no such name".to_owned(),
        4 => "NOTIMP: it does not know this kind of question".to_owned(),
        5 => "REFUSED: it does not want to tell us".to_owned(),
        other => format!("with error {other}"),
    }
}

/// A question, to be answered from elsewhere if need be.
pub fn question(id: u16, name: &str, kind: Kind) -> Result<Vec<u8>, String> {
    const RECURSION_DESIRED: u16 = 0x0100;
    let wrong = || format!("query = {name:?}: write a name such as shop.example");
    let mut packet = vec![];
    for word in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        packet.extend(word.to_be_bytes());
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    for label in bare.split('.').filter(|_| !bare.is_empty()) {
        let length = u8::try_from(label.len()).ok().filter(|n| (1..=63).contains(n));
        packet.push(length.ok_or_else(wrong)?);
        if !label.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(wrong());
        }
        packet.extend(label.bytes());
    }
    packet.push(0);
    if name.is_empty() || packet.len() - HEAD > 255 {
        return Err(wrong());
    }
    packet.extend(kind.0.to_be_bytes());
    packet.extend(INTERNET.to_be_bytes());
    Ok(packet)
}

/// The answer to a question; `None`: it is to another one. An error: it is one,
/// and cannot be read.
pub fn answer(packet: &[u8], question: &[u8], kind: Kind) -> Result<Option<Answer>, String> {
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (Some(id), Some(flags)) = (word(0), word(2)) else { return Ok(None) };
    let is_response = flags & 0x8000 != 0;
    if !is_response || id.to_be_bytes() != question[..2] {
        return Ok(None);
    }
    let code = (flags & 0xf) as u8;
    let is_cut = flags & 0x0200 != 0;
    // Who fails need not repeat the question.
    let repeats = packet
        .get(HEAD..question.len())
        .is_some_and(|q| q.eq_ignore_ascii_case(&question[HEAD..]) && word(4) == Some(1));
    if !repeats {
        return match code {
            0 => Ok(None),
            _ => Ok(Some(Answer { code, is_cut, values: vec![] })),
        };
    }
    let broken = || "its answer breaks off or makes no sense".to_owned();
    let count = word(6).ok_or_else(broken)?;
    let (mut at, mut values) = (question.len(), vec![]);
    for _ in 0..count {
        match record(packet, at, kind) {
            Some((value, next)) => {
                values.extend(value);
                at = next;
            }
            None if is_cut => break,
            None => return Err(broken()),
        }
    }
    Ok(Some(Answer { code, is_cut, values }))
}

/// The value of a record, if it is of this kind, and where the next one begins.
fn record(packet: &[u8], at: usize, kind: Kind) -> Option<(Option<String>, usize)> {
    let (_, at) = name(packet, at)?;
    let word = |at: usize| Some(u16::from_be_bytes([*packet.get(at)?, *packet.get(at + 1)?]));
    let (of, class) = (word(at)?, word(at + 2)?);
    let start = at + 10;
    let next = start + usize::from(word(at + 8)?);
    let data = packet.get(start..next)?;
    if of != kind.0 || class != INTERNET {
        return Some((None, next));
    }
    let text = match kind.name() {
        "A" => Ipv4Addr::from(<[u8; 4]>::try_from(data).ok()?).to_string(),
        "AAAA" => Ipv6Addr::from(<[u8; 16]>::try_from(data).ok()?).to_string(),
        "MX" => format!("{} {}", word(start)?, name(packet, start + 2)?.0),
        "TXT" => strings(data)?,
        // Of a SOA its first name, the primary.
        _ => name(packet, start)?.0,
    };
    Some((Some(text), next))
}

/// The texts of a TXT record, joined.
fn strings(mut data: &[u8]) -> Option<String> {
    let mut all = vec![];
    while let Some((length, rest)) = data.split_first() {
        let length = usize::from(*length);
        all.extend_from_slice(rest.get(..length)?);
        data = &rest[length..];
    }
    Some(String::from_utf8_lossy(&all).into_owned())
}

/// A name, and where what follows it begins.
fn name(packet: &[u8], mut at: usize) -> Option<(String, usize)> {
    let (mut text, mut after, mut jumps) = (String::new(), None, 0);
    loop {
        let length = *packet.get(at)?;
        match length {
            0 => return Some((text, after.unwrap_or(at + 1))),
            1..=63 => {
                let label = packet.get(at + 1..at + 1 + usize::from(length))?;
                if !text.is_empty() {
                    text.push('.');
                }
                text.push_str(&String::from_utf8_lossy(label));
                at += 1 + usize::from(length);
            }
            0xc0.. => {
                jumps += 1;
                if jumps > JUMPS_MAX {
                    return None;
                }
                after = after.or(Some(at + 2));
                at = usize::from(length & 0x3f) << 8 | usize::from(*packet.get(at + 1)?);
            }
            _ => return None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: Kind = Kind(1);

    /// An answer of an alias and two addresses, names shortened (RFC 1035, 4.1.4).
    fn packet(id: u16) -> Vec<u8> {
        let mut packet = question(id, "www.shop.example", A).expect("a question");
        packet[2..4].copy_from_slice(&[0x81, 0x80]);
        packet[7] = 3;
        // www.shop.example (at 12) is an alias of shop.example (at 16).
        packet.extend([0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 60, 0, 2, 0xc0, 16]);
        for last in [7, 8] {
            packet.extend([0xc0, 16, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 10, 0, 0, last]);
        }
        packet
    }

    #[test]
    fn an_answer_is_read_and_cut_ones_are_not() {
        let asked = question(7, "www.SHOP.example.", A).expect("a question");
        let whole = packet(7);
        let got = answer(&whole, &asked, A).expect("reads").expect("ours");
        assert_eq!((got.code, got.values), (0, vec!["10.0.0.7".to_owned(), "10.0.0.8".to_owned()]));
        for at in 0..whole.len() {
            let cut = answer(&whole[..at], &asked, A);
            assert!(matches!(cut, Ok(None) | Err(_)), "cut at {at}: {cut:?}");
        }
        assert_eq!(answer(&packet(8), &asked, A), Ok(None), "another's");
        let other = question(7, "mail.example", A).expect("a question");
        assert_eq!(answer(&whole, &other, A), Ok(None));
        assert_eq!(answer(&asked, &asked, A), Ok(None), "a question");
    }

    #[test]
    fn refusals_need_not_repeat_the_question() {
        let asked = question(7, "shop.example", A).expect("a question");
        let refused = [0, 7, 0x81, 0x85, 0, 0, 0, 0, 0, 0, 0, 0];
        let got = answer(&refused, &asked, A).expect("reads").expect("ours");
        assert!(code(got.code).starts_with("REFUSED"));
    }

    #[test]
    fn a_name_that_points_at_itself_ends() {
        assert_eq!(name(&[0xc0, 0], 0), None);
        assert_eq!(name(&[1, b'a', 0xc0, 0], 0), None);
        assert_eq!(name(&[1, b'a', 0, 0xc0, 0], 3), Some(("a".to_owned(), 5)));
    }

    #[test]
    fn names_are_checked() {
        for name in ["", "a..b", ".", "a b", &"x".repeat(64), &"abcdefg.".repeat(40)] {
            assert_eq!(question(1, name, A).is_ok(), name == ".", "{name:?}");
        }
        assert!(Kind::parse("aaaa").is_ok_and(|k| k.name() == "AAAA"));
        assert!(Kind::parse("ANY").is_err_and(|e| e.contains("AAAA")));
    }

    proptest! {
        #[test]
        fn noise_never_panics(bytes: Vec<u8>, at in 12usize..80, b: u8) {
            let asked = question(7, "www.shop.example", A).expect("a question");
            let mut changed = packet(7);
            let at = at.min(changed.len() - 1);
            changed[at] = b;
            for kind in KINDS.map(|(_, n)| Kind(n)) {
                let _ = answer(&[&packet(7)[..34], &bytes].concat(), &asked, kind);
                let _ = answer(&changed, &asked, kind);
            }
        }
    }
}
