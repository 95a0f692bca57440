//! What plugins say more of a field, mostly with its value (`field.extinfo`): the packages
//! that wait, why a disk is not read.
//!
//! It becomes part of what the field is. It may be another text with each fetch, and each
//! is told and kept: so a new one is taken at most every [`EVERY`].

use super::Parsed;
use crate::ServiceSpec;
use std::collections::BTreeMap;
use std::time::{Duration, Instant};

/// How long a text stands at least.
pub const EVERY: Duration = Duration::from_secs(300);

/// The attribute.
pub const EXTINFO: &str = "extinfo";

/// One plugin's texts, of its latest fetch.
#[derive(Debug, Default)]
pub struct Extinfo {
    texts: BTreeMap<(String, String), String>,
    /// Fields that have none any more.
    over: Vec<(String, String)>,
    taken: Option<Instant>,
}

impl Extinfo {
    /// Takes in what a fetch said; whether the services are to be described anew.
    pub fn take(&mut self, parsed: &Parsed, now: Instant) -> bool {
        let said = parsed.extinfo.iter();
        let texts: BTreeMap<_, _> =
            said.map(|(s, f, text)| ((s.clone(), f.clone()), text.clone())).collect();
        let is_early = self.taken.is_some_and(|at| now.duration_since(at) < EVERY);
        if texts == self.texts || is_early {
            return false;
        }
        let before = std::mem::replace(&mut self.texts, texts);
        self.over = before.into_keys().filter(|key| !self.texts.contains_key(key)).collect();
        self.taken = Some(now);
        true
    }

    /// Writes them into the services.
    pub fn apply(&mut self, specs: &mut [ServiceSpec]) {
        let over = std::mem::take(&mut self.over);
        let all = over.iter().map(|key| (key, None));
        for ((service, field), text) in all.chain(self.texts.iter().map(|(k, t)| (k, Some(t)))) {
            let fields =
                specs.iter_mut().filter(|s| s.name == *service).flat_map(|s| &mut s.fields);
            for field in fields.filter(|f| f.name == *field) {
                match text {
                    Some(text) => field.extra.insert(EXTINFO.to_owned(), text.clone()),
                    None => field.extra.remove(EXTINFO),
                };
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::parse;
    use super::*;

    #[test]
    fn a_fetch_tells_more_of_a_field() {
        let mut specs = parse("p", b"graph_title P\na.label A\nb.label B\n").services;
        let mut said = Extinfo::default();
        let now = Instant::now();
        let text = |specs: &[ServiceSpec]| specs[0].fields[0].extra.get(EXTINFO).cloned();
        let fetch = |text: &str| parse("p", format!("a.value 1\n{text}\n").as_bytes());
        assert!(!said.take(&fetch(""), now));
        assert!(said.take(&fetch("a.extinfo <b>one two\nx.extinfo y"), now));
        said.apply(&mut specs);
        assert_eq!(text(&specs).as_deref(), Some("<b>one two"));
        assert_eq!(specs[0].fields.len(), 2, "it makes no field");
        assert!(!said.take(&fetch("a.extinfo three"), now), "too soon");
        assert!(said.take(&fetch(""), now + EVERY));
        said.apply(&mut specs);
        assert_eq!(text(&specs), None);
        // Told with `config`, it stands there.
        let specs = parse("p", b"a.label A\na.extinfo four\n").services;
        assert_eq!(text(&specs).as_deref(), Some("four"));
    }
}
