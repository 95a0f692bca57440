//! What `varnishstat -j` prints: counters by name, below "counters" since 6.5,
//! at the top before.

use rookery_plugins::names::clean_field;
use rookery_plugins::probes::support::unique;
use serde_json::Value as Json;
use std::collections::{BTreeMap, HashSet};

/// All counters, by their full name (`MAIN.cache_hit`).
#[derive(Debug)]
pub struct Counters(BTreeMap<String, u64>);

/// A backend, over all VCLs that have it.
#[derive(Debug)]
pub struct Backend<'a> {
    /// As VCL calls it.
    pub name: &'a str,
    /// The same as a field's name; no other backend has it.
    pub field: String,
    /// What stands before `.req`, for each VCL.
    stems: Vec<&'a str>,
}

impl Counters {
    /// Reads it; an error says what is wrong.
    pub fn parse(text: &str) -> Result<Counters, String> {
        let json: Json = serde_json::from_str(text)
            .map_err(|e| format!("it does not print JSON, or not all of it: {e}"))?;
        let counters = json.get("counters").unwrap_or(&json);
        let counters = counters.as_object().ok_or("it prints no counters")?;
        let number = |(name, counter): (&String, &Json)| {
            Some((name.clone(), counter.get("value")?.as_u64()?))
        };
        let counters = Counters(counters.iter().filter_map(number).collect());
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
    pub fn backends(&self) -> Vec<Backend<'_>> {
        let mut all: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for name in self.0.keys() {
            let Some(stem) = name.strip_suffix(".happy") else { continue };
            let Some(rest) = stem.strip_prefix("VBE.") else { continue };
            // 4.0 has default(127.0.0.1,,8080), later ones boot.default.
            let name = match (rest.split_once('('), rest.split_once('.')) {
                (Some((name, _)), _) if !name.contains('.') => name,
                (_, Some((_, name))) => name,
                (_, None) => rest,
            };
            all.entry(name).or_default().push(stem);
        }
        let mut taken = HashSet::new();
        let backend = |(name, stems)| {
            let field = unique(clean_field(name), &mut taken);
            Backend { name, field, stems }
        };
        all.into_iter().map(backend).collect()
    }

    /// A backend's counter, over all VCLs: so it goes on when one is loaded.
    pub fn sum(&self, backend: &Backend<'_>, name: &str) -> Option<u64> {
        let of = |stem: &&str| self.of(&format!("{stem}.{name}"));
        backend.stems.iter().filter_map(of).reduce(u64::saturating_add)
    }

    /// The bits of its last 64 probes, the newest one the lowest: in the VCL
    /// that sorts last, as reload scripts name them by time.
    pub fn happy(&self, backend: &Backend<'_>) -> Option<u64> {
        self.of(&format!("{}.happy", backend.stems.last()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::support::testing::reply;
    use proptest::prelude::*;

    #[test]
    fn both_shapes_are_read() {
        let text = reply("varnish/1.varnishstat.json");
        let nested = Counters::parse(&text).expect("7.1");
        assert_eq!(nested.main("cache_hit"), Some(960));
        assert_eq!(nested.stores().collect::<Vec<_>>(), ["SMA.Transient", "SMA.s0"]);
        let json: Json = serde_json::from_str(&text).expect("JSON");
        let mut flat = json["counters"].clone();
        flat["timestamp"] = "2019-11-20T21:20:01".into();
        let flat = Counters::parse(&flat.to_string()).expect("6.0");
        assert_eq!(flat.0, nested.0);
    }

    #[test]
    fn backends_are_one_over_all_vcls() {
        let text = r#"{"MAIN.client_req": {"value": 1}, "timestamp": "x",
            "VBE.boot.web.happy": {"value": 255}, "VBE.boot.web.req": {"value": 10},
            "VBE.reload_2.web.happy": {"value": 3}, "VBE.reload_2.web.req": {"value": 5},
            "VBE.boot.a-b.happy": {"value": 0}, "VBE.boot.a.b.happy": {"value": 0},
            "VBE.old(10.0.0.1,,80).happy": {"type": "VBE", "value": 7},
            "VBE.old(10.0.0.1,,80).req": {"type": "VBE", "value": 4},
            "VBE.boot.bad.happy": {"value": "many"}}"#;
        let counters = Counters::parse(text).expect("reads");
        let all = counters.backends();
        let names: Vec<_> = all.iter().map(|b| (b.name, b.field.as_str())).collect();
        assert_eq!(names, [("a-b", "a_b"), ("a.b", "a_b_2"), ("old", "old"), ("web", "web")]);
        assert_eq!(counters.sum(&all[3], "req"), Some(15));
        assert_eq!(counters.happy(&all[3]), Some(3));
        assert_eq!(counters.sum(&all[2], "req"), Some(4));
        assert_eq!(counters.sum(&all[0], "req"), None);
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
            let error = Counters::parse(text).expect_err(want);
            assert!(error.contains(want), "{error}");
        }
    }

    proptest! {
        #[test]
        fn outputs_never_panic(text: String, name in "[A-Za-z.()]{0,20}") {
            let _ = Counters::parse(&text);
            let text = format!(
                "{{\"MAIN.client_req\": {{\"value\": 1}}, \"VBE.{name}.happy\": {{\"value\": 1}}}}"
            );
            let counters = Counters::parse(&text).expect("reads");
            for backend in counters.backends() {
                prop_assert_eq!(counters.happy(&backend), Some(1));
            }
        }
    }
}
