//! The cache manager's pages.

use crate::support::number;
use rookery_plugins::probes::support::decimal;
use std::collections::BTreeMap;

/// `counters`: lines such as `client_http.requests = 1101`.
pub struct Counters(BTreeMap<String, String>);

impl Counters {
    /// `None`: it is another page, or not whole.
    pub fn parse(text: &str) -> Option<Counters> {
        let lines = text.lines().filter_map(|line| line.split_once(" = "));
        let all = Counters(lines.map(|(k, v)| (k.to_owned(), v.trim().to_owned())).collect());
        all.of("client_http.requests")?;
        // The last line that all versions have.
        all.of("aborted_requests").filter(|_| text.ends_with('\n'))?;
        Some(all)
    }

    /// A whole number.
    pub fn of(&self, name: &str) -> Option<u64> {
        number(self.0.get(name)?.as_bytes())
    }

    /// A number with a fraction.
    pub fn decimal(&self, name: &str) -> Option<f64> {
        decimal(self.0.get(name)?.as_bytes())
    }
}

/// `info`: a text for people, with lines such as `Storage Mem size:  376 KB`.
pub struct Info {
    named: BTreeMap<String, String>,
    /// Lines such as `92 StoreEntries`.
    counted: BTreeMap<String, u64>,
}

impl Info {
    /// `None`: it is another page, or not whole.
    pub fn parse(text: &str) -> Option<Info> {
        let (mut named, mut counted) = (BTreeMap::new(), BTreeMap::new());
        for line in text.lines().map(str::trim) {
            if let Some((name, value)) = line.split_once(':') {
                // Sections that follow for each worker or disk repeat some.
                named.entry(name.to_owned()).or_insert_with(|| value.trim().to_owned());
            } else if let Some((count, name)) = line.split_once(' ')
                && let Some(count) = number(count.as_bytes())
            {
                counted.entry(name.to_owned()).or_insert(count);
            }
        }
        let is_squid = named.get("Squid Object Cache").is_some_and(|v| v.starts_with("Version"));
        let whole = counted.contains_key("on-disk objects");
        (is_squid && whole).then_some(Info { named, counted })
    }

    /// `Version 5.7`.
    pub fn version(&self) -> &str {
        self.named.get("Squid Object Cache").map_or("", |text| text)
    }

    /// The first number behind a name, whatever its unit.
    pub fn of(&self, name: &str) -> Option<f64> {
        first(self.named.get(name)?)
    }

    /// A number that stands before its name.
    pub fn count(&self, name: &str) -> Option<u64> {
        self.counted.get(name).copied()
    }
}

/// `storedir`: what there is on disks, in all.
pub struct Store {
    /// Bytes that may be used.
    pub max: Option<u64>,
    /// Bytes that are.
    pub current: Option<u64>,
}

impl Store {
    /// `None`: it is another page, or not whole.
    pub fn parse(text: &str) -> Option<Store> {
        // Each process of a Squid with workers tells its own part; since 7 a lone
        // one says so, too: `by kid0 {`.
        let of = |name: &str| {
            let values = text.lines().filter_map(|line| line.strip_prefix(name));
            values
                .map(|line| bytes(first(line.trim_start().strip_prefix(':')?)?))
                .reduce(|sum, n| sum?.checked_add(n?))
                .flatten()
        };
        let is_kid = |line: &&str| line.starts_with("by kid") || line.trim().is_empty();
        let starts = text.lines().find(|line| !is_kid(line)) == Some("Store Directory Statistics:");
        let whole = text.contains("Current Capacity") && text.ends_with('\n');
        (starts && whole)
            .then(|| Store { max: of("Maximum Swap Size"), current: of("Current Store Swap Size") })
    }
}

/// The first word, if it is a number.
fn first(text: &str) -> Option<f64> {
    decimal(text.split_whitespace().next()?.trim_end_matches('%').as_bytes())
}

/// Bytes of so many KiB.
pub fn bytes(kib: f64) -> Option<u64> {
    let bytes = (kib * 1024.0).round();
    // 2^53: more is not exact, and no cache.
    (0.0..=9_007_199_254_740_992.0).contains(&bytes).then_some(bytes as u64)
}
