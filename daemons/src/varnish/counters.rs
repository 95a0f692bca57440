//! What `varnishstat -j` prints: counters by name, below "counters" since 6.5,
//! at the top before.

use crate::support::{Names, Odd, StableName, number};
use serde_json::Value as Json;
use std::collections::{BTreeMap, BTreeSet};

/// All counters, by their full name (`MAIN.cache_hit`).
#[derive(Debug)]
pub struct Counters(BTreeMap<String, u64>);

/// A backend, over all VCLs that have it.
#[derive(Debug)]
pub struct Backend<'a> {
    /// As VCL calls it.
    pub name: &'a str,
    /// The same as a field's name; no other backend has it.
    pub field: StableName,
    /// For each VCL that has it.
    places: Vec<Place<'a>>,
}

/// A backend in one VCL.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Place<'a> {
    /// The VCL's name; empty before 4.1, which did not tell it.
    pub vcl: &'a str,
    /// What stands before `.req`.
    stem: &'a str,
}

impl<'a> Place<'a> {
    /// And the backend's name, from what stands before a counter's.
    fn parse(stem: &'a str) -> Option<(&'a str, Place<'a>)> {
        let rest = stem.strip_prefix("VBE.")?;
        // 4.0 has default(127.0.0.1,,8080), later ones boot.default.
        let (vcl, name) = match (rest.split_once('('), rest.split_once('.')) {
            (Some((name, _)), _) if !name.contains('.') => ("", name),
            (_, Some((vcl, name))) => (vcl, name),
            (_, None) => ("", rest),
        };
        Some((name, Place { vcl, stem }))
    }

    /// What reload scripts call their VCLs (`reload_20260117_093012_77`), without
    /// the time, and the time; `None`: it is no such name.
    fn generation(&self) -> Option<(&'a str, &'a str)> {
        let is_time = |c: char| c.is_ascii_digit() || "_-.:T".contains(c);
        let (root, time) = self.vcl.split_at(self.vcl.trim_end_matches(is_time).len());
        (time.chars().filter(char::is_ascii_digit).count() >= 8).then_some((root, time))
    }

    /// Whether another VCL has taken its place, and this one only waits to be
    /// discarded: the one of the start, or of an earlier reload.
    fn is_replaced(&self, all: &[Place<'_>]) -> bool {
        all.iter().any(|other| match (self.generation(), other.generation()) {
            (Some((root, time)), Some((by, later))) => root == by && time < later,
            (None, Some(_)) => self.vcl == "boot",
            _ => false,
        })
    }
}

impl Counters {
    /// Reads it; an error says what is wrong. A counter that is no number is left
    /// out and counted.
    pub fn parse(text: &str, odd: &mut Odd) -> Result<Counters, String> {
        let json: Json = serde_json::from_str(text)
            .map_err(|e| format!("it does not print JSON, or not all of it: {e}"))?;
        let counters = json.get("counters").unwrap_or(&json);
        let counters = counters.as_object().ok_or("it prints no counters")?;
        let mut all = BTreeMap::new();
        // Beside counters there are texts: version, timestamp.
        for (name, counter) in counters.iter().filter(|(_, counter)| counter.is_object()) {
            match counter.get("value").and_then(whole) {
                Some(value) => drop(all.insert(name.clone(), value)),
                None => odd.left_out(&format!("{name}: {counter}")),
            }
        }
        let counters = Counters(all);
        if counters.main("client_req").is_none() {
            return Err(match counters.of("MGT.uptime") {
                Some(_) => "varnishd runs, but its child, the cache, does not",
                None => "it prints no MAIN.client_req: is it of Varnish 4 or later?",
            }
            .to_owned());
        }
        Ok(counters)
    }

    /// A counter.
    pub fn of(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// A counter of the cache as a whole.
    pub fn main(&self, name: &str) -> Option<u64> {
        self.of(&format!("MAIN.{name}"))
    }

    /// Stores of objects, as `SMA.s0`.
    pub fn stores(&self) -> impl Iterator<Item = &str> {
        self.0.keys().filter_map(|name| name.strip_suffix(".g_bytes"))
    }

    /// Backends, each once: a VCL that is loaded anew has its own counters of
    /// each, and those of the one before stay until it is discarded.
    pub fn backends(&self, names: &mut Names) -> Vec<Backend<'_>> {
        let mut all: BTreeMap<&str, Vec<Place<'_>>> = BTreeMap::new();
        for stem in self.0.keys().filter_map(|name| name.strip_suffix(".happy")) {
            let Some((name, place)) = Place::parse(stem) else { continue };
            all.entry(name).or_default().push(place);
        }
        let fields = names.fields("backends", all.keys().copied());
        let backend = |((name, places), field)| Backend { name, field, places };
        all.into_iter().zip(fields).map(backend).collect()
    }

