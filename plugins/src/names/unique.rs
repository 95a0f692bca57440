//! Names that stay with their things.
//!
//! Cleaning a name loses characters, so two things may end up with one name:
//! the tubes `a-b` and `a.b` would both be the field `a_b`. Numbering them in
//! the order in which they appear hands the history of one to the other as soon
//! as one of them goes. So the name of such a thing ends in a short hash of the
//! thing's own full name; a thing whose cleaned name is its alone keeps the
//! name that Munin's plugin of the kind gives it.

use std::collections::{HashMap, HashSet};

/// How many cleaned names are remembered. Beyond it those of things that are
/// gone are forgotten.
pub const NAMES_MAX: usize = 4_096;

/// Hexadecimal digits of a suffix; more only where two suffixes are equal.
const DIGITS: usize = 6;

/// Gives each of several things a name of its own, and remembers which cleaned
/// name was whose for as long as it lives (that is, as the probe does).
///
/// Of the things that share a cleaned name, the one whose full name *is* the
/// cleaned name keeps it; every other is called `CLEANED_HASH`, with six
/// hexadecimal digits of the CRC-32 of its full name. The order of the
/// things never matters. A cleaned name that a thing had alone becomes
/// nobody's when another thing comes that would have it, so that one name
/// never holds two histories, even when the first thing has gone.
#[derive(Debug, Default)]
pub struct Names {
    /// By scope and cleaned name: the hash of the full name of the thing that
    /// has it; `None`: several would have it, so nobody does.
    holders: HashMap<(String, String), Option<u32>>,
}

impl Names {
    /// The names of things, in the order of their full names `raws`.
    ///
    /// `scope` is the name space that the names have to be unique in (a
    /// backend, whose servers are named; empty if there is one alone), and
    /// `clean` makes a valid name of a full one. Things with the same full name
    /// cannot be told apart: the second and later ones end in `_2`, `_3`.
    pub fn assign<'a>(
        &mut self,
        scope: &str,
        clean: impl Fn(&str) -> String,
        raws: impl IntoIterator<Item = &'a str>,
    ) -> Vec<String> {
        let things: Vec<Thing> = raws.into_iter().map(|raw| Thing::new(raw, &clean)).collect();
        let mut present: HashMap<&str, HashSet<u32>> = HashMap::new();
        for thing in &things {
            present.entry(&thing.cleaned).or_default().insert(thing.id);
        }
        for (cleaned, ids) in &present {
            let key = (scope.to_owned(), (*cleaned).to_owned());
            let before = self.holders.get(&key).copied();
            self.holders.insert(key, holder(hash(cleaned), ids, before));
        }
        if self.holders.len() > NAMES_MAX {
            self.holders.retain(|(s, cleaned), _| s == scope && present.contains_key(&**cleaned));
        }
        let holds = |thing: &Thing| {
            let key = (scope.to_owned(), thing.cleaned.clone());
            self.holders.get(&key) == Some(&Some(thing.id))
        };
        // Plain names first: no suffixed one may be equal to one of them.
        let plain: Vec<bool> = things.iter().map(holds).collect();
        let both = || things.iter().zip(&plain);
        let mut taken: HashSet<String> =
            both().filter(|(_, p)| **p).map(|(t, _)| t.cleaned.clone()).collect();
        let mut given = HashSet::new();
        both()
            .map(|(thing, plain)| match (plain, given.insert((&thing.cleaned, thing.id))) {
                (true, true) => thing.cleaned.clone(),
                (true, false) => numbered(&thing.cleaned, &mut taken),
                (false, _) => suffixed(thing, &mut taken),
            })
            .collect()
    }
}

/// The hash of the full name of the thing that may have a cleaned name. `exact`
/// is the hash of the cleaned name itself, `ids` are those of the things that
/// are here, `before` is who had it until now.
fn holder(exact: u32, ids: &HashSet<u32>, before: Option<Option<u32>>) -> Option<u32> {
    let alone = |id: u32| ids.iter().all(|other| *other == id);
    match before {
        Some(before) => before.filter(|id| *id == exact || alone(*id)),
        None => ids.iter().copied().find(|id| *id == exact || alone(*id)),
    }
}

struct Thing {
    cleaned: String,
    /// The hash of its full name.
    id: u32,
}

impl Thing {
    fn new(raw: &str, clean: impl Fn(&str) -> String) -> Thing {
        Thing { cleaned: clean(raw), id: hash(raw) }
    }
}

