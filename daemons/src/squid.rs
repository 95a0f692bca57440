//! Squid, by the pages `counters`, `info` and `storedir` of its cache manager
//! (wiki.squid-cache.org/Features/CacheManager).

mod graphs;
mod pages;

use crate::support::http::Page;
use crate::support::{Daemon, Ratio, Sheet, probe, settings};
use pages::{Counters, Info, Store};
use rookery_plugins::{Host, ProbeEntry, ProbeError};
use serde::Deserialize;

/// The line of the table of daemons.
pub const ENTRY: ProbeEntry = ProbeEntry {
    name: "squid",
    about: "requests, hit ratios, traffic, cache size, response times (cache manager, port 3128)",
    waits: true,
    new: |table| {
        let own: Settings = settings(table)?;
        let page = |name: &str| {
            let url = |address: &str| format!("http://{address}/squid-internal-mgr/{name}");
            let given = own.address.as_deref().map(url);
            Page::new("squid", table, given.as_deref(), &[&url("127.0.0.1:3128")])
        };
        Ok(probe(Squid {
            counters: page("counters")?,
            info: page("info")?,
            store: page("storedir")?,
            hits: Ratio::default(),
            bytes: Ratio::default(),
            own: Own::default(),
        }))
    },
};

const CATEGORY: &str = "squid";
const REMEDY: &str = "squid.conf needs \"http_access allow localhost manager\" before any \
                      \"http_access deny\" that fits, and `address` in [probe.squid] its \
                      http_port";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Settings {
    address: Option<String>,
}

struct Squid {
    counters: Page,
    info: Page,
    store: Page,
    hits: Ratio,
    bytes: Ratio,
    own: Own,
}

impl Daemon for Squid {
    fn ask(&mut self, _: &Host, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let asked = self.read(sheet);
        if asked.is_err() {
            // Which of our requests Squid has counted is not known then.
            self.hits = Ratio::default();
        }
        asked
    }
}

impl Squid {
    fn read(&mut self, sheet: &mut Sheet<'_>) -> Result<(), ProbeError> {
        let (counters, _) = self.counters.find(REMEDY, Counters::parse)?;
        let requests = counters.of("client_http.requests");
        let others = self.own.without(requests);
        let (info, _) = self.info.find(REMEDY, Info::parse)?;
        self.own.asked += 1;
        let (store, _) = self.store.find(REMEDY, Store::parse)?;
        self.own.asked += 1;
        let ratios = graphs::Ratios {
            hits: self.hits.next(counters.of("client_http.hits"), others),
            bytes: self.bytes.next(
                counters.of("client_http.hit_kbytes_out"),
                counters.of("client_http.kbytes_out"),
            ),
        };
        graphs::write(&counters, &info, &store, &ratios, sheet);
        Ok(())
    }
}

/// The agent's own requests, which Squid counts as those of a client. None of
/// them is a hit: on a quiet cache they would be most of the misses.
#[derive(Default)]
struct Own {
    asked: u64,
    last: u64,
}

impl Own {
    /// The requests of others, but for a number that stays the same from one
    /// reading to the next.
    fn without(&mut self, requests: Option<u64>) -> Option<u64> {
        let requests = requests?;
        if requests < self.last {
            // Squid has been started anew.
            self.asked = 0;
        }
        self.last = requests;
        let others = requests.saturating_sub(self.asked);
        // This one is counted when it is answered: next time.
        self.asked += 1;
        Some(others)
    }
}

#[cfg(test)]
mod tests;
