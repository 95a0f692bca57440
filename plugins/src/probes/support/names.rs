//! Names that stay apart after cleaning, and stay with what they name.
//!
//! One rule for all probes, [`stable_names`]: Munin's name where nothing else here
//! wants it, else that name and a short hash of what the thing itself is (its mount
//! point, PCI address, UUID, uncleaned name), never a number by order of appearance.

use crate::FieldSpec;
use crate::names::{cut_at_char, fnv1a64};
use std::borrow::Borrow;
use std::collections::{HashMap, HashSet};

/// The longest name that is given: room for what a probe puts before and behind it
/// within [`crate::names::NAME_BYTES_MAX`].
pub const STABLE_NAME_BYTES_MAX: usize = 180;

/// Hexadecimal digits behind a name that several things want: of 16 million, and of
/// all when these are not enough to tell them apart.
const SHORT_DIGITS: usize = 6;
const ALL_DIGITS: usize = 16;

/// A name, and what the thing was called by order of appearance.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StableName {
    /// The name: with a valid wish a valid name, at most [`STABLE_NAME_BYTES_MAX`]
    /// bytes, given once.
    pub name: String,
    /// What [`unique`] calls it, where that is another name: announce it as
    /// [`FieldSpec::formerly`].
    pub old: Option<String>,
}

impl StableName {
    /// The field with its former name, if it had one.
    #[must_use]
    pub fn announce(&self, field: FieldSpec) -> FieldSpec {
        field.formerly(self.old.as_deref())
    }
}

/// Names for things, each given by the name that it wants (Munin's, cleaned already) and
/// by what it is: a text that no other has and that is the same at every start, however
/// things are ordered (`/dev/sd-a`, `0000:01:00.0/temp1`).
///
/// Who alone wants a name has it. Where several want one, each has it with a hash of
/// what it is: none keeps the plain name, which would be a matter of order. Only things
/// that are the same in both respects are numbered, as nothing else tells them apart.
pub fn stable_names<W, I>(things: &[(W, I)]) -> Vec<StableName>
where
    W: Borrow<str>,
    I: Borrow<str>,
{
    let (mut wishes, mut before) = (HashMap::<&str, usize>::new(), HashSet::new());
    for (wish, _) in things {
        *wishes.entry(wish.borrow()).or_default() += 1;
    }
    let short = |(wish, what): &(W, I), digits| {
        let (wish, what): (&str, &str) = (wish.borrow(), what.borrow());
        let is_alone = wishes.get(wish) == Some(&1);
        match is_alone && wish.len() <= STABLE_NAME_BYTES_MAX {
            true => wish.to_owned(),
            false => with_hash(wish, what, digits),
        }
    };
    let mut given = HashMap::<String, usize>::new();
    let first: Vec<String> = things.iter().map(|thing| short(thing, SHORT_DIGITS)).collect();
    first.iter().for_each(|name| *given.entry(name.clone()).or_default() += 1);
    let mut taken = HashSet::new();
    let name = |(thing, first): (&(W, I), String)| {
        let old = unique(thing.0.borrow().to_owned(), &mut before);
        let is_hashed = first != thing.0.borrow();
        let name = match given.get(&first) {
            Some(n) if *n > 1 && is_hashed => short(thing, ALL_DIGITS),
            _ => first,
        };
        let name = unique(name, &mut taken);
        StableName { old: (old != name).then_some(old), name }
    };
    things.iter().zip(first).map(name).collect()
}

/// `wish_1a2b3c`, cut before the hash where it is too long.
fn with_hash(wish: &str, what: &str, digits: usize) -> String {
    let hash = fnv1a64(what.as_bytes());
    // Both halves count in the short form.
    let hash = if digits < ALL_DIGITS { (hash ^ (hash >> 32)) & 0xff_ffff } else { hash };
    let head = cut_at_char(wish, STABLE_NAME_BYTES_MAX - ALL_DIGITS - 1);
    format!("{head}_{hash:0digits$x}")
}

/// `name`, or where `taken` has it already `name_2`, `name_3` and so on: for names that
/// come from a fixed list. Things that come and go are named by [`stable_names`].
pub fn unique(name: String, taken: &mut HashSet<String>) -> String {
    let mut candidate = name.clone();
    let mut n = 2;
    while !taken.insert(candidate.clone()) {
        candidate = format!("{name}_{n}");
        n += 1;
    }
    candidate
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn names(things: &[(&str, &str)]) -> Vec<String> {
        stable_names(things).into_iter().map(|n| n.name).collect()
    }

    #[test]
    fn the_second_one_is_numbered() {
        let mut taken = HashSet::new();
        let mut name = |n: &str| unique(n.to_owned(), &mut taken);
        assert_eq!([name("a"), name("a"), name("a"), name("b")], ["a", "a_2", "a_3", "b"]);
    }

    #[test]
    fn a_name_that_one_thing_wants_is_its_own_and_a_shared_one_nobodys() {
        let things = [("shm", "/a/shm"), ("_dev_sda1", "/dev/sda1"), ("shm", "/b/shm")];
        let named = stable_names(&things);
        let got: Vec<_> = named.iter().map(|n| (n.name.as_str(), n.old.as_deref())).collect();
        // Written out: these names stand in histories, and may never become others.
        assert_eq!(
            got,
            [("shm_c55436", Some("shm")), ("_dev_sda1", None), ("shm_63dd8e", Some("shm_2"))]
        );
        let field = named[2].announce(FieldSpec::gauge("x", "x"));
        assert_eq!(field.old_names().collect::<Vec<_>>(), ["shm_2"]);
    }

    #[test]
    fn names_do_not_depend_on_the_order() {
        let forth = names(&[("x", "1"), ("x", "2"), ("y", "3"), ("x", "4")]);
        let mut back = names(&[("x", "4"), ("y", "3"), ("x", "2"), ("x", "1")]);
        back.reverse();
        assert_eq!(forth, back);
        // One that goes leaves the others their names, until one is alone.
        assert_eq!(names(&[("x", "2"), ("x", "4")]), [forth[1].clone(), forth[3].clone()]);
        assert_eq!(names(&[("x", "2")]), ["x"]);
    }

    #[test]
    fn the_same_twice_is_numbered_and_a_wish_that_looks_hashed_stays_apart() {
        let twice = names(&[("x", "1"), ("x", "1")]);
        assert_eq!(twice[1], format!("{}_2", twice[0]));
        let hashed = names(&[("x", "1"), ("x", "2")])[0].clone();
        let all = names(&[("x", "1"), ("x", "2"), (hashed.as_str(), "3")]);
        assert_eq!(all[2], hashed, "who alone wants it has it");
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 3);
    }

    proptest! {
        #[test]
        fn names_are_given_once_and_fit(things in proptest::collection::vec(
            ("[a-z_]{1,3}|[é]{150}", "[0-9]{1,2}"), 0..12)) {
            let named = stable_names(&things);
            let all: HashSet<_> = named.iter().map(|n| &n.name).collect();
            prop_assert_eq!(all.len(), things.len());
            // Two digits for a number behind the same thing twice.
            prop_assert!(all.iter().all(|n| n.len() <= STABLE_NAME_BYTES_MAX + 3));
        }
    }
}