/// `CLEANED_HASH`, with as many digits as nobody else has.
fn suffixed(thing: &Thing, taken: &mut HashSet<String>) -> String {
    let digits = format!("{:08x}", thing.id);
    for n in DIGITS..=digits.len() {
        let name = format!("{}_{}", thing.cleaned, &digits[..n]);
        if taken.insert(name.clone()) {
            return name;
        }
    }
    numbered(&format!("{}_{digits}", thing.cleaned), taken)
}

fn numbered(name: &str, taken: &mut HashSet<String>) -> String {
    let mut n = 2;
    loop {
        let candidate = format!("{name}_{n}");
        if taken.insert(candidate.clone()) {
            return candidate;
        }
        n += 1;
    }
}

/// Names hang on it: it must never change.
fn hash(text: &str) -> u32 {
    crc32fast::hash(text.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::super::clean_field;
    use super::*;
    use proptest::prelude::*;

    fn assign(names: &mut Names, raws: &[&str]) -> Vec<String> {
        names.assign("", clean_field, raws.iter().copied())
    }

    #[test]
    fn a_name_of_one_thing_stays_as_munin_gives_it() {
        let mut names = Names::default();
        assert_eq!(assign(&mut names, &["/dev/sda1", "mail", "9x"]), ["_dev_sda1", "mail", "_x"]);
        // The check value of CRC-32, so that names of today are those of tomorrow.
        assert_eq!(hash("123456789"), 0xcbf4_3926);
    }

    #[test]
    fn colliding_names_are_the_same_in_any_order() {
        let [one, other] = [["a-b", "a.b", "a_b", "c"], ["c", "a_b", "a.b", "a-b"]]
            .map(|raws| assign(&mut Names::default(), &raws));
        assert_eq!(one, ["a_b_35c222", "a_b_1eef71", "a_b", "c"]);
        assert!(one.iter().rev().eq(&other), "{one:?} {other:?}");
    }

    #[test]
    fn a_name_never_passes_to_another_thing() {
        let mut names = Names::default();
        assert_eq!(assign(&mut names, &["a-b"]), ["a_b"]);
        let both = assign(&mut names, &["a-b", "a.b"]);
        assert!(both.iter().all(|name| name != "a_b"), "{both:?}");
        assert_eq!(assign(&mut names, &["a.b"]), both[1..], "it keeps its name alone");
        assert_eq!(assign(&mut names, &["a-b"]), both[..1]);
        let mut names = Names::default();
        assert_eq!(assign(&mut names, &["a-b"]), ["a_b"]);
        assert_eq!(assign(&mut names, &[]), [""; 0]);
        assert_ne!(assign(&mut names, &["a_b"]), ["a_b"], "that was another thing's");
        // Who has the very name keeps it, whoever comes.
        let mut names = Names::default();
        assert_eq!(assign(&mut names, &["a_b"]), ["a_b"]);
        assert_eq!(assign(&mut names, &["a.b", "a_b"])[1], "a_b");
    }

    #[test]
    fn scopes_do_not_mix_and_equal_names_are_numbered() {
        let mut names = Names::default();
        let of = |names: &mut Names, scope: &str, raw: &str| {
            names.assign(scope, clean_field, [raw]).remove(0)
        };
        assert_eq!(of(&mut names, "be1", "a-b"), "a_b");
        assert_eq!(of(&mut names, "be2", "a.b"), "a_b");
        assert_eq!(assign(&mut names, &["x", "x", "x"]), ["x", "x_2", "x_3"]);
    }

    #[test]
    fn what_is_gone_is_forgotten_beyond_the_limit() {
        let mut names = Names::default();
        for i in 0..3 * NAMES_MAX {
            let raw = format!("queue-{i}");
            assert_eq!(assign(&mut names, &[&raw]), [format!("queue_{i}")]);
        }
        assert!(names.holders.len() <= NAMES_MAX);
    }

    proptest! {
        #[test]
        fn names_are_valid_and_stay_apart(raws in proptest::collection::vec("[a_.0-]{0,3}", 0..40)) {
            let raws: Vec<&str> = raws.iter().map(String::as_str).collect();
            let mut names = Names::default();
            let first = assign(&mut names, &raws);
            let apart: HashSet<&String> = first.iter().collect();
            prop_assert_eq!(apart.len(), first.len());
            for name in first.iter().filter(|name| !name.is_empty()) {
                prop_assert_eq!(&clean_field(name), name);
            }
            prop_assert_eq!(assign(&mut names, &raws), first);
        }
    }
}