    /// A backend's counter, over all VCLs: so it goes on when one is loaded.
    pub fn sum(&self, backend: &Backend<'_>, name: &str) -> Option<u64> {
        let of = |place: &Place<'_>| self.of(&format!("{}.{name}", place.stem));
        backend.places.iter().filter_map(of).reduce(u64::saturating_add)
    }

    /// Where its probes are looked at, and how many of the last 8 were good: in
    /// each VCL in use that has a backend of this name (they may be different
    /// servers). Empty: it has no probe, or was never well.
    ///
    /// `probed` are the places that were well once. Without a probe they never
    /// are, and with one that fails they are no more.
    pub fn health<'a>(
        &self,
        backend: &Backend<'a>,
        probed: &mut BTreeSet<String>,
    ) -> Vec<(Place<'a>, u64)> {
        let happy = |place: &Place<'_>| self.of(&format!("{}.happy", place.stem));
        for place in backend.places.iter().filter(|place| happy(place).is_some_and(|b| b != 0)) {
            if !probed.contains(place.stem) {
                probed.insert(place.stem.to_owned());
            }
        }
        let known = |place: &&Place<'_>| probed.contains(place.stem);
        let known: Vec<Place<'a>> = backend.places.iter().filter(known).copied().collect();
        let good = |place: &Place<'_>| happy(place).map_or(0, |bits| (bits & WINDOW).count_ones());
        let in_use = known.iter().filter(|place| !place.is_replaced(&known));
        in_use.map(|place| (*place, u64::from(good(place)))).collect()
    }

    /// Forgets the places that are no more.
    pub fn forget(&self, probed: &mut BTreeSet<String>) {
        probed.retain(|stem| self.0.contains_key(&format!("{stem}.happy")));
    }
}

/// The last 8 probes of a backend, the newest one the lowest bit: Varnish's
/// `.window` if VCL does not say otherwise.
const WINDOW: u64 = 0xff;

