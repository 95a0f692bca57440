//! `rookery-agent configure --snmp HOST`: which of Munin's SNMP plugins a device has
//! something for. The plugins say what they need (`snmpconf`): objects, and tables with
//! rows that match.

use crate::snmp::{Device, Oid, oid};
use regex_lite::Regex;
use std::collections::BTreeMap;
use std::net::Ipv4Addr;

/// Munin's family of plugins that say what a device must have.
pub const FAMILY: &str = "snmpauto";

/// The devices, and how they are asked.
#[derive(Clone, Debug, Default)]
pub struct Snmp {
    /// Names or addresses.
    pub hosts: Vec<String>,
    /// Their port.
    pub port: u16,
    /// What they are asked with.
    pub community: String,
    /// By version 1, not 2c.
    pub v1: bool,
}

/// The widest network that is asked: 4096 addresses.
const NETWORK_BITS_MIN: u32 = 20;
/// So many of its addresses are asked at the same time.
const AT_ONCE: usize = 64;
/// What every device has: how long it is up.
const UPTIME: &str = "1.3.6.1.2.1.1.3.0";

impl Snmp {
    /// Puts the devices that answer in the place of networks (`10.0.0.0/24`). The error
    /// names what is none.
    pub async fn look_around(&mut self) -> Result<(), String> {
        let uptime = oid(UPTIME).ok_or("BUG: no object")?;
        let mut found = Vec::new();
        for item in std::mem::take(&mut self.hosts) {
            let Some((host, bits)) = item.split_once('/') else {
                found.push(item);
                continue;
            };
            let all = addresses(host, bits).await.map_err(|e| format!("--snmp {item}: {e}"))?;
            for some in all.chunks(AT_ONCE) {
                let asked = some.iter().map(|address| {
                    let (host, port) = (address.to_string(), self.port);
                    let (community, v1, uptime) = (self.community.clone(), self.v1, uptime.clone());
                    tokio::spawn(async move {
                        let mut device = Device::new(&host, port, &community, v1).await.ok()?;
                        device.get(&uptime).await.is_ok().then_some(host)
                    })
                });
                for answer in asked.collect::<Vec<_>>() {
                    found.extend(answer.await.ok().flatten());
                }
            }
        }
        self.hosts = found;
        Ok(())
    }
}

/// All addresses of a network, its first and last too, as munin-node-configure has it.
async fn addresses(host: &str, bits: &str) -> Result<Vec<Ipv4Addr>, String> {
    let wrong = || format!("/{NETWORK_BITS_MIN} to /32 is expected after an address of IPv4");
    let bits: u32 = bits.parse().map_err(|_| wrong())?;
    if !(NETWORK_BITS_MIN..=32).contains(&bits) {
        return Err(wrong());
    }
    let places = tokio::net::lookup_host((host, 0)).await.map_err(|e| e.to_string())?;
    let mut places = places.filter_map(|place| match place.ip() {
        std::net::IpAddr::V4(address) => Some(address),
        std::net::IpAddr::V6(_) => None,
    });
    let rest = u32::MAX.checked_shr(bits).unwrap_or(0);
    let first = u32::from(places.next().ok_or_else(wrong)?) & !rest;
    Ok((first..=first | rest).map(Ipv4Addr::from).collect())
}

/// What a plugin needs of a device.
#[derive(Debug, Default)]
pub struct Needs {
    objects: Vec<(Oid, Option<Regex>)>,
    /// Columns of one table: a row counts when all are there and match.
    columns: Vec<(Oid, Option<Regex>)>,
    /// The column with what goes into the link's name.
    index: Option<Oid>,
}

impl Needs {
    /// Reads what `snmpconf` printed; what is wrong goes to `errors`.
    pub fn read(lines: &[String], is_wildcard: bool, errors: &mut Vec<String>) -> Needs {
        let mut needs = Needs::default();
        for line in lines {
            let Some((key, value)) = line.trim().split_once(char::is_whitespace) else { continue };
            let value = value.trim();
            let (name, filter) = value.split_once(char::is_whitespace).unwrap_or((value, ""));
            let name_is_root = name.ends_with('.');
            let filter = match filter.trim() {
                "" => Ok(None),
                text => Regex::new(text).map(Some),
            };
            match (key, oid(name), filter) {
                ("require", Some(name), Ok(filter)) if name_is_root => {
                    needs.columns.push((name, filter));
                }
                ("require", Some(name), Ok(filter)) => needs.objects.push((name, filter)),
                ("index", Some(name), _) if name_is_root && needs.index.is_none() => {
                    if !is_wildcard {
                        errors.push(
                            "'index' only applies to double-wildcard SNMP plugins (ie. with a \
                             trailing '_').  Use 'require' instead."
                                .to_owned(),
                        );
                    }
                    needs.columns.push((name.clone(), None));
                    needs.index = Some(name);
                }
                ("number", ..) => errors.push("'number' is no longer used.".to_owned()),
                ("require", ..) => errors.push(format!("Invalid format for 'require': {value}")),
                _ => errors.push(format!("Couldn't parse line: {line}")),
            }
        }
        needs
    }

