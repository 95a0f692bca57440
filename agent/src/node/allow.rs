//! Addresses and CIDR blocks that may ask.

use std::net::IpAddr;

/// A list of blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AllowList {
    blocks: Vec<(IpAddr, u8)>,
}

impl AllowList {
    /// From `10.0.0.0/8`, `::1`, …; the error names the entry.
    pub fn parse(entries: &[String]) -> Result<AllowList, String> {
        let mut blocks = Vec::new();
        for entry in entries {
            let (addr, bits) = entry.split_once('/').unwrap_or((entry, ""));
            let wrong =
                || format!("allow: {entry:?} is no address or block; write 10.0.0.0/8 or ::1");
            let addr: IpAddr = addr.parse().map_err(|_| wrong())?;
            let most = if addr.is_ipv4() { 32 } else { 128 };
            let bits = if bits.is_empty() { most } else { bits.parse().map_err(|_| wrong())? };
            if bits > most {
                return Err(wrong());
            }
            blocks.push((addr, bits));
        }
        Ok(AllowList { blocks })
    }

    /// Whether this peer is in a block. `::ffff:1.2.3.4` counts as `1.2.3.4`.
    pub fn allows(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.blocks.iter().any(|(block, bits)| match (block, peer) {
            (IpAddr::V4(b), IpAddr::V4(p)) => {
                let shift = 32 - u32::from(*bits);
                b.to_bits().checked_shr(shift) == p.to_bits().checked_shr(shift)
            }
            (IpAddr::V6(b), IpAddr::V6(p)) => {
                let shift = 128 - u32::from(*bits);
                b.to_bits().checked_shr(shift) == p.to_bits().checked_shr(shift)
            }
            _ => false,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_hold_their_addresses() {
        let list = |entries: &[&str]| {
            AllowList::parse(&entries.iter().map(|e| (*e).to_owned()).collect::<Vec<_>>())
        };
        let l = list(&["10.1.0.0/16", "::1", "192.168.7.9"]).expect("parses");
        for (addr, want) in [
            ("10.1.255.1", true),
            ("10.2.0.1", false),
            ("::1", true),
            ("::2", false),
            ("192.168.7.9", true),
            ("::ffff:10.1.2.3", true),
        ] {
            assert_eq!(l.allows(addr.parse().expect("address")), want, "{addr}");
        }
        assert!(list(&["0.0.0.0/0"]).expect("parses").allows("9.9.9.9".parse().expect("address")));
        for bad in ["x", "10.0.0.0/33", "10.0.0.0/x", ""] {
            assert!(list(&[bad]).is_err(), "{bad}");
        }
    }
}
