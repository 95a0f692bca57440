//! Which peers may ask: addresses, CIDR blocks, and Munin's patterns.

use regex_lite::Regex;
use std::net::IpAddr;

/// Who may ask, and who may not: a peer that is denied is denied, allowed or
/// not.
#[derive(Clone, Debug, Default)]
pub struct Access {
    allow: Vec<Rule>,
    deny: Vec<Rule>,
}

#[derive(Clone, Debug)]
enum Rule {
    Block(IpAddr, u8),
    /// Matched with the address as it is written.
    Pattern(Regex),
}

impl Access {
    /// From agent.toml's `allow` and `deny`: `10.0.0.0/8`, `::1`, …; the error
    /// names the entry.
    pub fn parse(allow: &[String], deny: &[String]) -> Result<Access, String> {
        let blocks = |key: &str, entries: &[String]| {
            entries.iter().map(|e| block(key, e)).collect::<Result<Vec<_>, _>>()
        };
        Ok(Access { allow: blocks("allow", allow)?, deny: blocks("deny", deny)? })
    }

    /// Adds one line of a munin-node.conf: `allow`, `deny` (patterns),
    /// `cidr_allow` or `cidr_deny`.
    pub fn add(&mut self, key: &str, text: &str) -> Result<(), String> {
        let rule = match key {
            "cidr_allow" | "cidr_deny" => block(key, text)?,
            _ => Rule::Pattern(Regex::new(text).map_err(|e| format!("{key} {text}: {e}"))?),
        };
        let list = if key.ends_with("deny") { &mut self.deny } else { &mut self.allow };
        list.push(rule);
        Ok(())
    }

    /// Whether this peer may ask. `::ffff:1.2.3.4` counts as `1.2.3.4`.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        let text = peer.to_string();
        let hit = |rules: &[Rule]| rules.iter().any(|r| r.matches(peer, &text));
        hit(&self.allow) && !hit(&self.deny)
    }
}

impl Rule {
    fn matches(&self, peer: IpAddr, text: &str) -> bool {
        match self {
            Rule::Block(block, bits) => in_block(*block, *bits, peer),
            Rule::Pattern(pattern) => pattern.is_match(text),
        }
    }
}

fn block(key: &str, entry: &str) -> Result<Rule, String> {
    let (addr, bits) = entry.split_once('/').unwrap_or((entry, ""));
    let wrong = || format!("{key}: {entry:?} is no address or block; write 10.0.0.0/8 or ::1");
    let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
    let most = if addr.is_ipv4() { 32 } else { 128 };
    let bits = if bits.is_empty() { most } else { bits.parse().map_err(|_| wrong())? };
    if bits > most {
        return Err(wrong());
    }
    Ok(Rule::Block(addr, bits))
}

fn in_block(block: IpAddr, bits: u8, peer: IpAddr) -> bool {
    match (block, peer) {
        (IpAddr::V4(b), IpAddr::V4(p)) => {
            let shift = 32 - u32::from(bits);
            b.to_bits().checked_shr(shift) == p.to_bits().checked_shr(shift)
        }
        (IpAddr::V6(b), IpAddr::V6(p)) => {
            let shift = 128 - u32::from(bits);
            b.to_bits().checked_shr(shift) == p.to_bits().checked_shr(shift)
        }
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn access(allow: &[&str], deny: &[&str]) -> Result<Access, String> {
        let owned = |l: &[&str]| l.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>();
        Access::parse(&owned(allow), &owned(deny))
    }

    fn allows(access: &Access, peer: &str) -> bool {
        access.allows(peer.parse().expect("address"))
    }

    #[test]
    fn blocks_hold_their_addresses() {
        let l = access(&["10.1.0.0/16", "::1", "192.168.7.9"], &[]).expect("parses");
        for (addr, want) in [
            ("10.1.255.1", true),
            ("10.2.0.1", false),
            ("::1", true),
            ("::2", false),
            ("192.168.7.9", true),
            ("::ffff:10.1.2.3", true),
        ] {
            assert_eq!(allows(&l, addr), want, "{addr}");
        }
        assert!(allows(&access(&["0.0.0.0/0"], &[]).expect("parses"), "9.9.9.9"));
        for bad in ["x", "10.0.0.0/33", "10.0.0.0/x", ""] {
            assert!(access(&[bad], &[]).is_err(), "{bad}");
            assert!(access(&[], &[bad]).expect_err("bad").starts_with("deny: "), "{bad}");
        }
    }

    #[test]
    fn a_denied_peer_is_denied_and_patterns_match_as_in_munin() {
        let l = access(&["10.0.0.0/8"], &["10.9.0.0/16"]).expect("parses");
        assert!(allows(&l, "10.1.1.1") && !allows(&l, "10.9.1.1"));
        let mut l = Access::default();
        assert!(!allows(&l, "127.0.0.1"), "without a rule nobody may");
        l.add("allow", r"^127\.0\.0\.1$").expect("a pattern");
        l.add("cidr_allow", "192.0.2.0/24").expect("a block");
        l.add("cidr_deny", "192.0.2.42/32").expect("a block");
        assert!(allows(&l, "127.0.0.1") && allows(&l, "::ffff:127.0.0.1"));
        assert!(allows(&l, "192.0.2.41") && !allows(&l, "192.0.2.42"));
        assert!(!allows(&l, "127.0.0.11"));
        assert!(l.add("allow", "(").is_err() && l.add("cidr_allow", "x").is_err());
    }
}