    /// What goes into the table: the host, or the host and an index.
    pub async fn suggest(&self, snmp: &Snmp, is_wildcard: bool) -> Result<Vec<String>, String> {
        let mut all = Vec::new();
        for host in &snmp.hosts {
            let found = self.of(host, snmp, is_wildcard).await;
            all.extend(found.map_err(|e| format!("{host}: {e}"))?);
        }
        Ok(all)
    }

    async fn of(&self, host: &str, snmp: &Snmp, is_wildcard: bool) -> Result<Vec<String>, String> {
        let mut device = Device::new(host, snmp.port, &snmp.community, snmp.v1).await?;
        let fits = |filter: &Option<Regex>, value: &str| {
            filter.as_ref().is_none_or(|filter| filter.is_match(value))
        };
        for (name, filter) in &self.objects {
            if !device.get(name).await?.is_some_and(|value| fits(filter, &value)) {
                return Ok(vec![]);
            }
        }
        if self.columns.is_empty() {
            return Ok(if is_wildcard { vec![] } else { vec![host.to_owned()] });
        }
        let mut rows: BTreeMap<Oid, Vec<String>> = BTreeMap::new();
        for (i, (name, filter)) in self.columns.iter().enumerate() {
            for (row, value) in device.column(name).await? {
                let row = rows.entry(row).or_default();
                if row.len() == i && fits(filter, &value) {
                    row.push(value);
                }
            }
        }
        let whole = rows.into_values().filter(|row| row.len() == self.columns.len());
        let index = self.columns.iter().position(|(name, _)| Some(name) == self.index.as_ref());
        Ok(match (is_wildcard, index) {
            (true, Some(i)) => whole.map(|row| format!("{host}/{}", row[i])).collect(),
            (true, None) => vec![],
            (false, _) => whole.take(1).map(|_| host.to_owned()).collect(),
        })
    }
}

/// `snmp_HOST_if_1` of plugin `snmp__if_` and suggestion `HOST/1`.
pub fn link(plugin: &str, suggestion: &str) -> String {
    let rest = plugin.strip_prefix("snmp__").unwrap_or(plugin);
    let (host, index) = suggestion.split_once('/').unwrap_or((suggestion, ""));
    format!("snmp_{host}_{rest}{index}")
}

/// The suggestion that a link stands for.
pub fn suggestion(plugin: &str, link: &str) -> Option<String> {
    let rest = plugin.strip_prefix("snmp__")?;
    let (host, index) = link.strip_prefix("snmp_")?.rsplit_once(&format!("_{rest}"))?;
    Some(if index.is_empty() { host.to_owned() } else { format!("{host}/{index}") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links_and_suggestions_are_one() {
        for (plugin, text, name) in [
            ("snmp__if_", "10.0.0.1/3", "snmp_10.0.0.1_if_3"),
            ("snmp__load", "sw_1.example", "snmp_sw_1.example_load"),
        ] {
            assert_eq!(link(plugin, text), name);
            assert_eq!(suggestion(plugin, name).as_deref(), Some(text));
        }
        assert_eq!(suggestion("snmp__if_", "snmp_x_load"), None);
    }

    #[tokio::test]
    async fn networks_have_all_their_addresses() {
        let of = |host: &'static str, bits: &'static str| addresses(host, bits);
        let all = of("10.0.0.6", "30").await.expect("a network");
        assert_eq!(all, [4, 5, 6, 7].map(|n| Ipv4Addr::new(10, 0, 0, n)));
        assert_eq!(of("10.0.0.6", "32").await.expect("one"), [Ipv4Addr::new(10, 0, 0, 6)]);
        assert_eq!(of("10.0.0.6", "20").await.expect("many").len(), 4096);
        for (host, bits) in
            [("10.0.0.6", "19"), ("10.0.0.6", "33"), ("10.0.0.6", "x"), ("::1", "24")]
        {
            assert!(of(host, bits).await.is_err(), "{host}/{bits}");
        }
    }

    #[test]
    fn needs_are_read_and_slips_named() {
        let lines = [
            "index 1.3.6.1.",
            "require 1.3.7. [1-9]",
            "require 1.3.8.0",
            "number 1.3",
            "require x",
            "require 1.3.9. [",
            "odd",
        ];
        let lines: Vec<String> = lines.map(str::to_owned).to_vec();
        let mut errors = Vec::new();
        let needs = Needs::read(&lines, true, &mut errors);
        assert_eq!((needs.objects.len(), needs.columns.len()), (1, 2));
        assert_eq!(errors.len(), 3, "{errors:?}");
    }
}