/// A number that is whole and not negative, as a number of JSON or as a text.
fn whole(value: &Json) -> Option<u64> {
    // 2^53: more is not exact.
    let float = |v: f64| (v.fract() == 0.0 && (0.0..=9.007e15).contains(&v)).then_some(v as u64);
    match value {
        Json::Number(n) => n.as_u64().or_else(|| n.as_f64().and_then(float)),
        Json::String(text) => number(text.as_bytes()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::reply;
    use proptest::prelude::*;

    fn read(text: &str) -> Result<Counters, String> {
        Counters::parse(text, &mut Odd::default())
    }

    #[test]
    fn both_shapes_are_read() {
        let text = reply("varnish/1.varnishstat.json");
        let nested = read(&text).expect("7.1");
        assert_eq!(nested.main("cache_hit"), Some(960));
        assert_eq!(nested.stores().collect::<Vec<_>>(), ["SMA.Transient", "SMA.s0"]);
        let json: Json = serde_json::from_str(&text).expect("JSON");
        let mut flat = json["counters"].clone();
        flat["timestamp"] = "2019-11-20T21:20:01".into();
        let flat = read(&flat.to_string()).expect("6.0");
        assert_eq!(flat.0, nested.0);
    }

    #[test]
    fn backends_are_one_over_all_vcls_and_odd_counters_are_counted() {
        let text = r#"{"MAIN.client_req": {"value": 1}, "timestamp": "x",
            "VBE.boot.web.happy": {"value": 255}, "VBE.boot.web.req": {"value": 10},
            "VBE.reload_2.web.happy": {"value": 3}, "VBE.reload_2.web.req": {"value": "5"},
            "VBE.boot.a-b.happy": {"value": 0}, "VBE.boot.a.b.happy": {"value": 0.0},
            "VBE.old(10.0.0.1,,80).happy": {"type": "VBE", "value": 7},
            "VBE.old(10.0.0.1,,80).req": {"type": "VBE", "value": 4},
            "VBE.boot.bad.happy": {"value": "many"}, "VBE.boot.web.conn": {"value": -1}}"#;
        let mut odd = Odd::default();
        let counters = Counters::parse(text, &mut odd).expect("reads");
        assert_eq!(odd.count(), 2);
        let all = counters.backends(&mut Names::default());
        let names: Vec<&str> = all.iter().map(|b| b.name).collect();
        assert_eq!(names, ["a-b", "a.b", "old", "web"]);
        assert!(all[..2].iter().all(|b| b.field.name.starts_with("a_b_")), "{all:?}");
        assert_eq!((&*all[2].field.name, &*all[3].field.name), ("old", "web"));
        assert_eq!(counters.sum(&all[3], "req"), Some(15));
        assert_eq!(counters.sum(&all[2], "req"), Some(4));
        assert_eq!(counters.sum(&all[0], "req"), None);
    }

    #[test]
    fn each_vcl_in_use_counts_and_one_that_was_replaced_does_not() {
        let health = |vcls: &[(&str, u64)], probed: &mut BTreeSet<String>| {
            let lines = vcls
                .iter()
                .map(|(vcl, bits)| format!(", \"VBE.{vcl}.default.happy\": {{\"value\": {bits}}}"));
            let text =
                format!("{{\"MAIN.client_req\": {{\"value\": 1}}{}}}", lines.collect::<String>());
            let counters = read(&text).expect("reads");
            let backends = counters.backends(&mut Names::default());
            let health = counters.health(&backends[0], probed);
            health.iter().map(|(place, good)| (place.vcl.to_owned(), *good)).collect::<Vec<_>>()
        };
        let of = |vcls: &[(&str, u64)]| health(vcls, &mut BTreeSet::new());
        let named = |vcl: &str, good: u64| (vcl.to_owned(), good);
        // Two sites, each with its own backend of this name.
        assert_eq!(
            of(&[("site_a", 0xff), ("site_b", 0x100)]),
            [named("site_a", 8), named("site_b", 0)]
        );
        assert_eq!(
            of(&[("boot", 0xff), ("reload_2", 3)]),
            [named("boot", 8), named("reload_2", 2)]
        );
        // Of reloads, the last one counts.
        let reloads = [
            ("boot", 0x100),
            ("reload_20260101_120000_9", 0x100),
            ("reload_20260102_080000_10", 0xff),
        ];
        assert_eq!(of(&reloads), [named("reload_20260102_080000_10", 8)]);
        // One without a probe was never well.
        assert_eq!(of(&[("site_a", 0xff), ("site_b", 0)]), [named("site_a", 8)]);
        let mut probed = BTreeSet::new();
        health(&[("site_b", 1)], &mut probed);
        assert_eq!(health(&[("site_b", 0)], &mut probed), [named("site_b", 0)], "it had one");
    }

    #[test]
    fn what_is_not_whole_or_not_varnish_is_refused() {
        let text = reply("varnish/1.varnishstat.json");
        for (text, want) in [
            (&text[..text.len() - 9], "not all of it"),
            (&text[..20_000], "not all of it"),
            ("", "does not print JSON"),
            ("[1, 2]", "no counters"),
            ("{\"counters\": 7}", "no counters"),
            ("{\"cpu\": {\"value\": 7}}", "is it of Varnish 4 or later?"),
            ("{\"counters\": {\"MGT.uptime\": {\"value\": 7}}}", "its child, the cache"),
        ] {
            let error = read(text).expect_err(want);
            assert!(error.contains(want), "{error}");
        }
    }

    proptest! {
        #[test]
        fn outputs_never_panic(text: String, name in "[A-Za-z.()]{0,20}") {
            let _ = read(&text);
            let text = format!(
                "{{\"MAIN.client_req\": {{\"value\": 1}}, \"VBE.{name}.happy\": {{\"value\": 1}}}}"
            );
            let counters = read(&text).expect("reads");
            for backend in counters.backends(&mut Names::default()) {
                let health = counters.health(&backend, &mut BTreeSet::new());
                prop_assert_eq!(health.iter().map(|(_, good)| *good).collect::<Vec<_>>(), [1]);
            }
        }
    }
}
